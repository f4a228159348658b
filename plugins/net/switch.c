/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * switch.c - a learning Ethernet switch inside the daemon; see switch.h. Here: how ports come and
 * go, and where a frame goes.
 */
#include "switch.h"

#include "backend.h"
#include "flow.h"
#include "tx.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NAME_MAX_BYTES 64u
#define LEARN_AGAIN_NS 1000000000ull /* an address is written down as seen once in a second */
#define CANCEL_BATCH 32u

/* A place for a port. It stays where it is as long as the switch. */
struct slot {
    pthread_mutex_t lock;
    struct port *port;        /* who is visible here; changes with the switch's lock, too */
    _Atomic bool many;        /* it has several pairs of queues */
    bool taken;               /* from open() to close(); under the switch's lock */
} __attribute__((aligned(64)));

/* What devices share: the state "switch.NAME". */
struct lan {
    pthread_mutex_t lock;     /* of the table, and of who has which slot */
    _Atomic uint64_t visible; /* a bit for each slot with a port */
    struct fdb fdb;
    struct slot slot[SWITCH_PORTS];
};

_Static_assert(SWITCH_PORTS <= 64, "one bit for each port");

static struct port *port_of(const struct net *net)
{
    return net->backend_state;
}

static uint64_t bit(uint32_t slot)
{
    return 1ull << slot;
}

/* The next one of a set of slots, which must not be empty; takes it out. */
static uint32_t next_slot(uint64_t *set)
{
    uint32_t i = (uint32_t)__builtin_ctzll(*set);
    *set &= *set - 1;
    return i;
}

/* ---- Addresses ------------------------------------------------------------------------------- */

static struct memo *memo_of(struct memo *memos, uint64_t mac)
{
    return &memos[(mac ^ mac >> 8 ^ mac >> 24) % SWITCH_MEMOS];
}

static bool holds(const struct memo *memo, const struct sender *from, uint64_t mac)
{
    const struct fdb *fdb = &from->port->lan->fdb;
    return memo->mac == mac && from->now < memo->until &&
           memo->generation == atomic_load_explicit(&fdb->generation, memory_order_acquire);
}

static uint32_t generation(const struct lan *lan)
{
    return atomic_load_explicit(&lan->fdb.generation, memory_order_relaxed);
}

static void learn(struct sender *from, uint64_t mac)
{
    struct lan *lan = from->port->lan;
    struct memo *memo = memo_of(from->seen, mac);
    if (holds(memo, from, mac))
        return;
    pthread_mutex_lock(&lan->lock);
    if (from->port->up)
        fdb_learn(&lan->fdb, mac, from->port->index, from->now);
    *memo = (struct memo){mac, from->now + LEARN_AGAIN_NS, generation(lan), 0};
    pthread_mutex_unlock(&lan->lock);
}

/* The slot where an address is, or FDB_NONE. */
static uint32_t find(struct sender *from, uint64_t mac)
{
    struct lan *lan = from->port->lan;
    struct memo *memo = memo_of(from->found, mac);
    if (holds(memo, from, mac))
        return memo->port;
    uint64_t until = 0;
    pthread_mutex_lock(&lan->lock);
    uint32_t port = fdb_find(&lan->fdb, mac, from->now, &until);
    *memo = (struct memo){mac, until, generation(lan), port};
    pthread_mutex_unlock(&lan->lock);
    return port;
}

/* ---- Sending --------------------------------------------------------------------------------- */

/* Only needed to choose among several pairs; the frame is not looked at with a lock held. */
static uint32_t hash_for(const struct lan *lan, uint64_t slots, const struct frame *frame)
{
    while (slots)
        if (atomic_load_explicit(&lan->slot[next_slot(&slots)].many, memory_order_relaxed))
            return flow_hash(frame);
    return 0;
}

