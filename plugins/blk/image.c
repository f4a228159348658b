/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * image.c - opens a raw image and finds out what it can do.
 *
 * Runs on the builder thread, inside create(). The bytes of the image are never looked at: a raw
 * image stays raw whatever a guest writes to it.
 * Order: look at the path, open, check the type of what was opened, alignments, size, lock.
 */
#include "image.h"

#include "backend.h"
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ALIGN_MAX 4096u

static const char *type_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "directory";
    case S_IFIFO:
        return "fifo";
    case S_IFCHR:
        return "character device";
    case S_IFSOCK:
        return "socket";
    default:
        return "special file";
    }
}

static int32_t check_type(struct blk *blk, const char *path, mode_t mode)
{
    if (S_ISREG(mode) || S_ISBLK(mode))
        return 0;
    return hvv_error_option(blk->dev, S_ISDIR(mode) ? EISDIR : EINVAL, "path",
                            "'%s' is a %s; a disk needs a regular file or a block device", path,
                            type_name(mode));
}

static int32_t open_error(struct blk *blk, const char *path, int err)
{
    const char *fix = "correct the path";
    if (err == ENOENT)
        fix = "create the image first or correct the path";
    else if (err == EACCES || err == EPERM)
        fix = blk->read_only ? "let the daemon's user read it"
                             : "let the daemon's user read and write it, or add 'ro'";
    else if (err == EROFS)
        fix = "add 'ro'";
    else if (err == EMFILE || err == ENFILE)
        fix = "raise the limit of open files";
    return hvv_error_option(blk->dev, err, "path", "image '%s' cannot be opened: %s; %s", path,
                            strerror(err), fix);
}

/* The superuser may open a read-only device for writing, and learns of it at the first write. */
static int32_t check_writable(struct blk *blk, const char *path, int fd)
{
    int locked = 0;
    if (ioctl(fd, BLKROGET, &locked) < 0)
        return open_error(blk, path, errno);
    return locked ? open_error(blk, path, EROFS) : 0;
}

