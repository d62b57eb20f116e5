/* SPDX-License-Identifier: Apache-2.0 */
/* routes.c - every path of the server in one table: who answers it, and what the transport asks
 * before. A new endpoint is a row here and its handler.
 */
#include "routes.h"

#include "admin.h"
#include "count.h"
#include "docs.h"
#include "embed.h"
#include "events.h"
#include "generate.h"
#include "openapi.h"
#include "props.h"
#include "tokenize.h"

#include <string.h>

#define STREAM                                                                                     \
    .needs_service = true, .gone = stream_gone, .fail = stream_failed, .sweep = stream_sweep,      \
    .busy = stream_busy, .line = stream_line, .free = stream_free
#define EMBED                                                                                      \
    .needs_service = true, .gone = embed_gone, .fail = embed_failed, .sweep = embed_sweep,         \
    .busy = embed_busy, .line = embed_line, .free = embed_free
#define MESSAGES .error = messages_error, .id_header = "Request-Id"
#define COUNT .needs_service = true, .free = count_free
#define TOKENS .needs_service = true, .free = token_free

/* clang-format off */
static const struct handler rows[] = {
    {"/v1/completions",      "completions",      M_POST, .run = api_completions, STREAM},
    {"/v1/chat/completions", "chat_completions", M_POST, .run = api_chat, STREAM},
    {"/v1/embeddings",       "embeddings",       M_POST, .run = api_embeddings, EMBED},
    {"/v1/responses",        "responses",        M_POST, .run = api_responses, STREAM},
    {"/v1/messages",         "messages",         M_POST, .run = api_messages, STREAM, MESSAGES},
    {"/v1/messages/count_tokens", "count_tokens", M_POST, .run = api_count_tokens, COUNT, MESSAGES},
    {"/v1/models",           "models",           M_GET,  .run = api_models},
    {"/v1/models/",          "model",            M_GET,  .run = api_model},
    /* a base URL without /v1 */
    {"/completions",         "completions",      M_POST, .run = api_completions, STREAM},
    {"/chat/completions",    "chat_completions", M_POST, .run = api_chat, STREAM},
    {"/embeddings",          "embeddings",       M_POST, .run = api_embeddings, EMBED},
    {"/responses",           "responses",        M_POST, .run = api_responses, STREAM},
    {"/messages",            "messages",         M_POST, .run = api_messages, STREAM, MESSAGES},
    {"/messages/count_tokens", "count_tokens",   M_POST, .run = api_count_tokens, COUNT, MESSAGES},
    {"/models",              "models",           M_GET,  .run = api_models},
    {"/models/",             "model",            M_GET,  .run = api_model},
    {"/tokenize",            "tokenize",         M_POST, .run = api_tokenize, TOKENS},
    {"/v1/tokenize",         "tokenize",         M_POST, .run = api_tokenize, TOKENS},
    {"/detokenize",          "detokenize",       M_POST, .run = api_detokenize, TOKENS},
    {"/v1/detokenize",       "detokenize",       M_POST, .run = api_detokenize, TOKENS},
    {"/apply-template",      "apply_template",   M_POST, .run = api_apply_template, TOKENS},
    {"/props",               "props",            M_GET,  .needs_service = true, .run = api_props},
    {"/tokenizer_info",      "tokenizer_info",   M_GET,  .needs_service = true,
     .run = api_tokenizer_info},
    {"/health",              "health",           M_GET,  .open = true, .run = api_health},
    {"/v1/health",           "health",           M_GET,  .open = true, .run = api_health},
    {"/healthz",             "health",           M_GET,  .open = true, .run = api_health},
    {"/ready",               "ready",            M_GET,  .open = true, .run = api_ready},
    {"/readyz",              "ready",            M_GET,  .open = true, .run = api_ready},
    {"/live",                "live",             M_GET,  .open = true, .run = api_live},
    {"/livez",               "live",             M_GET,  .open = true, .run = api_live},
    {"/ping",                "ping",             M_GET | M_POST, .open = true, .run = api_health},
    {"/metrics",             "metrics",          M_GET,  .open = true, .run = api_metrics},
    {"/version",             "version",          M_GET,  .open = true, .run = api_version},
    {"/openapi.json",        "openapi",          M_GET,  .run = api_openapi},
    {"/docs",                "docs",             M_GET,  .run = api_docs},
};
/* clang-format on */
enum { N_ROWS = sizeof rows / sizeof rows[0] };
_Static_assert((int)N_ROWS <= (int)N_ROUTES_MAX, "room for every row");

void routes_open(struct api *a)
{
    memcpy(a->table, rows, sizeof rows);
    a->n_handlers = N_ROWS;
    for (int i = 0; i < N_ROWS; i++)
        if (a->table[i].run == api_metrics)
            a->table[i].open = !a->c->metrics.require_auth;
}
