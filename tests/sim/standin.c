/* SPDX-License-Identifier: BSD-3-Clause */
/* standin.c - see standin.h. All state is under `lock`; the thread holds it while it works. */
#include "standin.h"

#include <errno.h>
#include <hvv/bridge.h>
#include <hvv/trap.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define SLOTS 16u
#define AGAIN_MS 20 /* until an interrupt nobody acknowledged is told again */
#define PIECES 8u
#define QUEUE_RESET 0xc0u
#define FEATURES (1ull << VIRTIO_F_VERSION_1 | 1ull << 40 | 1ull << VIRTIO_BLK_F_CONFIG_WCE)

struct disk {
    bool there;
    uint32_t zone, irq;
    uint64_t address, length;
    uint32_t features_sel, status, interrupt, num, ready;
    uint32_t at[6]; /* desc, avail, used: low, high */
    uint16_t last_avail;
    struct virtio_blk_config config;
    uint8_t data[STANDIN_DISK];
};

struct piece {
    uint32_t zone;
    uint64_t address, size;
    uint8_t *map;
};

struct standin {
    pthread_mutex_t lock;
    pthread_t thread;
    bool stop;
    enum standin_fault fault;
    char path[108];
    int listener, socket, wake_fd;
    int doorbell, irq_fd;
    bool futex;
    struct hvv_bridge_page *page;
    struct piece piece[PIECES];
    unsigned int n_pieces, n_slots;
    struct disk *slot[SLOTS];
    bool wanted[HVV_BRIDGE_ZONES][SLOTS];
    uint64_t last_write;
};

/* ---- a disk ---------------------------------------------------------------------------------- */

static void *guest_at(struct standin *d, uint32_t zone, uint64_t gpa, uint64_t len)
{
    for (unsigned int i = 0; i < d->n_pieces; i++) {
        const struct piece *p = &d->piece[i];

        if (p->zone == zone && gpa >= p->address && gpa - p->address <= p->size &&
            len <= p->size - (gpa - p->address))
            return p->map + (gpa - p->address);
    }
    return NULL;
}

static void interrupt(struct standin *d, uint32_t zone, uint32_t irq)
{
    struct hvv_bridge_page *page = d->page;
    uint64_t one = 1;

    page->res_list[page->res_rear] = (struct hvv_bridge_result){ zone, irq };
    __atomic_store_n(&page->res_rear, (page->res_rear + 1) % HVV_BRIDGE_ENTRIES, __ATOMIC_RELEASE);
    if (write(d->irq_fd, &one, sizeof(one)) < 0)
        abort();
}

static void *ring_part(struct standin *d, const struct disk *disk, unsigned int which, size_t len)
{
    uint64_t gpa = (uint64_t)disk->at[2 * which + 1] << 32 | disk->at[2 * which];

    return guest_at(d, disk->zone, gpa, len);
}

/* Three descriptors: header, data, status. Returns the bytes written. */
static uint32_t one_request(struct standin *d, struct disk *disk, const struct vring_desc *desc,
                            uint16_t head)
{
    const struct vring_desc *part[3] = { &desc[head], NULL, NULL };
    const struct virtio_blk_outhdr *header;
    uint8_t *data, *status;

    for (int i = 1; i < 3; i++)
        part[i] = &desc[part[i - 1]->next % disk->num];
    header = guest_at(d, disk->zone, part[0]->addr, sizeof(*header));
    data = guest_at(d, disk->zone, part[1]->addr, part[1]->len);
    status = guest_at(d, disk->zone, part[2]->addr, 1);
    if (!header || !data || !status || header->sector * 512 + part[1]->len > STANDIN_DISK)
        return 0;
    if (header->type == VIRTIO_BLK_T_OUT)
        memcpy(disk->data + header->sector * 512, data, part[1]->len);
    else
        memcpy(data, disk->data + header->sector * 512, part[1]->len);
    if (header->type == VIRTIO_BLK_T_IN && d->fault == STANDIN_SPOIL)
        data[part[1]->len - 1] ^= 1;
    *status = VIRTIO_BLK_S_OK;
    return header->type == VIRTIO_BLK_T_OUT ? 1 : part[1]->len + 1;
}

