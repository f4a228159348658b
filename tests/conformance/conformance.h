/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conformance.h - virtio 1.2 as a table of tests, and what is put under them.
 *
 * The tests are a driver's view of one virtio-mmio device, plus a few questions to the device: does
 * this queue run, was it notified. A target answers both. It includes nothing of the daemon, so any
 * implementation can be one: write a struct conformance_target and a main() that calls
 * conformance_main().
 *
 * Each test has the number of its section in its name. There are four tables:
 *     device-musts.c   every MUST of the device in 2.1 to 2.6, 2.10, 4.2 and 6.2; those of rings
 *                      (2.7 to 2.9) and of device types (5) are not a transport's; a sentence
 *                      that asks for two things has two rows
 *     device-rules.c   what those sections say of the device in other words than MUST
 *     driver-musts.c   drivers that break a MUST of theirs: the device must stay whole
 *     meanwhile.c      what other vCPUs see while a reset, a stop, ... is in progress
 */
#ifndef TESTS_CONFORMANCE_H
#define TESTS_CONFORMANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFORMANCE_QUEUES 4u
#define CONFORMANCE_CONFIG 60u /* bytes of configuration space */
#define CONFORMANCE_VCPUS 4u

/* The device a test wants. */
struct conformance_device {
    uint32_t device_id, vendor_id;
    uint64_t features; /* of the device type, and those of the transport that the tests are about */
    uint32_t queue_size[CONFORMANCE_QUEUES]; /* the largest; 0: not available */
    uint8_t config[CONFORMANCE_CONFIG];
};

/* A queue as the device was told. */
struct conformance_queue {
    uint32_t size;
    uint64_t desc, driver, device;
};

/*
 * What is tested. Functions get what make() returned. A write comes back when the vCPU has its
 * answer, or, while the device is held, when it is clear that there is none yet.
 */
struct conformance_target {
    const char *name;
    uint64_t reach; /* offsets below this belong to the device */
    /* A device nobody has used yet; NULL: a slot without one. NULL if there is no memory. */
    void *(*make)(const struct conformance_device *device);
    void (*destroy)(void *slot);

    /* The driver. vCPUs count from 0; one that is stopped makes no access. */
    uint64_t (*read)(void *slot, unsigned vcpu, uint64_t offset, unsigned size);
    void (*write)(void *slot, unsigned vcpu, uint64_t offset, unsigned size, uint64_t value);
    bool (*stopped)(void *slot, unsigned vcpu); /* it waits for the answer to its write */

    /* The device. */
    void (*hold)(void *slot, bool held); /* finish nothing that was asked of it until let go; NULL
                                            if that cannot be had: some tests are skipped */
    void (*event)(void *slot, uint32_t bits); /* an event, as in InterruptStatus */
    void (*set_config)(void *slot, uint32_t offset, const void *data, uint32_t size);
    void (*fail)(void *slot);                 /* it cannot go on: needs a reset */
    bool (*runs)(void *slot, uint32_t queue, struct conformance_queue *setup);
    unsigned (*notified)(void *slot, uint32_t queue); /* how often, since made */
    unsigned (*resets)(void *slot);                   /* how often it was reset, since made */
    uint64_t (*features)(void *slot);                 /* as negotiated, 0 before */
};

/* One test while it runs. */
struct conformance {
    const struct conformance_target *target;
    struct conformance_device device; /* the one that is there */
    void *slot;
    char why[256];                    /* the first thing that was wrong, or "" */
};

struct conformance_row {
    const char *name;   /* section and, in two words, what */
    const char *says;   /* the requirement in our words */
    void (*run)(struct conformance *c); /* with a usual device made and not touched; or NULL: */
    const char *reason;                 /* why a register file cannot show it, who does */
    bool holds;                         /* needs hold() */
};

/* The tables end with a row without a name. */
extern const struct conformance_row device_musts[], device_rules[], driver_musts[], meanwhile[];

/*
 * Runs all tests, or those whose name begins with one of the arguments; --list shows the table.
 * Prints `ok`, `not ok` and `skip` lines and a count. The exit status of the program.
 */
int conformance_main(const struct conformance_target *target, int argc, char **argv);

/* Replaces the device; NULL: by none, the slot stays. */
void conformance_make(struct conformance *c, const struct conformance_device *device);

/* Something the specification asks for. Only the first that is not so is kept. */
__attribute__((format(printf, 3, 4))) void expect(struct conformance *c, bool is_so,
                                                  const char *fmt, ...);

#endif
