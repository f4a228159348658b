/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conf-zones.c - tests of host/conf/conf-file.c and conf-format.c: zones in configuration files, and
 * files that are written, read and written again.
 */
#include "conf/conf-format.h"

#include "conf-try.h"
#include "leak.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <hvv/host.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Zones ----------------------------------------------------------------------------------- */

Test(conf, zones)
{
    struct dir dir;
    struct conf conf;
    dir_make(&dir);
    good_file(&conf, "zones = ( { id = 3; memory = ( { host = \"0x150000000\"; "
                     "guest = \"5368709120\"; size = \"010000000000\"; },\n"
                     "{ host = 4096; guest = 0; size = 0x1000; } );\n"
                     "slots = ( { addr = \"0xa000000\"; len = 512; irq = \"0xffffffff\"; } ); },\n"
                     "{ id = \"4\"; platform = \"trap\"; }, { id = 3; slots = (); } )");
    cr_assert_eq(conf.zones.n, 2);
    const struct zone_plan *zone = conf.zones.zones;
    cr_assert(zone->id == 3 && zone->n_memory == 2 && zone->n_slots == 1);
    cr_assert_str_eq(zone->platform, "hvisor");
    cr_assert_eq(zone->memory[0].host, 0x150000000);
    cr_assert_eq(zone->memory[0].guest, 5368709120);
    cr_assert_eq(zone->memory[0].size, 1u << 30);
    cr_assert_eq(zone->slots[0].addr, 0xa000000);
    cr_assert_eq(zone->slots[0].len, 0x200);
    cr_assert_eq(zone->slots[0].irq, 4294967295);
    cr_assert_str_eq(zone[1].platform, "trap");
    cr_assert_str_eq(conf.hvisor, "/dev/hvisor", "a zone of hvisor needs it");
    conf_clear(&conf);
    good_file(&conf, "zones = ( { id = 4; platform = \"trap\"; } )");
    cr_assert_null(conf.hvisor);
    conf_clear(&conf);
    dir_remove(&dir);
    leak_check();
}

Test(conf, bad_zones)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"zones = 1;", "sub/f:1: zones is of the wrong type: write a list of groups"},
        {"zone = ();", "sub/f:1: there is no setting zone: did you mean zones"},
        {"zones = ( \"1\" );", "sub/f:1: a zone is of the wrong type: write a group"},
        {"zones = ( { } );", "sub/f:1: a zone has no id: add id = "},
        {"zones = ( {\n idd = 1; } );", "sub/f:2: a zone has no idd: did you mean id"},
        {"zones = ( { id = 32; } );", "sub/f:1: zone 32 is out of range: there are at most 32"},
        {"zones = ( { id = -1; } );", "sub/f:1: id=-1 is not a number from 0 to 0xffffffff"},
        {"zones = ( { id = true; } );", "sub/f:1: id is of the wrong type: write a whole number"},
        {"zones = ( { id = 1.5; } );", "sub/f:1: id is of the wrong type"},
        {"zones = ( { id = \"x\"; } );", "sub/f:1: id=x is not a number"},
        {"zones = ( { id = 1; platform = 1; } );", "sub/f:1: platform is of the wrong type"},
        {"zones = ( { id = 1;\nplatform = \"kvm\"; } );",
         "sub/f:2: zone 1: \"kvm\" is not a platform: write \"hvisor\" or \"trap\""},
        {"zones = ( { id = 1; }, { id = 1; platform = \"trap\"; } );",
         "zone 1 is declared for the platform hvisor and for trap"},
        {"zones = ( { id = 1; slots = 1; } );", "sub/f:1: slots is of the wrong type"},
        {"zones = ( { id = 1; slots = ( 1 ); } );", "sub/f:1: a slot is of the wrong type"},
        {"zones = ( { id = 1; slots = ( { addr = 0; len = 512; } ); } );",
         "sub/f:1: a slot has no irq: add irq = "},
        {"zones = ( { id = 1; slots = ( { addr = 0; length = 512; } ); } );",
         "sub/f:1: a slot has no length: see hvisor-vhost.conf(5)"},
        {"zones = ( { id = 1; slots = (\n{ addr = 0; len = 512; irq = 1; },\n"
         "{ addr = 4; len = 512; irq = 2; } ); } );",
         "sub/f:3: zone 1: the slot 0x4-0x203 (irq 2) overlaps the slot 0x0-0x1ff (irq 1)"},
        {"zones = ( { id = 1; memory = ( { host = 1; guest = 0; size = 4096; } ); } );",
         "sub/f:1: zone 1: the host address of memory, 0x1, is not a multiple"},
        {"zones = ( { id = 1; memory = ( { host = 0xa0000000; guest = 0; size = 4096; } ); } );",
         "sub/f:1: the number 0xa0000000 does not fit in 32 bits: write it as a string"},
        {"hvisor = 1;", "sub/f:1: hvisor is of the wrong type: write true, false or a string"},
        {"virtio_json = \"nothing\";", "cannot open /"},
    };
    struct dir dir;
    dir_make(&dir);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        bad_file(rows[i].text, rows[i].says);
    dir_remove(&dir);
    leak_check();
}

