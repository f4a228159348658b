/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvv/plugin.h - what a plugin is: the one struct behind the one exported symbol.
 *
 * Include this header alone; it brings in the rest of the ABI.
 */
#ifndef HVV_PLUGIN_H
#define HVV_PLUGIN_H

#include <hvv/abi.h>
#include <hvv/chain.h>
#include <hvv/command.h>
#include <hvv/device.h>
#include <hvv/host.h>
#include <hvv/iov.h>
#include <hvv/option.h>

#ifdef __cplusplus
extern "C" {
#endif

/* hvv_plugin.threads: who may call into one device at the same time */
#define HVV_SERIAL_DEVICE 0u /* one call at a time for the device */
#define HVV_SERIAL_QUEUE 1u  /* one call at a time for each queue */

/*
 * The host copies this struct and the tables behind it when it loads the plugin. A table has at
 * most 256 entries; names are 1 to 31 bytes and unique in their table; each entry has a help text.
 */
struct hvv_plugin {
    uint32_t size;
    uint16_t abi_minor;          /* HVV_ABI_MINOR of the headers it was built with */
    uint16_t reserved;
    uint64_t needs;              /* HVV_CAP_* bits without which it cannot work */

    const char *name;            /* lower case letters, digits, '-' and '_'; 1 to 31 bytes */
    const char *version;         /* numbers separated by dots: 1.0.2; at most 63 bytes */
    const char *description;     /* one line; descriptions and help texts are 1 to 255 bytes */

    uint32_t virtio_id;          /* the virtio device ID (virtio 1.2, section 5), not 0 */
    uint32_t threads;            /* HVV_SERIAL_DEVICE or HVV_SERIAL_QUEUE */
    uint32_t chain_state_size;   /* bytes at hvv_chain.state; at most 4096 */
    uint32_t queue_unit;         /* queues that front-ends count as one: 2 for the pairs of a
                                    network device; 0 means 1 */

    const struct hvv_ops *ops;

    const struct hvv_option *options;
    uint32_t n_options;
    uint32_t option_size;        /* sizeof(struct hvv_option) */
    const struct hvv_command *commands;
    uint32_t n_commands;
    uint32_t command_size;       /* sizeof(struct hvv_command) */
    const struct hvv_counter *counters;
    uint32_t n_counters;
    uint32_t counter_size;       /* sizeof(struct hvv_counter) */
    const struct hvv_event *events;
    uint32_t n_events;
    uint32_t event_size;         /* sizeof(struct hvv_event) */

    /*
     * QEMU's command-line options for a vhost-user front-end of this kind, shown by
     * `hvisor-vhost-ctl show`; {chardev} and {queues} (in units) are filled in. NULL if QEMU has
     * none.
     */
    const char *qemu;
};

/*
 * The one exported symbol. Returns a struct that lives for ever, the same one at each call.
 * No side effects: it is also called to describe a plugin that is then not used.
 */
HVV_EXPORT const struct hvv_plugin *hvv_plugin_v1(void);

#ifdef __cplusplus
}
#endif

#endif
