/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tap-open.c - opens or creates the tap and joins it to a bridge. See tap.h. On the builder.
 *
 * TUNSETIFF creates what does not exist, so existence is looked at before and after.
 */
#include "tap.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define DEVICE "/dev/net/tun"
#define NAME_MAX_BYTES (IFNAMSIZ - 1)
#define TUN_F_BASIC (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)
#define TUN_F_USO (TUN_F_USO4 | TUN_F_USO6)

static int32_t refuse(const struct tap *tap, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int32_t refuse(const struct tap *tap, int err, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return hvv_error_option(tap->net->dev, err, tap->option, "%s", text);
}

/* ---- Names ----------------------------------------------------------------------------------- */

static int32_t check_name(const struct tap *tap, const char *option, const char *name)
{
    size_t len = strlen(name);
    if (len > NAME_MAX_BYTES)
        return hvv_error_option(tap->net->dev, ENAMETOOLONG, option, "the name %s has %zu bytes; "
                                "that of an interface has at most %d", name, len, NAME_MAX_BYTES);
    bool bad = len == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    for (const char *c = name; *c; c++)
        bad |= *c == '/' || *c == ':' || *c == '%' || isspace((unsigned char)*c);
    if (bad)
        return hvv_error_option(tap->net->dev, EINVAL, option, "'%s' is no name of an interface: "
                                "it is empty or has '/', ':', '%%' or a space", name);
    return 0;
}

/* ---- Who uses it ----------------------------------------------------------------------------- */

/* One file of /proc into `text`; false if it cannot be read. */
static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* A descriptor of a tap says so in a line "iff:", a tab and the name. */
static bool has_open(const char *pid, const char *name)
{
    char path[560], text[1024], line[IFNAMSIZ + 8];
    struct dirent *entry;
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%s/fdinfo", pid);
    snprintf(line, sizeof(line), "iff:\t%s\n", name);
    DIR *dir = opendir(path);
    while (dir && !found && (entry = readdir(dir))) {
        snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, entry->d_name);
        found = read_text(path, text, sizeof(text)) && strstr(text, line);
    }
    if (dir)
        closedir(dir);
    return found;
}

static bool same_network(const char *pid)
{
    char path[280], own[64] = "", other[64] = "";
    snprintf(path, sizeof(path), "/proc/%s/ns/net", pid);
    return readlink("/proc/self/ns/net", own, sizeof(own) - 1) > 0 &&
           readlink(path, other, sizeof(other) - 1) > 0 && strcmp(own, other) == 0;
}

/* Puts into `text` who has the tap open, if it can be seen. */
static void find_user(const char *name, char *text, size_t size)
{
    char path[280], comm[32];
    struct dirent *entry;
    bool found = false;
    DIR *dir = opendir("/proc");
    snprintf(text, size, "another program");
    while (dir && !found && (entry = readdir(dir))) {
        const char *pid = entry->d_name;
        if (!isdigit((unsigned char)*pid) || !same_network(pid) || !has_open(pid, name))
            continue;
        found = true;
        snprintf(path, sizeof(path), "/proc/%s/comm", pid);
        if (atol(pid) == getpid())
            snprintf(text, size, "another device of this daemon");
        else if (read_text(path, comm, sizeof(comm)))
            snprintf(text, size, "process %.20s (%.*s)", pid, (int)strcspn(comm, "\n"), comm);
    }
    if (dir)
        closedir(dir);
}

static int32_t refuse_used(const struct tap *tap)
{
    char user[80];
    find_user(tap->name, user, sizeof(user));
    return refuse(tap, EBUSY, "%s is used by %s already; use another tap or end that first",
                  tap->name, user);
}

/* ---- Queues ---------------------------------------------------------------------------------- */

static int32_t open_device(const struct tap *tap, struct tap_pair *tp)
{
    tp->fd = open(DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tp->fd >= 0)
        return 0;
    int err = errno;
    if (err == ENOENT || err == ENODEV || err == ENXIO)
        return refuse(tap, err, "%s is not there; load the kernel's tun module (modprobe tun)",
                      DEVICE);
    if (err == EACCES || err == EPERM)
        return refuse(tap, err, "%s may not be opened; let the daemon's user read and write it",
                      DEVICE);
    return refuse(tap, err, "%s cannot be opened: %s", DEVICE, strerror(err));
}

