/* SPDX-License-Identifier: BSD-3-Clause */
/* interpose.c - see interpose.h; calls.h has the table of calls. Any thread. */
#include "interpose.h"

#include <dlfcn.h>
#include <pthread.h>

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

typedef pthread_t thread_id;
typedef pthread_attr_t thread_attr;
#define CALLER __builtin_return_address(0)
#define FAILS(NAME) fails(#NAME, CALLER)
#define NEXT(NAME) dlsym(RTLD_NEXT, #NAME)
#include "calls.h"

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

/* ---- The calls ------------------------------------------------------------------------------- */

CALLS(WRAP_F, WRAP_E)
CALLS_VARIADIC(WRAP_OPEN, WRAP_OPENAT, WRAP_CONTROL)
WRAP_F(ssize, read, (int fd, void *p, size_t n), (fd, p, n), -1, EIO)
WRAP_F(ssize, write, (int fd, const void *p, size_t n), (fd, p, n), -1, EIO)

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
