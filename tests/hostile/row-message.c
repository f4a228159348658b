/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * row-message.c - the message stream: classes 12 to 16, 20, 21 and 28, and front-ends that die at
 * every message of the handshake.
 */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define V VHU_FLAG_VERSION
#define ASK (VHU_FLAG_VERSION | VHU_FLAG_NEED_REPLY)
#define LAST_REQUEST 45u
#define ALL_PROTO                                                                                  \
    (FE_BIT(VHU_PF_MQ) | FE_BIT(VHU_PF_REPLY_ACK) | FE_BIT(VHU_PF_BACKEND_REQ) |                   \
     FE_BIT(VHU_PF_CONFIG) | FE_BIT(VHU_PF_RESET_DEVICE) | FE_BIT(VHU_PF_CONFIGURE_MEM_SLOTS) |    \
     FE_BIT(VHU_PF_STATUS))

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
    const uint64_t features = blkdev_features(&dev->opt) & dev->fe.offered, proto = ALL_PROTO,
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

/* ---- class 20: wrong headers ----------------------------------------------------------------- */

struct bad_header {
    uint32_t request, bits, size;
    const char *says;
};

static const struct bad_header bad_headers[] = {
    {VHU_GET_FEATURES, 0, 0, "flags 0x0"},
    {VHU_GET_FEATURES, 2, 0, "flags 0x2"},
    {VHU_GET_FEATURES, 3, 0, "flags 0x3"},
    {VHU_GET_FEATURES, 0xfffffff8, 0, "flags 0xfffffff8"},
    {VHU_GET_FEATURES, V | VHU_FLAG_REPLY, 0, "flags 0x5"},
    {VHU_GET_FEATURES, ASK | VHU_FLAG_REPLY, 0, "flags 0xd"},
    {0, V, 0, "request 0"},
    {0xffffffff, V, 0, "request 4294967295"},
    {0x80000001, V, 0, "request 2147483649"},
    {LAST_REQUEST, V, 0, "request 45"},
    {VHU_GET_FEATURES, V, 0x80000000, "2147483648 bytes"},
    {VHU_GET_FEATURES, V, 0xffffffff, "4294967295 bytes"},
    {VHU_SET_FEATURES, V, 7, "7 bytes"},
    {VHU_SET_FEATURES, V, 9, "9 bytes"},
    {VHU_SET_MEM_TABLE, V, 7, "7 bytes"},
    {VHU_SET_MEM_TABLE, V, 8 + 9 * 32, "296 bytes"},
    {VHU_SET_VRING_ADDR, V, 39, "39 bytes"},
    {VHU_SET_VRING_ADDR, V, 41, "41 bytes"},
    {VHU_SET_VRING_KICK, V, 0, "0 bytes"},
    {VHU_GET_CONFIG, V, 11, "11 bytes"},
    {VHU_GET_CONFIG, V, 269, "269 bytes"},
    {VHU_SET_CONFIG, V, 0x7fffffff, "2147483647 bytes"},
    {VHU_ADD_MEM_REG, V, 32, "32 bytes"},
    {VHU_REM_MEM_REG, V, 48, "48 bytes"},
};

static void headers(struct world *w)
{
    static uint8_t waste[4096];
    for (size_t i = 0; i < sizeof(bad_headers) / sizeof(bad_headers[0]); i++) {
        const struct bad_header *b = &bad_headers[i];
        uint32_t header[3] = {b->request, b->bits, b->size};
        struct fe fe;
        MUST(evil_connect(w, &fe));
        fe_write(&fe, header, sizeof(header), NULL, 0);
        fe_write(&fe, waste, b->size < sizeof(waste) ? b->size : sizeof(waste), NULL, 0);
        bool good = evil_hung_up(&fe, b->says) && evil_event(w, "device.disconnected", b->says);
        fe_disconnect(&fe);
        MUST(good);
    }
}

/* What it makes of a message that may be too short, too long or unknown: it hangs up or goes on. */
static bool size_once(struct world *w, struct fe *fe, bool *open, uint32_t request, uint32_t size)
{
    static const uint8_t nothing[512];
    struct fe_msg m;
    if (!*open && !evil_connect(w, fe))
        return false;
    fe_send(fe, request, V, nothing, size, NULL, 0);
    fe_send(fe, VHU_GET_PROTOCOL_FEATURES, V, NULL, 0, NULL, 0);
    int err;
    while ((err = fe_recv(fe, &m)) == 0 && m.header.request != VHU_GET_PROTOCOL_FEATURES)
        fe_msg_close(&m);
    *open = err == 0;
    if (!err)
        return true;
    fe_disconnect(fe);
    return err != -ETIMEDOUT || row_fail("after request %u of %u bytes nothing is answered",
                                         request, size);
}

