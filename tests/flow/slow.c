/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slow.c - flow test: create() of a test plugin takes five seconds, and nobody but its own request
 * notices.
 */
#include "clock.h"
#include "disk.h"
#include "report.h"

#include <stdlib.h>

#define SECONDS 5
#define GAP_MS 1000u
#define REQUESTS_MIN 500u

static struct blkdev disk, second;

/* The longest of the calls made until the answer to `id` comes, in ms; -1: something is wrong. */
static long longest_call(struct daemon *d, struct client *slow, int id, json_t **answer)
{
    uint64_t longest = 0, deadline = clock_deadline((SECONDS + 10) * 1000);
    *answer = NULL;
    while (!*answer && clock_left_ms(deadline) > 0) {
        uint64_t start = clock_ns();
        json_t *r = daemon_call(d, "device.list", NULL);
        uint64_t took = clock_ns() - start;
        json_decref(r);
        if (!r)
            return -1;
        longest = took > longest ? took : longest;
        *answer = client_wait(slow, id, 10);
    }
    return (long)(longest / 1000000);
}

static bool answer_is_good(json_t *answer, const char *what)
{
    bool good = json_object_get(answer, "result") != NULL;
    char *text = answer ? json_dumps(answer, 0) : NULL;
    if (!good)
        row_fail("%s: %s", what, text ? text : "no answer");
    free(text);
    json_decref(answer);
    return good;
}

static json_t *add_params(const struct daemon *d, const char *spec)
{
    return json_pack("{s:[s], s:s}", "devices", spec, "cwd", in_dir(d, "i").s);
}

static void slow_create(struct daemon *d)
{
    struct client slow, queued;
    static struct traffic traffic;
    json_t *answer;
    MUST(daemon_image(d, "a", 4 << 20));
    MUST(daemon_add(d, "blk:a,id=a", "blk:backend=null,id=n", NULL) &&
         disk_open(&disk, d, "a", NULL) && traffic_start(&traffic, &disk));
    CHECK(client_open(&slow, d->control) == 0 && client_open(&queued, d->control) == 0,
          "clients cannot connect");
    uint64_t start = clock_ns();
    int id = client_send(&slow, "device.add", add_params(d, "rogue:in=create,how=hang,seconds=5,id=s"));
    /* While that is under way: a handshake, I/O, calls, and one more add, which has to wait. */
    int next = client_send(&queued, "device.add", add_params(d, "blk:backend=null,id=later"));
    MUST(disk_open(&second, d, "n", NULL));
    CHECK(blk_flush(&second.queue[0]) == 0, "a flush on the second disk failed");
    json_t *early = client_wait(&slow, id, 0);
    CHECK(!early, "the slow add was not slow");
    long longest = longest_call(d, &slow, id, &answer);
    long took = (long)((clock_ns() - start) / 1000000);
    MUST(answer_is_good(answer, "the slow add"));
    MUST(answer_is_good(client_wait(&queued, next, 5000), "the add behind it"));
    MUST(traffic_stop(&traffic));
    row_note("the add took %ld ms; meanwhile %llu requests, longest gap %llu ms, longest call %ld "
             "ms", took, (unsigned long long)traffic.done,
             (unsigned long long)traffic.longest_ns / 1000000, longest);
    CHECK(took >= SECONDS * 900, "the slow add took only %ld ms", took);
    CHECK(longest >= 0 && longest < (long)GAP_MS, "a call of device.list took %ld ms", longest);
    CHECK(traffic.longest_ns / 1000000 < GAP_MS, "I/O stood still for %llu ms",
          (unsigned long long)traffic.longest_ns / 1000000);
    CHECK(traffic.done >= REQUESTS_MIN, "only %llu requests were done",
          (unsigned long long)traffic.done);
    int n = daemon_count(d);
    CHECK(n == 4, "there are %d devices instead of 4", n);
    client_close(&slow);
    client_close(&queued);
    blkdev_close(&second);
    blkdev_close(&disk);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"rogue.so", NULL};
    static const struct daemon_options options = {.plugins = names};
    static const struct row rows[] = {{"slow-create", slow_create, &options, NULL}};
    return report_run(argc, argv, rows, 1);
}
