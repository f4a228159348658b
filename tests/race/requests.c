/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * requests.c - the daemon's parts together: devices come and go, in requests of several that work
 * or fail, while front-ends use them, commands run, and the plugin's threads make noise.
 *
 * Main is the control thread; the front-ends are threads of their own. A front-end's device may go
 * away at any moment, which is not a failure; a wrong answer is.
 */
#include "client.h"
#include "device/request.h"
#include "inproc.h"
#include "plugin/call.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define IDS 6u
#define CLIENTS 3u
#define GROUP 3u

enum presence { ABSENT, COMING, PRESENT, GOING };

static struct inproc in;
static enum presence state[IDS];
static unsigned under_way, calls_under_way;
static uint64_t added, refused, removed, called;
static atomic_ulong good_visits;
static atomic_bool over;

/* ---- remove against everything --------------------------------------------------------------- */

static unsigned number_of(const char *id)
{
    return (unsigned)(id[1] - '0');
}

static void on_added(struct request *request)
{
    for (size_t i = 0; i < request->n; i++)
        state[number_of(request->ids[i])] = request->error.err ? ABSENT : PRESENT;
    if (request->error.err)
        refused++;
    else
        added += request->n;
    under_way--;
    request_free(request);
}

static void add_some(unsigned first)
{
    struct spec *specs = calloc(GROUP, sizeof(*specs));
    struct error error = {0};
    size_t n = 0, max = 1 + inproc_random(GROUP);
    bool bad = inproc_random(6) == 0;
    for (unsigned i = first; i < IDS && n < max; i++) {
        char text[64];
        if (state[i] != ABSENT)
            continue;
        snprintf(text, sizeof(text), "racer:id=d%u,fragile=%s", i, i == 0 ? "on" : "off");
        must(spec_parse(&specs[n++], text, &error) == 0, "%s", error.text);
        state[i] = COMING;
    }
    if (bad)
        must(spec_add(&specs[n - 1], "refuse", NULL, &error) == 0, "%s", error.text);
    under_way++;
    must(request_add(&in.daemon, specs, n, NULL, "/", on_added, NULL, &error) == 0, "%s", error.text);
}

static void on_removed(struct request *request)
{
    for (size_t i = 0; i < request->n; i++)
        state[number_of(request->ids[i])] = ABSENT;
    removed += request->n;
    under_way--;
    request_free(request);
}

/* True if the removal began: one that is in use is refused unless it is forced. */
static bool remove_one(unsigned i, bool force)
{
    char id[8];
    const char *ids[] = {id};
    struct error error = {0};
    snprintf(id, sizeof(id), "d%u", i);
    int rc = request_remove(&in.daemon, ids, 1, force, on_removed, NULL, &error);
    must(rc == 0 || (rc == -EBUSY && !force), "%s", error.text);
    if (rc < 0)
        return false;
    state[i] = GOING;
    under_way++;
    return true;
}

static void on_called(struct hvv_call *call)
{
    must(!call->error.err || call->error.err == ECANCELED || call->error.err == EBUSY, "%s",
         call->error.text);
    calls_under_way--;
    called++;
    call_free(call);
}

static void call_one(unsigned i)
{
    char id[8];
    struct error error = {0};
    struct spec none = {0};
    snprintf(id, sizeof(id), "d%u", i);
    struct device *dev = request_find(&in.daemon, id, &error);
    must(dev, "%s", error.text);
    calls_under_way++;
    must(call_start(dev, inproc_random(2) ? "now" : "later", &none, "/", on_called, NULL, &error) ==
             0, "%s", error.text);
}

static void act(void)
{
    unsigned i = inproc_random(IDS);
    if (state[i] == ABSENT)
        add_some(i);
    else if (state[i] == PRESENT && inproc_random(8) == 0)
        remove_one(i, inproc_random(2));
    else if (state[i] == PRESENT)
        call_one(i);
}

static void *visit_any(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        char id[8], path[108];
        snprintf(id, sizeof(id), "d%u", inproc_random(IDS));
        inproc_socket(&in, id, path);
        struct client_visit visit = {.path = path, .requests = inproc_random(40), .timeout_ms = 300,
                                     .in_order = inproc_random(2), .rude = inproc_random(2)};
        if (client_visit(&visit) == 0)
            atomic_fetch_add(&good_visits, 1);
    }
    return NULL;
}

static void remove_all(void)
{
    for (unsigned i = 0; i < IDS; i++) {
        if (state[i] == PRESENT)
            remove_one(i, true);
    }
    uint64_t limit = clock_ns() + INPROC_SECONDS * 1000000000ull;
    while (under_way || calls_under_way) {
        inproc_run_for(&in, 1000000);
        must(clock_ns() < limit, "%u requests and %u commands do not end", under_way,
             calls_under_way);
    }
}

