/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow-hvisor.c - flow test: the platform hvisor, on a device file whose ioctls go to the simulated
 * hypervisor. Daemons come and go here, the device file stays.
 */
#include "thread.h"
#include "world.h"

#include "clock.h"
#include "hvisor-ioctl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#define IMAGE (4 << 20)
#define ROUNDS 4u
#define ROUNDS_ALL 30u
#define MAGIC 0x74726976u
#define THREAD "access-hvisor"
#define HELD_NS 2000000000ull
#define SOON_NS 1000000000ull /* far below that, far above an answer on a busy machine */
#define MEASURE_MS 1500
#define READS 40u

static struct world world;
static struct mdisk disk[4];
static struct load load[4];

/* world_open() starts the daemon; the disk of its virtio file is brought up. */
static bool disk_of_file(struct daemon *d, struct world_options o)
{
    o.hvisor = true;
    o.image = "a";
    return daemon_image(d, "a", IMAGE) && world_open(&world, d, &o) &&
           world_disk(&disk[0], &world, 0, 0, NULL) && world_up(&disk[0]);
}

static bool reg(uint32_t cpu, uint32_t zone, unsigned int slot, uint32_t offset, uint64_t *value)
{
    struct sim_access a = { .cpu = cpu, .zone = zone, .size = 4,
                            .address = guest_slot(slot).address + offset };
    int err = sim_access(world.sim, &a);

    *value = a.value;
    return !err || row_fail("a read of 0x%x by CPU %u: %s", offset, cpu, strerror(-err));
}

static bool run_load(struct load *l, struct mdisk *of, uint64_t requests)
{
    *l = (struct load){ .disk = of, .depth = 8, .bytes = 4096 };
    return world_load(&world, l) && world_load_flows(l, requests);
}

/* Its requests will not be answered. */
static void abandon(struct load *l)
{
    load_stop(l, true);
    for (unsigned int i = 0; i < WORLD_LOADS; i++)
        if (world.load[i] == l)
            world.load[i] = NULL;
}

/* ---- serving --------------------------------------------------------------------------------- */

static bool notify_unanswered(uint32_t cpu)
{
    for (unsigned int i = 0; i < 50; i++) {
        struct sim_access a = { .cpu = cpu, .zone = 1, .size = 4, .write = i % 2,
                                .address = guest_slot(i / 2 % 2).address + SIM_NOTIFY_OFFSET };
        uint64_t value;

        if (sim_access(world.sim, &a) || !a.notify)
            return row_fail("offset 0x50 is no notification");
        if (!reg(cpu, 1, 0, VIRTIO_MMIO_MAGIC_VALUE, &value))
            return false;
        if (value != MAGIC)
            return row_fail("after a notification the magic reads 0x%llx",
                            (unsigned long long)value);
    }
    return true;
}

/* What is above the bytes of a write is garbage, which the hypervisor here takes care of. */
static bool values_unmasked(uint32_t cpu)
{
    for (unsigned int i = 0; i < 20; i++) {
        struct sim_access a = { .cpu = cpu, .zone = 1, .size = 1, .write = true, .value = i % 2,
                                .address = guest_slot(0).address + VIRTIO_MMIO_CONFIG +
                                           offsetof(struct virtio_blk_config, wce) };

        if (sim_access(world.sim, &a))
            return row_fail("a write of one byte failed");
        a.write = false;
        if (sim_access(world.sim, &a) || a.value != i % 2)
            return row_fail("%u written to wce reads 0x%llx", i % 2, (unsigned long long)a.value);
    }
    return true;
}

