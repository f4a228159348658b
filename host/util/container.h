/* SPDX-License-Identifier: BSD-3-Clause */
/* container.h - from a member to the struct it is embedded in. */
#ifndef HOST_UTIL_CONTAINER_H
#define HOST_UTIL_CONTAINER_H

#include <stddef.h>

/* The TYPE whose MEMBER is at PTR. */
#define container_of(PTR, TYPE, MEMBER) \
    ((TYPE *)(void *)((char *)(PTR)-offsetof(TYPE, MEMBER)))

#endif
