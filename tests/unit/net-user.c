/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net-user.c - tests of the net plugin's back-end user: what its options say, and the network that
 * libslirp makes, with sockets of the test's own on the loopback address as the outside.
 */
#include "net-guest.h"
#include "user.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Options --------------------------------------------------------------------------------- */

static const char *text_of(struct in_addr address)
{
    static char text[4][INET_ADDRSTRLEN];
    static unsigned int next;
    return inet_ntop(AF_INET, &address, text[next++ % 4], INET_ADDRSTRLEN);
}

static void network_is(const char *text, const char *mask, const char *host, const char *dns,
                       const char *dhcp)
{
    struct user_network n;
    cr_assert_null(user_read_network(text, &n), "%s", text);
    cr_expect_str_eq(text_of(n.mask), mask);
    cr_expect_str_eq(text_of(n.host), host);
    cr_expect_str_eq(text_of(n.dns), dns);
    cr_expect_str_eq(text_of(n.dhcp), dhcp);
}

Test(user_spec, networks)
{
    network_is("10.0.2.0/24", "255.255.255.0", "10.0.2.2", "10.0.2.3", "10.0.2.15");
    network_is("10.0.0.0/8", "255.0.0.0", "10.0.2.2", "10.0.2.3", "10.0.2.15");
    network_is("172.16.4.0/22", "255.255.252.0", "172.16.6.2", "172.16.6.3", "172.16.6.15");
    network_is("192.168.1.32/27", "255.255.255.224", "192.168.1.34", "192.168.1.35",
               "192.168.1.47");
}

Test(user_spec, wrong_networks)
{
    static const char *const wrong[] = {
        "",          "10.0.2.0",      "/24",           "10.0.2.0/",      "10.0.2.0/24x",
        "10.0.2/24", "10.0.2.0/7",    "10.0.2.0/28",   "10.0.2.0/-24",   "10.0.2.0/ 24",
        "10.0.2.1/24", "127.0.0.0/8", "0.0.0.0/8",     "224.0.0.0/24",   "255.255.255.0/24",
        "fec0::/64", "10.0.2.0/4294967320", "111.111.111.1111/24", "10.0.2.0/24/24",
    };
    struct user_network n;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_expect_not_null(user_read_network(wrong[i], &n), "%s", wrong[i]);
}

static void forward_is(const char *text, bool udp, const char *host, uint16_t host_port,
                       const char *in_guest, uint16_t guest_port)
{
    struct user_network n;
    struct user_forward f;
    user_read_network(USER_NETWORK_DEFAULT, &n);
    const char *wrong = user_read_forward(text, &n, &f);
    cr_assert_null(wrong, "%s: %s", text, wrong);
    cr_expect_eq(f.udp, udp);
    cr_expect_str_eq(text_of(f.host), host);
    cr_expect_str_eq(text_of(f.guest), in_guest);
    cr_expect(f.host_port == host_port && f.guest_port == guest_port);
}

Test(user_spec, forwards)
{
    forward_is("tcp:127.0.0.1:2222-:22", false, "127.0.0.1", 2222, "0.0.0.0", 22);
    forward_is("udp::53-10.0.2.20:5353", true, "0.0.0.0", 53, "10.0.2.20", 5353);
    forward_is("tcp:192.168.100.100:65535-10.0.2.254:1", false, "192.168.100.100", 65535,
               "10.0.2.254", 1);
}

Test(user_spec, wrong_forwards)
{
    static const char *const wrong[] = {
        "",                "tcp",                  "tcp:",           "tcp::80",
        "sctp::80-:80",    "tcp:80-80",            "tcp::80-80",     "tcp:80-:80",
        "tcp::0-:80",      "tcp::80-:0",           "tcp::65536-:80", "tcp::80-:65536",
        "tcp::-:80",       "tcp::80-:",            "tcp::80x-:80",   "tcp::80-:80x",
        "tcp: :80-:80",    "tcp:localhost:80-:80", "tcp::80:80-:80", "tcp:::1:80-:80",
        "tcp::80-1.2.3.4:80", /* not in the network */
        "tcp::80-10.0.2.2:80", "tcp::80-10.0.2.3:80", "tcp::80-10.0.2.0:80",
        "tcp::80-10.0.2.255:80", /* nor those */
        "tcp:1111111111111111111111111111111111111111111111111111111111111111:80-:80",
    };
    struct user_network n;
    struct user_forward f;
    user_read_network(USER_NETWORK_DEFAULT, &n);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_expect_not_null(user_read_forward(wrong[i], &n, &f), "%s", wrong[i]);
}

