/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * interrupts.c - see interrupts.h.                   (visible to others: an interrupt is raised)
 *
 * No edge is lost. A line has two words, `status`, which the guest sees, and `flags`, which are
 * ours. A raise sets bits in `status`, then sets QUEUED in `flags`. Who injects clears QUEUED, then
 * looks at `status`, then pushes. All of these are read-modify-writes or sequentially consistent:
 *   - A raise that finds QUEUED set is merged into an injection that is not pushed yet: QUEUED is
 *     cleared after that in the order of `flags`, so the push, and the guest's look at `status`,
 *     come after its bits. A raise that finds QUEUED clear queues the line itself.
 *   - Bits already 0 when QUEUED was cleared: the acknowledgement came after the raise. It is
 *     answered after it took the bits away, so when the guest goes on it sees all that was written
 *     before the raise. (A driver that looks at its queues before it acknowledges, and not after,
 *     loses edges with any virtio-mmio device.)
 *   - What the other side then drops, the watchdog repeats as long as `status` is not 0.
 *
 * HELD in `flags`: the line counts for its zone's limit. It is set when the line is injected, and
 * cleared by whoever finds `status` 0, unless an injection came between the two looks: each adds
 * to the number above the flags, so that the compare-exchange fails. Who injects looks at `status`
 * once more after setting HELD, in case the acknowledgement has just passed. ASSERTED is the same
 * for levels; there a raise is merged while it is set, so who clears it looks at `status` again:
 * our thread when it deasserts, or, if there is no deassert(), each acknowledgement.
 *
 * The acknowledging thread takes no lock: a worker that was stopped while it holds ours must not
 * hold up a vCPU that reads registers. If a line waits for the limit, it wakes our thread. It looks
 * for waiting lines after it gave its place back, and a line that has to wait looks for a place
 * after it was counted as waiting: one of the two sees the other.
 */
#include "transport/bridge/interrupts.h"

#include "loop/loop.h"
#include "util/container.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* irq_line.flags */
#define QUEUED 1u    /* to be injected */
#define HELD 2u      /* counts for the limit */
#define ASSERTED 4u  /* levels: the other side holds the line asserted */
#define FORGOTTEN 8u /* raises do nothing */
#define INJECTION 16u /* one of the number of injections, which has the other bits */

#define RETRY_FIRST_NS 50000u /* no room: look again, later each time */
#define RETRY_MAX_NS 50000000u
#define TIMER_MIN_NS 1000u

TAILQ_HEAD(line_list, irq_line);

struct zone {
    _Atomic int32_t held;     /* lines with HELD */
    _Atomic uint32_t waiting; /* lines with `waits`; changed under the lock */
    uint64_t release_at;      /* when the first of them goes on without an acknowledgement */
    uint64_t passed;          /* the last pass that left one of them waiting */
    _Atomic uint64_t counters[INTERRUPTS_COUNTERS];
};

/* What is left of a line that was forgotten while asserted. */
struct leftover {
    SLIST_ENTRY(leftover) link;
    uint32_t zone, irq;
};

struct interrupts {
    struct bridge *bridge;
    const struct interrupts_ops *ops;
    void *arg;
    bool level, threaded;    /* threaded: only our thread injects */
    uint32_t limit;
    uint64_t limit_wait_ns, watchdog_ns;
    uint32_t marks;          /* flags that an injection sets */

    pthread_t thread;
    struct loop *loop;
    struct timer *timer;
    bool stop;               /* our thread */
    struct hvv_task stop_task, kick_task;
    atomic_bool kicked;      /* kick_task is posted */
    _Atomic uint64_t turns;

    pthread_mutex_t lock;    /* never held while others are told or waited for */
    struct line_list queue;  /* lines to be injected, oldest first */
    struct line_list watched; /* lines that were, oldest first; gone some time after settled */
    SLIST_HEAD(, leftover) leftovers;
    uint64_t retry_at;       /* there was no room, nothing is tried before; or 0 */
    uint64_t retry_ns;
    uint64_t pass;           /* calls of inject_all() */
    uint64_t wanted;         /* the earliest time somebody waits for, or 0 */
    uint64_t timer_at;       /* what the timer is set to, or 0 */
    struct zone zones[HVV_BRIDGE_ZONES];
};

static struct zone *zone_of(struct irq_line *line)
{
    return &line->interrupts->zones[line->zone];
}

