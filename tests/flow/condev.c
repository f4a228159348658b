/* SPDX-License-Identifier: BSD-3-Clause */
/* condev.c - see condev.h. */
#include "condev.h"

#include "clock.h"
#include "report.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>

#define TIMEOUT_MS 15000
#define GPA 0x40000000ull

static uint64_t wanted(unsigned queues)
{
    uint64_t bits = FE_BIT(VIRTIO_F_VERSION_1) | FE_BIT(VHU_F_PROTOCOL_FEATURES) |
                    FE_BIT(VIRTIO_CONSOLE_F_SIZE) | FE_BIT(VIRTIO_RING_F_EVENT_IDX);
    return queues > 2 ? bits | FE_BIT(VIRTIO_CONSOLE_F_MULTIPORT) : bits;
}

static const uint64_t protocol = FE_BIT(VHU_PF_MQ) | FE_BIT(VHU_PF_CONFIG) |
                                 FE_BIT(VHU_PF_REPLY_ACK) | FE_BIT(VHU_PF_BACKEND_REQ) |
                                 FE_BIT(VHU_PF_RESET_DEVICE);

static bool start_rings(struct condev *c)
{
    int rc = fe_share_mem(&c->fe, &c->mem);
    for (unsigned i = 0; i < c->queues && rc == 0; i++)
        rc = fe_ring_start(&c->fe, i, &c->ring[i], &c->mem, 0);
    return rc == 0 || row_fail("rings of a console: %s", c->fe.error);
}

static bool allocate(struct condev *c)
{
    const struct ring_options options = {.num = CONDEV_RING, .event_idx = true};
    const struct guestmem_spec spec = {.size = 8u << 20, .gpa = GPA, .uva = GUESTMEM_FAKE_UVA};
    int rc = guestmem_add(&c->mem, &spec);
    for (unsigned i = 0; i < c->queues && rc >= 0; i++) {
        rc = ring_init(&c->ring[i], &c->mem, 0, &options);
        c->buffer[i] = guestmem_alloc(&c->mem, 0, CONDEV_RING * CONDEV_BUFFER, 64);
        if (!c->buffer[i])
            rc = -ENOMEM;
    }
    return rc >= 0 || row_fail("no guest memory: %s", strerror(-rc));
}

bool condev_read_config(struct condev *c)
{
    return fe_get_config(&c->fe, 0, &c->config, sizeof(c->config)) == 0 ||
           row_fail("config space: %s", c->fe.error);
}

bool condev_open(struct condev *c, const struct daemon *d, const char *id, unsigned queues)
{
    memset(c, 0, sizeof(*c));
    fe_init(&c->fe);
    guestmem_init(&c->mem);
    c->queues = queues;
    if (fe_connect(&c->fe, socket_of(d, id).s) < 0 ||
        fe_negotiate(&c->fe, wanted(queues), protocol) < 0)
        return row_fail("a front-end on %s: %s", id, c->fe.error);
    if (queues > 2 && !fe_has(&c->fe, VIRTIO_CONSOLE_F_MULTIPORT))
        return row_fail("%s does not offer MULTIPORT", id);
    return condev_read_config(c) && allocate(c) && start_rings(c);
}

void condev_close(struct condev *c)
{
    fe_disconnect(&c->fe);
    for (unsigned i = 0; i < c->queues; i++)
        ring_free(&c->ring[i]);
    guestmem_free(&c->mem);
}

bool condev_reset(struct condev *c)
{
    if (fe_reset_device(&c->fe) < 0 || fe_set_features(&c->fe, c->fe.features) < 0)
        return row_fail("reset: %s", c->fe.error);
    for (unsigned i = 0; i < c->queues; i++) {
        ring_reset(&c->ring[i]);
        int rc = fe_ring_start(&c->fe, i, &c->ring[i], &c->mem, 0);
        if (rc < 0)
            return row_fail("restart of ring %u: %s", i, c->fe.error);
    }
    return true;
}

/* ---- receive queues -------------------------------------------------------------------------- */

static uint8_t *next_buffer(struct condev *c, unsigned queue)
{
    return c->buffer[queue] + (c->next[queue]++ % CONDEV_RING) * CONDEV_BUFFER;
}

