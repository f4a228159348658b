/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net-guest.h - plays guest of the net plugin on the harness: posts receive buffers, sends
 * frames, and sees to it that the counters add up.
 */
#ifndef NET_GUEST_H
#define NET_GUEST_H

#include <hvv/harness.h>

#define GUEST_HEADER 12u
#define GUEST_BUFFERS 640u
#define GUEST_BUFFER_MAX 4096u

struct guest {
    struct hvv_harness h; /* first */
    uint32_t n;    /* buffers posted */
    uint32_t next; /* the first one not looked at */
    struct hvv_harness_chain *chain[GUEST_BUFFERS];
    uint8_t (*buffer)[GUEST_BUFFER_MAX];
};

/* Fails the test unless the device is there. `start` publishes it and starts its queues. */
void guest_open(struct guest *guest, const char *spec, bool start);

/* Fails the test if something leaked, or the two sums of counters are wrong. */
void guest_close(struct guest *guest);

/* Puts `n` buffers of `bytes` each, header included, into the ring. */
void guest_put(struct guest *guest, uint32_t n, uint32_t bytes);

/* The same, and tells the device. */
void guest_post(struct guest *guest, uint32_t n, uint32_t bytes);

/* Sends a frame behind an empty header, and tells the device. */
struct hvv_harness_chain *guest_send(struct guest *guest, const void *frame, uint32_t bytes);

/*
 * Waits for the next frame. Its bytes are in *frame, valid until guest_close(). Returns how many,
 * or 0 if none came. Fails the test if the header in front is not an empty one for one buffer.
 */
uint32_t guest_receive(struct guest *guest, const uint8_t **frame);

void guest_check_sums(struct guest *guest);

#endif
