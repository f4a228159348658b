/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole virtio-net device as a guest would bring it up: connection, memory, the rings of each
 * pair, the control queue; and frames through them.
 *
 * One thread opens and closes; each pair may then be driven by a thread of its own. The receive
 * ring of a pair is its ring 2 * pair, the transmit ring 2 * pair + 1 (virtio 1.2, section 5.1.2).
 * Functions return 0 or more, or -errno with a sentence in front->fe.error.
 */
#ifndef FRONTEND_NET_H
#define FRONTEND_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/virtio_net.h>

#include "guestmem.h"
#include "ring.h"
#include "vhost-user.h"

#define NET_FRONT_PAIRS_MAX 16u
#define NET_FRONT_HEADER sizeof(struct virtio_net_hdr_v1)
#define NET_FRONT_FRAME_MAX 65557u
/* Room for the header and any frame. */
#define NET_FRONT_LARGE (NET_FRONT_FRAME_MAX + 32u)

struct net_front_options {
    const char *path;
    unsigned int pairs; /* 0: one */
    uint16_t num; /* of each ring; 0: 256 */
    uint32_t rx_size, tx_size; /* bytes of each buffer, header counted; 0: 2048 */
    uint64_t features; /* VIRTIO_NET_F_* wanted, beside MAC, STATUS and MTU: those offered */
    unsigned int tx_pieces; /* descriptors of a frame that is sent; 0: 2, the header in the first */
    bool indirect;
    bool no_event_idx;
    bool no_start; /* leave the rings to the caller */
};

struct net_slot {
    uint8_t *at; /* the header, the frame behind it */
    uint64_t gpa;
    struct net_slot *next; /* while it is idle */
};

struct net_queue {
    struct ring ring;
    struct net_slot *slot, *idle;
    uint32_t slot_bytes;
    bool started;
};

struct net_pair {
    struct net_queue rx, tx;
    uint64_t sent; /* frames the device has given back */
};

struct net_front {
    struct net_front_options opt;
    struct fe fe;
    struct guestmem mem;
    struct virtio_net_config config; /* up to and including mtu */
    struct net_pair pair[NET_FRONT_PAIRS_MAX];
    struct net_queue control; /* not used unless CTRL_VQ was taken */
    unsigned int control_index;
};

/* Close in either case. -EOPNOTSUPP: fewer pairs than asked for. */
int net_front_open(struct net_front *front, const struct net_front_options *opt);
void net_front_close(struct net_front *front);

/* The pieces of net_front_open(), for a test that goes away and comes again with its memory. */
int net_front_connect(struct net_front *front);
int net_front_share(struct net_front *front);
int net_front_start(struct net_front *front); /* all rings */
int net_front_read_config(struct net_front *front);

/* Both rings of a pair. Stopping keeps what is in flight for the next start. */
int net_front_start_pair(struct net_front *front, unsigned int pair);
int net_front_stop_pair(struct net_front *front, unsigned int pair);

/* What a driver does: resets the device, forgets all buffers, takes `features` and starts again. */
int net_front_reset(struct net_front *front, uint64_t features);

/*
 * Makes one frame available to the device and notifies. `header` NULL: all zero. Never waits:
 * -ENOSPC when the ring is full of frames that the device has not taken.
 */
int net_front_send(struct net_front *front, unsigned int pair,
                   const struct virtio_net_hdr_v1 *header, const void *data, size_t len);
/* The same without a notification: net_front_kick() for many. */
int net_front_queue(struct net_front *front, unsigned int pair,
                    const struct virtio_net_hdr_v1 *header, const void *data, size_t len);
int net_front_kick(struct net_front *front, unsigned int pair);
/* Takes back what the device is done with. Returns how many frames it still has. */
int net_front_sending(struct net_front *front, unsigned int pair);
/* Waits until the device has taken every frame. -ETIMEDOUT if it does not. */
int net_front_drain(struct net_front *front, unsigned int pair, int timeout_ms);

/* Posts `n` receive buffers of `size` bytes, header counted; 0: rx_size. */
int net_front_post(struct net_front *front, unsigned int pair, unsigned int n, uint32_t size);

/*
 * The next frame: its bytes go to `buf`, its header to `header` (may be NULL). Its buffers become
 * idle again: net_front_post() makes them available once more. Returns the length of the frame,
 * -ETIMEDOUT, -EMSGSIZE if `max` does not suffice, -EPROTO if the device misbehaved.
 */
int net_front_receive(struct net_front *front, unsigned int pair, struct virtio_net_hdr_v1 *header,
                      void *buf, size_t max, int timeout_ms);

/* A command on the control queue. Returns the device's answer (VIRTIO_NET_OK, _ERR) or -errno. */
int net_front_control(struct net_front *front, uint8_t class, uint8_t command, const void *data,
                      size_t len, int timeout_ms);
/* How many pairs to use (VIRTIO_NET_CTRL_MQ). */
int net_front_set_pairs(struct net_front *front, unsigned int pairs);

/*
 * A frame to test with: `bytes` long (at least 18), of an EtherType nobody else uses, with `number`
 * in it and the rest depending on that. net_front_check() returns the number, or -EBADMSG.
 */
#define NET_FRONT_ETHERTYPE 0x88b5u /* for experiments: IEEE 802 */
void net_front_fill(void *frame, uint32_t bytes, const uint8_t *to, const uint8_t *from,
                    uint32_t number);
int64_t net_front_check(const void *frame, uint32_t bytes);

#endif
