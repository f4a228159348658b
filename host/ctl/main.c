/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - hvisor-vhost-ctl: words to a request, a result to lines. One thread.
 *
 * The table `commands` is all there is to say about a command: it drives dispatch, the check of the
 * words and the help; a test compares it with the man page. Any other first word is a command of a
 * plugin, which only the daemon knows.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "ctl/check.h"
#include "ctl/client.h"
#include "ctl/copy.h"
#include "ctl/print.h"
#include "ctl/table.h"
#include "ctl/terminal.h"
#include "ctl/zone.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MAX 3600u

#ifndef RUNSTATEDIR
#define RUNSTATEDIR "/run"
#endif
#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "(version not known)"
#endif

#define PROGRAM "hvisor-vhost-ctl"
#define CONTROL_ENV "HVISOR_VHOST_CONTROL"
#define CONTROL_DEFAULT RUNSTATEDIR "/hvisor-vhost.sock"
#define ANY 65535u

enum flag {
    FLAG_FORCE = 1,
    FLAG_RESCAN = 2,
    FLAG_RETIRE = 4,
    FLAG_FILE = 8,
    FLAG_ESCAPE = 16,
};

struct args {
    const char *control;
    unsigned wait; /* seconds for a daemon to appear */
    bool json, help, version;
    unsigned flags;
    int escape; /* the key that leaves a terminal, or -1 */
    unsigned n; /* words after the command */
    char **words;
    const char *command;
};

struct command {
    const char *name;
    const char *args; /* as the help shows them */
    const char *help; /* one line, lower case, no full stop */
    const char *more; /* sentences, or NULL */
    unsigned flags;   /* those it takes */
    unsigned min, max;
    int (*run)(const struct args *args);
};

int complain(int code, const char *fmt, ...)
{
    char text[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    fflush(stdout); /* so that what was said first also shows first */
    fprintf(stderr, PROGRAM ": %s\n", text);
    return code;
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* Calls one method and prints the result; `params` is stolen, NULL: out of memory. */
static int call(const struct args *args, const char *method, json_t *params,
                int (*print)(const json_t *result))
{
    struct client client;
    json_t *result = NULL;
    if (!params)
        return complain(CTL_REFUSED, "out of memory for a request");
    int rc = client_open(&client, args->control, args->wait);
    if (rc == CTL_OK)
        rc = client_call(&client, method, params, &result, NULL);
    else
        json_decref(params);
    if (rc == CTL_OK && args->json)
        rc = print_json(result);
    else if (rc == CTL_OK && print)
        rc = print(result);
    json_decref(result);
    client_close(&client);
    return rc;
}

static json_t *word_list(const struct args *args)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < args->n; i++)
        json_array_append_new(list, json_string(args->words[i]));
    return list;
}

/* The working directory, for relative paths; without one the daemon accepts absolute ones only. */
static json_t *working_directory(void)
{
    char *path = getcwd(NULL, 0);
    json_t *json = path ? json_string(path) : NULL;
    free(path);
    return json;
}

static bool has(const struct args *args, enum flag flag)
{
    return args->flags & flag;
}

/* ---- commands -------------------------------------------------------------------------------- */

static int run_add(const struct args *args)
{
    if (has(args, FLAG_FILE)) {
        json_t *files = zone_from_files(args->words, args->n);
        return files ? call(args, "device.add", files, print_added) : CTL_REFUSED;
    }
    json_t *params = json_pack("{s:o, s:o*}", "devices", word_list(args), "cwd",
                               working_directory());
    return call(args, "device.add", params, print_added);
}

static int run_remove(const struct args *args)
{
    json_t *params = json_pack("{s:o, s:b}", "ids", word_list(args), "force",
                               has(args, FLAG_FORCE));
    return call(args, "device.remove", params, print_removed);
}

static int run_list(const struct args *args)
{
    return call(args, "device.list", json_object(), print_list);
}

static int run_show(const struct args *args)
{
    return call(args, "device.show", json_pack("{s:s}", "id", args->words[0]), print_show);
}