static void sizes(struct world *w)
{
    struct fe fe;
    bool open = false;
    for (uint32_t request = 0; request <= LAST_REQUEST; request++)
        for (uint32_t size = 0; size <= 300; size += size < 48 || w->all ? 1 : 37)
            if (request != VHU_GET_PROTOCOL_FEATURES)
                MUST(size_once(w, &fe, &open, request, size));
    if (open)
        fe_disconnect(&fe);
}

/* ---- class 15: descriptors ------------------------------------------------------------------- */

static uint32_t usual_size(uint32_t request)
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

/* Protocol features as asked for, no ring. */
static bool connect_speaking(struct world *w, struct fe *fe)
{
    return evil_connect(w, fe) &&
           (fe_negotiate(fe, FE_BIT(VHU_F_PROTOCOL_FEATURES) | FE_BIT(32), ALL_PROTO) == 0 ||
            row_fail("%s", fe->error));
}

/* Each request with 0 to 9 and 32 descriptors, in one piece or with more in the second. */
static void descriptors(struct world *w)
{
    static const uint8_t nothing[64];
    int fds[FE_FDS_MAX];
    unsigned rounds = w->all ? 25 : 1, sent = 0;
    struct fe fe;
    bool open = false;
    for (unsigned i = 0; i < FE_FDS_MAX; i++)
        fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (unsigned round = 0; round < rounds && !row_failed(); round++) {
        for (uint32_t request = 1; request <= LAST_REQUEST; request++) {
            for (unsigned n = 0; n <= 10 && !row_failed(); n++) {
                struct fe_msg reply;
                uint8_t bytes[VHU_HEADER_SIZE + 64];
                unsigned fd_count = n == 10 ? FE_FDS_MAX : n;
                size_t len = fe_encode(bytes, request, ASK, nothing, usual_size(request));
                if (!open && !connect_speaking(w, &fe))
                    break;
                open = fe_write(&fe, bytes, len / 2, fds, fd_count) == 0 &&
                       fe_write(&fe, bytes + len / 2, len - len / 2, fds,
                                round % 2 ? n % 3 : 0) == 0;
                sent++;
                open = open && fe_recv(&fe, &reply) == 0;
                if (open)
                    fe_msg_close(&reply);
                else
                    fe_disconnect(&fe);
            }
        }
    }
    if (open)
        fe_disconnect(&fe);
    for (unsigned i = 0; i < FE_FDS_MAX; i++)
        close(fds[i]);
    CHECK(sent >= rounds * 400, "only %u messages were sent", sent);
}

/* The same descriptors over and over: the ones before are closed. */
static void replaced(struct world *w)
{
    unsigned rounds = w->all ? 10000 : 500;
    MUST(evil_open(w, NULL));
    struct fe *fe = &w->a.fe;
    for (unsigned i = 0; i < rounds; i++) {
        CHECK(fe_vring_fd(fe, VHU_SET_VRING_CALL, 0, fe->vring[0].call_peer) == 0 &&
              fe_vring_fd(fe, VHU_SET_VRING_ERR, 0, fe->vring[0].err) == 0 &&
              fe_vring_fd(fe, VHU_SET_VRING_KICK, 0, fe->vring[0].kick) == 0, "%s", fe->error);
        if (i % 100 == 0)
            CHECK(fe_open_channel(fe) == 0, "%s", fe->error);
    }
    MUST(evil_works(w, &w->a));
}

/* ---- class 12: the config space -------------------------------------------------------------- */

#define PIPELINED 32u
#define REACH 0x200u

struct ask {
    uint32_t offset, size;
};

