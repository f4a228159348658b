/* SPDX-License-Identifier: BSD-3-Clause */
/* create.c - see create.h. The one place that knows which transports there are. */
#include "device/create.h"

#include "daemon.h"
#include "plugin/registry.h"
#include "plugin/services.h"
#include "transport/mmio/mmio.h"
#include "transport/vhost-user/vhost-user.h"
#include "zone/zone.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int check_options(struct device *dev, const char *cwd, struct error *error)
{
    const struct hvv_plugin *info = &dev->plugin->info;
    struct option_table tables[] = {
        host_options,
        {info->options, info->n_options, info->option_size, info->name},
    };
    return options_check(&dev->options, &dev->spec, tables, 2, cwd, error);
}

/* One of the pool in turn, or a new one for this device alone. */
static int choose_worker(struct device *dev, struct error *error)
{
    struct daemon *daemon = dev->daemon;
    if (daemon->n_workers) {
        dev->worker = daemon->workers[daemon->next_worker++ % daemon->n_workers];
        return 0;
    }
    dev->own_worker = worker_new(daemon->next_worker++, daemon->conf->poll_us * 1000ull, error);
    dev->worker = dev->own_worker;
    return dev->worker ? 0 : -error->err;
}

static struct worker *worker_of_queue(struct device *dev, uint32_t index, uint32_t first,
                                      uint32_t flags)
{
    struct daemon *daemon = dev->daemon;
    if (index == 0 || dev->plugin->info.threads != HVV_SERIAL_QUEUE || !daemon->n_workers)
        return dev->worker;
    if (index != first && (flags & HVV_QUEUES_TOGETHER))
        return dev->queues[first].worker;
    return daemon->workers[daemon->next_worker++ % daemon->n_workers];
}

int32_t create_queues(struct device *dev, uint32_t count, uint32_t size, uint32_t segments,
                      uint32_t flags)
{
    if (!dev->create_error)
        return -EINVAL;
    uint32_t first = dev->n_queues;
    for (uint32_t i = first; i < first + count; i++) {
        dev->queues[i].worker = worker_of_queue(dev, i, first, flags);
        if (queue_init(&dev->queues[i], dev, i, size, segments) < 0)
            return -ENOMEM; /* those made so far are freed with the device */
        dev->n_queues++;
    }
    return (int32_t)first;
}

static void destroy_instance(struct device *dev)
{
    callback_enter(&dev->callbacks[CALLBACK_DESTROY]);
    dev->plugin->ops.destroy(&dev->pub);
    callback_leave();
    services_sweep(dev);
}

static int create_instance(struct device *dev, struct error *error)
{
    const struct hvv_plugin *info = &dev->plugin->info;
    dev->counters = calloc((info->n_counters + 1) * (HVV_QUEUES_MAX + 1), sizeof(dev->counters[0]));
    dev->queues = calloc(HVV_QUEUES_MAX, sizeof(dev->queues[0])); /* never moves: see services.c */
    if (!dev->counters || !dev->queues || device_name_callbacks(dev) < 0)
        return error_set(error, ENOMEM, "out of memory for device %s", dev->id);
    dev->create_error = error;
    callback_enter(&dev->callbacks[CALLBACK_CREATE]);
    int rc = dev->plugin->ops.create(&dev->pub);
    callback_leave();
    dev->create_error = NULL;
    if (rc < 0) {
        error_set(error, -rc, "plugin %s cannot create the device: %s", info->name,
                  strerror(-rc));
        services_sweep(dev);
        return rc;
    }
    if (dev->n_queues == 0) {
        destroy_instance(dev);
        return error_set(error, EINVAL, "plugin %s created a device without queues", info->name);
    }
    return 0;
}

static int stage(struct device *dev, struct slot *slot, struct error *error)
{
    return slot ? mmio_stage(dev, slot, error) : vhost_user_stage(dev, error);
}

struct device *create_device(struct daemon *daemon, struct spec *spec, const char *id,
                             struct slot *slot, const char *cwd, struct error *error)
{
    struct device *dev = device_new(daemon, id, error);
    if (!dev) {
        spec_clear(spec);
        return NULL;
    }
    dev->spec = *spec;
    memset(spec, 0, sizeof(*spec));
    dev->plugin = registry_find(daemon->registry, dev->spec.plugin, error);
    if (!dev->plugin || check_options(dev, cwd, error) < 0 || choose_worker(dev, error) < 0)
        goto free_device;
    if (create_instance(dev, error) < 0)
        goto free_worker;
    if (stage(dev, slot, error) < 0)
        goto destroy;
    dev->plugin->devices++;
    device_move(dev, DEVICE_STAGED);
    return dev;
destroy:
    destroy_instance(dev);
free_worker:
    worker_free(dev->own_worker);
free_device:
    error_device(error, id);
    device_move(dev, DEVICE_GONE);
    device_free(dev);
    return NULL;
}

void destroy_device(struct device *dev)
{
    dev->transport->destroy(dev);
    destroy_instance(dev);
    worker_free(dev->own_worker);
    dev->plugin->devices--;
    device_move(dev, DEVICE_GONE);
    device_free(dev);
}
