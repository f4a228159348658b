/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * elf.h - what can be known about a plugin file before any of its code runs.
 *
 * dlopen() runs a file's constructors before anybody can look at it, and maps a cut-off file only
 * to die of SIGBUS later; damaged program headers make the dynamic linker itself crash. So the
 * headers, what they load and the dynamic symbols are read first, as plain data. This tells honest
 * files apart: right machine, whole, a plugin, of our ABI. It is no defence against a file made to
 * harm; the safety of the plugin directory is (registry.h).
 *
 * Pure but for reading the file; any thread.
 */
#ifndef HOST_PLUGIN_ELF_H
#define HOST_PLUGIN_ELF_H

#include "util/error.h"

/*
 * Checks the file open as `fd`; `path` is for the message. 0, or with error set: -ENOEXEC if the
 * file is the reason and trying it again unchanged is useless, another -errno if it may not be.
 */
int elf_check(const char *path, int fd, struct error *error);

/* `path` as a message shows it: a very long one by its last part alone, so that the reason fits. */
const char *elf_shown(const char *path);

#endif
