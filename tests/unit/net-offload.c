/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net-offload.c - tests of the checksums and segments that the net plugin makes. What it makes is
 * taken apart again here, byte by byte and in the plainest way; nothing of its arithmetic is used.
 */
#include "offload.h"

#include "leak.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define TCP 6u
#define UDP 17u
#define HOP_BY_HOP 0u
#define ROUTING 43u
#define FRAGMENT 44u
#define AUTHENTICATION 51u
#define DESTINATION 60u
#define CANARY 64u

/* A large frame of some kind, and where its parts are. */
struct shape {
    bool ipv6, udp;
    uint32_t vlans;       /* 0 to 2 */
    uint32_t ip_options;  /* bytes behind the IPv4 header, or of each extension header's data */
    uint32_t extensions;  /* IPv6: how many of hop-by-hop, routing, destination */
    uint32_t tcp_options; /* bytes */
    uint32_t payload, segment;
    uint8_t flags;        /* of TCP */
};

struct built {
    struct frame frame;
    struct iovec iov[8];
    uint8_t *bytes;
    uint32_t ip_at, l4_at, payload_at, n;
};

static uint32_t seed = 1;

static uint32_t any(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static void fill(uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)any();
}

static uint32_t get(const uint8_t *at, uint32_t bytes)
{
    uint32_t v = 0;
    for (uint32_t i = 0; i < bytes; i++)
        v = v << 8 | at[i];
    return v;
}

