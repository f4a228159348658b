/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * harness.c - tests of the harness: a small plugin that keeps all rules, and one change of it for
 * each rule that the harness has to notice.
 */
#include <hvv/harness.h>

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SECOND 1000000000ull

/* ---- The subject ----------------------------------------------------------------------------- */

/* What it does that it must not. */
enum misdeed {
    NONE,
    CALL_LATE, CALL_NEVER, CALL_TWICE, CALL_FD,
    CHAIN_NEVER, CHAIN_TWICE, CHAIN_WRITTEN, FAIL_TWICE,
    COUNTER_GAUGE, COUNTER_INDEX, COUNTER_QUEUE,
    ERROR_LATE, ERROR_SIGN, EVENT_INDEX, EVENT_TEXT,
    FEATURES, MAP_TWICE, NO_QUEUE, OPTION_NAME, OPTION_TYPE,
    POST_EARLY, POST_LATE, POST_TWICE, QUEUE, QUEUES_LATE, RELEASE_ORDER, SHARED_LEFT, SHARED_TWICE, SILENT,
    TIMER_LEFT, THREAD, WATCH_CLOSED, WATCH_CREATE, WATCH_LEFT, WATCH_TWICE, WORKER,
};

static enum misdeed misdeed;

struct subject {
    struct hvv_device *dev;
    struct hvv_watch *watch;
    struct hvv_timer *timer;
    struct hvv_task task;
    struct hvv_call *call;
    void *shared;
    int pipe[2];
    unsigned ready, expired, ran, polled, moved, resets;
    uint32_t stop_flags;
    bool hold;        /* keeps chains until released or finished by the test */
    struct hvv_chain *held[8];
    uint32_t n_held;
};

static struct subject *subject_of(struct hvv_device *dev)
{
    return dev->state;
}

static void on_ready(void *arg, uint32_t events)
{
    struct subject *s = arg;
    char byte;
    cr_assert(events == HVV_WATCH_READ);
    cr_assert(read(s->pipe[0], &byte, 1) == 1);
    s->ready++;
}

static void on_expired(void *arg)
{
    ((struct subject *)arg)->expired++;
}

static void on_task(struct hvv_task *task)
{
    struct subject *s = (struct subject *)((char *)task - offsetof(struct subject, task));
    s->ran++;
}

static int32_t subject_create(struct hvv_device *dev)
{
    if (misdeed == SILENT)
        return -EIO;
    if (misdeed == ERROR_SIGN)
        return -hvv_error(dev, -EIO, "wrong sign");
    if (hvv_option_u64(dev, "fails"))
        return hvv_error_option(dev, ENXIO, "fails", "asked to");
    struct subject *s = calloc(1, sizeof(*s));
    s->dev = dev;
    s->task.run = on_task;
    s->hold = hvv_option_u64(dev, "hold");
    dev->state = s;
    cr_assert(pipe2(s->pipe, O_CLOEXEC) == 0);
    int32_t rc = misdeed == NO_QUEUE ? 0 : hvv_add_queues(dev, 2, 8, 8, 0);
    bool no = misdeed == NO_QUEUE;
    s->watch = no || rc < 0 ? NULL : hvv_watch_new(dev, 0, s->pipe[0], on_ready, s);
    s->timer = s->watch ? hvv_timer_new(dev, 1, on_expired, s) : NULL;
    s->shared = s->timer ? hvv_shared_get(dev, "all", 16, NULL, NULL, NULL) : NULL;
    uint32_t config = 7;
    rc = s->shared ? hvv_config_set(dev, 0, &config, 4, 0) : -ENOMEM;
    if (rc < 0 && !no) {
        hvv_shared_put(dev, s->shared);
        hvv_timer_free(dev, s->timer);
        hvv_watch_free(dev, s->watch);
        close(s->pipe[0]);
        close(s->pipe[1]);
        free(s);
        return hvv_error(dev, ENOMEM, "a service failed");
    }
    hvv_set_features(dev, misdeed == FEATURES ? 1ull << 32 : 5, HVV_FEATURES_IN_ORDER);
    if (misdeed == WATCH_TWICE)
        hvv_watch_free(dev, hvv_watch_new(dev, 1, s->pipe[0], on_ready, s));
    if (misdeed == WATCH_CREATE)
        hvv_watch_set(dev, s->watch, HVV_WATCH_READ);
    if (misdeed == POST_EARLY)
        hvv_post(dev, 0, &s->task);
    if (misdeed == OPTION_NAME)
        hvv_option_string(dev, "nosuch");
    if (misdeed == OPTION_TYPE)
        hvv_option_string(dev, "hold");
    return 0;
}

