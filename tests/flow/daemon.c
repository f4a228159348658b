/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon.c - see daemon.h. */
#include "daemon.h"

#include "clock.h"
#include "report.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534
#define LIST_MS 5 /* between two looks at something that cannot be waited for */

/* ---- texts ----------------------------------------------------------------------------------- */

struct text in_dir(const struct daemon *d, const char *format, ...)
{
    struct text text;
    va_list args;
    int n = snprintf(text.s, sizeof(text.s), "%s/", d->dir);
    va_start(args, format);
    vsnprintf(text.s + n, sizeof(text.s) - (size_t)n, format, args);
    va_end(args);
    return text;
}

struct text socket_of(const struct daemon *d, const char *id)
{
    return in_dir(d, "s/%s.sock", id);
}

const char *error_member(const struct daemon *d, const char *key)
{
    const char *text = json_string_value(json_object_get(json_object_get(d->error, "data"), key));
    return text ? text : "";
}

const char *error_text(const struct daemon *d)
{
    const char *text = json_string_value(json_object_get(d->error, "message"));
    return text ? text : "";
}

bool has_text(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

struct text built(const char *name)
{
    struct text text;
    const char *build = getenv("HVV_BUILD");
    snprintf(text.s, sizeof(text.s), "%.250s/%.250s", build ? build : ".", name);
    return text;
}

/* ---- the directory --------------------------------------------------------------------------- */

static bool copy_file(const char *from, const char *to)
{
    char buffer[65536];
    ssize_t n = -1;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = in < 0 ? -1 : open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    while (out >= 0 && (n = read(in, buffer, sizeof(buffer))) > 0)
        if (write(out, buffer, (size_t)n) != n)
            break;
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    return n == 0;
}

static bool copy_plugins(const struct daemon *d)
{
    if (!copy_file(built("plugins.d/blk.so").s, in_dir(d, "p/blk.so").s))
        return row_fail("plugins.d/blk.so is not in HVV_BUILD: %s", strerror(errno));
    for (size_t i = 0; d->options->plugins && d->options->plugins[i]; i++) {
        struct text from;
        const char *name = d->options->plugins[i];
        snprintf(from.s, sizeof(from.s), "plugins.d/%s", name);
        if (access(built(from.s).s, F_OK) < 0)
            snprintf(from.s, sizeof(from.s), "tests/plugins/%s", name);
        if (!copy_file(built(from.s).s, in_dir(d, "p/%s", name).s))
            return row_skip("the test plugin %s is in neither plugins.d nor tests/plugins of "
                            "HVV_BUILD", name);
    }
    return true;
}

static bool make_directory(struct daemon *d)
{
    static const char *const parts[] = {"s", "i", "p"};
    const char *where = getenv("TMPDIR");
    if (!where || strlen(where) > 24) /* a socket's path has 107 bytes */
        where = "/tmp";
    snprintf(d->dir, sizeof(d->dir), "%s/hvv-flow-XXXXXX", where);
    if (!mkdtemp(d->dir) || chmod(d->dir, 0755) < 0) {
        d->dir[0] = '\0';
        return row_fail("no temporary directory in %s: %s", where, strerror(errno));
    }
    for (size_t i = 0; i < 3; i++)
        if (mkdir(in_dir(d, "%s", parts[i]).s, 0755) < 0)
            return row_fail("cannot make %s/%s: %s", d->dir, parts[i], strerror(errno));
    if (d->options->nobody && geteuid() == 0 &&
        (chown(d->dir, NOBODY, NOBODY) < 0 || chown(in_dir(d, "s").s, NOBODY, NOBODY) < 0 ||
         chown(in_dir(d, "i").s, NOBODY, NOBODY) < 0))
        return row_fail("cannot give %s away: %s", d->dir, strerror(errno));
    return true;
}

static bool open_notify(struct daemon *d)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof(at.sun_path), "%.64s/notify", d->dir);
    d->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (d->notify_fd < 0 || bind(d->notify_fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        chmod(at.sun_path, 0666) < 0)
        return row_fail("no notification socket: %s", strerror(errno));
    return true;
}

