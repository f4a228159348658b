/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server.c - tests of control/server.c: a real server on a real loop, which the test steps itself
 * while it plays the clients. Plain main, one thread; prints TAP. Works in a directory of its own.
 */
#include "control/rpc.h"
#include "control/server.h"
#include "util/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PATH "control.sock"
#define DEADLINE 10000000000ull /* nanoseconds; reached only by a test that fails */
#define LATER_MAX 64

static int failures, tests;

#define CHECK(CONDITION)                                                                           \
    do {                                                                                           \
        if (!(CONDITION)) {                                                                        \
            failures++;                                                                            \
            printf("# line %d: %s\n", __LINE__, #CONDITION);                                       \
        }                                                                                          \
    } while (0)

/* ---- the server under test ------------------------------------------------------------------- */

static struct {
    struct loop *loop;
    struct server *server;
    struct reply *later[LATER_MAX]; /* to be answered by the test */
    unsigned n_later, calls;
    int pass; /* for "fd" */
} t;

static void fail(struct reply *reply)
{
    struct error error = {0};
    error_device(&error, "d0");
    error_option(&error, ENOENT, "path", "no file /\xff\xfe there");
    reply_error(reply, &error);
}

static void big(struct reply *reply, size_t size)
{
    char *text = malloc(size + 1);
    memset(text, 'x', size);
    text[size] = '\0';
    reply_result(reply, json_pack("{s:s}", "text", text));
    free(text);
}

static void method(void *arg, const char *name, json_t *params, struct reply *reply)
{
    CHECK(arg == &t);
    t.calls++;
    if (strcmp(name, "echo") == 0)
        reply_result(reply, params ? json_incref(params) : json_object());
    else if (strcmp(name, "later") == 0 && t.n_later < LATER_MAX)
        t.later[t.n_later++] = reply;
    else if (strcmp(name, "fail") == 0)
        fail(reply);
    else if (strcmp(name, "params") == 0)
        reply_invalid_params(reply, "wrong params");
    else if (strcmp(name, "null") == 0)
        reply_result(reply, NULL);
    else if (strcmp(name, "big") == 0)
        big(reply, 200000);
    else if (strcmp(name, "fd") == 0)
        reply_result_fd(reply, json_object(), dup(t.pass));
    else if (strcmp(name, "follow") == 0 && server_subscribe(reply) == 0)
        reply_result(reply, json_object());
    else
        reply_unknown_method(reply);
}

static void step(void)
{
    loop_run_once(t.loop, false);
}

static void steps(void)
{
    for (int i = 0; i < 20; i++)
        step();
}

static void start(void)
{
    struct error error = {0};
    memset(&t, 0, sizeof(t));
    t.loop = loop_new();
    t.server = server_new(t.loop, PATH, 0600, method, &t, &error);
    CHECK(t.server && !error.err);
}

static void stop(void)
{
    server_free(t.server);
    for (unsigned i = 0; i < t.n_later; i++)
        reply_result(t.later[i], json_object()); /* nobody is there any more */
    loop_free(t.loop);
    t.n_later = 0;
}

/* ---- clients --------------------------------------------------------------------------------- */

static int dial(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = PATH};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    return fd;
}

/* Sends all of it, stepping the server when the socket is full. False: the server closed it. */
static bool put_bytes(int fd, const char *bytes, size_t len)
{
    uint64_t end = clock_ns() + DEADLINE;
    while (len > 0 && clock_ns() < end) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
        step();
    }
    return len == 0;
}

static bool put(int fd, const char *text)
{
    return put_bytes(fd, text, strlen(text));
}

static char line[4 << 20];

/* The next line in line[], read byte-wise. Its length, 0 at the end, -1 if none comes. */
static ssize_t get_line(int fd, uint64_t patience)
{
    size_t n = 0;
    uint64_t end = clock_ns() + patience;
    while (n < sizeof(line) - 1) {
        ssize_t peeked = recv(fd, line + n, sizeof(line) - 1 - n, MSG_PEEK);
        if (peeked == 0 || (peeked < 0 && errno == ECONNRESET))
            return 0;
        if (peeked > 0) {
            char *newline = memchr(line + n, '\n', (size_t)peeked);
            size_t take = newline ? (size_t)(newline - line) + 1 - n : (size_t)peeked;
            CHECK(recv(fd, line + n, take, 0) == (ssize_t)take);
            n += take;
            line[n] = '\0';
            if (newline)
                return (ssize_t)n;
        } else if (clock_ns() > end) {
            return -1;
        }
        step();
    }
    return -1;
}

