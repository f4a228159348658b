/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blk.c - tests of the blk plugin, linked with its files, on the harness.
 *
 * Each test makes its own directory with its own image and removes it. Many run once for each way
 * of doing I/O (the rows of `ways`), because the guest must not see a difference.
 */
#include <criterion/criterion.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <hvv/harness.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/virtio_blk.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1024u * 1024u)
#define UNTOUCHED 0xeeu /* a status no device writes */

/* One image in one directory, and one device on it. */
struct rig {
    char dir[64], path[80];
    struct hvv_harness h;
    uint8_t status;
    uint32_t written;
    const char *failed;
};

static const char *const ways[] = {
    "engine=uring", "engine=threads", "direct,engine=uring", "direct,engine=threads",
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static void image_make(struct rig *rig, const char *base, off_t size)
{
    memset(rig, 0, sizeof(*rig));
    snprintf(rig->dir, sizeof(rig->dir), "%s/hvv-blk-XXXXXX", base);
    cr_assert(mkdtemp(rig->dir));
    snprintf(rig->path, sizeof(rig->path), "%s/disk.img", rig->dir);
    int fd = open(rig->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert(fd >= 0 && ftruncate(fd, size) == 0);
    close(fd);
}

static void image_remove(struct rig *rig)
{
    unlink(rig->path);
    cr_assert(rmdir(rig->dir) == 0);
}

/* What an operator writes for the image, with these options. */
static const char *spec_of(const struct rig *rig, const char *options, char spec[256])
{
    snprintf(spec, 256, "%s%s%s", rig->path, options[0] ? "," : "", options);
    return spec;
}

static int32_t try_open(struct rig *rig, const char *options)
{
    char spec[256];
    return hvv_harness_open(&rig->h, hvv_plugin_v1(), spec_of(rig, options, spec));
}

static void rig_open_in(struct rig *rig, const char *base, off_t size, const char *options)
{
    image_make(rig, base, size);
    cr_assert(try_open(rig, options) == 0, "%s: %s", options, rig->h.error);
    hvv_harness_start(&rig->h);
}

static void rig_open(struct rig *rig, off_t size, const char *options)
{
    rig_open_in(rig, "/tmp", size, options);
}

static void rig_close(struct rig *rig)
{
    cr_assert(hvv_harness_close(&rig->h), "something was left behind");
    image_remove(rig);
}

static struct virtio_blk_outhdr header(uint32_t type, uint64_t sector)
{
    return (struct virtio_blk_outhdr){.type = htole32(type), .sector = htole64(sector)};
}

/* Sends one chain of any shape and waits for it; the status is wherever the test put it. */
static void send_shape(struct rig *rig, const struct iovec *r, uint32_t n_r, const struct iovec *w,
                       uint32_t n_w)
{
    struct hvv_harness_chain *chain = hvv_harness_send(&rig->h, 0, r, n_r, w, n_w);
    hvv_harness_kick(&rig->h, 0);
    cr_assert(hvv_harness_wait(&rig->h, chain), "the chain never came back");
    rig->written = chain->written;
    rig->failed = chain->failed;
}

/* The usual shape: header, data, status each in a descriptor of its own. Returns the status. */
static uint8_t request(struct rig *rig, uint32_t type, uint64_t sector, void *data, size_t bytes)
{
    struct virtio_blk_outhdr head = header(type, sector);
    bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
    struct iovec r[2] = {{&head, sizeof(head)}, {data, bytes}};
    struct iovec w[2] = {{data, bytes}, {&rig->status, 1}};
    rig->status = UNTOUCHED;
    send_shape(rig, r, in || !bytes ? 1 : 2, in ? w : w + 1, in ? 2 : 1);
    return rig->status;
}

static uint8_t range_request(struct rig *rig, uint32_t type, uint64_t sector, uint32_t sectors,
                             uint32_t flags)
{
    struct virtio_blk_discard_write_zeroes range = {htole64(sector), htole32(sectors),
                                                    htole32(flags)};
    return request(rig, type, 0, &range, sizeof(range));
}

/* 4096-aligned memory with a pattern in it. */
static uint8_t *pattern(size_t bytes, unsigned int seed)
{
    uint8_t *p = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    cr_assert(p);
    for (size_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)(i * 7 + i / 512 + seed);
    return p;
}

static void file_read(struct rig *rig, off_t offset, void *data, size_t bytes)
{
    int fd = open(rig->path, O_RDONLY | O_CLOEXEC);
    cr_assert(fd >= 0);
    cr_assert(pread(fd, data, bytes, offset) == (ssize_t)bytes);
    close(fd);
}

static off_t file_size(struct rig *rig)
{
    struct stat st;
    cr_assert(stat(rig->path, &st) == 0);
    return st.st_size;
}

static void expect_file(struct rig *rig, off_t offset, const void *want, size_t bytes)
{
    uint8_t *have = pattern(bytes, 99);
    file_read(rig, offset, have, bytes);
    cr_assert(memcmp(have, want, bytes) == 0, "the image differs at %lld", (long long)offset);
    free(have);
}

static struct virtio_blk_config config_of(const struct hvv_harness *h)
{
    struct virtio_blk_config config = {0};
    memcpy(&config, h->config, h->config_size);
    return config;
}

/* ---- Data ------------------------------------------------------------------------------------ */

static void check_read_write(struct rig *rig)
{
    uint8_t *out = pattern(64 * 1024, 1), *in = pattern(64 * 1024, 2);
    cr_assert_eq(request(rig, VIRTIO_BLK_T_OUT, 16, out, 64 * 1024), VIRTIO_BLK_S_OK);
    cr_assert_eq(rig->written, 1u);
    expect_file(rig, 16 * 512, out, 64 * 1024);
    cr_assert_eq(request(rig, VIRTIO_BLK_T_IN, 16, in, 64 * 1024), VIRTIO_BLK_S_OK);
    cr_assert_eq(rig->written, 64 * 1024u + 1);
    cr_assert(memcmp(in, out, 64 * 1024) == 0);
    cr_assert_eq(request(rig, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), VIRTIO_BLK_S_OK);
    cr_assert_eq(hvv_harness_counter(&rig->h, "reads"), 1u);
    cr_assert_eq(hvv_harness_counter(&rig->h, "writes"), 1u);
    cr_assert_eq(hvv_harness_counter(&rig->h, "flushes"), 1u);
    cr_assert_eq(hvv_harness_counter(&rig->h, "read-bytes"), 64 * 1024u);
    free(out);
    free(in);
}

Test(blk, read_write_flush)
{
    for (size_t i = 0; i < WAYS; i++) {
        struct rig rig;
        rig_open(&rig, MIB, ways[i]);
        check_read_write(&rig);
        rig_close(&rig);
    }
}

Test(blk, image_in_memory_is_done_inline)
{
    struct rig rig;
    rig_open_in(&rig, "/dev/shm", MIB, "engine=uring");
    check_read_write(&rig);
    cr_assert_eq(hvv_harness_counter(&rig.h, "inline"), 2u);
    rig_close(&rig);
}

/* Header cut in three, data in odd places, status behind the data in one descriptor. */
static void check_shapes(struct rig *rig)
{
    uint8_t *out = pattern(8192, 3), *in = pattern(8192 + 1, 4);
    struct virtio_blk_outhdr head = header(VIRTIO_BLK_T_OUT, 8);
    uint8_t merged[sizeof(head) + 512];
    uint8_t *h = (uint8_t *)&head, status = UNTOUCHED;
    memcpy(merged, &head, sizeof(head));
    memcpy(merged + sizeof(head), out, 512);
    struct iovec r1[] = {{merged, sizeof(merged)}, {out + 512, 7000}, {out + 7512, 680}};
    struct iovec w1[] = {{&status, 1}};
    send_shape(rig, r1, 3, w1, 1);
    cr_assert_eq(status, VIRTIO_BLK_S_OK);
    expect_file(rig, 8 * 512, out, 8192);

    head = header(VIRTIO_BLK_T_IN, 8);
    struct iovec r2[] = {{h, 3}, {h + 3, 12}, {h + 15, 1}};
    struct iovec w2[] = {{in, 100}, {in + 100, 8192 - 100 + 1}};
    in[8192] = UNTOUCHED;
    send_shape(rig, r2, 3, w2, 2);
    cr_assert_eq(in[8192], VIRTIO_BLK_S_OK);
    cr_assert_eq(rig->written, 8193u);
    cr_assert(memcmp(in, out, 8192) == 0);
    free(out);
    free(in);
}

Test(blk, headers_and_status_split_and_merged)
{
    for (size_t i = 0; i < WAYS; i++) {
        struct rig rig;
        rig_open(&rig, MIB, ways[i]);
        check_shapes(&rig);
        rig_close(&rig);
    }
}

Test(blk, many_small_segments_with_a_merged_status)
{
    for (size_t i = 0; i < WAYS; i++) {
        struct rig rig;
        rig_open(&rig, MIB, ways[i]);
        uint8_t *out = pattern(512 * 100, 5), *in = pattern(512 * 100 + 1, 6);
        cr_assert_eq(request(&rig, VIRTIO_BLK_T_OUT, 0, out, 512 * 100), VIRTIO_BLK_S_OK);
        struct virtio_blk_outhdr head = header(VIRTIO_BLK_T_IN, 0);
        struct iovec r[] = {{&head, sizeof(head)}}, w[100];
        for (uint32_t k = 0; k < 100; k++)
            w[k] = (struct iovec){in + k * 512, k == 99 ? 513 : 512};
        send_shape(&rig, r, 1, w, 100);
        cr_assert_eq(in[512 * 100], VIRTIO_BLK_S_OK);
        cr_assert(memcmp(in, out, 512 * 100) == 0);
        free(out);
        free(in);
        rig_close(&rig);
    }
}

Test(blk, direct_with_unaligned_buffers_bounces)
{
    for (size_t i = 2; i < WAYS; i++) {
        struct rig rig;
        rig_open(&rig, 2 * MIB, ways[i]);
        uint8_t *out = pattern(MIB + 1, 7), *in = pattern(MIB + 1, 8);
        memmove(out + 1, out, MIB);
        cr_assert_eq(request(&rig, VIRTIO_BLK_T_OUT, 0, out + 1, MIB), VIRTIO_BLK_S_OK);
        cr_assert_eq(hvv_harness_counter(&rig.h, "bounced"), 16u);
        cr_assert_eq(request(&rig, VIRTIO_BLK_T_IN, 0, in + 1, MIB), VIRTIO_BLK_S_OK);
        cr_assert(memcmp(in + 1, out + 1, MIB) == 0);
        expect_file(&rig, 0, out + 1, MIB);
        free(out);
        free(in);
        rig_close(&rig);
    }
}

/* More at once than there are bounce buffers or entries in a ring. */
static void check_flood(const char *way)
{
    enum { N = 600 };
    struct rig rig;
    rig_open(&rig, 4 * MIB, way);
    struct virtio_blk_outhdr *head = calloc(N, sizeof(*head));
    uint8_t *status = malloc(N), *data = pattern(N * 512 + 1, 9);
    struct hvv_harness_chain *chain[N];
    memset(status, UNTOUCHED, N);
    for (uint32_t k = 0; k < N; k++) {
        head[k] = header(VIRTIO_BLK_T_OUT, k);
        struct iovec r[] = {{&head[k], sizeof(*head)}, {data + 1 + k * 512, 512}};
        struct iovec w[] = {{&status[k], 1}};
        chain[k] = hvv_harness_send(&rig.h, 0, r, 2, w, 1);
    }
    hvv_harness_kick(&rig.h, 0);
    for (uint32_t k = 0; k < N; k++) {
        cr_assert(hvv_harness_wait(&rig.h, chain[k]), "chain %u with %s", k, way);
        cr_assert_eq(status[k], VIRTIO_BLK_S_OK);
    }
    expect_file(&rig, 0, data + 1, N * 512);
    free(head);
    free(status);
    free(data);
    rig_close(&rig);
}

Test(blk, a_flood_of_requests)
{
    for (size_t i = 0; i < WAYS; i++)
        check_flood(ways[i]);
}

Test(blk, stop_waits_for_what_is_under_way)
{
    for (size_t i = 0; i < WAYS; i++) {
        struct rig rig;
        rig_open(&rig, MIB, ways[i]);
        uint8_t *out = pattern(MIB, 10), status = UNTOUCHED;
        struct virtio_blk_outhdr head = header(VIRTIO_BLK_T_OUT, 0);
        struct iovec r[] = {{&head, sizeof(head)}, {out, MIB}}, w[] = {{&status, 1}};
        struct hvv_harness_chain *chain = hvv_harness_send(&rig.h, 0, r, 2, w, 1);
        hvv_harness_kick(&rig.h, 0);
        cr_assert(hvv_harness_stop(&rig.h));
        cr_assert(hvv_harness_done(&rig.h, chain));
        cr_assert_eq(status, VIRTIO_BLK_S_OK);
        hvv_harness_start(&rig.h);
        cr_assert_eq(request(&rig, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), VIRTIO_BLK_S_OK);
        free(out);
        rig_close(&rig);
    }
}

/* ---- Limits ---------------------------------------------------------------------------------- */

Test(blk, out_of_range_and_misaligned)
{
    struct rig rig;
    uint8_t data[1024] = {0};
    rig_open(&rig, MIB, "engine=auto");
    static const uint64_t far[] = {2048, 2047, 1ull << 40, UINT64_MAX, UINT64_MAX / 512,
                                   1ull << 55, INT64_MAX};
    for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
        cr_assert_eq(request(&rig, VIRTIO_BLK_T_OUT, far[i], data, 1024), VIRTIO_BLK_S_IOERR);
        cr_assert_eq(request(&rig, VIRTIO_BLK_T_IN, far[i], data, 1024), VIRTIO_BLK_S_IOERR);
        cr_assert_eq(rig.written, 0u); /* the data before the status was not written */
        cr_assert_eq(range_request(&rig, VIRTIO_BLK_T_WRITE_ZEROES, far[i], 2, 0),
                     VIRTIO_BLK_S_IOERR);
    }
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_OUT, 0, data, 513), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_IN, 0, data, 511), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_IN, 2047, data, 512), VIRTIO_BLK_S_OK);
    cr_assert_eq(file_size(&rig), (off_t)MIB);
    cr_assert_eq(hvv_harness_counter(&rig.h, "io-errors"), 23u);
    rig_close(&rig);
}

