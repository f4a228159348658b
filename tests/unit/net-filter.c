/* SPDX-License-Identifier: BSD-3-Clause */
/* net-filter.c - tests of which frames a guest of the net plugin gets. */
#include "filter.h"

#include <criterion/criterion.h>
#include <linux/if_ether.h>

static const uint8_t own[] = {2, 0, 0, 0, 0, 1}, other[] = {2, 0, 0, 0, 0, 2},
                     third[] = {2, 0, 0, 0, 0, 3}, group[] = {1, 0, 0x5e, 0, 0, 1},
                     group2[] = {0x33, 0x33, 0, 0, 0, 1},
                     all[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* To an address; with a tag of `type` if that is not 0. */
static bool passes(struct filter *filter, const uint8_t *to, uint16_t type, uint16_t tag)
{
    uint8_t start[18] = {0};
    memcpy(start, to, 6);
    memcpy(start + 6, third, 6);
    start[12] = (uint8_t)(type ? type >> 8 : 0x08);
    start[13] = (uint8_t)type;
    start[14] = (uint8_t)(tag >> 8);
    start[15] = (uint8_t)tag;
    return filter_passes(filter, start, sizeof(start));
}

static bool gets(struct filter *filter, const uint8_t *to)
{
    return passes(filter, to, 0, 0);
}

/* Which of own, other, group, broadcast pass: a letter each. */
static const char *what(struct filter *filter)
{
    static char text[5];
    int n = 0;
    if (gets(filter, own))
        text[n++] = 'o';
    if (gets(filter, other))
        text[n++] = 'u';
    if (gets(filter, group))
        text[n++] = 'm';
    if (gets(filter, all))
        text[n++] = 'b';
    text[n] = '\0';
    return text;
}

static struct filter_table table(const uint8_t *one, const uint8_t *two)
{
    struct filter_table t = {0};
    if (one)
        memcpy(t.mac[t.n++], one, 6);
    if (two)
        memcpy(t.mac[t.n++], two, 6);
    return t;
}

Test(filter, starts_open)
{
    struct filter filter;
    filter_init(&filter, own);
    cr_assert_str_eq(what(&filter), "oumb");
    cr_assert(filter.all, "the fast way");
    cr_assert(filter_mode(&filter, VIRTIO_NET_CTRL_RX_NOBCAST, true));
    cr_assert_str_eq(what(&filter), "oum");
    cr_assert(filter_mode(&filter, VIRTIO_NET_CTRL_RX_NOUNI, true));
    cr_assert_str_eq(what(&filter), "m");
    filter_reset(&filter, own, false);
    cr_assert_str_eq(what(&filter), "oumb");
    filter_free(&filter);
}

/* All combinations of all modes, against the rules as the specification words them. */
Test(filter, modes)
{
    struct filter filter;
    filter_init(&filter, own);
    for (uint32_t bits = 0; bits < 64; bits++) {
        for (uint8_t mode = 0; mode < 6; mode++)
            cr_assert(filter_mode(&filter, mode, bits >> mode & 1));
        bool promisc = bits & 1, allmulti = bits & 2, alluni = bits & 4, nomulti = bits & 8,
             nouni = bits & 16, nobcast = bits & 32;
        cr_assert_eq(gets(&filter, own), promisc || !nouni, "modes %02x", bits);
        cr_assert_eq(gets(&filter, other), promisc || (alluni && !nouni), "modes %02x", bits);
        cr_assert_eq(gets(&filter, group), promisc || (allmulti && !nomulti), "modes %02x", bits);
        cr_assert_eq(gets(&filter, all), promisc || !nobcast, "modes %02x", bits);
        cr_assert_eq(filter.all, promisc);
    }
    cr_assert(!filter_mode(&filter, 6, true));
    cr_assert(!filter_mode(&filter, 255, true));
    filter_free(&filter);
}

Test(filter, tables)
{
    struct filter filter;
    struct filter_table none = {0}, unicast = table(third, other), multicast = table(group2, group);
    filter_init(&filter, own);
    filter_set_tables(&filter, &none, &none);
    cr_assert_str_eq(what(&filter), "ob", "who gives a table wants what is in it");
    filter_set_tables(&filter, &unicast, &none);
    cr_assert_str_eq(what(&filter), "oub");
    filter_set_tables(&filter, &none, &multicast);
    cr_assert_str_eq(what(&filter), "omb");
    cr_assert(gets(&filter, group2));
    filter_set_tables(&filter, &multicast, &unicast); /* each kind in the other's table */
    cr_assert_str_eq(what(&filter), "ob");
    filter_set_tables(&filter, &unicast, &multicast);
    filter_reset(&filter, own, false);
    filter_mode(&filter, VIRTIO_NET_CTRL_RX_PROMISC, false);
    cr_assert_str_eq(what(&filter), "ob", "a reset empties the tables");
    filter_free(&filter);
}

Test(filter, a_table_that_is_too_long_lets_all_of_its_kind_pass)
{
    struct filter filter;
    struct filter_table full = {.n = FILTER_MACS}, none = {0};
    filter_init(&filter, own);
    memcpy(full.mac[FILTER_MACS - 1], other, 6);
    filter_set_tables(&filter, &full, &none);
    cr_assert_str_eq(what(&filter), "oub");
    cr_assert(!gets(&filter, third));
    full.overflow = true;
    filter_set_tables(&filter, &full, &none);
    cr_assert(gets(&filter, third));
    cr_assert(!gets(&filter, group));
    filter_set_tables(&filter, &none, &full);
    cr_assert(!gets(&filter, third));
    cr_assert(gets(&filter, group));
    filter_mode(&filter, VIRTIO_NET_CTRL_RX_NOMULTI, true);
    cr_assert(!gets(&filter, group));
    filter_free(&filter);
}

Test(filter, mac)
{
    struct filter filter;
    uint8_t mac[6];
    filter_init(&filter, own);
    filter_mode(&filter, VIRTIO_NET_CTRL_RX_PROMISC, false);
    filter_set_mac(&filter, other);
    filter_get_mac(&filter, mac);
    cr_assert_arr_eq(mac, other, 6);
    cr_assert_str_eq(what(&filter), "ub");
    filter_reset(&filter, own, false);
    filter_get_mac(&filter, mac);
    cr_assert_arr_eq(mac, own, 6);
    filter_free(&filter);
}

static bool gets_vlan(struct filter *filter, uint16_t tag)
{
    return passes(filter, own, ETH_P_8021Q, tag);
}

Test(filter, vlans)
{
    struct filter filter;
    filter_init(&filter, own);
    cr_assert(gets_vlan(&filter, 7), "not negotiated");
    filter_reset(&filter, own, true);
    cr_assert(!filter.all);
    cr_assert_str_eq(what(&filter), "oumb", "frames without a tag");
    cr_assert(!gets_vlan(&filter, 7));
    cr_assert(gets_vlan(&filter, 0xe000), "a priority is no VLAN");
    cr_assert(passes(&filter, own, ETH_P_8021AD, 7), "another kind of tag");
    const uint16_t some[] = {1, 7, 8, 4095};
    for (size_t i = 0; i < 4; i++) {
        cr_assert(filter_vlan(&filter, some[i], true));
        for (uint16_t vlan = 1; vlan < 4096; vlan++)
            cr_assert_eq(gets_vlan(&filter, 0xa000 | vlan), vlan == some[i], "VLAN %u", vlan);
        cr_assert(filter_vlan(&filter, some[i], false));
        cr_assert(!gets_vlan(&filter, some[i]));
    }
    cr_assert(!filter_vlan(&filter, 4096, true));
    cr_assert(!filter_vlan(&filter, 65535, false));
    filter_vlan(&filter, 7, true);
    filter_mode(&filter, VIRTIO_NET_CTRL_RX_PROMISC, false);
    cr_assert(!passes(&filter, other, ETH_P_8021Q, 7), "its address has to be right as well");
    filter_mode(&filter, VIRTIO_NET_CTRL_RX_PROMISC, true);
    cr_assert(passes(&filter, other, ETH_P_8021Q, 9), "promiscuous wins");
    filter_reset(&filter, own, true);
    cr_assert(!gets_vlan(&filter, 7), "a reset empties the list");
    filter_free(&filter);
}

Test(filter, short_frames)
{
    struct filter filter;
    uint8_t start[18] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 3, 0x81, 0, 0, 7};
    filter_init(&filter, own);
    filter_reset(&filter, own, true);
    cr_assert(!filter_passes(&filter, start, 13), "not even an Ethernet header");
    cr_assert(filter_passes(&filter, start, 14), "cut off before its tag");
    cr_assert(filter_passes(&filter, start, 15));
    cr_assert(!filter_passes(&filter, start, 16));
    filter_free(&filter);
}
