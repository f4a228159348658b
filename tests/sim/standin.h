/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * standin.h - a stand-in for the daemon, to test the simulated hypervisor with: it speaks the trap
 * protocol with one monitor, answers registers from a table, and serves each slot that is asked for
 * as a tiny disk in memory. It can also be told to break each of the rules.
 *
 * A thread of its own does everything; the functions here are for the test's.
 */
#ifndef SIM_STANDIN_H
#define SIM_STANDIN_H

#include <stdbool.h>
#include <stdint.h>

#define STANDIN_DISK (1u << 20)

enum standin_fault {
    STANDIN_GOOD,
    STANDIN_TWICE,         /* answers a blocking access twice */
    STANDIN_ANSWER_NOTIFY, /* answers a notification */
    STANDIN_WIDE,          /* does not cut a value to the size of the access */
    STANDIN_SILENT,        /* does not answer */
    STANDIN_NO_WAKE,       /* does not wake a sleeping vCPU */
    STANDIN_ASLEEP,        /* takes nothing off the ring */
    STANDIN_NO_RECHECK,    /* does not look at the ring after it set need_wakeup */
    STANDIN_LINGER,        /* takes its time before it sets need_wakeup: no fault */
    STANDIN_SPOIL,         /* reads of the disk have a wrong byte */
};

struct standin;

struct standin *standin_new(const char *path); /* NULL with errno set */
void standin_free(struct standin *d);
void standin_fault(struct standin *d, enum standin_fault fault);
/* The slot at `index` of the zone has a disk; before START or after. */
void standin_add(struct standin *d, uint32_t zone, unsigned int index);
/* Puts an interrupt onto the bridge. */
void standin_irq(struct standin *d, uint32_t zone, uint32_t irq);
/* What the last write of an access carried, uncut. */
uint64_t standin_last_write(struct standin *d);
/* Hangs up on the monitor. */
void standin_hang_up(struct standin *d);

#endif
