/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow-bridge.c - flow test: what goes over the bridge page, one rule of it after the other. The
 * simulated hypervisor notes every answer too many, too late or too long in all of these.
 */
#include "world.h"

#include "clock.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define IMAGE (4 << 20)
#define CONFIG_BYTES 60u /* of virtio_blk_config; more than that may be there */
#define GARBAGE 0xdeadbeefcafef00dull

static struct world world;
static struct mdisk disk[8];

static bool plain_disk(struct daemon *d, const struct world_options *o)
{
    return world_open(&world, d, o) && world_add_disk(&world, 0, 0, "a", IMAGE) &&
           world_disk(&disk[0], &world, 0, 0, NULL) && world_up(&disk[0]);
}

static bool put(uint32_t cpu, uint64_t address, uint32_t size, bool write, uint64_t *value)
{
    struct sim_access a = { .cpu = cpu, .zone = 1, .address = address, .size = size,
                            .write = write, .value = *value };
    int err = sim_access(world.sim, &a);

    *value = a.value;
    return !err || row_fail("%s of %u bytes at 0x%llx: %s", write ? "a write" : "a read", size,
                            (unsigned long long)address, strerror(-err));
}

/* ---- notifications --------------------------------------------------------------------------- */

struct notifier {
    uint32_t cpu;
    unsigned int n;
    pthread_t thread;
};

static void *notify_often(void *arg)
{
    struct notifier *n = arg;

    for (unsigned int i = 0; i < n->n; i++) {
        uint64_t value = 0;

        if (!put(n->cpu, guest_slot(0).address + VIRTIO_MMIO_QUEUE_NOTIFY, 4, true, &value))
            break;
    }
    return NULL;
}

/* 40 notifies while the daemon stands still: 31 fill the ring, vCPUs spin with the others. */
static void ring_full(struct daemon *d)
{
    struct notifier n[4];

    MUST(plain_disk(d, NULL));
    for (unsigned int round = 0; round < 5; round++) {
        uint64_t before = sim_counts(world.sim).notifies, full = sim_counts(world.sim).full;

        int status = 0;
        kill(d->pid, SIGSTOP);
        CHECK(waitpid(d->pid, &status, WUNTRACED) == d->pid && WIFSTOPPED(status),
              "the daemon does not stop");
        for (uint32_t i = 0; i < 4; i++) {
            n[i] = (struct notifier){ .cpu = 4 + i, .n = 10 };
            pthread_create(&n[i].thread, NULL, notify_often, &n[i]);
        }
        bool stuck = sim_wait_full(world.sim, full + 1, WORLD_TIMEOUT_MS);
        kill(d->pid, SIGCONT);
        for (int i = 0; i < 4; i++)
            pthread_join(n[i].thread, NULL);
        CHECK(stuck, "the ring did not get full");
        CHECK(sim_counts(world.sim).notifies == before + 40, "notifies got lost");
        CHECK(sim_wait_drained(world.sim, WORLD_TIMEOUT_MS), "the ring is not drained");
        MUST(world_works(&disk[0], round) && world_fine(&world));
    }
}

/* Neither a notify nor a read of that register is answered, with a device or without. */
static void notify_unanswered(struct daemon *d)
{
    MUST(plain_disk(d, NULL));
    for (uint32_t i = 0; i < 200; i++) {
        uint64_t value = i % 5, address = guest_slot(i / 2 % 2).address + SIM_NOTIFY_OFFSET;

        MUST(put(8, address, 4, i % 4 != 3, &value));
        /* The register file is read behind it, so it has been taken. */
        address = guest_slot(0).address;
        MUST(put(9, address, 4, false, &value));
        CHECK(value == 0x74726976, "the magic reads 0x%llx", (unsigned long long)value);
        MUST(put(8, address, 4, false, &value));
        CHECK(value == 0x74726976, "after a notify the magic reads 0x%llx",
              (unsigned long long)value);
    }
    MUST(world_works(&disk[0], 1) && world_fine(&world));
}

/*
 * One trapped region for several slots: the notify of all but the first is an access like others.
 * Where no slot is, 0 is read.
 */
