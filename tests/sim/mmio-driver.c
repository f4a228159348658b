/* SPDX-License-Identifier: BSD-3-Clause */
/* mmio-driver.c - see mmio-driver.h. */
#include "mmio-driver.h"

#include "clock.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAGIC 0x74726976u /* "virt" */
#define GENERATION_TRIES 1000u

int mmio_init(struct mmio_dev *dev, struct guest *g, unsigned int slot, uint32_t cpu)
{
    memset(dev, 0, sizeof(*dev));
    dev->guest = g;
    dev->slot = slot;
    dev->base = guest_slot(slot).address;
    dev->cpu = cpu;
    for (unsigned int i = 0; i < MMIO_QUEUES; i++)
        dev->call_fd[i] = -1;
    for (unsigned int i = 0; i < MMIO_QUEUES; i++) {
        dev->call_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (dev->call_fd[i] < 0)
            return -errno;
    }
    guest_bind(g, slot, dev);
    return 0;
}

void mmio_free(struct mmio_dev *dev)
{
    if (!dev->guest)
        return;
    guest_bind(dev->guest, dev->slot, NULL);
    for (unsigned int i = 0; i < MMIO_QUEUES; i++)
        if (dev->call_fd[i] >= 0)
            close(dev->call_fd[i]);
    memset(dev, 0, sizeof(*dev));
}

__attribute__((format(printf, 2, 3))) static int wrong(struct mmio_dev *dev, const char *format,
                                                       ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(dev->why, sizeof(dev->why), format, args);
    va_end(args);
    return -EPROTO;
}

/* ---- registers ------------------------------------------------------------------------------- */

static struct sim_access access_of(const struct mmio_dev *dev, uint32_t offset, uint32_t size)
{
    return (struct sim_access){ .cpu = dev->cpu, .zone = dev->guest->zone,
                                .address = dev->base + offset, .size = size };
}

int mmio_read(struct mmio_dev *dev, uint32_t offset, uint32_t size, uint64_t *value)
{
    struct sim_access a = access_of(dev, offset, size);
    int err = sim_access(dev->guest->sim, &a);

    *value = err ? UINT64_MAX : a.value;
    return err;
}

int mmio_write(struct mmio_dev *dev, uint32_t offset, uint32_t size, uint64_t value)
{
    struct sim_access a = access_of(dev, offset, size);

    a.write = true;
    a.value = value;
    return sim_access(dev->guest->sim, &a);
}

int mmio_read32(struct mmio_dev *dev, uint32_t offset, uint32_t *value)
{
    uint64_t wide;
    int err = mmio_read(dev, offset, 4, &wide);

    *value = (uint32_t)wide;
    return err;
}

int mmio_write32(struct mmio_dev *dev, uint32_t offset, uint32_t value)
{
    return mmio_write(dev, offset, 4, value);
}

static int write64(struct mmio_dev *dev, uint32_t low, uint64_t value)
{
    int err = mmio_write32(dev, low, (uint32_t)value);

    return err ? err : mmio_write32(dev, low + 4, (uint32_t)(value >> 32));
}

/* ---- coming up ------------------------------------------------------------------------------- */

int mmio_probe(struct mmio_dev *dev)
{
    uint32_t magic, version = 0;
    int err = mmio_read32(dev, VIRTIO_MMIO_MAGIC_VALUE, &magic);

    if (!err && magic != MAGIC)
        return -ENXIO;
    if (!err)
        err = mmio_read32(dev, VIRTIO_MMIO_VERSION, &version);
    if (!err && version != 2)
        return wrong(dev, "the version is %u", version);
    if (!err)
        err = mmio_read32(dev, VIRTIO_MMIO_DEVICE_ID, &dev->device_id);
    return !err && !dev->device_id ? -ENODEV : err;
}

/* Linux does not read the status back. */
int mmio_reset(struct mmio_dev *dev)
{
    int err = mmio_write32(dev, VIRTIO_MMIO_STATUS, 0);

    memset(dev->ring, 0, sizeof(dev->ring));
    dev->features = 0;
    return err;
}

static int add_status(struct mmio_dev *dev, uint32_t bit)
{
    uint32_t status;
    int err = mmio_read32(dev, VIRTIO_MMIO_STATUS, &status);

    return err ? err : mmio_write32(dev, VIRTIO_MMIO_STATUS, status | bit);
}

