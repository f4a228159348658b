/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock.h - keeps two writers off one image, in this daemon, in another one and in QEMU.
 */
#ifndef BLK_LOCK_H
#define BLK_LOCK_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Locks the image at `path`, open at `fd`, for writing unless `read_only`. Returns a descriptor
 * that holds the locks until it is closed; -EBUSY with *holder set to words that say who is in the
 * way; or another negative errno if locks do not work here.
 */
int lock_open(const char *path, int fd, bool read_only, const char **holder);

#endif
