/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows about what changes while a device lives: rings stop and start, front-ends go and come,
 * memory is added and taken away. One thread.
 */
#include <errno.h>
#include <string.h>

#include "check.h"

#define EXTRA_GPA 0x4000000000ull
#define EXTRA_SIZE 65536u
#define IN_FLIGHT 32u

/* --- rings --- */

static enum verdict stop_restart(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct ring *r = &dev->ring[0];
    enum verdict v = PASS;

    for (long i = 0; i < row->arg && v == PASS; i++) {
        uint32_t base = 0;
        int err;

        v = check_works(c, dev);
        if (v != PASS)
            return v;
        err = fe_ring_stop(&dev->fe, 0, &base);
        if (!err && base != r->avail_idx)
            return check_fail(c, "the base is %u, not %u", base, r->avail_idx);
        if (!err)
            err = fe_ring_start(&dev->fe, 0, r, &dev->mem, base);
        v = check_err(c, dev, err);
    }
    return v == PASS ? check_works(c, dev) : v;
}

static int send_writes(struct blkdev *dev, uint64_t seed)
{
    struct blk_queue *q = &dev->queue[0];
    int err = 0;

    for (unsigned int i = 0; i < IN_FLIGHT && !err; i++) {
        struct blk_request *req = &q->request[i];

        req->type = VIRTIO_BLK_T_OUT;
        req->len = 32768;
        req->pieces = 1;
        req->layout = 0;
        req->sector = i * 64ull;
        blk_fill(req->data, req->len, req->sector, seed);
        err = blk_queue_add(q, req);
    }
    return err ? err : ring_submit(q->ring);
}

static enum verdict written(struct check *c, struct blkdev *dev, uint64_t seed)
{
    struct blk_queue *q = &dev->queue[0];

    for (unsigned int i = 0; i < IN_FLIGHT; i++) {
        uint8_t data[32768];
        enum verdict v;

        if (!q->request[i].done || q->request[i].status != VIRTIO_BLK_S_OK)
            return check_fail(c, "write %u: status %u", i, q->request[i].status);
        q->request[i].done = false;
        v = check_status(c, "read back", blk_read(q, i * 64ull, data, sizeof(data)), 0);
        if (v != PASS)
            return v;
        if (blk_verify(data, sizeof(data), i * 64ull, seed) >= 0)
            return check_fail(c, "write %u has wrong data", i);
    }
    return PASS;
}

/* What was taken is finished before the base is told; the rest is served after the restart. */
static enum verdict stop_in_flight(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct ring *r = &dev->ring[0];
    enum verdict v = PASS;

    for (long i = 0; i < row->arg && v == PASS; i++) {
        uint32_t base = 0;
        uint16_t used;
        int err = send_writes(dev, (uint64_t)i + 1);

        if (!err)
            err = fe_ring_stop(&dev->fe, 0, &base);
        if (err)
            return check_err(c, dev, err);
        used = ring_shared_used_idx(r);
        if (used != base)
            return check_fail(c, "the base is %u but the used index is %u", base, used);
        err = fe_ring_start(&dev->fe, 0, r, &dev->mem, base);
        if (!err)
            err = r->kick(r->kick_arg);
        if (!err)
            err = blk_drain(&dev->queue[0]);
        v = err ? check_err(c, dev, err) : written(c, dev, (uint64_t)i + 1);
    }
    return v;
}

/* Suspend and resume of a guest: rings off and on with nothing else said. */
static enum verdict disable_enable(struct check *c, struct blkdev *dev, const struct row *row)
{
    enum verdict v = PASS;

    for (long i = 0; i < row->arg && v == PASS; i++) {
        int err;

        v = check_works(c, dev);
        err = fe_vring_enable(&dev->fe, 0, false);
        if (!err)
            err = fe_barrier(&dev->fe);
        if (!err)
            err = fe_vring_enable(&dev->fe, 0, true);
        if (v == PASS)
            v = check_err(c, dev, err);
    }
    return v == PASS ? check_works(c, dev) : v;
}

