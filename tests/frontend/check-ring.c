/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows about the split ring: sizes, features, wrap-around, notification suppression, queues.
 * One thread drives all queues of a row.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "check.h"

#define BATCH 8u

static enum verdict churn(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct churn spec = { .requests = row->arg ? (unsigned int)row->arg : 0 };

    return check_churn(c, dev, &spec);
}

/* Two descriptors hold a whole request only if header or status shares one with the data. */
static enum verdict tiny_ring(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct churn spec = { .requests = (unsigned int)row->arg,
                          .layout = BLK_LAYOUT_MERGE_HEADER | BLK_LAYOUT_MERGE_STATUS };

    return check_churn(c, dev, &spec);
}

/* The indices pass 65535 while single sectors go round. */
static enum verdict wrap(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct churn spec = { .requests = (unsigned int)row->arg, .len = BLK_SECTOR };
    enum verdict v = check_churn(c, dev, &spec);

    if (v == PASS && dev->ring[0].avail_idx != (uint16_t)spec.requests)
        v = check_fail(c, "the available index is %u after %u requests",
                       dev->ring[0].avail_idx, spec.requests);
    return v;
}

/* --- several queues at once --- */

static int send_all(struct blkdev *dev, uint32_t type, uint64_t seed)
{
    int err = 0;

    for (unsigned int i = 0; i < dev->opt.queues && !err; i++) {
        struct blk_queue *q = &dev->queue[i];

        for (unsigned int k = 0; k < dev->opt.slots && !err; k++) {
            struct blk_request *req = &q->request[k];

            req->type = type;
            req->len = 4096;
            req->sector = (i * dev->opt.slots + k) * 8ull;
            if (type == VIRTIO_BLK_T_OUT)
                blk_fill(req->data, req->len, req->sector, seed);
            else
                memset(req->data, 0, req->len);
            err = blk_queue_add(q, req);
        }
        if (!err)
            err = ring_submit(q->ring);
    }
    return err;
}

static enum verdict take_all(struct check *c, struct blkdev *dev, uint64_t seed)
{
    for (unsigned int i = 0; i < dev->opt.queues; i++) {
        struct blk_queue *q = &dev->queue[i];
        int err = blk_drain(q);

        if (err)
            return check_fail(c, "queue %u: %s", i,
                              q->ring->error ? q->ring->error : strerror(-err));
        for (unsigned int k = 0; k < dev->opt.slots; k++) {
            const struct blk_request *req = &q->request[k];

            if (!req->done || req->status != VIRTIO_BLK_S_OK)
                return check_fail(c, "queue %u slot %u: status %u", i, k, req->status);
            if (blk_verify(req->data, req->len, req->sector, seed) >= 0)
                return check_fail(c, "queue %u slot %u: wrong data", i, k);
        }
    }
    return PASS;
}

static enum verdict all_queues(struct check *c, struct blkdev *dev, const struct row *row)
{
    enum verdict v = PASS;

    for (uint64_t round = 1; round <= (uint64_t)row->arg && v == PASS; round++) {
        int err = send_all(dev, VIRTIO_BLK_T_OUT, round);

        v = err ? check_fail(c, "writes: %s", strerror(-err)) : take_all(c, dev, round);
        if (v != PASS)
            return v;
        err = send_all(dev, VIRTIO_BLK_T_IN, round);
        v = err ? check_fail(c, "reads: %s", strerror(-err)) : take_all(c, dev, round);
    }
    return v;
}

/* As many queues as there are; the runner opened the device with one. */
static enum verdict every_queue(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct blkdev_options opt = dev->opt;
    int err;

    opt.queues = (unsigned int)dev->fe.queue_num;
    if (opt.queues > FE_RINGS_MAX)
        opt.queues = FE_RINGS_MAX;
    blkdev_close(dev);
    err = blkdev_open(dev, &opt);
    return err ? check_err(c, dev, err) : all_queues(c, dev, row);
}

/* A queue in the middle without its neighbours, as firmware uses one of many. */
static enum verdict only_last_queue(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct churn spec = { .queue = dev->opt.queues - 1 };
    int err = blkdev_share(dev);

    (void)row;
    if (!err)
        err = fe_ring_start(&dev->fe, spec.queue, &dev->ring[spec.queue], &dev->mem, 0);
    return err ? check_err(c, dev, err) : check_churn(c, dev, &spec);
}

