/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * registry.c - tests of plugin/registry.c: which directories are looked in, what is loaded from
 * them, what a name means, and what happens when files change.
 *
 * Criterion gives each test a process, which it needs: what is loaded stays mapped.
 */
#include "plugin/registry.h"

#include "leak.h"
#include "plugin-files.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <sys/time.h>

#define CAPS (HVV_CAP_MAP | HVV_CAP_SHARED)

static const struct hvv_option id_option = {.name = "id", .help = "name of the device"};
static const struct option_table host_options = {&id_option, 1, sizeof(id_option), "host"};

static struct registry *try_new(const char *dir, struct error *error)
{
    memset(error, 0, sizeof(*error));
    return registry_new(&dir, 1, &host_options, CAPS, error);
}

static struct registry *make(const char *dir)
{
    struct error error;
    struct registry *registry = try_new(dir, &error);
    cr_assert(registry, "%s", error.text);
    return registry;
}

static void check_text(const struct error *error, const char *fragment)
{
    cr_expect(strstr(error->text, fragment), "\n  %s\nhas not \"%s\"", error->text, fragment);
}

static struct plugin *check_found(struct registry *registry, const char *name, const char *version)
{
    struct error error = {0};
    struct plugin *plugin = registry_find(registry, name, &error);
    cr_assert(plugin && error.err == 0, "%s", error.text);
    cr_expect_str_eq(plugin->info.name, name);
    cr_expect_str_eq(plugin->info.version, version);
    return plugin;
}

static void check_missing(struct registry *registry, const char *name, const char *fragment)
{
    struct error error = {0};
    cr_expect_null(registry_find(registry, name, &error));
    cr_expect(error.err > 0);
    check_text(&error, fragment);
}

static unsigned count_plugins(const struct registry *registry)
{
    unsigned n = 0;
    for (struct plugin *p = NULL; (p = registry_next(registry, p));)
        n++;
    return n;
}

static unsigned count_refused(const struct registry *registry)
{
    unsigned n = 0;
    for (const struct refused *r = NULL; (r = registry_next_refused(registry, r));)
        n++;
    return n;
}

static void check_counts(const struct registry *registry, unsigned plugins, unsigned refused)
{
    unsigned p = count_plugins(registry), r = count_refused(registry);
    cr_expect(p == plugins && r == refused, "%u plugins and %u refused, not %u and %u", p, r,
              plugins, refused);
}

/* The reason kept for a file, or "". */
static const char *reason_of(const struct registry *registry, const char *path)
{
    for (const struct refused *r = NULL; (r = registry_next_refused(registry, r));)
        if (strcmp(r->path, path) == 0)
            return r->reason;
    return "";
}

static void check_reason(const struct registry *registry, const char *path, const char *fragment)
{
    const char *reason = reason_of(registry, path);
    cr_expect(strstr(reason, fragment), "%s:\n  \"%s\"\nhas not \"%s\"", path, reason, fragment);
}

/* ---- versions -------------------------------------------------------------------------------- */

static int sign(int n)
{
    return (n > 0) - (n < 0);
}

