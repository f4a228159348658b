/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mock-host.c - see mock-host.h. The lock guards what plugin threads may touch: chains' ends, the
 * list of tasks, counters, texts. Everything else belongs to the test's thread.
 */
#include "mock-host.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_NS 10000000000ull
#define WATCHES_MAX 128

struct hvv_watch {
    struct hvv_watch *next;
    int fd;
    uint32_t events;
    void (*ready)(void *arg, uint32_t events);
    void *arg;
};

struct hvv_timer {
    struct hvv_timer *next;
    struct mock *mock;
    uint64_t due; /* 0: not set */
    void (*expired)(void *arg);
    void *arg;
};

static struct mock *mock_of(struct hvv_device *dev)
{
    return (struct mock *)dev;
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void wake(struct mock *mock)
{
    uint64_t one = 1;
    if (write(mock->wake, &one, sizeof(one)) < 0)
        abort();
}

/* ---- Values ---------------------------------------------------------------------------------- */

static const struct hvv_option *option_find(const struct mock_values *values, const char *name)
{
    for (uint32_t i = 0; i < values->n_table; i++)
        if (strcmp(values->table[i].name, name) == 0)
            return &values->table[i];
    return NULL;
}

static bool values_parse(struct mock_values *values, const char *spec)
{
    char *copy = strdup(spec), *rest = copy, *word;
    bool ok = true;
    while (ok && (word = strsep(&rest, ",")) && values->n < MOCK_VALUES) {
        if (!*word)
            continue;
        char *value = strchr(word, '=');
        if (value)
            *value++ = '\0';
        ok = option_find(values, word) != NULL;
        values->name[values->n] = strdup(word);
        values->value[values->n++] = strdup(value ? value : "on");
    }
    free(copy);
    return ok;
}

static void values_free(struct mock_values *values)
{
    for (uint32_t i = 0; i < values->n; i++) {
        free(values->name[i]);
        free(values->value[i]);
    }
    values->n = 0;
}

static uint32_t values_given(const struct mock_values *values, const char *name)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < values->n; i++)
        n += strcmp(values->name[i], name) == 0;
    return n;
}

/* Value number `index` of those given; or the default, if none was. */
static const char *values_get(const struct mock_values *values, const char *name, uint32_t index)
{
    const struct hvv_option *option = option_find(values, name);
    if (!option)
        abort(); /* the plugin asks for what is not in its table */
    if (index == 0 && values_given(values, name) == 0)
        return option->dflt;
    for (uint32_t i = 0; i < values->n; i++)
        if (strcmp(values->name[i], name) == 0 && index-- == 0)
            return values->value[i];
    return NULL;
}

static uint64_t values_u64(const struct mock_values *values, const char *name, uint32_t index)
{
    const char *text = values_get(values, name, index);
    if (!text)
        return 0;
    if (strcmp(text, "on") == 0)
        return 1;
    char *end;
    uint64_t n = strtoull(text, &end, 0);
    return *end == 'K' ? n << 10 : *end == 'M' ? n << 20 : *end == 'G' ? n << 30 : n;
}

static uint32_t host_option_count(struct hvv_device *dev, const char *name)
{
    const struct mock_values *options = &mock_of(dev)->options;
    uint32_t given = values_given(options, name);
    return given ? given : values_get(options, name, 0) != NULL;
}

static uint32_t host_option_given(struct hvv_device *dev, const char *name)
{
    return values_given(&mock_of(dev)->options, name) > 0;
}

static const char *host_option_string(struct hvv_device *dev, const char *name, uint32_t index)
{
    return values_get(&mock_of(dev)->options, name, index);
}

static uint64_t host_option_u64(struct hvv_device *dev, const char *name, uint32_t index)
{
    return values_u64(&mock_of(dev)->options, name, index);
}

/* ---- Text and description -------------------------------------------------------------------- */

__attribute__((format(printf, 3, 0)))
static void host_log(struct hvv_device *dev, uint32_t level, const char *fmt, va_list args)
{
    int saved = errno;
    struct mock *mock = mock_of(dev);
    pthread_mutex_lock(&mock->lock);
    if (level <= HVV_LOG_WARNING)
        vsnprintf(mock->log, sizeof(mock->log), fmt, args);
    pthread_mutex_unlock(&mock->lock);
    errno = saved;
}

