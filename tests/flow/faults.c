/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faults.c - LD_PRELOAD shim: makes the k-th fallible library call of the daemon fail.
 *
 * The table below is all there is: each line makes one wrapper, and every call in the process goes
 * through it, also those of plugins and of other libraries. Nothing in the daemon names a point.
 * Any thread. Headers that declare what is wrapped are left out on purpose.
 *
 * Not in the table: what cannot fail for a reason from outside (close, munmap, mutexes), waiting
 * (epoll_wait), and eventfds, which cannot refuse eight bytes while they are far from full.
 */
#include "faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

typedef long ssize;
typedef long offset;
typedef unsigned len32; /* socklen_t, mode_t */

/* libc's own, which need no look-up; a look-up may allocate. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

/*
 * F: returns -1 (or another value) and sets errno. E: returns the error number itself.
 * N: a look-up in liburing, which returns a negative error number.
 *        type, name, parameters, arguments, failing value, errno
 */
#define TABLE(F, E, N)                                                                             \
    F(int, socket, (int a, int b, int c), (a, b, c), -1, EMFILE)                                   \
    F(int, socketpair, (int a, int b, int c, int *d), (a, b, c, d), -1, EMFILE)                    \
    F(int, bind, (int fd, const void *a, len32 n), (fd, a, n), -1, ENOSPC)                         \
    F(int, listen, (int fd, int n), (fd, n), -1, EADDRINUSE)                                       \
    F(int, accept, (int fd, void *a, len32 *n), (fd, a, n), -1, EMFILE)                            \
    F(int, accept4, (int fd, void *a, len32 *n, int flags), (fd, a, n, flags), -1, EMFILE)         \
    F(int, connect, (int fd, const void *a, len32 n), (fd, a, n), -1, ECONNREFUSED)                \
    F(int, getsockopt, (int fd, int l, int o, void *v, len32 *n), (fd, l, o, v, n), -1, ENOBUFS)   \
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
    F(int, timer_create, (int c, void *e, void *t), (c, e, t), -1, EAGAIN)                         \
    E(int, pthread_create, (unsigned long *t, const void *a, void *(*f)(void *), void *x),         \
      (t, a, f, x), EAGAIN)                                                                        \
    E(int, posix_fallocate, (int fd, offset o, offset n), (fd, o, n), ENOSPC)                      \
    N(int, io_uring_queue_init, (unsigned n, void *r, unsigned f), (n, r, f), -ENOMEM)             \
    N(int, io_uring_queue_init_params, (unsigned n, void *r, void *p), (n, r, p), -ENOMEM)         \
    N(int, io_uring_register_files, (void *r, const int *f, unsigned n), (r, f, n), -ENOMEM)       \
    N(int, io_uring_register_files_sparse, (void *r, unsigned n), (r, n), -ENOMEM)                 \
    N(int, io_uring_register_buffers, (void *r, const void *v, unsigned n), (r, v, n), -ENOMEM)    \
    N(int, io_uring_register_eventfd, (void *r, int fd), (r, fd), -ENOMEM)                         \
    N(int, io_uring_register_ring_fd, (void *r), (r), -ENOMEM)                                     \
    N(int, io_uring_register_iowq_max_workers, (void *r, unsigned *v), (r, v), -ENOMEM)            \
    N(int, io_uring_register_probe, (void *r, void *p, unsigned n), (r, p, n), -ENOMEM)            \
    N(int, io_uring_submit, (void *r), (r), -EAGAIN)                                               \
    N(int, io_uring_submit_and_wait, (void *r, unsigned n), (r, n), -EAGAIN)

/* Wrapped by hand further down: variable arguments, or libc's own entry point. */
#define SPECIAL(F)                                                                                 \
    F(malloc) F(calloc) F(realloc) F(reallocarray) F(posix_memalign) F(aligned_alloc)              \
    F(memalign) F(open) F(open64) F(openat) F(openat64) F(fcntl) F(fcntl64) F(ioctl) F(syscall)    \
    F(read) F(write) F(readv) F(writev) F(dlopen) F(dlsym)

#define INDEX(TYPE, NAME, ...) AT_##NAME,
#define INDEX1(NAME) AT_##NAME,
#define STRING(TYPE, NAME, ...) #NAME,
#define STRING1(NAME) #NAME,

