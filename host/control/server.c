/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server.c - see server.h. Control thread.
 *
 * A client's connection closes at any moment, also in the middle of sending to it. Its replies are
 * cut loose at once; its memory stays until the `later` timer fires, so that whoever is on the
 * stack can finish.
 */
#include "control/server.h"

#include "control/connection.h"
#include "control/rpc.h"
#include "util/claim.h"
#include "util/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 64
#define ACCEPTS_PER_TURN 16
#define NEXT_TURN 1u              /* nanoseconds */
#define ACCEPT_RETRY 100000000u   /* nanoseconds, when there are no descriptors or memory */

struct client {
    TAILQ_ENTRY(client) link; /* in server->clients or, when closed, ->closed */
    struct server *server;
    struct connection *connection;
    LIST_HEAD(, reply) replies;
    unsigned in_work; /* replies due */
    bool ended;       /* sends no more requests */
    bool follows;
    bool closed;
};

struct reply {
    LIST_ENTRY(reply) link;
    struct client *client; /* NULL: gone */
    json_t *answer;        /* to be completed; NULL: a notification */
    json_t *name;          /* of the method */
};

TAILQ_HEAD(client_list, client);

struct server {
    struct loop *loop;
    struct claim claim;
    struct watch *listener;
    struct timer *later; /* frees the closed, accepts again */
    struct client_list clients, closed;
    unsigned n_clients;
    void (*method)(void *arg, const char *name, json_t *params, struct reply *reply);
    void *arg;
    uint64_t seq;
    struct log_limit log_limit;
};

static void say(struct server *server, const char *what, const char *why)
{
    uint32_t dropped;
    if (log_limit_ok(&server->log_limit, &dropped))
        log_warning("control socket %s: %s: %s", server->claim.path, what, why);
}

/* ---- sending --------------------------------------------------------------------------------- */

/*
 * Takes message and fd. A client that cannot get an answer is closed: it must not wait for ever.
 * message may be NULL: then there was no memory for it.
 */
static void client_send(struct client *client, json_t *message, int fd)
{
    size_t len = 0;
    char *line = message ? rpc_line(message, &len) : NULL;
    json_decref(message);
    int rc = -ENOMEM;
    if (line) {
        rc = connection_send(client->connection, line, len, fd);
    } else {
        if (fd >= 0)
            close(fd);
        connection_close(client->connection);
    }
    if (rc < 0 && rc != -EPIPE)
        say(client->server,
            client->follows ? "a follower of events is dropped" : "a client is dropped",
            rc == -ENOBUFS ? "it does not read what it asked for" : strerror(-rc));
}

/* An error for a line that did not become a request. */
static void client_send_error(struct client *client, json_t *id, int code, const char *text)
{
    json_t *message = rpc_answer(id);
    if (message && rpc_set_error(message, code, text, NULL) < 0) {
        json_decref(message);
        message = NULL;
    }
    client_send(client, message, -1);
}

/* Sends the answer, complete but for `rc` < 0, if anyone still waits; frees the reply; takes fd. */
static void reply_end(struct reply *reply, int rc, int fd)
{
    struct client *client = reply->client;
    if (client) {
        LIST_REMOVE(reply, link);
        client->in_work--;
    }
    if (client && reply->answer)
        client_send(client, rc < 0 ? NULL : json_incref(reply->answer), fd);
    else if (fd >= 0)
        close(fd);
    if (client && client->ended && client->in_work == 0)
        connection_finish(client->connection);
    else if (client)
        connection_pause(client->connection, client->in_work >= SERVER_REQUESTS_MAX);
    json_decref(reply->answer);
    json_decref(reply->name);
    free(reply);
}

static void reply_with_error(struct reply *reply, int code, const char *text,
                             const struct error *refusal)
{
    reply_end(reply, reply->answer ? rpc_set_error(reply->answer, code, text, refusal) : 0, -1);
}

void reply_result_fd(struct reply *reply, json_t *result, int fd)
{
    int rc = 0;
    if (!reply->answer)
        json_decref(result);
    else if (result)
        rc = rpc_set_result(reply->answer, result);
    else
        rc = rpc_set_error(reply->answer, RPC_INTERNAL_ERROR,
                           "it was done, but there is no memory for the answer", NULL);
    reply_end(reply, rc, fd);
}

