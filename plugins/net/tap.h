/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tap.h - what the files of the tap back-end share.
 *
 *     tap.c         frames, on the workers of the pairs
 *     tap-admin.c   a thread for what waits for the kernel's lock of all networking: offloads,
 *                   carrier, which queues take part
 *     tap-open.c    opens or creates the tap; on the builder
 *     tap-link.c    what the kernel knows of a network interface; on the builder
 *
 * A tap has one descriptor for each pair, its queue. The kernel spreads what arrives over the
 * queues that are attached.
 */
#ifndef NET_TAP_H
#define NET_TAP_H

#include "device.h"

#include <net/if.h>

#define TAP_MTU_DEFAULT 1500u
/* One byte more than a frame can have, so that a longer one shows. */
#define TAP_BUFFER (FRAME_HEADER_BYTES + FRAME_MAX + 1)

struct tap;

/* One queue. On the pair's worker, but for fd, which does not change. */
struct tap_pair {
    struct tap *tap;
    struct pair *pair;
    int fd;
    struct hvv_watch *watch;
    uint32_t events;      /* what the watch waits for */
    bool receiving;       /* the receive queue runs */
    bool starved;         /* the guest has to post buffers before anything else is read */
    bool waiting;         /* the tap was full: tx_resume() is owed */
    bool told;            /* that the kernel refused a frame */
    bool large;           /* in this turn a frame was sent that is to be cut into segments */
    struct virtio_net_hdr_v1 header; /* of the frame that is sent */
    uint32_t expect;      /* bytes of the latest frame, a guess at the next */
    uint32_t given;       /* segments of the one kept, see rx_give() */
    uint32_t kept_bytes;  /* header counted; 0: none */
    struct iovec iov[NET_IOV_MAX];
    uint8_t kept[TAP_BUFFER];     /* a frame the guest has no buffer for yet, or too small ones */
    uint8_t gathered[FRAME_MAX];  /* a frame to send that is in too many pieces */
};

struct tap {
    struct net *net;
    const char *name;
    const char *option;    /* that named it, for errors */
    uint32_t flags;        /* TUN_F_* that its kernel has */
    bool multi_queue;
    bool created;          /* it goes when we close it */
    int index;             /* of the interface */
    const char *bridge;    /* that it joined and leaves at the end, or NULL */

    _Atomic bool gone;     /* somebody removed it, and that is told */

    /* tap-admin.c */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool changed, closing; /* under the lock */
    uint64_t settled_at;   /* nanoseconds: see tap-admin.c; under the lock */
    uint32_t attached;     /* a bit for each queue that takes part, now */
    uint32_t set_flags;    /* TUN_F_* of the tap, now */
    bool carrier;          /* of the tap, now */

    uint32_t n_pairs;
    struct tap_pair pair[];
};

/* ---- tap-open.c: 0, or a negative errno after hvv_error() with nothing left ------------------ */

int32_t tap_acquire(struct tap *tap);
void tap_release(struct tap *tap);

/* ---- tap-admin.c ----------------------------------------------------------------------------- */

int32_t tap_admin_start(struct tap *tap);
void tap_admin_end(struct tap *tap); /* builder; waits for the thread */

/* What the tap should be like has changed. Thread: any; does not wait. */
void tap_admin_wake(struct tap *tap);

/* ---- tap-link.c ------------------------------------------------------------------------------ */

struct tap_link {
    int index;
    uint32_t mtu;
    uint32_t flags;     /* IFF_* */
    int master;         /* index of the bridge it is a port of, or 0 */
    char kind[16];      /* "tun", "bridge", ..., or "" */
    bool tap;           /* of kind tun: a tap */
    bool multi_queue;
    uint32_t queues;    /* in use, if it is multi_queue and the kernel tells */
    int64_t owner;      /* uid, or -1 */
};

/* 0, or a negative errno: -ENODEV if there is no interface of that name. */
int tap_link_query(const char *name, struct tap_link *link);

/* An ioctl about an interface; `value` goes in by its type. 0 or -errno. */
int tap_link_set_mtu(const char *name, uint32_t mtu);
int tap_link_set_up(const char *name);
int tap_link_set_high_mac(const char *name);
int tap_link_join(const char *bridge, int index);
int tap_link_leave(const char *bridge, int index);

#endif
