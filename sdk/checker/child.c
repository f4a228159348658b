/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * child.c - the process that has the plugin: runs one group, and tells what the harness noticed.
 *
 * A callback on a worker must not block. What counts is the time in which the thread slept: time on
 * a processor, and time waiting for one, is taken off, so that a busy machine is no reason.
 */
#include "check.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BLOCKED_MS 100u        /* a callback may sleep this long */
#define BLOCKED_ROUGH_MS 2000u /* where the time waiting for a processor is not known */
#define BUSY_MS 2000u          /* and may compute this long */

static struct child *the_child;
static int report_fd = -1;
static const char *told_usually, *told_as; /* see tell_as(); or NULL */

static struct {
    int schedstat; /* of this thread, or -1 */
    uint64_t wall, cpu, queued;
} timing = {.schedstat = -1};

/* ---- Telling --------------------------------------------------------------------------------- */

/* True for the first call with this rule. */
static bool is_news(const char *rule)
{
    static const char *told[64];
    static _Atomic uint32_t n;
    uint32_t known = atomic_load(&n);
    for (uint32_t i = 0; i < known && i < 64; i++)
        if (told[i] && strcmp(told[i], rule) == 0)
            return false;
    uint32_t at = atomic_fetch_add(&n, 1);
    if (at < 64)
        told[at] = rule;
    return true;
}

HVV_PRINTF(3, 0) static void tell(char sign, const char *rule, const char *fmt, va_list args)
{
    char line[REASON_MAX + 64];
    int n = snprintf(line, sizeof(line), "%c%s\t", sign, rule);
    if (!is_news(rule))
        return;
    vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, args);
    for (char *c = line + n; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    size_t len = strlen(line);
    line[len++] = '\n';
    if (write(report_fd, line, len) < 0)
        _exit(3); /* the parent is gone */
}

void found(const char *rule, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    tell('-', rule, fmt, args);
    va_end(args);
}

void skip(const char *rule, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    tell('?', rule, fmt, args);
    va_end(args);
}

/* ---- What the harness notices ---------------------------------------------------------------- */

static const struct {
    const char *violation, *rule;
} meanings[] = {
    {"busy", "rest"},
    {"call-fd", "command-run"},
    {"call-late", "command-run"},
    {"call-never", "command-run"},
    {"call-twice", "command-run"},
    {"chain-never", "chain-finished"},
    {"chain-twice", "chain-once"},
    {"chain-written", "chain-written"},
    {"counter", "counter-used"},
    {"event", "event-used"},
    {"no-queue", "create"},
    {"option", "option-used"},
    {"release-order", "chain-release"},
    {"shared-left", "services-left"},
    {"silent", "create-says-why"},
    {"timer-left", "services-left"},
    {"watch-left", "services-left"},
};

void tell_as(const char *usual, const char *rule)
{
    told_usually = usual;
    told_as = rule;
}

/* It was waited for in vain: what follows need not take as long. */
static void lose_patience(struct hvv_harness *h)
{
    if (the_child->patience_ms > PATIENCE_LOST_MS)
        the_child->patience_ms = PATIENCE_LOST_MS;
    h->patience_ms = the_child->patience_ms;
}

static void on_violation(struct hvv_harness *h, const char *violation, const char *text)
{
    const char *rule = "service-use";
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
        if (strcmp(meanings[i].violation, violation) == 0)
            rule = meanings[i].rule;
    if (strcmp(rule, "chain-finished") == 0 || strcmp(rule, "rest") == 0)
        lose_patience(h);
    if (told_as && strcmp(rule, told_usually) == 0)
        rule = told_as;
    if (the_child->note->fault[0])
        found(rule, "%s, then: %s", the_child->note->fault, text);
    else
        found(rule, "%s", text);
}

uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Nanoseconds this thread was on a processor, and was waiting for one. */
static void read_times(uint64_t *cpu, uint64_t *queued)
{
    char text[96] = "";
    unsigned long long on = 0, waiting = 0;
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    *cpu = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    *queued = 0;
    if (timing.schedstat >= 0 && pread(timing.schedstat, text, sizeof(text) - 1, 0) > 0 &&
        sscanf(text, "%llu %llu", &on, &waiting) == 2)
        *queued = waiting;
}

static void check_times(const char *what)
{
    uint64_t cpu, queued, wall = clock_ns() - timing.wall;
    read_times(&cpu, &queued);
    cpu -= timing.cpu;
    queued -= timing.queued;
    uint64_t slept = wall > cpu + queued ? wall - cpu - queued : 0;
    uint64_t limit = timing.schedstat >= 0 ? BLOCKED_MS : BLOCKED_ROUGH_MS;
    if (slept > limit * 1000000u)
        found("callback-time", "%s() slept for %llu ms: what is called on a worker must not block, "
              "the limit is %llu ms", what, (unsigned long long)(slept / 1000000u),
              (unsigned long long)limit);
    else if (cpu > BUSY_MS * 1000000ull)
        found("callback-time", "%s() computed for %llu ms: other devices wait meanwhile, the limit "
              "is %u ms", what, (unsigned long long)(cpu / 1000000u), BUSY_MS);
}

/* Builder's calls may block. */
static bool may_block(const char *what)
{
    return strcmp(what, "create") == 0 || strcmp(what, "destroy") == 0;
}

static void on_call(struct hvv_harness *h, const char *what, bool over)
{
    struct note *note = the_child->note;
    (void)h;
    if (!over) {
        snprintf(note->call, sizeof(note->call), "%s", what);
        atomic_store(&note->calling, 1);
        if (!may_block(what)) {
            read_times(&timing.cpu, &timing.queued);
            timing.wall = clock_ns();
        }
        return;
    }
    if (!may_block(what))
        check_times(what);
    atomic_store(&note->calling, 0);
}

/* ---- Devices --------------------------------------------------------------------------------- */

void init_device(struct child *child, struct hvv_harness *h, const char *id)
{
    hvv_harness_init(h, child->plugin);
    h->dev.id = id;
    h->dev.directory = child->directory;
    h->patience_ms = child->patience_ms;
    h->on_violation = on_violation;
    h->on_call = on_call;
}

bool open_device(struct child *child, struct hvv_harness *h, const char *id)
{
    init_device(child, h, id);
    int32_t rc = hvv_harness_create(h, child->options);
    if (rc < 0)
        found("create", "create() failed: %s%s%s", h->error_option, h->error_option[0] ? ": " : "",
              h->error[0] ? h->error : strerror(-rc));
    return rc == 0;
}

bool start_device(struct child *child, struct hvv_harness *h, const char *id)
{
    if (!open_device(child, h, id))
        return false;
    hvv_harness_start(h);
    return true;
}

/* ---- The process ----------------------------------------------------------------------------- */

static void load(struct child *child)
{
    const struct hvv_plugin *(*entry)(void);
    child->handle = dlopen(child->path, RTLD_NOW | RTLD_LOCAL);
    if (!child->handle)
        return;
    entry = (const struct hvv_plugin *(*)(void))dlsym(child->handle, "hvv_plugin_v1");
    child->plugin = entry ? entry() : NULL;
}

int child_main(const struct group *group, struct child *child, int report)
{
    char path[64];
    struct rlimit no_core = {0, 0};
    the_child = child;
    report_fd = report;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &no_core);
    keep_no_heap();
    snprintf(path, sizeof(path), "/proc/self/task/%ld/schedstat", syscall(SYS_gettid));
    timing.schedstat = open(path, O_RDONLY | O_CLOEXEC);
    if (!group->unloaded)
        load(child);
    if (group->unloaded || child->plugin)
        group->run(child);
    return write(report_fd, ".\n", 2) == 2 ? 0 : 3;
}
