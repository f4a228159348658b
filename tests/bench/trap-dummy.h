/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trap-dummy.h - what a disk under load costs the machine, without the disk.
 *
 * Register accesses beside a disk under load are slower because two cores are shared, and perhaps
 * because the daemon makes them wait. To tell one from the other, the same accesses are measured
 * beside a dummy of the same weight, which goes round as the load does:
 *   - A process in place of the daemon's threads (all but the access thread, which is the same in
 *     both runs) sleeps until it is told to, reads the same image, 4 KiB at random by pread(2),
 *     until it has had as much CPU as those had for an interrupt, and tells the guest.
 *   - A thread in place of the guest's sleeps until it is told, makes as many register accesses (to
 *     a device without a driver, where they do nothing), uses as much CPU, and tells the process.
 * So each takes turns with the other as its original did, for as long, with as many sleeps, and
 * neither is pinned or has a priority. What is missing is what we want to see: everything the
 * worker shares with the access thread.
 */
#ifndef BENCH_TRAP_DUMMY_H
#define BENCH_TRAP_DUMMY_H

#include "trap-guest.h"

#include <pthread.h>

/* For each interrupt, as a run with a disk measured it. */
struct weight {
    double daemon_cpu; /* seconds */
    double guest_cpu;
    double kicks;
};

/* CPU seconds of the threads of the daemon, but for the access thread; below 0: no such process. */
double daemon_cpu(pid_t pid);

struct dummy {
    /* In */
    struct weight weight;
    const char *image;
    struct trap_guest *g;
    unsigned int slot; /* a device, for accesses */
    /* Out, after dummy_stop() */
    double turns;    /* in a second: as the interrupts of a disk */
    /* Its own */
    int work, done;  /* eventfds: the guest tells the process, and the other way round */
    pid_t pid;
    pthread_t thread;
    bool running;
    atomic_bool stop;
};

/* 0 or -errno; dummy_stop() follows in any case. */
int dummy_start(struct dummy *d);
void dummy_stop(struct dummy *d);

#endif
