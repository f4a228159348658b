/* SPDX-License-Identifier: BSD-3-Clause */
/* net-socket.c - tests of the net plugin's back-end socket, against sockets of the test's own. */
#include "net-guest.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FRAME_BYTES 1000u
#define MANY 300u /* more than fit in a socket's queue or memory */
#define IN_PLACE 2048u /* a buffer for the largest frame */
#define PIECES 1026u     /* 1024 go in one call */
#define BOUNCED 1526u  /* one for what usually comes, as Linux posts them */

static struct guest guest;
static char dir[64], own[96], peer[96], spec[256];

static void make_dir(void)
{
    snprintf(dir, sizeof(dir), "/tmp/net-socket.XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(own, sizeof(own), "%s/own", dir);
    snprintf(peer, sizeof(peer), "%s/peer", dir);
    snprintf(spec, sizeof(spec), "backend=socket,path=%s,peer=%s", own, peer);
}

/* Fails if there is still a file of the device. */
static void remove_dir(void)
{
    unlink(peer);
    cr_expect_eq(rmdir(dir), 0, "a file is left in %s", dir);
}

TestSuite(net_socket, .init = make_dir, .fini = remove_dir);

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    return address;
}

static int bind_at(const char *path)
{
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static ssize_t send_own(int fd, const void *data, size_t bytes)
{
    struct sockaddr_un address = address_of(own);
    return sendto(fd, data, bytes, 0, (struct sockaddr *)&address, sizeof(address));
}

/* Frames are told apart by their number, which stands behind the Ethernet header. */
static const uint8_t *numbered(uint32_t number)
{
    static uint8_t frame[MANY][FRAME_BYTES];
    memset(frame[number], (int)number, FRAME_BYTES);
    memcpy(frame[number] + 14, &number, sizeof(number));
    return frame[number];
}

static uint32_t number_of(const uint8_t *frame)
{
    uint32_t number;
    memcpy(&number, frame + 14, sizeof(number));
    return number;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

static void both_ways(uint32_t buffer)
{
    int fd = bind_at(peer);
    uint8_t got[4096];
    const uint8_t *frame;
    guest_open(&guest, spec, true);
    guest_post(&guest, 2, buffer);
    cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, numbered(1), FRAME_BYTES)));
    cr_assert_eq(recv(fd, got, sizeof(got), 0), FRAME_BYTES);
    cr_assert_arr_eq(got, numbered(1), FRAME_BYTES);
    cr_assert_eq(send_own(fd, numbered(2), FRAME_BYTES), FRAME_BYTES);
    cr_assert_eq(send_own(fd, numbered(3), 60), 60);
    cr_assert_eq(guest_receive(&guest, &frame), FRAME_BYTES);
    cr_assert_arr_eq(frame, numbered(2), FRAME_BYTES);
    cr_assert_eq(guest_receive(&guest, &frame), 60);
    cr_assert_arr_eq(frame, numbered(3), 60);
    cr_assert_eq(hvv_harness_counter(&guest.h, "tx-sent"), 1);
    cr_assert_eq(hvv_harness_counter(&guest.h, "tx-bytes"), FRAME_BYTES);
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-received"), 2);
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-bytes"), FRAME_BYTES + 60);
    guest_close(&guest);
    close(fd);
}

Test(net_socket, both_ways_in_place)
{
    both_ways(IN_PLACE);
}

Test(net_socket, both_ways_bounced)
{
    both_ways(BOUNCED);
}

Test(net_socket, frame_in_many_pieces)
{
    int fd = bind_at(peer);
    static uint8_t header[GUEST_HEADER], bytes[PIECES], got[PIECES];
    struct iovec iov[PIECES] = {{header, sizeof(header)}};
    for (size_t i = 1; i < PIECES; i++) {
        bytes[i] = (uint8_t)(i * 7);
        iov[i] = (struct iovec){&bytes[i], 1};
    }
    guest_open(&guest, spec, true);
    for (uint32_t n = PIECES - 2; n <= PIECES; n++) {
        struct hvv_harness_chain *chain = hvv_harness_send(&guest.h, 1, iov, n, NULL, 0);
        hvv_harness_kick(&guest.h, 1);
        cr_assert(hvv_harness_wait(&guest.h, chain));
        cr_assert_eq(recv(fd, got, sizeof(got), 0), (ssize_t)n - 1);
        cr_assert_arr_eq(got, bytes + 1, n - 1);
    }
    guest_close(&guest);
    close(fd);
}

