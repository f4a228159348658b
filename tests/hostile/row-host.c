/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * row-host.c - greedy guests, disks removed under load, images and plugins: classes 11, 24, 26, 31.
 * How a plugin file is refused is shown in tests/unit/loader.c, how a request is undone as a whole
 * in tests/flow/transaction.c; here both happen while others do I/O.
 */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- class 26: the ring is refilled as fast as it is served ---------------------------------- */

/*
 * What the neighbour gets beside an attack is measured against what it got just before, by itself:
 * a busy machine slows down both. An attack goes on until the neighbour has done its share, so one
 * that starves it never ends by itself, however short it was meant to be.
 */
#define SHARE 512u        /* requests of the neighbour */
#define SHARE_ALL 4096u
#define TIMES 20u         /* slower than alone, and then: */
#define PLUS_MS 2000u     /* for its share */
#define PLUS_GAP_MS 1000u /* for one request */

struct share {
    uint64_t requests, until; /* how many, and neighbour.done at the end */
    uint64_t alone_ns, alone_worst_ns, start;
    uint64_t least;           /* deadline: the attack lasts that long at least */
};

static bool share_begin(struct world *w, struct share *s)
{
    struct churn *b = &w->neighbour;
    s->requests = w->all ? SHARE_ALL : SHARE;
    atomic_store(&b->worst_ns, 0);
    s->start = clock_ns();
    if (!churn_flows(b, s->requests))
        return false;
    s->alone_ns = clock_ns() - s->start;
    s->alone_worst_ns = churn_worst_ns(b);
    atomic_store(&b->worst_ns, 0);
    s->start = clock_ns();
    s->until = atomic_load(&b->done) + s->requests;
    s->least = clock_deadline(w->all ? 5000 : 500);
    return true;
}

static uint64_t share_limit(const struct world *w, const struct share *s)
{
    return s->alone_ns * TIMES + (w->sanitized ? 2u : 1u) * PLUS_MS * 1000000ull;
}

/* Is the attack to go on? */
static bool share_open(struct world *w, const struct share *s)
{
    if (clock_ns() - s->start > share_limit(w, s))
        return false;
    return clock_left_ms(s->least) > 0 || atomic_load(&w->neighbour.done) < s->until;
}

/* Before the attack ends: what the neighbour gets afterwards does not count. */
static bool share_end(struct world *w, const struct share *s)
{
    uint64_t done = atomic_load(&w->neighbour.done), ms = (clock_ns() - s->start) / 1000000;
    uint64_t worst = churn_worst_ns(&w->neighbour);
    uint64_t limit = s->alone_worst_ns * TIMES +
                     (w->sanitized ? 2u : 1u) * PLUS_GAP_MS * 1000000ull;
    if (done < s->until)
        return row_fail("the neighbour did %llu of %llu requests in %llu ms, alone it did all in "
                        "%llu ms", (unsigned long long)(done + s->requests - s->until),
                        (unsigned long long)s->requests, (unsigned long long)ms,
                        (unsigned long long)s->alone_ns / 1000000);
    return worst <= limit ||
           row_fail("a request of the neighbour took %llu ms, the limit is %llu; alone the longest "
                    "took %llu us", (unsigned long long)worst / 1000000,
                    (unsigned long long)limit / 1000000,
                    (unsigned long long)s->alone_worst_ns / 1000);
}

static void greedy(struct world *w)
{
    const struct blkdev_options o = {.event_idx = w->arg != NULL, .num = 1024, .slots = 512,
                                     .capacity = 4096, .poll = true};
    uint64_t done = 0;
    struct share share;
    MUST(evil_open(w, &o) && share_begin(w, &share));
    struct blk_queue *q = &w->a.queue[0];
    while (share_open(w, &share)) {
        struct blk_request *req, *ended[64];
        while ((req = blk_take(q))) {
            req->type = VIRTIO_BLK_T_IN;
            req->len = 512;
            if (blk_queue_add(q, req) < 0) {
                blk_put(q, req);
                break;
            }
        }
        CHECK(ring_submit(q->ring) == 0, "the kick failed");
        int n = blk_reap(q, ended, 64);
        CHECK(n >= 0, "the ring: %s", q->ring->error);
        for (int i = 0; i < n; i++)
            blk_put(q, ended[i]);
        done += (uint64_t)n;
    }
    MUST(share_end(w, &share));
    CHECK(blk_drain(q) == 0, "the requests are not done");
    CHECK(done > 1000, "only %llu requests", (unsigned long long)done);
}

