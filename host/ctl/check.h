/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.h - the command `check`: hvisor-tool's virtio file, alone or beside the files of its zones.
 * Needs no daemon. One thread.
 */
#ifndef HOST_CTL_CHECK_H
#define HOST_CTL_CHECK_H

#include "ctl/ctl.h"

#include <stdbool.h>

/*
 * `files`: the virtio file, then files of zones. Prints each disagreement on stdout, as a line or
 * as a member of a JSON list, or what agreed; warnings go to stderr. CTL_REFUSED if there is a
 * disagreement or a file cannot be read.
 */
int check_files(char *const *files, unsigned n, bool as_json);

#endif
