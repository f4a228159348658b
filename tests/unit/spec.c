/* SPDX-License-Identifier: BSD-3-Clause */
/* spec.c - tests of host/conf/spec.c: the text form of a device and back. */
#include "conf/spec.h"

#include "leak.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS 4
#define BARE "\1" /* in a table: no value */

/* What a text means: name, value, name, value...; name "" is the positional word. */
struct good {
    const char *text, *plugin;
    const char *words[2 * WORDS];
};

static const struct good good[] = {
    {"rng", "rng", {NULL}},
    {"blk:/img.raw", "blk", {"", "/img.raw"}},
    {"blk:/img.raw,ro,queues=2", "blk", {"", "/img.raw", "ro", BARE, "queues", "2"}},
    {"blk:path=/img.raw,ro", "blk", {"path", "/img.raw", "ro", BARE}},
    {"blk:/a=b.img", "blk", {"", "/a=b.img"}},
    {"blk:A=b.img", "blk", {"", "A=b.img"}},
    {"blk:=x", "blk", {"", "=x"}},
    {"blk:ro", "blk", {"", "ro"}},
    {"blk:a:b", "blk", {"", "a:b"}},
    {"blk:/x,,y.img,ro", "blk", {"", "/x,y.img", "ro", BARE}},
    {"blk:,,x", "blk", {"", ",x"}},
    {"blk:,,,,", "blk", {"", ",,"}},
    {"blk:x,,,ro", "blk", {"", "x,", "ro", BARE}},
    {"blk:path=a=b,serial=", "blk", {"path", "a=b", "serial", ""}},
    {"net_2-x:mac=52:54:00:12:34:56", "net_2-x", {"mac", "52:54:00:12:34:56"}},
    {"blk: ", "blk", {"", " "}},
    {"blk:\xc3\xa4.img", "blk", {"", "\xc3\xa4.img"}},
    {"blk:seg-max=1,seg-max=2", "blk", {"seg-max", "1", "seg-max", "2"}},
};

static void expect_word(const struct spec_option *option, const char *name, const char *value,
                        const char *text)
{
    if (name[0])
        cr_assert_str_eq(option->name, name, "%s", text);
    else
        cr_assert_null(option->name, "%s", text);
    if (strcmp(value, BARE) == 0)
        cr_assert_null(option->value, "%s", text);
    else
        cr_assert_str_eq(option->value, value, "%s", text);
}

Test(spec, good)
{
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct spec spec;
        struct error error = {0};
        cr_assert_eq(spec_parse(&spec, good[i].text, &error), 0, "%s: %s", good[i].text,
                     error.text);
        cr_assert_str_eq(spec.plugin, good[i].plugin);
        size_t n = 0;
        while (n < WORDS && good[i].words[2 * n])
            n++;
        cr_assert_eq(spec.n_options, n, "%s", good[i].text);
        for (size_t w = 0; w < n; w++)
            expect_word(&spec.options[w], good[i].words[2 * w], good[i].words[2 * w + 1],
                        good[i].text);
        char *text = spec_format(&spec);
        cr_assert_str_eq(text, good[i].text);
        free(text);
        spec_clear(&spec);
    }
    leak_check();
}

static const struct {
    const char *text, *says;
} bad[] = {
    {"", "\"\" is not the name of a plugin"},
    {":", "\"\" is not the name of a plugin"},
    {":/img", "\"\" is not the name of a plugin"},
    {"blk:", "blk: an option is empty"},
    {"blk:,", "blk: an option is empty"},
    {"blk:,ro", "blk: an option is empty"},
    {"blk:/x,", "blk: an option is empty"},
    {"blk:/x,,,", "blk: an option is empty"},
    {"blk,ro", "\"blk,ro\" is not the name of a plugin"},
    {"Blk:/x", "\"Blk\" is not the name of a plugin"},
    {"1blk", "\"1blk\" is not the name of a plugin"},
    {"-blk", "\"-blk\" is not the name of a plugin"},
    {"_blk", "\"_blk\" is not the name of a plugin"},
    {"../blk:/x", "\"../blk\" is not the name of a plugin"},
    {"blk.so", "\"blk.so\" is not the name of a plugin"},
    {"bl k", "\"bl k\" is not the name of a plugin"},
    {"/img.raw", "\"/img.raw\" is not the name of a plugin"},
    {"a2345678901234567890123456789012", "is not the name of a plugin"},
    {"blk:/x,RO", "\"RO\" is not the name of an option"},
    {"blk:/x,y.img", "a comma inside a value twice"},
    {"blk:/x,=1", "\"=1\" is not the name of an option"},
    {"blk:/x,queue_size=1", "\"queue_size=1\" is not the name of an option"},
    {"blk:/x, ro", "\" ro\" is not the name of an option"},
    {"blk:/x,1a=1", "\"1a=1\" is not the name of an option"},
    {"blk:/x\n", "blk: the value of the first word has a control character"},
    {"blk:path=\t", "blk: the value of path has a control character"},
    {"blk:path=\x7f", "blk: the value of path has a control character"},
};

