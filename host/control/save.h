/* SPDX-License-Identifier: BSD-3-Clause */
/* save.h - daemon.save: what the daemon has, in a form that starts it again. Control thread. */
#ifndef HOST_CONTROL_SAVE_H
#define HOST_CONTROL_SAVE_H

#include "control/server.h"
#include "daemon.h"

void save_method(struct daemon *daemon, const json_t *params, struct reply *reply);

#endif
