/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bringing up a virtio-blk device; see blkdev.h for the threads and the order.
 */
#include "blkdev.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <linux/virtio_config.h>

#ifndef VIRTIO_F_IN_ORDER
#define VIRTIO_F_IN_ORDER 35
#endif

#define REGION_ROUND (2u << 20)

uint64_t blkdev_features(const struct blkdev_options *opt)
{
    uint64_t f = FE_BIT(VIRTIO_F_VERSION_1) | FE_BIT(VHU_F_PROTOCOL_FEATURES) |
                 FE_BIT(VIRTIO_BLK_F_SIZE_MAX) | FE_BIT(VIRTIO_BLK_F_SEG_MAX) |
                 FE_BIT(VIRTIO_BLK_F_RO) | FE_BIT(VIRTIO_BLK_F_BLK_SIZE) |
                 FE_BIT(VIRTIO_BLK_F_FLUSH) | FE_BIT(VIRTIO_BLK_F_TOPOLOGY) |
                 FE_BIT(VIRTIO_BLK_F_CONFIG_WCE) | FE_BIT(VIRTIO_BLK_F_MQ) |
                 FE_BIT(VIRTIO_BLK_F_DISCARD) | FE_BIT(VIRTIO_BLK_F_WRITE_ZEROES);

    if (opt->indirect)
        f |= FE_BIT(VIRTIO_RING_F_INDIRECT_DESC);
    if (opt->event_idx)
        f |= FE_BIT(VIRTIO_RING_F_EVENT_IDX);
    if (opt->in_order)
        f |= FE_BIT(VIRTIO_F_IN_ORDER);
    return f;
}

uint64_t blkdev_proto(const struct blkdev_options *opt)
{
    uint64_t p = FE_BIT(VHU_PF_MQ) | FE_BIT(VHU_PF_BACKEND_REQ) | FE_BIT(VHU_PF_CONFIG) |
                 FE_BIT(VHU_PF_RESET_DEVICE) | FE_BIT(VHU_PF_STATUS);

    if (!opt->no_slots)
        p |= FE_BIT(VHU_PF_CONFIGURE_MEM_SLOTS);
    if (!opt->no_reply_ack)
        p |= FE_BIT(VHU_PF_REPLY_ACK);
    return p;
}

static void set_defaults(struct blkdev_options *opt)
{
    opt->queues = opt->queues ? opt->queues : 1;
    opt->num = opt->num ? opt->num : 128;
    opt->slots = opt->slots ? opt->slots : 32;
    opt->capacity = opt->capacity ? opt->capacity : 65536;
    opt->indirect_max = opt->indirect_max ? opt->indirect_max : 64;
}

static int lacking(struct blkdev *dev, const char *what)
{
    snprintf(dev->fe.error, sizeof(dev->fe.error), "the back-end does not offer %s", what);
    return -EOPNOTSUPP;
}

static int check_offer(struct blkdev *dev)
{
    if (!fe_has(&dev->fe, VIRTIO_F_VERSION_1))
        return lacking(dev, "VERSION_1");
    if (!fe_speaks(&dev->fe, VHU_PF_CONFIG))
        return lacking(dev, "the CONFIG protocol feature");
    if (dev->opt.indirect && !fe_has(&dev->fe, VIRTIO_RING_F_INDIRECT_DESC))
        return lacking(dev, "INDIRECT_DESC");
    if (dev->opt.event_idx && !fe_has(&dev->fe, VIRTIO_RING_F_EVENT_IDX))
        return lacking(dev, "EVENT_IDX");
    if (dev->opt.in_order && !fe_has(&dev->fe, VIRTIO_F_IN_ORDER))
        return lacking(dev, "IN_ORDER");
    if (dev->opt.queues > dev->fe.queue_num || dev->opt.queues > FE_RINGS_MAX)
        return lacking(dev, "that many queues");
    return 0;
}

int blkdev_read_config(struct blkdev *dev)
{
    int err = fe_get_config(&dev->fe, 0, &dev->config, sizeof(dev->config));

    /* A back-end of an older specification has a shorter one. */
    if (err == -EREMOTEIO)
        err = fe_get_config(&dev->fe, 0, &dev->config,
                            offsetof(struct virtio_blk_config, max_secure_erase_sectors));
    dev->sectors = le64toh(dev->config.capacity);
    return err;
}

int blkdev_connect(struct blkdev *dev)
{
    int err = fe_connect(&dev->fe, dev->opt.path);

    if (!err)
        err = fe_negotiate(&dev->fe, blkdev_features(&dev->opt), blkdev_proto(&dev->opt));
    if (!err)
        err = check_offer(dev);
    if (!err)
        err = blkdev_read_config(dev);
    return err;
}

static struct ring_options ring_options_of(const struct blkdev_options *opt)
{
    return (struct ring_options){
        .num = opt->num,
        .indirect_max = opt->indirect ? opt->indirect_max : 0,
        .event_idx = opt->event_idx,
        .in_order = opt->in_order,
    };
}

static int allocate(struct blkdev *dev)
{
    const struct blkdev_options *opt = &dev->opt;
    struct ring_options ring = ring_options_of(opt);
    uint64_t each = ring_memory(&ring) +
                    blk_queue_memory(opt->slots, opt->capacity, opt->roomy);
    struct guestmem_spec spec = { .gpa = BLKDEV_GPA, .uva = GUESTMEM_FAKE_UVA };
    int err;

    spec.size = (opt->queues * each + REGION_ROUND - 1) / REGION_ROUND * REGION_ROUND;
    err = guestmem_add(&dev->mem, &spec);
    for (unsigned int i = 0; err >= 0 && i < opt->queues; i++) {
        err = ring_init(&dev->ring[i], &dev->mem, 0, &ring);
        if (!err)
            err = blk_queue_init(&dev->queue[i], &dev->ring[i], &dev->mem, 0, opt->slots,
                                 opt->capacity, opt->roomy);
        dev->queue[i].poll = opt->poll;
        if (!err && opt->poll)
            ring_disarm(&dev->ring[i]);
    }
    if (err < 0)
        snprintf(dev->fe.error, sizeof(dev->fe.error), "cannot make guest memory: %s",
                 strerror(-err));
    return err < 0 ? err : 0;
}

int blkdev_share(struct blkdev *dev)
{
    return fe_share_mem(&dev->fe, &dev->mem);
}

int blkdev_start(struct blkdev *dev)
{
    int err = 0;

    for (unsigned int i = 0; i < dev->opt.queues && !err; i++)
        err = fe_ring_start(&dev->fe, i, &dev->ring[i], &dev->mem,
                            ring_shared_used_idx(&dev->ring[i]));
    return err;
}

int blkdev_open(struct blkdev *dev, const struct blkdev_options *opt)
{
    int err;

    memset(dev, 0, sizeof(*dev));
    dev->opt = *opt;
    set_defaults(&dev->opt);
    fe_init(&dev->fe);
    guestmem_init(&dev->mem);
    err = blkdev_connect(dev);
    if (!err)
        err = allocate(dev);
    if (!err && !opt->no_start)
        err = blkdev_share(dev);
    if (!err && !opt->no_start)
        err = blkdev_start(dev);
    return err;
}

void blkdev_close(struct blkdev *dev)
{
    fe_disconnect(&dev->fe);
    for (unsigned int i = 0; i < FE_RINGS_MAX; i++) {
        blk_queue_free(&dev->queue[i]);
        ring_free(&dev->ring[i]);
    }
    guestmem_free(&dev->mem);
}
