/* SPDX-License-Identifier: BSD-3-Clause */
/* plan.c - see plan.h. Pure; no thread of its own. */
#include "zone/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT 96 /* bytes for memory or a slot in an error */

static int no_memory(struct error *error)
{
    return error_set(error, ENOMEM, "out of memory for zones");
}

/* ---- Ranges ---------------------------------------------------------------------------------- */

/* Neither is empty nor goes beyond 2^64. */
static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a <= b + (b_size - 1) && b <= a + (a_size - 1);
}

static bool wraps(uint64_t start, uint64_t size)
{
    return start > UINT64_MAX - (size - 1);
}

/* Memory of a zone on `trap` comes from its monitor: where it is in the host is not said here. */
static bool host_counts(const struct zone_plan *zone)
{
    return strcmp(zone->platform, "trap") != 0;
}

static bool same_memory(const struct zone_plan *zone, const struct plan_memory *a,
                        const struct plan_memory *b)
{
    return a->guest == b->guest && a->size == b->size &&
           (a->host == b->host || !host_counts(zone));
}

static bool same_slot(const struct plan_slot *a, const struct plan_slot *b)
{
    return a->addr == b->addr && a->len == b->len && a->irq == b->irq;
}

static const char *show_memory(char *text, const struct zone_plan *zone,
                               const struct plan_memory *m)
{
    int n = snprintf(text, TEXT, "0x%" PRIx64 "-0x%" PRIx64, m->guest, m->guest + (m->size - 1));
    if (host_counts(zone))
        snprintf(text + n, TEXT - (size_t)n, " (host 0x%" PRIx64 ")", m->host);
    return text;
}

