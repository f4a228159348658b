/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trap-echo.h - the least that any daemon has to do for a stopped vCPU: a process that answers a
 * word in shared memory with another. The floor beside which register accesses are measured.
 */
#ifndef BENCH_TRAP_ECHO_H
#define BENCH_TRAP_ECHO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct echo_page;

struct echo {
    struct echo_page *page;
    int doorbell; /* -1: it looks at the word in a loop instead of sleeping */
    pid_t pid;
};

/* 0 or -errno. A hot one runs on CPU 0 only. */
int echo_open(struct echo *e, bool hot);
void echo_close(struct echo *e);
/* Round trip; one thread at a time. The caller spins. False: no answer. */
bool echo_once(struct echo *e);

#endif
