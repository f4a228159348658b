/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * offload.h - does in software what a receiver cannot: checksums and segments (virtio 1.2, section
 * 5.1.6.3). Pure; the frame may be guest memory that changes meanwhile, which may give wrong sums
 * but never a byte outside of what was passed.
 */
#ifndef NET_OFFLOAD_H
#define NET_OFFLOAD_H

#include "frame.h"

#include <stdbool.h>

#define OFFLOAD_HEADERS_MAX 256u /* Ethernet, VLANs, IP with options or extensions, TCP and its */
#define OFFLOAD_SEGMENTS_MAX 2048u /* a frame that would make more is none: work has a limit */

/*
 * Writes the checksum that the frame's header asks for (VIRTIO_NET_HDR_F_NEEDS_CSUM) into the bytes
 * in `data`, a copy of the frame. False if the header does not fit the bytes.
 */
bool offload_checksum(const struct virtio_net_hdr_v1 *header, uint8_t *data, uint32_t bytes);

/*
 * A large frame (gso_type TCPV4, TCPV6 or UDP_L4) and what is known about cutting it. The segments
 * may be made in any order and any number of times.
 */
struct offload_cut {
    const struct frame *frame;
    uint32_t header_bytes;  /* Ethernet up to and including TCP or UDP */
    uint32_t ip_at, l4_at;
    uint32_t payload;       /* bytes behind the headers */
    uint32_t segment;       /* payload of each but the last: gso_size */
    uint32_t n;             /* segments, at least 1 */
    bool ipv6, udp;
    uint8_t headers[OFFLOAD_HEADERS_MAX]; /* a copy of the frame's first header_bytes */
};

/* Reads and checks the headers, once. False if the frame is not what its header says. */
bool offload_cut_begin(struct offload_cut *cut, const struct frame *frame);

/*
 * Writes segment number `i`, below n, to `to`: a complete frame with its checksums. Returns its
 * bytes: at most header_bytes + segment, and never more than the frame has.
 */
uint32_t offload_cut_make(const struct offload_cut *cut, uint32_t i, uint8_t *to);

#endif
