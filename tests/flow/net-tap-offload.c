/* SPDX-License-Identifier: BSD-3-Clause */
/* net-tap-offload.c - rows of net-tap.c: large segments, whole or cut, and checksums. */
#include "net-tap.h"
#include "netsums.h"

#include <endian.h>
#include <string.h>

#define BIG 60000u /* payload of a large segment */

/* ---- offloads -------------------------------------------------------------------------------- */

/* A large segment goes through in one piece, header and all. */
void net_segments_whole(struct daemon *d)
{
    struct virtio_net_hdr header, seen;
    struct virtio_net_hdr_v1 to_guest;
    const struct net_front_options *options = d->arg;
    MUST(daemon_add(d, "net:t0,create,id=n", NULL) && open_guest(d, "n", *options));
    MUST(netns_tso_becomes("t0", true) && (wire = wire_open("t0", 0x0800)) >= 0);
    for (int i = 0; i < 3; i++) { /* the second of one size goes into the guest's buffers at once */
        uint32_t bytes = tcp_frame(frame, &header, guest.config.mac, 5000, BIG, MSS);
        MUST(post(0, 200) && wire_send(wire, &header, frame, bytes));
        int n = net_front_receive(&guest, 0, &to_guest, got, sizeof(got), TIMEOUT_MS);
        CHECK(n == (int)bytes && tcp_payload_is(got, bytes, 0), "%d bytes came: %s", n,
              guest.fe.error);
        CHECK(to_guest.gso_type == VIRTIO_NET_HDR_GSO_TCPV4 && le16toh(to_guest.gso_size) == MSS &&
              to_guest.flags == VIRTIO_NET_HDR_F_NEEDS_CSUM, "flags %u, gso_type %u, gso_size %u",
              to_guest.flags, to_guest.gso_type, le16toh(to_guest.gso_size));
        MUST(guest_does(net_front_reset(&guest, options->features), "reset"));
        MUST(netns_tso_becomes("t0", true));
    }
    uint32_t bytes = tcp_frame(frame, &header, station, 5001, BIG, MSS);
    memset(&to_guest, 0, sizeof(to_guest));
    memcpy(&to_guest, &header, sizeof(header));
    MUST(guest_does(net_front_send(&guest, 0, &to_guest, frame, bytes), "sending"));
    int n = wire_receive(wire, &seen, got, sizeof(got), TIMEOUT_MS);
    CHECK(n == (int)bytes && tcp_payload_is(got, bytes, 0), "%d bytes came to the host", n);
    CHECK(seen.gso_type == VIRTIO_NET_HDR_GSO_TCPV4 && seen.gso_size == MSS, "gso_type %u, size %u",
          seen.gso_type, seen.gso_size);
    MUST(daemon_counter_becomes(d, "n", "rx-received", 3) && netsums_hold(d, "n"));
}

/* All of a large segment in small frames, in order and with their checksums. */
static bool hear_cut(unsigned n_buffers)
{
    struct virtio_net_hdr_v1 header;
    uint32_t at = 0;
    while (at < BIG) {
        if (!post(0, n_buffers))
            return false;
        int n = net_front_receive(&guest, 0, &header, got, sizeof(got), TIMEOUT_MS);
        if (n < 0 || (uint32_t)n > TCP_HEADERS + MSS)
            return row_fail("a frame of %d bytes after %u of %u", n, at, BIG);
        if (header.flags || header.gso_type)
            return row_fail("flags %u, gso_type %u for a guest that took none", header.flags,
                            header.gso_type);
        if (!tcp_payload_is(got, (uint32_t)n, at) || !tcp_sums_are_right(got, (uint32_t)n))
            return row_fail("wrong bytes or checksums in a frame after %u of %u", at, BIG);
        at += (uint32_t)n - TCP_HEADERS;
    }
    return at == BIG || row_fail("%u bytes instead of %u came", at, BIG);
}

/* A guest that took no offloads sees small frames only; the kernel cuts. */
void net_segments_cut(struct daemon *d)
{
    struct virtio_net_hdr header;
    MUST(daemon_add(d, "net:t0,create,id=n", NULL) && open_guest(d, "n", plain));
    MUST(netns_tso_becomes("t0", false) && (wire = wire_open("t0", 0x0800)) >= 0);
    uint32_t bytes = tcp_frame(frame, &header, guest.config.mac, 5000, BIG, MSS);
    MUST(wire_send(wire, &header, frame, bytes) && hear_cut(1));
    MUST(daemon_counter_becomes(d, "n", "rx-segmented", 0) && netsums_hold(d, "n"));
}

