/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon.h - a whole hvisor-vhost as a process, in a temporary directory of its own.
 *
 *     DIR/control.sock    DIR/log          what it says
 *     DIR/s/              its sockets      DIR/p/     its plugins, copied there
 *     DIR/i/              images
 *
 * $HVV_BUILD is where the programs are (also plugins.d/ and tests/plugins/), $HVV_SOURCE the
 * sources. Functions that return bool have told the report why it is false. Main thread, but for
 * run() and ctl(). The process ends with the test program, whatever ends that.
 */
#ifndef FLOW_DAEMON_H
#define FLOW_DAEMON_H

#include "client.h"

#include <stdbool.h>
#include <sys/types.h>

#define DAEMON_TIMEOUT_MS 20000

struct daemon_options {
    const char *const *args;    /* more of them, NULL-terminated */
    const char *const *env;     /* NAME=VALUE, NULL-terminated */
    const char *const *plugins; /* beside blk, "rogue.so" for one, NULL-terminated */
    bool no_start;              /* the row starts it */
    bool nobody;                /* as an unprivileged user, even if root runs the test */
};

struct daemon {
    const struct daemon_options *options;
    const void *arg; /* of the row */
    char dir[64];
    char control[80];
    pid_t pid; /* 0: not running */
    int pidfd;
    int notify_fd;
    struct client client; /* what daemon_call() uses */
    json_t *error;        /* of the latest call that was refused, or NULL */
};

/* A text by value: in_dir(d, "i/%s", name).s */
struct text {
    char s[512];
};

__attribute__((format(printf, 2, 3))) struct text in_dir(const struct daemon *d,
                                                         const char *format, ...);
struct text built(const char *name); /* below $HVV_BUILD */
struct text socket_of(const struct daemon *d, const char *id);
/* What the latest refused call said, or "". */
const char *error_text(const struct daemon *d);
const char *error_member(const struct daemon *d, const char *key);
bool has_text(const char *text, const char *part);

/* ---- life ------------------------------------------------------------------------------------ */

bool daemon_prepare(struct daemon *d, const struct daemon_options *options);
/* Starts it and waits until it says that it is ready. */
bool daemon_start(struct daemon *d);
/* SIGTERM; it has to end with 0 in time. */
bool daemon_stop(struct daemon *d);
/* Waits until it ends by itself; its exit code, 128 + a signal, or -1 if it does not. */
int daemon_wait(struct daemon *d, int timeout_ms);
bool daemon_alive(const struct daemon *d);
/* No socket, lock file or process of it is left. */
bool daemon_left_nothing(const struct daemon *d);
void daemon_print_log(const struct daemon *d);
/* Ends what is left and removes the directory. */
void daemon_clean(struct daemon *d);
/* Its command line, NULL-terminated, to run another one of. */
void daemon_argv(const struct daemon *d, const char *argv[32], struct text text[8]);

/* ---- requests -------------------------------------------------------------------------------- */

/*
 * A call with json_pack() parameters (format NULL: none). The result is the caller's; NULL: refused
 * (see d->error) or no answer (then d->error is NULL too).
 */
json_t *daemon_call(struct daemon *d, const char *method, const char *format, ...);
json_t *daemon_vcall(struct daemon *d, const char *method, json_t *params);
/* These take NULL-terminated words. They have to work. */
bool daemon_add(struct daemon *d, ...);
bool daemon_remove(struct daemon *d, ...);
/* The request has to be refused with a text that has all of `parts`, separated by '|'. */
bool daemon_refuses(struct daemon *d, const char *parts, const char *method, const char *format,
                    ...);
/* One device of device.list, or NULL. */
json_t *daemon_device(struct daemon *d, const char *id);
/* How many device.list has, -1 without an answer. */
int daemon_count(struct daemon *d);
/* Waits until the member of the device in device.list is this boolean. */
bool daemon_device_becomes(struct daemon *d, const char *id, const char *key, bool value);

/* A counter of the device in `stats`, the sum of its queues; -1 if there is none of that name. */
long daemon_counter(struct daemon *d, const char *id, const char *name);
/* Waits until it is `want`. */
bool daemon_counter_becomes(struct daemon *d, const char *id, const char *name, long want);

/* An image of `bytes` under DIR/i, all zero. */
bool daemon_image(const struct daemon *d, const char *name, off_t bytes);

/* ---- other programs -------------------------------------------------------------------------- */

struct output {
    int code; /* exit code, 128 + a signal, or -1: had to be killed at the deadline */
    char out[32768];
    char err[8192];
};

/* Runs a program in `cwd` (NULL: here) with a deadline. */
bool run(struct output *o, const char *cwd, const char *const argv[], int timeout_ms, bool nobody);
/* hvisor-vhost-ctl with these words, in DIR/i. */
bool ctl(struct output *o, const struct daemon *d, ...);
/* Another daemon with these words (or NULL) after the row's own, which is to end by itself. */
bool daemon_try(const struct daemon *d, const char *const *words, struct output *o);

#endif
