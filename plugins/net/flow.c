/* SPDX-License-Identifier: BSD-3-Clause */
/* flow.c - see flow.h. The frame's first bytes are copied once; what is cut off is not hashed. */
#include "flow.h"

#include <linux/if_ether.h>
#include <netinet/in.h>

#define START_BYTES 128u
#define TYPE_AT 12u
#define FRAGMENT_BITS 0x3fffu /* of the word with offset and flags: more fragments, the offset */

struct start {
    uint8_t byte[START_BYTES];
    uint32_t n;
};

static uint16_t word(const struct start *s, uint32_t i)
{
    return i + 2 <= s->n ? (uint16_t)(s->byte[i] << 8 | s->byte[i + 1]) : 0;
}

/* Adds `bytes` of the start from `from` on (FNV-1a). */
static uint32_t add(uint32_t sum, const struct start *s, uint32_t from, uint32_t bytes)
{
    for (uint32_t i = from; i < from + bytes && i < s->n; i++)
        sum = (sum ^ s->byte[i]) * 16777619u;
    return sum;
}

static uint32_t add_ports(uint32_t sum, const struct start *s, uint8_t protocol, uint32_t at)
{
    sum = (sum ^ protocol) * 16777619u;
    if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP)
        sum = add(sum, s, at, 4);
    return sum;
}

/* Of fragments only the first one has ports: they go by their addresses alone, to stay together. */
static uint32_t hash_ipv4(uint32_t sum, const struct start *s, uint32_t at)
{
    if (at + 20 > s->n)
        return sum;
    sum = add(sum, s, at + 12, 8);
    if (word(s, at + 6) & FRAGMENT_BITS)
        return sum;
    return add_ports(sum, s, s->byte[at + 9], at + 4u * (s->byte[at] & 15));
}

static uint32_t hash_ipv6(uint32_t sum, const struct start *s, uint32_t at)
{
    if (at + 40 > s->n)
        return sum;
    sum = add(sum, s, at + 8, 32);
    return add_ports(sum, s, s->byte[at + 6], at + 40);
}

uint32_t flow_hash(const struct frame *frame)
{
    struct start s;
    uint32_t at = TYPE_AT;
    s.n = (uint32_t)frame_read(frame, 0, s.byte, sizeof(s.byte));
    while ((word(&s, at) == ETH_P_8021Q || word(&s, at) == ETH_P_8021AD) && at < TYPE_AT + 8)
        at += 4;
    uint32_t sum = add(2166136261u, &s, 0, TYPE_AT);
    switch (word(&s, at)) {
    case ETH_P_IP: sum = hash_ipv4(sum, &s, at + 2); break;
    case ETH_P_IPV6: sum = hash_ipv6(sum, &s, at + 2); break;
    default: break;
    }
    return sum ^ sum >> 16;
}
