/* config.h - every setting of the daemon, as plain values. Filled once at start, then read-only.
 *
 * Sources, later wins: built-in default, file, drop-ins, environment, command line. One table
 * (config/fields.c) drives parsing, ranges, units, --help, --print-config and configs/quired.yaml.
 */
#ifndef QUIRE_CONFIG_H
#define QUIRE_CONFIG_H

#include "status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct str_list {
    char **v; /* [n], zero-terminated strings, owned */
    int32_t n;
};

enum { CONF_DEVICE_AUTO, CONF_DEVICE_CUDA, CONF_DEVICE_CPU };
enum { CONF_LOAD_AUTO, CONF_LOAD_DUMMY };
enum { CONF_MODEL_AUTO, CONF_MODEL_BF16, CONF_MODEL_F16 };
enum { CONF_GRAPHS_OFF, CONF_GRAPHS_LAZY, CONF_GRAPHS_START };
enum { CONF_DTYPE_AUTO, CONF_DTYPE_F32, CONF_DTYPE_BF16, CONF_DTYPE_F16 };
enum { CONF_EVICT_LRU, CONF_EVICT_LFU, CONF_EVICT_FIFO };
enum { CONF_UNKNOWN_IGNORE, CONF_UNKNOWN_REJECT };
enum { CONF_MODEL_REJECT, CONF_MODEL_ACCEPT };
enum { CONF_COMPAT_NONE, CONF_COMPAT_VLLM };
enum { CONF_LOG_TEXT, CONF_LOG_JSON };

/* Sizes in bytes, times in microseconds. Strings are never NULL after config_load ("" = not set).
 */
struct config {
    struct {
        char *path;
        struct str_list served_names;
        int32_t load_format;
        int32_t dtype;
        int64_t max_model_len; /* 0 = auto */
    } model;
    int32_t device;
    struct {
        int64_t index;
        double gpu_memory_utilization;
        int32_t graphs;
    } cuda;
    struct {
        int64_t threads; /* 0 = auto */
    } cpu;
    struct {
        int64_t page_tokens;
        int32_t dtype;
        int64_t pool_bytes; /* 0 = auto */
        bool prefix_cache;
        int32_t eviction;
    } kv;
    struct {
        int64_t max_seqs, max_step_tokens, steps_in_flight, max_decode_gap;
    } scheduler;
    struct {
        char *listen; /* host:port, [v6]:port */
        int64_t max_connections, max_body_bytes, max_header_bytes, keepalive_timeout,
            header_timeout, body_timeout, write_timeout;
        int32_t unknown_fields;
        struct str_list cors_origins;
    } http;
    struct {
        char *api_keys_file;
        char *api_key_env;
    } auth;
    struct {
        int32_t unknown;
    } models;
    struct {
        int64_t max_n, max_prompts, max_sequences, max_stop, max_logprobs, max_completion_tokens;
        int64_t queue_size, queue_timeout, request_timeout;
    } limits;
    bool sampling_from_model;
    struct {
        bool parse_special_tokens;
    } security;
    bool force_usage;
    int64_t stream_buffer_bytes;
    struct {
        int64_t delay, timeout;
    } drain;
    struct {
        bool require_auth;
        int32_t compat;
    } metrics;
    struct {
        int32_t level; /* enum log_level */
        int32_t format;
    } log;

    struct config_origin *origin; /* [number of fields], where each value came from; owned */
};

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

/* "1.5GiB"-like text of a byte count, "50ms" of a duration; for messages. Static per thread. */
const char *config_size_text(int64_t bytes);
const char *config_duration_text(int64_t us);

#endif
