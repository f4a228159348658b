/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * row-memory.c - guest memory: classes 10 (written after it was taken back), 18 (truncated) and 19
 * (changed while it is in use).
 */
#include "hostile.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA (16u << 20)

/* ---- class 10: nothing is written once the device has said that it is quiet ------------------ */

static uint64_t digest(const struct blkdev *dev)
{
    uint64_t x = 14695981039346656037ull;
    for (unsigned i = 0; i < GUESTMEM_REGIONS_MAX; i++) {
        const struct guestmem_region *r = &dev->mem.region[i];
        const uint64_t *words = (const uint64_t *)(const void *)r->map;
        for (size_t k = 0; r->fd >= 0 && k < r->at.size / 8; k++)
            x = (x ^ words[k]) * 1099511628211ull;
    }
    return x;
}

/* What was in flight has landed by now, or never will; the neighbour's I/O is the clock. */
static bool stays_quiet(struct world *w, const char *after)
{
    uint64_t was = digest(&w->a);
    return churn_flows(&w->neighbour, 64) &&
           (digest(&w->a) == was || row_fail("guest memory was written after %s", after));
}

/* Disk data that differs from what the buffers hold, so that a late write shows. */
static bool in_flight(struct world *w)
{
    const struct blkdev_options o = {.event_idx = true, .num = 1024, .slots = 64};
    if (!evil_open(w, &o))
        return false;
    memset(w->a.queue[0].request[0].data, 0x5a, 65536);
    for (unsigned i = 0; i < 64; i++)
        if (i < 8 && blk_write(&w->a.queue[0], i * 128, w->a.queue[0].request[0].data, 65536) != 0)
            return row_fail("a write failed");
    return evil_burst(&w->a, 60, VIRTIO_BLK_T_IN, NULL, 65536);
}

static unsigned repeat(const struct world *w)
{
    return w->all ? 50 : 4;
}

static void reset_in_flight(struct world *w)
{
    for (unsigned i = 0; i < repeat(w); i++) {
        MUST(in_flight(w));
        CHECK(fe_reset_device(&w->a.fe) == 0, "RESET_DEVICE: %s", w->a.fe.error);
        MUST(stays_quiet(w, "RESET_DEVICE") && evil_reset(w, &w->a));
        evil_close(w);
        MUST(evil_gone(w));
    }
}

static void base_in_flight(struct world *w)
{
    for (unsigned i = 0; i < repeat(w); i++) {
        uint32_t base = 0;
        MUST(in_flight(w));
        CHECK(fe_vring_get_base(&w->a.fe, 0, &base) == 0, "%s", w->a.fe.error);
        CHECK(base == ring_shared_used_idx(&w->a.ring[0]), "base %u, but used index %u", base,
              ring_shared_used_idx(&w->a.ring[0]));
        MUST(stays_quiet(w, "GET_VRING_BASE") && evil_reset(w, &w->a));
        evil_close(w);
        MUST(evil_gone(w));
    }
}

static void disable_in_flight(struct world *w)
{
    for (unsigned i = 0; i < repeat(w); i++) {
        MUST(in_flight(w));
        CHECK(fe_vring_enable(&w->a.fe, 0, false) == 0, "%s", w->a.fe.error);
        MUST(stays_quiet(w, "SET_VRING_ENABLE 0"));
        CHECK(fe_vring_enable(&w->a.fe, 0, true) == 0, "%s", w->a.fe.error);
        CHECK(evil_kick(&w->a) && blk_drain(&w->a.queue[0]) == 0, "the ring does not go on");
        evil_close(w);
        MUST(evil_gone(w));
    }
}

/* The connection ends; the memory is still ours. */
static void leave_in_flight(struct world *w)
{
    for (unsigned i = 0; i < repeat(w); i++) {
        MUST(in_flight(w));
        close(w->a.fe.sock);
        w->a.fe.sock = -1;
        MUST(evil_gone(w) && stays_quiet(w, "the end of the connection"));
        evil_close(w);
    }
}

