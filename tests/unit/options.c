/* SPDX-License-Identifier: BSD-3-Clause */
/* options.c - tests of host/conf/options.c and option.c: texts against tables. */
#include "conf/options.h"

#include "leak.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct hvv_option host_list[] = {
    {.name = "id", .type = HVV_OPTION_STRING, .help = "name"},
    {.name = "inband", .type = HVV_OPTION_BOOL, .dflt = "off", .help = "slow"},
};

static const struct hvv_option disk_list[] = {
    {.name = "path", .type = HVV_OPTION_PATH, .flags = HVV_OPTION_POSITIONAL | HVV_OPTION_REQUIRED,
     .help = "the image"},
    {.name = "ro", .type = HVV_OPTION_BOOL, .dflt = "off", .help = "read only"},
    {.name = "queues", .type = HVV_OPTION_U64, .min = 1, .max = 16, .dflt = "2", .help = "queues"},
    {.name = "offset", .type = HVV_OPTION_U64, .help = "no limit"},
    {.name = "size", .type = HVV_OPTION_SIZE, .min = 512, .max = 1ull << 60, .help = "bytes"},
    {.name = "cache", .type = HVV_OPTION_SIZE, .help = "no limit"},
    {.name = "engine", .type = HVV_OPTION_CHOICE, .choices = "auto uring threads", .dflt = "auto",
     .help = "how"},
    {.name = "serial", .type = HVV_OPTION_STRING, .help = "serial"},
    {.name = "tag", .type = HVV_OPTION_STRING, .flags = HVV_OPTION_MULTI, .dflt = "none",
     .help = "several"},
    {.name = "lun", .type = HVV_OPTION_U64, .flags = HVV_OPTION_MULTI, .help = "several"},
};

#define TABLE(LIST, OWNER) {LIST, sizeof(LIST) / sizeof(LIST[0]), sizeof(LIST[0]), OWNER}

static const struct option_table tables[] = {TABLE(host_list, "host"), TABLE(disk_list, "disk")};

static int check_in(struct options *options, const char *text, const char *cwd,
                    const struct option_table *in, size_t n, struct error *error)
{
    struct spec spec;
    memset(error, 0, sizeof(*error));
    cr_assert_eq(spec_parse(&spec, text, error), 0, "%s: %s", text, error->text);
    int rc = options_check(options, &spec, in, n, cwd, error);
    spec_clear(&spec); /* the values have their own copies */
    cr_assert_eq(rc, -error->err);
    if (rc < 0)
        cr_assert(!options->values && options->n == 0, "not empty: %s", text);
    return rc;
}

static void check(struct options *options, const char *text)
{
    struct error error;
    cr_assert_eq(check_in(options, text, "/home", tables, 2, &error), 0, "%s: %s", text,
                 error.text);
}

Test(options, defaults)
{
    struct options options;
    check(&options, "disk:/img");
    cr_assert_str_eq(options_string(&options, "path", 0), "/img");
    cr_assert(options_given(&options, "path"));
    cr_assert_eq(options_u64(&options, "queues", 0), 2);
    cr_assert_not(options_given(&options, "queues"));
    cr_assert_eq(options_count(&options, "queues"), 1);
    cr_assert_str_eq(options_string(&options, "engine", 0), "auto");
    cr_assert_str_eq(options_string(&options, "tag", 0), "none");
    cr_assert_eq(options_count(&options, "ro"), 1);
    cr_assert_eq(options_u64(&options, "ro", 0), 0);
    cr_assert_eq(options_count(&options, "serial"), 0);
    cr_assert_null(options_string(&options, "serial", 0));
    cr_assert_eq(options_u64(&options, "size", 0), 0);
    cr_assert_not(options_given(&options, "size"));
    cr_assert_eq(options_count(&options, "no-such"), 0);
    cr_assert_null(options_string(&options, "no-such", 0));
    options_clear(&options);
    options_clear(&options); /* harmless */
    leak_check();
}

