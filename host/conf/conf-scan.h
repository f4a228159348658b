/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conf-scan.h - a look at a configuration file before libconfig gets it. Pure.
 *
 * libconfig 1.5 keeps the low 32 bits of a large number, ignores a string or comment that never
 * ends, and opens files for @include. All that is refused here.
 */
#ifndef HOST_CONF_CONF_SCAN_H
#define HOST_CONF_CONF_SCAN_H

#include "util/error.h"

/* 0, or -EINVAL with error set; `file` is what the error calls it. */
int conf_scan(const char *text, const char *file, struct error *error);

#endif
