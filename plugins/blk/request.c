/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * request.c - parses and checks one request, and finishes it.
 *
 * Runs on the worker of the queue; request_finish() and request_fault() on whatever thread ended
 * the I/O. The header and the ranges are copied out of guest memory once and checked in the copy.
 *
 * Order: in_flight is raised before the capacity is looked at, and lowered after the I/O is over,
 * so blk_lower_capacity() either sees the request or the request sees the lower capacity.
 */
#include "request.h"

#include <endian.h>
#include <limits.h>
#include <linux/virtio_blk.h>

#define HEADER_BYTES ((uint32_t)sizeof(struct virtio_blk_outhdr))

/* The status is the last byte of the writable part, wherever the driver split it. */
static void status_write(const struct hvv_chain *chain, uint8_t status)
{
    uint32_t n = chain->n_writable;
    while (n > 0 && chain->writable[n - 1].iov_len == 0)
        n--;
    if (n > 0) {
        const struct iovec *last = &chain->writable[n - 1];
        memcpy((char *)last->iov_base + last->iov_len - 1, &status, 1);
    }
}

/*
 * The used length promises that so many bytes from the start of the writable part were written
 * (virtio 1.2, section 2.7.8.2): the status counts only if all the data before it does.
 */
static void chain_finish(struct hvv_chain *chain, uint64_t filled, uint8_t status)
{
    status_write(chain, status);
    if (filled + 1 >= chain->writable_bytes)
        filled = chain->writable_bytes;
    hvv_complete(chain, (uint32_t)filled);
}

static void count_done(const struct request *req, struct hvv_device *dev)
{
    static const enum blk_counter counter[] = {
        [REQUEST_READ] = BLK_READS,       [REQUEST_WRITE] = BLK_WRITES,
        [REQUEST_FLUSH] = BLK_FLUSHES,    [REQUEST_DISCARD] = BLK_DISCARDS,
        [REQUEST_ZERO] = BLK_WRITE_ZEROES,
    };
    hvv_count(dev, counter[req->kind], req->chain->queue, 1);
    if (req->kind == REQUEST_READ)
        hvv_count(dev, BLK_READ_BYTES, req->chain->queue, req->bytes);
    else if (req->kind == REQUEST_WRITE)
        hvv_count(dev, BLK_WRITTEN_BYTES, req->chain->queue, req->bytes);
}

static void in_flight_end(struct blk_queue *queue)
{
    atomic_fetch_sub_explicit(&queue->in_flight, 1, memory_order_release);
}

void request_finish(struct request *req, uint8_t status)
{
    struct hvv_chain *chain = req->chain;
    struct hvv_device *dev = chain->dev;
    if (status == VIRTIO_BLK_S_OK)
        count_done(req, dev);
    else
        hvv_count(dev, status == VIRTIO_BLK_S_UNSUPP ? BLK_UNSUPPORTED : BLK_IO_ERRORS,
                  req->chain->queue, 1);
    uint64_t filled = req->filled;
    in_flight_end(req->queue);
    chain_finish(chain, filled, status);
}

void request_fault(struct request *req)
{
    struct hvv_chain *chain = req->chain;
    hvv_count(chain->dev, BLK_IO_ERRORS, chain->queue, 1);
    in_flight_end(req->queue);
    hvv_fail(chain, "the guest memory of a request cannot be reached any more (EFAULT); "
                    "its owner has to keep the memory mapped while the device uses it");
}

static bool range_fits(const struct blk *blk, uint64_t offset, uint64_t bytes)
{
    uint64_t capacity = atomic_load(&blk->capacity);
    return offset <= capacity && bytes <= capacity - offset;
}

/* The byte offset of `sector`; false if no disk reaches that far. */
static bool sector_offset(uint64_t sector, uint64_t *offset)
{
    *offset = sector * BLK_SECTOR;
    return sector <= INT64_MAX / BLK_SECTOR;
}