static void count(struct irq_line *line, enum interrupts_counter which)
{
    atomic_fetch_add_explicit(&line->counters[which], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&zone_of(line)->counters[which], 1, memory_order_relaxed);
}

/* Any thread: our thread has a look at everything. */
static void kick(struct interrupts *its)
{
    if (!atomic_exchange(&its->kicked, true))
        loop_post(its->loop, &its->kick_task);
}

/* ---- a line and its guest -------------------------------------------------------------------- */

/* Clears `flag` if the guest has acknowledged all there was when it was set. True if it did. */
static bool clear_if_settled(struct irq_line *line, uint32_t flag)
{
    uint32_t flags = atomic_load(&line->flags);
    while ((flags & flag) && atomic_load(&line->status) == 0)
        if (atomic_compare_exchange_weak(&line->flags, &flags, flags & ~flag))
            return true;
    return false;
}

/* Bits may have been cleared. True if our thread has something to do. Any thread, no lock. */
static bool settle(struct irq_line *line)
{
    bool look = false;
    if (clear_if_settled(line, HELD)) {
        atomic_fetch_sub(&zone_of(line)->held, 1);
        look = atomic_load(&zone_of(line)->waiting) > 0;
    }
    return look || ((atomic_load(&line->flags) & ASSERTED) && atomic_load(&line->status) == 0);
}

/* A level that the guest takes down by acknowledging: is there more? */
static bool take_down(struct irq_line *line)
{
    uint32_t flags = atomic_fetch_and(&line->flags, ~ASSERTED);
    return (flags & ASSERTED) && atomic_load(&line->status) != 0;
}

void interrupts_acknowledge(struct irq_line *line, uint32_t bits)
{
    struct interrupts *its = line->interrupts;
    bool look = false;
    if (bits)
        atomic_fetch_and(&line->status, ~bits);
    if (its->level && !its->ops->deassert)
        look = take_down(line);
    if (settle(line) || look)
        kick(its);
}

/* ---- lists; under the lock ------------------------------------------------------------------- */

static void want(struct interrupts *its, uint64_t when)
{
    if (!its->wanted || when < its->wanted)
        its->wanted = when;
}

static void enqueue(struct irq_line *line, bool repeat)
{
    if (line->queued)
        return;
    line->queued = true;
    line->repeat = repeat;
    TAILQ_INSERT_TAIL(&line->interrupts->queue, line, queue_link);
}

static void dequeue(struct irq_line *line)
{
    if (!line->queued)
        return;
    line->queued = false;
    TAILQ_REMOVE(&line->interrupts->queue, line, queue_link);
    if (line->waits)
        atomic_fetch_sub(&zone_of(line)->waiting, 1);
    line->waits = false;
}

static void unwatch(struct irq_line *line)
{
    if (line->watched)
        TAILQ_REMOVE(&line->interrupts->watched, line, watch_link);
    line->watched = false;
}

static void watch(struct irq_line *line)
{
    unwatch(line);
    line->watched = true;
    TAILQ_INSERT_TAIL(&line->interrupts->watched, line, watch_link);
}

/* ---- injecting; under the lock --------------------------------------------------------------- */

static bool give_up_place(struct irq_line *line)
{
    if (!(atomic_fetch_and(&line->flags, ~HELD) & HELD))
        return false;
    atomic_fetch_sub(&zone_of(line)->held, 1);
    return true;
}

/* The line of the zone that was injected longest ago no longer counts. */
static void presume_lost(struct interrupts *its, uint32_t zone)
{
    struct irq_line *line;
    TAILQ_FOREACH(line, &its->watched, watch_link)
        if (line->zone == zone && give_up_place(line))
            return;
}

static bool below_limit(struct irq_line *line)
{
    return atomic_load(&zone_of(line)->held) < (int32_t)line->interrupts->limit;
}

static void start_waiting(struct irq_line *line, uint64_t now)
{
    struct interrupts *its = line->interrupts;
    line->waits = true;
    if (atomic_fetch_add(&zone_of(line)->waiting, 1) == 0)
        zone_of(line)->release_at = now + its->limit_wait_ns;
}

/* The line has begun to wait. True if that is over. */
static bool may_go_on(struct irq_line *line, uint64_t now)
{
    struct interrupts *its = line->interrupts;
    struct zone *zone = zone_of(line);
    if (zone->passed == its->pass) /* an older one waits */
        return false;
    if (below_limit(line))
        return true;
    if (!its->limit_wait_ns)
        return false;
    if (now < zone->release_at) {
        want(its, zone->release_at);
        return false;
    }
    presume_lost(its, line->zone);
    return true;
}

