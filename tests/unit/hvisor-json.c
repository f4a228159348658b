/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvisor-json.c - tests of host/zone/hvisor-json.c and json-read.c: hvisor-tool's files, those of
 * tests/data/hvisor and small ones that are wrong in one way each.
 */
#include "zone/hvisor-json.h"

#include "leak.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef TOP_SRCDIR
#define TOP_SRCDIR "."
#endif
#define DATA TOP_SRCDIR "/tests/data/hvisor/"

/* ---- Helpers --------------------------------------------------------------------------------- */

static int parse(struct hvisor_json *json, const char *text, struct error *error)
{
    memset(error, 0, sizeof(*error));
    return hvisor_json_parse(json, text, strlen(text), "f", "/dir", error);
}

static void expect_empty(const struct hvisor_json *json)
{
    static const struct hvisor_json empty;
    cr_assert_eq(memcmp(json, &empty, sizeof(empty)), 0, "something is left over");
}

static void good(struct hvisor_json *json, const char *text)
{
    struct error error;
    cr_assert_eq(parse(json, text, &error), 0, "%s: %s", text, error.text);
}

static void bad(const char *text, const char *says)
{
    struct hvisor_json json;
    struct error error;
    int rc = parse(&json, text, &error);
    cr_assert_lt(rc, 0, "accepted: %s", text);
    cr_assert_eq(rc, -error.err);
    cr_assert(strncmp(error.text, "f:", 2) == 0, "no file in: %s", error.text);
    cr_assert(strstr(error.text, says), "\"%s\" is not in \"%s\"", says, error.text);
    expect_empty(&json);
}

static void expect_spec(const struct spec *spec, const char *wanted)
{
    char *text = spec_format(spec);
    cr_assert_str_eq(text, wanted);
    free(text);
}

/* ---- The files of tests/data/hvisor ---------------------------------------------------------- */

#define SPECS 8

static const struct {
    const char *file;
    const char *says;  /* why it is refused; NULL: it is not */
    size_t zones, memory, slots, warnings; /* memory and slots of all zones */
    const char *specs[SPECS];
} files[] = {
    {"qemu-aarch64.json", NULL, 1, 1, 4, 0,
     {"blk:path=" DATA "root.img,zone=1,addr=0xa003c00,irq=78",
      "console:zone=1,addr=0xa003800,irq=76",
      "gpu:width=1280,height=800,zone=1,addr=0xa003400,irq=74"}},
    {"qemu-riscv64.json", NULL, 1, 1, 2, 0,
     {"blk:path=/srv/root.img,zone=1,addr=0x10007000,irq=7",
      "console:zone=1,addr=0x10006000,irq=6"}},
    {"qemu-x86_64.json", NULL, 1, 2, 3, 0,
     {"console:zone=1,addr=0x5950f000,irq=10",
      "net:tap=tap0,mac=00:16:3e:10:10:10,zone=1,addr=0x5950f200,irq=14",
      "blk:path=" DATA "../root.img,zone=1,addr=0x5950f400,irq=11"}},
    {"board-loongarch64.json", NULL, 1, 2, 2, 0,
     {"blk:path=" DATA "root.img,zone=1,addr=0x30001000,irq=22",
      "console:zone=1,addr=0x30002000,irq=23"}},
    {"board-rk3588.json", NULL, 2, 3, 8, 0,
     {"blk:path=" DATA "one.img,zone=1,addr=0xff9d0000,irq=65",
      "console:zone=1,addr=0xff9e0000,irq=66",
      "net:tap=tap0,mac=00:11:22:33:44:55,zone=1,addr=0xffa00000,irq=69",
      "blk:path=" DATA "two.img,zone=2,addr=0xffa20000,irq=99",
      "console:zone=2,addr=0xffa30000,irq=100",
      "net:tap=tap1,mac=00:11:22:33:44:66,zone=2,addr=0xffa40000,irq=101",
      "gpu:width=1920,height=1080,zone=2,addr=0xffa10000,irq=102"}},
    {"board-rk3588-scmi.json",
     "zones[0].devices[0].type is \"scmi\": there is no plugin for scmi devices, so set its status "
     "to \"disable\"", 0, 0, 0, 0, {NULL}},
    {"one-zone.json", NULL, 1, 1, 1, 0,
     {"blk:path=" DATA "three.img,zone=3,addr=0xa003a00,irq=77"}},
    {"add-blk.json", NULL, 1, 1, 1, 0,
     {"blk:path=" DATA "more.img,zone=1,addr=0xa003a00,irq=77"}},
    {"large-numbers.json", NULL, 1, 2, 1, 0,
     {"console:zone=1,addr=0x7ffffffffffff000,irq=4294967295"}},
    {"odd.json", NULL, 1, 1, 1, 5, {"blk:path=" DATA "x,zone=1,addr=0xa003c00,irq=78"}},
    {"empty.json", NULL, 0, 0, 0, 0, {NULL}},
    {"empty-object.json", NULL, 0, 0, 0, 0, {NULL}},
    {"qemu-aarch64-zone1.json", "this is the configuration of a zone for hvisor", 0, 0, 0, 0,
     {NULL}},
    {"missing.json", "cannot open " DATA "missing.json: No such file", 0, 0, 0, 0, {NULL}},
};

