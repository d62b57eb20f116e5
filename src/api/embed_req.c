/* SPDX-License-Identifier: Apache-2.0 */
/* embed_req.c - an embeddings request: inputs against the context and the pool, and the bytes that
 * its answer may have, which are known exactly beforehand. See embed_req.h.
 */
#include "embed_req.h"

#include "cost.h"
#include "fields.h"

#include <stdio.h>
#include <string.h>

enum { ANSWER_FRAME = 1024, VECTOR_FRAME = 64 }; /* bytes around the vectors; around one of them */

/* Every input must fit as it is: all its tokens are computed and none is drawn. */
static int check_length(const struct genreq *g, int32_t i, bool single, const struct gen_rules *u,
                        struct err *e)
{
    struct engine_misfit why;
    char param[32] = "input";
    long long n = (long long)(g->first[i + 1] - g->first[i]);
    if (engine_fits(&u->s->limits, n, 0, &why) == 0)
        return 0;
    if (!single)
        snprintf(param, sizeof param, "input[%d]", i);
    return err_param(e, ST_CONTEXT_LENGTH, param,
                     why.bound == ENGINE_BOUND_MODEL
                         ? "This model's maximum context length is %lld tokens, but '%s' has %lld."
                         : "This server's KV cache holds %lld tokens, but '%s' has %lld.",
                     (long long)why.tokens, param, n);
}

static size_t vector_bytes(const struct genreq *g)
{
    size_t n = (size_t)g->dimensions;
    return VECTOR_FRAME + (g->base64 ? (n * sizeof(float) + 2) / 3 * 4 : n * OUT_FLOAT_BYTES);
}

size_t embed_bytes(const struct genreq *g)
{
    return ANSWER_FRAME + cost_json(g->model, strlen(g->model)) +
           (size_t)g->n_prompts * vector_bytes(g);
}

static int check_cost(const struct genreq *g, const struct gen_rules *u, struct err *e)
{
    long long most = u->c->limits.max_answer_bytes, all = (long long)embed_bytes(g);
    if (all <= most)
        return 0;
    return err_param(e, ST_INVALID_VALUE, "input",
                     "The answer to this request (%d inputs, vectors of %lld floats, up to %lld "
                     "bytes each) may take %lld bytes, but answers of this server have at most "
                     "%lld.",
                     (int)g->n_prompts, (long long)g->dimensions, (long long)vector_bytes(g), all,
                     most);
}

static bool is_single(const struct json_doc *d)
{
    const struct json *v = json_get(d, &d->v[0], "input"), *k = json_child(d, v);
    return v->type == JSON_STR || (k && k->type == JSON_NUM);
}

static int make(struct genreq *g, const struct json_doc *d, const struct gen_rules *u,
                struct err *e)
{
    if (d->v[0].type != JSON_OBJ)
        return err_set(e, ST_INVALID_TYPE, "The body must be a JSON object.");
    if (u->s->limits.hidden_dim <= 0)
        return err_set(e, ST_UNSUPPORTED, "This server gives no embeddings.");
    int st = fields_read(g, d, u, e);
    if (st == 0)
        st = genreq_prompts(g, d, u, "input", u->c->limits.max_embedding_inputs, e);
    if (st)
        return st;
    g->max_tokens = 0; /* all of the context is the input's */
    genreq_truncate(g, &u->s->limits);
    if (g->dimensions == INT64_MIN)
        g->dimensions = u->s->limits.hidden_dim;
    bool single = is_single(d);
    for (int32_t i = 0; i < g->n_prompts && st == 0; i++)
        st = check_length(g, i, single, u, e);
    return st ? st : check_cost(g, u, e);
}

int embed_make(struct genreq *g, const char *body, size_t n, const struct gen_rules *u,
               struct err *e)
{
    struct json_doc d;
    *g = (struct genreq){.dialect = &dialect_embed};
    int st = json_parse(&d, body, n, e);
    if (st)
        return st;
    st = make(g, &d, u, e);
    json_free(&d);
    return st;
}
