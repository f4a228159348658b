/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * request.h - one request of the driver (virtio 1.2, section 5.2.6), from chain to status byte.
 *
 * A request lives in hvv_chain.state, so the data path allocates nothing. request_start() makes it
 * on the worker of the queue; from then on it belongs to the back-end until request_finish() or
 * request_fault(), which any one thread may call, and after which it is gone.
 */
#ifndef BLK_REQUEST_H
#define BLK_REQUEST_H

#include "device.h"

#define REQUEST_WINDOW 16u

enum request_kind {
    REQUEST_READ,
    REQUEST_WRITE,
    REQUEST_FLUSH,
    REQUEST_DISCARD,
    REQUEST_ZERO,
};

struct request_range {
    uint64_t offset; /* bytes */
    uint64_t bytes;
    bool unmap;
};

/* One system call that brings a request on; filled in by file.c, done by an engine. */
enum step_op { STEP_READ, STEP_WRITE, STEP_SYNC, STEP_ALLOCATE };

struct step {
    enum step_op op;
    int flags;               /* RWF_* of a transfer, the mode of fallocate() */
    uint32_t n_iov;
    const struct iovec *iov; /* of a transfer: the chain's own or request.window */
    uint64_t offset;
    uint64_t bytes;
    bool bounce;             /* iov is not filled in: go through a bounce buffer */
};

struct request {
    struct hvv_chain *chain;
    struct blk_queue *queue;
    struct request *next;    /* in a list of the engine */
    enum request_kind kind;
    bool stable;             /* write-through: done means on stable storage */
    uint64_t offset;         /* READ, WRITE: first byte on the disk */
    uint64_t bytes;          /* READ, WRITE: how many */
    uint64_t done;           /* bytes transferred so far, of the data or of the current range */
    uint64_t filled;         /* bytes at the start of the writable part that hold what was read */

    /* file.c and its engine */
    uint8_t status;
    uint8_t tries;           /* repeated system calls that did not bring the request on */
    uint8_t method;          /* how zeroes are written, enum zero_method */
    bool bounce;             /* this request goes through bounce buffers */
    bool syncing;            /* the last step, making it stable, is under way */
    uint8_t range_index;
    uint8_t n_ranges;
    void *buffer;            /* bounce buffer of the current step */
    struct step step;
    struct iovec window[REQUEST_WINDOW];
    struct request_range range[BLK_RANGES_MAX];
};

/*
 * Turns a chain into a request for the back-end, or finishes it (a bad one, GET_ID) and returns
 * NULL. Thread: worker of the queue.
 */
struct request *request_start(struct blk_queue *queue, struct hvv_chain *chain);

/* Writes the status and finishes the chain. Thread: any. */
void request_finish(struct request *req, uint8_t status);

/* The kernel could not reach the guest's memory: the device stops. Thread: any. */
void request_fault(struct request *req);

/*
 * The iovecs of a READ or WRITE from byte `done` on: sets step.iov, n_iov and bytes. They may cover
 * less than what is left; never the header or the status.
 */
void request_window(struct request *req);

/* Copies between the data of a READ or WRITE, from byte `done` on, and `buffer`. */
void request_copy_in(const struct request *req, void *buffer, size_t bytes);
void request_copy_out(const struct request *req, const void *buffer, size_t bytes);

#endif
