/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crosscheck.c - see crosscheck.h. Pure; no thread of its own.
 *
 * In a zone's file a region of memory is at virtual_start for the zone and at physical_start for
 * the host; a virtio region is where the zone's accesses are trapped, at physical_start.
 */
#include "zone/crosscheck.h"

#include "zone/json-read.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REGIONS_MAX 1024u    /* hvisor takes 64 */
#define INTERRUPTS_MAX 4096u

enum region_type { REGION_RAM, REGION_IO, REGION_VIRTIO, REGION_OTHER };

struct region {
    enum region_type type;
    const char *type_name;
    uint64_t host, guest, size;
    size_t index; /* in the file */
};

/* A comparison under way. */
struct compare {
    struct crosscheck *out;
    struct json_file file;
    const struct zone_plan *plan;
    struct region *regions; /* sorted by guest address */
    size_t n_regions;
    const json_t *interrupts; /* or NULL */
    bool x86;
    bool no_memory;
};

/* ---- Lines ----------------------------------------------------------------------------------- */

static void add_line(struct compare *c, const char *where, bool spare, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void add_line(struct compare *c, const char *where, bool spare, const char *fmt, ...)
{
    struct crosscheck *out = c->out;
    struct crosscheck_line *more = realloc(out->lines, (out->n_lines + 1) * sizeof(*more));
    va_list args;
    char *text;
    if (!more) {
        c->no_memory = true;
        return;
    }
    out->lines = more;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0) {
        c->no_memory = true;
        return;
    }
    struct crosscheck_line *line = &more[out->n_lines++];
    snprintf(line->where, sizeof(line->where), "%s", where);
    line->text = text;
    line->spare = spare;
}

void crosscheck_clear(struct crosscheck *check)
{
    for (size_t i = 0; i < check->n_lines; i++)
        free(check->lines[i].text);
    free(check->lines);
    memset(check, 0, sizeof(*check));
}

/* ---- The zone's file ------------------------------------------------------------------------- */

static enum region_type type_of(const char *name)
{
    if (strcmp(name, "ram") == 0)
        return REGION_RAM;
    if (strcmp(name, "virtio") == 0)
        return REGION_VIRTIO;
    return strcmp(name, "io") == 0 ? REGION_IO : REGION_OTHER;
}

static int read_region(struct compare *c, const char *where, const json_t *object, struct region *r)
{
    char shown[JSON_SHOWN_MAX];
    const json_t *type = json_object_get(object, "type");
    if (!json_is_object(object))
        return json_fail(&c->file, "%s is %s: write an object, {...}", where,
                         json_show(shown, object));
    if (!json_is_string(type))
        return json_fail(&c->file, "%s.type is %s: write \"ram\", \"io\" or \"virtio\"", where,
                         type ? json_show(shown, type) : "missing");
    int rc = json_member(&c->file, where, object, "physical_start", UINT64_MAX, &r->host);
    if (rc == 0)
        rc = json_member(&c->file, where, object, "virtual_start", UINT64_MAX, &r->guest);
    if (rc == 0)
        rc = json_member(&c->file, where, object, "size", UINT64_MAX, &r->size);
    if (rc < 0)
        return rc;
    r->type_name = json_string_value(type);
    r->type = type_of(r->type_name);
    if (r->type == REGION_VIRTIO)
        r->guest = r->host;
    if (r->size == 0 || r->guest > UINT64_MAX - (r->size - 1) ||
        r->host > UINT64_MAX - (r->size - 1))
        return json_fail(&c->file, "%s.size is 0x%" PRIx64 ": write how many bytes the region has, "
                         "which ends below 2^64", where, r->size);
    return 0;
}

static int by_guest(const void *a, const void *b)
{
    const struct region *one = a, *other = b;
    if (one->guest != other->guest)
        return one->guest < other->guest ? -1 : 1;
    return one->index < other->index ? -1 : 1;
}

