/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * access.c - see access.h. One of the six doors for untrusted input: what bridge_take() hands out is
 * a copy with everything checked but the address, which is looked up here.
 */
#include "transport/bridge/access.h"

#include "transport/mmio/mmio.h"
#include "transport/peer-fd.h"
#include "util/container.h"
#include "util/log.h"
#include "worker/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BATCH HVV_BRIDGE_ENTRIES /* accesses taken before others on the thread have their turn */

struct access_thread {
    struct access_setup setup;
    struct bridge bridge;
    struct interrupts *interrupts;
    struct worker *worker;
    struct service service;          /* access */
    struct watch *doorbell;
    struct timer *wake;              /* for a wake-up that was lost; access */
    struct timer *release;           /* access */
    bool serves;                     /* access: accesses are taken */
    struct registers empty;          /* access: a slot without a device */
    struct waiting waiting[HVV_BRIDGE_CPUS]; /* access */
    _Atomic(struct slot_table *) table;
    struct loop *control;
    struct hvv_task start_task, serve_task, stop_task;
    void (*done)(void *arg);
    void *done_arg;
};

struct loop *access_loop(struct access_thread *at)
{
    return worker_loop(at->worker);
}

struct interrupts *access_interrupts(struct access_thread *at)
{
    return at->interrupts;
}

/* ---- access thread: an access ---------------------------------------------------------------- */

void access_answer(struct access_thread *at, const struct bridge_access *access, uint64_t value)
{
    if (access->waits)
        bridge_answer(&at->bridge, access->cpu, access->size, value);
}

struct waiting *access_waiting(struct access_thread *at, const struct bridge_access *access)
{
    return access->waits ? &at->waiting[access->cpu] : NULL;
}

static const struct slot_entry *find_slot(const struct slot_table *table,
                                          const struct bridge_access *access)
{
    size_t low = 0, high = table->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct slot_entry *e = &table->entries[middle];
        if (access->zone < e->zone || (access->zone == e->zone && access->address < e->addr))
            high = middle;
        else if (access->zone > e->zone || access->address - e->addr >= e->len)
            low = middle + 1;
        else
            return access->size <= e->len - (access->address - e->addr) ? e : NULL;
    }
    return NULL;
}

static void handle(struct access_thread *at, const struct bridge_access *access)
{
    /* Acquire: pairs with the exchange in access_set_table(), after which the devices are whole. */
    const struct slot_table *table = atomic_load_explicit(&at->table, memory_order_acquire);
    const struct slot_entry *e = find_slot(table, access);
    uint64_t value = 0;
    if (e && e->device) {
        if (mmio_access(e->device, at, access, access->address - e->addr))
            worker_expect(at->worker);
        return;
    }
    if (e && !access->write)
        value = registers_read(&at->empty, access->address - e->addr, access->size).value;
    access_answer(at, access, value);
}

static bool serve(struct service *s)
{
    struct access_thread *at = container_of(s, struct access_thread, service);
    struct bridge_access access;
    unsigned n = 0;
    if (!at->serves)
        return false;
    bridge_awake(&at->bridge);
    while (n < BATCH && bridge_take(&at->bridge, &access)) {
        handle(at, &access);
        n++;
    }
    return n > 0 || at->setup.never_sleep;
}

static bool has_slots(const struct access_thread *at)
{
    return atomic_load_explicit(&at->table, memory_order_acquire)->n > 0;
}

static bool rest(struct service *s)
{
    struct access_thread *at = container_of(s, struct access_thread, service);
    if (!at->serves)
        return false;
    if (!bridge_may_sleep(&at->bridge))
        return true;
    if (at->setup.wake_ns && has_slots(at)) /* a new table wakes the thread up */
        timer_set(at->wake, at->setup.wake_ns);
    return false;
}

static void on_doorbell(void *arg, uint32_t events)
{
    struct access_thread *at = arg;
    (void)events;
    int rc = peer_fd_drain(at->setup.doorbell); /* being awake is all it takes */
    if (rc < 0) {
        watch_set(at->doorbell, 0);
        log_error("%s: the eventfd for wake-ups cannot be read: %s", at->setup.name,
                  rc == -ENODATA ? "end of file" : strerror(-rc));
    }
}

static void on_wake(void *arg)
{
    (void)arg; /* that the thread woke up is all it takes: it looks at the bridge */
}

static void on_release(void *arg)
{
    struct access_thread *at = arg;
    serve(&at->service); /* who is on the page already has been heard of */
    bridge_release_unheard(&at->bridge);
}

