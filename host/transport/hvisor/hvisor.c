/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvisor.c - see hvisor.h.
 *
 * Facts of hvisor's kernel module: INIT allocates the bridge page anew, also for a second daemon,
 * and the vCPUs that were waiting on the page before go on with the new one: released with 0 if the
 * old page's flag was not 0, else by this daemon's first answer to that CPU. A CPU that waits asks
 * for none, so it gets one that nobody asked for, some time after the start (RELEASE_NS): by then
 * the vCPUs that run have gone on from where they were. From there on hardly a flag is 0, so that
 * INIT itself releases who waits when this daemon is followed by another.
 *
 * The eventfd is signalled when an access comes while need_wakeup is 1; some versions of the
 * hypervisor lack the fence before that look, so that a wake-up can be lost: the access thread
 * looks now and then by itself. Versions that signal nothing need a daemon that never sleeps.
 * FINISH_REQ takes a lock that a zone's shutdown holds for long: it is only called from the
 * interrupts' own thread.
 */
#include "transport/hvisor/hvisor.h"

#include "memory/memory.h"
#include "transport/bridge/access.h"
#include "transport/peer-fd.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* The same numbers on every architecture. */
#define HVISOR_INIT_VIRTIO 0x100
#define HVISOR_FINISH_REQ 0x102
#define HVISOR_SET_EVENTFD 0x40040107 /* the descriptor by value */
#define HVISOR_DEASSERT_IRQ 0x4008010b

#define IRQS_PENDING_MAX 7u           /* of a zone; the hypervisor's own limit */
#define WAKE_NS 20000000ull           /* how long a lost wake-up can go unseen */
#define RELEASE_NS 1000000000ull      /* after that, CPUs that nothing was heard of are released */

/* Where interrupts are levels that have to be taken back. */
#ifdef __loongarch64
#define IRQ_LEVEL true
#else
#define IRQ_LEVEL false
#endif

struct hvisor {
    struct daemon *daemon;
    int fd;
    int doorbell;      /* as of peer-fd.h */
    struct hvv_bridge_page *page;
    struct access_thread *at;
    void (*closed)(struct daemon *daemon); /* NULL: nobody wants to know */
    struct log_limit log_limit;            /* interrupts' thread */
};

struct deassert {
    uint32_t zone, irq;
};

/* ---- interrupts' thread ---------------------------------------------------------------------- */

static void finish(void *arg)
{
    struct hvisor *h = arg;
    uint32_t dropped;
    if (ioctl(h->fd, HVISOR_FINISH_REQ) != 0 && log_limit_ok(&h->log_limit, &dropped))
        log_error("hvisor did not take interrupts: %s", strerror(errno));
}

static void deassert(void *arg, uint32_t zone, uint32_t irq)
{
    struct hvisor *h = arg;
    struct deassert line = {zone, irq};
    uint32_t dropped;
    if (ioctl(h->fd, HVISOR_DEASSERT_IRQ, &line) != 0 && log_limit_ok(&h->log_limit, &dropped))
        log_error("hvisor did not take back irq %u of zone %u: %s", irq, zone, strerror(errno));
}

static const struct interrupts_ops interrupt_ops = {
    .finish = finish,
    .deassert = IRQ_LEVEL ? deassert : NULL,
    .finish_may_wait = true,
};

/* ---- control --------------------------------------------------------------------------------- */

struct memory *hvisor_map(struct hvisor *h, const struct zone_plan *zone, struct error *error)
{
    struct memory_entry entries[PLAN_MEMORY_MAX] = {0};
    struct memory *memory = NULL;
    size_t n = 0;
    for (; n < zone->n_memory; n++) {
        const struct plan_memory *m = &zone->memory[n];
        struct error why = {0};
        struct region *region = region_map(h->fd, m->host, m->size, &why);
        if (!region) {
            error_set(error, why.err, "zone %u: memory at 0x%" PRIx64 ", of 0x%" PRIx64 " bytes: "
                      "%s", zone->id, m->host, m->size, why.text);
            break;
        }
        entries[n] = (struct memory_entry){
            .gpa = m->guest, .uva = m->guest, .size = m->size, .region = region};
    }
    if (n == zone->n_memory)
        memory = memory_new(entries, n, error);
    while (n-- > 0)
        region_put(entries[n].region);
    return memory;
}