Test(hvisor_json, files)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[1024];
        struct hvisor_json json;
        struct error error = {0};
        snprintf(path, sizeof(path), DATA "%s", files[i].file);
        int rc = hvisor_json_read(&json, path, NULL, &error);
        cr_assert_eq(rc, -error.err);
        cr_assert_eq(rc < 0, files[i].says != NULL, "%s: %s", files[i].file, error.text);
        if (files[i].says) {
            cr_assert(strstr(error.text, files[i].says), "%s", error.text);
            expect_empty(&json);
            continue;
        }
        size_t memory = 0, slots = 0, specs = 0;
        for (size_t z = 0; z < json.zones.n; z++) {
            memory += json.zones.zones[z].n_memory;
            slots += json.zones.zones[z].n_slots;
            cr_assert_str_eq(json.zones.zones[z].platform, "");
        }
        cr_assert_eq(json.zones.n, files[i].zones, "%s", path);
        cr_assert_eq(memory, files[i].memory, "%s", path);
        cr_assert_eq(slots, files[i].slots, "%s", path);
        cr_assert_eq(json.n_warnings, files[i].warnings, "%s: %zu warnings", path, json.n_warnings);
        while (specs < SPECS && files[i].specs[specs])
            specs++;
        cr_assert_eq(json.n_specs, specs, "%s", path);
        for (size_t s = 0; s < specs; s++)
            expect_spec(&json.specs[s], files[i].specs[s]);
        cr_assert_eq(plan_check(&json.zones, &error), 0, "%s", error.text);
        hvisor_json_clear(&json);
        expect_empty(&json);
    }
    leak_check();
}

/* hvisor-tool takes 2147483647 for every larger number that is not in quotes. */
Test(hvisor_json, large_numbers)
{
    struct hvisor_json json;
    struct error error = {0};
    cr_assert_eq(hvisor_json_read(&json, DATA "large-numbers.json", NULL, &error), 0);
    const struct zone_plan *zone = json.zones.zones;
    cr_assert_eq(zone->memory[0].host, 2147483648);
    cr_assert_eq(zone->memory[0].guest, 4294967296);
    cr_assert_eq(zone->memory[0].size, 3221225472);
    cr_assert_eq(zone->memory[1].host, 0xfffffffffffff000);
    cr_assert_eq(zone->memory[1].guest, 0xfffffffffffff000);
    cr_assert_eq(zone->slots[0].addr, 9223372036854771712ull);
    cr_assert_eq(zone->slots[0].irq, 4294967295);
    hvisor_json_clear(&json);
    leak_check();
}

/* A file to add to a zone that is there: the memory is the same, the slot is new. */
Test(hvisor_json, added_to_a_zone)
{
    struct hvisor_json first, second;
    struct zone_plans now = {0}, fresh;
    struct error error = {0};
    cr_assert_eq(hvisor_json_read(&first, DATA "qemu-aarch64.json", NULL, &error), 0);
    cr_assert_eq(hvisor_json_read(&second, DATA "add-blk.json", NULL, &error), 0);
    cr_assert_eq(plan_merge(&now, &first.zones, NULL, &error), 0);
    cr_assert_eq(plan_merge(&now, &second.zones, &fresh, &error), 0, "%s", error.text);
    cr_assert(fresh.n == 1 && fresh.zones[0].n_memory == 0 && fresh.zones[0].n_slots == 1);
    cr_assert_str_eq(now.zones[0].platform, "hvisor");
    plan_clear(&fresh);
    plan_clear(&now);
    hvisor_json_clear(&first);
    hvisor_json_clear(&second);
    leak_check();
}

