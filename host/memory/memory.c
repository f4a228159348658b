/* SPDX-License-Identifier: BSD-3-Clause */
/* memory.c - see memory.h. */
#include "memory/memory.h"

#include "memory/sigbus.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

struct region {
    atomic_uint refs;
    atomic_bool lost;
    int guard;
    void *map; /* what munmap() gets: starts up to a page before base */
    size_t map_size;
    char *base;
    uint64_t size;
};

struct memory {
    atomic_uint refs;
    size_t n;
    struct memory_entry entries[]; /* sorted by gpa */
};

/* Checks [offset, offset + size) against the file and finds the page size of its mappings. */
static int check_file(int fd, uint64_t offset, uint64_t size, size_t *page, struct error *error)
{
    struct stat st;
    struct statfs fs;
    if (size == 0 || size > SIZE_MAX / 2 || offset > INT64_MAX || size > INT64_MAX - offset)
        return error_set(error, EINVAL, "memory region of 0x%" PRIx64 " bytes at offset 0x%" PRIx64
                         " is empty or too large", size, offset);
    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return error_set(error, errno, "memory region's file cannot be examined: %s",
                         strerror(errno));
    if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
        return error_set(error, EINVAL, "memory region is not a file that can be mapped");
    if (S_ISREG(st.st_mode) && offset + size > (uint64_t)st.st_size)
        return error_set(error, EINVAL, "memory region ends at 0x%" PRIx64
                         " of a file of 0x%" PRIx64 " bytes", offset + size, (uint64_t)st.st_size);
    *page = (size_t)sysconf(_SC_PAGESIZE);
    if (fs.f_type == HUGETLBFS_MAGIC && fs.f_bsize > 0)
        *page = (size_t)fs.f_bsize;
    return 0;
}

struct region *region_map(int fd, uint64_t offset, uint64_t size, struct error *error)
{
    size_t page = 0; /* which not every gcc sees set by check_file() */
    if (check_file(fd, offset, size, &page, error) < 0)
        return NULL;
    struct region *region = calloc(1, sizeof(*region));
    if (!region) {
        error_set(error, ENOMEM, "out of memory for a memory region");
        return NULL;
    }
    uint64_t skip = offset & (page - 1);
    region->map_size = (size_t)((skip + size + page - 1) & ~(uint64_t)(page - 1));
    region->map = mmap(NULL, region->map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                       fd, (off_t)(offset - skip));
    if (region->map == MAP_FAILED) {
        error_set(error, errno, "memory region of 0x%" PRIx64 " bytes cannot be mapped: %s", size,
                  strerror(errno));
        goto free_region;
    }
    madvise(region->map, region->map_size, MADV_DONTDUMP);
    region->base = (char *)region->map + skip;
    region->size = size;
    atomic_init(&region->refs, 1);
    region->guard = sigbus_guard(region->map, region->map_size, page, &region->lost);
    if (region->guard < 0) {
        error_set(error, ENOSPC, "too many memory regions in this process");
        goto unmap;
    }
    return region;
unmap:
    munmap(region->map, region->map_size);
free_region:
    free(region);
    return NULL;
}

struct region *region_get(struct region *region)
{
    atomic_fetch_add_explicit(&region->refs, 1, memory_order_relaxed);
    return region;
}

void region_put(struct region *region)
{
    if (!region || atomic_fetch_sub_explicit(&region->refs, 1, memory_order_acq_rel) != 1)
        return;
    sigbus_unguard(region->guard);
    munmap(region->map, region->map_size);
    free(region);
}

