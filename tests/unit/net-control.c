/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net-control.c - tests of the net plugin's control queue, alone: a device that has no other queue
 * and a back-end that only counts how often it hears of a change.
 */
#include "backend.h"
#include "control.h"

#include "leak.h"

#include <criterion/criterion.h>
#include <hvv/harness.h>
#include <stdlib.h>

#define PAIRS 3u
#define UNTOUCHED 0x5a

static const uint8_t own[] = {2, 0, 0, 0, 0, 1}, other[] = {2, 0, 0, 0, 0, 2},
                     group[] = {1, 0, 0x5e, 0, 0, 1};
static uint32_t changes;

/* ---- A device -------------------------------------------------------------------------------- */

static void count_change(struct net *net)
{
    (void)net;
    changes++;
}

static const struct backend_ops backend = {.name = "none", .changed = count_change};

void net_set_status(struct net *net, uint16_t set, uint16_t clear)
{
    net->status = (uint16_t)((net->status & ~clear) | set);
}

static int32_t create(struct hvv_device *dev)
{
    struct net *net = aligned_alloc(64, sizeof(*net));
    cr_assert(net);
    memset(net, 0, sizeof(*net));
    net->dev = dev;
    net->backend = &backend;
    net->n_pairs = PAIRS;
    filter_init(&net->filter, own);
    capture_init(&net->capture);
    hvv_set_features(dev, NET_GUEST_OFFLOADS | NET_FEATURE(MAC) | NET_FEATURE(CTRL_VQ) |
                     NET_FEATURE(CTRL_RX) | NET_FEATURE(CTRL_RX_EXTRA) | NET_FEATURE(CTRL_VLAN) |
                     NET_FEATURE(CTRL_MAC_ADDR) | NET_FEATURE(GUEST_ANNOUNCE) | NET_FEATURE(MQ) |
                     NET_FEATURE(CTRL_GUEST_OFFLOADS), 0);
    hvv_config_set(dev, 0, own, sizeof(own), 0);
    dev->state = net;
    return hvv_add_queues(dev, 1, 256, 64, 0);
}

static void destroy(struct hvv_device *dev)
{
    struct net *net = net_of(dev);
    filter_free(&net->filter);
    free(net);
}

static void notify(struct hvv_device *dev, uint32_t queue)
{
    control_run(net_of(dev), queue);
}

static const struct hvv_ops ops = {
    .size = sizeof(ops), .create = create, .destroy = destroy, .notify = notify};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin), .name = "net", .chain_state_size = 16, .ops = &ops};

static struct hvv_harness h;

static struct net *open_device(void)
{
    changes = 0;
    cr_assert_eq(hvv_harness_open(&h, &plugin, ""), 0);
    hvv_harness_start(&h);
    return net_of(&h.dev);
}

static void close_device(void)
{
    cr_assert(hvv_harness_close(&h));
    leak_check();
}

/* ---- Commands -------------------------------------------------------------------------------- */

/* Sends a command, split at byte `cut` of what the device reads. Returns its answer. */
static uint8_t send_cut(uint8_t class, uint8_t cmd, const void *data, size_t n, size_t cut)
{
    uint8_t ack[2] = {UNTOUCHED, UNTOUCHED};
    uint8_t *bytes = malloc(2 + n);
    bytes[0] = class;
    bytes[1] = cmd;
    if (n)
        memcpy(bytes + 2, data, n);
    struct iovec out[] = {{bytes, cut}, {bytes + cut, 2 + n - cut}};
    struct iovec in[] = {{ack, 1}, {ack + 1, 1}};
    struct hvv_harness_chain *chain = hvv_harness_send(&h, 0, out, 2, in, 2);
    hvv_harness_kick(&h, 0);
    cr_assert(hvv_harness_done(&h, chain) && chain->written == 1, "%s", chain->failed);
    cr_assert_eq(ack[1], UNTOUCHED);
    free(bytes);
    return ack[0];
}

static uint8_t send(uint8_t class, uint8_t cmd, const void *data, size_t n)
{
    return send_cut(class, cmd, data, n, 2);
}

