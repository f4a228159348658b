/* SPDX-License-Identifier: BSD-3-Clause */
/* transaction.c - flow test: a request adds or removes all of its devices, or changes nothing. */
#include "disk.h"
#include "report.h"
#include "snapshot.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLACK_KIB 512u
#define IMAGE_BYTES (4 << 20)
#define ADD "{s:[s], s:s}", "devices"
#define ADD2 "{s:[s,s], s:s}", "devices"
#define ADD3 "{s:[s,s,s], s:s}", "devices"
#define CWD "cwd", in_dir(d, "i").s

static struct blkdev disk;

static bool images(struct daemon *d)
{
    return daemon_image(d, "a", IMAGE_BYTES) && daemon_image(d, "b", IMAGE_BYTES) &&
           daemon_image(d, "c", IMAGE_BYTES);
}

static bool list_is(struct daemon *d, int want)
{
    int n = daemon_count(d);
    return n == want || row_fail("there are %d devices instead of %d", n, want);
}

/* Loads the plugin, so that what comes is compared with a daemon that has it. */
static bool warm(struct daemon *d, struct snapshot *s)
{
    return images(d) && daemon_add(d, "blk:a,id=a", "blk:b,id=b", "blk:c,id=c", NULL) &&
           daemon_remove(d, "a", "b", "c", NULL) && snapshot_take(s, d);
}

static bool unchanged(struct daemon *d, struct snapshot *s, const char *when)
{
    return list_is(d, 0) && snapshot_returns(d, s, NULL, SLACK_KIB, when);
}

/* ---- add ------------------------------------------------------------------------------------- */

static void third_image_missing(struct daemon *d)
{
    struct snapshot fresh, warmed;
    MUST(images(d) && snapshot_take(&fresh, d));
    MUST(daemon_refuses(d, "missing|No such file", "device.add", ADD3, "blk:a,id=one",
                        "blk:b,id=two", "blk:missing,id=three", CWD));
    CHECK(strcmp(error_member(d, "device"), "three") == 0, "the error names device \"%s\"",
          error_member(d, "device"));
    CHECK(strcmp(error_member(d, "option"), "path") == 0, "the error names option \"%s\"",
          error_member(d, "option"));
    MUST(list_is(d, 0));
    /* The plugin is loaded now; all else is as in the daemon that never saw the request. */
    MUST(snapshot_take(&warmed, d));
    MUST(snapshot_returns(d, &fresh, &warmed, SLACK_KIB, "after the refusal"));
    MUST(daemon_add(d, "blk:a,id=one", "blk:b,id=two", "blk:c,id=three", NULL) && list_is(d, 3));
    MUST(disk_open(&disk, d, "three", NULL) && disk_works(&disk, 3));
    blkdev_close(&disk);
    MUST(daemon_remove(d, "one", "two", "three", NULL));
    MUST(unchanged(d, &warmed, "after the removal"));
    snapshot_free(&fresh);
    snapshot_free(&warmed);
}

static void the_same_by_ctl(struct daemon *d)
{
    static struct output o;
    MUST(images(d));
    MUST(ctl(&o, d, "add", "blk:a", "blk:b,ro", "blk:missing,id=data", NULL));
    CHECK(o.code == 1, "exit code %d", o.code);
    CHECK(has_text(o.err, "data") && has_text(o.err, "path") && has_text(o.err, "missing"),
          "the device, option or reason is not named: %s", o.err);
    MUST(list_is(d, 0));
    MUST(ctl(&o, d, "add", "blk:a", "blk:b,ro", "blk:c,id=data", NULL));
    CHECK(o.code == 0 && has_text(o.out, socket_of(d, "data").s), "%d: %s%s", o.code, o.out, o.err);
    MUST(list_is(d, 3));
    MUST(ctl(&o, d, "list", NULL));
    CHECK(o.code == 0 && has_text(o.out, "data") && has_text(o.out, "blk"), "list: %s", o.out);
}

static void duplicate_ids(struct daemon *d)
{
    struct snapshot s;
    MUST(warm(d, &s));
    MUST(daemon_refuses(d, "same", "device.add", ADD2, "blk:a,id=same", "blk:b,id=same", CWD));
    MUST(unchanged(d, &s, "after two of one name"));
    MUST(daemon_add(d, "blk:a,id=same", NULL));
    MUST(daemon_refuses(d, "same", "device.add", ADD2, "blk:b,id=other", "blk:c,id=same", CWD));
    MUST(list_is(d, 1));
    MUST(daemon_remove(d, "same", NULL));
    MUST(unchanged(d, &s, "after the removal"));
    MUST(daemon_add(d, "blk:a,id=same", NULL)); /* the name is free again */
    snapshot_free(&s);
}

