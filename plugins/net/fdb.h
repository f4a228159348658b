/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fdb.h - the forwarding database of a switch: behind which port an address is (IEEE 802.1Q, clause
 * 8.8). Pure; the switch locks.
 *
 * Each port has room for FDB_PER_PORT addresses of its own, so a guest that makes up addresses
 * pushes out the oldest of its own ones and nobody else's. An address that was not seen for
 * FDB_AGE_NS is forgotten when somebody asks for it: there is no timer.
 *
 * Whose address is it? An address belongs to the port where it was seen last, as in any switch: a
 * guest may have moved, or fail over from one network device to another. So a guest could take
 * what is meant for another one by sending under its name. That is why the address the operator
 * gave a device is pinned to its port while that port is up: it is neither aged, nor pushed out,
 * nor learned anywhere else. Addresses that a guest chose by itself do not have this protection.
 */
#ifndef NET_FDB_H
#define NET_FDB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FDB_PORTS 64u
#define FDB_PER_PORT 128u
#define FDB_BLOCK (FDB_PER_PORT + 1u) /* the first one of a port's entries is for what is pinned */
#define FDB_BUCKET_BITS 10u
#define FDB_AGE_NS 300000000000ull
#define FDB_NONE UINT32_MAX

/* Links are indexes plus 1; 0 is the end. */
struct fdb_entry {
    uint64_t mac;
    uint64_t seen;
    uint16_t next;         /* in its bucket, or among the free ones of its port */
    uint16_t older, newer; /* of the learned ones of its port */
    bool used;
};

struct fdb_port {
    uint16_t oldest, newest;
    uint16_t free;
    uint16_t fresh; /* entries that never were used start here */
};

struct fdb {
    uint64_t key; /* of the hash: guests shall not be able to fill one bucket */
    /*
     * Changes when what was found before may no longer hold, so that who remembers an answer need
     * not lock to know that it still does. Written under the switch's lock, read by anybody.
     */
    _Atomic uint32_t generation;
    struct fdb_port port[FDB_PORTS];
    uint16_t bucket[1u << FDB_BUCKET_BITS];
    struct fdb_entry entry[FDB_PORTS * FDB_BLOCK];
};

/* `fdb` is all zero before. `key`: something that guests do not know. */
void fdb_init(struct fdb *fdb, uint64_t key);

/* Six bytes as a number. */
static inline uint64_t fdb_mac(const uint8_t *bytes)
{
    uint64_t mac = 0;
    for (int i = 0; i < 6; i++)
        mac = mac << 8 | bytes[i];
    return mac;
}

/* Of a group of stations (broadcast is one of them). */
static inline bool fdb_is_group(uint64_t mac)
{
    return mac >> 40 & 1;
}

/*
 * A frame from `mac` came in at `port`. False if that is not learned: no station has this address,
 * or it is pinned to another port.
 */
bool fdb_learn(struct fdb *fdb, uint64_t mac, uint32_t port, uint64_t now);

/* Pins an address to a port, one for each. False if another port has it, or it is no station's. */
bool fdb_pin(struct fdb *fdb, uint64_t mac, uint32_t port);

/* The port where `mac` is, FDB_NONE if nobody knows. `*until`: when that is to be asked again. */
uint32_t fdb_find(struct fdb *fdb, uint64_t mac, uint64_t now, uint64_t *until);

/* Forgets all that is behind a port, what is pinned as well. */
void fdb_flush(struct fdb *fdb, uint32_t port);

/* How many learned addresses a port has. */
uint32_t fdb_count(const struct fdb *fdb, uint32_t port);

#endif
