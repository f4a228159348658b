/* SPDX-License-Identifier: BSD-3-Clause */
/* zone-methods.c - see zone-methods.h. Addresses and sizes are texts: JSON numbers end at 2^63. */
#include "control/zone-methods.h"

#include "zone/json-read.h"
#include "zone/zone.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- zone.list ------------------------------------------------------------------------------- */

static void set_hex(json_t *object, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "0x%" PRIx64, value);
    json_object_set_new(object, key, json_string(text));
}

static json_t *describe_memory(const struct zone_plan *plan)
{
    json_t *list = json_array();
    for (size_t i = 0; i < plan->n_memory; i++) {
        json_t *memory = json_object();
        set_hex(memory, "guest", plan->memory[i].guest);
        set_hex(memory, "size", plan->memory[i].size);
        json_array_append_new(list, memory);
    }
    return list;
}

static json_t *describe_slots(const struct zone *zone)
{
    json_t *list = json_array();
    const struct slot *slot;
    TAILQ_FOREACH(slot, &zone->slots, link) {
        json_t *object = json_object();
        set_hex(object, "addr", slot->addr);
        set_hex(object, "len", slot->len);
        json_object_set_new(object, "irq", json_integer(slot->irq));
        json_object_set_new(object, "device", slot->dev ? json_string(slot->dev->id) : json_null());
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *describe_zone(const struct zone *zone)
{
    const struct zone_plan *plan = plan_find(&zone->zones->plans, zone->id);
    return json_pack("{s:i,s:s,s:b,s:b,s:o,s:o}", "id", (int)zone->id, "platform", plan->platform,
                     "running", zone->at && !zone->stopping, "kept", zone->kept, "memory",
                     describe_memory(plan), "slots", describe_slots(zone));
}

void zone_list_method(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    json_t *list = json_array();
    const struct zone *zone;
    (void)params;
    TAILQ_FOREACH(zone, &daemon->zones->list, link)
        json_array_append_new(list, describe_zone(zone));
    reply_result(reply, json_pack("{s:o}", "zones", list));
}

/* ---- zone.add -------------------------------------------------------------------------------- */

static int read_memory(const struct json_file *file, const json_t *list, struct zone_plan *zone)
{
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry) {
        char where[JSON_WHERE_MAX];
        struct plan_memory memory;
        snprintf(where, sizeof(where), "memory[%zu]", i);
        if (json_member(file, where, entry, "host", UINT64_MAX, &memory.host) < 0 ||
            json_member(file, where, entry, "guest", UINT64_MAX, &memory.guest) < 0 ||
            json_member(file, where, entry, "size", UINT64_MAX, &memory.size) < 0 ||
            plan_add_memory(zone, &memory, file->error) < 0)
            return -file->error->err;
    }
    return 0;
}

static int read_slots(const struct json_file *file, const json_t *list, struct zone_plan *zone)
{
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry) {
        char where[JSON_WHERE_MAX];
        struct plan_slot slot;
        uint64_t irq;
        snprintf(where, sizeof(where), "slots[%zu]", i);
        if (json_member(file, where, entry, "addr", UINT64_MAX, &slot.addr) < 0 ||
            json_member(file, where, entry, "len", UINT64_MAX, &slot.len) < 0 ||
            json_member(file, where, entry, "irq", UINT32_MAX, &irq) < 0)
            return -file->error->err;
        slot.irq = (uint32_t)irq;
        if (plan_add_slot(zone, &slot, file->error) < 0)
            return -file->error->err;
    }
    return 0;
}

/* Whose zone it is if nobody says so. */
static const char *default_platform(const struct zones *zones, uint32_t id)
{
    const struct zone *zone = zone_find(zones, id);
    return zone ? zone_platform(zone) : zones->hvisor || !zones->daemon->trap ? "hvisor" : "trap";
}

/* {"id":1,"platform":"trap","memory":[...],"slots":[...]} */
static int read_zone(const struct zones *zones, const char *name, const json_t *object,
                     struct zone_plans *plans, struct error *error)
{
    const struct json_file file = {.name = name, .error = error};
    const json_t *platform = json_object_get(object, "platform");
    const char *text = platform ? json_string_value(platform) : "";
    uint64_t id;
    if (!text)
        return json_fail(&file, "platform is a text: hvisor or trap");
    int rc = json_member(&file, "", object, "id", PLAN_ZONES_MAX - 1, &id);
    const json_t *memory = rc == 0 ? json_list(&file, "", object, "memory", &rc) : NULL;
    const json_t *slots = rc == 0 ? json_list(&file, "", object, "slots", &rc) : NULL;
    if (rc < 0)
        return rc;
    if (!text[0])
        text = default_platform(zones, (uint32_t)id);
    struct zone_plan *zone = plan_zone(plans, (uint32_t)id, text, error);
    if (!zone || read_memory(&file, memory, zone) < 0 || read_slots(&file, slots, zone) < 0)
        return -error->err;
    if (strcmp(text, "trap") == 0)
        zone->n_memory = 0; /* the monitor says what there is */
    return 0;
}

int zones_from_json(const struct zones *zones, struct zone_plans *plans, const json_t *list,
                    struct error *error)
{
    size_t i;
    json_t *object;
    if (!json_is_array(list))
        return error_set(error, EINVAL, "\"zones\" is a list");
    json_array_foreach(list, i, object) {
        char name[32];
        snprintf(name, sizeof(name), "zones[%zu]", i);
        if (read_zone(zones, name, object, plans, error) < 0)
            return -error->err;
    }
    return 0;
}

void zone_add_method(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    struct zone_plans plans = {0}, fresh = {0};
    struct error error = {0};
    if (read_zone(daemon->zones, "zone.add", params, &plans, &error) == 0 &&
        zones_declare(daemon->zones, &plans, true, &fresh, &error) == 0) {
        zones_accept(daemon->zones, &fresh);
        reply_result(reply, describe_zone(zone_find(daemon->zones, plans.zones[0].id)));
    }
    plan_clear(&plans);
    if (error.err)
        reply_error(reply, &error);
}

/* ---- zone.remove ----------------------------------------------------------------------------- */

void zone_remove_method(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    const struct json_file file = {.name = "zone.remove", .error = &(struct error){0}};
    struct zone *zone = NULL;
    uint64_t id;
    if (json_member(&file, "", params, "id", PLAN_ZONES_MAX - 1, &id) == 0) {
        zone = zone_find(daemon->zones, (uint32_t)id);
        if (!zone)
            error_set(file.error, ENOENT, "there is no zone %u", (unsigned)id);
        else
            zone_give_up(zone, file.error);
    }
    if (file.error->err)
        reply_error(reply, file.error);
    else
        reply_result(reply, json_object());
}
