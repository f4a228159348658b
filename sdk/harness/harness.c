/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * harness.c - the life of a device under test, and the rules it is held to. See hvv/harness.h.
 * Test's thread, but for hvvh_violation() and hvvh_fails().
 */
#include "own.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 10000u
#define START_NS 1000000000u

/* ---- Rules ----------------------------------------------------------------------------------- */

void hvvh_violation(struct hvv_harness *h, const char *rule, const char *fmt, ...)
{
    char text[HVV_HARNESS_TEXT - 64];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    hvvh_lock(h);
    if (h->violations++ == 0)
        snprintf(h->violation, sizeof(h->violation), "%.40s: %s", rule, text);
    hvvh_unlock(h);
    if (h->on_violation)
        h->on_violation(h, rule, text);
    else
        fprintf(stderr, "hvv-harness: %s: %s: %s\n", h->plugin->name, rule, text);
}

void hvvh_misuse(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("hvv-harness: the test is wrong: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

/* Calls for the device as a whole are on the worker of queue 0. */
static uint32_t worker_of(const struct hvv_harness *h, uint32_t queue)
{
    return queue < h->n_queues ? h->own->queue[queue].worker : 0;
}

void hvvh_check_worker(struct hvv_harness *h, const char *service, uint32_t queue, bool create,
                       bool destroy)
{
    const struct hvv_harness_own *own = h->own;
    if (!pthread_equal(pthread_self(), own->thread)) {
        hvvh_violation(h, "thread", "hvv_%s() on a thread of the plugin: only the worker may call "
                       "it", service);
        return;
    }
    if (own->worker == HVVH_TEST || own->worker == worker_of(h, queue))
        return;
    if (own->worker != HVVH_BUILDER)
        hvvh_violation(h, "worker", "hvv_%s() for queue %u on the worker of another queue", service,
                       queue);
    else if (!(own->phase == HVVH_CREATING ? create : destroy))
        hvvh_violation(h, "worker", "hvv_%s() in %s(): only the worker may call it", service,
                       own->phase == HVVH_CREATING ? "create" : "destroy");
}

bool hvvh_fails(struct hvv_harness *h, enum hvv_harness_service service)
{
    struct hvv_harness_own *own = h->own;
    hvvh_lock(h);
    bool fails = own->fail_in > 0 && (own->fail == service || own->fail == HVV_HARNESS_ANY) &&
                 --own->fail_in == 0;
    own->has_failed = own->has_failed || fails;
    hvvh_unlock(h);
    return fails;
}

void hvv_harness_fail_at(struct hvv_harness *h, enum hvv_harness_service service, uint32_t nth)
{
    hvvh_lock(h);
    h->own->fail = service;
    h->own->fail_in = nth;
    h->own->has_failed = false;
    hvvh_unlock(h);
}

bool hvv_harness_failed(struct hvv_harness *h)
{
    hvvh_lock(h);
    bool failed = h->own->has_failed;
    hvvh_unlock(h);
    return failed;
}

uint64_t hvvh_clock(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct hvvh_entry hvvh_enter(struct hvv_harness *h, const char *what, uint32_t worker)
{
    struct hvvh_entry entry = {h->own->worker, hvvh_clock(), what};
    h->own->worker = worker == HVVH_BUILDER ? worker : worker_of(h, worker);
    if (h->on_call)
        h->on_call(h, what, false);
    return entry;
}

void hvvh_leave(struct hvv_harness *h, struct hvvh_entry entry)
{
    uint64_t took = hvvh_clock() - entry.since;
    if (h->on_call)
        h->on_call(h, entry.what, true);
    h->own->worker = entry.worker;
    if (took >= h->slowest_ns) {
        h->slowest_ns = took;
        h->slowest = entry.what;
    }
}

static void set_phase(struct hvv_harness *h, enum hvvh_phase phase)
{
    hvvh_lock(h);
    h->own->phase = phase;
    hvvh_unlock(h);
}

/* ---- Create ---------------------------------------------------------------------------------- */

void hvv_harness_init(struct hvv_harness *h, const struct hvv_plugin *plugin)
{
    memset(h, 0, sizeof(*h));
    h->plugin = plugin;
    h->dev.size = sizeof(h->dev);
    h->dev.host = &h->host;
    h->dev.id = "harness";
    h->host.size = sizeof(h->host);
    h->host.abi_major = HVV_ABI_MAJOR;
    h->host.abi_minor = HVV_ABI_MINOR;
    h->host.caps = HVV_CAP_MAP | HVV_CAP_SHARED;
    hvvh_services_chains(&h->host);
    hvvh_services_loop(&h->host);
    hvvh_services_memory(&h->host);
    hvvh_services_said(&h->host);
    hvvh_services_values(&h->host);
    h->patience_ms = PATIENCE_MS;
    struct hvv_harness_own *own = calloc(1, sizeof(*own));
    if (!own)
        hvvh_misuse("out of memory");
    h->own = own;
    pthread_mutex_init(&own->lock, NULL);
    own->thread = pthread_self();
    own->worker = HVVH_TEST;
    own->tasks_end = &own->tasks;
    own->now = START_NS;
    own->memory_fd = -1;
    own->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    own->counters = calloc(plugin->n_counters + 1, sizeof(*own->counters));
    own->events = calloc(plugin->n_events + 1, sizeof(*own->events));
    if (own->wake < 0 || !own->counters || !own->events)
        hvvh_misuse("out of memory or descriptors");
}

static void free_all(struct hvv_harness *h)
{
    struct hvv_harness_own *own = h->own;
    hvvh_loop_free(h);
    if (own->n_shared)
        hvvh_violation(h, "shared-left", "hvv_shared_put() is missing for %u shared states",
                       own->n_shared);
    hvvh_unmap_all(h);
    hvvh_chains_free(h);
    hvvh_memory_free(h);
    hvvh_said_free(h);
    hvvh_values_free(h);
    free(own->counters);
    free(own->events);
    close(own->wake);
    pthread_mutex_destroy(&own->lock);
    free(own);
    h->own = NULL;
}

static int32_t call_create(struct hvv_harness *h)
{
    struct hvv_harness_own *own = h->own;
    set_phase(h, HVVH_CREATING);
    struct hvvh_entry entry = hvvh_enter(h, "create", HVVH_BUILDER);
    int32_t rc = h->plugin->ops->create(&h->dev);
    hvvh_leave(h, entry);
    set_phase(h, HVVH_CREATED);
    if (rc < 0 && !own->said_error)
        hvvh_violation(h, "silent", "create() returned %d and did not say why with hvv_error()",
                       rc);
    if (rc > 0)
        hvvh_violation(h, "status", "create() returned %d: 0 or a negative errno is right", rc);
    if (rc >= 0 && h->n_queues == 0)
        hvvh_violation(h, "no-queue", "create() made a device without queues");
    return rc > 0 ? 0 : rc;
}

int32_t hvv_harness_create(struct hvv_harness *h, const char *options)
{
    if (h->own->phase != HVVH_NEW)
        hvvh_misuse("hvv_harness_create() twice");
    h->own->thread = pthread_self();
    int32_t rc = hvvh_parse(h, options);
    if (rc == 0)
        rc = call_create(h);
    if (rc < 0)
        free_all(h);
    else
        h->taken = h->offered;
    return rc;
}

int32_t hvv_harness_open(struct hvv_harness *h, const struct hvv_plugin *plugin,
                         const char *options)
{
    hvv_harness_init(h, plugin);
    return hvv_harness_create(h, options);
}

bool hvv_harness_refuses(struct hvv_harness *h, const struct hvv_plugin *plugin,
                         const char *options, int32_t err, const char *option, const char *words)
{
    int32_t rc = hvv_harness_open(h, plugin, options);
    if (rc == 0) {
        hvv_harness_close(h);
        snprintf(h->error, sizeof(h->error), "it was not refused");
    }
    return rc == -err && strcmp(h->error_option, option) == 0 && strstr(h->error, words) &&
           h->violations == 0;
}

/* ---- Start and stop -------------------------------------------------------------------------- */

static void check_alive(const struct hvv_harness *h, const char *function)
{
    if (!h->own || h->own->phase < HVVH_CREATED || h->own->phase > HVVH_PUBLISHED)
        hvvh_misuse("%s() on a device that is not there", function);
}

static void publish(struct hvv_harness *h)
{
    if (h->own->phase == HVVH_PUBLISHED)
        return;
    set_phase(h, HVVH_PUBLISHED);
    struct hvvh_entry entry = hvvh_enter(h, "publish", 0);
    if (h->plugin->ops->publish)
        h->plugin->ops->publish(&h->dev);
    hvvh_leave(h, entry);
    hvvh_lock(h);
    h->own->published = true;
    hvvh_unlock(h);
}

void hvv_harness_queue_start(struct hvv_harness *h, uint32_t queue)
{
    check_alive(h, "hvv_harness_queue_start");
    if (queue >= h->n_queues)
        hvvh_misuse("queue %u does not exist: there are %u", queue, h->n_queues);
    publish(h);
    if (h->own->queue[queue].running)
        return;
    hvvh_queue_begin(h, queue);
    hvv_harness_kick(h, queue);
}

void hvv_harness_start(struct hvv_harness *h)
{
    check_alive(h, "hvv_harness_start");
    publish(h);
    for (uint32_t i = 0; i < h->n_queues; i++)
        hvv_harness_queue_start(h, i);
}

bool hvv_harness_queue_stop(struct hvv_harness *h, uint32_t queue, uint32_t flags)
{
    check_alive(h, "hvv_harness_queue_stop");
    if (queue >= h->n_queues)
        hvvh_misuse("queue %u does not exist: there are %u", queue, h->n_queues);
    hvvh_queue_end(h, queue, flags);
    return hvvh_drain(h);
}

static bool stop_all(struct hvv_harness *h, uint32_t flags)
{
    if (h->own->phase != HVVH_PUBLISHED)
        return true; /* no queue runs, and reset() comes only after publish() */
    for (uint32_t i = 0; i < h->n_queues; i++)
        hvvh_queue_end(h, i, flags);
    bool drained = hvvh_drain(h);
    hvvh_run_tasks(h);
    struct hvvh_entry entry = hvvh_enter(h, "reset", 0);
    if (h->plugin->ops->reset)
        h->plugin->ops->reset(&h->dev);
    hvvh_leave(h, entry);
    hvvh_unmap_all(h);
    hvvh_drop_old_memory(h);
    hvvh_lock(h);
    h->broken[0] = '\0';
    hvvh_unlock(h);
    return drained;
}

bool hvv_harness_stop(struct hvv_harness *h)
{
    check_alive(h, "hvv_harness_stop");
    return stop_all(h, 0);
}

bool hvv_harness_reset(struct hvv_harness *h)
{
    check_alive(h, "hvv_harness_reset");
    return stop_all(h, HVV_STOP_DISCARD);
}

/* stop() comes only after publish(); tasks posted before it returns are run. */
static void retire(struct hvv_harness *h)
{
    char broken[sizeof(h->broken)]; /* a test may look at it after the end */
    memcpy(broken, h->broken, sizeof(broken));
    stop_all(h, 0);
    memcpy(h->broken, broken, sizeof(broken));
    hvvh_disarm(h);
    struct hvvh_entry entry = hvvh_enter(h, "stop", 0);
    if (h->plugin->ops->stop)
        h->plugin->ops->stop(&h->dev);
    hvvh_leave(h, entry);
    set_phase(h, HVVH_STOPPED);
    while (hvvh_run_tasks(h))
        ;
    if (h->own->n_calls)
        hvvh_violation(h, "call-never", "%u commands were not finished when stop() returned",
                       h->own->n_calls);
}

bool hvv_harness_close(struct hvv_harness *h)
{
    check_alive(h, "hvv_harness_close");
    if (h->own->phase == HVVH_PUBLISHED)
        retire(h);
    set_phase(h, HVVH_STOPPED);
    struct hvvh_entry entry = hvvh_enter(h, "destroy", HVVH_BUILDER);
    h->plugin->ops->destroy(&h->dev);
    hvvh_leave(h, entry);
    set_phase(h, HVVH_GONE);
    free_all(h);
    return h->violations == 0;
}

/* ---- Sweep ----------------------------------------------------------------------------------- */

static void keep_quiet(struct hvv_harness *h, const char *rule, const char *text)
{
    (void)h, (void)rule, (void)text; /* hvv_harness_sweep() reports it */
}

/* One life with the call number `n` failing. 1 if that call was reached, 0 if not, -1: see why. */
static int one_life(const struct hvv_plugin *plugin, const char *options, uint32_t n, char *why,
                    size_t size)
{
    struct hvv_harness h;
    hvv_harness_init(&h, plugin);
    h.on_violation = keep_quiet;
    hvv_harness_fail_at(&h, HVV_HARNESS_ANY, n);
    struct hvv_harness_own *own = h.own;
    int32_t rc = hvvh_parse(&h, options);
    if (rc == 0)
        rc = call_create(&h);
    if (rc == 0) {
        h.taken = h.offered;
        hvv_harness_start(&h);
        hvv_harness_settle(&h);
    }
    bool reached = own->has_failed;
    if (rc == 0)
        hvv_harness_close(&h);
    else
        free_all(&h);
    if (h.violations)
        snprintf(why, size, "with call %u of a service failing: %s", n, h.violation);
    else if (rc < 0 && !reached)
        snprintf(why, size, "create() failed and no service did: %s", h.error);
    return h.violations || (rc < 0 && !reached) ? -1 : reached;
}

int32_t hvv_harness_sweep(const struct hvv_plugin *plugin, const char *options, char *why,
                          size_t size)
{
    for (uint32_t n = 1;; n++) {
        int rc = one_life(plugin, options, n, why, size);
        if (rc < 0)
            return -1;
        if (rc == 0)
            return (int32_t)(n - 1);
    }
}
