/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net-switch.c - flow test: three guests on a switch of the net plugin: who gets which frames, and
 * that nobody can hold up others.
 */
#include "clock.h"
#include "net.h"
#include "netsums.h"
#include "report.h"

#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_MS 20000
#define QUIET_MS 100 /* how long to watch for something that must not come */
#define GUESTS 3u
#define BYTES 200u
#define MANY 10000u
#define WINDOW 120u /* more than a port may have waiting at one receiver */
#define CWD in_dir(d, "i").s
#define ADD1 "{s:[s], s:s}", "devices"
#define CHECKSUMS (FE_BIT(VIRTIO_NET_F_CSUM) | FE_BIT(VIRTIO_NET_F_GUEST_CSUM))
#define LARGE                                                                                      \
    (CHECKSUMS | FE_BIT(VIRTIO_NET_F_HOST_TSO4) | FE_BIT(VIRTIO_NET_F_GUEST_TSO4) |                \
     FE_BIT(VIRTIO_NET_F_MRG_RXBUF))

static struct net_front guest[GUESTS];
static bool is_open[GUESTS];
static uint8_t frame[NET_FRONT_FRAME_MAX], got[NET_FRONT_FRAME_MAX];

static const char *const name[GUESTS] = {"a", "b", "c"};
static const uint8_t mac[GUESTS][6] = {
    {0x02, 0xaa, 0, 0, 0, 0xa}, {0x02, 0xaa, 0, 0, 0, 0xb}, {0x02, 0xaa, 0, 0, 0, 0xc}};
static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t stranger[6] = {0x02, 0xbb, 0, 0, 0, 1}; /* somebody behind a guest */

enum { A, B, C };

/* ---- guests ---------------------------------------------------------------------------------- */

static void close_guest(unsigned g)
{
    if (is_open[g])
        net_front_close(&guest[g]);
    is_open[g] = false;
}

static void close_all(void *arg)
{
    (void)arg;
    for (unsigned g = 0; g < GUESTS; g++)
        close_guest(g);
}

static bool open_guest(const struct daemon *d, unsigned g, struct net_front_options options)
{
    struct text path = socket_of(d, name[g]);
    options.path = path.s;
    is_open[g] = true;
    if (net_front_open(&guest[g], &options) < 0)
        return row_fail("guest %s: %s", name[g], guest[g].fe.error);
    guest[g].opt.path = NULL;
    return true;
}

static bool does(unsigned g, int result, const char *what)
{
    return result >= 0 || row_fail("guest %s, %s: %s", name[g], what, guest[g].fe.error);
}

/* As many receive buffers as there can be. */
static bool post(unsigned g)
{
    unsigned n = guest[g].opt.num - ring_in_flight(&guest[g].pair[0].rx.ring);
    return does(g, net_front_post(&guest[g], 0, n, 0), "receive buffers");
}

static bool send_as(unsigned g, const uint8_t *to, const uint8_t *from, uint32_t number)
{
    net_front_fill(frame, BYTES, to, from, number);
    return does(g, net_front_send(&guest[g], 0, NULL, frame, BYTES), "send");
}

static bool all_back(unsigned g)
{
    return does(g, net_front_drain(&guest[g], 0, TIMEOUT_MS), "what was sent");
}

/* Rings start on a worker, some time after the front-end said so, the transmit ring last. */
static bool is_up(unsigned g)
{
    return send_as(g, mac[g], mac[g], 0) && all_back(g);
}

static bool three(struct daemon *d, const char *more_a, const char *more_b, const char *more_c)
{
    const char *more[GUESTS] = {more_a, more_b, more_c};
    char spec[GUESTS][128];
    static const struct net_front_options plain = {.tx_pieces = 1};
    for (unsigned g = 0; g < GUESTS; g++)
        snprintf(spec[g], sizeof(spec[g]), "net:switch=lan,id=%s,mac=02:aa:00:00:00:%02x%s",
                 name[g], mac[g][5], more[g]);
    row_at_end(close_all, NULL);
    if (!daemon_add(d, spec[A], spec[B], spec[C], NULL))
        return false;
    for (unsigned g = 0; g < GUESTS; g++)
        if (!open_guest(d, g, plain) || !is_up(g))
            return false;
    return true;
}

