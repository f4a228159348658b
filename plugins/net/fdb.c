/* SPDX-License-Identifier: BSD-3-Clause */
/* fdb.c - see fdb.h. */
#include "fdb.h"

#include <stddef.h>

static uint16_t link_of(const struct fdb *fdb, const struct fdb_entry *e)
{
    return (uint16_t)(e - fdb->entry + 1);
}

static struct fdb_entry *at(struct fdb *fdb, uint16_t link)
{
    return link ? &fdb->entry[link - 1] : NULL;
}

static uint32_t port_of(const struct fdb *fdb, const struct fdb_entry *e)
{
    return (uint32_t)((size_t)(e - fdb->entry) / FDB_BLOCK);
}

static bool pinned(const struct fdb *fdb, const struct fdb_entry *e)
{
    return (size_t)(e - fdb->entry) % FDB_BLOCK == 0;
}

/* Multiplies by a secret odd number and takes the highest bits. */
static uint16_t *bucket_of(struct fdb *fdb, uint64_t mac)
{
    return &fdb->bucket[mac * fdb->key >> (64 - FDB_BUCKET_BITS)];
}

static void changed(struct fdb *fdb)
{
    atomic_fetch_add_explicit(&fdb->generation, 1, memory_order_release);
}

static struct fdb_entry *find(struct fdb *fdb, uint64_t mac)
{
    struct fdb_entry *e = at(fdb, *bucket_of(fdb, mac));
    while (e && e->mac != mac)
        e = at(fdb, e->next);
    return e;
}

/* ---- The learned ones of a port, by age ------------------------------------------------------ */

static void list_remove(struct fdb *fdb, struct fdb_entry *e)
{
    struct fdb_port *p = &fdb->port[port_of(fdb, e)];
    struct fdb_entry *older = at(fdb, e->older), *newer = at(fdb, e->newer);
    *(older ? &older->newer : &p->oldest) = e->newer;
    *(newer ? &newer->older : &p->newest) = e->older;
}

static void list_append(struct fdb *fdb, struct fdb_entry *e)
{
    struct fdb_port *p = &fdb->port[port_of(fdb, e)];
    struct fdb_entry *newest = at(fdb, p->newest);
    e->older = p->newest;
    e->newer = 0;
    p->newest = link_of(fdb, e);
    *(newest ? &newest->newer : &p->oldest) = p->newest;
}

/* ---- Entries --------------------------------------------------------------------------------- */

static void add(struct fdb *fdb, struct fdb_entry *e, uint64_t mac, uint64_t now)
{
    uint16_t *bucket = bucket_of(fdb, mac);
    e->mac = mac;
    e->seen = now;
    e->used = true;
    e->next = *bucket;
    *bucket = link_of(fdb, e);
    if (!pinned(fdb, e))
        list_append(fdb, e);
}

static void drop(struct fdb *fdb, struct fdb_entry *e)
{
    uint16_t link = link_of(fdb, e), *to = bucket_of(fdb, e->mac);
    while (*to != link)
        to = &fdb->entry[*to - 1].next;
    *to = e->next;
    e->used = false;
    if (!pinned(fdb, e)) {
        struct fdb_port *p = &fdb->port[port_of(fdb, e)];
        list_remove(fdb, e);
        e->next = p->free;
        p->free = link;
    }
    changed(fdb);
}

/* An unused entry of the port; the oldest one has to go if there is none. */
static struct fdb_entry *take(struct fdb *fdb, uint32_t port)
{
    struct fdb_port *p = &fdb->port[port];
    if (!p->free && p->fresh < FDB_PER_PORT)
        return &fdb->entry[port * FDB_BLOCK + ++p->fresh];
    if (!p->free)
        drop(fdb, at(fdb, p->oldest));
    struct fdb_entry *e = at(fdb, p->free);
    p->free = e->next;
    return e;
}

/* ---- What others call ------------------------------------------------------------------------ */

void fdb_init(struct fdb *fdb, uint64_t key)
{
    fdb->key = key | 1;
}

static bool of_station(uint64_t mac)
{
    return mac != 0 && !fdb_is_group(mac);
}

bool fdb_learn(struct fdb *fdb, uint64_t mac, uint32_t port, uint64_t now)
{
    if (!of_station(mac))
        return false;
    struct fdb_entry *e = find(fdb, mac);
    if (e && pinned(fdb, e))
        return port_of(fdb, e) == port;
    if (e && port_of(fdb, e) == port) {
        e->seen = now;
        list_remove(fdb, e);
        list_append(fdb, e);
        return true;
    }
    if (e)
        drop(fdb, e); /* it moved here */
    add(fdb, take(fdb, port), mac, now);
    return true;
}

bool fdb_pin(struct fdb *fdb, uint64_t mac, uint32_t port)
{
    struct fdb_entry *e = find(fdb, mac), *own = &fdb->entry[port * FDB_BLOCK];
    if (!of_station(mac) || (e && pinned(fdb, e) && e != own))
        return false;
    if (e)
        drop(fdb, e);
    if (own->used)
        drop(fdb, own);
    add(fdb, own, mac, 0);
    changed(fdb);
    return true;
}

uint32_t fdb_find(struct fdb *fdb, uint64_t mac, uint64_t now, uint64_t *until)
{
    struct fdb_entry *e = find(fdb, mac);
    if (!e)
        return FDB_NONE;
    *until = pinned(fdb, e) ? UINT64_MAX : e->seen + FDB_AGE_NS;
    if (now < *until)
        return port_of(fdb, e);
    drop(fdb, e);
    return FDB_NONE;
}

void fdb_flush(struct fdb *fdb, uint32_t port)
{
    struct fdb_port *p = &fdb->port[port];
    struct fdb_entry *own = &fdb->entry[port * FDB_BLOCK];
    if (own->used)
        drop(fdb, own);
    while (p->oldest)
        drop(fdb, at(fdb, p->oldest));
}

uint32_t fdb_count(const struct fdb *fdb, uint32_t port)
{
    uint32_t n = 0;
    for (uint32_t i = 1; i < FDB_BLOCK; i++)
        n += fdb->entry[port * FDB_BLOCK + i].used;
    return n;
}
