/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * console-port.c - rows of console.c: ports and sockets that lose nothing, several ports, emergency
 * writes, sizes, events, and a driver that breaks the rules.
 */
#include "clock.h"
#include "console.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- a socket, losslessly -------------------------------------------------------------------- */

/* The state of a transfer of `n` bytes each way between the guest and a client. */
struct transfer {
    const char *bytes;
    size_t n, out_sent, out_got, in_sent, in_got;
    unsigned wrong;
};

static bool guest_turn(struct transfer *t)
{
    uint32_t room = CONDEV_RING / 2;
    while (t->out_sent < t->n && ring_in_flight(&guest.ring[AGENT_TX]) < room) {
        size_t len = t->n - t->out_sent < 3000 ? t->n - t->out_sent : 3000;
        if (!condev_queue(&guest, AGENT_TX, t->bytes + t->out_sent, len))
            return false;
        t->out_sent += len;
    }
    while (condev_take(&guest, AGENT_TX, 0) >= 0)
        ;
    for (int n; (n = condev_take(&guest, AGENT_RX, 0)) >= 0; t->in_got += (size_t)n)
        t->wrong += memcmp(guest.message, t->bytes + t->in_got, (size_t)n) != 0;
    return ring_in_flight(&guest.ring[AGENT_RX]) > 0 || condev_give(&guest, AGENT_RX, 2);
}

static void client_turn(struct transfer *t, int fd)
{
    char some[7000];
    ssize_t n = t->in_sent < t->n ? write(fd, t->bytes + t->in_sent, t->n - t->in_sent) : 0;
    t->in_sent += n > 0 ? (size_t)n : 0;
    n = read(fd, some, sizeof(some));
    t->wrong += n > 0 && memcmp(some, t->bytes + t->out_got, (size_t)n) != 0;
    t->out_got += n > 0 ? (size_t)n : 0;
}

void console_socket_both_ways(struct daemon *d)
{
    struct transfer t = {.bytes = pattern(MIB), .n = MIB};
    MUST(daemon_add(d, "console:pty,id=vm,port=agent:lossless:socket:/proc/self/cwd/agent.sock",
                    NULL));
    MUST(condev_open(&guest, d, "vm", 6) && handshake(&guest, 2));
    MUST(open_channel(&guest, 1, "agent", false));
    int fd = connect_to(d, "agent.sock");
    MUST(fd >= 0 && condev_hear(&guest, 1, VIRTIO_CONSOLE_PORT_OPEN, 1) >= 0);
    uint64_t deadline = clock_deadline(60000);
    for (unsigned turn = 0; t.out_got < MIB || t.in_got < MIB; turn++) {
        CHECK(clock_left_ms(deadline) > 0 && t.wrong == 0, "%zu and %zu bytes of 1 MiB came, %u "
              "pieces were wrong", t.out_got, t.in_got, t.wrong);
        if (turn / 100 % 3 != 0) /* the guest stands still for a while, then the client */
            MUST(guest_turn(&t));
        if (turn / 100 % 3 != 1)
            client_turn(&t, fd);
        if (turn % 50 == 0)
            poll(NULL, 0, 1);
    }
    CHECK(t.wrong == 0 && daemon_counter(d, "vm", "dropped-bytes") == 0, "%u pieces are wrong",
          t.wrong);
    close(fd);
    MUST(condev_hear(&guest, 1, VIRTIO_CONSOLE_PORT_OPEN, 0) >= 0);
    condev_close(&guest);
}

/*
 * With no reader a lossless port holds the guest's buffers back, one of them taken half. After a
 * pause nothing of it comes twice or is missing.
 */
void console_lossless_waits(struct daemon *d)
{
    static char text[MIB];
    const size_t piece = 3000, n = 14;
    const char *bytes = pattern(n * piece);
    uint32_t base;
    MUST(daemon_add(d, "console:pty,id=vm,ring=16K,port=a:lossless:socket:/proc/self/cwd/a.sock",
                    NULL));
    MUST(condev_open(&guest, d, "vm", 6));
    for (size_t i = 0; i < n; i++)
        MUST(condev_queue(&guest, AGENT_TX, bytes + i * piece, piece));
    for (int i = 0; i < 5; i++)
        CHECK(condev_take(&guest, AGENT_TX, TIMEOUT_MS) >= 0, "buffer %d was not taken", i);
    CHECK(condev_take(&guest, AGENT_TX, 100) < 0, "more was taken than the ring holds");
    CHECK(fe_ring_stop(&guest.fe, AGENT_TX, &base) == 0 && base == 5, "the ring stopped at %u",
          base);
    CHECK(fe_ring_start(&guest.fe, AGENT_TX, &guest.ring[AGENT_TX], &guest.mem, base) == 0, "%s",
          guest.fe.error);
    int fd = connect_to(d, "a.sock");
    MUST(fd >= 0 && read_until(fd, text, sizeof(text), bytes + n * piece - 30));
    CHECK(strcmp(text, bytes) == 0, "%zu bytes came after a pause, not %zu", strlen(text),
          n * piece);
    for (size_t i = 5; i < n; i++)
        CHECK(condev_take(&guest, AGENT_TX, TIMEOUT_MS) >= 0, "buffer %zu was not taken", i);
    close(fd);
    condev_close(&guest);
}

