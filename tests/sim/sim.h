/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim.h - a simulated hypervisor, on the daemon's trap socket or behind a device file as hvisor's.
 *
 * It has the bridge page, the vCPUs, the interrupt controllers and the connection to the daemon;
 * what a guest does is in guest.h and mmio-driver.h. All of its state is in shared memory, so that
 * guests may also be child processes made by fork() after sim_new(): they access registers and take
 * interrupts, while the connection and the interrupt thread stay in the process that made it.
 *
 *     vCPU    sim_access()                  push, wake the daemon up if it asks, wait
 *     irq     sim_new() starts it           res_list -> list of the zone -> sim_irq_take()
 *     owner   sim_connect(), sim_zone_...   the trap socket; one thread
 *             sim_device()                  or the device file, whose thread answers ioctls
 *
 * It does to the daemon what hvisor does: one ring for all zones; bytes of a value above the size
 * of an access are garbage; an access to offset 0x50 of its region counts as a notification, a read
 * too; when the ring is full the vCPU spins; a zone has one list of injected interrupts; an
 * interrupt that is pending or being handled swallows the next one of the same number.
 *
 * What a daemon may not do is collected: see sim_violations().
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "guestmem.h"

#include <hvv/bridge.h>
#include <hvv/trap.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_SLOTS 64u       /* slots, and so interrupt numbers, of a zone */
#define SIM_IRQ_LIMIT 7u    /* what hvisor's list of injected interrupts holds */
#define SIM_IRQ_WAIT_MS 50u /* how long the next one has to wait at least */
#define SIM_DEADLINE_MS 60000u
#define SIM_NOTIFY_OFFSET 0x50u

struct sim_options {
    bool futex;                /* stopped vCPUs sleep; else they spin */
    bool level;                /* interrupts are levels */
    bool no_fence;             /* as hvisor of January 2026: none before need_wakeup is looked at */
    bool no_wakeup;            /* as old loongarch64: the daemon is never woken up */
    uint32_t irq_limit;        /* 0: SIM_IRQ_LIMIT; UINT32_MAX: none */
    uint32_t irq_again_ms;     /* as the daemon is told */
    uint32_t spin_yield;       /* looks before a spinning vCPU yields; 0: a few */
    uint32_t access_deadline_ms; /* 0: sim_patience_ms() */
};

struct sim;

/*
 * How long tests here wait for anything before they say that it does not come:
 * $HVV_SIM_DEADLINE_MS, or SIM_DEADLINE_MS.
 */
int sim_patience_ms(void);

/* NULL with errno set. All zones are off; no daemon is needed yet. */
struct sim *sim_new(const struct sim_options *options);
/* No vCPU runs any more. Disconnects. NULL is fine. */
void sim_free(struct sim *s);

/* ---- the daemon ------------------------------------------------------------------------------ */

/* Connects and says HELLO with a fresh page. 0 or -errno; sim_error() has a sentence. */
int sim_connect(struct sim *s, const char *path);
/* Hangs up: zones are off, accesses that wait return -ECONNRESET. They can be started again. */
void sim_disconnect(struct sim *s);
bool sim_connected(const struct sim *s);
/* Waits until the daemon hangs up; then as sim_disconnect(). 0 or -ETIMEDOUT. */
int sim_wait_hangup(struct sim *s, int timeout_ms);
const char *sim_error(const struct sim *s);

/* One message, as it is, with up to 4 descriptors. -EREMOTEIO: the answer is an error. */
int sim_call(struct sim *s, const void *message, size_t size, const int *fds, unsigned int n_fds,
             struct hvv_trap_answer *answer);

/* ---- the daemon, by a device file ------------------------------------------------------------ */

/*
 * Instead of sim_connect(), before there are guests: a file at `path` that has the bridge page at
 * offset 0 and the guests' memory at its physical addresses, and a socket beside it for the ioctls
 * of a daemon that hvisor-ioctl.c is loaded into. Daemons can follow one another; what zones and
 * slots they know is not asked. Guests are in this process. Interrupts are taken when FINISH_REQ
 * says so, at no other time.
 *
 * INIT_VIRTIO is a fresh page, in place: who waits for an answer looks at its flag there. A vCPU
 * looks at its flag when it has a place in the ring; hvisor does before, so that one which found
 * the ring full can be answered once too often after INIT, whatever a daemon does.
 */
int sim_device(struct sim *s, const char *path);
/* For memory of guests; -1: there is none. */
int sim_device_fd(const struct sim *s);
/* What INIT_VIRTIO does, as if by a daemon that ended right after. */
void sim_device_init(struct sim *s);
/* FINISH_REQ takes nothing and does not return until it is let go. */
void sim_device_hold(struct sim *s, bool hold);
/* What a request is answered with: a value, or -errno. 0: as always. One at a time. */
void sim_device_refuse(struct sim *s, uint32_t request, int answer);