/* False: the line has to wait for the limit. */
static bool has_place(struct irq_line *line, uint64_t now)
{
    struct interrupts *its = line->interrupts;
    bool first = !line->waits;
    if (!its->limit || (atomic_load(&line->flags) & HELD) || !atomic_load(&line->status))
        return true;
    if (first && !atomic_load(&zone_of(line)->waiting) && below_limit(line))
        return true;
    if (first)
        start_waiting(line, now);
    if (may_go_on(line, now))
        return true;
    if (first)
        count(line, INTERRUPTS_WAITED);
    zone_of(line)->passed = its->pass;
    return false;
}

static void note_injected(struct irq_line *line, uint64_t now)
{
    struct interrupts *its = line->interrupts;
    count(line, INTERRUPTS_INJECTED);
    if (line->repeat)
        count(line, INTERRUPTS_REPEATED);
    if (!its->marks && !its->watchdog_ns)
        return;
    line->injected_at = now;
    watch(line);
    if (!its->watchdog_ns)
        return;
    if (!line->repeat)
        line->patience = its->watchdog_ns;
    else if (2 * line->patience <= INTERRUPTS_SLOWEST_NS)
        line->patience *= 2;
    want(its, now + line->patience);
}

/* The flags that an injection sets, and its number. */
static void mark_injected(struct irq_line *line)
{
    uint32_t marks = line->interrupts->marks;
    uint32_t flags = atomic_load(&line->flags), marked;
    do
        marked = (flags | marks) + INJECTION;
    while (!atomic_compare_exchange_weak(&line->flags, &flags, marked));
    if ((marks & HELD) && !(flags & HELD))
        atomic_fetch_add(&zone_of(line)->held, 1);
}

/* The line has a place, the list has room. True if an interrupt was pushed. */
static bool inject(struct irq_line *line, uint64_t now)
{
    struct interrupts *its = line->interrupts;
    uint32_t flags = atomic_fetch_and(&line->flags, ~QUEUED);
    if (line->waits) /* the next one waits from now on */
        zone_of(line)->release_at = now + its->limit_wait_ns;
    dequeue(line);
    if (atomic_load(&line->status) == 0 || (flags & ASSERTED)) {
        if (!line->repeat)
            count(line, INTERRUPTS_COALESCED);
        return false;
    }
    mark_injected(line);
    bridge_push_interrupt(its->bridge, line->zone, line->irq);
    note_injected(line, now);
    if (settle(line))
        kick(its);
    return true;
}

/* Injects what can be. True if the other side is to be told, after the lock was let go. */
static bool inject_all(struct interrupts *its, uint64_t now)
{
    struct irq_line *line, *next;
    bool tell = false;
    its->pass++;
    for (line = TAILQ_FIRST(&its->queue); line && !its->retry_at; line = next) {
        next = TAILQ_NEXT(line, queue_link);
        bool room = bridge_has_room(its->bridge);
        if (bridge_broken(its->bridge))
            return tell;
        if (!room) {
            its->retry_ns = its->retry_ns ? 2 * its->retry_ns : RETRY_FIRST_NS;
            if (its->retry_ns > RETRY_MAX_NS)
                its->retry_ns = RETRY_MAX_NS;
            its->retry_at = now + its->retry_ns;
            tell = true; /* perhaps it did not hear us */
        } else if (has_place(line, now) && inject(line, now)) {
            its->retry_ns = 0;
            tell = true;
        }
    }
    if (its->retry_at)
        want(its, its->retry_at);
    return tell;
}

/* ---- raising --------------------------------------------------------------------------------- */

/* True if the line has to be queued. */
static bool set_queued(struct irq_line *line)
{
    uint32_t flags = atomic_load(&line->flags);
    uint32_t queued;
    do /* writes the word in any case: merged raises are ordered by it */
        queued = flags & (ASSERTED | FORGOTTEN) ? flags : flags | QUEUED;
    while (!atomic_compare_exchange_weak(&line->flags, &flags, queued));
    if (flags & FORGOTTEN)
        return false;
    if (flags & (ASSERTED | QUEUED))
        count(line, INTERRUPTS_COALESCED);
    return !(flags & (ASSERTED | QUEUED));
}

