/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vhost-blk-check: runs every row against a back-end and prints a line for each. Rows for what
 * the back-end does not offer are skipped with the reason. The disk's first 16 MiB and its last
 * sectors are overwritten. One thread; rows run in the order of the tables.
 */
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define DISK_MIN (16u << 20)

static const struct row *const tables[] = { protocol_rows, ring_rows, disk_rows, life_rows };

/* --- verdicts --- */

__attribute__((format(printf, 2, 0))) static void set_reason(struct check *c, const char *format,
                                                             va_list args)
{
    vsnprintf(c->reason, sizeof(c->reason), format, args);
}

enum verdict check_fail(struct check *c, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set_reason(c, format, args);
    va_end(args);
    return FAIL;
}

enum verdict check_skip(struct check *c, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set_reason(c, format, args);
    va_end(args);
    return SKIP;
}

enum verdict check_err(struct check *c, const struct blkdev *dev, int err)
{
    if (!err)
        return PASS;
    if (err == -EOPNOTSUPP)
        return check_skip(c, "%s", dev->fe.error);
    return check_fail(c, "%s", dev->fe.error[0] ? dev->fe.error : strerror(-err));
}

enum verdict check_status(struct check *c, const char *what, int got, int want)
{
    if (got == want)
        return PASS;
    if (got < 0)
        return check_fail(c, "%s: %s", what, strerror(-got));
    return check_fail(c, "%s: status %d, not %d", what, got, want);
}

/* --- churn --- */

struct churning {
    struct check *c;
    struct blkdev *dev;
    struct blk_queue *q;
    struct churn spec;
    unsigned int sent;
    unsigned int checked;
};

/* A slot's seed is the count of requests sent when it was written, kept in the user pointer. */
static void next_turn(struct churning *run, struct blk_request *req)
{
    unsigned int lane = (unsigned int)(req - run->q->request);

    if (req->done && req->type == VIRTIO_BLK_T_OUT) {
        memset(req->data, 0x5a, req->len);
        req->type = VIRTIO_BLK_T_IN;
    } else {
        req->user = (void *)(uintptr_t)(run->sent + 1);
        req->len = run->spec.len;
        req->layout = run->spec.layout;
        req->pieces = run->spec.pieces;
        req->type = run->c->read_only ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT;
        req->sector = run->spec.sector + (uint64_t)lane * (run->spec.len / BLK_SECTOR);
        if (req->type == VIRTIO_BLK_T_OUT)
            blk_fill(req->data, req->len, req->sector, (uintptr_t)req->user);
    }
}

static enum verdict check_done(struct churning *run, const struct blk_request *req)
{
    uint32_t used = req->type == VIRTIO_BLK_T_IN ? req->len + 1 : 1;
    long bad;

    run->checked++;
    if (req->status != VIRTIO_BLK_S_OK)
        return check_fail(run->c, "request %u: status %u", run->checked, req->status);
    if (req->used_len != used)
        return check_fail(run->c, "request %u: used length %u, not %u", run->checked,
                          req->used_len, used);
    if (req->type != VIRTIO_BLK_T_IN || run->c->read_only)
        return PASS;
    bad = blk_verify(req->data, req->len, req->sector, (uintptr_t)req->user);
    if (bad < 0)
        return PASS;
    return check_fail(run->c, "request %u: sector %llu has wrong data at byte %ld of %u",
                      run->checked, (unsigned long long)req->sector, bad, req->len);
}

/* Returns false when the ring is full for now; the request goes back then. */
static bool send_one(struct churning *run, struct blk_request *req)
{
    if (run->sent >= run->spec.requests || blk_queue_add(run->q, req) < 0)
        return false;
    run->sent++;
    return true;
}

static void send_new(struct churning *run)
{
    while (ring_in_flight(run->q->ring) < run->spec.depth) {
        struct blk_request *req = blk_take(run->q);

        if (!req)
            return;
        next_turn(run, req);
        if (!send_one(run, req)) {
            blk_put(run->q, req);
            return;
        }
    }
}

static enum verdict collect(struct churning *run)
{
    struct blk_request *done[32];
    int n = blk_wait(run->q);

    if (n == 0)
        n = blk_reap(run->q, done, 32);
    if (n == -EPROTO)
        return check_fail(run->c, "%s", run->q->ring->error);
    if (n < 0)
        return check_fail(run->c, "request %u of %u: %s", run->checked + 1, run->spec.requests,
                          strerror(-n));
    for (int i = 0; i < n; i++) {
        enum verdict v = check_done(run, done[i]);
        bool read_back = done[i]->type == VIRTIO_BLK_T_OUT;

        if (v != PASS)
            return v;
        if (read_back)
            next_turn(run, done[i]);
        if (!read_back || !send_one(run, done[i]))
            blk_put(run->q, done[i]);
    }
    return PASS;
}

enum verdict check_churn(struct check *c, struct blkdev *dev, const struct churn *spec)
{
    struct churning run = { c, dev, &dev->queue[spec->queue], *spec, 0, 0 };
    enum verdict v = PASS;

    run.spec.requests = spec->requests ? spec->requests : 500;
    run.spec.len = spec->len ? spec->len : 4096;
    run.spec.depth = spec->depth ? spec->depth : dev->opt.slots;
    while (v == PASS && run.checked < run.spec.requests) {
        int err;

        send_new(&run);
        if (!ring_in_flight(run.q->ring))
            return check_fail(c, "one request does not fit into the empty ring");
        err = ring_submit(run.q->ring);
        v = err ? check_fail(c, "kick: %s", strerror(-err)) : collect(&run);
    }
    if (v == PASS && run.q->ring->free_count != dev->opt.num)
        v = check_fail(c, "%u descriptors are missing at the end",
                       dev->opt.num - run.q->ring->free_count);
    return v;
}

