/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net.c - the life of a network device: its queues, config space and commands.
 *
 * create() and destroy() run on the builder thread; what concerns a queue on the worker of its
 * pair; the rest on the worker of queue 0. Order of create(): options, queues, back-end (which knows
 * what work it can take off the guest), features, config space; undone in reverse.
 */
#include "backend.h"
#include "control.h"
#include "options.h"
#include "rx.h"
#include "switch.h"
#include "tx.h"

#include <stdio.h>
#include <stdlib.h>

#define ETHERNET_MTU_MIN 68u /* virtio 1.2, section 5.1.4.1 */
#define CONTROL_QUEUE_SIZE 256u
#define CONTROL_SEGMENTS 64u

enum role { ROLE_RECEIVE, ROLE_TRANSMIT, ROLE_CONTROL };

/* ---- What the other files ask for ------------------------------------------------------------ */

void net_tell(struct pair *pair)
{
    for (uint32_t i = 0; i < NET_COUNTERS; i++) {
        if (pair->tally[i] == 0)
            continue;
        uint32_t queue = i < NET_RX_FRAMES ? pair->tx_queue : pair->rx_queue;
        hvv_count(pair->net->dev, i, queue, pair->tally[i]);
        pair->tally[i] = 0;
    }
}

void net_capture(struct pair *pair, const struct frame *frame)
{
    struct net *net = pair->net;
    if (atomic_load_explicit(&net->capture.on, memory_order_relaxed) &&
        !capture_frame(&net->capture, frame, hvv_now(net->dev)))
        net_count(pair, NET_CAPTURE_MISSED, 1);
}

struct pair *net_pair_for(struct net *net, uint32_t hash)
{
    uint32_t receiving = atomic_load_explicit(&net->receiving, memory_order_relaxed);
    uint32_t active = atomic_load_explicit(&net->active_pairs, memory_order_relaxed);
    if (active < NET_PAIRS_MAX)
        receiving &= (1u << active) - 1;
    if (receiving == 0)
        return NULL;
    for (uint32_t skip = hash % (uint32_t)__builtin_popcount(receiving); skip > 0; skip--)
        receiving &= receiving - 1;
    return &net->pair[__builtin_ctz(receiving)];
}

void net_wake(struct pair *pair)
{
    if (!atomic_flag_test_and_set(&pair->wake_posted))
        hvv_post(pair->net->dev, pair->rx_queue, &pair->wake);
}

static void wake(struct hvv_task *task)
{
    struct pair *pair = (struct pair *)((char *)task - offsetof(struct pair, wake));
    atomic_flag_clear(&pair->wake_posted);
    if (pair->rx_running && pair->net->backend->receive)
        pair->net->backend->receive(pair);
    net_tell(pair);
}

void net_set_status(struct net *net, uint16_t set, uint16_t clear)
{
    pthread_mutex_lock(&net->lock);
    net->status = (uint16_t)((net->status & ~clear) | set);
    (void)hvv_config_set(net->dev, offsetof(struct virtio_net_config, status), &net->status,
                         sizeof(net->status), HVV_CONFIG_NOTIFY);
    pthread_mutex_unlock(&net->lock);
}

static void changed(struct net *net)
{
    if (net->backend->changed)
        net->backend->changed(net);
}

/* ---- Queues ---------------------------------------------------------------------------------- */

/*
 * Queues 0 and 1 are the first pair, 2 and 3 the second...; behind the last pair comes the control
 * queue, but a driver that did not take VIRTIO_NET_F_MQ has it right behind the first pair (virtio
 * 1.2, section 5.1.2). A front-end that keeps the control queue to itself may run all pairs.
 */
static enum role role_of(const struct net *net, uint32_t queue)
{
    uint64_t taken = hvv_features(net->dev);
    uint32_t pairs = taken & NET_FEATURE(MQ) ? net->n_pairs : 1;
    if (taken & NET_FEATURE(CTRL_VQ) && queue == 2 * pairs)
        return ROLE_CONTROL;
    if (queue == 2 * net->n_pairs)
        return ROLE_CONTROL;
    return queue % 2 ? ROLE_TRANSMIT : ROLE_RECEIVE;
}

