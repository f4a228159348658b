/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rogue.c - a plugin that misbehaves: `how` it does, and `in` which callback. Otherwise it is a
 * disk of zeroes, so that the front-end for disks can drive it.
 */
#include <hvv/plugin.h>

#include <linux/virtio_blk.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_SIZE 128u
#define SEGMENTS 64u
#define HELD_MAX 64u
#define SECTORS 8192u

struct rogue {
    struct hvv_timer *timer;
    struct hvv_task task;
    struct hvv_device *dev;
    struct hvv_chain *held[HELD_MAX];
    uint32_t n_held;
};

static volatile int *const volatile nowhere = (volatile int *)0x10; /* for all that is known */

/* ---- what it does wrong ---------------------------------------------------------------------- */

/* Returns only if the compiler can prove that it does, which `depth` keeps it from. */
__attribute__((noinline)) static int overflow(volatile int depth)
{
    volatile char frame[4096];
    frame[0] = (char)depth;
    return depth < 0 ? frame[0] : overflow(depth + 1) + frame[0];
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void hang(const struct hvv_device *dev)
{
    int64_t end = now_ms() + (int64_t)hvv_option_u64((struct hvv_device *)(uintptr_t)dev,
                                                     "seconds") * 1000;
    while (now_ms() < end)
        poll(NULL, 0, 100);
}

/* A file of its own that got shorter: nothing the host can put right, as it does with guests'. */
static void touch_the_void(void)
{
    int fd = memfd_create("void", MFD_CLOEXEC);
    volatile char *page = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page != MAP_FAILED)
        page[0] = 1;
}

static void *die(void *arg)
{
    *nowhere = 1;
    return arg;
}

static void die_elsewhere(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, die, NULL) == 0)
        pthread_join(thread, NULL);
}

static void leave_alone(struct hvv_task *task)
{
    (void)task;
}

/* Before there are queues, and before it is known whether there will be a device at all. */
static void speak_early(struct hvv_device *dev)
{
    static struct hvv_task task = {.run = leave_alone};
    hvv_event(dev, 0, "too=early");
    hvv_post(dev, 0, &task);
}

static bool how_is(struct hvv_device *dev, const char *how)
{
    const char *its = hvv_option_string(dev, "how");
    return its && strcmp(its, how) == 0;
}

static void misbehave(struct hvv_device *dev, const char *in)
{
    const char *where = hvv_option_string(dev, "in");
    if (!where || strcmp(where, in) != 0)
        return;
    if (how_is(dev, "segv"))
        *nowhere = 1;
    else if (how_is(dev, "bus"))
        touch_the_void();
    else if (how_is(dev, "abort"))
        abort();
    else if (how_is(dev, "overflow"))
        overflow(0);
    else if (how_is(dev, "exit"))
        exit(0);
    else if (how_is(dev, "thread"))
        die_elsewhere();
    else if (how_is(dev, "early"))
        speak_early(dev);
    else if (how_is(dev, "hang"))
        hang(dev);
}

/* ---- the callbacks --------------------------------------------------------------------------- */

static void on_timer(void *arg)
{
    misbehave(arg, "timer");
}

static void on_task(struct hvv_task *task)
{
    struct rogue *rogue = (struct rogue *)(void *)((char *)task - offsetof(struct rogue, task));
    misbehave(rogue->dev, "task");
}

static int32_t rogue_create(struct hvv_device *dev)
{
    struct virtio_blk_config config = {.capacity = SECTORS, .seg_max = SEGMENTS - 2};
    misbehave(dev, "create");
    if (how_is(dev, "early"))
        return hvv_error(dev, EIO, "it was told to fail");
    struct rogue *rogue = calloc(1, sizeof(*rogue));
    int32_t first = rogue ? hvv_add_queues(dev, 1, QUEUE_SIZE, SEGMENTS, 0) : -ENOMEM;
    if (first >= 0)
        rogue->timer = hvv_timer_new(dev, 0, on_timer, dev);
    if (first < 0 || !rogue->timer) {
        free(rogue);
        return hvv_error(dev, ENOMEM, "out of memory");
    }
    rogue->dev = dev;
    rogue->task.run = on_task;
    dev->state = rogue;
    hvv_set_features(dev, 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_FLUSH, 0);
    return hvv_config_set(dev, 0, &config, sizeof(config), 0);
}

