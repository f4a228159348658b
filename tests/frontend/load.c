/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vhost-blk-load: a closed-loop load generator for a vhost-user block device.
 *
 * Each queue keeps --depth requests in flight: whatever completes is sent again at once, one
 * publication and at most one kick per batch. One thread drives all queues unless --threads says
 * otherwise; a queue belongs to exactly one thread. The main thread connects, starts the others,
 * joins them and prints. In --verify runs every slot owns its own blocks of the disk, so that no
 * two requests in flight touch the same bytes.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "blkdev.h"
#include "clock.h"
#include "histogram.h"

#define BATCH 64u
#define PREFILL_SEED 1u

struct load_options {
    const char *path;
    bool write;
    bool random;
    uint32_t bs;
    unsigned int depth;
    unsigned int queues;
    unsigned int threads;
    unsigned int num;
    double seconds;
    uint64_t ios;
    uint64_t size;
    bool poll;
    bool indirect;
    bool no_event_idx;
    bool in_order;
    bool verify;
    bool json;
    bool stay;
};

/* Per request slot; hangs off blk_request.user. */
struct slot {
    uint64_t lane; /* first block of this slot in a --verify run */
    uint64_t turn;
    uint64_t seed;
    bool reading_back;
};

struct worker {
    pthread_t thread;
    struct load *load;
    unsigned int index;
    struct histogram latency;
    uint64_t random;
    uint64_t budget; /* requests still to be sent */
    uint64_t errors;
    uint64_t ended_ns;
    int err;
    char text[200];
};

struct load {
    struct load_options opt;
    struct blkdev dev;
    struct slot *slot; /* queues * depth */
    uint64_t *cursor; /* next block per queue, in sequential runs */
    struct worker *worker;
    uint64_t blocks;
    uint64_t deadline_ns;
    uint64_t started_ns;
    bool prefilling;
};

static bool queue_is_mine(const struct worker *w, unsigned int queue)
{
    return queue % w->load->opt.threads == w->index;
}

__attribute__((format(printf, 3, 4))) static int stop(struct worker *w, int err,
                                                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(w->text, sizeof(w->text), format, args);
    va_end(args);
    w->err = err;
    return err;
}

/* --- what to send next --- */

