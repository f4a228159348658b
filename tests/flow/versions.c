/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * versions.c - flow test: a newer version of a plugin is loaded beside the old one while devices
 * of both are in use. A new device gets the highest version that is known and not retired; devices
 * that exist keep theirs.
 */
#include "clock.h"
#include "report.h"
#include "vhost-user.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_MS 15000
#define GPA 0x40000000ull
#define BYTES 256u /* what the test plugins fill at once */

/* A driver on the one queue of a device that fills buffers with random bytes. */
struct front {
    bool open;
    struct fe fe;
    struct guestmem mem;
    struct ring ring;
    uint8_t *buffer;
};

static struct front old, new;

static bool allocate(struct front *f)
{
    const struct ring_options options = {.num = 16};
    const struct guestmem_spec spec = {.size = 1u << 20, .gpa = GPA, .uva = GUESTMEM_FAKE_UVA};
    int rc = guestmem_add(&f->mem, &spec);
    if (rc >= 0)
        rc = ring_init(&f->ring, &f->mem, 0, &options);
    f->buffer = rc >= 0 ? guestmem_alloc(&f->mem, 0, BYTES, 64) : NULL;
    return f->buffer || row_fail("no guest memory");
}

static bool front_open(struct front *f, const struct daemon *d, const char *id)
{
    memset(f, 0, sizeof(*f));
    fe_init(&f->fe);
    guestmem_init(&f->mem);
    f->open = true;
    if (fe_connect(&f->fe, socket_of(d, id).s) < 0 ||
        fe_negotiate(&f->fe, FE_BIT(VIRTIO_F_VERSION_1) | FE_BIT(VHU_F_PROTOCOL_FEATURES),
                     FE_BIT(VHU_PF_REPLY_ACK)) < 0)
        return row_fail("a front-end on %s: %s", id, f->fe.error);
    return allocate(f) && ((fe_share_mem(&f->fe, &f->mem) == 0 &&
                            fe_ring_start(&f->fe, 0, &f->ring, &f->mem, 0) == 0) ||
                           row_fail("ring of %s: %s", id, f->fe.error));
}

static void close_all(void *arg)
{
    struct front *fronts[] = {&old, &new};
    (void)arg;
    for (unsigned i = 0; i < 2; i++) {
        if (!fronts[i]->open)
            continue;
        fe_disconnect(&fronts[i]->fe);
        ring_free(&fronts[i]->ring);
        guestmem_free(&fronts[i]->mem);
        fronts[i]->open = false;
    }
}

/* A buffer is filled. 256 random bytes are not all 0. */
static bool works(struct front *f, const char *when)
{
    static const uint8_t zero[BYTES];
    struct ring_done done;
    const struct ring_seg seg = {guestmem_gpa(&f->mem, f->buffer), BYTES};
    memset(f->buffer, 0, BYTES);
    if (ring_add(&f->ring, &seg, 0, 1, f->buffer) < 0 || ring_submit(&f->ring) < 0)
        return row_fail("no buffer can be sent %s", when);
    if (ring_wait(&f->ring, TIMEOUT_MS) < 0 || ring_reap(&f->ring, &done, 1) != 1)
        return row_fail("no buffer comes back %s", when);
    return (done.len == BYTES && memcmp(f->buffer, zero, BYTES) != 0) ||
           row_fail("a buffer is not filled %s", when);
}

static bool both_work(const char *when)
{
    return works(&old, when) && works(&new, when);
}

/* ---- the operator ---------------------------------------------------------------------------- */

static bool has_version(struct daemon *d, const char *id, const char *version)
{
    json_t *device = daemon_device(d, id);
    const char *is = json_string_value(json_object_get(device, "version"));
    bool good = (is && strcmp(is, version) == 0) ||
                row_fail("%s is of version %s, not %s", id, is ? is : "(none)", version);
    json_decref(device);
    return good;
}

/* Adds a device of plugin good, which has to get this version. */
static bool gets(struct daemon *d, const char *id, const char *version)
{
    char spec[64];
    snprintf(spec, sizeof(spec), "good:id=%s", id);
    return daemon_add(d, spec, NULL) && has_version(d, id, version);
}

static bool rescan(struct daemon *d)
{
    json_t *result = daemon_call(d, "plugin.rescan", NULL);
    json_decref(result);
    return result || row_fail("plugin.rescan: %s", error_text(d));
}