static uint8_t check_transfer(struct request *req, const struct blk *blk, uint64_t sector)
{
    if (req->kind == REQUEST_WRITE && blk->read_only)
        return VIRTIO_BLK_S_IOERR;
    if (!sector_offset(sector, &req->offset) || !range_fits(blk, req->offset, req->bytes))
        return VIRTIO_BLK_S_IOERR;
    if ((req->offset | req->bytes) % blk->io_align)
        return VIRTIO_BLK_S_IOERR;
    if (req->bytes > (uint64_t)blk->seg_max * BLK_SIZE_MAX)
        return VIRTIO_BLK_S_IOERR;
    return VIRTIO_BLK_S_OK;
}

static uint8_t check_range(const struct request *req, const struct blk *blk,
                           const struct virtio_blk_discard_write_zeroes *raw,
                           struct request_range *range)
{
    uint32_t flags = le32toh(raw->flags);
    uint32_t sectors = le32toh(raw->num_sectors);
    uint32_t known = req->kind == REQUEST_ZERO ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
    if (flags & ~known)
        return VIRTIO_BLK_S_UNSUPP;
    range->bytes = (uint64_t)sectors * BLK_SECTOR;
    range->unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    if (sectors > BLK_RANGE_SECTORS || !sector_offset(le64toh(raw->sector), &range->offset))
        return VIRTIO_BLK_S_IOERR;
    if (!range_fits(blk, range->offset, range->bytes))
        return VIRTIO_BLK_S_IOERR;
    if ((range->offset | range->bytes) % blk->io_align)
        return VIRTIO_BLK_S_IOERR;
    return VIRTIO_BLK_S_OK;
}

/* All ranges are checked before the first is touched. */
static uint8_t parse_ranges(struct request *req, const struct blk *blk)
{
    struct virtio_blk_discard_write_zeroes raw[BLK_RANGES_MAX];
    uint64_t bytes = req->chain->readable_bytes - HEADER_BYTES;
    if (blk->read_only || (req->kind == REQUEST_DISCARD && !blk->discard))
        return VIRTIO_BLK_S_UNSUPP;
    if (bytes == 0 || bytes % sizeof(raw[0]) || bytes > sizeof(raw))
        return VIRTIO_BLK_S_IOERR;
    hvv_iov_read(req->chain->readable, req->chain->n_readable, HEADER_BYTES, raw, (size_t)bytes);
    req->n_ranges = (uint8_t)(bytes / sizeof(raw[0]));
    for (uint32_t i = 0; i < req->n_ranges; i++) {
        uint8_t status = check_range(req, blk, &raw[i], &req->range[i]);
        if (status != VIRTIO_BLK_S_OK)
            return status;
    }
    return VIRTIO_BLK_S_OK;
}

/*
 * Virtio 1.2, section 5.2.6.2: the wce byte rules if the driver took CONFIG_WCE; else writes may be
 * cached only if it took FLUSH, and the operator did not say otherwise.
 */
static bool write_through(const struct blk_queue *queue)
{
    if (queue->wce_known)
        return !atomic_load_explicit(&queue->blk->writeback, memory_order_acquire);
    return !queue->flush_known || !queue->blk->writeback_default;
}

static void request_init(struct request *req, struct blk_queue *queue, struct hvv_chain *chain)
{
    req->chain = chain;
    req->queue = queue;
    req->next = NULL;
    req->stable = false;
    req->offset = req->bytes = req->done = req->filled = 0;
    req->status = VIRTIO_BLK_S_OK;
    req->tries = req->method = req->range_index = req->n_ranges = 0;
    req->bounce = req->syncing = false;
    req->buffer = NULL;
}

static uint8_t parse(struct request *req, uint32_t type, uint64_t sector)
{
    struct blk *blk = req->queue->blk;
    switch (type) {
    case VIRTIO_BLK_T_IN:
        req->kind = REQUEST_READ;
        req->bytes = req->chain->writable_bytes - 1;
        return check_transfer(req, blk, sector);
    case VIRTIO_BLK_T_OUT:
        req->kind = REQUEST_WRITE;
        req->bytes = req->chain->readable_bytes - HEADER_BYTES;
        req->stable = write_through(req->queue);
        return check_transfer(req, blk, sector);
    case VIRTIO_BLK_T_FLUSH:
        req->kind = REQUEST_FLUSH;
        return VIRTIO_BLK_S_OK;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        req->kind = type == VIRTIO_BLK_T_DISCARD ? REQUEST_DISCARD : REQUEST_ZERO;
        req->stable = write_through(req->queue);
        return parse_ranges(req, blk);
    default:
        return VIRTIO_BLK_S_UNSUPP;
    }
}

