/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * driver-musts.c - drivers that break a MUST of theirs. What the device does then is mostly left to
 * it; that it goes on to work for a driver that keeps the rules is not. See conformance.h.
 */
#include "driver.h"

/* Registers by direction (4.2.2). */
static const uint16_t read_only[] = {
    MAGIC_VALUE, VERSION_NUMBER, DEVICE_ID, VENDOR_ID, DEVICE_FEATURES, QUEUE_NUM_MAX, INTERRUPT_STATUS,
    SHM_LEN, SHM_LEN + 4, SHM_BASE, SHM_BASE + 4, CONFIG_GENERATION,
};
static const uint16_t write_only[] = {
    DEVICE_FEATURES_SEL, DRIVER_FEATURES, DRIVER_FEATURES_SEL, QUEUE_SEL, QUEUE_NUM, QUEUE_NOTIFY,
    INTERRUPT_ACK, QUEUE_DESC, QUEUE_DESC + 4, QUEUE_DRIVER, QUEUE_DRIVER + 4, QUEUE_DEVICE,
    QUEUE_DEVICE + 4, SHM_SEL,
};
static const uint16_t both_ways[] = {QUEUE_READY, STATUS, QUEUE_RESET};
#define COUNT(ARRAY) (sizeof(ARRAY) / sizeof((ARRAY)[0]))

static const uint32_t bad_values[] = {0, 1, 2, 3, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000,
                                      0xffffffff};

static bool is_in(const uint16_t *list, size_t n, uint64_t offset)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] == offset)
            return true;
    }
    return false;
}

static bool is_register(uint64_t offset)
{
    return is_in(read_only, COUNT(read_only), offset) ||
           is_in(write_only, COUNT(write_only), offset) ||
           is_in(both_ways, COUNT(both_ways), offset);
}

/* What start(VERSION_1 | RING_RESET) left is still there, and a reset leads there again. */
static void expect_whole(struct conformance *c, const char *when)
{
    expect_get(c, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK, when);
    expect_runs(c, 0, 128, 0, when);
    expect_runs(c, 1, 8, 1, when);
    expect_notify(c, 0, true, when);
    expect_notify(c, 1, true, when);
    expect_config(c, c->device.config, when);
    start(c, VERSION_1 | RING_RESET);
    expect_runs(c, 0, 128, 0, "started again");
    expect_notify(c, 0, true, "started again");
}

/* ---- 2.1.1, 3.1.1: order --------------------------------------------------------------------- */

static void status_bits_cleared(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    unsigned resets = c->target->resets(c->slot);
    for (uint32_t value = 1; value < 0x80; value++) {
        put(c, STATUS, value);
        expect_get(c, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK, "with bits cleared");
    }
    put(c, STATUS, 0x100);
    expect(c, c->target->resets(c->slot) == resets, "the device was reset by a Status of not 0");
    expect_whole(c, "after attempts to clear bits of Status");
}

static void status_undefined_bits(struct conformance *c)
{
    put(c, STATUS, 0xffffff00 | 0x30 | ACKNOWLEDGE);
    expect_get(c, STATUS, ACKNOWLEDGE, "after bits that are not defined");
    put(c, STATUS, ACKNOWLEDGE | NEEDS_RESET);
    expect_get(c, STATUS, ACKNOWLEDGE, "after a driver wrote DEVICE_NEEDS_RESET");
}

static void on_after_failed(struct conformance *c)
{
    set_up(c, VERSION_1);
    add_status(c, FAILED);
    add_status(c, DRIVER_OK);
    expect(c, !(get(c, STATUS) & DRIVER_OK), "DRIVER_OK after FAILED was accepted");
    expect_idle(c, 0, "by DRIVER_OK after FAILED");
    put(c, STATUS, 0);
    add_status(c, ACKNOWLEDGE | DRIVER | FAILED);
    set_features(c, VERSION_1);
    add_status(c, FEATURES_OK);
    expect(c, !(get(c, STATUS) & FEATURES_OK), "FEATURES_OK after FAILED was accepted");
    start(c, VERSION_1 | RING_RESET);
    expect_whole(c, "reset after FAILED");
}

