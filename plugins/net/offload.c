/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * offload.c - see offload.h.
 *
 * Sums are made of 16-bit words as they lie in memory: a one's complement sum comes out the same in
 * either byte order, as long as what is added and what is stored have one order (RFC 1071).
 */
#include "offload.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/in.h>

#define MAC_BYTES (2 * FRAME_MAC_BYTES)
#define VLAN_BYTES 4u
#define VLANS_MAX 2u
#define IPV4_BYTES 20u
#define IPV6_BYTES 40u
#define TCP_BYTES 20u
#define UDP_BYTES 8u
#define IP_PACKET_MAX 65535u /* IPv4: of the packet; IPv6: of what is behind the fixed header */

/* Offsets in the headers */
#define IPV4_LENGTH 2u
#define IPV4_ID 4u
#define IPV4_FRAGMENT 6u
#define IPV4_PROTOCOL 9u
#define IPV4_CHECK 10u
#define IPV6_LENGTH 4u
#define IPV6_NEXT 6u
#define TCP_SEQUENCE 4u
#define TCP_WORDS 12u
#define TCP_FLAGS 13u
#define TCP_CHECK 16u
#define UDP_LENGTH 4u
#define UDP_CHECK 6u

#define IPV4_FRAGMENT_MASK 0x3fffu /* offset and "more fragments", not "don't fragment" */
#define TCP_FIN 0x01u
#define TCP_PSH 0x08u
#define TCP_CWR 0x80u

/* ---- Bytes and sums -------------------------------------------------------------------------- */

static uint16_t get16(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof(v));
    return ntohs(v);
}

static void put16(uint8_t *at, uint32_t value)
{
    uint16_t v = htons((uint16_t)value);
    memcpy(at, &v, sizeof(v));
}

static void add32(uint8_t *at, uint32_t n)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    v = htonl(ntohl(v) + n);
    memcpy(at, &v, sizeof(v));
}

static uint64_t add_carry(uint64_t sum, uint64_t word)
{
    sum += word;
    return sum + (sum < word);
}

/* Adds `bytes` to a sum. An odd last byte counts as if a 0 followed. */
static uint64_t add_bytes(uint64_t sum, const uint8_t *data, size_t bytes)
{
    uint64_t word;
    for (; bytes >= sizeof(word); bytes -= sizeof(word), data += sizeof(word)) {
        memcpy(&word, data, sizeof(word));
        sum = add_carry(sum, word);
    }
    word = 0;
    memcpy(&word, data, bytes);
    return add_carry(sum, word);
}

static uint16_t fold(uint64_t sum)
{
    sum = (sum >> 32) + (sum & 0xffffffffu);
    sum = (sum >> 32) + (sum & 0xffffffffu);
    sum = (sum >> 16) + (sum & 0xffffu);
    sum = (sum >> 16) + (sum & 0xffffu);
    return (uint16_t)sum;
}

/*
 * Stores a checksum of TCP or UDP. Never 0, which would mean "none" in UDP; to one's complement
 * arithmetic 0xffff is the same number.
 */
static void put_check(uint8_t *at, uint64_t sum)
{
    uint16_t check = (uint16_t)~fold(sum);
    if (check == 0)
        check = 0xffff;
    memcpy(at, &check, sizeof(check));
}

/* ---- Checksums ------------------------------------------------------------------------------- */

bool offload_checksum(const struct virtio_net_hdr_v1 *header, uint8_t *data, uint32_t bytes)
{
    uint32_t start = header->csum_start;
    uint32_t at = start + header->csum_offset;
    if (at + sizeof(uint16_t) > bytes)
        return false;
    /* The driver left the sum of the pseudo-header where the checksum goes. */
    put_check(data + at, add_bytes(0, data + start, bytes - start));
    return true;
}

/* ---- Segments: what there is ----------------------------------------------------------------- */

/* Finds the IP header. False if there is none within `bytes`. */
static bool find_ip(struct offload_cut *cut, uint32_t bytes)
{
    uint32_t at = MAC_BYTES;
    for (uint32_t vlans = 0;; vlans++, at += VLAN_BYTES) {
        if (at + 2 > bytes)
            return false;
        uint16_t type = get16(cut->headers + at);
        cut->ip_at = at + 2;
        cut->ipv6 = type == ETH_P_IPV6;
        if (type == ETH_P_IP || type == ETH_P_IPV6)
            return true;
        if ((type != ETH_P_8021Q && type != ETH_P_8021AD) || vlans == VLANS_MAX)
            return false;
    }
}

/* The protocol above IPv4, or -1. A fragment cannot be cut: it does not begin with TCP or UDP. */
static int find_l4_ipv4(struct offload_cut *cut, uint32_t bytes)
{
    const uint8_t *ip = cut->headers + cut->ip_at;
    if (cut->ip_at + IPV4_BYTES > bytes || ip[0] >> 4 != 4)
        return -1;
    uint32_t len = (ip[0] & 15u) * 4;
    if (len < IPV4_BYTES || get16(ip + IPV4_FRAGMENT) & IPV4_FRAGMENT_MASK)
        return -1;
    cut->l4_at = cut->ip_at + len;
    return ip[IPV4_PROTOCOL];
}

/*
 * The same for IPv6. Extension headers that are the same in each segment are passed over; fragments
 * and what is signed or encrypted cannot be cut. Each has 8 bytes at least, so the loop ends.
 */
static int find_l4_ipv6(struct offload_cut *cut, uint32_t bytes)
{
    const uint8_t *ip = cut->headers + cut->ip_at;
    if (cut->ip_at + IPV6_BYTES > bytes || ip[0] >> 4 != 6)
        return -1;
    int next = ip[IPV6_NEXT];
    uint32_t at = cut->ip_at + IPV6_BYTES;
    while (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS) {
        if (at + 8 > bytes)
            return -1;
        next = cut->headers[at];
        at += (cut->headers[at + 1] + 1u) * 8;
    }
    cut->l4_at = at;
    return next;
}