/* The next message; an empty object if there is none. */
static json_t *get(int fd)
{
    json_t *json = NULL;
    if (get_line(fd, DEADLINE) > 0)
        json = json_loads(line, 0, NULL);
    CHECK(json);
    return json ? json : json_object();
}

static bool silent(int fd)
{
    steps();
    return get_line(fd, 0) == -1;
}

static bool ended(int fd)
{
    return get_line(fd, DEADLINE) == 0;
}

/* Sends one line, expects one: an error with this code and id, and this word in its sentence. */
static void expect_error(int fd, const char *text, int code, const char *id, const char *word)
{
    CHECK(put(fd, text));
    json_t *answer = get(fd), *error = json_object_get(answer, "error");
    char *got = json_dumps(json_object_get(answer, "id"), JSON_ENCODE_ANY);
    const char *message = json_string_value(json_object_get(error, "message"));
    bool good = json_integer_value(json_object_get(error, "code")) == code && got &&
                strcmp(got, id) == 0 && message && strstr(message, word);
    if (!good)
        printf("# %.60s gave %s", text, line);
    CHECK(good);
    free(got);
    json_decref(answer);
}

static void expect_result(int fd, const char *id, const char *result)
{
    json_t *answer = get(fd);
    char *got_id = json_dumps(json_object_get(answer, "id"), JSON_ENCODE_ANY);
    char *got = json_dumps(json_object_get(answer, "result"), JSON_ENCODE_ANY | JSON_COMPACT);
    bool good = got_id && got && strcmp(got_id, id) == 0 && strcmp(got, result) == 0;
    if (!good)
        printf("# expected %s of %s, got %.200s", result, id, line);
    CHECK(good);
    free(got_id);
    free(got);
    json_decref(answer);
}

static void ask(int fd, const char *name, int id)
{
    char text[128];
    snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"%s\"}\n", id, name);
    CHECK(put(fd, text));
}

/* Works with a new client, so the server is in order. */
static void still_serves(void)
{
    int fd = dial();
    ask(fd, "echo", 77);
    expect_result(fd, "77", "{}");
    close(fd);
    steps();
}

/* ---- tests ----------------------------------------------------------------------------------- */

#define REQ(REST) "{\"jsonrpc\":\"2.0\"," REST "}\n"

static void test_bad_lines(void)
{
    static const struct {
        const char *text;
        int code;
        const char *id, *word;
    } rows[] = {
        {"{\n", -32700, "null", "not JSON"},
        {"hello\n", -32700, "null", "not JSON"},
        {"\xff\xfe\n", -32700, "null", "not JSON"},
        {"{} {}\n", -32700, "null", "not JSON"},
        {"{\"a\":1,\"a\":1}\n", -32700, "null", "duplicate"},
        {REQ("\"id\":1,\"method\":\"echo\",\"params\":{\"k\":1,\"k\":2}"), -32700, "null",
         "duplicate"},
        {"42\n", -32600, "null", "must be an object"},
        {"[]\n", -32600, "null", "batches are not supported"},
        {"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}]\n", -32600, "null", "batches"},
        {"{}\n", -32600, "null", "jsonrpc"},
        {"{\"id\":3,\"method\":\"echo\"}\n", -32600, "3", "jsonrpc"},
        {"{\"jsonrpc\":\"1.0\",\"id\":3,\"method\":\"echo\"}\n", -32600, "3", "jsonrpc"},
        {REQ("\"id\":{},\"method\":\"echo\""), -32600, "null", "id must be"},
        {REQ("\"id\":4"), -32600, "4", "method"},
        {REQ("\"id\":4,\"method\":5"), -32600, "4", "method"},
        {REQ("\"id\":4,\"method\":\"echo\",\"parms\":{}"), -32600, "4", "\"parms\""},
        {REQ("\"id\":4,\"method\":\"echo\",\"params\":[1]"), -32602, "4", "by name"},
        {REQ("\"id\":4,\"method\":\"nothing\""), -32601, "4", "no method \"nothing\""},
        {REQ("\"id\":4,\"method\":\"params\""), -32602, "4", "wrong params"},
        {REQ("\"id\":4,\"method\":\"null\""), -32603, "4", "it was done"},
    };
    int fd = dial();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_error(fd, rows[i].text, rows[i].code, rows[i].id, rows[i].word);
    ask(fd, "echo", 1);
    expect_result(fd, "1", "{}");
    close(fd);
}

