/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory: translation, snapshots, refusals, and surviving a truncated file. */
#include "memory/memory.h"

#include "memory/sigbus.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u

static int make_file(uint64_t size)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    cr_assert(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    return fd;
}

static struct region *make_region(uint64_t size)
{
    struct error error = {0};
    int fd = make_file(size);
    struct region *region = region_map(fd, 0, size, &error);
    cr_assert(region, "%s", error.text);
    close(fd);
    return region;
}

static struct memory *make_memory(struct memory_entry *entries, size_t n)
{
    struct error error = {0};
    for (size_t i = 0; i < n; i++)
        entries[i].region = make_region(entries[i].size);
    struct memory *memory = memory_new(entries, n, &error);
    cr_assert(memory, "%s", error.text);
    for (size_t i = 0; i < n; i++)
        region_put(entries[i].region);
    return memory;
}

Test(memory, translates_within_and_across_regions)
{
    struct memory_entry e[] = {
        {.gpa = 0x1000, .size = PAGE, .uva = 0x7000},
        {.gpa = 0x2000, .size = PAGE, .uva = 0x9000},
        {.gpa = 0x8000, .size = PAGE, .uva = 0xa000},
    };
    struct memory *m = make_memory(e, 3);
    struct iovec iov[4];
    const struct {
        uint64_t gpa, size;
        int want;
    } rows[] = {
        {0x1000, 1, 1},        {0x1fff, 1, 1},          {0x1fff, 2, 2},
        {0x1000, 2 * PAGE, 2}, {0x1000, 0, 0},          {0x0fff, 1, -EFAULT},
        {0x0fff, 2, -EFAULT},  {0x2fff, 2, -EFAULT},    {0x1000, 2 * PAGE + 1, -EFAULT},
        {0x8000, PAGE, 1},     {0x8fff, 2, -EFAULT},    {UINT64_MAX, 1, -EFAULT},
        {UINT64_MAX - 3, 64, -EFAULT}, {0x1000, UINT64_MAX, -EFAULT}, {0x9000, 1, -EFAULT},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        cr_expect_eq(memory_translate(m, rows[i].gpa, rows[i].size, iov, 4), rows[i].want,
                     "row %zu", i);
    cr_expect_eq(memory_translate(m, 0x1fff, 2, iov, 1), -ENOSPC);
    cr_assert_eq(memory_translate(m, 0x1ff0, 0x20, iov, 4), 2);
    cr_expect_eq(iov[0].iov_len, 0x10);
    cr_expect_eq(iov[1].iov_len, 0x10);
    memory_put(m);
}

Test(memory, region_at_the_top_of_the_address_space)
{
    struct memory_entry e[] = {{.gpa = UINT64_MAX - PAGE, .size = PAGE, .uva = 0}};
    struct memory *m = make_memory(e, 1);
    struct iovec iov[2];
    cr_expect_eq(memory_translate(m, UINT64_MAX - PAGE, PAGE, iov, 2), 1);
    cr_expect_eq(memory_translate(m, UINT64_MAX - PAGE, PAGE + 1, iov, 2), -EFAULT);
    memory_put(m);
}

Test(memory, front_end_addresses)
{
    struct memory_entry e[] = {{.gpa = 0x1000, .size = PAGE, .uva = 0x500000}};
    struct memory *m = make_memory(e, 1);
    uint64_t gpa;
    cr_expect(memory_from_uva(m, 0x500010, &gpa));
    cr_expect_eq(gpa, 0x1010);
    cr_expect_not(memory_from_uva(m, 0x501000, &gpa));
    cr_expect_not(memory_from_uva(m, 0x4fffff, &gpa));
    memory_put(m);
}

Test(memory, refuses_bad_tables)
{
    struct error error = {0};
    struct region *r = make_region(PAGE);
    const struct memory_entry bad[][2] = {
        {{.gpa = 0x1000, .size = PAGE, .region = r}, {.gpa = 0x1800, .size = PAGE, .region = r}},
        {{.gpa = 0x1000, .size = PAGE, .region = r}, {.gpa = 0x1000, .size = PAGE, .region = r}},
        {{.gpa = 0x1000, .size = PAGE, .region = r},
         {.gpa = UINT64_MAX - 5, .size = PAGE, .region = r}},
        {{.gpa = 0x1000, .size = PAGE, .region = r},
         {.gpa = 0x8000, .size = PAGE, .uva = UINT64_MAX - 5, .region = r}},
        {{.gpa = 0x1000, .size = PAGE, .region = r}, {.gpa = 0x8000, .size = 0, .region = r}},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        error.err = 0;
        cr_expect_null(memory_new(bad[i], 2, &error), "row %zu", i);
        cr_expect_eq(error.err, EINVAL);
    }
    region_put(r);
}

Test(memory, refuses_a_region_its_file_does_not_have)
{
    int fd = make_file(2 * PAGE);
    const struct {
        uint64_t offset, size;
    } rows[] = {{0, 0}, {0, 2 * PAGE + 1}, {PAGE, PAGE + 1}, {3 * PAGE, 1}, {UINT64_MAX, 2},
                {PAGE, UINT64_MAX}, {INT64_MAX, PAGE}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error error = {0};
        cr_expect_null(region_map(fd, rows[i].offset, rows[i].size, &error), "row %zu", i);
        cr_expect(error.err && error.text[0]);
    }
    close(fd);
}

Test(memory, offset_that_is_no_page_boundary)
{
    struct error error = {0};
    int fd = make_file(2 * PAGE);
    cr_assert_eq(pwrite(fd, "x", 1, 100), 1);
    struct region *r = region_map(fd, 100, PAGE, &error);
    cr_assert(r, "%s", error.text);
    struct memory_entry e = {.gpa = 0, .size = PAGE, .region = r};
    struct memory *m = memory_new(&e, 1, &error);
    cr_expect_eq(*(char *)memory_pointer(m, 0, 1), 'x');
    memory_put(m);
    region_put(r);
    close(fd);
}

Test(memory, a_truncated_file_marks_the_memory_lost)
{
    struct error error = {0};
    cr_assert_eq(sigbus_install(), 0);
    int fd = make_file(4 * PAGE);
    struct region *r = region_map(fd, 0, 4 * PAGE, &error);
    struct memory_entry e = {.gpa = 0, .size = 4 * PAGE, .region = r};
    struct memory *m = memory_new(&e, 1, &error);
    char *p = memory_pointer(m, 0, 4 * PAGE);
    memset(p, 1, 4 * PAGE);
    cr_expect_not(memory_lost(m));
    cr_assert_eq(ftruncate(fd, PAGE), 0);
    cr_expect_eq(*(_Atomic char *)(p + 2 * PAGE), 0);
    *(_Atomic char *)(p + 3 * PAGE) = 7;
    cr_expect(memory_lost(m));
    cr_expect_eq(p[0], 1, "pages that are still there keep their content");
    memory_put(m);
    region_put(r);
    close(fd);
}

Test(memory, sigbus_elsewhere_still_kills, .signal = SIGBUS)
{
    sigbus_install();
    int fd = make_file(PAGE);
    char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    cr_assert_eq(ftruncate(fd, 0), 0);
    (void)*(_Atomic char *)p;
}
