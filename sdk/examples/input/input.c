/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * input.c - an input device (virtio 1.2, section 5.8): what happens on an event device of the host,
 * /dev/input/eventN, happens in the guest, and the guest's LEDs are set on it.
 *
 *     source.c          opens the event device, or what a test has in its place
 *     input.c           config space (what kind of device it is), event queue, status queue
 *
 * Events come in packets that end with SYN_REPORT. A packet is sent when it is complete and the
 * guest has a buffer for each of its events, else it is dropped as a whole: half a packet would be
 * another movement. So that a key does not stay down in the guest because the packet with its
 * release was dropped, keys are compared and put right as soon as there are buffers.
 *
 * Buffers are popped when there is a packet for them. Those that are too few for a packet are kept:
 * that way notify() is called when there are more. They go back when the queue stops, and when the
 * guest's memory moves.
 */
#include "source.h"

#include <hvv/plugin.h>
#include <endian.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_input.h>
#include <stdlib.h>
#include <unistd.h>

#define PACKET_MAX 256u /* events; more without SYN_REPORT are no packet of a sane device */
#define READ_MAX 64u    /* events read at once */
#define ROUNDS_MAX 64u  /* reads in one callback, so that others get their turn */
#define BATCH 16u

enum { QUEUE_EVENTS, QUEUE_STATUS, QUEUES };
enum counter { COUNTER_EVENTS, COUNTER_PACKETS, COUNTER_DROPPED, COUNTER_STATUS, COUNTERS };
enum event { EVENT_GONE, EVENTS };

struct input {
    struct hvv_device *dev;
    struct source source;
    struct hvv_watch *watch;
    struct virtio_input_config config; /* as the driver sees it */

    /* What was read and is not a whole event yet, and events that are not a whole packet yet */
    unsigned char bytes[READ_MAX * sizeof(struct input_event)];
    size_t n_bytes;
    struct virtio_input_event packet[PACKET_MAX];
    uint32_t n_packet;
    bool skipping; /* up to the next SYN_REPORT */
    bool unsure;   /* the source dropped events: it is to be asked for its keys */
    bool gone;     /* nothing more comes from the source */

    struct hvv_chain *kept[PACKET_MAX]; /* buffers for events, in the order they were popped */
    uint32_t n_kept;

    /* Bits of keys: down on the source, and down for all the guest knows */
    uint8_t down[KEY_CNT / 8], told[KEY_CNT / 8];
    bool lost; /* a packet was dropped, the two may differ */
};

static struct input *input_of(struct hvv_device *dev)
{
    return dev->state;
}

/* ---- Config space: the driver selects, then reads -------------------------------------------- */

/* The bytes of a bitmap up to the last that is not 0. */
static uint8_t bitmap_size(const uint8_t *bits, size_t size)
{
    while (size > 0 && !bits[size - 1])
        size--;
    return (uint8_t)size;
}

static void select_bits(struct virtio_input_config *c, const uint8_t *bits, size_t size)
{
    c->size = bitmap_size(bits, size);
    memcpy(c->u.bitmap, bits, c->size);
}

static void select_text(struct virtio_input_config *c, const char *text)
{
    c->size = (uint8_t)strnlen(text, sizeof(c->u.string));
    memcpy(c->u.string, text, c->size);
}

static void select_ids(struct virtio_input_config *c, const struct input_id *id)
{
    c->u.ids.bustype = htole16(id->bustype);
    c->u.ids.vendor = htole16(id->vendor);
    c->u.ids.product = htole16(id->product);
    c->u.ids.version = htole16(id->version);
    c->size = sizeof(c->u.ids);
}

static void select_abs(struct virtio_input_config *c, const struct input_absinfo *abs)
{
    c->u.abs.min = htole32((uint32_t)abs->minimum);
    c->u.abs.max = htole32((uint32_t)abs->maximum);
    c->u.abs.fuzz = htole32((uint32_t)abs->fuzz);
    c->u.abs.flat = htole32((uint32_t)abs->flat);
    c->u.abs.res = htole32((uint32_t)abs->resolution);
    c->size = sizeof(c->u.abs);
}

