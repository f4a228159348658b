/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net.c - what attackers do to a network device: headers that lie, chains of every length, commands
 * that make no sense, resets at the worst moment. Each row has a daemon with one worker, a device
 * under attack, and a neighbour that must go on as if nothing were.
 *
 * The device under attack gives back what it is sent (net:loop) or sends by itself (flood=), so
 * that both directions are at work. Classes of attack as in hostile.h.
 */
#include "clock.h"
#include "net.h"
#include "netsums.h"
#include "report.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 15000
#define LATENCY_MS 500u /* of a neighbour, on a machine that does much beside this */
#define HEADER ((uint32_t)NET_FRONT_HEADER)
#define NEEDS_CSUM VIRTIO_NET_HDR_F_NEEDS_CSUM
#define TCPV4 VIRTIO_NET_HDR_GSO_TCPV4
#define SIZE(TABLE) (sizeof(TABLE) / sizeof((TABLE)[0]))

#define OFFLOADS                                                                                   \
    (FE_BIT(VIRTIO_NET_F_CSUM) | FE_BIT(VIRTIO_NET_F_GUEST_CSUM) |                                 \
     FE_BIT(VIRTIO_NET_F_HOST_TSO4) | FE_BIT(VIRTIO_NET_F_GUEST_TSO4) |                            \
     FE_BIT(VIRTIO_NET_F_HOST_TSO6) | FE_BIT(VIRTIO_NET_F_GUEST_TSO6))
#define MERGE FE_BIT(VIRTIO_NET_F_MRG_RXBUF)
#define CONTROL                                                                                    \
    (FE_BIT(VIRTIO_NET_F_CTRL_VQ) | FE_BIT(VIRTIO_NET_F_CTRL_RX) |                                 \
     FE_BIT(VIRTIO_NET_F_CTRL_VLAN) | FE_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |                         \
     FE_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | FE_BIT(VIRTIO_NET_F_MQ))

static struct net_front guest, neighbour;
static bool guest_open, neighbour_open;
static uint8_t frame[NET_FRONT_FRAME_MAX + 64], got[NET_FRONT_LARGE];
static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t station[6] = {0x02, 0, 0, 0, 0, 0x66};

/* ---- helpers --------------------------------------------------------------------------------- */

static void clean(void *arg)
{
    (void)arg;
    if (guest_open)
        net_front_close(&guest);
    if (neighbour_open)
        net_front_close(&neighbour);
    guest_open = neighbour_open = false;
}

static bool open_front(const struct daemon *d, struct net_front *front, bool *is_open,
                       const char *id, struct net_front_options options)
{
    struct text path = socket_of(d, id);
    options.path = path.s;
    if (*is_open)
        net_front_close(front);
    *is_open = true;
    int rc = net_front_open(front, &options);
    front->opt.path = NULL;
    return rc >= 0 || row_fail("a guest on %s: %s", id, front->fe.error);
}

static bool open_guest(const struct daemon *d, struct net_front_options options)
{
    return open_front(d, &guest, &guest_open, "victim", options);
}

/* A device of this specification to attack, and the neighbour. */
static bool begin(struct daemon *d, const char *spec, struct net_front_options options)
{
    row_at_end(clean, NULL);
    return daemon_add(d, spec, "net:loop,id=neighbour", NULL) && open_guest(d, options) &&
           open_front(d, &neighbour, &neighbour_open, "neighbour", (struct net_front_options){0});
}

static bool does(const struct net_front *front, int result, const char *what)
{
    return result >= 0 || row_fail("%s: %s", what, front->fe.error);
}

/* One frame there and back. */
static bool goes_round(struct net_front *front, uint32_t number)
{
    uint8_t sent[64];
    net_front_fill(sent, sizeof(sent), broadcast, station, number);
    if (!does(front, net_front_post(front, 0, 1, 0), "a receive buffer") ||
        !does(front, net_front_send(front, 0, NULL, sent, sizeof(sent)), "a frame"))
        return false;
    int n = net_front_receive(front, 0, NULL, got, sizeof(got), TIMEOUT_MS);
    return does(front, n, "what comes back") &&
           (net_front_check(got, (uint32_t)n) == number || row_fail("another frame came back"));
}

static bool neighbour_lives(void)
{
    for (uint32_t i = 0; i < 20; i++)
        if (!goes_round(&neighbour, i))
            return false;
    return true;
}

