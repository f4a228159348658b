/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop.c - see loop.h. The only file that knows libev.
 *
 * Tasks: loop_post() pushes onto a stack with one compare-exchange, and if the stack was empty wakes
 * the loop, unless it is on the loop's own thread; the loop takes the whole stack at once and runs it
 * oldest first.
 *
 * Watches are in an epoll set of our own, which libev watches as one descriptor. libev's own set is
 * brought up to date only at its next turn, and keeps a descriptor that was stopped; but here
 * another thread may close the descriptor as soon as its watch is disarmed, while a peer still has
 * it open. So disarming takes effect at once. A failed EPOLL_CTL_ADD (out of memory, out of
 * watches) cannot be reported by a published device: it is tried again a little later, until it
 * works.
 *
 * libev cannot report a failed allocation; its allocator here tries for a while.
 */
#include "loop/loop.h"

#include "util/callback.h"
#include "util/log.h"
#include "util/patience.h"

#include <errno.h>
#include <ev.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define RETRY_SECONDS 0.01
#define BATCH 32 /* events taken from the epoll set at a time */

struct loop {
    struct ev_loop *ev;
    int epoll;             /* the set of all armed watches */
    ev_io epoll_io;
    struct epoll_event batch[BATCH];
    int batched;           /* events of the batch being dispatched */
    ev_async wake;
    _Atomic(struct hvv_task *) tasks; /* newest first, linked by link[0]; link[1] is a callback */
    atomic_uint posting;   /* other threads that are in loop_post() */
    bool stop;
};

struct watch {
    ev_timer retry;
    bool added;            /* to the epoll set */
    struct loop *loop;
    int fd;
    uint32_t events;
    void (*ready)(void *arg, uint32_t events);
    void *arg;
};

struct timer {
    ev_timer ev;
    struct loop *loop;
    void (*expired)(void *arg);
    void *arg;
};

struct signal_watch {
    ev_signal ev;
    struct loop *loop;
    void (*fn)(void *arg, int signum);
    void *arg;
};

static _Thread_local const struct loop *current_loop;

static void *allocate(void *ptr, long size) EV_NOEXCEPT
{
    if (size == 0) {
        free(ptr);
        return NULL;
    }
    return patient_realloc(ptr, (size_t)size); /* NULL: libev prints a line and ends the process */
}

static void on_epoll(struct ev_loop *ev, ev_io *io, int revents);

static void use_allocator(void)
{
    ev_set_allocator(allocate);
}

/* It may free itself, or post itself again. */
static void run_task(struct hvv_task *task)
{
    const struct callback *callback = task->link[1];
    if (!callback) {
        task->run(task);
        return;
    }
    callback_enter(callback);
    task->run(task);
    callback_leave();
}

/* True if there were any. */
static bool run_tasks(struct loop *loop)
{
    /* Pairs with the release in loop_post(): what was written before posting is seen here. */
    struct hvv_task *newest = atomic_exchange_explicit(&loop->tasks, NULL, memory_order_acquire);
    struct hvv_task *oldest = NULL;
    bool any = newest != NULL;
    while (newest) {
        struct hvv_task *next = newest->link[0];
        newest->link[0] = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct hvv_task *next = oldest->link[0];
        run_task(oldest);
        oldest = next;
    }
    return any;
}

static void ignore(struct hvv_task *task)
{
    (void)task;
}

static void on_wake(struct ev_loop *ev, ev_async *w, int revents)
{
    (void)ev;
    (void)revents;
    run_tasks(w->data);
}

/*
 * libev brings its epoll set up to date at a turn of the loop, and has no way to say that it could
 * not. So the first turn is here, and shows that the loop can be woken.
 */
static bool can_wake(struct loop *loop)
{
    struct hvv_task none = {.run = ignore};
    ev_run(loop->ev, EVRUN_NOWAIT);
    loop_post(loop, &none);
    ev_run(loop->ev, EVRUN_NOWAIT);
    return !loop_has_tasks(loop) && ev_is_active(&loop->epoll_io);
}