/* ---- Frames ---------------------------------------------------------------------------------- */

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 1, 2, 3};
static const uint8_t all_macs[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

struct packet {
    struct ether_header eth;
    struct iphdr ip;
    union {
        struct tcphdr tcp;
        struct udphdr udp;
    };
    uint8_t data[600];
} __attribute__((packed));

#define TCP_AT (sizeof(struct ether_header) + sizeof(struct iphdr))

static uint32_t add_words(uint32_t sum, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i++)
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
    return sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

static uint32_t ip_of(const char *text)
{
    struct in_addr address;
    cr_assert_eq(inet_pton(AF_INET, text, &address), 1);
    return address.s_addr;
}

/* Completes an IPv4 packet with `bytes` behind the IP header. Returns the frame's bytes. */
static uint32_t finish_ip(struct packet *p, uint8_t protocol, const char *from, const char *to,
                          size_t bytes)
{
    memcpy(p->eth.ether_shost, guest_mac, 6);
    memcpy(p->eth.ether_dhost, all_macs, 6);
    p->eth.ether_type = htons(ETHERTYPE_IP);
    p->ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64, .protocol = protocol,
                           .saddr = ip_of(from), .daddr = ip_of(to),
                           .tot_len = htons((uint16_t)(sizeof(p->ip) + bytes))};
    p->ip.check = fold(add_words(0, &p->ip, sizeof(p->ip)));
    return (uint32_t)(TCP_AT + bytes);
}

static uint32_t make_udp(struct packet *p, const char *from, uint16_t from_port, const char *to,
                         uint16_t to_port, const void *data, size_t bytes)
{
    memset(p, 0, sizeof(*p));
    p->udp = (struct udphdr){.source = htons(from_port), .dest = htons(to_port),
                             .len = htons((uint16_t)(sizeof(p->udp) + bytes))};
    memcpy((uint8_t *)p + TCP_AT + sizeof(p->udp), data, bytes);
    return finish_ip(p, IPPROTO_UDP, from, to, sizeof(p->udp) + bytes);
}

/* One end of a TCP connection, in the guest. */
struct tcp {
    const char *address, *other;
    uint16_t port, other_port; /* in network order, as they come */
    uint32_t seq, ack;
};

static uint32_t make_tcp(struct packet *p, struct tcp *tcp, bool syn, const void *data,
                         size_t bytes)
{
    memset(p, 0, sizeof(*p));
    p->tcp.source = tcp->port;
    p->tcp.dest = tcp->other_port;
    p->tcp.seq = htonl(tcp->seq);
    p->tcp.ack_seq = htonl(tcp->ack);
    p->tcp.doff = 5;
    p->tcp.syn = syn;
    p->tcp.ack = tcp->ack != 0;
    p->tcp.psh = bytes > 0;
    p->tcp.window = htons(8192);
    memcpy(p->data, data, bytes);
    size_t all = sizeof(p->tcp) + bytes;
    uint32_t frame = finish_ip(p, IPPROTO_TCP, tcp->address, tcp->other, all);
    uint32_t sum = add_words(0, &p->ip.saddr, 8) + IPPROTO_TCP + (uint32_t)all;
    p->tcp.check = fold(add_words(sum, (uint8_t *)p + TCP_AT, all));
    tcp->seq += (uint32_t)bytes + syn;
    return frame;
}

