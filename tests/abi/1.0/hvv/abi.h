/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvv/abi.h - the version of the plugin ABI and the rules every struct in it keeps.
 *
 * The rules (hvv_plugin(7) has the long form):
 *  - The major is in the name of the one symbol a plugin exports, hvv_plugin_v1. A host that does
 *    not know that symbol refuses the file before any of its code runs.
 *  - Structs passed by pointer start with `size`, the sizeof that the side filling it in saw.
 *    Members are only ever appended. A reader looks at a member only if HVV_HAS() says it is there.
 *  - Arrays of structs carry one stride beside the pointer (`option_size` for `options`), so that a
 *    newer host can walk an older plugin's table.
 *  - Fixed-width integers and pointers only; `reserved` members are zero.
 *  - Host services come as a table of functions (struct hvv_host): a plugin has no undefined symbol
 *    of the host, and can be loaded by any program that fills in that table.
 */
#ifndef HVV_ABI_H
#define HVV_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HVV_ABI_MAJOR 1
#define HVV_ABI_MINOR 0

/* True if OBJ, a TYPE whose first member says how large it is, has MEMBER and it is not 0. */
#define HVV_HAS(TYPE, OBJ, MEMBER) \
    ((OBJ)->size >= offsetof(TYPE, MEMBER) + sizeof((OBJ)->MEMBER) && (OBJ)->MEMBER)

#if defined(__GNUC__)
#define HVV_PRINTF(FMT, ARGS) __attribute__((format(printf, FMT, ARGS)))
#define HVV_EXPORT __attribute__((visibility("default")))
#else
#define HVV_PRINTF(FMT, ARGS)
#define HVV_EXPORT
#endif

#ifdef __cplusplus
}
#endif

#endif
