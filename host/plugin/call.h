/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * call.h - one run of a plugin's command: parameters in, results out.
 *
 * The control thread starts it; the command runs on the device's worker and may finish later, from
 * any thread; done() comes back on the control thread, which then frees the call.
 */
#ifndef HOST_PLUGIN_CALL_H
#define HOST_PLUGIN_CALL_H

#include "device/device.h"

struct call_result {
    struct call_result *next;
    char *key;
    char *text;      /* or NULL: then it is `number` */
    uint64_t number;
};

struct hvv_call {
    struct device *dev;
    const struct hvv_command *command;
    struct options params;
    struct call_result *results; /* in order */
    struct call_result **last;
    int fd;                      /* to hand over, or -1 */
    struct error error;
    struct hvv_task task;
    void (*done)(struct hvv_call *call);
    void *arg;
};

/*
 * Runs command `name` of a published device with parameters given as a spec (its plugin name is
 * not looked at). 0, or -errno with error set: then done() is not called. Control.
 */
int call_start(struct device *dev, const char *name, const struct spec *params, const char *cwd,
               void (*done)(struct hvv_call *call), void *arg, struct error *error);
void call_free(struct hvv_call *call); /* closes the descriptor unless fd was set to -1 */

/* The services of the ABI; any thread until the call is finished. */
void call_add(struct hvv_call *call, const char *key, const char *text, uint64_t number);
void call_set_fd(struct hvv_call *call, int fd);
void call_finish(struct hvv_call *call, int32_t status);

#endif
