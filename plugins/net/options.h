/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.h - which back-end the options ask for, and the guest's address. Thread of all: builder.
 * All return 0, or a negative errno after hvv_error_option().
 */
#ifndef NET_OPTIONS_H
#define NET_OPTIONS_H

#include "backend.h"

/*
 * The back-end, and the name of its tap or switch (NULL for others). Refuses options that belong to
 * another one.
 */
int32_t options_backend(struct hvv_device *dev, const struct backend_ops **backend,
                        const char **name);

/* The address in `mac=`, or one made from the device's name: the same at each start. */
int32_t options_mac(struct hvv_device *dev, uint8_t *mac);

#endif