static void test_depth(void)
{
    char text[5000] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"a\":";
    size_t n = strlen(text), levels = RPC_DEPTH_MAX - 2;
    int fd = dial();
    memset(text + n, '[', levels);
    memset(text + n + levels, ']', levels);
    strcpy(text + n + 2 * levels, "}}\n");
    CHECK(put(fd, text));
    json_t *answer = get(fd);
    CHECK(json_object_get(answer, "result"));
    json_decref(answer);
    memset(text + n, '[', levels + 1);
    memset(text + n + levels + 1, ']', levels + 1);
    strcpy(text + n + 2 * levels + 2, "}}\n");
    expect_error(fd, text, -32600, "null", "nested deeper than the limit of 32");
    memset(text, '[', sizeof(text) - 2);
    strcpy(text + sizeof(text) - 2, "\n");
    expect_error(fd, text, -32700, "null", "depth");
    close(fd);
}

static void test_answers(void)
{
    int fd = dial();
    CHECK(put(fd, REQ("\"id\":\"a b\",\"method\":\"echo\",\"params\":{\"x\":[1,true,null]}")));
    expect_result(fd, "\"a b\"", "{\"x\":[1,true,null]}");
    CHECK(put(fd, REQ("\"id\":null,\"method\":\"echo\"")));
    expect_result(fd, "null", "{}");
    CHECK(put(fd, "\n \r\n" REQ("\"id\":1.5,\"method\":\"echo\"")));
    expect_result(fd, "1.5", "{}");
    ask(fd, "fail", 9);
    json_t *answer = get(fd), *error = json_object_get(answer, "error");
    json_t *data = json_object_get(error, "data");
    CHECK(json_integer_value(json_object_get(error, "code")) == -32000);
    CHECK(!strcmp(json_string_value(json_object_get(error, "message")), "no file /?? there"));
    CHECK(!strcmp(json_string_value(json_object_get(data, "errno")), "ENOENT"));
    CHECK(!strcmp(json_string_value(json_object_get(data, "device")), "d0"));
    CHECK(!strcmp(json_string_value(json_object_get(data, "option")), "path"));
    json_decref(answer);
    close(fd);
}

static void test_notifications(void)
{
    int fd = dial();
    CHECK(put(fd, REQ("\"method\":\"echo\"") REQ("\"method\":\"fail\"") REQ("\"method\":\"none\"")
              REQ("\"method\":\"fd\"") REQ("\"method\":\"x\",\"params\":[]")));
    CHECK(silent(fd));
    CHECK(t.calls == 4);
    close(fd);
}

static void test_oversize(void)
{
    static const char head[] =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"a\":\"";
    size_t size = RPC_LINE_MAX + 2;
    char *text = malloc(size);
    memset(text, 'x', size);
    memcpy(text, head, strlen(head));
    memcpy(text + RPC_LINE_MAX - 3, "\"}}\n", 4);
    int fd = dial();
    CHECK(put_bytes(fd, text, RPC_LINE_MAX + 1)); /* the longest allowed, and its newline */
    json_t *answer = get(fd);
    CHECK(json_object_get(answer, "result"));
    json_decref(answer);
    memset(text, 'x', size);
    put_bytes(fd, text, size);
    expect_error(fd, "", -32600, "null", "longer than the limit of 1048576");
    CHECK(ended(fd));
    close(fd);
    free(text);
    still_serves();
}

