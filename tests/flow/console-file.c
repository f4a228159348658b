/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * console-file.c - rows of console.c: output to files, and what has to be refused, replaced or left
 * alone in the file system.
 */
#include "clock.h"
#include "console.h"
#include "snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLACK_KIB 512u
#define CWD in_dir(d, "i").s
#define ADD1 "{s:[s], s:s}", "devices"
#define ADD2 "{s:[s,s], s:s}", "devices"

/* ---- files ----------------------------------------------------------------------------------- */

/* A file that cannot grow: what is lost is counted, and the guest goes on. */
void console_file_full(struct daemon *d)
{
    const struct rlimit limit = {65536, 65536};
    struct stat st;
    MUST(daemon_add(d, "console:file,path=../log.txt,ring=1M,id=vm", NULL));
    CHECK(prlimit(d->pid, RLIMIT_FSIZE, &limit, NULL) == 0, "prlimit: %s", strerror(errno));
    MUST(condev_open(&guest, d, "vm", 2) && condev_send_all(&guest, TX, pattern(100000), 100000));
    MUST(daemon_counter_becomes(d, "vm", "dropped-bytes", 100000 - 65536));
    CHECK(daemon_counter(d, "vm", "file-errors") > 0, "no error of the file is counted");
    CHECK(stat(in_dir(d, "log.txt").s, &st) == 0 && st.st_size == 65536, "the file has %lld bytes",
          (long long)st.st_size);
    MUST(condev_send(&guest, TX, "on", 2) && daemon_alive(d));
    condev_close(&guest);
}

void console_file(struct daemon *d)
{
    static char text[2 * MIB];
    const char *bytes = pattern(MIB);
    MUST(daemon_add(d, "console:file,path=../log.txt,ring=2M,id=vm", NULL));
    MUST(condev_open(&guest, d, "vm", 2) && condev_send_all(&guest, TX, bytes, MIB));
    condev_close(&guest);
    MUST(daemon_remove(d, "vm", NULL)); /* what is left is written first */
    int fd = open(in_dir(d, "log.txt").s, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text));
    close(fd);
    CHECK(n == MIB && memcmp(text, bytes, MIB) == 0, "the file has %zd bytes", n);
    MUST(daemon_add(d, "console:file,path=../log.txt,id=vm", NULL)); /* appends */
    MUST(condev_open(&guest, d, "vm", 2) && condev_send(&guest, TX, "end\n", 4));
    condev_close(&guest);
    MUST(daemon_remove(d, "vm", NULL));
    struct stat st;
    CHECK(stat(in_dir(d, "log.txt").s, &st) == 0 && st.st_size == MIB + 4, "%lld bytes",
          (long long)st.st_size);
}

