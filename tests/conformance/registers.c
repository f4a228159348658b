/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * registers.c - the register file under the conformance tests, with the smallest device core that
 * does what registers.h asks of its caller: it carries out one operation at a time, answers those
 * that wait for it, and then gives the accesses that came too early once more. One thread.
 */
#include "transport/mmio/registers.h"

#include "conformance.h"

#include <stdlib.h>
#include <string.h>

struct access {
    uint64_t offset, value;
    unsigned size;
    enum registers_answer answer; /* NOW: the vCPU is not stopped */
    unsigned order;               /* of arrival, among those that have to come again */
};

struct slot {
    struct registers registers;
    struct registers_device device;
    struct registers_queue queue[CONFORMANCE_QUEUES];
    uint32_t queue_size[CONFORMANCE_QUEUES];
    _Atomic uint32_t interrupts;
    atomic_bool needs_reset;
    uint8_t config[CONFORMANCE_CONFIG];
    uint32_t generation;

    bool held;
    struct registers_result operation; /* in progress, if the registers are busy */
    struct access vcpu[CONFORMANCE_VCPUS];
    unsigned arrivals;

    bool runs[CONFORMANCE_QUEUES];
    struct conformance_queue setup[CONFORMANCE_QUEUES];
    unsigned notified[CONFORMANCE_QUEUES];
    unsigned resets;
    uint64_t features;
};

/* ---- the device ------------------------------------------------------------------------------ */

static uint32_t config_read(void *arg, uint32_t offset, void *data, uint32_t size)
{
    struct slot *slot = arg;
    memset(data, 0, size);
    for (uint32_t i = 0; i < size && offset + i < CONFORMANCE_CONFIG; i++)
        ((uint8_t *)data)[i] = slot->config[offset + i];
    return slot->generation;
}

static void set_config(void *arg, uint32_t offset, const void *data, uint32_t size)
{
    struct slot *slot = arg;
    if (offset > CONFORMANCE_CONFIG || size > CONFORMANCE_CONFIG - offset)
        return;
    memcpy(slot->config + offset, data, size);
    slot->generation++;
}

static void event(void *arg, uint32_t bits)
{
    struct slot *slot = arg;
    atomic_fetch_or(&slot->interrupts, bits);
}

static void fail(void *arg)
{
    struct slot *slot = arg;
    atomic_store(&slot->needs_reset, true);
    event(slot, 2);
}

static void start_queue(struct slot *slot, uint32_t q)
{
    const struct registers_queue *queue = &slot->queue[q];
    slot->runs[q] = true;
    slot->setup[q] = (struct conformance_queue){queue->size, queue->desc, queue->driver,
                                                queue->device};
}

static void carry_out_reset(struct slot *slot)
{
    memset(slot->runs, 0, sizeof(slot->runs));
    atomic_store(&slot->needs_reset, false);
    slot->features = 0;
    slot->resets++;
    registers_reset_done(&slot->registers);
}

static void carry_out_driver_ok(struct slot *slot, const struct registers_result *op)
{
    slot->features = op->data;
    for (uint32_t q = 0; q < CONFORMANCE_QUEUES; q++) {
        if (slot->queue[q].ready)
            start_queue(slot, q);
    }
    registers_driver_ok_done(&slot->registers);
}

static void carry_out_config_write(struct slot *slot, const struct registers_result *op)
{
    uint8_t data[8];
    for (uint32_t i = 0; i < op->size; i++)
        data[i] = (uint8_t)(op->data >> (8 * i));
    set_config(slot, op->offset, data, op->size);
    registers_config_written(&slot->registers);
}

static void carry_out(struct slot *slot)
{
    const struct registers_result op = slot->operation;
    switch (op.effect) {
    case REGISTERS_RESET: carry_out_reset(slot); break;
    case REGISTERS_DRIVER_OK: carry_out_driver_ok(slot, &op); break;
    case REGISTERS_QUEUE_START:
        start_queue(slot, op.queue);
        registers_queue_started(&slot->registers, op.queue, true);
        break;
    case REGISTERS_QUEUE_STOP:
        slot->runs[op.queue] = false;
        registers_queue_stopped(&slot->registers, op.queue);
        break;
    case REGISTERS_QUEUE_RESET:
        slot->runs[op.queue] = false;
        registers_queue_reset_done(&slot->registers, op.queue);
        break;
    case REGISTERS_CONFIG_WRITE: carry_out_config_write(slot, &op); break;
    default: break;
    }
}