static void serve_queue(struct standin *d, struct disk *disk)
{
    const struct vring_desc *desc = ring_part(d, disk, 0, 16ull * disk->num);
    struct vring_avail *avail = ring_part(d, disk, 1, 6 + 2ull * disk->num);
    struct vring_used *used = ring_part(d, disk, 2, 6 + 8ull * disk->num);
    uint16_t index = 0;

    if (!disk->ready || !desc || !avail || !used)
        return;
    while (disk->last_avail != __atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE)) {
        uint16_t head = avail->ring[disk->last_avail % disk->num] % disk->num;
        uint32_t len = one_request(d, disk, desc, head);

        index = disk->last_avail++;
        used->ring[index % disk->num] = (struct vring_used_elem){ head, len };
        __atomic_store_n(&used->idx, (uint16_t)(index + 1), __ATOMIC_RELEASE);
    }
    disk->interrupt |= VIRTIO_MMIO_INT_VRING;
    interrupt(d, disk->zone, disk->irq);
}

/* Is there an interrupt that the guest has not acknowledged? It may have been dropped. */
static bool is_pending(const struct standin *d)
{
    for (unsigned int i = 0; i < d->n_slots; i++)
        if (d->page && d->slot[i]->interrupt)
            return true;
    return false;
}

static void interrupt_again(struct standin *d)
{
    for (unsigned int i = 0; i < d->n_slots; i++)
        if (d->page && d->slot[i]->interrupt)
            interrupt(d, d->slot[i]->zone, d->slot[i]->irq);
}

static uint64_t read_config(const struct disk *disk, uint32_t offset, uint32_t size)
{
    uint64_t value = 0;

    if (offset <= sizeof(disk->config) && size <= sizeof(disk->config) - offset)
        memcpy(&value, (const uint8_t *)&disk->config + offset, size);
    return value;
}

static uint64_t read_register(const struct disk *disk, uint32_t offset, uint32_t size)
{
    const struct {
        uint32_t offset, value;
    } table[] = {
        { VIRTIO_MMIO_MAGIC_VALUE, 0x74726976 },
        { VIRTIO_MMIO_VERSION, 2 },
        { VIRTIO_MMIO_DEVICE_ID, disk->there ? 2 : 0 },
        { VIRTIO_MMIO_DEVICE_FEATURES, (uint32_t)(FEATURES >> 32 * (disk->features_sel & 1)) },
        { VIRTIO_MMIO_QUEUE_NUM_MAX, 256 },
        { VIRTIO_MMIO_QUEUE_READY, disk->ready },
        { VIRTIO_MMIO_INTERRUPT_STATUS, disk->interrupt },
        { VIRTIO_MMIO_STATUS, disk->status },
    };

    if (offset >= VIRTIO_MMIO_CONFIG)
        return read_config(disk, offset - VIRTIO_MMIO_CONFIG, size);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].offset == offset)
            return table[i].value;
    return 0;
}

static void reset_queue(struct disk *disk)
{
    disk->ready = 0;
    disk->last_avail = 0;
}

static void write_register(struct standin *d, struct disk *disk, uint32_t offset, uint32_t value)
{
    static const uint32_t addresses[6] = {
        VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_DESC_HIGH, VIRTIO_MMIO_QUEUE_AVAIL_LOW,
        VIRTIO_MMIO_QUEUE_AVAIL_HIGH, VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_QUEUE_USED_HIGH,
    };

    for (int i = 0; i < 6; i++)
        if (addresses[i] == offset)
            disk->at[i] = value;
    if (offset == VIRTIO_MMIO_DEVICE_FEATURES_SEL)
        disk->features_sel = value;
    else if (offset == VIRTIO_MMIO_QUEUE_NUM)
        disk->num = value;
    else if (offset == VIRTIO_MMIO_QUEUE_READY && value)
        disk->ready = value;
    else if (offset == VIRTIO_MMIO_QUEUE_READY || offset == QUEUE_RESET)
        reset_queue(disk);
    else if (offset == VIRTIO_MMIO_QUEUE_NOTIFY)
        serve_queue(d, disk);
    else if (offset == VIRTIO_MMIO_INTERRUPT_ACK)
        disk->interrupt &= ~value;
    else if (offset == VIRTIO_MMIO_STATUS)
        disk->status = value;
    if (offset == VIRTIO_MMIO_STATUS && !value)
        reset_queue(disk);
}

