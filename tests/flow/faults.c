/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faults.c - LD_PRELOAD shim: makes the k-th fallible library call of the daemon fail.
 *
 * The tables, that of calls.h and those below, are all there is: each line makes one wrapper, and
 * every call in the process goes through it, also those of plugins and of other libraries. Nothing
 * in the daemon names a point. Any thread. calls.h is the checker's (sdk/checker), which does the
 * same to a plugin; it says what is not in the tables, and why. Neither are eventfds, which cannot
 * refuse eight bytes while they are far from full.
 */
#include "faults.h"

#include <dlfcn.h>
#include <execinfo.h>

typedef unsigned long thread_id;
typedef void thread_attr;
#define FAILS(NAME) fault(AT_##NAME)
#define NEXT(NAME) next(#NAME)
#include "calls.h"

/* libc's own, which need no look-up; a look-up may allocate. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

/* Those of liburing, which return a negative error number. */
#define LIBURING(N)                                                                                \
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

/* Wrapped by hand further down. */
#define SPECIAL(F)                                                                                 \
    F(malloc) F(calloc) F(realloc) F(reallocarray) F(posix_memalign) F(aligned_alloc)              \
    F(memalign) F(syscall) F(read) F(write) F(readv) F(writev) F(dlopen) F(dlsym)

#define INDEX(TYPE, NAME, ...) AT_##NAME,
#define INDEX1(NAME, ...) AT_##NAME,
#define STRING(TYPE, NAME, ...) #NAME,
#define STRING1(NAME, ...) #NAME,

enum function {
    CALLS(INDEX, INDEX) LIBURING(INDEX) CALLS_VARIADIC(INDEX1, INDEX1, INDEX1) SPECIAL(INDEX1)
    FUNCTIONS
};
static const char *const names[FUNCTIONS] = {
    CALLS(STRING, STRING) LIBURING(STRING) CALLS_VARIADIC(STRING1, STRING1, STRING1)
    SPECIAL(STRING1)
};
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

#define WRAP_N(TYPE, NAME, PARAMS, ARGS, ERROR)                                                    \
    EXPORT TYPE NAME PARAMS;                                                                       \
    TYPE NAME PARAMS                                                                               \
    {                                                                                              \
        if (fault(AT_##NAME))                                                                      \
            return ERROR;                                                                          \
        TYPE(*real) PARAMS = (TYPE(*) PARAMS)in_liburing(#NAME);                                   \
        return real ? real ARGS : -ENOSYS;                                                         \
    }

CALLS(WRAP_F, WRAP_E)
CALLS_VARIADIC(WRAP_OPEN, WRAP_OPENAT, WRAP_CONTROL)
LIBURING(WRAP_N)

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

/* ---- syscall: all arguments there may be are passed on --------------------------------------- */

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
