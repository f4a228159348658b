/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * file.c - the back-end for raw files and block devices: which system calls make up a request.
 *
 * file_begin() and file_advance() run on the worker of the queue or on a thread of the engine, one
 * request on one thread at a time. What they learn about the image is in atomics of struct file;
 * a value seen late costs one more refused system call and nothing else.
 *
 *     READ, WRITE   transfer until all is done
 *     FLUSH         sync
 *     DISCARD       punch a hole, for each range                then sync if write-through
 *     ZERO          for each range the first that works of      then sync if write-through
 *                   punch a hole (if the driver allows), zero the range, write zeroes
 *
 * Writes of a write-through disk carry RWF_DSYNC and need no sync. No step can make a file longer
 * than the disk: transfers are checked before they get here, fallocate() keeps the size.
 */
#include "file.h"

#include "backend.h"

#include <errno.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define TRIES_MAX 16u

enum zero_method { ZERO_UNMAP, ZERO_RANGE, ZERO_WRITE };

void *file_buffer_new(size_t bytes)
{
    void *buffer = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return buffer == MAP_FAILED ? NULL : buffer;
}

void file_buffer_free(void *buffer, size_t bytes)
{
    if (buffer)
        munmap(buffer, bytes);
}

/* ---- Planning -------------------------------------------------------------------------------- */

static bool buffers_aligned(const struct step *step, uint32_t align)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < step->n_iov; i++)
        bits |= (uintptr_t)step->iov[i].iov_base | step->iov[i].iov_len;
    return bits % align == 0;
}

static bool wants_bounce(const struct file *file, const struct request *req)
{
    if (!file->image.direct)
        return false;
    return req->bounce || atomic_load_explicit(&file->bounce_always, memory_order_relaxed) ||
           !buffers_aligned(&req->step, file->image.buffer_align ? file->image.buffer_align : 1);
}

static void plan_transfer(const struct file *file, struct request *req)
{
    struct step *step = &req->step;
    step->op = req->kind == REQUEST_READ ? STEP_READ : STEP_WRITE;
    step->flags = req->stable ? RWF_DSYNC : 0;
    step->offset = req->offset + req->done;
    request_window(req);
    step->bounce = wants_bounce(file, req);
    if (step->bounce) {
        uint64_t left = req->bytes - req->done;
        step->bytes = left < FILE_BOUNCE_BYTES ? left : FILE_BOUNCE_BYTES;
    }
}

static void plan_sync(struct request *req)
{
    req->step = (struct step){.op = STEP_SYNC};
    req->syncing = true;
}

static void plan_allocate(struct request *req, int mode)
{
    const struct request_range *range = &req->range[req->range_index];
    req->step = (struct step){
        .op = STEP_ALLOCATE,
        .flags = mode | FALLOC_FL_KEEP_SIZE,
        .offset = range->offset,
        .bytes = range->bytes,
    };
}

/* Real zeroes, in pieces that are as many iovecs of one zeroed buffer. */
static void plan_zero_write(const struct file *file, struct request *req)
{
    const struct request_range *range = &req->range[req->range_index];
    uint64_t left = range->bytes - req->done, bytes = 0;
    uint32_t k = 0;
    for (; k < REQUEST_WINDOW && bytes < left; k++) {
        uint64_t len = left - bytes < FILE_ZERO_BYTES ? left - bytes : FILE_ZERO_BYTES;
        req->window[k] = (struct iovec){.iov_base = file->zeroes, .iov_len = (size_t)len};
        bytes += len;
    }
    req->step = (struct step){
        .op = STEP_WRITE,
        .n_iov = k,
        .iov = req->window,
        .offset = range->offset + req->done,
        .bytes = bytes,
    };
}

/* The first method worth trying for the current range, from `method` on. */
static enum zero_method zero_method(const struct file *file, const struct request *req,
                                    enum zero_method method)
{
    bool unmap = req->range[req->range_index].unmap && file->blk->discard;
    if (method == ZERO_UNMAP && (!unmap || atomic_load(&file->no_unmap)))
        method = ZERO_RANGE;
    if (method == ZERO_RANGE && atomic_load(&file->no_zero_range))
        method = ZERO_WRITE;
    return method;
}

