/* SPDX-License-Identifier: Apache-2.0 */
/* bind.c - from tensors found in files to the weights a family needs.
 *
 * After source_bind every weight that model_config calls for is there, has the right shape and a
 * type that can be converted, and no tensor is left over that might have meant something.
 */
#include "bind.h"

#include "dequant.h"
#include "family.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A model that says its head is the embedding, and brings a head of its own: transformers keeps the
 * file's. The same bytes once more are taken for the same thing, which saves a copy. */
static void untie(struct model_source *s)
{
    char embed_name[SRC_MAX_NAME], head_name[SRC_MAX_NAME];
    family_tensor_name(s->is_gguf, -1, W_EMBED, embed_name, sizeof embed_name);
    family_tensor_name(s->is_gguf, -1, W_HEAD, head_name, sizeof head_name);
    const struct tensor *embed = tensor_find(&s->tensors, embed_name);
    const struct tensor *head = tensor_find(&s->tensors, head_name);
    if (!s->cfg.tied_head || !embed || !head)
        return;
    bool same = embed->type == head->type && embed->bytes == head->bytes &&
                memcmp(embed->data, head->data, head->bytes) == 0;
    if (same)
        return;
    s->cfg.tied_head = false;
    log_warn(
        "checkpoint.head",
        "tie_word_embeddings=true used=%s note=\"the file has a head of its own, which differs "
        "from the embeddings\"",
        head_name);
}

/* Tensors that are derived from the configuration or superseded, and safe to leave alone. */
static bool is_ignorable(const struct model_source *s, const char *name)
{
    static const char *const tails[] = {".rotary_emb.inv_freq", ".attn_rot_embd.weight"};
    size_t n = strlen(name);
    if (s->cfg.tied_head && strcmp(name, "lm_head.weight") == 0)
        return true;
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        size_t k = strlen(tails[i]);
        if (n > k && strcmp(name + n - k, tails[i]) == 0)
            return true;
    }
    return false;
}

static int check_shape(const struct model_source *s, const struct tensor *t, int32_t layer,
                       int role, struct err *e)
{
    int64_t rows, cols;
    char shape[96];
    weight_shape(&s->cfg, layer, role, &rows, &cols);
    bool ok = cols ? t->n_dims == 2 && t->dim[0] == rows && t->dim[1] == cols
                   : t->n_dims == 1 && t->dim[0] == rows;
    if (ok)
        return 0;
    tensor_shape_text(t, shape, sizeof shape);
    if (cols)
        return err_set(e, ST_FORMAT, "tensor %s has shape %s, expected [%lld, %lld]", t->name,
                       shape, (long long)rows, (long long)cols);
    return err_set(e, ST_FORMAT, "tensor %s has shape %s, expected [%lld]", t->name, shape,
                   (long long)rows);
}

static int bind_one(struct model_source *s, int32_t layer, int role, const struct tensor **slot,
                    struct err *e)
{
    char name[SRC_MAX_NAME];
    if (!weight_exists(&s->cfg, layer, role))
        return 0;
    family_tensor_name(s->is_gguf, layer, role, name, sizeof name);
    struct tensor *t = tensor_find(&s->tensors, name);
    if (!t)
        return err_set(e, ST_FORMAT, "tensor %s is missing", name);
    if (t->type == QT_OTHER)
        return err_set(e, ST_UNSUPPORTED, "tensor %s: type %s is not supported", name,
                       t->type_name);
    if (t->n_dims == 1 && qtype_block_elems(t->type) != 1)
        return err_set(e, ST_UNSUPPORTED, "tensor %s: a vector of type %s is not supported", name,
                       t->type_name);
    t->used = true;
    *slot = t;
    return check_shape(s, t, layer, role, e);
}

int source_bind(struct model_source *s, struct err *e)
{
    untie(s);
    size_t n_layers = (size_t)s->cfg.n_layers;
    s->bound = xcalloc2(n_layers * N_LAYER_ROLES + N_GLOBAL_ROLES, sizeof *s->bound);
    for (int role = N_LAYER_ROLES; role < N_ROLES; role++) {
        const struct tensor **globals = s->bound + n_layers * N_LAYER_ROLES;
        int st = bind_one(s, -1, role, &globals[role - N_LAYER_ROLES], e);
        if (st)
            return st;
    }
    for (int32_t l = 0; l < s->cfg.n_layers; l++) {
        for (int role = 0; role < N_LAYER_ROLES; role++) {
            int st = bind_one(s, l, role, &s->bound[(size_t)l * N_LAYER_ROLES + (size_t)role], e);
            if (st)
                return st;
        }
    }
    for (size_t i = 0; i < s->tensors.n; i++) {
        const struct tensor *t = &s->tensors.v[i];
        if (!t->used && !is_ignorable(s, t->name))
            return err_set(e, ST_UNSUPPORTED, "tensor %s is not part of a %s model as configured",
                           t->name, s->cfg.family);
    }
    return 0;
}

const struct tensor *source_weight(const struct model_source *s, int32_t layer, int role)
{
    if (!s->bound)
        return NULL;
    if (role >= N_LAYER_ROLES)
        return s->bound[(size_t)s->cfg.n_layers * N_LAYER_ROLES + (size_t)(role - N_LAYER_ROLES)];
    return s->bound[(size_t)layer * N_LAYER_ROLES + (size_t)role];
}
