/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * messages.c - what each vhost-user message does. Control thread.
 *
 * A handler works on s->message, which is complete and within the limits of the table at the end.
 * It checks every value before anything changes, and refuses with the value and the limit. Handlers
 * that need the queues quiet return session_wait(): a ring may be changed, and its state answered,
 * only when the worker no longer touches it.
 *
 * When rings start and stop: a ring starts once it is enabled and has its size, addresses and kick
 * descriptor; it stops at GET_VRING_BASE, at SET_VRING_ENABLE 0 (User-mode Linux frees the ring
 * right after), when it is set up afresh, and at a reset. SET_STATUS 0 stops nothing: QEMU sends it
 * before GET_VRING_BASE.
 */
#include "daemon.h"
#include "transport/peer-fd.h"
#include "transport/vhost-user/vhost-user.h"
#include "util/container.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <unistd.h>

static bool negotiated(const struct session *s, enum vu_protocol_feature f)
{
    return s->protocol_features >> f & 1;
}

static enum outcome reply_u64(struct session *s, uint64_t value)
{
    s->message.payload.u64 = value;
    s->message.header.size = sizeof(value);
    return REPLY;
}

static int take_fd(struct message *m)
{
    int fd = m->fds[0];
    m->fds[0] = -1;
    return fd;
}

/* ---- features -------------------------------------------------------------------------------- */

static uint64_t offered(const struct session *s)
{
    return device_offered(s->dev) | VU_FEATURE_PROTOCOL;
}

static uint64_t protocol_offered(const struct session *s)
{
    uint64_t f = 1ull << VU_F_MQ | 1ull << VU_F_REPLY_ACK | 1ull << VU_F_BACKEND_REQ |
                 1ull << VU_F_RESET_DEVICE | 1ull << VU_F_CONFIGURE_MEM_SLOTS | 1ull << VU_F_STATUS;
    if (atomic_load(&s->dev->config.size) > 0)
        f |= 1ull << VU_F_CONFIG;
    if (s->endpoint->inband)
        f |= 1ull << VU_F_INBAND_NOTIFICATIONS;
    return f;
}

static enum outcome get_features(struct session *s)
{
    return reply_u64(s, offered(s));
}

static enum outcome set_features(struct session *s)
{
    uint64_t f = s->message.payload.u64;
    if (f & ~offered(s))
        return session_refuse(s, "features 0x%" PRIx64 " were not offered", f & ~offered(s));
    s->features = f;
    atomic_store(&s->dev->negotiated, f & ~VU_FEATURE_PROTOCOL);
    return DONE;
}

static enum outcome get_protocol_features(struct session *s)
{
    return reply_u64(s, protocol_offered(s));
}

static enum outcome set_protocol_features(struct session *s)
{
    uint64_t f = s->message.payload.u64;
    if (f & ~protocol_offered(s))
        return session_refuse(s, "protocol features 0x%" PRIx64 " were not offered",
                              f & ~protocol_offered(s));
    s->protocol_features = f;
    return DONE;
}

static enum outcome set_owner(struct session *s)
{
    (void)s;
    return DONE;
}

static enum outcome get_queue_num(struct session *s)
{
    return reply_u64(s, device_queue_units(s->dev));
}

/* ---- guest memory ---------------------------------------------------------------------------- */

static enum outcome memory_in_use(struct session *s)
{
    (void)s;
    return DONE; /* no queue uses the snapshot before any more */
}

/* Gives the device a table of `n` regions; the references in `entries` are used up. */
static enum outcome change_memory(struct session *s, struct memory_entry *entries, size_t n)
{
    struct error error = {0};
    struct memory *memory = memory_new(entries, n, &error);
    for (size_t i = 0; i < n; i++)
        region_put(entries[i].region);
    if (!memory)
        return session_refuse(s, "%s", error.text);
    int rc = device_set_memory(s->dev, memory, &error);
    memory_put(memory);
    if (rc < 0)
        return session_refuse(s, "%s", error.text);
    return session_wait(s, memory_in_use);
}

static int map_region(struct memory_entry *entry, const struct vu_region *r, int fd,
                      struct error *error)
{
    entry->gpa = r->gpa;
    entry->size = r->size;
    entry->uva = r->uva;
    entry->region = region_map(fd, r->offset, r->size, error);
    return entry->region ? 0 : -error->err;
}

