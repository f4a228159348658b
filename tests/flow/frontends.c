/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frontends.c - flow test: front-ends come, go, die half way and misbehave; the daemon, its other
 * devices and the next front-end do not suffer.
 */
#include "clock.h"
#include "disk.h"
#include "report.h"
#include "snapshot.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLACK_KIB 768u
#define IMAGE_BYTES (16 << 20)
#define ROUNDS 200
#define ALL_ROUNDS 10000 /* with $HVV_TEST_ALL */
#define ALL_SETTLED 1000 /* what is held after so many is held after all of them */
#define ALL_SLACK_KIB 256u
#define MORE_MAPPINGS 4u /* of anonymous memory: the C library splits and joins its own */

static struct blkdev first, second;

static bool two_disks(struct daemon *d)
{
    return daemon_image(d, "a", IMAGE_BYTES) && daemon_image(d, "b", IMAGE_BYTES) &&
           daemon_add(d, "blk:a,id=a,queues=2", "blk:b,id=b", NULL);
}

static bool visit(struct daemon *d, const char *id, uint64_t seed)
{
    bool good = disk_open(&first, d, id, NULL) && disk_works(&first, seed);
    blkdev_close(&first);
    return good;
}

/* ---- coming and going ------------------------------------------------------------------------ */

static bool test_all(void)
{
    const char *all = getenv("HVV_TEST_ALL");
    return all && strcmp(all, "0") != 0;
}

static bool sanitized(void)
{
    const char *sanitize = getenv("HVV_SANITIZE");
    return sanitize && sanitize[0];
}

/* Memory of its own that the daemon has in RAM, or 0: pages of files come and go with the cache. */
static size_t resident_kib(const struct daemon *d)
{
    char path[64], line[256];
    size_t kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)d->pid);
    FILE *status = fopen(path, "re");
    while (status && kib == 0 && fgets(line, sizeof(line), status))
        if (sscanf(line, "RssAnon: %zu kB", &kib) != 1)
            kib = 0;
    if (status)
        fclose(status);
    return kib;
}

static bool resident_returns(const struct daemon *d, size_t before)
{
    uint64_t deadline = clock_deadline(DAEMON_TIMEOUT_MS);
    size_t now;
    while ((now = resident_kib(d)) > before + ALL_SLACK_KIB && !sanitized()) {
        if (clock_left_ms(deadline) == 0)
            return row_fail("%zu KiB are resident, it was %zu", now, before);
        poll(NULL, 0, 10);
    }
    row_note("resident memory: %zu KiB, at the end %zu KiB", before, now);
    return before > 0 || row_fail("resident memory cannot be read");
}

static bool visits(struct daemon *d, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        if (!visit(d, "a", i))
            return false;
    return daemon_device_becomes(d, "a", "connected", false);
}

/* The daemon holds the same after `settled` and after `rounds` front-ends. */
static void come_and_go(struct daemon *d)
{
    uint64_t settled = test_all() ? ALL_SETTLED : 1, rounds = test_all() ? ALL_ROUNDS : ROUNDS;
    uint64_t start = clock_ns();
    struct snapshot before, after;
    MUST(two_disks(d) && visits(d, 0, settled) && snapshot_take(&before, d));
    size_t resident = resident_kib(d);
    MUST(visits(d, settled, rounds));
    MUST(snapshot_returns(d, &before, NULL, test_all() ? ALL_SLACK_KIB : SLACK_KIB,
                          "after all those front-ends") && snapshot_take(&after, d));
    CHECK(sanitized() || after.anonymous <= before.anonymous + MORE_MAPPINGS,
          "%zu mappings of anonymous memory, it was %zu", after.anonymous, before.anonymous);
    snapshot_free(&before);
    snapshot_free(&after);
    if (test_all())
        MUST(resident_returns(d, resident));
    row_note("%llu front-ends in %llu ms", (unsigned long long)rounds,
             (unsigned long long)(clock_ns() - start) / 1000000);
}

