/* SPDX-License-Identifier: Apache-2.0 */
/* prefill.h - what the two bodies of attn_prefill have to do with each other and with the host.
 *
 * Read by C and by CUDA C++ (kernels). */
#ifndef QUIRE_CUDA_PREFILL_H
#define QUIRE_CUDA_PREFILL_H

#include "cuda_be.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What both bodies need before their first launch; called by cuda_attn_setup, once. */
void cuda_prefill_setup(void);
/* The part of it that attn_prefill_sm90.cu knows. */
void cuda_prefill_sm90_setup(void);
/* attn_prefill of checked arguments on Hopper; ST_UNSUPPORTED on another card and where the shape
 * is not one of its own: nothing was enqueued then. Launches that run at the same time need an
 * `arrived` each. */
int cuda_prefill_sm90(struct cuda_be *c, const struct op_attn *o);

#ifdef __cplusplus
}
#endif

#endif
