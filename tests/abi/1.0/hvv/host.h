/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvv/host.h - the services the host gives a plugin.
 *
 * struct hvv_host is a table of functions reached through dev->host; the hvv_*() wrappers below
 * are how to call them. Each says what it does, its limits, who owns what, and on which threads it
 * may be called:
 *     create   only inside create()
 *     worker   only in callbacks on the worker of the device (or of the queue it names)
 *     any      any thread, between create() and destroy()
 * All services here exist since ABI 1.0.
 */
#ifndef HVV_HOST_H
#define HVV_HOST_H

#include <errno.h>
#include <hvv/chain.h>
#include <hvv/command.h>
#include <hvv/device.h>
#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bits of hvv_host.caps; a plugin lists those it cannot do without in hvv_plugin.needs. */
#define HVV_CAP_MAP (1ull << 0)    /* hvv_mem_map() */
#define HVV_CAP_SHARED (1ull << 1) /* hvv_shared_get() */

enum hvv_log_level {
    HVV_LOG_ERROR = 0,
    HVV_LOG_WARNING = 1,
    HVV_LOG_INFO = 2,
    HVV_LOG_DEBUG = 3,
};

/*
 * Flags of hvv_set_features(). HVV_FEATURES_IN_ORDER: the host may offer VIRTIO_F_IN_ORDER, since
 * chains are finished in the order they were popped, or none waits for something that a later chain
 * or an outsider has to do: the driver sees no chain before those popped earlier are finished.
 */
#define HVV_FEATURES_IN_ORDER 1u

/* Flags of hvv_add_queues() */
#define HVV_QUEUES_TOGETHER 1u /* these share a worker: calls for them come one at a time */

/* Flags of hvv_config_set() */
#define HVV_CONFIG_NOTIFY 1u /* send the driver a configuration change notification */

/* What a watch waits for */
#define HVV_WATCH_READ 1u
#define HVV_WATCH_WRITE 2u

/* What a map is for */
#define HVV_MAP_READ 1u
#define HVV_MAP_WRITE 2u

#define HVV_CONFIG_MAX 256u /* bytes of config space, the most that vhost-user can carry */
#define HVV_QUEUES_MAX 256u
#define HVV_QUEUE_SIZE_MAX 1024u
#define HVV_SEGMENTS_MAX 1024u /* buffers of one chain */
#define HVV_MAP_PIECES_MAX 65536u /* of all maps of a device */
#define HVV_SHARED_MAX (64u << 20) /* bytes of one shared state */

struct hvv_watch;
struct hvv_timer;

/*
 * A piece of work to run on a worker. Memory of the plugin; the host uses `link` from hvv_post()
 * until it calls run(), so it cannot be posted again before.
 */
struct hvv_task {
    void (*run)(struct hvv_task *task);
    void *link[2];
};

/* A piece of guest memory as the driver names it. */
struct hvv_range {
    uint64_t address;
    uint64_t size; /* 1 to UINT32_MAX */
};

/*
 * Guest memory behind addresses that came inside a buffer. Owned by the host, valid until
 * hvv_mem_unmap() or the return of reset().
 */
struct hvv_map {
    uint32_t size;
    uint32_t n_iov;
    const struct iovec *iov; /* the ranges' bytes in order; guest memory, see hvv/chain.h */
};

struct hvv_host {
    uint32_t size;
    uint16_t abi_major, abi_minor;
    uint64_t caps;

    void (*log)(struct hvv_device *dev, uint32_t level, const char *fmt, va_list args);
    void (*error)(struct hvv_device *dev, int32_t err, const char *option, const char *fmt,
                  va_list args);

    uint32_t (*option_count)(struct hvv_device *dev, const char *name);
    const char *(*option_string)(struct hvv_device *dev, const char *name, uint32_t index);
    uint64_t (*option_u64)(struct hvv_device *dev, const char *name, uint32_t index);
    uint32_t (*option_given)(struct hvv_device *dev, const char *name);

