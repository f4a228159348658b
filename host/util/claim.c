/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * claim.c - see claim.h. Order: lock, clear a left-over, bind, permissions; undone in reverse.
 *
 * The lock file is removed by its holder only. Whoever opened it before that holds a lock on a file
 * without a name, so a lock counts only once the path still names the locked file.
 */
#include "util/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LOCK_SUFFIX ".lock"
#define LOCK_TRIES 32 /* each one lost means that another owner let go just then */

static void lock_name(char name[CLAIM_PATH_MAX + sizeof(LOCK_SUFFIX)], const char *path)
{
    snprintf(name, CLAIM_PATH_MAX + sizeof(LOCK_SUFFIX), "%s" LOCK_SUFFIX, path);
}

static bool same_file(int fd, const char *path)
{
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && lstat(path, &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

static int directory_error(const char *path, int err, struct error *error)
{
    const char *slash = strrchr(path, '/');
    int len = slash ? (int)(slash - path) : 1;
    const char *dir = slash ? path : ".";
    if (slash == path)
        len = 1;
    if (err == ENOENT || err == ENOTDIR)
        return error_set(error, err, "there is no directory %.*s for the socket %s: create it or "
                         "choose another path", len, dir, path);
    if (err == EACCES || err == EPERM || err == EROFS)
        return error_set(error, err, "the directory %.*s is not writable for the socket %s (%s): "
                         "change its permissions or choose another path", len, dir, path,
                         strerror(err));
    return error_set(error, err, "cannot create %s" LOCK_SUFFIX ": %s", path, strerror(err));
}

/* A descriptor of the lock file, -ENOENT if it went away meanwhile, or -errno with error set. */
static int open_lock(const char *path, const char *name, bool *created, struct error *error)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd = open(name, flags | O_CREAT | O_EXCL, 0600);
    *created = fd >= 0;
    if (fd >= 0)
        return fd;
    if (errno != EEXIST)
        return directory_error(path, errno, error);
    fd = open(name, flags);
    if (fd >= 0 || errno == ENOENT)
        return fd >= 0 ? fd : -ENOENT;
    return error_set(error, errno, "cannot open the lock file %s of a socket: %s; remove it if "
                     "nobody uses that socket, or choose another path", name, strerror(errno));
}

/* One attempt: the locked descriptor, -EAGAIN to try again, or -errno with error set. */
static int try_lock(const char *path, const char *name, struct error *error)
{
    bool created;
    int fd = open_lock(path, name, &created, error);
    if (fd < 0)
        return fd == -ENOENT && !error->err ? -EAGAIN : fd;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        if (same_file(fd, name))
            return fd;
        close(fd);
        return -EAGAIN;
    }
    int err = errno;
    if (err == EWOULDBLOCK) {
        close(fd);
        return error_set(error, EADDRINUSE, "the socket %s is in use, %s is locked: stop the "
                         "process or remove the device that uses it, or choose another path",
                         path, name);
    }
    if (created)
        unlink(name); /* nobody else can have locked it where locking fails */
    close(fd);
    return err == EINTR ? -EAGAIN
                        : error_set(error, err, "cannot lock %s: %s; choose a path on a local "
                                    "file system", name, strerror(err));
}

static int take_lock(const char *path, const char *name, struct error *error)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        int fd = try_lock(path, name, error);
        if (fd != -EAGAIN || error->err)
            return fd;
    }
    return error_set(error, EBUSY, "the lock file %s changed %d times while it was being locked: "
                     "see who else uses the socket %s", name, LOCK_TRIES, path);
}

static void drop_lock(int fd, const char *name)
{
    if (same_file(fd, name))
        unlink(name);
    close(fd);
}

static int clear_path(const char *path, struct error *error)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : error_set(error, errno, "cannot look at the socket path %s: "
                                               "%s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return error_set(error, EEXIST, "%s exists and is not a socket: remove it or choose "
                         "another path", path);
    if (unlink(path) < 0)
        return error_set(error, errno, "cannot remove the left-over socket %s: %s", path,
                         strerror(errno));
    return 0;
}

/* Binds c->fd and gives the file its permissions. */
static int bind_path(struct claim *c, const char *path, mode_t mode, struct error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (bind(c->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return error_set(error, errno, "cannot bind the socket %s: %s", path, strerror(errno));
    struct stat st;
    if (chmod(path, mode) == 0 && lstat(path, &st) == 0) {
        c->dev = st.st_dev;
        c->ino = st.st_ino;
        return 0;
    }
    int rc = error_set(error, errno, "cannot set permissions %04o of the socket %s: %s",
                       (unsigned)mode, path, strerror(errno));
    unlink(path); /* ours: it is under our lock */
    return rc;
}

static int check_path(const char *path, struct error *error)
{
    size_t len = strlen(path);
    if (len == 0)
        return error_set(error, EINVAL, "the path of a socket is empty: give one");
    if (len > CLAIM_PATH_MAX)
        return error_set(error, ENAMETOOLONG, "the socket path %.256s has %zu bytes, the limit is "
                         "%u: choose a shorter one", path, len, CLAIM_PATH_MAX);
    return 0;
}

int claim_socket(struct claim *c, const char *path, int type, mode_t mode, struct error *error)
{
    char name[CLAIM_PATH_MAX + sizeof(LOCK_SUFFIX)];
    memset(c, 0, sizeof(*c));
    int rc = check_path(path, error);
    if (rc < 0)
        return rc;
    char *copy = strdup(path);
    if (!copy)
        return error_set(error, ENOMEM, "out of memory for the socket %s", path);
    lock_name(name, path);
    rc = c->lock_fd = take_lock(path, name, error);
    if (rc < 0)
        goto free_path;
    rc = clear_path(path, error);
    if (rc < 0)
        goto unlock;
    rc = c->fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (rc < 0) {
        rc = error_set(error, errno, "cannot create a socket for %s: %s", path, strerror(errno));
        goto unlock;
    }
    rc = bind_path(c, path, mode, error);
    if (rc < 0)
        goto close_socket;
    c->path = copy;
    return 0;

close_socket:
    close(c->fd);
unlock:
    drop_lock(c->lock_fd, name);
free_path:
    free(copy);
    memset(c, 0, sizeof(*c));
    return rc;
}

void claim_release(struct claim *c)
{
    char name[CLAIM_PATH_MAX + sizeof(LOCK_SUFFIX)];
    struct stat st;
    if (!c->path)
        return;
    lock_name(name, c->path);
    if (lstat(c->path, &st) == 0 && st.st_dev == c->dev && st.st_ino == c->ino)
        unlink(c->path);
    close(c->fd);
    drop_lock(c->lock_fd, name);
    free(c->path);
    memset(c, 0, sizeof(*c));
}
