/* SPDX-License-Identifier: BSD-3-Clause */
/* log.c - see log.h. Any thread: a line is formatted on the stack and written by one call. */
#include "util/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static _Atomic uint32_t max_level = HVV_LOG_INFO;
static atomic_bool to_syslog;

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const int syslog_levels[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
#define LEVELS (sizeof(level_names) / sizeof(level_names[0]))

void log_use_syslog(const char *ident)
{
    openlog(ident, LOG_PID | LOG_NDELAY, LOG_DAEMON);
    atomic_store(&to_syslog, true);
}

void log_set_level(uint32_t level)
{
    atomic_store(&max_level, level < LEVELS ? level : HVV_LOG_DEBUG);
}

uint32_t log_level(void)
{
    return atomic_load(&max_level);
}

int log_level_parse(const char *name)
{
    for (size_t i = 0; i < LEVELS; i++)
        if (strcmp(name, level_names[i]) == 0)
            return (int)i;
    return -1;
}

const char *log_level_name(uint32_t level)
{
    return level < LEVELS ? level_names[level] : NULL;
}

void log_vwrite(uint32_t level, const char *device, const char *fmt, va_list args)
{
    if (level >= LEVELS || level > log_level())
        return;
    int saved = errno;
    char line[1024];
    int n = 0;
    if (!atomic_load(&to_syslog))
        n = snprintf(line, sizeof(line), "hvisor-vhost: %s: ", level_names[level]);
    if (device)
        n += snprintf(line + n, sizeof(line) - (size_t)n, "%s: ", device);
    int text = vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, args);
    if (text > 0)
        n += text;
    if (n > (int)sizeof(line) - 2)
        n = sizeof(line) - 2;
    for (int i = 0; i < n; i++)
        if ((unsigned char)line[i] < ' ')
            line[i] = '?'; /* what a peer wrote must not forge a second line */
    if (atomic_load(&to_syslog)) {
        syslog(syslog_levels[level], "%.*s", n, line);
    } else {
        line[n++] = '\n';
        ssize_t written = write(STDERR_FILENO, line, (size_t)n);
        (void)written; /* there is nowhere left to complain */
    }
    errno = saved;
}

void log_write(uint32_t level, const char *device, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_vwrite(level, device, fmt, args);
    va_end(args);
}

bool log_limit_ok(struct log_limit *limit, uint32_t *dropped)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    int64_t window = now.tv_sec / LOG_LIMIT_SECONDS + 1;
    *dropped = 0;
    int64_t seen = atomic_load(&limit->window);
    if (seen != window && atomic_compare_exchange_strong(&limit->window, &seen, window)) {
        uint32_t before = atomic_exchange(&limit->lines, 0);
        if (before > LOG_LIMIT_LINES)
            *dropped = before - LOG_LIMIT_LINES;
    }
    return atomic_fetch_add(&limit->lines, 1) < LOG_LIMIT_LINES;
}
