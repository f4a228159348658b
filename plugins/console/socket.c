/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * socket.c - the back-end that listens on a Unix stream socket. Each client becomes a peer.
 *
 * The socket is bound in create() and listens from publish() on, so nobody gets through before.
 */
#include "../common/claim.h"
#include "backend.h"
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)
#define BACKLOG 8
#define ACCEPTS_MAX 16 /* in one turn */
#define RETRY_NS 1000000000ull /* after an accept() that found no descriptor free */

struct listener {
    int fd;
    int lock;
    struct hvv_watch *watch;
    struct hvv_timer *retry;
    dev_t dev; /* of the socket file, to recognise it */
    ino_t ino;
};

static void on_clients(void *arg, uint32_t events);
static void on_retry(void *arg);

/* ---- the socket ------------------------------------------------------------------------------ */

static int32_t clear_path(const struct port *port)
{
    struct hvv_device *dev = port->console->dev;
    struct stat st;
    if (lstat(port->path, &st) < 0)
        return errno == ENOENT ? 0 : hvv_error_option(dev, errno, port->path_option, "%s cannot be "
                                                      "looked at: %s", port->path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return hvv_error_option(dev, EEXIST, port->path_option, "%s exists and is not a socket: "
                                "remove it or choose another path", port->path);
    if (unlink(port->path) < 0)
        return hvv_error_option(dev, errno, port->path_option, "the left-over socket %s cannot be "
                                "removed: %s", port->path, strerror(errno));
    return 0;
}

/* Only its owner may connect; the mode is set before the file is there. */
static int32_t bind_path(const struct port *port, struct listener *l)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    memcpy(address.sun_path, port->path, strlen(port->path) + 1);
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int err = l->fd < 0 ? errno : 0;
    bool bound = false;
    if (err == 0 && fchmod(l->fd, 0600) < 0)
        err = errno;
    if (err == 0) {
        bound = bind(l->fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
        err = bound ? 0 : errno;
    }
    if (err == 0 && lstat(port->path, &st) < 0)
        err = errno;
    if (err == 0) {
        l->dev = st.st_dev;
        l->ino = st.st_ino;
        return 0;
    }
    if (bound)
        unlink(port->path); /* ours: it is under our lock */
    if (l->fd >= 0)
        close(l->fd);
    return hvv_error_option(port->console->dev, err, port->path_option, "the socket %s cannot be "
                            "bound: %s", port->path, strerror(err));
}

static void release(const struct port *port, const struct listener *l)
{
    struct stat st;
    if (lstat(port->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(port->path);
    close(l->fd);
    claim_drop(l->lock, port->path);
}

static int32_t listen_on(const struct port *port, struct listener *l)
{
    struct hvv_device *dev = port->console->dev;
    if (strlen(port->path) > SOCKET_PATH_MAX)
        return hvv_error_option(dev, ENAMETOOLONG, port->path_option, "the socket path %.256s has "
                                "%zu bytes, the limit is %zu: choose a shorter one", port->path,
                                strlen(port->path), SOCKET_PATH_MAX);
    l->lock = claim_take(port->console->dev, port->path_option, port->path);
    if (l->lock < 0)
        return l->lock;
    int32_t rc = clear_path(port);
    if (rc == 0)
        rc = bind_path(port, l);
    if (rc < 0)
        claim_drop(l->lock, port->path);
    return rc;
}

static int32_t open_backend(struct port *port)
{
    struct listener *l = calloc(1, sizeof(*l));
    if (!l)
        return hvv_error(port->console->dev, ENOMEM, "no memory for a socket");
    int32_t rc = listen_on(port, l);
    if (rc < 0) {
        free(l);
        return rc;
    }
    l->watch = hvv_watch_new(port->console->dev, port->rx, l->fd, on_clients, port);
    l->retry = l->watch ? hvv_timer_new(port->console->dev, port->rx, on_retry, port) : NULL;
    if (!l->retry) {
        rc = hvv_error(port->console->dev, errno, "the socket %s cannot be watched: %s", port->path,
                       strerror(errno));
        if (l->watch)
            hvv_watch_free(port->console->dev, l->watch);
        release(port, l);
        free(l);
        return rc;
    }
    port->backend_state = l;
    backend_describe(port, "socket", port->path);
    return 0;
}

static void close_backend(struct port *port)
{
    struct listener *l = port->backend_state;
    hvv_timer_free(port->console->dev, l->retry);
    hvv_watch_free(port->console->dev, l->watch);
    release(port, l);
    free(l);
}

static void publish(struct port *port)
{
    struct listener *l = port->backend_state;
    if (listen(l->fd, BACKLOG) < 0) /* there is nothing about a bound socket that it could refuse */
        hvv_log(port->console->dev, HVV_LOG_ERROR, "%s: listen: %s", port->path, strerror(errno));
    else
        hvv_watch_set(port->console->dev, l->watch, HVV_WATCH_READ);
}

/* ---- clients --------------------------------------------------------------------------------- */

/* Takes the descriptor. */
static void add_client(struct port *port, int fd)
{
    struct hvv_device *dev = port->console->dev;
    peers_look(port);
    peers_settle(port);
    if (port->n_attached >= PORT_PEERS_MAX) {
        hvv_log(dev, HVV_LOG_WARNING, "%s: a client is turned away, %u are attached already",
                port->path, port->n_attached);
        close(fd);
        return;
    }
    struct peer *peer = peer_new(port, PEER_CLIENT, fd, fd);
    if (peer)
        peer_add(peer, false);
    else
        hvv_log(dev, HVV_LOG_WARNING, "%s: a client is turned away: %s", port->path,
                strerror(errno));
}

static void on_retry(void *arg)
{
    struct port *port = arg;
    struct listener *l = port->backend_state;
    hvv_watch_set(port->console->dev, l->watch, HVV_WATCH_READ);
}

/* A client that cannot be accepted stays where it is, and the socket ready: so a pause. */
static void accept_failed(struct port *port, int err)
{
    struct hvv_device *dev = port->console->dev;
    struct listener *l = port->backend_state;
    if (err == EAGAIN || err == EINTR || err == ECONNABORTED)
        return;
    hvv_log(dev, HVV_LOG_WARNING, "%s: a client cannot be accepted: %s", port->path, strerror(err));
    hvv_watch_set(dev, l->watch, 0);
    hvv_timer_set(dev, l->retry, RETRY_NS);
}

static void on_clients(void *arg, uint32_t events)
{
    struct port *port = arg;
    struct listener *l = port->backend_state;
    (void)events;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            accept_failed(port, errno);
            break;
        }
        add_client(port, fd);
    }
    peers_settle(port);
}

const struct backend_ops backend_socket = {
    .name = "socket",
    .makes_path = true,
    .open = open_backend,
    .close = close_backend,
    .publish = publish,
};
