/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * offload.c - fuzz target: the checksums and segments of the net plugin.
 *
 * The input is virtio's header (12 bytes), a byte for how the frame lies in memory, and the frame.
 * The frame changes while it is cut, as a guest may do it.
 */
#include "offload.h"

#include "input.h"

#define BYTES_MAX 4096u
#define PIECES 4u
#define SEGMENTS 40u /* of a frame that are looked at */

static void check_sum(const struct frame *frame)
{
    const struct virtio_net_hdr_v1 *h = &frame->header;
    uint8_t *copy = malloc(frame->bytes);
    must(copy, "out of memory");
    frame_read(frame, 0, copy, frame->bytes);
    bool ok = offload_checksum(h, copy, frame->bytes);
    must(ok == (h->csum_start + h->csum_offset + 2u <= frame->bytes), "%u + %u of %u",
         h->csum_start, h->csum_offset, frame->bytes);
    free(copy);
}

/* Memory of exactly the size that the header file promises is enough. */
static void check_segments(const struct offload_cut *cut)
{
    uint64_t payload = 0;
    uint32_t most = cut->header_bytes + cut->segment;
    uint32_t limit = most < cut->frame->bytes ? most : cut->frame->bytes;
    uint8_t *to = malloc(limit);
    must(to, "out of memory");
    must(cut->n > 0 && cut->n <= OFFLOAD_SEGMENTS_MAX, "%u segments", cut->n);
    for (uint32_t i = 0; i < cut->n && i < SEGMENTS; i++) {
        uint32_t bytes = offload_cut_make(cut, i, to);
        must(bytes >= cut->header_bytes && bytes <= limit, "segment %u has %u bytes", i, bytes);
        must(cut->n == 1 || bytes > cut->header_bytes, "segment %u is empty", i);
        payload += bytes - cut->header_bytes;
    }
    if (cut->n > SEGMENTS)
        offload_cut_make(cut, cut->n - 1, to);
    else
        must(payload == cut->payload, "%llu bytes of %u", (unsigned long long)payload,
             cut->payload);
    free(to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct frame frame = {0};
    struct iovec iov[PIECES];
    struct offload_cut cut;
    input_bytes(&in, &frame.header, sizeof(frame.header));
    uint32_t piece = input_u8(&in) + 1u, at = 0;
    frame.bytes = (uint32_t)(input_left(&in) < BYTES_MAX ? input_left(&in) : BYTES_MAX);
    if (frame.bytes < FRAME_MIN)
        return 0;
    uint8_t *bytes = malloc(frame.bytes);
    must(bytes, "out of memory");
    input_bytes(&in, bytes, frame.bytes);
    for (; at < frame.bytes; frame.n_iov++) {
        uint32_t rest = frame.bytes - at;
        uint32_t part = frame.n_iov == PIECES - 1 || rest < piece ? rest : piece;
        iov[frame.n_iov] = (struct iovec){bytes + at, part};
        at += part;
    }
    frame.iov = iov;
    check_sum(&frame);
    if (offload_cut_begin(&cut, &frame)) {
        memset(bytes, (int)piece, frame.bytes);
        check_segments(&cut);
    }
    free(bytes);
    return 0;
}