static void test_half_lines(void)
{
    static const char text[] = REQ("\"id\":1,\"method\":\"echo\"");
    int fd = dial();
    for (size_t i = 0; text[i]; i++) {
        if (i % 10 == 0)
            CHECK(silent(fd));
        CHECK(put_bytes(fd, text + i, 1));
    }
    expect_result(fd, "1", "{}");
    CHECK(put(fd, "{\"jsonrpc\":"));
    steps();
    still_serves();
    close(fd); /* in the middle of a line */
    steps();
    still_serves();
    fd = dial();
    CHECK(put(fd, "{\"jsonrpc\":") && shutdown(fd, SHUT_WR) == 0);
    expect_error(fd, "", -32600, "null", "does not end with a newline");
    CHECK(ended(fd));
    close(fd);
}

static void test_vanish(void)
{
    int fd = dial();
    ask(fd, "later", 1);
    ask(fd, "later", 2);
    steps();
    CHECK(t.n_later == 2);
    reply_result(t.later[0], json_object()); /* into a socket about to close */
    close(fd);
    steps();
    int pipes[2];
    CHECK(pipe2(pipes, O_CLOEXEC | O_NONBLOCK) == 0);
    CHECK(server_subscribe(t.later[1]) == -EPIPE);
    reply_result_fd(t.later[1], json_object(), pipes[1]);
    CHECK(read(pipes[0], line, 1) == 0); /* the last writer is closed */
    close(pipes[0]);
    t.n_later = 0;
    still_serves();
    fd = dial();
    ask(fd, "later", 3); /* answered by stop(), after the server is gone */
    steps();
    close(fd);
}

static void test_half_closed(void)
{
    int fd = dial();
    ask(fd, "echo", 1);
    ask(fd, "later", 2);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    expect_result(fd, "1", "{}");
    CHECK(silent(fd));
    reply_result(t.later[0], json_object());
    t.n_later = 0;
    expect_result(fd, "2", "{}");
    CHECK(ended(fd));
    close(fd);
}

static void test_pipelining(void)
{
    char text[100 * 80] = "", id[16];
    int fd = dial(), other = dial();
    for (int i = 0; i < 100; i++)
        sprintf(text + strlen(text), REQ("\"id\":%d,\"method\":\"echo\""), i);
    CHECK(put(fd, text));
    for (int i = 0; i < 100; i++) {
        snprintf(id, sizeof(id), "%d", i);
        expect_result(fd, id, "{}");
    }
    for (int i = 0; i < 20; i++)
        ask(fd, "later", i);
    ask(fd, "echo", 20);
    steps();
    CHECK(t.n_later == SERVER_REQUESTS_MAX && silent(fd));
    ask(other, "echo", 5); /* is not held up */
    expect_result(other, "5", "{}");
    reply_result(t.later[7], json_object()); /* out of order */
    expect_result(fd, "7", "{}");
    steps();
    CHECK(t.n_later == SERVER_REQUESTS_MAX + 1);
    for (unsigned i = 0; i < t.n_later; i++) { /* grows on the way */
        if (i != 7)
            reply_result(t.later[i], json_object());
        steps();
    }
    CHECK(t.n_later == 20);
    t.n_later = 0;
    json_int_t sum = 7; /* of the ids: each comes once, in any order */
    for (int i = 0; i < 20; i++) {
        json_t *answer = get(fd);
        sum += json_integer_value(json_object_get(answer, "id"));
        json_decref(answer);
    }
    CHECK(sum == 20 * 21 / 2 && silent(fd));
    close(fd);
    close(other);
}

