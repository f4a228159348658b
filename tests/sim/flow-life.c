/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow-life.c - flow test: devices, zones, monitors and daemons come and go, in every order.
 */
#include "thread.h"
#include "world.h"

#include "clock.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define IMAGE (4 << 20)
#define ROUNDS 10u
#define ROUNDS_ALL 60u
#define TRIES 20

static struct world world;
static struct mdisk disk, other;
static struct load load;
static struct stopped stopped;

static unsigned int rounds(void)
{
    return flags.all ? ROUNDS_ALL : ROUNDS;
}

/* ---- devices --------------------------------------------------------------------------------- */

static void hot_add(struct daemon *d)
{
    static const struct world_options o = { .slots = 4 };
    unsigned int found = 0;

    MUST(world_open(&world, d, &o) && daemon_image(d, "a", IMAGE) &&
         world_disk(&disk, &world, 0, 2, NULL));
    for (unsigned int i = 0; i < 4; i++)
        CHECK(world_device_id(&world, 0, i) == 0, "slot %u is not empty at first", i);
    CHECK(mmio_probe(&disk.mmio) == -ENODEV, "a spare slot is no placeholder");
    MUST(daemon_add(d, world_spec(&world, 0, 2, "a,id=a").s, NULL));
    CHECK(world_device_id(&world, 0, 2) == 2, "the slot has no disk after the add");
    MUST(world_up(&disk) && world_works(&disk, 3) && world_down(&disk) &&
         daemon_remove(d, "a", NULL));
    CHECK(world_device_id(&world, 0, 2) == 0, "the slot is not empty after the remove");
    /* Without addr= the daemon chooses a free slot. */
    MUST(daemon_add(d, "blk:backend=mem,size=1M,id=m0,zone=1", "blk:backend=null,id=m1,zone=1",
                    NULL));
    for (unsigned int i = 0; i < 4; i++)
        found += world_device_id(&world, 0, i) == 2;
    CHECK(found == 2, "two devices show in %u slots", found);
    MUST(daemon_refuses(d, "zone", "device.add", "{s:[s]}", "devices",
                        "blk:backend=null,zone=1,addr=0x1000") &&
         world_fine(&world));
}

static void bound_is_kept(struct daemon *d)
{
    MUST(world_open(&world, d, NULL) && world_add_disk(&world, 0, 0, "a", IMAGE) &&
         world_disk(&disk, &world, 0, 0, NULL) && world_up(&disk));
    MUST(daemon_refuses(d, "a", "device.remove", "{s:[s]}", "ids", "a") &&
         world_works(&disk, 1) && world_down(&disk));
    json_t *result = daemon_call(d, "device.remove", "{s:[s]}", "ids", "a");
    CHECK(result, "a device without a driver was not removed: %s", error_text(d));
    json_decref(result);
    MUST(world_fine(&world));
}

/* ---- zones ----------------------------------------------------------------------------------- */

/* Mappings of the zone's memory in the daemon. */
static unsigned int mappings(const struct daemon *d)
{
    char path[64], line[512];
    unsigned int n = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)d->pid);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        n += strstr(line, "memfd:guest") != NULL;
    if (f)
        fclose(f);
    return n;
}

/* The vCPUs stop, as a monitor would see to it; then the zone. */
static bool stop_zone_under_load(struct daemon *d, unsigned int round)
{
    struct guest *g = &world.guest[0];

    load = (struct load){ .disk = &disk, .depth = 8, .bytes = 4096 };
    if (!world_up(&disk) || !world_load(&world, &load) || !world_load_flows(&load, 50))
        return false;
    if (mappings(d) == 0)
        return row_fail("the test does not see the zone's memory in the daemon");
    load_stop(&load, true);
    world.load[0] = NULL;
    guest_halt(g);
    if (sim_zone_stop(world.sim, g->zone))
        return row_fail("round %u: STOP: %s", round, sim_error(world.sim));
    return mappings(d) == 0 || row_fail("round %u: memory of the zone is still mapped", round);
}

