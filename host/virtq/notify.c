/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * notify.c - the driver's notifications: whether there is something to take, and whether we want to
 * be told. Worker thread.
 *
 * While the worker is busy it looks at the rings by itself and notifications are suppressed. Before
 * it sleeps they are enabled, but only for queues whose plugin took all there was (`drained`): one
 * that is holding back, like a network device with receive buffers and no packet, pops again when
 * it can, and needs no notification to do so.
 */
#include "virtq/virtq.h"

static bool pollable(const struct virtq *vq)
{
    return vq->state == VIRTQ_RUNNING && !vq->broken && vq->drained;
}

bool virtq_wants_service(struct virtq *vq)
{
    if (!pollable(vq))
        return false;
    if (vq->seen_avail != vq->next_avail) /* the turn's budget ended before the ring did */
        return true;
    return vq->ops->available(vq) > 0;
}

void virtq_hold_back(struct virtq *vq)
{
    vq->drained = false;
}

void virtq_begin_turn(struct virtq *vq)
{
    vq->turn = 0;
}

void virtq_suppress(struct virtq *vq)
{
    if (vq->quiet || vq->state != VIRTQ_RUNNING || vq->broken)
        return;
    vq->quiet = true;
    vq->ops->suppress(vq);
}

bool virtq_enable(struct virtq *vq)
{
    if (!pollable(vq))
        return false;
    vq->quiet = false;
    vq->ops->enable(vq);
    return vq->ops->available(vq) > 0;
}
