/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plugin-files.h - files for tests of the loader and the registry: a directory of one's own under
 * /tmp, copies of the plugins that the build left in $HVV_TEST_PLUGINS, and is it mapped?
 *
 * One thread. Everything here ends the process with a line on stderr when it cannot do its work.
 */
#ifndef TESTS_UNIT_PLUGIN_FILES_H
#define TESTS_UNIT_PLUGIN_FILES_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_BYTES_MAX (8u << 20) /* a sanitized plugin is large */

struct files {
    char dir[64];
};

static inline void files_must(bool ok, const char *what, const char *name)
{
    if (ok)
        return;
    fprintf(stderr, "cannot %s %s: %s\n", what, name, strerror(errno));
    abort();
}

static inline void files_make(struct files *files)
{
    snprintf(files->dir, sizeof(files->dir), "/tmp/hvv-plugins-XXXXXX");
    files_must(mkdtemp(files->dir) != NULL, "make", files->dir);
}

/* dir/name; sixteen results are valid at a time. */
static inline const char *files_path(const struct files *files, const char *name)
{
    static char paths[16][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 16];
    snprintf(path, PATH_MAX, "%s/%s", files->dir, name);
    return path;
}

/* The path of a plugin the build made. */
static inline const char *files_built(const char *name)
{
    static char path[PATH_MAX];
    const char *dir = getenv("HVV_TEST_PLUGINS");
    errno = EINVAL;
    files_must(dir != NULL, "find", "the variable HVV_TEST_PLUGINS");
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

/* Reads a file whole into memory the caller frees. */
static inline unsigned char *files_read(const char *path, size_t *size)
{
    unsigned char *bytes = malloc(FILES_BYTES_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    files_must(bytes && fd >= 0, "open", path);
    ssize_t n;
    for (*size = 0; (n = read(fd, bytes + *size, FILES_BYTES_MAX - *size)) > 0; *size += (size_t)n)
        ;
    files_must(n == 0 && *size < FILES_BYTES_MAX, "read", path);
    close(fd);
    return bytes;
}

/* Writes a new file beside `name` and renames it there, as a package manager does. */
static inline void files_write(const struct files *files, const char *name, const void *bytes,
                               size_t size)
{
    const char *path = files_path(files, name), *fresh = files_path(files, "fresh.tmp");
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    files_must(fd >= 0 && write(fd, bytes, size) == (ssize_t)size, "write", fresh);
    close(fd);
    files_must(chmod(fresh, 0644) == 0 && rename(fresh, path) == 0, "rename", path);
}

static inline void files_copy(const struct files *files, const char *built, const char *name)
{
    size_t size;
    unsigned char *bytes = files_read(files_built(built), &size);
    files_write(files, name, bytes, size);
    free(bytes);
}

/* Removes the directory with the files and directories in it, two levels deep. */
static inline void files_remove(const struct files *files)
{
    DIR *dir = opendir(files->dir);
    files_must(dir != NULL, "open", files->dir);
    for (struct dirent *e; (e = readdir(dir));) {
        const char *path = files_path(files, e->d_name);
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || unlink(path) == 0)
            continue;
        struct files inner;
        snprintf(inner.dir, sizeof(inner.dir), "%.63s", path);
        files_remove(&inner);
    }
    closedir(dir);
    files_must(rmdir(files->dir) == 0, "remove", files->dir);
}

/* Is anything mapped from a path that contains `text`? */
static inline bool files_mapped(const char *text)
{
    char line[PATH_MAX + 256];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "re");
    files_must(maps != NULL, "open", "/proc/self/maps");
    while (!found && fgets(line, sizeof(line), maps))
        found = strstr(line, text);
    fclose(maps);
    return found;
}

static inline int files_open_fds(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    files_must(dir != NULL, "open", "/proc/self/fd");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

#endif
