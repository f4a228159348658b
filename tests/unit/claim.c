/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * claim.c - tests of util/claim.c: who owns a socket path, what failures leave behind. Plain main,
 * one thread; prints TAP. Works in a directory of its own.
 */
#include "util/claim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures, tests;

#define CHECK(CONDITION)                                                                           \
    do {                                                                                           \
        if (!(CONDITION)) {                                                                        \
            failures++;                                                                            \
            printf("# line %d: %s\n", __LINE__, #CONDITION);                                       \
        }                                                                                          \
    } while (0)

static int entries(const char *path)
{
    int n = -2; /* . and .. */
    DIR *dir = opendir(path);
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static int open_files(void)
{
    return entries("/proc/self/fd");
}

static void touch(const char *path)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    close(fd);
}

static int try_connect(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(a.sun_path, path);
    int rc = connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? errno : 0;
    close(fd);
    return rc;
}

static void test_good(void)
{
    struct claim c;
    struct error e = {0};
    struct stat st;
    CHECK(claim_socket(&c, "a.sock", SOCK_STREAM, 0640, &e) == 0 && e.err == 0);
    CHECK(lstat("a.sock", &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == 0640);
    CHECK(st.st_ino == c.ino && st.st_dev == c.dev);
    CHECK(lstat("a.sock.lock", &st) == 0 && (st.st_mode & 07777) == 0600);
    CHECK(fcntl(c.fd, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(c.fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(c.lock_fd, F_GETFD) & FD_CLOEXEC);
    CHECK(try_connect("a.sock") == ECONNREFUSED);
    CHECK(listen(c.fd, 1) == 0 && try_connect("a.sock") == 0);
    claim_release(&c);
    CHECK(!c.path && entries(".") == 0);
    claim_release(&c); /* nothing more to do */
}

static void test_twice(void)
{
    struct claim c, d;
    struct error e = {0};
    CHECK(claim_socket(&c, "a.sock", SOCK_STREAM, 0600, &e) == 0);
    CHECK(claim_socket(&d, "a.sock", SOCK_STREAM, 0600, &e) == -EADDRINUSE);
    CHECK(strstr(e.text, "a.sock") && strstr(e.text, "in use"));
    CHECK(!d.path && entries(".") == 2);
    claim_release(&d);
    CHECK(entries(".") == 2);
    claim_release(&c);
    memset(&e, 0, sizeof(e));
    CHECK(claim_socket(&d, "a.sock", SOCK_STREAM, 0600, &e) == 0);
    claim_release(&d);
}

/* A process that dies with a claim leaves two files; the next owner replaces them. */
static void test_stale(void)
{
    struct claim c;
    struct error e = {0};
    struct stat old, new;
    int status = 1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(claim_socket(&c, "a.sock", SOCK_STREAM, 0600, &e) == 0 ? 0 : 1);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(entries(".") == 2 && lstat("a.sock", &old) == 0);
    int keep = open("a.sock", O_PATH | O_CLOEXEC); /* so that the inode number is not used again */
    CHECK(claim_socket(&c, "a.sock", SOCK_STREAM, 0600, &e) == 0);
    CHECK(lstat("a.sock", &new) == 0 && new.st_ino != old.st_ino);
    close(keep);
    claim_release(&c);
    CHECK(entries(".") == 0);
}

static void test_other_process(void)
{
    struct claim c;
    struct error e = {0};
    int up[2], down[2], status = 1;
    char byte = 0;
    CHECK(pipe2(up, O_CLOEXEC) == 0 && pipe2(down, O_CLOEXEC) == 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(down[1]);
        byte = claim_socket(&c, "a.sock", SOCK_STREAM, 0600, &e) == 0 ? 'y' : 'n';
        if (write(up[1], &byte, 1) != 1 || read(down[0], &byte, 1) != 0)
            _exit(1);
        claim_release(&c);
        _exit(0);
    }
    CHECK(read(up[0], &byte, 1) == 1 && byte == 'y');
    CHECK(claim_socket(&c, "a.sock", SOCK_STREAM, 0600, &e) == -EADDRINUSE);
    close(down[1]);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    close(down[0]);
    close(up[0]);
    close(up[1]);
    CHECK(entries(".") == 0);
}

/* Somebody replaced our socket: it is not ours to remove. */
static void test_replaced(void)
{
    struct claim c;
    struct error e = {0};
    CHECK(claim_socket(&c, "a.sock", SOCK_STREAM, 0600, &e) == 0);
    CHECK(rename("a.sock", "b.sock") == 0);
    touch("a.sock");
    claim_release(&c);
    CHECK(access("a.sock", F_OK) == 0 && access("a.sock.lock", F_OK) < 0);
    CHECK(unlink("a.sock") == 0 && unlink("b.sock") == 0);
}

/* The lock file loses its name between open and lock: the lock that counts is the new file's. */
static void test_lock_renewed(void)
{
    struct claim c;
    struct error e = {0};
    int old = open("a.sock.lock", O_CREAT | O_RDONLY | O_CLOEXEC, 0600);
    CHECK(flock(old, LOCK_EX | LOCK_NB) == 0);
    CHECK(claim_socket(&c, "a.sock", SOCK_STREAM, 0600, &e) == -EADDRINUSE);
    CHECK(unlink("a.sock.lock") == 0);
    memset(&e, 0, sizeof(e));
    CHECK(claim_socket(&c, "a.sock", SOCK_STREAM, 0600, &e) == 0);
    close(old);
    claim_release(&c);
    CHECK(entries(".") == 0);
}

static void refuse(const char *path, int err, const char *word)
{
    struct claim c;
    struct error e = {0};
    int files = open_files(), before = entries(".");
    CHECK(claim_socket(&c, path, SOCK_STREAM, 0600, &e) == -err);
    if (e.err != err || !strstr(e.text, word))
        printf("# %s: %d \"%s\"\n", path, e.err, e.text);
    CHECK(e.err == err && strstr(e.text, word));
    CHECK(!c.path && open_files() == files && entries(".") == before);
}

static void test_refusals(void)
{
    char longest[CLAIM_PATH_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    longest[CLAIM_PATH_MAX + 1] = '\0';
    refuse(longest, ENAMETOOLONG, "has 108 bytes, the limit is 107");
    refuse("", EINVAL, "empty");
    refuse("none/a.sock", ENOENT, "no directory none");
    touch("file");
    refuse("file", EEXIST, "is not a socket");
    refuse("file/a.sock", ENOTDIR, "no directory file");
    CHECK(symlink("file", "link.lock") == 0);
    refuse("link", ELOOP, "lock file link.lock");
    CHECK(unlink("link.lock") == 0);
    CHECK(mkdir("dir", 0700) == 0);
    refuse("dir", EEXIST, "is not a socket");
    bool root = geteuid() == 0;
    CHECK(chmod("dir", 0500) == 0);
    CHECK(!root || (chmod(".", 0711) == 0 && seteuid(65534) == 0)); /* root may write anywhere */
    refuse("dir/a.sock", EACCES, "not writable");
    CHECK(!root || seteuid(0) == 0);
    CHECK(rmdir("dir") == 0 && unlink("file") == 0);
}

static void test_longest(void)
{
    char path[CLAIM_PATH_MAX + 1];
    struct claim c;
    struct error e = {0};
    memset(path, 'x', CLAIM_PATH_MAX);
    path[CLAIM_PATH_MAX] = '\0';
    CHECK(claim_socket(&c, path, SOCK_STREAM, 0600, &e) == 0);
    claim_release(&c);
    CHECK(entries(".") == 0);
}

static void run(const char *name, void (*test)(void))
{
    int before = failures, files = open_files();
    test();
    CHECK(open_files() == files);
    CHECK(entries(".") == 0);
    printf("%s %d - %s\n", failures == before ? "ok" : "not ok", ++tests, name);
}

int main(void)
{
    char dir[] = "/tmp/test-claim.XXXXXX";
    if (!mkdtemp(dir) || chdir(dir) < 0)
        return 99;
    run("claim and release", test_good);
    run("a second claim in the same process is refused", test_twice);
    run("what a dead process left is replaced", test_stale);
    run("a claim of another process is refused", test_other_process);
    run("a replaced socket is left alone", test_replaced);
    run("a lock on a file without a name does not count", test_lock_renewed);
    run("refusals name the cause and leave nothing", test_refusals);
    run("the longest path works", test_longest);
    printf("1..%d\n", tests);
    if (chdir("/") == 0)
        rmdir(dir);
    return failures ? 1 : 0;
}
