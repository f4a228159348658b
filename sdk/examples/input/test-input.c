/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-input.c - the test of input.c, linked with it, on the harness: see hvv_harness(3). It has
 * both ends of a FIFO or socket in place of an event device. What only an event device has is
 * tested with a pseudo-terminal, a character device at least, and an ioctl() of our own.
 */
#include <hvv/harness.h>
#include <endian.h>
#include <fcntl.h>
#include <linux/input.h>
#include <linux/virtio_input.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#define EVENTS 0
#define STATUS 1

static int checks;
static char dir[] = "/tmp/test-input-XXXXXX", fifo[64], address[64];

static void remove_all(void)
{
    unlink(fifo);
    unlink(address);
    rmdir(dir);
}

static void check(bool ok, const char *what)
{
    printf("%sok %d - %s\n", ok ? "" : "not ", ++checks, what);
    if (!ok)
        exit(1);
}

static void begin(struct hvv_harness *h, const char *path, const char *more)
{
    char options[128];
    snprintf(options, sizeof(options), "%s%s", path, more);
    int32_t rc = hvv_harness_open(h, hvv_plugin_v1(), options);
    check(rc == 0, rc == 0 ? "the device can be made" : h->error);
    hvv_harness_start(h);
}

static void end(struct hvv_harness *h)
{
    bool kept = hvv_harness_close(h);
    check(kept, kept ? "all rules were kept" : h->violation);
}

static void put(int fd, uint16_t type, uint16_t code, int32_t value)
{
    struct input_event e = {.type = type, .code = code, .value = value};
    check(write(fd, &e, sizeof(e)) == sizeof(e), "an event happens");
}

/* A key and the end of its packet. */
static void put_key(int fd, uint16_t code, int32_t value)
{
    put(fd, EV_KEY, code, value);
    put(fd, EV_SYN, SYN_REPORT, 0);
}

/* `n` buffers for events, in the guest's memory. */
struct buffers {
    struct virtio_input_event events[16];
    struct hvv_harness_chain *chains[16];
};

static void offer(struct hvv_harness *h, struct buffers *b, unsigned from, unsigned n)
{
    for (unsigned i = from; i < from + n; i++) {
        struct iovec w = {&b->events[i], sizeof(b->events[i])};
        b->chains[i] = hvv_harness_send(h, EVENTS, NULL, 0, &w, 1);
    }
    hvv_harness_kick(h, EVENTS);
}

static void check_event(struct hvv_harness *h, struct buffers *b, unsigned i, uint16_t type,
                        uint16_t code, uint32_t value, const char *what)
{
    const struct virtio_input_event *e = &b->events[i];
    check(hvv_harness_wait(h, b->chains[i]) && b->chains[i]->written == sizeof(*e) &&
              le16toh(e->type) == type && le16toh(e->code) == code && le32toh(e->value) == value,
          what);
}

/* ---- Config space ---------------------------------------------------------------------------- */

static struct virtio_input_config choose(struct hvv_harness *h, uint8_t select, uint8_t subsel)
{
    struct virtio_input_config c;
    uint8_t selectors[2] = {select, subsel};
    hvv_harness_config_write(h, 0, selectors, sizeof(selectors));
    memcpy(&c, h->config, sizeof(c));
    check(c.select == select && c.subsel == subsel, "a selection can be read back");
    return c;
}

static void test_keyboard(void)
{
    struct hvv_harness h;
    begin(&h, fifo, "");
    check(h.n_queues == 2 && h.config_size == sizeof(struct virtio_input_config),
          "the device has two queues and its config space");
    struct virtio_input_config c = choose(&h, VIRTIO_INPUT_CFG_ID_NAME, 0);
    check(c.size == 21 && memcmp(c.u.string, "hvisor-vhost keyboard", 21) == 0, "it has a name");
    c = choose(&h, VIRTIO_INPUT_CFG_ID_SERIAL, 0);
    check(c.size == 0, "but no serial number");
    c = choose(&h, VIRTIO_INPUT_CFG_ID_DEVIDS, 0);
    check(c.size == 8 && le16toh(c.u.ids.bustype) == BUS_VIRTUAL, "it has IDs");
    c = choose(&h, VIRTIO_INPUT_CFG_EV_BITS, EV_KEY);
    check(c.size == 32 && c.u.bitmap[0] == 0xfe && c.u.bitmap[31] == 1, "it has keys 1 to 248");
    c = choose(&h, VIRTIO_INPUT_CFG_EV_BITS, EV_LED);
    check(c.size == 1 && c.u.bitmap[0] == 7, "it has LEDs");
    c = choose(&h, VIRTIO_INPUT_CFG_EV_BITS, EV_ABS);
    check(c.size == 0 && c.u.bitmap[0] == 0, "but no axes");
    static const uint8_t nothing[][2] = {{0, 0}, {0x11, 0xff}, {0x12, 0}, {0x12, 0xff}, {0x13, 0},
                                         {1, 1}, {0xff, 0xff}};
    for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++)
        check(choose(&h, nothing[i][0], nothing[i][1]).size == 0, "what is not there has no size");
    memset(&c, 0xff, sizeof(c)); /* a front-end may write all of it */
    c.select = VIRTIO_INPUT_CFG_ID_NAME;
    c.subsel = 0;
    hvv_harness_config_write(&h, 0, &c, sizeof(c));
    check(h.config[2] == 21, "what is beside the selectors cannot be written");
    end(&h);
}

