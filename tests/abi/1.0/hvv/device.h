/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvv/device.h - one device and the operations a plugin implements for it.
 *
 *     create -> publish -> { queue_start -> notify, poll -> queue_stop } -> reset -> stop -> destroy
 *
 * publish() comes first, and no queue starts before it has returned; stop() comes last. poll() and
 * watches go on after queue_stop() while chains are unfinished.
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
 *
 * A plugin's own threads are started in create() and joined in destroy(), with all signals blocked
 * but those of faults (SIGBUS, SIGSEGV...): the host survives guest memory that goes away by
 * catching SIGBUS. Between stop() and destroy() they may only log, count and finish chains.
 */
#ifndef HVV_DEVICE_H
#define HVV_DEVICE_H

#include <hvv/chain.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HVV_NO_QUEUE UINT32_MAX /* the device as a whole */

/* Flags of queue_stop() */
#define HVV_STOP_DISCARD 1u /* the driver will not see what is finished from now on */

struct hvv_host;

struct hvv_device {
    uint32_t size;               /* of this struct, as the host knows it */
    uint32_t reserved;
    const struct hvv_host *host; /* the services; call them through the hvv_*() wrappers */
    const char *id;              /* the operator's name for the device; lives as long as it */
    void *state;                 /* the plugin's own; set by create() */
    const char *directory;       /* where files go that the plugin makes for the outside and nobody
                                    named, as ID.SUFFIX: sockets, links. May be NULL */
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

    /*
     * Releases everything. No chain or map is in use, watches and timers are disarmed. Also called,
     * without publish() and stop(), for a device whose request failed. Required. Thread: builder.
     */
    void (*destroy)(struct hvv_device *dev);

    /*
     * Chains are available on queue `queue`: pop them with hvv_pop(). Armed when the queue starts
     * and by each hvv_pop() that returns fewer than asked; disarmed by the call itself and by
     * hvv_release(). So a plugin either pops until hvv_pop() returns fewer than asked, or does not:
     * then it is not called again, and pops by itself when it has something to give. Required.
     */
    void (*notify)(struct hvv_device *dev, uint32_t queue);

    /*
     * The device is about to be visible to its guest: nothing that is added with it can fail any
     * more. The operator hears that it is there when this has returned. Optional.
     */
    void (*publish)(struct hvv_device *dev);

    /* Queue `queue` is ready; hvv_features() tells what was negotiated. Optional. */
    void (*queue_start)(struct hvv_device *dev, uint32_t queue);

    /*
     * Queue `queue` is being stopped: hvv_pop() returns 0 from now on. Release the chains held
     * unused, newest first. With HVV_STOP_DISCARD in `flags` the driver has reset the queue: cancel
     * what can be cancelled. Without it the guest is only paused, and will see the results: let
     * work finish, do not turn it into errors. Either way it may finish later. Optional.
     */
    void (*queue_stop)(struct hvv_device *dev, uint32_t queue, uint32_t flags);

    /*
     * Looks for finished work of queue `queue` without blocking and finishes its chains. Called
     * often while the worker is busy, never while it sleeps: a plugin needs a watch as well.
     * Returns how many chains it finished. Optional.
     */
    uint32_t (*poll)(struct hvv_device *dev, uint32_t queue);

    /*
     * The driver wrote `size` bytes at `offset` of the config space; they are not stored by the
     * host. The plugin takes what it likes, with hvv_config_set() when the config space changes.
     * offset + size never passes the end. May come at any time between publish() and stop(), also
     * before a queue is started. A front-end may write the whole space to change one field: compare
     * with what is there. Optional: without it, writes are ignored.
     */
    void (*config_write)(struct hvv_device *dev, uint32_t offset, const void *data, uint32_t size);

    /*
     * The guest's memory map changed. Called for each running queue, on its worker: release the
     * chains held unused (hvv_pop() returns them again, translated anew), for the front-end waits
     * until no chain popped before is left. Also called with HVV_NO_QUEUE on the worker of queue 0:
     * maps made with hvv_mem_map() still point at valid memory, but no longer at the guest's; map
     * again, and unmap the old ones when their last user is done. Optional for a plugin that
     * neither holds chains idle nor maps.
     */
    void (*memory_changed)(struct hvv_device *dev, uint32_t queue);

    /*
     * The driver reset the device, or went away. All queues are stopped, all chains finished. Back
     * to the state after create(), back-end kept. The host unmaps all maps when this returns, so a
     * thread of the plugin uses a map only while it holds an unfinished chain. Optional.
     */
    void (*reset)(struct hvv_device *dev);

    /*
     * The device is being removed; comes after reset(), and only after publish(). All its watches
     * and timers are disarmed, and arming them is ignored from now on; free them in destroy(). End
     * running commands, leave shared state that others post through, keep own threads from posting:
     * tasks posted to the device before stop() returns are run, posting to it later is a bug.
     * Optional.
     */
    void (*stop)(struct hvv_device *dev);
};

#ifdef __cplusplus
}
#endif

#endif
