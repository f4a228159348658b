/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * badinput.c - flow test: whatever is wrong with what a person or a program asks for, there is one
 * sentence that names the thing, an exit code that is not 0, and nothing has changed.
 *
 * The daemon runs as an unprivileged user, so that permissions mean something.
 */
#include "clock.h"
#include "report.h"
#include "snapshot.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLACK_KIB 768u
#define X10 "xxxxxxxxxx"
#define X120 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10

/* One wrong thing; `parts` of the sentence are separated by '|'. */
struct bad {
    const char *words[6]; /* of the command line */
    int code;
    const char *parts;
};

static bool one_sentence(const struct output *o, const char *program, const struct bad *bad)
{
    char all[256], *save = NULL;
    size_t len = strlen(program);
    const char *text = o->err, *end = strchr(text, '\n');
    if (o->code != bad->code)
        return row_fail("exit code %d instead of %d: %s%s", o->code, bad->code, o->err, o->out);
    if (o->out[0])
        return row_fail("something was printed: %s", o->out);
    if (strncmp(text, program, len) != 0 || strncmp(text + len, ": ", 2) != 0 || !end || end[1])
        return row_fail("not one line that starts with \"%s: \": %s", program, text);
    if (end - text < 20 || strstr(text, "(null)") || strstr(text, "(nil)"))
        return row_fail("not a sentence: %s", text);
    snprintf(all, sizeof(all), "%s", bad->parts);
    for (char *p = strtok_r(all, "|", &save); p; p = strtok_r(NULL, "|", &save))
        if (!has_text(text, p))
            return row_fail("\"%s\" is not named: %s", p, text);
    return true;
}

static bool make_things(struct daemon *d)
{
    return daemon_image(d, "a", 4 << 20) && daemon_image(d, "empty", 0) &&
           daemon_image(d, "tiny", 100) && daemon_image(d, "odd", (1 << 20) + 100) &&
           daemon_image(d, "secret", 4 << 20) && chmod(in_dir(d, "i/secret").s, 0) == 0 &&
           mkdir(in_dir(d, "i/dir").s, 0777) == 0 && mkfifo(in_dir(d, "i/fifo").s, 0666) == 0 &&
           mkdir(in_dir(d, "closed").s, 0555) == 0;
}

/* ---- words for the ctl ----------------------------------------------------------------------- */

static bool still_one(struct daemon *d)
{
    int n = daemon_count(d);
    return n == 1 || row_fail("there are %d devices instead of one", n);
}

/* One device is there all the time; for an add a good one comes before the bad one. */
static void ctl_is_refused(struct daemon *d)
{
    static struct output o;
    const struct bad *bad = d->arg;
    const char *const *w = bad->words;
    struct snapshot before;
    MUST(make_things(d) && daemon_add(d, "blk:backend=null,id=there", "blk:a,id=x", NULL) &&
         daemon_remove(d, "x", NULL) && snapshot_take(&before, d));
    if (w[0] && strcmp(w[0], "add") == 0 && w[1])
        MUST(ctl(&o, d, "add", "blk:a,id=good", w[1], w[2], w[3], NULL));
    else
        MUST(ctl(&o, d, w[0], w[1], w[2], w[3], w[4], NULL));
    MUST(one_sentence(&o, "hvisor-vhost-ctl", bad));
    MUST(still_one(d) && snapshot_returns(d, &before, NULL, SLACK_KIB, "after the refusal"));
    snapshot_free(&before);
}