static void test_tablet(void)
{
    struct hvv_harness h;
    char name[64];
    begin(&h, fifo, ",kind=tablet");
    struct virtio_input_config c = choose(&h, VIRTIO_INPUT_CFG_ABS_INFO, ABS_Y);
    check(c.size == 20 && le32toh(c.u.abs.max) == 32767, "an axis has its range");
    check(choose(&h, VIRTIO_INPUT_CFG_ABS_INFO, ABS_Z).size == 0, "one that is not there has none");
    check(hvv_harness_described(&h, "name", name, sizeof(name)) &&
              strcmp(name, "hvisor-vhost tablet") == 0, "the operator sees the name");
    end(&h);
}

/* ---- Events ---------------------------------------------------------------------------------- */

static void test_events(void)
{
    struct hvv_harness h;
    struct buffers b;
    struct input_event cut = {.type = EV_KEY, .code = KEY_A, .value = 0};
    int fd = open(fifo, O_RDWR | O_CLOEXEC);
    put_key(fd, KEY_B, 1);
    put_key(fd, KEY_B, 0);
    begin(&h, fifo, "");
    offer(&h, &b, 0, 8);
    check(hvv_harness_settle(&h) && !hvv_harness_done(&h, b.chains[0]),
          "what happened before is not sent");
    put(fd, EV_KEY, KEY_A, 1);
    check(hvv_harness_settle(&h) && !hvv_harness_done(&h, b.chains[0]), "half a packet waits");
    put(fd, EV_SYN, SYN_REPORT, 0);
    check_event(&h, &b, 0, EV_KEY, KEY_A, 1, "an event comes");
    check_event(&h, &b, 1, EV_SYN, SYN_REPORT, 0, "and the end of its packet");
    check(write(fd, &cut, 5) == 5 && hvv_harness_settle(&h), "an event in two pieces");
    check(write(fd, (char *)&cut + 5, sizeof(cut) - 5) == sizeof(cut) - 5, "is one event");
    put(fd, EV_SYN, SYN_REPORT, 0);
    check_event(&h, &b, 2, EV_KEY, KEY_A, 0, "and comes as one");
    put(fd, EV_REL, REL_X, -3);
    put(fd, EV_SYN, SYN_REPORT, 0);
    check_event(&h, &b, 4, EV_REL, REL_X, (uint32_t)-3, "values have a sign");
    check(hvv_harness_counter(&h, "events") == 6 && hvv_harness_counter(&h, "packets") == 3,
          "events and packets are counted");
    check(h.in_flight == 0, "no buffer is kept without need");
    end(&h);
    close(fd);
}

