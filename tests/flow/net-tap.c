/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net-tap.c - flow test: the net plugin on a tap, in a network namespace of the test's own. The
 * guest is our own front-end; the host's side is a packet socket on the tap, so that each frame is
 * seen whole and counted.
 */
#include "clock.h"
#include "net.h"
#include "netns.h"
#include "netsums.h"
#include "report.h"
#include "snapshot.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TIMEOUT_MS 15000
#define QUIET_MS 100 /* how long to watch for something that must not come */
#ifdef __SANITIZE_ADDRESS__ /* what is freed is kept for a while */
#define SLACK_KIB 65536u
#else
#define SLACK_KIB 512u
#endif
#define CWD in_dir(d, "i").s
#define ADD1 "{s:[s], s:s}", "devices"
#define HEADER 12u
#define BIG 60000u /* payload of a large segment */
#define MSS 1400u

#define CHECKSUMS (FE_BIT(VIRTIO_NET_F_CSUM) | FE_BIT(VIRTIO_NET_F_GUEST_CSUM))
#define LARGE                                                                                      \
    (CHECKSUMS | FE_BIT(VIRTIO_NET_F_HOST_TSO4) | FE_BIT(VIRTIO_NET_F_HOST_TSO6) |                 \
     FE_BIT(VIRTIO_NET_F_GUEST_TSO4) | FE_BIT(VIRTIO_NET_F_GUEST_TSO6))
#define MERGE FE_BIT(VIRTIO_NET_F_MRG_RXBUF)

static struct net_front guest;
static bool guest_open;
static int wire = -1, holder = -1;
static uint8_t frame[NETNS_FRAME_MAX], got[NETNS_FRAME_MAX];
static const uint8_t station[6] = {0x02, 0, 0, 0, 0, 0x77};

/* ---- helpers --------------------------------------------------------------------------------- */

static void close_guest(void)
{
    if (guest_open)
        net_front_close(&guest);
    guest_open = false;
}

/* After each row: what it made in the namespace, whatever happened. */
static void clean(void *arg)
{
    static const char *const names[] = {"t0", "t1", "br0", "br1", "out0"};
    (void)arg;
    close_guest();
    if (wire >= 0)
        close(wire);
    if (holder >= 0)
        close(holder);
    wire = holder = -1;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (netns_has(names[i]))
            ip("link del %s", names[i]);
}

static bool open_guest(const struct daemon *d, const char *id, struct net_front_options options)
{
    struct text path = socket_of(d, id);
    options.path = path.s;
    guest_open = true;
    if (net_front_open(&guest, &options) < 0)
        return row_fail("a guest on %s: %s", id, guest.fe.error);
    guest.opt.path = NULL;
    return true;
}

static bool open_wire(const char *interface)
{
    wire = wire_open(interface, NET_FRONT_ETHERTYPE);
    return wire >= 0;
}

static bool guest_does(int result, const char *what)
{
    return result >= 0 || row_fail("%s: %s", what, guest.fe.error);
}

static bool post(unsigned pair, unsigned n)
{
    return guest_does(net_front_post(&guest, pair, n, 0), "receive buffers");
}

/* As many as there can be. */
static bool post_all(unsigned pair)
{
    return post(pair, guest.opt.num - ring_in_flight(&guest.pair[pair].rx.ring));
}

static uint32_t size_of(uint32_t number)
{
    return 60 + number * 61 % 1455; /* 60 to 1514 */
}

static bool send_wire(uint32_t number)
{
    net_front_fill(frame, size_of(number), guest.config.mac, station, number);
    return wire_send(wire, NULL, frame, size_of(number));
}

static bool send_guest(unsigned pair, uint32_t number)
{
    net_front_fill(frame, size_of(number), station, guest.config.mac, number);
    return guest_does(net_front_send(&guest, pair, NULL, frame, size_of(number)), "sending");
}

/* The next frame on one of the two sides has to be this one. */
static bool is_frame(int bytes, uint32_t number, const char *where)
{
    if (bytes < 0)
        return row_fail("frame %u did not come %s", number, where);
    int64_t is = net_front_check(got, (uint32_t)bytes);
    return (is == number && (uint32_t)bytes == size_of(number)) ||
           row_fail("frame %lld of %d bytes came %s, not frame %u of %u", (long long)is, bytes,
                    where, number, size_of(number));
}

static bool wire_hears(uint32_t number)
{
    return is_frame(wire_receive(wire, NULL, got, sizeof(got), TIMEOUT_MS), number, "to the host");
}