/* A ring that says where its used ring is, and then says 0. */
static void used_0(struct world *w)
{
    struct vhu_vring_addr addr;
    MUST(in_flight(w));
    struct fe *fe = &w->a.fe;
    fe_ring_addr(&w->a.ring[0], &w->a.mem, 0, &addr);
    addr.used = 0;
    CHECK(fe_vring_addr(fe, &addr) == 0, "an address stops a ring: %s", fe->error);
    MUST(evil_refused(fe, fe_vring_fd(fe, VHU_SET_VRING_KICK, 0, fe->vring[0].kick),
                      "a used ring at 0"));
    MUST(evil_kick(&w->a) && stays_quiet(w, "a used ring at 0") && evil_reset(w, &w->a));
}

/* ---- class 18: truncated memfds -------------------------------------------------------------- */

struct cut {
    uint32_t type;
    bool half; /* of the file only */
};

/* The daemon's reason: it saw the hole itself, or the kernel did for it. */
static bool broke_for_memory(struct world *w)
{
    char reason[256] = "";
    uint64_t deadline = clock_deadline(WAIT_MS);
    while (!reason[0] && clock_left_ms(deadline) > 0 && fe_alive(&w->a.fe)) {
        evil_kick(&w->a); /* an idle device does not look */
        json_t *device = daemon_device(&w->d, w->id);
        const char *text = json_string_value(json_object_get(device, "broken"));
        snprintf(reason, sizeof(reason), "%s", text ? text : "");
        json_decref(device);
    }
    return evil_has(reason, "truncated") || evil_has(reason, "EFAULT") ||
           row_fail("the device is not broken for its memory: \"%s\"", reason);
}

/* Data buffers are in a region of their own, which loses its file while requests are under way. */
static void cut_data(struct world *w)
{
    const struct cut *cut = w->arg;
    const struct ring_seg seg = {GPA_FAR + DATA - 65536, 65536};
    for (unsigned i = 0; i < (w->all ? 20u : 3u); i++) {
        uint8_t status;
        const struct blkdev_options o = {.event_idx = true, .num = 1024, .slots = 64};
        MUST(evil_open(w, &o));
        int region = evil_region(&w->a, GPA_FAR, DATA);
        MUST(region > 0);
        memset(w->a.mem.region[region].map, 1, DATA);
        MUST(evil_burst(&w->a, 30, cut->type, &seg, seg.len));
        CHECK(ftruncate(w->a.mem.region[region].fd, cut->half ? DATA / 2 : 0) == 0, "ftruncate");
        MUST(evil_burst(&w->a, 30, cut->type, &seg, seg.len) && evil_kick(&w->a));
        MUST(broke_for_memory(w));
        CHECK(fe_get_status(&w->a.fe, &status) == 0 && (status & NEEDS_RESET),
              "no DEVICE_NEEDS_RESET");
        CHECK(fe_ring_failed(&w->a.fe, 0), "the error descriptor was not signalled");
        CHECK(fe_rem_mem(&w->a.fe, &w->a.mem, (unsigned)region) == 0, "%s", w->a.fe.error);
        guestmem_drop(&w->a.mem, (unsigned)region);
        MUST(evil_reset(w, &w->a)); /* the device is fine once the memory is gone */
        evil_close(w);
        MUST(evil_gone(w));
    }
}

/* The ring itself is in the hole. Nothing here touches it afterwards. */
static void cut_ring(struct world *w)
{
    for (unsigned i = 0; i < (w->all ? 20u : 3u); i++) {
        uint8_t status;
        MUST(evil_open(w, NULL) && evil_works(w, &w->a));
        MUST(evil_burst(&w->a, 30, i % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, NULL, 65536));
        CHECK(ftruncate(w->a.mem.region[0].fd, 0) == 0, "ftruncate");
        MUST(broke_for_memory(w));
        CHECK(fe_get_status(&w->a.fe, &status) == 0 && (status & NEEDS_RESET),
              "no DEVICE_NEEDS_RESET");
        CHECK(fe_reset_device(&w->a.fe) == 0, "RESET_DEVICE: %s", w->a.fe.error);
        fe_disconnect(&w->a.fe); /* the rings' owner is not told: their memory is gone */
        evil_close(w);
        MUST(evil_gone(w) && evil_visit(w));
    }
}