struct loop *loop_new(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, use_allocator);
    struct loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return NULL;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0)
        goto free_loop;
    loop->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (!loop->ev) {
        errno = ENOMEM;
        goto close_epoll;
    }
    ev_io_init(&loop->epoll_io, on_epoll, loop->epoll, EV_READ);
    loop->epoll_io.data = loop;
    ev_io_start(loop->ev, &loop->epoll_io);
    ev_async_init(&loop->wake, on_wake);
    loop->wake.data = loop;
    ev_async_start(loop->ev, &loop->wake);
    if (!can_wake(loop)) {
        ev_loop_destroy(loop->ev);
        errno = ENOMEM;
        goto close_epoll;
    }
    return loop;
close_epoll:
    close(loop->epoll);
free_loop:
    free(loop);
    return NULL;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    if (loop_is_current(loop))
        current_loop = NULL; /* the next loop may get the same address */
    /* The last task may have run before its poster had rung for it. Pairs with the release there. */
    while (atomic_load_explicit(&loop->posting, memory_order_acquire) > 0)
        sched_yield();
    ev_async_stop(loop->ev, &loop->wake);
    ev_io_stop(loop->ev, &loop->epoll_io);
    ev_loop_destroy(loop->ev);
    close(loop->epoll);
    free(loop);
}

void loop_run_once(struct loop *loop, bool wait)
{
    current_loop = loop;
    /* What tasks did may be work for the caller: it looks before anybody sleeps. */
    bool sleep = !run_tasks(loop) && wait && !loop->stop;
    ev_run(loop->ev, sleep ? EVRUN_ONCE : EVRUN_NOWAIT);
}

void loop_run(struct loop *loop)
{
    loop->stop = false;
    while (!loop->stop)
        loop_run_once(loop, true);
}

void loop_stop(struct loop *loop)
{
    loop->stop = true;
}

void loop_post(struct loop *loop, struct hvv_task *t)
{
    loop_post_callback(loop, t, NULL);
}

void loop_post_callback(struct loop *loop, struct hvv_task *t, const struct callback *callback)
{
    bool elsewhere = !loop_is_current(loop);
    if (elsewhere) /* the push makes it seen by whoever runs the task, and thus before loop_free() */
        atomic_fetch_add_explicit(&loop->posting, 1, memory_order_relaxed);
    t->link[1] = (void *)(uintptr_t)callback;
    struct hvv_task *head = atomic_load_explicit(&loop->tasks, memory_order_relaxed);
    do
        t->link[0] = head;
    while (!atomic_compare_exchange_weak_explicit(&loop->tasks, &head, t, memory_order_release,
                                                  memory_order_relaxed));
    /* Whoever pushed the first has woken the loop; its own thread looks before it sleeps. */
    if (!head && elsewhere)
        ev_async_send(loop->ev, &loop->wake);
    if (elsewhere)
        atomic_fetch_sub_explicit(&loop->posting, 1, memory_order_release);
}

bool loop_is_current(const struct loop *loop)
{
    return loop == current_loop;
}

bool loop_has_tasks(struct loop *loop)
{
    return atomic_load_explicit(&loop->tasks, memory_order_relaxed) != NULL;
}

static void watch_add(struct watch *watch)
{
    struct epoll_event ev = {.data.ptr = watch,
                             .events = ((watch->events & HVV_WATCH_READ) ? EPOLLIN : 0) |
                                       ((watch->events & HVV_WATCH_WRITE) ? EPOLLOUT : 0)};
    int op = watch->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(watch->loop->epoll, op, watch->fd, &ev) == 0) {
        watch->added = true;
    } else if (errno == ENOMEM || errno == ENOSPC) {
        ev_timer_set(&watch->retry, RETRY_SECONDS, 0);
        ev_timer_start(watch->loop->ev, &watch->retry);
    } else {
        log_error("file descriptor %d cannot be watched: %s", watch->fd, strerror(errno));
    }
}

static void on_retry(struct ev_loop *ev, ev_timer *t, int revents)
{
    (void)ev;
    (void)revents;
    watch_add(t->data);
}

