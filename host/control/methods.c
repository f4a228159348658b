/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * methods.c - what the control socket's methods do. Control thread, but for the functions named
 * *_on_builder: the plugin registry belongs to the builder, so it is described there.
 *
 * One table at the end joins names and functions. A method checks its parameters, starts the work
 * and answers, at once or when the work is done.
 */
#include "control/methods.h"

#include "control/describe.h"
#include "control/save.h"
#include "control/zone-methods.h"
#include "device/builder.h"
#include "device/request.h"
#include "plugin/call.h"
#include "plugin/registry.h"
#include "zone/zone.h"

#include <errno.h>
#include <stdlib.h>

/* ---- device.add, device.remove --------------------------------------------------------------- */

static void answer_request(struct request *request, const char *key, bool describe)
{
    struct reply *reply = request->arg;
    if (request->error.err) {
        reply_error(reply, &request->error);
        request_free(request);
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < request->n; i++) {
        struct error none = {0};
        struct device *dev =
            describe ? request_find(request->daemon, request->ids[i], &none) : NULL;
        json_array_append_new(list, dev ? describe_device(dev) : json_string(request->ids[i]));
    }
    reply_result(reply, json_pack("{s:o}", key, list));
    request_free(request);
}

static void added(struct request *request)
{
    answer_request(request, "devices", true);
}

static void removed(struct request *request)
{
    if (request->late)
        request_free(request); /* it was answered */
    else
        answer_request(request, "removed", false);
}

/* No guest has the devices any more, and they go as soon as they can: that is an answer. */
void methods_removed_late(struct request *request, const char *why)
{
    if (request->done != removed)
        return; /* nobody asked: the daemon ends */
    json_t *list = json_array();
    for (size_t i = 0; i < request->n; i++)
        json_array_append_new(list, json_string(request->ids[i]));
    reply_result(request->arg, json_pack("{s:o,s:o}", "removed", list, "late", reply_text(why)));
}

/* {"plugin":"blk","options":{"path":"/x","ro":true,"queues":2}} */
static int spec_from_object(struct spec *spec, const json_t *object, struct error *error)
{
    const json_t *options = json_object_get(object, "options");
    const char *plugin = json_string_value(json_object_get(object, "plugin"));
    if (!plugin || (options && !json_is_object(options)))
        return error_set(error, EINVAL, "a device is a text like \"blk:/x\", or an object with "
                         "\"plugin\" and \"options\"");
    int rc = spec_init(spec, plugin, error);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)options, name, value) {
        char number[32];
        const char *text = json_string_value(value);
        if (json_is_integer(value)) {
            snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
            text = number;
        } else if (json_is_boolean(value)) {
            text = json_is_true(value) ? "on" : "off";
        }
        if (rc == 0 && !text)
            rc = error_option(error, EINVAL, name, "option %s is no text, number or boolean", name);
        if (rc == 0)
            rc = spec_add(spec, name, text, error);
    }
    return rc;
}