/* The first queue after a reset starts: what was negotiated holds until the next reset. */
static void begin(struct net *net)
{
    uint64_t taken = hvv_features(net->dev);
    pthread_mutex_lock(&net->lock);
    bool fresh = net->fresh;
    net->fresh = false;
    if (fresh) {
        /* Section 5.1.6.5.5: one pair until the driver asks for more. */
        bool asks = taken & NET_FEATURE(MQ) && taken & NET_FEATURE(CTRL_VQ);
        atomic_store(&net->active_pairs, asks ? 1 : net->n_pairs);
        atomic_store(&net->guest_offloads, control_usable_offloads(taken & NET_GUEST_OFFLOADS));
        filter_reset(&net->filter, net->mac, taken & NET_FEATURE(CTRL_VLAN));
    }
    pthread_mutex_unlock(&net->lock);
    if (fresh)
        changed(net);
}

static void start_receiving(struct pair *pair)
{
    struct net *net = pair->net;
    rx_start(pair);
    atomic_fetch_or(&net->receiving, 1u << pair->index);
    changed(net);
    if (net->backend->receive)
        net->backend->receive(pair);
    net_tell(pair);
}

static void stop_receiving(struct pair *pair)
{
    struct net *net = pair->net;
    atomic_fetch_and(&net->receiving, ~(1u << pair->index));
    if (net->backend->receive_stop)
        net->backend->receive_stop(pair);
    rx_stop(pair);
    changed(net);
    net_tell(pair);
}

static void queue_start(struct hvv_device *dev, uint32_t queue)
{
    struct net *net = net_of(dev);
    begin(net);
    switch (role_of(net, queue)) {
    case ROLE_RECEIVE: start_receiving(&net->pair[queue / 2]); break;
    case ROLE_TRANSMIT: tx_start(&net->pair[queue / 2]); break;
    case ROLE_CONTROL: break;
    }
}

static void queue_stop(struct hvv_device *dev, uint32_t queue, uint32_t flags)
{
    struct net *net = net_of(dev);
    (void)flags; /* what is under way ends at once */
    if (queue == 2 * net->n_pairs)
        return;
    struct pair *pair = &net->pair[queue / 2];
    if (queue == pair->rx_queue && pair->rx_running)
        stop_receiving(pair);
    if (queue == pair->tx_queue && pair->tx_running)
        tx_stop(pair);
}

static void notify(struct hvv_device *dev, uint32_t queue)
{
    struct net *net = net_of(dev);
    struct pair *pair = queue < 2 * net->n_pairs ? &net->pair[queue / 2] : NULL;
    if (pair && queue == pair->tx_queue && pair->tx_running) {
        if (!pair->blocked)
            tx_run(pair);
    } else if (pair && queue == pair->rx_queue && pair->rx_running) {
        if (net->backend->receive)
            net->backend->receive(pair);
        net_tell(pair);
    } else {
        control_run(net, queue);
    }
}

static uint32_t poll_queue(struct hvv_device *dev, uint32_t queue)
{
    struct net *net = net_of(dev);
    if (!net->backend->poll || queue % 2 || queue == 2 * net->n_pairs ||
        !net->pair[queue / 2].rx_running)
        return 0;
    return net->backend->poll(&net->pair[queue / 2]);
}

static void memory_changed(struct hvv_device *dev, uint32_t queue)
{
    struct net *net = net_of(dev);
    if (queue >= 2 * net->n_pairs)
        return;
    struct pair *pair = &net->pair[queue / 2];
    if (queue == pair->tx_queue && pair->tx_running && net->backend->let_go)
        net->backend->let_go(pair);
    if (queue == pair->rx_queue && pair->rx_running) {
        rx_hand_back(pair);
        net_wake(pair);
    }
}

