/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's side of one split virtqueue, living in guest memory.
 *
 * Knows nothing of sockets or messages: it needs memory, a function that notifies the device and
 * a file descriptor that becomes readable on an interrupt. A packed ring can be a file beside
 * this one with the same calls.
 *
 * One thread uses a ring at a time. Order kept: descriptors and the available entry are written
 * before the available index is released; used entries are read after the used index is
 * acquired; a full fence stands between an index and the suppression word that depends on it.
 * The members `desc`, `avail` and `used` are the shared memory itself, open to hostile tests.
 */
#ifndef FRONTEND_RING_H
#define FRONTEND_RING_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_ring.h>

#include "guestmem.h"

struct ring_seg {
    uint64_t gpa;
    uint32_t len;
};

struct ring_options {
    uint16_t num; /* a power of two up to 32768 */
    uint16_t indirect_max; /* entries of each indirect table; 0: direct chains only */
    bool event_idx;
    bool in_order;
};

struct ring_done {
    void *token;
    uint32_t len; /* as the device reported it */
};

struct ring_chain {
    void *token;
    uint32_t writable; /* bytes the device may write; what it reports may not be more */
    uint16_t count; /* descriptors taken from the ring; 0: not in flight */
};

struct ring {
    struct ring_options opt;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    struct vring_desc *table; /* num tables of indirect_max entries each */
    uint64_t table_gpa;

    struct ring_chain *chain; /* private: one per possible head */
    uint16_t *link; /* private free list, so that the device cannot spoil it */
    uint16_t *order; /* heads in the order they were made available */
    uint16_t free_head;
    uint16_t free_count;
    uint16_t avail_idx; /* next available index, published or not */
    uint16_t kicked_idx; /* available index at the last decision whether to kick */
    uint16_t used_idx; /* next used entry to look at */
    uint16_t batch_end; /* in order: last index covered by the entry read, plus one */
    uint32_t batch_len;
    uint16_t event; /* used event last written while disarmed */
    bool armed;

    int (*kick)(void *arg);
    void *kick_arg;
    int call_fd; /* borrowed; -1: polled only */

    uint64_t kicks;
    uint64_t calls;
    const char *error; /* what the device did wrong, once ring_reap() returned -EPROTO */
};

/* Takes its memory from one region. Returns 0 or -errno. */
int ring_init(struct ring *r, struct guestmem *mem, unsigned int region,
              const struct ring_options *opt);
void ring_free(struct ring *r);
/* Forgets everything in flight and clears the shared memory, as a driver does after a reset. */
void ring_reset(struct ring *r);
/* The most memory ring_init() takes, alignment included. */
size_t ring_memory(const struct ring_options *opt);

/* Queues one chain without telling the device. Returns 0, or -ENOSPC when it does not fit now. */
int ring_add(struct ring *r, const struct ring_seg *seg, unsigned int readable,
             unsigned int writable, void *token);
/* Makes queued chains available; does not notify. */
void ring_publish(struct ring *r);
/* Whether the device wants to hear of what was published since this was last asked. */
bool ring_kick_wanted(struct ring *r);
/* Publishes, and notifies if wanted. Returns 0 or the error of the kick function. */
int ring_submit(struct ring *r);

unsigned int ring_in_flight(const struct ring *r);
bool ring_pending(const struct ring *r);
/* Returns how many entries were taken, or -EPROTO with `error` set if the device misbehaved. */
int ring_reap(struct ring *r, struct ring_done *done, unsigned int max);

/*
 * ring_arm asks for an interrupt at the `after`-th completion from now (without event index: at
 * the next) and returns true if that many are there already, in which case none may come.
 */
bool ring_arm(struct ring *r, uint16_t after);
void ring_disarm(struct ring *r);
/* Empties the call descriptor and counts what it held. Returns the number of calls. */
unsigned int ring_drain_calls(struct ring *r);
/* Sleeps (or spins) until something can be reaped. 0, -ETIMEDOUT or another -errno. */
int ring_wait(struct ring *r, int timeout_ms);
int ring_spin(struct ring *r, int timeout_ms);

/* The suppression words and indices, as the shared memory holds them. */
uint16_t ring_shared_avail_idx(const struct ring *r);
uint16_t ring_shared_used_idx(const struct ring *r);

/* A hint to the processor that this thread is spinning. */
static inline void ring_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

#endif
