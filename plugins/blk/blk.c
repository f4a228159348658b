/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blk.c - the plugin: its table, options, commands, and the life of one disk.
 *
 * create() and destroy() run on the builder thread; notify, poll, queue_start and queue_stop on the
 * worker of the queue; the rest on the worker of queue 0. Order of create(): options, back-end
 * (which knows sizes and abilities), queues, features, config space; undone in reverse.
 */
#include "backend.h"
#include "request.h"

#include <endian.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>

#define CONFIG_BYTES offsetof(struct virtio_blk_config, max_secure_erase_sectors)
#define WCE_OFFSET offsetof(struct virtio_blk_config, wce)
/*
 * Chains taken in one call, and about how many bytes. What a call finishes is shown to the driver
 * after it: smaller batches let the driver work beside us, larger ones save interrupts.
 */
#define BATCH 32u
#define BATCH_BYTES (256u << 10)

#define FEATURE(NAME) (1ull << VIRTIO_BLK_F_##NAME)

static struct blk *blk_of(struct hvv_device *dev)
{
    return dev->state;
}

/* ---- Create ---------------------------------------------------------------------------------- */

static const struct backend_ops *backend_find(const char *name)
{
    static const struct backend_ops *const backends[] = {&backend_file, &backend_null,
                                                         &backend_mem};
    for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
        if (strcmp(backends[i]->name, name) == 0)
            return backends[i];
    return NULL;
}

