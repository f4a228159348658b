/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lastio.c - in a guest: writes each sector of a blank disk once, many at a time, until it gets
 * SIGTERM, and then tells how many writes came to their end and which. On the other side, with
 * --count, it tells the same of the image. When a disk went away under the guest both are equal if
 * every request that was carried out was also completed, and the other way round.
 *
 * "Which" is a sum over the numbers of the sectors. What is still under way when the signal comes
 * never ends, and neither does then the process: the kernel waits for it. One thread, linked
 * statically, raw Linux AIO with O_DIRECT.
 * usage: lastio [--depth N] DISK | lastio --count IMAGE
 */
#define _GNU_SOURCE

#include "io.h"

#include <fcntl.h>
#include <getopt.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECTOR 512u
#define WORDS (SECTOR / sizeof(uint64_t))
#define MAX_DEPTH 256u
#define MAGIC 0x6c617374696f0001u

struct tally {
    uint64_t n, sum;
};

static volatile sig_atomic_t told_to_end;

static void on_term(int signum)
{
    (void)signum;
    told_to_end = 1;
}

/* Differs for every sector, and is 0 for none. */
static uint64_t stamp_of(uint64_t sector)
{
    uint64_t state = sector + MAGIC;
    return next_random(&state) | 1;
}

static void add(struct tally *tally, uint64_t sector)
{
    tally->n++;
    tally->sum += stamp_of(sector);
}

static void tell(const struct tally *tally)
{
    printf("lastio: %llu sectors, sum %016llx\n", (unsigned long long)tally->n,
           (unsigned long long)tally->sum);
}

/* ---- the image ------------------------------------------------------------------------------- */

/* True if it was written; a sector is written as a whole or not at all. */
static bool is_written(const uint64_t *words, uint64_t sector)
{
    uint64_t expected = words[0] ? stamp_of(sector) : 0;
    for (unsigned i = 0; i < WORDS; i++)
        if (words[i] != expected)
            fail("sector %llu is neither blank nor written", (unsigned long long)sector);
    return expected != 0;
}

static void count(const char *path)
{
    uint64_t words[WORDS];
    struct tally tally = {0};
    FILE *file = fopen(path, "r");
    if (!file)
        fail("cannot open %s: %s", path, strerror(errno));
    for (uint64_t sector = 0; fread(words, sizeof(words), 1, file) == 1; sector++)
        if (is_written(words, sector))
            add(&tally, sector);
    fclose(file);
    tell(&tally);
}

/* ---- the disk -------------------------------------------------------------------------------- */

struct disk {
    int fd;
    aio_context_t aio;
    uint64_t next, sectors;
    unsigned in_flight;
    bool gone;
    uint64_t *buffers;
    struct iocb iocbs[MAX_DEPTH];
    struct tally tally;
};

static void open_disk(struct disk *d, const char *path, unsigned depth)
{
    uint64_t bytes = 0;
    void *buffers;
    d->fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
    if (d->fd < 0 || ioctl(d->fd, BLKGETSIZE64, &bytes) < 0)
        fail("cannot open the disk %s: %s", path, strerror(errno));
    d->sectors = bytes / SECTOR;
    if (posix_memalign(&buffers, 4096, (size_t)depth * SECTOR) != 0)
        fail("no memory for %u sectors", depth);
    d->buffers = buffers;
    if (syscall(SYS_io_setup, (long)depth, &d->aio) != 0)
        fail("cannot set up AIO: %s", strerror(errno));
}

/* The driver of a device that went away gives its disk the size 0. */
static bool is_gone(const struct disk *d)
{
    uint64_t bytes = 1;
    return ioctl(d->fd, BLKGETSIZE64, &bytes) < 0 || bytes == 0;
}

static void write_next(struct disk *d, unsigned slot)
{
    struct iocb *iocb = &d->iocbs[slot];
    uint64_t *words = d->buffers + slot * WORDS;
    if (d->next == d->sectors)
        fail("all %llu sectors are written: take a larger disk", (unsigned long long)d->sectors);
    for (unsigned i = 0; i < WORDS; i++)
        words[i] = stamp_of(d->next);
    *iocb = (struct iocb){
        .aio_data = d->next << 8 | slot, /* which sector, and where its buffer is */
        .aio_lio_opcode = IOCB_CMD_PWRITE,
        .aio_fildes = (uint32_t)d->fd,
        .aio_buf = (uint64_t)(uintptr_t)words,
        .aio_nbytes = SECTOR,
        .aio_offset = (int64_t)(d->next * SECTOR),
    };
    if (syscall(SYS_io_submit, d->aio, 1L, &iocb) != 1)
        fail("cannot start a request: %s", strerror(errno));
    d->next++;
    d->in_flight++;
}

/* Takes what has come to its end, and waits up to a second for it; writes as many again. */
static void reap(struct disk *d, bool again)
{
    struct io_event events[MAX_DEPTH];
    struct timespec limit = {.tv_sec = again};
    long n = syscall(SYS_io_getevents, d->aio, (long)again, (long)MAX_DEPTH, events, &limit);
    if (n < 0 && errno != EINTR)
        fail("cannot wait for requests: %s", strerror(errno));
    for (long i = 0; i < n; i++) {
        /* The kernel saw a disk without a size, before or after it made a request of the write. */
        if ((events[i].res == -ENOSPC || events[i].res == -EIO) && is_gone(d)) {
            d->gone = true;
            d->in_flight--;
            continue;
        }
        if (events[i].res != SECTOR)
            fail("a write of sector %llu ended with %lld",
                 (unsigned long long)(events[i].data >> 8), (long long)events[i].res);
        add(&d->tally, events[i].data >> 8);
        d->in_flight--;
        if (again && !d->gone)
            write_next(d, events[i].data & 0xff);
    }
}

static void write_until_told(const char *path, unsigned depth)
{
    static struct disk disk;
    const struct sigaction action = {.sa_handler = on_term}; /* interrupts waiting */
    open_disk(&disk, path, depth);
    sigaction(SIGTERM, &action, NULL);
    for (unsigned i = 0; i < depth; i++)
        write_next(&disk, i);
    while (!told_to_end)
        reap(&disk, true);
    reap(&disk, false);
    tell(&disk.tally);
    printf("lastio: %u writes never ended\n", disk.in_flight);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"depth", required_argument, NULL, 'd'}, {"count", no_argument, NULL, 'c'}, {0},
    };
    unsigned long depth = 16;
    bool counts = false;
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 'c')
            counts = true;
        else if (c != 'd' || (depth = strtoul(optarg, NULL, 10)) < 1 || depth > MAX_DEPTH)
            fail("--depth is a number from 1 to %u", MAX_DEPTH);
    }
    if (optind != argc - 1)
        fail("usage: lastio [--depth N] DISK | lastio --count IMAGE");
    if (counts)
        count(argv[optind]);
    else
        write_until_told(argv[optind], (unsigned)depth);
    return 0;
}