/* From the reply to a barrier on, a disabled ring is not touched, whatever was in flight. */
static enum verdict disabled_is_quiet(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct ring *r = &dev->ring[0];

    for (long i = 0; i < row->arg; i++) {
        uint16_t used;
        int err = send_writes(dev, (uint64_t)i + 1);

        if (!err)
            err = fe_vring_enable(&dev->fe, 0, false);
        if (!err)
            err = fe_barrier(&dev->fe);
        used = ring_shared_used_idx(r);
        for (int k = 0; k < 200 && !err; k++)
            err = fe_barrier(&dev->fe);
        if (err)
            return check_err(c, dev, err);
        if (ring_shared_used_idx(r) != used)
            return check_fail(c, "the used index moved from %u to %u in a disabled ring", used,
                              ring_shared_used_idx(r));
        err = fe_vring_enable(&dev->fe, 0, true);
        if (!err)
            err = r->kick(r->kick_arg);
        if (!err)
            err = blk_drain(&dev->queue[0]);
        if (err)
            return check_err(c, dev, err);
    }
    return PASS;
}

/* A new driver clears the ring after the back-end was told where it is, before it kicks. */
static enum verdict cleared_before_kick(struct check *c, struct blkdev *dev,
                                        const struct row *row)
{
    struct ring *r = &dev->ring[0];
    int err = blkdev_share(dev);

    (void)row;
    r->used->idx = 77;
    if (!err)
        err = fe_ring_start(&dev->fe, 0, r, &dev->mem, 0);
    ring_reset(r);
    return err ? check_err(c, dev, err) : check_works(c, dev);
}

static enum verdict reset_device(struct check *c, struct blkdev *dev, const struct row *row)
{
    enum verdict v = PASS;

    if (!fe_speaks(&dev->fe, VHU_PF_RESET_DEVICE))
        return check_skip(c, "the back-end does not offer RESET_DEVICE");
    for (long i = 0; i < row->arg && v == PASS; i++) {
        int err;

        v = check_works(c, dev);
        if (v != PASS)
            return v;
        err = fe_reset_device(&dev->fe);
        ring_reset(&dev->ring[0]);
        blk_queue_reset(&dev->queue[0]);
        if (!err)
            err = fe_set_features(&dev->fe, dev->fe.features);
        if (!err)
            err = blkdev_start(dev);
        v = check_err(c, dev, err);
    }
    return v == PASS ? check_works(c, dev) : v;
}

/* --- connections --- */

static enum verdict reconnect(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct blkdev_options opt = dev->opt;
    enum verdict v = PASS;

    for (long i = 0; i < row->arg && v == PASS; i++) {
        int err;

        v = check_works(c, dev);
        blkdev_close(dev);
        err = blkdev_open(dev, &opt);
        if (v == PASS)
            v = check_err(c, dev, err);
    }
    return v == PASS ? check_works(c, dev) : v;
}

static int come_again(struct blkdev *dev)
{
    int err;

    fe_disconnect(&dev->fe);
    err = blkdev_connect(dev);
    if (!err)
        err = blkdev_share(dev);
    if (!err)
        err = blkdev_start(dev);
    return err;
}

/* The front-end's process lives on with its memory; rings go on where they were. */
static enum verdict reconnect_same_rings(struct check *c, struct blkdev *dev,
                                         const struct row *row)
{
    enum verdict v = PASS;

    for (long i = 0; i < row->arg && v == PASS; i++) {
        v = check_works(c, dev);
        if (v == PASS)
            v = check_err(c, dev, come_again(dev));
    }
    return v == PASS ? check_works(c, dev) : v;
}

static enum verdict leave_in_flight(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct blkdev_options opt = dev->opt;
    enum verdict v = PASS;

    for (long i = 0; i < row->arg && v == PASS; i++) {
        int err = send_writes(dev, 9);

        blkdev_close(dev);
        if (!err)
            err = blkdev_open(dev, &opt);
        v = err ? check_err(c, dev, err) : check_works(c, dev);
    }
    return v;
}

