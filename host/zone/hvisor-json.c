/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvisor-json.c - see hvisor-json.h. The enabled devices of a zone are read first, so that a
 * disabled one is never in their way. No thread of its own.
 */
#include "zone/hvisor-json.h"

#include "conf/path.h"
#include "conf/similar.h"
#include "conf/text-file.h"
#include "zone/json-read.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAC_BYTES 6u

/* What is being read. */
struct parse {
    struct hvisor_json *out;
    struct json_file file;
    const char *dir;
};

static int no_memory(const struct parse *p)
{
    return error_set(p->file.error, ENOMEM, "out of memory for %.200s", p->file.name);
}

/* ---- Warnings -------------------------------------------------------------------------------- */

/* One more pointer's room at the end of a list that is handled by its number of entries. */
static void *grow(void *list, size_t n, size_t size)
{
    return realloc(list, (n + 1) * size);
}

static int warn(const struct parse *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static int warn(const struct parse *p, const char *fmt, ...)
{
    struct hvisor_json *out = p->out;
    char text[768], sentence[640];
    va_list args;
    if (out->n_warnings >= HVISOR_JSON_WARNINGS_MAX) {
        out->n_unsaid++;
        return 0;
    }
    va_start(args, fmt);
    vsnprintf(sentence, sizeof(sentence), fmt, args);
    va_end(args);
    snprintf(text, sizeof(text), "%.120s: %s", p->file.name, sentence);
    char **more = grow(out->warnings, out->n_warnings, sizeof(*more));
    if (!more)
        return no_memory(p);
    out->warnings = more;
    more[out->n_warnings] = strdup(text);
    if (!more[out->n_warnings])
        return no_memory(p);
    out->n_warnings++;
    return 0;
}

static int warn_key(const struct parse *p, const char *where, const char *key,
                    const char *const *known)
{
    struct similar best = {0};
    json_t *name = json_string(key);
    char shown[JSON_SHOWN_MAX];
    if (!name)
        return no_memory(p);
    for (size_t i = 0; known[i]; i++)
        similar_try(&best, key, known[i]);
    int rc = warn(p, "%s%sthe key %s is not known and does nothing%s%s", where,
                  where[0] ? ": " : "", json_show(shown, name), best.name ? ": did you mean " : "",
                  best.name ? best.name : "");
    json_decref(name);
    return rc;
}

/* Names the members that are in neither list. */
static int warn_unknown(const struct parse *p, const char *where, json_t *object,
                        const char *const *known, const char *const *more)
{
    const char *key;
    json_t *value;
    int rc = 0;
    json_object_foreach(object, key, value) {
        bool found = false;
        for (size_t i = 0; known[i] && !found; i++)
            found = strcmp(key, known[i]) == 0;
        for (size_t i = 0; more && more[i] && !found; i++)
            found = strcmp(key, more[i]) == 0;
        if (!found && rc == 0)
            rc = warn_key(p, where, key, known);
    }
    return rc;
}

/* ---- Devices: what is special to a type ------------------------------------------------------ */

static int add_option(const struct parse *p, const char *where, struct spec *spec,
                      const char *name, const char *value)
{
    struct error why = {0};
    return spec_add(spec, name, value, &why) < 0 ? json_fail_why(&p->file, where, &why) : 0;
}

/* A member that is text and not empty. NULL: there is none, or *rc is not 0. */
static const char *text_member(const struct parse *p, const char *where, const json_t *device,
                               const char *key, int *rc)
{
    char shown[JSON_SHOWN_MAX];
    const json_t *value = json_object_get(device, key);
    *rc = 0;
    if (!value)
        return NULL;
    if (json_is_string(value) && json_string_length(value) > 0)
        return json_string_value(value);
    *rc = json_fail(&p->file, "%s.%s is %s: write a string that is not empty", where, key,
                    json_show(shown, value));
    return NULL;
}

static int missing(const struct parse *p, const char *where, const char *type, const char *key,
                   const char *what)
{
    return json_fail(&p->file, "%s.%s is missing: a %s device needs it, %s", where, key, type,
                     what);
}

static int fill_blk(const struct parse *p, const char *where, const json_t *device,
                    struct spec *spec)
{
    int rc;
    struct error why = {0};
    char *absolute = NULL;
    const char *img = text_member(p, where, device, "img", &rc);
    if (rc == 0 && !img)
        rc = missing(p, where, "blk", "img", "the path of the image");
    if (rc < 0)
        return rc;
    if (p->dir && path_absolute(&absolute, img, p->dir, "img", &why) < 0)
        return json_fail_why(&p->file, where, &why);
    rc = add_option(p, where, spec, "path", absolute ? absolute : img);
    free(absolute);
    return rc;
}

static int fill_mac(const struct parse *p, const char *where, const json_t *device,
                    struct spec *spec)
{
    int rc;
    char text[3 * MAC_BYTES + 1] = "", path[JSON_WHERE_MAX + 8];
    const json_t *mac = json_list(&p->file, where, device, "mac", &rc);
    if (!mac)
        return rc;
    if (json_array_size(mac) != MAC_BYTES)
        return json_fail(&p->file, "%s.mac has %zu members: write the %u bytes of the address",
                         where, json_array_size(mac), MAC_BYTES);
    for (unsigned i = 0; i < MAC_BYTES; i++) {
        uint64_t byte;
        snprintf(path, sizeof(path), "%s.mac[%u]", where, i);
        rc = json_number(&p->file, path, json_array_get(mac, i), 0xff, &byte);
        if (rc < 0)
            return rc;
        snprintf(text + 3 * i, 4, "%02x:", (unsigned)byte);
    }
    text[3 * MAC_BYTES - 1] = '\0';
    return add_option(p, where, spec, "mac", text);
}

static int fill_net(const struct parse *p, const char *where, const json_t *device,
                    struct spec *spec)
{
    int rc;
    const char *tap = text_member(p, where, device, "tap", &rc);
    if (rc == 0 && !tap)
        rc = missing(p, where, "net", "tap", "the name of the interface");
    if (rc == 0)
        rc = add_option(p, where, spec, "tap", tap);
    return rc == 0 ? fill_mac(p, where, device, spec) : rc;
}

static int fill_gpu(const struct parse *p, const char *where, const json_t *device,
                    struct spec *spec)
{
    static const char *const keys[] = {"width", "height"};
    int rc = 0;
    for (size_t i = 0; i < 2 && rc == 0; i++) {
        uint64_t n;
        char text[24];
        if (!json_object_get(device, keys[i]))
            continue;
        rc = json_member(&p->file, where, device, keys[i], UINT32_MAX, &n);
        if (rc < 0)
            break;
        snprintf(text, sizeof(text), "%" PRIu64, n);
        rc = add_option(p, where, spec, keys[i], text);
    }
    return rc;
}

static int fill_console(const struct parse *p, const char *where, const json_t *device,
                        struct spec *spec)
{
    (void)p, (void)where, (void)device, (void)spec;
    return 0;
}

/* The types hvisor-tool has. One without `fill` has no plugin. */
static const struct kind {
    const char *type;
    const char *const *keys; /* NULL: any */
    int (*fill)(const struct parse *p, const char *where, const json_t *device, struct spec *spec);
} kinds[] = {
    {"blk", (const char *const[]){"img", NULL}, fill_blk},
    {"net", (const char *const[]){"tap", "mac", NULL}, fill_net},
    {"console", (const char *const[]){NULL}, fill_console},
    {"gpu", (const char *const[]){"width", "height", NULL}, fill_gpu},
    {"scmi", NULL, NULL},
};

static const struct kind *find_kind(const char *type)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].type, type) == 0)
            return &kinds[i];
    return NULL;
}

