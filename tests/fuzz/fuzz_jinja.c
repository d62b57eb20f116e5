/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_jinja.c - any bytes as a chat template: compiled and rendered with fixed variables within
 * small bounds. The output is valid UTF-8, the same every time, and the one character that only the
 * variables have is always marked as the caller's. */
#include "fuzzing.h"

#include "jinja.h"

static const char variables[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"\xE7\xBE\x8E sys\"},{\"role\":\"user\","
    "\"content\":\" hi\\n\xE7\xBE\x8E \\\"x\\\" \"},{\"role\":\"assistant\",\"content\":null,"
    "\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1.5,"
    "\"b\":[1,2,3],\"c\":true,\"\xE7\xBE\x8E\":{}}}}]}],\"tools\":[{\"type\":\"function\","
    "\"function\":{\"name\":\"f\",\"parameters\":{}}}],\"add_generation_prompt\":true,\"n\":5,"
    "\"f\":1e-7,\"l\":[3,1,2],\"s\":[\"b\",\"a\",\"C\"],\"big\":12345678901234567890,\"e\":\"\"}";

static bool in_span(const struct spans *spans, size_t at)
{
    for (size_t i = 0; i < spans->n; i++)
        if (spans->p[i].begin <= at && at < spans->p[i].end)
            return true;
    return false;
}

static void check(const struct buf *out, const struct spans *spans, bool marked)
{
    must_be_whole(out, 0);
    for (size_t i = 0; i < spans->n; i++) {
        must(spans->p[i].begin < spans->p[i].end && spans->p[i].end <= out->n);
        must(i == 0 || spans->p[i - 1].end < spans->p[i].begin);
    }
    for (size_t i = 0; marked && i + 3 <= out->n; i++)
        if (memcmp(out->p + i, "\xE7\xBE\x8E", 3) == 0)
            must(in_span(spans, i) && in_span(spans, i + 2));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct json_doc doc;
    const struct jinja_input in = {.doc = &doc,
                                   .now_unix_s = 1721997296,
                                   .max_out = 1 << 16,
                                   .max_mem = 4 << 20,
                                   .max_steps = 1 << 17};
    const char *s = (const char *)data;
    struct jinja *j = NULL;
    struct buf out = {0}, again = {0};
    struct spans spans = {0};
    struct err e = {0};
    if (!doc.v)
        must(json_parse(&doc, variables, sizeof variables - 1, NULL) == 0);
    int st = jinja_compile(&j, s, n, &e);
    if (st == 0) {
        bool marked = !memmem(s, n, "\xE7\xBE\x8E", 3) && !memchr(s, '\\', n);
        st = jinja_render(j, &in, &out, &spans, &e);
        must(st == 0 || out.n == 0);
        check(&out, &spans, marked);
        must(jinja_render(j, &in, &again, NULL, NULL) == st);
        must_equal(&again, out.p, out.n);
    }
    must(st == 0 || st == ST_TEMPLATE);
    must(st == 0 || e.msg[0] || e.st);
    jinja_free(j);
    buf_free(&out);
    buf_free(&again);
    free(spans.p);
    return 0;
}
