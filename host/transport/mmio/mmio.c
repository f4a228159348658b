/* SPDX-License-Identifier: BSD-3-Clause */
/* mmio.c - see mmio.h. Functions named *_on_access run on the access thread. */
#include "transport/mmio/mmio.h"

#include "daemon.h"
#include "util/container.h"
#include "zone/zone.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <stdlib.h>

#define VENDOR_ID 0x56534948u   /* "HISV" */
#define INTERRUPT_USED 1u       /* bits of InterruptStatus (virtio 1.2, section 4.2.2) */
#define INTERRUPT_CONFIG 2u
#define LAST_ACK_NS 1000000000u /* how long a removed device waits for its last acknowledgement */

/* What the control thread is doing for the guest. */
struct operation {
    struct registers_result what;
    bool active;
    bool ended; /* the guest has its answer already: its deadline was over */
};

struct mmio {
    struct device *dev;
    struct slot *slot;
    struct registers_device view;
    uint32_t *queue_sizes;
    struct irq_line line;

    struct registers registers;     /* access thread while attached, as the next two */
    struct registers_queue *queues;
    struct waiting_list waiting;
    _Atomic uint32_t status;        /* the driver's, for others to look at */
    _Atomic uint64_t accesses;
    atomic_bool watch_ack;          /* post ack_task when InterruptStatus becomes 0 */

    /* access -> control with op_task, control -> access with done_task: one operation at a time */
    struct registers_result op;
    struct registers_queue *op_queues;
    struct hvv_task op_task, done_task, clear_task, ack_task;
    bool queue_ok;

    struct access_thread *at;       /* control: who serves; constant while attached */
    struct memory *memory;          /* constant while attached */
    struct operation current, next; /* control */
    struct timer *deadline;         /* of a configuration write; control */
    struct waiter waiter;           /* control */
    void (*quiet)(struct mmio *m);  /* control: set while something waits for `current` to end */
    bool leaving;                   /* control: the device goes away; operations are not begun */
    bool awaits_ack;                /* control: ...once its last interrupt is acknowledged */
    void (*detached)(struct zone *zone); /* control: set while the zone waits for it */
    void (*closed)(struct device *dev);  /* control: set while the device is being removed */
};

static const struct transport_ops mmio_transport;

struct mmio *mmio_of(const struct device *dev)
{
    return dev->transport == &mmio_transport ? dev->transport_state : NULL;
}

/* ---- access thread: registers ---------------------------------------------------------------- */

static uint32_t config_read(void *arg, uint32_t offset, void *data, uint32_t size)
{
    struct mmio *m = arg;
    return config_space_read(&m->dev->config, offset, data, size);
}

static void to_setup(const struct registers_queue *queue, uint64_t features,
                     struct virtq_setup *setup)
{
    *setup = (struct virtq_setup){.size = queue->size,
                                  .desc = queue->desc,
                                  .avail = queue->driver,
                                  .used = queue->device,
                                  .features = features};
}

static bool check_queue(void *arg, uint32_t index, const struct registers_queue *queue, char *why,
                        size_t size)
{
    struct mmio *m = arg;
    struct virtq_setup setup;
    struct virtq_ring ring;
    struct error error = {0};
    to_setup(queue, 0, &setup);
    if (virtq_resolve(m->dev->queues[index].vq, &setup, m->memory, &ring, &error) == 0)
        return true;
    snprintf(why, size, "%s", error.text);
    return false;
}

static void hand_over(struct mmio *m, const struct registers_result *result)
{
    m->op = *result;
    memcpy(m->op_queues, m->queues, m->view.n_queues * sizeof(m->queues[0]));
    loop_post(m->dev->daemon->loop, &m->op_task);
}

static void wait_for_operation(struct mmio *m, struct access_thread *at,
                               const struct bridge_access *access, bool again)
{
    struct waiting *waiting = access_waiting(at, access);
    if (!waiting)
        return; /* a notification: nobody waits for it */
    waiting->access = *access;
    waiting->again = again;
    STAILQ_INSERT_TAIL(&m->waiting, waiting, link);
}

static void take_effect(struct mmio *m, const struct registers_result *result)
{
    switch (result->effect) {
    case REGISTERS_NONE:
        break;
    case REGISTERS_NOTIFY:
        queue_kick(&m->dev->queues[result->queue]);
        break;
    case REGISTERS_FEATURES_OK:
        atomic_store(&m->dev->negotiated, result->data);
        break;
    case REGISTERS_ACKNOWLEDGE:
        interrupts_acknowledge(&m->line, 0); /* the registers cleared the bits */
        if (atomic_load(&m->line.status) == 0 && atomic_exchange(&m->watch_ack, false))
            loop_post(m->dev->daemon->loop, &m->ack_task);
        break;
    case REGISTERS_DRIVER_OK:
        atomic_store(&m->dev->negotiated, result->data);
        hand_over(m, result);
        break;
    default:
        hand_over(m, result);
    }
}

