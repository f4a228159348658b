/* SPDX-License-Identifier: BSD-3-Clause */
/* request.c - see request.h. Functions named *_on_builder run there, all others on control. */
#include "device/request.h"

#include "daemon.h"
#include "device/builder.h"
#include "device/create.h"
#include "device/names.h"
#include "plugin/dispatch.h"
#include "plugin/overdue.h"
#include "util/container.h"
#include "zone/zone.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>


struct device *request_find(struct daemon *daemon, const char *id, struct error *error)
{
    struct device *dev;
    TAILQ_FOREACH(dev, &daemon->devices, link)
        if (strcmp(dev->id, id) == 0 && dev->state == DEVICE_PUBLISHED)
            return dev;
    error_set(error, ENOENT, "there is no device called \"%.64s\"", id);
    return NULL;
}

void request_free(struct request *request)
{
    if (!request)
        return;
    for (size_t i = 0; request->specs && i < request->n; i++)
        spec_clear(&request->specs[i]);
    free(request->specs);
    free(request->ids);
    free(request->slots);
    free(request->cwd);
    free(request->devices);
    free(request->removals);
    free(request);
}

static struct request *request_new(struct daemon *daemon, size_t n,
                                   void (*done)(struct request *request), void *arg,
                                   struct error *error)
{
    if (n == 0 || n > REQUEST_DEVICES_MAX) {
        error_set(error, EINVAL, "a request names 1 to %u devices, not %zu", REQUEST_DEVICES_MAX,
                  n);
        return NULL;
    }
    struct request *request = calloc(1, sizeof(*request));
    if (request) {
        request->daemon = daemon;
        request->n = n;
        request->done = done;
        request->arg = arg;
        request->ids = calloc(n, sizeof(request->ids[0]));
        request->slots = calloc(n, sizeof(request->slots[0]));
        request->devices = calloc(n, sizeof(request->devices[0]));
    }
    if (!request || !request->ids || !request->slots || !request->devices) {
        request_free(request);
        error_set(error, ENOMEM, "out of memory for a request");
        return NULL;
    }
    return request;
}

void request_ended(struct daemon *daemon)
{
    if (--daemon->requests == 0 && daemon->stopping)
        daemon->quiet(daemon);
}

int request_builder_free(const struct daemon *daemon, struct error *error)
{
    const struct overdue_call *call = overdue_find(daemon, NULL, BUILDER_THREAD);
    if (!call)
        return 0;
    return error_set(error, EBUSY, "the builder is busy: %s%s%s%s has not returned for %" PRIu64
                     " s; wait until it does, or restart the daemon",
                     call->device[0] ? "device " : "", call->device,
                     call->device[0] ? ": " : "", call->text, overdue_seconds(call));
}

/* The request is over, one way or the other. */
static void end_request(struct request *request)
{
    struct daemon *daemon = request->daemon;
    request->done(request); /* frees it */
    request_ended(daemon);
}

/* ---- add ------------------------------------------------------------------------------------- */

static void publish(struct device *dev)
{
    device_move(dev, DEVICE_PUBLISHED);
    TAILQ_INSERT_TAIL(&dev->daemon->devices, dev, link);
    dev->transport->publish(dev);
    log_write(HVV_LOG_INFO, dev->id, "published, plugin %s %s", dev->plugin->info.name,
              dev->plugin->info.version);
    daemon_event(dev->daemon, "device.published", dev->id, "plugin", dev->plugin->info.name);
}

/* Gives back the names and slots of the first `n` devices. */
static void release(struct request *request, size_t n)
{
    while (n-- > 0) {
        slot_release(request->slots[n]);
        names_release(request->daemon->names, request->ids[n]);
    }
}

static void finish_failed(struct request *request)
{
    release(request, request->n);
    zones_take_back(request->daemon->zones, &request->fresh);
    end_request(request);
}

static void failed_on_control(struct hvv_task *task)
{
    finish_failed(container_of(task, struct request, task));
}

static void destroy_all(struct request *request)
{
    for (size_t i = request->n; i-- > 0;)
        if (request->devices[i])
            destroy_device(request->devices[i]);
}

static void undo_on_builder(struct hvv_task *task)
{
    struct request *request = container_of(task, struct request, task);
    destroy_all(request);
    request->task.run = failed_on_control;
    loop_post(request->daemon->loop, &request->task);
}

