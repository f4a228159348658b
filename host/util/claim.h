/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * claim.h - owning the path of a Unix socket.
 *
 * Who holds the flock on PATH.lock owns PATH; nobody ever connects to find out. A socket file found
 * at PATH by the owner of the lock is a left-over of a process that died, and is replaced. The lock
 * goes with its process, so a crash leaves only files that the next claim clears away.
 *
 * Any thread; each claim belongs to one thread at a time. PATH should be absolute: it is used again
 * to release the claim.
 */
#ifndef HOST_UTIL_CLAIM_H
#define HOST_UTIL_CLAIM_H

#include "util/error.h"

#include <sys/socket.h>
#include <sys/types.h>

#define CLAIM_PATH_MAX 107u /* bytes: what sun_path of a Unix socket holds, less the final zero */

/* Claimed if `path` is not NULL; zeroed otherwise. */
struct claim {
    int fd;      /* bound, not listening; may be watched, must not be closed by others */
    int lock_fd; /* holds the flock */
    char *path;
    dev_t dev;   /* of the socket file, to recognise it */
    ino_t ino;
};

/*
 * Binds a non-blocking socket of `type` (SOCK_STREAM, SOCK_SEQPACKET) to `path` with permissions
 * `mode`. It does not listen, so a connect is refused. 0, or -errno with error set and nothing left behind.
 */
int claim_socket(struct claim *c, const char *path, int type, mode_t mode, struct error *error);

/* Removes the socket file, if it is still ours, and the lock. Does nothing if not claimed. */
void claim_release(struct claim *c);

#endif