enum function { TABLE(INDEX, INDEX, INDEX) SPECIAL(INDEX1) FUNCTIONS };
static const char *const names[FUNCTIONS] = {TABLE(STRING, STRING, STRING) SPECIAL(STRING1)};
_Static_assert(FUNCTIONS <= FAULTS_FUNCTIONS_MAX, "faults.h has room for fewer functions");

static struct faults *shared;
/* The shim's own calls, and those of the look-ups, do not count. */
static _Thread_local int inside __attribute__((tls_model("initial-exec")));

/* ---- deciding -------------------------------------------------------------------------------- */

static char *put(char *at, char *end, const char *text)
{
    while (*text && at + 1 < end)
        *at++ = *text++;
    *at = '\0';
    return at;
}

static char *put_hex(char *at, char *end, uintptr_t value)
{
    char digits[20], *p = digits + sizeof(digits);
    *--p = '\0';
    do
        *--p = "0123456789abcdef"[value & 15];
    while (value >>= 4);
    return put(at, end, p);
}

/* "program+0x123 library+0x456", for addr2line. */
static void note_callers(void)
{
    void *frames[12];
    char *at = shared->where, *end = at + sizeof(shared->where);
    int n = backtrace(frames, 12);
    *at = '\0';
    for (int i = 2; i < n; i++) {
        Dl_info info;
        if (!dladdr(frames[i], &info) || !info.dli_fname)
            continue;
        const char *name = info.dli_fname;
        for (const char *p = name; *p; p++)
            if (*p == '/')
                name = p + 1;
        at = put(at, end, i > 2 ? " " : "");
        at = put(at, end, name);
        at = put(at, end, "+0x");
        at = put_hex(at, end, (uintptr_t)frames[i] - (uintptr_t)info.dli_fbase);
    }
}

/* Whether this call fails. */
__attribute__((noinline)) static int fault(enum function which)
{
    if (!shared || inside || !atomic_load(&shared->armed))
        return 0;
    uint32_t number = atomic_fetch_add(&shared->calls, 1) + 1;
    atomic_fetch_add(&shared->count[which], 1);
    if (number <= FAULTS_CALLS_MAX)
        shared->which[number - 1] = (uint8_t)which;
    if (number != atomic_load(&shared->fail_at))
        return 0;
    inside = 1;
    note_callers();
    inside = 0;
    atomic_store(&shared->failed, (uint32_t)which + 1);
    return 1;
}

static void *(*real_dlsym(void))(void *, const char *)
{
    static void *(*real)(void *, const char *);
    if (!real)
        real = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    return real;
}

static void *next(const char *name)
{
    inside++;
    void *real = real_dlsym()(RTLD_NEXT, name);
    inside--;
    return real;
}

/* Plugins are loaded locally, so what they are linked with is not in the global scope. */
static void *in_liburing(const char *name)
{
    inside++;
    void *library = dlopen("liburing.so.2", RTLD_LAZY | RTLD_NOLOAD);
    void *real = library ? dlsym(library, name) : NULL;
    if (library)
        dlclose(library); /* it was there, and is held by whoever calls us */
    inside--;
    return real;
}

#define FAIL(WHICH, VALUE, ERROR)                                                                  \
    do {                                                                                           \
        if (fault(WHICH)) {                                                                        \
            errno = ERROR;                                                                         \
            return VALUE;                                                                          \
        }                                                                                          \
    } while (0)

#define EXPORT __attribute__((visibility("default")))