    void (*set_features)(struct hvv_device *dev, uint64_t features, uint32_t flags);
    int32_t (*add_queues)(struct hvv_device *dev, uint32_t count, uint32_t size, uint32_t segments,
                          uint32_t flags);
    int32_t (*config_set)(struct hvv_device *dev, uint32_t offset, const void *data, uint32_t size,
                          uint32_t flags);
    uint64_t (*features)(struct hvv_device *dev);

    uint32_t (*pop)(struct hvv_device *dev, uint32_t queue, struct hvv_chain **chains,
                    uint32_t max);
    void (*complete)(struct hvv_chain *chain, uint32_t written);
    void (*fail)(struct hvv_chain *chain, const char *fmt, va_list args);
    void (*release)(struct hvv_chain *chain);
    void (*broken)(struct hvv_device *dev, const char *fmt, va_list args);

    struct hvv_watch *(*watch_new)(struct hvv_device *dev, uint32_t queue, int fd,
                                   void (*ready)(void *arg, uint32_t events), void *arg);
    void (*watch_set)(struct hvv_watch *watch, uint32_t events);
    void (*watch_free)(struct hvv_watch *watch);
    struct hvv_timer *(*timer_new)(struct hvv_device *dev, uint32_t queue,
                                   void (*expired)(void *arg), void *arg);
    void (*timer_set)(struct hvv_timer *timer, uint64_t nanoseconds);
    void (*timer_free)(struct hvv_timer *timer);
    void (*post)(struct hvv_device *dev, uint32_t queue, struct hvv_task *task);

    const struct hvv_map *(*mem_map)(struct hvv_device *dev, const struct hvv_range *ranges,
                                     uint32_t n, uint32_t access);
    void (*mem_unmap)(struct hvv_device *dev, const struct hvv_map *map);

    void *(*shared_get)(struct hvv_device *dev, const char *name, uint64_t size,
                        int32_t (*init)(void *shared, void *arg), void (*fini)(void *shared),
                        void *arg);
    void (*shared_put)(struct hvv_device *dev, void *shared);

    void (*count)(struct hvv_device *dev, uint32_t counter, uint32_t queue, uint64_t n);
    void (*gauge)(struct hvv_device *dev, uint32_t counter, uint32_t queue, uint64_t value);
    void (*event)(struct hvv_device *dev, uint32_t event, const char *fmt, va_list args);

    void (*describe)(struct hvv_device *dev, const char *key, const char *value);
    uint64_t (*now)(struct hvv_device *dev);

    uint32_t (*call_count)(struct hvv_call *call, const char *param);
    const char *(*call_string)(struct hvv_call *call, const char *param, uint32_t index);
    uint64_t (*call_u64)(struct hvv_call *call, const char *param, uint32_t index);
    void (*call_result)(struct hvv_call *call, const char *key, const char *value);
    void (*call_result_u64)(struct hvv_call *call, const char *key, uint64_t value);
    void (*call_result_fd)(struct hvv_call *call, int fd);
    void (*call_error)(struct hvv_call *call, int32_t err, const char *fmt, va_list args);
    void (*call_finish)(struct hvv_call *call, int32_t status);
};

/* ---- Telling people -------------------------------------------------------------------------- */

/*
 * Writes one line to the daemon's log, with the device's name in front. errno is preserved. The
 * host limits the rate per device, so a plugin may log what a guest or its back-end causes. Thread:
 * any.
 */
HVV_PRINTF(3, 4)
static inline void hvv_log(struct hvv_device *dev, uint32_t level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    dev->host->log(dev, level, fmt, args);
    va_end(args);
}

/*
 * Says why create() is about to fail: one sentence with the value, the limit and the fix. The host
 * adds the device's name. Returns -`err`, so that a plugin can write
 * `return hvv_error(dev, ENOENT, "...")`. Thread: create.
 */
