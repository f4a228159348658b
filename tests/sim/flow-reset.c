/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow-reset.c - flow test: a driver takes its device or queue away amid 32 direct reads.
 * Once that is answered, no byte of the guest's memory changes any more.
 *
 * That is watched in two steps. At first, where the reads would have landed: a few words that can be
 * noted at once, since most of what comes late comes soon. Then all of the memory, poisoned.
 */
#include "world.h"

#include "clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define DEPTH 32u
#define BYTES 65536u
#define IMAGE (16 << 20)
#define ROUNDS 100u
#define ROUNDS_ALL 1000u
#define POISON 0xa5
#define BEFORE 0xee /* in the buffers before the reads; the image has zeroes */
#define WATCH_MS 2  /* each step */

static struct world world;
static struct mdisk disk;

/* How the queue is taken away. */
enum way { DEVICE_RESET, QUEUE_STOP, QUEUE_RESET };

static int take_away(enum way way)
{
    switch (way) {
    case QUEUE_STOP:
        return mmio_queue_stop(&disk.mmio, 0);
    case QUEUE_RESET:
        return mmio_queue_reset(&disk.mmio, 0);
    default:
        return mmio_reset(&disk.mmio);
    }
}

static bool submit_reads(void)
{
    for (unsigned int i = 0; i < DEPTH; i++) {
        struct blk_request *req = blk_take(&disk.queue[0]);

        if (!req)
            return row_fail("no request is free");
        memset(req->data, BEFORE, BYTES);
        req->len = BYTES;
        req->sector = (uint64_t)i * (BYTES / BLK_SECTOR);
        if (blk_queue_add(&disk.queue[0], req))
            return row_fail("the ring is full");
    }
    return ring_submit(disk.queue[0].ring) == 0 || row_fail("no kick");
}

struct noted {
    uint16_t used;
    struct {
        uint64_t first, last;
        uint8_t status;
    } read[DEPTH];
};

static void note_now(struct noted *n)
{
    memset(n, 0, sizeof(*n));
    n->used = ring_shared_used_idx(disk.queue[0].ring);
    for (unsigned int i = 0; i < DEPTH; i++) {
        const struct blk_request *req = &disk.queue[0].request[i];

        memcpy(&n->read[i].first, req->data, sizeof(uint64_t));
        memcpy(&n->read[i].last, req->data + BYTES - sizeof(uint64_t), sizeof(uint64_t));
        n->read[i].status = *req->status_at;
    }
}

/* Called right after the answer. */
static bool stays_as_it_is(unsigned int round)
{
    uint64_t deadline = clock_deadline(WATCH_MS);
    struct noted first, now;

    note_now(&first);
    do {
        note_now(&now);
        if (memcmp(&first, &now, sizeof(now)) != 0)
            return row_fail("round %u: a read came to its buffer, or was completed, after the "
                            "answer", round);
    } while (clock_left_ms(deadline) > 0);
    return true;
}

/* The whole memory of the guest. */
static bool stays_poisoned(unsigned int round)
{
    const struct guestmem_region *r = &world.guest[0].mem.region[0];
    uint64_t deadline = clock_deadline(WATCH_MS);
    uint64_t bad = 0;

    memset(r->map, POISON, r->at.size);
    do {
        if (r->map[0] != POISON || memcmp(r->map, r->map + 1, r->at.size - 1) != 0) {
            while (r->map[bad] == POISON && bad < r->at.size - 1)
                bad++;
            return row_fail("round %u: 0x%02x came to 0x%llx after the answer", round,
                            r->map[bad], (unsigned long long)(r->at.gpa + bad));
        }
    } while (clock_left_ms(deadline) > 0);
    return true;
}

/* Not always at the same moment of the reads' life. */
static void wait_a_little(unsigned int round)
{
    uint64_t until = clock_ns() + round * 7919ull % 200 * 1000;

    while (clock_ns() < until)
        ring_relax();
}

static unsigned int one_round(unsigned int round, enum way way)
{
    const struct ring *ring = disk.queue[0].ring;
    unsigned int unfinished;
    int err;

    if (!world_up(&disk) || !submit_reads())
        return 0;
    wait_a_little(round);
    unfinished = DEPTH - ring_shared_used_idx(ring);
    err = take_away(way);
    if (err)
        row_fail("round %u: %s", round, mdisk_why(&disk, err));
    else if (stays_as_it_is(round) && stays_poisoned(round) && way != DEVICE_RESET)
        world_down(&disk);
    return unfinished;
}

static void amid_reads(struct daemon *d)
{
    const enum way *way = d->arg;
    unsigned int rounds = (flags.all ? ROUNDS_ALL : ROUNDS), unfinished = 0, hit = 0;
    static const struct world_options o = { .sim = { .futex = true }, .memory = 4 << 20 };
    struct mdisk_options mo = { .requests = DEPTH, .capacity = BYTES,
                                .ring_reset = *way == QUEUE_RESET };

    MUST(world_open(&world, d, &o) && daemon_image(d, "a", IMAGE) &&
         daemon_add(d, world_spec(&world, 0, 0, "a,id=a,direct").s, NULL) &&
         world_disk(&disk, &world, 0, 0, &mo));
    for (unsigned int i = 0; i < rounds && !row_failed(); i++) {
        unsigned int n = one_round(i, *way);

        unfinished += n;
        hit += n > 0;
    }
    MUST(!row_failed() && world_fine(&world));
    row_note("%u rounds, %u reads under way at the time", rounds, unfinished);
    CHECK(hit >= rounds / 10, "in %u of %u rounds nothing was under way", rounds - hit, rounds);
    MUST(world_up(&disk) && world_works(&disk, 5) && world_down(&disk) && world_fine(&world));
}

int main(int argc, char **argv)
{
    static const enum way reset = DEVICE_RESET, stop = QUEUE_STOP, queue = QUEUE_RESET;
    static const struct row rows[] = {
        { "reset-amid-reads", amid_reads, &world_daemon, &reset },
        { "queue-stop-amid-reads", amid_reads, &world_daemon, &stop },
        { "queue-reset-amid-reads", amid_reads, &world_daemon, &queue },
    };

    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
