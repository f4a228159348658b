/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop.h - an event loop: watches, timers, and tasks posted from other threads.
 *
 * One thread runs a loop; only it may arm watches and timers. loop_post() alone may be called from
 * any thread: it never fails, never waits and allocates nothing. Watches and timers are created
 * disarmed, so they can be made (and freed, while disarmed) by another thread; once a watch is
 * disarmed its descriptor may be closed.
 *
 * loop.c is the only file that knows libev.
 */
#ifndef HOST_LOOP_LOOP_H
#define HOST_LOOP_LOOP_H

#include <hvv/host.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;
struct watch;
struct timer;
struct callback;

/* A task is the ABI's struct hvv_task: embedded in what it works on, not posted twice at once. */

struct loop *loop_new(void); /* NULL with errno */
void loop_free(struct loop *loop);

/* Runs what is ready, the posted tasks included. `wait`: sleeps until something is. Loop thread. */
void loop_run_once(struct loop *loop, bool wait);

/* Runs until loop_stop() (loop thread). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

void loop_post(struct loop *loop, struct hvv_task *t);
/* The same for a task that is a plugin's: `callback` is where the thread is while it runs. */
void loop_post_callback(struct loop *loop, struct hvv_task *t, const struct callback *callback);
/* True on the thread that runs `loop`. */
bool loop_is_current(const struct loop *loop);

/* True if tasks are waiting: one load, for busy loops that call loop_run_once() now and then. */
bool loop_has_tasks(struct loop *loop);

/*
 * `events` are HVV_WATCH_*. A descriptor has one watch in a loop, and outlives its being armed.
 * NULL: out of memory.
 */
struct watch *watch_new(struct loop *loop, int fd, void (*ready)(void *arg, uint32_t events),
                        void *arg);
void watch_set(struct watch *watch, uint32_t events); /* loop thread; 0 disarms */
void watch_free(struct watch *watch);                 /* NULL is fine; other threads if disarmed */

struct timer *timer_new(struct loop *loop, void (*expired)(void *arg), void *arg);
void timer_set(struct timer *timer, uint64_t nanoseconds); /* once, from now; 0 stops it */
void timer_free(struct timer *timer);

/* Runs `fn` on the loop thread when signal `signum` comes. One loop per process may use it. */
struct signal_watch;
struct signal_watch *signal_watch_new(struct loop *loop, int signum, void (*fn)(void *arg, int),
                                      void *arg);
void signal_watch_free(struct signal_watch *s);

uint64_t clock_ns(void); /* monotonic */

#endif
