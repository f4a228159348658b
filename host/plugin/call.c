/* SPDX-License-Identifier: BSD-3-Clause */
/* call.c - see call.h. */
#include "plugin/call.h"

#include "daemon.h"
#include "util/container.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


static const struct hvv_command *find_command(const struct device *dev, const char *name)
{
    for (uint32_t i = 0; i < dev->plugin->info.n_commands; i++)
        if (strcmp(dev->plugin->info.commands[i].name, name) == 0)
            return &dev->plugin->info.commands[i];
    return NULL;
}

static int unknown_command(const struct device *dev, const char *name, struct error *error)
{
    char known[256] = "";
    for (uint32_t i = 0; i < dev->plugin->info.n_commands; i++) {
        strncat(known, i ? ", " : "", sizeof(known) - strlen(known) - 1);
        strncat(known, dev->plugin->info.commands[i].name, sizeof(known) - strlen(known) - 1);
    }
    return error_set(error, EOPNOTSUPP, "plugin %s has no command \"%s\"%s%s",
                     dev->plugin->info.name, name, known[0] ? "; it has: " : ", nor any other",
                     known);
}

static void done_on_control(struct hvv_task *task)
{
    struct hvv_call *call = container_of(task, struct hvv_call, task);
    call->done(call);
}

static void run_on_worker(struct hvv_task *task)
{
    struct hvv_call *call = container_of(task, struct hvv_call, task);
    struct device *dev = call->dev;
    callback_enter(&dev->commands[call->command - dev->plugin->info.commands]);
    int32_t status = call->command->run(&dev->pub, call);
    callback_leave();
    if (status != -EINPROGRESS)
        call_finish(call, status);
}

int call_start(struct device *dev, const char *name, const struct spec *params, const char *cwd,
               void (*done)(struct hvv_call *call), void *arg, struct error *error)
{
    const struct hvv_command *command = find_command(dev, name);
    if (!command)
        return unknown_command(dev, name, error);
    struct hvv_call *call = calloc(1, sizeof(*call));
    if (!call)
        return error_set(error, ENOMEM, "out of memory for a command");
    struct option_table table = {command->params, command->n_params, command->param_size,
                                 command->name};
    int rc = options_check(&call->params, params, &table, 1, cwd, error);
    if (rc < 0) {
        free(call);
        return rc;
    }
    call->dev = dev;
    call->command = command;
    call->last = &call->results;
    call->fd = -1;
    call->done = done;
    call->arg = arg;
    call->task.run = run_on_worker;
    loop_post(worker_loop(dev->queues[0].worker), &call->task);
    return 0;
}

void call_free(struct hvv_call *call)
{
    while (call->results) {
        struct call_result *next = call->results->next;
        free(call->results->key);
        free(call->results->text);
        free(call->results);
        call->results = next;
    }
    if (call->fd >= 0)
        close(call->fd);
    options_clear(&call->params);
    free(call);
}

void call_add(struct hvv_call *call, const char *key, const char *text, uint64_t number)
{
    struct call_result *result = calloc(1, sizeof(*result));
    if (result) {
        result->key = strdup(key);
        result->text = text ? strdup(text) : NULL;
        result->number = number;
    }
    if (!result || !result->key || (text && !result->text)) {
        error_set(&call->error, ENOMEM, "out of memory for the result of %s", call->command->name);
        if (result)
            free(result->key);
        free(result);
        return;
    }
    *call->last = result;
    call->last = &result->next;
}

void call_set_fd(struct hvv_call *call, int fd)
{
    if (call->fd >= 0)
        close(call->fd);
    call->fd = fd;
}

void call_finish(struct hvv_call *call, int32_t status)
{
    if (status < 0)
        error_set(&call->error, -status, "%s: %s", call->command->name, strerror(-status));
    call->task.run = done_on_control;
    loop_post(call->dev->daemon->loop, &call->task);
}