/* Under the lock: this thread may inject. */
static bool inject_here(struct interrupts *its, bool *look)
{
    bool tell = inject_all(its, clock_ns());
    *look = its->wanted && (!its->timer_at || its->wanted < its->timer_at);
    return tell;
}

void interrupts_raise(struct irq_line *line, uint32_t bits)
{
    struct interrupts *its = line->interrupts;
    bool tell = false, look = true;
    atomic_fetch_or(&line->status, bits);
    if (!set_queued(line))
        return;
    pthread_mutex_lock(&its->lock);
    if (atomic_load(&line->flags) & FORGOTTEN) {
        look = false;
    } else {
        enqueue(line, false);
        if (!its->threaded)
            tell = inject_here(its, &look);
    }
    pthread_mutex_unlock(&its->lock);
    /* From here on the line may be gone. */
    if (tell)
        its->ops->finish(its->arg);
    if (look)
        kick(its);
}

/* ---- our thread ------------------------------------------------------------------------------ */

/* Under the lock. A line that is to be deasserted, if there is one. */
static bool next_deassert(struct interrupts *its, uint32_t *zone, uint32_t *irq)
{
    struct irq_line *line;
    struct leftover *left = SLIST_FIRST(&its->leftovers);
    if (left) {
        SLIST_REMOVE_HEAD(&its->leftovers, link);
        *zone = left->zone;
        *irq = left->irq;
        free(left);
        return true;
    }
    TAILQ_FOREACH(line, &its->watched, watch_link) {
        if (!clear_if_settled(line, ASSERTED))
            continue;
        *zone = line->zone;
        *irq = line->irq;
        return true;
    }
    return false;
}

/* Before anything is asserted: with deassert(), raises that come meanwhile wait for this thread. */
static void deassert_all(struct interrupts *its)
{
    uint32_t zone, irq;
    bool found = its->level;
    while (found) {
        pthread_mutex_lock(&its->lock);
        found = next_deassert(its, &zone, &irq);
        pthread_mutex_unlock(&its->lock);
        if (found && its->ops->deassert)
            its->ops->deassert(its->arg, zone, irq);
    }
}

/* Under the lock. Queues the line unless a raise is about to. */
static void queue_again(struct irq_line *line, bool repeat)
{
    if (!(atomic_fetch_or(&line->flags, QUEUED) & QUEUED))
        enqueue(line, repeat);
}

/* Under the lock. Lines that were injected: done with, or in need of another injection. */
static void look_after(struct interrupts *its, uint64_t now)
{
    struct irq_line *line, *next;
    for (line = TAILQ_FIRST(&its->watched); line; line = next) {
        next = TAILQ_NEXT(line, watch_link);
        uint32_t flags = atomic_load(&line->flags);
        if (atomic_load(&line->status) == 0) {
            if (!(flags & ASSERTED))
                unwatch(line);
        } else if (its->level) {
            if (!(flags & ASSERTED)) /* a raise was merged just before that was cleared */
                queue_again(line, false);
        } else if (its->watchdog_ns && !line->queued) {
            if (now < line->injected_at + line->patience)
                want(its, line->injected_at + line->patience);
            else
                queue_again(line, true);
        }
    }
}

static void set_timer(struct interrupts *its)
{
    uint64_t now = clock_ns(), when = its->wanted;
    if (when == its->timer_at && when > now)
        return;
    its->timer_at = when;
    timer_set(its->timer, !when ? 0 : when > now + TIMER_MIN_NS ? when - now : TIMER_MIN_NS);
}

static void serve(struct interrupts *its)
{
    deassert_all(its);
    pthread_mutex_lock(&its->lock);
    uint64_t now = clock_ns();
    its->wanted = 0;
    if (its->retry_at && now >= its->retry_at)
        its->retry_at = 0;
    look_after(its, now);
    bool tell = inject_all(its, now);
    set_timer(its);
    pthread_mutex_unlock(&its->lock);
    if (tell)
        its->ops->finish(its->arg);
}

static void *run(void *arg)
{
    struct interrupts *its = arg;
    while (!its->stop) {
        loop_run_once(its->loop, true);
        serve(its);
        atomic_fetch_add_explicit(&its->turns, 1, memory_order_relaxed);
    }
    return NULL;
}

static void on_kick(struct hvv_task *task)
{
    struct interrupts *its = container_of(task, struct interrupts, kick_task);
    atomic_exchange(&its->kicked, false); /* what was done before a kick is seen by serve() */
}