static void subject_destroy(struct hvv_device *dev)
{
    struct subject *s = subject_of(dev);
    if (misdeed != WATCH_LEFT)
        hvv_watch_free(dev, s->watch);
    if (misdeed != TIMER_LEFT)
        hvv_timer_free(dev, s->timer);
    if (misdeed != SHARED_LEFT)
        hvv_shared_put(dev, s->shared);
    if (misdeed == SHARED_TWICE)
        hvv_shared_put(dev, s->shared);
    if (misdeed == POST_LATE)
        hvv_post(dev, 0, &s->task);
    if (misdeed != WATCH_CLOSED)
        close(s->pipe[0]);
    close(s->pipe[1]);
    free(s);
}

static void subject_publish(struct hvv_device *dev)
{
    if (misdeed == QUEUES_LATE)
        hvv_add_queues(dev, 1, 8, 8, 0);
    if (misdeed == ERROR_LATE)
        hvv_error(dev, EIO, "late");
}

static void subject_queue_start(struct hvv_device *dev, uint32_t queue)
{
    if (queue == 0)
        hvv_watch_set(dev, subject_of(dev)->watch, HVV_WATCH_READ);
}

static void *other_thread(void *dev)
{
    struct hvv_chain *chain;
    hvv_pop(dev, 0, &chain, 1);
    return NULL;
}

/* Misdeeds that need a chain. */
static void misuse_chain(struct subject *s, struct hvv_chain *chain)
{
    hvv_complete(chain, misdeed == CHAIN_WRITTEN ? (uint32_t)chain->writable_bytes + 1 : 0);
    if (misdeed == CHAIN_TWICE)
        hvv_complete(chain, 0);
    if (misdeed == FAIL_TWICE)
        hvv_fail(chain, "again");
    if (misdeed == COUNTER_GAUGE)
        hvv_gauge(s->dev, 0, 0, 1);
    if (misdeed == COUNTER_INDEX)
        hvv_count(s->dev, 2, 0, 1);
    if (misdeed == COUNTER_QUEUE)
        hvv_count(s->dev, 1, 2, 1);
    if (misdeed == EVENT_INDEX)
        hvv_event(s->dev, 1, "a=b");
    if (misdeed == EVENT_TEXT)
        hvv_event(s->dev, 0, "not so");
    if (misdeed == POST_TWICE) {
        hvv_post(s->dev, 0, &s->task);
        hvv_post(s->dev, 0, &s->task);
    }
    if (misdeed == QUEUE)
        hvv_pop(s->dev, 2, &chain, 1);
    if (misdeed == WORKER)
        hvv_pop(s->dev, 1, &chain, 1);
    if (misdeed == WATCH_CLOSED)
        close(s->pipe[0]);
}

static void misuse(struct subject *s)
{
    pthread_t thread;
    if (misdeed == THREAD) {
        cr_assert(pthread_create(&thread, NULL, other_thread, s->dev) == 0);
        pthread_join(thread, NULL);
    }
    if (misdeed == MAP_TWICE) {
        struct hvv_range range = {HVV_HARNESS_ADDRESS, 8};
        const struct hvv_map *map = hvv_mem_map(s->dev, &range, 1, HVV_MAP_READ);
        hvv_mem_unmap(s->dev, map);
        hvv_mem_unmap(s->dev, map);
    }
}

static void subject_notify(struct hvv_device *dev, uint32_t queue)
{
    struct subject *s = subject_of(dev);
    struct hvv_chain *chain;
    misuse(s);
    while (hvv_pop(dev, queue, &chain, 1) == 1) {
        if (s->hold || misdeed == CHAIN_NEVER || misdeed == RELEASE_ORDER) {
            s->held[s->n_held++] = chain;
            continue;
        }
        hvv_count(dev, 0, HVV_NO_QUEUE, 1);
        hvv_count(dev, 1, queue, chain->readable_bytes);
        misuse_chain(s, chain);
    }
}

