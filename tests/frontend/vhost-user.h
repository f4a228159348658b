/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user front-end: one connection, its messages, its event descriptors.
 *
 * Two layers. Raw calls (fe_write, fe_send, fe_recv) put anything on the wire: any request, size,
 * flags, number of descriptors, in any pieces, for hostile tests. Above them, well-formed
 * requests check every reply exactly as QEMU does.
 *
 * One thread uses a connection. Nothing here waits without a deadline (`timeout_ms`). Functions
 * return 0 or -errno and leave a sentence in `error`. Guest memory and rings belong to the caller
 * and outlive a connection, so that a test can come again with the same ones.
 */
#ifndef FRONTEND_VHOST_USER_H
#define FRONTEND_VHOST_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guestmem.h"
#include "ring.h"
#include "vhost-user-proto.h"

#define FE_RINGS_MAX 64u
#define FE_FDS_MAX 32u
#define FE_PAYLOAD_MAX 4096u
#define FE_BIT(n) (1ull << (n))

struct fe_msg {
    struct vhu_header header;
    uint8_t payload[FE_PAYLOAD_MAX];
    int fd[FE_FDS_MAX]; /* owned by the receiver: fe_msg_close() */
    unsigned int fds;
};

struct fe_vring {
    int kick;
    int call; /* the end we read */
    int call_peer; /* the end the back-end writes; the same eventfd, or a socket's other end */
    int err;
};

struct fe {
    int sock;
    int channel; /* our end of the back-end's request channel, or -1 */
    int timeout_ms;
    uint64_t offered;
    uint64_t features;
    uint64_t proto_offered;
    uint64_t proto;
    uint64_t queue_num;
    uint64_t mem_slots;
    struct fe_vring vring[FE_RINGS_MAX];
    char error[200];
};

/* Connection */
void fe_init(struct fe *fe);
/* Takes the path, then retries a refused or absent one until the deadline. */
int fe_connect(struct fe *fe, const char *path);
/* Closes the socket, the channel and every event descriptor. */
void fe_disconnect(struct fe *fe);
/* False once the peer has hung up. The only call any thread may make beside the owner's. */
bool fe_alive(const struct fe *fe);
/* Waits until the peer has hung up. 0, or -ETIMEDOUT; other input is thrown away. */
int fe_wait_hangup(struct fe *fe);

/* Raw */
int fe_write(struct fe *fe, const void *bytes, size_t len, const int *fd, unsigned int fds);
/* In pieces of `step` bytes, each its own system call; descriptors go with the first. */
int fe_write_slowly(struct fe *fe, const void *bytes, size_t len, size_t step, const int *fd,
                    unsigned int fds);
/* Builds header and payload into `out` (FE_PAYLOAD_MAX + header), returns the length. */
size_t fe_encode(uint8_t *out, uint32_t request, uint32_t flags, const void *payload,
                 uint32_t size);
int fe_send(struct fe *fe, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
            const int *fd, unsigned int fds);
int fe_recv(struct fe *fe, struct fe_msg *msg);
void fe_msg_close(struct fe_msg *msg);

/* A request that always has a reply; checks request number and flags of the reply. */
int fe_query(struct fe *fe, uint32_t request, const void *payload, uint32_t size,
             struct fe_msg *reply);
int fe_query_u64(struct fe *fe, uint32_t request, uint64_t *value);
/* A request without one: asks for an acknowledgement once REPLY_ACK is negotiated. */
int fe_command(struct fe *fe, uint32_t request, const void *payload, uint32_t size,
               const int *fd, unsigned int fds);
int fe_command_u64(struct fe *fe, uint32_t request, uint64_t value);
/* Returns once every message before it has been dealt with. */
int fe_barrier(struct fe *fe);

/* Session. fe_negotiate: owner, features, protocol features, queue and slot counts, channel. */
int fe_negotiate(struct fe *fe, uint64_t features, uint64_t proto);
bool fe_has(const struct fe *fe, unsigned int feature);
bool fe_speaks(const struct fe *fe, enum vhu_protocol_feature feature);
int fe_set_features(struct fe *fe, uint64_t features);
int fe_open_channel(struct fe *fe);
/* Next message of the back-end, acknowledged if it asks for that. 0, -ETIMEDOUT or -errno. */
int fe_channel_recv(struct fe *fe, struct fe_msg *msg);
int fe_get_config(struct fe *fe, uint32_t offset, void *data, uint32_t size);
int fe_set_config(struct fe *fe, uint32_t offset, const void *data, uint32_t size);
int fe_reset_device(struct fe *fe);
int fe_set_status(struct fe *fe, uint8_t status);
int fe_get_status(struct fe *fe, uint8_t *status);

/* Memory: the whole table, or one region at a time. */
int fe_set_mem_table(struct fe *fe, const struct guestmem *mem);
int fe_add_mem(struct fe *fe, const struct guestmem *mem, unsigned int region);
int fe_rem_mem(struct fe *fe, const struct guestmem *mem, unsigned int region);
/* By slots where the back-end has them, else by table. */
int fe_share_mem(struct fe *fe, const struct guestmem *mem);

/* One ring, message by message. fd -1 sends the "no descriptor" form. */
int fe_vring_num(struct fe *fe, uint32_t index, uint32_t num);
int fe_vring_base(struct fe *fe, uint32_t index, uint32_t base);
int fe_vring_addr(struct fe *fe, const struct vhu_vring_addr *addr);
int fe_vring_fd(struct fe *fe, uint32_t request, uint32_t index, int fd);
int fe_vring_enable(struct fe *fe, uint32_t index, bool on);
int fe_vring_get_base(struct fe *fe, uint32_t index, uint32_t *base);

/* Event descriptors; `socket` makes the call a socket pair as User-mode Linux does. */
int fe_vring_open(struct fe *fe, uint32_t index, bool socket);
/* All messages that start a ring at `base`, and its kick and call tied to this connection. */
int fe_ring_start(struct fe *fe, uint32_t index, struct ring *r, const struct guestmem *mem,
                  uint32_t base);
/* Disables the ring and asks for its base: afterwards the back-end does not touch it. */
int fe_ring_stop(struct fe *fe, uint32_t index, uint32_t *base);
void fe_ring_addr(const struct ring *r, const struct guestmem *mem, uint32_t index,
                  struct vhu_vring_addr *addr);
/* Whether the back-end reported an error on the ring's error descriptor since last asked. */
bool fe_ring_failed(struct fe *fe, uint32_t index);

#endif