enum verdict check_works(struct check *c, struct blkdev *dev)
{
    enum verdict v = PASS;

    for (unsigned int i = 0; i < dev->opt.queues && v == PASS; i++) {
        struct churn spec = { .queue = i, .requests = 100, .sector = i * 4096ull };

        v = check_churn(c, dev, &spec);
    }
    return v;
}

/* --- running rows --- */

static unsigned int open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned int count = 0;

    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

static enum verdict run_row(struct check *c, const struct row *row, struct blkdev *dev)
{
    struct blkdev_options opt = row->opt;
    enum verdict v = PASS;

    c->reason[0] = '\0';
    if (row->writes && c->read_only)
        return check_skip(c, "the disk is read-only");
    opt.path = c->path;
    if (row->bare) {
        memset(dev, 0, sizeof(*dev));
        fe_init(&dev->fe);
        guestmem_init(&dev->mem);
        dev->opt = opt;
    } else {
        v = check_err(c, dev, blkdev_open(dev, &opt));
    }
    if (v == PASS)
        v = row->run(c, dev, row);
    for (unsigned int i = 0; v == PASS && !row->bare && i < dev->opt.queues; i++) {
        if (dev->fe.vring[i].err >= 0 && fe_ring_failed(&dev->fe, i))
            v = check_fail(c, "the back-end reported an error on ring %u", i);
    }
    blkdev_close(dev);
    return v;
}

static void print_row(const struct check *c, const struct row *row, enum verdict v)
{
    static const char *const word[] = { "ok", "not ok", "skip" };

    printf("%s %s%s%s\n", word[v], row->name, c->reason[0] && v != PASS ? ": " : "",
           v != PASS ? c->reason : "");
    fflush(stdout);
}

static bool wanted(const struct check *c, const struct row *row, char **names, int count)
{
    for (int i = 0; i < count; i++) {
        if (!strcmp(names[i], row->name))
            return true;
    }
    return !count && !(row->strict && c->well_formed);
}

static void run_table(struct check *c, const struct row *row, char **names, int count,
                      unsigned int tally[3])
{
    static struct blkdev dev;

    for (; row->name; row++) {
        unsigned int before = open_fds();
        enum verdict v;

        if (!wanted(c, row, names, count))
            continue;
        v = run_row(c, row, &dev);
        if (v == PASS && open_fds() != before)
            v = check_fail(c, "this program leaks descriptors");
        tally[v]++;
        print_row(c, row, v);
    }
}

/* What is offered decides what is skipped; a back-end that fails here has nothing to check. */
static int probe(struct check *c)
{
    static struct blkdev dev;
    struct blkdev_options opt = { .path = c->path };
    int status = 0;
    int err = blkdev_open(&dev, &opt);

    c->offered = dev.fe.offered;
    c->proto_offered = dev.fe.proto_offered;
    c->read_only = fe_has(&dev.fe, VIRTIO_BLK_F_RO);
    if (err) {
        fprintf(stderr, "vhost-blk-check: %s\n", dev.fe.error);
        status = 1;
    } else if (dev.sectors * BLK_SECTOR < DISK_MIN) {
        fprintf(stderr, "vhost-blk-check: the disk has %llu sectors; give one of at least %u\n",
                (unsigned long long)dev.sectors, DISK_MIN / BLK_SECTOR);
        status = 1;
    }
    blkdev_close(&dev);
    return status;
}

static const char help[] =
    "Usage: vhost-blk-check SOCKET [OPTION]... [ROW]...\n"
    "Checks a vhost-user block device; overwrites its first 16 MiB and its end.\n\n"
    "  --well-formed           leave out rows stricter than what known back-ends promise\n"
    "  --resize-command TEXT   shell command that changes the disk's size, for that row\n"
    "  --list                  print the names of all rows\n"
    "With names, only those rows run. Exit status: 0 all passed, 1 a row failed, 2 usage.\n";

static void list_rows(void)
{
    for (unsigned int i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        for (const struct row *row = tables[i]; row->name; row++)
            printf("%s%s\n", row->name, row->strict ? " (strict)" : "");
    }
}

/* Returns -1 to go on, else the exit status. */
static int parse(struct check *c, int argc, char **argv)
{
    static const struct option options[] = {
        { "well-formed", no_argument, NULL, 'w' },
        { "resize-command", required_argument, NULL, 'r' },
        { "list", no_argument, NULL, 'l' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'w') {
            c->well_formed = true;
        } else if (opt == 'r') {
            c->resize_command = optarg;
        } else if (opt == 'l') {
            list_rows();
            return 0;
        } else {
            fputs(help, opt == 'h' ? stdout : stderr);
            return opt == 'h' ? 0 : 2;
        }
    }
    if (optind >= argc) {
        fputs("vhost-blk-check: give the socket of a back-end; see --help\n", stderr);
        return 2;
    }
    c->path = argv[optind];
    return -1;
}

int main(int argc, char **argv)
{
    struct check c = { .path = NULL };
    unsigned int tally[3] = { 0, 0, 0 };
    int status = parse(&c, argc, argv);

    if (status >= 0)
        return status;
    if (probe(&c))
        return 1;
    for (unsigned int i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        run_table(&c, tables[i], argv + optind + 1, argc - optind - 1, tally);
    printf("%u passed, %u failed, %u skipped\n", tally[PASS], tally[FAIL], tally[SKIP]);
    return tally[FAIL] || !tally[PASS] ? 1 : 0;
}
