/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * claim.c - see claim.h. The lock file is removed by its holder only. Whoever opened it before that
 * holds a lock on a file without a name, so a lock counts only once the path names the locked file.
 */
#include "claim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES 32 /* each one lost means that another owner let go just then */
#define SUFFIX ".lock"

static bool names(const char *path, int fd)
{
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && lstat(path, &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

static int32_t open_error(struct hvv_device *dev, const char *option, const char *path, int err)
{
    const char *slash = strrchr(path, '/');
    int len = slash && slash > path ? (int)(slash - path) : 1;
    if (err == ENOENT || err == ENOTDIR)
        return hvv_error_option(dev, err, option, "there is no directory %.*s for %s: create it or "
                                "choose another path", len, path, path);
    return hvv_error_option(dev, err, option, "%s" SUFFIX " cannot be made in the directory %.*s: "
                            "%s; change its permissions or choose another path", path, len, path,
                            strerror(err));
}

/* One attempt: the descriptor, -EAGAIN to try again, or an error that was told. */
static int try_lock(struct hvv_device *dev, const char *option, const char *path,
                    const char *name)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd = open(name, flags | O_CREAT | O_EXCL, 0600);
    bool made = fd >= 0;
    if (!made && errno == EEXIST) {
        fd = open(name, flags);
        if (fd < 0 && errno == ENOENT)
            return -EAGAIN;
    }
    if (fd < 0)
        return open_error(dev, option, path, errno);
    int err = flock(fd, LOCK_EX | LOCK_NB) < 0 ? errno : 0;
    if (err == 0 && names(name, fd))
        return fd;
    close(fd);
    if (err == 0 || err == EINTR)
        return -EAGAIN;
    if (made && err != EWOULDBLOCK)
        unlink(name); /* nobody else can have locked it where locking fails */
    if (err == EWOULDBLOCK)
        return hvv_error_option(dev, EADDRINUSE, option, "%s is in use, %s is locked: remove the "
                                "device that uses it or choose another path", path, name);
    return hvv_error_option(dev, err, option, "%s cannot be locked: %s; choose a path on a local "
                            "file system", name, strerror(err));
}

int claim_take(struct hvv_device *dev, const char *option, const char *path)
{
    char name[CLAIM_PATH_MAX + sizeof(SUFFIX)];
    if (strlen(path) > CLAIM_PATH_MAX)
        return hvv_error_option(dev, ENAMETOOLONG, option, "the path has %zu bytes, the limit is "
                                "%u: choose a shorter one", strlen(path), CLAIM_PATH_MAX);
    snprintf(name, sizeof(name), "%s" SUFFIX, path);
    for (int i = 0; i < TRIES; i++) {
        int fd = try_lock(dev, option, path, name);
        if (fd != -EAGAIN)
            return fd;
    }
    return hvv_error_option(dev, EBUSY, option, "%s changed %d times while it was being locked: "
                            "see who else uses %s", name, TRIES, path);
}

void claim_drop(int lock_fd, const char *path)
{
    char name[CLAIM_PATH_MAX + sizeof(SUFFIX)];
    snprintf(name, sizeof(name), "%s" SUFFIX, path);
    if (names(name, lock_fd))
        unlink(name);
    close(lock_fd);
}
