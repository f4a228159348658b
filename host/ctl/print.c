/* SPDX-License-Identifier: BSD-3-Clause */
/* print.c - see print.h. One thread. */
#include "ctl/print.h"

#include "ctl/table.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VALUE_MAX 2048

/* ---- values ---------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* A value in words: yes and no, lists with commas, nothing for null. */
static void value_text(const json_t *value, char *out, size_t size)
{
    size_t i, n = 0;
    json_t *item;
    out[0] = '\0';
    if (json_is_string(value))
        snprintf(out, size, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(out, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(out, size, "%g", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(out, size, "%s", json_is_true(value) ? "yes" : "no");
    json_array_foreach(value, i, item) {
        n += (size_t)snprintf(out + n, size - n, "%s", i ? ", " : "");
        if (n >= size || json_is_array(item))
            return;
        value_text(item, out + n, size - n);
        n += strlen(out + n);
    }
}

static void bytes_text(const json_t *value, char *out, size_t size)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    json_int_t bytes = json_integer_value(value);
    double scaled = (double)bytes / 1024;
    size_t unit = 0;
    if (bytes < 1024) {
        snprintf(out, size, "%" JSON_INTEGER_FORMAT " B", bytes);
        return;
    }
    for (; scaled >= 1024 && unit < 5; unit++)
        scaled /= 1024;
    snprintf(out, size, "%.1f %s", scaled, units[unit]);
}

static void cell_of(struct table *t, const json_t *object, const char *key)
{
    char text[VALUE_MAX];
    value_text(json_object_get(object, key), text, sizeof(text));
    table_cell(t, text);
}

static void number_of(struct table *t, const json_t *object, const char *key)
{
    table_number(t, json_integer_value(json_object_get(object, key)));
}

static void put_line(const char *prefix, const char *text)
{
    put_text(prefix);
    put_text(text);
    putchar('\n');
}

/* What a key holds, or "?": the daemon always sends it. */
static void put_key(const json_t *object, const char *key)
{
    const char *text = text_of(object, key);
    put_text(text ? text : "?");
}

int print_json(const json_t *result)
{
    char *line = json_dumps(result, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(16));
    if (!line)
        return complain(CTL_REFUSED, "out of memory for the result");
    puts(line);
    free(line);
    return CTL_OK;
}

int print_result(FILE *to, const json_t *result)
{
    const char *key;
    json_t *value;
    char text[VALUE_MAX];
    json_object_foreach((json_t *)(uintptr_t)result, key, value) {
        const char *shown = json_string_value(value);
        if (!shown) {
            value_text(value, text, sizeof(text));
            shown = text;
        }
        fprintf(to, "%s: ", key);
        for (; *shown; shown++)
            fputc((unsigned char)*shown < ' ' || *shown == 0x7f ? '?' : *shown, to);
        fputc('\n', to);
    }
    return CTL_OK;
}

/* ---- devices --------------------------------------------------------------------------------- */

/* Where a guest finds the device: a socket, or a zone's slot. */
static const char *place_of(const json_t *dev, char *text, size_t size)
{
    const char *socket = text_of(dev, "socket"), *zone = text_of(dev, "zone");
    const char *addr = text_of(dev, "addr"), *irq = text_of(dev, "irq");
    if (socket || !zone || !addr || !irq)
        return socket;
    snprintf(text, size, "zone %s addr %s irq %s", zone, addr, irq);
    return text;
}

int print_added(const json_t *result)
{
    size_t i;
    json_t *dev;
    json_array_foreach(json_object_get(result, "devices"), i, dev) {
        char text[VALUE_MAX];
        const char *place = place_of(dev, text, sizeof(text));
        put_key(dev, "id");
        put_text(": ");
        put_key(dev, "transport");
        put_line(place ? " " : "", place ? place : "");
    }
    return CTL_OK;
}

int print_removed(const json_t *result)
{
    size_t i;
    json_t *id;
    json_array_foreach(json_object_get(result, "removed"), i, id)
        if (json_is_string(id))
            put_line("removed ", json_string_value(id));
    const char *late = text_of(result, "late");
    if (late)
        complain(CTL_OK, "out of service, but still to be destroyed: %s", late);
    return CTL_OK;
}

static void list_row(struct table *t, const json_t *dev)
{
    char text[VALUE_MAX];
    const char *plugin = text_of(dev, "plugin"), *version = text_of(dev, "version");
    const char *state = text_of(dev, "state");
    table_cell(t, text_of(dev, "id"));
    snprintf(text, sizeof(text), "%s %s", plugin ? plugin : "?", version ? version : "");
    table_cell(t, text);
    snprintf(text, sizeof(text), "%s%s", state ? state : "?",
             text_of(dev, "broken") ? ", broken" : "");
    table_cell(t, text);
    cell_of(t, dev, "connected");
    table_cell(t, text_of(dev, "transport"));
    table_cell(t, place_of(dev, text, sizeof(text)));
}

/* Queues that do not stop, and callbacks that do not return. */
static void list_stuck(const json_t *result)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(result, "devices"), i, entry) {
        const char *stuck = text_of(entry, "stuck");
        if (!stuck)
            continue;
        put_key(entry, "id");
        put_line(" is stuck: ", stuck);
    }
    json_array_foreach(json_object_get(result, "stuck"), i, entry) {
        const char *device = text_of(entry, "device");
        put_text(device && device[0] ? device : "a plugin");
        put_text(" is stuck: ");
        put_key(entry, "callback");
        printf(" has not returned for %" JSON_INTEGER_FORMAT " s on thread ",
               json_integer_value(json_object_get(entry, "seconds")));
        put_key(entry, "thread");
        putchar('\n');
    }
}

