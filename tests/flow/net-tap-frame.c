/* SPDX-License-Identifier: BSD-3-Clause */
/* net-tap-frame.c - rows of net-tap.c: frames both ways, and frames that have to wait. */
#include "net-tap.h"
#include "netsums.h"

#include <endian.h>
#include <errno.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

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

void net_created(struct daemon *d)
{
    const struct net_front_options *options = d->arg;
    MUST(both_ways(d, options));
    close_guest();
    MUST(daemon_remove(d, "n", NULL));
    netns_loses("t0");
}

/* As it was before, afterwards. */
void net_existing(struct daemon *d)
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
void net_frames_wait(struct daemon *d)
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
void net_frames_wait_for_guests(struct daemon *d)
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
void net_tap_full(struct daemon *d)
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