/* stat() comes first, because opening a fifo waits for its other end. */
static int32_t open_path(struct image *image, struct blk *blk, const char *path, struct stat *st)
{
    int flags = (blk->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY;
    if (stat(path, st) < 0)
        return open_error(blk, path, errno);
    int32_t rc = check_type(blk, path, st->st_mode);
    if (rc < 0)
        return rc;
    image->fd = open(path, flags | (image->direct ? O_DIRECT : 0));
    if (image->fd < 0 && errno == EINVAL && image->direct)
        return hvv_error_option(blk->dev, EINVAL, "direct",
                                "the file system of '%s' has no direct I/O; leave out 'direct'",
                                path);
    if (image->fd < 0)
        return open_error(blk, path, errno);
    if (fstat(image->fd, st) < 0)
        return open_error(blk, path, errno);
    rc = check_type(blk, path, st->st_mode);
    if (rc == 0 && S_ISBLK(st->st_mode) && !blk->read_only)
        rc = check_writable(blk, path, image->fd);
    return rc;
}

int64_t image_size(const struct image *image)
{
    struct stat st;
    uint64_t bytes;
    if (!image->is_device)
        return fstat(image->fd, &st) < 0 ? -errno : st.st_size;
    if (ioctl(image->fd, BLKGETSIZE64, &bytes) < 0)
        return -errno;
    return bytes > INT64_MAX ? -EFBIG : (int64_t)bytes;
}

/* Reads `align` bytes at offset `align`, which the kernel refuses if that is not aligned enough. */
static bool direct_read_works(int fd, void *buffer, uint32_t align)
{
    ssize_t n;
    do
        n = pread(fd, buffer, align, align);
    while (n < 0 && errno == EINTR);
    return n >= 0;
}

/* For kernels and file systems that do not tell: the smallest alignment that works. */
static int32_t probe_direct(struct image *image)
{
    void *buffer;
    uint32_t align = BLK_SECTOR;
    int err = posix_memalign(&buffer, ALIGN_MAX, ALIGN_MAX);
    if (err)
        return -err;
    while (align < ALIGN_MAX && !direct_read_works(image->fd, buffer, align))
        align *= 2;
    free(buffer);
    image->offset_align = align;
    image->buffer_align = align;
    return 0;
}

static int32_t direct_alignment(struct image *image, struct blk *blk, const char *path)
{
    struct statx sx = {0};
    int32_t rc = 0;
    if (statx(image->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
        sx.stx_mask & STATX_DIOALIGN) {
        image->offset_align = sx.stx_dio_offset_align;
        image->buffer_align = sx.stx_dio_mem_align;
    } else {
        rc = probe_direct(image);
    }
    if (rc < 0)
        return hvv_error(blk->dev, -rc, "no memory to try direct I/O: %s", strerror(-rc));
    if (image->offset_align == 0 || image->offset_align > ALIGN_MAX ||
        image->buffer_align > ALIGN_MAX)
        return hvv_error_option(blk->dev, EINVAL, "direct",
                                "direct I/O on '%s' needs an alignment of %u bytes, the limit is "
                                "%u; leave out 'direct'",
                                path, image->offset_align, ALIGN_MAX);
    if (image->offset_align < BLK_SECTOR)
        image->offset_align = BLK_SECTOR;
    return 0;
}

/* The guest's logical block holds at least what direct I/O can transfer. */
static int32_t choose_block_size(const struct image *image, struct blk *blk)
{
    bool given = hvv_option_count(blk->dev, "block-size") > 0;
    if (given && blk->block_size < image->offset_align)
        return hvv_error_option(blk->dev, EINVAL, "block-size",
                                "%u is too small: direct I/O on this image needs blocks of at "
                                "least %u bytes; leave out 'block-size' or 'direct'",
                                blk->block_size, image->offset_align);
    if (blk->block_size < image->offset_align)
        blk->block_size = image->offset_align;
    blk->io_align = image->offset_align;
    return 0;
}

/* Hints only: what the image lies on likes best, within what the config space can say. */
static void choose_physical_size(const struct image *image, struct blk *blk, const struct stat *st)
{
    unsigned int bytes = (unsigned int)st->st_blksize;
    if (image->is_device && ioctl(image->fd, BLKPBSZGET, &bytes) < 0)
        bytes = 0;
    blk->physical_size = blk->block_size;
    if (bytes > ALIGN_MAX)
        bytes = ALIGN_MAX;
    while (blk->physical_size < bytes)
        blk->physical_size *= 2;
    blk->discard_align = blk->physical_size;
}

/*
 * Punching a hole behind the end of a file changes nothing, and tells whether holes can be punched.
 * A block device cannot be asked that way; there the first discard tells.
 */
static bool can_discard(const struct image *image, const struct blk *blk, int64_t size)
{
    if (blk->read_only || !hvv_option_u64(blk->dev, "discard"))
        return false;
    if (image->is_device)
        return true;
    off_t start = (off_t)((size + ALIGN_MAX - 1) / ALIGN_MAX * ALIGN_MAX);
    return fallocate(image->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, ALIGN_MAX) == 0;
}

static int32_t measure(struct image *image, struct blk *blk, const char *path)
{
    int64_t size = image_size(image);
    if (size < 0)
        return hvv_error_option(blk->dev, (int32_t)-size, "path", "the size of '%s' is unknown: %s",
                                path, strerror((int)-size));
    uint64_t capacity = blk_whole_blocks(blk, (uint64_t)size);
    if (capacity == 0)
        return hvv_error_option(blk->dev, EINVAL, "path",
                                "image '%s' has %lld bytes, a disk needs at least %u; make it "
                                "larger",
                                path, (long long)size, blk->block_size);
    if (capacity != (uint64_t)size)
        hvv_log(blk->dev, HVV_LOG_WARNING,
                "the last %llu bytes of '%s' are not part of the disk: its size, %lld, is not a "
                "multiple of %u",
                (unsigned long long)((uint64_t)size - capacity), path, (long long)size,
                blk->block_size);
    atomic_store(&blk->capacity, capacity);
    blk->discard = can_discard(image, blk, size);
    return 0;
}

static int32_t lock_image(struct image *image, struct blk *blk, const char *path)
{
    const char *holder = NULL;
    if (!hvv_option_u64(blk->dev, "locking"))
        return 0;
    int rc = lock_open(path, image->fd, blk->read_only, &holder);
    image->lock_fd = rc;
    if (rc == -EBUSY && holder)
        return hvv_error_option(blk->dev, EBUSY, "path",
                                "image '%s' is in use: %s; remove that one first, or add "
                                "'locking=off' if sharing it is safe",
                                path, holder);
    if (rc < 0)
        return hvv_error_option(blk->dev, -rc, "locking",
                                "image '%s' cannot be locked: %s; add 'locking=off' if nobody "
                                "else uses it",
                                path, strerror(-rc));
    return 0;
}

static int32_t set_up(struct image *image, struct blk *blk, const char *path)
{
    struct stat st;
    struct statfs fs;
    int32_t rc = open_path(image, blk, path, &st);
    if (rc < 0)
        return rc;
    image->is_device = S_ISBLK(st.st_mode);
    image->is_memory = !image->is_device && !image->direct && fstatfs(image->fd, &fs) == 0 &&
                       fs.f_type == TMPFS_MAGIC;
    if (image->direct)
        rc = direct_alignment(image, blk, path);
    if (rc == 0)
        rc = choose_block_size(image, blk);
    if (rc < 0)
        return rc;
    choose_physical_size(image, blk, &st);
    rc = lock_image(image, blk, path);
    return rc < 0 ? rc : measure(image, blk, path);
}

int32_t image_open(struct image *image, struct blk *blk)
{
    const char *path = hvv_option_string(blk->dev, "path");
    if (!path)
        return hvv_error_option(blk->dev, EINVAL, "path",
                                "no image was given; name a file or block device, as in "
                                "blk:/path/disk.img");
    if (hvv_option_count(blk->dev, "size") > 0)
        return hvv_error_option(blk->dev, EINVAL, "size",
                                "the size of an image is that of its file; leave out 'size' or use "
                                "the command resize");
    *image = (struct image){.fd = -1, .lock_fd = -1, .offset_align = BLK_SECTOR};
    image->direct = hvv_option_u64(blk->dev, "direct");
    int32_t rc = set_up(image, blk, path);
    if (rc < 0)
        image_close(image);
    return rc;
}

void image_close(struct image *image)
{
    if (image->lock_fd >= 0)
        close(image->lock_fd);
    if (image->fd >= 0)
        close(image->fd);
    image->lock_fd = image->fd = -1;
}