/* Goes away after each step of the handshake in turn. */
static enum verdict leave_early(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct blkdev_options opt = dev->opt;
    int err = 0;

    for (long step = 0; step < 5 * row->arg && !err; step++) {
        fe_disconnect(&dev->fe);
        dev->fe.proto = 0;
        err = fe_connect(&dev->fe, c->path);
        if (!err && step % 5 > 0)
            err = fe_command(&dev->fe, VHU_SET_OWNER, NULL, 0, NULL, 0);
        if (!err && step % 5 > 1)
            err = fe_negotiate(&dev->fe, blkdev_features(&opt), blkdev_proto(&opt));
        if (!err && step % 5 > 2)
            err = blkdev_share(dev);
        if (!err && step % 5 > 3)
            err = fe_vring_num(&dev->fe, 0, 64);
    }
    if (err)
        return check_err(c, dev, err);
    blkdev_close(dev);
    err = blkdev_open(dev, &opt);
    return err ? check_err(c, dev, err) : check_works(c, dev);
}

static enum verdict seen_by_next(struct check *c, struct blkdev *dev, const struct row *row)
{
    uint8_t data[4096];
    struct blkdev_options opt = dev->opt;
    enum verdict v;
    int err;

    (void)row;
    blk_fill(data, sizeof(data), 4096, 123);
    v = check_status(c, "write", blk_write(&dev->queue[0], 4096, data, sizeof(data)), 0);
    blkdev_close(dev);
    err = blkdev_open(dev, &opt);
    memset(data, 0, sizeof(data));
    if (v == PASS)
        v = check_err(c, dev, err);
    if (v == PASS)
        v = check_status(c, "read", blk_read(&dev->queue[0], 4096, data, sizeof(data)), 0);
    if (v == PASS && blk_verify(data, sizeof(data), 4096, 123) >= 0)
        v = check_fail(c, "the next connection reads something else");
    return v;
}

/* --- memory --- */

static enum verdict through(struct check *c, struct blkdev *dev, const struct ring_seg *seg,
                            unsigned int pieces, uint32_t type)
{
    struct blk_queue *q = &dev->queue[0];
    struct blk_request *req = blk_take(q);
    enum verdict v;
    int err;

    req->type = type;
    req->sector = 8192;
    req->seg = seg;
    req->pieces = pieces;
    err = blk_run(q, req);
    v = err ? check_fail(c, "%s", strerror(-err))
            : check_status(c, "request in added memory", req->status, VIRTIO_BLK_S_OK);
    blk_put(q, req);
    return v;
}

/* A region with a high address, an offset in its file, and a user address nobody has. */
static int add_extra(struct blkdev *dev, uint64_t gpa)
{
    struct guestmem_spec spec = { .size = EXTRA_SIZE, .gpa = gpa,
                                  .uva = GUESTMEM_FAKE_UVA + gpa, .offset = 0x3000 };

    return guestmem_add(&dev->mem, &spec);
}

static enum verdict write_read(struct check *c, struct blkdev *dev, int region, uint64_t seed)
{
    const struct guestmem_region *extra = &dev->mem.region[region];
    struct ring_seg seg = { extra->at.gpa + 8192, 4096 };
    enum verdict v;

    if (c->read_only)
        return through(c, dev, &seg, 1, VIRTIO_BLK_T_IN);
    blk_fill(extra->map + 8192, 4096, 8192, seed);
    v = through(c, dev, &seg, 1, VIRTIO_BLK_T_OUT);
    memset(extra->map + 8192, 0, 4096);
    if (v == PASS)
        v = through(c, dev, &seg, 1, VIRTIO_BLK_T_IN);
    if (v == PASS && blk_verify(extra->map + 8192, 4096, 8192, seed) >= 0)
        v = check_fail(c, "wrong data in the added region");
    return v;
}

static enum verdict add_remove(struct check *c, struct blkdev *dev, const struct row *row)
{
    enum verdict v = PASS;

    if (!fe_speaks(&dev->fe, VHU_PF_CONFIGURE_MEM_SLOTS))
        return check_skip(c, "the back-end does not offer CONFIGURE_MEM_SLOTS");
    for (long i = 0; i < row->arg && v == PASS; i++) {
        int region = add_extra(dev, EXTRA_GPA + (uint64_t)i * EXTRA_SIZE);
        int err = region < 0 ? region : fe_add_mem(&dev->fe, &dev->mem, (unsigned int)region);

        v = err ? check_err(c, dev, err) : write_read(c, dev, region, (uint64_t)i + 1);
        if (v != PASS)
            return v;
        err = fe_rem_mem(&dev->fe, &dev->mem, (unsigned int)region);
        guestmem_drop(&dev->mem, (unsigned int)region);
        v = err ? check_err(c, dev, err) : check_works(c, dev);
    }
    return v;
}

