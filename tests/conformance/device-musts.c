/* SPDX-License-Identifier: BSD-3-Clause */
/* device-musts.c - each MUST and MUST NOT of the device, one row each. See conformance.h. */
#include "driver.h"

/* ---- 2: basic facilities --------------------------------------------------------------------- */

static void no_buffers_before_driver_ok(struct conformance *c)
{
    expect_idle(c, 0, "in a new device");
    expect_notify(c, 0, false, "in a new device");
    negotiate(c, VERSION_1);
    expect_notify(c, 0, false, "after FEATURES_OK");
    enable_queue(c, 0, 128, 0);
    expect_notify(c, 0, false, "before DRIVER_OK");
    expect_idle(c, 0, "before DRIVER_OK");
    add_status(c, DRIVER_OK);
    expect_runs(c, 0, 128, 0, "after DRIVER_OK");
    expect_notify(c, 0, true, "after DRIVER_OK");
}

static void refused(struct conformance *c, uint64_t features, const char *which)
{
    negotiate(c, features);
    expect(c, get(c, STATUS) == (ACKNOWLEDGE | DRIVER), "FEATURES_OK stays with %s", which);
    expect(c, c->target->features(c->slot) == 0, "the device was told of features, with %s", which);
}

static void features_refused(struct conformance *c)
{
    refused(c, VERSION_1 | FEATURE(0), "a feature in the first word that was not offered");
    refused(c, VERSION_1 | FEATURE(63), "a feature in the second word that was not offered");
    refused(c, c->device.features | FEATURE(34), "one feature too many");
    refused(c, c->device.features & ~VERSION_1, "all that is offered but VERSION_1");
    put(c, STATUS, 0);
    put(c, DRIVER_FEATURES_SEL, 2);
    put(c, DRIVER_FEATURES, 1);
    set_features(c, VERSION_1);
    add_status(c, ACKNOWLEDGE);
    add_status(c, DRIVER);
    add_status(c, FEATURES_OK);
    expect_get(c, STATUS, ACKNOWLEDGE | DRIVER, "with feature 64");
    negotiate(c, c->device.features);
    expect(c, get(c, STATUS) & FEATURES_OK, "what is offered was refused");
}

static void status_0_after_reset(struct conformance *c)
{
    put(c, STATUS, 0);
    expect_get(c, STATUS, 0, "after the reset of a new device");
    add_status(c, ACKNOWLEDGE);
    put(c, STATUS, 0);
    expect_get(c, STATUS, 0, "after ACKNOWLEDGE and reset");
    negotiate(c, VERSION_1);
    put(c, STATUS, 0);
    expect_get(c, STATUS, 0, "after FEATURES_OK and reset");
    start(c, VERSION_1);
    put(c, STATUS, 0);
    expect_get(c, STATUS, 0, "after DRIVER_OK and reset");
    start(c, VERSION_1);
    add_status(c, FAILED);
    put(c, STATUS, 0);
    expect_get(c, STATUS, 0, "after FAILED and reset");
    start(c, VERSION_1);
    c->target->fail(c->slot);
    put(c, STATUS, 0);
    expect_get(c, STATUS, 0, "after DEVICE_NEEDS_RESET and reset");
}

static void quiet_after_reset(struct conformance *c)
{
    start(c, VERSION_1);
    c->target->event(c->slot, USED_BUFFER);
    put(c, STATUS, 0);
    expect_idle(c, 0, "after a reset");
    expect_idle(c, 1, "after a reset");
    expect_notify(c, 0, false, "after a reset");
    expect_get(c, INTERRUPT_STATUS, 0, "after a reset");
    negotiate(c, VERSION_1);
    add_status(c, DRIVER_OK);
    expect_idle(c, 0, "after a reset, its registers not written since");
    expect_notify(c, 0, false, "after a reset, its registers not written since");
    enable_queue(c, 0, 16, 5);
    expect_runs(c, 0, 16, 5, "when it was set up again");
}

static void config_before_features_ok(struct conformance *c)
{
    expect_config(c, c->device.config, "in a new device");
    add_status(c, ACKNOWLEDGE);
    expect_config(c, c->device.config, "after ACKNOWLEDGE");
    add_status(c, DRIVER);
    expect_config(c, c->device.config, "after DRIVER");
    set_features(c, VERSION_1);
    expect_config(c, c->device.config, "before FEATURES_OK");
    add_status(c, FEATURES_OK | ACKNOWLEDGE | DRIVER);
    expect_config(c, c->device.config, "after FEATURES_OK without any feature of the device");
}

