/* SPDX-License-Identifier: BSD-3-Clause */
/* net-tap-guest.c - see net-tap.h: what the rows share. Main thread. */
#include "clock.h"
#include "net-tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct net_front guest;
int wire = -1, holder = -1;
uint8_t frame[NETNS_FRAME_MAX], got[NETNS_FRAME_MAX];
const uint8_t station[6] = {0x02, 0, 0, 0, 0, 0x77};
static bool guest_open;

void close_guest(void)
{
    if (guest_open)
        net_front_close(&guest);
    guest_open = false;
}

void clean(void *arg)
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

bool open_guest(const struct daemon *d, const char *id, struct net_front_options options)
{
    struct text path = socket_of(d, id);
    options.path = path.s;
    guest_open = true;
    if (net_front_open(&guest, &options) < 0)
        return row_fail("a guest on %s: %s", id, guest.fe.error);
    guest.opt.path = NULL;
    return true;
}

bool open_wire(const char *interface)
{
    wire = wire_open(interface, NET_FRONT_ETHERTYPE);
    return wire >= 0;
}

bool guest_does(int result, const char *what)
{
    return result >= 0 || row_fail("%s: %s", what, guest.fe.error);
}

bool post(unsigned pair, unsigned n)
{
    return guest_does(net_front_post(&guest, pair, n, 0), "receive buffers");
}

bool post_all(unsigned pair)
{
    return post(pair, guest.opt.num - ring_in_flight(&guest.pair[pair].rx.ring));
}

uint32_t size_of(uint32_t number)
{
    return 60 + number * 61 % 1455; /* 60 to 1514 */
}

bool send_wire(uint32_t number)
{
    net_front_fill(frame, size_of(number), guest.config.mac, station, number);
    return wire_send(wire, NULL, frame, size_of(number));
}

bool send_guest(unsigned pair, uint32_t number)
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

bool wire_hears(uint32_t number)
{
    return is_frame(wire_receive(wire, NULL, got, sizeof(got), TIMEOUT_MS), number, "to the host");
}

bool guest_hears(unsigned pair, uint32_t number)
{
    return is_frame(net_front_receive(&guest, pair, NULL, got, sizeof(got), TIMEOUT_MS), number,
                    "to the guest");
}

bool guest_hears_nothing(unsigned pair)
{
    int bytes = net_front_receive(&guest, pair, NULL, got, sizeof(got), QUIET_MS);
    return bytes == -ETIMEDOUT || row_fail("a frame of %d bytes came to pair %u", bytes, pair);
}

bool is_up(const char *interface)
{
    return has_text(ip_says("-o link show %s", interface), "LOWER_UP");
}

bool log_becomes(const struct daemon *d, const char *part)
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

bool hold_tap(const char *name, bool multi_queue)
{
    struct ifreq ifr = {.ifr_flags = 0};
    ifr.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR |
                            (multi_queue ? IFF_MULTI_QUEUE : 0));
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    holder = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    return (holder >= 0 && ioctl(holder, TUNSETIFF, &ifr) == 0) ||
           row_fail("%s cannot be held: %s", name, strerror(errno));
}
