/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvv/harness.h - plays host to one device of one plugin inside a test, in the test's process.
 *
 * The test is the operator and the guest: it gives options, sends chains, moves the clock, runs
 * commands. The harness is the host: it calls the plugin's operations in the order the ABI promises
 * and checks that the plugin keeps its side. Link with `pkg-config --libs hvisor-vhost-harness`.
 *
 *     struct hvv_harness h;
 *     char buffer[64];
 *     assert(hvv_harness_open(&h, hvv_plugin_v1(), "rate=1K") == 0);
 *     hvv_harness_start(&h);
 *     assert(hvv_harness_request(&h, 0, NULL, 0, buffer, sizeof(buffer)) == sizeof(buffer));
 *     assert(hvv_harness_counter(&h, "bytes") == sizeof(buffer));
 *     assert(hvv_harness_close(&h));
 *
 * Threads: all functions are called on one thread, the one that called hvv_harness_init(); it is
 * builder and worker at once. Threads of the plugin may use the services that the ABI allows from
 * any thread. Nothing runs by itself: the plugin is called only inside a function of the harness.
 *
 * Errors: what the plugin does against the rules of the ABI is a violation: it is printed to
 * standard error, kept in `violation`, and makes hvv_harness_close() return false. What the test
 * does wrong (a queue that does not exist) is printed and ends the process with abort().
 *
 * Several harnesses may be open at once, for devices of one plugin that share state.
 */
#ifndef HVV_HARNESS_H
#define HVV_HARNESS_H

#include <hvv/plugin.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HVV_HARNESS_TEXT 512u            /* bytes of a text, the final zero counted */
#define HVV_HARNESS_ADDRESS 0x80000000u  /* where the guest's memory starts, for the guest */

/* Services that can fail, for hvv_harness_fail_at(). */
enum hvv_harness_service {
    HVV_HARNESS_ANY,        /* whichever of them is called */
    HVV_HARNESS_ADD_QUEUES, /* -ENOMEM */
    HVV_HARNESS_CONFIG_SET, /* -EINVAL */
    HVV_HARNESS_WATCH_NEW,  /* NULL, ENOMEM */
    HVV_HARNESS_TIMER_NEW,  /* NULL, ENOMEM */
    HVV_HARNESS_MEM_MAP,    /* NULL, EFAULT */
    HVV_HARNESS_SHARED_GET, /* NULL, ENOMEM */
    HVV_HARNESS_POP,        /* 0: no chain for now, though there may be some */
    HVV_HARNESS_SERVICES,   /* how many there are */
};

/* What hvv_add_queues() was told about a queue. */
struct hvv_harness_queue {
    uint32_t size, segments, flags;
};

struct hvv_harness_own; /* what is the harness's business alone */

/*
 * One chain that the test sent. Owned by the harness, valid until hvv_harness_close() or
 * hvv_harness_forget(). Read it once hvv_harness_done() or hvv_harness_wait() said it is done.
 */
struct hvv_harness_chain {
    struct hvv_chain chain; /* first: what the plugin gets from hvv_pop(); filled in then */
    bool done;              /* finished with hvv_complete() or hvv_fail() */
    bool discarded;         /* thrown away by a reset: a driver would not see it done */
    uint32_t written;       /* by hvv_complete() */
    uint64_t order;         /* 1 for the first chain finished on this device, then 2... */
    char failed[HVV_HARNESS_TEXT]; /* what hvv_fail() said, or "" */

    struct hvv_harness_chain *next, *next_all;
    struct iovec *sent, *seen; /* as the test gave them; as the plugin gets them */
    uint64_t popped;           /* its number among those popped, 0: it is in the ring */
    uint32_t state;            /* which hvv_chain.state it has */
    bool old;                  /* popped before the guest's memory moved */
};

/*
 * A device under test. The test owns the struct; set what is under "before create" between
 * hvv_harness_init() and hvv_harness_create(), and only read the rest.
 */
struct hvv_harness {
    struct hvv_device dev; /* first; before create: `id` ("harness") and `directory` (NULL) */
    struct hvv_host host;  /* before create: set a service to NULL to have an older host */
    const struct hvv_plugin *plugin;

    /* Before create, and any time after */
    bool real_time;        /* the clock is the system's; timers expire by themselves */
    bool forgiving;        /* hvv_fail() and hvv_broken() do not stop the device */
    uint32_t patience_ms;  /* how long to wait for the plugin before giving up; 10000 */
    /* Called for each violation, on the thread that did it, instead of printing it; or NULL. */
    void (*on_violation)(struct hvv_harness *h, const char *rule, const char *text);
    /* Called before each call of the plugin, and after it with `over`, on its thread; or NULL. */
    void (*on_call)(struct hvv_harness *h, const char *what, bool over);

    /* What the device is */
    uint64_t offered;      /* features of hvv_set_features() */
    uint64_t taken;        /* negotiated: all that are offered, unless the test changes it */
    uint32_t flags;        /* of hvv_set_features() */
    uint32_t n_queues;
    struct hvv_harness_queue queue[HVV_QUEUES_MAX];
    uint32_t config_size;
    uint8_t config[HVV_CONFIG_MAX];