static bool guest_hears(unsigned pair, uint32_t number)
{
    return is_frame(net_front_receive(&guest, pair, NULL, got, sizeof(got), TIMEOUT_MS), number,
                    "to the guest");
}

static bool guest_hears_nothing(unsigned pair)
{
    int bytes = net_front_receive(&guest, pair, NULL, got, sizeof(got), QUIET_MS);
    return bytes == -ETIMEDOUT || row_fail("a frame of %d bytes came to pair %u", bytes, pair);
}

static bool is_up(const char *interface)
{
    return has_text(ip_says("-o link show %s", interface), "LOWER_UP");
}

static bool log_becomes(const struct daemon *d, const char *part)
{
    static char text[65536];
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    do {
        int fd = open(in_dir(d, "log").s, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
        text[n > 0 ? n : 0] = '\0';
        close(fd);
        if (strstr(text, part))
            return true;
        poll(NULL, 0, 10);
    } while (clock_left_ms(deadline) > 0);
    return row_fail("the log does not say \"%s\"", part);
}

/* A queue of a tap, held by the test itself. */
static bool hold_tap(const char *name, bool multi_queue)
{
    struct ifreq ifr = {.ifr_flags = 0};
    ifr.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR |
                            (multi_queue ? IFF_MULTI_QUEUE : 0));
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    holder = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    return (holder >= 0 && ioctl(holder, TUNSETIFF, &ifr) == 0) ||
           row_fail("%s cannot be held: %s", name, strerror(errno));
}

/* ---- frames ---------------------------------------------------------------------------------- */

static bool both_ways(struct daemon *d, const struct net_front_options *options)
{
    if (!daemon_add(d, "net:t0,create,id=n", NULL) || !is_up("t0"))
        return row_fail("t0 is not up: %s", ip_says("link show t0"));
    if (!open_guest(d, "n", *options) || !open_wire("t0") || !post_all(0))
        return false;
    for (uint32_t i = 0; i < 100; i++)
        if (!send_wire(i) || !send_guest(0, 1000 + i))
            return false;
    for (uint32_t i = 0; i < 100; i++)
        if (!guest_hears(0, i) || !post_all(0) || !wire_hears(1000 + i))
            return false;
    if (!guest_does(net_front_drain(&guest, 0, TIMEOUT_MS), "the end of sending") ||
        !daemon_counter_becomes(d, "n", "tx-sent", 100) ||
        !daemon_counter_becomes(d, "n", "rx-received", 100) ||
        !netsums_hold(d, "n"))
        return false;
    long bytes = 0;
    for (uint32_t i = 0; i < 100; i++)
        bytes += size_of(i);
    return daemon_counter_becomes(d, "n", "rx-bytes", bytes);
}

static void created(struct daemon *d)
{
    const struct net_front_options *options = d->arg;
    MUST(both_ways(d, options));
    close_guest();
    MUST(daemon_remove(d, "n", NULL));
    CHECK(!netns_has("t0"), "the tap is still there: %s", ip_says("link show t0"));
}

static const struct net_front_options plain = {.num = 256}, in_one = {.tx_pieces = 1},
    in_many = {.tx_pieces = 30, .indirect = true}, merged = {.features = MERGE},
    large = {.features = LARGE | MERGE, .rx_size = 512}, small = {.features = MERGE, .rx_size = 64};

/* As it was before, afterwards. */
static void existing(struct daemon *d)
{
    MUST(ip("tuntap add dev t0 mode tap") && ip("link set t0 mtu 1400"));
    MUST(daemon_add(d, "net:tap=t0,id=n", NULL));
    CHECK(!is_up("t0"), "a tap of somebody else was brought up");
    MUST(log_becomes(d, "t0 is down"));
    MUST(ip("link set t0 up") && open_guest(d, "n", plain) && open_wire("t0"));
    CHECK(le16toh(guest.config.mtu) == 1400, "the guest hears of an MTU of %u",
          le16toh(guest.config.mtu));
    MUST(post(0, 2) && send_wire(4) && guest_hears(0, 4) && send_guest(0, 5) && wire_hears(5));
    close_guest();
    MUST(daemon_remove(d, "n", NULL) && ip("link show t0"));
    MUST(daemon_add(d, "net:t0,id=again,create", NULL) && daemon_remove(d, "again", NULL));
    CHECK(netns_has("t0"), "a tap of somebody else was removed");
}

