/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * image.h - the raw image of a file back-end: a regular file or a block device.
 *
 * Owned by the back-end; written by the builder thread, read by all.
 */
#ifndef BLK_IMAGE_H
#define BLK_IMAGE_H

#include "device.h"

struct image {
    int fd;
    int lock_fd;           /* holds the locks; -1 without */
    bool is_device;       /* a block device */
    bool is_memory;       /* lives in memory (tmpfs): plain I/O never waits for a disk */
    bool direct;
    uint32_t buffer_align; /* direct: of addresses and lengths in memory */
    uint32_t offset_align; /* direct: of offsets and lengths in the file; else BLK_SECTOR */
};

/*
 * Opens, checks, measures and locks what the options say, and fills in the disk's capacity and
 * sizes. Returns 0, or a negative errno after hvv_error_option() with nothing left acquired.
 * Thread: builder.
 */
int32_t image_open(struct image *image, struct blk *blk);
void image_close(struct image *image);

/* The size in bytes now, or a negative errno. Thread: any. */
int64_t image_size(const struct image *image);

#endif
