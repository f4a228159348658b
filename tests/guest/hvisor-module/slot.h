/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * slot.h - virtio devices in slots of zones, for the kernel's own drivers: what the virtio-mmio
 * driver does in a zone, where each access to a register is trapped.
 */
#ifndef HVISOR_MODULE_SLOT_H
#define HVISOR_MODULE_SLOT_H

#include <linux/types.h>

#include "zone.h"

int slot_start(void);
/* No slot is in use any more after it. */
void slot_end(void);

/* Looks for a device in a slot and lets a driver have it; sets device_id. 0 or -errno. */
int slot_plug(struct zone_slot *slot);
int slot_unplug(const struct zone_slot *slot);

/* Any context. False: there is no such slot. */
bool slot_interrupt(u32 zone, u32 irq);

#endif
