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

/* hvv_command.flags: what the descriptor is that the command hands over, if it does */
#define HVV_COMMAND_TERMINAL 1u /* a conversation with a person: raw mode, escape key */
#define HVV_COMMAND_DATA 2u     /* a file, copied from its start to the client's output */

struct hvv_command {
    const char *name; /* a verb; lower case letters, digits and '-' */
    const char *help; /* one line, lower case, no full stop */
    const struct hvv_option *params; /* HVV_OPTION_POSITIONAL has no meaning here */
    uint32_t n_params;
    uint32_t param_size; /* sizeof(struct hvv_option) */
    uint32_t flags;      /* HVV_COMMAND_* */
    uint32_t reserved;
    /*
     * With HVV_COMMAND_TERMINAL: the command a client runs, with the same parameters and `columns`
     * and `rows`, when the size of its window changes; or NULL.
     */
    const char *window;
    /*
     * Runs the command on a published device. The host has checked the parameters.
     * Returns 0 when it is done, a negative errno when it was refused (say why with
     * hvv_call_error()), or -EINPROGRESS: then hvv_call_finish() ends it, from any thread, before
     * stop() returns.
     * Thread: the device's worker; must not block.
     */
    int32_t (*run)(struct hvv_device *dev, struct hvv_call *call);
};

/* hvv_counter.flags */
#define HVV_COUNTER_QUEUE 1u /* kept for each queue, shown for each and as the sum */
#define HVV_COUNTER_GAUGE 2u /* a level, set with hvv_gauge(); it may go down */

/* A counter of the plugin; hvv_count() and hvv_gauge() name it by its index in the table. */
struct hvv_counter {
    const char *name; /* lower case letters, digits and '-' */
    const char *help;
    uint32_t flags;   /* HVV_COUNTER_* */
    uint32_t reserved;
};

/* A kind of event the plugin may send with hvv_event(); followers see it as PLUGIN.NAME. */
struct hvv_event {
    const char *name; /* lower case letters, digits and '-' */
    const char *help;
};

#ifdef __cplusplus
}
#endif

#endif