static void put(uint8_t *at, uint32_t bytes, uint32_t v)
{
    for (uint32_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

/* The sum of big-endian 16-bit words, folded (RFC 1071). */
static uint32_t sum_of(uint32_t sum, const uint8_t *bytes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static uint32_t pseudo_sum(const uint8_t *ip, bool ipv6, uint32_t protocol, uint32_t length)
{
    uint8_t tail[8];
    put(tail, 4, length);
    put(tail + 4, 4, protocol);
    return sum_of(sum_of(0, ip + (ipv6 ? 8 : 12), ipv6 ? 32 : 8), tail, sizeof(tail));
}

/* ---- Building -------------------------------------------------------------------------------- */

static uint32_t put_ipv4(uint8_t *ip, const struct shape *s, uint32_t behind)
{
    uint32_t len = 20 + s->ip_options;
    fill(ip, len);
    ip[0] = (uint8_t)(0x40 | len / 4);
    put(ip + 2, 2, len + behind);
    put(ip + 6, 2, 0x4000); /* "don't fragment" is no fragment */
    ip[9] = s->udp ? UDP : TCP;
    put(ip + 10, 2, 0);
    put(ip + 10, 2, ~sum_of(0, ip, len));
    return len;
}

static uint32_t put_ipv6(uint8_t *ip, const struct shape *s, uint32_t behind)
{
    static const uint8_t kinds[] = {HOP_BY_HOP, ROUTING, DESTINATION};
    uint32_t each = 8 + s->ip_options / 8 * 8, at = 40;
    fill(ip, 40);
    ip[0] = 0x60;
    put(ip + 4, 2, s->extensions * each + behind);
    uint8_t *next = ip + 6;
    for (uint32_t i = 0; i < s->extensions; i++, at += each) {
        *next = kinds[i % 3];
        fill(ip + at, each);
        ip[at + 1] = (uint8_t)(each / 8 - 1);
        next = ip + at;
    }
    *next = s->udp ? UDP : TCP;
    return at;
}

static uint8_t kind_of(const struct shape *s)
{
    return s->udp ? VIRTIO_NET_HDR_GSO_UDP_L4
                  : s->ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
}

/* In memory of exactly its size, in iovecs of odd ones. */
static void cut_up(struct built *b, uint32_t bytes)
{
    uint32_t at = 0, n = 0;
    while (n < 7 && at < bytes) {
        uint32_t part = n == 6 ? bytes - at : any() % 41 + 1;
        if (part > bytes - at)
            part = bytes - at;
        b->iov[n++] = (struct iovec){b->bytes + at, part};
        at += part;
    }
    b->frame.iov = b->iov;
    b->frame.n_iov = n;
    b->frame.bytes = bytes;
}

static void build(struct built *b, const struct shape *s)
{
    uint8_t head[512];
    memset(b, 0, sizeof(*b));
    fill(head, 12);
    uint32_t at = 12, l4 = s->udp ? 8 : 20 + s->tcp_options;
    for (uint32_t i = 0; i < s->vlans; i++, at += 4) {
        put(head + at, 2, i + 1 == s->vlans ? 0x8100 : 0x88a8);
        put(head + at + 2, 2, any());
    }
    put(head + at, 2, s->ipv6 ? 0x86dd : 0x0800);
    b->ip_at = at + 2;
    b->l4_at = b->ip_at + (s->ipv6 ? put_ipv6 : put_ipv4)(head + b->ip_at, s, l4 + s->payload);
    b->payload_at = b->l4_at + l4;
    uint8_t *to = head + b->l4_at;
    uint32_t check = b->l4_at + (s->udp ? 6 : 16);
    fill(to, l4);
    if (s->udp) {
        put(to + 4, 2, l4 + s->payload);
    } else {
        to[12] = (uint8_t)(l4 / 4 << 4);
        to[13] = s->flags;
    }
    put(head + check, 2, pseudo_sum(head + b->ip_at, s->ipv6, s->udp ? UDP : TCP, l4 + s->payload));
    b->bytes = malloc(b->payload_at + s->payload);
    memcpy(b->bytes, head, b->payload_at);
    fill(b->bytes + b->payload_at, s->payload);
    cut_up(b, b->payload_at + s->payload);
    b->n = s->payload ? (s->payload + s->segment - 1) / s->segment : 1;
    b->frame.header = (struct virtio_net_hdr_v1){
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = kind_of(s),
        .gso_size = (uint16_t)s->segment, .hdr_len = (uint16_t)b->payload_at,
        .csum_start = (uint16_t)b->l4_at, .csum_offset = (uint16_t)(s->udp ? 6 : 16)};
}

/* ---- Taking apart ---------------------------------------------------------------------------- */

static void check_ip(const struct built *b, const struct shape *s, const uint8_t *got, uint32_t i,
                     uint32_t bytes)
{
    const uint8_t *was = b->bytes + b->ip_at, *ip = got + b->ip_at;
    cr_assert_arr_eq(got, b->bytes, b->ip_at); /* addresses, tags, type */
    if (s->ipv6) {
        cr_assert_eq(get(ip + 4, 2), bytes - b->ip_at - 40);
        cr_assert_arr_eq(ip, was, 4);
        cr_assert_arr_eq(ip + 6, was + 6, b->l4_at - b->ip_at - 6);
        return;
    }
    cr_assert_eq(get(ip + 2, 2), bytes - b->ip_at);
    cr_assert_eq(get(ip + 4, 2), (get(was + 4, 2) + i) % 65536);
    cr_assert_eq(sum_of(0, ip, b->l4_at - b->ip_at), 0xffff);
    cr_assert_arr_eq(ip, was, 2);
    cr_assert_arr_eq(ip + 6, was + 6, 4);
    cr_assert_arr_eq(ip + 12, was + 12, b->l4_at - b->ip_at - 12);
}

static void check_tcp(const struct built *b, const struct shape *s, const uint8_t *got, uint32_t i)
{
    const uint8_t *was = b->bytes + b->l4_at, *tcp = got + b->l4_at;
    uint8_t flags = s->flags;
    if (i > 0)
        flags &= 0x7f; /* CWR */
    if (i + 1 < b->n)
        flags &= (uint8_t)~0x09; /* FIN, PSH */
    cr_assert_arr_eq(tcp, was, 4);
    cr_assert_eq(get(tcp + 4, 4), get(was + 4, 4) + i * s->segment);
    cr_assert_arr_eq(tcp + 8, was + 8, 5);
    cr_assert_eq(tcp[13], flags, "segment %u of %u has flags %02x, not %02x", i, b->n, tcp[13],
                 flags);
    cr_assert_arr_eq(tcp + 14, was + 14, 2);
    cr_assert_arr_eq(tcp + 18, was + 18, b->payload_at - b->l4_at - 18);
}

static void check_udp(const struct built *b, const uint8_t *got, uint32_t bytes)
{
    const uint8_t *was = b->bytes + b->l4_at, *udp = got + b->l4_at;
    cr_assert_arr_eq(udp, was, 4);
    cr_assert_eq(get(udp + 4, 2), bytes - b->l4_at);
    cr_assert_neq(get(udp + 6, 2), 0, "a UDP datagram without a checksum");
}

static void check_segment(const struct built *b, const struct shape *s, const uint8_t *got,
                          uint32_t i, uint32_t bytes)
{
    uint32_t rest = s->payload - i * s->segment, payload = rest < s->segment ? rest : s->segment;
    uint32_t protocol = s->udp ? UDP : TCP;
    cr_assert_eq(bytes, b->payload_at + payload);
    check_ip(b, s, got, i, bytes);
    if (s->udp)
        check_udp(b, got, bytes);
    else
        check_tcp(b, s, got, i);
    uint32_t sum = pseudo_sum(got + b->ip_at, s->ipv6, protocol, bytes - b->l4_at);
    cr_assert_eq(sum_of(sum, got + b->l4_at, bytes - b->l4_at), 0xffff, "a wrong checksum");
}

/* Cuts a frame; the payloads together have to be the frame's. */
static void check_shape(const struct shape *s)
{
    struct built b;
    struct offload_cut cut;
    build(&b, s);
    uint8_t *together = malloc(s->payload + 1u);
    uint32_t done = 0;
    cr_assert(offload_cut_begin(&cut, &b.frame), "ipv6 %d udp %d vlans %u payload %u", s->ipv6,
              s->udp, s->vlans, s->payload);
    cr_assert_eq(cut.n, b.n);
    cr_assert_eq(cut.header_bytes, b.payload_at);
    for (uint32_t i = 0; i < cut.n; i++) {
        uint32_t rest = s->payload - i * s->segment;
        uint32_t room = b.payload_at + (rest < s->segment ? rest : s->segment);
        uint8_t *to = malloc(room);
        uint32_t bytes = offload_cut_make(&cut, i, to);
        check_segment(&b, s, to, i, bytes);
        memcpy(together + done, to + b.payload_at, bytes - b.payload_at);
        done += bytes - b.payload_at;
        free(to);
    }
    cr_assert_eq(done, s->payload);
    cr_assert(memcmp(together, b.bytes + b.payload_at, done) == 0, "the payload is another one");
    free(together);
    free(b.bytes);
}

/* ---- Segments -------------------------------------------------------------------------------- */

static void check_sizes(struct shape s)
{
    static const uint32_t sizes[][2] = {{2896, 1448}, {2897, 1448}, {4001, 1001}, {1, 1}, {7, 3},
                                        {100, 1}, {0, 536}, {500, 500}, {500, 501}, {501, 500},
                                        {64999, 1447}, {65000, 65000}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        s.payload = sizes[i][0];
        s.segment = sizes[i][1];
        check_shape(&s);
    }
}

Test(offload, cuts_tcp_over_ipv4, .timeout = 60)
{
    for (uint32_t vlans = 0; vlans <= 2; vlans++)
        for (uint32_t options = 0; options <= 40; options += 20)
            check_sizes((struct shape){.vlans = vlans, .ip_options = options,
                                       .tcp_options = 40 - options, .flags = 0x99});
    leak_check();
}

Test(offload, cuts_tcp_over_ipv6, .timeout = 60)
{
    for (uint32_t vlans = 0; vlans <= 2; vlans++)
        for (uint32_t extensions = 0; extensions <= 3; extensions++)
            check_sizes((struct shape){.ipv6 = true, .vlans = vlans, .extensions = extensions,
                                       .ip_options = extensions * 8, .tcp_options = 12,
                                       .flags = 0x18});
    leak_check();
}

Test(offload, cuts_udp, .timeout = 60)
{
    for (uint32_t i = 0; i < 6; i++)
        check_sizes((struct shape){.ipv6 = i % 2, .udp = true, .vlans = i / 2,
                                   .ip_options = i / 2 * 4, .extensions = i / 2});
    leak_check();
}

/* All values of the flags, so that none is touched that need not be. */
Test(offload, tcp_flags)
{
    for (uint32_t flags = 0; flags < 256; flags++) {
        struct shape s = {.payload = 30, .segment = 10, .flags = (uint8_t)flags};
        check_shape(&s);
        s.payload = 10; /* the first is the last */
        check_shape(&s);
    }
    leak_check();
}

/* Numbers that overflow: the packets' and the bytes'. Random ones come there too seldom. */
Test(offload, numbers_wrap)
{
    struct shape s = {.payload = 5000, .segment = 100};
    struct built b;
    struct offload_cut cut;
    uint8_t to[200];
    build(&b, &s);
    put(b.bytes + b.ip_at + 4, 2, 65530);
    put(b.bytes + b.l4_at + 4, 4, 0xffffff00);
    cr_assert(offload_cut_begin(&cut, &b.frame));
    for (uint32_t i = 0; i < cut.n; i++)
        check_segment(&b, &s, to, i, offload_cut_make(&cut, i, to));
    free(b.bytes);
}

Test(offload, ecn_is_the_same_but_for_the_bit)
{
    struct shape s = {.payload = 30, .segment = 10, .flags = 0x80};
    struct built b;
    struct offload_cut cut;
    uint8_t to[200];
    build(&b, &s);
    b.frame.header.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
    cr_assert(offload_cut_begin(&cut, &b.frame));
    for (uint32_t i = 0; i < cut.n; i++)
        check_segment(&b, &s, to, i, offload_cut_make(&cut, i, to));
    free(b.bytes);
}

/* A sum of 0 means "no checksum" in UDP, so the other 0 has to be sent. */
Test(offload, udp_checksum_is_never_0)
{
    struct shape s = {.udp = true, .payload = 8, .segment = 4};
    struct built b;
    struct offload_cut cut;
    uint8_t to[200];
    build(&b, &s);
    uint8_t *payload = b.bytes + b.payload_at;
    memset(payload, 0, 8);
    cr_assert(offload_cut_begin(&cut, &b.frame));
    for (uint32_t i = 0; i < 2; i++) {
        offload_cut_make(&cut, i, to);
        memcpy(payload + 4 * i, to + b.l4_at + 6, 2); /* cancels out what the rest adds up to */
        uint32_t bytes = offload_cut_make(&cut, i, to);
        cr_assert_eq(get(to + b.l4_at + 6, 2), 0xffff);
        check_segment(&b, &s, to, i, bytes);
    }
    free(b.bytes);
}

/* ---- Frames that are not what they say ------------------------------------------------------- */

/* Sets bytes of a good frame, or of its header, and asks if it is still taken for one. */
static bool taken(struct shape s, uint32_t l4, int at, uint32_t bytes, uint32_t value)
{
    struct built b;
    struct offload_cut cut;
    build(&b, &s);
    if (bytes)
        put(b.bytes + (l4 ? b.l4_at : b.ip_at) + at, bytes, value);
    bool ok = offload_cut_begin(&cut, &b.frame);
    free(b.bytes);
    return ok;
}

Test(offload, refuses_other_packets)
{
    const struct shape v4 = {.payload = 99, .segment = 10};
    const struct shape v6 = {.ipv6 = true, .payload = 99, .segment = 10, .extensions = 1};
    cr_assert(taken(v4, 0, 0, 0, 0) && taken(v6, 0, 0, 0, 0));
    cr_assert(taken(v4, 0, 6, 2, 0x0000), "may be fragmented");
    cr_assert(!taken(v4, 0, -2, 2, 0x86dd), "IPv6 is another type");
    cr_assert(!taken(v4, 0, -2, 2, 0x0806), "ARP");
    cr_assert(!taken(v4, 0, 0, 1, 0x65), "IP of another version");
    cr_assert(!taken(v4, 0, 0, 1, 0x44), "an IP header of 16 bytes");
    cr_assert(!taken(v4, 0, 0, 1, 0x4f), "an IP header longer than it is");
    cr_assert(!taken(v4, 0, 6, 2, 0x2000), "the first fragment");
    cr_assert(!taken(v4, 0, 6, 2, 0x0001), "a later fragment");
    cr_assert(!taken(v4, 0, 9, 1, UDP), "UDP where TCP was said");
    cr_assert(!taken(v4, 0, 9, 1, 50), "a protocol that cannot be cut");
    cr_assert(!taken(v4, 1, 12, 1, 0x40), "a TCP header of 16 bytes");
    cr_assert(!taken(v6, 0, 0, 1, 0x45), "IPv6 of version 4");
    cr_assert(!taken(v6, 0, 6, 1, FRAGMENT), "an IPv6 fragment");
    cr_assert(!taken(v6, 0, 6, 1, AUTHENTICATION), "a signed packet");
    cr_assert(!taken(v6, 0, 41, 1, 1), "an extension longer than it is");
    cr_assert(!taken(v6, 0, 41, 1, 255), "an extension behind the end");
    cr_assert(!taken(v6, 0, 40, 1, HOP_BY_HOP), "extensions without end");
    leak_check();
}

static bool header_taken(const struct shape *s, struct virtio_net_hdr_v1 change)
{
    struct built b;
    struct offload_cut cut;
    build(&b, s);
    struct virtio_net_hdr_v1 *h = &b.frame.header;
    h->flags ^= change.flags;
    h->gso_type ^= change.gso_type;
    h->gso_size ^= change.gso_size;
    h->csum_start ^= change.csum_start;
    h->csum_offset ^= change.csum_offset;
    bool ok = offload_cut_begin(&cut, &b.frame);
    free(b.bytes);
    return ok;
}

Test(offload, refuses_headers_that_do_not_fit)
{
    const struct shape s = {.payload = 99, .segment = 10};
    const struct shape dense = {.payload = OFFLOAD_SEGMENTS_MAX, .segment = 1};
    const struct shape denser = {.payload = OFFLOAD_SEGMENTS_MAX + 1, .segment = 1};
    typedef struct virtio_net_hdr_v1 header;
    cr_assert(header_taken(&s, (header){0}));
    cr_assert(!header_taken(&s, (header){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM}));
    cr_assert(!header_taken(&s, (header){.gso_type = VIRTIO_NET_HDR_GSO_TCPV4 ^
                                                     VIRTIO_NET_HDR_GSO_TCPV6}));
    cr_assert(!header_taken(&s, (header){.gso_type = VIRTIO_NET_HDR_GSO_TCPV4 ^
                                                     VIRTIO_NET_HDR_GSO_UDP}));
    cr_assert(!header_taken(&s, (header){.gso_type = VIRTIO_NET_HDR_GSO_TCPV4}));
    cr_assert(!header_taken(&s, (header){.gso_type = 0x40}));
    cr_assert(!header_taken(&s, (header){.gso_size = 10}), "segments of 0 bytes");
    cr_assert(!header_taken(&s, (header){.csum_start = 1}));
    cr_assert(!header_taken(&s, (header){.csum_offset = 2}));
    cr_assert(header_taken(&dense, (header){0}));
    cr_assert(!header_taken(&denser, (header){0}), "work without a limit");
    leak_check();
}

/* A segment has to fit into the packet it is put into, whose length has 16 bits. */
Test(offload, refuses_segments_longer_than_packets)
{
    struct shape s = {.payload = 65495, .segment = 65495}; /* 65535 with IPv4 and TCP */
    check_shape(&s);
    cr_assert(!taken((struct shape){.payload = 65496, .segment = 65496}, 0, 0, 0, 0));
    cr_assert(taken((struct shape){.payload = 65496, .segment = 65495}, 0, 0, 0, 0));
    s = (struct shape){.ipv6 = true, .payload = 65480, .segment = 65480};
    check_shape(&s);
    leak_check();
}

/* Each frame cut off at each byte of its headers. */
Test(offload, refuses_what_is_cut_off)
{
    const struct shape shapes[] = {
        {.vlans = 2, .ip_options = 12, .tcp_options = 20, .payload = 20, .segment = 10},
        {.ipv6 = true, .vlans = 1, .extensions = 3, .ip_options = 16, .tcp_options = 8,
         .payload = 20, .segment = 10},
        {.udp = true, .payload = 20, .segment = 10},
        /* 14 + 40 + 3 * 72 bytes, and TCP: longer than OFFLOAD_HEADERS_MAX */
        {.ipv6 = true, .extensions = 3, .ip_options = 64, .payload = 20, .segment = 10},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct built b;
        struct offload_cut cut;
        build(&b, &shapes[i]);
        uint32_t whole = b.payload_at <= OFFLOAD_HEADERS_MAX ? b.payload_at : UINT32_MAX;
        for (uint32_t bytes = FRAME_MIN; bytes <= b.payload_at; bytes++) {
            uint8_t *copy = malloc(bytes);
            struct iovec iov = {copy, bytes};
            struct frame frame = {b.frame.header, &iov, 1, 0, bytes};
            memcpy(copy, b.bytes, bytes);
            cr_assert_eq(offload_cut_begin(&cut, &frame), bytes >= whole, "%zu: %u of %u", i,
                         bytes, b.payload_at);
            free(copy);
        }
        free(b.bytes);
    }
    leak_check();
}

/* ---- Anything at all ------------------------------------------------------------------------- */

/* Changes a good frame a little, or much. */
static void damage(struct built *b)
{
    uint32_t n = any() % 6;
    for (uint32_t i = 0; i < n; i++)
        b->bytes[any() % (any() % 2 ? b->frame.bytes : 40)] = (uint8_t)any();
    if (any() % 8 == 0)
        fill(b->bytes, b->frame.bytes);
    if (any() % 8 == 0)
        fill((uint8_t *)&b->frame.header, sizeof(b->frame.header));
    if (any() % 4 == 0)
        b->frame.header.gso_size = (uint16_t)(any() % (any() % 2 ? 65536 : 32));
    if (any() % 4 == 0)
        cut_up(b, FRAME_MIN + any() % (b->frame.bytes - FRAME_MIN + 1));
}

static void make_some(const struct offload_cut *cut, struct built *b)
{
    uint32_t limit = b->frame.bytes;
    uint8_t *to = malloc(limit + CANARY);
    for (uint32_t k = 0; k < 3; k++) {
        uint32_t i = k == 0 ? 0 : k == 1 ? cut->n - 1 : any() % cut->n;
        memset(to + limit, 0xa5, CANARY);
        fill(b->bytes, b->frame.bytes < 256 ? b->frame.bytes : 256); /* the guest is at work */
        uint32_t bytes = offload_cut_make(cut, i, to);
        cr_assert(bytes <= limit && bytes <= cut->header_bytes + cut->segment);
        for (uint32_t at = 0; at < CANARY; at++)
            cr_assert_eq(to[limit + at], 0xa5, "written behind the end");
    }
    free(to);
}

static void check_checksum(const struct built *b)
{
    uint8_t *copy = malloc(b->frame.bytes);
    const struct virtio_net_hdr_v1 *h = &b->frame.header;
    frame_read(&b->frame, 0, copy, b->frame.bytes);
    bool fits = (uint32_t)h->csum_start + h->csum_offset + 2 <= b->frame.bytes;
    cr_assert_eq(offload_checksum(h, copy, b->frame.bytes), fits);
    free(copy);
}

/* AddressSanitizer sees what is read or written outside, for all memory is of the exact size. */
Test(offload, hostile_frames, .timeout = 120)
{
    uint32_t good = 0;
    for (uint32_t i = 0; i < 100000; i++) {
        struct shape s = {.ipv6 = any() % 2, .udp = any() % 3 == 0, .vlans = any() % 3,
                          .ip_options = any() % 11 * 4, .extensions = any() % 4,
                          .tcp_options = any() % 11 * 4, .payload = any() % 300,
                          .segment = any() % 100 + 1, .flags = (uint8_t)any()};
        struct built b;
        struct offload_cut cut;
        build(&b, &s);
        damage(&b);
        check_checksum(&b);
        if (offload_cut_begin(&cut, &b.frame)) {
            cr_assert(cut.n > 0 && cut.n <= OFFLOAD_SEGMENTS_MAX);
            make_some(&cut, &b);
            good++;
        }
        free(b.bytes);
    }
    cr_assert(good > 10000 && good < 90000, "%u: not the mixture it should be", good);
    leak_check();
}

/* ---- Checksums ------------------------------------------------------------------------------- */

/* The example of RFC 1071, section 3. */
Test(offload, checksum_of_the_rfc)
{
    uint8_t data[] = {0xee, 0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7, 0, 0};
    const struct virtio_net_hdr_v1 header = {.csum_start = 1, .csum_offset = 8};
    cr_assert(offload_checksum(&header, data, sizeof(data)));
    cr_assert_eq(get(data + 9, 2), 0x220d);
    cr_assert_eq(data[0], 0xee);
}

Test(offload, checksum_of_any_length_and_place)
{
    for (uint32_t bytes = 2; bytes < 150; bytes++) {
        for (uint32_t start = 0; start < 9 && start + 2 <= bytes; start++) {
            uint8_t *data = malloc(bytes), *was = malloc(bytes);
            uint32_t at = any() % (bytes - start - 1);
            const struct virtio_net_hdr_v1 header = {.csum_start = (uint16_t)start,
                                                     .csum_offset = (uint16_t)at};
            fill(data, bytes);
            memcpy(was, data, bytes);
            uint32_t want = ~sum_of(0, data + start, bytes - start) & 0xffff;
            cr_assert(offload_checksum(&header, data, bytes));
            cr_assert_eq(get(data + start + at, 2), want ? want : 0xffff);
            memcpy(was + start + at, data + start + at, 2);
            cr_assert_arr_eq(was, data, bytes);
            free(data);
            free(was);
        }
    }
    leak_check();
}

Test(offload, checksum_is_never_0)
{
    uint8_t data[] = {0xff, 0xff, 0, 0};
    const struct virtio_net_hdr_v1 header = {.csum_start = 0, .csum_offset = 2};
    cr_assert(offload_checksum(&header, data, sizeof(data)));
    cr_assert_eq(get(data + 2, 2), 0xffff);
}

Test(offload, checksum_behind_the_end)
{
    uint8_t *data = malloc(60);
    fill(data, 60);
    for (uint32_t start = 0; start < 80; start++) {
        for (uint32_t at = 0; at < 80; at++) {
            const struct virtio_net_hdr_v1 header = {.csum_start = (uint16_t)start,
                                                     .csum_offset = (uint16_t)at};
            cr_assert_eq(offload_checksum(&header, data, 60), start + at <= 58);
        }
    }
    const struct virtio_net_hdr_v1 far = {.csum_start = 65535, .csum_offset = 65535};
    cr_assert(!offload_checksum(&far, data, 60));
    free(data);
    leak_check();
}
