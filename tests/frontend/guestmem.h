/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of a pretended guest: a few memfd regions, each with a guest physical address, a
 * user address as the peer is told (on purpose not the same thing), and a file offset.
 * Owned by the test that made it; not locked: one thread adds and drops regions, while any
 * thread may translate addresses of regions that stay. No order with the transport: what is
 * here is only told to a peer by vhost-user.c.
 */
#ifndef FRONTEND_GUESTMEM_H
#define FRONTEND_GUESTMEM_H

#include <stddef.h>
#include <stdint.h>

#define GUESTMEM_REGIONS_MAX 32u
/* A user address with no mapping behind it, so that a peer which dereferences it dies. */
#define GUESTMEM_FAKE_UVA 0x510000000000ull

struct guestmem_spec {
    uint64_t size;
    uint64_t gpa;
    uint64_t uva; /* 0: the address this process maps it at */
    uint64_t offset; /* where in the file the region starts; whole pages */
    int fd; /* a file that is large enough, which stays the caller's; 0: one of its own */
};

struct guestmem_region {
    struct guestmem_spec at;
    int fd; /* -1: free slot */
    uint8_t *map;
    uint64_t taken; /* bump allocator; what is allocated is given back with the region only */
};

struct guestmem {
    struct guestmem_region region[GUESTMEM_REGIONS_MAX];
};

void guestmem_init(struct guestmem *mem);
void guestmem_free(struct guestmem *mem);

/* Returns the region's index or -errno. */
int guestmem_add(struct guestmem *mem, const struct guestmem_spec *spec);
void guestmem_drop(struct guestmem *mem, unsigned int index);

/* Zeroed memory in one region, or NULL when it is full. `align` is a power of two. */
void *guestmem_alloc(struct guestmem *mem, unsigned int index, size_t size, size_t align);

/* Both return UINT64_MAX for an address in no region. */
uint64_t guestmem_gpa(const struct guestmem *mem, const void *ptr);
uint64_t guestmem_uva(const struct guestmem *mem, const void *ptr);

#endif
