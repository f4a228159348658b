/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * console.c - the plugin: its table, its options, and the life of one device.
 *
 * create() and destroy() run on the builder thread, all else on the device's worker. Order of
 * create(): ports with their options, queues, back-ends (whose watches belong to queues), features
 * and config space; undone in reverse.
 */
#include "backend.h"
#include "control.h"
#include "peer.h"
#include "spec.h"
#include "viewers.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>

#define EMERGENCY_OFFSET offsetof(struct virtio_console_config, emerg_wr)
#define EMERGENCY_BYTES sizeof(((struct virtio_console_config *)0)->emerg_wr)
#define SEGMENTS 1022u /* buffers in one chain; no driver needs as many */

/* ---- Create: ports --------------------------------------------------------------------------- */

static const struct backend_ops *backend_find(const char *name)
{
    static const struct backend_ops *const backends[] = {&backend_pty, &backend_socket,
                                                         &backend_file, &backend_stdio};
    for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
        if (strcmp(backends[i]->name, name) == 0)
            return backends[i];
    return &backend_pty;
}

void backend_describe(const struct port *port, const char *key, const char *value)
{
    char label[16], text[MESSAGE_NAME_MAX + 32];
    snprintf(text, sizeof(text), "%s %s", port_label(port, label), key);
    hvv_describe(port->console->dev, port->index == 0 ? key : text, value);
}

/*
 * A name for a pty's link or a socket that nobody named: beside the device's own socket, where the
 * host says that there is room for it.
 */
static int32_t name_path(struct port *port, char **path)
{
    struct hvv_device *dev = port->console->dev;
    const char *suffix = port->backend == &backend_pty ? "tty" : "console";
    char label[16];
    const char *middle = port->index == 0 ? "" : port_label(port, label);
    if (!HVV_HAS(struct hvv_device, dev, directory)) {
        if (port->backend == &backend_pty)
            return 0;
        return hvv_error_option(dev, EINVAL, port->path_option, "the socket has no path: give one");
    }
    if (asprintf(path, "%s/%s%s%s.%s", dev->directory, dev->id, *middle ? "." : "", middle,
                 suffix) < 0)
        return hvv_error(dev, ENOMEM, "no memory for a path");
    return 0;
}

/* Checks that there is a path if the back-end takes one; the port owns a copy. */
static int32_t set_path(struct port *port, const char *given)
{
    struct hvv_device *dev = port->console->dev;
    const struct backend_ops *backend = port->backend;
    char *path = NULL;
    if (given && backend->refuses_path)
        return hvv_error_option(dev, EINVAL, port->path_option, "%s has no path: leave it out",
                                backend->name);
    if (!given && backend->needs_path)
        return hvv_error_option(dev, EINVAL, port->path_option, "%s needs a path: give one",
                                backend->name);
    if (given) {
        path = strdup(given);
        if (!path)
            return hvv_error(dev, ENOMEM, "no memory for a path");
    } else if (backend->makes_path) {
        int32_t rc = name_path(port, &path);
        if (rc < 0)
            return rc;
    }
    port->path = path;
    return 0;
}

static int32_t check_name(struct port *port, const char *name, const char *option)
{
    struct console *console = port->console;
    char error[256];
    if (!port_name_ok(name, error, sizeof(error)))
        return hvv_error_option(console->dev, EINVAL, option, "%s", error);
    for (uint32_t i = 0; i < console->n_ports; i++)
        if (strcmp(console->port[i]->name, name) == 0)
            return hvv_error_option(console->dev, EINVAL, option, "two ports are called '%s': "
                                    "rename one", name);
    memcpy(port->name, name, strlen(name) + 1);
    return 0;
}

/* The first port: what the options of the device say. */
static int32_t read_first(struct port *port)
{
    struct hvv_device *dev = port->console->dev;
    const char *name = hvv_option_string(dev, "name");
    const char *path = hvv_option_string(dev, "path"), *link = hvv_option_string(dev, "link");
    port->backend = backend_find(hvv_option_string(dev, "backend"));
    bool pty = port->backend == &backend_pty;
    port->path_option = pty ? "link" : "path";
    if (pty ? path != NULL : link != NULL)
        return hvv_error_option(dev, EINVAL, pty ? "path" : "link", "%s has no %s: %s",
                                port->backend->name, pty ? "path" : "link",
                                pty ? "link= names it" : "path= names it");
    int32_t rc = name ? check_name(port, name, "name") : 0;
    return rc < 0 ? rc : set_path(port, pty ? link : path);
}

