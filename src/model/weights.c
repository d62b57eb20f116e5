/* SPDX-License-Identifier: Apache-2.0 */
/* weights.c - from the bound tensors of a source (or the dummy generator) to backend memory.
 *
 * Loader thread. Matrices stream through be_load_matrix: rows are converted into the backend's
 * staging as it asks for them, so no f32 copy of a matrix ever exists here. Norms and biases, a
 * few megabytes at most, share one allocation and one upload. Invariant: a pointer of the set is
 * NULL exactly where weight_exists says no.
 */
#include "weights.h"

#include "mem.h"
#include "weight_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VECTOR_ALIGN = 256, MAX_PARTS = 3, NAME_BYTES = 96 };

struct loader {
    struct weight_set *w;
    const struct model_source *s;
    const struct model_config *cfg;
    struct be *be;
    struct err *e;
    char *vec_host, *vec_dev; /* all vectors, each aligned to VECTOR_ALIGN */
    size_t vec_used, vec_bytes;
    void (*progress)(void *arg, const char *phase, double fraction);
    void *progress_arg;
    double done, total;
};

static struct be_weight_part part_of(struct weight_rows *r)
{
    struct be_weight_part p = {.n_rows = r->n_rows, .arg = r, .fill = weight_rows_fill};
    if (r->code != WC_PLAIN) {
        p.fill_codes = weight_rows_codes;
        p.code = r->code;
        p.group_in = r->group_in;
        p.group_out = 1;
    }
    return p;
}

static void report(struct loader *l, double bytes)
{
    l->done += bytes;
    if (l->progress)
        l->progress(l->progress_arg, "weights", l->total > 0 ? l->done / l->total : 1);
}

/* Stack n weights of one width into one matrix. */
static int load_matrix(struct loader *l, int32_t layer, const int *roles, int n, int32_t dt,
                       bool gemm_operand, struct matrix *out)
{
    struct weight_rows reader[MAX_PARTS];
    struct be_weight_part part[MAX_PARTS];
    char name[NAME_BYTES + 16], what[NAME_BYTES];
    int64_t rows = 0;
    for (int i = 0; i < n; i++) {
        reader[i] = weight_rows_of(l->s, layer, roles[i], dt);
        part[i] = part_of(&reader[i]);
        rows += reader[i].n_rows;
    }
    weight_name(l->s, layer, roles[0], what, sizeof what);
    snprintf(name, sizeof name, "weights.%s", what);
    /* cppcheck-suppress uninitvar ; there is a role, and so a first reader */
    const int64_t n_in = reader[0].n_in;
    const struct be_matrix_spec spec = {.what = name,
                                        .parts = part,
                                        .n_parts = n,
                                        .dt = dt,
                                        .n_in = n_in,
                                        .gemm_operand = gemm_operand};
    int st = be_load_matrix(l->be, &spec, out, l->e);
    if (st)
        return st;
    report(l, (double)rows * (double)n_in * (double)dtype_size(dt));
    return 0;
}

/* Norms stay f32 on every backend: some families add 1 to them, and 16 bits would lose them then.
 */
static int32_t vector_dt(int role, int32_t act_dt)
{
    bool norm = role == W_ATTN_NORM || role == W_FFN_NORM || role == W_FINAL_NORM ||
                role == W_Q_NORM || role == W_K_NORM;
    return norm ? DT_F32 : act_dt;
}

/* Put n vectors one behind the other into the shared staging. NULL where the model has none. */
static const void *stage_vector(struct loader *l, int32_t layer, const int *roles, int n)
{
    if (!weight_exists(l->cfg, layer, roles[0]))
        return NULL;
    size_t start = l->vec_used, at = start;
    for (int i = 0; i < n; i++) {
        struct weight_rows r = weight_rows_of(l->s, layer, roles[i],
                                              vector_dt(roles[i], l->w->act_dt));
        weight_rows_fill(&r, 0, r.n_rows, l->vec_host + at);
        at += (size_t)r.n_rows * dtype_size(r.dt);
    }
    l->vec_used = (at + VECTOR_ALIGN - 1) / VECTOR_ALIGN * VECTOR_ALIGN;
    return l->vec_dev + start;
}

#define STAGE(l, layer, ...)                                                                       \
    stage_vector(l, layer, (const int[]){__VA_ARGS__},                                             \
                 (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)))
#define MATRIX(l, layer, dt, out, ...)                                                             \
    load_matrix(l, layer, (const int[]){__VA_ARGS__},                                              \
                (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)), dt, true, out)

/* What stage_vector takes for these roles. */
static size_t staged_bytes(const struct model_config *c, int32_t layer, const int *roles,
                           int32_t act_dt)
{
    size_t bytes = 0;
    for (const int *role = roles; *role >= 0 && weight_exists(c, layer, *role); role++) {
        int64_t rows, cols;
        weight_shape(c, layer, *role, &rows, &cols);
        bytes += (size_t)rows * dtype_size(vector_dt(*role, act_dt));
    }
    return (bytes + VECTOR_ALIGN - 1) / VECTOR_ALIGN * VECTOR_ALIGN;
}

/* Bytes of all vectors; the sum has the same terms as load_vectors. */
static size_t vector_bytes(const struct model_config *c, int32_t act_dt)
{
    static const int groups[][MAX_PARTS + 1] = {
        {W_ATTN_NORM, -1}, {W_Q_BIAS, W_K_BIAS, W_V_BIAS, -1},
        {W_Q_NORM, -1},    {W_K_NORM, -1},
        {W_O_BIAS, -1},    {W_FFN_NORM, -1},
        {W_DOWN_BIAS, -1}, {W_GATE_BIAS, W_UP_BIAS, -1}};
    size_t sum = staged_bytes(c, -1, (const int[]){W_FINAL_NORM, -1}, act_dt);
    for (int32_t l = 0; l < c->n_layers; l++)
        for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++)
            sum += staged_bytes(c, l, groups[g], act_dt);
    return sum;
}

