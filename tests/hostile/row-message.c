/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * row-message.c - the message stream: wrong headers and sizes (class 20), descriptors that come
 * with messages (class 15), stalls and floods (class 21).
 */
#include "hostile.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LAST_REQUEST 45u

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
    {VHU_GET_FEATURES, SAY | VHU_FLAG_REPLY, 0, "flags 0x5"},
    {VHU_GET_FEATURES, ASK | VHU_FLAG_REPLY, 0, "flags 0xd"},
    {0, SAY, 0, "request 0"},
    {0xffffffff, SAY, 0, "request 4294967295"},
    {0x80000001, SAY, 0, "request 2147483649"},
    {LAST_REQUEST, SAY, 0, "request 45"},
    {VHU_GET_FEATURES, SAY, 0x80000000, "2147483648 bytes"},
    {VHU_GET_FEATURES, SAY, 0xffffffff, "4294967295 bytes"},
    {VHU_SET_FEATURES, SAY, 7, "7 bytes"},
    {VHU_SET_FEATURES, SAY, 9, "9 bytes"},
    {VHU_SET_MEM_TABLE, SAY, 7, "7 bytes"},
    {VHU_SET_MEM_TABLE, SAY, 8 + 9 * 32, "296 bytes"},
    {VHU_SET_VRING_ADDR, SAY, 39, "39 bytes"},
    {VHU_SET_VRING_ADDR, SAY, 41, "41 bytes"},
    {VHU_SET_VRING_KICK, SAY, 0, "0 bytes"},
    {VHU_GET_CONFIG, SAY, 11, "11 bytes"},
    {VHU_GET_CONFIG, SAY, 269, "269 bytes"},
    {VHU_SET_CONFIG, SAY, 0x7fffffff, "2147483647 bytes"},
    {VHU_ADD_MEM_REG, SAY, 32, "32 bytes"},
    {VHU_REM_MEM_REG, SAY, 48, "48 bytes"},
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
    fe_send(fe, request, SAY, nothing, size, NULL, 0);
    fe_send(fe, VHU_GET_PROTOCOL_FEATURES, SAY, NULL, 0, NULL, 0);
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
                size_t len = fe_encode(bytes, request, ASK, nothing, evil_usual_size(request));
                if (!open && !evil_connect_speaking(w, &fe))
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
        fe_encode(bytes + i * VHU_HEADER_SIZE, VHU_GET_FEATURES, SAY, NULL, 0);
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
        at += fe_encode(at, VHU_GET_CONFIG, SAY, payload, sizeof(payload));
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

/* ---- the table ------------------------------------------------------------------------------- */

const struct evil_row message_rows[] = {
    {"c15-descriptors", descriptors, 0, NULL},
    {"c15-replaced", replaced, 0, NULL},
    {"c20-headers", headers, 0, NULL},
    {"c20-sizes", sizes, 0, NULL},
    {"c21-half-a-message", stall, 0, NULL},
    {"c21-deaf-flood", deaf_flood, 0, NULL},
    {"c21-flood", flood, 0, NULL},
    {"c21-ring-flood", ring_flood, 0, NULL},
    {"c21-connect-flood", connect_flood, 0, NULL},
    {NULL, NULL, 0, NULL},
};
