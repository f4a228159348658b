/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chain.c - takes a chain from the ring: walks it, checks it, copies it. Worker thread.
 *
 * This is one of the six doors for untrusted input. Each descriptor is read once; all checks are on
 * the copy. A plugin sees a chain only when all of it is right:
 *   - heads, next indices and table lengths are within the ring or the table
 *   - no more descriptors than the ring has, or an indirect table may have: loops end there
 *   - readable descriptors come before writable ones (section 2.7.4.2)
 *   - an indirect descriptor is the last one, not nested, its length a multiple of 16
 *     (sections 2.7.5.3.1 and 2.7.5.3.2)
 *   - every byte is guest memory, and no part is longer than 4 GiB - 1
 * Anything else breaks the queue.
 */
#include "virtq/virtq.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN_IOV_MAX 4096u /* pieces of one chain, however many regions it crosses */
#define DESC_SIZE sizeof(struct vring_desc)

struct walk {
    struct virtq *vq;
    struct chain *chain;
    const struct memory *memory;
    uint64_t bytes[2]; /* readable, writable */
    uint32_t n_readable;
    bool writable;     /* a writable descriptor was seen */
};

/* Makes room for `more` iovecs beyond n_iov. */
static int grow(struct chain *chain, uint32_t more)
{
    uint32_t want = chain->n_iov + more;
    if (want <= chain->max_iov)
        return 0;
    if (want > CHAIN_IOV_MAX)
        return -ENOSPC;
    uint32_t max = chain->max_iov * 2 > want ? chain->max_iov * 2 : want;
    struct iovec *iov = chain->iov == chain->inline_iov ? NULL : chain->iov;
    iov = realloc(iov, max * sizeof(*iov));
    if (!iov)
        return -ENOMEM;
    if (chain->iov == chain->inline_iov)
        memcpy(iov, chain->inline_iov, chain->n_iov * sizeof(*iov));
    chain->iov = iov;
    chain->max_iov = max;
    return 0;
}

/* Adds one checked buffer. -1 after breaking the queue. */
static int add_buffer(struct walk *w, const struct ring_desc *d)
{
    struct virtq *vq = w->vq;
    struct chain *chain = w->chain;
    bool writable = d->flags & VRING_DESC_F_WRITE;
    if (!writable && w->writable) {
        virtq_break(vq, "queue %u: chain %u has a readable buffer after a writable one", vq->index,
                    chain->head);
        return -1;
    }
    w->writable = writable;
    w->bytes[writable] += d->len;
    if (w->bytes[writable] > UINT32_MAX) {
        virtq_break(vq, "queue %u: chain %u is longer than 4 GiB - 1", vq->index, chain->head);
        return -1;
    }
    int n, rc = 0;
    while ((n = memory_translate(w->memory, d->addr, d->len, chain->iov + chain->n_iov,
                                 chain->max_iov - chain->n_iov)) == -ENOSPC &&
           rc == 0)
        rc = grow(chain, chain->max_iov - chain->n_iov + 1);
    if (rc < 0) {
        virtq_break(vq, "queue %u: chain %u is in more than %u pieces, or out of memory", vq->index,
                    chain->head, CHAIN_IOV_MAX);
        return -1;
    }
    if (n < 0) {
        virtq_break(vq, "queue %u: buffer at 0x%" PRIx64 " of %u bytes is not guest memory",
                    vq->index, d->addr, d->len);
        return -1;
    }
    chain->n_iov += (uint32_t)n;
    if (!writable)
        w->n_readable = chain->n_iov;
    return 0;
}

/* Copies the indirect table that `d` describes to vq->table. Its length in entries, or 0. */
static uint32_t copy_table(struct walk *w, const struct ring_desc *d)
{
    struct virtq *vq = w->vq;
    uint32_t limit = vq->setup.size > vq->segments ? vq->setup.size : vq->segments;
    if (limit > VIRTQ_INDIRECT_MAX)
        limit = VIRTQ_INDIRECT_MAX;
    uint32_t n = d->len / DESC_SIZE;
    if (d->len % DESC_SIZE || n == 0 || n > limit) {
        virtq_break(vq, "queue %u: indirect table of %u bytes is not 1 to %u entries of 16 bytes",
                    vq->index, d->len, limit);
        return 0;
    }
    struct iovec iov[MEMORY_REGIONS_MAX];
    int pieces = memory_translate(w->memory, d->addr, d->len, iov, MEMORY_REGIONS_MAX);
    if (pieces < 0) {
        virtq_break(vq, "queue %u: indirect table at 0x%" PRIx64 " of %u bytes is not guest memory",
                    vq->index, d->addr, d->len);
        return 0;
    }
    char *to = vq->table;
    for (int i = 0; i < pieces; to += iov[i].iov_len, i++)
        memcpy(to, iov[i].iov_base, iov[i].iov_len);
    atomic_signal_fence(memory_order_seq_cst); /* what follows uses the copy, not the guest's */
    return n;
}

