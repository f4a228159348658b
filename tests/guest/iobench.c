/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iobench.c - in a guest: reads 4 KiB blocks of a disk at random places, as many under way as
 * asked for, and tells how many it had in how much time. One thread, linked statically, raw Linux
 * AIO with O_DIRECT, so that it runs on any kernel and nothing but the driver is between it and the
 * disk.
 *
 * All that completed is sent again with one system call. The time runs from the first request to
 * the last answer, so what is still under way at the end counts with the time it takes.
 */
#define _GNU_SOURCE

#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 4096u
#define MAX_DEPTH 256u
#define STALL_SECONDS 40   /* without any answer */

struct state {
    const char *path;
    unsigned depth;
    double seconds;
    int fd;
    aio_context_t aio;
    uint64_t blocks;
    uint64_t random;
    struct iocb iocbs[MAX_DEPTH];
    struct iocb *ready[MAX_DEPTH];    /* to be sent with the next call */
    unsigned ready_count;
    unsigned in_flight;
    uint64_t reads;
};

/* ---- requests -------------------------------------------------------------------------------- */

static void make_ready(struct state *s, struct iocb *iocb)
{
    iocb->aio_offset = (int64_t)(next_random(&s->random) % s->blocks * BLOCK);
    s->ready[s->ready_count++] = iocb;
}

static void send_ready(struct state *s)
{
    unsigned sent = 0;

    while (sent < s->ready_count) {
        long n = syscall(SYS_io_submit, s->aio, (long)(s->ready_count - sent), s->ready + sent);
        if (n <= 0)
            fail("cannot start a request: %s", strerror(errno));
        sent += (unsigned)n;
    }
    s->in_flight += sent;
    s->ready_count = 0;
}

/* Waits for one answer at least; n of them are in events. */
static unsigned reap(struct state *s, struct io_event *events)
{
    struct timespec limit = { .tv_sec = STALL_SECONDS };
    long n;

    do
        n = syscall(SYS_io_getevents, s->aio, 1L, (long)s->depth, events, &limit);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        fail("cannot wait for requests: %s", strerror(errno));
    if (n == 0)
        fail("no answer for %d s, %u requests under way", STALL_SECONDS, s->in_flight);
    for (long i = 0; i < n; i++)
        if (events[i].res != BLOCK)
            fail("a read was answered with %lld", (long long)events[i].res);
    s->in_flight -= (unsigned)n;
    s->reads += (uint64_t)n;
    return (unsigned)n;
}

static double run(struct state *s)
{
    struct io_event events[MAX_DEPTH];
    double start = now(), end = start + s->seconds;

    for (unsigned i = 0; i < s->depth; i++)
        make_ready(s, &s->iocbs[i]);
    send_ready(s);
    while (s->in_flight > 0) {
        unsigned n = reap(s, events);
        if (now() >= end)
            continue;
        for (unsigned i = 0; i < n; i++)
            make_ready(s, &s->iocbs[events[i].data]);
        send_ready(s);
    }
    return now() - start;
}

/* ---- start ----------------------------------------------------------------------------------- */

static void open_disk(struct state *s)
{
    uint64_t bytes;

    s->fd = open(s->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (s->fd < 0)
        fail("cannot open %s: %s", s->path, strerror(errno));
    if (ioctl(s->fd, BLKGETSIZE64, &bytes) != 0)
        fail("cannot ask %s for its size: %s", s->path, strerror(errno));
    s->blocks = bytes / BLOCK;
    if (s->blocks == 0)
        fail("%s has no block of %u bytes", s->path, BLOCK);
}

static void prepare(struct state *s)
{
    void *buffers;

    if (posix_memalign(&buffers, BLOCK, (size_t)s->depth * BLOCK) != 0)
        fail("no memory for %u blocks", s->depth);
    memset(buffers, 1, (size_t)s->depth * BLOCK);
    for (unsigned i = 0; i < s->depth; i++)
        s->iocbs[i] = (struct iocb){
            .aio_data = i,
            .aio_lio_opcode = IOCB_CMD_PREAD,
            .aio_fildes = (uint32_t)s->fd,
            .aio_buf = (uint64_t)(uintptr_t)buffers + (uint64_t)i * BLOCK,
            .aio_nbytes = BLOCK,
        };
    if (syscall(SYS_io_setup, (long)s->depth, &s->aio) != 0)
        fail("cannot set up AIO: %s", strerror(errno));
    s->random = 0x2545f4914f6cdd1dull;
}

static double number(const char *name, const char *text, double min, double max)
{
    char *end;
    double n = strtod(text, &end);

    if (end == text || *end || !(n >= min && n <= max))
        fail("--%s '%s' is not a number from %g to %g", name, text, min, max);
    return n;
}

static void parse(struct state *s, int argc, char **argv)
{
    static const struct option names[] = {
        { "depth", required_argument, NULL, 'd' },
        { "seconds", required_argument, NULL, 's' },
        { 0 },
    };
    int c;

    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (c) {
        case 'd': s->depth = (unsigned)number("depth", optarg, 1, MAX_DEPTH); break;
        case 's': s->seconds = number("seconds", optarg, 0.01, 3600); break;
        default: fail("unknown option");
        }
    }
    if (optind != argc - 1)
        fail("usage: iobench [--depth N] [--seconds S] DISK");
    s->path = argv[optind];
}

int main(int argc, char **argv)
{
    static struct state state = { .depth = 1, .seconds = 1 };
    double seconds;

    parse(&state, argc, argv);
    open_disk(&state);
    prepare(&state);
    seconds = run(&state);
    printf("iobench: %s depth %u: %llu reads in %.6f s\n", state.path, state.depth,
           (unsigned long long)state.reads, seconds);
    return 0;
}
