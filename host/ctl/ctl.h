/* SPDX-License-Identifier: BSD-3-Clause */
/* ctl.h - what all files of hvisor-vhost-ctl share: exit codes and how it complains. One thread. */
#ifndef HOST_CTL_CTL_H
#define HOST_CTL_CTL_H

enum ctl_code {
    CTL_OK = 0,
    CTL_REFUSED = 1,   /* the daemon says why; or the output cannot be written */
    CTL_USAGE = 2,
    CTL_NO_DAEMON = 3,
    CTL_BROKEN = 4,    /* the connection ended before the answer */
};

/* Writes "hvisor-vhost-ctl: ..." to stderr, as one line whatever it holds. Returns `code`. */
int complain(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
