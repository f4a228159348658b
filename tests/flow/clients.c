/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clients.c - flow test: two control clients add and remove at the same time, for --seconds N (5,
 * or 60 with --all). Their requests are taken one by one, neither starves, nothing leaks.
 */
#include "clock.h"
#include "report.h"
#include "snapshot.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SLACK_KIB 512u
#define CLIENTS 2u
#define SECONDS 5u
#define SECONDS_ALL 60u

struct worker {
    struct daemon *d;
    unsigned number;
    uint64_t deadline;
    pthread_t thread;
    unsigned long done;  /* adds and removals */
    uint64_t longest_ns; /* a single one */
};

static bool call(struct worker *w, struct client *c, const char *method, json_t *params)
{
    uint64_t start = clock_ns();
    json_t *answer = client_wait(c, client_send(c, method, params), CLIENT_TIMEOUT_MS);
    uint64_t took = clock_ns() - start;
    bool good = json_object_get(answer, "result") != NULL;
    if (!good) {
        char *text = answer ? json_dumps(answer, 0) : NULL;
        row_fail("client %u, %s: %s", w->number, method, text ? text : "no answer");
        free(text);
    }
    json_decref(answer);
    w->longest_ns = took > w->longest_ns ? took : w->longest_ns;
    w->done++;
    return good;
}

/* Two devices with names that only this client uses. */
static json_t *its_devices(const struct worker *w)
{
    char one[64], two[64];
    snprintf(one, sizeof(one), "blk:backend=null,id=c%u-one", w->number);
    snprintf(two, sizeof(two), "blk:backend=null,id=c%u-two,queues=4", w->number);
    return json_pack("{s:[s,s]}", "devices", one, two);
}

static json_t *its_ids(const struct worker *w)
{
    char one[64], two[64];
    snprintf(one, sizeof(one), "c%u-one", w->number);
    snprintf(two, sizeof(two), "c%u-two", w->number);
    return json_pack("{s:[s,s]}", "ids", one, two);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct client c;
    if (client_open(&c, w->d->control) < 0) {
        row_fail("client %u cannot connect", w->number);
        return NULL;
    }
    while (clock_left_ms(w->deadline) > 0 && !row_failed())
        if (!call(w, &c, "device.add", its_devices(w)) || !call(w, &c, "device.remove", its_ids(w)))
            break;
    client_close(&c);
    return NULL;
}

static bool one_round(struct daemon *d, unsigned seconds, struct worker workers[CLIENTS])
{
    bool started = true;
    for (unsigned i = 0; i < CLIENTS; i++) {
        workers[i] = (struct worker){.d = d, .number = i,
                                     .deadline = clock_deadline((int)seconds * 1000)};
        started = pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0 && started;
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(workers[i].thread, NULL);
    return started && !row_failed();
}

static void two_clients(struct daemon *d)
{
    struct worker workers[CLIENTS];
    struct snapshot fresh, before;
    unsigned seconds = flags.seconds ? flags.seconds : flags.all ? SECONDS_ALL : SECONDS;
    /* A first round loads the plugin and fills caches; it is over when its connections are gone. */
    MUST(snapshot_take(&fresh, d) && one_round(d, 1, workers) && snapshot_take(&before, d));
    MUST(snapshot_returns(d, &fresh, &before, 16 * SLACK_KIB, "after a first round"));
    snapshot_free(&before);
    MUST(snapshot_take(&before, d) && one_round(d, seconds, workers));
    unsigned long all = workers[0].done + workers[1].done;
    row_note("%u seconds: %lu and %lu requests, longest %llu and %llu ms", seconds,
             workers[0].done, workers[1].done, (unsigned long long)workers[0].longest_ns / 1000000,
             (unsigned long long)workers[1].longest_ns / 1000000);
    for (unsigned i = 0; i < CLIENTS; i++)
        CHECK(workers[i].done >= all / 3, "client %u got %lu of %lu requests done", i,
              workers[i].done, all);
    CHECK(all >= 20ul * seconds, "only %lu requests were done", all);
    int n = daemon_count(d);
    CHECK(n == 0, "%d devices are left", n);
    MUST(snapshot_returns(d, &before, NULL, SLACK_KIB, "afterwards"));
    snapshot_free(&before);
    snapshot_free(&fresh);
}

/* Both want the same name: exactly one gets it, each time. */
static void same_name(struct daemon *d)
{
    struct client c[CLIENTS];
    for (unsigned i = 0; i < CLIENTS; i++)
        CHECK(client_open(&c[i], d->control) == 0, "client %u cannot connect", i);
    for (unsigned turn = 0; turn < 50; turn++) {
        unsigned got = 0;
        int id[CLIENTS];
        for (unsigned i = 0; i < CLIENTS; i++)
            id[i] = client_send(&c[i], "device.add",
                                json_pack("{s:[s]}", "devices", "blk:backend=null,id=same"));
        for (unsigned i = 0; i < CLIENTS; i++) {
            json_t *answer = client_wait(&c[i], id[i], CLIENT_TIMEOUT_MS);
            CHECK(answer, "client %u got no answer", i);
            got += json_object_get(answer, "result") != NULL;
            json_decref(answer);
        }
        CHECK(got == 1, "%u clients got the name in turn %u", got, turn);
        MUST(daemon_remove(d, "same", NULL));
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        client_close(&c[i]);
}

int main(int argc, char **argv)
{
    static const struct row rows[] = {
        {"two-clients", two_clients, NULL, NULL},
        {"same-name", same_name, NULL, NULL},
    };
    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
