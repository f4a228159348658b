/* SPDX-License-Identifier: BSD-3-Clause */
/* loader.c - see loader.h. */
#include "plugin/loader.h"

#include "plugin/elf.h"
#include "util/log.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STRING(X) STRING_OF(X)
#define STRING_OF(X) #X
#define ENTRY "hvv_plugin_v" STRING(HVV_ABI_MAJOR)

/* What ABI 1.0 had: the least a struct may have. Members added later come behind LAST. */
#define LEAST(TYPE, LAST) (offsetof(TYPE, LAST) + sizeof(((TYPE *)NULL)->LAST))

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

typedef const struct hvv_plugin *entry_function(void);

struct plugin_block {
    struct plugin_block *next;
    alignas(max_align_t) unsigned char data[];
};

/* One load under way. */
struct loading {
    struct plugin *plugin;
    uint64_t caps;
    const struct option_table *host_options;
    struct error *error;
};

/* ---- sentences ------------------------------------------------------------------------------- */

static int __attribute__((format(printf, 3, 0)))
say(struct loading *l, int err, const char *fmt, va_list args)
{
    char text[384];
    vsnprintf(text, sizeof(text), fmt, args);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    return error_set(l->error, err, "plugin %s %s", elf_shown(l->plugin->path), text);
}

/* The file is at fault: it is refused until it changes. */
static int __attribute__((format(printf, 2, 3))) refuse(struct loading *l, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = say(l, ENOEXEC, fmt, args);
    va_end(args);
    return rc;
}

/* Something else is at fault, and may be better the next time. */
static int __attribute__((format(printf, 3, 4)))
failed(struct loading *l, int err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = say(l, err, fmt, args);
    va_end(args);
    return rc;
}

static int no_memory(struct loading *l)
{
    return failed(l, ENOMEM, "cannot be loaded: out of memory");
}

/* ---- syntax ---------------------------------------------------------------------------------- */

static bool word_ok(const char *word, const char *allowed)
{
    size_t n = word ? strnlen(word, LOADER_NAME_MAX + 1) : 0;
    return n > 0 && n <= LOADER_NAME_MAX && strspn(word, allowed) == n;
}

bool loader_name_ok(const char *name)
{
    return word_ok(name, LOWER DIGITS "-_");
}

static bool version_ok(const char *version)
{
    size_t n = version ? strnlen(version, LOADER_VERSION_MAX + 1) : 0;
    if (n == 0 || n > LOADER_VERSION_MAX)
        return false;
    for (const char *c = version;; c++) {
        size_t digits = strspn(c, DIGITS);
        if (digits == 0)
            return false;
        c += digits;
        if (*c != '.')
            return *c == '\0';
    }
}

/* One line of text. */
static bool text_ok(const char *text)
{
    size_t n = text ? strnlen(text, LOADER_TEXT_MAX + 1) : 0;
    if (n == 0 || n > LOADER_TEXT_MAX)
        return false;
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return false;
    return true;
}

/* ---- copying --------------------------------------------------------------------------------- */

/* Zeroed memory that lives as long as the plugin. */
static void *block_new(struct plugin *plugin, size_t size)
{
    struct plugin_block *block = calloc(1, sizeof(*block) + size);
    if (!block)
        return NULL;
    block->next = plugin->blocks;
    plugin->blocks = block;
    return block->data;
}

static size_t lesser(size_t a, size_t b)
{
    return a < b ? a : b;
}

/*
 * Copies a table of `n` entries, *stride apart, into one of entries of `size` bytes, and sets
 * *stride to that. `least` is what an entry had in ABI 1.0.
 */
