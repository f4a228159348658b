/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sweep.c - flow test: every fallible library call of a good add of three devices is made to fail,
 * one by one, by the shim in faults.c: of devices with sockets, of a zone with devices in it, of
 * consoles, and of network devices. GLib, which libslirp brings along, ends the process when it gets
 * no memory, also while it is loaded (hvv-net(7), CAVEATS): its calls are counted apart, and the
 * back-end `user` is not among the devices.
 *
 * Each point gets a fresh daemon, so that loading the plugin is among the points. Without --all a
 * choice of points is run that has at least the first, a middle and the last call of each function.
 */
#include "condev.h"
#include "disk.h"
#include "faults.h"
#include "net.h"
#include "netns.h"
#include "report.h"
#include "snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLACK_KIB 768u
#define IMAGE_BYTES (4 << 20)
#define FAILURES_MAX 25u
#define QUICK_POINTS 60u /* roughly, beside those that each function gets */

static struct faults *faults;
static const char *disks[3] = {"blk:a,id=one,queues=2,engine=uring",
                               "blk:b,id=two,engine=threads,direct",
                               "blk:backend=mem,size=4M,id=three"};
static const char *consoles[3] = {("console:pty,link=../s/one.tty,id=one,"
                                   "port=log:file:/proc/self/cwd/l"),
                                  "console:socket,path=../s/two.so,id=two",
                                  "console:file,path=../three.log,id=three"};
static const char *networks[3] = {"net:tap=hvt0,create,bridge=hvbr0,queues=2,id=one",
                                  "net:switch=lan,id=two",
                                  "net:socket,path=../two.so,peer=../peer.so,id=three"};
static const char **specs = disks;
static const char *const ids[3] = {"one", "two", "three"};
static bool in_zone; /* the request brings a zone, and the three are in its slots */

/* The good request, as it was in the daemon without a fault. */
static struct {
    uint32_t calls;
    uint32_t count[FAULTS_FUNCTIONS_MAX];
    uint8_t which[FAULTS_CALLS_MAX];
    struct snapshot after; /* when the three were removed again */
} good;

/* ---- the shim's memory ----------------------------------------------------------------------- */

static bool open_faults(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 || ftruncate(fd, sizeof(*faults)) < 0)
        return row_fail("%s: %s", path, strerror(errno));
    faults = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return faults != MAP_FAILED || row_fail("mmap: %s", strerror(errno));
}

static void arm(uint32_t k)
{
    atomic_store(&faults->calls, 0);
    atomic_store(&faults->failed, 0);
    atomic_store(&faults->fail_at, k);
    for (size_t i = 0; i < FAULTS_FUNCTIONS_MAX; i++)
        atomic_store(&faults->count[i], 0);
    faults->where[0] = '\0';
    atomic_store(&faults->armed, 1);
}

static void disarm(void)
{
    atomic_store(&faults->armed, 0);
}

/* ---- one request ----------------------------------------------------------------------------- */

static json_t *add_three(struct daemon *d)
{
    json_t *params = json_pack("{s:[s,s,s], s:s}", "devices", specs[0], specs[1], specs[2], "cwd",
                               in_dir(d, "i").s);
    if (in_zone)
        json_object_set_new(params, "zones", json_pack(
            "[{s:i, s:s, s:[{s:i,s:i,s:i},{s:i,s:i,s:i},{s:i,s:i,s:i}]}]", "id", 1, "platform",
            "trap", "slots", "addr", 0xa003000, "len", 0x200, "irq", 70, "addr", 0xa003200, "len",
            0x200, "irq", 71, "addr", 0xa003400, "len", 0x200, "irq", 72));
    return daemon_vcall(d, "device.add", params);
}

/* How many zones there are, -1 without an answer. */
static int zone_count(struct daemon *d)
{
    json_t *r = daemon_call(d, "zone.list", NULL);
    int n = r ? (int)json_array_size(json_object_get(r, "zones")) : -1;
    json_decref(r);
    return n;
}

/* No monitor is there, so that nobody can use them: they are where they should be. */
static bool three_are_in_slots(struct daemon *d)
{
    for (int i = 0; i < 3; i++) {
        json_t *device = daemon_device(d, ids[i]);
        const char *zone = json_string_value(json_object_get(device, "zone"));
        bool there = zone && strcmp(zone, "1") == 0;
        json_decref(device);
        if (!there)
            return row_fail("%s is not in zone 1", ids[i]);
    }
    return zone_count(d) == 1 || row_fail("there is not the one zone");
}

static bool three_consoles_work(struct daemon *d)
{
    static struct condev guest;
    for (int i = 0; i < 3; i++) {
        bool works = condev_open(&guest, d, ids[i], 2) && condev_send(&guest, 1, "hello", 5);
        condev_close(&guest);
        if (!works || !daemon_device_becomes(d, ids[i], "connected", false))
            return false;
    }
    return true;
}

