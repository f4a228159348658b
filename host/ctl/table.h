/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * table.h - aligned columns on stdout. One thread. Running out of memory is remembered and told
 * when the table is printed.
 */
#ifndef HOST_CTL_TABLE_H
#define HOST_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#define TABLE_COLUMNS_MAX 10

struct table {
    size_t columns, n, size; /* cells in use and allocated */
    char **cells;            /* the header is the first row */
    bool right[TABLE_COLUMNS_MAX];
    bool no_memory;
};

/*
 * Column names separated by '|'; one that starts with '>' is aligned to the right. Without names
 * ("|") there is no header line.
 */
void table_begin(struct table *t, const char *names);
/* The next cell, row by row; NULL and "" show as '-'. */
void table_cell(struct table *t, const char *text);
void table_number(struct table *t, long long number);
/* Prints the rows, if any, after `indent` spaces each, and frees the table. An enum ctl_code. */
int table_end(struct table *t, int indent);

/* Writes text to stdout, control characters as '?'. */
void put_text(const char *text);

#endif
