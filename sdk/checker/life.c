/* SPDX-License-Identifier: BSD-3-Clause */
/* life.c - the order of operations, the config space, commands, two devices at once. Child. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ROUNDS 4
#define FLOOD 8u
#define TURN_MS 5

/* ---- Order ----------------------------------------------------------------------------------- */

/* A request that failed before its device was visible: create() and destroy(), nothing else. */
void group_create(struct child *child)
{
    struct hvv_harness h;
    for (int i = 0; i < 2; i++)
        if (open_device(child, &h, "check"))
            hvv_harness_close(&h);
}

static void all_at_once(struct child *child)
{
    struct hvv_harness h;
    if (!start_device(child, &h, "check"))
        return;
    hvv_harness_stop(&h);
    hvv_harness_start(&h);
    hvv_harness_reset(&h);
    hvv_harness_reset(&h);
    hvv_harness_start(&h);
    hvv_harness_settle(&h);
    hvv_harness_close(&h); /* with queues that run */
}

/* A driver may use some queues only, and start and stop them as it likes. */
static void one_by_one(struct child *child)
{
    struct hvv_harness h;
    struct sender sender;
    if (!start_device(child, &h, "check"))
        return;
    sender_init(&sender, &h);
    sender_learn(&sender);
    for (int round = 0; round < ROUNDS; round++) {
        for (uint32_t i = h.n_queues; i-- > 0;)
            hvv_harness_queue_stop(&h, i, round % 2 ? HVV_STOP_DISCARD : 0);
        sender_flood(&sender, FLOOD); /* a driver fills a ring before the device looks at it */
        for (uint32_t i = 0; i < h.n_queues; i++)
            hvv_harness_queue_start(&h, (i + (uint32_t)round) % h.n_queues);
        hvv_harness_settle(&h);
    }
    hvv_harness_stop(&h);
    hvv_harness_close(&h);
}

static void first_only(struct child *child)
{
    struct hvv_harness h;
    if (!open_device(child, &h, "check"))
        return;
    hvv_harness_queue_start(&h, 0);
    hvv_harness_settle(&h);
    hvv_harness_advance(&h, 10000000000u);
    hvv_harness_queue_stop(&h, 0, 0);
    hvv_harness_close(&h);
}

void group_order(struct child *child)
{
    all_at_once(child);
    first_only(child);
    one_by_one(child);
}

/* ---- Config space ---------------------------------------------------------------------------- */

static void write_all(struct hvv_harness *h, unsigned char fill)
{
    unsigned char bytes[HVV_CONFIG_MAX];
    memset(bytes, fill, sizeof(bytes));
    for (uint32_t size = 1; size <= 8; size *= 2)
        for (uint32_t at = 0; at + size <= h->config_size; at += size)
            hvv_harness_config_write(h, at, bytes, size);
    hvv_harness_config_write(h, 0, bytes, h->config_size);
    hvv_harness_settle(h);
}

void group_config(struct child *child)
{
    struct hvv_harness h;
    if (!open_device(child, &h, "check"))
        return;
    if (h.config_size == 0)
        skip("config-write", "the device has no config space");
    hvv_harness_start(&h);
    hvv_harness_stop(&h);
    for (unsigned char fill = 0; h.config_size > 0 && fill < 3; fill++) {
        write_all(&h, fill == 2 ? 0xff : fill); /* with no queue running */
        hvv_harness_start(&h);
        write_all(&h, fill == 2 ? 0xff : fill);
        hvv_harness_reset(&h);
    }
    hvv_harness_close(&h);
}

/* ---- Commands -------------------------------------------------------------------------------- */

/* A value that the table allows, for a parameter that has to be there. */
static void put_value(const struct hvv_option *option, char *text, size_t size)
{
    size_t n = strlen(text);
    const char *name = option->name, *sep = n ? "," : "";
    switch (option->type) {
    case HVV_OPTION_U64:
    case HVV_OPTION_SIZE:
        snprintf(text + n, size - n, "%s%s=%llu", sep, name, (unsigned long long)option->min);
        break;
    case HVV_OPTION_BOOL:
        snprintf(text + n, size - n, "%s%s=on", sep, name);
        break;
    case HVV_OPTION_CHOICE:
        snprintf(text + n, size - n, "%s%s=%.*s", sep, name, (int)strcspn(option->choices, " "),
                 option->choices);
        break;
    default:
        snprintf(text + n, size - n, "%s%s=/nonexistent/x", sep, name);
    }
}

