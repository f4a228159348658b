/* SPDX-License-Identifier: BSD-3-Clause */
/* bridge.c - see bridge.h.                                        (door: an access is taken) */
#include "transport/bridge/bridge.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#define NEXT(INDEX) (((INDEX) + 1) % HVV_BRIDGE_ENTRIES)

/* The layout is fixed by others: sizes and offsets as they publish them. */
_Static_assert(sizeof(struct hvv_bridge_request) == 40, "request");
_Static_assert(offsetof(struct hvv_bridge_request, src_cpu) == 0, "src_cpu");
_Static_assert(offsetof(struct hvv_bridge_request, address) == 8, "address");
_Static_assert(offsetof(struct hvv_bridge_request, size) == 16, "size");
_Static_assert(offsetof(struct hvv_bridge_request, value) == 24, "value");
_Static_assert(offsetof(struct hvv_bridge_request, src_zone) == 32, "src_zone");
_Static_assert(offsetof(struct hvv_bridge_request, is_write) == 36, "is_write");
_Static_assert(offsetof(struct hvv_bridge_request, need_interrupt) == 37, "need_interrupt");
_Static_assert(offsetof(struct hvv_bridge_request, padding) == 38, "padding");
_Static_assert(sizeof(struct hvv_bridge_result) == 8, "result");
_Static_assert(offsetof(struct hvv_bridge_result, target_zone) == 0, "target_zone");
_Static_assert(offsetof(struct hvv_bridge_result, irq_id) == 4, "irq_id");
_Static_assert(sizeof(struct hvv_bridge_page) == 2136, "page");
_Static_assert(sizeof(struct hvv_bridge_page) <= HVV_BRIDGE_SIZE, "page");
_Static_assert(offsetof(struct hvv_bridge_page, req_front) == 0x000, "req_front");
_Static_assert(offsetof(struct hvv_bridge_page, req_rear) == 0x004, "req_rear");
_Static_assert(offsetof(struct hvv_bridge_page, res_front) == 0x008, "res_front");
_Static_assert(offsetof(struct hvv_bridge_page, res_rear) == 0x00c, "res_rear");
_Static_assert(offsetof(struct hvv_bridge_page, req_list) == 0x010, "req_list");
_Static_assert(offsetof(struct hvv_bridge_page, res_list) == 0x510, "res_list");
_Static_assert(offsetof(struct hvv_bridge_page, cfg_flags) == 0x610, "cfg_flags");
_Static_assert(offsetof(struct hvv_bridge_page, cfg_values) == 0x710, "cfg_values");
_Static_assert(offsetof(struct hvv_bridge_page, mmio_addrs) == 0x810, "mmio_addrs");
_Static_assert(offsetof(struct hvv_bridge_page, mmio_avail) == 0x850, "mmio_avail");
_Static_assert(offsetof(struct hvv_bridge_page, need_wakeup) == 0x851, "need_wakeup");
_Static_assert(HVV_BRIDGE_CPUS <= 32, "a bit per CPU in struct bridge");

/* ---- the page: each word of it is read and written here -------------------------------------- */

static uint8_t get8(const uint8_t *word)
{
    return atomic_load_explicit((const _Atomic uint8_t *)word, memory_order_relaxed);
}

static uint32_t get32(const uint32_t *word, memory_order order)
{
    return atomic_load_explicit((const _Atomic uint32_t *)word, order);
}

static uint64_t get64(const uint64_t *word)
{
    return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_relaxed);
}

static void put8(uint8_t *word, uint8_t value)
{
    atomic_store_explicit((_Atomic uint8_t *)word, value, memory_order_relaxed);
}

static void put32(uint32_t *word, uint32_t value, memory_order order)
{
    atomic_store_explicit((_Atomic uint32_t *)word, value, order);
}

static void put64(uint64_t *word, uint64_t value)
{
    atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_relaxed);
}

static struct hvv_bridge_request copy_request(const struct hvv_bridge_request *entry)
{
    return (struct hvv_bridge_request){
        .src_cpu = get64(&entry->src_cpu),
        .address = get64(&entry->address),
        .size = get64(&entry->size),
        .value = get64(&entry->value),
        .src_zone = get32(&entry->src_zone, memory_order_relaxed),
        .is_write = get8(&entry->is_write),
        .need_interrupt = get8(&entry->need_interrupt),
    };
}

/* ---- what cannot be -------------------------------------------------------------------------- */

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* For all bridges: one that comes again and again must not fill a disk. */
static struct log_limit broken_limit;

