/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chains.c - queues and chains: the guest puts chains in, the plugin pops and finishes them.
 *
 * A chain is in the ring (on the queue's list), or popped, or done. Each sent chain has memory of
 * its own until the end, so that finishing it twice is seen and not a crash.
 */
#include "own.h"

#include <stdio.h>
#include <stdlib.h>

#define DEVICE_BITS (((1ull << 24) - 1) | ~((1ull << 50) - 1))

static struct hvv_harness_chain *chain_of(struct hvv_chain *chain)
{
    return (struct hvv_harness_chain *)(void *)chain;
}

static size_t state_size(const struct hvv_harness *h)
{
    return ((size_t)h->plugin->chain_state_size + 15) / 16 * 16;
}

/* A service that describes the device, which is over when create() returns. */
static bool creating(struct hvv_harness *h, const char *service)
{
    if (h->own->phase == HVVH_CREATING && pthread_equal(pthread_self(), h->own->thread))
        return true;
    hvvh_violation(h, "create-only", "hvv_%s() outside create()", service);
    return false;
}

/* ---- Services: describing the device --------------------------------------------------------- */

static void set_features(struct hvv_device *dev, uint64_t features, uint32_t flags)
{
    struct hvv_harness *h = hvvh_of(dev);
    if (!creating(h, "set_features"))
        return;
    if (features & ~DEVICE_BITS)
        hvvh_violation(h, "features", "feature bits 0x%llx are the host's, not the device's",
                       (unsigned long long)(features & ~DEVICE_BITS));
    h->offered = features & DEVICE_BITS;
    h->flags = flags;
}

static uint64_t features(struct hvv_device *dev)
{
    struct hvv_harness *h = hvvh_of(dev);
    return h->taken & h->offered;
}

static void queue_new(struct hvv_harness *h, uint32_t index, uint32_t size, uint32_t worker)
{
    struct hvvh_queue *queue = &h->own->queue[index];
    queue->end = &queue->first;
    queue->size = size;
    queue->worker = worker;
    queue->states = aligned_alloc(16, state_size(h) * size + 16);
    queue->free_states = malloc(size * sizeof(*queue->free_states));
    queue->counters = calloc(h->plugin->n_counters + 1, sizeof(*queue->counters));
    if (!queue->states || !queue->free_states || !queue->counters)
        hvvh_misuse("out of memory");
    memset(queue->states, 0, state_size(h) * size);
    for (uint32_t i = 0; i < size; i++)
        queue->free_states[queue->n_free++] = size - 1 - i;
}

static int32_t add_queues(struct hvv_device *dev, uint32_t count, uint32_t size, uint32_t segments,
                          uint32_t flags)
{
    struct hvv_harness *h = hvvh_of(dev);
    if (!creating(h, "add_queues"))
        return -EINVAL;
    if (hvvh_fails(h, HVV_HARNESS_ADD_QUEUES))
        return -ENOMEM;
    if (count == 0 || count > HVV_QUEUES_MAX - h->n_queues || size == 0 ||
        size > HVV_QUEUE_SIZE_MAX || (size & (size - 1)) || segments > HVV_SEGMENTS_MAX)
        return -EINVAL;
    uint32_t first = h->n_queues;
    bool apart = h->plugin->threads == HVV_SERIAL_QUEUE;
    for (uint32_t i = first; i < first + count; i++) {
        uint32_t worker = !apart ? 0 : flags & HVV_QUEUES_TOGETHER ? first : i;
        queue_new(h, i, size, worker);
        h->queue[i] = (struct hvv_harness_queue){size, segments, flags};
        h->n_queues++;
    }
    return (int32_t)first;
}

static int32_t config_set(struct hvv_device *dev, uint32_t offset, const void *data, uint32_t size,
                          uint32_t flags)
{
    struct hvv_harness *h = hvvh_of(dev);
    if (hvvh_fails(h, HVV_HARNESS_CONFIG_SET))
        return -EINVAL;
    hvvh_lock(h);
    bool grows = h->own->phase == HVVH_CREATING;
    uint64_t end = (uint64_t)offset + size;
    bool fits = end <= (grows ? HVV_CONFIG_MAX : h->config_size);
    if (fits) {
        memcpy(h->config + offset, data, size);
        h->config_size = end > h->config_size ? (uint32_t)end : h->config_size;
        h->config_notified += !grows && flags & HVV_CONFIG_NOTIFY ? 1 : 0;
    }
    hvvh_unlock(h);
    return fits ? 0 : -EINVAL;
}

/* ---- Services: chains ------------------------------------------------------------------------ */

static void translate(struct hvv_harness *h, struct hvv_harness_chain *chain)
{
    uint32_t n = chain->chain.n_readable + chain->chain.n_writable;
    for (uint32_t i = 0; i < n; i++) {
        chain->seen[i].iov_base = hvvh_translate(h, chain->sent[i].iov_base);
        chain->seen[i].iov_len = chain->sent[i].iov_len;
    }
    chain->chain.readable = chain->seen;
    chain->chain.writable = chain->seen + chain->chain.n_readable;
}

static struct hvv_harness_chain *take_first(struct hvv_harness *h, struct hvvh_queue *queue)
{
    struct hvv_harness_chain *chain = queue->first;
    queue->first = chain->next;
    if (!queue->first)
        queue->end = &queue->first;
    chain->popped = ++queue->popped;
    chain->old = false;
    translate(h, chain);
    hvvh_lock(h);
    chain->state = queue->free_states[--queue->n_free];
    chain->chain.state = queue->states + chain->state * state_size(h);
    h->in_flight++;
    hvvh_unlock(h);
    return chain;
}

static bool is_broken(struct hvv_harness *h)
{
    hvvh_lock(h);
    bool broken = h->broken[0] && !h->forgiving;
    hvvh_unlock(h);
    return broken;
}

static uint32_t pop(struct hvv_device *dev, uint32_t index, struct hvv_chain **chains, uint32_t max)
{
    struct hvv_harness *h = hvvh_of(dev);
    if (index >= h->n_queues) {
        hvvh_violation(h, "queue", "hvv_pop() on queue %u: there are %u", index, h->n_queues);
        return 0;
    }
    hvvh_check_worker(h, "pop", index, false, false);
    struct hvvh_queue *queue = &h->own->queue[index];
    if (!queue->running || is_broken(h))
        return 0;
    uint32_t n = 0;
    if (!hvvh_fails(h, HVV_HARNESS_POP))
        while (n < max && queue->first)
            chains[n++] = &take_first(h, queue)->chain;
    queue->armed = queue->armed || n < max;
    return n;
}

/* The chain is the plugin's no more. Under the lock. */
static void let_go(struct hvv_harness *h, struct hvv_harness_chain *chain)
{
    struct hvvh_queue *queue = &h->own->queue[chain->chain.queue];
    queue->free_states[queue->n_free++] = chain->state;
    chain->chain.state = NULL;
    chain->chain.readable = chain->chain.writable = NULL; /* a use afterwards is seen at once */
    h->in_flight--;
    h->own->epoch_in_flight -= chain->old;
    hvvh_wake(h);
}

/* Why it cannot be finished or released, or NULL. Under the lock. */
static const char *not_popped(const struct hvv_harness_chain *chain)
{
    return chain->done ? "was finished before" : chain->popped == 0 ? "was released before" : NULL;
}

static void finish(struct hvv_chain *pub, uint32_t written, const char *failed, const char *service)
{
    struct hvv_harness *h = hvvh_of(pub->dev);
    struct hvv_harness_chain *chain = chain_of(pub);
    hvvh_lock(h);
    const char *why = not_popped(chain);
    bool too_long = written > pub->writable_bytes;
    if (!why) {
        chain->written = written;
        chain->done = true;
        chain->order = ++h->own->n_finished;
        if (failed)
            snprintf(chain->failed, sizeof(chain->failed), "%s", failed);
        h->own->queue[pub->queue].n_ring--;
        let_go(h, chain);
    }
    hvvh_unlock(h);
    if (why)
        hvvh_violation(h, "chain-twice", "hvv_%s() on a chain of queue %u that %s", service,
                       pub->queue, why);
    else if (too_long)
        hvvh_violation(h, "chain-written", "hvv_complete() with %u bytes written: %llu are "
                       "writable", written, (unsigned long long)pub->writable_bytes);
}

static void complete(struct hvv_chain *chain, uint32_t written)
{
    finish(chain, written, NULL, "complete");
}

HVV_PRINTF(2, 0)
static void broken(struct hvv_device *dev, const char *fmt, va_list args)
{
    struct hvv_harness *h = hvvh_of(dev);
    hvvh_lock(h);
    if (!h->broken[0])
        vsnprintf(h->broken, sizeof(h->broken), fmt, args);
    hvvh_unlock(h);
}

HVV_PRINTF(2, 0)
static void fail(struct hvv_chain *chain, const char *fmt, va_list args)
{
    char text[HVV_HARNESS_TEXT];
    vsnprintf(text, sizeof(text), fmt, args);
    struct hvv_harness *h = hvvh_of(chain->dev);
    hvvh_lock(h);
    if (!h->broken[0])
        memcpy(h->broken, text, sizeof(text));
    hvvh_unlock(h);
    finish(chain, 0, text, "fail");
}

static void release(struct hvv_chain *pub)
{
    struct hvv_harness *h = hvvh_of(pub->dev);
    struct hvv_harness_chain *chain = chain_of(pub);
    struct hvvh_queue *queue = &h->own->queue[pub->queue];
    hvvh_check_worker(h, "release", pub->queue, false, false);
    hvvh_lock(h);
    const char *why = not_popped(chain);
    hvvh_unlock(h);
    if (why) {
        hvvh_violation(h, "chain-twice", "hvv_release() on a chain of queue %u that %s", pub->queue,
                       why);
        return;
    }
    if (chain->popped != queue->popped)
        hvvh_violation(h, "release-order", "hvv_release() on a chain of queue %u that is not the "
                       "newest popped", pub->queue);
    queue->popped--;
    queue->armed = false;
    chain->next = queue->first;
    if (!queue->first)
        queue->end = &chain->next;
    queue->first = chain;
    hvvh_lock(h);
    chain->popped = 0;
    let_go(h, chain);
    chain->old = false;
    hvvh_unlock(h);
}

void hvvh_services_chains(struct hvv_host *host)
{
    host->set_features = set_features;
    host->features = features;
    host->add_queues = add_queues;
    host->config_set = config_set;
    host->pop = pop;
    host->complete = complete;
    host->fail = fail;
    host->release = release;
    host->broken = broken;
}

/* ---- Queues ---------------------------------------------------------------------------------- */

void hvvh_queue_begin(struct hvv_harness *h, uint32_t index)
{
    struct hvvh_queue *queue = &h->own->queue[index];
    queue->running = true;
    queue->armed = true;
    struct hvvh_entry entry = hvvh_enter(h, "queue_start", index);
    if (h->plugin->ops->queue_start)
        h->plugin->ops->queue_start(&h->dev, index);
    hvvh_leave(h, entry);
}

/* After a reset the driver has forgotten what it put there. */
static void empty_ring(struct hvvh_queue *queue)
{
    for (struct hvv_harness_chain *chain = queue->first; chain; chain = chain->next) {
        chain->done = true;
        chain->discarded = true;
        queue->n_ring--;
    }
    queue->first = NULL;
    queue->end = &queue->first;
}

static void discard_in_flight(struct hvv_harness *h, uint32_t queue)
{
    hvvh_lock(h);
    for (struct hvv_harness_chain *chain = h->own->all; chain; chain = chain->next_all)
        chain->discarded = chain->discarded || (chain->chain.queue == queue && !chain->done);
    hvvh_unlock(h);
}

void hvvh_queue_end(struct hvv_harness *h, uint32_t index, uint32_t flags)
{
    struct hvvh_queue *queue = &h->own->queue[index];
    if (queue->running) {
        queue->running = false;
        if (flags & HVV_STOP_DISCARD)
            discard_in_flight(h, index);
        struct hvvh_entry entry = hvvh_enter(h, "queue_stop", index);
        if (h->plugin->ops->queue_stop)
            h->plugin->ops->queue_stop(&h->dev, index, flags);
        hvvh_leave(h, entry);
    }
    if (flags & HVV_STOP_DISCARD) {
        hvvh_drain(h); /* what is released goes back to the ring first */
        empty_ring(queue);
    }
}

static bool in_flight(struct hvv_harness *h)
{
    hvvh_lock(h);
    bool some = false;
    for (uint32_t i = 0; i < h->n_queues && !some; i++)
        some = !h->own->queue[i].running &&
               h->own->queue[i].n_free < h->own->queue[i].size;
    hvvh_unlock(h);
    return some;
}

/* Chains of queues that are stopped. */
bool hvvh_drain(struct hvv_harness *h)
{
    uint64_t deadline = hvvh_clock() + h->patience_ms * 1000000ull;
    while (in_flight(h) && hvvh_clock() < deadline)
        if (!hvv_harness_turn(h, 0) && !hvvh_advance_to_next(h))
            hvv_harness_turn(h, 100);
    if (!in_flight(h))
        return true;
    hvvh_violation(h, "chain-never", "%u chains are not finished %u ms after queue_stop()",
                   h->in_flight, h->patience_ms);
    return false;
}

void hvvh_chains_free(struct hvv_harness *h)
{
    while (h->own->all) {
        struct hvv_harness_chain *next = h->own->all->next_all;
        free(h->own->all->sent);
        free(h->own->all);
        h->own->all = next;
    }
    for (uint32_t i = 0; i < h->n_queues; i++) {
        free(h->own->queue[i].states);
        free(h->own->queue[i].free_states);
        free(h->own->queue[i].counters);
    }
}

/* ---- For tests ------------------------------------------------------------------------------- */

/* Copies those that are not empty. Returns how many. */
static uint32_t copy_iov(struct iovec *to, const struct iovec *from, uint32_t n)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++)
        if (from[i].iov_len)
            to[k++] = from[i];
    return k;
}

