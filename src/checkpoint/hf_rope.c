/* SPDX-License-Identifier: Apache-2.0 */
/* hf_rope.c - the rotary embedding of a config.json, wherever it stands there.
 *
 * Up to four places: rope_theta beside everything (transformers 4), rope_scaling (4), and
 * rope_parameters (5), and original_max_position_embeddings beside everything. As transformers 5
 * has it: a rope_scaling that is not empty takes the place of rope_parameters, a rope_theta inside
 * goes before the one outside, and the outer original_max_position_embeddings before the inner one.
 * A base that only the passed-over object has is refused, for transformers would drop it in
 * silence.
 */
#include "hf_rope.h"

#include "json_file.h"
#include "log.h"
#include "mem.h"
#include "rope.h"
#include "unread.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int find_object(const struct json_obj *j, const char *key, const cJSON **out, struct err *e)
{
    const cJSON *it;
    *out = json_find(j, key);
    if (*out && !cJSON_IsObject(*out))
        return err_set(e, ST_FORMAT, "%s: %s is not an object", j->file, key);
    cJSON_ArrayForEach(it, *out)
    {
        if (cJSON_IsObject(it))
            return err_set(e, ST_UNSUPPORTED, "%s: %s per layer type '%.64s' is not supported",
                           j->file, key, it->string);
    }
    if (*out && !(*out)->child)
        *out = NULL;
    return 0;
}

/* Where both are given and do not say the same. */
static int check_both(const struct json_obj *j, const struct json_obj *scaling, const cJSON *params,
                      struct err *e)
{
    const struct json_obj left = {.file = j->file, .o = params};
    double partial = 1;
    int st = json_num(&left, "partial_rotary_factor", &partial, e);
    if (st == 0 && partial != 1)
        return err_set(e, ST_UNSUPPORTED, "%s: partial_rotary_factor %g is not supported", j->file,
                       partial);
    if (st || cJSON_Compare(scaling->o, params, true))
        return st;
    if (json_find(&left, "rope_theta") && !json_find(scaling, "rope_theta") &&
        !json_find(j, "rope_theta"))
        return err_set(e, ST_UNSUPPORTED,
                       "%s: rope_scaling takes the place of rope_parameters, but only the latter "
                       "has a rope_theta: write it into rope_scaling, too",
                       j->file);
    log_warn("checkpoint.rope", "used=rope_scaling ignored=rope_parameters note=\"they differ\"");
    return 0;
}

/* The object that counts, and the base. r->o stays NULL for plain embeddings. */
static int find_rope(const struct json_obj *j, struct json_obj *r, struct rope_params *p,
                     struct err *e)
{
    const cJSON *params, *scaling;
    int st = find_object(j, "rope_parameters", &params, e);
    if (st == 0)
        st = find_object(j, "rope_scaling", &scaling, e);
    if (st)
        return st;
    r->o = scaling ? scaling : params;
    if (scaling && params && (st = check_both(j, r, params, e)) != 0)
        return st;
    p->theta = 10000;
    st = json_num(j, "rope_theta", &p->theta, e);
    if (r->o)
        r->seen = xcalloc2((size_t)cJSON_GetArraySize(r->o), sizeof *r->seen);
    return st || !r->o ? st : json_num(r, "rope_theta", &p->theta, e);
}

struct num_key {
    const char *key;
    double *out;
};

static int read_nums(const struct json_obj *r, const struct num_key *v, size_t n, struct err *e)
{
    int st = 0;
    for (size_t i = 0; i < n && st == 0; i++)
        st = json_num(r, v[i].key, v[i].out, e);
    return st;
}

/* The numbers of its kind; those of another stay unread. */
static int read_kind(const struct json_obj *j, const struct json_obj *r, struct rope_params *p,
                     struct err *e)
{
    static const char original[] = "original_max_position_embeddings";
    bool truncate = true;
    const struct num_key llama3[] = {{"low_freq_factor", &p->low_freq},
                                     {"high_freq_factor", &p->high_freq}};
    const struct num_key yarn[] = {{"beta_fast", &p->beta_fast},
                                   {"beta_slow", &p->beta_slow},
                                   {"attention_factor", &p->attn_factor},
                                   {"mscale", &p->mscale},
                                   {"mscale_all_dim", &p->mscale_all}};
    int st = p->kind == ROPE_PLAIN ? 0 : json_num(r, "factor", &p->factor, e);
    if (st || (p->kind != ROPE_LLAMA3 && p->kind != ROPE_YARN))
        return st;
    st = json_num(r, original, &p->original_len, e);
    if (st == 0)
        st = json_num(j, original, &p->original_len, e);
    if (st == 0 && p->kind == ROPE_LLAMA3)
        return read_nums(r, llama3, sizeof llama3 / sizeof llama3[0], e);
    if (st == 0)
        st = read_nums(r, yarn, sizeof yarn / sizeof yarn[0], e);
    if (st == 0)
        st = json_bool(r, "truncate", &truncate, e);
    p->no_truncate = !truncate;
    return st;
}

static int read_object(struct model_config *c, const struct json_obj *j, const struct json_obj *r,
                       struct rope_params *p, struct err *e)
{
    static const char *const harmless[] = {NULL};
    const char *type = "default";
    double partial = 1;
    int st = json_str(r, "type", &type, e);
    if (st == 0)
        st = json_str(r, "rope_type", &type, e);
    if (st == 0)
        st = rope_kind_parse(type, strlen(type), &p->kind, e);
    if (st == 0)
        st = json_num(r, "partial_rotary_factor", &partial, e);
    if (st == 0 && partial != 1)
        st = err_set(e, ST_UNSUPPORTED, "%s: partial_rotary_factor %g is not supported", j->file,
                     partial);
    p->original_len = c->max_position;
    if (st == 0)
        st = read_kind(j, r, p, e);
    if (st == 0)
        unread_warn(r, "config.json:rope", harmless);
    return st;
}

int hf_rope_read(struct model_config *c, const struct json_obj *j, struct err *e)
{
    struct rope_params p = {.factor = NAN, .attn_factor = NAN};
    struct json_obj r = {.file = j->file};
    int st = find_rope(j, &r, &p, e);
    if (st == 0 && r.o)
        st = read_object(c, j, &r, &p, e);
    free(r.seen);
    if (st == 0)
        st = rope_fill(&c->rope[0], c->kind[0].rope_dim, &p, e);
    if (st || p.kind != ROPE_YARN)
        return st;
    /* Model cards switch YaRN on by adding it beside a max_position_embeddings without it. */
    double scaled = p.original_len * p.factor;
    if (scaled > c->max_position)
        c->max_position = (int32_t)fmin(scaled, INT32_MAX / 2);
    return 0;
}
