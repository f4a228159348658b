/* SPDX-License-Identifier: BSD-3-Clause */
/* filter.c - see filter.h. */
#include "filter.h"

#include <linux/if_ether.h>

#define TYPE_AT (2 * FRAME_MAC_BYTES)
#define TAG_AT (TYPE_AT + 2)
#define VLAN_MASK 0x0fffu /* of a tag; the rest is a priority */
#define GROUP_BIT 1u      /* of an address' first byte */

static const uint8_t broadcast[FRAME_MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* After each change, with the lock held. */
static void settle(struct filter *filter)
{
    bool some_not = filter->vlans || filter->nomulti || filter->nouni || filter->nobcast;
    atomic_store(&filter->all, filter->promisc || (filter->open && !some_not));
}

void filter_init(struct filter *filter, const uint8_t *mac)
{
    pthread_mutex_init(&filter->lock, NULL);
    filter_reset(filter, mac, false);
}

void filter_free(struct filter *filter)
{
    pthread_mutex_destroy(&filter->lock);
}

void filter_reset(struct filter *filter, const uint8_t *mac, bool vlans)
{
    pthread_mutex_lock(&filter->lock);
    memcpy(filter->mac, mac, sizeof(filter->mac));
    filter->open = true;
    filter->promisc = filter->allmulti = filter->alluni = false;
    filter->nomulti = filter->nouni = filter->nobcast = false;
    filter->vlans = vlans;
    filter->unicast.n = filter->multicast.n = 0;
    filter->unicast.overflow = filter->multicast.overflow = false;
    memset(filter->vlan, 0, sizeof(filter->vlan));
    settle(filter);
    pthread_mutex_unlock(&filter->lock);
}

static bool set_mode(struct filter *filter, uint8_t command, bool on)
{
    switch (command) {
    case VIRTIO_NET_CTRL_RX_PROMISC:
        filter->promisc = on;
        filter->open = false;
        return true;
    case VIRTIO_NET_CTRL_RX_ALLMULTI: filter->allmulti = on; return true;
    case VIRTIO_NET_CTRL_RX_ALLUNI: filter->alluni = on; return true;
    case VIRTIO_NET_CTRL_RX_NOMULTI: filter->nomulti = on; return true;
    case VIRTIO_NET_CTRL_RX_NOUNI: filter->nouni = on; return true;
    case VIRTIO_NET_CTRL_RX_NOBCAST: filter->nobcast = on; return true;
    default: return false;
    }
}

bool filter_mode(struct filter *filter, uint8_t command, bool on)
{
    pthread_mutex_lock(&filter->lock);
    bool known = set_mode(filter, command, on);
    settle(filter);
    pthread_mutex_unlock(&filter->lock);
    return known;
}

void filter_set_mac(struct filter *filter, const uint8_t *mac)
{
    pthread_mutex_lock(&filter->lock);
    memcpy(filter->mac, mac, sizeof(filter->mac));
    pthread_mutex_unlock(&filter->lock);
}

void filter_get_mac(struct filter *filter, uint8_t *mac)
{
    pthread_mutex_lock(&filter->lock);
    memcpy(mac, filter->mac, sizeof(filter->mac));
    pthread_mutex_unlock(&filter->lock);
}

void filter_set_tables(struct filter *filter, const struct filter_table *unicast,
                       const struct filter_table *multicast)
{
    pthread_mutex_lock(&filter->lock);
    filter->unicast = *unicast;
    filter->multicast = *multicast;
    filter->open = false;
    settle(filter);
    pthread_mutex_unlock(&filter->lock);
}

bool filter_vlan(struct filter *filter, uint16_t vlan, bool add)
{
    uint8_t bit = (uint8_t)(1u << vlan % 8);
    if (vlan >= FILTER_VLANS)
        return false;
    pthread_mutex_lock(&filter->lock);
    if (add)
        filter->vlan[vlan / 8] |= bit;
    else
        filter->vlan[vlan / 8] &= (uint8_t)~bit;
    pthread_mutex_unlock(&filter->lock);
    return true;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

static bool is_listed(const struct filter_table *table, const uint8_t *mac)
{
    for (uint32_t i = 0; i < table->n && i < FILTER_MACS; i++)
        if (memcmp(table->mac[i], mac, FRAME_MAC_BYTES) == 0)
            return true;
    return table->overflow;
}

/* Number 0 is no VLAN, only a priority (IEEE 802.1Q). */
static bool vlan_passes(const struct filter *filter, const uint8_t *start, uint32_t bytes)
{
    uint32_t type = (uint32_t)start[TYPE_AT] << 8 | start[TYPE_AT + 1];
    if (!filter->vlans || type != ETH_P_8021Q || bytes < TAG_AT + 2)
        return true;
    uint32_t vlan = ((uint32_t)start[TAG_AT] << 8 | start[TAG_AT + 1]) & VLAN_MASK;
    return vlan == 0 || filter->vlan[vlan / 8] & 1u << vlan % 8;
}

/* The modes that take away win over those that add, but for promiscuous: it wins over all. */
static bool address_passes(const struct filter *filter, const uint8_t *to)
{
    if (memcmp(to, broadcast, sizeof(broadcast)) == 0)
        return !filter->nobcast;
    if (to[0] & GROUP_BIT)
        return !filter->nomulti &&
               (filter->open || filter->allmulti || is_listed(&filter->multicast, to));
    return !filter->nouni && (filter->open || filter->alluni ||
                              memcmp(to, filter->mac, sizeof(filter->mac)) == 0 ||
                              is_listed(&filter->unicast, to));
}

bool filter_passes(struct filter *filter, const uint8_t *start, uint32_t bytes)
{
    if (atomic_load_explicit(&filter->all, memory_order_relaxed))
        return true;
    if (bytes < FRAME_MIN)
        return false;
    pthread_mutex_lock(&filter->lock);
    bool passes = filter->promisc ||
                  (vlan_passes(filter, start, bytes) && address_passes(filter, start));
    pthread_mutex_unlock(&filter->lock);
    return passes;
}