static enum outcome set_mem_table(struct session *s)
{
    struct message *m = &s->message;
    const struct vu_table *table = &m->payload.table;
    struct memory_entry entries[VU_TABLE_REGIONS];
    struct error error = {0};
    uint32_t n = table->n;
    /* User-mode Linux sends room for more regions than it has: longer than needed is fine. */
    if (n > VU_TABLE_REGIONS || m->header.size < 8 + n * sizeof(struct vu_region))
        return session_refuse(s, "%u regions in %u bytes, at most %u", n, m->header.size,
                              VU_TABLE_REGIONS);
    if (m->n_fds != n)
        return session_refuse(s, "%u descriptors for %u regions", m->n_fds, n);
    for (uint32_t i = 0; i < n; i++) {
        if (map_region(&entries[i], &table->regions[i], m->fds[i], &error) < 0) {
            while (i-- > 0)
                region_put(entries[i].region);
            return session_refuse(s, "%s", error.text);
        }
    }
    return change_memory(s, entries, n);
}

static enum outcome get_max_mem_slots(struct session *s)
{
    return reply_u64(s, MEMORY_REGIONS_MAX);
}

/* The current table's entries, with references. */
static size_t copy_entries(const struct session *s, struct memory_entry *entries)
{
    size_t n = 0;
    const struct memory_entry *now = s->dev->memory ? memory_entries(s->dev->memory, &n) : NULL;
    for (size_t i = 0; i < n; i++) {
        entries[i] = now[i];
        region_get(entries[i].region);
    }
    return n;
}

/* Leaves out those that are this region. Returns how many are left. */
static size_t leave_out(struct memory_entry *entries, size_t n, const struct vu_region *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].gpa == r->gpa && entries[i].size == r->size && entries[i].uva == r->uva)
            region_put(entries[i].region);
        else
            entries[kept++] = entries[i];
    }
    return kept;
}

/*
 * QEMU 7.2 says this, and the next one, once for each pair of queues of a network device: the same
 * region again takes the place of the first, and one that is gone already may go again.
 */
static enum outcome add_mem_reg(struct session *s)
{
    struct memory_entry entries[MEMORY_REGIONS_MAX + 1];
    struct error error = {0};
    if (s->message.n_fds != 1)
        return session_refuse(s, "%u descriptors for one region", s->message.n_fds);
    size_t n = leave_out(entries, copy_entries(s, entries), &s->message.payload.one.region);
    if (n == MEMORY_REGIONS_MAX)
        error_set(&error, ENOSPC, "more than %u regions", MEMORY_REGIONS_MAX);
    else
        map_region(&entries[n], &s->message.payload.one.region, s->message.fds[0], &error);
    if (error.err) {
        while (n-- > 0)
            region_put(entries[n].region);
        return session_refuse(s, "%s", error.text);
    }
    return change_memory(s, entries, n + 1);
}

static enum outcome rem_mem_reg(struct session *s)
{
    struct memory_entry entries[MEMORY_REGIONS_MAX];
    const struct vu_region *r = &s->message.payload.one.region;
    size_t n = copy_entries(s, entries), kept = leave_out(entries, n, r);
    if (kept == n) {
        while (n-- > 0)
            region_put(entries[n].region);
        return DONE;
    }
    return change_memory(s, entries, kept);
}

/* ---- rings ----------------------------------------------------------------------------------- */

/* The ring called `index`, or NULL after refusing. */
static struct ring *find_ring(struct session *s, uint32_t index)
{
    if (index < s->dev->n_queues)
        return &s->endpoint->rings[index];
    session_refuse(s, "ring %u of a device with %u", index, s->dev->n_queues);
    return NULL;
}

static enum outcome try_start(struct session *s, struct ring *ring)
{
    struct error error = {0};
    if (ring_try_start(ring, &error) < 0)
        return session_refuse(s, "%s", error.text);
    return DONE;
}

static enum outcome ring_stopped(struct session *s)
{
    struct ring *ring = &s->endpoint->rings[s->ring_index];
    ring->setup.next_avail = queue_next_avail(ring->queue);
    return DONE;
}

