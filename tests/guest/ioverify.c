/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioverify.c - in a guest: writes and reads a disk at random places with many requests under way,
 * and proves that every block holds what was written last. One thread, linked statically, raw
 * Linux AIO with O_DIRECT, so nothing but the driver is between it and the disk.
 *
 * It moves from processor to processor, and so from queue to queue, with requests under way in all.
 *
 * Each write stamps its blocks with the block's number and a generation no other write has; the
 * model keeps the generation each block should hold, 0 if it was not written yet. Order kept: a
 * block belongs to at most one request at a time, its new generation is entered only when its write
 * is done, so a read started after that must find it. At the end all is flushed, and every written
 * block read back. Overwrites the disk.
 */
#define _GNU_SOURCE

#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 4096u
#define WORDS (BLOCK / 8)
#define MAX_DEPTH 256u
#define MAX_BLOCKS 256u    /* in one request */
#define STAY 64            /* requests started on one processor before the next has its turn */
#define TRIES 64           /* places to look at for blocks that no request has */
#define STALL_SECONDS 40   /* without any answer */
#define SHOW_SECONDS 0.2   /* between two lines that tell how far it is */
#define LOOK_SECONDS 0.05  /* between two looks at the size of the disk */

struct options {
    const char *path;
    unsigned depth;
    unsigned max_blocks;    /* in one request */
    uint64_t requests;      /* stop after so many, */
    bool until_resized;     /* or once the disk has another size */
    unsigned seconds;       /* and that must happen within this time */
};

struct slot {
    struct iocb iocb;
    uint64_t *buffer;
    uint64_t first;         /* block */
    unsigned count;         /* blocks, 0 if the slot is free */
    uint64_t generation;    /* of a write, 0 for a read */
};

struct state {
    const struct options *options;
    int fd;
    aio_context_t aio;
    uint64_t bytes;         /* size of the disk at the start */
    uint64_t blocks;
    uint64_t *model;        /* generation of each block */
    uint8_t *busy;          /* block belongs to a request */
    struct slot slots[MAX_DEPTH];
    unsigned in_flight;
    uint64_t nonce;         /* tells this run from an earlier one on the same disk */
    uint64_t random;
    uint64_t generation;
    uint64_t started;
    long processors;
    uint64_t writes, reads, checked;
    double start, shown, looked;
    bool resized;
};

/* ---- stamps ---------------------------------------------------------------------------------- */

static uint64_t stamp_word(const struct state *s, uint64_t block, uint64_t generation, unsigned i)
{
    return (s->nonce ^ (block << 32) ^ generation) + i * 0x9e3779b97f4a7c15ull;
}

static void stamp(const struct state *s, uint64_t *words, uint64_t block, uint64_t generation)
{
    words[0] = block;
    words[1] = generation;
    for (unsigned i = 2; i < WORDS; i++)
        words[i] = stamp_word(s, block, generation, i);
}

static void check_block(struct state *s, const uint64_t *words, uint64_t block)
{
    uint64_t generation = s->model[block];

    if (generation == 0)
        return;
    if (words[0] != block || words[1] != generation)
        fail("block %llu should hold its write %llu, but holds write %llu of block %llu",
             (unsigned long long)block, (unsigned long long)generation,
             (unsigned long long)words[1], (unsigned long long)words[0]);
    for (unsigned i = 2; i < WORDS; i++)
        if (words[i] != stamp_word(s, block, generation, i))
            fail("block %llu, write %llu, is damaged from byte %u on",
                 (unsigned long long)block, (unsigned long long)generation, i * 8);
    s->checked++;
}

/* ---- requests -------------------------------------------------------------------------------- */

static void submit(struct state *s, struct slot *slot)
{
    struct iocb *iocb = &slot->iocb;

    *iocb = (struct iocb){
        .aio_data = (uint64_t)(slot - s->slots),
        .aio_lio_opcode = slot->generation ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
        .aio_fildes = (uint32_t)s->fd,
        .aio_buf = (uint64_t)(uintptr_t)slot->buffer,
        .aio_nbytes = (uint64_t)slot->count * BLOCK,
        .aio_offset = (int64_t)(slot->first * BLOCK),
    };
    if (syscall(SYS_io_submit, s->aio, 1L, &iocb) != 1)
        fail("cannot start a request: %s", strerror(errno));
    memset(s->busy + slot->first, 1, slot->count);
    s->in_flight++;
}

static bool is_free(const struct state *s, uint64_t first, unsigned count)
{
    return memchr(s->busy + first, 1, count) == NULL;
}