static void reset_queue(struct conformance *c, uint32_t queue)
{
    put(c, QUEUE_SEL, queue);
    put(c, QUEUE_RESET, 1);
}

static void no_requests_after_queue_reset(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    expect_notify(c, 1, true, "before it was reset");
    reset_queue(c, 1);
    expect_idle(c, 1, "after it was reset");
    expect_notify(c, 1, false, "after it was reset");
    expect_runs(c, 0, 128, 0, "after another was reset");
    expect_notify(c, 0, true, "after another was reset");
}

static void queue_state_is_default(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    reset_queue(c, 1);
    put(c, QUEUE_READY, 1);
    expect_get(c, QUEUE_READY, 0, "with no QueueNum written since the queue was reset");
    expect_idle(c, 1, "with no QueueNum written since it was reset");
    put(c, QUEUE_NUM, 4);
    put(c, QUEUE_READY, 1);
    struct conformance_queue is = {0};
    expect(c, c->target->runs(c->slot, 1, &is), "queue 1 did not start again");
    expect(c, is.desc == 0 && is.driver == 0 && is.device == 0,
           "addresses outlived the reset of their queue: %#llx, %#llx, %#llx",
           (unsigned long long)is.desc, (unsigned long long)is.driver,
           (unsigned long long)is.device);
}

static void queue_again_with_other_values(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    for (uint32_t size = 8; size >= 1; size /= 2) {
        reset_queue(c, 1);
        enable_queue(c, 1, size, 10 + size);
        expect_get(c, QUEUE_READY, 1, "when enabled again");
        expect_runs(c, 1, size, 10 + size, "when enabled again");
    }
}

static void no_shared_memory(struct conformance *c)
{
    for (uint32_t id = 0; id < 256; id++) {
        put(c, SHM_SEL, id);
        expect_get(c, SHM_LEN, UINT32_MAX, "(shared memory is not for controlling a device)");
        expect_get(c, SHM_LEN + 4, UINT32_MAX, "(shared memory is not for controlling a device)");
    }
}

/* ---- 4.2: MMIO ------------------------------------------------------------------------------- */

static void magic(struct conformance *c)
{
    expect_get(c, MAGIC_VALUE, 0x74726976, "in a new device");
    start(c, VERSION_1);
    expect_get(c, MAGIC_VALUE, 0x74726976, "in a device at work");
}

static void version(struct conformance *c)
{
    expect_get(c, VERSION_NUMBER, 2, "in a new device");
    start(c, VERSION_1);
    expect_get(c, VERSION_NUMBER, 2, "in a device at work");
}

static void events_until_acknowledged(struct conformance *c)
{
    start(c, VERSION_1);
    c->target->event(c->slot, USED_BUFFER);
    expect_get(c, INTERRUPT_STATUS, USED_BUFFER, "after a used buffer");
    expect_get(c, INTERRUPT_STATUS, USED_BUFFER, "after it was read");
    c->target->event(c->slot, CONFIG_CHANGE);
    expect_get(c, INTERRUPT_STATUS, USED_BUFFER | CONFIG_CHANGE, "after both events");
    put(c, INTERRUPT_ACK, USED_BUFFER);
    expect_get(c, INTERRUPT_STATUS, CONFIG_CHANGE, "after the used buffer was acknowledged");
    c->target->event(c->slot, USED_BUFFER);
    expect_get(c, INTERRUPT_STATUS, USED_BUFFER | CONFIG_CHANGE, "after one more used buffer");
    put(c, INTERRUPT_ACK, USED_BUFFER | CONFIG_CHANGE);
    expect_get(c, INTERRUPT_STATUS, 0, "after all was acknowledged");
}

static void no_other_events(struct conformance *c)
{
    expect_get(c, INTERRUPT_STATUS, 0, "in a new device");
    start(c, VERSION_1);
    expect_get(c, INTERRUPT_STATUS, 0, "with no event yet");
    put(c, INTERRUPT_ACK, USED_BUFFER | CONFIG_CHANGE);
    expect_get(c, INTERRUPT_STATUS, 0, "with nothing to acknowledge");
    c->target->event(c->slot, CONFIG_CHANGE);
    expect_get(c, INTERRUPT_STATUS, CONFIG_CHANGE, "after a configuration change only");
}

