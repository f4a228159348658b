/* SPDX-License-Identifier: BSD-3-Clause */
/* shared.c - see shared.h. */
#include "plugin/shared.h"

#include "util/container.h"

#include <errno.h>
#include <hvv/host.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct shared {
    LIST_ENTRY(shared) link;
    const void *plugin;
    char *name;
    unsigned users;
    uint64_t size;
    void (*fini)(void *shared);
    alignas(max_align_t) char data[];
};

static LIST_HEAD(, shared) all = LIST_HEAD_INITIALIZER(all);

static struct shared *find(const void *plugin, const char *name)
{
    struct shared *s;
    LIST_FOREACH(s, &all, link)
        if (s->plugin == plugin && strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

static void free_shared(struct shared *s)
{
    free(s->name);
    free(s);
}

void *shared_get(const void *plugin, const char *name, uint64_t size,
                 int32_t (*init)(void *shared, void *arg), void (*fini)(void *shared), void *arg)
{
    struct shared *s = find(plugin, name);
    if (s && s->size != size) {
        errno = EINVAL;
        return NULL;
    }
    if (s) {
        s->users++;
        return s->data;
    }
    if (size > HVV_SHARED_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    s = calloc(1, sizeof(*s) + (size_t)size);
    if (!s || !(s->name = strdup(name))) {
        free(s);
        errno = ENOMEM;
        return NULL;
    }
    int32_t rc = init ? init(s->data, arg) : 0;
    if (rc < 0) {
        free_shared(s);
        errno = -rc;
        return NULL;
    }
    s->plugin = plugin;
    s->fini = fini;
    s->users = 1;
    s->size = size;
    LIST_INSERT_HEAD(&all, s, link);
    return s->data;
}

void shared_put(void *data)
{
    struct shared *s = container_of(data, struct shared, data);
    if (--s->users > 0)
        return;
    LIST_REMOVE(s, link);
    if (s->fini)
        s->fini(s->data);
    free_shared(s);
}