HVV_PRINTF(3, 4)
static inline int32_t hvv_error(struct hvv_device *dev, int32_t err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    dev->host->error(dev, err, NULL, fmt, args);
    va_end(args);
    return -err;
}

/* The same, naming the option at fault. Thread: create. */
HVV_PRINTF(4, 5)
static inline int32_t hvv_error_option(struct hvv_device *dev, int32_t err, const char *option,
                                       const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    dev->host->error(dev, err, option, fmt, args);
    va_end(args);
    return -err;
}

/*
 * Adds `n` to the counter at index `counter` of the plugin's table; `queue` is which queue's if the
 * counter is HVV_COUNTER_QUEUE, else it is not looked at. Thread: any.
 */
static inline void hvv_count(struct hvv_device *dev, uint32_t counter, uint32_t queue, uint64_t n)
{
    dev->host->count(dev, counter, queue, n);
}

/* Sets a counter that is HVV_COUNTER_GAUGE; as hvv_count(). */
static inline void hvv_gauge(struct hvv_device *dev, uint32_t counter, uint32_t queue,
                             uint64_t value)
{
    dev->host->gauge(dev, counter, queue, value);
}

/*
 * Adds a line to what `show` says about the device: a name the back-end chose, say. Both are
 * copied; the same key again replaces it, `value` NULL removes it. At most 32 lines. Thread: any.
 */
static inline void hvv_describe(struct hvv_device *dev, const char *key, const char *value)
{
    dev->host->describe(dev, key, value);
}

/* Nanoseconds on a clock that never jumps. A test host may have a clock of its own. Thread: any. */
static inline uint64_t hvv_now(struct hvv_device *dev)
{
    return dev->host->now(dev);
}

/*
 * Sends the event at index `event` of the plugin's table to whoever follows events. The text is
 * words KEY=VALUE separated by one space (values without spaces), which become members of the
 * event; at most 255 bytes. Dropped before publish() has returned, and when a device sends too many.
 * Thread: any.
 */
HVV_PRINTF(3, 4)
static inline void hvv_event(struct hvv_device *dev, uint32_t event, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    dev->host->event(dev, event, fmt, args);
    va_end(args);
}

/* ---- Options --------------------------------------------------------------------------------- */
/* Strings belong to the host and live as long as the device. Thread of all: any. */

/* How many times `name` was given, its default counted: 0 or 1, or more for HVV_OPTION_MULTI. */
static inline uint32_t hvv_option_count(struct hvv_device *dev, const char *name)
{
    return dev->host->option_count(dev, name);
}

/* The value of a STRING, PATH or CHOICE, or NULL if it was not given and has no default. */
static inline const char *hvv_option_string(struct hvv_device *dev, const char *name)
{
    return dev->host->option_string(dev, name, 0);
}

/* The value number `index` of a MULTI option, or NULL. */
static inline const char *hvv_option_string_at(struct hvv_device *dev, const char *name,
                                               uint32_t index)
{
    return dev->host->option_string(dev, name, index);
}

/* The value of a U64 or SIZE, 1 or 0 of a BOOL; 0 if it was not given and has no default. */
static inline uint64_t hvv_option_u64(struct hvv_device *dev, const char *name)
{
    return dev->host->option_u64(dev, name, 0);
}

/* The value number `index` of a MULTI option, or 0. */
static inline uint64_t hvv_option_u64_at(struct hvv_device *dev, const char *name, uint32_t index)
{
    return dev->host->option_u64(dev, name, index);
}

/* 1 if the operator wrote the option, 0 if it has its default or no value. */
static inline uint32_t hvv_option_given(struct hvv_device *dev, const char *name)
{
    return dev->host->option_given(dev, name);
}

/* ---- Describing the device ------------------------------------------------------------------- */

/*
 * Offers feature bits of the device type: bits 0 to 23 and 50 to 63 (virtio 1.2, section 2.2).
 * Ring and transport bits are the host's; others here are ignored. Thread: create.
 */