/* Nobody takes 500 frames: they wait, and come in order. */
static void frames_wait(struct daemon *d)
{
    MUST(daemon_add(d, "net:t0,create,id=n", NULL) && open_guest(d, "n", plain) && open_wire("t0"));
    for (uint32_t i = 0; i < 500; i++)
        MUST(send_wire(i));
    MUST(guest_hears_nothing(0));
    for (uint32_t i = 0; i < 500; i++) {
        if (i % 7 == 0)
            MUST(post(0, 7));
        MUST(guest_hears(0, i));
    }
    MUST(daemon_counter_becomes(d, "n", "rx-frames", 500) &&
         daemon_counter_becomes(d, "n", "rx-received", 500));
    CHECK(has_text(ip_says("-s -o link show t0"), "RX"), "no statistics");
}

/* Nor does a guest that is not there at all, or goes and comes. */
static void frames_wait_for_guests(struct daemon *d)
{
    MUST(daemon_add(d, "net:t0,create,mac=02:00:00:00:00:05,id=n", NULL) && open_wire("t0"));
    for (uint32_t i = 0; i < 300; i++)
        MUST(send_wire(i));
    for (uint32_t i = 0; i < 300; i += 30) {
        MUST(open_guest(d, "n", plain) && post(0, 30));
        for (uint32_t k = 0; k < 30; k++)
            MUST(guest_hears(0, i + k));
        close_guest();
        MUST(daemon_device_becomes(d, "n", "connected", false));
    }
    MUST(daemon_counter_becomes(d, "n", "rx-received", 300) && netsums_hold(d, "n"));
}

/*
 * The way out of the bridge is slow, and the tap may hold 16 KiB of frames on their way: the guest
 * has to wait, and everything arrives in order.
 */
static void tap_full(struct daemon *d)
{
    int limit = 16384;
    MUST(ip("tuntap add dev t0 mode tap multi_queue") && ip("link set t0 up"));
    MUST(ip("link add br0 type bridge") && ip("link set br0 up"));
    MUST(ip("link add out0 type veth peer name t1"));
    MUST(ip("link set out0 master br0 up") && ip("link set t1 up"));
    if (!strstr(ip_says("tc qdisc add dev out0 root tbf rate 4mbit burst 4000 limit 10000000"),
                "Error") && !strstr(ip_says("tc qdisc show dev out0"), "tbf")) {
        row_skip("the kernel or the machine has no tbf");
        return;
    }
    MUST(daemon_add(d, "net:t0,bridge=br0,id=n", NULL) && open_guest(d, "n", in_one));
    MUST(hold_tap("t0", true));
    CHECK(ioctl(holder, TUNSETSNDBUF, &limit) == 0, "TUNSETSNDBUF: %s", strerror(errno));
    close(holder);
    holder = -1;
    MUST(open_wire("t1"));
    for (uint32_t i = 0; i < 200; i++)
        MUST(send_guest(0, i));
    int left = net_front_sending(&guest, 0);
    CHECK(left > 50, "only %d of 200 frames wait for a slow network", left);
    for (uint32_t i = 0; i < 200; i++)
        MUST(wire_hears(i));
    MUST(guest_does(net_front_drain(&guest, 0, TIMEOUT_MS), "the end of sending"));
    MUST(daemon_counter_becomes(d, "n", "tx-sent", 200) &&
         daemon_counter_becomes(d, "n", "tx-frames", 200));
}

/* ---- link ------------------------------------------------------------------------------------ */

static bool set_link(const struct daemon *d, const char *state)
{
    static struct output o;
    char word[32];
    snprintf(word, sizeof(word), "state=%s", state);
    return ctl(&o, d, "link", "n", word, NULL) && (o.code == 0 || row_fail("link: %s", o.err));
}

static void link_state(struct daemon *d)
{
    MUST(daemon_add(d, "net:t0,create,link=off,id=n", NULL) && open_guest(d, "n", plain));
    MUST(ip_becomes("-o link show t0", "NO-CARRIER", true) && open_wire("t0") && post(0, 10));
    CHECK(le16toh(guest.config.status) == 0, "the link is up for the guest");
    MUST(send_guest(0, 1) && daemon_counter_becomes(d, "n", "tx-link-down", 1));
    MUST(set_link(d, "up") && ip_becomes("-o link show t0", "LOWER_UP", true));
    CHECK(net_front_read_config(&guest) == 0 && le16toh(guest.config.status) == 1, "%s",
          "the link is not up for the guest");
    MUST(send_guest(0, 2) && wire_hears(2) && send_wire(3) && guest_hears(0, 3));
    MUST(set_link(d, "down") && ip_becomes("-o link show t0", "NO-CARRIER", true));
    MUST(send_guest(0, 4) && daemon_counter_becomes(d, "n", "tx-link-down", 2));
    MUST(set_link(d, "up") && ip_becomes("-o link show t0", "LOWER_UP", true));
    MUST(send_guest(0, 5) && wire_hears(5) && send_wire(6) && guest_hears(0, 6));
    MUST(netsums_hold(d, "n"));
}

