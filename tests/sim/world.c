/* SPDX-License-Identifier: BSD-3-Clause */
/* world.c - see world.h. */
#include "world.h"

#include "clock.h"
#include "hvisor-ioctl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

const struct daemon_options world_daemon = {
    .args = (const char *const[]){ WORLD_TRAP_ARGS, NULL },
};

/* ---- a world --------------------------------------------------------------------------------- */

static void end_children(struct world *w)
{
    for (unsigned int i = 0; i < WORLD_CHILDREN; i++) {
        struct child *c = &w->child[i];

        if (c->pid > 0) {
            kill(c->pid, SIGKILL);
            waitpid(c->pid, NULL, 0);
            close(c->fd);
        }
        c->pid = 0;
    }
}

/* A load whose requests will not be answered gives up as soon as the daemon has hung up. */
static void end_world(void *arg)
{
    struct world *w = arg;

    for (unsigned int i = 0; i < WORLD_LOADS; i++)
        if (w->load[i])
            load_stop(w->load[i], true);
    end_children(w);
    if (w->sim)
        sim_disconnect(w->sim);
    for (unsigned int i = 0; i < WORLD_LOADS; i++)
        if (w->disk[i])
            mdisk_free(w->disk[i]);
    for (unsigned int i = 0; i < WORLD_GUESTS; i++)
        guest_free(&w->guest[i]);
    sim_free(w->sim);
    memset(w, 0, sizeof(*w));
}

struct text world_trap_path(const struct daemon *d)
{
    return in_dir(d, "trap.sock");
}

static bool make_guests(struct world *w)
{
    const struct world_options *o = &w->options;

    for (unsigned int i = 0; i < o->guests; i++) {
        uint32_t cpus = HVV_BRIDGE_CPUS / o->guests;
        struct guest_options go = { .zone = i + 1, .cpu = i * cpus, .n_cpus = cpus,
                                    .memory = o->memory, .high = o->high, .slots = o->slots };
        int err = guest_init(&w->guest[i], w->sim, &go);

        if (err)
            return row_fail("cannot make guest %u: %s", i, strerror(-err));
    }
    return true;
}

/* ---- the other way --------------------------------------------------------------------------- */

/* The run-time of a sanitizer has to come before all else: as it is in this process, if it is. */
static void add_runtime(char *text, size_t size)
{
    char line[512], *path;
    FILE *maps = fopen("/proc/self/maps", "re");

    while (maps && !text[0] && fgets(line, sizeof(line), maps)) {
        path = strchr(line, '/');
        if (path && strstr(path, "/libasan.so"))
            snprintf(text, size, "%.*s:", (int)strcspn(path, "\n"), path);
    }
    if (maps)
        fclose(maps);
}

const char *const *world_hvisor_env(void)
{
    static struct text preload;
    static const char *env[] = { preload.s, HVISOR_IOCTL_DEVICE "=hvisor", NULL };
    struct text runtime = { "" }, library = built("tests/sim/hvisor-ioctl.so");

    if (access(library.s, R_OK) < 0)
        return NULL;
    add_runtime(runtime.s, sizeof(runtime.s));
    snprintf(preload.s, sizeof(preload.s), "LD_PRELOAD=%.240s%.240s", runtime.s, library.s);
    return env;
}

static void put_memory(FILE *to, const struct guest *g)
{
    const char *comma = "";

    for (unsigned int i = 0; i < GUESTMEM_REGIONS_MAX; i++) {
        const struct guestmem_region *r = &g->mem.region[i];

        if (r->fd < 0)
            continue;
        fprintf(to, "%s{ \"zone0_ipa\": \"0x%llx\", \"zonex_ipa\": \"0x%llx\", \"size\": %llu }",
                comma, (unsigned long long)r->at.offset, (unsigned long long)r->at.gpa,
                (unsigned long long)r->at.size);
        comma = ", ";
    }
}

static void put_slots(FILE *to, const struct guest *g, unsigned int used, const char *image)
{
    for (unsigned int i = 0; i < g->n_slots; i++) {
        struct sim_slot slot = guest_slot(i);
        bool enabled = image && i == used;

        fprintf(to, "%s{ \"type\": \"blk\", \"addr\": \"0x%llx\", \"len\": \"0x%llx\", "
                "\"irq\": %u, \"img\": \"i/%s\", \"status\": \"%s\" }", i ? ",\n    " : "",
                (unsigned long long)slot.address, (unsigned long long)slot.length, slot.irq,
                enabled ? image : "none", enabled ? "enable" : "disable");
    }
}