#define ADD(SPEC, PARTS) {{"add", SPEC}, 1, PARTS}
static const struct bad unknown_plugin = ADD("nosuch:x", "nosuch");
static const struct bad no_plugin = ADD(":x", "plugin");
static const struct bad empty_spec = ADD("", "name of a plugin");
static const struct bad bad_plugin_name = ADD("../blk:x", "../blk");
static const struct bad unknown_option = ADD("blk:a,colour=red", "colour|blk");
static const struct bad similar_option = ADD("blk:a,queue=2", "queue|queues");
static const struct bad duplicate_option = ADD("blk:a,ro,ro", "ro|twice");
static const struct bad duplicate_path = ADD("blk:a,path=a", "path|twice");
static const struct bad out_of_range = ADD("blk:a,queues=1000", "queues|1000");
static const struct bad not_a_number = ADD("blk:a,queues=two", "queues|two");
static const struct bad huge_number = ADD("blk:a,queues=99999999999999999999999", "queues");
static const struct bad not_a_power = ADD("blk:a,queue-size=100", "queue-size|100|128");
static const struct bad not_a_choice = ADD("blk:a,engine=steam", "engine|steam|uring");
static const struct bad not_a_bool = ADD("blk:a,ro=maybe", "ro|maybe");
static const struct bad not_a_size = ADD("blk:backend=mem,size=huge", "size|huge");
static const struct bad serial_too_long = ADD("blk:a,serial=123456789012345678901", "serial|20");
static const struct bad no_image = ADD("blk", "path");
static const struct bad image_missing = ADD("blk:missing", "missing|No such file");
static const struct bad image_is_directory = ADD("blk:dir", "dir|directory");
static const struct bad image_is_fifo = ADD("blk:fifo", "fifo");
static const struct bad image_not_readable = ADD("blk:secret,ro", "secret|Permission denied");
static const struct bad image_empty = ADD("blk:empty", "empty|0 bytes");
static const struct bad image_too_small = ADD("blk:tiny", "tiny|100 bytes");
static const struct bad image_in_use = ADD("blk:a,id=second", "i/a|in use");
static const struct bad path_too_long = ADD("blk:backend=null,socket=" X120, "xxx|limit");
static const struct bad socket_in_use = ADD("blk:backend=null,socket=../s/there.sock", "in use");
static const struct bad socket_dir_closed = ADD("blk:backend=null,socket=../closed/x",
                                                "closed|not writable");
static const struct bad socket_is_file = ADD("blk:backend=null,socket=odd", "odd|not a socket");
static const struct bad id_taken = ADD("blk:backend=null,id=there", "there");
static const struct bad id_with_slash = ADD("blk:backend=null,id=a/b", "a/b");
static const struct bad id_dots = ADD("blk:backend=null,id=..", "..");
static const struct bad id_too_long = ADD("blk:backend=null,id=" X120, "xxx");
static const struct bad control_character = ADD("blk:a\nb", "a");
static const struct bad add_nothing = {{"add"}, 2, "add"};
static const struct bad no_command = {{NULL}, 2, "command"};
static const struct bad unknown_flag = {{"list", "--loud"}, 2, "--loud"};
static const struct bad unknown_command = {{"frobnicate"}, 2, "frobnicate"};
static const struct bad plugin_has_no_command = {{"frobnicate", "there"}, 1, "frobnicate|resize"};
static const struct bad command_on_nothing = {{"resize", "nobody", "size=1G"}, 1, "nobody"};
static const struct bad command_bad_option = {{"resize", "there", "sise=1G"}, 1, "sise|size"};
static const struct bad command_bad_value = {{"resize", "there", "size=lots"}, 1, "size|lots"};
static const struct bad command_twice = {{"resize", "there", "size=1G", "size=2G"}, 2, "size"};
static const struct bad remove_nothing = {{"remove"}, 2, "remove"};
static const struct bad remove_unknown = {{"remove", "there", "nobody"}, 1, "nobody"};
static const struct bad remove_twice = {{"remove", "there", "there"}, 1, "there|twice"};
static const struct bad show_unknown = {{"show", "nobody"}, 1, "nobody"};
static const struct bad stats_unknown = {{"stats", "nobody"}, 1, "nobody"};
static const struct bad plugins_unknown = {{"plugins", "nosuch"}, 1, "nosuch"};
static const struct bad log_unknown = {{"log", "loud"}, 1, "debug"};
static const struct bad list_too_much = {{"list", "more"}, 2, "list"};

