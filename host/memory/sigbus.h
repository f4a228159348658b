/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sigbus.h - surviving a peer that truncates the file behind guest memory.
 *
 * Touching a page that the file no longer has raises SIGBUS (BUS_ADRERR) in whichever thread does
 * it. Inside a registered range the handler puts zeroes there and up to the range's end, marks the
 * range as lost and returns; the device that maps it notices the mark and stops. Anywhere else
 * SIGBUS kills the process as usual.
 */
#ifndef HOST_MEMORY_SIGBUS_H
#define HOST_MEMORY_SIGBUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Installs the handler; once, before threads start. 0 or -errno. */
int sigbus_install(void);

/*
 * Guards [base, base + size), a mapping in pages of `page` bytes; `lost` is set when a page of it
 * was lost. Returns a handle for sigbus_unguard(), or -ENOSPC. Any thread.
 */
int sigbus_guard(void *base, size_t size, size_t page, atomic_bool *lost);
void sigbus_unguard(int handle);

#endif