static int specs_from_json(struct spec *specs, const json_t *list, size_t *n, struct error *error)
{
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry) {
        int rc = json_is_string(entry) ? spec_parse(&specs[i], json_string_value(entry), error)
                                       : spec_from_object(&specs[i], entry, error);
        *n = i + 1;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Zones that the devices are for, in the same transaction. */
static int declare_zones(struct daemon *daemon, const json_t *list, struct zone_plans *fresh,
                         struct error *error)
{
    struct zone_plans plans = {0};
    int rc = zones_from_json(daemon->zones, &plans, list, error);
    if (rc == 0)
        rc = zones_declare(daemon->zones, &plans, true, fresh, error);
    plan_clear(&plans);
    return rc;
}

/* Takes over `fresh`. */
static void add_devices(struct daemon *daemon, const json_t *list, struct zone_plans *fresh,
                        const char *cwd, struct reply *reply, struct error *error)
{
    size_t n = json_array_size(list), parsed = 0;
    struct spec *specs = calloc(n, sizeof(*specs));
    if (specs && specs_from_json(specs, list, &parsed, error) == 0) {
        request_add(daemon, specs, n, fresh, cwd, added, reply, error);
        return;
    }
    if (!specs)
        error_set(error, ENOMEM, "out of memory for a request");
    while (parsed-- > 0)
        spec_clear(&specs[parsed]);
    free(specs);
    zones_take_back(daemon->zones, fresh);
}

static void device_add(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    const json_t *list = json_object_get(params, "devices");
    const json_t *zones = json_object_get(params, "zones");
    const char *cwd = json_string_value(json_object_get(params, "cwd"));
    struct zone_plans fresh = {0};
    struct error error = {0};
    size_t n = json_array_size(list);
    if (!json_is_array(list) || (n == 0 && !zones) || n > REQUEST_DEVICES_MAX) {
        reply_invalid_params(reply, "\"devices\" is a list of 1 to 256 devices");
        return;
    }
    if (zones && declare_zones(daemon, zones, &fresh, &error) < 0) {
        reply_error(reply, &error);
        return;
    }
    if (n > 0) {
        add_devices(daemon, list, &fresh, cwd, reply, &error);
        if (error.err)
            reply_error(reply, &error);
        return;
    }
    zones_accept(daemon->zones, &fresh);
    reply_result(reply, json_pack("{s:[]}", "devices"));
}

static void device_remove(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    const json_t *list = json_object_get(params, "ids");
    size_t n = json_array_size(list);
    const char *ids[REQUEST_DEVICES_MAX];
    if (!json_is_array(list) || n == 0 || n > REQUEST_DEVICES_MAX) {
        reply_invalid_params(reply, "\"ids\" is a list of 1 to 256 device ids");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        ids[i] = json_string_value(json_array_get(list, i));
        if (!ids[i]) {
            reply_invalid_params(reply, "a device id is a text");
            return;
        }
    }
    struct error error = {0};
    bool force = json_is_true(json_object_get(params, "force"));
    if (request_remove(daemon, ids, n, force, removed, reply, &error) < 0)
        reply_error(reply, &error);
}

/* ---- looking --------------------------------------------------------------------------------- */

static void device_list(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    (void)params;
    json_t *list = json_array();
    struct device *dev;
    TAILQ_FOREACH(dev, &daemon->devices, link)
        json_array_append_new(list, describe_device(dev));
    reply_result(reply, json_pack("{s:I,s:o,s:o}", "seq", (json_int_t)server_seq(daemon->server),
                                  "devices", list, "stuck", describe_stuck(daemon)));
}

/* The device named by "id", or NULL after answering. */
static struct device *device_in(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    struct error error = {0};
    const char *id = json_string_value(json_object_get(params, "id"));
    if (!id) {
        reply_invalid_params(reply, "\"id\" is the id of a device");
        return NULL;
    }
    struct device *dev = request_find(daemon, id, &error);
    if (!dev)
        reply_error(reply, &error);
    return dev;
}

static void device_show(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    struct device *dev = device_in(daemon, params, reply);
    if (dev)
        reply_result(reply, describe_device_fully(dev));
}

static void stats(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    const json_t *ids = json_object_get(params, "ids");
    json_t *list = json_array();
    struct error error = {0};
    struct device *dev;
    if (!json_array_size(ids)) {
        TAILQ_FOREACH(dev, &daemon->devices, link)
            json_array_append_new(list, describe_stats(dev));
    }
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        dev = request_find(daemon, id ? id : "", &error);
        if (!dev) {
            json_decref(list);
            reply_error(reply, &error);
            return;
        }
        json_array_append_new(list, describe_stats(dev));
    }
    reply_result(reply, json_pack("{s:o}", "devices", list));
}

/* ---- commands of plugins --------------------------------------------------------------------- */

/* The same key again makes a list. */
static void add_result(json_t *result, const struct call_result *r)
{
    json_t *value = r->text ? reply_text(r->text) : json_integer((json_int_t)r->number);
    json_t *before = json_object_get(result, r->key);
    if (!before)
        json_object_set_new(result, r->key, value);
    else if (json_is_array(before))
        json_array_append_new(before, value);
    else
        json_object_set_new(result, r->key, json_pack("[O,o]", before, value));
}

