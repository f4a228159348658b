/* SPDX-License-Identifier: BSD-3-Clause */
/* builder.c - see builder.h. */
#include "device/builder.h"

#include "util/callback.h"
#include "util/container.h"

#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

struct builder {
    pthread_t thread;
    struct loop *loop;
    struct hvv_task stop_task;
};

static void *run(void *arg)
{
    struct builder *builder = arg;
    struct callback_thread thread;
    alignas(16) char stack[CALLBACK_STACK];
    callback_thread_begin(&thread, BUILDER_THREAD, stack);
    loop_run(builder->loop);
    callback_thread_end(&thread);
    return NULL;
}

static void stop(struct hvv_task *task)
{
    struct builder *builder =
        container_of(task, struct builder, stop_task);
    loop_stop(builder->loop);
}

struct builder *builder_new(struct error *error)
{
    struct builder *builder = calloc(1, sizeof(*builder));
    if (!builder || !(builder->loop = loop_new())) {
        error_set(error, ENOMEM, "out of memory for the builder");
        free(builder);
        return NULL;
    }
    int rc = pthread_create(&builder->thread, NULL, run, builder);
    if (rc) {
        error_set(error, rc, "builder thread cannot be started: %s", strerror(rc));
        loop_free(builder->loop);
        free(builder);
        return NULL;
    }
    pthread_setname_np(builder->thread, BUILDER_THREAD);
    return builder;
}

void builder_free(struct builder *builder)
{
    if (!builder)
        return;
    builder->stop_task.run = stop;
    loop_post(builder->loop, &builder->stop_task);
    pthread_join(builder->thread, NULL);
    loop_free(builder->loop);
    free(builder);
}

void builder_post(struct builder *builder, struct hvv_task *task)
{
    loop_post(builder->loop, task);
}
