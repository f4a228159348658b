/* SPDX-License-Identifier: BSD-3-Clause */
/* callback.c - see callback.h. */
#include "util/callback.h"

#include <pthread.h>
#include <stdio.h>

_Thread_local struct callback_thread *callback_self;
atomic_bool callback_watched = true;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct callback_threads threads = LIST_HEAD_INITIALIZER(threads);
static void (*wake)(void *arg); /* under lock, as its argument */
static void *wake_arg;

struct callback_threads *callback_lock(void)
{
    pthread_mutex_lock(&lock);
    return &threads;
}

void callback_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

/* Whoever looks at the records next sees what was written before: that is all there is to it. */
void callback_owner_ready(void)
{
    callback_lock();
    callback_unlock();
}

/* No record points at it any more: a look that still found it in one has ended after this. */
void callback_owner_gone(void)
{
    callback_lock();
    callback_unlock();
}

static uintptr_t end_of_stack(void)
{
    pthread_attr_t attr;
    void *end = NULL;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attr))
        return 0;
    if (pthread_attr_getstack(&attr, &end, &size))
        end = NULL;
    pthread_attr_destroy(&attr);
    return (uintptr_t)end;
}

void callback_thread_begin(struct callback_thread *thread, const char *name, void *stack)
{
    stack_t alternate = {.ss_sp = stack, .ss_size = CALLBACK_STACK};
    *thread = (struct callback_thread){.stack_end = end_of_stack()};
    snprintf(thread->name, sizeof(thread->name), "%s", name);
    sigaltstack(NULL, &thread->stack_before);
    if (thread->stack_before.ss_flags & SS_DISABLE) /* a sanitizer has made one of its own */
        sigaltstack(&alternate, NULL);
    callback_self = thread;
    callback_lock();
    LIST_INSERT_HEAD(&threads, thread, link);
    callback_unlock();
}

void callback_thread_end(struct callback_thread *thread)
{
    callback_lock();
    LIST_REMOVE(thread, link);
    callback_unlock();
    callback_self = NULL;
    if (thread->stack_before.ss_flags & SS_DISABLE)
        sigaltstack(&thread->stack_before, NULL);
}

void callback_set_wake(void (*fn)(void *arg), void *arg)
{
    callback_lock();
    wake = fn;
    wake_arg = arg;
    atomic_store(&callback_watched, !fn);
    callback_unlock();
}

void callback_wake(void)
{
    if (atomic_exchange(&callback_watched, true))
        return;
    callback_lock();
    if (wake)
        wake(wake_arg);
    callback_unlock();
}