static bool victim_becomes_broken(struct daemon *d, const char *part)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    for (;;) {
        json_t *device = daemon_device(d, "victim");
        const char *why = json_string_value(json_object_get(device, "broken"));
        bool is = why != NULL, says = is && has_text(why, part);
        if (is && !says)
            row_fail("it is broken since '%s', not '%s'", why, part);
        json_decref(device);
        if (is)
            return says;
        if (clock_left_ms(deadline) == 0)
            return row_fail("it is not broken, but should be: %s", part);
        poll(NULL, 0, 5); /* between the looks */
    }
}

/* The device is well, or so after its driver has started afresh; the neighbour always was. */
static bool end(struct daemon *d)
{
    return goes_round(&guest, 4711) && neighbour_lives() && netsums_hold(d, "victim") &&
           netsums_hold(d, "neighbour");
}

static bool heals(struct daemon *d, struct net_front_options options)
{
    return neighbour_lives() && open_guest(d, options) && end(d);
}

/* A chain of these buffers in the transmit ring, or the receive ring. */
static bool chain(struct ring *ring, const struct ring_seg *seg, unsigned readable,
                  unsigned writable)
{
    static int token;
    if (ring_add(ring, seg, readable, writable, &token) < 0 || ring_submit(ring) < 0)
        return row_fail("the chain does not go into the ring");
    return true;
}

static uint64_t memory_of_frame(void)
{
    return guest.pair[0].tx.slot[0].gpa;
}

static bool taken(struct ring *ring)
{
    struct ring_done done;
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    while (ring_reap(ring, &done, 1) == 0) {
        ring_arm(ring, 1);
        if (!ring_pending(ring) && ring_wait(ring, clock_left_ms(deadline)) < 0)
            return row_fail("the device does not give the chain back");
    }
    return true;
}

/* ---- headers --------------------------------------------------------------------------------- */

struct lie {
    const char *name;
    struct virtio_net_hdr_v1 header;
    bool passes;
};

static const struct lie lies[] = {
    {"nothing", {0}, true},
    {"unknown flags", {.flags = 0xfe}, true},
    {"num_buffers", {.num_buffers = 0xffff}, true},
    {"sizes without a type", {.gso_size = 0xffff, .hdr_len = 0xffff}, true},
    {"checksum at the end", {.flags = NEEDS_CSUM, .csum_start = 62}, true},
    {"checksum behind the end", {.flags = NEEDS_CSUM, .csum_start = 63}, false},
    {"offset behind the end", {.flags = NEEDS_CSUM, .csum_offset = 63}, false},
    {"sum of both wraps", {.flags = NEEDS_CSUM, .csum_start = 0xffff, .csum_offset = 0xffff}, false},
    {"segments of nothing", {.flags = NEEDS_CSUM, .gso_type = TCPV4, .hdr_len = 54}, false},
    {"segments without checksum", {.gso_type = TCPV4, .gso_size = 1, .hdr_len = 54}, false},
    {"headers behind the end",
     {.flags = NEEDS_CSUM, .gso_type = TCPV4, .gso_size = 1, .hdr_len = 65}, false},
    {"UFO", {.flags = NEEDS_CSUM, .gso_type = 3, .gso_size = 8, .hdr_len = 42}, false},
    {"USO, not negotiated", {.flags = NEEDS_CSUM, .gso_type = 5, .gso_size = 8, .hdr_len = 42},
     false},
    {"ECN, not negotiated",
     {.flags = NEEDS_CSUM, .gso_type = TCPV4 | 0x80, .gso_size = 8, .hdr_len = 54}, false},
    {"ECN alone", {.flags = NEEDS_CSUM, .gso_type = 0x80, .gso_size = 8}, false},
    {"a type nobody knows", {.flags = NEEDS_CSUM, .gso_type = 0x7f, .gso_size = 8}, false},
};