static void zone_restarts(struct daemon *d)
{
    MUST(world_open(&world, d, NULL) && world_add_disk(&world, 0, 0, "a", IMAGE) &&
         world_disk(&disk, &world, 0, 0, NULL));
    for (unsigned int i = 0; i < rounds(); i++) {
        MUST(stop_zone_under_load(d, i));
        /* The monitor may do with the memory what it likes. */
        memset(world.guest[0].mem.region[0].map, 0x5a, 4096);
        MUST(world_start(&world));
        CHECK(world_device_id(&world, 0, 0) == 2, "round %u: no disk after START", i);
        MUST(world_up(&disk) && world_works(&disk, i) && world_down(&disk) && world_fine(&world));
    }
}

/* Another zone does not notice. */
static void zone_beside(struct daemon *d)
{
    static const struct world_options o = { .sim = { .irq_again_ms = 20 }, .guests = 2 };
    static struct load steady;

    MUST(world_open(&world, d, &o) && world_add_disk(&world, 0, 0, "a", IMAGE) &&
         world_add_disk(&world, 1, 0, "b", IMAGE) && world_disk(&disk, &world, 0, 0, NULL) &&
         world_disk(&other, &world, 1, 0, NULL) && world_up(&other));
    steady = (struct load){ .disk = &other, .depth = 4, .bytes = 4096 };
    CHECK(load_start(&steady) == 0, "no load");
    world.load[WORLD_LOADS - 1] = &steady;
    for (unsigned int i = 0; i < rounds(); i++) {
        load = (struct load){ .disk = &disk, .depth = 8, .bytes = 4096 };
        MUST(world_up(&disk) && world_load(&world, &load) && world_load_flows(&load, 50));
        load_stop(&load, true);
        world.load[0] = NULL;
        guest_halt(&world.guest[0]);
        CHECK(sim_zone_stop(world.sim, 1) == 0, "STOP: %s", sim_error(world.sim));
        CHECK(sim_zone_start(world.sim, 1, &world.guest[0].mem) == 0 &&
                  guest_run(&world.guest[0]) == 0, "START: %s", sim_error(world.sim));
        MUST(world_load_flows(&steady, 50));
    }
    MUST(world_load_stop(&world, &steady) && world_down(&other) && world_fine(&world));
}

/* ---- monitors -------------------------------------------------------------------------------- */

/* In a process of its own: a monitor with I/O under way. Ends by being killed. */
__attribute__((noreturn)) static void doomed_monitor(const char *path, int fd)
{
    static const struct sim_options o = { .futex = true };
    struct guest_options go = { .zone = 1, .n_cpus = 4, .memory = 4 << 20, .slots = 2 };
    struct mdisk_options mo = { .cpu = 1, .event_idx = true };
    struct sim *s = sim_new(&o);
    struct guest g;
    char done = 'f';

    if (s && guest_init(&g, s, &go) == 0 && sim_connect(s, path) == 0 &&
        sim_zone_start(s, 1, &g.mem) == 0 && guest_run(&g) == 0 &&
        mdisk_init(&disk, &g, &mo) == 0 && mdisk_start(&disk) == 0) {
        load = (struct load){ .disk = &disk, .depth = 8, .bytes = 4096 };
        if (load_start(&load) == 0 && load_flows(&load, 50, WORLD_TIMEOUT_MS))
            done = 'd';
    }
    if (done == 'f')
        fprintf(stderr, "# monitor: %s\n", s ? sim_error(s) : "none");
    if (write(fd, &done, 1) == 1 && done == 'd')
        pause();
    _exit(1);
}

static bool one_monitor_dies(struct daemon *d, unsigned int round)
{
    struct text path = world_trap_path(d);
    struct pollfd p = { .events = POLLIN };
    char said = 'n';
    int pair[2];
    pid_t pid;

    if (pipe(pair) < 0)
        return row_fail("pipe: %s", strerror(errno));
    pid = fork();
    if (pid == 0)
        doomed_monitor(path.s, pair[1]);
    close(pair[1]);
    p.fd = pair[0];
    if (poll(&p, 1, WORLD_TIMEOUT_MS) == 1 && read(pair[0], &said, 1) != 1)
        said = 'n';
    close(pair[0]);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return said == 'd' || row_fail("round %u: the monitor got nowhere ('%c')", round, said);
}

