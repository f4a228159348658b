/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trap-guest.h - a guest of the simulated hypervisor for measuring, and its disk under load.
 *
 * It is as close to the guest of vhost-blk-load as a trapped one can be: one thread sends requests,
 * sleeps in poll() until it is interrupted, handles the interrupt itself and reaps. The interrupt
 * thread of sim.h, and that of guest.h, would each add a sleep that the other guest does not have,
 * and look every few milliseconds; so neither runs here.
 *
 * Zone 1; vCPU 0 drives the disk and takes interrupts, the others are the caller's.
 */
#ifndef BENCH_TRAP_GUEST_H
#define BENCH_TRAP_GUEST_H

#include "histogram.h"
#include "mdisk.h"

#define TRAP_ZONE 1u
#define TRAP_SLOTS 3u
#define TRAP_DEPTH 1024u

struct trap_guest {
    struct sim *sim;
    struct guest guest;
};

/* Connects to the daemon and starts the zone. 0 or -errno, said on stderr. */
int trap_guest_open(struct trap_guest *g, const char *path, const struct sim_options *options);
/* -EPROTO if the daemon broke a rule, said on stderr. */
int trap_guest_close(struct trap_guest *g);

/* A closed loop of requests of 4 KiB on one disk; random if not told otherwise. */
struct disk_load {
    /* In */
    struct trap_guest *g;
    unsigned int slot, depth;
    bool write;
    uint64_t ios;      /* 0: until `stop` or `seconds` */
    double seconds;    /* 0: until `stop` */
    atomic_bool stop;  /* any thread */
    /* Out */
    struct mdisk disk;
    struct histogram latency;
    uint64_t interrupts;
    double elapsed;    /* seconds */
    double cpu;        /* seconds of the thread that ran it */
    /* Its own */
    uint64_t random, sent, deadline_ns;
};

/* Brings the disk up. The struct says what, all else is 0. 0 or -errno, said on stderr. */
int disk_load_open(struct disk_load *l);
/* Until it is over; on any one thread. */
int disk_load_run(struct disk_load *l);
/* The driver lets go of the disk. */
void disk_load_close(struct disk_load *l);

/* Seconds of CPU of this thread. */
double thread_cpu(void);

#endif
