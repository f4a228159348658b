/* SPDX-License-Identifier: BSD-3-Clause */
/* conf-format.c - see conf-format.h. Pure; no thread of its own. */
#include "conf/conf-format.h"

#include "util/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A string as libconfig reads it. */
static void put_string(FILE *to, const char *text)
{
    fputc('"', to);
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(to, "\\%c", *c);
        else if ((unsigned char)*c < 0x20 || *c == 0x7f)
            fprintf(to, "\\x%02x", (unsigned char)*c);
        else
            fputc(*c, to);
    }
    fputc('"', to);
}

static void put_text(FILE *to, const char *key, const char *text)
{
    if (!text)
        return;
    fprintf(to, "%s = ", key);
    put_string(to, text);
    fputs(";\n", to);
}

static void put_settings(FILE *to, const struct conf *conf)
{
    fputs("plugin_dirs = (", to);
    for (size_t i = 0; i < conf->n_plugin_dirs; i++) {
        fputs(i ? ", " : " ", to);
        put_string(to, conf->plugin_dirs[i]);
    }
    fputs(" );\n", to);
    put_text(to, "control", conf->control);
    put_text(to, "socket_dir", conf->socket_dir);
    fprintf(to, "socket_mode = \"0%03o\";\n", (unsigned)conf->socket_mode);
    if (conf->workers)
        fprintf(to, "workers = %u;\n", conf->workers);
    else
        put_text(to, "workers", "each");
    fprintf(to, "poll_us = %u;\nstuck_seconds = %u;\n", conf->poll_us, conf->stuck_seconds);
    put_text(to, "log_level", log_level_name(conf->log_level));
    fprintf(to, "syslog = %s;\n", conf->syslog ? "true" : "false");
    put_text(to, "hvisor", conf->hvisor);
    fprintf(to, "hvisor_poll = %s;\n", conf->hvisor_poll ? "true" : "false");
    put_text(to, "trap", conf->trap);
}

/* Addresses are strings, because a bare number has only 32 bits. */
static void put_zone(FILE *to, const struct zone_plan *zone)
{
    fprintf(to, "    {\n        id = %" PRIu32 ";\n", zone->id);
    if (zone->platform[0])
        fprintf(to, "        platform = \"%s\";\n", zone->platform);
    fputs("        memory = (", to);
    for (size_t i = 0; i < zone->n_memory; i++) {
        const struct plan_memory *m = &zone->memory[i];
        fprintf(to, "%s\n            { host = \"0x%" PRIx64 "\"; guest = \"0x%" PRIx64
                "\"; size = \"0x%" PRIx64 "\"; }", i ? "," : "", m->host, m->guest, m->size);
    }
    fputs("\n        );\n        slots = (", to);
    for (size_t i = 0; i < zone->n_slots; i++) {
        const struct plan_slot *s = &zone->slots[i];
        fprintf(to, "%s\n            { addr = \"0x%" PRIx64 "\"; len = \"0x%" PRIx64
                "\"; irq = \"%" PRIu32 "\"; }", i ? "," : "", s->addr, s->len, s->irq);
    }
    fputs("\n        );\n    }", to);
}

/* Returns false if there was no memory. */
static bool put_devices(FILE *to, const struct spec *const *devices, size_t n)
{
    fputs("devices = (", to);
    for (size_t i = 0; i < n; i++) {
        char *text = spec_format(devices[i]);
        if (!text)
            return false;
        fputs(i ? ",\n    " : "\n    ", to);
        put_string(to, text);
        free(text);
    }
    fputs("\n);\n", to);
    return true;
}

char *conf_format(const struct conf *conf, const struct zone_plans *zones,
                  const struct spec *const *devices, size_t n_devices)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    if (!to)
        return NULL;
    if (conf)
        put_settings(to, conf);
    fputs("zones = (", to);
    for (size_t i = 0; i < zones->n; i++) {
        fputs(i ? ",\n" : "\n", to);
        put_zone(to, &zones->zones[i]);
    }
    fputs("\n);\n", to);
    bool complete = put_devices(to, devices, n_devices) && !ferror(to);
    if (fclose(to) == 0 && complete)
        return text;
    free(text);
    return NULL;
}

/* ---- Devices --------------------------------------------------------------------------------- */

/* Large numbers are addresses, which people read in base 16. */
static const char *text_of(const struct option_value *value, char *number, size_t size)
{
    uint32_t type = value->option->type;
    if (value->string)
        return value->string;
    if (type == HVV_OPTION_BOOL)
        return value->u64 ? "on" : "off";
    bool address = type == HVV_OPTION_U64 && value->u64 > UINT16_MAX;
    snprintf(number, size, address ? "0x%" PRIx64 : "%" PRIu64, value->u64);
    return number;
}

int conf_format_spec(struct spec *spec, const char *plugin, const char *id,
                     const struct options *options, struct error *error)
{
    char number[24];
    int rc = spec_init(spec, plugin, error);
    if (rc == 0)
        rc = spec_add(spec, "id", id, error);
    for (size_t i = 0; i < options->n && rc == 0; i++) {
        const struct option_value *value = &options->values[i];
        if (value->given && strcmp(value->option->name, "id") != 0)
            rc = spec_add(spec, value->option->name, text_of(value, number, sizeof(number)), error);
    }
    if (rc < 0)
        spec_clear(spec);
    return rc;
}
