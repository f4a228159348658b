/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bridge.c - a bridge page with all its threads: vCPUs that hand over accesses and spin, an access
 * thread that sleeps when it may, answers from several threads; a producer that scribbles; workers
 * that raise interrupts which a guest acknowledges, as lines come and go.
 *
 * The guest of the interrupt tests does what Linux does: it reads InterruptStatus, acknowledges
 * what it read, and looks at what the device wrote only if that was not 0. With no watchdog, all
 * that was ever written must have been seen in the end: no edge is lost, no place within the limit
 * stays taken.
 */
#include "inproc.h"
#include "transport/bridge/interrupts.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static _Alignas(HVV_BRIDGE_SIZE) union {
    struct hvv_bridge_page page;
    _Atomic uint32_t words[HVV_BRIDGE_SIZE / 4];
} shared;
static struct hvv_bridge_page *const page = &shared.page;
static struct bridge bridge;

static void fresh_page(void)
{
    struct error error = {0};
    for (unsigned i = 0; i < HVV_BRIDGE_SIZE / 4; i++)
        atomic_store(&shared.words[i], 0);
    must(bridge_init(&bridge, page, inproc_test, NULL, NULL, &error) == 0, "%s", error.text);
}

/* ---- vCPUs and answers ----------------------------------------------------------------------- */

#define VCPUS 6u
#define ANSWERERS 3u
#define NO_ANSWER UINT64_MAX

static struct {
    pthread_mutex_t producer; /* the list of requests is one for all */
    int doorbell;
    atomic_bool over, end;
    _Atomic uint64_t rounds[VCPUS], notified, sleeps, notifications, taken;
    /* What waits for a thread that answers. */
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct bridge_access accesses[VCPUS];
    unsigned n;
} vcpus = {.producer = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER,
           .more = PTHREAD_COND_INITIALIZER};

static uint64_t value_of(uint64_t address, uint32_t cpu, uint64_t size)
{
    uint64_t value = (address + 1) * 0x9e3779b97f4a7c15ull + cpu;
    return size == 8 ? value : value & ((1ull << (8 * size)) - 1);
}

static bool hand_over(const struct hvv_bridge_request *request)
{
    pthread_mutex_lock(&vcpus.producer);
    uint32_t rear = page->req_rear, next = (rear + 1) % HVV_BRIDGE_ENTRIES;
    bool room = next != __atomic_load_n(&page->req_front, __ATOMIC_ACQUIRE);
    if (room) {
        page->req_list[rear] = *request;
        __atomic_store_n(&page->req_rear, next, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&vcpus.producer);
    atomic_thread_fence(memory_order_seq_cst);
    if (room && __atomic_load_n(&page->need_wakeup, __ATOMIC_RELAXED))
        must(eventfd_write(vcpus.doorbell, 1) == 0, "no doorbell");
    return room;
}

static void one_access(uint32_t cpu)
{
    bool notify = inproc_random(8) != 0; /* many, so that the list gets full */
    struct hvv_bridge_request request = {
        .src_cpu = cpu, .address = inproc_random(4096), .size = 1ull << inproc_random(4),
        .value = UINT64_MAX, .src_zone = cpu % 3, .is_write = notify, .need_interrupt = notify};
    uint64_t *flag = &page->cfg_flags[cpu];
    uint64_t old = __atomic_load_n(flag, __ATOMIC_RELAXED);
    while (!hand_over(&request))
        sched_yield();
    if (notify) {
        atomic_fetch_add(&vcpus.notified, 1);
        return;
    }
    while (__atomic_load_n(flag, __ATOMIC_ACQUIRE) == old)
        sched_yield();
    uint64_t value = __atomic_load_n(&page->cfg_values[cpu], __ATOMIC_RELAXED);
    must(value == value_of(request.address, cpu, request.size), "CPU %u got %lx", cpu, value);
    must(__atomic_load_n(flag, __ATOMIC_RELAXED) == old + 1, "CPU %u has two answers", cpu);
}

static void *run_vcpu(void *arg)
{
    uint32_t cpu = (uint32_t)(uintptr_t)arg;
    for (; !atomic_load(&vcpus.over); atomic_fetch_add(&vcpus.rounds[cpu], 1))
        one_access(cpu);
    return NULL;
}

static void answer(const struct bridge_access *access)
{
    uint64_t value = value_of(access->address, access->cpu, 8);
    must(bridge_answer(&bridge, access->cpu, access->size, value), "CPU %u", access->cpu);
}

static void *run_answerer(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&vcpus.lock);
    for (;;) {
        while (vcpus.n == 0 && !atomic_load(&vcpus.end))
            pthread_cond_wait(&vcpus.more, &vcpus.lock);
        if (vcpus.n == 0)
            break;
        struct bridge_access access = vcpus.accesses[--vcpus.n];
        pthread_mutex_unlock(&vcpus.lock);
        answer(&access);
        pthread_mutex_lock(&vcpus.lock);
    }
    pthread_mutex_unlock(&vcpus.lock);
    return NULL;
}

