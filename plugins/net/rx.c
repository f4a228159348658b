/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rx.c - see rx.h.
 *
 * Buffers are taken from the ring into a stash, oldest first, and finished from its front; what is
 * left at a stop goes back from its end, as the ABI wants it.
 */
#include "rx.h"

#include "backend.h"
#include "header.h"
#include "offload.h"

#include <stdlib.h>

#define TAKE 32u          /* buffers taken from the ring at once */
#define AHEAD 24u         /* buffers whose memory is on its way; fewer than TAKE */
#define CACHE_LINE 64u
#define START_BYTES 18u   /* of a frame, for the filter: addresses, VLAN tag, type */
#define ETHERNET_BYTES 22u /* a header and two VLAN tags */
#define MTU_DEFAULT 1500u

static struct hvv_chain *stashed(const struct pair *pair, uint32_t i)
{
    return pair->stash[(pair->first + i) % NET_STASH];
}

/* Takes more buffers from the ring. False if there are none, or the stash is full. */
static bool take_more(struct pair *pair)
{
    struct hvv_chain *chains[TAKE];
    uint32_t before = pair->n;
    uint32_t want = NET_STASH - before < TAKE ? NET_STASH - before : TAKE;
    uint32_t got = want ? hvv_pop(pair->net->dev, pair->rx_queue, chains, want) : 0;
    for (uint32_t i = 0; i < got; i++) {
        if (chains[i]->writable_bytes < FRAME_HEADER_BYTES) {
            hvv_fail(chains[i], "a receive buffer of %llu bytes has no room for the header of %u",
                     (unsigned long long)chains[i]->writable_bytes, FRAME_HEADER_BYTES);
            continue;
        }
        pair->stash[(pair->first + pair->n++) % NET_STASH] = chains[i];
    }
    return pair->n > before;
}

/*
 * How many buffers hold `bytes`, all of them in the stash. 0: there are not enough, or, if
 * `*too_long`, there never will be.
 */
static uint32_t buffers_for(struct pair *pair, uint64_t bytes, bool *too_long)
{
    uint64_t room = 0;
    *too_long = false;
    for (uint32_t i = 0; room < bytes; i++) {
        if (i == 1 && !pair->mergeable) {
            *too_long = true;
            return 0;
        }
        if (i == pair->n && !take_more(pair)) {
            *too_long = pair->n == NET_STASH;
            return 0;
        }
        room += stashed(pair, i)->writable_bytes;
        if (room >= bytes)
            return i + 1;
    }
    return 0;
}

/* Finishes the buffers that hold `bytes`, header and frame. Some are to be ahead, see copy_out(). */
static void finish(struct pair *pair, uint32_t n, uint64_t bytes)
{
    bool enough = pair->n >= TAKE;
    for (uint32_t i = 0; i < n; i++) {
        struct hvv_chain *chain = stashed(pair, 0);
        uint64_t part = chain->writable_bytes < bytes ? chain->writable_bytes : bytes;
        pair->first = (pair->first + 1) % NET_STASH;
        pair->n--;
        bytes -= part;
        hvv_complete(chain, (uint32_t)part);
    }
    if (enough && pair->n < TAKE) /* once: if the ring has none, they are taken when needed */
        take_more(pair);
}

/* ---- Counting -------------------------------------------------------------------------------- */

void rx_drop(struct pair *pair, enum net_counter reason)
{
    net_count(pair, NET_RX_FRAMES, 1);
    net_count(pair, reason, 1);
}

static void received(struct pair *pair, const struct frame *frame)
{
    net_count(pair, NET_RX_FRAMES, 1);
    net_count(pair, NET_RECEIVED, 1);
    net_count(pair, NET_RECEIVED_BYTES, frame->bytes);
    net_capture(pair, frame);
}

static bool wanted(struct pair *pair, const struct frame *frame)
{
    struct filter *filter = &pair->net->filter;
    if (atomic_load_explicit(&filter->all, memory_order_relaxed))
        return true;
    uint8_t start[START_BYTES];
    size_t n = frame_read(frame, 0, start, sizeof(start));
    return filter_passes(filter, start, (uint32_t)n);
}

/* ---- Copying --------------------------------------------------------------------------------- */

/* Where the next byte goes in a chain's buffers. */
struct cursor {
    const struct iovec *iov;
    uint32_t n;
    uint64_t at;
};