/* Relative to the directory of the file, whatever way it is named. */
Test(hvisor_json, relative_images)
{
    struct hvisor_json json;
    struct error error = {0};
    cr_assert_eq(hvisor_json_read(&json, "one-zone.json", "/nowhere", &error), -ENOENT);
    cr_assert_eq(chdir(TOP_SRCDIR "/tests"), 0);
    memset(&error, 0, sizeof(error));
    cr_assert_eq(hvisor_json_read(&json, "data/hvisor/one-zone.json", TOP_SRCDIR "/tests", &error),
                 0, "%s", error.text);
    expect_spec(json.specs, "blk:path=" DATA "three.img,zone=3,addr=0xa003a00,irq=77");
    hvisor_json_clear(&json);
    const char *text = "{\"id\": 1, \"devices\": [{\"type\": \"blk\", \"img\": \"a,b\", "
                       "\"addr\": 4096, \"len\": 512, \"irq\": 1}]}";
    cr_assert_eq(hvisor_json_parse(&json, text, strlen(text), "f", NULL, &error), 0);
    expect_spec(json.specs, "blk:path=a,,b,zone=1,addr=0x1000,irq=1");
    hvisor_json_clear(&json);
    leak_check();
}

/* ---- Warnings -------------------------------------------------------------------------------- */

static void expect_warning(const struct hvisor_json *json, const char *says)
{
    for (size_t i = 0; i < json->n_warnings; i++)
        if (strstr(json->warnings[i], says))
            return;
    cr_assert_fail("no warning says: %s", says);
}

Test(hvisor_json, warnings)
{
    struct hvisor_json json;
    struct error error = {0};
    cr_assert_eq(hvisor_json_read(&json, DATA "odd.json", NULL, &error), 0);
    expect_warning(&json, "odd.json: the key \"comment\" is not known and does nothing");
    expect_warning(&json, "zones[0].memory_region[0]: the key \"sise\" is not known and does "
                          "nothing: did you mean size");
    expect_warning(&json, "zones[0].devices[1]: the key \"read_only\" is not known");
    expect_warning(&json, "zones[0].devices[0] is disabled and leaves no spare slot");
    expect_warning(&json, "zones[0].devices[3].addr is missing");
    cr_assert_eq(json.n_devices, 4);
    cr_assert_str_eq(json.devices[2].where, "zones[0].devices[2]");
    cr_assert(json.devices[2].has_slot && !json.devices[2].enabled && !json.devices[0].has_slot);
    hvisor_json_clear(&json);
    good(&json, "{\"id\": 1, \"memory_regions\\u001b\": []}");
    expect_warning(&json, "f: the key \"memory_regions?\" is not known");
    expect_warning(&json, "f: zone 1 has no memory_region: its devices reach no memory");
    hvisor_json_clear(&json);
    leak_check();
}

Test(hvisor_json, many_warnings)
{
    char text[8192] = "{";
    struct hvisor_json json;
    for (unsigned i = 0; i < 200; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s\"k%u\": 1", i ? "," : "", i);
    strcat(text, "}");
    good(&json, text);
    cr_assert_eq(json.n_warnings, HVISOR_JSON_WARNINGS_MAX);
    expect_warning(&json, "f: 137 more warnings");
    hvisor_json_clear(&json);
    leak_check();
}

/* ---- What is accepted ------------------------------------------------------------------------ */

#define SLOT "\"addr\": \"0xa003c00\", \"len\": \"0x200\", \"irq\": 78"
#define RAM "\"memory_region\": [{\"zone0_ipa\": \"0x50000000\", "                                \
            "\"zonex_ipa\": \"0x50000000\", \"size\": \"0x1000000\"}]"
#define ZONE(DEVICES) "{\"zones\": [{\"id\": 1, " RAM ", \"devices\": [" DEVICES "]}]}"

