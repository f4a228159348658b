/* SPDX-License-Identifier: BSD-3-Clause */
/* thread.c - see thread.h. */
#include "thread.h"

#include "report.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static bool has_name(const struct daemon *d, const char *tid, const char *name)
{
    char path[320], comm[32] = "";
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/task/%.200s/comm", (int)d->pid, tid);
    f = fopen(path, "re");
    if (!f)
        return false;
    if (!fgets(comm, sizeof(comm), f))
        comm[0] = '\0';
    fclose(f);
    comm[strcspn(comm, "\n")] = '\0';
    return strcmp(comm, name) == 0;
}

static pid_t find(const struct daemon *d, const char *name)
{
    char path[64];
    struct dirent *e;
    pid_t tid = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)d->pid);
    dir = opendir(path);
    while (dir && !tid && (e = readdir(dir)))
        if (e->d_name[0] != '.' && has_name(d, e->d_name, name))
            tid = (pid_t)atoi(e->d_name);
    if (dir)
        closedir(dir);
    return tid;
}

bool thread_stop(struct stopped *t, const struct daemon *d, const char *name)
{
    pid_t tid = find(d, name);
    int status;

    t->tid = 0;
    if (!tid)
        return row_fail("the daemon has no thread %s", name);
    if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0)
        return errno == EPERM ? row_skip("threads may not be stopped here")
                              : row_fail("PTRACE_SEIZE: %s", strerror(errno));
    t->tid = tid;
    if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 || waitpid(tid, &status, __WALL) != tid ||
        !WIFSTOPPED(status)) {
        thread_go_on(t);
        return row_fail("the thread %s does not stop: %s", name, strerror(errno));
    }
    return true;
}

void thread_go_on(struct stopped *t)
{
    if (t->tid)
        ptrace(PTRACE_DETACH, t->tid, NULL, NULL);
    t->tid = 0;
}

long thread_sleeps(const struct daemon *d, const char *name)
{
    static const char key[] = "voluntary_ctxt_switches:";
    char path[64], line[128];
    pid_t tid = find(d, name);
    long n = -1;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)d->pid, (int)tid);
    f = tid ? fopen(path, "re") : NULL;
    while (f && n < 0 && fgets(line, sizeof(line), f))
        if (strncmp(line, key, sizeof(key) - 1) == 0)
            n = atol(line + sizeof(key) - 1);
    if (f)
        fclose(f);
    if (n < 0)
        row_fail("the daemon has no thread %s", name);
    return n;
}

int thread_worker_of(struct daemon *d, const char *id)
{
    json_t *device = daemon_call(d, "device.show", "{s:s}", "id", id);
    json_t *queue = json_array_get(json_object_get(device, "queues"), 0);
    json_t *worker = json_object_get(queue, "worker");
    int number = json_is_integer(worker) ? (int)json_integer_value(worker) : -1;

    json_decref(device);
    if (number < 0)
        row_fail("device.show names no worker of %s", id);
    return number;
}