/* Where a frame for this slot goes. NULL if nobody is there for this sender. With its lock. */
static struct inbox *inbox_in(const struct slot *slot, const struct sender *from, uint32_t hash)
{
    const struct port *port = slot->port;
    if (!port || (port->isolated && from->port->isolated) ||
        !atomic_load_explicit(&port->net->link, memory_order_relaxed))
        return NULL;
    const struct pair *pair = net_pair_for(port->net, hash);
    struct inbox *in = pair ? &end_of(pair)->rx : NULL;
    return in && in->running ? in : NULL;
}

static void wait_at(struct sender *from, struct inbox *in, uint32_t slot)
{
    inbox_wait(in, from);
    from->waits_at = slot;
}

static struct kept *keep(struct sender *from, const struct frame *frame, struct hvv_chain *chain,
                         uint32_t refs)
{
    struct kept *kept = chain->state;
    kept->chain = chain;
    kept->from = from;
    kept->since = from->now;
    kept->frame = *frame;
    atomic_init(&kept->refs, refs);
    atomic_init(&kept->stuck, false);
    return kept;
}

static enum send_result send_to(struct sender *from, uint32_t to, const struct frame *frame,
                                struct hvv_chain *chain)
{
    struct slot *slot = &from->port->lan->slot[to];
    uint32_t hash = hash_for(from->port->lan, bit(to), frame);
    struct kept *kept = keep(from, frame, chain, 0);
    enum send_result result = SEND_NO_PEER;
    pthread_mutex_lock(&slot->lock);
    struct inbox *in = inbox_in(slot, from, hash);
    if (in && inbox_full(in, from)) {
        wait_at(from, in, to);
        result = SEND_FULL;
    } else if (in) {
        result = inbox_put(in, kept) ? SEND_KEPT : SEND_PEER_FULL;
    }
    pthread_mutex_unlock(&slot->lock);
    from->dirty |= bit(to);
    return result;
}

/* Leaves in `*to` the slots where somebody is. False if one of them has no room now. */
static bool flood_fits(struct sender *from, uint64_t *to, uint32_t hash)
{
    struct lan *lan = from->port->lan;
    bool fits = true;
    for (uint64_t left = *to; left && fits;) {
        uint32_t i = next_slot(&left);
        pthread_mutex_lock(&lan->slot[i].lock);
        struct inbox *in = inbox_in(&lan->slot[i], from, hash);
        if (!in)
            *to &= ~bit(i);
        fits = !in || !inbox_full(in, from);
        if (!fits)
            wait_at(from, in, i);
        pthread_mutex_unlock(&lan->slot[i].lock);
    }
    return fits;
}

static void count_missed(const struct inbox *in)
{
    hvv_count(in->pair->net->dev, NET_RX_FRAMES, in->pair->rx_queue, 1);
    hvv_count(in->pair->net->dev, NET_RX_NO_BUFFER, in->pair->rx_queue, 1);
}

/*
 * To everybody: all or nothing as far as waiting goes, so that nobody gets a frame twice. Between
 * the two rounds other pairs of this port may fill its shares, which are exceeded a little then.
 */
static enum send_result flood(struct sender *from, const struct frame *frame,
                              struct hvv_chain *chain)
{
    struct lan *lan = from->port->lan;
    uint64_t to = atomic_load_explicit(&lan->visible, memory_order_acquire) &
                  ~bit(from->port->index);
    uint32_t hash = hash_for(lan, to, frame);
    if (!flood_fits(from, &to, hash))
        return SEND_FULL;
    if (!to)
        return SEND_NO_PEER;
    struct kept *kept = keep(from, frame, chain, 1);
    uint64_t took = 0;
    for (uint64_t left = to; left;) {
        uint32_t i = next_slot(&left);
        pthread_mutex_lock(&lan->slot[i].lock);
        struct inbox *in = inbox_in(&lan->slot[i], from, hash);
        if (in && inbox_put(in, kept))
            took |= bit(i);
        else if (in)
            count_missed(in);
        pthread_mutex_unlock(&lan->slot[i].lock);
    }
    from->dirty |= took;
    if (!took)
        return SEND_PEER_FULL;
    if (atomic_fetch_sub_explicit(&kept->refs, 1, memory_order_acq_rel) > 1)
        return SEND_KEPT;
    if (atomic_load_explicit(&kept->stuck, memory_order_relaxed))
        atomic_fetch_sub_explicit(&from->stuck, 1, memory_order_relaxed);
    return SEND_DONE; /* all have it already */
}