/* An indirect table follows `next` links like a ring (section 2.7.5.3). */
static int walk_table(struct walk *w, const struct ring_desc *d)
{
    struct virtq *vq = w->vq;
    uint32_t n = copy_table(w, d);
    if (n == 0)
        return -1;
    const struct vring_desc *table = vq->table;
    uint32_t i = 0;
    for (uint32_t count = 0; count < n; count++) {
        struct ring_desc entry = {table[i].addr, table[i].len, table[i].flags, table[i].next};
        if (entry.flags & VRING_DESC_F_INDIRECT) {
            virtq_break(vq, "queue %u: indirect table inside an indirect table", vq->index);
            return -1;
        }
        if (add_buffer(w, &entry) < 0)
            return -1;
        if (!(entry.flags & VRING_DESC_F_NEXT))
            return 0;
        if (entry.next >= n) {
            virtq_break(vq, "queue %u: next %u is outside an indirect table of %u", vq->index,
                        entry.next, n);
            return -1;
        }
        i = entry.next;
    }
    virtq_break(vq, "queue %u: indirect table of %u entries has a loop", vq->index, n);
    return -1;
}

static int walk_indirect(struct walk *w, const struct ring_desc *d)
{
    struct virtq *vq = w->vq;
    if (!vq->indirect) {
        virtq_break(vq, "queue %u: indirect descriptor, but VIRTIO_F_INDIRECT_DESC was not "
                    "negotiated", vq->index);
        return -1;
    }
    if (d->flags & VRING_DESC_F_NEXT) {
        virtq_break(vq, "queue %u: indirect descriptor with a next one", vq->index);
        return -1;
    }
    return walk_table(w, d);
}

/* Walks the ring from `head`. 0, or -1 after breaking the queue. */
static int walk_ring(struct walk *w, uint32_t head)
{
    struct virtq *vq = w->vq;
    uint32_t size = vq->setup.size;
    uint32_t i = head;
    for (uint32_t count = 0; count < size; count++) {
        struct ring_desc d = vq->ops->desc(vq, i);
        if (d.flags & VRING_DESC_F_INDIRECT)
            return walk_indirect(w, &d);
        if (add_buffer(w, &d) < 0)
            return -1;
        if (!(d.flags & VRING_DESC_F_NEXT))
            return 0;
        if (d.next >= size) {
            virtq_break(vq, "queue %u: next %u is outside a ring of %u", vq->index, d.next, size);
            return -1;
        }
        i = d.next;
    }
    virtq_break(vq, "queue %u: chain %u has more than %u descriptors, or a loop", vq->index, head,
                size);
    return -1;
}

static void take(struct virtq *vq, struct chain *chain, const struct walk *w)
{
    chain->pub.readable = chain->iov;
    chain->pub.n_readable = w->n_readable;
    chain->pub.writable = chain->iov + w->n_readable;
    chain->pub.n_writable = chain->n_iov - w->n_readable;
    chain->pub.readable_bytes = w->bytes[0];
    chain->pub.writable_bytes = w->bytes[1];
    chain->epoch = vq->epoch;
    chain->generation = vq->generation;
    chain->seq = vq->seq_next++;
    chain->failed = false;
    if (vq->in_order)
        vq->order[chain->seq & (vq->max_size - 1)] = chain;
    atomic_store_explicit(&chain->state, CHAIN_OWNED, memory_order_relaxed);
    vq->next_avail++;
    if (w->bytes[0])
        virtq_count(&vq->stats.bytes_in, w->bytes[0]);
}

static void init_chain(struct virtq *vq, struct chain *chain, uint32_t head)
{
    chain->pub.size = sizeof(chain->pub);
    chain->pub.queue = vq->index;
    chain->pub.dev = vq->dev;
    chain->pub.state = chain + 1;
    chain->vq = vq;
    chain->head = (uint16_t)head;
    chain->iov = chain->inline_iov;
    chain->max_iov = CHAIN_INLINE_IOV;
}

/* A chain of an older generation is free: a queue starts only when none is in flight. */
static bool in_use(const struct virtq *vq, const struct chain *chain)
{
    return chain->generation == vq->generation &&
           atomic_load_explicit(&chain->state, memory_order_relaxed) != CHAIN_FREE;
}

static struct chain *pop_one(struct virtq *vq)
{
    uint32_t head = vq->ops->head(vq);
    if (head >= vq->setup.size) {
        virtq_break(vq, "queue %u: head %u is outside a ring of %u", vq->index, head,
                    vq->setup.size);
        return NULL;
    }
    struct chain *chain = virtq_chain(vq, head);
    if (!chain->vq)
        init_chain(vq, chain, head);
    if (in_use(vq, chain)) {
        virtq_break(vq, "queue %u: chain %u was made available again before it was used",
                    vq->index, head);
        return NULL;
    }
    struct walk w = {.vq = vq, .chain = chain, .memory = vq->memory[vq->epoch]};
    chain->n_iov = 0;
    if (walk_ring(&w, head) < 0)
        return NULL;
    take(vq, chain, &w);
    return chain;
}

uint32_t virtq_pop(struct virtq *vq, struct hvv_chain **chains, uint32_t max)
{
    if (vq->state != VIRTQ_RUNNING || vq->broken)
        return 0;
    uint32_t budget = VIRTQ_TURN - vq->turn;
    uint32_t want = max < budget ? max : budget;
    int available = vq->ops->available(vq);
    if (available > 0 && !vq->used_known) {
        /* Not before: a driver may clear its ring between announcing and first using it. */
        vq->ops->read_used(vq);
        vq->published_idx = vq->used_idx;
        vq->used_known = true;
    }
    uint32_t n = 0;
    while (n < want && (int)n < available) {
        struct chain *chain = pop_one(vq);
        if (!chain)
            break;
        chains[n++] = &chain->pub;
    }
    virtq_add_in_flight(&vq->in_flight, (int32_t)n);
    virtq_count(&vq->stats.chains, n);
    vq->using[vq->epoch] += n;
    vq->turn += n;
    vq->drained = n < max;
    return n;
}