Test(net_socket, what_is_no_frame)
{
    int fd = bind_at(peer);
    static uint8_t big[70000];
    const uint8_t *frame;
    guest_open(&guest, spec, true);
    guest_post(&guest, 2, IN_PLACE);
    cr_assert_eq(send_own(fd, big, 0), 0);
    cr_assert_eq(send_own(fd, big, 13), 13);
    cr_assert_eq(send_own(fd, big, 1700), 1700); /* over the MTU */
    cr_assert_eq(send_own(fd, big, sizeof(big)), (ssize_t)sizeof(big));
    cr_assert_eq(send_own(fd, numbered(5), FRAME_BYTES), FRAME_BYTES);
    cr_assert_eq(guest_receive(&guest, &frame), FRAME_BYTES);
    cr_assert_eq(number_of(frame), 5);
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-bad-frame"), 2);
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-too-long"), 2);
    guest_close(&guest);
    close(fd);
}

Test(net_socket, too_long_for_small_buffers)
{
    int fd = bind_at(peer);
    const uint8_t *frame;
    char text[300];
    snprintf(text, sizeof(text), "%s,merge=off", spec);
    guest_open(&guest, text, true);
    guest_post(&guest, 1, 200);
    cr_assert_eq(send_own(fd, numbered(1), FRAME_BYTES), FRAME_BYTES);
    cr_assert_eq(send_own(fd, numbered(2), 100), 100);
    cr_assert_eq(guest_receive(&guest, &frame), 100);
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-too-long"), 1);
    guest_close(&guest);
    close(fd);
}

Test(net_socket, link_down)
{
    int fd = bind_at(peer);
    struct hvv_harness_call call;
    uint8_t got[64];
    const uint8_t *frame;
    guest_open(&guest, spec, true);
    guest_post(&guest, 1, IN_PLACE);
    cr_assert_eq(hvv_harness_command(&guest.h, &call, "link", "state=down"), 0);
    for (uint32_t i = 0; i < 10; i++)
        cr_assert_eq(send_own(fd, numbered(i), 60), 60);
    cr_assert(hvv_harness_wait_counter(&guest.h, "rx-link-down", 10));
    cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, numbered(1), 60)));
    cr_assert_eq(recv(fd, got, sizeof(got), 0), -1);
    cr_assert_eq(hvv_harness_command(&guest.h, &call, "link", "state=up"), 0);
    cr_assert_eq(send_own(fd, numbered(20), 60), 60);
    cr_assert_eq(guest_receive(&guest, &frame), 60);
    cr_assert_eq(number_of(frame), 20);
    guest_close(&guest);
    close(fd);
}

/* ---- The peer -------------------------------------------------------------------------------- */

Test(net_socket, peer_absent)
{
    uint8_t got[2048];
    const uint8_t *frame;
    guest_open(&guest, spec, true);
    guest_post(&guest, 2, IN_PLACE);
    cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, numbered(1), FRAME_BYTES)));
    cr_assert_eq(hvv_harness_counter(&guest.h, "tx-no-peer"), 1);
    for (uint32_t round = 2; round < 4; round++) { /* it comes, goes, and comes again */
        int fd = bind_at(peer);
        cr_assert_eq(send_own(fd, numbered(round), 60), 60, "%s", strerror(errno));
        cr_assert_eq(guest_receive(&guest, &frame), 60);
        cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, numbered(round), FRAME_BYTES)));
        cr_assert_eq(recv(fd, got, sizeof(got), 0), FRAME_BYTES);
        close(fd);
        cr_assert(hvv_harness_wait(&guest.h, guest_send(&guest, numbered(round), FRAME_BYTES)));
        cr_assert_eq(hvv_harness_counter(&guest.h, "tx-no-peer"), round);
        unlink(peer);
    }
    cr_assert_eq(hvv_harness_counter(&guest.h, "tx-sent"), 2);
    guest_close(&guest);
}

/* Takes frames as they come and checks that none is missing. */
static void drain(int fd, uint32_t *next, struct hvv_harness_chain *last)
{
    uint8_t got[2048];
    bool done = false;
    while (!done) {
        done = hvv_harness_done(&guest.h, last);
        while (recv(fd, got, sizeof(got), 0) == FRAME_BYTES)
            cr_assert_eq(number_of(got), (*next)++);
        uint64_t frames = hvv_harness_counter(&guest.h, "tx-frames");
        cr_assert(done || hvv_harness_wait_counter(&guest.h, "tx-frames", frames + 1));
    }
}

