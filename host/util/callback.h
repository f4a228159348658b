/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * callback.h - which callback of which plugin each thread is in.
 *
 * A plugin runs in this process: when it crashes or does not return, all there is to tell is who it
 * was. So each thread that calls plugins keeps a record, which its own signal handler (crash.h) and
 * the control thread (plugin/overdue.h) read. A thread that begins is listed until it ends.
 *
 * The record is written around each call with plain stores, since that is done for each notify().
 */
#ifndef HOST_UTIL_CALLBACK_H
#define HOST_UTIL_CALLBACK_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/* Whose code it is. Constant from callback_owner_ready() to callback_owner_gone(). */
struct callback_owner {
    const char *device, *plugin, *version; /* NULL: a file that is being loaded */
    const char *path;
};

/* One that is called. Lives as long as the owner, and is shared by all its calls of that name. */
struct callback {
    const struct callback_owner *owner;
    const char *kind, *name; /* together as people know it: "", "create()"; "command ", "resize" */
};

#define CALLBACK_STACK 32768u /* for the handler of a thread that has used up its own stack */

struct callback_thread {
    LIST_ENTRY(callback_thread) link;
    char name[16];
    uintptr_t stack_end;                    /* lowest address of its stack; 0: not known */
    stack_t stack_before;                   /* the alternate stack it had */
    _Atomic(const struct callback *) now;   /* NULL: none */
    _Atomic uint32_t calls;                 /* how many there were: tells one from the next */
    /* Of plugin/overdue.c, on the control thread: */
    uint32_t seen;                          /* `calls` at the last look */
    uint64_t since;                         /* when that call was first seen, ns */
    bool told;                              /* that it does not return */
};

extern _Thread_local struct callback_thread *callback_self; /* NULL: calls no plugins */

/*
 * The calling thread calls plugins from here to callback_thread_end(). `stack` is CALLBACK_STACK
 * bytes in the frame of its first function, out of the way of a stack that overflows.
 */
void callback_thread_begin(struct callback_thread *thread, const char *name, void *stack);
void callback_thread_end(struct callback_thread *thread);

/* The listed threads; what a record points at stays while they are locked. Any thread. */
LIST_HEAD(callback_threads, callback_thread);
struct callback_threads *callback_lock(void);
void callback_unlock(void);

/* The owner is filled in; and no thread is in its callbacks any more. Any thread. */
void callback_owner_ready(void);
void callback_owner_gone(void);

/*
 * While `callback_watched` is false, `wake` is called before the next callback of any thread, with
 * the flag set. NULL ends that. It is true, and nobody is called, until somebody clears it.
 */
extern atomic_bool callback_watched;
void callback_set_wake(void (*wake)(void *arg), void *arg);
void callback_wake(void);

static inline void callback_enter(const struct callback *callback)
{
    struct callback_thread *self = callback_self;
    if (!self)
        return;
    uint32_t calls = atomic_load_explicit(&self->calls, memory_order_relaxed);
    atomic_store_explicit(&self->calls, calls + 1, memory_order_relaxed);
    atomic_store_explicit(&self->now, callback, memory_order_relaxed);
    if (!atomic_load_explicit(&callback_watched, memory_order_relaxed))
        callback_wake();
}

static inline void callback_leave(void)
{
    if (callback_self)
        atomic_store_explicit(&callback_self->now, NULL, memory_order_relaxed);
}

#endif
