/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory.c - the guest's memory, maps of it, and state that devices share.
 *
 * The memory is one file that is mapped twice: once for the test, once for the plugin. Moving it
 * maps it for the plugin a third time and then takes the second away. Test's thread.
 */
#include "own.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY_SIZE (1ull << 30)
#define ALIGNMENT 4096u

struct hvvh_map {
    struct hvv_map pub; /* first */
    struct hvvh_map *next;
    bool old; /* made before the memory moved */
    struct iovec iov[];
};

static char *map_memory(int fd)
{
    void *at = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (at == MAP_FAILED)
        hvvh_misuse("out of address space");
    return at;
}

static void need_memory(struct hvv_harness *h)
{
    struct hvv_harness_own *own = h->own;
    if (own->memory)
        return;
    own->memory_fd = memfd_create("hvv-harness", MFD_CLOEXEC);
    if (own->memory_fd < 0 || ftruncate(own->memory_fd, MEMORY_SIZE) < 0)
        hvvh_misuse("no memory for a guest: %s", strerror(errno));
    own->memory = map_memory(own->memory_fd);
    own->seen = map_memory(own->memory_fd);
}

void *hvvh_translate(struct hvv_harness *h, void *at)
{
    struct hvv_harness_own *own = h->own;
    uintptr_t offset = (uintptr_t)at - (uintptr_t)own->memory;
    return own->memory && offset < MEMORY_SIZE ? own->seen + offset : at;
}