Test(conf, hvisor)
{
    struct dir dir;
    struct conf conf;
    dir_make(&dir);
    good(&conf, "");
    cr_assert_null(conf.hvisor);
    cr_assert_not(conf.hvisor_poll);
    cr_assert_null(conf.trap);
    conf_clear(&conf);
    good(&conf, "--hvisor --trap t");
    cr_assert_str_eq(conf.hvisor, "/dev/hvisor");
    expect_path(&dir, conf.trap, "t");
    conf_clear(&conf);
    good(&conf, "--hvisor=h --hvisor-poll");
    cr_assert(conf.hvisor_poll);
    expect_path(&dir, conf.hvisor, "h");
    conf_clear(&conf);
    good_file(&conf, "hvisor = true; hvisor_poll = true");
    cr_assert(conf.hvisor_poll);
    cr_assert_str_eq(conf.hvisor, "/dev/hvisor");
    conf_clear(&conf);
    write_text("hvisor = \"/x\"");
    good(&conf, "-c sub/f --hvisor=off");
    cr_assert_null(conf.hvisor);
    conf_clear(&conf);
    bad("--hvisor=", "--hvisor is empty");
    bad("--hvisor /dev/hvisor", "\"/dev/hvisor\" is not an option");
    dir_remove(&dir);
    leak_check();
}

#define DATA TOP_SRCDIR "/tests/data/hvisor/"

/* Files of hvisor-tool add to zones and devices of the other sources. */
Test(conf, virtio_json)
{
    struct dir dir;
    struct conf conf;
    dir_make(&dir);
    write_text("devices = \"rng\"; virtio_json = \"/replaced\"; zones = ( { id = 1; slots = ( "
               "{ addr = \"0xa003a00\"; len = \"0x200\"; irq = 77; } ); } );");
    good(&conf, "-c sub/f --virtio-json " DATA "qemu-aarch64.json --virtio-json " DATA
                "add-blk.json --virtio-json " DATA "one-zone.json");
    cr_assert_eq(conf.n_virtio_json, 3);
    cr_assert_eq(conf.n_devices, 6);
    expect_spec(&conf.devices[0], "rng");
    expect_spec(&conf.devices[1], "blk:path=" DATA "root.img,zone=1,addr=0xa003c00,irq=78");
    expect_spec(&conf.devices[5], "blk:path=" DATA "three.img,zone=3,addr=0xa003a00,irq=77");
    cr_assert(conf.zones.n == 2 && conf.zones.zones[0].n_slots == 5);
    cr_assert_eq(conf.zones.zones[0].n_memory, 1);
    cr_assert_str_eq(conf.zones.zones[1].platform, "hvisor");
    cr_assert_str_eq(conf.hvisor, "/dev/hvisor");
    conf_clear(&conf);
    good(&conf, "--virtio-json " DATA "empty.json");
    cr_assert(conf.n_devices == 0 && conf.zones.n == 0 && !conf.hvisor);
    conf_clear(&conf);
    bad("--virtio-json " DATA "board-rk3588-scmi.json", "zones[0].devices[0].type is \"scmi\"");
    bad("--virtio-json " DATA "qemu-aarch64.json --virtio-json " DATA "qemu-riscv64.json "
        "--virtio-json " DATA "qemu-x86_64.json",
        "/qemu-x86_64.json: zone 1: memory 0x0-0x1920efff (host 0x40300000) overlaps memory");
    good_file(&conf, "zones = ( { id = 1; platform = \"trap\"; } ); virtio_json = \"" DATA
                     "qemu-aarch64.json\"");
    cr_assert_str_eq(conf.zones.zones[0].platform, "trap");
    cr_assert_null(conf.hvisor);
    conf_clear(&conf);
    dir_remove(&dir);
    leak_check();
}

