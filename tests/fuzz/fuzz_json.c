/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_json.c - any bytes as a body: the strict scanner's document is well formed and every part of
 * it reads the same alone; then the whole request checker, both endpoints, whose error (if any) is
 * one of the request's own. */
#include "api/embed_req.h"
#include "api/genreq.h"
#include "chat.h"
#include "json.h"
#include "tokenizer.h"
#include "utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { VOCAB = 258, DIM = 16 };

static void need(bool ok)
{
    if (!ok)
        abort();
}

static struct chat *make_chat(void)
{
    static const char text[] =
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.tool_calls %}"
        "{{ m.tool_calls | tojson }}{% endif %}\n{% endfor %}{{ enable_thinking }}";
    struct text_source s = {.bos_id = -1, .eos_id = -1};
    struct chat *c = NULL;
    struct err e;
    s.chat_template_jinja = (struct view){text, sizeof text - 1};
    need(chat_open(&c, &s, &e) == 0);
    return c;
}

/* Byte b is token b. */
static struct tok *make(void)
{
    static char text[VOCAB][8];
    static struct view v[VOCAB];
    static int32_t types[VOCAB];
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
                            .n_gguf_tokens = VOCAB,
                            .gguf_types = types,
                            .bos_id = 256,
                            .eos_id = 257,
                            .unk_id = -1,
                            .pad_id = -1};
    need(tok_open(&t, &s, &e) == 0);
    return t;
}

static void check_document(const struct json_doc *d, const char *s, size_t n)
{
    for (uint32_t i = 0; i < d->n; i++) {
        const struct json *v = &d->v[i];
        need(v->begin < v->end && v->end <= n);
        uint32_t k = 0;
        for (const struct json *c = json_child(d, v); c; c = json_next(d, c), k++) {
            need(c > v && c->begin >= v->begin && c->end <= v->end);
            need((v->type == JSON_OBJ) == (c->key != NULL));
        }
        need((v->type != JSON_ARR && v->type != JSON_OBJ) || k == v->n);
        if (v->type == JSON_STR)
            need(utf8_valid_prefix(v->s, v->n) == v->n);
        if (i > 0 && i < 8) { /* a part alone reads the same */
            struct json_doc part;
            struct err e;
            need(json_parse(&part, s + v->begin, v->end - v->begin, &e) == 0);
            need(part.v[0].type == v->type);
            need(v->type != JSON_STR ||
                 (part.v[0].n == v->n && memcmp(part.v[0].s, v->s, v->n) == 0));
            json_free(&part);
        }
    }
}

/* The bytes of an answer were said beforehand, and it is a document. */
static void check_embeddings(const char *body, size_t n, const struct gen_rules *rules)
{
    static float vec[64 * DIM];
    struct genreq g;
    struct err e = {0};
    struct json_doc d;
    struct buf out = {0};
    int st = embed_make(&g, body, n, rules, &e);
    need(st == 0 || (st_http(st) >= 400 && st_http(st) < 500 && e.msg[0]));
    need(utf8_valid_prefix(e.msg, strlen(e.msg)) == strlen(e.msg));
    for (int32_t i = 0; st == 0 && i < g.n_prompts; i++)
        need(g.first[i] < g.first[i + 1] &&
             (int64_t)(g.first[i + 1] - g.first[i]) <= rules->s->limits.max_model_len);
    if (st == 0 && g.n_prompts <= 64) {
        for (int32_t i = 0; i < 64 * DIM; i++)
            vec[i] = -1.23456789e-7f * (float)(i + 1);
        embed_text(&g, vec, 0, &out);
        need(out.n <= embed_bytes(&g) && json_parse(&d, out.p, out.n, &e) == 0);
        json_free(&d);
    }
    buf_free(&out);
    genreq_fini(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct config c;
    static char *names[] = {"m"};
    static const struct str_list served = {names, 1};
    static struct api_service s = {.limits = {.n_pages = 64,
                                              .page_tokens = 16,
                                              .max_model_len = 512,
                                              .vocab = VOCAB,
                                              .hidden_dim = DIM},
                                   .temperature = -1,
                                   .top_p = -1,
                                   .min_p = -1,
                                   .top_k = -1};
    const struct gen_rules rules = {&c, &served, &s, NULL};
    struct json_doc d;
    struct err e;
    if (!s.tok) {
        config_defaults(&c);
        s.tok = make();
        s.chat = make_chat();
    }
    char *body = malloc(n ? n : 1);
    need(body != NULL);
    memcpy(body, data, n);
    if (json_parse(&d, body, n, &e) == 0) {
        check_document(&d, body, n);
        json_free(&d);
    } else {
        need(e.st == ST_INVALID_JSON && utf8_valid_prefix(e.msg, strlen(e.msg)) == strlen(e.msg));
    }
    for (int chat = 0; chat <= 1; chat++) {
        struct genreq g;
        e = (struct err){0};
        int st = genreq_make(&g, chat, body, n, &rules, &e);
        need(st == 0 || (st_http(st) >= 400 && st_http(st) < 500 && e.msg[0]));
        need(utf8_valid_prefix(e.msg, strlen(e.msg)) == strlen(e.msg));
        for (int32_t i = 0; st == 0 && i < g.n_prompts; i++)
            need(g.first[i] < g.first[i + 1] &&
                 (int64_t)(g.first[i + 1] - g.first[i]) + g.max_new[i] <= s.limits.max_model_len);
        genreq_fini(&g);
    }
    check_embeddings(body, n, &rules);
    free(body);
    return 0;
}