/* Sends more than fits, and then all of it arrives in order. */
static void peer_full(int fd)
{
    struct hvv_harness_chain *last = NULL;
    uint32_t next = 0;
    for (uint32_t i = 0; i < MANY; i++)
        last = guest_send(&guest, numbered(i), FRAME_BYTES);
    cr_assert(!hvv_harness_done(&guest.h, last), "there is no need to wait: the test is none");
    cr_assert_lt(hvv_harness_counter(&guest.h, "tx-frames"), MANY);
    cr_assert(hvv_harness_rests(&guest.h), "there is nothing to do until the peer takes frames");
    drain(fd, &next, last);
    cr_assert_eq(next, MANY);
    cr_assert_eq(hvv_harness_counter(&guest.h, "tx-sent"), MANY);
}

Test(net_socket, peer_full)
{
    int fd = bind_at(peer);
    guest_open(&guest, spec, true);
    peer_full(fd);
    guest_close(&guest);
    close(fd);
}

/* Such a peer has no limit to its queue, and nobody else can connect to it. */
Test(net_socket, peer_that_is_connected_full)
{
    struct sockaddr_un address = address_of(own);
    int fd = bind_at(peer);
    guest_open(&guest, spec, true);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    peer_full(fd);
    guest_close(&guest);
    close(fd);
}

Test(net_socket, peer_dies_full)
{
    int fd = bind_at(peer);
    struct hvv_harness_chain *last = NULL;
    guest_open(&guest, spec, true);
    for (uint32_t i = 0; i < MANY; i++)
        last = guest_send(&guest, numbered(i), FRAME_BYTES);
    cr_assert(!hvv_harness_done(&guest.h, last));
    close(fd);
    cr_assert(hvv_harness_wait(&guest.h, last));
    cr_assert_eq(hvv_harness_counter(&guest.h, "tx-frames"), MANY);
    cr_assert_gt(hvv_harness_counter(&guest.h, "tx-no-peer"), 0);
    guest_close(&guest);
}

Test(net_socket, stops_while_peer_is_full)
{
    int fd = bind_at(peer);
    guest_open(&guest, spec, true);
    for (uint32_t i = 0; i < MANY; i++)
        guest_send(&guest, numbered(i), FRAME_BYTES);
    cr_assert_lt(hvv_harness_counter(&guest.h, "tx-frames"), MANY);
    guest_close(&guest);
    close(fd);
}

/* Frames wait in the socket while the guest has no buffer: none is lost, and the peer waits too. */
static void guest_full(uint32_t buffer)
{
    int fd = bind_at(peer);
    const uint8_t *frame;
    uint32_t sent = 0;
    guest_open(&guest, spec, true);
    guest_post(&guest, 1, buffer);
    while (sent < MANY && send_own(fd, numbered(sent), FRAME_BYTES) > 0)
        sent++;
    cr_assert(sent > 2 && sent < MANY && errno == EAGAIN);
    cr_assert_eq(guest_receive(&guest, &frame), FRAME_BYTES);
    cr_assert_eq(number_of(frame), 0);
    cr_assert(hvv_harness_rests(&guest.h), "there is nothing to do until the guest posts buffers");
    for (uint32_t i = 1; i < sent; i++) {
        guest_post(&guest, 1, buffer);
        cr_assert_eq(guest_receive(&guest, &frame), FRAME_BYTES);
        cr_assert_eq(number_of(frame), i);
    }
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-received"), sent);
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-frames"), sent);
    guest_close(&guest);
    close(fd);
}

#define SMALL 300u

/* A frame that is read already, but needs more buffers than there are, waits for them. */
static int frame_in_wait(void)
{
    int fd = bind_at(peer);
    guest_open(&guest, spec, true);
    guest_post(&guest, 2, SMALL);
    cr_assert_eq(send_own(fd, numbered(1), FRAME_BYTES), FRAME_BYTES);
    cr_assert_eq(send_own(fd, numbered(2), FRAME_BYTES), FRAME_BYTES);
    cr_assert(hvv_harness_settle(&guest.h));
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-frames"), 0);
    return fd;
}

