/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow-stall.c - flow test: one worker stands still for seconds. vCPUs that read registers, of the
 * devices on that worker and of others, do not notice; I/O on other workers goes on.
 *
 * The vCPUs read on schedule, and are timed from the instant at which a read was due: one that is
 * held up makes the ones behind it late as well. What the machine does to them shows in the same
 * run without the stop. A machine that is busy with other things may hold up anything, so a
 * comparison that fails is made again, a few times: a read that depends on the worker fails each
 * time.
 */
#include "thread.h"
#include "world.h"

#include "clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define IMAGE (4 << 20)
#define SECONDS 2u
#define SECONDS_ALL 5u
#define EVERY_NS 1000000u
#define LATE_NS 20000000u /* more than without the stop */
#define TRIES 8
#define READERS 2u

static struct world world;
static struct mdisk disk[2];
static struct load load[2];
static struct stopped stopped;

struct reader {
    unsigned int slot;
    uint32_t cpu;
    uint64_t start_ns, count;
    uint64_t answered, latest_ns;
    const char *wrong;
    pthread_t thread;
};

struct expected {
    uint32_t offset, size, value;
    bool any;
};

/* Registers of all kinds: constants, state, config space. */
static const struct expected expected[] = {
    { VIRTIO_MMIO_MAGIC_VALUE, 4, 0x74726976, false },
    { VIRTIO_MMIO_VERSION, 4, 2, false },
    { VIRTIO_MMIO_DEVICE_ID, 4, 2, false },
    { VIRTIO_MMIO_STATUS, 4, 15, false },
    { VIRTIO_MMIO_QUEUE_READY, 4, 1, false },
    { VIRTIO_MMIO_INTERRUPT_STATUS, 4, 0, true },
    { VIRTIO_MMIO_CONFIG_GENERATION, 4, 0, true },
    { VIRTIO_MMIO_CONFIG, 4, IMAGE / 512, false },
    { VIRTIO_MMIO_CONFIG + 4, 1, 0, false },
};

static void sleep_until(uint64_t ns)
{
    struct timespec at = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static void *read_on_schedule(void *arg)
{
    struct reader *r = arg;

    for (uint64_t i = 0; i < r->count && !r->wrong; i++) {
        const struct expected *e = &expected[i % (sizeof(expected) / sizeof(expected[0]))];
        struct sim_access a = { .cpu = r->cpu, .zone = world.guest[0].zone, .size = e->size,
                                .address = guest_slot(r->slot).address + e->offset };
        uint64_t due = r->start_ns + i * EVERY_NS, late;

        sleep_until(due);
        if (sim_access(world.sim, &a))
            r->wrong = "was not answered";
        else if (!e->any && a.value != e->value)
            r->wrong = "had another value than expected";
        late = clock_ns() - due;
        r->latest_ns = late > r->latest_ns ? late : r->latest_ns;
        r->answered++;
    }
    return NULL;
}

/* The worst of all readers, or 0 with the row failed. */
static uint64_t run_readers(unsigned int seconds)
{
    struct reader reader[READERS];
    uint64_t latest = 0;

    for (unsigned int i = 0; i < READERS; i++) {
        reader[i] = (struct reader){ .slot = i, .cpu = 10 + i, .start_ns = clock_ns() + EVERY_NS,
                                     .count = seconds * (1000000000ull / EVERY_NS) };
        if (pthread_create(&reader[i].thread, NULL, read_on_schedule, &reader[i]))
            reader[i].wrong = "has no thread";
    }
    for (unsigned int i = 0; i < READERS; i++) {
        pthread_join(reader[i].thread, NULL);
        if (reader[i].wrong)
            row_fail("read %llu of slot %u %s", (unsigned long long)reader[i].answered,
                     reader[i].slot, reader[i].wrong);
        latest = reader[i].latest_ns > latest ? reader[i].latest_ns : latest;
    }
    return row_failed() ? 0 : latest;
}

static bool open_both(struct daemon *d)
{
    static const struct world_options o = { .sim = { .futex = true, .irq_again_ms = 20 } };
    static const char *const names[2] = { "a", "b" };

    if (!world_open(&world, d, &o))
        return false;
    for (unsigned int i = 0; i < 2; i++) {
        load[i] = (struct load){ .disk = &disk[i], .depth = 2, .bytes = 4096 };
        if (!world_add_disk(&world, 0, i, names[i], IMAGE) ||
            !world_disk(&disk[i], &world, 0, i, NULL) || !world_up(&disk[i]))
            return false;
    }
    return world_load(&world, &load[1]) && world_load_flows(&load[1], 10);
}

/*
 * Without the stop the first disk is idle: with it its I/O does not get far either, so that the
 * rest of the machine has the same work in both runs.
 */
static bool compare(struct daemon *d, const char *worker, unsigned int seconds, bool last)
{
    uint64_t before, with, without = run_readers(seconds);

    if (!without || !world_load(&world, &load[0]) || !world_load_flows(&load[0], 10) ||
        !thread_stop(&stopped, d, worker))
        return false;
    before = atomic_load(&load[0].done);
    with = run_readers(seconds);
    if (!row_failed() && atomic_load(&load[0].done) > before + 2 * load[0].depth)
        row_fail("I/O went on, so the wrong thread was stopped");
    if (!row_failed())
        world_load_flows(&load[1], 10); /* the other worker's */
    thread_go_on(&stopped);
    if (row_failed() || !world_load_flows(&load[0], 10) || !world_load_stop(&world, &load[0]))
        return false;
    row_note("latest read %llu us without, %llu us with %s stopped for %u s",
             (unsigned long long)without / 1000, (unsigned long long)with / 1000, worker, seconds);
    if (with <= without + LATE_NS)
        return true;
    return last && row_fail("a read was answered %llu ms after it was due; without the stop the "
                            "latest took %llu ms", (unsigned long long)with / 1000000,
                            (unsigned long long)without / 1000000);
}

static void worker_stopped(struct daemon *d)
{
    unsigned int seconds = flags.seconds ? flags.seconds : flags.all ? SECONDS_ALL : SECONDS;
    char name[32];
    int first, second;
    bool good = false;

    MUST(open_both(d));
    first = thread_worker_of(d, "a");
    second = thread_worker_of(d, "b");
    MUST(first >= 0 && second >= 0);
    CHECK(first != second, "both disks are on worker %d", first);
    snprintf(name, sizeof(name), "worker-%d", first);
    for (int i = 0; i < TRIES && !good && !row_failed(); i++)
        good = compare(d, name, seconds, i == TRIES - 1);
    thread_go_on(&stopped);
    MUST(good && world_load_stop(&world, &load[1]) && world_down(&disk[0]) &&
         world_down(&disk[1]) && world_fine(&world));
}

int main(int argc, char **argv)
{
    static const char *const args[] = { WORLD_TRAP_ARGS, "--workers", "2", NULL };
    static const struct daemon_options two = { .args = args };
    static const struct row rows[] = { { "stall-one-worker", worker_stopped, &two, NULL } };

    return report_run(argc, argv, rows, 1);
}
