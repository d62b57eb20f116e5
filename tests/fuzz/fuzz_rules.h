/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_rules.h - what requests are checked against in fuzz targets: a tokenizer whose token b is
 * byte b, a template that writes "role: content" and a line feed for each message, small limits. */
#ifndef QUIRE_TESTS_FUZZ_RULES_H
#define QUIRE_TESTS_FUZZ_RULES_H

#include "api/genreq.h"
#include "chat.h"
#include "fuzzing.h"

enum { FUZZ_VOCAB = 258, FUZZ_DIM = 16 };

static inline struct chat *fuzz_chat(void)
{
    static const char text[] =
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.tool_calls %}"
        "{{ m.tool_calls | tojson }}{% endif %}\n{% endfor %}{{ enable_thinking }}";
    struct text_source s = {.bos_id = -1, .eos_id = -1};
    struct chat *c = NULL;
    struct err e;
    s.chat_template_jinja = (struct view){text, sizeof text - 1};
    must(chat_open(&c, &s, &e) == 0);
    return c;
}

/* Byte b is token b. */
static inline struct tok *fuzz_tok_ids(void)
{
    static char text[FUZZ_VOCAB][8];
    static struct view v[FUZZ_VOCAB];
    static int32_t types[FUZZ_VOCAB];
    struct tok *t = NULL;
    struct err e;
    int extra = 0;
    for (int b = 0; b < 256; b++) {
        int c = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE ? b : 256 + extra++;
        size_t n = 0;
        if (c >= 0x80)
            text[b][n++] = (char)(0xC0 | c >> 6);
        text[b][n++] = (char)(c < 0x80 ? c : 0x80 | (c & 0x3F));
        v[b] = (struct view){text[b], n};
        types[b] = 1;
    }
    v[256] = (struct view){"<s>", 3};
    v[257] = (struct view){"</s>", 4};
    types[256] = types[257] = 3;
    struct text_source s = {.gguf_model = {"gpt2", 4},
                            .gguf_pre = {"gpt-2", 5},
                            .gguf_tokens = v,
                            .n_gguf_tokens = FUZZ_VOCAB,
                            .gguf_types = types,
                            .bos_id = 256,
                            .eos_id = 257,
                            .unk_id = -1,
                            .pad_id = -1};
    must(tok_open(&t, &s, &e) == 0);
    return t;
}

static inline const struct gen_rules *fuzz_rules(void)
{
    static struct config c;
    static char *names[] = {"m"};
    static const struct str_list served = {names, 1};
    static struct api_service s = {.limits = {.n_pages = 64,
                                              .page_tokens = 16,
                                              .max_model_len = 512,
                                              .vocab = FUZZ_VOCAB,
                                              .hidden_dim = FUZZ_DIM},
                                   .temperature = -1,
                                   .top_p = -1,
                                   .min_p = -1,
                                   .top_k = -1};
    static const struct gen_rules rules = {&c, &served, &s, NULL};
    if (!s.tok) {
        config_defaults(&c);
        s.tok = fuzz_tok_ids();
        s.chat = fuzz_chat();
    }
    return &rules;
}

/* One request: made, or refused with an error of its own whose text is whole. */
static inline int fuzz_request(struct genreq *g, const struct dialect *l, const char *body,
                               size_t n)
{
    const struct gen_rules *rules = fuzz_rules();
    struct err e = {0};
    int st = genreq_make(g, l, body, n, rules, &e);
    must(st == 0 || (st_http(st) >= 400 && st_http(st) < 500 && e.msg[0]));
    must(utf8_valid_prefix(e.msg, strlen(e.msg)) == strlen(e.msg));
    must(utf8_valid_prefix(e.param, strlen(e.param)) == strlen(e.param));
    for (int32_t i = 0; st == 0 && !l->count_only && i < g->n_prompts; i++)
        must(g->first[i] < g->first[i + 1] &&
             (int64_t)(g->first[i + 1] - g->first[i]) + g->max_new[i] <=
                 rules->s->limits.max_model_len);
    return st;
}

/* The text `v` stands in the prompt behind *at; *at moves behind it. */
static inline void fuzz_in_order(const struct genreq *g, const struct json *v, size_t *at)
{
    size_t i = *at, k = 0;
    for (; k < v->n && i + v->n <= g->ids.n; i++) {
        for (k = 0; k < v->n && g->ids.p[i + k] == (unsigned char)v->s[k]; k++)
            ;
        if (k == v->n)
            break;
    }
    must(k == v->n);
    *at = i + k;
}

/* No text of a request is a special token in a chat. */
static inline void fuzz_no_special(const struct genreq *g)
{
    for (size_t i = 0; i < g->ids.n; i++)
        must(g->ids.p[i] < 256);
}

#endif