bool world_json(const struct world *w, const char *name, unsigned int slot, const char *image)
{
    FILE *to = fopen(in_dir(w->daemon, "%s", name).s, "we");

    if (!to)
        return row_fail("cannot write %s: %s", name, strerror(errno));
    fprintf(to, "{ \"zones\": [");
    for (unsigned int i = 0; i < w->options.guests; i++) {
        const struct guest *g = &w->guest[i];

        fprintf(to, "%s{ \"id\": %u,\n  \"memory_region\": [ ", i ? ", " : "", g->zone);
        put_memory(to, g);
        fprintf(to, " ],\n  \"devices\": [\n    ");
        put_slots(to, g, slot, i ? NULL : image);
        fprintf(to, " ] }");
    }
    fprintf(to, " ] }\n");
    return fclose(to) == 0 || row_fail("cannot write %s: %s", name, strerror(errno));
}

static bool open_hvisor(struct world *w)
{
    const struct world_options *o = &w->options;

    if (!w->daemon->options->env)
        return row_fail("hvisor-ioctl.so is not in HVV_BUILD/tests/sim");
    if (!world_json(w, WORLD_JSON, 0, o->image))
        return false;
    return o->not_started || (daemon_start(w->daemon) && world_start(w));
}

/* ---- opening --------------------------------------------------------------------------------- */

bool world_open(struct world *w, struct daemon *d, const struct world_options *options)
{
    static const struct world_options plain;

    memset(w, 0, sizeof(*w));
    w->daemon = d;
    w->options = options ? *options : plain;
    /* The interrupt controller here drops edges, as real ones do: they have to be told again. */
    w->options.sim.irq_again_ms = w->options.sim.irq_again_ms ? w->options.sim.irq_again_ms : 20;
    w->options.guests = w->options.guests ? w->options.guests : 1;
    w->options.slots = w->options.slots ? w->options.slots : 2;
    w->options.memory = w->options.memory ? w->options.memory : 8u << 20;
    row_at_end(end_world, w);
    w->sim = sim_new(&w->options.sim);
    if (!w->sim)
        return row_fail("cannot make a hypervisor: %s", strerror(errno));
    if (w->options.hvisor && sim_device(w->sim, in_dir(d, "hvisor").s))
        return row_fail("%s", sim_error(w->sim));
    if (!make_guests(w))
        return false;
    if (w->options.hvisor)
        return open_hvisor(w);
    if (sim_connect(w->sim, world_trap_path(d).s))
        return row_fail("HELLO: %s", sim_error(w->sim));
    return w->options.not_started || world_start(w);
}

bool world_start(struct world *w)
{
    for (unsigned int i = 0; i < w->options.guests; i++) {
        struct guest *g = &w->guest[i];
        int err;

        if (sim_zone_start(w->sim, g->zone, &g->mem))
            return row_fail("starting zone %u: %s", g->zone, sim_error(w->sim));
        err = w->options.elsewhere || g->running ? 0 : guest_run(g);
        if (err)
            return row_fail("no thread for interrupts: %s", strerror(-err));
    }
    return true;
}

bool world_fine(struct world *w)
{
    unsigned int n = sim_violations(w->sim);

    for (unsigned int i = 1; i < n && sim_violation(w->sim, i); i++)
        row_note("%s", sim_violation(w->sim, i));
    return n == 0 || row_fail("%u times against the rules: %s", n, sim_violation(w->sim, 0));
}

/* ---- devices --------------------------------------------------------------------------------- */

struct text world_spec(const struct world *w, unsigned int guest, unsigned int slot,
                       const char *options)
{
    struct text text;

    snprintf(text.s, sizeof(text.s), "blk:%s,zone=%u,addr=0x%llx", options, w->guest[guest].zone,
             (unsigned long long)guest_slot(slot).address);
    return text;
}

bool world_add_disk(struct world *w, unsigned int guest, unsigned int slot, const char *name,
                    off_t bytes)
{
    char options[96];

    snprintf(options, sizeof(options), "%.32s,id=%.32s", name, name);
    return daemon_image(w->daemon, name, bytes) &&
           daemon_add(w->daemon, world_spec(w, guest, slot, options).s, NULL);
}

bool world_disk(struct mdisk *disk, struct world *w, unsigned int guest, unsigned int slot,
                const struct mdisk_options *options)
{
    struct mdisk_options o = options ? *options : (struct mdisk_options){ .event_idx = true };
    unsigned int i = 0;
    int err;

    while (i < WORLD_LOADS - 1 && w->disk[i])
        i++;
    w->disk[i] = disk;
    o.slot = slot;
    o.cpu = w->guest[guest].n_cpus > 1 ? 1 + slot % (w->guest[guest].n_cpus - 1) : 0;
    err = mdisk_init(disk, &w->guest[guest], &o);
    return !err || row_fail("no memory for a driver: %s", strerror(-err));
}

bool world_up(struct mdisk *disk)
{
    int err = mdisk_start(disk);

    return !err || row_fail("zone %u, slot %u: bringing the device up: %s",
                            disk->mmio.guest->zone, disk->mmio.slot, mdisk_why(disk, err));
}