static int run_plugins(const struct args *args)
{
    bool retire = has(args, FLAG_RETIRE), rescan = has(args, FLAG_RESCAN);
    if (retire && rescan)
        return complain(CTL_USAGE, "--retire and --rescan exclude each other: give one");
    if (args->n != (retire ? 2u : 0u) && (retire || rescan || args->n > 1))
        return complain(CTL_USAGE, "wrong number of words after plugins: it is plugins [NAME], "
                        "plugins --rescan or plugins --retire NAME VERSION");
    if (retire)
        return call(args, "plugin.retire", json_pack("{s:s, s:s}", "name", args->words[0],
                                                     "version", args->words[1]), NULL);
    if (rescan)
        return call(args, "plugin.rescan", json_object(), print_plugins);
    return call(args, "plugin.list", args->n ? json_pack("{s:s}", "name", args->words[0])
                                             : json_object(), print_plugins);
}

static int run_stats(const struct args *args)
{
    return call(args, "stats", args->n ? json_pack("{s:o}", "ids", word_list(args))
                                       : json_object(), print_stats);
}

static int run_log(const struct args *args)
{
    return call(args, "log.set", args->n ? json_pack("{s:s}", "level", args->words[0])
                                         : json_object(), print_log);
}

static int run_zones(const struct args *args)
{
    return call(args, "zone.list", json_object(), print_zones);
}

static int run_zone(const struct args *args)
{
    const char *what = args->words[0];
    if (strcmp(what, "remove") == 0 && args->n == 2)
        return call(args, "zone.remove", json_pack("{s:s}", "id", args->words[1]), NULL);
    if (strcmp(what, "add") != 0)
        return complain(CTL_USAGE, "it is zone add ID ... or zone remove ID");
    json_t *zone = zone_from_words(args->words + 1, args->n - 1);
    return zone ? call(args, "zone.add", zone, NULL) : CTL_USAGE;
}

/* All of it or nothing: a file that starts a daemon is not to be half there. */
static int save_text(const char *path, const char *text)
{
    char name[4096];
    int n = snprintf(name, sizeof(name), "%s.new", path);
    FILE *file = n < (int)sizeof(name) ? fopen(name, "w") : NULL;
    if (n >= (int)sizeof(name))
        errno = ENAMETOOLONG;
    bool written = file && fputs(text, file) != EOF;
    if (file && (fclose(file) == EOF || !written || rename(name, path) < 0)) {
        int err = errno;
        unlink(name);
        errno = err;
        written = false;
    }
    return written ? CTL_OK : complain(CTL_REFUSED, "cannot write %s: %s", path, strerror(errno));
}

static int run_save(const struct args *args)
{
    struct client client;
    json_t *result = NULL;
    int rc = client_open(&client, args->control, args->wait);
    if (rc == CTL_OK)
        rc = client_call(&client, "daemon.save", json_object(), &result, NULL);
    const char *text = json_string_value(json_object_get(result, "text"));
    if (rc == CTL_OK)
        rc = text ? save_text(args->words[0], text)
                  : complain(CTL_REFUSED, "the daemon answered without a file");
    json_decref(result);
    client_close(&client);
    return rc;
}

static int run_check(const struct args *args)
{
    return check_files(args->words, args->n, args->json);
}

static int run_shutdown(const struct args *args)
{
    return call(args, "shutdown", json_pack("{s:b}", "force", has(args, FLAG_FORCE)), NULL);
}

static int run_events(const struct args *args)
{
    struct client client;
    json_t *result = NULL, *event;
    int rc = client_open(&client, args->control, args->wait);
    if (rc == CTL_OK)
        rc = client_call(&client, "events.subscribe", json_object(), &result, NULL);
    json_decref(result);
    while (rc == CTL_OK && !ferror(stdout)) {
        rc = client_event(&client, &event);
        if (rc != CTL_OK)
            break;
        rc = args->json ? print_json(event) : print_event(event);
        json_decref(event);
        fflush(stdout);
    }
    client_close(&client);
    return rc;
}

/* ---- commands of plugins --------------------------------------------------------------------- */

/* "name=value", or "name" alone, which is true. */
static int add_param(json_t *params, const char *word)
{
    size_t len = strcspn(word, "=");
    char *name = strndup(word, len);
    if (!name)
        return complain(CTL_REFUSED, "out of memory for a request");
    int rc = CTL_OK;
    if (len == 0)
        rc = complain(CTL_USAGE, "\"%s\" has no name: a parameter is name=value, or name alone",
                      word);
    else if (json_object_get(params, name))
        rc = complain(CTL_USAGE, "the parameter %s is given twice", name);
    else if (json_object_set_new(params, name, word[len] ? json_string(word + len + 1)
                                                         : json_true()) < 0)
        rc = complain(CTL_REFUSED, "out of memory for a request");
    free(name);
    return rc;
}

