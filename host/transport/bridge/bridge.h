/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bridge.h - our side of one bridge page (hvv/bridge.h): register accesses of stopped vCPUs come
 * in, answers and interrupts go out.
 *
 * The page is memory of somebody else, mapped by the platform, which keeps it mapped as long as
 * the bridge is used. What is read from it is read once, checked, and used from the copy; the
 * indices that are ours are never read back. A producer that breaks the rules gets no more than
 * wrong answers:
 *   - an index that cannot be: the bridge is broken, said once, and nothing is taken any more;
 *   - an entry that cannot be: answered with 0 if a vCPU waits for it, else dropped; counted;
 *   - a second request of a CPU whose first is not answered yet: dropped and counted. There is one
 *     answer, to the first. It changes the flag both wait on, so nobody hangs; a CPU number may be
 *     used by another vCPU only when the answer has come.
 *
 * Threads: bridge_take(), bridge_awake(), bridge_may_sleep() and bridge_release_unheard() on one
 * thread, the access thread. Any thread may answer. Interrupts are pushed by one thread at a time
 * (interrupts.h sees to it).
 */
#ifndef HOST_TRANSPORT_BRIDGE_BRIDGE_H
#define HOST_TRANSPORT_BRIDGE_BRIDGE_H

#include "util/error.h"
#include "util/log.h"

#include <hvv/bridge.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One register access, checked. */
struct bridge_access {
    uint64_t address; /* guest physical */
    uint64_t value;   /* of a write: `size` bytes, the rest is 0; of a read 0 */
    uint32_t cpu;     /* below HVV_BRIDGE_CPUS */
    uint32_t zone;    /* below HVV_BRIDGE_ZONES */
    uint8_t size;     /* 1, 2, 4 or 8 */
    bool write;
    bool waits;       /* for bridge_answer(), exactly one; else none may come */
};

struct bridge_counters {
    _Atomic uint64_t taken;    /* accesses given to the caller */
    _Atomic uint64_t answered;
    _Atomic uint64_t invalid;  /* entries that cannot be */
    _Atomic uint64_t repeated; /* requests of a CPU that waits already */
    _Atomic uint64_t refused;  /* answers nobody waited for: a bug of ours */
};

struct bridge {
    struct hvv_bridge_page *page;
    const char *name;               /* for log lines; the caller's */
    /* Any thread, after each answer: wakes the vCPU if it sleeps. Or NULL. */
    void (*answered)(void *arg, uint32_t cpu);
    void *arg;
    uint32_t req_front;             /* access thread */
    uint32_t heard;                 /* access thread: a bit per CPU that handed something over */
    bool asked;                     /* access thread: need_wakeup may be 1 */
    uint32_t res_rear;              /* whoever pushes */
    _Atomic uint32_t outstanding;   /* a bit per CPU that waits for its answer */
    atomic_bool broken;
    struct bridge_counters counters;
    struct log_limit log_limit;
};

/*
 * `page` is filled with zeroes, or as a daemon before us left it: then what it did not take yet is
 * taken. 0 or -EINVAL with error set. Nothing has to be undone.
 */
int bridge_init(struct bridge *bridge, struct hvv_bridge_page *page, const char *name,
                void (*answered)(void *arg, uint32_t cpu), void *arg, struct error *error);

/*
 * Takes the oldest access. False: there was none, or nothing but invalid ones; ask
 * bridge_may_sleep() which. Looks at no more entries than the list has.
 */
bool bridge_take(struct bridge *bridge, struct bridge_access *access);

/*
 * Lets the vCPU that waits on `cpu` go on, with `size` bytes of `value` (a write: 0). False if none
 * waits: it has had its answer, or there was nothing to answer; then the page is not touched.
 */
bool bridge_answer(struct bridge *bridge, uint32_t cpu, uint8_t size, uint64_t value);

/*
 * The end: answers all that wait with 0. Answers that come later are refused; one that has begun on
 * another thread may still write to the page.
 */
void bridge_answer_all(struct bridge *bridge);

/*
 * Lets go the vCPUs that nothing was heard of. They may be waiting since they handed over a request
 * on the page before this one, and nobody else can know of it; one that does not wait takes no
 * notice. It must not be between its look at its flag and handing over its request, so this is for
 * a time when those that run have been heard of. Access thread.
 */
void bridge_release_unheard(struct bridge *bridge);

/* Producers need not signal us, we look. */
void bridge_awake(struct bridge *bridge);
/*
 * Asks producers to signal us, then looks once more. False: there is something to take, and we are
 * awake as before.
 */
bool bridge_may_sleep(struct bridge *bridge);

/* The other side cannot be understood any more. Nothing is taken or pushed; answers still work. */
bool bridge_broken(const struct bridge *bridge);

/* False: no room. Stays true until something is pushed. */
bool bridge_has_room(struct bridge *bridge);
/* Puts an interrupt into the list; false: no room. The other side still has to be told. */
bool bridge_push_interrupt(struct bridge *bridge, uint32_t zone, uint32_t irq);

/* The low `size` bytes. */
static inline uint64_t bridge_truncate(uint64_t value, uint8_t size)
{
    return size < 8 ? value & ((1ull << (8 * size)) - 1) : value;
}

#endif