static bool three_ready(struct daemon *d)
{
    return three(d, "", "", "") && post(A) && post(B) && post(C);
}

static bool gets(unsigned g, uint32_t number)
{
    int n = net_front_receive(&guest[g], 0, NULL, got, sizeof(got), TIMEOUT_MS);
    int64_t is = n < 18 ? n : net_front_check(got, (uint32_t)n);
    if (!does(g, n, "receive"))
        return false;
    return (n == (int)BYTES && is == number && post(g)) ||
           row_fail("guest %s got %d bytes, number %lld, not %u", name[g], n, (long long)is,
                    number);
}

/* What is on its way to a guest has come: only for what must not. */
static bool gets_nothing(unsigned g)
{
    int n = net_front_receive(&guest[g], 0, NULL, got, sizeof(got), QUIET_MS);
    return n == -ETIMEDOUT || row_fail("guest %s got %d bytes that are not for it", name[g], n);
}

static bool sums(struct daemon *d)
{
    return netsums_hold(d, "a") && netsums_hold(d, "b") && netsums_hold(d, "c");
}

/* ---- streams: numbered frames, as fast as it goes -------------------------------------------- */

struct stream {
    unsigned from;
    const uint8_t *to;
    unsigned receivers; /* a bit for each guest that has to get all, in order */
    uint32_t sent, received[GUESTS];
};

/* How many may be sent: as many as receivers have buffers for, two streams to each. */
static uint32_t stream_end(const struct stream *s, uint32_t n)
{
    for (unsigned g = 0; g < GUESTS; g++)
        if (s->receivers & 1u << g && s->received[g] + WINDOW < n)
            n = s->received[g] + WINDOW;
    return n;
}

static bool stream_send(struct stream *s, uint32_t n)
{
    struct net_front *front = &guest[s->from];
    uint32_t before = s->sent;
    n = stream_end(s, n);
    for (int rc = 0; s->sent < n && rc == 0; s->sent += rc == 0) {
        net_front_fill(frame, BYTES, s->to, mac[s->from], s->sent);
        rc = net_front_queue(front, 0, NULL, frame, BYTES);
        if (rc < 0 && rc != -ENOSPC)
            return does(s->from, rc, "send");
    }
    return s->sent == before || does(s->from, net_front_kick(front, 0), "kick");
}

/* Takes what is there for guest `g`; it belongs to the stream of its sender. */
static bool streams_receive(struct stream *s, unsigned n_streams, unsigned g)
{
    for (int n; (n = net_front_receive(&guest[g], 0, NULL, got, sizeof(got), 0)) != -ETIMEDOUT;) {
        if (!does(g, n, "receive"))
            return false;
        unsigned i = 0;
        while (i < n_streams && memcmp(got + 6, mac[s[i].from], 6) != 0)
            i++;
        if (i == n_streams || !(s[i].receivers & 1u << g) ||
            net_front_check(got, (uint32_t)n) != s[i].received[g])
            return row_fail("guest %s got %d bytes, number %lld, that do not come next", name[g],
                            n, (long long)net_front_check(got, (uint32_t)n));
        s[i].received[g]++;
    }
    return post(g);
}

static bool stream_over(const struct stream *s, uint32_t n)
{
    for (unsigned g = 0; g < GUESTS; g++)
        if (s->receivers & 1u << g && s->received[g] < n)
            return false;
    return s->sent == n;
}

