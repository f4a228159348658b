/* SPDX-License-Identifier: BSD-3-Clause */
/* disk.c - see disk.h. */
#include "disk.h"

#include "clock.h"
#include "report.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define BYTES 4096u
#define DEPTH 8u
#define TIMEOUT_MS 15000
#define TURN_MS 100 /* how often a waiting thread looks whether it should end */

bool disk_open(struct blkdev *dev, const struct daemon *d, const char *id,
               const struct blkdev_options *options)
{
    struct blkdev_options o = options ? *options : (struct blkdev_options){.event_idx = true};
    struct text path = socket_of(d, id);
    o.path = path.s;
    int err = blkdev_open(dev, &o);
    dev->opt.path = NULL; /* its text ends here */
    return !err || row_fail("a front-end on %s: %s (%s)", id, dev->fe.error, strerror(-err));
}

bool disk_works(struct blkdev *dev, uint64_t seed)
{
    static uint8_t data[BYTES];
    blk_fill(data, BYTES, 8, seed);
    int rc = blk_write(&dev->queue[0], 8, data, BYTES);
    if (rc == 0) {
        memset(data, 0, BYTES);
        rc = blk_read(&dev->queue[0], 8, data, BYTES);
    }
    if (rc != 0)
        return row_fail("I/O on a disk ended with %d", rc);
    return blk_verify(data, BYTES, 8, seed) < 0 || row_fail("a disk returned wrong data");
}

bool disk_hung_up(struct blkdev *dev, const char *when)
{
    return fe_wait_hangup(&dev->fe) == 0 || row_fail("the daemon did not hang up %s", when);
}

/* ---- traffic --------------------------------------------------------------------------------- */

struct pass {
    struct traffic *t;
    uint64_t last_ns, number;
};

static void launch(struct pass *p)
{
    struct blk_queue *q = &p->t->dev->queue[0];
    while (ring_in_flight(q->ring) < DEPTH) {
        struct blk_request *req = blk_take(q);
        if (!req)
            return;
        req->type = p->number % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
        req->len = BYTES;
        req->pieces = 0;
        req->sector = p->number % 64 * (BYTES / BLK_SECTOR);
        p->number++;
        if (blk_queue_add(q, req) < 0) {
            blk_put(q, req);
            return;
        }
    }
}

/* False when the ring is broken. */
static bool land(struct pass *p)
{
    struct traffic *t = p->t;
    struct blk_request *done[DEPTH];
    int n = blk_reap(&t->dev->queue[0], done, DEPTH);
    for (int i = 0; i < n; i++) {
        t->wrong += done[i]->status != VIRTIO_BLK_S_OK;
        blk_put(&t->dev->queue[0], done[i]);
    }
    if (n > 0) {
        uint64_t now = clock_ns();
        if (now - p->last_ns > t->longest_ns)
            t->longest_ns = now - p->last_ns;
        p->last_ns = now;
        atomic_fetch_add(&t->done, (uint64_t)n);
    }
    return n >= 0;
}

static void count_left(struct traffic *t)
{
    struct blk_queue *q = &t->dev->queue[0];
    t->left = ring_in_flight(q->ring);
    for (unsigned i = 0; i < q->slots; i++) /* a reaped slot is marked done */
        if (q->ring->opt.num && t->left && !q->request[i].done && q->request[i].started_ns &&
            *q->request[i].status_at != BLK_STATUS_NONE)
            t->half++;
}

static void *run_traffic(void *arg)
{
    struct traffic *t = arg;
    struct pass pass = {.t = t, .last_ns = clock_ns()};
    struct ring *ring = t->dev->queue[0].ring;
    bool fine = true;
    while (fine && !atomic_load(&t->stop) && fe_alive(&t->dev->fe)) {
        launch(&pass);
        fine = ring_submit(ring) == 0;
        int rc = ring_wait(ring, TURN_MS);
        fine = fine && (rc == 0 || rc == -ETIMEDOUT) && land(&pass);
    }
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    while (fine && ring_in_flight(ring) > 0 && fe_alive(&t->dev->fe) &&
           clock_left_ms(deadline) > 0) {
        ring_wait(ring, TURN_MS);
        fine = land(&pass);
    }
    if (fine)
        land(&pass); /* what came together with the end of the connection */
    count_left(t);
    return NULL;
}

static void end_traffic(void *arg)
{
    struct traffic *t = arg;
    atomic_store(&t->stop, true);
    if (t->running)
        pthread_join(t->thread, NULL);
    t->running = false;
}

bool traffic_start(struct traffic *t, struct blkdev *dev)
{
    memset(t, 0, sizeof(*t));
    t->dev = dev;
    int rc = pthread_create(&t->thread, NULL, run_traffic, t);
    t->running = rc == 0;
    row_at_end(end_traffic, t);
    return t->running || row_fail("no thread for I/O: %s", strerror(rc));
}

bool traffic_flows(struct traffic *t, uint64_t more)
{
    uint64_t want = atomic_load(&t->done) + more, deadline = clock_deadline(TIMEOUT_MS);
    while (atomic_load(&t->done) < want) {
        if (clock_left_ms(deadline) == 0)
            return row_fail("I/O does not flow: %llu requests, wanted %llu",
                            (unsigned long long)atomic_load(&t->done), (unsigned long long)want);
        poll(NULL, 0, 1);
    }
    return true;
}

bool traffic_stop(struct traffic *t)
{
    end_traffic(t);
    return t->wrong == 0 || row_fail("%u requests failed", t->wrong);
}