static void subject_queue_stop(struct hvv_device *dev, uint32_t queue, uint32_t flags)
{
    struct subject *s = subject_of(dev);
    s->stop_flags = flags;
    if (queue != 0 || misdeed == CHAIN_NEVER)
        return;
    for (uint32_t i = 0; misdeed == RELEASE_ORDER && i < s->n_held; i++)
        hvv_release(s->held[i]);
    while (misdeed != RELEASE_ORDER && s->n_held > 0)
        hvv_release(s->held[--s->n_held]);
    s->n_held = 0;
}

static void subject_memory_changed(struct hvv_device *dev, uint32_t queue)
{
    subject_of(dev)->moved++;
    if (queue == 0)
        subject_queue_stop(dev, 0, 0);
}

static uint32_t subject_poll(struct hvv_device *dev, uint32_t queue)
{
    subject_of(dev)->polled++;
    (void)queue;
    return 0;
}

static void subject_config_write(struct hvv_device *dev, uint32_t offset, const void *data,
                                 uint32_t size)
{
    cr_assert(hvv_config_set(dev, offset, data, size, HVV_CONFIG_NOTIFY) == 0);
    cr_assert(hvv_config_set(dev, 2, data, 4, 0) == -EINVAL);
}

static void subject_reset(struct hvv_device *dev)
{
    subject_of(dev)->resets++;
}

static int32_t run_now(struct hvv_device *dev, struct hvv_call *call)
{
    if (hvv_call_count(dev, call, "text") == 0)
        return hvv_call_error(dev, call, ENODATA, "no text");
    hvv_call_result(dev, call, "text", hvv_call_string(dev, call, "text"));
    hvv_call_result_u64(dev, call, "number", 12);
    hvv_call_result_fd(dev, call, dup(0));
    if (misdeed == CALL_FD)
        hvv_call_result_fd(dev, call, dup(0));
    if (misdeed == CALL_TWICE)
        hvv_call_finish(dev, call, 0);
    return 0;
}

static void finish_later(struct hvv_task *task)
{
    struct subject *s = (struct subject *)((char *)task - offsetof(struct subject, task));
    hvv_call_finish(s->dev, s->call, -EAGAIN);
    if (misdeed == CALL_LATE)
        hvv_call_result(s->dev, s->call, "too", "late");
}

static int32_t run_later(struct hvv_device *dev, struct hvv_call *call)
{
    struct subject *s = subject_of(dev);
    s->call = call;
    s->task.run = finish_later;
    if (misdeed != CALL_NEVER)
        hvv_post(dev, 0, &s->task);
    return -EINPROGRESS;
}

static const struct hvv_option options[] = {
    {.name = "fails", .type = HVV_OPTION_BOOL, .dflt = "no", .help = "fail"},
    {.name = "hold", .type = HVV_OPTION_BOOL, .dflt = "no", .help = "keep chains"},
    {.name = "size", .type = HVV_OPTION_SIZE, .max = 4096, .help = "a size"},
};
static const struct hvv_option params[] = {
    {.name = "text", .type = HVV_OPTION_STRING, .help = "a text"},
};
static const struct hvv_command commands[] = {
    {.name = "now", .help = "runs", .params = params, .n_params = 1,
     .param_size = sizeof(params[0]), .run = run_now},
    {.name = "later", .help = "runs later", .run = run_later},
};
static const struct hvv_counter counters[] = {
    {.name = "chains", .help = "chains"},
    {.name = "bytes", .help = "bytes", .flags = HVV_COUNTER_QUEUE},
};
static const struct hvv_event events[] = {{.name = "happened", .help = "something"}};

static const struct hvv_ops ops = {
    .size = sizeof(ops),
    .create = subject_create,
    .destroy = subject_destroy,
    .notify = subject_notify,
    .publish = subject_publish,
    .queue_start = subject_queue_start,
    .queue_stop = subject_queue_stop,
    .poll = subject_poll,
    .config_write = subject_config_write,
    .memory_changed = subject_memory_changed,
    .reset = subject_reset,
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .name = "subject",
    .version = "1",
    .description = "what is tested",
    .virtio_id = 63,
    .threads = HVV_SERIAL_DEVICE,
    .chain_state_size = 24,
    .ops = &ops,
    .options = options,
    .n_options = 3,
    .option_size = sizeof(options[0]),
    .commands = commands,
    .n_commands = 2,
    .command_size = sizeof(commands[0]),
    .counters = counters,
    .n_counters = 2,
    .counter_size = sizeof(counters[0]),
    .events = events,
    .n_events = 1,
    .event_size = sizeof(events[0]),
};

