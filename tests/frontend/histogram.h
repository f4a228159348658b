/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A latency histogram of fixed size: 64 linear steps per power of two, so a percentile is within
 * 1.6 % of the truth. Owned by one thread while it fills; merged after that thread has ended.
 */
#ifndef FRONTEND_HISTOGRAM_H
#define FRONTEND_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 64u
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * 59u)

struct histogram {
    uint64_t bucket[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t sum;
    uint64_t max;
};

void histogram_add(struct histogram *h, uint64_t value);
void histogram_merge(struct histogram *to, const struct histogram *from);
double histogram_mean(const struct histogram *h);
/* The lower edge of the bucket that holds the given share (0..1) of all values. */
uint64_t histogram_quantile(const struct histogram *h, double share);

#endif