/* What there is nothing to say about has the size 0. */
static void show_selected(struct input *input, uint8_t select, uint8_t subsel)
{
    const struct source *s = &input->source;
    struct virtio_input_config *c = &input->config;
    *c = (struct virtio_input_config){.select = select, .subsel = subsel};
    if (select == VIRTIO_INPUT_CFG_ID_NAME && subsel == 0)
        select_text(c, s->name);
    else if (select == VIRTIO_INPUT_CFG_ID_SERIAL && subsel == 0)
        select_text(c, s->serial);
    else if (select == VIRTIO_INPUT_CFG_ID_DEVIDS && subsel == 0)
        select_ids(c, &s->id);
    else if (select == VIRTIO_INPUT_CFG_PROP_BITS && subsel == 0)
        select_bits(c, s->props, sizeof(s->props));
    else if (select == VIRTIO_INPUT_CFG_EV_BITS && subsel < EV_CNT)
        select_bits(c, s->bits[subsel], sizeof(s->bits[subsel]));
    else if (select == VIRTIO_INPUT_CFG_ABS_INFO && source_has(s, EV_ABS, subsel))
        select_abs(c, &s->abs[subsel]);
    hvv_config_set(input->dev, 0, c, sizeof(*c), 0);
}

/* The two selectors are what the driver may write; a front-end may write all to change them. */
static void input_config_write(struct hvv_device *dev, uint32_t offset, const void *data,
                               uint32_t size)
{
    struct input *input = input_of(dev);
    struct virtio_input_config c = input->config;
    memcpy((char *)&c + offset, data, size);
    if (c.select != input->config.select || c.subsel != input->config.subsel)
        show_selected(input, c.select, c.subsel);
}

/* ---- Event queue ----------------------------------------------------------------------------- */

static bool bit(const uint8_t *bits, unsigned n)
{
    return bits[n / 8] >> n % 8 & 1;
}

static void set_bit(uint8_t *bits, unsigned n, bool value)
{
    bits[n / 8] = (uint8_t)((bits[n / 8] & ~(1u << n % 8)) | (unsigned)value << n % 8);
}

static struct virtio_input_event wire(uint16_t type, uint16_t code, uint32_t value)
{
    return (struct virtio_input_event){htole16(type), htole16(code), htole32(value)};
}

/* Sees that at least `n` buffers are kept. If not, notify() is called when there are more. */
static bool get_buffers(struct input *input, uint32_t n)
{
    if (input->n_kept < n)
        input->n_kept += hvv_pop(input->dev, QUEUE_EVENTS, input->kept + input->n_kept,
                                 n - input->n_kept);
    return input->n_kept >= n;
}

/* The newest first: that is the only order in which the ring can take them back. */
static void give_buffers_back(struct input *input)
{
    while (input->n_kept > 0)
        hvv_release(input->kept[--input->n_kept]);
}

static void send_event(struct input *input, struct hvv_chain *chain,
                       const struct virtio_input_event *event)
{
    uint16_t code = le16toh(event->code);
    if (chain->writable_bytes < sizeof(*event)) {
        hvv_fail(chain, "a buffer for an event has %llu bytes: it needs %zu",
                 (unsigned long long)chain->writable_bytes, sizeof(*event));
        return;
    }
    hvv_iov_write(chain->writable, chain->n_writable, 0, event, sizeof(*event));
    hvv_complete(chain, sizeof(*event));
    hvv_count(input->dev, COUNTER_EVENTS, HVV_NO_QUEUE, 1);
    if (le16toh(event->type) == EV_KEY && code < KEY_CNT)
        set_bit(input->told, code, le32toh(event->value) != 0);
}

/* True if all `n` events were sent; if not, none was. */
static bool send_packet(struct input *input, const struct virtio_input_event *events, uint32_t n)
{
    if (!get_buffers(input, n))
        return false;
    for (uint32_t i = 0; i < n; i++)
        send_event(input, input->kept[i], &events[i]);
    input->n_kept -= n;
    memmove(input->kept, input->kept + n, input->n_kept * sizeof(input->kept[0]));
    hvv_count(input->dev, COUNTER_PACKETS, HVV_NO_QUEUE, 1);
    return true;
}