struct access_thread *hvisor_access(const struct hvisor *h)
{
    return h->at;
}

static int open_device(struct hvisor *h, const char *path, struct error *error)
{
    h->fd = open(path, O_RDWR | O_CLOEXEC);
    if (h->fd < 0)
        return error_set(error, errno, "cannot open hvisor's device %s: %s; is hvisor.ko loaded?",
                         path, strerror(errno));
    if (flock(h->fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(error, errno, "hvisor's device %s is used by another daemon: stop that "
                         "first (%s)", path, strerror(errno));
    int rc = ioctl(h->fd, HVISOR_INIT_VIRTIO);
    if (rc != 0)
        return error_set(error, rc > 0 ? rc : errno, "hvisor's device %s cannot be initialised: "
                         "%s; has the root zone's device tree hvisor's virtio interrupt?", path,
                         strerror(rc > 0 ? rc : errno));
    return 0;
}

static int open_bridge(struct hvisor *h, const char *path, struct error *error)
{
    void *page = mmap(NULL, HVV_BRIDGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, h->fd, 0);
    if (page == MAP_FAILED)
        return error_set(error, errno, "the bridge of %s cannot be mapped: %s", path,
                         strerror(errno));
    h->page = page;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return error_set(error, errno, "no eventfd for hvisor: %s", strerror(errno));
    h->doorbell = peer_fd_take(fd);
    if (ioctl(h->fd, HVISOR_SET_EVENTFD, fd) != 0)
        return error_set(error, errno, "hvisor's device %s takes no eventfd: %s", path,
                         strerror(errno));
    return 0;
}

static int start_access(struct hvisor *h, struct error *error)
{
    const struct conf *conf = h->daemon->conf;
    struct access_setup setup = {
        .name = "access-hvisor",
        .page = h->page,
        .doorbell = h->doorbell,
        .poll_ns = conf->poll_us * 1000ull,
        .wake_ns = WAKE_NS,
        .never_sleep = conf->hvisor_poll,
        .waits = true,
        .release_ns = RELEASE_NS,
        .interrupts = {.ops = &interrupt_ops,
                       .arg = h,
                       .level = IRQ_LEVEL,
                       .limit = IRQS_PENDING_MAX,
                       .limit_wait_ns = INTERRUPTS_LIMIT_WAIT_NS,
                       .watchdog_ns = INTERRUPTS_WATCHDOG_NS},
    };
    h->at = access_new(h->daemon->loop, &setup, error);
    return h->at ? 0 : -error->err;
}

struct hvisor *hvisor_new(struct daemon *daemon, const char *path, struct error *error)
{
    struct hvisor *h = calloc(1, sizeof(*h));
    if (!h) {
        error_set(error, ENOMEM, "out of memory for hvisor");
        return NULL;
    }
    h->daemon = daemon;
    h->fd = h->doorbell = -1;
    if (open_device(h, path, error) < 0 || open_bridge(h, path, error) < 0 ||
        start_access(h, error) < 0) {
        hvisor_free(h);
        return NULL;
    }
    return h;
}

void hvisor_serve(struct hvisor *h)
{
    access_start(h->at);
}

static void access_ended(void *arg)
{
    struct hvisor *h = arg;
    h->at = NULL;
    if (h->closed)
        h->closed(h->daemon);
}

void hvisor_close(struct hvisor *h, void (*done)(struct daemon *daemon))
{
    h->closed = done;
    access_free(h->at, access_ended, h);
}

void hvisor_free(struct hvisor *h)
{
    if (!h)
        return;
    if (h->at) /* the daemon did not get as far as to run */
        access_free(h->at, access_ended, h);
    while (h->at)
        loop_run_once(h->daemon->loop, true);
    peer_fd_close(h->doorbell);
    if (h->page)
        munmap(h->page, HVV_BRIDGE_SIZE);
    if (h->fd >= 0)
        close(h->fd);
    free(h);
}
