/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The front-end's connection; see vhost-user.h for the layers, the thread and the ownership.
 */
#include "vhost-user.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"

#define FE_RETRY_MS 5

__attribute__((format(printf, 3, 4))) static int fail(struct fe *fe, int err, const char *format,
                                                      ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(fe->error, sizeof(fe->error), format, args);
    va_end(args);
    return err;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* --- connection --- */

void fe_init(struct fe *fe)
{
    memset(fe, 0, sizeof(*fe));
    fe->sock = -1;
    fe->channel = -1;
    fe->timeout_ms = BACKEND_PATIENCE_MS;
    for (unsigned int i = 0; i < FE_RINGS_MAX; i++)
        fe->vring[i] = (struct fe_vring){ -1, -1, -1, -1 };
}

/* A full backlog is a reason to wait; a blocking connect() would do so without a deadline. */
static int try_connect(struct fe *fe, const struct sockaddr_un *addr)
{
    int err;

    fe->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fe->sock < 0)
        return -errno;
    if (connect(fe->sock, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
        return 0;
    err = -errno;
    close_fd(&fe->sock);
    return err;
}

int fe_connect(struct fe *fe, const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    uint64_t deadline = clock_deadline(fe->timeout_ms);
    int err;

    if (strlen(path) >= sizeof(addr.sun_path))
        return fail(fe, -ENAMETOOLONG, "%s: a socket path has at most %zu bytes", path,
                    sizeof(addr.sun_path) - 1);
    strcpy(addr.sun_path, path);
    for (;;) {
        err = try_connect(fe, &addr);
        if (err != -EAGAIN && err != -ECONNREFUSED && err != -ENOENT)
            break;
        if (!clock_left_ms(deadline))
            break;
        poll(NULL, 0, FE_RETRY_MS); /* nothing can be watched for a listener to appear */
    }
    if (err)
        return fail(fe, err, "%s: cannot connect: %s", path, strerror(-err));
    return 0;
}

static void close_vring(struct fe_vring *v)
{
    if (v->call_peer != v->call)
        close_fd(&v->call_peer);
    v->call_peer = -1;
    close_fd(&v->call);
    close_fd(&v->kick);
    close_fd(&v->err);
}

void fe_disconnect(struct fe *fe)
{
    close_fd(&fe->sock);
    close_fd(&fe->channel);
    fe->proto = 0; /* the next connection negotiates anew */
    for (unsigned int i = 0; i < FE_RINGS_MAX; i++)
        close_vring(&fe->vring[i]);
}

bool fe_alive(const struct fe *fe)
{
    struct pollfd p = { .fd = fe->sock, .events = POLLRDHUP };

    return fe->sock >= 0 && poll(&p, 1, 0) == 0;
}

/* --- raw messages --- */

static int wait_for(struct fe *fe, int sock, short events, uint64_t deadline)
{
    struct pollfd p = { .fd = sock, .events = events };
    int n;

    do {
        n = poll(&p, 1, clock_left_ms(deadline));
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return fail(fe, -errno, "poll: %s", strerror(errno));
    if (n == 0)
        return fail(fe, -ETIMEDOUT, "the back-end did not %s within %d ms",
                    events & POLLIN ? "answer" : "read", fe->timeout_ms);
    return 0;
}

static void attach_fds(struct msghdr *msg, void *control, const int *fd, unsigned int fds)
{
    struct cmsghdr *c;

    if (!fds)
        return;
    msg->msg_control = control;
    msg->msg_controllen = CMSG_SPACE(fds * sizeof(int));
    c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds * sizeof(int));
    memcpy(CMSG_DATA(c), fd, fds * sizeof(int));
}

static ssize_t send_some(int sock, const void *bytes, size_t len, const int *fd,
                         unsigned int fds)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(FE_FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    memset(&control, 0, sizeof(control));
    attach_fds(&msg, &control, fd, fds);
    do {
        n = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n;
}

static int write_all(struct fe *fe, int sock, const void *bytes, size_t len, const int *fd,
                     unsigned int fds)
{
    uint64_t deadline = clock_deadline(fe->timeout_ms);
    const uint8_t *at = bytes;

    if (fds > FE_FDS_MAX)
        return fail(fe, -EINVAL, "%u descriptors in one message; at most %u", fds, FE_FDS_MAX);
    while (len) {
        ssize_t n = send_some(sock, at, len, fd, fds);
        int err = 0;

        if (n < 0 && errno == EAGAIN)
            err = wait_for(fe, sock, POLLOUT, deadline);
        else if (n < 0)
            err = fail(fe, -errno, "send: %s", strerror(errno));
        if (err)
            return err;
        if (n <= 0)
            continue;
        at += n;
        len -= (size_t)n;
        fds = 0;
    }
    return 0;
}

int fe_write(struct fe *fe, const void *bytes, size_t len, const int *fd, unsigned int fds)
{
    return write_all(fe, fe->sock, bytes, len, fd, fds);
}

int fe_write_slowly(struct fe *fe, const void *bytes, size_t len, size_t step, const int *fd,
                    unsigned int fds)
{
    const uint8_t *at = bytes;
    int err = 0;

    for (size_t done = 0; done < len && !err; done += step) {
        size_t part = len - done < step ? len - done : step;

        err = fe_write(fe, at + done, part, fd, fds);
        fds = 0;
    }
    return err;
}

size_t fe_encode(uint8_t *out, uint32_t request, uint32_t flags, const void *payload,
                 uint32_t size)
{
    struct vhu_header header = { request, flags, size };

    memcpy(out, &header, VHU_HEADER_SIZE);
    if (size)
        memcpy(out + VHU_HEADER_SIZE, payload, size);
    return VHU_HEADER_SIZE + size;
}

static int send_on(struct fe *fe, int sock, const struct vhu_header *header, const void *payload,
                   const int *fd, unsigned int fds)
{
    uint8_t bytes[VHU_HEADER_SIZE + FE_PAYLOAD_MAX];
    size_t len;

    if (header->size > FE_PAYLOAD_MAX)
        return fail(fe, -EINVAL, "payload of %u bytes; at most %u", header->size,
                    FE_PAYLOAD_MAX);
    len = fe_encode(bytes, header->request, header->flags, payload, header->size);
    return write_all(fe, sock, bytes, len, fd, fds);
}

int fe_send(struct fe *fe, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
            const int *fd, unsigned int fds)
{
    struct vhu_header header = { request, flags, size };

    return send_on(fe, fe->sock, &header, payload, fd, fds);
}

void fe_msg_close(struct fe_msg *msg)
{
    for (unsigned int i = 0; i < msg->fds; i++)
        close_fd(&msg->fd[i]);
    msg->fds = 0;
}

static void keep_fds(struct fe_msg *msg, struct msghdr *h)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (msg->fds < FE_FDS_MAX)
                msg->fd[msg->fds++] = fd;
            else
                close(fd);
        }
    }
}

