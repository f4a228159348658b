/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frame.h - an Ethernet frame on its way, with what virtio says of it (virtio 1.2, section 5.1.6).
 *
 * The header is a checked copy; the bytes may be guest memory, which changes under our hands: what
 * decides something is read once into a local.
 */
#ifndef NET_FRAME_H
#define NET_FRAME_H

#include <hvv/iov.h>
#include <linux/virtio_net.h>
#include <stdint.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define FRAME_HEADER_BYTES ((uint32_t)sizeof(struct virtio_net_hdr_v1))
#define FRAME_MIN 14u    /* an Ethernet header */
#define FRAME_MAX 65557u /* the largest IP packet, an Ethernet header and two VLAN tags */
#define FRAME_MAC_BYTES 6u

struct frame {
    struct virtio_net_hdr_v1 header; /* num_buffers has no meaning here */
    const struct iovec *iov;
    uint32_t n_iov;
    uint32_t offset;                 /* of the first byte in the iovecs */
    uint32_t bytes;                  /* FRAME_MIN to FRAME_MAX */
};

/* Copies up to `size` bytes from byte `at` of the frame on. Returns how many. */
static inline size_t frame_read(const struct frame *frame, uint32_t at, void *to, size_t size)
{
    if (at >= frame->bytes)
        return 0;
    if (size > frame->bytes - at)
        size = frame->bytes - at;
    return hvv_iov_read(frame->iov, frame->n_iov, (uint64_t)frame->offset + at, to, size);
}

#endif
