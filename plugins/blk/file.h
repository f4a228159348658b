/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * file.h - between the file back-end, which knows what system call comes next, and its engines,
 * which know how to get one done without blocking a worker.
 *
 * An engine runs, for each request:
 *
 *     file_begin  { do req->step; file_advance } until file_advance returns false
 *
 * After that the request is finished and gone. When step.bounce is set, the engine puts a buffer of
 * FILE_BOUNCE_BYTES in req->buffer and calls file_bounce() before it does the step.
 * All of it for one request runs on one thread at a time; any thread.
 */
#ifndef BLK_FILE_H
#define BLK_FILE_H

#include "image.h"
#include "request.h"

#define FILE_BOUNCE_BYTES (64u << 10)
#define FILE_ZERO_BYTES (64u << 10)

struct file;

struct engine_ops {
    const char *name;

    /*
     * Starts the engine. -ENOSYS, -EPERM and -EACCES: the kernel does not allow it here, nothing
     * was reported. Other errors are reported with hvv_error(). Nothing is left acquired.
     */
    int32_t (*open)(struct file *file);
    void (*close)(struct file *file);
    void (*submit)(struct file *file, struct request *req);

    /* As in struct backend_ops; optional. */
    void (*flush)(struct file *file, uint32_t queue);
    uint32_t (*poll)(struct file *file, uint32_t queue);
    void (*queue_start)(struct file *file, uint32_t queue);
    void (*queue_stop)(struct file *file, uint32_t queue);
};

extern const struct engine_ops engine_uring;
extern const struct engine_ops engine_threads;

struct file {
    struct blk *blk;
    struct image image;
    const struct engine_ops *engine;
    void *engine_state;
    void *zeroes;                  /* FILE_ZERO_BYTES */
    _Atomic bool bounce_always;    /* direct I/O cannot reach guest memory */
    _Atomic bool no_unmap;         /* learned: no hole can be punched here */
    _Atomic bool no_zero_range;    /* learned: no ZERO_RANGE here */
};

/* Plans the first step. False: there was nothing to do and the request is finished. */
bool file_begin(struct file *file, struct request *req);

/*
 * Takes the result of the step, a byte count or a negative errno, and plans the next one. False:
 * the request is finished and gone.
 */
bool file_advance(struct file *file, struct request *req, int64_t result);

/* Makes step.iov the bounce buffer; for a write, fills it. */
void file_bounce(struct request *req);

/* Memory for bounce buffers: page-aligned, zeroed. NULL with errno set. */
void *file_buffer_new(size_t bytes);
void file_buffer_free(void *buffer, size_t bytes);

#endif
