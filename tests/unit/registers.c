/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the device core sees of the register file: effects, answers, the operation in progress, and
 * what it can log of a bad driver. What a driver sees is in tests/conformance.
 */
#include "transport/mmio/registers.h"

#include <criterion/criterion.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <string.h>

#define QUEUE_RESET 0x0c0 /* newer than some kernel headers */
#define FEATURE(N) (1ull << (N))
#define VERSION_1 FEATURE(32)
#define PACKED FEATURE(34)
#define RING_RESET FEATURE(40)
#define STEPS (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
#define NEGOTIATED (STEPS | VIRTIO_CONFIG_S_FEATURES_OK)
#define LIVE (NEGOTIATED | VIRTIO_CONFIG_S_DRIVER_OK)
#define N_QUEUES 3u

static struct {
    struct registers registers;
    struct registers_device device;
    struct registers_queue queue[N_QUEUES];
    _Atomic uint32_t interrupts;
    atomic_bool needs_reset;
    uint32_t config_calls, config_offset, config_size;
    const char *refuse; /* what check() says */
    uint32_t checked;   /* queue it last looked at */
} t;

static const uint32_t queue_size[N_QUEUES] = {256, 100, 0};

static uint32_t config_read(void *arg, uint32_t offset, void *data, uint32_t size)
{
    cr_assert_eq(arg, &t);
    cr_assert(offset <= HVV_CONFIG_MAX && size <= HVV_CONFIG_MAX - offset, "%u bytes at %u", size,
              offset);
    t.config_calls++;
    t.config_offset = offset;
    t.config_size = size;
    for (uint32_t i = 0; i < size; i++)
        ((uint8_t *)data)[i] = (uint8_t)(offset + i + 1);
    return 0xfeed;
}

static bool check(void *arg, uint32_t index, const struct registers_queue *queue, char *why,
                  size_t size)
{
    cr_assert_eq(arg, &t);
    cr_assert_eq(queue, &t.queue[index]);
    t.checked = index;
    if (t.refuse)
        snprintf(why, size, "%s", t.refuse);
    return !t.refuse;
}

static void make(uint64_t features)
{
    memset(&t, 0, sizeof(t));
    t.device = (struct registers_device){
        .device_id = 2,
        .vendor_id = 7,
        .features = features,
        .n_queues = N_QUEUES,
        .queue_size = queue_size,
        .interrupts = &t.interrupts,
        .needs_reset = &t.needs_reset,
        .arg = &t,
        .config_read = config_read,
        .check = check,
    };
    registers_init(&t.registers, &t.device, t.queue);
}

static struct registers_result put(uint64_t offset, uint64_t value)
{
    return registers_write(&t.registers, offset, 4, value);
}

static uint64_t get(uint64_t offset)
{
    struct registers_result r = registers_read(&t.registers, offset, 4);
    cr_assert_eq(r.answer, REGISTERS_NOW);
    cr_assert_eq(r.effect, REGISTERS_NONE);
    return r.value;
}

#define ASSERT_RESULT(R, ANSWER, EFFECT)                                                           \
    do {                                                                                           \
        struct registers_result result_ = (R);                                                     \
        cr_assert_eq(result_.answer, ANSWER, "answer %d", (int)result_.answer);                    \
        cr_assert_eq(result_.effect, EFFECT, "effect %d", (int)result_.effect);                    \
    } while (0)

#define ASSERT_ERROR(R, TEXT)                                                                      \
    do {                                                                                           \
        struct registers_result result_ = (R);                                                     \
        cr_assert_neq(result_.error, NULL, "no error");                                            \
        cr_assert_str_eq(result_.error, TEXT);                                                     \
    } while (0)