static int compare_entries(const void *a, const void *b)
{
    const struct memory_entry *x = a, *y = b;
    return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

static int check_entries(const struct memory_entry *e, size_t n, struct error *error)
{
    for (size_t i = 0; i < n; i++) {
        if (e[i].size == 0 || e[i].size != e[i].region->size || e[i].gpa + e[i].size < e[i].gpa ||
            e[i].uva + e[i].size < e[i].uva)
            return error_set(error, EINVAL, "memory region at 0x%" PRIx64 " of 0x%" PRIx64
                             " bytes is empty or wraps around", e[i].gpa, e[i].size);
        if (i > 0 && e[i].gpa < e[i - 1].gpa + e[i - 1].size)
            return error_set(error, EINVAL, "memory regions at 0x%" PRIx64 " and 0x%" PRIx64
                             " overlap", e[i - 1].gpa, e[i].gpa);
    }
    return 0;
}

struct memory *memory_new(const struct memory_entry *entries, size_t n, struct error *error)
{
    if (n > MEMORY_REGIONS_MAX) {
        error_set(error, EINVAL, "%zu memory regions are more than %u", n, MEMORY_REGIONS_MAX);
        return NULL;
    }
    struct memory *memory = malloc(sizeof(*memory) + n * sizeof(memory->entries[0]));
    if (!memory) {
        error_set(error, ENOMEM, "out of memory for a memory table");
        return NULL;
    }
    atomic_init(&memory->refs, 1);
    memory->n = n;
    if (n)
        memcpy(memory->entries, entries, n * sizeof(entries[0]));
    qsort(memory->entries, n, sizeof(entries[0]), compare_entries);
    if (check_entries(memory->entries, n, error) < 0) {
        free(memory);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        region_get(memory->entries[i].region);
    return memory;
}

struct memory *memory_get(struct memory *memory)
{
    atomic_fetch_add_explicit(&memory->refs, 1, memory_order_relaxed);
    return memory;
}

void memory_put(struct memory *memory)
{
    if (!memory || atomic_fetch_sub_explicit(&memory->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < memory->n; i++)
        region_put(memory->entries[i].region);
    free(memory);
}

const struct memory_entry *memory_entries(const struct memory *memory, size_t *n)
{
    *n = memory->n;
    return memory->entries;
}

/* The entry that contains `gpa`, or NULL. */
static const struct memory_entry *find(const struct memory *memory, uint64_t gpa)
{
    size_t low = 0, high = memory->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct memory_entry *e = &memory->entries[mid];
        if (gpa < e->gpa)
            high = mid;
        else if (gpa - e->gpa >= e->size)
            low = mid + 1;
        else
            return e;
    }
    return NULL;
}

int memory_translate(const struct memory *memory, uint64_t gpa, uint64_t size, struct iovec *iov,
                     unsigned max)
{
    unsigned n = 0;
    const struct memory_entry *e = size ? find(memory, gpa) : NULL;
    while (size > 0) {
        /* A buffer may go on in the next region only where the guest's addresses do. */
        if (!e || e == memory->entries + memory->n || gpa < e->gpa)
            return -EFAULT;
        uint64_t skip = gpa - e->gpa;
        uint64_t len = e->size - skip < size ? e->size - skip : size;
        if (n == max)
            return -ENOSPC;
        iov[n].iov_base = e->region->base + skip;
        iov[n].iov_len = (size_t)len;
        n++;
        gpa += len; /* may wrap to 0 at the top, where there is no next entry */
        size -= len;
        e++;
    }
    return (int)n;
}

void *memory_pointer(const struct memory *memory, uint64_t gpa, uint64_t size)
{
    struct iovec iov;
    return memory_translate(memory, gpa, size, &iov, 1) == 1 ? iov.iov_base : NULL;
}

bool memory_from_uva(const struct memory *memory, uint64_t uva, uint64_t *gpa)
{
    for (size_t i = 0; i < memory->n; i++) {
        const struct memory_entry *e = &memory->entries[i];
        if (uva >= e->uva && uva - e->uva < e->size) {
            *gpa = e->gpa + (uva - e->uva);
            return true;
        }
    }
    return false;
}

bool memory_lost(const struct memory *memory)
{
    for (size_t i = 0; i < memory->n; i++)
        if (atomic_load_explicit(&memory->entries[i].region->lost, memory_order_relaxed))
            return true;
    return false;
}
