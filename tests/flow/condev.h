/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * condev.h - the driver's side of a virtio-console device of a daemon under test. Main thread.
 *
 * Buffers for input are given one by one, so that a guest can be slow; output waits until it is
 * taken. Functions that return bool have told the report why it is false.
 */
#ifndef FLOW_CONDEV_H
#define FLOW_CONDEV_H

#include "daemon.h"
#include "vhost-user.h"

#include <linux/virtio_console.h>

#define CONDEV_QUEUES 10u /* up to four ports */
#define CONDEV_RING 64u
#define CONDEV_BUFFER 4096u
#define CONDEV_CONTROL_RX 2u
#define CONDEV_CONTROL_TX 3u

struct condev {
    struct fe fe;
    struct guestmem mem;
    unsigned queues;
    struct ring ring[CONDEV_QUEUES];
    uint8_t *buffer[CONDEV_QUEUES]; /* CONDEV_RING of them */
    unsigned next[CONDEV_QUEUES];   /* buffer to use next */
    uint8_t message[CONDEV_BUFFER]; /* the latest input or control message */
    struct virtio_console_config config;
};

/* Connects and starts the rings: 2 queues, or more with MULTIPORT. */
bool condev_open(struct condev *c, const struct daemon *d, const char *id, unsigned queues);
void condev_close(struct condev *c);
/* The driver resets the device and starts it again; what it did not look at is lost to it. */
bool condev_reset(struct condev *c);
bool condev_read_config(struct condev *c);

/* Makes `n` buffers available on a receive queue. */
bool condev_give(struct condev *c, unsigned queue, unsigned n);
/* The next one that came back, in c->message; its length, or -1 if none comes in time. */
int condev_take(struct condev *c, unsigned queue, int timeout_ms);
/* Takes input until it is `want`, giving one buffer at a time. */
bool condev_expect(struct condev *c, unsigned queue, const char *want);

/* Sends output and waits until it is taken. */
bool condev_send(struct condev *c, unsigned queue, const void *bytes, size_t n);
/* The same in as many buffers as it needs, all of them at once. */
bool condev_send_all(struct condev *c, unsigned queue, const void *bytes, size_t n);
/* Makes one buffer of output available; true, and *taken later, if it is not taken in time. */
bool condev_queue(struct condev *c, unsigned queue, const void *bytes, size_t n);

bool condev_say(struct condev *c, uint32_t port, uint16_t event, uint16_t value);
/* The next control message has to be this one; its length without the header, or -1. */
int condev_hear(struct condev *c, uint32_t port, uint16_t event, int value);

#endif
