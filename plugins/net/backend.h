/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backend.h - where a device's frames go: the interface between net.c, tx.c, rx.c and tap.c, user.c,
 * switch.c, socket.c, null.c, loop.c.
 *
 * Threads: open and close on the builder; what has a pair on the pair's worker; the rest on the
 * worker of queue 0. Nothing but open and close may block.
 */
#ifndef NET_BACKEND_H
#define NET_BACKEND_H

#include "device.h"

enum send_result {
    SEND_DONE,   /* the frame is copied or gone out: its chain is finished by the caller */
    SEND_KEPT,   /* the back-end finishes the chain, from any thread */
    SEND_FULL,   /* not now, and the frame is still the caller's; tx_resume() will follow */
    SEND_NO_PEER, SEND_PEER_FULL, SEND_REFUSED, /* dropped: see enum net_counter */
};

struct backend_ops {
    const char *name;
    bool in_order; /* chains are finished in the order in which they were sent */

    /*
     * Acquires everything; queues are added already. Sets net->offloads, lowers net->mtu or leaves
     * them. Returns 0, or a negative errno after hvv_error() with nothing left acquired.
     */
    int32_t (*open)(struct net *net);
    void (*close)(struct net *net);

    /* The device is visible now. Optional, as all below but send. */
    void (*publish)(struct net *net);

    /* The device goes: no frame to or from others after this. */
    void (*stop)(struct net *net);

    /* The guest sends. `chain` is the frame's, for who keeps it. */
    enum send_result (*send)(struct pair *pair, const struct frame *frame, struct hvv_chain *chain);

    /* A batch of send() calls ended. */
    void (*flush)(struct pair *pair);

    /* The transmit queue stops, or guest memory changes: finish the chains that were kept. */
    void (*let_go)(struct pair *pair);

    /* The guest can receive: it posted buffers, or its receive queue just started. */
    void (*receive)(struct pair *pair);

    /* The receive queue stopped: no rx_*() from now on. */
    void (*receive_stop)(struct pair *pair);

    /* Called often while the worker is busy. Returns how many chains it finished. */
    uint32_t (*poll)(struct pair *pair);

    /* net->guest_offloads, net->active_pairs or net->link changed. Thread: any worker of the device. */
    void (*changed)(struct net *net);
};

extern const struct backend_ops backend_tap;
extern const struct backend_ops backend_user;
extern const struct backend_ops backend_switch;
extern const struct backend_ops backend_socket;
extern const struct backend_ops backend_null;
extern const struct backend_ops backend_loop;

#endif
