/* SPDX-License-Identifier: BSD-3-Clause */
/* zone.c - zones and their slots as they are declared and forgotten; see zone.h. Control thread. */
#include "zone/zone.h"

#include "transport/hvisor/hvisor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void zones_init(struct zones *zones, struct daemon *daemon)
{
    zones->daemon = daemon;
    TAILQ_INIT(&zones->list);
}

static void slot_free(struct slot *slot)
{
    TAILQ_REMOVE(&slot->zone->slots, slot, link);
    free(slot);
}

static void zone_free(struct zone *zone)
{
    while (!TAILQ_EMPTY(&zone->slots))
        slot_free(TAILQ_FIRST(&zone->slots));
    TAILQ_REMOVE(&zone->zones->list, zone, link);
    free(zone);
}

void zones_clear(struct zones *zones)
{
    while (!TAILQ_EMPTY(&zones->list))
        zone_free(TAILQ_FIRST(&zones->list));
    plan_clear(&zones->plans);
}

struct zone *zone_find(const struct zones *zones, uint32_t id)
{
    struct zone *zone;
    TAILQ_FOREACH(zone, &zones->list, link)
        if (zone->id == id)
            return zone;
    return NULL;
}

const char *zone_platform(const struct zone *zone)
{
    return plan_find(&zone->zones->plans, zone->id)->platform;
}

static struct slot *slot_at(const struct zone *zone, uint64_t addr)
{
    struct slot *slot;
    TAILQ_FOREACH(slot, &zone->slots, link)
        if (slot->addr == addr)
            return slot;
    return NULL;
}

static struct zone *new_zone(struct zones *zones, uint32_t id)
{
    struct zone *before, *zone = calloc(1, sizeof(*zone));
    if (!zone)
        return NULL;
    zone->zones = zones;
    zone->id = id;
    TAILQ_INIT(&zone->slots);
    TAILQ_FOREACH(before, &zones->list, link)
        if (before->id > id)
            break;
    if (before)
        TAILQ_INSERT_BEFORE(before, zone, link);
    else
        TAILQ_INSERT_TAIL(&zones->list, zone, link);
    return zone;
}

static int new_slot(struct zone *zone, const struct plan_slot *plan)
{
    struct slot *before, *slot = calloc(1, sizeof(*slot));
    if (!slot)
        return -ENOMEM;
    *slot = (struct slot){.zone = zone, .addr = plan->addr, .len = plan->len, .irq = plan->irq};
    TAILQ_FOREACH(before, &zone->slots, link)
        if (before->addr > slot->addr)
            break;
    if (before)
        TAILQ_INSERT_BEFORE(before, slot, link);
    else
        TAILQ_INSERT_TAIL(&zone->slots, slot, link);
    zone->changed = zone->at;
    return 0;
}

static int no_memory(const struct zone_plan *plan, struct error *error)
{
    return error_set(error, ENOMEM, "out of memory for zone %u", plan->id);
}

/* hvisor's zones are there without anybody telling us: what can fail in serving them is done here. */
static int map_memory(struct zone *zone, const struct zone_plan *fresh, struct error *error)
{
    const struct zone_plan *plan = plan_find(&zone->zones->plans, zone->id);
    if (fresh->n_memory == 0 || strcmp(plan->platform, "hvisor") != 0)
        return 0;
    if (!zone->zones->hvisor)
        return error_set(error, ENODEV, "zone %u is one of hvisor's, and this daemon was started "
                         "without --hvisor", zone->id);
    if (zone->memory)
        return error_set(error, EBUSY, "zone %u is served with the memory it has, there cannot be "
                         "more at 0x%" PRIx64 "; remove the zone and its devices first", zone->id,
                         fresh->memory[0].guest);
    zone->memory = hvisor_map(zone->zones->hvisor, fresh, error);
    return zone->memory ? 0 : -error->err;
}

static int realise(struct zones *zones, const struct zone_plans *fresh, struct error *error)
{
    for (size_t i = 0; i < fresh->n; i++) {
        const struct zone_plan *plan = &fresh->zones[i];
        struct zone *zone = zone_find(zones, plan->id);
        if (!zone && !(zone = new_zone(zones, plan->id)))
            return no_memory(plan, error);
        zone->unsure = plan->is_new;
        for (size_t k = 0; k < plan->n_slots; k++)
            if (new_slot(zone, &plan->slots[k]) < 0)
                return no_memory(plan, error);
        if (map_memory(zone, plan, error) < 0)
            return -error->err;
    }
    return 0;
}

