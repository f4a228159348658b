/* SPDX-License-Identifier: BSD-3-Clause */
/* zone.c - see zone.h. Control thread. */
#include "zone/zone.h"

#include "daemon.h"
#include "device/create.h"
#include "transport/bridge/access.h"
#include "transport/hvisor/hvisor.h"
#include "transport/mmio/mmio.h"
#include "util/patience.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void show(struct zones *zones);

/* ---- zones and slots ------------------------------------------------------------------------- */

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
static int check_sure(const struct zone *zone, struct error *error)
{
    return zone && zone->unsure ? error_set(error, EAGAIN, "zone %u is being added by a request that "
                                            "is not finished; try again", zone->id) : 0;
}

int zones_declare(struct zones *zones, const struct zone_plans *plans, bool kept,
                  struct zone_plans *fresh, struct error *error)
{
    for (size_t i = 0; i < plans->n; i++)
        if (check_sure(zone_find(zones, plans->zones[i].id), error) < 0)
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
    show(zones);
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

/* ---- where a device goes --------------------------------------------------------------------- */

static const char *option_text(const struct spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->n_options; i++)
        if (spec->options[i].name && strcmp(spec->options[i].name, name) == 0)
            return spec->options[i].value;
    return NULL;
}

/* 1 and the number, 0 if the option is not there, -errno. */
static int option_number(const struct spec *spec, const char *name, uint64_t *number,
                         struct error *error)
{
    const char *text = option_text(spec, name);
    struct option_value value;
    if (!text)
        return 0;
    int rc = option_parse(&value, option_find(&host_options, name), text, NULL, error);
    *number = rc < 0 ? 0 : value.u64;
    return rc < 0 ? rc : 1;
}

static int no_zone_named(const struct zones *zones, struct error *error)
{
    char list[PLAN_ZONES_MAX * 4] = "";
    const struct zone *zone;
    TAILQ_FOREACH(zone, &zones->list, link)
        snprintf(list + strlen(list), sizeof(list) - strlen(list), " %u", zone->id);
    return error_option(error, EINVAL, "zone", "there is more than one zone:%s; say which with "
                        "zone=, or give a vhost-user socket= instead", list);
}

/* The zone, or NULL for a vhost-user socket. */
static int choose_zone(struct zones *zones, const struct spec *spec, struct zone **zone,
                       struct error *error)
{
    uint64_t id;
    int rc = option_number(spec, "zone", &id, error);
    *zone = NULL;
    if (rc < 0)
        return rc;
    if (option_text(spec, "socket")) {
        if (rc > 0)
            return error_option(error, EINVAL, "socket", "a device has a zone= or a vhost-user "
                                "socket=, not both");
        return 0;
    }
    if (rc > 0) {
        *zone = id < PLAN_ZONES_MAX ? zone_find(zones, (uint32_t)id) : NULL;
        return *zone ? 0 : error_option(error, ENOENT, "zone", "there is no zone %" PRIu64 "; "
                                        "declare it, or start its monitor", id);
    }
    *zone = TAILQ_FIRST(&zones->list);
    if (*zone && TAILQ_NEXT(*zone, link))
        return no_zone_named(zones, error);
    return 0;
}

static int slot_is_free(const struct slot *slot, struct error *error)
{
    if (!slot->taken[0])
        return 0;
    return error_option(error, EBUSY, "addr", "slot 0x%" PRIx64 " of zone %u is taken by device %s",
                        slot->addr, slot->zone->id, slot->taken);
}

static int choose_slot(struct zone *zone, const struct spec *spec, struct slot **found,
                       struct error *error)
{
    uint64_t addr, irq;
    int by_addr = option_number(spec, "addr", &addr, error);
    int by_irq = option_number(spec, "irq", &irq, error);
    struct slot *s;
    if (by_addr < 0 || by_irq < 0)
        return -error->err;
    TAILQ_FOREACH(s, &zone->slots, link) {
        if ((by_addr && s->addr != addr) || (by_irq && s->irq != irq) ||
            (!by_addr && !by_irq && s->taken[0]))
            continue;
        *found = s;
        return slot_is_free(s, error);
    }
    if (by_addr)
        return error_option(error, ENOENT, "addr", "zone %u has no slot at 0x%" PRIx64 "%s; see "
                            "zones for those it has", zone->id, addr, by_irq ? " with that irq" : "");
    if (by_irq)
        return error_option(error, ENOENT, "irq", "zone %u has no slot with irq %" PRIu64 "; see "
                            "zones for those it has", zone->id, irq);
    return error_option(error, ENOSPC, "zone", "zone %u has no free slot: remove a device, or declare "
                        "a spare slot", zone->id);
}

int zones_place(struct zones *zones, const struct spec *spec, const char *id,
                const struct zone_plans *brought, struct slot **slot, struct error *error)
{
    struct zone *zone;
    *slot = NULL;
    int rc = choose_zone(zones, spec, &zone, error);
    if (rc == 0 && zone && !plan_find(brought, zone->id))
        rc = check_sure(zone, error);
    if (rc == 0 && !zone && (option_text(spec, "addr") || option_text(spec, "irq")))
        rc = error_option(error, EINVAL, option_text(spec, "addr") ? "addr" : "irq", "a device "
                          "without a zone has no address and no irq");
    if (rc == 0 && zone)
        rc = choose_slot(zone, spec, slot, error);
    if (rc < 0) {
        *slot = NULL;
        return rc;
    }
    if (*slot)
        snprintf((*slot)->taken, sizeof((*slot)->taken), "%s", id);
    return 0;
}