/* ---- the bridge ------------------------------------------------------------------------------ */

static void answer(struct standin *d, const struct hvv_bridge_request *req, uint64_t value)
{
    uint64_t *flag = &d->page->cfg_flags[req->src_cpu];
    uint64_t add = d->fault == STANDIN_TWICE ? 2 : 1;

    if (req->need_interrupt ? d->fault != STANDIN_ANSWER_NOTIFY : d->fault == STANDIN_SILENT)
        return;
    if (req->size < 8 && d->fault != STANDIN_WIDE)
        value &= (1ull << 8 * req->size) - 1;
    if (d->fault == STANDIN_WIDE)
        value |= 1ull << 40;
    d->page->cfg_values[req->src_cpu] = value;
    __atomic_store_n(flag, *flag + add, __ATOMIC_RELEASE);
    if (d->futex && d->fault != STANDIN_NO_WAKE)
        syscall(SYS_futex, flag, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void one_access(struct standin *d, const struct hvv_bridge_request *req)
{
    struct disk *disk = NULL;
    uint64_t value = 0;

    for (unsigned int i = 0; i < d->n_slots; i++)
        if (d->slot[i]->zone == req->src_zone && req->address >= d->slot[i]->address &&
            req->address - d->slot[i]->address < d->slot[i]->length)
            disk = d->slot[i];
    if (req->is_write)
        d->last_write = req->value;
    if (d->fault == STANDIN_NO_WAKE)
        usleep(20000); /* so that the vCPU sleeps */
    if (disk && req->is_write)
        write_register(d, disk, (uint32_t)(req->address - disk->address), (uint32_t)req->value);
    else if (disk)
        value = read_register(disk, (uint32_t)(req->address - disk->address), (uint32_t)req->size);
    answer(d, req, value);
}

static void drain(struct standin *d)
{
    struct hvv_bridge_page *page = d->page;

    if (!page || d->fault == STANDIN_ASLEEP)
        return;
    page->need_wakeup = 0;
    while (page->req_front != __atomic_load_n(&page->req_rear, __ATOMIC_ACQUIRE)) {
        struct hvv_bridge_request req = page->req_list[page->req_front];

        __atomic_store_n(&page->req_front, (page->req_front + 1) % HVV_BRIDGE_ENTRIES,
                         __ATOMIC_RELEASE);
        one_access(d, &req);
    }
}

/* True if it may sleep. */
static bool may_sleep(struct standin *d)
{
    if (!d->page || d->fault == STANDIN_ASLEEP)
        return true;
    if (d->fault == STANDIN_NO_RECHECK || d->fault == STANDIN_LINGER)
        usleep(1000); /* makes the window wide */
    __atomic_store_n(&d->page->need_wakeup, 1, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return d->fault == STANDIN_NO_RECHECK ||
           d->page->req_front == __atomic_load_n(&d->page->req_rear, __ATOMIC_ACQUIRE);
}

/* ---- the socket ------------------------------------------------------------------------------ */

static void forget_memory(struct standin *d, uint32_t zone, bool all)
{
    for (unsigned int i = 0; i < d->n_pieces;) {
        if (!all && d->piece[i].zone != zone) {
            i++;
            continue;
        }
        munmap(d->piece[i].map, d->piece[i].size);
        d->piece[i] = d->piece[--d->n_pieces];
    }
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void hang_up(struct standin *d)
{
    forget_memory(d, 0, true);
    for (unsigned int i = 0; i < d->n_slots; i++)
        free(d->slot[i]);
    d->n_slots = 0;
    if (d->page)
        munmap(d->page, HVV_BRIDGE_SIZE);
    d->page = NULL;
    close_one(&d->socket);
    close_one(&d->doorbell);
    close_one(&d->irq_fd);
}

static int hello(struct standin *d, const struct hvv_trap_hello *m, const int fds[3])
{
    void *page = mmap(NULL, HVV_BRIDGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0],
                      (off_t)m->page_offset);

    if (page == MAP_FAILED || m->version != HVV_TRAP_VERSION || d->page)
        return EINVAL;
    d->page = page;
    d->futex = m->flags & HVV_TRAP_FUTEX;
    d->doorbell = dup(fds[1]);
    d->irq_fd = dup(fds[2]);
    return 0;
}

static int memory(struct standin *d, const struct hvv_trap_memory *m, int fd)
{
    struct piece *p = &d->piece[d->n_pieces];
    void *map;

    if (d->n_pieces == PIECES)
        return ENOSPC;
    map = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)m->offset);
    if (map == MAP_FAILED)
        return errno;
    *p = (struct piece){ m->zone, m->address, m->size, map };
    d->n_pieces++;
    return 0;
}

static int slot(struct standin *d, const struct hvv_trap_slot *m)
{
    unsigned int of_zone = 0;
    struct disk *disk;

    for (unsigned int i = 0; i < d->n_slots; i++) {
        of_zone += d->slot[i]->zone == m->zone;
        if (d->slot[i]->zone == m->zone && d->slot[i]->address == m->address)
            return 0;
    }
    disk = d->n_slots == SLOTS ? NULL : calloc(1, sizeof(*disk));
    if (!disk)
        return ENOSPC;
    disk->zone = m->zone;
    disk->address = m->address;
    disk->length = m->length;
    disk->irq = m->irq;
    disk->there = d->wanted[m->zone][of_zone];
    disk->config.capacity = STANDIN_DISK / 512;
    d->slot[d->n_slots++] = disk;
    return 0;
}

static void stop_zone(struct standin *d, uint32_t zone)
{
    forget_memory(d, zone, false);
    for (unsigned int i = 0; i < d->n_slots; i++)
        if (d->slot[i]->zone == zone)
            write_register(d, d->slot[i], VIRTIO_MMIO_STATUS, 0);
}

static int one_message(struct standin *d, const void *m, const int *fds, unsigned int n_fds)
{
    const struct hvv_trap_zone *zone = m;

    switch (zone->type) {
    case HVV_TRAP_HELLO:
        return n_fds == 3 ? hello(d, m, fds) : EINVAL;
    case HVV_TRAP_MEMORY:
        return n_fds == 1 ? memory(d, m, fds[0]) : EINVAL;
    case HVV_TRAP_SLOT:
        return slot(d, m);
    case HVV_TRAP_STOP:
        stop_zone(d, zone->zone);
        return 0;
    case HVV_TRAP_START:
        return 0;
    default:
        return ENOSYS;
    }
}

static void take_message(struct standin *d)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    uint64_t bytes[16];
    struct iovec iov = { bytes, sizeof(bytes) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
                          .msg_controllen = sizeof(control) };
    struct hvv_trap_answer answer = { .type = HVV_TRAP_ANSWER };
    ssize_t n = recvmsg(d->socket, &msg, MSG_CMSG_CLOEXEC);
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    unsigned int n_fds = 0;
    int fds[4];

    if (n <= 0) {
        hang_up(d);
        return;
    }
    if (c && c->cmsg_type == SCM_RIGHTS) {
        n_fds = (unsigned int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(c), n_fds * sizeof(int));
    }
    answer.error = one_message(d, bytes, fds, n_fds);
    if (answer.error)
        strcpy(answer.text, "the stand-in refuses");
    while (n_fds > 0)
        close(fds[--n_fds]);
    if (send(d->socket, &answer, sizeof(answer), MSG_NOSIGNAL) < 0)
        hang_up(d);
}

