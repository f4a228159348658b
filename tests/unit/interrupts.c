/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts of a bridge, with the other side played here: finish() takes the results out of the
 * page and writes them down, as hvisor does inside FINISH_REQ.
 */
#include "transport/bridge/interrupts.h"

#include "loop/loop.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS 1000000ull
#define LONG (3600 * 1000 * MS) /* never, in a test */
#define SECONDS 30              /* for anything that has to happen */
#define QUIET_MS 150            /* for what must not happen: how long we look */
#define EVENTS 512u

enum what { INJECTED, DEASSERTED };

struct event {
    enum what what;
    uint32_t zone, irq;
    uint64_t at;
    pthread_t thread;
};

/* The other side. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool deaf;             /* finish() takes nothing */
    bool slow;             /* finish() waits until it is not */
    unsigned finishes;     /* begun */
    struct event events[EVENTS];
    unsigned n;
} other = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static _Alignas(HVV_BRIDGE_SIZE) union {
    struct hvv_bridge_page page;
    uint8_t bytes[HVV_BRIDGE_SIZE];
} shared;
static struct hvv_bridge_page *const page = &shared.page;
static struct bridge bridge;
static struct interrupts *its;
static struct irq_line lines[48];

/* ---- the other side -------------------------------------------------------------------------- */

static void note(enum what what, uint32_t zone, uint32_t irq)
{
    cr_assert_lt(other.n, EVENTS);
    other.events[other.n++] = (struct event){what, zone, irq, clock_ns(), pthread_self()};
}

static void take_results(void)
{
    uint32_t rear = __atomic_load_n(&page->res_rear, __ATOMIC_ACQUIRE), front = page->res_front;
    for (; front != rear; front = (front + 1) % HVV_BRIDGE_ENTRIES)
        note(INJECTED, page->res_list[front].target_zone, page->res_list[front].irq_id);
    __atomic_store_n(&page->res_front, front, __ATOMIC_RELEASE);
}

static void finish(void *arg)
{
    cr_expect_eq(arg, &other);
    pthread_mutex_lock(&other.lock);
    other.finishes++;
    pthread_cond_broadcast(&other.changed);
    while (other.slow)
        pthread_cond_wait(&other.changed, &other.lock);
    if (!other.deaf)
        take_results();
    pthread_cond_broadcast(&other.changed);
    pthread_mutex_unlock(&other.lock);
}

static void deassert(void *arg, uint32_t zone, uint32_t irq)
{
    cr_expect_eq(arg, &other);
    pthread_mutex_lock(&other.lock);
    note(DEASSERTED, zone, irq);
    pthread_cond_broadcast(&other.changed);
    pthread_mutex_unlock(&other.lock);
}

static void set_slow(bool slow)
{
    pthread_mutex_lock(&other.lock);
    other.slow = slow;
    pthread_cond_broadcast(&other.changed);
    pthread_mutex_unlock(&other.lock);
}

static void wait_until(const unsigned *counter, unsigned n, const char *what)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += SECONDS;
    int rc = 0;
    pthread_mutex_lock(&other.lock);
    while (*counter < n && rc == 0)
        rc = pthread_cond_timedwait(&other.changed, &other.lock, &end);
    unsigned is = *counter;
    pthread_mutex_unlock(&other.lock);
    cr_assert_geq(is, n, "%u %s, not %u", is, what, n);
}

static unsigned events(void)
{
    pthread_mutex_lock(&other.lock);
    unsigned n = other.n;
    pthread_mutex_unlock(&other.lock);
    return n;
}

static struct event event(unsigned i)
{
    pthread_mutex_lock(&other.lock);
    struct event e = other.events[i];
    pthread_mutex_unlock(&other.lock);
    return e;
}

static void wait_events(unsigned n)
{
    wait_until(&other.n, n, "events");
}

static void no_more_events(unsigned n)
{
    poll(NULL, 0, QUIET_MS);
    cr_assert_eq(events(), n, "%u events, not %u", events(), n);
}

/* Event `i` is that of a line. */
#define EXPECT_EVENT(I, WHAT, LINE)                                                                \
    do {                                                                                           \
        struct event e_ = event(I);                                                                \
        cr_expect_eq(e_.what, WHAT, "event %u is of kind %u", (unsigned)(I), e_.what);             \
        cr_expect_eq(e_.zone, (LINE)->zone, "event %u: zone %u", (unsigned)(I), e_.zone);          \
        cr_expect_eq(e_.irq, (LINE)->irq, "event %u: irq %u", (unsigned)(I), e_.irq);              \
    } while (0)

