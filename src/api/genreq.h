/* SPDX-License-Identifier: Apache-2.0 */
/* genreq.h - a generation request as plain checked values: body bytes in, token ids and parameters
 * out. Pure functions on copies, run on the loop thread or in libuv's pool.
 */
#ifndef QUIRE_API_GENREQ_H
#define QUIRE_API_GENREQ_H

#include "api.h"
#include "ignored.h"
#include "json.h"
#include "namespace.h"
#include "tenants.h"

enum { MAX_STOP_STRINGS = 16 };

struct field;
struct genreq;
struct gen_rules;

/* How one endpoint's bodies are read. */
struct dialect {
    bool chat;       /* one prompt, through the chat template */
    bool count_only; /* nothing is generated: the prompt may have any length */
    uint8_t where;   /* rows of the common field table: CHAT, TEXT, or BOTH for those of both */
    const char *prompt, *max_tokens; /* the fields' names, for errors about lengths */
    const struct field *rows;        /* of its own: they come before common ones of their name */
    int n_rows;
    /* Appends the prompt's ids; NULL: `messages` or `prompt` as OpenAI has them. */
    int (*read)(struct genreq *g, const struct json_doc *d, const struct gen_rules *u,
                struct err *e);
    int32_t copies; /* how often a stream has all of the text again at its end */
};
extern const struct dialect dialect_text, dialect_chat;      /* genreq.c */
extern const struct dialect dialect_messages, dialect_count; /* messages.c */
extern const struct dialect dialect_responses;               /* responses.c */
extern const struct dialect dialect_embed;                   /* embed_fields.c */

struct genreq {
    const struct dialect *dialect;
    /* filled from the field table */
    int64_t n, max_tokens, max_completion_tokens, top_k, seed, min_tokens, priority, logprobs,
        top_logprobs, best_of, truncate, prompt_logprobs; /* INT64_MIN = not given */
    double temperature, top_p, min_p, repetition;         /* NAN = not given */
    double presence, frequency;
    bool chat, stream, include_stop, ignore_eos, skip_special, echo, add_special, add_special_given,
        want_logprobs, include_usage, continuous_usage, add_generation_prompt,
        return_ids,        /* return_token_ids */
        ids_as_texts,      /* return_tokens_as_token_ids */
        fit_max,           /* max_tokens -1 */
        other_window,      /* repeat_last_n: penalties over a part of the text */
        tell_cached,       /* messages: something is marked with cache_control */
        base64, normalize; /* embeddings, and the next two */
    int32_t pooling;       /* CONF_POOLING_* */
    int64_t dimensions;    /* floats of a vector that are shown; INT64_MIN = all */
    /* computed */
    int32_t n_logprobs; /* -1 = none */
    int32_t scores;     /* of the prompts' tokens, as in msg_submit */
    int32_t
        n_made; /* choices of a prompt that are generated: n, or best_of, of which n are shown */
    struct token_bias *bias; /* [n_bias], ascending */
    uint32_t *mask;          /* [n_mask] words: which tokens may be drawn */
    int32_t n_bias, n_mask;
    int32_t n_stop_ids;
    token_id stop_ids[MAX_STOP_IDS];
    struct view stop[MAX_STOP_STRINGS]; /* copies */
    int32_t n_stop;
    struct stops *stops;
    char salt[NS_MAX_SALT]; /* cache_salt, n_salt bytes of it; 0 = none */
    uint32_t n_salt;
    struct sample_params sample;
    char model[256];
    char request_id[132];   /* "" = none in the body */
    struct ignored ignored; /* unknown fields */
    struct buf shown;       /* responses: members of the answer that say what was asked */
    /* prompts: prompt i is ids.p[first[i] .. first[i+1]) and may generate max_new[i] tokens */
    struct ids ids;
    size_t *first;
    int32_t *max_new;
    int32_t n_prompts;
    struct buf *echo_text; /* [n_prompts] with echo, else NULL */
};

/* What requests are checked against; immutable. */
struct gen_rules {
    const struct config *c;
    const struct str_list *names; /* that requests may use; the first is the default */
    const struct api_service *s;
    const struct tenant *who; /* who asks; NULL: no tenant */
};

/* Parse and check everything up to admission. 0 or a request status. genreq_fini in every case. */
int genreq_make(struct genreq *g, const struct dialect *dialect, const char *body, size_t n,
                const struct gen_rules *u, struct err *e);
void genreq_fini(struct genreq *g);

/* Parts of genreq_make. The prompts that `key` has: a string, strings, ids, arrays of ids; at most
 * `max`. */
int genreq_prompts(struct genreq *g, const struct json_doc *d, const struct gen_rules *u,
                   const char *key, int64_t max, struct err *e);
/* truncate_prompt_tokens: the last so many of each prompt; -1: as many as leave room for the new
 * ones. */
void genreq_truncate(struct genreq *g, const struct engine_limits *l);

#endif
