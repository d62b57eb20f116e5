/* SPDX-License-Identifier: Apache-2.0 */
/* gguf.c, gguf_get.c, gguf_config.c, bind.c: what a good file means, and that every bad one ends in
 * a message. */
#include "testing.h"

#include "gguf_build.h"
#include "hostile.h"

#include <math.h>

static struct gb_shape small(void)
{
    return (struct gb_shape){"llama", 1, 16, 1, 1, 16, 8, 5, true, false, false};
}

static void add_tokenizer(struct gb *g)
{
    static const char *const tokens[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b"};
    static const char *const merges[] = {"a b"};
    static const int32_t types[] = {3, 3, 3, 1, 1};
    gb_str(g, "tokenizer.ggml.model", "gpt2");
    gb_str(g, "tokenizer.ggml.pre", "smollm");
    gb_strs(g, "tokenizer.ggml.tokens", tokens, 5);
    gb_strs(g, "tokenizer.ggml.merges", merges, 1);
    gb_i32s(g, "tokenizer.ggml.token_type", types, 5);
    gb_u32(g, "tokenizer.ggml.bos_token_id", 1);
    gb_u32(g, "tokenizer.ggml.eos_token_id", 3);
    gb_u32(g, "tokenizer.ggml.padding_token_id", 0xffffffffu);
    gb_str(g, "tokenizer.chat_template", "{{ messages }}");
    gb_key(g, "tokenizer.ggml.add_bos_token", GGUF_BOOL);
    gb_put(&g->kv, "", 1);
}

static bool view_is(struct view v, const char *text)
{
    return v.n == strlen(text) && memcmp(v.p, text, v.n) == 0;
}

static void test_good_file(void **state)
{
    (void)state;
    struct gb g = {0};
    struct gb_shape shape = small();
    struct model_source *s;
    struct err e = {0};
    add_tokenizer(&g);
    gb_model(&g, &shape);
    const struct gb_buf *f = gb_finish(&g);
    if (gb_open(&s, f->p, f->n, &e) != 0)
        fail_msg("%s", e.msg);
    const struct model_config *c = model_source_config(s);
    assert_string_equal(c->family, "llama");
    assert_int_equal(c->n_layers, 1);
    assert_int_equal(c->dim, 16);
    assert_int_equal(c->kind[0].ffn_dim, 8);
    assert_int_equal(c->vocab, 5);
    assert_int_equal(c->max_position, 512);
    assert_true(c->tied_head && !c->qkv_bias && !c->qk_norm);
    assert_true(c->norm_eps == 1e-5f && c->rope[0].theta == 10000.0f &&
                c->rope[0].inv_freq[0] == 1.0f);
    assert_string_equal(c->torch_dtype, "F32");
    assert_true(isnan(c->gen_temperature) && c->gen_top_k == -1);
    const struct text_source *t = model_source_text(s);
    assert_true(view_is(t->gguf_model, "gpt2") && view_is(t->gguf_pre, "smollm"));
    assert_true(view_is(t->gguf_chat_template, "{{ messages }}"));
    assert_int_equal(t->n_gguf_tokens, 5);
    assert_int_equal(t->bos_id, 1);
    assert_int_equal(t->n_ends, 1); /* the key's; those known by their text are text/'s */
    assert_int_equal(t->ends[0].id, 3);
    assert_string_equal(t->ends[0].from, "tokenizer.ggml.eos_token_id");
    assert_true(view_is(t->gguf_tokens[4], "b") && view_is(t->gguf_merges[0], "a b"));
    assert_int_equal(t->gguf_types[2], 3);
    assert_null(t->gguf_scores);
    assert_int_equal(t->pad_id, -1);
    assert_int_equal(t->add_bos, 0);
    assert_int_equal(t->add_eos, -1);
    assert_null(t->tokenizer_json.p);
    model_source_close(s);
    gb_free(&g);
}

/* Linear scaling in both spellings, and the factors that Llama 3 files carry as a tensor. */
static void test_rope_keys(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct gb g = {0};
        struct gb_shape shape = small();
        struct model_source *s;
        struct err e = {0};
        float factors[8] = {1, 1, 2, 4, 8, 8, 8, 8};
        gb_model(&g, &shape);
        if (how == 0) {
            gb_str(&g, "llama.rope.scaling.type", "linear");
            gb_f32(&g, "llama.rope.scaling.factor", 4);
        } else if (how == 1) {
            gb_f32(&g, "llama.rope.scale_linear", 4);
        } else {
            gb_tensor(&g, "rope_freqs.weight", 8, 0, factors, sizeof factors);
        }
        const struct gb_buf *f = gb_finish(&g);
        if (gb_open(&s, f->p, f->n, &e) != 0)
            fail_msg("%s", e.msg);
        for (int i = 0; i < 8; i++) {
            double by = how == 2 ? (double)factors[i] : 4;
            double want = pow(10000, -2.0 * i / 16) / by;
            assert_true(fabs((double)s->cfg.rope[0].inv_freq[i] / want - 1) < 1e-6);
        }
        model_source_close(s);
        gb_free(&g);
    }
}

