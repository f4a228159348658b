/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lifecycle.c - devices are created, published, used by a front-end in every other round, and
 * removed, many times; then all parts end. What is not freed by then is a leak: lifecycle.sh runs
 * this under valgrind.
 */
#include "client.h"
#include "device/request.h"
#include "inproc.h"

#include <errno.h>

#define ROUNDS 50u
#define DEVICES 2u

static struct inproc in;
static bool over;

static void on_done(struct request *request)
{
    must(!request->error.err || request->arg, "%s", request->error.text);
    over = true;
    request_free(request);
}

/* `bad`: the last one is refused, so none is added. */
static void add(bool bad)
{
    struct spec *specs = calloc(DEVICES, sizeof(*specs));
    struct error error = {0};
    for (unsigned i = 0; i < DEVICES; i++) {
        char text[48];
        snprintf(text, sizeof(text), "racer:id=l%u%s", i, bad && i + 1 == DEVICES ? ",refuse" : "");
        must(spec_parse(&specs[i], text, &error) == 0, "%s", error.text);
    }
    over = false;
    must(request_add(&in.daemon, specs, DEVICES, NULL, "/", on_done, bad ? &in : NULL, &error) == 0, "%s",
         error.text);
    inproc_run(&in, &over);
    must(bad == TAILQ_EMPTY(&in.daemon.devices), "added or not, the other was expected");
}

static void remove_all(void)
{
    static const char *const ids[DEVICES] = {"l0", "l1"};
    struct error error = {0};
    over = false;
    must(request_remove(&in.daemon, ids, DEVICES, true, on_done, NULL, &error) == 0, "%s",
         error.text);
    inproc_run(&in, &over);
}

static void *visit(void *arg)
{
    char path[108];
    inproc_socket(&in, "l0", path);
    struct client_visit v = {.path = path, .requests = 5, .timeout_ms = 30000,
                             .rude = (uintptr_t)arg & 1};
    return (void *)(intptr_t)client_visit(&v);
}

/* A front-end in a thread, while this one is the control thread. */
static void use(unsigned round)
{
    pthread_t thread;
    void *rc;
    must(pthread_create(&thread, NULL, visit, (void *)(uintptr_t)(round / 2)) == 0, "no thread");
    while (pthread_tryjoin_np(thread, &rc) == EBUSY)
        inproc_run_for(&in, 1000000);
    must(!rc, "the front-end was not served: %s", strerror((int)-(intptr_t)rc));
}

int main(void)
{
    char plugins[512];
    const char *build = getenv("HVV_BUILD");
    inproc_test = "lifecycle"; /* no deadline of its own: valgrind is slow */
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(plugins, sizeof(plugins), "%s/tests/race/plugins", build ? build : ".");
    inproc_start(&in, 2, plugins);
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (round % 10 == 9)
            add(true);
        add(false);
        if (round % 2)
            use(round);
        remove_all();
    }
    inproc_stop(&in);
    printf("ok %s\n", inproc_test);
    return 0;
}
