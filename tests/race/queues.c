/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * queues.c - a device while everything about it changes: its queues stop, reset and start while a
 * thread of the plugin still finishes chains; guest memory is replaced while a worker pops and
 * completes; a thread of the plugin breaks the device while it is reset.
 *
 * Threads: main is the control thread, and each queue has a guest thread, its driver. A guest uses
 * its ring only between guest_go() and guest_halt(). The guest's view of memory is another mapping
 * than the daemon's.
 */
#include "inproc.h"
#include "racer.h"
#include "ring.h"

#include <linux/virtio_config.h>
#include <poll.h>

#define SLOTS 24u
#define MEMORY (1u << 20)
#define UNTOUCHED 0x77
#define GPA 0x100000ull
#define IN_ORDER (1ull << 35)
#define FEATURES (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX)

struct exchange {
    uint8_t *out, *in;
    uint64_t out_gpa, in_gpa;
    uint64_t value;
};

struct guest {
    struct device *dev;
    struct queue *queue;
    struct ring ring;
    struct exchange slots[SLOTS];
    struct exchange *idle[SLOTS];
    unsigned n_idle;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool go, halted, end;
    atomic_bool halting;
    _Atomic uint64_t done;
    uint64_t all_done; /* before the last guest_clear() */
};

static struct inproc in;
static struct guestmem mem;
static struct device *dev;
static struct guest guests[RACER_QUEUES];
static atomic_uint interrupts;

/* ---- the transport --------------------------------------------------------------------------- */

static void queue_running(struct queue *q, bool running)
{
    (void)q;
    (void)running;
}

static void interrupt(struct queue *q)
{
    (void)q;
    atomic_fetch_add(&interrupts, 1);
}

static void ignore(struct device *d)
{
    (void)d;
}

static const struct transport_ops transport = {
    .name = "race", .queue_running = queue_running, .interrupt = interrupt,
    .config_changed = ignore, .broke = ignore,
};

/* ---- the guest ------------------------------------------------------------------------------- */

static int kick(void *arg)
{
    queue_kick(((struct guest *)arg)->queue);
    return 0;
}

static void guest_add(struct guest *g)
{
    while (g->n_idle) {
        struct exchange *s = g->idle[g->n_idle - 1];
        struct ring_seg seg[2] = {{s->out_gpa, RACER_BYTES}, {s->in_gpa, RACER_BYTES}};
        s->value = (uint64_t)inproc_random(UINT32_MAX) << 20 | (uint64_t)(s - g->slots);
        memcpy(s->out, &s->value, RACER_BYTES);
        memset(s->in, 0, RACER_BYTES);
        if (ring_add(&g->ring, seg, 1, 1, s) < 0)
            return;
        g->n_idle--;
        if (inproc_random(4) == 0)
            break;
    }
}

/* True if there was something. */
static bool guest_reap(struct guest *g)
{
    struct ring_done done[SLOTS];
    int n = ring_reap(&g->ring, done, SLOTS);
    must(n >= 0, "queue %u: %s", g->queue->index, g->ring.error);
    for (int i = 0; i < n; i++) {
        struct exchange *s = done[i].token;
        uint64_t answer;
        memcpy(&answer, s->in, RACER_BYTES);
        must(done[i].len == RACER_BYTES, "%u bytes written", done[i].len);
        must(answer == ~s->value, "the answer is not for this request");
        g->idle[g->n_idle++] = s;
    }
    g->done += (unsigned)n;
    return n > 0;
}

static void guest_drive(struct guest *g)
{
    while (!atomic_load(&g->halting)) {
        guest_add(g);
        ring_submit(&g->ring);
        for (int i = 0; i < 200 && !guest_reap(g) && !atomic_load(&g->halting); i++)
            sched_yield();
    }
}

