/* SPDX-License-Identifier: Apache-2.0 */
/* embed_fields.c - every field of an embeddings request: OpenAI's, vLLM's, and `pooling`. What is
 * known elsewhere and would change the vectors is refused by name. Pure; any thread.
 */
#include "field.h"

#include "prompt.h"

#include <math.h>

static int read_input(struct reader *r, const struct field *f, const struct json *v)
{
    return v->type == JSON_ARR || v->type == JSON_STR
               ? 0
               : wrong_type(r->e, f->name, "a string or an array", v);
}

/* One of two words; which. */
static int read_word(struct reader *r, const struct field *f, const struct json *v,
                     const char *const word[2], int *which)
{
    if (v->type != JSON_STR)
        return wrong_type(r->e, f->name, "a string", v);
    for (*which = 0; *which < 2; ++*which)
        if (json_is(v, word[*which]))
            return 0;
    return err_param(r->e, ST_INVALID_VALUE, f->name, "'%s' must be '%s' or '%s'.", f->name,
                     word[0], word[1]);
}

static int read_encoding(struct reader *r, const struct field *f, const struct json *v)
{
    static const char *const word[] = {"float", "base64"};
    int which = 0;
    int st = read_word(r, f, v, word, &which);
    r->g->base64 = which == 1;
    return st;
}

static int read_pooling(struct reader *r, const struct field *f, const struct json *v)
{
    static const char *const word[] = {"last", "mean"};
    int which = 0;
    int st = read_word(r, f, v, word, &which);
    r->g->pooling = which == 1 ? CONF_POOLING_MEAN : CONF_POOLING_LAST;
    return st;
}

/* The floats in base64 are what OpenAI's are: f32, the lowest byte first. */
static int read_endianness(struct reader *r, const struct field *f, const struct json *v)
{
    static const char *const word[] = {"little", "native"};
    int which = 0;
    return json_is(v, "big") ? not_built(r, f, v) : read_word(r, f, v, word, &which);
}

static int read_dtype(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_STR)
        return wrong_type(r->e, f->name, "a string", v);
    return json_is(v, "float32") ? 0 : not_built(r, f, v);
}

/* Prompts are cut at their beginning. */
static int read_side(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_STR)
        return wrong_type(r->e, f->name, "a string", v);
    return json_is(v, "left") ? 0 : not_built(r, f, v);
}

static int read_dimensions(struct reader *r, const struct field *f, const struct json *v)
{
    int32_t most = r->s->limits.hidden_dim;
    if (v->type != JSON_NUM || (!v->is_int && v->d != floor(v->d)))
        return wrong_type(r->e, f->name, "an integer", v);
    if (!v->is_int || v->i < 1 || v->i > most)
        return err_param(r->e, ST_INVALID_VALUE, f->name,
                         "'%s' must be between 1 and %d, which is what vectors of this model have.",
                         f->name, most);
    r->g->dimensions = v->i;
    return 0;
}

#define TO(member) .off = offsetof(struct genreq, member)
static const struct field embed_fields[] = {
    ROW("model", EMBED, any_string, .hi = INFINITY),
    ROW("input", EMBED, read_input, .required = true),
    ROW("encoding_format", EMBED, read_encoding),
    ROW("dimensions", EMBED, read_dimensions),
    ROW("pooling", EMBED, read_pooling),
    ROW("use_activation", EMBED, read_bool, TO(normalize)), /* vLLM's newer name of ... */
    ROW("normalize", EMBED, read_bool, TO(normalize)),
    ROW("truncate_prompt_tokens", EMBED, read_truncate),
    ROW("truncation_side", EMBED, read_side),
    ROW("add_special_tokens", EMBED, read_bool, TO(add_special)),
    ROW("user", EMBED, any_string, .hi = 512),
    ROW("priority", EMBED, read_priority),
    ROW("cache_salt", EMBED, read_salt),
    ROW("request_id", EMBED, read_request_id),
    ROW("embed_dtype", EMBED, read_dtype),
    ROW("endianness", EMBED, read_endianness),
    ROW("messages", EMBED, not_built),
    ROW("input_type", EMBED, not_built),
    ROW("prompt_name", EMBED, not_built),
    ROW("lora_path", EMBED, not_built),
};
enum { N_ROWS = sizeof embed_fields / sizeof *embed_fields };
_Static_assert((int)N_ROWS <= (int)MAX_OWN, "too many rows");
const struct dialect dialect_embed = {
    .where = EMBED, .prompt = "input", .rows = embed_fields, .n_rows = N_ROWS};
