/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.h - what the files of the console plugin share about one device: its ports and the indexes
 * of its counters.
 *
 * Threads: create() on the builder writes everything that does not change afterwards. All else
 * belongs to the device's worker; the plugin has one call at a time (HVV_SERIAL_DEVICE).
 */
#ifndef CONSOLE_DEVICE_H
#define CONSOLE_DEVICE_H

#include <hvv/plugin.h>
#include <stdbool.h>

#define CONSOLE_PORTS_MAX 32u
#define CONSOLE_QUEUE_CONTROL_RX 2u /* to the driver; queues 2 and 3 exist with several ports */
#define CONSOLE_QUEUE_CONTROL_TX 3u /* from the driver */

enum console_counter {
    CONSOLE_INPUT_BYTES,
    CONSOLE_OUTPUT_BYTES,
    CONSOLE_DROPPED_BYTES,
    CONSOLE_MISSED_BYTES,
    CONSOLE_EMERGENCY_BYTES,
    CONSOLE_FILE_ERRORS,
    CONSOLE_ATTACHED,
    CONSOLE_COUNTERS,
};

enum console_event {
    CONSOLE_EVENT_ATTACHED,
    CONSOLE_EVENT_DETACHED,
    CONSOLE_EVENT_DROPPED,
    CONSOLE_EVENT_OPENED,
    CONSOLE_EVENT_CLOSED,
    CONSOLE_EVENTS,
};

struct port;

struct console {
    struct hvv_device *dev;
    bool offers_multiport;
    bool rows_first;     /* the order in RESIZE messages */
    bool published;      /* watches may be armed */
    uint32_t n_attached; /* terminals and clients of all ports */
    bool more_posted;
    struct hvv_task more; /* goes on taking control messages after a full batch */
    uint32_t n_ports;
    struct port *port[CONSOLE_PORTS_MAX];
};

static inline struct console *console_of(struct hvv_device *dev)
{
    return dev->state;
}

#endif