static void set_features(uint64_t features)
{
    put(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    put(VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
    put(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    put(VIRTIO_MMIO_DRIVER_FEATURES, features >> 32);
}

static void negotiate(uint64_t features)
{
    put(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    put(VIRTIO_MMIO_STATUS, STEPS);
    set_features(features);
    ASSERT_RESULT(put(VIRTIO_MMIO_STATUS, NEGOTIATED), REGISTERS_NOW, REGISTERS_FEATURES_OK);
}

static void start(uint64_t features)
{
    make(features);
    negotiate(features);
    put(VIRTIO_MMIO_QUEUE_SEL, 0);
    put(VIRTIO_MMIO_QUEUE_NUM, 64);
    put(VIRTIO_MMIO_QUEUE_READY, 1);
    ASSERT_RESULT(put(VIRTIO_MMIO_STATUS, LIVE), REGISTERS_WHEN_DONE, REGISTERS_DRIVER_OK);
    cr_assert(registers_driver_ok_done(&t.registers));
    cr_assert_eq(t.registers.errors, 0, "%s", t.registers.error);
}

/* ---- effects --------------------------------------------------------------------------------- */

Test(registers, features_ok_carries_the_features)
{
    make(VERSION_1 | FEATURE(5) | FEATURE(63));
    cr_assert_eq(registers_features(&t.registers), 0);
    put(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    put(VIRTIO_MMIO_STATUS, STEPS);
    set_features(VERSION_1 | FEATURE(63));
    cr_assert_eq(registers_features(&t.registers), 0);
    struct registers_result r = put(VIRTIO_MMIO_STATUS, NEGOTIATED);
    ASSERT_RESULT(r, REGISTERS_NOW, REGISTERS_FEATURES_OK);
    cr_assert_eq(r.data, VERSION_1 | FEATURE(63));
    cr_assert_eq(registers_features(&t.registers), VERSION_1 | FEATURE(63));
    ASSERT_RESULT(put(VIRTIO_MMIO_STATUS, NEGOTIATED), REGISTERS_NOW, REGISTERS_NONE);
}

Test(registers, both_bits_in_one_write)
{
    make(VERSION_1);
    put(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    put(VIRTIO_MMIO_STATUS, STEPS);
    set_features(VERSION_1);
    struct registers_result r = put(VIRTIO_MMIO_STATUS, LIVE);
    ASSERT_RESULT(r, REGISTERS_WHEN_DONE, REGISTERS_DRIVER_OK);
    cr_assert_eq(r.data, VERSION_1);
    cr_assert_eq(get(VIRTIO_MMIO_STATUS), NEGOTIATED);
    cr_assert(registers_driver_ok_done(&t.registers));
    cr_assert_eq(get(VIRTIO_MMIO_STATUS), LIVE);
    cr_assert_eq(t.registers.errors, 0);
}

Test(registers, a_refusal_has_no_effect)
{
    make(VERSION_1);
    set_features(VERSION_1 | FEATURE(1));
    struct registers_result r = put(VIRTIO_MMIO_STATUS, LIVE);
    ASSERT_RESULT(r, REGISTERS_NOW, REGISTERS_NONE);
    cr_assert_eq(r.data, 0);
    cr_assert_eq(t.registers.busy, REGISTERS_NONE);
}

Test(registers, notify)
{
    start(VERSION_1);
    struct registers_result r = put(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    ASSERT_RESULT(r, REGISTERS_NOW, REGISTERS_NOTIFY);
    cr_assert_eq(r.queue, 0);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_NOTIFY, 1), REGISTERS_NOW, REGISTERS_NONE);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_NOTIFY, 2), REGISTERS_NOW, REGISTERS_NONE);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_NOTIFY, N_QUEUES), REGISTERS_NOW, REGISTERS_NONE);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_NOTIFY, 0x10000), REGISTERS_NOW, REGISTERS_NONE);
    cr_assert_eq(t.registers.errors, 4);
}

