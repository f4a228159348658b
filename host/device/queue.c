/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * queue.c - see queue.h. Each function says its thread: the control thread decides, the worker
 * does.
 *
 * A step is one task posted to the worker, and one posted back when it is done; each has its own
 * memory in the queue, and the control thread's state keeps a step from being posted twice.
 */
#include "device/queue.h"

#include "daemon.h"
#include "device/device.h"
#include "plugin/dispatch.h"
#include "util/container.h"

#include <errno.h>
#include <stdio.h>


/* ---- worker: service ------------------------------------------------------------------------- */

static bool check_memory(struct queue *q)
{
    struct virtq *vq = q->vq;
    if (vq->broken)
        return false;
    if (atomic_load_explicit(&q->dev->broken, memory_order_relaxed))
        vq->broken = true; /* another queue, or the plugin, has told why */
    else if (virtq_lost_memory(vq))
        virtq_break(vq, "queue %u: guest memory was truncated", q->index);
    return !vq->broken;
}

static bool serve(struct service *s)
{
    struct queue *q = container_of(s, struct queue, service);
    bool work = dispatch_poll(q) > 0;
    if (q->vq->state == VIRTQ_RUNNING && check_memory(q)) {
        virtq_begin_turn(q->vq);
        if (virtq_wants_service(q->vq)) {
            virtq_suppress(q->vq);
            dispatch_notify(q);
            work = true;
        }
    }
    virtq_flush(q->vq); /* also what was finished by watches and tasks since the last turn */
    return work;
}

static bool rest(struct service *s)
{
    struct queue *q = container_of(s, struct queue, service);
    return virtq_enable(q->vq) || (q->always_poll && q->vq->state == VIRTQ_RUNNING);
}

/* ---- worker: what the queue has to say ------------------------------------------------------- */

static void on_interrupt(void *arg)
{
    struct queue *q = arg;
    q->dev->transport->interrupt(q);
}

static void on_broken(void *arg, const char *text)
{
    struct queue *q = arg;
    device_break(q->dev, "%s", text);
}

static void on_idle(void *arg)
{
    struct queue *q = arg;
    worker_remove(q->worker, &q->service);
    q->served = false;
    q->dev->transport->queue_running(q, false);
    loop_post(q->dev->daemon->loop, &q->stopped_task);
}

static void on_memory_done(void *arg)
{
    struct queue *q = arg;
    loop_post(q->dev->daemon->loop, &q->memory_done_task);
}

static const struct virtq_owner owner = {
    .interrupt = on_interrupt,
    .broken = on_broken,
    .idle = on_idle,
    .memory_done = on_memory_done,
};

/* ---- control: waiters ------------------------------------------------------------------------ */

static bool changing(const struct device *dev)
{
    for (uint32_t i = 0; i < dev->n_queues; i++)
        if (dev->queues[i].state == QUEUE_STOPPING || dev->queues[i].memory_pending)
            return true;
    return false;
}

static void run_waiters(struct device *dev)
{
    if (changing(dev))
        return;
    timer_set(dev->stuck, 0);
    if (dev->stuck_told)
        daemon_event(dev->daemon, "device.unstuck", dev->id, "reason", "its queues have stopped");
    dev->stuck_told = false;
    struct waiter *waiter = dev->waiters;
    dev->waiters = NULL;
    while (waiter) {
        struct waiter *next = waiter->next;
        waiter->done(waiter);
        waiter = next;
    }
}

void device_wait(struct device *dev, struct waiter *waiter)
{
    if (!changing(dev)) {
        waiter->done(waiter);
        return;
    }
    waiter->next = dev->waiters;
    dev->waiters = waiter;
    timer_set(dev->stuck, dev->daemon->conf->stuck_seconds * 1000000000ull);
}

void queue_stuck(void *arg)
{
    struct device *dev = arg;
    char held[160];
    unsigned n = 0;
    for (uint32_t i = 0; i < dev->n_queues; i++)
        n += dev->queues[i].state == QUEUE_STOPPING || dev->queues[i].memory_pending;
    device_held(dev, held, sizeof(held));
    int len = snprintf(dev->stuck_text, sizeof(dev->stuck_text),
                       "%u queue%s still %s work under way after %u s", n, n > 1 ? "s" : "",
                       n > 1 ? "have" : "has", dev->daemon->conf->stuck_seconds);
    if (held[0])
        snprintf(dev->stuck_text + len, sizeof(dev->stuck_text) - (size_t)len,
                 ": plugin %s %s holds %s", dev->plugin->info.name, dev->plugin->info.version,
                 held);
    dev->stuck_told = true;
    device_log(dev, HVV_LOG_WARNING, "%s", dev->stuck_text);
    daemon_event(dev->daemon, "device.stuck", dev->id, "reason", dev->stuck_text);
}

void device_held(const struct device *dev, char *text, size_t size)
{
    int n = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < dev->n_queues && n < (int)size; i++) {
        uint32_t held = atomic_load_explicit(&dev->queues[i].vq->in_flight, memory_order_relaxed);
        if (held)
            n += snprintf(text + n, size - (size_t)n, "%s%u chain%s of queue %u", n ? ", " : "",
                          held, held > 1 ? "s" : "", i);
    }
}

/* ---- start ----------------------------------------------------------------------------------- */