/* What a client does with the descriptor. */
static void describe_stream(json_t *answer, const struct hvv_command *command)
{
    bool terminal = command->flags & HVV_COMMAND_TERMINAL;
    json_object_set_new(answer, "terminal", json_boolean(terminal));
    if (terminal && command->window)
        json_object_set_new(answer, "window", json_string(command->window));
}

static void called(struct hvv_call *call)
{
    struct reply *reply = call->arg;
    if (call->error.err) {
        error_device(&call->error, call->dev->id);
        reply_error(reply, &call->error);
    } else {
        json_t *result = json_object();
        for (struct call_result *r = call->results; r; r = r->next)
            add_result(result, r);
        int fd = call->fd;
        call->fd = -1;
        json_t *answer = json_pack("{s:o}", "result", result);
        if (fd >= 0)
            describe_stream(answer, call->command);
        reply_result_fd(reply, answer, fd);
    }
    call_free(call);
}

static void device_command(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    struct error error = {0};
    struct spec spec = {0};
    const char *command = json_string_value(json_object_get(params, "command"));
    const json_t *arguments = json_object_get(params, "params");
    const char *cwd = json_string_value(json_object_get(params, "cwd"));
    if (!command) {
        reply_invalid_params(reply, "\"command\" is the name of a command");
        return;
    }
    struct device *dev = device_in(daemon, params, reply);
    if (!dev)
        return;
    json_t *object = json_pack("{s:s}", "plugin", dev->plugin->info.name);
    if (arguments)
        json_object_set(object, "options", (json_t *)(uintptr_t)arguments);
    if (spec_from_object(&spec, object, &error) == 0)
        call_start(dev, command, &spec, cwd, called, reply, &error);
    spec_clear(&spec);
    json_decref(object);
    if (error.err) {
        error_device(&error, dev->id);
        reply_error(reply, &error);
    }
}

/* ---- plugins, on the builder ----------------------------------------------------------------- */

struct plugin_job {
    struct hvv_task task; /* first */
    struct daemon *daemon;
    struct reply *reply;
    json_t *params;
    json_t *result;
    struct error error;
    void (*work)(struct plugin_job *job); /* builder */
};

static void job_done(struct hvv_task *task)
{
    struct plugin_job *job = (struct plugin_job *)(void *)task;
    if (job->error.err)
        reply_error(job->reply, &job->error);
    else
        reply_result(job->reply, job->result);
    struct daemon *daemon = job->daemon;
    json_decref(job->params);
    free(job);
    request_ended(daemon);
}

static void job_on_builder(struct hvv_task *task)
{
    struct plugin_job *job = (struct plugin_job *)(void *)task;
    job->work(job);
    job->task.run = job_done;
    loop_post(job->daemon->loop, &job->task);
}

static void start_job(struct daemon *daemon, const json_t *params, struct reply *reply,
                      void (*work)(struct plugin_job *job))
{
    struct error error = {0};
    struct plugin_job *job = calloc(1, sizeof(*job));
    if (daemon->stopping)
        error_set(&error, ESHUTDOWN, "the daemon is shutting down");
    else if (!job)
        error_set(&error, ENOMEM, "out of memory for a request");
    else
        request_builder_free(daemon, &error);
    if (error.err) {
        free(job);
        reply_error(reply, &error);
        return;
    }
    daemon->requests++;
    job->daemon = daemon;
    job->reply = reply;
    job->params = params ? json_deep_copy(params) : json_object();
    job->work = work;
    job->task.run = job_on_builder;
    builder_post(daemon->builder, &job->task);
}

static void list_on_builder(struct plugin_job *job)
{
    const char *name = json_string_value(json_object_get(job->params, "name"));
    if (name && !registry_has(job->daemon->registry, name) &&
        !registry_find(job->daemon->registry, name, &job->error))
        return;
    /* The first look loads; later ones leave new files alone until plugin.rescan. */
    if (!registry_next(job->daemon->registry, NULL))
        registry_rescan(job->daemon->registry);
    job->result = describe_registry(job->daemon->registry, name);
}

