/* SPDX-License-Identifier: Apache-2.0 */
/* chat_files.c - where files keep a chat template and the special tokens' strings: a folder's
 * tokenizer_config.json, special_tokens_map.json and chat_template.jinja, or GGUF metadata. One
 * thread, at load. */
#include "chat_files.h"

#include "json_file.h"

#include <string.h>

const char *const chat_token_names[N_CHAT_TOKENS] = {"bos_token", "eos_token", "unk_token",
                                                     "pad_token"};

/* The first one given counts. */
static void set(struct buf *b, const char *s, size_t n)
{
    if (!s || b->p)
        return;
    buf_add(b, s, n);
    buf_add(b, "", 1); /* so that an empty string is a string */
    b->n--;
}

/* A token given as a string or as an object with "content". */
static void tokens_from(struct chat_files *f, const cJSON *o)
{
    for (int i = 0; i < N_CHAT_TOKENS; i++) {
        const cJSON *v = js_get(o, chat_token_names[i]);
        const char *s = cJSON_IsObject(v) ? js_str(v, "content") : cJSON_GetStringValue(v);
        set(&f->token[i], s, s ? strlen(s) : 0);
    }
}

static void tokens_from_gguf(struct chat_files *f, const struct text_source *src)
{
    const int32_t ids[N_CHAT_TOKENS] = {src->bos_id, src->eos_id, src->unk_id, src->pad_id};
    for (int i = 0; i < N_CHAT_TOKENS; i++)
        if (ids[i] >= 0 && (size_t)ids[i] < src->n_gguf_tokens)
            set(&f->token[i], src->gguf_tokens[ids[i]].p, src->gguf_tokens[ids[i]].n);
}

/* "chat_template": one string, or a list of {name, template} of which "default" is meant. */
static const char *template_in(const cJSON *config)
{
    const cJSON *v = js_get(config, "chat_template"), *x;
    if (!cJSON_IsArray(v))
        return cJSON_GetStringValue(v);
    cJSON_ArrayForEach(x, v)
    {
        const char *name = js_str(x, "name");
        if (name && strcmp(name, "default") == 0)
            return js_str(x, "template");
    }
    return NULL;
}

static int read_folder(struct chat_files *f, const struct text_source *src, struct err *e)
{
    cJSON *config = NULL, *map = NULL;
    int st = 0;
    if (src->tokenizer_config_json.p)
        st = json_file_parse(&config, src->tokenizer_config_json, "tokenizer_config.json",
                             &json_file_tokenizer, e);
    if (st == 0 && src->special_tokens_map_json.p)
        st = json_file_parse(&map, src->special_tokens_map_json, "special_tokens_map.json",
                             &json_file_tokenizer, e);
    if (st == 0) {
        const char *text = template_in(config);
        tokens_from(f, config);
        tokens_from(f, map);
        set(&f->template, src->chat_template_jinja.p, src->chat_template_jinja.n);
        set(&f->template, text, text ? strlen(text) : 0);
    }
    cJSON_Delete(config);
    cJSON_Delete(map);
    return st;
}

int chat_files_read(struct chat_files *f, const struct text_source *src, struct err *e)
{
    if (!src->gguf_model.p || src->tokenizer_json.p)
        return read_folder(f, src, e);
    tokens_from_gguf(f, src);
    set(&f->template, src->gguf_chat_template.p, src->gguf_chat_template.n);
    return 0;
}

void chat_files_fini(struct chat_files *f)
{
    for (int i = 0; i < N_CHAT_TOKENS; i++)
        buf_free(&f->token[i]);
    buf_free(&f->template);
}
