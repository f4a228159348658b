/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vhost-blk-check: what its row files share. One thread; each row opens a connection of its own
 * and leaves none behind, so that rows can be read, run and moved one by one.
 */
#ifndef FRONTEND_CHECK_H
#define FRONTEND_CHECK_H

#include <stdbool.h>

#include "blkdev.h"

enum verdict { PASS, FAIL, SKIP };

struct check {
    const char *path;
    const char *resize_command;
    bool well_formed;
    bool read_only;
    uint64_t offered; /* virtio features */
    uint64_t proto_offered;
    char reason[320];
};

struct row {
    const char *name;
    enum verdict (*run)(struct check *c, struct blkdev *dev, const struct row *row);
    struct blkdev_options opt; /* the runner adds the socket's path */
    long arg;
    bool writes; /* skipped on a read-only disk */
    bool bare; /* the row opens the device itself */
    bool strict; /* more than known back-ends promise; left out by --well-formed */
};

/* Each ends with a row without a name. */
extern const struct row protocol_rows[];
extern const struct row ring_rows[];
extern const struct row disk_rows[];
extern const struct row life_rows[];

__attribute__((format(printf, 2, 3))) enum verdict check_fail(struct check *c,
                                                              const char *format, ...);
__attribute__((format(printf, 2, 3))) enum verdict check_skip(struct check *c,
                                                              const char *format, ...);
/* PASS for 0; SKIP for what is not offered; else FAIL with the connection's sentence. */
enum verdict check_err(struct check *c, const struct blkdev *dev, int err);
/* PASS for status `want`, else FAIL naming `what`. Takes what the blk_ helpers return. */
enum verdict check_status(struct check *c, const char *what, int got, int want);

/* A run of verified requests on one queue: each slot writes a place of its own and reads it. */
struct churn {
    unsigned int queue;
    unsigned int requests; /* 0: 500 */
    uint32_t len; /* 0: 4096 */
    uint64_t sector; /* where on the disk the first slot's place is */
    unsigned int layout;
    unsigned int pieces;
    unsigned int depth; /* 0: all slots */
};

enum verdict check_churn(struct check *c, struct blkdev *dev, const struct churn *spec);
/* The same with nothing special about it, on each queue of the device. */
enum verdict check_works(struct check *c, struct blkdev *dev);

#endif
