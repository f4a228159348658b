/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - hvisor-vhost(8): starts the parts in order, runs the control loop, ends them in reverse.
 *
 * The only file that may exit. The main thread becomes the control thread.
 */
#include "control/methods.h"
#include "daemon.h"
#include "device/builder.h"
#include "device/create.h"
#include "device/names.h"
#include "device/request.h"
#include "memory/sigbus.h"
#include "plugin/overdue.h"
#include "plugin/registry.h"
#include "plugin/services.h"
#include "transport/hvisor/hvisor.h"
#include "transport/trap/trap.h"
#include "util/container.h"
#include "util/crash.h"
#include "util/patience.h"
#include "util/ready.h"
#include "zone/zone.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define ENDINGS_MAX 12u /* times stuck_seconds that a shutdown may take */

struct process {
    struct conf conf;
    struct daemon daemon;
    struct zones zones;
    struct signal_watch *term, *interrupt;
    struct timer *ending; /* runs while the daemon shuts down */
    unsigned endings;     /* how often it has fired */
    struct hvv_task first;
    struct error error; /* why the daemon did not start */
};

/* ---- shutting down --------------------------------------------------------------------------- */

static int refuse_while_bound(struct daemon *daemon, struct error *error)
{
    struct device *dev;
    TAILQ_FOREACH(dev, &daemon->devices, link)
        if (dev->transport->bound(dev))
            return error_set(error, EBUSY, "device %s is in use by a driver: stop the guest, or "
                             "force the shutdown", dev->id);
    return 0;
}

static void all_gone(struct daemon *daemon)
{
    loop_stop(daemon->loop);
}

static void zones_gone(struct daemon *daemon)
{
    if (daemon->zones->hvisor)
        hvisor_close(daemon->zones->hvisor, all_gone);
    else
        all_gone(daemon);
}

static void monitors_gone(struct daemon *daemon)
{
    zones_stop(daemon->zones, zones_gone);
}

static void devices_gone(struct daemon *daemon)
{
    if (daemon->trap)
        trap_close(daemon->trap, monitors_gone);
    else
        monitors_gone(daemon);
}

/*
 * Drains and removes what is published; when nothing is, lets the monitors go and stops. Called once
 * what was under way has ended; that was answered, and adds among it undone.
 */
static void remove_all(struct daemon *daemon)
{
    struct error error = {0};
    struct device *dev;
    const char *ids[REQUEST_DEVICES_MAX];
    size_t n = 0;
    TAILQ_FOREACH(dev, &daemon->devices, link)
        if (dev->state == DEVICE_PUBLISHED && n < REQUEST_DEVICES_MAX)
            ids[n++] = dev->id;
    if (n == 0)
        devices_gone(daemon);
    else if (request_remove(daemon, ids, n, true, request_free, NULL, &error) < 0)
        log_error("cannot shut down: %s", error.text);
}

/* What a shutdown waits for, or does no longer: who does not return, who does not finish. */
static void say_what_is_left(struct daemon *daemon, const char *how)
{
    const struct overdue_call *call = NULL;
    struct device *dev;
    char held[256];
    while ((call = overdue_next(daemon, call)))
        log_write(HVV_LOG_WARNING, call->device[0] ? call->device : NULL,
                  "%s: %s has not returned for %" PRIu64 " s on thread %s", how, call->text,
                  overdue_seconds(call), call->thread);
    TAILQ_FOREACH(dev, &daemon->devices, link) {
        device_held(dev, held, sizeof(held));
        if (held[0])
            log_write(HVV_LOG_WARNING, dev->id, "%s: plugin %s %s (%s) has not finished %s", how,
                      dev->plugin->info.name, dev->plugin->info.version, dev->plugin->path, held);
    }
}

__attribute__((noreturn)) static void end_at_once(struct daemon *daemon, const char *why)
{
    say_what_is_left(daemon, "left behind");
    log_error("%s: ending without draining", why);
    _exit(1);
}

static void still_ending(void *arg)
{
    struct process *p = arg;
    uint64_t period = p->conf.stuck_seconds * 1000000000ull;
    char text[64];
    if (++p->endings == ENDINGS_MAX) {
        snprintf(text, sizeof(text), "not ended within %u s", ENDINGS_MAX * p->conf.stuck_seconds);
        end_at_once(&p->daemon, text);
    }
    if (p->endings == 1) {
        say_what_is_left(&p->daemon, "waited for");
        log_warning("still shutting down; it ends at a second signal, or in %u s",
                    (ENDINGS_MAX - 1) * p->conf.stuck_seconds);
    }
    timer_set(p->ending, period);
}

static int shut_down(struct daemon *daemon, bool force, struct error *error)
{
    struct process *p = container_of(daemon, struct process, daemon);
    if (!force && refuse_while_bound(daemon, error) < 0)
        return -error->err;
    if (!daemon->stopping) {
        daemon->stopping = true;
        ready_notify("STOPPING=1");
        log_info("shutting down");
        timer_set(p->ending, p->conf.stuck_seconds * 1000000000ull);
        if (daemon->requests == 0)
            remove_all(daemon);
    }
    return 0;
}

static void on_signal(void *arg, int signum)
{
    struct daemon *daemon = arg;
    struct error error = {0};
    if (daemon->stopping) {
        char why[32];
        snprintf(why, sizeof(why), "second signal %d", signum);
        end_at_once(daemon, why);
    }
    shut_down(daemon, true, &error);
}

/* ---- starting -------------------------------------------------------------------------------- */

static void block_signals(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(how, &set, NULL);
}