static int take_table(struct loading *l, const char *what, const void *from, uint32_t n,
                      uint32_t *stride, size_t least, size_t size, void **out)
{
    *out = NULL;
    if (n > LOADER_TABLE_MAX)
        return refuse(l, "has a table of %u %s, the limit is %u", n, what, LOADER_TABLE_MAX);
    if (n && !from)
        return refuse(l, "says it has %u %s, but the table is missing", n, what);
    if (n && (*stride < least || *stride > LOADER_STRIDE_MAX))
        return refuse(l, "has a table of %s with %u bytes for each, it must be %zu to %u", what,
                      *stride, least, LOADER_STRIDE_MAX);
    if (n) {
        unsigned char *to = block_new(l->plugin, n * size);
        if (!to)
            return no_memory(l);
        for (uint32_t i = 0; i < n; i++)
            memcpy(to + i * size, (const char *)from + (size_t)i * *stride,
                   lesser(*stride, size));
        *out = to;
    }
    *stride = (uint32_t)size;
    return 0;
}

static int take_options(struct loading *l, const char *what, const struct hvv_option **options,
                        uint32_t n, uint32_t *stride)
{
    void *copy;
    int rc = take_table(l, what, *options, n, stride, LEAST(struct hvv_option, help),
                        sizeof(struct hvv_option), &copy);
    *options = copy;
    return rc;
}

static int take_commands(struct loading *l)
{
    struct hvv_plugin *info = &l->plugin->info;
    void *copy;
    int rc = take_table(l, "commands", info->commands, info->n_commands, &info->command_size,
                        LEAST(struct hvv_command, run), sizeof(struct hvv_command), &copy);
    struct hvv_command *commands = copy;
    info->commands = commands;
    for (uint32_t i = 0; rc == 0 && i < info->n_commands; i++)
        rc = take_options(l, "parameters", &commands[i].params, commands[i].n_params,
                          &commands[i].param_size);
    return rc;
}

static int take_tables(struct loading *l)
{
    struct hvv_plugin *info = &l->plugin->info;
    void *copy;
    int rc = take_options(l, "options", &info->options, info->n_options, &info->option_size);
    if (rc < 0 || (rc = take_commands(l)) < 0)
        return rc;
    rc = take_table(l, "counters", info->counters, info->n_counters, &info->counter_size,
                    LEAST(struct hvv_counter, help), sizeof(struct hvv_counter), &copy);
    info->counters = copy;
    if (rc < 0)
        return rc;
    rc = take_table(l, "events", info->events, info->n_events, &info->event_size,
                    LEAST(struct hvv_event, help), sizeof(struct hvv_event), &copy);
    info->events = copy;
    return rc;
}

/* `size` of a struct is its first member: what the plugin's headers said. */
static int take_info(struct loading *l, const struct hvv_plugin *from)
{
    const size_t least = LEAST(struct hvv_plugin, qemu);
    uint32_t size;
    memcpy(&size, from, sizeof(size));
    if (size < least)
        return refuse(l, "hands out a struct hvv_plugin of %u bytes, the least is %zu: build it "
                      "with the headers of ABI 1.0 or later", size, least);
    memcpy(&l->plugin->info, from, lesser(size, sizeof(l->plugin->info)));
    l->plugin->info.size = (uint32_t)lesser(size, sizeof(l->plugin->info));
    return 0;
}

static int take_ops(struct loading *l)
{
    const size_t least = LEAST(struct hvv_ops, stop);
    struct hvv_ops *ops = &l->plugin->ops;
    const struct hvv_ops *from = l->plugin->info.ops;
    uint32_t size;
    if (!from)
        return refuse(l, "has no table of operations");
    memcpy(&size, from, sizeof(size));
    if (size < least)
        return refuse(l, "hands out a struct hvv_ops of %u bytes, the least is %zu: build it with "
                      "the headers of ABI 1.0 or later", size, least);
    memcpy(ops, from, lesser(size, sizeof(*ops)));
    ops->size = (uint32_t)lesser(size, sizeof(*ops));
    l->plugin->info.ops = ops;
    return 0;
}

/* ---- checking the copy ----------------------------------------------------------------------- */

