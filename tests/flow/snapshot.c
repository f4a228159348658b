/* SPDX-License-Identifier: BSD-3-Clause */
/* snapshot.c - see snapshot.h. Reads /proc while the daemon runs: things come and go meanwhile. */
#include "snapshot.h"

#include "clock.h"
#include "report.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS 10
#define RETURN_MS 8000

__attribute__((format(printf, 2, 3))) static void add(struct snapshot *s, const char *format, ...)
{
    va_list args;
    char **more = realloc(s->lines, (s->n + 1) * sizeof(*more));
    if (!more)
        return;
    s->lines = more;
    va_start(args, format);
    if (vasprintf(&more[s->n], format, args) >= 0)
        s->n++;
    va_end(args);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

/* The Unix socket with this inode, as /proc/net/unix tells: flags 10000 are listen(). */
static void add_socket(struct snapshot *s, FILE *unix_sockets, unsigned long inode)
{
    char line[512];
    rewind(unix_sockets);
    while (fgets(line, sizeof(line), unix_sockets)) {
        unsigned long state, its;
        int at = 0;
        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "%*s %*s %*s %lx %*s %*s %lu%n", &state, &its, &at) == 2 && its == inode) {
            add(s, "fd unix socket%s%s", state & 0x10000 ? ", listening" : "", line + at);
            return;
        }
    }
    add(s, "fd socket, not unix");
}

static void add_fd(struct snapshot *s, FILE *unix_sockets, const char *link)
{
    unsigned long inode;
    if (sscanf(link, "socket:[%lu]", &inode) == 1 && unix_sockets)
        add_socket(s, unix_sockets, inode);
    else if (strncmp(link, "pipe:", 5) == 0)
        add(s, "fd pipe");
    else
        add(s, "fd %s", link);
}

static bool add_fds(struct snapshot *s, pid_t pid)
{
    char path[512], link[4096];
    struct dirent *e;
    snprintf(path, sizeof(path), "/proc/%d/net/unix", (int)pid);
    FILE *unix_sockets = fopen(path, "re");
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    while (dir && (e = readdir(dir))) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid, e->d_name);
        ssize_t n = e->d_name[0] == '.' ? -1 : readlink(path, link, sizeof(link) - 1);
        if (n < 0)
            continue;
        link[n] = '\0';
        add_fd(s, unix_sockets, link);
    }
    if (unix_sockets)
        fclose(unix_sockets);
    if (dir)
        closedir(dir);
    return dir != NULL;
}

/* ---- tasks, mappings, files ------------------------------------------------------------------ */

static void add_tasks(struct snapshot *s, pid_t pid)
{
    char path[512], name[64];
    struct dirent *e;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    while (dir && (e = readdir(dir))) {
        snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)pid, e->d_name);
        FILE *comm = e->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (comm && fgets(name, sizeof(name), comm) && strncmp(name, "iou-", 4) != 0) {
            name[strcspn(name, "\n")] = '\0';
            add(s, "task %s", name);
        }
        if (comm)
            fclose(comm);
    }
    if (dir)
        closedir(dir);
}

static void add_map(struct snapshot *s, const char *line)
{
    unsigned long start, end;
    char rights[8];
    int at = 0;
    if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %n", &start, &end, rights, &at) != 3 || at == 0)
        return;
    const char *name = line + at;
    if (name[0] == '\0') {
        s->anonymous++;
        s->anonymous_kib += rights[1] == 'w' ? (end - start) / 1024 : 0;
    } else if (strcmp(name, "[heap]") == 0) {
        s->anonymous_kib += (end - start) / 1024;
    } else if (name[0] != '[') {
        add(s, "map %s %s", rights, name);
    }
}

static void add_maps(struct snapshot *s, pid_t pid)
{
    char path[64], line[4608];
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    while (maps && fgets(line, sizeof(line), maps)) {
        line[strcspn(line, "\n")] = '\0';
        add_map(s, line);
    }
    if (maps)
        fclose(maps);
}

