/* SPDX-License-Identifier: Apache-2.0 */
/* weights.c: every weight arrives where forward.c will look for it, in the layout it expects. */
#include "testing.h"

#include "checkpoint/dummy.h"
#include "gguf_build.h"
#include "model/weights.h"

#include <math.h>

static struct be *open_cpu(void)
{
    struct be *be;
    struct err e;
    struct be_config c = {.kind = BE_CPU, .threads = 2};
    if (be_open(&be, &c, &e) != 0)
        fail_msg("%s", e.msg);
    return be;
}

/* Row `r` of a loaded matrix, read back through op_embed (which knows every layout). */
static void read_row(struct be *be, const struct matrix *table, int32_t rows, int32_t dim,
                     int32_t r, float *row)
{
    token_id *id = be_alloc(be, "test", sizeof *id);
    float *out = be_alloc(be, "test", (size_t)dim * sizeof *out);
    assert_int_equal(be_upload(be, id, &r, sizeof r), 0);
    struct op_embed o = {
        .out = out, .table = table, .ids = id, .n_tokens = 1, .dim = dim, .vocab = rows};
    assert_int_equal(be->op->embed(be, &o), 0);
    assert_int_equal(be_download(be, row, out, (size_t)dim * sizeof *row), 0);
}

/* Row of the file that holds rotate-half row r, found by inverting how a converter writes it. */
static int64_t file_row(const struct model_source *s, int role, int64_t r)
{
    bool pairs = role == W_Q || role == W_K || role == W_Q_BIAS || role == W_K_BIAS;
    if (!s->family->gguf_permuted || !pairs)
        return r;
    int64_t d = s->cfg.kind[0].head_dim, head = r / d * d;
    for (int64_t f = 0; f < d; f++) /* file row f holds element f % 2 * d/2 + f / 2 */
        if (f % 2 * (d / 2) + f / 2 == r - head)
            return head + f;
    return -1;
}

static void check_matrix(struct be *be, const struct model_source *s, const struct matrix *m,
                         int32_t layer, const int *roles, int n)
{
    int64_t rows[3], cols = 0, total = 0;
    for (int i = 0; i < n; i++) {
        weight_shape(&s->cfg, layer, roles[i], &rows[i], &cols);
        total += rows[i];
    }
    float *row = xalloc((size_t)cols * sizeof *row);
    int64_t at = 0;
    for (int i = 0; i < n; at += rows[i++]) {
        for (int64_t r = 0; r < rows[i]; r++) {
            read_row(be, m, (int32_t)total, (int32_t)cols, (int32_t)(at + r), row);
            int64_t from = file_row(s, roles[i], r) * cols;
            for (int64_t c = 0; c < cols; c++)
                if (row[c] != gb_value(layer, roles[i], from + c))
                    fail_msg("layer %d role %d row %d column %d", layer, roles[i], (int)r, (int)c);
        }
    }
    free(row);
}

static void check_vector(const struct model_source *s, const void *v, int32_t layer, int role)
{
    int64_t n, cols;
    weight_shape(&s->cfg, layer, role, &n, &cols);
    const float *f = v;
    for (int64_t i = 0; i < n; i++)
        if (f[i] != gb_value(layer, role, file_row(s, role, i)))
            fail_msg("layer %d role %d element %d", layer, role, (int)i);
}

