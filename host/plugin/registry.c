/* SPDX-License-Identifier: BSD-3-Clause */
/* registry.c - see registry.h. */
#include "plugin/registry.h"

#include "plugin/elf.h"
#include "util/callback.h"
#include "util/log.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIST_TEXT 256u /* bytes for a list of names in a message */

struct registry {
    char **dirs;
    size_t n_dirs;
    const struct option_table *host_options;
    uint64_t caps;
    TAILQ_HEAD(, plugin) plugins; /* by name, then highest version first */
    TAILQ_HEAD(, refused) refused;
};

/* ---- versions -------------------------------------------------------------------------------- */

/* One number of a version, without leading zeroes; *text moves behind it and its dot. */
static const char *next_number(const char **text, size_t *len)
{
    *text += strspn(*text, "0");
    const char *number = *text;
    *len = strcspn(number, ".");
    *text += *len;
    if (**text == '.')
        ++*text;
    return number;
}

int registry_version_compare(const char *a, const char *b)
{
    while (*a || *b) {
        size_t a_len, b_len;
        const char *a_number = next_number(&a, &a_len), *b_number = next_number(&b, &b_len);
        if (a_len != b_len)
            return a_len < b_len ? -1 : 1;
        int order = strncmp(a_number, b_number, a_len);
        if (order)
            return order;
    }
    return 0;
}

/* ---- lists for messages ---------------------------------------------------------------------- */

/* Adds a word to a list, or "..." once, if no more fit. */
static void list_add(char *list, const char *word)
{
    size_t len = strlen(list), left = LIST_TEXT - len;
    const char *comma = len ? ", " : "";
    if (left > strlen(comma) + strlen(word) + strlen(", ..."))
        snprintf(list + len, left, "%s%s", comma, word);
    else if (left > strlen(", ...") && (len < 3 || strcmp(list + len - 3, "...") != 0))
        snprintf(list + len, left, "%s...", comma);
}

/* ---- is a place safe to run code from? ------------------------------------------------------- */

static int check_safe(const char *what, const char *path, const struct stat *st,
                      struct error *error)
{
    if (st->st_mode & S_IWOTH)
        return error_set(error, EPERM,
                         "%s %s can be written by everybody (mode %03o): chmod o-w it", what,
                         elf_shown(path), st->st_mode & 0777);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return error_set(error, EPERM,
                         "%s %s belongs to user %u, it must belong to root or to user %u: chown it",
                         what, elf_shown(path), st->st_uid, geteuid());
    return 0;
}

/* ---- directories ----------------------------------------------------------------------------- */

static int cannot_read(const char *dir, int err, struct error *error)
{
    return error_set(error, err, "plugin directory %s cannot be read: %s", dir, strerror(err));
}

