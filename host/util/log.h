/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log.h - one line at a time to stderr or syslog, from any thread; errno is preserved.
 *
 * The level can change while the daemon runs. Text that a guest or a peer can cause goes through a
 * struct log_limit, so that it cannot fill a disk.
 */
#ifndef HOST_UTIL_LOG_H
#define HOST_UTIL_LOG_H

#include <hvv/host.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Levels are those of enum hvv_log_level. */
void log_use_syslog(const char *ident);
void log_set_level(uint32_t level);
uint32_t log_level(void);

/* "error", "warning", "info", "debug"; -1 / NULL for anything else. */
int log_level_parse(const char *name);
const char *log_level_name(uint32_t level);

/* `device` may be NULL: then the line is about the daemon. */
void log_write(uint32_t level, const char *device, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void log_vwrite(uint32_t level, const char *device, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));

#define log_error(...) log_write(HVV_LOG_ERROR, NULL, __VA_ARGS__)
#define log_warning(...) log_write(HVV_LOG_WARNING, NULL, __VA_ARGS__)
#define log_info(...) log_write(HVV_LOG_INFO, NULL, __VA_ARGS__)
#define log_debug(...) log_write(HVV_LOG_DEBUG, NULL, __VA_ARGS__)

/* At most LOG_LIMIT_LINES lines in LOG_LIMIT_SECONDS. Zero-initialised. Any thread. */
#define LOG_LIMIT_LINES 10
#define LOG_LIMIT_SECONDS 10
struct log_limit {
    _Atomic int64_t window; /* number of the current period */
    _Atomic uint32_t lines; /* written in it */
};

/* True if a line may be written now; *dropped is how many were not in the period before. */
bool log_limit_ok(struct log_limit *limit, uint32_t *dropped);

#endif