/* A frame goes to each of them; none of them has anybody to give it to. */
static bool three_networks_work(struct daemon *d)
{
    static struct net_front guest;
    uint8_t frame[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2};
    for (int i = 0; i < 3; i++) {
        struct text path = socket_of(d, ids[i]);
        struct net_front_options options = {.path = path.s, .num = 64};
        bool works = net_front_open(&guest, &options) >= 0 &&
                     net_front_send(&guest, 0, NULL, frame, sizeof(frame)) >= 0 &&
                     net_front_drain(&guest, 0, DAEMON_TIMEOUT_MS) >= 0;
        if (!works)
            row_fail("a guest on %s: %s", ids[i], guest.fe.error);
        net_front_close(&guest);
        if (!works || !daemon_device_becomes(d, ids[i], "connected", false))
            return false;
    }
    return true;
}

static bool three_work(struct daemon *d)
{
    static struct blkdev disk;
    int n = daemon_count(d);
    if (n != 3)
        return row_fail("%d devices instead of three are listed", n);
    if (in_zone)
        return three_are_in_slots(d);
    if (specs == consoles)
        return three_consoles_work(d);
    if (specs == networks)
        return three_networks_work(d);
    for (int i = 0; i < 3; i++) {
        bool works = disk_open(&disk, d, ids[i], NULL) && disk_works(&disk, (uint64_t)i + 1);
        blkdev_close(&disk);
        if (!works || !daemon_device_becomes(d, ids[i], "connected", false))
            return false;
    }
    return true;
}

static bool remove_three(struct daemon *d)
{
    if (!daemon_remove(d, "one", "two", "three", NULL))
        return false;
    unlink(in_dir(d, "l").s); /* logs stay */
    unlink(in_dir(d, "three.log").s);
    json_t *r = in_zone ? daemon_call(d, "zone.remove", "{s:i}", "id", 1) : json_true();
    json_decref(r);
    return r || row_fail("the zone is not given up: %s", error_text(d));
}

/* Back to a list of nothing and the resources of before. */
static bool clean_again(struct daemon *d, const struct snapshot *before, const char *when)
{
    int n = daemon_count(d);
    if (n != 0)
        return row_fail("%s %d devices are listed", when, n);
    n = zone_count(d);
    if (n != 0)
        return row_fail("%s %d zones are listed", when, n);
    if (specs == networks && !netns_loses("hvt0"))
        return false;
    return snapshot_returns(d, before, good.after.n ? &good.after : NULL, SLACK_KIB, when);
}

static bool clean_add_works(struct daemon *d, const struct snapshot *before)
{
    json_t *r = add_three(d);
    json_decref(r);
    if (!r)
        return row_fail("a clean add afterwards: %s", d->error ? error_text(d) : "no answer");
    return three_work(d) && remove_three(d) &&
           clean_again(d, before, "after the clean add and removal");
}

/*
 * The daemon may have closed the connection, with the request under way, done or never read.
 * plugin.list goes through the builder too, and so is answered when the request is done.
 */
static bool wait_for_builder(struct daemon *d)
{
    client_close(&d->client);
    json_t *r = daemon_call(d, "plugin.list", NULL);
    json_decref(r);
    if (!r && !daemon_alive(d))
        return row_fail("the daemon died, exit %d", daemon_wait(d, 0));
    return r || row_fail("the daemon does not answer any more");
}

/* What a good answer says of each device is what people read and programs connect to. */
static bool answer_is_whole(const json_t *answer)
{
    const json_t *devices = json_object_get(answer, "devices");
    size_t n = json_array_size(devices);
    for (size_t i = 0; i < n; i++) {
        const json_t *device = json_array_get(devices, i);
        const char *id = json_string_value(json_object_get(device, "id"));
        if (!id || i >= 3 || strcmp(id, ids[i]) != 0 ||
            !json_object_get(device, in_zone ? "addr" : "socket"))
            n = 0;
    }
    return n == 3 || row_fail("the answer to the add does not name the three and where they are");
}

/*
 * Tolerated (then the three work), or refused with a text (then nothing is there). With the
 * connection gone, or "it was done, but" there was no memory to say more, the list tells.
 */
static bool outcome(struct daemon *d, const json_t *answer, const struct snapshot *before)
{
    bool refused = d->error && !has_text(error_text(d), "it was done");
    if (d->error && !error_text(d)[0])
        return row_fail("the refusal has no text");
    if ((answer && !answer_is_whole(answer)) || !wait_for_builder(d))
        return false;
    bool accepted = answer || (!refused && daemon_count(d) > 0);
    if (accepted && (!three_work(d) || !remove_three(d)))
        return false;
    return clean_again(d, before, accepted ? "after a tolerated fault and the removal"
                                           : "after the refusal");
}

