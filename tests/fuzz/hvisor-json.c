/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvisor-json.c - fuzz target: a virtio file of hvisor-tool, alone and beside the file of a zone,
 * which follows in the input behind a zero byte. What is accepted also has to come back unchanged
 * from the configuration file it is saved as.
 */
#include "conf/conf-file.h"
#include "conf/conf-format.h"
#include "zone/crosscheck.h"

#include "input.h"

#include <sys/mman.h>
#include <unistd.h>

static void check_devices(const struct hvisor_json *json)
{
    size_t enabled = 0;
    for (size_t i = 0; i < json->n_devices; i++) {
        const struct hvisor_json_device *dev = &json->devices[i];
        const struct zone_plan *zone = plan_find(&json->zones, dev->zone);
        enabled += dev->enabled;
        must(zone, "%s is in no zone", dev->where);
        must(dev->has_slot || !dev->enabled, "%s has no slot", dev->where);
        bool found = !dev->has_slot;
        for (size_t s = 0; s < zone->n_slots && !found; s++)
            found = zone->slots[s].addr == dev->slot.addr && zone->slots[s].irq == dev->slot.irq;
        must(found, "the slot of %s is not in its zone", dev->where);
    }
    must(enabled == json->n_specs, "%zu devices, %zu specs", enabled, json->n_specs);
    must(json->n_warnings <= HVISOR_JSON_WARNINGS_MAX, "%zu warnings", json->n_warnings);
}

/* The platform is not said in JSON; merging settles it. */
static void check_round_trip(const struct hvisor_json *json)
{
    static int fd = -1;
    char path[32];
    struct zone_plans zones = {0};
    struct conf conf = {0};
    struct error error = {0};
    const struct spec **devices = calloc(json->n_specs + 1, sizeof(devices[0]));
    must(devices && plan_merge(&zones, &json->zones, NULL, &error) == 0, "%s", error.text);
    for (size_t i = 0; i < json->n_specs; i++)
        devices[i] = &json->specs[i];
    char *text = conf_format(NULL, &zones, devices, json->n_specs);
    if (fd < 0)
        fd = memfd_create("conf", MFD_CLOEXEC);
    must(text && fd >= 0 && ftruncate(fd, 0) == 0, "no memory");
    must(pwrite(fd, text, strlen(text), 0) == (ssize_t)strlen(text), "no memory");
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    must(conf_file_read(&conf, path, "/", &error) == 0, "%s\n%s", error.text, text);
    must(conf.n_devices == json->n_specs, "%zu devices", conf.n_devices);
    char *again = conf_format(NULL, &conf.zones, devices, json->n_specs);
    must(again && strcmp(text, again) == 0, "\n%s\n%s", text, again ? again : "");
    free(again);
    free(text);
    free(devices);
    plan_clear(&zones);
    conf_clear(&conf);
}

static void check_zone_file(const struct hvisor_json *json, const char *text, size_t len)
{
    struct crosscheck check;
    struct error error = {0};
    int rc = crosscheck(&check, json, text, len, "z", &error);
    must(rc == 0 ? !error.err : error.err == -rc && error.text[0], "%d, error %d", rc, error.err);
    must(rc == 0 || check.n_lines == 0, "refused, but not empty");
    crosscheck_clear(&check);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hvisor_json json;
    struct error error = {0};
    const char *text = (const char *)data;
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t len = zero ? (size_t)(zero - data) : size;
    int rc = hvisor_json_parse(&json, size ? text : "", len, "f", "/dir", &error);
    must(rc <= 0, "%d", rc);
    if (rc < 0) {
        must(error.err == -rc && strncmp(error.text, "f:", 2) == 0, "%d: %s", rc, error.text);
        must(!json.zones.zones && !json.specs && !json.devices && !json.warnings, "not empty");
        return 0;
    }
    check_devices(&json);
    check_round_trip(&json);
    if (zero)
        check_zone_file(&json, text + len + 1, size - len - 1);
    hvisor_json_clear(&json);
    return 0;
}
