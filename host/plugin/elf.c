/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * elf.c - see elf.h. The one file that includes libelf.
 *
 * The file is read with pread(), never mapped: one that shrinks meanwhile cannot raise SIGBUS.
 * Every loop is bounded by what fits in the file.
 */
#include "plugin/elf.h"

#include <errno.h>
#include <gelf.h>
#include <hvv/abi.h>
#include <libelf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "hvv_plugin_v"
#define SHOWN_MAX 200u  /* longest path a message shows whole */
#define MAJORS_MAX 4u   /* other majors that a message names */
#define MAJOR_DIGITS 4u /* longest number taken for a major */
#define SEGMENTS_MAX 64u /* program headers; linkers write about ten */

#define WANTED_CLASS (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define WANTED_DATA ELFDATA2LSB
#else
#define WANTED_DATA ELFDATA2MSB
#endif

#if defined(__x86_64__)
#define WANTED_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define WANTED_MACHINE EM_AARCH64
#elif defined(__riscv)
#define WANTED_MACHINE EM_RISCV
#elif defined(__loongarch__)
#define WANTED_MACHINE EM_LOONGARCH
#else
#error "add the ELF machine number of this processor"
#endif

/* One file being looked at. */
struct look {
    const char *path;
    int fd;
    uint64_t size;
    Elf *elf;
    GElf_Ehdr header;
    GElf_Phdr segments[SEGMENTS_MAX];
    unsigned n_segments;
    struct error *error;
};

static const struct {
    unsigned number;
    const char *name;
} machines[] = {
    {EM_X86_64, "x86_64"}, {EM_AARCH64, "aarch64"},       {EM_RISCV, "riscv64"},
    {EM_386, "i386"},      {EM_LOONGARCH, "loongarch64"}, {EM_ARM, "arm"},
    {EM_PPC64, "ppc64"},   {EM_S390, "s390x"},            {EM_MIPS, "mips"},
};

const char *elf_shown(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && strlen(path) > SHOWN_MAX ? slash + 1 : path;
}

static const char *machine_name(unsigned number, char *text, size_t size)
{
    for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++)
        if (machines[i].number == number)
            return machines[i].name;
    snprintf(text, size, "machine number %u", number);
    return text;
}

static int truncated(struct look *look)
{
    return error_set(look->error, ENOEXEC,
                     "plugin %s is truncated: it has %llu bytes, less than its headers say; copy "
                     "it again",
                     elf_shown(look->path), (unsigned long long)look->size);
}

/* libelf failed: the file is damaged, or memory or the disk failed, which may pass. */
static int damaged(struct look *look)
{
    return error_set(look->error, EIO, "plugin %s is a damaged ELF file (%s): copy it again",
                     elf_shown(look->path), elf_errmsg(-1));
}

static int check_regular(struct look *look)
{
    struct stat st;
    if (fstat(look->fd, &st) < 0)
        return error_set(look->error, errno, "plugin %s cannot be read: %s",
                         elf_shown(look->path), strerror(errno));
    if (S_ISDIR(st.st_mode))
        return error_set(look->error, ENOEXEC, "plugin %s is a directory, not a regular file",
                         elf_shown(look->path));
    if (!S_ISREG(st.st_mode))
        return error_set(look->error, ENOEXEC, "plugin %s is not a regular file",
                         elf_shown(look->path));
    look->size = (uint64_t)st.st_size;
    return 0;
}

