/* SPDX-License-Identifier: Apache-2.0 */
/* text_info.c - see text_info.h. */
#include "text_info.h"

#include "chat_files.h"
#include "json_file.h"

#include <string.h>

/* Where files lay when the tokenizer was saved: it means nothing here, and is nobody's business. */
static const char *const places[] = {
    "name_or_path", "_name_or_path", "tokenizer_file",     "vocab_file",
    "merges_file",  "spm_file",      "chat_template_file", "special_tokens_map_file"};

static void set_string(cJSON *o, const char *key, const char *s)
{
    cJSON_DeleteItemFromObjectCaseSensitive(o, key);
    cJSON_AddStringToObject(o, key, s);
}

/* GGUF metadata under the names of tokenizer_config.json. */
static cJSON *from_gguf(const struct text_source *src, const struct chat_files *f)
{
    cJSON *o = cJSON_CreateObject();
    for (int i = 0; o && i < N_CHAT_TOKENS; i++)
        if (f->token[i].p)
            set_string(o, chat_token_names[i], f->token[i].p);
    if (src->add_bos >= 0)
        cJSON_AddBoolToObject(o, "add_bos_token", src->add_bos);
    if (src->add_eos >= 0)
        cJSON_AddBoolToObject(o, "add_eos_token", src->add_eos);
    return o;
}

static int read_config(struct buf *out, const struct text_source *src, const struct chat_files *f,
                       struct err *e)
{
    bool folder = !src->gguf_model.p || src->tokenizer_json.p;
    cJSON *o = NULL;
    int st = 0;
    if (folder && src->tokenizer_config_json.p)
        st = json_file_parse(&o, src->tokenizer_config_json, "tokenizer_config.json",
                             &json_file_tokenizer, e);
    else
        o = folder ? cJSON_CreateObject() : from_gguf(src, f);
    if (st)
        return st;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        cJSON_DeleteItemFromObjectCaseSensitive(o, places[i]);
    if (!js_str(o, "tokenizer_class"))
        set_string(o, "tokenizer_class", "PreTrainedTokenizerFast");
    if (f->template.p)
        set_string(o, "chat_template", f->template.p);
    char *text = o ? cJSON_PrintUnformatted(o) : NULL;
    if (text)
        buf_add(out, text, strlen(text));
    cJSON_free(text);
    cJSON_Delete(o);
    return text ? 0 : err_set(e, ST_NOMEM, "out of memory");
}

/* *from is left empty. */
static void move(struct buf *to, struct buf *from)
{
    *to = *from;
    *from = (struct buf){0};
}

int text_info_read(struct text_info *out, const struct text_source *src, bool config, struct err *e)
{
    struct chat_files f = {0};
    *out = (struct text_info){0};
    int st = chat_files_read(&f, src, e);
    if (st == 0 && config)
        st = read_config(&out->config, src, &f, e);
    if (st == 0) {
        move(&out->template, &f.template);
        move(&out->bos, &f.token[0]);
        move(&out->eos, &f.token[1]);
    }
    chat_files_fini(&f);
    return st;
}

void text_info_fini(struct text_info *i)
{
    buf_free(&i->template);
    buf_free(&i->bos);
    buf_free(&i->eos);
    buf_free(&i->config);
}