/* ---- Rules ----------------------------------------------------------------------------------- */

static void ignore(struct hvv_harness *h, const char *rule, const char *text)
{
    (void)h, (void)rule, (void)text; /* looked at in the end */
}

/* A life in which everything of the subject is used. The first violation, or "". */
static void live(enum misdeed what, uint32_t threads, char *violation)
{
    struct hvv_harness h;
    struct hvv_harness_call call;
    struct hvv_plugin own = plugin;
    char bytes[16] = "";
    misdeed = what;
    own.threads = threads;
    hvv_harness_init(&h, &own);
    h.on_violation = ignore;
    h.patience_ms = 200;
    if (hvv_harness_create(&h, "size=1K") == 0) {
        hvv_harness_alloc(&h, 8);
        hvv_harness_start(&h);
        if (h.n_queues) {
            struct iovec r = {bytes, 16}, w = {bytes, 16};
            hvv_harness_send(&h, 0, &r, 1, &w, 1);
            hvv_harness_send(&h, 0, &r, 1, &w, 1);
            hvv_harness_kick(&h, 0);
            hvv_harness_settle(&h);
        }
        if (hvv_harness_command(&h, &call, "now", "text=abc") == 0 && call.fd >= 0)
            close(call.fd);
        hvv_harness_command(&h, &call, "later", NULL);
        hvv_harness_close(&h);
    }
    strcpy(violation, h.violation);
}

static const struct {
    enum misdeed misdeed;
    const char *rule;
} rules[] = {
    {NONE, ""},
    {CALL_FD, "call-fd"},
    {CALL_LATE, "call-late"},
    {CALL_NEVER, "call-never"},
    {CALL_TWICE, "call-twice"},
    {CHAIN_NEVER, "chain-never"},
    {CHAIN_TWICE, "chain-twice"},
    {CHAIN_WRITTEN, "chain-written"},
    {COUNTER_GAUGE, "counter"},
    {COUNTER_INDEX, "counter"},
    {COUNTER_QUEUE, "counter"},
    {ERROR_LATE, "create-only"},
    {ERROR_SIGN, "status"},
    {EVENT_INDEX, "event"},
    {EVENT_TEXT, "event"},
    {FAIL_TWICE, "chain-twice"},
    {FEATURES, "features"},
    {MAP_TWICE, "map-twice"},
    {NO_QUEUE, "no-queue"},
    {OPTION_NAME, "option"},
    {OPTION_TYPE, "option"},
    {POST_EARLY, "post-early"},
    {POST_LATE, "post-late"},
    {POST_TWICE, "post-twice"},
    {QUEUE, "queue"},
    {QUEUES_LATE, "create-only"},
    {RELEASE_ORDER, "release-order"},
    {SHARED_LEFT, "shared-left"},
    {SHARED_TWICE, "shared-twice"},
    {SILENT, "silent"},
    {THREAD, "thread"},
    {TIMER_LEFT, "timer-left"},
    {WATCH_CLOSED, "watch-fd"},
    {WATCH_CREATE, "worker"},
    {WATCH_LEFT, "watch-left"},
    {WATCH_TWICE, "watch-fd"},
};

Test(harness, notices_each_rule_that_is_broken, .timeout = 60)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        char violation[HVV_HARNESS_TEXT];
        live(rules[i].misdeed, HVV_SERIAL_DEVICE, violation);
        size_t len = strcspn(violation, ":");
        cr_expect(strlen(rules[i].rule) == len && strncmp(violation, rules[i].rule, len) == 0,
                  "row %zu: \"%s\" instead of %s", i, violation, rules[i].rule);
    }
}

Test(harness, queues_may_have_workers_of_their_own)
{
    char violation[HVV_HARNESS_TEXT];
    live(WORKER, HVV_SERIAL_DEVICE, violation);
    cr_expect(strcmp(violation, "") == 0, "%s", violation);
    live(WORKER, HVV_SERIAL_QUEUE, violation);
    cr_expect(strncmp(violation, "worker: ", 8) == 0, "%s", violation);
}

