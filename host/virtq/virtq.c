/* SPDX-License-Identifier: BSD-3-Clause */
/* virtq.c - life of a virtqueue; see virtq.h. Worker thread, but for new, free and resolve. */
#include "virtq/virtq.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef VIRTIO_F_IN_ORDER
#define VIRTIO_F_IN_ORDER 35
#endif

struct chain *virtq_chain(const struct virtq *vq, uint32_t head)
{
    return (struct chain *)(void *)(vq->chains + head * vq->stride);
}

static void *align_up(char *p)
{
    return p ? p + (-(uintptr_t)p & (CHAIN_ALIGN - 1)) : NULL;
}

struct virtq *virtq_new(uint32_t index, uint32_t max_size, uint32_t segments, uint32_t chain_state,
                        struct hvv_device *dev)
{
    struct virtq *vq = calloc(1, sizeof(*vq));
    if (!vq)
        return NULL;
    vq->index = index;
    vq->max_size = max_size;
    vq->segments = segments;
    vq->dev = dev;
    vq->ops = &split_ring;
    vq->stride = (sizeof(struct chain) + chain_state + CHAIN_ALIGN - 1) & ~(CHAIN_ALIGN - 1ul);
    vq->chain_memory = calloc(1, max_size * vq->stride + CHAIN_ALIGN); /* takes none until used */
    vq->chains = align_up(vq->chain_memory);
    vq->order = calloc(max_size, sizeof(vq->order[0]));
    vq->table = malloc(VIRTQ_INDIRECT_MAX * sizeof(struct vring_desc));
    if (!vq->chains || !vq->order || !vq->table) {
        virtq_free(vq);
        return NULL;
    }
    return vq;
}

void virtq_free(struct virtq *vq)
{
    if (!vq)
        return;
    for (uint32_t i = 0; vq->chains && i < vq->max_size; i++) {
        struct chain *chain = virtq_chain(vq, i);
        if (chain->vq && chain->iov != chain->inline_iov)
            free(chain->iov);
    }
    free(vq->chain_memory);
    free(vq->order);
    free(vq->table);
    free(vq);
}

void virtq_attach(struct virtq *vq, struct loop *loop, const struct virtq_owner *owner, void *arg)
{
    vq->loop = loop;
    vq->owner = owner;
    vq->owner_arg = arg;
}

int virtq_resolve(const struct virtq *vq, const struct virtq_setup *setup,
                  const struct memory *memory, struct virtq_ring *ring, struct error *error)
{
    if (setup->size == 0 || (setup->size & (setup->size - 1)) || setup->size > vq->max_size)
        return error_set(error, EINVAL, "queue %u: size %u is not a power of two from 1 to %u",
                         vq->index, setup->size, vq->max_size);
    return split_ring.resolve(setup, memory, ring, error);
}

void virtq_start(struct virtq *vq, const struct virtq_setup *setup, const struct virtq_ring *ring,
                 struct memory *memory)
{
    vq->setup = *setup;
    vq->ring = *ring;
    vq->event_idx = (setup->features >> VIRTIO_RING_F_EVENT_IDX) & 1;
    vq->indirect = (setup->features >> VIRTIO_RING_F_INDIRECT_DESC) & 1;
    vq->in_order = (setup->features >> VIRTIO_F_IN_ORDER) & 1;
    vq->memory[vq->epoch] = memory_get(memory);
    vq->generation++; /* chains held back when the queue stopped or broke are free by this */
    vq->next_avail = vq->seen_avail = setup->next_avail;
    vq->used_known = vq->interrupt_known = false;
    vq->seq_next = vq->seq_used = vq->held = 0;
    atomic_store(&vq->misused, false);
    vq->turn = 0;
    vq->drained = true;
    vq->quiet = false;
    vq->broken = false;
    vq->state = VIRTQ_RUNNING;
}

static void become_idle(struct virtq *vq)
{
    virtq_flush(vq);
    memory_put(vq->memory[vq->epoch]);
    vq->memory[vq->epoch] = NULL;
    vq->state = VIRTQ_IDLE;
    vq->owner->idle(vq->owner_arg);
}

void virtq_stop(struct virtq *vq, bool discard)
{
    virtq_flush(vq);
    if (discard)
        vq->generation++;
    vq->state = VIRTQ_STOPPING;
    vq->settling = true;
}

void virtq_settle(struct virtq *vq)
{
    vq->settling = false;
    if (atomic_load_explicit(&vq->in_flight, memory_order_relaxed) == 0)
        become_idle(vq);
}

void virtq_last_gone(struct virtq *vq, uint8_t epoch)
{
    if (epoch != vq->epoch && vq->using[epoch] == 0) {
        memory_put(vq->memory[epoch]);
        vq->memory[epoch] = NULL;
        vq->owner->memory_done(vq->owner_arg);
    }
    if (vq->state == VIRTQ_STOPPING && !vq->settling &&
        atomic_load_explicit(&vq->in_flight, memory_order_relaxed) == 0)
        become_idle(vq);
}

void virtq_set_memory(struct virtq *vq, struct memory *memory, const struct virtq_ring *ring)
{
    uint8_t before = vq->epoch;
    vq->epoch ^= 1;
    vq->memory[vq->epoch] = memory_get(memory);
    virtq_flush(vq); /* into the ring where it was */
    vq->ring = *ring;
    if (vq->using[before] == 0) {
        memory_put(vq->memory[before]);
        vq->memory[before] = NULL;
        vq->owner->memory_done(vq->owner_arg);
    }
}

bool virtq_lost_memory(const struct virtq *vq)
{
    for (int i = 0; i < 2; i++)
        if (vq->memory[i] && memory_lost(vq->memory[i]))
            return true;
    return false;
}

void virtq_break(struct virtq *vq, const char *fmt, ...)
{
    if (vq->broken)
        return;
    vq->broken = true;
    virtq_count(&vq->stats.errors, 1);
    char text[256];
    va_list args;
    va_start(args, fmt);
    if (virtq_lost_memory(vq)) /* zeroes were read in its place, and look like a bad ring */
        snprintf(text, sizeof(text), "queue %u: guest memory was truncated", vq->index);
    else
        vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    vq->owner->broken(vq->owner_arg, text);
}
