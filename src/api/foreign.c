/* SPDX-License-Identifier: Apache-2.0 */
/* foreign.c - fields of llama.cpp's server and of samplers that others have. Nothing that would
 * change the output is ignored: where the meaning is ours the name is another one of our field;
 * else only the value that switches it off is taken. What such a switched-off sampler would read
 * besides has no effect. Pure; any thread.
 */
#include "foreign.h"

#include "prompt.h"

#include <math.h>

/* Our name wins where both are given. */
static int read_repeat_penalty(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_NUM)
        return wrong_type(r->e, f->name, "a number", v);
    if (!(v->d > 0 && v->d <= 10))
        return err_param(r->e, ST_INVALID_VALUE, f->name, "'%s' must be above 0 and at most 10.",
                         f->name);
    if (isnan(r->g->repetition))
        r->g->repetition = v->d;
    return 0;
}

static int read_n_predict(struct reader *r, const struct field *f, const struct json *v)
{
    int64_t ours = r->g->max_tokens;
    bool fit = r->g->fit_max;
    int st = read_max_tokens(r, f, v);
    if (ours != INT64_MIN || fit) {
        r->g->max_tokens = ours;
        r->g->fit_max = fit;
    }
    return st;
}

/* Our penalties look at all of the text (-1); that is for fields.c to say once it knows whether
 * there is one. */
static int read_repeat_last_n(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_NUM || !v->is_int)
        return wrong_type(r->e, f->name, "an integer", v);
    r->g->other_window = v->i != -1;
    return 0;
}

static int only_true(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_BOOL)
        return wrong_type(r->e, f->name, "a boolean", v);
    return v->boolean ? 0 : not_built(r, f, v);
}

#define OFF(name, value) ROW(name, BOTH, read_only, .lo = -1e9, .hi = 1e9, .only = (value))
const struct field foreign_fields[] = {
    ROW("repeat_penalty", BOTH, read_repeat_penalty),
    ROW("n_predict", BOTH, read_n_predict, .lo = 0, .hi = 9007199254740992.0),
    ROW("max_new_tokens", BOTH, read_n_predict, .lo = 0, .hi = 9007199254740992.0),
    ROW("repeat_last_n", BOTH, read_repeat_last_n),
    ROW("penalize_nl", BOTH, only_true),
    ROW("penalty_prompt", BOTH, not_built),
    OFF("mirostat", 0),
    ROW("mirostat_tau", BOTH, no_effect),
    ROW("mirostat_eta", BOTH, no_effect),
    OFF("typical_p", 1),
    OFF("typ_p", 1),
    OFF("tfs_z", 1),
    OFF("top_n_sigma", -1),
    OFF("top_a", 0),
    OFF("epsilon_cutoff", 0),
    OFF("eta_cutoff", 0),
    OFF("smoothing_factor", 0),
    OFF("no_repeat_ngram_size", 0),
    OFF("encoder_repetition_penalty", 1),
    OFF("xtc_probability", 0),
    ROW("xtc_threshold", BOTH, no_effect),
    OFF("dry_multiplier", 0),
    ROW("dry_base", BOTH, no_effect),
    ROW("dry_allowed_length", BOTH, no_effect),
    ROW("dry_penalty_last_n", BOTH, no_effect),
    ROW("dry_sequence_breakers", BOTH, no_effect),
    OFF("dynatemp_range", 0),
    ROW("dynatemp_exponent", BOTH, no_effect),
    OFF("min_keep", 0),
    OFF("n_probs", 0),
    OFF("n_indent", 0),
    OFF("t_max_predict_ms", 0),
    ROW("samplers", BOTH, not_built),
    ROW("post_sampling_probs", BOTH, only_false),
    ROW("return_tokens", BOTH, only_false),
    ROW("response_fields", BOTH, not_built),
    ROW("lora", BOTH, not_built),
    ROW("image_data", BOTH, not_built),
    ROW("stop_regex", BOTH, not_built),
    ROW("no_stop_trim", BOTH, only_false),
    ROW("custom_logit_processor", BOTH, not_built),
    ROW("early_stopping", BOTH, only_false),
    ROW("cache_prompt", BOTH, no_effect),
    ROW("id_slot", BOTH, no_effect),
    ROW("n_keep", BOTH, no_effect),
    ROW("n_discard", BOTH, no_effect),
    ROW("timings_per_token", BOTH, no_effect),
};
_Static_assert(sizeof foreign_fields / sizeof *foreign_fields <= MAX_FOREIGN, "too many rows");
const int n_foreign = sizeof foreign_fields / sizeof *foreign_fields;
