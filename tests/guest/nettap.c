/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nettap.c - a guest with a vhost-user network device, made of a network namespace: a front-end
 * whose frames come from a tap, and go there, with their headers. Behind the tap is the namespace's
 * own network, which is the guest's. For a machine on which no hypervisor with vhost-user runs.
 *
 * usage: nettap SOCKET TAP    makes the tap, with the device's address and MTU, and prints a line
 *                             when it is there; ends when it is killed or the device goes
 *
 * One thread.
 */
#include "io.h"

#include "../frontend/net.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define RING 256u
#define BUDGET 64u        /* frames of one direction before it is the other's turn */
#define PATIENCE_MS 30000 /* for the rest of a frame that has begun to come */

static uint8_t frame[NET_FRONT_FRAME_MAX];

static void check(int rc, const struct net_front *front)
{
    if (rc < 0)
        fail("%s", front->fe.error);
}

/* ---- the tap --------------------------------------------------------------------------------- */

/* What the device takes of unfinished frames. */
static unsigned int tap_offloads(const struct net_front *front)
{
    unsigned int flags = 0;
    if (fe_has(&front->fe, VIRTIO_NET_F_CSUM))
        flags |= TUN_F_CSUM;
    if (fe_has(&front->fe, VIRTIO_NET_F_HOST_TSO4))
        flags |= TUN_F_TSO4;
    if (fe_has(&front->fe, VIRTIO_NET_F_HOST_TSO6))
        flags |= TUN_F_TSO6;
    return flags;
}

static void set_interface(const struct net_front *front, const char *name)
{
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    memcpy(request.ifr_hwaddr.sa_data, front->config.mac, sizeof(front->config.mac));
    if (ioctl(fd, SIOCSIFHWADDR, &request) < 0)
        fail("cannot give %s its address: %s", name, strerror(errno));
    request.ifr_mtu = fe_has(&front->fe, VIRTIO_NET_F_MTU) ? front->config.mtu : 1500;
    if (ioctl(fd, SIOCSIFMTU, &request) < 0)
        fail("cannot give %s MTU %d: %s", name, request.ifr_mtu, strerror(errno));
    close(fd);
}

static int open_tap(const struct net_front *front, const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int header = NET_FRONT_HEADER, fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        fail("cannot make the tap %s: %s", name, strerror(errno));
    if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 ||
        ioctl(fd, TUNSETOFFLOAD, tap_offloads(front)) < 0)
        fail("cannot set up the tap %s: %s", name, strerror(errno));
    set_interface(front, name);
    return fd;
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* Returns how many came. */
static unsigned int from_device(struct net_front *front, int tap)
{
    struct virtio_net_hdr_v1 header;
    unsigned int n = 0;
    for (; n < BUDGET && ring_pending(&front->pair[0].rx.ring); n++) {
        int len = net_front_receive(front, 0, &header, frame, sizeof(frame), PATIENCE_MS);
        check(len, front);
        struct iovec iov[] = {{&header, sizeof(header)}, {frame, (size_t)len}};
        /* A tap that is down refuses it, as a wire without anybody at its end would. */
        if (writev(tap, iov, 2) < 0 && errno != EIO && errno != EAGAIN)
            fail("the tap refuses a frame of %d bytes: %s", len, strerror(errno));
    }
    if (n > 0)
        check(net_front_post(front, 0, RING - ring_in_flight(&front->pair[0].rx.ring), 0), front);
    return n;
}

/* Returns how many went. */
static unsigned int to_device(struct net_front *front, int tap)
{
    struct virtio_net_hdr_v1 header;
    unsigned int n = 0;
    for (; n < BUDGET; n++) {
        int under_way = net_front_sending(front, 0);
        check(under_way, front);
        if (under_way >= (int)RING)
            break;
        struct iovec iov[] = {{&header, sizeof(header)}, {frame, sizeof(frame)}};
        ssize_t len = readv(tap, iov, 2);
        if (len < (ssize_t)sizeof(header))
            break;
        check(net_front_queue(front, 0, &header, frame, (size_t)len - sizeof(header)), front);
    }
    if (n > 0)
        check(net_front_kick(front, 0), front);
    return n;
}

/* Until something can be moved. False: the device has gone. */
static bool wait_for_more(struct net_front *front, int tap)
{
    struct ring *rx = &front->pair[0].rx.ring, *tx = &front->pair[0].tx.ring;
    bool full = net_front_sending(front, 0) >= (int)RING;
    struct pollfd fds[] = {
        {.fd = rx->call_fd, .events = POLLIN},
        {.fd = full ? tx->call_fd : tap, .events = POLLIN},
        {.fd = front->fe.sock, .events = POLLIN},
    };
    if (ring_arm(rx, 1) || (full && ring_arm(tx, 1)))
        return true;
    if (poll(fds, 3, -1) < 0 && errno != EINTR)
        fail("poll: %s", strerror(errno));
    ring_drain_calls(rx);
    if (full)
        ring_drain_calls(tx);
    return fds[2].revents == 0;
}

int main(int argc, char **argv)
{
    static struct net_front front;
    if (argc != 3) {
        fputs("usage: nettap SOCKET TAP\n", stderr);
        return 2;
    }
    const struct net_front_options options = {
        .path = argv[1], .num = RING, .rx_size = 4096, .tx_size = NET_FRONT_LARGE, .indirect = true,
        .features = FE_BIT(VIRTIO_NET_F_MRG_RXBUF) |
            FE_BIT(VIRTIO_NET_F_CSUM) | FE_BIT(VIRTIO_NET_F_GUEST_CSUM) |
            FE_BIT(VIRTIO_NET_F_HOST_TSO4) | FE_BIT(VIRTIO_NET_F_HOST_TSO6) |
            FE_BIT(VIRTIO_NET_F_GUEST_TSO4) | FE_BIT(VIRTIO_NET_F_GUEST_TSO6),
    };
    check(net_front_open(&front, &options), &front);
    int tap = open_tap(&front, argv[2]);
    check(net_front_post(&front, 0, RING, 0), &front);
    printf("nettap: %s is there\n", argv[2]);
    fflush(stdout);
    while (from_device(&front, tap) + to_device(&front, tap) > 0 || wait_for_more(&front, tap))
        continue;
    net_front_close(&front);
    return 0;
}
