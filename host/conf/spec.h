/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * spec.h - what an operator asked for, as text: a plugin and its options, not yet checked.
 *
 *     blk:/img.raw,ro,queues=2
 *
 * The word right after the ':' is positional unless it is NAME=VALUE with a valid option name, so
 * `blk:/a=b.img` is a path. A comma inside a value is written twice. What the words mean is
 * decided by options_check(), against a table. Pure. Any thread.
 */
#ifndef HOST_CONF_SPEC_H
#define HOST_CONF_SPEC_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>

#define SPEC_TEXT_MAX 4096u   /* bytes of the text form */
#define SPEC_OPTIONS_MAX 128u
#define SPEC_NAME_MAX 31u     /* bytes of a plugin's or an option's name */

struct spec_option {
    char *name;  /* NULL: the positional word; only the first can be that */
    char *value; /* NULL: a bare name, as in `ro` */
};

/* Owns its strings. Zeroed when empty. */
struct spec {
    char *plugin;
    struct spec_option *options;
    size_t n_options;
};

/* A lower case letter, then lower case letters, digits and '-' (in a plugin's name also '_'). */
bool spec_option_name_ok(const char *name);
bool spec_plugin_name_ok(const char *name);

/*
 * Fills in `spec`, whose old contents are not looked at. 0, or -errno with error set and `spec`
 * empty.
 */
int spec_parse(struct spec *spec, const char *text, struct error *error);

/*
 * The same in steps, for specs that come from JSON or a file. A failed spec_init() leaves an empty
 * spec, a failed spec_add() leaves it as it was. What can be added has a text form: so `name` NULL
 * (the positional word) can only come first, and control characters are refused.
 */
int spec_init(struct spec *spec, const char *plugin, struct error *error);
int spec_add(struct spec *spec, const char *name, const char *value, struct error *error);

/*
 * The text form: spec_parse() of it gives the same spec, but for a bare name in the first place,
 * which becomes NAME=on so that it is not taken for the positional word. The caller frees it; NULL:
 * out of memory.
 */
char *spec_format(const struct spec *spec);

void spec_clear(struct spec *spec);

#endif
