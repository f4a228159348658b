/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conf-file.c - see conf-file.h. The only file that includes libconfig.h. The text is read and
 * scanned here and only then parsed, because libconfig ends the process when it cannot read.
 */
#include "conf/conf-file.h"

#include "conf/conf-scan.h"
#include "conf/path.h"
#include "conf/setting.h"
#include "conf/similar.h"

#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX (1u << 20) /* bytes */

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

/*
 * Reads up to FILE_MAX bytes and adds a line end: without one libconfig does not know a comment in
 * the last line.
 */
static int read_fd(int fd, const char *path, char *text, struct error *error)
{
    size_t len = 0;
    ssize_t n;
    while ((n = read(fd, text + len, FILE_MAX + 1 - len)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(error, errno, "cannot read %.200s: %s", path, strerror(errno));
        len += (size_t)n;
        if (len > FILE_MAX)
            return error_set(error, EFBIG, "%.200s is larger than the %u bytes a configuration "
                             "file can have: is it the right file?", path, FILE_MAX);
    }
    text[len] = '\n';
    text[len + 1] = '\0';
    if (strlen(text) != len + 1)
        return error_set(error, EINVAL, "%.200s has a zero byte, so it is no text: is it the right "
                         "file?", path);
    return 0;
}

static int read_text(const char *path, char **out, struct error *error)
{
    char *text = malloc(FILE_MAX + 3);
    if (!text)
        return error_set(error, ENOMEM, "out of memory for %.200s", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? error_set(error, errno, "cannot open %.200s: %s", path, strerror(errno))
                    : read_fd(fd, path, text, error);
    if (fd >= 0)
        close(fd);
    if (rc < 0)
        free(text);
    else
        *out = text;
    return rc;
}

int conf_file_read(struct conf *conf, const char *path, const char *cwd, struct error *error)
{
    char *dir, *text = NULL;
    int rc = path_absolute(&dir, path, cwd, "--config", error);
    if (rc < 0)
        return rc;
    char *slash = strrchr(dir, '/');
    slash[slash == dir] = '\0'; /* "/" stays */
    rc = read_text(path, &text, error);
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