/* Runs them together. `deaf`: guests that do not receive. */
static bool run_streams(struct stream *s, unsigned n_streams, uint32_t n, unsigned deaf)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    for (bool over = false; !over;) {
        over = true;
        for (unsigned i = 0; i < n_streams; i++) {
            if (!stream_send(&s[i], n))
                return false;
            over &= stream_over(&s[i], n);
        }
        for (unsigned g = 0; g < GUESTS; g++)
            if (!(deaf & 1u << g) && !streams_receive(s, n_streams, g))
                return false;
        if (clock_left_ms(deadline) == 0)
            return row_fail("%u frames sent, %u %u %u received, and no more", s[0].sent,
                            s[0].received[A], s[0].received[B], s[0].received[C]);
    }
    return true;
}

/* ---- rows: who gets what --------------------------------------------------------------------- */

static void learning(struct daemon *d)
{
    MUST(three_ready(d));
    MUST(send_as(A, stranger, mac[A], 1) && gets(B, 1) && gets(C, 1)); /* unknown: to all */
    MUST(send_as(C, mac[A], stranger, 2) && gets(A, 2) && gets_nothing(B));
    MUST(send_as(A, stranger, mac[A], 3) && gets(C, 3) && gets_nothing(B));
    MUST(send_as(B, mac[A], stranger, 4) && gets(A, 4)); /* it moved */
    MUST(send_as(A, stranger, mac[A], 5) && gets(B, 5) && gets_nothing(C));
    MUST(all_back(A) && all_back(B) && all_back(C) && sums(d));
}

/* What the operator gave a device is not learned elsewhere, whoever uses it. */
static void addresses_are_not_stolen(struct daemon *d)
{
    MUST(three_ready(d));
    MUST(send_as(A, mac[B], mac[A], 1) && gets(B, 1) && gets_nothing(C)); /* known from the start */
    MUST(send_as(C, mac[A], mac[B], 2) && gets(A, 2));
    MUST(send_as(A, mac[B], mac[A], 3) && gets(B, 3) && gets_nothing(C));
    MUST(send_as(A, mac[A], mac[A], 4) && gets_nothing(A)); /* to itself */
    MUST(daemon_counter_becomes(d, "a", "tx-no-peer", 2));
    MUST(all_back(A) && all_back(B) && all_back(C) && sums(d));
}

static void addresses_go_with_the_guest(struct daemon *d)
{
    MUST(three_ready(d));
    MUST(send_as(C, mac[A], stranger, 1) && gets(A, 1));
    MUST(does(C, net_front_stop_pair(&guest[C], 0), "stop"));
    MUST(send_as(A, stranger, mac[A], 2) && gets(B, 2)); /* it is unknown again */
    MUST(send_as(A, mac[C], mac[A], 3) && gets(B, 3));
    MUST(does(C, net_front_start_pair(&guest[C], 0), "start") && is_up(C));
    MUST(send_as(A, mac[C], mac[A], 4) && gets(C, 4) && gets_nothing(B));
    MUST(all_back(A) && sums(d));
}

static void made_up_addresses(struct daemon *d)
{
    uint8_t from[6] = {0x02, 0xcc, 0, 0, 0, 0};
    MUST(three_ready(d));
    MUST(send_as(C, mac[A], stranger, 1) && gets(A, 1));
    for (uint32_t i = 0; i < 2000; i++) {
        from[4] = (uint8_t)(i >> 8);
        from[5] = (uint8_t)i;
        MUST(send_as(B, mac[B], from, i) && (i % 64 || all_back(B)));
    }
    MUST(all_back(B));
    MUST(send_as(A, stranger, mac[A], 2) && gets(C, 2) && gets_nothing(B));
    MUST(all_back(A) && sums(d));
}

