/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow.h - a number that is the same for all frames of one flow (addresses and ports of both ends),
 * to choose one of a guest's pairs of queues by. Pure.
 */
#ifndef NET_FLOW_H
#define NET_FLOW_H

#include "frame.h"

uint32_t flow_hash(const struct frame *frame);

#endif