/* Where it cannot move, it stays: then the guest has one processor, or will not have it moved. */
static void change_processor(const struct state *s)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)(s->started / STAY % (uint64_t)s->processors), &set);
    sched_setaffinity(0, sizeof(set), &set);
}

/* Two of three are writes. Leaves the slot free if it finds no place. */
static void start_random(struct state *s, struct slot *slot)
{
    unsigned count = 1 + (unsigned)(next_random(&s->random) % s->options->max_blocks);

    if (s->started++ % STAY == 0)
        change_processor(s);
    for (int i = 0; i < TRIES; i++) {
        uint64_t first = next_random(&s->random) % (s->blocks - count + 1);
        if (!is_free(s, first, count))
            continue;
        slot->first = first;
        slot->count = count;
        slot->generation = next_random(&s->random) % 3 ? ++s->generation : 0;
        for (unsigned b = 0; slot->generation && b < count; b++)
            stamp(s, slot->buffer + b * WORDS, first + b, slot->generation);
        submit(s, slot);
        return;
    }
}

static void finish(struct state *s, const struct io_event *event)
{
    struct slot *slot = &s->slots[event->data];

    if (event->res != (int64_t)slot->count * BLOCK)
        fail("%s of %u blocks at block %llu was answered with %lld",
             slot->generation ? "a write" : "a read", slot->count,
             (unsigned long long)slot->first, (long long)event->res);
    for (unsigned b = 0; b < slot->count; b++) {
        if (slot->generation)
            s->model[slot->first + b] = slot->generation;
        else
            check_block(s, slot->buffer + b * WORDS, slot->first + b);
    }
    if (slot->generation)
        s->writes++;
    else
        s->reads++;
    memset(s->busy + slot->first, 0, slot->count);
    slot->count = 0;
    s->in_flight--;
}

static void reap(struct state *s)
{
    struct io_event events[MAX_DEPTH];
    struct timespec limit = { .tv_sec = STALL_SECONDS };
    long n = syscall(SYS_io_getevents, s->aio, 1L, (long)MAX_DEPTH, events, &limit);

    if (n < 0 && errno == EINTR)
        return;
    if (n < 0)
        fail("cannot wait for requests: %s", strerror(errno));
    if (n == 0)
        fail("no answer for %d s, %u requests under way", STALL_SECONDS, s->in_flight);
    for (long i = 0; i < n; i++)
        finish(s, &events[i]);
}

/* ---- the two passes -------------------------------------------------------------------------- */

static uint64_t disk_size(int fd)
{
    uint64_t bytes;

    if (ioctl(fd, BLKGETSIZE64, &bytes) == 0)
        return bytes;
    off_t end = lseek(fd, 0, SEEK_END);
    return end < 0 ? 0 : (uint64_t)end;
}

static void show(struct state *s)
{
    s->shown = now();
    printf("ioverify: %llu requests\n", (unsigned long long)(s->writes + s->reads));
}

static bool go_on(struct state *s)
{
    double t = now();

    if (!s->options->until_resized)
        return s->writes + s->reads + s->in_flight < s->options->requests;
    if (t - s->shown >= SHOW_SECONDS)
        show(s);
    if (t - s->looked >= LOOK_SECONDS) {
        s->looked = t;
        s->resized = disk_size(s->fd) != s->bytes;
    }
    return !s->resized;
}

static void check_time(const struct state *s)
{
    if (now() - s->start > s->options->seconds)
        fail("not done after %u s with %llu requests%s", s->options->seconds,
             (unsigned long long)(s->writes + s->reads),
             s->options->until_resized ? ", and the disk kept its size" : "");
}

static void run_random(struct state *s)
{
    do {
        for (unsigned i = 0; i < s->options->depth && go_on(s); i++)
            if (s->slots[i].count == 0)
                start_random(s, &s->slots[i]);
        if (s->in_flight > 0)
            reap(s);
        check_time(s);
    } while (s->in_flight > 0 || go_on(s));
}

/* The longest run of written blocks from *next on that fits into a request; moves *next on. */
static unsigned next_written(const struct state *s, uint64_t *next, uint64_t *first)
{
    unsigned count = 0;

    while (*next < s->blocks && s->model[*next] == 0)
        (*next)++;
    *first = *next;
    while (*next < s->blocks && count < s->options->max_blocks && s->model[*next] != 0) {
        (*next)++;
        count++;
    }
    return count;
}