static void *run(void *arg)
{
    struct standin *d = arg;

    for (;;) {
        uint64_t count;
        bool sleep, stop;

        pthread_mutex_lock(&d->lock);
        drain(d);
        sleep = may_sleep(d);
        stop = d->stop;
        struct pollfd p[3] = { { d->wake_fd, POLLIN, 0 },
                               { d->socket < 0 ? d->listener : d->socket, POLLIN, 0 },
                               { d->page ? d->doorbell : -1, POLLIN, 0 } };
        bool connected = d->socket >= 0, pending = is_pending(d);
        pthread_mutex_unlock(&d->lock);
        if (stop)
            return NULL;
        int ready = poll(p, 3, !sleep ? 0 : pending ? AGAIN_MS : -1);
        pthread_mutex_lock(&d->lock);
        if (sleep && ready == 0)
            interrupt_again(d);
        if (p[0].revents && read(d->wake_fd, &count, sizeof(count)) < 0)
            p[0].revents = 0;
        if (p[2].revents && d->doorbell >= 0 && read(d->doorbell, &count, sizeof(count)) < 0)
            p[2].revents = 0;
        if (p[1].revents && !connected)
            d->socket = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC);
        else if (p[1].revents && d->socket >= 0)
            take_message(d);
        pthread_mutex_unlock(&d->lock);
    }
}

