/* SPDX-License-Identifier: BSD-3-Clause */
/* worker.c - see worker.h. Everything but new and free runs on the worker's own thread. */
#include "worker/worker.h"

#include "util/callback.h"
#include "util/container.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_FIRST_NS 4000u /* what adaptive polling starts with */
#define ROUNDS_PER_LOOP 16u /* how often a busy worker looks at its file descriptors */

struct worker {
    pthread_t thread;
    struct loop *loop;
    unsigned number;
    char name[16];
    uint64_t poll_max; /* ns */
    uint64_t poll_now; /* ns, adapted between 0 and poll_max */
    bool expects;      /* looks for poll_max before the next sleep */
    bool stop;
    TAILQ_HEAD(, service) services;
    struct service *next; /* the round goes on here, even if services are removed */
    struct hvv_task stop_task;
};

struct loop *worker_loop(struct worker *worker)
{
    return worker->loop;
}

unsigned worker_number(const struct worker *worker)
{
    return worker->number;
}

void worker_add(struct worker *worker, struct service *s)
{
    TAILQ_INSERT_TAIL(&worker->services, s, link);
}

void worker_remove(struct worker *worker, struct service *s)
{
    if (worker->next == s)
        worker->next = TAILQ_NEXT(s, link);
    TAILQ_REMOVE(&worker->services, s, link);
}

void worker_expect(struct worker *worker)
{
    worker->expects = true;
}

static bool serve_all(struct worker *worker)
{
    bool work = false;
    struct service *s = TAILQ_FIRST(&worker->services);
    for (; s; s = worker->next) {
        worker->next = TAILQ_NEXT(s, link);
        work |= s->serve(s);
    }
    return work;
}

/* How long to look. */
static uint64_t patience(const struct worker *worker)
{
    return worker->expects ? worker->poll_max : worker->poll_now;
}

static uint64_t begin_to_look(const struct worker *worker)
{
    if (worker->expects)
        sched_yield();
    return clock_ns();
}

/* Goes round until nothing was found for a while. */
static void serve_while_busy(struct worker *worker)
{
    uint64_t idle_since = 0;
    for (unsigned round = 1; !worker->stop; round++) {
        if (serve_all(worker))
            idle_since = 0;
        else if (patience(worker) == 0 || TAILQ_EMPTY(&worker->services))
            return;
        else if (idle_since == 0)
            idle_since = begin_to_look(worker);
        else if (clock_ns() - idle_since >= patience(worker))
            return;
        if (round % ROUNDS_PER_LOOP == 0 || loop_has_tasks(worker->loop))
            loop_run_once(worker->loop, false);
    }
}

static bool rest_all(struct worker *worker)
{
    bool more = false;
    struct service *s = TAILQ_FIRST(&worker->services);
    for (; s; s = worker->next) {
        worker->next = TAILQ_NEXT(s, link);
        more |= s->rest(s);
    }
    return !more;
}

/* Looking longer would have been worth it if the sleep was shorter than the longest look. */
static void adapt(struct worker *worker, uint64_t slept)
{
    if (slept > worker->poll_max) {
        worker->poll_now = worker->poll_now / 4 < POLL_FIRST_NS ? 0 : worker->poll_now / 4;
        return;
    }
    worker->poll_now = worker->poll_now ? worker->poll_now * 2 : POLL_FIRST_NS;
    if (worker->poll_now > worker->poll_max)
        worker->poll_now = worker->poll_max;
}

static void *run(void *arg)
{
    struct worker *worker = arg;
    struct callback_thread thread;
    alignas(16) char stack[CALLBACK_STACK];
    callback_thread_begin(&thread, worker->name, stack);
    loop_run_once(worker->loop, false);
    while (!worker->stop) {
        serve_while_busy(worker);
        if (worker->stop) /* said while it was busy: nobody would wake it up for that again */
            break;
        if (!rest_all(worker)) {
            loop_run_once(worker->loop, false); /* who polls must still be able to stop */
            continue;
        }
        worker->expects = false;
        uint64_t start = clock_ns();
        loop_run_once(worker->loop, true);
        adapt(worker, clock_ns() - start);
    }
    callback_thread_end(&thread);
    return NULL;
}

static void stop(struct hvv_task *task)
{
    struct worker *worker =
        container_of(task, struct worker, stop_task);
    worker->stop = true;
}

struct worker *worker_new(unsigned number, uint64_t poll_ns, struct error *error)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    if (!worker || !(worker->loop = loop_new())) {
        error_set(error, ENOMEM, "out of memory for a worker");
        free(worker);
        return NULL;
    }
    worker->number = number;
    snprintf(worker->name, sizeof(worker->name), "worker-%u", number);
    worker->poll_max = poll_ns;
    TAILQ_INIT(&worker->services);
    int rc = pthread_create(&worker->thread, NULL, run, worker);
    if (rc) {
        error_set(error, rc, "worker thread cannot be started: %s", strerror(rc));
        loop_free(worker->loop);
        free(worker);
        return NULL;
    }
    pthread_setname_np(worker->thread, worker->name);
    return worker;
}

void worker_free(struct worker *worker)
{
    if (!worker)
        return;
    worker->stop_task.run = stop;
    loop_post(worker->loop, &worker->stop_task);
    pthread_join(worker->thread, NULL);
    loop_free(worker->loop);
    free(worker);
}
