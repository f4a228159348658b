/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net-fdb.c - tests of the net plugin's address table (fdb.c) and of the number that stands for a
 * flow (flow.c).
 */
#include "fdb.h"
#include "flow.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define SECOND 1000000000ull
#define MAC(n) (0x020000000000ull + (n))

static struct fdb *fdb;
static uint64_t until;

static void setup(void)
{
    fdb = calloc(1, sizeof(*fdb));
    fdb_init(fdb, 0x123456789abcdef1ull);
}

static void teardown(void)
{
    free(fdb);
}

TestSuite(fdb, .init = setup, .fini = teardown);

static uint32_t find(uint64_t mac, uint64_t now)
{
    return fdb_find(fdb, mac, now, &until);
}

static uint32_t generation(void)
{
    return atomic_load(&fdb->generation);
}

Test(fdb, bytes_are_a_number)
{
    static const uint8_t bytes[] = {0x02, 0x11, 0x22, 0x33, 0x44, 0x55};
    cr_assert_eq(fdb_mac(bytes), 0x021122334455ull);
    cr_assert(!fdb_is_group(fdb_mac(bytes)));
    cr_assert(fdb_is_group(0x01005e000001ull));
    cr_assert(fdb_is_group(0xffffffffffffull));
}

Test(fdb, what_was_seen_is_found)
{
    cr_assert_eq(find(MAC(1), 5), FDB_NONE);
    cr_assert(fdb_learn(fdb, MAC(1), 3, 5));
    cr_assert_eq(find(MAC(1), 6), 3);
    cr_assert_eq(until, 5 + FDB_AGE_NS);
    cr_assert_eq(find(MAC(2), 6), FDB_NONE);
}

Test(fdb, no_station_has_these)
{
    cr_assert(!fdb_learn(fdb, 0, 1, 0));
    cr_assert(!fdb_learn(fdb, 0xffffffffffffull, 1, 0));
    cr_assert(!fdb_learn(fdb, 0x01005e000001ull, 1, 0));
    cr_assert(!fdb_pin(fdb, 0, 1));
    cr_assert(!fdb_pin(fdb, 0x01005e000001ull, 1));
    cr_assert_eq(fdb_count(fdb, 1), 0);
    cr_assert_eq(find(0, 0), FDB_NONE);
}

Test(fdb, it_moves)
{
    fdb_learn(fdb, MAC(1), 3, 5);
    uint32_t before = generation();
    cr_assert(fdb_learn(fdb, MAC(1), 4, 6));
    cr_assert_neq(generation(), before, "who remembers port 3 has to ask again");
    cr_assert_eq(find(MAC(1), 7), 4);
    cr_assert_eq(fdb_count(fdb, 3), 0);
    cr_assert_eq(fdb_count(fdb, 4), 1);
}

Test(fdb, seen_again_changes_nothing_for_others)
{
    fdb_learn(fdb, MAC(1), 3, 5);
    uint32_t before = generation();
    fdb_learn(fdb, MAC(1), 3, 6);
    fdb_learn(fdb, MAC(2), 5, 6);
    cr_assert_eq(generation(), before);
}

Test(fdb, it_ages)
{
    fdb_learn(fdb, MAC(1), 3, 5);
    cr_assert_eq(find(MAC(1), 4 + FDB_AGE_NS), 3);
    fdb_learn(fdb, MAC(1), 3, 5 + SECOND);
    cr_assert_eq(find(MAC(1), 5 + FDB_AGE_NS), 3, "it was seen again");
    uint32_t before = generation();
    cr_assert_eq(find(MAC(1), 5 + SECOND + FDB_AGE_NS), FDB_NONE);
    cr_assert_neq(generation(), before);
    cr_assert_eq(fdb_count(fdb, 3), 0);
}

