/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config-space.c - readers and writers of a config space at the same time. Each write makes all
 * bytes the same: a reader that sees two values, or a generation that goes back, or two values of
 * one generation, has found a torn read.
 */
#include "device/config-space.h"

#include "inproc.h"

#include <poll.h>

#define READERS 3
#define WRITERS 2
#define BYTES 256u

static struct config_space space;
static atomic_bool over;
static atomic_ulong reads, writes;

static void *read_all(void *arg)
{
    uint8_t bytes[BYTES], last = 0;
    uint32_t before = 0;
    (void)arg;
    while (!atomic_load(&over)) {
        uint32_t generation = config_space_read(&space, 0, bytes, sizeof(bytes));
        for (uint32_t i = 1; i < BYTES; i++)
            must(bytes[i] == bytes[0], "byte %u is %u, the first is %u", i, bytes[i], bytes[0]);
        must(generation >= before, "generation %u after %u", generation, before);
        must(generation != before || !before || bytes[0] == last, "generation %u has two values",
             generation);
        before = generation;
        last = bytes[0];
        atomic_fetch_add(&reads, 1);
    }
    return NULL;
}

static void *write_all(void *arg)
{
    uint8_t bytes[BYTES];
    for (unsigned i = (unsigned)(uintptr_t)arg; !atomic_load(&over); i += WRITERS) {
        memset(bytes, (int)i, sizeof(bytes));
        must(config_space_write(&space, 0, bytes, sizeof(bytes), false) == 0, "refused");
        atomic_fetch_add(&writes, 1);
    }
    return NULL;
}

int main(void)
{
    static const uint8_t zero[BYTES];
    pthread_t threads[READERS + WRITERS];
    inproc_test_begin("config-space-readers-vs-writers");
    config_space_init(&space);
    must(config_space_write(&space, 0, zero, BYTES, true) == 0, "refused");
    for (uintptr_t i = 0; i < READERS + WRITERS; i++)
        must(pthread_create(&threads[i], NULL, i < READERS ? read_all : write_all, (void *)i) == 0,
             "no thread");
    while (inproc_go_on(atomic_load(&reads) > 1000 && atomic_load(&writes) > 1000))
        poll(NULL, 0, 50); /* the time is all that is waited for */
    atomic_store(&over, true);
    for (unsigned i = 0; i < READERS + WRITERS; i++)
        pthread_join(threads[i], NULL);
    config_space_destroy(&space);
    printf("ok %s\n", inproc_test);
    return 0;
}