/* --- notifications --- */

static int send_batch(struct blk_queue *q, unsigned int count)
{
    int err = 0;

    for (unsigned int i = 0; i < count && !err; i++) {
        struct blk_request *req = blk_take(q);

        req->len = 4096;
        req->sector = i * 8ull;
        err = blk_queue_add(q, req);
    }
    return err;
}

/*
 * A back-end may call once when it is given the call descriptor, and once more at the first
 * completion if it has no older index to compare with: `arg` is how many may come.
 */
static enum verdict no_interrupts(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct churn spec = { .requests = 2000 };
    enum verdict v = check_churn(c, dev, &spec);
    uint32_t base;
    int err;

    if (v != PASS)
        return v;
    err = fe_ring_stop(&dev->fe, 0, &base);
    if (err)
        return check_err(c, dev, err);
    ring_drain_calls(&dev->ring[0]);
    if (dev->ring[0].calls > (uint64_t)row->arg)
        return check_fail(c, "%llu interrupts came though none was wanted",
                          (unsigned long long)dev->ring[0].calls);
    return PASS;
}

static enum verdict one_batch(struct check *c, struct blk_queue *q)
{
    struct ring *r = q->ring;
    struct pollfd call = { .fd = r->call_fd, .events = POLLIN };
    struct blk_request *done[BATCH];
    int err;
    int n;

    blk_queue_reset(q);
    ring_arm(r, BATCH);
    err = send_batch(q, BATCH);
    if (!err)
        err = ring_submit(r);
    if (err)
        return check_fail(c, "submit: %s", strerror(-err));
    if (poll(&call, 1, q->timeout_ms) != 1)
        return check_fail(c, "no interrupt came for the last of %u requests", BATCH);
    n = blk_reap(q, done, BATCH);
    if (n != (int)BATCH)
        return check_fail(c, "the interrupt for %u completions came after %d", BATCH, n);
    if (ring_drain_calls(r) != 1)
        return check_fail(c, "more than one interrupt came for %u completions", BATCH);
    return PASS;
}

static enum verdict interrupt_at_event(struct check *c, struct blkdev *dev,
                                       const struct row *row)
{
    struct blk_queue *q = &dev->queue[0];
    enum verdict v = check_works(c, dev);

    /* All calls of the warm-up must be in before they are counted: a stop waits for them. */
    for (long i = 0; i < row->arg && v == PASS; i++) {
        if (!i) {
            v = check_err(c, dev, fe_barrier(&dev->fe));
            ring_drain_calls(q->ring);
        }
        if (v == PASS)
            v = one_batch(c, q);
    }
    return v;
}

/* What is published without a kick is served at the next kick, however late. */
static enum verdict late_kick(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct blk_queue *q = &dev->queue[0];
    int err = 0;

    for (long i = 0; i < row->arg && !err; i++) {
        blk_queue_reset(q);
        err = send_batch(q, 3);
        if (!err) {
            ring_publish(q->ring);
            err = send_batch(q, 1);
        }
        if (!err) {
            ring_publish(q->ring);
            err = q->ring->kick(q->ring->kick_arg);
        }
        if (!err)
            err = blk_drain(q);
    }
    return err ? check_fail(c, "%s", strerror(-err)) : PASS;
}

static enum verdict idle_kicks(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct ring *r = &dev->ring[0];
    enum verdict v = check_works(c, dev);

    for (long i = 0; i < row->arg && v == PASS; i++) {
        int err = r->kick(r->kick_arg);

        if (!err)
            err = fe_barrier(&dev->fe);
        v = check_err(c, dev, err);
    }
    if (v == PASS && ring_shared_used_idx(r) != r->avail_idx)
        v = check_fail(c, "the used index moved without a request");
    return v == PASS ? check_works(c, dev) : v;
}

static enum verdict call_socket(struct check *c, struct blkdev *dev, const struct row *row)
{
    int err = fe_vring_open(&dev->fe, 0, true);

    (void)row;
    if (!err)
        err = blkdev_share(dev);
    if (!err)
        err = fe_ring_start(&dev->fe, 0, &dev->ring[0], &dev->mem, 0);
    return err ? check_err(c, dev, err) : check_works(c, dev);
}