/* The first bytes: an ELF file at all, and of the right width and byte order? */
static int check_ident(struct look *look)
{
    unsigned char ident[EI_NIDENT] = {0};
    ssize_t n = pread(look->fd, ident, sizeof(ident), 0);
    if (n < 0)
        return error_set(look->error, errno, "plugin %s cannot be read: %s",
                         elf_shown(look->path), strerror(errno));
    if (n == 0)
        return error_set(look->error, ENOEXEC, "plugin %s is not an ELF file: it is empty",
                         elf_shown(look->path));
    if (n < SELFMAG || memcmp(ident, ELFMAG, SELFMAG) != 0)
        return error_set(look->error, ENOEXEC,
                         "plugin %s is not an ELF file: a plugin is a shared object (cc -shared)",
                         elf_shown(look->path));
    if ((size_t)n < sizeof(ident))
        return truncated(look);
    if (ident[EI_CLASS] != WANTED_CLASS)
        return error_set(look->error, ENOEXEC, "plugin %s is a %s ELF file, this host wants %s",
                         elf_shown(look->path),
                         ident[EI_CLASS] == ELFCLASS32   ? "32-bit"
                         : ident[EI_CLASS] == ELFCLASS64 ? "64-bit"
                                                         : "damaged",
                         WANTED_CLASS == ELFCLASS64 ? "64-bit" : "32-bit");
    if (ident[EI_DATA] != WANTED_DATA)
        return error_set(look->error, ENOEXEC, "plugin %s is a %s ELF file, this host wants %s",
                         elf_shown(look->path),
                         ident[EI_DATA] == ELFDATA2LSB   ? "little-endian"
                         : ident[EI_DATA] == ELFDATA2MSB ? "big-endian"
                                                         : "damaged",
                         WANTED_DATA == ELFDATA2LSB ? "little-endian" : "big-endian");
    return 0;
}

static int check_header(struct look *look)
{
    const GElf_Ehdr *h = &look->header;
    char found[32], wanted[32];
    if (h->e_machine != WANTED_MACHINE)
        return error_set(look->error, ENOEXEC,
                         "plugin %s is for %s, this is %s: use one built for this machine",
                         elf_shown(look->path), machine_name(h->e_machine, found, sizeof(found)),
                         machine_name(WANTED_MACHINE, wanted, sizeof(wanted)));
    if (h->e_type != ET_DYN)
        return error_set(look->error, ENOEXEC,
                         "plugin %s is %s, not a shared object: link it with -shared",
                         elf_shown(look->path),
                         h->e_type == ET_EXEC  ? "a program"
                         : h->e_type == ET_REL ? "an object file"
                                               : "another kind of ELF file");
    return 0;
}

static bool fits(const struct look *look, uint64_t offset, uint64_t bytes)
{
    return offset <= look->size && bytes <= look->size - offset;
}

/* All that dlopen() will map, and the table of sections, must be in the file. */
static int check_whole(struct look *look)
{
    const GElf_Ehdr *h = &look->header;
    if (!fits(look, h->e_phoff, (uint64_t)h->e_phnum * h->e_phentsize) ||
        !fits(look, h->e_shoff, (uint64_t)h->e_shnum * h->e_shentsize))
        return truncated(look);
    if (h->e_phnum > SEGMENTS_MAX)
        return error_set(look->error, ENOEXEC,
                         "plugin %s has %u program headers, the limit is %u: link it anew",
                         elf_shown(look->path), (unsigned)h->e_phnum, SEGMENTS_MAX);
    for (; look->n_segments < h->e_phnum; look->n_segments++) {
        GElf_Phdr *segment = &look->segments[look->n_segments];
        if (!gelf_getphdr(look->elf, (int)look->n_segments, segment))
            return damaged(look);
        if (segment->p_type == PT_LOAD && !fits(look, segment->p_offset, segment->p_filesz))
            return truncated(look);
    }
    return 0;
}

/* ---- segments: the dynamic linker believes every word of them -------------------------------- */

static int spoilt(struct look *look, const char *why)
{
    return error_set(look->error, ENOEXEC,
                     "plugin %s has damaged program headers: %s; copy it again",
                     elf_shown(look->path), why);
}

/* Is [at, at + bytes) inside [start, start + size)? None of the sums can wrap. */
static bool inside(uint64_t at, uint64_t bytes, uint64_t start, uint64_t size)
{
    return at >= start && at - start <= size && bytes <= size - (at - start);
}

/* The segment that has these addresses loaded, or NULL. */
static const GElf_Phdr *loaded(const struct look *look, uint64_t at, uint64_t bytes)
{
    for (unsigned i = 0; i < look->n_segments; i++) {
        const GElf_Phdr *s = &look->segments[i];
        if (s->p_type == PT_LOAD && inside(at, bytes, s->p_vaddr, s->p_memsz))
            return s;
    }
    return NULL;
}