/* What the operator declares stays until he takes it back. */
static void keep(struct zones *zones, const struct zone_plans *plans)
{
    for (size_t i = 0; i < plans->n; i++) {
        struct zone *zone = zone_find(zones, plans->zones[i].id);
        zone->kept = true;
        for (size_t k = 0; k < plans->zones[i].n_slots; k++)
            slot_at(zone, plans->zones[i].slots[k].addr)->kept = true;
    }
}

/* Nobody builds on what may be taken back. */
int zone_sure(const struct zone *zone, struct error *error)
{
    return zone && zone->unsure ? error_set(error, EAGAIN, "zone %u is being added by a request that "
                                            "is not finished; try again", zone->id) : 0;
}

int zones_declare(struct zones *zones, const struct zone_plans *plans, bool kept,
                  struct zone_plans *fresh, struct error *error)
{
    for (size_t i = 0; i < plans->n; i++)
        if (zone_sure(zone_find(zones, plans->zones[i].id), error) < 0)
            return -error->err;
    int rc = plan_merge(&zones->plans, plans, fresh, error);
    if (rc < 0)
        return rc;
    if (realise(zones, fresh, error) < 0) {
        zones_take_back(zones, fresh);
        return -error->err;
    }
    if (kept)
        keep(zones, plans);
    return 0;
}

void zones_accept(struct zones *zones, struct zone_plans *fresh)
{
    for (size_t i = 0; i < fresh->n; i++)
        zone_find(zones, fresh->zones[i].id)->unsure = false;
    plan_clear(fresh);
    zones_show(zones);
}

void zones_take_back(struct zones *zones, struct zone_plans *fresh)
{
    plan_take_back(&zones->plans, fresh);
    for (size_t i = 0; i < fresh->n; i++) {
        const struct zone_plan *plan = &fresh->zones[i];
        struct zone *zone = zone_find(zones, plan->id);
        for (size_t k = 0; zone && k < plan->n_slots; k++) {
            struct slot *slot = slot_at(zone, plan->slots[k].addr);
            if (slot)
                slot_free(slot);
        }
        if (!zone)
            continue;
        zone->changed = zone->at;
        if (!zone->at && plan->n_memory > 0) {
            memory_put(zone->memory);
            zone->memory = NULL;
        }
        if (plan->is_new)
            zone_free(zone);
    }
    plan_clear(fresh);
}

/* Slots nobody keeps or took, and the memory, are for whoever comes next to say. */
static void forget_unused(struct zone *zone)
{
    struct zone_plan *plan = plan_find(&zone->zones->plans, zone->id);
    struct slot *slot, *next;
    plan->n_memory = 0;
    plan->n_slots = 0;
    for (slot = TAILQ_FIRST(&zone->slots); slot; slot = next) {
        next = TAILQ_NEXT(slot, link);
        if (slot->kept || slot->taken[0])
            plan->slots[plan->n_slots++] =
                (struct plan_slot){.addr = slot->addr, .len = slot->len, .irq = slot->irq};
        else
            slot_free(slot);
    }
}

void zone_put(struct zone *zone)
{
    struct zone_plan gone = {.id = zone->id, .is_new = true};
    struct zone_plans plans = {.zones = &gone, .n = 1};
    if (zone->at)
        return;
    if (strcmp(zone_platform(zone), "trap") == 0 || !zone->kept)
        forget_unused(zone);
    if (zone->kept || !TAILQ_EMPTY(&zone->slots))
        return;
    plan_take_back(&zone->zones->plans, &plans);
    zone_free(zone);
}

static void forget(struct zone *zone, void *arg)
{
    (void)arg;
    zone_put(zone);
}

int zone_give_up(struct zone *zone, struct error *error)
{
    struct slot *slot;
    TAILQ_FOREACH(slot, &zone->slots, link)
        if (slot->taken[0])
            return error_set(error, EBUSY, "device %s is in zone %u: remove it first", slot->taken,
                             zone->id);
    TAILQ_FOREACH(slot, &zone->slots, link)
        slot->kept = false;
    zone->kept = false;
    if (zone->at && strcmp(zone_platform(zone), "hvisor") == 0)
        zone_stop(zone, forget, NULL);
    else
        zone_put(zone);
    return 0;
}