static void read_back(struct state *s)
{
    uint64_t next = 0;

    s->checked = 0;
    do {
        for (unsigned i = 0; i < s->options->depth; i++) {
            struct slot *slot = &s->slots[i];
            if (slot->count > 0)
                continue;
            slot->generation = 0;
            slot->count = next_written(s, &next, &slot->first);
            if (slot->count == 0)
                break;
            submit(s, slot);
        }
        if (s->in_flight > 0)
            reap(s);
        check_time(s);
    } while (s->in_flight > 0 || next < s->blocks);
}

/* ---- start ----------------------------------------------------------------------------------- */

static void open_disk(struct state *s)
{
    const struct options *o = s->options;

    s->fd = open(o->path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (s->fd < 0)
        fail("cannot open %s: %s", o->path, strerror(errno));
    s->bytes = disk_size(s->fd);
    s->blocks = s->bytes / BLOCK;
    if (s->blocks < 4ull * o->depth * o->max_blocks)
        fail("%s has %llu blocks, this depth and size of requests need %llu", o->path,
             (unsigned long long)s->blocks, 4ull * o->depth * o->max_blocks);
}

static void prepare(struct state *s)
{
    struct timespec t;

    s->model = calloc(s->blocks, sizeof(*s->model));
    s->busy = calloc(s->blocks, 1);
    if (!s->model || !s->busy)
        fail("no memory for a model of %llu blocks", (unsigned long long)s->blocks);
    for (unsigned i = 0; i < s->options->depth; i++) {
        void *buffer;
        if (posix_memalign(&buffer, BLOCK, (size_t)s->options->max_blocks * BLOCK) != 0)
            fail("no memory for %u buffers of %u blocks", s->options->depth,
                 s->options->max_blocks);
        s->slots[i].buffer = buffer;
    }
    if (syscall(SYS_io_setup, (long)s->options->depth, &s->aio) != 0)
        fail("cannot set up AIO: %s", strerror(errno));
    s->processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (s->processors < 1 || s->processors > CPU_SETSIZE)
        s->processors = 1;
    clock_gettime(CLOCK_REALTIME, &t);
    s->nonce = ((uint64_t)t.tv_sec << 32 ^ (uint64_t)t.tv_nsec << 1) | 1;
    s->random = s->nonce;
}

static unsigned number(const char *name, const char *text, unsigned max)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (end == text || *end || n < 1 || n > max)
        fail("--%s '%s' is not a number from 1 to %u", name, text, max);
    return (unsigned)n;
}

static void parse(struct options *o, int argc, char **argv)
{
    static const struct option names[] = {
        { "depth", required_argument, NULL, 'd' },    { "blocks", required_argument, NULL, 'b' },
        { "requests", required_argument, NULL, 'r' }, { "seconds", required_argument, NULL, 's' },
        { "until-resized", no_argument, NULL, 'u' },  { 0 },
    };
    int c;

    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (c) {
        case 'd': o->depth = number("depth", optarg, MAX_DEPTH); break;
        case 'b': o->max_blocks = number("blocks", optarg, MAX_BLOCKS); break;
        case 'r': o->requests = number("requests", optarg, 1000000000); break;
        case 's': o->seconds = number("seconds", optarg, 3600); break;
        case 'u': o->until_resized = true; break;
        default: fail("unknown option");
        }
    }
    if (optind != argc - 1)
        fail("usage: ioverify [--depth N] [--blocks N] [--requests N | --until-resized] "
             "[--seconds N] DISK");
    o->path = argv[optind];
}

int main(int argc, char **argv)
{
    static struct state state;
    struct options options = { .depth = 1, .max_blocks = 8, .requests = 1000, .seconds = 60 };
    double seconds;

    setvbuf(stdout, NULL, _IOLBF, 0);
    parse(&options, argc, argv);
    state.options = &options;
    open_disk(&state);
    prepare(&state);
    state.start = now();
    run_random(&state);
    seconds = now() - state.start;
    if (fdatasync(state.fd) != 0)
        fail("flush failed: %s", strerror(errno));
    uint64_t writes = state.writes, reads = state.reads, during = state.checked;
    read_back(&state);
    printf("ioverify: ok, depth %u, up to %u blocks: %llu writes, %llu reads, %.0f requests/s; "
           "%llu blocks found right meanwhile, %llu in the end\n",
           options.depth, options.max_blocks, (unsigned long long)writes,
           (unsigned long long)reads, (double)(writes + reads) / seconds,
           (unsigned long long)during, (unsigned long long)state.checked);
    return 0;
}
