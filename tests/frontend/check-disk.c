/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows about virtio-blk itself: request layouts, lengths, each request type, the disk's edges.
 * One thread, one queue.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define BUF 65536u

static enum verdict layout(struct check *c, struct blkdev *dev, const struct row *row)
{
    static const unsigned int pieces[] = { 1, 2, 3, 7, 16 };
    enum verdict v = PASS;

    for (unsigned int i = 0; i < sizeof(pieces) / sizeof(pieces[0]) && v == PASS; i++) {
        struct churn spec = { .requests = 200, .layout = (unsigned int)row->arg,
                              .pieces = pieces[i] };

        v = check_churn(c, dev, &spec);
    }
    return v;
}

/* Descriptor borders at every odd place: 512 bytes in up to 100 pieces. */
static enum verdict small_pieces(struct check *c, struct blkdev *dev, const struct row *row)
{
    enum verdict v = PASS;

    (void)row;
    for (unsigned int pieces = 1; pieces <= 100 && v == PASS; pieces += 3) {
        struct churn spec = { .requests = 20, .len = BLK_SECTOR, .pieces = pieces };

        v = check_churn(c, dev, &spec);
    }
    return v;
}

static enum verdict seg_max(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct churn spec = { .requests = 50, .len = 65536 };

    (void)row;
    if (!fe_has(&dev->fe, VIRTIO_BLK_F_SEG_MAX))
        return check_skip(c, "the back-end does not offer SEG_MAX");
    spec.pieces = le32toh(dev->config.seg_max);
    if (spec.pieces + 2 > dev->opt.indirect_max)
        spec.pieces = dev->opt.indirect_max - 2u;
    return check_churn(c, dev, &spec);
}

static enum verdict large(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct churn spec = { .requests = 20, .len = (uint32_t)row->arg, .pieces = 16 };

    return check_churn(c, dev, &spec);
}

/* Lengths and places of every sector count, none aligned to a page. */
static enum verdict odd_sectors(struct check *c, struct blkdev *dev, const struct row *row)
{
    enum verdict v = PASS;

    (void)row;
    if (fe_has(&dev->fe, VIRTIO_BLK_F_BLK_SIZE) &&
        le32toh(dev->config.blk_size) != BLK_SECTOR)
        return check_skip(c, "blocks have %u bytes", le32toh(dev->config.blk_size));
    for (unsigned int n = 1; n <= 17 && v == PASS; n += 2) {
        struct churn spec = { .requests = 100, .len = n * BLK_SECTOR, .sector = n };

        v = check_churn(c, dev, &spec);
    }
    return v;
}

static enum verdict flush(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct blk_queue *q = &dev->queue[0];
    enum verdict v = PASS;

    (void)row;
    if (!fe_has(&dev->fe, VIRTIO_BLK_F_FLUSH))
        return check_skip(c, "the back-end does not offer FLUSH");
    for (int i = 0; i < 20 && v == PASS; i++) {
        struct churn spec = { .requests = 16 };

        v = check_churn(c, dev, &spec);
        if (v == PASS)
            v = check_status(c, "flush", blk_flush(q), VIRTIO_BLK_S_OK);
    }
    return v;
}

static enum verdict get_id(struct check *c, struct blkdev *dev, const struct row *row)
{
    char first[VIRTIO_BLK_ID_BYTES + 1];
    char again[VIRTIO_BLK_ID_BYTES + 1];
    enum verdict v = check_status(c, "id", blk_get_id(&dev->queue[0], first), 0);

    (void)row;
    if (v == PASS)
        v = check_status(c, "id again", blk_get_id(&dev->queue[0], again), 0);
    if (v == PASS && memcmp(first, again, sizeof(first)) != 0)
        v = check_fail(c, "the id changed");
    return v;
}

static enum verdict unknown_type(struct check *c, struct blkdev *dev, const struct row *row)
{
    uint8_t data[BLK_SECTOR] = { 0 };
    enum verdict v;

    (void)row;
    v = check_status(c, "type 99", blk_simple(&dev->queue[0], 99, 0, data, sizeof(data), NULL),
                     VIRTIO_BLK_S_UNSUPP);
    return v == PASS ? check_works(c, dev) : v;
}

/* --- the edges of the disk --- */

static enum verdict last_sector(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct blk_queue *q = &dev->queue[0];
    uint32_t len = le32toh(dev->config.blk_size) > BLK_SECTOR ? le32toh(dev->config.blk_size)
                                                              : BLK_SECTOR;
    uint64_t at = dev->sectors - len / BLK_SECTOR;
    uint8_t data[BUF];
    enum verdict v;

    (void)row;
    if (len > sizeof(data))
        return check_skip(c, "blocks have %u bytes", len);
    blk_fill(data, len, at, 77);
    v = check_status(c, "write", blk_write(q, at, data, len), VIRTIO_BLK_S_OK);
    memset(data, 0, len);
    if (v == PASS)
        v = check_status(c, "read", blk_read(q, at, data, len), VIRTIO_BLK_S_OK);
    if (v == PASS && blk_verify(data, len, at, 77) >= 0)
        v = check_fail(c, "wrong data");
    return v;
}

