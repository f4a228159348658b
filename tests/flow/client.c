/* SPDX-License-Identifier: BSD-3-Clause */
/* client.c - see client.h. */
#include "client.h"

#include "clock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CHUNK 65536u

int client_open(struct client *c, const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memset(c, 0, sizeof(*c));
    c->fd = -1;
    if (strlen(path) >= sizeof(to.sun_path))
        return -ENAMETOOLONG;
    memcpy(to.sun_path, path, strlen(path) + 1);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return -errno;
    if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        int err = errno;
        client_close(c);
        return -err;
    }
    c->events = json_array();
    return 0;
}

void client_close(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    free(c->in);
    json_decref(c->events);
    memset(c, 0, sizeof(*c));
    c->fd = -1;
}

bool client_write(struct client *c, const void *bytes, size_t len)
{
    const char *at = bytes;
    while (len > 0) {
        ssize_t n = send(c->fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* More bytes: 1, none until the deadline: 0, hung up: -1. */
static int receive(struct client *c, uint64_t deadline)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (c->size - c->len < CHUNK) {
        char *more = realloc(c->in, c->size + CHUNK);
        if (!more)
            return -1;
        c->in = more;
        c->size += CHUNK;
    }
    if (poll(&p, 1, clock_left_ms(deadline)) <= 0)
        return 0;
    ssize_t n = read(c->fd, c->in + c->len, c->size - c->len);
    if (n <= 0)
        return -1;
    c->len += (size_t)n;
    return 1;
}

json_t *client_read(struct client *c, int timeout_ms, bool *hung_up)
{
    uint64_t deadline = clock_deadline(timeout_ms);
    if (hung_up)
        *hung_up = c->fd < 0;
    while (c->fd >= 0) {
        char *end = c->len ? memchr(c->in, '\n', c->len) : NULL;
        if (end) {
            json_t *json = json_loadb(c->in, (size_t)(end - c->in), 0, NULL);
            c->len -= (size_t)(end + 1 - c->in);
            memmove(c->in, end + 1, c->len);
            const char *version = json_string_value(json_object_get(json, "jsonrpc"));
            if (version && strcmp(version, "2.0") == 0)
                return json;
            json_decref(json);
            return json_pack("{s:s}", "bad", "a line that is not JSON-RPC 2.0");
        }
        int rc = receive(c, deadline);
        if (rc < 0 && hung_up)
            *hung_up = true;
        if (rc <= 0)
            return NULL;
    }
    return NULL;
}

int client_send(struct client *c, const char *method, json_t *params)
{
    int id = ++c->calls;
    json_t *request = json_pack("{s:s, s:i, s:s, s:o*}", "jsonrpc", "2.0", "id", id, "method",
                                method, "params", params);
    char *text = json_dumps(request, JSON_COMPACT);
    bool sent = text && client_write(c, text, strlen(text)) && client_write(c, "\n", 1);
    free(text);
    json_decref(request);
    return sent ? id : -1;
}

static bool is_event(const json_t *message)
{
    const char *method = json_string_value(json_object_get(message, "method"));
    return method && strcmp(method, "event") == 0;
}

json_t *client_wait(struct client *c, int id, int timeout_ms)
{
    uint64_t deadline = clock_deadline(timeout_ms);
    json_t *message;
    while (id >= 0 && (message = client_read(c, clock_left_ms(deadline), NULL))) {
        json_t *its = json_object_get(message, "id");
        if (json_is_null(its) || (json_is_integer(its) && json_integer_value(its) == id))
            return message;
        if (is_event(message))
            json_array_append(c->events, json_object_get(message, "params"));
        json_decref(message);
    }
    return NULL;
}

json_t *client_event(struct client *c, int timeout_ms)
{
    uint64_t deadline = clock_deadline(timeout_ms);
    json_t *message, *event = NULL;
    while (json_array_size(c->events) == 0 &&
           (message = client_read(c, clock_left_ms(deadline), NULL))) {
        if (is_event(message))
            json_array_append(c->events, json_object_get(message, "params"));
        json_decref(message);
    }
    if (json_array_size(c->events) > 0) {
        event = json_incref(json_array_get(c->events, 0));
        json_array_remove(c->events, 0);
    }
    return event;
}