/* ---- for the test ---------------------------------------------------------------------------- */

static void poke(struct standin *d)
{
    uint64_t one = 1;

    if (write(d->wake_fd, &one, sizeof(one)) < 0)
        return; /* full: it is readable anyway */
}

struct standin *standin_new(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct standin *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    pthread_mutex_init(&d->lock, NULL);
    d->socket = d->doorbell = d->irq_fd = -1;
    d->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    d->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    strncpy(d->path, path, sizeof(d->path) - 1);
    strncpy(at.sun_path, path, sizeof(at.sun_path) - 1);
    if (bind(d->listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(d->listener, 1) == 0 &&
        pthread_create(&d->thread, NULL, run, d) == 0)
        return d;
    close(d->listener);
    close(d->wake_fd);
    free(d);
    return NULL;
}

void standin_free(struct standin *d)
{
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_mutex_unlock(&d->lock);
    poke(d);
    pthread_join(d->thread, NULL);
    hang_up(d);
    close(d->listener);
    close(d->wake_fd);
    unlink(d->path);
    free(d);
}

void standin_fault(struct standin *d, enum standin_fault fault)
{
    pthread_mutex_lock(&d->lock);
    d->fault = fault;
    pthread_mutex_unlock(&d->lock);
    poke(d);
}

void standin_add(struct standin *d, uint32_t zone, unsigned int index)
{
    unsigned int of_zone = 0;

    pthread_mutex_lock(&d->lock);
    d->wanted[zone][index] = true;
    for (unsigned int i = 0; i < d->n_slots; i++)
        if (d->slot[i]->zone == zone && of_zone++ == index)
            d->slot[i]->there = true;
    pthread_mutex_unlock(&d->lock);
}

void standin_irq(struct standin *d, uint32_t zone, uint32_t irq)
{
    pthread_mutex_lock(&d->lock);
    interrupt(d, zone, irq);
    pthread_mutex_unlock(&d->lock);
}

uint64_t standin_last_write(struct standin *d)
{
    uint64_t value;

    pthread_mutex_lock(&d->lock);
    value = d->last_write;
    pthread_mutex_unlock(&d->lock);
    return value;
}

void standin_hang_up(struct standin *d)
{
    pthread_mutex_lock(&d->lock);
    hang_up(d);
    pthread_mutex_unlock(&d->lock);
    poke(d);
}
