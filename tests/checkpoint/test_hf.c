/* SPDX-License-Identifier: Apache-2.0 */
/* hf_config.c, hf_dir.c, safetensors.c: what a good folder means, what is refused by name, and that
 * every damaged file ends in a message. */
#include "testing.h"

#include "checkpoint/safetensors.h"
#include "hostile.h"
#include "model.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

static char dir[64];

static const char *const all_files[] = {"config.json",           "generation_config.json",
                                        "model.safetensors",     "model.safetensors.index.json",
                                        "tokenizer_config.json", "a.safetensors",
                                        "b.safetensors"};

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/quire-test-hf-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static void empty_dir(void)
{
    char path[128];
    for (size_t i = 0; i < sizeof all_files / sizeof *all_files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, all_files[i]);
        unlink(path);
    }
}

static int remove_dir(void **state)
{
    (void)state;
    empty_dir();
    return rmdir(dir);
}

static void put_file(const char *name, const void *p, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static const char base_config[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":16,"
    "\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":1,"
    "\"num_key_value_heads\":1,\"hidden_act\":\"silu\",\"max_position_embeddings\":512,"
    "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"tie_word_embeddings\":true,\"vocab_size\":5,"
    "\"bos_token_id\":1,\"eos_token_id\":[2,3],\"torch_dtype\":\"float32\"}";

/* base_config with `change` (an object) laid over it; null removes a key. free() it. */
static char *config_with(const char *change)
{
    cJSON *c = cJSON_Parse(base_config), *d = cJSON_Parse(change);
    assert_true(c != NULL && d != NULL);
    for (cJSON *it = d->child, *next; it; it = next) {
        next = it->next;
        cJSON_DeleteItemFromObjectCaseSensitive(c, it->string);
        if (!cJSON_IsNull(it))
            cJSON_AddItemReferenceToObject(c, it->string, it);
    }
    char *text = cJSON_PrintUnformatted(c);
    cJSON_Delete(c);
    cJSON_Delete(d);
    return text;
}

/* ---- safetensors images ---- */

struct image {
    uint8_t *p;
    size_t n;
};

static struct image image_of(const char *header, size_t n_header, size_t n_data)
{
    struct image m = {NULL, 8 + n_header + n_data};
    uint64_t len = n_header;
    m.p = xalloc(m.n);
    memcpy(m.p, &len, 8);
    memcpy(m.p + 8, header, n_header);
    for (size_t i = 0; i + 4 <= n_data; i += 4) {
        float v = 0.25f * (float)(i % 7) - 0.5f;
        memcpy(m.p + 8 + n_header + i, &v, 4);
    }
    return m;
}

/* All tensors of base_config in F32; those with bit `part` of which (in order) set. */
static struct image weights(unsigned which)
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
             {"model.layers.0.mlp.down_proj.weight", 16, 8}};
    char text[4096];
    size_t at = 0;
    int n = snprintf(text, sizeof text, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        size_t bytes = 4 * (size_t)t[i].rows * (size_t)(t[i].cols ? t[i].cols : 1);
        char shape[32];
        if (!(which >> i & 1))
            continue;
        snprintf(shape, sizeof shape, t[i].cols ? "%d,%d" : "%d", t[i].rows, t[i].cols);
        n += snprintf(text + n, sizeof text - (size_t)n,
                      ",\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                      t[i].name, shape, at, at + bytes);
        at += bytes;
    }
    n += snprintf(text + n, sizeof text - (size_t)n, "}");
    return image_of(text, (size_t)n, at);
}

static void put_weights(const char *name, unsigned which)
{
    struct image m = weights(which);
    put_file(name, m.p, m.n);
    free(m.p);
}

static int open_dir(struct model_source **s, bool dummy, struct err *e)
{
    struct model_source_opts o = {.path = dir, .dummy = dummy, .seed = 3};
    *e = (struct err){0};
    return model_source_open(s, &o, e);
}

static void test_good_folder(void **state)
{
    (void)state;
    struct model_source *s;
    struct err e;
    static const char gen[] = "{\"eos_token_id\":[4],\"temperature\":0.6,\"top_k\":20}";
    empty_dir();
    put_file("config.json", base_config, strlen(base_config));
    put_file("generation_config.json", gen, strlen(gen));
    put_weights("model.safetensors", 0x7ff);
    if (open_dir(&s, false, &e) != 0)
        fail_msg("%s", e.msg);
    const struct model_config *c = model_source_config(s);
    assert_string_equal(c->family, "llama");
    const struct text_source *t = model_source_text(s);
    assert_true(c->tied_head && c->kind[0].head_dim == 16 && t->n_ends == 3 && t->ends[2].id == 4);
    assert_string_equal(t->ends[1].from, "config.json");
    assert_string_equal(t->ends[2].from, "generation_config.json");
    assert_true(c->gen_top_k == 20 && fabsf(c->gen_temperature - 0.6f) < 1e-6f);
    assert_true(read_everything(&s->tensors) != 0);
    model_source_close(s);
}

/* ---- what config.json may say ---- */

static const struct refusal {
    const char *change;
    int st;
    const char *says;
} refusals[] = {
    {"{\"model_type\":\"mamba\"}", ST_UNSUPPORTED, "model type 'mamba'"},
    {"{\"model_type\":null}", ST_FORMAT, "model_type is missing"},
    {"{\"model_type\":7}", ST_FORMAT, "model_type is not a string"},
    {"{\"architectures\":[\"LlamaForSequenceClassification\"]}", ST_UNSUPPORTED,
     "LlamaForSequenceClassification"},
    {"{\"architectures\":\"LlamaForCausalLM\"}", ST_FORMAT, "architectures"},
    {"{\"hidden_act\":\"gelu\"}", ST_UNSUPPORTED, "hidden_act 'gelu'"},
    {"{\"quantization_config\":{\"quant_method\":\"gptq\"}}", ST_UNSUPPORTED, "'gptq'"},
    {"{\"quantization_config\":{\"quant_method\":\"fp8\"}}", ST_UNSUPPORTED, "'fp8'"},
    {"{\"partial_rotary_factor\":0.5}", ST_UNSUPPORTED, "partial_rotary_factor 0.5"},
    {"{\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}", ST_UNSUPPORTED, "'dynamic'"},
    {"{\"rope_scaling\":{\"rope_type\":\"longrope\"}}", ST_UNSUPPORTED, "'longrope'"},
    {"{\"rope_scaling\":{\"rope_type\":\"linear\"}}", ST_FORMAT, "factor"},
    {"{\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":0}}", ST_FORMAT, "factor"},
    {"{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8}}", ST_FORMAT, "low_freq_factor"},
    {"{\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":8,\"beta_fast\":-1}}", ST_FORMAT,
     "beta_fast"},
    {"{\"rope_scaling\":[1]}", ST_FORMAT, "rope_scaling is not an object"},
    {"{\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e4}}}", ST_UNSUPPORTED,
     "per layer type 'full_attention'"},
    {"{\"rope_theta\":0}", ST_FORMAT, "rope_theta"},
    {"{\"rope_theta\":\"big\"}", ST_FORMAT, "rope_theta is not a finite number"},
    {"{\"sliding_window\":128}", ST_UNSUPPORTED, "sliding_window = 128"},
    {"{\"sliding_window\":-1}", ST_FORMAT, "sliding window of -1"},
    {"{\"layer_types\":[\"linear_attention\"]}", ST_UNSUPPORTED, "'linear_attention'"},
    {"{\"layer_types\":[\"sliding_attention\"]}", ST_UNSUPPORTED, "'sliding_attention'"},
    {"{\"layer_types\":\"full_attention\"}", ST_FORMAT, "layer_types"},
    {"{\"head_dim\":24}", ST_UNSUPPORTED, "head size 24"},
    {"{\"head_dim\":272}", ST_UNSUPPORTED, "head size 272"},
    {"{\"num_attention_heads\":3,\"head_dim\":16,\"num_key_value_heads\":2}", ST_FORMAT,
     "3 heads do not share 2"},
    {"{\"num_attention_heads\":3}", ST_FORMAT, "3 heads do not share a hidden size of 16"},
    {"{\"hidden_size\":20,\"head_dim\":16}", ST_UNSUPPORTED, "hidden size 20"},
    {"{\"hidden_size\":null}", ST_FORMAT, "hidden_size is missing"},
    {"{\"hidden_size\":\"16\"}", ST_FORMAT, "hidden_size is not an integer"},
    {"{\"hidden_size\":16.5}", ST_FORMAT, "hidden_size is not an integer"},
    {"{\"hidden_size\":1e300}", ST_FORMAT, "hidden_size is not an integer"},
    {"{\"hidden_size\":2147483640,\"head_dim\":16}", ST_FORMAT, "hidden size"},
    {"{\"num_hidden_layers\":0}", ST_FORMAT, "num_hidden_layers = 0"},
    {"{\"num_hidden_layers\":1000000}", ST_FORMAT, "layers = 1000000"},
    {"{\"vocab_size\":-5}", ST_FORMAT, "vocab_size = -5"},
    {"{\"vocab_size\":2147483647}", ST_FORMAT, "vocabulary"},
    {"{\"rms_norm_eps\":2}", ST_FORMAT, "epsilon"},
    {"{\"rms_norm_eps\":\"small\"}", ST_FORMAT, "rms_norm_eps is not"},
    {"{\"tie_word_embeddings\":1}", ST_FORMAT, "tie_word_embeddings is not true or false"},
    {"{\"eos_token_id\":\"</s>\"}", ST_FORMAT, "eos_token_id"},
    {"{\"eos_token_id\":[1,\"x\"]}", ST_FORMAT, "eos_token_id"},
    /* the weights must then agree */
    {"{\"num_hidden_layers\":2}", ST_FORMAT, "layers.1.input_layernorm.weight is missing"},
    {"{\"tie_word_embeddings\":false}", ST_FORMAT, "lm_head.weight is missing"},
    {"{\"vocab_size\":6}", ST_FORMAT, "has shape [5, 16], expected [6, 16]"},
    {"{\"attention_bias\":true}", ST_FORMAT, "q_proj.bias is missing"},
    {"{\"model_type\":\"qwen2\",\"architectures\":[\"Qwen2ForCausalLM\"]}", ST_FORMAT,
     "q_proj.bias is missing"},
    {"{\"model_type\":\"qwen3\",\"architectures\":[\"Qwen3ForCausalLM\"],\"head_dim\":16}",
     ST_FORMAT, "q_norm.weight is missing"},
    /* the class's own default, which is no share of the hidden size */
    {"{\"model_type\":\"qwen3\",\"architectures\":[\"Qwen3ForCausalLM\"]}", ST_FORMAT,
     "expected [128, 16]"},
    {"{\"is_causal\":false}", ST_UNSUPPORTED, "is_causal 'false'"},
    {"{\"use_bidirectional_attention\":true}", ST_UNSUPPORTED, "use_bidirectional_attention"},
    {"{\"layer_types\":[\"full_attention\",\"full_attention\"]}", ST_FORMAT,
     "2 items for 1 layers"},
};

