/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conf-file.c - see conf-file.h. The only file that includes libconfig.h. The text is read and
 * scanned here and only then parsed, because libconfig ends the process when it cannot read.
 */
#include "conf/conf-file.h"

#include "conf/conf-scan.h"
#include "conf/setting.h"
#include "conf/similar.h"
#include "conf/text-file.h"

#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The setting that only a file has. */
#define CONF_ZONES "zones"

/* The file being read. */
struct file {
    struct conf *conf;
    const char *path; /* as the operator wrote it */
    const char *dir;  /* absolute */
    struct error *error;
};

/* ---- Errors ---------------------------------------------------------------------------------- */

/* Puts FILE:LINE in front of what `why` says. */
static int fail_at(const struct file *file, const config_setting_t *at, const struct error *why)
{
    return error_option(file->error, why->err, why->option, "%s:%u: %s", file->path,
                        config_setting_source_line(at), why->text);
}

static int wrong_type(const struct file *file, const config_setting_t *at, const char *name,
                      const char *wanted)
{
    return error_set(file->error, EINVAL, "%s:%u: %.64s is of the wrong type: write %s", file->path,
                     config_setting_source_line(at), name, wanted);
}

/* ---- Values ---------------------------------------------------------------------------------- */

/* The text of a value that is one; `buffer` holds it if it is a number. NULL: it is not. */
static const char *scalar_text(const config_setting_t *value, char *buffer, size_t size)
{
    switch (config_setting_type(value)) {
    case CONFIG_TYPE_STRING:
        return config_setting_get_string(value);
    case CONFIG_TYPE_BOOL:
        return config_setting_get_bool(value) ? "on" : "off";
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        snprintf(buffer, size, "%lld", config_setting_get_int64(value));
        return buffer;
    default:
        return NULL;
    }
}

static bool is_list(const config_setting_t *value)
{
    return config_setting_is_array(value) || config_setting_is_list(value);
}

/* What the file may hold for a setting; NULL: this value will do. */
static const char *wanted_instead(const struct setting *setting, const config_setting_t *value)
{
    int type = config_setting_type(value);
    bool string = type == CONFIG_TYPE_STRING;
    bool number = type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
    switch (setting->kind) {
    case SETTING_FLAG:
        return type == CONFIG_TYPE_BOOL ? NULL : "true or false";
    case SETTING_SWITCH:
        return string || type == CONFIG_TYPE_BOOL ? NULL : "true, false or a string";
    case SETTING_NUMBER:
        return string || number ? NULL : "a whole number, or a string";
    case SETTING_LIST:
        return string ? NULL : "a list of strings, [ \"...\", \"...\" ]";
    case SETTING_DEVICES:
        return string || type == CONFIG_TYPE_GROUP
                   ? NULL : "a list of strings and groups, ( \"...\", { plugin = \"...\"; } )";
    default:
        return string ? NULL : "a string, in double quotes";
    }
}

/* ---- Devices written as groups --------------------------------------------------------------- */

/* An option of a device, or each of several if the value is a list. */
static int add_option(const struct file *file, struct spec *spec, const config_setting_t *member)
{
    char name[SPEC_NAME_MAX + 2], number[24];
    struct error why = {0};
    snprintf(name, sizeof(name), "%s", config_setting_name(member));
    for (char *c = name; *c; c++)
        if (*c == '_')
            *c = '-';
    bool several = is_list(member);
    int n = several ? config_setting_length(member) : 1;
    for (int i = 0; i < n; i++) {
        const config_setting_t *value =
            several ? config_setting_get_elem(member, (unsigned)i) : member;
        const char *text = scalar_text(value, number, sizeof(number));
        if (!text)
            return wrong_type(file, member, config_setting_name(member),
                              "a string, a whole number, true or false, or a list of them");
        if (spec_add(spec, name, text, &why) < 0)
            return fail_at(file, member, &why);
    }
    return 0;
}

static int fill_spec(const struct file *file, struct spec *spec, const config_setting_t *group)
{
    struct error why = {0};
    const config_setting_t *plugin = config_setting_get_member(group, "plugin");
    if (!plugin)
        return error_set(file->error, EINVAL, "%s:%u: this device has no plugin: add plugin = "
                         "\"NAME\"", file->path, config_setting_source_line(group));
    if (config_setting_type(plugin) != CONFIG_TYPE_STRING)
        return wrong_type(file, plugin, "plugin", "a string, in double quotes");
    if (spec_init(spec, config_setting_get_string(plugin), &why) < 0)
        return fail_at(file, plugin, &why);
    int rc = 0;
    for (int i = 0; i < config_setting_length(group) && rc == 0; i++) {
        const config_setting_t *member = config_setting_get_elem(group, (unsigned)i);
        if (member != plugin)
            rc = add_option(file, spec, member);
    }
    return rc;
}

