/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * racer.c - a plugin that does everything at once: besides its worker it has a thread, which
 * finishes chains, and while the device is published raises events, changes the config space and
 * counts; with `fragile` it also breaks the device now and then.
 *
 * `lock` covers what the two share. The thread calls the host without it, but for what must not
 * happen after stop().
 */
#include "racer.h"

#include <hvv/plugin.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORK_MAX (RACER_QUEUES * RACER_QUEUE_SIZE)
#define CALLS_MAX 16u
#define PAUSE_NS 200000

struct racer {
    struct hvv_device *dev;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct hvv_chain *work[WORK_MAX]; /* first in, first out */
    unsigned first, n_work;
    struct hvv_call *calls[CALLS_MAX];
    unsigned n_calls;
    bool end, published;
    unsigned turn[RACER_QUEUES]; /* each its queue's worker's */
};

/* ---- chains ---------------------------------------------------------------------------------- */

static void finish(struct hvv_chain *chain)
{
    unsigned char bytes[RACER_BYTES];
    if (hvv_iov_read(chain->readable, chain->n_readable, 0, bytes, sizeof(bytes)) !=
        sizeof(bytes)) {
        hvv_fail(chain, "a request has %u bytes", RACER_BYTES);
        return;
    }
    for (unsigned i = 0; i < RACER_BYTES; i++)
        bytes[i] = (unsigned char)~bytes[i];
    hvv_complete(chain, (uint32_t)hvv_iov_write(chain->writable, chain->n_writable, 0, bytes,
                                                sizeof(bytes)));
}

static void give_to_thread(struct racer *r, struct hvv_chain *chain)
{
    pthread_mutex_lock(&r->lock);
    r->work[(r->first + r->n_work++) % WORK_MAX] = chain; /* room for all there can be */
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

static void notify(struct hvv_device *dev, uint32_t queue)
{
    struct racer *r = dev->state;
    struct hvv_chain *chains[8];
    uint32_t n;
    do {
        n = hvv_pop(dev, queue, chains, 8);
        for (uint32_t i = 0; i < n; i++)
            if (r->turn[queue]++ & 1)
                give_to_thread(r, chains[i]);
            else
                finish(chains[i]);
    } while (n == 8);
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* What is allowed between publish() and stop() only; under the lock. */
static void make_noise(struct racer *r, unsigned round)
{
    unsigned char bytes[RACER_CONFIG];
    memset(bytes, (int)round, sizeof(bytes));
    hvv_config_set(r->dev, 0, bytes, sizeof(bytes), round % 2 ? HVV_CONFIG_NOTIFY : 0);
    hvv_event(r->dev, 0, "round=%u", round);
    hvv_gauge(r->dev, 0, HVV_NO_QUEUE, round);
    hvv_describe(r->dev, "round", round % 3 ? "some" : NULL);
    if (hvv_option_u64(r->dev, "fragile") && round % 8 == 0)
        hvv_broken(r->dev, "round %u", round);
    while (r->n_calls)
        hvv_call_finish(r->dev, r->calls[--r->n_calls], 0);
}

static void pause_until_work(struct racer *r)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += PAUSE_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&r->wake, &r->lock, &until);
}

