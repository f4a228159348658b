/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - hvisor-vhost-check-plugin(1): runs the groups of rules, one child for each, and prints a
 * line for each rule. Parent; the child starts in main(), too, and goes to child.c.
 */
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_S 60u       /* for one group */
#define PATIENCE_MS 10000u
#define CHILD "--child"

#define CHAINS "chain-once chain-finished rest"
#define LEFT "memory-left descriptors-left threads-left services-left"

const struct group groups[] = {
    {"load", group_load, "loading it", true, "entry", NULL},
    {"host", group_host, "loading it as the host does", true, "entry", NULL},
    {"create", group_create, "create() and destroy()", false, "create", NULL},
    {"order", group_order, "starting and stopping", false, "order", NULL},
    {"chains", group_chains, "sending chains", false, "chains", NULL},
    {"reset", group_reset, "a reset with chains in flight", false, "reset", CHAINS},
    {"hostile", group_hostile, "hostile chains", false, "hostile", CHAINS},
    {"memory", group_memory, "moving the guest's memory", false, "memory-changed", CHAINS},
    {"config", group_config, "writing to the config space", false, "config-write", NULL},
    {"commands", group_commands, "running its commands", false, "command-run", NULL},
    {"two", group_two, "two devices at once", false, "two-devices", CHAINS},
    {"left", group_left, "several devices one after the other", false, "memory-left", NULL},
    {"services", group_services, "a service that fails", false, "services-fail", LEFT},
    {"libc", group_libc, "a call of libc that fails", false, "libc-fails", LEFT},
};
const uint32_t n_groups = sizeof(groups) / sizeof(groups[0]);

/* ---- Rules ----------------------------------------------------------------------------------- */

enum state { UNKNOWN, PASSED, FAILED, SKIPPED };

/* `group`: when that has run to its end and nothing was found, the rule is kept. */
static struct rule {
    const char *name, *group;
    enum state state;
    char reason[REASON_MAX];
} rules[] = {
    {.name = "file", .group = "load"},
    {.name = "symbols", .group = "load"},
    {.name = "undefined", .group = "load"},
    {.name = "entry", .group = "host"},
    {.name = "sizes", .group = "load"},
    {.name = "names", .group = "load"},
    {.name = "numbers", .group = "load"},
    {.name = "operations", .group = "load"},
    {.name = "options", .group = "load"},
    {.name = "commands", .group = "load"},
    {.name = "counters", .group = "load"},
    {.name = "events", .group = "load"},
    {.name = "create", .group = "create"},
    {.name = "order", .group = "order"},
    {.name = "chains", .group = "chains"},
    {.name = "chain-once", .group = "chains"},
    {.name = "chain-finished", .group = "chains"},
    {.name = "chain-written", .group = "chains"},
    {.name = "chain-release", .group = "chains"},
    {.name = "reset", .group = "reset"},
    {.name = "hostile", .group = "hostile"},
    {.name = "memory-changed", .group = "memory"},
    {.name = "config-write", .group = "config"},
    {.name = "command-run", .group = "commands"},
    {.name = "two-devices", .group = "two"},
    {.name = "option-used", .group = "chains"},
    {.name = "counter-used", .group = "chains"},
    {.name = "event-used", .group = "chains"},
    {.name = "service-use", .group = "chains"},
    {.name = "services-left", .group = "chains"},
    {.name = "rest", .group = "chains"},
    {.name = "callback-time", .group = "chains"},
    {.name = "callback-returns", .group = "chains"},
    {.name = "memory-left", .group = "left"},
    {.name = "descriptors-left", .group = "left"},
    {.name = "threads-left", .group = "left"},
    {.name = "create-says-why", .group = "services"},
    {.name = "services-fail", .group = "services"},
    {.name = "libc-fails", .group = "libc"},
};
#define RULES (sizeof(rules) / sizeof(rules[0]))

static struct rule *rule_of(const char *name)
{
    for (size_t i = 0; i < RULES; i++)
        if (strcmp(rules[i].name, name) == 0)
            return &rules[i];
    fprintf(stderr, PROGRAM ": there is no rule %s\n", name);
    abort();
}

/* The first reason counts, and a failure more than anything else. */
static void set_rule(const char *name, enum state state, const char *reason)
{
    struct rule *rule = rule_of(name);
    if (rule->state == FAILED || (rule->state != UNKNOWN && state != FAILED))
        return;
    rule->state = state;
    snprintf(rule->reason, sizeof(rule->reason), "%s", reason);
}

