/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * inproc.h - the daemon's parts in this process, without main(): the calling thread becomes the
 * control thread, which runs when inproc_run() is called.
 */
#ifndef TESTS_RACE_INPROC_H
#define TESTS_RACE_INPROC_H

#include "control/server.h"
#include "daemon.h"
#include "device/builder.h"
#include "zone/zone.h"

#include <stdio.h>
#include <stdlib.h>

#define INPROC_SECONDS 180u /* for anything that has to happen */

/* A broken promise ends the program: what goes on after it means nothing. */
#define must(CONDITION, ...)                                                                       \
    do {                                                                                           \
        if (!(CONDITION)) {                                                                        \
            printf("not ok %s: %s:%d: %s: ", inproc_test, __FILE__, __LINE__, #CONDITION);         \
            printf(__VA_ARGS__);                                                                   \
            putchar('\n');                                                                         \
            fflush(stdout);                                                                        \
            _Exit(1);                                                                              \
        }                                                                                          \
    } while (0)

struct inproc {
    struct conf conf;
    struct daemon daemon;
    struct zones zones;
    char dir[64]; /* of the sockets */
};

extern const char *inproc_test; /* the test that runs */

/* A test begins: it has INPROC_SECONDS beyond its time, then the process ends, hanging or not. */
void inproc_test_begin(const char *name);

/* `plugins` is a directory for the registry, or NULL: then there is none, and no builder. */
void inproc_start(struct inproc *in, unsigned workers, const char *plugins);
void inproc_stop(struct inproc *in); /* no device is left */

/* Runs the control thread until *done, or ends the program after INPROC_SECONDS. */
void inproc_run(struct inproc *in, const bool *done);
/* Runs what is ready, and what becomes ready within `ns`. */
void inproc_run_for(struct inproc *in, uint64_t ns);

/* How long each test runs, in nanoseconds: RACE_SECONDS in the environment, or 2. */
uint64_t inproc_time(void);

/*
 * True until that time is over since inproc_test_begin(), and on until `enough`: a loaded machine
 * may take longer to do anything worth a test.
 */
bool inproc_go_on(bool enough);

/* Not for anything that matters: a test must not depend on what comes. */
uint32_t inproc_random(uint32_t below);

/* Ids and files; `path` has room for 108 bytes. */
void inproc_socket(const struct inproc *in, const char *id, char *path);

#endif