/* Makes the descriptor a queue of the tap. 0 or -errno. */
static int set_interface(const struct tap *tap, const struct tap_pair *tp, int flags)
{
    struct ifreq ifr = {.ifr_flags = 0};
    flags |= IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (tap->multi_queue ? IFF_MULTI_QUEUE : 0);
    ifr.ifr_flags = (short)flags;
    memcpy(ifr.ifr_name, tap->name, strlen(tap->name));
    return ioctl(tp->fd, TUNSETIFF, &ifr) < 0 ? -errno : 0;
}

static int32_t refuse_permission(const struct tap *tap, int64_t owner)
{
    if (tap->created)
        return refuse(tap, EPERM, "creating the tap %s takes the capability CAP_NET_ADMIN: give it "
                      "to the daemon, or make the tap before (ip tuntap add dev %s mode tap user "
                      "NAME) and leave create out", tap->name, tap->name);
    char whose[40] = "nobody in particular";
    if (owner >= 0)
        snprintf(whose, sizeof(whose), "user %lld", (long long)owner);
    return refuse(tap, EPERM, "the tap %s belongs to %s and the daemon runs as user %u without "
                  "CAP_NET_ADMIN: give the tap to it (ip tuntap add dev %s mode tap user NAME) or "
                  "run the daemon with that capability", tap->name, whose, (unsigned)geteuid(),
                  tap->name);
}

static int32_t refuse_interface(const struct tap *tap, int err, int64_t owner)
{
    if (err == EPERM)
        return refuse_permission(tap, owner);
    if (err == EBUSY)
        return refuse_used(tap);
    return refuse(tap, err, "%s cannot be opened as a tap with %u queues: %s", tap->name,
                  tap->n_pairs, strerror(err));
}

/* What an interface of that name has to be. */
static int32_t check_link(const struct tap *tap, const struct tap_link *link)
{
    if (strcmp(link->kind, "tun") != 0)
        return refuse(tap, EINVAL, "%s is no tap but %s; name a tap, or another name to create one",
                      tap->name, link->kind[0] ? link->kind : "a network card");
    if (!link->tap)
        return refuse(tap, EINVAL, "%s is a tun device, without Ethernet; make a tap (ip tuntap "
                      "add dev NAME mode tap)", tap->name);
    if (tap->n_pairs > 1 && !link->multi_queue)
        return refuse(tap, EINVAL, "queues=%u, and the tap %s has 1; make it with more (ip tuntap "
                      "add dev %s mode tap multi_queue) or leave queues out", tap->n_pairs,
                      tap->name, tap->name);
    return link->queues > 0 ? refuse_used(tap) : 0;
}

/* Finds out whether there is such a tap, and what it is like. */
static int32_t look_up(struct tap *tap, struct tap_link *link)
{
    int rc = tap_link_query(tap->name, link);
    if (rc == 0) {
        tap->multi_queue = link->multi_queue;
        return check_link(tap, link);
    }
    if (rc != -ENODEV)
        return refuse(tap, -rc, "the kernel does not tell about %s: %s", tap->name, strerror(-rc));
    if (!hvv_option_u64(tap->net->dev, "create"))
        return refuse(tap, ENODEV, "there is no tap %s; make it (ip tuntap add dev %s mode tap%s), "
                      "or add create to have it made", tap->name, tap->name,
                      tap->n_pairs > 1 ? " multi_queue" : "");
    tap->created = true;
    tap->multi_queue = tap->n_pairs > 1;
    return 0;
}

/* The first queue. Sets tap->index; `link` is what was there before and is there now. */
static int32_t open_first(struct tap *tap, struct tap_link *link)
{
    struct tap_pair *tp = &tap->pair[0];
    int before = link->index;
    int32_t rc = open_device(tap, tp);
    if (rc < 0)
        return rc;
    rc = set_interface(tap, tp, tap->created ? IFF_TUN_EXCL : 0);
    if (rc < 0)
        return refuse_interface(tap, -rc, link->owner);
    rc = tap_link_query(tap->name, link);
    if (rc < 0 || (!tap->created && link->index != before))
        return refuse(tap, ENODEV, "the tap %s was removed just now", tap->name);
    tap->index = link->index;
    return 0;
}

static int32_t open_queues(struct tap *tap, struct tap_link *link)
{
    int32_t rc = open_first(tap, link);
    for (uint32_t i = 1; i < tap->n_pairs && rc == 0; i++) {
        rc = open_device(tap, &tap->pair[i]);
        if (rc < 0)
            return rc;
        rc = set_interface(tap, &tap->pair[i], 0);
        if (rc < 0)
            return refuse_interface(tap, -rc, link->owner);
    }
    if (rc == 0)
        tap->attached = UINT32_MAX >> (32 - tap->n_pairs);
    return rc;
}

