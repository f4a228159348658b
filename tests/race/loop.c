/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop.c - a loop is freed as soon as its last task has run, while the thread that posted the task
 * may not have returned from loop_post() yet.
 */
#include "inproc.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static _Atomic(struct loop *) target; /* to be posted to, once */
static atomic_bool over;
static struct loop *loop; /* of the main thread, which runs the tasks */

static void stop(struct hvv_task *task)
{
    (void)task;
    loop_stop(loop);
}

static void *post_all(void *arg)
{
    static struct hvv_task last = {.run = stop};
    (void)arg;
    while (!atomic_load(&over)) {
        struct loop *at = atomic_exchange(&target, NULL);
        if (at)
            loop_post(at, &last);
        else
            sched_yield();
    }
    return NULL;
}

int main(void)
{
    pthread_t poster;
    inproc_test_begin("loop-free-vs-post");
    must(pthread_create(&poster, NULL, post_all, NULL) == 0, "no thread");
    for (unsigned rounds = 0; inproc_go_on(rounds > 100); rounds++) {
        must((loop = loop_new()), "out of memory");
        atomic_store(&target, loop);
        loop_run(loop);
        loop_free(loop);
    }
    atomic_store(&over, true);
    pthread_join(poster, NULL);
    printf("ok %s\n", inproc_test);
    return 0;
}
