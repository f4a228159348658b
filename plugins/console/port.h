/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * port.h - one port: the guest's output on its way to the readers, and their input on its way to
 * the guest.
 *
 *     transmitq -> ring -> a cursor for each peer -> pty, socket, file, terminals
 *     pty, socket, terminals -> input buffer -> receiveq
 *
 * No chain is kept from one call to the next. Output is copied and its chain finished at once; a
 * lossless port that has no room gives the chain back, and remembers how much of it it has taken.
 * Input is read only while the buffer has room, and the buffer is emptied only into chains: while
 * the guest has none, or no driver, writers wait.
 *
 * Threads: the device's worker, but for port_new() and port_free() on the builder.
 */
#ifndef CONSOLE_PORT_H
#define CONSOLE_PORT_H

#include "device.h"
#include "message.h"
#include "ring.h"

#define PORT_INPUT_BYTES 16384u
#define PORT_PEERS_MAX 16u /* attached at a time, the back-end not counted */

struct backend_ops;
struct peer;

struct port {
    struct console *console;
    uint32_t index;
    uint32_t rx, tx; /* its queues */
    char name[MESSAGE_NAME_MAX + 1]; /* "" for a first port without one */
    bool is_console;
    bool lossless;
    struct message_size size;

    const struct backend_ops *backend;
    void *backend_state;
    char *path;              /* of the back-end, or NULL */
    const char *path_option; /* where the operator gave it */

    struct ring ring;
    struct peer *peers;      /* in the order in which they get the keyboard */
    uint32_t n_attached;     /* peers that are not the back-end's */
    bool dropping;           /* told, and no reader has caught up since */
    bool tx_blocked;         /* lossless: there is output but no room */
    uint64_t tx_skip;        /* lossless: bytes of the next chain that are taken already */
    bool more_posted;
    struct hvv_task more;    /* goes on taking output after a full batch */

    uint32_t in_start, in_end;
    char input[PORT_INPUT_BYTES];

    /* With MULTIPORT, what was said on the control queues; see control.c. */
    bool guest_ready, guest_open, host_open;
    uint32_t pending;        /* messages to send */
};

struct port *port_new(struct console *console, uint32_t index, uint64_t ring_bytes);
void port_free(struct port *port);

/* "0", or its name. */
const char *port_label(const struct port *port, char text[16]);

/* Takes the guest's output. */
void port_output(struct port *port);
/* Output that came another way. */
void port_put(struct port *port, const void *bytes, size_t n);

/* Room for input, and bytes that were read. */
char *port_input_room(struct port *port, uint32_t *size);
void port_input_add(struct port *port, uint32_t n);
/* Gives input to the guest as far as it takes it. */
void port_feed(struct port *port);

/* Some reader has taken output. */
void port_drained(struct port *port);

/* The port's queue `queue` stopped, for good if `discard`; the driver reset the device. */
void port_queue_stop(struct port *port, uint32_t queue, bool discard);
void port_reset(struct port *port);

#endif