static void no_daemon(struct daemon *d)
{
    static struct output o;
    static const struct bad bad = {{NULL}, 3, "control.sock"};
    static const struct bad long_path = {{NULL}, 2, "xxx|107"};
    MUST(ctl(&o, d, "list", NULL) && one_sentence(&o, "hvisor-vhost-ctl", &bad));
    MUST(ctl(&o, d, "--control", "/tmp/" X120, "list", NULL));
    MUST(one_sentence(&o, "hvisor-vhost-ctl", &long_path));
}

/* Not refused: the part that is no whole sector is left out, and the log says so. */
static void odd_size(struct daemon *d)
{
    static char log[65536];
    MUST(make_things(d) && daemon_add(d, "blk:odd,id=odd", NULL));
    FILE *f = fopen(in_dir(d, "log").s, "re");
    size_t n = f ? fread(log, 1, sizeof(log) - 1, f) : 0;
    log[n] = '\0';
    if (f)
        fclose(f);
    CHECK(has_text(log, "not a multiple of 512") && has_text(log, "last 100 bytes"),
          "the log does not say what is done: %s", log);
}

/* ---- words for the daemon -------------------------------------------------------------------- */

static void daemon_is_refused(struct daemon *d)
{
    static struct output o;
    const struct bad *bad = d->arg;
    const char *argv[32];
    struct text text[8];
    struct stat st;
    size_t n = 0;
    MUST(make_things(d) && mkdir(in_dir(d, "none").s, 0755) == 0 &&
         mkdir(in_dir(d, "open").s, 0777) == 0 && chmod(in_dir(d, "open").s, 0777) == 0);
    daemon_argv(d, argv, text);
    while (argv[n])
        n++;
    for (size_t i = 0; i < 6 && bad->words[i]; i++)
        argv[n++] = bad->words[i];
    argv[n] = NULL;
    MUST(run(&o, d->dir, argv, DAEMON_TIMEOUT_MS, true));
    /* Log lines may come before; the sentence is the last one. */
    char *last = o.err + strlen(o.err);
    for (int lines = 0; last > o.err; last--)
        if (last[-1] == '\n' && ++lines == 2)
            break;
    memmove(o.err, last, strlen(last) + 1);
    MUST(one_sentence(&o, "hvisor-vhost", bad));
    if (d->pid == 0)
        CHECK(stat(d->control, &st) < 0, "a control socket is left behind");
    else
        MUST(daemon_add(d, "blk:backend=null", NULL)); /* the first daemon is well */
}

static const struct bad second_daemon = {{NULL}, 1, "control.sock|in use"};
static const struct bad daemon_option = {{"--frobnicate"}, 1, "--frobnicate"};
static const struct bad daemon_word = {{"word"}, 1, "word"};
static const struct bad daemon_no_value = {{"--workers"}, 1, "--workers"};
static const struct bad daemon_workers = {{"--workers", "1000"}, 1, "workers|1000|64"};
static const struct bad daemon_level = {{"--log-level", "loud"}, 1, "loud|debug"};
static const struct bad daemon_config = {{"--config", "nothere.conf"}, 1, "nothere.conf"};
static const struct bad daemon_control_long = {{"--control", "/tmp/" X120}, 1, "xxx|limit"};
static const struct bad daemon_control_closed = {{"--control", "closed/c"}, 1, "closed|writable"};
static const struct bad daemon_socket_dir = {{"--socket-dir", "closed/s"}, 1, "closed/s"};
static const struct bad daemon_plugin_dir = {{"--plugin-dir", "nothere"}, 1, "nothere"};
static const struct bad daemon_plugin_open = {{"--plugin-dir", "open"}, 1, "/open|everybody"};
static const struct bad daemon_first_device = {{"--device", "blk:i/missing,id=data"}, 1,
                                               "data|missing|No such file"};
static const struct bad daemon_no_zone = {{"--device", "blk:i/a,zone=7"}, 1, "zone 7"};
static const struct bad daemon_spec = {{"--device", "blk:i/a,colour=red"}, 1, "colour"};

