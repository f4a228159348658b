/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bringing up a virtio-net device and moving frames; see net.h for the threads.
 */
#include "net.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>

#include "clock.h"

#define GPA 0x40000000ull
#define REGION_ROUND (2u << 20)
#define CONFIG_BYTES (offsetof(struct virtio_net_config, mtu) + 2)
#define CONTROL_NUM 16u
#define CONTROL_BYTES 4096u
#define PIECES_MAX 32u
#define NUMBER_AT 14u /* behind the Ethernet header */
#define FRAME_LEAST 18u

__attribute__((format(printf, 3, 4))) static int fail(struct net_front *front, int err,
                                                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(front->fe.error, sizeof(front->fe.error), format, args);
    va_end(args);
    return err;
}

/* --- life --- */

static uint64_t features(const struct net_front_options *opt)
{
    uint64_t f = FE_BIT(VIRTIO_F_VERSION_1) | FE_BIT(VHU_F_PROTOCOL_FEATURES) |
                 FE_BIT(VIRTIO_NET_F_MAC) | FE_BIT(VIRTIO_NET_F_STATUS) |
                 FE_BIT(VIRTIO_NET_F_MTU) | opt->features;

    if (opt->indirect)
        f |= FE_BIT(VIRTIO_RING_F_INDIRECT_DESC);
    if (!opt->no_event_idx)
        f |= FE_BIT(VIRTIO_RING_F_EVENT_IDX);
    return f;
}

static const uint64_t protocol = FE_BIT(VHU_PF_MQ) | FE_BIT(VHU_PF_BACKEND_REQ) |
                                 FE_BIT(VHU_PF_CONFIG) | FE_BIT(VHU_PF_REPLY_ACK) |
                                 FE_BIT(VHU_PF_RESET_DEVICE) | FE_BIT(VHU_PF_STATUS) |
                                 FE_BIT(VHU_PF_CONFIGURE_MEM_SLOTS);

int net_front_read_config(struct net_front *front)
{
    return fe_get_config(&front->fe, 0, &front->config, (uint32_t)CONFIG_BYTES);
}

/* The control queue comes after those of all pairs the device has, used or not. */
static void find_control(struct net_front *front)
{
    unsigned int pairs = 1;

    if (fe_has(&front->fe, VIRTIO_NET_F_MQ))
        pairs = le16toh(front->config.max_virtqueue_pairs);
    front->control_index = 2 * pairs;
}

int net_front_connect(struct net_front *front)
{
    int err = fe_connect(&front->fe, front->opt.path);

    if (!err)
        err = fe_negotiate(&front->fe, features(&front->opt), protocol);
    if (!err)
        err = net_front_read_config(front);
    if (err)
        return err;
    if (front->opt.pairs > 1 && (!fe_has(&front->fe, VIRTIO_NET_F_MQ) ||
                                 front->opt.pairs > le16toh(front->config.max_virtqueue_pairs)))
        return fail(front, -EOPNOTSUPP, "the back-end does not offer %u pairs", front->opt.pairs);
    find_control(front);
    return 0;
}

static struct ring_options ring_options_of(const struct net_front *front)
{
    return (struct ring_options){
        .num = front->opt.num,
        .indirect_max = front->opt.indirect ? PIECES_MAX : 0,
        .event_idx = !front->opt.no_event_idx,
    };
}

static size_t queue_memory(const struct ring_options *ring, uint32_t slot_bytes)
{
    return ring_memory(ring) + (size_t)ring->num * slot_bytes + 64;
}

static int queue_init(struct net_queue *q, struct guestmem *mem, const struct ring_options *ring,
                      uint32_t slot_bytes)
{
    int err = ring_init(&q->ring, mem, 0, ring);
    uint8_t *at = guestmem_alloc(mem, 0, (size_t)ring->num * slot_bytes, 64);

    q->slot = calloc(ring->num, sizeof(*q->slot));
    q->slot_bytes = slot_bytes;
    if (err || !at || !q->slot)
        return err ? err : -ENOMEM;
    for (unsigned int i = 0; i < ring->num; i++, at += slot_bytes)
        q->slot[i] = (struct net_slot){ .at = at, .gpa = guestmem_gpa(mem, at) };
    return 0;
}

