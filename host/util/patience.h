/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * patience.h - memory for libraries that cannot report that there is none, or whose reports would
 * have to be checked at every line. Any thread.
 */
#ifndef HOST_UTIL_PATIENCE_H
#define HOST_UTIL_PATIENCE_H

#include <stddef.h>

/* As realloc() with size > 0, but tries again for about a second before it gives up: NULL. */
void *patient_realloc(void *ptr, size_t size);
void *patient_malloc(size_t size);

#endif