Test(harness, refuses_tables_the_host_would_refuse)
{
    struct hvv_harness h;
    struct hvv_plugin bad = plugin;
    bad.command_size = 0;
    hvv_harness_init(&h, &bad);
    h.on_violation = ignore;
    cr_expect(hvv_harness_create(&h, "") == -EINVAL);
    cr_expect(strncmp(h.violation, "table: ", 7) == 0, "%s", h.violation);
}

/* ---- What it plays --------------------------------------------------------------------------- */

static struct hvv_harness *begin(struct hvv_harness *h, const char *options_text)
{
    misdeed = NONE;
    cr_assert(hvv_harness_open(h, &plugin, options_text) == 0, "%s", h->error);
    hvv_harness_start(h);
    return h;
}

static void end(struct hvv_harness *h)
{
    cr_assert(hvv_harness_close(h), "%s", h->violation);
}

Test(harness, options_are_those_of_the_daemon)
{
    struct hvv_harness h;
    misdeed = NONE;
    cr_expect(hvv_harness_open(&h, &plugin, "size=5K") == -ERANGE);
    cr_expect(strstr(h.error, "out of range") && strcmp(h.error_option, "size") == 0, "%s",
              h.error);
    cr_expect(hvv_harness_open(&h, &plugin, "sise=1") == -EINVAL);
    cr_expect(strstr(h.error, "did you mean size?"), "%s", h.error);
    cr_expect(hvv_harness_open(&h, &plugin, "fails") == -ENXIO);
    cr_expect(strcmp(h.error, "asked to") == 0 && strcmp(h.error_option, "fails") == 0);
    cr_expect(h.violations == 0);
}

Test(harness, a_refusal_is_the_one_that_is_expected)
{
    struct hvv_harness h;
    misdeed = NONE;
    cr_expect(hvv_harness_refuses(&h, &plugin, "size=5K", ERANGE, "size", "out of range"));
    cr_expect(hvv_harness_refuses(&h, &plugin, "fails", ENXIO, "fails", "asked to"));
    cr_expect(!hvv_harness_refuses(&h, &plugin, "fails", EIO, "fails", "asked to"));
    cr_expect(!hvv_harness_refuses(&h, &plugin, "fails", ENXIO, "size", "asked to"));
    cr_expect(!hvv_harness_refuses(&h, &plugin, "fails", ENXIO, "fails", "said so"));
    cr_expect(!hvv_harness_refuses(&h, &plugin, "", ENXIO, "", ""));
    cr_expect(strcmp(h.error, "it was not refused") == 0 && !h.own, "%s", h.error);
    misdeed = SILENT;
    cr_expect(!hvv_harness_refuses(&h, &plugin, "", EIO, "", ""), "it did not say why");
}

Test(harness, there_is_nothing_to_stop_before_publish)
{
    struct hvv_harness h;
    misdeed = NONE;
    cr_assert(hvv_harness_open(&h, &plugin, "") == 0);
    cr_expect(hvv_harness_stop(&h) && hvv_harness_reset(&h));
    cr_expect(subject_of(&h.dev)->resets == 0);
    cr_expect(hvv_harness_close(&h), "%s", h.violation);
}

Test(harness, the_clock_is_the_tests)
{
    struct hvv_harness h;
    struct subject *s = subject_of(&begin(&h, "")->dev);
    uint64_t start = hvv_now(&h.dev);
    hvv_timer_set(&h.dev, s->timer, 5 * SECOND);
    cr_expect(hvv_harness_timers(&h) == 1 && hvv_harness_rests(&h));
    hvv_harness_advance(&h, 5 * SECOND - 1);
    cr_expect(s->expired == 0 && hvv_harness_timers(&h) == 1);
    hvv_harness_advance(&h, 1);
    cr_expect(s->expired == 1 && hvv_now(&h.dev) == start + 5 * SECOND);
    hvv_harness_advance(&h, 60 * SECOND);
    cr_expect(s->expired == 1, "a timer expires once");
    end(&h);
}

static bool has_expired(void *arg)
{
    return ((struct subject *)arg)->expired > 0;
}

