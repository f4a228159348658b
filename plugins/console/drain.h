/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * drain.h - a thread between a pipe and a file: writes of files may wait for a disk, and the worker
 * must not. The worker sees a pipe that takes output or does not, as of any other reader.
 */
#ifndef CONSOLE_DRAIN_H
#define CONSOLE_DRAIN_H

#include "port.h"

#include <pthread.h>

struct drain {
    const struct port *port;
    pthread_t thread;
    int from, to;
};

/*
 * Starts it and adds a peer for the pipe, which reads input from `in_fd` if that is not -1. Takes
 * both descriptors, whatever it returns. 0, or a negative errno after hvv_error().
 */
int32_t drain_start(struct drain *drain, struct port *port, int in_fd, int to);

/* Writes all that is left in the ring, waits for it, and frees the port's peers. */
void drain_stop(struct drain *drain, struct port *port);

#endif
