/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * row-number.c - numbers in messages: offsets and sizes in the config space (class 12), rings and
 * their sizes (13 and 14), regions of memory (16), logs and in-flight memory (16 and 17).
 */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

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
        at += fe_encode(at, VHU_GET_CONFIG, SAY, payload, sizeof(payload));
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
 * Logs and in-flight memory are not offered: whoever sends them is turned away, fds and all. Read
 * as one of those, the payload has an offset and a size that overflow, and 65535 queues.
 */
static void not_offered(struct world *w)
{
    const uint32_t *requests = w->arg; /* two */
    static const uint64_t payload[3] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    int fd = memfd_create("log", MFD_CLOEXEC);
    for (unsigned i = 0; i < 4 && !row_failed(); i++) {
        char says[32];
        struct fe fe;
        if (!evil_connect_speaking(w, &fe))
            break;
        snprintf(says, sizeof(says), "request %u", requests[i % 2]);
        fe_send(&fe, requests[i % 2], i < 2 ? ASK : SAY, payload, sizeof(payload), &fd, 1);
        if (evil_hung_up(&fe, says))
            evil_event(w, "device.disconnected", says);
        fe_disconnect(&fe);
    }
    close(fd);
}

static const uint32_t log_requests[] = {VHU_SET_LOG_BASE, VHU_SET_LOG_FD};
static const uint32_t inflight_requests[] = {VHU_GET_INFLIGHT_FD, VHU_SET_INFLIGHT_FD};

/* ---- the table ------------------------------------------------------------------------------- */

const struct evil_row number_rows[] = {
    {"c12-config-reads", config_reads, 0, NULL},
    {"c12-config-writes", config_writes, 0, NULL},
    {"c13-ring-index", ring_index, 0, NULL},
    {"c14-ring-size", ring_size, 0, NULL},
    {"c14-size-after-start", size_after_start, ON_EACH, NULL},
    {"c14-base-far-away", wrong_base, ON_EACH, NULL},
    {"c16-region-numbers", region_numbers, 0, NULL},
    {"c16-region-counts", region_counts, 0, NULL},
    {"c16-region-files", region_files, 0, NULL},
    {"c16-log", not_offered, 0, log_requests},
    {"c17-inflight", not_offered, 0, inflight_requests},
    {NULL, NULL, 0, NULL},
};
