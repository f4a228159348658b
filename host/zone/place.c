/* SPDX-License-Identifier: BSD-3-Clause */
/* place.c - in which slot of which zone a device goes; see zone.h. Control thread. */
#include "zone/zone.h"

#include "device/create.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        rc = zone_sure(zone, error);
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
