/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backend.h - where a disk keeps its bytes: the interface between blk.c and file.c, null.c, mem.c.
 *
 * A back-end gets requests that are already checked against the disk's limits, and ends each with
 * request_finish() or request_fault(), from any thread, at once or later.
 * Threads: open and close on the builder; publish nothing else may fail; submit, flush, poll,
 * queue_start and queue_stop on the worker of the queue; resize on the worker of queue 0.
 */
#ifndef BLK_BACKEND_H
#define BLK_BACKEND_H

#include "device.h"

struct request;

struct backend_resize {
    uint64_t size;     /* bytes asked for; 0: whatever the back-end has now */
    bool shrink;       /* the operator allows the disk to become smaller */
};

struct backend_ops {
    const char *name;

    /*
     * Acquires everything and fills in the disk's capacity, block sizes and abilities.
     * Returns 0, or a negative errno after hvv_error() with nothing left acquired.
     */
    int32_t (*open)(struct blk *blk);
    void (*close)(struct blk *blk);

    void (*submit)(struct blk *blk, struct request *req);

    /* A batch of submit() calls ended. Optional, as all below. */
    void (*flush)(struct blk *blk, uint32_t queue);

    /* Finishes what is done, without waiting. Returns how many requests that were. */
    uint32_t (*poll)(struct blk *blk, uint32_t queue);

    void (*queue_start)(struct blk *blk, uint32_t queue);
    void (*queue_stop)(struct blk *blk, uint32_t queue);

    /*
     * Brings the back-end and blk->capacity to a new size. Returns 0, or a negative errno after
     * hvv_call_error() with nothing changed.
     */
    int32_t (*resize)(struct blk *blk, struct hvv_call *call, const struct backend_resize *want);
};

extern const struct backend_ops backend_file;
extern const struct backend_ops backend_null;
extern const struct backend_ops backend_mem;

/*
 * For resize: lowers the capacity to `bytes` if no request is under way that was checked against
 * the old one. Returns false, with nothing changed, if there is one.
 */
bool blk_lower_capacity(struct blk *blk, uint64_t bytes);

/* `bytes` without a last block that is not whole. */
static inline uint64_t blk_whole_blocks(const struct blk *blk, uint64_t bytes)
{
    return bytes - bytes % blk->block_size;
}

#endif