__attribute__((format(printf, 4, 0)))
static void host_error(struct hvv_device *dev, int32_t err, const char *option, const char *fmt,
                       va_list args)
{
    struct mock *mock = mock_of(dev);
    if (err <= 0)
        abort(); /* it is the positive errno that hvv_error() returns negative */
    vsnprintf(mock->error, sizeof(mock->error), fmt, args);
    snprintf(mock->error_option, sizeof(mock->error_option), "%s", option ? option : "");
}

static void host_set_features(struct hvv_device *dev, uint64_t features, uint32_t flags)
{
    struct mock *mock = mock_of(dev);
    mock->offered = mock->taken = features;
    mock->flags = flags;
}

static uint64_t host_features(struct hvv_device *dev)
{
    return mock_of(dev)->taken;
}

static int32_t host_add_queues(struct hvv_device *dev, uint32_t count, uint32_t size,
                               uint32_t segments, uint32_t flags)
{
    struct mock *mock = mock_of(dev);
    (void)flags; /* there is one worker */
    if (count > MOCK_QUEUES - mock->n_queues || size > HVV_QUEUE_SIZE_MAX)
        return -EINVAL;
    uint32_t first = mock->n_queues;
    for (; mock->n_queues < first + count; mock->n_queues++) {
        struct mock_queue *queue = &mock->queue[mock->n_queues];
        *queue = (struct mock_queue){.size = size, .segments = segments};
        queue->end = &queue->first;
    }
    return (int32_t)first;
}

static int32_t host_config_set(struct hvv_device *dev, uint32_t offset, const void *data,
                               uint32_t size, uint32_t flags)
{
    struct mock *mock = mock_of(dev);
    if (offset > HVV_CONFIG_MAX || size > HVV_CONFIG_MAX - offset)
        return -EINVAL;
    memcpy(mock->config + offset, data, size);
    if (offset + size > mock->config_size)
        mock->config_size = offset + size;
    mock->config_notified += flags & HVV_CONFIG_NOTIFY ? 1 : 0;
    return 0;
}

/* ---- Chains ---------------------------------------------------------------------------------- */

static uint32_t host_pop(struct hvv_device *dev, uint32_t index, struct hvv_chain **chains,
                         uint32_t max)
{
    struct mock *mock = mock_of(dev);
    struct mock_queue *queue = &mock->queue[index];
    uint32_t n = 0;
    while (queue->running && queue->first && n < max) {
        struct mock_chain *chain = queue->first;
        queue->first = chain->next;
        if (!queue->first)
            queue->end = &queue->first;
        chains[n++] = &chain->chain;
        pthread_mutex_lock(&mock->lock);
        mock->in_flight++;
        pthread_mutex_unlock(&mock->lock);
    }
    return n;
}

static void chain_end(struct hvv_chain *chain, uint32_t written)
{
    struct mock *mock = mock_of(chain->dev);
    struct mock_chain *own = (struct mock_chain *)chain;
    if (own->done || written > chain->writable_bytes)
        abort();
    own->written = written;
    own->done = true;
    mock->in_flight--;
    wake(mock);
}

static void host_complete(struct hvv_chain *chain, uint32_t written)
{
    struct mock *mock = mock_of(chain->dev);
    pthread_mutex_lock(&mock->lock);
    chain_end(chain, written);
    pthread_mutex_unlock(&mock->lock);
}

__attribute__((format(printf, 2, 0)))
static void host_fail(struct hvv_chain *chain, const char *fmt, va_list args)
{
    struct mock *mock = mock_of(chain->dev);
    struct mock_chain *own = (struct mock_chain *)chain;
    pthread_mutex_lock(&mock->lock);
    vsnprintf(own->failed, sizeof(own->failed), fmt, args);
    chain_end(chain, 0);
    pthread_mutex_unlock(&mock->lock);
}

static void host_release(struct hvv_chain *chain)
{
    struct mock *mock = mock_of(chain->dev);
    struct mock_queue *queue = &mock->queue[chain->queue];
    struct mock_chain *own = (struct mock_chain *)chain;
    own->next = queue->first;
    if (!queue->first)
        queue->end = &own->next;
    queue->first = own;
    pthread_mutex_lock(&mock->lock);
    mock->in_flight--;
    pthread_mutex_unlock(&mock->lock);
}