static void wide_region(struct daemon *d)
{
    static const struct world_options o = { .sim = { .futex = true },
                                            .not_started = true, .slots = 0 };
    uint64_t value = 0;

    MUST(world_open(&world, d, &o));
    /* Declared by hand: the region first. */
    guest_free(&world.guest[0]);
    struct guest_options go = { .zone = 2, .n_cpus = 8, .memory = 4 << 20 };
    struct guest *g = &world.guest[0];
    CHECK(guest_init(g, world.sim, &go) == 0, "no guest");
    CHECK(sim_zone_region(world.sim, 2, GUEST_SLOT_BASE, 0x1000) == 0, "no region");
    for (unsigned int i = 0; i < 2; i++) {
        struct sim_slot slot = guest_slot(i);
        CHECK(sim_zone_slot(world.sim, 2, &slot) == 0, "no slot");
    }
    MUST(world_start(&world) && world_add_disk(&world, 0, 1, "a", IMAGE) &&
         world_disk(&disk[0], &world, 0, 1, NULL) && world_up(&disk[0]) &&
         world_works(&disk[0], 1));
    uint64_t notifies = sim_counts(world.sim).notifies;
    CHECK(disk[0].ring[0].kicks > 0, "the disk was never kicked");
    CHECK(notifies == 0, "%llu accesses counted as notifies", (unsigned long long)notifies);
    struct sim_access a = { .cpu = 7, .zone = 2, .address = GUEST_SLOT_BASE + 0x800, .size = 4 };
    CHECK(sim_access(world.sim, &a) == 0 && a.value == 0, "an address in no slot reads 0x%llx",
          (unsigned long long)a.value);
    a.write = true;
    CHECK(sim_access(world.sim, &a) == 0, "a write to no slot is not answered");
    a = (struct sim_access){ .cpu = 7, .zone = 2, .address = GUEST_SLOT_BASE + SIM_NOTIFY_OFFSET,
                             .size = 4, .write = true, .value = value };
    CHECK(sim_access(world.sim, &a) == 0 && a.notify, "the first slot's is no notify");
    MUST(world_down(&disk[0]) && world_fine(&world));
}

/* ---- values ---------------------------------------------------------------------------------- */

static void config_sizes(struct daemon *d)
{
    uint8_t bytes[CONFIG_BYTES];
    uint64_t base = guest_slot(0).address + VIRTIO_MMIO_CONFIG, value;

    MUST(plain_disk(d, NULL));
    for (uint32_t i = 0; i < CONFIG_BYTES; i++) {
        MUST(put(6, base + i, 1, false, &value));
        bytes[i] = (uint8_t)value;
    }
    for (uint32_t size = 2; size <= 8; size *= 2)
        for (uint32_t i = 0; i + size <= CONFIG_BYTES; i += size) {
            uint64_t want = 0;
            memcpy(&want, bytes + i, size);
            MUST(put(6, base + i, size, false, &value));
            CHECK(value == le64toh(want), "%u bytes at %u of the config space read 0x%llx", size, i,
                  (unsigned long long)value);
        }
    memcpy(&value, bytes, 8);
    CHECK(le64toh(value) == IMAGE / 512, "the capacity is %llu", (unsigned long long)value);
    /* To the end of the slot: whatever it is, no longer than asked for; the hypervisor looks. */
    for (uint32_t size = 1; size <= 8; size *= 2)
        for (uint32_t i = 0; i + size <= GUEST_SLOT_LENGTH; i += size) {
            if (i == SIM_NOTIFY_OFFSET) /* nobody answers that */
                continue;
            MUST(put(6, guest_slot(0).address + i, size, false, &value));
        }
    MUST(world_works(&disk[0], 1) && world_fine(&world));
}

