/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ctl-daemon.c - a daemon with canned answers, for ctl.sh: `ctl-daemon SOCKET LOG`. Prints "ready"
 * when it listens, writes each request to LOG, ends with the method shutdown. One thread.
 */
#include "control/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    struct loop *loop;
    struct server *server;
    FILE *log;
    struct timer *soon; /* ends the loop, or sends events, after the answer */
    bool follow;
    struct reply *unanswered;
    int echo;           /* our end of a stream that was handed over */
    struct watch *watch;
} d = {.echo = -1};

static const struct {
    const char *method, *result;
} canned[] = {
    {"device.list",
     "{\"seq\":4,\"devices\":["
     "{\"id\":\"blk0\",\"plugin\":\"blk\",\"version\":\"1.0.0\",\"state\":\"published\","
     "\"transport\":\"vhost-user\",\"socket\":\"/run/x/blk0.sock\",\"connected\":true,"
     "\"broken\":null},"
     "{\"id\":\"a-long-name\",\"plugin\":\"blk\",\"version\":\"1.0.0\",\"state\":\"published\","
     "\"transport\":\"vhost-user\",\"socket\":\"/run/x/l.sock\",\"connected\":false,"
     "\"broken\":\"head 300 >= size \\u001b[31m256\"}]}"},
    {"device.show",
     "{\"id\":\"blk0\",\"plugin\":\"blk\",\"version\":\"1.0.0\",\"virtio_id\":2,"
     "\"state\":\"published\",\"broken\":null,\"transport\":\"vhost-user\","
     "\"socket\":\"/run/x/blk0.sock\",\"connected\":true,\"spec\":\"blk:/x,ro\","
     "\"options\":{\"path\":\"/x\",\"ro\":true,\"queues\":2,\"tag\":[\"a\",\"b\"]},"
     "\"features\":{\"offered\":\"0x130000000\",\"negotiated\":\"0x0\"},"
     "\"queues\":[{\"index\":0,\"size\":128,\"max\":256,\"state\":\"running\",\"worker\":1}],"
     "\"config_generation\":7,\"hints\":[{\"for\":\"QEMU\",\"text\":\"-chardev x\"}]}"},
    {"plugin.list",
     "{\"plugins\":[{\"name\":\"blk\",\"version\":\"1.0.0\",\"path\":\"/p/blk.so\","
     "\"description\":\"disks\",\"virtio_id\":2,\"devices\":1,\"retired\":false,"
     "\"options\":[{\"name\":\"path\",\"type\":\"path\",\"default\":null,\"range\":null,"
     "\"choices\":null,\"required\":true,\"positional\":true,\"multi\":false,"
     "\"help\":\"the image\"},"
     "{\"name\":\"queues\",\"type\":\"number\",\"default\":\"1\",\"range\":\"1 to 16\","
     "\"choices\":null,\"required\":false,\"positional\":false,\"multi\":false,"
     "\"help\":\"number of queues\"}],"
     "\"commands\":[{\"name\":\"resize\",\"help\":\"take the new size of the image\","
     "\"params\":[{\"name\":\"size\",\"type\":\"size\",\"default\":null,\"range\":null,"
     "\"choices\":null,\"required\":false,\"positional\":false,\"multi\":false,"
     "\"help\":\"grow to this first\"}]},{\"name\":\"attach\",\"help\":\"use it\","
     "\"params\":[]}],"
     "\"counters\":[{\"name\":\"flushes\",\"help\":\"flush requests\"}],"
     "\"events\":[{\"name\":\"resized\",\"help\":\"has a new size\"}]}],"
     "\"refused\":[{\"path\":\"/p/bad.so\",\"reason\":\"not an ELF file\"}]}"},
    {"plugin.retire", "{}"},
    {"stats",
     "{\"devices\":[{\"id\":\"blk0\",\"queues\":[{\"index\":0,\"notifications\":10,\"chains\":20,"
     "\"bytes_in\":1023,\"bytes_out\":1610612736,\"interrupts\":5,\"errors\":0,\"held\":3}],"
     "\"counters\":{\"flushes\":3}}]}"},
    {"log.set", "{\"level\":\"debug\",\"was\":\"info\"}"},
    {"zone.list", "{\"zones\":[]}"},
    {"device.remove", "{\"removed\":[\"blk0\",\"blk1\"]}"},
};

static void on_soon(void *arg)
{
    (void)arg;
    if (!d.follow) {
        loop_stop(d.loop);
        return;
    }
    server_event(d.server, "device.published", json_pack("{s:s}", "device", "blk0"));
    server_event(d.server, "device.broken", json_pack("{s:s,s:s}", "device", "blk0", "reason",
                                                      "bad chain"));
}

