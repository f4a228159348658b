/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * machine.h - where things are in a zone: the monitor, in C, and zone.dts, which tells the zone's
 * kernel, both include it. Only numbers.
 */
#ifndef MACHINE_H
#define MACHINE_H

#define CPUS 2

/* The interrupt controller, a GICv3, which KVM emulates. */
#define GIC_DISTRIBUTOR 0x08000000
#define GIC_DISTRIBUTOR_SIZE 0x10000
#define GIC_REDISTRIBUTORS 0x080a0000
#define GIC_REDISTRIBUTORS_SIZE (CPUS * 0x20000)

/* Interrupts of devices count from 0 in a device tree, and from 32 everywhere else. */
#define FIRST_SPI 32

#define UART 0x09000000
#define UART_SIZE 0x1000
#define UART_SPI 1

/* Places for virtio-mmio devices, one after the other; so are their interrupts. */
#define SLOTS 4
#define SLOT 0x0a000000
#define SLOT_SIZE 0x200
#define SLOT_SPI 16

/* What the boot protocol of Linux for arm64 wants in memory, as offsets in it. */
#define RAM 0x40000000
#define RAM_SIZE 0x0c000000
#define KERNEL_OFFSET 0x00000000
#define DTB_OFFSET 0x08000000
#define DTB_ROOM 0x00100000
#define INITRD_OFFSET 0x08200000

#endif