static void handle(const struct bridge_access *access)
{
    must(access->zone == access->cpu % 3, "CPU %u of zone %u", access->cpu, access->zone);
    must(access->write != access->waits, "CPU %u", access->cpu);
    if (!access->waits) {
        uint64_t all = access->size == 8 ? UINT64_MAX : (1ull << (8 * access->size)) - 1;
        must(access->value == all, "value %lx", access->value);
        atomic_fetch_add(&vcpus.notifications, 1);
    } else if (inproc_random(2)) {
        answer(access);
    } else {
        pthread_mutex_lock(&vcpus.lock);
        must(vcpus.n < VCPUS, "more accesses than vCPUs");
        vcpus.accesses[vcpus.n++] = *access;
        pthread_cond_signal(&vcpus.more);
        pthread_mutex_unlock(&vcpus.lock);
    }
}

/* Sleeps without a limit: a lost wake-up is the end of it. */
static void sleep_until_rung(void)
{
    struct pollfd fd = {.fd = vcpus.doorbell, .events = POLLIN};
    eventfd_t rung;
    atomic_fetch_add(&vcpus.sleeps, 1);
    poll(&fd, 1, -1);
    eventfd_read(vcpus.doorbell, &rung);
}

static void *run_access(void *arg)
{
    struct bridge_access access;
    (void)arg;
    while (!atomic_load(&vcpus.end)) {
        bridge_awake(&bridge);
        while (bridge_take(&bridge, &access)) {
            atomic_fetch_add(&vcpus.taken, 1);
            handle(&access);
        }
        if (bridge_may_sleep(&bridge))
            sleep_until_rung();
    }
    return NULL;
}

static bool each_had(uint64_t rounds)
{
    for (unsigned i = 0; i < VCPUS; i++)
        if (atomic_load(&vcpus.rounds[i]) < rounds)
            return false;
    return atomic_load(&vcpus.sleeps) > 10;
}

