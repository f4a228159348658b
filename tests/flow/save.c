/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * save.c - flow test: what a daemon has is saved, and a daemon started with that file has the same:
 * zones, slots, devices with options that need care, sockets and slots where they were.
 */
#include "disk.h"
#include "report.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGE_BYTES (4 << 20)
#define ODD "a,b\"c d.img"

static bool fill(struct daemon *d)
{
    /* With a zone there, it would go there. */
    if (!daemon_add(d, "blk:backend=mem,size=2M,id=plain", NULL))
        return false;
    json_t *zone = daemon_call(d, "zone.add", "{s:i, s:s, s:[{s:i,s:i,s:i},{s:i,s:i,s:i}]}", "id",
                               3, "platform", "trap", "slots", "addr", 0xa000000, "len", 0x200,
                               "irq", 70, "addr", 0xa000200, "len", 0x200, "irq", 71);
    bool good = zone || row_fail("zone.add: %s", error_text(d));
    json_decref(zone);
    return good && daemon_image(d, ODD, IMAGE_BYTES) && daemon_image(d, "b.img", IMAGE_BYTES) &&
           daemon_add(d, "blk:a,,b\"c d.img,id=odd,serial=x y,socket=../s/odd.so", NULL) &&
           daemon_add(d, "blk:b.img,zone=3,irq=71,queues=2,id=slot", NULL);
}

/* device.list and zone.list as one text. */
static char *state_of(struct daemon *d)
{
    json_t *devices = daemon_call(d, "device.list", NULL), *zones = daemon_call(d, "zone.list", NULL);
    json_t *both = json_pack("[o,o]", devices, zones);
    char *text = both ? json_dumps(both, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    json_decref(both);
    return text;
}

static bool save(struct daemon *d, const char *name)
{
    struct output o;
    return ctl(&o, d, "save", in_dir(d, "%s", name).s, NULL) &&
           (o.code == 0 || row_fail("save: %s", o.err));
}

static bool same_files(const struct daemon *d)
{
    const struct text one = in_dir(d, "saved.conf"), two = in_dir(d, "again.conf");
    const char *const argv[] = {"/usr/bin/cmp", one.s, two.s, NULL};
    struct output o;
    return run(&o, d->dir, argv, DAEMON_TIMEOUT_MS, false) &&
           (o.code == 0 || row_fail("saved again, it is another file: %s", o.out));
}

static void start_again(struct daemon *d)
{
    static struct blkdev disk;
    static const char *const args[] = {"--config", "saved.conf", NULL};
    static const char *const trap[] = {"--trap", "trap.sock", NULL};
    static const struct daemon_options first = {.args = trap}, next = {.args = args};
    d->options = &first;
    MUST(daemon_start(d) && fill(d));
    char *before = state_of(d);
    MUST(save(d, "saved.conf") && daemon_stop(d));
    d->options = &next;
    MUST(daemon_start(d));
    char *after = state_of(d);
    if (before && after && strcmp(before, after) != 0)
        row_note("before: %s\nafter: %s", before, after);
    CHECK(before && after && strcmp(before, after) == 0, "another state than was saved");
    free(before);
    free(after);
    MUST(save(d, "again.conf") && same_files(d));
    MUST(disk_open(&disk, d, "plain", NULL) && disk_works(&disk, 1));
    blkdev_close(&disk);
    MUST(daemon_stop(d) && daemon_left_nothing(d));
}

/* What was there stays, whole. */
static void unwritable(struct daemon *d)
{
    struct output o;
    struct stat st;
    MUST(mkdir(in_dir(d, "full").s, 0755) == 0 && fill(d));
    MUST(ctl(&o, d, "save", in_dir(d, "absent/f").s, NULL));
    CHECK(o.code == 1 && has_text(o.err, "absent/f") && has_text(o.err, "No such file"),
          "into no directory: %d, %s", o.code, o.err);
    MUST(ctl(&o, d, "save", in_dir(d, "full").s, NULL));
    CHECK(o.code == 1 && has_text(o.err, "Is a directory"), "a directory: %d, %s", o.code, o.err);
    CHECK(stat(in_dir(d, "full.new").s, &st) < 0, "a half-written file is left");
}

int main(int argc, char **argv)
{
    static const char *const trap[] = {"--trap", "trap.sock", NULL};
    static const struct daemon_options stopped = {.args = trap, .no_start = true},
                                       running = {.args = trap};
    static const struct row rows[] = {
        {"start_again", start_again, &stopped, NULL},
        {"unwritable", unwritable, &running, NULL},
    };
    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
