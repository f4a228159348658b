/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * row-ring.c - rings and descriptors: classes 1 to 8, 22, 28, 29 and 30. The engine alone has the
 * same table in tests/unit/virtq.c; here it is what a guest sees of a whole daemon.
 */
#include "hostile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT
#define NUM 128u
#define TRIES 5
#define ENOUGH_MS 10

/* ---- one attack: descriptors, a kick, and why the device has to stop ------------------------- */

struct attack {
    void (*make)(struct blkdev *dev, struct buffers b);
    const char *says;
    struct blkdev_options opt; /* all 0: the usual ones */
    bool fast;                 /* seen within 10 ms: nothing is walked for long */
};

static bool attack_once(struct world *w, const struct attack *a, uint64_t *ns)
{
    bool usual = !a->opt.num && !a->opt.event_idx && !a->opt.in_order;
    if (!w->a.opt.num && !evil_open(w, usual ? NULL : &a->opt))
        return false;
    if (!evil_works(w, &w->a))
        return false;
    uint16_t used = ring_shared_used_idx(&w->a.ring[0]);
    a->make(&w->a, evil_buffers(&w->a, VIRTIO_BLK_T_IN, 0));
    uint64_t since = clock_ns();
    return evil_kick(&w->a) && evil_broken(w, &w->a, a->says, used, since, ns) &&
           evil_reset(w, &w->a);
}

static void attack(struct world *w)
{
    const struct attack *a = w->arg;
    uint64_t ns = 0, limit = ENOUGH_MS * 1000000ull * (w->sanitized ? 10 : 1);
    for (int i = 0; i < TRIES; i++) {
        MUST(attack_once(w, a, &ns));
        if (!a->fast || ns < limit)
            return;
    }
    row_fail("it took %llu us to see it, five times", (unsigned long long)ns / 1000);
}

static void desc_self(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 5, b.header, 16, NEXT, 5);
    evil_offer(dev, 5);
}
static void desc_two(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 5, b.header, 16, NEXT, 6);
    evil_desc(dev, 6, b.data, 512, NEXT, 5);
    evil_offer(dev, 5);
}
static void desc_all(struct blkdev *dev, struct buffers b)
{
    for (unsigned i = 0; i < dev->opt.num; i++)
        evil_desc(dev, i, b.data, 16, NEXT | (i ? WRITE : 0), (i + 1) % dev->opt.num);
    evil_offer(dev, 0);
}
static void next_size(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 0, b.header, 16, NEXT, dev->opt.num);
    evil_offer(dev, 0);
}
static void next_ffff(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 0, b.header, 16, NEXT, 0xffff);
    evil_offer(dev, 0);
}
static void head_size(struct blkdev *dev, struct buffers b)
{
    (void)b;
    evil_offer(dev, dev->opt.num);
}
static void head_ffff(struct blkdev *dev, struct buffers b)
{
    (void)b;
    evil_offer(dev, 0xffff);
}
static void head_twice(struct blkdev *dev, struct buffers b)
{
    /* In one batch: the second is looked at before the first can be done, if I/O takes time. */
    evil_desc(dev, 0, b.header, 16, NEXT, 1);
    evil_desc(dev, 1, b.data, 65536, NEXT | WRITE, 2);
    evil_desc(dev, 2, b.status, 1, WRITE, 0);
    struct ring *r = &dev->ring[0];
    uint16_t idx = ring_shared_avail_idx(r);
    r->avail->ring[idx % r->opt.num] = 0;
    r->avail->ring[(idx + 1) % r->opt.num] = 0;
    evil_avail(dev, (uint16_t)(idx + 2));
}

/* ---- indirect tables ------------------------------------------------------------------------- */

