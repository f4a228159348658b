/* SPDX-License-Identifier: BSD-3-Clause */
/* tx.c - see tx.h. */
#include "tx.h"

#include "backend.h"
#include "header.h"

#define BATCH 32u
#define CACHE_LINE 64u
#define FETCH_BYTES 2048u /* what is fetched ahead of one frame: longer ones hide the wait */
#define BUDGET_BYTES (1u << 20) /* of a turn; the engine has a budget of chains */

/* Which counter stands for what the back-end answered. */
static enum net_counter counter_of(enum send_result result)
{
    switch (result) {
    case SEND_NO_PEER: return NET_TX_NO_PEER;
    case SEND_PEER_FULL: return NET_TX_PEER_FULL;
    case SEND_REFUSED: return NET_TX_REFUSED;
    default: return NET_SENT;
    }
}

static void drop(struct pair *pair, struct hvv_chain *chain, enum net_counter reason)
{
    net_count(pair, NET_TX_FRAMES, 1);
    net_count(pair, reason, 1);
    hvv_complete(chain, 0);
}

/*
 * Makes a frame of a chain: the header is copied once and checked. False if the chain is finished
 * already: the frame was dropped, or the device is broken.
 */
static bool make_frame(struct pair *pair, struct hvv_chain *chain, struct frame *frame)
{
    if (chain->readable_bytes < FRAME_HEADER_BYTES) {
        hvv_fail(chain, "a frame to send has %llu bytes, fewer than its header of %u",
                 (unsigned long long)chain->readable_bytes, FRAME_HEADER_BYTES);
        return false;
    }
    uint64_t bytes = chain->readable_bytes - FRAME_HEADER_BYTES;
    if (bytes < FRAME_MIN || bytes > FRAME_MAX) {
        drop(pair, chain, NET_TX_BAD_LENGTH);
        return false;
    }
    frame->iov = chain->readable;
    frame->n_iov = chain->n_readable;
    frame->offset = FRAME_HEADER_BYTES;
    frame->bytes = (uint32_t)bytes;
    hvv_iov_read(chain->readable, chain->n_readable, 0, &frame->header, FRAME_HEADER_BYTES);
    if (header_check(&frame->header, frame->bytes, pair->host_offloads)) {
        drop(pair, chain, NET_TX_BAD_HEADER);
        return false;
    }
    if (!atomic_load_explicit(&pair->net->link, memory_order_relaxed)) {
        drop(pair, chain, NET_TX_LINK_DOWN);
        return false;
    }
    return true;
}

/* False if the back-end is full: the chain is still ours. */
static bool send_one(struct pair *pair, struct hvv_chain *chain)
{
    struct frame frame;
    if (!make_frame(pair, chain, &frame))
        return true;
    if (!pair->captured) /* before: a chain that the back-end keeps may be gone afterwards */
        net_capture(pair, &frame);
    enum send_result result = pair->net->backend->send(pair, &frame, chain);
    pair->captured = result == SEND_FULL;
    if (result == SEND_FULL)
        return false;
    net_count(pair, NET_TX_FRAMES, 1);
    net_count(pair, counter_of(result), 1);
    if (result == SEND_DONE || result == SEND_KEPT)
        net_count(pair, NET_SENT_BYTES, frame.bytes);
    if (result != SEND_KEPT)
        hvv_complete(chain, 0);
    return true;
}

/*
 * The driver's CPU has written the frames, and they are in its cache. The starts of all of a batch
 * are asked for before the first is needed, and the rest of each frame while the one before it is
 * copied. Returns the bytes of the chain.
 */
static uint64_t fetch_start(const struct hvv_chain *chain)
{
    if (chain->n_readable > 0)
        __builtin_prefetch(chain->readable[0].iov_base);
    if (chain->n_readable > 1) /* some drivers have the header in a buffer of its own */
        __builtin_prefetch(chain->readable[1].iov_base);
    return chain->readable_bytes;
}

static void fetch_rest(const struct hvv_chain *chain)
{
    if (chain->n_readable == 0)
        return;
    const struct iovec *last = &chain->readable[chain->n_readable - 1];
    size_t bytes = last->iov_len < FETCH_BYTES ? last->iov_len : FETCH_BYTES;
    for (size_t at = CACHE_LINE; at < bytes; at += CACHE_LINE)
        __builtin_prefetch((const char *)last->iov_base + at);
}

/* Sends a batch of chains. False if the back-end is full; what is left is back in the ring. */
static bool send_batch(struct pair *pair, struct hvv_chain **chains, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (i + 1 < n)
            fetch_rest(chains[i + 1]);
        if (send_one(pair, chains[i]))
            continue;
        while (n > i)
            hvv_release(chains[--n]);
        return false;
    }
    return true;
}

static void go_on_later(struct pair *pair)
{
    if (pair->more_posted)
        return;
    pair->more_posted = true;
    hvv_post(pair->net->dev, pair->tx_queue, &pair->more);
}

void tx_run(struct pair *pair)
{
    const struct backend_ops *backend = pair->net->backend;
    struct hvv_chain *chains[BATCH];
    uint64_t bytes = 0;
    uint32_t n = BATCH;
    while (n == BATCH && !pair->blocked && bytes < BUDGET_BYTES) {
        n = hvv_pop(pair->net->dev, pair->tx_queue, chains, BATCH);
        for (uint32_t i = 0; i < n; i++)
            bytes += fetch_start(chains[i]);
        pair->blocked = !send_batch(pair, chains, n);
    }
    if (backend->flush)
        backend->flush(pair);
    net_tell(pair);
    if (n == BATCH && !pair->blocked)
        go_on_later(pair);
}

static void run_more(struct hvv_task *task)
{
    struct pair *pair = (struct pair *)((char *)task - offsetof(struct pair, more));
    pair->more_posted = false;
    if (pair->tx_running && !pair->blocked)
        tx_run(pair);
}

void tx_resume(struct pair *pair)
{
    if (!pair->blocked)
        return;
    pair->blocked = false;
    if (pair->tx_running)
        go_on_later(pair);
}

void tx_init(struct pair *pair)
{
    pair->more.run = run_more;
}

void tx_start(struct pair *pair)
{
    pair->host_offloads = hvv_features(pair->net->dev) & NET_HOST_OFFLOADS;
    pair->blocked = false;
    pair->captured = false;
    pair->tx_running = true;
}

void tx_stop(struct pair *pair)
{
    pair->tx_running = false;
    if (pair->net->backend->let_go)
        pair->net->backend->let_go(pair);
}
