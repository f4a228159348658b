/* SPDX-License-Identifier: BSD-3-Clause */
/* zone.c - see zone.h. */
#include "ctl/zone.h"

#include "ctl/ctl.h"
#include "zone/hvisor-json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- words ----------------------------------------------------------------------------------- */

/* NAME=A,B,C as an object with three keys. NULL after complaining. */
static json_t *triple(const char *word, const char *const keys[3])
{
    char text[128];
    char *rest = text, *parts[3];
    const char *value = strchr(word, '=') + 1;
    snprintf(text, sizeof(text), "%s", value);
    for (int i = 0; i < 3; i++)
        parts[i] = strsep(&rest, ",");
    if (parts[2] && !rest && strlen(value) < sizeof(text))
        return json_pack("{s:s, s:s, s:s}", keys[0], parts[0], keys[1], parts[1], keys[2],
                         parts[2]);
    complain(CTL_USAGE, "%s is not %.*s=%s,%s,%s", word, (int)strcspn(word, "="), word, keys[0],
             keys[1], keys[2]);
    return NULL;
}

static int add_word(json_t *zone, const char *word)
{
    static const char *const memory[] = {"host", "guest", "size"};
    static const char *const slot[] = {"addr", "len", "irq"};
    if (strncmp(word, "platform=", 9) == 0)
        return json_object_set_new(zone, "platform", json_string(word + 9));
    if (strncmp(word, "memory=", 7) == 0)
        return json_array_append_new(json_object_get(zone, "memory"), triple(word, memory));
    if (strncmp(word, "slot=", 5) == 0)
        return json_array_append_new(json_object_get(zone, "slots"), triple(word, slot));
    complain(CTL_USAGE, "%s is no part of a zone: those are platform=, memory= and slot=", word);
    return -1;
}

json_t *zone_from_words(char *const *words, unsigned n)
{
    json_t *zone = json_pack("{s:s, s:[], s:[]}", "id", words[0], "memory", "slots");
    for (unsigned i = 1; i < n; i++)
        if (add_word(zone, words[i]) < 0) {
            json_decref(zone);
            return NULL;
        }
    return zone;
}

/* ---- files ----------------------------------------------------------------------------------- */

static json_t *hex(uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "0x%" PRIx64, value);
    return json_string(text);
}

static json_t *zone_object(const struct zone_plan *plan)
{
    json_t *memory = json_array(), *slots = json_array();
    for (size_t i = 0; i < plan->n_memory; i++)
        json_array_append_new(memory, json_pack("{s:o, s:o, s:o}", "host", hex(plan->memory[i].host),
                                                "guest", hex(plan->memory[i].guest), "size",
                                                hex(plan->memory[i].size)));
    for (size_t i = 0; i < plan->n_slots; i++)
        json_array_append_new(slots, json_pack("{s:o, s:o, s:I}", "addr", hex(plan->slots[i].addr),
                                               "len", hex(plan->slots[i].len), "irq",
                                               (json_int_t)plan->slots[i].irq));
    return json_pack("{s:i, s:o, s:o}", "id", (int)plan->id, "memory", memory, "slots", slots);
}

static void add_file(const struct hvisor_json *file, json_t *params)
{
    for (size_t i = 0; i < file->n_warnings; i++)
        complain(CTL_OK, "warning: %s", file->warnings[i]);
    for (size_t i = 0; i < file->zones.n; i++)
        json_array_append_new(json_object_get(params, "zones"), zone_object(&file->zones.zones[i]));
    for (size_t i = 0; i < file->n_specs; i++) {
        char *text = spec_format(&file->specs[i]);
        json_array_append_new(json_object_get(params, "devices"), json_string(text));
        free(text);
    }
}

json_t *zone_from_files(char *const *paths, unsigned n)
{
    json_t *params = json_pack("{s:[], s:[]}", "zones", "devices");
    char *cwd = getcwd(NULL, 0); /* without one only absolute paths will do */
    for (unsigned i = 0; i < n; i++) {
        struct hvisor_json file;
        struct error error = {0};
        if (hvisor_json_read(&file, paths[i], cwd, &error) < 0) {
            complain(CTL_REFUSED, "%s", error.text);
            json_decref(params);
            params = NULL;
            break;
        }
        add_file(&file, params);
        hvisor_json_clear(&file);
    }
    free(cwd);
    return params;
}