static bool config_answer(struct fe *fe, const struct ask *ask, const uint8_t whole[256])
{
    struct fe_msg reply;
    struct vhu_config got;
    if (fe_recv(fe, &reply) < 0)
        return row_fail("GET_CONFIG of %u at %u: %s", ask->size, ask->offset, fe->error);
    fe_msg_close(&reply);
    bool fits = ask->size <= VHU_CONFIG_MAX && ask->offset <= VHU_CONFIG_MAX - ask->size;
    uint32_t want = fits ? VHU_CONFIG_HEADER_SIZE + ask->size : 0;
    if (reply.header.size != want)
        return row_fail("GET_CONFIG of %u at %u is answered with %u bytes, not %u", ask->size,
                        ask->offset, reply.header.size, want);
    if (!fits)
        return true;
    memcpy(&got, reply.payload, want);
    return (got.offset == ask->offset && got.size == ask->size &&
            memcmp(got.data, whole + ask->offset, ask->size) == 0) ||
           row_fail("GET_CONFIG of %u at %u has wrong bytes", ask->size, ask->offset);
}

static bool config_batch(struct fe *fe, const struct ask *ask, unsigned n, const uint8_t *whole)
{
    uint8_t bytes[PIPELINED * (VHU_HEADER_SIZE + VHU_CONFIG_HEADER_SIZE)] = {0}, *at = bytes;
    for (unsigned i = 0; i < n; i++) {
        uint32_t payload[3] = {ask[i].offset, ask[i].size, 0};
        at += fe_encode(at, VHU_GET_CONFIG, V, payload, sizeof(payload));
    }
    if (fe_write(fe, bytes, (size_t)(at - bytes), NULL, 0) < 0)
        return row_fail("%s", fe->error);
    for (unsigned i = 0; i < n; i++)
        if (!config_answer(fe, &ask[i], whole))
            return false;
    return true;
}

static void config_reads(struct world *w)
{
    static const uint32_t far[] = {0, 1, 60, 255, 256, 0x7fffffff, 0x80000000, 0xfffffffe,
                                   0xffffffff};
    uint8_t whole[VHU_CONFIG_MAX] = {0};
    struct ask ask[PIPELINED];
    unsigned n = 0, step = w->all ? 1 : 3;
    MUST(evil_open(w, NULL));
    memcpy(whole, &w->a.config, 60); /* what follows is 0 */
    for (uint32_t offset = 0; offset <= REACH; offset++) {
        for (uint32_t size = offset % step; size <= REACH; size += step) {
            ask[n++] = (struct ask){offset, size};
            if (n == PIPELINED) {
                MUST(config_batch(&w->a.fe, ask, n, whole));
                n = 0;
            }
        }
    }
    MUST(config_batch(&w->a.fe, ask, n, whole));
    n = 0;
    for (unsigned i = 0; i < 9; i++)
        for (unsigned k = 0; k < 9; k++) {
            ask[0] = (struct ask){far[i], far[k]};
            MUST(config_batch(&w->a.fe, ask, 1, whole));
        }
    MUST(evil_works(w, &w->a));
}

static void config_writes(struct world *w)
{
    static const uint32_t sizes_of[] = {0, 1, 2, 8, 60, 61, 256, 257, 0x7fffffff, 0xffffffff};
    static const uint32_t offsets[] = {0, 31, 32, 33, 59, 60, 61, 255, 256, 0x80000000, 0xfffffffe,
                                       0xffffffff};
    struct virtio_blk_config config;
    MUST(evil_open(w, NULL));
    struct fe *fe = &w->a.fe;
    for (unsigned i = 0; i < 12; i++) {
        for (unsigned k = 0; k < 10; k++) {
            struct vhu_config c = {.offset = offsets[i], .size = sizes_of[k]};
            uint32_t bytes = c.size <= VHU_CONFIG_MAX ? c.size : 0;
            bool fits = c.size <= 60 && c.offset <= 60 - c.size;
            memset(c.data, 0xff, sizeof(c.data));
            int err = fe_command(fe, VHU_SET_CONFIG, &c, VHU_CONFIG_HEADER_SIZE + bytes, NULL, 0);
            CHECK(err == (fits ? 0 : -EREMOTEIO), "SET_CONFIG of %u at %u: %s", c.size, c.offset,
                  err ? fe->error : "accepted");
            if (bytes == 0 || !fits)
                continue;
            err = fe_command(fe, VHU_SET_CONFIG, &c, VHU_CONFIG_HEADER_SIZE + bytes - 1, NULL, 0);
            MUST(evil_refused(fe, err, "SET_CONFIG with less data than it says"));
        }
    }
    CHECK(fe_get_config(fe, 0, &config, 60) == 0, "%s", fe->error);
    CHECK(memcmp(&config, &w->a.config, 60) == 0, "SET_CONFIG of 0xff changed the config space");
    MUST(evil_works(w, &w->a));
}