static bool find_payload(struct offload_cut *cut, uint32_t bytes)
{
    if (cut->l4_at + (cut->udp ? UDP_BYTES : TCP_BYTES) > bytes)
        return false;
    cut->header_bytes = cut->l4_at + UDP_BYTES;
    if (!cut->udp) {
        uint32_t len = (cut->headers[cut->l4_at + TCP_WORDS] >> 4) * 4u;
        if (len < TCP_BYTES)
            return false;
        cut->header_bytes = cut->l4_at + len;
    }
    if (cut->header_bytes > bytes)
        return false;
    cut->payload = cut->frame->bytes - cut->header_bytes;
    return true;
}

/* How many segments. False if there are too many, or they do not fit into a packet. */
static bool count_segments(struct offload_cut *cut)
{
    cut->segment = cut->frame->header.gso_size;
    if (cut->segment == 0)
        return false;
    uint32_t largest = cut->payload < cut->segment ? cut->payload : cut->segment;
    uint32_t ip_bytes = cut->header_bytes - cut->ip_at - (cut->ipv6 ? IPV6_BYTES : 0);
    cut->n = cut->payload ? (cut->payload - 1) / cut->segment + 1 : 1;
    return ip_bytes + largest <= IP_PACKET_MAX && cut->n <= OFFLOAD_SEGMENTS_MAX;
}

/* True if virtio's header speaks of the protocols that the frame has. */
static bool kind_fits(const struct offload_cut *cut, int protocol)
{
    const struct virtio_net_hdr_v1 *header = &cut->frame->header;
    uint32_t check = cut->udp ? UDP_CHECK : TCP_CHECK;
    if (!(header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || header->csum_start != cut->l4_at ||
        header->csum_offset != check)
        return false;
    switch (header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_TCPV4: return protocol == IPPROTO_TCP && !cut->ipv6;
    case VIRTIO_NET_HDR_GSO_TCPV6: return protocol == IPPROTO_TCP && cut->ipv6;
    case VIRTIO_NET_HDR_GSO_UDP_L4: return protocol == IPPROTO_UDP;
    default: return false;
    }
}

bool offload_cut_begin(struct offload_cut *cut, const struct frame *frame)
{
    cut->frame = frame;
    uint32_t bytes = (uint32_t)frame_read(frame, 0, cut->headers, sizeof(cut->headers));
    if (!find_ip(cut, bytes))
        return false;
    int protocol = cut->ipv6 ? find_l4_ipv6(cut, bytes) : find_l4_ipv4(cut, bytes);
    if (protocol < 0)
        return false;
    cut->udp = protocol == IPPROTO_UDP;
    return kind_fits(cut, protocol) && find_payload(cut, bytes) && count_segments(cut);
}

/* ---- Segments: making one -------------------------------------------------------------------- */

static void make_ip(const struct offload_cut *cut, uint32_t i, uint8_t *to, uint32_t bytes)
{
    uint8_t *ip = to + cut->ip_at;
    uint16_t check = 0;
    if (cut->ipv6) {
        put16(ip + IPV6_LENGTH, bytes - cut->ip_at - IPV6_BYTES);
        return;
    }
    put16(ip + IPV4_LENGTH, bytes - cut->ip_at);
    put16(ip + IPV4_ID, get16(ip + IPV4_ID) + i);
    memcpy(ip + IPV4_CHECK, &check, sizeof(check));
    check = (uint16_t)~fold(add_bytes(0, ip, cut->l4_at - cut->ip_at));
    memcpy(ip + IPV4_CHECK, &check, sizeof(check));
}

/* What happens once, happens in the first segment or in the last. */
static void make_tcp(const struct offload_cut *cut, uint32_t i, uint8_t *tcp)
{
    add32(tcp + TCP_SEQUENCE, i * cut->segment);
    if (i > 0)
        tcp[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
    if (i < cut->n - 1)
        tcp[TCP_FLAGS] &= (uint8_t)~(TCP_FIN | TCP_PSH);
}

/*
 * The checksum field holds the sum of the pseudo-header of the large frame; the segment's differs
 * by the length. So nothing has to be known of addresses, which routing headers can change.
 */
static void make_check(const struct offload_cut *cut, uint8_t *l4, uint32_t l4_bytes)
{
    uint32_t before = htonl(cut->frame->bytes - cut->l4_at);
    uint16_t minus = (uint16_t)~fold(before);
    uint64_t sum = (uint64_t)minus + htonl(l4_bytes);
    put_check(l4 + (cut->udp ? UDP_CHECK : TCP_CHECK), add_bytes(sum, l4, l4_bytes));
}

uint32_t offload_cut_make(const struct offload_cut *cut, uint32_t i, uint8_t *to)
{
    uint32_t from = i * cut->segment;
    uint32_t payload = cut->payload - from < cut->segment ? cut->payload - from : cut->segment;
    uint32_t bytes = cut->header_bytes + payload;
    uint8_t *l4 = to + cut->l4_at;
    memcpy(to, cut->headers, cut->header_bytes);
    frame_read(cut->frame, cut->header_bytes + from, to + cut->header_bytes, payload);
    make_ip(cut, i, to, bytes);
    if (cut->udp)
        put16(l4 + UDP_LENGTH, bytes - cut->l4_at);
    else
        make_tcp(cut, i, l4);
    make_check(cut, l4, bytes - cut->l4_at);
    return bytes;
}
