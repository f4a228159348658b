/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * misbehave.c - flow test: a plugin crashes, does not return, or does not finish its chains. The
 * operator learns who it was, and whatever can go on does.
 */
#include "clock.h"
#include "disk.h"
#include "report.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STUCK_SECONDS 1 /* as in `limits` */
#define ENDS_MS 40000   /* twelve times that, and time to spare */
#define EVENT_MS 20000
#define ADD "{s:[s], s:s}", "devices"
#define CWD "cwd", in_dir(d, "i").s

static struct blkdev disk, rogue;
static struct client follower, asker;
static struct traffic traffic;
static json_t *past; /* events that came and were not asked for yet */

/* ---- what the operator sees ------------------------------------------------------------------ */

static bool all_in(const char *text, const char *parts)
{
    char all[512], *save = NULL;
    snprintf(all, sizeof(all), "%s", parts);
    for (char *p = strtok_r(all, "|", &save); p; p = strtok_r(NULL, "|", &save))
        if (!has_text(text, p))
            return false;
    return true;
}

/* Does one line of the log have all the parts? */
static bool in_log(const struct daemon *d, const char *parts, bool show)
{
    char line[2048];
    bool found = false;
    FILE *log = fopen(in_dir(d, "log").s, "re");
    while (log && !found && fgets(line, sizeof(line), log))
        found = all_in(line, parts);
    if (log)
        fclose(log);
    if (found && show) {
        line[strcspn(line, "\n")] = '\0';
        row_note("%s", line);
    }
    return found;
}

static bool log_says(const struct daemon *d, const char *parts)
{
    uint64_t deadline = clock_deadline(EVENT_MS);
    while (!in_log(d, parts, true)) {
        if (clock_left_ms(deadline) == 0)
            return row_fail("no line of the log has \"%s\"", parts);
        poll(NULL, 0, 5);
    }
    return true;
}

static bool follow(struct daemon *d)
{
    if (client_open(&follower, d->control) < 0)
        return row_fail("a follower of events cannot connect");
    json_t *answer = client_wait(&follower, client_send(&follower, "events.subscribe", NULL),
                                 EVENT_MS);
    bool fine = json_object_get(answer, "result");
    json_decref(past);
    past = json_array();
    json_decref(answer);
    return fine || row_fail("events.subscribe was not answered");
}

static bool is_event(const json_t *event, const char *name, const char *device, const char *parts)
{
    const char *its = json_string_value(json_object_get(event, "event"));
    const char *of = json_string_value(json_object_get(event, "device"));
    const char *reason = json_string_value(json_object_get(event, "reason"));
    if (!its || !of || strcmp(its, name) != 0 || strcmp(of, device) != 0)
        return false;
    row_note("event %s %s: %s", its, of, reason ? reason : "");
    return !parts[0] || (reason && all_in(reason, parts));
}

/* Waits for an event of the device whose reason has the parts; it may have come before others. */
static bool event_comes(const char *name, const char *device, const char *parts)
{
    uint64_t deadline = clock_deadline(EVENT_MS);
    json_t *event;
    size_t i;
    json_array_foreach(past, i, event)
        if (is_event(event, name, device, parts))
            return json_array_remove(past, i) == 0;
    while ((event = client_event(&follower, clock_left_ms(deadline)))) {
        if (is_event(event, name, device, parts)) {
            json_decref(event);
            return true;
        }
        json_array_append_new(past, event);
    }
    return row_fail("no event %s of %s with \"%s\" came", name, device, parts);
}

static bool list_says(const struct daemon *d, const char *parts)
{
    static struct output o;
    if (!ctl(&o, d, "list", NULL))
        return false;
    row_note("list: %s", o.out);
    return all_in(o.out, parts) || row_fail("list does not have \"%s\": %s", parts, o.out);
}

/* A call that nobody waits for. */
static bool ask(struct daemon *d, const char *method, json_t *params)
{
    bool open = asker.fd > 0 || client_open(&asker, d->control) == 0;
    return (open && client_send(&asker, method, params) > 0) ||
           row_fail("%s cannot be sent", method);
}