static void monitor_dies(struct daemon *d)
{
    static const struct world_options o = { .not_started = true };
    bool good = false;

    MUST(daemon_image(d, "a", IMAGE));
    MUST(world_open(&world, d, &o));
    /* The zone is declared for the add, and then let go of. */
    MUST(world_start(&world) && world_add_disk(&world, 0, 0, "a", IMAGE));
    sim_disconnect(world.sim);
    for (unsigned int i = 0; i < rounds(); i++)
        MUST(one_monitor_dies(d, i));
    /* The zone is free again as soon as the daemon has noticed. */
    CHECK(sim_connect(world.sim, world_trap_path(d).s) == 0, "HELLO: %s", sim_error(world.sim));
    for (int i = 0; i < TRIES && !good; i++) {
        good = sim_zone_start(world.sim, 1, &world.guest[0].mem) == 0;
        if (!good)
            poll(NULL, 0, 100);
    }
    CHECK(good, "START after the monitors died: %s", sim_error(world.sim));
    MUST(world_disk(&disk, &world, 0, 0, NULL) && world_up(&disk) && world_works(&disk, 1) &&
         world_down(&disk) && world_fine(&world));
    CHECK(daemon_count(d) == 1, "the device is gone");
}

/* It hangs up and comes again with the same zone, in one process. */
static void monitor_returns(struct daemon *d)
{
    MUST(world_open(&world, d, NULL) && world_add_disk(&world, 0, 0, "a", IMAGE) &&
         world_disk(&disk, &world, 0, 0, NULL));
    for (unsigned int i = 0; i < rounds(); i++) {
        bool good = false;

        load = (struct load){ .disk = &disk, .depth = 8, .bytes = 4096 };
        MUST(world_up(&disk) && world_load(&world, &load) && world_load_flows(&load, 50));
        sim_disconnect(world.sim);
        load_stop(&load, true);
        world.load[0] = NULL;
        guest_halt(&world.guest[0]);
        CHECK(sim_connect(world.sim, world_trap_path(d).s) == 0, "HELLO: %s",
              sim_error(world.sim));
        for (int k = 0; k < TRIES && !good; k++) {
            good = sim_zone_start(world.sim, 1, &world.guest[0].mem) == 0;
            if (!good)
                poll(NULL, 0, 100);
        }
        CHECK(good && guest_run(&world.guest[0]) == 0, "round %u: START: %s", i,
              sim_error(world.sim));
        MUST(world_up(&disk) && world_works(&disk, i) && world_down(&disk) && world_fine(&world));
    }
}

/* ---- daemons --------------------------------------------------------------------------------- */

struct pending {
    struct mmio_dev *dev;
    uint32_t offset, size, value;
    int err;
    pthread_t thread;
};

static void *write_pending(void *arg)
{
    struct pending *p = arg;

    p->err = mmio_write(p->dev, p->offset, p->size, p->value);
    return NULL;
}

/* The daemon has begun to end: its devices are on their way out. */
static bool is_ending(struct daemon *d)
{
    uint64_t deadline = clock_deadline(WORLD_TIMEOUT_MS);
    bool ending = false;

    while (!ending && clock_left_ms(deadline)) {
        json_t *device = daemon_device(d, "b");
        const char *state = json_string_value(json_object_get(device, "state"));

        ending = !device || (state && strcmp(state, "published") != 0);
        json_decref(device);
    }
    return ending;
}

/*
 * Two vCPUs wait for the worker, one for a reset and one for a write of the config space, and the
 * worker stands still. SIGTERM does not forget them.
 */
