/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows about messages: negotiation, configuration, the orders in which real front-ends speak.
 * One thread; each row has a connection of its own.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>

#include "check.h"

static enum verdict features(struct check *c, struct blkdev *dev, const struct row *row)
{
    uint64_t again = 0;
    int err = fe_query_u64(&dev->fe, VHU_GET_FEATURES, &again);

    (void)row;
    if (err)
        return check_err(c, dev, err);
    if (again != dev->fe.offered)
        return check_fail(c, "the features changed from 0x%llx to 0x%llx",
                          (unsigned long long)dev->fe.offered, (unsigned long long)again);
    if (!(again & FE_BIT(VIRTIO_F_VERSION_1)))
        return check_fail(c, "VERSION_1 is not offered");
    if (!(again & FE_BIT(VHU_F_PROTOCOL_FEATURES)))
        return check_fail(c, "protocol features are not offered");
    return PASS;
}

static enum verdict reply_ack(struct check *c, struct blkdev *dev, const struct row *row)
{
    (void)row;
    if (!fe_speaks(&dev->fe, VHU_PF_REPLY_ACK))
        return check_skip(c, "the back-end does not offer REPLY_ACK");
    /* Every request of the session asked for one already; here one that changes nothing. */
    return check_err(c, dev, fe_command(&dev->fe, VHU_SET_OWNER, NULL, 0, NULL, 0));
}

static enum verdict works(struct check *c, struct blkdev *dev, const struct row *row)
{
    (void)row;
    return check_works(c, dev);
}

static enum verdict queue_num(struct check *c, struct blkdev *dev, const struct row *row)
{
    (void)row;
    if (!fe_speaks(&dev->fe, VHU_PF_MQ))
        return check_skip(c, "the back-end does not offer the MQ protocol feature");
    if (!dev->fe.queue_num || dev->fe.queue_num > UINT16_MAX)
        return check_fail(c, "the back-end announces %llu queues",
                          (unsigned long long)dev->fe.queue_num);
    if (fe_has(&dev->fe, VIRTIO_BLK_F_MQ) && dev->config.num_queues > dev->fe.queue_num)
        return check_fail(c, "the configuration has %u queues, GET_QUEUE_NUM only %llu",
                          dev->config.num_queues, (unsigned long long)dev->fe.queue_num);
    return PASS;
}

static enum verdict config_parts(struct check *c, struct blkdev *dev, const struct row *row)
{
    static const uint32_t sizes[] = { 1, 2, 4, 8, 16 };
    const uint8_t *whole = (const uint8_t *)&dev->config;
    uint32_t end = offsetof(struct virtio_blk_config, max_secure_erase_sectors);

    (void)row;
    for (uint32_t at = 0; at < end; at++) {
        for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            uint8_t part[16];
            int err;

            if (at + sizes[i] > end)
                continue;
            err = fe_get_config(&dev->fe, at, part, sizes[i]);
            if (err)
                return check_err(c, dev, err);
            if (memcmp(part, whole + at, sizes[i]) != 0)
                return check_fail(c, "%u bytes at %u differ from the whole", sizes[i], at);
        }
    }
    return PASS;
}

/* User-mode Linux asks for everything from the start up to what it wants. */
static enum verdict config_prefixes(struct check *c, struct blkdev *dev, const struct row *row)
{
    uint32_t end = offsetof(struct virtio_blk_config, max_secure_erase_sectors);

    (void)row;
    for (uint32_t size = 1; size <= end; size++) {
        uint8_t part[sizeof(struct virtio_blk_config)];
        int err = fe_get_config(&dev->fe, 0, part, size);

        if (err)
            return check_err(c, dev, err);
        if (memcmp(part, &dev->config, size) != 0)
            return check_fail(c, "the first %u bytes differ from the whole", size);
    }
    return PASS;
}

static enum verdict config_values(struct check *c, struct blkdev *dev, const struct row *row)
{
    uint32_t bs = dev->config.blk_size;

    (void)row;
    if (fe_has(&dev->fe, VIRTIO_BLK_F_BLK_SIZE) && (bs < BLK_SECTOR || bs & (bs - 1)))
        return check_fail(c, "a block size of %u", bs);
    if (fe_has(&dev->fe, VIRTIO_BLK_F_SEG_MAX) && !dev->config.seg_max)
        return check_fail(c, "SEG_MAX is offered with 0 segments");
    if (fe_has(&dev->fe, VIRTIO_BLK_F_MQ) && !dev->config.num_queues)
        return check_fail(c, "MQ is offered with 0 queues");
    if (fe_has(&dev->fe, VIRTIO_BLK_F_DISCARD) &&
        (!dev->config.max_discard_sectors || !dev->config.max_discard_seg))
        return check_fail(c, "DISCARD is offered with a limit of 0");
    if (fe_has(&dev->fe, VIRTIO_BLK_F_WRITE_ZEROES) &&
        (!dev->config.max_write_zeroes_sectors || !dev->config.max_write_zeroes_seg))
        return check_fail(c, "WRITE_ZEROES is offered with a limit of 0");
    return PASS;
}

