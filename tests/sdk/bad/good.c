/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * good.c - a device with a bit of everything, which keeps all rules that hvisor-vhost-check-plugin
 * has. check-plugin.sh changes one line of a copy for each, and looks whether that one is broken.
 *
 * Queue 0 copies what it is sent, and answers from an eventfd's watch. Queue 1 keeps its buffers
 * until it is stopped. A thread does nothing but wait for its end.
 */
#include <hvv/plugin.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define COPY 4096u

enum { QUEUE_COPY, QUEUE_KEEP, QUEUES };
enum { COUNTER_CHAINS, COUNTER_KEPT, COUNTERS };
enum { EVENT_KEPT, EVENTS };

struct common {
    uint32_t devices;
};

struct list {
    struct hvv_chain *chains[HVV_QUEUE_SIZE_MAX];
    uint32_t n;
};

struct good {
    struct hvv_device *dev;
    struct common *common;
    struct hvv_watch *watch;
    struct hvv_timer *timer;
    struct hvv_call *call; /* the command that runs, or NULL */
    struct hvv_task task;
    pthread_t thread;
    char *label, *copy;
    uint32_t config[2];
    int wake, end; /* eventfds */
    bool started, paused;
    struct list to_do, kept;
};

static struct good *good_of(struct hvv_device *dev)
{
    return dev->state;
}

/* ---- Chains ---------------------------------------------------------------------------------- */

static void answer(struct good *good, struct hvv_chain *chain)
{
    uint64_t want = chain->readable_bytes < COPY ? chain->readable_bytes : COPY;
    size_t n = hvv_iov_read(chain->readable, chain->n_readable, 0, good->copy, (size_t)want);
    n = hvv_iov_write(chain->writable, chain->n_writable, 0, good->copy, n);
    hvv_count(good->dev, COUNTER_CHAINS, QUEUE_COPY, 1);
    hvv_complete(chain, (uint32_t)n);
}

static void answer_all(struct good *good)
{
    for (uint32_t i = 0; i < good->to_do.n; i++)
        answer(good, good->to_do.chains[i]);
    good->to_do.n = 0;
}

static void woken(void *arg, uint32_t events)
{
    struct good *good = arg;
    uint64_t count;
    (void)events;
    if (read(good->wake, &count, sizeof(count)) == sizeof(count))
        answer_all(good);
}

static void release_all(struct good *good)
{
    while (good->kept.n > 0)
        hvv_release(good->kept.chains[--good->kept.n]);
}

