/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net-tap-link.c - rows of net-tap.c: the link, queue pairs, the MTU, a bridge, and a tap that is
 * taken down or removed.
 */
#include "clock.h"
#include "net-tap.h"
#include "netsums.h"

#include <endian.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- link ------------------------------------------------------------------------------------ */

static bool set_link(const struct daemon *d, const char *state)
{
    static struct output o;
    char word[32];
    snprintf(word, sizeof(word), "state=%s", state);
    return ctl(&o, d, "link", "n", word, NULL) && (o.code == 0 || row_fail("link: %s", o.err));
}

void net_link_state(struct daemon *d)
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

void net_two_queues(struct daemon *d)
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
void net_fewer_queues(struct daemon *d)
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

/* ---- MTU ------------------------------------------------------------------------------------- */

void net_mtu(struct daemon *d)
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

void net_bridge(struct daemon *d)
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
    MUST(netns_loses("t0"));
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

void net_tap_removed(struct daemon *d)
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

void net_tap_down(struct daemon *d)
{
    MUST(daemon_add(d, "net:t0,create,id=n", NULL) && open_guest(d, "n", plain) && open_wire("t0"));
    MUST(post(0, 4) && ip("link set t0 down") && send_guest(0, 1) && send_guest(0, 2));
    MUST(daemon_counter_becomes(d, "n", "tx-refused", 2) && log_becomes(d, "t0 is down"));
    close(wire);
    MUST(ip("link set t0 up") && ip_becomes("-o link show t0", "LOWER_UP", true));
    MUST(open_wire("t0") && send_guest(0, 3) && wire_hears(3) && send_wire(4) && guest_hears(0, 4));
    MUST(netsums_hold(d, "n"));
}
