/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rng.c - an entropy device (virtio 1.2, section 5.4): the guest puts empty buffers into the one
 * queue and gets them back full of random bytes from the host.
 *
 * With the option `rate` a guest gets no more bytes a second than that. Bytes it may have now are
 * its credit, which grows with time up to one second's worth. A chain is popped only when there is
 * credit for it, so none is ever held, and there is nothing to do when the queue stops: hvv_pop()
 * finds nothing then, and notify() comes when it starts again.
 */
#include <hvv/plugin.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>

#define VIRTIO_ID 4u
#define PIECE 256u     /* up to here getrandom() never stops short */
#define FILL_MAX 4096u /* bytes for one buffer; a driver that wants more sends another */
#define LEAST 64u      /* credit worth waking up a guest for */
#define SECOND 1000000000u
#define RETRY_NS 100000000u /* until the kernel has random bytes, early after its start */

enum counter { COUNTER_BYTES, COUNTER_WAITS, COUNTERS };

struct rng {
    struct hvv_device *dev;
    struct hvv_timer *timer; /* set while chains may be waiting for credit */
    uint64_t rate;           /* bytes a second; 0: no limit */
    uint64_t credit;         /* bytes */
    uint64_t since;          /* when the credit was right */
};

static struct rng *rng_of(struct hvv_device *dev)
{
    return dev->state;
}

/* ---- Credit ---------------------------------------------------------------------------------- */

static uint64_t burst(const struct rng *rng)
{
    return rng->rate > LEAST ? rng->rate : LEAST;
}

static void grow_credit(struct rng *rng)
{
    uint64_t now = hvv_now(rng->dev), elapsed = now - rng->since;
    if (elapsed > burst(rng) * SECOND / rng->rate) {
        rng->credit = burst(rng);
        rng->since = now;
        return;
    }
    uint64_t more = elapsed * rng->rate / SECOND;
    rng->credit += more;
    rng->since += more * SECOND / rng->rate; /* what is not a whole byte yet stays in the clock */
    if (rng->credit > burst(rng))
        rng->credit = burst(rng);
}

/* How many bytes the next buffer may get; 0: none, and the timer is set for when it may. */
static uint64_t allowance(struct rng *rng)
{
    if (rng->rate == 0)
        return FILL_MAX;
    grow_credit(rng);
    if (rng->credit >= LEAST)
        return rng->credit < FILL_MAX ? rng->credit : FILL_MAX;
    hvv_count(rng->dev, COUNTER_WAITS, HVV_NO_QUEUE, 1);
    hvv_timer_set(rng->dev, rng->timer, (LEAST - rng->credit) * SECOND / rng->rate + 1);
    return 0;
}

/* ---- The queue ------------------------------------------------------------------------------- */

/* Fills `chain` with at most `max` bytes. Returns how many; 0: the kernel has none yet. */
static uint32_t fill(struct hvv_chain *chain, uint64_t max)
{
    unsigned char bytes[PIECE];
    uint64_t want = chain->writable_bytes < max ? chain->writable_bytes : max;
    uint64_t done = 0;
    while (done < want) {
        size_t n = want - done < PIECE ? (size_t)(want - done) : PIECE;
        if (getrandom(bytes, n, GRND_NONBLOCK) != (ssize_t)n)
            break;
        hvv_iov_write(chain->writable, chain->n_writable, done, bytes, n);
        done += n;
    }
    return (uint32_t)done;
}

/* False if nothing more can be done now. */
static bool serve_one(struct rng *rng, struct hvv_chain *chain, uint64_t max)
{
    if (chain->writable_bytes == 0) {
        hvv_fail(chain, "a buffer has no room: it must be writable and 1 byte long at least");
        return false;
    }
    uint32_t n = fill(chain, max);
    if (n == 0) {
        hvv_release(chain);
        hvv_timer_set(rng->dev, rng->timer, RETRY_NS);
        return false;
    }
    if (rng->rate)
        rng->credit -= n;
    hvv_count(rng->dev, COUNTER_BYTES, HVV_NO_QUEUE, n);
    hvv_complete(chain, n);
    return true;
}

/* hvv_pop() that finds nothing asks for the next notify(); without credit the timer goes on. */
static void serve(struct rng *rng)
{
    uint64_t max;
    struct hvv_chain *chain;
    while ((max = allowance(rng)) > 0 && hvv_pop(rng->dev, 0, &chain, 1) == 1)
        if (!serve_one(rng, chain, max))
            return;
}

static void rng_notify(struct hvv_device *dev, uint32_t queue)
{
    (void)queue;
    serve(rng_of(dev));
}

static void expired(void *arg)
{
    serve(arg);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static int32_t rng_create(struct hvv_device *dev)
{
    int32_t queue = hvv_add_queues(dev, 1, HVV_QUEUE_SIZE_MAX, HVV_SEGMENTS_MAX, 0);
    if (queue < 0)
        return hvv_error(dev, -queue, "no memory for the queue");
    struct rng *rng = calloc(1, sizeof(*rng));
    if (!rng)
        return hvv_error(dev, ENOMEM, "no memory for the device");
    rng->dev = dev;
    rng->rate = hvv_option_u64(dev, "rate");
    rng->credit = burst(rng);
    rng->since = hvv_now(dev);
    rng->timer = hvv_timer_new(dev, 0, expired, rng);
    if (!rng->timer) {
        free(rng);
        return hvv_error(dev, ENOMEM, "no memory for a timer");
    }
    dev->state = rng;
    return 0;
}

static void rng_destroy(struct hvv_device *dev)
{
    struct rng *rng = rng_of(dev);
    hvv_timer_free(dev, rng->timer);
    free(rng);
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static const struct hvv_option options[] = {
    {.name = "rate",
     .type = HVV_OPTION_SIZE,
     .max = 1u << 30,
     .dflt = "0",
     .help = "bytes a second the guest gets at most; 0 for no limit"},
};

static const struct hvv_counter counters[COUNTERS] = {
    [COUNTER_BYTES] = {.name = "bytes", .help = "bytes given to the guest"},
    [COUNTER_WAITS] = {.name = "waits", .help = "times the guest had to wait for its rate"},
};

static const struct hvv_ops ops = {
    .size = sizeof(ops),
    .create = rng_create,
    .destroy = rng_destroy,
    .notify = rng_notify,
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .abi_minor = HVV_ABI_MINOR,
    .name = "rng",
    .version = "1.0",
    .description = "random bytes for a guest",
    .virtio_id = VIRTIO_ID,
    .threads = HVV_SERIAL_DEVICE,
    .ops = &ops,
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .option_size = sizeof(options[0]),
    .counters = counters,
    .n_counters = COUNTERS,
    .counter_size = sizeof(counters[0]),
    .qemu = "-device vhost-user-rng-pci,chardev={chardev}",
};

const struct hvv_plugin *hvv_plugin_v1(void)
{
    return &plugin;
}