static void driver_ok_first(struct conformance *c)
{
    put(c, STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK);
    expect_get(c, STATUS, ACKNOWLEDGE | DRIVER, "after DRIVER_OK without FEATURES_OK");
    put(c, STATUS, 0);
    add_status(c, ACKNOWLEDGE | DRIVER);
    set_features(c, FEATURE(0));
    enable_queue(c, 0, 16, 0);
    add_status(c, FEATURES_OK | DRIVER_OK);
    expect_get(c, STATUS, ACKNOWLEDGE | DRIVER, "after DRIVER_OK with features refused");
    expect_idle(c, 0, "after DRIVER_OK with features refused");
}

static void features_late(struct conformance *c)
{
    negotiate(c, VERSION_1);
    set_features(c, c->device.features);
    expect(c, c->target->features(c->slot) == VERSION_1, "the device was told of other features");
    put(c, QUEUE_SEL, 0);
    enable_queue(c, 0, 128, 0);
    put(c, QUEUE_RESET, 1);
    expect_get(c, QUEUE_READY, 1, "after QueueReset, whose feature was set too late");
    add_status(c, DRIVER_OK);
    expect(c, c->target->features(c->slot) == VERSION_1, "the device was told of other features");
}

static void notify_early(struct conformance *c)
{
    for (uint32_t queue = 0; queue < CONFORMANCE_QUEUES; queue++)
        expect_notify(c, queue, false, "in a new device");
    set_up(c, VERSION_1);
    expect_notify(c, 0, false, "before DRIVER_OK");
    put(c, STATUS, 0);
    start(c, VERSION_1 | RING_RESET);
    expect_whole(c, "notified early");
}

/* ---- 4.2.2.2: accesses ----------------------------------------------------------------------- */

static void wrong_access(struct conformance *c, uint64_t offset, unsigned size)
{
    uint64_t value = c->target->read(c->slot, 0, offset, size);
    expect(c, value == 0, "%u bytes at %#llx read as %#llx", size, (unsigned long long)offset,
           (unsigned long long)value);
    for (size_t i = 0; i < COUNT(bad_values); i++)
        c->target->write(c->slot, 0, offset, size, bad_values[i]);
}

static void other_widths(struct conformance *c)
{
    static const unsigned sizes[] = {1, 2, 4, 8};
    start(c, VERSION_1 | RING_RESET);
    put(c, QUEUE_SEL, 0);
    for (uint64_t offset = 0; offset < CONFIG; offset++) {
        for (size_t i = 0; i < COUNT(sizes); i++) {
            if (sizes[i] != 4 || offset % 4)
                wrong_access(c, offset, sizes[i]);
        }
    }
    expect_get(c, QUEUE_NUM_MAX, c->device.queue_size[0], "by QueueSel before wrong accesses");
    expect_whole(c, "after accesses of all widths");
}

static void no_register(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    for (uint64_t offset = 0; offset < CONFIG; offset += 4) {
        if (!is_register(offset))
            wrong_access(c, offset, 4);
    }
    expect_whole(c, "after accesses between the registers");
}

static void write_read_only(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    put(c, QUEUE_SEL, 0);
    c->target->event(c->slot, CONFIG_CHANGE);
    for (size_t i = 0; i < COUNT(read_only); i++) {
        uint32_t before = get(c, read_only[i]);
        for (size_t j = 0; j < COUNT(bad_values); j++)
            put(c, read_only[i], bad_values[j]);
        expect_get(c, read_only[i], before, "after writes to a register that is read only");
    }
    expect_whole(c, "after writes to registers that are read only");
}

static void read_write_only(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    for (size_t i = 0; i < COUNT(write_only); i++)
        expect_get(c, write_only[i], 0, "in a register that is write only");
    expect_whole(c, "after reads of registers that are write only");
}

static void past_the_end(struct conformance *c)
{
    static const uint64_t offsets[] = {0x1f9, 0x1fd, 0x1ff, 0x200, 0x201, 0x1000, 0xfffffffc,
                                       0x100000000, 0x100000070, 0x7fffffffffffffff,
                                       0xfffffffffffffffc, 0xffffffffffffffff};
    start(c, VERSION_1 | RING_RESET);
    for (size_t i = 0; i < COUNT(offsets); i++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            if (offsets[i] < c->target->reach && (offsets[i] >= 0x200 || offsets[i] + size > 0x200))
                wrong_access(c, offsets[i], size);
        }
    }
    expect_whole(c, "after accesses past the end");
}

