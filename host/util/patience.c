/* SPDX-License-Identifier: BSD-3-Clause */
/* patience.c - see patience.h. */
#include "util/patience.h"

#include <stdlib.h>
#include <time.h>

#define TRIES 1000
#define PAUSE_NS 1000000

void *patient_realloc(void *ptr, size_t size)
{
    void *p;
    for (int i = 0; !(p = realloc(ptr, size)) && i < TRIES; i++) {
        struct timespec pause = {.tv_nsec = PAUSE_NS};
        nanosleep(&pause, NULL);
    }
    return p;
}

void *patient_malloc(size_t size)
{
    return patient_realloc(NULL, size ? size : 1);
}
