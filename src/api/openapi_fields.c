/* SPDX-License-Identifier: Apache-2.0 */
/* openapi_fields.c - what the rows of the field table take, as a JSON schema: each reader has one
 * entry here, bounds come from the row and the settings. See openapi_fields.h.
 */
#include "openapi_fields.h"

#include "check.h"
#include "field.h"
#include "json_out.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct spec {
    struct buf *b;
    const struct gen_rules *u;
    const struct field *f;
    const struct dialect *l;
};

typedef void put_fn(const struct spec *s);

void out_spec(struct buf *b, const char *fmt, ...)
{
    char t[2048];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t, sizeof t, fmt, ap);
    va_end(ap);
    CHECK(n >= 0 && (size_t)n < sizeof t);
    for (int i = 0; i < n; i++)
        if (t[i] == '\'')
            t[i] = '"';
    buf_add(b, t, (size_t)n);
}

/* ---- numbers ---- */

static double most(const struct spec *s)
{
    return s->f->limit ? s->f->limit(s->u->c) : s->f->hi;
}

/* Bounds of 64 bits are written as such: a double would round the upper one out of range. */
static void put_bounds(const struct spec *s, double lo, double hi)
{
    if (isinf(lo) && isinf(hi))
        out_spec(s->b, ",'minimum':-9223372036854775808,'maximum':9223372036854775807,"
                       "'format':'int64'");
    else
        out_spec(s->b, ",'minimum':%.16g,'maximum':%.16g", lo, hi);
}

static void put_int(const struct spec *s)
{
    out_spec(s->b, s->f->required ? "'type':'integer'" : "'type':['integer','null']");
    put_bounds(s, s->f->lo, most(s));
}

static void put_num(const struct spec *s)
{
    out_spec(s->b, "'type':['number','null']");
    put_bounds(s, s->f->lo, most(s));
}

static void put_only(const struct spec *s)
{
    out_spec(s->b, "'enum':[%.16g,null]", s->f->only);
}

static void put_max_tokens(const struct spec *s)
{
    out_spec(s->b, "'type':['integer','null'],'minimum':-1,'maximum':%.16g", s->f->hi);
    if (s->l->chat)
        out_spec(s->b, ",'not':{'const':0}");
}

static void put_n_predict(const struct spec *s)
{
    put_max_tokens(s);
}

static void put_priority(const struct spec *s)
{
    out_spec(s->b, "'type':['integer','null'],'minimum':%lld,'maximum':9223372036854775807",
             (long long)s->u->c->limits.min_priority);
}

static void put_repeat_penalty(const struct spec *s)
{
    out_spec(s->b, "'type':['number','null'],'exclusiveMinimum':0,'maximum':10");
}

static void put_repeat_last_n(const struct spec *s)
{
    out_spec(s->b, "'type':['integer','null'],'minimum':-9223372036854775808,"
                   "'maximum':9223372036854775807");
}

static void put_truncate(const struct spec *s)
{
    out_spec(s->b, "'type':['integer','null'],'minimum':-1,'not':{'const':0}");
    if (s->u->s)
        out_spec(s->b, ",'maximum':%d", s->u->s->limits.max_model_len);
}

/* A token id of the loaded model. */
static void put_token(const struct spec *s)
{
    out_spec(s->b, "{'type':'integer','minimum':0");
    if (s->u->s)
        out_spec(s->b, ",'maximum':%d", s->u->s->limits.vocab - 1);
    out_spec(s->b, "}");
}

/* ---- other types ---- */

static void put_bool(const struct spec *s)
{
    out_spec(s->b, "'type':['boolean','null']");
}

static void put_false(const struct spec *s)
{
    out_spec(s->b, "'enum':[false,null]");
}

static void put_true(const struct spec *s)
{
    out_spec(s->b, "'enum':[true,null]");
}

static void put_string(const struct spec *s)
{
    out_spec(s->b, "'type':['string','null']");
    if (!isinf(s->f->hi))
        out_spec(s->b, ",'maxLength':%.0f", s->f->hi);
    if (strcmp(s->f->name, "model") == 0) {
        out_spec(s->b, ",'examples':[");
        for (int32_t i = 0; i < s->u->names->n; i++) {
            out_str(s->b, i ? "," : "");
            out_json(s->b, s->u->names->v[i], strlen(s->u->names->v[i]));
        }
        out_str(s->b, "]");
    }
}