static void start_on_worker(struct hvv_task *task)
{
    struct queue *q = container_of(task, struct queue, start_task);
    virtq_start(q->vq, &q->setup, &q->start.ring, q->start.memory);
    memory_put(q->start.memory);
    worker_add(q->worker, &q->service);
    q->served = true;
    q->dev->transport->queue_running(q, true);
    dispatch_queue_start(q);
}

int queue_start(struct queue *q, const struct virtq_setup *setup, bool always_poll,
                struct error *error)
{
    struct device *dev = q->dev;
    if (!dev->memory)
        return error_set(error, EINVAL, "queue %u: started before guest memory is known", q->index);
    int rc = virtq_resolve(q->vq, setup, dev->memory, &q->start.ring, error);
    if (rc < 0)
        return rc;
    q->setup = *setup;
    q->always_poll = always_poll;
    q->start.memory = memory_get(dev->memory);
    q->state = QUEUE_RUNNING;
    loop_post(worker_loop(q->worker), &q->start_task);
    return 0;
}

/* ---- stop ------------------------------------------------------------------------------------ */

static void stop_on_worker(struct hvv_task *task)
{
    struct queue *q = container_of(task, struct queue, stop_task);
    virtq_stop(q->vq, q->discard);
    dispatch_queue_stop(q, q->discard);
    virtq_settle(q->vq);
}

static void stopped_on_control(struct hvv_task *task)
{
    struct queue *q = container_of(task, struct queue, stopped_task);
    q->state = QUEUE_STOPPED;
    run_waiters(q->dev);
}

void queue_stop(struct queue *q, bool discard)
{
    if (q->state != QUEUE_RUNNING)
        return;
    q->state = QUEUE_STOPPING;
    q->discard = discard;
    loop_post(worker_loop(q->worker), &q->stop_task);
}

uint16_t queue_next_avail(const struct queue *q)
{
    return q->vq->next_avail;
}

bool device_has_running_queue(const struct device *dev)
{
    for (uint32_t i = 0; i < dev->n_queues; i++)
        if (dev->queues[i].state != QUEUE_STOPPED)
            return true;
    return false;
}

void device_stop_queues(struct device *dev, bool discard)
{
    for (uint32_t i = 0; i < dev->n_queues; i++)
        queue_stop(&dev->queues[i], discard);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void memory_on_worker(struct hvv_task *task)
{
    struct queue *q = container_of(task, struct queue, memory_task);
    /* Copies: once the control thread hears that it is done, the next change may be handed over. */
    struct memory *memory = q->change.memory;
    struct virtq_ring ring = q->change.ring;
    if (q->vq->state != VIRTQ_IDLE)
        virtq_set_memory(q->vq, memory, &ring);
    else
        loop_post(q->dev->daemon->loop, &q->memory_done_task);
    memory_put(memory);
    if (q->vq->state == VIRTQ_RUNNING)
        dispatch_memory_changed(q->dev, q->index);
}

static void memory_done_on_control(struct hvv_task *task)
{
    struct queue *q = container_of(task, struct queue, memory_done_task);
    q->memory_pending = false;
    run_waiters(q->dev);
}

int device_set_memory(struct device *dev, struct memory *memory, struct error *error)
{
    struct virtq_ring rings[HVV_QUEUES_MAX];
    for (uint32_t i = 0; i < dev->n_queues; i++) {
        struct queue *q = &dev->queues[i];
        if (q->state != QUEUE_RUNNING)
            continue;
        int rc = virtq_resolve(q->vq, &q->setup, memory, &rings[i], error);
        if (rc < 0)
            return rc;
    }
    memory_put(dev->memory);
    dev->memory = memory_get(memory);
    device_memory_changed(dev);
    for (uint32_t i = 0; i < dev->n_queues; i++) {
        struct queue *q = &dev->queues[i];
        if (q->state != QUEUE_RUNNING)
            continue;
        q->change.ring = rings[i];
        q->change.memory = memory_get(memory);
        q->memory_pending = true;
        loop_post(worker_loop(q->worker), &q->memory_task);
    }
    return 0;
}

/* ---- notifications that are no descriptor ---------------------------------------------------- */

static void kick_on_worker(struct hvv_task *task)
{
    struct queue *q = container_of(task, struct queue, kick_task);
    atomic_store(&q->kicked, false);
    queue_notified(q); /* that the worker woke up is all it takes: it looks at the ring */
}

void queue_kick(struct queue *q)
{
    if (!atomic_exchange(&q->kicked, true))
        loop_post(worker_loop(q->worker), &q->kick_task);
}

void queue_notified(struct queue *q)
{
    atomic_fetch_add_explicit(&q->vq->stats.notifications, 1, memory_order_relaxed);
}

/* ---- life ------------------------------------------------------------------------------------ */

int queue_init(struct queue *q, struct device *dev, uint32_t index, uint32_t max_size,
               uint32_t segments)
{
    q->dev = dev;
    q->index = index;
    q->vq = virtq_new(index, max_size, segments, dev->plugin->info.chain_state_size, &dev->pub);
    if (!q->vq)
        return -ENOMEM;
    virtq_attach(q->vq, worker_loop(q->worker), &owner, q);
    q->service.serve = serve;
    q->service.rest = rest;
    q->start_task.run = start_on_worker;
    q->stop_task.run = stop_on_worker;
    q->stopped_task.run = stopped_on_control;
    q->memory_task.run = memory_on_worker;
    q->memory_done_task.run = memory_done_on_control;
    q->kick_task.run = kick_on_worker;
    return 0;
}

void queue_clear(struct queue *q)
{
    virtq_free(q->vq);
    q->vq = NULL;
}