/* A case spoils metadata before the model is written (meta), or tensors after it (more), or the
 * finished bytes (bytes). */
struct spoil {
    const char *name;
    int st;
    const char *says;
    void (*meta)(struct gb *g, struct gb_shape *s);
    void (*more)(struct gb *g);
    void (*bytes)(struct gb_buf *f);
};

static void patch64(struct gb_buf *f, size_t at, uint64_t v)
{
    memcpy(f->p + at, &v, 8);
}

/* Position of a name's length field: fields follow it at known distances. */
static size_t find_name(const struct gb_buf *f, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 8; i + n < f->n; i++) {
        uint64_t len;
        memcpy(&len, f->p + i - 8, 8);
        if (len == n && memcmp(f->p + i, name, n) == 0)
            return i - 8;
    }
    fail_msg("%s is not in the file", name);
    return 0;
}

#define META(n) static void meta_##n(struct gb *g, struct gb_shape *s)
#define MORE(n) static void more_##n(struct gb *g)
#define BYTES(n) static void bytes_##n(struct gb_buf *f)

META(arch)
{
    (void)g;
    s->arch = "mamba";
}
META(not_utf8)
{
    (void)s;
    gb_str(g, "tokenizer.chat_template", "{{ \xff }}");
}
META(no_layers)
{
    (void)g;
    s->layers = 0;
}
META(head_dim)
{
    (void)g;
    s->head_dim = 24;
}
META(heads)
{
    (void)g;
    s->heads = 3;
    s->kv_heads = 2;
}
META(dim)
{
    (void)g;
    s->dim = 20;
}
META(extra_layer)
{
    (void)g;
    s->layers = 2;
}
META(rope_type)
{
    (void)s;
    gb_str(g, "llama.rope.scaling.type", "longrope");
}
META(yarn)
{
    (void)s;
    gb_str(g, "llama.rope.scaling.type", "yarn");
}
META(partial)
{
    (void)s;
    gb_u32(g, "llama.rope.dimension_count", 8);
}
META(window)
{
    (void)s;
    gb_u32(g, "llama.attention.sliding_window", 128);
}
META(experts)
{
    (void)s;
    gb_u32(g, "llama.expert_count", 8);
}
META(split)
{
    (void)s;
    gb_u32(g, "split.count", 2);
}
META(logit_scale)
{
    (void)s;
    gb_f32(g, "llama.logit_scale", 0.5f);
}
META(twice)
{
    (void)s;
    gb_u32(g, "a.b", 1);
    gb_u32(g, "a.b", 2);
}
META(alignment)
{
    (void)s;
    gb_u32(g, "general.alignment", 3);
}
META(kind)
{
    (void)s;
    gb_str(g, "tokenizer.ggml.bos_token_id", "one");
}
META(tokens_kind)
{
    (void)s;
    gb_u32(g, "tokenizer.ggml.tokens", 1);
}
META(tokens_elem)
{
    static const int32_t one = 1;
    (void)s;
    gb_i32s(g, "tokenizer.ggml.tokens", &one, 1);
}
META(types_count)
{
    static const char *const tok[] = {"a", "b"};
    static const int32_t one = 1;
    (void)s;
    gb_strs(g, "tokenizer.ggml.tokens", tok, 2);
    gb_i32s(g, "tokenizer.ggml.token_type", &one, 1);
}
META(many_tokens)
{
    static const char *const tok[] = {"a", "b", "c", "d", "e", "f"};
    (void)s;
    gb_strs(g, "tokenizer.ggml.tokens", tok, 6);
}
META(nested)
{
    (void)s;
    gb_key(g, "x", GGUF_ARRAY);
    gb_put32(&g->kv, GGUF_ARRAY);
    gb_put64(&g->kv, 1);
}
META(array_long)
{
    (void)s;
    gb_key(g, "x", GGUF_ARRAY);
    gb_put32(&g->kv, GGUF_U64);
    gb_put64(&g->kv, (uint64_t)1 << 61);
}
META(type)
{
    (void)s;
    gb_key(g, "x", 99);
}
META(key_name)
{
    (void)s;
    gb_u32(g, "bad\nkey", 1);
}
META(not_finite)
{
    (void)s;
    gb_f32(g, "llama.rope.scale_linear", INFINITY);
}
MORE(unknown_tensor)
{
    gb_tensor(g, "blk.0.attn_sinks.weight", 1, 0, "abcd", 4);
}
MORE(same_tensor)
{
    static const float v[16];
    gb_tensor(g, "output_norm.weight", 16, 0, v, sizeof v);
}
MORE(rope_freqs)
{
    gb_tensor(g, "rope_freqs.weight", 3, 0, "abcdabcdabcd", 12);
}
MORE(big)
{
    gb_tensor(g, "huge", INT32_MAX, INT32_MAX, "", 0);
}
MORE(bad_block)
{
    g->ggml_type = 3;
    gb_tensor(g, "odd", 4, 33, "", 0);
}
MORE(tensor_name)
{
    gb_tensor(g, "white space", 1, 0, "abcd", 4);
}
BYTES(magic)
{
    f->p[0] = 'X';
}
BYTES(version)
{
    f->p[4] = 2;
}
BYTES(big_endian)
{
    memcpy(f->p + 4, "\0\0\0\3", 4);
}
BYTES(n_tensors)
{
    patch64(f, 8, UINT64_MAX);
}
BYTES(n_kv)
{
    patch64(f, 16, UINT64_MAX);
}
BYTES(n_kv_more)
{
    patch64(f, 16, 40);
}
BYTES(key_length)
{
    patch64(f, 24, UINT64_MAX - 3);
}
BYTES(dims)
{
    f->p[find_name(f, "output_norm.weight") + 8 + 18] = 9;
}
BYTES(side_zero)
{
    patch64(f, find_name(f, "output_norm.weight") + 8 + 18 + 4, 0);
}
BYTES(side_huge)
{
    patch64(f, find_name(f, "output_norm.weight") + 8 + 18 + 4, UINT64_MAX / 2);
}
BYTES(shape)
{
    patch64(f, find_name(f, "output_norm.weight") + 8 + 18 + 4, 15);
}
BYTES(quant)
{
    f->p[find_name(f, "output_norm.weight") + 8 + 18 + 12] = 16;
}
BYTES(quant_unknown)
{
    f->p[find_name(f, "output_norm.weight") + 8 + 18 + 12] = 200;
}
BYTES(offset_far)
{
    patch64(f, find_name(f, "output_norm.weight") + 8 + 18 + 16, (uint64_t)1 << 40);
}
BYTES(offset_wrap)
{
    patch64(f, find_name(f, "output_norm.weight") + 8 + 18 + 16, UINT64_MAX - 31);
}
BYTES(offset_odd)
{
    patch64(f, find_name(f, "output_norm.weight") + 8 + 18 + 16, 4);
}
BYTES(overlap)
{
    patch64(f, find_name(f, "output_norm.weight") + 8 + 18 + 16, 0);
}
BYTES(cut)
{
    f->n -= 8;
}
BYTES(empty)
{
    f->n = 0;
}