struct sim_device_counts {
    uint64_t inits, eventfds;
    uint64_t finishes;  /* that returned */
    uint64_t deasserts;
    uint64_t held;      /* do not return right now */
    uint64_t unknown;   /* requests */
};

struct sim_device_counts sim_device_counts(struct sim *s);
bool sim_device_wait_held(struct sim *s, int timeout_ms);

/* ---- zones ----------------------------------------------------------------------------------- */

struct sim_slot {
    uint64_t address;
    uint64_t length;
    uint32_t irq;
};

/* Each of them is declared once; START and STOP can follow any number of times. 0 or -errno. */
int sim_zone_slot(struct sim *s, uint32_t zone, const struct sim_slot *slot);
/*
 * A trapped region that spans several slots, before those are declared. Without it each slot is a
 * region.
 */
int sim_zone_region(struct sim *s, uint32_t zone, uint64_t address, uint64_t length);
/* Sends MEMORY for all regions of `mem`, SLOT for all slots, START. With a device file, nothing. */
int sim_zone_start(struct sim *s, uint32_t zone, const struct guestmem *mem);
int sim_zone_stop(struct sim *s, uint32_t zone);

/* ---- vCPUs ----------------------------------------------------------------------------------- */

/* The page was replaced while the vCPU waited, and what let it go was... */
enum sim_renewed {
    SIM_NOT_RENEWED,
    SIM_RENEWED_AT_ONCE, /* the fresh page: its flag was another */
    SIM_RENEWED_ANSWER,  /* an answer on the fresh page */
};

struct sim_access {
    /* In */
    uint32_t cpu;
    uint32_t zone;
    uint64_t address;
    uint32_t size;
    bool write;
    uint64_t value; /* of a write; out: of a read, as the guest sees it */
    /* Out */
    bool notify;      /* the daemon was told not to answer */
    enum sim_renewed renewed;
    uint64_t took_ns; /* from before the push until the vCPU goes on */
};

/*
 * Waits while another thread uses the vCPU. 0, -ENODEV (no such region, or the zone is off),
 * -ETIMEDOUT (recorded; the vCPU is lost until the next connection), -ECONNRESET.
 */
int sim_access(struct sim *s, struct sim_access *a);

/* ---- interrupts ------------------------------------------------------------------------------ */

/* An eventfd of the zone that becomes readable when an interrupt is pending. */
int sim_irq_fd(const struct sim *s, uint32_t zone);
/* The CPU takes the next pending interrupt, or -1. It is active until sim_irq_done(). */
int64_t sim_irq_take(struct sim *s, uint32_t zone);
void sim_irq_done(struct sim *s, uint32_t zone, uint32_t irq);

/*
 * Takes what the daemon has told, as the interrupt thread does whenever it looks: what comes after
 * this is known to be later. Any thread of the owner.
 */
void sim_irq_pass(struct sim *s);

struct sim_irq_counts {
    uint64_t told;    /* by the daemon */
    uint64_t dropped; /* of those: the interrupt was pending or active */
    uint64_t taken;   /* by the CPU */
    uint64_t pending; /* right now */
    uint64_t most;    /* distinct ones pending at a time */
};

/* `irq` UINT32_MAX: of the zone. */
struct sim_irq_counts sim_irq_counts(struct sim *s, uint32_t zone, uint32_t irq);
/* Whether the zone has so many pending ones in time. */
bool sim_irq_wait_pending(struct sim *s, uint32_t zone, uint64_t n, int timeout_ms);

/* ---- what happened --------------------------------------------------------------------------- */

struct sim_counts {
    uint64_t accesses;
    uint64_t notifies;
    uint64_t wakeups; /* of the daemon */
    uint64_t full;    /* a vCPU found the ring full */
    uint64_t waiting; /* vCPUs that wait for an answer right now */
};

struct sim_counts sim_counts(const struct sim *s);
/* Whether so many vCPUs wait for an answer, in time. */
bool sim_wait_waiting(struct sim *s, uint64_t n, int timeout_ms);
/* Whether a vCPU found the ring full so many times, in time. */
bool sim_wait_full(struct sim *s, uint64_t n, int timeout_ms);
/* Whether the daemon has taken all accesses off the ring, in time. */
bool sim_wait_drained(struct sim *s, int timeout_ms);

/*
 * Looks at all idle vCPUs, and returns how often the daemon broke the rules: an answer where none
 * is due, two answers, a value longer than the access, no answer, an interrupt that no slot has or
 * that a zone which is off gets, or more of them than the list holds.
 */
unsigned int sim_violations(struct sim *s);
/* The text of one of the first few, or NULL. */
const char *sim_violation(const struct sim *s, unsigned int i);
/* For a test that caused them on purpose. */
void sim_forgive(struct sim *s);

/* The page itself, for tests that do what no hypervisor does. */
struct hvv_bridge_page *sim_page(const struct sim *s);

#endif