static void put_array(const struct spec *s)
{
    if (strcmp(s->f->name, "messages") == 0)
        out_spec(s->b, "'$ref':'#/components/schemas/%s'",
                 s->l->rows ? "MessageTurns" : "Messages"); /* Anthropic's have rows of their own */
    else
        out_spec(s->b, "'type':['array','null']");
}

static void put_object(const struct spec *s)
{
    out_spec(s->b, "'type':['object','null']");
}

static void put_empty(const struct spec *s)
{
    out_spec(s->b, "'enum':['',null]");
}

static void put_null(const struct spec *s)
{
    out_spec(s->b, "'type':'null','description':'Known, but not supported by this server: only "
                   "null is taken.'");
}

static void put_anything(const struct spec *s)
{
    out_spec(s->b, "'description':'Accepted without effect.'");
}

static void put_none(const struct spec *s)
{
    out_spec(s->b, "'enum':['none',null]");
}

/* A text, or up to n texts; ids, or up to n arrays of them. */
static void put_texts(const struct spec *s, int64_t most)
{
    long long n = (long long)most;
    out_spec(s->b,
             "'anyOf':[{'type':'string'},{'type':'array','minItems':1,'maxItems':%lld,"
             "'items':{'type':'string'}},{'type':'array','minItems':1,'items':",
             n);
    put_token(s);
    out_spec(s->b,
             "},{'type':'array','minItems':1,'maxItems':%lld,'items':{'type':'array',"
             "'minItems':1,'items':",
             n);
    put_token(s);
    out_spec(s->b, "}}]");
}

static void put_prompt(const struct spec *s)
{
    put_texts(s, s->u->c->limits.max_prompts);
}

static void put_stop(const struct spec *s)
{
    long long n = (long long)s->u->c->limits.max_stop;
    out_spec(s->b,
             "'anyOf':[{'type':'string','maxLength':512},{'type':'array','maxItems':%lld,"
             "'items':{'type':'string','minLength':1,'maxLength':512}},{'type':'null'}]",
             n < MAX_STOP_STRINGS ? n : MAX_STOP_STRINGS);
}

static void put_stop_ids(const struct spec *s)
{
    out_spec(s->b, "'type':['array','null'],'maxItems':%d,'items':", MAX_STOP_IDS);
    put_token(s);
}

static void put_allowed_ids(const struct spec *s)
{
    out_spec(s->b, "'type':['array','null'],'minItems':1,'items':");
    put_token(s);
}

static void put_stream_options(const struct spec *s)
{
    static const char *const options[] = {"include_usage", "continuous_usage_stats",
                                          "include_obfuscation"};
    out_spec(s->b, "'type':['object','null'],'properties':{");
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        out_spec(s->b, "%s'%s':{'type':['boolean','null']}", i ? "," : "", options[i]);
    out_spec(s->b, "}");
}

static void put_salt(const struct spec *s)
{
    out_spec(s->b, "'type':['string','null'],'minLength':1,'maxLength':128,"
                   "'pattern':'^[^@/\\\\\\\\\\\\u0000]*$'");
}

static void put_request_id(const struct spec *s)
{
    out_spec(s->b, "'type':['string','null']");
}

static void put_response_format(const struct spec *s)
{
    out_spec(s->b, "'type':['object','null'],'required':['type'],'properties':{'type':{'const':"
                   "'text'}}");
}

static void put_modalities(const struct spec *s)
{
    out_spec(s->b, "'enum':[['text'],null]");
}

static void put_tools(const struct spec *s)
{
    out_spec(s->b, "'type':['array','null'],'minItems':1");
}

static void put_effort(const struct spec *s)
{
    out_spec(s->b, "'enum':['none','minimal','low','medium','high','xhigh','max',null]");
}

static void put_logit_bias(const struct spec *s)
{
    out_spec(s->b,
             "'type':['object','null'],'maxProperties':%d,'propertyNames':{'pattern':"
             "'^(0|[1-9][0-9]{0,9})$'},'additionalProperties':{'type':'number','minimum':-100,"
             "'maximum':100}",
             MAX_BIAS);
}

