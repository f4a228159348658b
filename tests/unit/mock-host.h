/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mock-host.h - plays host to one device of one plugin inside a test: options, queues, chains of
 * plain memory, watches, timers, posted tasks and commands.
 *
 * All functions are called on the test's thread, which is builder and worker at once; only what the
 * ABI allows from any thread may come from threads of the plugin.
 */
#ifndef MOCK_HOST_H
#define MOCK_HOST_H

#include <hvv/plugin.h>
#include <pthread.h>
#include <stdbool.h>

#define MOCK_IOV_MAX 1026
#define MOCK_TEXT 512
#define MOCK_COUNTERS 64
#define MOCK_QUEUES 64
#define MOCK_VALUES 32

/* One chain from mock_send(); freed by mock_close(). */
struct mock_chain {
    struct hvv_chain chain; /* first, so that a plugin's chain is a mock_chain */
    struct mock_chain *next, *next_all;
    struct iovec readable[MOCK_IOV_MAX], writable[MOCK_IOV_MAX];
    bool done;
    uint32_t written;
    char failed[MOCK_TEXT]; /* what hvv_fail() said, or "" */
};

struct mock_values {
    const struct hvv_option *table;
    uint32_t n_table;
    char *name[MOCK_VALUES], *value[MOCK_VALUES];
    uint32_t n;
};

struct mock_queue {
    struct mock_chain *first, **end; /* available */
    uint32_t size, segments;
    bool running;
};

struct mock {
    struct hvv_device dev; /* first */
    struct hvv_host host;
    const struct hvv_plugin *plugin;
    struct mock_values options;
    struct mock_queue queue[MOCK_QUEUES];
    uint32_t n_queues;
    struct mock_chain *all;
    struct hvv_watch *watches;
    struct hvv_timer *timers;
    pthread_mutex_t lock;
    int wake; /* an eventfd */
    struct hvv_task *tasks;
    uint32_t in_flight;

    uint64_t clock_ahead;    /* nanoseconds that hvv_now() is before the real time; 0 at first */
    uint64_t offered, taken; /* feature bits */
    uint32_t flags;          /* of hvv_set_features() */
    uint8_t config[HVV_CONFIG_MAX];
    uint32_t config_size;
    uint32_t config_notified;
    char error[MOCK_TEXT], error_option[64];
    char log[MOCK_TEXT]; /* the last warning */
    char event[MOCK_TEXT];
    char broken[MOCK_TEXT];
    uint64_t counter[MOCK_COUNTERS];
};

/* A running or finished command. */
struct mock_call {
    struct mock *mock;
    struct mock_values params;
    bool finished;
    int32_t status;
    char error[MOCK_TEXT];
    char results[MOCK_TEXT]; /* "key=value " for each */
};

/* Creates a device from "name=value,name,..."; all offered features are taken. 0 or what create()
 * returned; then mock_close() is not needed. */
int32_t mock_open(struct mock *mock, const struct hvv_plugin *plugin, const char *spec);

/* publish() and start all queues; stop them, drain, reset() and stop(). */
void mock_start(struct mock *mock);
bool mock_stop(struct mock *mock);

/* Stops if started, destroys the device, frees all. False if something leaked or got stuck. */
bool mock_close(struct mock *mock);

struct mock_chain *mock_send(struct mock *mock, uint32_t queue, const struct iovec *readable,
                             uint32_t n_readable, const struct iovec *writable,
                             uint32_t n_writable);
void mock_kick(struct mock *mock, uint32_t queue);

/* Runs the worker until the chain is done; false after ten seconds. */
bool mock_wait(struct mock *mock, struct mock_chain *chain);

/* True if no watch is ready and no task waits: a worker would sleep now. */
bool mock_rests(struct mock *mock);

/* One turn of the worker, which sleeps for a tenth of a second if there is nothing to do. */
void mock_turn(struct mock *mock);

/* Runs the worker until it rests; false after ten seconds. */
bool mock_settle(struct mock *mock);

/* How many timers are running: 0 means that nothing wakes the worker but watches and tasks. */
uint32_t mock_timers_set(const struct mock *mock);

/* Runs the worker until a counter is at least `value`; false after ten seconds. */
bool mock_wait_counter(struct mock *mock, const char *name, uint64_t value);

/* Runs a command to its end. Returns its status. */
int32_t mock_command(struct mock *mock, struct mock_call *call, const char *name,
                     const char *params);

uint64_t mock_counter(const struct mock *mock, const char *name);

#endif
