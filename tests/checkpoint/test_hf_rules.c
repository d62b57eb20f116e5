/* SPDX-License-Identifier: Apache-2.0 */
/* hf_config.c, hf_rope.c, hf_generation.c, bind.c: keys in every place where they may stand, the
 * defaults of each class, and a head beside a flag that says there is none. The expected inverse
 * frequencies are computed here from the papers' formulas. */
#include "testing.h"

#include "checkpoint/source.h"
#include "dtype.h"
#include "weight_rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];

static void put_file(const char *name, const void *p, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static void drop_file(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/quire-test-rules-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    drop_file("config.json");
    drop_file("generation_config.json");
    drop_file("model.safetensors");
    return rmdir(dir);
}

/* A family's config.json of three layers and head size 16; `more` begins with a comma. */
static void put_config(const char *family, const char *arch, int max_position, const char *more)
{
    char text[2048];
    int n = snprintf(text, sizeof text,
                     "{\"architectures\":[\"%s\"],\"model_type\":\"%s\",\"hidden_size\":64,"
                     "\"intermediate_size\":96,\"num_hidden_layers\":3,\"num_attention_heads\":4,"
                     "\"vocab_size\":1024,\"max_position_embeddings\":%d%s}",
                     arch, family, max_position, more);
    put_file("config.json", text, (size_t)n);
}

static int open_dummy(struct model_source **s, struct err *e)
{
    struct model_source_opts o = {.path = dir, .dummy = true, .seed = 3};
    *e = (struct err){0};
    return model_source_open(s, &o, e);
}

/* ---- rotary embeddings ---- */

struct want_rope {
    const char *kind; /* plain, linear, llama3, yarn */
    double theta, factor, original, low, high;
};

static double want_freq(const struct want_rope *w, int i)
{
    const double dim = 16, turn = 2 * M_PI;
    double f = pow(w->theta, -2 * i / dim);
    if (strcmp(w->kind, "linear") == 0)
        return f / w->factor;
    if (strcmp(w->kind, "llama3") == 0) {
        double waves = w->original * f / turn; /* turns over the original length */
        if (waves > w->high)
            return f;
        if (waves < w->low)
            return f / w->factor;
        double mix = (waves - w->low) / (w->high - w->low);
        return f * (mix + (1 - mix) / w->factor);
    }
    if (strcmp(w->kind, "yarn") == 0) {
        double at32 = dim * log(w->original / (32 * turn)) / (2 * log(w->theta));
        double at1 = dim * log(w->original / (1 * turn)) / (2 * log(w->theta));
        double lo = fmax(floor(at32), 0), hi = fmin(ceil(at1), dim - 1);
        double ramp = fmin(fmax((i - lo) / (hi == lo ? 0.001 : hi - lo), 0), 1);
        return f * ((1 - ramp) + ramp / w->factor);
    }
    return f;
}

static const struct {
    const char *family, *arch, *more;
    int max_position, want_max;
    struct want_rope want;
} ropes[] = {
    /* original_max_position_embeddings beside everything */
    {"llama",
     "LlamaForCausalLM",
     ",\"rope_theta\":1e4,\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4},"
     "\"original_max_position_embeddings\":64",
     256,
     256,
     {"yarn", 1e4, 4, 64, 0, 0}},
    {"llama",
     "LlamaForCausalLM",
     ",\"rope_theta\":5e5,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
     "\"low_freq_factor\":1,\"high_freq_factor\":4},\"original_max_position_embeddings\":64",
     256,
     256,
     {"llama3", 5e5, 8, 64, 1, 4}},
    {"llama",
     "LlamaForCausalLM",
     ",\"rope_theta\":5e5,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
     "\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":128},"
     "\"original_max_position_embeddings\":64",
     256,
     256,
     {"llama3", 5e5, 8, 64, 1, 4}},
    {"llama",
     "LlamaForCausalLM",
     ",\"rope_parameters\":{\"rope_theta\":5e5,\"rope_type\":\"llama3\",\"factor\":8,"
     "\"low_freq_factor\":1,\"high_freq_factor\":4},\"original_max_position_embeddings\":64",
     256,
     256,
     {"llama3", 5e5, 8, 64, 1, 4}},
    /* of no use to a kind that has none */
    {"llama",
     "LlamaForCausalLM",
     ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},\"original_max_position_embeddings\":64",
     256,
     256,
     {"linear", 1e4, 2, 0, 0, 0}},
    /* both objects: rope_scaling takes the other's place, unless it is empty */
    {"qwen2",
     "Qwen2ForCausalLM",
     ",\"num_key_value_heads\":2,\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1e6}"
     ","
     "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,\"rope_theta\":1e6,"
     "\"original_max_position_embeddings\":64}",
     256,
     256,
     {"yarn", 1e6, 4, 64, 0, 0}},
    {"qwen2",
     "Qwen2ForCausalLM",
     ",\"num_key_value_heads\":2,\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2,"
     "\"rope_theta\":1e6},\"rope_scaling\":{}",
     256,
     256,
     {"linear", 1e6, 2, 0, 0, 0}},
    {"qwen2",
     "Qwen2ForCausalLM",
     ",\"num_key_value_heads\":2,\"rope_theta\":1e6,\"rope_parameters\":{\"rope_type\":\"default\"}"
     ","
     "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2}",
     256,
     256,
     {"linear", 1e6, 2, 0, 0, 0}},
    /* the base inside goes before the one outside */
    {"llama",
     "LlamaForCausalLM",
     ",\"rope_theta\":1e4,\"rope_parameters\":{\"rope_theta\":5e5}",
     256,
     256,
     {"plain", 5e5, 1, 0, 0, 0}},
    /* YaRN as a model card says: the context grows to original x factor, and never shrinks */
    {"qwen2",
     "Qwen2ForCausalLM",
     ",\"num_key_value_heads\":2,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0,"
     "\"original_max_position_embeddings\":128}",
     128,
     512,
     {"yarn", 1e4, 4, 128, 0, 0}},
    {"llama",
     "LlamaForCausalLM",
     ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0}",
     128,
     512,
     {"yarn", 1e4, 4, 128, 0, 0}},
    {"llama",
     "LlamaForCausalLM",
     ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2.0,"
     "\"original_max_position_embeddings\":128}",
     1024,
     1024,
     {"yarn", 1e4, 2, 128, 0, 0}},
};

