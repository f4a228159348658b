/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * switch.c - four network devices on one switch of the net plugin, while everything happens at
 * once: their guests send to one, to all, to nobody and under wrong names, post buffers or none,
 * stop and start their queues, reset their device, go away; the link goes down and up; devices are
 * removed and come again.
 *
 * What must hold: a frame that arrives is whole, came from another device, from one it may hear, in
 * the order in which it was sent; and whatever others do, a guest gets back what it sent.
 *
 * Main is the control thread; each guest is a thread of its own. A device may go away at any
 * moment, which is not a failure.
 */
#include "inproc.h"
#include "net.h"

#include "device/request.h"
#include "plugin/call.h"

#include <errno.h>
#include <unistd.h>

#define GUESTS 4u
#define ISOLATED 2u /* the first of those that are; they do not hear each other */
#define NUM 256u /* more than may wait at one receiver */
#define FRAME_BYTES 1500u
#define DRAIN_MS 10000
#define ENOUGH 2000u

enum presence { ABSENT, COMING, PRESENT, GOING };
enum kind { TO_ME, TO_ALL, TO_NOBODY, KINDS };

struct guest {
    unsigned i, pairs;
    pthread_t thread;
    char path[108];
    struct net_front front;
    uint32_t number[2]; /* of the next frame, for each pair */
    uint32_t latest[GUESTS][2][KINDS];
    uint64_t quiet_until;
};

static struct inproc in;
static struct guest guests[GUESTS];
static enum presence state[GUESTS];
static unsigned under_way;
static atomic_ulong received, drained, resets;
static uint64_t removed;
static atomic_bool over;

/* ---- guests ---------------------------------------------------------------------------------- */

static void mac_of(uint8_t *mac, unsigned i)
{
    memcpy(mac, (const uint8_t[]){0x02, 0xaa, 0, 0, 0, (uint8_t)i}, 6);
}

static enum kind kind_of(const struct guest *g, const uint8_t *frame)
{
    uint8_t mac[6];
    mac_of(mac, g->i);
    if (frame[0] & 1)
        return TO_ALL;
    return memcmp(frame, mac, sizeof(mac)) == 0 ? TO_ME : TO_NOBODY;
}

/* In a frame's number: who sent it on which pair, and a count. */
static void check_frame(struct guest *g, const uint8_t *frame, int bytes)
{
    int64_t number = bytes < 18 ? -1 : net_front_check(frame, (uint32_t)bytes);
    must(number >= 0, "guest %u got %d bytes that nobody sent", g->i, bytes);
    unsigned from = (uint32_t)number >> 28, pair = (uint32_t)number >> 24 & 1;
    uint32_t count = (uint32_t)number & 0xffffff;
    must(from < GUESTS && from != g->i, "guest %u got what guest %u sent", g->i, from);
    must(from < ISOLATED || g->i < ISOLATED, "guest %u got a frame of %u: both are isolated", g->i,
         from);
    uint32_t *latest = &g->latest[from][pair][kind_of(g, frame)];
    must(g->pairs > 1 || count > *latest, "guest %u got frame %u of %u after %u", g->i, count, from,
         *latest);
    *latest = count;
    atomic_fetch_add(&received, 1);
}

/* What a device does wrong ends the program; that it is gone ends the visit. */
static bool still_there(struct guest *g, int rc)
{
    must(rc != -EPROTO && rc != -EMSGSIZE, "guest %u: %s", g->i, g->front.fe.error);
    return rc >= 0 || rc == -ENOSPC || rc == -ETIMEDOUT;
}

static bool receive_some(struct guest *g)
{
    uint8_t frame[FRAME_BYTES];
    for (unsigned p = 0; p < g->pairs; p++) {
        int rc = 0;
        for (unsigned n = 0; n < NUM && rc >= 0; n++) {
            rc = net_front_receive(&g->front, p, NULL, frame, sizeof(frame), 0);
            if (rc >= 0)
                check_frame(g, frame, rc);
        }
        if (!still_there(g, rc))
            return false;
        if (clock_ns() > g->quiet_until &&
            !still_there(g, net_front_post(&g->front, p, NUM, 0)))
            return false;
    }
    return true;
}

