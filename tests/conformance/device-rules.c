/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device-rules.c - what the specification says of the device without a MUST: tables, descriptions
 * and each SHOULD that shows. See conformance.h.
 */
#include "driver.h"

#include <string.h>

/* ---- 2, 3: basic facilities ------------------------------------------------------------------ */

static void status_steps(struct conformance *c)
{
    expect_get(c, STATUS, 0, "in a new device");
    put(c, STATUS, ACKNOWLEDGE);
    expect_get(c, STATUS, ACKNOWLEDGE, "after ACKNOWLEDGE");
    put(c, STATUS, ACKNOWLEDGE | DRIVER);
    expect_get(c, STATUS, ACKNOWLEDGE | DRIVER, "after DRIVER");
    set_features(c, VERSION_1);
    add_status(c, FEATURES_OK);
    expect_get(c, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK, "after FEATURES_OK");
    add_status(c, DRIVER_OK);
    expect_get(c, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK, "after DRIVER_OK");
}

static void failed_is_shown(struct conformance *c)
{
    put(c, STATUS, ACKNOWLEDGE);
    put(c, STATUS, ACKNOWLEDGE | FAILED);
    expect_get(c, STATUS, ACKNOWLEDGE | FAILED, "after FAILED");
    start(c, VERSION_1);
    add_status(c, FAILED);
    expect(c, get(c, STATUS) & FAILED, "FAILED does not stay after DRIVER_OK");
}

static void needs_reset_is_shown(struct conformance *c)
{
    start(c, VERSION_1);
    uint32_t before = get(c, STATUS);
    c->target->fail(c->slot);
    expect_get(c, STATUS, before | NEEDS_RESET, "when the device gave up");
    add_status(c, FAILED);
    expect_get(c, STATUS, before | NEEDS_RESET | FAILED, "when the driver gave up, too");
}

static void same_features_again(struct conformance *c)
{
    for (int i = 0; i < 3; i++) {
        negotiate(c, c->device.features);
        expect(c, get(c, STATUS) & FEATURES_OK, "the same features were refused, time %d", i);
        expect(c, c->target->features(c->slot) == c->device.features,
               "the device was told of the features %#llx",
               (unsigned long long)c->target->features(c->slot));
    }
}

static void any_subset(struct conformance *c)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(c->device.features & FEATURE(bit)))
            continue;
        negotiate(c, VERSION_1 | FEATURE(bit));
        expect(c, get(c, STATUS) & FEATURES_OK, "feature %u alone was refused", bit);
        expect(c, c->target->features(c->slot) == (VERSION_1 | FEATURE(bit)),
               "feature %u came to the device as %#llx", bit,
               (unsigned long long)c->target->features(c->slot));
    }
}

static void refusal_can_be_mended(struct conformance *c)
{
    negotiate(c, VERSION_1 | FEATURE(1));
    set_features(c, VERSION_1);
    add_status(c, FEATURES_OK);
    expect_get(c, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK, "with the feature taken back");
}

static void reset_forgets(struct conformance *c)
{
    start(c, c->device.features);
    unsigned before = c->target->resets(c->slot);
    put(c, DEVICE_FEATURES_SEL, 1);
    put(c, DRIVER_FEATURES_SEL, 1);
    put(c, QUEUE_SEL, 3);
    put(c, STATUS, 0);
    expect(c, c->target->resets(c->slot) == before + 1, "the device was reset %u times",
           c->target->resets(c->slot) - before);
    expect(c, c->target->features(c->slot) == 0, "features outlived a reset");
    expect_get(c, DEVICE_FEATURES, (uint32_t)c->device.features, "by DeviceFeaturesSel at reset");
    expect_get(c, QUEUE_NUM_MAX, c->device.queue_size[0], "by QueueSel at reset");
    add_status(c, ACKNOWLEDGE);
    add_status(c, DRIVER);
    add_status(c, FEATURES_OK);
    expect_get(c, STATUS, ACKNOWLEDGE | DRIVER, "by the features of before the reset");
}

/* ---- 4.2.2: the registers -------------------------------------------------------------------- */

