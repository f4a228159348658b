/* SPDX-License-Identifier: BSD-3-Clause */
/* peer.c - see peer.h. */
#include "peer.h"

#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WRITES_MAX 8 /* in one go: a peer that is fast does not keep the worker from others */

static void on_in(void *arg, uint32_t events);
static void on_out(void *arg, uint32_t events);

/* ---- life ------------------------------------------------------------------------------------ */

static void peer_free(struct peer *peer)
{
    struct hvv_device *dev = peer->port->console->dev;
    if (peer->in)
        hvv_watch_free(dev, peer->in);
    if (peer->out)
        hvv_watch_free(dev, peer->out);
    if (peer->in_fd >= 0)
        close(peer->in_fd);
    if (peer->out_fd >= 0 && peer->out_fd != peer->in_fd)
        close(peer->out_fd);
    free(peer);
}

struct peer *peer_new(struct port *port, enum peer_kind kind, int in_fd, int out_fd)
{
    struct hvv_device *dev = port->console->dev;
    struct peer *peer = calloc(1, sizeof(*peer));
    if (!peer) {
        if (in_fd >= 0)
            close(in_fd);
        if (out_fd >= 0 && out_fd != in_fd)
            close(out_fd);
        errno = ENOMEM;
        return NULL;
    }
    peer->port = port;
    peer->kind = kind;
    peer->in_fd = in_fd;
    peer->out_fd = out_fd;
    peer->in_ended = in_fd < 0;
    cursor_start(&peer->cursor, &port->ring, !port->lossless);
    if (in_fd >= 0)
        peer->in = hvv_watch_new(dev, port->rx, in_fd, on_in, peer);
    if (out_fd != in_fd && (in_fd < 0 || peer->in))
        peer->out = hvv_watch_new(dev, port->tx, out_fd, on_out, peer);
    if ((in_fd >= 0 && !peer->in) || (out_fd != in_fd && !peer->out)) {
        int err = errno;
        peer_free(peer);
        errno = err;
        return NULL;
    }
    return peer;
}

static void tell(const struct port *port, enum console_event event)
{
    char label[16];
    struct console *console = port->console;
    hvv_gauge(console->dev, CONSOLE_ATTACHED, HVV_NO_QUEUE, console->n_attached);
    hvv_event(console->dev, event, "port=%s attached=%u", port_label(port, label),
              port->n_attached);
}

void peer_add(struct peer *peer, bool first)
{
    struct port *port = peer->port;
    struct peer **at = &port->peers;
    while (*at && !first)
        at = &(*at)->next;
    peer->next = *at;
    *at = peer;
    if (peer->kind == PEER_BACKEND)
        return;
    port->n_attached++;
    port->console->n_attached++;
    tell(port, CONSOLE_EVENT_ATTACHED);
}

static void peer_remove(struct peer **at)
{
    struct peer *peer = *at;
    struct port *port = peer->port;
    *at = peer->next;
    bool backend = peer->kind == PEER_BACKEND;
    peer_free(peer);
    if (backend)
        return;
    port->n_attached--;
    port->console->n_attached--;
    tell(port, CONSOLE_EVENT_DETACHED);
}

void peers_free(struct port *port)
{
    while (port->peers) {
        struct peer *next = port->peers->next;
        peer_free(port->peers);
        port->peers = next;
    }
}

/* ---- who has the keyboard -------------------------------------------------------------------- */

static bool can_type(const struct peer *peer)
{
    return peer->kind != PEER_BACKEND && !peer->watches_only && !peer->in_ended;
}

const struct peer *peers_writer(const struct port *port)
{
    const struct peer *peer = port->peers;
    while (peer && !can_type(peer))
        peer = peer->next;
    return peer;
}

/* ---- output ---------------------------------------------------------------------------------- */

static ssize_t send_some(const struct peer *peer, struct iovec *iov, int n)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
    ssize_t sent = sendmsg(peer->out_fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == ENOTSOCK)
        sent = writev(peer->out_fd, iov, n);
    return sent;
}

static bool reads_output(const struct peer *peer)
{
    return peer->out_fd >= 0 && !peer->out_ended;
}

static void output_ended(struct peer *peer, int err)
{
    char label[16];
    peer->out_ended = true;
    if (peer->kind == PEER_BACKEND)
        hvv_log(peer->port->console->dev, HVV_LOG_WARNING,
                "port %s: its output cannot be written any more: %s; remove the device and add it "
                "again", port_label(peer->port, label), strerror(err));
}

static void write_to(struct peer *peer)
{
    struct port *port = peer->port;
    struct hvv_device *dev = port->console->dev;
    struct iovec iov[RING_IOVECS];
    for (int i = 0; i < WRITES_MAX && cursor_behind(&peer->cursor, &port->ring); i++) {
        uint64_t missed = 0;
        int n = cursor_next(&peer->cursor, &port->ring, iov, &missed);
        if (missed)
            hvv_count(dev, CONSOLE_MISSED_BYTES, port->tx, missed);
        ssize_t sent = send_some(peer, iov, n);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            output_ended(peer, errno);
        if (sent <= 0)
            return;
        cursor_advance(&peer->cursor, &port->ring, (size_t)sent);
    }
    port->dropping = port->dropping && cursor_behind(&peer->cursor, &port->ring);
}

void peers_write(struct port *port)
{
    for (struct peer *peer = port->peers; peer; peer = peer->next)
        if (reads_output(peer) && cursor_behind(&peer->cursor, &port->ring))
            write_to(peer);
}