static void test_no_buffers(void)
{
    struct hvv_harness h;
    struct buffers b;
    int fd = open(fifo, O_RDWR | O_CLOEXEC);
    begin(&h, fifo, "");
    offer(&h, &b, 0, 3);
    put_key(fd, KEY_A, 1);
    check_event(&h, &b, 1, EV_SYN, SYN_REPORT, 0, "a packet that fits is sent");
    put_key(fd, KEY_A, 0);
    check(hvv_harness_wait_counter(&h, "dropped", 1), "one that does not is dropped");
    check(!hvv_harness_done(&h, b.chains[2]), "as a whole");
    check(h.in_flight == 1 && hvv_harness_move_memory(&h), "its one buffer can move");
    offer(&h, &b, 3, 3);
    check_event(&h, &b, 2, EV_KEY, KEY_A, 0, "but the key does not stay down");
    check_event(&h, &b, 3, EV_SYN, SYN_REPORT, 0, "in a packet of its own");
    put_key(fd, KEY_C, 1);
    check_event(&h, &b, 4, EV_KEY, KEY_C, 1, "then all goes on");
    check(hvv_harness_counter(&h, "dropped") == 1, "with nothing lost");
    offer(&h, &b, 6, 3);
    put(fd, EV_REL, REL_X, 1);
    put(fd, EV_REL, REL_Y, 2);
    put(fd, EV_REL, REL_WHEEL, 3);
    put(fd, EV_SYN, SYN_REPORT, 0);
    check(hvv_harness_wait_counter(&h, "dropped", 2) && h.in_flight == 3, "three are too few");
    put_key(fd, KEY_D, 1);
    check_event(&h, &b, 7, EV_SYN, SYN_REPORT, 0, "for that packet, not for the next");
    check(h.in_flight == 1, "one is left");
    offer(&h, &b, 9, 1);
    put_key(fd, KEY_D, 0);
    check_event(&h, &b, 8, EV_KEY, KEY_D, 0, "and used");
    offer(&h, &b, 10, 2);
    put(fd, EV_REL, REL_X, 1);
    put(fd, EV_REL, REL_Y, 2);
    put(fd, EV_SYN, SYN_REPORT, 0);
    check(hvv_harness_wait_counter(&h, "dropped", 3) && h.in_flight == 2, "two are kept");
    check(hvv_harness_counter(&h, "packets") == 5, "and nothing was said twice");
    end(&h);
    close(fd);
}

/* A source that is broken or hostile: no end of a packet, codes that are none. */
static void test_bad_source(void)
{
    struct hvv_harness h;
    struct buffers b;
    int fd = open(fifo, O_RDWR | O_CLOEXEC);
    begin(&h, fifo, "");
    offer(&h, &b, 0, 4);
    for (int i = 0; i < 300; i++)
        put(fd, EV_KEY, 0xffff, 1);
    put(fd, EV_SYN, SYN_REPORT, 0);
    check(hvv_harness_wait_counter(&h, "dropped", 1), "a packet without end is dropped");
    put(fd, EV_SYN, SYN_DROPPED, 0);
    put_key(fd, KEY_A, 1);
    check(hvv_harness_wait_counter(&h, "dropped", 2), "so is one that the source cut");
    check_event(&h, &b, 0, EV_KEY, KEY_A, 1, "its key is told at once");
    put_key(fd, KEY_B, 1);
    check_event(&h, &b, 2, EV_KEY, KEY_B, 1, "then all goes on");
    end(&h);
    close(fd);
}

static void test_pause(void)
{
    struct hvv_harness h;
    struct buffers b;
    int fd = open(fifo, O_RDWR | O_CLOEXEC);
    begin(&h, fifo, "");
    offer(&h, &b, 0, 8);
    put_key(fd, KEY_A, 1);
    check_event(&h, &b, 0, EV_KEY, KEY_A, 1, "a key is pressed");
    check(hvv_harness_stop(&h), "the guest is paused");
    put_key(fd, KEY_A, 0);
    put_key(fd, KEY_B, 1);
    put_key(fd, KEY_B, 0);
    hvv_harness_start(&h);
    check_event(&h, &b, 2, EV_KEY, KEY_A, 0, "when it goes on the key is up");
    check_event(&h, &b, 3, EV_SYN, SYN_REPORT, 0, "and that is all");
    check(hvv_harness_settle(&h) && !hvv_harness_done(&h, b.chains[4]), "that it hears of");
    end(&h);
    close(fd);
}

static void test_reset(void)
{
    struct hvv_harness h;
    struct buffers b;
    int fd = open(fifo, O_RDWR | O_CLOEXEC);
    begin(&h, fifo, "");
    offer(&h, &b, 0, 2);
    put_key(fd, KEY_A, 1);
    check_event(&h, &b, 0, EV_KEY, KEY_A, 1, "a key is pressed");
    choose(&h, VIRTIO_INPUT_CFG_ID_NAME, 0);
    check(hvv_harness_reset(&h), "the driver resets the device");
    check(h.config[0] == 0, "which selects nothing then");
    hvv_harness_start(&h);
    offer(&h, &b, 2, 4);
    check_event(&h, &b, 2, EV_KEY, KEY_A, 1, "the next driver hears of the key that is down");
    put_key(fd, KEY_A, 0);
    check_event(&h, &b, 4, EV_KEY, KEY_A, 0, "and when it is up");
    end(&h);
    close(fd);
}

