/* SPDX-License-Identifier: BSD-3-Clause */
/* The bridge page: accesses, answers, the wake-up handshake, room for interrupts. One thread. */
#include "transport/bridge/bridge.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static _Alignas(HVV_BRIDGE_SIZE) union {
    struct hvv_bridge_page page;
    uint8_t bytes[HVV_BRIDGE_SIZE];
} shared;
static struct hvv_bridge_page *const page = &shared.page;
static struct bridge bridge;
static struct error error;
static unsigned answers;
static uint64_t flag_when_answered;

static void (*when_answered)(uint32_t cpu);

static void on_answered(void *arg, uint32_t cpu)
{
    cr_expect_eq(arg, &answers);
    flag_when_answered = page->cfg_flags[cpu];
    answers++;
    if (when_answered)
        when_answered(cpu);
}

static void setup(void)
{
    log_set_level(HVV_LOG_ERROR);
    cr_assert_eq(bridge_init(&bridge, page, "test", on_answered, &answers, &error), 0);
}

TestSuite(bridge, .init = setup, .timeout = 10);

/* As a producer does it; there is room. */
static void hand_over(struct hvv_bridge_request request)
{
    page->req_list[page->req_rear] = request;
    page->req_rear = (page->req_rear + 1) % HVV_BRIDGE_ENTRIES;
}

static struct hvv_bridge_request a_read(uint64_t cpu)
{
    return (struct hvv_bridge_request){
        .src_cpu = cpu, .address = 0xa003c00, .size = 4, .src_zone = 3};
}

static bool take(struct bridge_access *access)
{
    memset(access, 0xee, sizeof(*access));
    return bridge_take(&bridge, access);
}

static void take_read(uint64_t cpu)
{
    struct bridge_access access;
    hand_over(a_read(cpu));
    cr_assert(take(&access));
    cr_assert_eq(access.cpu, cpu);
}

/* ---- accesses -------------------------------------------------------------------------------- */

Test(bridge, a_write_is_taken_as_it_was_handed_over)
{
    struct bridge_access access;
    hand_over((struct hvv_bridge_request){.src_cpu = 31, .address = 0x1234567890ull, .size = 8,
                                          .value = 0x1122334455667788ull, .src_zone = 31,
                                          .is_write = 1});
    cr_assert(take(&access));
    cr_expect_eq(access.cpu, 31);
    cr_expect_eq(access.zone, 31);
    cr_expect_eq(access.address, 0x1234567890ull);
    cr_expect_eq(access.size, 8);
    cr_expect_eq(access.value, 0x1122334455667788ull);
    cr_expect(access.write);
    cr_expect(access.waits);
    cr_expect_eq(page->req_front, 1, "the entry is given back");
    cr_expect_not(take(&access));
}

Test(bridge, values_are_cut_to_the_size_of_the_access)
{
    static const uint64_t want[] = {[1] = 0xff, [2] = 0xffff, [4] = 0xffffffff, [8] = UINT64_MAX};
    for (uint8_t size = 1; size <= 8; size *= 2) {
        struct bridge_access access;
        struct hvv_bridge_request request = a_read(1);
        request.is_write = 1;
        request.size = size;
        request.value = UINT64_MAX;
        hand_over(request);
        cr_assert(take(&access));
        cr_expect_eq(access.size, size);
        cr_expect_eq(access.value, want[size], "write of %u", size);
        cr_assert(bridge_answer(&bridge, 1, size, UINT64_MAX));
        cr_expect_eq(page->cfg_values[1], want[size], "answer of %u", size);
    }
}

Test(bridge, the_value_of_a_read_is_nobodys)
{
    struct bridge_access access;
    struct hvv_bridge_request request = a_read(1);
    request.value = 77;
    hand_over(request);
    cr_assert(take(&access));
    cr_expect_not(access.write);
    cr_expect_eq(access.value, 0);
}

Test(bridge, a_full_list_is_taken_in_order_round_and_round)
{
    struct bridge_access access;
    for (uint64_t n = 0; n < 5 * HVV_BRIDGE_ENTRIES;) {
        for (unsigned i = 0; i < HVV_BRIDGE_ENTRIES - 1; i++) {
            struct hvv_bridge_request request = a_read(0);
            request.need_interrupt = 1;
            request.address = n + i;
            hand_over(request);
        }
        for (unsigned i = 0; i < HVV_BRIDGE_ENTRIES - 1; i++, n++) {
            cr_assert(take(&access));
            cr_expect_eq(access.address, n);
        }
        cr_assert_not(take(&access));
        cr_expect_eq(page->req_front, page->req_rear);
    }
}

