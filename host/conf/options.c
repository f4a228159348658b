/* SPDX-License-Identifier: BSD-3-Clause */
/* options.c - see options.h. Pure; no thread of its own. */
#include "conf/options.h"

#include "conf/similar.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_ALL_MAX 16u /* options an error message lists */

/* What options_check() works on. */
struct check {
    struct options *out;
    const struct option_table *tables;
    size_t n_tables;
    const char *cwd;
    struct error *error;
};

static const struct option_value *find_value(const struct options *options, const char *name,
                                             uint32_t index)
{
    for (size_t i = 0; i < options->n; i++)
        if (strcmp(options->values[i].option->name, name) == 0 && index-- == 0)
            return &options->values[i];
    return NULL;
}

/* ---- Values ---------------------------------------------------------------------------------- */

uint32_t options_count(const struct options *options, const char *name)
{
    uint32_t n = 0;
    while (find_value(options, name, n))
        n++;
    return n;
}

const char *options_string(const struct options *options, const char *name, uint32_t index)
{
    const struct option_value *value = find_value(options, name, index);
    return value ? value->string : NULL;
}

uint64_t options_u64(const struct options *options, const char *name, uint32_t index)
{
    const struct option_value *value = find_value(options, name, index);
    return value ? value->u64 : 0;
}

bool options_given(const struct options *options, const char *name)
{
    const struct option_value *value = find_value(options, name, 0);
    return value && value->given;
}

void options_clear(struct options *options)
{
    for (size_t i = 0; i < options->n; i++)
        free(options->values[i].string);
    free(options->values);
    memset(options, 0, sizeof(*options));
}

/* ---- Check ----------------------------------------------------------------------------------- */

static const struct hvv_option *find_option(const struct check *check, const char *name)
{
    const struct hvv_option *option = NULL;
    for (size_t i = 0; i < check->n_tables && !option; i++)
        option = option_find(&check->tables[i], name);
    return option;
}

static const struct option_table *last_table(const struct check *check)
{
    return &check->tables[check->n_tables - 1];
}

static const struct hvv_option *find_positional(const struct check *check)
{
    const struct option_table *table = last_table(check);
    for (uint32_t i = 0; i < table->n; i++)
        if (option_at(table, i)->flags & HVV_OPTION_POSITIONAL)
            return option_at(table, i);
    return NULL;
}

/* Names of all options, the plugin's own first. */
static void list_all(const struct check *check, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (size_t t = check->n_tables; t-- > 0;) {
        for (uint32_t i = 0; i < check->tables[t].n; i++) {
            int n = snprintf(text + at, size - at, "%s%s", at ? ", " : "",
                             option_at(&check->tables[t], i)->name);
            if ((size_t)n >= size - at)
                return;
            at += (size_t)n;
        }
    }
}

static int unknown(const struct check *check, const char *name)
{
    const char *owner = last_table(check)->owner;
    struct similar best = {0};
    uint32_t total = 0;
    for (size_t t = check->n_tables; t-- > 0;) {
        total += check->tables[t].n;
        for (uint32_t i = 0; i < check->tables[t].n; i++)
            similar_try(&best, name, option_at(&check->tables[t], i)->name);
    }
    if (best.name)
        return error_option(check->error, EINVAL, name, "%s has no option \"%.64s\": did you mean "
                            "%s?", owner, name, best.name);
    if (total == 0)
        return error_option(check->error, EINVAL, name, "%s has no option \"%.64s\": it takes none "
                            "at all", owner, name);
    char all[(LIST_ALL_MAX + 1) * (SPEC_NAME_MAX + 2)] = "";
    if (total <= LIST_ALL_MAX)
        list_all(check, all, sizeof(all));
    return error_option(check->error, EINVAL, name, "%s has no option \"%.64s\": %s%s", owner, name,
                        all[0] ? "it has " : "`hvisor-vhost-ctl plugins` lists what it has", all);
}

static int twice(const struct check *check, const struct hvv_option *option,
                 const struct spec *spec, const struct hvv_option *positional)
{
    if (option == positional && !spec->options[0].name)
        return error_option(check->error, EINVAL, option->name, "%s is given twice: the first "
                            "word, \"%.64s\", is its value already", option->name,
                            spec->options[0].value);
    return error_option(check->error, EINVAL, option->name, "%s is given twice: leave one out",
                        option->name);
}

static int append(const struct check *check, const struct hvv_option *option, const char *text,
                  bool given)
{
    struct options *out = check->out;
    struct option_value *more = realloc(out->values, (out->n + 1) * sizeof(*more));
    if (!more)
        return error_option(check->error, ENOMEM, option->name, "out of memory for %s",
                            option->name);
    out->values = more;
    int rc = option_parse(&more[out->n], option, text, check->cwd, check->error);
    if (rc < 0)
        return rc;
    more[out->n++].given = given;
    return 0;
}

/*
 * The first word: the value of the positional option, or, if the plugin has none, the bare name of
 * an option.
 */
static int check_word(const struct check *check, const char *word,
                      const struct hvv_option *positional)
{
    if (positional)
        return append(check, positional, word, true);
    const struct hvv_option *option = find_option(check, word);
    if (option)
        return append(check, option, NULL, true);
    if (spec_option_name_ok(word))
        return unknown(check, word);
    return error_set(check->error, EINVAL, "%s takes no value without a name, as \"%.64s\" is: "
                     "write NAME=VALUE", last_table(check)->owner, word);
}

