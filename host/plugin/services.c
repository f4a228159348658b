/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services.c - the services of hvv/host.h; the comments there say what each does and on which
 * threads. Here they are joined to the device, its queues and its worker.
 */
#include "plugin/services.h"

#include "daemon.h"
#include "device/create.h"
#include "plugin/call.h"
#include "plugin/shared.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define DEVICE_FEATURE_BITS (((1ull << 24) - 1) | ~((1ull << 50) - 1))

/* ---- telling people -------------------------------------------------------------------------- */

HVV_PRINTF(3, 0)
static void log_service(struct hvv_device *pub, uint32_t level, const char *fmt, va_list args)
{
    char text[512];
    vsnprintf(text, sizeof(text), fmt, args);
    device_log(device_of(pub), level, "%s", text);
}

HVV_PRINTF(4, 0)
static void error_service(struct hvv_device *pub, int32_t err, const char *option, const char *fmt,
                          va_list args)
{
    struct device *dev = device_of(pub);
    if (dev->create_error)
        error_vset(dev->create_error, err, option, fmt, args);
}

/* Where a counter is counted, or NULL if the plugin has no such counter or queue. */
static _Atomic uint64_t *find_counter(struct device *dev, uint32_t counter, uint32_t queue)
{
    const struct hvv_plugin *info = &dev->plugin->info;
    if (counter >= info->n_counters)
        return NULL;
    if (!(info->counters[counter].flags & HVV_COUNTER_QUEUE))
        return device_counter(dev, counter, HVV_NO_QUEUE);
    return queue < dev->n_queues ? device_counter(dev, counter, queue) : NULL;
}