static int32_t read_other(struct port *port, const char *text)
{
    struct hvv_device *dev = port->console->dev;
    struct port_spec spec;
    char error[512];
    port->path_option = "port";
    if (port_spec_parse(&spec, text, error, sizeof(error)) < 0)
        return hvv_error_option(dev, EINVAL, "port", "%s", error);
    port->is_console = spec.console;
    port->lossless = spec.lossless;
    port->backend = backend_find(spec.backend);
    int32_t rc = check_name(port, spec.name, "port");
    return rc < 0 ? rc : set_path(port, spec.path);
}

static int32_t make_port(struct console *console, const char *text)
{
    struct hvv_device *dev = console->dev;
    uint32_t index = console->n_ports;
    if (index == CONSOLE_PORTS_MAX)
        return hvv_error_option(dev, EINVAL, "port", "there are more than %u ports: make another "
                                "device for the rest", CONSOLE_PORTS_MAX);
    struct port *port = port_new(console, index, hvv_option_u64(dev, "ring"));
    if (!port)
        return hvv_error(dev, ENOMEM, "no memory for a port and its ring");
    port->size.columns = (uint16_t)hvv_option_u64(dev, "columns");
    port->size.rows = (uint16_t)hvv_option_u64(dev, "rows");
    port->is_console = index == 0;
    int32_t rc = index == 0 ? read_first(port) : read_other(port, text);
    if (rc < 0) {
        port_free(port);
        return rc;
    }
    console->port[console->n_ports++] = port;
    return 0;
}

static int32_t make_ports(struct console *console)
{
    struct hvv_device *dev = console->dev;
    int32_t rc = make_port(console, NULL);
    for (uint32_t i = 0; rc == 0 && i < hvv_option_count(dev, "port"); i++)
        rc = make_port(console, hvv_option_string_at(dev, "port", i));
    console->offers_multiport = console->n_ports > 1 || (rc == 0 && console->port[0]->name[0]);
    return rc;
}

/* ---- Create: the rest ------------------------------------------------------------------------ */

static int32_t add_queues(const struct console *console)
{
    struct hvv_device *dev = console->dev;
    uint32_t n = console->offers_multiport ? 2 + 2 * console->n_ports : 2;
    int32_t rc = hvv_add_queues(dev, n, HVV_QUEUE_SIZE_MAX, SEGMENTS, 0);
    if (rc < 0)
        return hvv_error(dev, -rc, "%u queues cannot be made: %s; use fewer ports", n,
                         strerror(-rc));
    return 0;
}

static void close_ports(struct console *console, uint32_t n)
{
    while (n-- > 0) {
        struct port *port = console->port[n];
        port->backend->close(port);
        peers_free(port);
    }
}

static int32_t open_ports(struct console *console)
{
    for (uint32_t i = 0; i < console->n_ports; i++) {
        struct port *port = console->port[i];
        int32_t rc = port->backend->open(port);
        if (rc < 0) {
            peers_free(port);
            close_ports(console, i);
            return rc;
        }
    }
    return 0;
}

static int32_t describe(const struct console *console)
{
    uint64_t features = 1ull << VIRTIO_CONSOLE_F_SIZE | 1ull << VIRTIO_CONSOLE_F_EMERG_WRITE;
    struct virtio_console_config config = {
        .cols = htole16(console->port[0]->size.columns),
        .rows = htole16(console->port[0]->size.rows),
        .max_nr_ports = htole32(console->n_ports),
    };
    if (console->offers_multiport)
        features |= 1ull << VIRTIO_CONSOLE_F_MULTIPORT;
    hvv_set_features(console->dev, features, HVV_FEATURES_IN_ORDER); /* no chain is held */
    int32_t rc = hvv_config_set(console->dev, 0, &config, sizeof(config), 0);
    if (rc < 0)
        return hvv_error(console->dev, -rc, "the config space cannot be set: %s", strerror(-rc));
    return 0;
}