/* Stops a running ring, then goes on with `resume`, which begins with ring_stopped(). */
static enum outcome stop_ring(struct session *s, struct ring *ring,
                              enum outcome (*resume)(struct session *s))
{
    s->ring_index = ring->queue->index;
    queue_stop(ring->queue, false);
    return session_wait(s, resume);
}

static enum outcome stopped_repeat(struct session *s)
{
    struct ring *ring = &s->endpoint->rings[s->ring_index];
    ring_stopped(s);
    ring_set_kick(ring, -1);
    ring->has_kick = false;
    return message_handle(s);
}

/*
 * A fresh size, base or address for a ring that runs stops it, until its kick descriptor comes
 * again. Handles the message once more when that is done.
 */
static enum outcome stop_first(struct session *s, struct ring *ring)
{
    return stop_ring(s, ring, stopped_repeat);
}

static enum outcome set_vring_num(struct session *s)
{
    const struct vu_ring_state *state = &s->message.payload.state;
    struct ring *ring = find_ring(s, state->index);
    if (!ring)
        return REFUSE;
    uint32_t max = ring->queue->vq->max_size;
    if (state->num == 0 || (state->num & (state->num - 1)) || state->num > max)
        return session_refuse(s, "ring %u: size %u is not a power of two from 1 to %u",
                              state->index, state->num, max);
    if (ring->queue->state == QUEUE_RUNNING)
        return stop_first(s, ring);
    ring->setup.size = state->num;
    return DONE;
}

static enum outcome set_vring_base(struct session *s)
{
    const struct vu_ring_state *state = &s->message.payload.state;
    struct ring *ring = find_ring(s, state->index);
    if (!ring)
        return REFUSE;
    if (state->num > UINT16_MAX)
        return session_refuse(s, "ring %u: base %u is more than 65535", state->index, state->num);
    if (ring->queue->state == QUEUE_RUNNING)
        return stop_first(s, ring);
    ring->setup.next_avail = (uint16_t)state->num;
    return DONE;
}

static enum outcome set_vring_addr(struct session *s)
{
    const struct vu_ring_addr *addr = &s->message.payload.addr;
    struct ring *ring = find_ring(s, addr->index);
    if (!ring)
        return REFUSE;
    bool same = ring->has_addr && ring->setup.desc == addr->desc &&
                ring->setup.avail == addr->avail && ring->setup.used == addr->used;
    if (!same && ring->queue->state == QUEUE_RUNNING)
        return stop_first(s, ring);
    ring->setup.desc = addr->desc;
    ring->setup.avail = addr->avail;
    ring->setup.used = addr->used;
    ring->has_addr = true;
    return try_start(s, ring);
}

/* Answers with the base; the ring waits for a new kick descriptor. */
static enum outcome base_unchanged(struct session *s)
{
    struct ring *ring = &s->endpoint->rings[s->ring_index];
    ring_set_kick(ring, -1);
    ring->has_kick = false;
    s->message.payload.state =
        (struct vu_ring_state){.index = s->ring_index, .num = ring->setup.next_avail};
    s->message.header.size = sizeof(struct vu_ring_state);
    return REPLY;
}

static enum outcome base_known(struct session *s)
{
    ring_stopped(s);
    return base_unchanged(s);
}

static enum outcome get_vring_base(struct session *s)
{
    struct ring *ring = find_ring(s, s->message.payload.state.index);
    if (!ring)
        return CLOSE; /* there is no answer that says no */
    if (ring->queue->state == QUEUE_RUNNING)
        return stop_ring(s, ring, base_known);
    s->ring_index = ring->queue->index;
    return base_unchanged(s);
}

static enum outcome set_vring_enable(struct session *s)
{
    const struct vu_ring_state *state = &s->message.payload.state;
    struct ring *ring = find_ring(s, state->index);
    if (!ring)
        return REFUSE;
    ring->enabled = state->num != 0;
    if (ring->enabled)
        return try_start(s, ring);
    if (ring->queue->state == QUEUE_RUNNING)
        return stop_ring(s, ring, ring_stopped);
    return DONE;
}

/* ---- descriptors of rings -------------------------------------------------------------------- */