/* ---- of responses and messages ---- */

static void put_any_text(const struct spec *s)
{
    if (strcmp(s->f->name, "input") == 0)
        out_spec(s->b, "'$ref':'#/components/schemas/ResponseInput'");
    else
        out_spec(s->b, "'anyOf':[{'type':'string'},{'type':'array','items':{'$ref':"
                       "'#/components/schemas/TextBlock'}},{'type':'null'}]");
}

static void put_sequences(const struct spec *s)
{
    long long n = (long long)s->u->c->limits.max_stop;
    out_spec(s->b,
             "'type':['array','null'],'maxItems':%lld,'items':{'type':'string','minLength':1,"
             "'maxLength':512}",
             n < MAX_STOP_STRINGS ? n : MAX_STOP_STRINGS);
}

static void put_user_object(const struct spec *s)
{
    out_spec(s->b, "'type':['object','null'],'properties':{'user_id':{'type':['string','null'],"
                   "'maxLength':512}}");
}

static void put_no_items(const struct spec *s)
{
    out_spec(s->b, "'type':['array','null'],'maxItems':0");
}

static void put_choice_type(const struct spec *s)
{
    out_spec(s->b, "'type':['object','null'],'required':['type'],'properties':{'type':{'enum':["
                   "'none','auto']}}");
}

static void put_thinking(const struct spec *s)
{
    out_spec(s->b, "'type':['object','null'],'required':['type'],'properties':{'type':{'const':"
                   "'disabled'}}");
}

static void put_metadata(const struct spec *s)
{
    out_spec(s->b, "'type':['object','null'],'maxProperties':16,'propertyNames':{'maxLength':64},"
                   "'additionalProperties':{'type':'string','maxLength':512}");
}

static void put_text_object(const struct spec *s)
{
    out_spec(s->b, "'type':['object','null'],'properties':{'format':{'type':['object','null'],"
                   "'required':['type'],'properties':{'type':{'const':'text'}}},'verbosity':{"
                   "'enum':['low','medium','high',null]}}");
}

static void put_reasoning(const struct spec *s)
{
    out_spec(s->b, "'type':['object','null'],'properties':{'effort':{'enum':['none','minimal',"
                   "'low','medium','high','xhigh','max',null]},'summary':{'type':['string',"
                   "'null'],'maxLength':64},'generate_summary':{'type':['string','null'],"
                   "'maxLength':64}}");
}

static void put_truncation(const struct spec *s)
{
    out_spec(s->b, "'enum':['disabled',null]");
}

static void put_include(const struct spec *s)
{
    out_spec(s->b, "'type':['array','null'],'items':{'type':'string','not':{'const':"
                   "'message.output_text.logprobs'}}");
}

static void put_choice(const struct spec *s)
{
    out_spec(s->b, "'enum':['none','auto',null]");
}

static void put_calls(const struct spec *s)
{
    out_spec(s->b, "'type':['integer','null'],'minimum':1,'maximum':9223372036854775807");
}

/* ---- of embeddings ---- */

static void put_input(const struct spec *s)
{
    put_texts(s, s->u->c->limits.max_embedding_inputs);
}

static void put_encoding(const struct spec *s)
{
    out_spec(s->b, "'enum':['float','base64',null]");
}

static void put_pooling(const struct spec *s)
{
    out_spec(s->b, "'enum':['last','mean',null]");
}

static void put_endianness(const struct spec *s)
{
    out_spec(s->b, "'enum':['little','native',null]");
}

static void put_dtype(const struct spec *s)
{
    out_spec(s->b, "'enum':['float32',null]");
}

static void put_side(const struct spec *s)
{
    out_spec(s->b, "'enum':['left',null]");
}

static void put_dimensions(const struct spec *s)
{
    out_spec(s->b, "'type':['integer','null'],'minimum':1");
    if (s->u->s)
        out_spec(s->b, ",'maximum':%d", (int)s->u->s->limits.hidden_dim);
}

