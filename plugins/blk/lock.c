/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock.c - image locks that QEMU understands.
 *
 * Runs on the builder thread. The agreement: somebody who does a kind of access number N to an
 * image holds a shared lock on byte 100 + N of it; somebody who does not want others to do so holds
 * a shared lock on byte 200 + N. Everyone first takes all its own locks, and then looks whether
 * anybody else's lock contradicts them: so of two that come together at least one sees the other.
 * The locks are OFD locks: they belong to the open file, so two disks in this process exclude each
 * other as two processes do. Whether the file has such bytes does not matter.
 *
 * They are taken on an open file of their own: an io_uring keeps the one it does I/O on alive until
 * the kernel gets round to taking the ring apart, which would leave an image locked for a while
 * after its daemon was killed.
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#define DOES_BASE 100
#define FORBIDS_BASE 200

enum access_kind { ACCESS_READ = 0, ACCESS_WRITE = 1, ACCESS_RESIZE = 3, ACCESS_END = 4 };

#define BIT(KIND) (1u << (KIND))

static int32_t set_lock(int fd, short type, off_t start, off_t len)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    int rc;
    do
        rc = fcntl(fd, F_OFD_SETLK, &lock);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

/* 1 if somebody else holds a lock on the byte, 0 if not, or a negative errno. */
static int32_t is_held(int fd, off_t byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    return lock.l_type != F_UNLCK;
}

static int32_t take_all(int fd, off_t base, uint32_t kinds)
{
    for (int kind = 0; kind < ACCESS_END; kind++) {
        int32_t rc = kinds & BIT(kind) ? set_lock(fd, F_RDLCK, base + kind, 1) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The first of `kinds` that somebody else holds a lock for, ACCESS_END if none, or -errno. */
static int32_t find_held(int fd, off_t base, uint32_t kinds)
{
    for (int kind = 0; kind < ACCESS_END; kind++) {
        int32_t rc = kinds & BIT(kind) ? is_held(fd, base + kind) : 0;
        if (rc)
            return rc < 0 ? rc : kind;
    }
    return ACCESS_END;
}

static int32_t check_others(int fd, uint32_t does, uint32_t forbids, const char **holder)
{
    int32_t kind = find_held(fd, DOES_BASE, forbids);
    if (kind < 0)
        return kind;
    if (kind != ACCESS_END) {
        *holder = "another device or process has it open for writing";
        return -EBUSY;
    }
    kind = find_held(fd, FORBIDS_BASE, does);
    if (kind < 0)
        return kind;
    if (kind == ACCESS_END)
        return 0;
    *holder = kind == ACCESS_READ ? "another device or process has it open for itself alone"
                                  : "another device or process has it open for reading and wants "
                                    "no writer beside it";
    return -EBUSY;
}

static int32_t lock_take(int fd, bool read_only, const char **holder)
{
    uint32_t change = BIT(ACCESS_WRITE) | BIT(ACCESS_RESIZE);
    uint32_t does = BIT(ACCESS_READ) | (read_only ? 0 : change);
    int32_t rc = take_all(fd, DOES_BASE, does);
    if (rc == 0)
        rc = take_all(fd, FORBIDS_BASE, change);
    return rc < 0 ? rc : check_others(fd, does, change, holder);
}

/* 0 if both are the same file, else a negative errno. */
static int32_t same_file(int a, int b)
{
    struct stat st_a, st_b;
    if (fstat(a, &st_a) < 0 || fstat(b, &st_b) < 0)
        return -errno;
    return st_a.st_dev == st_b.st_dev && st_a.st_ino == st_b.st_ino ? 0 : -ESTALE;
}

int lock_open(const char *path, int fd, bool read_only, const char **holder)
{
    int lock_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (lock_fd < 0)
        return -errno;
    int32_t rc = same_file(fd, lock_fd);
    if (rc == 0)
        rc = lock_take(lock_fd, read_only, holder);
    if (rc == 0)
        return lock_fd;
    close(lock_fd);
    return rc;
}
