/* SPDX-License-Identifier: BSD-3-Clause */
/* table.c - see table.h. */
#include "ctl/table.h"

#include "ctl/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(struct table *t, const char *text, size_t len)
{
    if (t->n == t->size) {
        size_t size = t->size ? t->size * 2 : 64;
        char **cells = realloc(t->cells, size * sizeof(*cells));
        if (!cells) {
            t->no_memory = true;
            return;
        }
        t->cells = cells;
        t->size = size;
    }
    t->cells[t->n] = strndup(text, len);
    if (t->cells[t->n])
        t->n++;
    else
        t->no_memory = true;
}

void table_begin(struct table *t, const char *names)
{
    memset(t, 0, sizeof(*t));
    for (;;) {
        t->right[t->columns] = *names == '>';
        names += *names == '>';
        size_t len = strcspn(names, "|");
        add(t, names, len);
        if (++t->columns == TABLE_COLUMNS_MAX || !names[len])
            return;
        names += len + 1;
    }
}

void table_cell(struct table *t, const char *text)
{
    if (!text || !text[0])
        text = "-";
    add(t, text, strlen(text));
}

void table_number(struct table *t, long long number)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", number);
    table_cell(t, text);
}

/* Characters of a UTF-8 text. */
static int width(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

void put_text(const char *text)
{
    for (; *text; text++)
        putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

static void put_row(const struct table *t, size_t row, const int *widths, int indent)
{
    printf("%*s", indent, "");
    for (size_t i = 0; i < t->columns; i++) {
        const char *text = t->cells[row * t->columns + i];
        int pad = widths[i] - width(text);
        if (t->right[i])
            printf("%*s", pad, "");
        put_text(text);
        if (i + 1 < t->columns)
            printf("%*s", 2 + (t->right[i] ? 0 : pad), "");
    }
    putchar('\n');
}

static void put_rows(const struct table *t, int indent)
{
    int widths[TABLE_COLUMNS_MAX] = {0};
    size_t rows = t->n / t->columns;
    for (size_t i = 0; i < t->n; i++) {
        int w = width(t->cells[i]);
        if (w > widths[i % t->columns])
            widths[i % t->columns] = w;
    }
    for (size_t row = t->cells[0][0] ? 0 : 1; rows > 1 && row < rows; row++)
        put_row(t, row, widths, indent);
}

int table_end(struct table *t, int indent)
{
    bool no_memory = t->no_memory;
    if (!no_memory)
        put_rows(t, indent);
    for (size_t i = 0; i < t->n; i++)
        free(t->cells[i]);
    free(t->cells);
    memset(t, 0, sizeof(*t));
    return no_memory ? complain(CTL_REFUSED, "out of memory for a table") : CTL_OK;
}
