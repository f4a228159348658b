/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * onpty.c - runs a program on a terminal of its own and speaks with it: waits for texts and sends
 * keys, as a person would. What the program says goes to stdout. Linked statically it runs in
 * guests, too.
 *
 * A text is looked for in what comes after the text that was found last. After the last step the
 * program has to end by itself. The exit status is that of the program, 128 + a signal, or 125 if a
 * step failed: then the program is killed, and stderr says which step it was.
 */
#define _GNU_SOURCE

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define FAILED 125
#define HEARD_MAX 65536u /* of what is looked through; older bytes are forgotten */

struct talk {
    pid_t pid;
    int tty;
    double deadline; /* of this step */
    bool ended;      /* nothing more comes */
    size_t n;
    char heard[HEARD_MAX];
};

static const char usage[] =
    "usage: onpty [--timeout SECONDS] [--size COLUMNSxROWS] [wait TEXT | send KEYS]... -- PROGRAM "
    "[WORD]...\n"
    "  wait TEXT  until the program says that; \\r, \\n, \\t, \\\\ and \\xHH stand for bytes\n"
    "  send KEYS  likewise\n"
    "  --timeout  for each step, 60 s if not given\n";

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static _Noreturn void give_up(struct talk *t, const char *what, const char *text)
{
    fflush(stdout);
    fprintf(stderr, "onpty: %s '%s'\n", what, text);
    if (t->pid > 0) {
        kill(t->pid, SIGKILL);
        waitpid(t->pid, NULL, 0);
    }
    exit(FAILED);
}

/* In place; returns the number of bytes. */
static size_t unescape(struct talk *t, char *text)
{
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        if (*p != '\\') {
            text[n++] = *p;
            continue;
        }
        char hex[3] = "";
        switch (*++p) {
        case 'r': text[n++] = '\r'; break;
        case 'n': text[n++] = '\n'; break;
        case 't': text[n++] = '\t'; break;
        case '\\': text[n++] = '\\'; break;
        case 'x':
            hex[0] = p[1];
            hex[1] = p[1] ? p[2] : '\0';
            if (!isxdigit((unsigned char)hex[0]) || !isxdigit((unsigned char)hex[1]))
                give_up(t, "there are no two hexadecimal digits after \\x in", text);
            text[n++] = (char)strtoul(hex, NULL, 16);
            p += 2;
            break;
        default: give_up(t, "there is an unknown \\ in", text);
        }
    }
    return n;
}

/* ---- the program ----------------------------------------------------------------------------- */

static _Noreturn void become(int tty, char **words)
{
    setsid();
    if (dup2(tty, 0) < 0 || dup2(tty, 1) < 0 || dup2(tty, 2) < 0 || ioctl(0, TIOCSCTTY, 0) < 0)
        _exit(FAILED);
    execvp(words[0], words);
    fprintf(stderr, "onpty: cannot run %s: %s\n", words[0], strerror(errno));
    _exit(127);
}

static void start(struct talk *t, const struct winsize *size, char **words)
{
    char name[64];
    t->tty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (t->tty < 0 || grantpt(t->tty) < 0 || unlockpt(t->tty) < 0 ||
        ptsname_r(t->tty, name, sizeof(name)) != 0 || ioctl(t->tty, TIOCSWINSZ, size) < 0)
        give_up(t, "no terminal can be made:", strerror(errno));
    /* The child's, open from the start on: without it, reading says that nobody is there. */
    int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    t->pid = slave < 0 ? -1 : fork();
    if (t->pid < 0)
        give_up(t, "no program can be started:", strerror(errno));
    if (t->pid == 0)
        become(slave, words);
    close(slave);
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Waits for room or output until the deadline, and takes output. */
static bool turn(struct talk *t, short events)
{
    struct pollfd p = {.fd = t->tty, .events = (short)(events | POLLIN)};
    double left = t->deadline - now();
    int n = left > 0 ? poll(&p, 1, (int)(left * 1000) + 1) : 0;
    if (n == 0)
        return false;
    if (t->n == HEARD_MAX) {
        memmove(t->heard, t->heard + HEARD_MAX / 2, HEARD_MAX / 2);
        t->n = HEARD_MAX / 2;
    }
    ssize_t got = read(t->tty, t->heard + t->n, HEARD_MAX - t->n);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        t->ended = true;
    if (got <= 0)
        return true;
    fwrite(t->heard + t->n, 1, (size_t)got, stdout);
    fflush(stdout);
    t->n += (size_t)got;
    return true;
}

static void wait_text(struct talk *t, const char *text, size_t len)
{
    const char *found;
    while (!(found = memmem(t->heard, t->n, text, len))) {
        if (t->ended)
            give_up(t, "the program ended without", text);
        if (!turn(t, 0))
            give_up(t, "the time is over for", text);
    }
    size_t before = (size_t)(found - t->heard) + len;
    t->n -= before;
    memmove(t->heard, t->heard + before, t->n);
}

static void send_keys(struct talk *t, const char *keys, size_t len)
{
    const char *rest = keys;
    while (len > 0) {
        ssize_t done = write(t->tty, rest, len);
        if (done < 0 && errno != EAGAIN && errno != EINTR)
            give_up(t, "the program does not take", keys);
        rest += done > 0 ? done : 0;
        len -= done > 0 ? (size_t)done : 0;
        if (len > 0 && (t->ended || !turn(t, POLLOUT)))
            give_up(t, "the program does not take", keys);
    }
}

static void step(struct talk *t, const char *what, char *text, double seconds)
{
    size_t len = text ? unescape(t, text) : 0;
    t->deadline = now() + seconds;
    if (!text || len == 0)
        give_up(t, "there is no text after", what);
    if (strcmp(what, "wait") == 0)
        wait_text(t, text, len);
    else if (strcmp(what, "send") == 0)
        send_keys(t, text, len);
    else
        give_up(t, "neither wait nor send:", what);
}

static int finish(struct talk *t, double seconds)
{
    int status = 0;
    t->deadline = now() + seconds;
    while (!t->ended)
        if (!turn(t, 0))
            give_up(t, "the time is over for", "its end");
    while (waitpid(t->pid, &status, WNOHANG) == 0) {
        if (now() > t->deadline)
            give_up(t, "the time is over for", "its end");
        poll(NULL, 0, 5); /* it has closed its terminal, so it is about to end */
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
    static struct talk t = {.tty = -1};
    struct winsize size = {.ws_col = 80, .ws_row = 24};
    double seconds = 60;
    int at = 1, end = 1;
    while (end < argc && strcmp(argv[end], "--") != 0)
        end++;
    for (; at + 1 < end && argv[at][0] == '-'; at += 2) {
        if (strcmp(argv[at], "--timeout") == 0)
            seconds = strtod(argv[at + 1], NULL);
        else if (strcmp(argv[at], "--size") != 0 ||
                 sscanf(argv[at + 1], "%hux%hu", &size.ws_col, &size.ws_row) != 2)
            break;
    }
    if (end + 1 >= argc || (end - at) % 2 != 0 || seconds <= 0) {
        fputs(usage, stderr);
        return FAILED;
    }
    start(&t, &size, argv + end + 1);
    for (; at < end; at += 2)
        step(&t, argv[at], argv[at + 1], seconds);
    return finish(&t, seconds);
}
