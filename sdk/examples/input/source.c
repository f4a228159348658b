/* SPDX-License-Identifier: BSD-3-Clause */
/* source.c - see source.h. */
#include "source.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FAKE_ABS_MAX 32767

static void set_bit(uint8_t *bits, unsigned n)
{
    bits[n / 8] = (uint8_t)(bits[n / 8] | 1u << n % 8);
}

static int32_t refuse(struct hvv_device *dev, int err, const char *what)
{
    return hvv_error_option(dev, err, "path", "%s %s: %s", hvv_option_string(dev, "path"), what,
                            strerror(err));
}

/* ---- an event device ------------------------------------------------------------------------- */

/* Those that may be absent stay empty. A text that is cut has no 0 at its end, so one is kept. */
static void ask_evdev(struct source *s)
{
    static const uint8_t types[] = {EV_KEY, EV_REL, EV_ABS, EV_MSC, EV_SW, EV_LED, EV_SND};
    /* Not EV_REP: the host repeats keys already, the guest is not to do it once more. */
    if (ioctl(s->fd, EVIOCGNAME(sizeof(s->name) - 1), s->name) < 0)
        s->name[0] = '\0';
    if (ioctl(s->fd, EVIOCGUNIQ(sizeof(s->serial) - 1), s->serial) < 0)
        s->serial[0] = '\0';
    if (ioctl(s->fd, EVIOCGPROP(sizeof(s->props)), s->props) < 0)
        memset(s->props, 0, sizeof(s->props));
    for (size_t i = 0; i < sizeof(types); i++)
        if (ioctl(s->fd, EVIOCGBIT(types[i], sizeof(s->bits[0])), s->bits[types[i]]) < 0)
            memset(s->bits[types[i]], 0, sizeof(s->bits[0]));
    for (uint16_t code = 0; code < ABS_CNT; code++)
        if (source_has(s, EV_ABS, code) && ioctl(s->fd, EVIOCGABS(code), &s->abs[code]) < 0)
            memset(&s->abs[code], 0, sizeof(s->abs[code]));
}

static int32_t open_evdev(struct source *s, struct hvv_device *dev, const char *path)
{
    s->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    s->has_leds = s->fd >= 0;
    if (s->fd < 0 && (errno == EACCES || errno == EROFS))
        s->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (s->fd < 0)
        return refuse(dev, errno, "cannot be opened");
    s->is_evdev = true;
    if (ioctl(s->fd, EVIOCGID, &s->id) < 0)
        return hvv_error_option(dev, ENODEV, "path", "%s is a device, but no event device: give "
                                "one of /dev/input/event*", path);
    ask_evdev(s);
    if (hvv_option_u64(dev, "grab") && ioctl(s->fd, EVIOCGRAB, 1) < 0)
        return refuse(dev, errno, "is taken by somebody else; give grab=off to share it");
    return 0;
}

/* ---- in its place ---------------------------------------------------------------------------- */

/* What a FIFO or socket is for the guest, as it cannot be asked. */
static void make_up(struct source *s, const char *kind)
{
    snprintf(s->name, sizeof(s->name), "hvisor-vhost %s", kind);
    s->id = (struct input_id){.bustype = BUS_VIRTUAL, .version = 1};
    if (strcmp(kind, "keyboard") == 0) {
        for (unsigned key = KEY_ESC; key <= KEY_MICMUTE; key++)
            set_bit(s->bits[EV_KEY], key);
        for (unsigned led = LED_NUML; led <= LED_SCROLLL; led++)
            set_bit(s->bits[EV_LED], led);
        return;
    }
    for (unsigned button = BTN_LEFT; button <= BTN_MIDDLE; button++)
        set_bit(s->bits[EV_KEY], button);
    set_bit(s->bits[EV_REL], REL_WHEEL);
    if (strcmp(kind, "mouse") == 0) {
        set_bit(s->bits[EV_REL], REL_X);
        set_bit(s->bits[EV_REL], REL_Y);
        return;
    }
    set_bit(s->bits[EV_ABS], ABS_X);
    set_bit(s->bits[EV_ABS], ABS_Y);
    s->abs[ABS_X].maximum = s->abs[ABS_Y].maximum = FAKE_ABS_MAX;
}

/* Opened for writing too, so that it does not end when a writer goes. */
static int32_t open_fifo(struct source *s, struct hvv_device *dev, const char *path)
{
    s->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    return s->fd < 0 ? refuse(dev, errno, "cannot be opened") : 0;
}

static int32_t connect_socket(struct source *s, struct hvv_device *dev, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(at.sun_path))
        return hvv_error_option(dev, ENAMETOOLONG, "path", "%s: the path of a socket has at most "
                                "%zu bytes", path, sizeof(at.sun_path) - 1);
    memcpy(at.sun_path, path, strlen(path) + 1);
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || connect(s->fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
        return refuse(dev, errno, "cannot be connected to");
    s->has_leds = true;
    return 0;
}

static int32_t open_path(struct source *s, struct hvv_device *dev)
{
    const char *path = hvv_option_string(dev, "path");
    struct stat st;
    int32_t rc;
    if (stat(path, &st) < 0)
        return refuse(dev, errno, "cannot be opened");
    if (S_ISCHR(st.st_mode))
        return open_evdev(s, dev, path);
    if (S_ISFIFO(st.st_mode))
        rc = open_fifo(s, dev, path);
    else if (S_ISSOCK(st.st_mode))
        rc = connect_socket(s, dev, path);
    else
        return hvv_error_option(dev, EINVAL, "path", "%s is no event device, FIFO or socket; to "
                                "play a recording, give a FIFO and write the file into it", path);
    if (rc == 0)
        make_up(s, hvv_option_string(dev, "kind"));
    return rc;
}

int32_t source_open(struct source *source, struct hvv_device *dev)
{
    *source = (struct source){.fd = -1};
    int32_t rc = open_path(source, dev);
    if (rc < 0)
        source_close(source);
    return rc;
}

void source_close(struct source *source)
{
    if (source->fd >= 0)
        close(source->fd);
    source->fd = -1;
}

/* ---- use ------------------------------------------------------------------------------------- */

bool source_has(const struct source *source, uint16_t type, uint16_t code)
{
    unsigned limit = type == EV_ABS ? ABS_CNT : KEY_CNT;
    return type < EV_CNT && code < limit && (source->bits[type][code / 8] >> code % 8 & 1);
}

void source_keys(const struct source *source, uint8_t *bits, size_t size)
{
    if (source->is_evdev)
        ioctl(source->fd, EVIOCGKEY(size), bits);
}

bool source_write(const struct source *source, uint16_t type, uint16_t code, int32_t value)
{
    struct input_event e[2] = {{.type = type, .code = code, .value = value},
                               {.type = EV_SYN, .code = SYN_REPORT}};
    if (!source->has_leds)
        return false;
    ssize_t n = source->is_evdev ? write(source->fd, e, sizeof(e))
                                 : send(source->fd, e, sizeof(e), MSG_NOSIGNAL);
    return n == (ssize_t)sizeof(e);
}
