/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * row-handshake.c - what a front-end says until its ring runs: in single bytes, cut short at every
 * message (class 20), and out of its order (class 28).
 */
#include "hostile.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- a whole handshake, message by message --------------------------------------------------- */

struct step {
    uint32_t request, size;
    uint8_t payload[sizeof(struct vhu_config)];
    int fd; /* or -1 */
};

#define STEPS 21u

static void add(struct step *s, unsigned *n, uint32_t request, const void *payload, size_t size,
                int fd)
{
    s[*n] = (struct step){.request = request, .size = (uint32_t)size, .fd = fd};
    if (size)
        memcpy(s[*n].payload, payload, size);
    ++*n;
}

/* What a front-end says until its ring runs. `channel` becomes the back-end's. */
static unsigned handshake(struct blkdev *dev, struct step s[STEPS], int channel)
{
    const uint64_t features = blkdev_features(&dev->opt) & dev->fe.offered, proto = EVIL_PROTO,
                   ring = 0, status = 15;
    const struct vhu_config config = {0, 60, 0, {0}};
    const struct guestmem_region *r = &dev->mem.region[0];
    const struct vhu_mem_slot slot = {0, {r->at.gpa, r->at.size, r->at.uva, r->at.offset}};
    const struct vhu_vring_state num = {0, dev->ring[0].opt.num}, base = {0, 0}, on = {0, 1};
    const struct fe_vring *v = &dev->fe.vring[0];
    struct vhu_vring_addr addr;
    unsigned n = 0;
    fe_ring_addr(&dev->ring[0], &dev->mem, 0, &addr);
    add(s, &n, VHU_SET_OWNER, NULL, 0, -1);
    add(s, &n, VHU_GET_FEATURES, NULL, 0, -1);
    add(s, &n, VHU_GET_PROTOCOL_FEATURES, NULL, 0, -1);
    add(s, &n, VHU_SET_PROTOCOL_FEATURES, &proto, 8, -1);
    add(s, &n, VHU_GET_QUEUE_NUM, NULL, 0, -1);
    add(s, &n, VHU_GET_MAX_MEM_SLOTS, NULL, 0, -1);
    add(s, &n, VHU_SET_BACKEND_REQ_FD, NULL, 0, channel);
    add(s, &n, VHU_SET_FEATURES, &features, 8, -1);
    add(s, &n, VHU_GET_CONFIG, &config, VHU_CONFIG_HEADER_SIZE + 60, -1);
    add(s, &n, VHU_ADD_MEM_REG, &slot, sizeof(slot), r->fd);
    add(s, &n, VHU_SET_VRING_ERR, &ring, 8, v->err);
    add(s, &n, VHU_SET_VRING_CALL, &ring, 8, v->call_peer);
    add(s, &n, VHU_SET_VRING_NUM, &num, 8, -1);
    add(s, &n, VHU_SET_VRING_BASE, &base, 8, -1);
    add(s, &n, VHU_SET_VRING_ADDR, &addr, sizeof(addr), -1);
    add(s, &n, VHU_SET_VRING_KICK, &ring, 8, v->kick);
    add(s, &n, VHU_SET_VRING_ENABLE, &on, 8, -1);
    add(s, &n, VHU_SET_STATUS, &status, 8, -1);
    add(s, &n, VHU_GET_STATUS, NULL, 0, -1);
    add(s, &n, VHU_GET_VRING_BASE, &base, 8, -1);
    add(s, &n, VHU_RESET_DEVICE, NULL, 0, -1);
    return n;
}

static bool send_step(struct fe *fe, const struct step *s, size_t part, size_t pieces)
{
    uint8_t bytes[VHU_HEADER_SIZE + FE_PAYLOAD_MAX];
    size_t len = fe_encode(bytes, s->request, ASK, s->payload, s->size);
    len = part && part < len ? part : len;
    return fe_write_slowly(fe, bytes, len, pieces ? pieces : len, &s->fd, s->fd >= 0) == 0 ||
           row_fail("request %u: %s", s->request, fe->error);
}

