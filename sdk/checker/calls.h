/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls.h - the calls of libc that can fail for a reason from outside, and wrappers that stand
 * before them. For two: interpose.c, inside the checker, and the shim that the flow tests preload
 * into the daemon. Each includes this once and says what is different:
 *
 *     thread_id, thread_attr    types, as pthread_create() has them there
 *     FAILS(NAME)               whether this call fails; asked once for each
 *     NEXT(NAME)                the address of the NAME that comes next
 *
 * Headers that declare what is wrapped are left out on purpose, since each has its own idea of the
 * types. Not in the table: what cannot fail for a reason from outside (close, munmap, mutexes),
 * waiting (epoll_wait), and what the two treat differently (read, write, memory).
 */
#ifndef CHECKER_CALLS_H
#define CHECKER_CALLS_H

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define EXPORT __attribute__((visibility("default")))

typedef long ssize;
typedef long offset;
typedef unsigned len32; /* socklen_t, mode_t */
struct sigevent;

/*
 * F: returns -1, or another value, and sets errno. E: returns the error number itself.
 *        type, name, parameters, arguments, failing value, errno
 */
#define CALLS(F, E)                                                                                \
    F(int, socket, (int a, int b, int c), (a, b, c), -1, EMFILE)                                   \
    F(int, socketpair, (int a, int b, int c, int *d), (a, b, c, d), -1, EMFILE)                    \
    F(int, bind, (int fd, const void *a, len32 n), (fd, a, n), -1, ENOSPC)                         \
    F(int, listen, (int fd, int n), (fd, n), -1, EADDRINUSE)                                       \
    F(int, accept, (int fd, void *a, len32 *n), (fd, a, n), -1, EMFILE)                            \
    F(int, accept4, (int fd, void *a, len32 *n, int f), (fd, a, n, f), -1, EMFILE)                 \
    F(int, connect, (int fd, const void *a, len32 n), (fd, a, n), -1, ECONNREFUSED)                \
    F(int, getsockopt, (int fd, int l, int o, void *v, len32 *n), (fd, l, o, v, n), -1, ENOBUFS)   \
    F(int, getsockname, (int fd, void *a, len32 *n), (fd, a, n), -1, ENOBUFS)                      \
    F(int, setsockopt, (int fd, int l, int o, const void *v, len32 n), (fd, l, o, v, n), -1,       \
      ENOBUFS)                                                                                     \
    F(ssize, recv, (int fd, void *p, size_t n, int f), (fd, p, n, f), -1, ECONNRESET)              \
    F(ssize, recvmsg, (int fd, void *m, int f), (fd, m, f), -1, ENOMEM)                            \
    F(ssize, send, (int fd, const void *p, size_t n, int f), (fd, p, n, f), -1, ENOBUFS)           \
    F(ssize, sendmsg, (int fd, const void *m, int f), (fd, m, f), -1, ENOBUFS)                     \
    F(ssize, sendto, (int fd, const void *p, size_t n, int f, const void *a, len32 l),             \
      (fd, p, n, f, a, l), -1, ENOBUFS)                                                            \
    F(ssize, pread, (int fd, void *p, size_t n, offset o), (fd, p, n, o), -1, EIO)                 \
    F(ssize, pread64, (int fd, void *p, size_t n, offset o), (fd, p, n, o), -1, EIO)               \
    F(ssize, pwrite, (int fd, const void *p, size_t n, offset o), (fd, p, n, o), -1, EIO)          \
    F(ssize, pwrite64, (int fd, const void *p, size_t n, offset o), (fd, p, n, o), -1, EIO)        \
    F(ssize, preadv2, (int fd, const void *v, int n, offset o, int f), (fd, v, n, o, f), -1, EIO)  \
    F(ssize, pwritev2, (int fd, const void *v, int n, offset o, int f), (fd, v, n, o, f), -1, EIO) \
    F(int, fdatasync, (int fd), (fd), -1, EIO)                                                     \
    F(int, fsync, (int fd), (fd), -1, EIO)                                                         \
    F(int, stat, (const char *p, void *s), (p, s), -1, EACCES)                                     \
    F(int, stat64, (const char *p, void *s), (p, s), -1, EACCES)                                   \
    F(int, lstat, (const char *p, void *s), (p, s), -1, EACCES)                                    \
    F(int, lstat64, (const char *p, void *s), (p, s), -1, EACCES)                                  \
    F(int, fstat, (int fd, void *s), (fd, s), -1, ENOMEM)                                          \
    F(int, fstat64, (int fd, void *s), (fd, s), -1, ENOMEM)                                        \
    F(int, fstatat, (int fd, const char *p, void *s, int f), (fd, p, s, f), -1, EACCES)            \
    F(int, fstatat64, (int fd, const char *p, void *s, int f), (fd, p, s, f), -1, EACCES)          \
    F(int, statx, (int fd, const char *p, int f, unsigned m, void *s), (fd, p, f, m, s), -1,       \
      EACCES)                                                                                      \
    F(int, statfs, (const char *p, void *s), (p, s), -1, EIO)                                      \
    F(int, statfs64, (const char *p, void *s), (p, s), -1, EIO)                                    \
    F(int, fstatfs, (int fd, void *s), (fd, s), -1, EIO)                                           \
    F(int, fstatfs64, (int fd, void *s), (fd, s), -1, EIO)                                         \
    F(int, access, (const char *p, int m), (p, m), -1, EACCES)                                     \
    F(int, ftruncate, (int fd, offset n), (fd, n), -1, EIO)                                        \
    F(int, ftruncate64, (int fd, offset n), (fd, n), -1, EIO)                                      \
    F(int, fallocate, (int fd, int m, offset o, offset n), (fd, m, o, n), -1, ENOSPC)              \
    F(int, fallocate64, (int fd, int m, offset o, offset n), (fd, m, o, n), -1, ENOSPC)            \
    F(int, flock, (int fd, int op), (fd, op), -1, ENOLCK)                                          \
    F(int, chmod, (const char *p, len32 m), (p, m), -1, EPERM)                                     \
    F(int, fchmod, (int fd, len32 m), (fd, m), -1, EPERM)                                          \
    F(int, mkdir, (const char *p, len32 m), (p, m), -1, EACCES)                                    \
    F(int, rename, (const char *a, const char *b), (a, b), -1, EACCES)                             \
    F(ssize, readlink, (const char *p, char *b, size_t n), (p, b, n), -1, EACCES)                  \
    F(int, symlink, (const char *a, const char *b), (a, b), -1, ENOSPC)                            \
    F(int, posix_openpt, (int f), (f), -1, ENOSPC)                                                 \
    F(int, grantpt, (int fd), (fd), -1, EACCES)                                                    \
    F(int, unlockpt, (int fd), (fd), -1, EIO)                                                      \
    E(int, ptsname_r, (int fd, char *b, size_t n), (fd, b, n), ENOTTY)                             \
    F(int, tcgetattr, (int fd, void *t), (fd, t), -1, EIO)                                         \
    F(int, tcsetattr, (int fd, int a, const void *t), (fd, a, t), -1, EIO)                         \
    F(char *, realpath, (const char *p, char *b), (p, b), NULL, EACCES)                            \
    F(char *, getcwd, (char *b, size_t n), (b, n), NULL, ENOENT)                                   \
    F(void *, opendir, (const char *p), (p), NULL, EMFILE)                                         \
    F(void *, fdopendir, (int fd), (fd), NULL, ENOMEM)                                             \
    F(int, scandir, (const char *p, void *l, void *f, void *c), (p, l, f, c), -1, EMFILE)          \
    F(int, scandir64, (const char *p, void *l, void *f, void *c), (p, l, f, c), -1, EMFILE)        \
    F(FILE *, fopen, (const char *p, const char *m), (p, m), NULL, EMFILE)                         \
    F(FILE *, fopen64, (const char *p, const char *m), (p, m), NULL, EMFILE)                       \
    F(FILE *, fdopen, (int fd, const char *m), (fd, m), NULL, ENOMEM)                              \
    F(FILE *, open_memstream, (char **p, size_t *n), (p, n), NULL, ENOMEM)                         \
    F(void *, mmap, (void *p, size_t n, int r, int f, int fd, offset o), (p, n, r, f, fd, o),      \
      (void *)-1, ENOMEM)                                                                          \
    F(void *, mmap64, (void *p, size_t n, int r, int f, int fd, offset o), (p, n, r, f, fd, o),    \
      (void *)-1, ENOMEM)                                                                          \
    F(int, mprotect, (void *p, size_t n, int r), (p, n, r), -1, ENOMEM)                            \
    F(int, madvise, (void *p, size_t n, int r), (p, n, r), -1, EAGAIN)                             \
    F(int, mlock, (const void *p, size_t n), (p, n), -1, ENOMEM)                                   \
    F(int, memfd_create, (const char *p, unsigned f), (p, f), -1, EMFILE)                          \
    F(int, epoll_create, (int n), (n), -1, EMFILE)                                                 \
    F(int, epoll_create1, (int f), (f), -1, EMFILE)                                                \
    F(int, epoll_ctl, (int e, int op, int fd, void *v), (e, op, fd, v), -1, ENOMEM)                \
    F(int, eventfd, (unsigned n, int f), (n, f), -1, EMFILE)                                       \
    F(int, timerfd_create, (int c, int f), (c, f), -1, EMFILE)                                     \
    F(int, signalfd, (int fd, const void *m, int f), (fd, m, f), -1, EMFILE)                       \
    F(int, inotify_init1, (int f), (f), -1, EMFILE)                                                \
    F(int, pipe, (int *p), (p), -1, EMFILE)                                                        \
    F(int, pipe2, (int *p, int f), (p, f), -1, EMFILE)                                             \
    F(int, dup, (int fd), (fd), -1, EMFILE)                                                        \
    F(int, dup2, (int a, int b), (a, b), -1, EMFILE)                                               \
    F(int, dup3, (int a, int b, int f), (a, b, f), -1, EMFILE)                                     \
    F(ssize, getrandom, (void *p, size_t n, unsigned f), (p, n, f), -1, EINTR)                     \
    F(int, timer_create, (int c, struct sigevent *e, void **t), (c, e, t), -1, EAGAIN)             \
    E(int, pthread_create, (thread_id *t, const thread_attr *a, void *(*f)(void *), void *x),      \
      (t, a, f, x), EAGAIN)                                                                        \
    E(int, posix_fallocate, (int fd, offset o, offset n), (fd, o, n), ENOSPC)

