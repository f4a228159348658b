/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtq.h - one virtqueue as the device sees it (virtio 1.2, section 2.6).
 *
 *     notify.c   is there something to take? suppress and enable the driver's notifications
 *     chain.c    take a chain: walk, check, snapshot                        (door: a chain popped)
 *     used.c     finish a chain: stage the used entry, publish a batch, decide on the interrupt
 *     split.c    the words of a split ring in guest memory; packed rings will be a file beside it
 *     virtq.c    life: new, start, stop, memory change
 *
 * A queue is used by one thread, its worker; only virtq_complete() and virtq_fail() of a chain may
 * be called elsewhere (they post). The queue knows no transport and no plugin: what it has to say
 * goes through struct virtq_owner.
 *
 *     IDLE -> virtq_start -> RUNNING -> virtq_stop -> STOPPING -> (last chain finished) -> IDLE
 */
#ifndef HOST_VIRTQ_VIRTQ_H
#define HOST_VIRTQ_VIRTQ_H

#include "loop/loop.h"
#include "memory/memory.h"

#include <hvv/chain.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIRTQ_SIZE_MAX 32768u    /* of a split ring, by the specification */
#define VIRTQ_INDIRECT_MAX 1024u /* entries of an indirect table we walk */
#define VIRTQ_TURN 256u          /* chains popped per turn: one queue cannot starve others */
#define CHAIN_INLINE_IOV 8u      /* iovecs a chain holds without extra memory */
#define CHAIN_KEEP_IOV 256u      /* and with: more are given back when the chain is finished */

enum virtq_state { VIRTQ_IDLE, VIRTQ_RUNNING, VIRTQ_STOPPING };

/* Where the ring is and what was negotiated. Addresses are guest addresses. */
struct virtq_setup {
    uint32_t size;
    uint64_t desc, avail, used; /* descriptor area, driver area, device area */
    uint16_t next_avail;        /* index of the first chain to take */
    uint64_t features;          /* negotiated */
};

/* The same as pointers into this process, found by virtq_resolve(). */
struct virtq_ring {
    void *desc, *avail, *used;
};

struct virtq;

/* What a queue needs from whoever owns it. Called on the queue's worker. */
struct virtq_owner {
    void (*interrupt)(void *arg);                 /* tell the driver: used buffers */
    void (*broken)(void *arg, const char *text);  /* the driver broke the rules */
    void (*idle)(void *arg);                      /* the last chain of a stopping queue finished */
    void (*memory_done)(void *arg);               /* the previous snapshot is no longer used */
};

/* Counted by the worker, but for notifications; read by anybody. */
struct virtq_stats {
    _Atomic uint64_t notifications, chains, bytes_in, bytes_out, interrupts, errors;
};

/*
 * Counts on the worker. Not a locked add: that would wait until all was written that went before it,
 * and payload goes to memory that the driver's CPU has in its cache.
 */
static inline void virtq_count(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + n, memory_order_relaxed);
}

/* How many chains the plugin has: written by the worker alone. */
static inline uint32_t virtq_add_in_flight(_Atomic uint32_t *in_flight, int32_t n)
{
    uint32_t now = atomic_load_explicit(in_flight, memory_order_relaxed) + (uint32_t)n;
    atomic_store_explicit(in_flight, now, memory_order_relaxed);
    return now;
}

/* FINISHED: by the plugin, and on its way to the worker. HELD: waits there for those before it. */
enum chain_state { CHAIN_FREE, CHAIN_OWNED, CHAIN_FINISHED, CHAIN_HELD };

/*
 * A chain, `pub` first so that a plugin's pointer is ours. One per possible head; filled in when
 * that head first comes, so that a large ring costs memory only as far as it is used.
 *
 * All that is written for a chain of one buffer is in its first two cache lines: a queue has more
 * chains than the processor's first cache has room for, and writes wait for each other.
 */
#define CHAIN_ALIGN 64u /* of the usual processor's cache lines */
struct chain {
    alignas(CHAIN_ALIGN) struct hvv_chain pub;
    struct iovec *iov;        /* inline_iov, or malloc()ed when that was too small */