/* Every slot is idle: also after the ring was reset. */
static void queue_clear(struct net_queue *q)
{
    q->idle = NULL;
    q->started = false;
    for (unsigned int i = q->ring.opt.num; i-- > 0;) {
        q->slot[i].next = q->idle;
        q->idle = &q->slot[i];
    }
}

static int allocate(struct net_front *front)
{
    const struct net_front_options *opt = &front->opt;
    const struct ring_options ring = ring_options_of(front);
    const struct ring_options control = { .num = CONTROL_NUM, .event_idx = ring.event_idx };
    struct guestmem_spec spec = { .gpa = GPA, .uva = GUESTMEM_FAKE_UVA };
    uint64_t bytes = opt->pairs * (queue_memory(&ring, opt->rx_size) +
                                   queue_memory(&ring, opt->tx_size)) +
                     queue_memory(&control, CONTROL_BYTES);
    int err;

    spec.size = (bytes + REGION_ROUND - 1) / REGION_ROUND * REGION_ROUND;
    err = guestmem_add(&front->mem, &spec);
    err = err < 0 ? err : queue_init(&front->control, &front->mem, &control, CONTROL_BYTES);
    for (unsigned int i = 0; i < opt->pairs && !err; i++) {
        err = queue_init(&front->pair[i].rx, &front->mem, &ring, opt->rx_size);
        if (!err)
            err = queue_init(&front->pair[i].tx, &front->mem, &ring, opt->tx_size);
    }
    if (err)
        return fail(front, err, "cannot make guest memory: %s", strerror(-err));
    queue_clear(&front->control);
    for (unsigned int i = 0; i < opt->pairs; i++) {
        queue_clear(&front->pair[i].rx);
        queue_clear(&front->pair[i].tx);
    }
    return 0;
}

int net_front_share(struct net_front *front)
{
    return fe_share_mem(&front->fe, &front->mem);
}

static int start_queue(struct net_front *front, struct net_queue *q, unsigned int index)
{
    int err = fe_ring_start(&front->fe, index, &q->ring, &front->mem,
                            ring_shared_used_idx(&q->ring));

    q->started = !err;
    return err;
}

static int stop_queue(struct net_front *front, struct net_queue *q, unsigned int index)
{
    uint32_t base;

    q->started = false;
    return fe_ring_stop(&front->fe, index, &base);
}

int net_front_start_pair(struct net_front *front, unsigned int pair)
{
    int err = start_queue(front, &front->pair[pair].rx, 2 * pair);

    return err ? err : start_queue(front, &front->pair[pair].tx, 2 * pair + 1);
}

int net_front_stop_pair(struct net_front *front, unsigned int pair)
{
    int err = stop_queue(front, &front->pair[pair].rx, 2 * pair);

    return err ? err : stop_queue(front, &front->pair[pair].tx, 2 * pair + 1);
}

int net_front_start(struct net_front *front)
{
    int err = 0;

    for (unsigned int i = 0; i < front->opt.pairs && !err; i++)
        err = net_front_start_pair(front, i);
    if (!err && fe_has(&front->fe, VIRTIO_NET_F_CTRL_VQ))
        err = start_queue(front, &front->control, front->control_index);
    return err;
}

static int check_options(struct net_front *front)
{
    struct net_front_options *opt = &front->opt;

    opt->pairs = opt->pairs ? opt->pairs : 1;
    opt->num = opt->num ? opt->num : 256;
    opt->rx_size = opt->rx_size ? opt->rx_size : 2048;
    opt->tx_size = opt->tx_size ? opt->tx_size : 2048;
    opt->tx_pieces = opt->tx_pieces ? opt->tx_pieces : 2;
    if (opt->pairs > NET_FRONT_PAIRS_MAX || opt->tx_pieces > PIECES_MAX)
        return fail(front, -EINVAL, "more than %u pairs or %u pieces", NET_FRONT_PAIRS_MAX,
                    PIECES_MAX);
    return 0;
}