static json_t *device_spec(const struct daemon *d, const char *spec)
{
    return json_pack("{s:[s], s:s}", "devices", spec, CWD);
}

static json_t *command(const char *id, const char *name)
{
    return json_pack("{s:s, s:s}", "id", id, "command", name);
}

/* Sends `n` requests to the rogue and does not wait for them. */
static bool send_requests(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct blk_request *req = blk_take(&rogue.queue[0]);
        req->type = VIRTIO_BLK_T_FLUSH;
        req->len = 0;
        if (blk_queue_add(&rogue.queue[0], req) < 0)
            return row_fail("no room for a request");
    }
    return ring_submit(rogue.queue[0].ring) == 0 || row_fail("the ring is broken");
}

static void close_disk(struct blkdev *dev)
{
    if (dev->queue[0].ring) /* it was opened */
        blkdev_close(dev);
    memset(dev, 0, sizeof(*dev));
}

static void close_client(struct client *c)
{
    if (c->fd > 0)
        client_close(c);
    memset(c, 0, sizeof(*c));
}

/* Also at the begin of a row: the one before may have ended early. */
static void close_all(void)
{
    close_client(&follower);
    close_client(&asker);
    close_disk(&rogue);
    close_disk(&disk);
}

static bool disk_starts(struct daemon *d)
{
    return daemon_image(d, "a", 4 << 20) && daemon_add(d, "blk:a,id=a", NULL) &&
           disk_open(&disk, d, "a", NULL) && traffic_start(&traffic, &disk) &&
           traffic_flows(&traffic, 100);
}

/* ---- crashes --------------------------------------------------------------------------------- */

struct crash {
    const char *in, *how;
    int signal; /* 0: it exits */
    const char *says;
};

static bool sanitized(void)
{
    const char *sanitize = getenv("HVV_SANITIZE");
    return sanitize && sanitize[0];
}

/* Gets the plugin called where it crashes. */
static bool provoke(struct daemon *d, const struct crash *c)
{
    char spec[128];
    snprintf(spec, sizeof(spec), "rogue:in=%s,how=%s,id=foo", c->in, c->how);
    if (strcmp(c->in, "notify") != 0 && strcmp(c->in, "command") != 0 &&
        strcmp(c->in, "destroy") != 0)
        return ask(d, "device.add", device_spec(d, spec));
    if (!daemon_add(d, spec, NULL))
        return false;
    if (strcmp(c->in, "command") == 0)
        return ask(d, "device.command", command("foo", "misbehave"));
    if (strcmp(c->in, "destroy") == 0)
        return ask(d, "device.remove", json_pack("{s:[s]}", "ids", "foo"));
    return disk_open(&rogue, d, "foo", NULL) && send_requests(1);
}

static void crash(struct daemon *d)
{
    const struct crash *c = d->arg;
    close_all();
    MUST(disk_starts(d) && provoke(d, c));
    int code = daemon_wait(d, DAEMON_TIMEOUT_MS);
    int want = c->signal ? 128 + c->signal : 0;
    /* A sanitizer's handler comes next; it reports, and exits with its own code. */
    CHECK(code == want || (sanitized() && code > 0), "the daemon ended with %d, not %d", code,
          want);
    MUST(log_says(d, c->says));
    MUST(traffic_stop(&traffic)); /* its front-end has been hung up on */
    /* What it left does not keep the next one from starting. */
    close_all();
    MUST(daemon_start(d) && daemon_add(d, "blk:a,id=a", "blk:backend=null,id=foo", NULL) &&
         disk_open(&disk, d, "a", NULL) && disk_works(&disk, 1));
    close_all();
}

/* Somebody's kill is nobody's fault here. */
static void killed(struct daemon *d)
{
    char by[64];
    close_all();
    snprintf(by, sizeof(by), "fatal: signal 11 SIGSEGV sent by process %d", (int)getpid());
    MUST(ask(d, "device.add", device_spec(d, "rogue:in=create,how=hang,id=foo")));
    MUST(log_says(d, "has not returned"));
    kill(d->pid, SIGSEGV);
    int code = daemon_wait(d, DAEMON_TIMEOUT_MS);
    CHECK(code == 128 + SIGSEGV || (sanitized() && code > 0), "it ended with %d", code);
    MUST(log_says(d, by));
    CHECK(!in_log(d, "fatal|foo", false), "the plugin is blamed for a signal from elsewhere");
    close_all();
}

