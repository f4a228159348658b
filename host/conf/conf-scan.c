/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conf-scan.c - see conf-scan.h. Knows the words of libconfig's language, not its grammar: what is
 * no string, comment, name or number is skipped. Pure; no thread of its own.
 */
#include "conf/conf-scan.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 16u /* of brackets; a good file needs 5, and libconfig recurses */

struct scan {
    const char *at;
    const char *file;
    unsigned line, depth;
    struct error *error;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int not_closed(struct scan *scan, const char *what, unsigned line)
{
    return error_set(scan->error, EINVAL, "%s:%u: this %s does not end: close it", scan->file, line,
                     what);
}

static void skip_line(struct scan *scan)
{
    scan->at += strcspn(scan->at, "\n");
}

static int skip_comment(struct scan *scan)
{
    unsigned line = scan->line;
    for (scan->at += 2; *scan->at; scan->at++) {
        if (scan->at[0] == '*' && scan->at[1] == '/') {
            scan->at += 2;
            return 0;
        }
        scan->line += *scan->at == '\n';
    }
    return not_closed(scan, "comment", line);
}

static int skip_string(struct scan *scan)
{
    unsigned line = scan->line;
    for (scan->at++; *scan->at; scan->at++) {
        if (*scan->at == '"') {
            scan->at++;
            return 0;
        }
        if (scan->at[0] == '\\' && (scan->at[1] == '\\' || scan->at[1] == '"'))
            scan->at++;
        scan->line += *scan->at == '\n';
    }
    return not_closed(scan, "string", line);
}

static void skip_name(struct scan *scan)
{
    while (isalnum((unsigned char)*scan->at) || (*scan->at && strchr("-_*", *scan->at)))
        scan->at++;
}

/* What makes a number a fraction, which is no setting's value, so only its end matters. */
static bool skip_fraction(struct scan *scan)
{
    const char *start = scan->at;
    if (*scan->at == '.')
        scan->at += 1 + strspn(scan->at + 1, "0123456789");
    if (*scan->at == 'e' || *scan->at == 'E') {
        const char *exponent = scan->at + 1;
        exponent += *exponent == '+' || *exponent == '-';
        if (is_digit(*exponent))
            scan->at = exponent + strspn(exponent, "0123456789");
    }
    return scan->at > start;
}

/* At a digit, perhaps behind a sign. */
static int check_number(struct scan *scan)
{
    const char *start = scan->at;
    bool negative = *start == '-';
    scan->at += *start == '-' || *start == '+';
    bool hex = scan->at[0] == '0' && (scan->at[1] | 0x20) == 'x' &&
               isxdigit((unsigned char)scan->at[2]);
    errno = 0;
    char *end;
    unsigned long long n = strtoull(scan->at, &end, hex ? 16 : 10);
    unsigned long long limit = (unsigned long long)INT_MAX + negative;
    bool too_large = errno == ERANGE || n > limit;
    scan->at = end;
    int len = end - start > 40 ? 40 : (int)(end - start);
    if (!too_large || (!hex && skip_fraction(scan)))
        return 0;
    return error_set(scan->error, EINVAL, "%s:%u: the number %.*s does not fit in 32 bits: write "
                     "it as a string, in double quotes", scan->file, scan->line, len, start);
}

static int bracket(struct scan *scan)
{
    char c = *scan->at++;
    if (c == '(' || c == '[' || c == '{')
        scan->depth++;
    else if (scan->depth > 0)
        scan->depth--;
    if (scan->depth <= DEPTH_MAX)
        return 0;
    return error_set(scan->error, EINVAL, "%s:%u: brackets are nested more than %u deep: no "
                     "setting needs that", scan->file, scan->line, DEPTH_MAX);
}

static int step(struct scan *scan)
{
    char c = scan->at[0], next = scan->at[1];
    if (c == '#' || (c == '/' && next == '/'))
        skip_line(scan);
    else if (c == '/' && next == '*')
        return skip_comment(scan);
    else if (c == '"')
        return skip_string(scan);
    else if (isalpha((unsigned char)c) || c == '*')
        skip_name(scan);
    else if (is_digit(c) || ((c == '-' || c == '+') && is_digit(next)))
        return check_number(scan);
    else if (c == '.')
        skip_fraction(scan);
    else if (strchr("()[]{}", c))
        return bracket(scan);
    else if (c == '@')
        return error_set(scan->error, EINVAL, "%s:%u: '@' (as in @include) is not supported: put "
                         "all settings in one file", scan->file, scan->line);
    else
        scan->line += *scan->at++ == '\n';
    return 0;
}

int conf_scan(const char *text, const char *file, struct error *error)
{
    struct scan scan = {.at = text, .file = file, .line = 1, .error = error};
    int rc = 0;
    while (*scan.at && rc == 0)
        rc = step(&scan);
    return rc;
}
