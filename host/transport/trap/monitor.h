/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * monitor.h - a connected monitor, and what trap.c and monitor.c know of each other. Control thread.
 */
#ifndef HOST_TRANSPORT_TRAP_MONITOR_H
#define HOST_TRANSPORT_TRAP_MONITOR_H

#include "daemon.h"
#include "util/claim.h"

#include <sys/queue.h>

#define TRAP_MONITORS_MAX 32u

struct monitor;
TAILQ_HEAD(monitor_list, monitor);

struct trap {
    struct daemon *daemon;
    struct claim claim;
    struct watch *accept;
    struct monitor_list monitors;
    unsigned n_monitors;
    void (*closed)(struct daemon *daemon); /* set while it closes */
};

/* A monitor on connection `fd`, which is taken over, also if it fails. 0 or -errno. */
int monitor_new(struct trap *trap, int fd);

/* Ends the connection: its zones stop, then trap_monitor_gone() follows. */
void monitor_close(struct monitor *m, const char *reason);
struct monitor *monitor_next(const struct monitor *m);

void trap_monitor_gone(struct trap *trap);

#endif