/* c09: lengths and types that a guest claims. */
static void c09_header(struct daemon *d)
{
    MUST(begin(d, "net:loop,id=victim", (struct net_front_options){.features = OFFLOADS | MERGE}));
    long bad = 0, frames = 0;
    for (size_t i = 0; i < SIZE(lies); i++) {
        net_front_fill(frame, 64, broadcast, station, (uint32_t)i);
        MUST(does(&guest, net_front_post(&guest, 0, 1, 0), "a receive buffer"));
        MUST(does(&guest, net_front_send(&guest, 0, &lies[i].header, frame, 64), lies[i].name));
        MUST(does(&guest, net_front_drain(&guest, 0, TIMEOUT_MS), lies[i].name));
        bad += !lies[i].passes;
        frames++;
        MUST(daemon_counter_becomes(d, "victim", "tx-frames", frames));
        CHECK(daemon_counter(d, "victim", "tx-bad-header") == bad, "'%s' is %s", lies[i].name,
              lies[i].passes ? "dropped" : "passed on");
        if (!lies[i].passes)
            continue;
        struct virtio_net_hdr_v1 header;
        int n = net_front_receive(&guest, 0, &header, got, sizeof(got), TIMEOUT_MS);
        CHECK(n == 64 && header.num_buffers == 1 && !(header.flags & ~NEEDS_CSUM),
              "'%s' came back as %d bytes, %u buffers, flags %#x", lies[i].name, n,
              header.num_buffers, header.flags);
    }
    MUST(end(d));
}

/* c09: a great many headers of chance, in front of bytes of chance. */
static void c09_random(struct daemon *d)
{
    unsigned n = flags.all ? 200000 : 20000;
    unsigned short seed[3] = {1, 2, 3};
    MUST(begin(d, "net:loop,id=victim", (struct net_front_options){.features = OFFLOADS | MERGE}));
    row_note("seed 1 2 3, %u frames", n);
    for (unsigned i = 0; i < n; i++) {
        struct virtio_net_hdr_v1 header;
        for (size_t j = 0; j < sizeof(header); j++)
            ((uint8_t *)&header)[j] = (uint8_t)nrand48(seed);
        if (i % 2)
            header.flags = NEEDS_CSUM, header.gso_type = nrand48(seed) % 6;
        if (i % 3)
            header.csum_start %= 64, header.csum_offset %= 32, header.hdr_len %= 128;
        uint32_t bytes = 14 + (uint32_t)(nrand48(seed) % 1500);
        for (uint32_t j = 0; j < 64 && j < bytes; j++)
            frame[j] = (uint8_t)nrand48(seed);
        (void)net_front_post(&guest, 0, 1, 0);
        int rc = net_front_send(&guest, 0, &header, frame, bytes);
        if (rc == -ENOSPC) /* the ring is full: let it work */
            rc = net_front_drain(&guest, 0, TIMEOUT_MS);
        MUST(does(&guest, rc, "a frame of chance"));
        while (net_front_receive(&guest, 0, NULL, got, sizeof(got), 0) >= 0)
            ;
    }
    MUST(does(&guest, net_front_drain(&guest, 0, TIMEOUT_MS), "the last frames"));
    CHECK(daemon_counter(d, "victim", "tx-sent") > 0 &&
          daemon_counter(d, "victim", "tx-bad-header") > 0, "only good ones, or only bad ones");
    clean(NULL);
    MUST(open_guest(d, (struct net_front_options){0}) && goes_round(&guest, 1));
    MUST(netsums_hold(d, "victim"));
}

/* c08: headers, lengths and addresses that change while they are used. */
struct flipper {
    pthread_t thread;
    atomic_bool stop;
};

static void *flip(void *arg)
{
    struct flipper *f = arg;
    struct vring_desc *desc = guest.pair[0].tx.ring.desc;
    struct net_slot *slot = guest.pair[0].tx.slot;
    for (unsigned i = 0; !atomic_load(&f->stop); i++) {
        unsigned at = i % guest.opt.num;
        volatile uint8_t *bytes = slot[at].at;
        volatile uint32_t *len = &desc[at].len;
        for (unsigned j = 0; j < HEADER; j++)
            bytes[j] = (uint8_t)(i >> j);
        *len = i % 3 ? 64 : 4u << 20;
        *len = 64;
    }
    return NULL;
}

static void c08_flip(struct daemon *d)
{
    unsigned n = flags.all ? 200000 : 20000, seen = 0;
    struct flipper f = {.stop = false};
    MUST(begin(d, "net:loop,id=victim", (struct net_front_options){.features = OFFLOADS | MERGE}));
    pthread_create(&f.thread, NULL, flip, &f);
    for (unsigned i = 0; i < n; i++) {
        (void)net_front_post(&guest, 0, 1, 0);
        if (net_front_send(&guest, 0, NULL, frame, 64) < 0 &&
            net_front_drain(&guest, 0, 1000) < 0)
            break; /* a length of 4 MiB is no guest memory: the device is broken, rightly */
        seen++;
        while (net_front_receive(&guest, 0, NULL, got, sizeof(got), 0) >= 0)
            ;
    }
    atomic_store(&f.stop, true);
    pthread_join(f.thread, NULL);
    row_note("%u frames", seen);
    clean(NULL);
    MUST(open_front(d, &neighbour, &neighbour_open, "neighbour", (struct net_front_options){0}));
    MUST(heals(d, (struct net_front_options){0}));
}

