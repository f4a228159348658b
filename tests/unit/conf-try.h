/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conf-try.h - for the tests of host/conf: command lines and files that are to be accepted or
 * refused. Each says itself if it is otherwise.
 */
#ifndef UNIT_CONF_TRY_H
#define UNIT_CONF_TRY_H

#include "conf/conf.h"

#include <stddef.h>

/* A directory of its own, as the current one, with a directory sub in it. */
struct dir {
    char path[64];
};

void dir_make(struct dir *dir);
void dir_remove(const struct dir *dir);

/* Words separated by a space. What conf_parse() returns. */
int parse(struct conf *conf, const char *line, struct error *error);
void good(struct conf *conf, const char *line);
/* Refused, with a sentence that has `says`. */
void bad(const char *line, const char *says);

/* sub/f */
void write_bytes(const void *bytes, size_t len);
void write_text(const char *text);
/* The same with this text in sub/f. */
void good_file(struct conf *conf, const char *text);
void bad_file(const char *text, const char *says);

void expect_empty(const struct conf *conf);
void expect_path(const struct dir *dir, const char *path, const char *under);
void expect_spec(const struct spec *spec, const char *wanted);

/* A file that has every setting, and what makes one hard to read. */
static const char whole_file[] =
    "# a comment with \"quotes and /* no end, and 99999999999\n"
    "plugin_dirs = [ \"plug\", \"/abs\" ];   // 99999999999 { [ (\n"
    "control = \"c.sock\";\n"
    "socket_dir = \"s\"\n"
    "socket_mode = \"0640\";\n"
    "/* workers = 99999999999;\n   \" */\n"
    "workers = 4;\n"
    "poll_us = \"100\";\n"
    "stuck_seconds = 0x10;\n"
    "log_level = \"warning\";\n"
    "syslog = true;\n"
    "trap = \"t.sock\"; hvisor = \"/dev/h\";\n"
    "zones = ( { id = 1; platform = \"trap\"; slots = ( { addr = \"0xa003c00\"; len = 0x200;\n"
    "    irq = 78; } ); memory = ( { host = 0; guest = 0x40000000; size = \"0x100000000\"; } ); }\n"
    ");\n"
    "devices = (\n"
    "    \"blk:img.raw,ro\",\n"
    "    { plugin = \"blk\"; path = \"/x,y # 99999999999 \\\" \\\\\"; queues = 2; ro = true;\n"
    "      direct = false; size = \"10G\"; queue_size = 64; queue-max = 7L; },\n"
    "    { tag = [ \"a\", \"b\" ]; plugin = \"net\"; lun = ( 1, \"2\", true ); }\n"
    ");\n"
    "# the last line has no end";

#endif