bool condev_give(struct condev *c, unsigned queue, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint8_t *at = next_buffer(c, queue);
        const struct ring_seg seg = {guestmem_gpa(&c->mem, at), CONDEV_BUFFER};
        if (ring_add(&c->ring[queue], &seg, 0, 1, at) < 0)
            return row_fail("receive queue %u is full", queue);
    }
    return ring_submit(&c->ring[queue]) == 0 || row_fail("queue %u cannot be kicked", queue);
}

int condev_take(struct condev *c, unsigned queue, int timeout_ms)
{
    struct ring_done done;
    int rc = ring_wait(&c->ring[queue], timeout_ms);
    if (rc == 0)
        rc = ring_reap(&c->ring[queue], &done, 1);
    if (rc != 1)
        return -1;
    memcpy(c->message, done.token, done.len < CONDEV_BUFFER ? done.len : CONDEV_BUFFER);
    return (int)done.len;
}

bool condev_expect(struct condev *c, unsigned queue, const char *want)
{
    size_t len = strlen(want), got = 0;
    while (got < len) {
        if (ring_in_flight(&c->ring[queue]) == 0 && !condev_give(c, queue, 1))
            return false;
        int n = condev_take(c, queue, TIMEOUT_MS);
        if (n < 0)
            return row_fail("\"%s\" did not come as input on queue %u", want + got, queue);
        if ((size_t)n > len - got || memcmp(c->message, want + got, (size_t)n) != 0)
            return row_fail("\"%.*s\" came as input, not \"%s\"", n, (char *)c->message,
                            want + got);
        got += (size_t)n;
    }
    return true;
}

/* ---- transmit queues ------------------------------------------------------------------------- */

bool condev_queue(struct condev *c, unsigned queue, const void *bytes, size_t n)
{
    uint8_t *at = next_buffer(c, queue);
    const struct ring_seg seg = {guestmem_gpa(&c->mem, at), (uint32_t)n};
    memcpy(at, bytes, n);
    if (ring_add(&c->ring[queue], &seg, 1, 0, at) < 0 || ring_submit(&c->ring[queue]) < 0)
        return row_fail("transmit queue %u is full", queue);
    return true;
}

bool condev_send(struct condev *c, unsigned queue, const void *bytes, size_t n)
{
    if (!condev_queue(c, queue, bytes, n))
        return false;
    while (ring_in_flight(&c->ring[queue]) > 0)
        if (condev_take(c, queue, TIMEOUT_MS) < 0)
            return row_fail("output on queue %u was not taken", queue);
    return true;
}

bool condev_send_all(struct condev *c, unsigned queue, const void *bytes, size_t n)
{
    const uint8_t *from = bytes;
    while (n > 0) {
        while (n > 0 && ring_in_flight(&c->ring[queue]) < CONDEV_RING) {
            size_t len = n < CONDEV_BUFFER ? n : CONDEV_BUFFER;
            if (!condev_queue(c, queue, from, len))
                return false;
            from += len;
            n -= len;
        }
        if (condev_take(c, queue, TIMEOUT_MS) < 0)
            return row_fail("output on queue %u was not taken", queue);
    }
    while (ring_in_flight(&c->ring[queue]) > 0)
        if (condev_take(c, queue, TIMEOUT_MS) < 0)
            return row_fail("output on queue %u was not taken", queue);
    return true;
}

/* ---- control --------------------------------------------------------------------------------- */

bool condev_say(struct condev *c, uint32_t port, uint16_t event, uint16_t value)
{
    const struct virtio_console_control message = {htole32(port), htole16(event), htole16(value)};
    return condev_send(c, CONDEV_CONTROL_TX, &message, sizeof(message));
}

int condev_hear(struct condev *c, uint32_t port, uint16_t event, int value)
{
    struct virtio_console_control message;
    int n = condev_take(c, CONDEV_CONTROL_RX, TIMEOUT_MS);
    if (n < (int)sizeof(message)) {
        row_fail("message %u about port %u did not come", event, port);
        return -1;
    }
    memcpy(&message, c->message, sizeof(message));
    if (le32toh(message.id) != port || le16toh(message.event) != event ||
        (value >= 0 && le16toh(message.value) != value)) {
        row_fail("message %u about port %u with value %u came, not %u about port %u",
                 le16toh(message.event), le32toh(message.id), le16toh(message.value), event, port);
        return -1;
    }
    if (!condev_give(c, CONDEV_CONTROL_RX, 1))
        return -1;
    return n - (int)sizeof(message);
}