static const char *show_slot(char *text, const struct plan_slot *s)
{
    snprintf(text, TEXT, "0x%" PRIx64 "-0x%" PRIx64 " (irq %" PRIu32 ")", s->addr,
             s->addr + (s->len - 1), s->irq);
    return text;
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static int not_pages(const struct zone_plan *zone, const char *what, uint64_t value,
                     struct error *error)
{
    return error_set(error, EINVAL, "zone %" PRIu32 ": the %s of memory, 0x%" PRIx64 ", is not a "
                     "multiple of 0x%x: memory consists of whole pages", zone->id, what, value,
                     PLAN_PAGE);
}

static int check_memory(const struct zone_plan *zone, const struct plan_memory *m,
                        struct error *error)
{
    if (m->size == 0)
        return error_set(error, EINVAL, "zone %" PRIu32 ": memory at 0x%" PRIx64 " has the size "
                         "0: give it at least 0x%x bytes or leave it out", zone->id, m->guest,
                         PLAN_PAGE);
    if (m->host % PLAN_PAGE && host_counts(zone))
        return not_pages(zone, "host address", m->host, error);
    if (m->guest % PLAN_PAGE)
        return not_pages(zone, "guest address", m->guest, error);
    if (m->size % PLAN_PAGE)
        return not_pages(zone, "size", m->size, error);
    if (wraps(m->guest, m->size) || (host_counts(zone) && wraps(m->host, m->size)))
        return error_set(error, EINVAL, "zone %" PRIu32 ": memory at 0x%" PRIx64 " (host 0x%" PRIx64
                         ") with 0x%" PRIx64 " bytes goes beyond 2^64: make it smaller", zone->id,
                         m->guest, m->host, m->size);
    if (m->host == 0 && host_counts(zone))
        return error_set(error, EINVAL, "zone %" PRIu32 ": memory at 0x%" PRIx64 " has the host "
                         "address 0, which cannot be mapped: write where it is in physical memory",
                         zone->id, m->guest);
    return 0;
}

/* `m` is neither empty nor too long. */
static int check_memory_beside(const struct zone_plan *zone, const struct plan_memory *m,
                               struct error *error)
{
    char one[TEXT], other[TEXT];
    for (size_t i = 0; i < zone->n_memory; i++) {
        const struct plan_memory *o = &zone->memory[i];
        bool guest = overlap(m->guest, m->size, o->guest, o->size);
        if (guest || (host_counts(zone) && overlap(m->host, m->size, o->host, o->size)))
            return error_set(error, EEXIST, "zone %" PRIu32 ": memory %s overlaps memory %s%s: "
                             "keep one of them, or repeat the other exactly", zone->id,
                             show_memory(one, zone, m), show_memory(other, zone, o),
                             guest ? "" : " in the host");
    }
    for (size_t i = 0; i < zone->n_slots; i++)
        if (overlap(m->guest, m->size, zone->slots[i].addr, zone->slots[i].len))
            return error_set(error, EEXIST, "zone %" PRIu32 ": memory %s overlaps the slot %s: "
                             "accesses to memory are not seen, so move the slot", zone->id,
                             show_memory(one, zone, m), show_slot(other, &zone->slots[i]));
    return 0;
}

int plan_add_memory(struct zone_plan *zone, const struct plan_memory *memory, struct error *error)
{
    for (size_t i = 0; i < zone->n_memory; i++)
        if (same_memory(zone, &zone->memory[i], memory))
            return 1;
    int rc = check_memory(zone, memory, error);
    if (rc == 0)
        rc = check_memory_beside(zone, memory, error);
    if (rc < 0)
        return rc;
    if (zone->n_memory >= PLAN_MEMORY_MAX)
        return error_set(error, E2BIG, "zone %" PRIu32 ": memory at 0x%" PRIx64 " is one region "
                         "too many: at most %u fit, so join neighbours", zone->id, memory->guest,
                         PLAN_MEMORY_MAX);
    struct plan_memory *more = realloc(zone->memory, (zone->n_memory + 1) * sizeof(*more));
    if (!more)
        return no_memory(error);
    zone->memory = more;
    more[zone->n_memory++] = *memory;
    return 0;
}

/* ---- Slots ----------------------------------------------------------------------------------- */

static int check_slot(const struct zone_plan *zone, const struct plan_slot *s, struct error *error)
{
    if (s->len < PLAN_SLOT_LENGTH)
        return error_set(error, EINVAL, "zone %" PRIu32 ": the slot at 0x%" PRIx64 " has the "
                         "length 0x%" PRIx64 ": the registers of a device need 0x%x bytes",
                         zone->id, s->addr, s->len, PLAN_SLOT_LENGTH);
    if (s->addr % 4)
        return error_set(error, EINVAL, "zone %" PRIu32 ": the address of the slot at 0x%" PRIx64
                         " is not a multiple of 4: registers have 4 bytes", zone->id, s->addr);
    if (wraps(s->addr, s->len))
        return error_set(error, EINVAL, "zone %" PRIu32 ": the slot at 0x%" PRIx64 " with 0x%"
                         PRIx64 " bytes goes beyond 2^64: make it shorter", zone->id, s->addr,
                         s->len);
    return 0;
}

/* `s` is neither empty nor too long. */
static int check_slot_beside(const struct zone_plan *zone, const struct plan_slot *s,
                             struct error *error)
{
    char one[TEXT], other[TEXT];
    for (size_t i = 0; i < zone->n_slots; i++) {
        const struct plan_slot *o = &zone->slots[i];
        if (overlap(s->addr, s->len, o->addr, o->len))
            return error_set(error, EEXIST, "zone %" PRIu32 ": the slot %s overlaps the slot %s: "
                             "move one of them", zone->id, show_slot(one, s), show_slot(other, o));
        if (s->irq == o->irq)
            return error_set(error, EEXIST, "zone %" PRIu32 ": the slot %s has the irq of the slot "
                             "%s: give each its own", zone->id, show_slot(one, s),
                             show_slot(other, o));
    }
    for (size_t i = 0; i < zone->n_memory; i++)
        if (overlap(s->addr, s->len, zone->memory[i].guest, zone->memory[i].size))
            return error_set(error, EEXIST, "zone %" PRIu32 ": the slot %s overlaps memory %s: "
                             "accesses to memory are not seen, so move the slot", zone->id,
                             show_slot(one, s), show_memory(other, zone, &zone->memory[i]));
    return 0;
}

int plan_add_slot(struct zone_plan *zone, const struct plan_slot *slot, struct error *error)
{
    for (size_t i = 0; i < zone->n_slots; i++)
        if (same_slot(&zone->slots[i], slot))
            return 1;
    int rc = check_slot(zone, slot, error);
    if (rc == 0)
        rc = check_slot_beside(zone, slot, error);
    if (rc < 0)
        return rc;
    if (zone->n_slots >= PLAN_SLOTS_MAX)
        return error_set(error, E2BIG, "zone %" PRIu32 ": the slot at 0x%" PRIx64 " is one too "
                         "many: a zone has at most %u", zone->id, slot->addr, PLAN_SLOTS_MAX);
    struct plan_slot *more = realloc(zone->slots, (zone->n_slots + 1) * sizeof(*more));
    if (!more)
        return no_memory(error);
    zone->slots = more;
    more[zone->n_slots++] = *slot;
    return 0;
}

/* ---- Zones ----------------------------------------------------------------------------------- */

struct zone_plan *plan_find(const struct zone_plans *plans, uint32_t id)
{
    for (size_t i = 0; i < plans->n; i++)
        if (plans->zones[i].id == id)
            return &plans->zones[i];
    return NULL;
}

static int check_zone(uint32_t id, const char *platform, struct error *error)
{
    if (id >= PLAN_ZONES_MAX)
        return error_set(error, EINVAL, "zone %" PRIu32 " is out of range: there are at most %u "
                         "zones, with ids from 0 to %u", id, PLAN_ZONES_MAX, PLAN_ZONES_MAX - 1);
    if (platform[0] && strcmp(platform, "hvisor") != 0 && strcmp(platform, "trap") != 0)
        return error_set(error, EINVAL, "zone %" PRIu32 ": \"%.64s\" is not a platform: write "
                         "\"hvisor\" or \"trap\"", id, platform);
    return 0;
}

static int set_platform(struct zone_plan *zone, const char *platform, struct error *error)
{
    if (platform[0] && zone->platform[0] && strcmp(zone->platform, platform) != 0)
        return error_set(error, EEXIST, "zone %" PRIu32 " is declared for the platform %s and for "
                         "%s: keep one", zone->id, zone->platform, platform);
    if (platform[0])
        snprintf(zone->platform, sizeof(zone->platform), "%s", platform);
    return 0;
}

struct zone_plan *plan_zone(struct zone_plans *plans, uint32_t id, const char *platform,
                            struct error *error)
{
    struct zone_plan *zone = plan_find(plans, id);
    if (check_zone(id, platform, error) < 0)
        return NULL;
    if (!zone) {
        struct zone_plan *more = realloc(plans->zones, (plans->n + 1) * sizeof(*more));
        if (!more) {
            no_memory(error);
            return NULL;
        }
        plans->zones = more;
        zone = &more[plans->n++];
        memset(zone, 0, sizeof(*zone));
        zone->id = id;
    }
    return set_platform(zone, platform, error) < 0 ? NULL : zone;
}

static void clear_zone(struct zone_plan *zone)
{
    free(zone->memory);
    free(zone->slots);
}

void plan_clear(struct zone_plans *plans)
{
    for (size_t i = 0; i < plans->n; i++)
        clear_zone(&plans->zones[i]);
    free(plans->zones);
    memset(plans, 0, sizeof(*plans));
}

/* ---- Merging --------------------------------------------------------------------------------- */

static int copy_zone(struct zone_plan *to, const struct zone_plan *from)
{
    *to = *from;
    to->memory = calloc(from->n_memory + 1, sizeof(to->memory[0]));
    to->slots = calloc(from->n_slots + 1, sizeof(to->slots[0]));
    if (!to->memory || !to->slots) {
        clear_zone(to);
        return -ENOMEM;
    }
    for (size_t i = 0; i < from->n_memory; i++)
        to->memory[i] = from->memory[i];
    for (size_t i = 0; i < from->n_slots; i++)
        to->slots[i] = from->slots[i];
    return 0;
}

int plan_copy(struct zone_plans *copy, const struct zone_plans *plans)
{
    memset(copy, 0, sizeof(*copy));
    copy->zones = calloc(plans->n + 1, sizeof(copy->zones[0]));
    if (!copy->zones)
        return -ENOMEM;
    while (copy->n < plans->n && copy_zone(&copy->zones[copy->n], &plans->zones[copy->n]) == 0)
        copy->n++;
    if (copy->n == plans->n)
        return 0;
    plan_clear(copy);
    return -ENOMEM;
}

/* Adds what `zone` has to `to`, and to `fresh` what of that is new; `fresh` may have too little. */
static int merge_contents(struct zone_plan *to, const struct zone_plan *zone,
                          struct zone_plan *fresh, struct error *error)
{
    int rc = 0;
    for (size_t i = 0; i < zone->n_memory && rc >= 0; i++) {
        rc = plan_add_memory(to, &zone->memory[i], error);
        if (rc == 0)
            rc = plan_add_memory(fresh, &zone->memory[i], error);
    }
    for (size_t i = 0; i < zone->n_slots && rc >= 0; i++) {
        rc = plan_add_slot(to, &zone->slots[i], error);
        if (rc == 0)
            rc = plan_add_slot(fresh, &zone->slots[i], error);
    }
    return rc < 0 ? rc : 0;
}

static int merge_zone(struct zone_plans *into, const struct zone_plan *zone,
                      struct zone_plans *fresh, struct error *error)
{
    bool is_new = !plan_find(into, zone->id);
    const char *platform = is_new && !zone->platform[0] ? "hvisor" : zone->platform;
    struct zone_plan *to = plan_zone(into, zone->id, platform, error);
    struct zone_plan *brought = to ? plan_zone(fresh, zone->id, to->platform, error) : NULL;
    if (!brought)
        return -error->err;
    brought->is_new |= is_new;
    return merge_contents(to, zone, brought, error);
}

/* Takes zones out of `fresh` that bring nothing. */
static void drop_empty(struct zone_plans *fresh)
{
    size_t n = 0;
    for (size_t i = 0; i < fresh->n; i++) {
        struct zone_plan *zone = &fresh->zones[i];
        if (zone->is_new || zone->n_memory > 0 || zone->n_slots > 0)
            fresh->zones[n++] = *zone;
        else
            clear_zone(zone);
    }
    fresh->n = n;
}

int plan_merge(struct zone_plans *into, const struct zone_plans *more, struct zone_plans *fresh,
               struct error *error)
{
    struct zone_plans all, brought = {0};
    if (fresh)
        memset(fresh, 0, sizeof(*fresh));
    if (plan_copy(&all, into) < 0)
        return no_memory(error);
    int rc = 0;
    for (size_t i = 0; i < more->n && rc == 0; i++)
        rc = merge_zone(&all, &more->zones[i], &brought, error);
    if (rc < 0) {
        plan_clear(&all);
        plan_clear(&brought);
        return rc;
    }
    plan_clear(into);
    *into = all;
    drop_empty(&brought);
    if (fresh)
        *fresh = brought;
    else
        plan_clear(&brought);
    return 0;
}

int plan_check(const struct zone_plans *plans, struct error *error)
{
    struct zone_plans all = {0};
    int rc = plan_merge(&all, plans, NULL, error);
    plan_clear(&all);
    return rc;
}

static void take_back_zone(struct zone_plan *zone, const struct zone_plan *fresh)
{
    size_t n = 0;
    for (size_t i = 0; i < zone->n_memory; i++) {
        bool keep = true;
        for (size_t f = 0; f < fresh->n_memory; f++)
            keep = keep && !same_memory(zone, &zone->memory[i], &fresh->memory[f]);
        if (keep)
            zone->memory[n++] = zone->memory[i];
    }
    zone->n_memory = n;
    n = 0;
    for (size_t i = 0; i < zone->n_slots; i++) {
        bool keep = true;
        for (size_t f = 0; f < fresh->n_slots; f++)
            keep = keep && !same_slot(&zone->slots[i], &fresh->slots[f]);
        if (keep)
            zone->slots[n++] = zone->slots[i];
    }
    zone->n_slots = n;
}

void plan_take_back(struct zone_plans *into, const struct zone_plans *fresh)
{
    for (size_t i = 0; i < fresh->n; i++) {
        struct zone_plan *zone = plan_find(into, fresh->zones[i].id);
        if (!zone)
            continue;
        take_back_zone(zone, &fresh->zones[i]);
        if (!fresh->zones[i].is_new || zone->n_memory > 0 || zone->n_slots > 0)
            continue;
        clear_zone(zone);
        size_t at = (size_t)(zone - into->zones);
        memmove(zone, zone + 1, (into->n - at - 1) * sizeof(*zone));
        into->n--;
    }
}

/* ---- Numbers --------------------------------------------------------------------------------- */

int plan_number(const char *text, uint64_t *number)
{
    bool hex = text[0] == '0' && (text[1] | 0x20) == 'x';
    const char *allowed = hex              ? "0123456789abcdefABCDEF"
                          : text[0] == '0' ? "01234567"
                                           : "0123456789";
    const char *digits = hex ? text + 2 : text;
    size_t len = strspn(digits, allowed);
    if (len == 0 || digits[len])
        return -EINVAL;
    errno = 0;
    unsigned long long n = strtoull(digits, NULL, hex ? 16 : text[0] == '0' ? 8 : 10);
    if (errno == ERANGE)
        return -ERANGE;
    *number = n;
    return 0;
}