static void remove_vs_everything(void)
{
    pthread_t threads[CLIENTS];
    inproc_test_begin("remove-vs-everything");
    for (unsigned i = 0; i < CLIENTS; i++)
        must(pthread_create(&threads[i], NULL, visit_any, NULL) == 0, "no thread");
    while (inproc_go_on(added > 3 && refused > 0 && called > 3 && atomic_load(&good_visits) > 3)) {
        act();
        inproc_run_for(&in, inproc_random(1500000));
    }
    atomic_store(&over, true);
    for (unsigned i = 0; i < CLIENTS; i++) {
        while (pthread_tryjoin_np(threads[i], NULL) == EBUSY)
            inproc_run_for(&in, 1000000); /* what it waits for comes from here */
    }
    remove_all();
    must(removed == added, "%lu added, %lu removed", added, removed);
    printf("ok %s\n", inproc_test);
}

/* ---- publish against notify ------------------------------------------------------------------ */

static atomic_uint round_now, waiting_for;

/* Once one device of a request has answered, all of them are there to be connected to. */
static void others_are_there(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < GROUP; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char id[8];
        snprintf(id, sizeof(id), "p%u", i);
        inproc_socket(&in, id, address.sun_path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int rc = connect(fd, (struct sockaddr *)&address, sizeof(address));
        must(rc == 0 || errno == EAGAIN, "%s answers, but %s: %s", (char *)arg, id,
             strerror(errno));
        close(fd);
    }
}

/* In each round: comes as early as it can, and again until it was served. */
static void *visit_early(void *arg)
{
    char id[8], path[108];
    snprintf(id, sizeof(id), "p%u", (unsigned)(uintptr_t)arg);
    inproc_socket(&in, id, path);
    for (unsigned round = 1; !atomic_load(&over); round++) {
        struct client_visit visit = {.path = path, .requests = 4, .timeout_ms = 300,
                                     .answered = others_are_there, .arg = id};
        while (client_visit(&visit) < 0 && !atomic_load(&over))
            ;
        atomic_fetch_sub(&waiting_for, 1);
        while (atomic_load(&round_now) == round && !atomic_load(&over))
            sched_yield();
    }
    return NULL;
}

static bool request_over;

static void on_group(struct request *request)
{
    must(!request->error.err, "%s", request->error.text);
    request_over = true;
    request_free(request);
}

static void add_group(void)
{
    struct spec *specs = calloc(GROUP, sizeof(*specs));
    struct error error = {0};
    for (unsigned i = 0; i < GROUP; i++) {
        char text[32];
        snprintf(text, sizeof(text), "racer:id=p%u", i);
        must(spec_parse(&specs[i], text, &error) == 0, "%s", error.text);
    }
    request_over = false;
    must(request_add(&in.daemon, specs, GROUP, NULL, "/", on_group, NULL, &error) == 0, "%s", error.text);
    inproc_run(&in, &request_over);
}

static void remove_group(void)
{
    static const char *const ids[] = {"p0", "p1", "p2"};
    struct error error = {0};
    request_over = false;
    must(request_remove(&in.daemon, ids, GROUP, true, on_group, NULL, &error) == 0, "%s",
         error.text);
    inproc_run(&in, &request_over);
}

static void publish_vs_notify(void)
{
    pthread_t threads[GROUP];
    uint64_t end = clock_ns() + inproc_time();
    inproc_test_begin("publish-vs-notify");
    atomic_store(&over, false);
    atomic_store(&round_now, 1);
    atomic_store(&waiting_for, GROUP);
    for (uintptr_t i = 0; i < GROUP; i++)
        must(pthread_create(&threads[i], NULL, visit_early, (void *)i) == 0, "no thread");
    while (clock_ns() < end || atomic_load(&round_now) < 3) {
        uint64_t limit = clock_ns() + INPROC_SECONDS * 1000000000ull;
        add_group();
        while (atomic_load(&waiting_for)) {
            inproc_run_for(&in, 200000);
            must(clock_ns() < limit, "%u front-ends are not served", atomic_load(&waiting_for));
        }
        remove_group();
        atomic_store(&waiting_for, GROUP);
        if (clock_ns() >= end && atomic_load(&round_now) >= 2)
            atomic_store(&over, true);
        atomic_fetch_add(&round_now, 1);
    }
    atomic_store(&over, true);
    for (unsigned i = 0; i < GROUP; i++)
        pthread_join(threads[i], NULL);
    printf("ok %s\n", inproc_test);
}

int main(void)
{
    char plugins[512];
    const char *build = getenv("HVV_BUILD");
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(plugins, sizeof(plugins), "%s/tests/race/plugins", build ? build : ".");
    inproc_start(&in, 2, plugins);
    remove_vs_everything();
    publish_vs_notify();
    inproc_stop(&in);
    return 0;
}