static int read_offered(struct mmio_dev *dev)
{
    uint32_t half[2];
    int err = 0;

    for (uint32_t i = 2; i-- > 0 && !err;) {
        err = mmio_write32(dev, VIRTIO_MMIO_DEVICE_FEATURES_SEL, i);
        if (!err)
            err = mmio_read32(dev, VIRTIO_MMIO_DEVICE_FEATURES, &half[i]);
    }
    if (!err)
        dev->offered = (uint64_t)half[1] << 32 | half[0];
    return err;
}

static int write_features(struct mmio_dev *dev)
{
    int err = 0;

    for (uint32_t i = 2; i-- > 0 && !err;) {
        err = mmio_write32(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
        if (!err)
            err = mmio_write32(dev, VIRTIO_MMIO_DRIVER_FEATURES,
                               (uint32_t)(dev->features >> 32 * i));
    }
    return err;
}

int mmio_negotiate(struct mmio_dev *dev, uint64_t wanted, uint64_t needed)
{
    uint32_t status = 0;
    int err = mmio_reset(dev);

    needed |= MMIO_BIT(VIRTIO_F_VERSION_1);
    if (!err)
        err = add_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    if (!err)
        err = add_status(dev, VIRTIO_CONFIG_S_DRIVER);
    if (!err)
        err = read_offered(dev);
    if (err)
        return err;
    if ((dev->offered & needed) != needed)
        return -EOPNOTSUPP;
    dev->features = dev->offered & (wanted | needed);
    err = write_features(dev);
    if (!err)
        err = add_status(dev, VIRTIO_CONFIG_S_FEATURES_OK);
    if (!err)
        err = mmio_read32(dev, VIRTIO_MMIO_STATUS, &status);
    if (!err && !(status & VIRTIO_CONFIG_S_FEATURES_OK))
        return wrong(dev, "features 0x%llx were refused", (unsigned long long)dev->features);
    return err;
}

int mmio_driver_ok(struct mmio_dev *dev)
{
    return add_status(dev, VIRTIO_CONFIG_S_DRIVER_OK);
}

/* ---- queues ---------------------------------------------------------------------------------- */

static int kick(void *arg)
{
    const struct mmio_kick *k = arg;

    return mmio_write32(k->dev, VIRTIO_MMIO_QUEUE_NOTIFY, k->index);
}

static int check_unused(struct mmio_dev *dev, unsigned int index)
{
    uint32_t ready;
    int err = mmio_write32(dev, VIRTIO_MMIO_QUEUE_SEL, index);

    if (!err)
        err = mmio_read32(dev, VIRTIO_MMIO_QUEUE_READY, &ready);
    if (!err && ready)
        return wrong(dev, "queue %u reads ready before it was set up", index);
    return err;
}

static int write_addresses(struct mmio_dev *dev, const struct ring *ring)
{
    const struct guestmem *mem = &dev->guest->mem;
    int err = write64(dev, VIRTIO_MMIO_QUEUE_DESC_LOW, guestmem_gpa(mem, ring->desc));

    if (!err)
        err = write64(dev, VIRTIO_MMIO_QUEUE_AVAIL_LOW, guestmem_gpa(mem, ring->avail));
    if (!err)
        err = write64(dev, VIRTIO_MMIO_QUEUE_USED_LOW, guestmem_gpa(mem, ring->used));
    return err;
}

int mmio_queue_start(struct mmio_dev *dev, unsigned int index, struct ring *ring)
{
    uint32_t max = 0;
    int err = check_unused(dev, index);

    if (!err)
        err = mmio_read32(dev, VIRTIO_MMIO_QUEUE_NUM_MAX, &max);
    if (!err && !max)
        return -ENOENT;
    if (!err && ring->opt.num > max)
        return -E2BIG;
    dev->kick[index] = (struct mmio_kick){ dev, index };
    ring->kick = kick;
    ring->kick_arg = &dev->kick[index];
    ring->call_fd = dev->call_fd[index];
    if (!err)
        err = mmio_write32(dev, VIRTIO_MMIO_QUEUE_NUM, ring->opt.num);
    if (!err)
        err = write_addresses(dev, ring);
    if (!err)
        err = mmio_write32(dev, VIRTIO_MMIO_QUEUE_READY, 1);
    if (!err)
        dev->ring[index] = ring;
    return err;
}

int mmio_queue_stop(struct mmio_dev *dev, unsigned int index)
{
    uint32_t ready = 0;
    int err = mmio_write32(dev, VIRTIO_MMIO_QUEUE_SEL, index);

    if (!err)
        err = mmio_write32(dev, VIRTIO_MMIO_QUEUE_READY, 0);
    if (!err)
        err = mmio_read32(dev, VIRTIO_MMIO_QUEUE_READY, &ready);
    if (!err && ready)
        return wrong(dev, "queue %u is still ready after 0 was written", index);
    dev->ring[index] = NULL;
    return err;
}

int mmio_queue_reset(struct mmio_dev *dev, unsigned int index)
{
    uint64_t deadline = clock_deadline(sim_patience_ms());
    uint32_t busy = 1;
    int err = mmio_write32(dev, VIRTIO_MMIO_QUEUE_SEL, index);

    if (!err)
        err = mmio_write32(dev, MMIO_QUEUE_RESET, 1);
    while (!err && busy) {
        err = mmio_read32(dev, MMIO_QUEUE_RESET, &busy);
        if (!err && busy && !clock_left_ms(deadline))
            return wrong(dev, "queue %u was not reset within %d ms", index,
                         sim_patience_ms());
    }
    dev->ring[index] = NULL;
    return err;
}

/* ---- config space ---------------------------------------------------------------------------- */

static int read_once(struct mmio_dev *dev, uint32_t offset, uint8_t *data, uint32_t len)
{
    int err = 0;

    for (uint32_t i = 0; i < len && !err;) {
        uint32_t left = len - i, at = offset + i;
        uint32_t size = left >= 4 && at % 4 == 0 ? 4 : left >= 2 && at % 2 == 0 ? 2 : 1;
        uint64_t value;

        err = mmio_read(dev, VIRTIO_MMIO_CONFIG + at, size, &value);
        value = htole64(value);
        memcpy(data + i, &value, size);
        i += size;
    }
    return err;
}

int mmio_config_read(struct mmio_dev *dev, uint32_t offset, void *data, uint32_t len)
{
    uint32_t before, after;

    for (unsigned int i = 0; i < GENERATION_TRIES; i++) {
        int err = mmio_read32(dev, VIRTIO_MMIO_CONFIG_GENERATION, &before);

        if (!err)
            err = read_once(dev, offset, data, len);
        if (!err)
            err = mmio_read32(dev, VIRTIO_MMIO_CONFIG_GENERATION, &after);
        if (err || before == after)
            return err;
    }
    return wrong(dev, "the generation of the config space never rests");
}

int mmio_config_write(struct mmio_dev *dev, uint32_t offset, const void *data, uint32_t len)
{
    uint64_t value = 0;

    if (len != 1 && len != 2 && len != 4 && len != 8)
        return -EINVAL;
    memcpy(&value, data, len);
    return mmio_write(dev, VIRTIO_MMIO_CONFIG + offset, len, le64toh(value));
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static void signal_queues(struct mmio_dev *dev)
{
    uint64_t one = 1;

    for (unsigned int i = 0; i < MMIO_QUEUES; i++)
        if (dev->call_fd[i] >= 0 && write(dev->call_fd[i], &one, sizeof(one)) < 0)
            continue; /* full: it is readable anyway */
}

/* On the guest's first CPU, not the driver's. */
void mmio_interrupt(struct mmio_dev *dev)
{
    struct sim_access a = access_of(dev, VIRTIO_MMIO_INTERRUPT_STATUS, 4);
    uint64_t status;

    a.cpu = dev->guest->cpu;
    if (sim_access(dev->guest->sim, &a))
        return; /* the daemon is gone, or it is recorded */
    status = a.value;
    a.address = dev->base + VIRTIO_MMIO_INTERRUPT_ACK;
    a.write = true;
    if (sim_access(dev->guest->sim, &a))
        return;
    atomic_fetch_add(&dev->interrupts, 1);
    if (!status)
        atomic_fetch_add(&dev->empty, 1);
    if (status & VIRTIO_MMIO_INT_CONFIG)
        atomic_fetch_add(&dev->config_changes, 1);
    if (status & VIRTIO_MMIO_INT_VRING)
        signal_queues(dev);
    if (dev->in_interrupt)
        dev->in_interrupt(dev, dev->in_interrupt_arg);
}
