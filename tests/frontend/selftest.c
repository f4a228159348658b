/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vhost-fe-selftest: the parts of the front-end that no back-end at hand exercises, against a
 * pretended device in the same process: in-order use with skipped entries, the detection of a
 * device that misbehaves, the back-end's request channel. One thread; prints a line per test.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ring.h"
#include "vhost-user.h"

#define NUM 8u

static unsigned int failures;

static void expect(const char *name, bool ok)
{
    printf("%s %s\n", ok ? "ok" : "not ok", name);
    failures += !ok;
}

static int no_kick(void *arg)
{
    unsigned int *kicks = arg;

    (*kicks)++;
    return 0;
}

struct fixture {
    struct guestmem mem;
    struct ring ring;
    unsigned int kicks;
    int token[NUM];
};

static void setup(struct fixture *f, bool in_order, bool event_idx)
{
    struct guestmem_spec spec = { .size = 65536, .gpa = 0x1000 };
    struct ring_options opt = { .num = NUM, .in_order = in_order, .event_idx = event_idx };

    guestmem_init(&f->mem);
    f->kicks = 0;
    if (guestmem_add(&f->mem, &spec) < 0 || ring_init(&f->ring, &f->mem, 0, &opt)) {
        fputs("vhost-fe-selftest: no memory\n", stderr);
        exit(1);
    }
    f->ring.kick = no_kick;
    f->ring.kick_arg = &f->kicks;
}

static void teardown(struct fixture *f)
{
    ring_free(&f->ring);
    guestmem_free(&f->mem);
}

/* Chains of two descriptors: 16 bytes to the device, 100 + i from it. */
static void add(struct fixture *f, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        struct ring_seg seg[2] = { { 0x1000, 16 }, { 0x2000, 100 + i } };

        f->token[i] = (int)i;
        expect("a chain fits", ring_add(&f->ring, seg, 1, 1, &f->token[i]) == 0);
    }
    expect("submit", ring_submit(&f->ring) == 0);
}

static void use(struct fixture *f, uint16_t at, uint32_t id, uint32_t len, uint16_t index)
{
    f->ring.used->ring[at % NUM] = (struct vring_used_elem){ id, len };
    f->ring.used->idx = index;
}

static int reap(struct fixture *f, struct ring_done *done)
{
    return ring_reap(&f->ring, done, NUM);
}

/* One entry for three chains, then one for the last; descriptors go round the ring's end. */
static void in_order_batches(void)
{
    struct ring_done done[NUM];
    struct fixture f;
    uint16_t index = 0;

    setup(&f, true, false);
    for (unsigned int round = 0; round < 5; round++) {
        uint16_t first = f.ring.free_head;

        add(&f, 3);
        expect("chains ascend", f.ring.order[(index + 2) % NUM] == (first + 4) % NUM);
        use(&f, index, f.ring.order[(index + 2) % NUM], 7, (uint16_t)(index + 3));
        expect("three from one entry", reap(&f, done) == 3);
        expect("in order", done[0].token == &f.token[0] && done[2].token == &f.token[2]);
        expect("lengths", done[0].len == 100 && done[1].len == 101 && done[2].len == 7);
        index = (uint16_t)(index + 3);
        expect("all free", f.ring.free_count == NUM);
    }
    add(&f, 2);
    use(&f, index, f.ring.order[index % NUM] + 1, 1, (uint16_t)(index + 1));
    expect("a wrong head is noticed", reap(&f, done) == -EPROTO);
    teardown(&f);
}

static void one_bad_entry(const char *name, uint32_t id, uint32_t len, uint16_t index)
{
    struct ring_done done[NUM];
    struct fixture f;

    setup(&f, false, false);
    add(&f, 2);
    use(&f, 0, id, len, index);
    expect(name, reap(&f, done) == -EPROTO && f.ring.error);
    teardown(&f);
}

static void bad_devices(void)
{
    struct ring_done done[NUM];
    struct fixture f;

    one_bad_entry("an id outside the ring", NUM, 0, 1);
    one_bad_entry("an id in the middle of a chain", 1, 0, 1);
    one_bad_entry("too long", 0, 101, 1);
    one_bad_entry("an index too far ahead", 0, 1, 3);
    setup(&f, false, false);
    add(&f, 2);
    use(&f, 0, 0, 1, 1);
    expect("a good entry", reap(&f, done) == 1);
    use(&f, 1, 0, 1, 2);
    expect("the same once more", reap(&f, done) == -EPROTO);
    teardown(&f);
}

static void suppression(void)
{
    struct fixture f;
    struct ring_done done[NUM];

    setup(&f, false, false);
    f.ring.used->flags = VRING_USED_F_NO_NOTIFY;
    add(&f, 1);
    expect("no kick when the flag says so", f.kicks == 0);
    f.ring.used->flags = 0;
    add(&f, 1);
    expect("a kick when it does not", f.kicks == 1);
    teardown(&f);
    setup(&f, false, true);
    memcpy(&f.ring.used->ring[NUM], &(uint16_t){1}, sizeof(uint16_t)); /* the avail event */
    add(&f, 1);
    expect("no kick before the event", f.kicks == 0);
    add(&f, 1);
    expect("a kick at the event", f.kicks == 1);
    expect("not there yet", !ring_arm(&f.ring, 2) && f.ring.avail->ring[NUM] == 1);
    use(&f, 0, 0, 0, 1);
    expect("half is not enough", !ring_arm(&f.ring, 2));
    use(&f, 1, 2, 0, 2);
    expect("all is", ring_arm(&f.ring, 2));
    expect("both come", reap(&f, done) == 2);
    teardown(&f);
}

static void channel(void)
{
    struct vhu_header ask = { VHU_BACKEND_CONFIG_CHANGE, VHU_FLAG_VERSION | VHU_FLAG_NEED_REPLY,
                              0 };
    struct vhu_header ack = { 0, 0, 0 };
    struct fe_msg msg;
    struct fe fe;
    int pair[2];

    fe_init(&fe);
    fe.timeout_ms = 50;
    expect("no channel, no message", fe_channel_recv(&fe, &msg) == -ENOTCONN);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        expect("socketpair", false);
        return;
    }
    fe.channel = pair[0];
    expect("nothing comes", fe_channel_recv(&fe, &msg) == -ETIMEDOUT);
    expect("ask", write(pair[1], &ask, VHU_HEADER_SIZE) == (ssize_t)VHU_HEADER_SIZE);
    expect("a change comes", fe_channel_recv(&fe, &msg) == 0 &&
                                 msg.header.request == VHU_BACKEND_CONFIG_CHANGE);
    expect("acknowledged", read(pair[1], &ack, VHU_HEADER_SIZE) == (ssize_t)VHU_HEADER_SIZE &&
                               ack.request == VHU_BACKEND_CONFIG_CHANGE && ack.flags == 5 &&
                               ack.size == 8);
    close(pair[1]);
    expect("the back-end goes", fe_channel_recv(&fe, &msg) == -ECONNRESET);
    fe_disconnect(&fe);
}

int main(void)
{
    in_order_batches();
    bad_devices();
    suppression();
    channel();
    printf("%u failed\n", failures);
    return failures ? 1 : 0;
}