static void test_rope_places(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof ropes / sizeof *ropes; k++) {
        struct model_source *s;
        struct err e;
        put_config(ropes[k].family, ropes[k].arch, ropes[k].max_position, ropes[k].more);
        if (open_dummy(&s, &e) != 0)
            fail_msg("%s: %s", ropes[k].more, e.msg);
        const struct model_config *c = model_source_config(s);
        assert_int_equal(c->max_position, ropes[k].want_max);
        for (int i = 0; i < 8; i++) {
            double want = want_freq(&ropes[k].want, i), got = (double)c->rope[0].inv_freq[i];
            if (!(fabs(got / want - 1) < 1e-6))
                fail_msg("%s: frequency %d is %.9g, not %.9g", ropes[k].more, i, got, want);
        }
        model_source_close(s);
    }
}

static void test_rope_refused(void **state)
{
    (void)state;
    static const struct {
        const char *more, *says;
    } bad[] = {
        /* transformers would fall back to the default base in silence */
        {",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1e6},"
         "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}",
         "write it into rope_scaling"},
        {",\"rope_parameters\":{\"partial_rotary_factor\":0.5},"
         "\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}",
         "partial_rotary_factor"},
        {",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4},"
         "\"rope_parameters\":{\"sliding_attention\":{\"rope_theta\":1e4}}",
         "per layer type"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        struct model_source *s;
        struct err e;
        put_config("llama", "LlamaForCausalLM", 256, bad[k].more);
        if (open_dummy(&s, &e) != ST_UNSUPPORTED || !strstr(e.msg, bad[k].says) ||
            !strstr(e.msg, dir))
            fail_msg("%s: %d %s", bad[k].more, e.st, e.msg);
    }
}

/* ---- defaults of the classes ---- */

static void test_defaults(void **state)
{
    (void)state;
    static const struct {
        const char *family, *arch, *more;
        int max_position;
        const char *refused; /* NULL: opens */
    } cases[] = {
        /* (a) use_sliding_window is off by default, (b) and then says from which layer on */
        {"qwen2", "Qwen2ForCausalLM", ",\"num_key_value_heads\":2,\"sliding_window\":32", 256,
         NULL},
        {"qwen3", "Qwen3ForCausalLM", ",\"num_key_value_heads\":2,\"sliding_window\":32", 256,
         NULL},
        {"qwen2", "Qwen2ForCausalLM",
         ",\"num_key_value_heads\":2,\"sliding_window\":32,\"use_sliding_window\":true,"
         "\"max_window_layers\":3",
         256, NULL},
        {"qwen2", "Qwen2ForCausalLM",
         ",\"num_key_value_heads\":2,\"sliding_window\":32,\"use_sliding_window\":true", 256, NULL},
        {"qwen2", "Qwen2ForCausalLM",
         ",\"num_key_value_heads\":2,\"sliding_window\":32,\"use_sliding_window\":true,"
         "\"max_window_layers\":2",
         256, "sliding_window = 32"},
        {"qwen2", "Qwen2ForCausalLM",
         ",\"num_key_value_heads\":2,\"use_sliding_window\":true,\"max_window_layers\":0", 8192,
         "sliding_window = 4096"},
        {"qwen2", "Qwen2ForCausalLM",
         ",\"num_key_value_heads\":2,\"sliding_window\":32,\"use_sliding_window\":true,"
         "\"max_window_layers\":0,\"layer_types\":[\"full_attention\",\"full_attention\","
         "\"full_attention\"]",
         256, NULL},
        {"qwen2", "Qwen2ForCausalLM",
         ",\"num_key_value_heads\":2,\"sliding_window\":32,\"use_sliding_window\":true,"
         "\"max_window_layers\":3,\"layer_types\":[\"full_attention\",\"full_attention\","
         "\"sliding_attention\"]",
         256, "sliding_window = 32"},
        /* a window as long as the context is none, but YaRN makes the context longer */
        {"qwen2", "Qwen2ForCausalLM",
         ",\"num_key_value_heads\":2,\"sliding_window\":256,\"use_sliding_window\":true,"
         "\"max_window_layers\":0",
         256, NULL},
        {"qwen2", "Qwen2ForCausalLM",
         ",\"num_key_value_heads\":2,\"sliding_window\":256,\"use_sliding_window\":true,"
         "\"max_window_layers\":0,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2}",
         256, "sliding_window = 256"},
        /* Mistral: 4096 where the file is silent, none where it says null */
        {"mistral", "MistralForCausalLM", ",\"num_key_value_heads\":2", 8192,
         "sliding_window = 4096"},
        {"mistral", "MistralForCausalLM", ",\"num_key_value_heads\":2,\"sliding_window\":null",
         8192, NULL},
        {"mistral", "MistralForCausalLM", ",\"num_key_value_heads\":2", 4096, NULL},
        /* eight key/value heads, which four heads cannot share */
        {"mistral", "MistralForCausalLM", ",\"sliding_window\":null", 256,
         "4 heads do not share 8"},
        {"mistral", "MistralForCausalLM", ",\"num_key_value_heads\":null", 256, NULL},
        {"qwen2", "Qwen2ForCausalLM", "", 256, "4 heads do not share 32"},
        {"llama", "LlamaForCausalLM", "", 256, NULL},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct model_source *s = NULL;
        struct err e;
        put_config(cases[k].family, cases[k].arch, cases[k].max_position, cases[k].more);
        int st = open_dummy(&s, &e);
        if ((st == 0) != !cases[k].refused || (st && !strstr(e.msg, cases[k].refused)))
            fail_msg("%s%s: %d %s", cases[k].family, cases[k].more, st, e.msg);
        model_source_close(s);
    }
    struct model_source *s;
    struct err e;
    static const char short_config[] =
        "{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":96,"
        "\"num_hidden_layers\":3,\"num_attention_heads\":4,\"vocab_size\":1024}";
    put_file("config.json", short_config, sizeof short_config - 1);
    assert_int_equal(open_dummy(&s, &e), 0);
    assert_int_equal(model_source_config(s)->max_position, 2048);
    model_source_close(s);
}

/* ---- generation_config.json, and ids that end a generation ---- */

static void test_generation(void **state)
{
    (void)state;
    struct model_source *s;
    struct err e;
    static const char gen[] = "{\"repetition_penalty\":1.1,\"temperature\":0.7,\"top_p\":0.8,"
                              "\"top_k\":20,\"eos_token_id\":[7,1]}";
    put_config("llama", "LlamaForCausalLM", 256, ",\"eos_token_id\":1");
    put_file("generation_config.json", gen, sizeof gen - 1);
    assert_int_equal(open_dummy(&s, &e), 0);
    const struct model_config *c = model_source_config(s);
    const struct text_source *t = model_source_text(s);
    assert_true(c->gen_repetition == 1.1f && c->gen_top_k == 20);
    assert_int_equal(t->n_ends, 2);
    assert_true(t->ends[0].id == 1 && t->ends[1].id == 7);
    model_source_close(s);
    /* out of what a request could ask for: left out */
    put_file("generation_config.json", "{\"repetition_penalty\":0}", 24);
    assert_int_equal(open_dummy(&s, &e), 0);
    assert_true(isnan(model_source_config(s)->gen_repetition));
    model_source_close(s);
    drop_file("generation_config.json");
}

/* No id is cut off without a word: 31 are taken, more than MAX_EOS are refused by name. */
static void test_many_ends(void **state)
{
    (void)state;
    struct model_source *s;
    struct err e;
    for (int n = 31; n <= MAX_EOS + 1; n += MAX_EOS - 30) {
        char more[2048];
        size_t at = (size_t)snprintf(more, sizeof more, ",\"eos_token_id\":[4");
        for (int i = 1; i < n; i++)
            at += (size_t)snprintf(more + at, sizeof more - at, ",%d", 9 + i);
        snprintf(more + at, sizeof more - at, "]");
        put_config("llama", "LlamaForCausalLM", 256, more);
        int st = open_dummy(&s, &e);
        if (n > MAX_EOS) {
            assert_int_equal(st, ST_UNSUPPORTED);
            assert_non_null(strstr(e.msg, "config.json: more than 256 ids"));
            continue;
        }
        assert_int_equal(st, 0);
        assert_int_equal(model_source_text(s)->n_ends, n);
        model_source_close(s);
    }
}

/* ---- a tied flag beside a head of the file's own ---- */

/* One layer of width 16 and vocabulary 5 in F32, all of it 0.25 but for the head, all `head`. */
static void put_tied(float head, bool has_head)
{
    static const struct {
        const char *name;
        int rows, cols;
    } t[] = {{"model.embed_tokens.weight", 5, 16},
             {"model.norm.weight", 16, 0},
             {"model.layers.0.input_layernorm.weight", 16, 0},
             {"model.layers.0.post_attention_layernorm.weight", 16, 0},
             {"model.layers.0.self_attn.q_proj.weight", 16, 16},
             {"model.layers.0.self_attn.k_proj.weight", 16, 16},
             {"model.layers.0.self_attn.v_proj.weight", 16, 16},
             {"model.layers.0.self_attn.o_proj.weight", 16, 16},
             {"model.layers.0.mlp.gate_proj.weight", 8, 16},
             {"model.layers.0.mlp.up_proj.weight", 8, 16},
             {"model.layers.0.mlp.down_proj.weight", 16, 8},
             {"lm_head.weight", 5, 16}};
    size_t n_tensors = sizeof t / sizeof *t - !has_head, at = 0, n = 0, cap = 1 << 16;
    char *file = calloc(1, cap), *head_at = file + 8;
    float value[256] = {0};
    head_at[n++] = '{';
    for (size_t i = 0; i < n_tensors; i++) {
        size_t bytes = 4 * (size_t)t[i].rows * (size_t)(t[i].cols ? t[i].cols : 1);
        char shape[32];
        snprintf(shape, sizeof shape, t[i].cols ? "%d,%d" : "%d", t[i].rows, t[i].cols);
        n += (size_t)sprintf(
            head_at + n, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
            i ? "," : "", t[i].name, shape, at, at + bytes);
        at += bytes;
    }
    head_at[n++] = '}';
    memcpy(file, &(uint64_t){n}, 8);
    size_t end = 8 + n;
    for (size_t i = 0; i < n_tensors; i++) {
        size_t elems = (size_t)t[i].rows * (size_t)(t[i].cols ? t[i].cols : 1);
        for (size_t k = 0; k < elems; k++)
            value[k] = strcmp(t[i].name, "lm_head.weight") == 0 ? head : 0.25f;
        memcpy(file + end, value, elems * 4);
        end += elems * 4;
    }
    put_file("model.safetensors", file, end);
    free(file);
}

static void test_tied_head(void **state)
{
    (void)state;
    static const char config[] =
        "{\"model_type\":\"llama\",\"hidden_size\":16,\"intermediate_size\":8,"
        "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"vocab_size\":5,"
        "\"max_position_embeddings\":64,\"tie_word_embeddings\":true}";
    put_file("config.json", config, sizeof config - 1);
    for (int how = 0; how < 3; how++) { /* no head; the embeddings once more; another one */
        struct model_source *s;
        struct err e = {0};
        struct model_source_opts o = {.path = dir};
        float row[16];
        put_tied(how == 2 ? 3.0f : 0.25f, how > 0);
        if (model_source_open(&s, &o, &e) != 0)
            fail_msg("%s", e.msg);
        const struct model_config *c = model_source_config(s);
        assert_int_equal(c->tied_head, how < 2);
        assert_int_equal(weight_exists(c, -1, W_HEAD), how == 2);
        if (how == 2) {
            struct weight_rows r = weight_rows_of(s, -1, W_HEAD, DT_F32);
            assert_int_equal(weight_rows_fill(&r, 4, 1, row), 0);
            assert_true(row[0] == 3.0f && row[15] == 3.0f);
        }
        model_source_close(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rope_places), cmocka_unit_test(test_rope_refused),
        cmocka_unit_test(test_defaults),    cmocka_unit_test(test_generation),
        cmocka_unit_test(test_many_ends),   cmocka_unit_test(test_tied_head),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
