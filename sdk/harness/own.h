/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * own.h - what the files of the harness share.
 *
 * `lock` guards what threads of the plugin may touch: the ends of chains, the list of tasks,
 * counters, texts. Everything else belongs to the test's thread. It is never held while the plugin
 * is called. Names with external linkage start with hvv_harness_ or hvvh_, for the library is
 * linked into other people's tests.
 */
#ifndef HVVH_OWN_H
#define HVVH_OWN_H

#include "conf/options.h"

#include <hvv/harness.h>
#include <pthread.h>

#define HVVH_TEST UINT32_MAX       /* no worker: the test itself is running */
#define HVVH_BUILDER (UINT32_MAX - 1)
#define HVVH_LINES 32u             /* of hvv_describe() */

struct hvvh_queue {
    struct hvv_harness_chain *first, **end; /* available, oldest first */
    uint32_t size, n_ring;                  /* n_ring: available and popped */
    uint32_t worker;                        /* queues with the same have calls one at a time */
    bool running, armed;
    uint64_t popped; /* how many chains were popped and not released, ever */
    char *states;    /* `size` times hvv_chain.state */
    uint32_t *free_states, n_free;
    uint64_t *counters;
};

struct hvv_watch {
    struct hvv_harness *h;
    struct hvv_watch *next;
    bool dead; /* freed, possibly while the list is being walked */
    uint32_t queue;
    int fd;
    uint32_t events;
    void (*ready)(void *arg, uint32_t events);
    void *arg;
};

struct hvv_timer {
    struct hvv_harness *h;
    struct hvv_timer *next;
    bool dead;
    uint32_t queue;
    uint64_t due; /* 0: not set */
    void (*expired)(void *arg);
    void *arg;
};

struct hvvh_task {
    struct hvvh_task *next;
    struct hvv_task *task;
    uint32_t worker;
};

struct hvvh_line {
    char *key, *value;
};

enum hvvh_phase { HVVH_NEW, HVVH_CREATING, HVVH_CREATED, HVVH_PUBLISHED, HVVH_STOPPED, HVVH_GONE };

struct hvv_harness_own {
    pthread_mutex_t lock;
    pthread_t thread;
    enum hvvh_phase phase;
    uint32_t worker;  /* whose callback is running: a worker, HVVH_BUILDER or HVVH_TEST */
    bool said_error;  /* create() called hvv_error() */
    bool published;   /* publish() has returned */
    struct options options;
    struct hvvh_params *params; /* of commands that are not finished */

    struct hvvh_queue queue[HVV_QUEUES_MAX];
    struct hvv_harness_chain *all;
    uint64_t n_finished;
    uint64_t epoch_in_flight; /* chains popped before the memory moved, and not done */

    struct hvv_watch *watches;
    struct hvv_timer *timers;
    struct hvvh_task *tasks, **tasks_end;
    int wake; /* an eventfd */
    uint64_t now;

    int memory_fd;
    char *memory, *seen, *old; /* the test's view, the plugin's, the plugin's before it moved */
    size_t memory_used;
    struct hvvh_map *maps;
    uint32_t n_map_pieces, n_shared, n_calls;

    uint64_t *counters;
    uint32_t *events;
    char *lines; /* the log */
    size_t n_lines;
    struct hvvh_line described[HVVH_LINES];

    enum hvv_harness_service fail;
    uint32_t fail_in; /* calls until it fails; 0: none does */
    bool has_failed;
};

/* ---- Rules (harness.c) ----------------------------------------------------------------------- */

HVV_PRINTF(3, 4)
void hvvh_violation(struct hvv_harness *h, const char *rule, const char *fmt, ...);

/* The test did something wrong. */
HVV_PRINTF(1, 2) __attribute__((noreturn))
void hvvh_misuse(const char *fmt, ...);

/* A service that only the worker of `queue` may call; or create() if `create`, destroy() too. */
void hvvh_check_worker(struct hvv_harness *h, const char *service, uint32_t queue, bool create,
                       bool destroy);

/* Is it this call of the service that is to fail? */
bool hvvh_fails(struct hvv_harness *h, enum hvv_harness_service service);

/* Around every call of the plugin. */
struct hvvh_entry {
    uint32_t worker;
    uint64_t since;
    const char *what;
};
struct hvvh_entry hvvh_enter(struct hvv_harness *h, const char *what, uint32_t worker);
void hvvh_leave(struct hvv_harness *h, struct hvvh_entry entry);

uint64_t hvvh_clock(void);
void hvvh_wake(struct hvv_harness *h); /* any thread */

static inline struct hvv_harness *hvvh_of(struct hvv_device *dev)
{
    return (struct hvv_harness *)(void *)dev;
}

static inline void hvvh_lock(struct hvv_harness *h)
{
    pthread_mutex_lock(&h->own->lock);
}

static inline void hvvh_unlock(struct hvv_harness *h)
{
    pthread_mutex_unlock(&h->own->lock);
}

/* ---- One file each --------------------------------------------------------------------------- */

/* Put their services into the table. */
void hvvh_services_chains(struct hvv_host *host);
void hvvh_services_loop(struct hvv_host *host);
void hvvh_services_memory(struct hvv_host *host);
void hvvh_services_said(struct hvv_host *host);
void hvvh_services_values(struct hvv_host *host);

int32_t hvvh_parse(struct hvv_harness *h, const char *options);
void hvvh_values_free(struct hvv_harness *h);

void hvvh_chains_free(struct hvv_harness *h);
void hvvh_queue_begin(struct hvv_harness *h, uint32_t queue);
void hvvh_queue_end(struct hvv_harness *h, uint32_t queue, uint32_t flags);
bool hvvh_drain(struct hvv_harness *h); /* until no chain is in flight */

bool hvvh_run_tasks(struct hvv_harness *h);
bool hvvh_advance_to_next(struct hvv_harness *h); /* timer; false if none is set */
void hvvh_disarm(struct hvv_harness *h);
void hvvh_loop_free(struct hvv_harness *h); /* what is left of watches and timers is a violation */

/* The plugin's view of the test's memory, for an iovec. Test's thread. */
void *hvvh_translate(struct hvv_harness *h, void *at);
void hvvh_unmap_all(struct hvv_harness *h);
void hvvh_drop_old_memory(struct hvv_harness *h); /* unless a map or a chain is still there */
void hvvh_memory_free(struct hvv_harness *h);

void hvvh_said_free(struct hvv_harness *h);

#endif