static const struct spoil spoils[] = {
    {"architecture", ST_UNSUPPORTED, "mamba", .meta = meta_arch},
    {"bytes", ST_FORMAT, "chat_template is not valid UTF-8", .meta = meta_not_utf8},
    {"no layers", ST_FORMAT, "llama.block_count is missing", .meta = meta_no_layers},
    {"head size", ST_UNSUPPORTED, "head size 24", .meta = meta_head_dim},
    {"heads", ST_FORMAT, "3 heads do not share 2", .meta = meta_heads},
    {"hidden size", ST_UNSUPPORTED, "hidden size 20", .meta = meta_dim},
    {"rope type", ST_UNSUPPORTED, "longrope", .meta = meta_rope_type},
    {"yarn", ST_UNSUPPORTED, "yarn", .meta = meta_yarn},
    {"partial rope", ST_UNSUPPORTED, "partial rotary", .meta = meta_partial},
    {"window", ST_UNSUPPORTED, "sliding_window = 128", .meta = meta_window},
    {"experts", ST_UNSUPPORTED, "mixture-of-experts", .meta = meta_experts},
    {"split", ST_UNSUPPORTED, "split GGUF", .meta = meta_split},
    {"logit scale", ST_UNSUPPORTED, "llama.logit_scale", .meta = meta_logit_scale},
    {"key twice", ST_FORMAT, "a.b is there twice", .meta = meta_twice},
    {"alignment", ST_FORMAT, "general.alignment = 3", .meta = meta_alignment},
    {"kind", ST_FORMAT, "bos_token_id is not an integer", .meta = meta_kind},
    {"tokens kind", ST_FORMAT, "tokens is not an array", .meta = meta_tokens_kind},
    {"tokens elem", ST_FORMAT, "not an array of strings", .meta = meta_tokens_elem},
    {"types count", ST_FORMAT, "2 tokens, but 1 types", .meta = meta_types_count},
    {"many tokens", ST_FORMAT, "6 tokens, but only 5", .meta = meta_many_tokens},
    {"nested array", ST_FORMAT, "array of type 9", .meta = meta_nested},
    {"array length", ST_FORMAT, "runs past the end", .meta = meta_array_long},
    {"value type", ST_FORMAT, "x has type 99", .meta = meta_type},
    {"key name", ST_FORMAT, "not a name", .meta = meta_key_name},
    {"infinite", ST_FORMAT, "finite", .meta = meta_not_finite},
    {"unknown tensor", ST_UNSUPPORTED, "attn_sinks", .more = more_unknown_tensor},
    {"tensor twice", ST_FORMAT, "output_norm.weight is there twice", .more = more_same_tensor},
    {"rope_freqs", ST_FORMAT, "rope_freqs.weight must be", .more = more_rope_freqs},
    {"huge tensor", ST_FORMAT, "huge", .more = more_big},
    {"broken block", ST_FORMAT, "Q4_1 do not fit", .more = more_bad_block},
    {"tensor name", ST_FORMAT, "bad name", .more = more_tensor_name},
    {"magic", ST_FORMAT, "not a GGUF file", .bytes = bytes_magic},
    {"version", ST_UNSUPPORTED, "version 2", .bytes = bytes_version},
    {"big endian", ST_UNSUPPORTED, "big endian", .bytes = bytes_big_endian},
    {"tensor count", ST_FORMAT, "tensors cannot be", .bytes = bytes_n_tensors},
    {"pair count", ST_FORMAT, "pairs cannot be", .bytes = bytes_n_kv},
    {"pair count, more", ST_FORMAT, "gguf: ", .bytes = bytes_n_kv_more},
    {"key length", ST_FORMAT, "runs past the end", .bytes = bytes_key_length},
    {"dimensions", ST_FORMAT, "9 dimensions", .bytes = bytes_dims},
    {"side 0", ST_FORMAT, "side of 0", .bytes = bytes_side_zero},
    {"side huge", ST_FORMAT, "side of", .bytes = bytes_side_huge},
    {"shape", ST_FORMAT, "shape [15], expected [16]", .bytes = bytes_shape},
    {"quantisation", ST_UNSUPPORTED, "IQ2_XXS", .bytes = bytes_quant},
    {"quantisation number", ST_UNSUPPORTED, "type 200", .bytes = bytes_quant_unknown},
    {"offset", ST_FORMAT, "outside of the file", .bytes = bytes_offset_far},
    {"offset wraps", ST_FORMAT, "outside of the file", .bytes = bytes_offset_wrap},
    {"offset odd", ST_FORMAT, "not aligned", .bytes = bytes_offset_odd},
    {"overlap", ST_FORMAT, "overlap", .bytes = bytes_overlap},
    {"cut", ST_FORMAT, "truncated", .bytes = bytes_cut},
    {"empty", ST_FORMAT, "magic", .bytes = bytes_empty},
    {"missing layer", ST_FORMAT, "blk.1.attn_norm.weight is missing", .meta = meta_extra_layer},
};