Test(user_spec, frames)
{
    struct packet p;
    struct tcp tcp = {.address = "10.0.2.15", .other = "1.2.3.4", .seq = 1};
    uint32_t n = make_tcp(&p, &tcp, true, "", 0);
    cr_expect_eq(user_kind_of((uint8_t *)&p, n), USER_OPENS);
    for (uint32_t i = 0; i < n; i++) { /* in memory that ends where the frame does */
        uint8_t *copy = malloc(i + 1);
        memcpy(copy, &p, i);
        user_kind_of(copy, i);
        free(copy);
    }
    p.ip.frag_off = htons(IP_MF);
    p.tcp.syn = 0;
    cr_expect_eq(user_kind_of((uint8_t *)&p, n), USER_OPENS, "a fragment can be anything");
    p.ip.ihl = 15;
    cr_expect_eq(user_kind_of((uint8_t *)&p, n), USER_OPENS);
    tcp.ack = 1;
    n = make_tcp(&p, &tcp, true, "", 0);
    cr_expect_eq(user_kind_of((uint8_t *)&p, n), USER_PLAIN, "SYN and ACK");
    n = make_tcp(&p, &tcp, false, "x", 1);
    cr_expect_eq(user_kind_of((uint8_t *)&p, n), USER_PLAIN);
    n = make_udp(&p, "10.0.2.15", 1, "1.2.3.4", 1, "", 0);
    cr_expect_eq(user_kind_of((uint8_t *)&p, n), USER_OPENS);
    p.eth.ether_type = htons(ETHERTYPE_ARP);
    cr_expect_eq(user_kind_of((uint8_t *)&p, n), USER_PLAIN);
}

/* A ping, or another ICMPv6 message, to `to`. */
static enum user_kind icmp6(const char *to, uint8_t type)
{
    struct {
        struct ether_header eth;
        struct ip6_hdr ip;
        uint8_t type;
    } __attribute__((packed)) p = {.eth.ether_type = htons(ETHERTYPE_IPV6), .type = type};
    struct in6_addr address;
    p.ip.ip6_nxt = IPPROTO_ICMPV6;
    cr_assert_eq(inet_pton(AF_INET6, to, &address), 1);
    p.ip.ip6_dst = address;
    return user_kind_of((uint8_t *)&p, sizeof(p));
}

Test(user_spec, pings_of_ipv6)
{
    cr_expect_eq(icmp6("fec0::2", 128), USER_PLAIN);
    cr_expect_eq(icmp6("fe80::3", 128), USER_PLAIN);
    cr_expect_eq(icmp6("2001:db8::1", 128), USER_LOST);
    cr_expect_eq(icmp6("ff02::1", 128), USER_LOST);
    cr_expect_eq(icmp6("ff02::2", 133), USER_PLAIN, "who looks for a router");
}

#ifdef HAVE_SLIRP

/* ---- The network ----------------------------------------------------------------------------- */

#define BUFFER 2048u
#define SECOND 1000000000ull

static struct guest guest;

struct arp_packet {
    struct ether_header eth;
    struct ether_arp arp;
} __attribute__((packed));

static void send_arp(uint16_t op, const char *from, const char *to)
{
    struct arp_packet p = {.eth.ether_type = htons(ETHERTYPE_ARP)};
    uint32_t sender = ip_of(from), target = ip_of(to);
    memcpy(p.eth.ether_dhost, all_macs, 6);
    memcpy(p.eth.ether_shost, guest_mac, 6);
    p.arp.ea_hdr = (struct arphdr){htons(ARPHRD_ETHER), htons(ETHERTYPE_IP), 6, 4, htons(op)};
    memcpy(p.arp.arp_sha, guest_mac, 6);
    memcpy(p.arp.arp_spa, &sender, 4);
    memcpy(p.arp.arp_tpa, &target, 4);
    cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, &p, sizeof(p))));
}

static uint32_t arp_sender(const uint8_t *frame)
{
    uint32_t sender;
    memcpy(&sender, ((const struct arp_packet *)frame)->arp.arp_spa, 4);
    return sender;
}

/* The next frame of IPv4 with this protocol; questions for the guest's address are answered. */
static const struct packet *receive_ip(uint8_t protocol)
{
    const uint8_t *frame;
    for (;;) {
        guest_post(&guest, 1, BUFFER);
        uint32_t bytes = guest_receive(&guest, &frame);
        cr_assert_gt(bytes, 0, "no frame of protocol %u came", protocol);
        const struct packet *p = (const struct packet *)frame;
        if (p->eth.ether_type == htons(ETHERTYPE_ARP))
            send_arp(ARPOP_REPLY, "10.0.2.15", "10.0.2.2");
        else if (p->eth.ether_type == htons(ETHERTYPE_IP) && p->ip.protocol == protocol)
            return p;
    }
}