Test(registers, acknowledge_says_what_it_cleared)
{
    start(VERSION_1);
    struct registers_result r = put(VIRTIO_MMIO_INTERRUPT_ACK, 1);
    ASSERT_RESULT(r, REGISTERS_NOW, REGISTERS_ACKNOWLEDGE);
    cr_assert_eq(r.data, 0);
    atomic_store(&t.interrupts, 3);
    r = put(VIRTIO_MMIO_INTERRUPT_ACK, 0xffffffff);
    cr_assert_eq(r.data, 3);
    atomic_store(&t.interrupts, 0x80000001);
    cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    r = put(VIRTIO_MMIO_INTERRUPT_ACK, 0xffffffff);
    cr_assert_eq(r.data, 1);
}

Test(registers, config_write)
{
    make(VERSION_1);
    struct registers_result r =
        registers_write(&t.registers, 0x103, 2, UINT64_C(0x1122334455667788));
    ASSERT_RESULT(r, REGISTERS_WHEN_DONE, REGISTERS_CONFIG_WRITE);
    cr_assert_eq(r.offset, 3);
    cr_assert_eq(r.size, 2);
    cr_assert_eq(r.data, 0x7788);
    cr_assert(registers_config_written(&t.registers));
    r = registers_write(&t.registers, 0x1f8, 8, UINT64_C(0x1122334455667788));
    cr_assert_eq(r.offset, 0xf8);
    cr_assert_eq(r.data, UINT64_C(0x1122334455667788));
    cr_assert(registers_config_written(&t.registers));
    ASSERT_RESULT(registers_write(&t.registers, 0x1f9, 8, 0), REGISTERS_NOW, REGISTERS_NONE);
    ASSERT_RESULT(registers_write(&t.registers, 0x100, 3, 0), REGISTERS_NOW, REGISTERS_NONE);
    ASSERT_RESULT(registers_write(&t.registers, 0x100, 0, 0), REGISTERS_NOW, REGISTERS_NONE);
    ASSERT_RESULT(registers_write(&t.registers, 0x100, UINT64_MAX, 0), REGISTERS_NOW,
                  REGISTERS_NONE);
}

Test(registers, config_read)
{
    make(VERSION_1);
    cr_assert_eq(registers_read(&t.registers, 0x102, 8).value, UINT64_C(0x0a09080706050403));
    cr_assert_eq(t.config_offset, 2);
    cr_assert_eq(registers_read(&t.registers, 0x1ff, 1).value, 0);
    cr_assert_eq(registers_read(&t.registers, 0x1fe, 1).value, 0xff);
    uint32_t calls = t.config_calls;
    cr_assert_eq(registers_read(&t.registers, 0x1ff, 2).value, 0);
    cr_assert_eq(registers_read(&t.registers, 0x200, 1).value, 0);
    cr_assert_eq(registers_read(&t.registers, UINT64_MAX, 8).value, 0);
    cr_assert_eq(registers_read(&t.registers, 0x100, 16).value, 0);
    cr_assert_eq(t.config_calls, calls);
    cr_assert_eq(get(VIRTIO_MMIO_CONFIG_GENERATION), 0xfeed);
}

/* ---- queues ---------------------------------------------------------------------------------- */

Test(registers, a_queue_is_checked_before_it_is_ready)
{
    start(VERSION_1);
    put(VIRTIO_MMIO_QUEUE_SEL, 1);
    put(VIRTIO_MMIO_QUEUE_NUM, 64);
    t.refuse = "no memory at 0x1000";
    struct registers_result r = put(VIRTIO_MMIO_QUEUE_READY, 1);
    ASSERT_RESULT(r, REGISTERS_NOW, REGISTERS_NONE);
    ASSERT_ERROR(r, "QueueReady refused: queue 1: no memory at 0x1000");
    cr_assert_eq(t.checked, 1);
    cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 0);
    t.refuse = NULL;
    r = put(VIRTIO_MMIO_QUEUE_READY, 1);
    ASSERT_RESULT(r, REGISTERS_WHEN_DONE, REGISTERS_QUEUE_START);
    cr_assert_eq(r.queue, 1);
    cr_assert(registers_queue_started(&t.registers, 1, true));
    cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 1);
}

