/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * registry.h - the plugins this process has, the files it refused, and the directories it looks in.
 *
 * A plugin is known by its name and version. Versions of one name live beside each other; what is
 * asked for by name alone is the highest that is not retired. Nothing is ever unloaded: a plugin
 * can be retired, which is no more than not being found any longer.
 *
 * Directories are scanned when somebody asks for it or for a name that is not known. What a
 * directory holds is run as this process, so a directory or file that others may write to is
 * refused.
 *
 * Builder thread only, from registry_new() to registry_free(). One registry to a process: what it
 * loaded stays mapped after it is freed, and a second one would find it "already loaded".
 */
#ifndef HOST_PLUGIN_REGISTRY_H
#define HOST_PLUGIN_REGISTRY_H

#include "plugin/loader.h"

struct registry;

/* A file that is in a directory and is no plugin. Lives until the next scan. */
struct refused {
    TAILQ_ENTRY(refused) link;
    char *path;
    char *reason; /* a sentence with the path in it */
    bool final;   /* not tried again as long as the file is the same: */
    bool seen;    /* still there in the current scan */
    dev_t dev;
    ino_t ino;
    off_t size;
    mode_t mode;
    uid_t owner;
    struct timespec ctime;
};

/*
 * Checks the directories and loads nothing yet. `dirs` is copied, `host_options` must outlive the
 * registry. NULL with error set: one directory is missing or unsafe, or none holds a *.so file.
 */
struct registry *registry_new(const char *const *dirs, size_t n,
                              const struct option_table *host_options, uint64_t caps,
                              struct error *error);
void registry_free(struct registry *registry); /* no device is left; NULL is fine */

/*
 * Loads what is new in the directories, in the order of the file names. What is wrong is logged and
 * kept as a refused file; a directory that cannot be read is logged and skipped.
 */
void registry_rescan(struct registry *registry);

/*
 * The plugin a new device called for; scans if no plugin has the name. NULL with error set: the
 * sentence lists what there is, and why a file that looks like it was refused. Lives as long as the
 * registry.
 */
struct plugin *registry_find(struct registry *registry, const char *name, struct error *error);

/* True if some version is loaded, retired or not. */
bool registry_has(const struct registry *registry, const char *name);

/* Ends the use of one version for new devices; twice is fine. 0, or -errno with error set. */
int registry_retire(struct registry *registry, const char *name, const char *version,
                    struct error *error);

/* All plugins by name, the highest version first; all refused files. NULL begins and ends. */
struct plugin *registry_next(const struct registry *registry, const struct plugin *plugin);
const struct refused *registry_next_refused(const struct registry *registry,
                                            const struct refused *refused);

/*
 * Compares versions number by number: < 0, 0, > 0 as strcmp(). Missing numbers are 0, and numbers
 * are of any length: 1.9 < 1.10, 1 == 1.0.0. Both have the syntax of a version. Pure.
 */
int registry_version_compare(const char *a, const char *b);

#endif
