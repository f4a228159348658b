/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * names.h - ids of devices, from the moment a request reserves them until they are gone.
 * Control thread.
 */
#ifndef HOST_DEVICE_NAMES_H
#define HOST_DEVICE_NAMES_H

#include "util/error.h"

#include <stddef.h>

struct names;

struct names *names_new(void); /* NULL: out of memory */
void names_free(struct names *names);

/*
 * Reserves `wanted`, or if that is NULL the first free of PLUGIN0, PLUGIN1...; writes it to `id` of
 * `size` bytes. 0 or -errno with error set.
 */
int names_reserve(struct names *names, const char *wanted, const char *plugin, char *id,
                  size_t size, struct error *error);
void names_release(struct names *names, const char *id);

#endif
