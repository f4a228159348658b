/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * user.c - a network of its own for one guest, made by libslirp: connections of the guest become
 * sockets of this process, so nothing of the host is set up and no privilege is needed.
 *
 * Runs on the worker of the one pair; open and close on the builder. libslirp keeps some things in
 * globals (its clock, the name server's address), so every call into it is made under one lock of
 * the plugin. Nothing it does there waits: its sockets are made non-blocking here where it does not
 * do so itself, and of files it reads /etc/resolv.conf only.
 *
 * Its sockets are in an epoll set, which one watch stands for. What it has for a guest without
 * buffers waits in a short queue, and until the guest has taken that, sockets are not read: the
 * kernel keeps what comes. Frames that libslirp makes by itself are dropped behind the queue.
 */
#include "user.h"

#include "backend.h"
#include "rx.h"

#ifdef HAVE_SLIRP

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_ether.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define MTU_DEFAULT 1500u
#define MTU_MAX 65521u  /* libslirp's */
#define WAITING_MAX 64u /* frames for a guest without buffers */
#define READY_MAX 32    /* sockets looked after in one turn: the queue has room for what they bring */
#define SOCKET_ROOM (1 << 20) /* bytes that come while the worker is busy; the kernel has a limit */
#define SOCKETS_MAX 1024u
#define SOCKETS_SHARE 4u /* of the descriptors this process may have, one device takes a quarter */

#define NS_OF_MS 1000000u
#define NS_OF_S 1000000000ull
#define UNTIMED_MS 1000u /* what libslirp answers if it has nothing to time */
#define FAST_MS 2u       /* its shortest time */
#define QUIET_NS (900 * NS_OF_S) /* no connection is remembered longer after its last frame */
#define PAUSE_NS NS_OF_S /* for ports that lead to the guest, when no connection can be taken */

/* One file descriptor of libslirp's, found by its number. */
struct descriptor {
    bool prepared;
    bool registered;  /* counts as a socket: made for a connection, not for a forwarded port */
    uint32_t events;  /* EPOLL* it is in the set with; 0: it is not */
    uint32_t slot;    /* in user.armed, if it is in the set */
    uint32_t wanted;  /* number of the fill that asked for it last */
    uint32_t ready;   /* number of the turn in which it was ready, */
    uint32_t revents; /* and what for */
};

struct user_timer {
    struct user *user;
    struct user_timer *next;
    struct hvv_timer *timer;
    SlirpTimerCb expired;
    void *opaque;
    int64_t due_ms; /* on libslirp's clock; -1: not set */
};

struct waiting {
    uint32_t bytes;
    uint8_t data[];
};

struct user {
    struct pair *pair;
    Slirp *slirp;
    bool live;  /* from publish() to stop(): watches and timers can be set */
    bool batch; /* frames were put in since the last flush */
    int epoll;
    struct hvv_watch *watch;
    struct hvv_timer *timeout;
    struct user_timer *timers;
    bool no_timer; /* memory ended while libslirp asked for one */

    struct descriptor *fds; /* by number */
    uint32_t n_fds;
    int *armed; /* numbers of those in the set; as long as fds */
    uint32_t n_armed;
    uint32_t sockets, sockets_max; /* registered ones */
    uint32_t accepted; /* how often one was registered */
    uint32_t fill, turn;
    uint64_t paused_until; /* ports that lead to the guest are left alone */
    uint64_t last_active;

    struct waiting *waiting[WAITING_MAX]; /* a ring */
    uint32_t first, n_waiting;

    uint32_t largest; /* frame from the guest */
    uint8_t *frame;   /* a copy of one */
};

static pthread_mutex_t library = PTHREAD_MUTEX_INITIALIZER;

static struct hvv_device *device_of(const struct user *user)
{
    return user->pair->net->dev;
}

/* ---- Frames to the guest --------------------------------------------------------------------- */

static enum rx_result give(struct user *user, const void *data, uint32_t bytes)
{
    struct iovec iov = {(void *)(uintptr_t)data, bytes};
    struct frame frame = {.iov = &iov, .n_iov = 1, .bytes = bytes};
    uint32_t given = 0; /* it is never cut: libslirp's frames are plain */
    return rx_give(user->pair, &frame, &given);
}

static void keep(struct user *user, const void *data, uint32_t bytes)
{
    bool room = user->pair->rx_running && user->n_waiting < WAITING_MAX;
    struct waiting *one = room ? malloc(sizeof(*one) + bytes) : NULL;
    if (!one) {
        rx_drop(user->pair, NET_RX_NO_BUFFER);
        return;
    }
    one->bytes = bytes;
    memcpy(one->data, data, bytes);
    user->waiting[(user->first + user->n_waiting++) % WAITING_MAX] = one;
}

static void forget_first(struct user *user)
{
    free(user->waiting[user->first]);
    user->first = (user->first + 1) % WAITING_MAX;
    user->n_waiting--;
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

/* Makes the tables long enough for `fd`. NULL if there is no memory. */
static struct descriptor *descriptor(struct user *user, int fd)
{
    uint32_t n = user->n_fds ? user->n_fds : 64;
    while (n <= (uint32_t)fd)
        n *= 2;
    if (n > user->n_fds) {
        struct descriptor *fds = realloc(user->fds, n * sizeof(*fds));
        if (!fds)
            return NULL;
        user->fds = fds;
        int *armed = realloc(user->armed, n * sizeof(*armed));
        if (!armed)
            return NULL;
        user->armed = armed;
        memset(fds + user->n_fds, 0, (n - user->n_fds) * sizeof(*fds));
        user->n_fds = n;
    }
    return &user->fds[fd];
}

static void arm(struct user *user, int fd, uint32_t events)
{
    struct descriptor *d = &user->fds[fd];
    if (d->events == events)
        return;
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(user->epoll, d->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) < 0) {
        hvv_log(device_of(user), HVV_LOG_WARNING, "a socket cannot be watched: %s",
                strerror(errno));
        return;
    }
    if (!d->events) {
        d->slot = user->n_armed++;
        user->armed[d->slot] = fd;
    }
    d->events = events;
}

static void disarm(struct user *user, int fd)
{
    struct descriptor *d = &user->fds[fd];
    if (!d->events)
        return;
    epoll_ctl(user->epoll, EPOLL_CTL_DEL, fd, NULL);
    d->events = 0;
    int last = user->armed[--user->n_armed];
    user->armed[d->slot] = last;
    user->fds[last].slot = d->slot;
}

static void make_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* Datagrams that find no room are lost. The second way is without privilege, and bounded. */
static void make_room(int fd)
{
    int bytes = SOCKET_ROOM, type = 0;
    socklen_t size = sizeof(type);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_DGRAM)
        return; /* the kernel finds the right size for streams by itself */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

static void prepare(struct descriptor *d, int fd)
{
    if (d->prepared)
        return;
    d->prepared = true;
    make_nonblocking(fd);
    make_room(fd);
}

/* libslirp says so of sockets it made for a connection, with -1 if it could not. */
static void on_register(int fd, void *opaque)
{
    struct user *user = opaque;
    struct descriptor *d = fd >= 0 ? descriptor(user, fd) : NULL;
    if (!d || d->registered)
        return;
    prepare(d, fd);
    d->registered = true;
    user->sockets++;
    user->accepted++;
}

/* It closes the descriptor next. */
static void on_unregister(int fd, void *opaque)
{
    struct user *user = opaque;
    if (fd < 0 || (uint32_t)fd >= user->n_fds)
        return;
    disarm(user, fd);
    if (user->fds[fd].registered)
        user->sockets--;
    user->fds[fd] = (struct descriptor){0};
}

static uint32_t to_epoll(int events)
{
    return (events & SLIRP_POLL_IN ? (uint32_t)EPOLLIN : 0) |
           (events & SLIRP_POLL_OUT ? (uint32_t)EPOLLOUT : 0) |
           (events & SLIRP_POLL_PRI ? (uint32_t)EPOLLPRI : 0); /* the others always come */
}

static int from_epoll(uint32_t events)
{
    return (events & EPOLLIN ? SLIRP_POLL_IN : 0) | (events & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
           (events & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (events & EPOLLERR ? SLIRP_POLL_ERR : 0) |
           (events & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

/* Its answer comes back as the index of on_ready_events(). */
static int on_wanted(int fd, int events, void *opaque)
{
    struct user *user = opaque;
    struct descriptor *d = descriptor(user, fd);
    if (!d)
        return -1;
    bool port = !d->registered; /* a port that leads to the guest: nobody told of it before */
    prepare(d, fd);
    if (port && (user->paused_until || user->sockets >= user->sockets_max))
        return fd; /* connections wait in the kernel */
    uint32_t wanted = to_epoll(events);
    if (user->n_waiting > 0)
        wanted &= ~(uint32_t)EPOLLIN;
    if (!wanted)
        return fd;
    d->wanted = user->fill;
    arm(user, fd, wanted);
    return fd;
}

static int on_ready_events(int index, void *opaque)
{
    const struct user *user = opaque;
    if (index < 0 || (uint32_t)index >= user->n_fds || user->fds[index].ready != user->turn)
        return 0;
    return from_epoll(user->fds[index].revents);
}

/* ---- Turns ----------------------------------------------------------------------------------- */

/*
 * When libslirp wants to be called at the latest. It counts half seconds as long as a port leads to
 * the guest; that ends when nothing happened for so long that it has nothing to count.
 */
static void set_timeout(struct user *user, uint32_t ms)
{
    uint64_t now = hvv_now(device_of(user));
    bool counts = ms > FAST_MS && user->sockets == 0 && now - user->last_active > QUIET_NS;
    uint64_t ns = ms >= UNTIMED_MS || counts ? 0 : (uint64_t)ms * NS_OF_MS;
    if (user->paused_until && (ns == 0 || ns > PAUSE_NS))
        ns = PAUSE_NS;
    hvv_timer_set(device_of(user), user->timeout, ns);
}

/* Asks libslirp what to wait for. After everything that may have changed it; under the lock. */
static void refill(struct user *user)
{
    uint32_t ms = UINT32_MAX;
    if (!user->live)
        return;
    if (user->paused_until && hvv_now(device_of(user)) >= user->paused_until)
        user->paused_until = 0;
    user->fill++;
    slirp_pollfds_fill(user->slirp, &ms, on_wanted, user);
    for (uint32_t i = user->n_armed; i > 0; i--)
        if (user->fds[user->armed[i - 1]].wanted != user->fill)
            disarm(user, user->armed[i - 1]);
    set_timeout(user, ms);
}

/* Lets libslirp look at its clock and send what waits, but not at its sockets. */
static void tick(struct user *user)
{
    user->turn++;
    slirp_pollfds_poll(user->slirp, 1, on_ready_events, user);
}

/* Takes note of the sockets that are ready. True if ports that lead to the guest are among them. */
static bool take_ready(struct user *user)
{
    struct epoll_event events[READY_MAX];
    bool ports = false;
    user->turn++;
    int n = epoll_wait(user->epoll, events, READY_MAX, 0);
    for (int i = 0; i < n; i++) {
        struct descriptor *d = &user->fds[events[i].data.fd];
        d->ready = user->turn;
        d->revents = events[i].events;
        ports |= !d->registered;
    }
    if (n > 0)
        user->last_active = hvv_now(device_of(user));
    return ports;
}

/* A port of TCP is ready, but libslirp made no socket of it: there are no more descriptors. */
static bool port_is_stuck(const struct user *user)
{
    for (uint32_t i = 0; i < user->n_armed; i++) {
        const struct descriptor *d = &user->fds[user->armed[i]];
        int listens = 0;
        socklen_t size = sizeof(listens);
        if (!d->registered && d->ready == user->turn &&
            getsockopt(user->armed[i], SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens)
            return true;
    }
    return false;
}

static void turn(struct user *user)
{
    pthread_mutex_lock(&library);
    bool ports = take_ready(user);
    uint32_t accepted = user->accepted;
    slirp_pollfds_poll(user->slirp, 0, on_ready_events, user);
    if (ports && accepted == user->accepted && port_is_stuck(user)) {
        hvv_log(device_of(user), HVV_LOG_WARNING, "a connection for the guest cannot be taken; "
                "new ones wait for a second");
        user->paused_until = hvv_now(device_of(user)) + PAUSE_NS;
    }
    refill(user);
    pthread_mutex_unlock(&library);
    net_tell(user->pair);
}

static void on_watch(void *arg, uint32_t events)
{
    (void)events;
    turn(arg);
}

static void on_timeout(void *arg)
{
    turn(arg);
}

/* The guest has buffers, maybe. What waits is first; then sockets are read again. */
static void user_receive(struct pair *pair)
{
    struct user *user = pair->backend;
    if (user->n_waiting == 0)
        return;
    while (user->n_waiting > 0) {
        const struct waiting *one = user->waiting[user->first];
        if (give(user, one->data, one->bytes) == RX_FULL)
            return;
        forget_first(user);
    }
    pthread_mutex_lock(&library);
    refill(user);
    pthread_mutex_unlock(&library);
}

static void user_receive_stop(struct pair *pair)
{
    struct user *user = pair->backend;
    for (; user->n_waiting > 0; forget_first(user))
        rx_drop(pair, NET_RX_NO_BUFFER);
    pthread_mutex_lock(&library);
    refill(user);
    pthread_mutex_unlock(&library);
}

/* ---- Frames from the guest ------------------------------------------------------------------- */

/* libslirp dates what a frame starts by its last turn, which may be long ago. */
static void begin_batch(struct user *user)
{
    user->batch = true;
    user->last_active = hvv_now(device_of(user));
    tick(user);
}

static enum send_result user_send(struct pair *pair, const struct frame *frame,
                                  struct hvv_chain *chain)
{
    struct user *user = pair->backend;
    (void)chain;
    if (frame->bytes > user->largest)
        return SEND_REFUSED;
    size_t bytes = frame_read(frame, 0, user->frame, frame->bytes);
    enum user_kind kind = user_kind_of(user->frame, bytes);
    if (kind == USER_LOST || (kind == USER_OPENS && user->sockets >= user->sockets_max))
        return SEND_REFUSED;
    pthread_mutex_lock(&library);
    if (!user->batch)
        begin_batch(user);
    slirp_input(user->slirp, user->frame, (int)bytes);
    pthread_mutex_unlock(&library);
    return SEND_DONE;
}

static void user_flush(struct pair *pair)
{
    struct user *user = pair->backend;
    if (!user->batch)
        return;
    user->batch = false;
    pthread_mutex_lock(&library);
    tick(user); /* frames that waited for the guest's Ethernet address */
    refill(user);
    pthread_mutex_unlock(&library);
}

/* ---- What libslirp calls --------------------------------------------------------------------- */

static ssize_t on_packet(const void *data, size_t bytes, void *opaque)
{
    struct user *user = opaque;
    if (bytes < FRAME_MIN || bytes > FRAME_MAX)
        rx_drop(user->pair, NET_RX_BAD_FRAME);
    else if (user->n_waiting > 0 || give(user, data, (uint32_t)bytes) == RX_FULL)
        keep(user, data, (uint32_t)bytes);
    return (ssize_t)bytes; /* it writes to stderr about anything else */
}

static void on_guest_error(const char *text, void *opaque)
{
    hvv_log(device_of(opaque), HVV_LOG_WARNING, "the guest: %s", text);
}

static int64_t on_clock(void *opaque)
{
    return (int64_t)hvv_now(device_of(opaque));
}

static void on_timer(void *arg)
{
    struct user_timer *timer = arg;
    timer->due_ms = -1;
    pthread_mutex_lock(&library);
    timer->expired(timer->opaque);
    pthread_mutex_unlock(&library);
    net_tell(timer->user->pair);
}

static void *on_timer_new(SlirpTimerCb expired, void *cb_opaque, void *opaque)
{
    struct user *user = opaque;
    struct user_timer *timer = calloc(1, sizeof(*timer));
    if (timer)
        timer->timer = hvv_timer_new(device_of(user), user->pair->rx_queue, on_timer, timer);
    if (!timer || !timer->timer) {
        user->no_timer = true;
        free(timer);
        return NULL;
    }
    timer->user = user;
    timer->expired = expired;
    timer->opaque = cb_opaque;
    timer->due_ms = -1;
    timer->next = user->timers;
    user->timers = timer;
    return timer;
}

static void on_timer_free(void *arg, void *opaque)
{
    struct user *user = opaque;
    struct user_timer *timer = arg;
    if (!timer)
        return;
    struct user_timer **at = &user->timers;
    while (*at != timer)
        at = &(*at)->next;
    *at = timer->next;
    hvv_timer_free(device_of(user), timer->timer);
    free(timer);
}

static void set_timer(const struct user_timer *timer)
{
    struct hvv_device *dev = device_of(timer->user);
    int64_t left = timer->due_ms * (int64_t)NS_OF_MS - (int64_t)hvv_now(dev);
    hvv_timer_set(dev, timer->timer, left > 0 ? (uint64_t)left : 1);
}

static void on_timer_mod(void *arg, int64_t due_ms, void *opaque)
{
    const struct user *user = opaque;
    struct user_timer *timer = arg;
    if (!timer)
        return;
    timer->due_ms = due_ms;
    if (user->live)
        set_timer(timer);
}

static void on_notify(void *opaque)
{
    (void)opaque; /* refill() follows whatever was done */
}

static const SlirpCb callbacks = {
    .send_packet = on_packet,
    .guest_error = on_guest_error,
    .clock_get_ns = on_clock,
    .timer_new = on_timer_new,
    .timer_free = on_timer_free,
    .timer_mod = on_timer_mod,
    .register_poll_fd = on_register,
    .unregister_poll_fd = on_unregister,
    .notify = on_notify,
};

/* ---- Life ------------------------------------------------------------------------------------ */

static int32_t forward_failed(struct hvv_device *dev, const char *text,
                              const struct user_forward *forward, int err)
{
    char address[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &forward->host, address, sizeof(address));
    if (err == EADDRINUSE)
        return hvv_error_option(dev, err, "hostfwd", "%s port %u of %s is in use: stop what uses "
                                "it or choose another port in '%s'", forward->udp ? "UDP" : "TCP",
                                forward->host_port, address, text);
    if (err == EADDRNOTAVAIL)
        return hvv_error_option(dev, err, "hostfwd", "%s in '%s' is no address of this host: use "
                                "one that is, or none for all", address, text);
    return hvv_error_option(dev, err, "hostfwd", "%s port %u of %s cannot be opened for '%s': %s",
                            forward->udp ? "UDP" : "TCP", forward->host_port, address, text,
                            strerror(err));
}

static int32_t add_forwards(struct user *user, const struct user_network *network)
{
    struct hvv_device *dev = device_of(user);
    for (uint32_t i = 0; i < hvv_option_count(dev, "hostfwd"); i++) {
        const char *text = hvv_option_string_at(dev, "hostfwd", i);
        struct user_forward forward;
        const char *wrong = user_read_forward(text, network, &forward);
        if (wrong)
            return hvv_error_option(dev, EINVAL, "hostfwd", "'%s': %s; an example is "
                                    "tcp:127.0.0.1:2222-:22", text, wrong);
        if (slirp_add_hostfwd(user->slirp, forward.udp, forward.host, forward.host_port,
                              forward.guest, forward.guest_port) < 0)
            return forward_failed(dev, text, &forward, errno ? errno : EIO);
    }
    return 0;
}

static Slirp *make_slirp(struct user *user, const struct user_network *network, uint32_t mtu)
{
    SlirpConfig config = {
        .version = 1,
        .restricted = (int)hvv_option_u64(device_of(user), "restrict"),
        .in_enabled = true,
        .vnetwork = network->network,
        .vnetmask = network->mask,
        .vhost = network->host,
        .vdhcp_start = network->dhcp,
        .vnameserver = network->dns,
        .in6_enabled = true,
        .vprefix_len = USER_PREFIX6_BITS,
        .if_mtu = mtu,
        .if_mru = mtu,
    };
    inet_pton(AF_INET6, USER_PREFIX6, &config.vprefix_addr6);
    inet_pton(AF_INET6, USER_HOST6, &config.vhost6);
    inet_pton(AF_INET6, USER_DNS6, &config.vnameserver6);
    return slirp_new(&config, &callbacks, user);
}

static void user_free(struct user *user)
{
    struct hvv_device *dev = device_of(user);
    user->live = false;
    pthread_mutex_lock(&library);
    if (user->slirp)
        slirp_cleanup(user->slirp);
    pthread_mutex_unlock(&library);
    hvv_timer_free(dev, user->timeout);
    hvv_watch_free(dev, user->watch);
    if (user->epoll >= 0)
        close(user->epoll);
    while (user->n_waiting > 0)
        forget_first(user);
    free(user->armed);
    free(user->fds);
    free(user->frame);
    free(user);
}

/* Memory, and what stands for libslirp's sockets and times on the worker. */
static struct user *user_new(struct pair *pair, uint32_t mtu)
{
    struct rlimit files;
    struct hvv_device *dev = pair->net->dev;
    struct user *user = calloc(1, sizeof(*user));
    if (!user)
        return NULL;
    user->pair = pair;
    user->largest = mtu + ETH_HLEN;
    user->sockets_max = SOCKETS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / SOCKETS_SHARE < SOCKETS_MAX)
        user->sockets_max = (uint32_t)files.rlim_cur / SOCKETS_SHARE;
    user->frame = malloc(user->largest);
    user->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (user->epoll >= 0)
        user->watch = hvv_watch_new(dev, pair->rx_queue, user->epoll, on_watch, user);
    if (user->watch)
        user->timeout = hvv_timer_new(dev, pair->rx_queue, on_timeout, user);
    if (user->frame && user->timeout)
        return user;
    int err = errno;
    user_free(user);
    errno = err;
    return NULL;
}

static int32_t start(struct user *user, const struct user_network *network, uint32_t mtu)
{
    struct hvv_device *dev = device_of(user);
    pthread_mutex_lock(&library);
    user->slirp = make_slirp(user, network, mtu);
    int32_t rc = !user->slirp || user->no_timer
                     ? hvv_error(dev, ENOMEM, "libslirp %s cannot start", slirp_version_string())
                     : add_forwards(user, network);
    pthread_mutex_unlock(&library);
    return rc;
}

static int32_t user_open(struct net *net)
{
    struct hvv_device *dev = net->dev;
    const char *text = hvv_option_string(dev, "network");
    struct user_network network;
    if (!text)
        text = USER_NETWORK_DEFAULT;
    const char *wrong = user_read_network(text, &network);
    if (wrong)
        return hvv_error_option(dev, EINVAL, "network", "'%s': %s; an example is "
                                USER_NETWORK_DEFAULT, text, wrong);
    if (net->n_pairs > 1)
        return hvv_error_option(dev, EINVAL, "queues", "the back-end user has one pair of queues, "
                                "not %u: leave queues= out or use a tap", net->n_pairs);
    if (net->mtu > MTU_MAX)
        net->mtu = MTU_MAX;
    uint32_t mtu = net->mtu ? net->mtu : MTU_DEFAULT;
    struct user *user = user_new(&net->pair[0], mtu);
    if (!user)
        return hvv_error(dev, errno, "the back-end user cannot start: %s", strerror(errno));
    int32_t rc = start(user, &network, mtu);
    if (rc < 0) {
        user_free(user);
        return rc;
    }
    net->pair[0].backend = user;
    net->offloads = 0;
    hvv_describe(dev, "network", text);
    return 0;
}

static void user_close(struct net *net)
{
    user_free(net->pair[0].backend);
    net->pair[0].backend = NULL;
}

static void user_publish(struct net *net)
{
    struct user *user = net->pair[0].backend;
    user->live = true;
    user->last_active = hvv_now(net->dev);
    for (const struct user_timer *timer = user->timers; timer; timer = timer->next)
        if (timer->due_ms >= 0)
            set_timer(timer);
    hvv_watch_set(net->dev, user->watch, HVV_WATCH_READ);
    pthread_mutex_lock(&library);
    tick(user);
    refill(user);
    pthread_mutex_unlock(&library);
}

static void user_stop(struct net *net)
{
    struct user *user = net->pair[0].backend;
    user->live = false;
}

const struct backend_ops backend_user = {
    .name = "user",
    .in_order = true,
    .open = user_open,
    .close = user_close,
    .publish = user_publish,
    .stop = user_stop,
    .send = user_send,
    .flush = user_flush,
    .receive = user_receive,
    .receive_stop = user_receive_stop,
};

#else

static int32_t user_open(struct net *net)
{
    return hvv_error_option(net->dev, ENOTSUP, "backend", "this build has no libslirp, which the "
                            "back-end user needs: build it with libslirp, or use a tap");
}

static void user_close(struct net *net)
{
    (void)net;
}

static enum send_result user_send(struct pair *pair, const struct frame *frame,
                                  struct hvv_chain *chain)
{
    (void)pair, (void)frame, (void)chain;
    return SEND_REFUSED;
}

const struct backend_ops backend_user = {
    .name = "user",
    .open = user_open,
    .close = user_close,
    .send = user_send,
};

#endif