static bool read_answer(struct fe *fe, uint32_t request)
{
    struct fe_msg reply;
    if (fe_recv(fe, &reply) < 0)
        return row_fail("request %u: %s", request, fe->error);
    fe_msg_close(&reply);
    return reply.header.request == request || row_fail("request %u: wrong answer", request);
}

/* Memory and rings that outlive the connections of a row; w->a is not connected. */
static bool prepare(struct world *w)
{
    const struct blkdev_options o = {.event_idx = true, .no_start = true};
    if (!evil_open(w, &o))
        return false;
    fe_disconnect(&w->a.fe);
    return evil_gone(w);
}

enum manner { POLITE, DEAF, HALF, MANNERS };

/* Says `k` messages and hangs up; `manner`: reads the answers, or not, or says half of one more. */
static bool die_after(struct world *w, unsigned k, enum manner manner)
{
    struct step steps[STEPS];
    struct fe *fe = &w->a.fe;
    int pair[2];
    uint64_t offered = fe->offered;
    bool good = evil_connect(w, fe) && fe_vring_open(fe, 0, false) == 0 &&
                socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0;
    if (!good)
        return row_fail("no connection: %s", fe->error);
    fe->offered = offered;
    unsigned n = handshake(&w->a, steps, pair[1]);
    for (unsigned i = 0; good && i < k; i++)
        good = send_step(fe, &steps[i], 0, 0) &&
               (manner == DEAF || read_answer(fe, steps[i].request));
    if (good && manner == HALF && k < n)
        good = send_step(fe, &steps[k], 7 + k % 10, 0);
    close(pair[0]);
    close(pair[1]);
    fe_disconnect(fe);
    return good;
}

static void dying(struct world *w)
{
    MUST(prepare(w));
    for (unsigned k = 0; k <= STEPS; k++)
        for (unsigned m = 0; m < MANNERS; m++)
            MUST(die_after(w, k, (enum manner)m));
    MUST(evil_gone(w) && evil_visit(w));
}

static int kick(void *arg)
{
    uint64_t one = 1;
    return write(*(int *)arg, &one, sizeof(one)) == sizeof(one) ? 0 : -errno;
}

/* Every message in single bytes; afterwards the ring works. */
static void byte_by_byte(struct world *w)
{
    struct step steps[STEPS];
    struct fe *fe = &w->a.fe;
    int pair[2];
    MUST(prepare(w));
    uint64_t offered = fe->offered;
    MUST(evil_connect(w, fe));
    fe->offered = offered;
    CHECK(fe_vring_open(fe, 0, false) == 0 &&
          socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "no descriptors");
    handshake(&w->a, steps, pair[1]);
    bool good = true;
    for (unsigned i = 0; good && i < STEPS - 2; i++)
        good = send_step(fe, &steps[i], 0, 1) && read_answer(fe, steps[i].request);
    close(pair[0]);
    close(pair[1]);
    MUST(good);
    w->a.ring[0].kick = kick;
    w->a.ring[0].kick_arg = &fe->vring[0].kick;
    w->a.ring[0].call_fd = fe->vring[0].call;
    MUST(evil_works(w, &w->a));
}

/* ---- class 28: things out of their order ----------------------------------------------------- */

static void unoffered_features(struct world *w)
{
    MUST(evil_open(w, NULL));
    struct fe *fe = &w->a.fe;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t f = FE_BIT(bit);
        if (!(fe->offered & f))
            MUST(evil_refused(fe, fe_command_u64(fe, VHU_SET_FEATURES, fe->features | f),
                              "a feature"));
        if (!(fe->proto_offered & f))
            MUST(evil_refused(fe, fe_command_u64(fe, VHU_SET_PROTOCOL_FEATURES, fe->proto | f),
                              "a protocol feature"));
    }
    MUST(evil_works(w, &w->a));
}

