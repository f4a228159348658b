/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client.h - the connection of hvisor-vhost-ctl to the daemon: calls and events. Blocks without a
 * deadline: a request takes as long as it takes, and Ctrl-C ends the program, not the request.
 *
 * Functions return an enum ctl_code and have complained if it is not CTL_OK.
 */
#ifndef HOST_CTL_CLIENT_H
#define HOST_CTL_CLIENT_H

#include "ctl/ctl.h"

#include <jansson.h>
#include <stdbool.h>

struct client {
    int fd;
    const char *path;
    char *in;
    size_t in_len, in_size;
    int received; /* a descriptor that came along, or -1 */
    int calls;
};

/* Connects, waiting up to `wait_seconds` for a daemon. `path` has to outlive the client. */
int client_open(struct client *c, const char *path, unsigned wait_seconds);
void client_close(struct client *c);

/*
 * Calls a method; `params` is stolen, NULL: there was no memory for it. *result is the caller's. A
 * descriptor that came with it is stored in *fd, else -1; fd may be NULL.
 */
int client_call(struct client *c, const char *method, json_t *params, json_t **result, int *fd);

/*
 * Calls a method and does not wait: the answer is left unread. client_discard() throws away what
 * has come, without waiting; false once the daemon has hung up.
 */
int client_tell(struct client *c, const char *method, json_t *params);
bool client_discard(struct client *c);

/* Waits for the next event, after events.subscribe; *event is its params and the caller's. */
int client_event(struct client *c, json_t **event);

#endif