/* Copies `bytes` from byte `from` of the frame to a chain at `to`. */
static void copy_part(const struct frame *frame, uint64_t from, struct cursor *to, uint64_t bytes)
{
    const struct iovec *iov = frame->iov;
    uint64_t at = frame->offset + from;
    for (; bytes > 0; iov++) {
        if (at >= iov->iov_len) {
            at -= iov->iov_len;
            continue;
        }
        uint64_t len = iov->iov_len - at < bytes ? iov->iov_len - at : bytes;
        to->at += hvv_iov_write(to->iov, to->n, to->at, (char *)iov->iov_base + at, len);
        bytes -= len;
        at = 0;
    }
}

/*
 * Copies to the first `n` buffers of the stash.
 *
 * The driver's CPU has used each buffer last, and a write to memory that another CPU has in its
 * cache lets all writes behind it wait. So the buffer that is AHEAD of this one is asked for now, to
 * be written to. An x86 compiler makes an instruction for reading of this unless it is told that
 * there is a better one (which older processors ignore), and that costs more than nothing at all. In
 * a function of its own gcc would find that it does nothing, and leave it out.
 */
#ifdef __x86_64__
__attribute__((target("prfchw")))
#endif
static void copy_out(struct pair *pair, const struct frame *frame, uint32_t n)
{
    struct hvv_chain *chain = stashed(pair, 0);
    struct virtio_net_hdr_v1 header = frame->header;
    header.num_buffers = (uint16_t)n;
    if (pair->n > AHEAD) {
        const struct iovec *next = stashed(pair, AHEAD)->writable;
        uint64_t bytes = (uint64_t)FRAME_HEADER_BYTES + frame->bytes;
        for (uint64_t at = 0; at < bytes && at < next->iov_len; at += CACHE_LINE)
            __builtin_prefetch((const char *)next->iov_base + at, 1);
    }
    if (n == 1 && chain->n_writable == 1 && frame->n_iov == 1) { /* the usual case */
        char *to = chain->writable[0].iov_base;
        memcpy(to, &header, FRAME_HEADER_BYTES);
        memcpy(to + FRAME_HEADER_BYTES, (const char *)frame->iov[0].iov_base + frame->offset,
               frame->bytes);
        return;
    }
    hvv_iov_write(chain->writable, chain->n_writable, 0, &header, FRAME_HEADER_BYTES);
    struct cursor to = {chain->writable, chain->n_writable, FRAME_HEADER_BYTES};
    uint64_t room = chain->writable_bytes - FRAME_HEADER_BYTES;
    uint64_t done = 0;
    for (uint32_t i = 0;;) {
        uint64_t part = frame->bytes - done < room ? frame->bytes - done : room;
        copy_part(frame, done, &to, part);
        done += part;
        if (++i == n)
            return;
        chain = stashed(pair, i);
        to = (struct cursor){chain->writable, chain->n_writable, 0};
        room = chain->writable_bytes;
    }
}

/* Gives a frame the guest can take as it is. */
static enum rx_result give_plain(struct pair *pair, const struct frame *frame)
{
    bool too_long;
    uint64_t bytes = (uint64_t)FRAME_HEADER_BYTES + frame->bytes;
    uint32_t n = buffers_for(pair, bytes, &too_long);
    if (n == 0 && !too_long)
        return RX_FULL;
    if (n == 0) {
        rx_drop(pair, NET_RX_TOO_LONG);
        return RX_TAKEN;
    }
    copy_out(pair, frame, n);
    received(pair, frame);
    finish(pair, n, bytes);
    return RX_TAKEN;
}

/* ---- Doing what the guest cannot ------------------------------------------------------------- */

/* `bytes` of the scratch memory as a frame that everybody understands. */
static struct frame plain_frame(struct iovec *iov, uint8_t *data, uint32_t bytes)
{
    *iov = (struct iovec){data, bytes};
    return (struct frame){.iov = iov, .n_iov = 1, .bytes = bytes};
}

static enum rx_result give_checksummed(struct pair *pair, const struct frame *frame)
{
    frame_read(frame, 0, pair->scratch, frame->bytes);
    if (!offload_checksum(&frame->header, pair->scratch, frame->bytes)) {
        rx_drop(pair, NET_RX_BAD_FRAME);
        return RX_TAKEN;
    }
    struct iovec iov;
    struct frame plain = plain_frame(&iov, pair->scratch, frame->bytes);
    enum rx_result result = give_plain(pair, &plain);
    if (result == RX_TAKEN)
        net_count(pair, NET_CHECKSUMMED, 1);
    return result;
}

