/* SPDX-License-Identifier: BSD-3-Clause */
/* driver.c - see driver.h. */
#include "driver.h"

uint32_t get_on(struct conformance *c, unsigned vcpu, uint64_t offset)
{
    uint64_t value = c->target->read(c->slot, vcpu, offset, 4);
    expect(c, value <= UINT32_MAX, "a read of 4 bytes at %#llx gave %#llx",
           (unsigned long long)offset, (unsigned long long)value);
    return (uint32_t)value;
}

void put_on(struct conformance *c, unsigned vcpu, uint64_t offset, uint32_t value)
{
    c->target->write(c->slot, vcpu, offset, 4, value);
}

uint32_t get(struct conformance *c, uint64_t offset)
{
    return get_on(c, 0, offset);
}

void put(struct conformance *c, uint64_t offset, uint32_t value)
{
    put_on(c, 0, offset, value);
    expect_stopped(c, 0, false, "the device was not held");
}

void expect_get(struct conformance *c, uint64_t offset, uint32_t want, const char *when)
{
    uint32_t value = get(c, offset);
    expect(c, value == want, "the register at %#llx is %#x, not %#x, %s",
           (unsigned long long)offset, value, want, when);
}

void expect_stopped(struct conformance *c, unsigned vcpu, bool stopped, const char *when)
{
    bool is = c->target->stopped(c->slot, vcpu);
    expect(c, is == stopped, "vCPU %u %s: %s", vcpu, is ? "waits" : "has its answer", when);
}

void add_status(struct conformance *c, uint32_t bits)
{
    put(c, STATUS, get(c, STATUS) | bits);
}

uint64_t device_features(struct conformance *c)
{
    put(c, DEVICE_FEATURES_SEL, 1);
    uint64_t high = get(c, DEVICE_FEATURES);
    put(c, DEVICE_FEATURES_SEL, 0);
    return high << 32 | get(c, DEVICE_FEATURES);
}

void set_features(struct conformance *c, uint64_t features)
{
    put(c, DRIVER_FEATURES_SEL, 1);
    put(c, DRIVER_FEATURES, (uint32_t)(features >> 32));
    put(c, DRIVER_FEATURES_SEL, 0);
    put(c, DRIVER_FEATURES, (uint32_t)features);
}

/* Three areas with something in all 64 bits. */
static struct conformance_queue areas(uint32_t size, uint64_t seed)
{
    return (struct conformance_queue){
        .size = size,
        .desc = 0x1234567080000000ull + seed * 0x100000000010000ull,
        .driver = 0x2345678090000000ull + seed * 0x200000000020000ull,
        .device = 0x34567890a0000000ull + seed * 0x100000000030000ull,
    };
}

static void put_address(struct conformance *c, uint64_t low, uint64_t address)
{
    put(c, low, (uint32_t)address);
    put(c, low + 4, (uint32_t)(address >> 32));
}

void set_queue(struct conformance *c, uint32_t queue, uint32_t size, uint64_t seed)
{
    struct conformance_queue want = areas(size, seed);
    put(c, QUEUE_SEL, queue);
    put(c, QUEUE_NUM, size);
    put_address(c, QUEUE_DESC, want.desc);
    put_address(c, QUEUE_DRIVER, want.driver);
    put_address(c, QUEUE_DEVICE, want.device);
}

void enable_queue(struct conformance *c, uint32_t queue, uint32_t size, uint64_t seed)
{
    set_queue(c, queue, size, seed);
    put(c, QUEUE_READY, 1);
}

void negotiate(struct conformance *c, uint64_t features)
{
    put(c, STATUS, 0);
    add_status(c, ACKNOWLEDGE);
    add_status(c, DRIVER);
    set_features(c, features);
    add_status(c, FEATURES_OK);
}

void set_up(struct conformance *c, uint64_t features)
{
    negotiate(c, features);
    expect(c, get(c, STATUS) & FEATURES_OK, "the features %#llx were refused",
           (unsigned long long)features);
    enable_queue(c, 0, 128, 0);
    enable_queue(c, 1, 8, 1);
}

void start(struct conformance *c, uint64_t features)
{
    set_up(c, features);
    add_status(c, DRIVER_OK);
    expect_get(c, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK, "after DRIVER_OK");
}

void expect_runs(struct conformance *c, uint32_t queue, uint32_t size, uint64_t seed,
                 const char *when)
{
    struct conformance_queue is = {0}, want = areas(size, seed);
    bool runs = c->target->runs(c->slot, queue, &is);
    expect(c, runs, "queue %u does not run %s", queue, when);
    expect(c, is.size == want.size, "queue %u runs with size %u, not %u, %s", queue, is.size,
           want.size, when);
    expect(c, is.desc == want.desc && is.driver == want.driver && is.device == want.device,
           "queue %u runs at %#llx, %#llx, %#llx, not %#llx, %#llx, %#llx, %s", queue,
           (unsigned long long)is.desc, (unsigned long long)is.driver,
           (unsigned long long)is.device, (unsigned long long)want.desc,
           (unsigned long long)want.driver, (unsigned long long)want.device, when);
}

void expect_idle(struct conformance *c, uint32_t queue, const char *when)
{
    struct conformance_queue is;
    expect(c, !c->target->runs(c->slot, queue, &is), "queue %u runs %s", queue, when);
}

void expect_notify(struct conformance *c, uint32_t queue, bool reaches, const char *when)
{
    unsigned before[CONFORMANCE_QUEUES];
    for (uint32_t i = 0; i < CONFORMANCE_QUEUES; i++)
        before[i] = c->target->notified(c->slot, i);
    put(c, QUEUE_NOTIFY, queue);
    for (uint32_t i = 0; i < CONFORMANCE_QUEUES; i++) {
        unsigned more = c->target->notified(c->slot, i) - before[i];
        expect(c, more == (i == queue && reaches),
               "a notification of queue %u notified queue %u %u times %s", queue, i, more, when);
    }
}

void expect_config(struct conformance *c, const uint8_t *bytes, const char *when)
{
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (uint32_t at = 0; at + size <= CONFORMANCE_CONFIG; at += size) {
            uint64_t value = c->target->read(c->slot, 0, CONFIG + at, size), want = 0;
            for (unsigned i = 0; i < size; i++)
                want |= (uint64_t)bytes[at + i] << (8 * i);
            expect(c, value == want, "%u bytes at %u of the configuration space are %#llx, not "
                   "%#llx, %s", size, at, (unsigned long long)value, (unsigned long long)want,
                   when);
        }
    }
}