Test(blk, unknown_requests)
{
    struct rig rig;
    uint8_t data[512] = {0};
    rig_open(&rig, MIB, "engine=auto");
    static const uint32_t types[] = {2, 3, 5, 9, 12, 14, 0x80000000u, 0xffffffffu};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        cr_assert_eq(request(&rig, types[i], 0, data, 512), VIRTIO_BLK_S_UNSUPP);
    rig_close(&rig);
}

Test(blk, broken_chains_stop_the_device)
{
    struct rig rig;
    rig_open(&rig, MIB, "engine=auto");
    rig.h.forgiving = true; /* so that each has its turn */
    struct virtio_blk_outhdr head = header(VIRTIO_BLK_T_IN, 0);
    uint8_t status = UNTOUCHED;
    struct iovec r[] = {{&head, 15}}, w[] = {{&status, 1}};
    send_shape(&rig, r, 1, w, 1);
    cr_assert(strstr(rig.failed, "15") && strstr(rig.failed, "16"), "%s", rig.failed);
    r[0].iov_len = 16;
    send_shape(&rig, r, 1, NULL, 0);
    cr_assert(strstr(rig.failed, "status"), "%s", rig.failed);
    send_shape(&rig, NULL, 0, w, 1);
    cr_assert(strstr(rig.failed, "16"), "%s", rig.failed);
    cr_assert_eq(status, UNTOUCHED);
    rig_close(&rig);
}

