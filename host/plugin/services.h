/* SPDX-License-Identifier: BSD-3-Clause */
/* services.h - the functions behind hvv/host.h, and what the host cleans up after a plugin. */
#ifndef HOST_PLUGIN_SERVICES_H
#define HOST_PLUGIN_SERVICES_H

#include "device/device.h"

#define SERVICES_CAPS (HVV_CAP_MAP | HVV_CAP_SHARED)

extern const struct hvv_host services;

/* Ends all maps of guest memory, at reset. Worker of queue 0. */
void services_unmap_all(struct device *dev);

/* Disarms the watches and timers that `worker` runs for the device. That worker. */
void services_disarm(struct device *dev, struct worker *worker);

/*
 * After create() failed or destroy() returned: frees watches and timers the plugin forgot, and says
 * so. Builder.
 */
void services_sweep(struct device *dev);

#endif
