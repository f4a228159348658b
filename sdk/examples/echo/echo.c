/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * echo.c - a made-up device that sends back what it is sent, written to be read: a tour through
 * most of what a plugin can do. Read it from the top; the numbers are the order in which to write
 * a device of your own. (For the smallest device that is of use, see the example rng.)
 *
 * The device, as its specification would say it:
 *
 *   Device ID      63, which nobody has taken
 *   Queues         0  data: a readable buffer, then a writable one. The device copies the first to
 *                     the second, as much as fits, perhaps in capitals, perhaps a while later.
 *                  1  control: struct echo_control, then one writable byte for the status.
 *   Feature bits   0  ECHO_F_DELAY: the driver may set a delay
 *   Config space   struct echo_config; the driver may write `shout`
 */

/*
 * 1. One header brings in the whole interface. Nothing has to be linked: the host hands over its
 * services as a table of functions, and hvv_...() below are wrappers around it.
 */
#include <hvv/plugin.h>
#include <endian.h>
#include <stdbool.h>
#include <stdlib.h>

/*
 * 2. What device and driver have agreed on. A real device has this from the virtio specification,
 * most of them in a header of Linux (<linux/virtio_*.h>). All fields are little-endian.
 */
#define ECHO_ID 63u
#define ECHO_F_DELAY 0u /* the number of the bit */

enum { QUEUE_DATA, QUEUE_CONTROL, QUEUES };

struct echo_config {
    uint32_t max_bytes; /* what one echo can be long */
    uint32_t shout;     /* 1: in capitals */
};

struct echo_control {
    uint32_t command; /* ECHO_SET_DELAY */
    uint32_t value;   /* milliseconds */
};

enum { ECHO_SET_DELAY = 1 };
enum { ECHO_OK = 0, ECHO_REFUSED = 1 };

#define DELAY_MAX_MS 10000u
#define BATCH 16u /* chains taken at once: fewer calls, and the guest hears once of all of them */

/* 3. Indexes of the tables of counters and events at the end of this file. */
enum counter { COUNTER_ECHOES, COUNTER_BYTES, COUNTER_WAITING, COUNTERS };
enum event { EVENT_SHOUT, EVENTS };

/*
 * 4. What is kept for a chain while the plugin has it. The host has this memory ready for each
 * chain (hvv_chain.state, see chain_state_size at the end), so nothing is allocated while the
 * guest is being served, and nothing can fail.
 */
struct echo_chain {
    struct hvv_chain *next; /* the one that came after it */
    uint64_t due;           /* when to answer */
};

/*
 * 5. What is kept for a device. There may be many devices, so nothing that changes may be outside
 * of this struct. The plugin asks for one call at a time (HVV_SERIAL_DEVICE), so no lock is needed.
 */
struct echo {
    struct hvv_device *dev;
    struct echo_config config; /* as the driver sees it */
    uint64_t delay_ns;
    struct hvv_chain *first, *last; /* waiting for their time, oldest first */
    uint32_t n_waiting;
    struct hvv_timer *timer;
};

static struct echo *echo_of(struct hvv_device *dev)
{
    return dev->state;
}

static struct echo_chain *state_of(struct hvv_chain *chain)
{
    return chain->state;
}

/* ---- 6. The data queue ----------------------------------------------------------------------- */