static void device_add(const json_t *params, struct reply *reply)
{
    size_t i;
    json_t *spec, *list = json_array();
    json_array_foreach(json_object_get(params, "devices"), i, spec) {
        char id[32], socket[64];
        snprintf(id, sizeof(id), "blk%zu", i);
        snprintf(socket, sizeof(socket), "/run/x/%s.sock", id);
        if (strstr(json_string_value(spec), "missing")) {
            struct error error = {0};
            error_device(&error, id);
            error_option(&error, ENOENT, "path", "cannot open /missing: no such file");
            reply_error(reply, &error);
            json_decref(list);
            return;
        }
        json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s,s:s}", "id", id, "plugin", "blk",
                                              "version", "1.0.0", "transport", "vhost-user",
                                              "socket", socket));
    }
    reply_result(reply, json_pack("{s:o}", "devices", list));
}

static void on_echo(void *arg, uint32_t events)
{
    char bytes[1024];
    (void)arg;
    (void)events;
    ssize_t n = read(d.echo, bytes, sizeof(bytes));
    if (n > 0 && write(d.echo, bytes, (size_t)n) == n)
        return;
    watch_free(d.watch);
    d.watch = NULL;
    close(d.echo);
    d.echo = -1;
}

static void hand_over_stream(struct reply *reply)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        reply_unknown_method(reply);
        return;
    }
    d.echo = pair[0];
    d.watch = watch_new(d.loop, d.echo, on_echo, NULL);
    watch_set(d.watch, HVV_WATCH_READ);
    reply_result_fd(reply, json_pack("{s:{s:s}}", "result", "note", "connected"), pair[1]);
}

static void device_command(const json_t *params, struct reply *reply)
{
    const char *command = json_string_value(json_object_get(params, "command"));
    struct error error = {0};
    if (strcmp(command, "resize") == 0) {
        reply_result(reply, json_pack("{s:{s:i,s:s}}", "result", "size", 1048576, "unit", "bytes"));
    } else if (strcmp(command, "attach") == 0) {
        hand_over_stream(reply);
    } else {
        error_set(&error, EOPNOTSUPP, "plugin blk has no command \"%s\"; it has: resize", command);
        reply_error(reply, &error);
    }
}

static bool answer_canned(const char *name, struct reply *reply)
{
    if (strcmp(name, "plugin.rescan") == 0)
        name = "plugin.list";
    for (size_t i = 0; i < sizeof(canned) / sizeof(canned[0]); i++)
        if (strcmp(canned[i].method, name) == 0) {
            reply_result(reply, json_loads(canned[i].result, 0, NULL));
            return true;
        }
    return false;
}

static void method(void *arg, const char *name, json_t *params, struct reply *reply)
{
    (void)arg;
    char *text = json_dumps(params, JSON_COMPACT);
    fprintf(d.log, "%s %s\n", name, text);
    fflush(d.log);
    free(text);
    if (strcmp(name, "device.add") == 0) {
        device_add(params, reply);
    } else if (strcmp(name, "device.command") == 0) {
        device_command(params, reply);
    } else if (strcmp(name, "events.subscribe") == 0) {
        server_subscribe(reply);
        reply_result(reply, json_pack("{s:i}", "seq", 0));
        d.follow = true;
        timer_set(d.soon, 1);
    } else if (strcmp(name, "shutdown") == 0) {
        d.follow = false;
        timer_set(d.soon, 1);
        if (json_is_true(json_object_get(params, "force")))
            d.unanswered = reply;
        else
            reply_result(reply, json_object());
    } else if (!answer_canned(name, reply)) {
        reply_unknown_method(reply);
    }
}

int main(int argc, char **argv)
{
    struct error error = {0};
    d.log = argc == 3 ? fopen(argv[2], "we") : NULL;
    d.loop = loop_new();
    if (!d.log || !d.loop)
        return 99;
    d.soon = timer_new(d.loop, on_soon, NULL);
    d.server = server_new(d.loop, argv[1], 0600, method, NULL, &error);
    if (!d.server) {
        fprintf(stderr, "ctl-daemon: %s\n", error.text);
        return 99;
    }
    puts("ready");
    fflush(stdout);
    loop_run(d.loop);
    server_free(d.server);
    if (d.unanswered)
        reply_result(d.unanswered, json_object());
    timer_free(d.soon);
    loop_free(d.loop);
    fclose(d.log);
    return 0;
}
