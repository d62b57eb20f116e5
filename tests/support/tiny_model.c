/* SPDX-License-Identifier: Apache-2.0 */
/* tiny_model.c - see tiny_model.h. */
#include "tiny_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(1);
}

void tiny_model_dir(char *dir, const char *name)
{
    snprintf(dir, TINY_DIR_BYTES, "/tmp/quire-test-%s-XXXXXX", name);
    if (!mkdtemp(dir))
        die(dir);
}

static void config_path(char *path, size_t n, const char *dir)
{
    snprintf(path, n, "%s/config.json", dir);
}

static const char *arch_of(const char *family)
{
    static const char *const names[][2] = {{"llama", "LlamaForCausalLM"},
                                           {"mistral", "MistralForCausalLM"},
                                           {"qwen2", "Qwen2ForCausalLM"},
                                           {"qwen3", "Qwen3ForCausalLM"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], family) == 0)
            return names[i][1];
    return "unknown";
}

void tiny_model_write(const char *dir, const struct tiny_model *m)
{
    char path[TINY_DIR_BYTES + 16];
    config_path(path, sizeof path, dir);
    FILE *f = fopen(path, "w");
    if (!f)
        die(path);
    fprintf(f,
            "{\"architectures\":[\"%s\"],\"model_type\":\"%s\",\"hidden_size\":%d,"
            "\"intermediate_size\":%d,\"num_hidden_layers\":%d,\"num_attention_heads\":%d,"
            "\"num_key_value_heads\":%d,\"head_dim\":%d,\"hidden_act\":\"silu\","
            "\"max_position_embeddings\":%d,\"rms_norm_eps\":%g,\"rope_theta\":10000.0,"
            "\"tie_word_embeddings\":false,\"vocab_size\":%d,%s\"torch_dtype\":\"bfloat16\"}",
            arch_of(m->family), m->family, m->dim, m->ffn, m->layers, m->heads, m->kv_heads,
            m->head_dim, m->max_position, m->norm_eps, m->vocab,
            m->has_ends ? "\"bos_token_id\":1,\"eos_token_id\":2," : "");
    fclose(f);
}

void tiny_model_remove(const char *dir)
{
    char path[TINY_DIR_BYTES + 16];
    config_path(path, sizeof path, dir);
    unlink(path);
    rmdir(dir);
}