/* ---- Devices: what all have ------------------------------------------------------------------ */

static int read_enabled(const struct parse *p, const char *where, const json_t *device,
                        bool *enabled)
{
    char shown[JSON_SHOWN_MAX];
    const json_t *status = json_object_get(device, "status");
    const char *text = status ? json_string_value(status) : "enable";
    *enabled = text && strcmp(text, "enable") == 0;
    if (*enabled || (text && strcmp(text, "disable") == 0))
        return 0;
    return json_fail(&p->file, "%s.status is %s: write \"enable\" or \"disable\"", where,
                     json_show(shown, status));
}

/* One more entry in the list of devices. NULL: out of memory. */
static struct hvisor_json_device *new_device(const struct parse *p, const char *where,
                                             uint32_t zone)
{
    struct hvisor_json *out = p->out;
    struct hvisor_json_device *more = grow(out->devices, out->n_devices, sizeof(*more));
    if (!more) {
        no_memory(p);
        return NULL;
    }
    out->devices = more;
    struct hvisor_json_device *entry = &more[out->n_devices++];
    memset(entry, 0, sizeof(*entry));
    snprintf(entry->where, sizeof(entry->where), "%s", where);
    entry->zone = zone;
    return entry;
}

static int not_zero(const struct parse *p, const char *where, const char *key, uint64_t value)
{
    return value ? 0 : json_fail(&p->file, "%s.%s is 0, which stands for none: write what the zone "
                                 "has", where, key);
}

