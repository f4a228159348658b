/* SPDX-License-Identifier: BSD-3-Clause */
/* describe.c - see describe.h. */
#include "control/describe.h"

#include "control/server.h"
#include "device/create.h"
#include "plugin/overdue.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- devices --------------------------------------------------------------------------------- */

static void set_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, text ? reply_text(text) : json_null());
}

static void say_transport(void *arg, const char *key, const char *value)
{
    json_t *object = arg;
    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
        json_object_set_new(object, key, json_boolean(value[0] == 't'));
    else
        set_text(object, key, value);
}

static json_t *broken_text(const struct device *dev)
{
    char text[sizeof(dev->broken_text)];
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&dev->lock;
    if (!atomic_load(&dev->broken))
        return json_null();
    pthread_mutex_lock(lock);
    snprintf(text, sizeof(text), "%s", dev->broken_text);
    pthread_mutex_unlock(lock);
    return json_string(text);
}

json_t *describe_device(const struct device *dev)
{
    json_t *object = json_object();
    set_text(object, "id", dev->id);
    set_text(object, "plugin", dev->plugin->info.name);
    set_text(object, "version", dev->plugin->info.version);
    set_text(object, "state", device_state_name(dev->state));
    json_object_set_new(object, "broken", broken_text(dev));
    set_text(object, "stuck", dev->stuck_told ? dev->stuck_text : NULL);
    set_text(object, "transport", dev->transport->name);
    dev->transport->describe(dev, say_transport, object);
    return object;
}

json_t *describe_stuck(const struct daemon *daemon)
{
    const struct overdue_call *call = NULL;
    json_t *list = json_array();
    while ((call = overdue_next(daemon, call)))
        json_array_append_new(list, json_pack("{s:s,s:s,s:o,s:I}", "device", call->device,
                                              "thread", call->thread, "callback",
                                              reply_text(call->text), "seconds",
                                              (json_int_t)overdue_seconds(call)));
    return list;
}

static json_t *hex(uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "0x%" PRIx64, value);
    return json_string(text);
}

static json_t *describe_queue(const struct queue *q)
{
    static const char *const states[] = {"stopped", "running", "stopping"};
    json_t *object = json_object();
    json_object_set_new(object, "index", json_integer(q->index));
    json_object_set_new(object, "size", json_integer(q->setup.size));
    json_object_set_new(object, "max", json_integer(q->vq->max_size));
    set_text(object, "state", states[q->state]);
    json_object_set_new(object, "worker", json_integer(worker_number(q->worker)));
    return object;
}

/* Every option with a value, as text, number or boolean; given several times, as a list. */
static void describe_options(const struct device *dev, json_t *object,
                             const struct option_table *table)
{
    for (uint32_t i = 0; i < table->n; i++) {
        const struct hvv_option *o =
            (const struct hvv_option *)(const void *)((const char *)table->options +
                                                      i * table->stride);
        uint32_t count = options_count(&dev->options, o->name);
        json_t *values = json_array();
        for (uint32_t k = 0; k < count; k++) {
            if (o->type == HVV_OPTION_U64 || o->type == HVV_OPTION_SIZE)
                json_array_append_new(
                    values, json_integer((json_int_t)options_u64(&dev->options, o->name, k)));
            else if (o->type == HVV_OPTION_BOOL)
                json_array_append_new(values,
                                      json_boolean(options_u64(&dev->options, o->name, k)));
            else
                json_array_append_new(values,
                                      reply_text(options_string(&dev->options, o->name, k)));
        }
        if (count == 1 && !(o->flags & HVV_OPTION_MULTI))
            json_object_set(object, o->name, json_array_get(values, 0));
        else if (count)
            json_object_set(object, o->name, values);
        json_decref(values);
    }
}