static int check_needs(struct loading *l)
{
    uint64_t missing = l->plugin->info.needs & ~l->caps;
    char bits[192] = "";
    unsigned n = 0;
    if (!missing)
        return 0;
    for (unsigned i = 0; i < 64; i++) {
        if (!(missing >> i & 1))
            continue;
        size_t len = strlen(bits);
        snprintf(bits + len, sizeof(bits) - len, "%s%u", n++ ? ", " : "", i);
    }
    return refuse(l, "needs services that this host does not have (HVV_CAP bit%s %s): use a newer "
                  "hvisor-vhost or an older plugin (it was built for ABI %d.%u, this host has %d.%d)",
                  n > 1 ? "s" : "", bits, HVV_ABI_MAJOR, l->plugin->info.abi_minor, HVV_ABI_MAJOR,
                  HVV_ABI_MINOR);
}

static int check_identity(struct loading *l)
{
    const struct hvv_plugin *info = &l->plugin->info;
    if (!info->name)
        return refuse(l, "has no name");
    if (!loader_name_ok(info->name))
        return refuse(l, "has the name \"%.40s\": a name is 1 to %u lower case letters, digits, "
                      "'-' and '_'", info->name, LOADER_NAME_MAX);
    if (!info->version)
        return refuse(l, "has no version");
    if (!version_ok(info->version))
        return refuse(l, "has the version \"%.40s\": a version is numbers separated by dots, at "
                      "most %u bytes", info->version, LOADER_VERSION_MAX);
    if (!text_ok(info->description))
        return refuse(l, "needs a description: one line of 1 to %u bytes", LOADER_TEXT_MAX);
    return 0;
}

static int check_numbers(struct loading *l)
{
    const struct hvv_plugin *info = &l->plugin->info;
    if (info->virtio_id == 0)
        return refuse(l, "has the virtio device ID 0, which no device has");
    if (info->chain_state_size > LOADER_CHAIN_STATE_MAX)
        return refuse(l, "wants %u bytes of state for each chain, the limit is %u",
                      info->chain_state_size, LOADER_CHAIN_STATE_MAX);
    if (info->threads != HVV_SERIAL_DEVICE && info->threads != HVV_SERIAL_QUEUE)
        return refuse(l, "has the thread model %u, this host knows %u and %u", info->threads,
                      HVV_SERIAL_DEVICE, HVV_SERIAL_QUEUE);
    return 0;
}

static int check_ops(struct loading *l)
{
    const struct hvv_ops *ops = &l->plugin->ops;
    const char *missing = !ops->create    ? "create"
                          : !ops->destroy ? "destroy"
                          : !ops->notify  ? "notify"
                                          : NULL;
    return missing ? refuse(l, "lacks the operation %s, which is required", missing) : 0;
}

/*
 * options_check_table() reads defaults as if an operator had written them, which takes memory, and
 * its answer is the same for a bad table and a lack of memory: so this may be better the next time.
 */
static int check_table(struct loading *l, const char *what, const struct option_table *table)
{
    char why[256] = "";
    if (options_check_table(table, why, sizeof(why)) < 0)
        return failed(l, EINVAL, "has a bad table of %s %s: %s", what, table->owner, why);
    return 0;
}

static int check_options(struct loading *l)
{
    const struct hvv_plugin *info = &l->plugin->info;
    struct option_table table = {info->options, info->n_options, info->option_size, info->name};
    int rc = check_table(l, "options of", &table);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < info->n_options; i++)
        if (option_find(l->host_options, info->options[i].name))
            return refuse(l, "has an option %s, which is the name of an option of the host: "
                          "rename it", info->options[i].name);
    return 0;
}