#define CALLS_VARIADIC(OPEN, OPENAT, CONTROL)                                                      \
    OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)                                        \
    CONTROL(fcntl, int, ENOLCK) CONTROL(fcntl64, int, ENOLCK)                                      \
    CONTROL(ioctl, unsigned long, ENOMEM)

/* The address of the next one is looked up at the first call. */
#define WRAP_F(TYPE, NAME, PARAMS, ARGS, VALUE, ERROR)                                             \
    EXPORT TYPE NAME PARAMS;                                                                       \
    TYPE NAME PARAMS                                                                               \
    {                                                                                              \
        static TYPE(*real) PARAMS;                                                                 \
        if (FAILS(NAME)) {                                                                         \
            errno = ERROR;                                                                         \
            return VALUE;                                                                          \
        }                                                                                          \
        if (!real)                                                                                 \
            real = (TYPE(*) PARAMS)NEXT(NAME);                                                     \
        return real ARGS;                                                                          \
    }

#define WRAP_E(TYPE, NAME, PARAMS, ARGS, ERROR)                                                    \
    EXPORT TYPE NAME PARAMS;                                                                       \
    TYPE NAME PARAMS                                                                               \
    {                                                                                              \
        static TYPE(*real) PARAMS;                                                                 \
        if (FAILS(NAME))                                                                           \
            return ERROR;                                                                          \
        if (!real)                                                                                 \
            real = (TYPE(*) PARAMS)NEXT(NAME);                                                     \
        return real ARGS;                                                                          \
    }

