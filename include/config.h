/* SPDX-License-Identifier: Apache-2.0 */
/* config.h - every setting of the daemon, as plain values. Filled once at start, then read-only.
 *
 * Sources, later wins: built-in default, file, drop-ins, environment, command line. One list
 * (settings.def) makes the members below and drives parsing, ranges, units, --help, --print-config
 * and configs/quired.yaml: a new setting is one row there.
 */
#ifndef QUIRE_CONFIG_H
#define QUIRE_CONFIG_H

#include "ids.h"
#include "status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct str_list {
    char **v; /* [n], zero-terminated strings, owned */
    int32_t n;
};

/* The words of every choice with their constants, in one list each: the word's place in the list is
 * its value, so text and enum cannot disagree. */
/* clang-format off */
#define CONF_DEVICE(W) \
    W(CONF_DEVICE_AUTO, auto) W(CONF_DEVICE_CUDA, cuda) W(CONF_DEVICE_CPU, cpu)
#define CONF_LOAD(W) W(CONF_LOAD_AUTO, auto) W(CONF_LOAD_DUMMY, dummy)
#define CONF_MODEL(W) \
    W(CONF_MODEL_AUTO, auto) W(CONF_MODEL_BF16, bf16) W(CONF_MODEL_F16, f16)
#define CONF_GRAPHS(W) \
    W(CONF_GRAPHS_OFF, off) W(CONF_GRAPHS_LAZY, lazy) W(CONF_GRAPHS_START, start)
#define CONF_LANES(W) W(CONF_LANES_AUTO, auto) W(CONF_LANES_1, 1) W(CONF_LANES_2, 2)
#define CONF_DTYPE(W) \
    W(CONF_DTYPE_AUTO, auto) W(CONF_DTYPE_F32, f32) W(CONF_DTYPE_BF16, bf16) \
    W(CONF_DTYPE_F16, f16)
#define CONF_POOLING(W) W(CONF_POOLING_LAST, last) W(CONF_POOLING_MEAN, mean)
#define CONF_UNKNOWN(W) W(CONF_UNKNOWN_IGNORE, ignore) W(CONF_UNKNOWN_REJECT, reject)
#define CONF_UNKNOWN_MODEL(W) \
    W(CONF_UNKNOWN_MODEL_REJECT, reject) W(CONF_UNKNOWN_MODEL_ACCEPT, accept)
#define CONF_COMPAT(W) W(CONF_COMPAT_NONE, none) W(CONF_COMPAT_VLLM, vllm) W(CONF_COMPAT_SGLANG, sglang)

#define CONF_CONSTANT(name, word) name,
enum { CONF_DEVICE(CONF_CONSTANT) };
enum { CONF_LOAD(CONF_CONSTANT) };
enum { CONF_MODEL(CONF_CONSTANT) };
enum { CONF_GRAPHS(CONF_CONSTANT) };
enum { CONF_LANES(CONF_CONSTANT) };
enum { CONF_DTYPE(CONF_CONSTANT) };
enum { CONF_POOLING(CONF_CONSTANT) };
enum { CONF_UNKNOWN(CONF_CONSTANT) };
enum { CONF_UNKNOWN_MODEL(CONF_CONSTANT) };
enum { CONF_COMPAT(CONF_CONSTANT) };
#undef CONF_CONSTANT

/* These two have their enums in log.h; config/fields.c checks that they agree. */
#define CONF_LOG_LEVEL(W) \
    W(LOG_ERROR, error) W(LOG_WARN, warn) W(LOG_INFO, info) W(LOG_DEBUG, debug)
#define CONF_LOG_FORMAT(W) W(LOG_TEXT, text) W(LOG_JSON, json)

/* One member for each row of settings.def, in its section: c->kv.page_tokens, c->device. */
#define CONF_INT int64_t
#define CONF_SIZE int64_t
#define CONF_DURATION int64_t
#define CONF_FRACTION double
#define CONF_BOOL bool
#define CONF_ENUM int32_t
#define CONF_STRING char *
#define CONF_LIST struct str_list
#define SECTION(name) struct {
#define END(name) } name;
#define SETTING(section, key, type, ...) CONF_##type key;
#define TOP_SETTING(key, type, ...) CONF_##type key;
struct config {
#include "settings.def"
    struct config_origin *origin; /* [number of settings], where each value came from; owned */
};
#undef CONF_INT
#undef CONF_SIZE
#undef CONF_DURATION
#undef CONF_FRACTION
#undef CONF_BOOL
#undef CONF_ENUM
#undef CONF_STRING
#undef CONF_LIST
#undef SECTION
#undef END
#undef SETTING
#undef TOP_SETTING
/* clang-format on */

enum config_action {
    CONFIG_RUN,            /* model.path is set, though it may not exist */
    CONFIG_CHECK,          /* --check-config */
    CONFIG_CHECK_DEEP,     /* --check-config=deep: also the model's files, without a GPU */
    CONFIG_PRINT,          /* --print-config */
    CONFIG_PRINT_DEFAULTS, /* --print-config=defaults: the annotated reference file */
    CONFIG_HELP,
    CONFIG_VERSION
};

/* Parse the command line and all sources. `envp` is main's third argument or environ. What is wrong
 * (at most 20 problems, sorted by position) goes to `errors`, a line each, warnings too. Returns 0;
 * ST_BAD_REQUEST for a wrong command line (exit 64); ST_INVALID_VALUE for wrong settings (exit 78).
 * The caller carries *action out: config_print and the like. *c is valid for config_free in every
 * case. Main thread, at start. */
int config_load(struct config *c, int argc, char **argv, char **envp, enum config_action *action,
                FILE *errors);
void config_free(struct config *c);
/* The built-in defaults of every setting, without any source (tests, tools): members may then be
 * assigned, strings and lists through config_set. *c is overwritten; config_free releases it. */
void config_defaults(struct config *c);
/* One setting from its text, as --set PATH=TEXT does ("kv.pool_bytes", "1GiB"). 0, or
 * ST_INVALID_VALUE with the reason: no such setting, or a text it does not take. */
int config_set(struct config *c, const char *path, const char *text, struct err *e);

/* Effective values with their origin, as YAML that loads again; secrets are never values here. */
void config_print(const struct config *c, FILE *out);
/* The reference file: every key with its default and its comment. */
void config_print_defaults(FILE *out);
void config_help(FILE *out);
/* Hash of all effective values, for the log: equal settings, equal digest. */
uint64_t config_digest(const struct config *c);

#endif
