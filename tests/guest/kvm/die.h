/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * die.h - the end of a monitor that cannot go on. The zone ends with it: the daemon sees the end of
 * the connection.
 */
#ifndef DIE_H
#define DIE_H

#include <stdio.h>
#include <stdlib.h>

#define die(...) (fprintf(stderr, "monitor: " __VA_ARGS__), fputc('\n', stderr), exit(1))

#endif
