/* SPDX-License-Identifier: BSD-3-Clause */
/* net-guest.c - see net-guest.h. */
#include "net-guest.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define RX 0
#define TX 1

void guest_open(struct guest *guest, const char *spec, bool start)
{
    guest->n = guest->next = 0;
    guest->buffer = calloc(GUEST_BUFFERS, sizeof(*guest->buffer));
    cr_assert(guest->buffer);
    int32_t rc = hvv_harness_open(&guest->h, hvv_plugin_v1(), spec);
    cr_assert_eq(rc, 0, "%s: %s", spec, guest->h.error);
    if (start)
        hvv_harness_start(&guest->h);
}

void guest_check_sums(struct guest *guest)
{
    static const char *const tx[] = {"tx-sent", "tx-link-down", "tx-bad-length", "tx-bad-header",
                                     "tx-no-peer", "tx-peer-full", "tx-refused"};
    static const char *const rx[] = {"rx-received", "rx-link-down", "rx-filtered", "rx-too-long",
                                     "rx-no-buffer", "rx-bad-frame"};
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof(tx) / sizeof(tx[0]); i++)
        sum += hvv_harness_counter(&guest->h, tx[i]);
    cr_expect_eq(hvv_harness_counter(&guest->h, "tx-frames"), sum);
    sum = 0;
    for (size_t i = 0; i < sizeof(rx) / sizeof(rx[0]); i++)
        sum += hvv_harness_counter(&guest->h, rx[i]);
    cr_expect_eq(hvv_harness_counter(&guest->h, "rx-frames"), sum);
}

void guest_close(struct guest *guest)
{
    cr_expect(hvv_harness_stop(&guest->h));
    guest_check_sums(guest);
    cr_expect(hvv_harness_close(&guest->h), "the device left something behind");
    free(guest->buffer);
}

void guest_put(struct guest *guest, uint32_t n, uint32_t bytes)
{
    cr_assert(n <= GUEST_BUFFERS - guest->n && bytes <= GUEST_BUFFER_MAX);
    for (; n > 0; n--, guest->n++) {
        struct iovec iov = {guest->buffer[guest->n], bytes};
        memset(iov.iov_base, 0xee, bytes);
        guest->chain[guest->n] = hvv_harness_send(&guest->h, RX, NULL, 0, &iov, 1);
        cr_assert(guest->chain[guest->n], "the ring is full");
    }
}

void guest_post(struct guest *guest, uint32_t n, uint32_t bytes)
{
    guest_put(guest, n, bytes);
    hvv_harness_kick(&guest->h, RX);
}

struct hvv_harness_chain *guest_send(struct guest *guest, const void *frame, uint32_t bytes)
{
    static uint8_t header[GUEST_HEADER];
    struct iovec iov[2] = {{header, sizeof(header)}, {(void *)(uintptr_t)frame, bytes}};
    struct hvv_harness_chain *chain = hvv_harness_send(&guest->h, TX, iov, 2, NULL, 0);
    cr_assert(chain, "the ring is full");
    hvv_harness_kick(&guest->h, TX);
    return chain;
}

uint32_t guest_receive(struct guest *guest, const uint8_t **frame)
{
    static const uint8_t header[GUEST_HEADER] = {[10] = 1};
    cr_assert(guest->next < guest->n, "there is no buffer to wait for");
    uint32_t i = guest->next;
    if (!hvv_harness_wait(&guest->h, guest->chain[i]))
        return 0;
    guest->next++;
    cr_assert_gt(guest->chain[i]->written, GUEST_HEADER);
    cr_assert_arr_eq(guest->buffer[i], header, sizeof(header));
    *frame = guest->buffer[i] + GUEST_HEADER;
    return guest->chain[i]->written - GUEST_HEADER;
}
