/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * capture.h - copies of a device's frames in a file that packet analysers read (pcap).
 *
 * Workers put frames into a bounded buffer; a thread of its own writes them, for files can block.
 * What does not fit is counted, not waited for.
 */
#ifndef NET_CAPTURE_H
#define NET_CAPTURE_H

#include "frame.h"

#include <hvv/plugin.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define CAPTURE_BUFFER_BYTES (4u << 20) /* a power of two */

struct capture_run; /* one capture: its thread, its file, its buffer */

struct capture {
    _Atomic bool on;         /* looked at for each frame, without the lock */
    pthread_mutex_t lock;    /* of what is below, and of most in the run */
    struct capture_run *run; /* the present one or the last; NULL if there was none */
};

void capture_init(struct capture *capture);

/*
 * The device goes: what commands wait for ends now, and no new ones start. Does not wait. Thread:
 * worker of queue 0, in stop().
 */
void capture_cancel(struct capture *capture);

/* Ends a capture and waits for its thread. Thread: builder. */
void capture_free(struct capture *capture);

/*
 * The commands `capture` (parameters `path`, `snaplen`, `overwrite`) and `capture-stop`. Both end
 * later, for they wait for the file. Thread: worker of queue 0.
 */
int32_t capture_start(struct capture *capture, struct hvv_device *dev, struct hvv_call *call);
int32_t capture_stop(struct capture *capture, struct hvv_device *dev, struct hvv_call *call);

/* Adds a frame, at a time of hvv_now(). False if the buffer is full. Thread: any. */
bool capture_frame(struct capture *capture, const struct frame *frame, uint64_t nanoseconds);

#endif