struct watch *watch_new(struct loop *loop, int fd, void (*ready)(void *arg, uint32_t events),
                        void *arg)
{
    struct watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        return NULL;
    watch->loop = loop;
    watch->fd = fd;
    watch->ready = ready;
    watch->arg = arg;
    ev_timer_init(&watch->retry, on_retry, 0, 0);
    watch->retry.data = watch;
    return watch;
}

void watch_set(struct watch *watch, uint32_t events)
{
    struct loop *loop = watch->loop;
    if (watch->events == events)
        return;
    watch->events = events;
    if (ev_is_active(&watch->retry) || ev_is_pending(&watch->retry))
        ev_timer_stop(loop->ev, &watch->retry);
    if (events) {
        watch_add(watch);
    } else if (watch->added) {
        epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
        watch->added = false;
        for (int i = 0; i < loop->batched; i++) /* what was taken from the set, but not run yet */
            if (loop->batch[i].data.ptr == watch)
                loop->batch[i].data.ptr = NULL;
    }
}

void watch_free(struct watch *watch)
{
    if (!watch)
        return;
    watch_set(watch, 0);
    free(watch);
}

static void dispatch(const struct epoll_event *ev)
{
    struct watch *watch = ev->data.ptr;
    uint32_t events = 0;
    if (!watch)
        return;
    /* An error or the other side's end shows when reading or writing: let the owner do that. */
    if (ev->events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        events |= watch->events & HVV_WATCH_READ;
    if (ev->events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
        events |= watch->events & HVV_WATCH_WRITE;
    if (events)
        watch->ready(watch->arg, events);
}

static void on_epoll(struct ev_loop *ev, ev_io *io, int revents)
{
    (void)ev;
    (void)revents;
    struct loop *loop = io->data;
    loop->batched = epoll_wait(loop->epoll, loop->batch, BATCH, 0);
    for (int i = 0; i < loop->batched; i++)
        dispatch(&loop->batch[i]);
    loop->batched = 0;
}

static void on_timer(struct ev_loop *ev, ev_timer *t, int revents)
{
    (void)ev;
    (void)revents;
    struct timer *timer = t->data;
    timer->expired(timer->arg);
}

struct timer *timer_new(struct loop *loop, void (*expired)(void *arg), void *arg)
{
    struct timer *timer = calloc(1, sizeof(*timer));
    if (!timer)
        return NULL;
    timer->loop = loop;
    timer->expired = expired;
    timer->arg = arg;
    ev_timer_init(&timer->ev, on_timer, 0, 0);
    timer->ev.data = timer;
    return timer;
}

void timer_set(struct timer *timer, uint64_t nanoseconds)
{
    if (ev_is_active(&timer->ev) || ev_is_pending(&timer->ev))
        ev_timer_stop(timer->loop->ev, &timer->ev);
    if (!nanoseconds)
        return;
    ev_now_update(timer->loop->ev);
    ev_timer_set(&timer->ev, (double)nanoseconds / 1e9, 0);
    ev_timer_start(timer->loop->ev, &timer->ev);
}

void timer_free(struct timer *timer)
{
    if (!timer)
        return;
    timer_set(timer, 0);
    free(timer);
}

static void on_signal(struct ev_loop *ev, ev_signal *s, int revents)
{
    (void)ev;
    (void)revents;
    struct signal_watch *watch = s->data;
    watch->fn(watch->arg, s->signum);
}

struct signal_watch *signal_watch_new(struct loop *loop, int signum, void (*fn)(void *arg, int),
                                      void *arg)
{
    struct signal_watch *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->loop = loop;
    s->fn = fn;
    s->arg = arg;
    ev_signal_init(&s->ev, on_signal, signum);
    s->ev.data = s;
    ev_signal_start(loop->ev, &s->ev);
    return s;
}

void signal_watch_free(struct signal_watch *s)
{
    if (!s)
        return;
    ev_signal_stop(s->loop->ev, &s->ev);
    free(s);
}

uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
