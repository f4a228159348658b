/* SPDX-License-Identifier: BSD-3-Clause */
/* evil.c - see hostile.h. Main thread. */
#include "hostile.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define STATUS_OFFSET 32 /* of the status byte after the header, in a slot of blk.c */
#define USED_MARK 0xa5a5a5a5u /* in entries of the used ring that the device has not come to */

/* ---- coming and going ------------------------------------------------------------------------ */

/* No request is under way: nobody writes there now. See evil_untouched(). */
static void mark_used_ring(struct blkdev *dev)
{
    struct ring *r = &dev->ring[0];
    for (unsigned i = ring_shared_used_idx(r); i < r->opt.num; i++)
        r->used->ring[i] = (struct vring_used_elem){USED_MARK, USED_MARK};
}

static bool open_dev(struct world *w, struct blkdev *dev, const struct blkdev_options *options)
{
    struct blkdev_options o = options ? *options : (struct blkdev_options){.event_idx = true,
                                                                           .indirect = true};
    struct text path = socket_of(&w->d, w->id);
    o.path = path.s;
    int err = blkdev_open(dev, &o);
    dev->opt.path = NULL; /* its text ends here */
    if (!err)
        mark_used_ring(dev);
    return !err || row_fail("a front-end on %s: %s (%s)", w->id, dev->fe.error, strerror(-err));
}

bool evil_open(struct world *w, const struct blkdev_options *options)
{
    return open_dev(w, &w->a, options);
}

void evil_close(struct world *w)
{
    churn_stop(&w->churn);
    if (w->a.opt.num)
        blkdev_close(&w->a);
    memset(&w->a, 0, sizeof(w->a));
}

bool evil_connect(struct world *w, struct fe *fe)
{
    fe_init(fe);
    return fe_connect(fe, socket_of(&w->d, w->id).s) == 0 || row_fail("%s", fe->error);
}

bool evil_works(struct world *w, struct blkdev *dev)
{
    static uint8_t data[4096];
    static uint64_t seed;
    blk_fill(data, sizeof(data), 8, ++seed);
    int rc = blk_write(&dev->queue[0], 8, data, sizeof(data));
    memset(data, 0, sizeof(data));
    if (rc == 0)
        rc = blk_read(&dev->queue[0], 8, data, sizeof(data));
    if (rc != 0)
        return row_fail("well-formed I/O on %s ended with %d", w->id, rc);
    mark_used_ring(dev);
    return w->kind == ON_NULL || blk_verify(data, sizeof(data), 8, seed) < 0 ||
           row_fail("%s returned wrong data", w->id);
}

bool evil_reset(struct world *w, struct blkdev *dev)
{
    if (fe_reset_device(&dev->fe) < 0)
        return row_fail("RESET_DEVICE: %s", dev->fe.error);
    for (unsigned i = 0; i < dev->opt.queues; i++) {
        ring_reset(&dev->ring[i]);
        blk_queue_reset(&dev->queue[i]);
        fe_ring_failed(&dev->fe, i);
    }
    if (fe_set_features(&dev->fe, dev->fe.features) < 0 || blkdev_start(dev) < 0)
        return row_fail("after a reset: %s", dev->fe.error);
    return evil_works(w, dev);
}

bool evil_visit(struct world *w)
{
    static struct blkdev fresh;
    bool good = open_dev(w, &fresh, NULL) && evil_works(w, &fresh);
    blkdev_close(&fresh);
    return good;
}

bool evil_gone(struct world *w)
{
    return daemon_device_becomes(&w->d, w->id, "connected", false);
}

/* ---- rings ----------------------------------------------------------------------------------- */

struct buffers evil_buffers(struct blkdev *dev, uint32_t type, uint64_t sector)
{
    struct blk_request *req = blk_take(&dev->queue[0]);
    *req->header = (struct virtio_blk_outhdr){.type = type, .sector = sector};
    *req->status_at = BLK_STATUS_NONE;
    return (struct buffers){req->header_gpa, req->data_gpa, req->header_gpa + STATUS_OFFSET, req};
}

void evil_desc(struct blkdev *dev, unsigned i, uint64_t gpa, uint32_t len, unsigned bits,
               unsigned next)
{
    dev->ring[0].desc[i] =
        (struct vring_desc){gpa, len, (uint16_t)bits, (uint16_t)next};
}

void evil_avail(struct blkdev *dev, uint16_t idx)
{
    __atomic_store_n(&dev->ring[0].avail->idx, idx, __ATOMIC_RELEASE);
}

void evil_offer(struct blkdev *dev, unsigned head)
{
    struct ring *r = &dev->ring[0];
    uint16_t idx = ring_shared_avail_idx(r);
    r->avail->ring[idx % r->opt.num] = (uint16_t)head;
    evil_avail(dev, (uint16_t)(idx + 1));
}

bool evil_kick(struct blkdev *dev)
{
    struct ring *r = &dev->ring[0];
    return r->kick(r->kick_arg) == 0 || row_fail("the kick failed");
}

bool evil_used(struct blkdev *dev, uint16_t idx)
{
    uint64_t deadline = clock_deadline(WAIT_MS);
    while (ring_shared_used_idx(&dev->ring[0]) != idx) {
        if (clock_left_ms(deadline) == 0)
            return row_fail("the used index is %u, not %u",
                            ring_shared_used_idx(&dev->ring[0]), idx);
        poll(NULL, 0, 1);
    }
    return true;
}

