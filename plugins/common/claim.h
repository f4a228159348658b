/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * claim.h - owning a path, as the host does for its sockets: who holds the flock on PATH.lock owns
 * PATH. The lock ends with its process, so what a crash left behind is cleared away by the next
 * owner. Thread: builder.
 */
#ifndef PLUGINS_COMMON_CLAIM_H
#define PLUGINS_COMMON_CLAIM_H

#include <hvv/plugin.h>

#define CLAIM_PATH_MAX 4000u /* bytes; with a suffix it is a path still */

/*
 * `option` names the path in errors. Returns the descriptor that holds the lock, or a negative errno
 * after hvv_error_option().
 */
int claim_take(struct hvv_device *dev, const char *option, const char *path);

/* Whatever is at `path` is not touched. */
void claim_drop(int lock_fd, const char *path);

#endif
