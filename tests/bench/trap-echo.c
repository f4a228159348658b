/* SPDX-License-Identifier: BSD-3-Clause */
/* trap-echo.c - see trap-echo.h. */
#include "trap-echo.h"

#include "clock.h"
#include "ring.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPIN_YIELD 500u /* as the vCPUs of sim.h */
#define PATIENCE_NS 5000000000u

/* On lines of their own, as the indices and the answers of a bridge page are. */
struct echo_page {
    _Alignas(64) atomic_uint_least64_t asked;
    _Alignas(64) atomic_uint_least64_t answered;
};

static void answer(struct echo_page *page)
{
    atomic_store_explicit(&page->answered,
                          atomic_load_explicit(&page->asked, memory_order_acquire),
                          memory_order_release);
}

static void sleep_and_answer(struct echo_page *page, int doorbell)
{
    struct epoll_event ev = { .events = EPOLLIN };
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    uint64_t count;

    epoll_ctl(epoll, EPOLL_CTL_ADD, doorbell, &ev);
    while (epoll_wait(epoll, &ev, 1, -1) == 1 && read(doorbell, &count, sizeof(count)) > 0)
        answer(page);
}

static void look_and_answer(struct echo_page *page)
{
    cpu_set_t first;

    CPU_ZERO(&first);
    CPU_SET(0, &first);
    sched_setaffinity(0, sizeof(first), &first);
    for (;;) {
        while (atomic_load_explicit(&page->asked, memory_order_relaxed) ==
               atomic_load_explicit(&page->answered, memory_order_relaxed))
            ring_relax();
        answer(page);
    }
}

static void run(const struct echo *e)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (e->doorbell >= 0)
        sleep_and_answer(e->page, e->doorbell);
    else
        look_and_answer(e->page);
    _exit(1);
}

int echo_open(struct echo *e, bool hot)
{
    void *page = mmap(NULL, sizeof(*e->page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                      -1, 0);

    if (page == MAP_FAILED)
        return -errno;
    e->page = page;
    e->doorbell = hot ? -1 : eventfd(0, EFD_CLOEXEC);
    if (!hot && e->doorbell < 0)
        return -errno;
    e->pid = fork();
    if (e->pid == 0)
        run(e);
    return e->pid < 0 ? -errno : 0;
}

void echo_close(struct echo *e)
{
    if (!e->pid)
        return;
    kill(e->pid, SIGKILL);
    waitpid(e->pid, NULL, 0);
    e->pid = 0;
}

static bool has_answered(struct echo_page *page, uint64_t number)
{
    return atomic_load_explicit(&page->answered, memory_order_acquire) == number;
}

bool echo_once(struct echo *e)
{
    uint64_t one = 1, due = clock_ns() + PATIENCE_NS;
    uint64_t number = atomic_load_explicit(&e->page->asked, memory_order_relaxed) + 1;

    atomic_store(&e->page->asked, number);
    if (e->doorbell >= 0 && write(e->doorbell, &one, sizeof(one)) < 0)
        return false;
    for (uint32_t turn = 1; !has_answered(e->page, number); turn++) {
        if (turn % SPIN_YIELD)
            ring_relax();
        else
            sched_yield();
        if (turn % SPIN_YIELD == 0 && clock_ns() > due)
            return false;
    }
    return true;
}
