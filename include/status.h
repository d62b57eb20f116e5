/* SPDX-License-Identifier: Apache-2.0 */
/* status.h - every way a function can fail, in one table.
 *
 * Functions that can fail return 0 or a negative ST_*. Cold paths take `struct err *` last; the
 * lowest frame that knows the values writes the message. The table also carries what the HTTP front
 * end answers: status, OpenAI error type and code (their shape: src/api/shapes.c).
 */
#ifndef QUIRE_STATUS_H
#define QUIRE_STATUS_H

#include <stdarg.h>
#include <stddef.h>

/* X(name, text, http status, error type, error code) */
#define ST_LIST(X)                                                                                 \
    X(OK, "ok", 200, "", "")                                                                       \
    X(BAD_REQUEST, "bad request", 400, "invalid_request_error", "bad_request")                     \
    X(INVALID_JSON, "invalid JSON", 400, "invalid_request_error", "invalid_json")                  \
    X(MISSING, "missing parameter", 400, "invalid_request_error", "missing_required_parameter")    \
    X(INVALID_TYPE, "invalid type", 400, "invalid_request_error", "invalid_type")                  \
    X(INVALID_VALUE, "invalid value", 400, "invalid_request_error", "invalid_value")               \
    X(INVALID_LENGTH, "invalid length", 400, "invalid_request_error", "invalid_length")            \
    X(INVALID_COMBINATION, "contradictory parameters", 400, "invalid_request_error",               \
      "invalid_combination")                                                                       \
    X(UNSUPPORTED, "unsupported", 400, "invalid_request_error", "unsupported_parameter")           \
    X(CONTEXT_LENGTH, "context length exceeded", 400, "invalid_request_error",                     \
      "context_length_exceeded")                                                                   \
    X(TEMPLATE, "chat template error", 400, "invalid_request_error", "template_error")             \
    X(UNAUTHORIZED, "invalid API key", 401, "authentication_error", "invalid_api_key")             \
    X(FORBIDDEN, "permission denied", 403, "permission_error", "permission_denied")                \
    X(NOT_FOUND, "not found", 404, "invalid_request_error", "not_found")                           \
    X(MODEL_NOT_FOUND, "model not found", 404, "invalid_request_error", "model_not_found")         \
    X(METHOD, "method not allowed", 405, "invalid_request_error", "method_not_allowed")            \
    X(TIMEOUT, "request timeout", 408, "request_timeout_error", "request_timeout")                 \
    X(BODY_TOO_LARGE, "body too large", 413, "invalid_request_error", "body_too_large")            \
    X(URI_TOO_LONG, "URI too long", 414, "invalid_request_error", "uri_too_long")                  \
    X(MEDIA_TYPE, "unsupported media type", 415, "invalid_request_error",                          \
      "unsupported_media_type")                                                                    \
    X(EXPECTATION, "expectation failed", 417, "invalid_request_error", "expectation_failed")       \
    X(QUEUE_FULL, "queue full", 429, "rate_limit_error", "queue_full")                             \
    X(RATE_LIMIT, "rate limit", 429, "rate_limit_error", "rate_limit_exceeded")                    \
    X(HEADERS_TOO_LARGE, "headers too large", 431, "invalid_request_error", "headers_too_large")   \
    X(INTERNAL, "internal error", 500, "server_error", "internal_error")                           \
    X(NUMERIC, "numeric error", 500, "server_error", "numeric_error")                              \
    X(LOADING, "model loading", 503, "service_unavailable_error", "model_loading")                 \
    X(DRAINING, "server draining", 503, "service_unavailable_error", "server_draining")            \
    X(ENGINE_DOWN, "engine unavailable", 503, "service_unavailable_error", "engine_unavailable")   \
    X(QUEUE_TIMEOUT, "queue timeout", 503, "service_unavailable_error", "queue_timeout")           \
    X(DEADLINE, "deadline exceeded", 504, "server_error", "deadline_exceeded")                     \
    X(HTTP_VERSION, "HTTP version not supported", 505, "invalid_request_error", "http_version")    \
    /* never leave the process */                                                                  \
    X(NOMEM, "out of memory", 503, "service_unavailable_error", "out_of_memory")                   \
    X(IO, "i/o error", 500, "server_error", "internal_error")                                      \
    X(FORMAT, "malformed file", 500, "server_error", "internal_error")                             \
    X(FULL, "full", 503, "service_unavailable_error", "engine_unavailable")                        \
    X(CANCELLED, "cancelled", 499, "", "")                                                         \
    X(DEVICE, "device error", 503, "service_unavailable_error", "engine_unavailable")              \
    X(DEVICE_RETRY, "transient device error", 503, "service_unavailable_error",                    \
      "engine_unavailable")

#define X(n, ...) STI_##n,
enum { ST_LIST(X) N_STATUS };
#undef X
#define X(n, ...) ST_##n = -STI_##n,
enum status { ST_LIST(X) };
#undef X

/* The first problem found: status, the parameter it names (may be ""), one line of text. */
struct err {
    int st;
    char param[96];
    char msg[512];
};

/* Fill *e (may be NULL) and return st, so `return err_set(e, ST_X, ...)` reads well. err_set clears
 * param; err_param sets it. Text is cut to fit at a code point border. Any thread. */
int err_set(struct err *e, int st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_param(struct err *e, int st, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Columns of the table. `st` outside it answers as INTERNAL. */
const char *st_text(int st);
int st_http(int st);
const char *st_type(int st);
const char *st_code(int st);

#endif
