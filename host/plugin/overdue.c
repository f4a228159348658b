/* SPDX-License-Identifier: BSD-3-Clause */
/* overdue.c - see overdue.h. The lock of callback.h is held while records are read, no longer. */
#include "plugin/overdue.h"

#include "daemon.h"
#include "device/builder.h"
#include "device/request.h"
#include "util/container.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOKS 4u /* in the limit */
#define SECOND_NS 1000000000ull

struct overdue {
    struct daemon *daemon;
    struct timer *timer;
    struct hvv_task wake_task; /* from any thread: a callback began, and nobody was looking */
    atomic_bool waking;        /* wake_task is posted */
    bool quiet;                /* nobody was in a callback at the last look */
    TAILQ_HEAD(, overdue_call) calls;
};

/* ---- one look, under the lock ---------------------------------------------------------------- */

static void describe(struct overdue_call *call, const struct callback_thread *thread,
                     const struct callback *c)
{
    const struct callback_owner *o = c->owner;
    snprintf(call->device, sizeof(call->device), "%s", o->device ? o->device : "");
    snprintf(call->thread, sizeof(call->thread), "%s", thread->name);
    if (o->plugin)
        snprintf(call->text, sizeof(call->text), "%s%s of plugin %s %s (%.256s)", c->kind, c->name,
                 o->plugin, o->version, o->path);
    else
        snprintf(call->text, sizeof(call->text), "%s%s (%.256s)", c->kind, c->name, o->path);
}

/* Without memory for it, it is tried again at the next look. */
static bool note(struct overdue *overdue, const struct callback_thread *thread,
                 const struct callback *c)
{
    struct overdue_call *call = calloc(1, sizeof(*call));
    if (!call)
        return false;
    call->on = thread;
    call->since = thread->since;
    call->fresh = true;
    describe(call, thread, c);
    TAILQ_INSERT_TAIL(&overdue->calls, call, link);
    return true;
}

/* True if the thread is in a callback, or was in one since the last look. */
static bool look_at(struct overdue *overdue, struct callback_thread *thread, uint64_t now)
{
    uint64_t limit = overdue->daemon->conf->stuck_seconds * SECOND_NS;
    uint32_t calls = atomic_load_explicit(&thread->calls, memory_order_relaxed);
    const struct callback *c = atomic_load_explicit(&thread->now, memory_order_relaxed);
    bool another = calls != thread->seen;
    if (another || !c) {
        thread->seen = calls;
        thread->since = now;
        thread->told = false;
    } else if (!thread->told && now - thread->since >= limit) {
        thread->told = note(overdue, thread, c);
    }
    return another || c;
}

static bool still_told(const struct callback_threads *threads, const struct overdue_call *call)
{
    const struct callback_thread *thread;
    LIST_FOREACH(thread, threads, link)
        if (thread == call->on && thread->told)
            return true;
    return false;
}

static bool look_at_all(struct overdue *overdue)
{
    bool busy = false;
    uint64_t now = clock_ns();
    struct callback_thread *thread;
    struct overdue_call *call;
    struct callback_threads *threads = callback_lock();
    LIST_FOREACH(thread, threads, link)
        busy |= look_at(overdue, thread, now);
    TAILQ_FOREACH(call, &overdue->calls, link)
        call->over = !still_told(threads, call);
    callback_unlock();
    return busy;
}

/* ---- telling --------------------------------------------------------------------------------- */

static void tell(struct overdue *overdue, uint32_t level, const struct overdue_call *call,
                 const char *event, const char *verb, const char *more)
{
    char text[sizeof(call->text) + 96];
    const char *device = call->device[0] ? call->device : NULL;
    snprintf(text, sizeof(text), "%s %s %" PRIu64 " s on thread %s", call->text, verb,
             overdue_seconds(call), call->thread);
    log_write(level, device, "%s%s", text, more);
    daemon_event(overdue->daemon, event, device, "reason", text);
}

static void tell_all(struct overdue *overdue)
{
    struct overdue_call *call, *next;
    for (call = TAILQ_FIRST(&overdue->calls); call; call = next) {
        next = TAILQ_NEXT(call, link);
        bool builder = strcmp(call->thread, BUILDER_THREAD) == 0;
        bool fresh = call->fresh;
        call->fresh = false;
        if (fresh)
            tell(overdue, HVV_LOG_WARNING, call, "device.stuck", "has not returned for",
                 builder ? ": until it does, no device can be added or destroyed"
                         : ": until it does, all devices of this thread stand still");
        if (fresh && builder)
            request_builder_stuck(overdue->daemon);
        if (!call->over)
            continue;
        tell(overdue, HVV_LOG_INFO, call, "device.unstuck", "returned after", "");
        TAILQ_REMOVE(&overdue->calls, call, link);
        free(call);
    }
}

/*
 * The looks end with two at which nobody was busy. In between, whoever enters a callback asks for
 * more; and one that began just before, and did not see that it had to ask, is seen at the second.
 */
static void look(void *arg)
{
    struct overdue *overdue = arg;
    bool busy = look_at_all(overdue);
    tell_all(overdue);
    if (busy)
        atomic_store(&callback_watched, true);
    else if (overdue->quiet)
        return;
    else
        atomic_store(&callback_watched, false);
    overdue->quiet = !busy;
    timer_set(overdue->timer, overdue->daemon->conf->stuck_seconds * SECOND_NS / LOOKS);
}

static void woken(struct hvv_task *task)
{
    struct overdue *overdue = container_of(task, struct overdue, wake_task);
    atomic_store(&overdue->waking, false);
    overdue->quiet = false;
    look(overdue);
}

static void wake(void *arg)
{
    struct overdue *overdue = arg;
    if (!atomic_exchange(&overdue->waking, true))
        loop_post(overdue->daemon->loop, &overdue->wake_task);
}

/* ---- what is known --------------------------------------------------------------------------- */

const struct overdue_call *overdue_next(const struct daemon *daemon,
                                        const struct overdue_call *after)
{
    if (after)
        return TAILQ_NEXT(after, link);
    return daemon->overdue ? TAILQ_FIRST(&daemon->overdue->calls) : NULL;
}

const struct overdue_call *overdue_find(const struct daemon *daemon, const char *id,
                                        const char *thread)
{
    const struct overdue_call *call = NULL;
    while ((call = overdue_next(daemon, call)))
        if ((id && strcmp(call->device, id) == 0) || (thread && strcmp(call->thread, thread) == 0))
            return call;
    return NULL;
}

uint64_t overdue_seconds(const struct overdue_call *call)
{
    return (clock_ns() - call->since) / SECOND_NS;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct overdue *overdue_new(struct daemon *daemon)
{
    struct overdue *overdue = calloc(1, sizeof(*overdue));
    if (!overdue)
        return NULL;
    overdue->daemon = daemon;
    overdue->wake_task.run = woken;
    TAILQ_INIT(&overdue->calls);
    overdue->timer = timer_new(daemon->loop, look, overdue);
    if (!overdue->timer) {
        free(overdue);
        return NULL;
    }
    callback_set_wake(wake, overdue);
    return overdue;
}

void overdue_free(struct overdue *overdue)
{
    struct overdue_call *call;
    if (!overdue)
        return;
    callback_set_wake(NULL, NULL);
    while ((call = TAILQ_FIRST(&overdue->calls))) {
        TAILQ_REMOVE(&overdue->calls, call, link);
        free(call);
    }
    timer_free(overdue->timer);
    free(overdue);
}
