/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * protocol.h - the vhost-user protocol on the wire ("Vhost-user Protocol", QEMU's
 * docs/interop/vhost-user). Numbers and layouts only.
 */
#ifndef HOST_TRANSPORT_VHOST_USER_PROTOCOL_H
#define HOST_TRANSPORT_VHOST_USER_PROTOCOL_H

#include <stdint.h>

enum vu_request {
    VU_GET_FEATURES = 1,
    VU_SET_FEATURES = 2,
    VU_SET_OWNER = 3,
    VU_RESET_OWNER = 4,
    VU_SET_MEM_TABLE = 5,
    VU_SET_VRING_NUM = 8,
    VU_SET_VRING_ADDR = 9,
    VU_SET_VRING_BASE = 10,
    VU_GET_VRING_BASE = 11,
    VU_SET_VRING_KICK = 12,
    VU_SET_VRING_CALL = 13,
    VU_SET_VRING_ERR = 14,
    VU_GET_PROTOCOL_FEATURES = 15,
    VU_SET_PROTOCOL_FEATURES = 16,
    VU_GET_QUEUE_NUM = 17,
    VU_SET_VRING_ENABLE = 18,
    VU_SET_BACKEND_REQ_FD = 21,
    VU_GET_CONFIG = 24,
    VU_SET_CONFIG = 25,
    VU_RESET_DEVICE = 34,
    VU_VRING_KICK = 35,
    VU_GET_MAX_MEM_SLOTS = 36,
    VU_ADD_MEM_REG = 37,
    VU_REM_MEM_REG = 38,
    VU_SET_STATUS = 39,
    VU_GET_STATUS = 40,
    VU_REQUEST_END,
};

/* From the back-end to the front-end, on the back-end channel. */
enum vu_backend_request {
    VU_BACKEND_CONFIG_CHANGE = 2,
    VU_BACKEND_VRING_CALL = 4,
};

enum vu_protocol_feature {
    VU_F_MQ = 0,
    VU_F_REPLY_ACK = 3,
    VU_F_BACKEND_REQ = 5,
    VU_F_CONFIG = 9,
    VU_F_RESET_DEVICE = 13,
    VU_F_INBAND_NOTIFICATIONS = 14,
    VU_F_CONFIGURE_MEM_SLOTS = 15,
    VU_F_STATUS = 16,
};

#define VU_FEATURE_PROTOCOL (1ull << 30) /* VHOST_USER_F_PROTOCOL_FEATURES */

#define VU_VERSION 1u
#define VU_FLAG_VERSION_MASK 3u
#define VU_FLAG_REPLY 4u
#define VU_FLAG_NEED_REPLY 8u

#define VU_RING_INDEX_MASK 0xffu /* of the u64 that comes with a kick, call or err descriptor */
#define VU_RING_NO_FD 0x100u

#define VU_TABLE_REGIONS 8u /* of one SET_MEM_TABLE */
#define VU_CONFIG_MAX 256u

struct vu_header {
    uint32_t request, flags, size;
};

struct vu_ring_state {
    uint32_t index, num;
};

struct vu_ring_addr {
    uint32_t index, flags;
    uint64_t desc, used, avail, log;
};

struct vu_region {
    uint64_t gpa, size, uva, offset;
};

struct vu_table {
    uint32_t n, padding;
    struct vu_region regions[VU_TABLE_REGIONS];
};

struct vu_one_region {
    uint64_t padding;
    struct vu_region region;
};

struct vu_config {
    uint32_t offset, size, flags;
    uint8_t data[VU_CONFIG_MAX];
};
#define VU_CONFIG_HEADER 12u

union vu_payload {
    uint64_t u64;
    struct vu_ring_state state;
    struct vu_ring_addr addr;
    struct vu_table table;
    struct vu_one_region one;
    struct vu_config config;
};

_Static_assert(sizeof(struct vu_header) == 12, "wire layout");
_Static_assert(sizeof(struct vu_ring_addr) == 40, "wire layout");
_Static_assert(sizeof(struct vu_table) == 8 + 32 * VU_TABLE_REGIONS, "wire layout");
_Static_assert(sizeof(struct vu_one_region) == 40, "wire layout");
_Static_assert(sizeof(struct vu_config) == VU_CONFIG_HEADER + VU_CONFIG_MAX, "wire layout");

#endif
