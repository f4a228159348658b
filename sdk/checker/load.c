/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * load.c - loading the plugin, and what it says about itself: names, numbers, tables. Child.
 *
 * The rules are those of the host's loader, one by one, and some of the headers that the host does
 * not insist on. At the end the loader itself has its say, so that the two cannot differ.
 */
#include "check.h"
#include "conf/host-options.h"
#include "conf/options.h"
#include "plugin/loader.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define CAPS_KNOWN (HVV_CAP_MAP | HVV_CAP_SHARED)
#define COMMAND_FLAGS (HVV_COMMAND_TERMINAL | HVV_COMMAND_DATA)
#define COUNTER_FLAGS (HVV_COUNTER_QUEUE | HVV_COUNTER_GAUGE)

/* What ABI 1.0 had: the least a struct may have. */
#define LEAST(TYPE, LAST) (offsetof(TYPE, LAST) + sizeof(((TYPE *)NULL)->LAST))

/* ---- Syntax ---------------------------------------------------------------------------------- */

static bool word_ok(const char *word, const char *allowed)
{
    size_t n = word ? strnlen(word, LOADER_NAME_MAX + 1) : 0;
    return n > 0 && n <= LOADER_NAME_MAX && strspn(word, allowed) == n;
}

static bool version_ok(const char *version)
{
    size_t n = version ? strnlen(version, LOADER_VERSION_MAX + 1) : 0;
    for (const char *c = version; n > 0 && n <= LOADER_VERSION_MAX;) {
        size_t digits = strspn(c, DIGITS);
        c += digits;
        if (digits == 0 || (*c && *c != '.'))
            return false;
        if (!*c++)
            return true;
    }
    return false;
}

static bool text_ok(const char *text)
{
    size_t n = text ? strnlen(text, LOADER_TEXT_MAX + 1) : 0;
    bool ok = n > 0 && n <= LOADER_TEXT_MAX;
    for (const char *c = text; ok && *c; c++)
        ok = (unsigned char)*c >= ' ' && *c != 0x7f;
    return ok;
}

/* A help text stands behind a name in a list: "one line, lower case, no full stop". */
static void check_help(const char *rule, const char *of, const char *help)
{
    if (!text_ok(help))
        found(rule, "%s needs a help text: one line of 1 to %u bytes", of, LOADER_TEXT_MAX);
    else if (help[strlen(help) - 1] == '.')
        found(rule, "the help text of %s ends with a full stop: \"%s\"", of, help);
    else if (help[0] >= 'A' && help[0] <= 'Z' && help[1] >= 'a' && help[1] <= 'z')
        found(rule, "the help text of %s starts with a capital: \"%s\"", of, help);
}

/* ---- Sizes ----------------------------------------------------------------------------------- */

/* `exact`: what the headers of the plugin's own ABI say, or 0 if they are newer than ours. */
static bool size_ok(const char *what, uint32_t size, size_t least, size_t exact)
{
    if (size >= least && (exact == 0 || size == exact))
        return true;
    found("sizes", "%s is said to have %u bytes, it has %zu: set the member to its sizeof", what,
          size, exact ? exact : least);
    return false;
}

static bool stride_ok(const char *what, const void *table, uint32_t n, uint32_t stride,
                      size_t least, size_t exact)
{
    if (n == 0)
        return true;
    if (n > LOADER_TABLE_MAX || !table) {
        found("sizes", "%u entries (%s each) are announced, %s", n, what,
              table ? "256 are the limit" : "and the table is not there");
        return false;
    }
    return size_ok(what, stride, least, exact);
}

static bool commands_strides_ok(const struct hvv_plugin *p, bool known)
{
    const char *first = (const char *)p->commands;
    for (uint32_t i = 0; i < p->n_commands; i++) {
        const struct hvv_command *c = (const void *)(first + (size_t)i * p->command_size);
        if (!stride_ok("a parameter", c->params, c->n_params, c->param_size,
                       LEAST(struct hvv_option, help), known ? sizeof(struct hvv_option) : 0))
            return false;
    }
    return true;
}