/* A client that says something and leaves at once, while the guest does not listen. */
void console_client_leaves_early(struct daemon *d)
{
    MUST(daemon_add(d, "console:socket,path=../s.sock,id=s", NULL));
    MUST(condev_open(&guest, d, "s", 2));
    for (int i = 0; i < 5; i++) {
        char line[32];
        int n = snprintf(line, sizeof(line), "line %d\n", i);
        int fd = connect_to(d, "s.sock");
        MUST(fd >= 0 && write_fd(fd, line, (size_t)n));
        close(fd);
        MUST(condev_send(&guest, TX, "noise\n", 6)); /* so that the daemon sees that it is gone */
    }
    MUST(condev_expect(&guest, RX, "line 0\nline 1\nline 2\nline 3\nline 4\n"));
    MUST(daemon_counter_becomes(d, "s", "attached", 0));
    condev_close(&guest);
}

/* What somebody said without the keyboard comes when it is their turn, also if they have left. */
void console_client_waits_for_turn(struct daemon *d)
{
    MUST(daemon_add(d, "console:socket,path=../s.sock,id=s", NULL));
    int first = connect_to(d, "s.sock"), second = connect_to(d, "s.sock");
    MUST(first >= 0 && second >= 0 && daemon_counter_becomes(d, "s", "attached", 2));
    MUST(write_fd(second, "second\n", 7));
    close(second);
    MUST(condev_open(&guest, d, "s", 2) && condev_send(&guest, TX, "noise\n", 6));
    MUST(write_fd(first, "first\n", 6) && condev_expect(&guest, RX, "first\n"));
    CHECK(daemon_counter(d, "s", "attached") == 2, "what the second one said is forgotten");
    close(first);
    MUST(condev_expect(&guest, RX, "second\n") && daemon_counter_becomes(d, "s", "attached", 0));
    condev_close(&guest);
}

/* ---- several ports --------------------------------------------------------------------------- */

void console_multiport(struct daemon *d)
{
    char text[64];
    MUST(daemon_add(d, "console:socket,path=../s.sock,id=vm,name=first,columns=100,rows=50,"
                       "port=log:socket:/proc/self/cwd/log.sock,port=two:console:pty", NULL));
    MUST(condev_open(&guest, d, "vm", 8));
    CHECK(guest.config.max_nr_ports == 3, "%u ports", guest.config.max_nr_ports);
    int log = connect_to(d, "log.sock");
    MUST(log >= 0 && write_fd(log, "early", 5)); /* the guest would throw it away now */
    MUST(condev_give(&guest, AGENT_RX, 4) && handshake(&guest, 3));
    MUST(condev_say(&guest, 0, VIRTIO_CONSOLE_PORT_READY, 1));
    MUST(condev_hear(&guest, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1) >= 0);
    CHECK(condev_hear(&guest, 0, VIRTIO_CONSOLE_PORT_NAME, -1) == 5 &&
          memcmp(guest.message + 8, "first", 5) == 0, "the first port's name is wrong");
    CHECK(condev_hear(&guest, 0, VIRTIO_CONSOLE_RESIZE, -1) == 4 && guest.message[8] == 100 &&
          guest.message[10] == 50, "the first port's size is wrong");
    MUST(condev_hear(&guest, 0, VIRTIO_CONSOLE_PORT_OPEN, 1) >= 0);
    CHECK(condev_take(&guest, AGENT_RX, 100) < 0, "input came before the port was opened");
    MUST(open_channel(&guest, 1, "log", true) && condev_expect(&guest, AGENT_RX, "early"));
    MUST(condev_say(&guest, 1, VIRTIO_CONSOLE_PORT_OPEN, 0) && write_fd(log, "more", 4));
    CHECK(condev_take(&guest, AGENT_RX, 100) < 0, "input came to a closed port");
    MUST(condev_say(&guest, 1, VIRTIO_CONSOLE_PORT_OPEN, 1) &&
         condev_expect(&guest, AGENT_RX, "more"));
    MUST(condev_send(&guest, AGENT_TX, "to the log\n", 11) &&
         read_until(log, text, sizeof(text), "to the log\n"));
    MUST(condev_say(&guest, 2, VIRTIO_CONSOLE_PORT_READY, 1) &&
         condev_hear(&guest, 2, VIRTIO_CONSOLE_CONSOLE_PORT, 1) >= 0);
    MUST(condev_say(&guest, 77, VIRTIO_CONSOLE_PORT_READY, 1)); /* no such port: no harm */
    close(log);
    condev_close(&guest);
    /* A driver that knows one port only. */
    MUST(daemon_device_becomes(d, "vm", "connected", false) && condev_open(&guest, d, "vm", 2));
    int first = connect_to(d, "s.sock");
    MUST(first >= 0 && write_fd(first, "hi", 2) && condev_expect(&guest, RX, "hi"));
    MUST(condev_send(&guest, TX, "yes\n", 4) && read_until(first, text, sizeof(text), "yes\n"));
    close(first);
    condev_close(&guest);
}

