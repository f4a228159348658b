/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * registers.c - fuzz target: the virtio-mmio register file against vCPUs that access anything, and
 * a device core that ends what is in progress sooner or later, as registers.h asks of it.
 *
 * The input is a script of accesses and of ends. After each step, what a device core relies on must
 * hold: above all that a queue it was told to run does not change under it.
 */
#include "transport/mmio/registers.h"

#include "input.h"

#define N_QUEUES 5u
#define FEATURES 0x8000010173210001ull /* VERSION_1, RING_RESET, some of a device */
#define STEPS_MAX 400u

static const uint32_t queue_size[N_QUEUES] = {1, 100, 0, 256, 1024};

static struct {
    struct registers registers;
    struct registers_device device;
    struct registers_queue queue[N_QUEUES + 1];  /* the last one is nobody's */
    struct registers_queue running[N_QUEUES];    /* as they were given to the device */
    _Atomic uint32_t interrupts;
    atomic_bool needs_reset;
    struct registers_result operation;
} s;

static uint32_t config_read(void *arg, uint32_t offset, void *data, uint32_t size)
{
    (void)arg;
    must(offset <= HVV_CONFIG_MAX && size <= HVV_CONFIG_MAX - offset, "%u bytes at %u", size,
         offset);
    memset(data, 0xa5, size);
    return 1;
}

static bool check(void *arg, uint32_t index, const struct registers_queue *queue, char *why,
                  size_t size)
{
    (void)arg;
    must(index < N_QUEUES && queue == &s.queue[index], "a check of queue %u", index);
    must(queue->size >= 1 && queue->size <= queue_size[index], "size %u was let through",
         queue->size);
    snprintf(why, size, "no");
    return queue->desc != 0xbad;
}

static void make(struct input *in)
{
    memset(&s, 0, sizeof(s));
    s.device = (struct registers_device){
        .device_id = input_u8(in) & 3,
        .features = input_u8(in) & 1 ? ~0ull : FEATURES,
        .n_queues = N_QUEUES,
        .queue_size = queue_size,
        .interrupts = &s.interrupts,
        .needs_reset = &s.needs_reset,
        .config_read = config_read,
        .check = check,
    };
    registers_init(&s.registers, &s.device, s.queue);
}

static bool is_same(const struct registers_queue *a, const struct registers_queue *b)
{
    return a->desc == b->desc && a->driver == b->driver && a->device == b->device &&
           a->size == b->size;
}

static void check_queues(void)
{
    const bool live = s.registers.status & 4;
    must(is_same(&s.queue[N_QUEUES], &(struct registers_queue){0}), "a queue there is not changed");
    for (uint32_t q = 0; q < N_QUEUES; q++) {
        must(!s.queue[q].ready || (s.queue[q].size && s.queue[q].size <= queue_size[q]),
             "queue %u is ready with size %u", q, s.queue[q].size);
        must(!s.running[q].ready || live || s.registers.busy == REGISTERS_DRIVER_OK,
             "queue %u runs without DRIVER_OK", q);
        if (s.running[q].ready)
            must(is_same(&s.queue[q], &s.running[q]), "queue %u changed while it runs", q);
    }
}

static void check_state(void)
{
    const struct registers *r = &s.registers;
    must(!(r->status & 4) || r->status & 8, "DRIVER_OK without FEATURES_OK");
    must(!(registers_features(r) & ~s.device.features), "features that were not offered");
    must(r->status == 0 || s.device.device_id, "a placeholder has a status");
    must((r->errors == 0) <= (r->error[0] == '\0'), "an error without a count");
    check_queues();
}

static void run(uint32_t q)
{
    s.running[q] = s.queue[q];
    s.running[q].ready = true;
}

static void take(const struct registers_result *result, bool was_busy)
{
    must((result->answer != REGISTERS_NOW) <= (s.registers.busy != REGISTERS_NONE),
         "a wait for nothing");
    must(result->answer != REGISTERS_AGAIN || result->effect == REGISTERS_NONE,
         "what has to come again had an effect");
    if (result->effect == REGISTERS_NOTIFY)
        must(result->queue < N_QUEUES && (s.running[result->queue].ready || was_busy),
             "a notification of queue %u, which does not run", result->queue);
    if (result->effect < REGISTERS_RESET)
        return;
    must(!was_busy, "two operations at once");
    s.operation = *result;
    if (result->effect == REGISTERS_QUEUE_START)
        run(result->queue);
    for (uint32_t q = 0; result->effect == REGISTERS_DRIVER_OK && q < N_QUEUES; q++) {
        if (s.queue[q].ready)
            run(q);
    }
}

static void end_operation(bool ok)
{
    const uint32_t q = s.operation.queue;
    switch (s.registers.busy) {
    case REGISTERS_RESET:
        memset(s.running, 0, sizeof(s.running));
        must(registers_reset_done(&s.registers), "no end of a reset");
        must(s.registers.status == 0 && registers_features(&s.registers) == 0, "not reset");
        break;
    case REGISTERS_DRIVER_OK: registers_driver_ok_done(&s.registers); break;
    case REGISTERS_QUEUE_START:
        s.running[q].ready = ok;
        registers_queue_started(&s.registers, q, ok);
        break;
    case REGISTERS_QUEUE_STOP:
        s.running[q].ready = false;
        registers_queue_stopped(&s.registers, q);
        break;
    case REGISTERS_QUEUE_RESET:
        s.running[q].ready = false;
        registers_queue_reset_done(&s.registers, q);
        break;
    case REGISTERS_CONFIG_WRITE: registers_config_written(&s.registers); break;
    default: return;
    }
    must(s.registers.busy == REGISTERS_NONE, "an operation did not end");
}

/* Mostly a register, mostly in its width; and values that drivers write. */
static uint64_t an_offset(struct input *in)
{
    uint8_t how = input_u8(in);
    return how == 0xff ? input_u64(in) : how >= 0xf0 ? input_u16(in) : how & 0xfcu;
}

static uint64_t a_value(struct input *in)
{
    uint8_t how = input_u8(in);
    return how == 0xff ? input_u64(in) : how >= 0xf0 ? 1ull << (how & 15) : how;
}

static void step(struct input *in)
{
    const bool was_busy = s.registers.busy != REGISTERS_NONE;
    const uint8_t what = input_u8(in);
    const uint64_t size = what & 0x40 ? what >> 4 & 15 : 4;
    struct registers_result result;
    switch (what & 7) {
    case 0: end_operation(what & 8); break;
    case 1:
        result = registers_read(&s.registers, an_offset(in), size);
        must(result.answer == REGISTERS_NOW && result.effect == REGISTERS_NONE, "a read did that");
        must(size >= 8 || result.value >> (8 * size) == 0, "a value wider than its access");
        break;
    case 2: atomic_fetch_or(&s.interrupts, what >> 3); break;
    default: {
        const uint64_t offset = an_offset(in);
        result = registers_write(&s.registers, offset, size, a_value(in));
        take(&result, was_busy);
    }
    }
    check_state();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    make(&in);
    for (unsigned i = 0; i < STEPS_MAX && input_left(&in) > 0; i++)
        step(&in);
    return 0;
}