static inline void hvv_set_features(struct hvv_device *dev, uint64_t features, uint32_t flags)
{
    dev->host->set_features(dev, features, flags);
}

/*
 * Appends `count` virtqueues of at most `size` descriptors (a power of two, at most
 * HVV_QUEUE_SIZE_MAX); the driver may choose a smaller size. Some front-ends choose without asking
 * (User-mode Linux 256, QEMU up to 1024), so offer HVV_QUEUE_SIZE_MAX unless there is a reason not
 * to. `segments`, at most HVV_SEGMENTS_MAX, is how many buffers one chain can need, headers
 * counted: an indirect chain may be that long even if the ring is smaller. `flags` are
 * HVV_QUEUES_*. Returns the index of the first, or -EINVAL, -ENOMEM. Thread: create.
 */
static inline int32_t hvv_add_queues(struct hvv_device *dev, uint32_t count, uint32_t size,
                                     uint32_t segments, uint32_t flags)
{
    return dev->host->add_queues(dev, count, size, segments, flags);
}

/*
 * Stores `size` bytes at `offset` of the config space (little-endian fields). In create() the
 * furthest end of all calls sets its length; later, -EINVAL past its end. Each call is one step for
 * the driver: it sees all of it or nothing (config generation). With HVV_CONFIG_NOTIFY the driver,
 * if there is one, is told. Thread: any.
 */
static inline int32_t hvv_config_set(struct hvv_device *dev, uint32_t offset, const void *data,
                                     uint32_t size, uint32_t flags)
{
    return dev->host->config_set(dev, offset, data, size, flags);
}

/*
 * The negotiated features, restricted to those this device offered; stable while a queue runs, 0
 * before the driver has negotiated. VIRTIO_F_VERSION_1 is always negotiated: the host starts no
 * queue for a driver without it. Thread: worker.
 */
static inline uint64_t hvv_features(struct hvv_device *dev)
{
    return dev->host->features(dev);
}

/* ---- Chains ---------------------------------------------------------------------------------- */

/*
 * Takes up to `max` available chains of `queue`, oldest first. Fewer than `max` means there are no
 * more for now: notify() will be called when there are. Each belongs to the plugin until it is
 * finished. Thread: worker of the queue.
 */
static inline uint32_t hvv_pop(struct hvv_device *dev, uint32_t queue, struct hvv_chain **chains,
                               uint32_t max)
{
    return dev->host->pop(dev, queue, chains, max);
}

/*
 * Finishes a chain: `written` bytes at the start of its writable part were written, without gaps
 * (virtio 1.2, section 2.7.8.2); may be 0. Chains may be finished in any order; used entries appear
 * in the order of the calls. All that is finished in one callback (of a watch, timer or task, too)
 * on the worker of the queue appears together, with at most one interrupt, after the callback;
 * VIRTIO_NET_F_MRG_RXBUF relies on it. After a reset nothing is shown to the driver. When this
 * returns the chain, and its device if that is another one, may be gone. Thread: any; cheapest on
 * the worker of the chain's queue.
 */
static inline void hvv_complete(struct hvv_chain *chain, uint32_t written)
{
    chain->dev->host->complete(chain, written);
}

/*
 * Finishes a chain that breaks the device's rules (a header too short, a command that makes no
 * sense): the device stops until the driver resets it (virtio 1.2, section 2.1.1,
 * DEVICE_NEEDS_RESET). Say what was seen and what the limit is. An I/O error is not that: it has a
 * status the driver understands, written before hvv_complete(). Thread: any.
 */
HVV_PRINTF(2, 3)
static inline void hvv_fail(struct hvv_chain *chain, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    chain->dev->host->fail(chain, fmt, args);
    va_end(args);
}

/*
 * Gives a chain back unused; the next hvv_pop() returns it again (notify() is not called for it),
 * or the driver gets it back when the queue stops. Only the newest chain popped and not released
 * yet can be released: every chain popped after it must have been released, not completed; older
 * ones may be in any state. Also allowed after queue_stop() returned. Thread: worker of the queue.
 */
