/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * selftest.c - does the simulated hypervisor do what it says, and does it notice each way in which
 * a daemon can break the rules? Against the stand-in, in one process and in two.
 */
#include "mdisk.h"
#include "standin.h"

#include "clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT_MS 20000
#define SHORT_MS 300 /* of an access that is never answered */
#define ZONE 3u

static unsigned int failures;
static char path[64];

static void expect(const char *name, bool good)
{
    printf("%s %s\n", good ? "ok" : "not ok", name);
    fflush(stdout);
    failures += !good;
}

struct fixture {
    struct sim_options options;
    struct standin *daemon;
    struct sim *sim;
    struct guest guest;
};

static bool setup_slots(struct fixture *f, const struct sim_options *options, unsigned int slots)
{
    struct guest_options go = { .zone = ZONE, .cpu = 4, .n_cpus = 2, .memory = 4u << 20,
                                .high = 4u << 20, .slots = slots };

    memset(f, 0, sizeof(*f));
    if (options)
        f->options = *options;
    f->daemon = standin_new(path);
    f->sim = sim_new(&f->options);
    if (!f->daemon || !f->sim)
        return false;
    standin_add(f->daemon, ZONE, 0);
    return guest_init(&f->guest, f->sim, &go) == 0 && sim_connect(f->sim, path) == 0 &&
           sim_zone_start(f->sim, ZONE, &f->guest.mem) == 0 && guest_run(&f->guest) == 0;
}

static void setup(struct fixture *f, const struct sim_options *options)
{
    if (!setup_slots(f, options, 2)) {
        printf("not ok fixture: %s\n", f->sim ? sim_error(f->sim) : strerror(errno));
        exit(1);
    }
}

static void teardown(struct fixture *f, const char *name, bool clean)
{
    if (clean)
        expect(name, sim_violations(f->sim) == 0);
    if (clean && sim_violation(f->sim, 0))
        printf("# %s\n", sim_violation(f->sim, 0));
    guest_free(&f->guest);
    sim_free(f->sim);
    standin_free(f->daemon);
}

static uint64_t reg(unsigned int slot, uint32_t offset)
{
    return guest_slot(slot).address + offset;
}

static int access_cpu(struct fixture *f, uint32_t cpu, bool write, uint64_t address, uint32_t size,
                      uint64_t *value)
{
    struct sim_access a = { .cpu = cpu, .zone = ZONE, .address = address, .size = size,
                            .write = write, .value = *value };
    int err = sim_access(f->sim, &a);

    *value = a.value;
    return err;
}

static int read4(struct fixture *f, uint64_t address, uint64_t *value)
{
    *value = 0;
    return access_cpu(f, 4, false, address, 4, value);
}

/* ---- accesses -------------------------------------------------------------------------------- */

static void registers(const char *name, bool futex)
{
    struct sim_options o = { .futex = futex };
    struct mmio_dev spare;
    struct mdisk disk;
    struct mdisk_options mo = { .slot = 0, .cpu = 1 };
    struct fixture f;
    uint64_t value;

    setup(&f, &o);
    expect("magic", read4(&f, reg(0, 0), &value) == 0 && value == 0x74726976);
    expect("no region, no access", read4(&f, 0x1000, &value) == -ENODEV);
    expect("a disk", mdisk_init(&disk, &f.guest, &mo) == 0 && mdisk_start(&disk) == 0);
    expect("its size", disk.sectors == STANDIN_DISK / 512);
    expect("it works", mdisk_works(&disk, 16, 7) == 0);
    expect("a placeholder",
           mmio_init(&spare, &f.guest, 1, 4) == 0 && mmio_probe(&spare) == -ENODEV);
    value = 0x11;
    expect("a short write",
           access_cpu(&f, 4, true, reg(0, VIRTIO_MMIO_CONFIG + 32), 1, &value) == 0);
    value = standin_last_write(f.daemon);
    expect("carries garbage above its size", (value & 0xff) == 0x11 && value >> 8 != 0);
    mmio_free(&spare);
    mdisk_free(&disk);
    teardown(&f, name, true);
}

