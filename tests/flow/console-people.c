/* SPDX-License-Identifier: BSD-3-Clause */
/* console-people.c - see console.h: what the rows share. Main thread. */
#include "clock.h"
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct condev guest;

char *pattern(size_t n)
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

int wait_fd(int fd, short events, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, timeout_ms);
}

bool read_until(int fd, char *text, size_t size, const char *end)
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

bool write_fd(int fd, const char *bytes, size_t n)
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

int open_tty(const struct daemon *d, const char *name)
{
    int fd = open(in_dir(d, "%s", name).s, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        row_fail("%s cannot be opened: %s", name, strerror(errno));
    return fd;
}

int connect_to(const struct daemon *d, const char *name)
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

/* ---- terminals ------------------------------------------------------------------------------- */

int open_terminal(char name[64])
{
    const struct winsize size = {.ws_col = 111, .ws_row = 33};
    int tty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (tty < 0 || grantpt(tty) < 0 || unlockpt(tty) < 0 || ptsname_r(tty, name, 64) != 0 ||
        ioctl(tty, TIOCSWINSZ, &size) < 0)
        row_fail("no pty: %s", strerror(errno));
    return tty;
}

void use_terminal(const char *name)
{
    setsid();
    int tty = open(name, O_RDWR);
    if (tty < 0 || dup2(tty, 0) < 0 || dup2(tty, 1) < 0 || dup2(tty, 2) < 0)
        _exit(126);
    ioctl(0, TIOCSCTTY, 0);
}

/* ---- ports, as the driver sees them ---------------------------------------------------------- */

bool handshake(struct condev *c, unsigned ports)
{
    if (!condev_give(c, CONDEV_CONTROL_RX, 16) || !condev_say(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1))
        return false;
    for (unsigned i = 0; i < ports; i++)
        if (condev_hear(c, i, VIRTIO_CONSOLE_PORT_ADD, -1) < 0)
            return false;
    return true;
}

bool open_channel(struct condev *c, uint32_t port, const char *name, int host_open)
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
