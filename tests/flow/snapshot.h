/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * snapshot.h - what a daemon holds, as sorted lines of text, and how two such lists differ.
 *
 *     fd WHAT      an open descriptor; a Unix socket with its state and path
 *     task NAME    a thread, but for the kernel's io_uring workers, which leave when idle
 *     map WHAT     a mapping of a file; anonymous ones are counted, by size
 *     file NAME    an entry of its directory
 *
 * Numbers (of descriptors, addresses, inodes) are left out: they differ from run to run.
 */
#ifndef FLOW_SNAPSHOT_H
#define FLOW_SNAPSHOT_H

#include "daemon.h"

#include <stddef.h>

struct snapshot {
    char **lines;
    size_t n;
    size_t anonymous;     /* mappings */
    size_t anonymous_kib; /* writable ones; stacks and heaps among them */
};

bool snapshot_take(struct snapshot *s, const struct daemon *d);
void snapshot_free(struct snapshot *s);

/* What is new in `b` (+) and what is no longer there (-); returns how many lines that are. */
size_t snapshot_diff(const struct snapshot *a, const struct snapshot *b, char *text, size_t size);

/*
 * Waits until the daemon holds what it held before. Mappings of libraries that `also` (or NULL) has
 * may have come: code of a plugin that was accepted stays. Anonymous memory may be `slack_kib` more
 * than in the larger of the two: heaps and cached stacks vary.
 */
bool snapshot_returns(const struct daemon *d, const struct snapshot *before,
                      const struct snapshot *also, size_t slack_kib, const char *when);

#endif