/* ---- classes 13, 14, 16 and 17: numbers ------------------------------------------------------ */

static void ring_index(struct world *w)
{
    static const uint32_t states[] = {VHU_SET_VRING_NUM, VHU_SET_VRING_BASE, VHU_SET_VRING_ENABLE};
    static const uint32_t fds[] = {VHU_SET_VRING_KICK, VHU_SET_VRING_CALL, VHU_SET_VRING_ERR};
    static const uint32_t bad[] = {2, 3, 0x7f, 0xff, 0x100, 0x7fffffff, 0x80000000, 0xffffffff};
    MUST(evil_open(w, NULL)); /* of two queues */
    struct fe *fe = &w->a.fe;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct vhu_vring_state state = {bad[i], 1};
        struct vhu_vring_addr addr = {.index = bad[i]};
        for (unsigned k = 0; k < 3; k++) {
            MUST(evil_refused(fe, fe_command(fe, states[k], &state, 8, NULL, 0), "a ring state"));
            uint64_t value = (bad[i] & 0xff) ? bad[i] & 0xff : 0xff;
            MUST(evil_refused(fe, fe_command(fe, fds[k], &value, 8, &fe->vring[0].err, 1),
                              "a descriptor of a ring"));
            value |= VHU_NO_FD;
            MUST(evil_refused(fe, fe_command(fe, fds[k], &value, 8, NULL, 0), "no descriptor"));
        }
        MUST(evil_refused(fe, fe_command(fe, VHU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0),
                          "SET_VRING_ADDR"));
    }
    MUST(evil_works(w, &w->a));
    uint32_t base; /* the answer to a base of a ring that is not there is the end */
    CHECK(fe_vring_get_base(fe, 0xff, &base) < 0, "GET_VRING_BASE of ring 255 is answered");
    MUST(evil_hung_up(fe, "GET_VRING_BASE of ring 255") &&
         evil_event(w, "device.disconnected", "ring 255|with 2"));
}

static void ring_size(struct world *w)
{
    static const uint32_t bad[] = {0, 3, 100, 1023, 1025, 2048, 32768, 65535, 65536, 0x80000000,
                                   0xffffffff};
    const struct blkdev_options o = {.event_idx = true, .no_start = true};
    for (unsigned started = 0; started < 2; started++) {
        MUST(evil_open(w, started ? NULL : &o));
        struct fe *fe = &w->a.fe;
        for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
            MUST(evil_refused(fe, fe_vring_num(fe, 0, bad[i]), "a ring size"));
            MUST(!started || evil_works(w, &w->a));
        }
        MUST(evil_refused(fe, fe_vring_base(fe, 0, 65536), "base 65536"));
        MUST(evil_refused(fe, fe_vring_base(fe, 0, 0xffffffff), "base 4294967295"));
        MUST(!started || evil_works(w, &w->a));
        evil_close(w);
        MUST(evil_gone(w));
    }
}

/* A size for a ring that runs stops it; it starts again at its kick descriptor, with that size. */
static void size_after_start(struct world *w)
{
    MUST(evil_open(w, NULL) && evil_works(w, &w->a));
    struct fe *fe = &w->a.fe;
    CHECK(fe_vring_num(fe, 0, 64) == 0 && fe_barrier(fe) == 0, "%s", fe->error);
    uint16_t used = ring_shared_used_idx(&w->a.ring[0]);
    MUST(evil_burst(&w->a, 4, VIRTIO_BLK_T_IN, NULL, 4096));
    MUST(churn_flows(&w->neighbour, 32));
    MUST(evil_untouched(&w->a, used)); /* a ring that was given a size does not go on */
    MUST(evil_reset(w, &w->a));
}

/* A base far from the available index: the driver is told, nothing is read in the past. */
static void wrong_base(struct world *w)
{
    const struct blkdev_options o = {.event_idx = true, .no_start = true};
    MUST(evil_open(w, &o));
    CHECK(blkdev_share(&w->a) == 0 &&
          fe_ring_start(&w->a.fe, 0, &w->a.ring[0], &w->a.mem, 40000) == 0, "%s", w->a.fe.error);
    MUST(evil_kick(&w->a) &&
         evil_broken(w, &w->a, "from 40000 to 0|128 entries", 0, clock_ns(), NULL) &&
         evil_reset(w, &w->a));
}

