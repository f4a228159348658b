/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control.c - fuzz target: the control socket. The server is real, up to the method, which here
 * answers at random: at once or later, with any kind of answer.
 *
 * The input is what clients send. A control character other than a tab or the ends of lines is a
 * step instead (see step()); 0x7f makes the next byte an ordinary one.
 */
#include "control/rpc.h"
#include "control/server.h"
#include "util/log.h"

#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS 3u
#define DUE_MAX 128u
#define STEPS_MAX 4000u
#define TURNS_MAX 10000u

static struct {
    struct loop *loop;
    struct server *server;
    struct sockaddr_un address;
} world;

/* One input's. */
static struct {
    int fd[CLIENTS];
    bool was_shut[CLIENTS];
    char *got[CLIENTS]; /* what the daemon has sent, up to the last line end it is checked */
    size_t n_got[CLIENTS];
    char out[1024];     /* waits to be sent by client `at` */
    size_t n_out;
    unsigned at;
    struct reply *due[DUE_MAX];
    unsigned n_due;
    uint8_t mood;
} t;

/* ---- the method ------------------------------------------------------------------------------ */

static void answer(struct reply *reply, uint8_t how)
{
    struct error error = {0};
    switch (how % 8) {
    case 0: reply_result(reply, json_object()); break;
    case 1: reply_result(reply, json_pack("{s:s}", "text", "\303\244\n\"")); break;
    case 2: reply_result_fd(reply, json_object(), open("/dev/null", O_RDONLY | O_CLOEXEC)); break;
    case 3:
        error_device(&error, "dev\377ice");
        error_option(&error, EINVAL, "option", "it is \377 wrong");
        reply_error(reply, &error);
        break;
    case 4: reply_unknown_method(reply); break;
    case 5: reply_invalid_params(reply, "they are \377 wrong"); break;
    case 6:
        server_subscribe(reply);
        reply_result(reply, reply_text("\377"));
        break;
    default: reply_result(reply, NULL); break;
    }
}

static void on_method(void *arg, const char *name, json_t *params, struct reply *reply)
{
    (void)arg;
    must(name && (!params || json_is_object(params)), "a method without a name, or params");
    t.mood = (uint8_t)(t.mood * 5 + strlen(name) + json_object_size(params));
    if (t.mood & 1 && t.n_due < DUE_MAX)
        t.due[t.n_due++] = reply;
    else
        answer(reply, t.mood >> 1);
}

static void answer_one(unsigned which)
{
    if (t.n_due == 0)
        return;
    unsigned i = which % t.n_due;
    struct reply *reply = t.due[i];
    t.due[i] = t.due[--t.n_due];
    answer(reply, (uint8_t)which);
}

/* ---- clients --------------------------------------------------------------------------------- */

static void run(void)
{
    for (int i = 0; i < 4; i++)
        loop_run_once(world.loop, false);
}

