/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bad.c - the plugin of good.c with tables, and with one thing changed by a macro: a file built
 * with -DBAD_x is refused, one with -DOK_x is unusual and accepted. tests/unit/loader.c has the
 * sentence for each.
 *
 * Every variant has a constructor that makes the file named by HVV_TEST_MARKER, so that a test can
 * tell whether code of a refused file ran.
 */
#include "fill.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void leave_marker(void)
{
    const char *path = getenv("HVV_TEST_MARKER");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0)
        close(fd);
}

/* ---- what the variants change in the plugin's struct ----------------------------------------- */

#if defined(BAD_NAME)
#define NAME "Bad Name"
#elif defined(BAD_NAME_LONG)
#define NAME "a-name-of-more-than-thirty-one-bytes"
#elif defined(BAD_NAME_NULL)
#define NAME NULL
#elif defined(BAD_DUPLICATE) || defined(OK_VERSION_9) || defined(OK_VERSION_10)
#define NAME "good"
#else
#define NAME "variant"
#endif

#if defined(BAD_VERSION)
#define VERSION "1.0-beta"
#elif defined(BAD_VERSION_DOT)
#define VERSION "1..0"
#elif defined(BAD_VERSION_NULL)
#define VERSION NULL
#elif defined(OK_VERSION_9)
#define VERSION "1.9"
#elif defined(OK_VERSION_10)
#define VERSION "1.10"
#else
#define VERSION "1.0"
#endif

#if defined(BAD_DESCRIPTION)
#define DESCRIPTION "two\nlines"
#else
#define DESCRIPTION "differs from a good plugin in one thing"
#endif

#if defined(BAD_NEEDS)
#define NEEDS (1ull << 5 | 1ull << 40 | HVV_CAP_MAP)
#else
#define NEEDS 0
#endif

#if defined(BAD_VIRTIO_ID)
#define VIRTIO_ID 0
#else
#define VIRTIO_ID FILL_VIRTIO_ID
#endif

#if defined(BAD_CHAIN_STATE)
#define CHAIN_STATE 4097
#else
#define CHAIN_STATE 4096
#endif

#if defined(BAD_THREADS)
#define THREADS 2
#else
#define THREADS HVV_SERIAL_QUEUE
#endif

#if defined(BAD_SIZE)
#define SIZE offsetof(struct hvv_plugin, qemu)
#else
#define SIZE sizeof(plugin)
#endif

#if defined(OK_NEW_MINOR) || defined(OK_NEW_SIZE)
#define MINOR (HVV_ABI_MINOR + 1)
#else
#define MINOR HVV_ABI_MINOR
#endif

/* ---- in the operations ----------------------------------------------------------------------- */

#if defined(BAD_OPS_SIZE)
#define OPS_SIZE offsetof(struct hvv_ops, notify)
#else
#define OPS_SIZE sizeof(ops)
#endif

#if defined(BAD_NO_OPS)
#define OPS NULL
#else
#define OPS (&ops.now)
#endif

#if defined(BAD_NO_CREATE)
#define CREATE NULL
#else
#define CREATE variant_create
#endif

#if defined(BAD_NO_DESTROY)
#define DESTROY NULL
#else
#define DESTROY variant_destroy
#endif

#if defined(BAD_NO_NOTIFY)
#define NOTIFY NULL
#else
#define NOTIFY fill_notify
#endif

/* ---- in the tables: mostly the second entry -------------------------------------------------- */

#if defined(BAD_OPTION_NAME)
#define OPTION .name = "Size", .help = "a name in upper case"
#elif defined(BAD_OPTION_HOST)
#define OPTION .name = "id", .help = "a name the host has already"
#elif defined(BAD_OPTION_TWICE)
#define OPTION .name = "size", .help = "a name that was there before"
#elif defined(BAD_OPTION_TYPE)
#define OPTION .name = "kind", .type = 99, .help = "a type of the future"
#else
#define OPTION .name = "text", .dflt = "none", .help = "any text"
#endif

#if defined(BAD_OPTION_COUNT)
#define N_OPTIONS 4000000000u
#else
#define N_OPTIONS 2
#endif

#if defined(BAD_OPTION_STRIDE)
#define OPTION_SIZE 8
#else
#define OPTION_SIZE sizeof(options[0])
#endif

#if defined(BAD_PARAM)
#define PARAM .name = "how", .type = HVV_OPTION_CHOICE, .help = "a choice of nothing"
#else
#define PARAM .name = "how", .help = "in which way"
#endif

#if defined(BAD_PARAM_NULL)
#define PARAMS NULL
#else
#define PARAMS (&params[0].now)
#endif

#if defined(BAD_COMMAND_NAME)
#define COMMAND .name = "say it", .help = "says nothing", .run = variant_run
#elif defined(BAD_COMMAND_TWICE)
#define COMMAND .name = "whisper", .help = "says nothing", .run = variant_run
#elif defined(BAD_COMMAND_RUN)
#define COMMAND .name = "shout", .help = "says nothing"
#elif defined(BAD_COMMAND_HELP)
#define COMMAND .name = "shout", .run = variant_run
#else
#define COMMAND .name = "shout", .help = "says nothing", .run = variant_run
#endif