Test(net_socket, frame_needs_more_buffers)
{
    uint8_t got[4 * SMALL];
    int fd = frame_in_wait();
    guest_post(&guest, 6, SMALL);
    cr_assert(hvv_harness_wait(&guest.h, guest.chain[7]));
    for (uint32_t frame = 0; frame < 2; frame++) {
        for (uint32_t i = 0; i < 4; i++)
            memcpy(got + i * SMALL, guest.buffer[4 * frame + i], SMALL);
        cr_expect_eq(got[10], 4, "the frame lies in four buffers");
        cr_expect_arr_eq(got + GUEST_HEADER, numbered(frame + 1), FRAME_BYTES);
    }
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-received"), 2);
    guest_close(&guest);
    close(fd);
}

Test(net_socket, stops_while_a_frame_waits)
{
    int fd = frame_in_wait();
    cr_assert(hvv_harness_stop(&guest.h));
    cr_assert_eq(hvv_harness_counter(&guest.h, "rx-no-buffer"), 1);
    guest_close(&guest);
    close(fd);
}

Test(net_socket, guest_full_in_place)
{
    guest_full(IN_PLACE);
}

Test(net_socket, guest_full_bounced)
{
    guest_full(BOUNCED);
}

/* ---- The files ------------------------------------------------------------------------------- */

static void refused(const char *text, int err, const char *option, const char *says)
{
    struct hvv_harness h;
    cr_expect(hvv_harness_refuses(&h, hvv_plugin_v1(), text, err, option, says), "%s: %s: %s",
              text, h.error_option, h.error);
}

Test(net_socket, files_come_and_go)
{
    struct stat st;
    char lock[128];
    snprintf(lock, sizeof(lock), "%s.lock", own);
    guest_open(&guest, spec, false);
    cr_assert_eq(stat(own, &st), 0);
    cr_assert(S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600);
    cr_assert_eq(stat(lock, &st), 0);
    refused(spec, EADDRINUSE, "path", "is locked");
    cr_assert_eq(stat(own, &st), 0);
    guest_close(&guest);
    cr_assert_eq(stat(own, &st), -1);
    cr_assert_eq(stat(lock, &st), -1);
}

Test(net_socket, stale_file_is_replaced)
{
    close(bind_at(own));
    guest_open(&guest, spec, true);
    guest_close(&guest);
}

Test(net_socket, live_file_is_refused)
{
    int fd = bind_at(own);
    refused(spec, EADDRINUSE, "path", "is in use");
    cr_assert_eq(access(own, F_OK), 0);
    close(fd);
    cr_assert_eq(unlink(own), 0);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = address_of(own);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(fd, 1), 0);
    refused(spec, EADDRINUSE, "path", "is in use");
    close(fd);
    cr_assert_eq(unlink(own), 0);
}

Test(net_socket, other_file_is_refused)
{
    FILE *file = fopen(own, "w");
    cr_assert(file);
    fclose(file);
    refused(spec, EEXIST, "path", "is not a socket");
    cr_assert_eq(unlink(own), 0);
}

/* A file that somebody put there meanwhile is not ours to remove. */
Test(net_socket, replaced_file_is_left)
{
    guest_open(&guest, spec, true);
    cr_assert_eq(unlink(own), 0);
    close(bind_at(own));
    guest_close(&guest);
    cr_assert_eq(unlink(own), 0);
}

Test(net_socket, options)
{
    char text[512], longest[200];
    snprintf(text, sizeof(text), "backend=socket,path=%s", own);
    refused(text, EINVAL, "peer", "needs path=");
    snprintf(text, sizeof(text), "backend=socket,peer=%s", own);
    refused(text, EINVAL, "path", "needs path=");
    snprintf(text, sizeof(text), "backend=socket,path=%s,peer=%s", own, own);
    refused(text, EINVAL, "peer", "own socket");
    snprintf(text, sizeof(text), "%s,queues=2", spec);
    refused(text, EINVAL, "queues", "one pair");
    snprintf(text, sizeof(text), "backend=socket,path=%s/none/own,peer=%s", dir, peer);
    refused(text, ENOENT, "path", "no directory");
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    snprintf(text, sizeof(text), "backend=socket,path=%s/%s,peer=%s", dir, longest, peer);
    refused(text, ENAMETOOLONG, "path", "the limit is 107");
}