static struct vring_desc *table_of(struct blkdev *dev, struct buffers b)
{
    (void)dev;
    return (struct vring_desc *)(void *)b.req->data;
}
static void good_table(struct blkdev *dev, struct buffers b)
{
    struct vring_desc *t = table_of(dev, b);
    t[0] = (struct vring_desc){b.header, 16, NEXT, 1};
    t[1] = (struct vring_desc){b.data + 4096, 512, NEXT | WRITE, 2};
    t[2] = (struct vring_desc){b.status, 1, WRITE, 0};
}
static void table(struct blkdev *dev, uint64_t at, uint32_t len, unsigned bits)
{
    evil_desc(dev, 0, at, len, INDIRECT | bits, 1);
    evil_offer(dev, 0);
}
static void table_nested(struct blkdev *dev, struct buffers b)
{
    good_table(dev, b);
    table_of(dev, b)[1] = (struct vring_desc){b.data, 48, INDIRECT, 0};
    table(dev, b.data, 48, 0);
}
static void table_odd(struct blkdev *dev, struct buffers b)
{
    good_table(dev, b);
    table(dev, b.data, 49, 0);
}
static void table_empty(struct blkdev *dev, struct buffers b)
{
    table(dev, b.data, 0, 0);
}
static void table_long(struct blkdev *dev, struct buffers b)
{
    good_table(dev, b);
    table(dev, b.data, 16 * 1025, 0);
}
static void table_huge(struct blkdev *dev, struct buffers b)
{
    table(dev, b.data, 0xfffffff0u, 0);
}
static void table_and_next(struct blkdev *dev, struct buffers b)
{
    good_table(dev, b);
    evil_desc(dev, 1, b.status, 1, WRITE, 0);
    table(dev, b.data, 48, NEXT);
}
static void table_across(struct blkdev *dev, struct buffers b)
{
    (void)b;
    table(dev, dev->mem.region[0].at.gpa + dev->mem.region[0].at.size - 16, 48, 0);
}
static void table_outside(struct blkdev *dev, struct buffers b)
{
    (void)b;
    table(dev, 0, 48, 0);
}
static void table_loop(struct blkdev *dev, struct buffers b)
{
    good_table(dev, b);
    table_of(dev, b)[2] = (struct vring_desc){b.status, 1, WRITE | NEXT, 1};
    table(dev, b.data, 48, 0);
}
static void table_next(struct blkdev *dev, struct buffers b)
{
    good_table(dev, b);
    table_of(dev, b)[0].next = 3;
    table(dev, b.data, 48, 0);
}

/* ---- addresses and lengths ------------------------------------------------------------------- */

static void data_at(struct blkdev *dev, struct buffers b, uint64_t at, uint32_t len)
{
    evil_desc(dev, 0, b.header, 16, NEXT, 1);
    evil_desc(dev, 1, at, len, NEXT | WRITE, 2);
    evil_desc(dev, 2, b.status, 1, WRITE, 0);
    evil_offer(dev, 0);
}
static uint64_t region_end(const struct blkdev *dev)
{
    return dev->mem.region[0].at.gpa + dev->mem.region[0].at.size;
}
static void at_the_end(struct blkdev *dev, struct buffers b)
{
    data_at(dev, b, region_end(dev) - 8, 64);
}
static void behind(struct blkdev *dev, struct buffers b)
{
    data_at(dev, b, region_end(dev), 512);
}
static void before(struct blkdev *dev, struct buffers b)
{
    data_at(dev, b, dev->mem.region[0].at.gpa - 8, 512);
}
static void at_null(struct blkdev *dev, struct buffers b)
{
    data_at(dev, b, 0, 512);
}
static void wraps(struct blkdev *dev, struct buffers b)
{
    data_at(dev, b, UINT64_MAX - 4, 64);
}
static void user_address(struct blkdev *dev, struct buffers b)
{
    data_at(dev, b, GUESTMEM_FAKE_UVA + (b.data - BLKDEV_GPA), 512);
}
static void four_gib(struct blkdev *dev, struct buffers b)
{
    data_at(dev, b, b.data, UINT32_MAX);
}
static void sum_of_lengths(struct blkdev *dev, struct buffers b)
{
    uint32_t whole = (uint32_t)dev->mem.region[0].at.size; /* 32 MiB and more, 200 times */
    (void)b;
    for (unsigned i = 0; i < dev->opt.num; i++)
        evil_desc(dev, i, dev->mem.region[0].at.gpa, whole, WRITE | NEXT, i + 1);
    evil_offer(dev, 0);
}
static void zero_loop(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 0, b.data, 0, NEXT, 0);
    evil_offer(dev, 0);
}
static void zero_1024(struct blkdev *dev, struct buffers b)
{
    for (unsigned i = 0; i < dev->opt.num; i++)
        evil_desc(dev, i, b.data, 0, i + 1 < dev->opt.num ? NEXT : 0, i + 1);
    evil_offer(dev, 0);
}

/* ---- the available index --------------------------------------------------------------------- */

static void jump(struct blkdev *dev, int by)
{
    evil_avail(dev, (uint16_t)(ring_shared_avail_idx(&dev->ring[0]) + by));
}
static void jump_over(struct blkdev *dev, struct buffers b)
{
    (void)b;
    jump(dev, dev->opt.num + 1);
}
static void jump_half(struct blkdev *dev, struct buffers b)
{
    (void)b;
    jump(dev, 0x8000);
}
static void jump_back(struct blkdev *dev, struct buffers b)
{
    (void)b;
    jump(dev, -1);
}

/* ---- headers and status ---------------------------------------------------------------------- */