struct hvv_harness_chain *hvv_harness_send(struct hvv_harness *h, uint32_t index,
                                           const struct iovec *readable, uint32_t n_readable,
                                           const struct iovec *writable, uint32_t n_writable)
{
    if (!h->own || index >= h->n_queues)
        hvvh_misuse("hvv_harness_send() on queue %u: there are %u", index, h->n_queues);
    struct hvvh_queue *queue = &h->own->queue[index];
    hvvh_lock(h);
    bool full = queue->n_ring == queue->size;
    queue->n_ring += !full;
    hvvh_unlock(h);
    if (full)
        return NULL;
    struct hvv_harness_chain *chain = calloc(1, sizeof(*chain));
    struct iovec *iov = calloc(2 * ((size_t)n_readable + n_writable) + 1, sizeof(*iov));
    if (!chain || !iov)
        hvvh_misuse("out of memory");
    struct hvv_chain *pub = &chain->chain;
    pub->size = sizeof(*pub);
    pub->queue = index;
    pub->dev = &h->dev;
    pub->n_readable = copy_iov(iov, readable, n_readable);
    pub->n_writable = copy_iov(iov + pub->n_readable, writable, n_writable);
    pub->readable_bytes = hvv_iov_bytes(iov, pub->n_readable);
    pub->writable_bytes = hvv_iov_bytes(iov + pub->n_readable, pub->n_writable);
    if (pub->readable_bytes > UINT32_MAX || pub->writable_bytes > UINT32_MAX)
        hvvh_misuse("hvv_harness_send(): a chain is longer than 4 GiB - 1");
    chain->sent = iov;
    chain->seen = iov + pub->n_readable + pub->n_writable;
    chain->next_all = h->own->all;
    h->own->all = chain;
    *queue->end = chain;
    queue->end = &chain->next;
    return chain;
}

