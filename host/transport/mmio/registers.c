/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * registers.c - see registers.h. Sections named here are those of virtio 1.2. Pure; runs on the
 * thread that owns the registers.
 */
#include "transport/mmio/registers.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAGIC 0x74726976u
#define MMIO_VERSION 2u
#define ALL_ONES 0xffffffffu

/* Registers (4.2.2). */
enum {
    MAGIC_VALUE = 0x000,
    VERSION_NUMBER = 0x004,
    DEVICE_ID = 0x008,
    VENDOR_ID = 0x00c,
    DEVICE_FEATURES = 0x010,
    DEVICE_FEATURES_SEL = 0x014,
    DRIVER_FEATURES = 0x020,
    DRIVER_FEATURES_SEL = 0x024,
    QUEUE_SEL = 0x030,
    QUEUE_NUM_MAX = 0x034,
    QUEUE_NUM = 0x038,
    QUEUE_READY = 0x044,
    QUEUE_NOTIFY = 0x050,
    INTERRUPT_STATUS = 0x060,
    INTERRUPT_ACK = 0x064,
    STATUS = 0x070,
    QUEUE_DESC_LOW = 0x080,
    QUEUE_DESC_HIGH = 0x084,
    QUEUE_DRIVER_LOW = 0x090,
    QUEUE_DRIVER_HIGH = 0x094,
    QUEUE_DEVICE_LOW = 0x0a0,
    QUEUE_DEVICE_HIGH = 0x0a4,
    SHM_SEL = 0x0ac,
    SHM_LEN_LOW = 0x0b0,
    SHM_LEN_HIGH = 0x0b4,
    SHM_BASE_LOW = 0x0b8,
    SHM_BASE_HIGH = 0x0bc,
    QUEUE_RESET = 0x0c0,
    CONFIG_GENERATION = 0x0fc,
};

/* Bits of Status (2.1). */
enum {
    ACKNOWLEDGE = 1,
    DRIVER = 2,
    DRIVER_OK = 4,
    FEATURES_OK = 8,
    NEEDS_RESET = 64,
    FAILED = 128,
    DRIVER_BITS = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | FAILED,
};

#define INTERRUPT_BITS 3u /* used buffer notification, configuration change notification */

#define FEATURE(N) (UINT64_C(1) << (N))
#define F_VERSION_1 FEATURE(32)
#define F_RING_PACKED FEATURE(34)
#define F_RING_RESET FEATURE(40)
/*
 * Not offered, whatever the caller says: SR_IOV and NOTIF_CONFIG_DATA exist on PCI only (6, 6.2),
 * and with NOTIFICATION_DATA a notification would be more than an index.
 */
#define F_NEVER (FEATURE(37) | FEATURE(38) | FEATURE(39))

enum { READ = 1, WRITE = 2 };

