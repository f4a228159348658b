/* SPDX-License-Identifier: BSD-3-Clause */
/* spec.c - see spec.h. */
#include "spec.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WORD_MAX 15u

__attribute__((format(printf, 3, 4)))
static int refuse(char *error, size_t size, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(error, size, fmt, args);
    va_end(args);
    return -EINVAL;
}

bool port_name_ok(const char *name, char *error, size_t size)
{
    size_t len = strlen(name);
    bool ok = len >= 1 && len <= MESSAGE_NAME_MAX && name[0] != '.';
    for (size_t i = 0; i < len && ok; i++)
        ok = name[i] > ' ' && name[i] < 0x7f && name[i] != '/' && name[i] != ':' && name[i] != '=';
    if (!ok)
        refuse(error, size, "'%.80s' is not a name of a port: it has 1 to %u letters, digits and "
               "marks, but no '/', ':', '=' or space, and no '.' in front", name, MESSAGE_NAME_MAX);
    return ok;
}

/* The next word up to a ':', without it; false if it is too long to be one of ours. */
static bool next_word(const char **text, char word[WORD_MAX + 1])
{
    size_t len = strcspn(*text, ":");
    if (len > WORD_MAX)
        return false;
    memcpy(word, *text, len);
    word[len] = '\0';
    *text += len + ((*text)[len] == ':');
    return true;
}

static bool is_backend(const char *word)
{
    return strcmp(word, "pty") == 0 || strcmp(word, "socket") == 0 || strcmp(word, "file") == 0 ||
           strcmp(word, "stdio") == 0;
}

int port_spec_parse(struct port_spec *spec, const char *text, char *error, size_t size)
{
    const char *whole = text;
    char word[WORD_MAX + 1];
    memset(spec, 0, sizeof(*spec));
    size_t len = strcspn(text, ":");
    snprintf(spec->name, sizeof(spec->name), "%.*s", len < sizeof(spec->name) ? (int)len : 0, text);
    if (len >= sizeof(spec->name) || !port_name_ok(spec->name, error, size))
        return refuse(error, size, "'%.80s' does not start with a name of at most %u letters, "
                      "digits and marks: it is NAME[:console][:lossless][:BACKEND[:PATH]]", whole,
                      MESSAGE_NAME_MAX);
    text += len + (text[len] == ':');
    while (*text && !spec->backend[0]) {
        if (!next_word(&text, word))
            word[0] = '\0';
        if (strcmp(word, "console") == 0)
            spec->console = true;
        else if (strcmp(word, "lossless") == 0)
            spec->lossless = true;
        else if (is_backend(word))
            memcpy(spec->backend, word, strlen(word) + 1);
        else
            return refuse(error, size, "'%.80s' has a word that is none of console, lossless, pty, "
                          "socket, file and stdio: it is NAME[:console][:lossless]"
                          "[:BACKEND[:PATH]]", whole);
    }
    spec->path = *text ? text : NULL;
    if (spec->path && spec->path[0] != '/')
        return refuse(error, size, "the path '%.80s' of port '%s' does not start with '/': give "
                      "all of it", spec->path, spec->name);
    if (spec->console && spec->lossless)
        return refuse(error, size, "port '%s' is a console and lossless: a guest's console driver "
                      "stands still until its output is taken, so leave one out", spec->name);
    return 0;
}