static int is_candidate(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    if (entry->d_name[0] == '.' || len <= 3 || strcmp(entry->d_name + len - 3, ".so") != 0)
        return 0;
    for (const char *c = entry->d_name; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return 0;
    return 1;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void free_names(struct dirent **names, int n)
{
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

/*
 * The *.so files of a safe directory, sorted. `real` gets its path without symbolic links: when a
 * link is turned to a directory of newer plugins, their paths are new ones too. The number of
 * names, or -errno with error set.
 */
static int list_directory(const char *dir, char real[PATH_MAX], struct dirent ***names,
                          struct error *error)
{
    struct stat st;
    if (!realpath(dir, real) || stat(real, &st) < 0) {
        int err = errno;
        if (err == ENOENT)
            return error_set(error, err, "plugin directory %s does not exist", dir);
        return cannot_read(dir, err, error);
    }
    if (!S_ISDIR(st.st_mode))
        return error_set(error, ENOTDIR, "plugin directory %s is not a directory", dir);
    int rc = check_safe("plugin directory", dir, &st, error);
    if (rc < 0)
        return rc;
    if (access(real, R_OK | X_OK) < 0)
        return cannot_read(dir, errno, error);
    int n = scandir(real, names, is_candidate, by_bytes);
    return n < 0 ? cannot_read(dir, errno, error) : n;
}

static int check_directories(const struct registry *registry, struct error *error)
{
    char list[LIST_TEXT] = "";
    int found = 0;
    for (size_t i = 0; i < registry->n_dirs; i++) {
        char real[PATH_MAX];
        struct dirent **names;
        int n = list_directory(registry->dirs[i], real, &names, error);
        if (n < 0)
            return n;
        free_names(names, n);
        found += n > 0;
        list_add(list, registry->dirs[i]);
    }
    if (registry->n_dirs == 0)
        return error_set(error, EINVAL, "no plugin directory is given");
    if (!found)
        return error_set(error, ENOENT, "plugin director%s %s %s no plugin (*.so)",
                         registry->n_dirs == 1 ? "y" : "ies", list,
                         registry->n_dirs == 1 ? "has" : "have");
    return 0;
}

struct registry *registry_new(const char *const *dirs, size_t n,
                              const struct option_table *host_options, uint64_t caps,
                              struct error *error)
{
    struct registry *registry = calloc(1, sizeof(*registry));
    if (!registry)
        goto no_memory;
    TAILQ_INIT(&registry->plugins);
    TAILQ_INIT(&registry->refused);
    registry->host_options = host_options;
    registry->caps = caps;
    registry->dirs = calloc(n + 1, sizeof(registry->dirs[0]));
    if (!registry->dirs)
        goto no_memory;
    for (; registry->n_dirs < n; registry->n_dirs++)
        if (!(registry->dirs[registry->n_dirs] = strdup(dirs[registry->n_dirs])))
            goto no_memory;
    if (check_directories(registry, error) < 0)
        goto fail;
    return registry;
no_memory:
    error_set(error, ENOMEM, "out of memory for the list of plugins");
fail:
    registry_free(registry);
    return NULL;
}

/* ---- refused files --------------------------------------------------------------------------- */

static void refused_free(struct registry *registry, struct refused *refused)
{
    TAILQ_REMOVE(&registry->refused, refused, link);
    free(refused->path);
    free(refused->reason);
    free(refused);
}

static struct refused *refused_find(const struct registry *registry, const char *path)
{
    struct refused *r;
    TAILQ_FOREACH(r, &registry->refused, link)
        if (strcmp(r->path, path) == 0)
            return r;
    return NULL;
}

/*
 * ctime and not mtime: a changed mode or owner may be what makes the file acceptable. Both are
 * compared as well, since changes within a tick of the clock, 4 ms or so, do not show in ctime.
 */
static bool refused_still(const struct refused *r, const struct stat *st)
{
    return r->final && r->dev == st->st_dev && r->ino == st->st_ino && r->size == st->st_size &&
           r->mode == st->st_mode && r->owner == st->st_uid &&
           r->ctime.tv_sec == st->st_ctim.tv_sec && r->ctime.tv_nsec == st->st_ctim.tv_nsec;
}

/* Errors that are the file's own fault; a lack of memory or descriptors is not, it may pass. */
static bool is_final(int err)
{
    return err == ENOEXEC || err == EEXIST || err == EPERM;
}

/* Notes why a file is no plugin. A reason that was there before is not logged again. */
static void refuse(struct registry *registry, const char *path, const struct stat *st,
                   const struct error *error)
{
    struct refused *r = refused_find(registry, path);
    bool known = r && strcmp(r->reason, error->text) == 0;
    if (!known)
        log_warning("%s", error->text);
    if (r)
        refused_free(registry, r);
    r = calloc(1, sizeof(*r));
    if (!r)
        return;
    TAILQ_INSERT_TAIL(&registry->refused, r, link);
    r->path = strdup(path);
    r->reason = strdup(error->text);
    if (!r->path || !r->reason) {
        refused_free(registry, r);
        return;
    }
    r->seen = true;
    r->final = st && is_final(error->err);
    if (st) {
        r->dev = st->st_dev;
        r->ino = st->st_ino;
        r->size = st->st_size;
        r->mode = st->st_mode;
        r->owner = st->st_uid;
        r->ctime = st->st_ctim;
    }
}

/* ---- loading --------------------------------------------------------------------------------- */

static struct plugin *find_version(const struct registry *registry, const char *name,
                                   const char *version)
{
    struct plugin *p;
    TAILQ_FOREACH(p, &registry->plugins, link)
        if (strcmp(p->info.name, name) == 0 &&
            registry_version_compare(p->info.version, version) == 0)
            return p;
    return NULL;
}

static struct plugin *find_path(const struct registry *registry, const char *path)
{
    struct plugin *p;
    TAILQ_FOREACH(p, &registry->plugins, link)
        if (strcmp(p->path, path) == 0)
            return p;
    return NULL;
}

static bool same_file(const struct plugin *p, const struct stat *st)
{
    return p->dev == st->st_dev && p->ino == st->st_ino;
}

static bool is_loaded(const struct registry *registry, const struct stat *st)
{
    struct plugin *p;
    TAILQ_FOREACH(p, &registry->plugins, link)
        if (same_file(p, st))
            return true;
    return false;
}

static bool is_unchanged(const struct plugin *p, const struct stat *st)
{
    return same_file(p, st) && p->size == st->st_size &&
           p->mtime.tv_sec == st->st_mtim.tv_sec && p->mtime.tv_nsec == st->st_mtim.tv_nsec;
}

static void insert(struct registry *registry, struct plugin *plugin)
{
    struct plugin *p;
    TAILQ_FOREACH(p, &registry->plugins, link) {
        int order = strcmp(plugin->info.name, p->info.name);
        if (order < 0 ||
            (order == 0 && registry_version_compare(plugin->info.version, p->info.version) > 0)) {
            TAILQ_INSERT_BEFORE(p, plugin, link);
            return;
        }
    }
    TAILQ_INSERT_TAIL(&registry->plugins, plugin, link);
}

/* Pinned last: what is refused here is unmapped again. */
static int load(struct registry *registry, const char *path, struct error *error)
{
    struct plugin *plugin;
    struct callback_owner owner = {.path = path};
    struct callback loading = {&owner, "", "the code that runs when a file is loaded"};
    callback_owner_ready();
    callback_enter(&loading);
    int rc = loader_open(path, registry->caps, registry->host_options, &plugin, error);
    callback_leave();
    callback_owner_gone();
    if (rc < 0)
        return rc;
    const struct plugin *first = find_version(registry, plugin->info.name, plugin->info.version);
    if (first)
        rc = error_set(error, EEXIST,
                       "plugin %s is %s %s, and so is %s, which is loaded: remove one or give it "
                       "another version", elf_shown(path), plugin->info.name,
                       plugin->info.version, elf_shown(first->path));
    else
        rc = loader_pin(plugin, error);
    if (rc < 0) {
        loader_free(plugin);
        return rc;
    }
    insert(registry, plugin);
    log_info("plugin %s %s loaded from %s", plugin->info.name, plugin->info.version,
             elf_shown(path));
    return 0;
}

static int try_file(struct registry *registry, const char *path, const struct stat *st,
                    struct error *error)
{
    if (!S_ISREG(st->st_mode))
        return error_set(error, ENOEXEC, "plugin %s is %s", elf_shown(path),
                         S_ISDIR(st->st_mode) ? "a directory, not a regular file"
                                              : "not a regular file");
    int rc = check_safe("plugin", path, st, error);
    return rc < 0 ? rc : load(registry, path, error);
}

/* One name in a directory. A second name of a loaded file is no second plugin, nor an error. */
static void scan_file(struct registry *registry, const char *path)
{
    struct stat st;
    struct error error = {0};
    if (stat(path, &st) < 0) {
        error_set(&error, errno == EPERM ? EACCES : errno, "plugin %s cannot be read: %s",
                  elf_shown(path), strerror(errno));
        refuse(registry, path, NULL, &error);
        return;
    }
    struct refused *r = refused_find(registry, path);
    if (r && refused_still(r, &st)) {
        r->seen = true;
        return;
    }
    const struct plugin *p = find_path(registry, path);
    if (p ? is_unchanged(p, &st) : is_loaded(registry, &st))
        return;
    if (p)
        error_set(&error, ENOEXEC,
                  "plugin %s is already loaded, a different file is on disk now: give the new "
                  "version a new file name", elf_shown(path));
    else
        try_file(registry, path, &st, &error);
    if (error.err)
        refuse(registry, path, &st, &error);
}

static void scan_directory(struct registry *registry, const char *dir)
{
    struct error error = {0};
    char real[PATH_MAX], path[PATH_MAX + NAME_MAX + 2];
    struct dirent **names;
    int n = list_directory(dir, real, &names, &error);
    if (n < 0) {
        log_warning("%s", error.text);
        return;
    }
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s/%s", strcmp(real, "/") ? real : "", names[i]->d_name);
        scan_file(registry, path);
    }
    free_names(names, n);
}

void registry_rescan(struct registry *registry)
{
    struct refused *r, *next;
    TAILQ_FOREACH(r, &registry->refused, link)
        r->seen = false;
    for (size_t i = 0; i < registry->n_dirs; i++)
        scan_directory(registry, registry->dirs[i]);
    for (r = TAILQ_FIRST(&registry->refused); r; r = next) {
        next = TAILQ_NEXT(r, link);
        if (!r->seen)
            refused_free(registry, r);
    }
}

/* ---- finding --------------------------------------------------------------------------------- */

/* The list is in order, so the first is the highest version. */
static struct plugin *find_name(const struct registry *registry, const char *name)
{
    struct plugin *p;
    TAILQ_FOREACH(p, &registry->plugins, link)
        if (!p->retired && strcmp(p->info.name, name) == 0)
            return p;
    return NULL;
}

/* "a, b" of all names (name NULL), or "1.0, 0.9" of all versions of one. */
static void list_known(const struct registry *registry, const char *name, char *list)
{
    const struct plugin *p, *before = NULL;
    list[0] = '\0';
    TAILQ_FOREACH(p, &registry->plugins, link) {
        if (name && strcmp(p->info.name, name) == 0)
            list_add(list, p->info.version);
        else if (!name && (!before || strcmp(before->info.name, p->info.name) != 0))
            list_add(list, p->info.name);
        before = p;
    }
}

static const struct refused *refused_like(const struct registry *registry, const char *name)
{
    const struct refused *r;
    TAILQ_FOREACH(r, &registry->refused, link)
        if (strstr(strrchr(r->path, '/'), name))
            return r;
    return NULL;
}

static void not_found(const struct registry *registry, const char *name, struct error *error)
{
    char known[LIST_TEXT];
    list_known(registry, name, known);
    if (known[0]) {
        error_set(error, ENOENT, "plugin %s is retired (%s): put a newer version into a plugin "
                  "directory", name, known);
        return;
    }
    list_known(registry, NULL, known);
    const struct refused *r = refused_like(registry, name);
    error_set(error, ENOENT, "no plugin is called %s%s%s%s%s", name, r ? ": " : "",
              r ? r->reason : "", known[0] ? "; there are: " : "; there is no plugin at all",
              known);
}

struct plugin *registry_find(struct registry *registry, const char *name, struct error *error)
{
    if (!loader_name_ok(name)) {
        error_set(error, EINVAL, "a plugin's name is 1 to %u lower case letters, digits, '-' and "
                  "'_', not a path or anything else", LOADER_NAME_MAX);
        return NULL;
    }
    struct plugin *plugin = find_name(registry, name);
    if (!plugin) {
        registry_rescan(registry);
        plugin = find_name(registry, name);
    }
    if (!plugin)
        not_found(registry, name, error);
    return plugin;
}

int registry_retire(struct registry *registry, const char *name, const char *version,
                    struct error *error)
{
    char known[LIST_TEXT];
    struct plugin *p = find_version(registry, name, version);
    if (p) {
        p->retired = true;
        log_info("plugin %s %s is retired, %u devices use it", p->info.name, p->info.version,
                 p->devices);
        return 0;
    }
    list_known(registry, name, known);
    if (known[0])
        return error_set(error, ENOENT, "plugin %s has no version %.64s; there are: %s", name,
                         version, known);
    list_known(registry, NULL, known);
    return error_set(error, ENOENT, "no plugin is called %.32s%s%s", name,
                     known[0] ? "; there are: " : "; there is no plugin at all", known);
}

/* ---- listing, and the end -------------------------------------------------------------------- */

bool registry_has(const struct registry *registry, const char *name)
{
    const struct plugin *p = registry_next(registry, NULL);
    while (p && strcmp(p->info.name, name) != 0)
        p = registry_next(registry, p);
    return p;
}

struct plugin *registry_next(const struct registry *registry, const struct plugin *plugin)
{
    return plugin ? TAILQ_NEXT(plugin, link) : TAILQ_FIRST(&registry->plugins);
}

const struct refused *registry_next_refused(const struct registry *registry,
                                            const struct refused *refused)
{
    return refused ? TAILQ_NEXT(refused, link) : TAILQ_FIRST(&registry->refused);
}

void registry_free(struct registry *registry)
{
    struct plugin *p;
    if (!registry)
        return;
    while ((p = TAILQ_FIRST(&registry->plugins))) {
        TAILQ_REMOVE(&registry->plugins, p, link);
        loader_free(p);
    }
    while (!TAILQ_EMPTY(&registry->refused))
        refused_free(registry, TAILQ_FIRST(&registry->refused));
    for (size_t i = 0; i < registry->n_dirs; i++)
        free(registry->dirs[i]);
    free(registry->dirs);
    free(registry);
}