static void after_writable(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 0, b.header, 16, NEXT, 1);
    evil_desc(dev, 1, b.status, 1, NEXT | WRITE, 2);
    evil_desc(dev, 2, b.data, 512, 0, 0);
    evil_offer(dev, 0);
}
static void short_header(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 0, b.header, 1, NEXT, 1);
    evil_desc(dev, 1, b.status, 1, WRITE, 0);
    evil_offer(dev, 0);
}
static void header_15(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 0, b.header, 7, NEXT, 1);
    evil_desc(dev, 1, b.header + 7, 8, NEXT, 2);
    evil_desc(dev, 2, b.data, 513, WRITE, 0);
    evil_offer(dev, 0);
}
static void header_writable(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 0, b.header, 16, NEXT | WRITE, 1);
    evil_desc(dev, 1, b.status, 1, WRITE, 0);
    evil_offer(dev, 0);
}
static void no_status(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 0, b.header, 16, NEXT, 1);
    evil_desc(dev, 1, b.data, 512, 0, 0);
    evil_offer(dev, 0);
}
static void status_0_bytes(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 0, b.header, 16, NEXT, 1);
    evil_desc(dev, 1, b.status, 0, WRITE, 0);
    evil_offer(dev, 0);
}

/* ---- strange, but allowed: these have to be answered ----------------------------------------- */

struct oddity {
    void (*make)(struct blkdev *dev, struct buffers b);
    uint32_t type;
    uint8_t status;
    bool merged; /* the status byte is the last of the data */
    struct blkdev_options opt;
};

static void oddity(struct world *w)
{
    const struct oddity *o = w->arg;
    MUST(evil_open(w, o->opt.num ? &o->opt : NULL) && evil_works(w, &w->a));
    uint16_t used = ring_shared_used_idx(&w->a.ring[0]);
    struct buffers b = evil_buffers(&w->a, o->type, 8);
    o->make(&w->a, b);
    MUST(evil_kick(&w->a) && evil_used(&w->a, (uint16_t)(used + 1)));
    uint8_t status = o->merged ? b.req->data[512] : *b.req->status_at;
    CHECK(status == o->status, "the status is %u, not %u", status, o->status);
    MUST(evil_reset(w, &w->a));
}

static void split_header(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 0, b.header, 1, NEXT, 1);
    evil_desc(dev, 1, b.header + 1, 7, NEXT, 2);
    evil_desc(dev, 2, b.header + 8, 8, NEXT, 3);
    evil_desc(dev, 3, b.data, 513, WRITE, 0);
    evil_offer(dev, 0);
}
static void zero_in_between(struct blkdev *dev, struct buffers b)
{
    unsigned last = dev->opt.num - 1u;
    evil_desc(dev, 0, b.header, 16, NEXT, 1);
    for (unsigned i = 1; i < last; i++)
        evil_desc(dev, i, i % 2 ? b.data : UINT64_MAX, 0, NEXT, i + 1);
    evil_desc(dev, last, b.status, 1, WRITE, 0);
    evil_offer(dev, 0);
}
static void zero_at_the_end(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 0, b.header, 16, NEXT, 1);
    evil_desc(dev, 1, b.data, 512, NEXT | WRITE, 2);
    evil_desc(dev, 2, b.status, 1, NEXT | WRITE, 3);
    evil_desc(dev, 3, b.data, 0, WRITE, 0);
    evil_offer(dev, 0);
}
static void indirect_and_write(struct blkdev *dev, struct buffers b)
{
    good_table(dev, b);
    table(dev, b.data, 48, WRITE);
}
static void read_of_nothing(struct blkdev *dev, struct buffers b)
{
    evil_desc(dev, 0, b.header, 16, NEXT, 1);
    evil_desc(dev, 1, b.status, 1, WRITE, 0);
    evil_offer(dev, 0);
}
static void read_of_odd_length(struct blkdev *dev, struct buffers b)
{
    data_at(dev, b, b.data, 511);
}
static void past_the_disk(struct blkdev *dev, struct buffers b)
{
    b.req->header->sector = DISK_BYTES / BLK_SECTOR;
    data_at(dev, b, b.data, 512);
}
static void sector_wraps(struct blkdev *dev, struct buffers b)
{
    b.req->header->sector = UINT64_MAX;
    data_at(dev, b, b.data, 512);
}
static void sector_wraps_in_bytes(struct blkdev *dev, struct buffers b)
{
    b.req->header->sector = 1ull << 55; /* 0 in bytes, in 64 bits */
    data_at(dev, b, b.data, 512);
}
static void one_sector_too_far(struct blkdev *dev, struct buffers b)
{
    b.req->header->sector = DISK_BYTES / BLK_SECTOR - 1;
    data_at(dev, b, b.data, 1024);
}
static void zeroes_with(struct blkdev *dev, struct buffers b, uint64_t sector, uint32_t sectors,
                        uint32_t bits, uint32_t bytes)
{
    struct virtio_blk_discard_write_zeroes range = {sector, sectors, bits};
    memcpy(b.req->data, &range, sizeof(range));
    evil_desc(dev, 0, b.header, 16, NEXT, 1);
    evil_desc(dev, 1, b.data, bytes, NEXT, 2);
    evil_desc(dev, 2, b.status, 1, WRITE, 0);
    evil_offer(dev, 0);
}
static void zeroes_wrap(struct blkdev *dev, struct buffers b)
{
    zeroes_with(dev, b, UINT64_MAX - 1, 8, 0, 16);
}
static void zeroes_too_many(struct blkdev *dev, struct buffers b)
{
    zeroes_with(dev, b, 0, UINT32_MAX, 0, 16);
}
static void zeroes_flags(struct blkdev *dev, struct buffers b)
{
    zeroes_with(dev, b, 0, 8, 0xfffffffe, 16);
}
static void zeroes_half(struct blkdev *dev, struct buffers b)
{
    zeroes_with(dev, b, 0, 8, 0, 15);
}
static void zeroes_17_ranges(struct blkdev *dev, struct buffers b)
{
    zeroes_with(dev, b, 0, 8, 0, 17 * 16);
}

