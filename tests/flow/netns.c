/* SPDX-License-Identifier: BSD-3-Clause */
/* netns.c - see netns.h. */
#include "netns.h"

#include "clock.h"
#include "daemon.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#define TIMEOUT_MS 15000
#define WORDS_MAX 24
#define NODE "/dev/net/tun"
#define IP_AT 14u
#define TCP_AT 34u

/* ---- the namespace --------------------------------------------------------------------------- */

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

static const char *become_root(void)
{
    char map[64];
    snprintf(map, sizeof(map), "0 %u 1", (unsigned)geteuid());
    unsigned gid = (unsigned)getegid();
    if (unshare(CLONE_NEWUSER) < 0)
        return "neither root nor allowed to make user namespaces";
    if (!write_text("/proc/self/setgroups", "deny") || !write_text("/proc/self/uid_map", map))
        return "the user namespace cannot be set up";
    snprintf(map, sizeof(map), "0 %u 1", gid);
    return write_text("/proc/self/gid_map", map) ? NULL : "the user namespace cannot be set up";
}

/* Some systems let only root open it. Of no importance but to rows with other users. */
static void open_node_to_all(void)
{
    char path[] = "/tmp/hvv-tun-XXXXXX";
    struct stat st;
    if (stat(NODE, &st) < 0 || (st.st_mode & 0666) == 0666 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || !mkdtemp(path))
        return;
    char node[sizeof(path) + 8];
    snprintf(node, sizeof(node), "%s/tun", path);
    if (mknod(node, S_IFCHR | 0666, st.st_rdev) == 0 && chmod(node, 0666) == 0)
        (void)!mount(node, NODE, NULL, MS_BIND, NULL);
    unlink(node);
    rmdir(path);
}

bool netns_has_nobody(void)
{
    unsigned inside = 0, outside = 0, count = 0;
    FILE *file = fopen("/proc/self/uid_map", "re");
    int n = file ? fscanf(file, "%u %u %u", &inside, &outside, &count) : 0;
    if (file)
        fclose(file);
    return n == 3 && count > 65534;
}

const char *netns_enter(void)
{
    if (geteuid() != 0) {
        const char *why = become_root();
        if (why)
            return why;
    }
    if (unshare(CLONE_NEWNET) < 0)
        return "no network namespace can be made";
    open_node_to_all();
    int fd = open(NODE, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return "/dev/net/tun cannot be opened";
    close(fd);
    /* Nothing but what the tests send. */
    write_text("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    write_text("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    return strstr(ip_says("-V"), "iproute2") ? NULL : "there is no ip program (iproute2)";
}

/* ---- ip -------------------------------------------------------------------------------------- */

static struct output said;

__attribute__((format(printf, 1, 0))) static bool run_ip(const char *format, va_list args)
{
    char text[512], *save = NULL;
    const char *argv[WORDS_MAX + 1] = {"/usr/bin/env", "ip"};
    size_t n = 2;
    vsnprintf(text, sizeof(text), format, args);
    if (strncmp(text, "tc ", 3) == 0) /* the other program of the same package */
        n = 1;
    for (char *w = strtok_r(text, " ", &save); w && n < WORDS_MAX; w = strtok_r(NULL, " ", &save))
        argv[n++] = w;
    argv[n] = NULL;
    return run(&said, NULL, argv, TIMEOUT_MS, false) && said.code == 0;
}

bool ip(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    va_start(args, format);
    bool ok = run_ip(format, args);
    va_end(args);
    return ok || row_fail("ip %s: %s", text, said.err);
}

const char *ip_says(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)run_ip(format, args);
    va_end(args);
    return said.out;
}

bool ip_becomes(const char *words, const char *part, bool there)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    while ((strstr(ip_says("%s", words), part) != NULL) != there) {
        if (clock_left_ms(deadline) == 0)
            return row_fail("\"ip %s\" %s \"%s\": %s", words, there ? "never says" : "still says",
                            part, said.out);
        poll(NULL, 0, 10);
    }
    return true;
}

bool netns_has(const char *interface)
{
    return if_nametoindex(interface) != 0;
}

bool netns_loses(const char *interface)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    while (netns_has(interface)) {
        if (clock_left_ms(deadline) == 0)
            return row_fail("%s is still there: %s", interface, ip_says("link show %s", interface));
        poll(NULL, 0, 2);
    }
    return true;
}

bool netns_tso_becomes(const char *interface, bool on)
{
    struct ethtool_value value = {.cmd = ETHTOOL_GTSO};
    struct ifreq ifr = {.ifr_data = (void *)&value};
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", interface);
    bool is = !on;
    while (ioctl(fd, SIOCETHTOOL, &ifr) == 0 && (is = value.data != 0) != on &&
           clock_left_ms(deadline) > 0)
        poll(NULL, 0, 2);
    close(fd);
    return is == on ||
           row_fail("%s %s large frames", interface, on ? "never takes" : "still takes");
}

