/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow-boards.c - flow test: virtio files as hvisor-tool's boards have them, as start-up
 * configuration and by `add -f`, on a device file with room for their memory.
 *
 * Each file is used twice. As it is, but for the paths of images, it loads, or is refused with the
 * name of a device that has no plugin here. With those devices disabled it loads: its zones, slots
 * and devices are there, and nothing else; what is saved of them starts a daemon with the same.
 */
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define IMAGE (1 << 20)
#define NOTHING "{\"zones\": []}\n"

static struct world world;
static const char *const boards[] = {
    "qemu-aarch64", "qemu-riscv64", "qemu-x86_64", "board-loongarch64", "board-rk3588",
    "board-rk3588-scmi", "one-zone", "empty", "empty-object",
};

/* ---- files ----------------------------------------------------------------------------------- */

static json_t *load_board(const char *name)
{
    char path[512];
    json_error_t error;
    const char *source = getenv("HVV_SOURCE");
    json_t *board;

    snprintf(path, sizeof(path), "%s/tests/data/hvisor/%s.json", source ? source : ".", name);
    board = json_load_file(path, 0, &error);
    if (!board)
        row_fail("%s: %s", path, error.text);
    return board;
}

/* The only zone may be the whole file. */
static size_t n_zones(const json_t *board)
{
    const json_t *zones = json_object_get(board, "zones");

    return zones ? json_array_size(zones) : json_object_size(board) > 0;
}

static json_t *zone_of(const json_t *board, size_t i)
{
    json_t *zones = json_object_get(board, "zones");

    return zones ? json_array_get(zones, i) : (json_t *)(uintptr_t)board;
}

static bool is_enabled(const json_t *device)
{
    const char *status = json_string_value(json_object_get(device, "status"));

    return !status || strcmp(status, "enable") == 0;
}

/* Without a network or a screen. */
static bool can_be_made(const struct daemon *d, const char *type)
{
    return (strcmp(type, "blk") == 0 || strcmp(type, "console") == 0) &&
           access(in_dir(d, "p/%s.so", type).s, F_OK) == 0;
}

/* All devices get images that are there. *refused: a kind that cannot be made, as long as it is. */
static bool prepare_devices(const struct daemon *d, json_t *board, bool disable,
                            const char **refused)
{
    static unsigned int n; /* no two files share an image */
    size_t k;
    json_t *device;

    *refused = NULL;
    for (size_t i = 0; i < n_zones(board); i++)
        json_array_foreach(json_object_get(zone_of(board, i), "devices"), k, device) {
            const char *type = json_string_value(json_object_get(device, "type"));
            struct text image = in_dir(d, "i/%u.img", n++);

            if (json_object_get(device, "img")) {
                json_object_set_new(device, "img", json_string(image.s));
                if (!daemon_image(d, strrchr(image.s, '/') + 1, IMAGE))
                    return false;
            }
            if (!is_enabled(device) || can_be_made(d, type))
                continue;
            if (disable)
                json_object_set_new(device, "status", json_string("disable"));
            else if (!*refused)
                *refused = type;
        }
    return true;
}

static bool write_text(const struct daemon *d, const char *name, const char *text)
{
    FILE *f = fopen(in_dir(d, "%s", name).s, "we");
    bool good = f && fputs(text, f) >= 0;

    if (f)
        good = fclose(f) == 0 && good;
    return good || row_fail("%s: %s", name, strerror(errno));
}

static bool write_board(const struct daemon *d, const char *name, const json_t *board)
{
    return json_dump_file(board, in_dir(d, "%s", name).s, JSON_INDENT(4)) == 0 ||
           row_fail("%s cannot be written", name);
}

/* ---- what there is --------------------------------------------------------------------------- */

static uint64_t number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_string(value) ? strtoull(json_string_value(value), NULL, 0)
                                 : (uint64_t)json_integer_value(value);
}

static uint64_t id_of(const json_t *zone)
{
    return json_object_get(zone, "id") ? number_of(zone, "id") : number_of(zone, "zone_id");
}

/* The device.list has one of this kind there. */
static bool is_listed(const json_t *list, const json_t *device, uint64_t zone)
{
    const char *type = json_string_value(json_object_get(device, "type"));
    size_t i;
    json_t *other;

    json_array_foreach(list, i, other) {
        const char *plugin = json_string_value(json_object_get(other, "plugin"));

        if (plugin && strcmp(plugin, type) == 0 && number_of(other, "zone") == zone &&
            number_of(other, "addr") == number_of(device, "addr") &&
            number_of(other, "irq") == number_of(device, "irq"))
            return true;
    }
    return row_fail("there is no %s at 0x%llx of zone %llu", type,
                    (unsigned long long)number_of(device, "addr"), (unsigned long long)zone);
}

/* The zone.list has the zone, with so much memory and a slot for each device. */
static bool has_zone(const json_t *list, const json_t *zone)
{
    size_t i;
    json_t *other;

    json_array_foreach(list, i, other) {
        if (number_of(other, "id") != id_of(zone))
            continue;
        return (json_array_size(json_object_get(other, "memory")) ==
                    json_array_size(json_object_get(zone, "memory_region")) &&
                json_array_size(json_object_get(other, "slots")) ==
                    json_array_size(json_object_get(zone, "devices"))) ||
               row_fail("zone %llu has other memory or slots", (unsigned long long)id_of(zone));
    }
    return row_fail("there is no zone %llu", (unsigned long long)id_of(zone));
}