static int load_vectors(struct loader *l)
{
    struct weight_set *w = l->w;
    l->vec_bytes = vector_bytes(l->cfg, w->act_dt);
    l->vec_dev = be_alloc(l->be, "weights.vectors", l->vec_bytes);
    if (!l->vec_dev)
        return be_no_room(l->be, "weights.vectors", l->vec_bytes, NULL, l->e);
    l->vec_host = xalloc(l->vec_bytes);
    for (int32_t i = 0; i < w->n_layers; i++) {
        struct layer_weights *y = &w->layer[i];
        y->attn_norm = STAGE(l, i, W_ATTN_NORM);
        y->bqkv = STAGE(l, i, W_Q_BIAS, W_K_BIAS, W_V_BIAS);
        y->q_norm = STAGE(l, i, W_Q_NORM);
        y->k_norm = STAGE(l, i, W_K_NORM);
        y->bo = STAGE(l, i, W_O_BIAS);
        y->ffn_norm = STAGE(l, i, W_FFN_NORM);
        y->b_gate_up = STAGE(l, i, W_GATE_BIAS, W_UP_BIAS);
        y->b_down = STAGE(l, i, W_DOWN_BIAS);
    }
    w->final_norm = STAGE(l, -1, W_FINAL_NORM);
    int st = be_upload(l->be, l->vec_dev, l->vec_host, l->vec_bytes);
    if (st == 0)
        st = be_sync(l->be);
    free(l->vec_host);
    l->vec_host = NULL;
    if (st)
        return err_set(l->e, st, "copying norms and biases to the device failed: %s", st_text(st));
    report(l, (double)l->vec_bytes);
    return 0;
}

static int load_layer(struct loader *l, int32_t i)
{
    struct layer_weights *y = &l->w->layer[i];
    int32_t dt = l->w->weight_dt;
    weights_prefetch(l->s, i + 1);
    int st = MATRIX(l, i, dt, &y->wqkv, W_Q, W_K, W_V);
    if (st == 0)
        st = MATRIX(l, i, dt, &y->wo, W_O);
    if (st == 0)
        st = MATRIX(l, i, dt, &y->w_gate_up, W_GATE, W_UP);
    if (st == 0)
        st = MATRIX(l, i, dt, &y->w_down, W_DOWN);
    return st;
}

/* One copy serves both ends of a tied model when both want the same type. */
static bool shares_embedding(const struct model_config *c, int32_t act_dt, int32_t weight_dt)
{
    return c->tied_head && act_dt == weight_dt;
}

static int load_embedding(struct loader *l)
{
    struct weight_set *w = l->w;
    const struct model_config *c = l->cfg;
    bool share = shares_embedding(c, w->act_dt, w->weight_dt);
    const int embed = W_EMBED;
    int st = load_matrix(l, -1, &embed, 1, w->act_dt, share, &w->embed);
    if (st)
        return st;
    if (share) {
        w->head = w->embed;
        return 0;
    }
    return MATRIX(l, -1, w->weight_dt, &w->head, c->tied_head ? W_EMBED : W_HEAD);
}

int weights_load(struct weight_set *w, const struct model_source *s, struct be *be, int32_t act_dt,
                 int32_t weight_dt, void (*progress)(void *arg, const char *phase, double fraction),
                 void *progress_arg, struct err *e)
{
    const struct model_config *cfg = model_source_config(s);
    struct loader l = {.w = w,
                       .s = s,
                       .cfg = cfg,
                       .be = be,
                       .e = e,
                       .progress = progress,
                       .progress_arg = progress_arg};
    *w = (struct weight_set){.n_layers = cfg->n_layers};
    w->act_dt = act_dt >= 0 ? act_dt : be->info.act_dt;
    w->weight_dt = weight_dt >= 0 ? weight_dt : be->info.weight_dt;
    w->layer = xcalloc2((size_t)w->n_layers, sizeof *w->layer);
    l.total = (double)weights_bytes(cfg, w->act_dt, w->weight_dt);
    report(&l, 0);
    weights_prefetch(s, 0);
    int st = load_vectors(&l);
    if (st == 0)
        st = load_embedding(&l);
    for (int32_t i = 0; i < w->n_layers && st == 0; i++)
        st = load_layer(&l, i);
    if (st)
        weights_free(w);
    return st;
}

void weights_free(struct weight_set *w)
{
    free(w->layer);
    *w = (struct weight_set){0};
}

int64_t weights_bytes(const struct model_config *c, int32_t act_dt, int32_t weight_dt)
{
    static const int matrices[] = {W_Q, W_K, W_V, W_O, W_GATE, W_UP, W_DOWN};
    int64_t elems = 0, rows, cols;
    for (int32_t l = 0; l < c->n_layers; l++)
        for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
            weight_shape(c, l, matrices[i], &rows, &cols);
            elems += rows * cols;
        }
    int64_t bytes = elems * (int64_t)dtype_size(weight_dt);
    weight_shape(c, -1, W_EMBED, &rows, &cols);
    bytes += rows * cols * (int64_t)dtype_size(act_dt);
    if (!shares_embedding(c, act_dt, weight_dt))
        bytes += rows * cols * (int64_t)dtype_size(weight_dt);
    return bytes + (int64_t)vector_bytes(c, act_dt);
}
