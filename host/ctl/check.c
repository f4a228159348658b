/* SPDX-License-Identifier: BSD-3-Clause */
/* check.c - see check.h. */
#include "ctl/check.h"

#include "conf/text-file.h"
#include "ctl/print.h"
#include "ctl/table.h"
#include "zone/crosscheck.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct report {
    bool as_json;
    json_t *list; /* with as_json */
    bool disagree;
};

static int refuse(const struct error *error)
{
    return complain(CTL_REFUSED, "%s", error->text);
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

/* ---- Disagreements --------------------------------------------------------------------------- */

static void say(struct report *report, const char *file, const struct crosscheck_line *line)
{
    char text[1024];
    report->disagree = true;
    if (report->as_json) {
        json_array_append_new(report->list, json_pack("{s:s, s:s, s:s}", "file", file, "where",
                                                      line->where, "message", line->text));
        return;
    }
    snprintf(text, sizeof(text), "%.300s: %s: %s", file, line->where, line->text);
    put_text(text);
    putchar('\n');
}

/* A slot for later does no harm today. */
static void say_all(struct report *report, const struct crosscheck *check, const char *virtio_file,
                    const char *zone_file)
{
    for (size_t i = 0; i < check->n_lines; i++) {
        const struct crosscheck_line *line = &check->lines[i];
        bool of_zone = strncmp(line->where, "zone_id", 7) == 0 ||
                       strncmp(line->where, "memory_regions", 14) == 0;
        if (line->spare)
            complain(CTL_OK, "warning: %s: %s is disabled and is no spare slot: %s", virtio_file,
                     line->where, line->text);
        else
            say(report, of_zone ? zone_file : virtio_file, line);
    }
}

static void agreed(const struct report *report, const struct crosscheck *check,
                   const char *zone_file)
{
    char text[512];
    if (report->as_json)
        return;
    snprintf(text, sizeof(text), "%.300s: zone %" PRIu32 " agrees: %zu device%s, %zu memory "
             "region%s", zone_file, check->zone, check->n_devices, plural(check->n_devices),
             check->n_memory, plural(check->n_memory));
    put_text(text);
    putchar('\n');
}

static int check_zone_file(struct report *report, const struct hvisor_json *virtio,
                           const char *virtio_file, const char *zone_file)
{
    struct crosscheck check;
    struct error error = {0};
    char *text;
    if (text_file_read(&text, zone_file, &error) < 0)
        return refuse(&error);
    int rc = crosscheck(&check, virtio, text, strlen(text), zone_file, &error);
    free(text);
    if (rc < 0)
        return refuse(&error);
    bool before = report->disagree;
    report->disagree = false;
    say_all(report, &check, virtio_file, zone_file);
    if (!report->disagree)
        agreed(report, &check, zone_file);
    report->disagree |= before;
    crosscheck_clear(&check);
    return CTL_OK;
}

/* ---- The virtio file ------------------------------------------------------------------------- */

static void describe(const struct hvisor_json *virtio, const char *file)
{
    char text[512];
    size_t spare = virtio->n_devices - virtio->n_specs;
    snprintf(text, sizeof(text), "%.300s: %zu zone%s, %zu device%s, %zu disabled", file,
             virtio->zones.n, plural(virtio->zones.n), virtio->n_specs, plural(virtio->n_specs),
             spare);
    put_text(text);
    putchar('\n');
}

int check_files(char *const *files, unsigned n, bool as_json)
{
    struct report report = {.as_json = as_json, .list = json_array()};
    struct hvisor_json virtio;
    struct error error = {0};
    char *cwd = getcwd(NULL, 0);
    int rc = hvisor_json_read(&virtio, files[0], cwd, &error);
    free(cwd);
    if (rc < 0) {
        json_decref(report.list);
        return refuse(&error);
    }
    for (size_t i = 0; i < virtio.n_warnings; i++)
        complain(CTL_OK, "warning: %s", virtio.warnings[i]);
    if (n == 1 && !as_json)
        describe(&virtio, files[0]);
    for (unsigned i = 1; i < n && rc == CTL_OK; i++)
        rc = check_zone_file(&report, &virtio, files[0], files[i]);
    if (rc == CTL_OK && as_json)
        rc = print_json(report.list);
    json_decref(report.list);
    hvisor_json_clear(&virtio);
    return rc == CTL_OK && report.disagree ? CTL_REFUSED : rc;
}
