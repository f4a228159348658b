/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory regions; see guestmem.h for who owns them and what may run at the same time.
 */
#include "guestmem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void guestmem_init(struct guestmem *mem)
{
    memset(mem, 0, sizeof(*mem));
    for (unsigned int i = 0; i < GUESTMEM_REGIONS_MAX; i++)
        mem->region[i].fd = -1;
}

void guestmem_free(struct guestmem *mem)
{
    for (unsigned int i = 0; i < GUESTMEM_REGIONS_MAX; i++)
        guestmem_drop(mem, i);
}

static int free_slot(const struct guestmem *mem)
{
    for (unsigned int i = 0; i < GUESTMEM_REGIONS_MAX; i++) {
        if (mem->region[i].fd < 0)
            return (int)i;
    }
    return -ENOSPC;
}

static int make_file(const struct guestmem_spec *spec)
{
    int fd, err;

    if (spec->fd)
        return fcntl(spec->fd, F_DUPFD_CLOEXEC, 0);
    fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)(spec->offset + spec->size)) == 0)
        return fd;
    err = errno;
    close(fd);
    errno = err;
    return -1;
}

int guestmem_add(struct guestmem *mem, const struct guestmem_spec *spec)
{
    int index = free_slot(mem);
    int err;
    int fd;
    void *map;

    if (index < 0)
        return index;
    fd = make_file(spec);
    if (fd < 0)
        return -errno;
    map = mmap(NULL, spec->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)spec->offset);
    if (map == MAP_FAILED)
        goto close_fd;
    mem->region[index] = (struct guestmem_region){ .at = *spec, .fd = fd, .map = map };
    if (!spec->uva)
        mem->region[index].at.uva = (uint64_t)(uintptr_t)map;
    return index;

close_fd:
    err = -errno;
    close(fd);
    return err;
}

void guestmem_drop(struct guestmem *mem, unsigned int index)
{
    struct guestmem_region *region = &mem->region[index];

    if (region->fd < 0)
        return;
    munmap(region->map, region->at.size);
    close(region->fd);
    memset(region, 0, sizeof(*region));
    region->fd = -1;
}

void *guestmem_alloc(struct guestmem *mem, unsigned int index, size_t size, size_t align)
{
    struct guestmem_region *region = &mem->region[index];
    uint64_t start = (region->taken + align - 1) & ~((uint64_t)align - 1);

    if (region->fd < 0 || start > region->at.size || size > region->at.size - start)
        return NULL;
    region->taken = start + size;
    memset(region->map + start, 0, size);
    return region->map + start;
}

static const struct guestmem_region *region_of(const struct guestmem *mem, const void *ptr)
{
    uintptr_t at = (uintptr_t)ptr;

    for (unsigned int i = 0; i < GUESTMEM_REGIONS_MAX; i++) {
        const struct guestmem_region *region = &mem->region[i];
        uintptr_t base = (uintptr_t)region->map;

        if (region->fd >= 0 && at >= base && at - base < region->at.size)
            return region;
    }
    return NULL;
}

uint64_t guestmem_gpa(const struct guestmem *mem, const void *ptr)
{
    const struct guestmem_region *region = region_of(mem, ptr);

    if (!region)
        return UINT64_MAX;
    return region->at.gpa + ((uintptr_t)ptr - (uintptr_t)region->map);
}

uint64_t guestmem_uva(const struct guestmem *mem, const void *ptr)
{
    const struct guestmem_region *region = region_of(mem, ptr);

    if (!region)
        return UINT64_MAX;
    return region->at.uva + ((uintptr_t)ptr - (uintptr_t)region->map);
}