static bool sizes_ok(const struct hvv_plugin *p)
{
    bool known = p->size >= LEAST(struct hvv_plugin, abi_minor) && p->abi_minor <= HVV_ABI_MINOR;
    if (!size_ok("struct hvv_plugin", p->size, LEAST(struct hvv_plugin, qemu),
                 known ? sizeof(*p) : 0))
        return false;
    if (p->ops && !size_ok("struct hvv_ops", p->ops->size, LEAST(struct hvv_ops, stop),
                           known ? sizeof(*p->ops) : 0))
        return false;
    if (p->reserved || (p->ops && p->ops->reserved)) {
        found("sizes", "a member `reserved` is not 0");
        return false;
    }
    return stride_ok("an option", p->options, p->n_options, p->option_size,
                     LEAST(struct hvv_option, help), known ? sizeof(*p->options) : 0) &&
           stride_ok("a command", p->commands, p->n_commands, p->command_size,
                     LEAST(struct hvv_command, run), known ? sizeof(*p->commands) : 0) &&
           stride_ok("a counter", p->counters, p->n_counters, p->counter_size,
                     LEAST(struct hvv_counter, help), known ? sizeof(*p->counters) : 0) &&
           stride_ok("an event", p->events, p->n_events, p->event_size,
                     LEAST(struct hvv_event, help), known ? sizeof(*p->events) : 0) &&
           commands_strides_ok(p, known);
}

/* ---- Names and numbers ----------------------------------------------------------------------- */

static void check_names(const struct hvv_plugin *p)
{
    if (!word_ok(p->name, LOWER DIGITS "-_") || strspn(p->name, LOWER) == 0)
        found("names", "the name \"%.40s\" is not a lower case letter and up to 30 more of a-z, "
              "0-9, '-' and '_'", p->name ? p->name : "");
    else if (!version_ok(p->version))
        found("names", "the version \"%.70s\" is not numbers separated by dots, of at most %u "
              "bytes", p->version ? p->version : "", LOADER_VERSION_MAX);
    else if (!text_ok(p->description))
        found("names", "the description is not one line of 1 to %u bytes", LOADER_TEXT_MAX);
}

static void check_numbers(const struct hvv_plugin *p)
{
    if (p->virtio_id == 0)
        found("numbers", "virtio_id is 0, which no device has");
    else if (p->threads != HVV_SERIAL_DEVICE && p->threads != HVV_SERIAL_QUEUE)
        found("numbers", "threads is %u: HVV_SERIAL_DEVICE or HVV_SERIAL_QUEUE is right",
              p->threads);
    else if (p->chain_state_size > LOADER_CHAIN_STATE_MAX)
        found("numbers", "chain_state_size is %u, the limit is %u", p->chain_state_size,
              LOADER_CHAIN_STATE_MAX);
    else if (p->queue_unit > HVV_QUEUES_MAX)
        found("numbers", "queue_unit is %u, more than a device can have queues", p->queue_unit);
    else if (p->needs & ~CAPS_KNOWN)
        found("numbers", "needs has bits 0x%llx that are no HVV_CAP_* of this version",
              (unsigned long long)(p->needs & ~CAPS_KNOWN));
}

static bool operations_ok(const struct hvv_plugin *p)
{
    const char *missing = !p->ops            ? "the table of operations"
                          : !p->ops->create  ? "create"
                          : !p->ops->destroy ? "destroy"
                          : !p->ops->notify  ? "notify"
                                             : NULL;
    if (missing)
        found("operations", "%s is missing", missing);
    return !missing;
}

/* ---- Tables ---------------------------------------------------------------------------------- */

/* Options, or the parameters of a command. */
static void check_options(const char *rule, const char *owner, const struct hvv_option *options,
                          uint32_t n, uint32_t stride)
{
    char why[256] = "";
    struct option_table table = {options, n, stride, owner};
    if (options_check_table(&table, why, sizeof(why)) < 0) {
        found(rule, "%s: %s", owner, why);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct hvv_option *option = option_at(&table, i);
        check_help(rule, option->name, option->help);
    }
}

static void check_plugin_options(const struct hvv_plugin *p)
{
    struct option_table table = {p->options, p->n_options, p->option_size, p->name};
    check_options("options", p->name, p->options, p->n_options, p->option_size);
    for (uint32_t i = 0; i < p->n_options; i++) {
        const char *name = option_at(&table, i)->name;
        if (name && option_find(&host_options, name))
            found("options", "%s is an option that each device has from the host: rename it", name);
    }
}

/* Entry `i` of a table: each kind starts with a name and a help text. */
struct entry {
    const char *name, *help;
};

static const struct entry *entry_at(const void *table, uint32_t i, uint32_t stride)
{
    return (const void *)((const char *)table + (size_t)i * stride);
}

static bool entries_ok(const char *rule, const void *table, uint32_t n, uint32_t stride)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct entry *entry = entry_at(table, i, stride);
        if (!word_ok(entry->name, LOWER DIGITS "-")) {
            found(rule, "number %u is called \"%.40s\": a name is 1 to %u of a-z, 0-9 and '-'", i,
                  entry->name ? entry->name : "", LOADER_NAME_MAX);
            return false;
        }
        check_help(rule, entry->name, entry->help);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(entry_at(table, k, stride)->name, entry->name) == 0)
                found(rule, "%s is there twice", entry->name);
    }
    return true;
}