static void *run(void *arg)
{
    struct racer *r = arg;
    pthread_mutex_lock(&r->lock);
    for (unsigned round = 0; !r->end || r->n_work; round++) {
        if (r->published)
            make_noise(r, round);
        if (r->n_work == 0 && !r->end)
            pause_until_work(r);
        if (r->n_work == 0)
            continue;
        struct hvv_chain *chain = r->work[r->first];
        r->first = (r->first + 1) % WORK_MAX;
        r->n_work--;
        pthread_mutex_unlock(&r->lock);
        finish(chain);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static int start_thread(struct racer *r)
{
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&r->thread, NULL, run, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

/* ---- life ------------------------------------------------------------------------------------ */

static int32_t create(struct hvv_device *dev)
{
    unsigned char bytes[RACER_CONFIG] = {0};
    if (hvv_option_given(dev, "refuse"))
        return hvv_error_option(dev, EINVAL, "refuse", "this device is refused");
    struct racer *r = calloc(1, sizeof(*r));
    if (!r)
        return hvv_error(dev, ENOMEM, "out of memory");
    r->dev = dev;
    dev->state = r;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    hvv_set_features(dev, 0, HVV_FEATURES_IN_ORDER);
    hvv_config_set(dev, 0, bytes, sizeof(bytes), 0);
    if (hvv_add_queues(dev, RACER_QUEUES, RACER_QUEUE_SIZE, 16, 0) < 0 || start_thread(r) != 0) {
        free(r);
        return hvv_error(dev, ENOMEM, "out of memory");
    }
    return 0;
}

static void set_published(struct racer *r, bool published)
{
    pthread_mutex_lock(&r->lock);
    r->published = published;
    while (!published && r->n_calls)
        hvv_call_finish(r->dev, r->calls[--r->n_calls], -ECANCELED);
    pthread_mutex_unlock(&r->lock);
}

static void publish(struct hvv_device *dev)
{
    set_published(dev->state, true);
}

static void stop(struct hvv_device *dev)
{
    set_published(dev->state, false);
}

static void destroy(struct hvv_device *dev)
{
    struct racer *r = dev->state;
    pthread_mutex_lock(&r->lock);
    r->end = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- commands -------------------------------------------------------------------------------- */

static int32_t now(struct hvv_device *dev, struct hvv_call *call)
{
    hvv_call_result(dev, call, "id", dev->id);
    return 0;
}

static int32_t later(struct hvv_device *dev, struct hvv_call *call)
{
    struct racer *r = dev->state;
    int32_t status = -EBUSY;
    pthread_mutex_lock(&r->lock);
    if (r->published && r->n_calls < CALLS_MAX) {
        r->calls[r->n_calls++] = call;
        status = -EINPROGRESS;
    }
    pthread_mutex_unlock(&r->lock);
    return status;
}

/* A driver's write: all bytes become its first one. */
static void config_write(struct hvv_device *dev, uint32_t offset, const void *data, uint32_t size)
{
    unsigned char bytes[RACER_CONFIG];
    (void)offset;
    memset(bytes, size ? *(const unsigned char *)data : 0, sizeof(bytes));
    hvv_config_set(dev, 0, bytes, sizeof(bytes), HVV_CONFIG_NOTIFY);
}

static const struct hvv_option options[] = {
    {.name = "fragile", .type = HVV_OPTION_BOOL, .dflt = "off", .help = "break now and then"},
    {.name = "refuse", .type = HVV_OPTION_BOOL, .help = "refuse to be created"},
};

static const struct hvv_command commands[] = {
    {.name = "now", .help = "answer at once", .run = now},
    {.name = "later", .help = "answer from another thread", .run = later},
};

static const struct hvv_counter counters[] = {{.name = "rounds", .help = "rounds of the thread"}};
static const struct hvv_event events[] = {{"round", "a round of the thread"}};

static const struct hvv_ops ops = {
    .size = sizeof(ops),
    .create = create,
    .destroy = destroy,
    .notify = notify,
    .publish = publish,
    .config_write = config_write,
    .stop = stop,
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .abi_minor = HVV_ABI_MINOR,
    .name = "racer",
    .version = "1.0",
    .description = "echoes requests and makes noise",
    .virtio_id = 4,
    .threads = HVV_SERIAL_QUEUE,
    .ops = &ops,
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .option_size = sizeof(options[0]),
    .commands = commands,
    .n_commands = sizeof(commands) / sizeof(commands[0]),
    .command_size = sizeof(commands[0]),
    .counters = counters,
    .n_counters = sizeof(counters) / sizeof(counters[0]),
    .counter_size = sizeof(counters[0]),
    .events = events,
    .n_events = sizeof(events) / sizeof(events[0]),
    .event_size = sizeof(events[0]),
};

const struct hvv_plugin *hvv_plugin_v1(void)
{
    return &plugin;
}