/* Each reader of the table by its name; a test holds every row against this list. */
static const struct {
    const char *reader;
    put_fn *put;
} readers[] = {
    {"read_int", put_int},
    {"read_num", put_num},
    {"read_only", put_only},
    {"read_bool", put_bool},
    {"only_false", put_false},
    {"only_true", put_true},
    {"any_bool", put_bool},
    {"any_string", put_string},
    {"any_array", put_array},
    {"any_object", put_object},
    {"empty_string", put_empty},
    {"not_built", put_null},
    {"no_effect", put_anything},
    {"only_none", put_none},
    {"read_prompt", put_prompt},
    {"read_max_tokens", put_max_tokens},
    {"read_stop", put_stop},
    {"read_stop_ids", put_stop_ids},
    {"read_stream_options", put_stream_options},
    {"read_salt", put_salt},
    {"read_priority", put_priority},
    {"read_request_id", put_request_id},
    {"read_response_format", put_response_format},
    {"read_modalities", put_modalities},
    {"read_tool_choice", put_none},
    {"read_tools", put_tools},
    {"read_effort", put_effort},
    {"read_logit_bias", put_logit_bias},
    {"read_allowed_ids", put_allowed_ids},
    {"read_truncate", put_truncate},
    {"read_repeat_penalty", put_repeat_penalty},
    {"read_n_predict", put_n_predict},
    {"read_repeat_last_n", put_repeat_last_n},
    {"any_text", put_any_text},
    {"read_sequences", put_sequences},
    {"read_user", put_user_object},
    {"read_cache", put_object},
    {"read_no_items", put_no_items},
    {"read_choice_type", put_choice_type},
    {"read_thinking", put_thinking},
    {"read_metadata", put_metadata},
    {"read_text", put_text_object},
    {"read_reasoning", put_reasoning},
    {"read_truncation", put_truncation},
    {"read_include", put_include},
    {"read_choice", put_choice},
    {"read_calls", put_calls},
    {"read_input", put_input},
    {"read_encoding", put_encoding},
    {"read_pooling", put_pooling},
    {"read_endianness", put_endianness},
    {"read_dtype", put_dtype},
    {"read_side", put_side},
    {"read_dimensions", put_dimensions},
};

/* NULL: a reader that is not in the list. */
static put_fn *put_of(const struct field *f)
{
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        if (strcmp(readers[i].reader, f->reader) == 0)
            return readers[i].put;
    return NULL;
}

bool openapi_knows(const struct field *f)
{
    return put_of(f) != NULL;
}

/* ---- words for people ---- */

static const struct {
    const char *name, *text;
} words[] = {
    {"model", "A served name. Missing, null or empty: the first one."},
    {"messages", "The conversation. Content is a text or a list of text parts."},
    {"prompt", "A text, texts, token ids, or lists of token ids."},
    {"n", "Answers to each prompt."},
    {"max_tokens", "Most tokens of an answer; -1: as many as fit. 0 with echo only."},
    {"max_completion_tokens", "Like max_tokens, before which it goes."},
    {"temperature", "0: always the most probable token."},
    {"top_p", "Draw from the most probable tokens that have this much probability together."},
    {"top_k", "Draw from so many most probable tokens; 0 and -1: from all."},
    {"min_p", "Least probability of a token, in terms of the most probable one's."},
    {"presence_penalty", "Taken off the logit of each token that was generated."},
    {"frequency_penalty", "Taken off once for each time that a token was generated."},
    {"repetition_penalty", "Divides the logits of tokens of prompt and answer."},
    {"logit_bias", "Token id: what is added to its logit."},
    {"seed", "Equal seeds give equal draws; -1: none."},
    {"stop", "Texts that end the answer, without being part of it."},
    {"stop_token_ids", "Tokens that end the answer, besides the model's own."},
    {"include_stop_str_in_output", "The text of stop stays in the answer."},
    {"ignore_eos", "The model's own end does not end the answer."},
    {"min_tokens", "No end before so many tokens."},
    {"skip_special_tokens", "Special tokens have no text."},
    {"truncate_prompt_tokens", "Keep the last tokens of a prompt only; -1: as many as fit."},
    {"allowed_token_ids", "Nothing else is drawn."},
    {"stream", "Answer with events as the tokens come."},
    {"stream_options", "Needs stream."},
    {"user", "Whom the request is for; no effect on the answer."},
    {"priority", "Lower runs earlier."},
    {"cache_salt", "Only requests with the same salt share cached prompts."},
    {"request_id", "Used as X-Request-Id where the header is missing."},
    {"return_token_ids", "Add token_ids to each choice, and prompt_token_ids."},
    {"return_tokens_as_token_ids", "Tokens of logprobs are written token_id:N."},
    {"echo", "The answer begins with the prompt."},
    {"best_of", "Generate so many and answer with the n best."},
    {"logprobs", "Log-probabilities of the tokens of the answer."},
    {"top_logprobs", "So many alternatives to each token; needs logprobs."},
    {"chat_template_kwargs", "Variables for the chat template."},
    {"add_generation_prompt", "End the prompt with the beginning of an answer."},
    {"continue_final_message", "Go on with the last message, an assistant's."},
    {"reasoning_effort", "Given to the chat template."},
    {"repeat_penalty", "Another name of repetition_penalty."},
    {"n_predict", "Another name of max_tokens."},
    {"max_new_tokens", "Another name of max_tokens."},
};

