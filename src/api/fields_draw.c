/* SPDX-License-Identifier: Apache-2.0 */
/* fields_draw.c - readers of what may be drawn, and of which part of a prompt it is drawn after.
 * Token by token, so they are longer than the others. Pure; any thread.
 */
#include "field.h"

#include "mem.h"
#include "prompt.h"
#include "utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A token id in decimal, one spelling each; -1 = none. */
static int64_t token_of_key(const char *s, uint32_t n, int32_t vocab)
{
    int64_t id = 0;
    if (n < 1 || n > 10 || (n > 1 && s[0] == '0'))
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -1;
        id = id * 10 + (s[i] - '0');
    }
    return id < vocab ? id : -1;
}

static int read_bias(struct reader *r, const struct field *f, const struct json *v)
{
    char param[96];
    size_t n_key = v->n_key < 64 ? v->n_key : 64;
    snprintf(param, sizeof param, "%s.%.*s", f->name, (int)utf8_valid_prefix(v->key, n_key),
             v->key);
    int64_t id = token_of_key(v->key, v->n_key, r->s->limits.vocab);
    if (id < 0)
        return err_param(r->e, ST_INVALID_VALUE, param,
                         "The keys of '%s' must be token ids between 0 and %d.", f->name,
                         r->s->limits.vocab - 1);
    if (v->type != JSON_NUM)
        return wrong_type(r->e, param, "a number", v);
    if (!(v->d >= -100 && v->d <= 100))
        return err_param(r->e, ST_INVALID_VALUE, param, "'%s' must be between -100 and 100.",
                         param);
    r->g->bias[r->g->n_bias++] = (struct token_bias){(token_id)id, (float)v->d};
    return 0;
}

static int by_token(const void *a, const void *b)
{
    token_id x = ((const struct token_bias *)a)->token, y = ((const struct token_bias *)b)->token;
    return (x > y) - (x < y);
}

int read_logit_bias(struct reader *r, const struct field *f, const struct json *v)
{
    struct genreq *g = r->g;
    if (v->type != JSON_OBJ)
        return wrong_type(r->e, f->name, "an object", v);
    if (v->n > MAX_BIAS)
        return err_param(r->e, ST_INVALID_LENGTH, f->name, "'%s' may have at most %d entries.",
                         f->name, MAX_BIAS);
    if (v->n == 0)
        return 0;
    g->bias = xcalloc2(v->n, sizeof *g->bias);
    for (const struct json *k = json_child(r->d, v); k; k = json_next(r->d, k)) {
        int st = read_bias(r, f, k);
        if (st)
            return st;
    }
    qsort(g->bias, (size_t)g->n_bias, sizeof *g->bias, by_token);
    return 0;
}

int read_allowed_ids(struct reader *r, const struct field *f, const struct json *v)
{
    struct genreq *g = r->g;
    struct ids ids = {0};
    if (v->type != JSON_ARR)
        return wrong_type(r->e, f->name, "an array of integers", v);
    if (v->n == 0)
        return err_param(r->e, ST_INVALID_LENGTH, f->name, "'%s' must not be empty.", f->name);
    int st = prompt_ids(r->d, v, r->s->limits.vocab, f->name, &ids, r->e);
    if (st == 0) {
        g->n_mask = MSG_MASK_WORDS(r->s->limits.vocab);
        g->mask = xcalloc2((size_t)g->n_mask, sizeof *g->mask);
        for (size_t i = 0; i < ids.n; i++)
            g->mask[ids.p[i] / 32] |= 1u << (ids.p[i] % 32);
    }
    ids_free(&ids);
    return st;
}

int read_truncate(struct reader *r, const struct field *f, const struct json *v)
{
    int64_t most = r->s->limits.max_model_len;
    bool whole = v->type == JSON_NUM && (v->is_int || v->d == floor(v->d));
    if (!whole)
        return wrong_type(r->e, f->name, "an integer", v);
    if (!v->is_int || v->i < -1 || v->i == 0 || v->i > most)
        return err_param(r->e, ST_INVALID_VALUE, f->name,
                         "'%s' must be -1 (as many as fit), or between 1 and %lld.", f->name,
                         (long long)most);
    r->g->truncate = v->i;
    return 0;
}