static bool listen_all(struct request *request)
{
    if (request->daemon->stopping) {
        error_set(&request->error, ESHUTDOWN, "the daemon is shutting down");
        return false;
    }
    for (size_t i = 0; i < request->n; i++) {
        struct device *dev = request->devices[i];
        if (dev->transport->listen(dev, &request->error) < 0) {
            error_device(&request->error, dev->id);
            return false;
        }
    }
    return true;
}

/* When all plugins know, so that what they show to the outside is there when the answer comes. */
static void published_on_control(struct hvv_task *task)
{
    struct request *request = container_of(task, struct device, publish_task)->adding;
    if (--request->pending > 0)
        return;
    for (size_t i = 0; i < request->n; i++)
        publish(request->devices[i]);
    zones_accept(request->daemon->zones, &request->fresh);
    end_request(request);
}

static void publish_on_worker(struct hvv_task *task)
{
    struct device *dev = container_of(task, struct device, publish_task);
    dispatch_publish(dev);
    task->run = published_on_control;
    loop_post(dev->daemon->loop, task);
}

/* Cannot fail any more: everything that could was done. */
static void publish_all(struct request *request)
{
    request->pending = request->n;
    for (size_t i = 0; i < request->n; i++) {
        struct device *dev = request->devices[i];
        dev->adding = request;
        dev->publish_task.run = publish_on_worker;
        loop_post(worker_loop(dev->queues[0].worker), &dev->publish_task);
    }
}

static void created_on_control(struct hvv_task *task)
{
    struct request *request = container_of(task, struct request, task);
    if (!listen_all(request)) {
        request->task.run = undo_on_builder;
        builder_post(request->daemon->builder, &request->task);
        return;
    }
    publish_all(request);
}

static void create_on_builder(struct hvv_task *task)
{
    struct request *request = container_of(task, struct request, task);
    request->task.run = created_on_control;
    for (size_t i = 0; i < request->n; i++) {
        request->devices[i] = create_device(request->daemon, &request->specs[i], request->ids[i],
                                            request->slots[i], request->cwd, &request->error);
        if (!request->devices[i]) {
            destroy_all(request);
            request->task.run = failed_on_control;
            break;
        }
    }
    loop_post(request->daemon->loop, &request->task);
}

/* What the operator wrote as id=, checked later like any option. */
static const char *wanted_id(const struct spec *spec)
{
    for (size_t i = 0; i < spec->n_options; i++)
        if (spec->options[i].name && strcmp(spec->options[i].name, "id") == 0)
            return spec->options[i].value;
    return NULL;
}

static int reserve_one(struct request *request, size_t i, struct error *error)
{
    const struct spec *spec = &request->specs[i];
    int rc = names_reserve(request->daemon->names, wanted_id(spec), spec->plugin, request->ids[i],
                           sizeof(request->ids[i]), error);
    if (rc < 0)
        return rc;
    rc = zones_place(request->daemon->zones, spec, request->ids[i], &request->fresh,
                     &request->slots[i], error);
    if (rc < 0) {
        error_device(error, request->ids[i]);
        names_release(request->daemon->names, request->ids[i]);
    }
    return rc;
}

static int reserve(struct request *request, struct error *error)
{
    for (size_t i = 0; i < request->n; i++) {
        int rc = reserve_one(request, i, error);
        if (rc < 0) {
            release(request, i);
            return rc;
        }
    }
    return 0;
}

static void clear_specs(struct spec *specs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        spec_clear(&specs[i]);
    free(specs);
}

static int refuse(struct request *request, const struct error *error)
{
    zones_take_back(request->daemon->zones, &request->fresh);
    request_free(request);
    return -error->err;
}

int request_add(struct daemon *daemon, struct spec *specs, size_t n, struct zone_plans *fresh,
                const char *cwd, void (*done)(struct request *request), void *arg,
                struct error *error)
{
    struct request *request = request_new(daemon, n, done, arg, error);
    if (!request) {
        clear_specs(specs, n);
        if (fresh)
            zones_take_back(daemon->zones, fresh);
        return -error->err;
    }
    request->specs = specs;
    if (fresh)
        request->fresh = *fresh;
    if (daemon->stopping)
        error_set(error, ESHUTDOWN, "the daemon is shutting down");
    else if (cwd && !(request->cwd = strdup(cwd)))
        error_set(error, ENOMEM, "out of memory for a request");
    else if (request_builder_free(daemon, error) == 0)
        reserve(request, error);
    if (error->err)
        return refuse(request, error);
    daemon->requests++;
    request->task.run = create_on_builder;
    builder_post(daemon->builder, &request->task);
    return 0;
}