static inline void hvv_release(struct hvv_chain *chain)
{
    chain->dev->host->release(chain);
}

/* Stops the device as hvv_fail() does, with no chain at hand. Thread: any. */
HVV_PRINTF(2, 3)
static inline void hvv_broken(struct hvv_device *dev, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    dev->host->broken(dev, fmt, args);
    va_end(args);
}

/* ---- Events ---------------------------------------------------------------------------------- */

/*
 * A watch on a file descriptor, calling `ready` on the worker of `queue` (which was added before)
 * with HVV_WATCH_* bits while the descriptor is ready (level-triggered); an error or hang-up counts
 * as all that is waited for. It starts disarmed: arm it with hvv_watch_set(), in queue_start() of
 * that queue, or in publish() for queue 0. The descriptor stays the plugin's and must outlive the
 * watch; it can have one watch per worker. A watch may be freed in its own callback. Returns NULL
 * with errno set. Thread: create, worker.
 */
static inline struct hvv_watch *hvv_watch_new(struct hvv_device *dev, uint32_t queue, int fd,
                                              void (*ready)(void *arg, uint32_t events), void *arg)
{
    return dev->host->watch_new(dev, queue, fd, ready, arg);
}

/* Sets what a watch waits for; 0 disarms it. Thread: worker of the queue. */
static inline void hvv_watch_set(struct hvv_device *dev, struct hvv_watch *watch, uint32_t events)
{
    dev->host->watch_set(watch, events);
}

/* Frees a watch; NULL is fine. Thread: worker of the queue; create and destroy() too. */
static inline void hvv_watch_free(struct hvv_device *dev, struct hvv_watch *watch)
{
    dev->host->watch_free(watch);
}

/* A timer calling `expired` on the worker of `queue`, once per hvv_timer_set(). As watches. */
static inline struct hvv_timer *hvv_timer_new(struct hvv_device *dev, uint32_t queue,
                                              void (*expired)(void *arg), void *arg)
{
    return dev->host->timer_new(dev, queue, expired, arg);
}

/* Lets the timer expire once, `nanoseconds` from now; 0 stops it. Thread: worker of the queue. */
static inline void hvv_timer_set(struct hvv_device *dev, struct hvv_timer *timer,
                                 uint64_t nanoseconds)
{
    dev->host->timer_set(timer, nanoseconds);
}

/* Frees a timer; NULL is fine. Thread: as hvv_watch_free(). */
static inline void hvv_timer_free(struct hvv_device *dev, struct hvv_timer *timer)
{
    dev->host->timer_free(timer);
}

/*
 * Runs `task` on the worker of `queue` of `dev`, which may be another device of the same plugin
 * (found through shared state, which must guarantee that it is not destroyed meanwhile). Never
 * fails and never waits. Tasks posted before stop() returns are run, those posted before publish()
 * was called are not: a device whose request fails is destroyed without waiting. Thread: any.
 */
static inline void hvv_post(struct hvv_device *dev, uint32_t queue, struct hvv_task *task)
{
    dev->host->post(dev, queue, task);
}

/* ---- Guest memory ---------------------------------------------------------------------------- */

/*
 * Maps `n` ranges of guest memory, addresses that came inside a buffer, as one map: all or nothing.
 * `access` is HVV_MAP_*. NULL with errno EFAULT if not all of it is guest memory (or queue 0 is
 * stopped), ENOSPC beyond HVV_MAP_PIECES_MAX pieces, ENOMEM. Thread: worker of queue 0.
 */
static inline const struct hvv_map *hvv_mem_map(struct hvv_device *dev,
                                                const struct hvv_range *ranges, uint32_t n,
                                                uint32_t access)
{
    if (!HVV_HAS(struct hvv_host, dev->host, mem_map)) {
        errno = ENOTSUP;
        return NULL;
    }
    return dev->host->mem_map(dev, ranges, n, access);
}

