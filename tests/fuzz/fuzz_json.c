/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_json.c - any bytes as a body: the strict scanner's document is well formed and every part of
 * it reads the same alone; then the whole request checker, both endpoints, whose error (if any) is
 * one of the request's own. */
#include "api/embed_req.h"
#include "fuzz_rules.h"
#include "json.h"
#include "utf8.h"

#include <string.h>

enum { DIM = FUZZ_DIM };

static void check_document(const struct json_doc *d, const char *s, size_t n)
{
    for (uint32_t i = 0; i < d->n; i++) {
        const struct json *v = &d->v[i];
        must(v->begin < v->end && v->end <= n);
        uint32_t k = 0;
        for (const struct json *c = json_child(d, v); c; c = json_next(d, c), k++) {
            must(c > v && c->begin >= v->begin && c->end <= v->end);
            must((v->type == JSON_OBJ) == (c->key != NULL));
        }
        must((v->type != JSON_ARR && v->type != JSON_OBJ) || k == v->n);
        if (v->type == JSON_STR)
            must(utf8_valid_prefix(v->s, v->n) == v->n);
        if (i > 0 && i < 8) { /* a part alone reads the same */
            struct json_doc part;
            struct err e;
            must(json_parse(&part, s + v->begin, v->end - v->begin, &e) == 0);
            must(part.v[0].type == v->type);
            must(v->type != JSON_STR ||
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
    must(st == 0 || (st_http(st) >= 400 && st_http(st) < 500 && e.msg[0]));
    must(utf8_valid_prefix(e.msg, strlen(e.msg)) == strlen(e.msg));
    for (int32_t i = 0; st == 0 && i < g.n_prompts; i++)
        must(g.first[i] < g.first[i + 1] &&
             (int64_t)(g.first[i + 1] - g.first[i]) <= rules->s->limits.max_model_len);
    if (st == 0 && g.n_prompts <= 64) {
        for (int32_t i = 0; i < 64 * DIM; i++)
            vec[i] = -1.23456789e-7f * (float)(i + 1);
        embed_text(&g, vec, 0, &out);
        must(out.n <= embed_bytes(&g) && json_parse(&d, out.p, out.n, &e) == 0);
        json_free(&d);
    }
    buf_free(&out);
    genreq_fini(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct json_doc d;
    struct err e;
    char *body = malloc(n ? n : 1);
    must(body != NULL);
    memcpy(body, data, n);
    if (json_parse(&d, body, n, &e) == 0) {
        check_document(&d, body, n);
        json_free(&d);
    } else {
        must(e.st == ST_INVALID_JSON && utf8_valid_prefix(e.msg, strlen(e.msg)) == strlen(e.msg));
    }
    for (int chat = 0; chat <= 1; chat++) {
        struct genreq g;
        fuzz_request(&g, chat ? &dialect_chat : &dialect_text, body, n);
        genreq_fini(&g);
    }
    check_embeddings(body, n, fuzz_rules());
    free(body);
    return 0;
}
