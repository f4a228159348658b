/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-blk requests over a ring: a fixed set of request slots per queue, each with its header,
 * status byte and data buffer in guest memory.
 *
 * One thread uses a queue. A request belongs to the caller from blk_take() until blk_submit(),
 * to the device until blk_reap() or blk_run() returns it, then to the caller again until
 * blk_put(). Data is checked by a pattern that depends on the byte's place on the disk and a
 * seed, so that old, misplaced and foreign data all show.
 */
#ifndef FRONTEND_BLK_H
#define FRONTEND_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/virtio_blk.h>

#include "guestmem.h"
#include "ring.h"

#define BLK_SECTOR 512u
#define BLK_SEGS_MAX 1024u
/* What a slot's status byte holds before the device writes it. */
#define BLK_STATUS_NONE 0xee

/* Ways to lay a request out that the specification allows and drivers rarely use. */
enum blk_layout {
    BLK_LAYOUT_MERGE_HEADER = 1, /* header and first data in one descriptor (writes) */
    BLK_LAYOUT_MERGE_STATUS = 2, /* last data and status in one descriptor (reads) */
    BLK_LAYOUT_SPLIT_HEADER = 4, /* header in three descriptors */
};

struct blk_request {
    /* Set by the caller */
    uint32_t type;
    uint32_t len; /* data bytes; the type says in which direction */
    uint64_t sector;
    unsigned int layout;
    unsigned int pieces; /* data descriptors; 0 means 1 */
    const struct ring_seg *seg; /* instead of the slot's own buffer: `pieces` of these */
    void *user;
    /* Set at completion */
    uint8_t status;
    uint32_t used_len;
    bool done;
    /* The slot */
    uint8_t *data;
    uint64_t data_gpa;
    struct virtio_blk_outhdr *header;
    uint64_t header_gpa;
    uint8_t *status_at;
    uint64_t started_ns;
    struct blk_request *next;
};

struct blk_queue {
    struct ring *ring;
    struct blk_request *request;
    struct blk_request *idle;
    unsigned int slots;
    uint32_t capacity; /* data bytes per slot */
    bool poll; /* spin instead of sleeping on the call descriptor */
    int timeout_ms;
};

/* `roomy` leaves space around each buffer for the merged layouts. Returns 0 or -errno. */
int blk_queue_init(struct blk_queue *q, struct ring *ring, struct guestmem *mem,
                   unsigned int region, unsigned int slots, uint32_t capacity, bool roomy);
void blk_queue_free(struct blk_queue *q);
/* Takes every request back; for use after the ring was reset. */
void blk_queue_reset(struct blk_queue *q);
size_t blk_queue_memory(unsigned int slots, uint32_t capacity, bool roomy);

struct blk_request *blk_take(struct blk_queue *q);
void blk_put(struct blk_queue *q, struct blk_request *req);

/* Adds to the ring without telling the device: ring_submit(q->ring) does. 0 or -ENOSPC. */
int blk_queue_add(struct blk_queue *q, struct blk_request *req);
/* Completed requests, at most `max`. Returns how many or -EPROTO. */
int blk_reap(struct blk_queue *q, struct blk_request **done, unsigned int max);
/* Sleeps or spins until something can be reaped. */
int blk_wait(struct blk_queue *q);
/* Adds, submits and waits for this one; others that complete meanwhile get `done`. */
int blk_run(struct blk_queue *q, struct blk_request *req);
/* Waits until nothing is in flight; every request gets `done`. */
int blk_drain(struct blk_queue *q);

/*
 * One request on a slot of its own, data copied. Returns the device's status (BLK_STATUS_NONE
 * included) or -errno. `used` may be NULL.
 */
int blk_simple(struct blk_queue *q, uint32_t type, uint64_t sector, void *data, uint32_t len,
               uint32_t *used);
int blk_read(struct blk_queue *q, uint64_t sector, void *data, uint32_t len);
int blk_write(struct blk_queue *q, uint64_t sector, const void *data, uint32_t len);
int blk_flush(struct blk_queue *q);
int blk_get_id(struct blk_queue *q, char id[VIRTIO_BLK_ID_BYTES + 1]);
int blk_discard(struct blk_queue *q, uint64_t sector, uint32_t sectors);
int blk_write_zeroes(struct blk_queue *q, uint64_t sector, uint32_t sectors, bool unmap);

/* Pattern; lengths are multiples of 8. blk_verify returns the first bad offset or -1. */
void blk_fill(void *data, uint32_t len, uint64_t sector, uint64_t seed);
long blk_verify(const void *data, uint32_t len, uint64_t sector, uint64_t seed);

#endif
