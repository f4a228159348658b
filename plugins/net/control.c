/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control.c - see control.h.
 *
 * A command is a header of two bytes (class, command), data, and one byte for the device's answer.
 * Header and data are copied before they are looked at. What is not offered, not negotiated or
 * makes no sense is answered with VIRTIO_NET_ERR; a chain without header or without room for the
 * answer breaks the device.
 */
#include "control.h"

#include "backend.h"

#define BATCH 16u

/* VIRTIO_NET_F_GUEST_UFO is not offered: nobody makes such frames any more. */
#define OFFLOAD_LARGE                                                                              \
    (NET_FEATURE(GUEST_TSO4) | NET_FEATURE(GUEST_TSO6) | NET_FEATURE(GUEST_USO4) |                 \
     NET_FEATURE(GUEST_USO6))
#define OFFLOAD_TCP (NET_FEATURE(GUEST_TSO4) | NET_FEATURE(GUEST_TSO6))

/* A command, and how much of its data was read. */
struct command {
    struct net *net;
    const struct hvv_chain *chain;
    struct virtio_net_ctrl_hdr header;
    uint64_t at;
};

/* Copies the next `size` bytes of the data. False if there are fewer. */
static bool take(struct command *command, void *to, size_t size)
{
    const struct hvv_chain *chain = command->chain;
    size_t got = hvv_iov_read(chain->readable, chain->n_readable, command->at, to, size);
    command->at += got;
    return got == size;
}

static bool negotiated(const struct net *net, uint64_t bit)
{
    return hvv_features(net->dev) & bit;
}

/* ---- Commands: each returns false if it is refused ------------------------------------------- */

static bool set_rx_mode(struct command *command)
{
    uint8_t on;
    bool extra = command->header.cmd > VIRTIO_NET_CTRL_RX_ALLMULTI;
    return negotiated(command->net, extra ? NET_FEATURE(CTRL_RX_EXTRA) : NET_FEATURE(CTRL_RX)) &&
           take(command, &on, sizeof(on)) && on <= 1 &&
           filter_mode(&command->net->filter, command->header.cmd, on);
}

/* Reads one table. The number of entries is the driver's: it must fit what there really is. */
static bool take_table(struct command *command, struct filter_table *table)
{
    uint32_t entries; /* little-endian, as this machine */
    if (!take(command, &entries, sizeof(entries)))
        return false;
    uint64_t bytes = (uint64_t)entries * FRAME_MAC_BYTES;
    if (bytes > command->chain->readable_bytes - command->at)
        return false;
    uint64_t end = command->at + bytes;
    table->overflow = entries > FILTER_MACS;
    table->n = table->overflow ? FILTER_MACS : entries;
    bool whole = take(command, table->mac, (size_t)table->n * FRAME_MAC_BYTES);
    command->at = end;
    return whole;
}

static bool set_mac_tables(struct command *command)
{
    struct filter_table unicast, multicast;
    if (!negotiated(command->net, NET_FEATURE(CTRL_RX)) || !take_table(command, &unicast) ||
        !take_table(command, &multicast) || command->at != command->chain->readable_bytes)
        return false;
    filter_set_tables(&command->net->filter, &unicast, &multicast);
    return true;
}

static bool set_mac(struct command *command)
{
    uint8_t mac[FRAME_MAC_BYTES];
    struct net *net = command->net;
    if (!negotiated(net, NET_FEATURE(CTRL_MAC_ADDR)) || !take(command, mac, sizeof(mac)))
        return false;
    filter_set_mac(&net->filter, mac);
    (void)hvv_config_set(net->dev, offsetof(struct virtio_net_config, mac), mac, sizeof(mac), 0);
    return true;
}

static bool change_mac(struct command *command)
{
    switch (command->header.cmd) {
    case VIRTIO_NET_CTRL_MAC_TABLE_SET: return set_mac_tables(command);
    case VIRTIO_NET_CTRL_MAC_ADDR_SET: return set_mac(command);
    default: return false;
    }
}

