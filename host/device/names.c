/* SPDX-License-Identifier: BSD-3-Clause */
/* names.c - see names.h. */
#include "device/names.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct name {
    LIST_ENTRY(name) link;
    char text[];
};

struct names {
    LIST_HEAD(, name) all;
};

struct names *names_new(void)
{
    return calloc(1, sizeof(struct names));
}

void names_free(struct names *names)
{
    while (names && !LIST_EMPTY(&names->all)) {
        struct name *name = LIST_FIRST(&names->all);
        LIST_REMOVE(name, link);
        free(name);
    }
    free(names);
}

static struct name *find(const struct names *names, const char *id)
{
    struct name *name;
    LIST_FOREACH(name, &names->all, link)
        if (strcmp(name->text, id) == 0)
            return name;
    return NULL;
}

/* An id is part of a file name and of command lines: letters, digits, '_', '.' and '-'. */
static bool valid(const char *id, size_t size)
{
    size_t len = strlen(id);
    if (len == 0 || len >= size || !isalnum((unsigned char)id[0]))
        return false;
    return strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == len;
}

static void first_free(const struct names *names, const char *plugin, char *id, size_t size)
{
    for (unsigned number = 0;; number++) {
        snprintf(id, size, "%.20s%u", plugin, number);
        if (!find(names, id))
            return;
    }
}

int names_reserve(struct names *names, const char *wanted, const char *plugin, char *id,
                  size_t size, struct error *error)
{
    if (wanted && !valid(wanted, size))
        return error_option(error, EINVAL, "id",
                            "id \"%.64s\" is not 1 to %zu letters, digits, '_', '.' or '-', with a "
                            "letter or digit first", wanted, size - 1);
    if (wanted && find(names, wanted))
        return error_option(error, EEXIST, "id", "a device called %s exists: remove it or choose "
                            "another id=", wanted);
    if (wanted)
        snprintf(id, size, "%s", wanted);
    else
        first_free(names, plugin, id, size);
    struct name *name = malloc(sizeof(*name) + strlen(id) + 1);
    if (!name)
        return error_set(error, ENOMEM, "out of memory for device %s", id);
    strcpy(name->text, id);
    LIST_INSERT_HEAD(&names->all, name, link);
    return 0;
}

void names_release(struct names *names, const char *id)
{
    struct name *name = find(names, id);
    if (name) {
        LIST_REMOVE(name, link);
        free(name);
    }
}