static int read_slot(const struct parse *p, const char *where, const json_t *device,
                     struct plan_slot *slot)
{
    uint64_t irq = 0;
    int rc = json_member(&p->file, where, device, "addr", UINT64_MAX, &slot->addr);
    if (rc == 0)
        rc = json_member(&p->file, where, device, "len", UINT64_MAX, &slot->len);
    if (rc == 0)
        rc = json_member(&p->file, where, device, "irq", UINT32_MAX, &irq);
    if (rc == 0)
        rc = not_zero(p, where, "addr", slot->addr);
    if (rc == 0)
        rc = not_zero(p, where, "irq", irq);
    slot->irq = (uint32_t)irq;
    return rc;
}

/* Another enabled device has this slot. */
static int taken(const struct parse *p, const struct hvisor_json_device *entry)
{
    for (size_t i = 0; i < p->out->n_devices; i++) {
        const struct hvisor_json_device *o = &p->out->devices[i];
        if (o != entry && o->enabled && o->zone == entry->zone && o->slot.addr == entry->slot.addr)
            return json_fail(&p->file, "%s has addr 0x%" PRIx64 " and irq %" PRIu32 ", and so has "
                             "%s: give each its own, or disable one", entry->where,
                             entry->slot.addr, entry->slot.irq, o->where);
    }
    return 0;
}

static int add_slot(const struct parse *p, struct hvisor_json_device *entry)
{
    struct error why = {0};
    struct zone_plan *zone = plan_find(&p->out->zones, entry->zone);
    int rc = plan_add_slot(zone, &entry->slot, &why);
    if (rc < 0)
        return json_fail_why(&p->file, entry->where, &why);
    entry->has_slot = true;
    return rc > 0 && entry->enabled ? taken(p, entry) : 0;
}

static int add_place(const struct parse *p, const struct hvisor_json_device *entry,
                     struct spec *spec)
{
    char number[24];
    snprintf(number, sizeof(number), "%" PRIu32, entry->zone);
    int rc = add_option(p, entry->where, spec, "zone", number);
    snprintf(number, sizeof(number), "0x%" PRIx64, entry->slot.addr);
    if (rc == 0)
        rc = add_option(p, entry->where, spec, "addr", number);
    snprintf(number, sizeof(number), "%" PRIu32, entry->slot.irq);
    if (rc == 0)
        rc = add_option(p, entry->where, spec, "irq", number);
    return rc;
}

static int add_spec(const struct parse *p, const struct hvisor_json_device *entry,
                    const struct kind *kind, const json_t *device)
{
    struct hvisor_json *out = p->out;
    struct error why = {0};
    struct spec *more = grow(out->specs, out->n_specs, sizeof(*more));
    if (!more)
        return no_memory(p);
    out->specs = more;
    struct spec *spec = &more[out->n_specs];
    if (spec_init(spec, kind->type, &why) < 0)
        return json_fail_why(&p->file, entry->where, &why);
    out->n_specs++;
    int rc = kind->fill(p, entry->where, device, spec);
    return rc == 0 ? add_place(p, entry, spec) : rc;
}

static int no_such_type(const struct parse *p, const char *where, const char *type,
                        const struct kind *kind)
{
    if (kind)
        return json_fail(&p->file, "%s.type is \"%s\": there is no plugin for %s devices, so set "
                         "its status to \"disable\"", where, type, type);
    return json_fail(&p->file, "%s.type is \"%.40s\": the types are blk, net, console and gpu",
                     where, type);
}

static int read_enabled_device(const struct parse *p, struct hvisor_json_device *entry,
                               const struct kind *kind, const json_t *device)
{
    int rc = read_slot(p, entry->where, device, &entry->slot);
    if (rc == 0)
        rc = add_slot(p, entry);
    return rc == 0 ? add_spec(p, entry, kind, device) : rc;
}

/* A spare slot, or a warning why not. */
static int read_disabled_device(const struct parse *p, struct hvisor_json_device *entry,
                                const json_t *device)
{
    struct error why = {0};
    struct parse quiet = *p;
    quiet.file.error = &why;
    quiet.file.name = "spare slot";
    if (read_slot(&quiet, entry->where, device, &entry->slot) == 0 && add_slot(&quiet, entry) == 0)
        return 0;
    if (why.err == ENOMEM)
        return no_memory(p);
    return warn(p, "%s is disabled and leaves no %s", entry->where, why.text);
}