/* The memory is in two places, neither of them where the zone sees it. */
static void virtio_file(struct daemon *d)
{
    static const struct mdisk_options high = { .region = 1, .event_idx = true };
    struct world_options o = { .high = 8 << 20, .slots = 3 };

    MUST(disk_of_file(d, o) && world_add_disk(&world, 0, 1, "b", IMAGE) &&
         world_disk(&disk[1], &world, 0, 1, &high) && world_up(&disk[1]));
    CHECK(world_device_id(&world, 0, 2) == 0, "the disabled device's slot is not empty");
    MUST(run_load(&load[0], &disk[0], 500) && run_load(&load[1], &disk[1], 500) &&
         values_unmasked(9) && notify_unanswered(10) && world_load_stop(&world, &load[0]) &&
         world_load_stop(&world, &load[1]) && world_down(&disk[0]) && world_down(&disk[1]));
    for (unsigned int i = 0; i < 2; i++)
        CHECK(load_check_image(&load[i], in_dir(d, i ? "i/b" : "i/a").s), "%s", load[i].why);
    struct sim_device_counts c = sim_device_counts(world.sim);
    CHECK(c.inits == 1 && c.eventfds == 1, "INIT_VIRTIO %llu times, SET_EVENTFD %llu",
          (unsigned long long)c.inits, (unsigned long long)c.eventfds);
    CHECK(c.finishes > 0 && c.deasserts == 0 && c.unknown == 0,
          "FINISH_REQ %llu times, DEASSERT_IRQ %llu, others %llu", (unsigned long long)c.finishes,
          (unsigned long long)c.deasserts, (unsigned long long)c.unknown);
    MUST(world_fine(&world));
}

/* The id of a device that is not the steady one's. */
static bool other_id(struct daemon *d, char id[64])
{
    json_t *result = daemon_call(d, "device.list", NULL), *device;
    bool found = false;
    size_t i;

    json_array_foreach(json_object_get(result, "devices"), i, device) {
        const char *its = json_string_value(json_object_get(device, "id"));

        if (its && strcmp(its, "blk0") != 0) {
            snprintf(id, 64, "%s", its);
            found = true;
        }
    }
    json_decref(result);
    return found || row_fail("the added device is not listed");
}

static bool one_passes(struct daemon *d, bool file)
{
    struct output o;
    char id[64];

    if (!(file ? ctl(&o, d, "add", "-f", in_dir(d, "more.json").s, NULL)
               : ctl(&o, d, "add", "blk:b,zone=1", NULL)))
        return false;
    if (o.code != 0)
        return row_fail("add: %s", o.err);
    if (!other_id(d, id) || !world_up(&disk[1]) || !run_load(&load[1], &disk[1], 60) ||
        !world_load_stop(&world, &load[1]) || !world_down(&disk[1]) ||
        !ctl(&o, d, "remove", id, NULL))
        return false;
    if (o.code != 0)
        return row_fail("remove: %s", o.err);
    if (world_device_id(&world, 0, 1) != 0)
        return row_fail("the slot is not empty after the remove");
    return load_check_image(&load[1], in_dir(d, "i/b").s) || row_fail("%s", load[1].why);
}

static void add_and_remove(struct daemon *d)
{
    MUST(disk_of_file(d, (struct world_options){ .slots = 2 }) && daemon_image(d, "b", IMAGE) &&
         world_json(&world, "more.json", 1, "b") && world_disk(&disk[1], &world, 0, 1, NULL) &&
         run_load(&load[0], &disk[0], 50));
    for (unsigned int i = 0; i < (flags.all ? ROUNDS_ALL : ROUNDS); i++)
        MUST(one_passes(d, i % 2) && world_load_flows(&load[0], 50) && world_fine(&world));
    MUST(world_load_stop(&world, &load[0]) && world_down(&disk[0]));
    CHECK(load_check_image(&load[0], in_dir(d, "i/a").s), "%s", load[0].why);
    MUST(world_fine(&world));
}

/* ---- one daemon after the other -------------------------------------------------------------- */

struct reader {
    struct sim_access access;
    int err;
    pthread_t thread;
};

static void *read_once(void *arg)
{
    struct reader *r = arg;

    r->err = sim_access(world.sim, &r->access);
    return NULL;
}

/* A vCPU begins to read DeviceID; nobody will answer. */
static bool begin_read(struct reader *r, uint32_t cpu)
{
    r->access = (struct sim_access){ .cpu = cpu, .zone = 1, .size = 4, .value = 77,
                                     .address = guest_slot(0).address + VIRTIO_MMIO_DEVICE_ID };
    r->err = 1;
    if (pthread_create(&r->thread, NULL, read_once, r))
        return row_fail("no thread");
    return sim_wait_waiting(world.sim, 1, WORLD_TIMEOUT_MS) || row_fail("no vCPU waits");
}