/* Tells the guest of keys whose packet was dropped. True if it knows all of them. */
static bool put_keys_right(struct input *input)
{
    while (input->lost) {
        struct virtio_input_event events[PACKET_MAX];
        uint32_t n = 0, key = 0;
        for (; key < KEY_CNT && n < BATCH; key++)
            if (bit(input->down, key) != bit(input->told, key))
                events[n++] = wire(EV_KEY, (uint16_t)key, bit(input->down, key));
        if (n > 0) {
            events[n++] = wire(EV_SYN, SYN_REPORT, 0);
            if (!send_packet(input, events, n))
                return false;
        }
        input->lost = key < KEY_CNT;
    }
    return true;
}

static void drop_packet(struct input *input)
{
    hvv_count(input->dev, COUNTER_DROPPED, HVV_NO_QUEUE, 1);
    input->lost = true;
}

/* ---- From the source: events, collected until their packet is complete ----------------------- */

static void note_key(struct input *input, const struct input_event *e)
{
    if (e->type == EV_KEY && e->code < KEY_CNT)
        set_bit(input->down, e->code, e->value != 0);
}

/* The packet's keys count as down, or up, from now on, whether the guest will hear of it or not. */
static void note_packet(struct input *input)
{
    for (uint32_t i = 0; i < input->n_packet; i++) {
        const struct virtio_input_event *e = &input->packet[i];
        if (le16toh(e->type) == EV_KEY && le16toh(e->code) < KEY_CNT)
            set_bit(input->down, le16toh(e->code), le32toh(e->value) != 0);
    }
}

/* The source dropped events, or the packet is too long: what is left of it is not sent. */
static void skip_packet(struct input *input)
{
    note_packet(input);
    input->skipping = true;
    input->n_packet = 0;
}

/* What the guest missed goes first, without the keys of this packet. */
static void end_packet(struct input *input)
{
    bool sent = false;
    if (!input->skipping) {
        bool right = put_keys_right(input);
        note_packet(input);
        sent = right && send_packet(input, input->packet, input->n_packet);
    }
    if (!sent)
        drop_packet(input);
    input->unsure = input->unsure || input->skipping;
    input->skipping = false;
    input->n_packet = 0;
}

/*
 * LEDs and sounds that the guest has set come back as events, as everybody who has the event device
 * open hears of them. They are not sent: the guest would set what it may have changed since.
 */
static bool is_echo(const struct input_event *e)
{
    return e->type == EV_LED || e->type == EV_SND;
}

static void take_event(struct input *input, const struct input_event *e)
{
    bool report = e->type == EV_SYN && e->code == SYN_REPORT;
    if (is_echo(e) || (report && input->n_packet == 0 && !input->skipping))
        return;
    if (!input->skipping && ((e->type == EV_SYN && e->code == SYN_DROPPED) ||
                             (input->n_packet == PACKET_MAX - 1 && !report)))
        skip_packet(input);
    if (input->skipping)
        note_key(input, e);
    else
        input->packet[input->n_packet++] = wire(e->type, e->code, (uint32_t)e->value);
    if (report)
        end_packet(input);
}

/* Said once. The keys that were down are up now: nobody holds them any more. */
static void end_source(struct input *input, int err)
{
    const char *why = err ? strerror(err) : "the other end has closed it";
    input->gone = true;
    input->lost = true;
    memset(input->down, 0, sizeof(input->down));
    hvv_watch_set(input->dev, input->watch, 0);
    hvv_log(input->dev, HVV_LOG_WARNING, "no more events come from %s: %s; remove the device and "
            "add it again", hvv_option_string(input->dev, "path"), why);
    hvv_event(input->dev, EVENT_GONE, "errno=%d", err);
}

