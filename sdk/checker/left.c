/* SPDX-License-Identifier: BSD-3-Clause */
/* left.c - what the process has, to see what a device leaves behind. Child. */
#include "check.h"

#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 3000u

/*
 * A block that was mapped by itself and freed once makes malloc() take the next one of that size from
 * its heap, which does not always become smaller again. Saying the limit, even the usual one, ends
 * that.
 */
void keep_no_heap(void)
{
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
}

static uint32_t entries(const char *path)
{
    uint32_t n = 0;
    DIR *dir = opendir(path);
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static uint64_t mapped(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%llu", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

struct has has_now(void)
{
    malloc_trim(0); /* what was freed is not what is left; see also keep_no_heap() */
    struct has has = {entries("/proc/self/fd"), entries("/proc/self/task"), mapped()};
    return has;
}

/* The kernel tells nobody when a thread that was joined is gone from the list. */
struct has has_after(const struct has *before)
{
    static uint32_t patience_ms = PATIENCE_MS;
    const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t deadline = clock_ns() + patience_ms * 1000000ull;
    struct has has = has_now();
    while (has.threads > before->threads && clock_ns() < deadline) {
        nanosleep(&pause, NULL);
        has = has_now();
    }
    if (has.threads > before->threads)
        patience_ms = PATIENCE_LOST_MS; /* they stay, it seems */
    return has;
}

void place_name(const void *at, char *text, size_t size)
{
    Dl_info info;
    if (!at || !dladdr(at, &info) || !info.dli_fname) {
        snprintf(text, size, "unknown code");
        return;
    }
    const char *slash = strrchr(info.dli_fname, '/');
    snprintf(text, size, "%s+0x%zx", slash ? slash + 1 : info.dli_fname,
             (size_t)((const char *)at - (const char *)info.dli_fbase));
}
