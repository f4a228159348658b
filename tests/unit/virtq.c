/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The virtqueue engine against a driver made by hand: each test writes ring words as a guest would.
 * A table of hostile rings follows the well-behaved ones.
 */
#include "virtq/virtq.h"

#include <criterion/criterion.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE 8u
#define BASE 0x10000ull
#define MEMORY (1u << 20)
#define DESC (BASE + 0)
#define AVAIL (BASE + 0x1000)
#define USED (BASE + 0x2000)
#define TABLE (BASE + 0x3000)
#define DATA (BASE + 0x10000)
#define INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define EVENT (1ull << VIRTIO_RING_F_EVENT_IDX)
#define IN_ORDER (1ull << 35)

static struct {
    struct virtq *vq;
    struct loop *loop;
    struct memory *memory;
    char *ram;
    unsigned interrupts, idle, memory_done;
    char broken[256];
} t;

static void on_interrupt(void *arg)
{
    (void)arg;
    t.interrupts++;
}
static void on_broken(void *arg, const char *text)
{
    (void)arg;
    snprintf(t.broken, sizeof(t.broken), "%s", text);
}
static void on_idle(void *arg)
{
    (void)arg;
    t.idle++;
}
static void on_memory_done(void *arg)
{
    (void)arg;
    t.memory_done++;
}
static const struct virtq_owner owner = {on_interrupt, on_broken, on_idle, on_memory_done};

static void *at(uint64_t gpa)
{
    return t.ram + (gpa - BASE);
}
static struct vring_desc *desc(void)
{
    return at(DESC);
}
static struct vring_avail *avail(void)
{
    return at(AVAIL);
}
static struct vring_used *used(void)
{
    return at(USED);
}
static uint16_t *used_event(void)
{
    return &avail()->ring[SIZE];
}
static uint16_t *avail_event(void)
{
    return (uint16_t *)(void *)&used()->ring[SIZE];
}

static void set_desc(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    desc()[i] = (struct vring_desc){addr, len, flags, next};
}

static void offer(uint16_t head)
{
    avail()->ring[avail()->idx % SIZE] = head;
    avail()->idx++;
}

static struct memory *new_memory(char **ram)
{
    struct error error = {0};
    int fd = memfd_create("guest", MFD_CLOEXEC);
    cr_assert_eq(ftruncate(fd, MEMORY), 0);
    struct region *region = region_map(fd, 0, MEMORY, &error);
    struct memory_entry e = {.gpa = BASE, .size = MEMORY, .uva = BASE, .region = region};
    struct memory *memory = memory_new(&e, 1, &error);
    cr_assert(memory, "%s", error.text);
    region_put(region);
    close(fd);
    *ram = memory_pointer(memory, BASE, MEMORY);
    return memory;
}

static void start(uint64_t features, uint16_t base)
{
    struct virtq_setup setup = {SIZE, DESC, AVAIL, USED, base, features};
    struct virtq_ring ring;
    struct error error = {0};
    cr_assert_eq(virtq_resolve(t.vq, &setup, t.memory, &ring, &error), 0, "%s", error.text);
    virtq_start(t.vq, &setup, &ring, t.memory);
}

static void setup_queue(void)
{
    memset(&t, 0, sizeof(t));
    t.memory = new_memory(&t.ram);
    t.loop = loop_new();
    loop_run_once(t.loop, false); /* this thread is the worker */
    t.vq = virtq_new(0, 16, 4, 32, NULL);
    virtq_attach(t.vq, t.loop, &owner, NULL);
}

static void stop(bool discard)
{
    virtq_stop(t.vq, discard);
    virtq_settle(t.vq);
}

static void teardown_queue(void)
{
    if (t.vq->state == VIRTQ_RUNNING)
        stop(true);
    cr_expect_eq(t.vq->state, VIRTQ_IDLE);
    virtq_free(t.vq);
    memory_put(t.memory);
    loop_free(t.loop);
}

TestSuite(virtq, .init = setup_queue, .fini = teardown_queue, .timeout = 10);

static struct hvv_chain *pop(void)
{
    struct hvv_chain *c = NULL;
    virtq_begin_turn(t.vq);
    return virtq_pop(t.vq, &c, 1) == 1 ? c : NULL;
}

static uint32_t pop_all(struct hvv_chain **chains, uint32_t max)
{
    virtq_begin_turn(t.vq);
    return virtq_pop(t.vq, chains, max);
}

