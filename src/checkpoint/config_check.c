/* SPDX-License-Identifier: Apache-2.0 */
/* config_check.c - bounds of a model configuration. Pure; opening thread. */
#include "config_check.h"

#include "source.h"

#include <math.h>
#include <string.h>

enum { MAX_DIM = 1 << 17, MAX_FFN = 1 << 20, MAX_HEADS = 1024 };

void config_init(struct model_config *c)
{
    memset(c, 0, sizeof *c);
    c->gen_temperature = c->gen_top_p = c->gen_min_p = c->gen_repetition = NAN;
    c->gen_top_k = -1;
    c->n_kinds = c->n_ropes = 1;
    c->rope[0].attn_factor = 1;
}

static int check_range(const char *what, int64_t v, int64_t min, int64_t max, struct err *e)
{
    if (v >= min && v <= max)
        return 0;
    return err_set(e, ST_FORMAT, "model configuration: %s = %lld is not in %lld..%lld", what,
                   (long long)v, (long long)min, (long long)max);
}

static int check_sizes(const struct model_config *c, const struct layer_kind *k, struct err *e)
{
    const struct {
        const char *what;
        int64_t v, max;
    } sizes[] = {
        {"layers", c->n_layers, MAX_LAYERS},     {"hidden size", c->dim, MAX_DIM},
        {"heads", k->n_heads, MAX_HEADS},        {"key/value heads", k->n_kv_heads, MAX_HEADS},
        {"head size", k->head_dim, MAX_DIM},     {"feed-forward size", k->ffn_dim, MAX_FFN},
        {"vocabulary", c->vocab, SRC_MAX_VOCAB}, {"context length", c->max_position, INT32_MAX / 2},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int st = check_range(sizes[i].what, sizes[i].v, 1, sizes[i].max, e);
        if (st)
            return st;
    }
    return 0;
}

static int check_kind(const struct model_config *c, const struct layer_kind *k, struct err *e)
{
    int st = check_sizes(c, k, e);
    if (st)
        return st;
    if (k->n_heads % k->n_kv_heads != 0)
        return err_set(e, ST_FORMAT, "%d heads do not share %d key/value heads evenly", k->n_heads,
                       k->n_kv_heads);
    if (k->head_dim % 16 != 0 || k->head_dim > MAX_HEAD_DIM)
        return err_set(e, ST_UNSUPPORTED,
                       "head size %d is not supported: it must be a multiple of 16 up to %d",
                       k->head_dim, MAX_HEAD_DIM);
    if (c->dim % 8 != 0 || k->ffn_dim % 8 != 0)
        return err_set(e, ST_UNSUPPORTED,
                       "hidden size %d and feed-forward size %d must be multiples of 8", c->dim,
                       k->ffn_dim);
    return 0;
}

int config_check(const struct model_config *c, struct err *e)
{
    for (int32_t i = 0; i < c->n_kinds; i++) {
        int st = check_kind(c, &c->kind[i], e);
        if (st)
            return st;
    }
    if (!(c->norm_eps >= 0 && c->norm_eps < 1))
        return err_set(e, ST_FORMAT, "norm epsilon %g makes no sense", (double)c->norm_eps);
    return 0;
}

int config_check_window(const struct model_config *c, int64_t window, struct err *e)
{
    if (window == 0 || window >= c->max_position)
        return 0;
    if (window < 0)
        return err_set(e, ST_FORMAT, "sliding window of %lld tokens", (long long)window);
    return err_set(e, ST_UNSUPPORTED,
                   "sliding-window attention (sliding_window = %lld, context %d) is not supported",
                   (long long)window, c->max_position);
}