static enum send_result switch_send(struct pair *pair, const struct frame *frame,
                                    struct hvv_chain *chain)
{
    struct sender *from = &end_of(pair)->tx;
    uint8_t addresses[2 * FRAME_MAC_BYTES] = {0};
    if (from->now == 0)
        from->now = hvv_now(pair->net->dev);
    frame_read(frame, 0, addresses, sizeof(addresses));
    uint64_t mac = fdb_mac(addresses);
    learn(from, fdb_mac(addresses + FRAME_MAC_BYTES));
    if (fdb_is_group(mac))
        return flood(from, frame, chain);
    uint32_t to = find(from, mac);
    if (to == FDB_NONE)
        return flood(from, frame, chain);
    if (to == from->port->index)
        return SEND_NO_PEER; /* it is where it came from */
    return send_to(from, to, frame, chain);
}

/* Lets the workers of a slot's port look at what came. */
static void wake(struct slot *slot)
{
    pthread_mutex_lock(&slot->lock);
    for (uint32_t i = 0; slot->port && i < slot->port->net->n_pairs; i++)
        inbox_wake(&slot->port->end[i].rx);
    pthread_mutex_unlock(&slot->lock);
}

static void switch_flush(struct pair *pair)
{
    struct sender *from = &end_of(pair)->tx;
    from->now = 0;
    while (from->dirty)
        wake(&from->port->lan->slot[next_slot(&from->dirty)]);
}

/* ---- Waiting, and taking back ---------------------------------------------------------------- */

static void forget_wait(struct sender *from)
{
    if (from->waits_at == FDB_NONE)
        return;
    struct slot *slot = &from->port->lan->slot[from->waits_at];
    pthread_mutex_lock(&slot->lock);
    for (uint32_t i = 0; slot->port && i < slot->port->net->n_pairs; i++)
        inbox_forget(&slot->port->end[i].rx, from);
    pthread_mutex_unlock(&slot->lock);
    from->waits_at = FDB_NONE;
}

static void resume(struct hvv_task *task)
{
    struct sender *from = (struct sender *)((char *)task - offsetof(struct sender, resume));
    atomic_flag_clear(&from->resume_posted);
    forget_wait(from);
    tx_resume(from->pair);
}

/* Takes back frames from one inbox, a few. Returns how many. */
static uint32_t cancel_some(struct slot *slot, uint32_t i, const struct sender *from)
{
    struct kept *out[CANCEL_BATCH];
    uint32_t n = 0;
    pthread_mutex_lock(&slot->lock);
    if (slot->port && i < slot->port->net->n_pairs) {
        struct inbox *in = &slot->port->end[i].rx;
        n = inbox_cancel(in, from, out, CANCEL_BATCH);
        for (uint32_t k = 0; k < n; k++)
            count_missed(in);
    }
    pthread_mutex_unlock(&slot->lock);
    for (uint32_t k = 0; k < n; k++)
        kept_put(out[k]);
    return n;
}

static void switch_let_go(struct pair *pair)
{
    struct sender *from = &end_of(pair)->tx;
    struct lan *lan = from->port->lan;
    uint64_t left = atomic_load_explicit(&lan->visible, memory_order_acquire) &
                    ~bit(from->port->index);
    forget_wait(from);
    while (left) {
        struct slot *slot = &lan->slot[next_slot(&left)];
        bool many = atomic_load_explicit(&slot->many, memory_order_relaxed);
        uint32_t n_pairs = many ? NET_PAIRS_MAX : 1;
        for (uint32_t i = 0; i < n_pairs; i++)
            while (cancel_some(slot, i, from) == CANCEL_BATCH)
                ;
    }
    tx_resume(pair);
}

