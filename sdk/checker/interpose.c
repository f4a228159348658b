/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * interpose.c - see interpose.h. Any thread. Headers that declare what is wrapped are left out on
 * purpose, since each has its own idea of the types.
 *
 * Not in the table: what cannot fail for a reason from outside (close, munmap, mutexes).
 */
#include "interpose.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifdef SANITIZED

bool interpose_there(void)
{
    return false;
}

void interpose_arm(uint32_t nth, void (*failing)(const char *call, const void *caller))
{
    (void)nth, (void)failing;
}

bool interpose_disarm(void)
{
    return false;
}

void interpose_period(void)
{
}

struct interpose_left interpose_left(void)
{
    return (struct interpose_left){0, 0, NULL};
}

#else

#define EXPORT __attribute__((visibility("default")))
#define CALLER __builtin_return_address(0)

typedef long ssize;
typedef long offset;
typedef unsigned len32; /* socklen_t, mode_t */

/* ---- Whether a call fails -------------------------------------------------------------------- */

extern const char __executable_start[], etext[];

static _Thread_local struct {
    uint32_t left; /* calls until one fails; 0: none does */
    bool failed;
    void (*failing)(const char *call, const void *caller);
} fault;

static bool is_ours(const void *caller)
{
    return (const char *)caller >= __executable_start && (const char *)caller < etext;
}

static bool fails(const char *name, const void *caller)
{
    if (fault.left == 0 || is_ours(caller) || --fault.left > 0)
        return false;
    fault.failed = true;
    fault.failing(name, caller);
    return true;
}

bool interpose_there(void)
{
    return true;
}

void interpose_arm(uint32_t nth, void (*failing)(const char *call, const void *caller))
{
    fault.left = nth;
    fault.failed = false;
    fault.failing = failing;
}

bool interpose_disarm(void)
{
    fault.left = 0;
    return fault.failed;
}

/* ---- The table ------------------------------------------------------------------------------- */

/*
 * F: returns -1, or another value, and sets errno. E: returns the error number itself.
 *        type, name, parameters, arguments, failing value, errno
 */
