/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config-space.h - the host's copy of a device's configuration space.
 *
 * The plugin writes it, guests read it, and no plugin code runs for a read. Readers take no lock
 * and are never held up by a writer that was interrupted: there are two copies, and a reader uses
 * the one that is not being written. The generation goes up with each change (virtio 1.2, section
 * 2.5.1), so that a driver reading several fields can tell.
 */
#ifndef HOST_DEVICE_CONFIG_SPACE_H
#define HOST_DEVICE_CONFIG_SPACE_H

#include <hvv/host.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct config_space {
    pthread_mutex_t write; /* writers only */
    atomic_uint seq;       /* odd: copy[0] is being written; readers use copy[seq & 1] */
    _Atomic uint32_t size; /* fixed once the device is published */
    _Atomic uint8_t copy[2][HVV_CONFIG_MAX];
};

void config_space_init(struct config_space *config);
void config_space_destroy(struct config_space *config);

/* Stores bytes as one step. -EINVAL past the end, or past HVV_CONFIG_MAX while it may `grow`. */
int config_space_write(struct config_space *config, uint32_t offset, const void *data,
                       uint32_t size, bool grow);

/* Reads up to `size` bytes; what is past the end reads as 0. Returns the generation. */
uint32_t config_space_read(struct config_space *config, uint32_t offset, void *data, uint32_t size);

#endif