static void open_client(unsigned i)
{
    if (t.fd[i] >= 0)
        return;
    t.fd[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    must(t.fd[i] >= 0, "no socket");
    int rc = connect(t.fd[i], (struct sockaddr *)&world.address, sizeof(world.address));
    must(rc == 0, "cannot connect: %s", strerror(errno));
    t.was_shut[i] = false;
    t.n_got[i] = 0;
}

static void check_line(const char *line, size_t len)
{
    json_error_t why;
    json_t *json = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
    must(json, "the daemon sent what is no JSON: %s: %.*s", why.text, (int)len, line);
    must(json_is_object(json), "the daemon sent a line that is no object");
    const char *version = json_string_value(json_object_get(json, "jsonrpc"));
    must(version && strcmp(version, "2.0") == 0, "no version: %.*s", (int)len, line);
    unsigned kinds = !!json_object_get(json, "result") + !!json_object_get(json, "error") +
                     !!json_object_get(json, "method");
    must(kinds == 1, "neither or both of result and error: %.*s", (int)len, line);
    json_decref(json);
}

static void check_lines(unsigned i)
{
    char *end, *start = t.got[i];
    size_t left = t.n_got[i];
    while ((end = memchr(start, '\n', left))) {
        check_line(start, (size_t)(end - start));
        left -= (size_t)(end - start) + 1;
        start = end + 1;
    }
    memmove(t.got[i], start, left);
    t.n_got[i] = left;
}

/* Reads what there is; descriptors that come along are closed. False at the end. */
static bool receive(unsigned i)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    const size_t room = 1u << 16;
    if (!(t.got[i] = realloc(t.got[i], t.n_got[i] + room)))
        abort();
    struct iovec iov = {t.got[i] + t.n_got[i], room};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(t.fd[i], &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    if (c) {
        int fd;
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        close(fd);
    }
    if (n > 0) {
        t.n_got[i] += (size_t)n;
        check_lines(i);
    }
    return n > 0 || (n < 0 && errno == EAGAIN);
}

static void close_client(unsigned i)
{
    if (t.fd[i] < 0)
        return;
    close(t.fd[i]);
    t.fd[i] = -1;
}

static void flush_out(void)
{
    unsigned i = t.at;
    size_t sent = 0;
    open_client(i);
    for (int tries = 0; sent < t.n_out && tries < 64 && !t.was_shut[i]; tries++) {
        ssize_t n = send(t.fd[i], t.out + sent, t.n_out - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            break;
        sent += n > 0 ? (size_t)n : 0;
        run();
        if (n < 0)
            receive(i); /* it may wait for us to read */
    }
    t.n_out = 0;
}

static void step(uint8_t c)
{
    flush_out();
    switch (c) {
    case 1: case 2: case 3: t.at = c - 1u; break;
    case 4: run(); break;
    case 5: close_client(t.at); break;
    case 6:
        shutdown(t.fd[t.at], SHUT_WR);
        t.was_shut[t.at] = true;
        break;
    case 7: receive(t.at); break;
    case 14: server_event(world.server, "e", json_pack("{s:s}", "seq", "mine")); break;
    case 15: server_event(world.server, "f", NULL); break;
    default: answer_one(c); break;
    }
    run();
}

static bool is_step(uint8_t c)
{
    return c < ' ' && c != '\n' && c != '\t' && c != '\r';
}

static void put(char c)
{
    t.out[t.n_out++] = c;
    if (t.n_out == sizeof(t.out))
        flush_out();
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void remove_files(void)
{
    char lock[sizeof(world.address.sun_path) + 8], *slash;
    unlink(world.address.sun_path);
    snprintf(lock, sizeof(lock), "%s.lock", world.address.sun_path);
    unlink(lock);
    if ((slash = strrchr(world.address.sun_path, '/'))) {
        *slash = '\0';
        rmdir(world.address.sun_path);
    }
}

static void make_world(void)
{
    char dir[] = "/tmp/fuzz-control-XXXXXX";
    struct error error = {0};
    must(mkdtemp(dir), "no directory");
    world.address.sun_family = AF_UNIX;
    snprintf(world.address.sun_path, sizeof(world.address.sun_path), "%s/s", dir);
    log_set_level(HVV_LOG_ERROR);
    world.loop = loop_new();
    world.server = server_new(world.loop, world.address.sun_path, 0600, on_method, NULL, &error);
    must(world.server, "%s", error.text);
    atexit(remove_files);
}

/* All that is due is answered, and every answer is received whole: no client waits for ever. */
static void finish(void)
{
    flush_out();
    for (unsigned i = 0; i < CLIENTS; i++)
        if (t.fd[i] >= 0)
            shutdown(t.fd[i], SHUT_WR);
    for (unsigned i = 0; i < CLIENTS; i++) {
        unsigned turns = 0;
        for (; t.fd[i] >= 0 && receive(i); turns++) {
            run();
            while (t.n_due)
                answer_one(turns);
            must(turns < TURNS_MAX, "client %u is not let go", i);
        }
        must(t.n_got[i] == 0, "half a line: %.*s", (int)t.n_got[i], t.got[i]);
        close_client(i);
    }
    while (t.n_due)
        answer_one(0);
    run();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    if (!world.loop)
        make_world();
    memset(&t, 0, sizeof(t));
    for (unsigned i = 0; i < CLIENTS; i++)
        t.fd[i] = -1;
    t.mood = input_u8(&in);
    for (unsigned steps = 0; input_left(&in) && steps < STEPS_MAX;) {
        uint8_t c = input_u8(&in);
        if (is_step(c))
            step(c), steps++;
        else
            put((char)(c == 0x7f ? input_u8(&in) : c));
    }
    finish();
    for (unsigned i = 0; i < CLIENTS; i++)
        free(t.got[i]);
    return 0;
}
