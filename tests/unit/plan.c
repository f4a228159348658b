/* SPDX-License-Identifier: BSD-3-Clause */
/* plan.c - tests of host/zone/plan.c: what zones may have, and putting plans together. */
#include "zone/plan.h"

#include "leak.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Helpers --------------------------------------------------------------------------------- */

static struct zone_plan *zone_of(struct zone_plans *plans, uint32_t id, const char *platform)
{
    struct error error = {0};
    struct zone_plan *zone = plan_zone(plans, id, platform, &error);
    cr_assert(zone, "%s", error.text);
    return zone;
}

static void add_memory(struct zone_plan *zone, uint64_t host, uint64_t guest, uint64_t size,
                       int wanted)
{
    struct error error = {0};
    struct plan_memory m = {host, guest, size};
    cr_assert_eq(plan_add_memory(zone, &m, &error), wanted, "%s", error.text);
}

static void add_slot(struct zone_plan *zone, uint64_t addr, uint64_t len, uint32_t irq, int wanted)
{
    struct error error = {0};
    struct plan_slot s = {addr, len, irq};
    cr_assert_eq(plan_add_slot(zone, &s, &error), wanted, "%s", error.text);
}

static void expect(int rc, const struct error *error, const char *says)
{
    cr_assert_lt(rc, 0, "accepted, instead of: %s", says);
    cr_assert_eq(rc, -error->err);
    cr_assert(strstr(error->text, says), "\"%s\" is not in \"%s\"", says, error->text);
}

/* Zone 1 with RAM at 0x50000000 and a slot at 0xa003c00. */
static void make_zone(struct zone_plans *plans, const char *platform)
{
    struct zone_plan *zone = zone_of(plans, 1, platform);
    add_memory(zone, 0x60000000, 0x50000000, 0x1000000, 0);
    add_slot(zone, 0xa003c00, 0x200, 78, 0);
}

static bool same(const struct zone_plans *a, const struct zone_plans *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct zone_plan *x = &a->zones[i], *y = &b->zones[i];
        if (x->id != y->id || strcmp(x->platform, y->platform) != 0 ||
            x->n_memory != y->n_memory || x->n_slots != y->n_slots)
            return false;
        for (size_t m = 0; m < x->n_memory; m++)
            if (memcmp(&x->memory[m], &y->memory[m], sizeof(x->memory[m])) != 0)
                return false;
        for (size_t s = 0; s < x->n_slots; s++)
            if (x->slots[s].addr != y->slots[s].addr || x->slots[s].irq != y->slots[s].irq)
                return false;
    }
    return true;
}

/* ---- Memory and slots ------------------------------------------------------------------------ */