static void image_twice(struct daemon *d)
{
    struct snapshot s;
    MUST(warm(d, &s));
    MUST(daemon_refuses(d, "in use", "device.add", ADD3, "blk:c,id=x", "blk:a,id=y", "blk:a,id=z",
                        CWD));
    CHECK(strcmp(error_member(d, "device"), "z") == 0, "the error names device \"%s\"",
          error_member(d, "device"));
    MUST(unchanged(d, &s, "after the refusal"));
    MUST(daemon_add(d, "blk:a,id=y,ro", "blk:a,id=z,ro", NULL)); /* readers share */
    MUST(daemon_refuses(d, "in use", "device.add", ADD, "blk:a,id=w", CWD));
    MUST(daemon_remove(d, "y", "z", NULL));
    MUST(unchanged(d, &s, "after the removal"));
    snapshot_free(&s);
}

/* ---- sockets --------------------------------------------------------------------------------- */

static void socket_in_use(struct daemon *d)
{
    struct snapshot s;
    struct text one = in_dir(d, "s/one"), spec;
    MUST(warm(d, &s));
    snprintf(spec.s, sizeof(spec.s), "blk:b,id=b,socket=%.300s", one.s);
    MUST(daemon_add(d, "blk:a,id=a,socket=../s/one", NULL));
    MUST(daemon_refuses(d, "s/one|in use", "device.add", ADD2, "blk:c,id=c", spec.s, CWD));
    CHECK(strcmp(error_member(d, "option"), "socket") == 0, "option \"%s\"",
          error_member(d, "option"));
    MUST(list_is(d, 1));
    MUST(daemon_remove(d, "a", NULL));
    MUST(daemon_refuses(d, "in use", "device.add", ADD2, "blk:a,socket=../s/x",
                        "blk:b,socket=../s/x", CWD));
    MUST(unchanged(d, &s, "after the refusals"));
    snapshot_free(&s);
}

static void socket_too_long(struct daemon *d)
{
    struct snapshot s;
    char spec[256] = "blk:a,socket=../s/";
    size_t at = strlen(spec);
    memset(spec + at, 'x', 120);
    MUST(warm(d, &s));
    MUST(daemon_refuses(d, "xxxx|the limit is", "device.add", ADD, spec, CWD));
    MUST(unchanged(d, &s, "after the refusal"));
    snapshot_free(&s);
}

static void socket_directory_missing(struct daemon *d)
{
    struct snapshot s;
    MUST(warm(d, &s));
    MUST(daemon_refuses(d, "s/none", "device.add", ADD2, "blk:a", "blk:b,socket=../s/none/x", CWD));
    MUST(unchanged(d, &s, "after a missing directory"));
    snapshot_free(&s);
}

/* Runs as an unprivileged user. */
static void socket_directory_not_writable(struct daemon *d)
{
    struct snapshot s;
    MUST(mkdir(in_dir(d, "closed").s, 0555) == 0 && warm(d, &s));
    MUST(daemon_refuses(d, "closed|not writable", "device.add", ADD2, "blk:a",
                        "blk:b,socket=../closed/x", CWD));
    MUST(unchanged(d, &s, "after the refusal"));
    snapshot_free(&s);
}

static void something_else_there(struct daemon *d)
{
    struct snapshot s;
    MUST(daemon_image(d, "file", 512) && warm(d, &s));
    MUST(daemon_refuses(d, "i/file|not a socket", "device.add", ADD, "blk:a,socket=file", CWD));
    MUST(unchanged(d, &s, "after the refusal"));
    CHECK(access(in_dir(d, "i/file").s, F_OK) == 0, "the file that was in the way is gone");
    snapshot_free(&s);
}

static void relative_paths(struct daemon *d)
{
    MUST(images(d) && mkdir(in_dir(d, "i/sub").s, 0755) == 0);
    MUST(daemon_add(d, "blk:sub/../a,id=a,socket=../s/own.sock", NULL));
    CHECK(access(in_dir(d, "s/own.sock").s, F_OK) == 0, "the socket is not where it should be");
    MUST(daemon_refuses(d, "relative", "device.add", "{s:[s]}", "devices", "blk:b"));
    MUST(list_is(d, 1));
}

/* ---- remove ---------------------------------------------------------------------------------- */

