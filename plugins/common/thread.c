/* SPDX-License-Identifier: BSD-3-Clause */
/* thread.c - see thread.h. */
#include "thread.h"

#include <signal.h>
#include <stddef.h>

#define STACK_BYTES (256u << 10)

static void all_but_faults(sigset_t *set)
{
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigfillset(set);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(set, faults[i]);
}

int thread_start(pthread_t *id, const char *name, void *(*run)(void *), void *arg)
{
    sigset_t set, old;
    pthread_attr_t attr;
    all_but_faults(&set);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &set, &old); /* a thread begins with its maker's */
    int err = pthread_create(id, &attr, run, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (err == 0)
        pthread_setname_np(*id, name);
    return err;
}