/* ---- our side -------------------------------------------------------------------------------- */

static const struct interrupts_ops direct = {.finish = finish};
static const struct interrupts_ops threaded = {.finish = finish, .finish_may_wait = true};
static const struct interrupts_ops with_deassert = {.finish = finish, .deassert = deassert};
static const struct interrupts_ops *const both[] = {&direct, &threaded};

static void start(const struct interrupts_ops *ops, struct interrupts_setup setup)
{
    struct error error = {0};
    other.n = other.finishes = 0;
    memset(&shared, 0, sizeof(shared));
    cr_assert_eq(bridge_init(&bridge, page, "test", NULL, NULL, &error), 0);
    setup.bridge = &bridge;
    setup.ops = ops;
    setup.arg = &other;
    its = interrupts_new(&setup, &error);
    cr_assert_not_null(its, "%s", error.text);
    for (uint32_t i = 0; i < 48; i++) /* 16 in each of three zones */
        interrupts_add(its, &lines[i], i / 16, 100 + i);
}

static void stop(void)
{
    interrupts_free(its);
    its = NULL;
}

TestSuite(interrupts, .fini = stop, .timeout = 3 * SECONDS);

static uint64_t counter(unsigned line, enum interrupts_counter which)
{
    return interrupts_counter(&lines[line], which);
}

/* Our thread has nothing to do any more. */
static uint64_t turns_when_quiet(void)
{
    uint64_t turns, before = UINT64_MAX;
    for (int i = 0; (turns = interrupts_turns(its)) != before; i++) {
        cr_assert_lt(i, 1000 * SECONDS / QUIET_MS, "it never stops");
        before = turns;
        poll(NULL, 0, QUIET_MS);
    }
    return turns;
}

/* ---- edges ----------------------------------------------------------------------------------- */

Test(interrupts, each_raise_injects)
{
    for (unsigned mode = 0; mode < 2; mode++) {
        start(both[mode], (struct interrupts_setup){0});
        for (unsigned i = 0; i < 3; i++) { /* nobody acknowledges: the guest may just have looked */
            interrupts_raise(&lines[17], 1);
            wait_events(i + 1);
            EXPECT_EVENT(i, INJECTED, &lines[17]);
        }
        interrupts_raise(&lines[17], 2);
        wait_events(4);
        cr_expect_eq(interrupts_status(&lines[17]), 3);
        interrupts_acknowledge(&lines[17], 1);
        cr_expect_eq(interrupts_status(&lines[17]), 2);
        interrupts_acknowledge(&lines[17], UINT32_MAX);
        cr_expect_eq(interrupts_status(&lines[17]), 0);
        cr_expect_eq(counter(17, INTERRUPTS_INJECTED), 4);
        cr_expect_eq(interrupts_zone_counter(its, 1, INTERRUPTS_INJECTED), 4);
        cr_expect_eq(interrupts_zone_counter(its, 0, INTERRUPTS_INJECTED), 0);
        stop();
    }
}

Test(interrupts, without_waiting_the_raising_thread_injects)
{
    start(&direct, (struct interrupts_setup){0});
    interrupts_raise(&lines[0], 1);
    cr_assert_eq(events(), 1, "before raise() returns");
    cr_expect(pthread_equal(event(0).thread, pthread_self()));
    cr_expect_eq(turns_when_quiet(), 0);
}

Test(interrupts, with_waiting_the_raising_thread_goes_on)
{
    start(&threaded, (struct interrupts_setup){0});
    set_slow(true);
    interrupts_raise(&lines[0], 1);
    wait_until(&other.finishes, 1, "calls of finish()");
    interrupts_raise(&lines[1], 1); /* hangs if it waits for finish() */
    interrupts_acknowledge(&lines[0], 1);
    interrupts_forget(&lines[5]);
    set_slow(false);
    wait_events(2);
    cr_expect_not(pthread_equal(event(0).thread, pthread_self()));
}

