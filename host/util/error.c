/* SPDX-License-Identifier: BSD-3-Clause */
/* error.c - see error.h. Pure; no thread of its own. */
#include "util/error.h"

#include <stdio.h>

int error_vset(struct error *error, int err, const char *option, const char *fmt, va_list args)
{
    if (error->err)
        return -error->err;
    error->err = err;
    snprintf(error->option, sizeof(error->option), "%s", option ? option : "");
    vsnprintf(error->text, sizeof(error->text), fmt, args);
    return -err;
}

int error_set(struct error *error, int err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = error_vset(error, err, NULL, fmt, args);
    va_end(args);
    return rc;
}

int error_option(struct error *error, int err, const char *option, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = error_vset(error, err, option, fmt, args);
    va_end(args);
    return rc;
}

void error_device(struct error *error, const char *id)
{
    if (!error->device[0])
        snprintf(error->device, sizeof(error->device), "%s", id);
}
