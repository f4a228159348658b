/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mdisk.h - a virtio-blk device behind virtio-mmio, and verified traffic on it.
 *
 * As blkdev.h of tests/frontend, with registers instead of messages; the requests are those of
 * blk.h. One thread starts and stops it; a queue belongs to a load while that runs.
 */
#ifndef SIM_MDISK_H
#define SIM_MDISK_H

#include "blk.h"
#include "mmio-driver.h"

#include <pthread.h>
#include <stdatomic.h>

struct mdisk_options {
    unsigned int slot;
    uint32_t cpu;          /* offset to the guest's first */
    unsigned int queues;   /* 0: one */
    uint16_t num;          /* ring size; 0: 128 */
    unsigned int requests; /* per queue; 0: 32 */
    uint32_t capacity;     /* data bytes per request; 0: 4096 */
    unsigned int region;   /* of the guest's memory */
    bool indirect, event_idx, in_order, ring_reset;
};

struct mdisk {
    struct mdisk_options opt;
    struct mmio_dev mmio;
    struct ring ring[MMIO_QUEUES];
    struct blk_queue queue[MMIO_QUEUES];
    struct virtio_blk_config config;
    uint64_t sectors;
};

/* Takes the slot and memory; touches no register. 0 or -errno. */
int mdisk_init(struct mdisk *disk, struct guest *g, const struct mdisk_options *options);
void mdisk_free(struct mdisk *disk);

/* Probes, negotiates, gives it its queues, with nothing in flight. As mmio-driver.h. */
int mdisk_start(struct mdisk *disk);
int mdisk_stop(struct mdisk *disk);
/* One queue anew, after mmio_queue_reset() or mmio_queue_stop(). */
int mdisk_queue_again(struct mdisk *disk, unsigned int index);
const char *mdisk_why(const struct mdisk *disk, int err);

/* Writes and reads back 4 KiB. 0, -errno, a status of the device, -EILSEQ: other data. */
int mdisk_works(struct mdisk *disk, uint64_t sector, uint64_t seed);

/* ---- traffic --------------------------------------------------------------------------------- */

#define LOAD_DEPTH 64u

/*
 * Each of `depth` requests writes its own piece of the disk, reads it back, compares, and begins
 * again with other data.
 */
struct load {
    struct mdisk *disk;
    unsigned int queue;
    unsigned int depth;
    uint32_t bytes;       /* of a request; a multiple of 512 */
    uint64_t first;       /* sector */
    pthread_t thread;
    bool running;
    atomic_bool stop, abandon;
    atomic_uint_least64_t done; /* requests */
    atomic_bool failed;
    char why[160];
    uint64_t seed[LOAD_DEPTH];  /* of the latest write that was done */
    uint64_t longest_ns;  /* between two completions */
    unsigned int left;    /* in flight when it was abandoned */
};

/* The struct says what; running, done and so on are cleared. */
int load_start(struct load *l);
bool load_flows(struct load *l, uint64_t more, int timeout_ms);
/* Waits for what is in flight, or abandons it. False: see `why`. */
bool load_stop(struct load *l, bool abandon);
/* Whether the image holds what was last written. */
bool load_check_image(struct load *l, const char *path);

#endif