static void test_refusals(void **state)
{
    (void)state;
    empty_dir();
    put_weights("model.safetensors", 0x7ff);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *r = &refusals[i];
        struct model_source *s;
        struct err e;
        char *text = config_with(r->change);
        put_file("config.json", text, strlen(text));
        free(text);
        int st = open_dir(&s, false, &e);
        if (st != r->st || !strstr(e.msg, r->says))
            fail_msg("%s: %d %s", r->change, st, e.msg);
        assert_null(s);
    }
}

/* Spellings that mean "nothing special" must be taken. */
static void test_harmless(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "{\"sliding_window\":512}",
        "{\"sliding_window\":128,\"use_sliding_window\":false}",
        "{\"layer_types\":[\"full_attention\"]}",
        "{\"rope_scaling\":null}",
        "{\"rope_scaling\":{\"type\":\"default\"}}",
        "{\"architectures\":null,\"hidden_act\":\"swish\"}",
        "{\"pad_token_id\":null,\"quantization_config\":null}",
        "{\"eos_token_id\":null,\"bos_token_id\":null}",
        "{\"eos_token_id\":99999}",
    };
    empty_dir();
    put_weights("model.safetensors", 0x7ff);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct model_source *s;
        struct err e;
        char *text = config_with(changes[i]);
        put_file("config.json", text, strlen(text));
        free(text);
        if (open_dir(&s, false, &e) != 0)
            fail_msg("%s: %s", changes[i], e.msg);
        model_source_close(s);
    }
}