static bool index_ok(struct bridge *bridge, const char *what, uint32_t index)
{
    if (index < HVV_BRIDGE_ENTRIES)
        return true;
    uint32_t dropped;
    if (!atomic_exchange(&bridge->broken, true) && log_limit_ok(&broken_limit, &dropped))
        log_error("%s: %s is %" PRIu32 ", but the list has %u entries: the bridge is no longer "
                  "served, restart the other side",
                  bridge->name, what, index, HVV_BRIDGE_ENTRIES);
    return false;
}

static void log_invalid(struct bridge *bridge, const struct hvv_bridge_request *request,
                        const char *what)
{
    uint32_t dropped;
    if (log_limit_ok(&bridge->log_limit, &dropped))
        log_warning("%s: %s: CPU %" PRIu64 ", zone %" PRIu32 ", address 0x%" PRIx64 ", size %"
                    PRIu64
                    " (CPUs and zones are below 32, sizes are 1, 2, 4 and 8)",
                    bridge->name, what, request->src_cpu, request->src_zone, request->address,
                    request->size);
}

static bool size_ok(uint64_t size)
{
    return size == 1 || size == 2 || size == 4 || size == 8;
}

/* ---- requests -------------------------------------------------------------------------------- */

int bridge_init(struct bridge *bridge, struct hvv_bridge_page *page, const char *name,
                void (*answered)(void *arg, uint32_t cpu), void *arg, struct error *error)
{
    const uint32_t *const words[] = {&page->req_front, &page->req_rear, &page->res_front,
                                     &page->res_rear};
    static const char *const names[] = {"req_front", "req_rear", "res_front", "res_rear"};
    uint32_t values[4];
    for (unsigned i = 0; i < 4; i++) {
        values[i] = get32(words[i], memory_order_acquire);
        if (values[i] >= HVV_BRIDGE_ENTRIES)
            return error_set(error, EINVAL,
                             "%s: %s of the bridge page is %" PRIu32 ", but the list has %u "
                             "entries: hand over a page filled with zeroes",
                             name, names[i], values[i], HVV_BRIDGE_ENTRIES);
    }
    memset(bridge, 0, sizeof(*bridge));
    bridge->page = page;
    bridge->name = name;
    bridge->answered = answered;
    bridge->arg = arg;
    bridge->req_front = values[0];
    bridge->res_rear = values[3];
    bridge->asked = true; /* for all we know */
    return 0;
}

/* Copies the oldest entry and gives its place back. False: there is none. */
static bool take_entry(struct bridge *bridge, struct hvv_bridge_request *request)
{
    struct hvv_bridge_page *page = bridge->page;
    /* Acquire: the entry was filled before the producer stored req_rear with release. */
    uint32_t rear = get32(&page->req_rear, memory_order_acquire);
    if (!index_ok(bridge, "req_rear", rear) || rear == bridge->req_front)
        return false;
    *request = copy_request(&page->req_list[bridge->req_front]);
    bridge->req_front = NEXT(bridge->req_front);
    /* Release: a producer that sees it may fill the entry again, our copy is made. */
    put32(&page->req_front, bridge->req_front, memory_order_release);
    return true;
}

/* Notes that the vCPU waits. False: it does already. */
static bool expect_answer(struct bridge *bridge, uint32_t cpu)
{
    uint32_t bit = 1u << cpu;
    return !(atomic_fetch_or(&bridge->outstanding, bit) & bit);
}

static bool accept_entry(struct bridge *bridge, const struct hvv_bridge_request *request,
                         struct bridge_access *access)
{
    bool waits = request->need_interrupt == 0;
    if (request->src_cpu >= HVV_BRIDGE_CPUS) {
        count(&bridge->counters.invalid);
        log_invalid(bridge, request, "a request that makes no sense was dropped");
        return false;
    }
    uint32_t cpu = (uint32_t)request->src_cpu;
    bridge->heard |= 1u << cpu;
    if (waits && !expect_answer(bridge, cpu)) {
        count(&bridge->counters.repeated);
        log_invalid(bridge, request, "a request was dropped, since its CPU waits for an answer");
        return false;
    }
    if (request->src_zone >= HVV_BRIDGE_ZONES || !size_ok(request->size)) {
        count(&bridge->counters.invalid);
        log_invalid(bridge, request, waits ? "a request that makes no sense was answered with 0"
                                           : "a notification that makes no sense was dropped");
        if (waits)
            bridge_answer(bridge, cpu, 8, 0);
        return false;
    }
    bool write = request->is_write != 0;
    uint8_t size = (uint8_t)request->size;
    *access = (struct bridge_access){
        .address = request->address,
        .value = write ? bridge_truncate(request->value, size) : 0,
        .cpu = cpu,
        .zone = request->src_zone,
        .size = size,
        .write = write,
        .waits = waits,
    };
    count(&bridge->counters.taken);
    return true;
}

