/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * newer.c - a plugin of the next minor of the ABI: it is built with headers that plugins.sh makes,
 * in which each struct has one member more and there is one service more, hvv_host.more. It uses
 * that service if the host has it, and says in `show` whether it has. With NEEDED it cannot do
 * without, and says so in `needs`.
 */
#include <hvv/plugin.h>

#ifdef NEEDED
#define NAME "newer-needs"
#define NEEDS HVV_CAP_MORE
#else
#define NAME "newer"
#define NEEDS HVV_CAP_MAP
#endif

static int32_t newer_create(struct hvv_device *dev)
{
    if (hvv_add_queues(dev, 1, 64, 16, 0) < 0)
        return hvv_error(dev, ENOMEM, "no memory for the queue");
    if (HVV_HAS(struct hvv_host, dev->host, more))
        dev->host->more(dev);
    else
        hvv_describe(dev, "more", "does without");
    if (HVV_HAS(struct hvv_device, dev, more))
        return hvv_error(dev, EINVAL, "a member that the host does not know has a value");
    return 0;
}

static void newer_destroy(struct hvv_device *dev)
{
    (void)dev;
}

static void newer_notify(struct hvv_device *dev, uint32_t queue)
{
    (void)dev;
    (void)queue;
}

/* The host knows nothing of it, so it must never call it. */
static void newer_more(struct hvv_device *dev)
{
    hvv_broken(dev, "an operation was called that the host cannot know");
}

static int32_t run_tell(struct hvv_device *dev, struct hvv_call *call)
{
    hvv_call_result_u64(dev, call, "size", hvv_option_u64(dev, "size"));
    hvv_call_result(dev, call, "text", hvv_option_string(dev, "text"));
    return 0;
}

static const struct hvv_option options[] = {
    {.name = "size", .type = HVV_OPTION_U64, .dflt = "7", .help = "a number", .more = 1},
    {.name = "text", .dflt = "none", .help = "any text", .more = 2},
};

static const struct hvv_command commands[] = {
    {.name = "nothing", .help = "does nothing", .run = run_tell, .more = 3},
    {.name = "tell", .help = "tells the options", .run = run_tell, .more = 4},
};

static const struct hvv_counter counters[] = {
    {.name = "first", .help = "nothing", .more = 5},
    {.name = "second", .help = "nothing", .more = 6},
};

static const struct hvv_event events[] = {
    {.name = "begin", .help = "nothing", .more = 7},
    {.name = "end", .help = "nothing", .more = 8},
};

static const struct hvv_ops ops = {
    .size = sizeof(ops),
    .create = newer_create,
    .destroy = newer_destroy,
    .notify = newer_notify,
    .more = newer_more,
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .abi_minor = HVV_ABI_MINOR,
    .needs = NEEDS,
    .name = NAME,
    .version = "1.0",
    .description = "of a newer ABI",
    .virtio_id = 4,
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
    .more = 9,
};

const struct hvv_plugin *hvv_plugin_v1(void)
{
    return &plugin;
}