int print_list(const json_t *result)
{
    const json_t *devices = json_object_get(result, "devices");
    struct table t;
    size_t i;
    json_t *dev;
    if (json_array_size(devices) == 0) {
        puts("no devices");
        list_stuck(result);
        return CTL_OK;
    }
    table_begin(&t, "ID|PLUGIN|STATE|CONNECTED|TRANSPORT|WHERE");
    json_array_foreach(devices, i, dev)
        list_row(&t, dev);
    int rc = table_end(&t, 0);
    json_array_foreach(devices, i, dev) {
        const char *broken = text_of(dev, "broken");
        if (!broken)
            continue;
        put_key(dev, "id");
        put_line(" is broken: ", broken);
    }
    list_stuck(result);
    return rc;
}

/* Top-level values in the daemon's order: one added later shows without a change here. */
static int show_values(const json_t *dev)
{
    struct table t;
    const char *key;
    json_t *value;
    table_begin(&t, "|");
    json_object_foreach((json_t *)(uintptr_t)dev, key, value) {
        if (json_is_object(value) || json_is_array(value) || json_is_null(value))
            continue;
        table_cell(&t, key);
        cell_of(&t, dev, key);
    }
    return table_end(&t, 0);
}

static int show_object(const char *title, const json_t *object)
{
    struct table t;
    const char *key;
    json_t *value;
    if (json_object_size(object) == 0)
        return CTL_OK;
    puts(title);
    table_begin(&t, "NAME|VALUE");
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        table_cell(&t, key);
        cell_of(&t, object, key);
    }
    return table_end(&t, 2);
}

static int show_queues(const json_t *queues)
{
    struct table t;
    size_t i;
    json_t *q;
    if (json_array_size(queues) == 0)
        return CTL_OK;
    puts("queues");
    table_begin(&t, ">QUEUE|>SIZE|>MAX|STATE|>WORKER");
    json_array_foreach(queues, i, q) {
        number_of(&t, q, "index");
        number_of(&t, q, "size");
        number_of(&t, q, "max");
        table_cell(&t, text_of(q, "state"));
        cell_of(&t, q, "worker");
    }
    return table_end(&t, 2);
}

int print_show(const json_t *dev)
{
    size_t i;
    json_t *hint;
    int rc = show_values(dev);
    if (rc == CTL_OK && json_object_size(json_object_get(dev, "about")) > 0)
        rc = show_object("about", json_object_get(dev, "about"));
    if (rc == CTL_OK)
        rc = show_object("options", json_object_get(dev, "options"));
    if (rc == CTL_OK)
        rc = show_object("features", json_object_get(dev, "features"));
    if (rc == CTL_OK)
        rc = show_queues(json_object_get(dev, "queues"));
    json_array_foreach(json_object_get(dev, "hints"), i, hint) {
        put_text("for ");
        put_key(hint, "for");
        put_text(": ");
        put_key(hint, "text");
        putchar('\n');
    }
    return rc;
}