/* ---- damaged JSON ---- */

static void must_fail(const char *name, const void *p, size_t n)
{
    struct model_source *s;
    struct err e;
    put_file(name, p, n);
    if (open_dir(&s, true, &e) != ST_FORMAT || !e.msg[0])
        fail_msg("%s of %zu bytes: %d %s", name, n, e.st, e.msg);
}

static void test_damaged_config(void **state)
{
    (void)state;
    empty_dir();
    for (size_t n = 0; n < strlen(base_config); n++)
        must_fail("config.json", base_config, n);
    size_t deep = 200000;
    char *text = xalloc(deep + 32);
    int at = sprintf(text, "{\"a\":");
    memset(text + at, '[', deep);
    must_fail("config.json", text, (size_t)at + deep);
    for (size_t i = 0; i + 5 <= deep; i += 5)
        memcpy(text + at + i, "{\"a\":", 5);
    must_fail("config.json", text, (size_t)at + deep);
    free(text);
    must_fail("config.json", "[]", 2);
    must_fail("config.json", "\"llama\"", 7);
    must_fail("config.json", "{} {}", 5);
    must_fail("config.json", "{\"model_type\":\"\xff\xfe\"}", 19);
    must_fail("config.json", "{\"model_type\":\"\xed\xa0\x80\"}", 20);
    must_fail("config.json", "{\"model_type\":\"\xc0\xaf\"}", 19);
    must_fail("config.json", "\0\0\0\0", 4);
    put_file("config.json", base_config, strlen(base_config));
    must_fail("generation_config.json", "{\"eos_token_id\":{}}", 19);
    must_fail("generation_config.json", "{\"temperature\":\"hot\"}", 21);
    must_fail("generation_config.json", "", 0);
}