static json_t *describe_lines(const struct device *dev)
{
    json_t *lines = json_object();
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&dev->lock;
    pthread_mutex_lock(lock);
    for (uint32_t i = 0; i < DEVICE_LINES_MAX; i++)
        if (dev->lines[i].key)
            set_text(lines, dev->lines[i].key, dev->lines[i].value);
    pthread_mutex_unlock(lock);
    return lines;
}

static void say_hint(void *arg, const char *front_end, const char *text)
{
    json_array_append_new(arg, json_pack("{s:s,s:s}", "for", front_end, "text", text));
}

json_t *describe_device_fully(const struct device *dev)
{
    const struct hvv_plugin *info = &dev->plugin->info;
    struct option_table table = {info->options, info->n_options, info->option_size, info->name};
    json_t *object = describe_device(dev), *options = json_object(), *queues = json_array(),
           *hints = json_array();
    json_object_set_new(object, "virtio_id", json_integer(info->virtio_id));
    char *text = spec_format(&dev->spec);
    set_text(object, "spec", text);
    free(text);
    describe_options(dev, options, &host_options);
    describe_options(dev, options, &table);
    json_object_set_new(object, "options", options);
    json_object_set_new(object, "features",
                        json_pack("{s:o,s:o}", "offered", hex(device_offered(dev)), "negotiated",
                                  hex(atomic_load(&dev->negotiated))));
    for (uint32_t i = 0; i < dev->n_queues; i++)
        json_array_append_new(queues, describe_queue(&dev->queues[i]));
    json_object_set_new(object, "queues", queues);
    json_object_set_new(object, "about", describe_lines(dev));
    json_object_set_new(object, "config_generation",
                        json_integer(atomic_load(&dev->config.seq) / 2));
    dev->transport->hints(dev, say_hint, hints);
    json_object_set_new(object, "hints", hints);
    return object;
}

static void set_count(json_t *object, const char *key, const _Atomic uint64_t *count)
{
    uint64_t value = atomic_load_explicit(count, memory_order_relaxed);
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

/* The plugin's counters: those of a queue, or with HVV_NO_QUEUE all, queues summed up. */
static json_t *describe_counters(const struct device *dev, uint32_t queue)
{
    const struct hvv_plugin *info = &dev->plugin->info;
    json_t *counters = json_object();
    for (uint32_t i = 0; i < info->n_counters; i++) {
        bool per_queue = info->counters[i].flags & HVV_COUNTER_QUEUE;
        uint64_t value = 0;
        if (queue != HVV_NO_QUEUE && !per_queue)
            continue;
        uint32_t first = queue != HVV_NO_QUEUE ? queue : per_queue ? 0 : HVV_NO_QUEUE;
        uint32_t n = queue == HVV_NO_QUEUE && per_queue ? dev->n_queues : 1;
        for (uint32_t k = 0; k < n; k++)
            value += atomic_load_explicit(device_counter(dev, i, first + k), memory_order_relaxed);
        json_object_set_new(counters, info->counters[i].name, json_integer((json_int_t)value));
    }
    return counters;
}

static void say_counter(void *arg, const char *key, uint64_t value)
{
    json_object_set_new(arg, key, json_integer((json_int_t)value));
}

json_t *describe_stats(const struct device *dev)
{
    json_t *queues = json_array(), *transport = json_object();
    if (dev->transport->counters)
        dev->transport->counters(dev, say_counter, transport);
    for (uint32_t i = 0; i < dev->n_queues; i++) {
        const struct virtq_stats *s = &dev->queues[i].vq->stats;
        json_t *object = json_object();
        json_object_set_new(object, "index", json_integer(i));
        set_count(object, "notifications", &s->notifications);
        set_count(object, "chains", &s->chains);
        set_count(object, "bytes_in", &s->bytes_in);
        set_count(object, "bytes_out", &s->bytes_out);
        set_count(object, "interrupts", &s->interrupts);
        set_count(object, "errors", &s->errors);
        uint32_t held = atomic_load_explicit(&dev->queues[i].vq->in_flight, memory_order_relaxed);
        json_object_set_new(object, "held", json_integer(held));
        json_object_set_new(object, "counters", describe_counters(dev, i));
        json_array_append_new(queues, object);
    }
    return json_pack("{s:s,s:o,s:o,s:o}", "id", dev->id, "queues", queues, "counters",
                     describe_counters(dev, HVV_NO_QUEUE), "transport", transport);
}

/* ---- plugins --------------------------------------------------------------------------------- */

static json_t *describe_option(const struct hvv_option *o)
{
    char range[OPTION_RANGE_TEXT];
    json_t *object = json_object();
    option_range(o, range, sizeof(range));
    set_text(object, "name", o->name);
    set_text(object, "type", option_type_name(o->type));
    set_text(object, "default", o->dflt);
    set_text(object, "range", range[0] ? range : NULL);
    set_text(object, "choices", o->choices);
    json_object_set_new(object, "required", json_boolean(o->flags & HVV_OPTION_REQUIRED));
    json_object_set_new(object, "positional", json_boolean(o->flags & HVV_OPTION_POSITIONAL));
    json_object_set_new(object, "multi", json_boolean(o->flags & HVV_OPTION_MULTI));
    set_text(object, "help", o->help);
    return object;
}

static json_t *describe_table(const struct hvv_option *options, uint32_t n, uint32_t stride)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++) /* the loader has copied tables into our own strides */
        json_array_append_new(list, describe_option((const struct hvv_option *)(const void *)(
                                        (const char *)options + i * stride)));
    return list;
}

