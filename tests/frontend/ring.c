/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Split virtqueue, driver side; see ring.h for the thread and the order it keeps.
 *
 * The device is not trusted: whatever it writes into the used ring is checked against private
 * state, so that a back-end which completes something twice, or something that was never made
 * available, is caught instead of corrupting the test.
 */
#include "ring.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

#define RING_NUM_MAX 32768u

static uint16_t load_relaxed(const void *at)
{
    return atomic_load_explicit((const _Atomic uint16_t *)at, memory_order_relaxed);
}

static uint16_t load_acquire(const void *at)
{
    return atomic_load_explicit((const _Atomic uint16_t *)at, memory_order_acquire);
}

static void store_relaxed(void *at, uint16_t value)
{
    atomic_store_explicit((_Atomic uint16_t *)at, value, memory_order_relaxed);
}

static void *used_event(const struct ring *r)
{
    return &r->avail->ring[r->opt.num];
}

static const void *avail_event(const struct ring *r)
{
    return &r->used->ring[r->opt.num];
}

static uint16_t slot(const struct ring *r, uint16_t index)
{
    return index & (uint16_t)(r->opt.num - 1);
}

static size_t desc_bytes(const struct ring_options *opt)
{
    return (size_t)opt->num * sizeof(struct vring_desc);
}

/* One word more than the entries at each end: that is where the event indices live. */
static size_t avail_bytes(const struct ring_options *opt)
{
    return sizeof(struct vring_avail) + ((size_t)opt->num + 1) * sizeof(uint16_t);
}

static size_t used_bytes(const struct ring_options *opt)
{
    return sizeof(struct vring_used) + (size_t)opt->num * sizeof(struct vring_used_elem) +
           sizeof(uint16_t);
}

static size_t table_bytes(const struct ring_options *opt)
{
    return desc_bytes(opt) * opt->indirect_max;
}

size_t ring_memory(const struct ring_options *opt)
{
    return desc_bytes(opt) + avail_bytes(opt) + used_bytes(opt) + table_bytes(opt) + 4 * 64;
}

static int take_shared(struct ring *r, struct guestmem *mem, unsigned int region)
{
    const struct ring_options *opt = &r->opt;

    r->desc = guestmem_alloc(mem, region, desc_bytes(opt), 64);
    r->avail = guestmem_alloc(mem, region, avail_bytes(opt), 64);
    r->used = guestmem_alloc(mem, region, used_bytes(opt), 64);
    if (!r->desc || !r->avail || !r->used)
        return -ENOMEM;
    if (!opt->indirect_max)
        return 0;
    r->table = guestmem_alloc(mem, region, table_bytes(opt), 64);
    if (!r->table)
        return -ENOMEM;
    r->table_gpa = guestmem_gpa(mem, r->table);
    return 0;
}

int ring_init(struct ring *r, struct guestmem *mem, unsigned int region,
              const struct ring_options *opt)
{
    uint16_t num = opt->num;
    int err;

    memset(r, 0, sizeof(*r));
    r->call_fd = -1;
    if (!num || num > RING_NUM_MAX || (num & (num - 1)))
        return -EINVAL;
    r->opt = *opt;
    err = take_shared(r, mem, region);
    if (err)
        return err;
    r->chain = calloc(num, sizeof(*r->chain));
    r->link = calloc(num, sizeof(*r->link));
    r->order = calloc(num, sizeof(*r->order));
    if (!r->chain || !r->link || !r->order) {
        ring_free(r);
        return -ENOMEM;
    }
    ring_reset(r);
    return 0;
}

void ring_free(struct ring *r)
{
    free(r->chain);
    free(r->link);
    free(r->order);
    memset(r, 0, sizeof(*r));
    r->call_fd = -1;
}

void ring_reset(struct ring *r)
{
    uint16_t num = r->opt.num;

    memset(r->desc, 0, desc_bytes(&r->opt));
    memset(r->avail, 0, avail_bytes(&r->opt));
    memset(r->used, 0, used_bytes(&r->opt));
    memset(r->chain, 0, num * sizeof(*r->chain));
    for (unsigned int i = 0; i < num; i++)
        r->link[i] = slot(r, (uint16_t)(i + 1));
    r->free_head = 0;
    r->free_count = num;
    r->avail_idx = 0;
    r->kicked_idx = 0;
    r->used_idx = 0;
    r->batch_end = 0;
    r->armed = true;
    r->error = NULL;
}

