/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rx.h - frames from the back-end to the guest. All on the worker of the pair.
 *
 * Either the back-end has a frame and rx_give() copies it, or it asks rx_space() where the next one
 * may go, fills that in and says with rx_filled() how long it became.
 */
#ifndef NET_RX_H
#define NET_RX_H

#include "device.h"

enum rx_result {
    RX_TAKEN, /* copied to the guest, or dropped and counted */
    RX_FULL,  /* the guest has no buffer: backend->receive() follows when it has */
};

int32_t rx_init(struct pair *pair); /* 0 or -ENOMEM */
void rx_free(struct pair *pair);
void rx_start(struct pair *pair);
void rx_stop(struct pair *pair);

/* Hands back the buffers held: guest memory changes. */
void rx_hand_back(struct pair *pair);

/*
 * Gives a frame to the guest: applies the filter, does in software what the guest cannot (checksums,
 * segments), copies. Counts what becomes of it. `*given` is 0 at first; after RX_FULL the caller
 * comes again with the same frame and the same `given` (it counts the segments that went through),
 * or calls rx_drop().
 */
enum rx_result rx_give(struct pair *pair, const struct frame *frame, uint32_t *given);

/* Counts a frame that was offered and is dropped. `reason` is a NET_RX_* counter. */
void rx_drop(struct pair *pair, enum net_counter reason);

/*
 * Room for one frame of up to `bytes` with its header in front, in the guest's buffers: `*n` iovecs,
 * valid until rx_filled() or the end of the callback. NULL if there is none: no buffers, too small
 * ones, or the link is down. backend->receive() follows when there are more; rx_give() may still
 * find room for a shorter frame.
 */
const struct iovec *rx_space(struct pair *pair, uint32_t bytes, uint32_t *n);

/*
 * The room was filled: a header of FRAME_HEADER_BYTES, nothing in it that the guest cannot take,
 * and a frame of `bytes`. The filter is applied; num_buffers is set here.
 */
void rx_filled(struct pair *pair, uint32_t bytes);

/* The largest frame that may come: what the guest's offloads and the MTU allow. */
uint32_t rx_largest(const struct net *net);

#endif