Test(registers, a_queue_may_fail_to_start)
{
    start(VERSION_1);
    put(VIRTIO_MMIO_QUEUE_SEL, 1);
    put(VIRTIO_MMIO_QUEUE_NUM, 64);
    put(VIRTIO_MMIO_QUEUE_READY, 1);
    cr_assert(registers_queue_started(&t.registers, 1, false));
    cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 0);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_READY, 1), REGISTERS_WHEN_DONE, REGISTERS_QUEUE_START);
}

Test(registers, a_packed_ring_may_have_any_size)
{
    make(VERSION_1 | PACKED);
    set_features(VERSION_1 | PACKED);
    put(VIRTIO_MMIO_QUEUE_SEL, 1);
    put(VIRTIO_MMIO_QUEUE_NUM, 99);
    put(VIRTIO_MMIO_QUEUE_READY, 1);
    cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 0, "which format it is was not negotiated yet");
    negotiate(VERSION_1 | PACKED);
    put(VIRTIO_MMIO_QUEUE_NUM, 101);
    put(VIRTIO_MMIO_QUEUE_READY, 1);
    cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 0, "one more than the maximum");
    put(VIRTIO_MMIO_QUEUE_NUM, 99);
    put(VIRTIO_MMIO_QUEUE_READY, 1);
    cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 1);
    start(VERSION_1);
    put(VIRTIO_MMIO_QUEUE_SEL, 1);
    put(VIRTIO_MMIO_QUEUE_NUM, 99);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_READY, 1), REGISTERS_NOW, REGISTERS_NONE);
}

/* Some drivers do; the size counts for both formats of a ring then. */
Test(registers, ready_before_features_ok_is_taken)
{
    make(VERSION_1);
    put(VIRTIO_MMIO_QUEUE_SEL, 0);
    put(VIRTIO_MMIO_QUEUE_NUM, 64);
    ASSERT_ERROR(put(VIRTIO_MMIO_QUEUE_READY, 1),
                 "QueueReady of queue 0 written before FEATURES_OK");
    cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 1);
    negotiate(VERSION_1);
    cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 1);
}

Test(registers, queue_reset_before_features_ok_is_refused)
{
    make(VERSION_1 | RING_RESET);
    set_features(VERSION_1 | RING_RESET);
    put(VIRTIO_MMIO_QUEUE_NUM, 64);
    ASSERT_ERROR(put(QUEUE_RESET, 1), "QueueReset of queue 0 written without RING_RESET (bit 40)");
    cr_assert_eq(t.queue[0].size, 64);
}

Test(registers, stop_and_reset_before_driver_ok_take_no_time)
{
    make(VERSION_1 | RING_RESET);
    negotiate(VERSION_1 | RING_RESET);
    put(VIRTIO_MMIO_QUEUE_NUM, 64);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_READY, 1), REGISTERS_NOW, REGISTERS_NONE);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_READY, 0), REGISTERS_NOW, REGISTERS_NONE);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_READY, 1), REGISTERS_NOW, REGISTERS_NONE);
    ASSERT_RESULT(put(QUEUE_RESET, 1), REGISTERS_NOW, REGISTERS_NONE);
    cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 0);
    cr_assert_eq(t.queue[0].size, 0);
}

Test(registers, a_stopped_queue_has_nothing_to_stop)
{
    start(VERSION_1 | RING_RESET);
    put(VIRTIO_MMIO_QUEUE_SEL, 1);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_READY, 0), REGISTERS_NOW, REGISTERS_NONE);
    ASSERT_RESULT(put(QUEUE_RESET, 1), REGISTERS_NOW, REGISTERS_NONE);
    put(VIRTIO_MMIO_QUEUE_SEL, 0);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_READY, 1), REGISTERS_NOW, REGISTERS_NONE);
    struct registers_result r = put(QUEUE_RESET, 1);
    ASSERT_RESULT(r, REGISTERS_WHEN_DONE, REGISTERS_QUEUE_RESET);
    cr_assert_eq(r.queue, 0);
}