/* Requests whose data is on every second page of a file that is gone, as many as the ring holds. */
static void cut_many_pages(struct world *w)
{
    enum { HEADS = 80, SEGS = 500 };
    static const uint64_t bytes = 1ull << 30;
    const struct blkdev_options o = {.event_idx = true, .indirect = true, .num = 1024,
                                     .indirect_max = SEGS + 2, .slots = HEADS};
    static struct ring_seg seg[SEGS];
    MUST(evil_open(w, &o));
    int region = evil_region(&w->a, GPA_FAR, bytes);
    MUST(region > 0);
    CHECK(ftruncate(w->a.mem.region[region].fd, 0) == 0, "ftruncate");
    struct blk_queue *q = &w->a.queue[0];
    for (uint64_t i = 0; i < HEADS; i++) {
        struct blk_request *req = blk_take(q);
        for (uint64_t k = 0; k < SEGS; k++)
            seg[k] = (struct ring_seg){GPA_FAR + (i * SEGS + k) * 8192 + 4096 - 512, 512};
        req->type = VIRTIO_BLK_T_OUT;
        req->seg = seg;
        req->pieces = SEGS;
        req->len = SEGS * 512;
        CHECK(blk_queue_add(q, req) == 0, "the ring is full");
    }
    CHECK(ring_submit(q->ring) == 0, "the kick failed");
    MUST(broke_for_memory(w));
}

/* ---- class 19: the memory table changes ------------------------------------------------------ */

static bool churn_on_a(struct world *w)
{
    w->churn.tolerant = w->arg != NULL;
    w->churn.verify = w->kind != ON_NULL;
    return churn_start(&w->churn, &w->a);
}

static void slots_come_and_go(struct world *w)
{
    const struct guestmem_spec spec = {.size = 2 << 20, .gpa = GPA_FAR,
                                       .uva = GUESTMEM_FAKE_UVA * 2};
    MUST(evil_open(w, NULL));
    CHECK(fe_speaks(&w->a.fe, VHU_PF_CONFIGURE_MEM_SLOTS), "no memory slots");
    MUST(churn_on_a(w));
    for (unsigned i = 0; i < (w->all ? 10000u : 300u); i++) {
        int region = guestmem_add(&w->a.mem, &spec);
        CHECK(region > 0, "no memory");
        int err = fe_add_mem(&w->a.fe, &w->a.mem, (unsigned)region);
        if (!err)
            err = fe_rem_mem(&w->a.fe, &w->a.mem, (unsigned)region);
        guestmem_drop(&w->a.mem, (unsigned)region);
        CHECK(err == 0, "change %u: %s", i, w->a.fe.error);
    }
    MUST(churn_flows(&w->churn, 16));
}

static void table_again(struct world *w)
{
    MUST(evil_open(w, NULL) && churn_on_a(w));
    for (unsigned i = 0; i < (w->all ? 5000u : 200u); i++)
        CHECK(fe_set_mem_table(&w->a.fe, &w->a.mem) == 0, "change %u: %s", i, w->a.fe.error);
    MUST(churn_flows(&w->churn, 16));
}

