/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * send.c - chains for a device of which nothing is known: a few shapes are tried on each queue, and
 * the one that it takes is used from then on. Child.
 */
#include "check.h"

#define HELD_MS 20  /* nothing happens for so long: the device keeps the chain */
#define HELD_MOST 2 /* so many are kept: the others will be, too */

/* Among them: a buffer to fill, one to read, a request of a disk, a frame, a command. */
const struct shape shapes[] = {{0, 64}, {64, 0}, {16, 513}, {64, 64}, {8, 1}, {72, 0}, {0, 2048}};
const uint32_t n_shapes = sizeof(shapes) / sizeof(shapes[0]);

void sender_init(struct sender *sender, struct hvv_harness *h)
{
    sender->h = h;
    sender->readable = hvv_harness_alloc(h, BUFFER);
    sender->writable = hvv_harness_alloc(h, BUFFER);
    for (uint32_t i = 0; i < HVV_QUEUES_MAX; i++) {
        sender->shape[i] = -1;
        sender->held[i] = false;
    }
}

struct hvv_harness_chain *sender_send(struct sender *sender, uint32_t queue, struct shape shape)
{
    struct iovec readable = {sender->readable, shape.readable};
    struct iovec writable = {sender->writable, shape.writable};
    return hvv_harness_send(sender->h, queue, &readable, 1, &writable, 1);
}

bool sender_pump(struct hvv_harness *h, const struct hvv_harness_chain *chain, int idle_ms)
{
    uint64_t deadline = clock_ns() + h->patience_ms * 1000000ull;
    while (clock_ns() < deadline) {
        if (chain && hvv_harness_done(h, chain))
            return true;
        if (!hvv_harness_turn(h, idle_ms))
            break;
    }
    return chain && hvv_harness_done(h, chain);
}

void sender_recover(struct hvv_harness *h)
{
    if (!h->broken[0])
        return;
    hvv_harness_reset(h);
    hvv_harness_start(h);
}

/* Is a chain of this shape taken? One that is held is, unless there is a shape that is finished. */
static bool try_shape(struct sender *sender, uint32_t queue, uint32_t index)
{
    struct hvv_harness_chain *chain = sender_send(sender, queue, shapes[index]);
    if (!chain)
        return true;
    hvv_harness_kick(sender->h, queue);
    bool done = sender_pump(sender->h, chain, HELD_MS);
    if (!done && sender->shape[queue] < 0) {
        sender->shape[queue] = (int)index;
        sender->held[queue] = true;
    }
    if (done && !chain->failed[0]) {
        sender->shape[queue] = (int)index;
        sender->held[queue] = false;
    }
    sender_recover(sender->h);
    return done && !chain->failed[0];
}

void sender_learn(struct sender *sender)
{
    for (uint32_t queue = 0; queue < sender->h->n_queues; queue++)
        for (uint32_t i = 0; i < n_shapes; i++)
            if (try_shape(sender, queue, i) || (sender->held[queue] && i + 1 >= HELD_MOST))
                break;
}

void sender_flood(struct sender *sender, uint32_t most)
{
    for (uint32_t queue = 0; queue < sender->h->n_queues; queue++) {
        if (sender->shape[queue] < 0)
            continue;
        for (uint32_t i = 0; i < most; i++)
            if (!sender_send(sender, queue, shapes[sender->shape[queue]]))
                break;
        hvv_harness_kick(sender->h, queue);
    }
}
