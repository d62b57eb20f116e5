/* SPDX-License-Identifier: Apache-2.0 */
/* tokconfig.c - tokenizer_config.json and special_tokens_map.json: which tokens begin and end a
 * text. One thread, at load. */
#include "json_file.h"
#include "tokjson.h"

#include <stdlib.h>
#include <string.h>

/* A token given as a string or as an object with "content". */
static token_id named_token(const struct tok *t, const cJSON *o, const char *name)
{
    const cJSON *v = js_get(o, name);
    const char *s = cJSON_IsObject(v) ? js_str(v, "content") : cJSON_GetStringValue(v);
    return s ? vocab_find(&t->v, s, strlen(s)) : -1;
}

/* The end token's id where tokenizer_config.json lists it itself and tokenizer.json lacks it. */
static token_id listed_eos(const cJSON *root)
{
    const cJSON *v = js_get(root, "eos_token"), *it;
    const char *eos = cJSON_IsObject(v) ? js_str(v, "content") : cJSON_GetStringValue(v);
    cJSON_ArrayForEach(it, js_get(root, "added_tokens_decoder"))
    {
        const char *text = js_str(it, "content");
        char *end;
        if (!text || !eos || !it->string || strcmp(text, eos) != 0)
            continue;
        long id = strtol(it->string, &end, 10);
        if (end != it->string && *end == '\0' && id >= 0 && id < MAX_VOCAB)
            return (token_id)id;
    }
    return -1;
}

/* These classes build their own post-processor from add_bos_token and add_eos_token, whatever
 * tokenizer.json says. */
static bool class_rules(const char *cls)
{
    static const char *const rules[] = {"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer",
                                        "CohereTokenizer"};
    for (size_t i = 0; cls && i < sizeof rules / sizeof *rules; i++) {
        size_t n = strlen(rules[i]);
        if (strncmp(cls, rules[i], n) == 0 && (cls[n] == 0 || strcmp(cls + n, "Fast") == 0))
            return true;
    }
    return false;
}

static void set_side(struct ids *side, bool on, token_id id)
{
    side->n = 0;
    if (on && id >= 0)
        ids_add(side, id);
}

static int apply(struct tok *t, struct view text, const char *what, bool config, struct err *e)
{
    cJSON *root;
    int st;
    if (!text.p)
        return 0;
    st = json_file_parse(&root, text, what, &json_file_tokenizer, e);
    if (st)
        return st;
    if (t->bos < 0)
        t->bos = named_token(t, root, "bos_token");
    if (t->eos < 0)
        t->eos = named_token(t, root, "eos_token");
    if (t->eos < 0)
        t->eos = listed_eos(root);
    if (config && class_rules(js_str(root, "tokenizer_class"))) {
        if (cJSON_IsBool(js_get(root, "add_bos_token")))
            set_side(&t->prefix, js_bool(root, "add_bos_token", false), t->bos);
        if (cJSON_IsBool(js_get(root, "add_eos_token")))
            set_side(&t->suffix, js_bool(root, "add_eos_token", false), t->eos);
    }
    cJSON_Delete(root);
    return 0;
}

int tok_apply_config(struct tok *t, const struct text_source *src, struct err *e)
{
    int st = apply(t, src->tokenizer_config_json, "tokenizer_config.json", true, e);
    if (st == 0)
        st = apply(t, src->special_tokens_map_json, "special_tokens_map.json", false, e);
    return st;
}
