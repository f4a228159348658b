/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shared.h - the inside of the simulated hypervisor: what the processes of one share. Only for the
 * files that make up sim.h.
 *
 * Locks, in this order: of a vCPU, `ring_lock`, `irq_lock`, `note_lock`. They survive the death of
 * a process that holds them.
 */
#ifndef SIM_SHARED_H
#define SIM_SHARED_H

#include "sim.h"

#include <pthread.h>
#include <stdatomic.h>

#define SIM_REGIONS SIM_SLOTS
#define SIM_NOTES 32u
#define SIM_CONNECTIONS 16u /* after so many, pages are used again */
#define SIM_NOTE_BYTES 192u

struct sim_cpu {
    pthread_mutex_t lock; /* a vCPU does one thing at a time */
    uint64_t flag;        /* what cfg_flags has to be while no access is outstanding */
    bool busy;            /* an access is under way */
    bool pushed;          /* and waits for its answer; under ring_lock */
    bool renewed;         /* and the page is another since; under ring_lock */
    bool lost;            /* one was never answered, or whoever waited for it died */
    uint64_t writes;      /* makes the garbage differ */
};

struct sim_irq {
    uint32_t irq;
    bool pending, active;
    /* When pending: the daemon told it after this time. See irq.c. */
    uint64_t after_ns;
    /* Accesses under way by which it is acknowledged, and when the latest of them ended. */
    unsigned int settling;
    uint64_t settled_ns;
    uint64_t told, dropped, taken;
};

struct sim_region {
    uint64_t address, length;
};

struct sim_zone {
    atomic_bool on;
    unsigned int n_slots, n_regions;
    struct sim_slot slot[SIM_SLOTS];
    struct sim_region region[SIM_REGIONS];
    struct sim_irq irq[SIM_SLOTS]; /* same index as `slot`; under irq_lock */
    uint64_t most_pending;
};

struct sim_shared {
    struct sim_options opt;
    pthread_mutex_t ring_lock, irq_lock, note_lock;
    /*
     * Goes up with each connection and its end, so that accesses of an older one return. Each
     * connection has a page and a doorbell of its own: the daemon may still be using the last ones.
     */
    atomic_uint epoch;
    atomic_uint connection;
    bool connected; /* else interrupts are nobody's; under irq_lock */
    struct sim_cpu cpu[HVV_BRIDGE_CPUS];
    struct sim_zone zone[HVV_BRIDGE_ZONES];
    atomic_uint_least64_t accesses, notifies, wakeups, full, waiting;
    uint64_t last_pass_ns; /* when the interrupt thread last looked; under irq_lock */
    atomic_uint n_notes;
    char note[SIM_NOTES][SIM_NOTE_BYTES];
};

struct sim_device;

struct sim {
    struct sim_shared *shared;
    uint8_t *pages;
    int page_fd;
    int doorbell[SIM_CONNECTIONS]; /* we add to it, the daemon waits */
    int irq_fd;                    /* the other way round */
    int zone_fd[HVV_BRIDGE_ZONES];
    /* Of the process that made it only */
    int socket; /* -1: not connected */
    struct sim_device *device; /* or NULL */
    int stop_fd;
    pthread_t irq_thread;
    pid_t owner;
    char error[320];
};

bool sim_lock(pthread_mutex_t *lock); /* true: its last holder died with it */
void sim_unlock(pthread_mutex_t *lock);
__attribute__((format(printf, 2, 3))) void sim_note(struct sim *s, const char *format, ...);

/* device.c */
void sim_device_free(struct sim *s);

/* irq.c */
void *sim_irq_run(void *arg);
/* A vCPU begins an access, or has ended it: does the daemon take an interrupt as acknowledged? */
void sim_irq_settling(struct sim *s, const struct sim_access *a, bool begins);

/* vcpu.c. Wakes all that wait, after the epoch has changed. */
void sim_wake_cpus(struct sim *s);

#endif
