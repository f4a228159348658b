/* SPDX-License-Identifier: BSD-3-Clause */
/* The event loop: tasks from this and other threads, watches, timers. */
#include "loop/loop.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct loop *loop;
static unsigned ran, again;

static void setup_loop(void)
{
    loop = loop_new();
    cr_assert_not_null(loop);
    ran = again = 0;
}

static void teardown_loop(void)
{
    loop_free(loop);
}

TestSuite(loop, .init = setup_loop, .fini = teardown_loop, .timeout = 10);

static void count(struct hvv_task *task)
{
    (void)task;
    ran++;
}

static void count_and_post(struct hvv_task *task)
{
    ran++;
    if (again-- > 0)
        loop_post(loop, task);
}

Test(loop, tasks_run_in_order_and_never_put_the_loop_to_sleep)
{
    struct hvv_task a = {.run = count}, b = {.run = count_and_post};
    again = 3;
    loop_run_once(loop, false);
    loop_post(loop, &a);
    loop_post(loop, &b);
    for (unsigned want = 2; want <= 5; want++) {
        loop_run_once(loop, true); /* would sleep for ever if a task did not count as something */
        cr_assert_eq(ran, want);
    }
}

static void *post_it(void *task)
{
    loop_post(loop, task);
    return NULL;
}

Test(loop, a_task_from_another_thread_wakes_the_loop)
{
    struct hvv_task a = {.run = count};
    pthread_t thread;
    pthread_create(&thread, NULL, post_it, &a);
    while (ran == 0)
        loop_run_once(loop, true);
    pthread_join(thread, NULL);
}

Test(loop, a_new_loop_is_not_taken_for_an_old_one)
{
    for (int i = 0; i < 4; i++) { /* malloc() likes to give the same address again */
        loop_run_once(loop, false);
        loop_free(loop);
        loop = loop_new();
        cr_assert_not_null(loop);
    }
}

static void on_ready(void *arg, uint32_t events)
{
    cr_expect_eq(events, HVV_WATCH_READ);
    *(unsigned *)arg += 1;
}

Test(loop, a_disarmed_watch_is_gone_at_once)
{
    unsigned calls = 0, others = 0;
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC), kept = dup(fd);
    struct watch *watch = watch_new(loop, fd, on_ready, &calls);
    watch_set(watch, HVV_WATCH_READ);
    loop_run_once(loop, true);
    cr_expect_eq(calls, 1);
    watch_set(watch, 0);
    close(fd); /* the file stays open as `kept`, as with a peer that has it too */
    int next = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    cr_assert_eq(next, fd, "the number is used again");
    struct watch *other = watch_new(loop, next, on_ready, &others);
    watch_set(other, HVV_WATCH_READ);
    loop_run_once(loop, true);
    cr_expect_eq(calls, 1);
    cr_expect_eq(others, 1);
    watch_free(other);
    watch_free(watch);
    close(next);
    close(kept);
}

static void on_timer(void *arg)
{
    *(bool *)arg = true;
}

Test(loop, timers_expire_once_unless_stopped)
{
    bool first = false, stopped = false;
    struct timer *a = timer_new(loop, on_timer, &first), *b = timer_new(loop, on_timer, &stopped);
    timer_set(b, 1000000);
    timer_set(b, 0);
    timer_set(a, 5000000);
    uint64_t start = clock_ns();
    while (!first)
        loop_run_once(loop, true);
    cr_expect_geq(clock_ns() - start, 4000000);
    cr_expect_not(stopped);
    timer_free(a);
    timer_free(b);
}
