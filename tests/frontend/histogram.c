/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log-linear histogram; see histogram.h for precision and ownership.
 */
#include "histogram.h"

static unsigned int bucket_of(uint64_t value)
{
    unsigned int shift;

    if (value < HISTOGRAM_STEPS)
        return (unsigned int)value;
    shift = 63u - (unsigned int)__builtin_clzll(value) - 6u;
    return (shift + 1) * HISTOGRAM_STEPS + (unsigned int)((value >> shift) - HISTOGRAM_STEPS);
}

static uint64_t edge_of(unsigned int bucket)
{
    unsigned int shift;

    if (bucket < HISTOGRAM_STEPS)
        return bucket;
    shift = bucket / HISTOGRAM_STEPS - 1;
    return (uint64_t)(HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS) << shift;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->bucket[bucket_of(value)]++;
    h->count++;
    h->sum += value;
    if (value > h->max)
        h->max = value;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
        to->bucket[i] += from->bucket[i];
    to->count += from->count;
    to->sum += from->sum;
    if (from->max > to->max)
        to->max = from->max;
}

double histogram_mean(const struct histogram *h)
{
    return h->count ? (double)h->sum / (double)h->count : 0;
}

uint64_t histogram_quantile(const struct histogram *h, double share)
{
    uint64_t want = (uint64_t)(share * (double)h->count);
    uint64_t seen = 0;

    for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen > want)
            return edge_of(i);
    }
    return h->max;
}