static void free_console(struct console *console)
{
    for (uint32_t i = 0; i < console->n_ports; i++)
        port_free(console->port[i]);
    free(console);
}

static int32_t create(struct hvv_device *dev)
{
    struct console *console = calloc(1, sizeof(*console));
    if (!console)
        return hvv_error(dev, ENOMEM, "no memory for the console's state");
    console->dev = dev;
    console->rows_first = hvv_option_u64(dev, "rows-first");
    control_init(console);
    int32_t rc = make_ports(console);
    if (rc == 0)
        rc = add_queues(console);
    if (rc == 0)
        rc = open_ports(console);
    if (rc < 0)
        goto fail;
    rc = describe(console);
    if (rc < 0)
        goto close;
    dev->state = console;
    return 0;
close:
    close_ports(console, console->n_ports);
fail:
    free_console(console);
    return rc;
}

static void destroy(struct hvv_device *dev)
{
    struct console *console = console_of(dev);
    close_ports(console, console->n_ports);
    free_console(console);
}

/* ---- Queues ---------------------------------------------------------------------------------- */

/* Of a queue that is not a control queue. */
static struct port *port_of_queue(const struct console *console, uint32_t queue)
{
    return console->port[queue < 2 ? 0 : queue / 2 - 1];
}

static bool is_control(uint32_t queue)
{
    return queue == CONSOLE_QUEUE_CONTROL_RX || queue == CONSOLE_QUEUE_CONTROL_TX;
}

static void notify(struct hvv_device *dev, uint32_t queue)
{
    struct console *console = console_of(dev);
    if (queue == CONSOLE_QUEUE_CONTROL_RX) {
        control_send(console);
        return;
    }
    if (queue == CONSOLE_QUEUE_CONTROL_TX) {
        control_receive(console);
        return;
    }
    struct port *port = port_of_queue(console, queue);
    if (queue == port->tx)
        port_output(port);
    else
        port_feed(port);
    peers_settle(port);
}

/* Linux looks at the size in the config space only when it is told of a change. */
static void queue_start(struct hvv_device *dev, uint32_t queue)
{
    const struct console *console = console_of(dev);
    if (queue == 0 && !control_in_use(console))
        viewers_tell_size(console->port[0]);
}