__attribute__((format(printf, 2, 0)))
static void host_broken(struct hvv_device *dev, const char *fmt, va_list args)
{
    struct mock *mock = mock_of(dev);
    pthread_mutex_lock(&mock->lock);
    vsnprintf(mock->broken, sizeof(mock->broken), fmt, args);
    pthread_mutex_unlock(&mock->lock);
}

/* ---- Events ---------------------------------------------------------------------------------- */

static struct hvv_watch *host_watch_new(struct hvv_device *dev, uint32_t queue, int fd,
                                        void (*ready)(void *arg, uint32_t events), void *arg)
{
    if (queue >= mock_of(dev)->n_queues) {
        errno = EINVAL;
        return NULL;
    }
    struct hvv_watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        return NULL;
    *watch = (struct hvv_watch){mock_of(dev)->watches, fd, 0, ready, arg};
    mock_of(dev)->watches = watch;
    return watch;
}

static void host_watch_set(struct hvv_watch *watch, uint32_t events)
{
    watch->events = events;
}

/* The lists are short and the device is not in the arguments: a freed entry is marked, not cut. */
static void host_watch_free(struct hvv_watch *watch)
{
    if (watch) {
        watch->fd = -1;
        watch->events = 0;
    }
}

static struct hvv_timer *host_timer_new(struct hvv_device *dev, uint32_t queue,
                                        void (*expired)(void *arg), void *arg)
{
    (void)queue;
    struct hvv_timer *timer = calloc(1, sizeof(*timer));
    if (!timer)
        return NULL;
    *timer = (struct hvv_timer){mock_of(dev)->timers, mock_of(dev), 0, expired, arg};
    mock_of(dev)->timers = timer;
    return timer;
}

static void host_timer_set(struct hvv_timer *timer, uint64_t nanoseconds)
{
    timer->due = nanoseconds ? now_ns() + nanoseconds : 0;
}

static void host_timer_free(struct hvv_timer *timer)
{
    if (timer) {
        timer->mock = NULL;
        timer->due = 0;
    }
}

static void host_post(struct hvv_device *dev, uint32_t queue, struct hvv_task *task)
{
    (void)queue;
    struct mock *mock = mock_of(dev);
    pthread_mutex_lock(&mock->lock);
    task->link[0] = mock->tasks;
    mock->tasks = task;
    wake(mock);
    pthread_mutex_unlock(&mock->lock);
}

static void run_tasks(struct mock *mock)
{
    pthread_mutex_lock(&mock->lock);
    struct hvv_task *task = mock->tasks;
    mock->tasks = NULL;
    pthread_mutex_unlock(&mock->lock);
    while (task) {
        struct hvv_task *next = task->link[0];
        task->run(task);
        task = next;
    }
}

/* Lists the armed watches from `fds[first]` on. Returns the end. */
static nfds_t list_watches(const struct mock *mock, struct pollfd *fds, struct hvv_watch **watches,
                           nfds_t first)
{
    nfds_t n = first;
    for (struct hvv_watch *watch = mock->watches; watch && n <= WATCHES_MAX; watch = watch->next) {
        if (!watch->events)
            continue;
        short events = (watch->events & HVV_WATCH_READ ? POLLIN : 0) |
                       (watch->events & HVV_WATCH_WRITE ? POLLOUT : 0);
        fds[n] = (struct pollfd){.fd = watch->fd, .events = events};
        watches[n++] = watch;
    }
    return n;
}

static void run_watches(struct mock *mock, int timeout_ms)
{
    struct pollfd fds[WATCHES_MAX + 1] = {{.fd = mock->wake, .events = POLLIN}};
    struct hvv_watch *watches[WATCHES_MAX + 1];
    nfds_t n = list_watches(mock, fds, watches, 1);
    if (poll(fds, n, timeout_ms) <= 0)
        return;
    uint64_t count;
    if (fds[0].revents && read(mock->wake, &count, sizeof(count)) < 0)
        abort();
    for (nfds_t i = 1; i < n; i++)
        if (fds[i].revents && watches[i]->events)
            watches[i]->ready(watches[i]->arg, watches[i]->events);
}

