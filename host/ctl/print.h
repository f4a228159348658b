/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * print.h - the daemon's results for people, on stdout. Knows the shapes that all kinds of device
 * share, and no kind of device. What is missing in a result is left out. Each returns an enum
 * ctl_code.
 */
#ifndef HOST_CTL_PRINT_H
#define HOST_CTL_PRINT_H

#include "ctl/ctl.h"

#include <jansson.h>
#include <stdio.h>

int print_added(const json_t *result);
int print_removed(const json_t *result);
int print_list(const json_t *result);
int print_show(const json_t *result);
int print_plugins(const json_t *result);
int print_stats(const json_t *result);
int print_log(const json_t *result);
int print_zones(const json_t *result);
int print_event(const json_t *event);
int print_json(const json_t *result); /* one line, compact */

/* "key: value" lines of a plugin command's result. */
int print_result(FILE *to, const json_t *result);

#endif
