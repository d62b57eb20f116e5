/* http.h - the HTTP front end: one loop thread that owns libuv, libmicrohttpd and every stream.
 *
 * Order in main: http_new (binds, port known) -> http_run on the loop thread, while another thread
 * loads the model, calls http_set_progress and at last http_set_ready or http_fail. After http_run
 * returned: engine_stop, then http_free (it still reads what the engine posted).
 */
#ifndef QUIRE_HTTP_H
#define QUIRE_HTTP_H

#include "engine.h"
#include "mailbox.h"
#include "status.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero means the default in brackets, except where a line says otherwise. Times in microseconds,
 * sizes in bytes. Strings are copied by http_new. */
struct http_config {
    const char *address;      /* "127.0.0.1", "::1", "0.0.0.0" [127.0.0.1] */
    int32_t port;             /* 0 = any free one */
    int32_t max_connections;  /* [4096] */
    int64_t max_body_bytes;   /* [32 MiB] */
    int64_t max_header_bytes; /* request head [32 KiB]; at most 100 fields, target at most 8 KiB */
    int64_t keepalive_timeout_us, header_timeout_us, body_timeout_us; /* [75 s, 10 s, 30 s] */
    int64_t write_timeout_us;    /* a reader without progress is dropped [30 s] */
    int64_t stream_buffer_bytes; /* unsent bytes of one stream before it is cancelled [256 KiB] */
    const char *const *cors_origins; /* [n_cors_origins]; "*" allows all; 0 = CORS off */
    int32_t n_cors_origins;
    const char *api_keys_file;       /* one key per line, "#" comments; NULL or "" = none */
    const char *api_key;             /* one more key (from the environment); NULL or "" = none */
    const char *const *served_names; /* [n_served_names >= 1]; the first is the default */
    int32_t n_served_names;
    bool accept_any_model;      /* http.unknown_model: accept */
    bool reject_unknown_fields; /* http.unknown_fields: reject */
    bool metrics_require_auth, metrics_no_vllm;
    bool plain_special_tokens; /* security.parse_special_tokens: false */
    bool force_usage;
    int32_t max_n, max_prompts, max_sequences, max_stop; /* [128, 1024, 1024, 4] */
    int32_t max_logprobs;                                /* [20] */
    int32_t max_completion_tokens; /* bound of an omitted max in chat; 0 = remaining room */
    int32_t queue_size;            /* requests waiting beyond max_seqs, then 429 [512] */
    int64_t queue_timeout_us;      /* [60 s]; negative = none */
    int64_t request_timeout_us;    /* 0 = none */
    int64_t drain_delay_us, drain_timeout_us; /* taken as given; 0 = none, cancel at once */
    int64_t watchdog_us;    /* engine busy without a turn for that long is down [10 s] */
    int64_t failed_exit_us; /* after the engine failed, http_run returns this much later [0.5 s];
                               negative: it stays and answers 503 */
};

/* What the loaded model brings. Everything pointed to outlives http_run. */
struct http_service {
    const struct tok *tok;
    const struct chat *chat; /* NULL: no template; chat answers 400 */
    struct engine *engine;
    struct engine_limits ec;
    int64_t created_unix_s;
    const char *fingerprint; /* "fp_..." or NULL: made from the names and the version */
    /* sampling defaults of the model (generation_config); negative = not said */
    double temperature, top_p, min_p;
    int32_t top_k;
    const char *kv_dtype; /* for cache_config_info; may be NULL */
};

struct http;

/* Bind, listen, create the loop. The port is known afterwards. ST_IO with the address in the text;
 * ST_INVALID_VALUE for a bad keys file or no served name. */
int http_new(struct http **out, const struct http_config *c, struct err *e);
int http_port(const struct http *h);
/* Where the engine puts MSG_OUTBOX; its wake is the loop's uv_async. Lives until http_free. */
struct mbox *http_outbox(struct http *h);

/* Any thread. `phase` is one of a few constant strings ("weights", "cache", "graphs", "warmup") and
 * is kept by pointer. */
void http_set_progress(struct http *h, const char *phase, double fraction);
void http_set_ready(struct http *h, const struct http_service *s); /* once; copied */
void http_fail(struct http *h, const char *why); /* constant text; /ready and /health say 503 */
/* Any thread: what SIGTERM does; a second call, or now == true, cancels what runs at once. */
void http_drain(struct http *h, bool now);

/* Serve on the calling thread until drained. Handled inside: SIGTERM and SIGINT (drain; the second
 * one ends at once), SIGUSR2 (the engine logs its state). 0 after a drain; the signal's number when
 * a second one cut it short; ST_ENGINE_DOWN when the engine had failed by then. */
int http_run(struct http *h);
/* After http_run returned (or was never called) and the engine was stopped. */
void http_free(struct http *h);

#endif