Test(hvisor_json, accepted)
{
    static const struct {
        const char *text;
        size_t zones, specs, slots;
    } rows[] = {
        {"{\"zones\": []}", 0, 0, 0},
        {"\xef\xbb\xbf{\"zones\": []}", 0, 0, 0},
        {"{}", 0, 0, 0},
        {"{\"zones\": [{\"id\": 31, " RAM "}]}", 1, 0, 0},
        {"{\"zones\": [{\"id\": \"0x1\", \"zone_id\": 1, " RAM "}]}", 1, 0, 0},
        {"{\"id\": 0, " RAM ", \"devices\": [{\"type\": \"console\", " SLOT "}]}", 1, 1, 1},
        {ZONE("{\"type\": \"console\", " SLOT "}"), 1, 1, 1},
        {ZONE("{\"type\": \"console\", \"status\": \"enable\", " SLOT "}"), 1, 1, 1},
        {ZONE("{\"type\": \"console\", \"status\": \"disable\", " SLOT "}"), 1, 0, 1},
        {ZONE("{\"type\": \"gpu\", " SLOT "}"), 1, 1, 1},
        {ZONE("{\"type\": \"net\", \"tap\": \"t\", " SLOT "}"), 1, 1, 1},
        {ZONE("{\"type\": \"scmi\", \"status\": \"disable\", \"allowed_list\": {}, " SLOT "}"), 1,
         0, 1},
        {ZONE("{\"type\": \"new\", \"status\": \"disable\", " SLOT "}"), 1, 0, 1},
        {ZONE("{\"status\": \"disable\"}"), 1, 0, 0},
        {"{\"zones\": [{\"id\": 1, " RAM ", \"devices\": [{\"type\": \"console\", " SLOT "}]}, "
         "{\"id\": 1, " RAM ", \"devices\": [{\"type\": \"gpu\", \"addr\": 4096, \"len\": 512, "
         "\"irq\": 1}]}]}", 1, 2, 2},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hvisor_json json;
        good(&json, rows[i].text);
        cr_assert_eq(json.zones.n, rows[i].zones, "%s", rows[i].text);
        cr_assert_eq(json.n_specs, rows[i].specs, "%s", rows[i].text);
        if (json.zones.n)
            cr_assert_eq(json.zones.zones[0].n_slots, rows[i].slots, "%s", rows[i].text);
        hvisor_json_clear(&json);
    }
    leak_check();
}

/* ---- What is refused ------------------------------------------------------------------------- */

#define CONSOLE(ADDR, LEN, IRQ)                                                                    \
    ZONE("{\"type\": \"console\", \"addr\": " ADDR ", \"len\": " LEN ", \"irq\": " IRQ "}")
#define MAC(BYTES) ZONE("{\"type\": \"net\", \"tap\": \"t\", \"mac\": " BYTES ", " SLOT "}")

