/* SPDX-License-Identifier: BSD-3-Clause */
/* trap-guest.c - see trap-guest.h. */
#include "trap-guest.h"

#include "clock.h"
#include "shared.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BLOCK 4096u
#define BATCH 64u
#define STALL_MS 10000

static int complain(const char *what, const char *why, int err)
{
    fprintf(stderr, "trap-load: %s: %s\n", what, why);
    return err;
}

double thread_cpu(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the zone -------------------------------------------------------------------------------- */

static void *nothing(void *arg)
{
    return arg;
}

/*
 * Whoever polls the interrupt descriptor passes interrupts on by itself (sim_irq_pass). The thread
 * that sim_free() joins is replaced by one that has ended.
 */
static int end_irq_thread(struct sim *s)
{
    uint64_t one = 1;

    if (write(s->stop_fd, &one, sizeof(one)) != sizeof(one))
        return -errno;
    pthread_join(s->irq_thread, NULL);
    return -pthread_create(&s->irq_thread, NULL, nothing, NULL);
}

int trap_guest_open(struct trap_guest *g, const char *path, const struct sim_options *options)
{
    struct guest_options go = { .zone = TRAP_ZONE, .cpu = 0, .n_cpus = HVV_BRIDGE_CPUS,
                                .memory = 16u << 20, .slots = TRAP_SLOTS };
    int err;

    g->sim = sim_new(options);
    if (!g->sim)
        return complain("no hypervisor", strerror(errno), -errno);
    err = end_irq_thread(g->sim);
    if (!err)
        err = guest_init(&g->guest, g->sim, &go);
    if (err)
        return complain("no guest", strerror(-err), err);
    err = sim_connect(g->sim, path);
    if (!err)
        err = sim_zone_start(g->sim, TRAP_ZONE, &g->guest.mem);
    return err ? complain(path, sim_error(g->sim), err) : 0;
}

int trap_guest_close(struct trap_guest *g)
{
    int err = 0;

    if (g->sim && sim_connected(g->sim) && sim_violations(g->sim))
        err = complain("the daemon broke a rule", sim_violation(g->sim, 0), -EPROTO);
    guest_free(&g->guest);
    sim_free(g->sim);
    g->sim = NULL;
    return err;
}

/* ---- the disk -------------------------------------------------------------------------------- */

int disk_load_open(struct disk_load *l)
{
    struct mdisk_options o = { .slot = l->slot, .requests = l->depth, .event_idx = true };
    int err;

    o.num = 128;
    while (o.num < 4 * l->depth)
        o.num = (uint16_t)(2 * o.num);
    l->random = 0x2545f4914f6cdd1du;
    err = mdisk_init(&l->disk, &l->g->guest, &o);
    if (!err)
        err = mdisk_start(&l->disk);
    if (err)
        return complain("cannot drive the disk", mdisk_why(&l->disk, err), err);
    ring_disarm(&l->disk.ring[0]);
    return 0;
}

void disk_load_close(struct disk_load *l)
{
    mdisk_stop(&l->disk);
    mdisk_free(&l->disk);
}

static int failed(const char *what, int err)
{
    return complain(what, strerror(-err), err);
}

/* As a virtio-mmio driver does it: what is it, and it is taken. */
static int handle_interrupts(struct disk_load *l)
{
    struct sim *s = l->g->sim;
    uint64_t count;
    int64_t irq;
    int err = 0;

    if (read(s->irq_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        return -errno;
    sim_irq_pass(s);
    while (!err && (irq = sim_irq_take(s, TRAP_ZONE)) >= 0) {
        uint32_t status = 0;

        err = mmio_read32(&l->disk.mmio, VIRTIO_MMIO_INTERRUPT_STATUS, &status);
        if (!err)
            err = mmio_write32(&l->disk.mmio, VIRTIO_MMIO_INTERRUPT_ACK, status);
        sim_irq_done(s, TRAP_ZONE, (uint32_t)irq);
        l->interrupts++;
    }
    return err;
}

/* The same steps as those of vhost-blk-load. */
static int sleep_until_interrupted(struct disk_load *l)
{
    struct ring *r = &l->disk.ring[0];
    struct pollfd p = { .fd = l->g->sim->irq_fd, .events = POLLIN };
    bool pending = ring_arm(r, 1);
    int ready = pending ? 1 : poll(&p, 1, STALL_MS);
    int err = 0;

    if (ready < 0 && errno != EINTR)
        return -errno;
    if (ready == 0)
        return -ETIMEDOUT;
    ring_disarm(r);
    if (!pending && p.revents)
        err = handle_interrupts(l);
    return err;
}

static uint64_t next_random(struct disk_load *l)
{
    l->random ^= l->random << 13;
    l->random ^= l->random >> 7;
    l->random ^= l->random << 17;
    return l->random;
}

static int send_next(struct disk_load *l, struct blk_request *req, uint64_t now)
{
    req->type = l->write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
    req->len = BLOCK;
    req->sector = next_random(l) % (l->disk.sectors / (BLOCK / BLK_SECTOR)) * (BLOCK / BLK_SECTOR);
    req->started_ns = now;
    l->sent++;
    return blk_queue_add(&l->disk.queue[0], req);
}

static bool keep_going(const struct disk_load *l, uint64_t now)
{
    return (!l->ios || l->sent < l->ios) && now < l->deadline_ns &&
           !atomic_load_explicit(&l->stop, memory_order_relaxed);
}

/* How many were reaped, or -errno. */
static int serve(struct disk_load *l)
{
    struct blk_queue *q = &l->disk.queue[0];
    struct blk_request *done[BATCH];
    int n = blk_reap(q, done, BATCH);
    uint64_t now;
    int err = 0;

    if (n <= 0)
        return n;
    now = clock_ns();
    for (int i = 0; i < n && !err; i++) {
        histogram_add(&l->latency, now - done[i]->started_ns);
        if (done[i]->status != VIRTIO_BLK_S_OK)
            return -EIO;
        if (keep_going(l, now))
            err = send_next(l, done[i], now);
        else
            blk_put(q, done[i]);
    }
    if (!err)
        err = ring_submit(q->ring);
    return err ? err : n;
}

static int prime(struct disk_load *l)
{
    struct blk_queue *q = &l->disk.queue[0];
    uint64_t now = clock_ns();
    int err = 0;

    for (unsigned int i = 0; i < l->depth && !err && keep_going(l, now); i++)
        err = send_next(l, blk_take(q), now);
    return err ? err : ring_submit(q->ring);
}

int disk_load_run(struct disk_load *l)
{
    uint64_t start = clock_ns();
    double cpu = thread_cpu();
    int err;

    l->deadline_ns = l->seconds > 0 ? start + (uint64_t)(l->seconds * 1e9) : UINT64_MAX;
    l->disk.ring[0].kicks = 0;
    err = prime(l);
    while (!err && ring_in_flight(&l->disk.ring[0])) {
        int n = serve(l);

        if (n < 0)
            err = n;
        else if (n == 0)
            err = sleep_until_interrupted(l);
    }
    l->elapsed = (double)(clock_ns() - start) / 1e9;
    l->cpu = thread_cpu() - cpu;
    return err ? failed("the load", err) : 0;
}
