/* SPDX-License-Identifier: BSD-3-Clause */
/* dispatch.c - see dispatch.h. create() and destroy(), on the builder, are called by create.c. */
#include "plugin/dispatch.h"

static const struct hvv_ops *ops(const struct device *dev)
{
    return &dev->plugin->ops;
}

static void enter(const struct device *dev, enum device_callback callback)
{
    callback_enter(&dev->callbacks[callback]);
}

void dispatch_publish(struct device *dev)
{
    atomic_store(&dev->active, true);
    if (!ops(dev)->publish)
        return;
    enter(dev, CALLBACK_PUBLISH);
    ops(dev)->publish(&dev->pub);
    callback_leave();
}

void dispatch_queue_start(struct queue *q)
{
    if (!ops(q->dev)->queue_start)
        return;
    enter(q->dev, CALLBACK_QUEUE_START);
    ops(q->dev)->queue_start(&q->dev->pub, q->index);
    callback_leave();
}

void dispatch_notify(struct queue *q)
{
    virtq_hold_back(q->vq); /* until the plugin finds the ring empty again */
    enter(q->dev, CALLBACK_NOTIFY);
    ops(q->dev)->notify(&q->dev->pub, q->index);
    callback_leave();
}

uint32_t dispatch_poll(struct queue *q)
{
    if (!ops(q->dev)->poll)
        return 0;
    enter(q->dev, CALLBACK_POLL);
    uint32_t finished = ops(q->dev)->poll(&q->dev->pub, q->index);
    callback_leave();
    return finished;
}

void dispatch_queue_stop(struct queue *q, bool discard)
{
    if (!ops(q->dev)->queue_stop)
        return;
    enter(q->dev, CALLBACK_QUEUE_STOP);
    ops(q->dev)->queue_stop(&q->dev->pub, q->index, discard ? HVV_STOP_DISCARD : 0);
    callback_leave();
}

void dispatch_config_write(struct device *dev, uint32_t offset, const void *data, uint32_t size)
{
    if (!ops(dev)->config_write)
        return;
    enter(dev, CALLBACK_CONFIG_WRITE);
    ops(dev)->config_write(&dev->pub, offset, data, size);
    callback_leave();
}

void dispatch_memory_changed(struct device *dev, uint32_t queue)
{
    if (!ops(dev)->memory_changed)
        return;
    enter(dev, CALLBACK_MEMORY_CHANGED);
    ops(dev)->memory_changed(&dev->pub, queue);
    callback_leave();
}

void dispatch_reset(struct device *dev)
{
    if (!ops(dev)->reset)
        return;
    enter(dev, CALLBACK_RESET);
    ops(dev)->reset(&dev->pub);
    callback_leave();
}

void dispatch_stop(struct device *dev)
{
    if (!ops(dev)->stop)
        return;
    enter(dev, CALLBACK_STOP);
    ops(dev)->stop(&dev->pub);
    callback_leave();
}
