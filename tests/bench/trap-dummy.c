/* SPDX-License-Identifier: BSD-3-Clause */
/* trap-dummy.c - see trap-dummy.h. */
#include "trap-dummy.h"

#include "clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096u
#define EMPTY_SLOT (TRAP_SLOTS - 1)
#define ACCESS_THREAD "access-trap"

/* ---- the threads of the daemon --------------------------------------------------------------- */

static bool read_file(const char *task, const char *name, char *text, size_t size)
{
    char path[400];
    FILE *f;
    size_t n;

    snprintf(path, sizeof(path), "%s/%s", task, name);
    f = fopen(path, "re");
    if (!f)
        return false;
    n = fread(text, 1, size - 1, f);
    fclose(f);
    text[n] = '\0';
    return true;
}

static double thread_cpu_of(const char *task)
{
    char text[256];

    if (!read_file(task, "comm", text, sizeof(text)) ||
        strncmp(text, ACCESS_THREAD, strlen(ACCESS_THREAD)) == 0 ||
        !read_file(task, "schedstat", text, sizeof(text)))
        return 0;
    return strtod(text, NULL) / 1e9;
}

double daemon_cpu(pid_t pid)
{
    char tasks[64], task[350];
    struct dirent *e;
    double cpu = 0;
    DIR *dir;

    snprintf(tasks, sizeof(tasks), "/proc/%d/task", (int)pid);
    dir = opendir(tasks);
    if (!dir)
        return -1;
    while ((e = readdir(dir))) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(task, sizeof(task), "%s/%s", tasks, e->d_name);
        cpu += thread_cpu_of(task);
    }
    closedir(dir);
    return cpu;
}

static bool tell(int fd)
{
    uint64_t one = 1;

    return write(fd, &one, sizeof(one)) == sizeof(one);
}

static bool wait_told(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    uint64_t count;

    while (poll(&p, 1, -1) < 0)
        if (errno != EINTR)
            return false;
    return read(fd, &count, sizeof(count)) == sizeof(count);
}

/* ---- the daemon's ---------------------------------------------------------------------------- */

static void read_one(int fd, uint64_t blocks, uint64_t *random)
{
    static uint8_t block[BLOCK];

    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    if (pread(fd, block, sizeof(block), (off_t)(*random % blocks * BLOCK)) < 0)
        _exit(1);
}

static void be_daemon(const struct dummy *d)
{
    int fd = open(d->image, O_RDONLY | O_CLOEXEC);
    uint64_t random = 0x9e3779b97f4a7c15u;
    double until = thread_cpu();
    struct stat st;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < (off_t)BLOCK)
        _exit(1);
    while (wait_told(d->work)) {
        /* The sum counts, not each turn: what a turn uses too much is taken off the next. */
        until += d->weight.daemon_cpu;
        while (thread_cpu() < until)
            read_one(fd, (uint64_t)st.st_size / BLOCK, &random);
        if (!tell(d->done))
            break;
    }
    _exit(1);
}

/* ---- the guest's ----------------------------------------------------------------------------- */

/* An interrupt, and perhaps a notification, which goes to an empty slot: no worker hears of it. */
static int make_accesses(struct trap_guest *g, unsigned int slot, bool kick)
{
    struct sim_access a = { .cpu = g->guest.cpu, .zone = TRAP_ZONE, .size = 4 };
    uint64_t base = guest_slot(slot).address;
    int err;

    a.address = base + VIRTIO_MMIO_INTERRUPT_STATUS;
    err = sim_access(g->sim, &a);
    a.write = true;
    a.address = base + VIRTIO_MMIO_INTERRUPT_ACK;
    if (!err)
        err = sim_access(g->sim, &a);
    a.address = guest_slot(EMPTY_SLOT).address + VIRTIO_MMIO_QUEUE_NOTIFY;
    if (!err && kick)
        err = sim_access(g->sim, &a);
    return err;
}

static void *be_guest(void *arg)
{
    struct dummy *d = arg;
    uint64_t start = clock_ns(), turns = 0;
    double until = thread_cpu(), kicks = 0;

    while (tell(d->work) && wait_told(d->done) && !atomic_load(&d->stop)) {
        bool kick = (double)++turns * d->weight.kicks > kicks;

        if (make_accesses(d->g, d->slot, kick))
            break;
        kicks += kick;
        until += d->weight.guest_cpu;
        while (thread_cpu() < until)
            ring_relax();
    }
    d->turns = (double)turns * 1e9 / (double)(clock_ns() - start);
    return NULL;
}

int dummy_start(struct dummy *d)
{
    int err;

    d->work = eventfd(0, EFD_CLOEXEC);
    d->done = eventfd(0, EFD_CLOEXEC);
    if (d->work < 0 || d->done < 0)
        return -errno;
    d->pid = fork();
    if (d->pid == 0)
        be_daemon(d);
    if (d->pid < 0)
        return -errno;
    err = pthread_create(&d->thread, NULL, be_guest, d);
    d->running = err == 0;
    return -err;
}

void dummy_stop(struct dummy *d)
{
    atomic_store(&d->stop, true);
    if (d->running && tell(d->done)) /* the process may have ended by itself */
        pthread_join(d->thread, NULL);
    if (d->pid > 0) {
        kill(d->pid, SIGKILL);
        waitpid(d->pid, NULL, 0);
    }
}
