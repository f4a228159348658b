/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * thread.h - stops one thread of the daemon, as a debugger does, and lets it go on. Main thread.
 */
#ifndef SIM_THREAD_H
#define SIM_THREAD_H

#include "daemon.h"

struct stopped {
    pid_t tid; /* 0: none */
};

/* By its name, as in /proc/PID/task/TID/comm. False: told the report; skipped if not permitted. */
bool thread_stop(struct stopped *t, const struct daemon *d, const char *name);
void thread_go_on(struct stopped *t);
/* How often the thread has gone to sleep so far, or -1: told the report. */
long thread_sleeps(const struct daemon *d, const char *name);
/* The worker of queue 0 of a device, or -1. */
int thread_worker_of(struct daemon *d, const char *id);

#endif
