/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zonectl.c - in a guest with hvisor_standin: what zones do. The first word says what, the others
 * are numbers, in base 10, 8 or 16. Exit status 0 if all went well, else 1 and one line why.
 */
#define _GNU_SOURCE

#include "zone.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define MAGIC 0x74726976u
#define IRQ_TIMEOUT_MS 20000
#define TURNS 10
#define INIT_VIRTIO 0x100
#define QUEUES 64u
#define FLOOD 100u

#define NUM 8u          /* of the queue; where its parts are in the memory: */
#define AVAIL 0x1000u
#define USED 0x2000u
#define HEADER 0x3000u
#define STATUS 0x3800u
#define DATA 0x4000u
#define DATA_BYTES 8192u

static int fd;

static _Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

static _Noreturn void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("zonectl: ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    exit(1);
}

static void ask(const char *what, unsigned long request, void *arg)
{
    if (ioctl(fd, request, arg) != 0)
        fail("%s: %s", what, strerror(errno));
}

/* ---- registers ------------------------------------------------------------------------------- */

/* Of which device, and by which vCPU. */
struct device {
    uint32_t zone, cpu;
    uint64_t address;
};

static uint64_t read_sized(const struct device *d, uint32_t offset, uint32_t size)
{
    /* What is there before is not to be seen. */
    struct zone_access a = {.zone = d->zone, .cpu = d->cpu, .address = d->address + offset,
                            .size = size, .value = UINT64_MAX};
    ask("read", ZONE_ACCESS, &a);
    return a.value;
}

static void write_sized(const struct device *d, uint32_t offset, uint32_t size, uint64_t value)
{
    struct zone_access a = {.zone = d->zone, .cpu = d->cpu, .address = d->address + offset,
                            .size = size, .value = value, .write = 1};
    ask("write", ZONE_ACCESS, &a);
}

static uint32_t get(const struct device *d, uint32_t offset)
{
    return (uint32_t)read_sized(d, offset, 4);
}

static void put(const struct device *d, uint32_t offset, uint32_t value)
{
    write_sized(d, offset, 4, value);
}

/* Nobody answers it. */
static void notify(const struct device *d, uint32_t queue)
{
    struct zone_access a = {.zone = d->zone, .cpu = d->cpu, .size = 4, .value = queue, .write = 1,
                            .address = d->address + ZONE_QUEUE_NOTIFY, .notify = 1};
    ask("notify", ZONE_ACCESS, &a);
}

static void expect(const char *what, uint64_t found, uint64_t wanted)
{
    if (found != wanted)
        fail("%s is 0x%llx, not 0x%llx", what, (unsigned long long)found,
             (unsigned long long)wanted);
}

/* Of a disk that no driver has, with fewer than QUEUES queues. */
static void check_registers(const uint64_t *n)
{
    struct device d = {.zone = (uint32_t)n[0], .cpu = (uint32_t)n[1], .address = n[2]};
    struct device nothing = {.zone = d.zone, .cpu = d.cpu, .address = n[2] + (1ull << 32)};
    for (unsigned i = 0; i < TURNS; i++) {
        expect("the magic", get(&d, VIRTIO_MMIO_MAGIC_VALUE), MAGIC);
        expect("the version", get(&d, VIRTIO_MMIO_VERSION), 2);
        expect("DeviceID", get(&d, VIRTIO_MMIO_DEVICE_ID), 2);
        expect("what is where nothing is", get(&nothing, 0), 0);
        notify(&d, i % 2);
        expect("the magic after a notification", get(&d, VIRTIO_MMIO_MAGIC_VALUE), MAGIC);
        /* Above the four bytes is whatever the vCPU's register had. */
        write_sized(&d, VIRTIO_MMIO_QUEUE_SEL, 4, 0xabcdef00000000 | (i % 2 ? QUEUES : 0));
        if ((get(&d, VIRTIO_MMIO_QUEUE_NUM_MAX) != 0) != (i % 2 == 0))
            fail("QueueSel is not what was written");
    }
}

/* ---- a disk, by hand ------------------------------------------------------------------------- */

struct disk {
    struct device d;
    uint32_t irq;
    uint64_t guest; /* address of the memory in the zone */
    char *memory;   /* here */
    uint16_t turn;
};

