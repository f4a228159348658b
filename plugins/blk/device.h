/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.h - what the files of the blk plugin share about one disk: the disk itself, its queues and
 * the indexes of its counters.
 *
 * Threads: everything is written by create() on the builder thread and only read afterwards, except
 * the atomics. `capacity` and `writeback` are written on the worker of queue 0 and read by the
 * worker of every queue. A struct blk_queue is used by the worker of that queue only, except
 * `in_flight`, which whoever finishes a request lowers.
 */
#ifndef BLK_DEVICE_H
#define BLK_DEVICE_H

#include <hvv/plugin.h>
#include <stdatomic.h>
#include <stdbool.h>

#define BLK_SECTOR 512u
#define BLK_QUEUES_MAX 64u
#define BLK_SEG_MAX 1022u
#define BLK_SIZE_MAX (1u << 20)     /* bytes in one segment of a well-behaved driver */
#define BLK_RANGES_MAX 16u          /* ranges in one discard or write-zeroes request */
#define BLK_RANGE_SECTORS (1u << 19) /* sectors in one such range: 256 MiB */
#define BLK_SERIAL_BYTES 20u

enum blk_counter {
    BLK_READS,
    BLK_WRITES,
    BLK_FLUSHES,
    BLK_DISCARDS,
    BLK_WRITE_ZEROES,
    BLK_READ_BYTES,
    BLK_WRITTEN_BYTES,
    BLK_INLINE,
    BLK_BOUNCED,
    BLK_IO_ERRORS,
    BLK_UNSUPPORTED,
    BLK_COUNTERS,
};

enum blk_event { BLK_EVENT_RESIZED, BLK_EVENTS };

struct blk;
struct backend_ops;

struct blk_queue {
    struct blk *blk;
    uint32_t index;
    bool flush_known;         /* the driver took FLUSH */
    bool wce_known;           /* the driver took CONFIG_WCE */
    struct hvv_task more;     /* goes on popping after a full batch */
    bool more_posted;
    _Atomic uint32_t in_flight;
} __attribute__((aligned(64)));

struct blk {
    struct hvv_device *dev;
    const struct backend_ops *backend;
    void *backend_state;
    _Atomic uint64_t capacity; /* bytes, a multiple of block_size */
    _Atomic bool writeback;    /* the `wce` byte of the config space */
    bool writeback_default;
    bool read_only;
    bool discard;              /* DISCARD is offered; zeroes may unmap */
    bool in_order;             /* every request is finished before submit returns */
    uint32_t block_size;       /* logical block of the guest */
    uint32_t physical_size;    /* physical block, a multiple of block_size */
    uint32_t io_align;         /* what offsets and lengths of requests must be a multiple of */
    uint32_t discard_align;    /* bytes */
    uint32_t seg_max;
    uint32_t queue_size;
    uint32_t n_queues;
    char serial[BLK_SERIAL_BYTES];
    struct blk_queue queue[];
};

#endif