static void choose_addresses(struct guest *g, uint8_t *to, uint8_t *from)
{
    mac_of(from, g->i);
    mac_of(to, inproc_random(GUESTS));
    switch (inproc_random(16)) {
    case 0: memset(to, 0xff, 6); break;
    case 1: mac_of(to, 200); break;                     /* nobody */
    case 2: mac_of(from, inproc_random(GUESTS)); break; /* a lie */
    case 3: mac_of(from, 100 + inproc_random(100)); break;
    case 4: memset(from, 0xff, 6); break;
    default: break;
    }
}

static bool send_some(struct guest *g)
{
    uint8_t frame[FRAME_BYTES], to[6], from[6];
    unsigned p = inproc_random(g->pairs);
    int rc = 0;
    choose_addresses(g, to, from);
    for (unsigned n = inproc_random(NUM); n > 0 && rc == 0; n--) {
        uint32_t count = g->number[p] + 1;
        uint32_t bytes = 18 + inproc_random(FRAME_BYTES - 18);
        net_front_fill(frame, bytes, to, from, g->i << 28 | p << 24 | (count & 0xffffff));
        rc = net_front_queue(&g->front, p, NULL, frame, bytes);
        g->number[p] += rc == 0;
    }
    return still_there(g, rc) && still_there(g, net_front_kick(&g->front, p));
}

/* Everything that was sent comes back, although nothing is received here meanwhile. */
static bool drain(struct guest *g)
{
    for (unsigned p = 0; p < g->pairs; p++) {
        int rc = 1;
        for (uint64_t limit = clock_ns() + DRAIN_MS * 1000000ull; rc > 0 && clock_ns() < limit;) {
            if (!fe_alive(&g->front.fe))
                return false;
            rc = net_front_drain(&g->front, p, 20);
            if (rc == -ETIMEDOUT)
                rc = 1;
        }
        must(rc <= 0, "guest %u: frames are not finished", g->i);
        if (!still_there(g, rc))
            return false;
    }
    atomic_fetch_add(&drained, 1);
    return true;
}

static bool reset(struct guest *g)
{
    int rc = net_front_reset(&g->front, g->front.opt.features);
    atomic_fetch_add(&resets, rc == 0);
    return still_there(g, rc);
}

static bool stop_and_start(struct guest *g)
{
    unsigned p = inproc_random(g->pairs);
    int rc = net_front_stop_pair(&g->front, p);
    if (inproc_random(2))
        usleep(inproc_random(5000));
    return still_there(g, rc) && still_there(g, net_front_start_pair(&g->front, p));
}

static bool act(struct guest *g)
{
    switch (inproc_random(2000)) {
    case 0: return reset(g);
    case 1: return stop_and_start(g);
    case 2: return drain(g);
    case 3: return false;
    case 4: g->quiet_until = clock_ns() + inproc_random(100000000); return true;
    default: return send_some(g) && receive_some(g);
    }
}

static void visit(struct guest *g)
{
    struct net_front_options options = {
        .path = g->path, .pairs = g->pairs, .num = NUM, .tx_pieces = 1,
        .features = g->pairs > 1 ? FE_BIT(VIRTIO_NET_F_MQ) : 0,
    };
    if (net_front_open(&g->front, &options) == 0 && receive_some(g))
        while (fe_alive(&g->front.fe) && !atomic_load(&over) && act(g))
            ;
    net_front_close(&g->front);
}

static void *run(void *arg)
{
    while (!atomic_load(&over))
        visit(arg);
    return NULL;
}

/* ---- the operator ---------------------------------------------------------------------------- */

static void on_added(struct request *request)
{
    must(!request->error.err, "%s", request->error.text);
    state[request->ids[0][1] - '0'] = PRESENT;
    under_way--;
    request_free(request);
}

static void on_removed(struct request *request)
{
    state[request->ids[0][1] - '0'] = ABSENT;
    removed++;
    under_way--;
    request_free(request);
}

