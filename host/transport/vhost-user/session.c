/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * session.c - one connected front-end: bytes to messages and back. Control thread.
 *
 * This is one of the six doors for untrusted input. A message is received whole, with its
 * descriptors, into s->message; its header is checked against a table before the payload is read;
 * then it is handled, and its answer sent, before the next one is looked at.
 *
 *     receiving -> handled -> answered -> receiving
 *                     |  ^
 *                     v  |
 *                    busy (waits for a worker; the socket is not read)
 *
 * An ending session first lets its queues finish, completions and calls delivered, then resets the
 * device, and only then closes its descriptors and lets the next front-end in.
 */
#include "daemon.h"
#include "transport/peer-fd.h"
#include "transport/vhost-user/vhost-user.h"
#include "util/container.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES_PER_TURN 16 /* then others on the control thread have their turn */

/* ---- end ------------------------------------------------------------------------------------- */

static void close_message_fds(struct message *m)
{
    for (unsigned i = 0; i < m->n_fds; i++)
        if (m->fds[i] >= 0)
            close(m->fds[i]);
    m->n_fds = 0;
}

static void session_free(struct session *s)
{
    close_message_fds(&s->message);
    watch_free(s->watch);
    if (s->backend_fd >= 0)
        close(s->backend_fd);
    close(s->fd);
    free(s);
}

static void reset_done(struct device *dev)
{
    struct endpoint *e = dev->transport_state;
    for (uint32_t i = 0; i < dev->n_queues; i++)
        ring_clear(&e->rings[i]);
    memory_put(dev->memory);
    dev->memory = NULL;
    session_free(e->session);
    endpoint_session_ended(e);
}

static void all_quiet(struct waiter *waiter)
{
    struct session *s = container_of(waiter, struct session, waiter);
    device_reset(s->dev, reset_done);
}

static void begin_close(struct session *s)
{
    s->closing = true;
    watch_set(s->watch, 0);
    log_write(HVV_LOG_INFO, s->dev->id, "front-end disconnected: %s", s->reason);
    daemon_event(s->dev->daemon, "device.disconnected", s->dev->id, "reason", s->reason);
    device_stop_queues(s->dev, false);
    s->waiter.done = all_quiet;
    device_wait(s->dev, &s->waiter);
}

void session_close(struct session *s, const char *reason)
{
    if (s->closing || s->close_wanted)
        return;
    if (reason != s->reason)
        snprintf(s->reason, sizeof(s->reason), "%s", reason);
    watch_set(s->endpoint->accept, 0); /* the next front-end waits until this one has ended */
    if (s->busy) {
        s->close_wanted = true;
        device_stop_queues(s->dev, false); /* what the message waits for may wait for that */
    } else {
        begin_close(s);
    }
}

enum outcome session_refuse(struct session *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->reason, sizeof(s->reason), fmt, args);
    va_end(args);
    device_log(s->dev, HVV_LOG_WARNING, "%s: %s", message_name(s->message.header.request),
               s->reason);
    return REFUSE;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* Sends what is left of the answer. False if the session began to close. */
static bool send_rest(struct session *s)
{
    while (s->sent < s->to_send) {
        ssize_t n = send(s->fd, s->out + s->sent, s->to_send - s->sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            s->sent += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            watch_set(s->watch, HVV_WATCH_WRITE);
            return true;
        } else if (n == 0 || errno != EINTR) {
            session_close(s, n < 0 ? strerror(errno) : "connection closed");
            return false;
        }
    }
    s->sent = s->to_send = 0;
    watch_set(s->watch, HVV_WATCH_READ);
    return true;
}

/* Sends message.header.size bytes of payload. */
static bool answer(struct session *s)
{
    struct message *m = &s->message;
    m->header.flags = VU_VERSION | VU_FLAG_REPLY;
    memcpy(s->out, &m->header, sizeof(m->header));
    memcpy(s->out + sizeof(m->header), &m->payload, m->header.size);
    s->sent = 0;
    s->to_send = sizeof(m->header) + m->header.size;
    return send_rest(s);
}

/* Ends the handling of a message. False if the session began to close. */
static bool finish(struct session *s, enum outcome outcome)
{
    struct message *m = &s->message;
    /* Whoever asks waits for the answer, also where REPLY_ACK was not negotiated. */
    bool ack = m->header.flags & VU_FLAG_NEED_REPLY;
    if (outcome == WAIT)
        return true;
    close_message_fds(m);
    s->received = 0;
    if (outcome == CLOSE || (outcome == REFUSE && !ack)) {
        session_close(s, s->reason);
        return false;
    }
    if (outcome == REPLY)
        return answer(s);
    if (ack) {
        m->payload.u64 = outcome == REFUSE;
        m->header.size = sizeof(m->payload.u64);
        return answer(s);
    }
    watch_set(s->watch, HVV_WATCH_READ);
    return true;
}

