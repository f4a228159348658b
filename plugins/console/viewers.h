/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * viewers.h - the plugin's commands: terminals that attach to a port, and the size of their window.
 * Thread: worker.
 */
#ifndef CONSOLE_VIEWERS_H
#define CONSOLE_VIEWERS_H

#include "device.h"

#define VIEWERS_COMMANDS 2u

/* Puts the size of the first port into the config space, and tells the driver. */
void viewers_tell_size(const struct port *port);

extern const struct hvv_command viewers_commands[VIEWERS_COMMANDS];

#endif
