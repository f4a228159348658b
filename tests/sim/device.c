/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.c - hvisor's device file, of sim.h: the simulation's pages as a file, and a thread that
 * answers the ioctls of daemons. `lock` guards what is written on both sides.
 */
#include "hvisor-ioctl.h"
#include "shared.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define DEVICE_BYTES 0x1000000000ull /* of the machine's memory, nearly all of it a hole */
#define HELD_MAX 8u
#define MESSAGE_SECONDS 10 /* a client that connected sends at once */

struct sim_device {
    pthread_t thread;
    int listen_fd, control_fd;
    pthread_mutex_t lock;
    bool stop, hold;
    int held[HELD_MAX]; /* connections that wait for FINISH_REQ */
    unsigned int n_held;
    uint32_t refused;   /* request */
    int refusal;        /* 0: none */
    struct sim_device_counts counts;
};

/* ---- what the ioctls do ---------------------------------------------------------------------- */

void sim_device_init(struct sim *s)
{
    struct sim_shared *sh = s->shared;
    struct hvv_bridge_page *page = sim_page(s);

    sim_lock(&sh->ring_lock);
    sim_lock(&sh->irq_lock);
    __atomic_store_n(&page->need_wakeup, 0, __ATOMIC_RELAXED);
    memset(page, 0, offsetof(struct hvv_bridge_page, cfg_flags));
    for (unsigned int i = 0; i < HVV_BRIDGE_CPUS; i++) {
        struct sim_cpu *cpu = &sh->cpu[i];

        if (cpu->pushed)
            cpu->renewed = true; /* it goes on comparing with what it read on the page before */
        else
            cpu->flag = 0;
        __atomic_store_n(&page->cfg_values[i], 0, __ATOMIC_RELAXED);
        __atomic_store_n(&page->cfg_flags[i], 0, __ATOMIC_RELEASE);
    }
    sh->connected = true;
    sim_unlock(&sh->irq_lock);
    sim_unlock(&sh->ring_lock);
}

static int set_eventfd(struct sim *s, int fd)
{
    unsigned int n = atomic_load(&s->shared->connection) % SIM_CONNECTIONS;

    /* vCPUs may be about to signal the one before: the number stays. */
    return fd >= 0 && dup3(fd, s->doorbell[n], O_CLOEXEC) >= 0 ? 0 : -EBADF;
}

/* Under the lock. */
static int obey(struct sim *s, const struct hvisor_ioctl *m, int fd)
{
    struct sim_device *d = s->device;

    if (d->refusal && m->request == d->refused)
        return d->refusal;
    switch (m->request) {
    case HVISOR_INIT_VIRTIO:
        d->counts.inits++;
        sim_device_init(s);
        return 0;
    case HVISOR_SET_EVENTFD:
        d->counts.eventfds++;
        return set_eventfd(s, fd);
    case HVISOR_FINISH_REQ:
        sim_irq_pass(s);
        d->counts.finishes++;
        return 0;
    case HVISOR_DEASSERT_IRQ:
        d->counts.deasserts++;
        return 0;
    default:
        d->counts.unknown++;
        return -EINVAL;
    }
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void reply(int connection, int value)
{
    struct hvisor_ioctl_answer answer = { value };

    send(connection, &answer, sizeof(answer), MSG_NOSIGNAL); /* unless the daemon was killed */
    close(connection);
}

static bool receive(int connection, struct hvisor_ioctl *m, int *fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = { m, sizeof(*m) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
                          .msg_controllen = sizeof(control.bytes) };
    struct cmsghdr *c;

    *fd = -1;
    if (recvmsg(connection, &msg, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(*m))
        return false;
    c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(c), sizeof(*fd));
    return true;
}

static void serve_one(struct sim *s)
{
    static const struct timeval limit = { .tv_sec = MESSAGE_SECONDS };
    struct sim_device *d = s->device;
    int connection = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC), fd;
    struct hvisor_ioctl m;

    if (connection < 0)
        return;
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (!receive(connection, &m, &fd)) {
        close(connection);
        return;
    }
    pthread_mutex_lock(&d->lock);
    if (d->hold && m.request == HVISOR_FINISH_REQ && d->n_held < HELD_MAX) {
        d->held[d->n_held++] = connection;
        d->counts.held = d->n_held;
    } else {
        reply(connection, obey(s, &m, fd));
    }
    pthread_mutex_unlock(&d->lock);
    if (fd >= 0)
        close(fd);
}

