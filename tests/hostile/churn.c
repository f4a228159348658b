/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * churn.c - see hostile.h. Rounds of a few writes to places of their own, then of reads that have
 * to return what was written. Its thread alone uses the queue.
 */
#include "hostile.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define DEPTH 4u
#define BYTES 4096u
#define PLACE 16u /* sectors between two places */
#define STUCK_MS 20000

static void note_latency(struct churn *c, uint64_t start)
{
    uint64_t ns = clock_ns() - start;
    if (ns > atomic_load(&c->worst_ns))
        atomic_store(&c->worst_ns, ns);
}

static bool add(struct churn *c, struct blk_queue *q, uint32_t type, uint64_t round, unsigned i)
{
    struct blk_request *req = blk_take(q);
    if (!req)
        return false;
    req->type = type;
    req->len = BYTES;
    req->sector = (round % 64 * DEPTH + i) * PLACE;
    if (type == VIRTIO_BLK_T_OUT)
        blk_fill(req->data, BYTES, req->sector, round);
    else if (c->verify)
        memset(req->data, 0, BYTES);
    return blk_queue_add(q, req) == 0;
}

static bool take_back(struct churn *c, struct blk_queue *q, uint64_t round)
{
    struct blk_request *done[DEPTH];
    int n = blk_reap(q, done, DEPTH);
    for (int i = 0; i < n; i++) {
        struct blk_request *req = done[i];
        bool right = req->status == VIRTIO_BLK_S_OK &&
                     (!c->verify || req->type != VIRTIO_BLK_T_IN ||
                      blk_verify(req->data, BYTES, req->sector, round) < 0);
        if (!right && !c->tolerant)
            return row_fail("the neighbour's %s at sector %llu ended with %u, or has wrong data",
                            req->type ? "write" : "read", (unsigned long long)req->sector,
                            req->status);
        blk_put(q, req);
        atomic_fetch_add(&c->done, 1);
    }
    return n >= 0;
}

static bool one_round(struct churn *c, uint32_t type, uint64_t round)
{
    struct blk_queue *q = &c->dev->queue[c->queue];
    uint64_t start = clock_ns();
    atomic_store(&c->started_ns, start);
    for (unsigned i = 0; i < DEPTH; i++)
        if (!add(c, q, type, round, i))
            return c->tolerant ? false : row_fail("no request is free");
    if (ring_submit(q->ring) < 0)
        return false;
    while (ring_in_flight(q->ring) > 0) {
        int rc = ring_wait(q->ring, 100);
        bool late = clock_ns() - start > STUCK_MS * 1000000ull;
        if ((rc < 0 && rc != -ETIMEDOUT) || late || (rc < 0 && !fe_alive(&c->dev->fe)) ||
            (rc < 0 && c->tolerant && atomic_load(&c->stop)))
            return c->tolerant ? false : row_fail("the neighbour's I/O stands still: %s",
                                                  late ? "20 s" : "the daemon hung up");
        if (rc == 0 && !take_back(c, q, round))
            return false;
        if (rc == 0)
            note_latency(c, start);
    }
    atomic_store(&c->started_ns, 0);
    return true;
}

static void *run_churn(void *arg)
{
    struct churn *c = arg;
    bool good = true;
    for (uint64_t round = 1; good && !atomic_load(&c->stop); round++) {
        good = one_round(c, VIRTIO_BLK_T_OUT, round) && one_round(c, VIRTIO_BLK_T_IN, round);
        if (c->pause_ms)
            poll(NULL, 0, (int)c->pause_ms);
    }
    atomic_store(&c->ended, !good);
    return NULL;
}

bool churn_start(struct churn *c, struct blkdev *dev)
{
    c->dev = dev;
    atomic_store(&c->stop, false);
    atomic_store(&c->started_ns, 0);
    int rc = pthread_create(&c->thread, NULL, run_churn, c);
    c->running = rc == 0;
    return c->running || row_fail("no thread for I/O: %s", strerror(rc));
}

void churn_stop(struct churn *c)
{
    atomic_store(&c->stop, true);
    if (c->running)
        pthread_join(c->thread, NULL);
    memset(c, 0, sizeof(*c));
}

bool churn_flows(struct churn *c, uint64_t more)
{
    uint64_t want = atomic_load(&c->done) + more, deadline = clock_deadline(WAIT_MS);
    while (atomic_load(&c->done) < want) {
        if (atomic_load(&c->ended))
            return row_fail("I/O has ended");
        if (clock_left_ms(deadline) == 0)
            return row_fail("I/O does not flow: %llu of %llu requests within %d ms",
                            (unsigned long long)(more - (want - atomic_load(&c->done))),
                            (unsigned long long)more, WAIT_MS);
        poll(NULL, 0, 1);
    }
    return true;
}

uint64_t churn_worst_ns(struct churn *c)
{
    uint64_t worst = atomic_load(&c->worst_ns), start = atomic_load(&c->started_ns);
    uint64_t now = clock_ns();
    return start && now > start && now - start > worst ? now - start : worst;
}