static void queue_stop(struct hvv_device *dev, uint32_t queue, uint32_t flags)
{
    if (!is_control(queue))
        port_queue_stop(port_of_queue(console_of(dev), queue), queue, flags & HVV_STOP_DISCARD);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void publish(struct hvv_device *dev)
{
    struct console *console = console_of(dev);
    console->published = true;
    for (uint32_t i = 0; i < console->n_ports; i++) {
        struct port *port = console->port[i];
        if (port->backend->publish)
            port->backend->publish(port);
        peers_settle(port);
    }
}

/*
 * Only `emerg_wr` can be written; it stays 0 when read. A driver writes it alone. Who writes it
 * together with other fields writes back what it has read, and means them.
 */
static void config_write(struct hvv_device *dev, uint32_t offset, const void *data, uint32_t size)
{
    struct port *port = console_of(dev)->port[0];
    const char *bytes = data;
    if (offset > EMERGENCY_OFFSET || offset + size <= EMERGENCY_OFFSET)
        return;
    uint32_t value = 0, at = EMERGENCY_OFFSET - offset;
    memcpy(&value, bytes + at, size - at < EMERGENCY_BYTES ? size - at : EMERGENCY_BYTES);
    if (offset != EMERGENCY_OFFSET && value == 0)
        return;
    char character = (char)le32toh(value);
    hvv_count(dev, CONSOLE_EMERGENCY_BYTES, HVV_NO_QUEUE, 1);
    port_put(port, &character, 1);
    peers_write(port);
    peers_settle(port);
}

static void reset(struct hvv_device *dev)
{
    struct console *console = console_of(dev);
    for (uint32_t i = 0; i < console->n_ports; i++)
        port_reset(console->port[i]);
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static const struct hvv_ops ops = {
    .size = sizeof(ops),
    .create = create,
    .destroy = destroy,
    .notify = notify,
    .publish = publish,
    .queue_start = queue_start,
    .queue_stop = queue_stop,
    .config_write = config_write,
    .reset = reset,
};

static const struct hvv_option options[] = {
    {.name = "backend", .type = HVV_OPTION_CHOICE, .flags = HVV_OPTION_POSITIONAL,
     .choices = "pty socket file stdio", .dflt = "pty", .help = "where the first port leads to"},
    {.name = "link", .type = HVV_OPTION_PATH,
     .help = "symbolic link to the pty; ID.tty beside the device sockets if absent"},
    {.name = "path", .type = HVV_OPTION_PATH,
     .help = "the socket, ID.console beside the device sockets if absent; or the file"},
    {.name = "name", .type = HVV_OPTION_STRING, .help = "name of the first port, for the guest"},
    {.name = "port", .type = HVV_OPTION_STRING, .flags = HVV_OPTION_MULTI,
     .help = "one more port: NAME[:console][:lossless][:BACKEND[:PATH]]"},
    {.name = "ring", .type = HVV_OPTION_SIZE, .min = 4096, .max = 16u << 20, .dflt = "64K",
     .help = "how much of the last output each port keeps"},
    {.name = "columns", .type = HVV_OPTION_U64, .max = UINT16_MAX, .dflt = "80",
     .help = "characters in a line, until a terminal says otherwise"},
    {.name = "rows", .type = HVV_OPTION_U64, .max = UINT16_MAX, .dflt = "24",
     .help = "lines, until a terminal says otherwise"},
    {.name = "rows-first", .type = HVV_OPTION_BOOL, .dflt = "off",
     .help = "with several ports, tell sizes in the order old versions of Linux take"},
};

static const struct hvv_counter counters[CONSOLE_COUNTERS] = {
    [CONSOLE_INPUT_BYTES] = {"input-bytes", "bytes given to the guest", HVV_COUNTER_QUEUE, 0},
    [CONSOLE_OUTPUT_BYTES] = {"output-bytes", "bytes taken from the guest", HVV_COUNTER_QUEUE, 0},
    [CONSOLE_DROPPED_BYTES] = {"dropped-bytes", "bytes of output that nobody got",
                               HVV_COUNTER_QUEUE, 0},
    [CONSOLE_MISSED_BYTES] = {"missed-bytes", "bytes of output that a reader was too slow for",
                              HVV_COUNTER_QUEUE, 0},
    [CONSOLE_EMERGENCY_BYTES] = {"emergency-bytes", "bytes of emergency writes", 0, 0},
    [CONSOLE_FILE_ERRORS] = {"file-errors", "writes of a file that failed", 0, 0},
    [CONSOLE_ATTACHED] = {"attached", "terminals and clients there are now", HVV_COUNTER_GAUGE, 0},
};

static const struct hvv_event events[CONSOLE_EVENTS] = {
    [CONSOLE_EVENT_ATTACHED] = {"attached", "a terminal or client came"},
    [CONSOLE_EVENT_DETACHED] = {"detached", "a terminal or client went"},
    [CONSOLE_EVENT_DROPPED] = {"dropped", "output began to be dropped"},
    [CONSOLE_EVENT_OPENED] = {"opened", "the guest opened a port"},
    [CONSOLE_EVENT_CLOSED] = {"closed", "the guest closed a port"},
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .abi_minor = HVV_ABI_MINOR,
    .name = "console",
    .version = "1.0.0",
    .description = "virtio console on a pty, a socket, a file or the standard input and output",
    .virtio_id = VIRTIO_ID_CONSOLE,
    .threads = HVV_SERIAL_DEVICE,
    .ops = &ops,
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .option_size = sizeof(options[0]),
    .commands = viewers_commands,
    .n_commands = VIEWERS_COMMANDS,
    .command_size = sizeof(viewers_commands[0]),
    .counters = counters,
    .n_counters = CONSOLE_COUNTERS,
    .counter_size = sizeof(counters[0]),
    .events = events,
    .n_events = CONSOLE_EVENTS,
    .event_size = sizeof(events[0]),
};

const struct hvv_plugin *hvv_plugin_v1(void)
{
    return &plugin;
}