#if defined(BAD_COUNTER_NAME)
#define COUNTER .name = "", .help = "bytes in them"
#elif defined(BAD_COUNTER_TWICE)
#define COUNTER .name = "fills", .help = "bytes in them"
#elif defined(BAD_COUNTER_HELP)
#define COUNTER .name = "bytes"
#else
#define COUNTER .name = "bytes", .help = "bytes in them"
#endif

#if defined(BAD_COUNTER_NULL)
#define COUNTERS NULL
#else
#define COUNTERS (&counters[0].now)
#endif

#if defined(BAD_EVENT_NAME)
#define EVENT .name = NULL, .help = "some again"
#elif defined(BAD_EVENT_TWICE)
#define EVENT .name = "empty", .help = "some again"
#else
#define EVENT .name = "filled", .help = "some again"
#endif

#if defined(BAD_EVENT_STRIDE)
#define EVENT_SIZE 1000000
#else
#define EVENT_SIZE sizeof(events[0])
#endif

/* ---- the entry ------------------------------------------------------------------------------- */

#if defined(BAD_NO_ENTRY)

/* Nothing that anybody could call. */

#elif defined(BAD_DATA_ENTRY)

extern HVV_EXPORT const uint32_t hvv_plugin_v1_data[1];
const uint32_t hvv_plugin_v1_data[1] __asm__("hvv_plugin_v1") = {1};

#elif defined(BAD_MAJOR)

HVV_EXPORT const void *hvv_plugin_v2(void);
const void *hvv_plugin_v2(void)
{
    return NULL;
}

#elif defined(BAD_NULL_ENTRY)

const struct hvv_plugin *hvv_plugin_v1(void)
{
    return NULL;
}

#else

/* A newer ABI has more at the end of each struct. */
#if defined(OK_NEW_SIZE)
#define MORE uint64_t more[3];
#else
#define MORE
#endif
struct new_option { struct hvv_option now; MORE };
struct new_command { struct hvv_command now; MORE };
struct new_counter { struct hvv_counter now; MORE };
struct new_event { struct hvv_event now; MORE };
struct new_ops { struct hvv_ops now; MORE };
struct new_plugin { struct hvv_plugin now; MORE };

#if defined(BAD_UNDEFINED)
int32_t symbol_nobody_defines(struct hvv_device *dev);
#define fill_declare symbol_nobody_defines
#endif

__attribute__((unused)) static int32_t variant_create(struct hvv_device *dev)
{
    return fill_declare(dev);
}

__attribute__((unused)) static void variant_destroy(struct hvv_device *dev)
{
    (void)dev;
}

static int32_t variant_run(struct hvv_device *dev, struct hvv_call *call)
{
    hvv_call_result(dev, call, "said", "nothing");
    return 0;
}

static const struct new_option options[] = {
    {.now = {.name = "size", .type = HVV_OPTION_U64, .max = 9, .dflt = "7", .help = "a number"}},
    {.now = {OPTION}},
};

__attribute__((unused)) static const struct new_option params[] = {
    {.now = {PARAM}},
    {.now = {.name = "often", .type = HVV_OPTION_U64, .help = "how many times"}},
};

static const struct new_command commands[] = {
    {.now = {.name = "whisper",
             .help = "says nothing",
             .params = PARAMS,
             .n_params = 2,
             .param_size = sizeof(params[0]),
             .run = variant_run}},
    {.now = {COMMAND}},
};

__attribute__((unused)) static const struct new_counter counters[] = {
    {.now = {.name = "fills", .help = "buffers filled"}},
    {.now = {COUNTER}},
};

static const struct new_event events[] = {
    {.now = {.name = "empty", .help = "no more random bytes"}},
    {.now = {EVENT}},
};

__attribute__((unused)) static const struct new_ops ops = {
    .now = {.size = OPS_SIZE, .create = CREATE, .destroy = DESTROY, .notify = NOTIFY},
};

static const struct new_plugin plugin = {
    .now =
        {
            .size = SIZE,
            .abi_minor = MINOR,
            .needs = NEEDS,
            .name = NAME,
            .version = VERSION,
            .description = DESCRIPTION,
            .virtio_id = VIRTIO_ID,
            .threads = THREADS,
            .chain_state_size = CHAIN_STATE,
            .ops = OPS,
            .options = &options[0].now,
            .n_options = N_OPTIONS,
            .option_size = OPTION_SIZE,
            .commands = &commands[0].now,
            .n_commands = 2,
            .command_size = sizeof(commands[0]),
            .counters = COUNTERS,
            .n_counters = 2,
            .counter_size = sizeof(counters[0]),
            .events = &events[0].now,
            .n_events = 2,
            .event_size = EVENT_SIZE,
            .qemu = "vhost-user-rng-pci,chardev={chardev}",
        },
};

const struct hvv_plugin *hvv_plugin_v1(void)
{
    return &plugin.now;
}

#if defined(OK_TWO_MAJORS)
HVV_EXPORT const void *hvv_plugin_v2(void);
const void *hvv_plugin_v2(void)
{
    return NULL;
}
#endif

#endif
