/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trap.h - the platform for any monitor that can stop a vCPU: the trap protocol (hvv/trap.h).
 *
 *     trap.c      the socket, and the monitors that are connected
 *     monitor.c   one of them: its messages, its bridge, its zones        (door: a message)
 *
 * All of it is on the control thread. Several monitors may be connected; a zone belongs to one.
 */
#ifndef HOST_TRANSPORT_TRAP_TRAP_H
#define HOST_TRANSPORT_TRAP_TRAP_H

#include "daemon.h"
#include "util/error.h"

struct trap;

/* Listens at `path`. NULL with error set. */
struct trap *trap_new(struct daemon *daemon, const char *path, struct error *error);

/* Lets no more monitors in and the present ones go; trap_free() may follow when done() was called. */
void trap_close(struct trap *trap, void (*done)(struct daemon *daemon));
void trap_free(struct trap *trap); /* NULL is fine */

#endif