Test(options, types)
{
    struct options options;
    check(&options, "disk:path=a.img,ro,queues=0x10,offset=18446744073709551615,size=10G,"
                    "cache=16777215T,engine=uring,serial=a b,,c,id=d,inband=yes");
    cr_assert_str_eq(options_string(&options, "path", 0), "/home/a.img");
    cr_assert_eq(options_u64(&options, "ro", 0), 1);
    cr_assert_eq(options_u64(&options, "queues", 0), 16);
    cr_assert_eq(options_u64(&options, "offset", 0), UINT64_MAX);
    cr_assert_eq(options_u64(&options, "size", 0), 10ull << 30);
    cr_assert_eq(options_u64(&options, "cache", 0), 16777215ull << 40);
    cr_assert_str_eq(options_string(&options, "engine", 0), "uring");
    cr_assert_str_eq(options_string(&options, "serial", 0), "a b,c");
    cr_assert_str_eq(options_string(&options, "id", 0), "d");
    cr_assert_eq(options_u64(&options, "inband", 0), 1);
    cr_assert_null(options_string(&options, "queues", 0)); /* no text */
    cr_assert_eq(options_u64(&options, "serial", 0), 0);   /* no number */
    options_clear(&options);
    leak_check();
}

Test(options, booleans)
{
    static const struct {
        const char *text;
        uint64_t value;
    } words[] = {
        {"disk:/x,ro", 1},       {"disk:/x,ro=on", 1},  {"disk:/x,ro=yes", 1},
        {"disk:/x,ro=true", 1},  {"disk:/x,ro=1", 1},   {"disk:/x,ro=off", 0},
        {"disk:/x,ro=no", 0},    {"disk:/x,ro=0", 0},   {"disk:/x,ro=false", 0},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct options options;
        check(&options, words[i].text);
        cr_assert_eq(options_u64(&options, "ro", 0), words[i].value, "%s", words[i].text);
        cr_assert(options_given(&options, "ro"));
        options_clear(&options);
    }
    leak_check();
}

Test(options, several)
{
    struct options options;
    check(&options, "disk:/x,tag=a,lun=7,tag=b,lun=8");
    cr_assert_eq(options_count(&options, "tag"), 2);
    cr_assert_str_eq(options_string(&options, "tag", 0), "a");
    cr_assert_str_eq(options_string(&options, "tag", 1), "b");
    cr_assert_null(options_string(&options, "tag", 2));
    cr_assert_eq(options_u64(&options, "lun", 1), 8);
    cr_assert_eq(options_u64(&options, "lun", 2), 0);
    options_clear(&options);
    leak_check();
}

Test(options, paths)
{
    static const struct {
        const char *cwd, *text, *path;
    } good[] = {
        {"/home", "disk:a/../b", "/home/a/../b"}, {"/", "disk:a", "/a"},
        {"/home/", "disk:./a", "/home/./a"},      {NULL, "disk:/a//b", "/a//b"},
        {"relative", "disk:/a", "/a"},            {"/w", "disk:/a=b", "/a=b"},
    };
    struct options options;
    struct error error;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_assert_eq(check_in(&options, good[i].text, good[i].cwd, tables, 2, &error), 0, "%s",
                     error.text);
        cr_assert_str_eq(options_string(&options, "path", 0), good[i].path);
        options_clear(&options);
    }
    static const char *const no_cwd[] = {NULL, "", "relative"};
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(check_in(&options, "disk:a.img", no_cwd[i], tables, 2, &error), -EINVAL);
        cr_assert_str_eq(error.option, "path");
        cr_assert(strstr(error.text, "path=a.img is a relative path"), "%s", error.text);
    }
    leak_check();
}

static void expect_bad(const char *text, const char *option, const char *says)
{
    struct options options;
    struct error error;
    cr_assert_lt(check_in(&options, text, "/home", tables, 2, &error), 0, "accepted: %s", text);
    cr_assert(strstr(error.text, says), "\"%s\" is not in \"%s\"", says, error.text);
    cr_assert_str_eq(error.option, option, "%s: %s", text, error.option);
}