static struct vring_desc make_desc(const struct ring_seg *seg, unsigned int i,
                                   unsigned int readable, unsigned int total, uint16_t next)
{
    bool last = i + 1 == total;

    return (struct vring_desc){
        .addr = seg[i].gpa,
        .len = seg[i].len,
        .flags = (uint16_t)((last ? 0 : VRING_DESC_F_NEXT) |
                            (i < readable ? 0 : VRING_DESC_F_WRITE)),
        .next = last ? 0 : next,
    };
}

static uint16_t put_indirect(struct ring *r, const struct ring_seg *seg, unsigned int readable,
                             unsigned int total)
{
    uint16_t head = r->free_head;
    size_t first = (size_t)head * r->opt.indirect_max;

    for (unsigned int i = 0; i < total; i++)
        r->table[first + i] = make_desc(seg, i, readable, total, (uint16_t)(i + 1));
    r->desc[head] = (struct vring_desc){
        .addr = r->table_gpa + first * sizeof(struct vring_desc),
        .len = (uint32_t)(total * sizeof(struct vring_desc)),
        .flags = VRING_DESC_F_INDIRECT,
    };
    return r->link[head];
}

/* In-order rings need ascending descriptors; their free list is never reordered (give_back). */
static uint16_t put_direct(struct ring *r, const struct ring_seg *seg, unsigned int readable,
                           unsigned int total)
{
    uint16_t at = r->free_head;

    for (unsigned int i = 0; i < total; i++) {
        r->desc[at] = make_desc(seg, i, readable, total, r->link[at]);
        at = r->link[at];
    }
    return at;
}

int ring_add(struct ring *r, const struct ring_seg *seg, unsigned int readable,
             unsigned int writable, void *token)
{
    unsigned int total = readable + writable;
    bool indirect = total <= r->opt.indirect_max;
    unsigned int need = indirect ? 1 : total;
    uint16_t head = r->free_head;
    uint32_t room = 0;

    if (!total || need > r->free_count)
        return -ENOSPC;
    for (unsigned int i = readable; i < total; i++)
        room += seg[i].len;
    r->free_head = indirect ? put_indirect(r, seg, readable, total)
                            : put_direct(r, seg, readable, total);
    r->free_count = (uint16_t)(r->free_count - need);
    r->chain[head] = (struct ring_chain){ token, room, (uint16_t)need };
    r->order[slot(r, r->avail_idx)] = head;
    store_relaxed(&r->avail->ring[slot(r, r->avail_idx)], head);
    r->avail_idx++;
    return 0;
}

void ring_publish(struct ring *r)
{
    atomic_store_explicit((_Atomic uint16_t *)&r->avail->idx, r->avail_idx,
                          memory_order_release);
}

bool ring_kick_wanted(struct ring *r)
{
    uint16_t old = r->kicked_idx;

    if (old == r->avail_idx)
        return false;
    r->kicked_idx = r->avail_idx;
    /* The index must be visible before the suppression word is read, or both sides may sleep. */
    atomic_thread_fence(memory_order_seq_cst);
    if (r->opt.event_idx)
        return vring_need_event(load_relaxed(avail_event(r)), r->avail_idx, old);
    return !(load_relaxed(&r->used->flags) & VRING_USED_F_NO_NOTIFY);
}

int ring_submit(struct ring *r)
{
    ring_publish(r);
    if (!ring_kick_wanted(r))
        return 0;
    r->kicks++;
    return r->kick(r->kick_arg);
}

unsigned int ring_in_flight(const struct ring *r)
{
    return (uint16_t)(r->avail_idx - r->used_idx);
}

bool ring_pending(const struct ring *r)
{
    return load_acquire(&r->used->idx) != r->used_idx;
}

static int misbehaved(struct ring *r, const char *what)
{
    r->error = what;
    return -EPROTO;
}

static void give_back(struct ring *r, uint16_t head)
{
    uint16_t tail = head;

    if (!r->opt.in_order) {
        for (unsigned int i = 1; i < r->chain[head].count; i++)
            tail = r->link[tail];
        r->link[tail] = r->free_head;
        r->free_head = head;
    }
    r->free_count = (uint16_t)(r->free_count + r->chain[head].count);
    r->chain[head].count = 0;
}

static int finish(struct ring *r, uint16_t head, uint32_t len, struct ring_done *done)
{
    if (len > r->chain[head].writable)
        return misbehaved(r, "the used length is more than the chain's writable bytes");
    *done = (struct ring_done){ r->chain[head].token, len };
    give_back(r, head);
    r->used_idx++;
    return 0;
}

