/* SPDX-License-Identifier: BSD-3-Clause */
/* option.c - see option.h. Pure; no thread of its own. */
#include "conf/option.h"

#include "conf/path.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct hvv_option *option_at(const struct option_table *table, uint32_t index)
{
    const char *base = (const char *)table->options;
    return (const void *)(base + (size_t)index * table->stride);
}

const struct hvv_option *option_find(const struct option_table *table, const char *name)
{
    for (uint32_t i = 0; i < table->n; i++)
        if (strcmp(option_at(table, i)->name, name) == 0)
            return option_at(table, i);
    return NULL;
}

/* ---- Saying what is allowed ------------------------------------------------------------------ */

const char *option_type_name(uint32_t type)
{
    static const char *const names[] = {"string", "path", "bool", "number", "size", "choice"};
    return type < sizeof(names) / sizeof(names[0]) ? names[type] : NULL;
}

/* A SIZE in the largest unit that divides it. */
static void print_number(char *text, size_t size, uint32_t type, uint64_t n)
{
    static const char units[] = {'T', 'G', 'M', 'K'};
    for (size_t i = 0; type == HVV_OPTION_SIZE && n > 0 && i < sizeof(units); i++) {
        unsigned shift = 40 - 10 * (unsigned)i;
        if (n % (1ull << shift) == 0) {
            snprintf(text, size, "%" PRIu64 "%c", n >> shift, units[i]);
            return;
        }
    }
    snprintf(text, size, "%" PRIu64, n);
}

/* "a b c" as "a, b or c" */
static void print_choices(char *text, size_t size, const char *choices)
{
    size_t at = 0;
    const char *last = strrchr(choices, ' ');
    for (const char *c = choices; *c && at + 1 < size; c++) {
        if (*c != ' ') {
            text[at++] = *c;
            continue;
        }
        int n = snprintf(text + at, size - at, "%s", c == last ? " or " : ", ");
        at += (size_t)n < size - at ? (size_t)n : size - at - 1;
    }
    text[at] = '\0';
}

void option_range(const struct hvv_option *option, char *text, size_t size)
{
    char min[24], max[24];
    print_number(min, sizeof(min), option->type, option->min);
    print_number(max, sizeof(max), option->type, option->max);
    bool number = option->type == HVV_OPTION_U64 || option->type == HVV_OPTION_SIZE;
    if (option->type == HVV_OPTION_CHOICE)
        print_choices(text, size, option->choices);
    else if (option->type == HVV_OPTION_BOOL)
        snprintf(text, size, "on or off");
    else if (number && option->max)
        snprintf(text, size, "%s to %s", min, max);
    else if (number && option->min)
        snprintf(text, size, "at least %s", min);
    else
        snprintf(text, size, "%s", "");
}

/* ---- Parsing --------------------------------------------------------------------------------- */

static int copy_text(struct option_value *value, const char *text, struct error *error)
{
    value->string = strdup(text);
    if (!value->string)
        return error_option(error, ENOMEM, value->option->name, "out of memory for %s",
                            value->option->name);
    return 0;
}

static int parse_string(struct option_value *value, const char *text, struct error *error)
{
    const char *name = value->option->name;
    size_t len = strlen(text);
    if (len == 0)
        return error_option(error, EINVAL, name, "%s is empty: write a value or leave it out",
                            name);
    if (len > OPTION_STRING_MAX)
        return error_option(error, EINVAL, name, "%s=%.32s... is %zu bytes long: at most %u fit",
                            name, text, len, OPTION_STRING_MAX);
    return copy_text(value, text, error);
}

static int parse_bool(struct option_value *value, const char *text, struct error *error)
{
    static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "0", "1"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            value->u64 = i & 1; /* the words for on are at the odd places */
            return 0;
        }
    }
    const char *name = value->option->name;
    return error_option(error, EINVAL, name, "%s=%.64s is neither on nor off: write %s=on or "
                        "%s=off", name, text, name, name);
}

static int parse_choice(struct option_value *value, const char *text, struct error *error)
{
    size_t len = strlen(text);
    for (const char *word = value->option->choices; *word; word += strspn(word, " ")) {
        size_t word_len = strcspn(word, " ");
        if (len > 0 && word_len == len && strncmp(word, text, len) == 0)
            return copy_text(value, text, error);
        word += word_len;
    }
    char range[OPTION_RANGE_TEXT];
    option_range(value->option, range, sizeof(range));
    return error_option(error, EINVAL, value->option->name, "%s=%.64s is not a choice: write %s",
                        value->option->name, text, range);
}

static int out_of_range(const struct option_value *value, const char *text, struct error *error)
{
    char range[OPTION_RANGE_TEXT];
    option_range(value->option, range, sizeof(range));
    return error_option(error, ERANGE, value->option->name, "%s=%.64s is out of range: choose %s",
                        value->option->name, text, range[0] ? range : "less than 2^64");
}

static int check_range(struct option_value *value, const char *text, struct error *error)
{
    const struct hvv_option *option = value->option;
    if (value->u64 < option->min || (option->max && value->u64 > option->max))
        return out_of_range(value, text, error);
    return 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int parse_u64(struct option_value *value, const char *text, struct error *error)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    const char *digits = hex ? text + 2 : text;
    size_t len = strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789");
    const char *name = value->option->name;
    if (len == 0 || digits[len])
        return error_option(error, EINVAL, name, "%s=%.64s is not a number: write it in decimal, "
                            "or in hexadecimal after 0x", name, text);
    errno = 0;
    value->u64 = strtoull(digits, NULL, hex ? 16 : 10);
    return errno == ERANGE ? out_of_range(value, text, error) : check_range(value, text, error);
}

static int parse_size(struct option_value *value, const char *text, struct error *error)
{
    static const char units[] = "KMGT";
    size_t len = strspn(text, "0123456789");
    const char *unit = text[len] ? strchr(units, text[len]) : NULL;
    const char *name = value->option->name;
    if (!is_digit(text[0]) || (text[len] && (!unit || text[len + 1])))
        return error_option(error, EINVAL, name, "%s=%.64s is not a size: write a number of bytes, "
                            "or a number and K, M, G or T", name, text);
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    errno = 0;
    uint64_t n = strtoull(text, NULL, 10);
    if (errno == ERANGE || n > UINT64_MAX >> shift)
        return out_of_range(value, text, error);
    value->u64 = n << shift;
    return check_range(value, text, error);
}

int option_parse(struct option_value *value, const struct hvv_option *option, const char *text,
                 const char *cwd, struct error *error)
{
    memset(value, 0, sizeof(*value));
    value->option = option;
    if (!text && option->type != HVV_OPTION_BOOL)
        return error_option(error, EINVAL, option->name, "%s needs a value: write %s=VALUE",
                            option->name, option->name);
    switch (option->type) {
    case HVV_OPTION_STRING:
        return parse_string(value, text, error);
    case HVV_OPTION_PATH:
        return path_absolute(&value->string, text, cwd, option->name, error);
    case HVV_OPTION_BOOL:
        return parse_bool(value, text ? text : "on", error);
    case HVV_OPTION_U64:
        return parse_u64(value, text, error);
    case HVV_OPTION_SIZE:
        return parse_size(value, text, error);
    case HVV_OPTION_CHOICE:
        return parse_choice(value, text, error);
    default:
        return error_option(error, EINVAL, option->name, "%s is of type %" PRIu32
                            ", which this host does not know", option->name, option->type);
    }
}
