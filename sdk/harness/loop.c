/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop.c - the worker's event loop: watches, timers, tasks and the clock. Test's thread, but for
 * post() and now().
 *
 * Watches and timers that are freed are marked and leave their list at the start of the next turn,
 * since they may be freed in their own callback.
 */
#include "own.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void hvvh_wake(struct hvv_harness *h)
{
    uint64_t one = 1;
    if (write(h->own->wake, &one, sizeof(one)) < 0 && errno != EAGAIN)
        abort(); /* an eventfd of ours: somebody has closed it */
}

static uint64_t time_now(struct hvv_harness *h)
{
    if (h->real_time)
        return hvvh_clock();
    hvvh_lock(h);
    uint64_t now = h->own->now;
    hvvh_unlock(h);
    return now;
}

static bool is_stopped(struct hvv_harness *h)
{
    return h->own->phase >= HVVH_STOPPED;
}

/* ---- Services: watches ----------------------------------------------------------------------- */

static bool queue_exists(struct hvv_harness *h, const char *service, uint32_t queue)
{
    if (queue < h->n_queues)
        return true;
    hvvh_violation(h, "queue", "hvv_%s() for queue %u: there are %u", service, queue, h->n_queues);
    errno = EINVAL;
    return false;
}

static struct hvv_watch *watch_new(struct hvv_device *dev, uint32_t queue, int fd,
                                   void (*ready)(void *arg, uint32_t events), void *arg)
{
    struct hvv_harness *h = hvvh_of(dev);
    hvvh_check_worker(h, "watch_new", queue, true, false);
    if (!queue_exists(h, "watch_new", queue))
        return NULL;
    if (hvvh_fails(h, HVV_HARNESS_WATCH_NEW)) {
        errno = ENOMEM;
        return NULL;
    }
    for (struct hvv_watch *other = h->own->watches; other; other = other->next)
        if (!other->dead && other->fd == fd &&
            h->own->queue[other->queue].worker == h->own->queue[queue].worker)
            hvvh_violation(h, "watch-fd", "descriptor %d has two watches on one worker", fd);
    struct hvv_watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        return NULL;
    *watch = (struct hvv_watch){h, h->own->watches, false, queue, fd, 0, ready, arg};
    h->own->watches = watch;
    return watch;
}

static void watch_set(struct hvv_watch *watch, uint32_t events)
{
    hvvh_check_worker(watch->h, "watch_set", watch->queue, false, false);
    if (!is_stopped(watch->h))
        watch->events = events;
}

static void watch_free(struct hvv_watch *watch)
{
    if (!watch)
        return;
    hvvh_check_worker(watch->h, "watch_free", watch->queue, true, true);
    watch->dead = true;
    watch->events = 0;
}

/* ---- Services: timers ------------------------------------------------------------------------ */

static struct hvv_timer *timer_new(struct hvv_device *dev, uint32_t queue,
                                   void (*expired)(void *arg), void *arg)
{
    struct hvv_harness *h = hvvh_of(dev);
    hvvh_check_worker(h, "timer_new", queue, true, false);
    if (!queue_exists(h, "timer_new", queue))
        return NULL;
    if (hvvh_fails(h, HVV_HARNESS_TIMER_NEW)) {
        errno = ENOMEM;
        return NULL;
    }
    struct hvv_timer *timer = calloc(1, sizeof(*timer));
    if (!timer)
        return NULL;
    *timer = (struct hvv_timer){h, h->own->timers, false, queue, 0, expired, arg};
    h->own->timers = timer;
    return timer;
}

static void timer_set(struct hvv_timer *timer, uint64_t nanoseconds)
{
    hvvh_check_worker(timer->h, "timer_set", timer->queue, false, false);
    if (is_stopped(timer->h))
        return;
    uint64_t now = time_now(timer->h);
    timer->due = nanoseconds == 0             ? 0
                 : nanoseconds > UINT64_MAX - now ? UINT64_MAX
                                                  : now + nanoseconds;
}

static void timer_free(struct hvv_timer *timer)
{
    if (!timer)
        return;
    hvvh_check_worker(timer->h, "timer_free", timer->queue, true, true);
    timer->dead = true;
    timer->due = 0;
}

static uint64_t now(struct hvv_device *dev)
{
    return time_now(hvvh_of(dev));
}

/* ---- Services: tasks ------------------------------------------------------------------------- */

/* Why the task cannot be posted, or NULL. Under the lock. */
static const char *post_misdeed(struct hvv_harness *h, const struct hvv_task *task)
{
    if (h->own->phase < HVVH_PUBLISHED)
        return "post-early";
    if (is_stopped(h))
        return "post-late";
    for (const struct hvvh_task *other = h->own->tasks; other; other = other->next)
        if (other->task == task)
            return "post-twice";
    return NULL;
}