/* What is above the bytes of a write is anything: the hypervisor here puts garbage there. */
static void values_unmasked(struct daemon *d)
{
    uint64_t base = guest_slot(0).address, wce = base + VIRTIO_MMIO_CONFIG +
                    offsetof(struct virtio_blk_config, wce), value;

    MUST(plain_disk(d, NULL));
    for (unsigned int i = 0; i < 20; i++) {
        value = i % 2;
        MUST(put(6, wce, 1, true, &value));
        MUST(put(6, wce, 1, false, &value));
        CHECK(value == i % 2, "%u written to wce reads %llu", i % 2, (unsigned long long)value);
        /* Of 4 bytes, in a word that a daemon might keep whole. */
        value = GARBAGE;
        MUST(put(6, base + VIRTIO_MMIO_QUEUE_SEL, 4, true, &value));
        MUST(put(6, base + VIRTIO_MMIO_QUEUE_NUM_MAX, 4, false, &value));
        CHECK(value == 0, "queue 0x%x has %llu entries", (uint32_t)GARBAGE,
              (unsigned long long)value);
        value = 0;
        MUST(put(6, base + VIRTIO_MMIO_QUEUE_SEL, 4, true, &value));
        MUST(put(6, base + VIRTIO_MMIO_QUEUE_NUM_MAX, 4, false, &value));
        CHECK(value != 0, "queue 0 is not there");
        value = 0;
        MUST(put(6, base + VIRTIO_MMIO_INTERRUPT_ACK, 4, true, &value));
    }
    MUST(world_works(&disk[0], 1) && world_down(&disk[0]));
    /* Status is one byte of meaning in four: what is written is what is read. */
    value = 3;
    MUST(put(6, base + VIRTIO_MMIO_STATUS, 4, true, &value) &&
         put(6, base + VIRTIO_MMIO_STATUS, 4, false, &value));
    CHECK(value == 3, "Status 3 reads 0x%llx", (unsigned long long)value);
    MUST(world_fine(&world));
}

/* ---- going to sleep -------------------------------------------------------------------------- */

/*
 * Accesses at every moment of the access thread's way to sleep; none of them is overlooked. It goes
 * to sleep right after an answer, or after it has looked for a while, so the pause before the next
 * access is short or long. The vCPU spins: woken up from a sleep it would come too late.
 */
static void falling_asleep(struct daemon *d)
{
    unsigned int n = flags.all ? 200000 : 40000;

    MUST(plain_disk(d, NULL) && world_down(&disk[0]));
    for (unsigned int i = 0; i < n; i++) {
        uint64_t until = clock_ns() + (uint64_t)i * 7919 % (i % 2 ? 6000 : 60000), value;

        while (clock_ns() < until)
            ring_relax();
        MUST(put(6, guest_slot(0).address, 4, false, &value));
    }
    row_note("%u reads, %llu wake-ups", n, (unsigned long long)sim_counts(world.sim).wakeups);
    CHECK(sim_counts(world.sim).wakeups > 0, "the daemon never slept");
    MUST(world_fine(&world));
}

/* ---- interrupts ------------------------------------------------------------------------------ */

/* The edge of the second request comes while the first is still being handled, and is lost. */
struct second {
    struct blk_request *req;
    bool submitted;
};

static void submit_second(struct mmio_dev *dev, void *arg)
{
    struct second *s = arg;
    struct ring *ring = disk[0].queue[0].ring;
    uint64_t deadline = clock_deadline(WORLD_TIMEOUT_MS), dropped;

    if (s->submitted)
        return;
    s->submitted = true;
    dropped = sim_irq_counts(dev->guest->sim, 1, UINT32_MAX).dropped;
    if (blk_queue_add(&disk[0].queue[0], s->req) || ring_submit(ring))
        row_fail("the second request does not go");
    /* Both, so that it is lost for sure: used, and told. */
    while (sim_irq_counts(dev->guest->sim, 1, UINT32_MAX).dropped == dropped)
        if (!clock_left_ms(deadline)) {
            row_fail("the second request raised no interrupt");
            break;
        }
}

/*
 * Its first request completes; within that interrupt the second does. Only the watchdog can tell
 * the driver, who sleeps until it is told.
 */