/* Chains that are as long as can be, most of it to be thrown away: the walk itself is the work. */
static void long_chains(struct world *w)
{
    const struct blkdev_options o = {.event_idx = true, .num = 1024, .slots = 4};
    struct share share;
    MUST(evil_open(w, &o));
    struct buffers b = evil_buffers(&w->a, VIRTIO_BLK_T_FLUSH, 0);
    evil_desc(&w->a, 0, b.header, 16, VRING_DESC_F_NEXT, 1);
    for (unsigned i = 1; i < 1023; i++)
        evil_desc(&w->a, i, b.data, 0, VRING_DESC_F_NEXT, i + 1);
    evil_desc(&w->a, 1023, b.status, 1, VRING_DESC_F_WRITE, 0);
    MUST(share_begin(w, &share));
    for (uint16_t used = 0; share_open(w, &share);) {
        evil_offer(&w->a, 0);
        MUST(evil_kick(&w->a));
        uint64_t limit = clock_deadline(WAIT_MS);
        while (ring_shared_used_idx(&w->a.ring[0]) == used)
            CHECK(clock_left_ms(limit) > 0, "a chain of 1024 is not done");
        used++;
    }
    MUST(share_end(w, &share));
}

/* ---- class 11: removed under load ------------------------------------------------------------ */

static bool add_x(struct world *w, unsigned kind)
{
    static const char *const specs[] = {"blk:x,id=x", "blk:x,id=x,direct=on",
                                        "blk:x,id=x,engine=threads",
                                        "blk:backend=mem,size=64M,id=x",
                                        "blk:backend=null,size=64M,id=x"};
    return daemon_add(&w->d, specs[kind % 5], NULL);
}

static void removed_under_load(struct world *w)
{
    const struct blkdev_options o = {.event_idx = true, .num = 1024, .slots = 40};
    const char *id = w->id;
    w->id = "x";
    MUST(daemon_image(&w->d, "x", DISK_BYTES));
    for (unsigned i = 0; i < (w->all ? 1000u : 40u) && !row_failed(); i++) {
        if (!add_x(w, i) || !evil_open(w, &o) ||
            !evil_burst(&w->a, 32, i % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, NULL, 65536))
            break;
        daemon_remove(&w->d, "x", NULL);
        evil_hung_up(&w->a.fe, "the removal");
        evil_close(w);
    }
    w->id = id;
    unlink(in_dir(&w->d, "i/x").s);
    struct text lock = in_dir(&w->d, "i/x.lock");
    unlink(lock.s);
}

/* A front-end is in the middle of a message, or of a session, when its disk goes. */
static void removed_half_way(struct world *w)
{
    static const uint8_t bytes[12] = {VHU_SET_MEM_TABLE, 0, 0, 0, 9, 0, 0, 0, 8, 1, 0, 0};
    const char *id = w->id;
    w->id = "x";
    for (unsigned i = 0; i < 60 && !row_failed(); i++) {
        struct fe fe;
        if (!daemon_add(&w->d, "blk:backend=mem,size=1M,id=x", NULL) || !evil_connect(w, &fe))
            break;
        int fd = w->b.mem.region[0].fd;
        bool good = fe_write(&fe, bytes, i % 13, &fd, i % 13 ? 1 : 0) == 0 &&
                    daemon_remove(&w->d, "x", NULL) && evil_hung_up(&fe, "the removal");
        fe_disconnect(&fe);
        if (!good)
            break;
    }
    w->id = id;
}

/* ---- class 24: a raw image stays raw --------------------------------------------------------- */

/* A qcow2 header as a guest would write it, with the name of another file behind it. */
static void qcow2_header(uint8_t *block, size_t size)
{
    static const char other[] = "/etc/passwd";
    static const uint8_t head[] = {'Q', 'F', 'I', 0xfb, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0,
                                   0, 0, 0, sizeof(other) - 1, 0, 0, 0, 16, 0, 0, 1, 0, 0, 0, 0, 0};
    memset(block, 0, size);
    memcpy(block, head, sizeof(head));
    memcpy(block + 256, other, sizeof(other) - 1);
}

static bool raw_is_raw(struct world *w, bool write, const char *when)
{
    uint8_t block[4096], got[4096];
    qcow2_header(block, sizeof(block));
    if (!evil_open(w, NULL))
        return false;
    bool size = w->a.sectors == (1 << 20) / BLK_SECTOR;
    bool wrote = !write || blk_write(&w->a.queue[0], 0, block, sizeof(block)) == 0;
    bool read_back = blk_read(&w->a.queue[0], 0, got, sizeof(got)) == 0 &&
                     memcmp(block, got, sizeof(got)) == 0;
    evil_close(w);
    if (!size || !wrote || !read_back)
        return row_fail("%s: size %d, write %d, read %d", when, size, wrote, read_back);
    return true;
}