static void test_events(void)
{
    int a = dial(), b = dial();
    ask(a, "follow", 1);
    expect_result(a, "1", "{}");
    ask(b, "echo", 1);
    expect_result(b, "1", "{}");
    CHECK(server_seq(t.server) == 0);
    server_event(t.server, "device.published", json_pack("{s:s}", "device", "d0"));
    server_event(t.server, "nothing", NULL);
    CHECK(server_seq(t.server) == 2);
    json_t *first = get(a), *params = json_object_get(first, "params");
    CHECK(!strcmp(json_string_value(json_object_get(first, "method")), "event"));
    CHECK(!json_object_get(first, "id"));
    CHECK(json_integer_value(json_object_get(params, "seq")) == 1);
    CHECK(json_real_value(json_object_get(params, "time")) > 1e9);
    CHECK(!strcmp(json_string_value(json_object_get(params, "event")), "device.published"));
    CHECK(!strcmp(json_string_value(json_object_get(params, "device")), "d0"));
    json_decref(first);
    json_t *second = get(a);
    CHECK(json_integer_value(json_object_get(json_object_get(second, "params"), "seq")) == 2);
    json_decref(second);
    ask(a, "echo", 2); /* a follower may still ask */
    expect_result(a, "2", "{}");
    CHECK(silent(b));
    close(a);
    steps();
    server_event(t.server, "nobody", NULL);
    CHECK(server_seq(t.server) == 3);
    close(b);
}

static void test_slow_follower(void)
{
    char *text = malloc(100001);
    memset(text, 'x', 100000);
    text[100000] = '\0';
    int slow = dial(), good = dial();
    ask(slow, "follow", 1);
    ask(good, "follow", 1);
    expect_result(good, "1", "{}");
    uint32_t level = log_level();
    log_set_level(HVV_LOG_ERROR); /* the line about the drop */
    for (int i = 1; i <= 60; i++) { /* 6 MB, the limit is 4 MiB */
        server_event(t.server, "e", json_pack("{s:s}", "text", text));
        json_t *event = get(good);
        CHECK(json_integer_value(json_object_get(json_object_get(event, "params"), "seq")) == i);
        json_decref(event);
    }
    log_set_level(level);
    int lines = 0;
    while (get_line(slow, DEADLINE) > 0)
        lines++;
    CHECK(lines >= 1 && lines < 60); /* the subscription and what the socket itself held */
    close(slow);
    close(good);
    free(text);
    still_serves();
}

/* Asks for 10 MB and does not read: it waits, the others do not, and it gets it all in the end. */
static void test_slow_client(void)
{
    int slow = dial();
    for (int i = 0; i < 50; i++)
        ask(slow, "big", i);
    steps();
    CHECK(t.calls < 10);
    still_serves();
    for (int i = 0; i < 50; i++) {
        json_t *answer = get(slow);
        CHECK(json_integer_value(json_object_get(answer, "id")) == i);
        CHECK(json_string_length(json_object_get(json_object_get(answer, "result"), "text")) ==
              200000);
        json_decref(answer);
    }
    close(slow);
}

static int receive_fd(int client)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    int fd = -1;
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    uint64_t end = clock_ns() + DEADLINE;
    while (recvmsg(client, &msg, MSG_CMSG_CLOEXEC) < 0 && clock_ns() < end)
        step();
    struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
    CHECK(byte == '{' && h && h->cmsg_type == SCM_RIGHTS);
    if (h)
        memcpy(&fd, CMSG_DATA(h), sizeof(fd));
    return fd;
}

static void test_descriptor(void)
{
    int pipes[2], fd = dial();
    CHECK(pipe2(pipes, O_CLOEXEC | O_NONBLOCK) == 0);
    t.pass = pipes[1];
    ask(fd, "fd", 1);
    int got = receive_fd(fd);
    CHECK(get_line(fd, DEADLINE) > 0 && strstr(line, "\"id\":1"));
    CHECK(write(got, "y", 1) == 1 && read(pipes[0], line, 1) == 1 && line[0] == 'y');
    close(got);
    for (int i = 0; i < 3; i++) /* behind lines that have to wait */
        ask(fd, "big", i);
    ask(fd, "fd", 4);
    steps();
    for (int i = 0; i < 3; i++)
        json_decref(get(fd));
    got = receive_fd(fd);
    CHECK(get_line(fd, DEADLINE) > 0 && strstr(line, "\"id\":4"));
    CHECK(got >= 0);
    close(got);
    close(fd);
    steps();
    close(pipes[1]);
    CHECK(read(pipes[0], line, 1) == 0); /* no writer is left anywhere */
    close(pipes[0]);
}

