/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_responses.c - any bytes as a body of /v1/responses: made or refused with an error of its
 * own; what is made has every text in its order in the prompt and no special token, and what the
 * answer repeats of the question is JSON on one line. */
#include "fuzz_rules.h"

static void texts_of(const struct genreq *g, const struct json_doc *d, const struct json *v,
                     size_t *at)
{
    if (v->type == JSON_STR) {
        fuzz_in_order(g, v, at);
        return;
    }
    for (const struct json *p = json_child(d, v); p; p = json_next(d, p)) {
        bool refusal = json_is(json_get(d, p, "type"), "refusal");
        fuzz_in_order(g, json_get(d, p, refusal ? "refusal" : "text"), at);
    }
}

static void check_prompt(const struct genreq *g, const char *body, size_t n)
{
    struct json_doc d;
    struct err e;
    size_t at = 0;
    must(json_parse(&d, body, n, &e) == 0);
    const struct json *root = &d.v[0], *said = json_get(&d, root, "instructions");
    const struct json *input = json_get(&d, root, "input");
    if (said && said->type == JSON_STR)
        fuzz_in_order(g, said, &at);
    if (input->type == JSON_STR)
        fuzz_in_order(g, input, &at);
    else
        for (const struct json *m = json_child(&d, input); m; m = json_next(&d, m))
            texts_of(g, &d, json_get(&d, m, "content"), &at);
    json_free(&d);
}

static void check_shown(const struct genreq *g)
{
    struct buf b = {0};
    struct json_doc d;
    struct err e;
    fuzz_add(&b, "{");
    buf_add(&b, g->shown.p, g->shown.n);
    fuzz_add(&b, "}");
    must(json_parse(&d, b.p, b.n, &e) == 0);
    must(memchr(b.p, '\n', b.n) == NULL && memchr(b.p, '\r', b.n) == NULL);
    json_free(&d);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct genreq g;
    const char *body = (const char *)data;
    if (fuzz_request(&g, &dialect_responses, body, n) == 0) {
        must(g.n_prompts == 1 && g.n_made == 1);
        must(g.max_tokens == INT64_MIN || g.max_new[0] == g.max_tokens);
        fuzz_no_special(&g);
        check_shown(&g);
        if (g.truncate == INT64_MIN)
            check_prompt(&g, body, n);
    }
    genreq_fini(&g);
    return 0;
}