static void isolated(struct daemon *d)
{
    MUST(three(d, "", ",isolated", ",isolated") && post(A) && post(B) && post(C));
    MUST(send_as(B, everybody, mac[B], 1) && gets(A, 1) && gets_nothing(C));
    MUST(send_as(B, mac[C], mac[B], 2) && gets_nothing(C));
    MUST(daemon_counter_becomes(d, "b", "tx-no-peer", 2));
    MUST(send_as(A, everybody, mac[A], 3) && gets(B, 3) && gets(C, 3));
    MUST(send_as(C, mac[A], mac[C], 4) && gets(A, 4));
    MUST(does(A, net_front_stop_pair(&guest[A], 0), "stop"));
    MUST(send_as(B, everybody, mac[B], 5) && gets_nothing(C));
    MUST(daemon_counter_becomes(d, "b", "tx-no-peer", 3));
    MUST(all_back(B) && all_back(C) && sums(d));
}

static void alone(struct daemon *d)
{
    row_at_end(close_all, NULL);
    MUST(daemon_add(d, "net:switch=one,id=a", "net:switch=two,id=b", NULL));
    MUST(open_guest(d, A, (struct net_front_options){0}));
    MUST(open_guest(d, B, (struct net_front_options){0}) && post(A) && post(B));
    MUST(send_as(A, everybody, mac[A], 1) && send_as(A, stranger, mac[A], 2) && all_back(A));
    MUST(daemon_counter_becomes(d, "a", "tx-no-peer", 2) && gets_nothing(B) && gets_nothing(A));
}

static void link_down(struct daemon *d)
{
    MUST(three_ready(d));
    json_t *r = daemon_call(d, "device.command", "{s:s, s:s, s:{s:s}}", "id", "c", "command",
                            "link", "params", "state", "down");
    CHECK(r, "link state=down: %s", error_text(d));
    json_decref(r);
    MUST(send_as(A, everybody, mac[A], 1) && gets(B, 1) && gets_nothing(C));
    MUST(send_as(C, everybody, mac[C], 2) && all_back(C) && gets_nothing(A));
    MUST(daemon_counter_becomes(d, "c", "tx-link-down", 1) && all_back(A) && sums(d));
}

/* ---- rows: streams --------------------------------------------------------------------------- */

static void one_to_one(struct daemon *d)
{
    struct stream s[] = {{.from = A, .to = mac[B], .receivers = 1u << B}};
    MUST(three_ready(d) && run_streams(s, 1, MANY, 0) && all_back(A) && gets_nothing(C));
    MUST(daemon_counter_becomes(d, "a", "tx-sent", MANY));
    MUST(daemon_counter_becomes(d, "b", "rx-received", MANY) && sums(d));
}

static void one_to_all(struct daemon *d)
{
    struct stream s[] = {{.from = A, .to = everybody, .receivers = 1u << B | 1u << C}};
    MUST(three_ready(d) && run_streams(s, 1, MANY, 0) && all_back(A));
    MUST(daemon_counter_becomes(d, "a", "tx-sent", MANY));
    MUST(daemon_counter_becomes(d, "b", "rx-received", MANY));
    MUST(daemon_counter_becomes(d, "c", "rx-received", MANY) && sums(d));
}

static void all_to_all(struct daemon *d)
{
    struct stream s[] = {{.from = A, .to = everybody, .receivers = 1u << B | 1u << C},
                         {.from = B, .to = everybody, .receivers = 1u << A | 1u << C},
                         {.from = C, .to = everybody, .receivers = 1u << A | 1u << B}};
    MUST(three_ready(d) && run_streams(s, 3, MANY, 0) && all_back(A) && all_back(B) && all_back(C));
    MUST(sums(d));
}

/* The next frame on any of two pairs, and a new buffer in its place. The pair, or -1. */
static int receive_on_either(unsigned g)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    for (unsigned p = 0; clock_left_ms(deadline) > 0; p ^= 1) {
        int n = net_front_receive(&guest[g], p, NULL, got, sizeof(got), 1);
        if (n == -ETIMEDOUT)
            continue;
        bool good = does(g, n, "receive") && does(g, net_front_post(&guest[g], p, 1, 0), "post");
        return good ? (int)p : -1;
    }
    row_fail("guest %s gets nothing", name[g]);
    return -1;
}

