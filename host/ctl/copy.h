/* SPDX-License-Identifier: BSD-3-Clause */
/* copy.h - stdin and stdout, connected to a descriptor the daemon handed over. One thread. */
#ifndef HOST_CTL_COPY_H
#define HOST_CTL_COPY_H

/*
 * Copies from `fd` to stdout and, unless it is a regular file, from stdin to `fd`, until `fd` or
 * stdout ends. The end of stdin is passed on where that is possible (sockets). Closes fd. An enum
 * ctl_code.
 */
int copy_both_ways(int fd);

#endif