static void count_service(struct hvv_device *pub, uint32_t counter, uint32_t queue, uint64_t n)
{
    _Atomic uint64_t *c = find_counter(device_of(pub), counter, queue);
    if (c)
        atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static void gauge_service(struct hvv_device *pub, uint32_t counter, uint32_t queue, uint64_t value)
{
    _Atomic uint64_t *c = find_counter(device_of(pub), counter, queue);
    if (c)
        atomic_store_explicit(c, value, memory_order_relaxed);
}

/* The line with this key, else one that is free, else NULL. Under dev->lock. */
static struct line *find_line(struct device *dev, const char *key)
{
    struct line *free_line = NULL;
    for (uint32_t i = DEVICE_LINES_MAX; i-- > 0;) {
        struct line *line = &dev->lines[i];
        if (line->key && strcmp(line->key, key) == 0)
            return line;
        if (!line->key)
            free_line = line;
    }
    return free_line;
}

static void describe_service(struct hvv_device *pub, const char *key, const char *value)
{
    struct device *dev = device_of(pub);
    struct line new = {value ? strdup(key) : NULL, value ? strdup(value) : NULL}, old = new;
    pthread_mutex_lock(&dev->lock);
    struct line *line = find_line(dev, key);
    if (line && (!value || (new.key && new.value))) {
        old = *line;
        *line = new;
    }
    pthread_mutex_unlock(&dev->lock);
    free(old.key);
    free(old.value);
}

static uint64_t now_service(struct hvv_device *pub)
{
    (void)pub;
    return clock_ns();
}

struct event {
    struct hvv_task task;
    struct device *dev;
    const char *name;
    char text[256];
};

static void event_on_control(struct hvv_task *task)
{
    struct event *event = (struct event *)(void *)task;
    if (event->dev->state == DEVICE_PUBLISHED || event->dev->state == DEVICE_QUIESCING)
        daemon_plugin_event(event->dev, event->name, event->text);
    free(event);
}

HVV_PRINTF(3, 0)
static void event_service(struct hvv_device *pub, uint32_t number, const char *fmt, va_list args)
{
    struct device *dev = device_of(pub);
    uint32_t dropped;
    if (!atomic_load(&dev->active)) /* if its request fails it is gone before the event is told */
        return;
    if (number >= dev->plugin->info.n_events || !log_limit_ok(&dev->event_limit, &dropped))
        return;
    struct event *event = malloc(sizeof(*event));
    if (!event)
        return;
    event->task.run = event_on_control;
    event->dev = dev;
    event->name = dev->plugin->info.events[number].name;
    vsnprintf(event->text, sizeof(event->text), fmt, args);
    loop_post(dev->daemon->loop, &event->task);
}

/* ---- options --------------------------------------------------------------------------------- */

static uint32_t option_count(struct hvv_device *pub, const char *name)
{
    return options_count(&device_of(pub)->options, name);
}

static const char *option_string(struct hvv_device *pub, const char *name, uint32_t index)
{
    return options_string(&device_of(pub)->options, name, index);
}

static uint64_t option_u64(struct hvv_device *pub, const char *name, uint32_t index)
{
    return options_u64(&device_of(pub)->options, name, index);
}

static uint32_t option_given(struct hvv_device *pub, const char *name)
{
    return options_given(&device_of(pub)->options, name);
}

/* ---- describing the device ------------------------------------------------------------------- */

static void set_features(struct hvv_device *pub, uint64_t features, uint32_t flags)
{
    struct device *dev = device_of(pub);
    dev->features = features & DEVICE_FEATURE_BITS;
    dev->feature_flags = flags;
}

static int32_t add_queues(struct hvv_device *pub, uint32_t count, uint32_t size, uint32_t segments,
                          uint32_t flags)
{
    struct device *dev = device_of(pub);
    if (count == 0 || count > HVV_QUEUES_MAX - dev->n_queues || size == 0 ||
        size > HVV_QUEUE_SIZE_MAX || (size & (size - 1)) || segments > HVV_SEGMENTS_MAX)
        return -EINVAL;
    return create_queues(dev, count, size, segments, flags);
}

static int32_t config_set(struct hvv_device *pub, uint32_t offset, const void *data, uint32_t size,
                          uint32_t flags)
{
    struct device *dev = device_of(pub);
    int rc = config_space_write(&dev->config, offset, data, size, dev->create_error != NULL);
    if (rc == 0 && (flags & HVV_CONFIG_NOTIFY) && !dev->create_error)
        device_config_changed(dev);
    return rc;
}

static uint64_t features_service(struct hvv_device *pub)
{
    struct device *dev = device_of(pub);
    return atomic_load(&dev->negotiated) & dev->features;
}

/* ---- chains ---------------------------------------------------------------------------------- */

static uint32_t pop(struct hvv_device *pub, uint32_t queue, struct hvv_chain **chains, uint32_t max)
{
    struct device *dev = device_of(pub);
    return queue < dev->n_queues ? virtq_pop(dev->queues[queue].vq, chains, max) : 0;
}

HVV_PRINTF(2, 0)
static void broken(struct hvv_device *pub, const char *fmt, va_list args)
{
    char text[256];
    vsnprintf(text, sizeof(text), fmt, args);
    device_break(device_of(pub), "%s", text);
}

/* ---- watches and timers ---------------------------------------------------------------------- */

static struct queue *queue_at(struct device *dev, uint32_t queue)
{
    if (queue < dev->n_queues)
        return &dev->queues[queue];
    errno = EINVAL;
    return NULL;
}

static void watch_ready(void *arg, uint32_t events)
{
    struct hvv_watch *w = arg;
    callback_enter(&w->dev->callbacks[CALLBACK_WATCH]);
    w->ready(w->arg, events);
    callback_leave();
}

static struct hvv_watch *watch_new_service(struct hvv_device *pub, uint32_t queue, int fd,
                                           void (*ready)(void *arg, uint32_t events), void *arg)
{
    struct device *dev = device_of(pub);
    struct queue *q = queue_at(dev, queue);
    struct hvv_watch *w = q ? calloc(1, sizeof(*w)) : NULL;
    if (!w)
        return NULL;
    w->dev = dev;
    w->queue = q;
    w->ready = ready;
    w->arg = arg;
    w->watch = watch_new(worker_loop(q->worker), fd, watch_ready, w);
    if (!w->watch) {
        free(w);
        errno = ENOMEM;
        return NULL;
    }
    pthread_mutex_lock(&dev->lock);
    TAILQ_INSERT_TAIL(&dev->watches, w, link);
    pthread_mutex_unlock(&dev->lock);
    return w;
}

static void watch_set_service(struct hvv_watch *w, uint32_t events)
{
    if (!atomic_load(&w->dev->retiring))
        watch_set(w->watch, events);
}

static void watch_free_service(struct hvv_watch *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->dev->lock);
    TAILQ_REMOVE(&w->dev->watches, w, link);
    pthread_mutex_unlock(&w->dev->lock);
    watch_free(w->watch);
    free(w);
}

static void timer_expired(void *arg)
{
    struct hvv_timer *t = arg;
    callback_enter(&t->dev->callbacks[CALLBACK_TIMER]);
    t->expired(t->arg);
    callback_leave();
}