static void test_vcpus(void)
{
    pthread_t guests[VCPUS], access, answerers[ANSWERERS];
    inproc_test_begin("bridge-vcpus-and-answers");
    fresh_page();
    vcpus.doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    must(pthread_create(&access, NULL, run_access, NULL) == 0, "no thread");
    for (unsigned i = 0; i < ANSWERERS; i++)
        must(pthread_create(&answerers[i], NULL, run_answerer, NULL) == 0, "no thread");
    for (uintptr_t i = 0; i < VCPUS; i++)
        must(pthread_create(&guests[i], NULL, run_vcpu, (void *)i) == 0, "no thread");
    while (inproc_go_on(each_had(50)))
        poll(NULL, 0, 50); /* the time is all that is waited for */
    atomic_store(&vcpus.over, true);
    for (unsigned i = 0; i < VCPUS; i++)
        pthread_join(guests[i], NULL);
    uint64_t end = clock_ns() + inproc_time();
    for (unsigned i = 0; i < 200 || (i < 5000 && clock_ns() < end); i++)
        one_access(0); /* alone, so that nobody else rings for it */
    atomic_store(&vcpus.end, true);
    must(eventfd_write(vcpus.doorbell, 1) == 0, "no doorbell");
    pthread_join(access, NULL);
    pthread_mutex_lock(&vcpus.lock);
    pthread_cond_broadcast(&vcpus.more);
    pthread_mutex_unlock(&vcpus.lock);
    for (unsigned i = 0; i < ANSWERERS; i++)
        pthread_join(answerers[i], NULL);
    must(bridge.counters.taken == vcpus.taken, "counted %lu", bridge.counters.taken);
    must(!bridge.counters.invalid && !bridge.counters.repeated && !bridge.counters.refused,
         "not all was in order");
    must(bridge.counters.answered + vcpus.notifications == vcpus.taken, "not all was answered");
    must(bridge.outstanding == 0, "somebody waits");
    close(vcpus.doorbell);
    printf("ok %s\n", inproc_test);
}

/* ---- going to sleep and being rung for at the same instant ----------------------------------- */

static struct {
    atomic_uint here; /* who has arrived, in all rounds */
    atomic_bool over;
    bool rings;       /* the producer, in this round */
} meeting;

static void meet(unsigned arrivals, uint32_t delay)
{
    atomic_fetch_add(&meeting.here, 1);
    for (unsigned i = 0; atomic_load(&meeting.here) < arrivals; i++)
        if (i % 1000 == 999)
            sched_yield();
    for (volatile uint32_t i = inproc_random(delay); i > 0; i--)
        ; /* not always in the same order */
}

static void *ring_at_once(void *arg)
{
    (void)arg;
    struct hvv_bridge_request request = {.size = 4, .need_interrupt = 1};
    for (unsigned arrivals = 0;;) {
        meet(arrivals += 2, 8);
        if (atomic_load(&meeting.over))
            return NULL;
        page->req_list[page->req_rear] = request;
        __atomic_store_n(&page->req_rear, (page->req_rear + 1) % HVV_BRIDGE_ENTRIES,
                         __ATOMIC_RELEASE);
        atomic_thread_fence(memory_order_seq_cst);
        meeting.rings = __atomic_load_n(&page->need_wakeup, __ATOMIC_RELAXED);
        meet(arrivals += 2, 1);
    }
}

static void test_wakeup(void)
{
    struct bridge_access access;
    pthread_t producer;
    unsigned arrivals = 0, rounds = 0, asleep = 0;
    inproc_test_begin("bridge-no-lost-wakeup");
    fresh_page();
    must(pthread_create(&producer, NULL, ring_at_once, NULL) == 0, "no thread");
    for (; inproc_go_on(rounds > 100 && asleep > 3 && asleep < rounds); rounds++) {
        meet(arrivals += 2, 200); /* the producer has more to do before it looks */
        bool sleeps = bridge_may_sleep(&bridge);
        meet(arrivals += 2, 1);
        must(!sleeps || meeting.rings, "round %u: it sleeps, and nobody rings", rounds);
        asleep += sleeps;
        bridge_awake(&bridge);
        must(bridge_take(&bridge, &access), "round %u: nothing to take", rounds);
    }
    atomic_store(&meeting.over, true);
    meet(arrivals + 2, 1);
    pthread_join(producer, NULL);
    printf("ok %s\n", inproc_test);
}

/* ---- a producer that scribbles --------------------------------------------------------------- */

#define SCRIBBLERS 2u

static struct {
    atomic_bool over;
    _Atomic uint64_t scribbles;
} hostile;