/* Not every back-end shows the mode it was switched to (arg: it must). */
static enum verdict config_wce(struct check *c, struct blkdev *dev, const struct row *row)
{
    uint32_t at = offsetof(struct virtio_blk_config, wce);

    if (!fe_has(&dev->fe, VIRTIO_BLK_F_CONFIG_WCE))
        return check_skip(c, "the back-end does not offer CONFIG_WCE");
    for (uint8_t i = 0; i < 4; i++) {
        uint8_t want = i & 1;
        uint8_t got = 0xff;
        int err = fe_set_config(&dev->fe, at, &want, 1);

        if (!err)
            err = fe_get_config(&dev->fe, at, &got, 1);
        if (err)
            return check_err(c, dev, err);
        if (row->arg && got != want)
            return check_fail(c, "write cache set to %u, read as %u", want, got);
    }
    return check_works(c, dev);
}

static enum verdict config_change(struct check *c, struct blkdev *dev, const struct row *row)
{
    uint64_t before = dev->sectors;
    struct fe_msg msg;
    int err;

    (void)row;
    if (dev->fe.channel < 0)
        return check_skip(c, "the back-end does not offer BACKEND_REQ");
    if (!c->resize_command)
        return check_skip(c, "no --resize-command was given");
    if (system(c->resize_command) != 0)
        return check_fail(c, "the resize command failed");
    err = fe_channel_recv(&dev->fe, &msg);
    if (err)
        return check_err(c, dev, err);
    fe_msg_close(&msg);
    if (msg.header.request != VHU_BACKEND_CONFIG_CHANGE)
        return check_fail(c, "request %u came instead of CONFIG_CHANGE", msg.header.request);
    err = blkdev_read_config(dev);
    if (err)
        return check_err(c, dev, err);
    if (dev->sectors == before)
        return check_fail(c, "the capacity is still %llu sectors", (unsigned long long)before);
    return check_works(c, dev);
}

static enum verdict byte_by_byte(struct check *c, struct blkdev *dev, const struct row *row)
{
    uint8_t bytes[VHU_HEADER_SIZE + FE_PAYLOAD_MAX];
    struct vhu_vring_state state = { 0, 0 };
    struct fe_msg reply;
    size_t len;
    int err;

    (void)row;
    len = fe_encode(bytes, VHU_GET_VRING_BASE, VHU_FLAG_VERSION, &state, sizeof(state));
    err = fe_write_slowly(&dev->fe, bytes, len, 1, NULL, 0);
    if (!err)
        err = fe_recv(&dev->fe, &reply);
    if (err)
        return check_err(c, dev, err);
    fe_msg_close(&reply);
    if (reply.header.request != VHU_GET_VRING_BASE || reply.header.size != sizeof(state))
        return check_fail(c, "the reply is for request %u with %u bytes", reply.header.request,
                          reply.header.size);
    return PASS;
}

static enum verdict pipelined(struct check *c, struct blkdev *dev, const struct row *row)
{
    uint8_t bytes[3 * VHU_HEADER_SIZE];
    int err;

    (void)row;
    for (size_t i = 0; i < 3; i++)
        fe_encode(bytes + i * VHU_HEADER_SIZE, VHU_GET_FEATURES, VHU_FLAG_VERSION, NULL, 0);
    err = fe_write(&dev->fe, bytes, sizeof(bytes), NULL, 0);
    for (int i = 0; i < 3 && !err; i++) {
        struct fe_msg reply;
        uint64_t value;

        err = fe_recv(&dev->fe, &reply);
        if (err)
            break;
        fe_msg_close(&reply);
        memcpy(&value, reply.payload, sizeof(value));
        if (reply.header.size != sizeof(value) || value != dev->fe.offered)
            return check_fail(c, "reply %d of 3 is not the features", i + 1);
    }
    return check_err(c, dev, err);
}

static enum verdict status(struct check *c, struct blkdev *dev, const struct row *row)
{
    static const uint8_t steps[] = { 0, 1, 3, 11, 15 };

    (void)row;
    if (!fe_speaks(&dev->fe, VHU_PF_STATUS))
        return check_skip(c, "the back-end does not offer STATUS");
    for (unsigned int i = 0; i < sizeof(steps); i++) {
        uint8_t got = 0;
        int err = fe_set_status(&dev->fe, steps[i]);

        if (!err)
            err = fe_get_status(&dev->fe, &got);
        if (err)
            return check_err(c, dev, err);
        if (got != steps[i])
            return check_fail(c, "status 0x%x was read back as 0x%x", steps[i], got);
    }
    return check_works(c, dev);
}

/* --- real front-ends' orders, memory and ring of the runner's device --- */

