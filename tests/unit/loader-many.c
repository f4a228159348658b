/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loader-many.c - loads and refuses many files in one process: descriptors and mappings stay as
 * many as there are plugins, and nothing leaks. Plain main, so that the leak check at exit sees it
 * all; one thread; prints TAP.
 */
#include "plugin/registry.h"
#include "util/log.h"

#include "plugin-files.h"

#define ROUNDS 60
#define CAPS (HVV_CAP_MAP | HVV_CAP_SHARED)

static const struct hvv_option id_option = {.name = "id", .help = "name of the device"};
static const struct option_table host_options = {&id_option, 1, sizeof(id_option), "host"};
static int tests, failures;

static void check(bool ok, const char *what)
{
    failures += !ok;
    printf("%sok %d - %s\n", ok ? "" : "not ", ++tests, what);
}

/* Of files only: a sanitizer has more and more memory of its own. */
static int count_mappings(void)
{
    char line[PATH_MAX + 256];
    int n = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    files_must(maps != NULL, "open", "/proc/self/maps");
    while (fgets(line, sizeof(line), maps))
        n += strchr(line, '/') != NULL;
    fclose(maps);
    return n;
}

/* Every built file, opened and given up again. */
static int open_all(void)
{
    int n = 0;
    char dir[PATH_MAX];
    snprintf(dir, sizeof(dir), "%s", files_built("."));
    DIR *d = opendir(dir);
    files_must(d != NULL, "open", dir);
    for (struct dirent *e; (e = readdir(d));) {
        struct error error = {0};
        struct plugin *plugin;
        if (!strstr(e->d_name, ".so"))
            continue;
        loader_open(files_built(e->d_name), CAPS, &host_options, &plugin, &error);
        loader_free(plugin);
        n++;
    }
    closedir(d);
    return n;
}

/* Plugins come under new names and are refused as duplicates; one is replaced; bad ones change. */
static void rescan_often(struct registry *registry, const struct files *files)
{
    static const char *const bad[] = {"bad-name.so", "bad-undefined.so", "bad-major.so",
                                      "bad-event-name.so"};
    for (int i = 0; i < ROUNDS; i++) {
        struct error error = {0};
        files_copy(files, bad[i % 4], "changing.so");
        files_copy(files, "good.so", i % 2 ? "good.so" : "again.so");
        registry_rescan(registry);
        registry_find(registry, "nothing", &error);
    }
}

int main(void)
{
    struct error error = {0};
    struct files files;
    log_set_level(HVV_LOG_ERROR);
    int fds = files_open_fds(), mappings = count_mappings(), short_rounds = 0;
    for (int i = 0; i < ROUNDS; i++)
        short_rounds += open_all() < 40;
    check(short_rounds == 0, "all variants were tried in each round");
    check(files_open_fds() == fds, "no descriptor is left of files given up");
    check(count_mappings() == mappings, "no mapping is left of files given up");
    check(!files_mapped("/bad-") && !files_mapped("/good.so"), "none of them is mapped");

    files_make(&files);
    files_copy(&files, "good.so", "good.so");
    const char *dir = files.dir;
    struct registry *registry = registry_new(&dir, 1, &host_options, CAPS, &error);
    check(registry && registry_find(registry, "good", &error), "a plugin is found");
    fds = files_open_fds();
    rescan_often(registry, &files);
    check(files_open_fds() == fds, "no descriptor is left of rescans");
    check(files_mapped("/good.so") && !files_mapped("/again.so") && !files_mapped("/changing.so"),
          "only the plugin is mapped");
    check(registry_next_refused(registry, NULL) != NULL, "the others are listed as refused");
    registry_free(registry);
    files_remove(&files);
    printf("1..%d\n", tests);
    return failures ? 1 : 0;
}
