/* SPDX-License-Identifier: Apache-2.0 */
/* matrix.h - weights on their way to the device. */
#ifndef QUIRE_CUDA_MATRIX_H
#define QUIRE_CUDA_MATRIX_H

#include "cuda_be.h"

/* be_load_matrix. */
int cuda_load_matrix(struct be *be, const struct be_matrix_spec *s, struct matrix *out,
                     struct err *e);
/* Free the pinned staging that cuda_load_matrix takes; when nothing more is loaded. */
void cuda_stage_close(struct cuda_be *c);

#endif
