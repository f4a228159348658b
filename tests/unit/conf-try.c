/* SPDX-License-Identifier: BSD-3-Clause */
/* conf-try.c - see conf-try.h. */
#include "conf-try.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARGS_MAX 32

/* Words separated by a space; getopt moves them about, so they are copied. */
int parse(struct conf *conf, const char *line, struct error *error)
{
    char name[] = "hvisor-vhost", copy[1024], *argv[ARGS_MAX + 1] = {name}, *save = NULL;
    int argc = 1;
    cr_assert_lt(snprintf(copy, sizeof(copy), "%s", line), (int)sizeof(copy));
    for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        cr_assert_lt(argc, ARGS_MAX);
        argv[argc++] = word;
    }
    memset(error, 0, sizeof(*error));
    return conf_parse(conf, argc, argv, error);
}

void expect_empty(const struct conf *conf)
{
    static const struct conf empty;
    cr_assert_eq(memcmp(conf, &empty, sizeof(empty)), 0, "settings are left over");
}

void good(struct conf *conf, const char *line)
{
    struct error error;
    cr_assert_eq(parse(conf, line, &error), 0, "%s: %s", line, error.text);
}

void bad(const char *line, const char *says)
{
    struct conf conf;
    struct error error;
    int rc = parse(&conf, line, &error);
    cr_assert_lt(rc, 0, "accepted: %s", line);
    cr_assert_eq(rc, -error.err);
    cr_assert(strstr(error.text, says), "\"%s\" is not in \"%s\"", says, error.text);
    expect_empty(&conf);
}

void dir_make(struct dir *dir)
{
    char made[] = "/tmp/hvv-conf-XXXXXX";
    cr_assert(mkdtemp(made));
    cr_assert(realpath(made, dir->path));
    cr_assert_eq(chdir(dir->path), 0);
    cr_assert_eq(mkdir("sub", 0700), 0);
}

void dir_remove(const struct dir *dir)
{
    unlink("sub/f");
    cr_assert_eq(rmdir("sub"), 0);
    cr_assert_eq(chdir("/"), 0);
    cr_assert_eq(rmdir(dir->path), 0);
}

void write_bytes(const void *bytes, size_t len)
{
    int fd = open("sub/f", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    close(fd);
}

void write_text(const char *text)
{
    write_bytes(text, strlen(text));
}

void good_file(struct conf *conf, const char *text)
{
    write_text(text);
    good(conf, "-c sub/f");
}

void bad_file(const char *text, const char *says)
{
    write_bytes(text, strlen(text));
    bad("-c sub/f", says);
}

void expect_path(const struct dir *dir, const char *path, const char *under)
{
    char wanted[128];
    snprintf(wanted, sizeof(wanted), "%s/%s", dir->path, under);
    cr_assert_str_eq(path, wanted);
}

void expect_spec(const struct spec *spec, const char *wanted)
{
    char *text = spec_format(spec);
    cr_assert_str_eq(text, wanted);
    free(text);
}