/* ---- chains ---------------------------------------------------------------------------------- */

/* c05, c22: frames of no length, too short, as long as can be and longer, up to a gibibyte. */
static void c05_c22_length(struct daemon *d)
{
    static const struct { uint32_t bytes, pieces; bool passes; } lengths[] = {
        {0, 1, false}, {1, 1, false}, {13, 1, false}, {14, 1, true}, {65557, 1, true},
        {65558, 1, false}, {200000, 3, false}, {1u << 20, 200, false}, {8u << 20, 128, false},
    };
    MUST(begin(d, "net:null,id=victim", (struct net_front_options){
        .num = 1024, .features = MERGE, .tx_size = 1u << 17}));
    struct ring *tx = &guest.pair[0].tx.ring;
    long bad = 0;
    for (size_t i = 0; i < SIZE(lengths); i++) {
        struct ring_seg seg[201] = {{memory_of_frame(), HEADER}};
        unsigned n = 1;
        for (uint32_t left = lengths[i].bytes, part; left > 0; left -= part, n++) {
            part = lengths[i].bytes / lengths[i].pieces;
            part = part > left || n == lengths[i].pieces ? left : part;
            seg[n] = (struct ring_seg){memory_of_frame() + HEADER, part};
        }
        MUST(chain(tx, seg, n, 0) && taken(tx));
        bad += !lengths[i].passes;
        MUST(daemon_counter_becomes(d, "victim", "tx-frames", (long)i + 1));
        CHECK(daemon_counter(d, "victim", "tx-bad-length") == bad, "%u bytes are %s",
              lengths[i].bytes, lengths[i].passes ? "dropped" : "passed on");
    }
    MUST(neighbour_lives() && netsums_hold(d, "victim"));
}

/* c07: a header in as many pieces as it has bytes. */
static void c07_split(struct daemon *d)
{
    struct ring_seg seg[HEADER + 2];
    MUST(begin(d, "net:loop,id=victim", (struct net_front_options){.features = MERGE}));
    uint8_t *at = guest.pair[0].tx.slot[0].at;
    memset(at, 0, HEADER);
    net_front_fill(at + HEADER, 64, broadcast, station, 5);
    for (uint32_t i = 0; i < HEADER; i++)
        seg[i] = (struct ring_seg){memory_of_frame() + i, 1};
    seg[HEADER] = (struct ring_seg){memory_of_frame() + HEADER, 13};
    seg[HEADER + 1] = (struct ring_seg){memory_of_frame() + HEADER + 13, 51};
    MUST(does(&guest, net_front_post(&guest, 0, 2, HEADER + 32), "receive buffers"));
    MUST(chain(&guest.pair[0].tx.ring, seg, HEADER + 2, 0));
    int n = net_front_receive(&guest, 0, NULL, got, sizeof(got), TIMEOUT_MS);
    CHECK(n == 64 && net_front_check(got, 64) == 5, "it came back as %d bytes", n);
    MUST(taken(&guest.pair[0].tx.ring));
    MUST(end(d));
}

/* c07: chains that no frame can be in break the device, and nothing else. */
static void c07_short(struct daemon *d)
{
    static const struct net_front_options plain = {.num = 64};
    MUST(begin(d, "net:loop,id=victim", plain));
    MUST(chain(&guest.pair[0].tx.ring, &(struct ring_seg){memory_of_frame(), HEADER - 1}, 1, 0));
    MUST(victim_becomes_broken(d, "fewer than its header") && heals(d, plain));
    MUST(chain(&guest.pair[0].tx.ring, &(struct ring_seg){memory_of_frame(), 512}, 0, 1));
    MUST(victim_becomes_broken(d, "fewer than its header") && heals(d, plain));
    MUST(chain(&guest.pair[0].rx.ring, &(struct ring_seg){memory_of_frame(), HEADER - 1}, 0, 1));
    MUST(does(&guest, net_front_send(&guest, 0, NULL, frame, 64), "a frame"));
    MUST(victim_becomes_broken(d, "no room for the header") && heals(d, plain));
    MUST(chain(&guest.pair[0].rx.ring, &(struct ring_seg){memory_of_frame(), 2048}, 1, 0));
    MUST(does(&guest, net_front_send(&guest, 0, NULL, frame, 64), "a frame"));
    MUST(victim_becomes_broken(d, "no room for the header") && heals(d, plain));
}

