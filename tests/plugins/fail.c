/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fail.c - a plugin whose create() fails where `at` says, after it acquired what comes before that:
 *
 *     create  ->  (memory, a pipe)  ->  queues  ->  (a queue)  ->  config  ->  (config space)
 *
 * Without `at` it works.
 */
#include "fill.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct fail {
    int fds[2];
};

static int32_t fails_at(struct hvv_device *dev, const char *step)
{
    const char *at = hvv_option_string(dev, "at");
    if (!at || strcmp(at, step) != 0)
        return 0;
    return hvv_error_option(dev, EIO, "at", "create() fails at %s, as it was asked to", step);
}

static int32_t declare(struct hvv_device *dev)
{
    static const uint8_t config[8] = {0};
    int32_t rc = fails_at(dev, "queues");
    if (rc == 0)
        rc = fill_declare(dev);
    if (rc == 0)
        rc = fails_at(dev, "config");
    return rc == 0 ? hvv_config_set(dev, 0, config, sizeof(config), 0) : rc;
}

static void release(struct fail *fail)
{
    close(fail->fds[0]);
    close(fail->fds[1]);
    free(fail);
}

static int32_t fail_create(struct hvv_device *dev)
{
    int32_t rc = fails_at(dev, "create");
    if (rc < 0)
        return rc;
    struct fail *fail = malloc(sizeof(*fail));
    if (!fail)
        return hvv_error(dev, ENOMEM, "out of memory");
    if (pipe2(fail->fds, O_CLOEXEC) < 0) {
        int err = errno;
        free(fail);
        return hvv_error(dev, err, "no pipe");
    }
    rc = declare(dev);
    if (rc < 0) {
        release(fail);
        return rc;
    }
    dev->state = fail;
    return 0;
}

static void fail_destroy(struct hvv_device *dev)
{
    release(dev->state);
}

static const struct hvv_option options[] = {
    {.name = "at",
     .type = HVV_OPTION_CHOICE,
     .choices = "create queues config",
     .help = "the step of create() that fails"},
};

static const struct hvv_ops ops = {
    .size = sizeof(ops),
    .create = fail_create,
    .destroy = fail_destroy,
    .notify = fill_notify,
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .abi_minor = HVV_ABI_MINOR,
    .name = "fail",
    .version = "1.0",
    .description = "fills buffers with random bytes, unless its create() is told to fail",
    .virtio_id = FILL_VIRTIO_ID,
    .ops = &ops,
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .option_size = sizeof(options[0]),
};

const struct hvv_plugin *hvv_plugin_v1(void)
{
    return &plugin;
}