/* ---- queues ---------------------------------------------------------------------------------- */

#define MULTIQUEUE (FE_BIT(VIRTIO_NET_F_MQ) | FE_BIT(VIRTIO_NET_F_CTRL_VQ))

static bool send_flows(unsigned n)
{
    struct virtio_net_hdr header;
    for (unsigned i = 0; i < n; i++) {
        uint32_t bytes = tcp_frame(frame, &header, guest.config.mac, (uint16_t)(1024 + i), 100,
                                   MSS);
        if (!wire_send(wire, &header, frame, bytes))
            return false;
    }
    return true;
}

/* Sends flows with different ports and takes them from all pairs; *came: how many came to each. */
static bool many_flows(unsigned pairs, unsigned n, unsigned *came)
{
    unsigned sum = 0;
    memset(came, 0, pairs * sizeof(*came));
    for (unsigned p = 0; p < pairs; p++)
        if (!post_all(p))
            return false;
    if (!send_flows(n))
        return false;
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    while (sum < n && clock_left_ms(deadline) > 0)
        for (unsigned p = 0; p < pairs; p++)
            while (net_front_receive(&guest, p, NULL, got, sizeof(got), 2) > 0) {
                came[p]++;
                sum++;
            }
    return sum == n || row_fail("%u of %u frames came", sum, n);
}

static void two_queues(struct daemon *d)
{
    unsigned came[2];
    MUST(daemon_add(d, "net:t0,create,queues=2,id=n", NULL) && open_wire("t0"));
    MUST(open_guest(d, "n", (struct net_front_options){.pairs = 2, .features = MULTIQUEUE}));
    /* One pair until the driver asks for more. */
    MUST(ip_becomes("-d link show t0", "numqueues 1 ", true));
    MUST(many_flows(2, 64, came));
    CHECK(came[1] == 0, "%u frames came to a pair that is not active", came[1]);
    MUST(guest_does(net_front_set_pairs(&guest, 2), "two pairs"));
    MUST(ip_becomes("-d link show t0", "numqueues 2 ", true) && many_flows(2, 64, came));
    CHECK(came[0] > 0 && came[1] > 0, "%u and %u frames came", came[0], came[1]);
    for (uint32_t i = 0; i < 20; i++)
        MUST(send_guest(i % 2, i) && wire_hears(i));
    MUST(guest_does(net_front_set_pairs(&guest, 1), "one pair"));
    MUST(ip_becomes("-d link show t0", "numqueues 1 ", true) && many_flows(2, 64, came));
    CHECK(came[1] == 0, "%u frames came to a pair that is not active any more", came[1]);
    MUST(send_guest(1, 7) && wire_hears(7)); /* not what a driver should do, but nothing is lost */
    MUST(daemon_counter_becomes(d, "n", "rx-received", 192) &&
         daemon_counter_becomes(d, "n", "tx-sent", 21));
    MUST(netsums_hold(d, "n"));
}

/* A guest of one pair on a tap with more; then a front-end that stops one of two. */
static void fewer_queues(struct daemon *d)
{
    unsigned came[2];
    MUST(ip("tuntap add dev t0 mode tap multi_queue") && ip("link set t0 up"));
    MUST(daemon_add(d, "net:t0,queues=4,id=n", NULL) && open_wire("t0"));
    MUST(open_guest(d, "n", plain));
    MUST(ip_becomes("-d link show t0", "numqueues 1 ", true) && many_flows(1, 64, came));
    close_guest();
    MUST(daemon_device_becomes(d, "n", "connected", false));
    MUST(open_guest(d, "n", (struct net_front_options){.pairs = 2, .features = MULTIQUEUE}));
    MUST(guest_does(net_front_set_pairs(&guest, 2), "two pairs"));
    MUST(ip_becomes("-d link show t0", "numqueues 2 ", true) && many_flows(2, 64, came));
    MUST(guest_does(net_front_stop_pair(&guest, 1), "stopping a pair"));
    MUST(ip_becomes("-d link show t0", "numqueues 1 ", true) && many_flows(1, 64, came));
    MUST(guest_does(net_front_start_pair(&guest, 1), "starting a pair"));
    MUST(ip_becomes("-d link show t0", "numqueues 2 ", true) && many_flows(2, 64, came));
    /* All stop: frames wait where they are. */
    MUST(post_all(0) && post_all(1));
    MUST(guest_does(net_front_stop_pair(&guest, 0), "stop") &&
         guest_does(net_front_stop_pair(&guest, 1), "stop"));
    MUST(send_flows(64));
    poll(NULL, 0, 3 * QUIET_MS);
    MUST(ip_becomes("-d link show t0", "numqueues 2 ", true));
    MUST(guest_does(net_front_start_pair(&guest, 0), "start") &&
         guest_does(net_front_start_pair(&guest, 1), "start"));
    MUST(daemon_counter_becomes(d, "n", "rx-received", 64 * 5) && netsums_hold(d, "n"));
}

