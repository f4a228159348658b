/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter.h - which frames the guest wants: what it told through the control queue (virtio 1.2,
 * sections 5.1.6.5.1 to 5.1.6.5.3). Commands come on one worker, frames on others: each call locks.
 */
#ifndef NET_FILTER_H
#define NET_FILTER_H

#include "frame.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define FILTER_MACS 64u /* addresses in a table; a longer one lets everything of its kind pass */
#define FILTER_VLANS 4096u

struct filter_table {
    uint32_t n;
    bool overflow; /* it was longer */
    uint8_t mac[FILTER_MACS][FRAME_MAC_BYTES];
};

struct filter {
    pthread_mutex_t lock;
    _Atomic bool all;       /* every frame passes: what it starts with, and need not lock for */
    uint8_t mac[FRAME_MAC_BYTES]; /* of the guest */
    bool open;              /* all addresses pass, until the driver first says what it wants */
    bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
    bool vlans;             /* VLAN filtering was negotiated */
    struct filter_table unicast, multicast;
    uint8_t vlan[FILTER_VLANS / 8];
};

void filter_init(struct filter *filter, const uint8_t *mac);
void filter_free(struct filter *filter);

/*
 * Back to what a driver finds (also after a reset): empty tables, no mode set, all addresses pass.
 * A driver that gives no table and never says whether it wants to be promiscuous knows no filter.
 * `vlans` if it took CTRL_VLAN: then only VLANs it named pass, but for one that is promiscuous.
 */
void filter_reset(struct filter *filter, const uint8_t *mac, bool vlans);

/* One of VIRTIO_NET_CTRL_RX_*, on or off. False for a command that does not exist. */
bool filter_mode(struct filter *filter, uint8_t command, bool on);
void filter_set_mac(struct filter *filter, const uint8_t *mac);
void filter_get_mac(struct filter *filter, uint8_t *mac);
void filter_set_tables(struct filter *filter, const struct filter_table *unicast,
                       const struct filter_table *multicast);
/* False if the VLAN's number is above 4095. */
bool filter_vlan(struct filter *filter, uint16_t vlan, bool add);

/* True if a frame that starts with these bytes (at least FRAME_MIN; 18 with a VLAN tag) passes. */
bool filter_passes(struct filter *filter, const uint8_t *start, uint32_t bytes);

#endif
