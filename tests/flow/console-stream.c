/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * console-stream.c - rows of console.c: bytes between a guest and people at ptys and sockets, with
 * a guest that is fast, slow, not there or resetting, and output that nobody reads.
 */
#include "clock.h"
#include "console.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define RING (64u << 10)

/* ---- pty ------------------------------------------------------------------------------------- */

void console_pty(struct daemon *d)
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
void console_default_link(struct daemon *d)
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

void console_input_waits(struct daemon *d)
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
void console_input_survives_guests(struct daemon *d)
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

void console_output_without_reader(struct daemon *d)
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
void console_slow_reader(struct daemon *d)
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