/* ---- offloads -------------------------------------------------------------------------------- */

/* A large segment goes through in one piece, header and all. */
static void segments_whole(struct daemon *d)
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

static const struct net_front_options whole_merged = {.features = LARGE | MERGE, .rx_size = 2048,
                                                      .tx_size = NET_FRONT_LARGE},
    whole_single = {.features = LARGE, .rx_size = NET_FRONT_LARGE, .tx_size = NET_FRONT_LARGE};

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
static void segments_cut(struct daemon *d)
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
static void segments_of_another_guest(struct daemon *d)
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
static void segments_by_command(struct daemon *d)
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
static void no_offloads(struct daemon *d)
{
    MUST(daemon_add(d, "net:t0,create,offload=off,merge=off,id=n", NULL));
    MUST(open_guest(d, "n", (struct net_front_options){.features = LARGE | MERGE}));
    CHECK(!(guest.fe.features & (LARGE | MERGE)), "features %llx",
          (unsigned long long)guest.fe.features);
    MUST(netns_tso_becomes("t0", false) && open_wire("t0") && post(0, 1));
    MUST(send_wire(1) && guest_hears(0, 1));
}

/* ---- MTU ------------------------------------------------------------------------------------- */

static void mtu(struct daemon *d)
{
    MUST(daemon_add(d, "net:t0,create,mtu=9000,id=n", NULL));
    MUST(open_guest(d, "n", (struct net_front_options){.rx_size = 9100, .tx_size = 9100}));
    CHECK(le16toh(guest.config.mtu) == 9000, "the guest hears of an MTU of %u",
          le16toh(guest.config.mtu));
    MUST(has_text(ip_says("link show t0"), "mtu 9000 ") || row_fail("the tap's MTU is another"));
    MUST(open_wire("t0") && post(0, 2));
    for (uint32_t i = 0; i < 2; i++) {
        net_front_fill(frame, 9014, guest.config.mac, station, i);
        MUST(wire_send(wire, NULL, frame, 9014));
        int n = net_front_receive(&guest, 0, NULL, got, sizeof(got), TIMEOUT_MS);
        CHECK(n == 9014 && net_front_check(got, 9014) == i, "%d bytes came", n);
    }
    net_front_fill(frame, 9014, station, guest.config.mac, 9);
    MUST(guest_does(net_front_send(&guest, 0, NULL, frame, 9014), "sending"));
    CHECK(wire_receive(wire, NULL, got, sizeof(got), TIMEOUT_MS) == 9014, "no large frame came");
    /* A tap that takes more than the guest was told of: what fits in its buffers is given. */
    MUST(ip("link set t0 mtu 10000") && post(0, 1));
    net_front_fill(frame, 9500, guest.config.mac, station, 3);
    MUST(wire_send(wire, NULL, frame, 9500) && daemon_counter_becomes(d, "n", "rx-too-long", 1));
    MUST(netsums_hold(d, "n"));
}

/* ---- bridge ---------------------------------------------------------------------------------- */

static bool is_port(const char *tap, const char *bridge, bool yes)
{
    char words[64], part[32];
    snprintf(words, sizeof(words), "-o link show %s", tap);
    snprintf(part, sizeof(part), "master %s ", bridge);
    return has_text(ip_says("%s", words), part) == yes ||
           row_fail("%s %s a port of %s", tap, yes ? "is not" : "is", bridge);
}

