/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * input.h - what a fuzz target reads its input with, and how it says that an invariant is broken.
 *
 * An input that has ended reads as zeroes, so a target needs no checks of its own; it stops when
 * input_left() is 0.
 */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct input {
    const uint8_t *data;
    size_t len;
};

static inline size_t input_left(const struct input *in)
{
    return in->len;
}

/* Copies up to `size` bytes; what is missing becomes 0. How many there were. */
static inline size_t input_bytes(struct input *in, void *to, size_t size)
{
    size_t n = size < in->len ? size : in->len;
    memset(to, 0, size);
    if (n == 0)
        return 0;
    memcpy(to, in->data, n);
    in->data += n;
    in->len -= n;
    return n;
}

static inline uint8_t input_u8(struct input *in)
{
    uint8_t v;
    input_bytes(in, &v, sizeof(v));
    return v;
}

static inline uint16_t input_u16(struct input *in)
{
    uint16_t v;
    input_bytes(in, &v, sizeof(v));
    return v;
}

static inline uint64_t input_u64(struct input *in)
{
    uint64_t v;
    input_bytes(in, &v, sizeof(v));
    return v;
}

/* An invariant of the code under test. The fuzzer keeps the input that broke it. */
#define must(CONDITION, ...)                                                                       \
    do {                                                                                           \
        if (!(CONDITION)) {                                                                        \
            fprintf(stderr, "%s:%d: broken invariant: %s: ", __FILE__, __LINE__, #CONDITION);      \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
