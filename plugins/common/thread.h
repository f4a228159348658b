/* SPDX-License-Identifier: BSD-3-Clause */
/* thread.h - threads of a plugin's own, for what would block a worker. */
#ifndef PLUGINS_COMMON_THREAD_H
#define PLUGINS_COMMON_THREAD_H

#include <pthread.h>

/*
 * Starts a thread with a small stack (there may be many) and a name of up to 15 bytes. Signals sent
 * to the process are for the host's threads and blocked in this one; faults stay where they happen.
 * 0 or an errno. Any thread.
 */
int thread_start(pthread_t *id, const char *name, void *(*run)(void *), void *arg);

#endif
