/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hostile.c - see hostile.h. After every row, however it ended: the daemon lives and its log has no
 * report of a sanitizer; device.list was answered and the neighbour's I/O went on, both in bounded
 * time throughout; the disk works for a fresh front-end; descriptors, threads, mappings and memory
 * are what they were before the first row.
 *
 * usage: hostile [NAME...], beginnings of names. $HVV_TEST_ALL: long counts.
 */
#include "hostile.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BOUND_MS 3000 /* and BOUND_TIMES what it took before any row: the machine may be busy */
#define BOUND_TIMES 20u
#define QUIET_REQUESTS 256u /* of the neighbour, to find that out */
#define BOUND_SANITIZED_MS 6000
#define SLACK_KIB 10240u /* holes in the heap; a leak in every row adds up to more */
#define SLACK_SANITIZED_KIB 65536u
#define PING_PAUSE_MS 5

static const char *const kind_names[KINDS] = {"file", "mem", "null", "direct", "shm"};

static struct world world;
static uint64_t worst_neighbour_ns, worst_ping_ns;

/* ---- the pinger: device.list all the time ---------------------------------------------------- */

static void *run_ping(void *arg)
{
    struct world *w = arg;
    while (!atomic_load(&w->ping_stop)) {
        uint64_t start = clock_ns();
        atomic_store(&w->ping_started_ns, start);
        json_t *r = client_wait(&w->ping, client_send(&w->ping, "device.list", NULL), 20000);
        if (!r)
            break; /* dead or stuck: what is left in ping_started_ns tells */
        json_decref(r);
        uint64_t ns = clock_ns() - start;
        if (ns > atomic_load(&w->ping_worst_ns))
            atomic_store(&w->ping_worst_ns, ns);
        atomic_store(&w->ping_started_ns, 0);
        poll(NULL, 0, PING_PAUSE_MS);
    }
    return NULL;
}

static bool ping_start(struct world *w)
{
    atomic_store(&w->ping_stop, false);
    atomic_store(&w->ping_started_ns, 0);
    if (client_open(&w->ping, w->d.control) < 0)
        return row_fail("no control connection");
    w->pinging = pthread_create(&w->ping_thread, NULL, run_ping, w) == 0;
    return w->pinging || row_fail("no thread");
}

static void ping_stop(struct world *w)
{
    atomic_store(&w->ping_stop, true);
    if (w->pinging)
        pthread_join(w->ping_thread, NULL);
    w->pinging = false;
    client_close(&w->ping);
}

/* ---- the world ------------------------------------------------------------------------------- */

static bool subscribe(struct world *w)
{
    client_close(&w->events);
    if (client_open(&w->events, w->d.control) < 0)
        return row_fail("no control connection");
    json_t *r = client_wait(&w->events, client_send(&w->events, "events.subscribe", json_object()),
                            WAIT_MS);
    bool good = json_object_get(r, "result");
    json_decref(r);
    return good || row_fail("events.subscribe was refused");
}

/* The spec of a disk on a memfd: a file that lives in memory and leaves nothing behind. */
static bool memory_disk(int *fd, const char *id, char spec[96])
{
    if (*fd < 0)
        *fd = memfd_create("disk", MFD_CLOEXEC);
    if (*fd < 0 || ftruncate(*fd, DISK_BYTES) < 0)
        return row_fail("no memfd");
    snprintf(spec, 96, "blk:/proc/%d/fd/%d,id=%s,locking=off", (int)getpid(), *fd, id);
    return true;
}

/* The neighbour's is in memory as well: the daemon is measured, not who else uses a disk. */
static bool add_disks(struct world *w)
{
    static int fd[2] = {-1, -1};
    char shm[96], b[96];
    return memory_disk(&fd[0], "shm", shm) && memory_disk(&fd[1], "b", b) &&
           daemon_image(&w->d, "f", DISK_BYTES) && daemon_image(&w->d, "d", DISK_BYTES) &&
           daemon_add(&w->d, "blk:f,id=file,queues=2", "blk:backend=mem,size=64M,id=mem,queues=2",
                      "blk:backend=null,size=64M,id=null,queues=2", "blk:d,id=direct,direct=on",
                      shm, b, NULL);
}

static bool open_neighbour(struct world *w)
{
    struct blkdev_options o = {.event_idx = true};
    struct text path = socket_of(&w->d, "b");
    o.path = path.s;
    if (blkdev_open(&w->b, &o) < 0)
        return row_fail("the neighbour: %s", w->b.fe.error);
    w->b.opt.path = NULL;
    w->neighbour.verify = true;
    w->neighbour.pause_ms = 1;
    return churn_start(&w->neighbour, &w->b);
}