static void empty_plugin_dir(struct daemon *d)
{
    static const struct bad bad = {{NULL}, 1, "/p|plugin"};
    CHECK(unlink(in_dir(d, "p/blk.so").s) == 0, "the plugin cannot be removed");
    d->arg = &bad;
    daemon_is_refused(d);
}

/* ---- the control socket ---------------------------------------------------------------------- */

/* The other client, and how fast it is served. */
static bool bystander_is_well(struct daemon *d)
{
    uint64_t start = clock_ns();
    int n = daemon_count(d);
    uint64_t ms = (clock_ns() - start) / 1000000;
    if (n != 0)
        return row_fail("another client got %d", n);
    return ms < 1000 || row_fail("another client had to wait for %llu ms", (unsigned long long)ms);
}

static bool connects(struct client *c, const struct daemon *d)
{
    return client_open(c, d->control) == 0 || row_fail("a client cannot connect");
}

struct line {
    const char *text;
    int code;
};

static bool line_gets(struct client *c, const struct line *line)
{
    bool hung_up;
    if (!client_write(c, line->text, strlen(line->text)) || !client_write(c, "\n", 1))
        return row_fail("hung up before: %.60s", line->text);
    json_t *answer = client_read(c, CLIENT_TIMEOUT_MS, &hung_up);
    json_t *error = json_object_get(answer, "error");
    int code = (int)json_integer_value(json_object_get(error, "code"));
    const char *text = json_string_value(json_object_get(error, "message"));
    bool right = code == line->code && text && strlen(text) > 10;
    if (!right)
        row_fail("%.60s: code %d (%s) instead of %d%s", line->text, code, text ? text : "",
                 line->code, hung_up ? ", hung up" : "");
    json_decref(answer);
    return right;
}

static void malformed(struct daemon *d)
{
    static const struct line lines[] = {
        {"{", -32700}, {"hello", -32700}, {"\"jsonrpc\"", -32600}, {"[]", -32600}, {"17", -32600},
        {"{}", -32600}, {"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"device.list\"}", -32600},
        {"{\"jsonrpc\":\"2.0\",\"id\":1}", -32600},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}", -32600},
        {"{\"jsonrpc\":\"2.0\",\"id\":[1],\"method\":\"device.list\"}", -32600},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"device.list\",\"params\":[1]}", -32602},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"nosuch\"}", -32601},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"device.list\"}", -32700},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"device.add\"}", -32602},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"device.add\",\"params\":{\"devices\":[]}}",
         -32602},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"device.add\",\"params\":{\"devices\":[7]}}",
         -32000},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"device.add\",\"params\":{\"devices\":"
         "[\"blk:backend=null,id=x\",{\"plugin\":\"blk\",\"options\":{\"ro\":[]}}]}}", -32000},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"device.remove\",\"params\":{\"ids\":[7]}}",
         -32602},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"device.show\",\"params\":{}}", -32602},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"device.command\",\"params\":{\"id\":\"x\"}}",
         -32602},
        {"\xff\xfe", -32700},
    };
    struct client c;
    MUST(connects(&c, d));
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        MUST(line_gets(&c, &lines[i]) && bystander_is_well(d));
    json_t *answer = client_wait(&c, client_send(&c, "device.list", NULL), CLIENT_TIMEOUT_MS);
    CHECK(json_object_get(answer, "result"), "the client is not served any more");
    json_decref(answer);
    client_close(&c);
}

