/* SPDX-License-Identifier: BSD-3-Clause */
/* test-echo.c - the test of echo.c, linked with it, on the harness: see hvv_harness(3). */
#include <hvv/harness.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

#define MS 1000000u
#define DATA 0
#define CONTROL 1

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

/* Sends "hello" and does not wait. */
static struct hvv_harness_chain *send_hello(struct hvv_harness *h, char *reply)
{
    static char hello[] = "hello";
    struct iovec r[2] = {{hello, 2}, {hello + 2, 3}}, w = {reply, 5};
    struct hvv_harness_chain *chain = hvv_harness_send(h, DATA, r, 2, &w, 1);
    hvv_harness_kick(h, DATA);
    return chain;
}

static uint8_t set_delay(struct hvv_harness *h, uint32_t ms)
{
    uint32_t control[2] = {htole32(1), htole32(ms)};
    uint8_t status = 0xee;
    int64_t n = hvv_harness_request(h, CONTROL, control, sizeof(control), &status, 1);
    check(n == 1, "a control buffer comes back");
    return status;
}

static void test_echo(void)
{
    struct hvv_harness h;
    char reply[8] = "", small[2];
    begin(&h, NULL);
    check(hvv_harness_request(&h, DATA, "abc", 3, reply, sizeof(reply)) == 3, "an echo comes");
    check(memcmp(reply, "abc", 3) == 0, "of what was sent");
    check(hvv_harness_request(&h, DATA, "abc", 3, small, 2) == 2, "or as much as fits");
    struct hvv_harness_chain *chain = send_hello(&h, reply);
    check(hvv_harness_wait(&h, chain) && memcmp(reply, "hello", 5) == 0, "pieces do not matter");
    check(hvv_harness_counter(&h, "echoes") == 3, "echoes are counted");
    check(hvv_harness_counter_of(&h, "bytes", DATA) == 10, "and bytes");
    end(&h);
}

static void test_shout(void)
{
    struct hvv_harness h;
    struct hvv_harness_call call;
    char reply[8] = "", on[8] = "";
    begin(&h, NULL);
    uint32_t one = htole32(1);
    hvv_harness_config_write(&h, 4, &one, sizeof(one));
    hvv_harness_wait(&h, send_hello(&h, reply));
    check(memcmp(reply, "HELLO", 5) == 0, "the driver can switch to capitals");
    check(h.config[4] == 1 && h.config_notified == 0, "and sees that it did");
    check(hvv_harness_command(&h, &call, "shout", "on=no") == 0, "the operator can switch back");
    check(hvv_harness_result(&call, "on", on, sizeof(on)) && strcmp(on, "no") == 0, "and sees it");
    check(h.config[4] == 0 && h.config_notified == 1, "the driver is told");
    hvv_harness_wait(&h, send_hello(&h, reply));
    check(memcmp(reply, "hello", 5) == 0, "it has an effect");
    check(hvv_harness_events(&h, "shout") == 2, "followers of events heard of both");
    end(&h);
}

static void test_delay(void)
{
    struct hvv_harness h;
    char a[8] = "", b[8] = "";
    begin(&h, NULL);
    check(set_delay(&h, 50) == 0, "a delay can be set");
    struct hvv_harness_chain *first = send_hello(&h, a);
    hvv_harness_advance(&h, 20 * MS);
    struct hvv_harness_chain *second = send_hello(&h, b);
    hvv_harness_advance(&h, 29 * MS);
    check(!hvv_harness_done(&h, first), "an echo is not there before its time");
    check(hvv_harness_counter(&h, "waiting") == 2, "the gauge shows those that wait");
    hvv_harness_advance(&h, 1 * MS);
    check(hvv_harness_done(&h, first) && !hvv_harness_done(&h, second), "it is there at its time");
    hvv_harness_advance(&h, 20 * MS);
    check(hvv_harness_done(&h, second), "and so is the next");
    check(set_delay(&h, 10001) == 1, "too long a delay is refused");
    end(&h);
}

static void test_interruptions(void)
{
    struct hvv_harness h;
    char *reply;
    begin(&h, NULL);
    reply = hvv_harness_alloc(&h, 8);
    check(set_delay(&h, 50) == 0, "a delay can be set");
    struct hvv_harness_chain *chain = send_hello(&h, reply);
    check(hvv_harness_move_memory(&h), "the guest's memory can move under an echo that waits");
    check(hvv_harness_done(&h, chain) && memcmp(reply, "hello", 5) == 0, "which is there then");
    chain = send_hello(&h, reply);
    check(hvv_harness_reset(&h) && chain->discarded, "and the driver can reset the device");
    hvv_harness_start(&h);
    check(hvv_harness_wait(&h, send_hello(&h, reply)), "which forgets the delay");
    end(&h);
}

static void test_refusals(void)
{
    struct hvv_harness h;
    uint8_t status = 0xee;
    char reply[8], why[HVV_HARNESS_TEXT] = "";
    check(hvv_harness_open(&h, hvv_plugin_v1(), "max=0") == -ERANGE, "max has a minimum");
    begin(&h, "max=4");
    check(hvv_harness_request(&h, DATA, "12345", 5, reply, 5) == -EPROTO, "max is kept");
    check(hvv_harness_reset(&h), "a reset ends the error");
    h.taken = 0;
    hvv_harness_start(&h);
    check(set_delay(&h, 1) == 1, "no delay without its feature bit");
    check(hvv_harness_request(&h, CONTROL, "x", 1, &status, 1) == -EPROTO, "half a command");
    end(&h);
    bool swept = hvv_harness_sweep(hvv_plugin_v1(), "", why, sizeof(why)) > 0;
    check(swept, swept ? "every service may fail" : why);
}

int main(void)
{
    test_echo();
    test_shout();
    test_delay();
    test_interruptions();
    test_refusals();
    printf("1..%d\n", checks);
    return 0;
}
