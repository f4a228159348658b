/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvv/command.h - what is special to one kind of device: its commands, counters and events.
 *
 * The host and hvisor-vhost-ctl know no kind of device. A command in a plugin's table becomes
 * `hvisor-vhost-ctl NAME DEVICE [param=value...]`, its counters appear in `stats`, its events
 * in `events`.
 */
#ifndef HVV_COMMAND_H
#define HVV_COMMAND_H

#include <hvv/option.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hvv_device;
struct hvv_call; /* one running command; opaque, see hvv_call_*() in hvv/host.h */

struct hvv_command {
    const char *name; /* a verb; lower case letters, digits and '-' */
    const char *help; /* one line, lower case, no full stop */
    const struct hvv_option *params;
    uint32_t n_params;
    uint32_t param_size; /* sizeof(struct hvv_option) */
    /*
     * Runs the command on a published device. The host has checked the parameters.
     * Returns 0 when it is done, a negative errno when it was refused (say why with
     * hvv_call_error()), or -EINPROGRESS: then hvv_call_finish() ends it, from any thread, and
     * before stop() returns.
     * Thread: the device's worker; must not block.
     */
    int32_t (*run)(struct hvv_device *dev, struct hvv_call *call);
};

/* A counter of the plugin, counted by its index in the table with hvv_count(). */
struct hvv_counter {
    const char *name; /* lower case letters, digits and '-' */
    const char *help;
};

/* A kind of event the plugin may send with hvv_event(), so that programs can know them. */
struct hvv_event {
    const char *name; /* lower case letters, digits and '-' */
    const char *help;
};

#ifdef __cplusplus
}
#endif

#endif
