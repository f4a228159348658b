/* SPDX-License-Identifier: BSD-3-Clause */
/* report.c - see report.h. Main thread, but for row_fail(). */
#include "report.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOT_RUN 77

enum verdict { PASSED, FAILED, SKIPPED };

struct request_flags flags;

static struct {
    pthread_mutex_t lock;
    enum verdict verdict;
    char reason[2048];
    void (*end)(void *arg);
    void *end_arg;
} current = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A failure beats a skip. */
__attribute__((format(printf, 2, 0))) static void conclude(enum verdict verdict,
                                                           const char *format, va_list args)
{
    pthread_mutex_lock(&current.lock);
    if (current.verdict == PASSED || (current.verdict == SKIPPED && verdict == FAILED)) {
        current.verdict = verdict;
        vsnprintf(current.reason, sizeof(current.reason), format, args);
    }
    pthread_mutex_unlock(&current.lock);
}

bool row_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    conclude(FAILED, format, args);
    va_end(args);
    return false;
}

bool row_skip(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    conclude(SKIPPED, format, args);
    va_end(args);
    return false;
}

bool row_failed(void)
{
    pthread_mutex_lock(&current.lock);
    bool failed = current.verdict == FAILED;
    pthread_mutex_unlock(&current.lock);
    return failed;
}

bool row_forgive(char *reason, size_t size)
{
    pthread_mutex_lock(&current.lock);
    bool failed = current.verdict == FAILED;
    if (failed) {
        snprintf(reason, size, "%s", current.reason);
        current.verdict = PASSED;
    }
    pthread_mutex_unlock(&current.lock);
    return failed;
}

void row_at_end(void (*end)(void *arg), void *arg)
{
    current.end = end;
    current.end_arg = arg;
}

void row_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("# ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
}

static enum verdict run_row(const struct row *row)
{
    static const struct daemon_options plain;
    static struct daemon d;
    current.verdict = PASSED;
    if (daemon_prepare(&d, row->options ? row->options : &plain) &&
        (d.options->no_start || daemon_start(&d))) {
        d.arg = row->arg;
        row->run(&d);
    }
    if (current.end)
        current.end(current.end_arg);
    current.end = NULL;
    if (d.pid > 0 && !row_failed() && daemon_stop(&d))
        daemon_left_nothing(&d);
    if (row_failed())
        daemon_print_log(&d);
    daemon_clean(&d);
    return current.verdict;
}

static void print(const char *name, enum verdict verdict)
{
    static const char *const words[] = {"ok", "not ok", "skip"};
    size_t len = strlen(current.reason);
    while (len > 0 && current.reason[len - 1] == '\n')
        current.reason[--len] = '\0';
    printf("%s %s%s%s\n", words[verdict], name, verdict == PASSED ? "" : ": ",
           verdict == PASSED ? "" : current.reason);
    fflush(stdout);
}

static void usage(const char *program)
{
    fprintf(stderr, "usage: %s [--all] [--seconds N] [ROW...]\n", program);
    exit(2);
}

static int parse(int argc, char **argv)
{
    const char *all = getenv("HVV_TEST_ALL");
    flags.all = all && strcmp(all, "1") == 0; /* scripts/test --all */
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--all") == 0)
            flags.all = true;
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc && atoi(argv[i + 1]) > 0)
            flags.seconds = (unsigned)atoi(argv[++i]);
        else
            usage(argv[0]);
    }
    return i;
}

static bool wanted(const char *name, char **names, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return n == 0;
}

int report_run(int argc, char **argv, const struct row *rows, size_t n)
{
    unsigned counts[3] = {0};
    int first = parse(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < n; i++) {
        if (!wanted(rows[i].name, argv + first, argc - first))
            continue;
        enum verdict verdict = run_row(&rows[i]);
        print(rows[i].name, verdict);
        counts[verdict]++;
    }
    printf("%u passed, %u failed, %u skipped\n", counts[PASSED], counts[FAILED], counts[SKIPPED]);
    if (counts[FAILED])
        return 1;
    return counts[PASSED] ? 0 : NOT_RUN;
}