static void bridge(struct daemon *d)
{
    /* Without snooping, or the bridge sends frames of its own. */
    MUST(ip("link add br0 type bridge mcast_snooping 0") && ip("link set br0 mtu 2000 up"));
    MUST(ip("link add br1 type bridge") && ip("tuntap add dev t1 mode tap"));
    MUST(ip("link set t1 mtu 2000 up"));
    MUST(daemon_add(d, "net:t0,create,bridge=br0,id=n", "net:t1,bridge=br0,id=m", NULL));
    MUST(is_port("t0", "br0", true) && is_port("t1", "br0", true));
    CHECK(has_text(ip_says("link show t0"), "mtu 2000 "), "the bridge's MTU is not the tap's");
    CHECK(has_text(ip_says("link show t0"), "link/ether fe:"), "the tap's address is a low one");
    /* From one guest to the other's tap, through the bridge. */
    MUST(ip_becomes("-d -o link show t1", "state forwarding", true) && open_guest(d, "n", plain));
    MUST(ip_becomes("-d -o link show t0", "state forwarding", true) && open_wire("br0"));
    net_front_fill(frame, 100, (const uint8_t *)"\xff\xff\xff\xff\xff\xff", guest.config.mac, 1);
    MUST(guest_does(net_front_send(&guest, 0, NULL, frame, 100), "sending"));
    CHECK(wire_receive(wire, NULL, got, sizeof(got), TIMEOUT_MS) == 100, "no frame to the bridge");
    close_guest();
    MUST(open_guest(d, "m", plain) && post(0, 1));
    int n = net_front_receive(&guest, 0, NULL, got, sizeof(got), TIMEOUT_MS);
    CHECK(n == 100 && net_front_check(got, 100) == 1, "%d bytes came through the bridge", n);
    close_guest();
    MUST(daemon_remove(d, "n", "m", NULL) && is_port("t1", "br0", false));
    CHECK(!netns_has("t0"), "t0 is still there");
    /* A port before, a port afterwards. */
    MUST(ip("link set t1 master br0") && daemon_add(d, "net:t1,bridge=br0,id=m", NULL));
    MUST(daemon_remove(d, "m", NULL) && is_port("t1", "br0", true));
    /* Somebody moves it meanwhile: theirs. */
    MUST(ip("link set t1 nomaster") && daemon_add(d, "net:t1,bridge=br0,id=m", NULL));
    MUST(ip("link set t1 nomaster") && ip("link set t1 master br1"));
    MUST(daemon_remove(d, "m", NULL) && is_port("t1", "br1", true));
}

/* ---- the tap changes under us ---------------------------------------------------------------- */

/* Processor time of the daemon in ticks. */
static long busy(const struct daemon *d)
{
    char path[64], text[512] = "";
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)d->pid);
    FILE *file = fopen(path, "re");
    if (file && fgets(text, sizeof(text), file) && strrchr(text, ')'))
        (void)sscanf(strrchr(text, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                     &user, &system);
    if (file)
        fclose(file);
    return (long)(user + system);
}

static void tap_removed(struct daemon *d)
{
    MUST(ip("tuntap add dev t0 mode tap") && ip("link set t0 up"));
    MUST(daemon_add(d, "net:t0,id=n", NULL) && open_guest(d, "n", plain) && open_wire("t0"));
    MUST(post(0, 4) && send_wire(1) && guest_hears(0, 1));
    MUST(ip("link del t0") && log_becomes(d, "somebody removed the tap t0"));
    long before = busy(d);
    MUST(guest_hears_nothing(0) && guest_hears_nothing(0) && guest_hears_nothing(0));
    CHECK(busy(d) - before < 15, "the daemon is busy with a tap that is gone");
    MUST(send_guest(0, 2) && daemon_counter_becomes(d, "n", "tx-refused", 1) &&
         netsums_hold(d, "n"));
    MUST(set_link(d, "down") && set_link(d, "up"));
    close_guest();
    MUST(daemon_remove(d, "n", NULL) && daemon_add(d, "net:t0,create,id=n", NULL));
    MUST(open_guest(d, "n", plain) && send_guest(0, 3) &&
         daemon_counter_becomes(d, "n", "tx-sent", 1));
}

static void tap_down(struct daemon *d)
{
    MUST(daemon_add(d, "net:t0,create,id=n", NULL) && open_guest(d, "n", plain) && open_wire("t0"));
    MUST(post(0, 4) && ip("link set t0 down") && send_guest(0, 1) && send_guest(0, 2));
    MUST(daemon_counter_becomes(d, "n", "tx-refused", 2) && log_becomes(d, "t0 is down"));
    close(wire);
    MUST(ip("link set t0 up") && ip_becomes("-o link show t0", "LOWER_UP", true));
    MUST(open_wire("t0") && send_guest(0, 3) && wire_hears(3) && send_wire(4) && guest_hears(0, 4));
    MUST(netsums_hold(d, "n"));
}

/* ---- bad input ------------------------------------------------------------------------------- */

static const char *interfaces(void)
{
    static char text[8192];
    snprintf(text, sizeof(text), "%s", ip_says("-o -d link show"));
    return text;
}