/* What it says before there is a device comes to nothing, whatever becomes of the device. */
static void early(struct daemon *d)
{
    close_all();
    for (int i = 0; i < 50; i++)
        MUST(daemon_refuses(d, "it was told to fail", "device.add", "{s:[s]}", "devices",
                            "rogue:in=create,how=early,id=foo"));
    MUST(log_says(d, "foo: |plugin rogue posted a task before publish(): it is not run"));
    MUST(disk_starts(d) && traffic_stop(&traffic));
    close_all();
}

/* ---- callbacks that do not return ------------------------------------------------------------ */

/* Ends it with two signals, for it cannot end otherwise. */
static bool ends_at_second_signal(struct daemon *d, const char *culprit)
{
    kill(d->pid, SIGTERM);
    if (!log_says(d, "still shutting down; it ends at a second signal"))
        return false;
    if (!daemon_alive(d))
        return row_fail("it did not wait for the second signal");
    kill(d->pid, SIGTERM);
    int code = daemon_wait(d, DAEMON_TIMEOUT_MS);
    if (code != 1)
        return row_fail("it ended with %d, not 1", code);
    return log_says(d, culprit) && log_says(d, "second signal 15: ending without draining");
}

static bool builder_is_stuck(struct daemon *d)
{
    static struct output o;
    static const char *const what = "create() of plugin rogue 1.0 (|p/rogue.so) has not returned";
    bool fine = follow(d) && ask(d, "device.add",
                                 device_spec(d, "rogue:in=create,how=hang,id=foo")) &&
                event_comes("device.stuck", "foo", what) && log_says(d, "foo: |thread builder") &&
                list_says(d, "foo is stuck: |create() of plugin rogue 1.0 |thread builder");
    if (!fine || !ctl(&o, d, "add", "blk:a,id=c", NULL))
        return false;
    row_note("add: %s", o.err);
    return (o.code == 1 && all_in(o.err, "the builder is busy: device foo: create() of plugin "
                                  "rogue 1.0 (|has not returned for")) ||
           row_fail("a second add ended with %d: %s", o.code, o.err);
}

/* What goes on with a lost builder: I/O, looking, and taking devices from guests. */
static bool others_go_on(struct daemon *d)
{
    static struct output o;
    if (!traffic_flows(&traffic, 200) || daemon_count(d) != 2)
        return row_fail("others do not go on");
    if (!ctl(&o, d, "remove", "b", NULL))
        return false;
    row_note("remove: %s%s", o.out, o.err);
    return (o.code == 0 && strcmp(o.out, "removed b\n") == 0 &&
            all_in(o.err, "still to be destroyed: the builder is busy: device foo: create()")) ||
           row_fail("remove ended with %d: %s%s", o.code, o.out, o.err);
}

static void hang_create(struct daemon *d)
{
    close_all();
    MUST(disk_starts(d) && daemon_add(d, "blk:backend=null,id=b", NULL));
    MUST(builder_is_stuck(d) && others_go_on(d) && traffic_stop(&traffic));
    MUST(ends_at_second_signal(d, "foo: left behind: create() of plugin rogue 1.0 (|"
                                  "has not returned for"));
    close_all();
}