/* One used entry may stand for several chains: all up to the one it names. */
static int open_batch(struct ring *r, uint16_t used)
{
    const struct vring_used_elem *entry = &r->used->ring[slot(r, r->used_idx)];
    uint32_t id = entry->id;

    for (uint16_t at = r->used_idx; at != used; at++) {
        if (r->order[slot(r, at)] == id) {
            r->batch_end = (uint16_t)(at + 1);
            r->batch_len = entry->len;
            return 0;
        }
    }
    return misbehaved(r, "a used entry is out of order though in-order use was negotiated");
}

static int take_in_order(struct ring *r, uint16_t used, struct ring_done *done)
{
    uint16_t head = r->order[slot(r, r->used_idx)];
    int err;

    if (r->used_idx == r->batch_end) {
        err = open_batch(r, used);
        if (err)
            return err;
    }
    /* A chain that was skipped over counts as used completely. */
    return finish(r, head,
                  (uint16_t)(r->used_idx + 1) == r->batch_end ? r->batch_len
                                                              : r->chain[head].writable,
                  done);
}

static int take_one(struct ring *r, struct ring_done *done)
{
    const struct vring_used_elem *entry = &r->used->ring[slot(r, r->used_idx)];
    uint32_t id = entry->id;

    if (id >= r->opt.num)
        return misbehaved(r, "a used entry names a descriptor outside the ring");
    if (!r->chain[id].count)
        return misbehaved(r, "a used entry names a chain that is not in flight");
    return finish(r, (uint16_t)id, entry->len, done);
}

/*
 * With the event index the point of interest is put half the index space away, so that a device
 * which looks at it late does not call either; ring_reap() moves it on before it comes near.
 */
void ring_disarm(struct ring *r)
{
    r->armed = false;
    r->event = (uint16_t)(r->used_idx + 0x8000);
    if (r->opt.event_idx)
        store_relaxed(used_event(r), r->event);
    else
        store_relaxed(&r->avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
}

static void keep_disarmed(struct ring *r)
{
    if (r->opt.event_idx && !r->armed && (uint16_t)(r->event - r->used_idx) < 0x4000)
        ring_disarm(r);
}

int ring_reap(struct ring *r, struct ring_done *done, unsigned int max)
{
    uint16_t used = load_acquire(&r->used->idx);
    unsigned int got = 0;
    int err;

    if ((uint16_t)(used - r->used_idx) > ring_in_flight(r))
        return misbehaved(r, "the used index runs ahead of the chains made available");
    while (got < max && r->used_idx != used) {
        err = r->opt.in_order ? take_in_order(r, used, &done[got]) : take_one(r, &done[got]);
        if (err)
            return err;
        got++;
    }
    keep_disarmed(r);
    return (int)got;
}

bool ring_arm(struct ring *r, uint16_t after)
{
    uint16_t want = r->opt.event_idx && after ? after : 1;

    r->armed = true;
    if (r->opt.event_idx)
        store_relaxed(used_event(r), (uint16_t)(r->used_idx + want - 1));
    else
        store_relaxed(&r->avail->flags, 0);
    /* The wish must be visible before the index is looked at, or an interrupt may be missed. */
    atomic_thread_fence(memory_order_seq_cst);
    return (uint16_t)(load_acquire(&r->used->idx) - r->used_idx) >= want;
}

/* One read: an eventfd is empty after it, and poll() tells when a socket pair is not. */
unsigned int ring_drain_calls(struct ring *r)
{
    uint64_t count;

    if (r->call_fd < 0 || read(r->call_fd, &count, sizeof(count)) != sizeof(count))
        return 0;
    r->calls += count;
    return (unsigned int)count;
}

int ring_wait(struct ring *r, int timeout_ms)
{
    uint64_t deadline = clock_deadline(timeout_ms);

    for (;;) {
        struct pollfd fd = { .fd = r->call_fd, .events = POLLIN };
        int n;

        if (ring_arm(r, 1))
            break;
        n = poll(&fd, 1, clock_left_ms(deadline));
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -ETIMEDOUT;
        if (n > 0 && (fd.revents & (POLLERR | POLLNVAL)))
            return -EPIPE;
        ring_drain_calls(r);
    }
    ring_disarm(r);
    return 0;
}

int ring_spin(struct ring *r, int timeout_ms)
{
    uint64_t deadline = clock_deadline(timeout_ms);

    for (unsigned int i = 0; !ring_pending(r); i++) {
        if (i % 256 == 255 && clock_ns() >= deadline)
            return -ETIMEDOUT;
        ring_relax();
    }
    return 0;
}

uint16_t ring_shared_avail_idx(const struct ring *r)
{
    return load_relaxed(&r->avail->idx);
}

uint16_t ring_shared_used_idx(const struct ring *r)
{
    return load_acquire(&r->used->idx);
}
