/* SPDX-License-Identifier: BSD-3-Clause */
/* guest.c - see guest.h. */
#include "guest.h"

#include "mmio-driver.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HIGH_GPA 0x200000000ull
/* In the memory of the machine, if that is one file. */
#define HOST_ADDRESS(ZONE) (0x80000000ull + (ZONE) * 0x10000000ull)
#define HOST_HIGH 0x8000000u

struct sim_slot guest_slot(unsigned int index)
{
    return (struct sim_slot){ GUEST_SLOT_BASE + (uint64_t)index * GUEST_SLOT_LENGTH,
                              GUEST_SLOT_LENGTH, GUEST_IRQ_BASE + index };
}

static int add_memory(struct guest *g, const struct guest_options *options)
{
    struct guestmem_spec low = { .size = options->memory, .gpa = GUEST_GPA, .offset = 8192 };
    struct guestmem_spec high = { .size = options->high, .gpa = HIGH_GPA };
    int rc;

    if (sim_device_fd(g->sim) >= 0) {
        low.fd = high.fd = sim_device_fd(g->sim);
        low.offset = HOST_ADDRESS(g->zone);
        high.offset = HOST_ADDRESS(g->zone) + HOST_HIGH;
    }
    rc = guestmem_add(&g->mem, &low);

    if (rc >= 0 && options->high)
        rc = guestmem_add(&g->mem, &high);
    return rc < 0 ? rc : 0;
}

int guest_init(struct guest *g, struct sim *s, const struct guest_options *options)
{
    int err;

    memset(g, 0, sizeof(*g));
    g->sim = s;
    g->zone = options->zone;
    g->cpu = options->cpu;
    g->n_cpus = options->n_cpus;
    pthread_mutex_init(&g->lock, NULL);
    guestmem_init(&g->mem);
    g->control_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    err = g->control_fd < 0 ? -errno : add_memory(g, options);
    for (; !err && g->n_slots < options->slots; g->n_slots++) {
        struct sim_slot slot = guest_slot(g->n_slots);

        err = sim_zone_slot(s, g->zone, &slot);
    }
    return err;
}

static void poke(struct guest *g)
{
    uint64_t one = 1;

    if (write(g->control_fd, &one, sizeof(one)) < 0)
        return; /* full: it is readable anyway */
}

void guest_halt(struct guest *g)
{
    if (!g->running)
        return;
    atomic_store(&g->stop, true);
    poke(g);
    pthread_join(g->thread, NULL);
    g->running = false;
}

void guest_free(struct guest *g)
{
    if (!g->sim)
        return;
    guest_halt(g);
    if (g->control_fd >= 0)
        close(g->control_fd);
    guestmem_free(&g->mem);
    pthread_mutex_destroy(&g->lock);
    memset(g, 0, sizeof(*g));
}

void guest_mask(struct guest *g, bool masked)
{
    atomic_store(&g->masked, masked);
    poke(g);
}

void guest_bind(struct guest *g, unsigned int slot, struct mmio_dev *dev)
{
    pthread_mutex_lock(&g->lock);
    g->dev[slot] = dev;
    pthread_mutex_unlock(&g->lock);
}

static void handle(struct guest *g, uint32_t irq)
{
    uint32_t slot = irq - GUEST_IRQ_BASE;
    struct mmio_dev *dev;

    pthread_mutex_lock(&g->lock);
    dev = slot < SIM_SLOTS ? g->dev[slot] : NULL;
    if (dev)
        mmio_interrupt(dev);
    else
        atomic_fetch_add(&g->foreign, 1);
    pthread_mutex_unlock(&g->lock);
    sim_irq_done(g->sim, g->zone, irq);
}

static void empty(int fd)
{
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0)
        return; /* it was empty */
}

static void *run(void *arg)
{
    struct guest *g = arg;
    int irq_fd = sim_irq_fd(g->sim, g->zone);

    while (!atomic_load(&g->stop)) {
        bool masked = atomic_load(&g->masked);
        struct pollfd p[2] = { { g->control_fd, POLLIN, 0 }, { masked ? -1 : irq_fd, POLLIN, 0 } };
        int64_t irq;

        poll(p, 2, -1);
        empty(g->control_fd);
        if (p[1].revents)
            empty(irq_fd);
        /* Also when it was only unmasked: what is pending may have been signalled before. */
        while (!atomic_load(&g->masked) && (irq = sim_irq_take(g->sim, g->zone)) >= 0)
            handle(g, (uint32_t)irq);
    }
    return NULL;
}

int guest_run(struct guest *g)
{
    int err;

    atomic_store(&g->stop, false);
    err = pthread_create(&g->thread, NULL, run, g);
    g->running = err == 0;
    return -err;
}