static void sigterm_answers(struct daemon *d)
{
    static const struct world_options o = { .sim = { .futex = true } };
    struct pending p[2] = {
        { .dev = &disk.mmio, .offset = VIRTIO_MMIO_STATUS, .size = 4, .value = 0, .err = 1 },
        { .dev = &other.mmio, .offset = VIRTIO_MMIO_CONFIG +
          offsetof(struct virtio_blk_config, wce), .size = 1, .value = 0, .err = 1 },
    };

    MUST(world_open(&world, d, &o) && world_add_disk(&world, 0, 0, "a", IMAGE) &&
         world_add_disk(&world, 0, 1, "b", IMAGE) && world_disk(&disk, &world, 0, 0, NULL) &&
         world_disk(&other, &world, 0, 1, NULL) && world_up(&disk) && world_up(&other) &&
         thread_stop(&stopped, d, "worker-0"));
    for (int i = 0; i < 2; i++)
        pthread_create(&p[i].thread, NULL, write_pending, &p[i]);
    bool waited = sim_wait_waiting(world.sim, 2, WORLD_TIMEOUT_MS) &&
                  sim_wait_drained(world.sim, WORLD_TIMEOUT_MS);
    kill(d->pid, SIGTERM);
    bool ending = is_ending(d);
    thread_go_on(&stopped);
    int code = daemon_wait(d, WORLD_TIMEOUT_MS);
    bool hung_up = sim_wait_hangup(world.sim, WORLD_TIMEOUT_MS) == 0; /* releases the vCPUs */
    for (int i = 0; i < 2; i++)
        pthread_join(p[i].thread, NULL);
    CHECK(waited, "no vCPU had to wait for the worker");
    CHECK(ending, "SIGTERM does not get through while a worker stands still");
    CHECK(code == 0, "the daemon ended with %d", code);
    CHECK(hung_up, "%s", sim_error(world.sim));
    CHECK(p[0].err == 0 && p[1].err == 0, "accesses ended with %d and %d", p[0].err, p[1].err);
    CHECK(access(world_trap_path(d).s, F_OK) < 0, "the trap socket is still there");
    MUST(world_fine(&world));
}

/* A daemon that is killed leaves vCPUs waiting: the monitor sees the end. Another one comes. */
static void killed_daemon(struct daemon *d)
{
    for (unsigned int i = 0; i < rounds() / 5; i++) {
        if (i == 0)
            MUST(world_open(&world, d, NULL) && world_disk(&disk, &world, 0, 0, NULL));
        MUST(world_add_disk(&world, 0, 0, "a", IMAGE) && world_up(&disk));
        load = (struct load){ .disk = &disk, .depth = 8, .bytes = 4096 };
        MUST(world_load(&world, &load) && world_load_flows(&load, 50));
        kill(d->pid, SIGKILL);
        int code = daemon_wait(d, WORLD_TIMEOUT_MS);
        CHECK(code == 128 + SIGKILL, "the daemon ended with %d", code);
        CHECK(sim_wait_hangup(world.sim, WORLD_TIMEOUT_MS) == 0, "%s", sim_error(world.sim));
        load_stop(&load, true);
        world.load[0] = NULL;
        guest_halt(&world.guest[0]);
        MUST(daemon_start(d));
        CHECK(sim_connect(world.sim, world_trap_path(d).s) == 0, "HELLO: %s",
              sim_error(world.sim));
        MUST(world_start(&world));
    }
    MUST(world_fine(&world));
}

int main(int argc, char **argv)
{
    static const struct row rows[] = {
        { "life-hot-add", hot_add, &world_daemon, NULL },
        { "life-bound-is-kept", bound_is_kept, &world_daemon, NULL },
        { "life-zone-restarts", zone_restarts, &world_daemon, NULL },
        { "life-zone-beside", zone_beside, &world_daemon, NULL },
        { "life-monitor-dies", monitor_dies, &world_daemon, NULL },
        { "life-monitor-returns", monitor_returns, &world_daemon, NULL },
        { "life-sigterm-answers", sigterm_answers, &world_daemon, NULL },
        { "life-killed-daemon", killed_daemon, &world_daemon, NULL },
    };

    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
