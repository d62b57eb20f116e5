/* SPDX-License-Identifier: Apache-2.0 */
/* json_file.h - the JSON files of a model folder: read through cJSON, looked up by type.
 *
 * Why not json.h: a tokenizer.json has a million values and more, and numbers are plain doubles
 * here. cJSON accepts more than JSON, so the text is checked around it: it is UTF-8, and nothing
 * follows the value. cJSON bounds its own nesting (CJSON_NESTING_LIMIT, 1,000). One thread, at
 * load.
 *
 * Where a file differs from a request (json.h): a repeated key is not refused, the first one
 * counts; a lone surrogate is refused, as there; numbers beyond 2^53 lose digits.
 */
#ifndef QUIRE_JSON_FILE_H
#define QUIRE_JSON_FILE_H

#include "buf.h"
#include "status.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_file_rules {
    size_t max_bytes; /* of the text; cJSON takes some 30 times as much */
    bool cut_zeros;   /* a zero character ends a string, and the file; else ST_UNSUPPORTED */
};
extern const struct json_file_rules json_file_config;    /* config.json and such: 32 MiB, cut */
extern const struct json_file_rules json_file_tokenizer; /* 256 MiB; zeros could be vocabulary */

/* A whole file whose root is an object; cJSON_Delete it. `name` stands in messages. ST_FORMAT. */
int json_file_parse(cJSON **out, struct view text, const char *name,
                    const struct json_file_rules *rules, struct err *e);
/* The same by the rules of json_file_config; NULL with *e set. */
cJSON *json_document(const char *file, const void *p, size_t n, struct err *e);

/* ---- strict look-ups ----
 *
 * Absent keys and null leave *out alone and return 0; a value of another kind or out of range is
 * ST_FORMAT, naming `file` and the key. */
struct json_obj {
    const char *file; /* for messages */
    const cJSON *o;
    bool *seen; /* [members of o] set where a look-up below found the key; NULL: not kept */
};

/* The next member that no look-up found and that is not null; NULL at the end. *at is 0 to begin
 * with. For an object whose look-ups are kept. */
const cJSON *json_unread(const struct json_obj *j, size_t *at);
/* NULL when absent or null. Keys are compared exactly. */
const cJSON *json_find(const struct json_obj *j, const char *key);
int json_int(const struct json_obj *j, const char *key, int64_t *out, struct err *e);
int json_num(const struct json_obj *j, const char *key, double *out, struct err *e);
int json_bool(const struct json_obj *j, const char *key, bool *out, struct err *e);
int json_str(const struct json_obj *j, const char *key, const char **out, struct err *e);
/* The value of one item; false when it is no integer of at most 2^53. */
bool json_item_int(const cJSON *item, int64_t *out);

/* ---- lenient look-ups ----
 *
 * For files whose fields come in several shapes. js_str: NULL when absent, null or no string.
 * js_bool: `otherwise` when absent or no boolean. */
const cJSON *js_get(const cJSON *o, const char *name);
const char *js_str(const cJSON *o, const char *name);
bool js_bool(const cJSON *o, const char *name, bool otherwise);
/* A whole number in [0, max]; -1 when it is anything else. */
int64_t js_int(const cJSON *v, int64_t max);

#endif