static void *guest_run(void *arg)
{
    struct guest *g = arg;
    pthread_mutex_lock(&g->lock);
    while (!g->end) {
        if (g->go) {
            pthread_mutex_unlock(&g->lock);
            guest_drive(g);
            pthread_mutex_lock(&g->lock);
            g->go = false;
            g->halted = true;
            pthread_cond_broadcast(&g->changed);
        }
        while (!g->go && !g->end)
            pthread_cond_wait(&g->changed, &g->lock);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

static void guest_go(struct guest *g)
{
    pthread_mutex_lock(&g->lock);
    atomic_store(&g->halting, false);
    g->go = true;
    g->halted = false;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static void guest_halt(struct guest *g)
{
    atomic_store(&g->halting, true);
    pthread_mutex_lock(&g->lock);
    while (!g->halted)
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static void guest_clear(struct guest *g)
{
    ring_reset(&g->ring);
    g->all_done += g->done;
    g->done = 0;
    g->n_idle = 0;
    for (unsigned i = 0; i < SLOTS; i++)
        g->idle[g->n_idle++] = &g->slots[i];
}

static void guest_new(struct guest *g, struct queue *q, bool in_order)
{
    struct ring_options options = {
        .num = RACER_QUEUE_SIZE, .event_idx = true, .in_order = in_order};
    memset(g, 0, sizeof(*g));
    must(ring_init(&g->ring, &mem, 0, &options) == 0, "no memory for a ring");
    g->queue = q;
    g->ring.kick = kick;
    g->ring.kick_arg = g;
    for (unsigned i = 0; i < SLOTS; i++) {
        struct exchange *s = &g->slots[i];
        s->out = guestmem_alloc(&mem, 0, RACER_BYTES, 8);
        s->in = guestmem_alloc(&mem, 0, RACER_BYTES, 8);
        must(s->out && s->in, "no memory for a request");
        s->out_gpa = guestmem_gpa(&mem, s->out);
        s->in_gpa = guestmem_gpa(&mem, s->in);
    }
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, NULL);
    must(pthread_create(&g->thread, NULL, guest_run, g) == 0, "no thread");
}

static void guest_free(struct guest *g)
{
    pthread_mutex_lock(&g->lock);
    g->end = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->thread, NULL);
    ring_free(&g->ring);
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->lock);
}

/* ---- the device ------------------------------------------------------------------------------ */

static struct plugin plugin;

/* Guest memory in one region or two, always mapped afresh. */
static struct memory *map_memory(bool split)
{
    const struct guestmem_region *r = &mem.region[0];
    struct memory_entry entries[2];
    struct error error = {0};
    size_t n = split ? 2 : 1;
    for (size_t i = 0; i < n; i++) {
        struct memory_entry *e = &entries[i];
        e->size = MEMORY / n;
        e->gpa = e->uva = GPA + i * e->size;
        e->region = region_map(r->fd, i * e->size, e->size, &error);
        must(e->region, "%s", error.text);
    }
    struct memory *memory = memory_new(entries, n, &error);
    must(memory, "%s", error.text);
    for (size_t i = 0; i < n; i++)
        region_put(entries[i].region);
    return memory;
}

static bool waited;

static void on_quiet(struct waiter *waiter)
{
    (void)waiter;
    waited = true;
}

static void wait_until_quiet(void)
{
    struct waiter waiter = {.done = on_quiet};
    waited = false;
    device_wait(dev, &waiter);
    inproc_run(&in, &waited);
}

static void life_done(struct device *d)
{
    (void)d;
    waited = true;
}

static void reset_device(void)
{
    waited = false;
    device_reset(dev, life_done);
    inproc_run(&in, &waited);
}

static void set_memory(bool split)
{
    struct error error = {0};
    struct memory *memory = map_memory(split);
    must(device_set_memory(dev, memory, &error) == 0, "%s", error.text);
    memory_put(memory);
    wait_until_quiet();
}

static void make_device(bool in_order)
{
    struct guestmem_spec spec = {.size = MEMORY, .gpa = GPA};
    struct error error = {0};
    guestmem_init(&mem);
    must(guestmem_add(&mem, &spec) == 0, "no guest memory");
    plugin.info = *hvv_plugin_v1();
    plugin.ops = *plugin.info.ops;
    dev = device_new(&in.daemon, "race", &error);
    must(dev, "%s", error.text);
    dev->plugin = &plugin;
    dev->worker = in.daemon.workers[0];
    dev->transport = &transport;
    dev->counters = calloc((plugin.info.n_counters + 1) * (HVV_QUEUES_MAX + 1), sizeof(uint64_t));
    dev->queues = calloc(HVV_QUEUES_MAX, sizeof(dev->queues[0]));
    dev->create_error = &error;
    must(plugin.ops.create(&dev->pub) == 0, "%s", error.text);
    dev->create_error = NULL;
    device_move(dev, DEVICE_STAGED);
    device_move(dev, DEVICE_PUBLISHED);
    TAILQ_INSERT_TAIL(&in.daemon.devices, dev, link);
    atomic_store(&dev->negotiated, FEATURES | (in_order ? IN_ORDER : 0));
    set_memory(false);
    for (uint32_t i = 0; i < RACER_QUEUES; i++)
        guest_new(&guests[i], &dev->queues[i], in_order);
}

static void free_device(void)
{
    for (uint32_t i = 0; i < RACER_QUEUES; i++)
        guest_free(&guests[i]);
    device_move(dev, DEVICE_QUIESCING);
    waited = false;
    device_retire(dev, life_done);
    inproc_run(&in, &waited);
    TAILQ_REMOVE(&in.daemon.devices, dev, link);
    device_move(dev, DEVICE_RETIRED);
    plugin.ops.destroy(&dev->pub);
    device_move(dev, DEVICE_GONE);
    device_free(dev);
    guestmem_free(&mem);
}

static void start_queue(struct guest *g)
{
    const struct ring *r = &g->ring;
    struct error error = {0};
    struct virtq_setup setup = {
        .size = RACER_QUEUE_SIZE,
        .desc = guestmem_gpa(&mem, r->desc),
        .avail = guestmem_gpa(&mem, r->avail),
        .used = guestmem_gpa(&mem, r->used),
        .next_avail = ring_shared_used_idx(r),
        .features = atomic_load(&dev->negotiated),
    };
    must(queue_start(g->queue, &setup, false, &error) == 0, "%s", error.text);
    guest_go(g);
    queue_kick(g->queue); /* what was available before */
}

/* ---- the tests ------------------------------------------------------------------------------- */

/* Paused: every chain the device took is finished and shown, and nothing else changes. */
static void check_paused(struct guest *g)
{
    uint16_t taken = queue_next_avail(g->queue), used = ring_shared_used_idx(&g->ring);
    must(taken == used, "queue %u: %u chains taken, %u shown", g->queue->index, taken, used);
    while (guest_reap(g))
        ;
}

/* Reset: whatever was in flight, the guest's memory is its own again. */
static void check_reset(const struct guest *g)
{
    for (unsigned i = 0; i < SLOTS; i++)
        for (unsigned k = 0; k < RACER_BYTES; k++)
            must(g->slots[i].in[k] == UNTOUCHED, "guest memory was written after the reset");
    must(ring_shared_used_idx(&g->ring) == 0, "a used index was written after the reset");
}

static void stop_all(bool discard)
{
    for (uint32_t i = 0; i < RACER_QUEUES; i++) {
        queue_stop(guests[i].queue, discard);
        if (inproc_random(2))
            queue_kick(guests[i].queue);
    }
    wait_until_quiet();
    for (uint32_t i = 0; i < RACER_QUEUES; i++)
        guest_halt(&guests[i]);
}

static uint64_t all_done(void)
{
    uint64_t done = 0;
    for (uint32_t i = 0; i < RACER_QUEUES; i++)
        done += guests[i].all_done + atomic_load(&guests[i].done);
    return done;
}

static void reset_all(bool in_order)
{
    for (uint32_t i = 0; i < RACER_QUEUES; i++) {
        guest_clear(&guests[i]);
        for (unsigned k = 0; k < SLOTS; k++)
            memset(guests[i].slots[k].in, UNTOUCHED, RACER_BYTES);
    }
    reset_device();
    atomic_store(&dev->negotiated, FEATURES | (in_order ? IN_ORDER : 0));
    inproc_run_for(&in, 100000);
    for (uint32_t i = 0; i < RACER_QUEUES; i++)
        check_reset(&guests[i]);
}

static void complete_vs_reset(const char *name, bool in_order)
{
    inproc_test_begin(name);
    uint64_t rounds = 0;
    make_device(in_order);
    for (uint32_t i = 0; i < RACER_QUEUES; i++)
        guest_clear(&guests[i]);
    while (inproc_go_on(rounds > 5 && all_done() > 100)) {
        bool discard = inproc_random(2);
        for (uint32_t i = 0; i < RACER_QUEUES; i++)
            start_queue(&guests[i]);
        inproc_run_for(&in, inproc_random(2000000));
        stop_all(discard);
        if (discard)
            reset_all(in_order);
        for (uint32_t i = 0; i < RACER_QUEUES && !discard; i++)
            check_paused(&guests[i]);
        rounds++;
    }
    free_device();
    printf("ok %s\n", name);
}

static void memory_vs_io(void)
{
    inproc_test_begin("memory-vs-io");
    uint64_t changes = 0, before = all_done();
    make_device(false);
    for (uint32_t i = 0; i < RACER_QUEUES; i++) {
        guest_clear(&guests[i]);
        start_queue(&guests[i]);
    }
    for (; inproc_go_on(changes > 10 && all_done() > before + 100); changes++) {
        set_memory(changes % 3 == 0);
        inproc_run_for(&in, inproc_random(200000));
    }
    for (uint32_t i = 0; i < RACER_QUEUES; i++)
        queue_stop(guests[i].queue, false);
    wait_until_quiet();
    for (uint32_t i = 0; i < RACER_QUEUES; i++) {
        guest_halt(&guests[i]);
        check_paused(&guests[i]);
    }
    free_device();
    printf("ok %s\n", inproc_test);
}

static atomic_bool breaking;

/* For up to 20 microseconds or so: as busy with something else. */
static void look_away(void)
{
    for (uint32_t i = inproc_random(40); i > 0; i--)
        sched_yield();
}

static void *break_always(void *arg)
{
    _Atomic uint64_t *breaks = arg;
    while (atomic_load(&breaking)) {
        hvv_broken(&dev->pub, "break %lu", (unsigned long)atomic_fetch_add(breaks, 1));
        look_away();
    }
    return NULL;
}

/* A plugin may break its device from any thread, also just when its driver resets it. */
static void break_vs_reset(void)
{
    pthread_t thread;
    uint64_t resets = 0;
    _Atomic uint64_t breaks = 0;
    inproc_test_begin("break-vs-reset");
    make_device(false);
    atomic_store(&breaking, true);
    must(pthread_create(&thread, NULL, break_always, &breaks) == 0, "no thread");
    for (; inproc_go_on(resets > 10 && atomic_load(&breaks) > 10); resets++) {
        look_away();
        hvv_broken(&dev->pub, "one that is not told yet"); /* by a thread like the other */
        waited = false;
        device_reset(dev, life_done);
        hvv_broken(&dev->pub, "one more, after the reset began");
        inproc_run(&in, &waited);
    }
    atomic_store(&breaking, false);
    pthread_join(thread, NULL);
    reset_device();
    must(!atomic_load(&dev->broken), "broken after its reset");
    free_device();
    printf("ok %s\n", inproc_test);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    inproc_start(&in, 2, NULL);
    complete_vs_reset("complete-vs-reset", false);
    complete_vs_reset("complete-vs-reset-in-order", true);
    memory_vs_io();
    break_vs_reset();
    inproc_stop(&in);
    return 0;
}