static bool end_read(struct reader *r, enum sim_renewed how)
{
    pthread_join(r->thread, NULL);
    if (r->err)
        return row_fail("a vCPU that waited for the last daemon: %s", strerror(-r->err));
    if (r->access.renewed != how || r->access.value != 0)
        return row_fail("a vCPU that waited for the last daemon read 0x%llx, let go %s",
                        (unsigned long long)r->access.value,
                        r->access.renewed == SIM_NOT_RENEWED     ? "before the next"
                        : r->access.renewed == SIM_RENEWED_ANSWER ? "by an answer" : "at once");
    return true;
}

static bool stop_daemon(struct daemon *d)
{
    int status = 0;

    kill(d->pid, SIGSTOP);
    return (waitpid(d->pid, &status, WUNTRACED) == d->pid && WIFSTOPPED(status)) ||
           row_fail("the daemon does not stop");
}

static bool kill_daemon(struct daemon *d)
{
    kill(d->pid, SIGKILL);
    int code = daemon_wait(d, WORLD_TIMEOUT_MS);
    return code == 128 + SIGKILL || row_fail("the daemon ended with %d", code);
}

static bool works_anew(uint64_t seed)
{
    return world_up(&disk[0]) && world_works(&disk[0], seed) && world_fine(&world);
}

/* The vCPU's flag was not 0 when it began to wait: the fresh page is all it takes. */
static void let_go_at_once(struct daemon *d)
{
    struct reader r;
    uint64_t id;

    MUST(disk_of_file(d, (struct world_options){ 0 }));
    for (unsigned int i = 0; i < 3; i++) {
        MUST(reg(20, 1, 0, VIRTIO_MMIO_DEVICE_ID, &id));
        CHECK(id == 2, "DeviceID reads %llu", (unsigned long long)id);
        MUST(stop_daemon(d));
        bool began = begin_read(&r, 20);
        bool killed = kill_daemon(d) && daemon_start(d);
        if (!killed)
            sim_disconnect(world.sim); /* lets the vCPU go */
        bool ended = end_read(&r, SIM_RENEWED_AT_ONCE);
        MUST(began && killed && ended && works_anew(i));
    }
}

/*
 * It was 0: the vCPU began to wait on the page of a daemon that did not get far. Nothing but an
 * answer helps it, and it cannot ask for one.
 */
static void let_go_by_answer(struct daemon *d)
{
    struct reader r;

    MUST(disk_of_file(d, (struct world_options){ 0 }) && kill_daemon(d));
    sim_device_init(world.sim);
    bool began = begin_read(&r, 20);
    bool started = daemon_start(d);
    if (!started)
        sim_disconnect(world.sim);
    bool ended = end_read(&r, SIM_RENEWED_ANSWER);
    MUST(began && started && ended && works_anew(1));
    /* From here on no flag is 0, so the daemon after this one need not do that again. */
    for (uint32_t cpu = 0; cpu < HVV_BRIDGE_CPUS; cpu++)
        CHECK(__atomic_load_n(&sim_page(world.sim)->cfg_flags[cpu], __ATOMIC_RELAXED) != 0,
              "the flag of CPU %u is 0", cpu);
}

/* Killed while it works; what was under way is lost, what comes after is not. */
static void killed_under_load(struct daemon *d)
{
    MUST(disk_of_file(d, (struct world_options){ 0 }));
    for (unsigned int i = 0; i < (flags.all ? ROUNDS_ALL : ROUNDS); i++) {
        MUST(run_load(&load[0], &disk[0], 50) && kill_daemon(d) && daemon_start(d));
        abandon(&load[0]);
        MUST(works_anew(i));
    }
}

struct prober {
    atomic_bool stop;
    atomic_uint reads;
    unsigned int renewed;
    uint64_t bad; /* what else than a disk was read */
    int err;
    pthread_t thread;
};

static void *probe_on(void *arg)
{
    struct prober *p = arg;

    while (!atomic_load(&p->stop)) {
        struct sim_access a = { .cpu = 21, .zone = 1, .size = 4,
                                .address = guest_slot(0).address + VIRTIO_MMIO_DEVICE_ID };

        p->err = sim_access(world.sim, &a);
        if (p->err)
            break;
        atomic_fetch_add(&p->reads, 1);
        p->renewed += a.renewed != SIM_NOT_RENEWED;
        if (a.renewed != SIM_NOT_RENEWED)
            continue;
        if (a.value != 2 && !p->bad)
            p->bad = a.value ? a.value : UINT64_MAX;
    }
    return NULL;
}

