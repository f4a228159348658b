/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvv/iov.h - copying between a chain's iovecs and the plugin's own memory.
 *
 * Headers may be split over any number of iovecs and at any byte; these helpers do not care.
 * All are pure; call them from any thread.
 */
#ifndef HVV_IOV_H
#define HVV_IOV_H

#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of bytes in the `n` iovecs. */
static inline uint64_t hvv_iov_bytes(const struct iovec *iov, uint32_t n)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += iov[i].iov_len;
    return sum;
}

/* Copies up to `size` bytes, starting `offset` bytes into the iovecs. Returns the number copied. */
static inline size_t hvv_iov_read(const struct iovec *iov, uint32_t n, uint64_t offset, void *dst,
                                  size_t size)
{
    size_t done = 0;
    for (uint32_t i = 0; i < n && done < size; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        size_t len = iov[i].iov_len - (size_t)offset;
        if (len > size - done)
            len = size - done;
        memcpy((char *)dst + done, (const char *)iov[i].iov_base + offset, len);
        done += len;
        offset = 0;
    }
    return done;
}

/* The same in the other direction: from `src` into the iovecs. Returns the number copied. */
static inline size_t hvv_iov_write(const struct iovec *iov, uint32_t n, uint64_t offset,
                                   const void *src, size_t size)
{
    size_t done = 0;
    for (uint32_t i = 0; i < n && done < size; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        size_t len = iov[i].iov_len - (size_t)offset;
        if (len > size - done)
            len = size - done;
        memcpy((char *)iov[i].iov_base + offset, (const char *)src + done, len);
        done += len;
        offset = 0;
    }
    return done;
}

/*
 * Writes to `out` the iovecs that cover `size` bytes from `offset` on. Returns how many, or
 * UINT32_MAX if `max` entries do not suffice or the iovecs end before.
 */
static inline uint32_t hvv_iov_slice(const struct iovec *iov, uint32_t n, uint64_t offset,
                                     uint64_t size, struct iovec *out, uint32_t max)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < n && size > 0; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        uint64_t len = iov[i].iov_len - offset;
        if (len > size)
            len = size;
        if (k == max)
            return UINT32_MAX;
        out[k].iov_base = (char *)iov[i].iov_base + offset;
        out[k].iov_len = (size_t)len;
        k++;
        size -= len;
        offset = 0;
    }
    return size ? UINT32_MAX : k;
}

#ifdef __cplusplus
}
#endif

#endif
