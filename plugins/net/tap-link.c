/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tap-link.c - what the kernel knows of a network interface, asked by netlink: it answers for the
 * network namespace we are in, which /sys does not. See tap.h. On the builder.
 */
#include "tap.h"

#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_BYTES 32768u
#define TIMEOUT_S 10

struct request {
    struct nlmsghdr header;
    struct ifinfomsg info;
    struct rtattr name;
    char text[IFNAMSIZ];
};

static uint32_t number(const struct rtattr *attr)
{
    uint32_t value = 0;
    size_t n = RTA_PAYLOAD(attr);
    memcpy(&value, RTA_DATA(attr), n < sizeof(value) ? n : sizeof(value));
    return value;
}

static bool flag(const struct rtattr *attr)
{
    return RTA_PAYLOAD(attr) > 0 && *(const uint8_t *)RTA_DATA(attr) != 0;
}

/* Attributes nest: each level has a function that is called for each of its attributes. */
static void each(const void *data, size_t bytes, void (*found)(const struct rtattr *, void *),
                 void *arg)
{
    const struct rtattr *attr = data;
    int left = (int)bytes;
    for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left))
        found(attr, arg);
}

static void found_tun(const struct rtattr *attr, void *arg)
{
    struct tap_link *link = arg;
    switch (attr->rta_type) {
    case IFLA_TUN_TYPE:
        link->tap = RTA_PAYLOAD(attr) > 0 && *(const uint8_t *)RTA_DATA(attr) == IFF_TAP;
        break;
    case IFLA_TUN_OWNER:
        link->owner = number(attr);
        break;
    case IFLA_TUN_MULTI_QUEUE:
        link->multi_queue = flag(attr);
        break;
    case IFLA_TUN_NUM_QUEUES:
    case IFLA_TUN_NUM_DISABLED_QUEUES:
        link->queues += number(attr);
        break;
    default:
        break;
    }
}

/* The kind comes before its data. */
static void found_kind(const struct rtattr *attr, void *arg)
{
    struct tap_link *link = arg;
    size_t n = RTA_PAYLOAD(attr);
    if (attr->rta_type == IFLA_INFO_KIND && n < sizeof(link->kind))
        memcpy(link->kind, RTA_DATA(attr), n);
    if (attr->rta_type == IFLA_INFO_DATA && strcmp(link->kind, "tun") == 0)
        each(RTA_DATA(attr), n, found_tun, link);
}

static void found_link(const struct rtattr *attr, void *arg)
{
    struct tap_link *link = arg;
    if (attr->rta_type == IFLA_MTU)
        link->mtu = number(attr);
    else if (attr->rta_type == IFLA_MASTER)
        link->master = (int)number(attr);
    else if (attr->rta_type == IFLA_LINKINFO)
        each(RTA_DATA(attr), RTA_PAYLOAD(attr), found_kind, link);
}

static int parse(const void *answer, size_t bytes, struct tap_link *link)
{
    const struct nlmsghdr *header = answer;
    if (!NLMSG_OK(header, bytes))
        return -EBADMSG;
    if (header->nlmsg_type == NLMSG_ERROR) {
        const struct nlmsgerr *err = NLMSG_DATA(header);
        return header->nlmsg_len >= NLMSG_LENGTH(sizeof(*err)) && err->error ? err->error
                                                                              : -EBADMSG;
    }
    if (header->nlmsg_type != RTM_NEWLINK ||
        header->nlmsg_len < NLMSG_LENGTH(sizeof(struct ifinfomsg)))
        return -EBADMSG;
    const struct ifinfomsg *info = NLMSG_DATA(header);
    *link = (struct tap_link){.index = info->ifi_index, .flags = info->ifi_flags, .owner = -1};
    each(IFLA_RTA(info), IFLA_PAYLOAD(header), found_link, link);
    return 0;
}

static int ask(int fd, const char *name, struct tap_link *link)
{
    static const struct timeval timeout = {.tv_sec = TIMEOUT_S};
    struct request request = {
        .header = {.nlmsg_len = sizeof(request), .nlmsg_type = RTM_GETLINK,
                   .nlmsg_flags = NLM_F_REQUEST},
        .info = {.ifi_family = AF_UNSPEC},
        .name = {.rta_len = RTA_LENGTH(IFNAMSIZ), .rta_type = IFLA_IFNAME},
    };
    memcpy(request.text, name, strlen(name));
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
        send(fd, &request, sizeof(request), 0) < 0)
        return -errno;
    _Alignas(struct nlmsghdr) char answer[ANSWER_BYTES];
    ssize_t n = recv(fd, answer, sizeof(answer), 0);
    return n < 0 ? -errno : parse(answer, (size_t)n, link);
}

int tap_link_query(const char *name, struct tap_link *link)
{
    if (strlen(name) >= IFNAMSIZ)
        return -ENODEV;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return -errno;
    int rc = ask(fd, name, link);
    close(fd);
    return rc;
}

/* ---- Changing -------------------------------------------------------------------------------- */

/* Names were checked to be short enough. */
static struct ifreq request_for(const char *name)
{
    struct ifreq ifr = {.ifr_ifindex = 0};
    memcpy(ifr.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
    return ifr;
}

static int link_ioctl(unsigned long what, struct ifreq *ifr)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc = fd >= 0 && ioctl(fd, what, ifr) == 0 ? 0 : -errno;
    if (fd >= 0)
        close(fd);
    return rc;
}

int tap_link_set_mtu(const char *name, uint32_t mtu)
{
    struct ifreq ifr = request_for(name);
    ifr.ifr_mtu = (int)mtu;
    return link_ioctl(SIOCSIFMTU, &ifr);
}

int tap_link_set_up(const char *name)
{
    struct ifreq ifr = request_for(name);
    int rc = link_ioctl(SIOCGIFFLAGS, &ifr);
    ifr.ifr_flags |= IFF_UP;
    return rc < 0 ? rc : link_ioctl(SIOCSIFFLAGS, &ifr);
}

/* A bridge takes the lowest address of its ports for its own: never this one. */
int tap_link_set_high_mac(const char *name)
{
    struct ifreq ifr = request_for(name);
    int rc = link_ioctl(SIOCGIFHWADDR, &ifr);
    ifr.ifr_hwaddr.sa_data[0] = (char)0xfe;
    return rc < 0 ? rc : link_ioctl(SIOCSIFHWADDR, &ifr);
}

int tap_link_join(const char *bridge, int index)
{
    struct ifreq ifr = request_for(bridge);
    ifr.ifr_ifindex = index;
    return link_ioctl(SIOCBRADDIF, &ifr);
}

int tap_link_leave(const char *bridge, int index)
{
    struct ifreq ifr = request_for(bridge);
    ifr.ifr_ifindex = index;
    return link_ioctl(SIOCBRDELIF, &ifr);
}
