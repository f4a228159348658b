/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow-many.c - flow test: 64 disks in 8 zones, 8 in each, all of them busy at once with verified
 * data; added by one request.
 */
#include "world.h"

#include <stdio.h>

#define ZONES 8u
#define EACH 8u
#define DISKS (ZONES * EACH)
#define IMAGE (256 << 10)
#define REQUESTS 100u
#define REQUESTS_ALL 2000u

static struct world world;
static struct mdisk disk[DISKS];
static struct load load[DISKS];

/* Half of them with memory of the daemon, half with images. */
static bool add_all(struct daemon *d)
{
    json_t *list = json_array(), *result;

    for (unsigned int i = 0; i < DISKS; i++) {
        char name[16], options[64];

        snprintf(name, sizeof(name), "d%u", i);
        snprintf(options, sizeof(options), i % 2 ? "backend=mem,size=256K,id=%s" : "%s,id=%s",
                 name, name);
        if (i % 2 == 0 && !daemon_image(d, name, IMAGE))
            return false;
        json_array_append_new(list, json_string(world_spec(&world, i / EACH, i % EACH,
                                                           options).s));
    }
    result = daemon_vcall(d, "device.add", json_pack("{s:o, s:s}", "devices", list, "cwd",
                                                     in_dir(d, "i").s));
    json_decref(result);
    return result || row_fail("device.add: %s", d->error ? error_text(d) : "no answer");
}

static bool all_up(void)
{
    for (unsigned int i = 0; i < DISKS; i++) {
        struct mdisk_options o = { .num = 32, .requests = 8, .event_idx = i % 3 == 0,
                                   .indirect = i % 5 == 0 };

        load[i] = (struct load){ .disk = &disk[i], .depth = 4, .bytes = 4096 };
        if (!world_disk(&disk[i], &world, i / EACH, i % EACH, &o) || !world_up(&disk[i]))
            return false;
    }
    return true;
}

static void note_interrupts(void)
{
    uint64_t told = 0, dropped = 0, most = 0;

    for (unsigned int i = 0; i < ZONES; i++) {
        struct sim_irq_counts c = sim_irq_counts(world.sim, i + 1, UINT32_MAX);

        told += c.told;
        dropped += c.dropped;
        most = c.most > most ? c.most : most;
    }
    row_note("%llu interrupts, %llu of them dropped, at most %llu pending in a zone",
             (unsigned long long)told, (unsigned long long)dropped, (unsigned long long)most);
}

static void all_busy(struct daemon *d)
{
    uint64_t done = 0;
    unsigned int n = flags.all ? REQUESTS_ALL : REQUESTS;
    static const struct world_options o = { .sim = { .futex = true, .irq_again_ms = 20 },
                                            .guests = ZONES, .slots = EACH, .memory = 2 << 20 };

    MUST(world_open(&world, d, &o) && add_all(d));
    CHECK(daemon_count(d) == (int)DISKS, "there are %d devices", daemon_count(d));
    MUST(all_up());
    for (unsigned int i = 0; i < DISKS; i++)
        MUST(world_load(&world, &load[i]));
    /* None of them ends before all have done their part. */
    for (unsigned int i = 0; i < DISKS; i++)
        while (atomic_load(&load[i].done) < n)
            MUST(world_load_flows(&load[i], 1));
    for (unsigned int i = 0; i < DISKS; i++)
        atomic_store(&load[i].stop, true);
    for (unsigned int i = 0; i < DISKS; i++) {
        MUST(world_load_stop(&world, &load[i]) && world_down(&disk[i]));
        CHECK(i % 2 || load_check_image(&load[i], in_dir(d, "i/d%u", i).s), "%s", load[i].why);
        done += atomic_load(&load[i].done);
    }
    row_note("%llu requests on %u disks", (unsigned long long)done, DISKS);
    note_interrupts();
    MUST(world_fine(&world));
}

int main(int argc, char **argv)
{
    static const char *const args[] = { WORLD_TRAP_ARGS, "--workers", "each", NULL };
    static const struct daemon_options each = { .args = args };
    static const struct row rows[] = {
        { "many-64-disks", all_busy, &world_daemon, NULL },
        { "many-64-workers", all_busy, &each, NULL },
    };

    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