/* As when a guest masks, unmasks and moves an interrupt vector. */
static enum verdict call_changes(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct blk_queue *q = &dev->queue[0];
    enum verdict v = check_works(c, dev);
    struct fe_vring *vring = &dev->fe.vring[0];

    for (long i = 0; i < row->arg && v == PASS; i++) {
        int err = fe_vring_fd(&dev->fe, VHU_SET_VRING_CALL, 0, -1);

        q->poll = true;
        v = err ? check_err(c, dev, err) : check_works(c, dev);
        q->poll = false;
        if (v != PASS)
            return v;
        close(vring->call);
        vring->call = vring->call_peer = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        q->ring->call_fd = vring->call;
        err = fe_vring_fd(&dev->fe, VHU_SET_VRING_CALL, 0, vring->call);
        v = err ? check_err(c, dev, err) : check_works(c, dev);
    }
    return v;
}

const struct row ring_rows[] = {
    { .name = "direct", .run = churn },
    { .name = "indirect", .run = churn, .opt = { .indirect = true } },
    { .name = "direct-event-idx", .run = churn, .opt = { .event_idx = true } },
    { .name = "indirect-event-idx", .run = churn,
      .opt = { .indirect = true, .event_idx = true } },
    { .name = "direct-polled", .run = churn, .opt = { .poll = true } },
    { .name = "indirect-event-idx-polled", .run = churn,
      .opt = { .indirect = true, .event_idx = true, .poll = true } },
    { .name = "in-order", .run = churn, .opt = { .in_order = true } },
    { .name = "in-order-indirect-event-idx", .run = churn, .arg = 3000,
      .opt = { .in_order = true, .indirect = true, .event_idx = true } },
    { .name = "size-1-indirect", .run = churn, .opt = { .num = 1, .indirect = true } },
    { .name = "size-1-indirect-event-idx", .run = churn,
      .opt = { .num = 1, .indirect = true, .event_idx = true } },
    { .name = "size-2", .run = tiny_ring, .arg = 500, .opt = { .num = 2, .roomy = true } },
    { .name = "size-2-indirect", .run = churn, .opt = { .num = 2, .indirect = true } },
    { .name = "size-4", .run = churn, .opt = { .num = 4 } },
    { .name = "size-8", .run = churn, .opt = { .num = 8, .event_idx = true } },
    { .name = "size-8-indirect", .run = churn, .opt = { .num = 8, .indirect = true } },
    { .name = "size-256", .run = churn, .arg = 3000,
      .opt = { .num = 256, .slots = 80, .capacity = 4096, .event_idx = true } },
    { .name = "size-256-indirect", .run = churn, .arg = 3000,
      .opt = { .num = 256, .slots = 256, .capacity = 4096, .indirect = true } },
    { .name = "size-1024", .run = churn, .arg = 3000,
      .opt = { .num = 1024, .slots = 340, .capacity = 4096, .event_idx = true } },
    { .name = "wrap", .run = wrap, .arg = 70000, .opt = { .event_idx = true } },
    { .name = "wrap-no-event-idx", .run = wrap, .arg = 70000, .opt = { .poll = true } },
    { .name = "wrap-indirect", .run = wrap, .arg = 140000,
      .opt = { .num = 16, .indirect = true, .event_idx = true, .poll = true } },
    { .name = "two-queues", .run = all_queues, .arg = 50, .writes = true,
      .opt = { .queues = 2, .event_idx = true } },
    { .name = "every-queue", .run = every_queue, .arg = 30, .writes = true,
      .opt = { .event_idx = true, .indirect = true, .capacity = 4096 } },
    { .name = "only-the-last-queue", .run = only_last_queue,
      .opt = { .queues = 2, .no_start = true } },
    { .name = "no-interrupt-flag", .run = no_interrupts, .arg = 1,
      .opt = { .poll = true } },
    { .name = "no-interrupt-event-idx", .run = no_interrupts, .arg = 2,
      .opt = { .poll = true, .event_idx = true } },
    { .name = "interrupt-at-event", .run = interrupt_at_event, .arg = 100,
      .opt = { .poll = true, .event_idx = true } },
    { .name = "late-kick", .run = late_kick, .arg = 100 },
    { .name = "late-kick-event-idx", .run = late_kick, .arg = 100, .opt = { .event_idx = true } },
    { .name = "idle-kicks", .run = idle_kicks, .arg = 100 },
    { .name = "call-socket", .run = call_socket, .opt = { .no_start = true } },
    { .name = "call-changes", .run = call_changes, .arg = 10 },
    { .name = NULL },
};
