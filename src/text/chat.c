/* chat.c - a model's chat template: found in its files, compiled once, rendered for any thread.
 *
 * Knows where templates and the special tokens' strings are kept, what variables every template
 * gets, and how much a rendering may cost. The language is src/jinja; what a conversation is, and
 * which document describes it, is the caller's business.
 */
#include "jinja.h"
#include "json.h"
#include "json_file.h"
#include "tok.h"

#include <stdlib.h>
#include <string.h>

enum { N_NAMED = 4, N_VARS = N_NAMED + 2 };

static const char *const token_names[N_NAMED] = {"bos_token", "eos_token", "unk_token",
                                                 "pad_token"};

struct chat {
    struct jinja *j;
    struct buf token[N_NAMED]; /* p == NULL: the model has none, the variable is undefined */
    bool wants_parts, knows_developer;
};

/* ---- what the files say ---- */

static void set_token(struct chat *c, int i, const char *s, size_t n)
{
    if (!s || c->token[i].p)
        return;
    buf_add(&c->token[i], s, n);
    buf_add(&c->token[i], "", 1); /* so that an empty string is a string */
    c->token[i].n--;
}

/* A token given as a string or as an object with "content". */
static void tokens_from(struct chat *c, const cJSON *o)
{
    for (int i = 0; i < N_NAMED; i++) {
        const cJSON *v = js_get(o, token_names[i]);
        const char *s = cJSON_IsObject(v) ? js_str(v, "content") : cJSON_GetStringValue(v);
        set_token(c, i, s, s ? strlen(s) : 0);
    }
}

static void tokens_from_gguf(struct chat *c, const struct text_source *src)
{
    const int32_t ids[N_NAMED] = {src->bos_id, src->eos_id, src->unk_id, src->pad_id};
    for (int i = 0; i < N_NAMED; i++)
        if (ids[i] >= 0 && (size_t)ids[i] < src->n_gguf_tokens)
            set_token(c, i, src->gguf_tokens[ids[i]].p, src->gguf_tokens[ids[i]].n);
}

/* "chat_template": one string, or a list of {name, template} of which "default" is meant. */
static const char *template_in(const cJSON *config)
{
    const cJSON *v = js_get(config, "chat_template"), *x;
    if (!cJSON_IsArray(v))
        return cJSON_GetStringValue(v);
    cJSON_ArrayForEach(x, v)
    {
        const char *name = js_str(x, "name");
        if (name && strcmp(name, "default") == 0)
            return js_str(x, "template");
    }
    return NULL;
}

static int compile(struct chat *c, struct view text, struct err *e)
{
    if (!text.p)
        return err_set(e, ST_NOT_FOUND, "the model has no chat template");
    return jinja_compile(&c->j, text.p, text.n, e);
}

static int read_folder(struct chat *c, const struct text_source *src, struct err *e)
{
    cJSON *config = NULL, *map = NULL;
    struct view text = src->chat_template_jinja;
    int st = 0;
    if (src->tokenizer_config_json.p)
        st = json_file_parse(&config, src->tokenizer_config_json, "tokenizer_config.json",
                             &json_file_tokenizer, e);
    if (st == 0 && src->special_tokens_map_json.p)
        st = json_file_parse(&map, src->special_tokens_map_json, "special_tokens_map.json",
                             &json_file_tokenizer, e);
    if (st == 0) {
        tokens_from(c, config);
        tokens_from(c, map);
        if (!text.p) {
            text.p = template_in(config);
            text.n = text.p ? strlen(text.p) : 0;
        }
        st = compile(c, text, e);
    }
    cJSON_Delete(config);
    cJSON_Delete(map);
    return st;
}

/* ---- open ---- */

/* Is a user's text in the output when it is given in this form? */
static bool shows(const struct chat *c, const char *json)
{
    struct jdoc d;
    struct buf out = {0};
    if (json_parse(&d, json, strlen(json), NULL) != 0)
        return false;
    const struct chat_args a = {.vars = &d, .max_out = 1 << 20};
    bool found = chat_render(c, &a, &out, NULL, NULL) == 0 && out.n &&
                 memmem(out.p, out.n, "Zq7x", 4);
    buf_free(&out);
    json_free(&d);
    return found;
}

int chat_open(struct chat **out, const struct text_source *src, struct err *e)
{
    static const char text[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"Zq7x\"}],"
                               "\"add_generation_prompt\":true}";
    static const char parts[] = "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                                "\"text\":\"Zq7x\"}]}],\"add_generation_prompt\":true}";
    struct chat *c = xalloc(sizeof *c);
    int st;
    *out = NULL;
    if (src->gguf_model.p && !src->tokenizer_json.p) {
        tokens_from_gguf(c, src);
        st = compile(c, src->gguf_chat_template, e);
    } else {
        st = read_folder(c, src, e);
    }
    if (st) {
        chat_close(c);
        return st;
    }
    c->knows_developer = jinja_mentions(c->j, "developer");
    c->wants_parts = !shows(c, text) && shows(c, parts);
    *out = c;
    return 0;
}

void chat_close(struct chat *c)
{
    if (!c)
        return;
    jinja_free(c->j);
    for (int i = 0; i < N_NAMED; i++)
        buf_free(&c->token[i]);
    free(c);
}

bool chat_wants_parts(const struct chat *c)
{
    return c->wants_parts;
}

bool chat_knows_developer(const struct chat *c)
{
    return c->knows_developer;
}

/* ---- use ---- */

int chat_render(const struct chat *c, const struct chat_args *a, struct buf *out,
                struct spans *spans, struct err *e)
{
    /* Beyond any published template by far: those take some 100 steps and 1 KiB a message, and
     * copy the text a few times over. */
    enum { STEPS = 20 << 20, MEM = 32 << 20 };
    struct jinja_var vars[N_VARS] = {{"tools", {NULL, 0}}, {"documents", {NULL, 0}}};
    struct jinja_input in = {.doc = a->vars,
                             .vars = vars,
                             .n_vars = 2,
                             .now_unix_s = a->now_unix_s,
                             .max_out = a->max_out};
    size_t extra;
    for (int i = 0; i < N_NAMED; i++)
        if (c->token[i].p)
            vars[in.n_vars++] = (struct jinja_var){token_names[i], {c->token[i].p, c->token[i].n}};
    if (!mul_size(a->vars->n_src, 32, &extra) || !add_size(extra, MEM, &extra))
        return err_set(e, ST_INVALID_LENGTH, "template variables: too long");
    in.max_mem = extra;
    in.max_steps = (uint64_t)extra - MEM + STEPS;
    return jinja_render(c->j, &in, out, spans, e);
}

int chat_encode(const struct tok *t, const struct buf *text, const struct spans *spans,
                unsigned flags, struct ids *out, struct err *e)
{
    bool all = !spans || (flags & TOK_PARSE_SPECIAL);
    return tok_encode_spans(t, text->p ? text->p : "", text->n, all ? NULL : spans->p,
                            all ? 0 : spans->n, flags | TOK_PARSE_SPECIAL, out, e);
}
