/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dispatch.h - the only caller of plugin code on a worker.
 *
 * Each function runs on the worker the ABI names, and does nothing if the plugin lacks the optional
 * operation. Chains that a callback finished are shown to the driver by the queue's next flush, in
 * the same turn of the worker.
 */
#ifndef HOST_PLUGIN_DISPATCH_H
#define HOST_PLUGIN_DISPATCH_H

#include "device/device.h"

void dispatch_publish(struct device *dev);
void dispatch_queue_start(struct queue *q);
void dispatch_notify(struct queue *q);
uint32_t dispatch_poll(struct queue *q);
void dispatch_queue_stop(struct queue *q, bool discard);
void dispatch_config_write(struct device *dev, uint32_t offset, const void *data, uint32_t size);
void dispatch_memory_changed(struct device *dev, uint32_t queue);
void dispatch_reset(struct device *dev);
void dispatch_stop(struct device *dev);

#endif
