/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chains.c - chains as drivers send them, and as hostile guests do. Child.
 *
 * Hostile chains lie in memory that is read-only where the guest lets the device read, and ends
 * before a page that is not there: a plugin that writes or goes too far is killed at once.
 */
#include "check.h"

#include <stdlib.h>
#include <sys/mman.h>

#define FLOOD 64u
#define ROUNDS 6
#define RANDOM_CHAINS 150
#define AREA 65536u       /* bytes of guarded memory */
#define HUGE (64u << 20)  /* bytes of the piece that huge chains are made of */
#define PIECES HVV_SEGMENTS_MAX

/* ---- As drivers do --------------------------------------------------------------------------- */

/* What comes out of the order is found by the harness; stop() waits for what is in flight. */
void group_chains(struct child *child)
{
    struct hvv_harness h;
    struct sender sender;
    if (!start_device(child, &h, "check"))
        return;
    sender_init(&sender, &h);
    sender_learn(&sender);
    for (int round = 0; round < ROUNDS; round++) {
        sender_flood(&sender, round % 2 ? 1 : HVV_QUEUE_SIZE_MAX);
        if (round < ROUNDS / 2)
            sender_pump(&h, NULL, 5);
        hvv_harness_advance(&h, 1000000000u);
        sender_recover(&h);
        hvv_harness_stop(&h);
        hvv_harness_start(&h);
    }
    hvv_harness_close(&h);
}

/* ---- Reset ----------------------------------------------------------------------------------- */

static bool is_alive(struct sender *sender)
{
    for (uint32_t queue = 0; queue < sender->h->n_queues; queue++) {
        if (sender->shape[queue] < 0 || sender->held[queue])
            continue;
        struct hvv_harness_chain *chain =
            sender_send(sender, queue, shapes[sender->shape[queue]]);
        hvv_harness_kick(sender->h, queue);
        if (!chain || sender_pump(sender->h, chain, (int)sender->h->patience_ms))
            continue;
        found("reset", "after a reset, queue %u does not finish chains any more", queue);
        return false;
    }
    return true;
}

void group_reset(struct child *child)
{
    struct hvv_harness h;
    struct sender sender;
    if (!start_device(child, &h, "check"))
        return;
    sender_init(&sender, &h);
    sender_learn(&sender);
    bool alive = true;
    for (int round = 0; round < ROUNDS && alive; round++) {
        sender_flood(&sender, FLOOD);
        for (int turn = 0; turn < round; turn++)
            hvv_harness_turn(&h, 0);
        hvv_harness_reset(&h);
        hvv_harness_start(&h);
        alive = is_alive(&sender);
    }
    sender_flood(&sender, FLOOD);
    hvv_harness_close(&h); /* the daemon may end with all of it in flight */
}

/* ---- The memory moves ------------------------------------------------------------------------ */

void group_memory(struct child *child)
{
    struct hvv_harness h;
    struct sender sender;
    tell_as("chain-finished", "memory-changed");
    for (int turns = 0; turns < 3; turns++) {
        if (!start_device(child, &h, "check"))
            return;
        sender_init(&sender, &h);
        sender_learn(&sender);
        sender_flood(&sender, FLOOD);
        for (int turn = 0; turn < turns; turn++)
            hvv_harness_turn(&h, 0);
        hvv_harness_move_memory(&h);
        sender_pump(&h, NULL, 5);
        sender_flood(&sender, FLOOD);
        sender_pump(&h, NULL, 5);
        hvv_harness_close(&h);
    }
}

/* ---- As hostile guests do -------------------------------------------------------------------- */

struct hostile {
    struct child *child;
    struct hvv_harness h;
    unsigned char *readable, *writable; /* AREA bytes, then nothing */
    unsigned char *zeroes, *sink;       /* HUGE bytes */
    struct iovec r[PIECES], w[PIECES];
    uint32_t n_r, n_w;
    uint32_t queue, segments, n_held;
    uint32_t seed;
};

static void *guarded(void)
{
    char *at = mmap(NULL, AREA + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || mprotect(at, AREA, PROT_READ | PROT_WRITE) < 0)
        abort();
    return at;
}

