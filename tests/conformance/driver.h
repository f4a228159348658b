/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * driver.h - what a driver does, in the words of virtio 1.2, for the tests. On vCPU 0 if none is
 * named. The numbers are the specification's, written down here a second time so that a wrong one
 * in the implementation shows.
 */
#ifndef TESTS_CONFORMANCE_DRIVER_H
#define TESTS_CONFORMANCE_DRIVER_H

#include "conformance.h"

enum {
    MAGIC_VALUE = 0x00,
    VERSION_NUMBER = 0x04,
    DEVICE_ID = 0x08,
    VENDOR_ID = 0x0c,
    DEVICE_FEATURES = 0x10,
    DEVICE_FEATURES_SEL = 0x14,
    DRIVER_FEATURES = 0x20,
    DRIVER_FEATURES_SEL = 0x24,
    QUEUE_SEL = 0x30,
    QUEUE_NUM_MAX = 0x34,
    QUEUE_NUM = 0x38,
    QUEUE_READY = 0x44,
    QUEUE_NOTIFY = 0x50,
    INTERRUPT_STATUS = 0x60,
    INTERRUPT_ACK = 0x64,
    STATUS = 0x70,
    QUEUE_DESC = 0x80, /* and the high half 4 above; so with the next two */
    QUEUE_DRIVER = 0x90,
    QUEUE_DEVICE = 0xa0,
    SHM_SEL = 0xac,
    SHM_LEN = 0xb0,
    SHM_BASE = 0xb8,
    QUEUE_RESET = 0xc0,
    CONFIG_GENERATION = 0xfc,
    CONFIG = 0x100,
};

enum {
    ACKNOWLEDGE = 1,
    DRIVER = 2,
    DRIVER_OK = 4,
    FEATURES_OK = 8,
    NEEDS_RESET = 64,
    FAILED = 128,
};

#define USED_BUFFER 1u   /* bits of InterruptStatus */
#define CONFIG_CHANGE 2u

#define FEATURE(N) (1ull << (N))
#define VERSION_1 FEATURE(32)
#define RING_RESET FEATURE(40)

/* An aligned access of 4 bytes. */
uint32_t get(struct conformance *c, uint64_t offset);
void put(struct conformance *c, uint64_t offset, uint32_t value);

/* Reads a register and expects it to be `want`. */
void expect_get(struct conformance *c, uint64_t offset, uint32_t want, const char *when);

/* The same on another vCPU; and whether it waits for the answer to its write. */
uint32_t get_on(struct conformance *c, unsigned vcpu, uint64_t offset);
void put_on(struct conformance *c, unsigned vcpu, uint64_t offset, uint32_t value);
void expect_stopped(struct conformance *c, unsigned vcpu, bool stopped, const char *when);

/* Adds bits to Status, as it reads. */
void add_status(struct conformance *c, uint32_t bits);

uint64_t device_features(struct conformance *c);
void set_features(struct conformance *c, uint64_t features);

/* A queue's registers but for QueueReady; the addresses follow from `seed`. */
void set_queue(struct conformance *c, uint32_t queue, uint32_t size, uint64_t seed);
void enable_queue(struct conformance *c, uint32_t queue, uint32_t size, uint64_t seed);

/* 3.1.1, up to and with FEATURES_OK; with queues 0 and 1 ready; with DRIVER_OK. */
void negotiate(struct conformance *c, uint64_t features);
void set_up(struct conformance *c, uint64_t features);
void start(struct conformance *c, uint64_t features);

/* The device uses the queue as set_queue() described it; or does not use it. */
void expect_runs(struct conformance *c, uint32_t queue, uint32_t size, uint64_t seed,
                 const char *when);
void expect_idle(struct conformance *c, uint32_t queue, const char *when);

/* One notification reaches the device, or does not. */
void expect_notify(struct conformance *c, uint32_t queue, bool reaches, const char *when);

/* The configuration space reads as `bytes` with accesses of every width. */
void expect_config(struct conformance *c, const uint8_t *bytes, const char *when);

#endif
