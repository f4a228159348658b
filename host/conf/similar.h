/* SPDX-License-Identifier: BSD-3-Clause */
/* similar.h - which name did the operator mean? Pure. Any thread. */
#ifndef HOST_CONF_SIMILAR_H
#define HOST_CONF_SIMILAR_H

#include <stdbool.h>

/* The best name so far; zero-initialised. */
struct similar {
    const char *name; /* NULL: none is near */
    unsigned distance;
};

/* Keeps `name` if it is nearer to `wrong` than what is kept, and near enough to be worth saying. */
void similar_try(struct similar *best, const char *wrong, const char *name);

#endif