struct bad_region {
    uint64_t gpa, size, uva, offset;
};

static void region_numbers(struct world *w)
{
    static const struct bad_region bad[] = {
        {GPA_FAR, 4096, 1 << 20, UINT64_MAX},       {GPA_FAR, UINT64_MAX, 1 << 20, 1},
        {GPA_FAR, 4096, 1 << 20, UINT64_MAX - 4095}, {GPA_FAR, 8192, 1 << 20, 0},
        {GPA_FAR, 4096, 1 << 20, 4096},             {GPA_FAR, 0, 1 << 20, 0},
        {UINT64_MAX - 4094, 4096, 1 << 20, 0},      {GPA_FAR, 4096, UINT64_MAX - 4094, 0},
        {GPA_FAR, 1ull << 63, 1 << 20, 1ull << 63}, {GPA_FAR, INT64_MAX, 1 << 20, 1},
        {BLKDEV_GPA, 4096, 1 << 20, 0},             {BLKDEV_GPA - 4095, 4096, 1 << 20, 0},
        {GPA_FAR, 1ull << 47, 1 << 20, 0},
    };
    MUST(evil_open(w, NULL));
    struct fe *fe = &w->a.fe;
    int fd = memfd_create("small", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fd >= 0 && ftruncate(fd, 4096) == 0, "no memfd");
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]) && !row_failed(); i++) {
        const struct bad_region *b = &bad[i];
        struct vhu_mem_slot slot = {0, {b->gpa, b->size, b->uva, b->offset}};
        struct vhu_mem_table table = {.count = 1, .region = {slot.region}};
        evil_refused(fe, fe_command(fe, VHU_ADD_MEM_REG, &slot, sizeof(slot), &fd, 1), "a region");
        if (fe_command(fe, VHU_REM_MEM_REG, &slot, sizeof(slot), NULL, 0) != 0)
            row_fail("REM_MEM_REG of a region that is not there: %s", fe->error);
        if (b->gpa == GPA_FAR || b->gpa > GPA_FAR)
            evil_refused(fe, fe_command(fe, VHU_SET_MEM_TABLE, &table, 40, &fd, 1), "a table");
    }
    close(fd);
    MUST(!row_failed() && evil_works(w, &w->a));
}

/* Counts that do not fit the bytes or the descriptors, and more regions than there are slots. */
static void region_counts(struct world *w)
{
    static const uint32_t counts[] = {1, 2, 8, 9, 0x08000001, 0xffffffff};
    struct vhu_mem_table table = {.count = 0};
    int fds[16];
    MUST(evil_open(w, NULL));
    struct fe *fe = &w->a.fe;
    for (unsigned i = 0; i < 16; i++)
        fds[i] = w->a.mem.region[0].fd;
    for (unsigned i = 0; i < 8; i++)
        table.region[i] = (struct vhu_region){GPA_FAR + i * 4096, 4096, 0x1000000 + i * 4096, 0};
    for (unsigned i = 0; i < 6; i++) {
        table.count = counts[i];
        MUST(evil_refused(fe, fe_command(fe, VHU_SET_MEM_TABLE, &table, 8, fds, 0), "a table"));
        MUST(evil_refused(fe, fe_command(fe, VHU_SET_MEM_TABLE, &table, sizeof(table), fds,
                                         counts[i] == 1 ? 2 : 1), "a table"));
    }
    unsigned n = 1;
    for (; n < 200; n++) {
        struct vhu_mem_slot slot = {0, {GPA_FAR + n * 4096, 4096, 0x1000000 + n * 4096, 0}};
        if (fe_command(fe, VHU_ADD_MEM_REG, &slot, sizeof(slot), fds, 1) != 0)
            break;
    }
    CHECK(n == fe->mem_slots, "%u regions fit, %llu slots were announced: %s", n,
          (unsigned long long)fe->mem_slots, fe->error);
    MUST(evil_works(w, &w->a));
}