/* ---- waiting for a worker -------------------------------------------------------------------- */

void session_resume(struct session *s)
{
    s->busy = false;
    enum outcome outcome = s->resume(s);
    if (outcome == WAIT) {
        s->busy = true;
    } else if (s->close_wanted) {
        close_message_fds(&s->message);
        begin_close(s);
    } else {
        finish(s, outcome);
    }
}

static void waited(struct waiter *waiter)
{
    struct session *s = container_of(waiter, struct session, waiter);
    if (s->busy)
        session_resume(s);
    else
        s->ready = true; /* inside session_wait() */
}

enum outcome session_wait(struct session *s, enum outcome (*resume)(struct session *s))
{
    s->resume = resume;
    s->ready = false;
    s->waiter.done = waited;
    device_wait(s->dev, &s->waiter);
    if (s->ready)
        return resume(s);
    s->busy = true;
    watch_set(s->watch, 0);
    return WAIT;
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Receives up to `size` bytes at `to`. 1, 0 if there is nothing now, -1 with s->reason. */
static int receive(struct session *s, void *to, size_t size)
{
    union {
        char space[CMSG_SPACE(VU_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {to, size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof(control.space)};
    ssize_t n = recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        snprintf(s->reason, sizeof(s->reason), "%s",
                 n < 0 ? strerror(errno)
                       : s->received ? "connection closed in the middle of a message"
                                     : "connection closed by the front-end");
        return -1;
    }
    s->received += (size_t)n;
    if (peer_fds_take(&msg, s->message.fds, VU_FDS_MAX, &s->message.n_fds) < 0) {
        snprintf(s->reason, sizeof(s->reason), "a message with more than %u descriptors",
                 VU_FDS_MAX);
        return -1;
    }
    return 1;
}

/* 1 when s->message is complete, 0 when there is no more for now, -1 with s->reason. */
static int receive_message(struct session *s)
{
    struct message *m = &s->message;
    const size_t head = sizeof(m->header);
    int rc = 1;
    while (rc > 0 && s->received < head) {
        rc = receive(s, (char *)&m->header + s->received, head - s->received);
        if (rc > 0 && s->received == head && message_check(s) < 0)
            return -1;
    }
    while (rc > 0 && s->received < head + m->header.size)
        rc = receive(s, (char *)&m->payload + s->received - head,
                     head + m->header.size - s->received);
    return rc;
}

static void on_readable(struct session *s)
{
    for (int i = 0; i < MESSAGES_PER_TURN; i++) {
        int rc = receive_message(s);
        if (rc < 0)
            session_close(s, s->reason);
        if (rc <= 0)
            return;
        device_log(s->dev, HVV_LOG_DEBUG, "%s, %u bytes, %u descriptors",
                   message_name(s->message.header.request), s->message.header.size,
                   s->message.n_fds);
        if (!finish(s, message_handle(s)) || s->busy || s->to_send)
            return;
    }
}

static void on_ready(void *arg, uint32_t events)
{
    struct session *s = arg;
    if (events & HVV_WATCH_WRITE)
        send_rest(s);
    else
        on_readable(s);
}

/* ---- begin ----------------------------------------------------------------------------------- */

struct session *session_new(struct endpoint *endpoint, int fd)
{
    struct session *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->watch = watch_new(endpoint->dev->daemon->loop, fd, on_ready, s);
    if (!s->watch) {
        free(s);
        return NULL;
    }
    s->endpoint = endpoint;
    s->dev = endpoint->dev;
    s->fd = fd;
    s->backend_fd = -1;
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
        s->peer_pid = peer.pid;
    watch_set(s->watch, HVV_WATCH_READ);
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", (int)s->peer_pid);
    log_write(HVV_LOG_INFO, s->dev->id, "front-end connected: process %s", pid);
    daemon_event(s->dev->daemon, "device.connected", s->dev->id, "peer", pid);
    return s;
}

void session_notify_config(struct session *s)
{
    struct vu_header header = {VU_BACKEND_CONFIG_CHANGE, VU_VERSION, 0};
    if (s->backend_fd < 0 || s->closing)
        return;
    if (send(s->backend_fd, &header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        device_log(s->dev, HVV_LOG_WARNING, "config change message: %s", strerror(errno));
}