static void remove_unknown(struct daemon *d)
{
    MUST(images(d) && daemon_add(d, "blk:a,id=a", "blk:b,id=b", NULL));
    MUST(daemon_refuses(d, "nobody", "device.remove", "{s:[s]}", "ids", "nobody"));
    MUST(daemon_refuses(d, "nobody", "device.remove", "{s:[s,s,s]}", "ids", "a", "b", "nobody"));
    MUST(daemon_refuses(d, "a", "device.remove", "{s:[s,s]}", "ids", "a", "a"));
    MUST(list_is(d, 2) && disk_open(&disk, d, "a", NULL) && disk_works(&disk, 1));
    blkdev_close(&disk);
    MUST(daemon_device_becomes(d, "a", "connected", false));
    json_t *r = daemon_call(d, "device.remove", "{s:[s,s]}", "ids", "a", "b");
    CHECK(r, "the removal of two is refused: %s", error_text(d));
    json_decref(r);
    MUST(list_is(d, 0));
}

static void remove_in_use(struct daemon *d)
{
    static struct traffic traffic;
    struct snapshot s;
    MUST(warm(d, &s));
    for (int i = 0; i < 10 && !row_failed(); i++) {
        MUST(daemon_add(d, "blk:a,id=a", "blk:b,id=b", NULL) && disk_open(&disk, d, "a", NULL));
        MUST(traffic_start(&traffic, &disk));
        MUST(traffic_flows(&traffic, 100));
        MUST(daemon_refuses(d, "a|in use", "device.remove", "{s:[s,s]}", "ids", "b", "a"));
        MUST(list_is(d, 2) && traffic_flows(&traffic, 100)); /* nothing happened */
        MUST(daemon_remove(d, "a", "b", NULL));
        MUST(disk_hung_up(&disk, "after a forced removal"));
        MUST(traffic_stop(&traffic));
        CHECK(traffic.half == 0, "%u of %u requests were left half done", traffic.half,
              traffic.left);
        blkdev_close(&disk);
    }
    MUST(unchanged(d, &s, "after ten forced removals"));
    snapshot_free(&s);
}

/* ---- looking --------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void list_and_show(struct daemon *d)
{
    MUST(images(d) && daemon_add(d, "blk:a,id=a,queues=2,serial=S1", "blk:b", NULL));
    json_t *dev = daemon_device(d, "a"), *second = daemon_device(d, "blk0");
    CHECK(dev && strcmp(text_of(dev, "plugin"), "blk") == 0 &&
          strcmp(text_of(dev, "state"), "published") == 0 &&
          strcmp(text_of(dev, "socket"), socket_of(d, "a").s) == 0 &&
          json_is_false(json_object_get(dev, "connected")), "device a is listed wrongly");
    CHECK(second, "a device without id is not called blk0");
    json_decref(dev);
    json_decref(second);
    MUST(disk_open(&disk, d, "a", NULL));
    json_t *show = daemon_call(d, "device.show", "{s:s}", "id", "a");
    json_t *options = json_object_get(show, "options");
    CHECK(json_is_true(json_object_get(show, "connected")), "show does not know of the front-end");
    CHECK(strcmp(text_of(options, "path"), in_dir(d, "i/a").s) == 0, "path is %s",
          text_of(options, "path"));
    CHECK(strcmp(text_of(options, "serial"), "S1") == 0 &&
          json_integer_value(json_object_get(options, "queues")) == 2, "options are wrong");
    CHECK(json_array_size(json_object_get(show, "queues")) == 2, "there are not two queues");
    char *all = json_dumps(show, 0);
    CHECK(has_text(all, "-chardev socket,id=a") && has_text(all, "virtio_uml.device="),
          "no hints for QEMU and UML: %s", all);
    free(all);
    json_decref(show);
    blkdev_close(&disk);
    MUST(daemon_refuses(d, "nobody", "device.show", "{s:s}", "id", "nobody"));
}

static void stats(struct daemon *d)
{
    MUST(images(d) && daemon_add(d, "blk:a,id=a", "blk:b,id=b", NULL));
    MUST(disk_open(&disk, d, "a", NULL) && disk_works(&disk, 1) && disk_works(&disk, 2));
    json_t *r = daemon_call(d, "stats", "{s:[s]}", "ids", "a");
    json_t *device = json_array_get(json_object_get(r, "devices"), 0);
    json_t *queue = json_array_get(json_object_get(device, "queues"), 0);
    json_t *counters = json_object_get(device, "counters");
    char *text = json_dumps(r, 0);
    CHECK(json_array_size(json_object_get(r, "devices")) == 1 &&
          json_integer_value(json_object_get(queue, "chains")) == 4 &&
          json_integer_value(json_object_get(queue, "errors")) == 0 &&
          json_integer_value(json_object_get(counters, "reads")) == 2 &&
          json_integer_value(json_object_get(counters, "written-bytes")) == 8192 &&
          json_integer_value(json_object_get(queue, "bytes_in")) > 8192 &&
          json_integer_value(json_object_get(queue, "bytes_out")) > 8192 &&
          json_integer_value(json_object_get(queue, "interrupts")) > 0, "stats: %s",
          text ? text : "none");
    free(text);
    json_decref(r);
    blkdev_close(&disk);
    r = daemon_call(d, "stats", NULL);
    CHECK(json_array_size(json_object_get(r, "devices")) == 2, "stats does not show all");
    json_decref(r);
    MUST(daemon_refuses(d, "nobody", "stats", "{s:[s]}", "ids", "nobody"));
}

static void plugins(struct daemon *d)
{
    static struct output o;
    json_t *r = daemon_call(d, "plugin.list", NULL);
    char *text = json_dumps(r, 0);
    CHECK(text && has_text(text, "\"name\": \"blk\"") && has_text(text, "\"virtio_id\": 2") &&
          has_text(text, "queue-size") && has_text(text, "resize") && has_text(text, "default"),
          "plugin.list: %s", text ? text : "no answer");
    free(text);
    json_decref(r);
    MUST(ctl(&o, d, "plugins", "blk", NULL));
    CHECK(o.code == 0 && has_text(o.out, "queue-size") && has_text(o.out, "resize") &&
          has_text(o.out, "1 to"), "ctl plugins blk: %s%s", o.out, o.err);
    MUST(daemon_refuses(d, "nosuch", "plugin.list", "{s:s}", "name", "nosuch"));
}

/* ---- events ---------------------------------------------------------------------------------- */