/* ---- damaged safetensors ---- */

static const struct {
    const char *header;
    size_t n_data;
    int st;
    const char *says;
} bad_headers[] = {
    {"[]", 0, ST_FORMAT, "not a JSON object"},
    {"{\"a\":1}", 0, ST_FORMAT, "tensor a: not an object"},
    {"{\"a\":{}}", 0, ST_FORMAT, "tensor a: no dtype"},
    {"{\"a\":{\"dtype\":\"F32\"}}", 0, ST_FORMAT, "no shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, ST_FORMAT, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, ST_FORMAT,
     "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, ST_FORMAT,
     "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, ST_FORMAT,
     "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0.5,4.5]}}", 8, ST_FORMAT,
     "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, ST_FORMAT,
     "outside of the file"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9007199254740991,9007199254740992]}"
     "}",
     4, ST_FORMAT, "outside of the file"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 8, ST_FORMAT, "disagree"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2147483647,2147483647,4],\"data_offsets\":[0,4]}}", 8,
     ST_FORMAT, "overflows"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296],\"data_offsets\":[0,4]}}", 8, ST_FORMAT,
     "32-bit"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 8, ST_FORMAT, "32-bit"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 8,
     ST_FORMAT, "dimensions"},
    {"{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, ST_FORMAT, "bad name"},
    {"{\"a b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, ST_FORMAT,
     "bad name"},
    {"{\"\xc3\xa4\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, ST_FORMAT,
     "bad name"},
    {"{\"\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, ST_FORMAT,
     "not UTF-8"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
     8, ST_FORMAT, "a is there twice"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}",
     8, ST_FORMAT, "overlap"},
};

