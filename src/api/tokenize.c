/* SPDX-License-Identifier: Apache-2.0 */
/* tokenize.c - /tokenize and /detokenize in the dialects of vLLM and llama.cpp, and the latter's
 * /apply-template. All of it is a job: off the loop when the body is large.
 */
#include "tokenize.h"

#include "detok.h"
#include "fields.h"
#include "json.h"
#include "json_out.h"
#include "mem.h"
#include "prompt.h"
#include "reply.h"
#include "state.h"
#include "tokenizer.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

struct token_call { /* r->user */
    int st;
    struct err err;
    struct buf out;
};

static int bool_field(const struct json_doc *d, const char *key, bool dflt, bool *out,
                      struct err *e)
{
    const struct json *v = json_get(d, &d->v[0], key);
    *out = dflt;
    if (!v || v->type == JSON_NULL)
        return 0;
    if (v->type != JSON_BOOL)
        return wrong_type(e, key, "a boolean", v);
    *out = v->boolean;
    return 0;
}

static void put_ids(struct buf *b, const struct ids *ids)
{
    out_str(b, "[");
    for (size_t i = 0; i < ids->n; i++)
        out_fmt(b, i ? ",%d" : "%d", ids->p[i]);
    out_str(b, "]");
}

/* llama.cpp's dialect: `content`. */
static int tokenize_content(const struct tok *t, const struct json_doc *d, const struct json *v,
                            struct buf *b, struct err *e)
{
    bool special = false, parse = true, pieces = false;
    struct ids ids = {0};
    int st = bool_field(d, "add_special", false, &special, e);
    st = st ? st : bool_field(d, "parse_special", true, &parse, e);
    st = st ? st : bool_field(d, "with_pieces", false, &pieces, e);
    if (st == 0)
        st = tok_encode(t, v->s, v->n,
                        (special ? TOK_SPECIAL : 0) | (parse ? TOK_PARSE_SPECIAL : 0), &ids, e);
    out_str(b, "{\"tokens\":");
    if (!pieces)
        put_ids(b, &ids);
    else
        out_str(b, "[");
    for (size_t i = 0; pieces && i < ids.n; i++) {
        struct view raw = tok_view(t, ids.p[i]);
        const char *p = raw.p;
        out_fmt(b, "%s{\"id\":%d,\"piece\":", i ? "," : "", ids.p[i]);
        if (utf8_valid_prefix(p, raw.n) == raw.n) {
            out_json(b, p, raw.n);
        } else {
            for (size_t k = 0; k < raw.n; k++)
                out_fmt(b, k ? ",%u" : "[%u", (unsigned char)p[k]);
            out_str(b, "]");
        }
        out_str(b, "}");
    }
    out_str(b, pieces ? "]}" : "}");
    ids_free(&ids);
    return st;
}

/* What goes to the chat template besides the messages; prompt.c reads it. */
static int check_template_fields(const struct json_doc *d, bool *gen, struct err *e)
{
    static const struct {
        const char *key, *want;
        int type;
    } others[] = {{"chat_template_kwargs", "an object", JSON_OBJ}, {"tools", "an array", JSON_ARR}};
    bool go_on;
    int st = bool_field(d, "add_generation_prompt", true, gen, e);
    st = st ? st : bool_field(d, "continue_final_message", false, &go_on, e);
    for (int i = 0; i < 2 && st == 0; i++) {
        const struct json *v = json_get(d, &d->v[0], others[i].key);
        if (v && v->type != JSON_NULL && v->type != others[i].type)
            st = wrong_type(e, others[i].key, others[i].want, v);
    }
    return st;
}

static int tokenize_vllm(const struct gen_rules *u, const struct json_doc *d,
                         const struct json *prompt, struct buf *b, struct err *e)
{
    bool special = false, strs = false, gen = true;
    struct ids ids = {0};
    int st = bool_field(d, "add_special_tokens", prompt != NULL, &special, e);
    st = st ? st : bool_field(d, "return_token_strs", false, &strs, e);
    st = st ? st : check_template_fields(d, &gen, e);
    if (st == 0)
        st = prompt ? prompt_text(u, prompt, special, "prompt", &ids, e)
                    : prompt_messages(u, d, gen, special, &ids, e);
    out_fmt(b, "{\"count\":%zu,\"max_model_len\":%d,\"tokens\":", ids.n,
            u->s->limits.max_model_len);
    put_ids(b, &ids);
    out_str(b, ",\"token_strs\":");
    out_str(b, strs ? "[" : "null");
    for (size_t i = 0; strs && i < ids.n; i++) {
        size_t n;
        const char *s = tok_string(u->s->tok, ids.p[i], &n);
        out_str(b, i ? "," : "");
        out_json(b, s ? s : "", s ? n : 0);
    }
    out_str(b, strs ? "]}" : "}");
    ids_free(&ids);
    return st;
}

static const struct json *given(const struct json_doc *d, const char *key)
{
    const struct json *v = json_get(d, &d->v[0], key);
    return v && v->type != JSON_NULL ? v : NULL;
}

static int tokenize(const struct req *r, const struct gen_rules *u, const struct json_doc *d,
                    struct buf *b, struct err *e)
{
    (void)r;
    char name[256];
    const struct json *p = given(d, "prompt"), *m = given(d, "messages"), *c = given(d, "content");
    int st = model_check(json_get(d, &d->v[0], "model"), u, name, e);
    if (st)
        return st;
    if (!p + !m + !c == 3)
        return err_param(e, ST_MISSING, "prompt", "'prompt' is required.");
    if (!p + !m + !c != 2)
        return err_param(e, ST_INVALID_COMBINATION, "prompt",
                         "Give one of 'prompt', 'messages' and 'content'.");
    const struct json *v = p ? p : m ? m : c;
    const char *key = p ? "prompt" : m ? "messages" : "content";
    if (v->type != (m ? JSON_ARR : JSON_STR))
        return wrong_type(e, key, m ? "an array" : "a string", v);
    return c ? tokenize_content(u->s->tok, d, c, b, e) : tokenize_vllm(u, d, p, b, e);
}

