/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * inputio.c - makes an input device and types on it, and looks at what comes out of one. Linked
 * statically it runs in guests.
 *
 * What is typed are packets with numbers. Each has MSC_SCAN with its number, one key and
 * SYN_REPORT; the number says which key, and even ones press it. So whoever reads can tell that a
 * packet is missing, came twice or came out of order. A device without MSC_SCAN loses that event,
 * which is all right.
 */
#define _GNU_SOURCE

#include "io.h"

#include <fcntl.h>
#include <linux/uinput.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define KEYS 248u       /* codes from 1 on */
#define PACKET 3u       /* events */
#define PACKETS_MAX 64u /* written at once */
#define WAIT_MS 180000  /* for what has to come, on a machine that is busy with other things */

static const char usage[] =
    "usage: inputio make NAME           a keyboard; types what stdin says, a line each:\n"
    "                                   type FROM COUNT | key CODE VALUE | quit\n"
    "                                   says what was done, and what LEDs are set to\n"
    "       inputio type FILE FROM COUNT\n"
    "                                   into a FIFO\n"
    "       inputio check DEVICE FROM COUNT EACH\n"
    "                                   reads these packets, and says so after each EACH of them\n"
    "       inputio keys DEVICE [CODE]...  until these keys are down and no other\n"
    "       inputio led DEVICE CODE VALUE\n"
    "DEVICE is a path or a name\n";

static unsigned number(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (end == text || *end || n > 1000000)
        fail("'%s' is no number", text);
    return (unsigned)n;
}

/* ---- Packets --------------------------------------------------------------------------------- */

static struct input_event event(unsigned type, unsigned code, unsigned value)
{
    return (struct input_event){
        .type = (uint16_t)type, .code = (uint16_t)code, .value = (int32_t)value};
}

static struct input_event key_of(unsigned packet)
{
    return event(EV_KEY, packet / 2 % KEYS + 1, packet % 2 == 0);
}

static void write_events(int fd, const struct input_event *events, size_t n)
{
    ssize_t size = (ssize_t)(n * sizeof(*events));
    if (write(fd, events, (size_t)size) != size)
        fail("cannot write %zu events: %s", n, strerror(errno));
}

static void type_packets(int fd, unsigned from, unsigned count)
{
    struct input_event events[PACKETS_MAX * PACKET];
    if (count > PACKETS_MAX)
        fail("%u packets at once: %u is the limit", count, PACKETS_MAX);
    for (unsigned i = 0; i < count; i++) {
        events[i * PACKET] = event(EV_MSC, MSC_SCAN, from + i);
        events[i * PACKET + 1] = key_of(from + i);
        events[i * PACKET + 2] = event(EV_SYN, SYN_REPORT, 0);
    }
    write_events(fd, events, count * PACKET);
}

/* ---- A keyboard ------------------------------------------------------------------------------ */

static void allow(int fd, unsigned long request, unsigned bit)
{
    if (ioctl(fd, request, bit) < 0)
        fail("the keyboard cannot have %u: %s", bit, strerror(errno));
}

/* Prints what it is called in /sys/devices/virtual/input. */
static int make_keyboard(const char *name)
{
    struct uinput_setup setup = {.id = {BUS_USB, 0x1234, 0x5678, 2}};
    char directory[64];
    int fd = open("/dev/uinput", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        fail("/dev/uinput: %s", strerror(errno));
    snprintf(setup.name, sizeof(setup.name), "%s", name);
    allow(fd, UI_SET_EVBIT, EV_KEY);
    allow(fd, UI_SET_EVBIT, EV_MSC);
    allow(fd, UI_SET_EVBIT, EV_LED);
    allow(fd, UI_SET_MSCBIT, MSC_SCAN);
    for (unsigned key = 1; key <= KEYS; key++)
        allow(fd, UI_SET_KEYBIT, key);
    for (unsigned led = LED_NUML; led <= LED_SCROLLL; led++)
        allow(fd, UI_SET_LEDBIT, led);
    if (ioctl(fd, UI_DEV_SETUP, &setup) < 0 || ioctl(fd, UI_DEV_CREATE) < 0 ||
        ioctl(fd, UI_GET_SYSNAME(sizeof(directory)), directory) < 0)
        fail("no keyboard: %s", strerror(errno));
    printf("inputio: made %s\n", directory);
    return fd;
}

static void obey(int fd, const char *line)
{
    unsigned a, b;
    if (sscanf(line, "type %u %u", &a, &b) == 2) {
        type_packets(fd, a, b);
    } else if (sscanf(line, "key %u %u", &a, &b) == 2) {
        struct input_event events[] = {event(EV_KEY, a, b), event(EV_SYN, SYN_REPORT, 0)};
        write_events(fd, events, 2);
    } else {
        fail("what is '%s'", line);
    }
    printf("inputio: did %s", line);
}

/* What is set on the keyboard. */
static void print_set(int fd)
{
    struct input_event e;
    if (read(fd, &e, sizeof(e)) == sizeof(e) && e.type == EV_LED)
        printf("inputio: LED %u is %d\n", e.code, e.value);
}

static int make(const char *name)
{
    char line[64];
    int fd = make_keyboard(name);
    struct pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {fd, POLLIN, 0}};
    setvbuf(stdin, NULL, _IONBF, 0); /* a line that was read ahead is not seen by poll() */
    while (poll(fds, 2, -1) > 0) {
        if (fds[1].revents)
            print_set(fd);
        if (fds[0].revents && (!fgets(line, sizeof(line), stdin) || strcmp(line, "quit\n") == 0))
            break;
        if (fds[0].revents)
            obey(fd, line);
    }
    close(fd);
    printf("inputio: the keyboard has gone\n");
    return 0;
}