/* Takes the descriptor that came with the answer. */
static int connect_stream(const struct args *args, struct client *client, const json_t *answer,
                          json_t *params, int fd)
{
    if (!json_is_true(json_object_get(answer, "terminal")) || !isatty(STDIN_FILENO))
        return copy_both_ways(fd);
    const struct terminal terminal = {
        .fd = fd,
        .client = client,
        .device = args->words[0],
        .escape = args->escape,
        .window = json_string_value(json_object_get(answer, "window")),
        .params = params,
    };
    return terminal_run(&terminal);
}

static int run_plugin_command(const struct args *args)
{
    struct client client = {.fd = -1, .received = -1};
    json_t *params = json_object(), *answer = NULL;
    int rc = CTL_OK, fd = -1;
    for (unsigned i = 1; i < args->n && rc == CTL_OK; i++)
        rc = add_param(params, args->words[i]);
    if (rc == CTL_OK)
        rc = client_open(&client, args->control, args->wait);
    if (rc == CTL_OK)
        rc = client_call(&client, "device.command",
                         json_pack("{s:s, s:s, s:O, s:o*}", "id", args->words[0], "command",
                                   args->command, "params", params, "cwd", working_directory()),
                         &answer, &fd);
    if (rc == CTL_OK && args->json)
        rc = print_json(answer);
    else if (rc == CTL_OK)
        rc = print_result(fd < 0 ? stdout : stderr, json_object_get(answer, "result"));
    if (rc == CTL_OK && fd >= 0 && !args->json)
        rc = connect_stream(args, &client, answer, params, fd);
    else if (fd >= 0)
        close(fd);
    json_decref(params);
    json_decref(answer);
    client_close(&client);
    return rc;
}

/* ---- help ------------------------------------------------------------------------------------ */

static int run_help(const struct args *args);

static const struct command commands[] = {
    {"add", "SPEC... | -f FILE...", "add devices, all of them or none",
     "A SPEC is PLUGIN:VALUE,OPTION=VALUE,...; the command plugins lists the options.\n"
     "A FILE is one of hvisor-tool's JSON files: its zones come with it.\n"
     "Relative paths start at the working directory. Prints where each device can be found.",
     FLAG_FILE, 1, ANY, run_add},
    {"remove", "[--force] ID...", "remove devices, all of them or none",
     "A device that a driver uses is removed with --force only.", FLAG_FORCE, 1, ANY, run_remove},
    {"list", "", "list the devices", NULL, 0, 0, 0, run_list},
    {"show", "ID", "show all about one device, and how to use it from a hypervisor", NULL, 0, 1, 1,
     run_show},
    {"plugins", "[NAME] | --rescan | --retire NAME VERSION",
     "list the plugins with their options and commands",
     "With --rescan, look for new plugins first. With --retire, let no new device use a plugin.",
     FLAG_RESCAN | FLAG_RETIRE, 0, 2, run_plugins},
    {"events", "", "print events as they happen, one per line, until interrupted", NULL, 0, 0, 0,
     run_events},
    {"stats", "[ID...]", "print counters per queue and device", NULL, 0, 0, ANY, run_stats},
    {"log", "[LEVEL]", "print or set the log level: error, warning, info or debug", NULL, 0, 0, 1,
     run_log},
    {"zones", "", "list the zones", NULL, 0, 0, 0, run_zones},
    {"zone", "add ID [platform=P] [memory=HOST,GUEST,SIZE]... [slot=ADDR,LEN,IRQ]... | remove ID",
     "declare a zone, or more slots of one, or give it up",
     "Platforms are trap and hvisor; numbers may be hexadecimal.", 0, 2, ANY, run_zone},
    {"save", "FILE", "write a configuration file that starts the daemon with what it has now", NULL,
     0, 1, 1, run_save},
    {"check", "VIRTIO.json [ZONE.json...]",
     "check a virtio file of hvisor-tool, also against files of its zones",
     "Needs no daemon. Prints everything the files disagree on, and then exits with 1.", 0, 1, ANY,
     run_check},
    {"shutdown", "[--force]", "stop the daemon",
     "It refuses while guests use its devices, unless --force is given.", FLAG_FORCE, 0, 0,
     run_shutdown},
    {"help", "[COMMAND]", "print this, or more about a command", NULL, 0, 0, 1, run_help},
};

