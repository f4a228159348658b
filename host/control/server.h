/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server.h - the control socket: JSON-RPC 2.0, one JSON text per line, many clients.
 *
 * Everything here runs on the loop's (control) thread and never blocks. A client can be slow, rude
 * or gone without another one noticing. Requests of one client may be answered out of order.
 */
#ifndef HOST_CONTROL_SERVER_H
#define HOST_CONTROL_SERVER_H

#include "loop/loop.h"
#include "util/error.h"

#include <jansson.h>
#include <sys/types.h>

#define SERVER_CLIENTS_MAX 64u
#define SERVER_REQUESTS_MAX 16u /* of one client, in work at a time; then it is not read */

struct server;

/*
 * Where the answer to one request goes. Exactly one of the functions below that take it answers,
 * at once or at any later time, and ends its life. If the client is gone by then, or asked for no
 * answer, or the server is freed, the answer is discarded.
 */
struct reply;

/*
 * Claims and listens on the Unix socket `path`. method() gets each well-formed request; `name` and
 * `params` (an object or NULL) are valid until it returns. NULL with error set.
 */
struct server *server_new(struct loop *loop, const char *path, mode_t mode,
                          void (*method)(void *arg, const char *name, json_t *params,
                                         struct reply *reply),
                          void *arg, struct error *error);

/*
 * Sends what can be sent at once, closes all clients, gives up the socket. Not from inside
 * method(). NULL is fine.
 */
void server_free(struct server *server);

/* `result` is stolen. NULL says that memory ran out while it was made. */
void reply_result(struct reply *reply, json_t *result);

/* The same with a descriptor, attached to the first byte of the line; taken in any case. */
void reply_result_fd(struct reply *reply, json_t *result, int fd);

/* Code -32000, the text as message; data holds errno (its name), and device and option if known. */
void reply_error(struct reply *reply, const struct error *error);

void reply_unknown_method(struct reply *reply);
void reply_invalid_params(struct reply *reply, const char *text);

/* A JSON string of any bytes, say a file name: json_string() refuses what is not UTF-8. */
json_t *reply_text(const char *text);

/*
 * Makes the client a follower of events, from the next one on; the reply stays to be answered.
 * -EPIPE if it is gone.
 */
int server_subscribe(struct reply *reply);

/*
 * Sends the event to all followers: `params` (an object, stolen, may be NULL) plus seq, time and
 * event. A follower with too much unread output is dropped. Also counts if nobody follows.
 */
void server_event(struct server *server, const char *event, json_t *params);

/* The number of the latest event; 0 before the first. */
uint64_t server_seq(const struct server *server);

#endif