Test(interrupts, raises_while_one_is_queued_are_merged_and_told_together)
{
    start(&threaded, (struct interrupts_setup){0});
    set_slow(true);
    interrupts_raise(&lines[0], 1);
    wait_until(&other.finishes, 1, "calls of finish()");
    for (unsigned i = 0; i < 10; i++)
        for (unsigned line = 0; line < 5; line++)
            interrupts_raise(&lines[line], 1);
    set_slow(false);
    wait_events(6); /* the first of line 0, and one of each */
    no_more_events(6);
    for (unsigned line = 0; line < 5; line++) {
        EXPECT_EVENT(line + 1, INJECTED, &lines[line]);
        cr_expect_eq(counter(line, INTERRUPTS_COALESCED), 9);
    }
    cr_expect_eq(other.finishes, 2);
    cr_expect_eq(interrupts_zone_counter(its, 0, INTERRUPTS_COALESCED), 45);
    cr_expect_eq(interrupts_zone_counter(its, 0, INTERRUPTS_INJECTED), 6);
}

Test(interrupts, what_was_acknowledged_before_it_left_is_dropped)
{
    start(&threaded, (struct interrupts_setup){0});
    set_slow(true);
    interrupts_raise(&lines[0], 1);
    wait_until(&other.finishes, 1, "calls of finish()");
    interrupts_raise(&lines[1], 1);
    interrupts_raise(&lines[2], 3);
    interrupts_acknowledge(&lines[1], 1);
    interrupts_acknowledge(&lines[2], 1); /* not all */
    set_slow(false);
    wait_events(2);
    no_more_events(2);
    EXPECT_EVENT(1, INJECTED, &lines[2]);
    cr_expect_eq(counter(1, INTERRUPTS_COALESCED), 1);
}

/* ---- the watchdog ---------------------------------------------------------------------------- */

Test(interrupts, the_watchdog_injects_again_until_it_is_acknowledged)
{
    for (unsigned mode = 0; mode < 2; mode++) {
        start(both[mode], (struct interrupts_setup){.watchdog_ns = 10 * MS});
        /* From here, since on a busy machine any event may have been noted late. */
        uint64_t begin = clock_ns(), least = 0;
        interrupts_raise(&lines[3], 1); /* the other side drops it, and again */
        wait_events(4);
        interrupts_acknowledge(&lines[3], 1);
        unsigned n = events(); /* a busy machine may have come here late */
        for (unsigned i = 1; i < 4; i++) {
            uint64_t after = event(i).at - begin;
            least += (10 * MS << (i - 1)) - MS;
            EXPECT_EVENT(i, INJECTED, &lines[3]);
            cr_expect_geq(after, least, "%u: after %lu ns", i, after);
        }
        poll(NULL, 0, QUIET_MS);
        cr_expect_geq(counter(3, INTERRUPTS_REPEATED), 3);
        cr_expect_eq(counter(3, INTERRUPTS_INJECTED), counter(3, INTERRUPTS_REPEATED) + 1);
        cr_expect_leq(events(), n + 1, "one may have been under way");
        n = events();
        begin = clock_ns();
        interrupts_raise(&lines[3], 1);
        wait_events(n + 2);
        cr_expect_geq(event(n + 1).at - begin, 9 * MS, "as patient as the first time");
        cr_expect_leq(event(n + 1).at - event(n).at, 1000 * MS);
        stop();
    }
}

Test(interrupts, the_watchdog_is_not_faster_for_slow_ones)
{
    start(&direct, (struct interrupts_setup){.watchdog_ns = LONG});
    interrupts_raise(&lines[3], 1);
    no_more_events(1);
}

Test(interrupts, without_a_watchdog_nothing_is_repeated)
{
    start(&direct, (struct interrupts_setup){0});
    interrupts_raise(&lines[3], 1);
    no_more_events(1);
    cr_expect_eq(interrupts_turns(its), 0);
}

/* ---- the limit ------------------------------------------------------------------------------- */

Test(interrupts, the_eighth_line_waits_for_an_acknowledgement)
{
    for (unsigned mode = 0; mode < 2; mode++) {
        start(both[mode], (struct interrupts_setup){.limit = 7, .limit_wait_ns = LONG});
        for (unsigned i = 0; i < 10; i++)
            interrupts_raise(&lines[i], 1);
        wait_events(7);
        interrupts_raise(&lines[2], 1); /* is among the seven */
        wait_events(8);
        interrupts_raise(&lines[16], 1); /* another zone */
        wait_events(9);
        EXPECT_EVENT(8, INJECTED, &lines[16]);
        no_more_events(9);
        interrupts_acknowledge(&lines[2], 1);
        wait_events(10);
        EXPECT_EVENT(9, INJECTED, &lines[7]);
        no_more_events(10);
        interrupts_acknowledge(&lines[9], 1); /* one that waits itself */
        no_more_events(10);
        interrupts_acknowledge(&lines[7], 1);
        wait_events(11);
        EXPECT_EVENT(10, INJECTED, &lines[8]);
        for (unsigned i = 0; i < 10; i++) {
            interrupts_acknowledge(&lines[i], 1);
            cr_expect_eq(counter(i, INTERRUPTS_WAITED), i >= 7, "line %u", i);
        }
        for (unsigned i = 0; i < 7; i++)
            interrupts_raise(&lines[i], 1);
        wait_events(18);
        stop();
    }
}