static int check_device(const struct parse *p, const char *where, json_t *device)
{
    char shown[JSON_SHOWN_MAX];
    return json_is_object(device)
               ? 0 : json_fail(&p->file, "%s is %s: write an object, {...}", where,
                               json_show(shown, device));
}

/* Reads it if its status is what is asked for. */
static int read_device(const struct parse *p, const char *where, json_t *device, uint32_t zone,
                       bool enabled)
{
    static const char *const common[] = {"type", "status", "addr", "len", "irq", NULL};
    bool is_enabled = false;
    int rc = check_device(p, where, device);
    if (rc == 0)
        rc = read_enabled(p, where, device, &is_enabled);
    if (rc < 0 || is_enabled != enabled)
        return rc;
    const char *type = text_member(p, where, device, "type", &rc);
    if (rc == 0 && !type && enabled)
        rc = json_fail(&p->file, "%s.type is missing: add it, such as \"blk\"", where);
    const struct kind *kind = type ? find_kind(type) : NULL;
    if (rc == 0 && enabled && (!kind || !kind->fill))
        rc = no_such_type(p, where, type, kind);
    if (rc == 0 && kind && kind->keys)
        rc = warn_unknown(p, where, device, common, kind->keys);
    struct hvisor_json_device *entry = rc == 0 ? new_device(p, where, zone) : NULL;
    if (!entry)
        return rc < 0 ? rc : -ENOMEM;
    snprintf(entry->type, sizeof(entry->type), "%s", type ? type : "");
    entry->enabled = enabled;
    return enabled ? read_enabled_device(p, entry, kind, device)
                   : read_disabled_device(p, entry, device);
}

static int read_devices(const struct parse *p, const char *where, const json_t *devices,
                        uint32_t zone, bool enabled)
{
    char at[JSON_WHERE_MAX], key[40];
    int rc = 0;
    for (size_t i = 0; i < json_array_size(devices) && rc == 0; i++) {
        snprintf(key, sizeof(key), "devices[%zu]", i);
        json_path(at, where, key);
        rc = read_device(p, at, json_array_get(devices, i), zone, enabled);
    }
    return rc;
}

/* ---- Zones ----------------------------------------------------------------------------------- */

static int read_region(const struct parse *p, const char *where, json_t *region,
                       struct zone_plan *zone)
{
    static const char *const known[] = {"zone0_ipa", "zonex_ipa", "size", NULL};
    struct plan_memory m;
    struct error why = {0};
    int rc = check_device(p, where, region);
    if (rc == 0)
        rc = json_member(&p->file, where, region, "zone0_ipa", UINT64_MAX, &m.host);
    if (rc == 0)
        rc = json_member(&p->file, where, region, "zonex_ipa", UINT64_MAX, &m.guest);
    if (rc == 0)
        rc = json_member(&p->file, where, region, "size", UINT64_MAX, &m.size);
    if (rc == 0 && plan_add_memory(zone, &m, &why) < 0)
        rc = json_fail_why(&p->file, where, &why);
    return rc == 0 ? warn_unknown(p, where, region, known, NULL) : rc;
}

static int read_memory(const struct parse *p, const char *where, const json_t *object,
                       struct zone_plan *zone)
{
    char at[JSON_WHERE_MAX], key[40];
    int rc;
    const json_t *regions = json_list(&p->file, where, object, "memory_region", &rc);
    for (size_t i = 0; i < json_array_size(regions) && rc == 0; i++) {
        snprintf(key, sizeof(key), "memory_region[%zu]", i);
        json_path(at, where, key);
        rc = read_region(p, at, json_array_get(regions, i), zone);
    }
    if (rc == 0 && zone->n_memory == 0)
        rc = warn(p, "%s%szone %" PRIu32 " has no memory_region: its devices reach no memory "
                  "unless something else declares it", where, where[0] ? ": " : "", zone->id);
    return rc;
}

/* The id, under either of its names. */
static int read_id(const struct parse *p, const char *where, const json_t *object, uint64_t *id)
{
    bool named_id = json_object_get(object, "id");
    bool named_zone_id = json_object_get(object, "zone_id");
    uint64_t other;
    int rc = json_member(&p->file, where, object, named_id || !named_zone_id ? "id" : "zone_id",
                         PLAN_ZONES_MAX - 1, id);
    if (rc < 0 || !named_id || !named_zone_id)
        return rc;
    rc = json_member(&p->file, where, object, "zone_id", PLAN_ZONES_MAX - 1, &other);
    if (rc == 0 && other != *id)
        rc = json_fail(&p->file, "%s%sid is %" PRIu64 " and zone_id is %" PRIu64 ": keep one of "
                       "them", where, where[0] ? ": " : "", *id, other);
    return rc;
}