static const uint8_t one[] = {1, 0}, csum[] = {2, 0, 0, 0, 0, 0, 0, 0}, no_tables[8];

static const struct {
    uint8_t class, cmd;
    const void *data;
    size_t bytes;
    uint64_t needs;
} commands[] = {
    {VIRTIO_NET_CTRL_RX, 0, one, 1, NET_FEATURE(CTRL_RX)},
    {VIRTIO_NET_CTRL_RX, 1, one, 1, NET_FEATURE(CTRL_RX)},
    {VIRTIO_NET_CTRL_RX, 2, one, 1, NET_FEATURE(CTRL_RX_EXTRA)},
    {VIRTIO_NET_CTRL_RX, 3, one, 1, NET_FEATURE(CTRL_RX_EXTRA)},
    {VIRTIO_NET_CTRL_RX, 4, one, 1, NET_FEATURE(CTRL_RX_EXTRA)},
    {VIRTIO_NET_CTRL_RX, 5, one, 1, NET_FEATURE(CTRL_RX_EXTRA)},
    {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, no_tables, 8, NET_FEATURE(CTRL_RX)},
    {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6, NET_FEATURE(CTRL_MAC_ADDR)},
    {VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, one, 2, NET_FEATURE(CTRL_VLAN)},
    {VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, one, 2, NET_FEATURE(CTRL_VLAN)},
    {VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0,
     NET_FEATURE(GUEST_ANNOUNCE)},
    {VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, one, 2, NET_FEATURE(MQ)},
    {VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, csum, 8,
     NET_FEATURE(CTRL_GUEST_OFFLOADS)},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

Test(control, each_command_in_any_pieces)
{
    open_device();
    for (size_t i = 0; i < N_COMMANDS; i++)
        for (size_t cut = 0; cut <= commands[i].bytes + 2; cut++)
            cr_assert_eq(send_cut(commands[i].class, commands[i].cmd, commands[i].data,
                                  commands[i].bytes, cut), VIRTIO_NET_OK, "command %zu", i);
    close_device();
}

Test(control, what_was_not_negotiated_is_refused)
{
    open_device();
    for (size_t i = 0; i < N_COMMANDS; i++) {
        h.taken = h.offered & ~commands[i].needs;
        cr_assert_eq(send(commands[i].class, commands[i].cmd, commands[i].data, commands[i].bytes),
                     VIRTIO_NET_ERR, "command %zu", i);
        h.taken = commands[i].needs; /* enough but for offloads: their own bits are missing */
        cr_assert_eq(send(commands[i].class, commands[i].cmd, commands[i].data, commands[i].bytes),
                     commands[i].class == VIRTIO_NET_CTRL_GUEST_OFFLOADS, "command %zu", i);
    }
    close_device();
}

Test(control, too_little_data_is_refused)
{
    open_device();
    for (size_t i = 0; i < N_COMMANDS; i++)
        for (size_t n = 0; n < commands[i].bytes; n++)
            cr_assert_eq(send(commands[i].class, commands[i].cmd, commands[i].data, n),
                         VIRTIO_NET_ERR, "command %zu with %zu bytes", i, n);
    close_device();
}

Test(control, unknown_commands_are_refused)
{
    open_device();
    uint8_t known[256] = {[VIRTIO_NET_CTRL_RX] = 6, [VIRTIO_NET_CTRL_MAC] = 2,
                          [VIRTIO_NET_CTRL_VLAN] = 2, [VIRTIO_NET_CTRL_ANNOUNCE] = 1,
                          [VIRTIO_NET_CTRL_MQ] = 1, [VIRTIO_NET_CTRL_GUEST_OFFLOADS] = 1};
    for (uint32_t class = 0; class < 256; class++)
        /* Those behind the last one, and some more: each chain stays until the device is closed. */
        for (uint32_t cmd = known[class]; cmd < 256; cmd += cmd < known[class] + 2u ? 1 : 63)
            cr_assert_eq(send((uint8_t)class, (uint8_t)cmd, no_tables, 8), VIRTIO_NET_ERR,
                         "class %u command %u", class, cmd);
    cr_assert(strstr(h.log, "refused"), "%s", h.log);
    close_device();
}

/* ---- What commands do ------------------------------------------------------------------------ */

static bool gets(struct net *net, const uint8_t *to)
{
    uint8_t start[18] = {0};
    memcpy(start, to, 6);
    return filter_passes(&net->filter, start, sizeof(start));
}

Test(control, receive_modes)
{
    struct net *net = open_device();
    const uint8_t off = 0, on = 1, two = 2;
    cr_assert(gets(net, other));
    cr_assert_eq(send(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &off, 1), VIRTIO_NET_OK);
    cr_assert(!gets(net, other) && !gets(net, group) && gets(net, own));
    cr_assert_eq(send(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, &on, 1), VIRTIO_NET_OK);
    cr_assert(!gets(net, other) && gets(net, group));
    cr_assert_eq(send(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, &two, 1), VIRTIO_NET_ERR);
    cr_assert(gets(net, own), "neither on nor off");
    close_device();
}

Test(control, mac_address)
{
    struct net *net = open_device();
    cr_assert_eq(send(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6), VIRTIO_NET_OK);
    cr_assert_arr_eq(net->filter.mac, other, 6);
    cr_assert_arr_eq(h.config, other, 6);
    close_device();
}

/* Two tables: counts that the driver claims, entries that there are, `more` bytes behind them. */
static uint8_t send_tables(uint32_t claim1, uint32_t n1, uint32_t claim2, uint32_t n2, size_t more)
{
    size_t bytes = 8 + 6 * ((size_t)n1 + n2) + more;
    uint8_t *data = calloc(1, bytes);
    memcpy(data, &claim1, 4);
    memcpy(data + 4 + 6 * (size_t)n1, &claim2, 4);
    for (uint32_t i = 0; i < n1; i++)
        memcpy(data + 4 + 6 * (size_t)i, other, 6);
    for (uint32_t i = 0; i < n2; i++)
        memcpy(data + 8 + 6 * ((size_t)n1 + i), group, 6);
    uint8_t ack = send(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, data, bytes);
    free(data);
    return ack;
}

Test(control, mac_tables)
{
    struct net *net = open_device();
    cr_assert_eq(send_tables(0, 0, 0, 0, 0), VIRTIO_NET_OK);
    cr_assert(!gets(net, other) && !gets(net, group));
    cr_assert_eq(send_tables(1, 1, 2, 2, 0), VIRTIO_NET_OK);
    cr_assert(gets(net, other) && gets(net, group));
    cr_assert(net->filter.unicast.n == 1 && net->filter.multicast.n == 2);
    cr_assert(!net->filter.unicast.overflow && !net->filter.multicast.overflow);
    cr_assert_eq(send_tables(FILTER_MACS, FILTER_MACS, 0, 0, 0), VIRTIO_NET_OK);
    cr_assert(net->filter.unicast.n == FILTER_MACS && !net->filter.unicast.overflow);
    cr_assert_eq(send_tables(FILTER_MACS + 1, FILTER_MACS + 1, 5000, 5000, 0), VIRTIO_NET_OK);
    cr_assert(net->filter.unicast.n == FILTER_MACS && net->filter.unicast.overflow);
    cr_assert(net->filter.multicast.n == FILTER_MACS && net->filter.multicast.overflow);
    close_device();
}

/* The driver's counts are numbers like any other. */
Test(control, mac_tables_that_are_not_there)
{
    struct net *net = open_device();
    const uint32_t wrong[] = {2, 3, 65536, 0x2aaaaaaa, 0x2aaaaaab /* times 6 is 2 in 32 bits */,
                              0x2aaaaaac, 0x7fffffff, 0x80000000, 0xffffffff};
    cr_assert_eq(send_tables(1, 1, 1, 1, 0), VIRTIO_NET_OK);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cr_assert_eq(send_tables(wrong[i], 1, 1, 1, 0), VIRTIO_NET_ERR, "%u", wrong[i]);
        cr_assert_eq(send_tables(1, 1, wrong[i], 1, 0), VIRTIO_NET_ERR, "%u", wrong[i]);
    }
    cr_assert_eq(send_tables(0, 0, 0, 0, 1), VIRTIO_NET_ERR, "more than the tables");
    cr_assert(net->filter.unicast.n == 1 && net->filter.multicast.n == 1, "nothing has changed");
    cr_assert(gets(net, other) && gets(net, group));
    close_device();
}