/* The one who waits is told why, and may leave. */
static void hang_waits(struct daemon *d)
{
    static struct output o;
    struct text program = built("hvisor-vhost-ctl");
    const char *argv[] = {"/usr/bin/timeout", "-s", "INT", "6", program.s, "--control", d->control,
                          "add", "rogue:in=create,how=hang,id=foo", NULL};
    close_all();
    MUST(run(&o, in_dir(d, "i").s, argv, DAEMON_TIMEOUT_MS, false));
    row_note("add: %s", o.err);
    CHECK(all_in(o.err, "still waiting; stuck in the daemon: foo: create() of plugin rogue 1.0 (|"
                        "has not returned for"),
          "add says \"%s\"", o.err);
    MUST(daemon_count(d) == 0 && daemon_add(d, "blk:backend=null,id=b", NULL) == false);
    char reason[512];
    CHECK(row_forgive(reason, sizeof(reason)), "an add worked beside it");
    /* One signal is enough, it takes longer only. */
    kill(d->pid, SIGTERM);
    int code = daemon_wait(d, ENDS_MS);
    CHECK(code == 1, "it ended with %d, not 1", code);
    MUST(log_says(d, "not ended within 12 s: ending without draining"));
    close_all();
}

/* It returns after all: everything that waited is done. */
static void hang_returns(struct daemon *d)
{
    close_all();
    MUST(daemon_add(d, "blk:backend=null,id=b", NULL) && follow(d));
    MUST(ask(d, "device.add", device_spec(d, "rogue:in=create,how=hang,seconds=4,id=foo")));
    MUST(event_comes("device.stuck", "foo", "create()"));
    json_t *r = daemon_call(d, "device.remove", "{s:[s]}", "ids", "b");
    const char *late = json_string_value(json_object_get(r, "late"));
    CHECK(r && late && has_text(late, "the builder is busy"), "the removal was not answered early");
    json_decref(r);
    MUST(event_comes("device.unstuck", "foo", "create() of plugin rogue|returned after"));
    MUST(event_comes("device.removed", "b", ""));
    r = client_wait(&asker, asker.calls, EVENT_MS);
    CHECK(json_object_get(r, "result"), "the slow add failed");
    json_decref(r);
    MUST(daemon_add(d, "blk:backend=null,id=b", NULL));
    MUST(daemon_count(d) == 2 && list_says(d, "foo"));
    close_all();
}

/* Below the limit, which is 5 s here, nobody is told. */
static void hang_short(struct daemon *d)
{
    close_all();
    MUST(daemon_add(d, "rogue:in=create,how=hang,seconds=3,id=foo", NULL));
    CHECK(!in_log(d, "has not returned", true), "it was told too early");
    MUST(daemon_add(d, "blk:backend=null,id=b", NULL));
}

/* The device that cannot be destroyed is out of service itself. */
static void hang_destroy(struct daemon *d)
{
    static struct output o;
    close_all();
    MUST(disk_starts(d) && daemon_add(d, "rogue:in=destroy,how=hang,id=foo", NULL));
    MUST(ctl(&o, d, "remove", "foo", NULL));
    row_note("remove: %s%s", o.out, o.err);
    CHECK(o.code == 0 && strcmp(o.out, "removed foo\n") == 0 &&
          all_in(o.err, "still to be destroyed: the builder is busy: device foo: destroy() of "
                        "plugin rogue 1.0 ("), "remove ended with %d: %s%s", o.code, o.out, o.err);
    MUST(daemon_count(d) == 1 && traffic_flows(&traffic, 200) && traffic_stop(&traffic));
    MUST(ends_at_second_signal(d, "foo: left behind: destroy() of plugin rogue 1.0 ("));
    close_all();
}

/* A worker is lost; the other one serves. */
static void hang_worker(struct daemon *d)
{
    const struct crash *c = d->arg;
    char spec[128], what[128];
    close_all();
    snprintf(spec, sizeof(spec), "rogue:in=%s,how=hang,id=foo", c->in);
    snprintf(what, sizeof(what), "%s of plugin rogue 1.0 (|has not returned for|thread worker-1",
             c->says);
    MUST(disk_starts(d) && follow(d));
    if (strcmp(c->in, "notify") == 0 || strcmp(c->in, "command") == 0) {
        MUST(daemon_add(d, spec, NULL));
        if (strcmp(c->in, "notify") == 0)
            MUST(disk_open(&rogue, d, "foo", NULL) && send_requests(1));
        else
            MUST(ask(d, "device.command", command("foo", "misbehave")));
    } else {
        MUST(ask(d, "device.add", device_spec(d, spec)));
    }
    MUST(event_comes("device.stuck", "foo", what) && log_says(d, what) && list_says(d, what));
    MUST(traffic_flows(&traffic, 200) && traffic_stop(&traffic));
    snprintf(what, sizeof(what), "foo: left behind: %s of plugin rogue 1.0 (", c->says);
    MUST(ends_at_second_signal(d, what));
    close_all();
}

