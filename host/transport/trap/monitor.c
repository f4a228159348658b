/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * monitor.c - one connected monitor (hvv/trap.h). Control thread.
 *
 * This is one of the six doors for untrusted input: a message is received whole into a local copy,
 * with its descriptors, and its size is checked against a table before anything in it is read.
 *
 * What the monitor declares for a zone is kept aside until START. STOP and the end of the connection
 * wait for the zone's devices to fall quiet; until then no further message is read.
 */
#include "transport/trap/monitor.h"

#include "memory/memory.h"
#include "transport/bridge/access.h"
#include "transport/peer-fd.h"
#include "util/container.h"
#include "util/log.h"
#include "zone/zone.h"

#include <errno.h>
#include <hvv/trap.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FDS_MAX 3u
#define MESSAGES_PER_TURN 16

/* A zone that is being declared, before START. */
struct declared {
    struct zone_plans plans; /* one zone */
    struct memory_entry memory[MEMORY_REGIONS_MAX];
    size_t n_memory;
};

struct monitor {
    TAILQ_ENTRY(monitor) link;
    struct trap *trap;
    struct daemon *daemon;
    int fd;
    int32_t pid;
    struct watch *watch;
    bool closing;
    unsigned stopping;          /* zones */
    bool starting;              /* waits for `start_zone` to be free of another monitor */
    uint32_t start_zone;

    struct memory *page_memory; /* keeps the bridge page mapped */
    struct hvv_bridge_page *page;
    int doorbell, irq;          /* as of peer-fd.h, or -1 */
    struct access_thread *at;   /* NULL before HELLO */
    struct declared declared[HVV_BRIDGE_ZONES];
    struct hvv_task end_task;
};

struct message {
    union {
        uint32_t type;
        struct hvv_trap_hello hello;
        struct hvv_trap_memory memory;
        struct hvv_trap_slot slot;
        struct hvv_trap_zone zone;
        char bytes[64]; /* room for one that is too long */
    };
    size_t size;
    int fds[FDS_MAX];
    unsigned n_fds;
};

struct monitor *monitor_next(const struct monitor *m)
{
    return TAILQ_NEXT(m, link);
}

/* ---- the bridge ------------------------------------------------------------------------------ */