static const struct {
    const char *name;
    unsigned may;
} known[REGISTERS_CONFIG / 4] = {
    [MAGIC_VALUE / 4] = {"MagicValue", READ},
    [VERSION_NUMBER / 4] = {"Version", READ},
    [DEVICE_ID / 4] = {"DeviceID", READ},
    [VENDOR_ID / 4] = {"VendorID", READ},
    [DEVICE_FEATURES / 4] = {"DeviceFeatures", READ},
    [DEVICE_FEATURES_SEL / 4] = {"DeviceFeaturesSel", WRITE},
    [DRIVER_FEATURES / 4] = {"DriverFeatures", WRITE},
    [DRIVER_FEATURES_SEL / 4] = {"DriverFeaturesSel", WRITE},
    [QUEUE_SEL / 4] = {"QueueSel", WRITE},
    [QUEUE_NUM_MAX / 4] = {"QueueNumMax", READ},
    [QUEUE_NUM / 4] = {"QueueNum", WRITE},
    [QUEUE_READY / 4] = {"QueueReady", READ | WRITE},
    [QUEUE_NOTIFY / 4] = {"QueueNotify", WRITE},
    [INTERRUPT_STATUS / 4] = {"InterruptStatus", READ},
    [INTERRUPT_ACK / 4] = {"InterruptACK", WRITE},
    [STATUS / 4] = {"Status", READ | WRITE},
    [QUEUE_DESC_LOW / 4] = {"QueueDescLow", WRITE},
    [QUEUE_DESC_HIGH / 4] = {"QueueDescHigh", WRITE},
    [QUEUE_DRIVER_LOW / 4] = {"QueueDriverLow", WRITE},
    [QUEUE_DRIVER_HIGH / 4] = {"QueueDriverHigh", WRITE},
    [QUEUE_DEVICE_LOW / 4] = {"QueueDeviceLow", WRITE},
    [QUEUE_DEVICE_HIGH / 4] = {"QueueDeviceHigh", WRITE},
    [SHM_SEL / 4] = {"SHMSel", WRITE},
    [SHM_LEN_LOW / 4] = {"SHMLenLow", READ},
    [SHM_LEN_HIGH / 4] = {"SHMLenHigh", READ},
    [SHM_BASE_LOW / 4] = {"SHMBaseLow", READ},
    [SHM_BASE_HIGH / 4] = {"SHMBaseHigh", READ},
    [QUEUE_RESET / 4] = {"QueueReset", READ | WRITE},
    [CONFIG_GENERATION / 4] = {"ConfigGeneration", READ},
};

/* ---- results --------------------------------------------------------------------------------- */

static struct registers_result say(uint64_t value)
{
    return (struct registers_result){.value = value};
}

/* Counts something wrong that the driver did; the first since a reset is kept in words. */
__attribute__((format(printf, 3, 4))) static void blame(struct registers *r,
                                                        struct registers_result *result,
                                                        const char *fmt, ...)
{
    r->errors++;
    if (r->error[0])
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(r->error, sizeof(r->error), fmt, args);
    va_end(args);
    result->error = r->error;
}

/* Begins an operation that takes time. */
static void begin(struct registers *r, struct registers_result *result, enum registers_effect what,
                  uint32_t queue)
{
    r->busy = what;
    r->busy_queue = queue;
    result->effect = what;
    result->queue = queue;
    result->answer = REGISTERS_WHEN_DONE;
}

