/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory.h - a guest's memory: regions mapped into this process, and tables of them.
 *
 * A region is one mapping. A `struct memory` is an immutable table of regions, a snapshot: a change
 * of the guest's memory map makes a new one. Both are counted; a queue holds the snapshot its
 * chains were made with until the last of them is finished, so a region is unmapped only when
 * nothing can touch it. All functions may be called from any thread.
 */
#ifndef HOST_MEMORY_MEMORY_H
#define HOST_MEMORY_MEMORY_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define MEMORY_REGIONS_MAX 64u /* of one guest */

struct region;
struct memory;

/*
 * Maps `size` bytes at `offset` of file `fd` (which stays the caller's). A file too short for that
 * is refused: touching the missing part would be a SIGBUS. NULL with error set.
 */
struct region *region_map(int fd, uint64_t offset, uint64_t size, struct error *error);
struct region *region_get(struct region *region);
void region_put(struct region *region); /* NULL is fine */

struct memory_entry {
    uint64_t gpa;  /* guest physical address */
    uint64_t size;
    uint64_t uva;  /* address the front-end uses for the same byte (vhost-user), else = gpa */
    struct region *region;
};

/*
 * A snapshot of `n` entries in any order, each reference borrowed (the snapshot takes its own).
 * Refused: none or too many, size 0, ranges that wrap or overlap. NULL with error set.
 */
struct memory *memory_new(const struct memory_entry *entries, size_t n, struct error *error);
struct memory *memory_get(struct memory *memory);
void memory_put(struct memory *memory); /* NULL is fine */

/* The entries, sorted by guest address. */
const struct memory_entry *memory_entries(const struct memory *memory, size_t *n);

/*
 * Writes to `iov` the pieces of this process's memory behind [gpa, gpa + size). One piece per
 * region crossed. Returns how many, -EFAULT if not all of it is guest memory, or -ENOSPC if `max`
 * is too small. size 0 gives 0.
 */
int memory_translate(const struct memory *memory, uint64_t gpa, uint64_t size, struct iovec *iov,
                     unsigned max);

/* The same as one pointer, or NULL if it is not all there or not in one piece. */
void *memory_pointer(const struct memory *memory, uint64_t gpa, uint64_t size);

/* The guest address of a front-end address. False if no region has it. */
bool memory_from_uva(const struct memory *memory, uint64_t uva, uint64_t *gpa);

/* True once a page of a region was lost (see sigbus.h): whoever maps it is no longer served. */
bool memory_lost(const struct memory *memory);

#endif