Test(registry, versions_compare_number_by_number)
{
    static const struct {
        const char *a, *b;
        int order;
    } rows[] = {
        {"1", "1", 0},          {"1.0", "1", 0},           {"1", "1.0.0", 0},
        {"1.0.1", "1", 1},      {"1.9", "1.10", -1},       {"1.2.3", "1.2.4", -1},
        {"2", "1.99.99", 1},    {"01.002", "1.2", 0},      {"0", "0.0.1", -1},
        {"10", "9", 1},         {"0.9", "0.10", -1},       {"1.0.0.0.1", "1.0", 1},
        {"100", "99", 1},       {"1.000", "1.0", 0},       {"20240101", "20231231", 1},
        {"99999999999999999999999999", "100000000000000000000000000", -1},
        {"18446744073709551616", "0", 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int order = registry_version_compare(rows[i].a, rows[i].b);
        int back = registry_version_compare(rows[i].b, rows[i].a);
        cr_expect(sign(order) == rows[i].order, "%s %s: %d", rows[i].a, rows[i].b, order);
        cr_expect(sign(back) == -rows[i].order, "%s %s: %d", rows[i].b, rows[i].a, back);
    }
    /* Not versions, but an operator may write them: any answer but no hang. */
    registry_version_compare("..", "a.b");
    registry_version_compare("", ".");
}

/* ---- directories ----------------------------------------------------------------------------- */

static void check_no_registry(const char *dir, int err, const char *fragment)
{
    struct error error;
    cr_expect_null(try_new(dir, &error));
    cr_expect(error.err == err, "%s: %d", dir, error.err);
    check_text(&error, fragment);
    check_text(&error, dir);
}

Test(registry, an_unfit_directory_is_refused)
{
    struct error error = {0};
    struct files files;
    files_make(&files);
    check_no_registry(files_path(&files, "none"), ENOENT, "does not exist");
    files_write(&files, "file", "x", 1);
    check_no_registry(files_path(&files, "file"), ENOTDIR, "is not a directory");
    files_write(&files, ".hidden.so", "x", 1);
    files_write(&files, ".so", "x", 1);
    files_write(&files, "a.so.1", "x", 1);
    files_write(&files, "line\nbreak.so", "x", 1);
    check_no_registry(files.dir, ENOENT, "has no plugin (*.so)");
    files_write(&files, "a.so", "x", 1);
    cr_assert(chmod(files.dir, 0777) == 0);
    check_no_registry(files.dir, EPERM, "can be written by everybody (mode 777): chmod o-w it");
    cr_assert(chmod(files.dir, 01777) == 0);
    check_no_registry(files.dir, EPERM, "can be written by everybody");
    cr_assert(chmod(files.dir, 0755) == 0);
    registry_free(make(files.dir));
    cr_expect_null(registry_new(NULL, 0, &host_options, CAPS, &error));
    check_text(&error, "no plugin directory is given");
    files_remove(&files);
    leak_check();
}

Test(registry, a_directory_of_another_user_is_refused)
{
    struct files files;
    files_make(&files);
    files_write(&files, "a.so", "x", 1);
    if (geteuid() == 0) {
        cr_assert(chown(files.dir, 12345, (gid_t)-1) == 0);
        check_no_registry(files.dir, EPERM, "belongs to user 12345, it must belong to root or");
    } else {
        cr_assert(chmod(files.dir, 0) == 0);
        check_no_registry(files.dir, EACCES, "cannot be read: Permission denied");
        cr_assert(chmod(files.dir, 0700) == 0);
    }
    files_remove(&files);
}

Test(registry, one_of_several_directories_may_be_empty)
{
    struct error error = {0};
    struct files a, b;
    files_make(&a);
    files_make(&b);
    const char *dirs[] = {a.dir, b.dir};
    cr_expect_null(registry_new(dirs, 2, &host_options, CAPS, &error));
    check_text(&error, "plugin directories ");
    check_text(&error, " have no plugin (*.so)");
    check_text(&error, a.dir);
    check_text(&error, b.dir);
    files_copy(&b, "good.so", "good.so");
    memset(&error, 0, sizeof(error));
    struct registry *registry = registry_new(dirs, 2, &host_options, CAPS, &error);
    cr_assert(registry, "%s", error.text);
    check_found(registry, "good", "1.0");
    registry_free(registry);
    files_remove(&a);
    files_remove(&b);
    leak_check();
}

/* ---- names ----------------------------------------------------------------------------------- */

Test(registry, nothing_is_loaded_before_it_is_asked_for)
{
    struct files files;
    files_make(&files);
    files_copy(&files, "good.so", "good.so");
    struct registry *registry = make(files.dir);
    check_counts(registry, 0, 0);
    cr_expect(!files_mapped(files.dir));
    const struct plugin *plugin = check_found(registry, "good", "1.0");
    cr_expect(plugin == check_found(registry, "good", "1.0"));
    cr_expect_str_eq(plugin->path, files_path(&files, "good.so"));
    cr_expect(plugin->pinned);
    check_counts(registry, 1, 0);

    files_copy(&files, "rogue.so", "later.so");
    check_found(registry, "rogue", "1.0");
    check_counts(registry, 2, 0);
    registry_free(registry);
    cr_expect(files_mapped(files_path(&files, "good.so")), "the code of a plugin went away");
    files_remove(&files);
    leak_check();
}

Test(registry, an_unknown_name_is_answered_with_what_there_is)
{
    struct files files;
    files_make(&files);
    files_copy(&files, "good.so", "good.so");
    files_copy(&files, "ok-version-9.so", "good-9.so");
    files_copy(&files, "rogue.so", "rogue.so");
    files_copy(&files, "bad-major.so", "blk-2.so");
    struct registry *registry = make(files.dir);
    check_missing(registry, "nothing", "no plugin is called nothing; there are: good, rogue");
    check_missing(registry, "blk", "no plugin is called blk: plugin ");
    check_missing(registry, "blk", "/blk-2.so has plugin ABI 2, this host has 1");
    check_missing(registry, "blk", "; there are: good, rogue");
    check_counts(registry, 3, 1);
    static const char *const wrong[] = {"", "../good", "a/b", "Good", "good.so", "..", "a\nb",
                                        "a-name-of-more-than-thirty-one-bytes"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        check_missing(registry, wrong[i], "a plugin's name is 1 to 31 lower case letters");
    registry_free(registry);
    files_remove(&files);
    leak_check();
}

Test(registry, with_no_plugin_at_all_the_reason_is_said)
{
    struct files files;
    files_make(&files);
    files_write(&files, "blk.so", "text", 4);
    struct registry *registry = make(files.dir);
    check_missing(registry, "blk", "/blk.so is not an ELF file");
    check_missing(registry, "net", "no plugin is called net; there is no plugin at all");
    registry_free(registry);
    files_remove(&files);
}

Test(registry, the_highest_version_that_is_not_retired_wins)
{
    struct error error = {0};
    struct files files;
    files_make(&files);
    files_copy(&files, "ok-version-10.so", "a.so"); /* loaded first */
    files_copy(&files, "good.so", "b.so");
    files_copy(&files, "ok-version-9.so", "c.so");
    struct registry *registry = make(files.dir);
    struct plugin *highest = check_found(registry, "good", "1.10");
    check_counts(registry, 3, 0);
    struct plugin *p = registry_next(registry, NULL);
    cr_expect(p == highest);
    cr_expect_str_eq((p = registry_next(registry, p))->info.version, "1.9");
    cr_expect_str_eq((p = registry_next(registry, p))->info.version, "1.0");
    cr_expect_null(registry_next(registry, p));

    cr_expect(registry_retire(registry, "good", "1.10", &error) == 0);
    cr_expect(highest->retired);
    check_found(registry, "good", "1.9");
    cr_expect(registry_retire(registry, "good", "1.10", &error) == 0, "retired twice");
    cr_expect(registry_retire(registry, "good", "3", &error) == -ENOENT);
    check_text(&error, "plugin good has no version 3; there are: 1.10, 1.9, 1.0");
    memset(&error, 0, sizeof(error));
    cr_expect(registry_retire(registry, "bad", "1", &error) == -ENOENT);
    check_text(&error, "no plugin is called bad; there are: good");
    memset(&error, 0, sizeof(error));
    cr_expect(registry_retire(registry, "good", "1.9", &error) == 0);
    cr_expect(registry_retire(registry, "good", "1", &error) == 0, "1 is 1.0");
    check_missing(registry, "good", "plugin good is retired (1.10, 1.9, 1.0): put a newer version");
    check_counts(registry, 3, 0);
    registry_free(registry);
    files_remove(&files);
    leak_check();
}

Test(registry, the_same_version_from_a_second_file_is_refused)
{
    struct files files;
    files_make(&files);
    files_copy(&files, "good.so", "a.so");
    files_copy(&files, "bad-duplicate.so", "b.so");
    struct registry *registry = make(files.dir);
    check_found(registry, "good", "1.0");
    check_counts(registry, 1, 1);
    const char *a = files_path(&files, "a.so"), *b = files_path(&files, "b.so");
    check_reason(registry, b, " is good 1.0, and so is ");
    check_reason(registry, b, a);
    check_reason(registry, b, b);
    cr_expect(files_mapped(a) && !files_mapped(b));
    registry_free(registry);
    files_remove(&files);
    leak_check();
}

/* ---- files that change ----------------------------------------------------------------------- */

/* Did a rescan load and run the file? The marker is made by a constructor. */
static bool is_tried(struct registry *registry, const struct files *files)
{
    const char *marker = files_path(files, "marker");
    setenv("HVV_TEST_MARKER", marker, 1);
    registry_rescan(registry);
    return unlink(marker) == 0;
}

Test(registry, a_refused_file_is_tried_again_when_it_changed)
{
    struct files files;
    files_make(&files);
    files_copy(&files, "bad-name.so", "a.so");
    struct registry *registry = make(files.dir);
    const char *path = files_path(&files, "a.so");
    cr_expect(is_tried(registry, &files));
    check_reason(registry, path, "has the name \"Bad Name\"");
    cr_expect(!is_tried(registry, &files), "tried again though it did not change");
    check_counts(registry, 0, 1);
    cr_assert(chmod(path, 0600) == 0);
    cr_expect(is_tried(registry, &files), "not tried though its mode changed");
    files_copy(&files, "bad-version.so", "a.so");
    cr_expect(is_tried(registry, &files), "not tried though it is another file");
    check_reason(registry, path, "has the version \"1.0-beta\"");
    check_counts(registry, 0, 1);
    files_copy(&files, "good.so", "a.so");
    check_found(registry, "good", "1.0");
    check_counts(registry, 1, 0);
    registry_free(registry);
    files_remove(&files);
    leak_check();
}

Test(registry, a_reason_outside_the_file_is_tried_again_each_time)
{
    struct files files;
    files_make(&files);
    cr_assert(symlink("target", files_path(&files, "a.so")) == 0);
    files_copy(&files, "bad-undefined.so", "b.so");
    struct registry *registry = make(files.dir);
    registry_rescan(registry);
    check_counts(registry, 0, 2);
    check_reason(registry, files_path(&files, "a.so"), "cannot be read: No such file");
    check_reason(registry, files_path(&files, "b.so"), "uses the symbol symbol_nobody_defines");
    for (const struct refused *r = NULL; (r = registry_next_refused(registry, r));)
        cr_expect(!r->final, "%s would not be tried again", r->path);
    files_copy(&files, "good.so", "target");
    registry_rescan(registry);
    check_counts(registry, 1, 1);
    cr_assert(unlink(files_path(&files, "b.so")) == 0);
    registry_rescan(registry);
    check_counts(registry, 1, 0);
    registry_free(registry);
    files_remove(&files);
    leak_check();
}

Test(registry, an_unsafe_file_is_refused_until_it_is_safe)
{
    struct files files;
    files_make(&files);
    files_copy(&files, "ok-two-majors.so", "a.so");
    const char *path = files_path(&files, "a.so");
    struct registry *registry = make(files.dir);
    cr_assert(chmod(path, 0666) == 0);
    cr_expect(!is_tried(registry, &files), "code ran that everybody can write");
    check_reason(registry, path, "can be written by everybody (mode 666): chmod o-w it");
    if (geteuid() == 0) {
        cr_assert(chmod(path, 0644) == 0 && chown(path, 12345, (gid_t)-1) == 0);
        cr_expect(!is_tried(registry, &files));
        check_reason(registry, path, "belongs to user 12345");
        cr_assert(chown(path, 0, (gid_t)-1) == 0);
    }
    cr_assert(chmod(path, 0644) == 0);
    cr_expect(is_tried(registry, &files));
    check_counts(registry, 1, 0);
    registry_free(registry);
    files_remove(&files);
}

Test(registry, things_that_are_no_files_are_refused)
{
    struct files files;
    files_make(&files);
    cr_assert(mkdir(files_path(&files, "dir.so"), 0700) == 0);
    cr_assert(mkfifo(files_path(&files, "fifo.so"), 0600) == 0);
    struct registry *registry = make(files.dir);
    registry_rescan(registry);
    check_counts(registry, 0, 2);
    check_reason(registry, files_path(&files, "dir.so"), "is a directory, not a regular file");
    check_reason(registry, files_path(&files, "fifo.so"), "is not a regular file");
    registry_free(registry);
    files_remove(&files);
}

Test(registry, a_new_version_needs_a_new_file_name)
{
    struct files files;
    files_make(&files);
    files_copy(&files, "good.so", "good.so");
    const char *path = files_path(&files, "good.so");
    struct registry *registry = make(files.dir);
    check_found(registry, "good", "1.0");
    files_copy(&files, "ok-version-9.so", "good.so");
    registry_rescan(registry);
    check_found(registry, "good", "1.0");
    check_counts(registry, 1, 1);
    check_reason(registry, path, "is already loaded, a different file is on disk now: give the new "
                                 "version a new file name");
    files_copy(&files, "ok-version-9.so", "good-1.9.so");
    registry_rescan(registry);
    check_found(registry, "good", "1.9");
    cr_assert(unlink(path) == 0);
    registry_rescan(registry);
    check_counts(registry, 2, 0);
    registry_free(registry);
    files_remove(&files);
    leak_check();
}

Test(registry, a_loaded_file_written_to_is_noticed)
{
    struct files files;
    struct timeval times[2] = {{1000, 0}, {1000, 0}};
    files_make(&files);
    files_copy(&files, "good.so", "good.so");
    struct registry *registry = make(files.dir);
    registry_rescan(registry);
    check_counts(registry, 1, 0);
    cr_assert(utimes(files_path(&files, "good.so"), times) == 0);
    registry_rescan(registry);
    check_counts(registry, 1, 1);
    check_reason(registry, files_path(&files, "good.so"), "a different file is on disk now");
    registry_free(registry);
    files_remove(&files);
}

Test(registry, a_second_name_of_a_file_is_no_second_plugin)
{
    struct files files;
    files_make(&files);
    files_copy(&files, "good.so", "good-1.0.so");
    cr_assert(symlink("good-1.0.so", files_path(&files, "good.so")) == 0);
    cr_assert(link(files_path(&files, "good-1.0.so"), files_path(&files, "hard.so")) == 0);
    struct registry *registry = make(files.dir);
    registry_rescan(registry);
    check_counts(registry, 1, 0);
    files_copy(&files, "ok-version-9.so", "good-1.9.so");
    cr_assert(unlink(files_path(&files, "good.so")) == 0);
    cr_assert(symlink("good-1.9.so", files_path(&files, "good.so")) == 0);
    registry_rescan(registry);
    check_counts(registry, 2, 0);
    check_found(registry, "good", "1.9");
    registry_free(registry);
    files_remove(&files);
}

Test(registry, a_directory_link_can_be_turned_to_newer_plugins)
{
    struct files old, new, links;
    files_make(&old);
    files_make(&new);
    files_make(&links);
    files_copy(&old, "good.so", "good.so");
    files_copy(&new, "ok-version-9.so", "good.so");
    const char *current = files_path(&links, "current");
    cr_assert(symlink(old.dir, current) == 0);
    struct registry *registry = make(current);
    check_found(registry, "good", "1.0");
    cr_assert(unlink(current) == 0 && symlink(new.dir, current) == 0);
    registry_rescan(registry);
    check_found(registry, "good", "1.9");
    check_counts(registry, 2, 0);
    registry_free(registry);
    files_remove(&links);
    files_remove(&old);
    files_remove(&new);
}

/* A directory made unsafe after the start is not loaded from. */
Test(registry, directories_are_checked_at_every_scan)
{
    struct files files;
    files_make(&files);
    files_copy(&files, "ok-two-majors.so", "a.so");
    struct registry *registry = make(files.dir);
    cr_assert(chmod(files.dir, 0777) == 0);
    cr_expect(!is_tried(registry, &files));
    cr_assert(chmod(files.dir, 0700) == 0);
    cr_expect(is_tried(registry, &files));
    registry_free(registry);
    files_remove(&files);
}