static bool is_busy_with(const struct registers *r, enum registers_effect what, uint32_t queue)
{
    return r->busy == what && r->busy_queue == queue;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* As after a reset (2.4.1, 4.2.2.1). The count of errors stays. */
static void clear(struct registers *r)
{
    const uint64_t errors = r->errors;
    *r = (struct registers){.device = r->device, .queues = r->queues, .errors = errors};
    if (!r->device)
        return;
    memset(r->queues, 0, r->device->n_queues * sizeof(r->queues[0]));
    atomic_store(r->device->interrupts, 0);
}

void registers_init(struct registers *r, const struct registers_device *device,
                    struct registers_queue *queues)
{
    *r = (struct registers){0};
    if (device && device->device_id != 0) {
        r->device = device;
        r->queues = queues;
    }
    clear(r);
}

static bool done(struct registers *r, enum registers_effect what, uint32_t queue)
{
    if (!is_busy_with(r, what, queue))
        return false;
    r->busy = REGISTERS_NONE;
    return true;
}

bool registers_reset_done(struct registers *r)
{
    if (!done(r, REGISTERS_RESET, 0))
        return false;
    clear(r);
    return true;
}

bool registers_driver_ok_done(struct registers *r)
{
    if (!done(r, REGISTERS_DRIVER_OK, 0))
        return false;
    r->status |= DRIVER_OK;
    return true;
}

bool registers_queue_started(struct registers *r, uint32_t queue, bool ok)
{
    if (!done(r, REGISTERS_QUEUE_START, queue))
        return false;
    r->queues[queue].ready = ok;
    return true;
}

bool registers_queue_stopped(struct registers *r, uint32_t queue)
{
    if (!done(r, REGISTERS_QUEUE_STOP, queue))
        return false;
    r->queues[queue].ready = false;
    return true;
}

bool registers_queue_reset_done(struct registers *r, uint32_t queue)
{
    if (!done(r, REGISTERS_QUEUE_RESET, queue))
        return false;
    r->queues[queue] = (struct registers_queue){0};
    return true;
}

bool registers_config_written(struct registers *r)
{
    return done(r, REGISTERS_CONFIG_WRITE, 0);
}

/* ---- features -------------------------------------------------------------------------------- */

static uint64_t offered(const struct registers *r)
{
    return r->device->features & ~F_NEVER;
}

uint64_t registers_features(const struct registers *r)
{
    return r->status & FEATURES_OK ? r->driver_features : 0;
}

/* Words above the second are empty: no feature has such a number. */
static uint32_t device_features(const struct registers *r)
{
    return r->device_features_sel < 2 ? (uint32_t)(offered(r) >> (32 * r->device_features_sel)) : 0;
}

/* Both halves are stored apart, in any order and as often as the driver likes. */
static void set_half(uint64_t *to, bool high, uint32_t value)
{
    *to = high ? (*to & ALL_ONES) | (uint64_t)value << 32 : (*to & ~(uint64_t)ALL_ONES) | value;
}

static struct registers_result write_driver_features(struct registers *r, uint32_t value)
{
    struct registers_result result = {0};
    if (r->status & FEATURES_OK)
        blame(r, &result, "DriverFeatures written (%#" PRIx32 ", word %" PRIu32 ") after "
              "FEATURES_OK", value, r->driver_features_sel);
    else if (r->driver_features_sel < 2)
        set_half(&r->driver_features, r->driver_features_sel == 1, value);
    else if (value)
        r->features_beyond = true;
    return result;
}

/* 2.2.2: what is not a subset of what is offered is refused. 6.2 allows to insist on VERSION_1. */
static bool accept_features(struct registers *r, struct registers_result *result)
{
    const uint64_t too_many = r->driver_features & ~offered(r);
    if (r->features_beyond)
        blame(r, result, "FEATURES_OK refused: features above 63 are set, none is offered");
    else if (too_many)
        blame(r, result, "FEATURES_OK refused: of the features %#" PRIx64 ", %#" PRIx64
              " are not offered", r->driver_features, too_many);
    else if (!(r->driver_features & F_VERSION_1))
        blame(r, result, "FEATURES_OK refused: the features %#" PRIx64 " are without VERSION_1 "
              "(bit 32), which MMIO version 2 needs", r->driver_features);
    else
        return true;
    return false;
}

/* ---- Status ---------------------------------------------------------------------------------- */

/*
 * What of `value` is wrong by 2.1.1 and 3.1.1. Bits that do not exist and bits left out, which the
 * driver may not clear, change nothing: a write sets flags (4.2.2). Steps left out are taken for
 * granted: they are the driver's own, and the device needs none of them.
 */
static void judge_status(struct registers *r, struct registers_result *result, uint32_t value,
                         uint32_t add)
{
    const uint32_t after = r->status | add;
    if (value & ~(uint32_t)(DRIVER_BITS | NEEDS_RESET))
        blame(r, result, "Status %#" PRIx32 " has bits that are not defined (%#x are)", value,
              DRIVER_BITS | NEEDS_RESET);
    else if (r->status & ~value)
        blame(r, result, "Status %#" PRIx32 " is without bits of %#" PRIx32 ": only 0 clears them",
              value, r->status);
    else if ((add & (FEATURES_OK | DRIVER_OK) && !(after & DRIVER)) ||
             (add & DRIVER && !(after & ACKNOWLEDGE)))
        blame(r, result, "Status %#" PRIx32 " skips a step: the order is ACKNOWLEDGE (1), "
              "DRIVER (2), FEATURES_OK (8), DRIVER_OK (4)", value);
}

/* Nothing begins in a device that the driver gave up: it has to reset it first (2.1.1). */
static uint32_t refuse_after_failed(struct registers *r, struct registers_result *result,
                                    uint32_t value, uint32_t add)
{
    if (!((r->status | add) & FAILED) || !(add & (FEATURES_OK | DRIVER_OK)))
        return add;
    blame(r, result, "Status %#" PRIx32 " after FAILED (128): only a reset can follow", value);
    return add & ~(uint32_t)(FEATURES_OK | DRIVER_OK);
}

static struct registers_result set_status(struct registers *r, uint32_t value)
{
    struct registers_result result = {0};
    uint32_t add = value & DRIVER_BITS & ~r->status;
    judge_status(r, &result, value, add);
    add = refuse_after_failed(r, &result, value, add);
    if (add & FEATURES_OK && !accept_features(r, &result))
        add &= ~(uint32_t)FEATURES_OK;
    if (add & DRIVER_OK && !((r->status | add) & FEATURES_OK)) {
        blame(r, &result, "DRIVER_OK (4) in Status %#" PRIx32 " without FEATURES_OK (8)", value);
        add &= ~(uint32_t)DRIVER_OK;
    }
    r->status |= add & ~(uint32_t)DRIVER_OK;
    if (add & DRIVER_OK)
        begin(r, &result, REGISTERS_DRIVER_OK, 0);
    else if (add & FEATURES_OK)
        result.effect = REGISTERS_FEATURES_OK;
    if (add & (FEATURES_OK | DRIVER_OK))
        result.data = r->driver_features;
    return result;
}

static struct registers_result write_status(struct registers *r, uint32_t value)
{
    struct registers_result result = {0};
    if (value)
        return set_status(r, value);
    begin(r, &result, REGISTERS_RESET, 0);
    return result;
}

static uint32_t read_status(const struct registers *r)
{
    return r->status | (atomic_load(r->device->needs_reset) ? NEEDS_RESET : 0);
}

/* ---- queues ---------------------------------------------------------------------------------- */

static bool is_live(const struct registers *r)
{
    return r->status & DRIVER_OK;
}

static bool has_queue(const struct registers *r, uint32_t index)
{
    return index < r->device->n_queues && r->device->queue_size[index] != 0;
}

/* The queue QueueSel points at, or NULL. QueueSel itself may have any value. */
static struct registers_queue *selected(const struct registers *r)
{
    return has_queue(r, r->queue_sel) ? &r->queues[r->queue_sel] : NULL;
}

static uint32_t read_queue(const struct registers *r, uint32_t offset)
{
    const struct registers_queue *queue = selected(r);
    if (!queue)
        return 0;
    switch (offset) {
    case QUEUE_NUM_MAX: return r->device->queue_size[r->queue_sel];
    case QUEUE_READY: return queue->ready;
    default: return is_busy_with(r, REGISTERS_QUEUE_RESET, r->queue_sel);
    }
}

/* Size and addresses: 4.2.2.2 forbids them while the queue is ready. */
static void set_queue(struct registers *r, struct registers_result *result, uint32_t offset,
                      uint32_t value)
{
    struct registers_queue *queue = selected(r);
    if (queue->ready || is_busy_with(r, REGISTERS_QUEUE_START, r->queue_sel)) {
        blame(r, result, "%s of queue %" PRIu32 " written (%#" PRIx32 ") while QueueReady is 1",
              known[offset / 4].name, r->queue_sel, value);
        return;
    }
    switch (offset) {
    case QUEUE_NUM: queue->size = value; break;
    case QUEUE_DESC_LOW:
    case QUEUE_DESC_HIGH: set_half(&queue->desc, offset == QUEUE_DESC_HIGH, value); break;
    case QUEUE_DRIVER_LOW:
    case QUEUE_DRIVER_HIGH: set_half(&queue->driver, offset == QUEUE_DRIVER_HIGH, value); break;
    default: set_half(&queue->device, offset == QUEUE_DEVICE_HIGH, value); break;
    }
}

/* A split ring has a power of two of elements (2.7), a packed one need not (2.8). */
static bool check_queue(struct registers *r, struct registers_result *result, uint32_t index)
{
    const struct registers_queue *queue = &r->queues[index];
    const uint32_t max = r->device->queue_size[index];
    char why[192] = "";
    if (queue->size == 0 || queue->size > max)
        blame(r, result, "QueueReady refused: QueueNum %" PRIu32 " of queue %" PRIu32
              " is not within 1 to %" PRIu32, queue->size, index, max);
    else if (queue->size & (queue->size - 1) && !(registers_features(r) & F_RING_PACKED))
        blame(r, result, "QueueReady refused: QueueNum %" PRIu32 " of queue %" PRIu32
              " is not a power of two", queue->size, index);
    else if (r->device->check &&
             !r->device->check(r->device->arg, index, queue, why, sizeof(why)))
        blame(r, result, "QueueReady refused: queue %" PRIu32 ": %s", index, why);
    else
        return true;
    return false;
}

/* Before FEATURES_OK it is out of order (3.1.1), but taken: nothing uses the queue yet. */
static void enable_queue(struct registers *r, struct registers_result *result, uint32_t index)
{
    if (!check_queue(r, result, index))
        return;
    if (!(r->status & FEATURES_OK))
        blame(r, result, "QueueReady of queue %" PRIu32 " written before FEATURES_OK", index);
    if (is_live(r))
        begin(r, result, REGISTERS_QUEUE_START, index);
    else
        r->queues[index].ready = true;
}

static void write_queue_ready(struct registers *r, struct registers_result *result, uint32_t value)
{
    struct registers_queue *queue = selected(r);
    if (value > 1)
        blame(r, result, "QueueReady %#" PRIx32 " of queue %" PRIu32 ": it is 0 or 1", value,
              r->queue_sel);
    else if (value == queue->ready)
        return;
    else if (value)
        enable_queue(r, result, r->queue_sel);
    else if (is_live(r))
        begin(r, result, REGISTERS_QUEUE_STOP, r->queue_sel);
    else
        queue->ready = false;
}

static void write_queue_reset(struct registers *r, struct registers_result *result, uint32_t value)
{
    struct registers_queue *queue = selected(r);
    if (!(registers_features(r) & F_RING_RESET))
        blame(r, result, "QueueReset of queue %" PRIu32 " written without RING_RESET (bit 40)",
              r->queue_sel);
    else if (value != 1)
        blame(r, result, "QueueReset %#" PRIx32 " of queue %" PRIu32 ": only 1 can be written",
              value, r->queue_sel);
    else if (queue->ready && is_live(r))
        begin(r, result, REGISTERS_QUEUE_RESET, r->queue_sel);
    else
        *queue = (struct registers_queue){0};
}

static struct registers_result write_queue(struct registers *r, uint32_t offset, uint32_t value)
{
    struct registers_result result = {0};
    if (!selected(r))
        blame(r, &result, "%s written (%#" PRIx32 ") for queue %" PRIu32 ", which is not "
              "available (the device has %" PRIu32 ")", known[offset / 4].name, value,
              r->queue_sel, r->device->n_queues);
    else if (offset == QUEUE_READY)
        write_queue_ready(r, &result, value);
    else if (offset == QUEUE_RESET)
        write_queue_reset(r, &result, value);
    else
        set_queue(r, &result, offset, value);
    return result;
}

/* True while the queue, or all of them, are going away: a notification comes too late then. */
static bool is_stopping(const struct registers *r, uint32_t index)
{
    return r->busy == REGISTERS_RESET || is_busy_with(r, REGISTERS_QUEUE_STOP, index) ||
           is_busy_with(r, REGISTERS_QUEUE_RESET, index);
}

/* A queue that is just being started by another vCPU is as good as ready here. */
static struct registers_result notify(struct registers *r, uint32_t index)
{
    struct registers_result result = {0};
    if (!has_queue(r, index))
        blame(r, &result, "QueueNotify %#" PRIx32 ": the device has %" PRIu32 " queues", index,
              r->device->n_queues);
    else if (is_stopping(r, index))
        return result;
    else if (!is_live(r) && r->busy != REGISTERS_DRIVER_OK)
        blame(r, &result, "QueueNotify %" PRIu32 " before DRIVER_OK", index);
    else if (!r->queues[index].ready && !is_busy_with(r, REGISTERS_QUEUE_START, index))
        blame(r, &result, "QueueNotify %" PRIu32 " while its QueueReady is 0", index);
    else {
        result.effect = REGISTERS_NOTIFY;
        result.queue = index;
    }
    return result;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static struct registers_result acknowledge(struct registers *r, uint32_t bits)
{
    struct registers_result result = {.effect = REGISTERS_ACKNOWLEDGE};
    if (bits & ~INTERRUPT_BITS)
        blame(r, &result, "InterruptACK %#" PRIx32 " has bits that are not defined (%#x are)", bits,
              INTERRUPT_BITS);
    bits &= INTERRUPT_BITS;
    result.data = atomic_fetch_and(r->device->interrupts, ~bits) & bits;
    return result;
}

/* ---- configuration space --------------------------------------------------------------------- */

static uint32_t generation(const struct registers *r)
{
    uint8_t none;
    return r->device->config_read(r->device->arg, 0, &none, 0);
}

/* True for a width that a processor can access, and that a driver may use here. */
static bool is_width(uint64_t size)
{
    return size == 1 || size == 2 || size == 4 || size == 8;
}

static bool config_fits(uint64_t offset, uint64_t size)
{
    return is_width(size) && offset < REGISTERS_SIZE && size <= REGISTERS_SIZE - offset;
}

static void blame_config(struct registers *r, struct registers_result *result, const char *what,
                         uint64_t offset, uint64_t size)
{
    blame(r, result, "%s of %" PRIu64 " bytes at %#" PRIx64 ": registers end at %#x", what, size,
          offset, REGISTERS_SIZE);
}

/* 4.2.2 "with byte alignment": any alignment will do. */
static struct registers_result read_config(struct registers *r, uint64_t offset, uint64_t size)
{
    struct registers_result result = {0};
    uint8_t data[8] = {0};
    if (!config_fits(offset, size)) {
        blame_config(r, &result, "a read", offset, size);
        return result;
    }
    r->device->config_read(r->device->arg, (uint32_t)offset - REGISTERS_CONFIG, data,
                           (uint32_t)size);
    for (uint32_t i = 0; i < size; i++)
        result.value |= (uint64_t)data[i] << (8 * i);
    return result;
}

static struct registers_result write_config(struct registers *r, uint64_t offset, uint64_t size,
                                            uint64_t value)
{
    struct registers_result result = {0};
    if (!config_fits(offset, size)) {
        blame_config(r, &result, "a write", offset, size);
        return result;
    }
    begin(r, &result, REGISTERS_CONFIG_WRITE, 0);
    result.offset = (uint32_t)offset - REGISTERS_CONFIG;
    result.size = (uint32_t)size;
    result.data = size == 8 ? value : value & ((UINT64_C(1) << (8 * size)) - 1);
    return result;
}

/* ---- accesses -------------------------------------------------------------------------------- */

/* The driver keeps to 4.2.2.2: aligned, 4 bytes, a register there is, in its direction. */
static bool is_proper(struct registers *r, struct registers_result *result, uint64_t offset,
                      uint64_t size, unsigned direction)
{
    const char *what = direction == READ ? "read" : "write";
    if (offset % 4 || size != 4)
        blame(r, result, "a %s of %" PRIu64 " bytes at %#" PRIx64 ": control registers take "
              "aligned accesses of 4 bytes", what, size, offset);
    else if (!known[offset / 4].name)
        blame(r, result, "a %s at %#" PRIx64 ": there is no register in MMIO version 2", what,
              offset);
    else if (!(known[offset / 4].may & direction))
        blame(r, result, "a %s of %s, which is for %s only", what, known[offset / 4].name,
              direction == READ ? "writing" : "reading");
    else
        return true;
    return false;
}

static uint32_t read_register(const struct registers *r, uint32_t offset)
{
    switch (offset) {
    case MAGIC_VALUE: return MAGIC;
    case VERSION_NUMBER: return MMIO_VERSION;
    case DEVICE_ID: return r->device->device_id;
    case VENDOR_ID: return r->device->vendor_id;
    case DEVICE_FEATURES: return device_features(r);
    case QUEUE_NUM_MAX:
    case QUEUE_READY:
    case QUEUE_RESET: return read_queue(r, offset);
    case INTERRUPT_STATUS: return atomic_load(r->device->interrupts) & INTERRUPT_BITS;
    case STATUS: return read_status(r);
    case CONFIG_GENERATION: return generation(r);
    default: return ALL_ONES; /* SHM*: no such region (4.2.2) */
    }
}

static struct registers_result write_register(struct registers *r, uint32_t offset, uint32_t value)
{
    switch (offset) {
    case DEVICE_FEATURES_SEL: r->device_features_sel = value; return say(0);
    case DRIVER_FEATURES_SEL: r->driver_features_sel = value; return say(0);
    case QUEUE_SEL: r->queue_sel = value; return say(0);
    case SHM_SEL: return say(0); /* there is no region, so they all read the same */
    case DRIVER_FEATURES: return write_driver_features(r, value);
    case QUEUE_NOTIFY: return notify(r, value);
    case INTERRUPT_ACK: return acknowledge(r, value);
    case STATUS: return write_status(r, value);
    default: return write_queue(r, offset, value);
    }
}

static uint32_t placeholder(uint64_t offset, uint64_t size)
{
    if (size != 4)
        return 0;
    return offset == MAGIC_VALUE ? MAGIC : offset == VERSION_NUMBER ? MMIO_VERSION : 0;
}

struct registers_result registers_read(struct registers *r, uint64_t offset, uint64_t size)
{
    struct registers_result result = {0};
    if (!r->device)
        return say(placeholder(offset, size));
    if (offset >= REGISTERS_CONFIG)
        return read_config(r, offset, size);
    if (is_proper(r, &result, offset, size, READ))
        result.value = read_register(r, (uint32_t)offset);
    return result;
}

/* What could begin an operation, or mean another thing before than after the one in progress. */
static bool has_to_wait(const struct registers *r, uint64_t offset)
{
    return r->busy && (offset == STATUS || offset == QUEUE_READY || offset == QUEUE_RESET ||
                       offset >= REGISTERS_CONFIG);
}

struct registers_result registers_write(struct registers *r, uint64_t offset, uint64_t size,
                                        uint64_t value)
{
    struct registers_result result = {0};
    if (!r->device)
        return result;
    if (offset < REGISTERS_CONFIG && !is_proper(r, &result, offset, size, WRITE))
        return result;
    if (has_to_wait(r, offset)) {
        const bool same_reset =
            r->busy == REGISTERS_RESET && offset == STATUS && (uint32_t)value == 0;
        result.answer = same_reset ? REGISTERS_WHEN_DONE : REGISTERS_AGAIN;
        return result;
    }
    if (offset >= REGISTERS_CONFIG)
        return write_config(r, offset, size, value);
    return write_register(r, (uint32_t)offset, (uint32_t)value);
}