/* One flow stays on one pair, in order. */
static void several_pairs(struct daemon *d)
{
    static const struct net_front_options two = {.pairs = 2, .features = FE_BIT(VIRTIO_NET_F_MQ)};
    uint32_t on[2] = {0, 0}, number[16] = {0}, pair[16];
    MUST(three(d, "", "", ",queues=2"));
    close_guest(C);
    MUST(open_guest(d, C, two) && is_up(C) && post(C));
    MUST(does(C, net_front_post(&guest[C], 1, guest[C].opt.num, 0), "receive buffers"));
    for (uint32_t sent = 0, received = 0; received < 1600; received++) {
        for (; sent < 1600 && sent < received + 100; sent++) {
            uint8_t from[6] = {0x02, 0xdd, 0, 0, 0, (uint8_t)(sent % 16)};
            MUST(send_as(A, mac[C], from, sent / 16));
        }
        int p = receive_on_either(C);
        MUST(p >= 0);
        uint32_t flow = got[11] % 16;
        if (number[flow] == 0) {
            pair[flow] = (uint32_t)p;
            on[p]++;
        }
        CHECK(pair[flow] == (uint32_t)p, "flow %u came on both pairs", flow);
        CHECK(net_front_check(got, BYTES) == number[flow]++, "flow %u is not in order", flow);
    }
    row_note("%u flows on the first pair, %u on the second", on[0], on[1]);
    CHECK(on[0] > 0 && on[1] > 0, "all flows came on one pair");
    MUST(all_back(A) && sums(d));
}

/* ---- rows: nobody holds up others ------------------------------------------------------------ */

/* It has buffers again: soon nothing is dropped any more. */
static bool gets_again(unsigned g)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    int n = -ETIMEDOUT;
    while (n == -ETIMEDOUT && clock_left_ms(deadline) > 0) {
        if (!send_as(A, mac[g], mac[A], 77))
            return false;
        n = net_front_receive(&guest[g], 0, NULL, got, sizeof(got), QUIET_MS);
    }
    return does(g, n, "receive");
}

/* C posts nothing; A sends to it, too, and both shout. */
static void deaf_receiver(struct daemon *d)
{
    struct stream s[] = {{.from = A, .to = mac[B], .receivers = 1u << B},
                         {.from = B, .to = mac[A], .receivers = 1u << A}};
    MUST(three(d, "", "", "") && post(A) && post(B));
    uint64_t start = clock_ns();
    for (uint32_t n = 100; n <= MANY; n += 100) {
        MUST(run_streams(s, 2, n, 1u << C));
        for (uint32_t i = 0; i < 20; i++) {
            net_front_fill(frame, BYTES, mac[C], mac[A], i);
            int rc = net_front_send(&guest[A], 0, NULL, frame, BYTES);
            CHECK(rc == 0 || rc == -ENOSPC, "send: %s", guest[A].fe.error);
        }
    }
    row_note("%u frames each way beside it in %llu ms", MANY,
             (unsigned long long)(clock_ns() - start) / 1000000);
    MUST(all_back(A) && all_back(B));
    CHECK(daemon_counter(d, "a", "tx-peer-full") > 0, "nothing was dropped");
    CHECK(daemon_counter(d, "c", "rx-received") == 0, "it received something");
    MUST(daemon_counter_becomes(d, "b", "rx-received", MANY) && sums(d));
    MUST(post(C) && gets_again(C));
}

/* Half of a's ring waits at a receiver; then the driver resets its device. */
static void sender_resets(struct daemon *d)
{
    MUST(three(d, "", "", "") && post(B));
    for (uint32_t round = 1; round <= 20; round++) {
        for (uint32_t i = 0; i < 50; i++)
            MUST(send_as(A, mac[C], mac[A], i));
        MUST(does(A, net_front_reset(&guest[A], 0), "reset"));
        MUST(send_as(A, mac[B], mac[A], round) && gets(B, round));
    }
    long missed = daemon_counter(d, "c", "rx-no-buffer"), sent = daemon_counter(d, "a", "tx-sent");
    CHECK(missed > 0, "nothing waited there");
    CHECK(missed == sent - 20, "%ld frames were sent to c, %ld dropped there", sent - 20, missed);
    MUST(post(C) && gets_nothing(C) && all_back(A) && sums(d));
}