/* Features of a ring that runs do not change under it. */
static void features_while_running(struct world *w)
{
    MUST(evil_open(w, NULL));
    struct fe *fe = &w->a.fe;
    for (unsigned i = 0; i < 50; i++) {
        uint64_t few = i % 2 ? FE_BIT(30) : FE_BIT(30) | FE_BIT(32);
        int err = fe_command_u64(fe, VHU_SET_FEATURES, few);
        CHECK(err == 0 || err == -EREMOTEIO, "%s", fe->error);
        MUST(evil_works(w, &w->a)); /* indirect and event index as negotiated before */
    }
}

static void without_version_1(struct world *w)
{
    const struct blkdev_options o = {.event_idx = true, .no_start = true};
    MUST(evil_open(w, &o));
    struct fe *fe = &w->a.fe;
    CHECK(blkdev_share(&w->a) == 0 &&
          fe_set_features(fe, fe->features & ~FE_BIT(32)) == 0, "%s", fe->error);
    MUST(evil_refused(fe, fe_ring_start(fe, 0, &w->a.ring[0], &w->a.mem, 0), "a legacy driver"));
    CHECK(fe_set_features(fe, fe->features | FE_BIT(32)) == 0 && blkdev_start(&w->a) == 0, "%s",
          fe->error);
    MUST(evil_works(w, &w->a));
}

/* Every ring message in the wrong order: refused where it cannot be done, harmless where it can. */
static void early(struct world *w)
{
    const struct blkdev_options o = {.event_idx = true, .no_start = true};
    struct vhu_vring_addr addr;
    uint32_t base;
    MUST(evil_open(w, &o));
    struct fe *fe = &w->a.fe;
    CHECK(fe_vring_open(fe, 0, false) == 0, "%s", fe->error);
    fe_ring_addr(&w->a.ring[0], &w->a.mem, 0, &addr);
    CHECK(fe_vring_enable(fe, 0, true) == 0, "%s", fe->error);
    CHECK(fe_vring_fd(fe, VHU_SET_VRING_KICK, 0, fe->vring[0].kick) == 0, "%s", fe->error);
    CHECK(fe_vring_addr(fe, &addr) == 0, "an address without a size is only kept: %s", fe->error);
    CHECK(fe_vring_num(fe, 0, 128) == 0, "%s", fe->error);
    MUST(evil_refused(fe, fe_vring_enable(fe, 0, true), "a ring without memory"));
    CHECK(fe_vring_get_base(fe, 0, &base) == 0 && base == 0, "%s", fe->error);
    CHECK(blkdev_share(&w->a) == 0, "%s", fe->error);
    /* Areas that are not where memory is, not aligned, or cross its end. */
    const uint64_t end = w->a.mem.region[0].at.uva + w->a.mem.region[0].at.size;
    const struct vhu_vring_addr bad[] = {
        {0, 0, 0, addr.used, addr.avail, 0},           {0, 0, addr.desc, 0, addr.avail, 0},
        {0, 0, addr.desc, addr.used, 0, 0},
        {0, 0, addr.desc + 1, addr.used, addr.avail, 0},
        {0, 0, addr.desc, addr.used + 2, addr.avail, 0},
        {0, 0, addr.desc, addr.used, addr.avail + 1, 0},
        {0, 0, end - 16, addr.used, addr.avail, 0},    {0, 0, addr.desc, end - 4, addr.avail, 0},
        {0, 0, addr.desc, addr.used, end - 2, 0},
        {0, 0, UINT64_MAX - 15, addr.used, addr.avail, 0},
        {0, 0, BLKDEV_GPA, BLKDEV_GPA, BLKDEV_GPA, 0},
    };
    CHECK(fe_vring_fd(fe, VHU_SET_VRING_ERR, 0, fe->vring[0].err) == 0 &&
          fe_vring_enable(fe, 0, true) == 0, "%s", fe->error);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(fe_vring_addr(fe, &bad[i]) == 0, "an address before the kick: %s", fe->error);
        MUST(evil_refused(fe, fe_vring_fd(fe, VHU_SET_VRING_KICK, 0, fe->vring[0].kick),
                          "a ring with a bad address"));
        CHECK(fe_vring_get_base(fe, 0, &base) == 0, "%s", fe->error);
    }
    CHECK(blkdev_start(&w->a) == 0, "%s", fe->error);
    MUST(evil_works(w, &w->a));
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) { /* and of a ring that runs */
        int err = fe_vring_addr(fe, &bad[i]);
        if (!err)
            err = fe_vring_fd(fe, VHU_SET_VRING_KICK, 0, fe->vring[0].kick);
        MUST(evil_refused(fe, err, "a bad address for a ring that ran"));
        MUST(evil_reset(w, &w->a));
    }
}

