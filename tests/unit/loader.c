/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loader.c - tests of plugin/elf.c and plugin/loader.c: every way to be refused, each with its own
 * sentence and nothing left mapped, and what an accepted plugin looks like.
 *
 * The plugins are the variants of tests/plugins/bad.c; broken files are made here. Each test works
 * in a directory of its own.
 */
#include "plugin/loader.h"

#include "leak.h"
#include "plugin-files.h"
#include "plugin/elf.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#define CAPS (HVV_CAP_MAP | HVV_CAP_SHARED)
#define FUZZ_ROUNDS 4000u

static const struct hvv_option id_option = {.name = "id", .help = "name of the device"};
static const struct option_table host_options = {&id_option, 1, sizeof(id_option), "host"};

static int open_plugin(const char *path, struct plugin **plugin, struct error *error)
{
    memset(error, 0, sizeof(*error));
    return loader_open(path, CAPS, &host_options, plugin, error);
}

/* Refused with `err`, for that reason, in one sentence that names the file, and gone. */
static void check_refused(const char *path, int err, const char *fragment)
{
    struct error error;
    struct plugin *plugin = (struct plugin *)(uintptr_t)1;
    int fds = files_open_fds();
    int rc = open_plugin(path, &plugin, &error);
    cr_expect(rc == -err && error.err == err, "%s: returned %d, not %d", path, rc, -err);
    cr_expect_null(plugin, "%s: a plugin came out", path);
    cr_expect(strstr(error.text, fragment), "%s:\n  %s\nhas not \"%s\"", path, error.text,
              fragment);
    cr_expect(strstr(error.text, path), "\"%s\" does not name %s", error.text, path);
    cr_expect(!strchr(error.text, '\n') && strlen(error.text) < sizeof(error.text) - 1);
    cr_expect(!files_mapped(path), "%s: still mapped", path);
    cr_expect(files_open_fds() == fds, "%s: descriptors leaked", path);
}

static struct plugin *check_accepted(const char *path)
{
    struct error error;
    struct plugin *plugin = NULL;
    int rc = open_plugin(path, &plugin, &error);
    cr_assert(rc == 0 && plugin && error.err == 0, "%s: %s", path, error.text);
    return plugin;
}

/* ---- plugins with one thing wrong ------------------------------------------------------------ */

static const struct {
    const char *file, *fragment;
    int err;
} bad[] = {
    {"bad-no-entry.so", "is no plugin: it exports no hvv_plugin_v1", ENOEXEC},
    {"bad-data-entry.so", "is no plugin: it exports no hvv_plugin_v1", ENOEXEC},
    {"bad-major.so", "has plugin ABI 2, this host has 1", ENOEXEC},
    {"bad-undefined.so", "uses the symbol symbol_nobody_defines, which neither", ELIBACC},
    {"bad-null-entry.so", "returns nothing from hvv_plugin_v1()", ENOEXEC},
    {"bad-size.so", "hands out a struct hvv_plugin of 128 bytes, the least is 136", ENOEXEC},
    {"bad-needs.so", "does not have (HVV_CAP bits 5, 40)", ENOEXEC},
    {"bad-name.so", "has the name \"Bad Name\": a name is 1 to 31 lower case", ENOEXEC},
    {"bad-name-long.so", "has the name \"a-name-of-more-than-thirty-one", ENOEXEC},
    {"bad-name-null.so", "has no name", ENOEXEC},
    {"bad-version.so", "has the version \"1.0-beta\": a version is numbers", ENOEXEC},
    {"bad-version-dot.so", "has the version \"1..0\": a version is numbers", ENOEXEC},
    {"bad-version-null.so", "has no version", ENOEXEC},
    {"bad-description.so", "needs a description: one line of 1 to 255 bytes", ENOEXEC},
    {"bad-virtio-id.so", "has the virtio device ID 0", ENOEXEC},
    {"bad-chain-state.so", "wants 4097 bytes of state for each chain, the limit is 4096", ENOEXEC},
    {"bad-threads.so", "has the thread model 2, this host knows 0 and 1", ENOEXEC},
    {"bad-no-ops.so", "has no table of operations", ENOEXEC},
    {"bad-ops-size.so", "hands out a struct hvv_ops of 24 bytes, the least is 96", ENOEXEC},
    {"bad-no-create.so", "lacks the operation create,", ENOEXEC},
    {"bad-no-destroy.so", "lacks the operation destroy,", ENOEXEC},
    {"bad-no-notify.so", "lacks the operation notify,", ENOEXEC},
    {"bad-option-name.so", "bad table of options of variant: option 1 is called \"Size\"", EINVAL},
    {"bad-option-type.so", "bad table of options of variant: option kind is of type 99", EINVAL},
    {"bad-option-twice.so", "bad table of options of variant: option size is there twice", EINVAL},
    {"bad-option-host.so", "has an option id, which is the name of an option of the host", ENOEXEC},
    {"bad-option-count.so", "has a table of 4000000000 options, the limit is 256", ENOEXEC},
    {"bad-option-stride.so", "has a table of options with 8 bytes for each", ENOEXEC},
    {"bad-param.so", "has a bad table of parameters of command whisper: option how", EINVAL},
    {"bad-param-null.so", "says it has 2 parameters, but the table is missing", ENOEXEC},
    {"bad-command-name.so", "has command number 1 called \"say it\"", ENOEXEC},
    {"bad-command-twice.so", "has two commands called whisper", ENOEXEC},
    {"bad-command-run.so", "has a command shout without a function to run", ENOEXEC},
    {"bad-command-help.so", "has no help text for command shout", ENOEXEC},
    {"bad-counter-name.so", "has counter number 1 called \"\"", ENOEXEC},
    {"bad-counter-twice.so", "has two counters called fills", ENOEXEC},
    {"bad-counter-help.so", "has no help text for counter bytes", ENOEXEC},
    {"bad-counter-null.so", "says it has 2 counters, but the table is missing", ENOEXEC},
    {"bad-event-name.so", "has event number 1 called \"\"", ENOEXEC},
    {"bad-event-twice.so", "has two events called empty", ENOEXEC},
    {"bad-event-stride.so", "has a table of events with 1000000 bytes for each", ENOEXEC},
};

