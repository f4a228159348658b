/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mmio.h - the virtio-mmio transport: a device in a slot of a zone, reached by trapped accesses.
 *
 *     registers.c   what the registers mean; pure
 *     mmio.c        joins them with the device: effects become work of the control thread, and the
 *                   vCPUs that wait for it are answered when it is done
 *
 * Threads: while the zone is served, the registers belong to the access thread; otherwise, and
 * after it has let go, to the control thread. An operation goes round once:
 *
 *     access: effect -> op_task -> control: does it -> done_task -> access: answers who waits
 *
 * How a hypervisor is reached is not known here: platforms attach and detach devices.
 */
#ifndef HOST_TRANSPORT_MMIO_MMIO_H
#define HOST_TRANSPORT_MMIO_MMIO_H

#include "device/device.h"
#include "transport/bridge/access.h"
#include "transport/mmio/registers.h"

struct mmio;
struct slot;
struct zone;

/* Builder: makes the registers of a device that is to appear in `slot`. */
int mmio_stage(struct device *dev, struct slot *slot, struct error *error);

/* The device's mmio, or NULL if it has another transport. */
struct mmio *mmio_of(const struct device *dev);

/*
 * The zone is served: by thread `at`, with this memory (a reference is taken). The slot table with
 * the device in it comes after this. Control.
 */
void mmio_attach(struct mmio *m, struct access_thread *at, struct memory *memory);

bool mmio_attached(const struct mmio *m);

/*
 * The zone stopped, and no table has the device any more: it is reset, and lets go of thread and
 * memory. detached(zone) follows. Control.
 */
void mmio_detach(struct mmio *m, void (*detached)(struct zone *zone));

/* An access at `offset` in the device's slot. True if more of them follow at once. Access thread. */
bool mmio_access(struct mmio *m, struct access_thread *at, const struct bridge_access *access,
                 uint64_t offset);

#endif