static enum rx_result give_cut(struct pair *pair, const struct frame *frame, uint32_t *given)
{
    struct offload_cut cut;
    if (!offload_cut_begin(&cut, frame)) {
        rx_drop(pair, NET_RX_BAD_FRAME);
        return RX_TAKEN;
    }
    for (; *given < cut.n; (*given)++) {
        struct iovec iov;
        uint32_t bytes = offload_cut_make(&cut, *given, pair->scratch);
        struct frame plain = plain_frame(&iov, pair->scratch, bytes);
        if (give_plain(pair, &plain) == RX_FULL)
            return RX_FULL;
        net_count(pair, NET_CHECKSUMMED, 1);
    }
    net_count(pair, NET_SEGMENTED, 1);
    return RX_TAKEN;
}

enum rx_result rx_give(struct pair *pair, const struct frame *frame, uint32_t *given)
{
    if (!pair->rx_running)
        return RX_FULL;
    if (!atomic_load_explicit(&pair->net->link, memory_order_relaxed)) {
        rx_drop(pair, NET_RX_LINK_DOWN);
        return RX_TAKEN;
    }
    if (!wanted(pair, frame)) {
        rx_drop(pair, NET_RX_FILTERED);
        return RX_TAKEN;
    }
    uint64_t takes = atomic_load_explicit(&pair->net->guest_offloads, memory_order_relaxed);
    if (!(header_needs(&frame->header) & ~takes))
        return give_plain(pair, frame);
    if (frame->header.gso_type == VIRTIO_NET_HDR_GSO_NONE)
        return give_checksummed(pair, frame);
    return give_cut(pair, frame, given);
}

/* ---- Filling buffers in place ---------------------------------------------------------------- */

const struct iovec *rx_space(struct pair *pair, uint32_t bytes, uint32_t *n)
{
    bool too_long;
    if (!pair->rx_running || !atomic_load_explicit(&pair->net->link, memory_order_relaxed))
        return NULL;
    uint64_t left = (uint64_t)FRAME_HEADER_BYTES + bytes;
    uint32_t buffers = buffers_for(pair, left, &too_long);
    if (buffers == 0)
        return NULL;
    pair->n_room = 0;
    for (uint32_t i = 0; i < buffers; i++) {
        const struct hvv_chain *chain = stashed(pair, i);
        uint64_t part = chain->writable_bytes < left ? chain->writable_bytes : left;
        uint32_t got = hvv_iov_slice(chain->writable, chain->n_writable, 0, part,
                                     pair->room + pair->n_room, NET_IOV_MAX - pair->n_room);
        if (got == UINT32_MAX)
            return NULL; /* in too many pieces for one system call */
        pair->n_room += got;
        left -= part;
    }
    *n = pair->n_room;
    return pair->room;
}

void rx_filled(struct pair *pair, uint32_t bytes)
{
    struct frame frame = {.iov = pair->room, .n_iov = pair->n_room,
                          .offset = FRAME_HEADER_BYTES, .bytes = bytes};
    if (bytes < FRAME_MIN) {
        rx_drop(pair, NET_RX_BAD_FRAME);
        return;
    }
    if (!wanted(pair, &frame)) {
        rx_drop(pair, NET_RX_FILTERED);
        return;
    }
    bool too_long;
    uint64_t all = (uint64_t)FRAME_HEADER_BYTES + bytes;
    uint32_t n = buffers_for(pair, all, &too_long);
    uint16_t num_buffers = (uint16_t)n;
    struct hvv_chain *first = stashed(pair, 0);
    hvv_iov_write(first->writable, first->n_writable,
                  offsetof(struct virtio_net_hdr_v1, num_buffers), &num_buffers,
                  sizeof(num_buffers));
    received(pair, &frame);
    finish(pair, n, all);
}

uint32_t rx_largest(const struct net *net)
{
    uint64_t large = NET_GUEST_OFFLOADS & ~NET_FEATURE(GUEST_CSUM);
    if (atomic_load_explicit(&net->guest_offloads, memory_order_relaxed) & large)
        return FRAME_MAX;
    return (net->mtu ? net->mtu : MTU_DEFAULT) + ETHERNET_BYTES;
}

/* ---- Life ------------------------------------------------------------------------------------ */

int32_t rx_init(struct pair *pair)
{
    pair->room = calloc(NET_IOV_MAX, sizeof(*pair->room));
    pair->scratch = malloc(FRAME_MAX);
    return pair->room && pair->scratch ? 0 : -ENOMEM;
}

void rx_free(struct pair *pair)
{
    free(pair->room);
    free(pair->scratch);
}

void rx_start(struct pair *pair)
{
    pair->mergeable = hvv_features(pair->net->dev) & NET_FEATURE(MRG_RXBUF);
    pair->rx_running = true;
}

void rx_hand_back(struct pair *pair)
{
    while (pair->n > 0)
        hvv_release(stashed(pair, --pair->n));
}

void rx_stop(struct pair *pair)
{
    pair->rx_running = false;
    rx_hand_back(pair);
}
