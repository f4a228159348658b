/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * terminal.h - the terminal this program runs in, connected to a descriptor the daemon handed over:
 * raw mode, a key that leaves, and the size of the window. One thread.
 */
#ifndef HOST_CTL_TERMINAL_H
#define HOST_CTL_TERMINAL_H

#include "ctl/client.h"

#define TERMINAL_ESCAPE 0x1d /* Ctrl-], the usual key to leave */

struct terminal {
    int fd;                /* taken */
    struct client *client; /* for `window` */
    const char *device;
    int escape;            /* the key that leaves, a control character; or -1: none does */
    const char *window;    /* command that takes columns and rows, or NULL */
    json_t *params;        /* its other parameters */
};

/*
 * Copies keys to the descriptor and what it says to stdout, until it ends or the escape key is
 * pressed; the terminal is then as it was before. An enum ctl_code.
 */
int terminal_run(const struct terminal *terminal);

#endif
