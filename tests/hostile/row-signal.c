/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * row-signal.c - the descriptors a front-end hands over for kicks, calls and errors: class 27. They
 * may be anything, may be full, and may be made blocking again behind the daemon's back, for both
 * sides share what F_SETFL changes.
 */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

static int ours = -1, theirs = -1; /* two ends; what a row leaves open is closed by let_go() */

static void let_go(void *arg)
{
    uint64_t waste[64], one = 1;
    (void)arg;
    /* Whoever blocks is let go: by room, and by something to read. */
    for (int i = 0; i < 2; i++) {
        int fd = i ? theirs : ours;
        if (fd < 0)
            continue;
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        for (int k = 0; k < 10000 && read(fd, waste, sizeof(waste)) > 0; k++)
            ;
        if (write(fd, &one, sizeof(one)) < 0)
            errno = 0;
        close(fd);
    }
    ours = theirs = -1;
}

static void hold(struct world *w)
{
    w->undo = let_go;
}

static void blocking(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
}

/* ---- calls ----------------------------------------------------------------------------------- */

enum sink { SOCKET, SOCKET_CLOSED, PIPE, PIPE_CLOSED, FULL_EVENTFD, A_FILE, DEV_FULL, READ_ONLY };

static bool make_sink(enum sink sink, const struct world *w)
{
    int fd[2] = {-1, -1};
    uint64_t most = UINT64_MAX - 1;
    switch (sink) {
    case SOCKET:
    case SOCKET_CLOSED:
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
            return row_fail("no socket pair");
        break;
    case PIPE:
    case PIPE_CLOSED:
        if (pipe2(fd, O_CLOEXEC) < 0)
            return row_fail("no pipe");
        break;
    case FULL_EVENTFD:
        fd[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (write(fd[1], &most, sizeof(most)) != sizeof(most))
            return row_fail("no full eventfd");
        break;
    case A_FILE:
    case READ_ONLY:
        fd[1] = open(in_dir(&w->d, "call").s,
                     (sink == A_FILE ? O_RDWR | O_CREAT : O_RDONLY | O_CREAT) | O_CLOEXEC, 0600);
        unlink(in_dir(&w->d, "call").s);
        break;
    case DEV_FULL:
        fd[1] = open("/dev/full", O_RDWR | O_CLOEXEC);
    }
    ours = fd[0];
    theirs = fd[1];
    if (sink == SOCKET_CLOSED || sink == PIPE_CLOSED) {
        close(ours);
        ours = -1;
    }
    return theirs >= 0 || row_fail("no descriptor: %s", strerror(errno));
}

/* Fills it up, so that the next byte would have to wait. */
static void fill(int fd)
{
    static const char bytes[65536];
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    for (int i = 0; i < 1000 && write(fd, bytes, sizeof(bytes)) > 0; i++)
        ;
    for (int i = 0; i < 100000 && write(fd, bytes, 1) > 0; i++)
        ;
}

struct call {
    enum sink sink;
    bool full, block;
    uint32_t request; /* SET_VRING_CALL or SET_VRING_ERR */
};

/* I/O that is polled for: nobody reads the calls. */
static bool io_goes_on(struct world *w, unsigned rounds)
{
    struct blk_queue *q = &w->a.queue[0];
    q->poll = true;
    q->timeout_ms = 2000;
    for (unsigned i = 0; i < rounds; i++) {
        q->ring->armed = true;
        q->ring->avail->ring[q->ring->opt.num] = ring_shared_used_idx(q->ring); /* a call, please */
        if (!evil_burst(&w->a, 4, VIRTIO_BLK_T_IN, NULL, 512))
            return false;
        int rc = blk_drain(q);
        if (rc < 0)
            return row_fail("after %u rounds: requests are not done: %s", i, strerror(-rc));
        blk_queue_reset(q);
    }
    return true;
}

static void calls(struct world *w)
{
    const struct call *c = w->arg;
    const struct blkdev_options o = {.event_idx = true};
    MUST(evil_open(w, &o) && make_sink(c->sink, w));
    hold(w);
    if (c->full)
        fill(theirs);
    struct fe *fe = &w->a.fe;
    int err = fe_vring_fd(fe, c->request, 0, theirs);
    if (err == -EREMOTEIO && c->sink >= A_FILE) { /* no way to signal anybody, and may be said so */
        MUST(evil_works(w, &w->a));
        return;
    }
    CHECK(err == 0, "the descriptor is refused: %s", fe->error);
    if (c->block)
        blocking(theirs);
    if (c->request == VHU_SET_VRING_CALL)
        MUST(io_goes_on(w, w->all ? 5000 : 300) && churn_flows(&w->neighbour, 16));
    if (c->request == VHU_SET_VRING_CALL)
        return;
    uint16_t used = ring_shared_used_idx(&w->a.ring[0]);
    evil_offer(&w->a, 0xffff); /* breaks the device, which signals the error */
    MUST(evil_kick(&w->a) && evil_event(w, "device.broken", "head 65535"));
    MUST(churn_flows(&w->neighbour, 16) && evil_untouched(&w->a, used));
    fe->timeout_ms = 2000;
    CHECK(fe_barrier(fe) == 0, "after an error nobody reads: %s", fe->error);
}

/* ---- kicks ----------------------------------------------------------------------------------- */

enum source { EOF_PIPE, EMPTY_FILE, DIRECTORY, SPARE_SOCKET, DEV_ZERO, DEV_NULL, AN_EPOLL,
              WRITE_END, PATH_ONLY, TIMER };

static int make_source(enum source source, const struct world *w)
{
    const struct itimerspec often = {{0, 100000}, {0, 100000}};
    int fd[2] = {-1, -1};
    switch (source) {
    case EOF_PIPE:
        if (pipe2(fd, O_CLOEXEC) == 0)
            close(fd[1]);
        return fd[0];
    case WRITE_END:
        if (pipe2(fd, O_CLOEXEC) == 0)
            close(fd[0]);
        return fd[1];
    case EMPTY_FILE:
        return open(in_dir(&w->d, "i/f").s, O_RDONLY | O_CLOEXEC);
    case DIRECTORY:
        return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    case SPARE_SOCKET:
        return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    case DEV_ZERO:
        return open("/dev/zero", O_RDWR | O_CLOEXEC);
    case DEV_NULL:
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    case AN_EPOLL:
        return epoll_create1(EPOLL_CLOEXEC);
    case PATH_ONLY:
        return open("/", O_PATH | O_CLOEXEC);
    case TIMER:
        fd[0] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
        timerfd_settime(fd[0], 0, &often, NULL);
    }
    return fd[0];
}

struct kick {
    enum source source;
    const char *says; /* the device breaks, or the descriptor is refused; NULL: any will do */
};

static void kicks(struct world *w)
{
    const struct kick *k = w->arg;
    MUST(evil_open(w, NULL) && evil_works(w, &w->a));
    struct fe *fe = &w->a.fe;
    theirs = make_source(k->source, w);
    hold(w);
    CHECK(theirs >= 0, "no descriptor: %s", strerror(errno));
    int err = fe_vring_fd(fe, VHU_SET_VRING_KICK, 0, theirs);
    CHECK(err == 0 || err == -EREMOTEIO, "%s", fe->error);
    if (k->says && err == 0)
        MUST(evil_broken(w, &w->a, k->says, ring_shared_used_idx(&w->a.ring[0]), clock_ns(), NULL));
    MUST(churn_flows(&w->neighbour, 64) && evil_reset(w, &w->a));
}

/* Takes what is there without waiting, and without a moment in which the daemon would not wait. */
static void snatch(int fd, bool as_socket)
{
    uint64_t taken;
    struct iovec iov = {&taken, sizeof(taken)};
    ssize_t n = as_socket ? recv(fd, &taken, sizeof(taken), MSG_DONTWAIT)
                          : preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
    if (n < 0)
        errno = 0;
}

/*
 * What is there to read is taken away between the daemon's look and its read, by this thread, after
 * each delay there can be. A worker that waits there serves nobody; the neighbour's next request
 * shows. In between everybody rests, for only a worker that sleeps looks at kicks.
 */
static void kick_raced(struct world *w)
{
    const struct blkdev_options o = {.event_idx = true};
    bool as_socket = w->arg != NULL;
    uint64_t value = 1, deadline = clock_deadline(w->all ? 5000 : 1200);
    int fd[2];
    MUST(evil_open(w, &o));
    if (as_socket) {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0, "no socket pair");
        ours = fd[0];
        theirs = fd[1];
    } else {
        theirs = eventfd(0, EFD_CLOEXEC);
        ours = dup(theirs);
    }
    hold(w);
    CHECK(fe_vring_fd(&w->a.fe, VHU_SET_VRING_KICK, 0, theirs) == 0, "%s", w->a.fe.error);
    CHECK(fe_barrier(&w->a.fe) == 0, "%s", w->a.fe.error);
    blocking(theirs);
    for (unsigned rounds = 1; clock_left_ms(deadline) > 0; rounds++) {
        CHECK(write(ours, &value, sizeof(value)) == sizeof(value), "write");
        for (unsigned spin = rounds * 7 % 1000; spin > 0; spin--)
            ring_relax();
        snatch(theirs, as_socket);
        if (rounds % 32)
            continue;
        uint64_t was = atomic_load(&w->neighbour.done);
        uint64_t limit = clock_deadline(WAIT_MS);
        while (atomic_load(&w->neighbour.done) == was) {
            CHECK(clock_left_ms(limit) > 0, "the worker waits for a kick, after %u of them",
                  rounds);
            poll(NULL, 0, 0);
        }
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

#define CALL(NAME, SINK, FULL, BLOCK) \
    {NAME, calls, ON_FILE | ON_MEM, &(const struct call){SINK, FULL, BLOCK, VHU_SET_VRING_CALL}}
#define ERR(NAME, SINK, FULL, BLOCK) \
    {NAME, calls, 0, &(const struct call){SINK, FULL, BLOCK, VHU_SET_VRING_ERR}}
#define KICK(NAME, SOURCE, SAYS) {NAME, kicks, ON_FILE | ON_MEM, &(const struct kick){SOURCE, SAYS}}

const struct evil_row signal_rows[] = {
    CALL("c27-call-socket-never-read", SOCKET, false, false),
    CALL("c27-call-socket-full", SOCKET, true, false),
    CALL("c27-call-socket-closed", SOCKET_CLOSED, false, false),
    CALL("c27-call-pipe-full", PIPE, true, false),
    CALL("c27-call-pipe-closed", PIPE_CLOSED, false, false),
    CALL("c27-call-eventfd-full", FULL_EVENTFD, false, false),
    CALL("c27-call-file", A_FILE, false, false),
    CALL("c27-call-read-only", READ_ONLY, false, false),
    CALL("c27-call-dev-full", DEV_FULL, false, false),
    CALL("c27-call-socket-full-blocking", SOCKET, true, true),
    CALL("c27-call-pipe-full-blocking", PIPE, true, true),
    CALL("c27-call-eventfd-full-blocking", FULL_EVENTFD, false, true),
    ERR("c27-err-socket-full", SOCKET, true, false),
    ERR("c27-err-pipe-closed", PIPE_CLOSED, false, false),
    ERR("c27-err-eventfd-full", FULL_EVENTFD, false, false),
    ERR("c27-err-socket-full-blocking", SOCKET, true, true),
    ERR("c27-err-pipe-full-blocking", PIPE, true, true),
    ERR("c27-err-eventfd-full-blocking", FULL_EVENTFD, false, true),
    KICK("c27-kick-pipe-at-end", EOF_PIPE, "kick descriptor|end of file"),
    KICK("c27-kick-write-end", WRITE_END, "kick descriptor"),
    KICK("c27-kick-file", EMPTY_FILE, "kick descriptor"),
    KICK("c27-kick-directory", DIRECTORY, "kick descriptor"),
    KICK("c27-kick-socket", SPARE_SOCKET, "kick descriptor"),
    KICK("c27-kick-dev-null", DEV_NULL, "kick descriptor|end of file"),
    KICK("c27-kick-path-only", PATH_ONLY, "kick descriptor"),
    KICK("c27-kick-dev-zero", DEV_ZERO, "kick descriptor"),
    KICK("c27-kick-epoll", AN_EPOLL, NULL),
    KICK("c27-kick-timer", TIMER, NULL),
    {"c27-kick-raced-socket", kick_raced, 0, "socket"},
    {"c27-kick-raced-eventfd", kick_raced, 0, NULL},
    {NULL, NULL, 0, NULL},
};
