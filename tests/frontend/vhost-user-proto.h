/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user wire format as a front-end needs it: request numbers, header flags, protocol
 * feature bits and payload layouts. Written from the protocol's public specification, apart
 * from the daemon's own headers, so that an error in one is not hidden by the other.
 * No code, no thread, no order.
 */
#ifndef FRONTEND_VHOST_USER_PROTO_H
#define FRONTEND_VHOST_USER_PROTO_H

#include <stdint.h>

#define VHU_HEADER_SIZE 12u
#define VHU_FLAG_VERSION 0x1u
#define VHU_FLAG_REPLY 0x4u
#define VHU_FLAG_NEED_REPLY 0x8u
#define VHU_NO_FD 0x100u
#define VHU_CONFIG_MAX 256u
#define VHU_TABLE_REGIONS_MAX 8u

/* Feature bit (in the virtio feature word) that opens protocol feature negotiation. */
#define VHU_F_PROTOCOL_FEATURES 30

enum vhu_request {
    VHU_GET_FEATURES = 1,
    VHU_SET_FEATURES = 2,
    VHU_SET_OWNER = 3,
    VHU_RESET_OWNER = 4,
    VHU_SET_MEM_TABLE = 5,
    VHU_SET_LOG_BASE = 6,
    VHU_SET_LOG_FD = 7,
    VHU_SET_VRING_NUM = 8,
    VHU_SET_VRING_ADDR = 9,
    VHU_SET_VRING_BASE = 10,
    VHU_GET_VRING_BASE = 11,
    VHU_SET_VRING_KICK = 12,
    VHU_SET_VRING_CALL = 13,
    VHU_SET_VRING_ERR = 14,
    VHU_GET_PROTOCOL_FEATURES = 15,
    VHU_SET_PROTOCOL_FEATURES = 16,
    VHU_GET_QUEUE_NUM = 17,
    VHU_SET_VRING_ENABLE = 18,
    VHU_SET_BACKEND_REQ_FD = 21,
    VHU_GET_CONFIG = 24,
    VHU_SET_CONFIG = 25,
    VHU_GET_INFLIGHT_FD = 31,
    VHU_SET_INFLIGHT_FD = 32,
    VHU_RESET_DEVICE = 34,
    VHU_VRING_KICK = 35,
    VHU_GET_MAX_MEM_SLOTS = 36,
    VHU_ADD_MEM_REG = 37,
    VHU_REM_MEM_REG = 38,
    VHU_SET_STATUS = 39,
    VHU_GET_STATUS = 40,
};

/* Requests that travel the other way, on the channel given by SET_BACKEND_REQ_FD. */
enum vhu_backend_request {
    VHU_BACKEND_CONFIG_CHANGE = 2,
};

enum vhu_protocol_feature {
    VHU_PF_MQ = 0,
    VHU_PF_REPLY_ACK = 3,
    VHU_PF_BACKEND_REQ = 5,
    VHU_PF_CONFIG = 9,
    VHU_PF_INFLIGHT_SHMFD = 12,
    VHU_PF_RESET_DEVICE = 13,
    VHU_PF_INBAND_NOTIFICATIONS = 14,
    VHU_PF_CONFIGURE_MEM_SLOTS = 15,
    VHU_PF_STATUS = 16,
};

struct vhu_header {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
};

struct vhu_region {
    uint64_t gpa;
    uint64_t size;
    uint64_t uva;
    uint64_t offset;
};

struct vhu_mem_table {
    uint32_t count;
    uint32_t padding;
    struct vhu_region region[VHU_TABLE_REGIONS_MAX];
};

struct vhu_mem_slot {
    uint64_t padding;
    struct vhu_region region;
};

struct vhu_vring_state {
    uint32_t index;
    uint32_t value;
};

struct vhu_vring_addr {
    uint32_t index;
    uint32_t flags;
    uint64_t desc;
    uint64_t used;
    uint64_t avail;
    uint64_t log;
};

struct vhu_config {
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
    uint8_t data[VHU_CONFIG_MAX];
};

#define VHU_CONFIG_HEADER_SIZE 12u

#endif
