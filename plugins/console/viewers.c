/* SPDX-License-Identifier: BSD-3-Clause */
/* viewers.c - see viewers.h. */
#include "viewers.h"

#include "backend.h"
#include "control.h"
#include "peer.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* By name or number; the first one if nothing is said. */
static struct port *find_port(const struct console *console, const char *name)
{
    char label[16];
    for (uint32_t i = 0; name && i < console->n_ports; i++)
        if (strcmp(port_label(console->port[i], label), name) == 0)
            return console->port[i];
    if (!name)
        return console->port[0];
    char *end;
    unsigned long i = strtoul(name, &end, 10);
    return name[0] >= '0' && name[0] <= '9' && !*end && i < console->n_ports ? console->port[i]
                                                                             : NULL;
}

static struct port *port_of_call(struct hvv_device *dev, struct hvv_call *call)
{
    const struct console *console = console_of(dev);
    const char *name = hvv_call_string(dev, call, "port");
    struct port *port = find_port(console, name);
    if (!port)
        hvv_call_error(dev, call, ENOENT, "there is no port '%.80s': give its name, or a number "
                       "below %u", name, console->n_ports);
    return port;
}

/* ---- console --------------------------------------------------------------------------------- */

/* Our end of a new connection as a peer; the other end is the caller's. */
static struct peer *make_peer(struct port *port, int *other)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return NULL;
    struct peer *peer = NULL;
    if (fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0)
        peer = peer_new(port, PEER_TERMINAL, pair[0], pair[0]);
    else
        close(pair[0]);
    if (peer)
        *other = pair[1];
    else
        close(pair[1]);
    return peer;
}

static int32_t run_console(struct hvv_device *dev, struct hvv_call *call)
{
    struct port *port = port_of_call(dev, call);
    char label[16];
    int fd;
    if (!port)
        return -ENOENT;
    peers_look(port);
    peers_settle(port);
    if (port->n_attached >= PORT_PEERS_MAX)
        return hvv_call_error(dev, call, EBUSY, "%u terminals and clients are attached to port %s "
                              "already, which is the limit: end one", port->n_attached,
                              port_label(port, label));
    struct peer *peer = make_peer(port, &fd);
    if (!peer)
        return hvv_call_error(dev, call, errno, "no connection can be made: %s", strerror(errno));
    peer->watches_only = hvv_call_u64(dev, call, "readonly");
    if (!hvv_call_u64(dev, call, "replay"))
        cursor_start_at_end(&peer->cursor, &port->ring);
    peer_add(peer, hvv_call_u64(dev, call, "take"));
    peers_settle(port);
    hvv_call_result(dev, call, "port", port_label(port, label));
    hvv_call_result(dev, call, "keyboard", peer->watches_only              ? "not wanted"
                                           : peers_writer(port) == peer ? "yes"
                                                                        : "somebody else has it");
    hvv_call_result_fd(dev, call, fd);
    return 0;
}

/* ---- console-resize -------------------------------------------------------------------------- */

void viewers_tell_size(const struct port *port)
{
    uint16_t wire[2] = {htole16(port->size.columns), htole16(port->size.rows)};
    (void)hvv_config_set(port->console->dev, offsetof(struct virtio_console_config, cols), wire,
                         sizeof(wire), HVV_CONFIG_NOTIFY);
}

static int32_t run_resize(struct hvv_device *dev, struct hvv_call *call)
{
    struct port *port = port_of_call(dev, call);
    if (!port)
        return -ENOENT;
    struct message_size size = {
        .columns = (uint16_t)hvv_call_u64(dev, call, "columns"),
        .rows = (uint16_t)hvv_call_u64(dev, call, "rows"),
    };
    bool same = size.columns == port->size.columns && size.rows == port->size.rows;
    if (same || hvv_call_u64(dev, call, "readonly")) /* who only watches changes nothing */
        return 0;
    port->size = size;
    if (port->index == 0)
        viewers_tell_size(port);
    control_resized(port);
    if (port->backend->resized)
        port->backend->resized(port);
    return 0;
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* hvv/command.h: the command for the window gets the parameters of the other one, too. */
#define TERMINAL_PARAMS \
    {.name = "port", .type = HVV_OPTION_STRING, \
     .help = "name or number of the port, 0 if absent"}, \
    {.name = "readonly", .type = HVV_OPTION_BOOL, .dflt = "off", \
     .help = "only watch, never get the keyboard"}, \
    {.name = "take", .type = HVV_OPTION_BOOL, .dflt = "off", \
     .help = "take the keyboard from whoever has it"}, \
    {.name = "replay", .type = HVV_OPTION_BOOL, .dflt = "on", \
     .help = "start with the output that is kept"}

static const struct hvv_option console_params[] = {TERMINAL_PARAMS};

static const struct hvv_option resize_params[] = {
    TERMINAL_PARAMS,
    {.name = "columns", .type = HVV_OPTION_U64, .flags = HVV_OPTION_REQUIRED, .max = UINT16_MAX,
     .help = "characters in a line"},
    {.name = "rows", .type = HVV_OPTION_U64, .flags = HVV_OPTION_REQUIRED, .max = UINT16_MAX,
     .help = "lines"},
};

const struct hvv_command viewers_commands[VIEWERS_COMMANDS] = {
    {.name = "console", .help = "attach this terminal to a port", .params = console_params,
     .n_params = sizeof(console_params) / sizeof(console_params[0]),
     .param_size = sizeof(struct hvv_option), .flags = HVV_COMMAND_TERMINAL,
     .window = "console-resize", .run = run_console},
    {.name = "console-resize", .help = "tell the guest the size of a port's terminal",
     .params = resize_params, .n_params = sizeof(resize_params) / sizeof(resize_params[0]),
     .param_size = sizeof(struct hvv_option), .run = run_resize},
};
