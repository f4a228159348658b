/* SPDX-License-Identifier: BSD-3-Clause */
/* crosscheck.c - tests of host/zone/crosscheck.c: hvisor's two files, agreeing and not. */
#include "zone/crosscheck.h"

#include "conf/text-file.h"
#include "leak.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef TOP_SRCDIR
#define TOP_SRCDIR "."
#endif
#define DATA TOP_SRCDIR "/tests/data/hvisor/"
#define LINES 8

/* A virtio file with RAM in two pieces, two devices and a disabled one. */
static const char virtio_text[] =
    "{\"id\": 1, \"memory_region\": ["
    "{\"zone0_ipa\": \"0x50000000\", \"zonex_ipa\": \"0x40000000\", \"size\": \"0x2000000\"}, "
    "{\"zone0_ipa\": \"0x100000000\", \"zonex_ipa\": \"0x100000000\", \"size\": \"0x1000000\"}], "
    "\"devices\": ["
    "{\"type\": \"console\", \"addr\": \"0xa000000\", \"len\": \"0x200\", \"irq\": 40}, "
    "{\"type\": \"gpu\", \"addr\": \"0xa000200\", \"len\": \"0x200\", \"irq\": 41}, "
    "{\"type\": \"gpu\", \"addr\": \"0xa000400\", \"len\": \"0x200\", \"irq\": 42, "
    "\"status\": \"disable\"}]}";

#define REGION(TYPE, PHYSICAL, VIRTUAL, SIZE)                                                      \
    "{\"type\": \"" TYPE "\", \"physical_start\": \"" PHYSICAL "\", \"virtual_start\": \"" VIRTUAL \
    "\", \"size\": \"" SIZE "\"}"
#define ZONE(MORE, REGIONS)                                                                        \
    "{\"zone_id\": 1, " MORE ", \"memory_regions\": [" REGIONS "]}"
#define IRQS "\"interrupts\": [33, 40, 41, 42]"
#define LOW REGION("ram", "0x50000000", "0x40000000", "0x2000000")
#define HIGH REGION("ram", "0x100000000", "0x100000000", "0x1000000")
#define TRAPPED REGION("virtio", "0xa000000", "0xa000000", "0x1000")