static void *huge(int protection)
{
    void *at = mmap(NULL, HUGE, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        abort();
    return at;
}

static uint32_t next_random(struct hostile *x)
{
    x->seed = x->seed * 1664525u + 1013904223u;
    return x->seed >> 8;
}

/* Sends what x->r and x->w say, and waits until it is done or held. */
static void send_one(struct hostile *x)
{
    if (mprotect(x->readable, AREA, PROT_READ) < 0)
        abort();
    struct hvv_harness_chain *chain =
        hvv_harness_send(&x->h, x->queue, x->r, x->n_r, x->w, x->n_w);
    if (chain) {
        hvv_harness_kick(&x->h, x->queue);
        if (!sender_pump(&x->h, chain, x->n_held < 3 ? 20 : 0))
            x->n_held++;
    } else { /* the ring is full of what the device holds */
        hvv_harness_reset(&x->h);
        hvv_harness_start(&x->h);
    }
    sender_recover(&x->h);
    if (mprotect(x->readable, AREA, PROT_READ | PROT_WRITE) < 0)
        abort();
}

/* Cuts the last `bytes` of an area into `n` pieces of about the same length. */
static uint32_t cut(struct iovec *iov, unsigned char *area, uint32_t bytes, uint32_t n)
{
    unsigned char *at = area + AREA - bytes;
    uint32_t used = 0;
    for (uint32_t i = 0; i < n && bytes > 0; i++) {
        uint32_t piece = i + 1 == n ? bytes : bytes / (n - i);
        if (piece == 0)
            continue;
        iov[used++] = (struct iovec){at, piece};
        at += piece;
        bytes -= piece;
    }
    return used;
}

/* `n`: pieces in all. */
static void plain(struct hostile *x, uint32_t readable, uint32_t writable, uint32_t n)
{
    uint32_t pieces = n < x->segments ? n : x->segments, half = pieces / 2;
    if (readable == 0 || writable == 0)
        half = readable ? pieces : 0;
    x->n_r = cut(x->r, x->readable, readable, half);
    x->n_w = cut(x->w, x->writable, writable, pieces - half);
    send_one(x);
}

static void short_ones(struct hostile *x)
{
    static const uint32_t sizes[] = {0, 1, 2, 7, 8, 15, 16, 17, 64, 4096};
    for (size_t r = 0; r < sizeof(sizes) / sizeof(sizes[0]); r++)
        for (size_t w = 0; w < sizeof(sizes) / sizeof(sizes[0]); w++)
            plain(x, sizes[r], sizes[w], 2);
}

static void one_byte_pieces(struct hostile *x)
{
    for (uint32_t bytes = 2; bytes <= PIECES / 2; bytes *= 2) {
        plain(x, bytes / 2, bytes / 2, bytes);
        plain(x, bytes, 0, bytes);
        plain(x, 0, bytes, bytes);
    }
}

static void random_ones(struct hostile *x)
{
    for (int i = 0; i < RANDOM_CHAINS; i++) {
        uint32_t readable = next_random(x) % (i % 3 ? 80 : 5000);
        uint32_t mask = i % 2 ? 0xff : 0x03; /* small numbers are more often types of requests */
        for (uint32_t at = AREA - 5000; at < AREA; at++)
            x->readable[at] = (unsigned char)(next_random(x) & mask);
        plain(x, readable, next_random(x) % 5000, 2 + next_random(x) % 20);
    }
}

static uint32_t repeat(struct iovec *iov, void *at, uint32_t n, uint32_t size)
{
    for (uint32_t i = 0; i < n; i++)
        iov[i] = (struct iovec){at, size};
    return n;
}

/* Up to 4 GiB - 1, behind a head of 16 bytes that may be a header, and in front of a last byte. */
static void huge_ones(struct hostile *x)
{
    uint32_t most = UINT32_MAX / HUGE, n = x->segments > 2 ? x->segments - 2 : 1;
    memset(x->readable, 0, AREA);
    for (uint32_t k = n < most ? n : most; k > 0; k /= 8) {
        x->n_r = cut(x->r, x->readable, 16, 1);
        x->n_w = repeat(x->w, x->sink, k, HUGE);
        send_one(x);
        x->n_r += repeat(x->r + 1, x->zeroes, k, HUGE);
        x->n_w = cut(x->w, x->writable, 1, 1);
        send_one(x);
    }
}

void group_hostile(struct child *child)
{
    static struct hostile x;
    x.child = child;
    x.seed = 20261121;
    x.readable = guarded();
    x.writable = guarded();
    x.zeroes = huge(PROT_READ);
    x.sink = huge(PROT_READ | PROT_WRITE);
    if (!start_device(child, &x.h, "check"))
        return;
    for (x.queue = 0; x.queue < x.h.n_queues && x.queue < 8; x.queue++) {
        uint32_t segments = x.h.queue[x.queue].segments;
        x.segments = segments ? segments : PIECES;
        x.n_held = 0;
        short_ones(&x);
        one_byte_pieces(&x);
        random_ones(&x);
        huge_ones(&x);
        hvv_harness_stop(&x.h);
        hvv_harness_reset(&x.h);
        hvv_harness_start(&x.h);
    }
    hvv_harness_close(&x.h);
}
