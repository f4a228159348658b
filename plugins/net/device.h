/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.h - what the files of the net plugin share about one device: the device, its pairs of
 * queues and the indexes of its counters.
 *
 *     net.c       the plugin's tables, the life of a device, its config space, its commands
 *     tx.c        takes frames from the guest      header.c   checks what the guest says of them
 *     rx.c        gives frames to the guest        offload.c  does what the guest cannot
 *     control.c   the control queue                filter.c   which frames the guest wants
 *     capture.c   writes frames to a file
 *     backend.h   where frames go: tap.c, user.c, switch.c, socket.c, null.c, loop.c
 *
 * Threads: create() on the builder writes everything that does not change afterwards. A struct pair
 * belongs to the worker of its two queues, which they share (HVV_QUEUES_TOGETHER). What several
 * workers use is atomic or has a lock of its own.
 */
#ifndef NET_DEVICE_H
#define NET_DEVICE_H

#include "capture.h"
#include "filter.h"
#include "frame.h"

#include <hvv/plugin.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define NET_PAIRS_MAX 32u
#define NET_STASH 64u  /* receive buffers taken from the ring before there is a frame for them */
#define NET_IOV_MAX 1024u /* what one system call takes (IOV_MAX) */

#define NET_FEATURE(NAME) (1ull << VIRTIO_NET_F_##NAME)

/* Not in the kernel headers of Debian 12 (virtio 1.3, section 5.1.3). */
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO 56

/* What a device that takes work off the guest offers, and what the guest can take off us. */
#define NET_HOST_OFFLOADS                                                                          \
    (NET_FEATURE(CSUM) | NET_FEATURE(HOST_TSO4) | NET_FEATURE(HOST_TSO6) | NET_FEATURE(HOST_ECN) |  \
     NET_FEATURE(HOST_USO))
#define NET_GUEST_OFFLOADS                                                                         \
    (NET_FEATURE(GUEST_CSUM) | NET_FEATURE(GUEST_TSO4) | NET_FEATURE(GUEST_TSO6) |                  \
     NET_FEATURE(GUEST_ECN) | NET_FEATURE(GUEST_USO4) | NET_FEATURE(GUEST_USO6))

/*
 * Frames are counted so that nothing gets lost unseen:
 *     NET_TX_FRAMES = NET_SENT + the NET_TX_* below it
 *     NET_RX_FRAMES = NET_RECEIVED + the NET_RX_* below it
 */
enum net_counter {
    NET_TX_FRAMES,     /* taken from the guest */
    NET_SENT,          /* taken by the back-end */
    NET_SENT_BYTES,
    NET_TX_LINK_DOWN,
    NET_TX_BAD_LENGTH,
    NET_TX_BAD_HEADER,
    NET_TX_NO_PEER,    /* nobody is there to take it */
    NET_TX_PEER_FULL,  /* whoever it is for does not keep up */
    NET_TX_REFUSED,    /* by the kernel or a library */
    NET_RX_FRAMES,     /* offered by the back-end */
    NET_RECEIVED,      /* in the guest's memory */
    NET_RECEIVED_BYTES,
    NET_RX_LINK_DOWN,
    NET_RX_FILTERED,   /* the guest did not want it: its receive filter */
    NET_RX_TOO_LONG,   /* for the buffers the guest posts */
    NET_RX_NO_BUFFER,  /* the guest posted none in time, and the back-end cannot wait */
    NET_RX_BAD_FRAME,  /* too short, or not what its header says */
    NET_CHECKSUMMED,   /* frames checksummed for a guest that cannot; once for each segment */
    NET_SEGMENTED,     /* large frames cut for a guest that cannot take them */
    NET_CAPTURE_MISSED,
    NET_COUNTERS,
};

enum net_event { NET_EVENT_LINK_UP, NET_EVENT_LINK_DOWN, NET_EVENTS };

struct net;
struct backend_ops;

/* One receive queue and one transmit queue. */
struct pair {
    struct net *net;
    uint32_t index;
    uint32_t rx_queue, tx_queue;
    void *backend;          /* the back-end's own for this pair */
    bool rx_running, tx_running;
    struct hvv_task wake;   /* receive() once, from elsewhere */
    atomic_flag wake_posted;

    /* tx.c */
    bool blocked;           /* the back-end was full: wait for tx_resume() */
    bool captured;          /* the frame it did not take is in the capture already */
    bool more_posted;
    struct hvv_task more;   /* goes on after a full budget */
    uint64_t host_offloads; /* what headers of the guest may ask for */

    /* rx.c */
    bool mergeable;         /* VIRTIO_NET_F_MRG_RXBUF: a frame may fill several buffers */
    uint32_t first, n;      /* of the stash in use: a ring, oldest first */
    struct hvv_chain *stash[NET_STASH];
    struct iovec *room;     /* NET_IOV_MAX of them: what rx_space() gave out last */
    uint32_t n_room;
    uint8_t *scratch;       /* FRAME_MAX bytes, for frames that are changed on their way */

    uint64_t tally[NET_COUNTERS]; /* counted since the last net_tell() */
} __attribute__((aligned(64)));

struct net {
    struct hvv_device *dev;
    const struct backend_ops *backend;
    void *backend_state;
    uint32_t n_pairs;
    uint32_t mtu;           /* 0: not told to the guest */
    bool merge;             /* MRG_RXBUF is offered */
    uint64_t offloads;      /* bits of NET_HOST_OFFLOADS and NET_GUEST_OFFLOADS that are offered */
    uint8_t mac[6];         /* as created; the guest's choice is in the filter */

    const char *name;       /* of the tap or the switch; the host's */

    _Atomic bool link;      /* is up */
    _Atomic uint32_t receiving;      /* a bit for each pair whose receive queue runs */
    _Atomic uint32_t active_pairs;   /* the guest asked for; the first ones */
    _Atomic uint64_t guest_offloads; /* of NET_GUEST_OFFLOADS: what may be given to the guest */
    pthread_mutex_t lock;   /* of the two below */
    bool fresh;             /* no queue was started since the reset */
    uint16_t status;        /* of the config space */
    struct filter filter;
    struct capture capture;
    struct pair pair[];
};

static inline struct net *net_of(struct hvv_device *dev)
{
    return dev->state;
}

/* Counts on the pair's worker. net_tell() passes on what was counted, once for many frames. */
static inline void net_count(struct pair *pair, enum net_counter counter, uint64_t n)
{
    pair->tally[counter] += n;
}
void net_tell(struct pair *pair);

/* Adds a frame to the capture, if there is one. On the pair's worker. */
void net_capture(struct pair *pair, const struct frame *frame);

/* The pair at which frames of a flow arrive: any hash will do. NULL if none receives. Thread: any. */
struct pair *net_pair_for(struct net *net, uint32_t hash);

/* Lets the back-end's receive() run on the pair's worker. Thread: any worker of the device. */
void net_wake(struct pair *pair);

/* Sets bits of the status field in the config space, clears others, tells the driver. Thread: any. */
void net_set_status(struct net *net, uint16_t set, uint16_t clear);

#endif
