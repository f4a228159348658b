/* SPDX-License-Identifier: BSD-3-Clause */
/* inproc.c - see inproc.h. */
#include "inproc.h"

#include "device/create.h"
#include "device/names.h"
#include "memory/sigbus.h"
#include "plugin/registry.h"
#include "plugin/services.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

const char *inproc_test = "start";

static void too_late(int signum)
{
    static const char text[] = "not ok: a test hangs\n";
    (void)signum;
    ssize_t n = write(1, text, sizeof(text) - 1);
    (void)n;
    _exit(1);
}

static uint64_t began;

void inproc_test_begin(const char *name)
{
    inproc_test = name;
    began = clock_ns();
    signal(SIGALRM, too_late);
    alarm((unsigned)(inproc_time() / 1000000000ull) + INPROC_SECONDS);
}

uint64_t inproc_time(void)
{
    const char *text = getenv("RACE_SECONDS");
    return (text ? strtoull(text, NULL, 10) : 2) * 1000000000ull;
}

bool inproc_go_on(bool enough)
{
    return !enough || clock_ns() < began + inproc_time();
}

uint32_t inproc_random(uint32_t below)
{
    static _Thread_local uint64_t state;
    static atomic_uint threads;
    if (!state)
        state = 0x9e3779b97f4a7c15ull * (atomic_fetch_add(&threads, 1) + 1);
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

void inproc_socket(const struct inproc *in, const char *id, char *path)
{
    snprintf(path, 108, "%s/%s.sock", in->dir, id);
}

static void no_method(void *arg, const char *name, json_t *params, struct reply *reply)
{
    (void)arg;
    (void)name;
    (void)params;
    reply_unknown_method(reply);
}

void inproc_start(struct inproc *in, unsigned workers, const char *plugins)
{
    struct daemon *d = &in->daemon;
    struct error error = {0};
    char path[108];
    memset(in, 0, sizeof(*in));
    snprintf(in->dir, sizeof(in->dir), "/tmp/race-XXXXXX");
    must(mkdtemp(in->dir), "no directory");
    signal(SIGPIPE, SIG_IGN);
    must(sigbus_install() == 0, "no signal handler");
    log_set_level(getenv("RACE_DEBUG") ? HVV_LOG_DEBUG : HVV_LOG_ERROR);
    in->conf = (struct conf){.socket_dir = in->dir, .socket_mode = 0600,
                             .stuck_seconds = INPROC_SECONDS, .poll_us = 20};
    d->conf = &in->conf;
    TAILQ_INIT(&d->devices);
    zones_init(&in->zones, d);
    d->zones = &in->zones;
    d->loop = loop_new();
    d->names = names_new();
    d->workers = calloc(workers + 1, sizeof(d->workers[0]));
    must(d->loop && d->names && d->workers, "no memory");
    for (; d->n_workers < workers; d->n_workers++)
        must((d->workers[d->n_workers] =
                  worker_new(d->n_workers, in->conf.poll_us * 1000ull, &error)), "%s", error.text);
    inproc_socket(in, "control", path);
    d->server = server_new(d->loop, path, 0600, no_method, NULL, &error);
    must(d->server, "%s", error.text);
    if (!plugins)
        return;
    d->registry = registry_new(&plugins, 1, &host_options, SERVICES_CAPS, &error);
    must(d->registry, "%s", error.text);
    d->builder = builder_new(&error);
    must(d->builder, "%s", error.text);
}

void inproc_stop(struct inproc *in)
{
    struct daemon *d = &in->daemon;
    must(TAILQ_EMPTY(&d->devices), "a device is left");
    builder_free(d->builder);
    for (unsigned i = 0; i < d->n_workers; i++)
        worker_free(d->workers[i]);
    free(d->workers);
    server_free(d->server);
    registry_free(d->registry);
    names_free(d->names);
    loop_free(d->loop);
    must(rmdir(in->dir) == 0, "a socket or its lock is left in %s", in->dir);
}

/* The control loop sleeps until something is posted; this makes it look at the time as well. */
static void wake(void *arg)
{
    *(bool *)arg = true;
}

void inproc_run(struct inproc *in, const bool *done)
{
    bool late = false;
    struct timer *timer = timer_new(in->daemon.loop, wake, &late);
    timer_set(timer, INPROC_SECONDS * 1000000000ull);
    while (!*done) {
        loop_run_once(in->daemon.loop, true);
        must(!late, "it takes longer than %u s", INPROC_SECONDS);
    }
    timer_free(timer);
}

void inproc_run_for(struct inproc *in, uint64_t ns)
{
    bool over = false;
    struct timer *timer = timer_new(in->daemon.loop, wake, &over);
    timer_set(timer, ns ? ns : 1);
    while (!over)
        loop_run_once(in->daemon.loop, true);
    timer_free(timer);
}