int net_front_open(struct net_front *front, const struct net_front_options *opt)
{
    int err;

    memset(front, 0, sizeof(*front));
    front->opt = *opt;
    fe_init(&front->fe);
    guestmem_init(&front->mem);
    err = check_options(front);
    if (!err)
        err = net_front_connect(front);
    if (!err)
        err = allocate(front);
    if (!err && !opt->no_start)
        err = net_front_share(front);
    if (!err && !opt->no_start)
        err = net_front_start(front);
    return err;
}

static void queue_free(struct net_queue *q)
{
    ring_free(&q->ring);
    free(q->slot);
    q->slot = q->idle = NULL;
}

void net_front_close(struct net_front *front)
{
    fe_disconnect(&front->fe);
    for (unsigned int i = 0; i < NET_FRONT_PAIRS_MAX; i++) {
        queue_free(&front->pair[i].rx);
        queue_free(&front->pair[i].tx);
    }
    queue_free(&front->control);
    guestmem_free(&front->mem);
}

static void forget(struct net_queue *q)
{
    ring_reset(&q->ring);
    queue_clear(q);
}

int net_front_reset(struct net_front *front, uint64_t wanted)
{
    int err = fe_reset_device(&front->fe);

    for (unsigned int i = 0; i < front->opt.pairs; i++) {
        forget(&front->pair[i].rx);
        forget(&front->pair[i].tx);
        front->pair[i].sent = 0;
    }
    forget(&front->control);
    front->opt.features = wanted;
    if (!err)
        err = fe_set_features(&front->fe, front->fe.offered & features(&front->opt));
    find_control(front);
    return err ? err : net_front_start(front);
}

/* --- slots --- */

static struct net_slot *take_slot(struct net_queue *q)
{
    struct net_slot *slot = q->idle;

    if (slot)
        q->idle = slot->next;
    return slot;
}

static void give_slot(struct net_queue *q, struct net_slot *slot)
{
    slot->next = q->idle;
    q->idle = slot;
}

static int misbehaved(struct net_front *front, const struct net_queue *q)
{
    return fail(front, -EPROTO, "%s", q->ring.error ? q->ring.error : "the ring is broken");
}

/* --- transmit --- */

int net_front_sending(struct net_front *front, unsigned int pair)
{
    struct net_queue *q = &front->pair[pair].tx;
    struct ring_done done[32];
    int n;

    while ((n = ring_reap(&q->ring, done, 32)) > 0) {
        for (int i = 0; i < n; i++)
            give_slot(q, done[i].token);
        front->pair[pair].sent += (uint64_t)n;
    }
    return n < 0 ? misbehaved(front, q) : (int)ring_in_flight(&q->ring);
}

/* With one piece header and frame are together; else the frame is cut into the others. */
static unsigned int lay_out(const struct net_front *front, const struct net_slot *slot, size_t len,
                            struct ring_seg *seg)
{
    unsigned int pieces = front->opt.tx_pieces;
    uint32_t first = (uint32_t)NET_FRONT_HEADER, at = first, n = 1;

    if (pieces == 1 || len == 0)
        first += (uint32_t)len;
    seg[0] = (struct ring_seg){ slot->gpa, first };
    for (uint32_t left = first == at ? (uint32_t)len : 0; left > 0; n++) {
        uint32_t step = n + 1 >= pieces ? left : (uint32_t)len / (pieces - 1);
        if (step == 0 || step > left)
            step = left;
        seg[n] = (struct ring_seg){ slot->gpa + at, step };
        at += step;
        left -= step;
    }
    return n;
}

