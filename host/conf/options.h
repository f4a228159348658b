/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.h - a spec checked against tables: the values a device or a command works with.
 *
 *     spec (text) -> options_check() -> options (typed, in range, defaults filled in)
 *
 * Pure: looks at no file. Any thread; one set belongs to one thread until it is checked and does
 * not change afterwards. Values point into the tables, which must outlive them.
 */
#ifndef HOST_CONF_OPTIONS_H
#define HOST_CONF_OPTIONS_H

#include "conf/option.h"
#include "conf/spec.h"
#include "util/error.h"

/* Owns its values. Zeroed when empty. */
struct options {
    struct option_value *values;
    size_t n;
};

/*
 * Checks `spec` and fills in `out`, whose old contents are not looked at. An option is looked up in
 * the tables in order, so an earlier table wins; the last one has the positional option. Relative
 * paths are put behind `cwd`, which may be NULL: then they are refused. 0, or -errno with error set
 * (with the option at fault) and `out` empty.
 */
int options_check(struct options *out, const struct spec *spec, const struct option_table *tables,
                  size_t n_tables, const char *cwd, struct error *error);

/* How many values `name` has, its default counted. */
uint32_t options_count(const struct options *options, const char *name);

/* The value number `index` of a STRING, PATH or CHOICE; NULL if there is none. */
const char *options_string(const struct options *options, const char *name, uint32_t index);

/* The value number `index` of a U64 or SIZE, 1 or 0 of a BOOL; 0 if there is none. */
uint64_t options_u64(const struct options *options, const char *name, uint32_t index);

/* Did the operator write it? */
bool options_given(const struct options *options, const char *name);

void options_clear(struct options *options);

/*
 * Is a table from outside fit for use? 0, or -EINVAL with a sentence in `why` that starts with the
 * option at fault; -ENOMEM if that cannot be told now.
 */
int options_check_table(const struct option_table *table, char *why, size_t size);

#endif