/* ---- Receiving ------------------------------------------------------------------------------- */

static void switch_receive(struct pair *pair)
{
    inbox_receive(&end_of(pair)->rx);
}

static void switch_receive_stop(struct pair *pair)
{
    inbox_stop(&end_of(pair)->rx);
}

static uint32_t switch_poll(struct pair *pair)
{
    return inbox_poll(&end_of(pair)->rx);
}

/* ---- Ports ----------------------------------------------------------------------------------- */

/* A port that is down has no addresses: what is sent to them would be lost for minutes. */
static void switch_changed(struct net *net)
{
    struct port *port = port_of(net);
    struct fdb *fdb = &port->lan->fdb;
    bool mine = true;
    pthread_mutex_lock(&port->lan->lock);
    bool up = port->visible && atomic_load(&net->link) && atomic_load(&net->receiving);
    if (up && !port->up)
        mine = fdb_pin(fdb, fdb_mac(net->mac), port->index);
    else if (!up && port->up)
        fdb_flush(fdb, port->index);
    port->up = up;
    pthread_mutex_unlock(&port->lan->lock);
    if (!mine)
        hvv_log(net->dev, HVV_LOG_WARNING, "another device on switch %s has the same address; give "
                "this one another with mac=", net->name);
}

/* Tells all ports how many they are. With the switch's lock. */
static void describe_all(struct lan *lan)
{
    char text[16];
    uint64_t all = atomic_load(&lan->visible);
    snprintf(text, sizeof(text), "%d", __builtin_popcountll(all));
    while (all)
        hvv_describe(lan->slot[next_slot(&all)].port->net->dev, "ports", text);
}

static void set_visible(struct port *port, bool visible)
{
    struct lan *lan = port->lan;
    struct slot *slot = &lan->slot[port->index];
    pthread_mutex_lock(&lan->lock);
    pthread_mutex_lock(&slot->lock);
    slot->port = visible ? port : NULL;
    port->visible = visible;
    pthread_mutex_unlock(&slot->lock);
    if (visible)
        atomic_fetch_or(&lan->visible, bit(port->index));
    else
        atomic_fetch_and(&lan->visible, ~bit(port->index));
    describe_all(lan);
    pthread_mutex_unlock(&lan->lock);
}

static void switch_publish(struct net *net)
{
    set_visible(port_of(net), true);
}

static void switch_stop(struct net *net)
{
    set_visible(port_of(net), false);
    switch_changed(net);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static int32_t lan_init(void *shared, void *arg)
{
    struct lan *lan = shared;
    uint64_t key;
    if (getentropy(&key, sizeof(key)) < 0)
        key = hvv_now(arg) * 0x9e3779b97f4a7c15ull;
    fdb_init(&lan->fdb, key);
    pthread_mutex_init(&lan->lock, NULL);
    for (uint32_t i = 0; i < SWITCH_PORTS; i++)
        pthread_mutex_init(&lan->slot[i].lock, NULL);
    return 0;
}

static void lan_fini(void *shared)
{
    struct lan *lan = shared;
    for (uint32_t i = 0; i < SWITCH_PORTS; i++)
        pthread_mutex_destroy(&lan->slot[i].lock);
    pthread_mutex_destroy(&lan->lock);
}

/* Takes a slot that is free. False if there is none. */
static bool take_slot(struct lan *lan, struct port *port, bool many)
{
    uint32_t i = 0;
    pthread_mutex_lock(&lan->lock);
    while (i < SWITCH_PORTS && lan->slot[i].taken)
        i++;
    if (i < SWITCH_PORTS) {
        lan->slot[i].taken = true;
        atomic_store(&lan->slot[i].many, many);
        port->index = i;
        port->lan = lan;
    }
    pthread_mutex_unlock(&lan->lock);
    return i < SWITCH_PORTS;
}

static void give_slot(struct port *port)
{
    pthread_mutex_lock(&port->lan->lock);
    port->lan->slot[port->index].taken = false;
    pthread_mutex_unlock(&port->lan->lock);
}

static int32_t add_ends(struct port *port)
{
    struct net *net = port->net;
    for (uint32_t i = 0; i < net->n_pairs; i++) {
        struct end *end = &port->end[i];
        end->tx.pair = &net->pair[i];
        end->tx.port = port;
        end->tx.waits_at = FDB_NONE;
        end->tx.resume.run = resume;
        atomic_flag_clear(&end->tx.resume_posted);
        net->pair[i].backend = end;
        if (inbox_init(&end->rx, &net->pair[i], &port->lan->slot[port->index].lock) < 0)
            return -ENOMEM;
    }
    return 0;
}

static struct port *port_new(struct net *net)
{
    size_t bytes = sizeof(struct port) + net->n_pairs * sizeof(struct end);
    struct port *port = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!port)
        return NULL;
    memset(port, 0, bytes);
    port->net = net;
    port->isolated = hvv_option_u64(net->dev, "isolated");
    return port;
}