static void identity(struct conformance *c)
{
    expect_get(c, DEVICE_ID, c->device.device_id, "in a new device");
    expect_get(c, VENDOR_ID, c->device.vendor_id, "in a new device");
}

static void placeholder(struct conformance *c)
{
    conformance_make(c, NULL);
    expect_get(c, MAGIC_VALUE, 0x74726976, "without a device");
    expect_get(c, VERSION_NUMBER, 2, "without a device");
    for (uint64_t offset = DEVICE_ID; offset < 0x200 && offset < c->target->reach; offset += 4)
        expect_get(c, offset, 0, "without a device");
}

static void feature_words(struct conformance *c)
{
    static const uint32_t none[] = {2, 3, 31, 32, 0x7fffffff, 0x80000000, 0xffffffff};
    expect(c, device_features(c) == c->device.features, "%#llx is offered, not %#llx",
           (unsigned long long)device_features(c), (unsigned long long)c->device.features);
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        put(c, DEVICE_FEATURES_SEL, none[i]);
        expect_get(c, DEVICE_FEATURES, 0, "in a word above the second");
    }
}

static void driver_words(struct conformance *c)
{
    add_status(c, ACKNOWLEDGE);
    add_status(c, DRIVER);
    set_features(c, ~0ull);
    put(c, DRIVER_FEATURES_SEL, 0);
    put(c, DRIVER_FEATURES, (uint32_t)FEATURE(28));
    put(c, DRIVER_FEATURES_SEL, 1);
    put(c, DRIVER_FEATURES, (uint32_t)(VERSION_1 >> 32));
    put(c, DRIVER_FEATURES_SEL, 5);
    put(c, DRIVER_FEATURES, 0);
    add_status(c, FEATURES_OK);
    expect_get(c, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK, "with each word written twice");
    expect(c, c->target->features(c->slot) == (VERSION_1 | FEATURE(28)),
           "the device was told of the features %#llx",
           (unsigned long long)c->target->features(c->slot));
}

static void queue_num_max(struct conformance *c)
{
    static const uint32_t none[] = {4, 5, 255, 256, 0xffff, 0x10000, 0x7fffffff, 0x80000000,
                                    0xffffffff};
    for (uint32_t queue = 0; queue < CONFORMANCE_QUEUES; queue++) {
        put(c, QUEUE_SEL, queue);
        expect_get(c, QUEUE_NUM_MAX, c->device.queue_size[queue], "by the device's queue size");
    }
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        put(c, QUEUE_SEL, none[i]);
        expect_get(c, QUEUE_NUM_MAX, 0, "of a queue there is not");
        expect_get(c, QUEUE_READY, 0, "of a queue there is not");
        expect_get(c, QUEUE_RESET, 0, "of a queue there is not");
    }
}

static void queues_are_apart(struct conformance *c)
{
    negotiate(c, VERSION_1);
    set_queue(c, 0, 64, 7);
    set_queue(c, 1, 2, 8);
    set_queue(c, 3, 512, 9);
    put(c, QUEUE_SEL, 1);
    put(c, QUEUE_READY, 1);
    put(c, QUEUE_SEL, 0);
    expect_get(c, QUEUE_READY, 0, "in a queue beside one that is ready");
    put(c, QUEUE_READY, 1);
    put(c, QUEUE_SEL, 3);
    put(c, QUEUE_READY, 1);
    add_status(c, DRIVER_OK);
    expect_runs(c, 0, 64, 7, "beside two others");
    expect_runs(c, 1, 2, 8, "beside two others");
    expect_runs(c, 3, 512, 9, "beside two others");
    expect_notify(c, 3, true, "beside two others");
}

static void queue_sizes(struct conformance *c)
{
    for (uint32_t size = 1; size <= c->device.queue_size[3]; size *= 2) {
        negotiate(c, VERSION_1);
        enable_queue(c, 3, size, size);
        expect_get(c, QUEUE_READY, 1, "with a power of two up to the maximum");
        add_status(c, DRIVER_OK);
        expect_runs(c, 3, size, size, "with a power of two up to the maximum");
    }
}

