/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peer.h - an outside party of a port: what the back-end opened, a client of its socket, or a
 * terminal that a command attached. It reads output with a cursor of its own and may give input.
 *
 * The back-end's peer always gives input. Of the others the first in the list has the keyboard; a
 * client's input waits for its turn in its socket, a terminal's keys are thrown away until then.
 * Who leaves with input that the guest has not taken yet stays until that is done.
 *
 * Peers go away only in peers_settle(), which each entry into a port (notify, a watch, a task, a
 * command) calls last: before that it is only marked.
 *
 * Threads: the device's worker, but for peer_new() of a back-end's and peers_free() on the builder.
 */
#ifndef CONSOLE_PEER_H
#define CONSOLE_PEER_H

#include "port.h"

enum peer_kind { PEER_BACKEND, PEER_CLIENT, PEER_TERMINAL };

struct peer {
    struct peer *next;
    struct port *port;
    enum peer_kind kind;
    int in_fd, out_fd;            /* owned; the same one, or -1: it has none */
    struct hvv_watch *in, *out;   /* `out` is NULL if `in` serves both, or there is none */
    uint32_t in_armed, out_armed; /* HVV_WATCH_* */
    struct cursor cursor;
    bool watches_only;            /* a terminal that never gets the keyboard */
    bool input_waits;             /* a client's, in its socket, until it has the keyboard */
    bool in_ended, out_ended;     /* it has left when both are true */
};

/*
 * Takes the descriptors, which do not block, whatever it returns. NULL with errno set. Not yet in
 * the list.
 */
struct peer *peer_new(struct port *port, enum peer_kind kind, int in_fd, int out_fd);

/* Adds it, at the end, or as the one who has the keyboard. */
void peer_add(struct peer *peer, bool first);

/* For create() that fails and destroy(): all of them. */
void peers_free(struct port *port);

/* For destroy(): waits until the back-end's has taken all output. */
void peers_finish(struct port *port);

/* Writes output to those that are behind, as far as they take it. */
void peers_write(struct port *port);
/* The position of the reader that is furthest behind. */
uint64_t peers_slowest(const struct port *port);
/* Looks for peers that have left while nothing was asked of them. */
void peers_look(struct port *port);
/* Removes those that have left, and arms the watches of the rest. */
void peers_settle(struct port *port);
/* The one that has the keyboard, or NULL. */
const struct peer *peers_writer(const struct port *port);

#endif
