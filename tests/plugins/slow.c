/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slow.c - a plugin whose create() takes `seconds`: it waits on a pipe nobody writes to, as one
 * would wait for a server that does not answer.
 */
#include "fill.h"

#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Signals do not shorten the wait. */
static void wait_for_nothing(int fd, int64_t ms)
{
    int64_t end = now_ms() + ms;
    for (int64_t left = ms; left > 0; left = end - now_ms()) {
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};
        if (poll(&pollfd, 1, (int)left) < 0 && errno != EINTR)
            return;
    }
}

static int32_t slow_create(struct hvv_device *dev)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return hvv_error(dev, errno, "no pipe to wait on");
    wait_for_nothing(fds[0], (int64_t)hvv_option_u64(dev, "seconds") * 1000);
    close(fds[0]);
    close(fds[1]);
    return fill_declare(dev);
}

static void slow_destroy(struct hvv_device *dev)
{
    (void)dev;
}

static const struct hvv_option options[] = {
    {.name = "seconds",
     .type = HVV_OPTION_U64,
     .max = 600,
     .dflt = "5",
     .help = "how long it takes to create the device"},
};

static const struct hvv_ops ops = {
    .size = sizeof(ops),
    .create = slow_create,
    .destroy = slow_destroy,
    .notify = fill_notify,
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .abi_minor = HVV_ABI_MINOR,
    .name = "slow",
    .version = "1.0",
    .description = "fills buffers with random bytes, after a long create()",
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
