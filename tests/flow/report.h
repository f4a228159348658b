/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report.h - the rows of a flow test: each gets a daemon of its own, and says ok, not ok or skip.
 *
 * A row returns as soon as something is wrong. Afterwards the runner ends the daemon with SIGTERM,
 * which is part of every row: it has to end with 0 and leave no socket behind. The first reason
 * given wins, and may come from any thread.
 */
#ifndef FLOW_REPORT_H
#define FLOW_REPORT_H

#include "daemon.h"

#include <stdbool.h>
#include <stddef.h>

struct row {
    const char *name;
    void (*run)(struct daemon *d);
    const struct daemon_options *options; /* NULL: a daemon with the blk plugin */
    const void *arg;                      /* becomes d->arg, for rows that share a function */
};

/* What the command line asked for: [--all] [--seconds N] [NAME...], names of rows. */
struct request_flags {
    bool all;
    unsigned seconds; /* 0: not given */
};

extern struct request_flags flags;

/* Both return false, for `return row_fail(...)` in helpers. */
__attribute__((format(printf, 1, 2))) bool row_fail(const char *format, ...);
__attribute__((format(printf, 1, 2))) bool row_skip(const char *format, ...);
bool row_failed(void);
/* If the row has failed: gives the reason and forgets it, for a row that goes on and counts. */
bool row_forgive(char *reason, size_t size);

/* What to do after the row, however it returned; one at most. */
void row_at_end(void (*end)(void *arg), void *arg);

/* Goes on a line of its own, for the reader. */
__attribute__((format(printf, 1, 2))) void row_note(const char *format, ...);

/* Leaves the row. MUST: the reason was given by a helper. */
#define CHECK(CONDITION, ...)                                                                      \
    do {                                                                                           \
        if (!(CONDITION)) {                                                                        \
            row_fail(__VA_ARGS__);                                                                 \
            return;                                                                                \
        }                                                                                          \
    } while (0)
#define MUST(CONDITION)                                                                            \
    do {                                                                                           \
        if (!(CONDITION))                                                                          \
            return;                                                                                \
    } while (0)

/* Runs the rows, ends with the line of counts. The program's exit code: 0, 1 or 77. */
int report_run(int argc, char **argv, const struct row *rows, size_t n);

#endif