static struct hvv_timer *timer_new_service(struct hvv_device *pub, uint32_t queue,
                                           void (*expired)(void *arg), void *arg)
{
    struct device *dev = device_of(pub);
    struct queue *q = queue_at(dev, queue);
    struct hvv_timer *t = q ? calloc(1, sizeof(*t)) : NULL;
    if (!t)
        return NULL;
    t->dev = dev;
    t->queue = q;
    t->expired = expired;
    t->arg = arg;
    t->timer = timer_new(worker_loop(q->worker), timer_expired, t);
    if (!t->timer) {
        free(t);
        errno = ENOMEM;
        return NULL;
    }
    pthread_mutex_lock(&dev->lock);
    TAILQ_INSERT_TAIL(&dev->timers, t, link);
    pthread_mutex_unlock(&dev->lock);
    return t;
}

static void timer_set_service(struct hvv_timer *t, uint64_t nanoseconds)
{
    if (!atomic_load(&t->dev->retiring))
        timer_set(t->timer, nanoseconds);
}

static void timer_free_service(struct hvv_timer *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->dev->lock);
    TAILQ_REMOVE(&t->dev->timers, t, link);
    pthread_mutex_unlock(&t->dev->lock);
    timer_free(t->timer);
    free(t);
}

void services_disarm(struct device *dev, struct worker *worker)
{
    struct hvv_watch *w;
    struct hvv_timer *t;
    pthread_mutex_lock(&dev->lock);
    TAILQ_FOREACH(w, &dev->watches, link)
        if (w->queue->worker == worker)
            watch_set(w->watch, 0);
    TAILQ_FOREACH(t, &dev->timers, link)
        if (t->queue->worker == worker)
            timer_set(t->timer, 0);
    pthread_mutex_unlock(&dev->lock);
}

void services_sweep(struct device *dev)
{
    unsigned forgotten = 0;
    for (; !TAILQ_EMPTY(&dev->watches); forgotten++)
        watch_free_service(TAILQ_FIRST(&dev->watches));
    for (; !TAILQ_EMPTY(&dev->timers); forgotten++)
        timer_free_service(TAILQ_FIRST(&dev->timers));
    if (forgotten)
        log_write(HVV_LOG_WARNING, dev->id, "plugin %s left %u watches or timers behind",
                  dev->plugin->info.name, forgotten);
}

/* A staged device is destroyed, if its request fails, without asking what was posted. */
static void post_service(struct hvv_device *pub, uint32_t queue, struct hvv_task *task)
{
    struct device *dev = device_of(pub);
    if (!atomic_load(&dev->active)) {
        device_log(dev, HVV_LOG_ERROR, "plugin %s posted a task before publish(): it is not run",
                   dev->plugin->info.name);
        return;
    }
    struct worker *worker = dev->queues[queue < dev->n_queues ? queue : 0].worker;
    loop_post_callback(worker_loop(worker), task, &dev->callbacks[CALLBACK_TASK]);
}

/* ---- guest memory ---------------------------------------------------------------------------- */

struct map {
    struct hvv_map pub; /* first */
    struct map *next, **prev;
    struct memory *memory;
    struct iovec iov[];
};

/* How many pieces the ranges are in, or -errno. */
static int64_t count_pieces(const struct memory *memory, const struct hvv_range *ranges, uint32_t n)
{
    struct iovec iov[MEMORY_REGIONS_MAX];
    int64_t pieces = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (ranges[i].size == 0 || ranges[i].size > UINT32_MAX)
            return -EFAULT;
        int k = memory_translate(memory, ranges[i].address, ranges[i].size, iov,
                                 MEMORY_REGIONS_MAX);
        if (k < 0)
            return -EFAULT;
        pieces += k;
    }
    return pieces;
}

static struct map *new_map(struct memory *memory, const struct hvv_range *ranges, uint32_t n,
                           uint32_t pieces)
{
    struct map *map = malloc(sizeof(*map) + pieces * sizeof(map->iov[0]));
    if (!map)
        return NULL;
    map->pub = (struct hvv_map){sizeof(map->pub), 0, map->iov};
    map->memory = memory_get(memory);
    for (uint32_t i = 0; i < n; i++) /* the same answer as when counting: a snapshot is constant */
        map->pub.n_iov += (uint32_t)memory_translate(memory, ranges[i].address, ranges[i].size,
                                                     map->iov + map->pub.n_iov,
                                                     pieces - map->pub.n_iov);
    return map;
}