/* With one worker all devices wait; that is said as well. */
static void hang_only_worker(struct daemon *d)
{
    close_all();
    MUST(disk_starts(d) && follow(d));
    MUST(daemon_add(d, "rogue:in=notify,how=hang,seconds=3,id=foo", NULL));
    MUST(disk_open(&rogue, d, "foo", NULL) && send_requests(1));
    MUST(event_comes("device.stuck", "foo", "notify() of plugin rogue|thread worker-0"));
    MUST(log_says(d, "until it does, all devices of this thread stand still"));
    uint64_t before = atomic_load(&traffic.done);
    MUST(daemon_count(d) == 2);
    MUST(event_comes("device.unstuck", "foo", "notify() of plugin rogue|returned after"));
    MUST(traffic_flows(&traffic, 100) && traffic_stop(&traffic));
    CHECK(traffic.longest_ns > 2000000000ull, "the worker was not lost: longest gap %llu ms, %llu "
          "requests", (unsigned long long)traffic.longest_ns / 1000000,
          (unsigned long long)before);
    close_all();
}

/* ---- chains that are never finished ---------------------------------------------------------- */

static long held(struct daemon *d, const char *id)
{
    json_t *r = daemon_call(d, "stats", "{s:[s]}", "ids", id);
    json_t *device = json_array_get(json_object_get(r, "devices"), 0);
    json_t *q = json_array_get(json_object_get(device, "queues"), 0);
    long n = (long)json_integer_value(json_object_get(q, "held"));
    json_decref(r);
    return n;
}

static bool held_becomes(struct daemon *d, const char *id, long want)
{
    uint64_t deadline = clock_deadline(EVENT_MS);
    while (held(d, id) != want) {
        if (clock_left_ms(deadline) == 0)
            return row_fail("%s holds %ld chains, not %ld", id, held(d, id), want);
        poll(NULL, 0, 5);
    }
    return true;
}

static bool leaks(struct daemon *d)
{
    return disk_starts(d) && follow(d) && daemon_add(d, "rogue:leak=3,id=foo", NULL) &&
           disk_open(&rogue, d, "foo", NULL) && send_requests(5) && held_becomes(d, "foo", 3);
}

/* A driver's reset waits for them, and works once they are finished. */
static void leak_reset(struct daemon *d)
{
    static struct output o;
    uint32_t base;
    close_all();
    MUST(leaks(d) && ctl(&o, d, "stats", "foo", NULL));
    row_note("stats: %s", o.out);
    CHECK(has_text(o.out, "HELD"), "stats has no column for held chains");
    rogue.fe.timeout_ms = 100;
    CHECK(fe_vring_get_base(&rogue.fe, 0, &base) == -ETIMEDOUT, "the queue stopped");
    MUST(event_comes("device.stuck", "foo", "plugin rogue 1.0 holds 3 chains of queue 0"));
    MUST(list_says(d, "foo is stuck: |plugin rogue 1.0 holds 3 chains of queue 0") &&
         traffic_flows(&traffic, 200));
    json_t *r = daemon_vcall(d, "device.command", command("foo", "finish"));
    CHECK(r, "finish: %s", error_text(d));
    json_decref(r);
    MUST(event_comes("device.unstuck", "foo", "its queues have stopped"));
    MUST(held_becomes(d, "foo", 0));
    close_disk(&rogue);
    MUST(disk_open(&rogue, d, "foo", NULL));
    CHECK(blk_flush(&rogue.queue[0]) == 0, "the device does not work after the reset");
    MUST(traffic_stop(&traffic));
    close_all();
}