/* ---- 4.2.2.2: queues ------------------------------------------------------------------------- */

static void bad_sizes(struct conformance *c)
{
    static const uint32_t sizes[] = {0, 3, 6, 7, 9, 16, 255, 0xffff, 0x10000, 0x80000000,
                                     0xffffffff};
    negotiate(c, VERSION_1);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        enable_queue(c, 1, sizes[i], 0);
        expect_get(c, QUEUE_READY, 0, "with a bad QueueNum");
    }
    add_status(c, DRIVER_OK);
    expect_idle(c, 1, "with a bad QueueNum");
    for (size_t i = 0; i < COUNT(sizes); i++) {
        enable_queue(c, 1, sizes[i], 0);
        expect_get(c, QUEUE_READY, 0, "with a bad QueueNum, after DRIVER_OK");
        expect_idle(c, 1, "with a bad QueueNum, after DRIVER_OK");
    }
    enable_queue(c, 1, 8, 2);
    expect_runs(c, 1, 8, 2, "with a good QueueNum in the end");
}

static void frozen_while_ready(struct conformance *c)
{
    set_up(c, VERSION_1 | RING_RESET);
    set_queue(c, 0, 16, 9);
    set_queue(c, 1, 0, 9);
    add_status(c, DRIVER_OK);
    expect_runs(c, 0, 128, 0, "written while QueueReady is 1, before DRIVER_OK");
    set_queue(c, 0, 16, 9);
    set_queue(c, 1, 0, 9);
    expect_whole(c, "after queues were written while QueueReady is 1");
}

static void odd_ready_values(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    put(c, QUEUE_SEL, 0);
    for (size_t i = 0; i < COUNT(bad_values); i++) {
        if (bad_values[i] < 2)
            continue;
        put(c, QUEUE_READY, bad_values[i]);
        expect_get(c, QUEUE_READY, 1, "after a QueueReady that is neither 0 nor 1");
        put(c, QUEUE_RESET, bad_values[i]);
        expect_get(c, QUEUE_READY, 1, "after a QueueReset that is not 1");
        expect_get(c, QUEUE_RESET, 0, "after a QueueReset that is not 1");
    }
    put(c, QUEUE_RESET, 0);
    expect_get(c, QUEUE_READY, 1, "after a QueueReset of 0");
    expect_whole(c, "after odd values of QueueReady and QueueReset");
}

static void write_all_of_queue(struct conformance *c, uint32_t value)
{
    static const uint16_t registers[] = {QUEUE_NUM, QUEUE_DESC, QUEUE_DESC + 4, QUEUE_DRIVER,
                                         QUEUE_DRIVER + 4, QUEUE_DEVICE, QUEUE_DEVICE + 4,
                                         QUEUE_READY, QUEUE_RESET};
    for (size_t i = 0; i < COUNT(registers); i++)
        put(c, registers[i], value);
}