Test(loader, each_bad_plugin_is_refused_with_its_reason)
{
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        check_refused(files_built(bad[i].file), bad[i].err, bad[i].fragment);
    leak_check();
}

/* A variant that nobody wrote a sentence for would never be tried. */
Test(loader, the_table_has_every_bad_plugin)
{
    DIR *dir = opendir(files_built("."));
    cr_assert(dir);
    unsigned n = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        bool known = strcmp(e->d_name, "bad-duplicate.so") == 0; /* tests/unit/registry.c */
        size_t len = strlen(e->d_name);
        if (strncmp(e->d_name, "bad-", 4) != 0 || len < 3 || strcmp(e->d_name + len - 3, ".so"))
            continue;
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
            known = known || strcmp(bad[i].file, e->d_name) == 0;
        cr_expect(known, "%s is not in the table", e->d_name);
        n++;
    }
    closedir(dir);
    cr_expect(n == sizeof(bad) / sizeof(bad[0]) + 1);
}

Test(loader, a_path_without_a_slash_is_not_searched_for)
{
    check_refused("good.so", ENOEXEC, "needs a path with a '/'");
}

/* ---- accepted ones --------------------------------------------------------------------------- */

Test(loader, a_plugin_is_unmapped_until_it_is_pinned)
{
    struct error error = {0};
    struct files files;
    struct stat st;
    files_make(&files);
    files_copy(&files, "good.so", "good.so");
    const char *path = files_path(&files, "good.so");
    struct plugin *plugin = check_accepted(path);
    cr_assert(stat(path, &st) == 0);
    cr_expect(plugin->dev == st.st_dev && plugin->ino == st.st_ino);
    cr_expect_str_eq(plugin->path, path);
    cr_expect(!plugin->pinned && !plugin->retired && plugin->devices == 0);
    cr_expect(files_mapped(path));
    loader_free(plugin);
    cr_expect(!files_mapped(path), "mapped after it was given up");

    plugin = check_accepted(path);
    const char *name = plugin->info.name;
    cr_assert(loader_pin(plugin, &error) == 0, "%s", error.text);
    dlclose(plugin->handle); /* the last reference: the pin alone holds it */
    loader_free(plugin);
    cr_expect(files_mapped(path), "not mapped though it was pinned");
    cr_expect_str_eq(name, "good");
    files_remove(&files);
    leak_check();
}

