/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conf.c - see conf.h. The command line is read twice: first to find mistakes and --config, then,
 * after the file, to store what it says. Main thread, before there are others.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "conf/conf.h"

#include "conf/conf-file.h"
#include "conf/setting.h"
#include "util/log.h"
#include "zone/hvisor-json.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif

#define SETTINGS_MAX 32  /* more than there are; conf_parse() checks */
#define LONG_BASE 1000   /* getopt's value for settings[0] given as a long option */

/* A command line on its way. */
struct command {
    int argc;
    char **argv;
    struct option longs[SETTINGS_MAX + 1];
    char shorts[2 * SETTINGS_MAX + 2];
    const char *cwd;    /* NULL: unknown */
    const char *config; /* --config, or NULL */
    bool check;
    bool seen[SETTINGS_MAX];
};

/* ---- Printing -------------------------------------------------------------------------------- */

static void print_option(const struct setting *setting)
{
    char names[64];
    int n = snprintf(names, sizeof(names), setting->letter ? "  -%c, " : "      ", setting->letter);
    bool optional = setting->kind == SETTING_SWITCH;
    snprintf(names + n, sizeof(names) - (size_t)n, "--%s%s%s%s", setting->name,
             optional ? "[=" : setting->arg ? " " : "", setting->arg ? setting->arg : "",
             optional ? "]" : "");
    printf("%-27s %s", names, setting->help);
    if (setting->dflt)
        printf(" (default: %s)", setting->dflt);
    printf("\n");
}

static void print_help(void)
{
    printf("Usage: hvisor-vhost [OPTION]...\n"
           "Serve virtio devices to guests; each kind of device is a plugin.\n\n");
    for (size_t i = 0; i < settings_n; i++)
        print_option(&settings[i]);
    printf("\nSee hvisor-vhost(8) and hvisor-vhost.conf(5). A running daemon is controlled with\n"
           "hvisor-vhost-ctl(1).\n");
}

/* 1: printed. */
static int print(bool help, struct error *error)
{
    if (help)
        print_help();
    else
        printf("hvisor-vhost %s\n", PACKAGE_VERSION);
    if (fflush(stdout) != 0)
        return error_set(error, errno, "cannot write to the standard output: %s", strerror(errno));
    return 1;
}

/* ---- Command line ---------------------------------------------------------------------------- */

static void prepare(struct command *command)
{
    char *at = command->shorts;
    *at++ = ':'; /* tell a missing value from an unknown option */
    for (size_t i = 0; i < settings_n; i++) {
        const struct setting *setting = &settings[i];
        command->longs[i].name = setting->name;
        command->longs[i].has_arg = setting->kind == SETTING_SWITCH ? optional_argument
                                    : setting->arg                 ? required_argument
                                                                   : no_argument;
        command->longs[i].val = LONG_BASE + (int)i;
        if (setting->letter)
            *at++ = setting->letter;
        if (setting->letter && setting->arg)
            *at++ = ':';
    }
}

static const struct setting *setting_of(int found)
{
    for (size_t i = 0; i < settings_n; i++)
        if (found == LONG_BASE + (int)i || (settings[i].letter && found == settings[i].letter))
            return &settings[i];
    return NULL;
}

/* The next option, or NULL with *found as getopt_long() returned it. */
static const struct setting *next(struct command *command, int *found)
{
    opterr = 0;
    *found = getopt_long(command->argc, command->argv, command->shorts, command->longs, NULL);
    return setting_of(*found);
}

static int bad_option(const struct command *command, int found, struct error *error)
{
    const struct setting *setting = setting_of(optopt);
    const char *word = command->argv[optind - 1];
    if (setting && found == ':')
        return error_set(error, EINVAL, "--%s needs a value: write --%s=%s", setting->name,
                         setting->name, setting->arg);
    if (setting && !setting->arg)
        return error_set(error, EINVAL, "--%s takes no value: leave out what follows the '='",
                         setting->name);
    if (optopt > 0 && optopt < LONG_BASE)
        return error_set(error, EINVAL, "there is no option -%c: see hvisor-vhost --help", optopt);
    return error_set(error, EINVAL, "there is no option %.64s, or it is the start of several: see "
                     "hvisor-vhost --help", word);
}

/* First reading. 1: printed. */
static int look(struct command *command, struct error *error)
{
    const struct setting *setting;
    int found;
    optind = 0; /* glibc: start over */
    while ((setting = next(command, &found))) {
        if (strcmp(setting->name, "config") == 0)
            command->config = optarg;
        else if (strcmp(setting->name, "check") == 0)
            command->check = true;
        else if (strcmp(setting->name, "help") == 0)
            return print(true, error);
        else if (strcmp(setting->name, "version") == 0)
            return print(false, error);
    }
    if (found != -1)
        return bad_option(command, found, error);
    if (optind < command->argc)
        return error_set(error, EINVAL, "\"%.64s\" is not an option: to add a device write "
                         "--device %.64s", command->argv[optind], command->argv[optind]);
    return 0;
}

