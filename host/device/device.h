/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.h - one device: what the operator asked for, the plugin's instance, its queues, its life.
 *
 *     NEW -> STAGED -> PUBLISHED -> QUIESCING -> RETIRED -> GONE
 *      |        |                                             ^
 *      +--------+---------------------------------------------+     (a request that failed)
 *
 *     NEW        being created by the builder
 *     STAGED     ready, out of sight
 *     PUBLISHED  its guest can see it
 *     QUIESCING  being removed: no new work, what is under way finishes
 *     RETIRED    nothing runs any more; waits for destroy()
 *     GONE       freed right after
 *
 * Who owns what: the builder owns a device until it is staged and again once it is retired; in
 * between it belongs to the control thread, except for what is marked `worker` or atomic.
 */
#ifndef HOST_DEVICE_DEVICE_H
#define HOST_DEVICE_DEVICE_H

#include "conf/options.h"
#include "conf/spec.h"
#include "device/config-space.h"
#include "device/queue.h"
#include "memory/memory.h"
#include "plugin/loader.h"
#include "util/callback.h"
#include "util/error.h"
#include "util/log.h"

#include <hvv/plugin.h>
#include <pthread.h>
#include <string.h>
#include <sys/queue.h>

#define DEVICE_ID_MAX 31u

struct daemon;
struct device;
struct slot;

enum device_state {
    DEVICE_NEW,
    DEVICE_STAGED,
    DEVICE_PUBLISHED,
    DEVICE_QUIESCING,
    DEVICE_RETIRED,
    DEVICE_GONE,
};

/* How a guest reaches a device. A transport is a folder; only create.c knows their names. */
struct transport_ops {
    const char *name;

    /* Control: makes the staged device visible. The last thing in a request that may fail. */
    int (*listen)(struct device *dev, struct error *error);
    /* Control: all devices of the request listen; from here on serve. */
    void (*publish)(struct device *dev);
    /* Control: is a driver using the device? */
    bool (*bound)(const struct device *dev);
    /* Control: no more of the guest. done() when its queues are stopped and all is reset. */
    void (*close)(struct device *dev, void (*done)(struct device *dev));
    /* Builder: frees what the transport staged. Also for a device never published. */
    void (*destroy)(struct device *dev);

    /* Worker: a queue runs, or stopped. Arm or disarm its notifications. */
    void (*queue_running)(struct queue *q, bool running);
    /* Worker: tell the driver that queue `q` has used buffers. */
    void (*interrupt)(struct queue *q);

    /* Control: the config space changed, or the device broke (dev->broken). */
    void (*config_changed)(struct device *dev);
    void (*broke)(struct device *dev);

    /* Control: key and text for people and programs; `say` copies. */
    void (*describe)(const struct device *dev,
                     void (*say)(void *arg, const char *key, const char *value), void *arg);
    /* Control: counters of its own, beside those of the queues. NULL: none. */
    void (*counters)(const struct device *dev,
                     void (*say)(void *arg, const char *key, uint64_t value), void *arg);
    /* Control: ready-to-paste options of front-ends; `say` gets the front-end's name and text. */
    void (*hints)(const struct device *dev,
                  void (*say)(void *arg, const char *front_end, const char *text), void *arg);
};

struct hvv_watch {
    TAILQ_ENTRY(hvv_watch) link;
    struct watch *watch;
    struct queue *queue;
    struct device *dev;
    void (*ready)(void *arg, uint32_t events);
    void *arg;
};

struct hvv_timer {
    TAILQ_ENTRY(hvv_timer) link;
    struct timer *timer;
    struct queue *queue;
    struct device *dev;
    void (*expired)(void *arg);
    void *arg;
};

struct map;

/* What a device's plugin is called for; see util/callback.h. Commands have their own. */
enum device_callback {
    CALLBACK_CREATE,
    CALLBACK_PUBLISH,
    CALLBACK_QUEUE_START,
    CALLBACK_NOTIFY,
    CALLBACK_POLL,
    CALLBACK_QUEUE_STOP,
    CALLBACK_CONFIG_WRITE,
    CALLBACK_MEMORY_CHANGED,
    CALLBACK_RESET,
    CALLBACK_STOP,
    CALLBACK_DESTROY,
    CALLBACK_WATCH,
    CALLBACK_TIMER,
    CALLBACK_TASK,
    CALLBACKS,
};

/* A line the plugin has added to what `show` says. */
#define DEVICE_LINES_MAX 32u
struct line {
    char *key, *value; /* key NULL: unused */
};

struct device {
    struct hvv_device pub; /* first: the plugin's pointer is ours */
    char id[DEVICE_ID_MAX + 1];
    enum device_state state;
    struct daemon *daemon;
    struct plugin *plugin;
    struct spec spec;
    struct options options;
    struct error *create_error; /* where hvv_error() writes, while create() runs */
    struct callback_owner owner; /* constant from create() on, as the callbacks are */
    struct callback callbacks[CALLBACKS];
    struct callback *commands;   /* as many as the plugin has */
    TAILQ_ENTRY(device) link;   /* in daemon->devices; control */