static void receiver_removed(struct daemon *d)
{
    MUST(three(d, "", "", "") && post(A) && post(B));
    for (uint32_t i = 0; i < 50; i++)
        MUST(send_as(A, mac[C], mac[A], i));
    MUST(daemon_counter_becomes(d, "a", "tx-frames", 51));
    MUST(daemon_remove(d, "c", NULL) && all_back(A));
    close_guest(C);
    MUST(send_as(A, mac[B], mac[A], 1) && gets(B, 1));
    MUST(send_as(A, mac[C], mac[A], 2) && gets(B, 2)); /* unknown now */
    MUST(daemon_add(d, "net:switch=lan,id=c,mac=02:aa:00:00:00:0c", NULL));
    MUST(open_guest(d, C, (struct net_front_options){0}) && is_up(C) && post(C));
    MUST(send_as(A, mac[C], mac[A], 3) && gets(C, 3) && gets_nothing(B) && sums(d));
}

/* What waits for a guest that stops is dropped; what waits for buffers is not, for a while. */
static void receiver_comes_late(struct daemon *d)
{
    MUST(three(d, "", "", "") && post(B));
    for (uint32_t i = 0; i < 10; i++)
        MUST(send_as(A, mac[C], mac[A], i));
    MUST(daemon_counter_becomes(d, "a", "tx-frames", 11));
    MUST(does(C, net_front_stop_pair(&guest[C], 0), "stop") && all_back(A));
    MUST(daemon_counter_becomes(d, "c", "rx-no-buffer", 10));
    MUST(does(C, net_front_start_pair(&guest[C], 0), "start") && is_up(C));
    MUST(send_as(A, mac[C], mac[A], 10) && all_back(A)); /* nobody receives it: dropped in time */
    MUST(daemon_counter_becomes(d, "c", "rx-no-buffer", 11) && post(C) && gets_nothing(C));
    MUST(send_as(A, mac[C], mac[A], 11) && gets(C, 11) && sums(d));
}

/* ---- rows: large frames ---------------------------------------------------------------------- */

#define HEADERS 54u /* Ethernet, IPv4, TCP */
#define MSS 1400u
#define PAYLOAD 30000u

static uint8_t payload_byte(uint32_t i)
{
    return (uint8_t)(i * 7 + (i >> 8) * 13);
}

static uint32_t add_up(const uint8_t *at, uint32_t n)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
    return sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static void put16(uint8_t *at, uint16_t n)
{
    n = htobe16(n);
    memcpy(at, &n, sizeof(n));
}

static uint32_t pseudo(const uint8_t *ip, uint32_t tcp_bytes)
{
    return add_up(ip + 12, 8) + IPPROTO_TCP + tcp_bytes;
}

static struct virtio_net_hdr_v1 make_tcp(uint32_t payload)
{
    uint8_t *ip = frame + 14, *tcp = frame + 34;
    memset(frame, 0, HEADERS);
    memcpy(frame, mac[B], 6);
    memcpy(frame + 6, mac[A], 6);
    put16(frame + 12, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, (uint16_t)(40 + payload));
    ip[8] = 64;
    ip[9] = IPPROTO_TCP;
    memcpy(ip + 12, (const uint8_t[]){10, 0, 0, 1, 10, 0, 0, 2}, 8);
    put16(ip + 10, (uint16_t)~fold(add_up(ip, 20)));
    put16(tcp, 1000);
    put16(tcp + 2, 2000);
    tcp[12] = 5 << 4;
    tcp[13] = 0x10;
    put16(tcp + 16, fold(pseudo(ip, 20 + payload))); /* what the driver leaves there */
    for (uint32_t i = 0; i < payload; i++)
        frame[HEADERS + i] = payload_byte(i);
    return (struct virtio_net_hdr_v1){
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
        .hdr_len = htole16(HEADERS), .gso_size = htole16(MSS), .csum_start = htole16(34),
        .csum_offset = htole16(16)};
}