static void post(struct hvv_device *dev, uint32_t queue, struct hvv_task *task)
{
    struct hvv_harness *h = hvvh_of(dev);
    struct hvvh_task *entry = calloc(1, sizeof(*entry));
    if (!entry)
        hvvh_misuse("out of memory");
    *entry = (struct hvvh_task){NULL, task, queue};
    hvvh_lock(h);
    const char *misdeed = post_misdeed(h, task);
    if (!misdeed) {
        *h->own->tasks_end = entry;
        h->own->tasks_end = &entry->next;
        hvvh_wake(h);
    }
    hvvh_unlock(h);
    if (!misdeed)
        return;
    free(entry);
    hvvh_violation(h, misdeed, "hvv_post() before publish(), after stop() returned, or of a task "
                   "that was posted and has not run");
}

void hvvh_services_loop(struct hvv_host *host)
{
    host->watch_new = watch_new;
    host->watch_set = watch_set;
    host->watch_free = watch_free;
    host->timer_new = timer_new;
    host->timer_set = timer_set;
    host->timer_free = timer_free;
    host->post = post;
    host->now = now;
}

/* ---- A turn ---------------------------------------------------------------------------------- */

/* Those that are there now; what they post runs in the next turn. True if there were some. */
bool hvvh_run_tasks(struct hvv_harness *h)
{
    hvvh_lock(h);
    struct hvvh_task *entry = h->own->tasks;
    h->own->tasks = NULL;
    h->own->tasks_end = &h->own->tasks;
    hvvh_unlock(h);
    bool some = entry != NULL;
    while (entry) {
        struct hvvh_task *next = entry->next;
        struct hvvh_entry running = hvvh_enter(h, "a task", entry->worker);
        entry->task->run(entry->task);
        hvvh_leave(h, running);
        free(entry);
        entry = next;
    }
    return some;
}

static struct hvv_timer *next_timer(struct hvv_harness *h)
{
    struct hvv_timer *first = NULL;
    for (struct hvv_timer *timer = h->own->timers; timer; timer = timer->next)
        if (timer->due && (!first || timer->due < first->due))
            first = timer;
    return first;
}

/* All that are due, the earliest first; one that is set again waits for the next turn. */
static bool run_timers(struct hvv_harness *h)
{
    uint64_t until = time_now(h);
    bool some = false;
    for (struct hvv_timer *timer; (timer = next_timer(h)) && timer->due <= until; some = true) {
        timer->due = 0;
        struct hvvh_entry running = hvvh_enter(h, "a timer", timer->queue);
        timer->expired(timer->arg);
        hvvh_leave(h, running);
        if (timer->due && timer->due <= until)
            return true;
    }
    return some;
}

static void sweep_dead(struct hvv_harness *h)
{
    struct hvv_watch **watch = &h->own->watches;
    while (*watch) {
        struct hvv_watch *it = *watch;
        if (!it->dead) {
            watch = &it->next;
            continue;
        }
        *watch = it->next;
        free(it);
    }
    struct hvv_timer **timer = &h->own->timers;
    while (*timer) {
        struct hvv_timer *it = *timer;
        if (!it->dead) {
            timer = &it->next;
            continue;
        }
        *timer = it->next;
        free(it);
    }
}

/* The armed watches as poll() wants them, behind our own eventfd. */
static nfds_t collect(struct hvv_harness *h, struct pollfd **fds, struct hvv_watch ***watches)
{
    nfds_t n = 1;
    for (struct hvv_watch *watch = h->own->watches; watch; watch = watch->next)
        n++;
    *fds = calloc(n, sizeof(**fds));
    *watches = calloc(n, sizeof(struct hvv_watch *));
    if (!*fds || !*watches)
        hvvh_misuse("out of memory");
    (*fds)[0] = (struct pollfd){.fd = h->own->wake, .events = POLLIN};
    n = 1;
    for (struct hvv_watch *watch = h->own->watches; watch; watch = watch->next) {
        if (!watch->events)
            continue;
        short events = (short)((watch->events & HVV_WATCH_READ ? POLLIN : 0) |
                               (watch->events & HVV_WATCH_WRITE ? POLLOUT : 0));
        (*fds)[n] = (struct pollfd){.fd = watch->fd, .events = events};
        (*watches)[n++] = watch;
    }
    return n;
}

static bool run_watch(struct hvv_harness *h, struct hvv_watch *watch, short revents)
{
    if (revents & POLLNVAL) {
        hvvh_violation(h, "watch-fd", "descriptor %d was closed and has a watch still", watch->fd);
        watch->events = 0;
    }
    uint32_t events = (revents & POLLIN ? HVV_WATCH_READ : 0) |
                      (revents & POLLOUT ? HVV_WATCH_WRITE : 0);
    if (revents & (POLLERR | POLLHUP))
        events = watch->events; /* counts as all that is waited for */
    events &= watch->events;
    if (!events)
        return false;
    struct hvvh_entry running = hvvh_enter(h, "a watch", watch->queue);
    watch->ready(watch->arg, events);
    hvvh_leave(h, running);
    return true;
}

static bool run_watches(struct hvv_harness *h, int timeout_ms)
{
    struct pollfd *fds;
    struct hvv_watch **watches;
    nfds_t n = collect(h, &fds, &watches);
    bool some = false;
    uint64_t count;
    if (poll(fds, n, timeout_ms) > 0) {
        some = fds[0].revents && read(h->own->wake, &count, sizeof(count)) > 0;
        for (nfds_t i = 1; i < n; i++)
            if (fds[i].revents && run_watch(h, watches[i], fds[i].revents))
                some = true;
    }
    free(fds);
    free(watches);
    return some;
}

