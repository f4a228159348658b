/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole virtio-blk device as a guest would bring it up: connection, memory, rings, requests.
 * What the tests and the load generator open; each part stays reachable for anything unusual.
 *
 * One thread opens and closes; each queue may then be driven by a thread of its own.
 * Order: connect, negotiate, read the configuration, allocate, share memory, start the rings.
 */
#ifndef FRONTEND_BLKDEV_H
#define FRONTEND_BLKDEV_H

#include "blk.h"
#include "guestmem.h"
#include "ring.h"
#include "vhost-user.h"

#define BLKDEV_GPA 0x40000000ull

struct blkdev_options {
    const char *path;
    unsigned int queues; /* 0: one */
    uint16_t num; /* ring size; 0: 128 */
    unsigned int slots; /* requests per queue; 0: 32 */
    uint32_t capacity; /* data bytes per request; 0: 64 KiB */
    uint16_t indirect_max; /* 0: 64, if indirect is wanted */
    bool indirect;
    bool event_idx;
    bool in_order;
    bool poll;
    bool roomy;
    bool no_slots; /* share memory by table even if the back-end has slots */
    bool no_reply_ack;
    bool no_start; /* leave the rings to the caller */
};

struct blkdev {
    struct blkdev_options opt;
    struct fe fe;
    struct guestmem mem;
    struct ring ring[FE_RINGS_MAX];
    struct blk_queue queue[FE_RINGS_MAX];
    struct virtio_blk_config config;
    uint64_t sectors;
};

/* The virtio and protocol features this front-end knows and the options allow. */
uint64_t blkdev_features(const struct blkdev_options *opt);
uint64_t blkdev_proto(const struct blkdev_options *opt);

/*
 * Returns 0 or -errno with a sentence in dev->fe.error. -EOPNOTSUPP: the back-end does not offer
 * a ring feature or the number of queues that was asked for. Close in either case.
 */
int blkdev_open(struct blkdev *dev, const struct blkdev_options *opt);
void blkdev_close(struct blkdev *dev);

/* The pieces of blkdev_open(), for a test that goes away and comes again with its memory. */
int blkdev_connect(struct blkdev *dev);
int blkdev_share(struct blkdev *dev);
int blkdev_start(struct blkdev *dev);
int blkdev_read_config(struct blkdev *dev);

#endif
