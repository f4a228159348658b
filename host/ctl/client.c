/* SPDX-License-Identifier: BSD-3-Clause */
/* client.c - see client.h. One thread; the daemon's lines are checked before they are used. */
#include "ctl/client.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS 10 /* between two attempts to connect */
#define NOTE_MS 2000 /* an answer that takes longer is asked about, until there is a reason */
#define READ_SIZE 65536u
#define LINE_MAX_BYTES (16u << 20) /* the daemon never has more than 4 MiB waiting */

/* Milliseconds on a clock that does not jump. */
static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* Connects; tries again until the deadline while there is no daemon. 0, or an errno. */
static int connect_until(int fd, const struct sockaddr_un *address, int64_t deadline)
{
    while (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
        if ((errno != ENOENT && errno != ECONNREFUSED) || now_ms() >= deadline)
            return errno;
        poll(NULL, 0, RETRY_MS); /* that somebody begins to listen cannot be watched */
    }
    return 0;
}

int client_open(struct client *c, const char *path, unsigned wait_seconds)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *c = (struct client){.fd = -1, .path = path, .received = -1};
    if (!path[0] || strlen(path) >= sizeof(address.sun_path))
        return complain(CTL_USAGE, "the control socket path \"%s\" has %zu bytes, it must have 1 "
                        "to %zu", path, strlen(path), sizeof(address.sun_path) - 1);
    strcpy(address.sun_path, path);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return complain(CTL_NO_DAEMON, "cannot create a socket: %s", strerror(errno));
    int err = connect_until(c->fd, &address, now_ms() + wait_seconds * 1000ll);
    if (err == 0)
        return CTL_OK;
    if (err == ENOENT || err == ENOTDIR || err == ECONNREFUSED)
        return complain(CTL_NO_DAEMON, "no daemon at %s: start hvisor-vhost, or name its socket "
                        "with --control", path);
    if (err == EACCES || err == EPERM)
        return complain(CTL_NO_DAEMON, "no permission to use %s: run this as the user that runs "
                        "hvisor-vhost", path);
    return complain(CTL_NO_DAEMON, "cannot connect to %s: %s; name the daemon's socket with "
                    "--control", path, strerror(err));
}

void client_close(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    if (c->received >= 0)
        close(c->received);
    free(c->in);
    *c = (struct client){.fd = -1, .received = -1};
}

/* A daemon that turns us away has closed its end; its last words are still there to be read. */
static void send_line(struct client *c, const char *line, size_t len)
{
    while (len > 0) {
        ssize_t n = send(c->fd, line, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return;
        line += n;
        len -= (size_t)n;
    }
}

static int send_request(struct client *c, const char *method, json_t *params)
{
    json_t *request = json_pack("{s:s, s:i, s:s, s:o}", "jsonrpc", "2.0", "id", ++c->calls,
                                "method", method, "params", params);
    char *line = request ? json_dumps(request, JSON_COMPACT) : NULL;
    json_decref(request);
    if (!line)
        return complain(CTL_REFUSED, "out of memory for a request");
    size_t len = strlen(line);
    line[len] = '\n'; /* in place of the final zero */
    send_line(c, line, len + 1);
    free(line);
    return CTL_OK;
}

/* Keeps the first descriptor in `msg`; there are no others. */
static void keep_descriptor(struct client *c, struct msghdr *msg)
{
    struct cmsghdr *h = CMSG_FIRSTHDR(msg);
    if (!h || h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS ||
        h->cmsg_len != CMSG_LEN(sizeof(int)))
        return;
    if (c->received >= 0)
        close(c->received);
    memcpy(&c->received, CMSG_DATA(h), sizeof(int));
}

/* Bytes received, 0 at the end, or -1 with errno. There is room for READ_SIZE. */
static ssize_t receive(struct client *c)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {c->in + c->in_len, READ_SIZE};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                         .msg_controllen = sizeof(control.space)};
    ssize_t n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC);
    if (n > 0) {
        keep_descriptor(c, &msg);
        c->in_len += (size_t)n;
    }
    return n;
}

static int make_room(struct client *c)
{
    size_t size = c->in_size ? c->in_size * 2 : READ_SIZE;
    if (c->in_size - c->in_len >= READ_SIZE)
        return CTL_OK;
    if (size > LINE_MAX_BYTES)
        return complain(CTL_BROKEN, "the daemon at %s sent a line longer than %u bytes", c->path,
                        LINE_MAX_BYTES);
    if (size - c->in_len < READ_SIZE)
        size = c->in_len + READ_SIZE;
    char *in = realloc(c->in, size);
    if (!in)
        return complain(CTL_BROKEN, "out of memory for an answer");
    c->in = in;
    c->in_size = size;
    return CTL_OK;
}