static void second_is_turned_away(struct daemon *d)
{
    MUST(two_disks(d) && disk_open(&first, d, "a", NULL));
    for (int i = 0; i < 20; i++) {
        struct fe fe;
        fe_init(&fe);
        CHECK(fe_connect(&fe, socket_of(d, "a").s) == 0, "no connection: %s", fe.error);
        CHECK(fe_wait_hangup(&fe) == 0, "a second front-end was not turned away");
        fe_disconnect(&fe);
        MUST(disk_works(&first, (uint64_t)i));
    }
    blkdev_close(&first);
    MUST(visit(d, "a", 99));
}

/* Goes as far as `steps`; false when there are no more. */
static bool go_part_of_the_way(struct blkdev *dev, int steps)
{
    static const uint8_t half[6] = {VHU_SET_OWNER, 0, 0, 0, VHU_FLAG_VERSION, 0};
    struct vhu_vring_addr addr;
    struct fe *fe = &dev->fe;
    if (steps == 0)
        return fe_write(fe, half, sizeof(half), NULL, 0) == 0;
    if (steps == 1)
        return true; /* connected and negotiated */
    if (blkdev_share(dev) < 0)
        return row_fail("sharing memory: %s", fe->error);
    fe_ring_addr(&dev->ring[0], &dev->mem, 0, &addr);
    if (steps == 2)
        return true;
    if (fe_vring_open(fe, 0, false) < 0 || fe_vring_num(fe, 0, dev->ring[0].opt.num) < 0)
        return row_fail("VRING_NUM: %s", fe->error);
    if (steps == 3)
        return true;
    if (fe_vring_base(fe, 0, 0) < 0 || (steps > 4 && fe_vring_addr(fe, &addr) < 0))
        return row_fail("VRING_BASE, ADDR: %s", fe->error);
    if (steps <= 5)
        return true;
    if (fe_vring_fd(fe, VHU_SET_VRING_CALL, 0, fe->vring[0].call_peer) < 0)
        return row_fail("VRING_CALL: %s", fe->error);
    if (steps == 6)
        return true;
    if (fe_vring_fd(fe, VHU_SET_VRING_KICK, 0, fe->vring[0].kick) < 0)
        return row_fail("VRING_KICK: %s", fe->error);
    if (steps == 7)
        return true;
    if (fe_vring_enable(fe, 0, true) < 0)
        return row_fail("VRING_ENABLE: %s", fe->error);
    return steps == 8;
}

static void dying_at_each_step(struct daemon *d)
{
    struct blkdev_options o = {.event_idx = true, .no_start = true};
    struct snapshot before;
    bool more = true;
    int step = 0;
    MUST(two_disks(d) && visit(d, "a", 1) && daemon_device_becomes(d, "a", "connected", false) &&
         snapshot_take(&before, d));
    for (; more; step++) {
        MUST(disk_open(&second, d, "a", &o));
        more = go_part_of_the_way(&second, step);
        blkdev_close(&second);
        MUST(!row_failed() && visit(d, "a", (uint64_t)step));
    }
    CHECK(step == 10, "%d steps were taken", step);
    MUST(snapshot_returns(d, &before, NULL, SLACK_KIB, "after front-ends that died"));
    snapshot_free(&before);
}

/* The memory of the guest goes with it, while its requests are under way. */
static void dying_with_io(struct daemon *d)
{
    struct snapshot before;
    MUST(two_disks(d) && visit(d, "a", 1) && daemon_device_becomes(d, "a", "connected", false) &&
         snapshot_take(&before, d));
    for (int i = 0; i < 30; i++) {
        MUST(disk_open(&second, d, "a", NULL));
        for (int k = 0; k < 16; k++) {
            struct blk_request *req = blk_take(&second.queue[0]);
            CHECK(req, "no request is free");
            req->type = k % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
            req->sector = (uint64_t)k * 128;
            req->len = 65536;
            CHECK(blk_queue_add(&second.queue[0], req) == 0, "the ring is full");
        }
        CHECK(ring_submit(second.queue[0].ring) == 0, "no kick");
        blkdev_close(&second);
        MUST(visit(d, "a", (uint64_t)i));
    }
    MUST(snapshot_returns(d, &before, NULL, SLACK_KIB, "after front-ends that died with I/O"));
    snapshot_free(&before);
}

/* ---- misbehaving ----------------------------------------------------------------------------- */