/* ---- There and back -------------------------------------------------------------------------- */

static void expect_same_zones(const struct zone_plans *a, const struct zone_plans *b)
{
    cr_assert_eq(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        const struct zone_plan *x = &a->zones[i], *y = &b->zones[i];
        cr_assert(x->id == y->id && x->n_memory == y->n_memory && x->n_slots == y->n_slots);
        cr_assert_str_eq(x->platform, y->platform);
        for (size_t m = 0; m < x->n_memory; m++)
            cr_assert_eq(memcmp(&x->memory[m], &y->memory[m], sizeof(x->memory[m])), 0);
        for (size_t s = 0; s < x->n_slots; s++)
            cr_assert(x->slots[s].addr == y->slots[s].addr && x->slots[s].len == y->slots[s].len &&
                      x->slots[s].irq == y->slots[s].irq);
    }
}

static char *format(const struct conf *conf)
{
    const struct spec *devices[16];
    cr_assert_leq(conf->n_devices, 16);
    for (size_t i = 0; i < conf->n_devices; i++)
        devices[i] = &conf->devices[i];
    char *text = conf_format(conf, &conf->zones, devices, conf->n_devices);
    cr_assert(text);
    return text;
}

/* What is written, read and written again stays the same. */
static void round_trip(const char *line)
{
    struct conf first, second;
    good(&first, line);
    char *text = format(&first);
    good_file(&second, text);
    expect_same_zones(&first.zones, &second.zones);
    cr_assert_eq(first.n_devices, second.n_devices);
    for (size_t i = 0; i < first.n_devices; i++) {
        char *wanted = spec_format(&first.devices[i]);
        expect_spec(&second.devices[i], wanted);
        free(wanted);
    }
    char *again = format(&second);
    cr_assert_str_eq(text, again);
    free(text);
    free(again);
    conf_clear(&first);
    conf_clear(&second);
}

Test(conf, format)
{
    struct dir dir;
    dir_make(&dir);
    round_trip("");
    round_trip("--workers each --poll-us 7 --stuck-seconds 9 --log-level debug --syslog "
               "--hvisor=/h --hvisor-poll --trap /t --control /c\"\\\x01\t --socket-dir /s --socket-mode 0064 "
               "-p /p -p /q");
    round_trip("--virtio-json " DATA "board-rk3588.json -d blk:/x,,y\"\\,ro -d rng");
    round_trip("--virtio-json " DATA "large-numbers.json");
    round_trip("--virtio-json " DATA "qemu-riscv64.json");
    write_text(whole_file);
    round_trip("-c sub/f");
    dir_remove(&dir);
    leak_check();
}

Test(conf, format_device)
{
    static const struct hvv_option table[] = {
        {.name = "id", .type = HVV_OPTION_STRING, .help = "i"},
        {.name = "path", .type = HVV_OPTION_PATH, .flags = HVV_OPTION_POSITIONAL, .help = "p"},
        {.name = "ro", .type = HVV_OPTION_BOOL, .dflt = "off", .help = "r"},
        {.name = "addr", .type = HVV_OPTION_U64, .help = "a"},
        {.name = "irq", .type = HVV_OPTION_U64, .help = "q"},
        {.name = "size", .type = HVV_OPTION_SIZE, .help = "s"},
        {.name = "tag", .type = HVV_OPTION_STRING, .flags = HVV_OPTION_MULTI, .help = "t"},
        {.name = "queues", .type = HVV_OPTION_U64, .dflt = "1", .help = "n"},
    };
    struct option_table tables = {table, sizeof(table) / sizeof(table[0]), sizeof(table[0]), "blk"};
    struct spec spec, again;
    struct options options;
    struct error error = {0};
    cr_assert_eq(spec_parse(&spec, "blk:./a=b.img,ro,addr=167787520,irq=78,size=10G,tag=x,,y,tag=z",
                            &error), 0, "%s", error.text);
    cr_assert_eq(options_check(&options, &spec, &tables, 1, "/d", &error), 0, "%s", error.text);
    cr_assert_eq(conf_format_spec(&again, "blk", "blk0", &options, &error), 0, "%s", error.text);
    expect_spec(&again, "blk:id=blk0,path=/d/./a=b.img,ro=on,addr=0xa003c00,irq=78,"
                        "size=10737418240,tag=x,,y,tag=z");
    spec_clear(&again);
    options_clear(&options);
    spec_clear(&spec);
    leak_check();
}
