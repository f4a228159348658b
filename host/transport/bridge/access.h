/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * access.h - the thread that takes trapped register accesses off one bridge and answers them.
 *
 *     bridge -> take -> find the slot -> mmio registers -> answer
 *
 * It is a worker (worker.h) whose one service is the bridge: it looks for a while after the last
 * access, then asks to be woken and sleeps. No plugin code runs on it, and it waits for nobody: what
 * takes time is handed to the control thread and answered when that is done.
 *
 * Which slots there are is an immutable table, replaced whole by the control thread; a task that
 * goes through the access thread afterwards has seen the last use of the old one.
 */
#ifndef HOST_TRANSPORT_BRIDGE_ACCESS_H
#define HOST_TRANSPORT_BRIDGE_ACCESS_H

#include "loop/loop.h"
#include "transport/bridge/bridge.h"
#include "transport/bridge/interrupts.h"
#include "util/error.h"

#include <sys/queue.h>

struct access_thread;
struct mmio;

/* How the other side wants it. */
struct access_setup {
    const char *name;              /* of the thread, 15 bytes at most */
    struct hvv_bridge_page *page;  /* stays mapped until access_free() is over */
    int doorbell;                  /* what the other side rings, as of peer-fd.h; the caller's */
    uint64_t poll_ns;              /* how long to look for accesses before sleeping */
    uint64_t wake_ns;              /* look again after so long asleep, for lost wake-ups, while there
                                      are slots; 0: never */
    bool never_sleep;              /* the other side cannot wake this one */
    bool waits;                    /* nothing is taken before access_start() */
    uint64_t release_ns;           /* so long after that bridge_release_unheard(); 0: never */
    void (*answered)(void *arg, uint32_t cpu); /* wakes the vCPU's thread; NULL: it looks itself */
    struct interrupts_setup interrupts; /* but for the bridge */
    void *arg;                     /* of answered() */
};

/* An access that waits for an operation of its device. Access thread. */
struct waiting {
    STAILQ_ENTRY(waiting) link;
    struct bridge_access access;
    bool again; /* to be given to the registers once more, not answered */
};
STAILQ_HEAD(waiting_list, waiting);

/* A slot of the table; device NULL: a placeholder. */
struct slot_entry {
    uint32_t zone;
    uint64_t addr, len;
    struct mmio *device;
};

struct slot_table {
    struct hvv_task task;      /* frees it once the access thread has let go */
    void (*done)(void *arg);   /* after that, or NULL; control */
    void *arg;
    struct loop *control;
    size_t n;
    struct slot_entry entries[]; /* sorted by zone, then address; no overlaps */
};

/* Starts the thread with an empty table. NULL with error set. Control. */
struct access_thread *access_new(struct loop *control, const struct access_setup *setup,
                                 struct error *error);
/* If it `waits`: accesses are taken from here on. Once. Control. */
void access_start(struct access_thread *at);

/*
 * Puts a table in place (malloc'ed, taken over). done(arg) follows on the control thread when the
 * access thread uses the old one no more. Control.
 */
void access_set_table(struct access_thread *at, struct slot_table *table, void (*done)(void *arg),
                      void *arg);

/* Ends the thread; no device uses it. done(arg) on the control thread, then all is freed. Control. */
void access_free(struct access_thread *at, void (*done)(void *arg), void *arg);

/* For tasks. Any thread. */
struct loop *access_loop(struct access_thread *at);
struct interrupts *access_interrupts(struct access_thread *at);

/* Gives an access its answer, if it wants one. Access thread. */
void access_answer(struct access_thread *at, const struct bridge_access *access, uint64_t value);

/* The record in which an access can wait: each vCPU has one. Access thread. */
struct waiting *access_waiting(struct access_thread *at, const struct bridge_access *access);

#endif