static json_t *describe_commands(const struct hvv_plugin *info)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < info->n_commands; i++) {
        const struct hvv_command *c = &info->commands[i];
        json_t *object = json_object();
        set_text(object, "name", c->name);
        set_text(object, "help", c->help);
        json_object_set_new(object, "terminal", json_boolean(c->flags & HVV_COMMAND_TERMINAL));
        set_text(object, "window", c->window);
        json_object_set_new(object, "params",
                            describe_table(c->params, c->n_params, c->param_size));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *describe_plugin(const struct plugin *plugin)
{
    const struct hvv_plugin *info = &plugin->info;
    json_t *object = json_object(), *counters = json_array(), *events = json_array();
    set_text(object, "name", info->name);
    set_text(object, "version", info->version);
    set_text(object, "path", plugin->path);
    set_text(object, "description", info->description);
    json_object_set_new(object, "virtio_id", json_integer(info->virtio_id));
    json_object_set_new(object, "devices", json_integer(plugin->devices));
    json_object_set_new(object, "retired", json_boolean(plugin->retired));
    json_object_set_new(object, "options",
                        describe_table(info->options, info->n_options, info->option_size));
    json_object_set_new(object, "commands", describe_commands(info));
    for (uint32_t i = 0; i < info->n_counters; i++)
        json_array_append_new(counters, json_pack("{s:s,s:s}", "name", info->counters[i].name,
                                                  "help", info->counters[i].help));
    for (uint32_t i = 0; i < info->n_events; i++)
        json_array_append_new(events, json_pack("{s:s,s:s}", "name", info->events[i].name, "help",
                                                info->events[i].help));
    json_object_set_new(object, "counters", counters);
    json_object_set_new(object, "events", events);
    return object;
}

json_t *describe_registry(const struct registry *registry, const char *name)
{
    json_t *plugins = json_array(), *refused = json_array();
    for (const struct plugin *p = registry_next(registry, NULL); p; p = registry_next(registry, p))
        if (!name || strcmp(p->info.name, name) == 0)
            json_array_append_new(plugins, describe_plugin(p));
    const struct refused *r = registry_next_refused(registry, NULL);
    for (; r; r = registry_next_refused(registry, r))
        json_array_append_new(refused, json_pack("{s:o,s:o}", "path", reply_text(r->path), "reason",
                                                 reply_text(r->reason)));
    return json_pack("{s:o,s:o}", "plugins", plugins, "refused", refused);
}