static bool change_vlan(struct command *command)
{
    uint16_t vlan;
    bool add = command->header.cmd == VIRTIO_NET_CTRL_VLAN_ADD;
    return negotiated(command->net, NET_FEATURE(CTRL_VLAN)) &&
           (add || command->header.cmd == VIRTIO_NET_CTRL_VLAN_DEL) &&
           take(command, &vlan, sizeof(vlan)) && filter_vlan(&command->net->filter, vlan, add);
}

static bool acknowledge_announce(struct command *command)
{
    if (!negotiated(command->net, NET_FEATURE(GUEST_ANNOUNCE)) ||
        command->header.cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK)
        return false;
    net_set_status(command->net, 0, VIRTIO_NET_S_ANNOUNCE);
    return true;
}

static void changed(struct net *net)
{
    if (net->backend->changed)
        net->backend->changed(net);
}

static bool set_pairs(struct command *command)
{
    uint16_t pairs;
    struct net *net = command->net;
    if (!negotiated(net, NET_FEATURE(MQ)) ||
        command->header.cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET ||
        !take(command, &pairs, sizeof(pairs)) || pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN ||
        pairs > net->n_pairs)
        return false;
    atomic_store(&net->active_pairs, pairs);
    changed(net);
    return true;
}

uint64_t control_usable_offloads(uint64_t asked)
{
    if (!(asked & NET_FEATURE(GUEST_CSUM)))
        return 0;
    if (!(asked & OFFLOAD_TCP))
        asked &= ~NET_FEATURE(GUEST_ECN);
    return asked & (OFFLOAD_LARGE | NET_FEATURE(GUEST_ECN) | NET_FEATURE(GUEST_CSUM));
}

static bool set_offloads(struct command *command)
{
    uint64_t offloads;
    struct net *net = command->net;
    if (!negotiated(net, NET_FEATURE(CTRL_GUEST_OFFLOADS)) ||
        command->header.cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ||
        !take(command, &offloads, sizeof(offloads)) ||
        offloads & ~(hvv_features(net->dev) & NET_GUEST_OFFLOADS))
        return false;
    atomic_store(&net->guest_offloads, control_usable_offloads(offloads));
    changed(net);
    return true;
}

static bool run(struct command *command)
{
    switch (command->header.class) {
    case VIRTIO_NET_CTRL_RX: return set_rx_mode(command);
    case VIRTIO_NET_CTRL_MAC: return change_mac(command);
    case VIRTIO_NET_CTRL_VLAN: return change_vlan(command);
    case VIRTIO_NET_CTRL_ANNOUNCE: return acknowledge_announce(command);
    case VIRTIO_NET_CTRL_MQ: return set_pairs(command);
    case VIRTIO_NET_CTRL_GUEST_OFFLOADS: return set_offloads(command);
    default: return false;
    }
}

/* ---- The queue ------------------------------------------------------------------------------- */

static void handle(struct net *net, struct hvv_chain *chain)
{
    struct command command = {.net = net, .chain = chain};
    if (chain->writable_bytes < sizeof(virtio_net_ctrl_ack)) {
        hvv_fail(chain, "a control command has no room for its answer of 1 byte");
        return;
    }
    if (!take(&command, &command.header, sizeof(command.header))) {
        hvv_fail(chain, "a control command of %llu bytes is shorter than its header of %zu",
                 (unsigned long long)chain->readable_bytes, sizeof(command.header));
        return;
    }
    virtio_net_ctrl_ack ack = run(&command) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
    if (ack == VIRTIO_NET_ERR)
        hvv_log(net->dev, HVV_LOG_WARNING, "command %u of class %u with %llu bytes of data is "
                "refused", command.header.cmd, command.header.class,
                (unsigned long long)chain->readable_bytes - sizeof(command.header));
    hvv_iov_write(chain->writable, chain->n_writable, 0, &ack, sizeof(ack));
    hvv_complete(chain, sizeof(ack));
}

void control_run(struct net *net, uint32_t queue)
{
    struct hvv_chain *chains[BATCH];
    uint32_t n;
    do {
        n = hvv_pop(net->dev, queue, chains, BATCH);
        for (uint32_t i = 0; i < n; i++)
            handle(net, chains[i]);
    } while (n == BATCH);
}