/* 2 is a queue that is not available. */
static void selection_sweep(struct conformance *c)
{
    static const uint32_t far[] = {0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    start(c, VERSION_1 | RING_RESET);
    for (uint32_t i = 0; i < 300 + COUNT(far); i++) {
        uint32_t queue = i < 300 ? i : far[i - 300];
        if (queue < CONFORMANCE_QUEUES && queue != 2)
            continue;
        put(c, QUEUE_SEL, queue);
        write_all_of_queue(c, 8);
        write_all_of_queue(c, 1);
        expect_get(c, QUEUE_READY, 0, "of a queue there is not");
        expect_notify(c, queue, false, "of a queue there is not");
    }
    expect_whole(c, "after a sweep of QueueSel");
}

static void high_halves_only(struct conformance *c)
{
    negotiate(c, VERSION_1);
    put(c, QUEUE_SEL, 0);
    put(c, QUEUE_DESC + 4, 0xffffffff);
    put(c, QUEUE_DRIVER + 4, 0xffffffff);
    put(c, QUEUE_DEVICE + 4, 0xffffffff);
    put(c, QUEUE_READY, 1);
    expect_get(c, QUEUE_READY, 0, "with only the high halves of the addresses written");
    add_status(c, DRIVER_OK);
    expect_idle(c, 0, "with only the high halves of the addresses written");
    start(c, VERSION_1 | RING_RESET);
    expect_whole(c, "reset after a queue with high halves only");
}

static void queue_reset_not_negotiated(struct conformance *c)
{
    start(c, VERSION_1);
    put(c, QUEUE_SEL, 1);
    put(c, QUEUE_RESET, 1);
    expect_get(c, QUEUE_RESET, 0, "without RING_RESET");
    expect_get(c, QUEUE_READY, 1, "after QueueReset without RING_RESET");
    expect_runs(c, 1, 8, 1, "after QueueReset without RING_RESET");
}

static void acknowledge_undefined(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    c->target->event(c->slot, CONFIG_CHANGE);
    put(c, INTERRUPT_ACK, ~CONFIG_CHANGE);
    expect_get(c, INTERRUPT_STATUS, CONFIG_CHANGE, "after other bits were acknowledged");
    put(c, INTERRUPT_ACK, 0xffffffff);
    expect_get(c, INTERRUPT_STATUS, 0, "after all bits were acknowledged");
    expect_whole(c, "after bits that are not defined in InterruptACK");
}

/* ---- 4.2.3.1.1 ------------------------------------------------------------------------------- */

static void placeholder_used(struct conformance *c)
{
    conformance_make(c, NULL);
    for (uint64_t offset = 0; offset < 0x200 && offset < c->target->reach; offset++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            c->target->write(c->slot, 0, offset, size, 0xffffffffffffffff);
            uint64_t value = c->target->read(c->slot, 0, offset, size);
            expect(c, value == 0 || (size == 4 && offset < DEVICE_ID && offset % 4 == 0),
                   "without a device, %u bytes at %#llx read as %#llx", size,
                   (unsigned long long)offset, (unsigned long long)value);
        }
    }
    put(c, STATUS, ACKNOWLEDGE);
    expect_get(c, STATUS, 0, "without a device");
    expect_get(c, MAGIC_VALUE, 0x74726976, "without a device, after writes");
}

const struct conformance_row driver_musts[] = {
    {"2.1.1-cleared", "bits of Status are not cleared one by one", .run = status_bits_cleared},
    {"2.1.1-undefined", "only defined bits of Status are set", .run = status_undefined_bits},
    {"2.1.1-failed", "after FAILED comes a reset", .run = on_after_failed},
    {"3.1.1-driver-ok-first", "DRIVER_OK comes after FEATURES_OK", .run = driver_ok_first},
    {"3.1.1-features-late", "features are not changed after FEATURES_OK", .run = features_late},
    {"3.1.1-notify-early", "no notification before DRIVER_OK", .run = notify_early},
    {"4.2.2.2-width", "control registers are accessed aligned, with 32 bits", .run = other_widths},
    {"4.2.2.2-no-register", "only registers there are are accessed", .run = no_register},
    {"4.2.2.2-past-the-end", "configuration space ends", .run = past_the_end},
    {"4.2.2.2-read-only", "read-only registers are not written", .run = write_read_only},
    {"4.2.2.2-write-only", "write-only registers are not read", .run = read_write_only},
    {"4.2.2.2-queue-num", "QueueNum is not above QueueNumMax; nor 0, nor an odd size",
     .run = bad_sizes},
    {"4.2.2.2-frozen", "a queue is not changed while QueueReady is 1", .run = frozen_while_ready},
    {"4.2.2.2-ready-values", "QueueReady is 0 or 1, QueueReset takes 1", .run = odd_ready_values},
    {"4.2.2.2-queue-sel", "only queues there are are used", .run = selection_sweep},
    {"4.2.2.2-high-only", "a queue is set up before it is ready", .run = high_halves_only},
    {"4.2.2.2-queue-reset", "QueueReset is used only with RING_RESET",
     .run = queue_reset_not_negotiated},
    {"4.2.2.2-acknowledge", "only defined bits are acknowledged", .run = acknowledge_undefined},
    {"4.2.3.1.1-placeholder", "a slot without a device is left alone", .run = placeholder_used},
    {0},
};
