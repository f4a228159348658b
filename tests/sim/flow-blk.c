/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow-blk.c - flow test: disks of zones over the trap socket with verified data, while others are
 * added and removed; guests that are threads of the hypervisor's process, and ones that are not.
 */
#include "world.h"

#include <linux/virtio_blk.h>
#include <stdio.h>
#include <string.h>

#define IMAGE (4 << 20)
#define ROUNDS 10u
#define ROUNDS_ALL 100u
#define PART 60u /* requests between two steps */

static struct world world;
static struct mdisk steady, passing;
static struct load steady_load, passing_load;

static unsigned int rounds(void)
{
    return flags.all ? ROUNDS_ALL : ROUNDS;
}

/* By the program every other time. */
static bool add_passing(struct daemon *d, unsigned int round, unsigned int guest,
                        unsigned int slot)
{
    struct text spec = world_spec(&world, guest, slot, "b,id=b");
    struct output o;

    if (round % 2)
        return daemon_add(d, spec.s, NULL);
    return ctl(&o, d, "add", spec.s, NULL) && (o.code == 0 || row_fail("add: %s", o.err));
}

static bool remove_passing(struct daemon *d, unsigned int round)
{
    struct output o;

    if (round % 2)
        return daemon_remove(d, "b", NULL);
    return ctl(&o, d, "remove", "b", NULL) && (o.code == 0 || row_fail("remove: %s", o.err));
}

static bool one_passes(struct daemon *d, unsigned int round)
{
    if (world_device_id(&world, 0, 1) != 0)
        return row_fail("the spare slot is not empty");
    passing_load = (struct load){ .disk = &passing, .depth = 4, .bytes = 4096 };
    return add_passing(d, round, 0, 1) && world_up(&passing) &&
           world_load(&world, &passing_load) && world_load_flows(&passing_load, PART) &&
           world_load_stop(&world, &passing_load) && world_down(&passing) &&
           remove_passing(d, round) && load_check_image(&passing_load, in_dir(d, "i/b").s);
}

/* Removed while it works: what the daemon has taken is finished, then the slot is empty. */
static bool removed_under_load(struct daemon *d)
{
    uint64_t changes = atomic_load(&passing.mmio.config_changes);

    passing_load = (struct load){ .disk = &passing, .depth = 8, .bytes = 4096 };
    if (!add_passing(d, 1, 0, 1) || !world_up(&passing) || !world_load(&world, &passing_load) ||
        !world_load_flows(&passing_load, PART) || !daemon_remove(d, "b", NULL))
        return false;
    load_stop(&passing_load, true);
    world.load[1] = NULL;
    if (atomic_load(&passing_load.failed))
        return row_fail("removed under load: %s", passing_load.why);
    if (atomic_load(&passing.mmio.config_changes) == changes)
        return row_fail("the driver was not told that its device goes");
    return world_device_id(&world, 0, 1) == 0 || row_fail("the slot is not empty after remove");
}

static void add_and_remove(struct daemon *d)
{
    MUST(world_open(&world, d, d->arg) && daemon_image(d, "b", IMAGE) &&
         world_add_disk(&world, 0, 0, "a", IMAGE) && world_disk(&steady, &world, 0, 0, NULL) &&
         world_disk(&passing, &world, 0, 1, NULL) && world_up(&steady));
    steady_load = (struct load){ .disk = &steady, .depth = 8, .bytes = 4096 };
    MUST(world_load(&world, &steady_load));
    for (unsigned int i = 0; i < rounds(); i++)
        MUST(one_passes(d, i) && removed_under_load(d) && world_load_flows(&steady_load, PART) &&
             world_fine(&world));
    MUST(world_load_stop(&world, &steady_load) && world_down(&steady));
    CHECK(load_check_image(&steady_load, in_dir(d, "i/a").s), "%s", steady_load.why);
    row_note("%llu requests beside %u disks that came and went, longest gap %llu ms",
             (unsigned long long)atomic_load(&steady_load.done), 2 * rounds(),
             (unsigned long long)steady_load.longest_ns / 1000000);
    MUST(world_fine(&world));
}

/* ---- guests in other processes --------------------------------------------------------------- */

static bool say(char *reason, size_t size, const char *what, int err)
{
    snprintf(reason, size, "%s: %s", what, strerror(err < 0 ? -err : err));
    return false;
}

/* 'u': up and under load. 'e': load and device end. */
static bool steady_guest(struct guest *g, char letter, char *reason, size_t size)
{
    struct mdisk_options o = { .slot = 0, .cpu = 1, .event_idx = true };
    int err = 0;

    if (letter == 'u') {
        err = mdisk_init(&steady, g, &o);
        if (!err)
            err = mdisk_start(&steady);
        steady_load = (struct load){ .disk = &steady, .depth = 8, .bytes = 4096 };
        if (!err)
            err = load_start(&steady_load);
        return !err || say(reason, size, mdisk_why(&steady, err), err);
    }
    if (!load_stop(&steady_load, false)) {
        snprintf(reason, size, "%s", steady_load.why);
        return false;
    }
    err = mdisk_stop(&steady);
    return !err || say(reason, size, "reset", err);
}