static ssize_t recv_some(int sock, void *bytes, size_t len, struct fe_msg *msg)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(FE_FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = { .iov_base = bytes, .iov_len = len };
    struct msghdr h = { .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = &control,
                        .msg_controllen = sizeof(control) };
    ssize_t n;

    do {
        n = recvmsg(sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n > 0)
        keep_fds(msg, &h);
    return n;
}

static int read_all(struct fe *fe, int sock, void *bytes, size_t len, struct fe_msg *msg,
                    uint64_t deadline)
{
    uint8_t *at = bytes;

    while (len) {
        ssize_t n = recv_some(sock, at, len, msg);
        int err = 0;

        if (n == 0)
            err = fail(fe, -ECONNRESET, "the back-end closed the connection");
        else if (n < 0 && errno == EAGAIN)
            err = wait_for(fe, sock, POLLIN, deadline);
        else if (n < 0)
            err = fail(fe, -errno, "receive: %s", strerror(errno));
        if (err)
            return err;
        if (n <= 0)
            continue;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static int recv_on(struct fe *fe, int sock, struct fe_msg *msg)
{
    uint64_t deadline = clock_deadline(fe->timeout_ms);
    int err;

    msg->fds = 0;
    err = read_all(fe, sock, &msg->header, VHU_HEADER_SIZE, msg, deadline);
    if (!err && msg->header.size > FE_PAYLOAD_MAX)
        err = fail(fe, -EMSGSIZE, "message %u announces %u bytes; at most %u",
                   msg->header.request, msg->header.size, FE_PAYLOAD_MAX);
    if (!err)
        err = read_all(fe, sock, msg->payload, msg->header.size, msg, deadline);
    if (err)
        fe_msg_close(msg);
    return err;
}

int fe_recv(struct fe *fe, struct fe_msg *msg)
{
    return recv_on(fe, fe->sock, msg);
}

int fe_wait_hangup(struct fe *fe)
{
    uint64_t deadline = clock_deadline(fe->timeout_ms);
    uint8_t waste[512];
    struct fe_msg msg = { .fds = 0 };

    for (;;) {
        ssize_t n = recv_some(fe->sock, waste, sizeof(waste), &msg);
        int err = 0;

        fe_msg_close(&msg);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return 0;
        if (n < 0)
            err = wait_for(fe, fe->sock, POLLIN, deadline);
        else if (!clock_left_ms(deadline))
            err = fail(fe, -ETIMEDOUT, "the back-end did not hang up");
        if (err)
            return err;
    }
}

/* --- well-formed requests --- */

static int check_reply(struct fe *fe, uint32_t request, const struct fe_msg *reply)
{
    if (reply->header.request != request)
        return fail(fe, -EPROTO, "request %u was answered as request %u", request,
                    reply->header.request);
    if (reply->header.flags != (VHU_FLAG_VERSION | VHU_FLAG_REPLY))
        return fail(fe, -EPROTO, "the reply to request %u has flags 0x%x, not 0x5", request,
                    reply->header.flags);
    return 0;
}

int fe_query(struct fe *fe, uint32_t request, const void *payload, uint32_t size,
             struct fe_msg *reply)
{
    int err = fe_send(fe, request, VHU_FLAG_VERSION, payload, size, NULL, 0);

    if (!err)
        err = fe_recv(fe, reply);
    if (err)
        return err;
    err = check_reply(fe, request, reply);
    if (err)
        fe_msg_close(reply);
    return err;
}

static int u64_of(struct fe *fe, struct fe_msg *reply, uint64_t *value)
{
    fe_msg_close(reply);
    if (reply->header.size != sizeof(*value))
        return fail(fe, -EPROTO, "the reply to request %u has %u bytes, not 8",
                    reply->header.request, reply->header.size);
    memcpy(value, reply->payload, sizeof(*value));
    return 0;
}

int fe_query_u64(struct fe *fe, uint32_t request, uint64_t *value)
{
    struct fe_msg reply;
    int err = fe_query(fe, request, NULL, 0, &reply);

    return err ? err : u64_of(fe, &reply, value);
}

int fe_command(struct fe *fe, uint32_t request, const void *payload, uint32_t size,
               const int *fd, unsigned int fds)
{
    bool ack = fe_speaks(fe, VHU_PF_REPLY_ACK);
    uint32_t flags = VHU_FLAG_VERSION | (ack ? VHU_FLAG_NEED_REPLY : 0);
    struct fe_msg reply;
    uint64_t result = 0;
    int err = fe_send(fe, request, flags, payload, size, fd, fds);

    if (err || !ack)
        return err;
    err = fe_recv(fe, &reply);
    if (!err)
        err = check_reply(fe, request, &reply);
    if (!err)
        err = u64_of(fe, &reply, &result);
    if (!err && result)
        err = fail(fe, -EREMOTEIO, "request %u was refused with %llu", request,
                   (unsigned long long)result);
    return err;
}

int fe_command_u64(struct fe *fe, uint32_t request, uint64_t value)
{
    return fe_command(fe, request, &value, sizeof(value), NULL, 0);
}

int fe_barrier(struct fe *fe)
{
    uint64_t features;

    return fe_query_u64(fe, VHU_GET_FEATURES, &features);
}

/* --- session --- */

bool fe_has(const struct fe *fe, unsigned int feature)
{
    return fe->features & FE_BIT(feature);
}

bool fe_speaks(const struct fe *fe, enum vhu_protocol_feature feature)
{
    return fe->proto & FE_BIT(feature);
}

static int negotiate_protocol(struct fe *fe, uint64_t proto)
{
    uint64_t both;
    int err = fe_query_u64(fe, VHU_GET_PROTOCOL_FEATURES, &fe->proto_offered);

    if (err)
        return err;
    both = fe->proto_offered & proto;
    err = fe_command_u64(fe, VHU_SET_PROTOCOL_FEATURES, both);
    if (err)
        return err;
    fe->proto = both;
    if (fe_speaks(fe, VHU_PF_MQ))
        err = fe_query_u64(fe, VHU_GET_QUEUE_NUM, &fe->queue_num);
    if (!err && fe_speaks(fe, VHU_PF_CONFIGURE_MEM_SLOTS))
        err = fe_query_u64(fe, VHU_GET_MAX_MEM_SLOTS, &fe->mem_slots);
    if (!err && fe_speaks(fe, VHU_PF_BACKEND_REQ))
        err = fe_open_channel(fe);
    return err;
}

int fe_negotiate(struct fe *fe, uint64_t features, uint64_t proto)
{
    int err = fe_command(fe, VHU_SET_OWNER, NULL, 0, NULL, 0);

    fe->queue_num = 1;
    if (!err)
        err = fe_query_u64(fe, VHU_GET_FEATURES, &fe->offered);
    if (!err && (fe->offered & features & FE_BIT(VHU_F_PROTOCOL_FEATURES)))
        err = negotiate_protocol(fe, proto);
    if (!err)
        err = fe_set_features(fe, fe->offered & features);
    return err;
}

int fe_set_features(struct fe *fe, uint64_t features)
{
    int err = fe_command_u64(fe, VHU_SET_FEATURES, features);

    if (!err)
        fe->features = features;
    return err;
}

int fe_open_channel(struct fe *fe)
{
    int pair[2];
    int err;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return fail(fe, -errno, "socketpair: %s", strerror(errno));
    err = fe_command(fe, VHU_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1);
    close(pair[1]);
    if (err) {
        close(pair[0]);
        return err;
    }
    close_fd(&fe->channel);
    fe->channel = pair[0];
    return 0;
}

int fe_channel_recv(struct fe *fe, struct fe_msg *msg)
{
    struct vhu_header ack = { .flags = VHU_FLAG_VERSION | VHU_FLAG_REPLY, .size = 8 };
    uint64_t zero = 0;
    int err;

    if (fe->channel < 0)
        return fail(fe, -ENOTCONN, "there is no channel for the back-end's requests");
    err = recv_on(fe, fe->channel, msg);
    if (err || !(msg->header.flags & VHU_FLAG_NEED_REPLY))
        return err;
    ack.request = msg->header.request;
    return send_on(fe, fe->channel, &ack, &zero, NULL, 0);
}

int fe_get_config(struct fe *fe, uint32_t offset, void *data, uint32_t size)
{
    struct vhu_config want = { .offset = offset, .size = size };
    uint32_t total = VHU_CONFIG_HEADER_SIZE + size;
    struct vhu_config got;
    struct fe_msg reply;
    int err;

    if (size > VHU_CONFIG_MAX)
        return fail(fe, -EINVAL, "%u bytes of configuration; at most %u", size, VHU_CONFIG_MAX);
    err = fe_query(fe, VHU_GET_CONFIG, &want, total, &reply);
    if (err)
        return err;
    fe_msg_close(&reply);
    if (reply.header.size != total)
        return fail(fe, reply.header.size ? -EPROTO : -EREMOTEIO,
                    "the configuration at %u, %u bytes, was answered with %u bytes instead of %u",
                    offset, size, reply.header.size, total);
    memcpy(&got, reply.payload, total);
    if (got.offset != offset || got.size != size)
        return fail(fe, -EPROTO, "the configuration reply is for offset %u size %u, not %u and %u",
                    got.offset, got.size, offset, size);
    memcpy(data, got.data, size);
    return 0;
}

int fe_set_config(struct fe *fe, uint32_t offset, const void *data, uint32_t size)
{
    struct vhu_config config = { .offset = offset, .size = size };

    if (size > VHU_CONFIG_MAX)
        return fail(fe, -EINVAL, "%u bytes of configuration; at most %u", size, VHU_CONFIG_MAX);
    memcpy(config.data, data, size);
    return fe_command(fe, VHU_SET_CONFIG, &config, VHU_CONFIG_HEADER_SIZE + size, NULL, 0);
}

int fe_reset_device(struct fe *fe)
{
    return fe_command(fe, VHU_RESET_DEVICE, NULL, 0, NULL, 0);
}

int fe_set_status(struct fe *fe, uint8_t status)
{
    return fe_command_u64(fe, VHU_SET_STATUS, status);
}

int fe_get_status(struct fe *fe, uint8_t *status)
{
    uint64_t value;
    int err = fe_query_u64(fe, VHU_GET_STATUS, &value);

    if (!err && value > UINT8_MAX)
        err = fail(fe, -EPROTO, "the status 0x%llx has more than 8 bits",
                   (unsigned long long)value);
    if (!err)
        *status = (uint8_t)value;
    return err;
}

/* --- memory --- */

static struct vhu_region wire_region(const struct guestmem_region *region)
{
    return (struct vhu_region){ region->at.gpa, region->at.size, region->at.uva,
                                region->at.offset };
}

int fe_set_mem_table(struct fe *fe, const struct guestmem *mem)
{
    struct vhu_mem_table table = { .count = 0 };
    int fd[VHU_TABLE_REGIONS_MAX];

    for (unsigned int i = 0; i < GUESTMEM_REGIONS_MAX; i++) {
        if (mem->region[i].fd < 0)
            continue;
        if (table.count == VHU_TABLE_REGIONS_MAX)
            return fail(fe, -E2BIG, "a memory table has at most %u regions",
                        VHU_TABLE_REGIONS_MAX);
        fd[table.count] = mem->region[i].fd;
        table.region[table.count++] = wire_region(&mem->region[i]);
    }
    return fe_command(fe, VHU_SET_MEM_TABLE, &table,
                      (uint32_t)(8 + table.count * sizeof(struct vhu_region)), fd, table.count);
}

int fe_add_mem(struct fe *fe, const struct guestmem *mem, unsigned int region)
{
    struct vhu_mem_slot add = { .region = wire_region(&mem->region[region]) };

    return fe_command(fe, VHU_ADD_MEM_REG, &add, sizeof(add), &mem->region[region].fd, 1);
}

int fe_rem_mem(struct fe *fe, const struct guestmem *mem, unsigned int region)
{
    struct vhu_mem_slot rem = { .region = wire_region(&mem->region[region]) };

    return fe_command(fe, VHU_REM_MEM_REG, &rem, sizeof(rem), NULL, 0);
}

int fe_share_mem(struct fe *fe, const struct guestmem *mem)
{
    int err = 0;

    if (!fe_speaks(fe, VHU_PF_CONFIGURE_MEM_SLOTS))
        return fe_set_mem_table(fe, mem);
    for (unsigned int i = 0; i < GUESTMEM_REGIONS_MAX && !err; i++) {
        if (mem->region[i].fd >= 0)
            err = fe_add_mem(fe, mem, i);
    }
    return err;
}

/* --- rings --- */

static int vring_state(struct fe *fe, uint32_t request, uint32_t index, uint32_t value)
{
    struct vhu_vring_state state = { index, value };

    return fe_command(fe, request, &state, sizeof(state), NULL, 0);
}

int fe_vring_num(struct fe *fe, uint32_t index, uint32_t num)
{
    return vring_state(fe, VHU_SET_VRING_NUM, index, num);
}

int fe_vring_base(struct fe *fe, uint32_t index, uint32_t base)
{
    return vring_state(fe, VHU_SET_VRING_BASE, index, base);
}

int fe_vring_enable(struct fe *fe, uint32_t index, bool on)
{
    return vring_state(fe, VHU_SET_VRING_ENABLE, index, on);
}

int fe_vring_addr(struct fe *fe, const struct vhu_vring_addr *addr)
{
    return fe_command(fe, VHU_SET_VRING_ADDR, addr, sizeof(*addr), NULL, 0);
}

int fe_vring_fd(struct fe *fe, uint32_t request, uint32_t index, int fd)
{
    uint64_t value = index | (fd < 0 ? VHU_NO_FD : 0);

    return fe_command(fe, request, &value, sizeof(value), &fd, fd < 0 ? 0 : 1);
}

int fe_vring_get_base(struct fe *fe, uint32_t index, uint32_t *base)
{
    struct vhu_vring_state state = { index, 0 };
    struct fe_msg reply;
    int err = fe_query(fe, VHU_GET_VRING_BASE, &state, sizeof(state), &reply);

    if (err)
        return err;
    fe_msg_close(&reply);
    if (reply.header.size != sizeof(state))
        return fail(fe, -EPROTO, "the base of ring %u was answered with %u bytes, not 8", index,
                    reply.header.size);
    memcpy(&state, reply.payload, sizeof(state));
    if (state.index != index)
        return fail(fe, -EPROTO, "the base of ring %u was answered for ring %u", index,
                    state.index);
    *base = state.value;
    return 0;
}

int fe_vring_open(struct fe *fe, uint32_t index, bool socket)
{
    struct fe_vring *v = &fe->vring[index];
    int pair[2] = { -1, -1 };

    close_vring(v);
    v->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    v->err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (socket) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0) {
            v->call = pair[0];
            v->call_peer = pair[1];
        }
    } else {
        v->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        v->call_peer = v->call;
    }
    if (v->kick >= 0 && v->err >= 0 && v->call >= 0)
        return 0;
    close_vring(v);
    return fail(fe, -EMFILE, "no descriptors for ring %u: %s", index, strerror(errno));
}

static int kick_eventfd(void *arg)
{
    const struct fe_vring *v = arg;
    uint64_t one = 1;

    /* EAGAIN: the counter is full, so the back-end has a kick to see already. */
    if (write(v->kick, &one, sizeof(one)) != sizeof(one) && errno != EAGAIN)
        return -errno;
    return 0;
}

void fe_ring_addr(const struct ring *r, const struct guestmem *mem, uint32_t index,
                  struct vhu_vring_addr *addr)
{
    *addr = (struct vhu_vring_addr){
        .index = index,
        .desc = guestmem_uva(mem, r->desc),
        .used = guestmem_uva(mem, r->used),
        .avail = guestmem_uva(mem, r->avail),
    };
}

int fe_ring_start(struct fe *fe, uint32_t index, struct ring *r, const struct guestmem *mem,
                  uint32_t base)
{
    struct fe_vring *v = &fe->vring[index];
    struct vhu_vring_addr addr;
    int err = 0;

    fe_ring_addr(r, mem, index, &addr);
    if (v->kick < 0)
        err = fe_vring_open(fe, index, false);
    if (!err)
        err = fe_vring_num(fe, index, r->opt.num);
    if (!err)
        err = fe_vring_base(fe, index, base);
    if (!err)
        err = fe_vring_addr(fe, &addr);
    if (!err)
        err = fe_vring_fd(fe, VHU_SET_VRING_ERR, index, v->err);
    if (!err)
        err = fe_vring_fd(fe, VHU_SET_VRING_CALL, index, v->call_peer);
    if (!err)
        err = fe_vring_fd(fe, VHU_SET_VRING_KICK, index, v->kick);
    if (!err && fe_has(fe, VHU_F_PROTOCOL_FEATURES))
        err = fe_vring_enable(fe, index, true);
    r->kick = kick_eventfd;
    r->kick_arg = v;
    r->call_fd = v->call;
    return err;
}

int fe_ring_stop(struct fe *fe, uint32_t index, uint32_t *base)
{
    int err = 0;

    if (fe_has(fe, VHU_F_PROTOCOL_FEATURES))
        err = fe_vring_enable(fe, index, false);
    if (!err)
        err = fe_vring_get_base(fe, index, base);
    return err;
}

bool fe_ring_failed(struct fe *fe, uint32_t index)
{
    uint64_t count;

    return read(fe->vring[index].err, &count, sizeof(count)) == sizeof(count);
}
