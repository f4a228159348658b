/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netsums.h - no frame of a network device is lost unseen: what its counters say of one direction
 * adds up.
 */
#ifndef FLOW_NETSUMS_H
#define FLOW_NETSUMS_H

#include "clock.h"
#include "daemon.h"
#include "report.h"

#include <poll.h>

/*
 * A worker tells its counts after a batch, which may be after the frames of it were seen: it gets
 * some time.
 */
static inline bool netsums_direction(struct daemon *d, const char *id, const char *all,
                                     const char *const parts[])
{
    uint64_t deadline = clock_deadline(DAEMON_TIMEOUT_MS);
    for (;;) {
        long sum = 0, whole = daemon_counter(d, id, all);
        for (size_t i = 0; parts[i]; i++)
            sum += daemon_counter(d, id, parts[i]);
        if (whole == sum)
            return true;
        if (clock_left_ms(deadline) == 0)
            return row_fail("%s of %s is %ld, its parts are %ld", all, id, whole, sum);
        poll(NULL, 0, 5); /* between the looks */
    }
}

/* Frames are those that got through and those that were dropped. No frame is under way. */
static inline bool netsums_hold(struct daemon *d, const char *id)
{
    static const char *const tx[] = {"tx-sent", "tx-link-down", "tx-bad-length", "tx-bad-header",
                                     "tx-no-peer", "tx-peer-full", "tx-refused", NULL};
    static const char *const rx[] = {"rx-received", "rx-link-down", "rx-filtered", "rx-too-long",
                                     "rx-no-buffer", "rx-bad-frame", NULL};
    return netsums_direction(d, id, "tx-frames", tx) && netsums_direction(d, id, "rx-frames", rx);
}

#endif