Test(harness, or_that_of_the_system)
{
    struct hvv_harness h;
    struct subject *s = subject_of(&begin(&h, "")->dev);
    h.real_time = true;
    uint64_t start = hvv_now(&h.dev);
    hvv_timer_set(&h.dev, s->timer, SECOND / 50);
    cr_expect(hvv_harness_run_until(&h, has_expired, s));
    cr_expect(hvv_now(&h.dev) - start >= SECOND / 50);
    end(&h);
}

Test(harness, watches_tasks_and_polls_run_in_turns)
{
    struct hvv_harness h;
    struct subject *s = subject_of(&begin(&h, "")->dev);
    cr_assert(write(s->pipe[1], "ab", 2) == 2);
    hvv_post(&h.dev, 1, &s->task);
    cr_expect(s->ready == 0 && s->ran == 0 && !hvv_harness_rests(&h), "nothing runs by itself");
    hvv_harness_settle(&h);
    cr_expect(s->ready == 2 && s->ran == 1);
    cr_expect(s->polled > 0 && hvv_harness_rests(&h));
    end(&h);
}

Test(harness, notify_comes_when_it_is_armed)
{
    struct hvv_harness h;
    struct subject *s = subject_of(&begin(&h, "hold")->dev);
    char byte;
    struct iovec w = {&byte, 1};
    struct hvv_harness_chain *chain[3];
    for (int i = 0; i < 3; i++)
        chain[i] = hvv_harness_send(&h, 0, NULL, 0, &w, 1);
    hvv_harness_kick(&h, 0);
    cr_assert(s->n_held == 3 && h.in_flight == 3);
    hvv_release(s->held[2]);
    hvv_release(s->held[1]);
    s->n_held = 1;
    hvv_harness_kick(&h, 0);
    cr_expect(s->n_held == 1, "not after a release");
    struct hvv_chain *again[4];
    cr_expect(hvv_pop(&h.dev, 0, again, 4) == 2);
    cr_expect(again[0] == &chain[1]->chain && again[1] == &chain[2]->chain, "in their old order");
    hvv_complete(again[1], 1);
    hvv_complete(again[0], 0);
    cr_expect(chain[2]->order == 1 && chain[1]->order == 2 && chain[2]->written == 1);
    hvv_harness_send(&h, 0, NULL, 0, &w, 1);
    hvv_harness_kick(&h, 0);
    cr_expect(s->n_held == 2, "again after a pop that found less than it asked for");
    while (s->n_held > 0)
        hvv_complete(s->held[--s->n_held], 1);
    end(&h);
}

Test(harness, a_ring_can_be_full)
{
    struct hvv_harness h;
    char byte;
    begin(&h, "hold");
    cr_expect(h.n_queues == 2 && h.queue[1].size == 8 && h.queue[1].segments == 8);
    struct iovec w = {&byte, 1};
    for (int i = 0; i < 8; i++)
        cr_assert(hvv_harness_send(&h, 0, NULL, 0, &w, 1));
    cr_expect(hvv_harness_send(&h, 0, NULL, 0, &w, 1) == NULL);
    cr_expect(hvv_harness_request(&h, 0, NULL, 0, &byte, 1) == -ENOSPC);
    end(&h);
}

Test(harness, state_of_a_chain_starts_cleared_and_is_left_alone)
{
    struct hvv_harness h;
    struct hvv_chain *chain;
    char byte;
    struct subject *s = subject_of(&begin(&h, "hold")->dev);
    struct iovec w = {&byte, 1};
    for (int i = 0; i < 2; i++) {
        struct hvv_harness_chain *sent = hvv_harness_send(&h, 0, NULL, 0, &w, 1);
        cr_assert(hvv_pop(&h.dev, 0, &chain, 1) == 1);
        cr_expect((uintptr_t)chain->state % 16 == 0);
        cr_expect(*(char *)chain->state == (i ? 'x' : 0));
        *(char *)chain->state = 'x';
        hvv_complete(chain, 0);
        hvv_harness_forget(&h, sent);
    }
    cr_expect(s->n_held == 0);
    end(&h);
}

