/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * null.c - a back-end for measuring everything but the network: each frame is copied out of guest
 * memory, as any network would have to, and forgotten. With `flood=SIZE` the guest gets frames of
 * that size as fast as it posts buffers.
 *
 * All on the worker of the pair.
 */
#include "backend.h"
#include "rx.h"

#include <stdlib.h>

#define CACHE_LINE 64
#define POOL_BYTES (512u << 10) /* copies go round in this, as in the buffers of a real network */
#define FLOOD_BUDGET 128u
#define FLOOD_ETHERTYPE 0x88b5u /* for local experiments (IEEE 802) */

struct null {
    uint32_t at;
    struct hvv_task more;
    bool more_posted;
    struct pair *pair;
    uint64_t sequence;
    uint32_t flood_bytes;
    struct iovec iov;
    struct frame flood;
    _Alignas(CACHE_LINE) uint8_t frame[FRAME_MAX];
    _Alignas(CACHE_LINE) uint8_t pool[POOL_BYTES];
};

static enum send_result null_send(struct pair *pair, const struct frame *frame,
                                  struct hvv_chain *chain)
{
    struct null *null = pair->backend;
    (void)chain;
    if (null->at + frame->bytes > POOL_BYTES)
        null->at = 0;
    frame_read(frame, 0, null->pool + null->at, frame->bytes);
    null->at += (frame->bytes + CACHE_LINE - 1) & ~(CACHE_LINE - 1u);
    return SEND_DONE;
}

/* ---- Flood ----------------------------------------------------------------------------------- */

static void fill(struct null *null)
{
    static const uint8_t from[FRAME_MAC_BYTES] = {0x02, 0, 0, 0, 0, 0x01};
    filter_get_mac(&null->pair->net->filter, null->frame);
    memcpy(null->frame + FRAME_MAC_BYTES, from, sizeof(from));
    null->frame[12] = FLOOD_ETHERTYPE >> 8;
    null->frame[13] = FLOOD_ETHERTYPE & 0xff;
}

/* Behind the Ethernet header of each frame is its number: a guest can see what it missed. */
static enum rx_result give(struct null *null)
{
    uint32_t given = 0;
    if (null->flood_bytes >= FRAME_MIN + sizeof(null->sequence))
        memcpy(null->frame + FRAME_MIN, &null->sequence, sizeof(null->sequence));
    return rx_give(null->pair, &null->flood, &given);
}

static void null_receive(struct pair *pair)
{
    struct null *null = pair->backend;
    if (null->flood_bytes == 0 || null->more_posted)
        return;
    fill(null);
    for (uint32_t i = 0; i < FLOOD_BUDGET; i++) {
        if (give(null) == RX_FULL)
            return;
        null->sequence++;
    }
    null->more_posted = true;
    hvv_post(pair->net->dev, pair->rx_queue, &null->more);
}

static void more(struct hvv_task *task)
{
    struct null *null = (struct null *)((char *)task - offsetof(struct null, more));
    null->more_posted = false;
    if (null->pair->rx_running)
        null_receive(null->pair);
    net_tell(null->pair);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void null_close(struct net *net)
{
    for (uint32_t i = 0; i < net->n_pairs; i++)
        free(net->pair[i].backend);
}

static int32_t null_open(struct net *net)
{
    uint64_t bytes = hvv_option_u64(net->dev, "flood");
    for (uint32_t i = 0; i < net->n_pairs; i++) {
        struct null *null = aligned_alloc(CACHE_LINE, sizeof(*null));
        if (!null) {
            null_close(net);
            return hvv_error(net->dev, ENOMEM, "no memory for %u pairs of queues", net->n_pairs);
        }
        memset(null, 0, sizeof(*null));
        null->pair = &net->pair[i];
        null->flood_bytes = (uint32_t)bytes;
        null->iov = (struct iovec){null->frame, null->flood_bytes};
        null->flood = (struct frame){.iov = &null->iov, .n_iov = 1, .bytes = null->flood_bytes};
        null->more.run = more;
        net->pair[i].backend = null;
    }
    net->offloads = NET_HOST_OFFLOADS | NET_GUEST_OFFLOADS;
    return 0;
}

const struct backend_ops backend_null = {
    .name = "null",
    .in_order = true,
    .open = null_open,
    .close = null_close,
    .send = null_send,
    .receive = null_receive,
};