Test(hvisor_json, refused)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        /* not JSON, or not such a file */
        {"", "f:1:0: '[' or '{' expected near end of file"},
        {"{\"zones\": [", "f:1:11: "},
        {"{\n\"zones\": [],,}", "f:2:"},
        {"{\"zones\": []} x", "f:1:15: end of file expected near 'x'"},
        {"{\"zones\": [], \"zones\": []}", "duplicate object key near '\"zones\"': keep one"},
        {"{\"zones\": [\"\xff\"]}", "save the file as UTF-8"},
        {"{\"zones\": [\"\x01\"]}", "f:1:"},
        {"{\"a\": 9223372036854775808}", "write the number as a string, such as"},
        {"[]", "f: the file holds a list, [...]: write an object, {\"zones\": [...]}"},
        {"7", "f:1:1: '[' or '{' expected"},
        {"{\"zones\": {}}", "f: zones is an object, {...}: write a list, [...]"},
        {"{\"zones\": null}", "f: zones is null: write a list"},
        {"{\"zones\": [1]}", "f: zones[0] is 1: write an object, {...}"},
        /* zones */
        {"{\"zones\": [{}]}", "f: zones[0].id is missing: add it, a whole number"},
        {"{\"devices\": []}", "f: id is missing"},
        {"{\"zones\": [{\"id\": 32}]}", "f: zones[0].id is 32: at most 0x1f will do"},
        {"{\"zones\": [{\"id\": \"4294967297\"}]}", "f: zones[0].id is \"4294967297\": at most"},
        {"{\"id\": 1, \"zone_id\": 2}", "f: id is 1 and zone_id is 2: keep one of them"},
        {"{\"id\": 1, \"memory_region\": {}}", "f: memory_region is an object, {...}: write"},
        {"{\"id\": 1, \"memory_region\": [{}]}", "f: memory_region[0].zone0_ipa is missing"},
        {"{\"id\": 1, \"devices\": 1}", "f: devices is 1: write a list"},
        {"{\"zones\": [{\"id\": 1, " RAM "}, {\"id\": 1, \"memory_region\": [{\"zone0_ipa\": "
         "\"0x50000000\", \"zonex_ipa\": \"0x50000000\", \"size\": \"0x2000000\"}]}]}",
         "f: zones[1].memory_region[0]: zone 1: memory 0x50000000-0x51ffffff (host 0x50000000) "
         "overlaps memory 0x50000000-0x50ffffff (host 0x50000000)"},
        {"{\"id\": 1, \"memory_region\": [{\"zone0_ipa\": 4096, \"zonex_ipa\": 4096, \"size\": "
         "4095}]}", "f: memory_region[0]: zone 1: the size of memory, 0xfff, is not a multiple"},
        /* numbers */
        {CONSOLE("-1", "512", "1"), "f: zones[0].devices[0].addr is -1: write a whole number"},
        {CONSOLE("4096.0", "512", "1"), "f: zones[0].devices[0].addr is 4096: write a whole"},
        {CONSOLE("4096.5", "512", "1"), "f: zones[0].devices[0].addr is 4096.5: write"},
        {CONSOLE("true", "512", "1"), "f: zones[0].devices[0].addr is true: write a whole"},
        {CONSOLE("\"\"", "512", "1"), "f: zones[0].devices[0].addr is \"\": write a whole"},
        {CONSOLE("\"0xa003c00h\"", "512", "1"), "devices[0].addr is \"0xa003c00h\": write"},
        {CONSOLE("\"-4096\"", "512", "1"), "devices[0].addr is \"-4096\": write"},
        {CONSOLE("\"08\"", "512", "1"), "devices[0].addr is \"08\": write a whole number, or a "
         "string such as \"0x200\" or \"512\" (a leading 0 means octal)"},
        {CONSOLE("\"0x10000000000000000\"", "512", "1"), "devices[0].addr is \"0x10000000000000"
         "000\": at most 0xffffffffffffffff will do"},
        {CONSOLE("\"\\u001b[31m\"", "512", "1"), "devices[0].addr is \"?[31m\": write"},
        {CONSOLE("0", "512", "1"), "f: zones[0].devices[0].addr is 0, which stands for none"},
        {CONSOLE("4096", "512", "0"), "f: zones[0].devices[0].irq is 0, which stands for none"},
        {CONSOLE("4096", "512", "4294967296"), "devices[0].irq is 4294967296: at most 0xffffffff"},
        {CONSOLE("4096", "511", "1"), "f: zones[0].devices[0]: zone 1: the slot at 0x1000 has the "
         "length 0x1ff"},
        {CONSOLE("4098", "512", "1"), "f: zones[0].devices[0]: zone 1: the address of the slot at"},
        {CONSOLE("\"0xfffffffffffffff0\"", "512", "1"), "goes beyond 2^64"},
        {CONSOLE("\"0x50000000\"", "512", "1"), "f: zones[0].devices[0]: zone 1: the slot "
         "0x50000000-0x500001ff (irq 1) overlaps memory 0x50000000-0x50ffffff"},
        {ZONE("{\"type\": \"console\", \"addr\": 4096, \"len\": 512}"),
         "f: zones[0].devices[0].irq is missing"},
        /* devices */
        {ZONE("7"), "f: zones[0].devices[0] is 7: write an object"},
        {ZONE("{" SLOT "}"), "f: zones[0].devices[0].type is missing: add it, such as \"blk\""},
        {ZONE("{\"type\": 2, " SLOT "}"), "f: zones[0].devices[0].type is 2: write a string"},
        {ZONE("{\"type\": \"disk\", " SLOT "}"), "f: zones[0].devices[0].type is \"disk\": the "
         "types are blk, net, console and gpu"},
        {ZONE("{\"type\": \"scmi\", " SLOT "}"), "there is no plugin for scmi devices"},
        {ZONE("{\"type\": \"console\", \"status\": \"on\", " SLOT "}"),
         "f: zones[0].devices[0].status is \"on\": write \"enable\" or \"disable\""},
        {ZONE("{\"type\": \"console\", \"status\": false, " SLOT "}"), "status is false: write"},
        {ZONE("{\"type\": \"console\", \"status\": \"\", " SLOT "}"), "status is \"\": write"},
        {ZONE("{\"type\": \"blk\", " SLOT "}"),
         "f: zones[0].devices[0].img is missing: a blk device needs it, the path of the image"},
        {ZONE("{\"type\": \"blk\", \"img\": \"\", " SLOT "}"), "devices[0].img is \"\": write a"},
        {ZONE("{\"type\": \"blk\", \"img\": [1], " SLOT "}"), "devices[0].img is a list, [...]"},
        {ZONE("{\"type\": \"blk\", \"img\": \"a\\nb\", " SLOT "}"),
         "f: zones[0].devices[0]: blk: the value of path has a control character"},
        {ZONE("{\"type\": \"net\", " SLOT "}"), "devices[0].tap is missing: a net device needs it"},
        {MAC("\"00:11:22:33:44:55\""), "f: zones[0].devices[0].mac is \"00:11:22:33:44:55\": write "
         "a list"},
        {MAC("[0, 1, 2, 3, 4]"), "devices[0].mac has 5 members: write the 6 bytes"},
        {MAC("[0, 1, 2, 3, 4, 256]"), "f: zones[0].devices[0].mac[5] is 256: at most 0xff"},
        {MAC("[0, 1, 2, 3, 4, \"5g\"]"), "devices[0].mac[5] is \"5g\": write a whole number"},
        {ZONE("{\"type\": \"gpu\", \"width\": \"wide\", " SLOT "}"), "devices[0].width is \"wi"},
        {ZONE("{\"type\": \"console\", " SLOT "}, {\"type\": \"gpu\", " SLOT "}"),
         "f: zones[0].devices[1] has addr 0xa003c00 and irq 78, and so has zones[0].devices[0]"},
        {ZONE("{\"type\": \"console\", " SLOT "}, {\"type\": \"gpu\", \"addr\": 4096, "
              "\"len\": 512, \"irq\": 78}"),
         "f: zones[0].devices[1]: zone 1: the slot 0x1000-0x11ff (irq 78) has the irq of the slot "
         "0xa003c00-0xa003dff (irq 78): give each its own"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        bad(rows[i].text, rows[i].says);
    leak_check();
}