/* These bytes of the file, at these addresses. */
static const GElf_Phdr *loaded_from(const struct look *look, uint64_t at, uint64_t offset,
                                    uint64_t bytes)
{
    const GElf_Phdr *s = loaded(look, at, bytes);
    return s && inside(offset, bytes, s->p_offset, s->p_filesz) &&
           offset - s->p_offset == at - s->p_vaddr ? s : NULL;
}

/* What is loaded: in order, apart, and the first has the headers themselves. */
static int check_loads(struct look *look)
{
    const GElf_Ehdr *h = &look->header;
    const GElf_Phdr *first = NULL;
    uint64_t end = 0;
    for (unsigned i = 0; i < look->n_segments; i++) {
        const GElf_Phdr *s = &look->segments[i];
        if (s->p_type != PT_LOAD)
            continue;
        if (s->p_filesz > s->p_memsz)
            return spoilt(look, "a PT_LOAD segment is larger in the file than in memory");
        if (s->p_memsz > INT64_MAX || s->p_vaddr > INT64_MAX - s->p_memsz)
            return spoilt(look, "a PT_LOAD segment is beyond the end of memory");
        if (s->p_vaddr < end)
            return spoilt(look, "PT_LOAD segments overlap or are out of order");
        end = s->p_vaddr + s->p_memsz;
        first = first ? first : s;
    }
    if (!first)
        return spoilt(look, "no PT_LOAD segment");
    uint64_t headers = h->e_phoff + (uint64_t)h->e_phnum * h->e_phentsize; /* in the file: fits() */
    if (first->p_offset != 0 || headers > first->p_filesz)
        return spoilt(look, "the first PT_LOAD segment does not cover the ELF header and them");
    return 0;
}

/* Only the linker's word for "read-only from here on" may reach to the end of the last page. */
static bool relro_fits(const struct look *look, const GElf_Phdr *relro)
{
    const GElf_Phdr *s = loaded(look, relro->p_vaddr, 0);
    return s && s->p_align <= UINT32_MAX &&
           inside(relro->p_vaddr, relro->p_memsz, s->p_vaddr, s->p_memsz + s->p_align);
}

/* What the dynamic linker looks at in memory must have been loaded. */
static int check_parts(struct look *look)
{
    for (unsigned i = 0; i < look->n_segments; i++) {
        const GElf_Phdr *s = &look->segments[i];
        switch (s->p_type) {
        case PT_PHDR:
            if (s->p_offset != look->header.e_phoff ||
                !loaded_from(look, s->p_vaddr, s->p_offset, s->p_filesz))
                return spoilt(look, "PT_PHDR is not where they are");
            break;
        case PT_INTERP:
        case PT_NOTE:
        case PT_GNU_EH_FRAME:
        case PT_GNU_PROPERTY:
            if (s->p_memsz > s->p_filesz ||
                (s->p_memsz && !loaded_from(look, s->p_vaddr, s->p_offset, s->p_filesz)))
                return spoilt(look, "notes or tables outside the PT_LOAD segments");
            break;
        case PT_TLS:
            if (s->p_filesz > s->p_memsz || s->p_memsz > INT32_MAX || s->p_align > INT32_MAX ||
                (s->p_align & (s->p_align - 1)) ||
                (s->p_filesz && !loaded_from(look, s->p_vaddr, s->p_offset, s->p_filesz)))
                return spoilt(look, "PT_TLS is outside the PT_LOAD segments or no real size");
            break;
        case PT_GNU_RELRO:
            if (s->p_memsz && !relro_fits(look, s))
                return spoilt(look, "PT_GNU_RELRO is outside the PT_LOAD segments");
        }
    }
    return 0;
}

static bool is_address(int64_t tag)
{
    return tag == DT_STRTAB || tag == DT_SYMTAB || tag == DT_HASH || tag == DT_GNU_HASH ||
           tag == DT_RELA || tag == DT_JMPREL || tag == DT_INIT || tag == DT_FINI ||
           tag == DT_INIT_ARRAY || tag == DT_FINI_ARRAY || tag == DT_PLTGOT ||
           tag == DT_VERNEED || tag == DT_VERDEF || tag == DT_VERSYM;
}