static int read_zone(const struct parse *p, const char *where, json_t *object)
{
    static const char *const known[] = {"id", "zone_id", "memory_region", "devices", NULL};
    uint64_t id;
    int rc = read_id(p, where, object, &id);
    if (rc < 0)
        return rc;
    struct zone_plan *zone = plan_zone(&p->out->zones, (uint32_t)id, "", p->file.error);
    if (!zone)
        return -p->file.error->err;
    rc = warn_unknown(p, where, object, known, NULL);
    if (rc == 0)
        rc = read_memory(p, where, object, zone);
    if (rc < 0)
        return rc;
    const json_t *devices = json_list(&p->file, where, object, "devices", &rc);
    if (rc == 0)
        rc = read_devices(p, where, devices, (uint32_t)id, true);
    return rc == 0 ? read_devices(p, where, devices, (uint32_t)id, false) : rc;
}

static int read_zones(const struct parse *p, json_t *root)
{
    static const char *const known[] = {"zones", NULL};
    char where[JSON_WHERE_MAX];
    int rc;
    const json_t *zones = json_list(&p->file, "", root, "zones", &rc);
    for (size_t i = 0; i < json_array_size(zones) && rc == 0; i++) {
        json_t *zone = json_array_get(zones, i);
        snprintf(where, sizeof(where), "zones[%zu]", i);
        rc = check_device(p, where, zone);
        if (rc == 0)
            rc = read_zone(p, where, zone);
    }
    return rc == 0 ? warn_unknown(p, "", root, known, NULL) : rc;
}

static int read_root(const struct parse *p, json_t *root)
{
    char shown[JSON_SHOWN_MAX];
    if (!json_is_object(root))
        return json_fail(&p->file, "the file holds %s: write an object, {\"zones\": [...]}",
                         json_show(shown, root));
    if (json_object_get(root, "zones"))
        return read_zones(p, root);
    if (json_object_get(root, "memory_regions") || json_object_get(root, "kernel_filepath"))
        return json_fail(&p->file, "this is the configuration of a zone for hvisor, not of its "
                         "virtio devices: name the other file");
    bool one_zone = json_object_get(root, "id") || json_object_get(root, "zone_id") ||
                    json_object_get(root, "devices") || json_object_get(root, "memory_region");
    return one_zone ? read_zone(p, "", root) : read_zones(p, root);
}

/* ---- The file -------------------------------------------------------------------------------- */

/* By place in the file: those that are enabled were read first. */
static int in_order(const void *a, const void *b)
{
    const struct hvisor_json_device *one = a, *other = b;
    return strverscmp(one->where, other->where);
}

static int finish(const struct parse *p)
{
    struct hvisor_json *out = p->out;
    if (out->n_devices > 1)
        qsort(out->devices, out->n_devices, sizeof(out->devices[0]), in_order);
    if (out->n_unsaid == 0)
        return 0;
    out->n_warnings--; /* its place is needed for the number of those not said */
    free(out->warnings[out->n_warnings]);
    return warn(p, "%zu more warnings", out->n_unsaid + 1);
}

int hvisor_json_parse(struct hvisor_json *out, const char *text, size_t len, const char *file,
                      const char *dir, struct error *error)
{
    memset(out, 0, sizeof(*out));
    struct parse p = {out, {file, error}, dir};
    json_t *root = json_read(&p.file, text, len);
    if (!root)
        return -error->err;
    int rc = read_root(&p, root);
    json_decref(root);
    if (rc == 0)
        rc = finish(&p);
    if (rc < 0)
        hvisor_json_clear(out);
    return rc;
}

int hvisor_json_read(struct hvisor_json *out, const char *path, const char *cwd,
                     struct error *error)
{
    char *dir, *text;
    memset(out, 0, sizeof(*out));
    int rc = text_file_dir(&dir, path, cwd, "the file", error);
    if (rc < 0)
        return rc;
    rc = text_file_read(&text, path, error);
    if (rc == 0) {
        rc = hvisor_json_parse(out, text, strlen(text), path, dir, error);
        free(text);
    }
    free(dir);
    return rc;
}

void hvisor_json_clear(struct hvisor_json *json)
{
    plan_clear(&json->zones);
    for (size_t i = 0; i < json->n_specs; i++)
        spec_clear(&json->specs[i]);
    for (size_t i = 0; i < json->n_warnings; i++)
        free(json->warnings[i]);
    free(json->specs);
    free(json->devices);
    free(json->warnings);
    memset(json, 0, sizeof(*json));
}