static void reset(struct hvv_device *dev)
{
    struct net *net = net_of(dev);
    pthread_mutex_lock(&net->lock);
    net->fresh = true;
    pthread_mutex_unlock(&net->lock);
    atomic_store(&net->guest_offloads, 0);
    atomic_store(&net->active_pairs, net->n_pairs);
    filter_reset(&net->filter, net->mac, false);
    (void)hvv_config_set(dev, 0, net->mac, sizeof(net->mac), 0);
    net_set_status(net, 0, VIRTIO_NET_S_ANNOUNCE);
    changed(net);
}

/* ---- Commands -------------------------------------------------------------------------------- */

static int32_t run_link(struct hvv_device *dev, struct hvv_call *call)
{
    struct net *net = net_of(dev);
    bool up = strcmp(hvv_call_string(dev, call, "state"), "up") == 0;
    bool was = atomic_exchange(&net->link, up);
    hvv_call_result(dev, call, "link", up ? "up" : "down");
    if (was == up)
        return 0;
    net_set_status(net, up ? VIRTIO_NET_S_LINK_UP : 0, up ? 0 : VIRTIO_NET_S_LINK_UP);
    const uint8_t *mac = net->mac;
    hvv_event(dev, up ? NET_EVENT_LINK_UP : NET_EVENT_LINK_DOWN,
              "mac=%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    changed(net);
    for (uint32_t i = 0; i < net->n_pairs; i++)
        net_wake(&net->pair[i]);
    return 0;
}

static int32_t run_announce(struct hvv_device *dev, struct hvv_call *call)
{
    if (!(hvv_features(dev) & NET_FEATURE(GUEST_ANNOUNCE)))
        return hvv_call_error(dev, call, ENOTSUP, "the driver did not take GUEST_ANNOUNCE; bring "
                              "its link down and up instead");
    net_set_status(net_of(dev), VIRTIO_NET_S_ANNOUNCE, 0);
    return 0;
}

static int32_t run_capture(struct hvv_device *dev, struct hvv_call *call)
{
    return capture_start(&net_of(dev)->capture, dev, call);
}

static int32_t run_capture_stop(struct hvv_device *dev, struct hvv_call *call)
{
    return capture_stop(&net_of(dev)->capture, dev, call);
}

/* ---- Create ---------------------------------------------------------------------------------- */

static int32_t add_queues(struct net *net, uint32_t size)
{
    for (uint32_t i = 0; i < net->n_pairs; i++) {
        int32_t first = hvv_add_queues(net->dev, 2, size, HVV_SEGMENTS_MAX, HVV_QUEUES_TOGETHER);
        if (first < 0)
            return hvv_error(net->dev, -first, "%u pairs of queues of %u descriptors cannot be "
                             "made: %s; use fewer or smaller ones", net->n_pairs, size,
                             strerror(-first));
    }
    int32_t control = hvv_add_queues(net->dev, 1, CONTROL_QUEUE_SIZE, CONTROL_SEGMENTS, 0);
    if (control < 0)
        return hvv_error(net->dev, -control, "the control queue cannot be made: %s",
                         strerror(-control));
    return 0;
}

static uint64_t features(const struct net *net)
{
    uint64_t bits = NET_FEATURE(MAC) | NET_FEATURE(STATUS) | NET_FEATURE(CTRL_VQ) |
                    NET_FEATURE(CTRL_RX) | NET_FEATURE(CTRL_RX_EXTRA) | NET_FEATURE(CTRL_VLAN) |
                    NET_FEATURE(CTRL_MAC_ADDR) | NET_FEATURE(GUEST_ANNOUNCE) | net->offloads;
    if (net->offloads & NET_GUEST_OFFLOADS)
        bits |= NET_FEATURE(CTRL_GUEST_OFFLOADS);
    if (net->merge)
        bits |= NET_FEATURE(MRG_RXBUF);
    if (net->mtu)
        bits |= NET_FEATURE(MTU);
    if (net->n_pairs > 1)
        bits |= NET_FEATURE(MQ);
    return bits;
}

/* What the host shows to the driver, known once the back-end is open. */
static int32_t describe(struct net *net)
{
    struct hvv_device *dev = net->dev;
    struct virtio_net_config config = {
        .status = net->status,
        .max_virtqueue_pairs = (uint16_t)net->n_pairs,
        .mtu = (uint16_t)net->mtu,
    };
    char text[18];
    memcpy(config.mac, net->mac, sizeof(config.mac));
    snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", net->mac[0], net->mac[1],
             net->mac[2], net->mac[3], net->mac[4], net->mac[5]);
    hvv_describe(dev, "mac", text);
    hvv_describe(dev, "backend", net->backend->name);
    if (!hvv_option_u64(dev, "offload"))
        net->offloads = 0;
    hvv_set_features(dev, features(net), net->backend->in_order ? HVV_FEATURES_IN_ORDER : 0);
    int32_t rc = hvv_config_set(dev, 0, &config, offsetof(struct virtio_net_config, speed), 0);
    return rc < 0 ? hvv_error(dev, -rc, "the config space cannot be set: %s", strerror(-rc)) : 0;
}