/* Also if no new device gets it. */
static bool is_listed(struct daemon *d, const char *name)
{
    json_t *result = daemon_call(d, "plugin.list", "{s:s}", "name", name);
    size_t n = json_array_size(json_object_get(result, "plugins"));
    json_decref(result);
    return n == 2 || row_fail("plugin.list of %s has %zu of 2: %s", name, n, error_text(d));
}

static bool retire(struct daemon *d, const char *version)
{
    json_t *result = daemon_call(d, "plugin.retire", "{s:s, s:s}", "name", "good", "version",
                                 version);
    json_decref(result);
    return result || row_fail("plugin.retire %s: %s", version, error_text(d));
}

/* A file that is moved into the directory is there as a whole, as an operator's has to be. */
static bool move(const struct daemon *d, const char *from, const char *to)
{
    return rename(in_dir(d, "%s", from).s, in_dir(d, "%s", to).s) == 0 ||
           row_fail("%s cannot be moved: %s", from, strerror(errno));
}

/* The code of a file is in the daemon. */
static bool is_mapped(const struct daemon *d, const char *file)
{
    char path[64], line[1024];
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)d->pid);
    FILE *maps = fopen(path, "re");
    while (maps && !found && fgets(line, sizeof(line), maps))
        found = strstr(line, file) != NULL;
    if (maps)
        fclose(maps);
    return found || row_fail("no code of %s is mapped", file);
}

static void side_by_side(struct daemon *d)
{
    row_at_end(close_all, NULL);
    MUST(move(d, "p/ok-version-10.so", "later.so") && daemon_start(d));
    MUST(gets(d, "old", "1.9") && front_open(&old, d, "old") && works(&old, "alone"));

    MUST(move(d, "later.so", "p/good-10.so") && gets(d, "before", "1.9"));
    MUST(rescan(d) && gets(d, "new", "1.10") && front_open(&new, d, "new"));
    MUST(both_work("with both versions") && has_version(d, "old", "1.9"));
    MUST(is_mapped(d, "p/ok-version-9.so") && is_mapped(d, "p/good-10.so"));

    MUST(retire(d, "1.10") && both_work("with the newer one retired"));
    MUST(gets(d, "after", "1.9") && has_version(d, "new", "1.10"));
    MUST(rescan(d) && gets(d, "again", "1.9")); /* nobody has taken that back */

    MUST(retire(d, "1.9") && both_work("with both retired"));
    MUST(is_listed(d, "good"));
    MUST(daemon_refuses(d, "plugin good is retired|1.10, 1.9", "device.add", "{s:[s]}", "devices",
                        "good:id=none"));
    MUST(daemon_remove(d, "old", NULL) && works(&new, "with the old device removed"));
    MUST(has_version(d, "before", "1.9"));
}

/* A command of the client does its work. */
static bool operates(const struct daemon *d, const char *a, const char *b, const char *c,
                     const char *e)
{
    static struct output o;
    return ctl(&o, d, a, b, c, e, NULL) &&
           (o.code == 0 || row_fail("hvisor-vhost-ctl %s %s: %s", a, b, o.err));
}

/* Both files are there from the start, and the operator has the client. */
static void at_start(struct daemon *d)
{
    MUST(operates(d, "add", "good:id=a", NULL, NULL) && has_version(d, "a", "1.10"));
    MUST(operates(d, "plugins", "--retire", "good", "1.10"));
    MUST(operates(d, "add", "good:id=b", NULL, NULL) && has_version(d, "b", "1.9"));
    MUST(operates(d, "remove", "a", NULL, NULL));
    MUST(operates(d, "add", "good:id=a", NULL, NULL) && has_version(d, "a", "1.9"));
    MUST(daemon_stop(d) && daemon_start(d)); /* it forgets what was retired */
    MUST(operates(d, "add", "good:id=a", NULL, NULL) && has_version(d, "a", "1.10"));
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"ok-version-9.so", "ok-version-10.so", NULL};
    static const struct daemon_options options = {.plugins = names, .no_start = true},
                                       started = {.plugins = names};
    static const struct row rows[] = {{"versions-side-by-side", side_by_side, &options, NULL},
                                      {"versions-at-start", at_start, &started, NULL}};
    return report_run(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