int net_front_queue(struct net_front *front, unsigned int pair,
                    const struct virtio_net_hdr_v1 *header, const void *data, size_t len)
{
    static const struct virtio_net_hdr_v1 zero;
    struct net_queue *q = &front->pair[pair].tx;
    struct ring_seg seg[PIECES_MAX + 1];
    struct net_slot *slot;
    int err = net_front_sending(front, pair);

    if (err < 0)
        return err;
    if (len > q->slot_bytes - NET_FRONT_HEADER)
        return fail(front, -EMSGSIZE, "a frame of %zu bytes; tx_size is %u", len, q->slot_bytes);
    slot = take_slot(q);
    if (!slot)
        return fail(front, -ENOSPC, "the transmit ring of pair %u is full", pair);
    memcpy(slot->at, header ? header : &zero, NET_FRONT_HEADER);
    memcpy(slot->at + NET_FRONT_HEADER, data, len);
    err = ring_add(&q->ring, seg, lay_out(front, slot, len, seg), 0, slot);
    if (err) {
        give_slot(q, slot);
        return fail(front, err, "the transmit ring of pair %u is full", pair);
    }
    return 0;
}

int net_front_kick(struct net_front *front, unsigned int pair)
{
    int err = ring_submit(&front->pair[pair].tx.ring);

    return err ? fail(front, err, "the transmit ring of pair %u cannot be kicked", pair) : 0;
}

int net_front_send(struct net_front *front, unsigned int pair,
                   const struct virtio_net_hdr_v1 *header, const void *data, size_t len)
{
    int err = net_front_queue(front, pair, header, data, len);

    return err ? err : net_front_kick(front, pair);
}

int net_front_drain(struct net_front *front, unsigned int pair, int timeout_ms)
{
    uint64_t deadline = clock_deadline(timeout_ms);
    int left;

    while ((left = net_front_sending(front, pair)) > 0) {
        int err = ring_wait(&front->pair[pair].tx.ring, clock_left_ms(deadline));
        if (err)
            return fail(front, err, "the device has not taken %d frames of pair %u", left, pair);
    }
    return left;
}

/* --- receive --- */

int net_front_post(struct net_front *front, unsigned int pair, unsigned int n, uint32_t size)
{
    struct net_queue *q = &front->pair[pair].rx;
    int err;

    size = size ? size : q->slot_bytes;
    if (size > q->slot_bytes)
        return fail(front, -EINVAL, "buffers of %u bytes; rx_size is %u", size, q->slot_bytes);
    for (unsigned int i = 0; i < n; i++) {
        struct net_slot *slot = take_slot(q);
        if (!slot)
            return fail(front, -ENOSPC, "the receive ring of pair %u is full", pair);
        const struct ring_seg seg = { slot->gpa, size };
        err = ring_add(&q->ring, &seg, 0, 1, slot);
        if (err) {
            give_slot(q, slot);
            return fail(front, err, "the receive ring of pair %u is full", pair);
        }
    }
    err = ring_submit(&q->ring);
    return err ? fail(front, err, "the receive ring of pair %u cannot be kicked", pair) : 0;
}

static int take_buffer(struct net_front *front, struct net_queue *q, uint64_t deadline,
                       struct ring_done *done)
{
    int err = ring_wait(&q->ring, clock_left_ms(deadline));
    int n;

    if (err)
        return fail(front, err, "no frame came");
    n = ring_reap(&q->ring, done, 1);
    return n == 1 ? 0 : misbehaved(front, q);
}

/* The bytes behind the first `skip` of a buffer, appended to the frame. */
static int append(struct net_front *front, const struct ring_done *done, size_t skip, uint8_t *buf,
                  size_t max, size_t *len)
{
    const struct net_slot *slot = done->token;
    size_t n = done->len - skip;

    if (n > max - *len)
        return fail(front, -EMSGSIZE, "a frame longer than %zu bytes came", max);
    memcpy(buf + *len, slot->at + skip, n);
    *len += n;
    return 0;
}

