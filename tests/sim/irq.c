/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * irq.c - the interrupts of sim.h. A thread of the owner takes them off the bridge; any thread of
 * any process takes them from there as the CPU of a zone would.
 *
 * Whether the daemon keeps to the limit cannot be seen by counting alone: it may exceed it when it
 * has waited, and this thread may be late. So each pending interrupt remembers the last time the
 * thread found the bridge without it. It was told after that time; and only if this is less long
 * ago than the daemon has to wait, one more is one too many for sure. For this the thread looks
 * every few milliseconds, asked or not. And an interrupt that the guest may have acknowledged after
 * it was told, when it was handling the one before, does not count: the daemon may take it as done.
 */
#include "shared.h"

#include "clock.h"

#include <poll.h>
#include <unistd.h>

#define LOOK_MS 10

static struct sim_irq *find(struct sim_zone *zone, uint32_t irq)
{
    for (unsigned int i = 0; i < zone->n_slots; i++)
        if (zone->irq[i].irq == irq)
            return &zone->irq[i];
    return NULL;
}

/* How many are pending and not acknowledged, and since when the first of them may be. */
static unsigned int pending_of(const struct sim_zone *zone, uint64_t *since)
{
    unsigned int n = 0;

    *since = UINT64_MAX;
    for (unsigned int i = 0; i < zone->n_slots; i++) {
        const struct sim_irq *irq = &zone->irq[i];

        if (!irq->pending || irq->settling || irq->settled_ns >= irq->after_ns)
            continue;
        n++;
        if (irq->after_ns < *since)
            *since = irq->after_ns;
    }
    return n;
}

static void check_limit(struct sim *s, uint32_t number, struct sim_zone *zone, uint64_t now)
{
    uint64_t since;
    unsigned int n = pending_of(zone, &since);

    if (n + 1 > zone->most_pending)
        zone->most_pending = n + 1;
    if (n >= s->shared->opt.irq_limit && now - since < SIM_IRQ_WAIT_MS * 1000000ull)
        sim_note(s, "zone %u got interrupt %u on top of %u pending ones after %llu ms", number,
                 n + 1, n, (unsigned long long)(now - since) / 1000000);
}

/* InterruptACK, and Status, which may be a reset. */
static bool acknowledges(const struct sim_slot *slot, const struct sim_access *a)
{
    uint64_t offset = a->address - slot->address;

    return a->write && (offset == 0x64 || offset == 0x70);
}

void sim_irq_settling(struct sim *s, const struct sim_access *a, bool begins)
{
    struct sim_zone *zone = &s->shared->zone[a->zone];

    if (!a->write)
        return;
    sim_lock(&s->shared->irq_lock);
    for (unsigned int i = 0; i < zone->n_slots; i++) {
        struct sim_irq *irq = &zone->irq[i];

        if (!acknowledges(&zone->slot[i], a))
            continue;
        irq->settling = begins ? irq->settling + 1 : irq->settling - 1;
        irq->settled_ns = clock_ns();
    }
    sim_unlock(&s->shared->irq_lock);
}

static void ring_zone(const struct sim *s, uint32_t number)
{
    uint64_t one = 1;

    if (write(s->zone_fd[number], &one, sizeof(one)) < 0)
        return; /* full of wake-ups: it is readable */
}

static void tell(struct sim *s, const struct hvv_bridge_result *res, uint64_t before, uint64_t now)
{
    struct sim_zone *zone;
    struct sim_irq *irq;

    if (!s->shared->connected) /* the daemon has not seen the end of the connection yet */
        return;
    if (res->target_zone >= HVV_BRIDGE_ZONES) {
        sim_note(s, "an interrupt for zone %u", res->target_zone);
        return;
    }
    zone = &s->shared->zone[res->target_zone];
    irq = find(zone, res->irq_id);
    if (irq && s->device && !atomic_load(&zone->on)) /* the daemon is not told when zones end */
        return;
    if (!irq || !atomic_load(&zone->on)) {
        sim_note(s, "interrupt %u for zone %u, which %s", res->irq_id, res->target_zone,
                 irq ? "is off" : "has no such slot");
        return;
    }
    irq->told++;
    if (irq->pending || (irq->active && !s->shared->opt.level)) {
        irq->dropped++;
        return;
    }
    check_limit(s, res->target_zone, zone, now);
    irq->pending = true;
    irq->after_ns = before;
    ring_zone(s, res->target_zone);
}