/* ---- an operation in progress ---------------------------------------------------------------- */

Test(registers, done_only_for_what_is_in_progress)
{
    start(VERSION_1);
    struct registers before;
    memcpy(&before, &t.registers, sizeof(before)); /* padding too */
    cr_assert_not(registers_reset_done(&t.registers));
    cr_assert_not(registers_driver_ok_done(&t.registers));
    cr_assert_not(registers_queue_started(&t.registers, 0, true));
    cr_assert_not(registers_queue_stopped(&t.registers, 0));
    cr_assert_not(registers_queue_reset_done(&t.registers, 0));
    cr_assert_not(registers_config_written(&t.registers));
    cr_assert_arr_eq(&before, &t.registers, sizeof(before));
    put(VIRTIO_MMIO_QUEUE_READY, 0);
    cr_assert_not(registers_queue_stopped(&t.registers, 1));
    cr_assert_not(registers_queue_reset_done(&t.registers, 0));
    cr_assert_not(registers_reset_done(&t.registers));
    cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 1);
    cr_assert(registers_queue_stopped(&t.registers, 0));
    cr_assert_not(registers_queue_stopped(&t.registers, 0));
}

Test(registers, what_waits_has_no_effect)
{
    start(VERSION_1 | RING_RESET);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_READY, 0), REGISTERS_WHEN_DONE, REGISTERS_QUEUE_STOP);
    struct registers before;
    memcpy(&before, &t.registers, sizeof(before)); /* padding too */
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_READY, 0), REGISTERS_AGAIN, REGISTERS_NONE);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_READY, 1), REGISTERS_AGAIN, REGISTERS_NONE);
    ASSERT_RESULT(put(QUEUE_RESET, 1), REGISTERS_AGAIN, REGISTERS_NONE);
    ASSERT_RESULT(put(VIRTIO_MMIO_STATUS, LIVE | VIRTIO_CONFIG_S_FAILED), REGISTERS_AGAIN,
                  REGISTERS_NONE);
    ASSERT_RESULT(put(VIRTIO_MMIO_STATUS, 0), REGISTERS_AGAIN, REGISTERS_NONE);
    ASSERT_RESULT(put(VIRTIO_MMIO_CONFIG, 0), REGISTERS_AGAIN, REGISTERS_NONE);
    cr_assert_arr_eq(&before, &t.registers, sizeof(before));
    cr_assert(registers_queue_stopped(&t.registers, 0));
    ASSERT_RESULT(put(VIRTIO_MMIO_STATUS, 0), REGISTERS_WHEN_DONE, REGISTERS_RESET);
    ASSERT_RESULT(put(VIRTIO_MMIO_STATUS, 0), REGISTERS_WHEN_DONE, REGISTERS_NONE);
    ASSERT_RESULT(put(VIRTIO_MMIO_STATUS, UINT64_C(0x100000000)), REGISTERS_WHEN_DONE,
                  REGISTERS_NONE);
    ASSERT_RESULT(put(VIRTIO_MMIO_STATUS, 1), REGISTERS_AGAIN, REGISTERS_NONE);
}