/* A buffer and a table may go on in the next region where the guest's addresses do. */
static void adjacent(struct world *w)
{
    static uint8_t expected[4096];
    MUST(evil_open(w, NULL));
    blk_fill(expected, sizeof(expected), 64, 77);
    CHECK(blk_write(&w->a.queue[0], 64, expected, sizeof(expected)) == 0, "the write failed");
    int low = evil_region(&w->a, GPA_FAR, 4096), high = evil_region(&w->a, GPA_FAR + 4096, 4096);
    MUST(low > 0 && high > 0);
    uint8_t *first = w->a.mem.region[low].map, *second = w->a.mem.region[high].map;
    struct buffers b = evil_buffers(&w->a, VIRTIO_BLK_T_IN, 64);
    struct vring_desc t[3] = {{b.header, 16, NEXT, 1}, {GPA_FAR + 1024, 4096, NEXT | WRITE, 2},
                              {b.status, 1, WRITE, 0}};
    memcpy(second + 4096 - sizeof(t) - 512, t, sizeof(t));
    /* The table's second entry lies across a border as well. */
    memcpy(first + 4096 - 24, t, 24);
    memcpy(second, (char *)t + 24, 24);
    t[1].len = 512;
    memcpy(first + 4096 - 24 + 16, &t[1], 8);
    memcpy(second, (char *)&t[1] + 8, 8);
    uint16_t used = ring_shared_used_idx(&w->a.ring[0]);
    table(&w->a, GPA_FAR + 4096 - 24, 48, 0);
    MUST(evil_kick(&w->a) && evil_used(&w->a, (uint16_t)(used + 1)));
    CHECK(*b.req->status_at == 0, "a table across two regions: status %u", *b.req->status_at);
    CHECK(w->kind == ON_NULL || memcmp(first + 1024, expected, 512) == 0, "wrong data");
    t[1] = (struct vring_desc){GPA_FAR + 2048, 4096, NEXT | WRITE, 2};
    *b.req->status_at = BLK_STATUS_NONE;
    memcpy(b.req->data, t, sizeof(t));
    table(&w->a, b.data, 48, 0);
    MUST(evil_kick(&w->a) && evil_used(&w->a, (uint16_t)(used + 2)));
    CHECK(*b.req->status_at == 0, "a buffer across two regions: status %u", *b.req->status_at);
    CHECK(w->kind == ON_NULL || (memcmp(first + 2048, expected, 2048) == 0 &&
                                 memcmp(second, expected + 2048, 2048) == 0), "wrong data");
}

/* ---- class 8: what is checked may change a moment later -------------------------------------- */

struct flipper {
    pthread_t thread;
    struct blkdev *dev;
    bool headers_only;
    bool running;
    _Atomic bool stop;
};