static bool obey_owner(struct sim *s)
{
    static const struct hvisor_ioctl finish = { .request = HVISOR_FINISH_REQ };
    struct sim_device *d = s->device;
    uint64_t count;
    bool stop;

    if (read(d->control_fd, &count, sizeof(count)) < 0)
        return true;
    pthread_mutex_lock(&d->lock);
    stop = d->stop;
    while (!d->hold && !stop && d->n_held > 0)
        reply(d->held[--d->n_held], obey(s, &finish, -1));
    d->counts.held = d->n_held;
    pthread_mutex_unlock(&d->lock);
    return !stop;
}

static void *run(void *arg)
{
    struct sim *s = arg;
    struct pollfd p[2] = { { s->device->listen_fd, POLLIN, 0 },
                           { s->device->control_fd, POLLIN, 0 } };

    do {
        poll(p, 2, -1);
        if (p[0].revents)
            serve_one(s);
    } while (!p[1].revents || obey_owner(s));
    return NULL;
}

/* ---- the owner ------------------------------------------------------------------------------- */

static void poke(struct sim_device *d)
{
    uint64_t one = 1;

    if (write(d->control_fd, &one, sizeof(one)) < 0)
        return; /* full: it is readable anyway */
}

static int listen_at(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int n = snprintf(at.sun_path, sizeof(at.sun_path), "%s" HVISOR_IOCTL_SOCKET, path), fd;

    if (n >= (int)sizeof(at.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || (bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 64) == 0))
        return fd;
    close(fd);
    return -1;
}

static int open_device(struct sim *s, struct sim_device *d, const char *path)
{
    char file[64];

    d->control_fd = eventfd(0, EFD_CLOEXEC);
    d->listen_fd = listen_at(path);
    snprintf(file, sizeof(file), "/proc/%d/fd/%d", (int)getpid(), s->page_fd);
    if (d->control_fd < 0 || d->listen_fd < 0 || ftruncate(s->page_fd, DEVICE_BYTES) < 0 ||
        symlink(file, path) < 0)
        return -errno;
    s->device = d;
    return -pthread_create(&d->thread, NULL, run, s);
}

static void drop_device(struct sim_device *d)
{
    if (d->control_fd >= 0)
        close(d->control_fd);
    if (d->listen_fd >= 0)
        close(d->listen_fd);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

int sim_device(struct sim *s, const char *path)
{
    struct sim_device *d = calloc(1, sizeof(*d));
    int err;

    if (!d)
        return -ENOMEM;
    d->control_fd = d->listen_fd = -1;
    pthread_mutex_init(&d->lock, NULL);
    err = open_device(s, d, path);
    if (!err)
        return 0;
    snprintf(s->error, sizeof(s->error), "device %s: %s", path, strerror(-err));
    s->device = NULL;
    drop_device(d);
    return err;
}

/* Requests that are held fail, as those that come later. */
void sim_device_free(struct sim *s)
{
    struct sim_device *d = s->device;

    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_mutex_unlock(&d->lock);
    poke(d);
    pthread_join(d->thread, NULL);
    while (d->n_held > 0)
        close(d->held[--d->n_held]);
    s->device = NULL;
    drop_device(d);
}

int sim_device_fd(const struct sim *s)
{
    return s->device ? s->page_fd : -1;
}

void sim_device_hold(struct sim *s, bool hold)
{
    pthread_mutex_lock(&s->device->lock);
    s->device->hold = hold;
    pthread_mutex_unlock(&s->device->lock);
    poke(s->device);
}

void sim_device_refuse(struct sim *s, uint32_t request, int answer)
{
    pthread_mutex_lock(&s->device->lock);
    s->device->refused = request;
    s->device->refusal = answer;
    pthread_mutex_unlock(&s->device->lock);
}

struct sim_device_counts sim_device_counts(struct sim *s)
{
    struct sim_device_counts counts;

    pthread_mutex_lock(&s->device->lock);
    counts = s->device->counts;
    pthread_mutex_unlock(&s->device->lock);
    return counts;
}

bool sim_device_wait_held(struct sim *s, int timeout_ms)
{
    uint64_t deadline = clock_deadline(timeout_ms);

    while (sim_device_counts(s).held == 0) {
        if (!clock_left_ms(deadline))
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}
