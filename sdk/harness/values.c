/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * values.c - options and commands: what the operator gives. Read by the daemon's own parser, so
 * that a test sees the values and the sentences an operator will see.
 */
#include "own.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What hvv_harness_call.own points at; freed when the command is finished, or with the harness. */
struct hvvh_params {
    struct hvvh_params *next;
    struct options options;
    const struct hvv_command *command;
};

/* The text of one device: a name, and what the operator wrote behind it. */
static int parse_spec(struct spec *spec, const char *name, const char *text, struct error *error)
{
    char *whole;
    if (!text || !text[0])
        return spec_init(spec, name, error);
    if (asprintf(&whole, "%s:%s", name, text) < 0)
        return error_set(error, ENOMEM, "out of memory for options");
    int rc = spec_parse(spec, whole, error);
    free(whole);
    return rc;
}

static int parse(struct options *out, const char *name, const char *text,
                 const struct option_table *table, struct error *error)
{
    struct spec spec;
    char cwd[PATH_MAX];
    int rc = parse_spec(&spec, name, text, error);
    if (rc < 0)
        return rc;
    rc = options_check(out, &spec, table, 1, getcwd(cwd, sizeof(cwd)), error);
    spec_clear(&spec);
    return rc;
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static int check_stride(const char *what, uint32_t n, uint32_t stride, size_t size,
                        struct error *error)
{
    if (n && stride < size)
        return error_set(error, EINVAL, "the table of %s has %u bytes for each, it must be %zu: "
                         "set the member that says so", what, stride, size);
    return 0;
}

static int check_options(const char *what, const struct hvv_option *options, uint32_t n,
                         uint32_t stride, struct error *error)
{
    char why[256] = "";
    struct option_table table = {options, n, stride, what};
    if (options_check_table(&table, why, sizeof(why)) < 0)
        return error_set(error, EINVAL, "the table of %s is bad: %s", what, why);
    return 0;
}

static const struct hvv_command *command_at(const struct hvv_plugin *plugin, uint32_t index)
{
    const char *first = (const char *)plugin->commands;
    return (const struct hvv_command *)(const void *)(first + (size_t)index * plugin->command_size);
}

static int check_tables(struct hvv_harness *h, struct error *error)
{
    const struct hvv_plugin *plugin = h->plugin;
    if (!plugin->ops || !plugin->ops->create || !plugin->ops->destroy || !plugin->ops->notify)
        return error_set(error, EINVAL, "create, destroy and notify are needed");
    int rc = check_stride("commands", plugin->n_commands, plugin->command_size,
                          sizeof(*plugin->commands), error);
    if (rc == 0)
        rc = check_stride("counters", plugin->n_counters, plugin->counter_size,
                          sizeof(*plugin->counters), error);
    if (rc == 0)
        rc = check_stride("events", plugin->n_events, plugin->event_size, sizeof(*plugin->events),
                          error);
    if (rc == 0)
        rc = check_options("options", plugin->options, plugin->n_options, plugin->option_size,
                           error);
    for (uint32_t i = 0; rc == 0 && i < plugin->n_commands; i++) {
        const struct hvv_command *command = command_at(plugin, i);
        rc = check_options(command->name, command->params, command->n_params, command->param_size,
                           error);
    }
    return rc;
}

int32_t hvvh_parse(struct hvv_harness *h, const char *options)
{
    const struct hvv_plugin *plugin = h->plugin;
    struct error error = {0};
    int rc = check_tables(h, &error);
    if (rc < 0)
        hvvh_violation(h, "table", "%s", error.text);
    struct option_table table = {plugin->options, plugin->n_options, plugin->option_size,
                                 plugin->name};
    if (rc == 0)
        rc = parse(&h->own->options, plugin->name, options, &table, &error);
    snprintf(h->error, sizeof(h->error), "%s", error.text);
    snprintf(h->error_option, sizeof(h->error_option), "%s", error.option);
    return rc;
}

/* ---- Services: options ----------------------------------------------------------------------- */

/* The plugin asks only for what is in its table, and as what it is there. */
static void check_asked(struct hvv_harness *h, const struct hvv_option *options, uint32_t n,
                        uint32_t stride, const char *name, int number)
{
    struct option_table table = {options, n, stride, ""};
    const struct hvv_option *option = option_find(&table, name);
    if (!option) {
        hvvh_violation(h, "option", "\"%s\" is asked for and is not in the table", name);
        return;
    }
    bool is_number = option->type == HVV_OPTION_U64 || option->type == HVV_OPTION_SIZE ||
                     option->type == HVV_OPTION_BOOL;
    if (number >= 0 && is_number != (number == 1))
        hvvh_violation(h, "option", "\"%s\" is asked for as a %s and is none", name,
                       number ? "number" : "string");
}

static const struct options *asked(struct hvv_device *dev, const char *name, int number)
{
    struct hvv_harness *h = hvvh_of(dev);
    check_asked(h, h->plugin->options, h->plugin->n_options, h->plugin->option_size, name, number);
    return &h->own->options;
}

static uint32_t option_count(struct hvv_device *dev, const char *name)
{
    return options_count(asked(dev, name, -1), name);
}

static const char *option_string(struct hvv_device *dev, const char *name, uint32_t index)
{
    return options_string(asked(dev, name, 0), name, index);
}

static uint64_t option_u64(struct hvv_device *dev, const char *name, uint32_t index)
{
    return options_u64(asked(dev, name, 1), name, index);
}

static uint32_t option_given(struct hvv_device *dev, const char *name)
{
    return options_given(asked(dev, name, -1), name);
}

/* ---- Services: commands ---------------------------------------------------------------------- */

static struct hvv_harness_call *call_of(struct hvv_call *call)
{
    return (struct hvv_harness_call *)(void *)call;
}

static const struct options *param(struct hvv_call *pub, const char *name, int number)
{
    static const struct options none;
    struct hvv_harness_call *call = call_of(pub);
    const struct hvvh_params *params = call->own;
    if (!params) {
        hvvh_violation(call->harness, "call-late", "a command is used after it was finished");
        return &none;
    }
    check_asked(call->harness, params->command->params, params->command->n_params,
                params->command->param_size, name, number);
    return &params->options;
}

static uint32_t call_count(struct hvv_call *call, const char *name)
{
    return options_count(param(call, name, -1), name);
}

static const char *call_string(struct hvv_call *call, const char *name, uint32_t index)
{
    return options_string(param(call, name, 0), name, index);
}

static uint64_t call_u64(struct hvv_call *call, const char *name, uint32_t index)
{
    return options_u64(param(call, name, 1), name, index);
}

/* Any thread. True if the command runs still. */
static bool runs(struct hvv_harness_call *call, const char *rule, const char *what)
{
    hvvh_lock(call->harness);
    bool finished = call->finished;
    hvvh_unlock(call->harness);
    if (finished)
        hvvh_violation(call->harness, rule, "%s after the command was finished", what);
    return !finished;
}

static void call_result(struct hvv_call *pub, const char *key, const char *value)
{
    struct hvv_harness_call *call = call_of(pub);
    if (!runs(call, "call-late", "hvv_call_result()"))
        return;
    hvvh_lock(call->harness);
    size_t used = strlen(call->results);
    snprintf(call->results + used, sizeof(call->results) - used, "%s=%s ", key, value);
    hvvh_unlock(call->harness);
}

static void call_result_u64(struct hvv_call *call, const char *key, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    call_result(call, key, text);
}

static void call_result_fd(struct hvv_call *pub, int fd)
{
    struct hvv_harness_call *call = call_of(pub);
    if (!runs(call, "call-late", "hvv_call_result_fd()"))
        return;
    if (call->fd >= 0) {
        hvvh_violation(call->harness, "call-fd", "a command hands over two descriptors");
        close(call->fd);
    }
    call->fd = fd;
}

HVV_PRINTF(3, 0)
static void call_error(struct hvv_call *pub, int32_t err, const char *fmt, va_list args)
{
    struct hvv_harness_call *call = call_of(pub);
    if (err <= 0)
        hvvh_violation(call->harness, "status", "hvv_call_error() with %d: a positive errno is "
                       "right", err);
    if (!runs(call, "call-late", "hvv_call_error()"))
        return;
    hvvh_lock(call->harness);
    if (!call->error[0])
        vsnprintf(call->error, sizeof(call->error), fmt, args);
    hvvh_unlock(call->harness);
}

static void finish(struct hvv_harness_call *call, int32_t status)
{
    hvvh_lock(call->harness);
    call->status = status;
    call->finished = true;
    call->harness->own->n_calls--;
    hvvh_wake(call->harness);
    hvvh_unlock(call->harness);
}

static void call_finish(struct hvv_call *pub, int32_t status)
{
    struct hvv_harness_call *call = call_of(pub);
    if (runs(call, "call-twice", "hvv_call_finish()"))
        finish(call, status);
}

void hvvh_services_values(struct hvv_host *host)
{
    host->option_count = option_count;
    host->option_string = option_string;
    host->option_u64 = option_u64;
    host->option_given = option_given;
    host->call_count = call_count;
    host->call_string = call_string;
    host->call_u64 = call_u64;
    host->call_result = call_result;
    host->call_result_u64 = call_result_u64;
    host->call_result_fd = call_result_fd;
    host->call_error = call_error;
    host->call_finish = call_finish;
}

/* ---- For tests ------------------------------------------------------------------------------- */

static bool call_done(void *arg)
{
    struct hvv_harness_call *call = arg;
    hvvh_lock(call->harness);
    bool finished = call->finished;
    hvvh_unlock(call->harness);
    return finished;
}

static void params_free(struct hvv_harness_call *call)
{
    struct hvvh_params *params = call->own, **at = &call->harness->own->params;
    call->own = NULL;
    while (*at && *at != params)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = params->next;
    options_clear(&params->options);
    free(params);
}

void hvvh_values_free(struct hvv_harness *h)
{
    while (h->own->params) {
        struct hvvh_params *next = h->own->params->next;
        options_clear(&h->own->params->options);
        free(h->own->params);
        h->own->params = next;
    }
    options_clear(&h->own->options);
}

/* -errno with `error` set, or 0. */
static int32_t prepare(struct hvv_harness_call *call, const struct hvv_command *command,
                       const char *text)
{
    struct error error = {0};
    struct hvvh_params *params = calloc(1, sizeof(*params));
    if (!params)
        hvvh_misuse("out of memory");
    params->command = command;
    params->next = call->harness->own->params;
    call->harness->own->params = params;
    call->own = params;
    struct option_table table = {command->params, command->n_params, command->param_size,
                                 command->name};
    int rc = parse(&params->options, "command", text, &table, &error);
    snprintf(call->error, sizeof(call->error), "%s", error.text);
    return rc;
}

static int32_t refused(struct hvv_harness_call *call, int32_t status)
{
    call->finished = true;
    call->status = status;
    params_free(call);
    return status;
}

int32_t hvv_harness_command_start(struct hvv_harness *h, struct hvv_harness_call *call,
                                  const char *name, const char *params)
{
    const struct hvv_command *command = NULL;
    for (uint32_t i = 0; i < h->plugin->n_commands; i++)
        if (strcmp(command_at(h->plugin, i)->name, name) == 0)
            command = command_at(h->plugin, i);
    memset(call, 0, sizeof(*call));
    call->harness = h;
    call->fd = -1;
    if (!h->own->published)
        hvvh_misuse("command %s before hvv_harness_start()", name);
    int32_t rc = command ? prepare(call, command, params) : -ENOENT;
    if (rc < 0)
        return refused(call, rc);
    hvvh_lock(h);
    h->own->n_calls++;
    hvvh_unlock(h);
    struct hvvh_entry entry = hvvh_enter(h, "run", 0);
    rc = command->run(&h->dev, (struct hvv_call *)(void *)call);
    hvvh_leave(h, entry);
    if (rc == -EINPROGRESS)
        return rc;
    if (runs(call, "call-twice", "run() returned a status"))
        finish(call, rc);
    params_free(call);
    return call->status;
}

int32_t hvv_harness_command_wait(struct hvv_harness_call *call)
{
    if (!call->own)
        return call->status;
    if (!hvv_harness_run_until(call->harness, call_done, call))
        return -ETIMEDOUT;
    params_free(call);
    return call->status;
}

int32_t hvv_harness_command(struct hvv_harness *h, struct hvv_harness_call *call, const char *name,
                            const char *params)
{
    int32_t rc = hvv_harness_command_start(h, call, name, params);
    return rc == -EINPROGRESS ? hvv_harness_command_wait(call) : rc;
}

bool hvv_harness_result(const struct hvv_harness_call *call, const char *key, char *value,
                        size_t size)
{
    size_t len = strlen(key);
    for (const char *at = call->results; *at; at += strcspn(at, " "), at += strspn(at, " ")) {
        if (strncmp(at, key, len) != 0 || at[len] != '=')
            continue;
        int n = (int)strcspn(at + len + 1, " ");
        return snprintf(value, size, "%.*s", n, at + len + 1) < (int)size;
    }
    return false;
}