/* The whole table is sent again with one region more, then with one less; rings keep running. */
static enum verdict new_table(struct check *c, struct blkdev *dev, const struct row *row)
{
    enum verdict v = PASS;

    for (long i = 0; i < row->arg && v == PASS; i++) {
        int region = add_extra(dev, EXTRA_GPA);
        int err = region < 0 ? region : fe_set_mem_table(&dev->fe, &dev->mem);

        v = err ? check_err(c, dev, err) : write_read(c, dev, region, (uint64_t)i + 1);
        if (v != PASS)
            return v;
        guestmem_drop(&dev->mem, (unsigned int)region);
        err = fe_set_mem_table(&dev->fe, &dev->mem);
        v = err ? check_err(c, dev, err) : check_works(c, dev);
    }
    return v;
}

/* One buffer over the border of two regions whose guest addresses meet. */
static enum verdict crossing(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct ring_seg seg = { EXTRA_GPA + EXTRA_SIZE - 1000, 4096 };
    int high = add_extra(dev, EXTRA_GPA + EXTRA_SIZE);
    int low = add_extra(dev, EXTRA_GPA);
    uint8_t data[4096];
    enum verdict v;
    int err;

    (void)row;
    if (high < 0 || low < 0)
        return check_fail(c, "cannot make guest memory");
    err = fe_set_mem_table(&dev->fe, &dev->mem);
    if (err)
        return check_err(c, dev, err);
    blk_fill(data, sizeof(data), 8192, 31);
    memcpy(dev->mem.region[low].map + EXTRA_SIZE - 1000, data, 1000);
    memcpy(dev->mem.region[high].map, data + 1000, sizeof(data) - 1000);
    v = through(c, dev, &seg, 1, VIRTIO_BLK_T_OUT);
    memset(dev->mem.region[low].map, 0, EXTRA_SIZE);
    memset(dev->mem.region[high].map, 0, EXTRA_SIZE);
    if (v == PASS)
        v = through(c, dev, &seg, 1, VIRTIO_BLK_T_IN);
    memcpy(data, dev->mem.region[low].map + EXTRA_SIZE - 1000, 1000);
    memcpy(data + 1000, dev->mem.region[high].map, sizeof(data) - 1000);
    if (v == PASS && blk_verify(data, sizeof(data), 8192, 31) >= 0)
        v = check_fail(c, "wrong data across the border");
    return v;
}

const struct row life_rows[] = {
    { .name = "stop-restart", .run = stop_restart, .arg = 20 },
    { .name = "stop-restart-event-idx", .run = stop_restart, .arg = 20,
      .opt = { .event_idx = true, .indirect = true } },
    { .name = "stop-in-flight", .run = stop_in_flight, .arg = 20, .writes = true,
      .strict = true },
    { .name = "disable-enable", .run = disable_enable, .arg = 10 },
    { .name = "disabled-is-quiet", .run = disabled_is_quiet, .arg = 20, .writes = true,
      .strict = true },
    { .name = "cleared-before-kick", .run = cleared_before_kick, .strict = true,
      .opt = { .no_start = true } },
    { .name = "reset-device", .run = reset_device, .arg = 10 },
    { .name = "reconnect", .run = reconnect, .arg = 20 },
    { .name = "reconnect-same-rings", .run = reconnect_same_rings, .arg = 10,
      .opt = { .event_idx = true } },
    { .name = "leave-in-flight", .run = leave_in_flight, .arg = 20, .writes = true },
    { .name = "leave-early", .run = leave_early, .arg = 4 },
    { .name = "seen-by-next", .run = seen_by_next, .writes = true },
    { .name = "memory-add-remove", .run = add_remove, .arg = 20 },
    { .name = "memory-new-table", .run = new_table, .arg = 10, .opt = { .no_slots = true } },
    { .name = "memory-crossing", .run = crossing, .writes = true, .opt = { .no_slots = true } },
    { .name = NULL },
};
