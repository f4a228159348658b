/* SPDX-License-Identifier: BSD-3-Clause */
/* test-rng.c - the test of rng.c, linked with it, on the harness: see hvv_harness(3). */
#include <hvv/harness.h>
#include <stdio.h>
#include <stdlib.h>

#define SECOND 1000000000u

static int checks;

static void check(bool ok, const char *what)
{
    printf("%sok %d - %s\n", ok ? "" : "not ", ++checks, what);
    if (!ok)
        exit(1);
}

static void begin(struct hvv_harness *h, const char *options)
{
    check(hvv_harness_open(h, hvv_plugin_v1(), options) == 0, "the device can be made");
    hvv_harness_start(h);
}

static void end(struct hvv_harness *h)
{
    bool kept = hvv_harness_close(h);
    check(kept, kept ? "all rules were kept" : h->violation);
}

static void test_buffers(void)
{
    struct hvv_harness h;
    unsigned char a[600] = {0}, b[600] = {0}, large[5000];
    begin(&h, NULL);
    check(hvv_harness_request(&h, 0, NULL, 0, a, sizeof(a)) == 600, "a buffer is filled");
    check(hvv_harness_request(&h, 0, NULL, 0, b, sizeof(b)) == 600, "so is the next");
    check(memcmp(a, b, sizeof(a)) != 0, "with other bytes");
    check(hvv_harness_request(&h, 0, NULL, 0, large, 5000) == 4096, "one gets 4096 at most");
    check(hvv_harness_counter(&h, "bytes") == 5296, "all are counted");
    end(&h);
}

static void test_scattered(void)
{
    struct hvv_harness h;
    unsigned char bytes[4] = {0};
    struct iovec pieces[4];
    unsigned nonzero = 0;
    for (int i = 0; i < 4; i++)
        pieces[i] = (struct iovec){&bytes[i], 1};
    begin(&h, NULL);
    for (int i = 0; i < 8; i++) { /* 4 bytes are all 0 once in 2^32 times */
        struct hvv_harness_chain *chain = hvv_harness_send(&h, 0, NULL, 0, pieces, 4);
        hvv_harness_kick(&h, 0);
        check(hvv_harness_wait(&h, chain) && chain->written == 4, "four pieces are filled");
        nonzero += (bytes[0] | bytes[1] | bytes[2] | bytes[3]) != 0;
    }
    check(nonzero > 0, "with random bytes");
    end(&h);
}

/* The clock stands still unless the test moves it, so a rate can be tested to the byte. */
static void test_rate(void)
{
    struct hvv_harness h;
    unsigned char buffer[1000];
    begin(&h, "rate=1000");
    check(hvv_harness_request(&h, 0, NULL, 0, buffer, 1000) == 1000, "a second's worth at once");
    struct iovec w = {buffer, sizeof(buffer)};
    struct hvv_harness_chain *chain = hvv_harness_send(&h, 0, NULL, 0, &w, 1);
    hvv_harness_kick(&h, 0);
    hvv_harness_advance(&h, SECOND / 1000 * 63);
    check(!hvv_harness_done(&h, chain), "then it waits");
    hvv_harness_advance(&h, SECOND / 1000 * 2);
    check(hvv_harness_done(&h, chain) && chain->written == 64, "for 64 bytes' worth of time");
    check(hvv_harness_counter(&h, "waits") > 0, "that it waited is counted");
    hvv_harness_advance(&h, 10ull * SECOND);
    check(hvv_harness_request(&h, 0, NULL, 0, buffer, 1000) == 1000, "credit ends at a second");
    end(&h);
}

static void test_stop(void)
{
    struct hvv_harness h;
    unsigned char buffer[64];
    begin(&h, "rate=64");
    check(hvv_harness_request(&h, 0, NULL, 0, buffer, 64) == 64, "credit is spent");
    struct iovec w = {buffer, sizeof(buffer)};
    struct hvv_harness_chain *chain = hvv_harness_send(&h, 0, NULL, 0, &w, 1);
    hvv_harness_kick(&h, 0);
    check(hvv_harness_stop(&h), "a guest can be paused while it waits");
    hvv_harness_advance(&h, 2ull * SECOND);
    check(!hvv_harness_done(&h, chain), "nothing happens meanwhile");
    hvv_harness_start(&h);
    check(hvv_harness_wait(&h, chain) && chain->written == 64, "it goes on afterwards");
    end(&h);
}

static void test_refusals(void)
{
    struct hvv_harness h;
    unsigned char byte = 0;
    char why[HVV_HARNESS_TEXT] = "";
    check(hvv_harness_open(&h, hvv_plugin_v1(), "rate=2G") == -ERANGE, "a rate has a limit");
    check(hvv_harness_open(&h, hvv_plugin_v1(), "rat=1") == -EINVAL, "wrong names are refused");
    begin(&h, NULL);
    check(hvv_harness_request(&h, 0, &byte, 1, NULL, 0) == -EPROTO, "no room is an error");
    check(hvv_harness_reset(&h), "which a reset ends");
    hvv_harness_start(&h);
    check(hvv_harness_request(&h, 0, NULL, 0, &byte, 1) == 1, "the device works again");
    end(&h);
    bool swept = hvv_harness_sweep(hvv_plugin_v1(), "rate=1", why, sizeof(why)) > 0;
    check(swept, swept ? "every service may fail" : why);
}

int main(void)
{
    test_buffers();
    test_scattered();
    test_rate();
    test_stop();
    test_refusals();
    printf("1..%d\n", checks);
    return 0;
}