void *hvv_harness_alloc(struct hvv_harness *h, size_t size)
{
    need_memory(h);
    size_t at = h->own->memory_used;
    if (size > MEMORY_SIZE - at)
        hvvh_misuse("hvv_harness_alloc(): the guest has 1 GiB, %zu bytes are taken", at);
    h->own->memory_used = (at + size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return h->own->memory + at;
}

uint64_t hvv_harness_address(struct hvv_harness *h, const void *memory)
{
    uintptr_t offset = (uintptr_t)memory - (uintptr_t)h->own->memory;
    if (!h->own->memory || offset >= MEMORY_SIZE)
        hvvh_misuse("hvv_harness_address(): not from hvv_harness_alloc()");
    return HVV_HARNESS_ADDRESS + offset;
}

/* ---- Services: maps -------------------------------------------------------------------------- */

static bool is_memory(const struct hvv_harness *h, const struct hvv_range *range)
{
    uint64_t offset = range->address - HVV_HARNESS_ADDRESS;
    return h->own->memory && offset < MEMORY_SIZE && range->size > 0 &&
           range->size <= UINT32_MAX && range->size <= MEMORY_SIZE - offset;
}

/* 0, or the errno that says why not. */
static int check_ranges(struct hvv_harness *h, const struct hvv_range *ranges, uint32_t n)
{
    if (hvvh_fails(h, HVV_HARNESS_MEM_MAP) || n == 0 || !h->own->queue[0].running)
        return EFAULT;
    if (n > HVV_MAP_PIECES_MAX - h->own->n_map_pieces)
        return ENOSPC;
    for (uint32_t i = 0; i < n; i++)
        if (!is_memory(h, &ranges[i]))
            return EFAULT;
    return 0;
}

static const struct hvv_map *mem_map(struct hvv_device *dev, const struct hvv_range *ranges,
                                     uint32_t n, uint32_t access)
{
    (void)access; /* all of it is readable and writable */
    struct hvv_harness *h = hvvh_of(dev);
    hvvh_check_worker(h, "mem_map", 0, false, false);
    errno = check_ranges(h, ranges, n);
    if (errno)
        return NULL;
    struct hvvh_map *map = malloc(sizeof(*map) + n * sizeof(map->iov[0]));
    if (!map)
        return NULL;
    map->pub.size = sizeof(map->pub);
    map->pub.n_iov = n;
    map->pub.iov = map->iov;
    map->old = false;
    for (uint32_t i = 0; i < n; i++) {
        map->iov[i].iov_base = h->own->seen + (ranges[i].address - HVV_HARNESS_ADDRESS);
        map->iov[i].iov_len = (size_t)ranges[i].size;
    }
    map->next = h->own->maps;
    h->own->maps = map;
    h->own->n_map_pieces += n;
    return &map->pub;
}

static void mem_unmap(struct hvv_device *dev, const struct hvv_map *mapped)
{
    struct hvv_harness *h = hvvh_of(dev);
    hvvh_check_worker(h, "mem_unmap", 0, false, false);
    struct hvvh_map **at = &h->own->maps;
    while (*at && &(*at)->pub != mapped)
        at = &(*at)->next;
    struct hvvh_map *map = *at;
    if (!map) {
        hvvh_violation(h, "map-twice", "hvv_mem_unmap() on a map that is none, or no more");
        return;
    }
    *at = map->next;
    h->own->n_map_pieces -= map->pub.n_iov;
    free(map);
    hvvh_drop_old_memory(h);
}

void hvvh_unmap_all(struct hvv_harness *h)
{
    while (h->own->maps) {
        struct hvvh_map *next = h->own->maps->next;
        free(h->own->maps);
        h->own->maps = next;
    }
    h->own->n_map_pieces = 0;
}

/* ---- Moving ---------------------------------------------------------------------------------- */

void hvvh_drop_old_memory(struct hvv_harness *h)
{
    struct hvv_harness_own *own = h->own;
    hvvh_lock(h);
    bool used = own->epoch_in_flight > 0;
    hvvh_unlock(h);
    for (struct hvvh_map *map = own->maps; map; map = map->next)
        used = used || map->old;
    if (own->old && !used) {
        munmap(own->old, MEMORY_SIZE);
        own->old = NULL;
    }
}

static bool moved(void *arg)
{
    struct hvv_harness *h = arg;
    hvvh_lock(h);
    bool done = h->own->epoch_in_flight == 0;
    hvvh_unlock(h);
    return done;
}

static void mark_old(struct hvv_harness *h)
{
    hvvh_lock(h);
    for (struct hvv_harness_chain *chain = h->own->all; chain; chain = chain->next_all) {
        chain->old = chain->popped && !chain->done;
        h->own->epoch_in_flight += chain->old;
    }
    hvvh_unlock(h);
    for (struct hvvh_map *map = h->own->maps; map; map = map->next)
        map->old = true;
}

static void tell(struct hvv_harness *h, uint32_t queue)
{
    struct hvvh_entry entry = hvvh_enter(h, "memory_changed", queue);
    if (h->plugin->ops->memory_changed)
        h->plugin->ops->memory_changed(&h->dev, queue);
    hvvh_leave(h, entry);
}

bool hvv_harness_move_memory(struct hvv_harness *h)
{
    struct hvv_harness_own *own = h->own;
    need_memory(h);
    if (own->old)
        hvvh_misuse("hvv_harness_move_memory() before the last one was over: a map is left");
    own->old = own->seen;
    own->seen = map_memory(own->memory_fd);
    mark_old(h);
    for (uint32_t i = 0; i < h->n_queues; i++)
        if (own->queue[i].running)
            tell(h, i);
    tell(h, HVV_NO_QUEUE);
    bool done = hvv_harness_run_until(h, moved, h);
    if (!done)
        hvvh_violation(h, "chain-never", "%u chains of before memory_changed() are still there",
                       (unsigned)own->epoch_in_flight);
    hvvh_drop_old_memory(h);
    for (uint32_t i = 0; i < h->n_queues; i++)
        hvv_harness_kick(h, i);
    return done;
}

void hvvh_memory_free(struct hvv_harness *h)
{
    struct hvv_harness_own *own = h->own;
    if (own->old)
        munmap(own->old, MEMORY_SIZE);
    if (own->memory) {
        munmap(own->memory, MEMORY_SIZE);
        munmap(own->seen, MEMORY_SIZE);
        close(own->memory_fd);
    }
}

/* ---- Services: shared state ------------------------------------------------------------------ */

struct shared {
    struct shared *next;
    const struct hvv_plugin *plugin;
    char *name;
    uint64_t size;
    uint32_t users;
    void (*fini)(void *shared);
    alignas(16) char data[];
};

/* Of all harnesses of this process: their devices share it. Tests' threads are one. */
static struct shared *all_shared;

static struct shared *shared_new(struct hvv_harness *h, const char *name, uint64_t size,
                                 int32_t (*init)(void *shared, void *arg), void *arg)
{
    struct shared *s = calloc(1, sizeof(*s) + (size_t)size);
    if (!s || !(s->name = strdup(name)))
        hvvh_misuse("out of memory");
    int32_t rc = init ? init(s->data, arg) : 0;
    if (rc < 0) {
        free(s->name);
        free(s);
        errno = -rc;
        return NULL;
    }
    s->plugin = h->plugin;
    s->size = size;
    s->next = all_shared;
    all_shared = s;
    return s;
}

static void *shared_get(struct hvv_device *dev, const char *name, uint64_t size,
                        int32_t (*init)(void *shared, void *arg), void (*fini)(void *shared),
                        void *arg)
{
    struct hvv_harness *h = hvvh_of(dev);
    if (h->own->worker != HVVH_BUILDER || h->own->phase != HVVH_CREATING)
        hvvh_violation(h, "create-only", "hvv_shared_get() outside create()");
    if (hvvh_fails(h, HVV_HARNESS_SHARED_GET) || size > HVV_SHARED_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    struct shared *s = all_shared;
    while (s && (s->plugin != h->plugin || strcmp(s->name, name) != 0))
        s = s->next;
    if (s && s->size != size) {
        errno = EINVAL;
        return NULL;
    }
    if (!s && !(s = shared_new(h, name, size, init, arg)))
        return NULL;
    s->fini = fini;
    s->users++;
    h->own->n_shared++;
    return s->data;
}

static void shared_put(struct hvv_device *dev, void *data)
{
    struct hvv_harness *h = hvvh_of(dev);
    struct shared **at = &all_shared;
    while (*at && (*at)->data != data)
        at = &(*at)->next;
    struct shared *s = *at;
    if (!s || h->own->n_shared == 0) {
        hvvh_violation(h, "shared-twice", "hvv_shared_put() on a state that this device does not "
                       "have");
        return;
    }
    h->own->n_shared--;
    if (--s->users > 0)
        return;
    *at = s->next;
    if (s->fini)
        s->fini(s->data);
    free(s->name);
    free(s);
}

void hvvh_services_memory(struct hvv_host *host)
{
    host->mem_map = mem_map;
    host->mem_unmap = mem_unmap;
    host->shared_get = shared_get;
    host->shared_put = shared_put;
}