/* An available entry that names no descriptor. */
static void spoil(struct blkdev *dev)
{
    struct ring *r = &dev->ring[0];
    uint16_t index = ring_shared_avail_idx(r);
    r->avail->ring[index % r->opt.num] = 0xfff0;
    __atomic_store_n(&r->avail->idx, (uint16_t)(index + 1), __ATOMIC_RELEASE);
    r->kick(r->kick_arg);
}

static bool becomes_broken(struct daemon *d, const char *id)
{
    uint64_t deadline = clock_deadline(DAEMON_TIMEOUT_MS);
    bool broken = false;
    while (!broken && clock_left_ms(deadline) > 0) {
        json_t *device = daemon_device(d, id);
        broken = json_is_string(json_object_get(device, "broken"));
        json_decref(device);
    }
    return broken || row_fail("device %s is not listed as broken", id);
}

static void hostile_neighbour(struct daemon *d)
{
    static struct traffic traffic;
    MUST(two_disks(d) && disk_open(&first, d, "b", NULL) && traffic_start(&traffic, &first));
    for (int i = 0; i < 20; i++) {
        MUST(disk_open(&second, d, "a", NULL) && disk_works(&second, 5));
        spoil(&second);
        MUST(becomes_broken(d, "a") && traffic_flows(&traffic, 200));
        blkdev_close(&second);
    }
    json_t *b = daemon_device(d, "b");
    CHECK(b && json_is_null(json_object_get(b, "broken")), "device b is broken too");
    json_decref(b);
    MUST(traffic_stop(&traffic));
    row_note("longest gap in the neighbour's I/O: %llu ms",
             (unsigned long long)traffic.longest_ns / 1000000);
    CHECK(traffic.longest_ns < 1000000000u, "the neighbour's I/O stood still");
    blkdev_close(&first);
    MUST(visit(d, "a", 7)); /* a new front-end, a new start */
}

/* ---- messages while it runs ------------------------------------------------------------------ */

static void reset_device(struct daemon *d)
{
    MUST(two_disks(d) && disk_open(&first, d, "a", NULL));
    CHECK(fe_speaks(&first.fe, VHU_PF_RESET_DEVICE), "RESET_DEVICE is not offered");
    for (int i = 0; i < 20; i++) {
        MUST(disk_works(&first, (uint64_t)i));
        if (i % 2) {
            spoil(&first);
            MUST(becomes_broken(d, "a"));
        }
        CHECK(fe_reset_device(&first.fe) == 0, "RESET_DEVICE: %s", first.fe.error);
        ring_reset(&first.ring[0]);
        blk_queue_reset(&first.queue[0]);
        CHECK(fe_set_features(&first.fe, first.fe.features) == 0, "features: %s", first.fe.error);
        CHECK(blkdev_start(&first) == 0, "restart: %s", first.fe.error);
    }
    MUST(disk_works(&first, 100));
    blkdev_close(&first);
}

static void resize(struct daemon *d)
{
    static struct output o;
    struct fe_msg msg;
    MUST(two_disks(d) && disk_open(&first, d, "a", NULL));
    CHECK(first.sectors == IMAGE_BYTES / BLK_SECTOR, "the capacity is wrong");
    MUST(ctl(&o, d, "resize", "a", "size=32M", NULL));
    CHECK(o.code == 0, "resize: %s", o.err);
    CHECK(fe_channel_recv(&first.fe, &msg) == 0, "no config change: %s", first.fe.error);
    CHECK(msg.header.request == VHU_BACKEND_CONFIG_CHANGE, "message %u came instead of a config "
          "change", msg.header.request);
    fe_msg_close(&msg);
    CHECK(blkdev_read_config(&first) == 0 && first.sectors == 2 * IMAGE_BYTES / BLK_SECTOR,
          "the capacity is %llu sectors", (unsigned long long)first.sectors);
    CHECK(blk_write(&first.queue[0], first.sectors - 8, o.out, 4096) == 0,
          "the new end cannot be written");
    MUST(ctl(&o, d, "resize", "a", "size=16M", NULL));
    CHECK(o.code == 1 && has_text(o.err, "shrink"), "shrinking is not refused: %s", o.err);
    blkdev_close(&first);
}