static enum verdict refused(struct check *c, struct blkdev *dev, uint64_t sector, uint32_t len)
{
    struct blk_queue *q = &dev->queue[0];
    uint8_t data[8192] = { 0 };
    enum verdict v;

    v = check_status(c, "read past the end", blk_read(q, sector, data, len), VIRTIO_BLK_S_IOERR);
    if (v == PASS && !c->read_only)
        v = check_status(c, "write past the end", blk_write(q, sector, data, len),
                         VIRTIO_BLK_S_IOERR);
    return v;
}

static enum verdict past_the_end(struct check *c, struct blkdev *dev, const struct row *row)
{
    uint64_t end = dev->sectors;
    const uint64_t at[] = { end, end + 1, end - 1, UINT64_MAX / BLK_SECTOR, UINT64_MAX - 7,
                            UINT64_MAX };
    enum verdict v = PASS;

    (void)row;
    for (unsigned int i = 0; i < sizeof(at) / sizeof(at[0]) && v == PASS; i++)
        v = refused(c, dev, at[i], 4096);
    if (v != PASS)
        return v;
    if (blkdev_read_config(dev) || dev->sectors != end)
        return check_fail(c, "the disk's size changed");
    return check_works(c, dev);
}

static enum verdict partial_sector(struct check *c, struct blkdev *dev, const struct row *row)
{
    uint8_t data[BLK_SECTOR] = { 0 };
    enum verdict v = check_status(c, "read of 511 bytes",
                                  blk_read(&dev->queue[0], 0, data, BLK_SECTOR - 1),
                                  VIRTIO_BLK_S_IOERR);

    (void)row;
    return v == PASS ? check_works(c, dev) : v;
}

static enum verdict read_only(struct check *c, struct blkdev *dev, const struct row *row)
{
    uint8_t data[BLK_SECTOR] = { 0 };

    (void)row;
    if (!c->read_only)
        return check_skip(c, "the disk is writable");
    return check_status(c, "write", blk_write(&dev->queue[0], 0, data, sizeof(data)),
                        VIRTIO_BLK_S_IOERR);
}

/* --- ranges --- */

static enum verdict read_back(struct check *c, struct blkdev *dev, uint64_t sector, uint32_t len,
                              bool zero)
{
    uint8_t data[BUF];
    enum verdict v = check_status(c, "read back", blk_read(&dev->queue[0], sector, data, len),
                                  VIRTIO_BLK_S_OK);

    if (v != PASS)
        return v;
    if (!zero)
        return blk_verify(data, len, sector, 5) < 0 ? PASS
                                                    : check_fail(c, "neighbouring data changed");
    for (uint32_t i = 0; i < len; i++) {
        if (data[i])
            return check_fail(c, "byte %u at sector %llu is 0x%x, not zero", i,
                              (unsigned long long)sector, data[i]);
    }
    return PASS;
}

/* 48 KiB in the middle of 64 KiB; the rest must stay. */
static enum verdict zero_range(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct blk_queue *q = &dev->queue[0];
    uint64_t base = 2048;
    uint8_t data[BUF];
    enum verdict v;

    if (!fe_has(&dev->fe, VIRTIO_BLK_F_WRITE_ZEROES))
        return check_skip(c, "the back-end does not offer WRITE_ZEROES");
    blk_fill(data, sizeof(data), base, 5);
    v = check_status(c, "write", blk_write(q, base, data, sizeof(data)), VIRTIO_BLK_S_OK);
    if (v == PASS)
        v = check_status(c, "write zeroes", blk_write_zeroes(q, base + 16, 96, row->arg),
                         VIRTIO_BLK_S_OK);
    if (v == PASS)
        v = read_back(c, dev, base + 16, 96 * BLK_SECTOR, true);
    if (v == PASS)
        v = read_back(c, dev, base, 16 * BLK_SECTOR, false);
    if (v == PASS)
        v = read_back(c, dev, base + 112, 16 * BLK_SECTOR, false);
    return v;
}