Test(fdb, a_flood_pushes_out_its_own_oldest)
{
    fdb_learn(fdb, MAC(1), 3, 5);
    fdb_pin(fdb, MAC(2), 4);
    for (uint64_t i = 0; i < 10000; i++)
        fdb_learn(fdb, MAC(1000 + i), 4, 10 + i);
    cr_assert_eq(fdb_count(fdb, 4), FDB_PER_PORT);
    cr_assert_eq(find(MAC(1), 20000), 3);
    cr_assert_eq(find(MAC(2), 20000), 4);
    cr_assert_eq(find(MAC(1000 + 9999), 20000), 4);
    cr_assert_eq(find(MAC(1000 + 10000 - FDB_PER_PORT), 20000), 4);
    cr_assert_eq(find(MAC(1000 + 9999 - FDB_PER_PORT), 20000), FDB_NONE);
}

Test(fdb, what_is_used_stays)
{
    for (uint64_t i = 0; i < 1000; i++) {
        fdb_learn(fdb, MAC(1), 4, i);
        fdb_learn(fdb, MAC(1000 + i), 4, i);
    }
    cr_assert_eq(find(MAC(1), 1000), 4);
}

Test(fdb, every_port_has_room)
{
    for (uint32_t port = 0; port < FDB_PORTS; port++)
        for (uint64_t i = 0; i < FDB_PER_PORT; i++)
            fdb_learn(fdb, MAC(port * 1000 + i), port, 1);
    for (uint32_t port = 0; port < FDB_PORTS; port++)
        for (uint64_t i = 0; i < FDB_PER_PORT; i++)
            cr_assert_eq(find(MAC(port * 1000 + i), 2), port);
}

Test(fdb, pinned_stays)
{
    cr_assert(fdb_pin(fdb, MAC(1), 3));
    cr_assert(!fdb_learn(fdb, MAC(1), 4, 5), "another guest uses its address");
    cr_assert(fdb_learn(fdb, MAC(1), 3, 5));
    cr_assert(!fdb_pin(fdb, MAC(1), 4), "two devices have the same address");
    cr_assert_eq(find(MAC(1), 5 + 2 * FDB_AGE_NS), 3);
    cr_assert_eq(until, UINT64_MAX);
}

Test(fdb, pinning_takes_it_back)
{
    fdb_learn(fdb, MAC(1), 4, 5);
    uint32_t before = generation();
    cr_assert(fdb_pin(fdb, MAC(1), 3));
    cr_assert_neq(generation(), before);
    cr_assert_eq(find(MAC(1), 6), 3);
    cr_assert_eq(fdb_count(fdb, 4), 0);
    cr_assert(fdb_pin(fdb, MAC(2), 3), "another one in its place");
    cr_assert_eq(find(MAC(1), 6), FDB_NONE);
    cr_assert_eq(find(MAC(2), 6), 3);
    cr_assert(fdb_pin(fdb, MAC(2), 3), "once more");
    cr_assert_eq(find(MAC(2), 6), 3);
}

Test(fdb, flush_is_for_one_port)
{
    fdb_pin(fdb, MAC(1), 3);
    for (uint64_t i = 0; i < 50; i++) {
        fdb_learn(fdb, MAC(100 + i), 3, 5);
        fdb_learn(fdb, MAC(200 + i), 4, 5);
    }
    uint32_t before = generation();
    fdb_flush(fdb, 3);
    cr_assert_neq(generation(), before);
    cr_assert_eq(find(MAC(1), 6), FDB_NONE);
    cr_assert_eq(fdb_count(fdb, 3), 0);
    cr_assert_eq(fdb_count(fdb, 4), 50);
    cr_assert(fdb_learn(fdb, MAC(1), 4, 7), "it is not pinned any more");
    for (uint64_t i = 0; i < FDB_PER_PORT; i++)
        fdb_learn(fdb, MAC(300 + i), 3, 8);
    cr_assert_eq(fdb_count(fdb, 3), FDB_PER_PORT);
}

