/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * connection.c - see connection.h. Control thread.
 *
 *     reading -> (ended or unreadable) -> finishing -> dead
 *
 * Memory follows what the client sent: a half line costs its bytes, an idle client nothing.
 */
#include "control/connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINES_PER_TURN 16
#define READ_MIN 4096u
#define READ_MAX 65536u
#define OUT_HIGH (256u << 10) /* with more waiting, no further line is passed on */
#define NEXT_TURN 1u          /* nanoseconds */

struct chunk {
    TAILQ_ENTRY(chunk) link;
    char *text;
    size_t len, sent;
    int fd;
};

struct connection {
    int fd;
    struct watch *watch;
    struct timer *turn; /* passes on lines already read */
    const struct connection_ops *ops;
    void *arg;
    size_t line_max;
    char *in;
    size_t in_len, in_size;
    size_t scanned; /* bytes of `in` known to hold no newline */
    TAILQ_HEAD(, chunk) out;
    size_t out_bytes;
    bool paused, deaf, finishing, dead;
};

static bool takes_lines(const struct connection *c)
{
    return !c->dead && !c->paused && !c->finishing && c->out_bytes <= OUT_HIGH;
}

static const char *find_newline(struct connection *c)
{
    if (c->scanned == c->in_len)
        return NULL;
    const char *newline = memchr(c->in + c->scanned, '\n', c->in_len - c->scanned);
    c->scanned = newline ? (size_t)(newline - c->in) : c->in_len;
    return newline;
}

/* Waits for what can happen next. Ends each entry into this file. */
static void settle(struct connection *c)
{
    if (c->dead)
        return;
    bool takes = takes_lines(c), waiting = find_newline(c) != NULL;
    timer_set(c->turn, takes && waiting ? NEXT_TURN : 0);
    watch_set(c->watch, (takes && !waiting && !c->deaf ? HVV_WATCH_READ : 0) |
                            (TAILQ_EMPTY(&c->out) ? 0 : HVV_WATCH_WRITE));
}

static void remove_first(struct connection *c)
{
    struct chunk *k = TAILQ_FIRST(&c->out);
    TAILQ_REMOVE(&c->out, k, link);
    if (k->fd >= 0)
        close(k->fd);
    free(k->text);
    free(k);
}

void connection_close(struct connection *c)
{
    if (c->dead)
        return;
    c->dead = true;
    timer_set(c->turn, 0);
    watch_set(c->watch, 0);
    close(c->fd);
    while (!TAILQ_EMPTY(&c->out))
        remove_first(c);
    c->out_bytes = 0;
    c->ops->closed(c->arg);
}

/* ---- out ------------------------------------------------------------------------------------- */

/* Sends a part of `text`, with fd (or -1) attached to its first byte. */
static ssize_t send_some(int fd, const char *text, size_t len, int attached)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.space = {0}};
    struct iovec iov = {(char *)text, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (attached >= 0) {
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control.space);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &attached, sizeof(int));
    }
    ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOMEM || errno == ENOBUFS))
        return 0; /* later */
    return n;
}

/* Sends what can be sent of `k`. False: the client is gone. */
static bool advance(struct connection *c, struct chunk *k)
{
    ssize_t n = send_some(c->fd, k->text + k->sent, k->len - k->sent, k->fd);
    if (n < 0)
        return false;
    if (n > 0 && k->fd >= 0) {
        close(k->fd); /* the client has it now */
        k->fd = -1;
    }
    k->sent += (size_t)n;
    return true;
}

static void flush(struct connection *c)
{
    struct chunk *k;
    while ((k = TAILQ_FIRST(&c->out))) {
        size_t before = k->sent;
        if (!advance(c, k)) {
            connection_close(c);
            return;
        }
        c->out_bytes -= k->sent - before;
        if (k->sent < k->len)
            return;
        remove_first(c);
    }
    if (c->finishing)
        connection_close(c);
}

/* Keeps what is left of `k` for later. */
static int queue_chunk(struct connection *c, const struct chunk *k)
{
    size_t left = k->len - k->sent;
    if (c->out_bytes + left > CONNECTION_OUT_MAX)
        return -ENOBUFS;
    struct chunk *kept = malloc(sizeof(*kept));
    if (!kept)
        return -ENOMEM;
    *kept = *k;
    TAILQ_INSERT_TAIL(&c->out, kept, link);
    c->out_bytes += left;
    settle(c);
    return 0;
}

