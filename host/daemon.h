/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon.h - what there is one of: the threads' loops, the device list, the plugin registry.
 *
 * Belongs to the control thread, but for the registry, which is the builder's, and what is constant
 * once the daemon runs. Any thread may post to the loops.
 */
#ifndef HOST_DAEMON_H
#define HOST_DAEMON_H

#include "conf/conf.h"
#include "device/device.h"
#include "loop/loop.h"
#include "worker/worker.h"

#include <sys/queue.h>

struct builder;
struct overdue;
struct registry;
struct request;
struct server;
struct trap;
struct zones;

TAILQ_HEAD(device_list, device);

struct daemon {
    const struct conf *conf;
    struct loop *loop;         /* of the control thread */
    struct builder *builder;
    struct registry *registry; /* builder */
    struct server *server;
    struct worker **workers;   /* a pool, or none if each device gets its own */
    unsigned n_workers;
    unsigned next_worker;      /* builder: the pool is handed out in turn */
    struct device_list devices; /* published and quiescing ones */
    struct zones *zones;
    struct trap *trap;         /* or NULL: no trap socket */
    struct overdue *overdue;   /* or NULL: nobody looks for callbacks that do not return */
    struct names *names;       /* ids in use, also by requests under way */
    LIST_HEAD(, request) removing; /* removals under way */
    unsigned requests;         /* under way on the builder: adds, removals, looks at plugins */
    bool stopping;             /* nothing more is added */
    void (*quiet)(struct daemon *daemon); /* stopping, and the last request ended; main.c */
    /* A removal has to wait for the builder, see request_remove(); methods.c. Or NULL. */
    void (*late)(struct request *request, const char *why);
};

/*
 * Sends an event to whoever follows events: its name, the device (or NULL), and one more key with
 * its text (or NULL). Control.
 */
void daemon_event(struct daemon *daemon, const char *event, const char *device, const char *key,
                  const char *value);

/* The same for a plugin's event, whose text is words KEY=VALUE. Control. */
void daemon_plugin_event(const struct device *dev, const char *event, const char *text);

#endif
