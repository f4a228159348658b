/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-blk requests; see blk.h for the thread and for who owns a request when.
 */
#include "blk.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define PAGE 4096u
#define LINE 64u
#define STATUS_AT 32u

/* --- slots --- */

static uint32_t data_stride(uint32_t capacity, bool roomy)
{
    uint32_t whole = (capacity + PAGE - 1) & ~(PAGE - 1);

    return whole + (roomy ? 2 * PAGE : 0);
}

size_t blk_queue_memory(unsigned int slots, uint32_t capacity, bool roomy)
{
    return (size_t)slots * (LINE + data_stride(capacity, roomy)) + 2 * PAGE;
}

int blk_queue_init(struct blk_queue *q, struct ring *ring, struct guestmem *mem,
                   unsigned int region, unsigned int slots, uint32_t capacity, bool roomy)
{
    size_t stride = data_stride(capacity, roomy);
    uint8_t *lines = guestmem_alloc(mem, region, (size_t)slots * LINE, LINE);
    uint8_t *data = guestmem_alloc(mem, region, slots * stride, PAGE);

    memset(q, 0, sizeof(*q));
    if (!lines || !data)
        return -ENOMEM;
    q->request = calloc(slots, sizeof(*q->request));
    if (!q->request)
        return -ENOMEM;
    q->ring = ring;
    q->slots = slots;
    q->capacity = capacity;
    q->timeout_ms = BACKEND_PATIENCE_MS;
    for (unsigned int i = 0; i < slots; i++) {
        struct blk_request *req = &q->request[i];

        req->header = (struct virtio_blk_outhdr *)(void *)(lines + (size_t)i * LINE);
        req->header_gpa = guestmem_gpa(mem, req->header);
        req->status_at = lines + (size_t)i * LINE + STATUS_AT;
        req->data = data + i * stride + (roomy ? PAGE : 0);
        req->data_gpa = guestmem_gpa(mem, req->data);
    }
    blk_queue_reset(q);
    return 0;
}

void blk_queue_free(struct blk_queue *q)
{
    free(q->request);
    memset(q, 0, sizeof(*q));
}

void blk_queue_reset(struct blk_queue *q)
{
    q->idle = NULL;
    for (unsigned int i = q->slots; i-- > 0;)
        blk_put(q, &q->request[i]);
}

struct blk_request *blk_take(struct blk_queue *q)
{
    struct blk_request *req = q->idle;

    if (!req)
        return NULL;
    q->idle = req->next;
    req->type = VIRTIO_BLK_T_IN;
    req->len = 0;
    req->sector = 0;
    req->layout = 0;
    req->pieces = 0;
    req->seg = NULL;
    req->user = NULL;
    req->done = false;
    return req;
}

void blk_put(struct blk_queue *q, struct blk_request *req)
{
    req->next = q->idle;
    q->idle = req;
}

/* --- building chains --- */

struct chain {
    struct ring_seg seg[BLK_SEGS_MAX + 4];
    unsigned int readable;
    unsigned int writable;
};

static bool to_device(uint32_t type)
{
    return type != VIRTIO_BLK_T_IN && type != VIRTIO_BLK_T_GET_ID;
}

static void push(struct chain *c, bool writable, uint64_t gpa, uint32_t len)
{
    c->seg[c->readable + c->writable] = (struct ring_seg){ gpa, len };
    if (writable)
        c->writable++;
    else
        c->readable++;
}

static void push_header(struct chain *c, const struct blk_request *req)
{
    if (req->layout & BLK_LAYOUT_SPLIT_HEADER) {
        push(c, false, req->header_gpa, 1);
        push(c, false, req->header_gpa + 1, 7);
        push(c, false, req->header_gpa + 8, 8);
    } else if (req->layout & BLK_LAYOUT_MERGE_HEADER) {
        memcpy(req->data - sizeof(*req->header), req->header, sizeof(*req->header));
        push(c, false, req->data_gpa - sizeof(*req->header), sizeof(*req->header));
    } else {
        push(c, false, req->header_gpa, sizeof(*req->header));
    }
}

static void push_own_data(struct chain *c, const struct blk_request *req)
{
    bool writable = !to_device(req->type);
    unsigned int pieces = req->pieces ? req->pieces : 1;
    uint32_t part = req->len / pieces;
    uint64_t at = req->data_gpa;

    if (!writable && (req->layout & BLK_LAYOUT_MERGE_HEADER)) {
        c->seg[c->readable - 1].len += pieces > 1 ? part : req->len;
        at += part;
        pieces--;
    }
    for (unsigned int i = 0; i < pieces; i++) {
        uint32_t len = i + 1 < pieces ? part : (uint32_t)(req->data_gpa + req->len - at);

        push(c, writable, at, len);
        at += len;
    }
}

static void push_status(struct chain *c, struct blk_request *req)
{
    if (req->layout & BLK_LAYOUT_MERGE_STATUS && c->writable) {
        c->seg[c->readable + c->writable - 1].len++;
        req->data[req->len] = BLK_STATUS_NONE;
        return;
    }
    push(c, true, req->header_gpa + STATUS_AT, 1);
    *req->status_at = BLK_STATUS_NONE;
}

int blk_queue_add(struct blk_queue *q, struct blk_request *req)
{
    struct chain c;

    if (req->pieces > BLK_SEGS_MAX)
        return -EINVAL;
    c.readable = 0;
    c.writable = 0;
    req->header->type = htole32(req->type);
    req->header->ioprio = 0;
    req->header->sector = htole64(req->sector);
    push_header(&c, req);
    if (req->seg) {
        for (unsigned int i = 0; i < req->pieces; i++)
            push(&c, !to_device(req->type), req->seg[i].gpa, req->seg[i].len);
    } else if (req->len) {
        push_own_data(&c, req);
    }
    push_status(&c, req);
    req->done = false;
    return ring_add(q->ring, c.seg, c.readable, c.writable, req);
}