static void hear(struct mmio *m, struct access_thread *at, const struct bridge_access *access,
                 uint64_t offset)
{
    struct registers_result result =
        access->write ? registers_write(&m->registers, offset, access->size, access->value)
                         : registers_read(&m->registers, offset, access->size);
    if (result.error)
        device_log(m->dev, HVV_LOG_WARNING, "the driver's mistake: %s", result.error);
    atomic_store_explicit(&m->status, m->registers.status, memory_order_relaxed);
    if (result.answer == REGISTERS_NOW)
        access_answer(at, access, result.value);
    else
        wait_for_operation(m, at, access, result.answer == REGISTERS_AGAIN);
    take_effect(m, &result);
}

bool mmio_access(struct mmio *m, struct access_thread *at, const struct bridge_access *access,
                 uint64_t offset)
{
    atomic_fetch_add_explicit(&m->accesses, 1, memory_order_relaxed);
    hear(m, at, access, offset);
    /* Whoever asks which interrupt it is acknowledges it next, and then tells of new work. */
    return offset == VIRTIO_MMIO_INTERRUPT_STATUS || offset == VIRTIO_MMIO_INTERRUPT_ACK;
}

/* The operation is over: answers all that wait for it, and hears again those that came since. */
static void release_waiting(struct mmio *m)
{
    struct waiting_list list = STAILQ_HEAD_INITIALIZER(list);
    struct waiting *w;
    STAILQ_CONCAT(&list, &m->waiting);
    while ((w = STAILQ_FIRST(&list))) {
        struct bridge_access access = w->access;
        STAILQ_REMOVE_HEAD(&list, link);
        if (w->again)
            hear(m, m->at, &access, access.address - m->slot->addr);
        else
            access_answer(m->at, &access, 0);
    }
}

static void done_on_access(struct hvv_task *task)
{
    struct mmio *m = container_of(task, struct mmio, done_task);
    struct registers *r = &m->registers;
    switch (m->op.effect) {
    case REGISTERS_RESET:
        registers_reset_done(r);
        break;
    case REGISTERS_DRIVER_OK:
        registers_driver_ok_done(r);
        break;
    case REGISTERS_QUEUE_START:
        registers_queue_started(r, m->op.queue, m->queue_ok);
        break;
    case REGISTERS_QUEUE_STOP:
        registers_queue_stopped(r, m->op.queue);
        break;
    case REGISTERS_QUEUE_RESET:
        registers_queue_reset_done(r, m->op.queue);
        break;
    default:
        registers_config_written(r);
    }
    atomic_store_explicit(&m->status, r->status, memory_order_relaxed);
    release_waiting(m);
}

/* ---- control: operations --------------------------------------------------------------------- */

static void begin_operation(struct mmio *m);
static void hide(struct mmio *m);

static void end_operation(struct mmio *m)
{
    bool ended = m->current.ended;
    timer_set(m->deadline, 0);
    m->current.active = false;
    if (m->quiet) {
        void (*quiet)(struct mmio *m) = m->quiet;
        m->quiet = NULL;
        quiet(m);
        return;
    }
    if (!ended)
        loop_post(access_loop(m->at), &m->done_task);
    if (m->next.active) {
        m->current = m->next;
        m->next.active = false;
        begin_operation(m);
    }
}

static void device_done(struct device *dev)
{
    end_operation(mmio_of(dev));
}

static void stopped_for_reset(struct waiter *waiter)
{
    struct mmio *m = container_of(waiter, struct mmio, waiter);
    device_reset(m->dev, device_done);
}

static void queue_is_stopped(struct waiter *waiter)
{
    end_operation(container_of(waiter, struct mmio, waiter));
}

static bool start_queue(struct mmio *m, uint32_t index)
{
    struct virtq_setup setup;
    struct error error = {0};
    if (m->dev->queues[index].state != QUEUE_STOPPED)
        return true;
    to_setup(&m->op_queues[index], atomic_load(&m->dev->negotiated), &setup);
    if (queue_start(&m->dev->queues[index], &setup, false, &error) == 0)
        return true;
    device_break(m->dev, "%s", error.text);
    return false;
}