#define TABLE(F, E)                                                                                \
    F(int, socket, (int a, int b, int c), (a, b, c), -1, EMFILE)                                   \
    F(int, socketpair, (int a, int b, int c, int *d), (a, b, c, d), -1, EMFILE)                    \
    F(int, bind, (int fd, const void *a, len32 n), (fd, a, n), -1, EADDRINUSE)                     \
    F(int, listen, (int fd, int n), (fd, n), -1, EADDRINUSE)                                       \
    F(int, accept4, (int fd, void *a, len32 *n, int f), (fd, a, n, f), -1, EMFILE)                 \
    F(int, connect, (int fd, const void *a, len32 n), (fd, a, n), -1, ECONNREFUSED)                \
    F(int, setsockopt, (int fd, int l, int o, const void *v, len32 n), (fd, l, o, v, n), -1,       \
      ENOBUFS)                                                                                     \
    F(int, getsockname, (int fd, void *a, len32 *n), (fd, a, n), -1, ENOBUFS)                      \
    F(ssize, recvmsg, (int fd, void *m, int f), (fd, m, f), -1, ENOMEM)                            \
    F(ssize, sendmsg, (int fd, const void *m, int f), (fd, m, f), -1, ENOBUFS)                     \
    F(ssize, read, (int fd, void *p, size_t n), (fd, p, n), -1, EIO)                               \
    F(ssize, write, (int fd, const void *p, size_t n), (fd, p, n), -1, EIO)                        \
    F(ssize, pread, (int fd, void *p, size_t n, offset o), (fd, p, n, o), -1, EIO)                 \
    F(ssize, pread64, (int fd, void *p, size_t n, offset o), (fd, p, n, o), -1, EIO)               \
    F(ssize, pwrite, (int fd, const void *p, size_t n, offset o), (fd, p, n, o), -1, EIO)          \
    F(ssize, pwrite64, (int fd, const void *p, size_t n, offset o), (fd, p, n, o), -1, EIO)        \
    F(int, stat, (const char *p, void *s), (p, s), -1, EACCES)                                     \
    F(int, stat64, (const char *p, void *s), (p, s), -1, EACCES)                                   \
    F(int, lstat, (const char *p, void *s), (p, s), -1, EACCES)                                    \
    F(int, lstat64, (const char *p, void *s), (p, s), -1, EACCES)                                  \
    F(int, fstat, (int fd, void *s), (fd, s), -1, EIO)                                             \
    F(int, fstat64, (int fd, void *s), (fd, s), -1, EIO)                                           \
    F(int, fstatat, (int fd, const char *p, void *s, int f), (fd, p, s, f), -1, EACCES)            \
    F(int, fstatat64, (int fd, const char *p, void *s, int f), (fd, p, s, f), -1, EACCES)          \
    F(int, statx, (int fd, const char *p, int f, unsigned m, void *s), (fd, p, f, m, s), -1,       \
      EACCES)                                                                                      \
    F(int, fstatfs, (int fd, void *s), (fd, s), -1, EIO)                                           \
    F(int, fstatfs64, (int fd, void *s), (fd, s), -1, EIO)                                         \
    F(int, access, (const char *p, int m), (p, m), -1, EACCES)                                     \
    F(int, ftruncate, (int fd, offset n), (fd, n), -1, EIO)                                        \
    F(int, ftruncate64, (int fd, offset n), (fd, n), -1, EIO)                                      \
    F(int, fallocate, (int fd, int m, offset o, offset n), (fd, m, o, n), -1, ENOSPC)              \
    F(int, fallocate64, (int fd, int m, offset o, offset n), (fd, m, o, n), -1, ENOSPC)            \
    E(int, posix_fallocate, (int fd, offset o, offset n), (fd, o, n), ENOSPC)                      \
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
    F(FILE *, fopen, (const char *p, const char *m), (p, m), NULL, EMFILE)                         \
    F(FILE *, fopen64, (const char *p, const char *m), (p, m), NULL, EMFILE)                       \
    F(FILE *, fdopen, (int fd, const char *m), (fd, m), NULL, ENOMEM)                              \
    F(FILE *, open_memstream, (char **p, size_t *n), (p, n), NULL, ENOMEM)                         \
    F(void *, mmap, (void *p, size_t n, int r, int f, int fd, offset o), (p, n, r, f, fd, o),      \
      (void *)-1, ENOMEM)                                                                          \
    F(void *, mmap64, (void *p, size_t n, int r, int f, int fd, offset o), (p, n, r, f, fd, o),    \
      (void *)-1, ENOMEM)                                                                          \
    F(int, mprotect, (void *p, size_t n, int r), (p, n, r), -1, ENOMEM)                            \
    F(int, mlock, (const void *p, size_t n), (p, n), -1, ENOMEM)                                   \
    F(int, memfd_create, (const char *p, unsigned f), (p, f), -1, EMFILE)                          \
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
    E(int, pthread_create, (pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x),   \
      (t, a, f, x), EAGAIN)