static int listen_tcp(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(fd, 1), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static uint16_t free_port(void)
{
    uint16_t port;
    close(listen_tcp(&port));
    return port;
}

static int connect_to(int type, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(0x7f000001)};
    struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

Test(net_user, arp)
{
    const uint8_t *frame;
    guest_open(&guest, "backend=user", true);
    guest_post(&guest, 1, BUFFER);
    send_arp(ARPOP_REQUEST, "10.0.2.15", "10.0.2.2");
    cr_assert_geq(guest_receive(&guest, &frame), sizeof(struct arp_packet));
    const struct arp_packet *p = (const struct arp_packet *)frame;
    cr_assert_eq(p->arp.ea_hdr.ar_op, htons(ARPOP_REPLY));
    cr_assert_eq(arp_sender(frame), ip_of("10.0.2.2"));
    cr_assert_arr_eq(p->eth.ether_dhost, guest_mac, 6);
    cr_assert_eq(hvv_harness_counter(&guest.h, "tx-sent"), 1);
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-received"), 1);
    guest_close(&guest);
}

/* Sends a DHCP discover and returns the address that is offered, in network order. */
static uint32_t discover(void)
{
    uint8_t bootp[300] = {1, 1, 6, 0, 0x11, 0x22, 0x33, 0x44};
    static const uint8_t options[] = {0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255};
    struct packet p;
    uint32_t offered;
    memcpy(bootp + 28, guest_mac, 6);
    memcpy(bootp + 236, options, sizeof(options));
    uint32_t n = make_udp(&p, "0.0.0.0", 68, "255.255.255.255", 67, bootp, sizeof(bootp));
    guest_post(&guest, 1, BUFFER);
    cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, &p, n)));
    const struct packet *reply = receive_ip(IPPROTO_UDP);
    const uint8_t *answer = (const uint8_t *)reply + TCP_AT + sizeof(struct udphdr);
    cr_assert_eq(reply->udp.dest, htons(68));
    cr_assert_eq(answer[0], 2, "it is no reply");
    cr_assert_arr_eq(answer + 4, bootp + 4, 4);
    cr_assert_arr_eq(answer + 240, ((uint8_t[]){53, 1, 2}), 3, "it is no offer");
    memcpy(&offered, answer + 16, 4);
    return offered;
}

Test(net_user, dhcp)
{
    guest_open(&guest, "backend=user", true);
    cr_assert_eq(discover(), ip_of("10.0.2.15"));
    guest_close(&guest);
}

Test(net_user, dhcp_of_another_network)
{
    guest_open(&guest, "backend=user,network=192.168.76.0/24,restrict", true);
    cr_assert_eq(discover(), ip_of("192.168.76.15"));
    guest_close(&guest);
}

/* Gives both sides of a connection something to say. */
static void talk(struct tcp *tcp, int fd)
{
    struct packet p;
    char got[16];
    cr_assert_eq(send(fd, "hello", 5, 0), 5);
    const struct packet *in;
    do
        in = receive_ip(IPPROTO_TCP);
    while (ntohs(in->ip.tot_len) <= sizeof(in->ip) + 4u * in->tcp.doff);
    cr_assert_eq(ntohl(in->tcp.seq), tcp->ack);
    cr_assert_arr_eq((const uint8_t *)in + TCP_AT + 4u * in->tcp.doff, "hello", 5);
    tcp->ack += 5;
    uint32_t n = make_tcp(&p, tcp, false, "world", 5);
    cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, &p, n)));
    cr_assert_eq(recv(fd, got, sizeof(got), 0), 5);
    cr_assert_arr_eq(got, "world", 5);
}

Test(net_user, connection_to_the_guest)
{
    char spec[128];
    struct packet p;
    uint16_t port = free_port();
    snprintf(spec, sizeof(spec), "backend=user,restrict,hostfwd=tcp:127.0.0.1:%u-:22", port);
    guest_open(&guest, spec, true);
    int fd = connect_to(SOCK_STREAM, port);
    cr_assert_geq(fd, 0);
    const struct packet *syn = receive_ip(IPPROTO_TCP);
    cr_assert(syn->tcp.syn && !syn->tcp.ack && syn->tcp.dest == htons(22));
    cr_assert_eq(syn->ip.daddr, ip_of("10.0.2.15"));
    struct tcp tcp = {"10.0.2.15", "10.0.2.2", syn->tcp.dest, syn->tcp.source, 1000,
                      ntohl(syn->tcp.seq) + 1};
    uint32_t n = make_tcp(&p, &tcp, true, "", 0);
    cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, &p, n)));
    talk(&tcp, fd);
    close(fd);
    do /* the guest hears of the end */
        syn = receive_ip(IPPROTO_TCP);
    while (!syn->tcp.fin);
    guest_close(&guest);
}