/* What is found: WHERE: start of the text; '~' in front: only about a spare slot. */
static const struct {
    const char *zone;
    const char *lines[LINES];
} rows[] = {
    {ZONE(IRQS, LOW ", " HIGH ", " TRAPPED), {NULL}},
    /* RAM in pieces is the same RAM */
    {ZONE(IRQS, REGION("ram", "0x51000000", "0x41000000", "0x1000000") ", " HIGH ", " TRAPPED ", "
                REGION("ram", "0x50000000", "0x40000000", "0x1000000")), {NULL}},
    /* a virtio region is at its physical_start for the zone too */
    {ZONE(IRQS, LOW ", " HIGH ", " REGION("virtio", "0xa000000", "0x40000000", "0x1000")), {NULL}},
    {ZONE(IRQS, LOW ", " HIGH ", " TRAPPED ", " REGION("mystery", "0x9000000", "0x9000000", "1")),
     {NULL}},
    /* on x86_64 the list of interrupts is about something else */
    {ZONE("\"arch\": \"x86_64\", \"interrupts\": []", LOW ", " HIGH ", " TRAPPED), {NULL}},
    {ZONE("\"interrupts\": []", LOW ", " HIGH ", " TRAPPED),
     {"zones: irq 40 is not in interrupts", "irq 41 is not", "~irq 42 is not"}},
    {ZONE("\"name\": \"x\"", LOW ", " HIGH ", " TRAPPED), {"irq 40 is", "irq 41 is", "~irq 42"}},
    /* devices */
    {ZONE(IRQS, LOW ", " HIGH),
     {"0xa000000-0xa0001ff is in no region of the zone", "0xa000200-0xa0003ff is in no region",
      "~0xa000400-0xa0005ff is in no region"}},
    {ZONE(IRQS, LOW ", " HIGH ", " REGION("io", "0xa000000", "0xa000000", "0x1000")),
     {"0xa000000-0xa0001ff is in the io region 0xa000000-0xa000fff (memory_regions[2])",
      "0xa000200-0xa0003ff is in the io", "~0xa000400"}},
    {ZONE(IRQS, LOW ", " HIGH ", " REGION("virtio", "0xa000000", "0xa000000", "0x300")),
     {"0xa000200-0xa0003ff goes beyond the virtio region 0xa000000-0xa0002ff (memory_regions[2])",
      "~0xa000400-0xa0005ff is in no region"}},
    /* memory */
    {ZONE(IRQS, HIGH ", " TRAPPED),
     {"0x40000000-0x41ffffff of the memory at 0x40000000 is not ram of the zone"}},
    {ZONE(IRQS, REGION("ram", "0x50000000", "0x40000000", "0x1000000") ", " HIGH ", " TRAPPED),
     {"0x41000000-0x41ffffff of the memory at 0x40000000 is not ram"}},
    {ZONE(IRQS, REGION("ram", "0x50800000", "0x40800000", "0x800000") ", " HIGH ", " TRAPPED),
     {"0x40000000-0x407fffff of the memory", "0x41000000-0x41ffffff of the memory"}},
    {ZONE(IRQS, REGION("io", "0x50000000", "0x40000000", "0x2000000") ", " HIGH ", " TRAPPED),
     {"0x40000000-0x41ffffff of the memory at 0x40000000 is not ram"}},
    {ZONE(IRQS, REGION("ram", "0x60000000", "0x40000000", "0x2000000") ", " HIGH ", " TRAPPED),
     {"memory at 0x40000000 is at 0x50000000 in the host (zone0_ipa), but at 0x60000000 says the "
      "ram region with the virtual_start 0x40000000 (memory_regions[0])"}},
    {ZONE(IRQS, REGION("ram", "0x50000000", "0x40000000", "0x4000000") ", " HIGH ", " TRAPPED),
     {"ram at 0x42000000-0x43ffffff is in no memory_region of the virtio file"}},
    {ZONE(IRQS, LOW ", " HIGH ", " TRAPPED ", " REGION("ram", "0x1000", "0x0", "0x1000")),
     {"ram at 0x0-0xfff is in no memory_region"}},
    {ZONE(IRQS, REGION("ram", "0x4f000000", "0x3f000000", "0x200000000") ", " TRAPPED),
     {"memory at 0x100000000 is at 0x100000000 in the host (zone0_ipa), but at 0x110000000 says",
      "ram at 0x3f000000-0x3fffffff is in no", "ram at 0x42000000-0xffffffff is in no",
      "ram at 0x101000000-0x23effffff is in no"}},
    /* regions among themselves */
    {ZONE(IRQS, LOW ", " HIGH ", " TRAPPED ", " REGION("io", "0xa000800", "0xa000800", "0x1000")),
     {"the io region 0xa000800-0xa0017ff overlaps the virtio region 0xa000000-0xa000fff "
      "(memory_regions[2])"}},
    /* all at once */
    {ZONE("\"interrupts\": [40]", REGION("ram", "0x60000000", "0x40000000", "0x2000000") ", "
          TRAPPED), {"irq 41", "~irq 42", "memory at 0x40000000", "0x100000000-0x100ffffff of"}},
    {"{\"zone_id\": 7, \"memory_regions\": []}",
     {"zone_id is 7, and the virtio file has only these zones: 1"}},
};

static void expect_line(const struct crosscheck_line *line, const char *wanted, const char *zone)
{
    bool spare = wanted[0] == '~';
    const char *text = strncmp(wanted, "zones: ", 7) == 0 ? wanted + 7 : wanted + spare;
    cr_assert(strncmp(line->text, text, strlen(text)) == 0, "%s: \"%s\" instead of \"%s\"", zone,
              line->text, text);
    cr_assert_eq(line->spare, spare, "%s", line->text);
    cr_assert(line->where[0]);
}