/* A removal waits too, forced or not, and says for whom; nothing else does. */
static void leak_remove(struct daemon *d)
{
    static struct output o;
    struct text program = built("hvisor-vhost-ctl");
    const char *argv[] = {"/usr/bin/timeout", "-s", "INT", "6", program.s, "--control", d->control,
                          "remove", "--force", "foo", NULL};
    close_all();
    MUST(leaks(d));
    MUST(daemon_refuses(d, "in use by a driver", "device.remove", "{s:[s]}", "ids", "foo"));
    MUST(run(&o, NULL, argv, DAEMON_TIMEOUT_MS, false));
    row_note("remove --force: %s", o.err);
    CHECK(all_in(o.err, "still waiting; stuck in the daemon: foo: |"
                        "plugin rogue 1.0 holds 3 chains of queue 0"),
          "remove --force says \"%s\"", o.err);
    MUST(list_says(d, "quiescing|foo is stuck: "));
    MUST(traffic_flows(&traffic, 200) && daemon_add(d, "blk:backend=null,id=b", NULL) &&
         daemon_remove(d, "b", NULL) && traffic_stop(&traffic));
    MUST(ends_at_second_signal(d, "foo: left behind: plugin rogue 1.0 (|"
                                  "has not finished 3 chains of queue 0"));
    close_all();
}

static void leak_sigterm(struct daemon *d)
{
    close_all();
    MUST(leaks(d) && traffic_stop(&traffic));
    kill(d->pid, SIGTERM);
    int code = daemon_wait(d, ENDS_MS);
    CHECK(code == 1, "it ended with %d, not 1", code);
    MUST(log_says(d, "foo: left behind: plugin rogue 1.0 (|has not finished 3 chains of queue 0"));
    MUST(log_says(d, "not ended within 12 s: ending without draining"));
    close_all();
}

/* ---- nobody looks when there is nothing to look at ------------------------------------------- */

/* How often threads of the daemon went to sleep so far. */
static long wake_ups(const struct daemon *d)
{
    char path[64], line[128];
    long sum = 0, n;
    struct dirent *e;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)d->pid);
    DIR *dir = opendir(path);
    while (dir && (e = readdir(dir))) {
        snprintf(path, sizeof(path), "/proc/%d/task/%.16s/status", (int)d->pid, e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
        while (f && fgets(line, sizeof(line), f))
            if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1)
                sum += n;
        if (f)
            fclose(f);
    }
    if (dir)
        closedir(dir);
    return sum;
}

static void idle(struct daemon *d)
{
    uint64_t deadline = clock_deadline(EVENT_MS);
    long before, after;
    close_all();
    if (sanitized() && has_text(getenv("HVV_SANITIZE"), "thread")) {
        row_skip("the thread sanitizer has a thread that wakes up by itself");
        return;
    }
    MUST(disk_starts(d) && traffic_stop(&traffic));
    do { /* until nothing happens for three looks and more */
        before = wake_ups(d);
        poll(NULL, 0, STUCK_SECONDS * 1000);
        after = wake_ups(d);
    } while (before != after && clock_left_ms(deadline) > 0);
    CHECK(before == after, "the idle daemon woke up %ld times in a second", after - before);
    /* And somebody does look again when there is. */
    MUST(follow(d) && ask(d, "device.add", device_spec(d, "rogue:in=create,how=hang,id=foo")));
    MUST(event_comes("device.stuck", "foo", "create() of plugin rogue"));
    MUST(ends_at_second_signal(d, "foo: left behind: create() of plugin rogue 1.0 ("));
    close_all();
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"rogue.so", NULL};
    static const char *const words[] = {"--stuck-seconds", "1", "--workers", "2", NULL};
    static const char *const one[] = {"--stuck-seconds", "1", "--workers", "1", NULL};
    static const struct daemon_options limits = {.plugins = names, .args = words};
    static const struct daemon_options plain = {.plugins = names};
    static const struct daemon_options single = {.plugins = names, .args = one};
