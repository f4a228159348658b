/* SPDX-License-Identifier: BSD-3-Clause */
/* trap.c - see trap.h. Control thread. */
#include "transport/trap/trap.h"

#include "transport/trap/monitor.h"
#include "util/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 8

static void on_connect(void *arg, uint32_t events)
{
    struct trap *trap = arg;
    (void)events;
    int fd = accept4(trap->claim.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return; /* it went away again, or there are no descriptors: the next turn tries again */
    if (monitor_new(trap, fd) < 0)
        return;
    if (++trap->n_monitors == TRAP_MONITORS_MAX)
        watch_set(trap->accept, 0); /* others wait until one of these has gone */
}

void trap_monitor_gone(struct trap *trap)
{
    trap->n_monitors--;
    if (!trap->closed)
        watch_set(trap->accept, HVV_WATCH_READ);
    else if (trap->n_monitors == 0)
        trap->closed(trap->daemon);
}

void trap_close(struct trap *trap, void (*done)(struct daemon *daemon))
{
    struct monitor *m, *next;
    trap->closed = done;
    watch_set(trap->accept, 0);
    if (trap->n_monitors == 0)
        done(trap->daemon);
    for (m = TAILQ_FIRST(&trap->monitors); m; m = next) {
        next = monitor_next(m);
        monitor_close(m, "the daemon is shutting down");
    }
}

struct trap *trap_new(struct daemon *daemon, const char *path, struct error *error)
{
    struct trap *trap = calloc(1, sizeof(*trap));
    if (!trap) {
        error_set(error, ENOMEM, "out of memory for the trap socket");
        return NULL;
    }
    trap->daemon = daemon;
    TAILQ_INIT(&trap->monitors);
    if (claim_socket(&trap->claim, path, SOCK_SEQPACKET, daemon->conf->socket_mode, error) < 0)
        goto free_trap;
    if (listen(trap->claim.fd, BACKLOG) < 0) {
        error_set(error, errno, "cannot listen on %s: %s", path, strerror(errno));
        goto release;
    }
    trap->accept = watch_new(daemon->loop, trap->claim.fd, on_connect, trap);
    if (!trap->accept) {
        error_set(error, ENOMEM, "out of memory for the trap socket");
        goto release;
    }
    watch_set(trap->accept, HVV_WATCH_READ);
    return trap;
release:
    claim_release(&trap->claim);
free_trap:
    free(trap);
    return NULL;
}

void trap_free(struct trap *trap)
{
    if (!trap)
        return;
    watch_free(trap->accept);
    claim_release(&trap->claim);
    free(trap);
}
