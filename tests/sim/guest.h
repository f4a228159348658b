/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * guest.h - a guest of the simulated hypervisor: its memory, its CPUs, and its first CPU's
 * interrupt handling, a thread.
 *
 * guest_init() is called where the zone is started; guest_run() where the guest runs, which may be
 * a child process. Memory is handed out by one process only, devices register there as well.
 */
#ifndef SIM_GUEST_H
#define SIM_GUEST_H

#include "guestmem.h"
#include "sim.h"

#include <pthread.h>
#include <stdatomic.h>

#define GUEST_GPA 0x50000000ull
#define GUEST_SLOT_BASE 0x0a003000ull
#define GUEST_SLOT_LENGTH 0x200u
#define GUEST_IRQ_BASE 48u

struct mmio_dev;

struct guest {
    struct sim *sim;
    uint32_t zone;
    uint32_t cpu, n_cpus; /* first one: interrupts */
    struct guestmem mem;
    unsigned int n_slots;
    bool running;
    pthread_t thread;
    int control_fd;
    atomic_bool stop, masked;
    pthread_mutex_t lock; /* devices */
    struct mmio_dev *dev[SIM_SLOTS];
    atomic_uint_least64_t foreign; /* interrupts that no driver wanted */
};

struct guest_options {
    uint32_t zone;
    uint32_t cpu, n_cpus;
    uint64_t memory;  /* bytes */
    uint64_t high;    /* more of it above 4 GiB; guestmem region 1 */
    unsigned int slots;
};

/* The slots are at GUEST_SLOT_BASE, one after the other, irqs from GUEST_IRQ_BASE. 0 or -errno. */
int guest_init(struct guest *g, struct sim *s, const struct guest_options *options);
void guest_free(struct guest *g); /* ends the thread */
struct sim_slot guest_slot(unsigned int index);

int guest_run(struct guest *g);
void guest_halt(struct guest *g);
/* While masked, interrupts stay pending. */
void guest_mask(struct guest *g, bool masked);

/* The driver of a slot; NULL: none. Afterwards its handler does not run any more. */
void guest_bind(struct guest *g, unsigned int slot, struct mmio_dev *dev);

#endif