static void start_on_access(struct hvv_task *task)
{
    struct access_thread *at = container_of(task, struct access_thread, start_task);
    pthread_setname_np(pthread_self(), at->setup.name);
    worker_add(at->worker, &at->service);
    watch_set(at->doorbell, HVV_WATCH_READ);
    at->serves = !at->setup.waits;
}

static void serve_on_access(struct hvv_task *task)
{
    struct access_thread *at = container_of(task, struct access_thread, serve_task);
    at->serves = true;
    timer_set(at->release, at->setup.release_ns);
}

/* ---- control: the table ---------------------------------------------------------------------- */

static void table_unused(struct hvv_task *task)
{
    struct slot_table *table = container_of(task, struct slot_table, task);
    void (*done)(void *arg) = table->done;
    void *arg = table->arg;
    free(table);
    if (done)
        done(arg);
}

static void pass_on_access(struct hvv_task *task)
{
    struct slot_table *table = container_of(task, struct slot_table, task);
    task->run = table_unused;
    loop_post(table->control, task);
}

void access_set_table(struct access_thread *at, struct slot_table *table, void (*done)(void *arg),
                      void *arg)
{
    struct slot_table *old = atomic_exchange_explicit(&at->table, table, memory_order_acq_rel);
    old->done = done;
    old->arg = arg;
    old->control = at->control;
    old->task.run = pass_on_access;
    loop_post(access_loop(at), &old->task);
}

/* ---- control: life --------------------------------------------------------------------------- */

static void destroy(struct access_thread *at)
{
    worker_free(at->worker); /* first: it uses all the rest; no service is left on it */
    interrupts_free(at->interrupts);
    free(at);
}

static void stopped_on_control(struct hvv_task *task)
{
    struct access_thread *at = container_of(task, struct access_thread, stop_task);
    void (*done)(void *arg) = at->done;
    void *arg = at->done_arg;
    watch_free(at->doorbell);
    timer_free(at->wake);
    timer_free(at->release);
    free(atomic_load(&at->table));
    destroy(at);
    done(arg);
}

static void stop_on_access(struct hvv_task *task)
{
    struct access_thread *at = container_of(task, struct access_thread, stop_task);
    timer_set(at->release, 0);
    watch_set(at->doorbell, 0);
    timer_set(at->wake, 0);
    worker_remove(at->worker, &at->service);
    bridge_answer_all(&at->bridge);
    task->run = stopped_on_control;
    loop_post(at->control, task);
}

void access_free(struct access_thread *at, void (*done)(void *arg), void *arg)
{
    at->done = done;
    at->done_arg = arg;
    at->stop_task.run = stop_on_access;
    loop_post(access_loop(at), &at->stop_task);
}

void access_start(struct access_thread *at)
{
    at->serve_task.run = serve_on_access;
    loop_post(access_loop(at), &at->serve_task);
}

static int start_parts(struct access_thread *at, struct error *error)
{
    struct slot_table *table = calloc(1, sizeof(*table));
    atomic_init(&at->table, table);
    at->worker = table ? worker_new(0, at->setup.poll_ns, error) : NULL;
    if (!at->worker)
        return error_set(error, ENOMEM, "out of memory for an access thread");
    at->setup.interrupts.bridge = &at->bridge;
    at->interrupts = interrupts_new(&at->setup.interrupts, error);
    if (!at->interrupts)
        return -error->err;
    at->doorbell = watch_new(access_loop(at), peer_fd_number(at->setup.doorbell), on_doorbell, at);
    at->wake = timer_new(access_loop(at), on_wake, at);
    at->release = timer_new(access_loop(at), on_release, at);
    if (!at->doorbell || !at->wake || !at->release)
        return error_set(error, ENOMEM, "out of memory for an access thread");
    return 0;
}

struct access_thread *access_new(struct loop *control, const struct access_setup *setup,
                                 struct error *error)
{
    struct access_thread *at = calloc(1, sizeof(*at));
    if (!at) {
        error_set(error, ENOMEM, "out of memory for an access thread");
        return NULL;
    }
    at->setup = *setup;
    at->control = control;
    at->service.serve = serve;
    at->service.rest = rest;
    at->start_task.run = start_on_access;
    registers_init(&at->empty, NULL, NULL);
    if (bridge_init(&at->bridge, setup->page, setup->name, setup->answered, setup->arg, error) < 0 ||
        start_parts(at, error) < 0) {
        watch_free(at->doorbell);
        timer_free(at->wake);
        timer_free(at->release);
        free(atomic_load(&at->table));
        destroy(at);
        return NULL;
    }
    loop_post(access_loop(at), &at->start_task);
    return at;
}