static bool event_is(struct client *c, const char *event, const char *device, json_int_t *seq)
{
    json_t *e = client_event(c, CLIENT_TIMEOUT_MS);
    json_int_t its = json_integer_value(json_object_get(e, "seq"));
    bool right = strcmp(text_of(e, "event"), event) == 0 &&
                 strcmp(text_of(e, "device"), device) == 0;
    char *text = e ? json_dumps(e, 0) : NULL;
    if (!right)
        row_fail("event %s of %s was expected, not %s", event, device, text ? text : "none");
    else if (its != *seq + 1)
        right = row_fail("after event %lld came %s", (long long)*seq, text);
    *seq = its;
    free(text);
    json_decref(e);
    return right;
}

static void events(struct daemon *d)
{
    struct client c;
    MUST(images(d));
    CHECK(client_open(&c, d->control) == 0, "a second client cannot connect");
    json_t *r = client_wait(&c, client_send(&c, "events.subscribe", json_object()), 5000);
    json_int_t seq = json_integer_value(json_object_get(json_object_get(r, "result"), "seq"));
    CHECK(r && json_object_get(r, "result"), "events.subscribe is refused");
    json_decref(r);
    MUST(daemon_add(d, "blk:a,id=a", "blk:b,id=b", NULL));
    MUST(event_is(&c, "device.published", "a", &seq));
    MUST(event_is(&c, "device.published", "b", &seq));
    MUST(disk_open(&disk, d, "a", NULL) && event_is(&c, "device.connected", "a", &seq));
    disk.ring[0].avail->ring[0] = 5000; /* no such descriptor */
    __atomic_store_n(&disk.ring[0].avail->idx, 1, __ATOMIC_RELEASE);
    disk.ring[0].kick(disk.ring[0].kick_arg);
    MUST(event_is(&c, "device.broken", "a", &seq));
    blkdev_close(&disk);
    MUST(event_is(&c, "device.disconnected", "a", &seq));
    MUST(daemon_remove(d, "a", NULL) && event_is(&c, "device.removed", "a", &seq));
    r = daemon_call(d, "device.list", NULL);
    CHECK(json_integer_value(json_object_get(r, "seq")) == seq, "the list has another seq");
    json_decref(r);
    client_close(&c);
}

int main(int argc, char **argv)
{
    static const struct daemon_options nobody = {.nobody = true};
    static const struct row rows[] = {
        {"third-image-missing", third_image_missing, NULL, NULL},
        {"the-same-by-ctl", the_same_by_ctl, NULL, NULL},
        {"duplicate-ids", duplicate_ids, NULL, NULL},
        {"image-twice", image_twice, NULL, NULL},
        {"socket-in-use", socket_in_use, NULL, NULL},
        {"socket-too-long", socket_too_long, NULL, NULL},
        {"socket-directory-missing", socket_directory_missing, NULL, NULL},
        {"socket-directory-not-writable", socket_directory_not_writable, &nobody, NULL},
        {"something-else-there", something_else_there, NULL, NULL},
        {"relative-paths", relative_paths, NULL, NULL},
        {"remove-unknown", remove_unknown, NULL, NULL},
        {"remove-in-use", remove_in_use, NULL, NULL},
        {"list-and-show", list_and_show, NULL, NULL},
        {"stats", stats, NULL, NULL},
        {"plugins", plugins, NULL, NULL},
        {"events", events, NULL, NULL},
    };
    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