static void rescan_on_builder(struct plugin_job *job)
{
    registry_rescan(job->daemon->registry);
    job->result = describe_registry(job->daemon->registry, NULL);
}

static void retire_on_builder(struct plugin_job *job)
{
    const char *name = json_string_value(json_object_get(job->params, "name"));
    const char *version = json_string_value(json_object_get(job->params, "version"));
    if (!name || !version)
        error_set(&job->error, EINVAL, "\"name\" and \"version\" name the plugin to retire");
    else if (registry_retire(job->daemon->registry, name, version, &job->error) == 0)
        job->result = json_object();
}

static void plugin_list(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    start_job(daemon, params, reply, list_on_builder);
}

static void plugin_rescan(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    start_job(daemon, params, reply, rescan_on_builder);
}

static void plugin_retire(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    start_job(daemon, params, reply, retire_on_builder);
}

/* ---- the daemon itself ----------------------------------------------------------------------- */

static void events_subscribe(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    (void)params;
    json_int_t seq = (json_int_t)server_seq(daemon->server);
    if (server_subscribe(reply) < 0) {
        struct error error = {0};
        error_set(&error, ENOMEM, "out of memory for a follower of events");
        reply_error(reply, &error);
        return;
    }
    reply_result(reply, json_pack("{s:I}", "seq", seq));
}

static void log_set(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    (void)daemon;
    const json_t *level = json_object_get(params, "level");
    uint32_t was = log_level();
    if (level) {
        int new = json_is_string(level) ? log_level_parse(json_string_value(level)) : -1;
        if (new < 0) {
            reply_invalid_params(reply, "\"level\" is error, warning, info or debug");
            return;
        }
        log_set_level((uint32_t)new);
    }
    reply_result(reply, json_pack("{s:s,s:s}", "level", log_level_name(log_level()), "was",
                                  log_level_name(was)));
}

static shutdown_fn shut_down;

void methods_set_shutdown(shutdown_fn fn)
{
    shut_down = fn;
}

static void shutdown_method(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    struct error error = {0};
    if (shut_down(daemon, json_is_true(json_object_get(params, "force")), &error) < 0)
        reply_error(reply, &error);
    else
        reply_result(reply, json_object());
}

static const struct {
    const char *name;
    void (*run)(struct daemon *daemon, const json_t *params, struct reply *reply);
} methods[] = {
    {"device.add", device_add},
    {"device.remove", device_remove},
    {"device.list", device_list},
    {"device.show", device_show},
    {"device.command", device_command},
    {"zone.add", zone_add_method},
    {"zone.list", zone_list_method},
    {"zone.remove", zone_remove_method},
    {"plugin.list", plugin_list},
    {"plugin.rescan", plugin_rescan},
    {"plugin.retire", plugin_retire},
    {"daemon.save", save_method},
    {"events.subscribe", events_subscribe},
    {"stats", stats},
    {"log.set", log_set},
    {"shutdown", shutdown_method},
};

void methods_handle(void *arg, const char *name, json_t *params, struct reply *reply)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (strcmp(methods[i].name, name) == 0) {
            methods[i].run(arg, params, reply);
            return;
        }
    }
    reply_unknown_method(reply);
}

void daemon_event(struct daemon *daemon, const char *event, const char *device, const char *key,
                  const char *value)
{
    json_t *params = json_object();
    if (device)
        json_object_set_new(params, "device", json_string(device));
    if (key)
        json_object_set_new(params, key, json_string(value));
    server_event(daemon->server, event, params);
}

void daemon_plugin_event(const struct device *dev, const char *event, const char *text)
{
    char name[2 * (LOADER_NAME_MAX + 1)];
    snprintf(name, sizeof(name), "%s.%s", dev->plugin->info.name, event);
    json_t *params = json_object();
    while (*text) {
        size_t word = strcspn(text, " "), key = strcspn(text, "= ");
        if (key < word) {
            json_t *value = json_stringn(text + key + 1, word - key - 1);
            json_object_setn_new(params, text, key, value);
        }
        text += word + strspn(text + word, " ");
    }
    json_object_set_new(params, "device", json_string(dev->id));
    server_event(dev->daemon->server, name, params);
}
