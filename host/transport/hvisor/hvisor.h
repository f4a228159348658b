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

/* Opens the device file; accesses wait from here on. NULL with error set. */
struct hvisor *hvisor_new(struct daemon *daemon, const char *path, struct error *error);
/*
 * Takes hvisor's accesses from here on: the devices that were wanted at the start are there. A zone
 * that runs while a daemon follows another would else find its slots empty for a moment. Once.
 */
void hvisor_serve(struct hvisor *h);

/* No zone of it is served. done(daemon) when no thread uses it; hvisor_free() may follow. */
void hvisor_close(struct hvisor *h, void (*done)(struct daemon *daemon));
/* Also if it was never closed, while the loop does not run. NULL is fine. */
void hvisor_free(struct hvisor *h);

/* Maps a zone's memory. The caller puts it. NULL with error set. */
struct memory *hvisor_map(struct hvisor *h, const struct zone_plan *zone, struct error *error);

struct access_thread *hvisor_access(const struct hvisor *h);

#endif