/* Any of them may come with nobody waiting for the answer. */
Test(registers, notifications_never_wait)
{
    start(VERSION_1);
    put(VIRTIO_MMIO_STATUS, 0);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_NOTIFY, 0), REGISTERS_NOW, REGISTERS_NONE);
    cr_assert_eq(t.registers.errors, 0, "%s", t.registers.error);
    registers_reset_done(&t.registers);
    negotiate(VERSION_1);
    put(VIRTIO_MMIO_QUEUE_NUM, 64);
    put(VIRTIO_MMIO_QUEUE_READY, 1);
    put(VIRTIO_MMIO_STATUS, LIVE);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_NOTIFY, 0), REGISTERS_NOW, REGISTERS_NOTIFY);
    registers_driver_ok_done(&t.registers);
    registers_write(&t.registers, VIRTIO_MMIO_CONFIG, 1, 0);
    ASSERT_RESULT(put(VIRTIO_MMIO_QUEUE_NOTIFY, 0), REGISTERS_NOW, REGISTERS_NOTIFY);
    ASSERT_RESULT(put(VIRTIO_MMIO_INTERRUPT_ACK, 1), REGISTERS_NOW, REGISTERS_ACKNOWLEDGE);
}

Test(registers, reset_clears_interrupts_at_its_end)
{
    start(VERSION_1);
    put(VIRTIO_MMIO_STATUS, 0);
    atomic_store(&t.interrupts, 3);
    cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), 3);
    registers_reset_done(&t.registers);
    cr_assert_eq(atomic_load(&t.interrupts), 0);
    cr_assert_eq(t.queue[0].size, 0);
    cr_assert_not(t.queue[0].ready);
}

Test(registers, needs_reset_is_the_owners)
{
    start(VERSION_1);
    atomic_store(&t.needs_reset, true);
    cr_assert_eq(get(VIRTIO_MMIO_STATUS), LIVE | VIRTIO_CONFIG_S_NEEDS_RESET);
    put(VIRTIO_MMIO_STATUS, LIVE | VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED);
    cr_assert_eq(t.registers.errors, 0, "a driver may write back what it read");
    atomic_store(&t.needs_reset, false);
    cr_assert_eq(get(VIRTIO_MMIO_STATUS), LIVE | VIRTIO_CONFIG_S_FAILED);
}

/* ---- errors ---------------------------------------------------------------------------------- */

Test(registers, the_first_error_is_told_once)
{
    start(VERSION_1);
    struct registers_result r = put(VIRTIO_MMIO_QUEUE_NOTIFY, 77);
    ASSERT_ERROR(r, "QueueNotify 0x4d: the device has 3 queues");
    cr_assert_eq(put(VIRTIO_MMIO_QUEUE_NOTIFY, 78).error, NULL);
    cr_assert_eq(registers_read(&t.registers, 1, 1).error, NULL);
    cr_assert_eq(t.registers.errors, 3);
    cr_assert_str_eq(t.registers.error, "QueueNotify 0x4d: the device has 3 queues");
    put(VIRTIO_MMIO_STATUS, 0);
    registers_reset_done(&t.registers);
    cr_assert_str_empty(t.registers.error);
    cr_assert_eq(t.registers.errors, 3, "the count outlives a reset");
    ASSERT_ERROR(put(VIRTIO_MMIO_QUEUE_NOTIFY, 0), "QueueNotify 0 before DRIVER_OK");
}

struct wrong {
    uint64_t offset, size, value;
    bool read, live;
    const char *text;
};