int connection_send(struct connection *c, char *line, size_t len, int fd)
{
    struct chunk k = {.text = line, .len = len, .fd = fd};
    int rc = 0;
    if (c->dead || c->finishing)
        rc = -EPIPE;
    else if (TAILQ_EMPTY(&c->out) && !advance(c, &k))
        rc = -EPIPE;
    else if (k.sent < k.len)
        rc = queue_chunk(c, &k);
    if (rc == 0 && k.sent < k.len)
        return 0; /* what is left has been queued */
    if (k.fd >= 0)
        close(k.fd);
    free(line);
    if (rc < 0 && !c->finishing)
        connection_close(c);
    return rc;
}

void connection_finish(struct connection *c)
{
    if (c->dead || c->finishing)
        return;
    c->finishing = true;
    flush(c);
    settle(c);
}

/* ---- in -------------------------------------------------------------------------------------- */

static void forget(struct connection *c, size_t bytes)
{
    c->in_len -= bytes;
    c->scanned -= bytes;
    if (c->in_len > 0) {
        memmove(c->in, c->in + bytes, c->in_len);
        return;
    }
    free(c->in);
    c->in = NULL;
    c->in_size = 0;
}

static void pass_lines(struct connection *c)
{
    size_t start = 0;
    const char *newline;
    for (int i = 0; i < LINES_PER_TURN && takes_lines(c) && (newline = find_newline(c)); i++) {
        size_t end = (size_t)(newline - c->in);
        c->scanned = end + 1;
        c->ops->line(c->arg, c->in + start, end - start);
        start = end + 1;
    }
    if (start > 0)
        forget(c, start);
}

static void stop_reading(struct connection *c, const char *why)
{
    c->deaf = true;
    c->ops->unreadable(c->arg, why);
}

/* Room for more bytes, but never for more than a line and its newline. */
static bool make_room(struct connection *c)
{
    size_t limit = c->line_max + 1, size = c->in_len * 2;
    if (c->in_size - c->in_len >= READ_MIN || c->in_size == limit)
        return true;
    if (size < 2 * READ_MIN)
        size = 2 * READ_MIN;
    if (size > limit)
        size = limit;
    char *in = realloc(c->in, size);
    if (!in)
        return false;
    c->in = in;
    c->in_size = size;
    return true;
}

/* A client that closed its socket hangs up; one that only ended its sending side does not. */
static void at_end(struct connection *c)
{
    struct pollfd p = {.fd = c->fd};
    c->deaf = true;
    if (poll(&p, 1, 0) != 0)
        connection_close(c);
    else if (c->in_len > 0)
        stop_reading(c, "the last line does not end with a newline");
    else
        c->ops->ended(c->arg);
}

static void fill(struct connection *c)
{
    if (!make_room(c)) {
        stop_reading(c, "out of memory for the request");
        return;
    }
    size_t room = c->in_size - c->in_len;
    ssize_t n = read(c->fd, c->in + c->in_len, room < READ_MAX ? room : READ_MAX);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            connection_close(c);
    } else if (n == 0) {
        at_end(c);
    } else {
        c->in_len += (size_t)n;
        pass_lines(c);
        if (!c->dead && c->in_len > c->line_max && !find_newline(c)) {
            char why[80];
            snprintf(why, sizeof(why), "a request is longer than the limit of %zu bytes",
                     c->line_max);
            stop_reading(c, why);
        }
    }
    if (c->in_len == 0)
        forget(c, 0);
}

static void on_ready(void *arg, uint32_t events)
{
    struct connection *c = arg;
    if (events & HVV_WATCH_WRITE)
        flush(c);
    if ((events & HVV_WATCH_READ) && !c->dead)
        fill(c);
    settle(c);
}

static void on_turn(void *arg)
{
    struct connection *c = arg;
    pass_lines(c);
    settle(c);
}

void connection_pause(struct connection *c, bool pause)
{
    c->paused = pause;
    settle(c);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct connection *connection_new(struct loop *loop, int fd, size_t line_max,
                                  const struct connection_ops *ops, void *arg)
{
    struct connection *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    TAILQ_INIT(&c->out);
    c->fd = fd;
    c->line_max = line_max;
    c->ops = ops;
    c->arg = arg;
    c->watch = watch_new(loop, fd, on_ready, c);
    c->turn = timer_new(loop, on_turn, c);
    if (!c->watch || !c->turn) {
        watch_free(c->watch);
        timer_free(c->turn);
        free(c);
        return NULL;
    }
    settle(c);
    return c;
}

void connection_free(struct connection *c)
{
    connection_close(c);
    watch_free(c->watch);
    timer_free(c->turn);
    free(c->in);
    free(c);
}
