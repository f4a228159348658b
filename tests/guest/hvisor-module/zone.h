/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * zone.h - /dev/hvisor-zone: what the programs of the test guest ask of the module. It is the
 * zones' side of the bridge; the daemon has the other one, /dev/hvisor.
 */
#ifndef HVISOR_MODULE_ZONE_H
#define HVISOR_MODULE_ZONE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define ZONE_QUEUE_NOTIFY 0x50	/* offset of the one register whose writer does not wait */
#define ZONE_CPUS 32
#define ZONE_IDS 32
#define ZONE_IRQS 256

/* A register access of a vCPU. */
struct zone_access {
	__u64 address;		/* in the zone */
	__u64 value;		/* written, or read */
	__u32 zone;
	__u32 cpu;
	__u32 size;		/* 1, 2, 4 or 8; others are passed on as well */
	__u8 write;
	__u8 notify;		/* nobody waits for an answer */
	__u8 padding[2];
};

/* A place for a device. */
struct zone_slot {
	__u64 address;
	__u32 zone;
	__u32 irq;
	__u32 cpu;		/* the vCPU that the driver runs on */
	__u32 device_id;	/* what was found there */
};

/* Waits for an interrupt of a slot that no driver of the kernel has. */
struct zone_irq {
	__u32 zone;
	__u32 irq;
	__u32 timeout_ms;
};

/* A piece of physical memory that nobody else uses. */
struct zone_memory {
	__u64 address;
	__u64 size;
};

struct zone_counters {
	__u64 inits;		/* INIT_VIRTIO */
	__u64 finishes;		/* FINISH_REQ */
	__u64 accesses;		/* that waited for an answer, and got one */
	__u64 renewed;		/* of them, those that got it on another page */
	__u64 waiting;		/* a bit per vCPU that waits for one now */
	__u64 notifies;
	__u64 wakeups;		/* the eventfd was signalled */
	__u64 interrupts;
	__u64 overflows;	/* an eighth interrupt while seven of a zone were pending */
};

#define ZONE_ACCESS	_IOWR('z', 0, struct zone_access)
#define ZONE_PLUG	_IOWR('z', 1, struct zone_slot)
#define ZONE_UNPLUG	_IOW('z', 2, struct zone_slot)
#define ZONE_WAIT_IRQ	_IOW('z', 3, struct zone_irq)
#define ZONE_MEMORY	_IOR('z', 4, struct zone_memory)
#define ZONE_COUNTERS	_IOR('z', 5, struct zone_counters)

#endif
