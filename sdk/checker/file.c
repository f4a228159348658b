/* SPDX-License-Identifier: BSD-3-Clause */
/* file.c - what can be said about the file before any of its code runs. Parent. */
#include "check.h"
#include "plugin/elf.h"

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <unistd.h>

#define PREFIX "hvv_plugin_v"

struct exports {
    uint32_t entries, others;
    char names[200]; /* of the others */
};

/* What a linker or a sanitizer adds does not count, nor do the templates of C++'s library. */
static bool counts(const GElf_Sym *symbol, const char *name)
{
    static const char *const made[] = {"_init", "_fini", "_edata", "_end", "_start"};
    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++)
        if (strcmp(name, made[i]) == 0)
            return false;
    return symbol->st_shndx != SHN_UNDEF && GELF_ST_BIND(symbol->st_info) == STB_GLOBAL &&
           (GELF_ST_VISIBILITY(symbol->st_other) == STV_DEFAULT ||
            GELF_ST_VISIBILITY(symbol->st_other) == STV_PROTECTED) &&
           GELF_ST_TYPE(symbol->st_info) != STT_SECTION && strncmp(name, "__", 2) != 0;
}

static void note(struct exports *exports, const char *name)
{
    size_t len = strlen(exports->names);
    if (strncmp(name, PREFIX, strlen(PREFIX)) == 0) {
        exports->entries++;
        return;
    }
    if (exports->others++ < 4)
        snprintf(exports->names + len, sizeof(exports->names) - len, "%s%.40s", len ? ", " : "",
                 name);
}

static void read_symbols(Elf *elf, struct exports *exports)
{
    Elf_Scn *section = NULL;
    GElf_Shdr header;
    GElf_Sym symbol;
    while ((section = elf_nextscn(elf, section))) {
        if (!gelf_getshdr(section, &header) || header.sh_type != SHT_DYNSYM)
            continue;
        Elf_Data *data = elf_getdata(section, NULL);
        for (int i = 0; data && gelf_getsym(data, i, &symbol); i++) {
            const char *name = elf_strptr(elf, header.sh_link, symbol.st_name);
            if (name && counts(&symbol, name))
                note(exports, name);
        }
    }
}

static void check_symbols(int fd, void (*tell)(const char *rule, const char *reason))
{
    struct exports exports = {0};
    char reason[REASON_MAX];
    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
    if (elf)
        read_symbols(elf, &exports);
    elf_end(elf);
    if (exports.entries != 1) {
        snprintf(reason, sizeof(reason), "it exports %u symbols " PREFIX "*: one is right, "
                 PREFIX "%d", exports.entries, HVV_ABI_MAJOR);
        tell("symbols", reason);
    } else if (exports.others) {
        snprintf(reason, sizeof(reason), "it exports %u more than " PREFIX "%d: %s%s; compile it "
                 "with -fvisibility=hidden", exports.others, HVV_ABI_MAJOR, exports.names,
                 exports.others > 4 ? "..." : "");
        tell("symbols", reason);
    }
}

void check_file(const char *path, void (*tell)(const char *rule, const char *reason))
{
    struct error error = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        tell("file", strerror(errno));
        return;
    }
    if (elf_check(path, fd, &error) < 0)
        tell("file", error.text);
    else
        check_symbols(fd, tell);
    close(fd);
}