static void reset_clears_events(struct conformance *c)
{
    start(c, VERSION_1);
    c->target->event(c->slot, USED_BUFFER | CONFIG_CHANGE);
    put(c, STATUS, 0);
    expect_get(c, INTERRUPT_STATUS, 0, "after a reset");
    start(c, VERSION_1);
    expect_get(c, INTERRUPT_STATUS, 0, "when started again");
}

static void reset_clears_ready(struct conformance *c)
{
    start(c, VERSION_1);
    enable_queue(c, 3, 1024, 3);
    put(c, STATUS, 0);
    for (uint32_t queue = 0; queue < CONFORMANCE_QUEUES; queue++) {
        put(c, QUEUE_SEL, queue);
        expect_get(c, QUEUE_READY, 0, "after a reset");
    }
    set_up(c, VERSION_1);
    put(c, STATUS, 0);
    expect_get(c, QUEUE_READY, 0, "after a reset before DRIVER_OK");
}

static void generation_changes(struct conformance *c)
{
    uint8_t bytes[CONFORMANCE_CONFIG];
    for (uint32_t i = 0; i < CONFORMANCE_CONFIG; i++)
        bytes[i] = (uint8_t)(255 - i);
    uint32_t before = get(c, CONFIG_GENERATION);
    expect_get(c, CONFIG_GENERATION, before, "with no change");
    c->target->set_config(c->slot, 0, bytes, 1);
    uint32_t after = get(c, CONFIG_GENERATION);
    expect(c, after != before, "ConfigGeneration stays %u when a byte changes", before);
    c->target->set_config(c->slot, 0, bytes, sizeof(bytes));
    expect(c, get(c, CONFIG_GENERATION) != after, "ConfigGeneration stays %u when all changes",
           after);
    expect_config(c, bytes, "after a change");
}

static void not_ready_not_used(struct conformance *c)
{
    negotiate(c, VERSION_1);
    set_queue(c, 0, 128, 0);
    add_status(c, DRIVER_OK);
    expect_idle(c, 0, "with QueueReady 0");
    expect_notify(c, 0, false, "with QueueReady 0");
    put(c, QUEUE_READY, 1);
    expect_runs(c, 0, 128, 0, "with QueueReady 1");
    put(c, QUEUE_READY, 0);
    expect_get(c, QUEUE_READY, 0, "after it was written");
    expect_idle(c, 0, "with QueueReady 0 again");
    expect_notify(c, 0, false, "with QueueReady 0 again");
}

static void queue_reset_0_on_reset(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    reset_queue(c, 0);
    put(c, STATUS, 0);
    negotiate(c, VERSION_1 | RING_RESET);
    for (uint32_t queue = 0; queue < CONFORMANCE_QUEUES; queue++) {
        put(c, QUEUE_SEL, queue);
        expect_get(c, QUEUE_RESET, 0, "after a reset of the device");
    }
}

static void queue_reset_0_when_enabled(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    put(c, QUEUE_SEL, 1);
    expect_get(c, QUEUE_RESET, 0, "in a queue that was never reset");
    reset_queue(c, 1);
    enable_queue(c, 1, 8, 4);
    expect_get(c, QUEUE_RESET, 0, "in a queue enabled after a reset");
    expect_get(c, QUEUE_READY, 1, "in a queue enabled after a reset");
}

static void queue_reset_resets(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    expect_runs(c, 1, 8, 1, "before it is reset");
    reset_queue(c, 1);
    expect_idle(c, 1, "after it was reset");
    put(c, STATUS, 0);
    set_up(c, VERSION_1 | RING_RESET);
    reset_queue(c, 1);
    expect_get(c, QUEUE_READY, 0, "in a queue reset before DRIVER_OK");
    add_status(c, DRIVER_OK);
    expect_idle(c, 1, "after DRIVER_OK, reset before");
}

static void queue_reset_1_in_progress(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    put(c, QUEUE_SEL, 1);
    c->target->hold(c->slot, true);
    put_on(c, 1, QUEUE_RESET, 1);
    expect_get(c, QUEUE_RESET, 1, "while the queue is reset");
    expect_get(c, QUEUE_RESET, 1, "while the queue is reset, read once more");
    put(c, QUEUE_SEL, 0);
    expect_get(c, QUEUE_RESET, 0, "while another queue is reset");
    put(c, QUEUE_SEL, 1);
    c->target->hold(c->slot, false);
    expect_get(c, QUEUE_RESET, 0, "when the queue has been reset");
    expect_stopped(c, 1, false, "the queue has been reset");
}

