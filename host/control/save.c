/* SPDX-License-Identifier: BSD-3-Clause */
/* save.c - see save.h. */
#include "control/save.h"

#include "conf/conf-format.h"
#include "device/request.h"
#include "zone/zone.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Adds an option that the spec does not have yet. */
static int spec_put(struct spec *spec, const char *name, const char *value, struct error *error)
{
    for (size_t i = 0; i < spec->n_options; i++)
        if (spec->options[i].name && strcmp(spec->options[i].name, name) == 0)
            return 0;
    return spec_add(spec, name, value, error);
}

static int save_slot(struct spec *spec, const struct slot *slot, struct error *error)
{
    char zone[16], addr[24];
    snprintf(zone, sizeof(zone), "%u", slot->zone->id);
    snprintf(addr, sizeof(addr), "0x%" PRIx64, slot->addr);
    int rc = spec_put(spec, "zone", zone, error);
    return rc < 0 ? rc : spec_put(spec, "addr", addr, error);
}

struct saving {
    struct spec *spec;
    struct error *error;
};

static void save_socket(void *arg, const char *key, const char *value)
{
    struct saving *saving = arg;
    if (strcmp(key, "socket") == 0)
        spec_put(saving->spec, key, value, saving->error);
}

/* A device as it is and where it is: without its socket it could go into a zone that is there. */
static int save_device(struct spec *spec, const struct device *dev, struct error *error)
{
    int rc = conf_format_spec(spec, dev->plugin->info.name, dev->id, &dev->options, error);
    if (rc < 0)
        return rc;
    if (dev->slot)
        save_slot(spec, dev->slot, error);
    else
        dev->transport->describe(dev, save_socket, &(struct saving){spec, error});
    if (error->err)
        spec_clear(spec);
    return -error->err;
}

/* The memory of a monitor's zone is its own to declare. */
static char *save_text(const struct daemon *daemon, const struct spec *const *list, size_t n)
{
    struct zone_plans plans;
    if (plan_copy(&plans, &daemon->zones->plans) < 0)
        return NULL;
    for (size_t i = 0; i < plans.n; i++)
        if (strcmp(plans.zones[i].platform, "trap") == 0)
            plans.zones[i].n_memory = 0;
    char *text = conf_format(daemon->conf, &plans, list, n);
    plan_clear(&plans);
    return text;
}

/* What the daemon has, as a configuration file that starts it again. */
void save_method(struct daemon *daemon, const json_t *params, struct reply *reply)
{
    struct spec specs[REQUEST_DEVICES_MAX];
    const struct spec *list[REQUEST_DEVICES_MAX];
    struct error error = {0};
    struct device *dev;
    size_t n = 0;
    (void)params;
    TAILQ_FOREACH(dev, &daemon->devices, link) {
        if (n == REQUEST_DEVICES_MAX)
            error_set(&error, E2BIG, "more than %u devices cannot be saved in one file",
                      REQUEST_DEVICES_MAX);
        if (error.err || save_device(&specs[n], dev, &error) < 0)
            break;
        list[n] = &specs[n];
        n++;
    }
    char *text = error.err ? NULL : save_text(daemon, list, n);
    if (!text && !error.err)
        error_set(&error, ENOMEM, "out of memory for a configuration file");
    if (error.err)
        reply_error(reply, &error);
    else
        reply_result(reply, json_pack("{s:s}", "text", text));
    free(text);
    while (n-- > 0)
        spec_clear(&specs[n]);
}