/* What a simple table would say, for anything that happens. */
Test(fdb, model)
{
    enum { N = 600, PORTS = 3 };
    static struct { uint32_t port; uint64_t seen; } model[N];
    uint64_t now = 1, x = 88172645463325252ull;
    uint32_t evicted = 0;
    for (int i = 0; i < N; i++)
        model[i].port = FDB_NONE;
    for (int step = 0; step < 200000; step++, now++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint32_t i = (uint32_t)(x >> 20) % N, port = (uint32_t)(x >> 10) % PORTS;
        if (x % 5000 == 0) {
            fdb_flush(fdb, port);
            for (int k = 0; k < N; k++)
                if (model[k].port == port)
                    model[k].port = FDB_NONE;
        } else if (x % 3) {
            uint32_t n = 0, oldest = N;
            fdb_learn(fdb, MAC(i), port, now);
            if (model[i].port == port) {
                model[i].seen = now;
                continue;
            }
            model[i].port = FDB_NONE;
            for (uint32_t k = 0; k < N; k++)
                if (model[k].port == port) {
                    n++;
                    if (oldest == N || model[k].seen < model[oldest].seen)
                        oldest = k;
                }
            if (n == FDB_PER_PORT) {
                model[oldest].port = FDB_NONE;
                evicted++;
            }
            model[i].port = port;
            model[i].seen = now;
        } else {
            cr_assert_eq(find(MAC(i), now), model[i].port, "address %u in step %d", i, step);
        }
    }
    cr_assert_gt(evicted, 100);
}

/* ---- flow_hash() ----------------------------------------------------------------------------- */

static uint8_t bytes[200];

static void ethernet(uint16_t type)
{
    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02", 12);
    bytes[12] = (uint8_t)(type >> 8);
    bytes[13] = (uint8_t)type;
}

static uint32_t hash_of(uint32_t n)
{
    struct iovec iov[2] = {{bytes, 20}, {bytes + 20, sizeof(bytes) - 20}};
    struct frame frame = {.iov = iov, .n_iov = 2, .bytes = n};
    return flow_hash(&frame);
}

/* The hash, and that it depends on the byte at `i`, or that it does not. */
static void depends(uint32_t i, bool yes)
{
    uint32_t before = hash_of(100);
    bytes[i] ^= 0x11;
    cr_assert((hash_of(100) != before) == yes, "byte %u", i);
    bytes[i] ^= 0x11;
}

Test(flow, ipv4)
{
    ethernet(0x0800);
    bytes[14] = 0x46; /* 24 bytes */
    bytes[14 + 9] = 6;
    depends(0, true);
    depends(11, true);
    depends(14 + 8, false); /* time to live */
    depends(14 + 12, true);
    depends(14 + 19, true);
    depends(14 + 24, true); /* ports */
    depends(14 + 27, true);
    depends(14 + 28, false); /* sequence number */
    bytes[14 + 6] = 0x20; /* a fragment */
    depends(14 + 24, false);
    bytes[14 + 6] = 0;
    bytes[14 + 9] = 1; /* ICMP */
    depends(14 + 24, false);
    depends(14 + 9, true);
}

Test(flow, ipv6_and_tags)
{
    ethernet(0x86dd);
    bytes[14 + 6] = 17;
    depends(14 + 8, true);
    depends(14 + 39, true);
    depends(14 + 40, true);
    depends(14 + 44, false);
    ethernet(0x88a8);
    bytes[16] = 0x81;
    bytes[17] = 0x00;
    bytes[20] = 0x08;
    bytes[22] = 0x45;
    bytes[22 + 9] = 17;
    depends(22 + 12, true);
    depends(22 + 20, true);
    depends(22 + 24, false);
}

/* Whatever a guest writes there, nothing outside of the frame is looked at. */
Test(flow, short_and_odd)
{
    for (uint32_t type = 0; type < 4; type++) {
        ethernet((uint16_t[]){0x0800, 0x86dd, 0x8100, 0x88a8}[type]);
        for (uint32_t i = 14; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)(0x81 - (i & 1) * 0x81);
        bytes[14] = 0x4f;
        for (uint32_t n = 14; n <= sizeof(bytes); n++)
            hash_of(n);
    }
    ethernet(0x0800);
    uint32_t before = hash_of(30);
    bytes[32] = 1; /* behind the end */
    cr_assert_eq(hash_of(30), before);
}
