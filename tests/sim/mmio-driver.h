/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mmio-driver.h - a guest's driver for virtio-mmio version 2, in the order Linux does things.
 *
 * One thread sets a device up and takes it down; each queue may then have a thread of its own,
 * which waits on the queue's call descriptor. The guest's interrupt thread reads InterruptStatus,
 * writes InterruptACK and signals those descriptors. Rings are those of tests/frontend/ring.h.
 *
 * Functions return 0 or -errno: that of the access that failed (sim.h), -ENXIO if there is no
 * virtio-mmio device, -ENODEV if it is a placeholder, -EPROTO with `why` set if it does wrong.
 */
#ifndef SIM_MMIO_DRIVER_H
#define SIM_MMIO_DRIVER_H

#include "guest.h"
#include "ring.h"

#include <linux/virtio_mmio.h>
#include <stdatomic.h>

#define MMIO_QUEUES 8u
#define MMIO_QUEUE_RESET 0xc0u /* not in older headers */
#define MMIO_BIT(n) (1ull << (n))

struct mmio_kick { /* what a ring passes to its kick function */
    struct mmio_dev *dev;
    unsigned int index;
};

struct mmio_dev {
    struct guest *guest;
    unsigned int slot;
    uint64_t base;
    uint32_t cpu; /* that the driver runs on */
    uint32_t device_id;
    uint64_t offered, features;
    struct ring *ring[MMIO_QUEUES]; /* those that run; the caller's */
    struct mmio_kick kick[MMIO_QUEUES];
    int call_fd[MMIO_QUEUES];
    atomic_uint_least64_t interrupts, config_changes, empty; /* the last: with status 0 */
    /* Between the acknowledgement and the end of the interrupt; on the interrupt thread. */
    void (*in_interrupt)(struct mmio_dev *dev, void *arg);
    void *in_interrupt_arg;
    char why[160];
};

/* Takes the slot of the guest. `cpu`: one of the guest's. */
int mmio_init(struct mmio_dev *dev, struct guest *g, unsigned int slot, uint32_t cpu);
void mmio_free(struct mmio_dev *dev); /* touches no register */

/* One register, or part of the config space. */
int mmio_read(struct mmio_dev *dev, uint32_t offset, uint32_t size, uint64_t *value);
int mmio_write(struct mmio_dev *dev, uint32_t offset, uint32_t size, uint64_t value);
int mmio_read32(struct mmio_dev *dev, uint32_t offset, uint32_t *value);
int mmio_write32(struct mmio_dev *dev, uint32_t offset, uint32_t value);

/* Magic, version, DeviceID. */
int mmio_probe(struct mmio_dev *dev);
int mmio_reset(struct mmio_dev *dev);
/*
 * Reset, ACKNOWLEDGE, DRIVER, those of `wanted` that are offered, FEATURES_OK. -EOPNOTSUPP if
 * VERSION_1 or one of `needed` is not offered.
 */
int mmio_negotiate(struct mmio_dev *dev, uint64_t wanted, uint64_t needed);
/* Gives the ring to queue `index`; its kick and call_fd are set. */
int mmio_queue_start(struct mmio_dev *dev, unsigned int index, struct ring *ring);
int mmio_driver_ok(struct mmio_dev *dev);
/* QueueReady 0, as Linux does when it removes a queue. */
int mmio_queue_stop(struct mmio_dev *dev, unsigned int index);
/* With RING_RESET: QueueReset, until it reads 0. */
int mmio_queue_reset(struct mmio_dev *dev, unsigned int index);

/* As Linux reads: by 4 bytes where it can, again if the generation changed meanwhile. */
int mmio_config_read(struct mmio_dev *dev, uint32_t offset, void *data, uint32_t len);
int mmio_config_write(struct mmio_dev *dev, uint32_t offset, const void *data, uint32_t len);

/* What the interrupt thread runs. */
void mmio_interrupt(struct mmio_dev *dev);

#endif
