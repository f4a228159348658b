/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vhost-user.h - the vhost-user transport, back-end role: a device's guest is whatever connects to
 * its Unix socket.
 *
 *     endpoint.c   the socket: staged, listening, accepting; one front-end at a time
 *     session.c    one connection: bytes to messages and back                  (door: a message)
 *     messages.c   what each message does
 *     ring.c       a queue's descriptors: kicks in, calls out
 *     ../peer-fd.c such a descriptor: never waits, whatever the peer does to it
 *
 * Everything runs on the control thread, but for what ring.c does on the queue's worker. Messages
 * are handled one at a time: one that has to wait for a worker (a ring that must fall quiet) keeps
 * the session from reading the next one, so answers come in order; nothing blocks.
 */
#ifndef HOST_TRANSPORT_VHOST_USER_H
#define HOST_TRANSPORT_VHOST_USER_H

#include "device/device.h"
#include "transport/vhost-user/protocol.h"
#include "util/claim.h"

#define VU_FDS_MAX VU_TABLE_REGIONS

/* Builder: claims and binds the device's socket, without listen(). */
int vhost_user_stage(struct device *dev, struct error *error);

/* ---- between the files of this folder -------------------------------------------------------- */

struct session;

struct endpoint {
    struct device *dev;
    struct claim claim;
    struct watch *accept;
    bool inband;             /* the operator wants INBAND_NOTIFICATIONS offered */
    struct session *session; /* or NULL */
    void (*closed)(struct device *dev); /* set while the device is being removed */
    struct ring *rings;      /* one per queue */
};

struct ring {
    struct queue *queue;
    struct endpoint *endpoint;
    struct watch *kick_watch; /* on the worker's loop; armed while the queue runs */
    int kick_fd, err_fd;      /* as of peer-fd.h, or -1; control */
    _Atomic int call_fd;      /* the same; the worker signals it */
    _Atomic int inband_fd;    /* the back-end channel if calls go there, or -1 */
    struct virtq_setup setup; /* addresses are the front-end's */
    bool has_addr, has_kick, no_kick_fd, enabled;
};

struct message {
    struct vu_header header;
    union vu_payload payload;
    int fds[VU_FDS_MAX];
    unsigned n_fds;
};

/* What handling a message led to. */
enum outcome {
    DONE,   /* acknowledge if asked */
    REPLY,  /* message.payload and header.size are the answer */
    WAIT,   /* session_resume() will come */
    REFUSE, /* say so if asked; else the connection ends */
    CLOSE,  /* the connection ends */
};

struct session {
    struct endpoint *endpoint;
    struct device *dev;
    int fd;
    int backend_fd;          /* the back-end channel, or -1 */
    struct watch *watch;
    struct message message;  /* being received, then handled, then answered */
    size_t received;         /* bytes of header and payload */
    uint8_t out[sizeof(struct vu_header) + sizeof(union vu_payload)];
    size_t sent, to_send;    /* of the answer in `out` */
    bool ready;              /* what the message wanted to wait for was already so */
    bool busy;               /* a message waits for a worker */
    bool closing;
    bool close_wanted;       /* by the device, while busy */
    char reason[128];        /* why it ends */
    int32_t peer_pid;
    uint64_t features, protocol_features;
    uint8_t status;          /* as last set by VU_SET_STATUS */
    struct waiter waiter;
    struct hvv_task task;
    enum outcome (*resume)(struct session *s);
    uint32_t ring_index;     /* of the message that waits */
    int old_fd;              /* of a ring, in or out of use while the message waits (peer-fd.h) */
};

/* endpoint.c */
void endpoint_session_ended(struct endpoint *endpoint);

/* session.c */
struct session *session_new(struct endpoint *endpoint, int fd);
void session_close(struct session *s, const char *reason);
void session_resume(struct session *s);
/* Lets the message wait until the device's queues are quiet; then `resume` gives its outcome. */
enum outcome session_wait(struct session *s, enum outcome (*resume)(struct session *s));
/* Logs why a message is refused; returns REFUSE. */
enum outcome session_refuse(struct session *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Sends on the back-end channel without waiting for anything. */
void session_notify_config(struct session *s);

/* messages.c */
enum outcome message_handle(struct session *s);
const char *message_name(uint32_t request);
/* Sizes and descriptors the header allows; 0, or -1 after setting s->reason. */
int message_check(struct session *s);

/* ring.c */
int ring_init(struct ring *ring, struct endpoint *endpoint, struct queue *queue);
/* Starts the queue if the front-end has said all that is needed. */
int ring_try_start(struct ring *ring, struct error *error);
/* Forgets what a front-end set up; the queue is stopped. */
void ring_clear(struct ring *ring);
/* Takes kicks from `fd` (peer-fd.h) from the next start on; owns it. 0 or -ENOMEM. Stopped queue. */
int ring_set_kick(struct ring *ring, int fd);
void ring_running(struct queue *q, bool running); /* worker */
void ring_interrupt(struct queue *q);             /* worker */
void ring_signal_error(struct ring *ring);

#endif
