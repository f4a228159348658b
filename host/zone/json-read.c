/* SPDX-License-Identifier: BSD-3-Clause */
/* json-read.c - see json-read.h. Pure; no thread of its own. */
#include "zone/json-read.h"

#include "zone/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FILE_SHOWN 120 /* bytes of a file's name in an error */

static void no_control(char *text)
{
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

/* ---- Errors ---------------------------------------------------------------------------------- */

int json_fail(const struct json_file *file, const char *fmt, ...)
{
    char text[sizeof(file->error->text)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return error_set(file->error, EINVAL, "%.*s: %s", FILE_SHOWN, file->name, text);
}

int json_fail_why(const struct json_file *file, const char *where, const struct error *why)
{
    return error_set(file->error, why->err, "%.*s: %s: %s", FILE_SHOWN, file->name, where,
                     why->text);
}

const char *json_show(char *text, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        snprintf(text, JSON_SHOWN_MAX, "\"%.40s%s\"", json_string_value(value),
                 json_string_length(value) > 40 ? "..." : "");
        break;
    case JSON_INTEGER:
        snprintf(text, JSON_SHOWN_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        snprintf(text, JSON_SHOWN_MAX, "%.17g", json_real_value(value));
        break;
    case JSON_OBJECT:
        snprintf(text, JSON_SHOWN_MAX, "an object, {...}");
        break;
    case JSON_ARRAY:
        snprintf(text, JSON_SHOWN_MAX, "a list, [...]");
        break;
    default:
        snprintf(text, JSON_SHOWN_MAX, "%s",
                 json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
    }
    no_control(text);
    return text;
}

void json_path(char *path, const char *where, const char *key)
{
    snprintf(path, JSON_WHERE_MAX, "%s%s%s", where, where[0] ? "." : "", key);
}

/* ---- The text -------------------------------------------------------------------------------- */

json_t *json_read(const struct json_file *file, const char *text, size_t len)
{
    json_error_t why;
    size_t mark = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* of UTF-8 */
    json_t *json = json_loadb(text + mark, len - mark, JSON_REJECT_DUPLICATES, &why);
    if (json)
        return json;
    no_control(why.text);
    const char *fix = "correct it there or just before";
    if (json_error_code(&why) == json_error_numeric_overflow)
        fix = "write the number as a string, such as \"0xffff0000\"";
    else if (json_error_code(&why) == json_error_duplicate_key)
        fix = "keep one of the two";
    else if (json_error_code(&why) == json_error_invalid_utf8)
        fix = "save the file as UTF-8";
    error_set(file->error, json_error_code(&why) == json_error_out_of_memory ? ENOMEM : EINVAL,
              "%.*s:%d:%d: %s: %s", FILE_SHOWN, file->name, why.line, why.column, why.text, fix);
    return NULL;
}

/* ---- Values ---------------------------------------------------------------------------------- */

static int number_of(const json_t *value, uint64_t *number)
{
    if (json_is_string(value))
        return plan_number(json_string_value(value), number);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return -EINVAL;
    *number = (uint64_t)json_integer_value(value);
    return 0;
}

int json_number(const struct json_file *file, const char *path, const json_t *value, uint64_t max,
                uint64_t *number)
{
    char shown[JSON_SHOWN_MAX];
    uint64_t n = 0;
    if (!value)
        return json_fail(file, "%s is missing: add it, a whole number", path);
    int rc = number_of(value, &n);
    if (rc == -EINVAL)
        return json_fail(file, "%s is %s: write a whole number, or a string such as \"0x200\" or "
                         "\"512\" (a leading 0 means octal)", path, json_show(shown, value));
    if (rc == -ERANGE || n > max)
        return json_fail(file, "%s is %s: at most 0x%" PRIx64 " will do", path,
                         json_show(shown, value), max);
    *number = n;
    return 0;
}

int json_member(const struct json_file *file, const char *where, const json_t *object,
                const char *key, uint64_t max, uint64_t *number)
{
    char path[JSON_WHERE_MAX];
    json_path(path, where, key);
    return json_number(file, path, json_object_get(object, key), max, number);
}

const json_t *json_list(const struct json_file *file, const char *where, const json_t *object,
                        const char *key, int *rc)
{
    char path[JSON_WHERE_MAX], shown[JSON_SHOWN_MAX];
    const json_t *list = json_object_get(object, key);
    *rc = 0;
    if (!list || json_is_array(list))
        return list;
    json_path(path, where, key);
    *rc = json_fail(file, "%s is %s: write a list, [...]", path, json_show(shown, list));
    return NULL;
}
