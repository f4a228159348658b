/* SPDX-License-Identifier: BSD-3-Clause */
/* ring.c - see ring.h. */
#include "ring.h"

#include <stdio.h>
#include <string.h>

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Moves the tail; returns how many bytes that nobody was given go with it. */
static uint64_t drop_to(struct ring *ring, uint64_t tail)
{
    uint64_t from = larger(ring->tail, ring->taken);
    ring->tail = tail;
    return tail > from ? tail - from : 0;
}

uint64_t ring_skip(struct ring *ring, uint64_t n)
{
    ring->head += n;
    return drop_to(ring, ring->head);
}

uint64_t ring_put(struct ring *ring, const void *bytes, size_t n)
{
    const char *from = bytes;
    uint64_t lost = 0;
    if (n > ring->size) {
        lost = ring_skip(ring, n - ring->size);
        from += n - ring->size;
        n = ring->size;
    }
    if (ring->head + n - ring->tail > ring->size)
        lost += drop_to(ring, ring->head + n - ring->size);
    uint64_t at = ring->head % ring->size;
    size_t first = ring->size - at < n ? ring->size - at : n;
    memcpy(ring->bytes + at, from, first);
    memcpy(ring->bytes, from + first, n - first);
    ring->head += n;
    return lost;
}

uint64_t ring_room(const struct ring *ring, uint64_t slowest)
{
    return ring->size - (ring->head - larger(slowest, ring->tail));
}

void cursor_start(struct cursor *cursor, const struct ring *ring, bool replay)
{
    memset(cursor, 0, sizeof(*cursor));
    cursor->pos = replay ? ring->tail : larger(ring->tail, ring->taken);
    if (ring->tail > ring->taken)
        cursor->missed = ring->tail - ring->taken;
}

void cursor_start_at_end(struct cursor *cursor, const struct ring *ring)
{
    memset(cursor, 0, sizeof(*cursor));
    cursor->pos = ring->head;
}

bool cursor_behind(const struct cursor *cursor, const struct ring *ring)
{
    return cursor->pos != ring->head || cursor->missed || cursor->mark_len;
}

/* A mark nobody has seen the start of yet can still be changed. */
static void make_mark(struct cursor *cursor)
{
    cursor->told += cursor->missed;
    cursor->missed = 0;
    cursor->mark_len = (uint32_t)snprintf(cursor->mark, sizeof(cursor->mark),
                                          "\r\n[hvisor-vhost: %llu bytes of output dropped]\r\n",
                                          (unsigned long long)cursor->told);
}

int cursor_next(struct cursor *cursor, const struct ring *ring, struct iovec iov[RING_IOVECS],
                uint64_t *missed)
{
    int n = 0;
    if (cursor->pos < ring->tail) {
        *missed += ring->tail - cursor->pos;
        cursor->missed += ring->tail - cursor->pos;
        cursor->pos = ring->tail;
    }
    if (cursor->missed && cursor->mark_done == 0)
        make_mark(cursor);
    if (cursor->mark_len)
        iov[n++] = (struct iovec){cursor->mark + cursor->mark_done,
                                  cursor->mark_len - cursor->mark_done};
    if (cursor->missed || cursor->pos == ring->head)
        return n; /* another mark has to come first, or there is nothing more */
    uint64_t at = cursor->pos % ring->size, left = ring->head - cursor->pos;
    uint64_t first = ring->size - at < left ? ring->size - at : left;
    iov[n++] = (struct iovec){ring->bytes + at, first};
    if (left > first)
        iov[n++] = (struct iovec){ring->bytes, left - first};
    return n;
}

uint64_t cursor_advance(struct cursor *cursor, struct ring *ring, size_t n)
{
    size_t of_mark = cursor->mark_len - cursor->mark_done;
    if (of_mark > n)
        of_mark = n;
    cursor->mark_done += (uint32_t)of_mark;
    if (cursor->mark_done == cursor->mark_len) {
        cursor->mark_len = cursor->mark_done = 0;
        cursor->told = 0;
    }
    cursor->pos += n - of_mark;
    if (cursor->pos > ring->taken)
        ring->taken = cursor->pos;
    return n - of_mark;
}
