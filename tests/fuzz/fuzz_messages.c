/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_messages.c - any bytes as a body of /v1/messages: made or refused with an error of its own;
 * what is made has every text in its order in the prompt and no special token, and count_tokens
 * counts exactly these tokens. */
#include "fuzz_rules.h"

static void texts_of(const struct genreq *g, const struct json_doc *d, const struct json *v,
                     size_t *at)
{
    if (v && v->type == JSON_STR)
        fuzz_in_order(g, v, at);
    if (!v || v->type != JSON_ARR)
        return;
    for (const struct json *b = json_child(d, v); b; b = json_next(d, b)) {
        must(json_is(json_get(d, b, "type"), "text"));
        fuzz_in_order(g, json_get(d, b, "text"), at);
    }
}

static void check_prompt(const struct genreq *g, const char *body, size_t n)
{
    struct json_doc d;
    struct err e;
    size_t at = 0;
    must(json_parse(&d, body, n, &e) == 0);
    const struct json *root = &d.v[0], *m = json_get(&d, root, "messages");
    must(m && m->type == JSON_ARR && m->n > 0);
    texts_of(g, &d, json_get(&d, root, "system"), &at);
    for (m = json_child(&d, m); m; m = json_next(&d, m))
        texts_of(g, &d, json_get(&d, m, "content"), &at);
    json_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct genreq g, counted;
    const char *body = (const char *)data;
    int st = fuzz_request(&g, &dialect_messages, body, n);
    int st_count = fuzz_request(&counted, &dialect_count, body, n);
    if (st_count == 0) {
        fuzz_no_special(&counted);
        if (counted.truncate == INT64_MIN)
            check_prompt(&counted, body, n);
    }
    if (st == 0) {
        must(g.n_prompts == 1 && g.n_made == 1 && g.max_new[0] == g.max_tokens);
        must(st_count == 0 && g.ids.n == counted.ids.n);
        must(memcmp(g.ids.p, counted.ids.p, g.ids.n * sizeof *g.ids.p) == 0);
    }
    genreq_fini(&g);
    genreq_fini(&counted);
    return 0;
}