static void finish_get_id(const struct blk *blk, struct hvv_chain *chain)
{
    uint64_t room = chain->writable_bytes - 1;
    size_t bytes = room < BLK_SERIAL_BYTES ? (size_t)room : BLK_SERIAL_BYTES;
    hvv_iov_write(chain->writable, chain->n_writable, 0, blk->serial, bytes);
    chain_finish(chain, bytes, VIRTIO_BLK_S_OK);
}

struct request *request_start(struct blk_queue *queue, struct hvv_chain *chain)
{
    struct virtio_blk_outhdr header;
    if (chain->readable_bytes < HEADER_BYTES) {
        hvv_fail(chain, "a request header of %llu bytes came; it has to have %u",
                 (unsigned long long)chain->readable_bytes, HEADER_BYTES);
        return NULL;
    }
    if (chain->writable_bytes == 0) {
        hvv_fail(chain, "a request came with 0 writable bytes; its status needs 1");
        return NULL;
    }
    hvv_iov_read(chain->readable, chain->n_readable, 0, &header, sizeof(header));
    uint32_t type = le32toh(header.type);
    if (type == VIRTIO_BLK_T_GET_ID) {
        finish_get_id(queue->blk, chain);
        return NULL;
    }
    struct request *req = chain->state;
    request_init(req, queue, chain);
    atomic_fetch_add(&queue->in_flight, 1);
    uint8_t status = parse(req, type, le64toh(header.sector));
    if (status == VIRTIO_BLK_S_OK)
        return req;
    request_finish(req, status);
    return NULL;
}

/* ---- Data ------------------------------------------------------------------------------------ */

static const struct iovec *data_iov(const struct request *req, uint32_t *n, uint64_t *skip)
{
    bool write = req->kind == REQUEST_WRITE;
    *n = write ? req->chain->n_readable : req->chain->n_writable;
    *skip = req->done + (write ? HEADER_BYTES : 0);
    return write ? req->chain->readable : req->chain->writable;
}

/* How many whole iovecs make up exactly `bytes`; 0 if none do, or the kernel takes no so many. */
static uint32_t whole_iovecs(const struct iovec *iov, uint32_t n, uint64_t bytes)
{
    uint32_t k = 0;
    while (k < n && k < IOV_MAX && bytes >= iov[k].iov_len) {
        bytes -= iov[k++].iov_len;
        if (bytes == 0)
            return k;
    }
    return 0;
}

void request_window(struct request *req)
{
    uint32_t n;
    uint64_t skip, left = req->bytes - req->done, bytes = 0;
    const struct iovec *iov = data_iov(req, &n, &skip);
    while (n > 0 && skip >= iov->iov_len) {
        skip -= iov->iov_len;
        iov++;
        n--;
    }
    req->step.bytes = left;
    req->step.n_iov = skip ? 0 : whole_iovecs(iov, n, left);
    req->step.iov = iov;
    if (req->step.n_iov > 0)
        return;
    /* The header or the status shares a descriptor with data: cut it off in a copy. */
    uint32_t k = 0;
    for (; k < n && k < REQUEST_WINDOW && bytes < left; k++) {
        uint64_t len = iov[k].iov_len - skip;
        if (len > left - bytes)
            len = left - bytes;
        req->window[k].iov_base = (char *)iov[k].iov_base + skip;
        req->window[k].iov_len = (size_t)len;
        bytes += len;
        skip = 0;
    }
    req->step.bytes = bytes;
    req->step.n_iov = k;
    req->step.iov = req->window;
}

void request_copy_in(const struct request *req, void *buffer, size_t bytes)
{
    uint32_t n;
    uint64_t skip;
    const struct iovec *iov = data_iov(req, &n, &skip);
    hvv_iov_read(iov, n, skip, buffer, bytes);
}

void request_copy_out(const struct request *req, const void *buffer, size_t bytes)
{
    uint32_t n;
    uint64_t skip;
    const struct iovec *iov = data_iov(req, &n, &skip);
    hvv_iov_write(iov, n, skip, buffer, bytes);
}