static void both_0_after_queue_reset(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    reset_queue(c, 1);
    expect_get(c, QUEUE_RESET, 0, "when the queue has been reset");
    expect_get(c, QUEUE_READY, 0, "when the queue has been reset");
    put(c, QUEUE_SEL, 0);
    expect_get(c, QUEUE_READY, 1, "in another queue");
}

/* ---- 6: reserved features -------------------------------------------------------------------- */

static void offers_version_1(struct conformance *c)
{
    expect(c, device_features(c) & VERSION_1, "VERSION_1 is not offered");
}

static void offers_no_sr_iov(struct conformance *c)
{
    struct conformance_device all = c->device;
    all.features = ~0ull;
    conformance_make(c, &all);
    expect(c, !(device_features(c) & FEATURE(37)), "SR_IOV is offered without PCI");
    refused(c, VERSION_1 | FEATURE(37), "SR_IOV");
}

const struct conformance_row device_musts[] = {
    {"2.1.2-no-buffers-before-driver-ok", "no buffer is taken before DRIVER_OK",
     .run = no_buffers_before_driver_ok},
    {"2.1.2-no-interrupt-before-driver-ok", "no used buffer notification before DRIVER_OK",
     .reason = "the queue's worker decides on it, the registers show what it decided"},
    {"2.1.2-needs-reset-interrupt",
     "a device that gives up after DRIVER_OK sends a configuration change notification",
     .reason = "the device core raises it, the registers show what it raised"},
    {"2.2.2-features-complete", "a feature is offered only with those it needs",
     .reason = "which features those are is known to the device type"},
    {"2.2.2-features-refused",
     "FEATURES_OK does not stay when the device cannot do with the subset",
     .run = features_refused},
    {"2.4.1-status-0", "a reset makes Status 0", .run = status_0_after_reset},
    {"2.4.1-quiet-after-reset",
     "after a reset no notification and no queue is touched until the driver set it up again",
     .run = quiet_after_reset},
    {"2.5.2-config-before-features-ok",
     "any field of what is offered can be read before FEATURES_OK",
     .run = config_before_features_ok},
    {"2.6.1.1.1-no-requests", "a queue that was reset takes no request and sends no notification",
     .run = no_requests_after_queue_reset},
    {"2.6.1.1.1-default-state", "a queue that was reset is as it was at first",
     .run = queue_state_is_default},
    {"2.6.1.2.1-new-values", "a queue enabled again uses what the driver wrote since",
     .run = queue_again_with_other_values},
    {"2.10.2-no-control-region", "no shared memory to control the device or to stream",
     .run = no_shared_memory},
    {"4.2.2.1-magic", "MagicValue is 0x74726976", .run = magic},
    {"4.2.2.1-version", "Version is 2", .run = version},
    {"4.2.2.1-events", "an event shows in InterruptStatus until it is acknowledged",
     .run = events_until_acknowledged},
    {"4.2.2.1-no-other-events", "bits of InterruptStatus without an event are 0",
     .run = no_other_events},
    {"4.2.2.1-reset-events", "a reset clears InterruptStatus", .run = reset_clears_events},
    {"4.2.2.1-reset-ready", "a reset clears QueueReady of every queue", .run = reset_clears_ready},
    {"4.2.2.1-generation", "ConfigGeneration changes when a driver could read a mixture",
     .run = generation_changes},
    {"4.2.2.1-not-ready-not-used", "a queue with QueueReady 0 is not touched",
     .run = not_ready_not_used},
    {"4.2.2.1-queue-reset-on-reset", "QueueReset is 0 after a reset of the device",
     .run = queue_reset_0_on_reset},
    {"4.2.2.1-queue-reset-enabled", "QueueReset is 0 after the queue was enabled",
     .run = queue_reset_0_when_enabled},
    {"4.2.2.1-queue-reset", "1 in QueueReset resets the queue", .run = queue_reset_resets},
    {"4.2.2.1-queue-reset-in-progress", "QueueReset is 1 as long as that takes",
     .run = queue_reset_1_in_progress, .holds = true},
    {"4.2.2.1-queue-reset-done", "then QueueReset and QueueReady are 0",
     .run = both_0_after_queue_reset},
    {"6.2-version-1", "VERSION_1 is offered", .run = offers_version_1},
    {"6.2-in-order", "with IN_ORDER buffers are used in the order they came",
     .reason = "the queues do that, not the registers"},
    {"6.2-no-sr-iov", "SR_IOV is not offered by what is not on PCI", .run = offers_no_sr_iov},
    {0},
};