/* ---- frames ---------------------------------------------------------------------------------- */

int wire_open(const char *interface, uint16_t type)
{
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htobe16(type)};
    int on = 1, bytes = 8 << 20, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    at.sll_ifindex = (int)if_nametoindex(interface);
    if (fd >= 0 && setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) == 0 &&
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) == 0 &&
        bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0) {
        /* Many frames wait in here while the test looks elsewhere. */
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
        return fd;
    }
    row_fail("no packet socket on %s: %s", interface, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

bool wire_send(int fd, const struct virtio_net_hdr *header, const void *frame, size_t bytes)
{
    static struct virtio_net_hdr plain;
    struct iovec iov[2] = {{header ? (void *)(uintptr_t)header : &plain, sizeof(plain)},
                           {(void *)(uintptr_t)frame, bytes}};
    struct sockaddr_ll to;
    socklen_t len = sizeof(to);
    getsockname(fd, (struct sockaddr *)&to, &len);
    memcpy(&to.sll_protocol, (const uint8_t *)frame + 12, 2); /* for who looks into it on its way */
    const struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = iov,
                                   .msg_iovlen = 2};
    ssize_t n = sendmsg(fd, &message, 0);
    return n == (ssize_t)(sizeof(plain) + bytes) ||
           row_fail("a frame of %zu bytes cannot be sent: %s", bytes, strerror(errno));
}

int wire_receive(int fd, struct virtio_net_hdr *header, void *frame, size_t max, int timeout_ms)
{
    struct virtio_net_hdr own;
    struct iovec iov[2] = {{header ? header : &own, sizeof(own)}, {frame, max}};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, timeout_ms) <= 0)
        return -1;
    ssize_t n = readv(fd, iov, 2);
    return n < (ssize_t)sizeof(own) ? -1 : (int)(n - (ssize_t)sizeof(own));
}

/* ---- TCP ------------------------------------------------------------------------------------- */

static uint32_t sum(const uint8_t *data, uint32_t bytes, uint32_t start)
{
    for (uint32_t i = 0; i < bytes; i++)
        start += i % 2 ? data[i] : (uint32_t)data[i] << 8;
    return start;
}

static uint16_t fold(uint32_t value)
{
    while (value >> 16)
        value = (value & 0xffff) + (value >> 16);
    return (uint16_t)value;
}

static void put16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* Addresses, protocol and length: what a TCP checksum has beside the segment. */
static uint32_t pseudo(const uint8_t *frame, uint32_t segment)
{
    return sum(frame + IP_AT + 12, 8, 6 + segment);
}

static uint8_t payload_byte(uint32_t i)
{
    return (uint8_t)(i * 167 + (i >> 8) * 29);
}

uint32_t tcp_frame(uint8_t *frame, struct virtio_net_hdr *header, const uint8_t *to, uint16_t port,
                   uint32_t payload, uint16_t mss)
{
    static const uint8_t ip_header[20] = {0x45, [6] = 0x40, [8] = 64, 6,
                                          [12] = 192, 0, 2, 1, 192, 0, 2, 2};
    uint8_t *at = frame + IP_AT;
    memcpy(frame, to, 6);
    memcpy(frame + 6, "\x02\x00\x00\x00\x00\x09", 6);
    put16(frame + 12, ETH_P_IP);
    memcpy(at, ip_header, sizeof(ip_header));
    put16(at + 2, (uint16_t)(40 + payload));
    put16(at + 10, (uint16_t)~fold(sum(at, 20, 0)));
    memset(frame + TCP_AT, 0, 20);
    put16(frame + TCP_AT, port);
    put16(frame + TCP_AT + 2, 80);
    frame[TCP_AT + 12] = 5 << 4;
    frame[TCP_AT + 13] = 0x10; /* ACK */
    put16(frame + TCP_AT + 14, 1000);
    put16(frame + TCP_AT + 16, fold(pseudo(frame, 20 + payload)));
    for (uint32_t i = 0; i < payload; i++)
        frame[TCP_HEADERS + i] = payload_byte(i);
    *header = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = TCP_AT,
                                      .csum_offset = 16, .hdr_len = TCP_HEADERS};
    if (payload > mss) {
        header->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
        header->gso_size = mss;
    }
    return TCP_HEADERS + payload;
}

bool tcp_payload_is(const uint8_t *frame, uint32_t bytes, uint32_t at)
{
    for (uint32_t i = TCP_HEADERS; i < bytes; i++)
        if (frame[i] != payload_byte(at + i - TCP_HEADERS))
            return false;
    return bytes >= TCP_HEADERS;
}

bool tcp_sums_are_right(const uint8_t *frame, uint32_t bytes)
{
    uint32_t segment = bytes - TCP_AT;
    return bytes >= TCP_HEADERS && fold(sum(frame + IP_AT, 20, 0)) == 0xffff &&
           fold(sum(frame + TCP_AT, segment, pseudo(frame, segment))) == 0xffff;
}