/* The next line as JSON. */
static int next_message(struct client *c, json_t **message)
{
    char *newline;
    size_t scanned = 0;
    while (!c->in_len || !(newline = memchr(c->in + scanned, '\n', c->in_len - scanned))) {
        scanned = c->in_len;
        int rc = make_room(c);
        if (rc != CTL_OK)
            return rc;
        ssize_t n = receive(c);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return complain(CTL_BROKEN, "the daemon at %s closed the connection before it "
                            "answered: see its log", c->path);
    }
    size_t len = (size_t)(newline - c->in);
    *message = json_loadb(c->in, len, JSON_REJECT_DUPLICATES, NULL);
    c->in_len -= len + 1;
    memmove(c->in, newline + 1, c->in_len);
    if (!json_is_object(*message)) {
        json_decref(*message);
        return complain(CTL_BROKEN, "what listens at %s does not speak JSON-RPC: name the daemon's "
                        "socket with --control", c->path);
    }
    return CTL_OK;
}

/* The sentence, with the device and option it is about if it does not name them itself. */
static int refused(const json_t *error)
{
    const char *text = json_string_value(json_object_get(error, "message"));
    const json_t *data = json_object_get(error, "data");
    const char *device = json_string_value(json_object_get(data, "device"));
    const char *option = json_string_value(json_object_get(data, "option"));
    if (!text)
        text = "the daemon refused, but does not say why: see its log";
    bool name_device = device && !strstr(text, device);
    bool name_option = option && !strstr(text, option);
    return complain(CTL_REFUSED, "%s%s%s%s%s%s", name_device ? device : "",
                    name_device ? ": " : "", text, name_option ? " (option " : "",
                    name_option ? option : "", name_option ? ")" : "");
}

static bool answers(int call, const json_t *message)
{
    const json_t *id = json_object_get(message, "id");
    if (json_is_null(id)) /* about no request: too many clients, or ours was too long */
        return json_object_get(message, "error");
    return json_integer_value(id) == call;
}

/* ---- a daemon that takes its time ------------------------------------------------------------ */

static bool comes_soon(const struct client *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    return (c->in_len && memchr(c->in, '\n', c->in_len)) || poll(&p, 1, NOTE_MS) != 0;
}

static bool note(const char *device, const char *text)
{
    complain(CTL_OK, "still waiting; stuck in the daemon: %s%s%s; interrupt this to stop waiting, "
             "the daemon goes on with it", device, device[0] ? ": " : "", text);
    return true;
}

/* Says what is stuck in the daemon, from its answer to device.list. True if there was any. */
static bool say_what_is_stuck(const json_t *message)
{
    const json_t *result = json_object_get(message, "result");
    bool said = false;
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(result, "stuck"), i, entry) {
        const char *device = json_string_value(json_object_get(entry, "device"));
        const char *callback = json_string_value(json_object_get(entry, "callback"));
        char text[1024];
        snprintf(text, sizeof(text), "%s has not returned for %lld s", callback ? callback : "?",
                 (long long)json_integer_value(json_object_get(entry, "seconds")));
        said = note(device ? device : "", text);
    }
    json_array_foreach(json_object_get(result, "devices"), i, entry) {
        const char *device = json_string_value(json_object_get(entry, "id"));
        const char *text = json_string_value(json_object_get(entry, "stuck"));
        if (device && text)
            said = note(device, text);
    }
    return said;
}

int client_call(struct client *c, const char *method, json_t *params, json_t **result, int *fd)
{
    json_t *message;
    bool said = false;
    int rc = send_request(c, method, params);
    int call = c->calls;
    while (rc == CTL_OK) {
        if (!said && !comes_soon(c)) {
            rc = send_request(c, "device.list", json_object());
            continue;
        }
        rc = next_message(c, &message);
        if (rc != CTL_OK || answers(call, message))
            break;
        said |= say_what_is_stuck(message); /* or it is an event */
        json_decref(message);
    }
    if (rc != CTL_OK)
        return rc;
    json_t *error = json_object_get(message, "error");
    *result = json_incref(json_object_get(message, "result"));
    if (error)
        rc = refused(error);
    else if (!*result)
        rc = complain(CTL_BROKEN, "the daemon at %s answered without a result", c->path);
    json_decref(message);
    if (fd && rc == CTL_OK) {
        *fd = c->received;
        c->received = -1;
    }
    return rc;
}

int client_tell(struct client *c, const char *method, json_t *params)
{
    if (!params)
        return complain(CTL_REFUSED, "out of memory for a request");
    return send_request(c, method, params);
}

bool client_discard(struct client *c)
{
    char waste[4096];
    ssize_t n;
    while ((n = recv(c->fd, waste, sizeof(waste), MSG_DONTWAIT)) > 0)
        ;
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

int client_event(struct client *c, json_t **event)
{
    for (;;) {
        json_t *message;
        int rc = next_message(c, &message);
        if (rc != CTL_OK)
            return rc;
        const char *method = json_string_value(json_object_get(message, "method"));
        json_t *params = json_object_get(message, "params");
        bool found = method && strcmp(method, "event") == 0 && json_is_object(params);
        *event = found ? json_incref(params) : NULL;
        json_decref(message);
        if (found)
            return CTL_OK;
    }
}
