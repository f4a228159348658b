/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tap-admin.c - a thread that makes the tap what it should be: offloads, carrier, queues.
 *
 * All of these wait for the kernel's one lock of networking, which others may hold for long, so no
 * worker asks for them. Workers say that something has changed; the thread looks at what holds now
 * (net->guest_offloads, net->link, net->receiving, net->active_pairs) and changes what differs. So
 * it does not matter how many changes come together. Meanwhile frames go on: each has a header that
 * says what it is, and tap.c looks at it before the guest gets it.
 *
 * Queues: the kernel spreads frames over the attached ones, so a queue that nobody reads would
 * swallow some flows for good. A queue is attached as soon as its pair receives. It is detached
 * when others receive and its pair does not, but not before things have been quiet for a while:
 * queues start and stop one by one, and the kernel drops what waits in a queue that is detached.
 * While none receives nothing changes: frames wait.
 */
#include "tap.h"

#include "../common/thread.h"

#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <time.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define SETTLE_NS 100000000ull
#define SECOND_NS 1000000000ull

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* ---- Offloads and carrier -------------------------------------------------------------------- */

/* What the guest takes as the kernel calls it; TCP segments only together with checksums. */
static uint32_t tun_flags(const struct tap *tap)
{
    uint64_t takes = atomic_load(&tap->net->guest_offloads);
    uint32_t flags = 0;
    if (!(takes & NET_FEATURE(GUEST_CSUM)))
        return 0;
    if (takes & NET_FEATURE(GUEST_TSO4))
        flags |= TUN_F_TSO4;
    if (takes & NET_FEATURE(GUEST_TSO6))
        flags |= TUN_F_TSO6;
    if (flags && takes & NET_FEATURE(GUEST_ECN))
        flags |= TUN_F_TSO_ECN;
    if (takes & NET_FEATURE(GUEST_USO4) && takes & NET_FEATURE(GUEST_USO6))
        flags |= TUN_F_USO4 | TUN_F_USO6;
    return (flags | TUN_F_CSUM) & tap->flags;
}

static void complain(struct tap *tap, const char *what)
{
    if (errno != EBADFD) /* the tap is gone: tap.c tells */
        hvv_log(tap->net->dev, HVV_LOG_WARNING, "%s of %s cannot be set: %s", what, tap->name,
                strerror(errno));
}

static void set_offloads(struct tap *tap)
{
    uint32_t flags = tun_flags(tap);
    if (flags == tap->set_flags)
        return;
    tap->set_flags = flags;
    if (ioctl(tap->pair[0].fd, TUNSETOFFLOAD, (unsigned long)flags) < 0)
        complain(tap, "the offloads");
}

static void set_carrier(struct tap *tap)
{
    int up = atomic_load(&tap->net->link);
    if (up == tap->carrier)
        return;
    tap->carrier = up;
    if (ioctl(tap->pair[0].fd, TUNSETCARRIER, &up) < 0)
        complain(tap, "the carrier");
}

/* ---- Queues ---------------------------------------------------------------------------------- */

/* Reading and writing go on meanwhile; a queue that is detached is only never given a frame. */
static bool set_queue(struct tap_pair *tp, bool attach)
{
    struct ifreq ifr = {.ifr_flags = attach ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};
    if (ioctl(tp->fd, TUNSETQUEUE, &ifr) == 0)
        return true;
    complain(tp->tap, "a queue");
    return false;
}

/* The pairs that can take frames. */
static uint32_t receivers(const struct tap *tap)
{
    uint32_t active = atomic_load(&tap->net->active_pairs);
    uint32_t mask = active < NET_PAIRS_MAX ? (1u << active) - 1 : UINT32_MAX;
    return atomic_load(&tap->net->receiving) & mask;
}

/* Returns the queues to detach once things are settled. */
static uint32_t set_queues(struct tap *tap, bool settled)
{
    uint32_t want = receivers(tap);
    if (tap->n_pairs == 1 || want == 0)
        return 0;
    uint32_t surplus = tap->attached & ~want;
    uint32_t differ = (want & ~tap->attached) | (settled ? surplus : 0);
    for (; differ; differ &= differ - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(differ);
        if (set_queue(&tap->pair[i], want & 1u << i))
            tap->attached ^= 1u << i;
    }
    return settled ? 0 : surplus;
}

/* ---- The thread ------------------------------------------------------------------------------ */

static void wait_until(struct tap *tap, uint64_t ns)
{
    struct timespec at = {.tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS)};
    if (ns == 0)
        pthread_cond_wait(&tap->wake, &tap->lock);
    else
        (void)pthread_cond_timedwait(&tap->wake, &tap->lock, &at);
}

static void *admin_main(void *arg)
{
    struct tap *tap = arg;
    uint32_t surplus = 0;
    pthread_mutex_lock(&tap->lock);
    while (!tap->closing) {
        bool settled = surplus && !tap->changed && now_ns() >= tap->settled_at;
        if (!tap->changed && !settled) {
            wait_until(tap, surplus ? tap->settled_at : 0);
            continue;
        }
        tap->changed = false;
        pthread_mutex_unlock(&tap->lock);
        set_offloads(tap);
        set_carrier(tap);
        surplus = set_queues(tap, settled);
        pthread_mutex_lock(&tap->lock);
    }
    pthread_mutex_unlock(&tap->lock);
    return NULL;
}

int32_t tap_admin_start(struct tap *tap)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&tap->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&tap->wake, &attr);
    pthread_condattr_destroy(&attr);
    int err = thread_start(&tap->thread, "net-tap", admin_main, tap);
    if (err == 0)
        return 0;
    pthread_cond_destroy(&tap->wake);
    pthread_mutex_destroy(&tap->lock);
    return hvv_error(tap->net->dev, err, "the thread that looks after %s cannot be started: %s; "
                     "raise the limit of threads", tap->name, strerror(err));
}

void tap_admin_end(struct tap *tap)
{
    pthread_mutex_lock(&tap->lock);
    tap->closing = true;
    pthread_mutex_unlock(&tap->lock);
    pthread_cond_signal(&tap->wake);
    pthread_join(tap->thread, NULL);
    pthread_cond_destroy(&tap->wake);
    pthread_mutex_destroy(&tap->lock);
}

void tap_admin_wake(struct tap *tap)
{
    pthread_mutex_lock(&tap->lock);
    tap->changed = true;
    tap->settled_at = now_ns() + SETTLE_NS;
    pthread_mutex_unlock(&tap->lock);
    pthread_cond_signal(&tap->wake);
}