static void status_bits(struct world *w)
{
    static const uint64_t values[] = {0, 1, 3, 15, 0xff, 0x40, 0x80, 0x1ff, UINT64_MAX, 0};
    uint8_t status;
    MUST(evil_open(w, NULL));
    struct fe *fe = &w->a.fe;
    for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        int err = fe_command_u64(fe, VHU_SET_STATUS, values[i]);
        CHECK(err == 0 || err == -EREMOTEIO, "%s", fe->error);
        CHECK(fe_get_status(fe, &status) == 0, "%s", fe->error);
        MUST(evil_works(w, &w->a)); /* SET_STATUS stops nothing, not even 0 */
    }
    /* NEEDS_RESET is the device's to say: it cannot be cleared by writing the status. */
    uint16_t used = ring_shared_used_idx(&w->a.ring[0]);
    evil_offer(&w->a, 0xffff);
    MUST(evil_kick(&w->a) && evil_broken(w, &w->a, "head 65535", used, clock_ns(), NULL));
    CHECK(fe_set_status(fe, 0) == 0 && fe_get_status(fe, &status) == 0, "%s", fe->error);
    CHECK(status & NEEDS_RESET, "SET_STATUS 0 cleared DEVICE_NEEDS_RESET");
    MUST(evil_reset(w, &w->a));
    CHECK(fe_get_status(fe, &status) == 0 && !(status & NEEDS_RESET), "after a reset: 0x%x",
          status);
}

/* Requests whose protocol feature was not negotiated. */
static void not_negotiated(struct world *w)
{
    static const uint32_t requests[] = {VHU_GET_QUEUE_NUM, VHU_SET_BACKEND_REQ_FD, VHU_GET_CONFIG,
                                        VHU_SET_CONFIG, VHU_RESET_DEVICE, VHU_VRING_KICK,
                                        VHU_GET_MAX_MEM_SLOTS, VHU_ADD_MEM_REG, VHU_REM_MEM_REG,
                                        VHU_SET_STATUS, VHU_GET_STATUS};
    static const uint8_t nothing[64];
    for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        struct fe fe;
        MUST(evil_connect(w, &fe));
        fe_send(&fe, requests[i], SAY, nothing, evil_usual_size(requests[i]), NULL, 0);
        bool good = evil_hung_up(&fe, "a request that was not negotiated") &&
                    evil_event(w, "device.disconnected", "was not negotiated");
        fe_disconnect(&fe);
        MUST(good);
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

const struct evil_row handshake_rows[] = {
    {"c20-byte-by-byte", byte_by_byte, ON_EACH, NULL},
    {"c20-dying-at-each-message", dying, ON_EACH, NULL},
    {"c28-features-not-offered", unoffered_features, 0, NULL},
    {"c28-features-while-running", features_while_running, 0, NULL},
    {"c28-without-version-1", without_version_1, 0, NULL},
    {"c28-early", early, 0, NULL},
    {"c28-status", status_bits, 0, NULL},
    {"c28-not-negotiated", not_negotiated, 0, NULL},
    {NULL, NULL, 0, NULL},
};