static void ready_reads_back(struct conformance *c)
{
    negotiate(c, VERSION_1);
    set_queue(c, 0, 128, 0);
    expect_get(c, QUEUE_READY, 0, "before it was written");
    for (int i = 0; i < 3; i++) {
        put(c, QUEUE_READY, 1);
        expect_get(c, QUEUE_READY, 1, "before DRIVER_OK");
        put(c, QUEUE_READY, 0);
        expect_get(c, QUEUE_READY, 0, "before DRIVER_OK, taken back");
    }
    add_status(c, DRIVER_OK);
    for (int i = 0; i < 3; i++) {
        put(c, QUEUE_READY, 1);
        expect_get(c, QUEUE_READY, 1, "after DRIVER_OK");
        put(c, QUEUE_READY, 1);
        expect_get(c, QUEUE_READY, 1, "written twice");
        put(c, QUEUE_READY, 0);
        expect_get(c, QUEUE_READY, 0, "after DRIVER_OK, taken back");
    }
}

static void address_halves(struct conformance *c)
{
    struct conformance_queue is = {0};
    negotiate(c, VERSION_1);
    set_queue(c, 0, 16, 3);
    put(c, QUEUE_DESC + 4, 0xa);      /* high before low, each over an old value */
    put(c, QUEUE_DESC, 0x1000);
    put(c, QUEUE_DRIVER, 0x2000);     /* low only */
    put(c, QUEUE_DEVICE + 4, 0xc);    /* high only */
    put(c, QUEUE_READY, 1);
    add_status(c, DRIVER_OK);
    expect(c, c->target->runs(c->slot, 0, &is), "queue 0 does not run");
    expect(c, is.desc == 0xa00001000, "the descriptor area is at %#llx",
           (unsigned long long)is.desc);
    expect(c, (uint32_t)is.driver == 0x2000 && is.driver >> 32 != 0,
           "the driver area is at %#llx", (unsigned long long)is.driver);
    expect(c, is.device >> 32 == 0xc && (uint32_t)is.device != 0, "the device area is at %#llx",
           (unsigned long long)is.device);
}

static void shared_memory_is_none(struct conformance *c)
{
    static const uint32_t ids[] = {0, 1, 255, 256, 0xffffffff};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        put(c, SHM_SEL, ids[i]);
        for (uint64_t offset = SHM_LEN; offset <= SHM_BASE + 4; offset += 4)
            expect_get(c, offset, UINT32_MAX, "of a region there is not");
    }
}

static void write_config(struct conformance *c, uint8_t *want, uint32_t at, unsigned size,
                         uint64_t value)
{
    c->target->write(c->slot, 0, CONFIG + at, size, value);
    for (unsigned i = 0; i < size; i++)
        want[at + i] = (uint8_t)(value >> (8 * i));
    expect_config(c, want, "after a write");
}

/* With something above the bytes that are written: a hypervisor need not clear that. */
static void config_writes(struct conformance *c)
{
    uint8_t want[CONFORMANCE_CONFIG];
    memcpy(want, c->device.config, sizeof(want));
    negotiate(c, VERSION_1);
    write_config(c, want, 0, 1, 0xffffffffffffffa1);
    write_config(c, want, 59, 1, 0xa2);
    write_config(c, want, 6, 2, 0xddddddddddddb1b2);
    write_config(c, want, 20, 4, 0xeeeeeeeec1c2c3c4);
    write_config(c, want, 32, 8, 0xd1d2d3d4d5d6d7d8);
    write_config(c, want, 41, 4, 0xe1e2e3e4);
    start(c, VERSION_1);
    write_config(c, want, 8, 4, 0xf1f2f3f4);
}

static void register_values_are_cut(struct conformance *c)
{
    c->target->write(c->slot, 0, QUEUE_SEL, 4, 0xdeadbeef00000001);
    expect_get(c, QUEUE_NUM_MAX, c->device.queue_size[1], "by QueueSel with garbage above");
    c->target->write(c->slot, 0, STATUS, 4, 0xffffffff00000001);
    expect_get(c, STATUS, ACKNOWLEDGE, "with garbage above what was written");
    c->target->write(c->slot, 0, STATUS, 4, 0xffffffff00000000);
    expect_get(c, STATUS, 0, "with garbage above what was written");
}

/* ---- 4.2.3 ----------------------------------------------------------------------------------- */

