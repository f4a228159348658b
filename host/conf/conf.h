/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conf.h - the daemon's settings: defaults, then a configuration file, then the command line.
 *
 * Filled in by main before there are threads (getopt has global state), constant afterwards.
 */
#ifndef HOST_CONF_CONF_H
#define HOST_CONF_CONF_H

#include "conf/spec.h"
#include "util/error.h"
#include "zone/plan.h"

#include <stdint.h>
#include <sys/types.h>

#define CONF_WORKERS_MAX 64u
#define HVISOR_DEVICE "/dev/hvisor"

/* Owns its strings and specs. Paths are absolute. */
struct conf {
    char **plugin_dirs;
    size_t n_plugin_dirs;
    char *control;          /* path of the control socket */
    char *trap;             /* path of the trap socket; NULL: there is none */
    char *socket_dir;       /* where vhost-user sockets go */
    mode_t socket_mode;
    unsigned workers;       /* 0: one for each device */
    unsigned poll_us;       /* how long a busy worker looks at rings before it sleeps */
    unsigned stuck_seconds; /* how long a stop may take before device.stuck says so */
    uint32_t log_level;     /* enum hvv_log_level */
    bool syslog;
    struct spec *devices;   /* to add at start */
    size_t n_devices;
    char *devices_dir;      /* what relative paths in them are relative to; NULL: unknown */
    struct zone_plans zones; /* to declare at start */
    char **virtio_json;     /* hvisor-tool's files: what they say is in zones and devices already */
    size_t n_virtio_json;
    char *hvisor;           /* path of hvisor's device file, or NULL */
    bool hvisor_poll;       /* hvisor does not wake us up: never sleep */
};

/*
 * Fills in `conf`, whose old contents are not looked at; reorders argv; warnings go to the log. 0:
 * go on; > 0: nothing is left to do, exit 0 (help or version was printed, or --check found nothing
 * wrong); -errno with error set. If it is not 0, `conf` is empty.
 */
int conf_parse(struct conf *conf, int argc, char **argv, struct error *error);

void conf_clear(struct conf *conf);

#endif
