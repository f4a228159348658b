/* SPDX-License-Identifier: BSD-3-Clause */
/* load.c - traffic of mdisk.h. The load's own thread, but for starting, waiting and stopping. */
#include "mdisk.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TURN_MS 100      /* how often it looks whether it should end */

__attribute__((format(printf, 2, 3))) static bool fail(struct load *l, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (!atomic_exchange(&l->failed, true)) /* the first reason; read after load_stop() */
        vsnprintf(l->why, sizeof(l->why), format, args);
    va_end(args);
    return false;
}

static uint64_t sector_of(const struct load *l, unsigned int k)
{
    return l->first + (uint64_t)k * (l->bytes / BLK_SECTOR);
}

static bool launch(struct load *l, unsigned int k, uint32_t type)
{
    struct blk_queue *q = &l->disk->queue[l->queue];
    struct blk_request *req = blk_take(q);

    if (!req)
        return fail(l, "no request is free");
    req->type = type;
    req->len = l->bytes;
    req->sector = sector_of(l, k);
    req->user = (void *)(uintptr_t)k;
    if (type == VIRTIO_BLK_T_OUT)
        blk_fill(req->data, req->len, req->sector, l->seed[k] + 1);
    else
        memset(req->data, 0, req->len);
    return blk_queue_add(q, req) == 0 || fail(l, "a request does not fit into the ring");
}

/* A write is followed by a read of the same, a read by a write of something else. */
static bool land(struct load *l, struct blk_request *req)
{
    unsigned int k = (unsigned int)(uintptr_t)req->user;
    bool wrote = req->type == VIRTIO_BLK_T_OUT;
    long bad = -1;

    if (req->status != VIRTIO_BLK_S_OK)
        return fail(l, "%s of sector %llu ended with status %u", wrote ? "a write" : "a read",
                    (unsigned long long)req->sector, req->status);
    if (wrote)
        l->seed[k]++;
    else
        bad = blk_verify(req->data, req->len, req->sector, l->seed[k]);
    if (bad >= 0)
        return fail(l, "sector %llu has other data at byte %ld", (unsigned long long)req->sector,
                    bad);
    blk_put(&l->disk->queue[l->queue], req);
    atomic_fetch_add(&l->done, 1);
    /* Ends on a read, so that all data was seen once. */
    if (atomic_load(&l->stop) && !wrote)
        return true;
    return launch(l, k, wrote ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT);
}

/* How many completed, or -1. */
static int reap(struct load *l, uint64_t *last_ns)
{
    struct blk_queue *q = &l->disk->queue[l->queue];
    struct blk_request *done[LOAD_DEPTH];
    int n = blk_reap(q, done, LOAD_DEPTH);
    uint64_t now = clock_ns();

    if (n < 0)
        fail(l, "the used ring is wrong: %s", q->ring->error);
    for (int i = 0; i < n; i++)
        if (!land(l, done[i]))
            return -1;
    if (n > 0 && now - *last_ns > l->longest_ns)
        l->longest_ns = now - *last_ns;
    if (n > 0)
        *last_ns = now;
    return n;
}

static void *run(void *arg)
{
    struct load *l = arg;
    struct ring *ring = l->disk->queue[l->queue].ring;
    uint64_t last_ns = clock_ns();
    bool fine = true;

    for (unsigned int k = 0; k < l->depth && fine; k++)
        fine = launch(l, k, VIRTIO_BLK_T_OUT);
    while (fine && ring_in_flight(ring) && !atomic_load(&l->abandon)) {
        int err = ring_submit(ring);

        if (!err)
            err = ring_wait(ring, TURN_MS);
        if (err && err != -ETIMEDOUT)
            fine = atomic_load(&l->abandon) || fail(l, "the queue: %s", strerror(-err));
        else if (reap(l, &last_ns) < 0)
            fine = false;
        else if (clock_ns() - last_ns > (uint64_t)sim_patience_ms() * 1000000)
            fine = fail(l, "nothing was completed for %d ms, %u in flight", sim_patience_ms(),
                        ring_in_flight(ring));
    }
    l->left = ring_in_flight(ring);
    return NULL;
}

int load_start(struct load *l)
{
    int err;

    if (!l->depth || l->depth > LOAD_DEPTH || l->depth > l->disk->opt.requests ||
        l->bytes > l->disk->opt.capacity || l->bytes % BLK_SECTOR)
        return -EINVAL;
    atomic_store(&l->stop, false);
    atomic_store(&l->abandon, false);
    atomic_store(&l->failed, false);
    atomic_store(&l->done, 0);
    memset(l->seed, 0, sizeof(l->seed));
    l->longest_ns = 0;
    l->left = 0;
    err = pthread_create(&l->thread, NULL, run, l);
    l->running = err == 0;
    return -err;
}

bool load_flows(struct load *l, uint64_t more, int timeout_ms)
{
    uint64_t want = atomic_load(&l->done) + more, deadline = clock_deadline(timeout_ms);

    while (atomic_load(&l->done) < want && !atomic_load(&l->failed)) {
        if (!clock_left_ms(deadline))
            return fail(l, "only %llu of %llu requests within %d ms",
                        (unsigned long long)(atomic_load(&l->done) + more - want),
                        (unsigned long long)more, timeout_ms);
        poll(NULL, 0, 1);
    }
    return !atomic_load(&l->failed);
}

bool load_stop(struct load *l, bool abandon)
{
    atomic_store(&l->stop, true);
    if (abandon)
        atomic_store(&l->abandon, true);
    if (l->running)
        pthread_join(l->thread, NULL);
    l->running = false;
    return !atomic_load(&l->failed);
}

bool load_check_image(struct load *l, const char *path)
{
    uint8_t data[4096];
    uint32_t part = l->bytes < sizeof(data) ? l->bytes : (uint32_t)sizeof(data);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return fail(l, "%s: %s", path, strerror(errno));
    for (unsigned int k = 0; k < l->depth; k++) {
        uint64_t sector = sector_of(l, k);

        if (pread(fd, data, part, (off_t)(sector * BLK_SECTOR)) != (ssize_t)part ||
            blk_verify(data, part, sector, l->seed[k]) >= 0)
            fail(l, "%s has other data at sector %llu", path, (unsigned long long)sector);
    }
    close(fd);
    return !atomic_load(&l->failed);
}