/* ---- emergency writes, sizes ----------------------------------------------------------------- */

void console_emergency(struct daemon *d)
{
    const char *says = "panic!";
    char text[64];
    struct fe fe;
    MUST(daemon_add(d, "console:pty,link=../vm.tty,id=vm", NULL));
    fe_init(&fe);
    CHECK(fe_connect(&fe, socket_of(d, "vm").s) == 0 &&
          fe_negotiate(&fe, FE_BIT(32) | FE_BIT(VHU_F_PROTOCOL_FEATURES), FE_BIT(VHU_PF_CONFIG) |
                       FE_BIT(VHU_PF_REPLY_ACK)) == 0, "%s", fe.error);
    CHECK(fe.offered & FE_BIT(VIRTIO_CONSOLE_F_EMERG_WRITE), "EMERG_WRITE is not offered");
    for (const char *p = says; *p; p++) {
        uint32_t value = (uint8_t)*p;
        CHECK(fe_set_config(&fe, 8, &value, 4) == 0, "%s", fe.error);
    }
    struct virtio_console_config whole;
    CHECK(fe_get_config(&fe, 0, &whole, sizeof(whole)) == 0 && whole.emerg_wr == 0, "%s", fe.error);
    CHECK(fe_set_config(&fe, 0, &whole, sizeof(whole)) == 0, "%s", fe.error); /* means nothing */
    int tty = open_tty(d, "vm.tty");
    MUST(tty >= 0 && read_until(tty, text, sizeof(text), says));
    CHECK(strcmp(text, says) == 0 && daemon_counter(d, "vm", "emergency-bytes") == 6, "\"%s\"",
          text);
    close(tty);
    fe_disconnect(&fe);
}

void console_resize(struct daemon *d)
{
    static struct output o;
    struct fe_msg msg;
    MUST(daemon_add(d, "console:pty,link=../vm.tty,id=vm", "console:pty,id=sw,rows-first,name=n",
                    NULL));
    MUST(condev_open(&guest, d, "vm", 2));
    CHECK(guest.config.cols == 80 && guest.config.rows == 24, "%ux%u", guest.config.cols,
          guest.config.rows);
    MUST(ctl(&o, d, "console-resize", "vm", "columns=132", "rows=43", NULL));
    CHECK(o.code == 0, "console-resize: %s", o.err);
    CHECK(fe_channel_recv(&guest.fe, &msg) == 0 && msg.header.request == VHU_BACKEND_CONFIG_CHANGE,
          "no config change: %s", guest.fe.error);
    fe_msg_close(&msg);
    MUST(condev_read_config(&guest));
    CHECK(guest.config.cols == 132 && guest.config.rows == 43, "%ux%u", guest.config.cols,
          guest.config.rows);
    struct winsize size = {0};
    int tty = open_tty(d, "vm.tty");
    CHECK(tty >= 0 && ioctl(tty, TIOCGWINSZ, &size) == 0 && size.ws_col == 132, "the pty has %u",
          size.ws_col);
    close(tty);
    MUST(ctl(&o, d, "console-resize", "vm", "port=7", "columns=1", "rows=1", NULL));
    CHECK(o.code == 1 && has_text(o.err, "no port '7'"), "%d: %s", o.code, o.err);
    MUST(ctl(&o, d, "console-resize", "vm", "columns=65536", "rows=1", NULL));
    CHECK(o.code == 1 && has_text(o.err, "65535"), "%d: %s", o.code, o.err);
    condev_close(&guest);
    MUST(condev_open(&guest, d, "sw", 4) && handshake(&guest, 1) &&
         condev_say(&guest, 0, VIRTIO_CONSOLE_PORT_READY, 1) &&
         condev_hear(&guest, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1) >= 0 &&
         condev_hear(&guest, 0, VIRTIO_CONSOLE_PORT_NAME, -1) >= 0 &&
         condev_hear(&guest, 0, VIRTIO_CONSOLE_RESIZE, -1) >= 0);
    CHECK(guest.message[8] == 24 && guest.message[10] == 80, "rows are not first");
    MUST(condev_hear(&guest, 0, VIRTIO_CONSOLE_PORT_OPEN, 1) >= 0);
    MUST(ctl(&o, d, "console-resize", "sw", "port=n", "columns=90", "rows=30", NULL));
    CHECK(condev_hear(&guest, 0, VIRTIO_CONSOLE_RESIZE, -1) == 4 && guest.message[8] == 30 &&
          guest.message[10] == 90, "the message about the new size is wrong");
    condev_close(&guest);
}