static uint32_t random_word(unsigned at)
{
    static const uint32_t likely[] = {0, 1, 2, 4, 8, 31, 32, UINT32_MAX};
    if (at < 4) /* an index: seldom one that cannot be */
        return inproc_random(inproc_random(1000) ? HVV_BRIDGE_ENTRIES : 64);
    return inproc_random(4) ? likely[inproc_random(8)] : inproc_random(UINT32_MAX);
}

static void *scribble(void *arg)
{
    (void)arg;
    for (; !atomic_load(&hostile.over); atomic_fetch_add(&hostile.scribbles, 1)) {
        unsigned at = inproc_random(inproc_random(2) ? 4 : sizeof(*page) / 4);
        atomic_store_explicit(&shared.words[at], random_word(at), memory_order_relaxed);
    }
    return NULL;
}

static void look_at(const struct bridge_access *access)
{
    uint8_t size = access->size;
    must(access->cpu < 32 && access->zone < 32, "CPU %u, zone %u", access->cpu, access->zone);
    must(size == 1 || size == 2 || size == 4 || size == 8, "size %u", size);
    must(access->value == bridge_truncate(access->value, size), "value %lx", access->value);
    if (access->waits)
        must(bridge_answer(&bridge, access->cpu, size, 0), "an answer is refused");
}

static void test_hostile(void)
{
    pthread_t threads[SCRIBBLERS];
    uint64_t taken = 0, broken = 0;
    inproc_test_begin("bridge-hostile-producer");
    fresh_page();
    log_set_level(HVV_LOG_ERROR);
    for (unsigned i = 0; i < SCRIBBLERS; i++)
        must(pthread_create(&threads[i], NULL, scribble, NULL) == 0, "no thread");
    while (inproc_go_on(taken > 10000 && broken > 2)) {
        struct bridge_access access;
        if (bridge_take(&bridge, &access)) {
            taken++;
            look_at(&access);
        } else if (bridge_broken(&bridge)) { /* the next one tries */
            struct error error = {0};
            bridge_answer_all(&bridge);
            if (bridge_init(&bridge, page, inproc_test, NULL, NULL, &error) == 0)
                broken++;
        }
        bridge_push_interrupt(&bridge, inproc_random(32), inproc_random(1024));
        if (!bridge_may_sleep(&bridge))
            bridge_awake(&bridge);
    }
    atomic_store(&hostile.over, true);
    for (unsigned i = 0; i < SCRIBBLERS; i++)
        pthread_join(threads[i], NULL);
    printf("ok %s\n", inproc_test);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

#define ZONES 2u
#define LINES 10u /* half of them in each zone; the last one comes and goes */
#define COMES_AND_GOES (LINES - 1)
#define WORKERS 3u

struct kind {
    const char *name;
    struct interrupts_ops ops;
    struct interrupts_setup setup;
    bool drops; /* the other side loses some */
};

static struct {
    const struct kind *kind;
    struct interrupts *its;
    struct irq_line lines[LINES];
    _Atomic uint64_t used[LINES], raises[LINES];
    atomic_bool over;
    pthread_mutex_t presence; /* of the line that comes and goes */
    bool present;
    /* Of the other side. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool pending[LINES];  /* to be taken by the guest */
    bool asserted[LINES]; /* stays so, levels */
    uint64_t seen[LINES], taken;
    bool end;
} irqs = {.presence = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER,
          .changed = PTHREAD_COND_INITIALIZER};

static void finish(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&irqs.lock);
    uint32_t rear = __atomic_load_n(&page->res_rear, __ATOMIC_ACQUIRE), front = page->res_front;
    for (; front != rear; front = (front + 1) % HVV_BRIDGE_ENTRIES) {
        uint32_t irq = page->res_list[front].irq_id;
        must(irq < LINES && page->res_list[front].target_zone == irq % ZONES, "irq %u", irq);
        irqs.taken++;
        if (irqs.kind->drops && inproc_random(3) == 0)
            continue;
        irqs.pending[irq] = true;
        irqs.asserted[irq] = irqs.kind->ops.deassert != NULL;
    }
    __atomic_store_n(&page->res_front, front, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&irqs.changed);
    pthread_mutex_unlock(&irqs.lock);
}

