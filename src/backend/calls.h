/* SPDX-License-Identifier: Apache-2.0 */
/* calls.h - what a device body implements behind backend.h: the calls that backend.c forwards, and
 * the ops. The contracts are those of the be_* function of the same name, and those of ops.h. */
#ifndef QUIRE_BACKEND_CALLS_H
#define QUIRE_BACKEND_CALLS_H

#include "backend.h"

struct be_calls {
    void (*close)(struct be *be); /* releases priv and all memory; not *be itself */
    void *(*alloc)(struct be *be, size_t bytes);
    void *(*alloc_host)(struct be *be, size_t bytes);
    void (*seal)(struct be *be); /* may be NULL */
    /* takes its memory by be_alloc(be, s->what, ...) */
    int (*load_matrix)(struct be *be, const struct be_matrix_spec *s, struct matrix *out,
                       struct err *e);
    int (*upload)(struct be *be, void *dst, const void *src, size_t bytes);
    int (*download)(struct be *be, void *dst, const void *src, size_t bytes);
    int (*sync)(struct be *be);
    size_t (*attn_work_bytes)(struct be *be, int32_t max_rows, int32_t n_heads, int32_t head_dim);
    size_t (*sample_work_bytes)(struct be *be, int32_t max_rows, int32_t vocab);
    int (*mark)(struct be *be, int slot);
    int (*wait)(struct be *be, int slot);
    int (*ready)(struct be *be, int slot);
    int (*graph_begin)(struct be *be, uint64_t key); /* NULL where info.graphs is 0 */
    int (*graph_end)(struct be *be, uint64_t key);
    void (*graph_only_record)(struct be *be, bool on);
    /* Fill op, call, info and priv of a lane whose root is set; on an error nothing is left. */
    int (*open_lane)(struct be *lane, struct err *e);
    int (*set_share)(struct be *be, int32_t share);      /* NULL where info.n_shares is 0 */
    int (*tune_begin)(struct be *be, const char *cache); /* NULL: there is nothing to choose */
    void (*tune_end)(struct be *be);
};

/* Both bodies of every op, and the checks that each makes first (opcheck.c). */
#define X(n)                                                                                       \
    int opcheck_##n(const struct op_##n *o);                                                       \
    int cpu_##n(struct be *be, const struct op_##n *o);                                            \
    int cuda_##n(struct be *be, const struct op_##n *o);
OP_LIST(X)
#undef X

#endif