Test(blk, read_only)
{
    struct rig rig;
    uint8_t data[512] = {1};
    rig_open(&rig, MIB, "ro");
    cr_assert(rig.h.offered & 1ull << VIRTIO_BLK_F_RO);
    cr_assert_not(rig.h.offered & (1ull << VIRTIO_BLK_F_DISCARD | 1ull << 14));
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_OUT, 0, data, 512), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_IN, 0, data, 512), VIRTIO_BLK_S_OK);
    cr_assert_eq(data[0], 0);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), VIRTIO_BLK_S_OK);
    cr_assert_eq(range_request(&rig, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
    rig_close(&rig);
}

Test(blk, image_truncated_outside)
{
    for (size_t i = 0; i < WAYS; i++) {
        struct rig rig;
        rig_open(&rig, MIB, ways[i]);
        uint8_t *data = pattern(64 * 1024, 11);
        cr_assert(truncate(rig.path, 32 * 1024) == 0);
        cr_assert_eq(request(&rig, VIRTIO_BLK_T_IN, 0, data, 64 * 1024), VIRTIO_BLK_S_IOERR);
        cr_assert_leq(rig.written, 32 * 1024u);
        cr_assert_eq(request(&rig, VIRTIO_BLK_T_IN, 1024, data, 4096), VIRTIO_BLK_S_IOERR);
        cr_assert(strstr(rig.h.log, "truncated"), "%s", rig.h.log);
        free(data);
        rig_close(&rig);
    }
}

Test(blk, guest_memory_that_is_gone)
{
    for (size_t i = 0; i < 2; i++) {
        struct rig rig;
        rig_open(&rig, MIB, ways[i]);
        request(&rig, VIRTIO_BLK_T_IN, 0, (void *)4096, 4096);
        cr_assert(strstr(rig.failed, "EFAULT"), "%s", rig.failed);
        rig_close(&rig);
    }
}

/* The kernel's clock page is mapped by page frame, as a hypervisor's guest memory may be. */
static uint8_t *page_frame_memory(void)
{
    char line[256];
    unsigned long start = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    cr_assert(maps);
    while (!start && fgets(line, sizeof(line), maps))
        if (strstr(line, "[vvar]"))
            start = strtoul(line, NULL, 16);
    fclose(maps);
    return (uint8_t *)start;
}

Test(blk, direct_from_memory_that_cannot_be_pinned)
{
    uint8_t *data = page_frame_memory();
    if (!data)
        cr_skip("no memory mapped by page frame here");
    for (size_t i = 2; i < WAYS; i++) {
        struct rig rig;
        rig_open(&rig, MIB, ways[i]);
        cr_assert_eq(request(&rig, VIRTIO_BLK_T_OUT, 0, data, 512), VIRTIO_BLK_S_OK);
        cr_assert_str_eq(rig.failed, "");
        cr_assert_eq(hvv_harness_counter(&rig.h, "bounced"), 1u);
        uint8_t *other = pattern(512, 17);
        cr_assert_eq(request(&rig, VIRTIO_BLK_T_OUT, 0, other, 512), VIRTIO_BLK_S_OK);
        cr_assert_eq(hvv_harness_counter(&rig.h, "bounced"), 2u, "it did not learn");
        expect_file(&rig, 0, other, 512);
        free(other);
        rig_close(&rig);
    }
}

/* ---- Discard, zeroes, identity --------------------------------------------------------------- */

static blkcnt_t file_blocks(struct rig *rig)
{
    struct stat st;
    cr_assert(stat(rig->path, &st) == 0);
    return st.st_blocks;
}

static void check_ranges(struct rig *rig)
{
    uint8_t *out = pattern(MIB, 12), *zero = pattern(MIB, 0);
    memset(zero, 0, MIB);
    cr_assert_eq(request(rig, VIRTIO_BLK_T_OUT, 0, out, MIB), VIRTIO_BLK_S_OK);
    cr_assert_eq(request(rig, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), VIRTIO_BLK_S_OK);
    blkcnt_t full = file_blocks(rig);
    cr_assert_eq(range_request(rig, VIRTIO_BLK_T_DISCARD, 0, 512, 0), VIRTIO_BLK_S_OK);
    cr_assert_lt(file_blocks(rig), full);
    expect_file(rig, 0, zero, 512 * 512);
    cr_assert_eq(range_request(rig, VIRTIO_BLK_T_WRITE_ZEROES, 601, 333, 0), VIRTIO_BLK_S_OK);
    cr_assert_eq(range_request(rig, VIRTIO_BLK_T_WRITE_ZEROES, 1024, 256, 1), VIRTIO_BLK_S_OK);
    expect_file(rig, 601 * 512, zero, 333 * 512);
    expect_file(rig, 1024 * 512, zero, 256 * 512);
    memcpy(zero, out + 934 * 512, 90 * 512);
    expect_file(rig, 934 * 512, zero, 90 * 512);
    cr_assert_eq(file_size(rig), (off_t)MIB);
    free(out);
    free(zero);
}

Test(blk, discard_and_write_zeroes)
{
    for (size_t i = 0; i < WAYS; i++) {
        struct rig rig;
        rig_open(&rig, MIB, ways[i]);
        check_ranges(&rig);
        cr_assert_eq(hvv_harness_counter(&rig.h, "discards"), 1u);
        cr_assert_eq(hvv_harness_counter(&rig.h, "write-zeroes"), 2u);
        rig_close(&rig);
    }
}

/* A file system without ZERO_RANGE: real zeroes are written, in pieces. */
Test(blk, write_zeroes_without_help)
{
    for (size_t i = 0; i < 2; i++) {
        struct rig rig;
        rig_open_in(&rig, "/dev/shm", 8 * MIB, ways[i]);
        uint8_t *out = pattern(8 * MIB, 13), *zero = pattern(4 * MIB, 0);
        memset(zero, 0, 4 * MIB);
        cr_assert_eq(request(&rig, VIRTIO_BLK_T_OUT, 0, out, 8 * MIB), VIRTIO_BLK_S_OK);
        cr_assert_eq(range_request(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 3, 6000, 0), VIRTIO_BLK_S_OK);
        expect_file(&rig, 0, out, 3 * 512);
        expect_file(&rig, 3 * 512, zero, 6000 * 512);
        expect_file(&rig, 6003 * 512, out + 6003 * 512, 8 * MIB - 6003 * 512);
        free(out);
        free(zero);
        rig_close(&rig);
    }
}

Test(blk, bad_ranges)
{
    struct rig rig;
    uint8_t many[17 * 16] = {0};
    rig_open(&rig, MIB, "engine=auto");
    cr_assert_eq(range_request(&rig, VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
    cr_assert_eq(range_request(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
    cr_assert_eq(range_request(&rig, VIRTIO_BLK_T_DISCARD, 2047, 2, 0), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(range_request(&rig, VIRTIO_BLK_T_DISCARD, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_DISCARD, 0, many, 17 * 16), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_DISCARD, 0, many, 15), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_DISCARD, 0, NULL, 0), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_DISCARD, 0, many, 16 * 16), VIRTIO_BLK_S_OK);
    rig_close(&rig);
    rig_open(&rig, MIB, "discard=off");
    cr_assert_not(rig.h.offered & 1ull << VIRTIO_BLK_F_DISCARD);
    cr_assert_eq(range_request(&rig, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
    cr_assert_eq(config_of(&rig.h).write_zeroes_may_unmap, 0);
    rig_close(&rig);
}

Test(blk, get_id)
{
    struct rig rig;
    char id[21];
    rig_open(&rig, MIB, "serial=12345678901234567890");
    memset(id, 'x', sizeof(id));
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_GET_ID, 0, id, 20), VIRTIO_BLK_S_OK);
    cr_assert(memcmp(id, "12345678901234567890x", 21) == 0);
    cr_assert_eq(rig.written, 21u);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_GET_ID, 0, id, 5), VIRTIO_BLK_S_OK);
    rig_close(&rig);
    rig_open(&rig, MIB, "serial=ab");
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_GET_ID, 0, id, 20), VIRTIO_BLK_S_OK);
    cr_assert(memcmp(id, "ab\0\0\0", 5) == 0);
    rig_close(&rig);
}