    struct virtq *vq;
    atomic_uint state;        /* enum chain_state */
    uint32_t written;
    uint32_t generation;      /* of the queue when it was popped */
    uint32_t seq;             /* position in pop order */
    uint16_t head;
    uint16_t n_iov, max_iov;
    bool failed;
    uint8_t epoch;            /* which memory snapshot it uses */
    struct iovec inline_iov[CHAIN_INLINE_IOV];

    struct hvv_task task;     /* finishing it from another thread */
    char *fail_text;          /* why, if it failed; NULL if memory ran out for that */
};
_Static_assert(offsetof(struct chain, inline_iov[1]) <= 2 * CHAIN_ALIGN, "what is written together");

struct ring_ops;

struct virtq {
    const struct virtq_owner *owner;
    void *owner_arg;
    struct loop *loop;         /* of the worker, for chains finished elsewhere */
    struct hvv_device *dev;    /* goes into chains, not used here */
    const struct ring_ops *ops;
    uint32_t index;
    uint32_t max_size;
    uint32_t segments;         /* buffers one chain can need */
    size_t stride;             /* of one chain with the plugin's state */
    void *chain_memory;        /* what `chains` is in, aligned */
    char *chains;              /* max_size of them */
    struct chain **order;      /* by seq % max_size: for completions held back (IN_ORDER) */

    enum virtq_state state;
    bool settling;             /* stopped, and the plugin is being told */
    bool broken;
    atomic_bool misused;       /* the plugin finished a chain twice; any thread */
    struct virtq_setup setup;
    struct virtq_ring ring;
    bool event_idx, indirect, in_order;

    /* Two snapshots at most: chains of the previous one keep it until they are finished. */
    struct memory *memory[2];
    uint32_t using[2];         /* chains in flight per snapshot */
    uint8_t epoch;             /* which one new chains use */

    uint32_t generation;       /* chains of an older one are not shown to the driver */
    _Atomic uint32_t in_flight; /* chains the plugin has; read by anybody */
    uint16_t next_avail;       /* avail index of the next chain to take */
    uint16_t seen_avail;       /* avail->idx as last read */
    uint16_t used_idx;         /* staged; what is published may lag until virtq_flush() */
    uint16_t published_idx;
    bool used_known;           /* used_idx was read from the ring since it started */
    bool interrupt_known;      /* published_idx is what the driver was last told */
    uint32_t seq_next;         /* of the next chain popped */
    uint32_t seq_used;         /* of the next chain to show, with IN_ORDER */
    uint32_t held;             /* chains in CHAIN_HELD */
    uint32_t turn;             /* chains popped in this turn */
    bool drained;              /* the last pop found fewer than asked for */
    bool quiet;                /* notifications are suppressed */

    struct virtq_stats stats;
    void *table;               /* an indirect table, copied: VIRTQ_INDIRECT_MAX entries */
};

/* ---- virtq.c: life --------------------------------------------------------------------------- */

struct virtq *virtq_new(uint32_t index, uint32_t max_size, uint32_t segments, uint32_t chain_state,
                        struct hvv_device *dev);
void virtq_free(struct virtq *vq); /* idle; NULL is fine */
void virtq_attach(struct virtq *vq, struct loop *loop, const struct virtq_owner *owner, void *arg);

/*
 * Checks a setup against the queue's limits and a memory snapshot: sizes, alignment, that each area
 * is guest memory in one piece. Touches nothing. Any thread. 0 or -EINVAL, -EFAULT with error set.
 */
int virtq_resolve(const struct virtq *vq, const struct virtq_setup *setup,
                  const struct memory *memory, struct virtq_ring *ring, struct error *error);

/* Starts with a resolved setup; takes a reference on `memory`. Worker. */
void virtq_start(struct virtq *vq, const struct virtq_setup *setup, const struct virtq_ring *ring,
                 struct memory *memory);

