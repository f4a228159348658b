/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stdio.c - the back-end on the daemon's own standard input and output, for a daemon that runs in
 * the foreground. One device at a time has it.
 *
 * The descriptors are opened anew: O_NONBLOCK belongs to the open file, which others (a shell, say)
 * share. A terminal becomes raw, but for the keys that send signals: they are for the daemon.
 */
#include "backend.h"
#include "drain.h"
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

struct stdio {
    void *in_use;      /* the shared state; devices are made one after the other */
    bool has_terminal;
    struct termios before;
    bool has_drain;
    struct drain drain;
};

static int32_t claim(const struct port *port, struct stdio *stdio)
{
    struct hvv_device *dev = port->console->dev;
    stdio->in_use = hvv_shared_get(dev, "stdio", sizeof(bool), NULL, NULL, NULL);
    if (!stdio->in_use)
        return hvv_error(dev, errno, "the standard input cannot be claimed: %s", strerror(errno));
    bool *in_use = stdio->in_use;
    if (*in_use) {
        hvv_shared_put(dev, stdio->in_use);
        return hvv_error(dev, EBUSY, "another device has the daemon's standard input and output: "
                         "remove it, or choose another back-end");
    }
    *in_use = true;
    return 0;
}

static void disclaim(const struct port *port, const struct stdio *stdio)
{
    *(bool *)stdio->in_use = false;
    hvv_shared_put(port->console->dev, stdio->in_use);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

/* An open file of its own, or, of a socket, which cannot be opened, the same one. */
static int open_again(int fd, int flags)
{
    char name[32];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    int own = open(name, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    return own >= 0 || errno != ENXIO ? own : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* Whether it is more than /dev/null and the like, and the terminal, if it is one, is ours. */
static bool usable(int fd, struct stat *st)
{
    if (fstat(fd, st) < 0 || (S_ISCHR(st->st_mode) && !isatty(fd)))
        return false;
    return !isatty(fd) || tcgetpgrp(fd) == getpgrp();
}

static void set_terminal(int fd, const struct termios *mode)
{
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGTTOU); /* sent to a daemon in the background, which it would stop */
    pthread_sigmask(SIG_BLOCK, &set, &old);
    tcsetattr(fd, TCSADRAIN, mode);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void make_raw(struct stdio *stdio)
{
    stdio->has_terminal = tcgetattr(STDIN_FILENO, &stdio->before) == 0;
    if (!stdio->has_terminal)
        return;
    struct termios mode = stdio->before;
    cfmakeraw(&mode);
    mode.c_lflag |= ISIG;
    set_terminal(STDIN_FILENO, &mode);
}

/* ---- back-end -------------------------------------------------------------------------------- */

/* Both are taken. */
static int32_t add_peer(struct port *port, struct stdio *stdio, int in, int out, bool may_block)
{
    if (may_block) {
        stdio->has_drain = true;
        return drain_start(&stdio->drain, port, in, out);
    }
    struct peer *peer = peer_new(port, PEER_BACKEND, in, out);
    if (!peer)
        return hvv_error(port->console->dev, errno, "the standard input cannot be watched: %s",
                         strerror(errno));
    peer_add(peer, false);
    return 0;
}

static int32_t open_both(struct port *port, struct stdio *stdio)
{
    struct hvv_device *dev = port->console->dev;
    struct stat in_stat, out_stat;
    if (!usable(STDOUT_FILENO, &out_stat))
        return hvv_error(dev, ENOTTY, "the daemon's standard output is no terminal of its own, "
                         "pipe, socket or file: start it in the foreground, or choose another "
                         "back-end");
    int out = open_again(STDOUT_FILENO, O_WRONLY | (S_ISREG(out_stat.st_mode) ? O_APPEND : 0));
    if (out < 0)
        return hvv_error(dev, errno, "the daemon's standard output cannot be opened: %s",
                         strerror(errno));
    /* A file as input would be ready all the time; there is nobody who types it. */
    bool has_input = usable(STDIN_FILENO, &in_stat) && !S_ISREG(in_stat.st_mode);
    int in = has_input ? open_again(STDIN_FILENO, O_RDONLY) : -1;
    int32_t rc = add_peer(port, stdio, in, out, S_ISREG(out_stat.st_mode));
    if (rc == 0 && in >= 0)
        make_raw(stdio);
    return rc;
}

static int32_t open_backend(struct port *port)
{
    struct stdio *stdio = calloc(1, sizeof(*stdio));
    if (!stdio)
        return hvv_error(port->console->dev, ENOMEM, "no memory for the standard input");
    int32_t rc = claim(port, stdio);
    if (rc == 0) {
        rc = open_both(port, stdio);
        if (rc < 0)
            disclaim(port, stdio);
    }
    if (rc < 0) {
        free(stdio);
        return rc;
    }
    port->backend_state = stdio;
    return 0;
}

static void close_backend(struct port *port)
{
    struct stdio *stdio = port->backend_state;
    if (stdio->has_terminal)
        set_terminal(STDIN_FILENO, &stdio->before);
    if (stdio->has_drain)
        drain_stop(&stdio->drain, port);
    disclaim(port, stdio);
    free(stdio);
}

const struct backend_ops backend_stdio = {
    .name = "stdio",
    .refuses_path = true,
    .open = open_backend,
    .close = close_backend,
};