static void deassert(void *arg, uint32_t zone, uint32_t irq)
{
    (void)arg;
    must(irq < LINES && zone == irq % ZONES, "irq %u", irq);
    pthread_mutex_lock(&irqs.lock);
    irqs.asserted[irq] = irqs.pending[irq] = false;
    pthread_mutex_unlock(&irqs.lock);
}

/* The guest's handler. */
static void take_interrupt(unsigned irq)
{
    struct irq_line *line = &irqs.lines[irq];
    uint64_t seen = 0;
    if (irq == COMES_AND_GOES) {
        pthread_mutex_lock(&irqs.presence);
        if (irqs.present)
            interrupts_acknowledge(line, interrupts_status(line));
        pthread_mutex_unlock(&irqs.presence);
        return;
    }
    uint32_t status = interrupts_status(line);
    interrupts_acknowledge(line, status);
    if (status)
        seen = atomic_load_explicit(&irqs.used[irq], memory_order_relaxed);
    pthread_mutex_lock(&irqs.lock);
    if (seen > irqs.seen[irq])
        irqs.seen[irq] = seen;
    pthread_cond_broadcast(&irqs.changed);
    pthread_mutex_unlock(&irqs.lock);
}

static void *run_guest(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&irqs.lock);
    while (!irqs.end) {
        unsigned irq = 0;
        while (irq < LINES && !irqs.pending[irq])
            irq++;
        if (irq == LINES) {
            pthread_cond_wait(&irqs.changed, &irqs.lock);
            continue;
        }
        irqs.pending[irq] = irqs.asserted[irq];
        pthread_mutex_unlock(&irqs.lock);
        take_interrupt(irq);
        if (irqs.kind->ops.deassert)
            sched_yield(); /* it comes again until it is deasserted */
        pthread_mutex_lock(&irqs.lock);
    }
    pthread_mutex_unlock(&irqs.lock);
    return NULL;
}

static void *run_worker(void *arg)
{
    (void)arg;
    while (!atomic_load(&irqs.over)) {
        unsigned irq = inproc_random(COMES_AND_GOES);
        atomic_fetch_add_explicit(&irqs.used[irq], 1, memory_order_relaxed);
        interrupts_raise(&irqs.lines[irq], 1);
        atomic_fetch_add(&irqs.raises[irq], 1);
        if (inproc_random(20) == 0)
            sched_yield();
    }
    return NULL;
}

static void *come_and_go(void *arg)
{
    struct irq_line *line = &irqs.lines[COMES_AND_GOES];
    (void)arg;
    while (!atomic_load(&irqs.over)) {
        for (unsigned i = inproc_random(5); i > 0; i--)
            interrupts_raise(line, 1);
        pthread_mutex_lock(&irqs.presence);
        interrupts_forget(line);
        interrupts_add(irqs.its, line, COMES_AND_GOES % ZONES, COMES_AND_GOES);
        pthread_mutex_unlock(&irqs.presence);
        atomic_fetch_add(&irqs.raises[COMES_AND_GOES], 1);
    }
    pthread_mutex_lock(&irqs.presence);
    interrupts_forget(line);
    irqs.present = false;
    pthread_mutex_unlock(&irqs.presence);
    return NULL;
}

/* Workers have ended: what they wrote last is seen, too. */
static void wait_until_all_is_seen(void)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += INPROC_SECONDS / 2;
    pthread_mutex_lock(&irqs.lock);
    for (unsigned i = 0; i < COMES_AND_GOES; i++)
        while (irqs.seen[i] != atomic_load(&irqs.used[i]))
            must(pthread_cond_timedwait(&irqs.changed, &irqs.lock, &end) == 0,
                 "line %u: %lu of %lu seen, status %u, flags %x", i, irqs.seen[i],
                 atomic_load(&irqs.used[i]), interrupts_status(&irqs.lines[i]),
                 atomic_load(&irqs.lines[i].flags));
    irqs.end = true;
    pthread_cond_broadcast(&irqs.changed);
    pthread_mutex_unlock(&irqs.lock);
}