/* A small frame for a guest that takes none with a checksum to do. */
static bool hear_summed(void)
{
    struct virtio_net_hdr_v1 header;
    if (!post(0, 4)) /* more than one: the next frame is read into them at once */
        return false;
    int n = net_front_receive(&guest, 0, &header, got, sizeof(got), TIMEOUT_MS);
    return (n == TCP_HEADERS + 100 && header.flags == 0 && tcp_sums_are_right(got, (uint32_t)n)) ||
           row_fail("a frame of %d bytes with flags %u, or a wrong checksum", n, header.flags);
}

/* Frames wait in the tap for a guest that takes offloads; the one that comes does not. */
void net_segments_of_another_guest(struct daemon *d)
{
    struct virtio_net_hdr header;
    MUST(daemon_add(d, "net:t0,create,id=n", NULL));
    MUST(open_guest(d, "n", (struct net_front_options){.features = LARGE | MERGE}));
    MUST(netns_tso_becomes("t0", true) && (wire = wire_open("t0", 0x0800)) >= 0);
    uint32_t bytes = tcp_frame(frame, &header, guest.config.mac, 5000, BIG, MSS);
    for (int i = 0; i < 3; i++)
        MUST(wire_send(wire, &header, frame, bytes));
    bytes = tcp_frame(frame, &header, guest.config.mac, 5000, 100, MSS);
    MUST(wire_send(wire, &header, frame, bytes) && wire_send(wire, &header, frame, bytes));
    MUST(guest_does(net_front_reset(&guest, 0), "reset") && netns_tso_becomes("t0", false));
    for (int i = 0; i < 3; i++)
        MUST(hear_cut(1));
    MUST(hear_summed() && hear_summed());
    MUST(daemon_counter_becomes(d, "n", "rx-segmented", 3) && netsums_hold(d, "n"));
}

/* The driver gives offloads back by a command while it runs. */
void net_segments_by_command(struct daemon *d)
{
    const uint64_t none = 0, all = htole64(LARGE & ~(FE_BIT(VIRTIO_NET_F_CSUM) |
                                                     FE_BIT(VIRTIO_NET_F_HOST_TSO4) |
                                                     FE_BIT(VIRTIO_NET_F_HOST_TSO6)));
    struct virtio_net_hdr header;
    MUST(daemon_add(d, "net:t0,create,id=n", NULL));
    MUST(open_guest(d, "n", (struct net_front_options){
        .features = LARGE | MERGE | FE_BIT(VIRTIO_NET_F_CTRL_VQ) |
                    FE_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)}));
    MUST(netns_tso_becomes("t0", true) && (wire = wire_open("t0", 0x0800)) >= 0);
    CHECK(net_front_control(&guest, 5, 0, &none, sizeof(none), TIMEOUT_MS) == 0, "no offloads: %s",
          guest.fe.error);
    uint32_t bytes = tcp_frame(frame, &header, guest.config.mac, 5000, BIG, MSS);
    MUST(netns_tso_becomes("t0", false) && wire_send(wire, &header, frame, bytes) && hear_cut(1));
    CHECK(net_front_control(&guest, 5, 0, &all, sizeof(all), TIMEOUT_MS) == 0, "all offloads: %s",
          guest.fe.error);
    MUST(netns_tso_becomes("t0", true));
}

/* offload=off: neither side hears of any. */
void net_no_offloads(struct daemon *d)
{
    MUST(daemon_add(d, "net:t0,create,offload=off,merge=off,id=n", NULL));
    MUST(open_guest(d, "n", (struct net_front_options){.features = LARGE | MERGE}));
    CHECK(!(guest.fe.features & (LARGE | MERGE)), "features %llx",
          (unsigned long long)guest.fe.features);
    MUST(netns_tso_becomes("t0", false) && open_wire("t0") && post(0, 1));
    MUST(send_wire(1) && guest_hears(0, 1));
}
