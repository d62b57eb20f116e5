/* SPDX-License-Identifier: Apache-2.0 */
/* rows.c - a weight of a source as rows of numbers, whatever file or generator they come from.
 *
 * What a loader sees of a checkpoint: order and layout of the rows are those that the forward pass
 * computes with. Read-only after the source was opened; any thread.
 */
#include "weight_rows.h"

#include "bind.h"
#include "dequant.h"
#include "dummy.h"
#include "family.h"
#include "tensors.h"

static bool is_pair_role(int role)
{
    return role == W_Q || role == W_K || role == W_Q_BIAS || role == W_K_BIAS;
}

struct weight_rows weight_rows_of(const struct model_source *s, int32_t layer, int role, int32_t dt)
{
    struct weight_rows r = {.s = s, .layer = layer, .role = role, .dt = dt};
    weight_shape(&s->cfg, layer, role, &r.n_rows, &r.n_in);
    if (r.n_in == 0)
        r.n_in = 1;
    r.t = source_weight(s, layer, role);
    if (s->is_gguf && s->family->gguf_permuted && is_pair_role(role))
        r.pair_dim = layer_kind_of(&s->cfg, layer)->head_dim;
    if (r.t)
        r.code = qtype_code(r.t->type, &r.group_in);
    return r;
}

/* Row i of the matrix in the file.
 *
 * Files of the llama family store element 2i + j of a head where the "rotate half" layout has
 * element j * head_dim/2 + i, because their rotation works on neighbours. */
static const uint8_t *row_data(const struct weight_rows *r, int64_t i)
{
    int64_t row_bytes = r->n_in / qtype_block_elems(r->t->type) * qtype_block_bytes(r->t->type);
    if (r->pair_dim) {
        int64_t in_head = i % r->pair_dim;
        i += 2 * (in_head % (r->pair_dim / 2)) + in_head / (r->pair_dim / 2) - in_head;
    }
    return r->t->data + i * row_bytes;
}

/* Did a file fail under the reading? Looked at after it, so that a load ends early. */
static int state_of(const struct model_source *s)
{
    for (int32_t i = 0; i < s->n_maps; i++)
        if (file_map_failed(&s->maps[i]))
            return ST_IO;
    return 0;
}

int weight_rows_fill(void *rows, int64_t row0, int64_t n, void *dst)
{
    const struct weight_rows *r = rows;
    if (!r->t) {
        int64_t fan_in = r->n_in > 1 ? r->n_in : r->s->cfg.dim;
        dummy_fill(r->s->seed, r->layer, r->role, fan_in, row0 * r->n_in, n * r->n_in, dst, r->dt);
        return 0;
    }
    if (r->pair_dim == 0) {
        qtype_convert(r->t->type, row_data(r, row0), n * r->n_in, dst, r->dt);
        return state_of(r->s);
    }
    char *out = dst;
    for (int64_t i = row0; i < row0 + n; i++, out += (size_t)r->n_in * dtype_size(r->dt))
        qtype_convert(r->t->type, row_data(r, i), r->n_in, out, r->dt);
    return state_of(r->s);
}

int weight_rows_codes(void *rows, int64_t row0, int64_t n, int32_t group, uint8_t *codes,
                      float *scale, float *offset)
{
    const struct weight_rows *r = rows;
    int64_t groups = r->n_in / group;
    for (int64_t i = 0; i < n; i++)
        qtype_split(r->t->type, row_data(r, row0 + i), r->n_in, group, codes + i * r->n_in,
                    scale + i * groups, offset + i * groups);
    return state_of(r->s);
}

void weight_name(const struct model_source *s, int32_t layer, int role, char *buf, size_t n)
{
    if (!family_tensor_name(s->is_gguf, layer, role, buf, n) && n > 0)
        buf[0] = '\0';
}

void weights_prefetch(const struct model_source *s, int32_t layer)
{
    for (int role = 0; role < N_LAYER_ROLES && layer < s->cfg.n_layers; role++)
        tensor_prefetch(source_weight(s, layer, role));
}