static void fail_rule(const char *name, const char *reason)
{
    set_rule(name, FAILED, reason);
}

static bool has_failed(const char *name)
{
    return rule_of(name)->state == FAILED;
}

static void group_passed(const struct group *group)
{
    for (size_t i = 0; i < RULES; i++)
        if (strcmp(rules[i].group, group->name) == 0)
            set_rule(rules[i].name, PASSED, "");
}

static void skip_rest(const char *why)
{
    for (size_t i = 0; i < RULES; i++)
        set_rule(rules[i].name, SKIPPED, why);
}

/* ---- One child ------------------------------------------------------------------------------- */

struct run {
    const struct group *group;
    const char *path;
    char *options;
    uint32_t limit_s, patience_ms;
    int report, errors; /* descriptors: what the child tells, what it prints */
    pid_t pid;
    bool complete;      /* it came to its end */
    struct note *note;
    int note_fd;
    char directory[32];
    char line[REASON_MAX + 64];
    size_t n_line;
};

static void fatal(const char *what)
{
    fprintf(stderr, PROGRAM ": %s: %s\n", what, strerror(errno));
    exit(2);
}

/* The child gets descriptors by number; those of the parent are all close-on-exec. */
static void become_child(const struct run *run, int report, uint32_t patience)
{
    char fds[64], patience_text[16];
    int null = open("/dev/null", O_RDWR);
    int keep_report = dup(report), keep_note = dup(run->note_fd); /* without close-on-exec */
    dup2(null, 0);
    dup2(null, 1);
    dup2(run->errors, 2);
    snprintf(fds, sizeof(fds), "%d,%d", keep_report, keep_note);
    snprintf(patience_text, sizeof(patience_text), "%u", patience);
    close(null);
    execl("/proc/self/exe", PROGRAM, CHILD, run->group->name, fds, patience_text, run->directory,
          run->path, run->options, (char *)NULL);
    _exit(127);
}

static void start_child(struct run *run, uint32_t patience)
{
    int pipes[2];
    strcpy(run->directory, "/tmp/hvv-check-XXXXXX");
    if (!mkdtemp(run->directory))
        fatal(run->directory);
    run->errors = memfd_create("errors", MFD_CLOEXEC);
    if (pipe2(pipes, O_CLOEXEC) < 0 || run->errors < 0)
        fatal("no pipe");
    memset(run->note, 0, sizeof(*run->note));
    run->complete = false;
    run->n_line = 0;
    run->pid = fork();
    if (run->pid < 0)
        fatal("no process");
    if (run->pid == 0)
        become_child(run, pipes[1], patience);
    close(pipes[1]);
    run->report = pipes[0];
}

static void take_line(struct run *run, char *line)
{
    char *tab = strchr(line, '\t');
    if (line[0] == '.' && !tab) {
        run->complete = true;
    } else if (tab) {
        *tab = '\0';
        set_rule(line + 1, line[0] == '-' ? FAILED : SKIPPED, tab + 1);
    }
}

/* False at the end. */
static bool read_report(struct run *run)
{
    char bytes[512];
    ssize_t n = read(run->report, bytes, sizeof(bytes));
    for (ssize_t i = 0; i < n; i++) {
        if (bytes[i] == '\n') {
            run->line[run->n_line] = '\0';
            run->n_line = 0;
            take_line(run, run->line);
        } else if (run->n_line + 1 < sizeof(run->line)) {
            run->line[run->n_line++] = bytes[i];
        }
    }
    return n > 0;
}

/* True if it is over; false at the time limit. *status is the child's. */
static bool wait_child(struct run *run, int *status)
{
    uint64_t deadline = clock_ns() + run->limit_s * 1000000000ull;
    struct pollfd pollfd = {.fd = run->report, .events = POLLIN};
    while (clock_ns() < deadline) {
        /* What the plugin has started may hold the pipe open: the child's end is what counts. */
        if (poll(&pollfd, 1, 20) > 0 && !read_report(run)) {
            pollfd.fd = -1;
        }
        if (waitpid(run->pid, status, WNOHANG) == run->pid) {
            fcntl(run->report, F_SETFL, O_NONBLOCK);
            while (read_report(run))
                ;
            return true;
        }
    }
    kill(run->pid, SIGKILL);
    waitpid(run->pid, status, 0);
    return false;
}