static void put_words(const struct spec *s)
{
    const char *comma = openapi_knows(s->f) ? "," : "";
    if (s->f->read == not_built || s->f->read == no_effect)
        return; /* said already */
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].name, s->f->name) == 0) {
            out_spec(s->b, "%s'description':", comma);
            out_json(s->b, words[i].text, strlen(words[i].text));
        }
    }
}

/* What holds between two fields of a dialect (NULL: of any that has `a`): where `a` is as it says,
 * `b` must be as it says. Only what a schema can say; sums and comparisons are left to the answer
 * 400. */
static const struct {
    const struct dialect *l;
    const char *a, *is, *b, *must;
} pairs[] = {
    {NULL, "stream_options", "{'type':'object','minProperties':1}", "stream", "{'const':true}"},
    {&dialect_chat, "top_logprobs", "{'type':'integer','minimum':1}", "logprobs", "{'const':true}"},
    {&dialect_chat, "tools", "{'type':'array'}", "tool_choice", "{'const':'none'}"},
    {&dialect_text, "max_tokens", "{'const':0}", "echo", "{'const':true}"},
    {&dialect_text, "n_predict", "{'const':0}", "echo", "{'const':true}"},
    {&dialect_text, "max_new_tokens", "{'const':0}", "echo", "{'const':true}"},
};

/* The row that counts for a name, or -1. */
static int first_of(const struct dialect *l, const char *name)
{
    for (int i = 0; i < field_rows(l); i++) {
        const struct field *f = field_row(l, i);
        if (f && strcmp(f->name, name) == 0)
            return i;
    }
    return -1;
}

static void put_pairs(struct buf *b, const struct dialect *l)
{
    int n = 0;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (pairs[i].l ? pairs[i].l != l : first_of(l, pairs[i].a) < 0)
            continue;
        out_spec(b,
                 "%s{'if':{'required':['%s'],'properties':{'%s':%s}},'then':{'required':['%s'],"
                 "'properties':{'%s':%s}}}",
                 n++ ? "," : ",'allOf':[", pairs[i].a, pairs[i].a, pairs[i].is, pairs[i].b,
                 pairs[i].b, pairs[i].must);
    }
    out_str(b, n ? "]" : "");
}

void out_request_schema(struct buf *b, const struct dialect *l, const struct gen_rules *u)
{
    const struct field *f;
    int n = 0;
    out_spec(b, "{'type':'object','properties':{");
    for (int i = 0; i < field_rows(l); i++) {
        f = field_row(l, i);
        if (!f || first_of(l, f->name) != i)
            continue;
        const struct spec s = {b, u, f, l};
        out_spec(b, "%s'%s':{", n++ ? "," : "", f->name);
        if (openapi_knows(f))
            put_of(f)(&s);
        put_words(&s);
        out_str(b, "}");
    }
    out_spec(b, "},'required':[");
    n = 0;
    for (int i = 0; i < field_rows(l); i++)
        if ((f = field_row(l, i)) != NULL && f->required)
            out_spec(b, "%s'%s'", n++ ? "," : "", f->name);
    out_str(b, "]");
    put_pairs(b, l);
    out_spec(b, ",'additionalProperties':%s}",
             u->c->http.unknown_fields == CONF_UNKNOWN_REJECT ? "false" : "true");
}