/* Ends a map; NULL is fine. Thread: worker of queue 0. */
static inline void hvv_mem_unmap(struct hvv_device *dev, const struct hvv_map *map)
{
    if (map)
        dev->host->mem_unmap(dev, map);
}

/* ---- State shared by the devices of one plugin ----------------------------------------------- */

/*
 * The state called `name` of this plugin: `size` bytes (at most HVV_SHARED_MAX), cleared and passed
 * to init() with `arg` when the first device gets it, passed to fini() when the last one puts it
 * back. A create() that fails puts back what it got. The plugin locks inside it. Two versions of a
 * plugin share nothing. Returns NULL with errno set: what init() returned, EINVAL for another size
 * than the state has, ENOMEM. Thread: create; put also in destroy().
 */
static inline void *hvv_shared_get(struct hvv_device *dev, const char *name, uint64_t size,
                                   int32_t (*init)(void *shared, void *arg),
                                   void (*fini)(void *shared), void *arg)
{
    if (!HVV_HAS(struct hvv_host, dev->host, shared_get)) {
        errno = ENOTSUP;
        return NULL;
    }
    return dev->host->shared_get(dev, name, size, init, fini, arg);
}

static inline void hvv_shared_put(struct hvv_device *dev, void *shared)
{
    if (shared)
        dev->host->shared_put(dev, shared);
}

/* ---- Commands -------------------------------------------------------------------------------- */
/* `call` belongs to the host and lives until the command is finished. */

/* How many values a parameter has, as hvv_option_count(). Thread: any, until finished. */
static inline uint32_t hvv_call_count(struct hvv_device *dev, struct hvv_call *call,
                                      const char *param)
{
    return dev->host->call_count(call, param);
}

/* The value of a parameter, as hvv_option_string(). Thread: any, until finished. */
static inline const char *hvv_call_string(struct hvv_device *dev, struct hvv_call *call,
                                          const char *param)
{
    return dev->host->call_string(call, param, 0);
}

static inline const char *hvv_call_string_at(struct hvv_device *dev, struct hvv_call *call,
                                             const char *param, uint32_t index)
{
    return dev->host->call_string(call, param, index);
}

/* The value of a parameter, as hvv_option_u64(). Thread: any, until finished. */
static inline uint64_t hvv_call_u64(struct hvv_device *dev, struct hvv_call *call,
                                    const char *param)
{
    return dev->host->call_u64(call, param, 0);
}

/*
 * Adds a line to the result; key and value are copied. The same key again makes a list. Thread:
 * any, until finished.
 */
static inline void hvv_call_result(struct hvv_device *dev, struct hvv_call *call, const char *key,
                                   const char *value)
{
    dev->host->call_result(call, key, value);
}

static inline void hvv_call_result_u64(struct hvv_device *dev, struct hvv_call *call,
                                       const char *key, uint64_t value)
{
    dev->host->call_result_u64(call, key, value);
}

/* Hands `fd` to the caller; the host owns it then. One at most. Thread: any, until finished. */
static inline void hvv_call_result_fd(struct hvv_device *dev, struct hvv_call *call, int fd)
{
    dev->host->call_result_fd(call, fd);
}

/* Says why the command is refused. Returns -`err`. Thread: any, until finished. */
HVV_PRINTF(4, 5)
static inline int32_t hvv_call_error(struct hvv_device *dev, struct hvv_call *call, int32_t err,
                                     const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    dev->host->call_error(call, err, fmt, args);
    va_end(args);
    return -err;
}

/* Ends a command whose run() returned -EINPROGRESS, with 0 or a negative errno. Thread: any. */
static inline void hvv_call_finish(struct hvv_device *dev, struct hvv_call *call, int32_t status)
{
    dev->host->call_finish(call, status);
}

#ifdef __cplusplus
}
#endif

#endif