static const struct command plugin_command = {
    "VERB", "[--escape KEY] ID [PARAM=VALUE | PARAM]...",
    "run the command VERB of the device's plugin",
    "The command plugins lists them. If the answer is a stream, it is connected to stdin and "
    "stdout.\nA KEY is ^ and another character for a control key, ^] if not given, or none.",
    FLAG_ESCAPE, 1, ANY, run_plugin_command};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return &plugin_command;
}

static void put_command(const struct command *c)
{
    char usage[256];
    snprintf(usage, sizeof(usage), "%s %s", c->name, c->args);
    if (strlen(usage) > 30)
        printf("  %s\n  %-30s  %s\n", usage, "", c->help);
    else
        printf("  %-30s  %s\n", usage, c->help);
}

static int help_all(void)
{
    puts("usage: " PROGRAM " [--control PATH] [--json] [--wait SECONDS] COMMAND ...\n\ncommands:");
    for (size_t i = 0; i < N_COMMANDS; i++)
        put_command(&commands[i]);
    put_command(&plugin_command);
    puts("\noptions:\n"
         "  --control PATH  the daemon's socket, else $" CONTROL_ENV ",\n"
         "                  else " CONTROL_DEFAULT "\n"
         "  --json          print results as JSON, one line each\n"
         "  --wait SECONDS  wait so long for the daemon to appear\n"
         "  --help          print this, or more about a command\n"
         "  --version       print the version\n"
         "\n"
         "exit status: 0 done, 1 refused by the daemon, 2 wrong usage, 3 no daemon there,\n"
         "             4 the connection broke before the answer");
    return CTL_OK;
}

static int help_one(const char *name)
{
    const struct command *c = find_command(name);
    if (c == &plugin_command && strcmp(name, c->name) != 0)
        return complain(CTL_USAGE, "there is no help for %s: " PROGRAM " help lists the commands, "
                        PROGRAM " plugins those of devices", name);
    printf("usage: " PROGRAM " %s%s%s\n%s\n", c->name, c->args[0] ? " " : "", c->args, c->help);
    if (c->more)
        puts(c->more);
    return CTL_OK;
}

static int run_help(const struct args *args)
{
    return args->n ? help_one(args->words[0]) : help_all();
}

/* ---- words ----------------------------------------------------------------------------------- */

static int parse_control(struct args *args, char **argv, int *i)
{
    size_t len = strlen("--control");
    const char *value = argv[*i][len] == '=' ? argv[*i] + len + 1 : argv[++*i];
    if (!value)
        return complain(CTL_USAGE, "--control needs the path of the daemon's socket");
    args->control = value;
    return CTL_OK;
}

static int parse_wait(struct args *args, char **argv, int *i)
{
    size_t len = strlen("--wait");
    const char *value = argv[*i][len] == '=' ? argv[*i] + len + 1 : argv[++*i];
    char *end = NULL;
    unsigned long seconds =
        value && isdigit((unsigned char)value[0]) ? strtoul(value, &end, 10) : 0;
    if (!end || *end || seconds > WAIT_MAX)
        return complain(CTL_USAGE, "--wait needs a number of seconds from 0 to %u", WAIT_MAX);
    args->wait = (unsigned)seconds;
    return CTL_OK;
}

/* As in "^]", which is Ctrl-]; or "none". */
static int parse_escape(struct args *args, char **argv, int *i)
{
    const char *equals = strchr(argv[*i], '=');
    const char *value = equals ? equals + 1 : argv[++*i];
    int key = value && value[0] == '^' && value[1] && !value[2] ? toupper((unsigned char)value[1])
                                                                : 0;
    bool none = value && strcmp(value, "none") == 0;
    if (!none && (key < '?' || key > '_'))
        return complain(CTL_USAGE, "--escape needs ^ and one of @ A to Z [ \\ ] ^ _ and ?, such as "
                        "^], or none");
    args->flags |= FLAG_ESCAPE;
    args->escape = none ? -1 : key ^ 0x40;
    return CTL_OK;
}