static void good_notify(struct hvv_device *dev, uint32_t queue)
{
    struct good *good = good_of(dev);
    struct list *list = queue == QUEUE_COPY ? &good->to_do : &good->kept;
    uint64_t one = 1;
    if (good->paused)
        return;
    list->n += hvv_pop(dev, queue, list->chains + list->n, HVV_QUEUE_SIZE_MAX - list->n);
    if (queue == QUEUE_COPY && write(good->wake, &one, sizeof(one)) < 0)
        hvv_broken(dev, "an eventfd is full");
    if (queue == QUEUE_KEEP)
        hvv_gauge(dev, COUNTER_KEPT, HVV_NO_QUEUE, list->n);
    if (queue == QUEUE_KEEP)
        hvv_event(dev, EVENT_KEPT, "chains=%u", list->n);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void good_publish(struct hvv_device *dev)
{
    struct good *good = good_of(dev);
    hvv_watch_set(dev, good->watch, HVV_WATCH_READ);
    hvv_post(dev, QUEUE_COPY, &good->task);
}

static void good_queue_start(struct hvv_device *dev, uint32_t queue)
{
    (void)queue;
    good_of(dev)->started = true;
}

static void good_queue_stop(struct hvv_device *dev, uint32_t queue, uint32_t flags)
{
    (void)flags;
    if (queue == QUEUE_KEEP)
        release_all(good_of(dev));
    else
        answer_all(good_of(dev));
}

static void good_memory_changed(struct hvv_device *dev, uint32_t queue)
{
    if (queue == QUEUE_KEEP)
        release_all(good_of(dev));
    if (queue == QUEUE_COPY)
        answer_all(good_of(dev));
}

static void good_config_write(struct hvv_device *dev, uint32_t offset, const void *data,
                              uint32_t size)
{
    struct good *good = good_of(dev);
    memcpy((char *)good->config + offset, data, size);
    hvv_config_set(dev, 0, good->config, sizeof(good->config), 0);
}

static void good_reset(struct hvv_device *dev)
{
    good_of(dev)->paused = false;
}

static void end_command(void *arg)
{
    struct good *good = arg;
    struct hvv_call *call = good->call;
    good->call = NULL;
    if (call)
        hvv_call_finish(good->dev, call, 0);
}

static void good_stop(struct hvv_device *dev)
{
    end_command(good_of(dev));
}

static void run_task(struct hvv_task *task)
{
    (void)task;
}

static int32_t run_tell(struct hvv_device *dev, struct hvv_call *call)
{
    hvv_call_result(dev, call, "label", good_of(dev)->label);
    return 0;
}

static int32_t run_wait(struct hvv_device *dev, struct hvv_call *call)
{
    struct good *good = good_of(dev);
    if (good->call)
        return hvv_call_error(dev, call, EBUSY, "one is waiting already");
    good->call = call;
    hvv_timer_set(dev, good->timer, 1000000000u);
    return -EINPROGRESS;
}

static void *wait_for_end(void *arg)
{
    struct good *good = arg;
    uint64_t count;
    while (read(good->end, &count, sizeof(count)) != sizeof(count))
        ;
    return NULL;
}

static void end_thread(struct good *good)
{
    uint64_t one = 1;
    if (write(good->end, &one, sizeof(one)) == sizeof(one))
        pthread_join(good->thread, NULL);
}

static int32_t describe(struct good *good)
{
    struct hvv_device *dev = good->dev;
    int32_t rc = hvv_add_queues(dev, QUEUES, HVV_QUEUE_SIZE_MAX, HVV_SEGMENTS_MAX, 0);
    if (rc < 0)
        return hvv_error(dev, -rc, "no memory for queues");
    rc = hvv_config_set(dev, 0, good->config, sizeof(good->config), 0);
    return rc < 0 ? hvv_error(dev, -rc, "no config space") : 0;
}

static int32_t acquire(struct good *good)
{
    struct hvv_device *dev = good->dev;
    good->label = strdup(hvv_option_string(dev, "label"));
    good->copy = malloc(COPY);
    if (!good->label || !good->copy)
        return hvv_error(dev, ENOMEM, "no memory");
    good->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (good->wake < 0)
        return hvv_error(dev, errno, "no eventfd");
    good->end = eventfd(0, EFD_CLOEXEC);
    if (good->end < 0)
        return hvv_error(dev, errno, "no eventfd");
    good->watch = hvv_watch_new(dev, QUEUE_COPY, good->wake, woken, good);
    good->timer = hvv_timer_new(dev, QUEUE_COPY, end_command, good);
    if (!good->watch || !good->timer)
        return hvv_error(dev, ENOMEM, "no watch or no timer");
    good->common = hvv_shared_get(dev, "common", sizeof(*good->common), NULL, NULL, NULL);
    if (!good->common)
        return hvv_error(dev, errno, "no shared state");
    good->common->devices++;
    int err = pthread_create(&good->thread, NULL, wait_for_end, good);
    return err ? hvv_error(dev, err, "no thread") : 0;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* All that create() has, but the thread. */
static void release(struct good *good)
{
    hvv_watch_free(good->dev, good->watch);
    hvv_timer_free(good->dev, good->timer);
    if (good->common)
        good->common->devices--;
    hvv_shared_put(good->dev, good->common);
    close_fd(good->wake);
    close_fd(good->end);
    free(good->label);
    free(good->copy);
    free(good);
}

static int32_t good_create(struct hvv_device *dev)
{
    struct good *good = calloc(1, sizeof(*good));
    if (!good)
        return hvv_error(dev, ENOMEM, "no memory for the device");
    good->dev = dev;
    good->task.run = run_task;
    good->wake = good->end = -1;
    good->config[0] = (uint32_t)hvv_option_u64(dev, "size");
    int32_t rc = describe(good);
    if (rc == 0)
        rc = acquire(good);
    if (rc < 0) {
        release(good);
        return rc;
    }
    dev->state = good;
    return 0;
}

static void good_destroy(struct hvv_device *dev)
{
    struct good *good = good_of(dev);
    end_thread(good);
    release(good);
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static const struct hvv_option options[] = {
    {.name = "size", .type = HVV_OPTION_U64, .max = 9, .dflt = "7", .help = "a number to show"},
    {.name = "label", .dflt = "none", .help = "a word to tell"},
};

static const struct hvv_option wait_params[] = {
    {.name = "why", .type = HVV_OPTION_CHOICE, .choices = "fun duty", .help = "the reason"},
};

static const struct hvv_command commands[] = {
    {.name = "tell", .help = "tell the label", .run = run_tell},
    {.name = "wait",
     .help = "end in a second",
     .params = wait_params,
     .n_params = 1,
     .param_size = sizeof(wait_params[0]),
     .run = run_wait},
};

static const struct hvv_counter counters[COUNTERS] = {
    [COUNTER_CHAINS] = {.name = "chains", .help = "chains answered", .flags = HVV_COUNTER_QUEUE},
    [COUNTER_KEPT] = {.name = "kept", .help = "chains that are kept", .flags = HVV_COUNTER_GAUGE},
};

static const struct hvv_event events[EVENTS] = {
    [EVENT_KEPT] = {.name = "kept", .help = "there are more"},
};

static const struct hvv_ops ops = {
    .size = sizeof(ops),
    .create = good_create,
    .destroy = good_destroy,
    .notify = good_notify,
    .publish = good_publish,
    .queue_start = good_queue_start,
    .queue_stop = good_queue_stop,
    .config_write = good_config_write,
    .memory_changed = good_memory_changed,
    .reset = good_reset,
    .stop = good_stop,
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .abi_minor = HVV_ABI_MINOR,
    .name = "good",
    .version = "1.0",
    .description = "a bit of everything",
    .virtio_id = 63,
    .threads = HVV_SERIAL_DEVICE,
    .ops = &ops,
    .options = options,
    .n_options = 2,
    .option_size = sizeof(options[0]),
    .commands = commands,
    .n_commands = 2,
    .command_size = sizeof(commands[0]),
    .counters = counters,
    .n_counters = COUNTERS,
    .counter_size = sizeof(counters[0]),
    .events = events,
    .n_events = EVENTS,
    .event_size = sizeof(events[0]),
};

const struct hvv_plugin *hvv_plugin_v1(void)
{
    return &plugin;
}