/* The ring and descriptor (-1: none) of a kick, call or err message, or NULL after refusing. */
static struct ring *ring_and_fd(struct session *s, int *fd)
{
    struct message *m = &s->message;
    struct ring *ring = find_ring(s, (uint32_t)(m->payload.u64 & VU_RING_INDEX_MASK));
    bool none = m->payload.u64 & VU_RING_NO_FD;
    if (!ring)
        return NULL;
    if (m->n_fds != (none ? 0u : 1u)) {
        session_refuse(s, "ring %u: %u descriptors, %s expected", ring->queue->index, m->n_fds,
                       none ? "none" : "one");
        return NULL;
    }
    *fd = none ? -1 : peer_fd_take(take_fd(m));
    if (!none && *fd < 0) {
        session_refuse(s, "ring %u: the descriptor is no eventfd, socket or pipe",
                       ring->queue->index);
        return NULL;
    }
    return ring;
}

static enum outcome use_kick(struct session *s)
{
    struct ring *ring = &s->endpoint->rings[s->ring_index];
    int fd = s->old_fd;
    s->old_fd = -1;
    if (ring_set_kick(ring, fd) < 0)
        return session_refuse(s, "out of memory");
    ring->has_kick = true;
    /* Without a descriptor kicks come as messages, or else the rings have to be looked at. */
    ring->no_kick_fd = fd < 0 && !negotiated(s, VU_F_INBAND_NOTIFICATIONS);
    if (!(s->features & VU_FEATURE_PROTOCOL))
        ring->enabled = true; /* without protocol features there is no SET_VRING_ENABLE */
    return try_start(s, ring);
}

static enum outcome restart_with_kick(struct session *s)
{
    ring_stopped(s);
    return use_kick(s);
}

static enum outcome set_vring_kick(struct session *s)
{
    int fd;
    struct ring *ring = ring_and_fd(s, &fd);
    if (!ring)
        return REFUSE;
    s->old_fd = fd;
    s->ring_index = ring->queue->index;
    if (ring->queue->state == QUEUE_RUNNING)
        return stop_ring(s, ring, restart_with_kick);
    return use_kick(s);
}

static void call_unused_on_control(struct hvv_task *task)
{
    session_resume(container_of(task, struct session, task));
}

static void call_unused_on_worker(struct hvv_task *task)
{
    struct session *s = container_of(task, struct session, task);
    task->run = call_unused_on_control;
    loop_post(s->dev->daemon->loop, task);
}

static enum outcome close_old_call(struct session *s)
{
    peer_fd_close(s->old_fd);
    s->old_fd = -1;
    return DONE;
}

/* The worker may be writing to the old descriptor: it is closed once the worker has been by. */
static enum outcome set_vring_call(struct session *s)
{
    int fd;
    struct ring *ring = ring_and_fd(s, &fd);
    if (!ring)
        return REFUSE;
    s->old_fd = atomic_exchange(&ring->call_fd, fd);
    bool inband = fd < 0 && negotiated(s, VU_F_INBAND_NOTIFICATIONS);
    bool was_inband = atomic_exchange(&ring->inband_fd, inband ? s->backend_fd : -1) >= 0;
    if (s->old_fd < 0 && !was_inband)
        return DONE;
    if (ring->queue->state == QUEUE_STOPPED)
        return close_old_call(s);
    s->resume = close_old_call;
    s->busy = true;
    watch_set(s->watch, 0);
    s->task.run = call_unused_on_worker;
    loop_post(worker_loop(ring->queue->worker), &s->task);
    return WAIT;
}

static enum outcome set_vring_err(struct session *s)
{
    int fd;
    struct ring *ring = ring_and_fd(s, &fd);
    if (!ring)
        return REFUSE;
    peer_fd_close(ring->err_fd);
    ring->err_fd = fd;
    return DONE;
}

static enum outcome vring_kick(struct session *s)
{
    struct ring *ring = find_ring(s, s->message.payload.state.index);
    if (!ring)
        return REFUSE;
    queue_kick(ring->queue);
    return DONE;
}

