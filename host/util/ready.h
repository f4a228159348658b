/* SPDX-License-Identifier: BSD-3-Clause */
/* ready.h - tells the service manager how the daemon is doing (the datagram of sd_notify(3)). */
#ifndef HOST_UTIL_READY_H
#define HOST_UTIL_READY_H

/* Sends `state`, like "READY=1", to $NOTIFY_SOCKET if that is set; failures are logged only. */
void ready_notify(const char *state);

#endif