static void wait_interrupt(const struct disk *k)
{
    struct zone_irq irq = {k->d.zone, k->irq, IRQ_TIMEOUT_MS};
    ask("no interrupt", ZONE_WAIT_IRQ, &irq);
    uint32_t status = get(&k->d, VIRTIO_MMIO_INTERRUPT_STATUS);
    put(&k->d, VIRTIO_MMIO_INTERRUPT_ACK, status);
}

static void set_address(const struct disk *k, uint32_t offset, uint32_t where)
{
    put(&k->d, offset, (uint32_t)(k->guest + where));
    put(&k->d, offset + 4, (uint32_t)((k->guest + where) >> 32));
}

static void bring_up(const struct disk *k)
{
    const struct device *d = &k->d;
    uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    put(d, VIRTIO_MMIO_STATUS, 0);
    put(d, VIRTIO_MMIO_STATUS, status);
    put(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    put(d, VIRTIO_MMIO_DRIVER_FEATURES, 1u << (VIRTIO_F_VERSION_1 - 32));
    put(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    put(d, VIRTIO_MMIO_DRIVER_FEATURES, 0);
    put(d, VIRTIO_MMIO_STATUS, status |= VIRTIO_CONFIG_S_FEATURES_OK);
    expect("Status", get(d, VIRTIO_MMIO_STATUS), status);
    put(d, VIRTIO_MMIO_QUEUE_SEL, 0);
    put(d, VIRTIO_MMIO_QUEUE_NUM, NUM);
    set_address(k, VIRTIO_MMIO_QUEUE_DESC_LOW, 0);
    set_address(k, VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAIL);
    set_address(k, VIRTIO_MMIO_QUEUE_USED_LOW, USED);
    put(d, VIRTIO_MMIO_QUEUE_READY, 1);
    expect("QueueReady", get(d, VIRTIO_MMIO_QUEUE_READY), 1);
    put(d, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void put_descriptor(struct disk *k, uint16_t i, uint32_t where, uint32_t len, uint16_t flags)
{
    struct vring_desc *desc = (struct vring_desc *)k->memory;
    desc[i] = (struct vring_desc){k->guest + where, len, flags, (uint16_t)(i + 1)};
}

/* One request, and its interrupt. */
static void transfer(struct disk *k, uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr header = {.type = type, .sector = sector};
    struct vring_avail *avail = (struct vring_avail *)(k->memory + AVAIL);
    const struct vring_used *used = (const struct vring_used *)(k->memory + USED);
    memcpy(k->memory + HEADER, &header, sizeof(header));
    k->memory[STATUS] = 0x7f;
    put_descriptor(k, 0, HEADER, sizeof(header), VRING_DESC_F_NEXT);
    put_descriptor(k, 1, DATA, DATA_BYTES,
                   VRING_DESC_F_NEXT | (type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0));
    put_descriptor(k, 2, STATUS, 1, VRING_DESC_F_WRITE);
    avail->ring[k->turn++ % NUM] = 0;
    __atomic_store_n(&avail->idx, k->turn, __ATOMIC_SEQ_CST);
    notify(&k->d, 0);
    while (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) != k->turn)
        wait_interrupt(k);
    expect("the status of a request", (uint8_t)k->memory[STATUS], VIRTIO_BLK_S_OK);
}

static void fill(char *data, unsigned seed)
{
    for (unsigned i = 0; i < DATA_BYTES; i++)
        data[i] = (char)(i * 31 + (i >> 8) + seed);
}

/* The program's view of the memory is as the daemon's. */
static char *map_memory(void)
{
    struct zone_memory m;
    ask("memory", ZONE_MEMORY, &m);
    int device = open("/dev/hvisor", O_RDWR | O_CLOEXEC);
    char *p = device < 0 ? MAP_FAILED : mmap(NULL, m.size, PROT_READ | PROT_WRITE, MAP_SHARED,
                                             device, (off_t)m.address);
    if (p == MAP_FAILED)
        fail("the memory: %s", strerror(errno));
    memset(p, 0, m.size);
    return p;
}

static void drive_disk(const uint64_t *n)
{
    struct disk k = {.d = {.zone = (uint32_t)n[0], .cpu = (uint32_t)n[1], .address = n[2]},
                     .irq = (uint32_t)n[3], .guest = n[4], .memory = map_memory()};
    static char wanted[DATA_BYTES];
    bring_up(&k);
    for (unsigned i = 0; i < TURNS; i++) {
        fill(k.memory + DATA, i);
        transfer(&k, VIRTIO_BLK_T_OUT, i * 16);
    }
    for (unsigned i = 0; i < TURNS; i++) {
        memset(k.memory + DATA, 0, DATA_BYTES);
        transfer(&k, VIRTIO_BLK_T_IN, i * 16);
        fill(wanted, i);
        if (memcmp(wanted, k.memory + DATA, DATA_BYTES) != 0)
            fail("sector %u reads other data than was written", i * 16);
    }
    put(&k.d, VIRTIO_MMIO_STATUS, 0);
}

/* ---- words ----------------------------------------------------------------------------------- */

static void plug(const uint64_t *n)
{
    struct zone_slot s = {.zone = (uint32_t)n[0], .cpu = (uint32_t)n[1], .address = n[2],
                          .irq = (uint32_t)n[3]};
    ask("plug", ZONE_PLUG, &s);
    printf("%u\n", s.device_id);
}

static void unplug(const uint64_t *n)
{
    struct zone_slot s = {.zone = (uint32_t)n[0], .address = n[1]};
    ask("unplug", ZONE_UNPLUG, &s);
}

/* As a daemon that does not get any further. */
static void init(const uint64_t *n)
{
    (void)n;
    int device = open("/dev/hvisor", O_RDWR | O_CLOEXEC);
    if (device < 0 || ioctl(device, INIT_VIRTIO) != 0)
        fail("INIT_VIRTIO: %s", strerror(errno));
}

/* More than the list has room for. */
static void flood(const uint64_t *n)
{
    struct device d = {.zone = (uint32_t)n[0], .cpu = (uint32_t)n[1], .address = n[2]};
    for (unsigned i = 0; i < FLOOD; i++)
        notify(&d, 0);
}

static void read_register(const uint64_t *n)
{
    struct device d = {.zone = (uint32_t)n[0], .cpu = (uint32_t)n[1], .address = n[2]};
    printf("0x%llx\n", (unsigned long long)read_sized(&d, 0, 4));
}

static void memory(const uint64_t *n)
{
    struct zone_memory m;
    (void)n;
    ask("memory", ZONE_MEMORY, &m);
    printf("0x%llx 0x%llx\n", (unsigned long long)m.address, (unsigned long long)m.size);
}

static void counters(const uint64_t *n)
{
    struct zone_counters c;
    (void)n;
    ask("counters", ZONE_COUNTERS, &c);
    const struct {
        const char *name;
        uint64_t value;
    } lines[] = {
        {"inits", c.inits}, {"finishes", c.finishes}, {"accesses", c.accesses},
        {"renewed", c.renewed}, {"waiting", c.waiting}, {"notifies", c.notifies},
        {"wakeups", c.wakeups}, {"interrupts", c.interrupts}, {"overflows", c.overflows},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        printf("%s=%llu\n", lines[i].name, (unsigned long long)lines[i].value);
}

static const struct {
    const char *name, *arguments;
    int n;
    void (*run)(const uint64_t *n);
} words[] = {
    {"plug", "ZONE CPU ADDRESS IRQ", 4, plug},
    {"unplug", "ZONE ADDRESS", 2, unplug},
    {"read", "ZONE CPU ADDRESS", 3, read_register},
    {"check", "ZONE CPU ADDRESS", 3, check_registers},
    {"disk", "ZONE CPU ADDRESS IRQ MEMORY", 5, drive_disk},
    {"init", "", 0, init},
    {"flood", "ZONE CPU ADDRESS", 3, flood},
    {"memory", "", 0, memory},
    {"counters", "", 0, counters},
};

int main(int argc, char **argv)
{
    uint64_t n[8] = {0};
    for (size_t i = 0; argc > 1 && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(argv[1], words[i].name) != 0)
            continue;
        if (argc - 2 != words[i].n)
            fail("usage: zonectl %s %s", words[i].name, words[i].arguments);
        for (int k = 0; k < words[i].n; k++)
            n[k] = strtoull(argv[k + 2], NULL, 0);
        fd = open("/dev/hvisor-zone", O_RDWR | O_CLOEXEC);
        if (fd < 0)
            fail("/dev/hvisor-zone: %s", strerror(errno));
        words[i].run(n);
        return 0;
    }
    fail("the first word is none of those it knows");
}