Test(hvisor_json, deep)
{
    char text[20001];
    memset(text, '[', 10000);
    memset(text + 10000, ']', 10000);
    text[20000] = '\0';
    bad(text, "maximum parsing depth");
    leak_check();
}

/* ---- Any text -------------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* A good file with some bytes changed: an error or plans that hold, nothing else. */
Test(hvisor_json, random_files)
{
    static const char bytes[] = "\"\"{}[]:,0x9-+.e tnf\\\x80";
    static const char whole[] = ZONE(
        "{\"type\": \"console\", " SLOT "}, {\"type\": \"net\", \"tap\": \"t\", \"mac\": "
        "[0, 1, \"2\", 3, 4, 5], \"addr\": 4096, \"len\": 512, \"irq\": 1, "
        "\"status\": \"enable\"}");
    uint32_t state = 11;
    unsigned accepted = 0;
    for (unsigned round = 0; round < 20000; round++) {
        char text[sizeof(whole)];
        memcpy(text, whole, sizeof(text));
        for (unsigned changes = next_random(&state) % 3 + 1; changes > 0; changes--)
            text[next_random(&state) % (sizeof(text) - 1)] =
                bytes[next_random(&state) % (sizeof(bytes) - 1)];
        struct hvisor_json json;
        struct error error;
        int rc = parse(&json, text, &error);
        if (rc < 0) {
            cr_assert(error.err == -rc && strncmp(error.text, "f:", 2) == 0, "%s", error.text);
            expect_empty(&json);
            continue;
        }
        accepted++;
        cr_assert_eq(plan_check(&json.zones, &error), 0, "%s", error.text);
        hvisor_json_clear(&json);
    }
    cr_assert_gt(accepted, 500);
    cr_assert_lt(accepted, 19500);
    leak_check();
}
