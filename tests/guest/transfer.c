/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transfer.c - sends bytes through a channel between guest and host, both ways at the same time,
 * and looks at each one that comes. One end is in the guest, at the device of a port; the other one,
 * with --answer, is a client of the port's socket. One thread, linked statically.
 *
 * A transfer is a header, which has a number, and bytes that follow from the number, so nothing of
 * it can be missing, twice or in another place. The guest's end speaks first, with its header,
 * and the other end says a last byte when it has everything. Then nothing of this transfer is under
 * way any more, on no side. A CRC tells both ends that they mean the same bytes.
 *
 * usage: transfer [--answer] [--number N] [--count N] [--stall MS] [--skip] [--hold] PATH BYTES
 *   --number N  of the (first) transfer, 1 if not given; both directions have bytes of their own
 *   --count N   so many transfers on one connection, one after the other, with the numbers after it
 *   --stall MS  reads nothing for this time when half of the bytes have come
 *   --skip      whatever comes before the header was left by an earlier transfer
 *   --hold      when half has gone and half has come it says so, and then waits to be killed
 */
#define _GNU_SOURCE

#include "io.h"

#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PIECE 16384u
#define HEADER 16u
#define STALL_SECONDS 120 /* without anything moving, on a machine that is busy */
#define LAST '!'

struct options {
    const char *path;
    uint64_t bytes;
    unsigned number, count, stall_ms;
    bool answer, skip, hold;
};

/* One direction of one transfer; the header counts as its first bytes. */
struct stream {
    uint64_t key;
    uint64_t at, end;
    uint32_t crc;
    char header[HEADER + 1];
};

struct end {
    const struct options *o;
    int fd;
    struct stream out, in;
    uint64_t skipped;
    bool last_due, last_done; /* sent if it is ours to send, or else received */
    double stalled_until;
    bool has_stalled;
    double moved; /* when */
};

/* ---- what the bytes are ---------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static char byte_at(const struct stream *s, uint64_t at)
{
    if (at < HEADER)
        return s->header[at];
    uint64_t word = mix(s->key + at / 8);
    return (char)(word >> at % 8 * 8);
}

/* CRC-32, as gzip has it. */
static void add_to_crc(struct stream *s, const char *bytes, size_t n)
{
    static uint32_t table[256];
    for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
    }
    for (size_t i = 0; i < n; i++)
        s->crc = s->crc >> 8 ^ table[(s->crc ^ (uint8_t)bytes[i]) & 0xff];
}

static struct stream stream_of(unsigned number, bool from_guest, uint64_t bytes)
{
    struct stream s = {.end = HEADER + bytes, .crc = UINT32_MAX};
    s.key = mix((uint64_t)number << 1 | from_guest);
    snprintf(s.header, sizeof(s.header), "<transfer%c%06u", from_guest ? 'g' : 'h',
             number % 1000000);
    return s;
}

/* ---- moving ---------------------------------------------------------------------------------- */

/* The bytes of the stream from at on; moves nothing. */
static size_t make(const struct stream *s, char *bytes, size_t size)
{
    size_t n = s->end - s->at < size ? (size_t)(s->end - s->at) : size;
    for (size_t i = 0; i < n; i++)
        bytes[i] = byte_at(s, s->at + i);
    return n;
}

static bool in_the_middle(const struct end *e, const struct stream *s)
{
    return s->at >= HEADER + e->o->bytes / 2;
}

static bool may_send(const struct end *e)
{
    if (e->o->answer && e->in.at < HEADER)
        return false; /* the guest speaks first */
    if (e->o->hold && in_the_middle(e, &e->out))
        return false;
    return e->out.at < e->out.end || e->last_due;
}

static void send_some(struct end *e)
{
    char bytes[PIECE];
    size_t n = make(&e->out, bytes, sizeof(bytes));
    bool last = n == 0;
    if (last)
        bytes[n++] = LAST;
    ssize_t done = write(e->fd, bytes, n);
    if (done < 0 && errno != EAGAIN && errno != EINTR)
        fail("after %llu bytes nothing can be written: %s", (unsigned long long)e->out.at,
             strerror(errno));
    if (done <= 0)
        return;
    e->moved = now();
    if (last) {
        e->last_due = false;
        e->last_done = true;
    } else {
        add_to_crc(&e->out, bytes, (size_t)done);
        e->out.at += (uint64_t)done;
    }
}

/* Before the header anything may stand, if it may be skipped. */
static void take_byte(struct end *e, char byte)
{
    struct stream *in = &e->in;
    if (in->at < in->end && byte == byte_at(in, in->at)) {
        in->at++;
        add_to_crc(in, &byte, 1);
    } else if (in->at < HEADER && e->o->skip) {
        e->skipped += in->at;
        in->at = 0;
        in->crc = UINT32_MAX;
        if (byte == in->header[0]) /* which stands nowhere else in a header */
            take_byte(e, byte);
        else
            e->skipped++;
    } else if (in->at == in->end && !e->o->answer && byte == LAST && !e->last_done) {
        e->last_done = true;
    } else {
        fail("byte %llu of %llu is wrong, it is 0x%02x", (unsigned long long)in->at,
             (unsigned long long)in->end, (uint8_t)byte);
    }
}