void sim_irq_pass(struct sim *s)
{
    struct hvv_bridge_page *page;
    uint32_t front, rear;
    uint64_t now;

    sim_lock(&s->shared->irq_lock);
    page = sim_page(s);
    now = clock_ns();
    rear = __atomic_load_n(&page->res_rear, __ATOMIC_ACQUIRE);
    if (rear >= HVV_BRIDGE_ENTRIES) {
        sim_note(s, "res_rear is %u", rear);
        rear = page->res_front;
    }
    for (front = page->res_front; front != rear; front = (front + 1) % HVV_BRIDGE_ENTRIES)
        tell(s, &page->res_list[front], s->shared->last_pass_ns, now);
    __atomic_store_n(&page->res_front, front, __ATOMIC_RELEASE);
    s->shared->last_pass_ns = now;
    sim_unlock(&s->shared->irq_lock);
}

/* Behind a device nothing is taken, but that there is nothing to take is known. */
static void look(struct sim *s)
{
    const struct hvv_bridge_page *page = sim_page(s);

    if (!s->device) {
        sim_irq_pass(s);
        return;
    }
    sim_lock(&s->shared->irq_lock);
    uint64_t now = clock_ns();
    if (__atomic_load_n(&page->res_rear, __ATOMIC_ACQUIRE) == page->res_front)
        s->shared->last_pass_ns = now;
    sim_unlock(&s->shared->irq_lock);
}

void *sim_irq_run(void *arg)
{
    struct sim *s = arg;
    struct pollfd p[2] = { { s->irq_fd, POLLIN, 0 }, { s->stop_fd, POLLIN, 0 } };

    while (!p[1].revents) {
        uint64_t count;

        poll(p, 2, LOOK_MS);
        if (p[0].revents && read(s->irq_fd, &count, sizeof(count)) < 0)
            p[0].revents = 0; /* another pass was faster */
        look(s);
    }
    return NULL;
}

/* ---- the CPU's side -------------------------------------------------------------------------- */

int sim_irq_fd(const struct sim *s, uint32_t zone)
{
    return s->zone_fd[zone];
}

int64_t sim_irq_take(struct sim *s, uint32_t number)
{
    struct sim_zone *zone = &s->shared->zone[number];
    int64_t got = -1;

    sim_lock(&s->shared->irq_lock);
    for (unsigned int i = 0; i < zone->n_slots && got < 0; i++) {
        struct sim_irq *irq = &zone->irq[i];

        if (!irq->pending || irq->active)
            continue;
        irq->pending = false;
        irq->active = true;
        irq->taken++;
        got = irq->irq;
    }
    sim_unlock(&s->shared->irq_lock);
    return got;
}

void sim_irq_done(struct sim *s, uint32_t zone, uint32_t number)
{
    struct sim_irq *irq;

    sim_lock(&s->shared->irq_lock);
    irq = find(&s->shared->zone[zone], number);
    if (irq) {
        irq->active = false;
        if (irq->pending)
            ring_zone(s, zone);
    }
    sim_unlock(&s->shared->irq_lock);
}

struct sim_irq_counts sim_irq_counts(struct sim *s, uint32_t number, uint32_t irq)
{
    struct sim_zone *zone = &s->shared->zone[number];
    struct sim_irq_counts sum = { 0 };

    sim_lock(&s->shared->irq_lock);
    for (unsigned int i = 0; i < zone->n_slots; i++) {
        const struct sim_irq *one = &zone->irq[i];

        if (irq != UINT32_MAX && one->irq != irq)
            continue;
        sum.told += one->told;
        sum.dropped += one->dropped;
        sum.taken += one->taken;
        sum.pending += one->pending;
    }
    sum.most = zone->most_pending;
    sim_unlock(&s->shared->irq_lock);
    return sum;
}

bool sim_irq_wait_pending(struct sim *s, uint32_t zone, uint64_t n, int timeout_ms)
{
    uint64_t deadline = clock_deadline(timeout_ms);

    while (sim_irq_counts(s, zone, UINT32_MAX).pending < n) {
        if (!clock_left_ms(deadline))
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}
