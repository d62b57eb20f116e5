/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_chat_json.c - any bytes as the variables of a chat template. What is read is printed in
 * every spelling; JSON that was printed reads back as itself. */
#include "fuzzing.h"

#include "jinja.h"

#define PRINT "{{ x }}{{ x|tojson(indent=2, sort_keys=true, ensure_ascii=true) }}{{ x == x }}"
#define CHAT                                                                                       \
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content|trim }}"                 \
    "{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments|tojson }}"            \
    "{% endfor %}{% endfor %}"
#define ORDER                                                                                      \
    "{% for k, v in x|dictsort %}{{ k|upper }}={{ v }}{{ '%s' % v }}{% endfor %}"                  \
    "{{ x|list|sort|unique|join('-') }}{{ x|length }}"

static const char *const sources[] = {"{{ x|tojson }}", PRINT, CHAT, ORDER};
enum { N_SOURCES = sizeof sources / sizeof *sources };

static int render(const struct jinja *j, const char *json, size_t n, struct buf *out)
{
    struct json_doc doc;
    const struct jinja_input in = {
        .doc = &doc, .max_out = 1 << 20, .max_mem = 8 << 20, .max_steps = 1 << 18};
    struct spans spans = {0};
    struct err e = {0};
    int st;
    out->n = 0;
    st = json_parse(&doc, json, n, &e);
    if (st) {
        must(st == ST_INVALID_JSON);
        return st;
    }
    st = jinja_render(j, &in, out, &spans, &e);
    must(st == 0 || st == ST_TEMPLATE || st == ST_INVALID_JSON || st == ST_INVALID_TYPE);
    must_be_whole(out, 0);
    for (size_t i = 0; i < spans.n; i++)
        must(spans.p[i].begin < spans.p[i].end && spans.p[i].end <= out->n);
    free(spans.p);
    json_free(&doc);
    return st;
}

static void reads_back(const struct jinja *j, const struct buf *text)
{
    struct buf json = {0}, again = {0};
    if (memmem(text->p, text->n, "Infinity", 8)) /* 1e999, as Python prints it */
        return;
    buf_add(&json, "{\"x\":", 5);
    buf_add(&json, text->p, text->n);
    buf_add(&json, "}", 1);
    must(render(j, json.p, json.n, &again) == 0);
    must_equal(&again, text->p, text->n);
    buf_free(&json);
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct jinja *j[N_SOURCES];
    struct buf out = {0};
    for (int i = 0; i < N_SOURCES; i++) {
        if (!j[i])
            must(jinja_compile(&j[i], sources[i], strlen(sources[i]), NULL) == 0);
        if (render(j[i], (const char *)data, n, &out) == 0 && i == 0 && out.n)
            reads_back(j[0], &out);
    }
    buf_free(&out);
    return 0;
}
