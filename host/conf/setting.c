/* SPDX-License-Identifier: BSD-3-Clause */
/* setting.c - see setting.h. Each set function checks one text and stores its value. */
#include "conf/setting.h"

#include "conf/path.h"
#include "util/log.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The build normally says where things are installed. */
#ifndef PLUGINDIR
#define PLUGINDIR "/usr/local/lib/hvisor-vhost"
#endif
#ifndef RUNSTATEDIR
#define RUNSTATEDIR "/run"
#endif

#define DIGITS "0123456789"

static int no_memory(const struct setting_source *source, struct error *error)
{
    return error_set(error, ENOMEM, "out of memory for %s", source->label);
}

/* ---- Single values --------------------------------------------------------------------------- */

static int set_path(char **path, const char *text, const struct setting_source *source,
                    struct error *error)
{
    char *absolute;
    int rc = path_absolute(&absolute, text, source->dir, source->label, error);
    if (rc < 0)
        return rc;
    free(*path);
    *path = absolute;
    return 0;
}

static int set_number(unsigned *number, unsigned long min, unsigned long max, const char *text,
                      const struct setting_source *source, struct error *error)
{
    size_t len = strlen(text);
    unsigned long n = len > 0 && len < 10 ? strtoul(text, NULL, 10) : ULONG_MAX;
    if (strspn(text, DIGITS) != len || n < min || n > max)
        return error_set(error, EINVAL, "%s=%.64s is not a number from %lu to %lu: choose one",
                         source->label, text, min, max);
    *number = (unsigned)n;
    return 0;
}

static int set_control(struct conf *conf, const char *text, const struct setting_source *source,
                       struct error *error)
{
    return set_path(&conf->control, text, source, error);
}

static int set_socket_dir(struct conf *conf, const char *text,
                          const struct setting_source *source, struct error *error)
{
    return set_path(&conf->socket_dir, text, source, error);
}

static int set_trap(struct conf *conf, const char *text, const struct setting_source *source,
                    struct error *error)
{
    return set_path(&conf->trap, text, source, error);
}

static int set_hvisor(struct conf *conf, const char *text, const struct setting_source *source,
                      struct error *error)
{
    if (strcmp(text, "off") != 0)
        return set_path(&conf->hvisor, strcmp(text, "on") == 0 ? HVISOR_DEVICE : text, source,
                        error);
    free(conf->hvisor);
    conf->hvisor = NULL;
    return 0;
}

static int set_hvisor_poll(struct conf *conf, const char *text,
                           const struct setting_source *source, struct error *error)
{
    (void)source, (void)error;
    conf->hvisor_poll = strcmp(text, "on") == 0;
    return 0;
}

static int set_socket_mode(struct conf *conf, const char *text,
                           const struct setting_source *source, struct error *error)
{
    size_t len = strlen(text);
    if (len < 3 || len > 4 || strspn(text, "01234567") != len || (len == 4 && text[0] != '0'))
        return error_set(error, EINVAL, "%s=%.64s is not a file mode: write three octal digits, "
                         "such as 0600 or 0660", source->label, text);
    conf->socket_mode = (mode_t)strtoul(text, NULL, 8);
    return 0;
}

static int set_workers(struct conf *conf, const char *text, const struct setting_source *source,
                       struct error *error)
{
    unsigned n;
    struct error ignored = {0};
    if (strcmp(text, "each") == 0)
        conf->workers = 0;
    else if (set_number(&n, 1, CONF_WORKERS_MAX, text, source, &ignored) == 0)
        conf->workers = n;
    else
        return error_set(error, EINVAL, "%s=%.64s is neither a number from 1 to %u nor \"each\": "
                         "choose one", source->label, text, CONF_WORKERS_MAX);
    return 0;
}

static int set_poll_us(struct conf *conf, const char *text, const struct setting_source *source,
                       struct error *error)
{
    return set_number(&conf->poll_us, 0, 10000, text, source, error);
}

static int set_stuck_seconds(struct conf *conf, const char *text,
                             const struct setting_source *source, struct error *error)
{
    return set_number(&conf->stuck_seconds, 1, 3600, text, source, error);
}

static int set_log_level(struct conf *conf, const char *text, const struct setting_source *source,
                         struct error *error)
{
    int level = log_level_parse(text);
    if (level < 0)
        return error_set(error, EINVAL, "%s=%.64s is not a log level: choose error, warning, info "
                         "or debug", source->label, text);
    conf->log_level = (uint32_t)level;
    return 0;
}

static int set_syslog(struct conf *conf, const char *text, const struct setting_source *source,
                      struct error *error)
{
    (void)source, (void)error;
    conf->syslog = strcmp(text, "on") == 0;
    return 0;
}

/* ---- Lists ----------------------------------------------------------------------------------- */

static int add_path(char ***paths, size_t *n, const char *text,
                    const struct setting_source *source, struct error *error)
{
    char **more = realloc(*paths, (*n + 1) * sizeof(*more));
    if (!more)
        return no_memory(source, error);
    *paths = more;
    more[*n] = NULL;
    int rc = set_path(&more[*n], text, source, error);
    if (rc == 0)
        (*n)++;
    return rc;
}