bool daemon_prepare(struct daemon *d, const struct daemon_options *options)
{
    memset(d, 0, sizeof(*d));
    d->options = options;
    d->client.fd = d->pidfd = d->notify_fd = -1;
    if (!make_directory(d) || !copy_plugins(d) || !open_notify(d))
        return false;
    snprintf(d->control, sizeof(d->control), "%s/control.sock", d->dir);
    return true;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void daemon_clean(struct daemon *d)
{
    client_close(&d->client);
    if (d->pid > 0) {
        kill(d->pid, SIGKILL);
        waitpid(d->pid, NULL, 0);
    }
    if (d->pidfd >= 0)
        close(d->pidfd);
    if (d->notify_fd >= 0)
        close(d->notify_fd);
    json_decref(d->error);
    if (d->dir[0])
        nftw(d->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    memset(d, 0, sizeof(*d));
    d->client.fd = d->pidfd = d->notify_fd = -1;
}

/* ---- processes ------------------------------------------------------------------------------- */

/* In the child. The file is opened first: an unprivileged user may not reach it by its path. */
__attribute__((noreturn)) static void become(const char *const argv[], const char *const *env,
                                             pid_t parent, bool nobody)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_DFL);
    for (size_t i = 0; env && env[i]; i++)
        putenv((char *)(uintptr_t)env[i]);
    int fd = open(argv[0], O_RDONLY | O_CLOEXEC);
    if (nobody && geteuid() == 0 && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* cleared by the change of user */
    if (getppid() != parent)
        _exit(126);
    fexecve(fd, (char *const *)(uintptr_t)argv, environ);
    fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* Like fork(), for a process whose other threads may hold locks: the child only execs. */
static pid_t spawn(const char *const argv[], const char *const *env, const char *cwd, int out,
                   int err, bool nobody)
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    int null = open("/dev/null", O_RDWR);
    if (dup2(null, 0) < 0 || dup2(out >= 0 ? out : null, 1) < 0 || dup2(err, 2) < 0 ||
        (cwd && chdir(cwd) < 0))
        _exit(126);
    if (null > 2)
        close(null);
    become(argv, env, parent, nobody);
}

static int exit_code(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void daemon_argv(const struct daemon *d, const char *argv[32], struct text text[8])
{
    size_t n = 0;
    text[0] = built("hvisor-vhost");
    text[1] = in_dir(d, "p");
    text[2] = in_dir(d, "s");
    argv[n++] = text[0].s;
    argv[n++] = "--plugin-dir";
    argv[n++] = text[1].s;
    argv[n++] = "--socket-dir";
    argv[n++] = text[2].s;
    argv[n++] = "--control";
    argv[n++] = d->control;
    for (size_t i = 0; d->options->args && d->options->args[i] && n < 31; i++)
        argv[n++] = d->options->args[i];
    argv[n] = NULL;
}

static bool wait_ready(struct daemon *d)
{
    uint64_t deadline = clock_deadline(DAEMON_TIMEOUT_MS);
    struct pollfd p[2] = {{d->notify_fd, POLLIN, 0}, {d->pidfd, POLLIN, 0}};
    char text[256];
    while (poll(p, 2, clock_left_ms(deadline)) > 0) {
        ssize_t n = recv(d->notify_fd, text, sizeof(text) - 1, 0);
        if (n > 0) {
            text[n] = '\0';
            if (has_text(text, "READY=1"))
                return true;
        } else if (p[1].revents) {
            return row_fail("the daemon ended with %d instead of becoming ready",
                            daemon_wait(d, 0));
        }
    }
    return row_fail("the daemon was not ready within %d ms", DAEMON_TIMEOUT_MS);
}

bool daemon_start(struct daemon *d)
{
    /* Memory that is free goes back at once, so that what is held can be measured. */
    const char *argv[32], *env[16] = {"MALLOC_ARENA_MAX=1", "MALLOC_TRIM_THRESHOLD_=4096",
                                      "MALLOC_TOP_PAD_=4096", "MALLOC_MMAP_THRESHOLD_=65536"};
    struct text text[8], notify;
    size_t n = 4;
    snprintf(notify.s, sizeof(notify.s), "NOTIFY_SOCKET=%s/notify", d->dir);
    env[n++] = notify.s;
    for (size_t i = 0; d->options->env && d->options->env[i] && n < 15; i++)
        env[n++] = d->options->env[i];
    env[n] = NULL;
    daemon_argv(d, argv, text);
    int log = open(in_dir(d, "log").s, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log < 0)
        return row_fail("no log file: %s", strerror(errno));
    d->pid = spawn(argv, env, d->dir, log, log, d->options->nobody);
    close(log);
    if (d->pid < 0)
        return row_fail("fork: %s", strerror(errno));
    d->pidfd = (int)syscall(SYS_pidfd_open, d->pid, 0);
    if (d->pidfd < 0)
        return row_fail("pidfd_open: %s", strerror(errno));
    if (!wait_ready(d))
        return false;
    int rc = client_open(&d->client, d->control);
    if (rc < 0)
        return row_fail("cannot connect to the control socket: %s", strerror(-rc));
    return daemon_count(d) >= 0 || row_fail("the daemon does not answer"); /* so it has accepted */
}

int daemon_wait(struct daemon *d, int timeout_ms)
{
    struct pollfd p = {.fd = d->pidfd, .events = POLLIN};
    int status;
    if (d->pid <= 0 || poll(&p, 1, timeout_ms) <= 0)
        return -1;
    if (waitpid(d->pid, &status, 0) != d->pid)
        return -1;
    d->pid = 0;
    close(d->pidfd);
    d->pidfd = -1;
    client_close(&d->client);
    return exit_code(status);
}

bool daemon_alive(const struct daemon *d)
{
    struct pollfd p = {.fd = d->pidfd, .events = POLLIN};
    return d->pid > 0 && poll(&p, 1, 0) == 0;
}

bool daemon_stop(struct daemon *d)
{
    if (!daemon_alive(d))
        return row_fail("the daemon is dead, exit %d", daemon_wait(d, 0));
    kill(d->pid, SIGTERM);
    int code = daemon_wait(d, DAEMON_TIMEOUT_MS);
    if (code < 0)
        return row_fail("SIGTERM did not end the daemon within %d ms", DAEMON_TIMEOUT_MS);
    return code == 0 || row_fail("the daemon ended with %d at SIGTERM", code);
}

bool daemon_left_nothing(const struct daemon *d)
{
    bool fine = true;
    DIR *dir = opendir(in_dir(d, "s").s);
    struct dirent *e;
    while (dir && (e = readdir(dir)))
        if (e->d_name[0] != '.')
            fine = row_fail("the daemon left s/%s behind", e->d_name);
    if (dir)
        closedir(dir);
    if (access(d->control, F_OK) == 0 || access(in_dir(d, "control.sock.lock").s, F_OK) == 0)
        fine = row_fail("the daemon left its control socket or the lock of it behind");
    return fine;
}

void daemon_print_log(const struct daemon *d)
{
    char line[1024];
    long size = 0;
    FILE *log = d->dir[0] ? fopen(in_dir(d, "log").s, "re") : NULL;
    if (!log)
        return;
    if (fseek(log, 0, SEEK_END) == 0)
        size = ftell(log);
    fseek(log, size > 1500 ? size - 1500 : 0, SEEK_SET);
    while (fgets(line, sizeof(line), log))
        printf("#   log: %s", line);
    fclose(log);
}

/* ---- requests -------------------------------------------------------------------------------- */

/* Steals params. Connects anew if the connection is gone. */
json_t *daemon_vcall(struct daemon *d, const char *method, json_t *params)
{
    json_decref(d->error);
    d->error = NULL;
    if (d->client.fd < 0)
        client_open(&d->client, d->control);
    int id = d->client.fd < 0 ? -1 : client_send(&d->client, method, json_incref(params));
    json_t *answer = client_wait(&d->client, id, CLIENT_TIMEOUT_MS);
    json_decref(params);
    json_t *result = json_incref(json_object_get(answer, "result"));
    if (!answer)
        client_close(&d->client);
    else if (!result)
        d->error = json_incref(json_object_get(answer, "error"));
    json_decref(answer);
    return result;
}

json_t *daemon_call(struct daemon *d, const char *method, const char *format, ...)
{
    json_t *params = NULL;
    va_list args;
    va_start(args, format);
    if (format)
        params = json_vpack_ex(NULL, 0, format, args);
    va_end(args);
    return daemon_vcall(d, method, params);
}

static json_t *word_list(va_list args)
{
    json_t *list = json_array();
    const char *word;
    while ((word = va_arg(args, const char *)))
        json_array_append_new(list, json_string(word));
    return list;
}

static bool has_to_work(struct daemon *d, const char *method, json_t *params)
{
    json_t *result = daemon_vcall(d, method, params);
    json_decref(result);
    return result || row_fail("%s: %s", method, d->error ? error_text(d) : "no answer");
}

bool daemon_add(struct daemon *d, ...)
{
    va_list args;
    va_start(args, d);
    json_t *list = word_list(args);
    va_end(args);
    return has_to_work(d, "device.add", json_pack("{s:o, s:s}", "devices", list, "cwd",
                                                  in_dir(d, "i").s));
}

bool daemon_remove(struct daemon *d, ...)
{
    va_list args;
    va_start(args, d);
    json_t *list = word_list(args);
    va_end(args);
    return has_to_work(d, "device.remove", json_pack("{s:o, s:b}", "ids", list, "force", 1));
}

bool daemon_refuses(struct daemon *d, const char *parts, const char *method, const char *format,
                    ...)
{
    char all[512], *save = NULL;
    va_list args;
    va_start(args, format);
    json_t *params = json_vpack_ex(NULL, 0, format, args);
    va_end(args);
    json_t *result = daemon_vcall(d, method, params);
    json_decref(result);
    if (result)
        return row_fail("%s was not refused", method);
    if (!d->error)
        return row_fail("%s got no answer", method);
    snprintf(all, sizeof(all), "%s", parts);
    for (char *p = strtok_r(all, "|", &save); p; p = strtok_r(NULL, "|", &save))
        if (!has_text(error_text(d), p))
            return row_fail("the refusal does not name \"%s\": %s", p, error_text(d));
    return true;
}

json_t *daemon_device(struct daemon *d, const char *id)
{
    json_t *result = daemon_call(d, "device.list", NULL), *found = NULL, *device;
    size_t i;
    json_array_foreach(json_object_get(result, "devices"), i, device) {
        const char *its = json_string_value(json_object_get(device, "id"));
        if (its && strcmp(its, id) == 0)
            found = json_incref(device);
    }
    json_decref(result);
    return found;
}

int daemon_count(struct daemon *d)
{
    json_t *result = daemon_call(d, "device.list", NULL);
    int n = result ? (int)json_array_size(json_object_get(result, "devices")) : -1;
    json_decref(result);
    return n;
}

bool daemon_device_becomes(struct daemon *d, const char *id, const char *key, bool value)
{
    uint64_t deadline = clock_deadline(DAEMON_TIMEOUT_MS);
    while (clock_left_ms(deadline) > 0) {
        json_t *device = daemon_device(d, id);
        bool there = device != NULL, is = json_is_true(json_object_get(device, key));
        json_decref(device);
        if (there && is == value)
            return true;
        poll(NULL, 0, LIST_MS);
    }
    return row_fail("device %s did not become %s=%s", id, key, value ? "true" : "false");
}

long daemon_counter(struct daemon *d, const char *id, const char *name)
{
    json_t *r = daemon_call(d, "stats", "{s:[s]}", "ids", id);
    json_t *device = json_array_get(json_object_get(r, "devices"), 0);
    json_t *value = json_object_get(json_object_get(device, "counters"), name);
    long n = json_is_integer(value) ? (long)json_integer_value(value) : -1;
    json_decref(r);
    return n;
}

bool daemon_counter_becomes(struct daemon *d, const char *id, const char *name, long want)
{
    uint64_t deadline = clock_deadline(DAEMON_TIMEOUT_MS);
    long n;
    while ((n = daemon_counter(d, id, name)) != want) {
        if (clock_left_ms(deadline) == 0)
            return row_fail("%s of %s is %ld, not %ld", name, id, n, want);
        poll(NULL, 0, 5); /* between the looks */
    }
    return true;
}

bool daemon_image(const struct daemon *d, const char *name, off_t bytes)
{
    int fd = open(in_dir(d, "i/%s", name).s, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0 || fchmod(fd, 0666) < 0 || ftruncate(fd, bytes) < 0)
        return row_fail("cannot make the image %s: %s", name, strerror(errno));
    close(fd);
    return true;
}

/* ---- other programs -------------------------------------------------------------------------- */

struct sink {
    int fd;
    char *text;
    size_t len, size;
};

static void drain(struct sink *sink)
{
    char spare[512];
    size_t room = sink->size - 1 - sink->len;
    ssize_t n = room ? read(sink->fd, sink->text + sink->len, room)
                     : read(sink->fd, spare, sizeof(spare));
    if (n <= 0) {
        close(sink->fd);
        sink->fd = -1;
    } else if (room) {
        sink->len += (size_t)n;
        sink->text[sink->len] = '\0';
    }
}

/* Reads both until they end; false at the deadline. */
static bool collect(struct sink sink[2], uint64_t deadline)
{
    while (sink[0].fd >= 0 || sink[1].fd >= 0) {
        struct pollfd p[2] = {{sink[0].fd, POLLIN, 0}, {sink[1].fd, POLLIN, 0}};
        if (poll(p, 2, clock_left_ms(deadline)) <= 0)
            return false;
        for (int i = 0; i < 2; i++)
            if (p[i].revents)
                drain(&sink[i]);
    }
    return true;
}

bool run(struct output *o, const char *cwd, const char *const argv[], int timeout_ms, bool nobody)
{
    int out[2], err[2], status = 0;
    memset(o, 0, sizeof(*o));
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
        return row_fail("pipe: %s", strerror(errno));
    pid_t pid = spawn(argv, NULL, cwd, out[1], err[1], nobody);
    close(out[1]);
    close(err[1]);
    struct sink sink[2] = {{out[0], o->out, 0, sizeof(o->out)},
                           {err[0], o->err, 0, sizeof(o->err)}};
    bool ended = collect(sink, clock_deadline(timeout_ms));
    if (!ended)
        kill(pid, SIGKILL);
    for (int i = 0; i < 2; i++)
        if (sink[i].fd >= 0)
            close(sink[i].fd);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return row_fail("fork: %s", strerror(errno));
    o->code = ended ? exit_code(status) : -1;
    return ended || row_fail("%s did not end within %d ms", argv[0], timeout_ms);
}

bool ctl(struct output *o, const struct daemon *d, ...)
{
    const char *argv[32];
    struct text program = built("hvisor-vhost-ctl");
    size_t n = 0;
    va_list args;
    argv[n++] = program.s;
    argv[n++] = "--control";
    argv[n++] = d->control;
    va_start(args, d);
    while (n < 31 && (argv[n] = va_arg(args, const char *)))
        n++;
    va_end(args);
    argv[n] = NULL;
    return run(o, in_dir(d, "i").s, argv, DAEMON_TIMEOUT_MS, false);
}

bool daemon_try(const struct daemon *d, const char *const *words, struct output *o)
{
    const char *own[32], *argv[48] = {"/usr/bin/env"};
    const char *const *env = d->options->env;
    struct text text[8];
    size_t n = 1;
    for (; env && *env && n < 15; env++)
        argv[n++] = *env;
    daemon_argv(d, own, text);
    for (size_t i = 0; own[i]; i++)
        argv[n++] = own[i];
    for (size_t i = 0; words && words[i] && n < 47; i++)
        argv[n++] = words[i];
    argv[n] = NULL;
    return run(o, d->dir, argv, DAEMON_TIMEOUT_MS, false);
}
