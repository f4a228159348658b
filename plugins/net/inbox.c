/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * inbox.c - frames on their way to one receive queue; see switch.h.
 *
 * Any sender puts frames in at the end. Only the pair's worker takes them out at the front: it
 * marks some as busy, copies them without the lock, then removes them. Whoever else wants a frame
 * out removes it if it is not busy, and else leaves a mark.
 */
#include "rx.h"
#include "switch.h"

#include <stdlib.h>

#define TURN_FRAMES 128u
#define TURN_BYTES (1u << 20)
#define TIMER_MIN_NS 1000000u

static struct entry *entry_at(const struct inbox *in, uint32_t i)
{
    return &in->entries[(in->head + i) % INBOX_ENTRIES];
}

static uint32_t count(const struct inbox *in)
{
    return atomic_load_explicit(&in->n, memory_order_relaxed);
}

static void set_count(struct inbox *in, uint32_t n)
{
    atomic_store_explicit(&in->n, n, memory_order_relaxed);
}

void kept_put(struct kept *kept)
{
    if (atomic_fetch_sub_explicit(&kept->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (atomic_load_explicit(&kept->stuck, memory_order_relaxed))
        atomic_fetch_sub_explicit(&kept->from->stuck, 1, memory_order_relaxed);
    hvv_complete(kept->chain, 0);
}

/* Counts a frame as one that waits for buffers, once in all. False: there are too many. */
static bool stick(struct kept *kept)
{
    atomic_uint *stuck = &kept->from->stuck;
    if (atomic_exchange_explicit(&kept->stuck, true, memory_order_relaxed))
        return true;
    if (atomic_fetch_add_explicit(stuck, 1, memory_order_relaxed) < SWITCH_STUCK)
        return true;
    atomic_store_explicit(&kept->stuck, false, memory_order_relaxed);
    atomic_fetch_sub_explicit(stuck, 1, memory_order_relaxed);
    return false;
}

/* ---- Senders that wait ----------------------------------------------------------------------- */

bool inbox_full(const struct inbox *in, const struct sender *from)
{
    return !in->stalled && in->held[from->port->index] >= SWITCH_SHARE;
}

void inbox_wait(struct inbox *in, struct sender *from)
{
    from->next = in->waiters;
    in->waiters = from;
}

void inbox_forget(struct inbox *in, const struct sender *from)
{
    struct sender **to = &in->waiters;
    while (*to && *to != from)
        to = &(*to)->next;
    if (*to)
        *to = from->next;
}

static bool may_go_on(const struct inbox *in, const struct sender *from)
{
    return in->stalled || !in->running || in->held[from->port->index] <= SWITCH_SHARE / 2;
}

/* Posts to those whose wait is over. */
static void resume_waiters(struct inbox *in)
{
    struct sender **to = &in->waiters;
    while (*to) {
        struct sender *from = *to;
        if (!may_go_on(in, from)) {
            to = &from->next;
            continue;
        }
        *to = from->next;
        if (!atomic_flag_test_and_set(&from->resume_posted))
            hvv_post(from->pair->net->dev, from->pair->tx_queue, &from->resume);
    }
}

/* ---- In and out ------------------------------------------------------------------------------ */

bool inbox_put(struct inbox *in, struct kept *kept)
{
    uint32_t n = count(in), port = kept->from->port->index;
    if (n == INBOX_ENTRIES ||
        (in->stalled && (in->refuses || in->held[port] >= SWITCH_SHARE || !stick(kept))))
        return false;
    atomic_fetch_add_explicit(&kept->refs, 1, memory_order_relaxed);
    *entry_at(in, n) = (struct entry){.kept = kept};
    in->held[port]++;
    set_count(in, n + 1);
    if (n + 1 == INBOX_BATCH && !in->dry) /* it can begin while the sender goes on */
        net_wake(in->pair);
    return true;
}

void inbox_wake(struct inbox *in)
{
    if (count(in) > 0 && (!in->dry || !in->timed))
        net_wake(in->pair);
}

typedef bool picker(struct entry *entry, const void *arg);

/* Takes out up to `max` of those that are picked, from number `from` on, and closes the gaps. */
static uint32_t take_out(struct inbox *in, uint32_t from, picker *picks, const void *arg,
                         struct kept **out, uint32_t max)
{
    uint32_t n = count(in), to = from, taken = 0;
    for (uint32_t i = from; i < n; i++) {
        struct entry *entry = entry_at(in, i);
        if (taken < max && picks(entry, arg)) {
            out[taken++] = entry->kept;
            in->held[entry->kept->from->port->index]--;
        } else {
            *entry_at(in, to++) = *entry;
        }
    }
    set_count(in, to);
    if (taken > 0)
        resume_waiters(in);
    return taken;
}

static bool is_from(struct entry *entry, const void *from)
{
    return entry->kept->from == from;
}

static bool is_cancelled(struct entry *entry, const void *arg)
{
    (void)arg;
    return entry->cancelled;
}

static bool is_one_too_many(struct entry *entry, const void *arg)
{
    (void)arg;
    return !stick(entry->kept);
}

static bool is_older(struct entry *entry, const void *time)
{
    return entry->kept->since <= *(const uint64_t *)time;
}

static bool is_any(struct entry *entry, const void *arg)
{
    (void)entry;
    (void)arg;
    return true;
}

uint32_t inbox_cancel(struct inbox *in, const struct sender *from, struct kept **out, uint32_t max)
{
    if (in->held[from->port->index] == 0)
        return 0;
    for (uint32_t i = 0; i < in->busy; i++) {
        struct entry *entry = entry_at(in, i);
        entry->cancelled |= is_from(entry, from);
    }
    return take_out(in, in->busy, is_from, from, out, max);
}

/* Drops what is picked. The pair's worker, nothing is busy. Returns how many. */
static uint32_t drop(struct inbox *in, picker *picks, const void *arg)
{
    struct kept *out[INBOX_BATCH];
    uint32_t n, all = 0;
    do {
        pthread_mutex_lock(in->lock);
        n = take_out(in, 0, picks, arg, out, INBOX_BATCH);
        pthread_mutex_unlock(in->lock);
        for (uint32_t i = 0; i < n; i++) {
            rx_drop(in->pair, NET_RX_NO_BUFFER);
            kept_put(out[i]);
        }
        all += n;
    } while (n == INBOX_BATCH);
    return all;
}

/* ---- Waiting for buffers --------------------------------------------------------------------- */

/* When the oldest frame has waited for too long. Something waits; with the lock. */
static uint64_t due(const struct inbox *in)
{
    return entry_at(in, 0)->kept->since + (in->stalled ? SWITCH_WAIT_NS : SWITCH_GRACE_NS);
}

/* The timer runs while something waits for buffers. */
static void set_timer(struct inbox *in, uint64_t now)
{
    pthread_mutex_lock(in->lock);
    bool set = !in->timed && in->dry && count(in) > 0;
    uint64_t at = set ? due(in) : 0;
    in->timed |= set;
    pthread_mutex_unlock(in->lock);
    if (set)
        hvv_timer_set(in->pair->net->dev, in->timer,
                      at > now + TIMER_MIN_NS ? at - now : TIMER_MIN_NS);
}

/* Those who wait for room need not wait any longer. */
static void stall(struct inbox *in)
{
    pthread_mutex_lock(in->lock);
    in->stalled = true;
    resume_waiters(in);
    pthread_mutex_unlock(in->lock);
    drop(in, is_one_too_many, NULL);
}

static void refuse(struct inbox *in, uint64_t before)
{
    pthread_mutex_lock(in->lock);
    in->refuses = true;
    pthread_mutex_unlock(in->lock);
    drop(in, is_older, &before);
}

/* The guest has no buffers: what follows from how long that has been so. */
static void wait_for_buffers(struct inbox *in)
{
    uint64_t now = hvv_now(in->pair->net->dev);
    pthread_mutex_lock(in->lock);
    in->dry = true;
    bool late = count(in) > 0 && now >= due(in);
    pthread_mutex_unlock(in->lock);
    if (late && in->stalled)
        refuse(in, now - SWITCH_WAIT_NS);
    else if (late)
        stall(in);
    set_timer(in, now);
}

static void expired(void *arg)
{
    struct inbox *in = arg;
    pthread_mutex_lock(in->lock);
    in->timed = false;
    pthread_mutex_unlock(in->lock);
    if (in->dry)
        wait_for_buffers(in);
    net_tell(in->pair);
}

/* ---- Giving ---------------------------------------------------------------------------------- */

static uint32_t begin_batch(struct inbox *in, struct entry *batch)
{
    pthread_mutex_lock(in->lock);
    uint32_t n = count(in) < INBOX_BATCH ? count(in) : INBOX_BATCH;
    for (uint32_t i = 0; i < n; i++)
        batch[i] = *entry_at(in, i);
    in->busy = n;
    pthread_mutex_unlock(in->lock);
    return n;
}

/*
 * The first `given` of a batch of `n` are with the guest. Writes to `out` what was cancelled of the
 * rest; returns how many.
 */
static uint32_t end_batch(struct inbox *in, const struct entry *batch, uint32_t n, uint32_t given,
                          struct kept **out)
{
    pthread_mutex_lock(in->lock);
    for (uint32_t i = 0; i < given; i++)
        in->held[batch[i].kept->from->port->index]--;
    in->head = (in->head + given) % INBOX_ENTRIES;
    set_count(in, count(in) - given);
    in->busy = 0;
    if (given < n)
        entry_at(in, 0)->given = batch[given].given;
    uint32_t cancelled = given < n ? take_out(in, 0, is_cancelled, NULL, out, INBOX_BATCH) : 0;
    resume_waiters(in);
    pthread_mutex_unlock(in->lock);
    return cancelled;
}

/* Returns how many frames were given; adds their bytes to `*bytes`. */
static uint32_t give_batch(struct inbox *in, uint64_t *bytes)
{
    struct entry batch[INBOX_BATCH];
    struct kept *out[INBOX_BATCH];
    uint32_t n = begin_batch(in, batch), given = 0;
    while (given < n &&
           rx_give(in->pair, &batch[given].kept->frame, &batch[given].given) == RX_TAKEN)
        *bytes += batch[given++].kept->frame.bytes;
    uint32_t cancelled = end_batch(in, batch, n, given, out);
    for (uint32_t i = 0; i < given; i++)
        kept_put(batch[i].kept);
    for (uint32_t i = 0; i < cancelled; i++) {
        rx_drop(in->pair, NET_RX_NO_BUFFER);
        kept_put(out[i]);
    }
    if (given < n)
        wait_for_buffers(in);
    return given;
}

static uint32_t give(struct inbox *in)
{
    uint64_t bytes = 0;
    uint32_t n = 0;
    while (!in->dry && count(in) > 0 && n < TURN_FRAMES && bytes < TURN_BYTES)
        n += give_batch(in, &bytes);
    if (!in->dry && count(in) > 0)
        net_wake(in->pair); /* others have their turn first */
    return n;
}

void inbox_receive(struct inbox *in)
{
    pthread_mutex_lock(in->lock);
    in->running = true;
    in->dry = in->stalled = in->refuses = false;
    pthread_mutex_unlock(in->lock);
    give(in);
}

uint32_t inbox_poll(struct inbox *in)
{
    if (in->dry || count(in) == 0)
        return 0;
    uint32_t n = give(in);
    net_tell(in->pair);
    return n;
}

/* ---- Life ------------------------------------------------------------------------------------ */

void inbox_stop(struct inbox *in)
{
    pthread_mutex_lock(in->lock);
    in->running = in->dry = in->stalled = in->refuses = in->timed = false;
    resume_waiters(in);
    pthread_mutex_unlock(in->lock);
    drop(in, is_any, NULL);
    hvv_timer_set(in->pair->net->dev, in->timer, 0);
}

int32_t inbox_init(struct inbox *in, struct pair *pair, pthread_mutex_t *lock)
{
    in->pair = pair;
    in->lock = lock;
    in->entries = calloc(INBOX_ENTRIES, sizeof(*in->entries));
    in->timer = hvv_timer_new(pair->net->dev, pair->rx_queue, expired, in);
    return in->entries && in->timer ? 0 : -ENOMEM;
}

void inbox_free(struct inbox *in)
{
    if (in->timer)
        hvv_timer_free(in->pair->net->dev, in->timer);
    free(in->entries);
}
