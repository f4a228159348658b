/* SPDX-License-Identifier: BSD-3-Clause */
/* spec.c - see spec.h. Pure; no thread of its own. */
#include "conf/spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool name_ok(const char *name, size_t len, bool underscore)
{
    if (len < 1 || len > SPEC_NAME_MAX || name[0] < 'a' || name[0] > 'z')
        return false;
    for (size_t i = 1; i < len; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
              (c == '_' && underscore)))
            return false;
    }
    return true;
}

bool spec_option_name_ok(const char *name)
{
    return name_ok(name, strlen(name), false);
}

bool spec_plugin_name_ok(const char *name)
{
    return name_ok(name, strlen(name), true);
}

/* The '=' of a word that is NAME=VALUE, or NULL. */
static const char *find_equals(const char *word)
{
    const char *equals = strchr(word, '=');
    return equals && name_ok(word, (size_t)(equals - word), false) ? equals : NULL;
}

static bool has_control(const char *text)
{
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return true;
    return false;
}

/* ---- Text form ------------------------------------------------------------------------------- */

/* Appends `text` at `at`, with commas doubled; only counts if there is no `out`. */
static size_t put(char *out, size_t at, const char *text)
{
    for (; *text; text++) {
        for (int copies = *text == ',' ? 2 : 1; copies > 0; copies--) {
            if (out)
                out[at] = *text;
            at++;
        }
    }
    return at;
}

static size_t put_char(char *out, size_t at, char c)
{
    if (out)
        out[at] = c;
    return at + 1;
}

static size_t put_option(char *out, size_t at, const char *name, const char *value, bool first)
{
    at = put_char(out, at, first ? ':' : ',');
    if (name)
        at = put(out, at, name);
    if (name && (value || first))
        at = put_char(out, at, '=');
    if (value || first)
        at = put(out, at, value ? value : "on");
    return at;
}

/* The length without the final zero; writes to `out` unless that is NULL. */
static size_t put_spec(char *out, const struct spec *spec)
{
    size_t at = put(out, 0, spec->plugin);
    for (size_t i = 0; i < spec->n_options; i++)
        at = put_option(out, at, spec->options[i].name, spec->options[i].value, i == 0);
    return at;
}

char *spec_format(const struct spec *spec)
{
    char *text = malloc(put_spec(NULL, spec) + 1);
    if (text)
        text[put_spec(text, spec)] = '\0';
    return text;
}

/* ---- Building -------------------------------------------------------------------------------- */

static int no_memory(struct error *error)
{
    return error_set(error, ENOMEM, "out of memory for a device's options");
}

int spec_init(struct spec *spec, const char *plugin, struct error *error)
{
    memset(spec, 0, sizeof(*spec));
    if (!spec_plugin_name_ok(plugin))
        return error_set(error, EINVAL,
                         "\"%.64s\" is not the name of a plugin: that is a lower case letter and "
                         "up to %u more of a-z, 0-9, '-' and '_', then ':' if options follow",
                         plugin, SPEC_NAME_MAX - 1);
    spec->plugin = strdup(plugin);
    return spec->plugin ? 0 : no_memory(error);
}

static int check_positional(const struct spec *spec, const char *value, struct error *error)
{
    if (spec->n_options > 0)
        return error_set(error, EINVAL,
                         "%s: \"%.64s\" has no name: only the first option can go without one",
                         spec->plugin, value ? value : "");
    if (!value || !value[0])
        return error_set(error, EINVAL, "%s: the word without a name is empty: give it a value",
                         spec->plugin);
    if (find_equals(value))
        return error_set(error, EINVAL, "%s: \"%.64s\" looks like NAME=VALUE: write the name of "
                         "the option it is the value of", spec->plugin, value);
    return 0;
}

