/* SPDX-License-Identifier: BSD-3-Clause */
/* client.h - one visit of a front-end to a racer device. Any thread. */
#ifndef TESTS_RACE_CLIENT_H
#define TESTS_RACE_CLIENT_H

#include <stdbool.h>

struct client_visit {
    const char *path;
    unsigned requests; /* on each queue */
    int timeout_ms;    /* for each answer */
    bool in_order;
    bool rude;         /* goes away in the middle */
    /* After the device's first answer, which only a published device gives; may be NULL. */
    void (*answered)(void *arg);
    void *arg;
};

/*
 * Connects, negotiates, starts both queues, sends requests, writes the config space, stops. 0, or
 * -errno where the device or its socket went away meanwhile. A wrong answer ends the program.
 */
int client_visit(const struct client_visit *visit);

#endif