/* A JSON text that does not end: the daemon says why and hangs up, and does not keep the bytes. */
static void oversized(struct daemon *d)
{
    static char block[65536];
    struct client c;
    struct snapshot before;
    bool hung_up = false, sent = true;
    MUST(snapshot_take(&before, d) && connects(&c, d));
    memset(block, '[', sizeof(block));
    for (size_t i = 0; i < 1024 && sent; i++) {
        struct pollfd p = {.fd = c.fd, .events = POLLIN};
        sent = poll(&p, 1, 0) == 0 && client_write(&c, block, sizeof(block));
    }
    CHECK(!sent, "64 MiB without a newline were taken");
    json_t *answer = client_read(&c, CLIENT_TIMEOUT_MS, &hung_up);
    const char *text =
        json_string_value(json_object_get(json_object_get(answer, "error"), "message"));
    CHECK(text || hung_up, "no answer to an oversized line, and no hang-up");
    row_note("answer: %s", text ? text : "none, hung up");
    json_decref(answer);
    client_close(&c);
    MUST(bystander_is_well(d));
    MUST(snapshot_returns(d, &before, NULL, SLACK_KIB, "after an oversized line"));
    snapshot_free(&before);
}

static void deep(struct daemon *d)
{
    char line[4096] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"device.list\",\"params\":{\"x\":";
    size_t at = strlen(line), depth = 1000;
    struct client c;
    memset(line + at, '[', depth);
    memset(line + at + depth, ']', depth);
    strcpy(line + at + 2 * depth, "}}");
    MUST(connects(&c, d));
    MUST(line_gets(&c, &(struct line){line, -32600}) && bystander_is_well(d));
    client_close(&c);
}

