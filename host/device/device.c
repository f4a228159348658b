/* SPDX-License-Identifier: BSD-3-Clause */
/* device.c - see device.h. */
#include "device/device.h"

#include "daemon.h"
#include "plugin/dispatch.h"
#include "plugin/services.h"
#include "util/container.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef VIRTIO_F_IN_ORDER
#define VIRTIO_F_IN_ORDER 35
#endif
#ifndef VIRTIO_F_RING_RESET
#define VIRTIO_F_RING_RESET 40
#endif

/* What the engine can do, for every device (virtio 1.2, section 6). */
#define HOST_FEATURES                                                                              \
    ((1ull << VIRTIO_RING_F_INDIRECT_DESC) | (1ull << VIRTIO_RING_F_EVENT_IDX) |                   \
     (1ull << VIRTIO_F_VERSION_1) | (1ull << VIRTIO_F_RING_RESET))

static const char *const state_names[] = {"new",       "staged",  "published",
                                          "quiescing", "retired", "gone"};

/* legal[from] has a bit for each state that may follow. */
static const unsigned legal[] = {
    [DEVICE_NEW] = 1u << DEVICE_STAGED | 1u << DEVICE_GONE,
    [DEVICE_STAGED] = 1u << DEVICE_PUBLISHED | 1u << DEVICE_GONE,
    [DEVICE_PUBLISHED] = 1u << DEVICE_QUIESCING,
    [DEVICE_QUIESCING] = 1u << DEVICE_RETIRED,
    [DEVICE_RETIRED] = 1u << DEVICE_GONE,
    [DEVICE_GONE] = 0,
};

void device_move(struct device *dev, enum device_state state)
{
    if (!(legal[dev->state] & 1u << state)) {
        log_write(HVV_LOG_ERROR, dev->id, "bug: device moved from %s to %s",
                  state_names[dev->state], state_names[state]);
        abort(); /* ours, not anybody's input: going on could let a guest use freed memory */
    }
    dev->state = state;
}

const char *device_state_name(enum device_state state)
{
    return state_names[state];
}

/* ---- things that may start on any thread and end on the control thread ----------------------- */

static void config_on_control(struct hvv_task *task)
{
    struct device *dev = container_of(task, struct device, config_task);
    atomic_store(&dev->config_pending, false);
    if (dev->state == DEVICE_PUBLISHED)
        dev->transport->config_changed(dev);
}

void device_config_changed(struct device *dev)
{
    if (!atomic_exchange(&dev->config_pending, true))
        loop_post(dev->daemon->loop, &dev->config_task);
}

static void memory_changed_on_worker(struct hvv_task *task)
{
    struct device *dev = container_of(task, struct device, maps_task);
    atomic_store(&dev->maps_pending, false);
    dispatch_memory_changed(dev, HVV_NO_QUEUE);
}

void device_memory_changed(struct device *dev)
{
    if (!atomic_exchange(&dev->maps_pending, true))
        loop_post(worker_loop(dev->queues[0].worker), &dev->maps_task);
}

static void broken_on_control(struct hvv_task *task)
{
    struct device *dev = container_of(task, struct device, broken_task);
    char text[sizeof(dev->broken_text)];
    atomic_store(&dev->broken_pending, false);
    pthread_mutex_lock(&dev->lock);
    snprintf(text, sizeof(text), "%s", dev->broken_text);
    pthread_mutex_unlock(&dev->lock);
    device_log(dev, HVV_LOG_WARNING, "stopped until its driver resets it: %s", text);
    daemon_event(dev->daemon, "device.broken", dev->id, "reason", text);
    if (dev->state == DEVICE_PUBLISHED)
        dev->transport->broke(dev);
}

void device_break(struct device *dev, const char *fmt, ...)
{
    pthread_mutex_lock(&dev->lock);
    bool first = !atomic_load(&dev->broken);
    if (first) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(dev->broken_text, sizeof(dev->broken_text), fmt, args);
        va_end(args);
        atomic_store(&dev->broken, true);
    }
    pthread_mutex_unlock(&dev->lock);
    if (first && !atomic_exchange(&dev->broken_pending, true))
        loop_post(dev->daemon->loop, &dev->broken_task);
}