/* ---- accesses -------------------------------------------------------------------------------- */

static void present(struct slot *slot, struct access *access)
{
    struct registers_result result =
        registers_write(&slot->registers, access->offset, access->size, access->value);
    access->answer = result.answer;
    if (result.effect >= REGISTERS_RESET)
        slot->operation = result;
    else if (result.effect == REGISTERS_NOTIFY)
        slot->notified[result.queue]++;
    else if (result.effect == REGISTERS_FEATURES_OK)
        slot->features = result.data;
}

/* The access that came first of those that have to be given again, or NULL. */
static struct access *first_again(struct slot *slot)
{
    struct access *first = NULL;
    for (unsigned v = 0; v < CONFORMANCE_VCPUS; v++) {
        struct access *access = &slot->vcpu[v];
        if (access->answer == REGISTERS_AGAIN && (!first || access->order < first->order))
            first = access;
    }
    return first;
}

static void go_on(struct slot *slot)
{
    while (slot->registers.busy && !slot->held) {
        struct access *next;
        carry_out(slot);
        for (unsigned v = 0; v < CONFORMANCE_VCPUS; v++) {
            if (slot->vcpu[v].answer == REGISTERS_WHEN_DONE)
                slot->vcpu[v].answer = REGISTERS_NOW;
        }
        while (!slot->registers.busy && (next = first_again(slot)))
            present(slot, next);
    }
}

static void do_write(void *arg, unsigned vcpu, uint64_t offset, unsigned size, uint64_t value)
{
    struct slot *slot = arg;
    struct access *access = &slot->vcpu[vcpu];
    *access = (struct access){.offset = offset, .size = size, .value = value,
                              .order = slot->arrivals++};
    present(slot, access);
    go_on(slot);
}

static uint64_t do_read(void *arg, unsigned vcpu, uint64_t offset, unsigned size)
{
    struct slot *slot = arg;
    (void)vcpu;
    return registers_read(&slot->registers, offset, size).value;
}

static bool is_stopped(void *arg, unsigned vcpu)
{
    struct slot *slot = arg;
    return slot->vcpu[vcpu].answer != REGISTERS_NOW;
}

static void hold(void *arg, bool held)
{
    struct slot *slot = arg;
    slot->held = held;
    go_on(slot);
}

/* ---- life, and what the tests ask ------------------------------------------------------------ */

static void *make(const struct conformance_device *device)
{
    struct slot *slot = calloc(1, sizeof(*slot));
    if (!slot || !device) {
        if (slot)
            registers_init(&slot->registers, NULL, NULL);
        return slot;
    }
    memcpy(slot->queue_size, device->queue_size, sizeof(slot->queue_size));
    memcpy(slot->config, device->config, sizeof(slot->config));
    slot->device = (struct registers_device){
        .device_id = device->device_id,
        .vendor_id = device->vendor_id,
        .features = device->features,
        .n_queues = CONFORMANCE_QUEUES,
        .queue_size = slot->queue_size,
        .interrupts = &slot->interrupts,
        .needs_reset = &slot->needs_reset,
        .arg = slot,
        .config_read = config_read,
    };
    registers_init(&slot->registers, &slot->device, slot->queue);
    return slot;
}

static bool runs(void *arg, uint32_t queue, struct conformance_queue *setup)
{
    struct slot *slot = arg;
    *setup = slot->setup[queue];
    return slot->runs[queue];
}

static unsigned notified(void *arg, uint32_t queue)
{
    struct slot *slot = arg;
    return slot->notified[queue];
}

static unsigned resets(void *arg)
{
    struct slot *slot = arg;
    return slot->resets;
}

static uint64_t features(void *arg)
{
    struct slot *slot = arg;
    return slot->features;
}

static const struct conformance_target target = {
    .name = "register file",
    .reach = UINT64_MAX,
    .make = make,
    .destroy = free,
    .read = do_read,
    .write = do_write,
    .stopped = is_stopped,
    .hold = hold,
    .event = event,
    .set_config = set_config,
    .fail = fail,
    .runs = runs,
    .notified = notified,
    .resets = resets,
    .features = features,
};

int main(int argc, char **argv)
{
    return conformance_main(&target, argc, argv);
}
