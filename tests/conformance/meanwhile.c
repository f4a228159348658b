/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * meanwhile.c - while a vCPU waits for the end of a reset, a stop, a start or a configuration
 * write, the others go on. See conformance.h. The specification says when an operation has ended as
 * a driver sees it; where it says nothing of two at once, the tests ask for one after the other.
 */
#include "driver.h"

#define UP (ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)

static void hold(struct conformance *c)
{
    c->target->hold(c->slot, true);
}

static void let_go(struct conformance *c)
{
    c->target->hold(c->slot, false);
    for (unsigned vcpu = 0; vcpu < CONFORMANCE_VCPUS; vcpu++)
        expect_stopped(c, vcpu, false, "nothing is held any more");
}

static void status_until_reset_done(struct conformance *c)
{
    start(c, VERSION_1);
    hold(c);
    put_on(c, 1, STATUS, 0);
    expect_stopped(c, 1, true, "its reset is not done");
    expect_get(c, STATUS, UP, "during a reset");
    expect_get(c, MAGIC_VALUE, 0x74726976, "during a reset");
    expect_config(c, c->device.config, "during a reset");
    let_go(c);
    expect_get(c, STATUS, 0, "after the reset");
}

static void two_resets_are_one(struct conformance *c)
{
    start(c, VERSION_1);
    unsigned before = c->target->resets(c->slot);
    hold(c);
    put_on(c, 1, STATUS, 0);
    put_on(c, 2, STATUS, 0);
    expect_stopped(c, 2, true, "the reset is not done");
    let_go(c);
    expect(c, c->target->resets(c->slot) == before + 1, "the device was reset %u times",
           c->target->resets(c->slot) - before);
    expect_get(c, STATUS, 0, "after both resets");
}

/* A write that a reset finds waiting counts for the time after it. */
static void status_after_reset(struct conformance *c)
{
    start(c, VERSION_1);
    hold(c);
    put_on(c, 1, STATUS, 0);
    put_on(c, 2, STATUS, ACKNOWLEDGE);
    expect_stopped(c, 2, true, "a reset is in progress");
    expect_get(c, STATUS, UP, "during a reset");
    let_go(c);
    expect_get(c, STATUS, ACKNOWLEDGE, "after the reset and what came after it");
}

static void writes_during_reset(struct conformance *c)
{
    start(c, VERSION_1);
    hold(c);
    put_on(c, 1, STATUS, 0);
    expect_notify(c, 0, false, "during a reset");
    set_queue(c, 3, 8, 1);
    put(c, DEVICE_FEATURES_SEL, 1);
    put(c, INTERRUPT_ACK, 3);
    put_on(c, 2, QUEUE_READY, 1);
    let_go(c);
    for (uint32_t queue = 0; queue < CONFORMANCE_QUEUES; queue++) {
        put(c, QUEUE_SEL, queue);
        expect_get(c, QUEUE_READY, 0, "after a reset");
        expect_idle(c, queue, "after a reset");
    }
    expect_get(c, DEVICE_FEATURES, (uint32_t)c->device.features, "by DeviceFeaturesSel at reset");
    start(c, VERSION_1);
    expect_runs(c, 0, 128, 0, "started again");
}

static void ready_until_stopped(struct conformance *c)
{
    start(c, VERSION_1);
    put(c, QUEUE_SEL, 1);
    hold(c);
    put_on(c, 1, QUEUE_READY, 0);
    expect_stopped(c, 1, true, "its queue has not stopped");
    expect_get(c, QUEUE_READY, 1, "while the queue stops");
    put(c, QUEUE_NUM, 2);
    expect_notify(c, 1, false, "while it stops");
    expect_notify(c, 0, true, "while another stops");
    let_go(c);
    expect_get(c, QUEUE_READY, 0, "when the queue has stopped");
    expect_idle(c, 1, "when it has stopped");
    put(c, QUEUE_READY, 1);
    expect_runs(c, 1, 8, 1, "enabled again as it was");
}

static void two_stops(struct conformance *c)
{
    start(c, VERSION_1);
    put(c, QUEUE_SEL, 0);
    hold(c);
    put_on(c, 1, QUEUE_READY, 0);
    put_on(c, 2, QUEUE_READY, 0);
    expect_stopped(c, 2, true, "the queue has not stopped");
    let_go(c);
    expect_get(c, QUEUE_READY, 0, "after both stops");
}