void device_log(struct device *dev, uint32_t level, const char *fmt, ...)
{
    uint32_t dropped = 0;
    if (level > log_level())
        return;
    if (level < HVV_LOG_DEBUG && !log_limit_ok(&dev->log_limit, &dropped))
        return; /* debug lines are there because the operator asked for them */
    if (dropped)
        log_write(level, dev->id, "%u lines were left out", dropped);
    va_list args;
    va_start(args, fmt);
    log_vwrite(level, dev->id, fmt, args);
    va_end(args);
}

/* ---- steps of life --------------------------------------------------------------------------- */

static void step_done(struct hvv_task *task)
{
    struct device *dev = container_of(task, struct device, life_task);
    dev->life_done(dev);
}

/* Starts a step on the worker of queue 0; it ends with end_step(). One at a time. */
static void begin_step(struct device *dev, void (*run)(struct hvv_task *task),
                       void (*done)(struct device *dev))
{
    dev->life_done = done;
    dev->life_task.run = run;
    loop_post(worker_loop(dev->queues[0].worker), &dev->life_task);
}

static void end_step(struct device *dev)
{
    dev->life_task.run = step_done;
    loop_post(dev->daemon->loop, &dev->life_task);
}

static void reset_on_worker(struct hvv_task *task)
{
    struct device *dev = container_of(task, struct device, life_task);
    dispatch_reset(dev);
    services_unmap_all(dev);
    end_step(dev);
}

void device_reset(struct device *dev, void (*done)(struct device *dev))
{
    atomic_store(&dev->negotiated, 0);
    atomic_store(&dev->broken, false);
    begin_step(dev, reset_on_worker, done);
}

static void config_write_on_worker(struct hvv_task *task)
{
    struct device *dev = container_of(task, struct device, life_task);
    dispatch_config_write(dev, dev->config_write.offset, dev->config_write.data,
                          dev->config_write.size);
    end_step(dev);
}

void device_config_write(struct device *dev, uint32_t offset, const void *data, uint32_t size,
                         void (*done)(struct device *dev))
{
    dev->config_write.offset = offset;
    dev->config_write.size = size;
    memcpy(dev->config_write.data, data, size);
    begin_step(dev, config_write_on_worker, done);
}

/* Goes to the worker of the next queue that is not the one we are on. False after the last. */
static bool visit_next_worker(struct device *dev)
{
    struct worker *here = dev->queues[dev->life_queue].worker;
    while (dev->life_queue < dev->n_queues && dev->queues[dev->life_queue].worker == here)
        dev->life_queue++;
    if (dev->life_queue == dev->n_queues)
        return false;
    loop_post(worker_loop(dev->queues[dev->life_queue].worker), &dev->life_task);
    return true;
}

/* Starts a round of visits to all workers with `run`, from any of them. */
static void visit_workers(struct device *dev, void (*run)(struct hvv_task *task))
{
    dev->life_queue = 0;
    dev->life_task.run = run;
    loop_post(worker_loop(dev->queues[0].worker), &dev->life_task);
}

/* Tasks run in order: whatever was posted before the plugin's stop() returned has run by now. */
static void drain_on_worker(struct hvv_task *task)
{
    struct device *dev = container_of(task, struct device, life_task);
    if (!visit_next_worker(dev))
        end_step(dev);
}

static void stop_on_worker(struct hvv_task *task)
{
    struct device *dev = container_of(task, struct device, life_task);
    dispatch_stop(dev);
    visit_workers(dev, drain_on_worker);
}

static void disarm_on_worker(struct hvv_task *task)
{
    struct device *dev = container_of(task, struct device, life_task);
    services_disarm(dev, dev->queues[dev->life_queue].worker);
    if (!visit_next_worker(dev))
        visit_workers(dev, stop_on_worker);
}

void device_retire(struct device *dev, void (*done)(struct device *dev))
{
    atomic_store(&dev->retiring, true);
    dev->life_done = done;
    visit_workers(dev, disarm_on_worker);
}