/* Connects the guest to a port of the host. Returns the host's end. */
static int connect_guest(struct tcp *tcp)
{
    uint16_t port;
    struct packet p;
    int listener = listen_tcp(&port);
    *tcp = (struct tcp){"10.0.2.15", "10.0.2.2", htons(40000), htons(port), 1000, 0};
    send_arp(ARPOP_REQUEST, "10.0.2.15", "10.0.2.15");
    uint32_t n = make_tcp(&p, tcp, true, "", 0);
    cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, &p, n)));
    const struct packet *reply = receive_ip(IPPROTO_TCP);
    cr_assert(reply->tcp.syn && reply->tcp.ack && ntohl(reply->tcp.ack_seq) == tcp->seq);
    tcp->ack = ntohl(reply->tcp.seq) + 1;
    n = make_tcp(&p, tcp, false, "", 0);
    cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, &p, n)));
    int fd = accept(listener, NULL, NULL);
    cr_assert_geq(fd, 0);
    close(listener);
    return fd;
}

Test(net_user, connection_from_the_guest)
{
    struct tcp tcp;
    guest_open(&guest, "backend=user", true);
    int fd = connect_guest(&tcp);
    talk(&tcp, fd);
    close(fd);
    guest_close(&guest);
}

/* What the guest does not acknowledge stays in the socket, and nobody looks there all the time. */
Test(net_user, guest_that_does_not_read)
{
    static uint8_t much[1u << 20];
    struct tcp tcp;
    guest_open(&guest, "backend=user", true);
    int fd = connect_guest(&tcp);
    while (send(fd, much, sizeof(much), MSG_DONTWAIT) > 0)
        cr_assert(hvv_harness_settle(&guest.h));
    cr_assert_eq(errno, EAGAIN);
    cr_assert(hvv_harness_settle(&guest.h), "it is looked at again and again");
    close(fd);
    guest_close(&guest);
}

/* Connections that find no file descriptor wait, without being looked at all the time. */
Test(net_user, no_descriptor_for_a_connection)
{
    char spec[128];
    uint16_t port = free_port();
    int taken[64], n = 0;
    struct rlimit files = {sizeof(taken) / sizeof(taken[0]), 1024};
    snprintf(spec, sizeof(spec), "backend=user,hostfwd=tcp:127.0.0.1:%u-:22", port);
    guest_open(&guest, spec, true);
    int fd = connect_to(SOCK_STREAM, port);
    cr_assert_geq(fd, 0);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    while ((taken[n] = dup(0)) >= 0)
        n++;
    cr_assert(hvv_harness_settle(&guest.h), "it is looked at again and again");
    cr_assert(strstr(guest.h.log, "cannot be taken"), "%s", guest.h.log);
    while (n > 0)
        close(taken[--n]);
    hvv_harness_advance(&guest.h, 2 * SECOND); /* after one, with the next turn of libslirp */
    cr_assert(receive_ip(IPPROTO_TCP)->tcp.syn);
    close(fd);
    guest_close(&guest);
}

Test(net_user, datagrams_to_the_guest)
{
    char spec[128], got[16];
    struct packet p;
    uint16_t port = free_port();
    snprintf(spec, sizeof(spec), "backend=user,hostfwd=udp:127.0.0.1:%u-10.0.2.15:53", port);
    guest_open(&guest, spec, true);
    int fd = connect_to(SOCK_DGRAM, port);
    cr_assert_eq(send(fd, "question", 8, 0), 8);
    const struct packet *in = receive_ip(IPPROTO_UDP);
    cr_assert_eq(in->udp.dest, htons(53));
    cr_assert_arr_eq((const uint8_t *)in + TCP_AT + sizeof(in->udp), "question", 8);
    uint32_t n = make_udp(&p, "10.0.2.15", 53, text_of((struct in_addr){in->ip.saddr}),
                          ntohs(in->udp.source), "answer", 6);
    cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, &p, n)));
    cr_assert_eq(recv(fd, got, sizeof(got), 0), 6);
    cr_assert_arr_eq(got, "answer", 6);
    close(fd);
    guest_close(&guest);
}