void slot_release(struct slot *slot)
{
    if (!slot)
        return;
    slot->taken[0] = '\0';
    zone_put(slot->zone);
}

/* ---- what accesses find ---------------------------------------------------------------------- */

static bool found_by(const struct zone *zone, const struct access_thread *at)
{
    return zone->at == at && !zone->stopping;
}

/* The zones and their slots are sorted, so the table is. */
static struct slot_table *make_table(const struct zones *zones, const struct access_thread *at)
{
    const struct zone *zone;
    const struct slot *slot;
    size_t n = 0;
    TAILQ_FOREACH(zone, &zones->list, link)
        TAILQ_FOREACH(slot, &zone->slots, link)
            n += found_by(zone, at);
    struct slot_table *table;
    while (!(table = patient_malloc(sizeof(*table) + n * sizeof(table->entries[0]))))
        log_error("out of memory for a table of %zu slots; trying again", n);
    table->n = 0;
    TAILQ_FOREACH(zone, &zones->list, link) {
        if (!found_by(zone, at))
            continue;
        TAILQ_FOREACH(slot, &zone->slots, link)
            table->entries[table->n++] = (struct slot_entry){
                .zone = zone->id,
                .addr = slot->addr,
                .len = slot->len,
                .device = slot->dev && !slot->hidden ? mmio_of(slot->dev) : NULL,
            };
    }
    return table;
}

static void replace_table(struct zone *zone, void (*done)(void *arg), void *arg)
{
    zone->changed = false;
    access_set_table(zone->at, make_table(zone->zones, zone->at), done, arg);
}

void zone_show(struct slot *slot, struct device *dev)
{
    struct zone *zone = slot->zone;
    slot->dev = dev;
    slot->hidden = NULL;
    if (zone->at && !zone->stopping) {
        mmio_attach(mmio_of(dev), zone->at, zone->memory);
        zone->changed = true;
    }
}

static void attach_all(struct zone *zone, struct access_thread *at)
{
    struct slot *slot;
    zone->at = at;
    zone->changed = true;
    TAILQ_FOREACH(slot, &zone->slots, link)
        if (slot->dev)
            mmio_attach(mmio_of(slot->dev), at, zone->memory);
}

/* Guests see what was published and declared since the last time, all at once. */
static void show(struct zones *zones)
{
    struct zone *zone, *other;
    TAILQ_FOREACH(zone, &zones->list, link)
        if (zone->memory && !zone->at && !zone->unsure) /* one of hvisor's, declared since */
            attach_all(zone, hvisor_access(zones->hvisor));
    TAILQ_FOREACH(zone, &zones->list, link) {
        if (!zone->changed || !zone->at)
            continue;
        TAILQ_FOREACH(other, &zones->list, link)
            if (other->at == zone->at)
                other->changed = false; /* they share a table */
        replace_table(zone, NULL, NULL);
    }
}

static void is_hidden(void *arg)
{
    struct slot *slot = arg;
    slot->hidden(slot->dev);
}

void zone_hide(struct slot *slot, void (*done)(struct device *dev))
{
    slot->hidden = done;
    replace_table(slot->zone, is_hidden, slot);
}

/* ---- served or not --------------------------------------------------------------------------- */

void zone_serve(struct zone *zone, struct access_thread *at, struct memory *memory)
{
    zone->memory = memory;
    attach_all(zone, at);
    show(zone->zones);
}

static void zone_released(struct zone *zone)
{
    void (*stopped)(struct zone *zone, void *arg) = zone->stopped;
    memory_put(zone->memory); /* a zone of hvisor's is over, it is declared anew if it is to go on */
    zone->memory = NULL;
    zone->at = NULL;
    zone->stopping = false;
    stopped(zone, zone->stopped_arg);
}

static void one_detached(struct zone *zone)
{
    if (--zone->detaching == 0)
        zone_released(zone);
}

static void nobody_finds_it(void *arg)
{
    struct zone *zone = arg;
    struct slot *slot;
    zone->detaching = 1; /* this function; so that it ends once */
    TAILQ_FOREACH(slot, &zone->slots, link)
        if (slot->dev && mmio_attached(mmio_of(slot->dev))) {
            zone->detaching++;
            mmio_detach(mmio_of(slot->dev), one_detached);
        }
    one_detached(zone);
}

void zone_stop(struct zone *zone, void (*stopped)(struct zone *zone, void *arg), void *arg)
{
    zone->stopped = stopped;
    zone->stopped_arg = arg;
    zone->stopping = true;
    replace_table(zone, nobody_finds_it, zone);
}

static void one_stopped(struct zone *zone, void *arg)
{
    (void)zone;
    zones_stop(arg, ((struct zones *)arg)->all_stopped);
}

void zones_stop(struct zones *zones, void (*done)(struct daemon *daemon))
{
    struct zone *zone;
    zones->all_stopped = done;
    TAILQ_FOREACH(zone, &zones->list, link) {
        if (!zone->at)
            continue;
        zone_stop(zone, one_stopped, zones); /* then the next */
        return;
    }
    done(zones->daemon);
}