static enum outcome set_backend_req_fd(struct session *s)
{
    if (s->message.n_fds != 1)
        return session_refuse(s, "%u descriptors, one expected", s->message.n_fds);
    for (uint32_t i = 0; i < s->dev->n_queues; i++)
        if (atomic_load(&s->endpoint->rings[i].inband_fd) >= 0)
            return session_refuse(s, "the channel is in use by ring %u", i);
    if (s->backend_fd >= 0)
        close(s->backend_fd);
    s->backend_fd = take_fd(&s->message);
    return DONE;
}

/* ---- config space, status, reset ------------------------------------------------------------- */

static enum outcome get_config(struct session *s)
{
    struct message *m = &s->message;
    struct vu_config *c = &m->payload.config;
    /* Front-ends ask for the whole struct they know, longer or shorter than ours: the rest is 0. */
    if (c->size > VU_CONFIG_MAX || c->offset > VU_CONFIG_MAX - c->size) {
        device_log(s->dev, HVV_LOG_WARNING, "GET_CONFIG of %u bytes at %u, past %u", c->size,
                   c->offset, VU_CONFIG_MAX);
        m->header.size = 0; /* the protocol's way to say no */
        return REPLY;
    }
    config_space_read(&s->dev->config, c->offset, c->data, c->size);
    m->header.size = VU_CONFIG_HEADER + c->size;
    return REPLY;
}

static void config_taken(struct device *dev)
{
    struct endpoint *e = dev->transport_state;
    session_resume(e->session);
}

static enum outcome config_written(struct session *s)
{
    (void)s;
    return DONE;
}

static enum outcome set_config(struct session *s)
{
    struct message *m = &s->message;
    const struct vu_config *c = &m->payload.config;
    uint32_t limit = atomic_load(&s->dev->config.size);
    if (c->size > limit || c->offset > limit - c->size ||
        m->header.size < VU_CONFIG_HEADER + c->size)
        return session_refuse(s, "%u bytes at %u, the config space has %u", c->size, c->offset,
                              limit);
    s->resume = config_written;
    s->busy = true;
    watch_set(s->watch, 0);
    device_config_write(s->dev, c->offset, c->data, c->size, config_taken);
    return WAIT;
}

static enum outcome set_status(struct session *s)
{
    s->status = (uint8_t)s->message.payload.u64;
    return DONE;
}

static enum outcome get_status(struct session *s)
{
    uint8_t broken = atomic_load(&s->dev->broken) ? VIRTIO_CONFIG_S_NEEDS_RESET : 0;
    return reply_u64(s, s->status | broken);
}

static void was_reset(struct device *dev)
{
    struct endpoint *e = dev->transport_state;
    for (uint32_t i = 0; i < dev->n_queues; i++)
        e->rings[i].enabled = false;
    session_resume(e->session);
}

static enum outcome reset_finished(struct session *s)
{
    s->status = 0;
    return DONE;
}

static enum outcome quiet_for_reset(struct session *s)
{
    s->resume = reset_finished;
    s->busy = true;
    watch_set(s->watch, 0);
    device_reset(s->dev, was_reset);
    return WAIT;
}

static enum outcome reset_device(struct session *s)
{
    device_stop_queues(s->dev, true);
    return session_wait(s, quiet_for_reset);
}