static bool refuses(struct daemon *d, const struct snapshot *s, const char *spec, const char *parts)
{
    char before[8192];
    snprintf(before, sizeof(before), "%s", interfaces());
    if (!daemon_refuses(d, parts, "device.add", ADD1, spec, "cwd", CWD))
        return row_fail("%s", spec);
    if (strcmp(before, interfaces()) != 0)
        return row_fail("%s: something is left: %s instead of %s", spec, interfaces(), before);
    return snapshot_returns(d, s, NULL, SLACK_KIB, spec);
}

static void refusals(struct daemon *d)
{
    static const char *const specs[][2] = {
        {"net:t9", "there is no tap t9|ip tuntap add dev t9 mode tap|create"},
        {"net:tap=t9,queues=2", "there is no tap t9|multi_queue"},
        {"net:t9,create,bridge=none", "no bridge none|ip link add none type bridge"},
        {"net:t9,create,bridge=out0", "out0 is no bridge but veth"},
        {"net:t9,create,bridge=a-name-that-is-too-long", "a-name-that-is-too-long|23|15"},
        {"net:a-name-of-16-byt", "a-name-of-16-byt|16|15"},
        {"net:a-name-of-16-byt,create", "a-name-of-16-byt|16|15"},
        {"net:a/b,create", "'a/b'"},
        {"net:tap%d,create", "'tap%d'"},
        {"net:out0", "out0 is no tap but veth"},
        {"net:out0,create", "out0 is no tap but veth"},
        {"net:lo", "lo is no tap"},
        {"net:tun0", "tun0 is a tun device"},
        {"net:t0,queues=2", "queues=2|the tap t0 has 1|multi_queue"},
        {"net:t0,mtu=9000", "9000|1500|ip link set t0 mtu 9000"},
        {"net:t9,create,mtu=65535", "MTU of 65535|65521"},
        {"net:t9,create,queues=3,mtu=65535", "MTU of 65535|65521"},
        {"net:t0,bridge=br1", "t0 is a port of br0"},
        {"net:used", "used is used by another device"},
        {"net:used,create", "used is used by another device"},
        {"net:t1", "t1 is used by process"},
    };
    struct snapshot s;
    MUST(ip("link add br0 type bridge") && ip("link add br1 type bridge"));
    MUST(ip("link add out0 type veth peer name t2") && ip("tuntap add dev tun0 mode tun"));
    MUST(ip("tuntap add dev t0 mode tap") && ip("link set t0 master br0"));
    MUST(hold_tap("t1", false));
    MUST(daemon_add(d, "net:used,create,id=used", "net:warm,create,bridge=br1,queues=2,id=w",
                    NULL));
    MUST(daemon_remove(d, "w", NULL) && snapshot_take(&s, d));
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
        MUST(refuses(d, &s, specs[i][0], specs[i][1]));
    snapshot_free(&s);
    MUST(ip("link del tun0"));
}

/* All the tap's queues have to be ours. */
static void in_use_multiqueue(struct daemon *d)
{
    MUST(ip("tuntap add dev t0 mode tap multi_queue") && hold_tap("t0", true));
    MUST(daemon_refuses(d, "t0 is used by process|flow-net-tap", "device.add", ADD1, "net:t0",
                        "cwd", CWD));
    close(holder);
    holder = -1;
    MUST(daemon_add(d, "net:t0,id=n", NULL));
    MUST(daemon_refuses(d, "another device of this daemon", "device.add", ADD1,
                        "net:t0,queues=2", "cwd", CWD));
}

/* The daemon runs as nobody. */
static void unprivileged(struct daemon *d)
{
    struct snapshot s;
    MUST(ip("tuntap add dev t0 mode tap user 65534") && ip("link set t0 up"));
    MUST(ip("tuntap add dev t1 mode tap user 0") && ip("link add br0 type bridge"));
    MUST(daemon_start(d));
    MUST(daemon_add(d, "net:t0,id=w", NULL) && daemon_remove(d, "w", NULL) && snapshot_take(&s, d));
    MUST(refuses(d, &s, "net:t9,create", "creating the tap t9|CAP_NET_ADMIN|mode tap user"));
    MUST(refuses(d, &s, "net:t1", "belongs to user 0|user 65534|CAP_NET_ADMIN"));
    MUST(refuses(d, &s, "net:t0,bridge=br0",
                 "joining br0|CAP_NET_ADMIN|ip link set t0 master br0"));
    snapshot_free(&s);
    MUST(daemon_add(d, "net:t0,id=n", NULL) && open_guest(d, "n", plain) && open_wire("t0"));
    MUST(post(0, 2) && send_wire(4) && guest_hears(0, 4) && send_guest(0, 5) && wire_hears(5));
}

