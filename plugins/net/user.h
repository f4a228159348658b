/* SPDX-License-Identifier: BSD-3-Clause */
/* user.h - what the options of the user back-end say. Pure. */
#ifndef NET_USER_H
#define NET_USER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define USER_NETWORK_DEFAULT "10.0.2.0/24"

/* The IPv6 network, as QEMU has it: its router and its name server. */
#define USER_PREFIX6 "fec0::"
#define USER_PREFIX6_BITS 64
#define USER_HOST6 "fec0::2"
#define USER_DNS6 "fec0::3"

/* The guest's network, and who lives in it beside the guest. */
struct user_network {
    struct in_addr network, mask;
    struct in_addr host; /* the router, and this machine */
    struct in_addr dns;
    struct in_addr dhcp; /* the first address that is given to a guest */
};

/* A port of this machine that leads to one of the guest. */
struct user_forward {
    bool udp;
    struct in_addr host;  /* 0: all addresses */
    struct in_addr guest; /* 0: the first one that DHCP gives */
    uint16_t host_port, guest_port;
};

/* ADDRESS/BITS. NULL if it is right, else what is wrong with it. */
const char *user_read_network(const char *text, struct user_network *network);

/* tcp|udp:[ADDRESS]:PORT-[ADDRESS]:PORT. NULL if it is right, else what is wrong with it. */
const char *user_read_forward(const char *text, const struct user_network *network,
                              struct user_forward *forward);

/* What a frame of the guest can do to the network. */
enum user_kind {
    USER_PLAIN,
    USER_OPENS, /* it may open a socket: all but what is plainly within a TCP connection */
    USER_LOST,  /* a ping to a far IPv6 address: libslirp has no way for it, and writes to stderr */
};

enum user_kind user_kind_of(const uint8_t *frame, size_t bytes);

#endif
