/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop.c - a back-end that gives a guest back what it sends, on the same pair of queues: for
 * measuring, and for trying a driver out. A frame the guest has no buffer for waits in its transmit
 * queue.
 *
 * All on the worker of the pair.
 */
#include "backend.h"
#include "rx.h"
#include "tx.h"

#include <stdlib.h>

static enum send_result loop_send(struct pair *pair, const struct frame *frame,
                                  struct hvv_chain *chain)
{
    uint32_t *given = pair->backend;
    (void)chain;
    if (!pair->rx_running)
        return SEND_NO_PEER;
    if (rx_give(pair, frame, given) == RX_FULL)
        return SEND_FULL;
    *given = 0;
    return SEND_DONE;
}

static void loop_receive(struct pair *pair)
{
    tx_resume(pair);
}

/* What waited for the receive queue has nobody to go to. */
static void loop_receive_stop(struct pair *pair)
{
    *(uint32_t *)pair->backend = 0;
    tx_resume(pair);
}

static void loop_let_go(struct pair *pair)
{
    *(uint32_t *)pair->backend = 0;
}

static void loop_close(struct net *net)
{
    for (uint32_t i = 0; i < net->n_pairs; i++)
        free(net->pair[i].backend);
}

static int32_t loop_open(struct net *net)
{
    for (uint32_t i = 0; i < net->n_pairs; i++) {
        net->pair[i].backend = calloc(1, sizeof(uint32_t));
        if (!net->pair[i].backend) {
            loop_close(net);
            return hvv_error(net->dev, ENOMEM, "no memory for %u pairs of queues", net->n_pairs);
        }
    }
    net->offloads = NET_HOST_OFFLOADS | NET_GUEST_OFFLOADS;
    return 0;
}

const struct backend_ops backend_loop = {
    .name = "loop",
    .in_order = true,
    .open = loop_open,
    .close = loop_close,
    .send = loop_send,
    .let_go = loop_let_go,
    .receive = loop_receive,
    .receive_stop = loop_receive_stop,
};