static void net_free(struct net *net)
{
    for (uint32_t i = 0; i < net->n_pairs; i++)
        rx_free(&net->pair[i]);
    capture_free(&net->capture);
    filter_free(&net->filter);
    pthread_mutex_destroy(&net->lock);
    free(net);
}

static struct net *net_new(struct hvv_device *dev, uint32_t n_pairs)
{
    struct net *net = aligned_alloc(64, sizeof(*net) + n_pairs * sizeof(net->pair[0]));
    if (!net)
        return NULL;
    memset(net, 0, sizeof(*net) + n_pairs * sizeof(net->pair[0]));
    net->dev = dev;
    net->n_pairs = n_pairs;
    net->fresh = true;
    atomic_store(&net->active_pairs, n_pairs);
    pthread_mutex_init(&net->lock, NULL);
    filter_init(&net->filter, net->mac);
    capture_init(&net->capture);
    bool ok = true;
    for (uint32_t i = 0; i < n_pairs; i++) {
        struct pair *pair = &net->pair[i];
        pair->net = net;
        pair->index = i;
        pair->rx_queue = 2 * i;
        pair->tx_queue = 2 * i + 1;
        pair->wake.run = wake;
        atomic_flag_clear(&pair->wake_posted);
        tx_init(pair);
        ok &= rx_init(pair) == 0;
    }
    if (ok)
        return net;
    net_free(net);
    return NULL;
}

static int32_t read_options(struct net *net)
{
    struct hvv_device *dev = net->dev;
    int32_t rc = options_backend(dev, &net->backend, &net->name);
    if (rc == 0)
        rc = options_mac(dev, net->mac);
    if (rc < 0)
        return rc;
    net->mtu = (uint32_t)hvv_option_u64(dev, "mtu");
    net->merge = hvv_option_u64(dev, "merge");
    atomic_store(&net->link, hvv_option_u64(dev, "link"));
    net->status = atomic_load(&net->link) ? VIRTIO_NET_S_LINK_UP : 0;
    filter_reset(&net->filter, net->mac, false);
    return 0;
}

static int32_t create(struct hvv_device *dev)
{
    uint32_t size = (uint32_t)hvv_option_u64(dev, "queue-size");
    if (size & (size - 1))
        return hvv_error_option(dev, EINVAL, "queue-size", "%u is not a power of two; use 256 or "
                                "1024, say", size);
    struct net *net = net_new(dev, (uint32_t)hvv_option_u64(dev, "queues"));
    if (!net)
        return hvv_error(dev, ENOMEM, "no memory for the device's state");
    int32_t rc = read_options(net);
    if (rc == 0)
        rc = add_queues(net, size); /* before open: watches belong to queues */
    if (rc == 0)
        rc = net->backend->open(net);
    if (rc < 0)
        goto fail;
    rc = describe(net);
    if (rc < 0)
        goto close;
    dev->state = net;
    return 0;
close:
    net->backend->close(net);
fail:
    net_free(net);
    return rc;
}

static void destroy(struct hvv_device *dev)
{
    struct net *net = net_of(dev);
    net->backend->close(net);
    net_free(net);
}

static void publish(struct hvv_device *dev)
{
    struct net *net = net_of(dev);
    if (net->backend->publish)
        net->backend->publish(net);
}

