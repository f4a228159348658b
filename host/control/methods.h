/* SPDX-License-Identifier: BSD-3-Clause */
/* methods.h - the control socket's methods; hvisor-vhost-ctl(1) lists them. Control thread. */
#ifndef HOST_CONTROL_METHODS_H
#define HOST_CONTROL_METHODS_H

#include "control/server.h"
#include "daemon.h"

/* Handles one request; `arg` is the struct daemon. The server calls it. */
void methods_handle(void *arg, const char *name, json_t *params, struct reply *reply);

/* daemon->late: answers the removal, and says what it waits for. */
void methods_removed_late(struct request *request, const char *why);

/*
 * Lets the process end: `force` also while drivers use devices. 0, or -EBUSY with error set.
 * Removes all devices and then calls done(). main.c gives the function that does it.
 */
typedef int (*shutdown_fn)(struct daemon *daemon, bool force, struct error *error);
void methods_set_shutdown(shutdown_fn fn);

#endif