static void check_layer(struct be *be, const struct model_source *s, const struct weight_set *w,
                        int32_t i)
{
    const struct layer_weights *y = &w->layer[i];
    check_matrix(be, s, &y->wqkv, i, (const int[]){W_Q, W_K, W_V}, 3);
    check_matrix(be, s, &y->wo, i, (const int[]){W_O}, 1);
    check_matrix(be, s, &y->w_gate_up, i, (const int[]){W_GATE, W_UP}, 2);
    check_matrix(be, s, &y->w_down, i, (const int[]){W_DOWN}, 1);
    check_vector(s, y->attn_norm, i, W_ATTN_NORM);
    check_vector(s, y->ffn_norm, i, W_FFN_NORM);
    assert_int_equal(y->bqkv != NULL, s->cfg.qkv_bias);
    assert_int_equal(y->q_norm != NULL, s->cfg.qk_norm);
    assert_int_equal(y->k_norm != NULL, s->cfg.qk_norm);
    assert_null(y->bo);
    assert_null(y->b_gate_up);
    assert_null(y->b_down);
    if (s->cfg.qkv_bias) {
        check_vector(s, y->bqkv, i, W_Q_BIAS);
        check_vector(s, (const float *)y->bqkv + s->cfg.kind[0].n_heads * s->cfg.kind[0].head_dim,
                     i, W_K_BIAS);
    }
    if (s->cfg.qk_norm) {
        check_vector(s, y->q_norm, i, W_Q_NORM);
        check_vector(s, y->k_norm, i, W_K_NORM);
    }
}

struct heard {
    double last;
    int n;
};

static void hear(void *arg, const char *phase, double fraction)
{
    struct heard *h = arg;
    assert_string_equal(phase, "weights");
    assert_true(fraction >= h->last && fraction <= 1.000001);
    h->last = fraction;
    h->n++;
}

static void check_shape(struct gb_shape shape)
{
    struct gb g = {0};
    struct model_source *s;
    struct err e = {0};
    struct weight_set w;
    struct heard h = {0};
    gb_model(&g, &shape);
    const struct gb_buf *f = gb_finish(&g);
    if (gb_open(&s, f->p, f->n, &e) != 0)
        fail_msg("%s", e.msg);
    struct be *be = open_cpu();
    if (weights_load(&w, s, be, DT_F32, DT_F32, hear, &h, &e) != 0)
        fail_msg("%s", e.msg);
    assert_true(fabs(h.last - 1) < 1e-6);
    for (int32_t i = 0; i < w.n_layers; i++)
        check_layer(be, s, &w, i);
    check_matrix(be, s, &w.embed, -1, (const int[]){W_EMBED}, 1);
    check_matrix(be, s, &w.head, -1, (const int[]){shape.tied ? W_EMBED : W_HEAD}, 1);
    assert_int_equal(w.head.data == w.embed.data, shape.tied);
    check_vector(s, w.final_norm, -1, W_FINAL_NORM);
    weights_free(&w);
    weights_free(&w);
    be_close(be);
    model_source_close(s);
    gb_free(&g);
}

static void test_every_weight_arrives(void **state)
{
    (void)state;
    check_shape(gb_tiny());
    struct gb_shape tied = gb_tiny();
    tied.tied = true;
    tied.kv_heads = 4;
    check_shape(tied);
    check_shape((struct gb_shape){"qwen2", 1, 48, 3, 1, 16, 40, 33, true, true, false});
    check_shape((struct gb_shape){"qwen3", 2, 40, 2, 1, 32, 56, 17, false, false, true});
    check_shape((struct gb_shape){"llama", 1, 64, 2, 1, 80, 96, 19, false, true, false});
}

/* Other types: the same values, rounded once; a tied model whose two ends differ gets two copies.
 */
static void test_types(void **state)
{
    (void)state;
    struct gb_shape shape = gb_tiny();
    shape.tied = true;
    struct gb g = {0};
    struct model_source *s;
    struct err e = {0};
    struct weight_set w;
    gb_model(&g, &shape);
    const struct gb_buf *f = gb_finish(&g);
    assert_int_equal(gb_open(&s, f->p, f->n, &e), 0);
    struct be *be = open_cpu();
    assert_int_equal(weights_load(&w, s, be, DT_F32, DT_BF16, NULL, NULL, &e), 0);
    assert_ptr_not_equal(w.head.data, w.embed.data);
    assert_int_equal(w.weight_dt, DT_BF16);
    uint16_t *want = xalloc(64 * 2), *got = xalloc(64 * 2);
    float v[64];
    for (int64_t i = 0; i < 64; i++)
        v[i] = gb_value(-1, W_EMBED, 64 + i);
    qtype_convert(QT_F32, v, 64, want, DT_BF16);
    token_id one = 1;
    struct op_embed o = {.out = got,
                         .table = &w.head,
                         .ids = &one,
                         .n_tokens = 1,
                         .dim = 64,
                         .vocab = 40,
                         .dt = DT_BF16,
                         .out_dt = DT_BF16};
    assert_int_equal(be->op->embed(be, &o), 0);
    assert_memory_equal(got, want, 128);
    free(want);
    free(got);
    weights_free(&w);
    be_close(be);
    model_source_close(s);
    gb_free(&g);
}