static void expect_bad(const char *text, const char *says)
{
    struct spec spec;
    struct error error = {0};
    int rc = spec_parse(&spec, text, &error);
    cr_assert_lt(rc, 0, "accepted: %s", text);
    cr_assert_eq(rc, -error.err);
    cr_assert(strstr(error.text, says), "\"%s\" is not in \"%s\"", says, error.text);
    cr_assert(!spec.plugin && !spec.options && spec.n_options == 0, "not empty: %s", text);
}

Test(spec, bad)
{
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_bad(bad[i].text, bad[i].says);
    leak_check();
}

/* "blk:" and `fill` times `c` */
static char *long_text(size_t fill, char c)
{
    char *text = malloc(fill + 5);
    memcpy(text, "blk:", 4);
    memset(text + 4, c, fill);
    text[fill + 4] = '\0';
    return text;
}

static void expect_fits(const char *text)
{
    struct spec spec;
    struct error error = {0};
    cr_assert_eq(spec_parse(&spec, text, &error), 0, "%s", error.text);
    char *again = spec_format(&spec);
    cr_assert_str_eq(again, text);
    free(again);
    spec_clear(&spec);
}

Test(spec, text_limit)
{
    static const char fill[] = {'x', ','};
    for (size_t i = 0; i < sizeof(fill); i++) {
        char *text = long_text(SPEC_TEXT_MAX - 4, fill[i]);
        expect_fits(text);
        free(text);
        text = long_text(SPEC_TEXT_MAX - 3, fill[i]);
        expect_bad(text, "4096 bytes");
        free(text);
    }
    leak_check();
}

Test(spec, option_limit)
{
    char text[SPEC_TEXT_MAX] = "blk:x";
    for (unsigned i = 1; i < SPEC_OPTIONS_MAX; i++)
        strcat(text, ",a");
    expect_fits(text);
    strcat(text, ",a");
    expect_bad(text, "more than 128 options");
    leak_check();
}

Test(spec, name_limit)
{
    expect_fits("a234567890123456789012345678901:x");
    expect_fits("blk:x,a234567890123456789012345678901=1");
    expect_bad("blk:x,a2345678901234567890123456789012=1", "is not the name of an option");
    cr_assert(spec_option_name_ok("a-1") && !spec_option_name_ok("a_1") &&
              !spec_option_name_ok(""));
    cr_assert(spec_plugin_name_ok("a_1") && !spec_plugin_name_ok("a/1") &&
              !spec_plugin_name_ok(""));
    leak_check();
}

Test(spec, building)
{
    struct spec spec;
    struct error error = {0};
    cr_assert_eq(spec_init(&spec, "blk", &error), 0);
    cr_assert_eq(spec_add(&spec, NULL, "/a,b", &error), 0);
    cr_assert_eq(spec_add(&spec, "ro", NULL, &error), 0);
    cr_assert_eq(spec_add(&spec, "serial", "x,,y", &error), 0);
    char *text = spec_format(&spec);
    cr_assert_str_eq(text, "blk:/a,,b,ro,serial=x,,,,y");
    free(text);
    spec_clear(&spec);
    spec_clear(&spec); /* harmless */
    leak_check();
}

