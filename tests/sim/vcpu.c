/* SPDX-License-Identifier: BSD-3-Clause */
/* vcpu.c - the vCPUs of sim.h: hvisor's producer. Any thread of any process of the simulation. */
#include "shared.h"

#include "clock.h"
#include "ring.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPIN_YIELD 500u
#define LOOK_NS 2000000000u /* of a sleeping vCPU, whether it was forgotten */

static uint64_t flag_of(const struct sim *s, uint32_t cpu)
{
    return __atomic_load_n(&sim_page(s)->cfg_flags[cpu], __ATOMIC_ACQUIRE);
}

static void *futex_word(const struct sim *s, uint32_t cpu)
{
    return &sim_page(s)->cfg_flags[cpu]; /* its low half: little-endian */
}

void sim_wake_cpus(struct sim *s)
{
    for (uint32_t cpu = 0; cpu < HVV_BRIDGE_CPUS; cpu++)
        syscall(SYS_futex, futex_word(s, cpu), FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static const struct sim_region *region_of(const struct sim *s, const struct sim_access *a)
{
    const struct sim_zone *zone = &s->shared->zone[a->zone];

    for (unsigned int i = 0; i < zone->n_regions; i++) {
        const struct sim_region *r = &zone->region[i];

        if (a->address >= r->address && a->address - r->address < r->length)
            return r;
    }
    return NULL;
}

/* ---- the ring -------------------------------------------------------------------------------- */

/* Like a value in a register of which only a part is stored: the rest is whatever it was. */
static uint64_t unmasked(const struct sim_access *a, uint64_t salt)
{
    uint64_t garbage = (salt + 1) * 0x9e3779b97f4a7c15u | 0x8000000000000001u;

    if (a->size >= 8)
        return a->value;
    return (a->value & ((1ull << 8 * a->size) - 1)) | garbage << 8 * a->size;
}

static bool wakeup_wanted(const struct hvv_bridge_page *page)
{
    return __atomic_load_n(&page->need_wakeup, __ATOMIC_RELAXED) == 1;
}

/* With no access outstanding, the word of the CPU has to be what the last answer made it. */
static void check_idle(struct sim *s, uint32_t cpu, const char *when)
{
    uint64_t is = flag_of(s, cpu);
    uint64_t *flag = &s->shared->cpu[cpu].flag;
    /* A new daemon may answer each CPU that it has not heard of once. */
    bool released = s->device && *flag == 0 && is == 1;

    if (is != *flag && !released && !s->shared->cpu[cpu].lost)
        sim_note(s, "CPU %u was answered %lld times more than it should be, %s", cpu,
                 (long long)(is - *flag), when);
    *flag = is;
}

/*
 * *wake: the daemon asked to be woken up. Without the fence a processor may look at that before
 * others see the new rear; here it always does, and takes its time in between.
 */
static bool push_now(struct sim *s, const struct hvv_bridge_request *req, bool *wake)
{
    struct hvv_bridge_page *page = sim_page(s);
    uint32_t rear = page->req_rear;
    uint32_t next = (rear + 1) % HVV_BRIDGE_ENTRIES;

    if (next == __atomic_load_n(&page->req_front, __ATOMIC_ACQUIRE))
        return false;
    check_idle(s, (uint32_t)req->src_cpu, "before an access");
    page->req_list[rear] = *req;
    s->shared->cpu[req->src_cpu].pushed = !req->need_interrupt;
    *wake = wakeup_wanted(page);
    for (uint64_t i = s->shared->opt.no_fence ? req->value % 1024 : 0; i > 0; i--)
        ring_relax();
    __atomic_store_n(&page->req_rear, next, __ATOMIC_RELEASE);
    if (s->shared->opt.no_fence)
        return true;
    atomic_thread_fence(memory_order_seq_cst);
    *wake = wakeup_wanted(page);
    return true;
}

static void relax(const struct sim *s, uint32_t turn)
{
    if (turn % (s->shared->opt.spin_yield ? s->shared->opt.spin_yield : SPIN_YIELD) == 0)
        sched_yield();
    else
        ring_relax();
}

static bool gone(const struct sim *s, unsigned int epoch)
{
    return atomic_load_explicit(&s->shared->epoch, memory_order_relaxed) != epoch;
}

/* Spins while the ring is full. */
static int push(struct sim *s, const struct hvv_bridge_request *req, unsigned int epoch,
                uint64_t deadline, bool *wake)
{
    for (uint32_t turn = 1;; turn++) {
        bool pushed;

        sim_lock(&s->shared->ring_lock);
        pushed = gone(s, epoch) || push_now(s, req, wake);
        sim_unlock(&s->shared->ring_lock);
        if (pushed)
            return gone(s, epoch) ? -ECONNRESET : 0;
        if (turn == 1)
            atomic_fetch_add(&s->shared->full, 1);
        if (turn % 256 == 0 && clock_ns() > deadline)
            return -ETIMEDOUT;
        relax(s, turn);
    }
}

static void wake_daemon(struct sim *s)
{
    int doorbell = s->doorbell[atomic_load(&s->shared->connection) % SIM_CONNECTIONS];
    uint64_t one = 1;

    atomic_fetch_add_explicit(&s->shared->wakeups, 1, memory_order_relaxed);
    while (write(doorbell, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static int sleep_on_flag(struct sim *s, uint32_t cpu, uint64_t old)
{
    struct timespec look = { LOOK_NS / 1000000000u, LOOK_NS % 1000000000u };
    long rc = syscall(SYS_futex, futex_word(s, cpu), FUTEX_WAIT, (uint32_t)old, &look, NULL, 0);

    if (rc == 0 || errno != ETIMEDOUT || flag_of(s, cpu) == old)
        return 0;
    sim_note(s, "CPU %u was answered and not woken up", cpu);
    return -ETIMEDOUT;
}

static int wait_answer(struct sim *s, uint32_t cpu, uint64_t old, unsigned int epoch,
                       uint64_t deadline)
{
    int err = 0;

    for (uint32_t turn = 1; !err && flag_of(s, cpu) == old; turn++) {
        if (gone(s, epoch))
            return -ECONNRESET;
        if ((s->shared->opt.futex || turn % 256 == 0) && clock_ns() > deadline)
            return -ETIMEDOUT;
        if (s->shared->opt.futex)
            err = sleep_on_flag(s, cpu, old);
        else
            relax(s, turn);
    }
    return err;
}

/* Behind a device the page may be replaced at any time but while this is held. */
static void lock_page(struct sim *s, bool lock)
{
    if (s->device && lock)
        sim_lock(&s->shared->ring_lock);
    else if (s->device)
        sim_unlock(&s->shared->ring_lock);
}

/* The access is over, with an answer or without. Under lock_page(). */
static void settle(struct sim_cpu *cpu)
{
    cpu->pushed = cpu->renewed = false;
}

static void take_answer(struct sim *s, struct sim_access *a, struct sim_cpu *cpu)
{
    uint64_t flag, value;

    lock_page(s, true);
    flag = flag_of(s, a->cpu);
    value = __atomic_load_n(&sim_page(s)->cfg_values[a->cpu], __ATOMIC_RELAXED);
    if (cpu->renewed)
        a->renewed = flag ? SIM_RENEWED_ANSWER : SIM_RENEWED_AT_ONCE;
    else if (flag - cpu->flag != 1)
        sim_note(s, "CPU %u was answered %llu times for %s of 0x%llx", a->cpu,
                 (unsigned long long)(flag - cpu->flag), a->write ? "a write" : "a read",
                 (unsigned long long)a->address);
    cpu->flag = flag;
    settle(cpu);
    lock_page(s, false);
    if (a->write)
        return;
    if (a->size < 8 && value >> 8 * a->size) {
        sim_note(s, "a read of %u bytes at 0x%llx was answered with 0x%llx", a->size,
                 (unsigned long long)a->address, (unsigned long long)value);
        value &= (1ull << 8 * a->size) - 1;
    }
    a->value = value;
}

static int access_locked(struct sim *s, struct sim_access *a, struct sim_cpu *cpu)
{
    const struct sim_region *region = region_of(s, a);
    uint64_t start = clock_ns();
    uint64_t deadline = start + s->shared->opt.access_deadline_ms * 1000000ull;
    unsigned int epoch = atomic_load(&s->shared->epoch);
    struct hvv_bridge_request req;
    bool wake = false;
    int err;

    if (!region || !atomic_load(&s->shared->zone[a->zone].on) || cpu->lost)
        return -ENODEV;
    a->notify = a->address - region->address == SIM_NOTIFY_OFFSET;
    req = (struct hvv_bridge_request){
        .src_cpu = a->cpu, .address = a->address, .size = a->size, .src_zone = a->zone,
        .value = a->write ? unmasked(a, cpu->writes++) : 0, .is_write = a->write,
        .need_interrupt = a->notify,
    };
    a->renewed = SIM_NOT_RENEWED;
    err = push(s, &req, epoch, deadline, &wake);
    if (!err && wake && !s->shared->opt.no_wakeup)
        wake_daemon(s); /* hvisor never clears the word, and neither do we */
    if (!err && !a->notify) {
        atomic_fetch_add(&s->shared->waiting, 1);
        err = wait_answer(s, a->cpu, cpu->flag, epoch, deadline);
        atomic_fetch_sub(&s->shared->waiting, 1);
    }
    if (!err && !a->notify)
        take_answer(s, a, cpu);
    if (!err && a->notify && !a->write)
        a->value = sim_page(s)->cfg_values[a->cpu]; /* hvisor does not wait: whatever is there */
    a->took_ns = clock_ns() - start;
    if (err == -ETIMEDOUT) {
        cpu->lost = true;
        sim_note(s, "%s of 0x%llx in zone %u by CPU %u was not answered within %u ms",
                 a->write ? "a write" : "a read", (unsigned long long)a->address, a->zone, a->cpu,
                 s->shared->opt.access_deadline_ms);
    }
    return err;
}

/* The answer to an access whose process died may still come, so the vCPU is of no use any more. */
static void lock_cpu(struct sim_cpu *cpu)
{
    if (sim_lock(&cpu->lock) && cpu->busy)
        cpu->lost = true;
}

int sim_access(struct sim *s, struct sim_access *a)
{
    struct sim_cpu *cpu;
    int err;

    if (a->cpu >= HVV_BRIDGE_CPUS || a->zone >= HVV_BRIDGE_ZONES)
        return -ENODEV;
    cpu = &s->shared->cpu[a->cpu];
    lock_cpu(cpu);
    cpu->busy = true;
    sim_irq_settling(s, a, true);
    err = access_locked(s, a, cpu);
    sim_irq_settling(s, a, false);
    lock_page(s, true);
    settle(cpu);
    lock_page(s, false);
    cpu->busy = false;
    sim_unlock(&cpu->lock);
    atomic_fetch_add_explicit(&s->shared->accesses, 1, memory_order_relaxed);
    if (!err && a->notify)
        atomic_fetch_add_explicit(&s->shared->notifies, 1, memory_order_relaxed);
    return err;
}

/* ---- what happened --------------------------------------------------------------------------- */

struct sim_counts sim_counts(const struct sim *s)
{
    const struct sim_shared *sh = s->shared;

    return (struct sim_counts){
        atomic_load(&sh->accesses), atomic_load(&sh->notifies), atomic_load(&sh->wakeups),
        atomic_load(&sh->full), atomic_load(&sh->waiting),
    };
}

static bool wait_word(const atomic_uint_least64_t *word, uint64_t n, int timeout_ms)
{
    uint64_t deadline = clock_deadline(timeout_ms);

    while (atomic_load(word) < n) {
        if (!clock_left_ms(deadline))
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}

bool sim_wait_waiting(struct sim *s, uint64_t n, int timeout_ms)
{
    return wait_word(&s->shared->waiting, n, timeout_ms);
}

bool sim_wait_full(struct sim *s, uint64_t n, int timeout_ms)
{
    return wait_word(&s->shared->full, n, timeout_ms);
}

bool sim_wait_drained(struct sim *s, int timeout_ms)
{
    uint64_t deadline = clock_deadline(timeout_ms);

    while (__atomic_load_n(&sim_page(s)->req_front, __ATOMIC_ACQUIRE) !=
           __atomic_load_n(&sim_page(s)->req_rear, __ATOMIC_ACQUIRE)) {
        if (!clock_left_ms(deadline))
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}

unsigned int sim_violations(struct sim *s)
{
    for (uint32_t i = 0; i < HVV_BRIDGE_CPUS; i++) {
        lock_cpu(&s->shared->cpu[i]);
        lock_page(s, true);
        check_idle(s, i, "after its last access");
        lock_page(s, false);
        sim_unlock(&s->shared->cpu[i].lock);
    }
    return atomic_load(&s->shared->n_notes);
}