static int apply_template(const struct req *r, const struct gen_rules *u, const struct json_doc *d,
                          struct buf *b, struct err *e)
{
    (void)r;
    char name[256];
    bool gen = true;
    struct buf text = {0};
    const struct json *m = given(d, "messages");
    int st = model_check(json_get(d, &d->v[0], "model"), u, name, e);
    if (st)
        return st;
    if (!m)
        return err_param(e, ST_MISSING, "messages", "'messages' is required.");
    if (m->type != JSON_ARR)
        return wrong_type(e, "messages", "an array", m);
    st = check_template_fields(d, &gen, e);
    if (st == 0)
        st = prompt_render(u, d, gen, &text, NULL, e);
    out_str(b, "{\"prompt\":");
    out_json(b, text.p ? text.p : "", text.n);
    out_str(b, "}");
    buf_free(&text);
    return st;
}

static bool wants_content(const char *query)
{
    for (; *query; query += strcspn(query, "&"), query += *query == '&')
        if (strncmp(query, "content=1", 9) == 0 && strchr("&#", query[9]))
            return true;
    return false;
}

static int no_memory(struct err *e)
{
    return err_set(e, ST_NOMEM, "This server has no memory left for this request.");
}

/* A few bytes of a body can name a long token: the text is bounded as every answer is. */
static int check_text(const struct gen_rules *u, const struct ids *ids, struct err *e)
{
    int64_t most = u->c->limits.max_answer_bytes;
    size_t bytes = 0, n;
    for (size_t i = 0; i < ids->n; i++)
        bytes += tok_string(u->s->tok, ids->p[i], &n) ? n : 0;
    if ((int64_t)bytes > most)
        return err_param(e, ST_INVALID_LENGTH, "tokens",
                         "These tokens have %zu bytes of text, but answers of this server have at "
                         "most %lld.",
                         bytes, (long long)most);
    return mem_room(2 * bytes + 1) ? 0 : no_memory(e);
}

static int detokenize(const struct req *r, const struct gen_rules *u, const struct json_doc *d,
                      struct buf *b, struct err *e)
{
    const struct tok *t = u->s->tok;
    char name[256];
    struct ids ids = {0};
    struct buf text = {0};
    const struct json *v = given(d, "tokens");
    int st = model_check(json_get(d, &d->v[0], "model"), u, name, e);
    if (st)
        return st;
    if (!v)
        return err_param(e, ST_MISSING, "tokens", "'tokens' is required.");
    if (v->type != JSON_ARR)
        return wrong_type(e, "tokens", "an array", v);
    /* Rows of the model without a token, which pad its vocabulary, can be sampled; they have no
     * text.
     */
    int32_t vocab = u->s->limits.vocab > tok_vocab(t) ? u->s->limits.vocab : tok_vocab(t);
    st = prompt_ids(d, v, vocab, "tokens", &ids, e);
    if (st == 0)
        st = check_text(u, &ids, e);
    if (st == 0 && ids.n)
        tok_decode(t, ids.p, ids.n, false, &text);
    out_str(b, wants_content(r->query) ? "{\"content\":" : "{\"prompt\":");
    out_json(b, text.p ? text.p : "", text.n);
    out_str(b, "}");
    ids_free(&ids);
    buf_free(&text);
    return st;
}

/* A body's document to an answer. */
typedef int token_act(const struct req *r, const struct gen_rules *u, const struct json_doc *d,
                      struct buf *b, struct err *e);

static void token_job(struct req *r, token_act *act)
{
    struct token_call *k = r->user;
    const struct api *a = r->service;
    const struct gen_rules rules = {a->c, &a->names, &a->s, r->who};
    struct json_doc d;
    k->out.soft = true;
    k->st = prompt_room(r->body.n, &k->err);
    if (k->st == 0)
        k->st = json_parse(&d, r->body.p ? r->body.p : "", r->body.n, &k->err);
    if (k->st == 0) {
        if (d.v[0].type != JSON_OBJ)
            k->st = err_set(&k->err, ST_INVALID_TYPE, "The body must be a JSON object.");
        else
            k->st = act(r, &rules, &d, &k->out, &k->err);
        json_free(&d);
    }
    if (k->st == 0 && k->out.oom)
        k->st = no_memory(&k->err);
    k->err.st = k->st;
}

static void tokenize_job(struct req *r)
{
    token_job(r, tokenize);
}

static void detokenize_job(struct req *r)
{
    token_job(r, detokenize);
}

static void template_job(struct req *r)
{
    token_job(r, apply_template);
}

static void token_done(struct req *r)
{
    struct token_call *k = r->user;
    if (k->st)
        reply_error(r, &k->err);
    else
        reply(r, 200, "application/json", k->out.p ? k->out.p : "", k->out.n);
}

void api_tokenize(struct req *r)
{
    r->user = xalloc(sizeof(struct token_call));
    req_job(r, tokenize_job, token_done);
}

void api_detokenize(struct req *r)
{
    r->user = xalloc(sizeof(struct token_call));
    req_job(r, detokenize_job, token_done);
}

void api_apply_template(struct req *r)
{
    r->user = xalloc(sizeof(struct token_call));
    req_job(r, template_job, token_done);
}

void token_free(struct req *r)
{
    struct token_call *k = r->user;
    buf_free(&k->out);
    free(k);
}