void hvv_harness_forget(struct hvv_harness *h, struct hvv_harness_chain *chain)
{
    if (!hvv_harness_done(h, chain))
        hvvh_misuse("hvv_harness_forget() on a chain that is not done");
    struct hvv_harness_chain **at = &h->own->all;
    while (*at != chain)
        at = &(*at)->next_all;
    *at = chain->next_all;
    free(chain->sent);
    free(chain);
}

void hvv_harness_kick(struct hvv_harness *h, uint32_t index)
{
    if (!h->own || index >= h->n_queues)
        hvvh_misuse("hvv_harness_kick() on queue %u: there are %u", index, h->n_queues);
    struct hvvh_queue *queue = &h->own->queue[index];
    if (!queue->running || !queue->armed || !queue->first || is_broken(h))
        return;
    queue->armed = false;
    struct hvvh_entry entry = hvvh_enter(h, "notify", index);
    h->plugin->ops->notify(&h->dev, index);
    hvvh_leave(h, entry);
}

bool hvv_harness_done(struct hvv_harness *h, const struct hvv_harness_chain *chain)
{
    hvvh_lock(h);
    bool done = chain->done;
    hvvh_unlock(h);
    return done;
}

struct waiting {
    struct hvv_harness *h;
    const struct hvv_harness_chain *chain;
};