/* ---- Config space, write cache, resize ------------------------------------------------------- */

Test(blk, config_space)
{
    struct rig rig;
    rig_open(&rig, MIB, "queues=4,seg-max=30,block-size=4096,queue-size=256");
    struct virtio_blk_config config = config_of(&rig.h);
    cr_assert_eq(rig.h.config_size, 60u);
    cr_assert_eq(le64toh(config.capacity), 2048u);
    cr_assert_eq(le32toh(config.seg_max), 30u);
    cr_assert_eq(le32toh(config.blk_size), 4096u);
    cr_assert_eq(le16toh(config.num_queues), 4u);
    cr_assert_eq(config.wce, 1);
    cr_assert_eq(rig.h.n_queues, 4u);
    cr_assert_eq(rig.h.queue[0].segments, 32u);
    cr_assert_eq(rig.h.queue[3].size, 256u);
    cr_assert(rig.h.offered & 1ull << VIRTIO_BLK_F_MQ);
    cr_assert_eq(rig.h.flags & HVV_FEATURES_IN_ORDER, 0u);
    rig_close(&rig);
}

Test(blk, write_cache)
{
    struct rig rig;
    uint8_t data[512] = {1}, byte = 0;
    rig_open(&rig, MIB, "engine=auto");
    hvv_harness_config_write(&rig.h, 31, "\0", 1);
    hvv_harness_config_write(&rig.h, 0, "\0\0\0\0\0\0\0\0", 8);
    cr_assert_eq(config_of(&rig.h).wce, 1);
    cr_assert_eq(le64toh(config_of(&rig.h).capacity), 2048u);
    hvv_harness_config_write(&rig.h, 32, &byte, 1);
    cr_assert_eq(config_of(&rig.h).wce, 0);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_OUT, 0, data, 512), VIRTIO_BLK_S_OK);
    cr_assert_eq(range_request(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), VIRTIO_BLK_S_OK);
    byte = 7;
    hvv_harness_config_write(&rig.h, 32, &byte, 1);
    cr_assert_eq(config_of(&rig.h).wce, 0);
    cr_assert(hvv_harness_reset(&rig.h));
    cr_assert_eq(config_of(&rig.h).wce, 1);
    rig.h.taken &= ~(1ull << VIRTIO_BLK_F_CONFIG_WCE);
    byte = 0;
    hvv_harness_config_write(&rig.h, 32, &byte, 1);
    cr_assert_eq(config_of(&rig.h).wce, 1);
    rig_close(&rig);
}

