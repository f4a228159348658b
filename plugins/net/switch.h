/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * switch.h - a learning Ethernet switch between devices of this daemon, whatever zone or transport
 * they belong to: what switch.c (ports, where frames go) and inbox.c (frames on their way to one
 * receiver) share.
 *
 * A frame is copied once: it stays in the sender's memory, its chain unfinished, until the worker
 * of each receiver has copied it to its guest. Then the chain is finished by whoever was last.
 *
 * Nobody can hold up others:
 *   - Each port may have SWITCH_SHARE frames waiting at one receiver. If the receiver's worker is
 *     merely behind, a sender that has as many is stopped until half of them are gone.
 *   - A receiver whose guest has no buffers is stalled once a frame has waited for SWITCH_GRACE_NS
 *     (until then it is merely behind). Nobody is stopped for a stalled one: a pair of queues may
 *     have SWITCH_STUCK frames waiting at all of them together, the rest is dropped, and what
 *     waited for SWITCH_WAIT_NS is dropped too. After that nothing waits there any more until the
 *     guest posts buffers.
 *   - A receiver whose queue stops drops what waits for it, as a network card does. A sender whose
 *     queue stops takes back what waits anywhere.
 *   - A frame for several receivers that one of them cannot take is dropped for that one only.
 *
 * Locks, in this order: the switch's (addresses, who has a port), then one slot's (the port in it
 * and its inboxes). Neither is held while frames are copied, and nobody waits with one held. A port
 * is in its slot from publish() to stop(): whoever holds the slot's lock and sees the port may post
 * to its device, and nobody does after it left.
 *
 * Threads: sender and receiver work on the workers of their pairs. open() and close() run on the
 * builder.
 */
#ifndef NET_SWITCH_H
#define NET_SWITCH_H

#include "device.h"
#include "fdb.h"

#define SWITCH_PORTS FDB_PORTS
#define SWITCH_SHARE 64u
#define SWITCH_STUCK 64u
#define SWITCH_GRACE_NS 2000000ull
#define SWITCH_WAIT_NS 200000000ull /* TCP sends again after that long (Linux: RTO_MIN) */
#define SWITCH_MEMOS 8u
#define INBOX_ENTRIES (SWITCH_PORTS * SWITCH_SHARE)
#define INBOX_BATCH 32u /* frames copied without looking at the inbox again */

struct sender;

/* A frame on its way: the plugin's state of its chain (struct hvv_chain). */
struct kept {
    struct hvv_chain *chain;
    struct sender *from;
    uint64_t since;      /* it was sent */
    struct frame frame;
    atomic_uint refs;    /* inboxes it is in; one more while it is being put into several */
    atomic_bool stuck;   /* counts in its sender's `stuck` */
};

/* An answer of the address table that still holds. */
struct memo {
    uint64_t mac;
    uint64_t until;
    uint32_t generation; /* of the table */
    uint32_t port;
};

/* The transmit queue of a pair. Its worker's, but for what is said. */
struct sender {
    struct pair *pair;
    struct port *port;
    uint64_t now;             /* in this batch; 0: not asked yet */
    uint64_t dirty;           /* slots that got frames in this batch */
    struct memo seen[SWITCH_MEMOS], found[SWITCH_MEMOS];
    atomic_uint stuck;        /* frames that wait for receivers without buffers; any thread */
    struct hvv_task resume;
    atomic_flag resume_posted;
    uint32_t waits_at;        /* the slot where it is or was among the waiters, or FDB_NONE */
    struct sender *next;      /* in the list of waiters; under that slot's lock */
};

struct entry {
    struct kept *kept;
    uint32_t given;  /* segments that went through, for rx_give() */
    bool cancelled;  /* the sender wants it back while it is being copied */
};

/* The receive queue of a pair. Under the slot's lock, but for what is said. */
struct inbox {
    struct pair *pair;        /* constant */
    pthread_mutex_t *lock;    /* the slot's; constant */
    struct hvv_timer *timer;  /* the pair's worker's */
    struct entry *entries;    /* a ring of INBOX_ENTRIES, oldest first */
    uint32_t head;
    atomic_uint n;            /* read by the worker without the lock, to see if there is any */
    uint32_t busy;            /* the first ones of them are being copied: only marked by others */
    bool running;             /* this and the next ones: written by the pair's worker alone */
    bool dry;                 /* the guest has no buffers */
    bool stalled;             /* and had none for a while */
    bool refuses;             /* and had none for long: nothing may wait */
    bool timed;               /* the timer is set */
    uint16_t held[SWITCH_PORTS]; /* how many are from each port */
    struct sender *waiters;   /* who has its share full here */
};

/* What pair->backend is. */
struct end {
    struct sender tx;
    struct inbox rx __attribute__((aligned(64)));
};

/* What net->backend_state is. */
struct port {
    struct net *net;
    struct lan *lan;
    uint32_t index; /* of its slot */
    bool isolated;
    bool visible;   /* between publish() and stop() */
    bool up;        /* its addresses are known; under the switch's lock */
    struct end end[];
};

static inline struct end *end_of(const struct pair *pair)
{
    return pair->backend;
}

/* ---- inbox.c --------------------------------------------------------------------------------- */

int32_t inbox_init(struct inbox *in, struct pair *pair, pthread_mutex_t *lock); /* 0 or -errno */
void inbox_free(struct inbox *in);

/* These with the slot's lock held. */

/* The share of the sender's port is used up, and waiting helps. */
bool inbox_full(const struct inbox *in, const struct sender *from);
/* The sender is told once there is room, or waiting does not help any more. */
void inbox_wait(struct inbox *in, struct sender *from);
void inbox_forget(struct inbox *in, const struct sender *from);
/* Puts a frame in, with a reference for it. False: it has to be dropped. */
bool inbox_put(struct inbox *in, struct kept *kept);
/* Lets the receiver's worker look, if there is something it does not know of. */
void inbox_wake(struct inbox *in);
/*
 * Takes back up to `max` frames of a sender. What is being copied is not waited for: it is finished
 * by the receiver, copied or not. Returns how many; the caller puts their references.
 */
uint32_t inbox_cancel(struct inbox *in, const struct sender *from, struct kept **out, uint32_t max);

/* These on the worker of the pair, without the lock. */

/* The guest has buffers, or may have: begins to receive, or goes on. */
void inbox_receive(struct inbox *in);
/* Goes on if there is something. Returns how many frames were given. */
uint32_t inbox_poll(struct inbox *in);
void inbox_stop(struct inbox *in);

/* A reference less; the last one finishes the chain, and the sender's device may be gone. Any. */
void kept_put(struct kept *kept);

#endif