/* ---- the table ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum outcome (*handle)(struct session *s);
    uint16_t min, max; /* bytes of payload */
    uint16_t fds;      /* descriptors at most */
    int8_t needs;      /* protocol feature, or -1 */
} table[VU_REQUEST_END] = {
    [VU_GET_FEATURES] = {"GET_FEATURES", get_features, 0, 8, 0, -1},
    [VU_SET_FEATURES] = {"SET_FEATURES", set_features, 8, 8, 0, -1},
    [VU_SET_OWNER] = {"SET_OWNER", set_owner, 0, 8, 0, -1},
    [VU_RESET_OWNER] = {"RESET_OWNER", reset_device, 0, 8, 0, -1},
    [VU_SET_MEM_TABLE] = {"SET_MEM_TABLE", set_mem_table, 8, sizeof(struct vu_table),
                          VU_TABLE_REGIONS, -1},
    [VU_SET_VRING_NUM] = {"SET_VRING_NUM", set_vring_num, 8, 8, 0, -1},
    [VU_SET_VRING_ADDR] = {"SET_VRING_ADDR", set_vring_addr, 40, 40, 0, -1},
    [VU_SET_VRING_BASE] = {"SET_VRING_BASE", set_vring_base, 8, 8, 0, -1},
    [VU_GET_VRING_BASE] = {"GET_VRING_BASE", get_vring_base, 8, 8, 0, -1},
    [VU_SET_VRING_KICK] = {"SET_VRING_KICK", set_vring_kick, 8, 8, 1, -1},
    [VU_SET_VRING_CALL] = {"SET_VRING_CALL", set_vring_call, 8, 8, 1, -1},
    [VU_SET_VRING_ERR] = {"SET_VRING_ERR", set_vring_err, 8, 8, 1, -1},
    [VU_GET_PROTOCOL_FEATURES] = {"GET_PROTOCOL_FEATURES", get_protocol_features, 0, 8, 0, -1},
    [VU_SET_PROTOCOL_FEATURES] = {"SET_PROTOCOL_FEATURES", set_protocol_features, 8, 8, 0, -1},
    [VU_GET_QUEUE_NUM] = {"GET_QUEUE_NUM", get_queue_num, 0, 8, 0, VU_F_MQ},
    [VU_SET_VRING_ENABLE] = {"SET_VRING_ENABLE", set_vring_enable, 8, 8, 0, -1},
    [VU_SET_BACKEND_REQ_FD] = {"SET_BACKEND_REQ_FD", set_backend_req_fd, 0, 8, 1,
                               VU_F_BACKEND_REQ},
    [VU_GET_CONFIG] = {"GET_CONFIG", get_config, VU_CONFIG_HEADER, sizeof(struct vu_config), 0,
                       VU_F_CONFIG},
    [VU_SET_CONFIG] = {"SET_CONFIG", set_config, VU_CONFIG_HEADER, sizeof(struct vu_config), 0,
                       VU_F_CONFIG},
    [VU_RESET_DEVICE] = {"RESET_DEVICE", reset_device, 0, 8, 0, VU_F_RESET_DEVICE},
    [VU_VRING_KICK] = {"VRING_KICK", vring_kick, 8, 8, 0, VU_F_INBAND_NOTIFICATIONS},
    [VU_GET_MAX_MEM_SLOTS] = {"GET_MAX_MEM_SLOTS", get_max_mem_slots, 0, 8, 0,
                              VU_F_CONFIGURE_MEM_SLOTS},
    [VU_ADD_MEM_REG] = {"ADD_MEM_REG", add_mem_reg, 40, 40, 1, VU_F_CONFIGURE_MEM_SLOTS},
    [VU_REM_MEM_REG] = {"REM_MEM_REG", rem_mem_reg, 40, 40, 1, VU_F_CONFIGURE_MEM_SLOTS},
    [VU_SET_STATUS] = {"SET_STATUS", set_status, 8, 8, 0, VU_F_STATUS},
    [VU_GET_STATUS] = {"GET_STATUS", get_status, 0, 8, 0, VU_F_STATUS},
};

const char *message_name(uint32_t request)
{
    return request < VU_REQUEST_END && table[request].name ? table[request].name : "message";
}

int message_check(struct session *s)
{
    const struct vu_header *h = &s->message.header;
    if ((h->flags & VU_FLAG_VERSION_MASK) != VU_VERSION || (h->flags & VU_FLAG_REPLY)) {
        session_refuse(s, "flags 0x%x: version 1 and no reply expected", h->flags);
        return -1;
    }
    if (h->request >= VU_REQUEST_END || !table[h->request].handle) {
        session_refuse(s, "request %u is not supported", h->request);
        return -1;
    }
    if (h->size < table[h->request].min || h->size > table[h->request].max) {
        session_refuse(s, "payload of %u bytes, %u to %u expected", h->size,
                       table[h->request].min, table[h->request].max);
        return -1;
    }
    return 0;
}

enum outcome message_handle(struct session *s)
{
    const struct message *m = &s->message;
    uint32_t request = m->header.request;
    if (m->n_fds > table[request].fds)
        return session_refuse(s, "%u descriptors, at most %u expected", m->n_fds,
                              table[request].fds);
    if (table[request].needs >= 0 && !negotiated(s, (enum vu_protocol_feature)table[request].needs))
        return session_refuse(s, "protocol feature %d was not negotiated", table[request].needs);
    return table[request].handle(s);
}