    /* What it said; look while no thread of the plugin may be writing */
    uint32_t config_notified;            /* times the driver was told of a change */
    char error[HVV_HARNESS_TEXT];        /* why create() failed: the plugin's or the parser's */
    char error_option[64];               /* the option at fault, or "" */
    char log[HVV_HARNESS_TEXT];          /* the last line of level warning or error */
    char event[HVV_HARNESS_TEXT];        /* the last event's text */
    char broken[HVV_HARNESS_TEXT];       /* what hvv_broken() or hvv_fail() said first, or "" */
    uint32_t in_flight;                  /* chains popped and not finished */
    uint32_t violations;
    char violation[HVV_HARNESS_TEXT];    /* the first one: RULE: what was done */
    uint64_t slowest_ns;                 /* the longest that one call of the plugin took */
    const char *slowest;                 /* which one: "create", "notify", ... */

    struct hvv_harness_own *own;
};

/* A command that runs or is finished. Owned by the test; must live until it is finished. */
struct hvv_harness_call {
    struct hvv_harness *harness;
    bool finished;
    int32_t status;                 /* 0 or a negative errno */
    int fd;                         /* what the command handed over, or -1; the test closes it */
    char error[HVV_HARNESS_TEXT];   /* why it was refused */
    char results[4096];             /* "key=value " for each, in order */
    void *own;
};

/* ---- Life ------------------------------------------------------------------------------------ */

/*
 * Prepares `h`, whose old contents are not looked at. The plugin, its tables and hvv_plugin.ops
 * must outlive it. Ends with hvv_harness_create() that fails, or hvv_harness_close().
 */
void hvv_harness_init(struct hvv_harness *h, const struct hvv_plugin *plugin);

/*
 * Checks `options`, written as an operator writes them behind `NAME:` ("/img.raw,ro,queues=2"; ""
 * or NULL for none), and calls create(). 0, or a negative errno with `error` set; then all is freed
 * already, and what create() left behind is a violation.
 */
int32_t hvv_harness_create(struct hvv_harness *h, const char *options);

/* hvv_harness_init() and hvv_harness_create(). */
int32_t hvv_harness_open(struct hvv_harness *h, const struct hvv_plugin *plugin,
                         const char *options);

/*
 * Are `options` refused as they should be: with -err (`err` is positive), `option` at fault ("" for
 * none of them), `words` in the sentence that says why, and no violation? Leaves no device, whatever
 * comes; `error`, `error_option` and `violation` say what did.
 */
bool hvv_harness_refuses(struct hvv_harness *h, const struct hvv_plugin *plugin,
                         const char *options, int32_t err, const char *option, const char *words);

/* publish(), unless that was done before, and all queues. */
void hvv_harness_start(struct hvv_harness *h);

/*
 * Stops all queues as for a guest that is paused, waits until no chain is unfinished, then reset().
 * The clock goes on to the next timer when nothing else is left to do. Chains in the rings stay.
 * False if chains were not finished in time. Before publish() there is nothing to stop.
 */
bool hvv_harness_stop(struct hvv_harness *h);

/* The driver resets the device: as hvv_harness_stop(), with HVV_STOP_DISCARD, and empty rings. */
bool hvv_harness_reset(struct hvv_harness *h);

/* One queue. Starting it calls notify() if chains are there; stopping it waits. */
void hvv_harness_queue_start(struct hvv_harness *h, uint32_t queue);
bool hvv_harness_queue_stop(struct hvv_harness *h, uint32_t queue, uint32_t flags);

/*
 * Stops what runs, then stop(), destroy(), and frees all. True if there was no violation in the
 * life of `h`. The texts and numbers in `h` can still be read.
 */
bool hvv_harness_close(struct hvv_harness *h);

/* ---- Chains ---------------------------------------------------------------------------------- */

/*
 * Puts a chain into the ring of `queue`; the device is not told yet. The iovecs are copied; what
 * they point at, any memory of the test or from hvv_harness_alloc(), must live until the chain is
 * done. NULL if the ring is full: it holds as many chains as hvv_add_queues() said.
 */
struct hvv_harness_chain *hvv_harness_send(struct hvv_harness *h, uint32_t queue,
                                           const struct iovec *readable, uint32_t n_readable,
                                           const struct iovec *writable, uint32_t n_writable);

/* Tells the device: calls notify() as the host would, if chains are there and it is armed. */
void hvv_harness_kick(struct hvv_harness *h, uint32_t queue);

/* Is the chain done? Runs nothing. */
bool hvv_harness_done(struct hvv_harness *h, const struct hvv_harness_chain *chain);

/* Runs the worker until the chain is done; false if that did not happen in time. */
bool hvv_harness_wait(struct hvv_harness *h, const struct hvv_harness_chain *chain);

/* Frees a chain that is done, in a test that sends very many. */
void hvv_harness_forget(struct hvv_harness *h, struct hvv_harness_chain *chain);