Test(loader, what_an_accepted_plugin_looks_like)
{
    static const char *const files[] = {"ok-new-size.so", "ok-new-minor.so", "ok-two-majors.so"};
    for (size_t i = 0; i < 3; i++) {
        struct plugin *p = check_accepted(files_built(files[i]));
        const struct hvv_plugin *info = &p->info;
        cr_expect_str_eq(info->name, "variant");
        cr_expect(info->size == sizeof(*info) && info->ops == &p->ops);
        cr_expect(info->abi_minor == (i < 2 ? HVV_ABI_MINOR + 1 : HVV_ABI_MINOR));
        cr_expect(p->ops.size == sizeof(p->ops) && p->ops.create && p->ops.destroy);
        cr_expect(p->ops.notify && !p->ops.poll && !p->ops.stop);
        cr_assert(info->n_options == 2 && info->option_size == sizeof(struct hvv_option));
        cr_expect_str_eq(info->options[0].name, "size");
        cr_expect_str_eq(info->options[1].name, "text");
        cr_assert(info->n_commands == 2 && info->command_size == sizeof(struct hvv_command));
        cr_expect_str_eq(info->commands[1].name, "shout");
        cr_assert(info->commands[0].n_params == 2 && info->commands[0].params);
        cr_expect(info->commands[0].param_size == sizeof(struct hvv_option));
        cr_expect_str_eq(info->commands[0].params[1].name, "often");
        cr_expect(info->commands[1].n_params == 0 && info->commands[1].params == NULL);
        cr_assert(info->n_counters == 2 && info->counter_size == sizeof(struct hvv_counter));
        cr_expect_str_eq(info->counters[1].name, "bytes");
        cr_assert(info->n_events == 2 && info->event_size == sizeof(struct hvv_event));
        cr_expect_str_eq(info->events[1].name, "filled");
        loader_free(p);
        cr_expect(!files_mapped(files[i]));
    }
    leak_check();
}

Test(loader, the_plugins_other_tests_need_are_accepted)
{
    loader_free(check_accepted(files_built("good.so")));
    loader_free(check_accepted(files_built("rogue.so")));
    loader_free(check_accepted(files_built("fail.so")));
}

Test(loader, another_file_under_the_name_of_a_loaded_one_is_refused)
{
    struct error error = {0};
    struct files files;
    files_make(&files);
    files_copy(&files, "good.so", "a.so");
    const char *path = files_path(&files, "a.so");
    struct plugin *first = check_accepted(path), *second = NULL;
    cr_assert(loader_pin(first, &error) == 0);
    files_copy(&files, "ok-version-9.so", "a.so");
    cr_expect(open_plugin(path, &second, &error) == -ENOEXEC);
    cr_expect_null(second);
    cr_expect(strstr(error.text, "is already loaded, a different file is on disk now: give the new "
                                 "version a new file name"), "%s", error.text);
    loader_free(first);
    files_remove(&files);
}

/* ---- what runs before a file is refused ------------------------------------------------------ */

static bool constructor_runs(const struct files *files, const char *path)
{
    struct error error;
    struct plugin *plugin;
    const char *marker = files_path(files, "marker");
    setenv("HVV_TEST_MARKER", marker, 1);
    open_plugin(path, &plugin, &error);
    loader_free(plugin);
    return unlink(marker) == 0;
}

/* Writes a copy of good plugin `ok-two-majors` with a header member changed. */
static const char *patched(const struct files *files, const char *name, size_t offset,
                           unsigned value, size_t width)
{
    size_t size;
    unsigned char *bytes = files_read(files_built("ok-two-majors.so"), &size);
    for (size_t i = 0; i < width; i++)
        bytes[offset + i] = (unsigned char)(value >> 8 * i);
    files_write(files, name, bytes, size);
    free(bytes);
    return files_path(files, name);
}

#define OTHER_MACHINE (EM_AARCH64 == MACHINE ? EM_X86_64 : EM_AARCH64)
#if defined(__aarch64__)
#define MACHINE EM_AARCH64
#else
#define MACHINE EM_X86_64
#endif

