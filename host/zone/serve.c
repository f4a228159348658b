/* SPDX-License-Identifier: BSD-3-Clause */
/* serve.c - what accesses find; zones that are served or not; see zone.h. Control thread. */
#include "zone/zone.h"

#include "device/create.h"
#include "transport/bridge/access.h"
#include "transport/hvisor/hvisor.h"
#include "transport/mmio/mmio.h"
#include "util/patience.h"

#include <stdlib.h>

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

void zones_show(struct zones *zones)
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
    zones_show(zone->zones);
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