/* ---- remove ---------------------------------------------------------------------------------- */

/*
 * A device on its way out is not tied to its request: each goes through its steps by itself, and
 * the last one to be gone ends the request.
 */
static void gone_on_control(struct hvv_task *task)
{
    struct removal *removal = (struct removal *)(void *)task;
    struct request *request = removal->request;
    names_release(request->daemon->names, removal->id);
    slot_release(removal->slot);
    log_write(HVV_LOG_INFO, removal->id, "removed");
    daemon_event(request->daemon, "device.removed", removal->id, NULL, NULL);
    if (--request->pending > 0)
        return;
    LIST_REMOVE(request, link);
    end_request(request);
}

/* Nobody is served any more, and the builder cannot do the rest for now. */
static void tell_late(struct request *request)
{
    struct error why = {0};
    if (!request->daemon->late || request->late || request->serving > 0 ||
        request_builder_free(request->daemon, &why) == 0)
        return;
    request->late = true;
    request->daemon->late(request, why.text);
}

void request_builder_stuck(struct daemon *daemon)
{
    struct request *request;
    LIST_FOREACH(request, &daemon->removing, link)
        tell_late(request);
}

static void destroy_on_builder(struct hvv_task *task)
{
    struct removal *removal = (struct removal *)(void *)task;
    destroy_device(removal->dev);
    removal->task.run = gone_on_control;
    loop_post(removal->request->daemon->loop, &removal->task);
}

static void retired(struct device *dev)
{
    struct removal *removal = dev->removal;
    TAILQ_REMOVE(&dev->daemon->devices, dev, link);
    device_move(dev, DEVICE_RETIRED);
    removal->task.run = destroy_on_builder;
    builder_post(dev->daemon->builder, &removal->task);
    removal->request->serving--;
    tell_late(removal->request);
}

static void closed(struct device *dev)
{
    device_retire(dev, retired);
}

static int find_all(struct request *request, const char *const *ids, bool force,
                    struct error *error)
{
    for (size_t i = 0; i < request->n; i++) {
        struct device *dev = request_find(request->daemon, ids[i], error);
        if (!dev)
            return -error->err;
        for (size_t k = 0; k < i; k++)
            if (request->devices[k] == dev)
                return error_set(error, EINVAL, "device %s is named twice", dev->id);
        if (!force && dev->transport->bound(dev)) {
            error_device(error, dev->id);
            return error_set(error, EBUSY, "device %s is in use by a driver: stop the guest's use "
                             "of it, or remove it with --force", dev->id);
        }
        request->devices[i] = dev;
    }
    return 0;
}

int request_remove(struct daemon *daemon, const char *const *ids, size_t n, bool force,
                   void (*done)(struct request *request), void *arg, struct error *error)
{
    struct request *request = request_new(daemon, n, done, arg, error);
    if (!request)
        return -error->err;
    request->removals = calloc(n, sizeof(request->removals[0]));
    if (!request->removals)
        error_set(error, ENOMEM, "out of memory for a request");
    else
        find_all(request, ids, force, error);
    if (error->err) {
        request_free(request);
        return -error->err;
    }
    request->pending = request->serving = n;
    LIST_INSERT_HEAD(&daemon->removing, request, link);
    daemon->requests++;
    for (size_t i = 0; i < n; i++) {
        struct device *dev = request->devices[i];
        snprintf(request->ids[i], sizeof(request->ids[i]), "%s", dev->id);
        request->removals[i] =
            (struct removal){.request = request, .dev = dev, .id = request->ids[i],
                             .slot = dev->slot};
        dev->removal = &request->removals[i];
        device_move(dev, DEVICE_QUIESCING);
    }
    for (size_t i = 0; i < n; i++)
        request->devices[i]->transport->close(request->devices[i], closed);
    return 0;
}