/* The table in the file's PT_DYNAMIC: ends, has names and symbols, and points at what is loaded. */
static int check_dynamic_entries(struct look *look, const GElf_Phdr *dynamic)
{
    Elf_Data *data = elf_getdata_rawchunk(look->elf, (int64_t)dynamic->p_offset,
                                          dynamic->p_filesz, ELF_T_DYN);
    bool names = false, symbols = false;
    GElf_Dyn entry;
    if (!data)
        return damaged(look);
    for (int i = 0; gelf_getdyn(data, i, &entry); i++) {
        if (entry.d_tag == DT_NULL)
            return names && symbols ? 0 : spoilt(look, "PT_DYNAMIC leads to no symbols");
        names = names || entry.d_tag == DT_STRTAB;
        symbols = symbols || entry.d_tag == DT_SYMTAB;
        if (is_address(entry.d_tag) && !loaded(look, entry.d_un.d_ptr, 1))
            return spoilt(look, "an address in PT_DYNAMIC is in no PT_LOAD segment");
    }
    return spoilt(look, "PT_DYNAMIC has no end");
}

static int check_dynamic(struct look *look)
{
    const GElf_Phdr *dynamic = NULL;
    for (unsigned i = 0; i < look->n_segments; i++) {
        if (look->segments[i].p_type != PT_DYNAMIC)
            continue;
        if (dynamic)
            return spoilt(look, "two PT_DYNAMIC segments");
        dynamic = &look->segments[i];
    }
    if (!dynamic)
        return spoilt(look, "no PT_DYNAMIC segment");
    const GElf_Phdr *load = loaded_from(look, dynamic->p_vaddr, dynamic->p_offset,
                                        dynamic->p_filesz);
    if (!load || dynamic->p_memsz != dynamic->p_filesz)
        return spoilt(look, "PT_DYNAMIC is not inside a PT_LOAD segment");
    return check_dynamic_entries(look, dynamic);
}

/* A section of the running program, with the rights that it needs. */
static bool section_is_loaded(const struct look *look, const GElf_Shdr *section)
{
    const GElf_Phdr *s;
    if (!(section->sh_flags & SHF_ALLOC) || section->sh_size == 0)
        return true;
    if (section->sh_type != SHT_NOBITS)
        s = loaded_from(look, section->sh_addr, section->sh_offset, section->sh_size);
    else if (section->sh_flags & SHF_TLS) /* takes up no addresses */
        return true;
    else
        s = loaded(look, section->sh_addr, section->sh_size);
    return s && (s->p_flags & PF_R) && (!(section->sh_flags & SHF_WRITE) || (s->p_flags & PF_W)) &&
           (!(section->sh_flags & SHF_EXECINSTR) || (s->p_flags & PF_X));
}

/* The sections tell what the segments must have: one that is no longer PT_LOAD is missed here. */
static int check_sections(struct look *look)
{
    Elf_Scn *section = NULL;
    GElf_Shdr header;
    while ((section = elf_nextscn(look->elf, section))) {
        if (!gelf_getshdr(section, &header))
            return damaged(look);
        if (!section_is_loaded(look, &header))
            return spoilt(look, "a section is not in a PT_LOAD segment with its rights");
    }
    return 0;
}

static int check_segments(struct look *look)
{
    int rc = check_loads(look);
    if (rc == 0)
        rc = check_parts(look);
    if (rc == 0)
        rc = check_dynamic(look);
    if (rc == 0)
        rc = check_sections(look);
    return rc;
}

static Elf_Scn *find_section(struct look *look, uint32_t type, GElf_Shdr *header)
{
    Elf_Scn *section = NULL;
    while ((section = elf_nextscn(look->elf, section)))
        if (gelf_getshdr(section, header) && header->sh_type == type)
            return section;
    return NULL;
}

