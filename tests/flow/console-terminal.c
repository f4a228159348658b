/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * console-terminal.c - rows of console.c: hvisor-vhost-ctl in terminals, and a daemon that has one.
 */
#include "clock.h"
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* ---- terminals ------------------------------------------------------------------------------- */

/* hvisor-vhost-ctl in a terminal of its own. */
struct viewer {
    pid_t pid;
    int tty; /* the side of the person */
};

static void viewer_end(struct viewer *v)
{
    if (v->pid > 0) {
        kill(v->pid, SIGKILL);
        waitpid(v->pid, NULL, 0);
    }
    if (v->tty >= 0)
        close(v->tty);
    *v = (struct viewer){.tty = -1};
}

/* `words` has blanks between them, or is NULL. */
__attribute__((noreturn)) static void become_ctl(const struct daemon *d, const char *name,
                                                 const char *id, const char *words)
{
    struct text program = built("hvisor-vhost-ctl");
    char copy[128] = "";
    char *argv[16] = {program.s, (char *)"--control", (char *)(uintptr_t)d->control,
                      (char *)"console", (char *)(uintptr_t)id};
    use_terminal(name);
    snprintf(copy, sizeof(copy), "%s", words ? words : "");
    char *word = strtok(copy, " ");
    for (size_t n = 5; word && n < 15; word = strtok(NULL, " "))
        argv[n++] = word;
    execv(argv[0], argv);
    _exit(127);
}

static bool viewer_start(struct viewer *v, const struct daemon *d, const char *id,
                         const char *words)
{
    char name[64], text[512];
    *v = (struct viewer){.tty = open_terminal(name)};
    if (row_failed())
        return false;
    v->pid = fork();
    if (v->pid == 0)
        become_ctl(d, name, id, words);
    return read_until(v->tty, text, sizeof(text), "leaves]\r\n");
}

/* It has to leave the terminal as it was, and end with `code`. */
static bool viewer_ends(struct viewer *v, int code)
{
    struct termios mode;
    char text[1024];
    int status;
    if (!read_until(v->tty, text, sizeof(text), code == 0 ? "left]\r\n" : "]\r\n"))
        return false;
    if (waitpid(v->pid, &status, 0) != v->pid)
        return row_fail("ctl cannot be waited for");
    v->pid = 0;
    int its = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (tcgetattr(v->tty, &mode) < 0 || !(mode.c_lflag & ICANON) || !(mode.c_lflag & ECHO))
        return row_fail("ctl left the terminal raw");
    return its == code || row_fail("ctl ended with %d, not %d", its, code);
}

static void end_viewers(void *arg)
{
    struct viewer *v = arg;
    for (int i = 0; i < 3; i++)
        viewer_end(&v[i]);
}

static bool config_becomes(struct condev *c, unsigned columns, unsigned rows)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    while (condev_read_config(c) && (c->config.cols != columns || c->config.rows != rows)) {
        if (clock_left_ms(deadline) == 0)
            return row_fail("the size is %ux%u, not %ux%u", c->config.cols, c->config.rows, columns,
                            rows);
        poll(NULL, 0, 5);
    }
    return !row_failed();
}

void console_terminals(struct daemon *d)
{
    static struct viewer v[3];
    const struct winsize larger = {.ws_col = 150, .ws_row = 55};
    char text[1024];
    v[0].tty = v[1].tty = v[2].tty = -1;
    row_at_end(end_viewers, v);
    MUST(daemon_add(d, "console:pty,link=../vm.tty,id=vm", NULL));
    MUST(condev_open(&guest, d, "vm", 2) && condev_send(&guest, TX, "before\r\n", 8));
    MUST(viewer_start(&v[0], d, "vm", NULL) &&
         read_until(v[0].tty, text, sizeof(text), "before\r\n"));
    MUST(config_becomes(&guest, 111, 33));
    CHECK(ioctl(v[0].tty, TIOCSWINSZ, &larger) == 0, "%s", strerror(errno));
    MUST(config_becomes(&guest, 150, 55));
    MUST(write_fd(v[0].tty, "a\003\004\032", 4) && condev_expect(&guest, RX, "a\003\004\032"));
    MUST(viewer_start(&v[1], d, "vm", NULL) && viewer_start(&v[2], d, "vm", "readonly"));
    MUST(daemon_counter_becomes(d, "vm", "attached", 3));
    MUST(condev_send(&guest, TX, "all\r\n", 5));
    for (int i = 0; i < 3; i++)
        MUST(read_until(v[i].tty, text, sizeof(text), "all\r\n"));
    MUST(write_fd(v[1].tty, "x", 1) && read_until(v[1].tty, text, sizeof(text), "\a"));
    MUST(write_fd(v[0].tty, "b", 1) && condev_expect(&guest, RX, "b"));
    MUST(write_fd(v[0].tty, "c\035", 2) && viewer_ends(&v[0], 0) && condev_expect(&guest, RX, "c"));
    MUST(daemon_counter_becomes(d, "vm", "attached", 2));
    MUST(write_fd(v[1].tty, "d", 1) && condev_expect(&guest, RX, "d")); /* its turn */
    MUST(viewer_start(&v[0], d, "vm", "take") &&
         read_until(v[0].tty, text, sizeof(text), "all\r\n"));
    MUST(write_fd(v[0].tty, "e", 1) && condev_expect(&guest, RX, "e"));
    kill(v[2].pid, SIGTERM);
    MUST(viewer_ends(&v[2], 128 + SIGTERM));
    condev_close(&guest);
    MUST(daemon_remove(d, "vm", NULL));
    MUST(read_until(v[1].tty, text, sizeof(text), "[vm: ended by the daemon]\r\n"));
}

