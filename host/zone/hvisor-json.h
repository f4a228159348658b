/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvisor-json.h - hvisor-tool's virtio files, as hvisor-vhost-zone(7) describes them, into zone
 * plans and devices to add. Nothing is mapped or opened but the file itself. Any thread.
 *
 * A disabled device is not added, but its address range stays a slot that something can be added to
 * later; if it cannot be one, for a value is missing or in the way of others, a warning says so.
 */
#ifndef HOST_ZONE_HVISOR_JSON_H
#define HOST_ZONE_HVISOR_JSON_H

#include "conf/spec.h"
#include "util/error.h"
#include "zone/plan.h"

#define HVISOR_JSON_WARNINGS_MAX 64u /* the last one may say how many there would have been */

/* A device as the file has it. */
struct hvisor_json_device {
    char where[64]; /* zones[0].devices[2] */
    char type[16];
    uint32_t zone;
    bool enabled;
    bool has_slot; /* disabled ones may have none */
    struct plan_slot slot;
};

/* What a file says. Owns all it points to. Zeroed when empty. */
struct hvisor_json {
    struct zone_plans zones;
    struct spec *specs; /* of the enabled devices, with zone=, addr= and irq= */
    size_t n_specs;
    struct hvisor_json_device *devices; /* all, in the order of the file */
    size_t n_devices;
    char **warnings; /* sentences, with the name of the file */
    size_t n_warnings;
    size_t n_unsaid; /* warnings beyond the limit */
};

/*
 * Parses `text`; `file` is what errors call it. Relative image paths are put behind `dir`, which
 * is absolute; if it is NULL they stay relative. 0, or -errno with error set and `out` empty.
 */
int hvisor_json_parse(struct hvisor_json *out, const char *text, size_t len, const char *file,
                      const char *dir, struct error *error);

/*
 * The same for a file. Image paths are relative to its directory, `path` itself to `cwd`, which may
 * be NULL. Blocks.
 */
int hvisor_json_read(struct hvisor_json *out, const char *path, const char *cwd,
                     struct error *error);

void hvisor_json_clear(struct hvisor_json *json);

#endif