static void edge_is_lost(struct daemon *d)
{
    static const struct world_options o = { .sim = { .futex = true, .irq_again_ms = 20 } };
    static const struct mdisk_options mo = { .requests = 4 };
    unsigned int n = flags.all ? 200 : 20;

    MUST(world_open(&world, d, &o) && world_add_disk(&world, 0, 0, "a", IMAGE) &&
         world_disk(&disk[0], &world, 0, 0, &mo) && world_up(&disk[0]));
    struct blk_queue *q = &disk[0].queue[0];
    for (unsigned int i = 0; i < n; i++) {
        struct second second = { .req = blk_take(q) };
        struct blk_request *first = blk_take(q), *done[4];
        uint64_t deadline = clock_deadline(WORLD_TIMEOUT_MS);
        struct pollfd p = { .fd = disk[0].mmio.call_fd[0], .events = POLLIN };
        int got = 0;
        bool told = true;

        CHECK(first && second.req, "no request is free");
        first->len = second.req->len = 4096;
        ring_drain_calls(q->ring);
        ring_arm(q->ring, 1);
        disk[0].mmio.in_interrupt_arg = &second;
        disk[0].mmio.in_interrupt = submit_second;
        CHECK(blk_queue_add(q, first) == 0 && ring_submit(q->ring) == 0, "no request goes");
        /* As a driver that looks at its ring only when it is interrupted. */
        while (got < 2 && told && !row_failed()) {
            told = poll(&p, 1, clock_left_ms(deadline)) > 0;
            if (told && second.submitted) {
                ring_drain_calls(q->ring);
                int rc = blk_reap(q, done, 4);
                got += rc > 0 ? rc : 0;
                for (int k = 0; k < rc; k++)
                    blk_put(q, done[k]);
            }
        }
        guest_bind(&world.guest[0], 0, NULL); /* the handler does not run after this */
        disk[0].mmio.in_interrupt = NULL;
        guest_bind(&world.guest[0], 0, &disk[0].mmio);
        MUST(!row_failed());
        CHECK(got == 2, "round %u: the driver was never told of the second request", i);
    }
    CHECK(sim_irq_counts(world.sim, 1, UINT32_MAX).dropped >= n, "no edge was lost");
    MUST(world_fine(&world));
}

static bool kick_all(unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        struct blk_request *req = blk_take(&disk[i].queue[0]);

        if (!req)
            return row_fail("no request is free");
        req->len = 4096;
        ring_arm(&disk[i].ring[0], 1);
        if (blk_queue_add(&disk[i].queue[0], req) || ring_submit(&disk[i].ring[0]))
            return row_fail("a request does not go");
    }
    return true;
}

/* Eight devices interrupt a zone that takes none: seven come, the eighth waits for a while. */
static void seven_pending(struct daemon *d)
{
    static const struct world_options o = { .sim = { .futex = true, .irq_again_ms = 20 },
                                            .slots = 8 };
    static const struct mdisk_options mo = { .requests = 4, .num = 16 };
    static const char *const names[] = { "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7" };

    MUST(world_open(&world, d, &o));
    for (unsigned int i = 0; i < 8; i++)
        MUST(world_add_disk(&world, 0, i, names[i], IMAGE) &&
             world_disk(&disk[i], &world, 0, i, &mo) && world_up(&disk[i]));
    for (unsigned int round = 0; round < 5; round++) {
        guest_mask(&world.guest[0], true);
        sim_irq_pass(world.sim);
        MUST(kick_all(8));
        CHECK(sim_irq_wait_pending(world.sim, 1, 7, WORLD_TIMEOUT_MS), "no seven interrupts");
        CHECK(sim_irq_wait_pending(world.sim, 1, 8, WORLD_TIMEOUT_MS),
              "a guest that takes no interrupts starves its eighth device for ever");
        guest_mask(&world.guest[0], false);
        for (unsigned int i = 0; i < 8; i++) {
            struct blk_request *done;
            CHECK(ring_wait(&disk[i].ring[0], WORLD_TIMEOUT_MS) == 0 &&
                      blk_reap(&disk[i].queue[0], &done, 1) == 1,
                  "disk %u does not complete", i);
            blk_put(&disk[i].queue[0], done);
        }
        uint64_t deadline = clock_deadline(WORLD_TIMEOUT_MS);
        while (sim_irq_counts(world.sim, 1, UINT32_MAX).pending && clock_left_ms(deadline))
            poll(NULL, 0, 1);
        MUST(world_fine(&world));
    }
    /* With a guest that acknowledges, the eighth does not wait that long. */
    for (unsigned int i = 0; i < 8; i++)
        MUST(world_works(&disk[i], i));
    MUST(world_fine(&world));
}

int main(int argc, char **argv)
{
    static const struct row rows[] = {
        { "bridge-ring-full", ring_full, &world_daemon, NULL },
        { "bridge-notify-unanswered", notify_unanswered, &world_daemon, NULL },
        { "bridge-wide-region", wide_region, &world_daemon, NULL },
        { "bridge-config-sizes", config_sizes, &world_daemon, NULL },
        { "bridge-values-unmasked", values_unmasked, &world_daemon, NULL },
        { "bridge-falling-asleep", falling_asleep, &world_daemon, NULL },
        { "bridge-edge-is-lost", edge_is_lost, &world_daemon, NULL },
        { "bridge-seven-pending", seven_pending, &world_daemon, NULL },
    };

    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