bool world_down(struct mdisk *disk)
{
    int err = mdisk_stop(disk);

    return !err || row_fail("zone %u, slot %u: reset: %s", disk->mmio.guest->zone,
                            disk->mmio.slot, strerror(-err));
}

bool world_works(struct mdisk *disk, uint64_t seed)
{
    int rc = mdisk_works(disk, 8, seed);

    return !rc || row_fail("zone %u, slot %u: I/O ended with %d: %s", disk->mmio.guest->zone,
                           disk->mmio.slot, rc, mdisk_why(disk, rc));
}

int64_t world_device_id(struct world *w, unsigned int guest, unsigned int slot)
{
    const struct guest *g = &w->guest[guest];
    struct sim_access a = { .cpu = g->cpu + g->n_cpus - 1, .zone = g->zone, .size = 4,
                            .address = guest_slot(slot).address + VIRTIO_MMIO_DEVICE_ID };
    int err = sim_access(w->sim, &a);

    if (!err)
        return (int64_t)a.value;
    row_fail("reading DeviceID in zone %u: %s", g->zone, strerror(-err));
    return -1;
}

/* ---- loads ----------------------------------------------------------------------------------- */

bool world_load(struct world *w, struct load *l)
{
    unsigned int i = 0;
    int err = load_start(l);

    if (err)
        return row_fail("no load: %s", strerror(-err));
    while (i < WORLD_LOADS - 1 && w->load[i])
        i++;
    w->load[i] = l;
    return true;
}

bool world_load_flows(struct load *l, uint64_t more)
{
    if (load_flows(l, more, WORLD_TIMEOUT_MS))
        return true;
    load_stop(l, true);
    return row_fail("zone %u, slot %u: %s", l->disk->mmio.guest->zone, l->disk->mmio.slot, l->why);
}

bool world_load_stop(struct world *w, struct load *l)
{
    bool good = load_stop(l, false);

    for (unsigned int i = 0; i < WORLD_LOADS; i++)
        if (w->load[i] == l)
            w->load[i] = NULL;
    return good || row_fail("zone %u, slot %u: %s", l->disk->mmio.guest->zone,
                            l->disk->mmio.slot, l->why);
}

/* ---- children -------------------------------------------------------------------------------- */

struct word {
    char letter;
    bool good;
    char reason[200];
};

__attribute__((noreturn)) static void be_child(struct guest *g, int fd, child_work *work)
{
    struct word word;
    bool good = guest_run(g) == 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (good && recv(fd, &word, sizeof(word), 0) == (ssize_t)sizeof(word) && word.letter) {
        good = work(g, word.letter, word.reason, sizeof(word.reason));
        word.good = good;
        if (send(fd, &word, sizeof(word), MSG_NOSIGNAL) < 0)
            break;
    }
    guest_halt(g); /* no access is left half-way */
    _exit(good ? 0 : 1);
}

struct child *world_child(struct world *w, unsigned int guest, child_work *work)
{
    struct child *c = w->child;
    int pair[2];

    while (c->pid && c < &w->child[WORLD_CHILDREN - 1])
        c++;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        row_fail("socketpair: %s", strerror(errno));
        return NULL;
    }
    c->pid = fork();
    if (c->pid == 0) {
        close(pair[0]);
        be_child(&w->guest[guest], pair[1], work);
    }
    close(pair[1]);
    c->fd = pair[0];
    if (c->pid > 0)
        return c;
    close(c->fd);
    c->pid = 0;
    row_fail("fork: %s", strerror(errno));
    return NULL;
}

bool world_tell(struct child *c, char letter)
{
    struct word word = { .letter = letter };
    struct pollfd p = { .fd = c->fd, .events = POLLIN };

    if (send(c->fd, &word, sizeof(word), MSG_NOSIGNAL) < 0)
        return row_fail("a guest's process has ended");
    if (poll(&p, 1, 2 * WORLD_TIMEOUT_MS) <= 0)
        return row_fail("a guest's process does not answer to '%c'", letter);
    if (recv(c->fd, &word, sizeof(word), 0) != (ssize_t)sizeof(word))
        return row_fail("a guest's process died at '%c'", letter);
    word.reason[sizeof(word.reason) - 1] = '\0';
    return word.good || row_fail("in a guest's process: %s", word.reason);
}

bool world_end_child(struct child *c)
{
    struct word word = { 0 };
    int status = -1;

    if (send(c->fd, &word, sizeof(word), MSG_NOSIGNAL) < 0 ||
        waitpid(c->pid, &status, 0) != c->pid)
        status = -1;
    close(c->fd);
    c->pid = 0;
    return status == 0 || row_fail("a guest's process ended with status 0x%x", (unsigned)status);
}