static int read_regions(struct compare *c, const json_t *root)
{
    char where[JSON_WHERE_MAX];
    int rc;
    const json_t *list = json_list(&c->file, "", root, "memory_regions", &rc);
    size_t n = json_array_size(list);
    if (rc < 0)
        return rc;
    if (!list)
        return json_fail(&c->file, "memory_regions is missing: is it the file of a zone?");
    if (n > REGIONS_MAX)
        return json_fail(&c->file, "memory_regions has %zu members: at most %u are compared", n,
                         REGIONS_MAX);
    c->regions = calloc(n + 1, sizeof(c->regions[0]));
    if (!c->regions)
        return error_set(c->file.error, ENOMEM, "out of memory for %.200s", c->file.name);
    for (size_t i = 0; i < n && rc == 0; i++) {
        snprintf(where, sizeof(where), "memory_regions[%zu]", i);
        c->regions[i].index = i;
        rc = read_region(c, where, json_array_get(list, i), &c->regions[i]);
    }
    c->n_regions = n;
    if (rc == 0 && n > 1)
        qsort(c->regions, n, sizeof(c->regions[0]), by_guest);
    return rc;
}

static int read_interrupts(struct compare *c, const json_t *root)
{
    int rc;
    c->interrupts = json_list(&c->file, "", root, "interrupts", &rc);
    if (json_array_size(c->interrupts) > INTERRUPTS_MAX)
        return json_fail(&c->file, "interrupts has %zu members: at most %u are compared",
                         json_array_size(c->interrupts), INTERRUPTS_MAX);
    for (size_t i = 0; i < json_array_size(c->interrupts) && rc == 0; i++) {
        char path[JSON_WHERE_MAX];
        uint64_t ignored;
        snprintf(path, sizeof(path), "interrupts[%zu]", i);
        rc = json_number(&c->file, path, json_array_get(c->interrupts, i), UINT32_MAX, &ignored);
    }
    return rc;
}

static int read_zone(struct compare *c, const json_t *root)
{
    uint64_t id;
    char shown[JSON_SHOWN_MAX];
    if (!json_is_object(root))
        return json_fail(&c->file, "the file holds %s: is it the file of a zone?",
                         json_show(shown, root));
    int rc = json_member(&c->file, "", root, "zone_id", UINT32_MAX, &id);
    if (rc < 0)
        return rc;
    const char *arch = json_string_value(json_object_get(root, "arch"));
    c->x86 = arch && strcmp(arch, "x86_64") == 0;
    c->out->zone = (uint32_t)id;
    rc = read_regions(c, root);
    return rc == 0 ? read_interrupts(c, root) : rc;
}

/* ---- Regions among themselves ---------------------------------------------------------------- */

static uint64_t last_of(const struct region *r)
{
    return r->guest + (r->size - 1);
}

/* Each with the one before it that reaches furthest, so that lines stay few. */
static void compare_regions(struct compare *c)
{
    const struct region *far = NULL;
    for (size_t i = 0; i < c->n_regions; i++) {
        const struct region *r = &c->regions[i];
        char where[JSON_WHERE_MAX];
        snprintf(where, sizeof(where), "memory_regions[%zu]", r->index);
        if (far && r->guest <= last_of(far))
            add_line(c, where, false, "the %s region 0x%" PRIx64 "-0x%" PRIx64 " overlaps the %s "
                     "region 0x%" PRIx64 "-0x%" PRIx64 " (memory_regions[%zu])", r->type_name,
                     r->guest, last_of(r), far->type_name, far->guest, last_of(far), far->index);
        if (!far || last_of(r) > last_of(far))
            far = r;
    }
}

/* ---- Devices --------------------------------------------------------------------------------- */

