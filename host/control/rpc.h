/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rpc.h - JSON-RPC 2.0 as text: what a line asks for, and the lines that answer. Pure; any thread.
 *
 * Stricter than JSON-RPC where leniency hides mistakes: no batches, no repeated keys, no unknown
 * members, parameters by name only.
 */
#ifndef HOST_CONTROL_RPC_H
#define HOST_CONTROL_RPC_H

#include "util/error.h"

#include <jansson.h>

#define RPC_LINE_MAX (1u << 20) /* bytes of a request, without its newline */
#define RPC_DEPTH_MAX 32u       /* arrays and objects within each other */

enum rpc_code {
    RPC_PARSE_ERROR = -32700,
    RPC_INVALID_REQUEST = -32600,
    RPC_METHOD_NOT_FOUND = -32601,
    RPC_INVALID_PARAMS = -32602,
    RPC_INTERNAL_ERROR = -32603,
    RPC_REFUSED = -32000, /* what was asked for cannot be done; see error.data */
};

struct rpc_request {
    json_t *whole;      /* owns the rest */
    json_t *id;         /* NULL: a notification */
    const char *method;
    json_t *params;     /* object or NULL */
};

/*
 * Reads one line. 0: free request->whole. Else the code to answer with: the sentence is in `error`
 * and request->whole (to free) and ->id are set as far as the line made sense.
 */
int rpc_parse(const char *line, size_t len, struct rpc_request *request, struct error *error);

/*
 * An answer to the request with this id (borrowed; NULL stands for null), still without result or
 * error. It is made before the work is done: then there is little left that can fail. NULL: out of
 * memory.
 */
json_t *rpc_answer(json_t *id);

/* These complete an answer. 0 or -ENOMEM. `result` is stolen; `refusal` (or NULL) becomes data. */
int rpc_set_result(json_t *answer, json_t *result);
int rpc_set_error(json_t *answer, int code, const char *text, const struct error *refusal);

/* `params` is stolen. NULL: out of memory. */
json_t *rpc_notification(const char *method, json_t *params);

/* The message as one line, newline included but not zero-terminated; free(). NULL: no memory. */
char *rpc_line(const json_t *message, size_t *len);

/* A JSON string of any bytes: where they are not UTF-8, each that is not ASCII becomes '?'. */
json_t *rpc_text(const char *text);

#endif
