/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvv/chain.h - one descriptor chain: a buffer the driver made available (virtio 1.2, section 2.6).
 *
 * The host has walked and checked the chain before a plugin sees it: every address lies in the
 * guest's memory, readable parts come before writable ones, nothing loops. Whether the ring was
 * split or packed, the chain direct or indirect, does not show.
 *
 * The iovecs and the lengths are the plugin's own copy and do not change. What they point at is
 * guest memory, which the guest can rewrite at any moment: copy a header out once
 * (hvv_iov_read(), hvv/iov.h), check the copy, use only the copy.
 *
 * A chain belongs to the plugin from hvv_pop() until exactly one of hvv_complete(), hvv_fail() or
 * hvv_release() (hvv/host.h). The guest's memory stays mapped as long.
 */
#ifndef HVV_CHAIN_H
#define HVV_CHAIN_H

#include <hvv/abi.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hvv_device;

struct hvv_chain {
    uint32_t size;                /* of this struct, as the host knows it */
    uint32_t queue;               /* index of the virtqueue it came from */
    struct hvv_device *dev;
    void *state;                  /* hvv_plugin.chain_state_size bytes for the plugin, aligned to
                                     16, cleared when the device is created, then left alone */
    const struct iovec *readable; /* what the device may read; n_readable entries, none empty */
    const struct iovec *writable; /* what the device may write; n_writable entries, none empty */
    uint32_t n_readable;
    uint32_t n_writable;
    uint64_t readable_bytes;      /* the sum of readable[].iov_len, at most UINT32_MAX */
    uint64_t writable_bytes;      /* the sum of writable[].iov_len, at most UINT32_MAX */
};

#ifdef __cplusplus
}
#endif

#endif