/* ---- What comes out of a device -------------------------------------------------------------- */

static int open_device(const char *name)
{
    char path[300], found[256];
    if (name[0] == '/') {
        int fd = open(name, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            fail("%s: %s", name, strerror(errno));
        return fd;
    }
    for (unsigned i = 0; i < 32; i++) {
        snprintf(path, sizeof(path), "/dev/input/event%u", i);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        memset(found, 0, sizeof(found));
        if (fd >= 0 && ioctl(fd, EVIOCGNAME(sizeof(found) - 1), found) >= 0 &&
            strcmp(found, name) == 0)
            return fd;
        if (fd >= 0)
            close(fd);
    }
    fail("no /dev/input/event* has the name '%s'", name);
}

static bool has_scan(int fd)
{
    uint8_t bits[MSC_CNT / 8 + 1] = {0};
    if (ioctl(fd, EVIOCGBIT(EV_MSC, sizeof(bits)), bits) < 0)
        return false;
    return bits[MSC_SCAN / 8] >> MSC_SCAN % 8 & 1;
}

/* The next event, sooner or later. */
static struct input_event next_event(int fd, unsigned packet)
{
    struct input_event e;
    struct pollfd p = {fd, POLLIN, 0};
    if (poll(&p, 1, WAIT_MS) != 1)
        fail("packet %u does not come", packet);
    if (read(fd, &e, sizeof(e)) != sizeof(e))
        fail("packet %u cannot be read: %s", packet, strerror(errno));
    return e;
}

/*
 * Reads a packet. Returns how many events it has without its end. LEDs do not count: the console of
 * the kernel we run on sets them when it sees Caps Lock, of which all readers hear.
 */
static unsigned read_packet(int fd, unsigned packet, struct input_event *events, unsigned max)
{
    unsigned n = 0;
    for (;;) {
        struct input_event e = next_event(fd, packet);
        if (e.type == EV_SYN && e.code == SYN_REPORT && n > 0)
            return n;
        if (e.type == EV_LED || (e.type == EV_SYN && e.code == SYN_REPORT))
            continue;
        if (n == max)
            fail("packet %u has more than %u events", packet, max);
        events[n++] = e;
    }
}

static bool same(struct input_event a, struct input_event b)
{
    return a.type == b.type && a.code == b.code && a.value == b.value;
}

static void check_packet(int fd, unsigned packet, bool scan)
{
    struct input_event e[PACKET - 1];
    unsigned n = read_packet(fd, packet, e, PACKET - 1);
    struct input_event key = e[n - 1];
    if (n != (scan ? 2 : 1))
        fail("packet %u has %u events", packet, n);
    if (scan && !same(e[0], event(EV_MSC, MSC_SCAN, packet)))
        fail("packet %u says that it is %d", packet, e[0].value);
    if (!same(key, key_of(packet)))
        fail("packet %u has key %u, value %d", packet, key.code, key.value);
}

static int check(int fd, unsigned from, unsigned count, unsigned each)
{
    bool scan = has_scan(fd);
    printf("inputio: reading\n");
    for (unsigned i = from; i < from + count; i++) {
        check_packet(fd, i, scan);
        if ((i - from) % each == each - 1)
            printf("inputio: read up to %u\n", i);
    }
    return 0;
}

/* Waits for events between looks at which keys are down. */
static int keys(int fd, char **codes, int n)
{
    uint8_t wanted[KEY_CNT / 8] = {0}, down[KEY_CNT / 8];
    struct pollfd p = {fd, POLLIN, 0};
    for (int i = 0; i < n; i++) {
        unsigned code = number(codes[i]);
        if (code >= KEY_CNT)
            fail("%u is no key", code);
        wanted[code / 8] = (uint8_t)(wanted[code / 8] | 1u << code % 8);
    }
    for (;;) {
        struct input_event e[64];
        if (ioctl(fd, EVIOCGKEY(sizeof(down)), down) < 0)
            fail("no keys: %s", strerror(errno));
        if (memcmp(down, wanted, sizeof(down)) == 0)
            return 0;
        if (poll(&p, 1, WAIT_MS) != 1 || read(fd, e, sizeof(e)) <= 0)
            break;
    }
    for (unsigned key = 0; key < KEY_CNT; key++)
        if (down[key / 8] >> key % 8 & 1)
            printf("inputio: key %u is down\n", key);
    fail("these are not the keys that are to be down");
}

static int set_led(int fd, unsigned code, unsigned value)
{
    struct input_event events[] = {event(EV_LED, code, value), event(EV_SYN, SYN_REPORT, 0)};
    write_events(fd, events, 2);
    return 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 2 ? argv[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(verb, "make") == 0 && argc == 3)
        return make(argv[2]);
    if (strcmp(verb, "check") == 0 && argc == 6)
        return check(open_device(argv[2]), number(argv[3]), number(argv[4]), number(argv[5]));
    if (strcmp(verb, "keys") == 0)
        return keys(open_device(argv[2]), argv + 3, argc - 3);
    if (strcmp(verb, "led") == 0 && argc == 5)
        return set_led(open_device(argv[2]), number(argv[3]), number(argv[4]));
    if (strcmp(verb, "type") == 0 && argc == 5) {
        int fd = open(argv[2], O_WRONLY | O_CLOEXEC);
        if (fd < 0)
            fail("%s: %s", argv[2], strerror(errno));
        type_packets(fd, number(argv[3]), number(argv[4]));
        return 0;
    }
    fputs(usage, stderr);
    return 2;
}