static void test_bytes(void **state)
{
    (void)state;
    struct gb_shape shape = gb_tiny();
    struct model_config c = gb_config(&shape);
    int64_t layer = (128 * 64 + 64 * 64 + 2 * 96 * 64 + 64 * 96) * 4 + 2 * 256;
    assert_int_equal(weights_bytes(&c, DT_F32, DT_F32), 2 * layer + 256 + 2 * 40 * 64 * 4);
    c.tied_head = true;
    assert_int_equal(weights_bytes(&c, DT_F32, DT_F32), 2 * layer + 256 + 40 * 64 * 4);
}

static void test_dummy_is_a_function_of_the_index(void **state)
{
    (void)state;
    enum { N = 5000 };
    static float whole[N], part[N];
    dummy_fill(7, 3, W_Q, 64, 0, N, whole, DT_F32);
    for (int64_t at = 0, step = 1; at < N; at += step, step = step * 7 % 1031 + 1) {
        int64_t n = at + step < N ? step : N - at;
        dummy_fill(7, 3, W_Q, 64, at, n, part, DT_F32);
        assert_memory_equal(part, whole + at, (size_t)n * sizeof *part);
    }
    double sum = 0, squares = 0;
    for (int i = 0; i < N; i++) {
        sum += (double)whole[i];
        squares += (double)whole[i] * (double)whole[i];
    }
    assert_true(fabs(sum / N) < 0.01);
    assert_true(fabs(sqrt(squares / N) - 0.125) < 0.005);
    static const struct {
        uint64_t seed;
        int32_t layer;
        int role;
    } others[] = {{8, 3, W_Q}, {7, 2, W_Q}, {7, 3, W_K}, {7, -1, W_EMBED}};
    for (size_t i = 0; i < 4; i++) {
        dummy_fill(others[i].seed, others[i].layer, others[i].role, 64, 0, N, part, DT_F32);
        int same = 0;
        for (int k = 0; k < N; k++)
            same += part[k] == whole[k];
        assert_true(same < 10);
    }
    dummy_fill(7, 0, W_ATTN_NORM, 64, 0, N, part, DT_F32);
    for (int i = 0; i < N; i++)
        assert_true(part[i] > 0.8f && part[i] < 1.2f);
}

#ifdef QUIRE_FAULTS
static void test_no_room(void **state)
{
    (void)state;
    struct gb_shape shape = gb_tiny();
    struct gb g = {0};
    struct model_source *s;
    struct err e = {0};
    struct weight_set w;
    gb_model(&g, &shape);
    const struct gb_buf *f = gb_finish(&g);
    assert_int_equal(gb_open(&s, f->p, f->n, &e), 0);
    int n_failed = 0;
    for (int64_t nth = 1;; nth++) {
        struct be *be = open_cpu();
        fault_arm(nth);
        int st = weights_load(&w, s, be, -1, -1, NULL, NULL, &e);
        bool fired = fault_fired();
        fault_arm(0);
        if (fired) {
            assert_int_equal(st, ST_NOMEM);
            assert_null(w.layer);
            n_failed++;
        }
        weights_free(&w);
        be_close(be);
        if (!fired)
            break;
    }
    assert_int_equal(n_failed, 1 + 2 + 2 * 4);
    model_source_close(s);
    gb_free(&g);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_weight_arrives),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_dummy_is_a_function_of_the_index),
#ifdef QUIRE_FAULTS
        cmocka_unit_test(test_no_room),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
