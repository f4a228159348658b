/* SPDX-License-Identifier: BSD-3-Clause */
/* zone-methods.h - the control socket's methods about zones. Control thread. */
#ifndef HOST_CONTROL_ZONE_METHODS_H
#define HOST_CONTROL_ZONE_METHODS_H

#include "control/server.h"
#include "daemon.h"
#include "zone/plan.h"

void zone_list_method(struct daemon *daemon, const json_t *params, struct reply *reply);
void zone_add_method(struct daemon *daemon, const json_t *params, struct reply *reply);
void zone_remove_method(struct daemon *daemon, const json_t *params, struct reply *reply);

/* Plans from a list of objects as zone.add takes them; added to `plans`. 0, -errno with error set. */
int zones_from_json(const struct zones *zones, struct zone_plans *plans, const json_t *list,
                    struct error *error);

#endif