static void start_lines(const struct kind *kind)
{
    struct interrupts_setup setup = kind->setup;
    struct error error = {0};
    irqs.kind = kind;
    irqs.over = irqs.end = false;
    irqs.present = true;
    irqs.taken = 0;
    setup.bridge = &bridge;
    setup.ops = &kind->ops;
    irqs.its = interrupts_new(&setup, &error);
    must(irqs.its, "%s", error.text);
    for (unsigned i = 0; i < LINES; i++) {
        interrupts_add(irqs.its, &irqs.lines[i], i % ZONES, i);
        irqs.used[i] = irqs.raises[i] = irqs.seen[i] = 0;
        irqs.pending[i] = irqs.asserted[i] = false;
    }
}

static bool each_raised(uint64_t times)
{
    for (unsigned i = 0; i < LINES; i++)
        if (atomic_load(&irqs.raises[i]) < times)
            return false;
    return true;
}

/* Of all raises but the watchdog's, each was injected or merged. */
static void check_counters(void)
{
    uint64_t injected = 0;
    for (unsigned i = 0; i < COMES_AND_GOES; i++) {
        struct irq_line *line = &irqs.lines[i];
        injected += interrupts_counter(line, INTERRUPTS_INJECTED);
        if (irqs.kind->setup.level || irqs.kind->drops)
            continue; /* a raise can be merged and injected all the same */
        uint64_t sum = interrupts_counter(line, INTERRUPTS_INJECTED) +
                       interrupts_counter(line, INTERRUPTS_COALESCED);
        must(sum == irqs.raises[i], "line %u: %lu of %lu", i, sum, irqs.raises[i]);
    }
    must(irqs.taken >= injected, "%lu of %lu were told", irqs.taken, injected);
}

static void test_interrupts(const struct kind *kind)
{
    pthread_t guest, comes_and_goes, workers[WORKERS];
    inproc_test_begin(kind->name);
    fresh_page();
    start_lines(kind);
    must(pthread_create(&guest, NULL, run_guest, NULL) == 0, "no thread");
    must(pthread_create(&comes_and_goes, NULL, come_and_go, NULL) == 0, "no thread");
    for (unsigned i = 0; i < WORKERS; i++)
        must(pthread_create(&workers[i], NULL, run_worker, NULL) == 0, "no thread");
    while (inproc_go_on(each_raised(200)))
        poll(NULL, 0, 50); /* the time is all that is waited for */
    atomic_store(&irqs.over, true);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    pthread_join(comes_and_goes, NULL);
    wait_until_all_is_seen();
    pthread_join(guest, NULL);
    for (unsigned i = 0; i < COMES_AND_GOES; i++)
        interrupts_forget(&irqs.lines[i]);
    interrupts_free(irqs.its);
    check_counters();
    printf("ok %s\n", inproc_test);
}

int main(void)
{
    static const struct kind kinds[] = {
        {"interrupts-direct", {.finish = finish}, {0}, false},
        {"interrupts-direct-limit", {.finish = finish}, {.limit = 2}, false},
        {"interrupts-thread", {.finish = finish, .finish_may_wait = true}, {.limit = 2}, false},
        {"interrupts-dropped",
         {.finish = finish, .finish_may_wait = true},
         {.limit = 2, .limit_wait_ns = 3000000, .watchdog_ns = 1000000},
         true},
        {"interrupts-level-deassert",
         {.finish = finish, .deassert = deassert},
         {.level = true, .limit = 2},
         false},
        {"interrupts-level", {.finish = finish}, {.level = true}, false},
    };
    test_vcpus();
    test_wakeup();
    test_hostile();
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        test_interrupts(&kinds[i]);
    return 0;
}