static void spanning_region(void)
{
    struct fixture f;
    struct guest_options go = { .zone = ZONE, .memory = 1u << 20, .n_cpus = 1 };
    struct sim_slot slot[2] = { guest_slot(0), guest_slot(1) };
    uint64_t value = 0;

    memset(&f, 0, sizeof(f));
    f.daemon = standin_new(path);
    f.sim = sim_new(&f.options);
    expect("a region over two slots",
           guest_init(&f.guest, f.sim, &go) == 0 &&
               sim_zone_region(f.sim, ZONE, slot[0].address, 2ull * GUEST_SLOT_LENGTH) == 0 &&
               sim_zone_slot(f.sim, ZONE, &slot[0]) == 0 &&
               sim_zone_slot(f.sim, ZONE, &slot[1]) == 0 && sim_connect(f.sim, path) == 0 &&
               sim_zone_start(f.sim, ZONE, &f.guest.mem) == 0);
    for (uint64_t i = 0; i < 4; i++)
        access_cpu(&f, 0, i % 2, reg((unsigned)i / 2, SIM_NOTIFY_OFFSET), 4, &value);
    expect("a notify of the first only", sim_counts(f.sim).notifies == 2);
    teardown(&f, "the second one's is answered", true);
}

static bool noted(struct fixture *f, const char *part)
{
    bool found = false;

    for (unsigned int i = 0; i < sim_violations(f->sim); i++)
        found = found || (sim_violation(f->sim, i) && strstr(sim_violation(f->sim, i), part));
    return found;
}

static void rule(const char *name, enum standin_fault fault, bool notify, const char *part)
{
    struct sim_options o = { .futex = fault == STANDIN_NO_WAKE, .access_deadline_ms = SHORT_MS };
    struct fixture f;
    uint64_t value = 1;

    if (fault == STANDIN_NO_WAKE)
        o.access_deadline_ms = 5000;
    setup(&f, &o);
    standin_fault(f.daemon, fault);
    for (int i = 0; i < 5 && !noted(&f, part); i++) { /* a sleeper may not sleep yet */
        access_cpu(&f, 5, notify, reg(0, notify ? SIM_NOTIFY_OFFSET : 4), 4, &value);
        sim_wait_drained(f.sim, TIMEOUT_MS);
        standin_last_write(f.daemon); /* so it is answered, too */
    }
    standin_fault(f.daemon, STANDIN_GOOD); /* after what was under way */
    expect(name, noted(&f, part));
    sim_forgive(f.sim);
    expect("and forgiven", sim_violations(f.sim) == 0);
    teardown(&f, name, false);
}

/* An access at the wrong moment is not seen; one of many hits it. */
static void lost_wakeup(void)
{
    struct sim_options o = { .access_deadline_ms = SHORT_MS };
    struct fixture f;
    uint64_t value;
    int err = 0;

    setup(&f, &o);
    standin_fault(f.daemon, STANDIN_NO_RECHECK);
    for (int i = 0; i < 200 && !err; i++)
        err = read4(&f, reg(0, 0), &value);
    expect("a daemon that does not look again is noticed",
           err == -ETIMEDOUT && noted(&f, "within"));
    teardown(&f, "", false);
}

static void missing_fence(void)
{
    struct sim_options o = { .access_deadline_ms = SHORT_MS, .no_fence = true };
    struct fixture f;
    uint64_t value = 0;
    int err = 0;

    setup(&f, &o);
    standin_fault(f.daemon, STANDIN_LINGER);
    for (uint64_t i = 0; i < 10000 && !err; i++) {
        uint64_t until = clock_ns() + i * 37 % 1300 * 1000; /* hits the moment of falling asleep */

        while (clock_ns() < until)
            ring_relax();
        value = i * 7;
        err = access_cpu(&f, 4, true, reg(0, VIRTIO_MMIO_CONFIG + 32), 8, &value);
    }
    expect("without the fence a wake-up is lost", err == -ETIMEDOUT);
    teardown(&f, "", false);
}

struct notifier {
    struct fixture *f;
    uint32_t cpu;
    unsigned int n;
};

static void *notify_often(void *arg)
{
    struct notifier *n = arg;
    uint64_t value = 0;

    for (unsigned int i = 0; i < n->n; i++)
        access_cpu(n->f, n->cpu, true, reg(0, SIM_NOTIFY_OFFSET), 4, &value);
    return NULL;
}

static void full_ring(void)
{
    struct notifier n[4];
    pthread_t thread[4];
    struct fixture f;

    setup(&f, NULL);
    standin_fault(f.daemon, STANDIN_ASLEEP);
    for (uint32_t i = 0; i < 4; i++) {
        n[i] = (struct notifier){ &f, i, 10 };
        pthread_create(&thread[i], NULL, notify_often, &n[i]);
    }
    expect("the ring gets full", sim_wait_full(f.sim, 1, TIMEOUT_MS));
    expect("it holds 31", sim_counts(f.sim).notifies == 31);
    standin_fault(f.daemon, STANDIN_GOOD);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    expect("all 40 go through", sim_counts(f.sim).notifies == 40);
    expect("and are taken", sim_wait_drained(f.sim, TIMEOUT_MS));
    teardown(&f, "full ring", true);
}