static void plan_range(const struct file *file, struct request *req)
{
    if (req->kind == REQUEST_DISCARD) {
        plan_allocate(req, FALLOC_FL_PUNCH_HOLE);
        return;
    }
    req->method = (uint8_t)zero_method(file, req, req->method);
    if (req->method == ZERO_WRITE)
        plan_zero_write(file, req);
    else
        plan_allocate(req, req->method == ZERO_UNMAP ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

/* Goes to the next range that is not empty. False when there is none left. */
static bool next_range(const struct file *file, struct request *req)
{
    while (req->range_index < req->n_ranges && req->range[req->range_index].bytes == 0)
        req->range_index++;
    if (req->range_index == req->n_ranges)
        return false;
    req->done = 0;
    req->method = ZERO_UNMAP;
    plan_range(file, req);
    return true;
}

static bool finish(struct request *req, uint8_t status)
{
    request_finish(req, status);
    return false;
}

bool file_begin(struct file *file, struct request *req)
{
    switch (req->kind) {
    case REQUEST_FLUSH:
        if (file->blk->read_only)
            return finish(req, VIRTIO_BLK_S_OK);
        plan_sync(req);
        return true;
    case REQUEST_DISCARD:
    case REQUEST_ZERO:
        return next_range(file, req) || finish(req, VIRTIO_BLK_S_OK);
    default:
        if (req->bytes == 0)
            return finish(req, VIRTIO_BLK_S_OK);
        plan_transfer(file, req);
        return true;
    }
}

void file_bounce(struct request *req)
{
    struct step *step = &req->step;
    if (step->op == STEP_WRITE)
        request_copy_in(req, req->buffer, (size_t)step->bytes);
    req->window[0] = (struct iovec){.iov_base = req->buffer, .iov_len = (size_t)step->bytes};
    step->iov = req->window;
    step->n_iov = 1;
    hvv_count(req->chain->dev, BLK_BOUNCED, req->chain->queue, 1);
}

/* ---- Results --------------------------------------------------------------------------------- */

static bool fail(struct request *req, int err)
{
    static const char *const doing[] = {
        [STEP_READ] = "reading", [STEP_WRITE] = "writing", [STEP_SYNC] = "syncing",
        [STEP_ALLOCATE] = "discarding or zeroing"};
    hvv_log(req->chain->dev, HVV_LOG_WARNING, "%s %llu bytes at %llu of the image failed: %s",
            doing[req->step.op], (unsigned long long)req->step.bytes,
            (unsigned long long)req->step.offset,
            err ? strerror(err) : "the image ends before; was it truncated?");
    return finish(req, VIRTIO_BLK_S_IOERR);
}

/* A bound on doing the same system call again without getting further. */
static bool may_retry(struct request *req)
{
    return ++req->tries < TRIES_MAX;
}

static bool transfer_failed(struct file *file, struct request *req, int err)
{
    bool direct = file->image.direct && !req->step.bounce;
    if ((err == EINTR || err == EAGAIN) && may_retry(req)) {
        plan_transfer(file, req);
        return true;
    }
    if (direct && (err == EFAULT || err == EINVAL)) {
        /* Memory mapped by page frame, as a hypervisor's may be, cannot be pinned: copy instead. */
        if (err == EFAULT)
            atomic_store(&file->bounce_always, true);
        req->bounce = true;
        plan_transfer(file, req);
        return true;
    }
    if (err == EFAULT && !req->step.bounce) {
        request_fault(req);
        return false;
    }
    return fail(req, err);
}

static bool transfer_done(struct file *file, struct request *req, uint64_t bytes)
{
    if (req->step.bounce && req->step.op == STEP_READ)
        request_copy_out(req, req->buffer, (size_t)bytes);
    req->done += bytes;
    req->tries = 0;
    if (req->kind == REQUEST_READ)
        req->filled = req->done;
    if (req->done < req->bytes) {
        plan_transfer(file, req);
        return true;
    }
    return finish(req, VIRTIO_BLK_S_OK);
}

static bool range_done(struct file *file, struct request *req, uint64_t bytes)
{
    const struct request_range *range = &req->range[req->range_index];
    req->tries = 0;
    req->done += req->step.op == STEP_WRITE ? bytes : range->bytes;
    if (req->done < range->bytes) {
        plan_range(file, req);
        return true;
    }
    req->range_index++;
    if (next_range(file, req))
        return true;
    if (!req->stable)
        return finish(req, VIRTIO_BLK_S_OK);
    plan_sync(req);
    return true;
}

/* fallocate() does not do it: remember that, and zero in the next way. */
static bool try_next_method(struct file *file, struct request *req, int err)
{
    if (err == EOPNOTSUPP)
        atomic_store(req->method == ZERO_UNMAP ? &file->no_unmap : &file->no_zero_range, true);
    req->method++;
    req->done = 0;
    plan_range(file, req);
    return true;
}

static bool range_failed(struct file *file, struct request *req, int err)
{
    if ((err == EINTR || err == EAGAIN) && may_retry(req)) {
        plan_range(file, req);
        return true;
    }
    bool refused = req->step.op == STEP_ALLOCATE && (err == EOPNOTSUPP || err == EINVAL);
    if (refused && req->kind == REQUEST_ZERO)
        return try_next_method(file, req, err);
    if (refused && err == EOPNOTSUPP)
        return finish(req, VIRTIO_BLK_S_UNSUPP);
    return fail(req, err);
}

static bool sync_done(struct request *req, int64_t result)
{
    if (result >= 0)
        return finish(req, VIRTIO_BLK_S_OK);
    if ((result == -EINTR || result == -EAGAIN) && may_retry(req))
        return true;
    return fail(req, (int)-result);
}

bool file_advance(struct file *file, struct request *req, int64_t result)
{
    if (req->syncing)
        return sync_done(req, result);
    if (req->step.op != STEP_ALLOCATE && result == 0)
        return fail(req, 0);
    if (req->kind == REQUEST_READ || req->kind == REQUEST_WRITE)
        return result < 0 ? transfer_failed(file, req, (int)-result)
                          : transfer_done(file, req, (uint64_t)result);
    return result < 0 ? range_failed(file, req, (int)-result)
                      : range_done(file, req, (uint64_t)result);
}

/* ---- The back-end ---------------------------------------------------------------------------- */

static bool not_allowed(int32_t rc)
{
    return rc == -ENOSYS || rc == -EPERM || rc == -EACCES;
}

static int32_t engine_open(struct file *file)
{
    struct hvv_device *dev = file->blk->dev;
    const char *engine = hvv_option_string(dev, "engine");
    if (strcmp(engine, "threads") != 0) {
        file->engine = &engine_uring;
        int32_t rc = file->engine->open(file);
        if (!not_allowed(rc))
            return rc;
        if (strcmp(engine, "uring") == 0)
            return hvv_error_option(dev, -rc, "engine",
                                    "the kernel does not allow io_uring here: %s; use "
                                    "'engine=auto' or 'engine=threads'",
                                    strerror(-rc));
        hvv_log(dev, HVV_LOG_INFO, "io_uring is not allowed here (%s), threads do the I/O",
                strerror(-rc));
    }
    file->engine = &engine_threads;
    return file->engine->open(file);
}

static void file_free(struct file *file)
{
    image_close(&file->image);
    file_buffer_free(file->zeroes, FILE_ZERO_BYTES);
    free(file);
}

static int32_t file_open(struct blk *blk)
{
    struct file *file = calloc(1, sizeof(*file));
    if (!file)
        return hvv_error(blk->dev, ENOMEM, "no memory for the image's state");
    file->blk = blk;
    file->image.fd = file->image.lock_fd = -1;
    int32_t rc = 0;
    file->zeroes = file_buffer_new(FILE_ZERO_BYTES);
    if (!file->zeroes)
        rc = hvv_error(blk->dev, errno, "no memory for a buffer of zeroes: %s", strerror(errno));
    if (rc == 0)
        rc = image_open(&file->image, blk);
    if (rc == 0)
        rc = engine_open(file);
    if (rc < 0) {
        file_free(file);
        return rc;
    }
    blk->backend_state = file;
    return 0;
}

static void file_close(struct blk *blk)
{
    struct file *file = blk->backend_state;
    file->engine->close(file);
    file_free(file);
}

static void file_submit(struct blk *blk, struct request *req)
{
    struct file *file = blk->backend_state;
    if (file_begin(file, req))
        file->engine->submit(file, req);
}

static void file_flush(struct blk *blk, uint32_t queue)
{
    struct file *file = blk->backend_state;
    if (file->engine->flush)
        file->engine->flush(file, queue);
}

static uint32_t file_poll(struct blk *blk, uint32_t queue)
{
    struct file *file = blk->backend_state;
    return file->engine->poll ? file->engine->poll(file, queue) : 0;
}

static void file_queue_start(struct blk *blk, uint32_t queue)
{
    struct file *file = blk->backend_state;
    if (file->engine->queue_start)
        file->engine->queue_start(file, queue);
}

static void file_queue_stop(struct blk *blk, uint32_t queue)
{
    struct file *file = blk->backend_state;
    if (file->engine->queue_stop)
        file->engine->queue_stop(file, queue);
}

/* ---- Resize ---------------------------------------------------------------------------------- */

static int32_t truncate_to(const struct image *image, uint64_t bytes)
{
    int rc;
    do
        rc = ftruncate(image->fd, (off_t)bytes);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

/* The size the disk is to have, after checks that change nothing; or a negative errno. */
static int64_t resize_target(struct blk *blk, struct hvv_call *call,
                             const struct backend_resize *want)
{
    struct file *file = blk->backend_state;
    int64_t now = image_size(&file->image);
    int64_t size = want->size ? (int64_t)want->size : now;
    if (want->size && (file->image.is_device || blk->read_only))
        return hvv_call_error(blk->dev, call, EINVAL,
                              "%s cannot be given a size from here; change it outside, then "
                              "resize without 'size'",
                              file->image.is_device ? "a block device" : "a read-only image");
    if (now < 0)
        return hvv_call_error(blk->dev, call, (int32_t)-now, "the image has no known size: %s",
                              strerror((int)-now));
    uint64_t target = blk_whole_blocks(blk, (uint64_t)size);
    if (target == 0 || (want->size && target != want->size))
        return hvv_call_error(blk->dev, call, EINVAL,
                              "%lld bytes cannot be the size of this disk; it has to be a multiple "
                              "of %u, and not 0",
                              (long long)size, blk->block_size);
    uint64_t have = atomic_load(&blk->capacity);
    if (want->size && (uint64_t)now > have)
        have = (uint64_t)now;
    if (target < have && !want->shrink)
        return hvv_call_error(blk->dev, call, EINVAL,
                              "%llu bytes are less than the %llu there are; add 'shrink' to give "
                              "up what lies behind",
                              (unsigned long long)target, (unsigned long long)have);
    return (int64_t)target;
}

static int32_t file_resize(struct blk *blk, struct hvv_call *call,
                           const struct backend_resize *want)
{
    struct file *file = blk->backend_state;
    uint64_t capacity = atomic_load(&blk->capacity);
    int64_t target = resize_target(blk, call, want);
    if (target < 0)
        return (int32_t)target;
    if ((uint64_t)target < capacity && !blk_lower_capacity(blk, (uint64_t)target))
        return hvv_call_error(blk->dev, call, EBUSY,
                              "requests are under way, a disk cannot shrink below them; stop its "
                              "I/O in the guest and try again");
    int32_t rc = want->size ? truncate_to(&file->image, want->size) : 0;
    atomic_store(&blk->capacity, rc < 0 ? capacity : (uint64_t)target);
    if (rc < 0)
        return hvv_call_error(blk->dev, call, -rc, "the image cannot be made %llu bytes long: %s",
                              (unsigned long long)want->size, strerror(-rc));
    return 0;
}

const struct backend_ops backend_file = {
    .name = "file",
    .open = file_open,
    .close = file_close,
    .submit = file_submit,
    .flush = file_flush,
    .poll = file_poll,
    .queue_start = file_queue_start,
    .queue_stop = file_queue_stop,
    .resize = file_resize,
};
