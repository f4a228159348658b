/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ring.c - a queue's descriptors: kicks come in, calls go out.
 *
 * The control thread sets them up while the queue is stopped; the worker uses them while it runs.
 * Descriptors come from a peer, and are only ever used without blocking (peer-fd.h).
 */
#include "transport/peer-fd.h"
#include "transport/vhost-user/vhost-user.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int ring_init(struct ring *ring, struct endpoint *endpoint, struct queue *queue)
{
    ring->queue = queue;
    ring->endpoint = endpoint;
    ring->kick_fd = ring->err_fd = -1;
    atomic_init(&ring->call_fd, -1);
    atomic_init(&ring->inband_fd, -1);
    queue->transport_state = ring;
    return 0;
}

void ring_clear(struct ring *ring)
{
    watch_free(ring->kick_watch);
    ring->kick_watch = NULL;
    peer_fd_close(ring->kick_fd);
    peer_fd_close(ring->err_fd);
    ring->kick_fd = ring->err_fd = -1;
    peer_fd_close(atomic_exchange(&ring->call_fd, -1));
    atomic_store(&ring->inband_fd, -1);
    ring->setup = (struct virtq_setup){0};
    ring->has_addr = ring->has_kick = ring->no_kick_fd = ring->enabled = false;
}

/* ---- worker ---------------------------------------------------------------------------------- */

static void on_kick(void *arg, uint32_t events)
{
    (void)events;
    struct ring *ring = arg;
    int rc = peer_fd_drain(ring->kick_fd);
    if (rc > 0) {
        queue_notified(ring->queue); /* awake is all it takes: the worker looks at its rings */
    } else if (rc < 0) {
        watch_set(ring->kick_watch, 0);
        device_break(ring->queue->dev, "queue %u: its kick descriptor cannot be read: %s",
                     ring->queue->index, rc == -ENODATA ? "end of file" : strerror(-rc));
    }
}

void ring_running(struct queue *q, bool running)
{
    struct ring *ring = q->transport_state;
    if (ring->kick_watch)
        watch_set(ring->kick_watch, running ? HVV_WATCH_READ : 0);
}

static void call_inband(struct queue *q, int fd)
{
    struct {
        struct vu_header header;
        struct vu_ring_state state;
    } message = {
        .header = {VU_BACKEND_VRING_CALL, VU_VERSION, sizeof(struct vu_ring_state)},
        .state = {.index = q->index},
    };
    if (send(fd, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        device_log(q->dev, HVV_LOG_DEBUG, "queue %u: call message: %s", q->index, strerror(errno));
}

void ring_interrupt(struct queue *q)
{
    struct ring *ring = q->transport_state;
    int fd = atomic_load(&ring->call_fd);
    int inband = atomic_load(&ring->inband_fd);
    int rc = fd >= 0 ? peer_fd_signal(fd) : 0;
    if (rc < 0) {
        device_log(q->dev, HVV_LOG_DEBUG, "queue %u: call: %s", q->index, strerror(-rc));
    } else if (fd < 0 && inband >= 0) {
        call_inband(q, inband);
    }
}

/* ---- control --------------------------------------------------------------------------------- */

void ring_signal_error(struct ring *ring)
{
    int rc = ring->err_fd >= 0 ? peer_fd_signal(ring->err_fd) : 0;
    if (rc < 0)
        device_log(ring->queue->dev, HVV_LOG_DEBUG, "queue %u: error descriptor: %s",
                   ring->queue->index, strerror(-rc));
}

int ring_set_kick(struct ring *ring, int fd)
{
    watch_free(ring->kick_watch);
    ring->kick_watch = NULL;
    peer_fd_close(ring->kick_fd);
    ring->kick_fd = fd;
    if (fd < 0)
        return 0;
    ring->kick_watch =
        watch_new(worker_loop(ring->queue->worker), peer_fd_number(fd), on_kick, ring);
    return ring->kick_watch ? 0 : -ENOMEM;
}

/* The front-end's address of an area, as the guest's. */
static int to_guest(struct ring *ring, const char *name, uint64_t uva, uint64_t *gpa,
                    struct error *error)
{
    struct memory *memory = ring->queue->dev->memory;
    if (memory && memory_from_uva(memory, uva, gpa))
        return 0;
    return error_set(error, EFAULT, "queue %u: %s area at 0x%" PRIx64 " is in no memory region",
                     ring->queue->index, name, uva);
}

int ring_try_start(struct ring *ring, struct error *error)
{
    struct device *dev = ring->queue->dev;
    if (!ring->enabled || !ring->has_kick || !ring->has_addr || ring->setup.size == 0 ||
        ring->queue->state != QUEUE_STOPPED)
        return 0;
    struct virtq_setup setup = ring->setup;
    setup.features = atomic_load(&dev->negotiated);
    if (!(setup.features >> VIRTIO_F_VERSION_1 & 1))
        return error_set(error, EPROTO, "queue %u: the driver did not accept VIRTIO_F_VERSION_1, "
                         "and legacy drivers are not served", ring->queue->index);
    if (to_guest(ring, "descriptor", ring->setup.desc, &setup.desc, error) < 0 ||
        to_guest(ring, "driver", ring->setup.avail, &setup.avail, error) < 0 ||
        to_guest(ring, "device", ring->setup.used, &setup.used, error) < 0)
        return -error->err;
    if (!device_has_running_queue(dev))
        atomic_store(&dev->broken, false); /* a driver that sets up its first ring starts afresh */
    return queue_start(ring->queue, &setup, ring->no_kick_fd, error);
}
