/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tap.c - the back-end on a tap: an Ethernet interface of the host whose other end is the guest.
 *
 * A frame goes between guest memory and the kernel in one system call, with the header that both
 * know. What the guest has no buffers for waits in the tap's queue; what the tap has no room for
 * waits in the guest's ring.
 *
 * Reading: the length of a frame is known when it is read, and the kernel drops the rest of one
 * that does not fit. So behind the guest's buffers there is always one of our own. A frame that
 * ends in it, or that the guest did not negotiate (it was in the queue before the offloads were
 * changed), goes the long way: through tp->kept and rx_give(), and stays until the guest has room.
 *
 * All on the worker of the pair, but for open and close.
 */
#include "tap.h"

#include "backend.h"
#include "header.h"
#include "rx.h"
#include "tx.h"

#include <stdlib.h>
#include <unistd.h>

#define BUDGET_FRAMES 64u
#define BUDGET_BYTES (512u << 10)
#define VLAN_FRAME_BYTES 18u /* an Ethernet header with one VLAN tag */

static struct tap *tap_of(struct net *net)
{
    return net->backend_state;
}

static void watch_again(struct tap_pair *tp)
{
    uint32_t events = 0;
    if (tp->receiving && !tp->starved && !atomic_load(&tp->tap->gone))
        events |= HVV_WATCH_READ;
    if (tp->waiting)
        events |= HVV_WATCH_WRITE;
    if (events == tp->events)
        return;
    tp->events = events;
    hvv_watch_set(tp->pair->net->dev, tp->watch, events);
}

static void tap_gone(struct tap *tap)
{
    if (!atomic_exchange(&tap->gone, true))
        hvv_log(tap->net->dev, HVV_LOG_ERROR, "somebody removed the tap %s: no frame comes or goes "
                "any more; remove this device and add it again", tap->name);
}

static void guest_memory_gone(struct tap_pair *tp)
{
    hvv_broken(tp->pair->net->dev, "the kernel could not reach the guest's memory for a frame of "
               "pair %u: the front-end took it away", tp->pair->index);
}

/* ---- To the tap ------------------------------------------------------------------------------ */

static enum send_result refused(struct tap_pair *tp, int err, const struct frame *frame)
{
    struct hvv_device *dev = tp->pair->net->dev;
    const char *name = tp->tap->name;
    if (err == EFAULT)
        guest_memory_gone(tp);
    if (err == EBADFD)
        tap_gone(tp->tap);
    if (tp->told || err == EFAULT || err == EBADFD)
        return SEND_REFUSED;
    tp->told = true;
    if (err == EIO)
        hvv_log(dev, HVV_LOG_WARNING, "%s is down and takes no frames (ip link set %s up)", name,
                name);
    else
        hvv_log(dev, HVV_LOG_WARNING, "%s refused a frame of %u bytes (gso_type %u, gso_size %u, "
                "hdr_len %u): %s", name, frame->bytes, frame->header.gso_type,
                frame->header.gso_size, frame->header.hdr_len, strerror(err));
    return SEND_REFUSED;
}

static enum send_result tap_send(struct pair *pair, const struct frame *frame,
                                 struct hvv_chain *chain)
{
    struct tap_pair *tp = pair->backend;
    (void)chain;
    tp->header = frame->header;
    tp->large |= frame->header.gso_type != VIRTIO_NET_HDR_GSO_NONE;
    tp->iov[0] = (struct iovec){&tp->header, FRAME_HEADER_BYTES};
    uint32_t n = hvv_iov_slice(frame->iov, frame->n_iov, frame->offset, frame->bytes, tp->iov + 1,
                               NET_IOV_MAX - 1);
    if (n == UINT32_MAX) { /* in more pieces than one system call takes */
        frame_read(frame, 0, tp->gathered, frame->bytes);
        tp->iov[1] = (struct iovec){tp->gathered, frame->bytes};
        n = 1;
    }
    ssize_t rc = writev(tp->fd, tp->iov, (int)n + 1);
    if (rc >= 0)
        return SEND_DONE;
    if (errno != EAGAIN)
        return refused(tp, errno, frame);
    tp->waiting = true;
    watch_again(tp);
    return SEND_FULL;
}

/* ---- From the tap ---------------------------------------------------------------------------- */

