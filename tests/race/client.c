/* SPDX-License-Identifier: BSD-3-Clause */
/* client.c - see client.h. */
#include "client.h"

#include "inproc.h"
#include "racer.h"
#include "vhost-user.h"

#include <errno.h>
#include <linux/virtio_config.h>

#define MEMORY (1u << 20)
#define DEPTH 8u

struct state {
    const struct client_visit *visit;
    struct fe fe;
    struct guestmem mem;
    struct ring ring[RACER_QUEUES];
    uint64_t *out[RACER_QUEUES][DEPTH], *in[RACER_QUEUES][DEPTH];
};

static int negotiate(struct state *s)
{
    uint64_t value, features = FE_BIT(VIRTIO_F_VERSION_1) | FE_BIT(VHU_F_PROTOCOL_FEATURES) |
                               FE_BIT(VIRTIO_RING_F_EVENT_IDX);
    int rc = fe_query_u64(&s->fe, VHU_GET_FEATURES, &value);
    if (rc < 0)
        return rc;
    if (s->visit->answered)
        s->visit->answered(s->visit->arg);
    if (s->visit->in_order)
        features |= FE_BIT(35);
    return fe_negotiate(&s->fe, features, UINT64_MAX);
}

static int make_rings(struct state *s)
{
    struct guestmem_spec spec = {.size = MEMORY, .gpa = 0x200000};
    struct ring_options options = {
        .num = RACER_QUEUE_SIZE, .event_idx = true, .in_order = s->visit->in_order};
    must(guestmem_add(&s->mem, &spec) == 0, "no guest memory");
    for (unsigned q = 0; q < RACER_QUEUES; q++) {
        must(ring_init(&s->ring[q], &s->mem, 0, &options) == 0, "no memory for a ring");
        for (unsigned i = 0; i < DEPTH; i++) {
            s->out[q][i] = guestmem_alloc(&s->mem, 0, RACER_BYTES, 8);
            s->in[q][i] = guestmem_alloc(&s->mem, 0, RACER_BYTES, 8);
            must(s->out[q][i] && s->in[q][i], "no memory for a request");
        }
    }
    int rc = fe_share_mem(&s->fe, &s->mem);
    for (unsigned q = 0; q < RACER_QUEUES && rc == 0; q++)
        rc = fe_ring_start(&s->fe, q, &s->ring[q], &s->mem, 0);
    return rc;
}

static int check_done(struct state *s, unsigned q, unsigned *left)
{
    struct ring *r = &s->ring[q];
    struct ring_done done[DEPTH];
    int n = ring_reap(r, done, DEPTH);
    must(n >= 0, "%s", r->error);
    for (int i = 0; i < n; i++) {
        size_t k = (size_t)(uintptr_t)done[i].token;
        must(done[i].len == RACER_BYTES, "%u bytes written", done[i].len);
        must(*s->in[q][k] == ~*s->out[q][k], "the answer is not for this request");
    }
    *left -= (unsigned)n;
    return n;
}

/* A batch of DEPTH requests on one queue; a device that breaks or goes does not answer. */
static int run_batch(struct state *s, unsigned q)
{
    struct ring *r = &s->ring[q];
    unsigned left = DEPTH;
    for (size_t i = 0; i < DEPTH; i++) {
        struct ring_seg seg[2] = {{guestmem_gpa(&s->mem, s->out[q][i]), RACER_BYTES},
                                  {guestmem_gpa(&s->mem, s->in[q][i]), RACER_BYTES}};
        *s->out[q][i] = (uint64_t)inproc_random(UINT32_MAX) << 16 | i;
        *s->in[q][i] = 0;
        must(ring_add(r, seg, 1, 1, (void *)(uintptr_t)i) == 0, "the ring is full");
    }
    int rc = ring_submit(r);
    while (rc == 0 && left) {
        if (check_done(s, q, &left) == 0)
            rc = fe_alive(&s->fe) ? ring_wait(r, s->visit->timeout_ms) : -EPIPE;
    }
    return rc;
}

static int use_device(struct state *s)
{
    uint8_t config[RACER_CONFIG];
    int rc = 0;
    for (unsigned i = 0; i < s->visit->requests && rc == 0; i++) {
        rc = run_batch(s, i % RACER_QUEUES);
        if (rc == 0 && i % 4 == 0)
            rc = fe_get_config(&s->fe, 0, config, sizeof(config));
        for (unsigned k = 1; rc == 0 && i % 4 == 0 && k < RACER_CONFIG; k++)
            must(config[k] == config[0], "half of a config space");
        if (rc == 0 && i % 4 == 1)
            rc = fe_set_config(&s->fe, 0, config, 1);
        if (rc == 0 && i % 8 == 7)
            rc = fe_share_mem(&s->fe, &s->mem);
    }
    return rc;
}

static int leave(struct state *s)
{
    uint32_t base;
    int rc = 0;
    for (unsigned q = 0; q < RACER_QUEUES && rc == 0; q++)
        rc = fe_ring_stop(&s->fe, q, &base);
    return rc == 0 ? fe_reset_device(&s->fe) : rc;
}

int client_visit(const struct client_visit *visit)
{
    struct state s = {.visit = visit};
    fe_init(&s.fe);
    guestmem_init(&s.mem);
    s.fe.timeout_ms = visit->timeout_ms;
    int rc = fe_connect(&s.fe, visit->path);
    if (rc == 0)
        rc = negotiate(&s);
    if (rc == 0)
        rc = make_rings(&s);
    if (rc == 0)
        rc = use_device(&s);
    if (rc == 0 && !visit->rude)
        rc = leave(&s);
    fe_disconnect(&s.fe);
    for (unsigned q = 0; q < RACER_QUEUES; q++)
        ring_free(&s.ring[q]);
    guestmem_free(&s.mem);
    return rc;
}
