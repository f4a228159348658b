/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * endpoint.c - a device's vhost-user socket. Control thread, but for stage and destroy (builder).
 *
 * The socket is bound to its final path while staged, without listen(): a connect is refused. It
 * listens as the last step of a request and accepts once all devices of the request are published.
 * It stays until the device is removed, whatever front-ends come and go; one is served at a time,
 * another is turned away at once. While the device still finishes the work of a front-end that
 * left, the next one waits in the backlog.
 */
#include "daemon.h"
#include "transport/vhost-user/vhost-user.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 8

/* The front-end hung up, and this thread has not come to reading that yet. */
static bool hung_up(const struct session *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void on_connect(void *arg, uint32_t events)
{
    (void)events;
    struct endpoint *e = arg;
    if (e->session && hung_up(e->session)) {
        session_close(e->session, "connection closed by the front-end");
        return; /* the new one is accepted when the old one has ended */
    }
    int fd = accept4(e->claim.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            device_log(e->dev, HVV_LOG_WARNING, "a front-end cannot be accepted: %s",
                       strerror(errno));
        return;
    }
    if (e->session) {
        device_log(e->dev, HVV_LOG_WARNING, "a second front-end was turned away: process %d is "
                   "connected", (int)e->session->peer_pid);
        close(fd);
        return;
    }
    e->session = session_new(e, fd);
    if (!e->session) {
        device_log(e->dev, HVV_LOG_WARNING, "out of memory for a front-end");
        close(fd);
    }
}

/* The session is gone and the device is reset: serve the next front-end, or let the device go. */
void endpoint_session_ended(struct endpoint *e)
{
    e->session = NULL;
    if (e->closed)
        e->closed(e->dev);
    else
        watch_set(e->accept, HVV_WATCH_READ);
}

static int endpoint_listen(struct device *dev, struct error *error)
{
    struct endpoint *e = dev->transport_state;
    if (listen(e->claim.fd, BACKLOG) < 0)
        return error_option(error, errno, "socket", "cannot listen on %s: %s", e->claim.path,
                            strerror(errno));
    return 0;
}

static void endpoint_publish(struct device *dev)
{
    struct endpoint *e = dev->transport_state;
    watch_set(e->accept, HVV_WATCH_READ);
}

static bool endpoint_bound(const struct device *dev)
{
    const struct endpoint *e = dev->transport_state;
    if (!e->session || e->session->closing || hung_up(e->session))
        return false;
    return device_has_running_queue(dev);
}

static void endpoint_close(struct device *dev, void (*done)(struct device *dev))
{
    struct endpoint *e = dev->transport_state;
    watch_set(e->accept, 0);
    e->closed = done;
    if (e->session)
        session_close(e->session, "the device is removed");
    else
        done(dev);
}

static void endpoint_destroy(struct device *dev)
{
    struct endpoint *e = dev->transport_state;
    for (uint32_t i = 0; i < dev->n_queues; i++)
        ring_clear(&e->rings[i]);
    watch_free(e->accept);
    claim_release(&e->claim);
    free(e->rings);
    free(e);
}

static void endpoint_config_changed(struct device *dev)
{
    struct endpoint *e = dev->transport_state;
    if (e->session)
        session_notify_config(e->session);
}

/* DEVICE_NEEDS_RESET shows in VU_GET_STATUS; here the front-end is told to look. */
static void endpoint_broke(struct device *dev)
{
    struct endpoint *e = dev->transport_state;
    for (uint32_t i = 0; i < dev->n_queues; i++)
        ring_signal_error(&e->rings[i]);
    endpoint_config_changed(dev);
}

static void endpoint_describe(const struct device *dev,
                              void (*say)(void *arg, const char *key, const char *value), void *arg)
{
    const struct endpoint *e = dev->transport_state;
    char pid[16];
    say(arg, "socket", e->claim.path);
    say(arg, "connected", e->session ? "true" : "false");
    if (e->session) {
        snprintf(pid, sizeof(pid), "%d", (int)e->session->peer_pid);
        say(arg, "peer", pid);
    }
}

/* Replaces {chardev} and {queues} in the plugin's template. */
static void fill_in(char *out, size_t size, const char *template, const struct device *dev)
{
    size_t n = 0;
    while (*template && n + 1 < size) {
        if (strncmp(template, "{chardev}", 9) == 0) {
            n += (size_t)snprintf(out + n, size - n, "%s", dev->id);
            template += 9;
        } else if (strncmp(template, "{queues}", 8) == 0) {
            n += (size_t)snprintf(out + n, size - n, "%u", device_queue_units(dev));
            template += 8;
        } else {
            out[n++] = *template++;
        }
    }
    out[n < size ? n : size - 1] = '\0';
}

static void endpoint_hints(const struct device *dev,
                           void (*say)(void *arg, const char *front_end, const char *text),
                           void *arg)
{
    const struct endpoint *e = dev->transport_state;
    const struct hvv_plugin *info = &dev->plugin->info;
    char text[1024], device[512];
    if (info->qemu) {
        fill_in(device, sizeof(device), info->qemu, dev);
        snprintf(text, sizeof(text), "-chardev socket,id=%s,path=%s %s", dev->id, e->claim.path,
                 device);
        say(arg, "QEMU", text);
        say(arg, "QEMU guest memory", "-object memory-backend-memfd,id=mem,size=SIZE,share=on "
            "-machine memory-backend=mem");
    }
    snprintf(text, sizeof(text), "virtio_uml.device=%s:%u", e->claim.path, info->virtio_id);
    say(arg, "User-mode Linux", text);
}

static const struct transport_ops vhost_user = {
    .name = "vhost-user",
    .listen = endpoint_listen,
    .publish = endpoint_publish,
    .bound = endpoint_bound,
    .close = endpoint_close,
    .destroy = endpoint_destroy,
    .queue_running = ring_running,
    .interrupt = ring_interrupt,
    .config_changed = endpoint_config_changed,
    .broke = endpoint_broke,
    .describe = endpoint_describe,
    .hints = endpoint_hints,
};

static int claim_path(struct endpoint *e, struct error *error)
{
    const struct conf *conf = e->dev->daemon->conf;
    const char *path = options_string(&e->dev->options, "socket", 0);
    char *dflt = NULL;
    if (!path && asprintf(&dflt, "%s/%s.sock", conf->socket_dir, e->dev->id) < 0)
        return error_set(error, ENOMEM, "out of memory for device %s", e->dev->id);
    int rc = claim_socket(&e->claim, path ? path : dflt, SOCK_STREAM, conf->socket_mode,
                          error);
    free(dflt);
    if (rc < 0)
        snprintf(error->option, sizeof(error->option), "socket");
    return rc;
}

int vhost_user_stage(struct device *dev, struct error *error)
{
    struct endpoint *e = calloc(1, sizeof(*e));
    struct ring *rings = calloc(dev->n_queues, sizeof(*rings));
    if (!e || !rings) {
        error_set(error, ENOMEM, "out of memory for device %s", dev->id);
        goto free_endpoint;
    }
    e->dev = dev;
    e->rings = rings;
    e->inband = options_u64(&dev->options, "inband", 0);
    if (claim_path(e, error) < 0)
        goto free_endpoint;
    e->accept = watch_new(dev->daemon->loop, e->claim.fd, on_connect, e);
    if (!e->accept) {
        error_set(error, ENOMEM, "out of memory for device %s", dev->id);
        goto release;
    }
    for (uint32_t i = 0; i < dev->n_queues; i++)
        ring_init(&rings[i], e, &dev->queues[i]);
    dev->transport = &vhost_user;
    dev->transport_state = e;
    return 0;
release:
    claim_release(&e->claim);
free_endpoint:
    free(rings);
    free(e);
    return -error->err;
}