static void start_ready_queues(struct mmio *m)
{
    for (uint32_t i = 0; i < m->view.n_queues; i++)
        if (m->op_queues[i].ready && !start_queue(m, i))
            break;
}

static void stop_queue(struct mmio *m, uint32_t index)
{
    queue_stop(&m->dev->queues[index], true);
    m->waiter.done = queue_is_stopped;
    device_wait(m->dev, &m->waiter);
}

static void write_config(struct mmio *m, const struct registers_result *what)
{
    uint8_t data[sizeof(uint64_t)];
    memcpy(data, &what->data, sizeof(data)); /* hosts are little-endian, as the space is */
    timer_set(m->deadline, m->dev->daemon->conf->stuck_seconds * 1000000000ull);
    device_config_write(m->dev, what->offset, data, what->size, device_done);
}

static void begin_operation(struct mmio *m)
{
    const struct registers_result *what = &m->current.what;
    switch (what->effect) {
    case REGISTERS_RESET:
        device_stop_queues(m->dev, true);
        m->waiter.done = stopped_for_reset;
        device_wait(m->dev, &m->waiter);
        break;
    case REGISTERS_DRIVER_OK:
        start_ready_queues(m);
        end_operation(m);
        break;
    case REGISTERS_QUEUE_START:
        m->queue_ok = start_queue(m, what->queue);
        end_operation(m);
        break;
    case REGISTERS_QUEUE_STOP:
    case REGISTERS_QUEUE_RESET:
        stop_queue(m, what->queue);
        break;
    default:
        write_config(m, what);
    }
}

static void op_on_control(struct hvv_task *task)
{
    struct mmio *m = container_of(task, struct mmio, op_task);
    struct operation op = {.what = m->op, .active = true};
    if (m->leaving) { /* it is answered when the registers are cleared */
        if (m->awaits_ack)
            hide(m); /* the driver has looked */
        return;
    }
    if (m->current.active) { /* one whose deadline was over */
        m->next = op;
        if (op.what.effect == REGISTERS_CONFIG_WRITE)
            timer_set(m->deadline, m->dev->daemon->conf->stuck_seconds * 1000000000ull);
        return;
    }
    m->current = op;
    begin_operation(m);
}

/* A configuration write took too long: the vCPU goes on, the plugin gets it late or not at all. */
static void deadline_over(void *arg)
{
    struct mmio *m = arg;
    if (m->awaits_ack) {
        hide(m);
        return;
    }
    device_log(m->dev, HVV_LOG_WARNING, "a configuration write was not taken within %u s",
               m->dev->daemon->conf->stuck_seconds);
    if (m->next.active)
        m->next.active = false;
    else
        m->current.ended = true;
    loop_post(access_loop(m->at), &m->done_task);
}

/* ---- control: attach ------------------------------------------------------------------------- */

void mmio_attach(struct mmio *m, struct access_thread *at, struct memory *memory)
{
    m->at = at;
    m->memory = memory_get(memory);
    memory_put(m->dev->memory);
    m->dev->memory = memory_get(memory);
    m->leaving = false;
    atomic_store(&m->line.status, 0);
    interrupts_add(access_interrupts(at), &m->line, m->slot->zone->id, m->slot->irq);
    registers_init(&m->registers, &m->view, m->queues);
    atomic_store(&m->status, 0);
}

bool mmio_attached(const struct mmio *m)
{
    return m->at;
}

/* ---- control: leaving, because the zone stops or the device is removed, or both -------------- */

static void closed(struct mmio *m)
{
    m->slot->dev = NULL;
    m->closed(m->dev);
}

static void let_go(struct hvv_task *task)
{
    struct mmio *m = container_of(task, struct mmio, clear_task);
    interrupts_forget(&m->line);
    m->at = NULL;
    memory_put(m->memory);
    m->memory = NULL;
    memory_put(m->dev->memory);
    m->dev->memory = NULL;
    m->leaving = false;
    if (m->detached) {
        void (*detached)(struct zone *zone) = m->detached;
        m->detached = NULL;
        detached(m->slot->zone);
    }
    if (m->closed)
        closed(m);
}

/* No table has the device any more: whoever still waits gets an answer. */
static void clear_on_access(struct hvv_task *task)
{
    struct mmio *m = container_of(task, struct mmio, clear_task);
    struct waiting *w;
    registers_init(&m->registers, &m->view, m->queues);
    atomic_store(&m->status, 0);
    while ((w = STAILQ_FIRST(&m->waiting))) {
        struct bridge_access access = w->access;
        STAILQ_REMOVE_HEAD(&m->waiting, link);
        access_answer(m->at, &access, 0);
    }
    task->run = let_go;
    loop_post(m->dev->daemon->loop, task);
}

