/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * json-read.h - hvisor's JSON files, read with errors a person can act on: they name the file, the
 * place in it (line and column, or a path such as zones[0].devices[2].irq) and the value. Pure. Any
 * thread.
 */
#ifndef HOST_ZONE_JSON_READ_H
#define HOST_ZONE_JSON_READ_H

#include "util/error.h"

#include <jansson.h>
#include <stdint.h>

#define JSON_WHERE_MAX 64 /* bytes for a path in a file */
#define JSON_SHOWN_MAX 48 /* bytes for json_show() */

struct json_file {
    const char *name; /* for errors */
    struct error *error;
};

/* The text as JSON, which the caller unrefs. NULL with error set. A repeated key is refused. */
json_t *json_read(const struct json_file *file, const char *text, size_t len);

/* Sets the error: FILE: and what is said. Returns -EINVAL. */
int json_fail(const struct json_file *file, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* FILE: WHERE: and a sentence of somebody else. Returns -why->err. */
int json_fail_why(const struct json_file *file, const char *where, const struct error *why);

/* What a value looks like, shortened, control characters as '?'. */
const char *json_show(char *text, const json_t *value);

/*
 * A whole number from 0 to `max`, as a JSON number or a string that plan_number() understands.
 * `path` is what errors call it; `value` may be NULL, which is refused. 0 or -EINVAL.
 */
int json_number(const struct json_file *file, const char *path, const json_t *value, uint64_t max,
                uint64_t *number);

/* The same for the member `key` of the object at `where` ("": the root). */
int json_member(const struct json_file *file, const char *where, const json_t *object,
                const char *key, uint64_t max, uint64_t *number);

/* The member `key` if it is a list. NULL: there is none, and *rc is 0, or it is none: -EINVAL. */
const json_t *json_list(const struct json_file *file, const char *where, const json_t *object,
                        const char *key, int *rc);

/* Writes WHERE.KEY, or KEY if `where` is "". */
void json_path(char *path, const char *where, const char *key);

#endif