Test(harness, pausing_keeps_the_ring_and_a_reset_empties_it)
{
    struct hvv_harness h;
    char byte;
    struct subject *s = subject_of(&begin(&h, "hold")->dev);
    struct iovec w = {&byte, 1};
    struct hvv_harness_chain *chain = hvv_harness_send(&h, 0, NULL, 0, &w, 1);
    hvv_harness_kick(&h, 0);
    cr_expect(s->n_held == 1);
    cr_expect(hvv_harness_stop(&h) && s->n_held == 0 && s->stop_flags == 0 && s->resets == 1);
    hvv_harness_start(&h);
    cr_expect(s->n_held == 1, "it is there again");
    cr_expect(hvv_harness_reset(&h) && s->stop_flags == HVV_STOP_DISCARD && s->resets == 2);
    cr_expect(chain->discarded);
    hvv_harness_start(&h);
    cr_expect(s->n_held == 0, "it is gone");
    end(&h);
}

Test(harness, a_failed_device_waits_for_a_reset)
{
    struct hvv_harness h;
    char byte;
    begin(&h, "");
    hvv_broken(&h.dev, "for a reason");
    struct iovec w = {&byte, 1};
    struct hvv_harness_chain *chain = hvv_harness_send(&h, 0, NULL, 0, &w, 1);
    hvv_harness_kick(&h, 0);
    cr_expect(!hvv_harness_done(&h, chain) && strcmp(h.broken, "for a reason") == 0);
    hvv_harness_reset(&h);
    hvv_harness_start(&h);
    cr_expect(hvv_harness_request(&h, 0, NULL, 0, &byte, 1) == 0);
    end(&h);
}

Test(harness, memory_moves_under_the_plugin_only)
{
    struct hvv_harness h;
    struct subject *s = subject_of(&begin(&h, "hold")->dev);
    char *memory = hvv_harness_alloc(&h, 100);
    struct hvv_range range = {hvv_harness_address(&h, memory) + 10, 20}, far = {5, 5};
    const struct hvv_map *map = hvv_mem_map(&h.dev, &range, 1, HVV_MAP_WRITE);
    cr_assert(map && map->n_iov == 1 && map->iov[0].iov_len == 20);
    cr_expect(!hvv_mem_map(&h.dev, &far, 1, HVV_MAP_READ) && errno == EFAULT);
    strcpy(map->iov[0].iov_base, "written");
    cr_expect(strcmp(memory + 10, "written") == 0);
    struct iovec w = {memory, 100};
    hvv_harness_send(&h, 0, NULL, 0, &w, 1);
    hvv_harness_kick(&h, 0);
    const void *before = s->held[0]->writable[0].iov_base;
    cr_expect(hvv_harness_move_memory(&h) && s->moved == 3);
    strcpy(map->iov[0].iov_base, "still"); /* valid until it is unmapped */
    hvv_mem_unmap(&h.dev, map);
    struct hvv_chain *chain;
    cr_assert(hvv_pop(&h.dev, 0, &chain, 1) == 1);
    cr_expect(chain->writable[0].iov_base != before);
    strcpy(chain->writable[0].iov_base, "new place");
    cr_expect(strcmp(memory, "new place") == 0);
    hvv_complete(chain, 10);
    end(&h);
}

Test(harness, commands_have_parameters_results_and_descriptors)
{
    struct hvv_harness h;
    struct hvv_harness_call call;
    char value[16] = "";
    begin(&h, "");
    cr_expect(hvv_harness_command(&h, &call, "nosuch", NULL) == -ENOENT);
    cr_expect(hvv_harness_command(&h, &call, "now", "test=1") == -EINVAL);
    cr_expect(strstr(call.error, "did you mean text?"), "%s", call.error);
    cr_expect(hvv_harness_command(&h, &call, "now", NULL) == -ENODATA);
    cr_expect(strcmp(call.error, "no text") == 0);
    cr_expect(hvv_harness_command(&h, &call, "now", "text=a,,b") == 0);
    cr_expect(strcmp(call.results, "text=a,b number=12 ") == 0, "%s", call.results);
    cr_expect(hvv_harness_result(&call, "number", value, sizeof(value)));
    cr_expect(strcmp(value, "12") == 0 && call.fd >= 0);
    cr_expect(!hvv_harness_result(&call, "numbe", value, sizeof(value)));
    close(call.fd);
    cr_expect(hvv_harness_command(&h, &call, "later", NULL) == -EAGAIN);
    end(&h);
}

