/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crosscheck.h - does a virtio file of hvisor-tool agree with the file hvisor makes the zone from?
 * Finds everything that does not, not only the first. Pure. Any thread.
 */
#ifndef HOST_ZONE_CROSSCHECK_H
#define HOST_ZONE_CROSSCHECK_H

#include "util/error.h"
#include "zone/hvisor-json.h"

/* A disagreement. */
struct crosscheck_line {
    char where[64]; /* in the file at fault: zones[0].devices[2] */
    char *text;     /* one sentence */
    bool spare;     /* only about a slot that no enabled device uses */
};

/* Owns its lines. Zeroed when empty. */
struct crosscheck {
    uint32_t zone;       /* the id in the zone's file */
    size_t n_devices;    /* enabled ones that were compared */
    size_t n_memory;
    struct crosscheck_line *lines;
    size_t n_lines;
};

/*
 * Compares `virtio` with the text of a zone's file, which errors call `file`; `out`'s old contents
 * are not looked at. 0 if the comparison was made, whatever it found; -errno with error set and
 * `out` empty if the text is no such file.
 */
int crosscheck(struct crosscheck *out, const struct hvisor_json *virtio, const char *text,
               size_t len, const char *file, struct error *error);

void crosscheck_clear(struct crosscheck *check);

#endif