/* One turn of the worker; sleeps at most 100 ms, less if a timer is near. */
static void run_once(struct mock *mock)
{
    int timeout = 100;
    for (struct hvv_timer *timer = mock->timers; timer; timer = timer->next)
        if (timer->due && timer->due < now_ns() + 100000000u)
            timeout = 1;
    run_watches(mock, timeout);
    for (struct hvv_timer *timer = mock->timers; timer; timer = timer->next) {
        if (timer->due && timer->due <= now_ns()) {
            timer->due = 0;
            timer->expired(timer->arg);
        }
    }
    run_tasks(mock);
}

/* ---- Counters, events, commands -------------------------------------------------------------- */

static void host_count(struct hvv_device *dev, uint32_t counter, uint32_t queue, uint64_t n)
{
    struct mock *mock = mock_of(dev);
    if ((mock->plugin->counters[counter].flags & HVV_COUNTER_QUEUE) && queue >= mock->n_queues)
        abort();
    if (counter >= mock->plugin->n_counters || counter >= MOCK_COUNTERS)
        abort();
    pthread_mutex_lock(&mock->lock);
    mock->counter[counter] += n;
    pthread_mutex_unlock(&mock->lock);
}

static void host_gauge(struct hvv_device *dev, uint32_t counter, uint32_t queue, uint64_t value)
{
    struct mock *mock = mock_of(dev);
    (void)queue;
    if (counter >= mock->plugin->n_counters || counter >= MOCK_COUNTERS ||
        !(mock->plugin->counters[counter].flags & HVV_COUNTER_GAUGE))
        abort();
    pthread_mutex_lock(&mock->lock);
    mock->counter[counter] = value;
    pthread_mutex_unlock(&mock->lock);
}

static void host_describe(struct hvv_device *dev, const char *key, const char *value)
{
    (void)dev, (void)key, (void)value; /* shown to people only */
}

static uint64_t host_now(struct hvv_device *dev)
{
    return now_ns() + mock_of(dev)->clock_ahead;
}

__attribute__((format(printf, 3, 0)))
static void host_event(struct hvv_device *dev, uint32_t event, const char *fmt, va_list args)
{
    struct mock *mock = mock_of(dev);
    if (event >= mock->plugin->n_events)
        abort();
    pthread_mutex_lock(&mock->lock);
    vsnprintf(mock->event, sizeof(mock->event), fmt, args);
    pthread_mutex_unlock(&mock->lock);
}

static const char *host_call_string(struct hvv_call *call, const char *param, uint32_t index)
{
    return values_get(&((struct mock_call *)call)->params, param, index);
}

static uint64_t host_call_u64(struct hvv_call *call, const char *param, uint32_t index)
{
    return values_u64(&((struct mock_call *)call)->params, param, index);
}

static void host_call_result(struct hvv_call *call, const char *key, const char *value)
{
    struct mock_call *own = (struct mock_call *)call;
    size_t used = strlen(own->results);
    snprintf(own->results + used, sizeof(own->results) - used, "%s=%s ", key, value);
}

static void host_call_result_u64(struct hvv_call *call, const char *key, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    host_call_result(call, key, text);
}

static void host_call_result_fd(struct hvv_call *call, int fd)
{
    (void)call;
    close(fd);
}

__attribute__((format(printf, 3, 0)))
static void host_call_error(struct hvv_call *call, int32_t err, const char *fmt, va_list args)
{
    (void)err;
    struct mock_call *own = (struct mock_call *)call;
    vsnprintf(own->error, sizeof(own->error), fmt, args);
}

static void host_call_finish(struct hvv_call *call, int32_t status)
{
    struct mock_call *own = (struct mock_call *)call;
    pthread_mutex_lock(&own->mock->lock);
    own->status = status;
    own->finished = true;
    wake(own->mock);
    pthread_mutex_unlock(&own->mock->lock);
}