Test(virtq, one_chain_goes_round)
{
    start(0, 0);
    set_desc(3, DATA, 16, VRING_DESC_F_NEXT, 5);
    set_desc(5, DATA + 0x100, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
    set_desc(1, DATA + 0x400, 1, VRING_DESC_F_WRITE, 0);
    offer(3);
    cr_assert(virtq_wants_service(t.vq));
    struct hvv_chain *c = pop();
    cr_assert_not_null(c);
    cr_expect_eq(c->n_readable, 1);
    cr_expect_eq(c->n_writable, 2);
    cr_expect_eq(c->readable_bytes, 16);
    cr_expect_eq(c->writable_bytes, 513);
    cr_expect_eq(c->readable[0].iov_base, at(DATA));
    cr_expect_eq(used()->idx, 0);
    virtq_complete(c, 513);
    cr_expect_eq(used()->idx, 0, "not shown before the flush");
    virtq_flush(t.vq);
    cr_expect_eq(used()->idx, 1);
    cr_expect_eq(used()->ring[0].id, 3);
    cr_expect_eq(used()->ring[0].len, 513);
    cr_expect_eq(t.interrupts, 1);
}

Test(virtq, a_batch_is_one_store_and_one_interrupt_in_any_order)
{
    start(0, 0);
    struct hvv_chain *c[SIZE];
    for (uint16_t i = 0; i < SIZE; i++) {
        set_desc(i, DATA + i, 1, VRING_DESC_F_WRITE, 0);
        offer(i);
    }
    cr_assert_eq(pop_all(c, SIZE), SIZE);
    for (int i = SIZE - 1; i >= 0; i--)
        virtq_complete(c[i], 1);
    virtq_flush(t.vq);
    cr_expect_eq(used()->idx, SIZE);
    cr_expect_eq(used()->ring[0].id, SIZE - 1);
    cr_expect_eq(t.interrupts, 1);
}

Test(virtq, wraps_many_times)
{
    start(EVENT, 0);
    for (unsigned i = 0; i < 70000; i++) {
        set_desc(i % SIZE, DATA, 4, 0, 0);
        offer((uint16_t)(i % SIZE));
        struct hvv_chain *c = pop();
        cr_assert_not_null(c, "round %u: %s", i, t.broken);
        virtq_complete(c, 0);
        virtq_flush(t.vq);
        cr_assert_eq(used()->idx, (uint16_t)(i + 1));
        *used_event() = used()->idx;
    }
    cr_expect_eq(t.interrupts, 70000);
}

Test(virtq, written_never_exceeds_the_writable_part)
{
    start(0, 0);
    set_desc(0, DATA, 10, VRING_DESC_F_WRITE, 0);
    offer(0);
    virtq_complete(pop(), 4096);
    virtq_flush(t.vq);
    cr_expect_eq(used()->ring[0].len, 10);
}

Test(virtq, indirect_after_direct)
{
    start(INDIRECT, 0);
    struct vring_desc *table = at(TABLE);
    table[0] = (struct vring_desc){DATA, 8, VRING_DESC_F_NEXT, 2};
    table[2] = (struct vring_desc){DATA + 8, 8, VRING_DESC_F_WRITE, 0};
    set_desc(0, DATA + 0x100, 4, VRING_DESC_F_NEXT, 1);
    set_desc(1, TABLE, 3 * 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0);
    offer(0);
    struct hvv_chain *c = pop();
    cr_assert_not_null(c, "%s", t.broken);
    cr_expect_eq(c->n_readable, 2);
    cr_expect_eq(c->n_writable, 1);
    virtq_complete(c, 8);
}

Test(virtq, indirect_table_longer_than_the_ring)
{
    start(INDIRECT, 0); /* segments is 4, so the limit is the ring's 8 */
    struct vring_desc *table = at(TABLE);
    for (unsigned i = 0; i < SIZE; i++)
        table[i] = (struct vring_desc){DATA + i, 1, i + 1 < SIZE ? VRING_DESC_F_NEXT : 0,
                                       (uint16_t)(i + 1)};
    set_desc(0, TABLE, SIZE * 16, VRING_DESC_F_INDIRECT, 0);
    offer(0);
    struct hvv_chain *c = pop();
    cr_assert_not_null(c, "%s", t.broken);
    cr_expect_eq(c->n_readable, SIZE);
    virtq_complete(c, 0);
    set_desc(1, TABLE, (SIZE + 1) * 16, VRING_DESC_F_INDIRECT, 0);
    offer(1);
    cr_expect_null(pop());
    cr_expect(strstr(t.broken, "indirect table of 144 bytes"), "%s", t.broken);
}

Test(virtq, in_order_holds_back)
{
    start(IN_ORDER, 0);
    struct hvv_chain *c[3];
    for (uint16_t i = 0; i < 3; i++) {
        set_desc(i, DATA, 1, VRING_DESC_F_WRITE, 0);
        offer(i);
    }
    cr_assert_eq(pop_all(c, 3), 3);
    virtq_complete(c[2], 1);
    virtq_complete(c[1], 1);
    virtq_flush(t.vq);
    cr_expect_eq(used()->idx, 0);
    virtq_complete(c[0], 1);
    virtq_flush(t.vq);
    cr_expect_eq(used()->idx, 3);
    for (unsigned i = 0; i < 3; i++)
        cr_expect_eq(used()->ring[i].id, i);
}

static void *complete_elsewhere(void *chain)
{
    virtq_complete(chain, 1);
    return NULL;
}

Test(virtq, in_order_waits_for_a_chain_finished_on_another_thread)
{
    start(IN_ORDER, 0);
    struct hvv_chain *c[2];
    for (uint16_t i = 0; i < 2; i++) {
        set_desc(i, DATA, 1, VRING_DESC_F_WRITE, 0);
        offer(i);
    }
    cr_assert_eq(pop_all(c, 2), 2);
    pthread_t thread;
    pthread_create(&thread, NULL, complete_elsewhere, c[0]);
    pthread_join(thread, NULL);
    virtq_complete(c[1], 1);
    virtq_flush(t.vq);
    cr_expect_eq(used()->idx, 0, "the first is still on its way to the worker");
    loop_run_once(t.loop, false);
    virtq_flush(t.vq);
    cr_expect_eq(used()->idx, 2);
}

Test(virtq, release_rewinds_newest_first)
{
    start(0, 0);
    struct hvv_chain *c[3];
    for (uint16_t i = 0; i < 3; i++) {
        set_desc(i, DATA, 1, VRING_DESC_F_WRITE, 0);
        offer(i);
    }
    cr_assert_eq(pop_all(c, 3), 3);
    virtq_complete(c[0], 1);
    virtq_release(c[2]);
    virtq_release(c[1]);
    cr_expect_not(virtq_wants_service(t.vq), "the plugin holds back");
    cr_expect_eq(t.vq->next_avail, 1);
    struct hvv_chain *again[2];
    cr_assert_eq(pop_all(again, 2), 2);
    cr_expect_eq(again[0], c[1]);
    virtq_release(again[1]);
    virtq_release(again[0]);
    stop(false);
    cr_expect_eq(t.vq->next_avail, 1, "the driver gets back what was not used");
    cr_expect_eq(used()->idx, 1);
}

/* The ring they came from is gone: nothing rewinds, and nothing is wrong with the plugin. */
Test(virtq, release_after_a_reset)
{
    start(0, 0);
    struct hvv_chain *c[3];
    for (uint16_t i = 0; i < 3; i++) {
        set_desc(i, DATA, 1, VRING_DESC_F_WRITE, 0);
        offer(i);
    }
    cr_assert_eq(pop_all(c, 3), 3);
    virtq_stop(t.vq, true);
    for (int i = 3; i > 0; i--)
        virtq_release(c[i - 1]);
    virtq_settle(t.vq);
    cr_expect_not(t.vq->broken, "%s", t.broken);
    cr_expect_eq(t.vq->state, VIRTQ_IDLE);
}

Test(virtq, releasing_an_older_chain_is_a_bug_of_the_plugin)
{
    start(0, 0);
    struct hvv_chain *c[2];
    for (uint16_t i = 0; i < 2; i++) {
        set_desc(i, DATA, 1, 0, 0);
        offer(i);
    }
    cr_assert_eq(pop_all(c, 2), 2);
    virtq_release(c[0]);
    cr_expect(strstr(t.broken, "not the newest"));
    virtq_complete(c[1], 0);
}

Test(virtq, finishing_twice_breaks_the_queue)
{
    start(0, 0);
    set_desc(0, DATA, 1, 0, 0);
    offer(0);
    struct hvv_chain *c = pop();
    virtq_complete(c, 0);
    virtq_complete(c, 0);
    virtq_flush(t.vq);
    cr_expect(strstr(t.broken, "twice"), "%s", t.broken);
    cr_expect_eq(used()->idx, 0);
}

Test(virtq, notifications_are_enabled_only_when_drained)
{
    start(EVENT, 0);
    struct hvv_chain *c[4];
    for (uint16_t i = 0; i < 2; i++) {
        set_desc(i, DATA, 1, 0, 0);
        offer(i);
    }
    cr_assert_eq(pop_all(c, 2), 2); /* got what was asked for: not drained */
    cr_expect_not(virtq_enable(t.vq));
    cr_expect_eq(*avail_event(), 0, "stale on purpose");
    cr_assert_eq(pop_all(c + 2, 1), 0);
    cr_expect_not(virtq_enable(t.vq));
    cr_expect_eq(*avail_event(), 2);
    set_desc(2, DATA, 1, 0, 0);
    offer(2);
    cr_expect(virtq_enable(t.vq), "more came while enabling");
    virtq_complete(c[0], 0);
    virtq_complete(c[1], 0);
}

Test(virtq, a_plugin_that_takes_nothing_is_not_asked_again)
{
    start(EVENT, 0);
    set_desc(0, DATA, 1, VRING_DESC_F_WRITE, 0);
    offer(0);
    cr_expect(virtq_wants_service(t.vq));
    virtq_hold_back(t.vq); /* notify() is called, and pops nothing: no packet has come */
    cr_expect_not(virtq_wants_service(t.vq));
    cr_expect_not(virtq_enable(t.vq), "nor does it keep the worker awake");
    struct hvv_chain *c[2];
    cr_assert_eq(pop_all(c, 1), 1);
    cr_expect_not(virtq_wants_service(t.vq));
    cr_assert_eq(pop_all(c + 1, 1), 0);
    set_desc(1, DATA, 1, VRING_DESC_F_WRITE, 0);
    offer(1);
    cr_expect(virtq_wants_service(t.vq), "it found the ring empty, and now there is more");
    virtq_complete(c[0], 1);
}

Test(virtq, flags_suppress_notifications)
{
    start(0, 0);
    virtq_suppress(t.vq);
    cr_expect_eq(used()->flags, VRING_USED_F_NO_NOTIFY);
    cr_expect_not(virtq_enable(t.vq));
    cr_expect_eq(used()->flags, 0);
}

Test(virtq, the_driver_suppresses_interrupts)
{
    start(0, 0);
    avail()->flags = VRING_AVAIL_F_NO_INTERRUPT;
    set_desc(0, DATA, 1, 0, 0);
    offer(0);
    virtq_complete(pop(), 0);
    virtq_flush(t.vq);
    cr_expect_eq(used()->idx, 1);
    cr_expect_eq(t.interrupts, 0);
}

Test(virtq, used_event_decides)
{
    start(EVENT, 0);
    for (uint16_t i = 0; i < 3; i++) {
        *used_event() = 2;
        set_desc(i, DATA, 1, 0, 0);
        offer(i);
        virtq_complete(pop(), 0);
        virtq_flush(t.vq);
        cr_expect_eq(t.interrupts, i == 2 ? 2u : 1u, "chain %u", i); /* the first always */
    }
}

Test(virtq, used_index_is_read_when_the_first_chain_comes)
{
    used()->idx = 999;
    start(0, 0);
    cr_expect_not(virtq_wants_service(t.vq));
    used()->idx = 7; /* the driver sets its ring up after announcing it */
    set_desc(0, DATA, 1, 0, 0);
    offer(0);
    virtq_complete(pop(), 0);
    virtq_flush(t.vq);
    cr_expect_eq(used()->idx, 8);
    cr_expect_eq(used()->ring[7].id, 0);
}

Test(virtq, stop_waits_for_chains_and_shows_them)
{
    start(0, 0);
    set_desc(0, DATA, 1, 0, 0);
    set_desc(1, DATA, 1, 0, 0);
    offer(0);
    struct hvv_chain *c = pop();
    stop(false);
    cr_expect_eq(t.idle, 0);
    offer(1);
    cr_expect_null(pop(), "nothing is taken from a stopping queue");
    virtq_complete(c, 0);
    cr_expect_eq(t.idle, 1);
    cr_expect_eq(used()->idx, 1);
    cr_expect_eq(t.vq->next_avail, 1);
}

Test(virtq, a_reset_discards_completions)
{
    start(0, 0);
    set_desc(0, DATA, 1, 0, 0);
    offer(0);
    struct hvv_chain *c = pop();
    stop(true);
    virtq_complete(c, 1);
    cr_expect_eq(t.idle, 1);
    cr_expect_eq(used()->idx, 0);
    avail()->idx = 0;
    start(0, 0);
    offer(0);
    cr_assert_not_null(c = pop(), "the head is free again");
    virtq_complete(c, 1);
    virtq_flush(t.vq);
    cr_expect_eq(used()->idx, 1);
}

Test(virtq, chains_keep_the_memory_they_came_with)
{
    start(0, 0);
    set_desc(0, DATA, 4, VRING_DESC_F_WRITE, 0);
    offer(0);
    struct hvv_chain *c = pop();
    char *ram;
    struct memory *next = new_memory(&ram);
    memcpy(ram, t.ram, MEMORY);
    struct virtq_ring ring;
    struct error error = {0};
    cr_assert_eq(virtq_resolve(t.vq, &t.vq->setup, next, &ring, &error), 0);
    virtq_set_memory(t.vq, next, &ring);
    memory_put(t.memory);
    cr_expect_eq(t.memory_done, 0);
    memcpy(c->writable[0].iov_base, "abcd", 4); /* still mapped */
    virtq_complete(c, 4);
    cr_expect_eq(t.memory_done, 1);
    t.memory = next;
    t.ram = ram;
    virtq_flush(t.vq);
    cr_expect_eq(used()->idx, 1, "shown in the new memory");
}

Test(virtq, a_queue_gets_a_budget_per_turn)
{
    start(0, 0);
    struct hvv_chain *c;
    virtq_begin_turn(t.vq);
    unsigned taken = 0;
    for (; taken < 10 * VIRTQ_TURN; taken++) { /* a guest that refills as fast as it is served */
        set_desc(0, DATA, 1, 0, 0);
        offer(0);
        if (virtq_pop(t.vq, &c, 1) == 0)
            break;
        virtq_complete(c, 0);
    }
    cr_expect_eq(taken, VIRTQ_TURN);
    cr_expect(virtq_wants_service(t.vq), "the rest is for the next turn");
}

/* ---- hostile rings --------------------------------------------------------------------------- */

static void head_outside(void)
{
    offer(SIZE);
}
static void next_outside(void)
{
    set_desc(0, DATA, 1, VRING_DESC_F_NEXT, SIZE);
    offer(0);
}
static void next_huge(void)
{
    set_desc(0, DATA, 1, VRING_DESC_F_NEXT, 0xffff);
    offer(0);
}
static void next_to_self(void)
{
    set_desc(0, DATA, 1, VRING_DESC_F_NEXT, 0);
    offer(0);
}
static void loop_of_two(void)
{
    set_desc(0, DATA, 1, VRING_DESC_F_NEXT, 1);
    set_desc(1, DATA, 1, VRING_DESC_F_NEXT, 0);
    offer(0);
}
static void zero_length_loop(void)
{
    set_desc(0, DATA, 0, VRING_DESC_F_NEXT, 0);
    offer(0);
}
static void avail_jumps(void)
{
    avail()->idx = SIZE + 1;
}
static void avail_goes_back(void)
{
    avail()->idx = 0xffff;
}
static void readable_after_writable(void)
{
    set_desc(0, DATA, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
    set_desc(1, DATA, 1, 0, 0);
    offer(0);
}
static void outside_memory(void)
{
    set_desc(0, BASE + MEMORY, 1, 0, 0);
    offer(0);
}
static void across_the_end(void)
{
    set_desc(0, BASE + MEMORY - 8, 64, 0, 0);
    offer(0);
}
static void wraps_around(void)
{
    set_desc(0, UINT64_MAX - 3, 64, 0, 0);
    offer(0);
}
static void four_gib(void)
{
    set_desc(0, DATA, UINT32_MAX, 0, 0);
    offer(0);
}
static void same_head_twice(void)
{
    set_desc(0, DATA, 1, 0, 0);
    offer(0);
    offer(0);
}
static void table_with(uint64_t addr, uint32_t len, uint16_t flags)
{
    set_desc(0, addr, len, (uint16_t)(VRING_DESC_F_INDIRECT | flags), 1);
    offer(0);
}
static void table_empty(void)
{
    table_with(TABLE, 0, 0);
}
static void table_odd(void)
{
    table_with(TABLE, 17, 0);
}
static void table_too_long(void)
{
    table_with(TABLE, 16 * 4096, 0);
}
static void table_huge(void)
{
    table_with(TABLE, 0xfffffff0u, 0);
}
static void table_outside(void)
{
    table_with(BASE + MEMORY - 16, 32, 0);
}
static void table_with_next(void)
{
    table_with(TABLE, 16, VRING_DESC_F_NEXT);
}
static void table_nested(void)
{
    struct vring_desc *table = at(TABLE);
    table[0] = (struct vring_desc){TABLE, 16, VRING_DESC_F_INDIRECT, 0};
    table_with(TABLE, 16, 0);
}
static void table_loop(void)
{
    struct vring_desc *table = at(TABLE);
    table[0] = (struct vring_desc){DATA, 1, VRING_DESC_F_NEXT, 1};
    table[1] = (struct vring_desc){DATA, 1, VRING_DESC_F_NEXT, 0};
    table_with(TABLE, 32, 0);
}
static void table_next_outside(void)
{
    struct vring_desc *table = at(TABLE);
    table[0] = (struct vring_desc){DATA, 1, VRING_DESC_F_NEXT, 2};
    table_with(TABLE, 32, 0);
}

static const struct {
    void (*make)(void);
    uint64_t features;
    const char *says;
} hostile[] = {
    {head_outside, 0, "head 8 is outside a ring of 8"},
    {next_outside, 0, "next 8 is outside a ring of 8"},
    {next_huge, 0, "next 65535 is outside"},
    {next_to_self, 0, "a loop"},
    {loop_of_two, 0, "a loop"},
    {zero_length_loop, 0, "a loop"},
    {avail_jumps, 0, "available index went from 0 to 9"},
    {avail_goes_back, 0, "available index went from 0 to 65535"},
    {readable_after_writable, 0, "readable buffer after a writable one"},
    {outside_memory, 0, "is not guest memory"},
    {across_the_end, 0, "is not guest memory"},
    {wraps_around, 0, "is not guest memory"},
    {four_gib, 0, "is not guest memory"},
    {same_head_twice, 0, "made available again before it was used"},
    {table_empty, INDIRECT, "indirect table of 0 bytes"},
    {table_odd, INDIRECT, "indirect table of 17 bytes"},
    {table_too_long, INDIRECT, "indirect table of 65536 bytes"},
    {table_huge, INDIRECT, "indirect table of 4294967280 bytes"},
    {table_outside, INDIRECT, "is not guest memory"},
    {table_with_next, INDIRECT, "indirect descriptor with a next one"},
    {table_nested, INDIRECT, "inside an indirect table"},
    {table_loop, INDIRECT, "has a loop"},
    {table_next_outside, INDIRECT, "next 2 is outside an indirect table of 2"},
    {table_nested, 0, "VIRTIO_F_INDIRECT_DESC was not negotiated"},
};

Test(virtq, hostile_rings_break_the_queue_and_nothing_else)
{
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        memset(t.ram, 0, MEMORY);
        t.broken[0] = '\0';
        start(hostile[i].features, 0);
        hostile[i].make();
        struct hvv_chain *c[SIZE + 1];
        uint32_t n = pop_all(c, SIZE + 1);
        cr_expect(strstr(t.broken, hostile[i].says), "row %zu: \"%s\"", i, t.broken);
        cr_expect_eq(pop_all(c + n, 1), 0, "row %zu: broken queues give nothing", i);
        for (uint32_t k = 0; k < n; k++)
            virtq_complete(c[k], 0);
        virtq_flush(t.vq);
        cr_expect_eq(used()->idx, 0, "row %zu: broken queues show nothing", i);
        stop(true);
    }
}

Test(virtq, setups_that_are_refused)
{
    const struct virtq_setup bad[] = {
        {0, DESC, AVAIL, USED, 0, 0},          {3, DESC, AVAIL, USED, 0, 0},
        {32, DESC, AVAIL, USED, 0, 0},         {UINT32_MAX, DESC, AVAIL, USED, 0, 0},
        {SIZE, DESC + 8, AVAIL, USED, 0, 0},   {SIZE, DESC, AVAIL + 1, USED, 0, 0},
        {SIZE, DESC, AVAIL, USED + 2, 0, 0},   {SIZE, BASE + MEMORY - 16, AVAIL, USED, 0, 0},
        {SIZE, DESC, BASE + MEMORY - 2, USED, 0, 0}, {SIZE, DESC, AVAIL, UINT64_MAX - 3, 0, 0},
        {SIZE, 0, AVAIL, USED, 0, 0},          {SIZE, DESC, AVAIL, BASE + MEMORY - 4 - 64, 0, EVENT},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct virtq_ring ring;
        struct error error = {0};
        cr_expect_lt(virtq_resolve(t.vq, &bad[i], t.memory, &ring, &error), 0, "row %zu", i);
        cr_expect(error.text[0]);
    }
}
