/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * drain.c - see drain.h. The thread ends at the end of the pipe. It uses the device for its log and
 * counters only.
 */
#include "drain.h"

#include "../common/thread.h"
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define PIECE 16384

static void write_all(const struct drain *drain, const char *bytes, size_t n)
{
    struct hvv_device *dev = drain->port->console->dev;
    while (n > 0) {
        ssize_t done = write(drain->to, bytes, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            int err = done < 0 ? errno : ENOSPC;
            hvv_log(dev, HVV_LOG_WARNING, "%zu bytes of output cannot be written%s%s: %s", n,
                    drain->port->path ? " to " : "", drain->port->path ? drain->port->path : "",
                    strerror(err));
            hvv_count(dev, CONSOLE_FILE_ERRORS, HVV_NO_QUEUE, 1);
            hvv_count(dev, CONSOLE_DROPPED_BYTES, drain->port->tx, n);
            return;
        }
        bytes += done;
        n -= (size_t)done;
    }
}

static void *run(void *arg)
{
    const struct drain *drain = arg;
    char bytes[PIECE];
    ssize_t n;
    while ((n = read(drain->from, bytes, sizeof(bytes))) != 0) {
        if (n > 0)
            write_all(drain, bytes, (size_t)n);
        else if (errno != EINTR)
            break;
    }
    return NULL;
}

static void close_two(int a, int b)
{
    if (a >= 0)
        close(a);
    if (b >= 0)
        close(b);
}

int32_t drain_start(struct drain *drain, struct port *port, int in_fd, int to)
{
    int pipe_fd[2] = {-1, -1};
    *drain = (struct drain){.port = port, .to = to};
    bool ok = pipe2(pipe_fd, O_CLOEXEC) == 0 && fcntl(pipe_fd[1], F_SETFL, O_NONBLOCK) == 0;
    int err = ok ? 0 : errno;
    drain->from = pipe_fd[0];
    if (err == 0)
        err = thread_start(&drain->thread, "console-file", run, drain);
    if (err) {
        close_two(in_fd, to);
        close_two(pipe_fd[0], pipe_fd[1]);
        return hvv_error(port->console->dev, err, "no thread or pipe for a file: %s",
                         strerror(err));
    }
    struct peer *peer = peer_new(port, PEER_BACKEND, in_fd, pipe_fd[1]);
    if (peer) {
        peer_add(peer, false);
        return 0;
    }
    err = errno; /* the pipe is closed, so the thread ends */
    pthread_join(drain->thread, NULL);
    close_two(to, pipe_fd[0]);
    return hvv_error(port->console->dev, err, "a file's pipe cannot be watched: %s", strerror(err));
}

void drain_stop(struct drain *drain, struct port *port)
{
    peers_finish(port);
    peers_free(port); /* the end of the pipe */
    pthread_join(drain->thread, NULL);
    close_two(drain->from, drain->to);
}
