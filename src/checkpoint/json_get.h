/* json_get.h - typed look-ups in the JSON files of a model folder.
 *
 * Absent keys and null leave *out alone and return 0; a value of another kind or out of range is
 * ST_FORMAT, naming `file` and the key. */
#ifndef QUIRE_CHECKPOINT_JSON_GET_H
#define QUIRE_CHECKPOINT_JSON_GET_H

#include "status.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_MAX_BYTES = 32 << 20 }; /* cJSON takes some 30 times the space of the text */

/* A whole document whose root is an object; cJSON_Delete it. NULL with *e set. */
cJSON *json_document(const char *file, const void *p, size_t n, struct err *e);

struct json_obj {
    const char *file; /* for messages */
    const cJSON *o;
};

/* NULL when absent or null. Keys are compared exactly. */
const cJSON *json_find(const struct json_obj *j, const char *key);
int json_int(const struct json_obj *j, const char *key, int64_t *out, struct err *e);
int json_num(const struct json_obj *j, const char *key, double *out, struct err *e);
int json_bool(const struct json_obj *j, const char *key, bool *out, struct err *e);
int json_str(const struct json_obj *j, const char *key, const char **out, struct err *e);
/* The value of one item; false when it is no integer of at most 2^53. */
bool json_item_int(const cJSON *item, int64_t *out);

#endif