static bool goes_on(struct prober *p)
{
    unsigned int want = atomic_load(&p->reads) + 100;
    uint64_t deadline = clock_deadline(WORLD_TIMEOUT_MS);

    while (atomic_load(&p->reads) < want) {
        if (!clock_left_ms(deadline))
            return row_fail("a vCPU that probes does not get on");
        poll(NULL, 0, 1);
    }
    return true;
}

/* A zone that probes its slots while one daemon follows another finds the disk, or waits. */
static void never_empty(struct daemon *d)
{
    static struct prober p;

    MUST(disk_of_file(d, (struct world_options){ 0 }));
    p = (struct prober){ 0 };
    CHECK(pthread_create(&p.thread, NULL, probe_on, &p) == 0, "no thread");
    bool good = goes_on(&p);
    for (unsigned int i = 0; i < 3 && good; i++)
        good = kill_daemon(d) && daemon_start(d) && goes_on(&p);
    atomic_store(&p.stop, true);
    if (!good)
        sim_disconnect(world.sim);
    pthread_join(p.thread, NULL);
    MUST(good);
    row_note("%u reads, %u of them while a daemon ended", atomic_load(&p.reads), p.renewed);
    CHECK(!p.err, "a read: %s", strerror(-p.err));
    CHECK(p.renewed > 0, "the vCPU never waited for a daemon");
    CHECK(!p.bad, "one of %u reads found DeviceID %lld in the disk's slot",
          atomic_load(&p.reads), p.bad == UINT64_MAX ? 0ll : (long long)p.bad);
    MUST(works_anew(1));
}

/* ---- refused --------------------------------------------------------------------------------- */

static bool refused_with(const struct daemon *d, const char *const *words, const char *one,
                         const char *two)
{
    struct output o;

    if (!daemon_try(d, words, &o))
        return false;
    if (o.code != 1)
        return row_fail("a daemon that is to say \"%s\" ended with %d: %s", one, o.code, o.err);
    return (has_text(o.err, one) && has_text(o.err, two)) ||
           row_fail("instead of \"%s ... %s\": %s", one, two, o.err);
}

static void second_daemon(struct daemon *d)
{
    struct text control = in_dir(d, "other.sock");
    const char *const words[] = { "--control", control.s, NULL };

    MUST(disk_of_file(d, (struct world_options){ 0 }) && run_load(&load[0], &disk[0], 50));
    for (unsigned int i = 0; i < 3; i++)
        MUST(refused_with(d, words, "hvisor's device ", "is used by another daemon: stop that") &&
             world_load_flows(&load[0], 50));
    CHECK(access(control.s, F_OK) < 0, "the second daemon left its control socket");
    CHECK(sim_device_counts(world.sim).inits == 1, "the second daemon took the bridge");
    MUST(world_load_stop(&world, &load[0]) && world_down(&disk[0]) && world_fine(&world));
}

/* Nobody has the device file. */
static bool device_is_free(const struct daemon *d)
{
    int fd = open(in_dir(d, "hvisor").s, O_RDWR | O_CLOEXEC);
    bool good = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;

    if (fd >= 0)
        close(fd);
    return good || row_fail("the device file is still locked");
}