Test(harness, keeps_what_is_said)
{
    struct hvv_harness h;
    char value[16] = "";
    begin(&h, "");
    hvv_log(&h.dev, HVV_LOG_WARNING, "bad %d", 1);
    hvv_log(&h.dev, HVV_LOG_DEBUG, "more");
    cr_expect(strcmp(h.log, "bad 1") == 0 && hvv_harness_logged(&h, "more"));
    cr_expect(!hvv_harness_logged(&h, "less"));
    hvv_event(&h.dev, 0, "a=%d b=2", 1);
    cr_expect(strcmp(h.event, "a=1 b=2") == 0 && hvv_harness_events(&h, "happened") == 1);
    hvv_describe(&h.dev, "k", "v");
    cr_expect(hvv_harness_described(&h, "k", value, sizeof(value)) && strcmp(value, "v") == 0);
    hvv_describe(&h.dev, "k", NULL);
    cr_expect(!hvv_harness_described(&h, "k", value, sizeof(value)));
    cr_expect(hvv_harness_request(&h, 1, "abc", 3, NULL, 0) == 0);
    cr_expect(hvv_harness_counter(&h, "bytes") == 3);
    cr_expect(hvv_harness_wait_counter(&h, "bytes", 3));
    h.patience_ms = 10;
    cr_expect(!hvv_harness_wait_counter(&h, "bytes", 4));
    cr_expect(hvv_harness_counter_of(&h, "bytes", 1) == 3);
    cr_expect(hvv_harness_counter_of(&h, "bytes", 0) == 0);
    uint16_t two = 2;
    hvv_harness_config_write(&h, 2, &two, 2);
    cr_expect(h.config_size == 4 && h.config[0] == 7 && h.config[2] == 2);
    cr_expect(h.config_notified == 1 && h.offered == 5 && h.flags == HVV_FEATURES_IN_ORDER);
    end(&h);
}

Test(harness, shares_state_between_devices)
{
    struct hvv_harness a, b;
    struct subject *s = subject_of(&begin(&a, "")->dev), *t = subject_of(&begin(&b, "")->dev);
    cr_expect(s->shared == t->shared);
    hvv_post(&b.dev, 0, &t->task);
    hvv_harness_settle(&a);
    cr_expect(t->ran == 0, "each has a worker of its own");
    hvv_harness_settle(&b);
    cr_expect(t->ran == 1);
    end(&a);
    memset(t->shared, 1, 16);
    end(&b);
}

Test(harness, an_older_host_can_be_played)
{
    struct hvv_harness h;
    begin(&h, "");
    struct hvv_range range = {HVV_HARNESS_ADDRESS, 8};
    h.host.mem_map = NULL;
    cr_expect(!hvv_mem_map(&h.dev, &range, 1, HVV_MAP_READ) && errno == ENOTSUP);
    end(&h);
}

/* ---- Faults ---------------------------------------------------------------------------------- */

Test(harness, makes_the_nth_call_fail)
{
    struct hvv_harness h;
    misdeed = NONE;
    hvv_harness_init(&h, &plugin);
    hvv_harness_fail_at(&h, HVV_HARNESS_TIMER_NEW, 1);
    cr_expect(hvv_harness_create(&h, "") == -ENOMEM && h.violations == 0);
    begin(&h, "");
    char byte;
    hvv_harness_fail_at(&h, HVV_HARNESS_POP, 1);
    struct iovec w = {&byte, 1};
    struct hvv_harness_chain *chain = hvv_harness_send(&h, 0, NULL, 0, &w, 1);
    hvv_harness_kick(&h, 0);
    cr_expect(hvv_harness_failed(&h) && !hvv_harness_done(&h, chain));
    hvv_harness_kick(&h, 0);
    cr_expect(hvv_harness_wait(&h, chain));
    end(&h);
}

Test(harness, sweeps_over_all_services)
{
    char why[HVV_HARNESS_TEXT] = "";
    misdeed = NONE;
    cr_expect(hvv_harness_sweep(&plugin, "", why, sizeof(why)) == 5, "%s", why);
    misdeed = TIMER_LEFT;
    cr_expect(hvv_harness_sweep(&plugin, "", why, sizeof(why)) == -1);
    cr_expect(strstr(why, "timer-left"), "%s", why);
    misdeed = NONE;
    cr_expect(hvv_harness_sweep(&plugin, "fails", why, sizeof(why)) == -1);
    cr_expect(strstr(why, "asked to"), "%s", why);
}
