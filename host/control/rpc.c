/* SPDX-License-Identifier: BSD-3-Clause */
/* rpc.c - see rpc.h. */
#include "control/rpc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_DIGITS 16 /* of a real: microseconds in a time of day */

/* When an answer is written the work is done: a moment without memory must not hide that. */
#define MEMORY_TRIES 3

static bool too_deep(const json_t *json, unsigned left)
{
    const char *key;
    json_t *value;
    size_t i;
    if (!json_is_array(json) && !json_is_object(json))
        return false;
    if (left == 0)
        return true;
    json_array_foreach(json, i, value)
        if (too_deep(value, left - 1))
            return true;
    json_object_foreach((json_t *)json, key, value)
        if (too_deep(value, left - 1))
            return true;
    return false;
}

static int refuse(int code, struct error *error, const char *text, const char *what)
{
    error_set(error, EINVAL, "%s%s%s", text, what ? ": " : "", what ? what : "");
    return code;
}

static int check_members(json_t *whole, struct error *error)
{
    static const char *const known[] = {"jsonrpc", "id", "method", "params"};
    const char *key;
    json_t *value;
    json_object_foreach(whole, key, value) {
        size_t i = 0;
        while (i < 4 && strcmp(key, known[i]) != 0)
            i++;
        if (i < 4)
            continue;
        error_set(error, EINVAL, "a request has no member \"%.64s\": it is made of jsonrpc, id, "
                  "method and params", key);
        return RPC_INVALID_REQUEST;
    }
    return 0;
}

static int check_request(struct rpc_request *r, struct error *error)
{
    json_t *id = json_object_get(r->whole, "id");
    if (id && !json_is_string(id) && !json_is_number(id) && !json_is_null(id))
        return refuse(RPC_INVALID_REQUEST, error, "the id must be a string or a number", NULL);
    r->id = id;
    const char *version = json_string_value(json_object_get(r->whole, "jsonrpc"));
    if (!version || strcmp(version, "2.0") != 0)
        return refuse(RPC_INVALID_REQUEST, error, "a request needs \"jsonrpc\": \"2.0\"", NULL);
    r->method = json_string_value(json_object_get(r->whole, "method"));
    if (!r->method)
        return refuse(RPC_INVALID_REQUEST, error, "a request needs a method, a string", NULL);
    int code = check_members(r->whole, error);
    if (code)
        return code;
    r->params = json_object_get(r->whole, "params");
    if (r->params && !json_is_object(r->params))
        return refuse(RPC_INVALID_PARAMS, error, "params must be an object: parameters are given "
                      "by name", NULL);
    return 0;
}

int rpc_parse(const char *line, size_t len, struct rpc_request *r, struct error *error)
{
    json_error_t why;
    memset(r, 0, sizeof(*r));
    r->whole = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!r->whole && (!why.text[0] || json_error_code(&why) == json_error_out_of_memory))
        return refuse(RPC_INTERNAL_ERROR, error, "out of memory for the request", NULL);
    if (!r->whole)
        return refuse(RPC_PARSE_ERROR, error, "the line is not JSON", why.text);
    if (json_is_array(r->whole))
        return refuse(RPC_INVALID_REQUEST, error, "batches are not supported: send one request "
                      "per line", NULL);
    if (!json_is_object(r->whole))
        return refuse(RPC_INVALID_REQUEST, error, "a request must be an object", NULL);
    if (too_deep(r->whole, RPC_DEPTH_MAX)) {
        error_set(error, EINVAL, "the request is nested deeper than the limit of %u",
                  RPC_DEPTH_MAX);
        return RPC_INVALID_REQUEST;
    }
    return check_request(r, error);
}

json_t *rpc_text(const char *text)
{
    json_t *json = json_string(text);
    if (json)
        return json;
    char *plain = strdup(text);
    if (!plain)
        return NULL;
    for (char *p = plain; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    json = json_string(plain);
    free(plain);
    return json;
}

json_t *rpc_answer(json_t *id)
{
    return json_pack("{s:s, s:o}", "jsonrpc", "2.0", "id", id ? json_incref(id) : json_null());
}

int rpc_set_result(json_t *answer, json_t *result)
{
    int rc = -ENOMEM;
    for (int i = 0; i < MEMORY_TRIES && rc < 0; i++)
        rc = json_object_set(answer, "result", result) < 0 ? -ENOMEM : 0;
    json_decref(result);
    return rc;
}

static json_t *error_data(const struct error *refusal)
{
    const char *name = strerrorname_np(refusal->err);
    return json_pack("{s:s, s:o*, s:o*}", "errno", name ? name : "EIO", "device",
                     refusal->device[0] ? rpc_text(refusal->device) : NULL, "option",
                     refusal->option[0] ? rpc_text(refusal->option) : NULL);
}

int rpc_set_error(json_t *answer, int code, const char *text, const struct error *refusal)
{
    int rc = -ENOMEM;
    for (int i = 0; i < MEMORY_TRIES && rc < 0; i++) {
        json_t *error = json_pack("{s:i, s:o, s:o*}", "code", code, "message", rpc_text(text),
                                  "data", refusal ? error_data(refusal) : NULL);
        rc = json_object_set_new(answer, "error", error) < 0 ? -ENOMEM : 0;
    }
    return rc;
}

json_t *rpc_notification(const char *method, json_t *params)
{
    return json_pack("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method", method, "params", params);
}

char *rpc_line(const json_t *message, size_t *len)
{
    char *line = NULL;
    for (int i = 0; i < MEMORY_TRIES && !line; i++)
        line = json_dumps(message, JSON_COMPACT | JSON_REAL_PRECISION(NUMBER_DIGITS));
    if (!line)
        return NULL;
    *len = strlen(line) + 1;
    line[*len - 1] = '\n';
    return line;
}
