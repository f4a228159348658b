/* SPDX-License-Identifier: BSD-3-Clause */
/* similar.c - see similar.h. Pure; no thread of its own. */
#include "conf/similar.h"

#include <string.h>

#define LENGTH_MAX 63 /* longer names are near to nothing */
#define DISTANCE_MAX 2u

static unsigned min(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* How many characters to insert, delete or replace to get from one to the other. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[LENGTH_MAX + 1];
    size_t a_len = strlen(a), b_len = strlen(b);
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned replace = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = min(replace, min(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_len];
}

void similar_try(struct similar *best, const char *wrong, const char *name)
{
    size_t wrong_len = strlen(wrong), name_len = strlen(name);
    if (wrong_len > LENGTH_MAX || name_len > LENGTH_MAX)
        return;
    unsigned d = distance(wrong, name);
    /* Two changes make any two-letter word out of any other: that is no likeness. */
    if (d > DISTANCE_MAX || d >= wrong_len || d >= name_len)
        return;
    if (!best->name || d < best->distance) {
        best->name = name;
        best->distance = d;
    }
}