static int parse_exact(const uint8_t *p, size_t n, struct tensor_table *t, struct err *e)
{
    tensor_table_init(t);
    *e = (struct err){0};
    int st = safetensors_parse(t, "x", p, n, e);
    return st ? st : tensor_table_finish(t, e);
}

static void test_bad_headers(void **state)
{
    (void)state;
    struct tensor_table t;
    struct err e;
    for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++) {
        const char *h = bad_headers[i].header;
        struct image m = image_of(h, strlen(h), bad_headers[i].n_data);
        int st = parse_exact(m.p, m.n, &t, &e);
        if (st != bad_headers[i].st || !strstr(e.msg, bad_headers[i].says))
            fail_msg("%s: %d %s", h, st, e.msg);
        tensor_table_free(&t);
        free(m.p);
    }
    for (int k = 0; k < 3; k++) { /* the length of the header lies */
        static const uint64_t lie[] = {UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 40};
        struct image m = weights(0x7ff);
        memcpy(m.p, &lie[k], 8);
        assert_int_equal(parse_exact(m.p, m.n, &t, &e), ST_FORMAT);
        assert_non_null(strstr(e.msg, "truncated"));
        tensor_table_free(&t);
        free(m.p);
    }
}

static void test_every_truncation(void **state)
{
    (void)state;
    struct image m = weights(0x7ff);
    for (size_t n = 0; n < m.n; n++) {
        struct tensor_table t;
        struct err e;
        uint8_t *p = exact_copy(m.p, n);
        if (parse_exact(p, n, &t, &e) != ST_FORMAT || !e.msg[0])
            fail_msg("cut at %zu of %zu: %d %s", n, m.n, e.st, e.msg);
        tensor_table_free(&t);
        free(p);
    }
    free(m.p);
}

static void test_random_damage(void **state)
{
    (void)state;
    struct image m = weights(0x7ff);
    uint64_t header;
    uint32_t sum = 0;
    int opened = 0;
    memcpy(&header, m.p, 8);
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t seed = i * 131 + 7;
        struct tensor_table t;
        struct err e;
        uint8_t *p = exact_copy(m.p, m.n);
        mutate(p, m.n, 8 + (size_t)header, &seed);
        if (parse_exact(p, m.n, &t, &e) == 0) {
            opened++;
            sum += read_everything(&t);
        } else if (!e.msg[0]) {
            fail_msg("seed %d: no message", (int)i);
        }
        tensor_table_free(&t);
        free(p);
    }
    printf("%d of 20000 damaged files still parse (sum %u)\n", opened, sum);
    assert_true(opened > 100 && opened < 19000);
    free(m.p);
}

/* A type that nobody could load is refused when a weight has it, by its own name. */
static void test_foreign_type(void **state)
{
    (void)state;
    struct model_source *s;
    struct err e;
    empty_dir();
    put_file("config.json", base_config, strlen(base_config));
    struct image m = weights(0x7ff);
    char *at = memmem(m.p, m.n, "\"F32\"", 5);
    assert_non_null(at);
    memcpy(at, "\"I32\"", 5);
    put_file("model.safetensors", m.p, m.n);
    free(m.p);
    assert_int_equal(open_dir(&s, false, &e), ST_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "embed_tokens.weight: type I32 is not supported"));
}