static uint64_t dice(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static void flip_header(struct blkdev *dev, uint64_t *x)
{
    static const uint32_t types[] = {VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH,
                                     VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD,
                                     VIRTIO_BLK_T_WRITE_ZEROES, 0xffffffff};
    static const uint64_t sectors[] = {0, 8, 1 << 10, DISK_BYTES / BLK_SECTOR - 1,
                                       DISK_BYTES / BLK_SECTOR, UINT64_MAX, 1ull << 55};
    struct blk_request *req = &dev->queue[0].request[dice(x) % dev->queue[0].slots];
    __atomic_store_n(&req->header->type, types[dice(x) % 7], __ATOMIC_RELAXED);
    __atomic_store_n(&req->header->sector, sectors[dice(x) % 7], __ATOMIC_RELAXED);
    /* Ranges to discard, too. */
    __atomic_store_n((uint64_t *)(void *)req->data, sectors[dice(x) % 7], __ATOMIC_RELAXED);
    __atomic_store_n((uint64_t *)(void *)req->data + 1, dice(x) & 0x1000fffff, __ATOMIC_RELAXED);
}

static void flip_desc(struct blkdev *dev, struct vring_desc *d, uint64_t *x)
{
    static const uint32_t lengths[] = {0, 1, 15, 16, 511, 512, 4096, 65536, UINT32_MAX};
    const struct guestmem_region *r = &dev->mem.region[0];
    uint64_t at[] = {r->at.gpa, r->at.gpa + r->at.size - 8, r->at.gpa + 4096 * (dice(x) % 64),
                     UINT64_MAX - 4, 0};
    switch (dice(x) % 4) {
    case 0:
        __atomic_store_n(&d->addr, at[dice(x) % 5], __ATOMIC_RELAXED);
        break;
    case 1:
        __atomic_store_n(&d->len, lengths[dice(x) % 9], __ATOMIC_RELAXED);
        break;
    case 2:
        __atomic_store_n(&d->flags, (uint16_t)(dice(x) % 8), __ATOMIC_RELAXED);
        break;
    default:
        __atomic_store_n(&d->next, (uint16_t)dice(x), __ATOMIC_RELAXED);
    }
}

static void *flip(void *arg)
{
    struct flipper *f = arg;
    struct ring *r = &f->dev->ring[0];
    uint64_t x = 88172645463325252ull, n = 0;
    while (!atomic_load_explicit(&f->stop, memory_order_relaxed)) {
        flip_header(f->dev, &x);
        if (f->headers_only || n++ % 4)
            continue;
        flip_desc(f->dev, &r->desc[dice(&x) % r->opt.num], &x);
        flip_desc(f->dev, &r->table[dice(&x) % ((uint64_t)r->opt.num * r->opt.indirect_max)], &x);
    }
    return NULL;
}

static void flipper_end(void *arg)
{
    struct flipper *f = arg;
    atomic_store(&f->stop, true);
    if (f->running)
        pthread_join(f->thread, NULL);
    f->running = false;
}

/*
 * Offers as many well-formed chains as fit; what the device makes of them is up to the flipper. The
 * slots are not waited for one by one: that is done when all are used, or the device has stopped.
 */
static bool flip_round(struct world *w, uint64_t *x, bool *broken)
{
    struct blk_queue *q = &w->a.queue[0];
    uint16_t used = ring_shared_used_idx(&w->a.ring[0]);
    for (unsigned i = 0; i < 16; i++) {
        struct blk_request *req = blk_take(q);
        req->type = dice(x) % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT;
        req->len = 512u << dice(x) % 5;
        req->pieces = 1 + (unsigned)(dice(x) % 3);
        if (blk_queue_add(q, req) < 0)
            return row_fail("the ring is full");
    }
    if (ring_submit(q->ring) < 0)
        return row_fail("the kick failed");
    uint64_t deadline = clock_deadline(WAIT_MS);
    while (ring_shared_used_idx(q->ring) != (uint16_t)(used + 16)) {
        if ((*broken = fe_ring_failed(&w->a.fe, 0)))
            return true;
        if (!clock_left_ms(deadline))
            return row_fail("requests whose headers change are not answered");
        ring_relax();
    }
    return true;
}

static void flips(struct world *w)
{
    const struct blkdev_options o = {.indirect = w->arg != NULL, .event_idx = true, .slots = 16,
                                     .indirect_max = 8};
    static struct flipper f;
    uint64_t x = 4101842887655102017ull, rounds = 0, stops = 0;
    uint64_t deadline = clock_deadline(w->all ? 2000 : 250);
    memset(&f, 0, sizeof(f));
    MUST(evil_open(w, &o));
    f.dev = &w->a;
    f.headers_only = w->arg == NULL;
    w->undo = flipper_end;
    w->undo_arg = &f;
    /* A slow machine gets its rounds, too. */
    while (clock_left_ms(deadline) > 0 || rounds < 8 ||
           (!f.headers_only && stops == 0 && rounds < 500)) {
        bool broken = false;
        if (!f.running) {
            atomic_store(&f.stop, false);
            f.running = pthread_create(&f.thread, NULL, flip, &f) == 0;
            CHECK(f.running, "no thread");
        }
        MUST(flip_round(w, &x, &broken));
        rounds++;
        stops += broken;
        CHECK(!broken || !f.headers_only, "headers that change stopped the device");
        if (broken)
            flipper_end(&f);
        else
            ring_reset(&w->a.ring[0]);
        CHECK(fe_reset_device(&w->a.fe) == 0, "RESET_DEVICE: %s", w->a.fe.error);
        ring_reset(&w->a.ring[0]);
        blk_queue_reset(&w->a.queue[0]);
        fe_ring_failed(&w->a.fe, 0);
        CHECK(fe_set_features(&w->a.fe, w->a.fe.features) == 0 && blkdev_start(&w->a) == 0,
              "after a reset: %s", w->a.fe.error);
    }
    flipper_end(&f);
    CHECK(f.headers_only || stops > 0, "no descriptor was ever found wrong");
}

/* ---- class 22: allocation driven by the guest ------------------------------------------------ */

/* Each chain is in as many pieces as the engine takes, for each head of the largest ring. */
static void many_pieces(struct world *w)
{
    const struct blkdev_options o = {.indirect = true, .event_idx = true, .num = 1024,
                                     .indirect_max = 2, .slots = 4};
    enum { CROSS = 31, ENTRIES = 64 }; /* each descriptor is in 31 pieces */
    MUST(evil_open(w, &o));
    for (unsigned i = 0; i < CROSS; i++)
        MUST(evil_region(&w->a, GPA_FAR + i * 4096ull, 4096) > 0);
    struct buffers b = evil_buffers(&w->a, VIRTIO_BLK_T_IN, UINT64_MAX); /* a sector too far */
    struct vring_desc *t = table_of(&w->a, b);
    t[0] = (struct vring_desc){b.header, 16, NEXT, 1};
    for (unsigned i = 1; i < ENTRIES; i++)
        t[i] = (struct vring_desc){GPA_FAR, CROSS * 4096u, NEXT | WRITE, (uint16_t)(i + 1)};
    t[ENTRIES - 1] = (struct vring_desc){b.status, 1, WRITE, 0};
    uint16_t used = ring_shared_used_idx(&w->a.ring[0]); /* before: who polls needs no kick */
    for (unsigned head = 0; head < 1024; head++) {
        evil_desc(&w->a, head, b.data, ENTRIES * 16, INDIRECT, 0);
        evil_offer(&w->a, head);
    }
    MUST(evil_kick(&w->a) && evil_used(&w->a, (uint16_t)(used + 1024)));
    CHECK(*b.req->status_at == VIRTIO_BLK_S_IOERR, "the status is %u", *b.req->status_at);
}

static void gib_desc(struct world *w)
{
    static const uint64_t bytes = 1ull << 30;
    MUST(evil_open(w, NULL) && evil_region(&w->a, GPA_FAR, bytes) > 0);
    for (unsigned i = 0; i < 64; i++) {
        struct buffers b = evil_buffers(&w->a, i % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, 0);
        uint16_t used = ring_shared_used_idx(&w->a.ring[0]);
        evil_desc(&w->a, 0, b.header, 16, NEXT, 1);
        evil_desc(&w->a, 1, GPA_FAR, (uint32_t)bytes, NEXT | (i % 2 ? 0 : WRITE), 2);
        evil_desc(&w->a, 2, b.status, 1, WRITE, 0);
        evil_offer(&w->a, 0);
        MUST(evil_kick(&w->a) && evil_used(&w->a, (uint16_t)(used + 1)));
        CHECK(*b.req->status_at == VIRTIO_BLK_S_IOERR, "1 GiB: status %u", *b.req->status_at);
        blk_put(&w->a.queue[0], b.req);
    }
}

/* Everything that is in flight, to its end; the neighbour's latency is what matters. */
static bool all_succeed(struct blk_queue *q)
{
    q->timeout_ms = 60000;
    if (ring_submit(q->ring) < 0 || blk_drain(q) < 0)
        return row_fail("the requests are not done");
    for (unsigned i = 0; i < q->slots; i++)
        if (q->request[i].done && q->request[i].status != VIRTIO_BLK_S_OK)
            return row_fail("request %u ended with %u", i, q->request[i].status);
    return true;
}

/* As much data as one request may have, as many as are taken in one turn, all at once. */
static void much_data(struct world *w)
{
    const struct blkdev_options o = {.event_idx = true, .num = 1024, .slots = 256};
    const struct ring_seg seg = {GPA_FAR, DISK_BYTES};
    MUST(evil_open(w, &o) && evil_region(&w->a, GPA_FAR, DISK_BYTES) > 0);
    struct blk_queue *q = &w->a.queue[0];
    for (unsigned i = 0; i < (w->kind == ON_MEM ? 240u : 60u); i++) {
        struct blk_request *req = blk_take(q);
        req->type = i % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT;
        req->seg = &seg;
        req->pieces = 1;
        req->len = seg.len;
        CHECK(blk_queue_add(q, req) == 0, "the ring is full");
    }
    MUST(all_succeed(q));
}

static void much_zeroing(struct world *w)
{
    const struct blkdev_options o = {.event_idx = true, .num = 1024, .slots = 160};
    struct virtio_blk_discard_write_zeroes range[16];
    for (unsigned i = 0; i < 16; i++)
        range[i] = (struct virtio_blk_discard_write_zeroes){0, DISK_BYTES / BLK_SECTOR, 0};
    MUST(evil_open(w, &o));
    struct blk_queue *q = &w->a.queue[0];
    for (unsigned i = 0; i < 160; i++) {
        struct blk_request *req = blk_take(q);
        req->type = VIRTIO_BLK_T_WRITE_ZEROES;
        req->len = sizeof(range);
        memcpy(req->data, range, sizeof(range));
        CHECK(blk_queue_add(q, req) == 0, "the ring is full");
    }
    MUST(all_succeed(q));
}

/* ---- classes 28, 29 and 30 ------------------------------------------------------------------- */

/* A driver may clear its ring after announcing it and before the first kick. */
static void late_zero(struct world *w)
{
    const struct blkdev_options o = {.event_idx = true, .no_start = true};
    MUST(evil_open(w, &o));
    struct ring *r = &w->a.ring[0];
    CHECK(blkdev_share(&w->a) == 0, "%s", w->a.fe.error);
    r->used->idx = 999;
    r->used->flags = 0xffff;
    CHECK(fe_ring_start(&w->a.fe, 0, r, &w->a.mem, 0) == 0 && fe_barrier(&w->a.fe) == 0, "%s",
          w->a.fe.error);
    MUST(churn_flows(&w->neighbour, 16)); /* the worker has been by */
    ring_reset(r);
    blk_queue_reset(&w->a.queue[0]);
    MUST(evil_works(w, &w->a));
    CHECK(ring_shared_used_idx(r) == 2, "the used index is %u", ring_shared_used_idx(r));
}

/* Both sides go to sleep all the time: a missing barrier loses a wake-up sooner or later. */
static void ping_pong(struct world *w)
{
    const struct blkdev_options o = {.event_idx = w->arg != NULL, .queues = 1};
    uint64_t x = 1181783497276652981ull, deadline = clock_deadline(w->all ? 8000 : 400);
    uint64_t n = 0;
    MUST(evil_open(w, &o));
    for (; clock_left_ms(deadline) > 0; n++) {
        for (uint64_t spin = dice(&x) % 2000; spin > 0; spin--)
            ring_relax();
        struct blk_request *req = blk_take(&w->a.queue[0]);
        req->type = VIRTIO_BLK_T_IN;
        req->len = 512;
        int rc = blk_run(&w->a.queue[0], req);
        CHECK(rc == 0 && req->status == 0, "request %llu: %s", (unsigned long long)n,
              rc == -ETIMEDOUT ? "a wake-up was lost" : "it failed");
        blk_put(&w->a.queue[0], req);
    }
    CHECK(n > 100, "only %llu requests", (unsigned long long)n);
}

/* ---- the table ------------------------------------------------------------------------------- */

#define ATTACK(NAME, MAKE, SAYS, ...) \
    {NAME, attack, ON_EACH, &(const struct attack){.make = MAKE, .says = SAYS, __VA_ARGS__}}
#define ATTACK_ON(NAME, ON, MAKE, SAYS, ...) \
    {NAME, attack, ON, &(const struct attack){.make = MAKE, .says = SAYS, __VA_ARGS__}}
#define ODDITY(NAME, MAKE, TYPE, STATUS, ...) \
    {NAME, oddity, ON_EACH, &(const struct oddity)\
     {.make = MAKE, .type = VIRTIO_BLK_T_##TYPE, .status = STATUS, __VA_ARGS__}}
#define NO_INDIRECT .opt = {.num = NUM, .event_idx = true}
#define LARGE .opt = {.num = 1024, .event_idx = true}

const struct evil_row ring_rows[] = {
    ATTACK("c01-desc-loop-self", desc_self, "chain 5|more than 128|a loop", .fast = true),
    ATTACK("c01-desc-loop-two", desc_two, "chain 5|more than 128|a loop", .fast = true),
    ATTACK("c01-desc-loop-all", desc_all, "chain 0|more than 1024|a loop", LARGE, .fast = true),
    ATTACK("c01-table-loop", table_loop, "indirect table of 3 entries has a loop", .fast = true),
    ATTACK("c02-next-is-size", next_size, "next 128|ring of 128"),
    ATTACK("c02-next-ffff", next_ffff, "next 65535|ring of 128"),
    ATTACK("c02-head-is-size", head_size, "head 128|ring of 128"),
    ATTACK("c02-head-ffff", head_ffff, "head 65535|ring of 128"),
    ATTACK("c02-next-outside-table", table_next, "next 3|indirect table of 3"),
    ATTACK_ON("c02-head-twice", ON_DIRECT, head_twice, "chain 0|again before it was used"),
    ATTACK("c03-nested", table_nested, "inside an indirect table"),
    ATTACK("c03-length-not-16", table_odd, "49 bytes|1 to 128 entries"),
    ATTACK("c03-length-0", table_empty, "0 bytes|1 to 128 entries"),
    ATTACK("c03-longer-than-queue", table_long, "16400 bytes|1 to 128 entries"),
    ATTACK("c03-length-huge", table_huge, "4294967280 bytes|1 to 128 entries"),
    ATTACK("c03-indirect-and-next", table_and_next, "indirect descriptor with a next one"),
    ATTACK("c03-table-crosses-region", table_across, "48 bytes|is not guest memory"),
    ATTACK("c03-table-nowhere", table_outside, "at 0x0|is not guest memory"),
    ATTACK("c03-not-negotiated", indirect_and_write, "INDIRECT_DESC was not negotiated",
           NO_INDIRECT),
    ODDITY("c03-indirect-and-write", indirect_and_write, IN, 0),
    ATTACK("c04-across-the-end", at_the_end, "64 bytes|is not guest memory"),
    ATTACK("c04-behind", behind, "512 bytes|is not guest memory"),
    ATTACK("c04-before", before, "512 bytes|is not guest memory"),
    ATTACK("c04-at-0", at_null, "at 0x0|is not guest memory"),
    ATTACK("c04-wraps", wraps, "0xfffffffffffffffb|64 bytes|is not guest memory"),
    ATTACK("c04-user-address", user_address, "is not guest memory"),
    ATTACK("c04-length-huge", four_gib, "4294967295 bytes|is not guest memory"),
    ATTACK("c04-longer-than-4-gib", sum_of_lengths, "longer than 4 GiB - 1",
           .opt = {.num = 1024, .event_idx = true, .slots = 512}),
    {"c04-adjacent-regions", adjacent, ON_EACH, NULL},
    ATTACK("c05-zero-length-loop", zero_loop, "more than 128|a loop", .fast = true),
    ATTACK("c05-zero-length-1024", zero_1024, "header of 0 bytes|16", LARGE, .fast = true),
    ODDITY("c05-zero-length-between", zero_in_between, FLUSH, 0, LARGE),
    ODDITY("c05-zero-length-last", zero_at_the_end, IN, 0),
    ATTACK("c06-jump-over-size", jump_over, "from 2 to 131|128 entries"),
    ATTACK("c06-jump-half", jump_half, "from 2 to 32770|128 entries"),
    ATTACK("c06-jump-back", jump_back, "from 2 to 1|128 entries"),
    ATTACK("c07-readable-after-writable", after_writable, "readable buffer after a writable"),
    ATTACK("c07-header-1-byte", short_header, "header of 1 bytes|16"),
    ATTACK("c07-header-15-bytes", header_15, "header of 15 bytes|16"),
    ATTACK("c07-header-writable", header_writable, "header of 0 bytes|16"),
    ATTACK("c07-no-status", no_status, "0 writable bytes|needs 1"),
    ATTACK("c07-status-0-bytes", status_0_bytes, "0 writable bytes|needs 1"),
    ODDITY("c07-header-split", split_header, IN, 0, .merged = true),
    ODDITY("c07-read-of-nothing", read_of_nothing, IN, 0),
    ODDITY("c07-read-of-511", read_of_odd_length, IN, VIRTIO_BLK_S_IOERR),
    ODDITY("c07-past-the-disk", past_the_disk, IN, VIRTIO_BLK_S_IOERR),
    ODDITY("c07-sector-wraps", sector_wraps, IN, VIRTIO_BLK_S_IOERR),
    ODDITY("c07-sector-wraps-bytes", sector_wraps_in_bytes, IN, VIRTIO_BLK_S_IOERR),
    ODDITY("c07-one-sector-too-far", one_sector_too_far, IN, VIRTIO_BLK_S_IOERR),
    ODDITY("c07-type-unknown", read_of_nothing, GET_ID + 90, VIRTIO_BLK_S_UNSUPP),
    ODDITY("c07-zeroes-wrap", zeroes_wrap, WRITE_ZEROES, VIRTIO_BLK_S_IOERR),
    ODDITY("c07-zeroes-too-many", zeroes_too_many, WRITE_ZEROES, VIRTIO_BLK_S_IOERR),
    ODDITY("c07-zeroes-flags", zeroes_flags, WRITE_ZEROES, VIRTIO_BLK_S_UNSUPP),
    ODDITY("c07-zeroes-15-bytes", zeroes_half, WRITE_ZEROES, VIRTIO_BLK_S_IOERR),
    ODDITY("c07-zeroes-17-ranges", zeroes_17_ranges, WRITE_ZEROES, VIRTIO_BLK_S_IOERR),
    {"c08-headers-flip", flips, ON_EACH | ON_DIRECT, NULL},
    {"c08-everything-flips", flips, ON_EACH | ON_DIRECT, "all"},
    {"c22-many-pieces", many_pieces, ON_EACH, NULL},
    {"c22-gib-descriptor", gib_desc, ON_EACH, NULL},
    {"c22-much-data", much_data, ON_FILE | ON_MEM | ON_SHM, NULL},
    {"c22-much-zeroing", much_zeroing, ON_FILE | ON_MEM, NULL},
    {"c29-ring-cleared-late", late_zero, ON_EACH, NULL},
    {"c30-ping-pong-flags", ping_pong, ON_MEM | ON_FILE, NULL},
    {"c30-ping-pong-event-index", ping_pong, ON_MEM | ON_FILE, "event"},
    {NULL, NULL, 0, NULL},
};