static bool chain_done(void *arg)
{
    const struct waiting *waiting = arg;
    return hvv_harness_done(waiting->h, waiting->chain);
}

bool hvv_harness_wait(struct hvv_harness *h, const struct hvv_harness_chain *chain)
{
    struct waiting waiting = {h, chain};
    return chain && hvv_harness_run_until(h, chain_done, &waiting);
}

int64_t hvv_harness_request(struct hvv_harness *h, uint32_t queue, const void *readable,
                            size_t n_readable, void *writable, size_t n_writable)
{
    struct iovec r = {(void *)(uintptr_t)readable, n_readable}, w = {writable, n_writable};
    struct hvv_harness_chain *chain = hvv_harness_send(h, queue, &r, 1, &w, 1);
    if (!chain)
        return -ENOSPC;
    hvv_harness_kick(h, queue);
    if (!hvv_harness_wait(h, chain))
        return -ETIMEDOUT;
    return chain->failed[0] ? -EPROTO : (int64_t)chain->written;
}

void hvv_harness_config_write(struct hvv_harness *h, uint32_t offset, const void *data,
                              uint32_t size)
{
    if (offset > h->config_size || size > h->config_size - offset)
        hvvh_misuse("%u bytes at %u of the config space: it has %u", size, offset, h->config_size);
    struct hvvh_entry entry = hvvh_enter(h, "config_write", 0);
    if (h->plugin->ops->config_write)
        h->plugin->ops->config_write(&h->dev, offset, data, size);
    hvvh_leave(h, entry);
}
