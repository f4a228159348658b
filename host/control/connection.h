/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * connection.h - one client's socket: bytes in become lines, lines out become bytes.
 *
 * Control thread; never blocks. Reads no more than it can pass on: while the owner paused it, while
 * a read line waits, or while much output waits, the socket is left alone and the client waits. A
 * few lines are passed on per turn of the loop, so that one client cannot keep it busy.
 */
#ifndef HOST_CONTROL_CONNECTION_H
#define HOST_CONTROL_CONNECTION_H

#include "loop/loop.h"

#include <stddef.h>

#define CONNECTION_OUT_MAX (4u << 20) /* bytes waiting to be sent */

struct connection;

struct connection_ops {
    /* A whole line, without its newline; valid until this returns. */
    void (*line)(void *arg, const char *line, size_t len);
    /* No more can be read, because of `why`; send a last line, then connection_finish(). */
    void (*unreadable)(void *arg, const char *why);
    /* The client will send no more, but still reads. */
    void (*ended)(void *arg);
    /* The socket is closed; connection_free() is due. May come out of any call below. */
    void (*closed)(void *arg);
};

/* Takes `fd` (non-blocking) unless it returns NULL: out of memory. */
struct connection *connection_new(struct loop *loop, int fd, size_t line_max,
                                  const struct connection_ops *ops, void *arg);
void connection_free(struct connection *c); /* closes it first; not from inside ops */

/* Paused: no line is passed on. Resuming passes none on at once, but in a later turn. */
void connection_pause(struct connection *c, bool pause);

/*
 * Sends `line`, with `fd` (or -1) attached to its first byte; both are taken in any case, `line` as
 * from malloc(). 0; -ENOBUFS if too much waits already, -ENOMEM, -EPIPE if the client is gone: then
 * the connection is closed.
 */
int connection_send(struct connection *c, char *line, size_t len, int fd);

/* Closes once all output is sent; nothing is read any more. */
void connection_finish(struct connection *c);

/* Closes now. */
void connection_close(struct connection *c);

#endif