/* ---- The header and offloads ----------------------------------------------------------------- */

static int32_t set_header(const struct tap *tap)
{
    int bytes = (int)FRAME_HEADER_BYTES, little_endian = 1;
    if (ioctl(tap->pair[0].fd, TUNSETVNETHDRSZ, &bytes) < 0)
        return refuse(tap, errno, "the kernel cannot put headers of %d bytes in front of the "
                      "frames of %s: %s", bytes, tap->name, strerror(errno));
    /* Kernels that do not know it are of machines where nothing else exists. */
    (void)ioctl(tap->pair[0].fd, TUNSETVNETLE, &little_endian);
    return 0;
}

/* Asks for everything to learn what there is, then for nothing: no guest has taken it yet. */
static void probe_offloads(struct tap *tap)
{
    static const uint32_t sets[] = {TUN_F_BASIC | TUN_F_USO, TUN_F_BASIC};
    for (size_t i = 0; i < 2 && tap->flags == 0; i++)
        if (ioctl(tap->pair[0].fd, TUNSETOFFLOAD, (unsigned long)sets[i]) == 0)
            tap->flags = sets[i];
    (void)ioctl(tap->pair[0].fd, TUNSETOFFLOAD, 0ul);
}

static void offer_offloads(const struct tap *tap)
{
    uint64_t bits = 0;
    if (tap->flags & TUN_F_CSUM)
        bits = (NET_HOST_OFFLOADS | NET_GUEST_OFFLOADS) &
               ~(NET_FEATURE(HOST_USO) | NET_FEATURE(GUEST_USO4) | NET_FEATURE(GUEST_USO6));
    if (tap->flags & TUN_F_USO4)
        bits |= NET_FEATURE(HOST_USO) | NET_FEATURE(GUEST_USO4) | NET_FEATURE(GUEST_USO6);
    tap->net->offloads = hvv_option_u64(tap->net->dev, "offload") ? bits : 0;
}

/* ---- MTU ------------------------------------------------------------------------------------- */

static int32_t set_mtu(const struct tap *tap, uint32_t mtu)
{
    int rc = tap_link_set_mtu(tap->name, mtu);
    if (rc == 0)
        return 0;
    return hvv_error_option(tap->net->dev, -rc, "mtu", "the tap %s cannot have an MTU of %u: %s; "
                            "a tap takes 68 to 65521", tap->name, mtu, strerror(-rc));
}

/* Of a tap that exists the guest is told what it has, or less. */
static int32_t check_mtu(const struct tap *tap, const struct tap_link *link)
{
    uint32_t mtu = tap->net->mtu;
    if (tap->created || mtu <= link->mtu)
        return 0;
    return hvv_error_option(tap->net->dev, EINVAL, "mtu", "%u is more than the MTU of the tap %s, "
                            "%u; raise that (ip link set %s mtu %u) or leave mtu out", mtu,
                            tap->name, link->mtu, tap->name, mtu);
}

/*
 * One that we created gets what was asked for, or the bridge's, which would otherwise come down to
 * the tap's.
 */
static int32_t settle_mtu(struct tap *tap, const struct tap_link *link,
                          const struct tap_link *bridge)
{
    struct net *net = tap->net;
    uint32_t mtu = link->mtu;
    if (tap->created && (net->mtu || bridge->mtu)) {
        mtu = net->mtu ? net->mtu : bridge->mtu;
        int32_t rc = set_mtu(tap, mtu);
        if (rc < 0)
            return rc;
    }
    if (net->mtu == 0 && mtu != TAP_MTU_DEFAULT)
        net->mtu = mtu;
    return 0;
}

/* ---- Bridge ---------------------------------------------------------------------------------- */

static int32_t find_bridge(const struct tap *tap, const char *name, struct tap_link *bridge)
{
    struct hvv_device *dev = tap->net->dev;
    int32_t rc = check_name(tap, "bridge", name);
    if (rc < 0)
        return rc;
    rc = tap_link_query(name, bridge);
    if (rc == -ENODEV)
        return hvv_error_option(dev, ENODEV, "bridge", "there is no bridge %s; make it (ip link "
                                "add %s type bridge)", name, name);
    if (rc < 0)
        return hvv_error_option(dev, -rc, "bridge", "the kernel does not tell about %s: %s", name,
                                strerror(-rc));
    if (strcmp(bridge->kind, "bridge") != 0)
        return hvv_error_option(dev, EINVAL, "bridge", "%s is no bridge but %s; name a bridge of "
                                "the kernel", name,
                                bridge->kind[0] ? bridge->kind : "a network card");
    return 0;
}