static void switch_close(struct net *net)
{
    struct port *port = port_of(net);
    struct lan *lan = port->lan;
    for (uint32_t i = 0; i < net->n_pairs; i++)
        inbox_free(&port->end[i].rx);
    if (lan)
        give_slot(port);
    free(port);
    net->backend_state = NULL;
    hvv_shared_put(net->dev, lan);
}

/* The switch with this name: made for the first device that wants it. NULL after hvv_error(). */
static struct lan *get_lan(struct net *net)
{
    char name[sizeof("switch.") + NAME_MAX_BYTES];
    if (strlen(net->name) > NAME_MAX_BYTES) {
        hvv_error_option(net->dev, ENAMETOOLONG, "switch", "the name %.20s... has %zu bytes; use "
                         "at most %u", net->name, strlen(net->name), NAME_MAX_BYTES);
        errno = ENAMETOOLONG;
        return NULL;
    }
    snprintf(name, sizeof(name), "switch.%s", net->name);
    struct lan *lan = hvv_shared_get(net->dev, name, sizeof(*lan), lan_init, lan_fini, net->dev);
    if (!lan) {
        int saved = errno;
        hvv_error(net->dev, saved, "switch %s cannot be made: %s", net->name, strerror(saved));
        errno = saved;
    }
    return lan;
}

static int32_t switch_open(struct net *net)
{
    struct lan *lan = get_lan(net);
    if (!lan)
        return -errno;
    struct port *port = port_new(net);
    net->backend_state = port;
    int32_t rc;
    if (port && !take_slot(lan, port, net->n_pairs > 1)) {
        rc = hvv_error_option(net->dev, ENOSPC, "switch", "switch %s has %u ports already, which "
                              "is the limit; use another one", net->name, SWITCH_PORTS);
        hvv_shared_put(net->dev, lan); /* switch_close() does not know it */
        switch_close(net);
        return rc;
    }
    if (port && add_ends(port) == 0) {
        net->offloads = NET_HOST_OFFLOADS | NET_GUEST_OFFLOADS;
        hvv_describe(net->dev, "switch", net->name);
        return 0;
    }
    rc = hvv_error(net->dev, ENOMEM, "no memory for %u pairs of queues", net->n_pairs);
    if (port)
        switch_close(net);
    else
        hvv_shared_put(net->dev, lan);
    return rc;
}

const struct backend_ops backend_switch = {
    .name = "switch",
    .open = switch_open,
    .close = switch_close,
    .publish = switch_publish,
    .stop = switch_stop,
    .send = switch_send,
    .flush = switch_flush,
    .let_go = switch_let_go,
    .receive = switch_receive,
    .receive_stop = switch_receive_stop,
    .poll = switch_poll,
    .changed = switch_changed,
};