static void raw_stays_raw(struct world *w)
{
    const char *id = w->id;
    w->id = "x";
    MUST(daemon_image(&w->d, "x", 1 << 20));
    if (daemon_add(&w->d, "blk:x,id=x", NULL) && raw_is_raw(w, true, "written") &&
        raw_is_raw(w, false, "after reconnecting") && daemon_remove(&w->d, "x", NULL) &&
        daemon_add(&w->d, "blk:x,id=x", NULL) && raw_is_raw(w, false, "added again"))
        daemon_remove(&w->d, "x", NULL);
    static const char *const more[] = {"backing=/etc/passwd", "backing-file=/etc/passwd",
                                       "format=qcow2", "format=auto"};
    for (unsigned i = 0; i < 4 && !row_failed(); i++) {
        char spec[96], name[32];
        snprintf(spec, sizeof(spec), "blk:x,id=x,%s", more[i]);
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(more[i], "="), more[i]);
        daemon_refuses(&w->d, name, "device.add", "{s:[s], s:s}", "devices", spec, "cwd",
                       in_dir(&w->d, "i").s);
    }
    w->id = id;
    unlink(in_dir(&w->d, "i/x").s);
}

/* ---- class 31: plugins and requests that fail, beside disks that work ------------------------ */

static bool put_file(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool good = fd >= 0 && write(fd, bytes, size) == (ssize_t)size;
    if (fd >= 0)
        close(fd);
    return good || row_fail("%s: %s", path, strerror(errno));
}

/* The plugin in use, cut off or spoilt at many places, under another name. */
static void spoilt_plugins(struct world *w)
{
    static uint8_t whole[1 << 20];
    int fd = open(built("plugins.d/blk.so").s, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, whole, sizeof(whole));
    if (fd >= 0)
        close(fd);
    CHECK(size > 4096, "no plugin to spoil");
    struct text path = in_dir(&w->d, "p/spoilt.so");
    MUST(evil_open(w, NULL));
    for (unsigned i = 0; i < 36 && !row_failed(); i++) {
        static uint8_t bytes[1 << 20];
        memcpy(bytes, whole, (size_t)size);
        if (i >= 20)
            memset(bytes + (i - 20) * 4, 0xff, 4); /* through the ELF header */
        if (!put_file(path.s, bytes, i < 20 ? (size_t)size * i / 20 : (size_t)size))
            break;
        json_decref(daemon_call(&w->d, "plugin.rescan", NULL));
        if (!daemon_alive(&w->d))
            row_fail(i < 20 ? "a plugin cut off at %u/20 of its %zd bytes" :
                     "a plugin with word %u - 20 of its %zd bytes spoilt", i, size);
        else
            evil_works(w, &w->a);
    }
    unlink(path.s);
    json_decref(daemon_call(&w->d, "plugin.rescan", NULL));
}

static void nth_fails(struct world *w)
{
    MUST(daemon_image(&w->d, "x", DISK_BYTES) && evil_open(w, NULL));
    for (unsigned n = 0; n < 5 && !row_failed(); n++) {
        json_t *specs = json_array();
        for (unsigned i = 0; i < 5; i++) {
            char spec[96];
            snprintf(spec, sizeof(spec), i == n ? "blk:absent,id=n%u" : "blk:x,id=n%u,locking=off",
                     i);
            json_array_append_new(specs, json_string(spec));
        }
        daemon_refuses(&w->d, "absent", "device.add", "{s:o, s:s}", "devices", specs, "cwd",
                       in_dir(&w->d, "i").s);
        if (!evil_works(w, &w->a))
            break;
    }
    unlink(in_dir(&w->d, "i/x").s);
}

/* ---- the table ------------------------------------------------------------------------------- */

const struct evil_row host_rows[] = {
    {"c11-removed-under-load", removed_under_load, 0, NULL},
    {"c11-removed-half-way", removed_half_way, 0, NULL},
    {"c24-raw-stays-raw", raw_stays_raw, 0, NULL},
    {"c26-greedy-event-index", greedy, ON_EACH, "event"},
    {"c26-greedy-flags", greedy, ON_EACH, NULL},
    {"c26-long-chains", long_chains, ON_EACH, NULL},
    {"c31-spoilt-plugins", spoilt_plugins, 0, NULL},
    {"c31-nth-create-fails", nth_fails, 0, NULL},
    {NULL, NULL, 0, NULL},
};
