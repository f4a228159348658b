/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hostile.h - one daemon, a disk under attack, and a neighbour that must not notice.
 *
 *     hostile.c     the world: daemon, neighbour, row runner, what is checked after every row
 *     churn.c       verified I/O from a thread of its own, with latencies: the neighbour's and ours
 *     evil.c        tools of the rows: raw descriptors and messages, what a broken device shows
 *     row-ring.c    rings and descriptors         row-handshake.c  the way to a running ring
 *     row-memory.c  guest memory                  row-message.c    the message stream
 *     row-host.c    floods, removal, plugins,     row-number.c     numbers in messages
 *                   images                        row-signal.c     kick, call, error descriptors
 *
 * Rows are named after the class of attack they belong to (c01 to c31, a numbering of published
 * flaws of virtio back-ends). They run on the main thread, against each kind of disk they name, all
 * in one daemon with one worker, so that a neighbour shares everything with the victim.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "blkdev.h"
#include "clock.h"
#include "daemon.h"
#include "report.h"
#include "snapshot.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define DISK_BYTES (64ull << 20)
#define WAIT_MS 10000
#define NEEDS_RESET 0x40

/* Kinds of disk a row runs on. */
enum { ON_FILE = 1, ON_MEM = 2, ON_NULL = 4, ON_DIRECT = 8, ON_SHM = 16, KINDS = 5 };
#define ON_EACH (ON_FILE | ON_MEM | ON_NULL)
#define ON_DATA (ON_FILE | ON_MEM | ON_DIRECT | ON_SHM) /* those that touch the data */

/* ---- churn.c --------------------------------------------------------------------------------- */

struct churn {
    struct blkdev *dev;
    pthread_t thread;
    bool running;
    bool verify;
    bool tolerant;               /* errors and hang-ups end it quietly */
    unsigned queue;
    unsigned pause_ms;           /* between rounds */
    _Atomic bool stop, ended;    /* ended: by itself, after a failure */
    _Atomic uint64_t done;
    _Atomic uint64_t worst_ns;   /* latency since it was last set to 0 */
    _Atomic uint64_t started_ns; /* of the round under way, 0 between rounds */
};

bool churn_start(struct churn *c, struct blkdev *dev);
void churn_stop(struct churn *c);
bool churn_flows(struct churn *c, uint64_t more);
/* The worst latency, requests that are still under way included. */
uint64_t churn_worst_ns(struct churn *c);

/* ---- the world ------------------------------------------------------------------------------- */

struct world {
    struct daemon d;
    bool all, sanitized;
    struct client events;
    struct blkdev b;
    struct churn neighbour;
    struct snapshot base;
    long log_at;
    unsigned bound_ms;           /* on latencies of the neighbour and of device.list */
    /* pinger */
    struct client ping;
    pthread_t ping_thread;
    bool pinging;
    _Atomic bool ping_stop;
    _Atomic uint64_t ping_worst_ns, ping_started_ns;
    /* the row */
    const char *id;              /* of the disk under attack */
    unsigned kind;
    struct blkdev a;             /* closed by the runner */
    struct churn churn;          /* stopped by the runner */
    const void *arg;
    void (*undo)(void *arg);     /* run by the runner however the row ended */
    void *undo_arg;
};

struct evil_row {
    const char *name;
    void (*run)(struct world *w);
    unsigned on;                 /* kinds of disk; 0: one run, on file */
    const void *arg;
};

extern const struct evil_row ring_rows[], handshake_rows[], message_rows[], number_rows[],
    memory_rows[], signal_rows[], host_rows[];

/* ---- evil.c ---------------------------------------------------------------------------------- */

/* Connects to the disk under attack; options may be NULL (event index and indirect are on then). */
bool evil_open(struct world *w, const struct blkdev_options *options);
void evil_close(struct world *w);
bool evil_connect(struct world *w, struct fe *fe);
/* One verified write and read, or only their status on a disk without memory. */
bool evil_works(struct world *w, struct blkdev *dev);
/* The disk resets, rings start afresh, I/O works. */
bool evil_reset(struct world *w, struct blkdev *dev);
/* A well-formed front-end comes, works and leaves. */
bool evil_visit(struct world *w);
/* Waits until no front-end is connected to the disk. */
bool evil_gone(struct world *w);

struct buffers {
    uint64_t header, data, status; /* guest addresses */
    struct blk_request *req;
};
struct buffers evil_buffers(struct blkdev *dev, uint32_t type, uint64_t sector);
void evil_desc(struct blkdev *dev, unsigned i, uint64_t gpa, uint32_t len, unsigned bits,
               unsigned next);
void evil_offer(struct blkdev *dev, unsigned head);
void evil_avail(struct blkdev *dev, uint16_t idx); /* the index itself */
bool evil_kick(struct blkdev *dev);

/* An event of the disk under attack whose reason has all of `parts` ('|' between). */
bool evil_event(struct world *w, const char *event, const char *parts);
/*
 * The device is broken, for a reason that has `parts`: event, error descriptor, DEVICE_NEEDS_RESET;
 * the used index is still `used`, and the used ring was not written behind it, also after the
 * neighbour was served again. *ns (or NULL): how long that took from `since`.
 */
bool evil_broken(struct world *w, struct blkdev *dev, const char *parts, uint16_t used,
                 uint64_t since, uint64_t *ns);
/* Nothing was completed: the used index is `used`, no entry of the used ring behind it written. */
bool evil_untouched(const struct blkdev *dev, uint16_t used);
/* Waits until the used index is `idx`. */
bool evil_used(struct blkdev *dev, uint16_t idx);
/* True if the request was refused and the connection lives on. */
bool evil_refused(struct fe *fe, int err, const char *what);
bool evil_hung_up(struct fe *fe, const char *what);
/* Adds a region of `bytes` behind the others; index or -1 after failing the row. */
int evil_region(struct blkdev *dev, uint64_t gpa, uint64_t bytes);
bool evil_has(const char *text, const char *parts);
/* Requests that read or write `len` bytes in a region, `n` of them, submitted. */
bool evil_burst(struct blkdev *dev, unsigned n, uint32_t type, const struct ring_seg *seg,
                uint32_t len);

/* Flags of a message, and of one that has to be answered. */
#define SAY VHU_FLAG_VERSION
#define ASK (VHU_FLAG_VERSION | VHU_FLAG_NEED_REPLY)
/* The protocol features that rows about messages ask for. */
#define EVIL_PROTO                                                                                 \
    (FE_BIT(VHU_PF_MQ) | FE_BIT(VHU_PF_REPLY_ACK) | FE_BIT(VHU_PF_BACKEND_REQ) |                   \
     FE_BIT(VHU_PF_CONFIG) | FE_BIT(VHU_PF_RESET_DEVICE) | FE_BIT(VHU_PF_CONFIGURE_MEM_SLOTS) |    \
     FE_BIT(VHU_PF_STATUS))
/* The bytes that a request has, or the least of them. */
uint32_t evil_usual_size(uint32_t request);
/* Connected, with these protocol features and no ring. */
bool evil_connect_speaking(struct world *w, struct fe *fe);

#define GPA_FAR (BLKDEV_GPA + (1ull << 34))

#endif
