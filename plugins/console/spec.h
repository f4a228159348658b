/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * spec.h - the value of the option `port`: NAME[:console][:lossless][:BACKEND[:PATH]]. Pure.
 */
#ifndef CONSOLE_SPEC_H
#define CONSOLE_SPEC_H

#include "message.h"

#include <stdbool.h>
#include <stddef.h>

struct port_spec {
    char name[MESSAGE_NAME_MAX + 1];
    bool console;    /* the guest uses it as a terminal */
    bool lossless;   /* output waits for its reader */
    char backend[8]; /* "" if none is named */
    const char *path; /* into the text; NULL if there is none */
};

/* 0, or -EINVAL with a sentence in `error`. */
int port_spec_parse(struct port_spec *spec, const char *text, char *error, size_t size);

/* Whether a guest can use it as a file name. A sentence in `error` if not. */
bool port_name_ok(const char *name, char *error, size_t size);

#endif