bool bridge_take(struct bridge *bridge, struct bridge_access *access)
{
    struct hvv_bridge_request request;
    for (unsigned i = 0; i < HVV_BRIDGE_ENTRIES; i++) {
        if (bridge_broken(bridge) || !take_entry(bridge, &request))
            return false;
        if (accept_entry(bridge, &request, access))
            return true;
    }
    return false;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void let_go(struct bridge *bridge, uint32_t cpu, uint64_t value)
{
    struct hvv_bridge_page *page = bridge->page;
    put64(&page->cfg_values[cpu], value);
    /* Release: who sees the flag change sees the value. */
    atomic_fetch_add_explicit((_Atomic uint64_t *)&page->cfg_flags[cpu], 1, memory_order_release);
    count(&bridge->counters.answered);
    if (bridge->answered)
        bridge->answered(bridge->arg, cpu);
}

bool bridge_answer(struct bridge *bridge, uint32_t cpu, uint8_t size, uint64_t value)
{
    uint32_t bit = cpu < HVV_BRIDGE_CPUS ? 1u << cpu : 0;
    /*
     * The bit is taken by one of those that would answer, and before the flag changes: from then on
     * the vCPU can hand over its next request, which must not find the bit.
     */
    if (!(atomic_fetch_and(&bridge->outstanding, ~bit) & bit)) {
        count(&bridge->counters.refused);
        return false;
    }
    let_go(bridge, cpu, bridge_truncate(value, size));
    return true;
}

void bridge_answer_all(struct bridge *bridge)
{
    uint32_t all = atomic_exchange(&bridge->outstanding, 0);
    for (uint32_t cpu = 0; cpu < HVV_BRIDGE_CPUS; cpu++)
        if (all & 1u << cpu)
            let_go(bridge, cpu, 0);
}

void bridge_release_unheard(struct bridge *bridge)
{
    struct hvv_bridge_page *page = bridge->page;
    for (uint32_t cpu = 0; cpu < HVV_BRIDGE_CPUS; cpu++) {
        if (bridge->heard & 1u << cpu)
            continue;
        put64(&page->cfg_values[cpu], 0);
        /* Release: as in let_go(). */
        atomic_fetch_add_explicit((_Atomic uint64_t *)&page->cfg_flags[cpu], 1,
                                  memory_order_release);
    }
}

/* ---- sleeping -------------------------------------------------------------------------------- */

void bridge_awake(struct bridge *bridge)
{
    if (bridge->asked) /* else producers would find the word's cache line with us each time */
        put8(&bridge->page->need_wakeup, 0);
    bridge->asked = false;
}

bool bridge_may_sleep(struct bridge *bridge)
{
    bridge->asked = true;
    put8(&bridge->page->need_wakeup, 1);
    /*
     * Pairs with the producer's full fence between its store of req_rear and its look at
     * need_wakeup: either it sees the 1 and signals us, or we see its request here.
     */
    atomic_thread_fence(memory_order_seq_cst);
    if (bridge_broken(bridge) ||
        get32(&bridge->page->req_rear, memory_order_relaxed) == bridge->req_front)
        return true;
    bridge_awake(bridge);
    return false;
}

bool bridge_broken(const struct bridge *bridge)
{
    return atomic_load_explicit(&bridge->broken, memory_order_relaxed);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

bool bridge_has_room(struct bridge *bridge)
{
    /* Acquire: the other side has read an entry before it stored that it is free. */
    uint32_t front = get32(&bridge->page->res_front, memory_order_acquire);
    if (bridge_broken(bridge) || !index_ok(bridge, "res_front", front))
        return false;
    return NEXT(bridge->res_rear) != front;
}

bool bridge_push_interrupt(struct bridge *bridge, uint32_t zone, uint32_t irq)
{
    struct hvv_bridge_page *page = bridge->page;
    if (!bridge_has_room(bridge))
        return false;
    struct hvv_bridge_result *entry = &page->res_list[bridge->res_rear];
    put32(&entry->target_zone, zone, memory_order_relaxed);
    put32(&entry->irq_id, irq, memory_order_relaxed);
    bridge->res_rear = NEXT(bridge->res_rear);
    put32(&page->res_rear, bridge->res_rear, memory_order_release);
    return true;
}
