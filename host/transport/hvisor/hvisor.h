/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvisor.h - the platform hvisor: its kernel module's device file, and zones whose memory is a piece
 * of the physical memory. Control thread.
 *
 * There is one bridge for all of hvisor's zones, from the daemon's start to its end. The kernel
 * module does not keep a second daemon out, so the device file is locked.
 */
#ifndef HOST_TRANSPORT_HVISOR_HVISOR_H
#define HOST_TRANSPORT_HVISOR_HVISOR_H

#include "daemon.h"
#include "util/error.h"
#include "zone/plan.h"

struct access_thread;
struct hvisor;
struct memory;

/* Opens the device file and takes hvisor's accesses from here on. NULL with error set. */
struct hvisor *hvisor_new(struct daemon *daemon, const char *path, struct error *error);

/* No zone of it is served. done(daemon) when no thread uses it; hvisor_free() may follow. */
void hvisor_close(struct hvisor *h, void (*done)(struct daemon *daemon));
void hvisor_free(struct hvisor *h); /* NULL is fine */

/* Maps a zone's memory. The caller puts it. NULL with error set. */
struct memory *hvisor_map(struct hvisor *h, const struct zone_plan *zone, struct error *error);

struct access_thread *hvisor_access(const struct hvisor *h);

#endif