/* A count whose size is 2 in 32 bits, and bytes which then would make sense. */
Test(control, mac_table_sizes_do_not_wrap)
{
    open_device();
    uint8_t data[4 + 2 + 4 + 6 * FILTER_MACS] = {0};
    const uint32_t claim1 = 0x2aaaaaab, claim2 = FILTER_MACS;
    memcpy(data, &claim1, 4);
    memcpy(data + 6, &claim2, 4);
    cr_assert_eq(send(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, data, sizeof(data)),
                 VIRTIO_NET_ERR);
    close_device();
}

/* Almost 4 GiB, the same memory many times over: nothing of that size is copied or allocated. */
Test(control, a_mac_table_of_almost_4_gib, .timeout = 30)
{
    enum { PIECE = 6 << 20, PIECES = 600 };
    struct net *net = open_device();
    uint8_t head[6] = {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET}, ack = UNTOUCHED;
    static uint8_t macs[PIECE], tail[4];
    struct iovec out[PIECES + 2] = {{head, sizeof(head)}}, in = {&ack, 1};
    uint32_t entries = PIECE / 6 * PIECES;
    memcpy(head + 2, &entries, 4);
    for (int i = 1; i <= PIECES; i++)
        out[i] = (struct iovec){macs, PIECE};
    out[PIECES + 1] = (struct iovec){tail, sizeof(tail)};
    hvv_harness_send(&h, 0, out, PIECES + 2, &in, 1);
    hvv_harness_kick(&h, 0);
    cr_assert_eq(ack, VIRTIO_NET_OK);
    cr_assert(net->filter.unicast.overflow && !net->filter.multicast.overflow);
    close_device();
}

