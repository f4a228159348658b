/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * overdue.h - notices callbacks of plugins that do not return. Control thread.
 *
 * Nothing can be done about one: its thread is lost until it returns. But it can be told, in the
 * log, as the events device.stuck and device.unstuck, and to whoever asks why nothing happens.
 *
 * A look at what all threads are in is taken four times in the operator's limit, as long as any of
 * them is in a callback at a look or has been in one since the last. Then the looks end, and the
 * next callback of any thread begins them anew: so an idle daemon stays asleep.
 */
#ifndef HOST_PLUGIN_OVERDUE_H
#define HOST_PLUGIN_OVERDUE_H

#include "device/device.h"

struct overdue;

/* A callback that has not returned for longer than the limit. `link` to `over`: overdue.c's own. */
struct overdue_call {
    TAILQ_ENTRY(overdue_call) link;
    const struct callback_thread *on; /* to compare */
    bool fresh, over;
    char device[DEVICE_ID_MAX + 1]; /* or "": a file is being loaded */
    char thread[16];
    char text[448];                 /* "create() of plugin bad 1.0 (/p/bad.so)" */
    uint64_t since;                 /* clock_ns() when it was first seen */
};

/* Starts to look. One in a process. NULL: out of memory. */
struct overdue *overdue_new(struct daemon *daemon);
void overdue_free(struct overdue *overdue); /* NULL is fine */

/* The first one after `after` (NULL: of all), or NULL. Until the loop goes on. */
const struct overdue_call *overdue_next(const struct daemon *daemon,
                                        const struct overdue_call *after);
/* The first that is of device `id`, or on `thread` (or NULL), or NULL. */
const struct overdue_call *overdue_find(const struct daemon *daemon, const char *id,
                                        const char *thread);
/* For how long it has run, in seconds. */
uint64_t overdue_seconds(const struct overdue_call *call);

#endif