#define SAYS(WHAT, WHERE)                                                                          \
    "fatal: signal |" WHAT "| in " WHERE " of device foo, plugin rogue 1.0 (|p/rogue.so): the "    \
    "daemon ends"
    static const struct crash create_segv = {"create", "segv", SIGSEGV,
                                             SAYS("SIGSEGV (address 0x10)", "create()")};
    static const struct crash create_abort = {"create", "abort", SIGABRT,
                                              SAYS("SIGABRT", "create()")};
    static const struct crash create_deep = {"create", "overflow", SIGSEGV,
                                             SAYS("SIGSEGV (stack overflow", "create()")};
    static const struct crash create_exit = {"create", "exit", 0,
                                             "fatal: the process was ended in create() of device "
                                             "foo, plugin rogue 1.0 ("};
    static const struct crash publish = {"publish", "segv", SIGSEGV, SAYS("SIGSEGV", "publish()")};
    static const struct crash notify_segv = {"notify", "segv", SIGSEGV,
                                             SAYS("SIGSEGV (address 0x10)", "notify()")};
    static const struct crash notify_abort = {"notify", "abort", SIGABRT,
                                              SAYS("SIGABRT", "notify()")};
    static const struct crash notify_bus = {"notify", "bus", SIGBUS,
                                            SAYS("SIGBUS (address 0x", "notify()")};
    static const struct crash notify_deep = {"notify", "overflow", SIGSEGV,
                                             SAYS("SIGSEGV (stack overflow", "notify()")};
    static const struct crash timer = {"timer", "segv", SIGSEGV, SAYS("SIGSEGV", "a timer")};
    static const struct crash task = {"task", "segv", SIGSEGV, SAYS("SIGSEGV", "a task")};
    static const struct crash in_command = {"command", "segv", SIGSEGV,
                                            SAYS("SIGSEGV", "command misbehave")};
    static const struct crash destroy_segv = {"destroy", "segv", SIGSEGV,
                                              SAYS("SIGSEGV", "destroy()")};
    static const struct crash thread = {"create", "thread", SIGSEGV,
                                        "fatal: signal 11 SIGSEGV (address 0x10) outside of all "
                                        "callbacks of plugins (thread |perhaps one of a "
                                        "plugin's own)"};
    static const struct crash hang_publish = {"publish", "hang", 0, "publish()"};
    static const struct crash hang_notify = {"notify", "hang", 0, "notify()"};
    static const struct crash hang_timer = {"timer", "hang", 0, "a timer"};
    static const struct crash hang_command = {"command", "hang", 0, "command misbehave"};
    static const struct row rows[] = {
        {"crash-create", crash, &limits, &create_segv},
        {"crash-create-abort", crash, &limits, &create_abort},
        {"crash-create-overflow", crash, &limits, &create_deep},
        {"crash-create-exit", crash, &limits, &create_exit},
        {"crash-publish", crash, &limits, &publish},
        {"crash-notify", crash, &limits, &notify_segv},
        {"crash-notify-abort", crash, &limits, &notify_abort},
        {"crash-notify-bus", crash, &limits, &notify_bus},
        {"crash-notify-overflow", crash, &limits, &notify_deep},
        {"crash-timer", crash, &limits, &timer},
        {"crash-task", crash, &limits, &task},
        {"crash-command", crash, &limits, &in_command},
        {"crash-destroy", crash, &limits, &destroy_segv},
        {"crash-thread", crash, &limits, &thread},
        {"killed", killed, &limits, NULL},
        {"early", early, &limits, NULL},
        {"hang-create", hang_create, &limits, NULL},
        {"hang-waits", hang_waits, &limits, NULL},
        {"hang-returns", hang_returns, &limits, NULL},
        {"hang-short", hang_short, &plain, NULL},
        {"hang-destroy", hang_destroy, &limits, NULL},
        {"hang-publish", hang_worker, &limits, &hang_publish},
        {"hang-notify", hang_worker, &limits, &hang_notify},
        {"hang-timer", hang_worker, &limits, &hang_timer},
        {"hang-command", hang_worker, &limits, &hang_command},
        {"hang-only-worker", hang_only_worker, &single, NULL},
        {"leak-reset", leak_reset, &limits, NULL},
        {"leak-remove", leak_remove, &limits, NULL},
        {"leak-sigterm", leak_sigterm, &limits, NULL},
        {"idle", idle, &limits, NULL},
    };
    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