Test(control, vlans)
{
    struct net *net = open_device();
    uint16_t vlan = 4095;
    cr_assert_eq(send(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlan, 2), VIRTIO_NET_OK);
    cr_assert_eq(net->filter.vlan[511], 0x80);
    cr_assert_eq(send(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, &vlan, 2), VIRTIO_NET_OK);
    cr_assert_eq(net->filter.vlan[511], 0);
    for (uint32_t i = 4096; i <= 65535; i += 6143) {
        vlan = (uint16_t)i;
        cr_assert_eq(send(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlan, 2),
                     VIRTIO_NET_ERR);
    }
    close_device();
}

Test(control, announce)
{
    struct net *net = open_device();
    net->status = VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE;
    cr_assert_eq(send(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0),
                 VIRTIO_NET_OK);
    cr_assert_eq(net->status, VIRTIO_NET_S_LINK_UP);
    close_device();
}

Test(control, pairs)
{
    struct net *net = open_device();
    const uint16_t wrong[] = {0, PAIRS + 1, 0x8000, 0x8001, 0xffff};
    for (uint16_t pairs = 1; pairs <= PAIRS; pairs++) {
        cr_assert_eq(send(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2),
                     VIRTIO_NET_OK);
        cr_assert(net->active_pairs == pairs && changes == pairs);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_assert_eq(send(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &wrong[i], 2),
                     VIRTIO_NET_ERR, "%u pairs", wrong[i]);
    cr_assert(net->active_pairs == PAIRS && changes == PAIRS);
    close_device();
}

static uint8_t send_offloads(uint64_t bits)
{
    return send(VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &bits, 8);
}

Test(control, offloads)
{
    struct net *net = open_device();
    const uint64_t sums = NET_FEATURE(GUEST_CSUM), tcp4 = NET_FEATURE(GUEST_TSO4),
                   ecn = NET_FEATURE(GUEST_ECN), uso6 = NET_FEATURE(GUEST_USO6);
    cr_assert_eq(send_offloads(NET_GUEST_OFFLOADS), VIRTIO_NET_OK);
    cr_assert(net->guest_offloads == NET_GUEST_OFFLOADS && changes == 1);
    cr_assert_eq(send_offloads(0), VIRTIO_NET_OK);
    cr_assert(net->guest_offloads == 0 && changes == 2);
    for (uint32_t bit = 0; bit < 64; bit++) {
        bool offered = NET_GUEST_OFFLOADS >> bit & 1;
        cr_assert_eq(send_offloads(sums | 1ull << bit), offered ? VIRTIO_NET_OK : VIRTIO_NET_ERR,
                     "bit %u", bit);
    }
    cr_assert_eq(send_offloads(tcp4), VIRTIO_NET_OK);
    cr_assert_eq(net->guest_offloads, 0, "of no use without checksums");
    cr_assert_eq(send_offloads(sums | ecn | uso6), VIRTIO_NET_OK);
    cr_assert_eq(net->guest_offloads, sums | uso6, "ECN of no use without TCP");
    cr_assert_eq(send_offloads(sums | ecn | tcp4), VIRTIO_NET_OK);
    cr_assert_eq(net->guest_offloads, sums | ecn | tcp4);
    h.taken = h.offered & ~tcp4;
    cr_assert_eq(send_offloads(sums | tcp4), VIRTIO_NET_ERR, "offered, not negotiated");
    close_device();
}

/* ---- Chains ---------------------------------------------------------------------------------- */

static const char *fails(uint32_t readable, uint32_t writable)
{
    static uint8_t out[16], in[16];
    const struct iovec out_iov = {out, readable}, in_iov = {in, writable};
    struct hvv_harness_chain *chain =
        hvv_harness_send(&h, 0, &out_iov, readable > 0, &in_iov, writable > 0);
    hvv_harness_kick(&h, 0);
    cr_assert(hvv_harness_done(&h, chain) && chain->written == 0);
    return chain->failed;
}

Test(control, bad_chains)
{
    open_device();
    h.forgiving = true; /* so that each has its turn */
    cr_assert(strstr(fails(3, 0), "no room for its answer"));
    cr_assert(strstr(fails(0, 0), "no room for its answer"));
    cr_assert(strstr(fails(0, 1), "0 bytes is shorter than its header of 2"));
    cr_assert(strstr(fails(1, 1), "1 bytes is shorter than its header of 2"));
    close_device();
}

Test(control, many_at_once)
{
    enum { N = 100 };
    struct net *net = open_device();
    uint8_t bytes[N][4] = {{0}}, ack[N];
    memset(ack, UNTOUCHED, sizeof(ack));
    for (uint16_t i = 0; i < N; i++) {
        struct iovec out = {bytes[i], 4}, in = {&ack[i], 1};
        bytes[i][0] = VIRTIO_NET_CTRL_MQ;
        bytes[i][2] = (uint8_t)(i % (PAIRS + 1));
        hvv_harness_send(&h, 0, &out, 1, &in, 1);
    }
    hvv_harness_kick(&h, 0);
    for (uint32_t i = 0; i < N; i++)
        cr_assert_eq(ack[i], i % (PAIRS + 1) == 0);
    cr_assert_eq(net->active_pairs, PAIRS);
    close_device();
}

/* Anything at all is answered. AddressSanitizer watches. */
Test(control, random_commands, .timeout = 60)
{
    uint32_t seed = 1;
    for (uint32_t round = 0; round < 20; round++) {
        open_device();
        for (uint32_t i = 0; i < 1000; i++) {
            uint8_t bytes[600];
            for (size_t k = 0; k < sizeof(bytes); k++)
                bytes[k] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
            bytes[3] = bytes[4] = bytes[5] = 0; /* counts that may be right */
            uint8_t ack = send(bytes[0] % 8, bytes[1] % 8, bytes + 2, bytes[6] * 2u);
            cr_assert(ack == VIRTIO_NET_OK || ack == VIRTIO_NET_ERR);
        }
        close_device();
    }
}
