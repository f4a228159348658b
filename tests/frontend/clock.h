/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Monotonic time for deadlines and latencies. Pure functions, any thread.
 */
#ifndef FRONTEND_CLOCK_H
#define FRONTEND_CLOCK_H

#include <stdint.h>
#include <time.h>

/*
 * How long a back-end may take before it counts as stuck. A flush waits for what all other programs
 * wrote to the disk, and a ring stops only when its last request is back.
 */
#define BACKEND_PATIENCE_MS 60000

static inline uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_deadline(int timeout_ms)
{
    return clock_ns() + (uint64_t)timeout_ms * 1000000u;
}

/* Milliseconds left for poll(), rounded up so that a wait never turns into a spin. */
static inline int clock_left_ms(uint64_t deadline)
{
    uint64_t now = clock_ns();

    return now >= deadline ? 0 : (int)((deadline - now + 999999u) / 1000000u);
}

#endif