Test(loader, no_code_of_another_abi_or_machine_runs)
{
    struct files files;
    files_make(&files);
    cr_expect(constructor_runs(&files, files_built("bad-name.so")), "the marker does not work");
    cr_expect(constructor_runs(&files, files_built("ok-two-majors.so")));
    cr_expect(!constructor_runs(&files, files_built("bad-major.so")));
    cr_expect(!constructor_runs(&files, files_built("bad-no-entry.so")));
    cr_expect(!constructor_runs(&files, files_built("bad-data-entry.so")));
    cr_expect(!constructor_runs(&files, files_built("bad-undefined.so")));
    const char *other = patched(&files, "machine.so", offsetof(Elf64_Ehdr, e_machine),
                                OTHER_MACHINE, 2);
    cr_expect(!constructor_runs(&files, other));
    files_remove(&files);
}

/* ---- files that are no plugins at all -------------------------------------------------------- */

Test(loader, a_header_for_others_is_refused)
{
    struct files files;
    files_make(&files);
    check_refused(patched(&files, "machine.so", offsetof(Elf64_Ehdr, e_machine), OTHER_MACHINE, 2),
                  ENOEXEC, MACHINE == EM_X86_64 ? " is for aarch64, this is x86_64"
                                                : " is for x86_64, this is aarch64");
    check_refused(patched(&files, "number.so", offsetof(Elf64_Ehdr, e_machine), 4711, 2), ENOEXEC,
                  "is for machine number 4711, this is ");
    check_refused(patched(&files, "class.so", EI_CLASS, ELFCLASS32, 1), ENOEXEC,
                  "is a 32-bit ELF file, this host wants 64-bit");
    check_refused(patched(&files, "class9.so", EI_CLASS, 9, 1), ENOEXEC, "is a damaged ELF file");
    check_refused(patched(&files, "data.so", EI_DATA, ELFDATA2MSB, 1), ENOEXEC,
                  "is a big-endian ELF file, this host wants little-endian");
    check_refused(patched(&files, "exec.so", offsetof(Elf64_Ehdr, e_type), ET_EXEC, 2), ENOEXEC,
                  "is a program, not a shared object");
    check_refused(patched(&files, "rel.so", offsetof(Elf64_Ehdr, e_type), ET_REL, 2), ENOEXEC,
                  "is an object file, not a shared object");
    check_refused(patched(&files, "core.so", offsetof(Elf64_Ehdr, e_type), ET_CORE, 2), ENOEXEC,
                  "is another kind of ELF file, not a shared object");
    check_refused(patched(&files, "shoff.so", offsetof(Elf64_Ehdr, e_shoff) + 7, 0xff, 1), ENOEXEC,
                  "is truncated");
    check_refused(patched(&files, "phoff.so", offsetof(Elf64_Ehdr, e_phoff) + 7, 0xff, 1), ENOEXEC,
                  "is truncated");
    files_remove(&files);
    leak_check();
}

Test(loader, a_program_is_refused)
{
    struct files files;
    size_t size;
    files_make(&files);
    unsigned char *bytes = files_read("/bin/true", &size);
    files_write(&files, "true.so", bytes, size);
    free(bytes);
    check_refused(files_path(&files, "true.so"), ENOEXEC, "is a program, not a shared object");
    files_remove(&files);
}

Test(loader, files_that_are_no_elf_files_are_refused)
{
    struct files files;
    files_make(&files);
    files_write(&files, "empty.so", "", 0);
    check_refused(files_path(&files, "empty.so"), ENOEXEC, "is not an ELF file: it is empty");
    files_write(&files, "text.so", "/* GNU ld script */\nGROUP ( libc.so )\n", 37);
    check_refused(files_path(&files, "text.so"), ENOEXEC, "is not an ELF file: a plugin is a");
    files_write(&files, "three.so", "\177EL", 3);
    check_refused(files_path(&files, "three.so"), ENOEXEC, "is not an ELF file");
    cr_assert(mkdir(files_path(&files, "dir.so"), 0700) == 0);
    check_refused(files_path(&files, "dir.so"), ENOEXEC, "is a directory, not a regular file");
    cr_assert(mkfifo(files_path(&files, "fifo.so"), 0600) == 0);
    check_refused(files_path(&files, "fifo.so"), ENOEXEC, "is not a regular file");
    cr_assert(symlink("nowhere", files_path(&files, "link.so")) == 0);
    check_refused(files_path(&files, "link.so"), ENOENT, "cannot be read: No such file");
    if (geteuid() != 0) {
        files_write(&files, "closed.so", "x", 1);
        cr_assert(chmod(files_path(&files, "closed.so"), 0) == 0);
        check_refused(files_path(&files, "closed.so"), EACCES, "cannot be read: Permission denied");
    }
    files_remove(&files);
    leak_check();
}