/* True if the guest can be given a frame with this header; what it need not know is removed. */
static bool suits_guest(const struct pair *pair, struct virtio_net_hdr_v1 *header)
{
    uint64_t takes = atomic_load_explicit(&pair->net->guest_offloads, memory_order_relaxed);
    if (!(takes & NET_FEATURE(GUEST_CSUM)))
        header->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM; /* not DATA_VALID: section 5.1.6.4.1 */
    return !(header_needs(header) & ~takes);
}

/* False if the guest has no buffers for it: it stays. */
static bool give_kept(struct tap_pair *tp)
{
    struct iovec iov = {tp->kept, tp->kept_bytes};
    struct frame frame = {.iov = &iov, .n_iov = 1, .offset = FRAME_HEADER_BYTES};
    if (tp->kept_bytes < FRAME_HEADER_BYTES + FRAME_MIN) {
        rx_drop(tp->pair, NET_RX_BAD_FRAME);
    } else if (tp->kept_bytes == TAP_BUFFER) {
        rx_drop(tp->pair, NET_RX_TOO_LONG);
    } else {
        frame.bytes = tp->kept_bytes - FRAME_HEADER_BYTES;
        memcpy(&frame.header, tp->kept, FRAME_HEADER_BYTES);
        (void)suits_guest(tp->pair, &frame.header);
        if (rx_give(tp->pair, &frame, &tp->given) == RX_FULL)
            return false;
    }
    tp->kept_bytes = 0;
    tp->given = 0;
    return true;
}

/*
 * Where the next frame goes: buffers of the guest that hold one as long as the latest, if there
 * are, and our own behind them. Returns the number of iovecs, and the guest's bytes in *room.
 */
static uint32_t make_room(struct tap_pair *tp, uint32_t *room)
{
    const struct net *net = tp->pair->net;
    uint32_t small = (net->mtu ? net->mtu : TAP_MTU_DEFAULT) + VLAN_FRAME_BYTES;
    uint32_t n = 0, want = tp->expect > small ? rx_largest(net) : small;
    const struct iovec *iov = rx_space(tp->pair, want, &n);
    if (!iov && want > small) {
        want = small;
        iov = rx_space(tp->pair, want, &n);
    }
    if (!iov || n >= NET_IOV_MAX)
        n = 0;
    else
        memcpy(tp->iov, iov, n * sizeof(*iov));
    *room = n > 0 ? FRAME_HEADER_BYTES + want : 0;
    tp->iov[n] = (struct iovec){tp->kept + *room, TAP_BUFFER - *room};
    return n;
}

/* A frame of `bytes`, header counted, was read into the room. */
static bool arrived(struct tap_pair *tp, uint32_t n, uint32_t room, uint32_t bytes)
{
    struct virtio_net_hdr_v1 header = {.flags = 0};
    tp->expect = bytes - FRAME_HEADER_BYTES;
    if (n > 0 && bytes <= room) {
        hvv_iov_read(tp->iov, n, 0, &header, FRAME_HEADER_BYTES);
        uint8_t flags = header.flags;
        if (suits_guest(tp->pair, &header)) {
            if (flags != header.flags)
                hvv_iov_write(tp->iov, n, 0, &header, FRAME_HEADER_BYTES);
            rx_filled(tp->pair, bytes - FRAME_HEADER_BYTES);
            return true;
        }
    }
    hvv_iov_read(tp->iov, n, 0, tp->kept, bytes < room ? bytes : room);
    tp->kept_bytes = bytes;
    return give_kept(tp);
}

/* False if reading ends for now. */
static bool no_frame(struct tap_pair *tp, int err)
{
    if (err == EINVAL) { /* of a kind that the kernel itself cannot describe: it dropped it */
        rx_drop(tp->pair, NET_RX_BAD_FRAME);
        return true;
    }
    if (err == EFAULT) {
        rx_drop(tp->pair, NET_RX_NO_BUFFER);
        guest_memory_gone(tp);
        tp->starved = true;
    } else if (err == EBADFD) {
        tap_gone(tp->tap);
    }
    return false;
}

/* Reads one frame. False if reading ends for now. */
static bool read_one(struct tap_pair *tp, uint64_t *bytes)
{
    uint32_t room, n = make_room(tp, &room);
    ssize_t got = readv(tp->fd, tp->iov, (int)n + 1);
    if (got < 0)
        return no_frame(tp, errno);
    if (got < (ssize_t)FRAME_HEADER_BYTES)
        return no_frame(tp, EAGAIN);
    *bytes += (uint64_t)got;
    if (arrived(tp, n, room, (uint32_t)got))
        return true;
    tp->starved = true;
    return false;
}