Test(blk, resize)
{
    struct rig rig;
    struct hvv_harness_call call;
    uint8_t data[512] = {1};
    rig_open(&rig, MIB, "engine=auto");
    cr_assert_eq(hvv_harness_command(&rig.h, &call, "resize", "size=2M"), 0, "%s", call.error);
    cr_assert(strstr(call.results, "size=2097152 "), "%s", call.results);
    cr_assert_eq(file_size(&rig), (off_t)(2 * MIB));
    cr_assert_eq(le64toh(config_of(&rig.h).capacity), 4096u);
    cr_assert_eq(rig.h.config_notified, 1u);
    cr_assert(strstr(rig.h.event, "2097152"));
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_OUT, 4095, data, 512), VIRTIO_BLK_S_OK);

    cr_assert_eq(hvv_harness_command(&rig.h, &call, "resize", "size=1M"), -EINVAL);
    cr_assert(strstr(call.error, "shrink"), "%s", call.error);
    cr_assert_eq(file_size(&rig), (off_t)(2 * MIB));
    cr_assert_eq(hvv_harness_command(&rig.h, &call, "resize", "size=1M,shrink"), 0, "%s",
                 call.error);
    cr_assert_eq(file_size(&rig), (off_t)MIB);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_OUT, 2048, data, 512), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(hvv_harness_command(&rig.h, &call, "resize", "size=1000001"), -EINVAL);
    cr_assert(strstr(call.error, "512"), "%s", call.error);

    cr_assert(truncate(rig.path, 3 * MIB + 100) == 0);
    cr_assert_eq(hvv_harness_command(&rig.h, &call, "resize", "size=2M"), -EINVAL, "would cut");
    cr_assert_eq(hvv_harness_command(&rig.h, &call, "resize", ""), 0, "%s", call.error);
    cr_assert_eq(le64toh(config_of(&rig.h).capacity), 3 * 2048u);
    cr_assert_eq(rig.h.config_notified, 3u);
    rig_close(&rig);
}