/* Second reading. */
static int apply(struct conf *conf, struct command *command, struct error *error)
{
    const struct setting *setting;
    int found;
    optind = 0;
    while ((setting = next(command, &found))) {
        char label[32];
        snprintf(label, sizeof(label), "--%s", setting->name);
        struct setting_source source = {label, command->cwd};
        bool first = !command->seen[setting - settings];
        command->seen[setting - settings] = true;
        if (setting->clear && first)
            setting->clear(conf);
        int rc = setting->set ? setting->set(conf, optarg ? optarg : "on", &source, error) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- All of it ------------------------------------------------------------------------------- */

/* Lists come last: their defaults are for those that are still empty. */
static int set_defaults(struct conf *conf, bool lists, struct error *error)
{
    for (size_t i = 0; i < settings_n; i++) {
        const struct setting *setting = &settings[i];
        struct setting_source source = {setting->name, NULL};
        if (!setting->dflt || (setting->kind == SETTING_LIST) != lists)
            continue;
        int rc = setting->set(conf, setting->dflt, &source, error);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Adds what one of hvisor-tool's files says, and logs the warnings. */
static int add_virtio_json(struct conf *conf, const char *path, struct error *error)
{
    struct hvisor_json json;
    struct setting_source source = {"virtio_json", NULL};
    struct error why = {0};
    int rc = hvisor_json_read(&json, path, NULL, error);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < json.n_warnings; i++)
        log_warning("%s", json.warnings[i]);
    if (plan_merge(&conf->zones, &json.zones, NULL, &why) < 0)
        rc = error_set(error, why.err, "%.200s: %s", path, why.text);
    size_t taken = 0;
    while (taken < json.n_specs && rc == 0) {
        rc = setting_add_device(conf, &json.specs[taken], &source, error);
        taken += rc == 0;
    }
    json.n_specs -= taken;
    if (json.n_specs > 0 && taken > 0)
        memmove(json.specs, json.specs + taken, json.n_specs * sizeof(json.specs[0]));
    hvisor_json_clear(&json);
    return rc;
}

/* Files come last, so that the command line may replace their list. */
static int add_files(struct conf *conf, struct error *error)
{
    int rc = 0;
    for (size_t i = 0; i < conf->n_virtio_json && rc == 0; i++)
        rc = add_virtio_json(conf, conf->virtio_json[i], error);
    for (size_t i = 0; i < conf->zones.n && rc == 0; i++) {
        if (conf->hvisor || strcmp(conf->zones.zones[i].platform, "hvisor") != 0)
            continue;
        conf->hvisor = strdup(HVISOR_DEVICE);
        if (!conf->hvisor)
            rc = error_set(error, ENOMEM, "out of memory for hvisor");
    }
    return rc;
}

static int read_all(struct conf *conf, struct command *command, struct error *error)
{
    prepare(command);
    int rc = look(command, error);
    if (rc == 0)
        rc = set_defaults(conf, false, error);
    if (rc == 0 && command->config)
        rc = conf_file_read(conf, command->config, command->cwd, error);
    if (rc == 0)
        rc = apply(conf, command, error);
    if (rc == 0 && conf->n_plugin_dirs == 0)
        rc = set_defaults(conf, true, error);
    if (rc == 0)
        rc = add_files(conf, error);
    return rc == 0 && command->check ? 1 : rc;
}

int conf_parse(struct conf *conf, int argc, char **argv, struct error *error)
{
    _Static_assert(LONG_BASE > 255, "a letter must not look like a long option");
    struct command command = {.argc = argc, .argv = argv};
    char *cwd = getcwd(NULL, 0); /* without one, relative paths are refused where they are met */
    command.cwd = cwd;
    memset(conf, 0, sizeof(*conf));
    int rc = settings_n <= SETTINGS_MAX ? read_all(conf, &command, error)
                                        : error_set(error, E2BIG, "too many settings");
    free(cwd);
    if (rc != 0)
        conf_clear(conf);
    return rc;
}

void conf_clear(struct conf *conf)
{
    for (size_t i = 0; i < settings_n; i++)
        if (settings[i].clear)
            settings[i].clear(conf);
    free(conf->control);
    free(conf->socket_dir);
    free(conf->hvisor);
    free(conf->trap);
    plan_clear(&conf->zones);
    memset(conf, 0, sizeof(*conf));
}
