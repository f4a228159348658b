/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * socket.c - a back-end that exchanges frames with one peer over Unix datagram sockets, one frame
 * without any header in each datagram, as QEMU's `-netdev dgram` does. Each side has a socket at a
 * path of its own and sends to the other's.
 *
 * Runs on the worker of the one pair; open and close on the builder.
 *
 * The socket is never connected: a connected one takes datagrams only from the very socket it was
 * connected to, and would stay deaf to a peer that was started anew. But only a connected socket
 * can wait for room in the peer's queue. So when that is full, a second socket is connected, which
 * does nothing else.
 */
#include "../common/claim.h"
#include "backend.h"
#include "rx.h"
#include "tx.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)
#define FRAMES_MAX 64u         /* received in one turn */
#define BYTES_MAX (512u << 10) /* likewise */

struct dgram {
    struct pair *pair;
    const char *path;
    int lock;
    int fd;     /* bound to path */
    int waiter; /* connected to the peer while its queue is full */
    struct hvv_watch *watch, *waiter_watch;
    struct sockaddr_un peer;
    dev_t dev; /* of the socket file, to recognise it */
    ino_t ino;

    bool reading;         /* the guest may have room: fd is watched for frames */
    bool blocked;         /* a frame waits: fd is watched for room of our own */
    uint32_t held, given; /* bytes in bounce that wait for the guest, and rx_give()'s */
    uint8_t bounce[FRAME_MAX];
};

static void set_watch(const struct dgram *d)
{
    hvv_watch_set(d->pair->net->dev, d->watch, (d->reading ? HVV_WATCH_READ : 0) |
                                                   (d->blocked ? HVV_WATCH_WRITE : 0));
}

/* ---- Frames from the guest ------------------------------------------------------------------- */

/*
 * The peer's queue is full, or our own share of memory is used up, which is the case that fd itself
 * tells. The peer may also be one that is connected to us: then nobody else can connect to it, but
 * only our share counts. False if the peer went away.
 */
static bool wait_for_room(struct dgram *d)
{
    struct pollfd own = {.fd = d->fd, .events = POLLOUT};
    struct hvv_device *dev = d->pair->net->dev;
    if (poll(&own, 1, 0) == 1 &&
        connect(d->waiter, (const struct sockaddr *)&d->peer, sizeof(d->peer)) == 0) {
        hvv_watch_set(dev, d->waiter_watch, HVV_WATCH_WRITE);
        return true;
    }
    if (own.revents & POLLOUT && errno != EPERM)
        return false;
    d->blocked = true;
    set_watch(d);
    return true;
}

static enum send_result send_failed(struct dgram *d, int err)
{
    switch (err) {
    case EAGAIN:
        return wait_for_room(d) ? SEND_FULL : SEND_NO_PEER;
    case ENOENT:
    case ENOTDIR:
    case ECONNREFUSED:
        return SEND_NO_PEER;
    default:
        hvv_log(d->pair->net->dev, HVV_LOG_WARNING, "a frame cannot be sent to %s: %s",
                d->peer.sun_path, strerror(err));
        return SEND_REFUSED;
    }
}

