/* SPDX-License-Identifier: BSD-3-Clause */
/* text-file.h - a whole text file into memory. Blocks. Any thread. */
#ifndef HOST_CONF_TEXT_FILE_H
#define HOST_CONF_TEXT_FILE_H

#include "util/error.h"

#define TEXT_FILE_MAX (1u << 20) /* bytes */

/*
 * Reads the file and adds a line end, without which libconfig does not know a comment in the last
 * line. The caller frees *text. 0, or -errno with error set: also if it is larger than
 * TEXT_FILE_MAX or has a zero byte.
 */
int text_file_read(char **text, const char *path, struct error *error);

/* The absolute directory of a file, which the caller frees; `name` is what errors call the path. */
int text_file_dir(char **dir, const char *path, const char *cwd, const char *name,
                  struct error *error);

#endif