static void zone_rows(struct table *t, const json_t *zone)
{
    const json_t *slots = json_object_get(zone, "slots");
    size_t i;
    json_t *slot;
    json_array_foreach(slots, i, slot) {
        cell_of(t, zone, "id");
        table_cell(t, text_of(zone, "platform"));
        cell_of(t, zone, "running");
        table_cell(t, text_of(slot, "addr"));
        table_cell(t, text_of(slot, "len"));
        cell_of(t, slot, "irq");
        table_cell(t, text_of(slot, "device"));
    }
    if (json_array_size(slots) > 0)
        return;
    cell_of(t, zone, "id");
    table_cell(t, text_of(zone, "platform"));
    cell_of(t, zone, "running");
    for (i = 0; i < 4; i++)
        table_cell(t, NULL);
}

int print_zones(const json_t *result)
{
    const json_t *zones = json_object_get(result, "zones");
    struct table t;
    size_t i;
    json_t *zone;
    if (json_array_size(zones) == 0) {
        puts("no zones");
        return CTL_OK;
    }
    table_begin(&t, ">ZONE|PLATFORM|RUNNING|ADDR|LEN|>IRQ|DEVICE");
    json_array_foreach(zones, i, zone)
        zone_rows(&t, zone);
    return table_end(&t, 0);
}

/* ---- plugins --------------------------------------------------------------------------------- */

static void option_row(struct table *t, const json_t *option)
{
    char help[VALUE_MAX];
    const char *range = text_of(option, "range"), *text = text_of(option, "help");
    bool required = json_is_true(json_object_get(option, "required"));
    table_cell(t, text_of(option, "name"));
    table_cell(t, text_of(option, "type"));
    if (required)
        table_cell(t, "required");
    else
        cell_of(t, option, "default");
    table_cell(t, range ? range : text_of(option, "choices"));
    bool first = json_is_true(json_object_get(option, "positional"));
    bool multi = json_is_true(json_object_get(option, "multi"));
    snprintf(help, sizeof(help), "%s%s%s", text ? text : "",
             first ? "; the name may be left out" : "", multi ? "; may be repeated" : "");
    table_cell(t, help);
}

static int print_options(const json_t *options, int indent)
{
    struct table t;
    size_t i;
    json_t *option;
    if (json_array_size(options) == 0)
        return CTL_OK;
    table_begin(&t, "NAME|TYPE|DEFAULT|RANGE|HELP");
    json_array_foreach(options, i, option)
        option_row(&t, option);
    return table_end(&t, indent);
}

static int print_commands(const json_t *commands)
{
    size_t i, k;
    json_t *command, *param;
    int rc = CTL_OK;
    if (json_array_size(commands))
        puts("  commands");
    json_array_foreach(commands, i, command) {
        put_text("    ");
        put_key(command, "name");
        put_text(" ID");
        json_array_foreach(json_object_get(command, "params"), k, param) {
            bool required = json_is_true(json_object_get(param, "required"));
            put_text(required ? " " : " [");
            put_key(param, "name");
            put_text(required ? "=..." : "=...]");
        }
        put_text(": ");
        put_key(command, "help");
        putchar('\n');
        if (rc == CTL_OK)
            rc = print_options(json_object_get(command, "params"), 6);
    }
    return rc;
}

/* Counters and events: a name and what it means. */
static int print_names(const char *title, const json_t *list)
{
    struct table t;
    size_t i;
    json_t *item;
    if (json_array_size(list) == 0)
        return CTL_OK;
    puts(title);
    table_begin(&t, "NAME|HELP");
    json_array_foreach(list, i, item) {
        table_cell(&t, text_of(item, "name"));
        table_cell(&t, text_of(item, "help"));
    }
    return table_end(&t, 4);
}

static int print_plugin(const json_t *plugin)
{
    const char *about = text_of(plugin, "description"), *path = text_of(plugin, "path");
    put_key(plugin, "name");
    put_text(" ");
    put_key(plugin, "version");
    put_line(": ", about ? about : "");
    printf("  virtio device id %" JSON_INTEGER_FORMAT ", in use by %" JSON_INTEGER_FORMAT
           " device(s)%s\n", json_integer_value(json_object_get(plugin, "virtio_id")),
           json_integer_value(json_object_get(plugin, "devices")),
           json_is_true(json_object_get(plugin, "retired")) ? ", retired" : "");
    put_line("  ", path ? path : "?");
    const json_t *options = json_object_get(plugin, "options");
    if (json_array_size(options))
        puts("  options");
    int rc = print_options(options, 4);
    if (rc == CTL_OK)
        rc = print_commands(json_object_get(plugin, "commands"));
    if (rc == CTL_OK)
        rc = print_names("  counters", json_object_get(plugin, "counters"));
    if (rc == CTL_OK)
        rc = print_names("  events", json_object_get(plugin, "events"));
    return rc;
}