Test(interrupts, the_eighth_line_does_not_wait_for_ever)
{
    start(&threaded, (struct interrupts_setup){.limit = 7, .limit_wait_ns = 50 * MS});
    uint64_t begin = clock_ns();
    for (unsigned i = 0; i < 10; i++)
        interrupts_raise(&lines[i], 1);
    wait_events(10);
    for (unsigned i = 7; i < 10; i++) {
        uint64_t after = event(i).at - begin, least = 50 * MS * (i - 6) - MS;
        EXPECT_EVENT(i, INJECTED, &lines[i]);
        cr_expect_geq(after, least, "line %u after %lu ns", i, after);
    }
    no_more_events(10);
    turns_when_quiet();
    /* Lines 0 to 2 do not count any more, so four acknowledgements make room for four. */
    for (unsigned i = 3; i < 7; i++)
        interrupts_acknowledge(&lines[i], 1);
    begin = clock_ns();
    for (unsigned i = 10; i < 14; i++)
        interrupts_raise(&lines[i], 1);
    wait_events(14);
    cr_expect_eq(counter(13, INTERRUPTS_WAITED), 0);
}

Test(interrupts, a_line_that_waits_and_is_acknowledged_is_not_injected)
{
    start(&direct, (struct interrupts_setup){.limit = 1, .limit_wait_ns = LONG});
    interrupts_raise(&lines[0], 1);
    interrupts_raise(&lines[1], 1);
    interrupts_raise(&lines[1], 1);
    interrupts_raise(&lines[2], 1);
    interrupts_acknowledge(&lines[1], 1);
    interrupts_acknowledge(&lines[0], 1);
    wait_events(2);
    EXPECT_EVENT(1, INJECTED, &lines[2]);
    no_more_events(2);
    cr_expect_eq(counter(1, INTERRUPTS_COALESCED), 2);
    interrupts_acknowledge(&lines[2], 1);
    interrupts_raise(&lines[1], 1);
    wait_events(3);
    EXPECT_EVENT(2, INJECTED, &lines[1]);
}

Test(interrupts, a_register_file_may_clear_the_bits)
{
    start(&direct, (struct interrupts_setup){.limit = 1, .limit_wait_ns = LONG});
    interrupts_raise(&lines[0], 1);
    interrupts_raise(&lines[1], 1);
    atomic_fetch_and(&lines[0].status, ~1u);
    no_more_events(1);
    interrupts_acknowledge(&lines[0], 0);
    wait_events(2);
    EXPECT_EVENT(1, INJECTED, &lines[1]);
}

Test(interrupts, the_watchdog_needs_no_second_place)
{
    start(&threaded, (struct interrupts_setup){
                         .limit = 1, .limit_wait_ns = LONG, .watchdog_ns = 10 * MS});
    interrupts_raise(&lines[0], 1);
    interrupts_raise(&lines[1], 1);
    wait_events(3);
    for (unsigned i = 0; i < 3; i++)
        EXPECT_EVENT(i, INJECTED, &lines[0]);
    cr_expect_eq(counter(1, INTERRUPTS_INJECTED), 0);
}

/* ---- no room --------------------------------------------------------------------------------- */