/* Variable arguments: the one there may be is passed on, wanted or not. */
#define WRAP_VARIADIC(NAME, PARAMS, LAST, MORE, ARGS, ERROR)                                       \
    EXPORT int NAME PARAMS;                                                                        \
    int NAME PARAMS                                                                                \
    {                                                                                              \
        static int(*real) PARAMS;                                                                  \
        if (FAILS(NAME)) {                                                                         \
            errno = ERROR;                                                                         \
            return -1;                                                                             \
        }                                                                                          \
        va_list args;                                                                              \
        va_start(args, LAST);                                                                      \
        MORE more = va_arg(args, MORE);                                                            \
        va_end(args);                                                                              \
        if (!real)                                                                                 \
            real = (int(*) PARAMS)NEXT(NAME);                                                      \
        return real ARGS;                                                                          \
    }

#define WRAP_OPEN(NAME)                                                                            \
    WRAP_VARIADIC(NAME, (const char *path, int how, ...), how, unsigned, (path, how, more), EMFILE)
#define WRAP_OPENAT(NAME)                                                                          \
    WRAP_VARIADIC(NAME, (int dir, const char *path, int how, ...), how, unsigned,                  \
                  (dir, path, how, more), EMFILE)
#define WRAP_CONTROL(NAME, TYPE, ERROR)                                                            \
    WRAP_VARIADIC(NAME, (int fd, TYPE command, ...), command, void *, (fd, command, more), ERROR)

#endif