/* The last line it printed: the harness or libc may have said why it had enough. */
static void last_words(const struct run *run, char *text, size_t size)
{
    char all[2048];
    off_t length = lseek(run->errors, 0, SEEK_END);
    off_t from = length > (off_t)sizeof(all) - 1 ? length - (off_t)sizeof(all) + 1 : 0;
    ssize_t n = pread(run->errors, all, sizeof(all) - 1, from);
    text[0] = '\0';
    while (n > 0 && all[n - 1] == '\n')
        n--;
    if (n <= 0)
        return;
    all[n] = '\0';
    char *last = strrchr(all, '\n');
    snprintf(text, size, " (%.300s)", last ? last + 1 : all);
}

static void tell_death(struct run *run, int status)
{
    char reason[REASON_MAX], words[320], in[96] = "";
    const struct note *note = run->note;
    last_words(run, words, sizeof(words));
    if (atomic_load(&note->calling))
        snprintf(in, sizeof(in), " in %.31s()", note->call);
    if (WIFSIGNALED(status))
        snprintf(reason, sizeof(reason), "%s%s%s: it was killed by signal %d, %s%s%s",
                 note->fault[0] ? note->fault : "", note->fault[0] ? ", then " : "",
                 run->group->what, WTERMSIG(status), strsignal(WTERMSIG(status)), in, words);
    else
        snprintf(reason, sizeof(reason), "%s: the process ended with status %d%s: a plugin must "
                 "not end it%s", run->group->what, WEXITSTATUS(status), in, words);
    fail_rule(run->group->rule, reason);
}

static void tell_hang(struct run *run)
{
    char reason[REASON_MAX];
    const struct note *note = run->note;
    if (atomic_load(&note->calling)) {
        snprintf(reason, sizeof(reason), "%s: %.31s() has not returned after %u s",
                 run->group->what, note->call, run->limit_s);
        fail_rule("callback-returns", reason);
    } else {
        snprintf(reason, sizeof(reason), "%s took more than %u s", run->group->what, run->limit_s);
        fail_rule(run->group->rule, reason);
    }
}

/* Files of the plugin, as sockets, may be left there by one that crashed. */
static void remove_directory(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(path);
}

