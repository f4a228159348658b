/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * interrupts.h - interrupts of all zones behind one bridge, from "a bit of InterruptStatus was set"
 * to "the other side was told".
 *
 * A line is what a virtio-mmio slot has: a zone, an irq, an InterruptStatus. Setting bits injects
 * the irq: it is put into the bridge's list of results, and the platform tells the other side.
 *   - Edges: each raise injects, even while bits are set, since a guest may have looked just
 *     before. Only an injection that is still with us takes up the raises that come meanwhile, and
 *     one that was acknowledged before it left is dropped.
 *   - Levels: raises are merged until the guest acknowledged all; then the line is deasserted. If
 *     the other side takes it down by itself whenever the guest writes InterruptACK (no
 *     deassert()), it is injected again if anything is left after that.
 *   - Watchdog (edges): interrupt controllers drop an edge while they still handle the one before.
 *     A line whose bits stay set is injected again after a while, and, if that does not help, again
 *     after twice the time, up to INTERRUPTS_SLOWEST_NS.
 *   - Limit: so many lines of a zone may be injected and not acknowledged. One more waits for an
 *     acknowledgement, or for a time, in the order of the raises; then the line that waits longest
 *     for its guest no longer counts.
 *   - No room in the list: the rest is tried a little later.
 * Raises that wait are merged per line, so nothing grows. With nothing to wait for no timer runs.
 *
 * Threads: each `struct interrupts` has one of its own. If telling the other side may block, or
 * lines have to be deasserted, all injecting is done there, batched; else by the thread that
 * raises, and its own thread wakes up only for what has to wait (watchdog, limit, room).
 */
#ifndef HOST_TRANSPORT_BRIDGE_INTERRUPTS_H
#define HOST_TRANSPORT_BRIDGE_INTERRUPTS_H

#include "transport/bridge/bridge.h"
#include "util/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define INTERRUPTS_LIMIT_WAIT_NS 50000000ull /* usual values */
#define INTERRUPTS_WATCHDOG_NS 10000000ull
#define INTERRUPTS_SLOWEST_NS 1000000000ull

struct interrupts_ops {
    /*
     * Tells the other side that there are results. If that never waits, it is called on any thread
     * that raises, perhaps on several at once; else only on our own.
     */
    void (*finish)(void *arg);
    /* Levels: the guest acknowledged all. On our own thread, may wait. NULL: see above. */
    void (*deassert)(void *arg, uint32_t zone, uint32_t irq);
    bool finish_may_wait; /* finish() can take long */
};

struct interrupts_setup {
    struct bridge *bridge; /* only we push to it; it outlives us */
    const struct interrupts_ops *ops;
    void *arg;
    bool level;
    uint32_t limit;         /* lines of a zone, 0: none */
    uint64_t limit_wait_ns; /* 0: for ever */
    uint64_t watchdog_ns;   /* the first time; 0: none. Levels need none */
};

enum interrupts_counter {
    INTERRUPTS_INJECTED,  /* pushed to the other side, repeated ones too */
    INTERRUPTS_COALESCED, /* raises that needed no injection of their own */
    INTERRUPTS_WAITED,    /* injections that had to wait because of the limit */
    INTERRUPTS_REPEATED,  /* injections by the watchdog */
    INTERRUPTS_COUNTERS
};

struct interrupts;

/* Memory of the caller, from interrupts_add() until interrupts_forget(). */
struct irq_line {
    _Atomic uint32_t status; /* InterruptStatus; a register file may clear bits itself */
    _Atomic uint64_t counters[INTERRUPTS_COUNTERS];
    /* Ours. */
    struct interrupts *interrupts;
    uint32_t zone, irq;
    _Atomic uint32_t flags;
    /* From here on under the lock of `interrupts`. */
    TAILQ_ENTRY(irq_line) queue_link, watch_link;
    bool queued, watched;    /* in a list */
    bool waits;              /* for a place within the limit */
    bool repeat;             /* the watchdog queued it */
    uint64_t injected_at;    /* the last time */
    uint64_t patience;       /* until the watchdog injects again */
};

/* Starts the thread. NULL with error set. */
struct interrupts *interrupts_new(const struct interrupts_setup *setup, struct error *error);
/*
 * Ends the thread, after it handed over what it could; waits for a finish() that is under way. No
 * line is left, or none is used any more. NULL is fine.
 */
void interrupts_free(struct interrupts *its);

/* `zone` is below HVV_BRIDGE_ZONES. Any thread; cannot fail. */
void interrupts_add(struct interrupts *its, struct irq_line *line, uint32_t zone, uint32_t irq);

/*
 * From its return on nothing here touches the line, which may then be added again; what was in the
 * list of results stays there. Any thread, never waits for finish(). The caller makes sure that its
 * own calls with this line have returned before the memory goes; a raise that is only late (the
 * memory is still there) does nothing. An asserted line is deasserted a little later.
 */
void interrupts_forget(struct irq_line *line);

/*
 * Sets bits in InterruptStatus and gets the interrupt injected. What the guest is to find (used
 * entries, configuration) was written before. Any thread, never waits for the other side.
 */
void interrupts_raise(struct irq_line *line, uint32_t bits);

/*
 * Clears bits, as the guest asked by InterruptACK, or all of them at a reset (UINT32_MAX). If a
 * register file cleared them, this follows, with 0. Before the access is answered, so that a guest
 * that looks at its queues next finds what came before the bits it lost. Any thread, takes no lock.
 */
void interrupts_acknowledge(struct irq_line *line, uint32_t bits);

/* What the guest reads from InterruptStatus. */
static inline uint32_t interrupts_status(const struct irq_line *line)
{
    return atomic_load(&line->status);
}

/* Of a line; of all lines that a zone had. Any thread. */
uint64_t interrupts_counter(const struct irq_line *line, enum interrupts_counter which);
uint64_t interrupts_zone_counter(const struct interrupts *its, uint32_t zone,
                                 enum interrupts_counter which);
/* How often the thread woke up. Any thread. */
uint64_t interrupts_turns(const struct interrupts *its);

#endif