/* Files that are none, or must not be written. */
static void region_files(struct world *w)
{
    struct vhu_mem_slot slot = {0, {GPA_FAR, 4096, 0x1000000, 0}};
    int fd[8], pipes[2], n = 0;
    MUST(evil_open(w, NULL));
    CHECK(pipe2(pipes, O_CLOEXEC) == 0, "no pipe");
    fd[n++] = pipes[0];
    fd[n++] = pipes[1];
    fd[n++] = eventfd(0, EFD_CLOEXEC);
    fd[n++] = open("/tmp", O_RDONLY | O_CLOEXEC);
    fd[n++] = open("/dev/null", O_RDWR | O_CLOEXEC);
    fd[n++] = open(in_dir(&w->d, "i/f").s, O_RDONLY | O_CLOEXEC);
    fd[n++] = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(ftruncate(fd[n - 1], 4096) == 0 &&
          fcntl(fd[n - 1], F_ADD_SEALS, F_SEAL_WRITE) == 0, "no sealed memfd");
    fd[n++] = open(in_dir(&w->d, "i/f").s, O_PATH | O_CLOEXEC);
    for (int i = 0; i < n; i++) {
        if (!row_failed())
            evil_refused(&w->a.fe, fe_command(&w->a.fe, VHU_ADD_MEM_REG, &slot, sizeof(slot),
                                              &fd[i], 1), "a region of a strange file");
        close(fd[i]);
    }
    MUST(!row_failed() && evil_works(w, &w->a));
}

/*
 * Logs and in-flight memory are not offered: whoever sends them is turned away, fds and all. Read as
 * one of those, the payload has an offset and a size that overflow, and 65535 queues.
 */
static void not_offered(struct world *w)
{
    const uint32_t *requests = w->arg; /* two */
    static const uint64_t payload[3] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    int fd = memfd_create("log", MFD_CLOEXEC);
    for (unsigned i = 0; i < 4 && !row_failed(); i++) {
        char says[32];
        struct fe fe;
        if (!connect_speaking(w, &fe))
            break;
        snprintf(says, sizeof(says), "request %u", requests[i % 2]);
        fe_send(&fe, requests[i % 2], i < 2 ? ASK : V, payload, sizeof(payload), &fd, 1);
        if (evil_hung_up(&fe, says))
            evil_event(w, "device.disconnected", says);
        fe_disconnect(&fe);
    }
    close(fd);
}

static const uint32_t log_requests[] = {VHU_SET_LOG_BASE, VHU_SET_LOG_FD};
static const uint32_t inflight_requests[] = {VHU_GET_INFLIGHT_FD, VHU_SET_INFLIGHT_FD};

/* ---- class 21: stalls and floods ------------------------------------------------------------- */

/* Half a message, and nothing more: others are served, and the disk can be removed. */
static void stall(struct world *w)
{
    const struct vhu_mem_table table = {.count = 8};
    uint8_t bytes[VHU_HEADER_SIZE + sizeof(table)];
    size_t len = fe_encode(bytes, VHU_SET_MEM_TABLE, ASK, &table, sizeof(table));
    int fd[8];
    for (unsigned i = 0; i < 8; i++)
        fd[i] = eventfd(0, EFD_CLOEXEC);
    for (size_t part = 1; part < len; part += part < 14 ? 1 : 61) {
        struct fe fe, second;
        if (!evil_connect(w, &fe))
            break;
        bool good = fe_write(&fe, bytes, part, fd, 8) == 0 && churn_flows(&w->neighbour, 8) &&
                    evil_connect(w, &second);
        if (good) {
            evil_hung_up(&second, "a second front-end came");
            fe_disconnect(&second);
        }
        fe_disconnect(&fe);
        if (row_failed())
            break;
    }
    for (unsigned i = 0; i < 8; i++)
        close(fd[i]);
}

