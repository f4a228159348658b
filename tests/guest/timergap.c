/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * timergap.c - in a guest: a task that wakes up every 10 ms for some seconds, and tells the longest
 * time between two of its turns. Whatever keeps the kernel from its work shows in it. One thread,
 * linked statically.
 * usage: timergap SECONDS
 */
#define _GNU_SOURCE

#include "io.h"

#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PERIOD_NS 10000000

int main(int argc, char **argv)
{
    const struct itimerspec every = {{0, PERIOD_NS}, {0, PERIOD_NS}};
    double seconds = argc == 2 ? strtod(argv[1], NULL) : 0, longest = 0;
    uint64_t fired, turns = 0;

    if (seconds <= 0)
        fail("usage: timergap SECONDS");
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (fd < 0 || timerfd_settime(fd, 0, &every, NULL) < 0)
        fail("no timer: %s", strerror(errno));
    double start = now(), last = start, t = start;
    while (t - start < seconds) {
        if (read(fd, &fired, sizeof(fired)) != sizeof(fired))
            fail("the timer cannot be read: %s", strerror(errno));
        t = now();
        if (t - last > longest)
            longest = t - last;
        last = t;
        turns++;
    }
    printf("timergap: %.0f ms at most in %llu turns\n", longest * 1000, (unsigned long long)turns);
    return 0;
}