/* The daemon's standard output is its log here, its standard input /dev/null. */
void console_standard_output(struct daemon *d)
{
    static char text[65536];
    MUST(daemon_add(d, "console:stdio,id=vm", NULL));
    MUST(daemon_refuses(d, "another device|standard", "device.add", ADD1, "console:stdio", "cwd",
                        CWD));
    MUST(condev_open(&guest, d, "vm", 2) && condev_send(&guest, TX, "guest speaking\n", 15));
    condev_close(&guest);
    MUST(daemon_remove(d, "vm", NULL) && daemon_add(d, "console:stdio,id=vm", NULL));
    int fd = open(in_dir(d, "log").s, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    CHECK(has_text(text, "guest speaking\n"), "the guest's output is not in the daemon's");
}

/* ---- refusals -------------------------------------------------------------------------------- */

static int ptys(void)
{
    DIR *dir = opendir("/dev/pts");
    int n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* The plugins are loaded, nothing else is there. */
static bool warm(struct daemon *d, struct snapshot *s)
{
    return daemon_image(d, "a", MIB) && daemon_add(d, "console:socket,id=w", "blk:a,id=b", NULL) &&
           daemon_remove(d, "w", "b", NULL) && snapshot_take(s, d);
}

/* Others on this machine open terminals, too, and close them. */
static bool ptys_become(int before, const char *when)
{
    uint64_t deadline = clock_deadline(TIMEOUT_MS);
    while (ptys() != before && clock_left_ms(deadline) > 0)
        poll(NULL, 0, 20);
    return ptys() == before || row_fail("%s /dev/pts has %d entries, it had %d", when, ptys(),
                                        before);
}

static bool refuses(struct daemon *d, const struct snapshot *s, const char *spec, const char *parts)
{
    int before = ptys();
    if (!daemon_refuses(d, parts, "device.add", ADD1, spec, "cwd", CWD))
        return row_fail("%s", spec);
    if (!snapshot_returns(d, s, NULL, SLACK_KIB, spec))
        return false;
    return ptys_become(before, spec);
}

void console_refusals(struct daemon *d)
{
    static const char *const specs[][2] = {
        {"console:pty,link=none/vm.tty", "i/none|no directory"},
        {"console:pty,link=plain", "i/plain|not a link to a pty"},
        {"console:pty,link=elsewhere", "i/elsewhere|not a link to a pty"},
        {"console:socket,path=none/vm.sock", "i/none|no directory"},
        {"console:socket,path=plain", "i/plain|not a socket"},
        {"console:file,path=none/log", "none/log|No such file"},
        {"console:file,path=.", "Is a directory"},
        {"console:file,path=/dev/null", "not a regular file"},
        {"console:file", "needs a path"},
        {"console:stdio,path=x", "no path"},
        {"console:pty,path=x", "link= names it"},
        {"console:socket,link=x", "path= names it"},
        {"console:pty,name=a/b", "not a name"},
        {"console:pty,link=../one.tty,port=x:file:/proc/self/cwd/made,port=y:file:/none/z",
         "/none/z|No such file"},
        {"console:pty,port=a:pty,port=a:pty", "two ports|'a'"},
        {"console:pty,port=a:console:lossless", "lossless|console"},
        {"console:pty,port=a:tty", "none of console, lossless"},
        {"console:pty,port=a:file:relative", "does not start with '/'"},
        {"console:pty,ring=1K", "4K"},
    };
    struct snapshot s;
    char spec[512] = "console:socket,path=../";
    MUST(daemon_image(d, "plain", 10) && symlink("/etc/passwd", in_dir(d, "i/elsewhere").s) == 0);
    MUST(warm(d, &s));
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
        MUST(refuses(d, &s, specs[i][0], specs[i][1]));
    memset(spec + strlen(spec), 'x', 120);
    MUST(refuses(d, &s, spec, "xxxx|the limit is"));
    CHECK(access(in_dir(d, "i/plain").s, F_OK) == 0, "the file in the way is gone");
    size_t n = (size_t)snprintf(spec, sizeof(spec), "console:pty");
    for (int i = 0; i < 32; i++)
        n += (size_t)snprintf(spec + n, sizeof(spec) - n, ",port=p%d", i);
    MUST(refuses(d, &s, spec, "more than 32 ports"));
    snapshot_free(&s);
}

void console_in_use(struct daemon *d)
{
    struct snapshot s;
    int before = ptys();
    MUST(warm(d, &s));
    MUST(daemon_add(d, "console:pty,link=../x.tty,id=x", "console:socket,path=../y.sock,id=y",
                    NULL));
    MUST(daemon_refuses(d, "x.tty|in use", "device.add", ADD1, "console:pty,link=../x.tty", "cwd",
                        CWD));
    MUST(daemon_refuses(d, "y.sock|in use", "device.add", ADD1, "console:socket,path=../y.sock",
                        "cwd", CWD));
    int fd = connect_to(d, "y.sock");
    MUST(fd >= 0);
    close(fd);
    MUST(daemon_remove(d, "x", "y", NULL));
    MUST(snapshot_returns(d, &s, NULL, SLACK_KIB, "after the removal"));
    MUST(ptys_become(before, "after the removal"));
    snapshot_free(&s);
}

/* Both or none, also if the plugin that fails is another one. */
void console_console_and_wrong_blk(struct daemon *d)
{
    struct snapshot s;
    char text[64];
    int before = ptys();
    MUST(warm(d, &s));
    MUST(daemon_refuses(d, "missing|No such file", "device.add", ADD2,
                        "console:pty,link=../vm.tty,port=l:file:/proc/self/cwd/new.log,id=c",
                        "blk:missing,id=disk", "cwd", CWD));
    CHECK(strcmp(error_member(d, "device"), "disk") == 0, "the error names device \"%s\"",
          error_member(d, "device"));
    MUST(snapshot_returns(d, &s, NULL, SLACK_KIB, "after the refusal"));
    MUST(ptys_become(before, "after the refusal"));
    MUST(daemon_add(d, "console:pty,link=../vm.tty,id=c", "blk:a,id=disk", NULL));
    MUST(condev_open(&guest, d, "c", 2) && condev_send(&guest, TX, "both\n", 5));
    int tty = open_tty(d, "vm.tty");
    MUST(tty >= 0 && read_until(tty, text, sizeof(text), "both\n"));
    close(tty);
    condev_close(&guest);
    snapshot_free(&s);
}

/* What a daemon left that was killed is replaced; what is not ours stays. */
void console_left_behind(struct daemon *d)
{
    char target[64] = "";
    MUST(daemon_add(d, "console:pty,link=../x.tty,id=x", "console:socket,path=../y.sock,id=y",
                    NULL));
    kill(d->pid, SIGKILL);
    CHECK(daemon_wait(d, TIMEOUT_MS) == 128 + SIGKILL, "SIGKILL did not end the daemon");
    CHECK(readlink(in_dir(d, "x.tty").s, target, sizeof(target)) > 0, "the link is gone");
    MUST(daemon_start(d));
    MUST(daemon_add(d, "console:pty,link=../x.tty,id=x", "console:socket,path=../y.sock,id=y",
                    NULL));
    int fd = connect_to(d, "y.sock");
    MUST(fd >= 0);
    close(fd);
    CHECK(unlink(in_dir(d, "x.tty").s) == 0 && symlink("/mine", in_dir(d, "x.tty").s) == 0, "%s",
          strerror(errno));
    MUST(daemon_remove(d, "x", "y", NULL));
    CHECK(readlink(in_dir(d, "x.tty").s, target, sizeof(target)) == 5, "somebody's link is gone");
    CHECK(access(in_dir(d, "y.sock").s, F_OK) < 0, "the socket is still there");
}