static int check_given(const struct check *check, const struct spec *spec)
{
    const struct hvv_option *positional = find_positional(check);
    for (size_t i = 0; i < spec->n_options; i++) {
        const struct spec_option *asked = &spec->options[i];
        int rc;
        if (!asked->name) {
            rc = check_word(check, asked->value, positional);
        } else {
            const struct hvv_option *option = find_option(check, asked->name);
            if (!option)
                return unknown(check, asked->name);
            if (!(option->flags & HVV_OPTION_MULTI) && find_value(check->out, option->name, 0))
                return twice(check, option, spec, positional);
            rc = append(check, option, asked->value, true);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int fill_in(const struct check *check, const struct option_table *table)
{
    for (uint32_t i = 0; i < table->n; i++) {
        const struct hvv_option *option = option_at(table, i);
        if (find_value(check->out, option->name, 0))
            continue;
        if (option->flags & HVV_OPTION_REQUIRED)
            return error_option(check->error, EINVAL, option->name, "%s needs the option %s "
                                "(%.200s): add %s=VALUE", table->owner, option->name, option->help,
                                option->name);
        int rc = option->dflt ? append(check, option, option->dflt, false) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

int options_check(struct options *out, const struct spec *spec, const struct option_table *tables,
                  size_t n_tables, const char *cwd, struct error *error)
{
    struct check check = {out, tables, n_tables, cwd, error};
    memset(out, 0, sizeof(*out));
    int rc = check_given(&check, spec);
    for (size_t i = 0; i < n_tables && rc == 0; i++)
        rc = fill_in(&check, &tables[i]);
    if (rc < 0)
        options_clear(out);
    return rc;
}

/* ---- Is a table sane? ------------------------------------------------------------------------ */

struct why {
    char *text;
    size_t size;
};

__attribute__((format(printf, 2, 3))) static int bad(struct why why, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(why.text, why.size, fmt, args);
    va_end(args);
    return -EINVAL;
}

#define FLAGS_KNOWN (HVV_OPTION_REQUIRED | HVV_OPTION_POSITIONAL | HVV_OPTION_MULTI)
/* What ABI 1.0 had; members added later come behind it. */
#define OPTION_SIZE_1_0 (offsetof(struct hvv_option, help) + sizeof(const char *))

static int check_flags(const struct hvv_option *option, struct why why)
{
    if (option->flags & ~FLAGS_KNOWN)
        return bad(why, "option %s has flags 0x%x that this host does not know", option->name,
                   option->flags & ~FLAGS_KNOWN);
    if (option->flags & HVV_OPTION_REQUIRED && option->dflt)
        return bad(why, "option %s is required and has a default: one of them is useless",
                   option->name);
    if (option->max && option->min > option->max)
        return bad(why, "option %s has a minimum above its maximum", option->name);
    return 0;
}

static int check_choices(const struct hvv_option *option, struct why why)
{
    const char *choices = option->choices;
    if (!choices || !choices[0])
        return bad(why, "option %s is a choice of nothing", option->name);
    if (choices[0] == ' ' || choices[strlen(choices) - 1] == ' ' || strstr(choices, "  "))
        return bad(why, "option %s has an empty word in its choices \"%.200s\"", option->name,
                   choices);
    return 0;
}

static int check_default(const struct hvv_option *option, struct why why)
{
    struct option_value value;
    struct error error = {0};
    if (!option->dflt)
        return 0;
    int rc = option_parse(&value, option, option->dflt, NULL, &error);
    if (rc < 0) {
        bad(why, "option %s has a default it would refuse: %s", option->name, error.text);
        return rc == -ENOMEM ? rc : -EINVAL; /* the table may be fine, another time */
    }
    free(value.string);
    return 0;
}

static int check_option(const struct hvv_option *option, uint32_t index, struct why why)
{
    if (!option->name || !spec_option_name_ok(option->name))
        return bad(why, "option %u is called \"%.64s\", which is not a lower case letter and up to "
                   "%u more of a-z, 0-9 and '-'", index, option->name ? option->name : "",
                   SPEC_NAME_MAX - 1);
    if (!option_type_name(option->type))
        return bad(why, "option %s is of type %u, which this host does not know", option->name,
                   option->type);
    if (!option->help || !option->help[0])
        return bad(why, "option %s has no help text", option->name);
    int rc = check_flags(option, why);
    if (rc == 0 && option->type == HVV_OPTION_CHOICE)
        rc = check_choices(option, why);
    return rc < 0 ? rc : check_default(option, why);
}

int options_check_table(const struct option_table *table, char *text, size_t size)
{
    struct why why = {text, size};
    const char *positional = NULL;
    if (table->n == 0)
        return 0;
    if (!table->options)
        return bad(why, "%u options are announced and none are there", table->n);
    if (table->n > SPEC_OPTIONS_MAX)
        return bad(why, "%u options are more than the %u a table can have", table->n,
                   SPEC_OPTIONS_MAX);
    if (table->stride < OPTION_SIZE_1_0 || table->stride % _Alignof(struct hvv_option))
        return bad(why, "an option is %u bytes large, not %zu or a little more", table->stride,
                   OPTION_SIZE_1_0);
    for (uint32_t i = 0; i < table->n; i++) {
        const struct hvv_option *option = option_at(table, i);
        int rc = check_option(option, i, why);
        if (rc < 0)
            return rc;
        if (option_find(table, option->name) != option)
            return bad(why, "option %s is there twice", option->name);
        if (option->flags & HVV_OPTION_POSITIONAL && positional)
            return bad(why, "option %s is positional, and so is %s: one at most can be",
                       option->name, positional);
        if (option->flags & HVV_OPTION_POSITIONAL)
            positional = option->name;
    }
    return 0;
}
