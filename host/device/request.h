/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * request.h - adding and removing devices: each request is one transaction. Control thread.
 *
 *     request_add:     reserve ids and slots -> [builder] create all -> listen on all
 *                      -> [workers] the plugins publish -> publish all -> done
 *                      a failure at any step destroys what was created, in reverse
 *     request_remove:  quiesce all -> each: retire -> [builder] destroy -> when all are gone: done
 *
 * The builder takes one request at a time, in the order they came. A client that goes away does not
 * stop its request.
 */
#ifndef HOST_DEVICE_REQUEST_H
#define HOST_DEVICE_REQUEST_H

#include "device/device.h"
#include "zone/plan.h"

#define REQUEST_DEVICES_MAX 256u

struct request;

/* One device on its way out. */
struct removal {
    struct hvv_task task; /* first */
    struct request *request;
    struct device *dev;
    const char *id;
    struct slot *slot;    /* taken until it is gone, or NULL */
};

struct request {
    struct daemon *daemon;
    size_t n;
    struct spec *specs;
    char (*ids)[DEVICE_ID_MAX + 1]; /* also the result: what was added or removed */
    struct zone_plans fresh;        /* zones it brought along: taken back if it fails */
    struct slot **slots;            /* taken for the devices; NULL: a vhost-user socket */
    char *cwd;
    struct device **devices;
    struct removal *removals;       /* n of them, for a removal */
    size_t pending;                 /* those that are not published, or gone, yet */
    size_t serving;                 /* of a removal: those that are not retired yet */
    LIST_ENTRY(request) link;       /* in daemon->removing */
    bool late;                      /* daemon->late() was called for it */
    struct error error;             /* .err is 0 if it worked */
    struct hvv_task task;
    void (*done)(struct request *request);
    void *arg;
};

/*
 * Adds `n` devices, all or none. Takes over the specs in any case, and what zones_declare() said is
 * fresh (or NULL), to be taken back if the devices cannot be added. `cwd` is what relative paths are
 * relative to, or NULL. 0: done() comes later, and request_free() is the caller's; -errno with
 * error set: it does not.
 */
int request_add(struct daemon *daemon, struct spec *specs, size_t n, struct zone_plans *fresh,
                const char *cwd, void (*done)(struct request *request), void *arg,
                struct error *error);

/*
 * Removes `n` devices; refused, nothing changed, if one is unknown or (unless forced) in use. When
 * all of them are out of service, and only the builder is missing because somebody else's callback
 * there does not return, daemon->late() comes once with a sentence, before done().
 */
int request_remove(struct daemon *daemon, const char *const *ids, size_t n, bool force,
                   void (*done)(struct request *request), void *arg, struct error *error);

/* A callback on the builder does not return: for overdue.c. */
void request_builder_stuck(struct daemon *daemon);

/* 0, or -EBUSY with error set if a callback on the builder does not return. */
int request_builder_free(const struct daemon *daemon, struct error *error);

void request_free(struct request *request);

/* One of daemon->requests, of any kind, is over: a daemon that waits for that shuts down. */
void request_ended(struct daemon *daemon);

/* The published device called `id`, or NULL with error set. */
struct device *request_find(struct daemon *daemon, const char *id, struct error *error);

#endif
