/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tx.h - frames from the guest to the back-end. All on the worker of the pair.
 *
 * When the back-end is full nothing more is taken: frames wait in the guest's ring. A turn ends
 * after a number of frames and bytes, so that one guest that floods leaves others their turn.
 */
#ifndef NET_TX_H
#define NET_TX_H

#include "device.h"

void tx_init(struct pair *pair);
void tx_start(struct pair *pair);
void tx_stop(struct pair *pair);

/* Takes frames until there are no more, the budget is used up or the back-end is full. */
void tx_run(struct pair *pair);

/* The back-end can take frames again. Fine at any time. */
void tx_resume(struct pair *pair);

#endif