Test(blk, shrinking_under_a_request_is_refused)
{
    struct rig rig;
    struct hvv_harness_call call;
    uint8_t *out = pattern(MIB, 14), status = UNTOUCHED;
    rig_open(&rig, MIB, "engine=uring");
    struct virtio_blk_outhdr head = header(VIRTIO_BLK_T_OUT, 0);
    struct iovec r[] = {{&head, sizeof(head)}, {out, MIB}}, w[] = {{&status, 1}};
    struct hvv_harness_chain *chain = hvv_harness_send(&rig.h, 0, r, 2, w, 1);
    hvv_harness_kick(&rig.h, 0);
    cr_assert_eq(hvv_harness_command(&rig.h, &call, "resize", "size=64K,shrink"), -EBUSY);
    cr_assert(hvv_harness_wait(&rig.h, chain));
    cr_assert_eq(status, VIRTIO_BLK_S_OK);
    cr_assert_eq(file_size(&rig), (off_t)MIB);
    cr_assert_eq(hvv_harness_command(&rig.h, &call, "resize", "size=64K,shrink"), 0);
    free(out);
    rig_close(&rig);
}

/* ---- create() refuses ------------------------------------------------------------------------ */

static void refused(struct rig *rig, const char *options, int err, const char *option,
                    const char *words)
{
    char spec[256];
    cr_assert(hvv_harness_refuses(&rig->h, hvv_plugin_v1(), spec_of(rig, options, spec), err,
                                  option, words),
              "%s: %s: %s", options, rig->h.error_option, rig->h.error);
}

