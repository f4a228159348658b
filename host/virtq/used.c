/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * used.c - finishes chains and shows them to the driver. Worker thread, but for virtq_complete()
 * and virtq_fail(), which post to it from elsewhere.
 *
 * Stage, then publish: each finished chain puts its used entry into the ring, out of the driver's
 * sight; virtq_flush() publishes the batch with one store of the used index and interrupts at most
 * once. With VIRTIO_F_IN_ORDER entries are put in the order chains were popped: one that finished
 * early waits for those before it (section 2.7.9).
 */
#include "virtq/virtq.h"

#include "util/container.h"

#include <stdio.h>
#include <stdlib.h>

/* The head may come again. A guest that sends a huge chain does not keep its memory for ever. */
static void set_free(struct chain *chain)
{
    if (chain->max_iov > CHAIN_KEEP_IOV) {
        free(chain->iov);
        chain->iov = chain->inline_iov;
        chain->max_iov = CHAIN_INLINE_IOV;
    }
    atomic_store_explicit(&chain->state, CHAIN_FREE, memory_order_relaxed);
}

static bool current(const struct chain *chain)
{
    return chain->generation == chain->vq->generation && !chain->vq->broken;
}

static void put_used(struct virtq *vq, struct chain *chain)
{
    vq->ops->put_used(vq, chain->head, chain->written);
    virtq_count(&vq->stats.bytes_out, chain->written);
    set_free(chain);
}

/* Puts the chain, and all behind it that waited for it alone; or lets it wait for those before it. */
static void put_in_order(struct virtq *vq, struct chain *chain)
{
    if (chain->seq != vq->seq_used) {
        atomic_store_explicit(&chain->state, CHAIN_HELD, memory_order_relaxed);
        vq->held++;
        return;
    }
    put_used(vq, chain);
    vq->seq_used++;
    while (vq->held > 0) {
        chain = vq->order[vq->seq_used & (vq->max_size - 1)];
        if (atomic_load_explicit(&chain->state, memory_order_relaxed) != CHAIN_HELD)
            return;
        put_used(vq, chain);
        vq->seq_used++;
        vq->held--;
    }
}

/* The chain is finished; worker thread. */
static void finish(struct chain *chain)
{
    struct virtq *vq = chain->vq;
    if (chain->failed) {
        virtq_break(vq, "queue %u: %s", vq->index,
                    chain->fail_text ? chain->fail_text : "a chain that makes no sense");
        free(chain->fail_text);
        chain->fail_text = NULL;
    }
    if (!current(chain)) {
        set_free(chain);
    } else if (vq->in_order) {
        put_in_order(vq, chain);
    } else {
        put_used(vq, chain);
    }
    virtq_let_go(vq, chain->epoch);
}

static void finish_task(struct hvv_task *task)
{
    finish(container_of(task, struct chain, task));
}

/*
 * Takes the chain from the plugin. False if it was finished before: a bug of the plugin. On the
 * worker without a locked exchange, for the reason in virtq_count().
 */
static bool disown(struct chain *chain, bool on_worker)
{
    unsigned state = atomic_load_explicit(&chain->state, memory_order_relaxed);
    if (state == CHAIN_OWNED && on_worker) {
        atomic_store_explicit(&chain->state, CHAIN_FINISHED, memory_order_relaxed);
        return true;
    }
    if (state == CHAIN_OWNED &&
        atomic_compare_exchange_strong_explicit(&chain->state, &state, CHAIN_FINISHED,
                                                memory_order_relaxed, memory_order_relaxed))
        return true;
    atomic_store(&chain->vq->misused, true); /* virtq_flush() breaks the queue */
    return false;
}

static void finish_here_or_there(struct chain *chain, bool on_worker)
{
    if (on_worker) {
        finish(chain);
        return;
    }
    chain->task.run = finish_task;
    loop_post(chain->vq->loop, &chain->task);
}

void virtq_complete(struct hvv_chain *pub, uint32_t written)
{
    struct chain *chain = (struct chain *)(void *)pub;
    bool on_worker = loop_is_current(chain->vq->loop);
    if (!disown(chain, on_worker))
        return;
    chain->written = written < pub->writable_bytes ? written : (uint32_t)pub->writable_bytes;
    finish_here_or_there(chain, on_worker);
}

void virtq_fail(struct hvv_chain *pub, const char *fmt, va_list args)
{
    struct chain *chain = (struct chain *)(void *)pub;
    bool on_worker = loop_is_current(chain->vq->loop);
    if (!disown(chain, on_worker))
        return;
    chain->failed = true;
    chain->written = 0;
    if (vasprintf(&chain->fail_text, fmt, args) < 0)
        chain->fail_text = NULL;
    finish_here_or_there(chain, on_worker);
}

void virtq_release(struct hvv_chain *pub)
{
    struct chain *chain = (struct chain *)(void *)pub;
    struct virtq *vq = chain->vq;
    if (!disown(chain, true))
        return;
    if (current(chain) && chain->seq != vq->seq_next - 1)
        virtq_break(vq, "queue %u: the plugin released chain %u, which is not the newest",
                    vq->index, chain->head);
    if (current(chain)) {
        vq->seq_next--;
        vq->next_avail--;
    }
    vq->drained = false; /* the plugin holds back; it pops again by itself */
    set_free(chain);
    virtq_let_go(vq, chain->epoch);
}

void virtq_flush(struct virtq *vq)
{
    if (atomic_load_explicit(&vq->misused, memory_order_relaxed))
        virtq_break(vq, "queue %u: the plugin finished a chain twice", vq->index);
    if (vq->state == VIRTQ_IDLE || !vq->used_known || vq->used_idx == vq->published_idx ||
        vq->broken)
        return;
    vq->ops->publish(vq);
    bool interrupt = vq->ops->wants_interrupt(vq);
    vq->published_idx = vq->used_idx;
    vq->interrupt_known = true;
    if (interrupt) {
        virtq_count(&vq->stats.interrupts, 1);
        vq->owner->interrupt(vq->owner_arg);
    }
}