/* The steps of the section, for a device with every queue there is. */
static void queue_configuration(struct conformance *c)
{
    negotiate(c, VERSION_1);
    for (uint32_t queue = 0; queue <= CONFORMANCE_QUEUES; queue++) {
        put(c, QUEUE_SEL, queue);
        expect_get(c, QUEUE_READY, 0, "before a queue is set up");
        uint32_t max = get(c, QUEUE_NUM_MAX);
        if (max == 0)
            continue;
        enable_queue(c, queue, max, queue);
        expect_get(c, QUEUE_READY, 1, "when a queue was set up");
    }
    add_status(c, DRIVER_OK);
    expect_runs(c, 0, 256, 0, "after DRIVER_OK");
    expect_runs(c, 1, 8, 1, "after DRIVER_OK");
    expect_runs(c, 3, 1024, 3, "after DRIVER_OK");
}

static void notifications(struct conformance *c)
{
    start(c, VERSION_1);
    for (int i = 0; i < 3; i++) {
        expect_notify(c, 0, true, "after DRIVER_OK");
        expect_notify(c, 1, true, "after DRIVER_OK");
    }
}

static void queue_started_late(struct conformance *c)
{
    start(c, VERSION_1);
    expect_idle(c, 3, "before it is enabled");
    enable_queue(c, 3, 32, 6);
    expect_runs(c, 3, 32, 6, "enabled after DRIVER_OK");
    expect_notify(c, 3, true, "enabled after DRIVER_OK");
    put(c, QUEUE_READY, 0);
    enable_queue(c, 3, 64, 7);
    expect_runs(c, 3, 64, 7, "stopped and enabled again");
}

const struct conformance_row device_rules[] = {
    {"2.1-steps", "Status begins at 0 and shows each step", .run = status_steps},
    {"2.1-failed", "FAILED can be set at any time", .run = failed_is_shown},
    {"2.1.2-needs-reset", "a device that cannot go on shows DEVICE_NEEDS_RESET",
     .run = needs_reset_is_shown},
    {"2.2.2-any-subset", "a subset of what is offered is accepted", .run = any_subset},
    {"2.2.2-same-again", "what was accepted once is accepted after a reset",
     .run = same_features_again},
    {"2.2.2-mended", "after a refusal another subset can be asked for",
     .run = refusal_can_be_mended},
    {"2.4-forgets", "a reset forgets features and selections", .run = reset_forgets},
    {"4.2.2-identity", "DeviceID and VendorID are the device's", .run = identity},
    {"4.2.2-placeholder", "DeviceID is 0 in a slot without a device", .run = placeholder},
    {"4.2.2-device-features", "DeviceFeatures is the word that DeviceFeaturesSel names",
     .run = feature_words},
    {"4.2.2-driver-features", "DriverFeatures sets the word that DriverFeaturesSel names",
     .run = driver_words},
    {"4.2.2-queue-num-max", "QueueNumMax is the queue's, 0 where there is none",
     .run = queue_num_max},
    {"4.2.2-queue-sel", "queue registers are those of the queue that QueueSel names",
     .run = queues_are_apart},
    {"4.2.2-queue-num", "any power of two up to QueueNumMax is a size", .run = queue_sizes},
    {"4.2.2-queue-ready", "QueueReady reads as it was written", .run = ready_reads_back},
    {"4.2.2-addresses", "each half of an address is a register of its own", .run = address_halves},
    {"4.2.2-shm", "length and base of a region there is not are -1", .run = shared_memory_is_none},
    {"4.2.2-config", "1, 2, 4 and 8 bytes of configuration space are written, and no more",
     .run = config_writes},
    {"4.2.2-width", "a register takes 32 bits of a value", .run = register_values_are_cut},
    {"4.2.3.2-configuration", "queues are set up in seven steps", .run = queue_configuration},
    {"4.2.3.2-late", "a queue can be stopped, changed and enabled after DRIVER_OK",
     .run = queue_started_late},
    {"4.2.3.3-index", "QueueNotify takes a queue index", .run = notifications},
    {"4.2.3.4-line", "the interrupt line is active while InterruptStatus is not 0",
     .reason = "the line belongs to the platform"},
    {0},
};
