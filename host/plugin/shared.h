/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shared.h - named state shared by the devices of one plugin (hvv_shared_get() in hvv/host.h).
 * Builder thread only, like the create() and destroy() it is called from.
 */
#ifndef HOST_PLUGIN_SHARED_H
#define HOST_PLUGIN_SHARED_H

#include <stdint.h>

/* `plugin` is compared as a pointer: two versions of a plugin share nothing. */
void *shared_get(const void *plugin, const char *name, uint64_t size,
                 int32_t (*init)(void *shared, void *arg), void (*fini)(void *shared), void *arg);
void shared_put(void *shared);

#endif