/* Name and help text of entry `index` of a table; they are the same in all kinds of table. */
static int check_entry(struct loading *l, const char *what, uint32_t index, const char *name,
                       const char *help)
{
    if (!word_ok(name, LOWER DIGITS "-"))
        return refuse(l, "has %s number %u called \"%.40s\": a name is 1 to %u lower case letters, "
                      "digits and '-'", what, index, name ? name : "", LOADER_NAME_MAX);
    if (!text_ok(help))
        return refuse(l, "has no help text for %s %s: one line of 1 to %u bytes", what, name,
                      LOADER_TEXT_MAX);
    return 0;
}

static int twice(struct loading *l, const char *what, const char *name)
{
    return refuse(l, "has two %ss called %s", what, name);
}

static int check_command(struct loading *l, const struct hvv_command *c, uint32_t index)
{
    struct option_table table = {c->params, c->n_params, c->param_size, c->name};
    int rc = check_entry(l, "command", index, c->name, c->help);
    if (rc < 0)
        return rc;
    if (!c->run)
        return refuse(l, "has a command %s without a function to run", c->name);
    return check_table(l, "parameters of command", &table);
}

static int check_commands(struct loading *l)
{
    const struct hvv_plugin *info = &l->plugin->info;
    for (uint32_t i = 0; i < info->n_commands; i++) {
        int rc = check_command(l, &info->commands[i], i);
        for (uint32_t k = 0; rc == 0 && k < i; k++)
            if (strcmp(info->commands[k].name, info->commands[i].name) == 0)
                rc = twice(l, "command", info->commands[i].name);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_counters(struct loading *l)
{
    const struct hvv_plugin *info = &l->plugin->info;
    for (uint32_t i = 0; i < info->n_counters; i++) {
        const struct hvv_counter *c = &info->counters[i];
        int rc = check_entry(l, "counter", i, c->name, c->help);
        for (uint32_t k = 0; rc == 0 && k < i; k++)
            if (strcmp(info->counters[k].name, c->name) == 0)
                rc = twice(l, "counter", c->name);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_events(struct loading *l)
{
    const struct hvv_plugin *info = &l->plugin->info;
    for (uint32_t i = 0; i < info->n_events; i++) {
        const struct hvv_event *e = &info->events[i];
        int rc = check_entry(l, "event", i, e->name, e->help);
        for (uint32_t k = 0; rc == 0 && k < i; k++)
            if (strcmp(info->events[k].name, e->name) == 0)
                rc = twice(l, "event", e->name);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- the order of it all --------------------------------------------------------------------- */

/* Everything about what the plugin's entry returned. `needs` first: it explains the rest best. */
static int accept_info(struct loading *l, const struct hvv_plugin *from)
{
    static int (*const steps[])(struct loading *l) = {
        check_needs, check_identity, check_numbers, take_ops,       check_ops,
        take_tables, check_options,  check_commands, check_counters, check_events,
    };
    if (!from)
        return refuse(l, "returns nothing from " ENTRY "()");
    int rc = take_info(l, from);
    for (size_t i = 0; rc == 0 && i < sizeof(steps) / sizeof(steps[0]); i++)
        rc = steps[i](l);
    if (rc == 0 && l->plugin->info.abi_minor > HVV_ABI_MINOR)
        log_debug("plugin %s was built for ABI %d.%u, this host has %d.%d: it can do without the "
                  "difference", elf_shown(l->plugin->path), HVV_ABI_MAJOR,
                  l->plugin->info.abi_minor, HVV_ABI_MAJOR, HVV_ABI_MINOR);
    return rc;
}

/* What dlerror() says, in a sentence. What is missing may come without the file changing. */
static int link_failed(struct loading *l)
{
    static const char undefined[] = "undefined symbol: ";
    const char *text = dlerror(), *path = l->plugin->path;
    if (!text)
        text = "unknown reason";
    if (strncmp(text, path, strlen(path)) == 0 && strncmp(text + strlen(path), ": ", 2) == 0)
        text += strlen(path) + 2;
    const char *symbol = strstr(text, undefined);
    if (symbol)
        return failed(l, ELIBACC, "uses the symbol %.200s, which neither it nor its libraries "
                      "define: link it with -Wl,-z,defs to see what is missing",
                      symbol + strlen(undefined));
    return failed(l, ELIBACC, "cannot be loaded: %.250s", text);
}

/* Is what was loaded by name still the file that was looked at before? */
static int check_same_file(struct loading *l)
{
    struct stat st;
    const struct plugin *p = l->plugin;
    if (stat(p->path, &st) < 0 || st.st_dev != p->dev || st.st_ino != p->ino ||
        st.st_size != p->size || st.st_mtim.tv_sec != p->mtime.tv_sec ||
        st.st_mtim.tv_nsec != p->mtime.tv_nsec)
        return failed(l, EAGAIN, "was changed while it was being loaded: try again");
    return 0;
}

/*
 * The dynamic linker knows files by name first: it would hand out old code for a new file of the
 * same name. The name is the plain path, so that debuggers and profilers find the file.
 */
static int map_file(struct loading *l)
{
    struct plugin *p = l->plugin;
    void *old = dlopen(p->path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    if (old) {
        dlclose(old);
        return refuse(l, "is already loaded, a different file is on disk now: give the new version "
                      "a new file name");
    }
    dlerror(); /* "not loaded" is what was hoped for */
    p->handle = dlopen(p->path, RTLD_NOW | RTLD_LOCAL);
    return p->handle ? check_same_file(l) : link_failed(l);
}

static int load(struct loading *l)
{
    int rc = map_file(l);
    if (rc < 0)
        return rc;
    entry_function *entry = (entry_function *)dlsym(l->plugin->handle, ENTRY);
    return entry ? accept_info(l, entry()) : link_failed(l);
}

/* Opened only to be read: `path` may turn out to be a fifo or a terminal. */
static int look_at_file(struct loading *l)
{
    struct plugin *p = l->plugin;
    struct stat st;
    int fd = open(p->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return failed(l, errno, "cannot be read: %s", strerror(errno));
    int rc = fstat(fd, &st) < 0 ? failed(l, errno, "cannot be read: %s", strerror(errno))
                                : elf_check(p->path, fd, l->error);
    close(fd);
    if (rc < 0)
        return rc;
    p->dev = st.st_dev;
    p->ino = st.st_ino;
    p->size = st.st_size;
    p->mtime = st.st_mtim;
    return 0;
}

int loader_open(const char *path, uint64_t caps, const struct option_table *host_options,
                struct plugin **out, struct error *error)
{
    struct plugin *plugin = calloc(1, sizeof(*plugin));
    struct loading l = {plugin, caps, host_options, error};
    *out = NULL;
    if (!plugin || !(plugin->path = strdup(path))) {
        free(plugin);
        return error_set(error, ENOMEM, "plugin %s cannot be loaded: out of memory",
                         elf_shown(path));
    }
    int rc = strchr(path, '/') ? look_at_file(&l)
                               : refuse(&l, "needs a path with a '/', so that no other is found");
    if (rc == 0)
        rc = load(&l);
    if (rc < 0) {
        loader_free(plugin);
        return rc;
    }
    *out = plugin;
    return 0;
}

int loader_pin(struct plugin *plugin, struct error *error)
{
    struct loading l = {plugin, 0, NULL, error};
    void *again = dlopen(plugin->path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD | RTLD_NODELETE);
    if (!again)
        return link_failed(&l);
    dlclose(again); /* the flag stays, plugin->handle is the reference that counts */
    plugin->pinned = true;
    return 0;
}

void loader_free(struct plugin *plugin)
{
    if (!plugin)
        return;
    if (plugin->handle && !plugin->pinned)
        dlclose(plugin->handle);
    while (plugin->blocks) {
        struct plugin_block *block = plugin->blocks;
        plugin->blocks = block->next;
        free(block);
    }
    free(plugin->path);
    free(plugin);
}
