/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fill.h - the device the test plugins share: one queue whose buffers it fills with random bytes,
 * as an entropy device does (virtio 1.2, section 5.4). Has no state.
 */
#ifndef TESTS_PLUGINS_FILL_H
#define TESTS_PLUGINS_FILL_H

#include <hvv/plugin.h>
#include <sys/random.h>

#define FILL_VIRTIO_ID 4u
#define FILL_QUEUE_SIZE 64u
#define FILL_SEGMENTS 16u
#define FILL_BATCH 8u
#define FILL_BYTES 256u /* most for one buffer; up to here getrandom() never stops short */

/* The part of create() that declares the device. 0 or a negative errno. */
static inline int32_t fill_declare(struct hvv_device *dev)
{
    int32_t first = hvv_add_queues(dev, 1, FILL_QUEUE_SIZE, FILL_SEGMENTS, 0);
    return first < 0 ? hvv_error(dev, -first, "the queue cannot be made") : 0;
}

static inline uint32_t fill_chain(const struct hvv_chain *chain)
{
    unsigned char bytes[FILL_BYTES];
    ssize_t n = getrandom(bytes, sizeof(bytes), GRND_NONBLOCK);
    if (n <= 0)
        return 0;
    return (uint32_t)hvv_iov_write(chain->writable, chain->n_writable, 0, bytes, (size_t)n);
}

static inline void fill_notify(struct hvv_device *dev, uint32_t queue)
{
    struct hvv_chain *chains[FILL_BATCH];
    uint32_t n;
    do {
        n = hvv_pop(dev, queue, chains, FILL_BATCH);
        for (uint32_t i = 0; i < n; i++)
            hvv_complete(chains[i], fill_chain(chains[i]));
    } while (n == FILL_BATCH);
}

#endif