static int check_option(const struct spec *spec, const char *name, const char *value,
                        struct error *error)
{
    if (!name && check_positional(spec, value, error) < 0)
        return -error->err;
    if (name && !spec_option_name_ok(name))
        return error_set(error, EINVAL,
                         "%s: \"%.64s\" is not the name of an option: options are written NAME or "
                         "NAME=VALUE, and a comma inside a value twice", spec->plugin, name);
    if (value && has_control(value))
        return error_option(error, EINVAL, name, "%s: the value of %s has a control character: "
                            "remove it", spec->plugin, name ? name : "the first word");
    if (spec->n_options >= SPEC_OPTIONS_MAX)
        return error_option(error, E2BIG, name, "%s: more than %u options: leave some out",
                            spec->plugin, SPEC_OPTIONS_MAX);
    size_t len = put_option(NULL, put_spec(NULL, spec), name, value, spec->n_options == 0);
    if (len > SPEC_TEXT_MAX)
        return error_option(error, E2BIG, name, "%s: the options are %zu bytes long: at most %u "
                            "fit", spec->plugin, len, SPEC_TEXT_MAX);
    return 0;
}

int spec_add(struct spec *spec, const char *name, const char *value, struct error *error)
{
    int rc = check_option(spec, name, value, error);
    if (rc < 0)
        return rc;
    struct spec_option *more = realloc(spec->options, (spec->n_options + 1) * sizeof(*more));
    if (!more)
        return no_memory(error);
    spec->options = more;
    struct spec_option *option = &more[spec->n_options];
    option->name = name ? strdup(name) : NULL;
    option->value = value ? strdup(value) : NULL;
    if ((name && !option->name) || (value && !option->value)) {
        free(option->name);
        free(option->value);
        return no_memory(error);
    }
    spec->n_options++;
    return 0;
}

void spec_clear(struct spec *spec)
{
    for (size_t i = 0; i < spec->n_options; i++) {
        free(spec->options[i].name);
        free(spec->options[i].value);
    }
    free(spec->options);
    free(spec->plugin);
    memset(spec, 0, sizeof(*spec));
}

/* ---- Parsing --------------------------------------------------------------------------------- */

/* Moves an element to `word`, doubled commas made one. True if another one follows. */
static bool take_element(const char **text, char *word)
{
    const char *c = *text;
    bool separator = false;
    while (*c && !separator) {
        bool doubled = c[0] == ',' && c[1] == ',';
        separator = c[0] == ',' && !doubled;
        if (!separator)
            *word++ = *c;
        c += doubled ? 2 : 1;
    }
    *word = '\0';
    *text = c;
    return separator;
}

/* `word` is written to. */
static int add_element(struct spec *spec, char *word, struct error *error)
{
    if (!word[0])
        return error_set(error, EINVAL,
                         "%s: an option is empty: remove the ':' or ',' that nothing follows",
                         spec->plugin);
    const char *equals = find_equals(word);
    if (equals) {
        word[equals - word] = '\0';
        return spec_add(spec, word, equals + 1, error);
    }
    if (spec->n_options == 0)
        return spec_add(spec, NULL, word, error);
    return spec_add(spec, word, NULL, error);
}

static int parse_options(struct spec *spec, const char *text, char *word, struct error *error)
{
    bool more = true;
    while (more) {
        more = take_element(&text, word);
        int rc = add_element(spec, word, error);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int spec_parse(struct spec *spec, const char *text, struct error *error)
{
    memset(spec, 0, sizeof(*spec));
    size_t len = strnlen(text, SPEC_TEXT_MAX + 1);
    if (len > SPEC_TEXT_MAX)
        return error_set(error, E2BIG, "\"%.32s...\" is longer than the %u bytes a device's text "
                         "can have: shorten it", text, SPEC_TEXT_MAX);
    char *word = malloc(len + 1);
    if (!word)
        return no_memory(error);
    size_t plugin = strcspn(text, ":");
    memcpy(word, text, plugin);
    word[plugin] = '\0';
    int rc = spec_init(spec, word, error);
    if (rc == 0 && text[plugin])
        rc = parse_options(spec, text + plugin + 1, word, error);
    free(word);
    if (rc < 0)
        spec_clear(spec);
    return rc;
}
