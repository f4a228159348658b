/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ring.h - the last output of a port, and how far each of its readers has got. Pure; one thread.
 *
 * Positions count bytes since the port was made and never wrap. The ring holds [tail, head); a
 * cursor that falls behind the tail has missed something, and a mark in its stream says how much.
 */
#ifndef CONSOLE_RING_H
#define CONSOLE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define RING_MARK_MAX 80u /* bytes of a mark */
#define RING_IOVECS 3     /* a mark and the two parts of a ring */

struct ring {
    char *bytes; /* `size` of them, the owner's */
    uint64_t size;
    uint64_t tail, head;
    uint64_t taken; /* what is before this was given to some reader */
};

struct cursor {
    uint64_t pos;
    uint64_t missed; /* bytes no mark tells about yet */
    uint64_t told;   /* bytes the mark tells about */
    uint32_t mark_len, mark_done;
    char mark[RING_MARK_MAX];
};

/* Appends; the oldest bytes go. Returns how many went that no reader was given. */
uint64_t ring_put(struct ring *ring, const void *bytes, size_t n);

/* As if `n` bytes were appended that nobody can read: they and all before them go. */
uint64_t ring_skip(struct ring *ring, uint64_t n);

/* How much can be appended while `slowest` is still to be read. */
uint64_t ring_room(const struct ring *ring, uint64_t slowest);

/*
 * A new reader: at the oldest byte, or, without `replay`, at the first one nobody was given. What
 * went before it unread gets a mark.
 */
void cursor_start(struct cursor *cursor, const struct ring *ring, bool replay);
/* A new reader that wants only what comes from now on. */
void cursor_start_at_end(struct cursor *cursor, const struct ring *ring);

bool cursor_behind(const struct cursor *cursor, const struct ring *ring);

/*
 * What the reader gets next; returns the number of iovecs. Adds what it is found to have missed to
 * *missed. What is written of it is told by cursor_advance() before anything else happens.
 */
int cursor_next(struct cursor *cursor, const struct ring *ring, struct iovec iov[RING_IOVECS],
                uint64_t *missed);
/* `n` bytes of that were written; returns how many of them were output and no mark. */
uint64_t cursor_advance(struct cursor *cursor, struct ring *ring, size_t n);

#endif
