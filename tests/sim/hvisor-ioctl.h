/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvisor-ioctl.h - ioctls on a plain file that stands for hvisor's device, passed to the simulated
 * hypervisor: what the library that is loaded into the daemon and device.c have in common.
 *
 * One connection (SOCK_SEQPACKET, at the path of the device and HVISOR_IOCTL_SOCKET) for each
 * ioctl: one message there, with the eventfd of SET_EVENTFD beside it, one back when it is done.
 */
#ifndef SIM_HVISOR_IOCTL_H
#define SIM_HVISOR_IOCTL_H

#include <stdint.h>

#define HVISOR_IOCTL_DEVICE "HVV_HVISOR_DEVICE" /* environment: path of the file */
#define HVISOR_IOCTL_SOCKET ".ioctl"

#define HVISOR_INIT_VIRTIO 0x100u
#define HVISOR_FINISH_REQ 0x102u
#define HVISOR_SET_EVENTFD 0x40040107u
#define HVISOR_DEASSERT_IRQ 0x4008010bu
#define HVISOR_NO_IRQ 25 /* INIT_VIRTIO returns it, not as an error: the root zone has no irq */

struct hvisor_ioctl {
    uint32_t request;
    uint32_t zone, irq; /* of DEASSERT_IRQ */
};

struct hvisor_ioctl_answer {
    int32_t value; /* negative: -errno */
};

#endif