/* ---- one point ------------------------------------------------------------------------------- */

/* UNSAID: done, or not read, and the client was told neither. */
enum result { REFUSED, TOLERATED, UNSAID, NOT_REACHED, BROKEN, GLIB, RESULTS };

/* What the request came to, before the checks forget it. */
static enum result kind(const struct daemon *d, const json_t *answer)
{
    if (answer)
        return atomic_load(&faults->failed) ? TOLERATED : NOT_REACHED;
    return d->error && !has_text(error_text(d), "it was done") ? REFUSED : UNSAID;
}

static enum result try_point(struct daemon *d, uint32_t k)
{
    struct snapshot before;
    if (truncate(in_dir(d, "log").s, 0) < 0 && errno != ENOENT)
        row_fail("log: %s", strerror(errno));
    disarm();
    if (!daemon_start(d) || !snapshot_take(&before, d))
        return BROKEN;
    arm(k);
    json_t *answer = add_three(d);
    disarm();
    enum result result = kind(d, answer);
    char why[256];
    snprintf(why, sizeof(why), "%s", error_text(d));
    if (outcome(d, answer, &before) && clean_add_works(d, &before) && daemon_stop(d))
        daemon_left_nothing(d);
    json_decref(answer);
    snapshot_free(&before);
    if (row_failed() && why[0])
        row_note("k=%u was refused with: %s", k, why);
    return row_failed() ? BROKEN : result;
}

/* After a broken point: nothing of it may look like a fault of the next one. */
static void kill_daemon(struct daemon *d)
{
    if (d->pid > 0) {
        kill(d->pid, SIGKILL);
        daemon_wait(d, DAEMON_TIMEOUT_MS);
    }
    unlink(in_dir(d, "trap.sock").s);
    unlink(in_dir(d, "trap.sock.lock").s);
    static const char *const left[] = {"s/one.tty", "s/two.so", "l", "three.log", "two.so"};
    for (int i = 0; i < 3; i++) {
        unlink(socket_of(d, ids[i]).s);
        unlink(in_dir(d, "s/%s.sock.lock", ids[i]).s);
    }
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        unlink(in_dir(d, "%s", left[i]).s);
        unlink(in_dir(d, "%s.lock", left[i]).s);
    }
}