/*
 * No more chains are popped. `discard`: chains still in flight are not shown to the driver when
 * they finish (a reset); otherwise they are. Once the plugin was told, virtq_settle() must follow:
 * then, or when the last chain is finished later, comes owner->idle(). Worker, running queue.
 */
void virtq_stop(struct virtq *vq, bool discard);
void virtq_settle(struct virtq *vq);

/*
 * New chains use `memory` (a reference is taken) and `ring`. owner->memory_done() follows when no
 * chain uses the one before; until then this may not be called again. Worker, running queue.
 */
void virtq_set_memory(struct virtq *vq, struct memory *memory, const struct virtq_ring *ring);

/* A file behind guest memory got shorter: what is read there is zeroes. Worker, running queue. */
bool virtq_lost_memory(const struct virtq *vq);

/*
 * Latches the queue: nothing is popped or shown any more. Tells the owner once, why; if guest
 * memory was lost, that is the reason, whatever was found in the zeroes. Worker.
 */
void virtq_break(struct virtq *vq, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Between the files of this folder. */
struct chain *virtq_chain(const struct virtq *vq, uint32_t head);
void virtq_last_gone(struct virtq *vq, uint8_t epoch); /* of a snapshot or of the queue, maybe */

/* A chain no longer uses its snapshot. */
static inline void virtq_let_go(struct virtq *vq, uint8_t epoch)
{
    uint32_t left = virtq_add_in_flight(&vq->in_flight, -1);
    if (--vq->using[epoch] == 0 || left == 0)
        virtq_last_gone(vq, epoch);
}

/* ---- notify.c -------------------------------------------------------------------------------- */

/* True if the plugin is to be notified: chains are available and it is not holding back. Worker. */
bool virtq_wants_service(struct virtq *vq);

/* The plugin is being notified: not again before a virtq_pop() finds fewer than asked. Worker. */
void virtq_hold_back(struct virtq *vq);

/* A new turn begins: the budget of virtq_pop() is full again. Worker. */
void virtq_begin_turn(struct virtq *vq);

/* Asks the driver not to notify while the worker looks at the ring by itself. Worker. */
void virtq_suppress(struct virtq *vq);

/*
 * Asks the driver to notify, before the worker sleeps. Returns true if chains became available
 * meanwhile: then do not sleep. Worker.
 */
bool virtq_enable(struct virtq *vq);

/* ---- chain.c --------------------------------------------------------------------------------- */

/* Takes up to `max` chains. Fewer means no more for now. Worker. */
uint32_t virtq_pop(struct virtq *vq, struct hvv_chain **chains, uint32_t max);

/* ---- used.c ---------------------------------------------------------------------------------- */

/* Finishes a chain, from any thread. */
void virtq_complete(struct hvv_chain *chain, uint32_t written);
void virtq_fail(struct hvv_chain *chain, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));

/* Gives the newest chain back. Worker. */
void virtq_release(struct hvv_chain *chain);

/* Shows the driver what was finished since the last flush; at most one interrupt. Worker. */
void virtq_flush(struct virtq *vq);

/* ---- rings: split.c -------------------------------------------------------------------------- */

/* One descriptor, copied once from guest memory and normalised. */
struct ring_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};

/* The words of one ring format. Nothing outside these functions touches the ring. */
struct ring_ops {
    int (*resolve)(const struct virtq_setup *setup, const struct memory *memory,
                   struct virtq_ring *ring, struct error *error);
    /* How many chains are available from next_avail on, or -1 after virtq_break(). */
    int (*available)(struct virtq *vq);
    /* Head of the chain at next_avail, unchecked. */
    uint32_t (*head)(struct virtq *vq);
    struct ring_desc (*desc)(struct virtq *vq, uint32_t i);
    void (*read_used)(struct virtq *vq);
    void (*put_used)(struct virtq *vq, uint32_t head, uint32_t written);
    void (*publish)(struct virtq *vq);
    bool (*wants_interrupt)(struct virtq *vq); /* door: the driver's suppression word */
    void (*suppress)(struct virtq *vq);
    void (*enable)(struct virtq *vq);
};
extern const struct ring_ops split_ring;

#endif