void reply_result(struct reply *reply, json_t *result)
{
    reply_result_fd(reply, result, -1);
}

void reply_error(struct reply *reply, const struct error *error)
{
    reply_with_error(reply, RPC_REFUSED, error->text, error);
}

void reply_unknown_method(struct reply *reply)
{
    struct error error = {0};
    error_set(&error, ENOSYS, "there is no method \"%.64s\"", json_string_value(reply->name));
    reply_with_error(reply, RPC_METHOD_NOT_FOUND, error.text, NULL);
}

void reply_invalid_params(struct reply *reply, const char *text)
{
    reply_with_error(reply, RPC_INVALID_PARAMS, text, NULL);
}

json_t *reply_text(const char *text)
{
    return rpc_text(text);
}

/* ---- requests -------------------------------------------------------------------------------- */

static struct reply *reply_new(struct client *client, const struct rpc_request *request)
{
    struct reply *reply = calloc(1, sizeof(*reply));
    if (!reply)
        return NULL;
    if (request->id && !(reply->answer = rpc_answer(request->id))) {
        free(reply);
        return NULL;
    }
    reply->client = client;
    reply->name = json_incref(json_object_get(request->whole, "method"));
    LIST_INSERT_HEAD(&client->replies, reply, link);
    return reply;
}

static void take_request(struct client *client, const struct rpc_request *request)
{
    struct server *server = client->server;
    struct reply *reply = reply_new(client, request);
    if (!reply) {
        client_send_error(client, request->id, RPC_INTERNAL_ERROR, "out of memory for the request");
        return;
    }
    if (++client->in_work >= SERVER_REQUESTS_MAX)
        connection_pause(client->connection, true);
    server->method(server->arg, request->method, request->params, reply);
}

static void on_line(void *arg, const char *line, size_t len)
{
    struct client *client = arg;
    struct rpc_request request;
    struct error error = {0};
    if (strspn(line, " \t\r") >= len)
        return; /* an empty line; the newline after it stops strspn() */
    int code = rpc_parse(line, len, &request, &error);
    if (code == 0)
        take_request(client, &request);
    else if (code != RPC_INVALID_PARAMS || request.id) /* a notification is never answered */
        client_send_error(client, request.id, code, error.text);
    json_decref(request.whole);
}

static void on_unreadable(void *arg, const char *why)
{
    struct client *client = arg;
    client_send_error(client, NULL, RPC_INVALID_REQUEST, why);
    connection_finish(client->connection);
}

static void on_ended(void *arg)
{
    struct client *client = arg;
    client->ended = true;
    if (client->in_work == 0)
        connection_finish(client->connection);
}

static void on_closed(void *arg)
{
    struct client *client = arg;
    struct server *server = client->server;
    struct reply *reply;
    LIST_FOREACH(reply, &client->replies, link)
        reply->client = NULL;
    LIST_INIT(&client->replies);
    client->closed = true;
    TAILQ_REMOVE(&server->clients, client, link);
    TAILQ_INSERT_TAIL(&server->closed, client, link);
    server->n_clients--;
    timer_set(server->later, NEXT_TURN);
}

/* ---- clients --------------------------------------------------------------------------------- */