static void test_same_path(void)
{
    struct error error = {0};
    CHECK(!server_new(t.loop, PATH, 0600, method, &t, &error));
    CHECK(error.err == EADDRINUSE && strstr(error.text, PATH));
    still_serves();
}

static void test_stale_socket(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = PATH};
    stop();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    close(fd);
    start();
    still_serves();
}

static void test_too_many(void)
{
    int fds[SERVER_CLIENTS_MAX];
    for (unsigned i = 0; i < SERVER_CLIENTS_MAX; i++) {
        fds[i] = dial();
        step();
    }
    steps();
    int extra = dial();
    ask(extra, "echo", 1);
    expect_error(extra, "", -32000, "null", "at most 64 control clients");
    CHECK(ended(extra));
    close(extra);
    ask(fds[63], "echo", 2);
    expect_result(fds[63], "2", "{}");
    close(fds[0]);
    steps();
    still_serves();
    for (unsigned i = 1; i < SERVER_CLIENTS_MAX; i++)
        close(fds[i]);
}

/* With no descriptor left a client waits; the server does not spin or fall over. */
static void test_no_descriptors(void)
{
    struct rlimit old, low;
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "valgrind"))
        return; /* it accepts and closes where the kernel would not accept */
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
    int fd = dial();
    low = old;
    low.rlim_cur = (rlim_t)fd + 1;
    uint32_t level = log_level();
    log_set_level(HVV_LOG_ERROR);
    CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
    ask(fd, "echo", 1);
    CHECK(silent(fd));
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    log_set_level(level);
    expect_result(fd, "1", "{}");
    close(fd);
}

static void test_free_flushes(void)
{
    int fd = dial();
    ask(fd, "later", 1);
    steps();
    reply_result(t.later[0], json_pack("{s:s}", "last", "words"));
    t.n_later = 0;
    stop();
    CHECK(get_line(fd, 0) > 0 && strstr(line, "last"));
    close(fd);
    CHECK(access(PATH, F_OK) < 0);
    start();
}

/* ---- main ------------------------------------------------------------------------------------ */

static int open_files(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static void run(const char *name, void (*test)(void))
{
    int before = failures, files = open_files();
    start();
    int serving = open_files();
    test();
    steps();
    CHECK(open_files() == serving);
    stop();
    CHECK(open_files() == files);
    CHECK(access(PATH, F_OK) < 0 && access(PATH ".lock", F_OK) < 0);
    printf("%s %d - %s\n", failures == before ? "ok" : "not ok", ++tests, name);
}

static const struct {
    const char *name;
    void (*test)(void);
} all[] = {
    {"bad lines are answered and do no harm", test_bad_lines},
    {"nesting is limited", test_depth},
    {"answers echo ids and carry errors", test_answers},
    {"notifications are executed, not answered", test_notifications},
    {"the longest line works, a longer one ends the connection", test_oversize},
    {"lines come in pieces", test_half_lines},
    {"clients vanish before the answer", test_vanish},
    {"a client that sends no more still gets its answers", test_half_closed},
    {"pipelining is limited and may be answered out of order", test_pipelining},
    {"followers get events", test_events},
    {"a follower that does not read is dropped", test_slow_follower},
    {"a client that does not read only slows itself", test_slow_client},
    {"descriptors come with their answer", test_descriptor},
    {"a second server on the path is refused", test_same_path},
    {"a stale socket is replaced", test_stale_socket},
    {"the 65th client is turned away", test_too_many},
    {"without descriptors clients wait", test_no_descriptors},
    {"freeing the server sends the last answers", test_free_flushes},
};

int main(void)
{
    char dir[] = "/tmp/test-server.XXXXXX";
    if (!mkdtemp(dir) || chdir(dir) < 0)
        return 99;
    json_object_seed(1);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        run(all[i].name, all[i].test);
    printf("1..%d\n", tests);
    if (chdir("/") == 0)
        rmdir(dir);
    return failures ? 1 : 0;
}