static void was_reset(struct device *dev)
{
    struct mmio *m = mmio_of(dev);
    m->clear_task.run = clear_on_access;
    loop_post(access_loop(m->at), &m->clear_task);
}

static void reset_stopped(struct waiter *waiter)
{
    struct mmio *m = container_of(waiter, struct mmio, waiter);
    device_reset(m->dev, was_reset);
}

static void stop_and_reset(struct mmio *m)
{
    device_stop_queues(m->dev, true);
    m->waiter.done = reset_stopped;
    device_wait(m->dev, &m->waiter);
}

/* Calls quiet(m) once no operation is under way; no other begins. */
static void when_quiet(struct mmio *m, void (*quiet)(struct mmio *m))
{
    m->leaving = true;
    m->next.active = false;
    if (m->current.active)
        m->quiet = quiet;
    else
        quiet(m);
}

static void hidden(struct device *dev)
{
    stop_and_reset(mmio_of(dev));
}

static void hide(struct mmio *m)
{
    m->awaits_ack = false;
    timer_set(m->deadline, 0);
    zone_hide(m->slot, hidden);
}

/* The driver has seen its last interrupt, or does not look. */
static void acknowledged(struct hvv_task *task)
{
    struct mmio *m = container_of(task, struct mmio, ack_task);
    if (m->awaits_ack)
        hide(m);
}

/*
 * All requests are completed and their interrupts raised. The driver is told to look at Status; a
 * placeholder before it has taken its interrupts would make it miss them.
 */
static void drained(struct waiter *waiter)
{
    struct mmio *m = container_of(waiter, struct mmio, waiter);
    if (m->detached || !(atomic_load(&m->status) & VIRTIO_CONFIG_S_DRIVER_OK)) {
        hide(m);
        return;
    }
    m->awaits_ack = true;
    timer_set(m->deadline, LAST_ACK_NS);
    atomic_store(&m->dev->broken, true);
    atomic_store(&m->watch_ack, true);
    interrupts_raise(&m->line, INTERRUPT_CONFIG);
}

static void drain(struct mmio *m)
{
    device_stop_queues(m->dev, false);
    m->waiter.done = drained;
    device_wait(m->dev, &m->waiter);
}

void mmio_detach(struct mmio *m, void (*detached)(struct zone *zone))
{
    m->detached = detached;
    if (!m->leaving)
        when_quiet(m, stop_and_reset);
    else if (m->awaits_ack)
        hide(m);
}

/* ---- the transport --------------------------------------------------------------------------- */

/* Nothing that can fail is left: the slot was taken before the device was made. */
static int mmio_listen(struct device *dev, struct error *error)
{
    (void)dev;
    (void)error;
    return 0;
}

static void mmio_publish(struct device *dev)
{
    zone_show(mmio_of(dev)->slot, dev);
}

static bool mmio_bound(const struct device *dev)
{
    const struct mmio *m = mmio_of(dev);
    return m->at && (atomic_load(&m->status) & VIRTIO_CONFIG_S_DRIVER);
}

static void mmio_close(struct device *dev, void (*done)(struct device *dev))
{
    struct mmio *m = mmio_of(dev);
    m->closed = done;
    if (!m->at)
        closed(m);
    else if (!m->leaving)
        when_quiet(m, drain);
}

static void mmio_free(struct mmio *m)
{
    timer_free(m->deadline);
    free(m->op_queues);
    free(m->queues);
    free(m->queue_sizes);
    free(m);
}

static void mmio_destroy(struct device *dev)
{
    mmio_free(mmio_of(dev));
}

static void mmio_queue_running(struct queue *q, bool running)
{
    (void)q; /* notifications come as accesses, whether it runs or not */
    (void)running;
}

static void mmio_interrupt(struct queue *q)
{
    struct mmio *m = mmio_of(q->dev);
    interrupts_raise(&m->line, INTERRUPT_USED);
}

static void mmio_config_changed(struct device *dev)
{
    struct mmio *m = mmio_of(dev);
    if (m->at && !m->leaving)
        interrupts_raise(&m->line, INTERRUPT_CONFIG);
}