static bool power_of_two(uint64_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

static int32_t check_power(struct hvv_device *dev, const char *option)
{
    uint64_t value = hvv_option_u64(dev, option);
    if (hvv_option_count(dev, option) == 0 || power_of_two(value))
        return 0;
    uint64_t near = 1;
    while (near * 2 < value)
        near *= 2;
    return hvv_error_option(dev, EINVAL, option,
                            "%llu is not a power of two; use %llu or %llu",
                            (unsigned long long)value, (unsigned long long)near,
                            (unsigned long long)near * 2);
}

static int32_t read_serial(struct blk *blk)
{
    const char *serial = hvv_option_string(blk->dev, "serial");
    size_t bytes = serial ? strlen(serial) : 0;
    if (bytes > BLK_SERIAL_BYTES)
        return hvv_error_option(blk->dev, EINVAL, "serial",
                                "'%s' has %zu bytes, the limit is %u; shorten it", serial, bytes,
                                BLK_SERIAL_BYTES);
    if (bytes > 0)
        memcpy(blk->serial, serial, bytes);
    return 0;
}

static int32_t read_options(struct blk *blk)
{
    struct hvv_device *dev = blk->dev;
    int32_t rc = check_power(dev, "queue-size");
    if (rc == 0)
        rc = check_power(dev, "block-size");
    if (rc == 0)
        rc = read_serial(blk);
    if (rc < 0)
        return rc;
    blk->read_only = hvv_option_u64(dev, "ro");
    blk->writeback_default = hvv_option_u64(dev, "writeback");
    atomic_store(&blk->writeback, blk->writeback_default);
    blk->queue_size = (uint32_t)hvv_option_u64(dev, "queue-size");
    blk->seg_max = (uint32_t)hvv_option_u64(dev, "seg-max");
    blk->block_size = BLK_SECTOR;
    if (hvv_option_count(dev, "block-size") > 0)
        blk->block_size = (uint32_t)hvv_option_u64(dev, "block-size");
    blk->physical_size = blk->block_size;
    blk->discard_align = blk->block_size;
    blk->io_align = BLK_SECTOR;
    return 0;
}

static void queue_more(struct hvv_task *task);

static struct blk *blk_new(struct hvv_device *dev)
{
    uint32_t n = (uint32_t)hvv_option_u64(dev, "queues");
    size_t bytes = sizeof(struct blk) + n * sizeof(struct blk_queue);
    struct blk *blk = aligned_alloc(_Alignof(struct blk), bytes);
    if (!blk)
        return NULL;
    memset(blk, 0, bytes);
    blk->dev = dev;
    blk->n_queues = n;
    blk->backend = backend_find(hvv_option_string(dev, "backend"));
    for (uint32_t i = 0; i < n; i++) {
        blk->queue[i].blk = blk;
        blk->queue[i].index = i;
        blk->queue[i].more.run = queue_more;
    }
    return blk;
}

static uint8_t exponent(uint32_t ratio)
{
    uint8_t n = 0;
    while (ratio > 1) {
        ratio /= 2;
        n++;
    }
    return n;
}

static int32_t set_config(const struct blk *blk)
{
    uint32_t ratio = blk->physical_size / blk->block_size;
    struct virtio_blk_config config = {
        .capacity = htole64(atomic_load(&blk->capacity) / BLK_SECTOR),
        .size_max = htole32(BLK_SIZE_MAX),
        .seg_max = htole32(blk->seg_max),
        .blk_size = htole32(blk->block_size),
        .physical_block_exp = exponent(ratio),
        .min_io_size = htole16((uint16_t)ratio),
        .wce = blk->writeback_default,
        .num_queues = htole16((uint16_t)blk->n_queues),
        .max_discard_sectors = htole32(BLK_RANGE_SECTORS),
        .max_discard_seg = htole32(BLK_RANGES_MAX),
        .discard_sector_alignment = htole32(blk->discard_align / BLK_SECTOR),
        .max_write_zeroes_sectors = htole32(BLK_RANGE_SECTORS),
        .max_write_zeroes_seg = htole32(BLK_RANGES_MAX),
        .write_zeroes_may_unmap = blk->discard,
    };
    return hvv_config_set(blk->dev, 0, &config, CONFIG_BYTES, 0);
}

static uint64_t features(const struct blk *blk)
{
    uint64_t bits = FEATURE(SIZE_MAX) | FEATURE(SEG_MAX) | FEATURE(BLK_SIZE) | FEATURE(TOPOLOGY) |
                    FEATURE(FLUSH) | FEATURE(CONFIG_WCE);
    if (blk->n_queues > 1)
        bits |= FEATURE(MQ);
    if (blk->read_only)
        return bits | FEATURE(RO);
    if (blk->discard)
        bits |= FEATURE(DISCARD);
    return bits | FEATURE(WRITE_ZEROES);
}

static int32_t add_queues(const struct blk *blk)
{
    struct hvv_device *dev = blk->dev;
    int32_t rc = hvv_add_queues(dev, blk->n_queues, blk->queue_size, blk->seg_max + 2,
                                0);
    if (rc < 0)
        return hvv_error(dev, -rc, "%u queues of %u descriptors cannot be made: %s; use fewer or "
                         "smaller ones", blk->n_queues, blk->queue_size, strerror(-rc));
    return 0;
}

/* What the host shows to the driver, known once the back-end is open. */
static int32_t describe(const struct blk *blk)
{
    struct hvv_device *dev = blk->dev;
    hvv_set_features(dev, features(blk), blk->in_order ? HVV_FEATURES_IN_ORDER : 0);
    int32_t rc = set_config(blk);
    if (rc < 0)
        return hvv_error(dev, -rc, "the config space of %zu bytes cannot be set: %s", CONFIG_BYTES,
                         strerror(-rc));
    return 0;
}

static int32_t create(struct hvv_device *dev)
{
    struct blk *blk = blk_new(dev);
    if (!blk)
        return hvv_error(dev, ENOMEM, "no memory for the disk's state");
    int32_t rc = read_options(blk);
    if (rc == 0)
        rc = add_queues(blk); /* before open: watches belong to queues */
    if (rc < 0)
        goto fail;
    rc = blk->backend->open(blk);
    if (rc < 0)
        goto fail;
    rc = describe(blk);
    if (rc < 0)
        goto close;
    dev->state = blk;
    return 0;
close:
    blk->backend->close(blk);
fail:
    free(blk);
    return rc;
}

static void destroy(struct hvv_device *dev)
{
    struct blk *blk = blk_of(dev);
    blk->backend->close(blk);
    free(blk);
}

/* ---- Queues ---------------------------------------------------------------------------------- */

static void queue_start(struct hvv_device *dev, uint32_t index)
{
    struct blk *blk = blk_of(dev);
    uint64_t taken = hvv_features(dev);
    blk->queue[index].flush_known = taken & FEATURE(FLUSH);
    blk->queue[index].wce_known = taken & FEATURE(CONFIG_WCE);
    if (blk->backend->queue_start)
        blk->backend->queue_start(blk, index);
}

static void queue_stop(struct hvv_device *dev, uint32_t index, uint32_t flags)
{
    (void)flags; /* I/O is not cancelled: it ends by itself, and soon */
    struct blk *blk = blk_of(dev);
    if (blk->backend->queue_stop)
        blk->backend->queue_stop(blk, index);
}

/* Takes one batch. False when no more chains are available. */
static bool take_batch(struct blk_queue *queue)
{
    struct blk *blk = queue->blk;
    struct hvv_chain *chain;
    uint64_t bytes = 0;
    uint32_t n = 0;
    while (n < BATCH && bytes < BATCH_BYTES && hvv_pop(blk->dev, queue->index, &chain, 1) == 1) {
        bytes += chain->readable_bytes + chain->writable_bytes;
        n++;
        struct request *req = request_start(queue, chain);
        if (req)
            blk->backend->submit(blk, req);
    }
    if (n > 0 && blk->backend->flush)
        blk->backend->flush(blk, queue->index);
    return n == BATCH || bytes >= BATCH_BYTES;
}

/* More is taken by a task of its own: others on the worker, and the driver, have their turn first. */
static void take(struct blk_queue *queue)
{
    if (take_batch(queue) && !queue->more_posted) {
        queue->more_posted = true;
        hvv_post(queue->blk->dev, queue->index, &queue->more);
    }
}

static void queue_more(struct hvv_task *task)
{
    struct blk_queue *queue =
        (struct blk_queue *)((char *)task - offsetof(struct blk_queue, more));
    queue->more_posted = false;
    take(queue);
}

static void notify(struct hvv_device *dev, uint32_t index)
{
    take(&blk_of(dev)->queue[index]);
}

static uint32_t poll_queue(struct hvv_device *dev, uint32_t index)
{
    struct blk *blk = blk_of(dev);
    return blk->backend->poll ? blk->backend->poll(blk, index) : 0;
}

/* ---- Config space and reset ------------------------------------------------------------------ */

static void set_writeback(struct blk *blk, uint8_t on)
{
    atomic_store(&blk->writeback, on);
    (void)hvv_config_set(blk->dev, (uint32_t)WCE_OFFSET, &on, sizeof(on), 0);
}

/* Only `wce` can be written; other bytes, and values that mean nothing, are ignored. */
static void config_write(struct hvv_device *dev, uint32_t offset, const void *data, uint32_t size)
{
    if (offset > WCE_OFFSET || size <= WCE_OFFSET - offset)
        return;
    uint8_t value = ((const uint8_t *)data)[WCE_OFFSET - offset];
    if (value <= 1 && hvv_features(dev) & FEATURE(CONFIG_WCE))
        set_writeback(blk_of(dev), value);
}

static void reset(struct hvv_device *dev)
{
    set_writeback(blk_of(dev), blk_of(dev)->writeback_default);
}

/* ---- Resize ---------------------------------------------------------------------------------- */

static bool idle(const struct blk *blk)
{
    for (uint32_t i = 0; i < blk->n_queues; i++)
        if (atomic_load(&blk->queue[i].in_flight) > 0)
            return false;
    return true;
}

/*
 * The counterpart of the order in request.c: lower, then look. A request that comes in between is
 * checked against the lower capacity, so the look before spares the driver most false errors.
 */
bool blk_lower_capacity(struct blk *blk, uint64_t bytes)
{
    if (!idle(blk))
        return false;
    uint64_t old = atomic_exchange(&blk->capacity, bytes);
    if (idle(blk))
        return true;
    atomic_store(&blk->capacity, old);
    return false;
}

static int32_t run_resize(struct hvv_device *dev, struct hvv_call *call)
{
    struct blk *blk = blk_of(dev);
    struct backend_resize want = {
        .size = hvv_call_u64(dev, call, "size"),
        .shrink = hvv_call_u64(dev, call, "shrink"),
    };
    uint64_t before = atomic_load(&blk->capacity);
    int32_t rc = blk->backend->resize(blk, call, &want);
    if (rc < 0)
        return rc;
    uint64_t bytes = atomic_load(&blk->capacity);
    uint64_t sectors = htole64(bytes / BLK_SECTOR);
    if (bytes != before) {
        (void)hvv_config_set(dev, offsetof(struct virtio_blk_config, capacity), &sectors,
                             sizeof(sectors), HVV_CONFIG_NOTIFY);
        hvv_event(dev, BLK_EVENT_RESIZED, "old-size=%llu size=%llu", (unsigned long long)before,
                  (unsigned long long)bytes);
    }
    hvv_call_result_u64(dev, call, "old-size", before);
    hvv_call_result_u64(dev, call, "size", bytes);
    return 0;
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static const struct hvv_ops ops = {
    .size = sizeof(ops),
    .create = create,
    .destroy = destroy,
    .notify = notify,
    .queue_start = queue_start,
    .queue_stop = queue_stop,
    .poll = poll_queue,
    .config_write = config_write,
    .reset = reset,
};

static const struct hvv_option options[] = {
    {.name = "path", .type = HVV_OPTION_PATH, .flags = HVV_OPTION_POSITIONAL,
     .help = "raw image file or block device, for backend=file"},
    {.name = "backend", .type = HVV_OPTION_CHOICE, .choices = "file null mem", .dflt = "file",
     .help = "where the bytes are: in an image, nowhere, or in memory"},
    {.name = "size", .type = HVV_OPTION_SIZE, .min = BLK_SECTOR, .max = 1ull << 60,
     .help = "size of the disk for backend=null and mem, 1G if absent"},
    {.name = "ro", .type = HVV_OPTION_BOOL, .dflt = "off", .help = "the guest can only read"},
    {.name = "queues", .type = HVV_OPTION_U64, .min = 1, .max = BLK_QUEUES_MAX, .dflt = "1",
     .help = "number of request queues"},
    {.name = "queue-size", .type = HVV_OPTION_U64, .min = 2, .max = HVV_QUEUE_SIZE_MAX,
     .dflt = "1024", .help = "largest number of descriptors in a queue, a power of two"},
    {.name = "seg-max", .type = HVV_OPTION_U64, .min = 1, .max = BLK_SEG_MAX, .dflt = "126",
     .help = "most data segments in one request"},
    {.name = "serial", .type = HVV_OPTION_STRING,
     .help = "serial number the guest can read, at most 20 bytes"},
    {.name = "block-size", .type = HVV_OPTION_U64, .min = BLK_SECTOR, .max = 4096,
     .help = "logical block size, a power of two, 512 or what direct needs if absent"},
    {.name = "direct", .type = HVV_OPTION_BOOL, .dflt = "off",
     .help = "go around the page cache of the host"},
    {.name = "discard", .type = HVV_OPTION_BOOL, .dflt = "on",
     .help = "let the guest give space back to the image"},
    {.name = "writeback", .type = HVV_OPTION_BOOL, .dflt = "on",
     .help = "start with the write cache on"},
    {.name = "engine", .type = HVV_OPTION_CHOICE, .choices = "auto uring threads", .dflt = "auto",
     .help = "how I/O is done for backend=file"},
    {.name = "locking", .type = HVV_OPTION_BOOL, .dflt = "on",
     .help = "refuse an image that somebody else uses"},
};

static const struct hvv_option resize_params[] = {
    {.name = "size", .type = HVV_OPTION_SIZE, .min = BLK_SECTOR, .max = 1ull << 60,
     .help = "new size; if absent, the size the image has now"},
    {.name = "shrink", .type = HVV_OPTION_BOOL, .dflt = "off",
     .help = "allow the disk to become smaller"},
};

static const struct hvv_command commands[] = {
    {.name = "resize", .help = "change the size of the disk and tell the guest",
     .params = resize_params, .n_params = sizeof(resize_params) / sizeof(resize_params[0]),
     .param_size = sizeof(struct hvv_option), .run = run_resize},
};

static const struct hvv_counter counters[BLK_COUNTERS] = {
    [BLK_READS] = {"reads", "read requests done", HVV_COUNTER_QUEUE, 0},
    [BLK_WRITES] = {"writes", "write requests done", HVV_COUNTER_QUEUE, 0},
    [BLK_FLUSHES] = {"flushes", "flush requests done", HVV_COUNTER_QUEUE, 0},
    [BLK_DISCARDS] = {"discards", "discard requests done", HVV_COUNTER_QUEUE, 0},
    [BLK_WRITE_ZEROES] = {"write-zeroes", "write-zeroes requests done", HVV_COUNTER_QUEUE, 0},
    [BLK_READ_BYTES] = {"read-bytes", "bytes read", HVV_COUNTER_QUEUE, 0},
    [BLK_WRITTEN_BYTES] = {"written-bytes", "bytes written", HVV_COUNTER_QUEUE, 0},
    [BLK_INLINE] = {"inline", "transfers done at once from the page cache", HVV_COUNTER_QUEUE, 0},
    [BLK_BOUNCED] = {"bounced", "transfers copied through a bounce buffer", HVV_COUNTER_QUEUE, 0},
    [BLK_IO_ERRORS] = {"io-errors", "requests answered with an I/O error", HVV_COUNTER_QUEUE, 0},
    [BLK_UNSUPPORTED] = {"unsupported", "requests answered as not supported", HVV_COUNTER_QUEUE, 0},
};

static const struct hvv_event events[BLK_EVENTS] = {
    [BLK_EVENT_RESIZED] = {"resized", "the disk has another size"},
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .abi_minor = HVV_ABI_MINOR,
    .name = "blk",
    .version = "1.0.0",
    .description = "virtio block device on a raw image, a block device or memory",
    .virtio_id = VIRTIO_ID_BLOCK,
    .threads = HVV_SERIAL_QUEUE,
    .chain_state_size = sizeof(struct request),
    .ops = &ops,
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .option_size = sizeof(options[0]),
    .commands = commands,
    .n_commands = sizeof(commands) / sizeof(commands[0]),
    .command_size = sizeof(commands[0]),
    .counters = counters,
    .n_counters = BLK_COUNTERS,
    .counter_size = sizeof(counters[0]),
    .events = events,
    .n_events = BLK_EVENTS,
    .event_size = sizeof(events[0]),
    .qemu = "-device vhost-user-blk-pci,chardev={chardev},num-queues={queues}",
};

const struct hvv_plugin *hvv_plugin_v1(void)
{
    return &plugin;
}