/* Its buffer is empty, so one line fits; if not, nothing is lost but a sentence. */
static void turn_away(int fd)
{
    struct error error = {0};
    size_t len = 0;
    char *line = NULL;
    error_set(&error, EUSERS, "the daemon serves at most %u control clients at a time: close one "
              "and try again", SERVER_CLIENTS_MAX);
    json_t *message = rpc_answer(NULL);
    if (message && rpc_set_error(message, RPC_REFUSED, error.text, &error) == 0)
        line = rpc_line(message, &len);
    json_decref(message);
    ssize_t sent = line ? send(fd, line, len, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
    (void)sent;
    free(line);
    close(fd);
}

static void client_add(struct server *server, int fd)
{
    static const struct connection_ops ops = {on_line, on_unreadable, on_ended, on_closed};
    struct client *client = calloc(1, sizeof(*client));
    if (client)
        client->connection = connection_new(server->loop, fd, RPC_LINE_MAX, &ops, client);
    if (!client || !client->connection) {
        say(server, "a client is turned away", "out of memory");
        free(client);
        close(fd);
        return;
    }
    client->server = server;
    LIST_INIT(&client->replies);
    TAILQ_INSERT_TAIL(&server->clients, client, link);
    server->n_clients++;
}

static void on_connect(void *arg, uint32_t events)
{
    struct server *server = arg;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(server->claim.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0 && server->n_clients < SERVER_CLIENTS_MAX) {
            client_add(server, fd);
        } else if (fd >= 0) {
            turn_away(fd);
        } else if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) {
            return;
        } else {
            say(server, "clients have to wait", strerror(errno));
            watch_set(server->listener, 0);
            timer_set(server->later, ACCEPT_RETRY);
            return;
        }
    }
}

static void free_closed(struct server *server)
{
    while (!TAILQ_EMPTY(&server->closed)) {
        struct client *client = TAILQ_FIRST(&server->closed);
        TAILQ_REMOVE(&server->closed, client, link);
        connection_free(client->connection);
        free(client);
    }
}

static void on_later(void *arg)
{
    struct server *server = arg;
    free_closed(server);
    watch_set(server->listener, HVV_WATCH_READ);
}

/* ---- events ---------------------------------------------------------------------------------- */

int server_subscribe(struct reply *reply)
{
    if (!reply->client)
        return -EPIPE;
    reply->client->follows = true;
    return 0;
}

static json_t *event_message(struct server *server, const char *event, json_t *params)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    json_t *all = json_pack("{s:I, s:f, s:s}", "seq", (json_int_t)server->seq, "time",
                            (double)now.tv_sec + (double)(now.tv_nsec / 1000) / 1e6, "event",
                            event);
    if (all && params && json_object_update_missing(all, params) < 0) {
        json_decref(all);
        all = NULL;
    }
    json_decref(params);
    return all ? rpc_notification("event", all) : NULL;
}

void server_event(struct server *server, const char *event, json_t *params)
{
    server->seq++;
    json_t *message = event_message(server, event, params);
    struct client *client, *next;
    for (client = TAILQ_FIRST(&server->clients); client; client = next) {
        next = TAILQ_NEXT(client, link);
        if (client->follows)
            client_send(client, json_incref(message), -1);
    }
    json_decref(message);
}

uint64_t server_seq(const struct server *server)
{
    return server->seq;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct server *server_new(struct loop *loop, const char *path, mode_t mode,
                          void (*method)(void *arg, const char *name, json_t *params,
                                         struct reply *reply),
                          void *arg, struct error *error)
{
    struct server *server = calloc(1, sizeof(*server));
    if (!server) {
        error_set(error, ENOMEM, "out of memory for the control socket");
        return NULL;
    }
    TAILQ_INIT(&server->clients);
    TAILQ_INIT(&server->closed);
    server->loop = loop;
    server->method = method;
    server->arg = arg;
    if (claim_socket(&server->claim, path, SOCK_STREAM, mode, error) < 0)
        goto fail;
    server->listener = watch_new(loop, server->claim.fd, on_connect, server);
    server->later = timer_new(loop, on_later, server);
    if (!server->listener || !server->later) {
        error_set(error, ENOMEM, "out of memory for the control socket");
        goto fail;
    }
    if (listen(server->claim.fd, BACKLOG) < 0) {
        error_set(error, errno, "cannot listen on the control socket %s: %s", path,
                  strerror(errno));
        goto fail;
    }
    watch_set(server->listener, HVV_WATCH_READ);
    return server;

fail:
    server_free(server);
    return NULL;
}

void server_free(struct server *server)
{
    if (!server)
        return;
    while (!TAILQ_EMPTY(&server->clients)) {
        struct connection *c = TAILQ_FIRST(&server->clients)->connection;
        connection_finish(c); /* closes it if all could be sent */
        connection_close(c);
    }
    free_closed(server);
    watch_free(server->listener);
    timer_free(server->later);
    claim_release(&server->claim);
    free(server);
}