static void refused(struct daemon *d)
{
    static const struct world_options o = { .hvisor = true, .not_started = true };
    static const struct {
        uint32_t request;
        int answer;
        const char *words[4];
        const char *one, *two;
    } rows[] = {
        { HVISOR_INIT_VIRTIO, HVISOR_NO_IRQ, { NULL },
          "cannot be initialised", "has the root zone's device tree hvisor's virtio interrupt?" },
        { HVISOR_INIT_VIRTIO, -ENOMEM, { NULL },
          "cannot be initialised", "Cannot allocate memory" },
        { 0, 0, { "--hvisor=absent", NULL },
          "cannot open hvisor's device", "is hvisor.ko loaded?" },
        { HVISOR_SET_EVENTFD, -EINVAL, { NULL }, "takes no eventfd", "Invalid argument" },
        /* After INIT, with the access thread running. */
        { 0, 0, { "--trap", "/absent/trap.sock", NULL },
          "there is no directory /absent", "trap.sock" },
        { 0, 0, { "--control", "/absent/sock", NULL },
          "there is no directory /absent", "/absent/sock" },
        { 0, 0, { "-d", "blk:/absent,zone=1", NULL }, "/absent", "No such file" },
    };

    MUST(world_open(&world, d, &o));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        sim_device_refuse(world.sim, rows[i].request, rows[i].answer);
        MUST(refused_with(d, rows[i].words, rows[i].one, rows[i].two) && device_is_free(d) &&
             daemon_left_nothing(d));
    }
    sim_device_refuse(world.sim, 0, 0);
    MUST(daemon_start(d) && world_start(&world) && world_add_disk(&world, 0, 0, "a", IMAGE) &&
         world_disk(&disk[0], &world, 0, 0, NULL) && works_anew(1) && daemon_stop(d) &&
         device_is_free(d) && daemon_left_nothing(d));
}

/* ---- sleeping -------------------------------------------------------------------------------- */

/* The daemon has asked to be woken up: it sleeps, or is about to. */
static bool falls_asleep(void)
{
    const struct hvv_bridge_page *page = sim_page(world.sim);
    uint64_t deadline = clock_deadline(WORLD_TIMEOUT_MS);

    while (!__atomic_load_n(&page->need_wakeup, __ATOMIC_RELAXED)) {
        if (!clock_left_ms(deadline))
            return row_fail("the daemon does not go to sleep");
        poll(NULL, 0, 1);
    }
    return true;
}

/* Nobody wakes it up: it looks by itself. */
static void lost_wakeup(struct daemon *d)
{
    uint64_t longest = 0;

    MUST(disk_of_file(d, (struct world_options){ .sim = { .no_wakeup = true } }));
    for (unsigned int i = 0; i < READS; i++) {
        struct sim_access a = { .cpu = 9, .zone = 1, .size = 4,
                                .address = guest_slot(0).address };

        MUST(falls_asleep());
        CHECK(sim_access(world.sim, &a) == 0 && a.value == MAGIC, "the magic reads 0x%llx",
              (unsigned long long)a.value);
        longest = a.took_ns > longest ? a.took_ns : longest;
    }
    row_note("longest access %llu ms", (unsigned long long)longest / 1000000);
    CHECK(longest < SOON_NS, "an access took %llu ms", (unsigned long long)longest / 1000000);
    CHECK(sim_counts(world.sim).wakeups == 0, "the daemon was woken up");
    MUST(world_works(&disk[0], 1) && world_fine(&world));
}

/* How often a second the access thread goes to sleep. */
static long sleep_rate(const struct daemon *d)
{
    uint64_t start = clock_ns();
    long before = thread_sleeps(d, THREAD), after;

    if (before < 0)
        return -1;
    poll(NULL, 0, MEASURE_MS);
    after = thread_sleeps(d, THREAD);
    return after < 0 ? -1 : (long)((uint64_t)(after - before) * 1000000000 / (clock_ns() - start));
}

static void idle(struct daemon *d)
{
    struct world_options o = { .hvisor = true };
    struct output out;

    MUST(world_open(&world, d, &o));
    CHECK(world_device_id(&world, 0, 0) == 0, "a spare slot is not empty"); /* it runs */
    long served = sleep_rate(d);
    CHECK(served >= 0 && served <= 150, "%ld wake-ups a second with an idle zone", served);
    CHECK(served >= 5, "a lost wake-up is not looked for: %ld a second", served);
    MUST(ctl(&out, d, "zone", "remove", "1", NULL));
    CHECK(out.code == 0, "zone remove: %s", out.err);
    sleep_rate(d); /* what follows the start is over after this */
    long without = sleep_rate(d);
    row_note("%ld wake-ups a second with an idle zone, %ld with none", served, without);
    CHECK(without == 0, "%ld wake-ups a second with no zone", without);
    /* It wakes up for the next one. */
    MUST(daemon_image(d, "a", IMAGE) && world_json(&world, "more.json", 0, "a") &&
         ctl(&out, d, "add", "-f", in_dir(d, "more.json").s, NULL));
    CHECK(out.code == 0, "add -f: %s", out.err);
    MUST(world_disk(&disk[0], &world, 0, 0, NULL) && world_up(&disk[0]) &&
         world_works(&disk[0], 1) && world_fine(&world));
}