/* `all`: every parameter is given, not only those that have to be. */
static void run_command(struct hvv_harness *h, const struct hvv_command *command,
                        struct hvv_harness_call *call, bool all)
{
    char params[2048] = "";
    for (uint32_t i = 0; i < command->n_params; i++) {
        const struct hvv_option *option =
            (const void *)((const char *)command->params + (size_t)i * command->param_size);
        if (all || option->flags & HVV_OPTION_REQUIRED)
            put_value(option, params, sizeof(params));
    }
    int32_t rc = hvv_harness_command_start(h, call, command->name, params);
    if (rc < 0 && rc != -EINPROGRESS && !call->error[0])
        found("command-run", "%s was refused with %d and did not say why with hvv_call_error()",
              command->name, rc);
    hvv_harness_settle(h);
    if (call->fd >= 0)
        close(call->fd);
    hvv_harness_settle(h);
}

/* Those that have not ended by themselves have to when the device is removed. */
void group_commands(struct child *child)
{
    const struct hvv_plugin *plugin = child->plugin;
    struct hvv_harness h;
    if (plugin->n_commands == 0)
        skip("command-run", "there are no commands");
    struct hvv_harness_call *calls = calloc(3u * plugin->n_commands + 1, sizeof(*calls));
    if (!calls || !start_device(child, &h, "check"))
        return;
    for (uint32_t i = 0; i < 3 * plugin->n_commands; i++) {
        const struct hvv_command *command =
            (const void *)((const char *)plugin->commands +
                           (size_t)(i % plugin->n_commands) * plugin->command_size);
        run_command(&h, command, &calls[i], i >= 2 * plugin->n_commands);
        if (i == plugin->n_commands)
            hvv_harness_reset(&h); /* the second time with no queue running */
        if (i == 2 * plugin->n_commands)
            hvv_harness_start(&h);
    }
    hvv_harness_close(&h);
    free(calls);
}

/* ---- Two devices ----------------------------------------------------------------------------- */

/* A chain of one device may wait for something that the other has to do, or for its time to pass. */
static bool is_done(struct sender *sender, const struct hvv_harness_chain *chain,
                    struct hvv_harness *beside)
{
    uint64_t deadline = clock_ns() + sender->h->patience_ms * 1000000ull;
    while (beside && clock_ns() < deadline) {
        if (sender_pump(sender->h, chain, TURN_MS))
            return true;
        hvv_harness_advance(beside, TURN_MS * 1000000ull);
    }
    return sender_pump(sender->h, chain, (int)sender->h->patience_ms);
}

/*
 * What worked with the first device has to work on beside a second, and after that came and went.
 */
static bool works(struct sender *sender, struct hvv_harness *beside, const char *when)
{
    for (uint32_t queue = 0; queue < sender->h->n_queues; queue++) {
        if (sender->shape[queue] < 0 || sender->held[queue])
            continue;
        struct hvv_harness_chain *chain =
            sender_send(sender, queue, shapes[sender->shape[queue]]);
        hvv_harness_kick(sender->h, queue);
        if (!chain || is_done(sender, chain, beside))
            continue;
        found("two-devices", "%s, queue %u of the first does not finish chains any more", when,
              queue);
        return false;
    }
    return true;
}

void group_two(struct child *child)
{
    struct hvv_harness first, second;
    struct sender a, b;
    bool alive = true;
    if (!start_device(child, &first, "check"))
        return;
    sender_init(&a, &first);
    sender_learn(&a);
    init_device(child, &second, "other");
    int32_t rc = hvv_harness_create(&second, child->options);
    if (rc < 0) {
        skip("two-devices", "a second device with these options is refused: %s", second.error);
    } else {
        hvv_harness_start(&second);
        sender_init(&b, &second);
        sender_learn(&b);
        sender_flood(&a, FLOOD);
        sender_flood(&b, FLOOD);
        alive = works(&a, &second, "beside a second device");
        hvv_harness_close(&second);
    }
    sender_recover(&first);
    if (alive)
        works(&a, NULL, "after a second device was removed");
    hvv_harness_close(&first);
}