static char capital(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

/*
 * Answers a chain. The guest can change its memory while we look at it, so: copy out once, work on
 * the copy, copy back. The buffers are in as many pieces as the guest likes, which hvv_iov_read()
 * and hvv_iov_write() take care of.
 */
static void answer(struct echo *echo, struct hvv_chain *chain)
{
    char piece[1024];
    uint64_t bytes = chain->readable_bytes;
    if (bytes > chain->writable_bytes)
        bytes = chain->writable_bytes;
    for (uint64_t at = 0; at < bytes; at += sizeof(piece)) {
        size_t n = bytes - at < sizeof(piece) ? (size_t)(bytes - at) : sizeof(piece);
        hvv_iov_read(chain->readable, chain->n_readable, at, piece, n);
        for (size_t i = 0; i < n && echo->config.shout; i++)
            piece[i] = capital(piece[i]);
        hvv_iov_write(chain->writable, chain->n_writable, at, piece, n);
    }
    hvv_count(echo->dev, COUNTER_ECHOES, QUEUE_DATA, 1);
    hvv_count(echo->dev, COUNTER_BYTES, QUEUE_DATA, bytes);
    hvv_complete(chain, (uint32_t)bytes); /* from here on the chain is not ours */
}

static void wait_more(struct echo *echo)
{
    hvv_gauge(echo->dev, COUNTER_WAITING, HVV_NO_QUEUE, echo->n_waiting);
    if (!echo->first)
        return;
    uint64_t now = hvv_now(echo->dev), due = state_of(echo->first)->due;
    hvv_timer_set(echo->dev, echo->timer, due > now ? due - now : 1); /* 0 would stop it */
}

static void put_off(struct echo *echo, struct hvv_chain *chain)
{
    struct echo_chain *state = state_of(chain);
    state->next = NULL;
    state->due = hvv_now(echo->dev) + echo->delay_ns;
    if (echo->last)
        state_of(echo->last)->next = chain;
    else
        echo->first = chain;
    echo->last = chain;
    echo->n_waiting++;
}

/* Answers those that are due; all of them if `now` is UINT64_MAX. */
static void answer_due(struct echo *echo, uint64_t now)
{
    while (echo->first && state_of(echo->first)->due <= now) {
        struct hvv_chain *chain = echo->first;
        echo->first = state_of(chain)->next;
        if (!echo->first)
            echo->last = NULL;
        echo->n_waiting--;
        answer(echo, chain);
    }
    wait_more(echo);
}

static void expired(void *arg)
{
    struct echo *echo = arg;
    answer_due(echo, hvv_now(echo->dev));
}

/*
 * A guest that breaks the rules of the device is told so with hvv_fail(): its device stops until
 * the driver resets it. Say what was seen and what is right.
 */
static void serve_data(struct echo *echo, struct hvv_chain *chain)
{
    if (chain->readable_bytes > echo->config.max_bytes)
        hvv_fail(chain, "an echo of %llu bytes: at most %u are allowed",
                 (unsigned long long)chain->readable_bytes, echo->config.max_bytes);
    else if (echo->delay_ns || echo->first) /* answers keep their order */
        put_off(echo, chain);
    else
        answer(echo, chain);
}

/* ---- 7. The control queue -------------------------------------------------------------------- */

/*
 * A command that makes sense and cannot be done gets a status: that is what the driver understands.
 * hvv_fail() is for what is no command at all.
 */
static uint8_t set_delay(struct echo *echo, uint32_t ms)
{
    if (!(hvv_features(echo->dev) & 1ull << ECHO_F_DELAY) || ms > DELAY_MAX_MS)
        return ECHO_REFUSED;
    echo->delay_ns = ms * 1000000ull;
    return ECHO_OK;
}

static void serve_control(struct echo *echo, struct hvv_chain *chain)
{
    struct echo_control control;
    size_t n = hvv_iov_read(chain->readable, chain->n_readable, 0, &control, sizeof(control));
    if (n < sizeof(control) || chain->writable_bytes < 1) {
        hvv_fail(chain, "a control buffer of %zu and %llu bytes: it needs %zu and 1", n,
                 (unsigned long long)chain->writable_bytes, sizeof(control));
        return;
    }
    uint8_t status = ECHO_REFUSED;
    if (le32toh(control.command) == ECHO_SET_DELAY)
        status = set_delay(echo, le32toh(control.value));
    hvv_iov_write(chain->writable, chain->n_writable, 0, &status, 1);
    hvv_complete(chain, 1);
}

/*
 * 8. The guest put chains into a queue. Pop until fewer come than were asked for: that is how the
 * host knows that it has to call again.
 */
static void echo_notify(struct hvv_device *dev, uint32_t queue)
{
    struct echo *echo = echo_of(dev);
    struct hvv_chain *chains[BATCH];
    uint32_t n;
    do {
        n = hvv_pop(dev, queue, chains, BATCH);
        for (uint32_t i = 0; i < n; i++) {
            if (queue == QUEUE_CONTROL)
                serve_control(echo, chains[i]);
            else
                serve_data(echo, chains[i]);
        }
    } while (n == BATCH);
    wait_more(echo);
}

/*
 * 9. A queue stops. The host waits until all of its chains are finished; a guest that is paused
 * will see the results, one that has reset the queue will not. Here, both get them at once.
 */
static void echo_queue_stop(struct hvv_device *dev, uint32_t queue, uint32_t flags)
{
    (void)flags;
    if (queue == QUEUE_DATA)
        answer_due(echo_of(dev), UINT64_MAX);
}

/*
 * 10. The guest's memory is about to be somewhere else, and the host waits for the chains that
 * point to the old place. A plugin that never keeps a chain needs no such function.
 */
static void echo_memory_changed(struct hvv_device *dev, uint32_t queue)
{
    if (queue == QUEUE_DATA)
        answer_due(echo_of(dev), UINT64_MAX);
}

/* ---- 11. The config space -------------------------------------------------------------------- */

static void show_config(struct echo *echo, uint32_t flags)
{
    struct echo_config config = {htole32(echo->config.max_bytes), htole32(echo->config.shout)};
    hvv_config_set(echo->dev, 0, &config, sizeof(config), flags);
}

/* `flags`: whether the driver has to be told, which it has not if it was the driver that did it. */
static void set_shout(struct echo *echo, bool shout, uint32_t flags)
{
    if (echo->config.shout == shout)
        return;
    echo->config.shout = shout;
    show_config(echo, flags);
    hvv_event(echo->dev, EVENT_SHOUT, "on=%d", shout);
}

/*
 * The driver wrote some bytes anywhere. Put them over a copy of what is there, then take from the
 * copy the field that may be written.
 */
static void echo_config_write(struct hvv_device *dev, uint32_t offset, const void *data,
                              uint32_t size)
{
    struct echo *echo = echo_of(dev);
    struct echo_config config = {htole32(echo->config.max_bytes), htole32(echo->config.shout)};
    memcpy((char *)&config + offset, data, size);
    set_shout(echo, le32toh(config.shout) == 1, 0);
}

/* ---- 12. A command for the operator ---------------------------------------------------------- */

/* hvisor-vhost-ctl shout DEVICE [on=no]; the host has checked the parameters against the table. */
static int32_t run_shout(struct hvv_device *dev, struct hvv_call *call)
{
    struct echo *echo = echo_of(dev);
    if (hvv_call_count(dev, call, "on") > 0)
        set_shout(echo, hvv_call_u64(dev, call, "on"), HVV_CONFIG_NOTIFY);
    hvv_call_result(dev, call, "on", echo->config.shout ? "yes" : "no");
    return 0;
}

/* ---- 13. Life -------------------------------------------------------------------------------- */

static int32_t describe_device(struct echo *echo)
{
    struct hvv_device *dev = echo->dev;
    int32_t rc = hvv_add_queues(dev, QUEUES, HVV_QUEUE_SIZE_MAX, HVV_SEGMENTS_MAX, 0);
    if (rc < 0)
        return hvv_error(dev, -rc, "no memory for the queues");
    echo->timer = hvv_timer_new(dev, QUEUE_DATA, expired, echo);
    if (!echo->timer)
        return hvv_error(dev, errno, "no timer: %s", strerror(errno));
    hvv_set_features(dev, 1ull << ECHO_F_DELAY, 0);
    echo->config.max_bytes = (uint32_t)hvv_option_u64(dev, "max");
    echo->config.shout = hvv_option_u64(dev, "shout") != 0;
    show_config(echo, 0);
    return 0;
}

/*
 * All that can fail is done here, before anybody sees the device. What was acquired is released
 * again on failure: destroy() is not called then.
 */
static int32_t echo_create(struct hvv_device *dev)
{
    struct echo *echo = calloc(1, sizeof(*echo));
    if (!echo)
        return hvv_error(dev, ENOMEM, "no memory for the device");
    echo->dev = dev;
    int32_t rc = describe_device(echo);
    if (rc < 0) {
        hvv_timer_free(dev, echo->timer);
        free(echo);
        return rc;
    }
    dev->state = echo;
    return 0;
}

/* The driver is gone, and so is what it has set. Options and commands are the operator's: kept. */
static void echo_reset(struct hvv_device *dev)
{
    echo_of(dev)->delay_ns = 0;
}

static void echo_destroy(struct hvv_device *dev)
{
    hvv_timer_free(dev, echo_of(dev)->timer);
    free(dev->state);
}

/* ---- 14. Tables: everything the host and its client know about the plugin -------------------- */

static const struct hvv_option options[] = {
    {.name = "max",
     .type = HVV_OPTION_SIZE,
     .min = 1,
     .max = 1024 * 1024,
     .dflt = "64K",
     .help = "bytes one echo can be long"},
    {.name = "shout",
     .type = HVV_OPTION_BOOL,
     .dflt = "off",
     .help = "answer in capitals from the start"},
};

static const struct hvv_option shout_params[] = {
    {.name = "on", .type = HVV_OPTION_BOOL, .help = "answer in capitals, or not any more"},
};

static const struct hvv_command commands[] = {
    {.name = "shout",
     .help = "tell or change whether answers are in capitals",
     .params = shout_params,
     .n_params = sizeof(shout_params) / sizeof(shout_params[0]),
     .param_size = sizeof(shout_params[0]),
     .run = run_shout},
};

static const struct hvv_counter counters[COUNTERS] = {
    [COUNTER_ECHOES] = {.name = "echoes", .help = "echoes sent", .flags = HVV_COUNTER_QUEUE},
    [COUNTER_BYTES] = {.name = "bytes", .help = "bytes sent", .flags = HVV_COUNTER_QUEUE},
    [COUNTER_WAITING] = {.name = "waiting",
                         .help = "echoes that wait for their time now",
                         .flags = HVV_COUNTER_GAUGE},
};

static const struct hvv_event events[EVENTS] = {
    [EVENT_SHOUT] = {.name = "shout", .help = "answers are in capitals now, or no longer"},
};

static const struct hvv_ops ops = {
    .size = sizeof(ops),
    .create = echo_create,
    .destroy = echo_destroy,
    .notify = echo_notify,
    .queue_stop = echo_queue_stop,
    .config_write = echo_config_write,
    .memory_changed = echo_memory_changed,
    .reset = echo_reset,
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .abi_minor = HVV_ABI_MINOR,
    .name = "echo",
    .version = "1.0",
    .description = "sends back what it is sent",
    .virtio_id = ECHO_ID,
    .threads = HVV_SERIAL_DEVICE,
    .chain_state_size = sizeof(struct echo_chain),
    .ops = &ops,
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .option_size = sizeof(options[0]),
    .commands = commands,
    .n_commands = sizeof(commands) / sizeof(commands[0]),
    .command_size = sizeof(commands[0]),
    .counters = counters,
    .n_counters = COUNTERS,
    .counter_size = sizeof(counters[0]),
    .events = events,
    .n_events = EVENTS,
    .event_size = sizeof(events[0]),
};

/* 15. The one symbol that is seen from outside. */
const struct hvv_plugin *hvv_plugin_v1(void)
{
    return &plugin;
}