static void reset_behind_stop(struct conformance *c)
{
    start(c, VERSION_1);
    put(c, QUEUE_SEL, 0);
    hold(c);
    put_on(c, 1, QUEUE_READY, 0);
    put_on(c, 2, STATUS, 0);
    put_on(c, 3, STATUS, ACKNOWLEDGE);
    expect_stopped(c, 2, true, "a queue is being stopped");
    expect_get(c, STATUS, UP, "while a queue is being stopped");
    let_go(c);
    expect_get(c, STATUS, ACKNOWLEDGE, "after a stop, a reset and ACKNOWLEDGE, in this order");
    expect_idle(c, 1, "after the reset");
}

static void driver_ok_in_progress(struct conformance *c)
{
    set_up(c, VERSION_1);
    set_queue(c, 3, 32, 3);
    hold(c);
    put_on(c, 1, STATUS, UP);
    expect_stopped(c, 1, true, "the queues have not started");
    expect_get(c, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK, "while the queues start");
    set_queue(c, 0, 16, 9);
    put(c, QUEUE_SEL, 3);
    put_on(c, 2, QUEUE_READY, 1);
    expect_stopped(c, 2, true, "DRIVER_OK comes first");
    let_go(c);
    expect_get(c, STATUS, UP, "when the queues have started");
    expect_runs(c, 0, 128, 0, "as it was when DRIVER_OK was written");
    expect_runs(c, 3, 32, 3, "enabled behind DRIVER_OK");
}

static void start_in_progress(struct conformance *c)
{
    start(c, VERSION_1);
    set_queue(c, 3, 32, 3);
    hold(c);
    put_on(c, 1, QUEUE_READY, 1);
    expect_stopped(c, 1, true, "its queue has not started");
    set_queue(c, 3, 1024, 9);
    expect_notify(c, 3, true, "while it starts");
    let_go(c);
    expect_get(c, QUEUE_READY, 1, "when the queue has started");
    expect_runs(c, 3, 32, 3, "as it was when QueueReady was written");
}

static void config_write_in_progress(struct conformance *c)
{
    start(c, VERSION_1);
    hold(c);
    c->target->write(c->slot, 1, CONFIG, 1, 0x55);
    expect_stopped(c, 1, true, "its write has not been taken");
    c->target->write(c->slot, 2, CONFIG, 1, 0x66);
    expect_stopped(c, 2, true, "an earlier write has not been taken");
    expect_config(c, c->device.config, "while a write is on its way");
    expect_notify(c, 0, true, "while a configuration write is on its way");
    expect_get(c, STATUS, UP, "while a configuration write is on its way");
    let_go(c);
    expect(c, c->target->read(c->slot, 0, CONFIG, 1) == 0x66, "the last write is not the last");
}

static void queue_reset_in_progress(struct conformance *c)
{
    start(c, VERSION_1 | RING_RESET);
    put(c, QUEUE_SEL, 1);
    hold(c);
    put_on(c, 1, QUEUE_RESET, 1);
    expect_stopped(c, 1, true, "its queue has not been reset");
    expect_get(c, QUEUE_READY, 1, "while the queue is reset");
    put_on(c, 2, QUEUE_RESET, 1);
    expect_stopped(c, 2, true, "the queue has not been reset");
    expect_notify(c, 1, false, "while it is reset");
    expect_notify(c, 0, true, "while another is reset");
    let_go(c);
    expect_get(c, QUEUE_RESET, 0, "when the queue has been reset");
    expect_get(c, QUEUE_READY, 0, "when the queue has been reset");
}

const struct conformance_row meanwhile[] = {
    {"2.4.2-status", "Status is not 0 before the reset is done", .run = status_until_reset_done,
     .holds = true},
    {"2.4.2-two-resets", "two vCPUs that reset wait for one reset", .run = two_resets_are_one,
     .holds = true},
    {"2.4.2-order", "a write of Status behind a reset comes after it", .run = status_after_reset,
     .holds = true},
    {"2.4.1-writes", "nothing written during a reset outlives it, but what waits",
     .run = writes_during_reset, .holds = true},
    {"4.2.2.2-stop", "QueueReady is not 0 before the queue has stopped", .run = ready_until_stopped,
     .holds = true},
    {"4.2.2.2-two-stops", "two vCPUs that stop a queue both wait for it", .run = two_stops,
     .holds = true},
    {"2.4.1-reset-behind-stop", "a reset waits for a queue that stops", .run = reset_behind_stop,
     .holds = true},
    {"3.1.1-driver-ok", "DRIVER_OK does not show before the queues run",
     .run = driver_ok_in_progress, .holds = true},
    {"4.2.3.2-start", "a queue that starts does not change", .run = start_in_progress,
     .holds = true},
    {"4.2.2-config-write", "configuration writes come one after the other",
     .run = config_write_in_progress, .holds = true},
    {"2.6.1.1.1-queue-reset", "a queue that is reset is out of use for all",
     .run = queue_reset_in_progress, .holds = true},
    {0},
};
