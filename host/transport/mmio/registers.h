/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * registers.h - the virtio-mmio register file, version 2 (virtio 1.2, section 4.2).
 *
 * An access goes in; an answer for the driver and an effect for the device core come out. Nothing
 * else happens here: no thread, no lock, no memory beyond what the caller gives. One `struct
 * registers` per slot, used by one thread (the access thread).
 *
 * Some effects take time: a reset, a queue to start, stop or reset, DRIVER_OK, a configuration
 * write. Then the operation is in progress (`busy`) until the caller says that it is done, and only
 * then is the vCPU that asked for it answered: a driver frees its memory as soon as its write of 0
 * to Status or QueueReady returns (4.2.2.2 lets it rely on that). There is one operation at a time:
 *
 *     idle -> registers_write() returns an effect with WHEN_DONE -> busy
 *     busy -> registers_reset_done() and the like -> idle; answer all that wait for it, then give
 *             those that got AGAIN once more, in the order they came
 *
 * What other vCPUs see and may do meanwhile:
 *   - Reads are answered at once. An operation shows when it is done and not before: Status keeps
 *     its old value during a reset (2.4.2: a driver takes 0 as the end of it), QueueReady stays 1
 *     while a queue stops, QueueReset reads 1 while a queue is reset (4.2.2.1).
 *   - Another 0 to Status during a reset is the same reset: WHEN_DONE and no effect.
 *   - Other writes of Status, QueueReady, QueueReset and the configuration space come after the
 *     operation: AGAIN, nothing has happened. Ignoring them would lose what a driver asked for, and
 *     the specification has no way to tell it so.
 *   - QueueNotify never waits, because a hypervisor may not wait for its answer. It does nothing
 *     if its queue or the device is being stopped: requests end there (2.4.1, 2.6.1.1.1).
 *   - All else is stored at once. A reset clears it when it is done.
 *
 * A driver that breaks the rules harms nobody: what it asked for is ignored, or taken where it can
 * mean only one thing, and counted in `errors`. A control register takes aligned accesses of 4
 * bytes (4.2.2.2); any other reads as 0 or is ignored, a pair in 8 bytes too.
 */
#ifndef HOST_TRANSPORT_MMIO_REGISTERS_H
#define HOST_TRANSPORT_MMIO_REGISTERS_H

#include <hvv/host.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGISTERS_CONFIG 0x100u /* where the configuration space begins */
#define REGISTERS_SIZE (REGISTERS_CONFIG + HVV_CONFIG_MAX) /* what is above means nothing */

/*
 * A queue as the driver wrote it: guest addresses, of which nothing is known before it is ready,
 * and then only what the device's check() looked at.
 */
struct registers_queue {
    uint64_t desc, driver, device; /* the three areas */
    uint32_t size;                 /* elements; right for the device if `ready` */
    bool ready;                    /* the driver gave it to the device and did not take it back */
};

/* What the slot's device is. The caller's, unchanged as long as the registers use it. */
struct registers_device {
    uint32_t device_id;           /* 0: a placeholder */
    uint32_t vendor_id;
    uint64_t features;            /* offered, but for those that MMIO has no way to carry out */
    uint32_t n_queues;            /* HVV_QUEUES_MAX at most */
    const uint32_t *queue_size;   /* n_queues of them: the largest, 0: the queue is not available */
    _Atomic uint32_t *interrupts; /* InterruptStatus: any thread sets bits, acknowledging clears */
    /* Status shows DEVICE_NEEDS_RESET. Any thread sets it; clear it before a reset is done. */
    const atomic_bool *needs_reset;
    void *arg;                    /* of the functions */
    /* Copies bytes of the configuration space, 0 where there are none; returns its generation. */
    uint32_t (*config_read)(void *arg, uint32_t offset, void *data, uint32_t size);
    /* Looks at a queue before it becomes ready, its addresses say; tells why not. May be NULL. */
    bool (*check)(void *arg, uint32_t index, const struct registers_queue *queue, char *why,
                  size_t size);
};

/* What the device core has to do. From RESET on they take time: see above. */
enum registers_effect {
    REGISTERS_NONE,
    REGISTERS_NOTIFY,        /* `queue`: there are available buffers */
    REGISTERS_FEATURES_OK,   /* `data`: the features, negotiated */
    REGISTERS_ACKNOWLEDGE,   /* `data`: the bits of InterruptStatus that this cleared, maybe none */
    REGISTERS_RESET,         /* stop everything; all registers are cleared when it is done */
    REGISTERS_DRIVER_OK,     /* start every queue that is ready; `data` as with FEATURES_OK, which
                                is implied if one write set both */
    REGISTERS_QUEUE_START,   /* `queue`, whose registers do not change meanwhile */
    REGISTERS_QUEUE_STOP,    /* `queue` */
    REGISTERS_QUEUE_RESET,   /* `queue`: stop it and forget its indices */
    REGISTERS_CONFIG_WRITE,  /* `size` bytes at `offset` of the configuration space: `data` */
};

/* When the vCPU gets its answer. */
enum registers_answer {
    REGISTERS_NOW,
    REGISTERS_WHEN_DONE, /* as soon as the operation in progress is done */
    REGISTERS_AGAIN,     /* nothing happened: give the access once more when that is done */
};

struct registers_result {
    enum registers_answer answer;
    enum registers_effect effect;
    uint64_t value;    /* what to answer: of a read as wide as that, of a write 0 */
    uint64_t data;
    uint32_t queue;
    uint32_t offset, size;
    const char *error; /* the first wrong thing the driver did since a reset, else NULL: to be
                          logged, at a bounded rate. As `error` below. */
};

struct registers {
    const struct registers_device *device; /* NULL: a placeholder */
    struct registers_queue *queues;        /* the caller's, device->n_queues of them */
    enum registers_effect busy;            /* the operation in progress, or NONE */
    uint32_t busy_queue;                   /* of it */
    uint32_t status;                       /* bits that the driver set */
    uint32_t queue_sel, device_features_sel, driver_features_sel;
    uint64_t driver_features;
    bool features_beyond;                  /* it set some that do not fit into 64 bits */
    uint64_t errors;                       /* wrong things the driver did since init */
    char error[256];                       /* the first since a reset, or "" */
};

/*
 * Makes a slot's registers as after a reset: of a device with room for its queues, or, with NULL or
 * a device_id of 0, a placeholder: no device, nothing but MagicValue and Version (4.2.2).
 */
void registers_init(struct registers *r, const struct registers_device *device,
                    struct registers_queue *queues);

/* An access of `size` bytes at `offset` in the slot. Any values are allowed. */
struct registers_result registers_read(struct registers *r, uint64_t offset, uint64_t size);
struct registers_result registers_write(struct registers *r, uint64_t offset, uint64_t size,
                                        uint64_t value);

/* The features negotiated: none before FEATURES_OK. */
uint64_t registers_features(const struct registers *r);

/*
 * The operation in progress is done. False if there is no such one: then nothing happens. A queue
 * that did not start (`ok`) is not ready. After DRIVER_OK the device works or needs_reset is set.
 * A configuration write may be ended at its deadline, done or not.
 */
bool registers_reset_done(struct registers *r);
bool registers_driver_ok_done(struct registers *r);
bool registers_queue_started(struct registers *r, uint32_t queue, bool ok);
bool registers_queue_stopped(struct registers *r, uint32_t queue);
bool registers_queue_reset_done(struct registers *r, uint32_t queue);
bool registers_config_written(struct registers *r);

#endif
