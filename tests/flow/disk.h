/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk.h - a front-end of tests/frontend on a device of a daemon under test, and traffic on it from
 * a thread of its own.
 *
 * While traffic runs, its thread alone uses the queue; the main thread may use the connection.
 */
#ifndef FLOW_DISK_H
#define FLOW_DISK_H

#include "blkdev.h"
#include "daemon.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Connects and starts the rings; options may be NULL, their path is filled in. */
bool disk_open(struct blkdev *dev, const struct daemon *d, const char *id,
               const struct blkdev_options *options);
/* One write and one read back, verified. */
bool disk_works(struct blkdev *dev, uint64_t seed);
/* Waits until the daemon has hung up. */
bool disk_hung_up(struct blkdev *dev, const char *when);

struct traffic {
    struct blkdev *dev;
    pthread_t thread;
    bool running;
    _Atomic bool stop;
    _Atomic uint64_t done;  /* requests */
    uint64_t longest_ns;    /* between two completions */
    unsigned wrong;         /* requests that failed */
    unsigned left;          /* in flight when the connection ended */
    unsigned half;          /* of those: with a status, so neither done nor untouched */
};

/*
 * Writes and reads 4 KiB here and there, several at a time, until told to stop or hung up. A row
 * that returns early has it ended for it, so `t` and `dev` outlive the row.
 */
bool traffic_start(struct traffic *t, struct blkdev *dev);
/* Waits until so many more requests are done. */
bool traffic_flows(struct traffic *t, uint64_t more);
/* Waits for what is in flight, if the daemon is still there. */
bool traffic_stop(struct traffic *t);

#endif