/* c22: buffers of one byte behind the header, for a frame that would take thousands of them. */
static void c22_crumbs(struct daemon *d)
{
    MUST(begin(d, "net:loop,id=victim", (struct net_front_options){
        .num = 1024, .features = MERGE, .tx_size = NET_FRONT_LARGE}));
    for (unsigned i = 0; i < 1000; i++)
        MUST(does(&guest, net_front_post(&guest, 0, 1, HEADER + 1), "a crumb"));
    MUST(does(&guest, net_front_send(&guest, 0, NULL, frame, 60000), "a large frame"));
    MUST(daemon_counter_becomes(d, "victim", "rx-too-long", 1));
    net_front_fill(frame, 64, broadcast, station, 6);
    MUST(does(&guest, net_front_send(&guest, 0, NULL, frame, 64), "a small one"));
    int n = net_front_receive(&guest, 0, NULL, got, sizeof(got), TIMEOUT_MS);
    CHECK(n == 64 && net_front_check(got, 64) == 6, "it came back as %d bytes", n);
    MUST(neighbour_lives() && netsums_hold(d, "victim"));
}

/* ---- the control queue ----------------------------------------------------------------------- */

/* c22: commands that claim more than they bring, or that nobody offered. All of them are refused. */
static void c22_control(struct daemon *d)
{
    static const struct { const char *name; uint8_t class, command; uint8_t data[24]; uint32_t n; }
    commands[] = {
        {"a class nobody knows", 200, 0, {0}, 0},
        {"a mode nobody knows", VIRTIO_NET_CTRL_RX, 99, {1}, 1},
        {"a mode without its byte", VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, {0}, 0},
        {"a table of 4 G addresses", VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET,
         {0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1}, 14},
        {"half a table", VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, {0}, 4},
        {"a short address", VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, {2, 0, 0}, 3},
        {"VLAN 4096", VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, {0, 0x10}, 2},
        {"no pairs", VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, {0, 0}, 2},
        {"more pairs than there are", VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, {3, 0}, 2},
        {"65535 pairs", VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, {0xff, 0xff}, 2},
        {"offloads that were not taken", VIRTIO_NET_CTRL_GUEST_OFFLOADS,
         VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8},
    };
    MUST(begin(d, "net:loop,id=victim,queues=2", (struct net_front_options){
        .pairs = 2, .features = CONTROL | OFFLOADS}));
    for (unsigned round = 0; round < 20; round++)
        for (size_t i = 0; i < SIZE(commands); i++) {
            int rc = net_front_control(&guest, commands[i].class, commands[i].command,
                                       commands[i].data, commands[i].n, TIMEOUT_MS);
            CHECK(rc == VIRTIO_NET_ERR, "'%s' is answered with %d: %s", commands[i].name, rc,
                  guest.fe.error);
        }
    MUST(end(d));
}

/* c07, c22: chains of the control queue that are no commands. */
static void c07_control(struct daemon *d)
{
    static const struct net_front_options options = {.pairs = 2, .features = CONTROL};
    static const struct { uint32_t readable, writable; } chains[] = {
        {0, 1}, {1, 1}, {2, 0},
    };
    MUST(begin(d, "net:loop,id=victim,queues=2", options));
    for (size_t i = 0; i < SIZE(chains); i++) {
        struct ring_seg seg[2];
        unsigned n = 0, readable = chains[i].readable > 0;
        if (readable)
            seg[n++] = (struct ring_seg){memory_of_frame(), chains[i].readable};
        if (chains[i].writable)
            seg[n++] = (struct ring_seg){memory_of_frame(), chains[i].writable};
        MUST(chain(&guest.control.ring, seg, readable, n - readable));
        MUST(victim_becomes_broken(d, "command") && heals(d, options));
    }
}

/* ---- resets and floods ----------------------------------------------------------------------- */