/* ---- new and free ---------------------------------------------------------------------------- */

uint32_t device_queue_units(const struct device *dev)
{
    uint32_t unit = dev->plugin->info.queue_unit;
    return unit > 1 && unit <= dev->n_queues ? dev->n_queues / unit : dev->n_queues;
}

uint64_t device_offered(const struct device *dev)
{
    uint64_t in_order = dev->feature_flags & HVV_FEATURES_IN_ORDER ? 1ull << VIRTIO_F_IN_ORDER : 0;
    return dev->features | HOST_FEATURES | in_order;
}

struct device *device_new(struct daemon *daemon, const char *id, struct error *error)
{
    struct device *dev = calloc(1, sizeof(*dev));
    if (!dev) {
        error_set(error, ENOMEM, "out of memory for device %s", id);
        return NULL;
    }
    dev->pub.size = sizeof(dev->pub);
    dev->pub.host = &services;
    dev->pub.id = dev->id;
    snprintf(dev->id, sizeof(dev->id), "%s", id);
    dev->pub.directory = daemon->conf->socket_dir;
    dev->daemon = daemon;
    dev->stuck = timer_new(daemon->loop, queue_stuck, dev);
    if (!dev->stuck) {
        error_set(error, ENOMEM, "out of memory for device %s", id);
        free(dev);
        return NULL;
    }
    config_space_init(&dev->config);
    pthread_mutex_init(&dev->lock, NULL);
    TAILQ_INIT(&dev->watches);
    TAILQ_INIT(&dev->timers);
    dev->config_task.run = config_on_control;
    dev->broken_task.run = broken_on_control;
    dev->maps_task.run = memory_changed_on_worker;
    return dev;
}

int device_name_callbacks(struct device *dev)
{
    static const char *const names[] = {
        [CALLBACK_CREATE] = "create()",
        [CALLBACK_PUBLISH] = "publish()",
        [CALLBACK_QUEUE_START] = "queue_start()",
        [CALLBACK_NOTIFY] = "notify()",
        [CALLBACK_POLL] = "poll()",
        [CALLBACK_QUEUE_STOP] = "queue_stop()",
        [CALLBACK_CONFIG_WRITE] = "config_write()",
        [CALLBACK_MEMORY_CHANGED] = "memory_changed()",
        [CALLBACK_RESET] = "reset()",
        [CALLBACK_STOP] = "stop()",
        [CALLBACK_DESTROY] = "destroy()",
        [CALLBACK_WATCH] = "a watch",
        [CALLBACK_TIMER] = "a timer",
        [CALLBACK_TASK] = "a task",
    };
    const struct hvv_plugin *info = &dev->plugin->info;
    dev->commands = calloc(info->n_commands + 1, sizeof(dev->commands[0]));
    if (!dev->commands)
        return -ENOMEM;
    dev->owner = (struct callback_owner){dev->id, info->name, info->version, dev->plugin->path};
    for (size_t i = 0; i < CALLBACKS; i++)
        dev->callbacks[i] = (struct callback){&dev->owner, "", names[i]};
    for (uint32_t i = 0; i < info->n_commands; i++)
        dev->commands[i] = (struct callback){&dev->owner, "command ", info->commands[i].name};
    callback_owner_ready();
    return 0;
}

void device_free(struct device *dev)
{
    if (!dev)
        return;
    callback_owner_gone();
    free(dev->commands);
    for (uint32_t i = 0; i < dev->n_queues; i++)
        queue_clear(&dev->queues[i]);
    free(dev->queues);
    free(dev->counters);
    for (uint32_t i = 0; i < DEVICE_LINES_MAX; i++) {
        free(dev->lines[i].key);
        free(dev->lines[i].value);
    }
    memory_put(dev->memory);
    options_clear(&dev->options);
    spec_clear(&dev->spec);
    timer_free(dev->stuck);
    config_space_destroy(&dev->config);
    pthread_mutex_destroy(&dev->lock);
    free(dev);
}