/*
 * Every disk is used once: what is made on first use belongs to the base, and so do the stacks of
 * threads that ended, which the C library keeps.
 */
static bool warm_up(struct world *w)
{
    if (!daemon_image(&w->d, "t", DISK_BYTES) ||
        !daemon_add(&w->d, "blk:t,id=t,engine=threads", NULL) || !daemon_remove(&w->d, "t", NULL))
        return false;
    for (unsigned k = 0; k < KINDS; k++) {
        w->id = kind_names[k];
        w->kind = 1u << k;
        if (!evil_visit(w) || !evil_gone(w))
            return false;
    }
    snapshot_free(&w->base);
    return snapshot_take(&w->base, &w->d);
}

/* How long the neighbour and device.list take while nobody attacks, on this machine as it is. */
static bool find_bound(struct world *w)
{
    atomic_store(&w->neighbour.worst_ns, 0);
    atomic_store(&w->ping_worst_ns, 0);
    if (!churn_flows(&w->neighbour, QUIET_REQUESTS))
        return false;
    uint64_t b = churn_worst_ns(&w->neighbour), ping = atomic_load(&w->ping_worst_ns);
    w->bound_ms = (w->sanitized ? BOUND_SANITIZED_MS : BOUND_MS) +
                  (unsigned)(BOUND_TIMES * (b > ping ? b : ping) / 1000000);
    return true;
}

static bool world_start(struct world *w)
{
    static const char *const env[] = {"ASAN_OPTIONS=quarantine_size_mb=1:malloc_context_size=8",
                                      NULL};
    static const char *const args[] = {"--workers", "1", NULL};
    static const struct daemon_options options = {.args = args, .env = env};
    const char *sanitize = getenv("HVV_SANITIZE");
    w->sanitized = sanitize && sanitize[0];
    w->all = getenv("HVV_TEST_ALL") && strcmp(getenv("HVV_TEST_ALL"), "0") != 0;
    w->log_at = 0;
    return daemon_prepare(&w->d, &options) && daemon_start(&w->d) && add_disks(w) && subscribe(w) &&
           open_neighbour(w) && ping_start(w) && warm_up(w) && find_bound(w);
}

static void world_end(struct world *w, bool stop)
{
    ping_stop(w);
    churn_stop(&w->neighbour);
    if (w->b.opt.num)
        blkdev_close(&w->b);
    memset(&w->b, 0, sizeof(w->b));
    client_close(&w->events);
    if (stop && daemon_stop(&w->d))
        daemon_left_nothing(&w->d);
}

/* ---- after each row -------------------------------------------------------------------------- */

/* Prints what a sanitizer reported, if it did. */
static bool log_is_clean(struct world *w)
{
    static const char *const bad[] = {"Sanitizer", "runtime error:", "bug:"};
    char line[1024];
    unsigned show = 0;
    FILE *log = fopen(in_dir(&w->d, "log").s, "re");
    if (!log)
        return row_fail("the log is gone");
    fseek(log, w->log_at, SEEK_SET);
    while (fgets(line, sizeof(line), log)) {
        line[strcspn(line, "\n")] = '\0';
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
            if (has_text(line, bad[i])) {
                row_fail("the daemon's log has: %s", line);
                show = show ? show : 40;
            }
        if (show && show-- > 0)
            printf("#   %s\n", line);
    }
    w->log_at = ftell(log);
    fclose(log);
    return !row_failed();
}

static bool in_time(struct world *w)
{
    uint64_t start = atomic_load(&w->ping_started_ns), now = clock_ns();
    uint64_t ping = atomic_load(&w->ping_worst_ns), b = churn_worst_ns(&w->neighbour);
    if (start && now > start && now - start > ping)
        ping = now - start;
    worst_neighbour_ns = b > worst_neighbour_ns ? b : worst_neighbour_ns;
    worst_ping_ns = ping > worst_ping_ns ? ping : worst_ping_ns;
    if (b / 1000000 > w->bound_ms)
        return row_fail("a request of the neighbour took %llu ms, the limit is %u",
                        (unsigned long long)b / 1000000, w->bound_ms);
    return ping / 1000000 <= w->bound_ms ||
           row_fail("device.list took %llu ms, the limit is %u",
                    (unsigned long long)ping / 1000000, w->bound_ms);
}

