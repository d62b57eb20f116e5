/* SPDX-License-Identifier: Apache-2.0 */
/* chat.c - a model's chat template: compiled once, rendered for any thread.
 *
 * Knows what variables every template gets, and how much a rendering may cost. The language is
 * src/jinja; what a conversation is, and which document describes it, is the caller's business.
 */
#include "chat.h"

#include "chat_files.h"
#include "jinja.h"
#include "json.h"
#include "tok.h"

#include <stdlib.h>
#include <string.h>

enum { N_VARS = N_CHAT_TOKENS + 2 };

struct chat {
    struct jinja *j;
    struct chat_files files; /* a token that the model lacks is an undefined variable */
    bool wants_parts, knows_developer;
};

/* ---- open ---- */

/* Is a user's text in the output when it is given in this form? */
static bool shows(const struct chat *c, const char *json)
{
    struct json_doc d;
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
    int st = chat_files_read(&c->files, src, e);
    *out = NULL;
    if (st == 0 && !c->files.template.p)
        st = err_set(e, ST_NOT_FOUND, "the model has no chat template");
    if (st == 0)
        st = jinja_compile(&c->j, c->files.template.p, c->files.template.n, e);
    if (st) {
        chat_close(c);
        return st;
    }
    buf_free(&c->files.template);
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
    chat_files_fini(&c->files);
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

bool chat_mentions(const struct chat *c, const char *s)
{
    return jinja_mentions(c->j, s);
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
    for (int i = 0; i < N_CHAT_TOKENS; i++) {
        const struct buf *b = &c->files.token[i];
        if (b->p)
            vars[in.n_vars++] = (struct jinja_var){chat_token_names[i], {b->p, b->n}};
    }
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