static bool is_there(const json_t *board, const json_t *devices, const json_t *zones)
{
    size_t n = 0, k;
    json_t *device;

    for (size_t i = 0; i < n_zones(board); i++) {
        const json_t *zone = zone_of(board, i);

        if (!has_zone(zones, zone))
            return false;
        json_array_foreach(json_object_get(zone, "devices"), k, device) {
            if (!is_enabled(device))
                continue;
            n++;
            if (!is_listed(devices, device, id_of(zone)))
                return false;
        }
    }
    return (n == json_array_size(devices) && n_zones(board) == json_array_size(zones)) ||
           row_fail("%zu devices and %zu zones are listed", json_array_size(devices),
                    json_array_size(zones));
}

/* `board` NULL: nothing is there. */
static bool there_is(struct daemon *d, const json_t *board)
{
    json_t *devices = daemon_call(d, "device.list", NULL);
    json_t *zones = daemon_call(d, "zone.list", NULL);
    json_t *nothing = board ? NULL : json_object();
    bool good = devices && zones &&
                is_there(board ? board : nothing, json_object_get(devices, "devices"),
                         json_object_get(zones, "zones"));

    json_decref(devices);
    json_decref(zones);
    json_decref(nothing);
    return good;
}

/* ---- the two ways ---------------------------------------------------------------------------- */

static bool is_saved(struct daemon *d)
{
    struct output o;

    return ctl(&o, d, "save", in_dir(d, "saved.conf").s, NULL) &&
           (o.code == 0 || row_fail("save: %s", o.err));
}

static bool starts_with(struct daemon *d, const json_t *board)
{
    static const char *const saved_args[] = { "--config", "saved.conf", NULL };
    const struct daemon_options *options = d->options;
    struct daemon_options saved = *options;
    bool good = write_board(d, WORLD_JSON, board) && daemon_start(d) && there_is(d, board) &&
                is_saved(d) && daemon_stop(d) && daemon_left_nothing(d);

    saved.args = saved_args;
    d->options = &saved;
    good = good && daemon_start(d) && there_is(d, board) && daemon_stop(d) &&
           daemon_left_nothing(d);
    d->options = options;
    return good;
}

static bool start_is_refused(struct daemon *d, const json_t *board, const char *type)
{
    struct output o;

    if (!write_board(d, WORLD_JSON, board) || !daemon_try(d, NULL, &o))
        return false;
    return (o.code == 1 && has_text(o.err, type) && daemon_left_nothing(d)) ||
           row_fail("a start with a %s ended with %d: %s", type, o.code, o.err);
}

/* Taken back when something is refused, and when all its devices and zones are removed. */
static bool add_file(struct daemon *d, const json_t *board, const char *refused)
{
    struct output o;

    if (!write_text(d, WORLD_JSON, NOTHING) || !write_board(d, "i/board.json", board) ||
        !daemon_start(d) || !ctl(&o, d, "add", "-f", "board.json", NULL))
        return false;
    if (refused && (o.code == 0 || !has_text(o.err, refused)))
        return row_fail("add -f with a %s ended with %d: %s", refused, o.code, o.err);
    if (!refused && o.code != 0)
        return row_fail("add -f: %s", o.err);
    return there_is(d, refused ? NULL : board) && daemon_stop(d) && daemon_left_nothing(d);
}

static bool one_board(struct daemon *d, const char *name, bool disable)
{
    const char *refused;
    json_t *board = load_board(name);
    bool good = board && prepare_devices(d, board, disable, &refused) &&
                (refused ? start_is_refused(d, board, refused) : starts_with(d, board)) &&
                add_file(d, board, refused);

    if (good)
        row_note("%s%s: %s%s", name, disable ? ", all of it but those" : "",
                 refused ? "refused for its " : "loads", refused ? refused : "");
    json_decref(board);
    return good || row_fail("%s", name);
}

static bool open_device(struct daemon *d)
{
    static const struct world_options o = { .hvisor = true, .not_started = true };

    return world_open(&world, d, &o);
}

static void all_boards(struct daemon *d)
{
    MUST(open_device(d));
    for (size_t i = 0; i < sizeof(boards) / sizeof(boards[0]); i++)
        MUST(one_board(d, boards[i], false) && one_board(d, boards[i], true));
}

/* A file may say again what memory its zone has. What it adds is taken back alone. */
static void added_to_a_zone(struct daemon *d)
{
    const char *refused;
    struct output o;
    json_t *board = load_board("qemu-aarch64"), *more = load_board("add-blk");

    MUST(board && more && open_device(d) && prepare_devices(d, board, true, &refused) &&
         prepare_devices(d, more, true, &refused) && write_board(d, WORLD_JSON, board) &&
         write_board(d, "i/more.json", more) && daemon_start(d));
    int before = daemon_count(d);
    MUST(ctl(&o, d, "add", "-f", "more.json", NULL));
    CHECK(o.code == 0 && daemon_count(d) == before + 1, "add -f: %s", o.err);
    MUST(ctl(&o, d, "add", "-f", "more.json", NULL)); /* its slot is taken now */
    CHECK(o.code != 0 && has_text(o.err, "0xa003a00"), "the same again: %s", o.err);
    CHECK(daemon_count(d) == before + 1, "a refused add changed something");
    MUST(daemon_stop(d) && daemon_left_nothing(d));
    json_decref(board);
    json_decref(more);
}

int main(int argc, char **argv)
{
    static const char *const args[] = { WORLD_HVISOR_ARGS, NULL };
    static const char *const plugins[] = { "console.so", NULL };
    bool console = access(built("plugins.d/console.so").s, F_OK) == 0;
    const struct daemon_options options = { .args = args, .env = world_hvisor_env(),
                                            .plugins = console ? plugins : NULL,
                                            .no_start = true };
    const struct row rows[] = {
        { "boards-start-and-add", all_boards, &options, NULL },
        { "boards-added-to-a-zone", added_to_a_zone, &options, NULL },
    };

    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
