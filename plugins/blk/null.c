/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * null.c - a back-end for measuring everything but the storage: each request succeeds at once and
 * moves no data. A read leaves the driver's buffers as they are, and says so in the used length.
 *
 * Runs on the workers of the queues; has no state but the disk's capacity.
 */
#include "backend.h"
#include "request.h"

#include <linux/virtio_blk.h>

#define DEFAULT_BYTES (1ull << 30)

static int32_t null_open(struct blk *blk)
{
    if (hvv_option_string(blk->dev, "path"))
        return hvv_error_option(blk->dev, EINVAL, "path",
                                "backend=null keeps no data and takes no image; leave out one of "
                                "the two");
    uint64_t bytes = DEFAULT_BYTES;
    if (hvv_option_count(blk->dev, "size") > 0)
        bytes = hvv_option_u64(blk->dev, "size");
    if (bytes % blk->block_size)
        return hvv_error_option(blk->dev, EINVAL, "size", "%llu is not a multiple of %u; round it",
                                (unsigned long long)bytes, blk->block_size);
    atomic_store(&blk->capacity, bytes);
    blk->discard = !blk->read_only && hvv_option_u64(blk->dev, "discard");
    blk->in_order = true;
    return 0;
}

static void null_close(struct blk *blk)
{
    (void)blk;
}

static void null_submit(struct blk *blk, struct request *req)
{
    (void)blk;
    request_finish(req, VIRTIO_BLK_S_OK);
}

static int32_t null_resize(struct blk *blk, struct hvv_call *call,
                           const struct backend_resize *want)
{
    uint64_t capacity = atomic_load(&blk->capacity);
    if (want->size == 0)
        return hvv_call_error(blk->dev, call, EINVAL,
                              "backend=null has no size of its own; say which with 'size='");
    if (want->size % blk->block_size)
        return hvv_call_error(blk->dev, call, EINVAL, "%llu is not a multiple of %u; round it",
                              (unsigned long long)want->size, blk->block_size);
    if (want->size < capacity && !want->shrink)
        return hvv_call_error(blk->dev, call, EINVAL,
                              "%llu bytes are less than the %llu there are; add 'shrink' to give "
                              "up what lies behind",
                              (unsigned long long)want->size, (unsigned long long)capacity);
    atomic_store(&blk->capacity, want->size);
    return 0;
}

const struct backend_ops backend_null = {
    .name = "null",
    .open = null_open,
    .close = null_close,
    .submit = null_submit,
    .resize = null_resize,
};