/* Reads once, and calls `take` for each event. False if there is no more for now. */
static bool read_events(struct input *input, void (*take)(struct input *input,
                                                          const struct input_event *e))
{
    ssize_t n = read(input->source.fd, input->bytes + input->n_bytes,
                     sizeof(input->bytes) - input->n_bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        end_source(input, n < 0 ? errno : 0);
        return false;
    }
    size_t at = 0;
    struct input_event e;
    for (input->n_bytes += (size_t)n; input->n_bytes - at >= sizeof(e); at += sizeof(e)) {
        memcpy(&e, input->bytes + at, sizeof(e));
        take(input, &e);
    }
    input->n_bytes -= at;
    memmove(input->bytes, input->bytes + at, input->n_bytes);
    return true;
}

/*
 * The source tells its keys as of now, which is right only when all events from before were read.
 * Perhaps no other packet comes for a long time: keys are put right now if that is possible.
 */
static void ready(void *arg, uint32_t events)
{
    struct input *input = arg;
    bool more = true;
    (void)events;
    for (unsigned i = 0; i < ROUNDS_MAX && more; i++)
        more = read_events(input, take_event);
    if (input->unsure && !more) {
        source_keys(&input->source, input->down, sizeof(input->down));
        input->unsure = false;
        input->lost = true;
    }
    put_keys_right(input);
}

/* ---- Status queue ---------------------------------------------------------------------------- */

/* Only LEDs and sounds that the source has: the guest decides what is written to a host device. */
static void take_status(struct input *input, const struct virtio_input_event *event)
{
    uint16_t type = le16toh(event->type), code = le16toh(event->code);
    if ((type != EV_LED && type != EV_SND) || !source_has(&input->source, type, code))
        return;
    if (source_write(&input->source, type, code, (int32_t)le32toh(event->value)))
        hvv_count(input->dev, COUNTER_STATUS, HVV_NO_QUEUE, 1);
}

static void serve_status(struct input *input, struct hvv_chain *chain)
{
    struct virtio_input_event event;
    size_t n = hvv_iov_read(chain->readable, chain->n_readable, 0, &event, sizeof(event));
    if (n < sizeof(event)) {
        hvv_fail(chain, "a status buffer of %zu bytes: it needs %zu", n, sizeof(event));
        return;
    }
    take_status(input, &event);
    hvv_complete(chain, 0);
}

/*
 * The event queue is popped when there is something to say, which may be now: keys that the guest
 * had no buffers for.
 */