void peers_finish(struct port *port)
{
    for (struct peer *peer = port->peers; peer; peer = peer->next) {
        if (peer->kind != PEER_BACKEND || !reads_output(peer) ||
            fcntl(peer->out_fd, F_SETFL, 0) < 0)
            continue;
        while (reads_output(peer) && cursor_behind(&peer->cursor, &port->ring))
            write_to(peer);
    }
}

uint64_t peers_slowest(const struct port *port)
{
    uint64_t pos = UINT64_MAX;
    for (const struct peer *peer = port->peers; peer; peer = peer->next)
        if (reads_output(peer) && peer->cursor.pos < pos)
            pos = peer->cursor.pos;
    return pos == UINT64_MAX ? port->ring.taken : pos;
}

/* ---- input ----------------------------------------------------------------------------------- */

static bool hung_up(const struct peer *peer)
{
    struct pollfd p = {.fd = peer->in_fd};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR));
}

/* A peer that only ended its input goes on reading. */
static void input_ended(struct peer *peer)
{
    peer->in_ended = true;
    if (peer->kind != PEER_BACKEND && hung_up(peer))
        peer->out_ended = true;
}

/* Keys of somebody who does not have the keyboard: a bell says so. */
static void throw_away(struct peer *peer)
{
    char waste[512];
    ssize_t n = read(peer->in_fd, waste, sizeof(waste));
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        input_ended(peer);
    else if (n > 0 && !peer->watches_only)
        (void)send(peer->in_fd, "\a", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/*
 * A client that does not have the keyboard has said something or left. What it said waits in its
 * socket; who has left without a word is not waited for.
 */
static void look_at(struct peer *peer)
{
    char byte;
    ssize_t n = recv(peer->in_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    peer->input_waits = n > 0;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        input_ended(peer);
}

static void read_from(struct peer *peer)
{
    struct port *port = peer->port;
    uint32_t size;
    if (peer->kind != PEER_BACKEND && peers_writer(port) != peer) {
        if (peer->kind == PEER_TERMINAL)
            throw_away(peer);
        else
            look_at(peer);
        return;
    }
    peer->input_waits = false;
    char *room = port_input_room(port, &size);
    if (size == 0)
        return;
    ssize_t n = read(peer->in_fd, room, size);
    if (n > 0) {
        port_input_add(port, (uint32_t)n);
        port_feed(port);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        input_ended(peer);
    }
}

void peers_look(struct port *port)
{
    const struct peer *writer = peers_writer(port);
    for (struct peer *peer = port->peers; peer; peer = peer->next) {
        if (peer->kind == PEER_BACKEND || !hung_up(peer))
            continue;
        peer->out_ended = true;
        if (peer == writer)
            continue;
        if (peer->kind == PEER_TERMINAL)
            peer->in_ended = true;
        else if (!peer->in_ended)
            look_at(peer);
    }
}

/* ---- watches --------------------------------------------------------------------------------- */

static void on_in(void *arg, uint32_t events)
{
    struct peer *peer = arg;
    struct port *port = peer->port;
    if (events & HVV_WATCH_READ)
        read_from(peer);
    if ((events & HVV_WATCH_WRITE) && reads_output(peer))
        write_to(peer);
    port_drained(port);
    peers_settle(port);
}

static void on_out(void *arg, uint32_t events)
{
    struct peer *peer = arg;
    struct port *port = peer->port;
    (void)events;
    if (reads_output(peer))
        write_to(peer);
    port_drained(port);
    peers_settle(port);
}

/* Who does not have the keyboard is listened to for their end. */
static bool wants_input(const struct peer *peer, const struct peer *writer, bool room)
{
    if (peer->in_ended)
        return false;
    if (peer->kind != PEER_BACKEND && peer != writer)
        return !peer->input_waits;
    return room && (peer->kind == PEER_BACKEND || peer == writer);
}

static void arm(struct hvv_device *dev, struct hvv_watch *watch, uint32_t *armed, uint32_t events)
{
    if (watch && *armed != events)
        hvv_watch_set(dev, watch, events);
    *armed = events;
}

static void arm_peer(struct peer *peer, const struct peer *writer, bool room)
{
    struct port *port = peer->port;
    uint32_t in = wants_input(peer, writer, room) ? HVV_WATCH_READ : 0;
    bool behind = reads_output(peer) && cursor_behind(&peer->cursor, &port->ring);
    uint32_t out = behind ? HVV_WATCH_WRITE : 0;
    struct hvv_device *dev = port->console->dev;
    arm(dev, peer->in, &peer->in_armed, peer->out_fd == peer->in_fd ? in | out : in);
    arm(dev, peer->out, &peer->out_armed, out);
}

void peers_settle(struct port *port)
{
    uint32_t size;
    if (!port->console->published)
        return;
    struct peer **at = &port->peers;
    bool removed = false;
    while (*at) {
        if ((*at)->in_ended && (*at)->out_ended) {
            peer_remove(at);
            removed = true;
        } else {
            at = &(*at)->next;
        }
    }
    if (removed)
        port_drained(port); /* nobody waits for it any more */
    const struct peer *writer = peers_writer(port);
    port_input_room(port, &size);
    bool reader = false;
    for (struct peer *peer = port->peers; peer; peer = peer->next) {
        arm_peer(peer, writer, size > 0);
        reader = reader || reads_output(peer);
    }
    control_host_open(port, reader || !port->lossless);
}