static int32_t check_port(const struct tap *tap, const struct tap_link *link,
                          const struct tap_link *bridge)
{
    char other[IFNAMSIZ] = "another";
    if (link->master == 0 || link->master == bridge->index)
        return 0;
    if_indextoname((unsigned)link->master, other);
    return hvv_error_option(tap->net->dev, EBUSY, "bridge", "the tap %s is a port of %s already; "
                            "take it out (ip link set %s nomaster) or leave bridge out", tap->name,
                            other, tap->name);
}

static int32_t join(struct tap *tap, const char *name, const struct tap_link *link,
                    const struct tap_link *bridge)
{
    struct hvv_device *dev = tap->net->dev;
    if (link->master == bridge->index)
        return 0; /* somebody joined it before, and it stays when we go */
    if (tap->created)
        (void)tap_link_set_high_mac(tap->name);
    int rc = tap_link_join(name, tap->index);
    if (rc == -EPERM)
        return hvv_error_option(dev, EPERM, "bridge", "joining %s takes the capability "
                                "CAP_NET_ADMIN: give it to the daemon, or join the tap before (ip "
                                "link set %s master %s) and leave bridge out", name, tap->name,
                                name);
    if (rc < 0)
        return hvv_error_option(dev, -rc, "bridge", "%s cannot join %s: %s", tap->name, name,
                                strerror(-rc));
    tap->bridge = name;
    return 0;
}

/* ---- All of it ------------------------------------------------------------------------------- */

static int32_t bring_up(const struct tap *tap, const struct tap_link *link)
{
    if (!tap->created) {
        if (!(link->flags & IFF_UP))
            hvv_log(tap->net->dev, HVV_LOG_WARNING, "%s is down: no frame goes through it (ip link "
                    "set %s up)", tap->name, tap->name);
        return 0;
    }
    int rc = tap_link_set_up(tap->name);
    return rc < 0 ? refuse(tap, -rc, "the tap %s cannot be brought up: %s", tap->name,
                           strerror(-rc))
                  : 0;
}

static void set_carrier(struct tap *tap)
{
    int up = atomic_load(&tap->net->link);
    (void)ioctl(tap->pair[0].fd, TUNSETCARRIER, &up); /* kernels before 5.0 have none */
    tap->carrier = up;
}

static int32_t prepare(struct tap *tap, const struct tap_link *link, const char *name,
                       const struct tap_link *bridge)
{
    int32_t rc = set_header(tap);
    if (rc < 0)
        return rc;
    probe_offloads(tap);
    offer_offloads(tap);
    set_carrier(tap);
    rc = settle_mtu(tap, link, bridge);
    if (rc == 0 && name)
        rc = join(tap, name, link, bridge);
    if (rc == 0)
        rc = bring_up(tap, link);
    return rc;
}

/* All that can be known before anything is opened. */
static int32_t look_around(struct tap *tap, const char *name, struct tap_link *link,
                           struct tap_link *bridge)
{
    int32_t rc = check_name(tap, tap->option, tap->name);
    if (rc == 0)
        rc = look_up(tap, link);
    if (rc == 0)
        rc = check_mtu(tap, link);
    if (rc == 0 && name)
        rc = find_bridge(tap, name, bridge);
    if (rc == 0 && name)
        rc = check_port(tap, link, bridge);
    return rc;
}

int32_t tap_acquire(struct tap *tap)
{
    struct tap_link link = {.owner = -1}, bridge = {.owner = -1};
    const char *name = hvv_option_string(tap->net->dev, "bridge");
    int32_t rc = look_around(tap, name, &link, &bridge);
    if (rc < 0)
        return rc;
    rc = open_queues(tap, &link);
    if (rc == 0)
        rc = prepare(tap, &link, name, &bridge);
    if (rc < 0)
        tap_release(tap);
    return rc;
}

/* A tap that we created goes with its last descriptor, and its place in a bridge with it. */
void tap_release(struct tap *tap)
{
    if (tap->bridge)
        (void)tap_link_leave(tap->bridge, tap->index); /* unless somebody took it out already */
    for (uint32_t i = 0; i < tap->n_pairs; i++)
        if (tap->pair[i].fd >= 0)
            close(tap->pair[i].fd);
}