/* ---- An event device ------------------------------------------------------------------------- */

static uint8_t keys_down[KEY_CNT / 8]; /* what the event device says */

/* In place of the C library's: an event device with a name that is too long, keys and one LED. */
int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    void *data = va_arg(args, void *);
    va_end(args);
    size_t size = _IOC_SIZE(request);
    if (_IOC_TYPE(request) != 'E' || !isatty(fd))
        return (int)syscall(SYS_ioctl, fd, request, data);
    if (request == EVIOCGRAB)
        return 0;
    memset(data, 0, size);
    if (request == EVIOCGNAME(size))
        memset(data, 'n', size);
    else if (request == EVIOCGKEY(size))
        memcpy(data, keys_down, size);
    else if (request == EVIOCGBIT(EV_KEY, size))
        memset(data, 0xff, size);
    else if (request == EVIOCGBIT(EV_LED, size))
        *(uint8_t *)data = 1u << LED_CAPSL;
    return 0;
}

/* Returns the other end. */
static int make_event_device(char *path, size_t size)
{
    struct termios raw;
    int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    check(fd >= 0 && unlockpt(fd) == 0 && ptsname_r(fd, path, size) == 0, "a pseudo-terminal");
    check(tcgetattr(fd, &raw) == 0, "has settings");
    cfmakeraw(&raw);
    check(tcsetattr(fd, TCSANOW, &raw) == 0, "passes all bytes on");
    return fd;
}

static void test_event_device(void)
{
    static const struct input_event burst[] = {{.type = EV_SYN, .code = SYN_DROPPED},
                                               {.type = EV_SYN, .code = SYN_REPORT},
                                               {.type = EV_KEY, .code = KEY_A},
                                               {.type = EV_SYN, .code = SYN_REPORT}};
    struct hvv_harness h;
    struct buffers b;
    char path[64], name[160];
    int fd = make_event_device(path, sizeof(path));
    keys_down[KEY_A / 8] = 1u << KEY_A % 8;
    begin(&h, path, "");
    check(hvv_harness_described(&h, "name", name, sizeof(name)) && strspn(name, "n") == 127 &&
              strlen(name) == 127, "a name ends somewhere");
    check(choose(&h, VIRTIO_INPUT_CFG_ID_NAME, 0).size == 127, "for the guest, too");
    check(choose(&h, VIRTIO_INPUT_CFG_EV_BITS, EV_LED).size == 1, "it has the device's LED");
    offer(&h, &b, 0, 8);
    check_event(&h, &b, 0, EV_KEY, KEY_A, 1, "a key that is down from before is told");
    check(write(fd, burst, sizeof(burst)) == sizeof(burst), "events are lost, the key is up,");
    check_event(&h, &b, 2, EV_KEY, KEY_A, 0, "which is told,");
    check_event(&h, &b, 4, EV_KEY, KEY_A, 1, "and down in the end, as the device says");
    close(fd);
    check_event(&h, &b, 6, EV_KEY, KEY_A, 0, "no key is down when the device has gone");
    check(hvv_harness_events(&h, "gone") == 1 && hvv_harness_rests(&h), "which is said");
    end(&h);
}

/* ---- Status ---------------------------------------------------------------------------------- */

static int listen_at(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(at.sun_path, address, sizeof(address));
    check(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 1) == 0, "a socket");
    return fd;
}

static int64_t set_status(struct hvv_harness *h, uint16_t type, uint16_t code, uint32_t value)
{
    struct virtio_input_event e = {htole16(type), htole16(code), htole32(value)};
    return hvv_harness_request(h, STATUS, &e, sizeof(e), NULL, 0);
}

