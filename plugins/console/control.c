/* SPDX-License-Identifier: BSD-3-Clause */
/* control.c - see control.h. */
#include "control.h"

#include "peer.h"

#include <linux/virtio_console.h>

#define BATCH 256u /* messages taken in one turn */

/* Bits of port->pending, in the order in which they are sent. */
enum pending {
    PENDING_ADD = 1,
    PENDING_CONSOLE = 2,
    PENDING_NAME = 4,
    PENDING_SIZE = 8,
    PENDING_OPEN = 16,
};

bool control_in_use(const struct console *console)
{
    return hvv_features(console->dev) & (1ull << VIRTIO_CONSOLE_F_MULTIPORT);
}

/* ---- to the driver --------------------------------------------------------------------------- */

static size_t make_message(const struct port *port, uint32_t what, char out[MESSAGE_MAX])
{
    struct message message = {.port = port->index, .value = 1};
    switch (what) {
    case PENDING_ADD:
        message.event = VIRTIO_CONSOLE_PORT_ADD;
        break;
    case PENDING_CONSOLE:
        message.event = VIRTIO_CONSOLE_CONSOLE_PORT;
        break;
    case PENDING_NAME:
        return message_write_name(out, port->index, port->name);
    case PENDING_SIZE:
        return message_write_size(out, port->index, port->size, port->console->rows_first);
    default:
        message.event = VIRTIO_CONSOLE_PORT_OPEN;
        message.value = port->host_open;
        break;
    }
    return message_write(out, &message);
}

/* False if the driver has no buffer for it. */
static bool send_one(struct port *port, uint32_t what)
{
    char bytes[MESSAGE_MAX];
    struct hvv_chain *chain;
    if (hvv_pop(port->console->dev, CONSOLE_QUEUE_CONTROL_RX, &chain, 1) == 0)
        return false;
    size_t len = make_message(port, what, bytes);
    if (chain->writable_bytes < len) {
        hvv_fail(chain, "a control buffer of %llu bytes is too short for a message of %zu",
                 (unsigned long long)chain->writable_bytes, len);
        return false;
    }
    hvv_iov_write(chain->writable, chain->n_writable, 0, bytes, len);
    hvv_complete(chain, (uint32_t)len);
    port->pending &= ~what;
    return true;
}

void control_send(struct console *console)
{
    for (uint32_t i = 0; i < console->n_ports; i++)
        for (uint32_t what = PENDING_ADD; what <= PENDING_OPEN; what <<= 1)
            if ((console->port[i]->pending & what) && !send_one(console->port[i], what))
                return;
}

void control_host_open(struct port *port, bool open)
{
    if (port->host_open == open)
        return;
    port->host_open = open;
    if (port->guest_ready) {
        port->pending |= PENDING_OPEN;
        control_send(port->console);
    }
}

void control_resized(struct port *port)
{
    if (port->guest_ready && port->is_console) {
        port->pending |= PENDING_SIZE;
        control_send(port->console);
    }
}

/* ---- from the driver ------------------------------------------------------------------------- */

static void device_ready(struct console *console, bool fine)
{
    if (!fine)
        hvv_log(console->dev, HVV_LOG_WARNING, "the driver cannot use the device");
    for (uint32_t i = 0; i < console->n_ports; i++) {
        struct port *port = console->port[i];
        port->guest_ready = port->guest_open = false; /* it starts anew */
        port->pending = fine ? PENDING_ADD : 0;
    }
}

static void port_ready(struct port *port, bool fine)
{
    char label[16];
    port->guest_ready = fine;
    if (!fine) {
        hvv_log(port->console->dev, HVV_LOG_WARNING, "the driver cannot use port %s",
                port_label(port, label));
        return;
    }
    if (port->is_console)
        port->pending |= PENDING_CONSOLE | PENDING_SIZE;
    if (port->name[0])
        port->pending |= PENDING_NAME;
    if (port->host_open)
        port->pending |= PENDING_OPEN;
}

static void port_open(struct port *port, bool open)
{
    char label[16];
    if (port->guest_open == open)
        return;
    port->guest_open = open;
    hvv_event(port->console->dev, open ? CONSOLE_EVENT_OPENED : CONSOLE_EVENT_CLOSED, "port=%s",
              port_label(port, label));
    port_feed(port);
    peers_settle(port);
}

static void handle(struct console *console, const struct message *message)
{
    if (message->event == VIRTIO_CONSOLE_DEVICE_READY) {
        device_ready(console, message->value == 1);
        return;
    }
    struct port *port = message->port < console->n_ports ? console->port[message->port] : NULL;
    if (port && message->event == VIRTIO_CONSOLE_PORT_READY)
        port_ready(port, message->value == 1);
    else if (port && message->event == VIRTIO_CONSOLE_PORT_OPEN)
        port_open(port, message->value != 0);
    else
        hvv_log(console->dev, HVV_LOG_WARNING, "the driver sent event %u about port %u of %u, "
                "which means nothing", message->event, message->port, console->n_ports);
}

/* True if there may be more. */
static bool take_batch(struct console *console)
{
    struct hvv_chain *chain;
    struct message message;
    for (uint32_t i = 0; i < BATCH; i++) {
        if (hvv_pop(console->dev, CONSOLE_QUEUE_CONTROL_TX, &chain, 1) == 0)
            return false;
        if (message_read(&message, chain->readable, chain->n_readable) < 0) {
            hvv_fail(chain, "a control message of %llu bytes is shorter than its header of 8",
                     (unsigned long long)chain->readable_bytes);
            return false;
        }
        hvv_complete(chain, 0);
        if (control_in_use(console))
            handle(console, &message);
    }
    return true;
}

void control_receive(struct console *console)
{
    if (take_batch(console) && !console->more_posted) {
        console->more_posted = true;
        hvv_post(console->dev, CONSOLE_QUEUE_CONTROL_TX, &console->more);
    }
    control_send(console);
}

static void receive_more(struct hvv_task *task)
{
    struct console *console = (struct console *)((char *)task - offsetof(struct console, more));
    console->more_posted = false;
    control_receive(console);
}

void control_init(struct console *console)
{
    console->more.run = receive_more;
}