/* The region that has the address, one of `type` rather than another. */
static const struct region *find_region(const struct compare *c, uint64_t guest,
                                        enum region_type type)
{
    const struct region *found = NULL;
    for (size_t i = 0; i < c->n_regions; i++) {
        const struct region *r = &c->regions[i];
        if (guest >= r->guest && guest <= last_of(r) && (!found || r->type == type))
            found = r;
    }
    return found;
}

static void compare_place(struct compare *c, const struct hvisor_json_device *dev)
{
    uint64_t first = dev->slot.addr, last = first + (dev->slot.len - 1);
    const struct region *r = find_region(c, first, REGION_VIRTIO);
    if (!r)
        add_line(c, dev->where, !dev->enabled, "0x%" PRIx64 "-0x%" PRIx64 " is in no region of the "
                 "zone: add a virtio region with this physical_start", first, last);
    else if (r->type != REGION_VIRTIO)
        add_line(c, dev->where, !dev->enabled, "0x%" PRIx64 "-0x%" PRIx64 " is in the %s region 0x%"
                 PRIx64 "-0x%" PRIx64 " (memory_regions[%zu]): it has to be a virtio region", first,
                 last, r->type_name, r->guest, last_of(r), r->index);
    else if (last > last_of(r))
        add_line(c, dev->where, !dev->enabled, "0x%" PRIx64 "-0x%" PRIx64 " goes beyond the virtio "
                 "region 0x%" PRIx64 "-0x%" PRIx64 " (memory_regions[%zu]): make it larger", first,
                 last, r->guest, last_of(r), r->index);
}

/* On x86_64 the list has only interrupts of passed-through hardware. */
static void compare_irq(struct compare *c, const struct hvisor_json_device *dev)
{
    if (c->x86)
        return;
    for (size_t i = 0; i < json_array_size(c->interrupts); i++) {
        struct error why = {0};
        struct json_file quiet = {"", &why};
        uint64_t irq = 0;
        json_number(&quiet, "", json_array_get(c->interrupts, i), UINT32_MAX, &irq);
        if (irq == dev->slot.irq)
            return;
    }
    add_line(c, dev->where, !dev->enabled, "irq %" PRIu32 " is not in interrupts: add it there",
             dev->slot.irq);
}