static void add_files(struct snapshot *s, const struct daemon *d, const char *below)
{
    struct dirent *e;
    DIR *dir = opendir(in_dir(d, "%s", below).s);
    while (dir && (e = readdir(dir))) {
        if (e->d_name[0] == '.')
            continue;
        add(s, "file %s%s", below, e->d_name);
        if (e->d_type == DT_DIR && !below[0]) {
            char deeper[300];
            snprintf(deeper, sizeof(deeper), "%s/", e->d_name);
            add_files(s, d, deeper);
        }
    }
    if (dir)
        closedir(dir);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool snapshot_take(struct snapshot *s, const struct daemon *d)
{
    memset(s, 0, sizeof(*s));
    if (d->pid <= 0 || !add_fds(s, d->pid))
        return row_fail("the daemon's resources cannot be read: %s",
                        d->pid <= 0 ? "it is dead" : strerror(errno));
    add_tasks(s, d->pid);
    add_maps(s, d->pid);
    add_files(s, d, "");
    qsort(s->lines, s->n, sizeof(s->lines[0]), compare);
    return true;
}

void snapshot_free(struct snapshot *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->lines[i]);
    free(s->lines);
    memset(s, 0, sizeof(*s));
}

/* ---- differences ----------------------------------------------------------------------------- */

struct difference {
    const struct snapshot *also;
    char *text;
    size_t size, len, n;
};

static bool has_line(const struct snapshot *s, const char *line)
{
    return s && bsearch(&line, s->lines, s->n, sizeof(s->lines[0]), compare);
}

static void differ(struct difference *diff, char sign, const char *line)
{
    if (sign == '+' && strncmp(line, "map ", 4) == 0 && strstr(line, ".so") &&
        has_line(diff->also, line))
        return;
    diff->n++;
    int n = snprintf(diff->text + diff->len, diff->size - diff->len, "%s%c %s",
                     diff->len ? "; " : "", sign, line);
    if ((size_t)n < diff->size - diff->len)
        diff->len += (size_t)n;
    else
        diff->text[diff->len] = '\0';
}

static void walk(struct difference *diff, const struct snapshot *a, const struct snapshot *b)
{
    size_t i = 0, k = 0;
    diff->text[0] = '\0';
    while (i < a->n || k < b->n) {
        int order = i == a->n ? 1 : k == b->n ? -1 : strcmp(a->lines[i], b->lines[k]);
        if (order < 0)
            differ(diff, '-', a->lines[i++]);
        else if (order > 0)
            differ(diff, '+', b->lines[k++]);
        else
            i++, k++;
    }
}

size_t snapshot_diff(const struct snapshot *a, const struct snapshot *b, char *text, size_t size)
{
    struct difference diff = {.text = text, .size = size};
    walk(&diff, a, b);
    return diff.n;
}

/* A sanitizer's own memory grows with use; leaks are then what it reports at the end. */
static bool memory_counts(void)
{
    const char *sanitize = getenv("HVV_SANITIZE");
    return !sanitize || !sanitize[0];
}

static size_t compare_now(const struct daemon *d, const struct snapshot *before,
                          const struct snapshot *also, size_t slack_kib, char *text, size_t size)
{
    struct snapshot now;
    struct difference diff = {.also = also, .text = text, .size = size};
    size_t limit = before->anonymous_kib;
    if (also && also->anonymous_kib > limit)
        limit = also->anonymous_kib;
    if (!snapshot_take(&now, d))
        return 1;
    walk(&diff, before, &now);
    if (memory_counts() && now.anonymous_kib > limit + slack_kib) {
        char memory[96];
        snprintf(memory, sizeof(memory), "%zu KiB of anonymous memory, it was %zu",
                 now.anonymous_kib, limit);
        differ(&diff, '+', memory);
    }
    snapshot_free(&now);
    return diff.n;
}

bool snapshot_returns(const struct daemon *d, const struct snapshot *before,
                      const struct snapshot *also, size_t slack_kib, const char *when)
{
    char text[1500];
    uint64_t deadline = clock_deadline(RETURN_MS);
    while (compare_now(d, before, also, slack_kib, text, sizeof(text)) > 0) {
        if (row_failed() || clock_left_ms(deadline) == 0)
            return row_fail("%s the daemon does not hold what it held before: %s", when, text);
        poll(NULL, 0, LOOK_MS);
    }
    return true;
}