static void rogue_publish(struct hvv_device *dev)
{
    struct rogue *rogue = dev->state;
    misbehave(dev, "publish");
    hvv_timer_set(dev, rogue->timer, 1000000);
    hvv_post(dev, 0, &rogue->task);
}

static void serve(struct hvv_chain *chain)
{
    uint32_t n = (uint32_t)chain->writable_bytes;
    static const char zeroes[512];
    for (uint32_t at = 0; at < n; at += (uint32_t)sizeof(zeroes))
        hvv_iov_write(chain->writable, chain->n_writable, at, zeroes,
                      n - at < sizeof(zeroes) ? n - at : sizeof(zeroes));
    hvv_complete(chain, n);
}

static void rogue_notify(struct hvv_device *dev, uint32_t queue)
{
    struct rogue *rogue = dev->state;
    struct hvv_chain *chain;
    misbehave(dev, "notify");
    while (hvv_pop(dev, queue, &chain, 1) == 1) {
        if (rogue->n_held < hvv_option_u64(dev, "leak") && rogue->n_held < HELD_MAX)
            rogue->held[rogue->n_held++] = chain;
        else
            serve(chain);
    }
}

static void rogue_stop(struct hvv_device *dev)
{
    misbehave(dev, "stop");
}

static void rogue_destroy(struct hvv_device *dev)
{
    struct rogue *rogue = dev->state;
    misbehave(dev, "destroy");
    hvv_timer_free(dev, rogue->timer);
    free(rogue);
}

static int32_t run_misbehave(struct hvv_device *dev, struct hvv_call *call)
{
    (void)call;
    misbehave(dev, "command");
    return 0;
}

/* Finishes what it held back, as a plugin does whose server answers at last. */
static int32_t run_finish(struct hvv_device *dev, struct hvv_call *call)
{
    struct rogue *rogue = dev->state;
    hvv_call_result_u64(dev, call, "finished", rogue->n_held);
    for (uint32_t i = 0; i < rogue->n_held; i++)
        serve(rogue->held[i]);
    rogue->n_held = HELD_MAX; /* no more are held */
    return 0;
}

static const struct hvv_option options[] = {
    {.name = "in",
     .type = HVV_OPTION_CHOICE,
     .choices = "create publish notify timer task command stop destroy",
     .help = "the callback that misbehaves"},
    {.name = "how",
     .type = HVV_OPTION_CHOICE,
     .choices = "segv bus abort overflow exit thread hang early",
     .dflt = "segv",
     .help = "how it does"},
    {.name = "seconds",
     .type = HVV_OPTION_U64,
     .max = 1000000,
     .dflt = "1000000",
     .help = "how long it hangs"},
    {.name = "leak", .type = HVV_OPTION_U64, .max = HELD_MAX, .dflt = "0",
     .help = "how many chains are not finished"},
};

static const struct hvv_command commands[] = {
    {.name = "misbehave", .help = "does what in=command says", .run = run_misbehave},
    {.name = "finish", .help = "finishes the chains held back", .run = run_finish},
};

static const struct hvv_event events[] = {
    {.name = "spoke", .help = "it has something to say"},
};

static const struct hvv_ops ops = {
    .size = sizeof(ops),
    .create = rogue_create,
    .destroy = rogue_destroy,
    .notify = rogue_notify,
    .publish = rogue_publish,
    .stop = rogue_stop,
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .abi_minor = HVV_ABI_MINOR,
    .name = "rogue",
    .version = "1.0",
    .description = "a disk of zeroes that misbehaves as it is told",
    .virtio_id = 2,
    .ops = &ops,
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .option_size = sizeof(options[0]),
    .commands = commands,
    .n_commands = sizeof(commands) / sizeof(commands[0]),
    .command_size = sizeof(commands[0]),
    .events = events,
    .n_events = sizeof(events) / sizeof(events[0]),
    .event_size = sizeof(events[0]),
};

const struct hvv_plugin *hvv_plugin_v1(void)
{
    return &plugin;
}
