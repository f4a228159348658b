/* SPDX-License-Identifier: BSD-3-Clause */
/* mdisk.c - see mdisk.h. */
#include "mdisk.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <string.h>

#ifndef VIRTIO_F_IN_ORDER
#define VIRTIO_F_IN_ORDER 35
#endif
#ifndef VIRTIO_F_RING_RESET
#define VIRTIO_F_RING_RESET 40
#endif

#define DISK_ID 2u
#define INDIRECT_MAX 16u

static void set_defaults(struct mdisk_options *opt)
{
    opt->queues = opt->queues ? opt->queues : 1;
    opt->num = opt->num ? opt->num : 128;
    opt->requests = opt->requests ? opt->requests : 32;
    opt->capacity = opt->capacity ? opt->capacity : 4096;
}

int mdisk_init(struct mdisk *disk, struct guest *g, const struct mdisk_options *options)
{
    struct mdisk_options *opt = &disk->opt;
    int err;

    memset(disk, 0, sizeof(*disk));
    *opt = *options;
    set_defaults(opt);
    struct ring_options ring = { .num = opt->num, .indirect_max = opt->indirect ? INDIRECT_MAX : 0,
                                 .event_idx = opt->event_idx, .in_order = opt->in_order };
    err = mmio_init(&disk->mmio, g, opt->slot, g->cpu + opt->cpu);
    for (unsigned int i = 0; i < opt->queues && !err; i++) {
        err = ring_init(&disk->ring[i], &g->mem, opt->region, &ring);
        if (!err)
            err = blk_queue_init(&disk->queue[i], &disk->ring[i], &g->mem, opt->region,
                                 opt->requests, opt->capacity, false);
        disk->queue[i].timeout_ms = sim_patience_ms();
    }
    return err;
}

void mdisk_free(struct mdisk *disk)
{
    mmio_free(&disk->mmio);
    for (unsigned int i = 0; i < MMIO_QUEUES; i++) {
        blk_queue_free(&disk->queue[i]);
        ring_free(&disk->ring[i]);
    }
}

static uint64_t needed(const struct mdisk_options *opt)
{
    return (opt->indirect ? MMIO_BIT(VIRTIO_RING_F_INDIRECT_DESC) : 0) |
           (opt->event_idx ? MMIO_BIT(VIRTIO_RING_F_EVENT_IDX) : 0) |
           (opt->in_order ? MMIO_BIT(VIRTIO_F_IN_ORDER) : 0) |
           (opt->ring_reset ? MMIO_BIT(VIRTIO_F_RING_RESET) : 0) |
           (opt->queues > 1 ? MMIO_BIT(VIRTIO_BLK_F_MQ) : 0);
}

static uint64_t wanted(void)
{
    return MMIO_BIT(VIRTIO_BLK_F_SIZE_MAX) | MMIO_BIT(VIRTIO_BLK_F_SEG_MAX) |
           MMIO_BIT(VIRTIO_BLK_F_RO) | MMIO_BIT(VIRTIO_BLK_F_BLK_SIZE) |
           MMIO_BIT(VIRTIO_BLK_F_FLUSH) | MMIO_BIT(VIRTIO_BLK_F_TOPOLOGY) |
           MMIO_BIT(VIRTIO_BLK_F_CONFIG_WCE) | MMIO_BIT(VIRTIO_BLK_F_DISCARD) |
           MMIO_BIT(VIRTIO_BLK_F_WRITE_ZEROES);
}

int mdisk_queue_again(struct mdisk *disk, unsigned int index)
{
    ring_reset(&disk->ring[index]);
    blk_queue_reset(&disk->queue[index]);
    return mmio_queue_start(&disk->mmio, index, &disk->ring[index]);
}

int mdisk_start(struct mdisk *disk)
{
    int err = mmio_probe(&disk->mmio);

    disk->mmio.why[0] = '\0';
    if (!err && disk->mmio.device_id != DISK_ID)
        return -EPROTOTYPE;
    if (!err)
        err = mmio_negotiate(&disk->mmio, wanted(), needed(&disk->opt));
    if (!err)
        err = mmio_config_read(&disk->mmio, 0, &disk->config,
                               offsetof(struct virtio_blk_config, max_secure_erase_sectors));
    disk->sectors = le64toh(disk->config.capacity);
    for (unsigned int i = 0; i < disk->opt.queues && !err; i++)
        err = mdisk_queue_again(disk, i);
    return err ? err : mmio_driver_ok(&disk->mmio);
}

int mdisk_stop(struct mdisk *disk)
{
    return mmio_reset(&disk->mmio);
}

const char *mdisk_why(const struct mdisk *disk, int err)
{
    return disk->mmio.why[0] ? disk->mmio.why : strerror(err < 0 ? -err : err);
}

int mdisk_works(struct mdisk *disk, uint64_t sector, uint64_t seed)
{
    uint8_t data[4096];
    int rc;

    blk_fill(data, sizeof(data), sector, seed);
    rc = blk_write(&disk->queue[0], sector, data, sizeof(data));
    if (rc)
        return rc;
    memset(data, 0, sizeof(data));
    rc = blk_read(&disk->queue[0], sector, data, sizeof(data));
    if (rc)
        return rc;
    return blk_verify(data, sizeof(data), sector, seed) < 0 ? 0 : -EILSEQ;
}