/* A hypervisor that signals nothing, and a daemon that is told so. */
static void polling(struct daemon *d)
{
    const struct hvv_bridge_page *page;
    uint64_t shortest = UINT64_MAX;

    MUST(disk_of_file(d, (struct world_options){ .sim = { .no_wakeup = true } }));
    page = sim_page(world.sim);
    long before = thread_sleeps(d, THREAD);
    for (unsigned int i = 0; i < 200; i++) {
        struct sim_access a = { .cpu = 9, .zone = 1, .size = 4,
                                .address = guest_slot(0).address };

        poll(NULL, 0, 1); /* time enough to fall asleep */
        CHECK(!__atomic_load_n(&page->need_wakeup, __ATOMIC_RELAXED), "it wants to be woken up");
        CHECK(sim_access(world.sim, &a) == 0 && a.value == MAGIC, "the magic reads 0x%llx",
              (unsigned long long)a.value);
        shortest = a.took_ns < shortest ? a.took_ns : shortest;
    }
    long sleeps = thread_sleeps(d, THREAD) - before;
    row_note("shortest access %llu ns, %ld sleeps", (unsigned long long)shortest, sleeps);
    CHECK(shortest < 5000000, "no access took less than %llu us",
          (unsigned long long)shortest / 1000);
    CHECK(sleeps < 20, "the access thread slept %ld times", sleeps); /* a lock now and then */
    MUST(world_works(&disk[0], 1) && run_load(&load[0], &disk[0], 100) &&
         world_load_stop(&world, &load[0]) && world_down(&disk[0]) && world_fine(&world));
}

/* ---- FINISH_REQ takes its time --------------------------------------------------------------- */

/* Without waiting: what tells of its completion is held back. */
static bool kick_one(struct mdisk *of)
{
    struct blk_request *req = blk_take(&of->queue[0]);

    if (!req)
        return row_fail("no request is free");
    req->len = 4096;
    ring_drain_calls(&of->ring[0]);
    ring_arm(&of->ring[0], 1);
    return (blk_queue_add(&of->queue[0], req) == 0 && ring_submit(&of->ring[0]) == 0) ||
           row_fail("a request does not go");
}

static bool is_told(struct mdisk *of)
{
    struct pollfd p = { .fd = of->mmio.call_fd[0], .events = POLLIN };
    struct blk_request *done;

    if (poll(&p, 1, WORLD_TIMEOUT_MS) != 1 || blk_reap(&of->queue[0], &done, 1) != 1)
        return row_fail("zone %u, slot %u: no interrupt after FINISH_REQ returned",
                        of->mmio.guest->zone, of->mmio.slot);
    blk_put(&of->queue[0], done);
    return true;
}

/*
 * Registers of both zones, also those that stop and start queues. It is let go after this: an access
 * that waits for it is never answered.
 */
static bool registers_while_held(void)
{
    uint64_t until = clock_ns() + HELD_NS, start, value, longest = 0;
    unsigned int n = 0;

    for (; clock_ns() < until; n++) {
        start = clock_ns();
        if (!reg(14, 1, 0, VIRTIO_MMIO_STATUS, &value) ||
            !reg(30, 2, 0, VIRTIO_MMIO_STATUS, &value))
            return false;
        if (n % 64 == 0 && (!world_down(&disk[3]) || !world_up(&disk[3])))
            return false;
        if (clock_ns() - start > longest)
            longest = clock_ns() - start;
    }
    row_note("%u times two reads beside a held FINISH_REQ, longest %llu ms", n,
             (unsigned long long)longest / 1000000);
    return true;
}