static int qemu_rings(struct blkdev *dev)
{
    struct vhu_vring_addr addr;
    struct fe *fe = &dev->fe;
    int err;

    fe_ring_addr(&dev->ring[0], &dev->mem, 0, &addr);
    err = fe_set_features(fe, fe->features);
    if (!err && fe_speaks(fe, VHU_PF_STATUS))
        err = fe_set_status(fe, 11);
    if (!err)
        err = fe_share_mem(fe, &dev->mem);
    if (!err)
        err = fe_vring_num(fe, 0, dev->ring[0].opt.num);
    if (!err)
        err = fe_vring_base(fe, 0, 0);
    if (!err)
        err = fe_vring_addr(fe, &addr);
    if (!err)
        err = fe_vring_fd(fe, VHU_SET_VRING_KICK, 0, fe->vring[0].kick);
    if (!err)
        err = fe_vring_fd(fe, VHU_SET_VRING_CALL, 0, -1);
    if (!err)
        err = fe_vring_fd(fe, VHU_SET_VRING_CALL, 0, fe->vring[0].call_peer);
    if (!err)
        err = fe_vring_enable(fe, 0, true);
    if (!err && fe_speaks(fe, VHU_PF_STATUS))
        err = fe_set_status(fe, 15);
    return err;
}

/* QEMU gives call and error descriptors first and the kick before a last change of the call. */
static enum verdict like_qemu(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct fe *fe = &dev->fe;
    int err = fe_vring_open(fe, 0, false);

    (void)row;
    if (!err)
        err = fe_vring_fd(fe, VHU_SET_VRING_CALL, 0, fe->vring[0].call_peer);
    if (!err)
        err = fe_vring_fd(fe, VHU_SET_VRING_ERR, 0, fe->vring[0].err);
    if (!err)
        err = qemu_rings(dev);
    if (err)
        return check_err(c, dev, err);
    /* fe_ring_start() ties the ring to the kick; it repeats what was sent, as a resume does. */
    err = fe_ring_start(fe, 0, &dev->ring[0], &dev->mem, 0);
    return err ? check_err(c, dev, err) : check_works(c, dev);
}

static int uml_table(struct blkdev *dev)
{
    const struct guestmem_region *region = &dev->mem.region[0];
    struct vhu_mem_table table = { .count = 1 };

    table.region[0] = (struct vhu_region){ region->at.gpa, region->at.size, region->at.uva,
                                           region->at.offset };
    return fe_command(&dev->fe, VHU_SET_MEM_TABLE, &table, 72, &region->fd, 1);
}

/*
 * User-mode Linux sends room for two regions whatever their number, a log address of -1, a socket
 * as call, stops rings by disabling them only, and starts anew from base 0 on fresh memory.
 */
static enum verdict like_uml(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct ring *r = &dev->ring[0];
    struct vhu_vring_addr addr;
    enum verdict v = PASS;

    (void)row;
    fe_ring_addr(r, &dev->mem, 0, &addr);
    addr.log = UINT64_MAX;
    for (int round = 0; round < 3 && v == PASS; round++) {
        int err = uml_table(dev);

        if (!err)
            err = fe_vring_open(&dev->fe, 0, true);
        if (!err)
            err = fe_ring_start(&dev->fe, 0, r, &dev->mem, 0);
        if (!err)
            err = fe_vring_addr(&dev->fe, &addr);
        v = err ? check_err(c, dev, err) : check_works(c, dev);
        if (v != PASS)
            return v;
        err = fe_vring_enable(&dev->fe, 0, false);
        if (!err)
            err = fe_barrier(&dev->fe);
        v = check_err(c, dev, err);
        ring_reset(r);
        blk_queue_reset(&dev->queue[0]);
    }
    return v;
}

/* Without bit 30 there are no protocol features, and rings are enabled from the start. */
static enum verdict legacy(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct blkdev_options none = { .path = c->path };
    uint64_t wanted = blkdev_features(&none) & ~FE_BIT(VHU_F_PROTOCOL_FEATURES);
    struct fe *fe = &dev->fe;
    int err;

    (void)row;
    fe_disconnect(fe);
    fe->proto = 0;
    err = fe_connect(fe, c->path);
    if (!err)
        err = fe_negotiate(fe, wanted, 0);
    if (!err)
        err = blkdev_share(dev);
    if (!err)
        err = blkdev_start(dev);
    return err ? check_err(c, dev, err) : check_works(c, dev);
}

const struct row protocol_rows[] = {
    { .name = "features", .run = features },
    { .name = "reply-ack", .run = reply_ack },
    { .name = "without-reply-ack", .run = works, .opt = { .no_reply_ack = true } },
    { .name = "queue-num", .run = queue_num },
    { .name = "config-parts", .run = config_parts, .strict = true },
    { .name = "config-prefixes", .run = config_prefixes },
    { .name = "config-values", .run = config_values },
    { .name = "config-wce", .run = config_wce },
    { .name = "config-wce-shown", .run = config_wce, .arg = 1, .strict = true },
    { .name = "config-change", .run = config_change },
    { .name = "message-byte-by-byte", .run = byte_by_byte },
    { .name = "messages-pipelined", .run = pipelined },
    { .name = "status", .run = status },
    { .name = "like-qemu", .run = like_qemu, .opt = { .no_start = true } },
    { .name = "like-uml", .run = like_uml, .opt = { .no_start = true, .no_slots = true } },
    { .name = "without-protocol-features", .run = legacy, .opt = { .no_start = true } },
    { .name = NULL },
};