/* 'g': one device, from probe to reset. */
static bool passing_guest(struct guest *g, char letter, char *reason, size_t size)
{
    struct mdisk_options o = { .slot = 0, .cpu = 1, .indirect = true };
    int err = passing.mmio.guest ? 0 : mdisk_init(&passing, g, &o);

    (void)letter;
    if (!err)
        err = mdisk_start(&passing);
    passing_load = (struct load){ .disk = &passing, .depth = 4, .bytes = 4096 };
    if (!err)
        err = load_start(&passing_load);
    if (err)
        return say(reason, size, mdisk_why(&passing, err), err);
    load_flows(&passing_load, PART, WORLD_TIMEOUT_MS);
    if (!load_stop(&passing_load, false)) {
        snprintf(reason, size, "%s", passing_load.why);
        return false;
    }
    err = mdisk_stop(&passing);
    return !err || say(reason, size, "reset", err);
}

static void two_processes(struct daemon *d)
{
    static const struct world_options o = { .sim = { .futex = true, .irq_again_ms = 20 },
                                            .guests = 2, .elsewhere = true };
    struct child *one, *two;

    MUST(world_open(&world, d, &o) && daemon_image(d, "b", IMAGE) &&
         world_add_disk(&world, 0, 0, "a", IMAGE));
    memset(&passing, 0, sizeof(passing));
    one = world_child(&world, 0, steady_guest);
    two = one ? world_child(&world, 1, passing_guest) : NULL;
    MUST(two && world_tell(one, 'u'));
    for (unsigned int i = 0; i < rounds(); i++)
        MUST(add_passing(d, i, 1, 0) && world_tell(two, 'g') && remove_passing(d, i) &&
             world_fine(&world));
    MUST(world_tell(one, 'e') && world_end_child(one) && world_end_child(two));
    MUST(world_fine(&world));
}

/* ---- ways to use a ring ---------------------------------------------------------------------- */

/* `stats` knows of the registers and interrupts that were needed. */
static bool is_counted(struct daemon *d)
{
    static const char *const keys[] = { "accesses", "irqs_injected" };
    json_t *result = daemon_call(d, "stats", "{s:[s]}", "ids", "a");
    json_t *counters = json_object_get(json_array_get(json_object_get(result, "devices"), 0),
                                       "transport");
    bool good = true;

    for (unsigned int i = 0; i < 2 && good; i++)
        good = json_integer_value(json_object_get(counters, keys[i])) > 0 ||
               row_fail("stats: no %s", keys[i]);
    json_decref(result);
    return good;
}

static void one_way(struct daemon *d, const struct world_options *wo,
                    const struct mdisk_options *mo, const char *spec)
{
    struct load load[4];

    MUST(world_open(&world, d, wo) && daemon_image(d, "a", IMAGE) &&
         daemon_add(d, world_spec(&world, 0, 0, spec).s, NULL) &&
         world_disk(&steady, &world, 0, 0, mo) && world_up(&steady));
    for (unsigned int i = 0; i < steady.opt.queues; i++) {
        load[i] = (struct load){ .disk = &steady, .queue = i, .depth = 16, .bytes = 4096,
                                 .first = i * 1024 };
        MUST(world_load(&world, &load[i]));
    }
    for (unsigned int i = 0; i < steady.opt.queues; i++)
        MUST(world_load_flows(&load[i], 1000) && world_load_stop(&world, &load[i]));
    MUST(is_counted(d) && world_down(&steady) && world_fine(&world));
}

static void indirect(struct daemon *d)
{
    static const struct mdisk_options o = { .indirect = true };

    one_way(d, NULL, &o, "a,id=a");
}

static void in_order(struct daemon *d)
{
    static const struct mdisk_options o = { .in_order = true, .event_idx = true };

    one_way(d, NULL, &o, "backend=mem,size=4M,id=a");
}

static void four_queues(struct daemon *d)
{
    static const struct world_options wo = { .sim = { .futex = true } };
    static const struct mdisk_options o = { .queues = 4, .event_idx = true, .num = 64 };

    one_way(d, &wo, &o, "a,id=a,queues=4");
}

static void high_memory(struct daemon *d)
{
    static const struct world_options wo = { .high = 8 << 20 };
    static const struct mdisk_options o = { .region = 1, .event_idx = true };

    one_way(d, &wo, &o, "a,id=a");
}

static void levels(struct daemon *d)
{
    static const struct world_options wo = { .sim = { .level = true, .futex = true } };

    one_way(d, &wo, NULL, "a,id=a");
}

int main(int argc, char **argv)
{
    static const struct world_options spin = { .sim = { .irq_again_ms = 20 } },
                                      sleep = { .sim = { .futex = true, .irq_again_ms = 20 } };
    static const struct row rows[] = {
        { "blk-add-remove-spinning", add_and_remove, &world_daemon, &spin },
        { "blk-add-remove-sleeping", add_and_remove, &world_daemon, &sleep },
        { "blk-two-processes", two_processes, &world_daemon, NULL },
        { "blk-indirect", indirect, &world_daemon, NULL },
        { "blk-in-order", in_order, &world_daemon, NULL },
        { "blk-four-queues", four_queues, &world_daemon, NULL },
        { "blk-high-memory", high_memory, &world_daemon, NULL },
        { "blk-levels", levels, &world_daemon, NULL },
    };

    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
