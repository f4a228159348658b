/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faults.h - the memory that the shim (faults.c, inside the daemon) and the sweep share: a file
 * named by $HVV_FAULTS.
 *
 * The test sets fail_at, clears calls and counts, then arms. While armed each call of a function in
 * the shim's table takes a number, from 1 on, and the one with the number fail_at fails.
 */
#ifndef FLOW_FAULTS_H
#define FLOW_FAULTS_H

#include <stdatomic.h>
#include <stdint.h>

#define FAULTS_FUNCTIONS_MAX 128u
#define FAULTS_CALLS_MAX 16384u
#define FAULTS_ENV "HVV_FAULTS"

struct faults {
    _Atomic uint32_t armed;
    _Atomic uint32_t calls;   /* while armed */
    _Atomic uint32_t fail_at; /* 0: none */
    _Atomic uint32_t failed;  /* 1 + index of the function that failed; 0: none yet */
    uint32_t functions;       /* in the table; set when the shim is loaded */
    char name[FAULTS_FUNCTIONS_MAX][32];
    _Atomic uint32_t count[FAULTS_FUNCTIONS_MAX];
    uint8_t which[FAULTS_CALLS_MAX]; /* the function of each call, index in the table */
    char where[512];          /* return addresses above the failed call, as text */
};

#endif