static const struct hvv_map *mem_map(struct hvv_device *pub, const struct hvv_range *ranges,
                                     uint32_t n, uint32_t access)
{
    (void)access; /* all guest memory is readable and writable today */
    struct device *dev = device_of(pub);
    struct virtq *vq = dev->queues[0].vq; /* its snapshot is this worker's to look at */
    struct memory *memory = vq->memory[vq->epoch];
    int64_t pieces = memory && n ? count_pieces(memory, ranges, n) : -EFAULT;
    if (pieces > HVV_MAP_PIECES_MAX - dev->n_map_pieces)
        pieces = -ENOSPC;
    struct map *map = pieces < 0 ? NULL : new_map(memory, ranges, n, (uint32_t)pieces);
    if (!map) {
        errno = pieces < 0 ? (int)-pieces : ENOMEM;
        return NULL;
    }
    map->next = dev->maps;
    map->prev = &dev->maps;
    if (map->next)
        map->next->prev = &map->next;
    dev->maps = map;
    dev->n_map_pieces += map->pub.n_iov;
    return &map->pub;
}

static void mem_unmap(struct hvv_device *pub, const struct hvv_map *mapped)
{
    struct device *dev = device_of(pub);
    struct map *map = (struct map *)(uintptr_t)mapped;
    *map->prev = map->next;
    if (map->next)
        map->next->prev = map->prev;
    dev->n_map_pieces -= map->pub.n_iov;
    memory_put(map->memory);
    free(map);
}

void services_unmap_all(struct device *dev)
{
    while (dev->maps)
        mem_unmap(&dev->pub, &dev->maps->pub);
}

/* ---- shared state and commands --------------------------------------------------------------- */

static void *shared_get_service(struct hvv_device *pub, const char *name, uint64_t size,
                                int32_t (*init)(void *shared, void *arg),
                                void (*fini)(void *shared), void *arg)
{
    return shared_get(device_of(pub)->plugin, name, size, init, fini, arg);
}

static void shared_put_service(struct hvv_device *pub, void *shared)
{
    (void)pub;
    shared_put(shared);
}

static uint32_t call_count(struct hvv_call *call, const char *param)
{
    return options_count(&call->params, param);
}

static const char *call_string(struct hvv_call *call, const char *param, uint32_t index)
{
    return options_string(&call->params, param, index);
}

static uint64_t call_u64(struct hvv_call *call, const char *param, uint32_t index)
{
    return options_u64(&call->params, param, index);
}

static void call_result(struct hvv_call *call, const char *key, const char *value)
{
    call_add(call, key, value, 0);
}

static void call_result_u64(struct hvv_call *call, const char *key, uint64_t value)
{
    call_add(call, key, NULL, value);
}

HVV_PRINTF(3, 0)
static void call_error(struct hvv_call *call, int32_t err, const char *fmt, va_list args)
{
    error_vset(&call->error, err, NULL, fmt, args);
}

const struct hvv_host services = {
    .size = sizeof(services),
    .abi_major = HVV_ABI_MAJOR,
    .abi_minor = HVV_ABI_MINOR,
    .caps = SERVICES_CAPS,
    .log = log_service,
    .error = error_service,
    .option_count = option_count,
    .option_string = option_string,
    .option_u64 = option_u64,
    .option_given = option_given,
    .set_features = set_features,
    .add_queues = add_queues,
    .config_set = config_set,
    .features = features_service,
    .pop = pop,
    .complete = virtq_complete,
    .fail = virtq_fail,
    .release = virtq_release,
    .broken = broken,
    .watch_new = watch_new_service,
    .watch_set = watch_set_service,
    .watch_free = watch_free_service,
    .timer_new = timer_new_service,
    .timer_set = timer_set_service,
    .timer_free = timer_free_service,
    .post = post_service,
    .mem_map = mem_map,
    .mem_unmap = mem_unmap,
    .shared_get = shared_get_service,
    .shared_put = shared_put_service,
    .count = count_service,
    .gauge = gauge_service,
    .describe = describe_service,
    .now = now_service,
    .event = event_service,
    .call_count = call_count,
    .call_string = call_string,
    .call_u64 = call_u64,
    .call_result = call_result,
    .call_result_u64 = call_result_u64,
    .call_result_fd = call_set_fd,
    .call_error = call_error,
    .call_finish = call_finish,
};