/* The answers are not read: the daemon has to stop reading as well, not to store them. */
static void deaf_flood(struct world *w)
{
    uint8_t bytes[64 * VHU_HEADER_SIZE];
    struct fe fe;
    unsigned long sent = 0;
    MUST(evil_connect(w, &fe));
    for (unsigned i = 0; i < 64; i++)
        fe_encode(bytes + i * VHU_HEADER_SIZE, VHU_GET_FEATURES, V, NULL, 0);
    struct pollfd p = {.fd = fe.sock, .events = POLLOUT};
    while (poll(&p, 1, 200) == 1 && !(p.revents & (POLLHUP | POLLERR)) && sent < 100000000) {
        ssize_t n = send(fe.sock, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? (unsigned long)n : 0;
    }
    bool alive = fe_alive(&fe) || sent > 0;
    bool good = churn_flows(&w->neighbour, 32);
    fe_disconnect(&fe);
    CHECK(alive && good, "the connection ended");
    CHECK(sent < 100000000, "%lu bytes of requests were taken and no answer was read", sent);
}

static void flood(struct world *w)
{
    uint8_t bytes[64 * (VHU_HEADER_SIZE + VHU_CONFIG_HEADER_SIZE)], answers[65536], *at = bytes;
    const uint32_t payload[3] = {0, 60, 0};
    uint64_t deadline = clock_deadline(w->all ? 3000 : 400);
    MUST(evil_open(w, NULL));
    for (unsigned i = 0; i < 64; i++)
        at += fe_encode(at, VHU_GET_CONFIG, V, payload, sizeof(payload));
    while (clock_left_ms(deadline) > 0) {
        send(w->a.fe.sock, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
        while (recv(w->a.fe.sock, answers, sizeof(answers), MSG_DONTWAIT) > 0)
            ;
    }
    CHECK(fe_alive(&w->a.fe) || !row_failed(), "the connection ended");
}

/* Messages that make the worker do something, as fast as they are answered. */
static void ring_flood(struct world *w)
{
    uint64_t deadline = clock_deadline(w->all ? 3000 : 400);
    MUST(evil_open(w, NULL));
    struct fe *fe = &w->a.fe;
    while (clock_left_ms(deadline) > 0) {
        uint32_t base;
        CHECK(fe_vring_enable(fe, 0, false) == 0 && fe_vring_enable(fe, 0, true) == 0 &&
              fe_vring_fd(fe, VHU_SET_VRING_CALL, 0, fe->vring[0].call_peer) == 0 &&
              fe_vring_get_base(fe, 0, &base) == 0 &&
              fe_vring_fd(fe, VHU_SET_VRING_KICK, 0, fe->vring[0].kick) == 0, "%s", fe->error);
    }
    MUST(evil_works(w, &w->a));
}

static void connect_flood(struct world *w)
{
    MUST(evil_open(w, NULL));
    for (unsigned i = 0; i < (w->all ? 2000u : 200u); i++) {
        struct fe fe[4];
        for (unsigned k = 0; k < 4; k++)
            MUST(evil_connect(w, &fe[k]));
        bool good = evil_hung_up(&fe[3], "a second front-end came");
        for (unsigned k = 0; k < 4; k++)
            fe_disconnect(&fe[k]);
        MUST(good);
    }
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
        fe_send(&fe, requests[i], V, nothing, usual_size(requests[i]), NULL, 0);
        bool good = evil_hung_up(&fe, "a request that was not negotiated") &&
                    evil_event(w, "device.disconnected", "was not negotiated");
        fe_disconnect(&fe);
        MUST(good);
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

const struct evil_row message_rows[] = {
    {"c12-config-reads", config_reads, 0, NULL},
    {"c12-config-writes", config_writes, 0, NULL},
    {"c13-ring-index", ring_index, 0, NULL},
    {"c14-ring-size", ring_size, 0, NULL},
    {"c14-size-after-start", size_after_start, ON_EACH, NULL},
    {"c14-base-far-away", wrong_base, ON_EACH, NULL},
    {"c15-descriptors", descriptors, 0, NULL},
    {"c15-replaced", replaced, 0, NULL},
    {"c16-region-numbers", region_numbers, 0, NULL},
    {"c16-region-counts", region_counts, 0, NULL},
    {"c16-region-files", region_files, 0, NULL},
    {"c16-log", not_offered, 0, log_requests},
    {"c17-inflight", not_offered, 0, inflight_requests},
    {"c20-byte-by-byte", byte_by_byte, ON_EACH, NULL},
    {"c20-headers", headers, 0, NULL},
    {"c20-sizes", sizes, 0, NULL},
    {"c20-dying-at-each-message", dying, ON_EACH, NULL},
    {"c21-half-a-message", stall, 0, NULL},
    {"c21-deaf-flood", deaf_flood, 0, NULL},
    {"c21-flood", flood, 0, NULL},
    {"c21-ring-flood", ring_flood, 0, NULL},
    {"c21-connect-flood", connect_flood, 0, NULL},
    {"c28-features-not-offered", unoffered_features, 0, NULL},
    {"c28-features-while-running", features_while_running, 0, NULL},
    {"c28-without-version-1", without_version_1, 0, NULL},
    {"c28-early", early, 0, NULL},
    {"c28-status", status_bits, 0, NULL},
    {"c28-not-negotiated", not_negotiated, 0, NULL},
    {NULL, NULL, 0, NULL},
};