Test(interrupts, a_full_list_is_tried_again_and_not_in_a_loop)
{
    for (unsigned mode = 0; mode < 2; mode++) {
        start(both[mode], (struct interrupts_setup){0});
        other.deaf = true;
        for (unsigned i = 0; i < 48; i++) {
            interrupts_raise(&lines[i], 1);
            interrupts_raise(&lines[i], 2);
        }
        wait_until(&other.finishes, 2, "calls of finish()");
        unsigned before = other.finishes;
        uint64_t turns = interrupts_turns(its), begin = clock_ns();
        poll(NULL, 0, QUIET_MS);
        uint64_t looked = clock_ns() - begin;
        /* 50 us doubled each time: 11 times in 100 ms, then every 50 ms. */
        cr_expect_leq(other.finishes - before, 14 + looked / (50 * MS));
        cr_expect_leq(interrupts_turns(its) - turns, 14 + 2 * looked / (50 * MS) + 2 * mode);
        pthread_mutex_lock(&other.lock);
        other.deaf = false;
        pthread_mutex_unlock(&other.lock);
        unsigned per_line[48] = {0};
        wait_events(48);
        turns_when_quiet();
        for (unsigned i = 0; i < events(); i++)
            per_line[event(i).irq - 100]++;
        for (unsigned i = 0; i < 48; i++)
            cr_expect(per_line[i] == 1 || per_line[i] == 2, "line %u: %u", i, per_line[i]);
        cr_expect_eq(per_line[47], 1, "merged while it could not be pushed");
        unsigned n = events();
        interrupts_raise(&lines[0], 1);
        wait_events(n + 1);
        stop();
    }
}

Test(interrupts, a_broken_bridge_is_left_alone)
{
    log_set_level(HVV_LOG_ERROR);
    start(&direct, (struct interrupts_setup){.watchdog_ns = 10 * MS});
    page->res_front = 77;
    interrupts_raise(&lines[0], 1);
    interrupts_raise(&lines[1], 1);
    turns_when_quiet();
    cr_expect_eq(events(), 0);
    cr_expect(bridge_broken(&bridge));
}

/* ---- levels ---------------------------------------------------------------------------------- */

Test(interrupts, levels_are_merged_and_deasserted)
{
    start(&with_deassert, (struct interrupts_setup){.level = true, .watchdog_ns = 10 * MS});
    for (unsigned i = 0; i < 3; i++) {
        interrupts_raise(&lines[9], 1);
        interrupts_raise(&lines[9], 2);
        wait_events(2 * i + 1);
        EXPECT_EVENT(2 * i, INJECTED, &lines[9]);
        interrupts_raise(&lines[9], 1);
        interrupts_acknowledge(&lines[9], 1);
        no_more_events(2 * i + 1);
        interrupts_acknowledge(&lines[9], 2);
        wait_events(2 * i + 2);
        EXPECT_EVENT(2 * i + 1, DEASSERTED, &lines[9]);
        cr_expect_not(pthread_equal(event(2 * i + 1).thread, pthread_self()), "it may wait");
    }
    cr_expect_eq(counter(9, INTERRUPTS_INJECTED), 3);
    cr_expect_eq(counter(9, INTERRUPTS_COALESCED), 6);
}

Test(interrupts, levels_that_the_other_side_takes_down)
{
    start(&direct, (struct interrupts_setup){.level = true});
    for (unsigned i = 0; i < 3; i++) {
        interrupts_raise(&lines[9], 1);
        interrupts_raise(&lines[9], 1);
        cr_expect_eq(events(), i + 1);
        interrupts_acknowledge(&lines[9], 1);
    }
    turns_when_quiet();
    cr_expect_eq(events(), 3);
    interrupts_raise(&lines[9], 3);
    interrupts_acknowledge(&lines[9], 1); /* it was taken down, but there is more */
    wait_events(5);
    EXPECT_EVENT(4, INJECTED, &lines[9]);
    interrupts_acknowledge(&lines[9], 2);
    turns_when_quiet();
    cr_expect_eq(events(), 5);
}

Test(interrupts, a_level_stays_asserted_for_a_raise_before_the_deassert)
{
    start(&with_deassert, (struct interrupts_setup){.level = true});
    interrupts_raise(&lines[9], 1);
    wait_events(1);
    set_slow(true);
    unsigned finishes = other.finishes;
    interrupts_raise(&lines[8], 1); /* keeps our thread */
    wait_until(&other.finishes, finishes + 1, "calls of finish()");
    interrupts_acknowledge(&lines[9], 1);
    interrupts_raise(&lines[9], 1);
    set_slow(false);
    no_more_events(2);
    interrupts_acknowledge(&lines[9], 1);
    wait_events(3);
    EXPECT_EVENT(2, DEASSERTED, &lines[9]);
}

Test(interrupts, the_limit_counts_levels_too)
{
    start(&with_deassert,
          (struct interrupts_setup){.level = true, .limit = 2, .limit_wait_ns = 20 * MS});
    for (unsigned i = 0; i < 3; i++)
        interrupts_raise(&lines[i], 1);
    wait_events(3); /* after 20 ms line 0 does not count */
    interrupts_acknowledge(&lines[0], 1);
    wait_events(4);
    EXPECT_EVENT(3, DEASSERTED, &lines[0]);
}