static const struct wrong wrongs[] = {
    {VIRTIO_MMIO_STATUS, 4, 4, false, false,
     "Status 0x4 skips a step: the order is ACKNOWLEDGE (1), DRIVER (2), FEATURES_OK (8), "
     "DRIVER_OK (4)"},
    {VIRTIO_MMIO_STATUS, 4, 0x31, false, false,
     "Status 0x31 has bits that are not defined (0xcf are)"},
    {VIRTIO_MMIO_STATUS, 4, 7, false, true,
     "Status 0x7 is without bits of 0xf: only 0 clears them"},
    {VIRTIO_MMIO_DRIVER_FEATURES, 4, 9, false, true,
     "DriverFeatures written (0x9, word 1) after FEATURES_OK"},
    {VIRTIO_MMIO_QUEUE_NUM, 4, 8, false, true,
     "QueueNum of queue 0 written (0x8) while QueueReady is 1"},
    {VIRTIO_MMIO_QUEUE_READY, 4, 2, false, true, "QueueReady 0x2 of queue 0: it is 0 or 1"},
    {VIRTIO_MMIO_QUEUE_READY, 4, 1, false, false,
     "QueueReady refused: QueueNum 0 of queue 0 is not within 1 to 256"},
    {QUEUE_RESET, 4, 1, false, true, "QueueReset of queue 0 written without RING_RESET (bit 40)"},
    {VIRTIO_MMIO_INTERRUPT_ACK, 4, 4, false, true,
     "InterruptACK 0x4 has bits that are not defined (0x3 are)"},
    {VIRTIO_MMIO_QUEUE_DESC_HIGH, 8, 1, false, true,
     "a write of 8 bytes at 0x84: control registers take aligned accesses of 4 bytes"},
    {0x28, 4, 4096, false, true, "a write at 0x28: there is no register in MMIO version 2"},
    {VIRTIO_MMIO_QUEUE_SEL, 4, 0, true, true, "a read of QueueSel, which is for writing only"},
    {VIRTIO_MMIO_QUEUE_NUM_MAX, 4, 0, false, true,
     "a write of QueueNumMax, which is for reading only"},
    {0x1fd, 4, 0, true, true, "a read of 4 bytes at 0x1fd: registers end at 0x200"},
    {UINT64_MAX, 1, 0, false, true,
     "a write of 1 bytes at 0xffffffffffffffff: registers end at 0x200"},
};

Test(registers, errors_name_value_and_limit)
{
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        const struct wrong *w = &wrongs[i];
        struct registers_result r;
        if (w->live)
            start(VERSION_1);
        else
            make(VERSION_1);
        r = w->read ? registers_read(&t.registers, w->offset, w->size)
                    : registers_write(&t.registers, w->offset, w->size, w->value);
        ASSERT_ERROR(r, w->text);
    }
}

Test(registers, refused_features_are_named)
{
    make(VERSION_1);
    put(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    put(VIRTIO_MMIO_STATUS, STEPS);
    set_features(VERSION_1 | FEATURE(3));
    ASSERT_ERROR(put(VIRTIO_MMIO_STATUS, NEGOTIATED),
                 "FEATURES_OK refused: of the features 0x100000008, 0x8 are not offered");
}

Test(registers, a_selection_out_of_range_is_no_error)
{
    start(VERSION_1);
    put(VIRTIO_MMIO_QUEUE_SEL, 0xffffffff);
    cr_assert_eq(get(VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    cr_assert_eq(t.registers.errors, 0, "a driver finds out this way how many queues there are");
    ASSERT_ERROR(put(VIRTIO_MMIO_QUEUE_NUM, 8),
                 "QueueNum written (0x8) for queue 4294967295, which is not available (the device "
                 "has 3)");
    put(VIRTIO_MMIO_QUEUE_SEL, 2);
    put(VIRTIO_MMIO_QUEUE_NUM, 8);
    cr_assert_eq(t.registers.errors, 2, "it has 3, but this one is not available");
    cr_assert_eq(t.queue[2].size, 0);
}

Test(registers, a_placeholder_blames_nobody)
{
    make(VERSION_1);
    t.device.device_id = 0;
    registers_init(&t.registers, &t.device, t.queue);
    for (uint64_t offset = 0; offset < 0x210; offset++) {
        ASSERT_RESULT(registers_write(&t.registers, offset, 4, 1), REGISTERS_NOW, REGISTERS_NONE);
        registers_read(&t.registers, offset, 4);
    }
    cr_assert_eq(get(VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    cr_assert_eq(get(VIRTIO_MMIO_VENDOR_ID), 0);
    cr_assert_eq(t.registers.errors, 0);
    cr_assert_eq(t.config_calls, 0);
}