static bool run_polls(struct hvv_harness *h)
{
    bool some = false;
    for (uint32_t i = 0; i < h->n_queues && h->plugin->ops->poll; i++) {
        struct hvvh_entry running = hvvh_enter(h, "poll", i);
        some = h->plugin->ops->poll(&h->dev, i) > 0 || some;
        hvvh_leave(h, running);
    }
    return some;
}

/* In real time a sleep ends when a timer is due. */
static int sleep_ms(struct hvv_harness *h, int timeout_ms)
{
    struct hvv_timer *timer = h->real_time ? next_timer(h) : NULL;
    if (!timer)
        return timeout_ms;
    uint64_t at = time_now(h), ms = timer->due > at ? (timer->due - at) / 1000000 + 1 : 0;
    return ms < (uint64_t)timeout_ms ? (int)ms : timeout_ms;
}

bool hvv_harness_turn(struct hvv_harness *h, int timeout_ms)
{
    sweep_dead(h);
    bool some = hvvh_run_tasks(h);
    some = run_timers(h) || some;
    some = run_watches(h, some ? 0 : sleep_ms(h, timeout_ms)) || some;
    return some && run_polls(h) ? true : some;
}

bool hvv_harness_settle(struct hvv_harness *h)
{
    uint64_t deadline = hvvh_clock() + h->patience_ms * 1000000ull;
    while (hvv_harness_turn(h, 0))
        if (hvvh_clock() > deadline) {
            hvvh_violation(h, "busy", "the worker still has something to do after %u ms",
                           h->patience_ms);
            return false;
        }
    return true;
}

bool hvv_harness_rests(struct hvv_harness *h)
{
    struct pollfd *fds;
    struct hvv_watch **watches;
    hvvh_lock(h);
    bool rests = !h->own->tasks;
    hvvh_unlock(h);
    struct hvv_timer *timer = next_timer(h);
    nfds_t n = collect(h, &fds, &watches);
    rests = rests && !(timer && timer->due <= time_now(h)) && poll(fds + 1, n - 1, 0) == 0;
    free(fds);
    free(watches);
    return rests;
}

uint32_t hvv_harness_timers(struct hvv_harness *h)
{
    uint32_t n = 0;
    for (struct hvv_timer *timer = h->own->timers; timer; timer = timer->next)
        n += timer->due != 0;
    return n;
}

bool hvv_harness_run_until(struct hvv_harness *h, bool (*done)(void *arg), void *arg)
{
    uint64_t deadline = hvvh_clock() + h->patience_ms * 1000000ull;
    while (!done(arg)) {
        if (hvvh_clock() > deadline)
            return false;
        hvv_harness_turn(h, 100);
    }
    return true;
}

/* ---- Time ------------------------------------------------------------------------------------ */

static void set_time(struct hvv_harness *h, uint64_t at)
{
    hvvh_lock(h);
    if (at > h->own->now)
        h->own->now = at;
    hvvh_unlock(h);
}

bool hvvh_advance_to_next(struct hvv_harness *h)
{
    struct hvv_timer *timer = h->real_time ? NULL : next_timer(h);
    if (!timer)
        return false;
    set_time(h, timer->due);
    return true;
}

void hvv_harness_advance(struct hvv_harness *h, uint64_t nanoseconds)
{
    if (h->real_time)
        hvvh_misuse("hvv_harness_advance() with real_time");
    uint64_t end = time_now(h) + nanoseconds;
    hvv_harness_settle(h);
    for (struct hvv_timer *timer; (timer = next_timer(h)) && timer->due <= end;) {
        set_time(h, timer->due);
        hvv_harness_settle(h);
    }
    set_time(h, end);
    hvv_harness_settle(h);
}

/* ---- The end --------------------------------------------------------------------------------- */

void hvvh_disarm(struct hvv_harness *h)
{
    for (struct hvv_watch *watch = h->own->watches; watch; watch = watch->next)
        watch->events = 0;
    for (struct hvv_timer *timer = h->own->timers; timer; timer = timer->next)
        timer->due = 0;
}

void hvvh_loop_free(struct hvv_harness *h)
{
    sweep_dead(h);
    uint32_t n_watches = 0, n_timers = 0;
    for (struct hvv_watch *watch = h->own->watches; watch; watch = watch->next, n_watches++)
        watch->dead = true;
    for (struct hvv_timer *timer = h->own->timers; timer; timer = timer->next, n_timers++)
        timer->dead = true;
    if (n_watches)
        hvvh_violation(h, "watch-left", "hvv_watch_free() is missing for %u watches", n_watches);
    if (n_timers)
        hvvh_violation(h, "timer-left", "hvv_timer_free() is missing for %u timers", n_timers);
    sweep_dead(h);
    while (h->own->tasks) {
        struct hvvh_task *next = h->own->tasks->next;
        free(h->own->tasks);
        h->own->tasks = next;
    }
}
