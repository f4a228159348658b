/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loader.h - from a file to a plugin the host can trust the shape of.
 *
 *     open -> elf_check() -> dlopen -> entry -> copy -> check -> loader_pin()
 *                  |            |                         |           |
 *                  no code      undone by dlclose         .           for ever
 *
 * What the plugin hands out is copied into the host's own structs before it is checked, and only
 * the copy is used from then on. An older plugin's smaller structs are filled up with zeroes, a
 * newer one's larger structs are cut: so the rest of the host sees one layout. Strings and
 * functions stay where they are, in the plugin.
 *
 * A file that is refused does not stay mapped. One that is accepted is pinned: its code outlives
 * all devices and threads that may still run in it. A file that a linker flag or a unique symbol of
 * C++ keeps mapped after dlclose() is the exception; it is refused until it has another name.
 *
 * Builder thread only.
 */
#ifndef HOST_PLUGIN_LOADER_H
#define HOST_PLUGIN_LOADER_H

#include "conf/options.h"
#include "util/error.h"

#include <hvv/plugin.h>
#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <time.h>

#define LOADER_NAME_MAX 31u         /* bytes of a plugin's, command's, counter's, event's name */
#define LOADER_VERSION_MAX 63u      /* bytes */
#define LOADER_TEXT_MAX 255u        /* bytes of a description or a help text */
#define LOADER_CHAIN_STATE_MAX 4096u
#define LOADER_TABLE_MAX 256u       /* entries of any table */
#define LOADER_STRIDE_MAX 4096u     /* bytes of one entry */

struct plugin_block;

struct plugin {
    struct hvv_plugin info;      /* tables and strides in it are the host's; ops points below */
    struct hvv_ops ops;          /* what an older plugin does not have is NULL */
    char *path;
    dev_t dev;                   /* which file it was when it was loaded */
    ino_t ino;
    off_t size;
    struct timespec mtime;
    void *handle;
    bool pinned;
    bool retired;                /* no new devices */
    unsigned devices;            /* how many use it */
    struct plugin_block *blocks; /* memory of the tables */
    TAILQ_ENTRY(plugin) link;    /* in the registry */
};

/*
 * Loads and checks the file. `path` must hold a '/'. `caps` is what hvv_host.caps will be; an
 * option in `host_options` may not be an option of a plugin too. 0 and *out, or -errno with error
 * set: -ENOEXEC means that the file itself is the reason and that it is useless to try it again
 * unchanged.
 */
int loader_open(const char *path, uint64_t caps, const struct option_table *host_options,
                struct plugin **out, struct error *error);

/* Keeps the code mapped for ever. 0, or -errno with error set. */
int loader_pin(struct plugin *plugin, struct error *error);

/* Frees a plugin without devices, and unmaps it unless it is pinned. NULL is fine. */
void loader_free(struct plugin *plugin);

/* Is this the syntax of a plugin's name? Pure. */
bool loader_name_ok(const char *name);

#endif
