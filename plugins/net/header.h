/* SPDX-License-Identifier: BSD-3-Clause */
/* header.h - the header in front of each frame from a guest: nothing in it is believed. Pure. */
#ifndef NET_HEADER_H
#define NET_HEADER_H

#include "frame.h"

/*
 * Checks a header of the driver against the frame's length and what was negotiated (`offloads`, bits
 * of NET_HOST_OFFLOADS), and puts what may be passed on in its place: no unknown flags, hdr_len
 * within the frame. NULL if it is right, else what is wrong with it. The checks: virtio 1.2, section
 * 5.1.6.2.1.
 */
const char *header_check(struct virtio_net_hdr_v1 *header, uint32_t bytes, uint64_t offloads);

/*
 * The bits of NET_GUEST_OFFLOADS a guest must have taken to be given a frame with this header; 0 for
 * one that anybody understands.
 */
uint64_t header_needs(const struct virtio_net_hdr_v1 *header);

#endif
