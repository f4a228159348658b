/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy.c - see copy.h. One small buffer per direction: neither waits for the other, and a write of
 * this size does not block once poll() says that it is possible.
 */
#include "ctl/copy.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_SIZE 4096

struct flow {
    int from, to;
    size_t len, done;
    bool ended; /* nothing more comes, or nobody takes it */
    char bytes[COPY_SIZE];
};

static bool again(void)
{
    return errno == EAGAIN || errno == EINTR;
}

static void flow_wants(const struct flow *f, struct pollfd *p)
{
    p->fd = f->ended ? -1 : f->len ? f->to : f->from;
    p->events = f->len ? POLLOUT : POLLIN;
    p->revents = 0;
}

static void flow_move(struct flow *f, const struct pollfd *p)
{
    if (p->fd < 0 || !p->revents)
        return;
    if (f->len == 0) {
        ssize_t n = read(f->from, f->bytes, sizeof(f->bytes));
        f->ended = n == 0 || (n < 0 && !again());
        f->len = n > 0 ? (size_t)n : 0;
        f->done = 0;
        return;
    }
    ssize_t n = write(f->to, f->bytes + f->done, f->len - f->done);
    f->ended = n < 0 && !again();
    f->done += n > 0 ? (size_t)n : 0;
    if (f->done == f->len)
        f->len = 0;
}

int copy_both_ways(int fd)
{
    struct flow in = {.from = STDIN_FILENO, .to = fd}, out = {.from = fd, .to = STDOUT_FILENO};
    struct stat st;
    in.ended = fstat(fd, &st) < 0 || S_ISREG(st.st_mode);
    signal(SIGPIPE, SIG_IGN);
    int rc = CTL_OK;
    while (!out.ended && rc == CTL_OK) {
        struct pollfd p[2];
        bool was_ended = in.ended;
        flow_wants(&in, &p[0]);
        flow_wants(&out, &p[1]);
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            rc = complain(CTL_REFUSED, "cannot wait for input: %s", strerror(errno));
        flow_move(&in, &p[0]);
        flow_move(&out, &p[1]);
        if (in.ended && !was_ended)
            shutdown(fd, SHUT_WR); /* fails, with no harm, for what is no socket */
    }
    close(fd);
    return rc;
}
