/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvv/option.h - the options of a device, and the parameters of a command, as data.
 *
 * The host parses what the operator wrote (`blk:/img.raw,ro,queues=2`), checks it against the
 * table, and only then calls create(). The same table prints the help. A plugin reads the checked
 * values with hvv_option_*() (hvv/host.h).
 */
#ifndef HVV_OPTION_H
#define HVV_OPTION_H

#include <hvv/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

enum hvv_option_type {
    HVV_OPTION_STRING = 0, /* any text, 1 to 1023 bytes */
    HVV_OPTION_PATH = 1,   /* a file name; made absolute against the client's directory */
    HVV_OPTION_BOOL = 2,   /* on, off, yes, no, true, false, 1, 0; the bare name means on */
    HVV_OPTION_U64 = 3,    /* decimal or 0x hexadecimal, min <= value <= max */
    HVV_OPTION_SIZE = 4,   /* bytes, with an optional suffix K, M, G or T (powers of 1024) */
    HVV_OPTION_CHOICE = 5, /* one of the words in `choices` */
};

#define HVV_OPTION_REQUIRED 1u   /* the operator has to give it */
#define HVV_OPTION_POSITIONAL 2u /* the first word after `name:` may be its value; one at most */
#define HVV_OPTION_MULTI 4u      /* may be given several times */

struct hvv_option {
    const char *name;    /* lower case letters, digits and '-'; 1 to 31 bytes */
    uint32_t type;       /* enum hvv_option_type */
    uint32_t flags;      /* HVV_OPTION_REQUIRED ... */
    uint64_t min, max;   /* of U64 and SIZE, inclusive; max 0 means no limit */
    const char *dflt;    /* what the operator would have written, or NULL: then it may be absent */
    const char *choices; /* CHOICE: the words, separated by ' ' */
    const char *help;    /* one line, lower case, no full stop */
};

#ifdef __cplusplus
}
#endif

#endif