#define WRAP_F(TYPE, NAME, PARAMS, ARGS, VALUE, ERROR)                                             \
    EXPORT TYPE NAME PARAMS;                                                                       \
    TYPE NAME PARAMS                                                                               \
    {                                                                                              \
        FAIL(AT_##NAME, VALUE, ERROR);                                                             \
        static TYPE(*real) PARAMS;                                                                 \
        if (!real)                                                                                 \
            real = (TYPE(*) PARAMS)next(#NAME);                                                    \
        return real ARGS;                                                                          \
    }

#define WRAP_E(TYPE, NAME, PARAMS, ARGS, ERROR)                                                    \
    EXPORT TYPE NAME PARAMS;                                                                       \
    TYPE NAME PARAMS                                                                               \
    {                                                                                              \
        if (fault(AT_##NAME))                                                                      \
            return ERROR;                                                                          \
        static TYPE(*real) PARAMS;                                                                 \
        if (!real)                                                                                 \
            real = (TYPE(*) PARAMS)next(#NAME);                                                    \
        return real ARGS;                                                                          \
    }

#define WRAP_N(TYPE, NAME, PARAMS, ARGS, ERROR)                                                    \
    EXPORT TYPE NAME PARAMS;                                                                       \
    TYPE NAME PARAMS                                                                               \
    {                                                                                              \
        if (fault(AT_##NAME))                                                                      \
            return ERROR;                                                                          \
        TYPE(*real) PARAMS = (TYPE(*) PARAMS)in_liburing(#NAME);                                   \
        return real ? real ARGS : -ENOSYS;                                                         \
    }

TABLE(WRAP_F, WRAP_E, WRAP_N)

/* ---- memory ---------------------------------------------------------------------------------- */

EXPORT void *malloc(size_t size);
void *malloc(size_t size)
{
    FAIL(AT_malloc, NULL, ENOMEM);
    return __libc_malloc(size);
}

EXPORT void *calloc(size_t n, size_t size);
void *calloc(size_t n, size_t size)
{
    FAIL(AT_calloc, NULL, ENOMEM);
    return __libc_calloc(n, size);
}

EXPORT void *realloc(void *p, size_t size);
void *realloc(void *p, size_t size)
{
    if (size > 0)
        FAIL(AT_realloc, NULL, ENOMEM);
    return __libc_realloc(p, size);
}

EXPORT void *reallocarray(void *p, size_t n, size_t size);
void *reallocarray(void *p, size_t n, size_t size)
{
    size_t bytes;
    FAIL(AT_reallocarray, NULL, ENOMEM);
    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(p, bytes);
}

EXPORT int posix_memalign(void **p, size_t align, size_t size);
int posix_memalign(void **p, size_t align, size_t size)
{
    if (fault(AT_posix_memalign))
        return ENOMEM;
    void *got = __libc_memalign(align, size);
    if (got)
        *p = got;
    return got ? 0 : ENOMEM;
}

EXPORT void *aligned_alloc(size_t align, size_t size);
void *aligned_alloc(size_t align, size_t size)
{
    FAIL(AT_aligned_alloc, NULL, ENOMEM);
    return __libc_memalign(align, size);
}

EXPORT void *memalign(size_t align, size_t size);
void *memalign(size_t align, size_t size)
{
    FAIL(AT_memalign, NULL, ENOMEM);
    return __libc_memalign(align, size);
}

/* ---- variable arguments: all of them are passed on, wanted or not ---------------------------- */

#define WRAP_OPEN(NAME)                                                                            \
    EXPORT int NAME(const char *path, int open_flags, ...);                                        \
    int NAME(const char *path, int open_flags, ...)                                                \
    {                                                                                              \
        FAIL(AT_##NAME, -1, EMFILE);                                                               \
        va_list args;                                                                              \
        va_start(args, open_flags);                                                                \
        unsigned mode = va_arg(args, unsigned);                                                    \
        va_end(args);                                                                              \
        int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))next(#NAME);        \
        return real(path, open_flags, mode);                                                       \
    }
#define WRAP_OPENAT(NAME)                                                                          \
    EXPORT int NAME(int dir, const char *path, int open_flags, ...);                               \
    int NAME(int dir, const char *path, int open_flags, ...)                                       \
    {                                                                                              \
        FAIL(AT_##NAME, -1, EMFILE);                                                               \
        va_list args;                                                                              \
        va_start(args, open_flags);                                                                \
        unsigned mode = va_arg(args, unsigned);                                                    \
        va_end(args);                                                                              \
        int (*real)(int, const char *, int, ...) =                                                 \
            (int (*)(int, const char *, int, ...))next(#NAME);                                     \
        return real(dir, path, open_flags, mode);                                                  \
    }
#define WRAP_CONTROL(NAME, TYPE, ERROR)                                                            \
    EXPORT int NAME(int fd, TYPE command, ...);                                                    \
    int NAME(int fd, TYPE command, ...)                                                            \
    {                                                                                              \
        FAIL(AT_##NAME, -1, ERROR);                                                                \
        va_list args;                                                                              \
        va_start(args, command);                                                                   \
        void *more = va_arg(args, void *);                                                         \
        va_end(args);                                                                              \
        int (*real)(int, TYPE, ...) = (int (*)(int, TYPE, ...))next(#NAME);                        \
        return real(fd, command, more);                                                            \
    }

WRAP_OPEN(open)
WRAP_OPEN(open64)
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)
WRAP_CONTROL(fcntl, int, ENOLCK)
WRAP_CONTROL(fcntl64, int, ENOLCK)
WRAP_CONTROL(ioctl, unsigned long, ENOMEM)

EXPORT long syscall(long number, ...);
long syscall(long number, ...)
{
    long a[6];
    va_list args;
    FAIL(AT_syscall, -1, ENOMEM);
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    long (*real)(long, ...) = (long (*)(long, ...))next("syscall");
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- read, write: not on an eventfd ---------------------------------------------------------- */

/* 1: fd is an eventfd. readlink() itself is in the table. */
static int is_eventfd(int fd)
{
    char path[40], link[40];
    int digits[12], n = 0;
    char *end = path + sizeof(path), *at = put(path, end, "/proc/self/fd/");
    if (fd < 0)
        return 0;
    do
        digits[n++] = fd % 10;
    while (fd /= 10);
    while (n > 0) {
        char digit[2] = {(char)('0' + digits[--n]), '\0'};
        at = put(at, end, digit);
    }
    int saved = errno;
    inside++;
    ssize len = readlink(path, link, sizeof(link) - 1);
    inside--;
    errno = saved;
    link[len > 0 ? len : 0] = '\0';
    static const char want[] = "anon_inode:[eventfd]";
    for (size_t i = 0; i < sizeof(want) - 1; i++)
        if (link[i] != want[i])
            return 0;
    return 1;
}

static int fault_on(enum function which, int fd)
{
    return shared && !inside && atomic_load(&shared->armed) && !is_eventfd(fd) && fault(which);
}

#define WRAP_IO(NAME, POINTER, COUNT)                                                              \
    EXPORT ssize NAME(int fd, POINTER p, COUNT n);                                                 \
    ssize NAME(int fd, POINTER p, COUNT n)                                                         \
    {                                                                                              \
        if (fault_on(AT_##NAME, fd)) {                                                             \
            errno = EIO;                                                                           \
            return -1;                                                                             \
        }                                                                                          \
        static ssize (*real)(int, POINTER, COUNT);                                                 \
        if (!real)                                                                                 \
            real = (ssize(*)(int, POINTER, COUNT))next(#NAME);                                     \
        return real(fd, p, n);                                                                     \
    }

WRAP_IO(read, void *, size_t)
WRAP_IO(write, const void *, size_t)
WRAP_IO(readv, const void *, int)
WRAP_IO(writev, const void *, int)

/* ---- the dynamic linker: a real failure, so that dlerror() has a text ------------------------ */

EXPORT void *dlopen(const char *path, int how);
void *dlopen(const char *path, int how)
{
    static void *(*real)(const char *, int);
    if (!real)
        real = (void *(*)(const char *, int))next("dlopen");
    return real(fault(AT_dlopen) ? "/nonexistent/fault.so" : path, how);
}

EXPORT void *dlsym(void *handle, const char *name);
void *dlsym(void *handle, const char *name)
{
    return real_dlsym()(handle, fault(AT_dlsym) ? "no_such_symbol" : name);
}

/* ---- the shared memory ----------------------------------------------------------------------- */

char *getenv(const char *name);

__attribute__((constructor)) static void set_up(void)
{
    void *frames[2];
    const char *path = getenv(FAULTS_ENV);
    inside = 1;
    backtrace(frames, 2); /* loads what it needs now */
    int fd = path ? open(path, 02000002) : -1; /* O_RDWR | O_CLOEXEC */
    void *p = fd < 0 ? (void *)-1 : mmap(NULL, sizeof(struct faults), 3, 1, fd, 0);
    inside = 0;
    if (p == (void *)-1)
        return;
    struct faults *f = p;
    for (unsigned i = 0; i < FUNCTIONS; i++)
        put(f->name[i], f->name[i] + sizeof(f->name[i]), names[i]);
    f->functions = FUNCTIONS;
    shared = f;
}