/* ---- events ---------------------------------------------------------------------------------- */

/* The next event of the console, with this name and text. */
static bool hear_event(struct client *c, const char *name, const char *part)
{
    json_t *event = client_event(c, TIMEOUT_MS);
    while (event) {
        const char *its = json_string_value(json_object_get(event, "event"));
        bool wanted = its && strncmp(its, "console.", 8) == 0;
        char *text = wanted ? json_dumps(event, JSON_COMPACT) : NULL;
        bool right = text && strcmp(its, name) == 0 && has_text(text, part);
        if (wanted && !right)
            row_fail("the event is not %s with %s: %s", name, part, text ? text : "(no memory)");
        free(text);
        json_decref(event);
        if (wanted)
            return right;
        event = client_event(c, TIMEOUT_MS);
    }
    return row_fail("there is no event %s", name);
}

static bool hear_events(struct daemon *d, struct client *c)
{
    int fd = connect_to(d, "a.sock");
    if (fd < 0 || !hear_event(c, "console.attached", "\"port\":\"a\",\"attached\":\"1\""))
        return false;
    close(fd);
    if (!hear_event(c, "console.detached", "\"port\":\"a\",\"attached\":\"0\"") ||
        !condev_open(&guest, d, "vm", 6) || !handshake(&guest, 2) ||
        !open_channel(&guest, 1, "a", true) || !hear_event(c, "console.opened", "\"port\":\"a\"") ||
        !condev_say(&guest, 1, VIRTIO_CONSOLE_PORT_OPEN, 0) ||
        !hear_event(c, "console.closed", "\"port\":\"a\""))
        return false;
    for (int i = 0; i < 2; i++) /* told once, until somebody has caught up */
        if (!condev_send_all(&guest, AGENT_TX, pattern(10000), 10000))
            return false;
    if (!hear_event(c, "console.dropped", "\"port\":\"a\""))
        return false;
    fd = connect_to(d, "a.sock");
    if (fd < 0 || !hear_event(c, "console.attached", "\"port\":\"a\",\"attached\":\"1\""))
        return false;
    close(fd);
    return hear_event(c, "console.detached", "\"port\":\"a\",\"attached\":\"0\"");
}

void console_events(struct daemon *d)
{
    struct client c = {.fd = -1};
    MUST(daemon_add(d, "console:pty,ring=4K,id=vm,port=a:socket:/proc/self/cwd/a.sock", NULL));
    CHECK(client_open(&c, d->control) == 0, "no second connection to the daemon");
    json_t *r = client_wait(&c, client_send(&c, "events.subscribe", json_object()), TIMEOUT_MS);
    if (!json_object_get(r, "result"))
        row_fail("events.subscribe is refused");
    json_decref(r);
    if (!row_failed())
        hear_events(d, &c);
    client_close(&c);
    condev_close(&guest);
}

/* ---- a bad driver ---------------------------------------------------------------------------- */

void console_bad_driver(struct daemon *d)
{
    static const struct virtio_console_control cut = {0};
    MUST(daemon_add(d, "console:pty,id=vm,name=n,link=../vm.tty", "console:socket,id=good", NULL));
    int tty = open_tty(d, "vm.tty");
    MUST(tty >= 0 && write_fd(tty, "x", 1) && condev_open(&guest, d, "vm", 4));
    MUST(condev_queue(&guest, CONDEV_CONTROL_TX, &cut, 7));
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    json_t *device = NULL;
    do {
        json_decref(device);
        device = daemon_device(d, "vm");
        CHECK(clock_left_ms(deadline) > 0, "a short control message is taken");
    } while (!json_is_string(json_object_get(device, "broken")));
    json_decref(device);
    condev_close(&guest);
    MUST(condev_open(&guest, d, "vm", 2)); /* a new start, and the input is still there */
    MUST(condev_expect(&guest, RX, "x"));
    condev_close(&guest);
    MUST(condev_open(&guest, d, "good", 2) && condev_send(&guest, TX, "fine\n", 5));
    condev_close(&guest);
    close(tty);
}