/* ---- hvisor-tool's file ------------------------------------------------------------------------ */

/* Its zones and its devices, as its users have written them: a tap that is there, a MAC of numbers. */
static void hvisor_file(struct daemon *d)
{
    static const char board[] =
        "{\"zones\": [{\"id\": 1, \"devices\": [{\"type\": \"net\", \"status\": \"enable\", "
        "\"addr\": \"0xa003600\", \"len\": \"0x200\", \"irq\": 75, \"tap\": \"t0\", "
        "\"mac\": [\"0x00\", \"0x16\", 62, 16, 16, \"0x10\"]}]}]}";
    struct output o;
    FILE *f = fopen(in_dir(d, "i/board.json").s, "we");
    CHECK(f && fputs(board, f) >= 0 && fclose(f) == 0, "board.json: %s", strerror(errno));
    MUST(ctl(&o, d, "add", "-f", "board.json", NULL));
    CHECK(o.code == 1 && has_text(o.err, "t0"), "a tap that is not there is not refused: %s", o.err);
    CHECK(daemon_count(d) == 0, "something is left of the refused file");
    MUST(ip("tuntap add dev t0 mode tap"));
    MUST(ctl(&o, d, "add", "-f", "board.json", NULL));
    CHECK(o.code == 0, "the file is refused: %s", o.err);
    MUST(ctl(&o, d, "show", "net0", NULL));
    CHECK(has_text(o.out, "00:16:3e:10:10:10") && has_text(o.out, "0xa003600"), "%s", o.out);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Runs the row's function and cleans up afterwards. */
#define CLEANED(NAME)                                                                              \
    static void run_##NAME(struct daemon *d)                                                       \
    {                                                                                              \
        row_at_end(clean, NULL);                                                                   \
        NAME(d);                                                                                   \
    }
CLEANED(created)
CLEANED(existing)
CLEANED(frames_wait)
CLEANED(frames_wait_for_guests)
CLEANED(tap_full)
CLEANED(link_state)
CLEANED(two_queues)
CLEANED(fewer_queues)
CLEANED(segments_whole)
CLEANED(segments_cut)
CLEANED(segments_of_another_guest)
CLEANED(segments_by_command)
CLEANED(no_offloads)
CLEANED(mtu)
CLEANED(bridge)
CLEANED(tap_removed)
CLEANED(tap_down)
CLEANED(refusals)
CLEANED(in_use_multiqueue)
CLEANED(hvisor_file)
CLEANED(unprivileged)

#define ROW(NAME) {#NAME, run_##NAME, &with_net, NULL}
#define ROW_ARG(NAME, FUNCTION, ARG) {#NAME, run_##FUNCTION, &with_net, &(ARG)}

int main(int argc, char **argv)
{
    static const char *const plugins[] = {"net.so", NULL};
    static const char *const trap[] = {"--trap", "trap.sock", NULL};
    static const struct daemon_options with_net = {.plugins = plugins},
                                       with_trap = {.plugins = plugins, .args = trap},
                                       as_nobody = {.plugins = plugins, .no_start = true,
                                                    .nobody = true};
    static const struct row rows[] = {
        ROW_ARG(created, created, plain),
        ROW_ARG(created_header_and_frame_together, created, in_one),
        ROW_ARG(created_many_pieces, created, in_many), ROW_ARG(created_mergeable, created, merged),
        ROW_ARG(created_large_offered, created, large),
        ROW_ARG(created_small_buffers, created, small),
        ROW(existing), ROW(frames_wait), ROW(frames_wait_for_guests), ROW(tap_full),
        ROW(link_state), ROW(two_queues), ROW(fewer_queues),
        ROW_ARG(segments_whole_mergeable, segments_whole, whole_merged),
        ROW_ARG(segments_whole_one_buffer, segments_whole, whole_single), ROW(segments_cut),
        ROW(segments_of_another_guest), ROW(segments_by_command), ROW(no_offloads), ROW(mtu),
        ROW(bridge), ROW(tap_removed), ROW(tap_down), ROW(refusals), ROW(in_use_multiqueue),
        {"hvisor_file", run_hvisor_file, &with_trap, NULL},
        {"unprivileged", run_unprivileged, &as_nobody, NULL},
    };
    const char *why = netns_enter();
    if (why) {
        printf("%s\n", why);
        return 77;
    }
    size_t n = sizeof(rows) / sizeof(rows[0]);
    if (!netns_has_nobody())
        row_note("no row \"%s\": there is no other user in this namespace", rows[--n].name);
    return report_run(argc, argv, rows, n);
}
