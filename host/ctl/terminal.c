/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * terminal.c - see terminal.h. Signals arrive through a signalfd, so that everything happens in one
 * loop and the terminal is put right whatever ends the program, short of SIGKILL.
 */
#include "ctl/terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#define BUFFER_SIZE 4096
#define KEYS_SIZE 65536 /* keys are read while they find room here: the escape key is seen */

enum { ON_KEYS, ON_STREAM, ON_SIGNALS, ON_CLIENT, ON_ROOM, POLLED };

/* Keys that wait for the stream to take them; output is written at once, to a terminal. */
struct session {
    const struct terminal *terminal;
    int signals;
    int signum;       /* that ends the program, or 0 */
    bool left, ended; /* by the escape key; by the other side */
    bool client_ended;
    size_t n_keys;
    char keys[KEYS_SIZE];
};

static bool again(void)
{
    return errno == EAGAIN || errno == EINTR;
}

static bool write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, bytes, n);
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (done < 0 && errno == EAGAIN)
            (void)poll(&p, 1, -1);
        else if (done < 0 && errno != EINTR)
            return false;
        if (done > 0) {
            bytes += done;
            n -= (size_t)done;
        }
    }
    return true;
}

/* ---- window ---------------------------------------------------------------------------------- */

static void tell_size(struct session *s)
{
    const struct terminal *t = s->terminal;
    struct winsize size;
    char columns[16], rows[16];
    if (!t->window || s->client_ended || ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0 ||
        size.ws_col == 0 || size.ws_row == 0)
        return;
    snprintf(columns, sizeof(columns), "%u", size.ws_col);
    snprintf(rows, sizeof(rows), "%u", size.ws_row);
    json_object_set_new(t->params, "columns", json_string(columns));
    json_object_set_new(t->params, "rows", json_string(rows));
    client_tell(t->client, "device.command",
                json_pack("{s:s, s:s, s:O}", "id", t->device, "command", t->window, "params",
                          t->params));
}

static void take_signal(struct session *s)
{
    struct signalfd_siginfo info;
    if (read(s->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGWINCH)
        tell_size(s);
    else
        s->signum = (int)info.ssi_signo;
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* How many of `n` keys come before the escape key. */
static size_t until_escape(struct session *s, const char *keys, size_t n)
{
    int key = s->terminal->escape;
    const char *escape = key >= 0 ? memchr(keys, key, n) : NULL;
    s->left = escape != NULL;
    return escape ? (size_t)(escape - keys) : n;
}

static void take_keys(struct session *s)
{
    char *room = s->keys + s->n_keys;
    ssize_t n = read(STDIN_FILENO, room, sizeof(s->keys) - s->n_keys);
    if (n > 0)
        s->n_keys += until_escape(s, room, (size_t)n);
    else if (n == 0 || !again())
        s->left = true; /* the terminal is gone */
}

static void send_keys(struct session *s)
{
    ssize_t n = send(s->terminal->fd, s->keys, s->n_keys, MSG_DONTWAIT);
    if (n < 0 && errno == ENOTSOCK)
        n = write(s->terminal->fd, s->keys, s->n_keys < BUFFER_SIZE ? s->n_keys : BUFFER_SIZE);
    if (n < 0 && !again())
        s->ended = true;
    if (n <= 0)
        return;
    s->n_keys -= (size_t)n;
    memmove(s->keys, s->keys + n, s->n_keys);
}

static void take_output(struct session *s)
{
    char bytes[BUFFER_SIZE];
    ssize_t n = read(s->terminal->fd, bytes, sizeof(bytes));
    if (n == 0 || (n < 0 && !again()))
        s->ended = true;
    else if (n > 0 && !write_all(STDOUT_FILENO, bytes, (size_t)n))
        s->left = true;
}

/* ---- loop ------------------------------------------------------------------------------------ */

static void turn(struct session *s)
{
    int fd = s->terminal->fd;
    struct pollfd p[POLLED] = {
        [ON_KEYS] = {.fd = s->n_keys < KEYS_SIZE ? STDIN_FILENO : -1, .events = POLLIN},
        [ON_STREAM] = {.fd = fd, .events = POLLIN},
        [ON_SIGNALS] = {.fd = s->signals, .events = POLLIN},
        [ON_CLIENT] = {.fd = s->client_ended ? -1 : s->terminal->client->fd, .events = POLLIN},
        [ON_ROOM] = {.fd = s->n_keys ? fd : -1, .events = POLLOUT},
    };
    if (poll(p, POLLED, -1) < 0)
        return;
    if (p[ON_SIGNALS].revents)
        take_signal(s);
    if (p[ON_CLIENT].revents)
        s->client_ended = !client_discard(s->terminal->client);
    if (p[ON_STREAM].revents)
        take_output(s);
    if (p[ON_KEYS].revents)
        take_keys(s);
    if (p[ON_ROOM].revents)
        send_keys(s);
}

/* The keys before the escape key are sent, if that needs no waiting. */
static void loop(struct session *s)
{
    tell_size(s);
    while (!s->left && !s->ended && !s->signum)
        turn(s);
    if (s->left && s->n_keys)
        send_keys(s);
}

static int signals_open(sigset_t *old)
{
    static const int wanted[] = {SIGWINCH, SIGTERM, SIGHUP, SIGINT, SIGQUIT};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        sigaddset(&set, wanted[i]);
    sigprocmask(SIG_BLOCK, &set, old);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void say_attached(const struct terminal *t)
{
    char key[16] = "no key";
    if (t->escape >= 0)
        snprintf(key, sizeof(key), "Ctrl-%c", t->escape ^ 0x40);
    fprintf(stderr, "[%s: attached, %s leaves]\n", t->device, key);
}

static int run_raw(struct session *s, const struct termios *before)
{
    struct termios raw = *before;
    cfmakeraw(&raw);
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0)
        return complain(CTL_REFUSED, "the terminal cannot be made raw: %s", strerror(errno));
    loop(s);
    tcsetattr(STDIN_FILENO, TCSADRAIN, before);
    fprintf(stderr, "\n[%s: %s]\n", s->terminal->device,
            s->left ? "left" : s->ended ? "ended by the daemon" : "interrupted");
    return CTL_OK;
}

int terminal_run(const struct terminal *terminal)
{
    struct session s = {.terminal = terminal};
    struct termios before;
    sigset_t old;
    int rc;
    fflush(stdout);
    signal(SIGPIPE, SIG_IGN);
    s.signals = signals_open(&old);
    if (s.signals < 0 || tcgetattr(STDIN_FILENO, &before) < 0) {
        rc = complain(CTL_REFUSED, "the terminal cannot be used: %s", strerror(errno));
    } else {
        say_attached(terminal);
        rc = run_raw(&s, &before);
    }
    if (s.signals >= 0)
        close(s.signals);
    close(terminal->fd);
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (s.signum)
        raise(s.signum); /* ends it the way the sender meant */
    return rc;
}