static void mmio_describe(const struct device *dev,
                          void (*say)(void *arg, const char *key, const char *value), void *arg)
{
    const struct mmio *m = mmio_of(dev);
    char text[32];
    snprintf(text, sizeof(text), "%" PRIu32, m->slot->zone->id);
    say(arg, "zone", text);
    snprintf(text, sizeof(text), "0x%" PRIx64, m->slot->addr);
    say(arg, "addr", text);
    snprintf(text, sizeof(text), "%" PRIu32, m->slot->irq);
    say(arg, "irq", text);
    say(arg, "served", m->at ? "true" : "false");
    say(arg, "connected", mmio_bound(dev) ? "true" : "false");
    snprintf(text, sizeof(text), "0x%x", (unsigned)atomic_load(&m->status));
    say(arg, "status", text);
}

static void mmio_counters(const struct device *dev,
                          void (*say)(void *arg, const char *key, uint64_t value), void *arg)
{
    const struct mmio *m = mmio_of(dev);
    say(arg, "accesses", atomic_load_explicit(&m->accesses, memory_order_relaxed));
    say(arg, "irqs_injected", interrupts_counter(&m->line, INTERRUPTS_INJECTED));
    say(arg, "irqs_merged", interrupts_counter(&m->line, INTERRUPTS_COALESCED));
    say(arg, "irqs_delayed", interrupts_counter(&m->line, INTERRUPTS_WAITED));
    say(arg, "irqs_repeated", interrupts_counter(&m->line, INTERRUPTS_REPEATED));
}

static void mmio_hints(const struct device *dev,
                       void (*say)(void *arg, const char *front_end, const char *text), void *arg)
{
    const struct slot *slot = mmio_of(dev)->slot;
    char text[160];
    snprintf(text, sizeof(text), "virtio_mmio@%" PRIx64 " { compatible = \"virtio,mmio\"; reg = "
             "<0x%" PRIx64 " 0x%" PRIx64 " 0x0 0x%" PRIx64 ">; dma-coherent; };", slot->addr,
             slot->addr >> 32, slot->addr & UINT32_MAX, slot->len);
    say(arg, "device tree", text);
    snprintf(text, sizeof(text), "echo %" PRIx64 ".virtio_mmio > "
             "/sys/bus/platform/drivers/virtio-mmio/bind", slot->addr);
    say(arg, "Linux that runs", text);
}

static const struct transport_ops mmio_transport = {
    .name = "mmio",
    .listen = mmio_listen,
    .publish = mmio_publish,
    .bound = mmio_bound,
    .close = mmio_close,
    .destroy = mmio_destroy,
    .queue_running = mmio_queue_running,
    .interrupt = mmio_interrupt,
    .config_changed = mmio_config_changed,
    .broke = mmio_config_changed, /* DEVICE_NEEDS_RESET shows in Status; the driver is to look */
    .describe = mmio_describe,
    .counters = mmio_counters,
    .hints = mmio_hints,
};

static void init_view(struct mmio *m)
{
    struct device *dev = m->dev;
    for (uint32_t i = 0; i < dev->n_queues; i++)
        m->queue_sizes[i] = dev->queues[i].vq->max_size;
    m->view = (struct registers_device){
        .device_id = dev->plugin->info.virtio_id,
        .vendor_id = VENDOR_ID,
        .features = device_offered(dev),
        .n_queues = dev->n_queues,
        .queue_size = m->queue_sizes,
        .interrupts = &m->line.status,
        .needs_reset = &dev->broken,
        .arg = m,
        .config_read = config_read,
        .check = check_queue,
    };
}

int mmio_stage(struct device *dev, struct slot *slot, struct error *error)
{
    struct mmio *m = calloc(1, sizeof(*m));
    uint32_t n = dev->n_queues;
    if (!m)
        return error_set(error, ENOMEM, "out of memory for device %s", dev->id);
    m->queue_sizes = calloc(n, sizeof(m->queue_sizes[0]));
    m->queues = calloc(n, sizeof(m->queues[0]));
    m->op_queues = calloc(n, sizeof(m->op_queues[0]));
    m->deadline = timer_new(dev->daemon->loop, deadline_over, m);
    if (!m->queue_sizes || !m->queues || !m->op_queues || !m->deadline) {
        mmio_free(m);
        return error_set(error, ENOMEM, "out of memory for device %s", dev->id);
    }
    m->dev = dev;
    m->slot = slot;
    STAILQ_INIT(&m->waiting);
    m->op_task.run = op_on_control;
    m->done_task.run = done_on_access;
    m->ack_task.run = acknowledged;
    init_view(m);
    dev->slot = slot;
    dev->transport = &mmio_transport;
    dev->transport_state = m;
    return 0;
}