static int start_threads(struct process *p)
{
    struct daemon *d = &p->daemon;
    d->builder = builder_new(&p->error);
    if (!d->builder)
        return -p->error.err;
    unsigned n = p->conf.workers;
    d->workers = calloc(n + 1, sizeof(d->workers[0]));
    if (!d->workers)
        return error_set(&p->error, ENOMEM, "out of memory");
    for (unsigned i = 0; i < n; i++) {
        d->workers[i] = worker_new(i, p->conf.poll_us * 1000ull, &p->error);
        if (!d->workers[i])
            return -p->error.err;
        d->n_workers++;
    }
    return 0;
}

static int start(struct process *p)
{
    struct daemon *d = &p->daemon;
    d->conf = &p->conf;
    TAILQ_INIT(&d->devices);
    d->zones = &p->zones;
    zones_init(d->zones, d);
    d->loop = loop_new();
    d->names = names_new();
    d->late = methods_removed_late;
    if (d->loop) {
        d->overdue = overdue_new(d);
        p->ending = timer_new(d->loop, still_ending, p);
    }
    if (!d->overdue || !p->ending || !d->names)
        return error_set(&p->error, ENOMEM, "out of memory");
    if (mkdir(p->conf.socket_dir, 0755) < 0 && errno != EEXIST)
        return error_set(&p->error, errno, "socket directory %s cannot be made: %s",
                         p->conf.socket_dir, strerror(errno));
    d->registry = registry_new((const char *const *)p->conf.plugin_dirs, p->conf.n_plugin_dirs,
                               &host_options, SERVICES_CAPS, &p->error);
    if (!d->registry || start_threads(p) < 0)
        return -p->error.err;
    json_set_alloc_funcs(patient_malloc, free); /* an answer with a part missing would be a lie */
    methods_set_shutdown(shut_down);
    d->quiet = remove_all;
    if (p->conf.hvisor && !(p->zones.hvisor = hvisor_new(d, p->conf.hvisor, &p->error)))
        return -p->error.err;
    if (p->conf.trap && !(d->trap = trap_new(d, p->conf.trap, &p->error)))
        return -p->error.err;
    d->server = server_new(d->loop, p->conf.control, 0600, methods_handle, d, &p->error);
    p->term = signal_watch_new(d->loop, SIGTERM, on_signal, d);
    p->interrupt = signal_watch_new(d->loop, SIGINT, on_signal, d);
    if (d->server && (!p->term || !p->interrupt))
        error_set(&p->error, ENOMEM, "out of memory");
    return -p->error.err;
}

static void is_ready(struct daemon *d)
{
    if (d->zones->hvisor)
        hvisor_serve(d->zones->hvisor);
    ready_notify("READY=1");
    log_info("ready");
}

static void first_devices_added(struct request *request)
{
    struct process *p = request->arg;
    p->error = request->error;
    if (p->error.err)
        shut_down(&p->daemon, true, &p->error);
    else
        is_ready(&p->daemon);
    request_free(request);
}

/*
 * What the command line and the configuration file say is one request, like any other. In the loop:
 * if it is refused at once, the loop is to end.
 */
static void add_first_devices(struct hvv_task *task)
{
    struct process *p = container_of(task, struct process, first);
    struct zone_plans fresh = {0};
    size_t n = p->conf.n_devices;
    if (zones_declare(&p->zones, &p->conf.zones, true, &fresh, &p->error) < 0) {
        shut_down(&p->daemon, true, &p->error);
        return;
    }
    if (n == 0) {
        zones_accept(&p->zones, &fresh);
        is_ready(&p->daemon);
        return;
    }
    struct spec *specs = p->conf.devices;
    p->conf.devices = NULL; /* the request takes them over */
    p->conf.n_devices = 0;
    if (request_add(&p->daemon, specs, n, &fresh, p->conf.devices_dir, first_devices_added, p,
                    &p->error) < 0)
        shut_down(&p->daemon, true, &p->error);
}

static void end(struct process *p)
{
    struct daemon *d = &p->daemon;
    builder_free(d->builder);
    for (unsigned i = 0; i < d->n_workers; i++)
        worker_free(d->workers[i]);
    free(d->workers);
    signal_watch_free(p->term);
    signal_watch_free(p->interrupt);
    server_free(d->server);
    trap_free(d->trap);
    if (d->zones) {
        zones_clear(d->zones);
        hvisor_free(d->zones->hvisor);
    }
    registry_free(d->registry);
    names_free(d->names);
    overdue_free(d->overdue);
    timer_free(p->ending);
    loop_free(d->loop);
    conf_clear(&p->conf);
}

int main(int argc, char **argv)
{
    static struct process p;
    int rc = conf_parse(&p.conf, argc, argv, &p.error);
    if (rc > 0)
        return 0;
    if (rc == 0) {
        log_set_level(p.conf.log_level);
        if (p.conf.syslog)
            log_use_syslog("hvisor-vhost");
        signal(SIGPIPE, SIG_IGN);
        block_signals(SIG_BLOCK); /* inherited by all threads: signals come to this one */
        rc = crash_install(p.conf.syslog);
        if (rc == 0)
            rc = sigbus_install();
    }
    if (rc == 0)
        rc = start(&p);
    if (rc == 0) {
        block_signals(SIG_UNBLOCK);
        p.first.run = add_first_devices;
        loop_post(p.daemon.loop, &p.first);
        loop_run(p.daemon.loop);
    }
    if (p.error.err)
        fprintf(stderr, "hvisor-vhost: %s%s%s\n", p.error.device, p.error.device[0] ? ": " : "",
                p.error.text);
    end(&p);
    return p.error.err ? 1 : 0;
}