/* Sends as much as the ring takes, and takes nothing back. */
static bool fill_both_ways(uint32_t number)
{
    (void)net_front_post(&guest, 0, guest.opt.num / 2, 0);
    for (uint32_t i = 0; i < guest.opt.num / 4u; i++) {
        net_front_fill(frame, 64, broadcast, station, number + i);
        int rc = net_front_queue(&guest, 0, NULL, frame, 64);
        if (rc < 0 && rc != -ENOSPC)
            return row_fail("a frame: %s", guest.fe.error);
    }
    return does(&guest, net_front_kick(&guest, 0), "a notification");
}

/* c10: a thousand resets while frames go in both directions. */
static void c10_reset(struct daemon *d)
{
    unsigned n = flags.all ? 1000 : 100;
    const char *spec = d->arg;
    MUST(begin(d, spec, (struct net_front_options){.features = MERGE}));
    for (unsigned i = 0; i < n; i++) {
        MUST(fill_both_ways(i * 1000));
        MUST(does(&guest, net_front_reset(&guest, i % 2 ? MERGE : 0), "a reset"));
    }
    MUST(neighbour_lives());
    if (has_text(spec, "loop"))
        MUST(goes_round(&guest, 1));
    clean(NULL);
    MUST(netsums_hold(d, "victim"));
}

/* c11: front-ends that vanish in the middle of both directions. */
static void c11_vanish(struct daemon *d)
{
    unsigned n = flags.all ? 300 : 30;
    MUST(begin(d, d->arg, (struct net_front_options){.features = MERGE}));
    for (unsigned i = 0; i < n; i++) {
        MUST(fill_both_ways(i * 1000));
        MUST(open_guest(d, (struct net_front_options){.features = MERGE}));
    }
    MUST(neighbour_lives());
    clean(NULL);
    MUST(netsums_hold(d, "victim"));
}

static void *flood(void *arg)
{
    atomic_bool *stop = arg;
    while (!atomic_load(stop)) {
        int rc = net_front_queue(&guest, 0, NULL, frame, 1500);
        if (rc == -ENOSPC)
            rc = net_front_sending(&guest, 0);
        if (rc < 0 || net_front_kick(&guest, 0) < 0)
            break;
    }
    return NULL;
}

/* c26: a guest that sends as fast as it can leaves the neighbour its turns. */
static void c26_flood(struct daemon *d)
{
    atomic_bool stop = false;
    pthread_t thread;
    uint64_t worst = 0;
    MUST(begin(d, "net:null,id=victim", (struct net_front_options){.num = 1024}));
    pthread_create(&thread, NULL, flood, &stop);
    bool well = true;
    for (uint32_t i = 0; i < (flags.all ? 5000u : 500u) && well; i++) {
        uint64_t start = clock_ns();
        well = goes_round(&neighbour, i);
        uint64_t took = clock_ns() - start;
        worst = took > worst ? took : worst;
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    MUST(well);
    row_note("the neighbour's worst round trip took %.1f ms", (double)worst / 1e6);
    CHECK(worst < LATENCY_MS * 1000000ull, "the neighbour waited %.1f ms", (double)worst / 1e6);
    MUST(net_front_drain(&guest, 0, TIMEOUT_MS) == 0);
    MUST(netsums_hold(d, "victim"));
}

#define ROW(NAME) {#NAME, NAME, &with_net, NULL}
#define ROW_ON(NAME, SUFFIX, SPEC) {#NAME "-" SUFFIX, NAME, &with_net, SPEC}

int main(int argc, char **argv)
{
    static const char *const plugins[] = {"net.so", NULL};
    static const char *const args[] = {"--workers", "1", NULL};
    static const struct daemon_options with_net = {.plugins = plugins, .args = args};
    static const struct row rows[] = {
        ROW(c05_c22_length), ROW(c07_split), ROW(c07_short), ROW(c07_control), ROW(c08_flip),
        ROW(c09_header), ROW(c09_random),
        ROW_ON(c10_reset, "loop", "net:loop,id=victim"),
        ROW_ON(c10_reset, "flood", "net:null,flood=1500,id=victim"),
        ROW_ON(c11_vanish, "loop", "net:loop,id=victim"),
        ROW_ON(c11_vanish, "flood", "net:null,flood=60000,id=victim"),
        ROW(c22_crumbs), ROW(c22_control), ROW(c26_flood),
    };
    return report_run(argc, argv, rows, SIZE(rows));
}