static uint64_t next_random(struct worker *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

static uint64_t rows_per_lane(const struct load *load)
{
    return load->blocks / ((uint64_t)load->opt.queues * load->opt.depth);
}

static uint64_t next_lane_block(struct worker *w, struct slot *s)
{
    const struct load *load = w->load;
    uint64_t lanes = (uint64_t)load->opt.queues * load->opt.depth;
    uint64_t rows = rows_per_lane(load);
    bool random = load->opt.random && !load->prefilling;

    return s->lane + lanes * (random ? next_random(w) % rows : s->turn++ % rows);
}

static uint64_t next_block(struct worker *w, unsigned int queue, struct slot *s)
{
    struct load *load = w->load;

    if (load->opt.verify)
        return next_lane_block(w, s);
    if (load->opt.random)
        return next_random(w) % load->blocks;
    return load->cursor[queue]++ % load->blocks;
}

static void prepare(struct worker *w, unsigned int queue, struct blk_request *req)
{
    const struct load_options *opt = &w->load->opt;
    struct slot *s = req->user;
    bool write = opt->write || w->load->prefilling;

    if (s->reading_back) {
        req->type = VIRTIO_BLK_T_IN;
    } else {
        req->sector = next_block(w, queue, s) * (opt->bs / BLK_SECTOR);
        req->type = write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
        s->seed = opt->write && !w->load->prefilling ? s->seed + 1 : PREFILL_SEED;
        if (write && opt->verify)
            blk_fill(req->data, opt->bs, req->sector, s->seed);
    }
    req->len = opt->bs;
}

static int send_next(struct worker *w, unsigned int queue, struct blk_request *req, uint64_t now)
{
    int err;

    prepare(w, queue, req);
    req->started_ns = now;
    err = blk_queue_add(&w->load->dev.queue[queue], req);
    if (err)
        return stop(w, err, "queue %u: the ring has no room for depth %u", queue,
                    w->load->opt.depth);
    w->budget--;
    return 0;
}

/* --- what came back --- */

static int check_one(struct worker *w, const struct blk_request *req)
{
    const struct load_options *opt = &w->load->opt;
    const struct slot *s = req->user;
    uint32_t used = req->type == VIRTIO_BLK_T_IN ? opt->bs + 1 : 1;
    long bad;

    if (req->status != VIRTIO_BLK_S_OK) {
        w->errors++;
        return stop(w, -EIO, "sector %llu: the device answered status %u",
                    (unsigned long long)req->sector, req->status);
    }
    if (!opt->verify)
        return 0;
    if (req->used_len != used)
        return stop(w, -EPROTO, "sector %llu: used length %u, not %u",
                    (unsigned long long)req->sector, req->used_len, used);
    if (req->type != VIRTIO_BLK_T_IN)
        return 0;
    bad = blk_verify(req->data, opt->bs, req->sector, s->seed);
    if (bad >= 0)
        return stop(w, -EILSEQ, "sector %llu: wrong data at byte %ld of %u",
                    (unsigned long long)req->sector, bad, opt->bs);
    return 0;
}

/* A written block of a --verify run goes round once more, to be read. */
static void turn_over(const struct worker *w, struct blk_request *req)
{
    struct slot *s = req->user;

    s->reading_back = w->load->opt.verify && w->load->opt.write && !w->load->prefilling &&
                      req->type == VIRTIO_BLK_T_OUT;
    if (s->reading_back)
        memset(req->data, 0, w->load->opt.bs);
}

static bool keep_going(const struct worker *w, const struct slot *s, uint64_t now)
{
    if (w->load->prefilling)
        return s->turn < rows_per_lane(w->load);
    return w->budget && now < w->load->deadline_ns;
}

static int serve(struct worker *w, unsigned int queue)
{
    struct blk_queue *q = &w->load->dev.queue[queue];
    struct blk_request *done[BATCH];
    int n = blk_reap(q, done, BATCH);
    uint64_t now;
    int err = 0;

    if (n < 0)
        return stop(w, n, "queue %u: %s", queue, q->ring->error);
    if (!n)
        return 0;
    now = clock_ns();
    for (int i = 0; i < n; i++) {
        histogram_add(&w->latency, now - done[i]->started_ns);
        err = check_one(w, done[i]);
        if (err)
            return err;
        turn_over(w, done[i]);
        if (keep_going(w, done[i]->user, now))
            err = send_next(w, queue, done[i], now);
        else
            blk_put(q, done[i]);
        if (err)
            return err;
    }
    err = ring_submit(q->ring);
    return err ? stop(w, err, "queue %u: cannot kick: %s", queue, strerror(-err)) : n;
}

/* --- the loop of one thread --- */

static bool busy(const struct worker *w)
{
    for (unsigned int i = w->index; i < w->load->opt.queues; i += w->load->opt.threads) {
        if (ring_in_flight(&w->load->dev.ring[i]))
            return true;
    }
    return false;
}

/* Interrupts are asked for on every queue, then looked once more before sleeping. */
static int sleep_until_called(struct worker *w)
{
    struct pollfd fd[FE_RINGS_MAX + 1];
    unsigned int of[FE_RINGS_MAX];
    nfds_t n = 0;
    bool pending = false;
    int ready;

    for (unsigned int i = w->index; i < w->load->opt.queues; i += w->load->opt.threads) {
        struct ring *r = &w->load->dev.ring[i];

        fd[n] = (struct pollfd){ .fd = r->call_fd, .events = POLLIN };
        of[n++] = i;
        pending |= ring_arm(r, 1);
    }
    fd[n] = (struct pollfd){ .fd = w->load->dev.fe.sock, .events = POLLRDHUP };
    ready = pending ? 1 : poll(fd, n + 1, BACKEND_PATIENCE_MS);
    if (ready < 0 && errno != EINTR)
        return stop(w, -errno, "poll: %s", strerror(errno));
    if (ready == 0)
        return stop(w, -ETIMEDOUT, "nothing completed for %d ms", BACKEND_PATIENCE_MS);
    for (nfds_t i = 0; i < n; i++) {
        struct ring *r = &w->load->dev.ring[of[i]];

        ring_disarm(r);
        if (!pending && fd[i].revents)
            ring_drain_calls(r);
    }
    if (!pending && fd[n].revents)
        return stop(w, -ECONNRESET, "the back-end closed the connection");
    return 0;
}

static int spin(struct worker *w, uint64_t *idle_since, unsigned int *rounds)
{
    ring_relax();
    if (++*rounds % 4096)
        return 0;
    if (!fe_alive(&w->load->dev.fe))
        return stop(w, -ECONNRESET, "the back-end closed the connection");
    if (!*idle_since)
        *idle_since = clock_ns();
    if (clock_ns() - *idle_since > BACKEND_PATIENCE_MS * 1000000ull)
        return stop(w, -ETIMEDOUT, "nothing completed for %d ms", BACKEND_PATIENCE_MS);
    return 0;
}

static int prime(struct worker *w)
{
    const struct load_options *opt = &w->load->opt;
    uint64_t now = clock_ns();

    for (unsigned int i = 0; i < opt->queues; i++) {
        struct blk_queue *q = &w->load->dev.queue[i];
        int err = 0;

        if (!queue_is_mine(w, i))
            continue;
        ring_disarm(q->ring);
        for (unsigned int k = 0; k < opt->depth && !err; k++) {
            struct slot *s = &w->load->slot[i * opt->depth + k];
            struct blk_request *req = keep_going(w, s, now) ? blk_take(q) : NULL;

            if (!req)
                break;
            req->user = s;
            err = send_next(w, i, req, now);
        }
        if (!err)
            err = ring_submit(q->ring);
        if (err)
            return w->err ? w->err : stop(w, err, "cannot kick: %s", strerror(-err));
    }
    return 0;
}

static void *run_worker(void *arg)
{
    struct worker *w = arg;
    uint64_t idle_since = 0;
    unsigned int rounds = 0;
    int err = prime(w);

    while (!err && busy(w)) {
        int moved = 0;

        for (unsigned int i = 0; i < w->load->opt.queues && !err; i++) {
            int n = queue_is_mine(w, i) ? serve(w, i) : 0;

            err = n < 0 ? n : 0;
            moved += n;
        }
        if (err)
            break;
        if (moved)
            idle_since = rounds = 0;
        else if (w->load->opt.poll)
            err = spin(w, &idle_since, &rounds);
        else if (busy(w))
            err = sleep_until_called(w);
    }
    w->ended_ns = clock_ns();
    return NULL;
}

/* --- phases --- */

static void reset_worker(struct load *load, unsigned int index, uint64_t budget)
{
    struct worker *w = &load->worker[index];

    memset(w, 0, sizeof(*w));
    w->load = load;
    w->index = index;
    w->random = 0x2545f4914f6cdd1du + index * 0x9e3779b97f4a7c15u;
    w->budget = budget / load->opt.threads + (index < budget % load->opt.threads);
}

/* Runs all workers to their end; the first runs on this thread if it is the only one. */
static int run_all(struct load *load, uint64_t budget)
{
    unsigned int threads = load->opt.threads;
    unsigned int started = 0;
    int err = 0;

    for (unsigned int i = 0; i < threads; i++)
        reset_worker(load, i, budget);
    load->started_ns = clock_ns();
    load->deadline_ns = UINT64_MAX;
    if (!load->prefilling && load->opt.seconds > 0)
        load->deadline_ns = load->started_ns + (uint64_t)(load->opt.seconds * 1e9);
    if (threads == 1) {
        run_worker(&load->worker[0]);
        return load->worker[0].err;
    }
    while (started < threads && !err) {
        err = -pthread_create(&load->worker[started].thread, NULL, run_worker,
                              &load->worker[started]);
        started += !err;
    }
    if (err)
        stop(&load->worker[0], err, "cannot start a thread: %s", strerror(-err));
    for (unsigned int i = 0; i < started; i++)
        pthread_join(load->worker[i].thread, NULL);
    for (unsigned int i = 0; i < threads && !err; i++)
        err = load->worker[i].err;
    return err;
}

/* Every slot writes each block of its lane once. */
static int prefill(struct load *load)
{
    int err;

    if (!load->opt.verify || load->opt.write)
        return 0;
    load->prefilling = true;
    err = run_all(load, UINT64_MAX);
    load->prefilling = false;
    return err;
}

static void layout_slots(struct load *load)
{
    uint64_t lanes = (uint64_t)load->opt.queues * load->opt.depth;

    for (uint64_t i = 0; i < lanes; i++)
        load->slot[i] = (struct slot){ .lane = i, .seed = PREFILL_SEED };
    for (unsigned int i = 0; i < load->opt.queues; i++)
        load->cursor[i] = load->blocks / load->opt.queues * i;
}

/* --- report --- */

struct result {
    struct histogram latency;
    double seconds;
    double cpu;
    uint64_t kicks;
    uint64_t calls;
    uint64_t errors;
};

static double cpu_seconds(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)use.ru_utime.tv_sec + (double)use.ru_stime.tv_sec +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void collect(struct load *load, struct result *out)
{
    uint64_t end = load->started_ns;

    for (unsigned int i = 0; i < load->opt.threads; i++) {
        const struct worker *w = &load->worker[i];

        histogram_merge(&out->latency, &w->latency);
        out->errors += w->errors;
        if (w->ended_ns > end)
            end = w->ended_ns;
    }
    out->seconds = (double)(end - load->started_ns) / 1e9;
    for (unsigned int i = 0; i < load->opt.queues; i++) {
        ring_drain_calls(&load->dev.ring[i]);
        out->kicks += load->dev.ring[i].kicks;
        out->calls += load->dev.ring[i].calls;
    }
}

static double us(double ns)
{
    return ns / 1000;
}

static void print_json(const struct load_options *o, const struct result *r)
{
    double iops = (double)r->latency.count / r->seconds;

    printf("{\"rw\":\"%s%s\",\"bs\":%u,\"depth\":%u,\"queues\":%u,\"threads\":%u,"
           "\"mode\":\"%s\",\"ios\":%llu,\"seconds\":%.3f,\"iops\":%.0f,\"mbps\":%.1f,"
           "\"lat_us\":{\"mean\":%.1f,\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f},"
           "\"kicks\":%llu,\"interrupts\":%llu,\"errors\":%llu,\"cpu_seconds\":%.3f}\n",
           o->random ? "rand" : "", o->write ? "write" : "read", o->bs, o->depth, o->queues,
           o->threads, o->poll ? "poll" : "wait", (unsigned long long)r->latency.count,
           r->seconds, iops, iops * o->bs / 1e6, us(histogram_mean(&r->latency)),
           us((double)histogram_quantile(&r->latency, 0.5)),
           us((double)histogram_quantile(&r->latency, 0.99)), us((double)r->latency.max),
           (unsigned long long)r->kicks, (unsigned long long)r->calls,
           (unsigned long long)r->errors, r->cpu);
}

static void print_text(const struct load_options *o, const struct result *r)
{
    double iops = (double)r->latency.count / r->seconds;

    printf("%s%s bs=%u depth=%u queues=%u threads=%u %s%s%s%s%s\n", o->random ? "rand" : "",
           o->write ? "write" : "read", o->bs, o->depth, o->queues, o->threads,
           o->poll ? "poll" : "wait", o->indirect ? " indirect" : "",
           o->no_event_idx ? "" : " event-idx", o->in_order ? " in-order" : "",
           o->verify ? " verify" : "");
    printf("  %llu requests in %.2f s: %.0f IOPS, %.1f MB/s, %llu errors\n",
           (unsigned long long)r->latency.count, r->seconds, iops, iops * o->bs / 1e6,
           (unsigned long long)r->errors);
    printf("  latency us: mean %.1f, p50 %.1f, p99 %.1f, max %.1f\n",
           us(histogram_mean(&r->latency)), us((double)histogram_quantile(&r->latency, 0.5)),
           us((double)histogram_quantile(&r->latency, 0.99)), us((double)r->latency.max));
    printf("  %llu kicks, %llu interrupts, %.2f s of own CPU time\n",
           (unsigned long long)r->kicks, (unsigned long long)r->calls, r->cpu);
}

static void report(struct load *load, double cpu_before)
{
    static const struct result nothing;
    struct result *r = malloc(sizeof(*r));

    if (!r)
        return;
    *r = nothing;
    collect(load, r);
    r->cpu = cpu_seconds() - cpu_before;
    if (load->opt.json)
        print_json(&load->opt, r);
    else
        print_text(&load->opt, r);
    free(r);
}

/* --- setting up --- */

static int complain(const char *text)
{
    fprintf(stderr, "vhost-blk-load: %s\n", text);
    return 1;
}

static int fit_to_disk(struct load *load)
{
    struct load_options *o = &load->opt;
    uint64_t disk = load->dev.sectors * BLK_SECTOR;
    uint64_t lanes = (uint64_t)o->queues * o->depth;

    if (o->size > disk)
        return complain("--size is more than the disk has; give less");
    load->blocks = (o->size ? o->size : disk) / o->bs;
    if (!load->blocks || (o->verify && load->blocks < lanes))
        return complain("the disk (or --size) is too small for this block size and depth");
    if (fe_has(&load->dev.fe, VIRTIO_BLK_F_RO) && (o->write || o->verify))
        return complain("the disk is read-only; use a read test without --verify");
    return 0;
}

static int open_device(struct load *load)
{
    const struct load_options *o = &load->opt;
    struct blkdev_options dev = {
        .path = o->path,
        .queues = o->queues,
        .num = (uint16_t)o->num,
        .slots = o->depth,
        .capacity = o->bs,
        .indirect_max = 4,
        .indirect = o->indirect,
        .event_idx = !o->no_event_idx,
        .in_order = o->in_order,
        .poll = o->poll,
    };

    if (blkdev_open(&load->dev, &dev))
        return complain(load->dev.fe.error);
    return fit_to_disk(load);
}

static int measure(struct load *load)
{
    double cpu;
    int err;

    layout_slots(load);
    err = prefill(load);
    for (unsigned int i = 0; i < load->opt.queues; i++) {
        ring_drain_calls(&load->dev.ring[i]);
        load->dev.ring[i].kicks = 0;
        load->dev.ring[i].calls = 0;
    }
    cpu = cpu_seconds();
    if (!err)
        err = run_all(load, load->opt.ios ? load->opt.ios : UINT64_MAX);
    if (!err) {
        report(load, cpu);
        return 0;
    }
    for (unsigned int i = 0; i < load->opt.threads; i++) {
        if (load->worker[i].err)
            complain(load->worker[i].text);
    }
    return 1;
}

/* Until whoever started this closes our standard input. */
static void stay_connected(void)
{
    fflush(stdout);
    while (getchar() != EOF)
        continue;
}

static int run(struct load *load)
{
    const struct load_options *o = &load->opt;
    int status = 1;

    load->slot = calloc((size_t)o->queues * o->depth, sizeof(*load->slot));
    load->cursor = calloc(o->queues, sizeof(*load->cursor));
    load->worker = calloc(o->threads, sizeof(*load->worker));
    if (!load->slot || !load->cursor || !load->worker)
        complain("out of memory");
    else if (!open_device(load))
        status = measure(load);
    if (!status && o->stay)
        stay_connected();
    blkdev_close(&load->dev);
    free(load->slot);
    free(load->cursor);
    free(load->worker);
    return status;
}

/* --- command line --- */

static const char help[] =
    "Usage: vhost-blk-load SOCKET [OPTION]...\n"
    "Keeps a vhost-user block device busy and measures it. Writing overwrites the disk.\n\n"
    "  --rw KIND         read, write, randread or randwrite (default randread)\n"
    "  --bs SIZE         bytes per request, a multiple of 512 (default 4k)\n"
    "  --depth N         requests in flight per queue (default 32)\n"
    "  --queues N        number of queues (default 1)\n"
    "  --threads N       threads that share the queues (default 1)\n"
    "  --num N           ring size, a power of two (default: fits the depth, at least 128)\n"
    "  --seconds S       how long to run (default 5, unless --ios is given)\n"
    "  --ios N           how many requests to send\n"
    "  --size SIZE       use only the first SIZE bytes of the disk\n"
    "  --poll | --wait   spin on the used ring, or sleep until called (default --wait)\n"
    "  --indirect        use indirect descriptors\n"
    "  --no-event-idx    do not negotiate the event index\n"
    "  --in-order        negotiate in-order use\n"
    "  --verify          check data: reads after a first pass that fills the disk, writes by\n"
    "                    reading each block back\n"
    "  --json            one JSON object instead of text\n"
    "  --stay            stay connected, idle, until standard input ends\n"
    "Sizes may end in k, M or G. Exit status: 0 done, 1 failed, 2 wrong usage.\n";

enum { OPT_RW = 256, OPT_BS, OPT_DEPTH, OPT_QUEUES, OPT_THREADS, OPT_NUM, OPT_SECONDS, OPT_IOS,
       OPT_SIZE, OPT_POLL, OPT_WAIT, OPT_INDIRECT, OPT_NO_EVENT_IDX, OPT_IN_ORDER, OPT_VERIFY,
       OPT_JSON, OPT_STAY, OPT_HELP };

static const struct option options[] = {
    { "rw", required_argument, NULL, OPT_RW },
    { "bs", required_argument, NULL, OPT_BS },
    { "depth", required_argument, NULL, OPT_DEPTH },
    { "queues", required_argument, NULL, OPT_QUEUES },
    { "threads", required_argument, NULL, OPT_THREADS },
    { "num", required_argument, NULL, OPT_NUM },
    { "seconds", required_argument, NULL, OPT_SECONDS },
    { "ios", required_argument, NULL, OPT_IOS },
    { "size", required_argument, NULL, OPT_SIZE },
    { "poll", no_argument, NULL, OPT_POLL },
    { "wait", no_argument, NULL, OPT_WAIT },
    { "indirect", no_argument, NULL, OPT_INDIRECT },
    { "no-event-idx", no_argument, NULL, OPT_NO_EVENT_IDX },
    { "in-order", no_argument, NULL, OPT_IN_ORDER },
    { "verify", no_argument, NULL, OPT_VERIFY },
    { "json", no_argument, NULL, OPT_JSON },
    { "stay", no_argument, NULL, OPT_STAY },
    { "help", no_argument, NULL, OPT_HELP },
    { NULL, 0, NULL, 0 },
};

static bool parse_size(const char *text, uint64_t max, uint64_t *value)
{
    static const char unit[] = "kMG";
    unsigned int shift = 0;
    char *end;
    unsigned long long n;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    n = strtoull(text, &end, 0);
    if (*end && strchr(unit, *end)) {
        shift = 10 * (unsigned int)(strchr(unit, *end) - unit + 1);
        end++;
    }
    *value = (uint64_t)n << shift;
    return !errno && !*end && *value >> shift == n && n && *value <= max;
}

static bool parse_uint(const char *text, unsigned int max, unsigned int *value)
{
    uint64_t wide;
    bool ok = parse_size(text, max, &wide);

    if (ok)
        *value = (unsigned int)wide;
    return ok;
}

static bool parse_rw(struct load_options *o, const char *kind)
{
    o->random = !strncmp(kind, "rand", 4);
    if (o->random)
        kind += 4;
    o->write = !strcmp(kind, "write");
    return o->write || !strcmp(kind, "read");
}

static bool parse_seconds(const char *text, double *value)
{
    char *end;

    *value = strtod(text, &end);
    return end != text && !*end && *value > 0 && *value < 1e6;
}

static bool take_flag(struct load_options *o, int opt)
{
    switch (opt) {
    case OPT_POLL: o->poll = true; return true;
    case OPT_WAIT: o->poll = false; return true;
    case OPT_INDIRECT: o->indirect = true; return true;
    case OPT_NO_EVENT_IDX: o->no_event_idx = true; return true;
    case OPT_IN_ORDER: o->in_order = true; return true;
    case OPT_VERIFY: o->verify = true; return true;
    case OPT_JSON: o->json = true; return true;
    case OPT_STAY: o->stay = true; return true;
    default: return false;
    }
}

static bool take_value(struct load_options *o, int opt, const char *text)
{
    unsigned int bs;

    switch (opt) {
    case OPT_RW: return parse_rw(o, text);
    case OPT_BS:
        if (!parse_uint(text, 4u << 20, &bs) || bs % BLK_SECTOR)
            return false;
        o->bs = bs;
        return true;
    case OPT_DEPTH: return parse_uint(text, 4096, &o->depth);
    case OPT_QUEUES: return parse_uint(text, FE_RINGS_MAX, &o->queues);
    case OPT_THREADS: return parse_uint(text, FE_RINGS_MAX, &o->threads);
    case OPT_NUM: return parse_uint(text, 32768, &o->num) && !(o->num & (o->num - 1));
    case OPT_SECONDS: return parse_seconds(text, &o->seconds);
    case OPT_IOS: return parse_size(text, UINT64_MAX, &o->ios);
    case OPT_SIZE: return parse_size(text, UINT64_MAX, &o->size);
    default: return false;
    }
}

static const char *name_of(int opt)
{
    for (unsigned int i = 0; options[i].name; i++) {
        if (options[i].val == opt)
            return options[i].name;
    }
    return "?";
}

static int settle(struct load_options *o)
{
    unsigned int need = o->depth * (o->indirect ? 1 : 3);

    if (o->threads > o->queues) {
        fprintf(stderr, "vhost-blk-load: --threads %u is more than --queues %u\n", o->threads,
                o->queues);
        return 2;
    }
    if (!o->ios && !(o->seconds > 0))
        o->seconds = 5;
    if (!o->num) {
        for (o->num = 128; o->num < need && o->num < 32768; o->num *= 2)
            continue;
    }
    if (o->num < need) {
        fprintf(stderr, "vhost-blk-load: --num %u is too small: depth %u needs %u descriptors\n",
                o->num, o->depth, need);
        return 2;
    }
    return 0;
}

/* Returns -1 to go on, else the exit status. */
static int parse(struct load_options *o, int argc, char **argv)
{
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == OPT_HELP) {
            fputs(help, stdout);
            return 0;
        }
        if (opt == '?')
            return 2;
        if (!take_flag(o, opt) && !take_value(o, opt, optarg)) {
            fprintf(stderr, "vhost-blk-load: --%s does not take %s; see --help\n", name_of(opt),
                    optarg);
            return 2;
        }
    }
    if (optind + 1 != argc) {
        fputs("vhost-blk-load: give exactly one socket; see --help\n", stderr);
        return 2;
    }
    o->path = argv[optind];
    return settle(o) ? 2 : -1;
}

int main(int argc, char **argv)
{
    struct load *load = calloc(1, sizeof(*load));
    int status;

    if (!load)
        return complain("out of memory");
    load->opt = (struct load_options){
        .random = true, .bs = 4096, .depth = 32, .queues = 1, .threads = 1
    };
    status = parse(&load->opt, argc, argv);
    if (status < 0) {
        fe_init(&load->dev.fe);
        guestmem_init(&load->dev.mem);
        status = run(load);
    }
    free(load);
    return status;
}
