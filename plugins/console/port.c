/* SPDX-License-Identifier: BSD-3-Clause */
/* port.c - see port.h. */
#include "port.h"

#include "control.h"
#include "peer.h"

#include <linux/virtio_console.h>
#include <stdio.h>
#include <stdlib.h>

/* Output taken in one turn; then others on the worker have theirs. */
#define BATCH_CHAINS 64u
#define BATCH_BYTES (256u << 10)
#define PIECE 4096u

static void output_more(struct hvv_task *task);

struct port *port_new(struct console *console, uint32_t index, uint64_t ring_bytes)
{
    struct port *port = calloc(1, sizeof(*port));
    char *bytes = malloc(ring_bytes);
    if (!port || !bytes) {
        free(port);
        free(bytes);
        return NULL;
    }
    port->console = console;
    port->index = index;
    port->rx = index == 0 ? 0 : 2 + 2 * index; /* virtio 1.2, section 5.3.2 */
    port->tx = port->rx + 1;
    port->ring = (struct ring){.bytes = bytes, .size = ring_bytes};
    port->more.run = output_more;
    return port;
}

void port_free(struct port *port)
{
    if (!port)
        return;
    free(port->path);
    free(port->ring.bytes);
    free(port);
}

const char *port_label(const struct port *port, char text[16])
{
    snprintf(text, 16, "%u", port->index);
    return port->name[0] ? port->name : text;
}

/* ---- output ---------------------------------------------------------------------------------- */

static void count_dropped(struct port *port, uint64_t n)
{
    char label[16];
    struct hvv_device *dev = port->console->dev;
    if (n == 0)
        return;
    hvv_count(dev, CONSOLE_DROPPED_BYTES, port->tx, n);
    if (!port->dropping)
        hvv_event(dev, CONSOLE_EVENT_DROPPED, "port=%s", port_label(port, label));
    port->dropping = true;
}

void port_put(struct port *port, const void *bytes, size_t n)
{
    count_dropped(port, ring_put(&port->ring, bytes, n));
}

/* How much may be appended: readers of a lossless port are waited for. */
static uint64_t room(const struct port *port)
{
    return port->lossless ? ring_room(&port->ring, peers_slowest(port)) : UINT64_MAX;
}

/*
 * Copies `n` bytes of the chain from `offset` on. The readers get their share before the ring is
 * so full that what they could have had is overwritten.
 */
static void copy(struct port *port, const struct hvv_chain *chain, uint64_t offset, uint64_t n)
{
    char piece[PIECE];
    uint64_t since = 0;
    while (n > 0) {
        size_t len = hvv_iov_read(chain->readable, chain->n_readable, offset, piece,
                                  n < PIECE ? n : PIECE);
        if (len == 0)
            return;
        if (since + len > port->ring.size / 2) {
            peers_write(port);
            since = 0;
        }
        port_put(port, piece, len);
        offset += len;
        since += len;
        n -= len;
    }
}

/* Takes what there is room for; returns how much. The chain is finished or released. */
static uint64_t take_chain(struct port *port, struct hvv_chain *chain)
{
    struct hvv_device *dev = port->console->dev;
    uint64_t from = port->tx_skip, bytes = chain->readable_bytes, n = 0;
    if (from < bytes)
        n = bytes - from < room(port) ? bytes - from : room(port);
    uint64_t limit = port->ring.size + BATCH_BYTES;
    if (!port->lossless && n > limit) { /* what would be overwritten anyway */
        count_dropped(port, ring_skip(&port->ring, n - limit));
        copy(port, chain, bytes - limit, limit);
    } else {
        copy(port, chain, from, n);
    }
    hvv_count(dev, CONSOLE_OUTPUT_BYTES, port->tx, n);
    if (from + n < bytes) {
        port->tx_skip = from + n;
        port->tx_blocked = true;
        hvv_release(chain);
    } else {
        port->tx_skip = 0;
        hvv_complete(chain, 0);
    }
    return n;
}

/* True if there may be more. */
static bool take_batch(struct port *port)
{
    struct hvv_chain *chain;
    uint64_t bytes = 0, unseen = 0;
    for (uint32_t i = 0; i < BATCH_CHAINS && bytes < BATCH_BYTES; i++) {
        if (port->tx_blocked || hvv_pop(port->console->dev, port->tx, &chain, 1) == 0)
            return false;
        uint64_t n = take_chain(port, chain);
        bytes += n;
        unseen += n;
        if (unseen > port->ring.size / 2) {
            peers_write(port);
            unseen = 0;
        }
    }
    return true;
}

void port_output(struct port *port)
{
    bool more;
    do {
        more = take_batch(port);
        peers_write(port);
        if (!port->tx_blocked || room(port) == 0)
            break;
        port->tx_blocked = false; /* the readers made room at once */
    } while (!more);
    if (more && !port->more_posted) {
        port->more_posted = true;
        hvv_post(port->console->dev, port->tx, &port->more);
    }
}

static void output_more(struct hvv_task *task)
{
    struct port *port = (struct port *)((char *)task - offsetof(struct port, more));
    port->more_posted = false;
    port_output(port);
    peers_settle(port);
}

void port_drained(struct port *port)
{
    if (port->tx_blocked && room(port) > 0 && !port->more_posted) {
        port->tx_blocked = false;
        port->more_posted = true;
        hvv_post(port->console->dev, port->tx, &port->more);
    }
}

/* ---- input ----------------------------------------------------------------------------------- */

char *port_input_room(struct port *port, uint32_t *size)
{
    if (port->in_start == port->in_end)
        port->in_start = port->in_end = 0;
    if (port->in_end == PORT_INPUT_BYTES && port->in_start > 0) {
        memmove(port->input, port->input + port->in_start, port->in_end - port->in_start);
        port->in_end -= port->in_start;
        port->in_start = 0;
    }
    *size = PORT_INPUT_BYTES - port->in_end;
    return port->input + port->in_end;
}

void port_input_add(struct port *port, uint32_t n)
{
    port->in_end += n;
}

/* A driver of several ports throws away what comes before it has opened the port. */
static bool guest_listens(const struct port *port)
{
    return !control_in_use(port->console) || (port->guest_ready && port->guest_open);
}

void port_feed(struct port *port)
{
    struct hvv_device *dev = port->console->dev;
    struct hvv_chain *chain;
    while (port->in_start < port->in_end && guest_listens(port) &&
           hvv_pop(dev, port->rx, &chain, 1) == 1) {
        if (chain->writable_bytes == 0) {
            hvv_fail(chain, "a receive buffer has no room: the driver gave none to write to");
            return;
        }
        size_t n = hvv_iov_write(chain->writable, chain->n_writable, 0,
                                 port->input + port->in_start, port->in_end - port->in_start);
        port->in_start += (uint32_t)n;
        hvv_complete(chain, (uint32_t)n);
        hvv_count(dev, CONSOLE_INPUT_BYTES, port->rx, n);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

void port_queue_stop(struct port *port, uint32_t queue, bool discard)
{
    if (queue != port->tx)
        return;
    port->tx_blocked = false; /* whatever waits is popped when the queue runs again */
    if (discard)
        port->tx_skip = 0;
}

void port_reset(struct port *port)
{
    port->tx_blocked = false;
    port->tx_skip = 0;
    port->guest_ready = port->guest_open = false;
    port->pending = 0;
}
