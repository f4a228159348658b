/* SPDX-License-Identifier: BSD-3-Clause */
/* path.c - see path.h. Pure; no thread of its own. */
#include "conf/path.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

int path_absolute(char **out, const char *path, const char *cwd, const char *name,
                  struct error *error)
{
    const char *dir = "", *slash = "";
    if (!path[0])
        return error_option(error, EINVAL, name, "%s is empty: write a path or leave it out", name);
    if (path[0] != '/') {
        if (!cwd || cwd[0] != '/')
            return error_option(error, EINVAL, name,
                                "%s=%.200s is a relative path and there is no directory to resolve "
                                "it against: write an absolute path", name, path);
        dir = cwd;
        slash = cwd[strlen(cwd) - 1] == '/' ? "" : "/";
    }
    size_t size = strlen(dir) + strlen(slash) + strlen(path) + 1;
    if (size > PATH_MAX)
        return error_option(error, ENAMETOOLONG, name,
                            "%s=%.64s... is %zu bytes long as an absolute path: at most %d fit",
                            name, path, size - 1, PATH_MAX - 1);
    char *text = malloc(size);
    if (!text)
        return error_option(error, ENOMEM, name, "out of memory for %s", name);
    stpcpy(stpcpy(stpcpy(text, dir), slash), path);
    *out = text;
    return 0;
}