static void run_child(struct run *run)
{
    int status;
    bool lost = has_failed("chain-finished") || has_failed("rest");
    uint32_t least = run->patience_ms < PATIENCE_LOST_MS ? run->patience_ms : PATIENCE_LOST_MS;
    start_child(run, lost ? least : run->patience_ms);
    if (!wait_child(run, &status))
        tell_hang(run);
    else if (!run->complete || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        tell_death(run, status);
    close(run->report);
    close(run->errors);
    remove_directory(run->directory);
}

/* ---- All of them ----------------------------------------------------------------------------- */

/* Why what comes after the group would only fail in the same way, or NULL. */
static const char *useless(const struct run *run)
{
    const char *group = run->group->name;
    bool is_load = strcmp(group, "load") == 0;
    if (is_load && (!run->complete || has_failed("file") || has_failed("undefined") ||
                    has_failed("sizes") || has_failed("entry")))
        return "it cannot be loaded";
    for (size_t i = 0; i < RULES && is_load; i++)
        if (strcmp(rules[i].group, "load") == 0 && rules[i].state == FAILED)
            return "what it says about itself is not right";
    if (has_failed("entry"))
        return "it cannot be loaded";
    if (has_failed("callback-returns"))
        return "a callback does not return";
    if (has_failed("create"))
        return "a device cannot be created";
    if (!run->complete && strcmp(group, "order") == 0)
        return "it does not survive starting and stopping";
    if (!run->complete && strcmp(group, "chains") == 0)
        return "it does not survive chains";
    return NULL;
}

/* A pause of the machine may look like a callback that sleeps: it has to happen twice. */
static void run_group(struct run *run)
{
    struct rule *time = rule_of("callback-time");
    enum state before = time->state;
    run_child(run);
    if (time->state == before || time->state != FAILED)
        return;
    time->state = before;
    run_child(run);
}

/* The rule in the group's list that is broken, or NULL. */
static const char *spoilt_by(const struct group *group)
{
    for (size_t i = 0; i < RULES; i++)
        if (rules[i].state == FAILED && group->not_if && strstr(group->not_if, rules[i].name))
            return rules[i].name;
    return NULL;
}

static void skip_group(const struct group *group, const char *why)
{
    for (size_t i = 0; i < RULES; i++)
        if (strcmp(rules[i].group, group->name) == 0)
            set_rule(rules[i].name, SKIPPED, why);
}

static void run_groups(struct run *run)
{
    char why[64];
    for (uint32_t i = 0; i < n_groups; i++) {
        run->group = &groups[i];
        const char *rule = spoilt_by(run->group);
        if (rule) {
            snprintf(why, sizeof(why), "the rule %s is broken", rule);
            skip_group(run->group, why);
            continue;
        }
        run_group(run);
        if (run->complete)
            group_passed(run->group);
        const char *end = useless(run);
        if (end) {
            skip_rest(end);
            return;
        }
    }
    skip_rest("it could not be tried");
}

static int print(void)
{
    unsigned n[SKIPPED + 1] = {0};
    for (size_t i = 0; i < RULES; i++) {
        const struct rule *rule = &rules[i];
        n[rule->state]++;
        if (rule->state == PASSED)
            printf("ok %s\n", rule->name);
        else
            printf("%s %s: %s\n", rule->state == FAILED ? "not ok" : "skip", rule->name,
                   rule->reason);
    }
    printf("%u passed, %u failed, %u skipped\n", n[PASSED], n[FAILED], n[SKIPPED]);
    return n[FAILED] ? 1 : 0;
}

/* argv: CHILD GROUP FDS PATIENCE DIRECTORY FILE [OPTIONS] */
static int start_as_child(int argc, char **argv)
{
    struct child child = {.path = argv[5], .options = argc > 6 ? argv[6] : NULL,
                          .directory = argv[4], .patience_ms = (uint32_t)atoi(argv[3])};
    int report, note;
    if (sscanf(argv[2], "%d,%d", &report, &note) != 2)
        return 2;
    child.note = mmap(NULL, sizeof(*child.note), PROT_READ | PROT_WRITE, MAP_SHARED, note, 0);
    if (child.note == MAP_FAILED)
        return 2;
    close(note);
    fcntl(report, F_SETFD, FD_CLOEXEC);
    for (uint32_t i = 0; i < n_groups; i++)
        if (strcmp(groups[i].name, argv[1]) == 0)
            return child_main(&groups[i], &child, report);
    return 2;
}

static void usage(FILE *to)
{
    fputs("usage: " PROGRAM " [--limit SECONDS] [--patience MILLISECONDS] FILE.so "
          "[OPTION=VALUE...]\n", to);
}

/* The options as an operator writes them behind `NAME:`. */
static char *join(int n, char **words)
{
    size_t size = 1;
    for (int i = 0; i < n; i++)
        size += strlen(words[i]) + 1;
    char *text = calloc(1, size);
    if (!text)
        fatal("options");
    for (int i = 0; i < n; i++)
        sprintf(text + strlen(text), "%s%s", i ? "," : "", words[i]);
    return text;
}

static void prepare(struct run *run, int argc, char **argv)
{
    run->path = realpath(argv[0], NULL);
    if (!run->path)
        fatal(argv[0]);
    run->options = argc > 1 ? join(argc - 1, argv + 1) : NULL;
    run->note_fd = memfd_create("note", MFD_CLOEXEC);
    if (run->note_fd < 0 || ftruncate(run->note_fd, sizeof(*run->note)) < 0)
        fatal("no shared memory");
    run->note = mmap(NULL, sizeof(*run->note), PROT_READ | PROT_WRITE, MAP_SHARED, run->note_fd, 0);
    if (run->note == MAP_FAILED)
        fatal("no shared memory");
}

static uint32_t number_of(const char *option, const char *text, unsigned long most)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    if (end == text || *end || number < 1 || number > most) {
        fprintf(stderr, PROGRAM ": --%s needs a number from 1 to %lu, not \"%s\"\n", option, most,
                text);
        exit(2);
    }
    return (uint32_t)number;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"limit", required_argument, NULL, 'l'},
        {"patience", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    struct run run = {.limit_s = LIMIT_S, .patience_ms = PATIENCE_MS};
    if (argc > 6 && strcmp(argv[1], CHILD) == 0)
        return start_as_child(argc - 1, argv + 1);
    for (int c; (c = getopt_long(argc, argv, "+", options, NULL)) >= 0;) {
        switch (c) {
        case 'l':
            run.limit_s = number_of("limit", optarg, 3600);
            break;
        case 'p':
            run.patience_ms = number_of("patience", optarg, 600000);
            break;
        case 'h':
            usage(stdout);
            return 0;
        case 'v':
            puts(PROGRAM " " PACKAGE_VERSION);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (optind == argc) {
        usage(stderr);
        return 2;
    }
    prepare(&run, argc - optind, argv + optind);
    check_file(run.path, fail_rule);
    if (has_failed("file"))
        skip_rest("it is no plugin");
    else
        run_groups(&run);
    return print();
}
