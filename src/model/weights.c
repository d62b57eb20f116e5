/* weights.c - from the bound tensors of a source (or the dummy generator) to backend memory.
 *
 * Loader thread. Matrices stream through be_load_matrix: rows are converted into the backend's
 * staging as it asks for them, so no f32 copy of a matrix ever exists here. Norms and biases, a
 * few megabytes at most, share one allocation and one upload. Invariant: a pointer of the set is
 * NULL exactly where family_has_weight says so.
 */
#include "weights.h"

#include "checkpoint/dummy.h"
#include "mem.h"
#include "checkpoint/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VECTOR_ALIGN = 256, MAX_PARTS = 3 };

struct loader {
    struct weight_set *w;
    const struct model_source *s;
    struct be *be;
    struct err *e;
    char *vec_host, *vec_dev; /* all vectors, act_dt, each aligned to VECTOR_ALIGN */
    size_t vec_used, vec_bytes;
    void (*progress)(void *arg, const char *phase, double fraction);
    void *progress_arg;
    double done, total;
};

/* One weight as rows of n_in elements (a vector: n_in = 1) of type dt. */
struct row_reader {
    const struct model_source *s;
    const struct tensor *t; /* NULL: dummy */
    int32_t layer, dt;
    int role;
    int64_t n_rows, n_in;
    int64_t pair_dim; /* head_dim where rows come in interleaved rotary pairs; else 0 */
};

static bool is_pair_role(int role)
{
    return role == W_Q || role == W_K || role == W_Q_BIAS || role == W_K_BIAS;
}

static struct row_reader reader_of(const struct loader *l, int32_t layer, int role, int32_t dt)
{
    struct row_reader r = {.s = l->s, .layer = layer, .role = role, .dt = dt};
    family_weight_shape(&l->s->cfg, role, &r.n_rows, &r.n_in);
    if (r.n_in == 0)
        r.n_in = 1;
    r.t = source_weight(l->s, layer, role);
    if (l->s->is_gguf && l->s->family->gguf_permuted && is_pair_role(role))
        r.pair_dim = l->s->cfg.head_dim;
    return r;
}

/* Row i of the matrix in the file.
 *
 * Files of the llama family store element 2i + j of a head where the "rotate half" layout has
 * element j * head_dim/2 + i, because their rotation works on neighbours. */
static const uint8_t *row_data(const struct row_reader *r, int64_t i)
{
    int64_t row_bytes = r->n_in / qtype_block_elems(r->t->type) * qtype_block_bytes(r->t->type);
    if (r->pair_dim) {
        int64_t in_head = i % r->pair_dim;
        i += 2 * (in_head % (r->pair_dim / 2)) + in_head / (r->pair_dim / 2) - in_head;
    }
    return r->t->data + i * row_bytes;
}

/* Rows [row0, row0 + n) into dst; the fill function of be_weight_part. */
static int read_rows(void *arg, int64_t row0, int64_t n, void *dst)
{
    const struct row_reader *r = arg;
    if (!r->t) {
        int64_t fan_in = r->n_in > 1 ? r->n_in : r->s->cfg.dim;
        dummy_fill(r->s->seed, r->layer, r->role, fan_in, row0 * r->n_in, n * r->n_in, dst, r->dt);
        return 0;
    }
    if (r->pair_dim == 0) {
        qtype_convert(r->t->type, row_data(r, row0), n * r->n_in, dst, r->dt);
        return 0;
    }
    char *out = dst;
    for (int64_t i = row0; i < row0 + n; i++, out += r->n_in * dtype_bytes(r->dt))
        qtype_convert(r->t->type, row_data(r, i), r->n_in, out, r->dt);
    return 0;
}

/* The same rows still quantised; the fill_levels function of be_weight_part. */
static int read_levels(void *arg, int64_t row0, int64_t n, int group, uint8_t *q, float *scale,
                       float *offset)
{
    const struct row_reader *r = arg;
    int64_t groups = r->n_in / group;
    for (int64_t i = 0; i < n; i++)
        qtype_split(r->t->type, row_data(r, row0 + i), r->n_in, group, q + i * r->n_in,
                    scale + i * groups, offset + i * groups);
    return 0;
}

static struct be_weight_part part_of(struct row_reader *r)
{
    struct be_weight_part p = {.n_rows = r->n_rows, .arg = r, .fill = read_rows};
    if (r->t && r->dt == DT_F32 && (p.bits = qtype_levels(r->t->type, &p.group)) > 0)
        p.fill_levels = read_levels;
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
                       int gemm_operand, const void **out)
{
    struct row_reader reader[MAX_PARTS];
    struct be_weight_part part[MAX_PARTS];
    char name[SRC_MAX_NAME + 16], what[SRC_MAX_NAME];
    void *p;
    int64_t rows = 0;
    for (int i = 0; i < n; i++) {
        reader[i] = reader_of(l, layer, roles[i], dt);
        part[i] = part_of(&reader[i]);
        rows += reader[i].n_rows;
    }
    family_tensor_name(l->s->is_gguf, layer, roles[0], what, sizeof what);
    snprintf(name, sizeof name, "weights.%s", what);
    int rc = be_load_matrix(l->be, name, part, n, reader[0].n_in, dt, gemm_operand, &p, l->e);
    if (rc)
        return rc;
    *out = p;
    report(l, (double)rows * (double)reader[0].n_in * (double)dtype_bytes(dt));
    return 0;
}

