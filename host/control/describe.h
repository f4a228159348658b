/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * describe.h - devices and plugins as JSON, for answers of the control socket. New references; NULL
 * members never appear. Device functions: control thread; registry: builder.
 */
#ifndef HOST_CONTROL_DESCRIBE_H
#define HOST_CONTROL_DESCRIBE_H

#include "device/device.h"
#include "plugin/registry.h"

#include <jansson.h>

json_t *describe_device(const struct device *dev);        /* a line of device.list */
/* The callbacks of plugins that do not return, also of devices that are not there yet. */
json_t *describe_stuck(const struct daemon *daemon);
json_t *describe_device_fully(const struct device *dev);  /* device.show */
json_t *describe_stats(const struct device *dev);
/* All plugins, or those called `name`, and the files that were refused. */
json_t *describe_registry(const struct registry *registry, const char *name);

#endif
