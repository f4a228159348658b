/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trap.h - the monitor's side of the trap protocol, hvv/trap.h and hvv/bridge.h: all that a monitor
 * needs to give its zones the devices of hvisor-vhost. See hvisor-vhost-trap(7).
 *
 * Everything that goes wrong here ends the monitor with one sentence.
 */
#ifndef TRAP_H
#define TRAP_H

#include <hvv/bridge.h>
#include <pthread.h>
#include <stdint.h>

struct trap {
    int socket;
    int page_file;                /* a memfd with the page */
    int bell;                     /* eventfd: there are requests and the daemon sleeps */
    int interrupts;               /* eventfd: there are interrupts */
    struct hvv_bridge_page *page; /* shared with the daemon */
    pthread_mutex_t requests;     /* held by the vCPU that puts one into the list */
};

/* Makes the page and the eventfds, connects to the daemon and hands them over. */
void trap_connect(struct trap *t, const char *path);

/* What the zone has; before trap_start(). */
void trap_memory(struct trap *t, uint32_t zone, uint64_t address, uint64_t size, int file);
void trap_slot(struct trap *t, uint32_t zone, uint64_t address, uint64_t length, uint32_t irq);

/* vCPUs run only between these two. */
void trap_start(struct trap *t, uint32_t zone);
void trap_stop(struct trap *t, uint32_t zone);

/*
 * One access, on the thread of its vCPU: hands it to the daemon, waits for the answer, and returns
 * the value of a read. A write of QueueNotify is not waited for.
 */
uint64_t trap_access(struct trap *t, struct hvv_bridge_request access);

/* Takes all interrupts there are; once `interrupts` is readable. One thread. */
void trap_take_interrupts(struct trap *t, void (*inject)(void *arg, uint32_t zone, uint32_t irq),
                          void *arg);

#endif