static void stop(struct hvv_device *dev)
{
    struct net *net = net_of(dev);
    capture_cancel(&net->capture);
    if (net->backend->stop)
        net->backend->stop(net);
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
    .poll = poll_queue,
    .memory_changed = memory_changed,
    .reset = reset,
    .stop = stop,
};

static const struct hvv_option options[] = {
    {.name = "backend", .type = HVV_OPTION_STRING, .flags = HVV_OPTION_POSITIONAL,
     .help = "where frames go: user, socket, null, loop, or the name of a tap"},
    {.name = "tap", .type = HVV_OPTION_STRING, .help = "the tap interface to use"},
    {.name = "switch", .type = HVV_OPTION_STRING,
     .help = "the switch inside the daemon to be a port of; it is there while it has ports"},
    {.name = "mac", .type = HVV_OPTION_STRING,
     .help = "address of the guest, made from the device's name if absent"},
    {.name = "queues", .type = HVV_OPTION_U64, .min = 1, .max = NET_PAIRS_MAX, .dflt = "1",
     .help = "pairs of queues"},
    {.name = "queue-size", .type = HVV_OPTION_U64, .min = 64, .max = HVV_QUEUE_SIZE_MAX,
     .dflt = "1024", .help = "largest number of descriptors in a queue, a power of two"},
    {.name = "mtu", .type = HVV_OPTION_U64, .min = ETHERNET_MTU_MIN, .max = 65535,
     .help = "largest packet, told to the guest"},
    {.name = "offload", .type = HVV_OPTION_BOOL, .dflt = "on",
     .help = "offer checksums and large segments"},
    {.name = "merge", .type = HVV_OPTION_BOOL, .dflt = "on",
     .help = "offer to put one frame in several buffers"},
    {.name = "link", .type = HVV_OPTION_BOOL, .dflt = "on", .help = "start with the link up"},
    {.name = "create", .type = HVV_OPTION_BOOL, .dflt = "off",
     .help = "make the tap if it does not exist; it goes with the device"},
    {.name = "bridge", .type = HVV_OPTION_STRING, .help = "the bridge that the tap joins"},
    {.name = "hostfwd", .type = HVV_OPTION_STRING, .flags = HVV_OPTION_MULTI,
     .help = "port to the guest, PROTOCOL:ADDRESS:PORT-GUEST:PORT, for backend=user"},
    {.name = "network", .type = HVV_OPTION_STRING, .dflt = NULL,
     .help = "the guest's network for backend=user, 10.0.2.0/24 if absent"},
    {.name = "restrict", .type = HVV_OPTION_BOOL, .dflt = "off",
     .help = "the guest reaches nothing but hostfwd, for backend=user"},
    {.name = "path", .type = HVV_OPTION_PATH, .help = "our socket, for backend=socket"},
    {.name = "peer", .type = HVV_OPTION_PATH, .help = "the other side's, for backend=socket"},
    {.name = "isolated", .type = HVV_OPTION_BOOL, .dflt = "off",
     .help = "this port of a switch reaches no other isolated one"},
    {.name = "flood", .type = HVV_OPTION_U64, .min = FRAME_MIN, .max = FRAME_MAX,
     .help = "send frames of this size as fast as the guest takes them, for backend=null"},
};

static const struct hvv_option link_params[] = {
    {.name = "state", .type = HVV_OPTION_CHOICE, .choices = "up down",
     .flags = HVV_OPTION_REQUIRED, .help = "what the guest sees of its cable"},
};

static const struct hvv_option capture_params[] = {
    {.name = "path", .type = HVV_OPTION_PATH, .flags = HVV_OPTION_REQUIRED,
     .help = "the file to write"},
    {.name = "snaplen", .type = HVV_OPTION_U64, .min = 64, .max = FRAME_MAX, .dflt = "65557",
     .help = "most bytes kept of one frame"},
    {.name = "overwrite", .type = HVV_OPTION_BOOL, .dflt = "off",
     .help = "replace a file that exists"},
};

#define TABLE(t) t, sizeof(t) / sizeof((t)[0]), sizeof((t)[0])

