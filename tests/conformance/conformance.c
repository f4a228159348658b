/* SPDX-License-Identifier: BSD-3-Clause */
/* conformance.c - runs the tables of conformance.h over a target. One thread. */
#include "conformance.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum verdict { OK, NOT_OK, SKIP };

static const struct {
    const char *title;
    const struct conformance_row *rows;
} tables[] = {
    {"MUSTs of the device", device_musts},
    {"further rules for the device", device_rules},
    {"drivers that break a MUST", driver_musts},
    {"while an operation is in progress", meanwhile},
};
#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

/* A block device with one queue left out; the tests only look at its registers. */
static const struct conformance_device usual = {
    .device_id = 2,
    .vendor_id = 0x4b43554d,
    /* RO, BLK_SIZE, INDIRECT_DESC, EVENT_IDX, VERSION_1, RING_RESET */
    .features = 1ull << 5 | 1ull << 6 | 1ull << 28 | 1ull << 29 | 1ull << 32 | 1ull << 40,
    .queue_size = {256, 8, 0, 1024},
    .config = {1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 34, 37, 40, 43, 46, 49, 52, 55, 58, 61,
               64, 67, 70, 73, 76, 79, 82, 85, 88, 91, 94, 97, 100, 103, 106, 109, 112, 115, 118,
               121, 124, 127, 130, 133, 136, 139, 142, 145, 148, 151, 154, 157, 160, 163, 166, 169,
               172, 175, 178},
};

void expect(struct conformance *c, bool is_so, const char *fmt, ...)
{
    if (is_so || c->why[0])
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(c->why, sizeof(c->why), fmt, args);
    va_end(args);
}

static void unmake(struct conformance *c)
{
    if (c->slot)
        c->target->destroy(c->slot);
    c->slot = NULL;
}

void conformance_make(struct conformance *c, const struct conformance_device *device)
{
    unmake(c);
    c->device = device ? *device : (struct conformance_device){0};
    c->slot = c->target->make(device);
}

static enum verdict run(const struct conformance_target *target, const struct conformance_row *row,
                        const char **why)
{
    static struct conformance c;
    *why = row->reason;
    if (!row->run)
        return SKIP;
    *why = "the target cannot hold back what its device finishes";
    if (row->holds && !target->hold)
        return SKIP;
    c = (struct conformance){.target = target};
    conformance_make(&c, &usual);
    expect(&c, c.slot, "no device could be made");
    if (c.slot)
        row->run(&c);
    unmake(&c);
    *why = c.why;
    return c.why[0] ? NOT_OK : OK;
}

static void list(void)
{
    for (size_t t = 0; t < N_TABLES; t++) {
        printf("%s\n", tables[t].title);
        for (const struct conformance_row *row = tables[t].rows; row->name; row++) {
            printf("  %s: %s\n", row->name, row->says);
            if (!row->run)
                printf("    (skipped: %s)\n", row->reason);
        }
    }
}

static bool is_wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(name, argv[i], strlen(argv[i])) == 0)
            return true;
    }
    return argc < 2;
}

int conformance_main(const struct conformance_target *target, int argc, char **argv)
{
    static const char *const word[] = {"ok", "not ok", "skip"};
    unsigned count[N_TABLES][3] = {{0}};
    unsigned failed = 0, all = 0;
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list();
        return 0;
    }
    for (size_t t = 0; t < N_TABLES; t++) {
        for (const struct conformance_row *row = tables[t].rows; row->name; row++) {
            const char *why;
            if (!is_wanted(row->name, argc, argv))
                continue;
            enum verdict v = run(target, row, &why);
            printf("%s %s%s%s\n", word[v], row->name, v == OK ? "" : ": ", v == OK ? "" : why);
            fflush(stdout);
            count[t][v]++;
            all++;
        }
        failed += count[t][NOT_OK];
    }
    for (size_t t = 0; t < N_TABLES; t++)
        printf("# %s, %s: %u, of them %u shown, %u broken, %u not to be seen here\n", target->name,
               tables[t].title, count[t][OK] + count[t][NOT_OK] + count[t][SKIP], count[t][OK],
               count[t][NOT_OK], count[t][SKIP]);
    if (all == 0)
        printf("not ok conformance: no test has such a name\n");
    return failed || all == 0;
}