static void add(unsigned i)
{
    struct spec *spec = calloc(1, sizeof(*spec));
    struct error error = {0};
    char text[128];
    snprintf(text, sizeof(text), "net:switch=lan,id=d%u,mac=02:aa:00:00:00:%02x,queues=%u,"
             "isolated=%s", i, i, guests[i].pairs, i >= ISOLATED ? "on" : "off");
    must(spec_parse(spec, text, &error) == 0, "%s", error.text);
    state[i] = COMING;
    under_way++;
    must(request_add(&in.daemon, spec, 1, NULL, "/", on_added, NULL, &error) == 0, "%s",
         error.text);
}

static void take_away(unsigned i)
{
    char id[8];
    const char *ids[] = {id};
    struct error error = {0};
    snprintf(id, sizeof(id), "d%u", i);
    state[i] = GOING;
    under_way++;
    must(request_remove(&in.daemon, ids, 1, true, on_removed, NULL, &error) == 0, "%s", error.text);
}

static void on_called(struct hvv_call *call)
{
    under_way--;
    call_free(call);
}

static void set_link(unsigned i, bool up)
{
    char id[8];
    struct error error = {0};
    struct spec params = {0};
    snprintf(id, sizeof(id), "d%u", i);
    struct device *dev = request_find(&in.daemon, id, &error);
    must(dev, "%s", error.text);
    must(spec_parse(&params, up ? "link:state=up" : "link:state=down", &error) == 0, "%s",
         error.text);
    under_way++;
    must(call_start(dev, "link", &params, "/", on_called, NULL, &error) == 0, "%s", error.text);
    spec_clear(&params);
}

static void operate(void)
{
    unsigned i = inproc_random(GUESTS);
    if (state[i] == ABSENT)
        add(i);
    else if (state[i] == PRESENT && inproc_random(20) == 0)
        take_away(i);
    else if (state[i] == PRESENT)
        set_link(i, inproc_random(10));
}

static void settle(void)
{
    uint64_t limit = clock_ns() + INPROC_SECONDS * 1000000000ull;
    while (under_way) {
        inproc_run_for(&in, 1000000);
        must(clock_ns() < limit, "%u requests do not end", under_way);
    }
}

static void everything(void)
{
    inproc_test_begin("switch-everything");
    for (unsigned i = 0; i < GUESTS; i++) {
        guests[i].i = i;
        guests[i].pairs = i == 0 ? 2 : 1;
        snprintf(guests[i].path, sizeof(guests[i].path), "%s/d%u.sock", in.dir, i);
        add(i);
    }
    settle();
    for (unsigned i = 0; i < GUESTS; i++)
        must(pthread_create(&guests[i].thread, NULL, run, &guests[i]) == 0, "no thread");
    while (inproc_go_on(atomic_load(&received) > ENOUGH && removed > 1 &&
                        atomic_load(&drained) > 3 && atomic_load(&resets) > 3)) {
        operate();
        inproc_run_for(&in, inproc_random(20000000));
    }
    settle();
    for (unsigned i = 0; i < GUESTS; i++)
        if (state[i] == ABSENT)
            add(i); /* nobody waits for a device that does not come */
    settle();
    atomic_store(&over, true);
    for (unsigned i = 0; i < GUESTS; i++)
        while (pthread_tryjoin_np(guests[i].thread, NULL) == EBUSY)
            inproc_run_for(&in, 1000000);
    for (unsigned i = 0; i < GUESTS; i++)
        take_away(i);
    settle();
    printf("ok %s\n", inproc_test);
    printf("# %lu frames received, %lu times all came back, %lu resets, %lu removals\n",
           atomic_load(&received), atomic_load(&drained), atomic_load(&resets), removed);
}

int main(void)
{
    char plugins[512];
    const char *build = getenv("HVV_BUILD");
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(plugins, sizeof(plugins), "%s/plugins.d", build ? build : ".");
    inproc_start(&in, 3, plugins);
    everything();
    inproc_stop(&in);
    return 0;
}
