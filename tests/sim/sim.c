/* SPDX-License-Identifier: BSD-3-Clause */
/* sim.c - life of a simulated hypervisor and its connection; see sim.h. Thread of the owner. */
#include "shared.h"

#include "clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MS 30000
#define PAGES_SIZE (SIM_CONNECTIONS * HVV_BRIDGE_SIZE)

/* ---- locks and notes ------------------------------------------------------------------------- */

static int lock_init(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attr;
    int err = pthread_mutexattr_init(&attr);

    if (err)
        return err;
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    err = pthread_mutex_init(lock, &attr);
    pthread_mutexattr_destroy(&attr);
    return err;
}

bool sim_lock(pthread_mutex_t *lock)
{
    bool died = pthread_mutex_lock(lock) == EOWNERDEAD;

    if (died)
        pthread_mutex_consistent(lock);
    return died;
}

void sim_unlock(pthread_mutex_t *lock)
{
    pthread_mutex_unlock(lock);
}

void sim_note(struct sim *s, const char *format, ...)
{
    struct sim_shared *sh = s->shared;
    unsigned int n;
    va_list args;

    sim_lock(&sh->note_lock);
    n = atomic_load(&sh->n_notes);
    va_start(args, format);
    if (n < SIM_NOTES)
        vsnprintf(sh->note[n], SIM_NOTE_BYTES, format, args);
    va_end(args);
    atomic_store(&sh->n_notes, n + 1);
    sim_unlock(&sh->note_lock);
}

const char *sim_violation(const struct sim *s, unsigned int i)
{
    return i < atomic_load(&s->shared->n_notes) && i < SIM_NOTES ? s->shared->note[i] : NULL;
}

void sim_forgive(struct sim *s)
{
    sim_lock(&s->shared->note_lock);
    atomic_store(&s->shared->n_notes, 0);
    sim_unlock(&s->shared->note_lock);
}

__attribute__((format(printf, 3, 4))) static int failed(struct sim *s, int err,
                                                        const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(s->error, sizeof(s->error), format, args);
    va_end(args);
    return err;
}

const char *sim_error(const struct sim *s)
{
    return s->error;
}

struct hvv_bridge_page *sim_page(const struct sim *s)
{
    unsigned int n = atomic_load(&s->shared->connection) % SIM_CONNECTIONS;

    return (struct hvv_bridge_page *)(void *)(s->pages + n * HVV_BRIDGE_SIZE);
}

bool sim_connected(const struct sim *s)
{
    return s->socket >= 0;
}

/* ---- making ---------------------------------------------------------------------------------- */

int sim_patience_ms(void)
{
    const char *env = getenv("HVV_SIM_DEADLINE_MS");

    return env && atoi(env) > 0 ? atoi(env) : (int)SIM_DEADLINE_MS;
}

static int make_shared(struct sim *s, const struct sim_options *options)
{
    struct sim_shared *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int err;

    if (sh == MAP_FAILED)
        return -errno;
    s->shared = sh;
    sh->opt = *options;
    if (!sh->opt.access_deadline_ms)
        sh->opt.access_deadline_ms = (uint32_t)sim_patience_ms();
    if (!sh->opt.irq_limit)
        sh->opt.irq_limit = SIM_IRQ_LIMIT;
    err = lock_init(&sh->ring_lock);
    if (!err)
        err = lock_init(&sh->irq_lock);
    if (!err)
        err = lock_init(&sh->note_lock);
    for (unsigned int i = 0; i < HVV_BRIDGE_CPUS && !err; i++)
        err = lock_init(&sh->cpu[i].lock);
    return -err;
}

static int make_pages(struct sim *s)
{
    void *pages;

    s->page_fd = memfd_create("bridge", MFD_CLOEXEC);
    if (s->page_fd < 0 || ftruncate(s->page_fd, PAGES_SIZE) < 0)
        return -errno;
    pages = mmap(NULL, PAGES_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, s->page_fd, 0);
    if (pages == MAP_FAILED)
        return -errno;
    s->pages = pages;
    return 0;
}