/* Another key leaves, or none; the usual one is then like any other. */
void console_escape_key(struct daemon *d)
{
    static struct viewer v[3];
    char text[1024];
    v[0].tty = v[1].tty = v[2].tty = -1;
    row_at_end(end_viewers, v);
    MUST(daemon_add(d, "console:pty,id=vm", NULL));
    MUST(condev_open(&guest, d, "vm", 2) && condev_send(&guest, TX, "before\r\n", 8));
    MUST(viewer_start(&v[0], d, "vm", "--escape ^a replay=off"));
    MUST(condev_send(&guest, TX, "now\r\n", 5) && read_until(v[0].tty, text, sizeof(text), "now"));
    CHECK(!has_text(text, "before"), "with replay=off it starts with \"%s\"", text);
    MUST(write_fd(v[0].tty, "x\035y\001z", 5) && viewer_ends(&v[0], 0));
    MUST(condev_expect(&guest, RX, "x\035y"));
    MUST(viewer_start(&v[0], d, "vm", "-e none") && write_fd(v[0].tty, "a\035\001b", 4));
    MUST(condev_expect(&guest, RX, "a\035\001b"));
    kill(v[0].pid, SIGTERM);
    MUST(viewer_ends(&v[0], 128 + SIGTERM));
    MUST(viewer_start(&v[0], d, "vm", "--escape=^]") && write_fd(v[0].tty, "\035", 1));
    MUST(viewer_ends(&v[0], 0));
    condev_close(&guest);
}

/* There is a limit, also for the command; who leaves makes room. */
void console_too_many(struct daemon *d)
{
    static struct output o;
    int client[16];
    char byte;
    MUST(daemon_add(d, "console:socket,path=../s.sock,id=s", NULL));
    for (int i = 0; i < 16; i++)
        MUST((client[i] = connect_to(d, "s.sock")) >= 0);
    MUST(daemon_counter_becomes(d, "s", "attached", 16));
    int more = connect_to(d, "s.sock");
    CHECK(more >= 0 && wait_fd(more, POLLIN, TIMEOUT_MS) > 0 && read(more, &byte, 1) == 0,
          "a 17th client is not turned away");
    close(more);
    MUST(ctl(&o, d, "console", "s", NULL));
    CHECK(o.code == 1 && has_text(o.err, "16 terminals and clients"), "%d: %s", o.code, o.err);
    close(client[7]);
    client[7] = connect_to(d, "s.sock");
    MUST(client[7] >= 0 && daemon_counter_becomes(d, "s", "attached", 16));
    MUST(condev_open(&guest, d, "s", 2) && condev_send(&guest, TX, "all", 3));
    for (int i = 15; i >= 0; i--) { /* the one with the keyboard leaves last */
        char text[8];
        MUST(read_until(client[i], text, sizeof(text), "all"));
        close(client[i]);
        MUST(daemon_counter_becomes(d, "s", "attached", i));
    }
    condev_close(&guest);
}

/* ---- a terminal of the daemon's own ---------------------------------------------------------- */

static bool terminal_becomes(int tty, bool raw, const char *when)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    struct termios mode;
    while (tcgetattr(tty, &mode) == 0 && clock_left_ms(deadline) > 0) {
        bool cooked = (mode.c_lflag & ICANON) && (mode.c_lflag & ECHO) && (mode.c_oflag & OPOST);
        if (!(mode.c_lflag & ISIG))
            return row_fail("%s Ctrl-C does not go to the daemon", when);
        if (cooked != raw)
            return true;
        poll(NULL, 0, 5);
    }
    return row_fail("%s the terminal is %s", when, raw ? "not raw" : "not as it was");
}

/* In the foreground of a terminal, as `d`; its log goes there, too. */
static bool start_in_terminal(struct daemon *d, const char *name)
{
    const char *argv[32];
    struct text text[8];
    daemon_argv(d, argv, text);
    d->pid = fork();
    if (d->pid == 0) {
        use_terminal(name);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    d->pidfd = d->pid > 0 ? (int)syscall(SYS_pidfd_open, d->pid, 0) : -1;
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    while (d->pidfd >= 0 && daemon_count(d) < 0 && clock_left_ms(deadline) > 0)
        poll(NULL, 0, 5);
    return daemon_count(d) == 0 || row_fail("no daemon in a terminal");
}

static void close_terminal(void *arg)
{
    int *tty = arg;
    if (*tty >= 0)
        close(*tty);
    *tty = -1;
}

void console_standard_terminal(struct daemon *d)
{
    static int tty = -1;
    char name[64], text[8192];
    MUST((tty = open_terminal(name)) >= 0 && !row_failed());
    row_at_end(close_terminal, &tty);
    int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC); /* so that its mode can be asked for */
    CHECK(slave >= 0, "%s: %s", name, strerror(errno));
    close(slave);
    MUST(start_in_terminal(d, name));
    for (int i = 0; i < 2; i++) {
        MUST(daemon_add(d, "console:stdio,id=vm", NULL));
        MUST(terminal_becomes(tty, true, "with a device on it"));
        MUST(condev_open(&guest, d, "vm", 2) && condev_send(&guest, TX, "login: ", 7));
        MUST(read_until(tty, text, sizeof(text), "login: "));
        MUST(write_fd(tty, "root\r\004\021", 7) && condev_expect(&guest, RX, "root\r\004\021"));
        condev_close(&guest);
        if (i == 0)
            MUST(daemon_remove(d, "vm", NULL) && terminal_becomes(tty, false, "without a device"));
    }
    MUST(write_fd(tty, "\003", 1));
    int code = daemon_wait(d, TIMEOUT_MS);
    CHECK(code == 0, "at Ctrl-C the daemon ends with %d", code);
    MUST(terminal_becomes(tty, false, "after the daemon's end"));
}
