/* SPDX-License-Identifier: BSD-3-Clause */
/* header.c - see header.h. */
#include "header.h"

#include "device.h"

#define GSO_KIND(type) ((type) & ~VIRTIO_NET_HDR_GSO_ECN)

/* The feature bit behind a gso_type of the driver, or 0 if there is none. */
static uint64_t host_bit(uint8_t gso)
{
    switch (GSO_KIND(gso)) {
    case VIRTIO_NET_HDR_GSO_TCPV4: return NET_FEATURE(HOST_TSO4);
    case VIRTIO_NET_HDR_GSO_TCPV6: return NET_FEATURE(HOST_TSO6);
    case VIRTIO_NET_HDR_GSO_UDP_L4: return NET_FEATURE(HOST_USO);
    default: return 0;
    }
}

static const char *check_gso(const struct virtio_net_hdr_v1 *h, uint32_t bytes, uint64_t offloads)
{
    uint64_t bit = host_bit(h->gso_type);
    if (!(bit & offloads))
        return "its gso_type was not negotiated";
    if (h->gso_type & VIRTIO_NET_HDR_GSO_ECN && !(offloads & NET_FEATURE(HOST_ECN)))
        return "VIRTIO_NET_F_HOST_ECN was not negotiated";
    if (h->gso_type & VIRTIO_NET_HDR_GSO_ECN && bit == NET_FEATURE(HOST_USO))
        return "there is no ECN in UDP";
    if (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
        return "it wants segments without checksums";
    if (h->gso_size == 0)
        return "its gso_size is 0";
    if (h->hdr_len > bytes)
        return "its hdr_len is behind the end of the frame";
    return NULL;
}

const char *header_check(struct virtio_net_hdr_v1 *h, uint32_t bytes, uint64_t offloads)
{
    h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM; /* a device ignores what it does not know */
    h->num_buffers = 0;
    uint32_t csum_end = (uint32_t)h->csum_start + h->csum_offset + 2;
    if (h->flags) {
        if (!(offloads & NET_FEATURE(CSUM)))
            return "VIRTIO_NET_F_CSUM was not negotiated";
        if (csum_end > bytes)
            return "its checksum is behind the end of the frame";
    } else {
        h->csum_start = h->csum_offset = 0;
        csum_end = 0;
    }
    if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
        h->gso_size = 0;
        h->hdr_len = 0;
        return NULL;
    }
    const char *wrong = check_gso(h, bytes, offloads);
    if (h->hdr_len < csum_end)
        h->hdr_len = (uint16_t)csum_end;
    return wrong;
}

uint64_t header_needs(const struct virtio_net_hdr_v1 *h)
{
    uint64_t needs = h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM ? NET_FEATURE(GUEST_CSUM) : 0;
    if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE)
        return needs;
    if (h->gso_type & VIRTIO_NET_HDR_GSO_ECN)
        needs |= NET_FEATURE(GUEST_ECN);
    switch (GSO_KIND(h->gso_type)) {
    case VIRTIO_NET_HDR_GSO_TCPV4: return needs | NET_FEATURE(GUEST_TSO4);
    case VIRTIO_NET_HDR_GSO_TCPV6: return needs | NET_FEATURE(GUEST_TSO6);
    default: return needs | NET_FEATURE(GUEST_USO4) | NET_FEATURE(GUEST_USO6);
    }
}
