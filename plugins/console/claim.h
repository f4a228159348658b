/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * claim.h - owning a path, as the host does for its sockets: who holds the flock on PATH.lock owns
 * PATH. The lock ends with its process, so what a crash left behind is cleared away by the next
 * owner. Thread: builder.
 */
#ifndef CONSOLE_CLAIM_H
#define CONSOLE_CLAIM_H

#include "port.h"

#define CLAIM_PATH_MAX 4000u /* bytes; with a suffix it is a path still */

/* Returns the descriptor that holds the lock, or a negative errno after hvv_error_option(). */
int claim_take(const struct port *port, const char *path);
/* Whatever is at `path` is not touched. */
void claim_drop(int lock_fd, const char *path);

#endif