/* A bare name in the first place would be read back as the positional word. */
Test(spec, bare_name_first)
{
    struct spec spec, again;
    struct error error = {0};
    cr_assert_eq(spec_init(&spec, "blk", &error), 0);
    cr_assert_eq(spec_add(&spec, "ro", NULL, &error), 0);
    char *text = spec_format(&spec);
    cr_assert_str_eq(text, "blk:ro=on");
    cr_assert_eq(spec_parse(&again, text, &error), 0);
    cr_assert_str_eq(again.options[0].name, "ro");
    free(text);
    spec_clear(&spec);
    spec_clear(&again);
    leak_check();
}

Test(spec, refused_additions)
{
    static const struct {
        const char *name, *value, *says;
    } refused[] = {
        {NULL, "/second", "only the first option can go without"},
        {NULL, NULL, "only the first option can go without"},
        {"", "x", "\"\" is not the name of an option"},
        {"Ro", NULL, "\"Ro\" is not the name of an option"},
        {"a=b", NULL, "\"a=b\" is not the name of an option"},
        {"a,b", "1", "\"a,b\" is not the name of an option"},
        {"path", "a\nb", "control character"},
    };
    struct spec spec;
    struct error error = {0};
    cr_assert_eq(spec_init(&spec, "blk", &error), 0);
    cr_assert_eq(spec_add(&spec, "ro", NULL, &error), 0);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct error why = {0};
        cr_assert_eq(spec_add(&spec, refused[i].name, refused[i].value, &why), -EINVAL);
        cr_assert(strstr(why.text, refused[i].says), "%s", why.text);
        cr_assert_eq(spec.n_options, 1);
    }
    char *text = long_text(SPEC_TEXT_MAX, 'x');
    cr_assert_eq(spec_add(&spec, "path", text, &error), -E2BIG);
    cr_assert_str_eq(error.option, "path");
    free(text);
    spec_clear(&spec);
    leak_check();
}

Test(spec, refused_positional)
{
    static const char *const words[] = {"a=b", "", NULL, "a\x01"};
    struct spec spec;
    struct error error = {0};
    cr_assert_eq(spec_init(&spec, "blk", &error), 0);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct error why = {0};
        cr_assert_eq(spec_add(&spec, NULL, words[i], &why), -EINVAL);
        cr_assert_eq(spec.n_options, 0);
    }
    spec_clear(&spec);
    cr_assert_eq(spec_init(&spec, "B", &error), -EINVAL);
    cr_assert_null(spec.plugin);
    leak_check();
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

static void expect_same(const struct spec *a, const struct spec *b)
{
    cr_assert_eq(a->n_options, b->n_options);
    for (size_t i = 0; i < a->n_options; i++) {
        cr_assert_eq(!a->options[i].name, !b->options[i].name);
        cr_assert_eq(!a->options[i].value, !b->options[i].value);
        cr_assert(!a->options[i].name || !strcmp(a->options[i].name, b->options[i].name));
        cr_assert(!a->options[i].value || !strcmp(a->options[i].value, b->options[i].value));
    }
}

/* Whatever is accepted says the same when it is written out and read again. */
Test(spec, random_texts)
{
    static const char letters[] = ",,,::==abr/-_ 0A\n\xff.";
    uint32_t state = 1;
    unsigned accepted = 0;
    for (unsigned round = 0; round < 40000; round++) {
        char text[32] = "b:";
        size_t start = round & 1 ? 2 : 0, len = start + next_random(&state) % 20;
        for (size_t i = start; i < len; i++)
            text[i] = letters[next_random(&state) % (sizeof(letters) - 1)];
        text[len] = '\0';
        struct spec spec, again;
        struct error error = {0};
        int rc = spec_parse(&spec, text, &error);
        if (rc < 0) {
            cr_assert(error.err == -rc && error.text[0] && !spec.plugin);
            continue;
        }
        accepted++;
        char *written = spec_format(&spec);
        cr_assert_str_eq(written, text);
        cr_assert_eq(spec_parse(&again, written, &error), 0, "%s", error.text);
        expect_same(&spec, &again);
        free(written);
        spec_clear(&spec);
        spec_clear(&again);
    }
    cr_assert_gt(accepted, 1000);
    leak_check();
}