Test(loader, an_unreadable_descriptor_is_told_from_a_bad_file)
{
    struct error error = {0};
    int fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    cr_assert(fd >= 0);
    cr_expect(elf_check("/somewhere/x.so", fd, &error) == -EBADF);
    cr_expect_str_eq(error.text, "plugin /somewhere/x.so cannot be read: Bad file descriptor");
    close(fd);
}

/* Cut off anywhere: mapping it would be SIGBUS. */
Test(loader, a_truncated_file_is_refused_at_every_length, .timeout = 60)
{
    struct files files;
    size_t size;
    files_make(&files);
    unsigned char *bytes = files_read(files_built("good.so"), &size);
    for (size_t i = 4; i < size; i += 1 + size / 200) {
        files_write(&files, "cut.so", bytes, i);
        check_refused(files_path(&files, "cut.so"), ENOEXEC, "is truncated: it has ");
    }
    files_write(&files, "cut.so", bytes, size - 1);
    check_refused(files_path(&files, "cut.so"), ENOEXEC, "is truncated: it has ");
    free(bytes);
    files_remove(&files);
    leak_check();
}

/* The section headers are there, but what a segment maps is not. */
Test(loader, a_segment_beyond_the_end_is_refused)
{
    struct files files;
    size_t size;
    Elf64_Ehdr header;
    Elf64_Phdr segment;
    files_make(&files);
    unsigned char *bytes = files_read(files_built("good.so"), &size);
    memcpy(&header, bytes, sizeof(header));
    memcpy(&segment, bytes + header.e_phoff, sizeof(segment));
    cr_assert(segment.p_type == PT_LOAD);
    segment.p_filesz = segment.p_memsz = size + 1;
    memcpy(bytes + header.e_phoff, &segment, sizeof(segment));
    files_write(&files, "long.so", bytes, size);
    check_refused(files_path(&files, "long.so"), ENOEXEC, "is truncated: it has ");
    segment.p_offset = UINT64_MAX - 4096; /* the sum of both wraps */
    memcpy(bytes + header.e_phoff, &segment, sizeof(segment));
    files_write(&files, "wraps.so", bytes, size);
    check_refused(files_path(&files, "wraps.so"), ENOEXEC, "is truncated: it has ");
    free(bytes);
    files_remove(&files);
    leak_check();
}

/* ---- damaged program headers: the dynamic linker would crash on them ------------------------- */

static Elf64_Phdr *nth_segment(unsigned char *bytes, uint32_t type, unsigned nth)
{
    Elf64_Ehdr *header = (Elf64_Ehdr *)(void *)bytes;
    Elf64_Phdr *segments = (Elf64_Phdr *)(void *)(bytes + header->e_phoff);
    for (unsigned i = 0; i < header->e_phnum; i++)
        if (segments[i].p_type == type && nth-- == 0)
            return &segments[i];
    cr_assert_fail("no segment of type %u", type);
    return NULL;
}

static Elf64_Dyn *dynamic_entries(unsigned char *bytes)
{
    return (Elf64_Dyn *)(void *)(bytes + nth_segment(bytes, PT_DYNAMIC, 0)->p_offset);
}

