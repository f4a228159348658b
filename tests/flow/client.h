/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client.h - a control client that keeps deadlines. One thread uses a client.
 *
 * Events that come in between are kept for client_event(). What is received is checked to be
 * JSON-RPC 2.0, one text per line.
 */
#ifndef FLOW_CLIENT_H
#define FLOW_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define CLIENT_TIMEOUT_MS 20000

struct client {
    int fd; /* -1: not connected */
    char *in;
    size_t len, size;
    int calls;
    json_t *events; /* received and not asked for yet */
};

/* 0 or -errno. */
int client_open(struct client *c, const char *path);
void client_close(struct client *c);

/* Any bytes; false if the daemon has hung up. */
bool client_write(struct client *c, const void *bytes, size_t len);
/* The next line; NULL: none until the deadline, or hung up (*hung_up tells, may be NULL). */
json_t *client_read(struct client *c, int timeout_ms, bool *hung_up);

/* Sends a request and does not wait; `params` is stolen. The id to wait for, or -1. */
int client_send(struct client *c, const char *method, json_t *params);
/* The whole answer to request `id`, or one to a line that was not understood; NULL: as above. */
json_t *client_wait(struct client *c, int id, int timeout_ms);

/* The params of the next event, or NULL. */
json_t *client_event(struct client *c, int timeout_ms);

#endif
