/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * queue.h - a virtqueue and where it is served.
 *
 * The control thread starts and stops queues, one step at a time, by posting to the queue's worker;
 * the worker runs them. The fields are divided accordingly. Whoever on the control thread has to
 * know when something has stopped leaves a waiter with the device.
 *
 *     STOPPED -> queue_start -> RUNNING -> queue_stop -> STOPPING -> (worker is quiet) -> STOPPED
 */
#ifndef HOST_DEVICE_QUEUE_H
#define HOST_DEVICE_QUEUE_H

#include "virtq/virtq.h"
#include "worker/worker.h"

struct device;

enum queue_state { QUEUE_STOPPED, QUEUE_RUNNING, QUEUE_STOPPING };

struct queue {
    struct device *dev;
    uint32_t index;
    struct worker *worker;
    struct virtq *vq;             /* worker, but for what queue_stop() left behind */
    struct service service;       /* worker */
    bool always_poll;             /* worker: there is no notification, never sleep */
    bool served;                  /* worker: the service is on the worker's list */
    void *transport_state;        /* the transport's own */

    enum queue_state state;       /* control */
    struct virtq_setup setup;     /* control: of the last start */
    struct {
        struct virtq_ring ring;
        struct memory *memory;
    } start, change;              /* control -> worker, with start_task and with memory_task */
    bool discard;                 /* control -> worker, with stop_task */
    bool memory_pending;          /* control: memory_task is under way */
    struct hvv_task start_task, stop_task, stopped_task, memory_task, memory_done_task, kick_task;
    atomic_bool kicked;           /* kick_task is posted */
};

/* Called once, on the control thread, when none of the device's queues is changing any more. */
struct waiter {
    struct waiter *next;
    void (*done)(struct waiter *waiter);
};

/* Makes queue `q` of `dev`. 0 or -ENOMEM. Builder. */
int queue_init(struct queue *q, struct device *dev, uint32_t index, uint32_t max_size,
               uint32_t segments);
void queue_clear(struct queue *q);

/*
 * Starts a stopped queue on its worker with the device's memory and negotiated features. 0, or
 * -EINVAL, -EFAULT with error set and nothing done. Control.
 */
int queue_start(struct queue *q, const struct virtq_setup *setup, bool always_poll,
                struct error *error);

/* Begins to stop a running queue; `discard` as virtq_stop(). Wait with device_wait(). Control. */
void queue_stop(struct queue *q, bool discard);

/* Index of the next chain to take; of a stopped queue that ran. Control. */
uint16_t queue_next_avail(const struct queue *q);

/* A notification that came as a message or an access, not on a descriptor. Any thread. */
void queue_kick(struct queue *q);

/* True if a queue runs or is still stopping. Control. */
bool device_has_running_queue(const struct device *dev);

/* Counts a notification. Worker. */
void queue_notified(struct queue *q);

/* Lets waiter->done() be called when nothing is changing; at once if nothing is. Control. */
void device_wait(struct device *dev, struct waiter *waiter);

/* Timer of the device: it has been changing for longer than the operator's limit. Control. */
void queue_stuck(void *dev);

/* How many chains the plugin has: "1 chain of queue 0, 3 chains of queue 2", or "". Control. */
void device_held(const struct device *dev, char *text, size_t size);

/* Stops all running queues. Control. */
void device_stop_queues(struct device *dev, bool discard);

/*
 * Lets the device use another memory snapshot (a reference is taken). Running queues change over
 * one by one; wait with device_wait() before the old memory may go. Fails, with nothing changed, if
 * a running queue's ring is not in it. Control.
 */
int device_set_memory(struct device *dev, struct memory *memory, struct error *error);

#endif