static void test_spoiled(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof spoils / sizeof spoils[0]; i++) {
        const struct spoil *c = &spoils[i];
        struct gb g = {0};
        struct gb_shape shape = small(), good = shape;
        struct model_source *s;
        struct err e = {0};
        if (c->meta)
            c->meta(&g, &shape);
        gb_metadata(&g, &shape);
        gb_weights(&g, &good);
        if (c->more)
            c->more(&g);
        struct gb_buf f = *gb_finish(&g);
        if (c->bytes)
            c->bytes(&f);
        uint8_t *exact = exact_copy(f.p, f.n);
        int st = gb_open(&s, exact, f.n, &e);
        if (st != c->st || !strstr(e.msg, c->says))
            fail_msg("%s: %d %s", c->name, st, e.msg);
        assert_null(s);
        free(exact);
        gb_free(&g);
    }
}

static struct gb_buf whole_file(struct gb *g)
{
    struct gb_shape shape = small();
    add_tokenizer(g);
    gb_model(g, &shape);
    return *gb_finish(g);
}

static void test_every_truncation(void **state)
{
    (void)state;
    struct gb g = {0};
    struct gb_buf f = whole_file(&g);
    for (size_t n = 0; n < f.n; n += n < 3000 ? 1 : 37) {
        struct model_source *s;
        struct err e = {0};
        uint8_t *exact = exact_copy(f.p, n);
        if (gb_open(&s, exact, n, &e) != ST_FORMAT || !e.msg[0])
            fail_msg("cut at %zu of %zu: %d %s", n, f.n, e.st, e.msg);
        free(exact);
    }
    gb_free(&g);
}

static void test_random_damage(void **state)
{
    (void)state;
    struct gb g = {0};
    struct gb_buf f = whole_file(&g);
    size_t header = f.n - g.data.n;
    int opened = 0;
    uint32_t sum = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t seed = i * 77 + 1;
        struct model_source *s;
        struct err e = {0};
        uint8_t *p = exact_copy(f.p, f.n);
        mutate(p, f.n, header, &seed);
        if (gb_open(&s, p, f.n, &e) == 0) {
            opened++;
            sum += read_everything(&s->tensors);
            model_source_close(s);
        } else if (!e.msg[0]) {
            fail_msg("seed %d: no message", (int)i);
        }
        free(p);
    }
    printf("%d of 20000 damaged files still open (sum %u)\n", opened, sum);
    assert_true(opened > 100 && opened < 19000);
    gb_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_file),     cmocka_unit_test(test_rope_keys),
        cmocka_unit_test(test_spoiled),       cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
