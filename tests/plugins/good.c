/* SPDX-License-Identifier: BSD-3-Clause */
/* good.c - the smallest plugin that works; the base that those of bad.c differ from. */
#include "fill.h"

static int32_t good_create(struct hvv_device *dev)
{
    return fill_declare(dev);
}

static void good_destroy(struct hvv_device *dev)
{
    (void)dev;
}

static const struct hvv_ops ops = {
    .size = sizeof(ops),
    .create = good_create,
    .destroy = good_destroy,
    .notify = fill_notify,
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .abi_minor = HVV_ABI_MINOR,
    .name = "good",
    .version = "1.0",
    .description = "fills buffers with random bytes",
    .virtio_id = FILL_VIRTIO_ID,
    .ops = &ops,
};

const struct hvv_plugin *hvv_plugin_v1(void)
{
    return &plugin;
}