static bool payload_is_right(const uint8_t *at, uint32_t from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (at[i] != payload_byte(from + i))
            return row_fail("byte %u of the payload is wrong", from + i);
    return true;
}

/* The next segment for guest B, with payload from byte `from` on. Its bytes, or 0: it is wrong. */
static uint32_t next_segment(uint32_t from)
{
    struct virtio_net_hdr_v1 h;
    int n = net_front_receive(&guest[B], 0, &h, got, sizeof(got), TIMEOUT_MS);
    const uint8_t *ip = got + 14;
    if (!does(B, n, "receive"))
        return 0;
    if (n <= (int)HEADERS || h.gso_type || h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        return (uint32_t)row_fail("%d bytes, gso_type %u, flags %u", n, h.gso_type, h.flags);
    if (fold(add_up(ip, 20)) != 0xffff ||
        fold(pseudo(ip, (uint32_t)n - 34) + add_up(got + 34, (uint32_t)n - 34)) != 0xffff)
        return (uint32_t)row_fail("a checksum of the segment at %u is wrong", from);
    uint32_t bytes = (uint32_t)n - HEADERS;
    return payload_is_right(got + HEADERS, from, bytes) ? bytes : 0;
}

/* From a guest with all offloads to one with none. */
static void segments_cut(struct daemon *d)
{
    uint32_t segments = 0, all = (PAYLOAD + MSS - 1) / MSS;
    MUST(three(d, "", "", ""));
    close_guest(A);
    MUST(open_guest(d, A, (struct net_front_options){.tx_size = NET_FRONT_LARGE, .num = 64,
                                                     .features = LARGE}));
    struct virtio_net_hdr_v1 h = make_tcp(PAYLOAD);
    MUST(does(A, net_front_send(&guest[A], 0, &h, frame, HEADERS + PAYLOAD), "send"));
    MUST(does(B, net_front_post(&guest[B], 0, 5, 0), "receive buffers")); /* it comes in parts */
    for (uint32_t at = 0, n; at < PAYLOAD; at += n, segments++) {
        if (segments == 5)
            MUST(post(B));
        MUST((n = next_segment(at)) > 0);
    }
    CHECK(segments == all, "%u segments, not %u", segments, all);
    MUST(all_back(A) && gets_nothing(B));
    MUST(daemon_counter_becomes(d, "b", "rx-received", all) && sums(d));
}

static void segments_whole(struct daemon *d)
{
    MUST(three(d, "", "", ""));
    for (unsigned g = A; g <= B; g++) {
        close_guest(g);
        MUST(open_guest(d, g, (struct net_front_options){.tx_size = NET_FRONT_LARGE, .num = 64,
                                                         .features = LARGE}) && is_up(g));
    }
    struct virtio_net_hdr_v1 h = make_tcp(PAYLOAD), back;
    MUST(post(B) && does(A, net_front_send(&guest[A], 0, &h, frame, HEADERS + PAYLOAD), "send"));
    int n = net_front_receive(&guest[B], 0, &back, got, sizeof(got), TIMEOUT_MS);
    MUST(does(B, n, "receive"));
    CHECK(n == (int)(HEADERS + PAYLOAD) && back.gso_type == VIRTIO_NET_HDR_GSO_TCPV4 &&
              back.gso_size == h.gso_size && back.flags == VIRTIO_NET_HDR_F_NEEDS_CSUM,
          "%d bytes, gso_type %u, gso_size %u, flags %u", n, back.gso_type, le16toh(back.gso_size),
          back.flags);
    MUST(payload_is_right(got + HEADERS, 0, PAYLOAD) && all_back(A) && sums(d));
}

/* A long frame reaches who has room for it. */
static void jumbo(struct daemon *d)
{
    MUST(three(d, ",mtu=9000", ",mtu=9000", ",mtu=9000"));
    for (unsigned g = A; g <= B; g++) {
        close_guest(g);
        MUST(open_guest(d, g, (struct net_front_options){.tx_size = 10000, .rx_size = 10000}) &&
             is_up(g));
    }
    MUST(post(B) && post(C));
    net_front_fill(frame, 9014, everybody, mac[A], 9);
    MUST(does(A, net_front_send(&guest[A], 0, NULL, frame, 9014), "send"));
    int n = net_front_receive(&guest[B], 0, NULL, got, sizeof(got), TIMEOUT_MS);
    CHECK(n == 9014 && net_front_check(got, 9014) == 9, "guest b got %d bytes", n);
    MUST(daemon_counter_becomes(d, "c", "rx-too-long", 1) && gets_nothing(C));
    MUST(send_as(A, everybody, mac[A], 10) && gets(C, 10) && gets(B, 10) && sums(d));
}

/* ---- rows: the operator ---------------------------------------------------------------------- */

static bool says_ports(struct daemon *d, const char *id, const char *want)
{
    json_t *show = daemon_call(d, "device.show", "{s:s}", "id", id);
    json_t *about = json_object_get(show, "about");
    const char *lan = json_string_value(json_object_get(about, "switch"));
    const char *ports = json_string_value(json_object_get(about, "ports"));
    bool good = (lan && strcmp(lan, "lan") == 0 && ports && strcmp(ports, want) == 0) ||
                row_fail("%s is on switch %s of %s ports, not %s", id, lan ? lan : "(none)",
                         ports ? ports : "(none)", want);
    json_decref(show);
    return good;
}

static void show(struct daemon *d)
{
    MUST(daemon_add(d, "net:switch=lan,id=a", NULL) && says_ports(d, "a", "1"));
    MUST(daemon_add(d, "net:switch=lan,id=b", "net:switch=lan,id=c", NULL));
    MUST(says_ports(d, "a", "3") && says_ports(d, "c", "3"));
    MUST(daemon_remove(d, "b", NULL) && says_ports(d, "a", "2") && says_ports(d, "c", "2"));
}

static void refusals(struct daemon *d)
{
    static const char spec[] =
        "net:switch=0123456789012345678901234567890123456789012345678901234567890123456789,id=a";
    MUST(daemon_refuses(d, "70 bytes|at most 64", "device.add", ADD1, spec, "cwd", CWD));
    for (unsigned i = 0; i < 64; i++) {
        char text[64];
        snprintf(text, sizeof(text), "net:switch=lan,id=p%u,queue-size=64", i);
        MUST(daemon_add(d, text, NULL));
    }
    MUST(daemon_refuses(d, "switch lan|64 ports|use another", "device.add", ADD1,
                        "net:switch=lan,id=a", "cwd", CWD));
    MUST(daemon_remove(d, "p7", NULL) && daemon_add(d, "net:switch=lan,id=a", NULL));
}

#define ROW(NAME) {#NAME, NAME, &with_net, NULL}

int main(int argc, char **argv)
{
    static const char *const plugins[] = {"net.so", NULL};
    static const struct daemon_options with_net = {.plugins = plugins};
    static const struct row rows[] = {
        ROW(learning), ROW(addresses_are_not_stolen), ROW(addresses_go_with_the_guest),
        ROW(made_up_addresses), ROW(isolated), ROW(alone), ROW(link_down), ROW(one_to_one),
        ROW(one_to_all), ROW(all_to_all), ROW(several_pairs), ROW(deaf_receiver),
        ROW(sender_resets), ROW(receiver_removed), ROW(receiver_comes_late), ROW(segments_cut),
        ROW(segments_whole), ROW(jumbo), ROW(show), ROW(refusals),
    };
    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
