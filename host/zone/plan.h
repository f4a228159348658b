/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plan.h - what an operator says about zones: their memory and slots, checked, not yet mapped.
 *
 * Plans come from the configuration file, from hvisor-tool's JSON and over the control socket. Here
 * is decided what goes together: every function that adds refuses what overlaps. Pure. Any thread;
 * one set of plans belongs to one thread.
 */
#ifndef HOST_ZONE_PLAN_H
#define HOST_ZONE_PLAN_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_ZONES_MAX 32u        /* ids are below this */
#define PLAN_MEMORY_MAX 64u       /* regions of a zone */
#define PLAN_SLOTS_MAX 256u       /* slots of a zone */
#define PLAN_PAGE 0x1000u         /* memory comes in multiples of this */
#define PLAN_SLOT_LENGTH 0x200u   /* the least a slot can have */

/* A piece of a zone's memory. */
struct plan_memory {
    uint64_t host;  /* physical address; zone0_ipa in hvisor-tool. Not looked at on `trap` */
    uint64_t guest; /* where the zone sees it; zonex_ipa */
    uint64_t size;
};

/* A virtio-mmio address range of a zone, with its interrupt. */
struct plan_slot {
    uint64_t addr, len;
    uint32_t irq;
};

/* Owns its lists. */
struct zone_plan {
    uint32_t id;
    char platform[8]; /* "hvisor" or "trap"; "": not said */
    bool is_new;      /* in what plan_merge() says is new: the zone itself is */
    struct plan_memory *memory;
    size_t n_memory;
    struct plan_slot *slots;
    size_t n_slots;
};

/* No id is in it twice. Zeroed when empty. */
struct zone_plans {
    struct zone_plan *zones;
    size_t n;
};

/* NULL: there is none. */
struct zone_plan *plan_find(const struct zone_plans *plans, uint32_t id);

/*
 * The zone, made if there is none; it may move when another is made. `platform` is "" if nothing is
 * said about it: then a zone keeps what it has. NULL with error set: an id out of range, an unknown
 * platform, or another one than before.
 */
struct zone_plan *plan_zone(struct zone_plans *plans, uint32_t id, const char *platform,
                            struct error *error);

/*
 * Adds memory or a slot. 0: added; 1: the same is there already, nothing is done; -errno with error
 * set, which names both parties of a conflict.
 */
int plan_add_memory(struct zone_plan *zone, const struct plan_memory *memory, struct error *error);
int plan_add_slot(struct zone_plan *zone, const struct plan_slot *slot, struct error *error);

/* Could it all have been added to nothing? For plans made by hand. 0, or -errno with error set. */
int plan_check(const struct zone_plans *plans, struct error *error);

/*
 * Adds `more` to `into`, all of it or nothing. What was not there before goes to `fresh`, whose old
 * contents are not looked at; it may be NULL. A new zone nothing is said about has the platform
 * "hvisor". 0, or -errno with error set and `fresh` empty.
 */
int plan_merge(struct zone_plans *into, const struct zone_plans *more, struct zone_plans *fresh,
               struct error *error);

/* Undoes a plan_merge() that said `fresh`. */
void plan_take_back(struct zone_plans *into, const struct zone_plans *fresh);

/* Fills in `copy`, whose old contents are not looked at. 0, or -ENOMEM with `copy` empty. */
int plan_copy(struct zone_plans *copy, const struct zone_plans *plans);

void plan_clear(struct zone_plans *plans);

/*
 * A number as hvisor-tool writes it: digits, in base 16 after 0x, in base 8 after 0. 0, -EINVAL if
 * it is no number, -ERANGE if it does not fit in 64 bits.
 */
int plan_number(const char *text, uint64_t *number);

#endif