/* What the ring is in cannot be taken away while it runs. */
static void region_of_ring(struct world *w)
{
    const struct vhu_mem_table none = {.count = 0};
    MUST(evil_open(w, NULL) && churn_on_a(w));
    for (unsigned i = 0; i < 50; i++) {
        MUST(evil_refused(&w->a.fe, fe_rem_mem(&w->a.fe, &w->a.mem, 0), "REM_MEM_REG of a ring"));
        MUST(evil_refused(&w->a.fe, fe_command(&w->a.fe, VHU_SET_MEM_TABLE, &none, 8, NULL, 0),
                          "a table without the ring"));
    }
    MUST(churn_flows(&w->churn, 16));
}

/* Data that is in use goes: what is in flight ends, what comes later is not guest memory. */
static void region_of_data(struct world *w)
{
    const struct ring_seg seg = {GPA_FAR, 65536};
    for (unsigned i = 0; i < repeat(w); i++) {
        MUST(evil_open(w, NULL));
        int region = evil_region(&w->a, GPA_FAR, DATA);
        MUST(region > 0 && evil_burst(&w->a, 30, VIRTIO_BLK_T_IN, &seg, seg.len));
        CHECK(fe_rem_mem(&w->a.fe, &w->a.mem, (unsigned)region) == 0, "%s", w->a.fe.error);
        memset(w->a.mem.region[region].map, 0x33, DATA);
        MUST(churn_flows(&w->neighbour, 32));
        for (size_t at = 0; at < DATA; at++)
            if (w->a.mem.region[region].map[at] != 0x33) {
                row_fail("memory was written after REM_MEM_REG");
                return;
            }
        guestmem_drop(&w->a.mem, (unsigned)region);
        MUST(evil_reset(w, &w->a));
        struct buffers b = evil_buffers(&w->a, VIRTIO_BLK_T_IN, 0);
        evil_desc(&w->a, 0, b.header, 16, VRING_DESC_F_NEXT, 1);
        evil_desc(&w->a, 1, GPA_FAR, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
        evil_desc(&w->a, 2, b.status, 1, VRING_DESC_F_WRITE, 0);
        evil_offer(&w->a, 0);
        uint16_t used = ring_shared_used_idx(&w->a.ring[0]);
        MUST(evil_kick(&w->a) && evil_broken(w, &w->a, "is not guest memory", used, clock_ns(),
                                             NULL));
        evil_close(w);
        MUST(evil_gone(w));
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

static const struct cut read_all = {VIRTIO_BLK_T_IN, false}, write_all = {VIRTIO_BLK_T_OUT, false},
                        read_half = {VIRTIO_BLK_T_IN, true};

const struct evil_row memory_rows[] = {
    {"c10-reset-in-flight", reset_in_flight, ON_FILE | ON_DIRECT | ON_MEM, NULL},
    {"c10-base-in-flight", base_in_flight, ON_FILE | ON_DIRECT | ON_MEM, NULL},
    {"c10-disable-in-flight", disable_in_flight, ON_FILE | ON_DIRECT, NULL},
    {"c10-leave-in-flight", leave_in_flight, ON_FILE | ON_DIRECT, NULL},
    {"c10-used-ring-at-0", used_0, ON_FILE | ON_DIRECT | ON_MEM, NULL},
    {"c18-truncated-under-reads", cut_data, ON_DATA, &read_all},
    {"c18-truncated-under-writes", cut_data, ON_DATA, &write_all},
    {"c18-truncated-to-half", cut_data, ON_DATA, &read_half},
    {"c18-truncated-ring", cut_ring, ON_DATA | ON_NULL, NULL},
    {"c18-truncated-many-pages", cut_many_pages, ON_DATA, NULL},
    {"c19-slots-come-and-go", slots_come_and_go, ON_FILE | ON_MEM | ON_DIRECT, NULL},
    {"c19-table-again", table_again, ON_FILE | ON_MEM | ON_DIRECT, NULL},
    {"c19-region-of-ring", region_of_ring, ON_FILE | ON_MEM, NULL},
    {"c19-region-of-data", region_of_data, ON_FILE | ON_MEM | ON_DIRECT, NULL},
    {NULL, NULL, 0, NULL},
};
