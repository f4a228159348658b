/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pty.c - the back-end that makes a terminal anybody can open: a pty in raw mode, and a symbolic
 * link to it that has the same name each time.
 *
 * The slave stays open here as well: there is no hang-up when nobody else has it open, and what is
 * written then waits in the pty, the rest in the ring.
 */
#include "../common/claim.h"
#include "backend.h"
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define PTS_DIRECTORY "/dev/pts/"

struct pty {
    int slave;
    int lock;
    char name[64];
    char link[];
};

/* ---- the pty --------------------------------------------------------------------------------- */

static void set_size(const struct port *port, int fd)
{
    struct winsize size = {.ws_row = port->size.rows, .ws_col = port->size.columns};
    (void)ioctl(fd, TIOCSWINSZ, &size); /* for those who ask; nothing depends on it */
}

static int open_slave(const struct port *port, struct pty *pty)
{
    struct termios mode;
    pty->slave = open(pty->name, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (pty->slave < 0)
        return -errno;
    int rc = tcgetattr(pty->slave, &mode) < 0 ? -errno : 0;
    cfmakeraw(&mode);
    if (rc == 0 && tcsetattr(pty->slave, TCSANOW, &mode) < 0)
        rc = -errno;
    if (rc < 0)
        close(pty->slave);
    else
        set_size(port, pty->slave);
    return rc;
}

/* The master; the slave and its name are in *pty. */
static int open_pty(const struct port *port, struct pty *pty)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    int rc = master < 0 ? -errno : 0;
    if (rc == 0 && (grantpt(master) < 0 || unlockpt(master) < 0))
        rc = -errno;
    if (rc == 0)
        rc = -ptsname_r(master, pty->name, sizeof(pty->name));
    if (rc == 0)
        rc = open_slave(port, pty);
    if (rc == 0)
        return master;
    if (master >= 0)
        close(master);
    return hvv_error(port->console->dev, -rc, "no pty can be opened: %s; see whether /dev/pts is "
                     "mounted and /proc/sys/kernel/pty/max is reached", strerror(-rc));
}

/* ---- the link -------------------------------------------------------------------------------- */

static int32_t refuse_link(const struct port *port, const char *link, int err)
{
    return hvv_error_option(port->console->dev, err, port->path_option, "the link %s cannot be "
                            "made: %s; choose another path", link, strerror(err));
}

/* Under the lock: a link to a pty is a left-over; it is replaced in one step. */
static int32_t replace_link(const struct port *port, const struct pty *pty)
{
    char old[sizeof(pty->name)], temporary[CLAIM_PATH_MAX + 8];
    ssize_t n = readlink(pty->link, old, sizeof(old) - 1);
    old[n > 0 ? n : 0] = '\0';
    if (strncmp(old, PTS_DIRECTORY, strlen(PTS_DIRECTORY)) != 0)
        return hvv_error_option(port->console->dev, EEXIST, port->path_option, "%s exists and is "
                                "not a link to a pty: remove it or choose another path", pty->link);
    snprintf(temporary, sizeof(temporary), "%s.new", pty->link);
    unlink(temporary);
    if (symlink(pty->name, temporary) < 0)
        return refuse_link(port, pty->link, errno);
    if (rename(temporary, pty->link) == 0)
        return 0;
    int err = errno;
    unlink(temporary);
    return refuse_link(port, pty->link, err);
}

static int32_t make_link(const struct port *port, struct pty *pty)
{
    pty->lock = claim_take(port->console->dev, port->path_option, pty->link);
    if (pty->lock < 0)
        return pty->lock;
    int32_t rc = 0;
    if (symlink(pty->name, pty->link) < 0)
        rc = errno == EEXIST ? replace_link(port, pty) : refuse_link(port, pty->link, errno);
    if (rc < 0)
        claim_drop(pty->lock, pty->link);
    return rc;
}

/* Somebody may have put something else there. */
static void remove_link(const struct pty *pty)
{
    char now[sizeof(pty->name)];
    ssize_t n = readlink(pty->link, now, sizeof(now));
    if (n == (ssize_t)strlen(pty->name) && memcmp(now, pty->name, (size_t)n) == 0)
        unlink(pty->link);
    claim_drop(pty->lock, pty->link);
}

/* ---- back-end -------------------------------------------------------------------------------- */

/* Without a link there is no need for a lock either. */
static int32_t open_linked(struct port *port, struct pty *pty)
{
    int master = open_pty(port, pty);
    if (master < 0)
        return master;
    int32_t rc = pty->link[0] ? make_link(port, pty) : 0;
    if (rc < 0) {
        close(master);
        close(pty->slave);
        return rc;
    }
    struct peer *peer = peer_new(port, PEER_BACKEND, master, master);
    if (peer) {
        peer_add(peer, false);
        return 0;
    }
    rc = -errno;
    if (pty->link[0])
        remove_link(pty);
    close(pty->slave);
    return hvv_error(port->console->dev, -rc, "the pty cannot be watched: %s", strerror(-rc));
}

static int32_t open_backend(struct port *port)
{
    const char *link = port->path ? port->path : "";
    struct pty *pty = calloc(1, sizeof(*pty) + strlen(link) + 1);
    if (!pty)
        return hvv_error(port->console->dev, ENOMEM, "no memory for a pty");
    memcpy(pty->link, link, strlen(link) + 1);
    int32_t rc = open_linked(port, pty);
    if (rc < 0) {
        free(pty);
        return rc;
    }
    port->backend_state = pty;
    backend_describe(port, "pty", pty->name);
    if (link[0])
        backend_describe(port, "link", pty->link);
    return 0;
}

static void close_backend(struct port *port)
{
    struct pty *pty = port->backend_state;
    if (pty->link[0])
        remove_link(pty);
    close(pty->slave);
    free(pty);
}

static void resized(struct port *port)
{
    const struct pty *pty = port->backend_state;
    set_size(port, pty->slave);
}

const struct backend_ops backend_pty = {
    .name = "pty",
    .makes_path = true,
    .open = open_backend,
    .close = close_backend,
    .resized = resized,
};
