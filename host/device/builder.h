/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * builder.h - the thread that may block: it loads plugins, creates and destroys devices.
 *
 * A loop that runs nothing but posted tasks, one at a time, in the order they were posted. Nothing
 * a guest waits for depends on it.
 */
#ifndef HOST_DEVICE_BUILDER_H
#define HOST_DEVICE_BUILDER_H

#include "loop/loop.h"
#include "util/error.h"

struct builder;

#define BUILDER_THREAD "builder" /* its name */

struct builder *builder_new(struct error *error);
void builder_free(struct builder *builder); /* runs what was posted, then joins; NULL is fine */
void builder_post(struct builder *builder, struct hvv_task *task);

#endif