static void wake_vcpu(void *arg, uint32_t cpu)
{
    struct monitor *m = arg; /* any thread; page is constant while there is an access thread */
    syscall(SYS_futex, &m->page->cfg_flags[cpu], FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void tell_interrupts(void *arg)
{
    struct monitor *m = arg; /* any thread */
    peer_fd_signal(m->irq);  /* a descriptor that cannot be signalled is the monitor's own loss */
}

static const struct interrupts_ops interrupt_ops = {.finish = tell_interrupts};

/* One file mapping, as a snapshot of its own: so that a truncated file ends in no SIGBUS. */
static int map_page(struct monitor *m, int fd, uint64_t offset, struct error *error)
{
    struct memory_entry entry = {.size = HVV_BRIDGE_SIZE};
    entry.region = region_map(fd, offset, HVV_BRIDGE_SIZE, error);
    if (!entry.region)
        return -error->err;
    m->page_memory = memory_new(&entry, 1, error);
    region_put(entry.region);
    if (!m->page_memory)
        return -error->err;
    m->page = memory_pointer(m->page_memory, 0, HVV_BRIDGE_SIZE);
    return 0;
}

static int take_eventfd(struct message *msg, unsigned i, int *peer, struct error *error)
{
    *peer = peer_fd_take(msg->fds[i]);
    msg->fds[i] = -1;
    if (*peer >= 0)
        return 0;
    *peer = -1;
    return error_set(error, EINVAL, "descriptor %u of HELLO is no eventfd", i + 1);
}

static void drop_bridge(struct monitor *m)
{
    peer_fd_close(m->doorbell);
    peer_fd_close(m->irq);
    m->doorbell = m->irq = -1;
    memory_put(m->page_memory);
    m->page_memory = NULL;
}

static int start_bridge(struct monitor *m, struct message *msg, struct error *error)
{
    const struct hvv_trap_hello *hello = &msg->hello;
    if (map_page(m, msg->fds[0], hello->page_offset, error) < 0 ||
        take_eventfd(msg, 1, &m->doorbell, error) < 0 || take_eventfd(msg, 2, &m->irq, error) < 0)
        return -error->err;
    struct access_setup setup = {
        .name = "access-trap",
        .page = m->page,
        .doorbell = m->doorbell,
        .poll_ns = m->daemon->conf->poll_us * 1000ull,
        .answered = hello->flags & HVV_TRAP_FUTEX ? wake_vcpu : NULL,
        .arg = m,
        .interrupts = {.ops = &interrupt_ops,
                       .arg = m,
                       .level = hello->flags & HVV_TRAP_LEVEL,
                       .limit = hello->irq_limit,
                       .limit_wait_ns = INTERRUPTS_LIMIT_WAIT_NS,
                       .watchdog_ns = hello->irq_again_ms * 1000000ull},
    };
    m->at = access_new(m->daemon->loop, &setup, error);
    return m->at ? 0 : -error->err;
}

/* ---- messages -------------------------------------------------------------------------------- */

static int on_hello(struct monitor *m, struct message *msg, struct error *error)
{
    const struct hvv_trap_hello *hello = &msg->hello;
    uint32_t known = HVV_TRAP_FUTEX | HVV_TRAP_LEVEL;
    if (m->at)
        return error_set(error, EALREADY, "a second HELLO");
    if (hello->version != HVV_TRAP_VERSION)
        return error_set(error, EPROTO, "version %u of the trap protocol, this is version %u",
                         hello->version, HVV_TRAP_VERSION);
    if (hello->flags & ~known || hello->reserved)
        return error_set(error, EINVAL, "HELLO with flags 0x%x, of which 0x%x are known",
                         hello->flags, known);
    if (hello->page_offset % PLAN_PAGE)
        return error_set(error, EINVAL, "page offset 0x%" PRIx64 " is not a multiple of 4096",
                         hello->page_offset);
    int rc = start_bridge(m, msg, error);
    if (rc < 0)
        drop_bridge(m);
    return rc;
}

static void forget_declared(struct declared *d)
{
    for (size_t i = 0; i < d->n_memory; i++)
        region_put(d->memory[i].region);
    d->n_memory = 0;
    plan_clear(&d->plans);
}

/* What is being declared for a zone. NULL with error set. */
static struct zone_plan *declare(struct monitor *m, uint32_t zone, struct error *error)
{
    if (m->at && zone < HVV_BRIDGE_ZONES)
        return plan_zone(&m->declared[zone].plans, zone, "trap", error);
    if (!m->at)
        error_set(error, EPROTO, "HELLO has to come first");
    else
        error_set(error, ERANGE, "zone %u: zone ids are 0 to %u", zone, HVV_BRIDGE_ZONES - 1);
    return NULL;
}

static int on_memory(struct monitor *m, struct message *msg, struct error *error)
{
    const struct hvv_trap_memory *memory = &msg->memory;
    struct plan_memory plan = {memory->address, memory->address, memory->size};
    struct zone_plan *zone = declare(m, memory->zone, error);
    if (!zone)
        return -error->err;
    if (memory->offset % PLAN_PAGE)
        return error_set(error, EINVAL, "zone %u: file offset 0x%" PRIx64 " of the memory at "
                         "0x%" PRIx64 " is not a multiple of 4096", memory->zone, memory->offset,
                         memory->address);
    int rc = plan_add_memory(zone, &plan, error);
    if (rc > 0)
        return error_set(error, EEXIST, "zone %u: the memory at 0x%" PRIx64 " is declared twice",
                         memory->zone, memory->address);
    if (rc < 0)
        return rc;
    struct declared *d = &m->declared[memory->zone];
    struct region *region = region_map(msg->fds[0], memory->offset, memory->size, error);
    if (!region) {
        zone->n_memory--;
        return -error->err;
    }
    d->memory[d->n_memory++] = (struct memory_entry){
        .gpa = memory->address, .uva = memory->address, .size = memory->size, .region = region};
    return 0;
}

static int on_slot(struct monitor *m, struct message *msg, struct error *error)
{
    const struct hvv_trap_slot *slot = &msg->slot;
    struct plan_slot plan = {.addr = slot->address, .len = slot->length, .irq = slot->irq};
    struct zone_plan *zone = declare(m, slot->zone, error);
    int rc = zone ? plan_add_slot(zone, &plan, error) : -error->err;
    return rc < 0 ? rc : 0;
}

static void zone_event(struct monitor *m, const char *event, uint32_t zone)
{
    char text[16];
    snprintf(text, sizeof(text), "%u", zone);
    log_info("%s %s, monitor %d", event, text, (int)m->pid);
    daemon_event(m->daemon, event, NULL, "zone", text);
}

static int serve_zone(struct monitor *m, uint32_t id, const struct declared *d,
                      struct error *error)
{
    struct zones *zones = m->daemon->zones;
    struct zone_plans fresh;
    struct memory *memory = memory_new(d->memory, d->n_memory, error);
    if (!memory)
        return -error->err;
    int rc = zones_declare(zones, &d->plans, false, &fresh, error);
    if (rc < 0) {
        memory_put(memory);
        return rc;
    }
    zones_accept(zones, &fresh);
    zone_serve(zone_find(zones, id), m->at, memory);
    return 0;
}

/* The connection ended, and this thread has not come to reading that yet. */
static bool hung_up(const struct monitor *m)
{
    struct pollfd p = {.fd = m->fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* Whoever serves the zone has gone, or is going. */
static bool is_leaving(const struct monitor *m, const struct zone *zone)
{
    struct monitor *other;
    TAILQ_FOREACH(other, &m->trap->monitors, link)
        if (other->at == zone->at && hung_up(other))
            monitor_close(other, "connection closed by the monitor");
    return zone->stopping;
}

/* 1: the zone's last monitor has just gone, the answer comes when its devices are quiet. */
static int start_zone(struct monitor *m, uint32_t id, struct error *error)
{
    struct zone *zone = zone_find(m->daemon->zones, id);
    if (!declare(m, id, error))
        return -error->err;
    if (zone && zone->at && is_leaving(m, zone)) {
        m->starting = true;
        m->start_zone = id;
        watch_set(m->watch, 0);
        return 1;
    }
    if (zone && zone->at)
        return error_set(error, EBUSY, "zone %u is running already%s", id,
                         zone->at == m->at ? "; STOP it first" : ", with another monitor");
    int rc = serve_zone(m, id, &m->declared[id], error);
    if (rc < 0)
        return rc;
    forget_declared(&m->declared[id]);
    zone_event(m, "zone.started", id);
    return 0;
}

static int on_start(struct monitor *m, struct message *msg, struct error *error)
{
    return start_zone(m, msg->zone.zone, error);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void answer(struct monitor *m, const struct error *error)
{
    struct hvv_trap_answer answer = {.type = HVV_TRAP_ANSWER, .error = error->err};
    snprintf(answer.text, sizeof(answer.text), "%.*s", (int)sizeof(answer.text) - 1, error->text);
    if (error->err)
        log_write(HVV_LOG_WARNING, "trap", "monitor %d: %s", (int)m->pid, error->text);
    /* One message is under way at a time: if there is no room, nobody has read a dozen answers. */
    if (send(m->fd, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        monitor_close(m, strerror(errno));
}

static void zone_stopped(struct zone *zone, void *arg);

static int on_stop(struct monitor *m, struct message *msg, struct error *error)
{
    struct zone *zone = zone_find(m->daemon->zones, msg->zone.zone);
    if (!zone || !m->at || zone->at != m->at)
        return error_set(error, ENOENT, "zone %u is not running", msg->zone.zone);
    m->stopping++;
    watch_set(m->watch, 0);
    zone_stop(zone, zone_stopped, m);
    return 1;
}

/* The zone has no monitor any more: one that waits for it may start it. */
static void resume_start(struct trap *trap, uint32_t zone)
{
    struct monitor *m;
    TAILQ_FOREACH(m, &trap->monitors, link) {
        struct error error = {0};
        if (!m->starting || m->start_zone != zone || m->closing)
            continue;
        m->starting = false;
        watch_set(m->watch, HVV_WATCH_READ);
        if (start_zone(m, zone, &error) <= 0)
            answer(m, &error);
        return;
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

static void gone(void *arg)
{
    struct monitor *m = arg;
    struct trap *trap = m->trap;
    for (uint32_t i = 0; i < HVV_BRIDGE_ZONES; i++)
        forget_declared(&m->declared[i]);
    drop_bridge(m);
    watch_free(m->watch);
    close(m->fd);
    TAILQ_REMOVE(&trap->monitors, m, link);
    free(m);
    trap_monitor_gone(trap);
}

static void end(struct hvv_task *task)
{
    struct monitor *m = container_of(task, struct monitor, end_task);
    if (m->at)
        access_free(m->at, gone, m);
    else
        gone(m);
}

/* Not at once: the caller may still look at the monitor. */
static void all_stopped(struct monitor *m)
{
    m->end_task.run = end;
    loop_post(m->daemon->loop, &m->end_task);
}

static void zone_stopped(struct zone *zone, void *arg)
{
    struct monitor *m = arg;
    struct error none = {0};
    uint32_t id = zone->id;
    zone_event(m, "zone.stopped", id);
    zone_put(zone);
    m->stopping--;
    if (m->closing && m->stopping == 0)
        all_stopped(m);
    if (!m->closing) {
        watch_set(m->watch, HVV_WATCH_READ);
        answer(m, &none);
    }
    resume_start(m->trap, id);
}

void monitor_close(struct monitor *m, const char *reason)
{
    struct zone *zone, *next;
    if (m->closing)
        return;
    m->closing = true;
    watch_set(m->watch, 0);
    log_info("monitor %d disconnected: %s", (int)m->pid, reason);
    for (zone = TAILQ_FIRST(&m->daemon->zones->list); zone && m->at; zone = next) {
        next = TAILQ_NEXT(zone, link);
        if (zone->at != m->at || zone->stopping)
            continue;
        m->stopping++;
        zone_stop(zone, zone_stopped, m);
    }
    if (m->stopping == 0)
        all_stopped(m);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static const struct kind {
    const char *name;
    size_t size;
    unsigned n_fds;
    /* 0; 1: it is answered later, and nothing is read until then; -errno with error set. */
    int (*handle)(struct monitor *m, struct message *msg, struct error *error);
} kinds[] = {
    [HVV_TRAP_HELLO] = {"HELLO", sizeof(struct hvv_trap_hello), 3, on_hello},
    [HVV_TRAP_MEMORY] = {"MEMORY", sizeof(struct hvv_trap_memory), 1, on_memory},
    [HVV_TRAP_SLOT] = {"SLOT", sizeof(struct hvv_trap_slot), 0, on_slot},
    [HVV_TRAP_START] = {"START", sizeof(struct hvv_trap_zone), 0, on_start},
    [HVV_TRAP_STOP] = {"STOP", sizeof(struct hvv_trap_zone), 0, on_stop},
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void close_fds(struct message *msg)
{
    for (unsigned i = 0; i < msg->n_fds; i++)
        if (msg->fds[i] >= 0)
            close(msg->fds[i]);
    msg->n_fds = 0;
}

/* 1, 0 if there is nothing now, -1 if the connection ended. */
static int receive(struct monitor *m, struct message *msg)
{
    union {
        char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {msg->bytes, sizeof(msg->bytes)};
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.space,
                            .msg_controllen = sizeof(control.space)};
    memset(msg, 0, sizeof(*msg));
    ssize_t n = recvmsg(m->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        monitor_close(m, n < 0 ? strerror(errno) : "connection closed by the monitor");
        return -1;
    }
    bool all = peer_fds_take(&header, msg->fds, FDS_MAX, &msg->n_fds) == 0;
    msg->size = !all || (header.msg_flags & MSG_TRUNC) ? SIZE_MAX : (size_t)n;
    return 1;
}

static const struct kind *check(const struct message *msg, struct error *error)
{
    const struct kind *kind = msg->size >= sizeof(msg->type) && msg->type < N_KINDS &&
                              kinds[msg->type].handle ? &kinds[msg->type] : NULL;
    if (!kind) {
        error_set(error, EPROTO, "a message of unknown type %u", msg->type);
        return NULL;
    }
    if (msg->size == kind->size && msg->n_fds == kind->n_fds)
        return kind;
    error_set(error, EPROTO, "%s has %zu bytes and %u descriptors", kind->name, kind->size,
              kind->n_fds);
    return NULL;
}

static void on_readable(void *arg, uint32_t events)
{
    struct monitor *m = arg;
    (void)events;
    for (int i = 0; i < MESSAGES_PER_TURN && !m->closing; i++) {
        struct message msg;
        struct error error = {0};
        if (receive(m, &msg) <= 0)
            return;
        const struct kind *kind = check(&msg, &error);
        int rc = kind ? kind->handle(m, &msg, &error) : -error.err;
        close_fds(&msg);
        if (rc > 0)
            return;
        answer(m, &error);
    }
}

int monitor_new(struct trap *trap, int fd)
{
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);
    struct monitor *m = calloc(1, sizeof(*m));
    struct watch *watch = m ? watch_new(trap->daemon->loop, fd, on_readable, m) : NULL;
    if (!watch) {
        free(m);
        close(fd);
        return -ENOMEM;
    }
    m->trap = trap;
    m->daemon = trap->daemon;
    m->fd = fd;
    m->watch = watch;
    m->doorbell = m->irq = -1;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
        m->pid = peer.pid;
    TAILQ_INSERT_TAIL(&trap->monitors, m, link);
    watch_set(watch, HVV_WATCH_READ);
    log_info("monitor %d connected", (int)m->pid);
    return 0;
}