static void finish_is_held(struct daemon *d)
{
    static const struct mdisk_options mo = { .requests = 4, .num = 16 };
    static const char *const names[] = { "a", "b", "c", "e" };
    struct world_options o = { .hvisor = true, .guests = 2 };

    MUST(world_open(&world, d, &o));
    for (unsigned int i = 0; i < 4; i++)
        MUST(world_add_disk(&world, i / 2, i % 2, names[i], IMAGE) &&
             world_disk(&disk[i], &world, i / 2, i % 2, &mo) && world_up(&disk[i]));
    for (unsigned int i = 0; i < 4; i++)
        MUST(world_works(&disk[i], i));
    sim_device_hold(world.sim, true);
    MUST(kick_one(&disk[0]));
    CHECK(sim_device_wait_held(world.sim, WORLD_TIMEOUT_MS), "FINISH_REQ is not called");
    uint64_t finishes = sim_device_counts(world.sim).finishes;
    uint64_t told = sim_irq_counts(world.sim, 1, UINT32_MAX).told +
                    sim_irq_counts(world.sim, 2, UINT32_MAX).told;
    MUST(kick_one(&disk[1]) && kick_one(&disk[2]) && registers_while_held());
    CHECK(sim_device_counts(world.sim).held == 1, "FINISH_REQ is called twice at a time");
    CHECK(sim_irq_counts(world.sim, 1, UINT32_MAX).told +
          sim_irq_counts(world.sim, 2, UINT32_MAX).told == told, "interrupts got through");
    sim_device_hold(world.sim, false);
    for (unsigned int i = 0; i < 3; i++)
        MUST(is_told(&disk[i]));
    uint64_t more = sim_device_counts(world.sim).finishes - finishes;
    row_note("%llu FINISH_REQ for three interrupts", (unsigned long long)more);
    CHECK(more >= 1, "FINISH_REQ did not return");
    for (unsigned int i = 0; i < 4; i++)
        MUST(world_works(&disk[i], i));
    MUST(world_fine(&world));
}

/* Without an interrupt. */
static bool is_used(struct mdisk *of)
{
    uint64_t deadline = clock_deadline(WORLD_TIMEOUT_MS);

    while (!ring_arm(&of->ring[0], 1)) {
        if (!clock_left_ms(deadline))
            return row_fail("a request is not completed");
        poll(NULL, 0, 1);
    }
    return true;
}

/* It fails for a while: what it was to tell is told later. */
static void finish_fails(struct daemon *d)
{
    MUST(disk_of_file(d, (struct world_options){ 0 }) && world_works(&disk[0], 1));
    for (unsigned int i = 0; i < 3; i++) {
        sim_device_refuse(world.sim, HVISOR_FINISH_REQ, -EIO);
        uint64_t finishes = sim_device_counts(world.sim).finishes;
        MUST(kick_one(&disk[0]));
        MUST(is_used(&disk[0]));
        CHECK(sim_device_counts(world.sim).finishes == finishes, "FINISH_REQ did not fail");
        sim_device_refuse(world.sim, 0, 0);
        MUST(is_told(&disk[0]));
    }
    MUST(world_works(&disk[0], 2) && world_fine(&world));
}

int main(int argc, char **argv)
{
    static const char *const args[] = { WORLD_HVISOR_ARGS, NULL };
    static const char *const poll_args[] = { WORLD_HVISOR_ARGS, "--hvisor-poll", NULL };
    const struct daemon_options plain = { .args = args, .env = world_hvisor_env(),
                                          .no_start = true };
    const struct daemon_options polls = { .args = poll_args, .env = plain.env, .no_start = true };
    const struct row rows[] = {
        { "hvisor-virtio-file", virtio_file, &plain, NULL },
        { "hvisor-add-remove", add_and_remove, &plain, NULL },
        { "hvisor-let-go-at-once", let_go_at_once, &plain, NULL },
        { "hvisor-let-go-by-answer", let_go_by_answer, &plain, NULL },
        { "hvisor-killed-under-load", killed_under_load, &plain, NULL },
        { "hvisor-never-empty", never_empty, &plain, NULL },
        { "hvisor-second-daemon", second_daemon, &plain, NULL },
        { "hvisor-refused", refused, &plain, NULL },
        { "hvisor-lost-wakeup", lost_wakeup, &plain, NULL },
        { "hvisor-idle", idle, &plain, NULL },
        { "hvisor-polling", polling, &polls, NULL },
        { "hvisor-finish-is-held", finish_is_held, &plain, NULL },
        { "hvisor-finish-fails", finish_fails, &plain, NULL },
    };

    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