static void compare_devices(struct compare *c, const struct hvisor_json *virtio)
{
    for (size_t i = 0; i < virtio->n_devices; i++) {
        const struct hvisor_json_device *dev = &virtio->devices[i];
        if (dev->zone != c->out->zone || !dev->has_slot)
            continue;
        c->out->n_devices += dev->enabled;
        compare_place(c, dev);
        compare_irq(c, dev);
    }
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* The first RAM that ends at `guest` or behind it. */
static const struct region *ram_from(const struct compare *c, uint64_t guest)
{
    for (size_t i = 0; i < c->n_regions; i++)
        if (c->regions[i].type == REGION_RAM && last_of(&c->regions[i]) >= guest)
            return &c->regions[i];
    return NULL;
}

static const struct plan_memory *memory_from(const struct compare *c, uint64_t guest)
{
    const struct plan_memory *first = NULL;
    for (size_t i = 0; i < c->plan->n_memory; i++) {
        const struct plan_memory *m = &c->plan->memory[i];
        if (m->guest + (m->size - 1) >= guest && (!first || m->guest < first->guest))
            first = m;
    }
    return first;
}

static void memory_where(const struct compare *c, char *where)
{
    snprintf(where, JSON_WHERE_MAX, "zone %" PRIu32 ", memory_region", c->plan->id);
}

/* `m` from `at` on, in the RAM `r`, which starts at `at` or before. */
static void compare_host(struct compare *c, const struct plan_memory *m, uint64_t at,
                         const struct region *r)
{
    char where[JSON_WHERE_MAX];
    uint64_t said = m->host + (at - m->guest), is = r->host + (at - r->guest);
    memory_where(c, where);
    if (said != is)
        add_line(c, where, false, "memory at 0x%" PRIx64 " is at 0x%" PRIx64 " in the host "
                 "(zone0_ipa), but at 0x%" PRIx64 " says the ram region with the virtual_start 0x%"
                 PRIx64 " (memory_regions[%zu])", at, said, is, r->guest, r->index);
}

/* Is all that the virtio file calls memory RAM of the zone, at the same place in the host? */
static void compare_memory(struct compare *c, const struct plan_memory *m)
{
    char where[JSON_WHERE_MAX];
    uint64_t at = m->guest, last = m->guest + (m->size - 1);
    memory_where(c, where);
    c->out->n_memory++;
    for (;;) {
        const struct region *r = ram_from(c, at);
        uint64_t gap_last = r && r->guest <= last ? r->guest - 1 : last;
        if (!r || r->guest > at)
            add_line(c, where, false, "0x%" PRIx64 "-0x%" PRIx64 " of the memory at 0x%" PRIx64
                     " is not ram of the zone", at, gap_last, m->guest);
        if (!r || r->guest > last)
            return;
        at = r->guest > at ? r->guest : at;
        compare_host(c, m, at, r);
        if (last_of(r) >= last)
            return;
        at = last_of(r) + 1;
    }
}

/* Is all RAM of the zone in the virtio file? A driver may put its buffers anywhere. */
static void compare_ram(struct compare *c, const struct region *r)
{
    char where[JSON_WHERE_MAX];
    uint64_t at = r->guest, last = last_of(r);
    snprintf(where, sizeof(where), "memory_regions[%zu]", r->index);
    for (;;) {
        const struct plan_memory *m = memory_from(c, at);
        uint64_t gap_last = m && m->guest <= last ? m->guest - 1 : last;
        if (!m || m->guest > at)
            add_line(c, where, false, "ram at 0x%" PRIx64 "-0x%" PRIx64 " is in no memory_region "
                     "of the virtio file: devices cannot reach buffers there", at, gap_last);
        if (!m || m->guest + (m->size - 1) >= last)
            return;
        at = m->guest + (m->size - 1) + 1;
        if (m->guest > last)
            return;
    }
}

/* ---- All of it ------------------------------------------------------------------------------- */

static void compare_all(struct compare *c, const struct hvisor_json *virtio)
{
    compare_regions(c);
    c->plan = plan_find(&virtio->zones, c->out->zone);
    if (!c->plan) {
        char ids[128] = "";
        size_t at = 0;
        for (size_t i = 0; i < virtio->zones.n && at < sizeof(ids) - 16; i++)
            at += (size_t)snprintf(ids + at, sizeof(ids) - at, "%s%" PRIu32, i ? ", " : "",
                                   virtio->zones.zones[i].id);
        add_line(c, "zone_id", false, "zone_id is %" PRIu32 ", and the virtio file has %s%s",
                 c->out->zone, ids[0] ? "only these zones: " : "no zones", ids);
        return;
    }
    compare_devices(c, virtio);
    for (size_t i = 0; i < c->plan->n_memory; i++)
        compare_memory(c, &c->plan->memory[i]);
    for (size_t i = 0; i < c->n_regions; i++)
        if (c->regions[i].type == REGION_RAM)
            compare_ram(c, &c->regions[i]);
}

int crosscheck(struct crosscheck *out, const struct hvisor_json *virtio, const char *text,
               size_t len, const char *file, struct error *error)
{
    struct compare c = {.out = out, .file = {file, error}};
    memset(out, 0, sizeof(*out));
    json_t *root = json_read(&c.file, text, len);
    if (!root)
        return -error->err;
    int rc = read_zone(&c, root);
    if (rc == 0)
        compare_all(&c, virtio);
    if (c.no_memory)
        rc = error_set(error, ENOMEM, "out of memory for %.200s", file);
    free(c.regions);
    json_decref(root);
    if (rc < 0)
        crosscheck_clear(out);
    return rc;
}