static enum verdict discard(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct blk_queue *q = &dev->queue[0];
    uint64_t base = 2048;
    uint8_t data[BUF];
    enum verdict v;

    (void)row;
    if (!fe_has(&dev->fe, VIRTIO_BLK_F_DISCARD))
        return check_skip(c, "the back-end does not offer DISCARD");
    blk_fill(data, sizeof(data), base, 5);
    v = check_status(c, "write", blk_write(q, base, data, sizeof(data)), VIRTIO_BLK_S_OK);
    if (v == PASS)
        v = check_status(c, "discard", blk_discard(q, base + 16, 96), VIRTIO_BLK_S_OK);
    if (v == PASS)
        v = read_back(c, dev, base, 16 * BLK_SECTOR, false);
    if (v == PASS)
        v = read_back(c, dev, base + 112, 16 * BLK_SECTOR, false);
    return v;
}

static enum verdict range_past_the_end(struct check *c, struct blkdev *dev,
                                       const struct row *row)
{
    struct blk_queue *q = &dev->queue[0];
    enum verdict v = PASS;

    (void)row;
    if (!fe_has(&dev->fe, VIRTIO_BLK_F_WRITE_ZEROES) &&
        !fe_has(&dev->fe, VIRTIO_BLK_F_DISCARD))
        return check_skip(c, "the back-end offers neither DISCARD nor WRITE_ZEROES");
    if (fe_has(&dev->fe, VIRTIO_BLK_F_WRITE_ZEROES))
        v = check_status(c, "write zeroes", blk_write_zeroes(q, dev->sectors - 8, 16, false),
                         VIRTIO_BLK_S_IOERR);
    if (v == PASS && fe_has(&dev->fe, VIRTIO_BLK_F_DISCARD))
        v = check_status(c, "discard", blk_discard(q, dev->sectors - 8, 16),
                         VIRTIO_BLK_S_IOERR);
    return v == PASS ? check_works(c, dev) : v;
}

/* DISCARD has no flags; WRITE_ZEROES has one. */
static enum verdict range_flags(struct check *c, struct blkdev *dev, const struct row *row)
{
    struct virtio_blk_discard_write_zeroes range = { 0, htole32(8), htole32(2) };

    (void)row;
    if (!fe_has(&dev->fe, VIRTIO_BLK_F_WRITE_ZEROES))
        return check_skip(c, "the back-end does not offer WRITE_ZEROES");
    return check_status(c, "write zeroes with an unknown flag",
                        blk_simple(&dev->queue[0], VIRTIO_BLK_T_WRITE_ZEROES, 0, &range,
                                   sizeof(range), NULL),
                        VIRTIO_BLK_S_UNSUPP);
}

const struct row disk_rows[] = {
    { .name = "layout-plain", .run = layout, .opt = { .slots = 6 } },
    { .name = "layout-merged-status", .run = layout, .arg = BLK_LAYOUT_MERGE_STATUS,
      .opt = { .slots = 6, .roomy = true } },
    { .name = "layout-merged-header", .run = layout, .arg = BLK_LAYOUT_MERGE_HEADER,
      .opt = { .slots = 6, .roomy = true } },
    { .name = "layout-split-header", .run = layout, .arg = BLK_LAYOUT_SPLIT_HEADER,
      .opt = { .slots = 6 } },
    { .name = "layout-merged-indirect", .run = layout,
      .arg = BLK_LAYOUT_MERGE_STATUS | BLK_LAYOUT_MERGE_HEADER,
      .opt = { .slots = 6, .roomy = true, .indirect = true } },
    { .name = "layout-split-indirect", .run = layout,
      .arg = BLK_LAYOUT_MERGE_STATUS | BLK_LAYOUT_SPLIT_HEADER,
      .opt = { .slots = 6, .roomy = true, .indirect = true } },
    { .name = "small-pieces", .run = small_pieces, .opt = { .num = 256, .slots = 2 } },
    { .name = "small-pieces-indirect", .run = small_pieces,
      .opt = { .num = 4, .slots = 4, .indirect = true, .indirect_max = 128 } },
    { .name = "seg-max", .run = seg_max,
      .opt = { .slots = 4, .indirect = true, .indirect_max = 256 } },
    { .name = "large", .run = large, .arg = 1 << 20, .opt = { .slots = 4, .capacity = 1 << 20 } },
    { .name = "odd-sectors", .run = odd_sectors },
    { .name = "flush", .run = flush },
    { .name = "get-id", .run = get_id },
    { .name = "unknown-type", .run = unknown_type },
    { .name = "last-sector", .run = last_sector, .writes = true },
    { .name = "past-the-end", .run = past_the_end },
    { .name = "partial-sector", .run = partial_sector },
    { .name = "read-only", .run = read_only },
    { .name = "write-zeroes", .run = zero_range, .writes = true },
    { .name = "write-zeroes-unmap", .run = zero_range, .writes = true, .arg = 1 },
    { .name = "discard", .run = discard, .writes = true },
    { .name = "range-past-the-end", .run = range_past_the_end, .writes = true },
    { .name = "range-unknown-flag", .run = range_flags, .writes = true },
    { .name = NULL },
};
