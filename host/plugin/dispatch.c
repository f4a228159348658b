/* SPDX-License-Identifier: BSD-3-Clause */
/* dispatch.c - see dispatch.h. create() and destroy(), on the builder, are called by create.c. */
#include "plugin/dispatch.h"

static const struct hvv_ops *ops(const struct device *dev)
{
    return &dev->plugin->ops;
}

void dispatch_publish(struct device *dev)
{
    if (ops(dev)->publish)
        ops(dev)->publish(&dev->pub);
}

void dispatch_queue_start(struct queue *q)
{
    if (ops(q->dev)->queue_start)
        ops(q->dev)->queue_start(&q->dev->pub, q->index);
}

void dispatch_notify(struct queue *q)
{
    virtq_hold_back(q->vq); /* until the plugin finds the ring empty again */
    ops(q->dev)->notify(&q->dev->pub, q->index);
}

uint32_t dispatch_poll(struct queue *q)
{
    return ops(q->dev)->poll ? ops(q->dev)->poll(&q->dev->pub, q->index) : 0;
}

void dispatch_queue_stop(struct queue *q, bool discard)
{
    if (ops(q->dev)->queue_stop)
        ops(q->dev)->queue_stop(&q->dev->pub, q->index, discard ? HVV_STOP_DISCARD : 0);
}

void dispatch_config_write(struct device *dev, uint32_t offset, const void *data, uint32_t size)
{
    if (ops(dev)->config_write)
        ops(dev)->config_write(&dev->pub, offset, data, size);
}

void dispatch_memory_changed(struct device *dev, uint32_t queue)
{
    if (ops(dev)->memory_changed)
        ops(dev)->memory_changed(&dev->pub, queue);
}

void dispatch_reset(struct device *dev)
{
    if (ops(dev)->reset)
        ops(dev)->reset(&dev->pub);
}

void dispatch_stop(struct device *dev)
{
    if (ops(dev)->stop)
        ops(dev)->stop(&dev->pub);
}