static void test_status(void)
{
    struct hvv_harness h;
    struct buffers b;
    struct input_event e;
    int listener = listen_at();
    begin(&h, address, "");
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    check(set_status(&h, EV_LED, LED_CAPSL, 1) == 0, "the guest sets an LED");
    check(read(fd, &e, sizeof(e)) == sizeof(e) && e.type == EV_LED && e.code == LED_CAPSL &&
              e.value == 1, "which reaches the source");
    check(recv(fd, &e, sizeof(e), MSG_DONTWAIT) == sizeof(e) && e.type == EV_SYN &&
              e.code == SYN_REPORT, "as a packet");
    check(set_status(&h, EV_LED, LED_MAIL, 1) == 0 && set_status(&h, EV_KEY, KEY_A, 1) == 0 &&
              set_status(&h, 0xffff, 0xffff, 1) == 0, "others come back");
    check(hvv_harness_counter(&h, "status") == 1 &&
              recv(fd, &e, sizeof(e), MSG_DONTWAIT) < 0, "and go nowhere");
    offer(&h, &b, 0, 4);
    put(fd, EV_LED, LED_CAPSL, 1);
    put(fd, EV_SYN, SYN_REPORT, 0);
    put(fd, EV_LED, LED_CAPSL, 0);
    put_key(fd, KEY_A, 1);
    check_event(&h, &b, 0, EV_KEY, KEY_A, 1, "what the guest has set is not told to it");
    check(hvv_harness_counter(&h, "packets") == 1 && hvv_harness_counter(&h, "events") == 2,
          "nor is a packet that has nothing else");
    end(&h);
    close(fd);
    close(listener);
    unlink(address);
}

static void test_gone(void)
{
    struct hvv_harness h;
    struct buffers b;
    int listener = listen_at();
    begin(&h, address, "");
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    offer(&h, &b, 0, 4);
    put_key(fd, KEY_A, 1);
    put(fd, EV_KEY, KEY_B, 1);
    check_event(&h, &b, 0, EV_KEY, KEY_A, 1, "a key is pressed, another one half");
    close(fd);
    check_event(&h, &b, 2, EV_KEY, KEY_A, 0, "it does not stay down when the source goes");
    check_event(&h, &b, 3, EV_SYN, SYN_REPORT, 0, "and nobody hears of the other");
    check(hvv_harness_events(&h, "gone") == 1 &&
              hvv_harness_logged(&h, "no more events come from"), "which is said");
    check(set_status(&h, EV_LED, LED_CAPSL, 0) == 0, "the guest does not notice");
    check(hvv_harness_rests(&h), "nothing goes on about it");
    check(hvv_harness_reset(&h), "the driver can reset the device");
    hvv_harness_start(&h);
    check(hvv_harness_settle(&h) && hvv_harness_events(&h, "gone") == 1, "it is said once");
    check(hvv_harness_rests(&h), "and rests");
    end(&h);
    close(listener);
    unlink(address);
}

/* ---- Refusals -------------------------------------------------------------------------------- */

static void refused(const char *options, int32_t error, const char *text)
{
    struct hvv_harness h;
    check(hvv_harness_open(&h, hvv_plugin_v1(), options) == error, text);
    check(strstr(h.error, text) != NULL, h.error);
}

static void test_refusals(void)
{
    struct hvv_harness h;
    struct iovec w = {&h, 7};
    char why[HVV_HARNESS_TEXT] = "", gone[80];
    int fd = open(fifo, O_RDWR | O_CLOEXEC);
    refused("/dev/null", -ENODEV, "no event device");
    refused(dir, -EINVAL, "no event device, FIFO or socket");
    snprintf(gone, sizeof(gone), "%s/no", dir);
    refused(gone, -ENOENT, "cannot be opened");
    begin(&h, fifo, "");
    check(hvv_harness_request(&h, STATUS, "1234567", 7, NULL, 0) == -EPROTO, "half a status");
    check(hvv_harness_reset(&h), "which a reset ends");
    hvv_harness_start(&h);
    struct hvv_harness_chain *chain = hvv_harness_send(&h, EVENTS, NULL, 0, &w, 1);
    struct hvv_harness_chain *other = hvv_harness_send(&h, EVENTS, NULL, 0, &w, 1);
    put_key(fd, KEY_A, 1);
    check(hvv_harness_wait(&h, chain) && strstr(chain->failed, "7 bytes") &&
              hvv_harness_wait(&h, other), "a buffer too small for an event");
    end(&h);
    close(fd);
    bool swept = hvv_harness_sweep(hvv_plugin_v1(), fifo, why, sizeof(why)) > 0;
    check(swept, swept ? "every service may fail" : why);
}

int main(void)
{
    check(mkdtemp(dir) != NULL, "a directory");
    snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
    snprintf(address, sizeof(address), "%s/socket", dir);
    atexit(remove_all);
    check(mkfifo(fifo, 0600) == 0, "a FIFO");
    test_keyboard();
    test_tablet();
    test_events();
    test_no_buffers();
    test_bad_source();
    test_pause();
    test_reset();
    test_status();
    test_gone();
    test_event_device();
    test_refusals();
    printf("1..%d\n", checks);
    return 0;
}