    uint64_t features;          /* offered, device type bits only */
    uint32_t feature_flags;     /* HVV_FEATURES_IN_ORDER */
    _Atomic uint64_t negotiated;
    struct config_space config;
    struct hvv_task config_task; /* announces a change on the control thread */
    atomic_bool config_pending;
    struct hvv_task maps_task;   /* announces a change of memory on the worker of queue 0 */
    atomic_bool maps_pending;

    struct queue *queues;
    uint32_t n_queues;
    struct worker *own_worker;  /* if each device gets its own */
    struct worker *worker;      /* of the queues, but for those of an HVV_SERIAL_QUEUE plugin */
    struct memory *memory;      /* the current snapshot; control */

    const struct transport_ops *transport;
    void *transport_state;
    struct slot *slot;          /* of a zone, or NULL; control, once published */

    pthread_mutex_t lock;       /* watches, timers, broken_text, lines */
    TAILQ_HEAD(, hvv_watch) watches;
    TAILQ_HEAD(, hvv_timer) timers;
    struct map *maps;           /* worker of queue 0 */
    uint32_t n_map_pieces;

    atomic_bool broken;         /* latched until the driver resets; any thread sets */
    char broken_text[256];
    struct hvv_task broken_task;
    atomic_bool broken_pending; /* broken_task is posted: a reset may come before it runs */

    struct waiter *waiters;     /* see queue.h; control */
    struct timer *stuck;        /* runs while waiters wait; control */
    bool stuck_told;            /* it has fired, and said so: control */
    char stuck_text[384];       /* what it said */
    struct request *adding;     /* see request.h; control, until published */
    atomic_bool active;         /* publish() was called: tasks and events are taken; see services.c */
    struct hvv_task publish_task;
    struct hvv_task life_task;  /* one step of remove or reset at a time */
    void (*life_done)(struct device *dev);
    uint32_t life_queue;
    struct {
        uint32_t offset, size;
        uint8_t data[HVV_CONFIG_MAX];
    } config_write;             /* of the driver, on its way to the plugin */

    struct removal *removal;    /* see request.h; control */

    struct log_limit log_limit, event_limit;
    _Atomic uint64_t *counters; /* for each of the plugin's: the device's, then each queue's */
    struct line lines[DEVICE_LINES_MAX]; /* of hvv_describe(); under `lock` */
    atomic_bool retiring;       /* watches and timers are not armed any more */
};

static inline struct device *device_of(struct hvv_device *pub)
{
    return (struct device *)(void *)pub;
}

/* ---- device.c -------------------------------------------------------------------------------- */

struct device *device_new(struct daemon *daemon, const char *id, struct error *error);
void device_free(struct device *dev); /* no plugin instance, no transport; NULL is fine */

/* Names the callbacks, once the plugin is known and before it is called. 0 or -ENOMEM. Builder. */
int device_name_callbacks(struct device *dev);

/* Moves along the table above; a move that is not in it is a bug and ends the process. */
void device_move(struct device *dev, enum device_state state);
const char *device_state_name(enum device_state state);

/* How many queues the device has for front-ends that count them in units: pairs, say. */
uint32_t device_queue_units(const struct device *dev);

/* The ring and transport bits this host adds to what the plugin offers. */
uint64_t device_offered(const struct device *dev);

/* Latches the device until its driver resets it. Any thread; the first text wins. */
void device_break(struct device *dev, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Logs through the device, limited. Any thread. */
void device_log(struct device *dev, uint32_t level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Tells the plugin, on the worker of queue 0, that guest memory changed. Control. */
void device_memory_changed(struct device *dev);

/* The counter of a queue, or with HVV_NO_QUEUE of the device. */
static inline _Atomic uint64_t *device_counter(const struct device *dev, uint32_t counter,
                                               uint32_t queue)
{
    return &dev->counters[(size_t)counter * (HVV_QUEUES_MAX + 1) + (queue + 1)];
}

/* Tells the guest about a changed config space, from any thread. */
void device_config_changed(struct device *dev);

/*
 * The driver reset the device or went away, and all queues are stopped: the plugin starts afresh,
 * features and the broken latch are cleared. done() on the control thread. Control.
 */
void device_reset(struct device *dev, void (*done)(struct device *dev));

/* Ends the plugin's callbacks for good, after a reset. done() on the control thread. Control. */
void device_retire(struct device *dev, void (*done)(struct device *dev));

/* Passes a driver's write of the config space to the plugin; then done(), on control. Control. */
void device_config_write(struct device *dev, uint32_t offset, const void *data, uint32_t size,
                         void (*done)(struct device *dev));

#endif