static void *one_read(void *arg)
{
    uint64_t value;

    return (void *)(intptr_t)read4(arg, reg(0, 0), &value);
}

static void hang_up(bool futex)
{
    struct sim_options o = { .futex = futex };
    struct fixture f;
    pthread_t thread;
    void *result;
    uint64_t value;

    setup(&f, &o);
    standin_fault(f.daemon, STANDIN_SILENT);
    pthread_create(&thread, NULL, one_read, &f);
    expect("a vCPU waits", sim_wait_waiting(f.sim, 1, TIMEOUT_MS));
    expect("the zone is on", sim_wait_drained(f.sim, TIMEOUT_MS));
    standin_hang_up(f.daemon);
    expect("the hang-up is seen", sim_wait_hangup(f.sim, TIMEOUT_MS) == 0);
    pthread_join(thread, &result);
    expect("the access returns", (intptr_t)result == -ECONNRESET);
    standin_fault(f.daemon, STANDIN_GOOD);
    expect("the zone is off", read4(&f, reg(0, 0), &value) == -ENODEV);
    expect("again", sim_connect(f.sim, path) == 0 &&
                        sim_zone_start(f.sim, ZONE, &f.guest.mem) == 0 &&
                        read4(&f, reg(0, 0), &value) == 0 && value == 0x74726976);
    teardown(&f, "after a hang-up", true);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static bool told(struct fixture *f, uint64_t n)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);

    while (sim_irq_counts(f->sim, ZONE, UINT32_MAX).told < n) {
        if (!clock_left_ms(deadline))
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}

static void tell_many(struct fixture *f, unsigned int from, unsigned int to)
{
    for (unsigned int i = from; i < to; i++)
        standin_irq(f->daemon, ZONE, guest_slot(i).irq);
}

static void controller(void)
{
    struct sim_irq_counts c;
    struct fixture f;
    uint32_t irq = guest_slot(0).irq;

    setup(&f, NULL);
    guest_halt(&f.guest); /* this thread is its CPU now */
    tell_many(&f, 0, 1);
    tell_many(&f, 0, 1);
    expect("two are told", told(&f, 2));
    c = sim_irq_counts(f.sim, ZONE, irq);
    expect("one while pending is dropped", c.dropped == 1 && c.pending == 1);
    expect("the CPU takes it", sim_irq_take(f.sim, ZONE) == irq);
    tell_many(&f, 0, 1);
    expect("a third", told(&f, 3));
    expect("is dropped while active", sim_irq_counts(f.sim, ZONE, irq).dropped == 2);
    sim_irq_done(f.sim, ZONE, irq);
    expect("nothing is left", sim_irq_take(f.sim, ZONE) == -1);
    expect("no violation so far", sim_violations(f.sim) == 0);
    standin_irq(f.daemon, ZONE, 999);
    standin_irq(f.daemon, ZONE + 1, irq);
    tell_many(&f, 0, 1);
    expect("a fourth", told(&f, 4));
    expect("interrupts of nobody are noticed",
           noted(&f, "no such slot") && sim_violations(f.sim) == 2);
    teardown(&f, "", false);
}

static void limit(void)
{
    struct fixture f;

    if (!setup_slots(&f, NULL, 9))
        exit(1);
    guest_mask(&f.guest, true);
    tell_many(&f, 0, 7);
    expect("seven pending are fine", sim_irq_wait_pending(f.sim, ZONE, 7, TIMEOUT_MS) &&
                                         sim_violations(f.sim) == 0);
    poll(NULL, 0, 2 * SIM_IRQ_WAIT_MS);
    tell_many(&f, 7, 8);
    expect("the eighth after a while, too", sim_irq_wait_pending(f.sim, ZONE, 8, TIMEOUT_MS) &&
                                                sim_violations(f.sim) == 0);
    guest_mask(&f.guest, false);
    while (sim_irq_counts(f.sim, ZONE, UINT32_MAX).pending)
        poll(NULL, 0, 1);
    guest_mask(&f.guest, true);
    tell_many(&f, 0, 8);
    expect("eight at once", sim_irq_wait_pending(f.sim, ZONE, 8, TIMEOUT_MS));
    expect("are noticed", noted(&f, "on top of 7"));
    teardown(&f, "", false);
}

/* ---- a disk ---------------------------------------------------------------------------------- */

