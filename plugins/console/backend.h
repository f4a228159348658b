/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backend.h - where a port leads to: the interface between console.c and pty.c, socket.c, file.c,
 * stdio.c. A back-end adds peers to its port: one when it is opened, or, of a socket, as clients
 * come.
 */
#ifndef CONSOLE_BACKEND_H
#define CONSOLE_BACKEND_H

#include "port.h"

struct backend_ops {
    const char *name;
    bool makes_path;   /* a path it makes a name of its own for if none is given */
    bool needs_path;
    bool refuses_path;

    /*
     * Acquires everything; port->path is absolute, or NULL. Returns 0, or a negative errno after
     * hvv_error() with nothing left acquired but peers. Thread: builder.
     */
    int32_t (*open)(struct port *port);

    /*
     * Releases everything; the peers are there still, and freed afterwards. Thread: builder, may
     * block.
     */
    void (*close)(struct port *port);

    /* The device is visible now. Optional. Thread: worker. */
    void (*publish)(struct port *port);

    /* The size of the terminal changed. Optional. Thread: worker. */
    void (*resized)(struct port *port);
};

extern const struct backend_ops backend_pty;
extern const struct backend_ops backend_socket;
extern const struct backend_ops backend_file;
extern const struct backend_ops backend_stdio;

/* Adds a line to `show`; the name of a port that is not the first stands before `key`. */
void backend_describe(const struct port *port, const char *key, const char *value);

#endif
