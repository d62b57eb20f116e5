/* SPDX-License-Identifier: Apache-2.0 */
/* rope.c - inverse frequencies for plain, linear, llama3 and YaRN rotary embeddings.
 *
 * Formulas: RoFormer (plain), position interpolation (linear), the Llama 3.1 model card (llama3),
 * the YaRN paper, sections 3.2-3.4. Computed in double and rounded once. Pure; any thread.
 */
#include "rope.h"

#include <math.h>
#include <string.h>

static const char *const kind_names[] = {"default", "linear", "llama3", "yarn"};

int rope_kind_parse(const char *name, size_t n, enum rope_kind *kind, struct err *e)
{
    if (n == 4 && memcmp(name, "none", 4) == 0) {
        *kind = ROPE_PLAIN;
        return 0;
    }
    for (int i = 0; i < 4; i++) {
        if (strlen(kind_names[i]) == n && memcmp(kind_names[i], name, n) == 0) {
            *kind = (enum rope_kind)i;
            return 0;
        }
    }
    return err_set(e, ST_UNSUPPORTED,
                   "rope type '%.*s' is not supported (supported: default, linear, llama3, yarn)",
                   (int)(n < 64 ? n : 64), name);
}

static double llama3_scale(const struct rope_params *p, double freq)
{
    double wavelen = 2 * M_PI / freq;
    if (wavelen < p->original_len / p->high_freq)
        return freq;
    if (wavelen > p->original_len / p->low_freq)
        return freq / p->factor;
    double smooth = (p->original_len / wavelen - p->low_freq) / (p->high_freq - p->low_freq);
    return (1 - smooth) * freq / p->factor + smooth * freq;
}

/* The dimension at which a wave makes `turns` turns over the original length. */
static double yarn_dim(const struct rope_params *p, double turns, double dim)
{
    return dim * log(p->original_len / (turns * 2 * M_PI)) / (2 * log(p->theta));
}

static double yarn_scale(const struct rope_params *p, double freq, int i, double dim)
{
    double low = yarn_dim(p, p->beta_fast, dim), high = yarn_dim(p, p->beta_slow, dim);
    if (!p->no_truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, dim - 1);
    if (low == high)
        high += 0.001;
    double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
    return freq / p->factor * ramp + freq * (1 - ramp);
}

static double mscale_of(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static double yarn_attn_factor(const struct rope_params *p)
{
    if (!isnan(p->attn_factor))
        return p->attn_factor;
    if (p->mscale > 0 && p->mscale_all > 0)
        return mscale_of(p->factor, p->mscale) / mscale_of(p->factor, p->mscale_all);
    return mscale_of(p->factor, 1);
}

static int bad(const struct rope_params *p, const char *what, double v, struct err *e)
{
    return err_set(e, ST_FORMAT, "rope %s: %s = %g makes no sense", kind_names[p->kind], what, v);
}

static int check(const struct rope_params *p, struct err *e)
{
    /* The comparisons are written so that NAN fails them. */
    if (!(p->theta > 1 && p->theta < 1e12))
        return bad(p, "rope_theta", p->theta, e);
    if (p->kind != ROPE_PLAIN && !(p->factor >= 1 && p->factor < 1e6))
        return bad(p, "factor", p->factor, e);
    if (p->kind == ROPE_LLAMA3 || p->kind == ROPE_YARN)
        if (!(p->original_len >= 1 && p->original_len < 1e9))
            return bad(p, "original_max_position_embeddings", p->original_len, e);
    if (p->kind == ROPE_LLAMA3) {
        if (!(p->low_freq > 0 && p->low_freq < 1e6))
            return bad(p, "low_freq_factor", p->low_freq, e);
        if (!(p->high_freq > p->low_freq && p->high_freq < 1e6))
            return bad(p, "high_freq_factor", p->high_freq, e);
    }
    if (p->kind == ROPE_YARN) {
        if (!(p->beta_slow > 0 && p->beta_slow < 1e6))
            return bad(p, "beta_slow", p->beta_slow, e);
        if (!(p->beta_fast >= p->beta_slow && p->beta_fast < 1e6))
            return bad(p, "beta_fast", p->beta_fast, e);
        double a = yarn_attn_factor(p);
        if (!(a > 0 && a < 1e3))
            return bad(p, "attention_factor", a, e);
    }
    return 0;
}

int rope_fill(struct rope_table *t, int32_t rope_dim, const struct rope_params *params,
              struct err *e)
{
    struct rope_params p = *params;
    double dim = rope_dim;
    p.beta_fast = p.beta_fast != 0 ? p.beta_fast : 32;
    p.beta_slow = p.beta_slow != 0 ? p.beta_slow : 1;
    int st = check(&p, e);
    if (st)
        return st;
    for (int i = 0; i < rope_dim / 2; i++) {
        double freq = pow(p.theta, -2.0 * i / dim);
        if (p.freq_factors) {
            double f = p.freq_factors[i];
            if (!(f > 0 && f < 1e6))
                return bad(&p, "frequency factor", f, e);
            freq /= f;
        }
        if (p.kind == ROPE_LINEAR)
            freq /= p.factor;
        else if (p.kind == ROPE_LLAMA3)
            freq = llama3_scale(&p, freq);
        else if (p.kind == ROPE_YARN)
            freq = yarn_scale(&p, freq, i, dim);
        t->inv_freq[i] = (float)freq;
    }
    t->theta = (float)p.theta;
    t->attn_factor = p.kind == ROPE_YARN ? (float)yarn_attn_factor(&p) : 1.0F;
    return 0;
}