static const struct hvv_host host_table = {
    .size = sizeof(struct hvv_host),
    .abi_major = HVV_ABI_MAJOR,
    .abi_minor = HVV_ABI_MINOR,
    .log = host_log,
    .error = host_error,
    .option_count = host_option_count,
    .option_string = host_option_string,
    .option_u64 = host_option_u64,
    .option_given = host_option_given,
    .set_features = host_set_features,
    .add_queues = host_add_queues,
    .config_set = host_config_set,
    .features = host_features,
    .pop = host_pop,
    .complete = host_complete,
    .fail = host_fail,
    .release = host_release,
    .broken = host_broken,
    .watch_new = host_watch_new,
    .watch_set = host_watch_set,
    .watch_free = host_watch_free,
    .timer_new = host_timer_new,
    .timer_set = host_timer_set,
    .timer_free = host_timer_free,
    .post = host_post,
    .count = host_count,
    .gauge = host_gauge,
    .describe = host_describe,
    .now = host_now,
    .event = host_event,
    .call_string = host_call_string,
    .call_u64 = host_call_u64,
    .call_result = host_call_result,
    .call_result_u64 = host_call_result_u64,
    .call_result_fd = host_call_result_fd,
    .call_error = host_call_error,
    .call_finish = host_call_finish,
};

/* ---- For tests ------------------------------------------------------------------------------- */

/* True if nothing the plugin should have freed is left. */
static bool free_all(struct mock *mock)
{
    bool clean = true;
    while (mock->watches) {
        struct hvv_watch *next = mock->watches->next;
        clean = clean && mock->watches->fd == -1;
        free(mock->watches);
        mock->watches = next;
    }
    while (mock->timers) {
        struct hvv_timer *next = mock->timers->next;
        clean = clean && !mock->timers->mock;
        free(mock->timers);
        mock->timers = next;
    }
    while (mock->all) {
        struct mock_chain *next = mock->all->next_all;
        free(mock->all->chain.state);
        free(mock->all);
        mock->all = next;
    }
    values_free(&mock->options);
    close(mock->wake);
    pthread_mutex_destroy(&mock->lock);
    return clean;
}

int32_t mock_open(struct mock *mock, const struct hvv_plugin *plugin, const char *spec)
{
    memset(mock, 0, sizeof(*mock));
    mock->plugin = plugin;
    mock->host = host_table;
    mock->dev = (struct hvv_device){.size = sizeof(mock->dev), .host = &mock->host, .id = "mock"};
    mock->options = (struct mock_values){.table = plugin->options, .n_table = plugin->n_options};
    pthread_mutex_init(&mock->lock, NULL);
    mock->wake = eventfd(0, EFD_CLOEXEC);
    int32_t rc = values_parse(&mock->options, spec) ? plugin->ops->create(&mock->dev) : -EINVAL;
    if (rc < 0 && !free_all(mock))
        abort(); /* a failed create() left a watch or timer behind */
    return rc;
}

void mock_start(struct mock *mock)
{
    if (mock->plugin->ops->publish)
        mock->plugin->ops->publish(&mock->dev);
    for (uint32_t i = 0; i < mock->n_queues; i++) {
        mock->queue[i].running = true;
        if (mock->plugin->ops->queue_start)
            mock->plugin->ops->queue_start(&mock->dev, i);
    }
}

static bool in_flight(struct mock *mock)
{
    pthread_mutex_lock(&mock->lock);
    bool some = mock->in_flight > 0;
    pthread_mutex_unlock(&mock->lock);
    return some;
}

bool mock_stop(struct mock *mock)
{
    const struct hvv_ops *ops = mock->plugin->ops;
    for (uint32_t i = 0; i < mock->n_queues; i++) {
        mock->queue[i].running = false;
        if (ops->queue_stop)
            ops->queue_stop(&mock->dev, i, 0);
    }
    uint64_t deadline = now_ns() + DEADLINE_NS;
    while (in_flight(mock) && now_ns() < deadline)
        run_once(mock);
    run_tasks(mock);
    if (ops->reset)
        ops->reset(&mock->dev);
    return !in_flight(mock);
}

bool mock_close(struct mock *mock)
{
    bool clean = mock_stop(mock);
    if (mock->plugin->ops->stop)
        mock->plugin->ops->stop(&mock->dev);
    mock->plugin->ops->destroy(&mock->dev);
    return free_all(mock) && clean;
}