/*
 * Sends a chain of at most one readable and one writable buffer, kicks and waits. Returns the bytes
 * written, -EPROTO if the device failed the chain, -ETIMEDOUT if it never came back, -ENOSPC if the
 * ring is full.
 */
int64_t hvv_harness_request(struct hvv_harness *h, uint32_t queue, const void *readable,
                            size_t n_readable, void *writable, size_t n_writable);

/* ---- Time and events ------------------------------------------------------------------------- */

/*
 * One turn of the worker: tasks, timers that are due, watches that are ready, then poll(). Waits at
 * most `timeout_ms` for something to happen. True if something did.
 */
bool hvv_harness_turn(struct hvv_harness *h, int timeout_ms);

/* Turns, without waiting, until nothing happens any more; false if that did not come in time. */
bool hvv_harness_settle(struct hvv_harness *h);

/* Is there nothing to do: no task, no watch that is ready, no timer that is due? Runs nothing. */
bool hvv_harness_rests(struct hvv_harness *h);

/* How many timers are set. */
uint32_t hvv_harness_timers(struct hvv_harness *h);

/* Turns until `done` says so; false if that did not happen in time. */
bool hvv_harness_run_until(struct hvv_harness *h, bool (*done)(void *arg), void *arg);

/* Turns until a counter is at least `value`; false if that did not happen in time. */
bool hvv_harness_wait_counter(struct hvv_harness *h, const char *name, uint64_t value);

/*
 * Moves the clock forward, expiring timers on the way, each at its time. hvv_now() starts at one
 * second and stands still otherwise. Not with `real_time`.
 */
void hvv_harness_advance(struct hvv_harness *h, uint64_t nanoseconds);

/* ---- Guest memory ---------------------------------------------------------------------------- */

/*
 * `size` bytes of the guest's memory (1 GiB in all), cleared, aligned to 4096. Freed by
 * hvv_harness_close().
 */
void *hvv_harness_alloc(struct hvv_harness *h, size_t size);

/* Where the guest has memory from hvv_harness_alloc(): for addresses inside a buffer. */
uint64_t hvv_harness_address(struct hvv_harness *h, const void *memory);

/*
 * The guest's memory map changes: it is somewhere else in the plugin's address space from now on;
 * the test's pointers stay. Calls memory_changed() and waits until all chains popped before are
 * finished or released; false if that did not happen in time. When no chain and no map is left in
 * the old place, an access to it is a fault.
 */
bool hvv_harness_move_memory(struct hvv_harness *h);

/* ---- Config space ---------------------------------------------------------------------------- */

/* The driver writes to the config space, inside its limits. */
void hvv_harness_config_write(struct hvv_harness *h, uint32_t offset, const void *data,
                              uint32_t size);

/* ---- Commands -------------------------------------------------------------------------------- */

/*
 * Runs a command to its end; `params` is "name=value,..." or NULL. Returns its status: -ENOENT if
 * the plugin has no such command, -EINVAL... if the parameters are not right (`error` says why),
 * -ETIMEDOUT if it did not end in time.
 */
int32_t hvv_harness_command(struct hvv_harness *h, struct hvv_harness_call *call, const char *name,
                            const char *params);

/* The same in two steps. The first returns -EINPROGRESS if there is something to wait for. */
int32_t hvv_harness_command_start(struct hvv_harness *h, struct hvv_harness_call *call,
                                  const char *name, const char *params);
int32_t hvv_harness_command_wait(struct hvv_harness_call *call);

/* Copies the first result with this key to `value`; false if there is none or it does not fit. */
bool hvv_harness_result(const struct hvv_harness_call *call, const char *key, char *value,
                        size_t size);

/* ---- What the device said -------------------------------------------------------------------- */

/* A counter of the plugin's table by name: the sum over queues, or that of one queue. */
uint64_t hvv_harness_counter(struct hvv_harness *h, const char *name);
uint64_t hvv_harness_counter_of(struct hvv_harness *h, const char *name, uint32_t queue);

/* How many events of this name were sent. */
uint32_t hvv_harness_events(struct hvv_harness *h, const char *name);

/* Does a line of the log, of any level, contain `text`? */
bool hvv_harness_logged(struct hvv_harness *h, const char *text);

/* Copies the value of a line of hvv_describe(); false if there is none with this key. */
bool hvv_harness_described(struct hvv_harness *h, const char *key, char *value, size_t size);

/* ---- Faults ---------------------------------------------------------------------------------- */

/* The call number `nth` of `service` from now on fails, once; 0 forgets it. */
void hvv_harness_fail_at(struct hvv_harness *h, enum hvv_harness_service service, uint32_t nth);

/* Has the call that hvv_harness_fail_at() named failed? */
bool hvv_harness_failed(struct hvv_harness *h);

/*
 * Opens, starts and closes a device again and again, with the first, second, ... call of a service
 * failing, until none is left that did not fail once. Returns how many there were, or -1 when a
 * device without a fault could not be opened, or a violation happened; `why` says which.
 */
int32_t hvv_harness_sweep(const struct hvv_plugin *plugin, const char *options, char *why,
                          size_t size);

#ifdef __cplusplus
}
#endif

#endif
