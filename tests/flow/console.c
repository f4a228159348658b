/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * console.c - flow test: the console plugin in a whole daemon, with a guest that is fast, slow, not
 * there or resetting, and people at ptys, sockets and terminals.
 */
#include "clock.h"
#include "condev.h"
#include "report.h"
#include "snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define TIMEOUT_MS 15000
#define SLACK_KIB 512u
#define MIB (1u << 20)
#define RING (64u << 10)
#define RX 0u
#define TX 1u
#define AGENT_RX 4u
#define AGENT_TX 5u
#define CWD in_dir(d, "i").s
#define ADD1 "{s:[s], s:s}", "devices"
#define ADD2 "{s:[s,s], s:s}", "devices"

static struct condev guest;

/* Something that looks like text and differs everywhere. */
static char *pattern(size_t n)
{
    static char bytes[4 * MIB + 1];
    uint32_t x = 2463534242u;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        bytes[i] = (char)(' ' + x % 95);
    }
    bytes[n] = '\0';
    return bytes;
}

static int wait_fd(int fd, short events, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, timeout_ms);
}

/*
 * Reads until the bytes end with `end`; what was read is in `text`. Into a small one byte by byte,
 * so that what comes next is left.
 */
static bool read_until(int fd, char *text, size_t size, const char *end)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    size_t n = 0, len = strlen(end), step = size > 4096 ? size : 1;
    text[0] = '\0';
    while (n < len || memcmp(text + n - len, end, len) != 0) {
        ssize_t got = -1;
        if (n + 1 < size && wait_fd(fd, POLLIN, clock_left_ms(deadline)) > 0)
            got = read(fd, text + n, step < size - n - 1 ? step : size - n - 1);
        if (got == 0 || (got < 0 && errno != EAGAIN) || clock_left_ms(deadline) == 0)
            return row_fail("\"%.60s\" was not read, but %zu bytes: \"%.200s\"", end, n, text);
        n += got > 0 ? (size_t)got : 0;
        text[n] = '\0';
    }
    return true;
}

static bool write_fd(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = wait_fd(fd, POLLOUT, TIMEOUT_MS) > 0 ? write(fd, bytes, n) : -1;
        if (done < 0 && errno != EAGAIN)
            return row_fail("%zu bytes cannot be written: %s", n, strerror(errno));
        bytes += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return true;
}