static void memory_comes_and_goes(struct daemon *d)
{
    const struct guestmem_spec spec = {.size = 2 << 20, .gpa = BLKDEV_GPA + (1ull << 32),
                                       .uva = GUESTMEM_FAKE_UVA + (1ull << 32)};
    static struct traffic traffic;
    MUST(two_disks(d) && disk_open(&first, d, "a", NULL));
    CHECK(fe_speaks(&first.fe, VHU_PF_CONFIGURE_MEM_SLOTS), "memory slots are not offered");
    MUST(traffic_start(&traffic, &first));
    for (int i = 0; i < 500; i++) {
        int region = guestmem_add(&first.mem, &spec);
        CHECK(region > 0, "no memory");
        for (int pair = 0; pair < 2; pair++) /* QEMU 7.2 says it for each pair of its queues */
            CHECK(fe_add_mem(&first.fe, &first.mem, (unsigned)region) == 0, "%s", first.fe.error);
        MUST(traffic_flows(&traffic, 5));
        for (int pair = 0; pair < 2; pair++)
            CHECK(fe_rem_mem(&first.fe, &first.mem, (unsigned)region) == 0, "%s", first.fe.error);
        guestmem_drop(&first.mem, (unsigned)region);
    }
    MUST(traffic_flows(&traffic, 200) && traffic_stop(&traffic));
    blkdev_close(&first);
}

/* The memory the rings are in is taken away under I/O: what a front-end must not do. */
static void memory_pulled_away(struct daemon *d)
{
    static struct traffic traffic;
    MUST(two_disks(d));
    for (int i = 0; i < 10; i++) {
        MUST(disk_open(&second, d, "a", NULL) && traffic_start(&traffic, &second) &&
             traffic_flows(&traffic, 100));
        int rc = fe_rem_mem(&second.fe, &second.mem, 0);
        fe_disconnect(&second.fe);
        traffic_stop(&traffic);
        CHECK(rc == 0 || rc == -EREMOTEIO || rc == -EPIPE || rc == -ECONNRESET,
              "REM_MEM_REG ended with %s", strerror(-rc));
        blkdev_close(&second);
        MUST(visit(d, "b", 1) && visit(d, "a", 2));
    }
}

/* ---- the end of the daemon ------------------------------------------------------------------- */

static void sigterm_during_io(struct daemon *d)
{
    static struct traffic traffic;
    for (int i = 0; i < 5; i++) {
        MUST(i == 0 || daemon_start(d));
        MUST(two_disks(d) && disk_open(&first, d, "a", NULL) && traffic_start(&traffic, &first) &&
             traffic_flows(&traffic, 200) && daemon_stop(d));
        MUST(traffic_stop(&traffic));
        CHECK(traffic.half == 0, "%u of %u requests were left half done", traffic.half,
              traffic.left);
        MUST(daemon_left_nothing(d));
        blkdev_close(&first);
    }
}

static void started_again(struct daemon *d)
{
    MUST(two_disks(d) && visit(d, "a", 1) && daemon_stop(d) && daemon_left_nothing(d));
    MUST(daemon_start(d) && two_disks(d) && visit(d, "a", 2));
    kill(d->pid, SIGKILL); /* its sockets and lock files stay */
    CHECK(daemon_wait(d, DAEMON_TIMEOUT_MS) == 128 + SIGKILL, "SIGKILL did not end the daemon");
    CHECK(access(socket_of(d, "a").s, F_OK) == 0, "the socket is gone after SIGKILL");
    MUST(daemon_start(d) && two_disks(d) && visit(d, "a", 3));
}

#define ROW(NAME) {#NAME, NAME, NULL, NULL}

int main(int argc, char **argv)
{
    static const struct row rows[] = {
        ROW(come_and_go), ROW(second_is_turned_away), ROW(dying_at_each_step), ROW(dying_with_io),
        ROW(hostile_neighbour), ROW(reset_device), ROW(resize), ROW(memory_comes_and_goes),
        ROW(memory_pulled_away), ROW(sigterm_during_io), ROW(started_again),
    };
    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