/* Put n vectors one behind the other into the shared staging. NULL where the model has none. */
static const void *stage_vector(struct loader *l, int32_t layer, const int *roles, int n)
{
    if (!family_has_weight(&l->s->cfg, roles[0]))
        return NULL;
    size_t start = l->vec_used, at = start;
    for (int i = 0; i < n; i++) {
        struct row_reader r = reader_of(l, layer, roles[i], l->w->act_dt);
        read_rows(&r, 0, r.n_rows, l->vec_host + at);
        at += (size_t)(r.n_rows * dtype_bytes(r.dt));
    }
    l->vec_used = (at + VECTOR_ALIGN - 1) / VECTOR_ALIGN * VECTOR_ALIGN;
    return l->vec_dev + start;
}

#define STAGE(l, layer, ...)                                                                       \
    stage_vector(l, layer, (const int[]){__VA_ARGS__},                                             \
                 (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)))
#define MATRIX(l, layer, dt, out, ...)                                                             \
    load_matrix(l, layer, (const int[]){__VA_ARGS__},                                              \
                (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)), dt, 1, out)

/* Bytes of all vectors; the sum has the same terms as load_vectors. */
static size_t vector_bytes(const struct model_config *c, int32_t act_dt)
{
    static const int groups[][MAX_PARTS + 1] = {
        {W_ATTN_NORM, -1}, {W_Q_BIAS, W_K_BIAS, W_V_BIAS, -1},
        {W_Q_NORM, -1},    {W_K_NORM, -1},
        {W_O_BIAS, -1},    {W_FFN_NORM, -1},
        {W_DOWN_BIAS, -1}, {W_GATE_BIAS, W_UP_BIAS, -1},
        {W_FINAL_NORM, -1}};
    size_t sum = 0;
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        size_t bytes = 0;
        for (const int *role = groups[g]; *role >= 0 && family_has_weight(c, *role); role++) {
            int64_t rows, cols;
            family_weight_shape(c, *role, &rows, &cols);
            bytes += (size_t)(rows * dtype_bytes(act_dt));
        }
        bytes = (bytes + VECTOR_ALIGN - 1) / VECTOR_ALIGN * VECTOR_ALIGN;
        sum += groups[g][0] == W_FINAL_NORM ? bytes : bytes * (size_t)c->n_layers;
    }
    return sum;
}

static int load_vectors(struct loader *l)
{
    struct weight_set *w = l->w;
    l->vec_bytes = vector_bytes(&l->s->cfg, w->act_dt);
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
    int rc = be_upload(l->be, l->vec_dev, l->vec_host, l->vec_bytes);
    if (rc == 0)
        rc = be_sync(l->be);
    free(l->vec_host);
    l->vec_host = NULL;
    if (rc)
        return err_set(l->e, rc, "copying norms and biases to the device failed: %s", st_text(rc));
    report(l, (double)l->vec_bytes);
    return 0;
}

/* Let the disk work on the layer after this one. */
static void prefetch(const struct loader *l, int32_t layer)
{
    for (int role = 0; role < N_LAYER_ROLES && layer < l->w->n_layers; role++)
        tensor_prefetch(source_weight(l->s, layer, role));
}

static int load_layer(struct loader *l, int32_t i)
{
    struct layer_weights *y = &l->w->layer[i];
    int32_t dt = l->w->weight_dt;
    prefetch(l, i + 1);
    int rc = MATRIX(l, i, dt, &y->wqkv, W_Q, W_K, W_V);
    if (rc == 0)
        rc = MATRIX(l, i, dt, &y->wo, W_O);
    if (rc == 0)
        rc = MATRIX(l, i, dt, &y->w_gate_up, W_GATE, W_UP);
    if (rc == 0)
        rc = MATRIX(l, i, dt, &y->w_down, W_DOWN);
    return rc;
}

/* One copy serves both ends of a tied model when both want the same type. */
static bool shares_embedding(const struct model_config *c, int32_t act_dt, int32_t weight_dt)
{
    return c->tied_head && act_dt == weight_dt;
}

static int load_embedding(struct loader *l)
{
    struct weight_set *w = l->w;
    const struct model_config *c = &l->s->cfg;
    bool share = shares_embedding(c, w->act_dt, w->weight_dt);
    const int embed = W_EMBED;
    int rc = load_matrix(l, -1, &embed, 1, w->act_dt, share, &w->embed);
    if (rc)
        return rc;
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
    struct loader l = {
        .w = w, .s = s, .be = be, .e = e, .progress = progress, .progress_arg = progress_arg};
    *w = (struct weight_set){.n_layers = s->cfg.n_layers};
    w->act_dt = act_dt >= 0 ? act_dt : be->info.act_dt;
    w->weight_dt = weight_dt >= 0 ? weight_dt : be->info.weight_dt;
    w->layer = xcalloc2((size_t)w->n_layers, sizeof *w->layer);
    l.total = (double)weights_bytes(&s->cfg, w->act_dt, w->weight_dt);
    report(&l, 0);
    prefetch(&l, 0);
    int rc = load_vectors(&l);
    if (rc == 0)
        rc = load_embedding(&l);
    for (int32_t i = 0; i < w->n_layers && rc == 0; i++)
        rc = load_layer(&l, i);
    if (rc)
        weights_free(w);
    return rc;
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
    for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
        family_weight_shape(c, matrices[i], &rows, &cols);
        elems += rows * cols;
    }
    int64_t bytes = elems * c->n_layers * dtype_bytes(weight_dt);
    family_weight_shape(c, W_EMBED, &rows, &cols);
    bytes += rows * cols * dtype_bytes(act_dt);
    if (!shares_embedding(c, act_dt, weight_dt))
        bytes += rows * cols * dtype_bytes(weight_dt);
    return bytes + (int64_t)vector_bytes(c, act_dt);
}
