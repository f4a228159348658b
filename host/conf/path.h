/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * path.h - file names an operator wrote, made absolute against the directory they were written in.
 * Pure: looks at no file. Any thread.
 */
#ifndef HOST_CONF_PATH_H
#define HOST_CONF_PATH_H

#include "util/error.h"

/*
 * Writes an absolute form of `path` to *out, which the caller frees. A relative one is put behind
 * `cwd`; `..` and symbolic links stay as they are. `name` is what the error calls the value. 0, or
 * -errno with error set: the path is empty or too long, or relative and `cwd` is not absolute.
 */
int path_absolute(char **out, const char *path, const char *cwd, const char *name,
                  struct error *error);

#endif
