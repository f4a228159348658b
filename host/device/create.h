/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * create.h - from a spec to a staged device, and back to nothing. Builder thread.
 *
 * Everything that can fail happens here, in this order, each step undone in reverse:
 * find the plugin, check the options, choose workers, the plugin's create(), the transport's stage.
 */
#ifndef HOST_DEVICE_CREATE_H
#define HOST_DEVICE_CREATE_H

#include "conf/host-options.h"
#include "device/device.h"

struct slot;

/*
 * Makes a staged device in `slot`, or with a vhost-user socket if that is NULL. Takes over `spec`,
 * also on failure. NULL with error set.
 */
struct device *create_device(struct daemon *daemon, struct spec *spec, const char *id,
                             struct slot *slot, const char *cwd, struct error *error);

/* Destroys a staged or retired device and frees it. */
void destroy_device(struct device *dev);

/* hvv_add_queues(): the first index, or -ENOMEM. Inside the plugin's create(). */
int32_t create_queues(struct device *dev, uint32_t count, uint32_t size, uint32_t segments,
                      uint32_t flags);

#endif
