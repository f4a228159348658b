/* SPDX-License-Identifier: BSD-3-Clause */
/* user-spec.c - see user.h. */
#include "user.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#define PREFIX_MIN 8u  /* bits */
#define PREFIX_MAX 27u /* below it, address 15 is not the broadcast address */

/* Where hosts live in a network, as people know it from QEMU: 10.0.2.2 and so on. */
#define HOST_PART 0x0202u
#define DNS_PART 0x0203u
#define DHCP_PART 0x020fu

/* ---- Addresses ------------------------------------------------------------------------------- */

/* A decimal number from `min` to `max` that is all of the text. */
static bool read_number(const char *text, uint32_t min, uint32_t max, uint32_t *number)
{
    uint32_t n = 0;
    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        n = n * 10 + (uint32_t)(*text - '0');
        if (n > max)
            return false;
    }
    *number = n;
    return n >= min;
}

/* Copies the text up to `end` and returns what is behind that, or NULL. */
static const char *take_until(const char *text, char end, char *word, size_t size)
{
    const char *stop = strchr(text, end);
    if (!stop || (size_t)(stop - text) >= size)
        return NULL;
    memcpy(word, text, (size_t)(stop - text));
    word[stop - text] = '\0';
    return stop + 1;
}

static struct in_addr member(uint32_t network, uint32_t mask, uint32_t part)
{
    return (struct in_addr){htonl(network | (part & ~mask))};
}

const char *user_read_network(const char *text, struct user_network *network)
{
    char word[INET_ADDRSTRLEN];
    uint32_t bits;
    struct in_addr address;
    const char *rest = take_until(text, '/', word, sizeof(word));
    if (!rest || inet_pton(AF_INET, word, &address) != 1)
        return "it is not an IPv4 address, a slash and a number of bits";
    if (!read_number(rest, PREFIX_MIN, PREFIX_MAX, &bits))
        return "the bits behind the slash are 8 to 27";
    uint32_t mask = ~(UINT32_MAX >> bits);
    uint32_t base = ntohl(address.s_addr);
    if (base & ~mask)
        return "the address has bits behind those that belong to the network";
    if (base >> 24 == 0 || base >> 24 == IN_LOOPBACKNET || base >= 0xe0000000u)
        return "such addresses cannot be those of a network";
    *network = (struct user_network){
        .network = address,
        .mask = {htonl(mask)},
        .host = member(base, mask, HOST_PART),
        .dns = member(base, mask, DNS_PART),
        .dhcp = member(base, mask, DHCP_PART),
    };
    return NULL;
}

/* ADDRESS:PORT; the address may be absent. */
static const char *read_end(const char *text, struct in_addr *address, uint16_t *port)
{
    char word[INET_ADDRSTRLEN];
    uint32_t number;
    const char *rest = take_until(text, ':', word, sizeof(word));
    if (!rest || (word[0] && inet_pton(AF_INET, word, address) != 1))
        return "before the port is an IPv4 address and a colon, or the colon alone";
    if (!read_number(rest, 1, UINT16_MAX, &number))
        return "a port is 1 to 65535";
    *port = (uint16_t)number;
    return NULL;
}

static bool lives_in(const struct user_network *network, struct in_addr address)
{
    uint32_t mask = network->mask.s_addr;
    return (address.s_addr & mask) == network->network.s_addr &&
           address.s_addr != network->network.s_addr &&
           address.s_addr != (network->network.s_addr | ~mask) &&
           address.s_addr != network->host.s_addr && address.s_addr != network->dns.s_addr;
}

const char *user_read_forward(const char *text, const struct user_network *network,
                              struct user_forward *forward)
{
    char word[64];
    *forward = (struct user_forward){.udp = strncmp(text, "udp:", 4) == 0};
    if (!forward->udp && strncmp(text, "tcp:", 4) != 0)
        return "it starts with tcp: or udp:";
    const char *guest = take_until(text + 4, '-', word, sizeof(word));
    if (!guest)
        return "between the two ends is a minus sign";
    const char *wrong = read_end(word, &forward->host, &forward->host_port);
    if (!wrong)
        wrong = read_end(guest, &forward->guest, &forward->guest_port);
    if (!wrong && forward->guest.s_addr && !lives_in(network, forward->guest))
        return "the guest cannot have that address in its network";
    return wrong;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

static enum user_kind tcp_kind(const uint8_t *l4, size_t bytes)
{
    struct tcphdr tcp;
    if (bytes < sizeof(tcp))
        return USER_PLAIN; /* nobody takes it for anything */
    memcpy(&tcp, l4, sizeof(tcp));
    return tcp.syn && !tcp.ack ? USER_OPENS : USER_PLAIN;
}

static enum user_kind ip4_kind(const uint8_t *packet, size_t bytes)
{
    struct ip ip;
    if (bytes < sizeof(ip))
        return USER_PLAIN;
    memcpy(&ip, packet, sizeof(ip));
    size_t header = ip.ip_hl * 4u;
    if (ip.ip_p != IPPROTO_TCP || ntohs(ip.ip_off) & (IP_MF | IP_OFFMASK))
        return USER_OPENS;
    return header <= bytes ? tcp_kind(packet + header, bytes - header) : USER_PLAIN;
}

/* Who answers pings: the router and the name server, by their addresses here or of the link. */
static bool answers_ping6(const struct in6_addr *address)
{
    static const char *const names[] = {USER_HOST6, USER_DNS6, "fe80::2", "fe80::3"};
    struct in6_addr one;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (inet_pton(AF_INET6, names[i], &one) == 1 && memcmp(&one, address, sizeof(one)) == 0)
            return true;
    return false;
}

static enum user_kind ip6_kind(const uint8_t *packet, size_t bytes)
{
    struct ip6_hdr ip;
    if (bytes <= sizeof(ip))
        return USER_PLAIN;
    memcpy(&ip, packet, sizeof(ip));
    if (ip.ip6_nxt == IPPROTO_TCP)
        return tcp_kind(packet + sizeof(ip), bytes - sizeof(ip));
    if (ip.ip6_nxt != IPPROTO_ICMPV6)
        return USER_OPENS;
    return packet[sizeof(ip)] == ICMP6_ECHO_REQUEST && !answers_ping6(&ip.ip6_dst) ? USER_LOST
                                                                                   : USER_PLAIN;
}

enum user_kind user_kind_of(const uint8_t *frame, size_t bytes)
{
    if (bytes < ETH_HLEN)
        return USER_PLAIN;
    uint32_t type = (uint32_t)frame[12] << 8 | frame[13];
    if (type == ETH_P_IP)
        return ip4_kind(frame + ETH_HLEN, bytes - ETH_HLEN);
    return type == ETH_P_IPV6 ? ip6_kind(frame + ETH_HLEN, bytes - ETH_HLEN) : USER_PLAIN;
}
