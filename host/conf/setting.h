/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * setting.h - the table of settings: what the command line, the file, the help text and (by a test)
 * the manual pages are made from. Main thread, before there are others.
 */
#ifndef HOST_CONF_SETTING_H
#define HOST_CONF_SETTING_H

#include "conf/conf.h"

/* How the file writes it. On the command line all is text. */
enum setting_kind {
    SETTING_TEXT,    /* "..." */
    SETTING_NUMBER,  /* 7 or "7" */
    SETTING_FLAG,    /* true or false; on the command line no value */
    SETTING_SWITCH,  /* true, false or "..."; on the command line the value may be left out */
    SETTING_LIST,    /* [ "...", "..." ]; on the command line given several times */
    SETTING_DEVICES, /* ( "...", { plugin = "..."; } ); likewise */
    SETTING_COMMAND, /* not in the file at all */
};

/* Where a value was found. */
struct setting_source {
    const char *label; /* what errors call the setting: --poll-us, poll_us */
    const char *dir;   /* what relative paths are relative to; NULL: unknown */
};

struct setting {
    const char *name; /* long option */
    char letter;      /* short option, or 0 */
    const char *key;  /* in the file, or NULL */
    const char *arg;  /* what the value is called in help, or NULL */
    enum setting_kind kind;
    const char *dflt; /* what the operator would have written, or NULL */
    const char *help;
    int (*set)(struct conf *conf, const char *text, const struct setting_source *source,
               struct error *error);         /* NULL: conf_parse() does it */
    void (*clear)(struct conf *conf);        /* lists only: the next source replaces it */
};

extern const struct setting settings[];
extern const size_t settings_n;

/* Appends to conf->devices, taking over `spec` unless it fails. */
int setting_add_device(struct conf *conf, struct spec *spec, const struct setting_source *source,
                       struct error *error);

#endif