/* --- completion --- */

static void complete(struct blk_request *req, uint32_t used_len)
{
    bool merged = (req->layout & BLK_LAYOUT_MERGE_STATUS) && !to_device(req->type) && req->len;

    req->status = merged ? req->data[req->len] : *req->status_at;
    req->used_len = used_len;
    req->done = true;
}

int blk_reap(struct blk_queue *q, struct blk_request **done, unsigned int max)
{
    unsigned int got = 0;

    while (got < max) {
        struct ring_done batch[64];
        unsigned int want = max - got < 64 ? max - got : 64;
        int n = ring_reap(q->ring, batch, want);

        if (n < 0)
            return n;
        for (int i = 0; i < n; i++) {
            done[got] = batch[i].token;
            complete(done[got++], batch[i].len);
        }
        if ((unsigned int)n < want)
            break;
    }
    return (int)got;
}

int blk_wait(struct blk_queue *q)
{
    return q->poll ? ring_spin(q->ring, q->timeout_ms) : ring_wait(q->ring, q->timeout_ms);
}

int blk_run(struct blk_queue *q, struct blk_request *req)
{
    int err = blk_queue_add(q, req);

    if (!err)
        err = ring_submit(q->ring);
    while (!err && !req->done) {
        struct blk_request *done[16];
        int n;

        err = blk_wait(q);
        n = err ? err : blk_reap(q, done, 16);
        if (n < 0)
            err = n;
    }
    return err;
}

int blk_drain(struct blk_queue *q)
{
    while (ring_in_flight(q->ring)) {
        struct blk_request *done[64];
        int err = blk_wait(q);
        int n = err ? err : blk_reap(q, done, 64);

        if (n < 0)
            return n;
    }
    return 0;
}

/* --- one at a time --- */

int blk_simple(struct blk_queue *q, uint32_t type, uint64_t sector, void *data, uint32_t len,
               uint32_t *used)
{
    struct blk_request *req = blk_take(q);
    int err;

    if (!req)
        return -EBUSY;
    if (len > q->capacity) {
        blk_put(q, req);
        return -EMSGSIZE;
    }
    req->type = type;
    req->sector = sector;
    req->len = len;
    if (len)
        memcpy(req->data, data, len);
    err = blk_run(q, req);
    /* After a failure the device may still own the slot, so it stays out of use. */
    if (err)
        return err;
    if (len && !to_device(type))
        memcpy(data, req->data, len);
    if (used)
        *used = req->used_len;
    err = req->status;
    blk_put(q, req);
    return err;
}

int blk_read(struct blk_queue *q, uint64_t sector, void *data, uint32_t len)
{
    return blk_simple(q, VIRTIO_BLK_T_IN, sector, data, len, NULL);
}

int blk_write(struct blk_queue *q, uint64_t sector, const void *data, uint32_t len)
{
    return blk_simple(q, VIRTIO_BLK_T_OUT, sector, (void *)(uintptr_t)data, len, NULL);
}

int blk_flush(struct blk_queue *q)
{
    return blk_simple(q, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, NULL);
}

int blk_get_id(struct blk_queue *q, char id[VIRTIO_BLK_ID_BYTES + 1])
{
    memset(id, 0, VIRTIO_BLK_ID_BYTES + 1);
    return blk_simple(q, VIRTIO_BLK_T_GET_ID, 0, id, VIRTIO_BLK_ID_BYTES, NULL);
}

static int range_request(struct blk_queue *q, uint32_t type, uint64_t sector, uint32_t sectors,
                         uint32_t flags)
{
    struct virtio_blk_discard_write_zeroes range = {
        .sector = htole64(sector),
        .num_sectors = htole32(sectors),
        .flags = htole32(flags),
    };

    return blk_simple(q, type, 0, &range, sizeof(range), NULL);
}

int blk_discard(struct blk_queue *q, uint64_t sector, uint32_t sectors)
{
    return range_request(q, VIRTIO_BLK_T_DISCARD, sector, sectors, 0);
}

int blk_write_zeroes(struct blk_queue *q, uint64_t sector, uint32_t sectors, bool unmap)
{
    return range_request(q, VIRTIO_BLK_T_WRITE_ZEROES, sector, sectors,
                         unmap ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0);
}

/* --- pattern --- */

static uint64_t pattern(uint64_t word, uint64_t seed)
{
    uint64_t x = (word + 1) * 0x9e3779b97f4a7c15u ^ seed * 0xd1342543de82ef95u;

    x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9u;
    return x ^ (x >> 32);
}

void blk_fill(void *data, uint32_t len, uint64_t sector, uint64_t seed)
{
    uint8_t *at = data;

    for (uint32_t i = 0; i + 8 <= len; i += 8) {
        uint64_t word = pattern(sector * (BLK_SECTOR / 8) + i / 8, seed);

        memcpy(at + i, &word, 8);
    }
}

long blk_verify(const void *data, uint32_t len, uint64_t sector, uint64_t seed)
{
    const uint8_t *at = data;

    for (uint32_t i = 0; i + 8 <= len; i += 8) {
        uint64_t word = pattern(sector * (BLK_SECTOR / 8) + i / 8, seed);

        if (memcmp(at + i, &word, 8) != 0)
            return (long)i;
    }
    return -1;
}