static bool holds_what_it_held(struct world *w)
{
    return snapshot_returns(&w->d, &w->base, NULL,
                            w->sanitized ? SLACK_SANITIZED_KIB : SLACK_KIB, "afterwards");
}

static bool after_row(struct world *w)
{
    if (w->undo)
        w->undo(w->undo_arg);
    w->undo = NULL;
    evil_close(w);
    if (!daemon_alive(&w->d)) {
        char reason[512] = "";
        row_forgive(reason, sizeof(reason));
        row_fail("the daemon died, exit %d; %s", daemon_wait(&w->d, 0), reason);
        return log_is_clean(w);
    }
    return churn_flows(&w->neighbour, 8) && in_time(w) && evil_gone(w) && evil_visit(w) &&
           evil_gone(w) && holds_what_it_held(w) && log_is_clean(w);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static unsigned passed, failed;

static void conclude(const char *name, uint64_t start)
{
    char reason[2048];
    if (row_forgive(reason, sizeof(reason))) {
        printf("not ok %s: %s\n", name, reason);
        failed++;
    } else {
        printf("ok %s\n", name);
        passed++;
    }
    if (getenv("HVV_TEST_TIMES"))
        row_note("%s: %llu ms", name, (unsigned long long)(clock_ns() - start) / 1000000);
    fflush(stdout);
}

/* A world that no longer works is replaced by a new one, so that rows fail one by one. */
static bool make_good(struct world *w)
{
    char reason[2048];
    bool good = daemon_alive(&w->d) && !atomic_load(&w->ping_started_ns);
    if (good) /* a row may have left one */
        json_decref(daemon_call(&w->d, "device.remove", "{s:[s], s:b}", "ids", "x", "force", 1));
    if (good && churn_flows(&w->neighbour, 4) && evil_gone(w) && evil_visit(w) && evil_gone(w)) {
        snapshot_free(&w->base);
        return snapshot_take(&w->base, &w->d);
    }
    row_forgive(reason, sizeof(reason));
    daemon_print_log(&w->d);
    if (w->d.pid > 0)
        kill(w->d.pid, SIGKILL); /* whoever waits for it sees its end */
    world_end(w, false);
    daemon_clean(&w->d);
    row_forgive(reason, sizeof(reason)); /* what its threads have said of its end */
    return world_start(w);
}

static void run_row(struct world *w, const struct evil_row *row, unsigned kind, const char *name)
{
    char reason[2048];
    uint64_t start = clock_ns();
    w->id = kind_names[kind];
    w->kind = 1u << kind;
    w->arg = row->arg;
    atomic_store(&w->neighbour.worst_ns, 0);
    atomic_store(&w->ping_worst_ns, 0);
    if (subscribe(w))
        row->run(w);
    after_row(w);
    bool bad = row_failed();
    conclude(name, start);
    if (bad && !make_good(w)) {
        row_forgive(reason, sizeof(reason));
        printf("not ok %s: no new daemon: %s\n", name, reason);
        exit(1);
    }
}

static bool wanted(const char *name, char **names)
{
    if (!*names)
        return true;
    for (; *names; names++)
        if (strncmp(name, *names, strlen(*names)) == 0)
            return true;
    return false;
}

static void run_table(struct world *w, const struct evil_row *row, char **names)
{
    char name[96];
    for (; row->name; row++) {
        for (unsigned k = 0; k < KINDS; k++) {
            if (!((row->on ? row->on : ON_FILE) & 1u << k))
                continue;
            snprintf(name, sizeof(name), "%s%s%s", row->name, row->on ? "-" : "",
                     row->on ? kind_names[k] : "");
            if (wanted(name, names))
                run_row(w, row, k, name);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct evil_row *const tables[] = {ring_rows, handshake_rows, message_rows,
                                                    number_rows, memory_rows, signal_rows,
                                                    host_rows};
    struct world *w = &world;
    uint64_t start = clock_ns();
    (void)argc;
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    w->events.fd = w->ping.fd = -1;
    if (world_start(w)) {
        for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
            run_table(w, tables[i], argv + 1);
        row_note("worst latency of the neighbour %llu ms, of device.list %llu ms",
                 (unsigned long long)worst_neighbour_ns / 1000000,
                 (unsigned long long)worst_ping_ns / 1000000);
    }
    start = clock_ns();
    world_end(w, !row_failed());
    if (w->d.dir[0])
        log_is_clean(w);
    conclude("the-end", start);
    daemon_clean(&w->d);
    snapshot_free(&w->base);
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