/* None is lost, and none comes before another: the kernel keeps those there is no room for here. */
Test(net_user, datagrams_wait_for_buffers)
{
    enum { DATAGRAMS = 200 };
    char spec[128];
    uint16_t port = free_port();
    snprintf(spec, sizeof(spec), "backend=user,hostfwd=udp:127.0.0.1:%u-10.0.2.15:53", port);
    guest_open(&guest, spec, true);
    int fd = connect_to(SOCK_DGRAM, port);
    cr_assert_eq(send(fd, "first", 5, 0), 5);
    receive_ip(IPPROTO_UDP);
    for (uint32_t i = 0; i < DATAGRAMS; i++)
        cr_assert_eq(send(fd, &i, sizeof(i), 0), (ssize_t)sizeof(i));
    cr_assert(hvv_harness_settle(&guest.h), "it is looked at again and again");
    for (uint32_t i = 0; i < DATAGRAMS; i++) {
        const struct packet *in = receive_ip(IPPROTO_UDP);
        cr_assert_arr_eq((const uint8_t *)in + TCP_AT + sizeof(in->udp), &i, sizeof(i));
    }
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-no-buffer"), 0);
    close(fd);
    guest_close(&guest);
}

/* A few frames wait for a guest without buffers, and no more. */
Test(net_user, guest_without_buffers)
{
    const uint8_t *frame;
    guest_open(&guest, "backend=user", true);
    for (int i = 0; i < 100; i++)
        send_arp(ARPOP_REQUEST, "10.0.2.15", "10.0.2.2");
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-no-buffer"), 36);
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-frames"), 36, "the others are not done yet");
    cr_assert(hvv_harness_rests(&guest.h));
    guest_post(&guest, 65, BUFFER);
    for (int i = 0; i < 64; i++)
        cr_assert_gt(guest_receive(&guest, &frame), 0);
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-received"), 64);
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-frames"), 100);
    send_arp(ARPOP_REQUEST, "10.0.2.15", "10.0.2.2");
    cr_assert_gt(guest_receive(&guest, &frame), 0);
    guest_close(&guest);
}

/* A frame does not overtake one that waits, even if the guest has buffers by then. */
Test(net_user, order)
{
    const uint8_t *frame;
    guest_open(&guest, "backend=user", true);
    send_arp(ARPOP_REQUEST, "10.0.2.15", "10.0.2.2");
    guest_put(&guest, 2, BUFFER);
    send_arp(ARPOP_REQUEST, "10.0.2.15", "10.0.2.3");
    hvv_harness_kick(&guest.h, 0);
    cr_assert_gt(guest_receive(&guest, &frame), 0);
    cr_assert_eq(arp_sender(frame), ip_of("10.0.2.2"));
    cr_assert_gt(guest_receive(&guest, &frame), 0);
    cr_assert_eq(arp_sender(frame), ip_of("10.0.2.3"));
    guest_close(&guest);
}

Test(net_user, guest_goes_while_frames_wait)
{
    guest_open(&guest, "backend=user", true);
    for (int i = 0; i < 10; i++)
        send_arp(ARPOP_REQUEST, "10.0.2.15", "10.0.2.2");
    cr_assert(hvv_harness_stop(&guest.h));
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-no-buffer"), 10);
    guest_close(&guest);
}

Test(net_user, refused_frames)
{
    static uint8_t frame[1515];
    guest_open(&guest, "backend=user", true);
    frame[12] = 0x88;
    frame[13] = 0xb5;
    cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, frame, 1514)));
    cr_assert_eq(hvv_harness_counter(&guest.h, "tx-sent"), 1);
    cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, frame, 1515)));
    cr_assert_eq(hvv_harness_counter(&guest.h, "tx-refused"), 1);
    guest_close(&guest);
}