bool evil_burst(struct blkdev *dev, unsigned n, uint32_t type, const struct ring_seg *seg,
                uint32_t len)
{
    struct blk_queue *q = &dev->queue[0];
    for (unsigned i = 0; i < n; i++) {
        struct blk_request *req = blk_take(q);
        if (!req)
            return row_fail("no request is free");
        req->type = type;
        req->seg = seg;
        req->pieces = seg ? 1 : 0;
        req->len = len;
        req->sector = (uint64_t)i * 128 % (DISK_BYTES / BLK_SECTOR / 2);
        if (blk_queue_add(q, req) < 0)
            return row_fail("the ring is full");
    }
    return ring_submit(q->ring) == 0 || row_fail("the kick failed");
}

/* ---- what the daemon says -------------------------------------------------------------------- */

bool evil_has(const char *text, const char *parts)
{
    char all[256], *save = NULL;
    snprintf(all, sizeof(all), "%s", parts);
    for (char *p = strtok_r(all, "|", &save); p; p = strtok_r(NULL, "|", &save))
        if (!has_text(text, p))
            return false;
    return true;
}

static const char *member(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* Other events of the disk are skipped: it comes and goes all the time. */
bool evil_event(struct world *w, const char *event, const char *parts)
{
    char reason[256] = "";
    uint64_t deadline = clock_deadline(WAIT_MS);
    json_t *e;
    while ((e = client_event(&w->events, clock_left_ms(deadline)))) {
        bool its = strcmp(member(e, "event"), event) == 0 &&
                   strcmp(member(e, "device"), w->id) == 0;
        if (its)
            snprintf(reason, sizeof(reason), "%s", member(e, "reason"));
        json_decref(e);
        if (its)
            return evil_has(reason, parts) ||
                   row_fail("event %s says \"%s\", not \"%s\"", event, reason, parts);
    }
    return row_fail("no event %s came, \"%s\" expected", event, parts);
}

static bool err_signalled(struct blkdev *dev)
{
    struct pollfd p = {.fd = dev->fe.vring[0].err, .events = POLLIN};
    return poll(&p, 1, WAIT_MS) == 1 || row_fail("the error descriptor was not signalled");
}

/*
 * All entries behind the used index are as they were: marked, or zero after ring_reset(). One that was
 * written and not shown differs from the last.
 */
bool evil_untouched(const struct blkdev *dev, uint16_t used)
{
    const struct ring *r = &dev->ring[0];
    const struct vring_used_elem *entry = r->used->ring, *last = &entry[r->opt.num - 1];
    uint16_t now = ring_shared_used_idx(r);
    if (now != used)
        return row_fail("the used index went from %u to %u", used, now);
    bool marked = last->id == USED_MARK && last->len == USED_MARK;
    if (used < r->opt.num && (last->id || last->len) && !marked)
        return row_fail("the last entry of the used ring was written");
    for (unsigned i = used; i < r->opt.num; i++) /* none, once the ring has gone round */
        if (entry[i].id != last->id || entry[i].len != last->len)
            return row_fail("used entry %u was written behind the used index %u: id %u, %u bytes",
                            i, used, entry[i].id, entry[i].len);
    return true;
}

bool evil_broken(struct world *w, struct blkdev *dev, const char *parts, uint16_t used,
                 uint64_t since, uint64_t *ns)
{
    uint8_t status = 0;
    if (!err_signalled(dev))
        return false;
    if (ns)
        *ns = clock_ns() - since;
    if (!evil_event(w, "device.broken", parts))
        return false;
    if (fe_get_status(&dev->fe, &status) < 0)
        return row_fail("GET_STATUS: %s", dev->fe.error);
    if (!(status & NEEDS_RESET))
        return row_fail("GET_STATUS is 0x%x, without DEVICE_NEEDS_RESET", status);
    /* The neighbour shares the worker: once it was served, the broken ring was passed as well. */
    return churn_flows(&w->neighbour, 8) && evil_untouched(dev, used);
}

bool evil_refused(struct fe *fe, int err, const char *what)
{
    if (err == -EREMOTEIO && fe_barrier(fe) == 0)
        return true;
    return row_fail("%s was not refused: %s", what, err ? fe->error : "it was accepted");
}

bool evil_hung_up(struct fe *fe, const char *what)
{
    return fe_wait_hangup(fe) == 0 || row_fail("the daemon did not hang up after %s", what);
}

uint32_t evil_usual_size(uint32_t request)
{
    switch (request) {
    case VHU_SET_OWNER:
    case VHU_RESET_OWNER:
    case VHU_GET_FEATURES:
    case VHU_GET_PROTOCOL_FEATURES:
    case VHU_SET_BACKEND_REQ_FD:
    case VHU_RESET_DEVICE:
    case VHU_GET_QUEUE_NUM:
    case VHU_GET_MAX_MEM_SLOTS:
    case VHU_GET_STATUS:
        return 0;
    case VHU_SET_VRING_ADDR:
    case VHU_ADD_MEM_REG:
    case VHU_REM_MEM_REG:
        return 40;
    case VHU_GET_CONFIG:
    case VHU_SET_CONFIG:
        return 12;
    default:
        return 8;
    }
}

bool evil_connect_speaking(struct world *w, struct fe *fe)
{
    return evil_connect(w, fe) &&
           (fe_negotiate(fe, FE_BIT(VHU_F_PROTOCOL_FEATURES) | FE_BIT(32), EVIL_PROTO) == 0 ||
            row_fail("%s", fe->error));
}
int evil_region(struct blkdev *dev, uint64_t gpa, uint64_t bytes)
{
    struct guestmem_spec spec = {.size = bytes, .gpa = gpa, .uva = gpa + GUESTMEM_FAKE_UVA};
    int region = guestmem_add(&dev->mem, &spec);
    if (region < 0 || fe_add_mem(&dev->fe, &dev->mem, (unsigned)region) < 0) {
        row_fail("a region of %llu bytes: %s", (unsigned long long)bytes,
                 region < 0 ? strerror(-region) : dev->fe.error);
        return -1;
    }
    return region;
}