static int make_events(struct sim *s)
{
    s->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (s->irq_fd < 0 || s->stop_fd < 0)
        return -errno;
    for (unsigned int i = 0; i < SIM_CONNECTIONS; i++) {
        s->doorbell[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->doorbell[i] < 0)
            return -errno;
    }
    for (unsigned int i = 0; i < HVV_BRIDGE_ZONES; i++) {
        s->zone_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->zone_fd[i] < 0)
            return -errno;
    }
    return 0;
}

struct sim *sim_new(const struct sim_options *options)
{
    static const struct sim_options plain;
    struct sim *s = calloc(1, sizeof(*s));
    int err;

    if (!s)
        return NULL;
    s->socket = s->page_fd = s->irq_fd = s->stop_fd = -1;
    for (unsigned int i = 0; i < SIM_CONNECTIONS; i++)
        s->doorbell[i] = -1;
    for (unsigned int i = 0; i < HVV_BRIDGE_ZONES; i++)
        s->zone_fd[i] = -1;
    err = make_shared(s, options ? options : &plain);
    if (!err)
        err = make_pages(s);
    if (!err)
        err = make_events(s);
    if (!err)
        err = -pthread_create(&s->irq_thread, NULL, sim_irq_run, s);
    if (!err) {
        s->owner = getpid();
        return s;
    }
    sim_free(s);
    errno = -err;
    return NULL;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void sim_free(struct sim *s)
{
    uint64_t one = 1;

    if (!s)
        return;
    if (s->owner == getpid()) {
        sim_disconnect(s);
        if (write(s->stop_fd, &one, sizeof(one)) == sizeof(one))
            pthread_join(s->irq_thread, NULL);
        sim_device_free(s);
    }
    for (unsigned int i = 0; i < HVV_BRIDGE_ZONES; i++)
        close_fd(s->zone_fd[i]);
    for (unsigned int i = 0; i < SIM_CONNECTIONS; i++)
        close_fd(s->doorbell[i]);
    close_fd(s->page_fd);
    close_fd(s->irq_fd);
    close_fd(s->stop_fd);
    if (s->pages)
        munmap(s->pages, PAGES_SIZE);
    if (s->shared)
        munmap(s->shared, sizeof(*s->shared));
    free(s);
}

/* ---- messages -------------------------------------------------------------------------------- */

static int send_packet(struct sim *s, const void *message, size_t size, const int *fds,
                       unsigned int n_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec iov = { (void *)(uintptr_t)message, size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (n_fds) {
        struct cmsghdr *c;

        memset(&control, 0, sizeof(control));
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    return sendmsg(s->socket, &msg, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -errno;
}

static int receive_answer(struct sim *s, struct hvv_trap_answer *answer)
{
    struct pollfd p = { .fd = s->socket, .events = POLLIN };
    ssize_t n;

    if (poll(&p, 1, ANSWER_MS) <= 0)
        return failed(s, -ETIMEDOUT, "no answer within %d ms", ANSWER_MS);
    n = recv(s->socket, answer, sizeof(*answer), 0);
    if (n == 0 || (n < 0 && errno == ECONNRESET))
        return failed(s, -ECONNRESET, "the daemon hung up");
    if (n != (ssize_t)sizeof(*answer) || answer->type != HVV_TRAP_ANSWER || answer->error < 0 ||
        !memchr(answer->text, '\0', sizeof(answer->text)))
        return failed(s, -EPROTO, "an answer of %zd bytes that is none", n);
    if (!answer->error)
        return 0;
    return failed(s, -EREMOTEIO, "%s (%s)", answer->text, strerror(answer->error));
}

int sim_call(struct sim *s, const void *message, size_t size, const int *fds, unsigned int n_fds,
             struct hvv_trap_answer *answer)
{
    struct hvv_trap_answer own;
    int err;

    if (s->socket < 0)
        return failed(s, -ENOTCONN, "not connected");
    if (n_fds > 4)
        return failed(s, -EINVAL, "too many descriptors");
    err = send_packet(s, message, size, fds, n_fds);
    if (err)
        return failed(s, err, "cannot send: %s", strerror(-err));
    return receive_answer(s, answer ? answer : &own);
}

static int open_socket(struct sim *s, const char *path)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof(to.sun_path))
        return failed(s, -ENAMETOOLONG, "the path %s is too long", path);
    memcpy(to.sun_path, path, strlen(path) + 1);
    s->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (s->socket < 0)
        return failed(s, -errno, "socket: %s", strerror(errno));
    if (connect(s->socket, (struct sockaddr *)&to, sizeof(to)) == 0)
        return 0;
    return failed(s, -errno, "cannot connect to %s: %s", path, strerror(errno));
}

/* Accesses of the connection before are over, once the locks of all vCPUs are taken. */
static void fresh_page(struct sim *s)
{
    struct sim_shared *sh = s->shared;
    struct hvv_bridge_page *page;

    for (unsigned int i = 0; i < HVV_BRIDGE_CPUS; i++)
        sim_lock(&sh->cpu[i].lock);
    sim_lock(&sh->ring_lock);
    sim_lock(&sh->irq_lock);
    atomic_fetch_add(&sh->connection, 1);
    page = sim_page(s);
    memset(page, 0, sizeof(*page));
    for (unsigned int i = 0; i < HVV_BRIDGE_CPUS; i++) {
        sh->cpu[i].flag = page->cfg_flags[i] = i * 1000003ull; /* the start is anything */
        sh->cpu[i].busy = sh->cpu[i].lost = false;
    }
    sh->connected = true;
    sim_unlock(&sh->irq_lock);
    sim_unlock(&sh->ring_lock);
    for (unsigned int i = 0; i < HVV_BRIDGE_CPUS; i++)
        sim_unlock(&sh->cpu[i].lock);
}

int sim_connect(struct sim *s, const char *path)
{
    const struct sim_options *opt = &s->shared->opt;
    struct hvv_trap_hello hello = {
        .type = HVV_TRAP_HELLO, .version = HVV_TRAP_VERSION,
        .flags = (opt->futex ? HVV_TRAP_FUTEX : 0u) | (opt->level ? HVV_TRAP_LEVEL : 0u),
        .irq_limit = opt->irq_limit == UINT32_MAX ? 0 : opt->irq_limit,
        .irq_again_ms = opt->irq_again_ms,
    };
    int fds[3] = { s->page_fd, -1, s->irq_fd };
    unsigned int n;
    int err;

    sim_disconnect(s);
    fresh_page(s);
    n = atomic_load(&s->shared->connection) % SIM_CONNECTIONS;
    hello.page_offset = n * HVV_BRIDGE_SIZE;
    fds[1] = s->doorbell[n];
    err = open_socket(s, path);
    if (!err)
        err = sim_call(s, &hello, sizeof(hello), fds, 3, NULL);
    if (err)
        sim_disconnect(s);
    return err;
}

static void forget_irqs(struct sim *s, struct sim_zone *zone)
{
    sim_lock(&s->shared->irq_lock);
    for (unsigned int i = 0; i < zone->n_slots; i++)
        zone->irq[i].pending = false;
    sim_unlock(&s->shared->irq_lock);
}

static void zone_off(struct sim *s, uint32_t zone)
{
    sim_irq_pass(s); /* what was told before counts as told before */
    atomic_store(&s->shared->zone[zone].on, false);
    forget_irqs(s, &s->shared->zone[zone]);
}

void sim_disconnect(struct sim *s)
{
    if (s->socket < 0 && !s->device)
        return;
    if (s->socket >= 0)
        close(s->socket);
    s->socket = -1;
    sim_lock(&s->shared->irq_lock);
    s->shared->connected = false;
    sim_unlock(&s->shared->irq_lock);
    for (uint32_t i = 0; i < HVV_BRIDGE_ZONES; i++)
        if (atomic_load(&s->shared->zone[i].on))
            zone_off(s, i);
    atomic_fetch_add(&s->shared->epoch, 1);
    sim_wake_cpus(s);
}

int sim_wait_hangup(struct sim *s, int timeout_ms)
{
    struct pollfd p = { .fd = s->socket, .events = POLLIN };

    if (s->socket >= 0 && poll(&p, 1, timeout_ms) <= 0)
        return failed(s, -ETIMEDOUT, "the daemon did not hang up within %d ms", timeout_ms);
    sim_disconnect(s);
    return 0;
}

/* ---- zones ----------------------------------------------------------------------------------- */

int sim_zone_region(struct sim *s, uint32_t number, uint64_t address, uint64_t length)
{
    struct sim_zone *zone = &s->shared->zone[number];

    if (number >= HVV_BRIDGE_ZONES || zone->n_regions == SIM_REGIONS)
        return failed(s, -ENOSPC, "no room for a region");
    zone->region[zone->n_regions++] = (struct sim_region){ address, length };
    return 0;
}

static bool has_region(const struct sim_zone *zone, const struct sim_slot *slot)
{
    for (unsigned int i = 0; i < zone->n_regions; i++)
        if (slot->address >= zone->region[i].address &&
            slot->address - zone->region[i].address < zone->region[i].length)
            return true;
    return false;
}

int sim_zone_slot(struct sim *s, uint32_t number, const struct sim_slot *slot)
{
    struct sim_zone *zone = &s->shared->zone[number];
    int err = 0;

    if (number >= HVV_BRIDGE_ZONES || zone->n_slots == SIM_SLOTS)
        return failed(s, -ENOSPC, "no room for a slot");
    if (!has_region(zone, slot))
        err = sim_zone_region(s, number, slot->address, slot->length);
    if (err)
        return err;
    sim_lock(&s->shared->irq_lock);
    zone->slot[zone->n_slots] = *slot;
    zone->irq[zone->n_slots] = (struct sim_irq){ .irq = slot->irq };
    zone->n_slots++;
    sim_unlock(&s->shared->irq_lock);
    return 0;
}

static int tell_memory(struct sim *s, uint32_t zone, const struct guestmem *mem)
{
    int err = 0;

    for (unsigned int i = 0; i < GUESTMEM_REGIONS_MAX && !err; i++) {
        const struct guestmem_region *r = &mem->region[i];
        struct hvv_trap_memory msg = {
            .type = HVV_TRAP_MEMORY, .zone = zone, .address = r->at.gpa, .size = r->at.size,
            .offset = r->at.offset,
        };

        if (r->fd >= 0)
            err = sim_call(s, &msg, sizeof(msg), &r->fd, 1, NULL);
    }
    return err;
}

static int tell_slots(struct sim *s, uint32_t number)
{
    const struct sim_zone *zone = &s->shared->zone[number];
    int err = 0;

    for (unsigned int i = 0; i < zone->n_slots && !err; i++) {
        struct hvv_trap_slot msg = {
            .type = HVV_TRAP_SLOT, .zone = number, .address = zone->slot[i].address,
            .length = zone->slot[i].length, .irq = zone->slot[i].irq,
        };

        err = sim_call(s, &msg, sizeof(msg), NULL, 0, NULL);
    }
    return err;
}

int sim_zone_start(struct sim *s, uint32_t number, const struct guestmem *mem)
{
    struct hvv_trap_zone start = { HVV_TRAP_START, number };
    int err = s->device ? 0 : tell_slots(s, number);

    if (!err && !s->device)
        err = tell_memory(s, number, mem);
    if (err)
        return err;
    /* An interrupt may be here before the answer is. */
    atomic_store(&s->shared->zone[number].on, true);
    err = s->device ? 0 : sim_call(s, &start, sizeof(start), NULL, 0, NULL);
    if (err)
        atomic_store(&s->shared->zone[number].on, false);
    return err;
}

/* A monitor stops the vCPUs first; whoever calls this has seen to it. */
int sim_zone_stop(struct sim *s, uint32_t number)
{
    struct hvv_trap_zone stop = { HVV_TRAP_STOP, number };
    int err = s->device ? 0 : sim_call(s, &stop, sizeof(stop), NULL, 0, NULL);

    if (!err)
        zone_off(s, number);
    return err;
}
