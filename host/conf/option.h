/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * option.h - one option: its place in a table, what may be written for it, and how to say that.
 *
 * Tables come from plugins: options_check_table() has approved them before anything else here sees
 * them. Pure. Any thread.
 */
#ifndef HOST_CONF_OPTION_H
#define HOST_CONF_OPTION_H

#include "util/error.h"

#include <hvv/option.h>
#include <stdbool.h>
#include <stddef.h>

#define OPTION_STRING_MAX 1023u /* bytes of a STRING */
#define OPTION_RANGE_TEXT 256u  /* bytes for option_range() */

struct option_table {
    const struct hvv_option *options;
    uint32_t n, stride; /* stride: the size of one, in the plugin that wrote the table */
    const char *owner;  /* who has them, in errors: the plugin or the command */
};

/* A checked value. Owns its string. */
struct option_value {
    const struct hvv_option *option;
    char *string; /* STRING, PATH, CHOICE; NULL for the others */
    uint64_t u64; /* U64, SIZE, BOOL; 0 for the others */
    bool given;   /* by the operator; otherwise it is the default */
};

const struct hvv_option *option_at(const struct option_table *table, uint32_t index);
const struct hvv_option *option_find(const struct option_table *table, const char *name);

/*
 * Checks `text` (NULL: the bare name) and fills in `value`, but for `given`. A relative PATH is put
 * behind `cwd`. 0, or -errno with error set and nothing to free.
 */
int option_parse(struct option_value *value, const struct hvv_option *option, const char *text,
                 const char *cwd, struct error *error);

/* For help: "string", "path", "bool", "number", "size", "choice"; NULL for an unknown type. */
const char *option_type_name(uint32_t type);

/* For help: "1 to 16", "at least 512", "on or off", "file, null or mem"; "" if all is allowed. */
void option_range(const struct hvv_option *option, char *text, size_t size);

#endif
