/* SPDX-License-Identifier: BSD-3-Clause */
/* host-options.c - see host-options.h. */
#include "conf/host-options.h"

#include "zone/plan.h"

static const struct hvv_option options[] = {
    {.name = "id",
     .type = HVV_OPTION_STRING,
     .help = "name of the device; default: the plugin's name and a number"},
    {.name = "socket",
     .type = HVV_OPTION_PATH,
     .help = "vhost-user socket; default without zones: ID.sock in the socket directory"},
    {.name = "zone",
     .type = HVV_OPTION_U64,
     .max = PLAN_ZONES_MAX - 1,
     .help = "zone whose guest has the device; default: the only zone there is"},
    {.name = "addr",
     .type = HVV_OPTION_U64,
     .help = "address of the slot in the zone; default: a free one"},
    {.name = "irq",
     .type = HVV_OPTION_U64,
     .max = UINT32_MAX,
     .help = "interrupt of the slot in the zone; default: a free one"},
    {.name = "inband",
     .type = HVV_OPTION_BOOL,
     .dflt = "off",
     .help = "vhost-user: offer notifications as messages instead of descriptors (slow)"},
};

const struct option_table host_options = {
    .options = options,
    .n = sizeof(options) / sizeof(options[0]),
    .stride = sizeof(options[0]),
    .owner = "host",
};
