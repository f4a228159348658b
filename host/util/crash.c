/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crash.c - see crash.h. All but crash_install() runs in signal handlers: no memory is allocated,
 * no lock taken and no stdio used; numbers are written by hand.
 */
#include "util/crash.h"

#include "util/callback.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define SYSLOG_PATH "/dev/log"
#define SYSLOG_HEAD "<26>hvisor-vhost: " /* facility daemon, severity critical */
#define STACK_NEAR 65536u                /* a guard page, and what one frame may leap over */
#define SIGNALS 5

static const struct {
    int number;
    const char *name;
} signals[SIGNALS] = {
    {SIGSEGV, "SIGSEGV"}, {SIGILL, "SIGILL"}, {SIGFPE, "SIGFPE"}, {SIGTRAP, "SIGTRAP"},
    {SIGABRT, "SIGABRT"},
};

static struct sigaction before[SIGNALS];
static int syslog_fd = -1;

struct line {
    char text[2048];
    size_t n;
};

static void add(struct line *line, const char *text)
{
    while (text && *text && line->n < sizeof(line->text) - 1) {
        char c = *text++;
        line->text[line->n++] = (unsigned char)c < ' ' ? '?' : c;
    }
}

static void add_number(struct line *line, uintptr_t value, unsigned base)
{
    char digits[24];
    size_t n = sizeof(digits);
    digits[--n] = '\0';
    do
        digits[--n] = "0123456789abcdef"[value % base];
    while (value /= base);
    add(line, digits + n);
}

static void add_signal(struct line *line, int signum)
{
    const char *name = signum == SIGBUS ? "SIGBUS" : NULL;
    for (size_t i = 0; i < SIGNALS; i++)
        if (signals[i].number == signum)
            name = signals[i].name;
    add(line, "signal ");
    add_number(line, (uintptr_t)signum, 10);
    if (name) {
        add(line, " ");
        add(line, name);
    }
}

/* A fault of the CPU, not a signal that somebody sent. */
static bool is_fault(const siginfo_t *info)
{
    return info->si_code > 0 && info->si_code != SI_KERNEL;
}

static bool is_overflow(const siginfo_t *info)
{
    uintptr_t address = (uintptr_t)info->si_addr;
    return callback_self && callback_self->stack_end &&
           address - callback_self->stack_end + STACK_NEAR < 2 * STACK_NEAR;
}

static void add_cause(struct line *line, int signum, const siginfo_t *info)
{
    add_signal(line, signum);
    if (is_fault(info)) {
        add(line, " (");
        if (signum == SIGSEGV && is_overflow(info))
            add(line, "stack overflow, ");
        add(line, "address 0x");
        add_number(line, (uintptr_t)info->si_addr, 16);
        add(line, ")");
    }
}

static void add_thread(struct line *line)
{
    char name[17] = "";
    prctl(PR_GET_NAME, name);
    add(line, " (thread ");
    add(line, name);
    if (!callback_self && syscall(SYS_gettid) != getpid()) /* plugins' threads inherit our names */
        add(line, ", perhaps one of a plugin's own");
    add(line, ")");
}

static void add_callback(struct line *line, const struct callback *c)
{
    add(line, " in ");
    add(line, c->kind);
    add(line, c->name);
    if (c->owner->device) {
        add(line, " of device ");
        add(line, c->owner->device);
        add(line, ", plugin ");
        add(line, c->owner->plugin);
        add(line, " ");
        add(line, c->owner->version);
    }
    add(line, " (");
    add(line, c->owner->path);
    add(line, ")");
}

static void add_place(struct line *line)
{
    const struct callback *c =
        callback_self ? atomic_load_explicit(&callback_self->now, memory_order_relaxed) : NULL;
    if (c) {
        add_callback(line, c);
    } else {
        add(line, " outside of all callbacks of plugins");
        add_thread(line);
    }
}

static void put(struct line *line)
{
    static const char prefix[] = "hvisor-vhost: ";
    ssize_t sent = 0;
    add(line, ": the daemon ends, and its devices with it, until it is started again");
    if (syslog_fd >= 0) {
        struct iovec iov[2] = {{(void *)(uintptr_t)SYSLOG_HEAD, sizeof(SYSLOG_HEAD) - 1},
                               {line->text, line->n}};
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
        sent = sendmsg(syslog_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    line->text[line->n++] = '\n'; /* add() leaves room */
    struct iovec iov[2] = {{(void *)(uintptr_t)prefix, sizeof(prefix) - 1}, {line->text, line->n}};
    sent = writev(STDERR_FILENO, iov, 2);
    (void)sent; /* there is nowhere left to complain */
}

void crash_tell(int signum, const siginfo_t *info)
{
    struct line line = {.n = 0};
    int saved = errno;
    add(&line, "fatal: ");
    add_cause(&line, signum, info);
    if (info->si_code <= 0 && info->si_pid != getpid()) {
        add(&line, " sent by process "); /* whatever this thread was doing has no part in it */
        add_number(&line, (uintptr_t)info->si_pid, 10);
    } else {
        add_place(&line);
    }
    put(&line);
    errno = saved;
}

void crash_again(int signum, const siginfo_t *info)
{
    if (info->si_code <= 0) /* returning to the instruction does not raise it */
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signum);
}

static void on_fault(int signum, siginfo_t *info, void *context)
{
    (void)context;
    for (size_t i = 0; i < SIGNALS; i++)
        if (signals[i].number == signum)
            sigaction(signum, &before[i], NULL);
    crash_tell(signum, info);
    crash_again(signum, info);
}

/* A plugin that ends the process by itself leaves no other trace. */
static void on_exit_inside(void)
{
    if (!callback_self || !atomic_load_explicit(&callback_self->now, memory_order_relaxed))
        return;
    struct line line = {.n = 0};
    add(&line, "fatal: the process was ended");
    add_place(&line);
    put(&line);
}

static void open_syslog(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = SYSLOG_PATH};
    syslog_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (syslog_fd >= 0 && connect(syslog_fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        close(syslog_fd);
        syslog_fd = -1;
    }
}

int crash_install(bool to_syslog)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    if (to_syslog)
        open_syslog();
    for (size_t i = 0; i < SIGNALS; i++)
        if (sigaction(signals[i].number, &action, &before[i]) < 0)
            return -errno;
    return atexit(on_exit_inside) ? -ENOMEM : 0;
}
