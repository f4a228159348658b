/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker.h - a thread that serves virtqueues.
 *
 * A worker runs a loop and a list of services, one per running queue. While there is work it goes
 * round the services without sleeping; when there has been none for a while, each service is asked
 * to re-enable its notifications, and the worker sleeps in its loop. How long it looks before it
 * sleeps adapts itself: longer if sleeping would have been short, not at all if nothing comes. Who
 * knows that more comes at once can say so.
 */
#ifndef HOST_WORKER_WORKER_H
#define HOST_WORKER_WORKER_H

#include "loop/loop.h"
#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct worker;

/* Embedded in what is served. */
struct service {
    TAILQ_ENTRY(service) link;
    bool (*serve)(struct service *s); /* one turn; true if there was work */
    bool (*rest)(struct service *s);  /* before sleeping; true if the worker must not sleep */
};

/* Starts a thread. `poll_ns`: the longest time to look for work before sleeping. */
struct worker *worker_new(unsigned number, uint64_t poll_ns, struct error *error);
void worker_free(struct worker *worker); /* no services left; joins the thread; NULL is fine */

struct loop *worker_loop(struct worker *worker);
unsigned worker_number(const struct worker *worker);

/* Worker thread. A service may remove itself while it is served. */
void worker_add(struct worker *worker, struct service *s);
void worker_remove(struct worker *worker, struct service *s);

/*
 * Worker thread, while it serves: what was served is followed by more within microseconds. Before
 * the next sleep it looks for the longest time, and lets others on its CPU go first: whoever it
 * waits for may be among them.
 */
void worker_expect(struct worker *worker);

#endif