static void clear_paths(char ***paths, size_t *n)
{
    for (size_t i = 0; i < *n; i++)
        free((*paths)[i]);
    free(*paths);
    *paths = NULL;
    *n = 0;
}

static int add_plugin_dir(struct conf *conf, const char *text, const struct setting_source *source,
                          struct error *error)
{
    return add_path(&conf->plugin_dirs, &conf->n_plugin_dirs, text, source, error);
}

static void clear_plugin_dirs(struct conf *conf)
{
    clear_paths(&conf->plugin_dirs, &conf->n_plugin_dirs);
}

static int add_virtio_json(struct conf *conf, const char *text,
                           const struct setting_source *source, struct error *error)
{
    return add_path(&conf->virtio_json, &conf->n_virtio_json, text, source, error);
}

static void clear_virtio_json(struct conf *conf)
{
    clear_paths(&conf->virtio_json, &conf->n_virtio_json);
}

int setting_add_device(struct conf *conf, struct spec *spec, const struct setting_source *source,
                       struct error *error)
{
    if (!conf->devices_dir && source->dir && !(conf->devices_dir = strdup(source->dir)))
        return no_memory(source, error);
    struct spec *more = realloc(conf->devices, (conf->n_devices + 1) * sizeof(*more));
    if (!more)
        return no_memory(source, error);
    conf->devices = more;
    more[conf->n_devices++] = *spec;
    return 0;
}

static int add_device(struct conf *conf, const char *text, const struct setting_source *source,
                      struct error *error)
{
    struct spec spec;
    int rc = spec_parse(&spec, text, error);
    if (rc < 0)
        return rc;
    rc = setting_add_device(conf, &spec, source, error);
    if (rc < 0)
        spec_clear(&spec);
    return rc;
}

static void clear_devices(struct conf *conf)
{
    for (size_t i = 0; i < conf->n_devices; i++)
        spec_clear(&conf->devices[i]);
    free(conf->devices);
    free(conf->devices_dir);
    conf->devices = NULL;
    conf->n_devices = 0;
    conf->devices_dir = NULL;
}

/* ---- The table ------------------------------------------------------------------------------- */

const struct setting settings[] = {
    {"config", 'c', NULL, "FILE", SETTING_COMMAND, NULL, "read settings from FILE", NULL, NULL},
    {"plugin-dir", 'p', "plugin_dirs", "DIR", SETTING_LIST, PLUGINDIR,
     "look for plugins in DIR; repeatable", add_plugin_dir, clear_plugin_dirs},
    {"device", 'd', "devices", "SPEC", SETTING_DEVICES, NULL,
     "add a device at start, such as blk:/img.raw,ro; repeatable", add_device, clear_devices},
    {"virtio-json", 0, "virtio_json", "FILE", SETTING_LIST, NULL,
     "add the zones and devices of a file of hvisor-tool at start; repeatable", add_virtio_json,
     clear_virtio_json},
    {"hvisor", 0, "hvisor", "PATH", SETTING_SWITCH, NULL,
     "serve hvisor's zones, through " HVISOR_DEVICE " if PATH is left out", set_hvisor, NULL},
    {"hvisor-poll", 0, "hvisor_poll", NULL, SETTING_FLAG, NULL,
     "look for accesses without sleeping: for an hvisor that does not wake the daemon up",
     set_hvisor_poll, NULL},
    {"control", 0, "control", "PATH", SETTING_TEXT, RUNSTATEDIR "/hvisor-vhost.sock",
     "control socket", set_control, NULL},
    {"trap", 0, "trap", "PATH", SETTING_TEXT, NULL,
     "let monitors that trap register accesses connect to PATH", set_trap, NULL},
    {"socket-dir", 0, "socket_dir", "DIR", SETTING_TEXT, RUNSTATEDIR "/hvisor-vhost",
     "put vhost-user sockets in DIR", set_socket_dir, NULL},
    {"socket-mode", 0, "socket_mode", "MODE", SETTING_TEXT, "0600",
     "permissions of the sockets, octal", set_socket_mode, NULL},
    {"workers", 0, "workers", "N", SETTING_NUMBER, "1",
     "threads that serve devices, 1 to 64, or each: one per device", set_workers, NULL},
    {"poll-us", 0, "poll_us", "N", SETTING_NUMBER, "32",
     "microseconds of polling before a worker sleeps, 0 to 10000", set_poll_us, NULL},
    {"stuck-seconds", 0, "stuck_seconds", "N", SETTING_NUMBER, "5",
     "say so if a stop takes longer than this, 1 to 3600", set_stuck_seconds, NULL},
    {"log-level", 0, "log_level", "LEVEL", SETTING_TEXT, "info",
     "error, warning, info or debug", set_log_level, NULL},
    {"syslog", 0, "syslog", NULL, SETTING_FLAG, NULL, "log to syslog instead of stderr",
     set_syslog, NULL},
    {"check", 0, NULL, NULL, SETTING_COMMAND, NULL,
     "check the settings and exit", NULL, NULL},
    {"help", 'h', NULL, NULL, SETTING_COMMAND, NULL, "print this and exit", NULL, NULL},
    {"version", 'V', NULL, NULL, SETTING_COMMAND, NULL, "print the version and exit", NULL, NULL},
};

const size_t settings_n = sizeof(settings) / sizeof(settings[0]);