Test(bridge, what_a_daemon_before_did_not_take_is_taken)
{
    struct bridge_access access;
    hand_over(a_read(1));
    hand_over(a_read(2));
    page->req_front = 1;
    page->res_front = page->res_rear = 30;
    cr_assert_eq(bridge_init(&bridge, page, "test", NULL, NULL, &error), 0);
    cr_assert(take(&access));
    cr_expect_eq(access.cpu, 2);
    cr_assert(bridge_answer(&bridge, 2, 4, 1), "no hook is fine");
    cr_assert(bridge_push_interrupt(&bridge, 5, 75));
    cr_expect_eq(page->res_list[30].irq_id, 75);
    cr_expect_eq(page->res_rear, 31);
}

Test(bridge, a_page_that_cannot_be_is_refused)
{
    uint32_t *words[] = {&page->req_front, &page->req_rear, &page->res_front, &page->res_rear};
    static const char *names[] = {"req_front", "req_rear", "res_front", "res_rear"};
    for (unsigned i = 0; i < 4; i++) {
        struct error why = {0};
        *words[i] = HVV_BRIDGE_ENTRIES;
        cr_expect_lt(bridge_init(&bridge, page, "test", NULL, NULL, &why), 0);
        cr_expect(strstr(why.text, names[i]) && strstr(why.text, "32"), "%s", why.text);
        *words[i] = 0;
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

Test(bridge, an_answer_is_given_once)
{
    page->cfg_flags[7] = 41;
    take_read(7);
    cr_assert(bridge_answer(&bridge, 7, 4, 0x74726976));
    cr_expect_eq(page->cfg_values[7], 0x74726976);
    cr_expect_eq(page->cfg_flags[7], 42);
    cr_expect_eq(answers, 1);
    cr_expect_eq(flag_when_answered, 42, "the vCPU is woken after that");
    cr_expect_not(bridge_answer(&bridge, 7, 4, 5));
    cr_expect_eq(page->cfg_values[7], 0x74726976);
    cr_expect_eq(page->cfg_flags[7], 42);
    cr_expect_eq(answers, 1);
    cr_expect_eq(bridge.counters.refused, 1);
    cr_expect_eq(bridge.counters.answered, 1);
}

static void next_read(uint32_t cpu)
{
    when_answered = NULL;
    take_read(cpu);
}

Test(bridge, the_next_request_may_come_as_soon_as_the_flag_changed)
{
    when_answered = next_read;
    take_read(7);
    cr_assert(bridge_answer(&bridge, 7, 4, 1));
    cr_assert(bridge_answer(&bridge, 7, 4, 2));
    cr_expect_eq(page->cfg_flags[7], 2);
    when_answered = next_read;
    take_read(8);
    bridge_answer_all(&bridge);
    cr_assert(bridge_answer(&bridge, 8, 4, 1));
}

Test(bridge, answers_come_in_any_order)
{
    take_read(0);
    take_read(31);
    cr_assert(bridge_answer(&bridge, 31, 4, 31));
    cr_assert(bridge_answer(&bridge, 0, 4, 100));
    cr_expect_eq(page->cfg_values[31], 31);
    cr_expect_eq(page->cfg_values[0], 100);
    cr_expect_eq(page->cfg_flags[0] + page->cfg_flags[31], 2);
}

Test(bridge, a_notification_is_not_answered)
{
    struct bridge_access access;
    for (uint8_t write = 0; write <= 1; write++) { /* a read of the same address is one too */
        struct hvv_bridge_request request = a_read(4);
        request.is_write = write;
        request.need_interrupt = 1;
        hand_over(request);
        cr_assert(take(&access));
        cr_expect_not(access.waits);
        cr_expect_not(bridge_answer(&bridge, 4, 4, 9));
    }
    cr_expect_eq(page->cfg_flags[4], 0);
    cr_expect_eq(page->cfg_values[4], 0);
    cr_expect_eq(bridge.counters.refused, 2);
}

Test(bridge, the_offset_does_not_say_who_waits)
{
    struct bridge_access access;
    struct hvv_bridge_request request = a_read(4);
    request.address = 0xa003c50;
    request.is_write = 1;
    hand_over(request);
    cr_assert(take(&access));
    cr_expect(access.waits);
    cr_expect(bridge_answer(&bridge, 4, 4, 0));
    cr_expect_eq(page->cfg_flags[4], 1);
}

Test(bridge, an_answer_to_no_cpu_is_refused)
{
    take_read(0);
    cr_expect_not(bridge_answer(&bridge, 32, 4, 9));
    cr_expect_not(bridge_answer(&bridge, UINT32_MAX, 4, 9));
    cr_expect_eq(bridge.outstanding, 1);
}

Test(bridge, at_the_end_all_are_answered)
{
    take_read(3);
    take_read(30);
    page->cfg_values[3] = 5;
    bridge_answer_all(&bridge);
    cr_expect_eq(page->cfg_values[3], 0);
    cr_expect_eq(page->cfg_flags[3], 1);
    cr_expect_eq(page->cfg_flags[30], 1);
    cr_expect_eq(page->cfg_flags[0], 0);
    cr_expect_eq(answers, 2);
    cr_expect_not(bridge_answer(&bridge, 3, 4, 9), "too late");
    bridge_answer_all(&bridge);
    cr_expect_eq(page->cfg_flags[3], 1);
}

/* ---- producers that break the rules ---------------------------------------------------------- */

Test(bridge, an_invalid_request_is_answered_with_0)
{
    static const uint64_t sizes[] = {0, 3, 5, 9, 256 + 4, (1ull << 32) + 4, UINT64_MAX};
    struct bridge_access access;
    uint64_t flag = 0;
    page->cfg_values[6] = 1;
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct hvv_bridge_request request = a_read(6);
        request.size = sizes[i];
        hand_over(request);
        cr_expect_not(take(&access), "size %lu", sizes[i]);
        cr_expect_eq(page->cfg_flags[6], ++flag);
        cr_expect_eq(page->cfg_values[6], 0);
    }
    struct hvv_bridge_request request = a_read(6);
    request.src_zone = HVV_BRIDGE_ZONES;
    hand_over(request);
    cr_expect_not(take(&access));
    cr_expect_eq(page->cfg_flags[6], ++flag);
    cr_expect_eq(bridge.counters.invalid, flag);
    take_read(6);
    cr_expect(bridge_answer(&bridge, 6, 4, 1), "the CPU is served as before");
}

Test(bridge, what_cannot_be_answered_is_dropped)
{
    struct bridge_access access;
    hand_over(a_read(32));
    hand_over(a_read(1ull << 32));
    struct hvv_bridge_request request = a_read(6);
    request.need_interrupt = 1;
    request.size = 3;
    hand_over(request);
    hand_over(a_read(5));
    cr_assert(take(&access), "what comes behind is taken");
    cr_expect_eq(access.cpu, 5);
    cr_expect_eq(bridge.counters.invalid, 3);
    cr_expect_eq(answers, 0);
}

Test(bridge, a_second_request_of_a_cpu_that_waits_is_dropped)
{
    struct bridge_access access;
    take_read(9);
    hand_over(a_read(9));
    struct hvv_bridge_request invalid = a_read(9);
    invalid.size = 3; /* answering this one would be the answer to the first */
    hand_over(invalid);
    cr_expect_not(take(&access));
    cr_expect_eq(bridge.counters.repeated, 2);
    cr_expect_eq(page->cfg_flags[9], 0);
    cr_expect(bridge_answer(&bridge, 9, 4, 1));
    cr_expect_not(bridge_answer(&bridge, 9, 4, 1));
    cr_expect_eq(page->cfg_flags[9], 1);
    take_read(9);
}

Test(bridge, invalid_entries_without_end_do_not_keep_the_thread)
{
    struct bridge_access access;
    page->req_rear = 31;
    for (unsigned i = 0; i < HVV_BRIDGE_ENTRIES; i++)
        page->req_list[i] = a_read(32);
    cr_expect_not(take(&access));
    cr_expect_eq(bridge.counters.invalid, 31);
    page->req_rear = 30; /* 31 more */
    cr_expect_not(bridge_may_sleep(&bridge));
    cr_expect_not(take(&access));
    cr_expect(bridge_may_sleep(&bridge));
}

Test(bridge, an_index_that_cannot_be_breaks_the_bridge)
{
    struct bridge_access access;
    take_read(2);
    hand_over(a_read(3));
    page->req_rear = 32;
    cr_expect_not(bridge_may_sleep(&bridge), "somebody has to look at it");
    cr_expect_not(take(&access));
    cr_expect(bridge_broken(&bridge));
    page->req_rear = 2;
    cr_expect_not(take(&access), "it stays broken");
    cr_expect_not(bridge_has_room(&bridge));
    cr_expect_not(bridge_push_interrupt(&bridge, 1, 1));
    cr_expect(bridge_may_sleep(&bridge), "no reason to stay awake");
    cr_expect(bridge_answer(&bridge, 2, 4, 1), "who waits is let go");
}

Test(bridge, a_broken_bridge_is_reported_once)
{
    struct bridge_access access;
    FILE *file = tmpfile();
    char text[4096];
    cr_assert(file && dup2(fileno(file), 2) == 2);
    page->req_rear = 0x80000001;
    for (int i = 0; i < 3; i++)
        take(&access);
    page->res_front = 99;
    bridge_has_room(&bridge);
    rewind(file);
    size_t n = fread(text, 1, sizeof(text) - 1, file);
    text[n] = '\0';
    cr_expect(strstr(text, "test: req_rear is 2147483649"), "%s", text);
    cr_expect_eq(strchr(text, '\n'), strrchr(text, '\n'), "more than one line: %s", text);
    fclose(file);
}

/* Who waits since the page before this one is let go; nobody else gets an answer too many. */
Test(bridge, cpus_not_heard_of_are_released_once)
{
    take_read(3);
    take_read(4);
    cr_assert(bridge_answer(&bridge, 4, 4, 7));
    struct hvv_bridge_request notify = a_read(5);
    notify.need_interrupt = 1;
    struct bridge_access access;
    hand_over(notify);
    cr_assert(take(&access));
    page->cfg_values[6] = 99;
    bridge_release_unheard(&bridge);
    for (unsigned cpu = 0; cpu < HVV_BRIDGE_CPUS; cpu++)
        cr_expect_eq(page->cfg_flags[cpu], cpu == 3 || cpu == 5 ? 0 : 1, "CPU %u", cpu);
    cr_expect_eq(page->cfg_values[6], 0);
    cr_expect_eq(page->cfg_values[4], 7);
    cr_expect(bridge_answer(&bridge, 3, 4, 1), "who was heard of waits for the real one");
    take_read(6);
    cr_expect(bridge_answer(&bridge, 6, 4, 1));
    cr_expect_eq(page->cfg_flags[6], 2);
}

/* ---- sleeping -------------------------------------------------------------------------------- */

Test(bridge, wake_ups_are_asked_for_only_while_asleep)
{
    struct bridge_access access;
    cr_expect(bridge_may_sleep(&bridge));
    cr_expect_eq(page->need_wakeup, 1);
    bridge_awake(&bridge);
    cr_expect_eq(page->need_wakeup, 0);
    hand_over(a_read(1));
    cr_expect_not(bridge_may_sleep(&bridge), "there is something to take");
    cr_expect_eq(page->need_wakeup, 0);
    cr_assert(take(&access));
    cr_expect(bridge_may_sleep(&bridge));
}

/* ---- interrupts ------------------------------------------------------------------------------ */

Test(bridge, interrupts_until_the_list_is_full)
{
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < HVV_BRIDGE_ENTRIES - 1; i++) {
            uint32_t at = page->res_rear;
            cr_assert(bridge_has_room(&bridge));
            cr_assert(bridge_push_interrupt(&bridge, i, 1000 + i));
            cr_expect_eq(page->res_list[at].target_zone, i);
            cr_expect_eq(page->res_list[at].irq_id, 1000 + i);
        }
        uint32_t rear = page->res_rear;
        cr_expect_not(bridge_has_room(&bridge));
        cr_expect_not(bridge_push_interrupt(&bridge, 0, 0));
        cr_expect_eq(page->res_rear, rear);
        page->res_front = (page->res_front + 1) % HVV_BRIDGE_ENTRIES;
        cr_expect(bridge_push_interrupt(&bridge, 0, 0), "one was taken");
        cr_expect_not(bridge_has_room(&bridge));
        page->res_front = page->res_rear;
    }
}

Test(bridge, our_indices_are_ours)
{
    struct bridge_access access;
    take_read(1);
    page->req_front = 20;
    page->res_rear = 20;
    hand_over(a_read(2));
    cr_assert(take(&access));
    cr_expect_eq(access.cpu, 2);
    cr_expect_eq(page->req_front, 2);
    cr_expect_eq(bridge.counters.invalid, 0);
    cr_assert(bridge_push_interrupt(&bridge, 1, 7));
    cr_expect_eq(page->res_list[0].irq_id, 7);
    cr_expect_eq(page->res_rear, 1);
}

Test(bridge, a_consumer_that_breaks_the_rules_breaks_the_bridge)
{
    log_set_level(HVV_LOG_ERROR);
    page->res_front = 32;
    cr_expect_not(bridge_push_interrupt(&bridge, 1, 7));
    cr_expect(bridge_broken(&bridge));
    cr_expect_eq(page->res_rear, 0);
}