Test(blk, refused_images)
{
    struct rig rig, dir;
    image_make(&rig, "/tmp", 0);
    refused(&rig, "", EINVAL, "path", "0 bytes");
    cr_assert(truncate(rig.path, 511) == 0);
    refused(&rig, "", EINVAL, "path", "511 bytes");
    cr_assert(unlink(rig.path) == 0);
    refused(&rig, "", ENOENT, "path", "create the image");
    cr_assert(mkfifo(rig.path, 0600) == 0);
    refused(&rig, "", EINVAL, "path", "fifo");
    cr_assert(unlink(rig.path) == 0 && mkdir(rig.path, 0700) == 0);
    refused(&rig, "", EISDIR, "path", "directory");
    cr_assert(rmdir(rig.path) == 0);
    dir = rig;
    snprintf(rig.path, sizeof(rig.path), "/dev/null");
    refused(&rig, "", EINVAL, "path", "character device");
    cr_assert(hvv_harness_refuses(&rig.h, hvv_plugin_v1(), "", EINVAL, "path", "no image"), "%s: %s",
              rig.h.error_option, rig.h.error);
    image_remove(&dir);
}

Test(blk, refused_options)
{
    struct rig rig;
    image_make(&rig, "/tmp", MIB);
    refused(&rig, "queue-size=100", EINVAL, "queue-size", "64 or 128");
    refused(&rig, "block-size=1000", EINVAL, "block-size", "512 or 1024");
    refused(&rig, "serial=123456789012345678901", EINVAL, "serial", "21 bytes");
    refused(&rig, "size=1M", EINVAL, "size", "resize");
    refused(&rig, "backend=null", EINVAL, "path", "null");
    refused(&rig, "backend=mem", EINVAL, "path", "mem");
    image_remove(&rig);
}

Test(blk, partial_last_sector)
{
    struct rig rig;
    rig_open(&rig, MIB + 300, "engine=auto");
    cr_assert_eq(le64toh(config_of(&rig.h).capacity), 2048u);
    cr_assert(strstr(rig.h.log, "300 bytes"), "%s", rig.h.log);
    cr_assert_eq(file_size(&rig), (off_t)(MIB + 300));
    rig_close(&rig);
}

/* From here on io_uring_setup() fails in this process, as in many containers. */
static void forbid_io_uring(int err)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
    cr_assert(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    cr_assert(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

Test(blk, threads_where_the_kernel_refuses_io_uring)
{
    struct rig rig;
    forbid_io_uring(EPERM);
    rig_open(&rig, MIB, "engine=auto,queues=2");
    check_read_write(&rig);
    cr_assert(hvv_harness_close(&rig.h));
    refused(&rig, "engine=uring", EPERM, "engine", "engine=threads");
    image_remove(&rig);
}

Test(blk, other_failures_of_io_uring_are_errors)
{
    struct rig rig;
    forbid_io_uring(ENOMEM);
    image_make(&rig, "/tmp", MIB);
    refused(&rig, "engine=auto", ENOMEM, "", "engine=threads");
    image_remove(&rig);
}

/* ---- Locking --------------------------------------------------------------------------------- */

Test(blk, locking_between_devices)
{
    struct rig a, b;
    rig_open(&a, MIB, "engine=auto");
    b = a;
    refused(&b, "", EBUSY, "path", "open for writing");
    cr_assert(strstr(b.h.error, "locking=off"));
    refused(&b, "ro", EBUSY, "path", "open for writing");
    cr_assert_eq(try_open(&b, "locking=off"), 0);
    cr_assert(hvv_harness_close(&b.h));
    cr_assert(hvv_harness_close(&a.h));
    /* Free at once, although the ring may die later. */
    cr_assert_eq(try_open(&a, "ro"), 0, "%s", a.h.error);
    cr_assert_eq(try_open(&b, "ro"), 0, "%s", b.h.error);
    cr_assert(hvv_harness_close(&a.h));
    refused(&a, "", EBUSY, "path", "open for reading");
    cr_assert(hvv_harness_close(&b.h));
    cr_assert_eq(try_open(&a, ""), 0, "%s", a.h.error);
    cr_assert(hvv_harness_close(&a.h));
    image_remove(&a);
}

/* The exit status of "TOOL PATH REST", its output dropped. */
static int run(const char *tool, const char *path, const char *rest)
{
    char command[256];
    snprintf(command, sizeof(command), "%s %s %s >/dev/null 2>&1", tool, path, rest);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool qemu_writes(const char *path)
{
    return run("qemu-io -f raw -c 'write 0 512'", path, "") == 0;
}

/* As a reader that wants no writer beside it; -r of qemu-io would share with all. */
static bool qemu_reads(const char *path)
{
    char copy[100];
    snprintf(copy, sizeof(copy), "%s.copy", path);
    bool ok = run("qemu-img convert -O raw", path, copy) == 0;
    unlink(copy);
    return ok;
}

Test(blk, locking_against_qemu)
{
    struct rig rig;
    if (run("which", "qemu-io", "qemu-img") != 0)
        cr_skip("qemu-io and qemu-img are not installed");
    rig_open(&rig, MIB, "engine=auto");
    cr_assert_not(qemu_writes(rig.path));
    cr_assert_not(qemu_reads(rig.path));
    cr_assert(hvv_harness_close(&rig.h));
    cr_assert(qemu_writes(rig.path));
    cr_assert_eq(try_open(&rig, "ro"), 0);
    cr_assert_not(qemu_writes(rig.path));
    cr_assert(qemu_reads(rig.path));
    cr_assert(hvv_harness_close(&rig.h));
    image_remove(&rig);
}

/* ---- null and mem ---------------------------------------------------------------------------- */

Test(blk, null_backend)
{
    struct rig rig = {0};
    struct hvv_harness_call call;
    uint8_t data[512] = {7};
    cr_assert_eq(hvv_harness_open(&rig.h, hvv_plugin_v1(), "backend=null"), 0, "%s", rig.h.error);
    hvv_harness_start(&rig.h);
    cr_assert_eq(le64toh(config_of(&rig.h).capacity), 1u << 21);
    cr_assert(rig.h.flags & HVV_FEATURES_IN_ORDER);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_IN, 0, data, 512), VIRTIO_BLK_S_OK);
    cr_assert_eq(rig.written, 0u);
    cr_assert_eq(data[0], 7);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_IN, 1u << 21, data, 512), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(hvv_harness_command(&rig.h, &call, "resize", "size=2G"), 0);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_IN, 1u << 21, data, 512), VIRTIO_BLK_S_OK);
    cr_assert_eq(hvv_harness_command(&rig.h, &call, "resize", ""), -EINVAL);
    cr_assert(hvv_harness_close(&rig.h));
}