static int parse_option(struct args *args, char **argv, int *i)
{
    const char *option = argv[*i];
    if (strcmp(option, "--control") == 0 || strncmp(option, "--control=", 10) == 0)
        return parse_control(args, argv, i);
    if (strcmp(option, "--wait") == 0 || strncmp(option, "--wait=", 7) == 0)
        return parse_wait(args, argv, i);
    if (strcmp(option, "-e") == 0 || strcmp(option, "--escape") == 0 ||
        strncmp(option, "--escape=", 9) == 0)
        return parse_escape(args, argv, i);
    if (strcmp(option, "--json") == 0)
        args->json = true;
    else if (strcmp(option, "--help") == 0)
        args->help = true;
    else if (strcmp(option, "--version") == 0)
        args->version = true;
    else if (strcmp(option, "--force") == 0)
        args->flags |= FLAG_FORCE;
    else if (strcmp(option, "--rescan") == 0)
        args->flags |= FLAG_RESCAN;
    else if (strcmp(option, "--retire") == 0)
        args->flags |= FLAG_RETIRE;
    else if (strcmp(option, "--file") == 0 || strcmp(option, "-f") == 0)
        args->flags |= FLAG_FILE;
    else
        return complain(CTL_USAGE, "there is no option %s: see " PROGRAM " --help", option);
    return CTL_OK;
}

/* Options may stand anywhere; after "--" there are words only. Words move to the front of argv. */
static int parse(struct args *args, char **argv)
{
    bool options = true;
    args->words = argv + 1;
    for (int i = 1; argv[i]; i++) {
        int rc = CTL_OK;
        if (options && strcmp(argv[i], "--") == 0)
            options = false;
        else if (options && argv[i][0] == '-' && argv[i][1])
            rc = parse_option(args, argv, &i);
        else if (!args->command)
            args->command = argv[i];
        else
            args->words[args->n++] = argv[i];
        if (rc != CTL_OK)
            return rc;
    }
    return CTL_OK;
}

static int check_utf8(const struct args *args)
{
    for (unsigned i = 0; i <= args->n; i++) {
        const char *word = i ? args->words[i - 1] : args->command;
        json_t *json = json_string(word);
        if (!json)
            return complain(CTL_USAGE, "\"%s\" is not UTF-8, which the daemon needs: rename it",
                            word);
        json_decref(json);
    }
    return CTL_OK;
}

static int check_words(const struct command *c, const struct args *args)
{
    const char *space = c->args[0] ? " " : "";
    if (c == &plugin_command && args->n == 0)
        return complain(CTL_USAGE, "there is no command %s, and a plugin's command needs a device: "
                        PROGRAM " %s ID ...; see " PROGRAM " help", args->command, args->command);
    if (args->flags & ~c->flags)
        return complain(CTL_USAGE, "%s does not take %s: it is " PROGRAM " %s%s%s", args->command,
                        args->flags & ~c->flags & FLAG_FORCE    ? "--force"
                        : args->flags & ~c->flags & FLAG_RESCAN ? "--rescan"
                        : args->flags & ~c->flags & FLAG_FILE   ? "-f"
                        : args->flags & ~c->flags & FLAG_ESCAPE ? "--escape"
                                                                : "--retire",
                        args->command, space, c->args);
    if (args->n < c->min || args->n > c->max)
        return complain(CTL_USAGE, "%s words after %s: it is " PROGRAM " %s%s%s",
                        args->n < c->min ? "there are too few" : "there are too many",
                        args->command, args->command, space, c->args);
    return check_utf8(args);
}

static int run(struct args *args)
{
    if (args->version) {
        puts(PROGRAM " " PACKAGE_VERSION);
        return CTL_OK;
    }
    if (args->help)
        return args->command ? help_one(args->command) : help_all();
    if (!args->command)
        return complain(CTL_USAGE, "a command is missing: see " PROGRAM " --help");
    const struct command *c = find_command(args->command);
    int rc = check_words(c, args);
    return rc == CTL_OK ? c->run(args) : rc;
}

int main(int argc, char **argv)
{
    const char *control = getenv(CONTROL_ENV);
    struct args args = {
        .control = control && control[0] ? control : CONTROL_DEFAULT,
        .escape = TERMINAL_ESCAPE,
    };
    (void)argc;
    int rc = parse(&args, argv);
    if (rc == CTL_OK)
        rc = run(&args);
    if ((fflush(stdout) == EOF || ferror(stdout)) && rc == CTL_OK)
        rc = complain(CTL_REFUSED, "cannot write to stdout: %s", strerror(errno));
    return rc;
}
