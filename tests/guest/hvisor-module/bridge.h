/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * bridge.h - what hvisor and its kernel module do together: the page they share with the daemon,
 * the vCPUs that wait on it, /dev/hvisor.
 */
#ifndef HVISOR_MODULE_BRIDGE_H
#define HVISOR_MODULE_BRIDGE_H

#include <linux/types.h>

#include "zone.h"

int bridge_start(void);
void bridge_end(void);

/*
 * One access by a vCPU, which does nothing else meanwhile: whoever comes next with the same one
 * waits. Sleeps until the daemon, this one or the next, has answered; a fatal signal or the time
 * limit ends that, and then the vCPU's next access waits for that answer first. 0 or -errno: -ENXIO
 * if no daemon has ever been there.
 */
int bridge_access(struct zone_access *a);

/* Hands over an access that nobody waits for; -EAGAIN if the list is full. Any context. */
int bridge_notify(const struct zone_access *a);

/* Takes an interrupt if it is pending, waits for it. 0, -ETIME, or -EINTR. */
int bridge_wait_irq(const struct zone_irq *irq);

void bridge_counters(struct zone_counters *counters);

#endif
