/* SPDX-License-Identifier: Apache-2.0 */
/* gguf_get.c, gguf_config.c: values that come layer by layer, and how positions are scaled. */
#include "testing.h"

#include "gguf_build.h"

#include <math.h>

static struct gb_shape small(void)
{
    return (struct gb_shape){"llama", 1, 16, 1, 1, 16, 8, 5, true, false, false};
}

static int open_built(struct gb *g, struct gb_shape shape, struct model_source **s, struct err *e)
{
    *e = (struct err){0};
    gb_model(g, &shape);
    const struct gb_buf *f = gb_finish(g);
    return gb_open(s, f->p, f->n, e);
}

/* Arrays of equal numbers are that number, as llama.cpp reads them; others are refused by name. */
static void test_arrays(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int32_t v[2];
        size_t n;
        int st;
        const char *says;
    } cases[] = {
        {"llama.attention.head_count_kv", {1, 1}, 2, 0, ""},
        {"llama.attention.head_count_kv", {1, 2}, 2, ST_UNSUPPORTED, "differs from layer to layer"},
        {"llama.attention.head_count_kv", {1}, 0, ST_FORMAT, "head_count_kv"},
        {"llama.feed_forward_length", {8, 8}, 2, 0, ""},
        {"llama.feed_forward_length", {8, 16}, 2, ST_UNSUPPORTED, "llama.feed_forward_length"},
        {"llama.attention.head_count", {1}, 1, 0, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gb g = {0};
        struct gb_shape shape = small();
        struct model_source *s;
        struct err e;
        gb_i32s(&g, cases[i].key, cases[i].v, cases[i].n);
        gb_weights(&g, &shape);
        struct gb_shape rest = shape; /* gb_metadata leaves out what is 0 */
        if (strstr(cases[i].key, "head_count_kv"))
            rest.kv_heads = 0;
        else if (strstr(cases[i].key, "head_count"))
            rest.heads = 0;
        else
            rest.ffn = 0;
        gb_metadata(&g, &rest);
        const struct gb_buf *f = gb_finish(&g);
        e = (struct err){0};
        int st = gb_open(&s, f->p, f->n, &e);
        if (st != cases[i].st || !strstr(e.msg, cases[i].says))
            fail_msg("%s of %zu: %d %s", cases[i].key, cases[i].n, st, e.msg);
        if (st == 0) {
            const struct layer_kind *k = layer_kind_of(model_source_config(s), 0);
            assert_true(k->n_heads == 1 && k->n_kv_heads == 1 && k->ffn_dim == 8);
        }
        model_source_close(s);
        gb_free(&g);
    }
}

static void test_scaling(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        double factor, old, want; /* 0: no key */
    } cases[] = {
        {NULL, 4, 0, 4}, /* a missing type is linear */
        {NULL, 0, 4, 4},     {"linear", 4, 0, 4}, {"linear", 0, 4, 4},
        {"linear", 4, 2, 4}, /* the new key first */
        {"none", 4, 0, 1},   /* and "none" scales nothing */
        {"none", 0, 4, 1},   {NULL, 0, 0, 1},     {"linear", 0, 0, 1},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct gb g = {0};
        struct model_source *s;
        struct err e;
        if (cases[k].type)
            gb_str(&g, "llama.rope.scaling.type", cases[k].type);
        if (cases[k].factor != 0)
            gb_f32(&g, "llama.rope.scaling.factor", (float)cases[k].factor);
        if (cases[k].old != 0)
            gb_f32(&g, "llama.rope.scale_linear", (float)cases[k].old);
        if (open_built(&g, small(), &s, &e) != 0)
            fail_msg("%zu: %s", k, e.msg);
        for (int i = 0; i < 8; i++) {
            double want = pow(10000, -2.0 * i / 16) / cases[k].want;
            double got = (double)model_source_config(s)->rope[0].inv_freq[i];
            if (!(fabs(got / want - 1) < 1e-6))
                fail_msg("%zu: frequency %d is %g, not %g", k, i, got, want);
        }
        model_source_close(s);
        gb_free(&g);
    }
}

/* Every id that a key names as an end, once, and none that is no id. */
static void test_end_keys(void **state)
{
    (void)state;
    struct gb g = {0};
    struct model_source *s;
    struct err e;
    gb_u32(&g, "tokenizer.ggml.eos_token_id", 3);
    gb_u32(&g, "tokenizer.ggml.eot_token_id", 4);
    gb_u32(&g, "tokenizer.ggml.eom_token_id", 0xffffffffu);
    assert_int_equal(open_built(&g, small(), &s, &e), 0);
    const struct text_source *t = model_source_text(s);
    assert_int_equal(t->n_ends, 2);
    assert_true(t->ends[0].id == 3 && t->ends[1].id == 4 && t->eos_id == 3);
    assert_string_equal(t->ends[1].from, "tokenizer.ggml.eot_token_id");
    model_source_close(s);
    gb_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_scaling),
        cmocka_unit_test(test_end_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