int net_front_receive(struct net_front *front, unsigned int pair, struct virtio_net_hdr_v1 *header,
                      void *buf, size_t max, int timeout_ms)
{
    struct net_queue *q = &front->pair[pair].rx;
    uint64_t deadline = clock_deadline(timeout_ms);
    struct virtio_net_hdr_v1 own;
    struct ring_done done;
    size_t len = 0;
    int err = take_buffer(front, q, deadline, &done);

    if (err)
        return err;
    if (done.len < NET_FRONT_HEADER)
        return fail(front, -EPROTO, "a buffer came back with %u bytes: no header", done.len);
    memcpy(&own, ((struct net_slot *)done.token)->at, NET_FRONT_HEADER);
    err = append(front, &done, NET_FRONT_HEADER, buf, max, &len);
    give_slot(q, done.token);
    for (unsigned int i = 1; i < le16toh(own.num_buffers) && !err; i++) {
        err = take_buffer(front, q, deadline, &done);
        if (err)
            return err;
        err = append(front, &done, 0, buf, max, &len);
        give_slot(q, done.token);
    }
    if (!err && (own.num_buffers == 0 ||
                 (le16toh(own.num_buffers) > 1 && !fe_has(&front->fe, VIRTIO_NET_F_MRG_RXBUF))))
        err = fail(front, -EPROTO, "num_buffers is %u", le16toh(own.num_buffers));
    if (header)
        *header = own;
    return err ? err : (int)len;
}

/* --- control --- */

int net_front_control(struct net_front *front, uint8_t class, uint8_t command, const void *data,
                      size_t len, int timeout_ms)
{
    struct net_queue *q = &front->control;
    struct net_slot *slot = &q->slot[0];
    struct ring_done done;
    unsigned int n = 1;
    int err;

    if (!q->started || len > CONTROL_BYTES - 3)
        return fail(front, -EINVAL, "no control queue, or %zu bytes of data", len);
    slot->at[0] = class;
    slot->at[1] = command;
    if (len)
        memcpy(slot->at + 2, data, len);
    slot->at[CONTROL_BYTES - 1] = 0xee; /* no answer yet */
    struct ring_seg seg[3] = { { slot->gpa, 2 } };
    if (len)
        seg[n++] = (struct ring_seg){ slot->gpa + 2, (uint32_t)len };
    seg[n] = (struct ring_seg){ slot->gpa + CONTROL_BYTES - 1, 1 };
    err = ring_add(&q->ring, seg, n, 1, slot);
    if (!err)
        err = ring_submit(&q->ring);
    if (!err)
        err = take_buffer(front, q, clock_deadline(timeout_ms), &done);
    if (err)
        return fail(front, err, "command %u of class %u was not answered", command, class);
    return slot->at[CONTROL_BYTES - 1];
}

int net_front_set_pairs(struct net_front *front, unsigned int pairs)
{
    const uint16_t n = htole16((uint16_t)pairs);
    int answer = net_front_control(front, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &n,
                                   sizeof(n), 10000);

    if (answer > 0)
        return fail(front, -EREMOTEIO, "%u pairs were refused with %d", pairs, answer);
    return answer;
}

/* --- frames to test with --- */

static uint8_t byte_of(uint32_t number, uint32_t at)
{
    return (uint8_t)((number * 2654435761u + at * 40503u) >> 11);
}

void net_front_fill(void *frame, uint32_t bytes, const uint8_t *to, const uint8_t *from,
                    uint32_t number)
{
    const uint16_t type = htobe16(NET_FRONT_ETHERTYPE);
    uint8_t *at = frame;

    memcpy(at, to, 6);
    memcpy(at + 6, from, 6);
    memcpy(at + 12, &type, sizeof(type));
    number = htobe32(number);
    memcpy(at + NUMBER_AT, &number, sizeof(number));
    number = be32toh(number);
    for (uint32_t i = FRAME_LEAST; i < bytes; i++)
        at[i] = byte_of(number, i);
}

int64_t net_front_check(const void *frame, uint32_t bytes)
{
    const uint8_t *at = frame;
    uint32_t number;
    uint16_t type;

    if (bytes < FRAME_LEAST)
        return -EBADMSG;
    memcpy(&type, at + 12, sizeof(type));
    memcpy(&number, at + NUMBER_AT, sizeof(number));
    number = be32toh(number);
    if (be16toh(type) != NET_FRONT_ETHERTYPE)
        return -EBADMSG;
    for (uint32_t i = FRAME_LEAST; i < bytes; i++)
        if (at[i] != byte_of(number, i))
            return -EBADMSG;
    return number;
}