static int add_group(const struct file *file, const config_setting_t *group)
{
    struct spec spec = {0};
    struct error why = {0};
    struct setting_source source = {"devices", file->dir};
    int rc = fill_spec(file, &spec, group);
    if (rc == 0 && setting_add_device(file->conf, &spec, &source, &why) < 0)
        rc = fail_at(file, group, &why);
    if (rc < 0)
        spec_clear(&spec);
    return rc;
}

/* ---- Zones ----------------------------------------------------------------------------------- */

/* What a group may have. */
struct member {
    const char *name;
    uint64_t max; /* of a number; 0: something else */
};

/* Refuses members a group cannot have. `n` names of what it can. */
static int check_members(const struct file *file, const config_setting_t *group, const char *what,
                         const struct member *members, size_t n)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *member = config_setting_get_elem(group, (unsigned)i);
        const char *name = config_setting_name(member);
        struct similar best = {0};
        bool known = false;
        for (size_t m = 0; m < n && !known; m++) {
            known = strcmp(name, members[m].name) == 0;
            similar_try(&best, name, members[m].name);
        }
        if (!known)
            return error_set(file->error, EINVAL, "%s:%u: %s has no %.64s%s%s", file->path,
                             config_setting_source_line(member), what, name,
                             best.name ? ": did you mean " : ": see hvisor-vhost.conf(5)",
                             best.name ? best.name : "");
    }
    return 0;
}

static int get_number(const struct file *file, const config_setting_t *group, const char *what,
                      const struct member *member, uint64_t *number)
{
    char buffer[24];
    const config_setting_t *value = config_setting_get_member(group, member->name);
    if (!value)
        return error_set(file->error, EINVAL, "%s:%u: %s has no %s: add %s = \"NUMBER\"",
                         file->path, config_setting_source_line(group), what, member->name,
                         member->name);
    if (config_setting_type(value) == CONFIG_TYPE_BOOL)
        return wrong_type(file, value, member->name, "a whole number, or a string");
    const char *text = scalar_text(value, buffer, sizeof(buffer));
    if (!text)
        return wrong_type(file, value, member->name, "a whole number, or a string");
    if (plan_number(text, number) < 0 || *number > member->max)
        return error_set(file->error, EINVAL, "%s:%u: %s=%.64s is not a number from 0 to 0x%" PRIx64
                         ": write one, such as \"0x200\" or \"512\"", file->path,
                         config_setting_source_line(value), member->name, text, member->max);
    return 0;
}

/* All of a group's members, which are numbers. */
static int get_numbers(const struct file *file, const config_setting_t *group, const char *what,
                       const struct member *members, size_t n, uint64_t *numbers)
{
    if (!config_setting_is_group(group))
        return wrong_type(file, group, what, "a group, { ... }");
    int rc = check_members(file, group, what, members, n);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = get_number(file, group, what, &members[i], &numbers[i]);
    return rc;
}

static int add_memory(const struct file *file, struct zone_plan *zone,
                      const config_setting_t *group)
{
    static const struct member members[] = {
        {"host", UINT64_MAX}, {"guest", UINT64_MAX}, {"size", UINT64_MAX}};
    uint64_t n[3];
    struct error why = {0};
    int rc = get_numbers(file, group, "memory", members, 3, n);
    if (rc == 0 && plan_add_memory(zone, &(struct plan_memory){n[0], n[1], n[2]}, &why) < 0)
        rc = fail_at(file, group, &why);
    return rc;
}

static int add_slot(const struct file *file, struct zone_plan *zone, const config_setting_t *group)
{
    static const struct member members[] = {
        {"addr", UINT64_MAX}, {"len", UINT64_MAX}, {"irq", UINT32_MAX}};
    uint64_t n[3];
    struct error why = {0};
    int rc = get_numbers(file, group, "a slot", members, 3, n);
    if (rc == 0 &&
        plan_add_slot(zone, &(struct plan_slot){n[0], n[1], (uint32_t)n[2]}, &why) < 0)
        rc = fail_at(file, group, &why);
    return rc;
}

/* Each group in the list `name` of a zone; there may be no such list. */
static int each(const struct file *file, const config_setting_t *group, const char *name,
                struct zone_plan *zone,
                int (*add)(const struct file *file, struct zone_plan *zone,
                           const config_setting_t *group))
{
    const config_setting_t *list = config_setting_get_member(group, name);
    if (list && !is_list(list))
        return wrong_type(file, list, name, "a list of groups, ( { ... }, ... )");
    int rc = 0;
    for (int i = 0; list && i < config_setting_length(list) && rc == 0; i++)
        rc = add(file, zone, config_setting_get_elem(list, (unsigned)i));
    return rc;
}