/* ---- shards ---- */

static void test_shards(void **state)
{
    (void)state;
    struct model_source *s;
    struct err e;
    empty_dir();
    put_file("config.json", base_config, strlen(base_config));
    assert_int_equal(open_dir(&s, false, &e), ST_NOT_FOUND);
    assert_non_null(strstr(e.msg, "neither model.safetensors nor"));
    put_weights("a.safetensors", 0x00f);
    put_weights("b.safetensors", 0x7f0);
    static const struct {
        const char *index;
        int st;
        const char *says;
    } cases[] = {
        {"{\"weight_map\":{\"model.norm.weight\":\"a.safetensors\","
         "\"model.layers.0.mlp.up_proj.weight\":\"b.safetensors\"}}",
         0, ""},
        {"{\"weight_map\":{\"model.norm.weight\":\"a.safetensors\"}}", ST_FORMAT,
         "q_proj.weight is missing"},
        {"{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}}", ST_FORMAT,
         "tensor x is in none"},
        {"{\"weight_map\":{\"x\":\"../a.safetensors\"}}", ST_FORMAT, "x has no file name"},
        {"{\"weight_map\":{\"x\":\"/etc/passwd\"}}", ST_FORMAT, "x has no file name"},
        {"{\"weight_map\":{\"x\":\".safetensors\"}}", ST_FORMAT, "x has no file name"},
        {"{\"weight_map\":{\"x\":3}}", ST_FORMAT, "x has no file name"},
        {"{\"weight_map\":{\"x\":\"c.safetensors\"}}", ST_NOT_FOUND, "c.safetensors"},
        {"{\"weight_map\":{}}", ST_FORMAT, "no weight_map"},
        {"{\"weight_map\":[]}", ST_FORMAT, "no weight_map"},
        {"{}", ST_FORMAT, "no weight_map"},
        {"{", ST_FORMAT, "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_file("model.safetensors.index.json", cases[i].index, strlen(cases[i].index));
        int st = open_dir(&s, false, &e);
        if (st != cases[i].st || !strstr(e.msg, cases[i].says))
            fail_msg("%s: %d %s", cases[i].index, st, e.msg);
        if (st == 0)
            model_source_close(s);
    }
}

/* load_format dummy: config.json alone is enough, in either spelling of the path. */
static void test_dummy(void **state)
{
    (void)state;
    struct model_source *s;
    struct err e;
    char path[100];
    empty_dir();
    assert_int_equal(open_dir(&s, true, &e), ST_NOT_FOUND);
    assert_non_null(strstr(e.msg, "config.json"));
    put_file("config.json", base_config, strlen(base_config));
    assert_int_equal(open_dir(&s, true, &e), 0);
    assert_null(model_source_text(s)->tokenizer_json.p);
    uint64_t id = model_source_config(s)->weights_id;
    model_source_close(s);
    snprintf(path, sizeof path, "%s/config.json", dir);
    struct model_source_opts o = {.path = path, .dummy = true, .seed = 4};
    assert_int_equal(model_source_open(&s, &o, &e), 0);
    assert_true(model_source_config(s)->weights_id != id); /* another seed is another model */
    model_source_close(s);
    o.path = "/nonexistent/folder";
    assert_int_equal(model_source_open(&s, &o, &e), ST_NOT_FOUND);
    put_file("tokenizer_config.json", "{\"eos_token\":\"x\"}", 17);
    assert_int_equal(open_dir(&s, true, &e), 0);
    assert_int_equal(model_source_text(s)->tokenizer_config_json.n, 17);
    model_source_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_folder),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_harmless),      cmocka_unit_test(test_damaged_config),
        cmocka_unit_test(test_bad_headers),   cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_random_damage), cmocka_unit_test(test_foreign_type),
        cmocka_unit_test(test_shards),        cmocka_unit_test(test_dummy),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
