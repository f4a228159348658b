/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * interpose.h - the checker's own malloc(), open()... stand before libc's for the plugin, too: they
 * can fail when the checker says so, and remember which memory was not freed.
 *
 * A plugin is loaded with its symbols bound to the program first, so no plugin has to be built for
 * this. Calls that the checker and the harness make themselves are told by where they come from,
 * and are let through. Not with sanitizers, which have a malloc() of their own.
 */
#ifndef CHECKER_INTERPOSE_H
#define CHECKER_INTERPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is there any of this in this build? */
bool interpose_there(void);

/*
 * The call number `nth` that this thread makes from now on fails, once; 0: none does. `failing` is
 * told which it is, and where in the plugin it was made, before it returns.
 */
void interpose_arm(uint32_t nth, void (*failing)(const char *call, const void *caller));

/* Lets all calls through again. True if one has failed since interpose_arm(). */
bool interpose_disarm(void);

/* Memory that is got from now on is of a new period. */
void interpose_period(void);

struct interpose_left {
    uint32_t blocks;
    size_t bytes;
    void *caller; /* who got one of them */
};

/* What is left of the memory of this period. Any thread may be running. */
struct interpose_left interpose_left(void);

#endif
