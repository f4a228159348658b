/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * spec.c - fuzz target: device strings, through spec_parse() and options_check().
 *
 * The first byte chooses the table: the blk plugin's own beside the host's, or one with every type
 * and flag. The rest is the text.
 */
#include "conf/options.h"
#include "device/create.h"

#include "input.h"

#include <errno.h>
#include <hvv/plugin.h>

#define TEXT_MAX 6000u /* longer than a spec may be */

static const struct hvv_option all_kinds[] = {
    {.name = "path", .type = HVV_OPTION_PATH, .flags = HVV_OPTION_POSITIONAL, .help = "p"},
    {.name = "text", .type = HVV_OPTION_STRING, .flags = HVV_OPTION_MULTI, .help = "t"},
    {.name = "flag", .type = HVV_OPTION_BOOL, .dflt = "on", .help = "f"},
    {.name = "number", .type = HVV_OPTION_U64, .min = 3, .max = 1000, .dflt = "0x10", .help = "n"},
    {.name = "any", .type = HVV_OPTION_U64, .flags = HVV_OPTION_MULTI, .help = "a"},
    {.name = "size", .type = HVV_OPTION_SIZE, .min = 512, .help = "s"},
    {.name = "word", .type = HVV_OPTION_CHOICE, .choices = "one two three", .help = "w"},
    {.name = "must", .type = HVV_OPTION_STRING, .flags = HVV_OPTION_REQUIRED, .help = "m"},
};

static void check_value(const struct option_value *v)
{
    const struct hvv_option *o = v->option;
    bool text = o->type == HVV_OPTION_STRING || o->type == HVV_OPTION_PATH ||
                o->type == HVV_OPTION_CHOICE;
    must(text == (v->string != NULL), "a value of %s is of the wrong kind", o->name);
    if (text)
        must(v->string[0] && strlen(v->string) < 8192, "option %s is empty or too long", o->name);
    if (o->type == HVV_OPTION_PATH)
        must(v->string[0] == '/', "option %s is no absolute path", o->name);
    if (o->type == HVV_OPTION_BOOL)
        must(v->u64 <= 1, "option %s is neither on nor off", o->name);
    if (o->type == HVV_OPTION_U64 || o->type == HVV_OPTION_SIZE)
        must(v->u64 >= o->min && (!o->max || v->u64 <= o->max), "%s is out of range", o->name);
}

static void check_options(const struct spec *spec, bool blk, const char *cwd)
{
    const struct hvv_plugin *info = hvv_plugin_v1();
    struct option_table tables[] = {
        host_options, {info->options, info->n_options, info->option_size, info->name}};
    struct option_table kinds = {all_kinds, sizeof(all_kinds) / sizeof(all_kinds[0]),
                                 sizeof(all_kinds[0]), "kinds"};
    struct options options;
    struct error error = {0};
    int rc = options_check(&options, spec, blk ? tables : &kinds, blk ? 2 : 1, cwd, &error);
    if (rc < 0) {
        must(error.err == -rc && error.text[0], "refused for no reason");
        must(options.n == 0 && !options.values, "refused, but not empty");
        return;
    }
    for (size_t i = 0; i < options.n; i++)
        check_value(&options.values[i]);
    must(blk || options_string(&options, "must", 0), "a required option is missing");
    options_clear(&options);
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The text form means the same again, but that a bare name in front has become NAME=on. */
static void check_round_trip(const struct spec *spec)
{
    struct spec again;
    struct error error = {0};
    char *text = spec_format(spec);
    must(text, "out of memory");
    int rc = spec_parse(&again, text, &error);
    must(rc == 0 || rc == -E2BIG || strlen(text) > SPEC_TEXT_MAX, "%s: %s", text, error.text);
    if (rc == 0) {
        must(same(spec->plugin, again.plugin) && spec->n_options == again.n_options, "%s", text);
        for (size_t i = 0; i < spec->n_options; i++) {
            const struct spec_option *a = &spec->options[i], *b = &again.options[i];
            bool bare = i == 0 && a->name && !a->value;
            must(same(a->name, b->name) && same(bare ? "on" : a->value, b->value), "%s", text);
        }
        spec_clear(&again);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT_MAX + 1];
    struct input in = {data, size};
    struct spec spec;
    struct error error = {0};
    uint8_t how = input_u8(&in);
    text[input_bytes(&in, text, TEXT_MAX)] = '\0';
    int rc = spec_parse(&spec, text, &error);
    if (rc < 0) {
        must(error.err == -rc && error.text[0], "refused for no reason");
        must(!spec.plugin && spec.n_options == 0 && !spec.options, "refused, but not empty");
        return 0;
    }
    must(strlen(text) <= SPEC_TEXT_MAX && spec.n_options <= SPEC_OPTIONS_MAX, "too much");
    must(spec_plugin_name_ok(spec.plugin), "plugin \"%s\"", spec.plugin);
    check_round_trip(&spec);
    check_options(&spec, how & 1, how & 2 ? NULL : "/somewhere");
    spec_clear(&spec);
    return 0;
}