/* The address of libc's function NAME, looked up at its first call. */
#define REAL(TYPE, NAME, PARAMS)                                                                   \
    static TYPE(*real) PARAMS;                                                                     \
    if (!real)                                                                                     \
        real = (TYPE(*) PARAMS)dlsym(RTLD_NEXT, #NAME);

#define WRAP_F(TYPE, NAME, PARAMS, ARGS, BAD, ERR)                                                 \
    EXPORT TYPE NAME PARAMS;                                                                       \
    TYPE NAME PARAMS                                                                               \
    {                                                                                              \
        if (fails(#NAME, CALLER)) {                                                                \
            errno = ERR;                                                                           \
            return BAD;                                                                            \
        }                                                                                          \
        REAL(TYPE, NAME, PARAMS)                                                                   \
        return real ARGS;                                                                          \
    }

#define WRAP_E(TYPE, NAME, PARAMS, ARGS, ERR)                                                      \
    EXPORT TYPE NAME PARAMS;                                                                       \
    TYPE NAME PARAMS                                                                               \
    {                                                                                              \
        if (fails(#NAME, CALLER))                                                                  \
            return ERR;                                                                            \
        REAL(TYPE, NAME, PARAMS)                                                                   \
        return real ARGS;                                                                          \
    }

TABLE(WRAP_F, WRAP_E)

/* Variable arguments: all of them are passed on, wanted or not. */
#define WRAP_OPEN(NAME, PARAMS, ARGS, LAST)                                                        \
    EXPORT int NAME PARAMS;                                                                        \
    int NAME PARAMS                                                                                \
    {                                                                                              \
        if (fails(#NAME, CALLER)) {                                                                \
            errno = EMFILE;                                                                        \
            return -1;                                                                             \
        }                                                                                          \
        va_list args;                                                                              \
        va_start(args, LAST);                                                                      \
        unsigned mode = va_arg(args, unsigned);                                                    \
        va_end(args);                                                                              \
        REAL(int, NAME, PARAMS)                                                                    \
        return real ARGS;                                                                          \
    }
#define WRAP_CONTROL(NAME, TYPE, ERR)                                                              \
    EXPORT int NAME(int fd, TYPE command, ...);                                                    \
    int NAME(int fd, TYPE command, ...)                                                            \
    {                                                                                              \
        if (fails(#NAME, CALLER)) {                                                                \
            errno = ERR;                                                                           \
            return -1;                                                                             \
        }                                                                                          \
        va_list args;                                                                              \
        va_start(args, command);                                                                   \
        void *more = va_arg(args, void *);                                                         \
        va_end(args);                                                                              \
        REAL(int, NAME, (int, TYPE, ...))                                                          \
        return real(fd, command, more);                                                            \
    }

WRAP_OPEN(open, (const char *path, int how, ...), (path, how, mode), how)
WRAP_OPEN(open64, (const char *path, int how, ...), (path, how, mode), how)
WRAP_OPEN(openat, (int dir, const char *path, int how, ...), (dir, path, how, mode), how)
WRAP_OPEN(openat64, (int dir, const char *path, int how, ...), (dir, path, how, mode), how)
WRAP_CONTROL(fcntl, int, ENOLCK)
WRAP_CONTROL(fcntl64, int, ENOLCK)
WRAP_CONTROL(ioctl, unsigned long, ENOMEM)

/* ---- Memory: what is not freed --------------------------------------------------------------- */

#define SLOTS (1u << 17)
#define MOST (SLOTS / 2) /* entries; of what comes beyond nothing is known */
#define TAKEN_AWAY ((void *)1)

struct block {
    void *at; /* NULL: free since ever; TAKEN_AWAY: free again */
    void *caller;
    size_t size;
    uint32_t period;
};

static struct block table[SLOTS];
static uint32_t n_blocks, period; /* period 0: nothing is remembered yet */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint32_t slot_of(const void *at)
{
    return (uint32_t)(((uintptr_t)at >> 4) * 0x9e3779b97f4a7c15u >> 40) % SLOTS;
}

static void *remember(void *at, size_t size, void *caller)
{
    if (!at || is_ours(caller))
        return at;
    pthread_mutex_lock(&lock);
    if (period > 0 && n_blocks < MOST) {
        uint32_t i = slot_of(at);
        while (table[i].at && table[i].at != TAKEN_AWAY)
            i = (i + 1) % SLOTS;
        n_blocks++;
        table[i] = (struct block){at, caller, size, period};
    }
    pthread_mutex_unlock(&lock);
    return at;
}

/* Entries are found by walking from their slot to a free one: none may become free in between. */
static void take_away(uint32_t i)
{
    if (table[(i + 1) % SLOTS].at) {
        table[i].at = TAKEN_AWAY;
        return;
    }
    table[i].at = NULL;
    for (i = (i + SLOTS - 1) % SLOTS; table[i].at == TAKEN_AWAY; i = (i + SLOTS - 1) % SLOTS)
        table[i].at = NULL;
}

/* What was remembered of the block, which is forgotten; .at is NULL if nothing was. */
static struct block forget(const void *at)
{
    struct block found = {NULL, NULL, 0, 0};
    if (!at)
        return found;
    pthread_mutex_lock(&lock);
    uint32_t i = slot_of(at);
    while (table[i].at && table[i].at != at)
        i = (i + 1) % SLOTS;
    if (table[i].at == at) {
        found = table[i];
        take_away(i);
        n_blocks--;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

void interpose_period(void)
{
    pthread_mutex_lock(&lock);
    period++;
    pthread_mutex_unlock(&lock);
}

struct interpose_left interpose_left(void)
{
    struct interpose_left left = {0, 0, NULL};
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < SLOTS; i++) {
        const struct block *block = &table[i];
        if (!block->at || block->at == TAKEN_AWAY || block->period != period)
            continue;
        left.blocks++;
        left.bytes += block->size;
        left.caller = block->caller;
    }
    pthread_mutex_unlock(&lock);
    return left;
}

/* ---- Memory: libc's -------------------------------------------------------------------------- */

/* For what a look-up itself may want, before libc's functions are known. Never freed. */
static char early[4096] __attribute__((aligned(16)));
static size_t n_early;

static struct {
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t n, size_t size);
    void *(*realloc)(void *at, size_t size);
    void *(*memalign)(size_t align, size_t size);
    void (*free)(void *at);
} libc;

static void *early_alloc(size_t size)
{
    size_t at = n_early;
    if (size > sizeof(early) - at - 16)
        return NULL;
    n_early = (at + size + 15) / 16 * 16;
    return early + at;
}

static bool is_early(const void *at)
{
    return (const char *)at >= early && (const char *)at < early + sizeof(early);
}

/* False while the look-ups run, which is before there are threads. */
static bool libc_known(void)
{
    static bool looking;
    if (libc.free)
        return true;
    if (looking)
        return false;
    looking = true;
    libc.malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    libc.calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    libc.realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    libc.memalign = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "aligned_alloc");
    libc.free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    looking = false;
    return true;
}

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

EXPORT void *malloc(size_t size);
void *malloc(size_t size)
{
    if (fails("malloc", CALLER))
        return no_memory();
    return libc_known() ? remember(libc.malloc(size), size, CALLER) : early_alloc(size);
}

EXPORT void *calloc(size_t n, size_t size);
void *calloc(size_t n, size_t size)
{
    if (fails("calloc", CALLER))
        return no_memory();
    return libc_known() ? remember(libc.calloc(n, size), n * size, CALLER) : early_alloc(n * size);
}

static void *again(void *at, size_t size, void *caller)
{
    if (!libc_known() || is_early(at))
        return early_alloc(size); /* nothing that early is ever made larger */
    struct block before = forget(at);
    void *new = libc.realloc(at, size);
    if (!new && size > 0 && before.at)
        remember(before.at, before.size, before.caller);
    return remember(new, size, caller);
}

EXPORT void *realloc(void *at, size_t size);
void *realloc(void *at, size_t size)
{
    if (size > 0 && fails("realloc", CALLER))
        return no_memory();
    return again(at, size, CALLER);
}

EXPORT void *reallocarray(void *at, size_t n, size_t size);
void *reallocarray(void *at, size_t n, size_t size)
{
    size_t bytes;
    if (fails("reallocarray", CALLER) || __builtin_mul_overflow(n, size, &bytes))
        return no_memory();
    return again(at, bytes, CALLER);
}

static void *aligned(size_t align, size_t size, void *caller)
{
    return libc_known() ? remember(libc.memalign(align, size), size, caller) : NULL;
}

EXPORT void *aligned_alloc(size_t align, size_t size);
void *aligned_alloc(size_t align, size_t size)
{
    return fails("aligned_alloc", CALLER) ? no_memory() : aligned(align, size, CALLER);
}

EXPORT void *memalign(size_t align, size_t size);
void *memalign(size_t align, size_t size)
{
    return fails("memalign", CALLER) ? no_memory() : aligned(align, size, CALLER);
}

EXPORT int posix_memalign(void **out, size_t align, size_t size);
int posix_memalign(void **out, size_t align, size_t size)
{
    void *at = fails("posix_memalign", CALLER) ? NULL : aligned(align, size, CALLER);
    if (!at)
        return ENOMEM;
    *out = at;
    return 0;
}

static char *copied(const char *text, size_t n, void *caller)
{
    char *copy = libc.malloc(n + 1);
    if (!copy)
        return NULL;
    for (size_t i = 0; i < n; i++)
        copy[i] = text[i];
    copy[n] = '\0';
    return remember(copy, n + 1, caller);
}

EXPORT char *strdup(const char *text);
char *strdup(const char *text)
{
    size_t n = 0;
    while (text[n])
        n++;
    return fails("strdup", CALLER) || !libc_known() ? no_memory() : copied(text, n, CALLER);
}

EXPORT char *strndup(const char *text, size_t max);
char *strndup(const char *text, size_t max)
{
    size_t n = 0;
    while (n < max && text[n])
        n++;
    return fails("strndup", CALLER) || !libc_known() ? no_memory() : copied(text, n, CALLER);
}

EXPORT void free(void *at);
void free(void *at)
{
    int saved = errno;
    forget(at);
    if (!is_early(at) && libc_known())
        libc.free(at);
    errno = saved;
}

#endif
