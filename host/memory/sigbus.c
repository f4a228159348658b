/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sigbus.c - see sigbus.h.
 *
 * The table is read by the signal handler in any thread at any time, so it is an array of atomics
 * with no lock: a slot is claimed by setting `lost`, filled in, and armed by storing `base` last.
 */
#include "memory/sigbus.h"

#include "util/crash.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

#define GUARDS 4096

static struct guard {
    _Atomic(atomic_bool *) lost; /* NULL: the slot is free */
    _Atomic uintptr_t base;      /* 0: not armed */
    _Atomic size_t size;
    _Atomic size_t page;
} guards[GUARDS];

static bool replace_pages(uintptr_t address)
{
    for (int i = 0; i < GUARDS; i++) {
        struct guard *g = &guards[i];
        /* Pairs with the release in sigbus_guard(): an armed slot is filled in. */
        uintptr_t base = atomic_load_explicit(&g->base, memory_order_acquire);
        if (!base || address < base || address - base >= atomic_load(&g->size))
            continue;
        /*
         * All from here to the end at once: a file is truncated at its end, and one mapping for
         * each page would run into the kernel's limit of mappings.
         */
        size_t page = atomic_load(&g->page);
        uintptr_t at = address & ~((uintptr_t)page - 1);
        size_t rest = base + atomic_load(&g->size) - at;
        atomic_store(atomic_load(&g->lost), true); /* before anybody can read a zero */
        if (mmap((void *)at, rest, PROT_READ | PROT_WRITE,
                 MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
            return false;
        return true;
    }
    return false;
}

static void on_sigbus(int signum, siginfo_t *info, void *context)
{
    (void)context;
    int saved = errno;
    if (info->si_code != BUS_ADRERR || !replace_pages((uintptr_t)info->si_addr)) {
        /* Not guest memory: returning to the same instruction now ends the process with SIGBUS. */
        struct sigaction dfl = {.sa_handler = SIG_DFL};
        sigaction(signum, &dfl, NULL);
        crash_tell(signum, info);
        crash_again(signum, info);
    }
    errno = saved;
}

int sigbus_install(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

int sigbus_guard(void *base, size_t size, size_t page, atomic_bool *lost)
{
    for (int i = 0; i < GUARDS; i++) {
        atomic_bool *none = NULL;
        if (!atomic_compare_exchange_strong(&guards[i].lost, &none, lost))
            continue;
        atomic_store(&guards[i].size, size);
        atomic_store(&guards[i].page, page);
        atomic_store_explicit(&guards[i].base, (uintptr_t)base, memory_order_release);
        return i;
    }
    return -ENOSPC;
}

void sigbus_unguard(int handle)
{
    atomic_store(&guards[handle].base, 0);
    atomic_store(&guards[handle].lost, NULL);
}