Test(blk, mem_backend)
{
    struct rig rig = {0};
    struct hvv_harness_call call;
    uint8_t *out = pattern(64 * 1024, 15), *in = pattern(64 * 1024, 16);
    cr_assert_eq(hvv_harness_open(&rig.h, hvv_plugin_v1(), "backend=mem,size=1M"), 0);
    hvv_harness_start(&rig.h);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_OUT, 3, out, 64 * 1024), VIRTIO_BLK_S_OK);
    cr_assert_eq(range_request(&rig, VIRTIO_BLK_T_DISCARD, 5, 50, 0), VIRTIO_BLK_S_OK);
    cr_assert_eq(request(&rig, VIRTIO_BLK_T_IN, 3, in, 64 * 1024), VIRTIO_BLK_S_OK);
    memset(out + 2 * 512, 0, 50 * 512);
    cr_assert(memcmp(in, out, 64 * 1024) == 0);
    cr_assert_eq(hvv_harness_command(&rig.h, &call, "resize", "size=2M"), -ENOTSUP);
    cr_assert(hvv_harness_close(&rig.h));
    free(out);
    free(in);
}

/* A driver that is always ahead gets its turn again, but not the worker for itself. */
Test(blk, a_full_queue_is_served_in_turns)
{
    enum { N = 1000 };
    struct rig rig = {0};
    struct virtio_blk_outhdr head = header(VIRTIO_BLK_T_FLUSH, 0);
    uint8_t status[N];
    cr_assert_eq(hvv_harness_open(&rig.h, hvv_plugin_v1(), "backend=null"), 0);
    hvv_harness_start(&rig.h);
    struct hvv_harness_chain *last = NULL;
    for (uint32_t k = 0; k < N; k++) {
        struct iovec r[] = {{&head, sizeof(head)}}, w[] = {{&status[k], 1}};
        last = hvv_harness_send(&rig.h, 0, r, 1, w, 1);
    }
    hvv_harness_kick(&rig.h, 0);
    cr_assert_not(hvv_harness_done(&rig.h, last));
    cr_assert(hvv_harness_wait(&rig.h, last));
    cr_assert_eq(hvv_harness_counter(&rig.h, "flushes"), (uint64_t)N);
    cr_assert(hvv_harness_close(&rig.h));
}

/* Nothing is left behind by many lives of a device: descriptors are counted by the next number. */
Test(blk, lives_leave_no_descriptor)
{
    struct rig rig;
    image_make(&rig, "/tmp", MIB);
    int before = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(before);
    for (size_t i = 0; i < 4 * WAYS; i++) {
        cr_assert_eq(try_open(&rig, ways[i % WAYS]), 0, "%s", rig.h.error);
        hvv_harness_start(&rig.h);
        cr_assert(hvv_harness_close(&rig.h));
    }
    int after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(after);
    cr_assert_eq(before, after);
    image_remove(&rig);
}