static void on_timer(void *arg)
{
    struct interrupts *its = arg;
    pthread_mutex_lock(&its->lock);
    its->timer_at = 0;
    pthread_mutex_unlock(&its->lock);
}

static void on_stop(struct hvv_task *task)
{
    container_of(task, struct interrupts, stop_task)->stop = true;
}

/* ---- lines and all of it --------------------------------------------------------------------- */

void interrupts_add(struct interrupts *its, struct irq_line *line, uint32_t zone, uint32_t irq)
{
    memset(line, 0, sizeof(*line));
    line->interrupts = its;
    line->zone = zone;
    line->irq = irq;
}

/* Under the lock. */
static void leave_asserted(struct irq_line *line)
{
    struct leftover *left = malloc(sizeof(*left));
    if (!left) {
        log_warning("%s: out of memory: irq %u of zone %u stays asserted",
                    line->interrupts->bridge->name, line->irq, line->zone);
        return;
    }
    left->zone = line->zone;
    left->irq = line->irq;
    SLIST_INSERT_HEAD(&line->interrupts->leftovers, left, link);
}

void interrupts_forget(struct irq_line *line)
{
    struct interrupts *its = line->interrupts;
    pthread_mutex_lock(&its->lock);
    uint32_t flags = atomic_fetch_or(&line->flags, FORGOTTEN);
    dequeue(line);
    unwatch(line);
    give_up_place(line);
    if ((flags & ASSERTED) && its->ops->deassert)
        leave_asserted(line);
    pthread_mutex_unlock(&its->lock);
    kick(its);
}

uint64_t interrupts_counter(const struct irq_line *line, enum interrupts_counter which)
{
    return atomic_load_explicit(&line->counters[which], memory_order_relaxed);
}

uint64_t interrupts_zone_counter(const struct interrupts *its, uint32_t zone,
                                 enum interrupts_counter which)
{
    return atomic_load_explicit(&its->zones[zone].counters[which], memory_order_relaxed);
}

uint64_t interrupts_turns(const struct interrupts *its)
{
    return atomic_load_explicit(&its->turns, memory_order_relaxed);
}

static void set_up(struct interrupts *its, const struct interrupts_setup *setup)
{
    its->bridge = setup->bridge;
    its->ops = setup->ops;
    its->arg = setup->arg;
    its->level = setup->level;
    its->threaded = setup->ops->finish_may_wait || (setup->level && setup->ops->deassert);
    its->limit = setup->limit;
    its->limit_wait_ns = setup->limit_wait_ns;
    its->watchdog_ns = setup->level ? 0 : setup->watchdog_ns;
    its->marks = (setup->limit ? HELD : 0) | (setup->level ? ASSERTED : 0);
    its->stop_task.run = on_stop;
    its->kick_task.run = on_kick;
    TAILQ_INIT(&its->queue);
    TAILQ_INIT(&its->watched);
    SLIST_INIT(&its->leftovers);
    pthread_mutex_init(&its->lock, NULL);
}

struct interrupts *interrupts_new(const struct interrupts_setup *setup, struct error *error)
{
    struct interrupts *its = calloc(1, sizeof(*its));
    int rc;
    if (!its)
        goto no_memory;
    set_up(its, setup);
    its->loop = loop_new();
    if (!its->loop)
        goto free_its;
    its->timer = timer_new(its->loop, on_timer, its);
    if (!its->timer)
        goto free_loop;
    rc = pthread_create(&its->thread, NULL, run, its);
    if (rc) {
        error_set(error, rc, "thread for interrupts cannot be started: %s", strerror(rc));
        goto free_timer;
    }
    pthread_setname_np(its->thread, "interrupts");
    return its;
free_timer:
    timer_free(its->timer);
free_loop:
    loop_free(its->loop);
free_its:
    pthread_mutex_destroy(&its->lock);
    free(its);
no_memory:
    error_set(error, ENOMEM, "out of memory for interrupts"); /* the first error set wins */
    return NULL;
}

void interrupts_free(struct interrupts *its)
{
    struct leftover *left;
    if (!its)
        return;
    loop_post(its->loop, &its->stop_task);
    pthread_join(its->thread, NULL);
    while ((left = SLIST_FIRST(&its->leftovers))) {
        SLIST_REMOVE_HEAD(&its->leftovers, link);
        free(left);
    }
    timer_free(its->timer);
    loop_free(its->loop);
    pthread_mutex_destroy(&its->lock);
    free(its);
}
