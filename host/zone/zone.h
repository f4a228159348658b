/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zone.h - zones (guests reached by trapped accesses), their slots, and who is in them.
 *
 * A zone is made by the operator (configuration, JSON file, `zone add`) or by a monitor. A platform
 * serves it while its hypervisor or monitor is there: then it has memory and an access thread. Its
 * devices stay when it is not served, and wait. All of this belongs to the control thread.
 *
 *     zone.c     declared, forgotten
 *     place.c    where a device goes
 *     serve.c    what accesses find; served or not
 */
#ifndef HOST_ZONE_ZONE_H
#define HOST_ZONE_ZONE_H

#include "conf/spec.h"
#include "device/device.h"
#include "memory/memory.h"
#include "util/error.h"
#include "zone/plan.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct access_thread;
struct hvisor;

/* A virtio-mmio address range of a zone, with its interrupt. */
struct slot {
    TAILQ_ENTRY(slot) link;
    struct zone *zone;
    uint64_t addr, len;
    uint32_t irq;
    bool kept;                     /* declared by the operator: stays without a device */
    char taken[DEVICE_ID_MAX + 1]; /* id of the device that is or will be here, or "" */
    struct device *dev;            /* published here, or NULL */
    void (*hidden)(struct device *dev); /* set while it leaves: accesses do not find it */
};

struct zone {
    TAILQ_ENTRY(zone) link;
    struct zones *zones;
    uint32_t id;
    bool kept;                 /* declared by the operator: stays without devices */
    TAILQ_HEAD(, slot) slots;  /* sorted by address */
    struct memory *memory;     /* while it is served; of hvisor's zones also before */
    struct access_thread *at;  /* who serves it, or NULL */
    bool unsure;               /* the request that brought it may still fail */
    bool changed;              /* guests do not see all of it yet */
    bool stopping;             /* on its way to not being served */
    unsigned detaching;        /* devices that have not let go yet */
    void (*stopped)(struct zone *zone, void *arg);
    void *stopped_arg;
};

struct zones {
    struct daemon *daemon;
    TAILQ_HEAD(, zone) list;   /* sorted by id */
    struct zone_plans plans;   /* the same zones as declared, to check what is added */
    struct hvisor *hvisor;     /* or NULL: hvisor's zones cannot be served */
    void (*all_stopped)(struct daemon *daemon); /* set while zones_stop() goes on */
};

void zones_init(struct zones *zones, struct daemon *daemon);
void zones_clear(struct zones *zones); /* no devices are left, nothing is served */

struct zone *zone_find(const struct zones *zones, uint32_t id); /* or NULL */
const char *zone_platform(const struct zone *zone);

/* Stops all zones that are served; done(daemon) when none is. */
void zones_stop(struct zones *zones, void (*done)(struct daemon *daemon));

/*
 * Declares zones, memory and slots: all or nothing, and refused what plan_merge() refuses. `kept`:
 * they stay when nobody uses them. *fresh is what was not there before: zones_accept() or
 * zones_take_back() has to follow. 0, or -errno with error set and nothing to follow.
 */
int zones_declare(struct zones *zones, const struct zone_plans *plans, bool kept,
                  struct zone_plans *fresh, struct error *error);

/*
 * What a zones_declare() said is fresh is there for good; clears it. Guests see that, and what was
 * published since the last time, all at once.
 */
void zones_accept(struct zones *zones, struct zone_plans *fresh);

/* Undoes a zones_declare(), clears `fresh`; no device has taken any of it. */
void zones_take_back(struct zones *zones, struct zone_plans *fresh);

/*
 * The operator keeps the zone no more. Refused while devices are in it; a monitor that serves it
 * goes on. 0, or -EBUSY with error set.
 */
int zone_give_up(struct zone *zone, struct error *error);

/* Forgets what nobody keeps, serves or has a device in: of the zone, or all of it. */
void zone_put(struct zone *zone);

/*
 * Where a device goes: the slot its options zone=, addr= and irq= ask for, or a free one of the only
 * zone. *slot is NULL for a vhost-user socket. It is taken until slot_release(). `brought`: the
 * zones of the request itself. 0 or -errno.
 */
int zones_place(struct zones *zones, const struct spec *spec, const char *id,
                const struct zone_plans *brought, struct slot **slot, struct error *error);
void slot_release(struct slot *slot); /* NULL is fine */

/*
 * The zone can be served now: its devices attach and become visible, all at once. `memory` is taken
 * over.
 */
void zone_serve(struct zone *zone, struct access_thread *at, struct memory *memory);

/* It is served no more: its devices are reset. stopped() when nothing of it is used any more. */
void zone_stop(struct zone *zone, void (*stopped)(struct zone *zone, void *arg), void *arg);

/* A device is published in its slot; guests see it with zones_accept(). Cannot fail. */
void zone_show(struct slot *slot, struct device *dev);

/* A device leaves its slot; done(dev) follows when no access can find it any more. */
void zone_hide(struct slot *slot, void (*done)(struct device *dev));

/* ---- between the files of this folder -------------------------------------------------------- */

/* 0, or -EAGAIN with error set: the request that brought the zone may still fail. NULL is fine. */
int zone_sure(const struct zone *zone, struct error *error);
/* Guests see what was published and declared since the last time, all at once. */
void zones_show(struct zones *zones);

#endif
