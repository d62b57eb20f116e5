/* SPDX-License-Identifier: Apache-2.0 */
/* weight_rows.h - the weights of a source (checkpoint.h) as rows of numbers, in the order and
 * layout that the forward pass computes with. Any thread.
 */
#ifndef QUIRE_WEIGHT_ROWS_H
#define QUIRE_WEIGHT_ROWS_H

#include "dtype.h"

#include <stddef.h>
#include <stdint.h>

struct model_source;
struct tensor;

/* One weight that exists, as rows to be read in a storage type. */
struct weight_rows {
    const struct model_source *s;
    const struct tensor *t; /* where it lies in the files; NULL: a dummy's */
    int32_t layer, role;
    int32_t dt;             /* enum dtype of what weight_rows_fill writes */
    int64_t n_rows, n_in;   /* a vector: n_in = 1 */
    int64_t pair_dim;       /* head_dim where rows come in interleaved rotary pairs; else 0 */
    int32_t code, group_in; /* enum wcode of what the files hold, columns that share a scale */
};
struct weight_rows weight_rows_of(const struct model_source *s, int32_t layer, int role,
                                  int32_t dt);
/* Rows [row0, row0 + n) into dst [n, n_in] of dt, rounded to nearest even. `rows` is a struct
 * weight_rows. 0, or ST_IO when a file failed under the reading (model_source_check has the words).
 * Any thread, several at once. */
int weight_rows_fill(void *rows, int64_t row0, int64_t n, void *dst);
/* The same rows as stored, where code is not WC_PLAIN: codes [n, n_in], one a byte; scale and
 * offset [n, n_in / group] for every `group` columns, group_in or a part of it down to 16. */
int weight_rows_codes(void *rows, int64_t row0, int64_t n, int32_t group, uint8_t *codes,
                      float *scale, float *offset);

/* The name of a weight in these files, cut to n bytes: for messages. */
void weight_name(const struct model_source *s, int32_t layer, int role, char *buf, size_t n);
/* Let the disk start on a layer's weights; a layer past the last does nothing. */
void weights_prefetch(const struct model_source *s, int32_t layer);

#endif
