/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mem.c - a back-end that keeps the disk in memory of this process and forgets it at the end.
 *
 * Runs on the workers of the queues, which may touch the same bytes at once: as on any disk, the
 * result of such a race is up to the driver. Pages exist once they are written.
 */
#include "backend.h"
#include "request.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEFAULT_BYTES (1ull << 30)

/* The mapping is all the state there is. */
static uint8_t *mem_of(const struct blk *blk)
{
    return blk->backend_state;
}

static int32_t mem_open(struct blk *blk)
{
    if (hvv_option_string(blk->dev, "path"))
        return hvv_error_option(blk->dev, EINVAL, "path",
                                "backend=mem lives in memory and takes no image; leave out one of "
                                "the two");
    uint64_t bytes = DEFAULT_BYTES;
    if (hvv_option_count(blk->dev, "size") > 0)
        bytes = hvv_option_u64(blk->dev, "size");
    if (bytes % blk->block_size)
        return hvv_error_option(blk->dev, EINVAL, "size", "%llu is not a multiple of %u; round it",
                                (unsigned long long)bytes, blk->block_size);
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return hvv_error_option(blk->dev, errno, "size",
                                "no memory for a disk of %llu bytes: %s; make it smaller",
                                (unsigned long long)bytes, strerror(errno));
    blk->backend_state = map;
    atomic_store(&blk->capacity, bytes);
    blk->discard = !blk->read_only && hvv_option_u64(blk->dev, "discard");
    blk->in_order = true;
    return 0;
}

static void mem_close(struct blk *blk)
{
    munmap(mem_of(blk), atomic_load(&blk->capacity));
}

/* Zeroes a range; whole pages of it are given back to the system. */
static void mem_zero(struct blk *blk, const struct request_range *range)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t start = range->offset, end = range->offset + range->bytes;
    uint64_t first = (start + page - 1) / page * page, last = end / page * page;
    uint8_t *bytes = mem_of(blk);
    /* Pages given back read as zero, at once: kept or not makes no difference to the guest. */
    if (first >= last || madvise(bytes + first, last - first, MADV_DONTNEED) < 0) {
        memset(bytes + start, 0, range->bytes);
        return;
    }
    memset(bytes + start, 0, first - start);
    memset(bytes + last, 0, end - last);
}

static void mem_submit(struct blk *blk, struct request *req)
{
    switch (req->kind) {
    case REQUEST_READ:
        request_copy_out(req, mem_of(blk) + req->offset, (size_t)req->bytes);
        req->filled = req->bytes;
        break;
    case REQUEST_WRITE:
        request_copy_in(req, mem_of(blk) + req->offset, (size_t)req->bytes);
        break;
    case REQUEST_FLUSH:
        break;
    case REQUEST_DISCARD:
    case REQUEST_ZERO:
        for (uint32_t i = 0; i < req->n_ranges; i++)
            mem_zero(blk, &req->range[i]);
        break;
    }
    request_finish(req, VIRTIO_BLK_S_OK);
}

static int32_t mem_resize(struct blk *blk, struct hvv_call *call,
                          const struct backend_resize *want)
{
    (void)want;
    return hvv_call_error(blk->dev, call, ENOTSUP,
                          "a disk of backend=mem keeps its %llu bytes; add another one with the "
                          "size you need",
                          (unsigned long long)atomic_load(&blk->capacity));
}

const struct backend_ops backend_mem = {
    .name = "mem",
    .open = mem_open,
    .close = mem_close,
    .submit = mem_submit,
    .resize = mem_resize,
};