static bool run_load(struct mdisk *disk)
{
    struct load load = { .disk = disk, .depth = 8, .bytes = 4096, .first = 64 };
    bool good = load_start(&load) == 0 && load_flows(&load, 400, TIMEOUT_MS);

    good = load_stop(&load, false) && good;
    if (!good)
        printf("# %s\n", load.why);
    return good;
}

static bool has_interrupts(struct mdisk *disk)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);

    while (!atomic_load(&disk->mmio.interrupts) && clock_left_ms(deadline))
        poll(NULL, 0, 1);
    return atomic_load(&disk->mmio.interrupts) > 0;
}

static void traffic(bool futex)
{
    struct sim_options o = { .futex = futex, .irq_again_ms = 20 };
    struct mdisk_options mo = { .cpu = 1, .ring_reset = true, .region = 1 };
    struct mdisk disk;
    struct fixture f;

    setup(&f, &o);
    expect("a disk in high memory", mdisk_init(&disk, &f.guest, &mo) == 0 &&
                                        mdisk_start(&disk) == 0 && run_load(&disk));
    expect("interrupts came", has_interrupts(&disk));
    expect("a queue is reset", mmio_queue_reset(&disk.mmio, 0) == 0 &&
                                   mdisk_queue_again(&disk, 0) == 0 && run_load(&disk));
    expect("a queue is stopped", mmio_queue_stop(&disk.mmio, 0) == 0 &&
                                     mdisk_queue_again(&disk, 0) == 0 && run_load(&disk));
    expect("the device is reset",
           mdisk_stop(&disk) == 0 && mdisk_start(&disk) == 0 && run_load(&disk));
    expect("the zone is stopped", sim_zone_stop(f.sim, ZONE) == 0 &&
                                      mdisk_works(&disk, 0, 1) == -ENODEV);
    expect("and started", sim_zone_start(f.sim, ZONE, &f.guest.mem) == 0 &&
                              mdisk_start(&disk) == 0 && run_load(&disk));
    mdisk_free(&disk);
    teardown(&f, "traffic", true);
}

static void child_process(void)
{
    struct sim_options o = { .futex = true };
    struct mdisk_options mo = { .cpu = 1 };
    struct mdisk disk;
    struct fixture f;
    int status = -1;
    pid_t pid;

    setup(&f, &o);
    guest_halt(&f.guest);
    pid = fork();
    if (pid == 0) {
        bool good = guest_run(&f.guest) == 0 && mdisk_init(&disk, &f.guest, &mo) == 0 &&
                    mdisk_start(&disk) == 0 && run_load(&disk);

        guest_halt(&f.guest); /* no access is left half-way */
        _exit(good ? 0 : 1);
    }
    expect("a guest in a process of its own",
           pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
    teardown(&f, "two processes", true);
}

/* A wrong byte has to be noticed, or the loads prove nothing. */
static void wrong_data(void)
{
    struct mdisk_options mo = { .cpu = 1 };
    struct mdisk disk;
    struct load load = { .disk = &disk, .depth = 4, .bytes = 4096 };
    struct fixture f;

    setup(&f, NULL);
    expect("a load", mdisk_init(&disk, &f.guest, &mo) == 0 && mdisk_start(&disk) == 0 &&
                         load_start(&load) == 0 && load_flows(&load, 10, TIMEOUT_MS));
    standin_fault(f.daemon, STANDIN_SPOIL);
    load_flows(&load, 1000000, TIMEOUT_MS);
    expect("wrong data are noticed", !load_stop(&load, false) && strstr(load.why, "other data"));
    mdisk_free(&disk);
    teardown(&f, "wrong data", true);
}

int main(void)
{
    char dir[] = "/tmp/hvv-sim-XXXXXX";

    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof(path), "%s/trap", dir);
    registers("spinning", false);
    registers("sleeping", true);
    spanning_region();
    rule("two answers are noticed", STANDIN_TWICE, false, "2 times");
    rule("an answered notify is noticed", STANDIN_ANSWER_NOTIFY, true, "1 times more");
    rule("a long value is noticed", STANDIN_WIDE, false, "was answered with");
    rule("no answer is noticed", STANDIN_SILENT, false, "not answered within");
    rule("a forgotten sleeper is noticed", STANDIN_NO_WAKE, false, "not woken up");
    lost_wakeup();
    missing_fence();
    full_ring();
    hang_up(false);
    hang_up(true);
    controller();
    limit();
    traffic(false);
    traffic(true);
    child_process();
    wrong_data();
    rmdir(dir);
    printf("%u failed\n", failures);
    return failures ? 1 : 0;
}
