/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crash.h - the last words of a process that a fault ends: who did it.
 *
 * For SIGSEGV, SIGILL, SIGFPE, SIGTRAP and SIGABRT one line goes to stderr (and to syslog, if that
 * is used), with the callback the thread was in. Then the signal does what it did before, so that
 * there are a core dump and an exit status, or a sanitizer's report. memory/sigbus.h, which has
 * SIGBUS, asks for the same line.
 */
#ifndef HOST_UTIL_CRASH_H
#define HOST_UTIL_CRASH_H

#include <signal.h>
#include <stdbool.h>

/* Installs the handlers; once, before threads start. `to_syslog`: to both. 0 or -errno. */
int crash_install(bool to_syslog);

/* Writes the line. In a signal handler, or elsewhere. */
void crash_tell(int signum, const siginfo_t *info);

/* The signal has its old action back: lets it come again, if returning is not enough for that. */
void crash_again(int signum, const siginfo_t *info);

#endif