static int open_tty(const struct daemon *d, const char *name)
{
    int fd = open(in_dir(d, "%s", name).s, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        row_fail("%s cannot be opened: %s", name, strerror(errno));
    return fd;
}

static int connect_to(const struct daemon *d, const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof(at.sun_path), "%.64s/%.40s", d->dir, name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
        row_fail("no connection to %s: %s", name, strerror(errno));
        close(fd);
        return -1;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* ---- pty ------------------------------------------------------------------------------------- */

static void pty(struct daemon *d)
{
    char text[256], target[64] = "";
    struct termios mode;
    MUST(daemon_add(d, "console:pty,link=../vm.tty,id=vm", NULL));
    CHECK(readlink(in_dir(d, "vm.tty").s, target, sizeof(target) - 1) > 0 &&
          strncmp(target, "/dev/pts/", 9) == 0, "the link leads to \"%s\"", target);
    MUST(condev_open(&guest, d, "vm", 2) && condev_send(&guest, TX, "hello\n", 6));
    int tty = open_tty(d, "vm.tty");
    MUST(tty >= 0 && read_until(tty, text, sizeof(text), "hello\n"));
    CHECK(strcmp(text, "hello\n") == 0, "the pty changes output: \"%s\"", text);
    CHECK(tcgetattr(tty, &mode) == 0 && !(mode.c_lflag & (ECHO | ICANON | ISIG)), "it is not raw");
    MUST(write_fd(tty, "root\r\003", 6) && condev_expect(&guest, RX, "root\r\003"));
    close(tty); /* nobody has it open now, and nothing hangs up */
    MUST(condev_send(&guest, TX, "later\n", 6) && (tty = open_tty(d, "vm.tty")) >= 0);
    MUST(read_until(tty, text, sizeof(text), "later\n"));
    close(tty);
    json_t *show = daemon_call(d, "device.show", "{s:s}", "id", "vm");
    const char *name = json_string_value(json_object_get(json_object_get(show, "about"), "pty"));
    CHECK(name && strcmp(name, target) == 0, "show says the pty is %s", name ? name : "(nothing)");
    json_decref(show);
    MUST(daemon_counter_becomes(d, "vm", "input-bytes", 6) &&
         daemon_counter_becomes(d, "vm", "output-bytes", 12));
    condev_close(&guest);
    MUST(daemon_remove(d, "vm", NULL));
    CHECK(access(target, F_OK) < 0, "%s is still there", target);
    CHECK(readlink(in_dir(d, "vm.tty").s, text, sizeof(text)) < 0, "the link is still there");
}

/* Without a name for it: beside the device's socket. */
static void default_link(struct daemon *d)
{
    char text[64];
    MUST(daemon_add(d, "console", "console:socket,id=so,port=two:pty", NULL));
    MUST(condev_open(&guest, d, "console0", 2) && condev_send(&guest, TX, "here\n", 5));
    int tty = open_tty(d, "s/console0.tty");
    MUST(tty >= 0 && read_until(tty, text, sizeof(text), "here\n"));
    close(tty);
    int client = connect_to(d, "s/so.console");
    MUST(client >= 0 && (tty = open_tty(d, "s/so.two.tty")) >= 0);
    close(tty);
    close(client);
    condev_close(&guest);
}

/* Writes what the pty takes at once; the rest would wait. */
static size_t fill(int fd, const char *bytes, size_t n)
{
    size_t done = 0;
    ssize_t got;
    while (done < n && wait_fd(fd, POLLOUT, 50) > 0 &&
           (got = write(fd, bytes + done, n - done)) > 0)
        done += (size_t)got;
    return done;
}

/* Takes input, one buffer at a time, until *at is at least `until`. */
static bool take_input(struct condev *c, const char *want, size_t *at, size_t until)
{
    while (*at < until) {
        if (!condev_give(c, RX, 1))
            return false;
        int len = condev_take(c, RX, TIMEOUT_MS);
        if (len <= 0 || memcmp(c->message, want + *at, (size_t)len) != 0)
            return row_fail("%d wrong bytes of input after %zu of %zu", len, *at, until);
        *at += (size_t)len;
    }
    return true;
}

static void input_waits(struct daemon *d)
{
    const char *bytes = pattern(256 << 10);
    size_t taken = 0;
    MUST(daemon_add(d, "console:pty,link=../vm.tty,id=vm", NULL));
    int tty = open_tty(d, "vm.tty");
    MUST(tty >= 0 && write_fd(tty, bytes, 10)); /* nobody is there */
    MUST(condev_open(&guest, d, "vm", 2) && take_input(&guest, bytes, &taken, 10));
    taken = 0;
    size_t sent = fill(tty, bytes, 256 << 10);
    CHECK(sent > 0 && sent < 128 << 10, "a writer gets rid of %zu bytes that nobody takes", sent);
    for (int i = 0; i < 5; i++) {
        MUST(take_input(&guest, bytes, &taken, taken + 1) && condev_reset(&guest));
    }
    MUST(take_input(&guest, bytes, &taken, sent));
    CHECK(taken == sent, "%zu bytes came, %zu were written", taken, sent);
    close(tty);
    condev_close(&guest);
}

/* A guest that is gone and one that comes anew. */
static void input_survives_guests(struct daemon *d)
{
    const char *bytes = pattern(40000);
    MUST(daemon_add(d, "console:socket,path=../vm.sock,id=vm", NULL));
    int client = connect_to(d, "vm.sock");
    MUST(client >= 0 && write_fd(client, bytes, 40000));
    for (size_t at = 0; at < 40000;) {
        MUST(condev_open(&guest, d, "vm", 2) && take_input(&guest, bytes, &at, at + 1));
        condev_close(&guest);
        MUST(daemon_device_becomes(d, "vm", "connected", false));
    }
    close(client);
}

/* ---- output that nobody reads ---------------------------------------------------------------- */

/*
 * What a reader got when the guest had written `n` bytes: all of them in order, but for those that
 * marks tell about, and the last ones without a gap.
 */
static bool check_replay(const char *text, const char *bytes, size_t n, long dropped)
{
    static const char start[] = "\r\n[hvisor-vhost: ", end[] = " bytes of output dropped]\r\n";
    const char *mark;
    size_t at = 0;
    long told = 0;
    for (; (mark = strstr(text, start)); at += (size_t)(mark - text)) {
        char *rest;
        size_t len = (size_t)(mark - text);
        long missed = strtol(mark + strlen(start), &rest, 10);
        if (missed <= 0 || len > n - at || memcmp(text, bytes + at, len) != 0 ||
            strncmp(rest, end, strlen(end)) != 0)
            return row_fail("what is around the mark after %zu bytes is wrong", at + len);
        told += missed;
        at += len + (size_t)missed;
        mark = text = rest + strlen(end);
    }
    if (at > n || strcmp(text, bytes + at) != 0)
        return row_fail("what comes after the last mark is wrong");
    if (told == 0 || told != dropped)
        return row_fail("%ld bytes are marked, %ld counted", told, dropped);
    return n - at >= RING || row_fail("only %zu bytes were kept of the last", n - at);
}

static void output_without_reader(struct daemon *d)
{
    static char text[2 * MIB];
    const char *bytes = pattern(MIB), *end = bytes + MIB - 40;
    uint64_t start = clock_ns();
    MUST(daemon_add(d, "console:pty,link=../p.tty,id=p", "console:socket,path=../s.sock,id=s",
                    NULL));
    MUST(condev_open(&guest, d, "s", 2) && condev_send_all(&guest, TX, bytes, MIB));
    row_note("1 MiB that nobody reads in %llu ms",
             (unsigned long long)(clock_ns() - start) / 1000000);
    CHECK(daemon_counter(d, "s", "output-bytes") == MIB, "not all is counted");
    int fd = connect_to(d, "s.sock");
    MUST(fd >= 0 && read_until(fd, text, sizeof(text), end));
    MUST(check_replay(text, bytes, MIB, daemon_counter(d, "s", "dropped-bytes")));
    close(fd);
    fd = connect_to(d, "s.sock"); /* once more, and now nothing is new to everybody */
    MUST(fd >= 0 && read_until(fd, text, sizeof(text), end));
    CHECK(strlen(text) == RING && memcmp(text, bytes + MIB - RING, RING) == 0, "%zu bytes come "
          "again", strlen(text));
    close(fd);
    condev_close(&guest);
    MUST(condev_open(&guest, d, "p", 2) && condev_send_all(&guest, TX, bytes, MIB));
    fd = open_tty(d, "p.tty");
    MUST(fd >= 0 && read_until(fd, text, sizeof(text), end));
    MUST(check_replay(text, bytes, MIB, daemon_counter(d, "p", "dropped-bytes")));
    close(fd);
    condev_close(&guest);
}

/* A reader that stands still does not hold up the guest or the other reader. */
static void slow_reader(struct daemon *d)
{
    static char text[2 * MIB], other[2 * MIB];
    const char *bytes = pattern(MIB);
    MUST(daemon_add(d, "console:socket,path=../s.sock,id=s", NULL));
    int slow = connect_to(d, "s.sock"), fast = connect_to(d, "s.sock");
    MUST(slow >= 0 && fast >= 0 && daemon_counter_becomes(d, "s", "attached", 2));
    MUST(condev_open(&guest, d, "s", 2));
    for (size_t at = 0, n = 0; at < MIB; at += 32768) {
        MUST(condev_send_all(&guest, TX, bytes + at, 32768));
        while (n < at + 32768) {
            CHECK(wait_fd(fast, POLLIN, TIMEOUT_MS) > 0, "the other reader stands still too");
            ssize_t got = read(fast, other + n, sizeof(other) - n);
            CHECK(got > 0, "the other reader was hung up on");
            n += (size_t)got;
        }
    }
    CHECK(memcmp(other, bytes, MIB) == 0, "the other reader got something else");
    CHECK(daemon_counter(d, "s", "dropped-bytes") == 0,
          "bytes that one reader got are called dropped");
    MUST(read_until(slow, text, sizeof(text), bytes + MIB - 40));
    MUST(check_replay(text, bytes, MIB, daemon_counter(d, "s", "missed-bytes")));
    close(slow);
    close(fast);
    condev_close(&guest);
}

/* ---- a socket, losslessly -------------------------------------------------------------------- */

static bool handshake(struct condev *c, unsigned ports)
{
    if (!condev_give(c, CONDEV_CONTROL_RX, 16) || !condev_say(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1))
        return false;
    for (unsigned i = 0; i < ports; i++)
        if (condev_hear(c, i, VIRTIO_CONSOLE_PORT_ADD, -1) < 0)
            return false;
    return true;
}

/* What Linux does for a port that is no console: ready, opened when somebody opens the file. */
static bool open_channel(struct condev *c, uint32_t port, const char *name, int host_open)
{
    if (!condev_say(c, port, VIRTIO_CONSOLE_PORT_READY, 1))
        return false;
    int n = condev_hear(c, port, VIRTIO_CONSOLE_PORT_NAME, -1);
    if (n < 0)
        return false;
    if ((size_t)n != strlen(name) || memcmp(c->message + 8, name, (size_t)n) != 0)
        return row_fail("port %u is called \"%.*s\", not %s", port, n, (char *)c->message + 8,
                        name);
    if (host_open && condev_hear(c, port, VIRTIO_CONSOLE_PORT_OPEN, 1) < 0)
        return false;
    return condev_say(c, port, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

/* The state of a transfer of `n` bytes each way between the guest and a client. */
struct transfer {
    const char *bytes;
    size_t n, out_sent, out_got, in_sent, in_got;
    unsigned wrong;
};

static bool guest_turn(struct transfer *t)
{
    uint32_t room = CONDEV_RING / 2;
    while (t->out_sent < t->n && ring_in_flight(&guest.ring[AGENT_TX]) < room) {
        size_t len = t->n - t->out_sent < 3000 ? t->n - t->out_sent : 3000;
        if (!condev_queue(&guest, AGENT_TX, t->bytes + t->out_sent, len))
            return false;
        t->out_sent += len;
    }
    while (condev_take(&guest, AGENT_TX, 0) >= 0)
        ;
    for (int n; (n = condev_take(&guest, AGENT_RX, 0)) >= 0; t->in_got += (size_t)n)
        t->wrong += memcmp(guest.message, t->bytes + t->in_got, (size_t)n) != 0;
    return ring_in_flight(&guest.ring[AGENT_RX]) > 0 || condev_give(&guest, AGENT_RX, 2);
}

static void client_turn(struct transfer *t, int fd)
{
    char some[7000];
    ssize_t n = t->in_sent < t->n ? write(fd, t->bytes + t->in_sent, t->n - t->in_sent) : 0;
    t->in_sent += n > 0 ? (size_t)n : 0;
    n = read(fd, some, sizeof(some));
    t->wrong += n > 0 && memcmp(some, t->bytes + t->out_got, (size_t)n) != 0;
    t->out_got += n > 0 ? (size_t)n : 0;
}

static void socket_both_ways(struct daemon *d)
{
    struct transfer t = {.bytes = pattern(MIB), .n = MIB};
    MUST(daemon_add(d, "console:pty,id=vm,port=agent:lossless:socket:/proc/self/cwd/agent.sock",
                    NULL));
    MUST(condev_open(&guest, d, "vm", 6) && handshake(&guest, 2));
    MUST(open_channel(&guest, 1, "agent", false));
    int fd = connect_to(d, "agent.sock");
    MUST(fd >= 0 && condev_hear(&guest, 1, VIRTIO_CONSOLE_PORT_OPEN, 1) >= 0);
    uint64_t deadline = clock_deadline(60000);
    for (unsigned turn = 0; t.out_got < MIB || t.in_got < MIB; turn++) {
        CHECK(clock_left_ms(deadline) > 0 && t.wrong == 0, "%zu and %zu bytes of 1 MiB came, %u "
              "pieces were wrong", t.out_got, t.in_got, t.wrong);
        if (turn / 100 % 3 != 0) /* the guest stands still for a while, then the client */
            MUST(guest_turn(&t));
        if (turn / 100 % 3 != 1)
            client_turn(&t, fd);
        if (turn % 50 == 0)
            poll(NULL, 0, 1);
    }
    CHECK(t.wrong == 0 && daemon_counter(d, "vm", "dropped-bytes") == 0, "%u pieces are wrong",
          t.wrong);
    close(fd);
    MUST(condev_hear(&guest, 1, VIRTIO_CONSOLE_PORT_OPEN, 0) >= 0);
    condev_close(&guest);
}

/*
 * With no reader a lossless port holds the guest's buffers back, one of them taken half. After a
 * pause nothing of it comes twice or is missing.
 */
static void lossless_waits(struct daemon *d)
{
    static char text[MIB];
    const size_t piece = 3000, n = 14;
    const char *bytes = pattern(n * piece);
    uint32_t base;
    MUST(daemon_add(d, "console:pty,id=vm,ring=16K,port=a:lossless:socket:/proc/self/cwd/a.sock",
                    NULL));
    MUST(condev_open(&guest, d, "vm", 6));
    for (size_t i = 0; i < n; i++)
        MUST(condev_queue(&guest, AGENT_TX, bytes + i * piece, piece));
    for (int i = 0; i < 5; i++)
        CHECK(condev_take(&guest, AGENT_TX, TIMEOUT_MS) >= 0, "buffer %d was not taken", i);
    CHECK(condev_take(&guest, AGENT_TX, 100) < 0, "more was taken than the ring holds");
    CHECK(fe_ring_stop(&guest.fe, AGENT_TX, &base) == 0 && base == 5, "the ring stopped at %u",
          base);
    CHECK(fe_ring_start(&guest.fe, AGENT_TX, &guest.ring[AGENT_TX], &guest.mem, base) == 0, "%s",
          guest.fe.error);
    int fd = connect_to(d, "a.sock");
    MUST(fd >= 0 && read_until(fd, text, sizeof(text), bytes + n * piece - 30));
    CHECK(strcmp(text, bytes) == 0, "%zu bytes came after a pause, not %zu", strlen(text),
          n * piece);
    for (size_t i = 5; i < n; i++)
        CHECK(condev_take(&guest, AGENT_TX, TIMEOUT_MS) >= 0, "buffer %zu was not taken", i);
    close(fd);
    condev_close(&guest);
}

/* A client that says something and leaves at once, while the guest does not listen. */
static void client_leaves_early(struct daemon *d)
{
    MUST(daemon_add(d, "console:socket,path=../s.sock,id=s", NULL));
    MUST(condev_open(&guest, d, "s", 2));
    for (int i = 0; i < 5; i++) {
        char line[32];
        int n = snprintf(line, sizeof(line), "line %d\n", i);
        int fd = connect_to(d, "s.sock");
        MUST(fd >= 0 && write_fd(fd, line, (size_t)n));
        close(fd);
        MUST(condev_send(&guest, TX, "noise\n", 6)); /* so that the daemon sees that it is gone */
    }
    MUST(condev_expect(&guest, RX, "line 0\nline 1\nline 2\nline 3\nline 4\n"));
    MUST(daemon_counter_becomes(d, "s", "attached", 0));
    condev_close(&guest);
}

/* What somebody said without the keyboard comes when it is their turn, also if they have left. */
static void client_waits_for_turn(struct daemon *d)
{
    MUST(daemon_add(d, "console:socket,path=../s.sock,id=s", NULL));
    int first = connect_to(d, "s.sock"), second = connect_to(d, "s.sock");
    MUST(first >= 0 && second >= 0 && daemon_counter_becomes(d, "s", "attached", 2));
    MUST(write_fd(second, "second\n", 7));
    close(second);
    MUST(condev_open(&guest, d, "s", 2) && condev_send(&guest, TX, "noise\n", 6));
    MUST(write_fd(first, "first\n", 6) && condev_expect(&guest, RX, "first\n"));
    CHECK(daemon_counter(d, "s", "attached") == 2, "what the second one said is forgotten");
    close(first);
    MUST(condev_expect(&guest, RX, "second\n") && daemon_counter_becomes(d, "s", "attached", 0));
    condev_close(&guest);
}

/* ---- several ports --------------------------------------------------------------------------- */

static void multiport(struct daemon *d)
{
    char text[64];
    MUST(daemon_add(d, "console:socket,path=../s.sock,id=vm,name=first,columns=100,rows=50,"
                       "port=log:socket:/proc/self/cwd/log.sock,port=two:console:pty", NULL));
    MUST(condev_open(&guest, d, "vm", 8));
    CHECK(guest.config.max_nr_ports == 3, "%u ports", guest.config.max_nr_ports);
    int log = connect_to(d, "log.sock");
    MUST(log >= 0 && write_fd(log, "early", 5)); /* the guest would throw it away now */
    MUST(condev_give(&guest, AGENT_RX, 4) && handshake(&guest, 3));
    MUST(condev_say(&guest, 0, VIRTIO_CONSOLE_PORT_READY, 1));
    MUST(condev_hear(&guest, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1) >= 0);
    CHECK(condev_hear(&guest, 0, VIRTIO_CONSOLE_PORT_NAME, -1) == 5 &&
          memcmp(guest.message + 8, "first", 5) == 0, "the first port's name is wrong");
    CHECK(condev_hear(&guest, 0, VIRTIO_CONSOLE_RESIZE, -1) == 4 && guest.message[8] == 100 &&
          guest.message[10] == 50, "the first port's size is wrong");
    MUST(condev_hear(&guest, 0, VIRTIO_CONSOLE_PORT_OPEN, 1) >= 0);
    CHECK(condev_take(&guest, AGENT_RX, 100) < 0, "input came before the port was opened");
    MUST(open_channel(&guest, 1, "log", true) && condev_expect(&guest, AGENT_RX, "early"));
    MUST(condev_say(&guest, 1, VIRTIO_CONSOLE_PORT_OPEN, 0) && write_fd(log, "more", 4));
    CHECK(condev_take(&guest, AGENT_RX, 100) < 0, "input came to a closed port");
    MUST(condev_say(&guest, 1, VIRTIO_CONSOLE_PORT_OPEN, 1) &&
         condev_expect(&guest, AGENT_RX, "more"));
    MUST(condev_send(&guest, AGENT_TX, "to the log\n", 11) &&
         read_until(log, text, sizeof(text), "to the log\n"));
    MUST(condev_say(&guest, 2, VIRTIO_CONSOLE_PORT_READY, 1) &&
         condev_hear(&guest, 2, VIRTIO_CONSOLE_CONSOLE_PORT, 1) >= 0);
    MUST(condev_say(&guest, 77, VIRTIO_CONSOLE_PORT_READY, 1)); /* no such port: no harm */
    close(log);
    condev_close(&guest);
    /* A driver that knows one port only. */
    MUST(daemon_device_becomes(d, "vm", "connected", false) && condev_open(&guest, d, "vm", 2));
    int first = connect_to(d, "s.sock");
    MUST(first >= 0 && write_fd(first, "hi", 2) && condev_expect(&guest, RX, "hi"));
    MUST(condev_send(&guest, TX, "yes\n", 4) && read_until(first, text, sizeof(text), "yes\n"));
    close(first);
    condev_close(&guest);
}

/* ---- emergency writes, sizes ----------------------------------------------------------------- */

static void emergency(struct daemon *d)
{
    const char *says = "panic!";
    char text[64];
    struct fe fe;
    MUST(daemon_add(d, "console:pty,link=../vm.tty,id=vm", NULL));
    fe_init(&fe);
    CHECK(fe_connect(&fe, socket_of(d, "vm").s) == 0 &&
          fe_negotiate(&fe, FE_BIT(32) | FE_BIT(VHU_F_PROTOCOL_FEATURES), FE_BIT(VHU_PF_CONFIG) |
                       FE_BIT(VHU_PF_REPLY_ACK)) == 0, "%s", fe.error);
    CHECK(fe.offered & FE_BIT(VIRTIO_CONSOLE_F_EMERG_WRITE), "EMERG_WRITE is not offered");
    for (const char *p = says; *p; p++) {
        uint32_t value = (uint8_t)*p;
        CHECK(fe_set_config(&fe, 8, &value, 4) == 0, "%s", fe.error);
    }
    struct virtio_console_config whole;
    CHECK(fe_get_config(&fe, 0, &whole, sizeof(whole)) == 0 && whole.emerg_wr == 0, "%s", fe.error);
    CHECK(fe_set_config(&fe, 0, &whole, sizeof(whole)) == 0, "%s", fe.error); /* means nothing */
    int tty = open_tty(d, "vm.tty");
    MUST(tty >= 0 && read_until(tty, text, sizeof(text), says));
    CHECK(strcmp(text, says) == 0 && daemon_counter(d, "vm", "emergency-bytes") == 6, "\"%s\"",
          text);
    close(tty);
    fe_disconnect(&fe);
}

static void resize(struct daemon *d)
{
    static struct output o;
    struct fe_msg msg;
    MUST(daemon_add(d, "console:pty,link=../vm.tty,id=vm", "console:pty,id=sw,rows-first,name=n",
                    NULL));
    MUST(condev_open(&guest, d, "vm", 2));
    CHECK(guest.config.cols == 80 && guest.config.rows == 24, "%ux%u", guest.config.cols,
          guest.config.rows);
    MUST(ctl(&o, d, "console-resize", "vm", "columns=132", "rows=43", NULL));
    CHECK(o.code == 0, "console-resize: %s", o.err);
    CHECK(fe_channel_recv(&guest.fe, &msg) == 0 && msg.header.request == VHU_BACKEND_CONFIG_CHANGE,
          "no config change: %s", guest.fe.error);
    fe_msg_close(&msg);
    MUST(condev_read_config(&guest));
    CHECK(guest.config.cols == 132 && guest.config.rows == 43, "%ux%u", guest.config.cols,
          guest.config.rows);
    struct winsize size = {0};
    int tty = open_tty(d, "vm.tty");
    CHECK(tty >= 0 && ioctl(tty, TIOCGWINSZ, &size) == 0 && size.ws_col == 132, "the pty has %u",
          size.ws_col);
    close(tty);
    MUST(ctl(&o, d, "console-resize", "vm", "port=7", "columns=1", "rows=1", NULL));
    CHECK(o.code == 1 && has_text(o.err, "no port '7'"), "%d: %s", o.code, o.err);
    MUST(ctl(&o, d, "console-resize", "vm", "columns=65536", "rows=1", NULL));
    CHECK(o.code == 1 && has_text(o.err, "65535"), "%d: %s", o.code, o.err);
    condev_close(&guest);
    MUST(condev_open(&guest, d, "sw", 4) && handshake(&guest, 1) &&
         condev_say(&guest, 0, VIRTIO_CONSOLE_PORT_READY, 1) &&
         condev_hear(&guest, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1) >= 0 &&
         condev_hear(&guest, 0, VIRTIO_CONSOLE_PORT_NAME, -1) >= 0 &&
         condev_hear(&guest, 0, VIRTIO_CONSOLE_RESIZE, -1) >= 0);
    CHECK(guest.message[8] == 24 && guest.message[10] == 80, "rows are not first");
    MUST(condev_hear(&guest, 0, VIRTIO_CONSOLE_PORT_OPEN, 1) >= 0);
    MUST(ctl(&o, d, "console-resize", "sw", "port=n", "columns=90", "rows=30", NULL));
    CHECK(condev_hear(&guest, 0, VIRTIO_CONSOLE_RESIZE, -1) == 4 && guest.message[8] == 30 &&
          guest.message[10] == 90, "the message about the new size is wrong");
    condev_close(&guest);
}

/* ---- terminals ------------------------------------------------------------------------------- */

/* hvisor-vhost-ctl in a terminal of its own. */
struct viewer {
    pid_t pid;
    int tty; /* the side of the person */
};

static void viewer_end(struct viewer *v)
{
    if (v->pid > 0) {
        kill(v->pid, SIGKILL);
        waitpid(v->pid, NULL, 0);
    }
    if (v->tty >= 0)
        close(v->tty);
    *v = (struct viewer){.tty = -1};
}

/* A new terminal: the side of the person, and the name of the other one. */
static int open_terminal(char name[64])
{
    const struct winsize size = {.ws_col = 111, .ws_row = 33};
    int tty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (tty < 0 || grantpt(tty) < 0 || unlockpt(tty) < 0 || ptsname_r(tty, name, 64) != 0 ||
        ioctl(tty, TIOCSWINSZ, &size) < 0)
        row_fail("no pty: %s", strerror(errno));
    return tty;
}

/* In a child: the terminal becomes its own. */
static void use_terminal(const char *name)
{
    setsid();
    int tty = open(name, O_RDWR);
    if (tty < 0 || dup2(tty, 0) < 0 || dup2(tty, 1) < 0 || dup2(tty, 2) < 0)
        _exit(126);
    ioctl(0, TIOCSCTTY, 0);
}

/* `words` has blanks between them, or is NULL. */
__attribute__((noreturn)) static void become_ctl(const struct daemon *d, const char *name,
                                                 const char *id, const char *words)
{
    struct text program = built("hvisor-vhost-ctl");
    char copy[128] = "";
    char *argv[16] = {program.s, (char *)"--control", (char *)(uintptr_t)d->control,
                      (char *)"console", (char *)(uintptr_t)id};
    use_terminal(name);
    snprintf(copy, sizeof(copy), "%s", words ? words : "");
    char *word = strtok(copy, " ");
    for (size_t n = 5; word && n < 15; word = strtok(NULL, " "))
        argv[n++] = word;
    execv(argv[0], argv);
    _exit(127);
}

static bool viewer_start(struct viewer *v, const struct daemon *d, const char *id,
                         const char *words)
{
    char name[64], text[512];
    *v = (struct viewer){.tty = open_terminal(name)};
    if (row_failed())
        return false;
    v->pid = fork();
    if (v->pid == 0)
        become_ctl(d, name, id, words);
    return read_until(v->tty, text, sizeof(text), "leaves]\r\n");
}

/* It has to leave the terminal as it was, and end with `code`. */
static bool viewer_ends(struct viewer *v, int code)
{
    struct termios mode;
    char text[1024];
    int status;
    if (!read_until(v->tty, text, sizeof(text), code == 0 ? "left]\r\n" : "]\r\n"))
        return false;
    if (waitpid(v->pid, &status, 0) != v->pid)
        return row_fail("ctl cannot be waited for");
    v->pid = 0;
    int its = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (tcgetattr(v->tty, &mode) < 0 || !(mode.c_lflag & ICANON) || !(mode.c_lflag & ECHO))
        return row_fail("ctl left the terminal raw");
    return its == code || row_fail("ctl ended with %d, not %d", its, code);
}

static void end_viewers(void *arg)
{
    struct viewer *v = arg;
    for (int i = 0; i < 3; i++)
        viewer_end(&v[i]);
}

static bool config_becomes(struct condev *c, unsigned columns, unsigned rows)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    while (condev_read_config(c) && (c->config.cols != columns || c->config.rows != rows)) {
        if (clock_left_ms(deadline) == 0)
            return row_fail("the size is %ux%u, not %ux%u", c->config.cols, c->config.rows, columns,
                            rows);
        poll(NULL, 0, 5);
    }
    return !row_failed();
}

static void terminals(struct daemon *d)
{
    static struct viewer v[3];
    const struct winsize larger = {.ws_col = 150, .ws_row = 55};
    char text[1024];
    v[0].tty = v[1].tty = v[2].tty = -1;
    row_at_end(end_viewers, v);
    MUST(daemon_add(d, "console:pty,link=../vm.tty,id=vm", NULL));
    MUST(condev_open(&guest, d, "vm", 2) && condev_send(&guest, TX, "before\r\n", 8));
    MUST(viewer_start(&v[0], d, "vm", NULL) &&
         read_until(v[0].tty, text, sizeof(text), "before\r\n"));
    MUST(config_becomes(&guest, 111, 33));
    CHECK(ioctl(v[0].tty, TIOCSWINSZ, &larger) == 0, "%s", strerror(errno));
    MUST(config_becomes(&guest, 150, 55));
    MUST(write_fd(v[0].tty, "a\003\004\032", 4) && condev_expect(&guest, RX, "a\003\004\032"));
    MUST(viewer_start(&v[1], d, "vm", NULL) && viewer_start(&v[2], d, "vm", "readonly"));
    MUST(daemon_counter_becomes(d, "vm", "attached", 3));
    MUST(condev_send(&guest, TX, "all\r\n", 5));
    for (int i = 0; i < 3; i++)
        MUST(read_until(v[i].tty, text, sizeof(text), "all\r\n"));
    MUST(write_fd(v[1].tty, "x", 1) && read_until(v[1].tty, text, sizeof(text), "\a"));
    MUST(write_fd(v[0].tty, "b", 1) && condev_expect(&guest, RX, "b"));
    MUST(write_fd(v[0].tty, "c\035", 2) && viewer_ends(&v[0], 0) && condev_expect(&guest, RX, "c"));
    MUST(daemon_counter_becomes(d, "vm", "attached", 2));
    MUST(write_fd(v[1].tty, "d", 1) && condev_expect(&guest, RX, "d")); /* its turn */
    MUST(viewer_start(&v[0], d, "vm", "take") &&
         read_until(v[0].tty, text, sizeof(text), "all\r\n"));
    MUST(write_fd(v[0].tty, "e", 1) && condev_expect(&guest, RX, "e"));
    kill(v[2].pid, SIGTERM);
    MUST(viewer_ends(&v[2], 128 + SIGTERM));
    condev_close(&guest);
    MUST(daemon_remove(d, "vm", NULL));
    MUST(read_until(v[1].tty, text, sizeof(text), "[vm: ended by the daemon]\r\n"));
}

/* Another key leaves, or none; the usual one is then like any other. */
static void escape_key(struct daemon *d)
{
    static struct viewer v[3];
    char text[1024];
    v[0].tty = v[1].tty = v[2].tty = -1;
    row_at_end(end_viewers, v);
    MUST(daemon_add(d, "console:pty,id=vm", NULL));
    MUST(condev_open(&guest, d, "vm", 2) && condev_send(&guest, TX, "before\r\n", 8));
    MUST(viewer_start(&v[0], d, "vm", "--escape ^a replay=off"));
    MUST(condev_send(&guest, TX, "now\r\n", 5) && read_until(v[0].tty, text, sizeof(text), "now"));
    CHECK(!has_text(text, "before"), "with replay=off it starts with \"%s\"", text);
    MUST(write_fd(v[0].tty, "x\035y\001z", 5) && viewer_ends(&v[0], 0));
    MUST(condev_expect(&guest, RX, "x\035y"));
    MUST(viewer_start(&v[0], d, "vm", "-e none") && write_fd(v[0].tty, "a\035\001b", 4));
    MUST(condev_expect(&guest, RX, "a\035\001b"));
    kill(v[0].pid, SIGTERM);
    MUST(viewer_ends(&v[0], 128 + SIGTERM));
    MUST(viewer_start(&v[0], d, "vm", "--escape=^]") && write_fd(v[0].tty, "\035", 1));
    MUST(viewer_ends(&v[0], 0));
    condev_close(&guest);
}

/* There is a limit, also for the command; who leaves makes room. */
static void too_many(struct daemon *d)
{
    static struct output o;
    int client[16];
    char byte;
    MUST(daemon_add(d, "console:socket,path=../s.sock,id=s", NULL));
    for (int i = 0; i < 16; i++)
        MUST((client[i] = connect_to(d, "s.sock")) >= 0);
    MUST(daemon_counter_becomes(d, "s", "attached", 16));
    int more = connect_to(d, "s.sock");
    CHECK(more >= 0 && wait_fd(more, POLLIN, TIMEOUT_MS) > 0 && read(more, &byte, 1) == 0,
          "a 17th client is not turned away");
    close(more);
    MUST(ctl(&o, d, "console", "s", NULL));
    CHECK(o.code == 1 && has_text(o.err, "16 terminals and clients"), "%d: %s", o.code, o.err);
    close(client[7]);
    client[7] = connect_to(d, "s.sock");
    MUST(client[7] >= 0 && daemon_counter_becomes(d, "s", "attached", 16));
    MUST(condev_open(&guest, d, "s", 2) && condev_send(&guest, TX, "all", 3));
    for (int i = 15; i >= 0; i--) { /* the one with the keyboard leaves last */
        char text[8];
        MUST(read_until(client[i], text, sizeof(text), "all"));
        close(client[i]);
        MUST(daemon_counter_becomes(d, "s", "attached", i));
    }
    condev_close(&guest);
}

/* The next event of the console, with this name and text. */
static bool hear_event(struct client *c, const char *name, const char *part)
{
    json_t *event = client_event(c, TIMEOUT_MS);
    while (event) {
        const char *its = json_string_value(json_object_get(event, "event"));
        bool wanted = its && strncmp(its, "console.", 8) == 0;
        char *text = wanted ? json_dumps(event, JSON_COMPACT) : NULL;
        bool right = text && strcmp(its, name) == 0 && has_text(text, part);
        if (wanted && !right)
            row_fail("the event is not %s with %s: %s", name, part, text ? text : "(no memory)");
        free(text);
        json_decref(event);
        if (wanted)
            return right;
        event = client_event(c, TIMEOUT_MS);
    }
    return row_fail("there is no event %s", name);
}

static bool hear_events(struct daemon *d, struct client *c)
{
    int fd = connect_to(d, "a.sock");
    if (fd < 0 || !hear_event(c, "console.attached", "\"port\":\"a\",\"attached\":\"1\""))
        return false;
    close(fd);
    if (!hear_event(c, "console.detached", "\"port\":\"a\",\"attached\":\"0\"") ||
        !condev_open(&guest, d, "vm", 6) || !handshake(&guest, 2) ||
        !open_channel(&guest, 1, "a", true) || !hear_event(c, "console.opened", "\"port\":\"a\"") ||
        !condev_say(&guest, 1, VIRTIO_CONSOLE_PORT_OPEN, 0) ||
        !hear_event(c, "console.closed", "\"port\":\"a\""))
        return false;
    for (int i = 0; i < 2; i++) /* told once, until somebody has caught up */
        if (!condev_send_all(&guest, AGENT_TX, pattern(10000), 10000))
            return false;
    if (!hear_event(c, "console.dropped", "\"port\":\"a\""))
        return false;
    fd = connect_to(d, "a.sock");
    if (fd < 0 || !hear_event(c, "console.attached", "\"port\":\"a\",\"attached\":\"1\""))
        return false;
    close(fd);
    return hear_event(c, "console.detached", "\"port\":\"a\",\"attached\":\"0\"");
}

static void events(struct daemon *d)
{
    struct client c = {.fd = -1};
    MUST(daemon_add(d, "console:pty,ring=4K,id=vm,port=a:socket:/proc/self/cwd/a.sock", NULL));
    CHECK(client_open(&c, d->control) == 0, "no second connection to the daemon");
    json_t *r = client_wait(&c, client_send(&c, "events.subscribe", json_object()), TIMEOUT_MS);
    if (!json_object_get(r, "result"))
        row_fail("events.subscribe is refused");
    json_decref(r);
    if (!row_failed())
        hear_events(d, &c);
    client_close(&c);
    condev_close(&guest);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* A file that cannot grow: what is lost is counted, and the guest goes on. */
static void file_full(struct daemon *d)
{
    const struct rlimit limit = {65536, 65536};
    struct stat st;
    MUST(daemon_add(d, "console:file,path=../log.txt,ring=1M,id=vm", NULL));
    CHECK(prlimit(d->pid, RLIMIT_FSIZE, &limit, NULL) == 0, "prlimit: %s", strerror(errno));
    MUST(condev_open(&guest, d, "vm", 2) && condev_send_all(&guest, TX, pattern(100000), 100000));
    MUST(daemon_counter_becomes(d, "vm", "dropped-bytes", 100000 - 65536));
    CHECK(daemon_counter(d, "vm", "file-errors") > 0, "no error of the file is counted");
    CHECK(stat(in_dir(d, "log.txt").s, &st) == 0 && st.st_size == 65536, "the file has %lld bytes",
          (long long)st.st_size);
    MUST(condev_send(&guest, TX, "on", 2) && daemon_alive(d));
    condev_close(&guest);
}

static void file(struct daemon *d)
{
    static char text[2 * MIB];
    const char *bytes = pattern(MIB);
    MUST(daemon_add(d, "console:file,path=../log.txt,ring=2M,id=vm", NULL));
    MUST(condev_open(&guest, d, "vm", 2) && condev_send_all(&guest, TX, bytes, MIB));
    condev_close(&guest);
    MUST(daemon_remove(d, "vm", NULL)); /* what is left is written first */
    int fd = open(in_dir(d, "log.txt").s, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text));
    close(fd);
    CHECK(n == MIB && memcmp(text, bytes, MIB) == 0, "the file has %zd bytes", n);
    MUST(daemon_add(d, "console:file,path=../log.txt,id=vm", NULL)); /* appends */
    MUST(condev_open(&guest, d, "vm", 2) && condev_send(&guest, TX, "end\n", 4));
    condev_close(&guest);
    MUST(daemon_remove(d, "vm", NULL));
    struct stat st;
    CHECK(stat(in_dir(d, "log.txt").s, &st) == 0 && st.st_size == MIB + 4, "%lld bytes",
          (long long)st.st_size);
}

/* The daemon's standard output is its log here, its standard input /dev/null. */
static void standard_output(struct daemon *d)
{
    static char text[65536];
    MUST(daemon_add(d, "console:stdio,id=vm", NULL));
    MUST(daemon_refuses(d, "another device|standard", "device.add", ADD1, "console:stdio", "cwd",
                        CWD));
    MUST(condev_open(&guest, d, "vm", 2) && condev_send(&guest, TX, "guest speaking\n", 15));
    condev_close(&guest);
    MUST(daemon_remove(d, "vm", NULL) && daemon_add(d, "console:stdio,id=vm", NULL));
    int fd = open(in_dir(d, "log").s, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    CHECK(has_text(text, "guest speaking\n"), "the guest's output is not in the daemon's");
}

/* ---- a terminal of the daemon's own ---------------------------------------------------------- */

static bool terminal_becomes(int tty, bool raw, const char *when)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    struct termios mode;
    while (tcgetattr(tty, &mode) == 0 && clock_left_ms(deadline) > 0) {
        bool cooked = (mode.c_lflag & ICANON) && (mode.c_lflag & ECHO) && (mode.c_oflag & OPOST);
        if (!(mode.c_lflag & ISIG))
            return row_fail("%s Ctrl-C does not go to the daemon", when);
        if (cooked != raw)
            return true;
        poll(NULL, 0, 5);
    }
    return row_fail("%s the terminal is %s", when, raw ? "not raw" : "not as it was");
}

/* In the foreground of a terminal, as `d`; its log goes there, too. */
static bool start_in_terminal(struct daemon *d, const char *name)
{
    const char *argv[32];
    struct text text[8];
    daemon_argv(d, argv, text);
    d->pid = fork();
    if (d->pid == 0) {
        use_terminal(name);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    d->pidfd = d->pid > 0 ? (int)syscall(SYS_pidfd_open, d->pid, 0) : -1;
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    while (d->pidfd >= 0 && daemon_count(d) < 0 && clock_left_ms(deadline) > 0)
        poll(NULL, 0, 5);
    return daemon_count(d) == 0 || row_fail("no daemon in a terminal");
}

static void close_terminal(void *arg)
{
    int *tty = arg;
    if (*tty >= 0)
        close(*tty);
    *tty = -1;
}

static void standard_terminal(struct daemon *d)
{
    static int tty = -1;
    char name[64], text[8192];
    MUST((tty = open_terminal(name)) >= 0 && !row_failed());
    row_at_end(close_terminal, &tty);
    int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC); /* so that its mode can be asked for */
    CHECK(slave >= 0, "%s: %s", name, strerror(errno));
    close(slave);
    MUST(start_in_terminal(d, name));
    for (int i = 0; i < 2; i++) {
        MUST(daemon_add(d, "console:stdio,id=vm", NULL));
        MUST(terminal_becomes(tty, true, "with a device on it"));
        MUST(condev_open(&guest, d, "vm", 2) && condev_send(&guest, TX, "login: ", 7));
        MUST(read_until(tty, text, sizeof(text), "login: "));
        MUST(write_fd(tty, "root\r\004\021", 7) && condev_expect(&guest, RX, "root\r\004\021"));
        condev_close(&guest);
        if (i == 0)
            MUST(daemon_remove(d, "vm", NULL) && terminal_becomes(tty, false, "without a device"));
    }
    MUST(write_fd(tty, "\003", 1));
    int code = daemon_wait(d, TIMEOUT_MS);
    CHECK(code == 0, "at Ctrl-C the daemon ends with %d", code);
    MUST(terminal_becomes(tty, false, "after the daemon's end"));
}

/* ---- refusals -------------------------------------------------------------------------------- */

static int ptys(void)
{
    DIR *dir = opendir("/dev/pts");
    int n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* The plugins are loaded, nothing else is there. */
static bool warm(struct daemon *d, struct snapshot *s)
{
    return daemon_image(d, "a", MIB) && daemon_add(d, "console:socket,id=w", "blk:a,id=b", NULL) &&
           daemon_remove(d, "w", "b", NULL) && snapshot_take(s, d);
}

/* Others on this machine open terminals, too, and close them. */
static bool ptys_become(int before, const char *when)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    while (ptys() != before && clock_left_ms(deadline) > 0)
        poll(NULL, 0, 20);
    return ptys() == before || row_fail("%s /dev/pts has %d entries, it had %d", when, ptys(),
                                        before);
}

static bool refuses(struct daemon *d, const struct snapshot *s, const char *spec, const char *parts)
{
    int before = ptys();
    if (!daemon_refuses(d, parts, "device.add", ADD1, spec, "cwd", CWD))
        return row_fail("%s", spec);
    if (!snapshot_returns(d, s, NULL, SLACK_KIB, spec))
        return false;
    return ptys_become(before, spec);
}

static void refusals(struct daemon *d)
{
    static const char *const specs[][2] = {
        {"console:pty,link=none/vm.tty", "i/none|no directory"},
        {"console:pty,link=plain", "i/plain|not a link to a pty"},
        {"console:pty,link=elsewhere", "i/elsewhere|not a link to a pty"},
        {"console:socket,path=none/vm.sock", "i/none|no directory"},
        {"console:socket,path=plain", "i/plain|not a socket"},
        {"console:file,path=none/log", "none/log|No such file"},
        {"console:file,path=.", "Is a directory"},
        {"console:file,path=/dev/null", "not a regular file"},
        {"console:file", "needs a path"},
        {"console:stdio,path=x", "no path"},
        {"console:pty,path=x", "link= names it"},
        {"console:socket,link=x", "path= names it"},
        {"console:pty,name=a/b", "not a name"},
        {"console:pty,link=../one.tty,port=x:file:/proc/self/cwd/made,port=y:file:/none/z",
         "/none/z|No such file"},
        {"console:pty,port=a:pty,port=a:pty", "two ports|'a'"},
        {"console:pty,port=a:console:lossless", "lossless|console"},
        {"console:pty,port=a:tty", "none of console, lossless"},
        {"console:pty,port=a:file:relative", "does not start with '/'"},
        {"console:pty,ring=1K", "4K"},
    };
    struct snapshot s;
    char spec[512] = "console:socket,path=../";
    MUST(daemon_image(d, "plain", 10) && symlink("/etc/passwd", in_dir(d, "i/elsewhere").s) == 0);
    MUST(warm(d, &s));
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
        MUST(refuses(d, &s, specs[i][0], specs[i][1]));
    memset(spec + strlen(spec), 'x', 120);
    MUST(refuses(d, &s, spec, "xxxx|the limit is"));
    CHECK(access(in_dir(d, "i/plain").s, F_OK) == 0, "the file in the way is gone");
    size_t n = (size_t)snprintf(spec, sizeof(spec), "console:pty");
    for (int i = 0; i < 32; i++)
        n += (size_t)snprintf(spec + n, sizeof(spec) - n, ",port=p%d", i);
    MUST(refuses(d, &s, spec, "more than 32 ports"));
    snapshot_free(&s);
}

static void in_use(struct daemon *d)
{
    struct snapshot s;
    int before = ptys();
    MUST(warm(d, &s));
    MUST(daemon_add(d, "console:pty,link=../x.tty,id=x", "console:socket,path=../y.sock,id=y",
                    NULL));
    MUST(daemon_refuses(d, "x.tty|in use", "device.add", ADD1, "console:pty,link=../x.tty", "cwd",
                        CWD));
    MUST(daemon_refuses(d, "y.sock|in use", "device.add", ADD1, "console:socket,path=../y.sock",
                        "cwd", CWD));
    int fd = connect_to(d, "y.sock");
    MUST(fd >= 0);
    close(fd);
    MUST(daemon_remove(d, "x", "y", NULL));
    MUST(snapshot_returns(d, &s, NULL, SLACK_KIB, "after the removal"));
    MUST(ptys_become(before, "after the removal"));
    snapshot_free(&s);
}

/* Both or none, also if the plugin that fails is another one. */
static void console_and_wrong_blk(struct daemon *d)
{
    struct snapshot s;
    char text[64];
    int before = ptys();
    MUST(warm(d, &s));
    MUST(daemon_refuses(d, "missing|No such file", "device.add", ADD2,
                        "console:pty,link=../vm.tty,port=l:file:/proc/self/cwd/new.log,id=c",
                        "blk:missing,id=disk", "cwd", CWD));
    CHECK(strcmp(error_member(d, "device"), "disk") == 0, "the error names device \"%s\"",
          error_member(d, "device"));
    MUST(snapshot_returns(d, &s, NULL, SLACK_KIB, "after the refusal"));
    MUST(ptys_become(before, "after the refusal"));
    MUST(daemon_add(d, "console:pty,link=../vm.tty,id=c", "blk:a,id=disk", NULL));
    MUST(condev_open(&guest, d, "c", 2) && condev_send(&guest, TX, "both\n", 5));
    int tty = open_tty(d, "vm.tty");
    MUST(tty >= 0 && read_until(tty, text, sizeof(text), "both\n"));
    close(tty);
    condev_close(&guest);
    snapshot_free(&s);
}

/* What a daemon left that was killed is replaced; what is not ours stays. */
static void left_behind(struct daemon *d)
{
    char target[64] = "";
    MUST(daemon_add(d, "console:pty,link=../x.tty,id=x", "console:socket,path=../y.sock,id=y",
                    NULL));
    kill(d->pid, SIGKILL);
    CHECK(daemon_wait(d, TIMEOUT_MS) == 128 + SIGKILL, "SIGKILL did not end the daemon");
    CHECK(readlink(in_dir(d, "x.tty").s, target, sizeof(target)) > 0, "the link is gone");
    MUST(daemon_start(d));
    MUST(daemon_add(d, "console:pty,link=../x.tty,id=x", "console:socket,path=../y.sock,id=y",
                    NULL));
    int fd = connect_to(d, "y.sock");
    MUST(fd >= 0);
    close(fd);
    CHECK(unlink(in_dir(d, "x.tty").s) == 0 && symlink("/mine", in_dir(d, "x.tty").s) == 0, "%s",
          strerror(errno));
    MUST(daemon_remove(d, "x", "y", NULL));
    CHECK(readlink(in_dir(d, "x.tty").s, target, sizeof(target)) == 5, "somebody's link is gone");
    CHECK(access(in_dir(d, "y.sock").s, F_OK) < 0, "the socket is still there");
}

/* ---- a bad driver ---------------------------------------------------------------------------- */

static void bad_driver(struct daemon *d)
{
    static const struct virtio_console_control cut = {0};
    MUST(daemon_add(d, "console:pty,id=vm,name=n,link=../vm.tty", "console:socket,id=good", NULL));
    int tty = open_tty(d, "vm.tty");
    MUST(tty >= 0 && write_fd(tty, "x", 1) && condev_open(&guest, d, "vm", 4));
    MUST(condev_queue(&guest, CONDEV_CONTROL_TX, &cut, 7));
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    json_t *device = NULL;
    do {
        json_decref(device);
        device = daemon_device(d, "vm");
        CHECK(clock_left_ms(deadline) > 0, "a short control message is taken");
    } while (!json_is_string(json_object_get(device, "broken")));
    json_decref(device);
    condev_close(&guest);
    MUST(condev_open(&guest, d, "vm", 2)); /* a new start, and the input is still there */
    MUST(condev_expect(&guest, RX, "x"));
    condev_close(&guest);
    MUST(condev_open(&guest, d, "good", 2) && condev_send(&guest, TX, "fine\n", 5));
    condev_close(&guest);
    close(tty);
}

#define ROW(NAME) {#NAME, NAME, &with_console, NULL}
#define ROW_STOPPED(NAME) {#NAME, NAME, &not_started, NULL}

int main(int argc, char **argv)
{
    static const char *const plugins[] = {"console.so", NULL};
    static const struct daemon_options with_console = {.plugins = plugins},
                                       not_started = {.plugins = plugins, .no_start = true};
    static const struct row rows[] = {
        ROW(pty), ROW(default_link), ROW(input_waits), ROW(input_survives_guests),
        ROW(output_without_reader), ROW(slow_reader), ROW(socket_both_ways), ROW(lossless_waits),
        ROW(client_leaves_early), ROW(client_waits_for_turn), ROW(multiport), ROW(emergency),
        ROW(resize), ROW(terminals), ROW(escape_key), ROW(too_many), ROW(events), ROW(file),
        ROW(file_full), ROW(standard_output), ROW_STOPPED(standard_terminal), ROW(refusals),
        ROW(in_use), ROW(console_and_wrong_blk), ROW(left_behind), ROW(bad_driver),
    };
    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
