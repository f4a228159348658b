/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * console.c - flow test: the console plugin in a whole daemon, with a guest that is fast, slow, not
 * there or resetting, and people at ptys, sockets and terminals. The rows are in console-*.c.
 */
#include "console.h"

#define ROW(NAME) {#NAME, console_##NAME, &with_console, NULL}
#define ROW_STOPPED(NAME) {#NAME, console_##NAME, &not_started, NULL}

int main(int argc, char **argv)
{
    static const char *const plugins[] = {"console.so", NULL};
    static const struct daemon_options with_console = {.plugins = plugins},
                                       not_started = {.plugins = plugins, .no_start = true};
    static const struct row rows[] = {
        ROW(pty), ROW(default_link), ROW(input_waits), ROW(input_survives_guests),
        ROW(output_without_reader), ROW(slow_reader), ROW(socket_both_ways), ROW(lossless_waits),
        ROW(client_leaves_early), ROW(client_waits_for_turn), ROW(multiport), ROW(emergency),
        ROW(resize), ROW(terminals), ROW(escape_key), ROW(too_many), ROW(events), ROW(file),
        ROW(file_full), ROW(standard_output), ROW_STOPPED(standard_terminal), ROW(refusals),
        ROW(in_use), ROW(console_and_wrong_blk), ROW(left_behind), ROW(bad_driver),
    };
    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
