/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_gguf.c - any bytes as a GGUF file: refused with a message, or a model all of whose weights
 * can be read, as numbers and as levels. */
#include "checkpoint/bind.h"
#include "checkpoint/dequant.h"
#include "checkpoint/family.h"
#include "checkpoint/formats.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Every row, as the loader asks for them. */
static void read_weight(const struct tensor *t)
{
    int64_t cols = t->dim[t->n_dims - 1], rows = t->n_dims == 2 ? t->dim[0] : 1;
    int64_t bytes = cols / qtype_block_elems(t->type) * qtype_block_bytes(t->type);
    int32_t group;
    float *row = malloc((size_t)cols * sizeof *row), *scale = malloc((size_t)cols * sizeof *row);
    float *offset = malloc((size_t)cols * sizeof *row);
    uint8_t *q = malloc((size_t)cols);
    for (int64_t r = 0; row && scale && offset && q && r < rows; r++) {
        qtype_convert(t->type, t->data + r * bytes, cols, row, DT_F32);
        if (qtype_code(t->type, &group) != WC_PLAIN)
            qtype_split(t->type, t->data + r * bytes, cols, 16, q, scale, offset);
    }
    free(row);
    free(scale);
    free(offset);
    free(q);
}

static void read_weights(const struct model_source *s)
{
    for (int32_t l = -1; l < s->cfg.n_layers; l++)
        for (int role = l < 0 ? N_LAYER_ROLES : 0; role < (l < 0 ? N_ROLES : N_LAYER_ROLES); role++)
            if (source_weight(s, l, role))
                read_weight(source_weight(s, l, role));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct model_source *s = source_new();
    struct err e = {0};
    int rc = source_open_gguf(s, data, n, &e);
    if (rc == 0)
        rc = source_finish(s, &e);
    if (rc == 0)
        read_weights(s);
    else if (!e.msg[0])
        abort(); /* a refusal without a reason */
    model_source_close(s);
    return 0;
}