static void header_not_loaded(unsigned char *b)
{
    nth_segment(b, PT_LOAD, 0)->p_offset = 4096;
}
static void first_is_short(unsigned char *b)
{
    nth_segment(b, PT_LOAD, 0)->p_filesz = 64;
}
static void first_is_none(unsigned char *b)
{
    nth_segment(b, PT_LOAD, 0)->p_type = PT_NULL;
}
static void code_is_none(unsigned char *b)
{
    nth_segment(b, PT_LOAD, 1)->p_type = PT_NULL;
}
static void code_is_unknown(unsigned char *b)
{
    nth_segment(b, PT_LOAD, 1)->p_type = 0x61234567;
}
static void code_is_no_code(unsigned char *b)
{
    nth_segment(b, PT_LOAD, 1)->p_flags = PF_R;
}
static void all_are_none(unsigned char *b)
{
    Elf64_Ehdr *header = (Elf64_Ehdr *)(void *)b;
    Elf64_Phdr *segments = (Elf64_Phdr *)(void *)(b + header->e_phoff);
    for (unsigned i = 0; i < header->e_phnum; i++)
        segments[i].p_type = segments[i].p_type == PT_LOAD ? PT_NULL : segments[i].p_type;
}
static void code_elsewhere(unsigned char *b)
{
    nth_segment(b, PT_LOAD, 1)->p_vaddr = 0;
}
static void code_far_away(unsigned char *b)
{
    nth_segment(b, PT_LOAD, 1)->p_vaddr = UINT64_MAX - 4095;
}
static void less_in_memory(unsigned char *b)
{
    nth_segment(b, PT_LOAD, 1)->p_memsz = 1;
}
static void loaded_twice(unsigned char *b)
{
    nth_segment(b, PT_DYNAMIC, 0)->p_type = PT_LOAD;
}
static void no_dynamic(unsigned char *b)
{
    nth_segment(b, PT_DYNAMIC, 0)->p_type = PT_NULL;
}
static void two_dynamics(unsigned char *b)
{
    nth_segment(b, PT_GNU_RELRO, 0)->p_type = PT_DYNAMIC;
}
static void dynamic_outside(unsigned char *b)
{
    nth_segment(b, PT_DYNAMIC, 0)->p_vaddr = 1ull << 40;
}
static void dynamic_elsewhere(unsigned char *b)
{
    nth_segment(b, PT_DYNAMIC, 0)->p_vaddr -= 16;
}
static void dynamic_endless(unsigned char *b)
{
    Elf64_Phdr *dynamic = nth_segment(b, PT_DYNAMIC, 0);
    Elf64_Dyn *entries = dynamic_entries(b);
    for (size_t i = 0; i < dynamic->p_filesz / sizeof(*entries); i++)
        if (entries[i].d_tag == DT_NULL)
            entries[i].d_tag = DT_DEBUG;
}
static void dynamic_empty(unsigned char *b)
{
    dynamic_entries(b)->d_tag = DT_NULL;
}
static void symbols_outside(unsigned char *b)
{
    Elf64_Dyn *entries = dynamic_entries(b);
    for (; entries->d_tag != DT_NULL; entries++)
        if (entries->d_tag == DT_SYMTAB)
            entries->d_un.d_ptr = 1ull << 40;
}
static void tables_outside(unsigned char *b)
{
    nth_segment(b, PT_GNU_EH_FRAME, 0)->p_vaddr = 1ull << 40;
}
static void headers_elsewhere(unsigned char *b)
{
    nth_segment(b, PT_GNU_EH_FRAME, 0)->p_type = PT_PHDR;
}
static void tls_outside(unsigned char *b)
{
    Elf64_Phdr *s = nth_segment(b, PT_GNU_EH_FRAME, 0);
    s->p_type = PT_TLS;
    s->p_vaddr = 1ull << 40;
}
static void relro_outside(unsigned char *b)
{
    nth_segment(b, PT_GNU_RELRO, 0)->p_memsz = 1ull << 40;
}
static void too_many(unsigned char *b)
{
    ((Elf64_Ehdr *)(void *)b)->e_phnum = 65;
}

static const struct {
    void (*spoil)(unsigned char *bytes);
    const char *reason;
} damages[] = {
    {header_not_loaded, "the first PT_LOAD segment does not cover the ELF header"},
    {first_is_short, "the first PT_LOAD segment does not cover the ELF header"},
    {first_is_none, "the first PT_LOAD segment does not cover the ELF header"},
    {code_is_none, "an address in PT_DYNAMIC is in no PT_LOAD segment"}, /* DT_INIT */
    {code_is_unknown, "an address in PT_DYNAMIC is in no PT_LOAD segment"},
    {code_is_no_code, "a section is not in a PT_LOAD segment with its rights"},
    {all_are_none, "no PT_LOAD segment"},
    {code_elsewhere, "PT_LOAD segments overlap or are out of order"},
    {code_far_away, "a PT_LOAD segment is beyond the end of memory"},
    {less_in_memory, "a PT_LOAD segment is larger in the file than in memory"},
    {loaded_twice, "PT_LOAD segments overlap or are out of order"},
    {no_dynamic, "no PT_DYNAMIC segment"},
    {two_dynamics, "two PT_DYNAMIC segments"},
    {dynamic_outside, "PT_DYNAMIC is not inside a PT_LOAD segment"},
    {dynamic_elsewhere, "PT_DYNAMIC is not inside a PT_LOAD segment"},
    {dynamic_endless, "PT_DYNAMIC has no end"},
    {dynamic_empty, "PT_DYNAMIC leads to no symbols"},
    {symbols_outside, "an address in PT_DYNAMIC is in no PT_LOAD segment"},
    {tables_outside, "notes or tables outside the PT_LOAD segments"},
    {headers_elsewhere, "PT_PHDR is not where they are"},
    {tls_outside, "PT_TLS is outside the PT_LOAD segments"},
    {relro_outside, "PT_GNU_RELRO is outside the PT_LOAD segments"},
    {too_many, "has 65 program headers, the limit is 64"},
};

