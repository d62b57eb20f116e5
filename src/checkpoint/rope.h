/* SPDX-License-Identifier: Apache-2.0 */
/* rope.h - rotary position scaling, folded into one table of inverse frequencies. */
#ifndef QUIRE_CHECKPOINT_ROPE_H
#define QUIRE_CHECKPOINT_ROPE_H

#include "model_config.h"
#include "status.h"

#include <stddef.h>

enum rope_kind { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN };

/* Zero or NAN means "not given" where a default exists. */
struct rope_params {
    enum rope_kind kind;
    double theta;
    double factor;               /* all but PLAIN */
    double original_len;         /* LLAMA3, YARN */
    double low_freq, high_freq;  /* LLAMA3 */
    double beta_fast, beta_slow; /* YARN; defaults 32, 1 */
    double attn_factor;          /* YARN: cos and sin are multiplied by it; NAN = derive */
    double mscale, mscale_all;   /* YARN: used to derive attn_factor when both are given */
    bool no_truncate;            /* YARN: keep the ramp's ends fractional */
    const float *freq_factors;   /* [head_dim / 2] divisors from a file, or NULL */
};

/* ST_UNSUPPORTED naming it when the type is not one of ours. */
int rope_kind_parse(const char *name, size_t n, enum rope_kind *kind, struct err *e);
/* Fills *t for rope_dim columns, at most MAX_HEAD_DIM. ST_FORMAT naming the parameter that makes no
 * sense. */
int rope_fill(struct rope_table *t, int32_t rope_dim, const struct rope_params *p, struct err *e);

#endif