static void input_notify(struct hvv_device *dev, uint32_t queue)
{
    struct input *input = input_of(dev);
    struct hvv_chain *chains[BATCH];
    uint32_t n;
    if (queue == QUEUE_EVENTS) {
        put_keys_right(input);
        return;
    }
    do {
        n = hvv_pop(dev, queue, chains, BATCH);
        for (uint32_t i = 0; i < n; i++)
            serve_status(input, chains[i]);
    } while (n == BATCH);
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* What happened before there was anybody to read it is not for this driver. */
static void skip_past(struct input *input)
{
    for (unsigned i = 0; i < ROUNDS_MAX && read_events(input, note_key); i++)
        ;
    source_keys(&input->source, input->down, sizeof(input->down));
}

/*
 * Which keys are down is for this driver, though. It may be a new one, that knows of none, or the
 * one from before a pause: all that are down are told, which changes nothing for one that knows.
 * The host calls notify() when there are buffers to say it in.
 */
static void input_queue_start(struct hvv_device *dev, uint32_t queue)
{
    struct input *input = input_of(dev);
    if (queue != QUEUE_EVENTS)
        return;
    input->n_packet = 0;
    input->skipping = false;
    input->unsure = false;
    if (!input->gone) {
        hvv_watch_set(dev, input->watch, HVV_WATCH_READ);
        skip_past(input);
    }
    for (size_t i = 0; i < sizeof(input->told); i++)
        input->told[i] = (uint8_t)(input->told[i] & ~input->down[i]);
    input->lost = true;
}

static void input_queue_stop(struct hvv_device *dev, uint32_t queue, uint32_t flags)
{
    struct input *input = input_of(dev);
    (void)flags;
    if (queue != QUEUE_EVENTS)
        return;
    hvv_watch_set(dev, input->watch, 0);
    give_buffers_back(input);
}

/* Buffers that were given back do not lead to notify(): pop again what is still wanted. */
static void input_memory_changed(struct hvv_device *dev, uint32_t queue)
{
    if (queue != QUEUE_EVENTS)
        return;
    give_buffers_back(input_of(dev));
    put_keys_right(input_of(dev));
}

static void input_reset(struct hvv_device *dev)
{
    show_selected(input_of(dev), VIRTIO_INPUT_CFG_UNSET, 0);
}

static int32_t describe_device(struct input *input)
{
    struct hvv_device *dev = input->dev;
    int32_t rc = hvv_add_queues(dev, QUEUES, HVV_QUEUE_SIZE_MAX, HVV_SEGMENTS_MAX, 0);
    if (rc < 0)
        return hvv_error(dev, -rc, "no memory for the queues");
    rc = hvv_config_set(dev, 0, &input->config, sizeof(input->config), 0);
    if (rc < 0)
        return hvv_error(dev, -rc, "the config space cannot be made");
    input->watch = hvv_watch_new(dev, QUEUE_EVENTS, input->source.fd, ready, input);
    if (!input->watch)
        return hvv_error(dev, errno, "no watch: %s", strerror(errno));
    hvv_describe(dev, "name", input->source.name);
    return 0;
}

static int32_t input_create(struct hvv_device *dev)
{
    struct input *input = calloc(1, sizeof(*input));
    if (!input)
        return hvv_error(dev, ENOMEM, "no memory for the device");
    input->dev = dev;
    int32_t rc = source_open(&input->source, dev);
    if (rc < 0) {
        free(input);
        return rc;
    }
    rc = describe_device(input);
    if (rc < 0) {
        source_close(&input->source);
        free(input);
        return rc;
    }
    dev->state = input;
    return 0;
}

static void input_destroy(struct hvv_device *dev)
{
    struct input *input = input_of(dev);
    hvv_watch_free(dev, input->watch);
    source_close(&input->source);
    free(input);
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static const struct hvv_option options[] = {
    {.name = "path",
     .type = HVV_OPTION_PATH,
     .flags = HVV_OPTION_REQUIRED | HVV_OPTION_POSITIONAL,
     .help = "the event device, or a FIFO or socket that events come from"},
    {.name = "grab",
     .type = HVV_OPTION_BOOL,
     .dflt = "on",
     .help = "take an event device away from the host while the guest has it"},
    {.name = "kind",
     .type = HVV_OPTION_CHOICE,
     .choices = "keyboard mouse tablet",
     .dflt = "keyboard",
     .help = "what the guest sees behind a FIFO or socket"},
};

static const struct hvv_counter counters[COUNTERS] = {
    [COUNTER_EVENTS] = {.name = "events", .help = "events sent to the guest"},
    [COUNTER_PACKETS] = {.name = "packets", .help = "packets of events sent to the guest"},
    [COUNTER_DROPPED] = {.name = "dropped", .help = "packets that the guest had no buffers for"},
    [COUNTER_STATUS] = {.name = "status", .help = "LEDs and sounds set by the guest"},
};

static const struct hvv_event events[EVENTS] = {
    [EVENT_GONE] = {.name = "gone", .help = "the event device was unplugged, or closed"},
};

static const struct hvv_ops ops = {
    .size = sizeof(ops),
    .create = input_create,
    .destroy = input_destroy,
    .notify = input_notify,
    .queue_start = input_queue_start,
    .queue_stop = input_queue_stop,
    .config_write = input_config_write,
    .memory_changed = input_memory_changed,
    .reset = input_reset,
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .abi_minor = HVV_ABI_MINOR,
    .name = "input",
    .version = "1.0",
    .description = "an input device of the host for a guest",
    .virtio_id = VIRTIO_ID_INPUT,
    .threads = HVV_SERIAL_DEVICE,
    .ops = &ops,
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .option_size = sizeof(options[0]),
    .counters = counters,
    .n_counters = COUNTERS,
    .counter_size = sizeof(counters[0]),
    .events = events,
    .n_events = EVENTS,
    .event_size = sizeof(events[0]),
    .qemu = "-device vhost-user-input-pci,chardev={chardev}",
};

const struct hvv_plugin *hvv_plugin_v1(void)
{
    return &plugin;
}