static int add_zone(const struct file *file, const config_setting_t *group)
{
    static const struct member members[] = {
        {"id", UINT32_MAX}, {"platform", 0}, {"memory", 0}, {"slots", 0}};
    struct error why = {0};
    uint64_t id;
    if (!config_setting_is_group(group))
        return wrong_type(file, group, "a zone", "a group, { id = NUMBER; ... }");
    int rc = check_members(file, group, "a zone", members, 4);
    if (rc == 0)
        rc = get_number(file, group, "a zone", &members[0], &id);
    if (rc < 0)
        return rc;
    const config_setting_t *platform = config_setting_get_member(group, "platform");
    if (platform && config_setting_type(platform) != CONFIG_TYPE_STRING)
        return wrong_type(file, platform, "platform", "\"hvisor\" or \"trap\"");
    struct zone_plan *zone = plan_zone(&file->conf->zones, (uint32_t)id,
                                       platform ? config_setting_get_string(platform) : "hvisor",
                                       &why);
    if (!zone)
        return fail_at(file, platform ? platform : group, &why);
    rc = each(file, group, "memory", zone, add_memory);
    return rc == 0 ? each(file, group, "slots", zone, add_slot) : rc;
}

static int set_zones(const struct file *file, const config_setting_t *value)
{
    int rc = 0;
    if (!is_list(value))
        return wrong_type(file, value, CONF_ZONES, "a list of groups, ( { id = NUMBER; ... } )");
    for (int i = 0; i < config_setting_length(value) && rc == 0; i++)
        rc = add_zone(file, config_setting_get_elem(value, (unsigned)i));
    return rc;
}

/* ---- Settings -------------------------------------------------------------------------------- */

static int set_one(const struct file *file, const struct setting *setting,
                   const config_setting_t *value)
{
    char number[24];
    struct error why = {0};
    struct setting_source source = {setting->key, file->dir};
    const char *wanted = wanted_instead(setting, value);
    if (wanted)
        return wrong_type(file, value, setting->key, wanted);
    if (config_setting_is_group(value))
        return add_group(file, value);
    const char *text = scalar_text(value, number, sizeof(number));
    if (setting->set(file->conf, text, &source, &why) < 0)
        return fail_at(file, value, &why);
    return 0;
}

static int set_all(const struct file *file, const struct setting *setting,
                   const config_setting_t *value)
{
    bool several = setting->kind == SETTING_LIST || setting->kind == SETTING_DEVICES;
    if (!several || !is_list(value))
        return set_one(file, setting, value);
    int rc = 0;
    for (int i = 0; i < config_setting_length(value) && rc == 0; i++)
        rc = set_one(file, setting, config_setting_get_elem(value, (unsigned)i));
    return rc;
}

static const struct setting *find_setting(const char *key, struct similar *best)
{
    for (size_t i = 0; i < settings_n; i++) {
        if (!settings[i].key)
            continue;
        if (strcmp(settings[i].key, key) == 0)
            return &settings[i];
        similar_try(best, key, settings[i].key);
    }
    similar_try(best, key, CONF_ZONES);
    return NULL;
}

static int walk(const struct file *file, const config_setting_t *root)
{
    int rc = 0;
    for (int i = 0; i < config_setting_length(root) && rc == 0; i++) {
        const config_setting_t *value = config_setting_get_elem(root, (unsigned)i);
        const char *key = config_setting_name(value);
        struct similar best = {0};
        const struct setting *setting = find_setting(key, &best);
        if (setting)
            rc = set_all(file, setting, value);
        else if (strcmp(key, CONF_ZONES) == 0)
            rc = set_zones(file, value);
        else
            rc = error_set(file->error, EINVAL, "%s:%u: there is no setting %.64s%s%s", file->path,
                           config_setting_source_line(value), key,
                           best.name ? ": did you mean " : ": see hvisor-vhost.conf(5)",
                           best.name ? best.name : "");
    }
    return rc;
}

/* ---- The file -------------------------------------------------------------------------------- */

static int parse(const struct file *file, const char *text)
{
    config_t config;
    int rc = conf_scan(text, file->path, file->error);
    if (rc < 0)
        return rc;
    config_init(&config);
    if (config_read_string(&config, text))
        rc = walk(file, config_root_setting(&config));
    else
        rc = error_set(file->error, EINVAL, "%s:%d: %s: see hvisor-vhost.conf(5) for how it is "
                       "written", file->path, config_error_line(&config),
                       config_error_text(&config));
    config_destroy(&config);
    return rc;
}

int conf_file_read(struct conf *conf, const char *path, const char *cwd, struct error *error)
{
    char *dir, *text = NULL;
    int rc = text_file_dir(&dir, path, cwd, "--config", error);
    if (rc < 0)
        return rc;
    rc = text_file_read(&text, path, error);
    if (rc == 0) {
        char name[128]; /* leaves room in an error for what is wrong */
        snprintf(name, sizeof(name), "%s", path);
        struct file file = {conf, name, dir, error};
        rc = parse(&file, text);
        free(text);
    }
    free(dir);
    return rc;
}