/* The rest of a long queue comes with the next call of the watch, which is level-triggered. */
static void receive_some(struct tap_pair *tp)
{
    uint64_t bytes = 0;
    tp->starved = tp->kept_bytes > 0 && !give_kept(tp);
    for (uint32_t i = 0; i < BUDGET_FRAMES && !tp->starved && bytes < BUDGET_BYTES; i++)
        if (!read_one(tp, &bytes))
            return;
}

static void tap_receive(struct pair *pair)
{
    struct tap_pair *tp = pair->backend;
    if (tp->receiving && !tp->starved)
        return; /* the watch is armed */
    tp->receiving = true;
    receive_some(tp);
    watch_again(tp);
}

/*
 * What was sent may be answered by now: TCP does that before writev() returns. To look here is
 * cheaper than to be woken up for it. But the answers to large segments are acknowledgements, which
 * had better gather: each would be an interrupt of its own.
 */
static void tap_flush(struct pair *pair)
{
    struct tap_pair *tp = pair->backend;
    bool large = tp->large;
    tp->large = false;
    if (large || !tp->receiving || tp->starved)
        return;
    receive_some(tp);
    watch_again(tp);
}

/* A frame that is kept waits for the next driver, as those in the tap's queue do. */
static void tap_receive_stop(struct pair *pair)
{
    struct tap_pair *tp = pair->backend;
    tp->receiving = false;
    watch_again(tp);
}

/* ---- Events ---------------------------------------------------------------------------------- */

static void ready(void *arg, uint32_t events)
{
    struct tap_pair *tp = arg;
    if (events & HVV_WATCH_WRITE && tp->waiting) {
        tp->waiting = false;
        tx_resume(tp->pair);
    }
    if (events & HVV_WATCH_READ && tp->receiving && !tp->starved)
        receive_some(tp);
    watch_again(tp);
    net_tell(tp->pair);
}

static void tap_changed(struct net *net)
{
    tap_admin_wake(tap_of(net));
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void free_watches(struct tap *tap)
{
    for (uint32_t i = 0; i < tap->n_pairs; i++)
        hvv_watch_free(tap->net->dev, tap->pair[i].watch);
}

static int32_t make_watches(struct tap *tap)
{
    struct hvv_device *dev = tap->net->dev;
    for (uint32_t i = 0; i < tap->n_pairs; i++) {
        struct tap_pair *tp = &tap->pair[i];
        tp->watch = hvv_watch_new(dev, tp->pair->rx_queue, tp->fd, ready, tp);
        if (tp->watch)
            continue;
        int err = errno;
        free_watches(tap);
        return hvv_error(dev, err, "no watch for queue %u of %s: %s", i, tap->name, strerror(err));
    }
    return 0;
}

static struct tap *tap_new(struct net *net)
{
    struct tap *tap = calloc(1, sizeof(*tap) + net->n_pairs * sizeof(tap->pair[0]));
    if (!tap)
        return NULL;
    tap->net = net;
    tap->name = net->name;
    tap->option = hvv_option_given(net->dev, "tap") ? "tap" : "backend";
    tap->n_pairs = net->n_pairs;
    for (uint32_t i = 0; i < net->n_pairs; i++) {
        struct tap_pair *tp = &tap->pair[i];
        tp->tap = tap;
        tp->pair = &net->pair[i];
        tp->fd = -1;
        net->pair[i].backend = tp;
    }
    return tap;
}

static int32_t tap_open(struct net *net)
{
    struct tap *tap = tap_new(net);
    if (!tap)
        return hvv_error(net->dev, ENOMEM, "no memory for %u pairs of queues", net->n_pairs);
    net->backend_state = tap;
    int32_t rc = tap_acquire(tap);
    if (rc < 0)
        goto no_tap;
    rc = make_watches(tap);
    if (rc < 0)
        goto no_watches;
    rc = tap_admin_start(tap);
    if (rc == 0)
        return 0;
    free_watches(tap);
no_watches:
    tap_release(tap);
no_tap:
    free(tap);
    return rc;
}

static void tap_close(struct net *net)
{
    struct tap *tap = tap_of(net);
    tap_admin_end(tap);
    free_watches(tap);
    tap_release(tap);
    free(tap);
}

const struct backend_ops backend_tap = {
    .name = "tap",
    .in_order = true,
    .open = tap_open,
    .close = tap_close,
    .publish = tap_changed,
    .send = tap_send,
    .flush = tap_flush,
    .receive = tap_receive,
    .receive_stop = tap_receive_stop,
    .changed = tap_changed,
};