Test(loader, damaged_program_headers_are_refused)
{
    struct files files;
    size_t size;
    files_make(&files);
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        char name[32];
        unsigned char *bytes = files_read(files_built("ok-two-majors.so"), &size);
        damages[i].spoil(bytes);
        snprintf(name, sizeof(name), "damage-%zu.so", i);
        files_write(&files, name, bytes, size);
        free(bytes);
        /* First, or the linker's own crash would be all there is to read. */
        int fd = open(files_path(&files, name), O_RDONLY | O_CLOEXEC);
        struct error error = {0};
        cr_assert(elf_check(name, fd, &error) == -ENOEXEC, "damage %zu (%s) was not seen", i,
                  damages[i].reason);
        close(fd);
        check_refused(files_path(&files, name), ENOEXEC, damages[i].reason);
    }
    files_remove(&files);
    leak_check();
}

/* The reason must not be cut off, however long the path is. */
Test(loader, the_reason_fits_behind_a_long_path)
{
    struct error error = {0};
    char path[2048];
    memset(path, 'd', sizeof(path));
    path[0] = '/';
    snprintf(path + sizeof(path) - 8, 8, "/foo.so");
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    cr_assert(fd >= 0);
    cr_expect(elf_check(path, fd, &error) == -ENOEXEC);
    cr_expect_str_eq(error.text, "plugin foo.so is not a regular file");
    close(fd);
}

/* ---- hostile files --------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

/* Where a changed byte can lead a reader astray: the header, the sections, the symbols. */
static size_t somewhere(uint32_t *state, const unsigned char *bytes, size_t size)
{
    Elf64_Ehdr header;
    memcpy(&header, bytes, sizeof(header));
    switch (next_random(state) % 4) {
    case 0:
        return next_random(state) % sizeof(header);
    case 1:
        return header.e_phoff + next_random(state) % (header.e_phnum * sizeof(Elf64_Phdr));
    case 2:
        return header.e_shoff + next_random(state) % (header.e_shnum * sizeof(Elf64_Shdr));
    default:
        return next_random(state) % (size < 4096 ? size : 4096);
    }
}

/* Only looked at, never loaded. Whatever comes out is 0, or an error with a sentence. */
Test(loader, a_file_with_changed_bytes_is_looked_at_safely, .timeout = 120)
{
    struct files files;
    size_t size;
    uint32_t state = 20240229;
    unsigned refused = 0;
    files_make(&files);
    unsigned char *bytes = files_read(files_built("good.so"), &size);
    files_write(&files, "fuzz.so", bytes, size);
    const char *path = files_path(&files, "fuzz.so");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert(fd >= 0);
    for (unsigned round = 0; round < FUZZ_ROUNDS; round++) {
        struct error error = {0};
        size_t at[6], n = 1 + next_random(&state) % 6;
        for (size_t i = 0; i < n; i++) {
            unsigned char byte = (unsigned char)next_random(&state);
            at[i] = somewhere(&state, bytes, size);
            cr_assert(pwrite(fd, &byte, 1, (off_t)at[i]) == 1);
        }
        int rc = elf_check(path, fd, &error);
        cr_assert(rc == 0 || (rc == -error.err && error.text[0]), "round %u: %d", round, rc);
        refused += rc < 0;
        for (size_t i = 0; i < n; i++)
            cr_assert(pwrite(fd, &bytes[at[i]], 1, (off_t)at[i]) == 1);
    }
    cr_expect(refused > FUZZ_ROUNDS / 10 && refused < FUZZ_ROUNDS, "%u refused", refused);
    close(fd);
    loader_free(check_accepted(path)); /* all was put back */
    free(bytes);
    files_remove(&files);
    leak_check();
}