static enum send_result socket_send(struct pair *pair, const struct frame *frame,
                                    struct hvv_chain *chain)
{
    struct dgram *d = pair->backend;
    struct iovec iov[NET_IOV_MAX];
    (void)chain;
    uint32_t n = hvv_iov_slice(frame->iov, frame->n_iov, frame->offset, frame->bytes, iov,
                               NET_IOV_MAX);
    if (n == UINT32_MAX) { /* too many pieces for one call */
        frame_read(frame, 0, pair->scratch, frame->bytes);
        iov[0] = (struct iovec){pair->scratch, frame->bytes};
        n = 1;
    }
    struct msghdr message = {.msg_name = &d->peer, .msg_namelen = sizeof(d->peer),
                             .msg_iov = iov, .msg_iovlen = n};
    if (sendmsg(d->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return SEND_DONE;
    return send_failed(d, errno);
}

static void room_again(struct dgram *d)
{
    hvv_watch_set(d->pair->net->dev, d->waiter_watch, 0);
    d->blocked = false;
    set_watch(d);
    tx_resume(d->pair);
}

static void on_waiter(void *arg, uint32_t events)
{
    (void)events;
    room_again(arg);
}

/* The transmit queue stops: nothing waits any more. */
static void socket_let_go(struct pair *pair)
{
    struct dgram *d = pair->backend;
    if (!pair->tx_running)
        room_again(d);
}

/* ---- Frames to the guest --------------------------------------------------------------------- */

enum got { GOT_FRAME, GOT_NOTHING, GOT_NO_ROOM };

/* Copies the frame in bounce to the guest. */
static enum got give_held(struct dgram *d)
{
    struct iovec iov = {d->bounce, d->held};
    struct frame frame = {.iov = &iov, .n_iov = 1, .bytes = d->held};
    if (rx_give(d->pair, &frame, &d->given) == RX_FULL)
        return GOT_NO_ROOM;
    d->held = d->given = 0;
    return GOT_FRAME;
}

/* Receives one datagram; what does not fit is cut off, but counted. -1 with errno. */
static ssize_t receive_into(const struct dgram *d, struct iovec *iov, uint32_t n)
{
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = n};
    ssize_t bytes;
    do
        bytes = recvmsg(d->fd, &message, MSG_DONTWAIT | MSG_TRUNC);
    while (bytes < 0 && errno == EINTR);
    return bytes;
}

/* Why nothing was received. If guest memory is gone, so is the datagram. */
static enum got receive_failed(const struct dgram *d, int err)
{
    if (err == EFAULT) {
        rx_drop(d->pair, NET_RX_NO_BUFFER);
        return GOT_FRAME;
    }
    if (err != EAGAIN)
        hvv_log(d->pair->net->dev, HVV_LOG_WARNING, "no frame can be received at %s: %s", d->path,
                strerror(err));
    return GOT_NOTHING;
}

/* True if it can be a frame; else it is dropped and counted. */
static bool is_frame(const struct dgram *d, size_t got, uint32_t largest)
{
    if (got >= FRAME_MIN && got <= largest)
        return true;
    rx_drop(d->pair, got > largest ? NET_RX_TOO_LONG : NET_RX_BAD_FRAME);
    return false;
}

/* Receives a frame behind an empty header in the guest's buffers, which have room for `largest`. */
static enum got receive_in_place(struct dgram *d, const struct iovec *room, uint32_t n_room,
                                 uint32_t largest, uint32_t *bytes)
{
    static const uint8_t header[FRAME_HEADER_BYTES];
    struct iovec iov[NET_IOV_MAX];
    uint32_t n = hvv_iov_slice(room, n_room, FRAME_HEADER_BYTES, largest, iov, NET_IOV_MAX);
    ssize_t got = receive_into(d, iov, n);
    if (got < 0)
        return receive_failed(d, errno);
    if (!is_frame(d, (size_t)got, largest))
        return GOT_FRAME;
    hvv_iov_write(room, n_room, 0, header, sizeof(header));
    rx_filled(d->pair, (uint32_t)got);
    *bytes = (uint32_t)got;
    return GOT_FRAME;
}

static enum got receive_bounced(struct dgram *d, uint32_t *bytes)
{
    struct iovec iov = {d->bounce, sizeof(d->bounce)};
    ssize_t got = receive_into(d, &iov, 1);
    if (got < 0)
        return receive_failed(d, errno);
    if (!is_frame(d, (size_t)got, FRAME_MAX))
        return GOT_FRAME;
    *bytes = d->held = (uint32_t)got;
    return give_held(d);
}

/* A frame stays in the socket while the guest has no buffer at all: then the peer waits, too. */
static enum got receive_one(struct dgram *d, uint32_t *bytes)
{
    struct pair *pair = d->pair;
    uint32_t n, largest = rx_largest(pair->net);
    *bytes = 0;
    if (d->held)
        return give_held(d);
    const struct iovec *room = rx_space(pair, largest, &n);
    if (room)
        return receive_in_place(d, room, n, largest, bytes);
    if (atomic_load(&pair->net->link) && !rx_space(pair, FRAME_MIN, &n))
        return GOT_NO_ROOM;
    return receive_bounced(d, bytes);
}

/* Up to a full budget: the watch is level-triggered and brings us back. */
static void receive(struct dgram *d)
{
    enum got got = GOT_FRAME;
    uint32_t bytes, sum = 0;
    for (uint32_t i = 0; i < FRAMES_MAX && sum < BYTES_MAX && got == GOT_FRAME; i++) {
        got = receive_one(d, &bytes);
        sum += bytes;
    }
    d->reading = got != GOT_NO_ROOM;
    set_watch(d);
}

static void socket_receive(struct pair *pair)
{
    struct dgram *d = pair->backend;
    if (!d->reading)
        receive(d);
}

static void socket_receive_stop(struct pair *pair)
{
    struct dgram *d = pair->backend;
    if (d->held)
        rx_drop(pair, NET_RX_NO_BUFFER);
    d->held = d->given = 0;
    d->reading = false;
    set_watch(d);
}

static void on_socket(void *arg, uint32_t events)
{
    struct dgram *d = arg;
    if (events & HVV_WATCH_READ && d->reading)
        receive(d);
    if (events & HVV_WATCH_WRITE && d->blocked)
        room_again(d);
    net_tell(d->pair);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static int32_t read_path(struct hvv_device *dev, const char *option, struct sockaddr_un *address)
{
    const char *path = hvv_option_string(dev, option);
    if (!path)
        return hvv_error_option(dev, EINVAL, option, "the back-end socket needs path=, its own "
                                "socket, and peer=, the other side's");
    size_t length = strlen(path);
    if (length > SOCKET_PATH_MAX)
        return hvv_error_option(dev, ENAMETOOLONG, option, "the path %.256s has %zu bytes, the "
                                "limit is %zu: choose a shorter one", path, length,
                                SOCKET_PATH_MAX);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, length + 1);
    return 0;
}

/* What a daemon left behind refuses connections; a socket of somebody else's does not. */
static int32_t clear_path(struct hvv_device *dev, const struct sockaddr_un *address)
{
    const char *path = address->sun_path;
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : hvv_error_option(dev, errno, "path", "%s cannot be looked at: "
                                                      "%s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return hvv_error_option(dev, EEXIST, "path", "%s exists and is not a socket: remove it or "
                                "choose another path", path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)address, sizeof(*address));
    int err = rc < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    if (err == ENOENT)
        return 0;
    if (err != ECONNREFUSED)
        return hvv_error_option(dev, EADDRINUSE, "path", "%s is in use: end the program that has "
                                "it or choose another path", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return hvv_error_option(dev, errno, "path", "the left-over socket %s cannot be removed: %s",
                                path, strerror(errno));
    return 0;
}

/* Only its owner may send to it; the mode is set before the file is there. */
static int32_t bind_path(struct dgram *d, const struct sockaddr_un *address)
{
    struct stat st;
    bool bound = false;
    int err = fchmod(d->fd, 0600) < 0 ? errno : 0;
    if (err == 0) {
        bound = bind(d->fd, (const struct sockaddr *)address, sizeof(*address)) == 0;
        err = bound ? 0 : errno;
    }
    if (err == 0 && lstat(d->path, &st) < 0)
        err = errno;
    if (err == 0) {
        d->dev = st.st_dev;
        d->ino = st.st_ino;
        return 0;
    }
    if (bound)
        unlink(d->path); /* ours: it is under our lock */
    return hvv_error_option(d->pair->net->dev, err, "path", "the socket %s cannot be bound: %s",
                            d->path, strerror(err));
}

static int32_t own_path(struct dgram *d, const struct sockaddr_un *address)
{
    struct hvv_device *dev = d->pair->net->dev;
    d->lock = claim_take(dev, "path", d->path);
    if (d->lock < 0)
        return d->lock;
    int32_t rc = clear_path(dev, address);
    if (rc == 0)
        rc = bind_path(d, address);
    if (rc < 0)
        claim_drop(d->lock, d->path);
    return rc;
}

static void disown_path(const struct dgram *d)
{
    struct stat st;
    if (lstat(d->path, &st) == 0 && st.st_dev == d->dev && st.st_ino == d->ino)
        unlink(d->path);
    claim_drop(d->lock, d->path);
}

static void dgram_free(struct dgram *d)
{
    struct hvv_device *dev = d->pair->net->dev;
    hvv_watch_free(dev, d->watch);
    hvv_watch_free(dev, d->waiter_watch);
    if (d->fd >= 0)
        close(d->fd);
    if (d->waiter >= 0)
        close(d->waiter);
    free(d);
}

static struct dgram *dgram_new(struct pair *pair)
{
    const int type = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    struct hvv_device *dev = pair->net->dev;
    struct dgram *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    d->pair = pair;
    d->fd = socket(AF_UNIX, type, 0);
    d->waiter = socket(AF_UNIX, type, 0);
    if (d->fd >= 0 && d->waiter >= 0) {
        d->watch = hvv_watch_new(dev, pair->rx_queue, d->fd, on_socket, d);
        d->waiter_watch = hvv_watch_new(dev, pair->rx_queue, d->waiter, on_waiter, d);
    }
    if (d->watch && d->waiter_watch)
        return d;
    int err = errno;
    dgram_free(d);
    errno = err;
    return NULL;
}

static int32_t socket_open(struct net *net)
{
    struct hvv_device *dev = net->dev;
    struct sockaddr_un own, peer;
    int32_t rc = read_path(dev, "path", &own);
    if (rc == 0)
        rc = read_path(dev, "peer", &peer);
    if (rc < 0)
        return rc;
    if (strcmp(own.sun_path, peer.sun_path) == 0)
        return hvv_error_option(dev, EINVAL, "peer", "%s is this device's own socket: name the "
                                "other side's, or use loop", peer.sun_path);
    if (net->n_pairs > 1)
        return hvv_error_option(dev, EINVAL, "queues", "the back-end socket has one pair of "
                                "queues, not %u: leave queues= out or use a tap", net->n_pairs);
    struct dgram *d = dgram_new(&net->pair[0]);
    if (!d)
        return hvv_error(dev, errno, "the back-end socket cannot start: %s", strerror(errno));
    d->path = hvv_option_string(dev, "path");
    d->peer = peer;
    rc = own_path(d, &own);
    if (rc < 0) {
        dgram_free(d);
        return rc;
    }
    net->pair[0].backend = d;
    net->offloads = 0;
    hvv_describe(dev, "socket", d->path);
    hvv_describe(dev, "peer", hvv_option_string(dev, "peer"));
    return 0;
}

static void socket_close(struct net *net)
{
    struct dgram *d = net->pair[0].backend;
    disown_path(d);
    dgram_free(d);
    net->pair[0].backend = NULL;
}

const struct backend_ops backend_socket = {
    .name = "socket",
    .in_order = true,
    .open = socket_open,
    .close = socket_close,
    .send = socket_send,
    .let_go = socket_let_go,
    .receive = socket_receive,
    .receive_stop = socket_receive_stop,
};