static const struct hvv_command commands[] = {
    {"link", "bring the link up or down", TABLE(link_params), 0, 0, NULL, run_link},
    {"announce", "let the guest tell its neighbours where it is", NULL, 0, 0, 0, 0, NULL,
     run_announce},
    {"capture", "write the device's frames to a pcap file", TABLE(capture_params), 0, 0, NULL,
     run_capture},
    {"capture-stop", "end a capture", NULL, 0, 0, 0, 0, NULL, run_capture_stop},
};

#define COUNTER(name, help) {name, help, HVV_COUNTER_QUEUE, 0}

static const struct hvv_counter counters[NET_COUNTERS] = {
    [NET_TX_FRAMES] = COUNTER("tx-frames", "frames taken from the guest"),
    [NET_SENT] = COUNTER("tx-sent", "frames passed on"),
    [NET_SENT_BYTES] = COUNTER("tx-bytes", "bytes of the frames passed on"),
    [NET_TX_LINK_DOWN] = COUNTER("tx-link-down", "frames dropped: the link is down"),
    [NET_TX_BAD_LENGTH] = COUNTER("tx-bad-length", "frames dropped: too short or too long"),
    [NET_TX_BAD_HEADER] = COUNTER("tx-bad-header", "frames dropped: a header that makes no sense"),
    [NET_TX_NO_PEER] = COUNTER("tx-no-peer", "frames dropped: nobody is there to take them"),
    [NET_TX_PEER_FULL] = COUNTER("tx-peer-full", "frames dropped: the receiver does not keep up"),
    [NET_TX_REFUSED] = COUNTER("tx-refused", "frames dropped: refused by the back-end"),
    [NET_RX_FRAMES] = COUNTER("rx-frames", "frames for the guest"),
    [NET_RECEIVED] = COUNTER("rx-received", "frames given to the guest"),
    [NET_RECEIVED_BYTES] = COUNTER("rx-bytes", "bytes of the frames given to the guest"),
    [NET_RX_LINK_DOWN] = COUNTER("rx-link-down", "frames dropped: the link is down"),
    [NET_RX_FILTERED] = COUNTER("rx-filtered", "frames dropped: the guest does not want them"),
    [NET_RX_TOO_LONG] = COUNTER("rx-too-long", "frames dropped: longer than the guest's buffers"),
    [NET_RX_NO_BUFFER] = COUNTER("rx-no-buffer", "frames dropped: the guest has no buffer"),
    [NET_RX_BAD_FRAME] = COUNTER("rx-bad-frame", "frames dropped: not what their header says"),
    [NET_CHECKSUMMED] = COUNTER("rx-checksummed", "frames checksummed for the guest"),
    [NET_SEGMENTED] = COUNTER("rx-segmented", "large frames cut for the guest"),
    [NET_CAPTURE_MISSED] = COUNTER("capture-missed", "frames not in the capture: it was behind"),
};

static const struct hvv_event events[NET_EVENTS] = {
    [NET_EVENT_LINK_UP] = {"link-up", "the link came up"},
    [NET_EVENT_LINK_DOWN] = {"link-down", "the link went down"},
};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin),
    .abi_minor = HVV_ABI_MINOR,
    .name = "net",
    .version = "1.0.0",
    .description = "virtio network device on a tap, a switch, sockets or the user's own network",
    .virtio_id = VIRTIO_ID_NET,
    .threads = HVV_SERIAL_QUEUE,
    .chain_state_size = sizeof(struct kept),
    .queue_unit = 2,
    .ops = &ops,
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .option_size = sizeof(options[0]),
    .commands = commands,
    .n_commands = sizeof(commands) / sizeof(commands[0]),
    .command_size = sizeof(commands[0]),
    .counters = counters,
    .n_counters = NET_COUNTERS,
    .counter_size = sizeof(counters[0]),
    .events = events,
    .n_events = NET_EVENTS,
    .event_size = sizeof(events[0]),
    .qemu = "-netdev vhost-user,id=net0,chardev={chardev},queues={queues} "
            "-device virtio-net-pci,netdev=net0",
};

const struct hvv_plugin *hvv_plugin_v1(void)
{
    return &plugin;
}