/* ---- lines come and go ----------------------------------------------------------------------- */

Test(interrupts, a_forgotten_line_is_not_touched)
{
    start(&threaded, (struct interrupts_setup){
                         .limit = 1, .limit_wait_ns = LONG, .watchdog_ns = 20 * MS});
    struct irq_line *held = malloc(sizeof(*held)), *waits = malloc(sizeof(*waits));
    interrupts_add(its, held, 2, 1);
    interrupts_add(its, waits, 2, 2);
    interrupts_raise(held, 1);
    wait_events(1);
    interrupts_raise(waits, 1);
    interrupts_raise(&lines[40], 1);
    interrupts_forget(waits);
    interrupts_raise(waits, 1); /* too late: nothing */
    memset(waits, 0xa5, sizeof(*waits));
    interrupts_forget(held); /* gives its place back */
    memset(held, 0xa5, sizeof(*held));
    for (bool found = false; !found;) { /* the watchdog may have had its turn before */
        unsigned n = events();
        found = event(n - 1).irq == lines[40].irq;
        if (!found)
            wait_events(n + 1);
    }
    interrupts_acknowledge(&lines[40], 1);
    turns_when_quiet();
    for (unsigned i = 0; i < events(); i++)
        cr_expect_neq(event(i).irq, 2);
    for (unsigned i = 0; i < sizeof(*held); i++)
        cr_assert(((uint8_t *)held)[i] == 0xa5 && ((uint8_t *)waits)[i] == 0xa5, "byte %u", i);
    unsigned n = events();
    interrupts_add(its, held, 2, 7);
    interrupts_raise(held, 1);
    wait_events(n + 1);
    EXPECT_EVENT(n, INJECTED, held);
    interrupts_forget(held);
    free(held);
    free(waits);
}

Test(interrupts, a_forgotten_line_is_deasserted)
{
    start(&with_deassert, (struct interrupts_setup){.level = true});
    interrupts_raise(&lines[1], 1);
    interrupts_raise(&lines[2], 1);
    wait_events(2);
    interrupts_forget(&lines[2]);
    wait_events(3);
    EXPECT_EVENT(2, DEASSERTED, &lines[2]);
    no_more_events(3);
}

Test(interrupts, what_can_be_handed_over_is_at_the_end)
{
    for (unsigned i = 0; i < 20; i++) {
        start(&threaded, (struct interrupts_setup){.watchdog_ns = 10 * MS, .limit = 7,
                                                   .limit_wait_ns = 50 * MS});
        for (unsigned line = 0; line < 20; line++)
            interrupts_raise(&lines[line], 1);
        stop();
        cr_expect_geq(events(), 11); /* seven of the first zone, all of the second */
    }
}

/* ---- being idle ------------------------------------------------------------------------------ */

Test(interrupts, idle_is_asleep)
{
    struct interrupts_setup setup = {
        .watchdog_ns = 10 * MS, .limit = 7, .limit_wait_ns = 50 * MS};
    for (unsigned mode = 0; mode < 2; mode++) {
        start(both[mode], setup);
        poll(NULL, 0, QUIET_MS);
        cr_expect_eq(interrupts_turns(its), 0, "nothing has happened yet");
        for (unsigned i = 0; i < 16; i++) {
            interrupts_raise(&lines[i % 4], 1);
            wait_events(i + 1);
            interrupts_acknowledge(&lines[i % 4], 1);
        }
        uint64_t turns = turns_when_quiet();
        poll(NULL, 0, QUIET_MS);
        cr_expect_eq(interrupts_turns(its), turns);
        stop();
    }
}

Test(interrupts, a_busy_line_wakes_nobody_for_each_interrupt)
{
    start(&direct, (struct interrupts_setup){.watchdog_ns = 10 * MS});
    uint64_t begin = clock_ns();
    for (unsigned i = 0; i < EVENTS; i++) {
        interrupts_raise(&lines[0], 1);
        interrupts_acknowledge(&lines[0], 1);
    }
    uint64_t periods = (clock_ns() - begin) / (10 * MS) + 1;
    cr_expect_eq(events(), EVENTS);
    cr_expect_leq(turns_when_quiet(), 2 * periods + 2);
}