Test(crosscheck, everything)
{
    struct hvisor_json virtio;
    struct error error = {0};
    cr_assert_eq(hvisor_json_parse(&virtio, virtio_text, strlen(virtio_text), "v", "/", &error), 0,
                 "%s", error.text);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct crosscheck check;
        size_t n = 0;
        cr_assert_eq(crosscheck(&check, &virtio, rows[i].zone, strlen(rows[i].zone), "z", &error),
                     0, "%s", error.text);
        while (n < LINES && rows[i].lines[n])
            n++;
        for (size_t l = 0; l < check.n_lines && l < n; l++)
            expect_line(&check.lines[l], rows[i].lines[l], rows[i].zone);
        cr_assert_eq(check.n_lines, n, "%s: %zu lines, the last: %s", rows[i].zone, check.n_lines,
                     check.n_lines ? check.lines[check.n_lines - 1].text : "");
        cr_assert_eq(check.n_devices, check.zone == 1 ? 2 : 0);
        crosscheck_clear(&check);
    }
    hvisor_json_clear(&virtio);
    leak_check();
}

Test(crosscheck, no_zone_file)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "z:1:0: "},
        {"[]", "z: the file holds a list, [...]: is it the file of a zone?"},
        {"{}", "z: zone_id is missing"},
        {"{\"zone_id\": 1}", "z: memory_regions is missing: is it the file of a zone?"},
        {"{\"zone_id\": \"one\"}", "z: zone_id is \"one\": write a whole number"},
        {"{\"zone_id\": 1, \"memory_regions\": 7}", "z: memory_regions is 7: write a list"},
        {"{\"zone_id\": 1, \"memory_regions\": [7]}", "z: memory_regions[0] is 7: write an object"},
        {"{\"zone_id\": 1, \"memory_regions\": [{}]}", "z: memory_regions[0].type is missing"},
        {ZONE(IRQS, REGION("ram", "x", "0", "0")), "memory_regions[0].physical_start is \"x\""},
        {ZONE(IRQS, REGION("ram", "0", "0", "0")), "z: memory_regions[0].size is 0x0"},
        {ZONE(IRQS, REGION("ram", "0xfffffffffffff000", "0", "0x2000")),
         "z: memory_regions[0].size is 0x2000"},
        {ZONE("\"interrupts\": 5", LOW), "z: interrupts is 5: write a list"},
        {ZONE("\"interrupts\": [1, -5]", LOW), "z: interrupts[1] is -5: write a whole number"},
    };
    struct hvisor_json virtio = {0};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct crosscheck check;
        struct error error = {0};
        int rc = crosscheck(&check, &virtio, bad[i].text, strlen(bad[i].text), "z", &error);
        cr_assert(rc < 0 && rc == -error.err, "accepted: %s", bad[i].text);
        cr_assert(strstr(error.text, bad[i].says), "\"%s\" is not in \"%s\"", bad[i].says,
                  error.text);
        cr_assert(check.n_lines == 0 && !check.lines);
    }
    leak_check();
}

Test(crosscheck, files)
{
    static const char *const names[] = {"qemu-aarch64", "qemu-riscv64", "qemu-x86_64"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[1024], *text;
        struct hvisor_json virtio;
        struct crosscheck check;
        struct error error = {0};
        snprintf(path, sizeof(path), DATA "%s.json", names[i]);
        cr_assert_eq(hvisor_json_read(&virtio, path, NULL, &error), 0, "%s", error.text);
        snprintf(path, sizeof(path), DATA "%s-zone1.json", names[i]);
        cr_assert_eq(text_file_read(&text, path, &error), 0, "%s", error.text);
        cr_assert_eq(crosscheck(&check, &virtio, text, strlen(text), path, &error), 0);
        cr_assert_eq(check.n_lines, 0, "%s: %s", path, check.n_lines ? check.lines[0].text : "");
        cr_assert_eq(check.n_devices, virtio.n_specs);
        crosscheck_clear(&check);
        hvisor_json_clear(&virtio);
        free(text);
    }
    leak_check();
}