static const char *function_at(uint32_t k)
{
    uint32_t failed = atomic_load(&faults->failed);
    if (failed)
        return faults->name[failed - 1];
    return k <= good.calls ? faults->name[good.which[k - 1]] : "?";
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void print_table(void)
{
    char line[128] = "";
    for (uint32_t i = 0; i < faults->functions; i++) {
        char cell[48];
        if (!good.count[i])
            continue;
        snprintf(cell, sizeof(cell), "%-24s %5u   ", faults->name[i], good.count[i]);
        if (strlen(line) + strlen(cell) > 78) {
            row_note("  %s", line);
            line[0] = '\0';
        }
        strcat(line, cell);
    }
    row_note("  %s", line);
}

/* Direct I/O is not everywhere. */
static bool choose_specs(struct daemon *d)
{
    json_t *r = add_three(d);
    if (!r && strcmp(error_member(d, "option"), "direct") == 0) {
        disks[1] = "blk:b,id=two,engine=threads";
        r = add_three(d);
    }
    json_decref(r);
    return r ? remove_three(d) : row_fail("a good add is refused: %s", error_text(d));
}

static bool prepare(struct daemon *d)
{
    const char *sanitize = getenv("HVV_SANITIZE");
    if (sanitize && sanitize[0])
        return row_skip("a sanitizer has its own malloc, which the shim cannot stand in for");
    if (!faults)
        return row_skip("the shim faults.so is not in HVV_BUILD/tests/flow");
    return daemon_image(d, "a", IMAGE_BYTES) && daemon_image(d, "b", IMAGE_BYTES);
}

static bool measure(struct daemon *d)
{
    struct snapshot before;
    if (!daemon_start(d) || !choose_specs(d) || !daemon_stop(d) || !daemon_start(d) ||
        !snapshot_take(&before, d))
        return false;
    if (!faults->functions)
        return row_skip("the shim was not loaded into the daemon");
    arm(0);
    json_t *r = add_three(d);
    disarm();
    json_decref(r);
    good.calls = atomic_load(&faults->calls);
    for (size_t i = 0; i < FAULTS_FUNCTIONS_MAX; i++)
        good.count[i] = atomic_load(&faults->count[i]);
    memcpy(good.which, faults->which, sizeof(good.which));
    if (!r || good.calls == 0 || good.calls > FAULTS_CALLS_MAX)
        return row_fail("the good add made %u calls: %s", good.calls, error_text(d));
    if (!three_work(d) || !remove_three(d))
        return false;
    poll(NULL, 0, 300); /* what is on its way out goes */
    if (!snapshot_take(&good.after, d) || !clean_again(d, &before, "without any fault"))
        return false;
    snapshot_free(&before);
    return daemon_stop(d);
}

/* Whether a quick run has the point: see the top. */
static bool chosen(uint32_t k)
{
    uint32_t seen = 0, which = good.which[k - 1];
    uint32_t stride = good.calls / QUICK_POINTS + 1;
    if (flags.all || k % stride == 0)
        return true;
    for (uint32_t i = 0; i < k; i++)
        seen += good.which[i] == which;
    return seen == 1 || seen == (good.count[which] + 1) / 2 || seen == good.count[which];
}

/* A bridge in a network of our own, for the tap to join. */
static bool prepare_network(void)
{
    const char *why = netns_enter();
    if (why)
        return row_skip("%s", why);
    return ip("link add hvbr0 type bridge") && ip("link set hvbr0 up");
}

static const char **specs_of(const char *row)
{
    if (row && strcmp(row, "console") == 0)
        return consoles;
    return row && strcmp(row, "net") == 0 ? networks : disks;
}

static void sweep(struct daemon *d)
{
    char reason[2048], first[2200] = "";
    unsigned results[RESULTS] = {0}, points = 0;
    in_zone = d->arg && strcmp(d->arg, "zone") == 0;
    specs = specs_of(d->arg);
    memset(&good, 0, sizeof(good));
    MUST(specs != networks || prepare_network());
    MUST(prepare(d) && measure(d));
    row_note("N = %u fallible calls in a good add of three devices:", good.calls);
    print_table();
    for (uint32_t k = 1; k <= good.calls && results[BROKEN] < FAILURES_MAX; k++) {
        if (!chosen(k))
            continue;
        points++;
        results[try_point(d, k)]++;
        if (!row_forgive(reason, sizeof(reason)))
            continue;
        if (has_text(faults->where, "libglib")) {
            results[BROKEN]--;
            results[GLIB]++;
            kill_daemon(d);
            continue;
        }
        row_note("k=%u, %s: %s; called from %s", k, function_at(k), reason, faults->where);
        kill_daemon(d);
        if (!first[0])
            snprintf(first, sizeof(first), "first k=%u, %s: %s", k, function_at(k), reason);
    }
    row_note("%u of %u points: %u refused, %u tolerated, %u with no answer, %u not "
             "reached, %u broken, %u ended by GLib", points, good.calls, results[REFUSED],
             results[TOLERATED], results[UNSAID], results[NOT_REACHED], results[BROKEN],
             results[GLIB]);
    if (results[BROKEN])
        row_fail("%u points are broken; %s", results[BROKEN], first);
    CHECK(results[REFUSED] > points / 4, "only %u points were refused", results[REFUSED]);
    snapshot_free(&good.after);
}

static struct text find_shim(void)
{
    struct text shim = built("tests/flow/faults.so");
    if (access(shim.s, R_OK) != 0)
        shim = built("tests/flow/.libs/faults.so");
    return shim;
}

int main(int argc, char **argv)
{
    static struct text preload, memory;
    char path[64] = "/tmp/hvv-faults-XXXXXX";
    struct text shim = find_shim();
    if (access(shim.s, R_OK) == 0) {
        if (!mkdtemp(path))
            return 1;
        snprintf(preload.s, sizeof(preload.s), "LD_PRELOAD=%.480s", shim.s);
        snprintf(memory.s, sizeof(memory.s), "HVV_FAULTS=%s/memory", path);
        open_faults(memory.s + strlen("HVV_FAULTS="));
    }
    const char *env[] = {preload.s, memory.s, NULL};
    const char *const trap[] = {"--trap", "trap.sock", NULL};
    const char *const plugins[] = {"console.so", "net.so", NULL};
    const struct daemon_options options = {.env = env, .no_start = true},
                                with_trap = {.env = env, .no_start = true, .args = trap},
                                with_plugins = {.env = env, .no_start = true, .plugins = plugins};
    const struct row rows[] = {{"sockets", sweep, &options, NULL},
                               {"zone", sweep, &with_trap, "zone"},
                               {"console", sweep, &with_plugins, "console"},
                               {"net", sweep, &with_plugins, "net"}};
    int rc = report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
    if (faults) {
        unlink(memory.s + strlen("HVV_FAULTS="));
        rmdir(path);
    }
    return rc;
}