/* One byte at a time, and others in between. */
static void slow(struct daemon *d)
{
    static const char line[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"device.list\"}\n";
    struct client c;
    MUST(connects(&c, d));
    for (size_t i = 0; i < sizeof(line) - 1; i++) {
        CHECK(client_write(&c, line + i, 1), "a slow client was hung up on");
        MUST(bystander_is_well(d));
    }
    json_t *answer = client_read(&c, CLIENT_TIMEOUT_MS, NULL);
    CHECK(json_object_get(answer, "result"), "a slow client got no answer");
    json_decref(answer);
    client_close(&c);
}

/* Asks and asks, and never reads: it is held back or dropped, and others are served. */
static void greedy(struct daemon *d)
{
    static const char line[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"plugin.list\"}\n";
    struct client c;
    struct snapshot before;
    json_t *r = daemon_call(d, "plugin.list", NULL);
    json_decref(r);
    MUST(snapshot_take(&before, d) && connects(&c, d));
    for (int i = 0; i < 20000; i++) {
        if (send(c.fd, line, sizeof(line) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            break;
        if (i % 500 == 0)
            MUST(bystander_is_well(d));
    }
    MUST(bystander_is_well(d));
    client_close(&c);
    MUST(snapshot_returns(d, &before, NULL, 4 * SLACK_KIB, "after a client that does not read"));
    snapshot_free(&before);
}

/* The client is gone; its request is done nevertheless, and another one too. */
static void vanished(struct daemon *d)
{
    struct snapshot before;
    MUST(daemon_add(d, "blk:backend=null,id=x", NULL) && daemon_remove(d, "x", NULL));
    MUST(snapshot_take(&before, d));
    for (int i = 0; i < 50; i++) {
        struct client c;
        MUST(connects(&c, d));
        if (i % 2)
            client_write(&c, "{\"jsonrpc\":", 11);
        else
            client_send(&c, "device.add", json_pack("{s:[s]}", "devices", "blk:backend=null,id=x"));
        client_close(&c);
        if (i % 2)
            continue;
        uint64_t deadline = clock_deadline(DAEMON_TIMEOUT_MS);
        while (daemon_count(d) != 1 && clock_left_ms(deadline) > 0)
            poll(NULL, 0, 1);
        MUST(daemon_remove(d, "x", NULL));
    }
    MUST(snapshot_returns(d, &before, NULL, SLACK_KIB, "after clients that vanished"));
    snapshot_free(&before);
}

/* More clients than are served: the others are told, and room comes back. */
static void crowd(struct daemon *d)
{
    enum { N = 100 };
    static struct client c[N];
    unsigned served = 0, told = 0;
    struct snapshot before;
    MUST(snapshot_take(&before, d));
    for (unsigned i = 0; i < N; i++)
        MUST(connects(&c[i], d));
    for (unsigned i = 0; i < N; i++) {
        json_t *answer = client_wait(&c[i], client_send(&c[i], "device.list", NULL), 5000);
        if (!answer)
            answer = client_read(&c[i], 0, NULL);
        served += json_object_get(answer, "result") != NULL;
        told += json_object_get(answer, "error") != NULL;
        json_decref(answer);
    }
    row_note("of %u clients %u were served and %u told why not", N, served, told);
    CHECK(served >= 32 && served < N, "%u of %u clients were served", served, N);
    CHECK(served + told == N, "%u clients were told nothing", N - served - told);
    MUST(bystander_is_well(d));
    for (unsigned i = 0; i < N; i++)
        client_close(&c[i]);
    MUST(snapshot_returns(d, &before, NULL, SLACK_KIB, "after a crowd of clients"));
    MUST(connects(&c[0], d) && bystander_is_well(d));
    client_close(&c[0]);
    snapshot_free(&before);
}

#define CTL(NAME) {#NAME, ctl_is_refused, &nobody, &NAME}
#define DAEMON(NAME) {#NAME, daemon_is_refused, &not_running, &NAME}
#define PLAIN(NAME, OPTIONS) {#NAME, NAME, OPTIONS, NULL}

int main(int argc, char **argv)
{
    static const struct daemon_options nobody = {.nobody = true};
    static const struct daemon_options not_running = {.nobody = true, .no_start = true};
    static const struct row rows[] = {
        CTL(unknown_plugin), CTL(no_plugin), CTL(empty_spec), CTL(bad_plugin_name),
        CTL(unknown_option), CTL(similar_option), CTL(duplicate_option), CTL(duplicate_path),
        CTL(out_of_range), CTL(not_a_number), CTL(huge_number), CTL(not_a_power),
        CTL(not_a_choice), CTL(not_a_bool), CTL(not_a_size), CTL(serial_too_long), CTL(no_image),
        CTL(image_missing), CTL(image_is_directory), CTL(image_is_fifo), CTL(image_not_readable),
        CTL(image_empty), CTL(image_too_small), CTL(image_in_use), PLAIN(odd_size, &nobody),
        CTL(path_too_long), CTL(socket_in_use), CTL(socket_dir_closed), CTL(socket_is_file),
        CTL(id_taken), CTL(id_with_slash), CTL(id_dots), CTL(id_too_long), CTL(control_character),
        CTL(add_nothing), CTL(no_command), CTL(unknown_flag), CTL(unknown_command),
        CTL(plugin_has_no_command), CTL(command_on_nothing), CTL(command_bad_option),
        CTL(command_bad_value), CTL(command_twice), CTL(remove_nothing), CTL(remove_unknown),
        CTL(remove_twice), CTL(show_unknown), CTL(stats_unknown), CTL(plugins_unknown),
        CTL(log_unknown), CTL(list_too_much), PLAIN(no_daemon, &not_running),
        {"second_daemon", daemon_is_refused, &nobody, &second_daemon},
        DAEMON(daemon_option), DAEMON(daemon_word), DAEMON(daemon_no_value),
        DAEMON(daemon_workers), DAEMON(daemon_level), DAEMON(daemon_config),
        DAEMON(daemon_control_long), DAEMON(daemon_control_closed), DAEMON(daemon_socket_dir),
        DAEMON(daemon_plugin_dir), DAEMON(daemon_plugin_open), DAEMON(daemon_first_device),
        DAEMON(daemon_no_zone),
        DAEMON(daemon_spec), PLAIN(empty_plugin_dir, &not_running), PLAIN(malformed, &nobody),
        PLAIN(oversized, &nobody), PLAIN(deep, &nobody), PLAIN(slow, &nobody),
        PLAIN(greedy, &nobody), PLAIN(vanished, &nobody), PLAIN(crowd, &nobody),
    };
    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