/* Waits until it is killed. */
static _Noreturn void hold(const struct end *e)
{
    printf("transfer: in the middle, %llu of %llu bytes have come\n", (unsigned long long)e->in.at,
           (unsigned long long)e->in.end);
    for (;;)
        pause();
}

static void receive_some(struct end *e)
{
    char bytes[PIECE];
    ssize_t n = read(e->fd, bytes, sizeof(bytes));
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        fail("after %llu of %llu bytes the channel ended: %s", (unsigned long long)e->in.at,
             (unsigned long long)e->in.end, n < 0 ? strerror(errno) : "end of file");
    if (n <= 0)
        return;
    e->moved = now();
    for (ssize_t i = 0; i < n; i++)
        take_byte(e, bytes[i]);
    if (e->o->answer && e->in.at == e->in.end && !e->last_done)
        e->last_due = true;
    if (in_the_middle(e, &e->in) && e->o->stall_ms && !e->has_stalled) {
        e->has_stalled = true;
        e->stalled_until = e->moved + e->o->stall_ms * 1e-3;
    }
}

static void turn(struct end *e)
{
    double t = now();
    bool stalled = t < e->stalled_until;
    struct pollfd p = {.fd = e->fd};
    p.events = (short)((stalled ? 0 : POLLIN) | (may_send(e) ? POLLOUT : 0));
    int timeout = stalled ? (int)((e->stalled_until - t) * 1000) + 1 : STALL_SECONDS * 1000;
    if (poll(&p, 1, timeout) < 0 && errno != EINTR)
        fail("poll: %s", strerror(errno));
    if (now() - e->moved > STALL_SECONDS)
        fail("for %d s nothing has moved, %llu bytes have gone and %llu have come", STALL_SECONDS,
             (unsigned long long)e->out.at, (unsigned long long)e->in.at);
    if (p.revents & POLLOUT)
        send_some(e);
    if (p.revents & POLLIN)
        receive_some(e);
    if (e->o->hold && in_the_middle(e, &e->in) && in_the_middle(e, &e->out))
        hold(e);
    if ((p.revents & (POLLHUP | POLLIN | POLLOUT)) == POLLHUP)
        poll(NULL, 0, 10); /* of a port: nobody is at the other end yet */
}

static void run(struct end *e, unsigned number)
{
    const struct options *o = e->o;
    e->out = stream_of(number, !o->answer, o->bytes);
    e->in = stream_of(number, o->answer, o->bytes);
    e->last_due = e->last_done = e->has_stalled = false;
    e->skipped = 0;
    e->moved = now();
    while (e->out.at < e->out.end || !e->last_done)
        turn(e);
    printf("transfer: %u is whole, %llu bytes each way, sent crc %08x, received crc %08x, skipped "
           "%llu bytes\n", number, (unsigned long long)o->bytes, ~e->out.crc, ~e->in.crc,
           (unsigned long long)e->skipped);
}

/* ---- start ----------------------------------------------------------------------------------- */

static int open_path(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat st;
    if (stat(path, &st) < 0)
        fail("there is no %s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return -1;
    return fd;
}

static uint64_t number_of(const char *text)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    if (end == text || *end || n > 1ull << 40)
        fail("'%s' is not a number", text);
    return n;
}

static void parse(struct options *o, int argc, char **argv)
{
    static const struct option names[] = {
        {"answer", no_argument, NULL, 'a'},       {"number", required_argument, NULL, 'n'},
        {"count", required_argument, NULL, 'c'},  {"stall", required_argument, NULL, 's'},
        {"skip", no_argument, NULL, 'k'},         {"hold", no_argument, NULL, 'h'}, {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (c) {
        case 'a': o->answer = true; break;
        case 'n': o->number = (unsigned)number_of(optarg); break;
        case 'c': o->count = (unsigned)number_of(optarg); break;
        case 's': o->stall_ms = (unsigned)number_of(optarg); break;
        case 'k': o->skip = true; break;
        case 'h': o->hold = true; break;
        default: fail("unknown option");
        }
    }
    if (optind != argc - 2)
        fail("usage: transfer [--answer] [--number N] [--count N] [--stall MS] [--skip] [--hold] "
             "PATH BYTES");
    o->path = argv[optind];
    o->bytes = number_of(argv[optind + 1]);
}

int main(int argc, char **argv)
{
    struct options options = {.number = 1, .count = 1};
    struct end end = {.o = &options};
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    parse(&options, argc, argv);
    end.fd = open_path(options.path);
    if (end.fd < 0)
        fail("cannot open %s: %s", options.path, strerror(errno));
    for (unsigned i = 0; i < options.count; i++)
        run(&end, options.number + i);
    return 0;
}