/* A position-independent program has the type of a shared object, but a flag tells. */
static int check_no_program(struct look *look)
{
    GElf_Shdr header;
    Elf_Scn *section = find_section(look, SHT_DYNAMIC, &header);
    Elf_Data *data = section ? elf_getdata(section, NULL) : NULL;
    GElf_Dyn entry;
    for (int i = 0; data && gelf_getdyn(data, i, &entry) && entry.d_tag != DT_NULL; i++)
        if (entry.d_tag == DT_FLAGS_1 && (entry.d_un.d_val & DF_1_PIE))
            return error_set(look->error, ENOEXEC,
                             "plugin %s is a program, not a shared object: link it with -shared",
                             elf_shown(look->path));
    return 0;
}

/* The major in the name of an entry symbol, or 0 if it is none that others can call. */
static unsigned entry_major(const GElf_Sym *symbol, const Elf_Data *names)
{
    if (symbol->st_shndx == SHN_UNDEF || GELF_ST_TYPE(symbol->st_info) != STT_FUNC ||
        GELF_ST_BIND(symbol->st_info) == STB_LOCAL || symbol->st_name >= names->d_size)
        return 0;
    const char *name = (const char *)names->d_buf + symbol->st_name;
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
        return 0;
    const char *digits = name + strlen(PREFIX);
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || n > MAJOR_DIGITS || digits[n] || digits[0] == '0')
        return 0;
    unsigned major = 0;
    for (size_t i = 0; i < n; i++)
        major = major * 10 + (unsigned)(digits[i] - '0');
    return major;
}

static int wrong_majors(struct look *look, const unsigned *majors, unsigned n)
{
    char found[8 * MAJORS_MAX] = "";
    if (n == 0)
        return error_set(look->error, ENOEXEC, "plugin %s is no plugin: it exports no %s%d",
                         elf_shown(look->path), PREFIX, HVV_ABI_MAJOR);
    for (unsigned i = 0; i < n; i++) {
        size_t len = strlen(found);
        snprintf(found + len, sizeof(found) - len, "%s%u", i ? ", " : "", majors[i]);
    }
    return error_set(look->error, ENOEXEC,
                     "plugin %s has plugin ABI %s, this host has %d: use one built for it",
                     elf_shown(look->path), found, HVV_ABI_MAJOR);
}

/* The names of a symbol table, if they end in a NUL as they must. */
static const Elf_Data *symbol_names(struct look *look, const GElf_Shdr *symbols)
{
    Elf_Scn *section = elf_getscn(look->elf, symbols->sh_link);
    Elf_Data *names = section ? elf_getdata(section, NULL) : NULL;
    if (!names || !names->d_buf || names->d_size == 0 ||
        ((const char *)names->d_buf)[names->d_size - 1] != '\0')
        return NULL;
    return names;
}

static int check_entry(struct look *look)
{
    unsigned majors[MAJORS_MAX], n = 0;
    GElf_Shdr header;
    Elf_Scn *section = find_section(look, SHT_DYNSYM, &header);
    if (!section)
        return wrong_majors(look, NULL, 0);
    Elf_Data *symbols = elf_getdata(section, NULL);
    const Elf_Data *names = symbol_names(look, &header);
    if (!symbols || !names)
        return damaged(look);
    GElf_Sym symbol;
    for (int i = 0; gelf_getsym(symbols, i, &symbol); i++) {
        unsigned major = entry_major(&symbol, names);
        if (major == HVV_ABI_MAJOR)
            return 0;
        if (major && n < MAJORS_MAX)
            majors[n++] = major;
    }
    return wrong_majors(look, majors, n);
}

int elf_check(const char *path, int fd, struct error *error)
{
    struct look look = {.path = path, .fd = fd, .error = error};
    int rc = check_regular(&look);
    if (rc == 0)
        rc = check_ident(&look);
    if (rc < 0)
        return rc;
    elf_version(EV_CURRENT);
    look.elf = elf_begin(fd, ELF_C_READ, NULL);
    if (!look.elf || !gelf_getehdr(look.elf, &look.header))
        rc = look.size < sizeof(Elf64_Ehdr) ? truncated(&look) : damaged(&look);
    if (rc == 0)
        rc = check_header(&look);
    if (rc == 0)
        rc = check_whole(&look);
    if (rc == 0)
        rc = check_no_program(&look);
    if (rc == 0)
        rc = check_entry(&look);
    if (rc == 0)
        rc = check_segments(&look);
    elf_end(look.elf);
    return rc;
}