static const struct hvv_command *command_at(const struct hvv_plugin *p, uint32_t i)
{
    return (const void *)((const char *)p->commands + (size_t)i * p->command_size);
}

static bool is_command(const struct hvv_plugin *p, const char *name)
{
    for (uint32_t i = 0; i < p->n_commands; i++)
        if (strcmp(command_at(p, i)->name, name) == 0)
            return true;
    return false;
}

static void check_commands(const struct hvv_plugin *p)
{
    if (!entries_ok("commands", p->commands, p->n_commands, p->command_size))
        return;
    for (uint32_t i = 0; i < p->n_commands; i++) {
        const struct hvv_command *c = command_at(p, i);
        check_options("commands", c->name, c->params, c->n_params, c->param_size);
        if (!c->run)
            found("commands", "%s has no function to run", c->name);
        if (c->flags & ~COMMAND_FLAGS || c->flags == COMMAND_FLAGS || c->reserved)
            found("commands", "%s has the flags 0x%x: one of HVV_COMMAND_* at most", c->name,
                  c->flags);
        if (c->window && !(c->flags & HVV_COMMAND_TERMINAL))
            found("commands", "%s has a window and is no HVV_COMMAND_TERMINAL", c->name);
        else if (c->window && !is_command(p, c->window))
            found("commands", "%s has the window %.40s, which is no command", c->name, c->window);
    }
}

static void check_counters(const struct hvv_plugin *p)
{
    if (!entries_ok("counters", p->counters, p->n_counters, p->counter_size))
        return;
    for (uint32_t i = 0; i < p->n_counters; i++) {
        const struct hvv_counter *c =
            (const void *)((const char *)p->counters + (size_t)i * p->counter_size);
        if (c->flags & ~COUNTER_FLAGS || c->reserved)
            found("counters", "%s has flags 0x%x that are no HVV_COUNTER_*", c->name,
                  c->flags & ~COUNTER_FLAGS);
    }
}

/* ---- Groups ---------------------------------------------------------------------------------- */

/* What dlerror() says, without the path, which the operator knows. */
static void tell_link_error(const char *path)
{
    static const char undefined[] = "undefined symbol: ";
    const char *text = dlerror();
    const char *symbol = text ? strstr(text, undefined) : NULL;
    size_t n = strlen(path);
    if (symbol) {
        found("undefined", "it uses %.200s, which neither it nor its libraries define: link it "
              "with -Wl,-z,defs to see what is missing", symbol + strlen(undefined));
        return;
    }
    if (text && strncmp(text, path, n) == 0 && strncmp(text + n, ": ", 2) == 0)
        text += n + 2;
    found("file", "it cannot be loaded: %s", text ? text : "for an unknown reason");
}

/* hvv_plugin_v1() has no side effects, and neither has loading. */
static bool entry_ok(struct child *child, const struct has *before)
{
    const struct hvv_plugin *(*entry)(void) =
        (const struct hvv_plugin *(*)(void))dlsym(child->handle, "hvv_plugin_v1");
    if (!entry || !(child->plugin = entry())) {
        found("entry", "hvv_plugin_v1() %s", entry ? "returns nothing" : "is not there");
        return false;
    }
    if (entry() != child->plugin)
        found("entry", "hvv_plugin_v1() returns another struct when it is called again");
    struct has after = has_now();
    if (after.threads != before->threads)
        found("entry", "loading it starts threads: that is for create()");
    else if (after.descriptors != before->descriptors)
        found("entry", "loading it opens files: that is for create()");
    return true;
}

void group_load(struct child *child)
{
    struct has before = has_now();
    child->handle = dlopen(child->path, RTLD_NOW | RTLD_LOCAL);
    if (!child->handle) {
        tell_link_error(child->path);
        return;
    }
    if (!entry_ok(child, &before) || !sizes_ok(child->plugin))
        return;
    check_names(child->plugin);
    check_numbers(child->plugin);
    operations_ok(child->plugin);
    check_plugin_options(child->plugin);
    check_commands(child->plugin);
    check_counters(child->plugin);
    entries_ok("events", child->plugin->events, child->plugin->n_events,
               child->plugin->event_size);
}

void group_host(struct child *child)
{
    struct error error = {0};
    struct plugin *plugin;
    if (loader_open(child->path, CAPS_KNOWN, &host_options, &plugin, &error) < 0)
        found("entry", "the host refuses it: %s", error.text);
    else
        loader_free(plugin);
}