int print_plugins(const json_t *result)
{
    const json_t *plugins = json_object_get(result, "plugins");
    size_t i;
    json_t *item;
    int rc = CTL_OK;
    if (json_array_size(plugins) == 0)
        puts("no plugins");
    json_array_foreach(plugins, i, item) {
        if (i)
            putchar('\n');
        if (rc == CTL_OK)
            rc = print_plugin(item);
    }
    json_array_foreach(json_object_get(result, "refused"), i, item) {
        fputs(i ? "" : "\n", stdout);
        put_text("refused: ");
        put_key(item, "path");
        put_text(": ");
        put_key(item, "reason");
        putchar('\n');
    }
    return rc;
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void stats_rows(struct table *t, const json_t *dev)
{
    char text[VALUE_MAX];
    size_t i;
    json_t *q;
    json_array_foreach(json_object_get(dev, "queues"), i, q) {
        table_cell(t, text_of(dev, "id"));
        number_of(t, q, "index");
        number_of(t, q, "notifications");
        number_of(t, q, "chains");
        bytes_text(json_object_get(q, "bytes_in"), text, sizeof(text));
        table_cell(t, text);
        bytes_text(json_object_get(q, "bytes_out"), text, sizeof(text));
        table_cell(t, text);
        number_of(t, q, "interrupts");
        number_of(t, q, "errors");
        number_of(t, q, "held");
    }
}

/* Of the plugin, or of the transport. */
static size_t counter_rows(struct table *t, const json_t *dev, const char *whose)
{
    const json_t *counters = json_object_get(dev, whose);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)counters, key, value) {
        table_cell(t, text_of(dev, "id"));
        table_cell(t, key);
        table_number(t, json_integer_value(value));
    }
    return json_object_size(counters);
}

int print_stats(const json_t *result)
{
    const json_t *devices = json_object_get(result, "devices");
    struct table queues, counters;
    json_t *dev;
    size_t i, n = 0;
    if (json_array_size(devices) == 0)
        puts("no devices");
    table_begin(&queues, "ID|>QUEUE|>NOTIFICATIONS|>CHAINS|>IN|>OUT|>INTERRUPTS|>ERRORS|>HELD");
    table_begin(&counters, "ID|COUNTER|>VALUE");
    json_array_foreach(devices, i, dev) {
        stats_rows(&queues, dev);
        n += counter_rows(&counters, dev, "counters");
        n += counter_rows(&counters, dev, "transport");
    }
    int rc = table_end(&queues, 0);
    fputs(n ? "\n" : "", stdout);
    return table_end(&counters, 0) == CTL_OK ? rc : CTL_REFUSED;
}

int print_log(const json_t *result)
{
    const char *level = text_of(result, "level"), *was = text_of(result, "was");
    put_text("log level ");
    put_key(result, "level");
    if (level && was && strcmp(level, was) != 0) {
        put_text(", was ");
        put_text(was);
    }
    putchar('\n');
    return CTL_OK;
}

static void put_time(double time)
{
    char date[32] = "";
    struct tm tm;
    time_t seconds = time >= 0 && time < 1e11 ? (time_t)time : 0;
    if (localtime_r(&seconds, &tm))
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    double part = time - (double)seconds;
    printf("%s.%03d ", date, part >= 0 && part < 1 ? (int)(part * 1000) : 0);
}

int print_event(const json_t *event)
{
    static const char *const shown[] = {"time", "event", "device", "seq"};
    const char *device = text_of(event, "device"), *key;
    char text[VALUE_MAX];
    json_t *value;
    put_time(json_number_value(json_object_get(event, "time")));
    put_key(event, "event");
    put_text(device ? " " : "");
    put_text(device ? device : "");
    json_object_foreach((json_t *)(uintptr_t)event, key, value) {
        size_t i = 0;
        while (i < 4 && strcmp(key, shown[i]) != 0)
            i++;
        if (i < 4)
            continue;
        value_text(value, text, sizeof(text));
        put_text(" ");
        put_text(key);
        put_text("=");
        put_text(text);
    }
    putchar('\n');
    return CTL_OK;
}
