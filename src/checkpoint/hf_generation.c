/* SPDX-License-Identifier: Apache-2.0 */
/* hf_generation.c - generation_config.json: what a generation does when a request does not say it.
 *
 * Temperature, top-p, top-k, min-p and the repetition penalty become defaults of requests; the ids
 * that end a generation join the others. Whatever else would have changed the text is named in one
 * warning. Opening thread.
 */
#include "hf_config.h"

#include "json_file.h"
#include "log.h"
#include "unread.h"

#include <math.h>
#include <string.h>

int hf_ends_read(struct model_source *s, const struct json_obj *j, struct err *e)
{
    const cJSON *v = json_find(j, "eos_token_id"), *it;
    int64_t id;
    if (!v)
        return 0;
    if (json_item_int(v, &id))
        return source_add_end(s, id, j->file, e);
    if (!cJSON_IsArray(v))
        return err_set(e, ST_FORMAT, "%s: eos_token_id is neither an id nor a list", j->file);
    cJSON_ArrayForEach(it, v)
    {
        if (!json_item_int(it, &id))
            return err_set(e, ST_FORMAT, "%s: eos_token_id holds something else than ids", j->file);
        int st = source_add_end(s, id, j->file, e);
        if (st)
            return st;
    }
    return 0;
}

/* A sampling default; one that no request could ask for is left out with a warning. */
static int read_default(const struct json_obj *j, const char *key, double min, double max,
                        float *out, struct err *e)
{
    double v = NAN;
    int st = json_num(j, key, &v, e);
    if (st || isnan(v))
        return st;
    if (v < min || v > max)
        log_warn("checkpoint.generation_config", "ignored=%s value=%g", key, v);
    else
        *out = (float)v;
    return 0;
}

/* Keys that would change the text, with the number (true is 1) at which they do nothing; NAN: there
 * is none. Any other value is named. */
static const struct {
    const char *key;
    double idle;
} unused[] = {
    {"assistant_early_exit", NAN},
    {"bad_words_ids", NAN},
    {"begin_suppress_tokens", NAN},
    {"constraints", NAN},
    {"diversity_penalty", 0},
    {"do_sample", 1},
    {"encoder_no_repeat_ngram_size", 0},
    {"encoder_repetition_penalty", 1},
    {"epsilon_cutoff", 0},
    {"eta_cutoff", 0},
    {"exponential_decay_length_penalty", NAN},
    {"force_words_ids", NAN},
    {"forced_bos_token_id", NAN},
    {"forced_eos_token_id", NAN},
    {"frequency_penalty", 0},
    {"guidance_scale", 1},
    {"length_penalty", 1},
    {"max_new_tokens", NAN},
    {"max_time", NAN},
    {"min_length", 0},
    {"min_new_tokens", 0},
    {"no_repeat_ngram_size", 0},
    {"num_beam_groups", 1},
    {"num_beams", 1},
    {"penalty_alpha", 0},
    {"presence_penalty", 0},
    {"sequence_bias", NAN},
    {"stop_strings", NAN},
    {"suppress_tokens", NAN},
    {"top_h", NAN},
    {"typical_p", 1},
    {"watermarking_config", NAN},
};

static void name_unused(const struct json_obj *j)
{
    struct unread u = {0};
    for (size_t i = 0; i < sizeof unused / sizeof unused[0]; i++) {
        const cJSON *v = json_find(j, unused[i].key);
        double x = cJSON_IsNumber(v) ? v->valuedouble : cJSON_IsBool(v) ? cJSON_IsTrue(v) : NAN;
        bool empty = cJSON_IsArray(v) && !v->child;
        if (v && !empty && !(x == unused[i].idle))
            unread_add(&u, unused[i].key, strlen(unused[i].key));
    }
    unread_say(&u, j->file);
}

int hf_generation_read(struct model_source *s, const void *p, size_t n, struct err *e)
{
    struct json_obj j = {.file = "generation_config.json"};
    struct model_config *c = &s->cfg;
    float top_k = NAN;
    cJSON *root = json_document(j.file, p, n, e);
    if (!root)
        return e ? e->st : ST_FORMAT;
    j.o = root;
    int st = hf_ends_read(s, &j, e);
    if (st == 0)
        st = read_default(&j, "temperature", 0, 2, &c->gen_temperature, e);
    if (st == 0)
        st = read_default(&j, "top_p", 1e-6, 1, &c->gen_top_p, e);
    if (st == 0)
        st = read_default(&j, "min_p", 0, 1, &c->gen_min_p, e);
    if (st == 0)
        st = read_default(&j, "repetition_penalty", 1e-6, 10, &c->gen_repetition, e);
    if (st == 0)
        st = read_default(&j, "top_k", 0, 1 << 22, &top_k, e);
    if (!isnan(top_k))
        c->gen_top_k = (int32_t)top_k;
    if (st == 0)
        name_unused(&j);
    cJSON_Delete(root);
    return st;
}