struct mock_chain *mock_send(struct mock *mock, uint32_t queue, const struct iovec *readable,
                             uint32_t n_readable, const struct iovec *writable,
                             uint32_t n_writable)
{
    struct mock_chain *chain = calloc(1, sizeof(*chain));
    if (!chain || n_readable > MOCK_IOV_MAX || n_writable > MOCK_IOV_MAX)
        abort();
    if (n_readable)
        memcpy(chain->readable, readable, n_readable * sizeof(*readable));
    if (n_writable)
        memcpy(chain->writable, writable, n_writable * sizeof(*writable));
    chain->chain = (struct hvv_chain){
        .size = sizeof(chain->chain),
        .queue = queue,
        .dev = &mock->dev,
        .state = malloc(mock->plugin->chain_state_size),
        .readable = chain->readable,
        .writable = chain->writable,
        .n_readable = n_readable,
        .n_writable = n_writable,
        .readable_bytes = hvv_iov_bytes(readable, n_readable),
        .writable_bytes = hvv_iov_bytes(writable, n_writable),
    };
    memset(chain->chain.state, 0xa5, mock->plugin->chain_state_size);
    chain->next_all = mock->all;
    mock->all = chain;
    *mock->queue[queue].end = chain;
    mock->queue[queue].end = &chain->next;
    return chain;
}

void mock_kick(struct mock *mock, uint32_t queue)
{
    mock->plugin->ops->notify(&mock->dev, queue);
}

static bool is_done(struct mock *mock, const bool *done)
{
    pthread_mutex_lock(&mock->lock);
    bool yes = *done;
    pthread_mutex_unlock(&mock->lock);
    return yes;
}

bool mock_wait(struct mock *mock, struct mock_chain *chain)
{
    uint64_t deadline = now_ns() + DEADLINE_NS;
    while (!is_done(mock, &chain->done) && now_ns() < deadline)
        run_once(mock);
    return is_done(mock, &chain->done);
}

bool mock_rests(struct mock *mock)
{
    struct pollfd fds[WATCHES_MAX + 1];
    struct hvv_watch *watches[WATCHES_MAX + 1];
    pthread_mutex_lock(&mock->lock);
    bool none = !mock->tasks;
    pthread_mutex_unlock(&mock->lock);
    return none && poll(fds, list_watches(mock, fds, watches, 0), 0) == 0;
}

void mock_turn(struct mock *mock)
{
    run_once(mock);
}

bool mock_settle(struct mock *mock)
{
    uint64_t deadline = now_ns() + DEADLINE_NS;
    while (!mock_rests(mock) && now_ns() < deadline)
        run_once(mock);
    return mock_rests(mock);
}

uint32_t mock_timers_set(const struct mock *mock)
{
    uint32_t n = 0;
    for (const struct hvv_timer *timer = mock->timers; timer; timer = timer->next)
        n += timer->due != 0;
    return n;
}

bool mock_wait_counter(struct mock *mock, const char *name, uint64_t value)
{
    uint64_t deadline = now_ns() + DEADLINE_NS;
    while (mock_counter(mock, name) < value && now_ns() < deadline)
        run_once(mock);
    return mock_counter(mock, name) >= value;
}

int32_t mock_command(struct mock *mock, struct mock_call *call, const char *name,
                     const char *params)
{
    const struct hvv_command *command = NULL;
    for (uint32_t i = 0; i < mock->plugin->n_commands; i++)
        if (strcmp(mock->plugin->commands[i].name, name) == 0)
            command = &mock->plugin->commands[i];
    memset(call, 0, sizeof(*call));
    if (!command)
        return -ENOENT;
    call->mock = mock;
    call->params = (struct mock_values){.table = command->params, .n_table = command->n_params};
    int32_t rc = -EINVAL;
    if (values_parse(&call->params, params))
        rc = command->run(&mock->dev, (struct hvv_call *)call);
    if (rc == -EINPROGRESS) {
        uint64_t deadline = now_ns() + DEADLINE_NS;
        while (!is_done(mock, &call->finished) && now_ns() < deadline)
            run_once(mock);
        rc = is_done(mock, &call->finished) ? call->status : -ETIMEDOUT;
    }
    values_free(&call->params);
    return rc;
}

uint64_t mock_counter(const struct mock *mock, const char *name)
{
    for (uint32_t i = 0; i < mock->plugin->n_counters; i++)
        if (strcmp(mock->plugin->counters[i].name, name) == 0)
            return mock->counter[i];
    abort(); /* a test names a counter that does not exist */
}