Test(options, unknown)
{
    expect_bad("disk:/x,quues=1", "quues", "disk has no option \"quues\": did you mean queues?");
    expect_bad("disk:/x,szie=1", "szie", "did you mean size?");
    expect_bad("disk:/x,inbnad=1", "inbnad", "did you mean inband?");
    expect_bad("disk:/x,xx", "xx", "disk has no option \"xx\": it has path, ro, queues, offset, "
               "size, cache, engine, serial, tag, lun, id, inband");
    expect_bad("disk:nothing-like-it=1", "nothing-like-it", "it has path");
    leak_check();
}

Test(options, refused)
{
    static const struct {
        const char *text, *option, *says;
    } bad[] = {
        {"disk", "path", "disk needs the option path (the image): add path=VALUE"},
        {"disk:ro=on", "path", "disk needs the option path"},
        {"disk:/x,ro,ro=off", "ro", "ro is given twice: leave one out"},
        {"disk:/x,path=/y", "path", "the first word, \"/x\", is its value already"},
        {"disk:path=/x,path=/y", "path", "path is given twice: leave one out"},
        {"disk:/x,id=a,id=b", "id", "id is given twice"},
        {"disk:/x,queues", "queues", "queues needs a value: write queues=VALUE"},
        {"disk:/x,serial", "serial", "serial needs a value"},
        {"disk:/x,serial=", "serial", "serial is empty"},
        {"disk:path=", "path", "path is empty"},
        {"disk:/x,ro=maybe", "ro", "ro=maybe is neither on nor off"},
        {"disk:/x,ro=", "ro", "ro= is neither on nor off"},
        {"disk:/x,ro=ON", "ro", "neither on nor off"},
        {"disk:/x,queues=0", "queues", "queues=0 is out of range: choose 1 to 16"},
        {"disk:/x,queues=17", "queues", "queues=17 is out of range: choose 1 to 16"},
        {"disk:/x,queues=99999999999999999999", "queues", "is out of range: choose 1 to 16"},
        {"disk:/x,offset=18446744073709551616", "offset", "is out of range"},
        {"disk:/x,offset=0x10000000000000000", "offset", "is out of range"},
        {"disk:/x,queues=", "queues", "queues= is not a number"},
        {"disk:/x,queues=-1", "queues", "queues=-1 is not a number"},
        {"disk:/x,queues=+1", "queues", "is not a number"},
        {"disk:/x,queues= 1", "queues", "is not a number"},
        {"disk:/x,queues=1 ", "queues", "is not a number"},
        {"disk:/x,queues=1.0", "queues", "is not a number"},
        {"disk:/x,queues=0x", "queues", "is not a number"},
        {"disk:/x,queues=0xg", "queues", "is not a number"},
        {"disk:/x,queues=0x-1", "queues", "is not a number"},
        {"disk:/x,queues=0x0x1", "queues", "is not a number"},
        {"disk:/x,queues=1K", "queues", "is not a number"},
        {"disk:/x,queues=two", "queues", "is not a number"},
        {"disk:/x,size=511", "size", "size=511 is out of range: choose 512 to 1048576T"},
        {"disk:/x,size=1048577T", "size", "is out of range"},
        {"disk:/x,cache=16777216T", "cache", "is out of range: choose less than 2^64"},
        {"disk:/x,cache=99999999999999999999", "cache", "is out of range"},
        {"disk:/x,size=", "size", "size= is not a size"},
        {"disk:/x,size=G", "size", "is not a size"},
        {"disk:/x,size=1g", "size", "is not a size"},
        {"disk:/x,size=1GB", "size", "is not a size"},
        {"disk:/x,size=1 G", "size", "is not a size"},
        {"disk:/x,size=0x400", "size", "is not a size"},
        {"disk:/x,size=-1G", "size", "is not a size"},
        {"disk:/x,size=1.5G", "size", "is not a size"},
        {"disk:/x,engine=fast", "engine", "engine=fast is not a choice: write auto, uring or thr"},
        {"disk:/x,engine=", "engine", "is not a choice"},
        {"disk:/x,engine=aut", "engine", "is not a choice"},
        {"disk:/x,engine=auto uring", "engine", "is not a choice"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_bad(bad[i].text, bad[i].option, bad[i].says);
    leak_check();
}

Test(options, lengths)
{
    char text[1200] = "disk:/x,serial=";
    size_t at = strlen(text);
    struct options options;
    memset(text + at, 's', OPTION_STRING_MAX);
    check(&options, text);
    options_clear(&options);
    text[at + OPTION_STRING_MAX] = 's';
    expect_bad(text, "serial", "is 1024 bytes long: at most 1023 fit");

    char path[4097] = "disk:";
    memset(path + 5, 'p', 4090);
    struct error error;
    cr_assert_eq(check_in(&options, path, "/12", tables, 2, &error), 0, "%s", error.text);
    options_clear(&options);
    cr_assert_eq(check_in(&options, path, "/12345", tables, 2, &error), -ENAMETOOLONG);
    cr_assert(strstr(error.text, "4097 bytes long"), "%s", error.text);
    leak_check();
}

/* A plugin without a positional option, and one with nothing at all. */
Test(options, no_positional)
{
    static const struct hvv_option list[] = {
        {.name = "fast", .type = HVV_OPTION_BOOL, .dflt = "off", .help = "fast"},
        {.name = "rate", .type = HVV_OPTION_U64, .help = "rate"},
    };
    const struct option_table rng = TABLE(list, "rng");
    const struct option_table none = {NULL, 0, 0, "bare"};
    struct options options;
    struct error error;
    cr_assert_eq(check_in(&options, "rng:fast,rate=1", NULL, &rng, 1, &error), 0);
    cr_assert_eq(options_u64(&options, "fast", 0), 1);
    options_clear(&options);
    cr_assert_eq(check_in(&options, "rng:rate", NULL, &rng, 1, &error), -EINVAL);
    cr_assert_str_eq(error.text, "rate needs a value: write rate=VALUE");
    cr_assert_eq(check_in(&options, "rng:/dev/random", NULL, &rng, 1, &error), -EINVAL);
    cr_assert_str_eq(error.text, "rng takes no value without a name, as \"/dev/random\" is: write "
                     "NAME=VALUE");
    cr_assert_eq(check_in(&options, "rng:fats", NULL, &rng, 1, &error), -EINVAL);
    cr_assert(strstr(error.text, "did you mean fast?"), "%s", error.text);
    cr_assert_eq(check_in(&options, "bare", NULL, &none, 1, &error), 0);
    cr_assert_eq(options.n, 0);
    cr_assert_eq(check_in(&options, "bare:x=1", NULL, &none, 1, &error), -EINVAL);
    cr_assert_str_eq(error.text, "bare has no option \"x\": it takes none at all");
    leak_check();
}

/* Too many to list: a pointer to where they are. */
Test(options, many)
{
    static char names[40][8];
    static struct hvv_option list[40];
    for (unsigned i = 0; i < 40; i++) {
        snprintf(names[i], sizeof(names[i]), "opt-%02u", i);
        list[i] = (struct hvv_option){.name = names[i], .help = "x"};
    }
    const struct option_table big = TABLE(list, "big");
    struct options options;
    struct error error;
    cr_assert_eq(check_in(&options, "big:zzz=1", NULL, &big, 1, &error), -EINVAL);
    cr_assert(strstr(error.text, "`hvisor-vhost-ctl plugins` lists"), "%s", error.text);
    leak_check();
}

/* The earlier table wins, and the hidden option's default does not show. */
Test(options, order_of_tables)
{
    static const struct hvv_option list[] = {
        {.name = "inband", .type = HVV_OPTION_STRING, .dflt = "hidden", .help = "x"},
    };
    const struct option_table two[] = {TABLE(host_list, "host"), TABLE(list, "other")};
    struct options options;
    struct error error;
    cr_assert_eq(check_in(&options, "other:inband=on", NULL, two, 2, &error), 0);
    cr_assert_eq(options_count(&options, "inband"), 1);
    cr_assert_eq(options_u64(&options, "inband", 0), 1);
    options_clear(&options);
    leak_check();
}

/* Tables of plugins built with other headers: members may follow that this host does not know. */
Test(options, stride)
{
    struct newer {
        struct hvv_option option;
        uint64_t more[3];
    };
    static const struct newer list[] = {
        {{.name = "a", .type = HVV_OPTION_U64, .help = "a", .dflt = "1"}, {~0ull, ~0ull, ~0ull}},
        {{.name = "b", .type = HVV_OPTION_U64, .help = "b", .dflt = "2"}, {~0ull, ~0ull, ~0ull}},
    };
    const struct option_table table = {&list[0].option, 2, sizeof(list[0]), "newer"};
    struct options options;
    struct error error;
    char why[256];
    cr_assert_eq(options_check_table(&table, why, sizeof(why)), 0, "%s", why);
    cr_assert_eq(check_in(&options, "newer:b=7", NULL, &table, 1, &error), 0);
    cr_assert_eq(options_u64(&options, "a", 0), 1);
    cr_assert_eq(options_u64(&options, "b", 0), 7);
    options_clear(&options);
    leak_check();
}

/* ---- Tables ---------------------------------------------------------------------------------- */

Test(options, good_tables)
{
    char why[256] = "";
    const struct option_table none = {NULL, 0, 0, "none"};
    for (size_t i = 0; i < 2; i++)
        cr_assert_eq(options_check_table(&tables[i], why, sizeof(why)), 0, "%s", why);
    cr_assert_eq(options_check_table(&none, why, sizeof(why)), 0, "%s", why);
    leak_check();
}

#define NUMBER .type = HVV_OPTION_U64, .help = "x"

Test(options, bad_options_in_tables)
{
    static const struct {
        struct hvv_option option;
        const char *says;
    } bad[] = {
        {{.name = NULL, NUMBER}, "option 1 is called \"\""},
        {{.name = "", NUMBER}, "option 1 is called \"\""},
        {{.name = "A", NUMBER}, "option 1 is called \"A\""},
        {{.name = "a_b", NUMBER}, "option 1 is called \"a_b\""},
        {{.name = "a=b", NUMBER}, "option 1 is called \"a=b\""},
        {{.name = "a2345678901234567890123456789012", NUMBER}, "option 1 is called"},
        {{.name = "first", NUMBER}, "option first is there twice"},
        {{.name = "a", .type = 6, .help = "x"}, "option a is of type 6"},
        {{.name = "a", .type = UINT32_MAX, .help = "x"}, "option a is of type 4294967295"},
        {{.name = "a", .type = HVV_OPTION_U64}, "option a has no help text"},
        {{.name = "a", NUMBER, .flags = 8}, "option a has flags 0x8"},
        {{.name = "a", NUMBER, .flags = HVV_OPTION_REQUIRED, .dflt = "1"},
         "one of them is useless"},
        {{.name = "a", NUMBER, .flags = HVV_OPTION_POSITIONAL}, "a is positional, and so is first"},
        {{.name = "a", NUMBER, .min = 2, .max = 1}, "option a has a minimum above its maximum"},
        {{.name = "a", NUMBER, .dflt = "x"},
         "option a has a default it would refuse: a=x is not a number"},
        {{.name = "a", NUMBER, .max = 3, .dflt = "4"}, "a=4 is out of range: choose 0 to 3"},
        {{.name = "a", .type = HVV_OPTION_SIZE, .help = "x", .dflt = "1X"}, "is not a size"},
        {{.name = "a", .type = HVV_OPTION_BOOL, .help = "x", .dflt = ""}, "neither on nor off"},
        {{.name = "a", .type = HVV_OPTION_STRING, .help = "x", .dflt = ""}, "a is empty"},
        {{.name = "a", .type = HVV_OPTION_PATH, .help = "x", .dflt = "b"},
         "a=b is a relative path"},
        {{.name = "a", .type = HVV_OPTION_CHOICE, .help = "x"}, "option a is a choice of nothing"},
        {{.name = "a", .type = HVV_OPTION_CHOICE, .help = "x", .choices = ""}, "of nothing"},
        {{.name = "a", .type = HVV_OPTION_CHOICE, .help = "x", .choices = " b"}, "an empty word"},
        {{.name = "a", .type = HVV_OPTION_CHOICE, .help = "x", .choices = "b "}, "an empty word"},
        {{.name = "a", .type = HVV_OPTION_CHOICE, .help = "x", .choices = "b  c"}, "an empty word"},
        {{.name = "a", .type = HVV_OPTION_CHOICE, .help = "x", .choices = "b c", .dflt = "d"},
         "a=d is not a choice: write b or c"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct hvv_option list[2] = {
            {.name = "first", NUMBER, .flags = HVV_OPTION_POSITIONAL}, bad[i].option};
        const struct option_table table = TABLE(list, "bad");
        char why[512] = "";
        cr_assert_eq(options_check_table(&table, why, sizeof(why)), -EINVAL, "%s", bad[i].says);
        cr_assert(strstr(why, bad[i].says), "\"%s\" is not in \"%s\"", bad[i].says, why);
    }
    leak_check();
}

Test(options, bad_tables)
{
    static const struct option_table bad[] = {
        {NULL, 1, sizeof(struct hvv_option), "bad"},
        {disk_list, 129, sizeof(struct hvv_option), "bad"},
        {disk_list, UINT32_MAX, sizeof(struct hvv_option), "bad"},
        {disk_list, 2, 0, "bad"},
        {disk_list, 2, sizeof(struct hvv_option) - 8, "bad"},
        {disk_list, 2, sizeof(struct hvv_option) + 1, "bad"},
    };
    char why[256];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        why[0] = '\0';
        cr_assert_eq(options_check_table(&bad[i], why, sizeof(why)), -EINVAL, "%zu", i);
        cr_assert(why[0]);
    }
    char tiny[4];
    cr_assert_eq(options_check_table(&bad[0], tiny, sizeof(tiny)), -EINVAL);
    cr_assert_eq(strlen(tiny), 3);
    leak_check();
}

Test(options, help_texts)
{
    static const struct {
        struct hvv_option option;
        const char *type, *range;
    } rows[] = {
        {{.type = HVV_OPTION_STRING, .min = 1, .max = 2}, "string", ""},
        {{.type = HVV_OPTION_PATH}, "path", ""},
        {{.type = HVV_OPTION_BOOL}, "bool", "on or off"},
        {{.type = HVV_OPTION_U64, .min = 1, .max = 16}, "number", "1 to 16"},
        {{.type = HVV_OPTION_U64, .max = 2048}, "number", "0 to 2048"},
        {{.type = HVV_OPTION_U64, .min = 5}, "number", "at least 5"},
        {{.type = HVV_OPTION_U64}, "number", ""},
        {{.type = HVV_OPTION_SIZE, .min = 512, .max = 3ull << 40}, "size", "512 to 3T"},
        {{.type = HVV_OPTION_SIZE, .min = 1536, .max = 1536u << 10}, "size", "1536 to 1536K"},
        {{.type = HVV_OPTION_SIZE, .max = UINT64_MAX}, "size", "0 to 18446744073709551615"},
        {{.type = HVV_OPTION_CHOICE, .choices = "one"}, "choice", "one"},
        {{.type = HVV_OPTION_CHOICE, .choices = "a b"}, "choice", "a or b"},
        {{.type = HVV_OPTION_CHOICE, .choices = "a b c"}, "choice", "a, b or c"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[OPTION_RANGE_TEXT];
        cr_assert_str_eq(option_type_name(rows[i].option.type), rows[i].type);
        option_range(&rows[i].option, text, sizeof(text));
        cr_assert_str_eq(text, rows[i].range);
        for (size_t size = 1; size <= strlen(rows[i].range) + 1; size++) {
            char *small = malloc(size); /* AddressSanitizer sees a byte too many */
            option_range(&rows[i].option, small, size);
            cr_assert_eq(strncmp(small, rows[i].range, size - 1), 0);
            cr_assert_eq(strlen(small), size - 1);
            free(small);
        }
    }
    cr_assert_null(option_type_name(6));
    leak_check();
}