/* Many connections of the guest do not use up the descriptors of the daemon. */
Test(net_user, number_of_sockets_is_bounded)
{
    uint16_t port;
    struct packet p;
    struct rlimit files = {200, 200};
    int listener = listen_tcp(&port);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    guest_open(&guest, "backend=user", true);
    for (uint16_t i = 0; i < 200; i++) {
        struct tcp tcp = {"10.0.2.15", "10.0.2.2", htons((uint16_t)(40000 + i)), htons(port), 1, 0};
        uint32_t n = make_tcp(&p, &tcp, true, "", 0);
        cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, &p, n)));
    }
    cr_assert_eq(hvv_harness_counter(&guest.h, "tx-sent"), 50);
    cr_assert_eq(hvv_harness_counter(&guest.h, "tx-refused"), 150);
    int fd = open("/dev/null", O_RDONLY);
    cr_assert(fd >= 0 && fd < 200);
    close(fd);
    close(listener);
    guest_close(&guest);
}

/* The one timer is that of IPv6, which advertises the router every few minutes. */
Test(net_user, rests_when_idle)
{
    guest_open(&guest, "backend=user", true);
    cr_assert_eq(hvv_harness_timers(&guest.h), 1);
    guest_post(&guest, 1, BUFFER);
    send_arp(ARPOP_REQUEST, "10.0.2.15", "10.0.2.2");
    cr_assert_eq(hvv_harness_timers(&guest.h), 1);
    guest_close(&guest);
}

/* libslirp counts half seconds for each open port, and need not when there is nothing to time. */
Test(net_user, rests_with_an_open_port)
{
    char spec[128];
    snprintf(spec, sizeof(spec), "backend=user,hostfwd=tcp:127.0.0.1:%u-:22", free_port());
    guest_open(&guest, spec, true);
    cr_assert_eq(hvv_harness_timers(&guest.h), 2);
    hvv_harness_advance(&guest.h, 16 * 60 * SECOND);
    cr_assert_eq(hvv_harness_timers(&guest.h), 1);
    send_arp(ARPOP_REQUEST, "10.0.2.15", "10.0.2.15"); /* something happens */
    cr_assert_eq(hvv_harness_timers(&guest.h), 2);
    guest_close(&guest);
}

/* ---- What is refused ------------------------------------------------------------------------- */

static void refused(const char *spec, int err, const char *option, const char *says)
{
    struct hvv_harness h;
    cr_expect(hvv_harness_refuses(&h, hvv_plugin_v1(), spec, err, option, says), "%s: %s: %s",
              spec, h.error_option, h.error);
}

Test(net_user, options)
{
    refused("backend=user,network=10.0.2.1/24", EINVAL, "network", "'10.0.2.1/24'");
    refused("backend=user,hostfwd=tcp:80", EINVAL, "hostfwd", "'tcp:80'");
    refused("backend=user,hostfwd=tcp::1-192.168.7.1:1", EINVAL, "hostfwd", "the guest cannot");
    refused("backend=user,hostfwd=tcp:192.0.2.77:80-:80", EADDRNOTAVAIL, "hostfwd", "192.0.2.77");
    refused("backend=user,queues=2", EINVAL, "queues", "one pair");
}

Test(net_user, port_in_use)
{
    char spec[200], port_text[16];
    uint16_t used, other = free_port();
    int fd = listen_tcp(&used);
    snprintf(spec, sizeof(spec), "backend=user,hostfwd=tcp:127.0.0.1:%u-:1,"
             "hostfwd=tcp:127.0.0.1:%u-:2", other, used);
    snprintf(port_text, sizeof(port_text), "port %u ", used);
    refused(spec, EADDRINUSE, "hostfwd", port_text);
    cr_expect_lt(connect_to(SOCK_STREAM, other), 0, "the first port is left open");
    close(fd);
    guest_open(&guest, spec, false);
    guest_close(&guest);
    cr_expect_lt(connect_to(SOCK_STREAM, other), 0, "the port is open after the device's end");
}

#else

Test(net_user, not_in_this_build)
{
    struct hvv_harness h;
    cr_assert(hvv_harness_refuses(&h, hvv_plugin_v1(), "backend=user", ENOTSUP, "backend",
                                  "no libslirp"),
              "%s: %s", h.error_option, h.error);
}

#endif
