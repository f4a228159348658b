/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvv/device.h - one device and the operations a plugin implements for it.
 *
 *     create -> publish -> { queue_start -> notify, poll, ... -> queue_stop } -> reset -> stop -> destroy
 *
 *  - create() does everything that can fail. Nothing the plugin does later may be needed to succeed
 *    for the device to exist.
 *  - Queues start and stop one by one, in any order and any number of times.
 *  - After queue_stop() the host waits until the plugin has finished every chain of that queue.
 *    Until then it does not tell the guest that the queue is stopped.
 *  - A device that fails later in its request is destroyed without publish().
 *
 * Threads: create() and destroy() run on the builder thread and may block. Everything else runs on
 * the device's worker, one call at a time, and must not block. With HVV_SERIAL_QUEUE each queue may
 * have a worker of its own: calls for one queue come one at a time, calls for two may come
 * together; the calls that name no queue run on the worker of queue 0.
 */
#ifndef HVV_DEVICE_H
#define HVV_DEVICE_H

#include <hvv/chain.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hvv_host;

struct hvv_device {
    uint32_t size;               /* of this struct, as the host knows it */
    uint32_t reserved;
    const struct hvv_host *host; /* the services; call them through the hvv_*() wrappers */
    const char *id;              /* the operator's name for the device; lives as long as it */
    void *state;                 /* the plugin's own; set by create() */
};

struct hvv_ops {
    uint32_t size;
    uint32_t reserved;

    /*
     * Makes the device ready, out of sight: opens what it needs, declares features, queues and
     * config space, and sets dev->state. Returns 0, or a negative errno after hvv_error() or
     * hvv_error_option() said why; then everything it acquired is released again and destroy() is
     * not called. Required. Thread: builder; may block.
     */
    int32_t (*create)(struct hvv_device *dev);

    /* Releases everything. No chain, watch, timer or map is in use. Required. Thread: builder. */
    void (*destroy)(struct hvv_device *dev);

    /*
     * The driver made chains available on queue `queue`: pop them with hvv_pop(). Called when
     * chains are available and the previous hvv_pop() on this queue returned fewer than it was
     * asked for (or the queue was just started). So a plugin either pops until hvv_pop() returns
     * less than asked, or does not and pops again by itself when it can go on. Required.
     */
    void (*notify)(struct hvv_device *dev, uint32_t queue);

    /* The device is visible to its guest now. Optional. */
    void (*publish)(struct hvv_device *dev);

    /* Queue `queue` is ready; hvv_features() tells what was negotiated. Optional. */
    void (*queue_start)(struct hvv_device *dev, uint32_t queue);

    /*
     * Queue `queue` is being stopped: hvv_pop() returns 0 from now on. Release chains held unused
     * (newest first), cancel what can be cancelled; the rest may finish later. Optional.
     */
    void (*queue_stop)(struct hvv_device *dev, uint32_t queue);

    /*
     * Looks for finished work of queue `queue` without blocking and finishes its chains. Called
     * often while the worker is busy, never while it sleeps: a plugin needs a watch as well.
     * Returns how many chains it finished. Optional.
     */
    uint32_t (*poll)(struct hvv_device *dev, uint32_t queue);

    /*
     * The driver wrote `size` bytes at `offset` of the config space; they are not stored by the
     * host. The plugin takes what it likes, with hvv_config_set() when the config space changes.
     * offset + size never passes the end. May come at any time between create and destroy, also
     * before a queue is started. Optional: without it, writes are ignored.
     */
    void (*config_write)(struct hvv_device *dev, uint32_t offset, const void *data, uint32_t size);

    /*
     * The guest's memory map changed. Maps made with hvv_mem_map() still point at valid memory, but
     * no longer at the guest's: unmap them and map again. Optional.
     */
    void (*memory_changed)(struct hvv_device *dev);

    /*
     * The driver reset the device, or went away. All queues are stopped, all chains finished, all
     * maps unmapped by the host. Back to the state after create(), back-end kept. Optional.
     */
    void (*reset)(struct hvv_device *dev);

    /*
     * The device is being removed; comes after reset(). End running commands and leave shared
     * state that others post through. Afterwards the host disarms all watches and timers; free them
     * in destroy(). Not called for a device never published. Optional.
     */
    void (*stop)(struct hvv_device *dev);
};

#ifdef __cplusplus
}
#endif

#endif
