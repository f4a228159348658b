/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * split.c - the words of a split virtqueue (virtio 1.2, section 2.7). Worker thread only.
 *
 * Every access to guest memory is one atomic load or store of a whole word, so the compiler can
 * neither repeat nor split it:
 *
 *     word                 who stores  our access                       pairs with, in the driver
 *     avail->idx           driver      available(): acquire load        release store after the ring
 *     avail->ring[], desc  driver      head(), desc(): relaxed loads    the same store
 *     used->ring[]         us          put_used(): relaxed stores       its loads after used->idx
 *     used->idx            us          publish(): release store         acquire load
 *     avail->flags,        driver      wants_interrupt(): load after    store, full fence, load of
 *       used_event                     a seq_cst fence after used->idx  used->idx
 *     used->flags,         us          enable(): store, then seq_cst    store of avail->idx, full
 *       avail_event                    fence, then available()          fence, load
 */
#include "virtq/virtq.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_ring.h>

_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "virtio is little-endian, and so are our hosts");
_Static_assert(sizeof(void *) == 8, "hosts are 64-bit");

typedef _Atomic uint16_t u16;
typedef _Atomic uint32_t u32;
typedef _Atomic uint64_t u64;

/* Areas as arrays of words: the ring of `avail` starts at word 2, used_event follows it. */
static u16 *avail_word(struct virtq *vq, uint32_t i)
{
    return (u16 *)vq->ring.avail + i;
}

static u16 *used_word(struct virtq *vq, uint32_t i)
{
    return (u16 *)vq->ring.used + i;
}

static u16 *used_event(struct virtq *vq)
{
    return avail_word(vq, 2 + vq->setup.size);
}

static u16 *avail_event(struct virtq *vq)
{
    return used_word(vq, 2 + 4 * vq->setup.size);
}

static void *area(const struct memory *memory, const char *name, uint64_t gpa, uint64_t size,
                  uint64_t align, struct error *error)
{
    if (gpa & (align - 1)) {
        error_set(error, EINVAL, "%s area at 0x%" PRIx64 " is not aligned to %" PRIu64, name, gpa,
                  align);
        return NULL;
    }
    void *p = memory_pointer(memory, gpa, size);
    if (!p || ((uintptr_t)p & (align - 1))) {
        error_set(error, EFAULT, "%s area at 0x%" PRIx64 " of %" PRIu64
                  " bytes is not guest memory in one piece", name, gpa, size);
        return NULL;
    }
    return p;
}

static int split_resolve(const struct virtq_setup *setup, const struct memory *memory,
                         struct virtq_ring *ring, struct error *error)
{
    uint64_t n = setup->size;
    uint64_t event = (setup->features >> VIRTIO_RING_F_EVENT_IDX) & 1 ? 2 : 0;
    ring->desc = area(memory, "descriptor", setup->desc, 16 * n, 16, error);
    if (!ring->desc)
        return -error->err;
    ring->avail = area(memory, "driver", setup->avail, 4 + 2 * n + event, 2, error);
    if (!ring->avail)
        return -error->err;
    ring->used = area(memory, "device", setup->used, 4 + 8 * n + event, 4, error);
    return ring->used ? 0 : -error->err;
}

static int split_available(struct virtq *vq)
{
    uint16_t idx = atomic_load_explicit(avail_word(vq, 1), memory_order_acquire);
    vq->seen_avail = idx;
    uint16_t n = (uint16_t)(idx - vq->next_avail);
    if (n > vq->setup.size) {
        virtq_break(vq, "queue %u: available index went from %u to %u, more than the %u entries of "
                    "the ring", vq->index, vq->next_avail, idx, vq->setup.size);
        return -1;
    }
    return n;
}

/*
 * The used entry for this chain, or one near it, is asked for, to be written to: the driver's CPU has
 * read it last. Without the attribute an x86 compiler asks for it to be read.
 */
#ifdef __x86_64__
__attribute__((target("prfchw")))
#endif
static uint32_t split_head(struct virtq *vq)
{
    uint32_t slot = vq->next_avail & (vq->setup.size - 1);
    __builtin_prefetch(used_word(vq, 2 + 4 * slot), 1);
    return atomic_load_explicit(avail_word(vq, 2 + slot), memory_order_relaxed);
}

static struct ring_desc split_desc(struct virtq *vq, uint32_t i)
{
    u64 *p = (u64 *)vq->ring.desc + 2 * (size_t)i;
    uint64_t addr = atomic_load_explicit(p, memory_order_relaxed);
    uint64_t rest = atomic_load_explicit(p + 1, memory_order_relaxed);
    return (struct ring_desc){.addr = addr,
                              .len = (uint32_t)rest,
                              .flags = (uint16_t)(rest >> 32),
                              .next = (uint16_t)(rest >> 48)};
}

static void split_read_used(struct virtq *vq)
{
    vq->used_idx = atomic_load_explicit(used_word(vq, 1), memory_order_relaxed);
}

static void split_put_used(struct virtq *vq, uint32_t head, uint32_t written)
{
    uint32_t slot = vq->used_idx & (vq->setup.size - 1);
    u32 *entry = (u32 *)used_word(vq, 2 + 4 * slot);
    atomic_store_explicit(entry, head, memory_order_relaxed);
    atomic_store_explicit(entry + 1, written, memory_order_relaxed);
    vq->used_idx++;
}

static void split_publish(struct virtq *vq)
{
    atomic_store_explicit(used_word(vq, 1), vq->used_idx, memory_order_release);
}

static bool split_wants_interrupt(struct virtq *vq)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (!vq->event_idx)
        return !(atomic_load_explicit(avail_word(vq, 0), memory_order_relaxed) &
                 VRING_AVAIL_F_NO_INTERRUPT);
    uint16_t event = atomic_load_explicit(used_event(vq), memory_order_relaxed);
    return !vq->interrupt_known || vring_need_event(event, vq->used_idx, vq->published_idx);
}

static void split_suppress(struct virtq *vq)
{
    if (!vq->event_idx) /* with event index a stale avail_event does it */
        atomic_store_explicit(used_word(vq, 0), VRING_USED_F_NO_NOTIFY, memory_order_relaxed);
}

static void split_enable(struct virtq *vq)
{
    if (vq->event_idx)
        atomic_store_explicit(avail_event(vq), vq->next_avail, memory_order_relaxed);
    else
        atomic_store_explicit(used_word(vq, 0), 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

const struct ring_ops split_ring = {
    .resolve = split_resolve,
    .available = split_available,
    .head = split_head,
    .desc = split_desc,
    .read_used = split_read_used,
    .put_used = split_put_used,
    .publish = split_publish,
    .wants_interrupt = split_wants_interrupt,
    .suppress = split_suppress,
    .enable = split_enable,
};