Test(plan, memory)
{
    static const struct {
        uint64_t host, guest, size;
        const char *says; /* NULL: fine */
    } rows[] = {
        {0x61000000, 0x51000000, 0x1000, NULL},
        {0x5ffff000, 0x4ffff000, 0x1000, NULL},
        {0x100000000, 0x100000000, 0x1fc000000, NULL},
        {0xfffffffffffff000, 0xfffffffffffff000, 0x1000, NULL},
        {0x70000000, 0, 0x1000, NULL},
        {0x70000000, 0x70000000, 0, "zone 1: memory at 0x70000000 has the size 0"},
        {0x70000000, 0x70000000, 0x800, "the size of memory, 0x800, is not a multiple of 0x1000"},
        {0x70000001, 0x70000000, 0x1000, "the host address of memory, 0x70000001, is not"},
        {0x70000000, 0x70000200, 0x1000, "the guest address of memory, 0x70000200, is not"},
        {0x1000, 0xfffffffffffff000, 0x2000, "memory at 0xfffffffffffff000 (host 0x1000) with "
         "0x2000 bytes goes beyond 2^64"},
        {0xfffffffffffff000, 0x1000, 0x2000, "goes beyond 2^64"},
        {0, 0x70000000, 0x1000, "memory at 0x70000000 has the host address 0"},
        {0x60fff000, 0x70000000, 0x1000, "memory 0x70000000-0x70000fff (host 0x60fff000) overlaps "
         "memory 0x50000000-0x50ffffff (host 0x60000000) in the host"},
        {0x70000000, 0x50fff000, 0x2000, "memory 0x50fff000-0x51000fff (host 0x70000000) overlaps "
         "memory 0x50000000-0x50ffffff (host 0x60000000): keep one"},
        {0x60000000, 0x50000000, 0x2000000, "overlaps memory"},
        {0x70000000, 0xa003000, 0x1000, "memory 0xa003000-0xa003fff (host 0x70000000) overlaps the "
         "slot 0xa003c00-0xa003dff (irq 78)"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct zone_plans plans = {0};
        struct error error = {0};
        make_zone(&plans, "hvisor");
        struct plan_memory m = {rows[i].host, rows[i].guest, rows[i].size};
        int rc = plan_add_memory(plans.zones, &m, &error);
        if (rows[i].says)
            expect(rc, &error, rows[i].says);
        else
            cr_assert_eq(rc, 0, "%s", error.text);
        cr_assert_eq(plans.zones[0].n_memory, rows[i].says ? 1 : 2);
        plan_clear(&plans);
    }
    leak_check();
}

Test(plan, slots)
{
    static const struct {
        uint64_t addr, len;
        uint32_t irq;
        const char *says;
    } rows[] = {
        {0xa003a00, 0x200, 77, NULL},
        {0xa003e00, 0x1000, 0, NULL},
        {0xfffffffffffffe00, 0x200, 4294967295, NULL},
        {0x4ffffe00, 0x200, 77, NULL},
        {0xa000000, 0x1ff, 77, "the slot at 0xa000000 has the length 0x1ff: the registers of a "
         "device need 0x200 bytes"},
        {0xa000000, 0, 77, "has the length 0x0"},
        {0xa000002, 0x200, 77, "the address of the slot at 0xa000002 is not a multiple of 4"},
        {0xfffffffffffffe04, 0x200, 77, "the slot at 0xfffffffffffffe04 with 0x200 bytes goes"},
        {0xa003b00, 0x200, 77, "zone 1: the slot 0xa003b00-0xa003cff (irq 77) overlaps the slot "
         "0xa003c00-0xa003dff (irq 78): move one of them"},
        {0xa003c00, 0x200, 79, "overlaps the slot"},
        {0xa003000, 0x10000, 79, "overlaps the slot"},
        {0xa003a00, 0x200, 78, "the slot 0xa003a00-0xa003bff (irq 78) has the irq of the slot "
         "0xa003c00-0xa003dff (irq 78)"},
        {0x4fffff00, 0x200, 77, "the slot 0x4fffff00-0x500000ff (irq 77) overlaps memory "
         "0x50000000-0x50ffffff (host 0x60000000)"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct zone_plans plans = {0};
        struct error error = {0};
        make_zone(&plans, "hvisor");
        struct plan_slot s = {rows[i].addr, rows[i].len, rows[i].irq};
        int rc = plan_add_slot(plans.zones, &s, &error);
        if (rows[i].says)
            expect(rc, &error, rows[i].says);
        else
            cr_assert_eq(rc, 0, "%s", error.text);
        plan_clear(&plans);
    }
    leak_check();
}

/* One byte is enough, on either side. */
Test(plan, one_byte_of_overlap)
{
    struct zone_plans plans = {0};
    struct zone_plan *zone = zone_of(&plans, 1, "");
    add_slot(zone, 0x1000, 0x201, 1, 0);
    add_slot(zone, 0x1200, 0x200, 2, -EEXIST);
    add_slot(zone, 0xdfc, 0x205, 2, -EEXIST);
    add_slot(zone, 0x1204, 0x200, 2, 0);
    add_slot(zone, 0xdfc, 0x204, 3, 0);
    plan_clear(&plans);
    leak_check();
}

Test(plan, the_same_again)
{
    struct zone_plans plans = {0};
    make_zone(&plans, "");
    add_memory(plans.zones, 0x60000000, 0x50000000, 0x1000000, 1);
    add_slot(plans.zones, 0xa003c00, 0x200, 78, 1);
    add_slot(plans.zones, 0xa003c00, 0x400, 78, -EEXIST);
    cr_assert(plans.zones[0].n_memory == 1 && plans.zones[0].n_slots == 1);
    plan_clear(&plans);
    leak_check();
}

/* The monitor brings the memory, so only the zone's side of it counts. */
Test(plan, memory_on_trap)
{
    struct zone_plans plans = {0};
    struct zone_plan *zone = zone_of(&plans, 2, "trap");
    struct error error = {0};
    add_memory(zone, 0, 0, 0x1000, 0);
    add_memory(zone, 0, 0x1000, 0x1000, 0);
    add_memory(zone, 0x123, 0x1000, 0x1000, 1);
    struct plan_memory m = {0, 0x1000, 0x2000};
    expect(plan_add_memory(zone, &m, &error), &error, "zone 2: memory 0x1000-0x2fff overlaps "
           "memory 0x1000-0x1fff: keep one");
    plan_clear(&plans);
    leak_check();
}

Test(plan, limits)
{
    struct zone_plans plans = {0};
    struct error error = {0};
    struct zone_plan *zone = zone_of(&plans, 1, "hvisor");
    for (uint64_t i = 0; i < PLAN_MEMORY_MAX; i++)
        add_memory(zone, (i + 1) << 20, (i + 1) << 20, 0x1000, 0);
    struct plan_memory m = {1ull << 40, 1ull << 40, 0x1000};
    expect(plan_add_memory(zone, &m, &error), &error, "zone 1: memory at 0x10000000000 is one "
           "region too many: at most 64 fit");
    for (uint32_t i = 0; i < PLAN_SLOTS_MAX; i++)
        add_slot(zone, 0xa0000000 + 0x200 * i, 0x200, i, 0);
    struct plan_slot s = {0xb0000000, 0x200, 999};
    memset(&error, 0, sizeof(error));
    expect(plan_add_slot(zone, &s, &error), &error, "zone 1: the slot at 0xb0000000 is one too "
           "many: a zone has at most 256");
    for (uint32_t id = 0; id < PLAN_ZONES_MAX; id++)
        zone_of(&plans, id, "");
    cr_assert_eq(plans.n, PLAN_ZONES_MAX);
    memset(&error, 0, sizeof(error));
    cr_assert_null(plan_zone(&plans, PLAN_ZONES_MAX, "", &error));
    expect(-error.err, &error, "zone 32 is out of range: there are at most 32 zones, with ids from "
           "0 to 31");
    memset(&error, 0, sizeof(error));
    cr_assert_eq(plan_check(&plans, &error), 0, "%s", error.text);
    plan_clear(&plans);
    leak_check();
}

Test(plan, platforms)
{
    struct zone_plans plans = {0};
    struct error error = {0};
    cr_assert_null(plan_zone(&plans, 1, "kvm", &error));
    expect(-error.err, &error, "zone 1: \"kvm\" is not a platform: write \"hvisor\" or \"trap\"");
    cr_assert_eq(plans.n, 0);
    zone_of(&plans, 1, "");
    zone_of(&plans, 1, "trap");
    zone_of(&plans, 1, "");
    cr_assert_str_eq(plans.zones[0].platform, "trap");
    memset(&error, 0, sizeof(error));
    cr_assert_null(plan_zone(&plans, 1, "hvisor", &error));
    expect(-error.err, &error, "zone 1 is declared for the platform trap and for hvisor");
    plan_clear(&plans);
    leak_check();
}

/* ---- Merging --------------------------------------------------------------------------------- */

/* A file that adds a slot to a zone repeats its memory. */
Test(plan, merge)
{
    struct zone_plans now = {0}, before, more = {0}, fresh;
    struct error error = {0};
    make_zone(&now, "hvisor");
    zone_of(&now, 4, "trap");
    cr_assert_eq(plan_copy(&before, &now), 0);
    make_zone(&more, "");
    add_slot(more.zones, 0xa003a00, 0x200, 77, 0);
    add_slot(zone_of(&more, 2, ""), 0xa000000, 0x200, 5, 0);
    zone_of(&more, 4, "");
    cr_assert_eq(plan_merge(&now, &more, &fresh, &error), 0, "%s", error.text);
    cr_assert(now.n == 3 && plan_find(&now, 1)->n_slots == 2 && plan_find(&now, 1)->n_memory == 1);
    cr_assert_str_eq(plan_find(&now, 2)->platform, "hvisor");
    cr_assert_eq(fresh.n, 2);
    cr_assert(fresh.zones[0].id == 1 && !fresh.zones[0].is_new && fresh.zones[0].n_memory == 0);
    cr_assert(fresh.zones[0].n_slots == 1 && fresh.zones[0].slots[0].irq == 77);
    cr_assert(fresh.zones[1].id == 2 && fresh.zones[1].is_new && fresh.zones[1].n_slots == 1);
    plan_take_back(&now, &fresh);
    cr_assert(same(&now, &before));
    plan_clear(&fresh);
    cr_assert_eq(plan_merge(&now, &before, &fresh, &error), 0, "%s", error.text);
    cr_assert_eq(fresh.n, 0, "nothing was new");
    plan_clear(&fresh);
    plan_clear(&now);
    plan_clear(&before);
    plan_clear(&more);
    leak_check();
}

Test(plan, merge_all_or_nothing)
{
    struct zone_plans now = {0}, before, more = {0}, fresh;
    struct error error = {0};
    make_zone(&now, "hvisor");
    cr_assert_eq(plan_copy(&before, &now), 0);
    add_slot(zone_of(&more, 3, ""), 0xa000000, 0x200, 5, 0);
    add_slot(zone_of(&more, 1, ""), 0xa000000, 0x200, 5, 0);
    add_memory(plan_find(&more, 1), 0x60000000, 0x50000000, 0x2000, 0);
    expect(plan_merge(&now, &more, &fresh, &error), &error, "zone 1: memory 0x50000000-0x50001fff "
           "(host 0x60000000) overlaps memory 0x50000000-0x50ffffff");
    cr_assert(same(&now, &before) && fresh.n == 0 && !fresh.zones);
    plan_clear(&more);
    zone_of(&more, 1, "trap");
    memset(&error, 0, sizeof(error));
    expect(plan_merge(&now, &more, NULL, &error), &error, "platform hvisor and for trap");
    plan_clear(&more);
    plan_clear(&now);
    plan_clear(&before);
    leak_check();
}

/* Plans made by hand can be wrong in ways those built here cannot. */
Test(plan, check)
{
    struct plan_memory memory[] = {{0x1000, 0x1000, 0x1000}, {0x5000, 0x1000, 0x1000}};
    struct plan_slot slots[] = {{0xa000000, 0x200, 5}, {0xa000100, 0x200, 6}};
    struct zone_plan zones[] = {{.id = 1, .memory = memory, .n_memory = 1},
                                {.id = 1, .memory = memory, .n_memory = 1},
                                {.id = 2, .slots = slots, .n_slots = 1}};
    struct zone_plans plans = {zones, 3};
    struct error error = {0};
    cr_assert_eq(plan_check(&plans, &error), 0, "%s", error.text);
    zones[1].memory = &memory[1];
    expect(plan_check(&plans, &error), &error, "zone 1: memory 0x1000-0x1fff (host 0x5000) "
           "overlaps memory 0x1000-0x1fff (host 0x1000)");
    zones[1].memory = memory;
    zones[2].n_slots = 2;
    memset(&error, 0, sizeof(error));
    expect(plan_check(&plans, &error), &error, "zone 2: the slot 0xa000100-0xa0002ff (irq 6) "
           "overlaps the slot 0xa000000-0xa0001ff (irq 5)");
    zones[2].n_slots = 1;
    zones[2].id = 99;
    memset(&error, 0, sizeof(error));
    expect(plan_check(&plans, &error), &error, "zone 99 is out of range");
    leak_check();
}

/* ---- Numbers --------------------------------------------------------------------------------- */

Test(plan, numbers)
{
    static const struct {
        const char *text;
        int rc;
        uint64_t n;
    } rows[] = {
        {"0", 0, 0}, {"7", 0, 7}, {"010", 0, 8}, {"0x10", 0, 16}, {"0XfF", 0, 255},
        {"2147483648", 0, 2147483648}, {"0xffffffffffffffff", 0, UINT64_MAX},
        {"18446744073709551615", 0, UINT64_MAX}, {"01777777777777777777777", 0, UINT64_MAX},
        {"18446744073709551616", -ERANGE, 0}, {"0x10000000000000000", -ERANGE, 0},
        {"", -EINVAL, 0}, {"0x", -EINVAL, 0}, {"08", -EINVAL, 0}, {"-1", -EINVAL, 0},
        {"+1", -EINVAL, 0}, {" 1", -EINVAL, 0}, {"1 ", -EINVAL, 0}, {"1.5", -EINVAL, 0},
        {"1e3", -EINVAL, 0}, {"0x-1", -EINVAL, 0}, {"0x0x1", -EINVAL, 0}, {"ten", -EINVAL, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t n = 0;
        cr_assert_eq(plan_number(rows[i].text, &n), rows[i].rc, "%s", rows[i].text);
        cr_assert_eq(n, rows[i].n, "%s", rows[i].text);
    }
}
