/* SPDX-License-Identifier: BSD-3-Clause */
/* control.h - the control queue (virtio 1.2, section 5.1.6.5). On the worker of that queue. */
#ifndef NET_CONTROL_H
#define NET_CONTROL_H

#include "device.h"

/* Runs the commands in `queue`. */
void control_run(struct net *net, uint32_t queue);

/*
 * What of the offloads a driver took, or asks for, can be used: all need VIRTIO_NET_F_GUEST_CSUM,
 * and ECN one for TCP segments (virtio 1.2, section 5.1.3.1).
 */
uint64_t control_usable_offloads(uint64_t asked);

#endif
