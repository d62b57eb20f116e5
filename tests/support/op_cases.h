/* SPDX-License-Identifier: Apache-2.0 */
/* op_cases.h - random cases for every op, naive answers in double, and a rig that runs a case on a
 * backend.
 *
 * A case is made from a seed on the host; the same case runs on any backend (op_rig_run) or through
 * the naive reference (op_case_reference); op_result_compare says how far two results are apart.
 * The rig keeps guard zones around every buffer and checks that inputs stay untouched. One thread.
 */
#ifndef QUIRE_OP_CASES_H
#define QUIRE_OP_CASES_H

#include "backend.h"
#include "ops.h"
#include "step.h"

#include <stddef.h>
#include <stdint.h>

#define X(n) OP_##n,
enum op_id { OP_LIST(X) N_OPS };
#undef X
const char *op_name(enum op_id id);

enum case_role {
    CASE_IN,
    CASE_OUT,
    CASE_INOUT,
    CASE_WEIGHT, /* be_load_matrix, a gemm operand */
    CASE_TABLE,  /* be_load_matrix, row-major */
    CASE_ROWS,   /* a row-major matrix that nobody loaded: an input described by hand */
    CASE_USED,   /* an input that the op may overwrite */
    CASE_HOST,   /* input in be_alloc_host memory */
    CASE_WORK    /* scratch; sized by the backend at run time */
};
enum { CASE_INT = N_DTYPES, CASE_RAW, CASE_TOPS, CASE_MAX_BUFS = 24, CASE_MAX_REFS = 40 };

struct case_buf {
    const char *name;
    void *data; /* host contents in storage type; NULL for CASE_OUT and CASE_WORK */
    size_t n;   /* elements; bytes of CASE_RAW */
    int32_t dt; /* enum dtype, CASE_INT (int32), CASE_RAW (bytes) or CASE_TOPS (token_logprob) */
    int32_t role;
    int64_t n_rows, n_cols; /* of a matrix */
};

#define X(n) struct op_##n n;
union op_any {
    OP_LIST(X)
};
#undef X

struct op_case {
    enum op_id id;
    uint64_t seed;
    char text[160]; /* for messages: the shape */
    union op_any o; /* counts are set; pointers are filled in by the rig */
    struct batch bv;
    struct case_buf buf[CASE_MAX_BUFS];
    int n_bufs;
    struct {
        size_t at; /* byte offset of a pointer in struct op_case */
        int buf;
    } ref[CASE_MAX_REFS];
    int n_refs;
};

/* -1 (or 0 where a size) = drawn from the seed. */
struct case_opts {
    int32_t dt;       /* activations and weights */
    int32_t kv_dt;    /* the pool */
    int32_t head_dim; /* 0 = any multiple of 16 up to 256 */
    int32_t decode;   /* rows of one new token each */
    int32_t big;      /* 1: shapes of real models, slower */
    int32_t page_tokens;
    int32_t group;                /* query heads of a KV head */
    int32_t fixed_prefix, prefix; /* 1: every row has `prefix` cached tokens */
};
#define CASE_ANY ((struct case_opts){.dt = -1, .kv_dt = -1, .decode = -1})

void op_case_make(struct op_case *c, enum op_id id, uint64_t seed, struct case_opts opts);
void op_case_free(struct op_case *c);

/* Outputs as doubles (CASE_INT too), raw bytes beside them; NULL where not an output. */
struct op_result {
    double *val[CASE_MAX_BUFS];
    void *raw[CASE_MAX_BUFS];
    struct batch bv; /* counts, after step_inputs */
};
void op_result_free(struct op_result *r);

/* The naive answer. raw is set for CASE_RAW and CASE_TOPS only. */
void op_case_reference(const struct op_case *c, struct op_result *r);

struct op_rig {
    struct be *be;
    char *dev, *host;
    size_t dev_bytes, host_bytes;
};
/* 0, or the ST_* of be_open (then nothing is left). threads as in be_config. */
int op_rig_open(struct op_rig *r, int kind, int threads);
void op_rig_close(struct op_rig *r);
/* Run c; fails the cmocka test when a guard or an input was overwritten. Returns the op's status;
 * on 0 *out is filled. `id` may differ from c->id for attn_prefill against attn_decode. */
int op_rig_run(struct op_rig *r, const struct op_case *c, enum op_id id, struct op_result *out);

/* The largest |got - want| / (|want| + rms(want)) over all float outputs; infinity where ints,
 * NaNs, infinities or bytes differ, or an INOUT element changed that should not have. where (may be
 * NULL): description of the worst place, 200 bytes. */
double op_result_compare(const struct op_case *c, const struct op_result *got,
                         const struct op_result *want, char *where);
/* The largest ||got - want|| / ||want|| over the float outputs, what an op did not write left out
 * of both. */
double op_result_norm_error(const struct op_case *c, const struct op_result *got,
                            const struct op_result *want);
/* Every output bit equal. */
int op_result_same(const struct op_case *c, const struct op_result *a, const struct op_result *b);

/* Tolerance for op_result_compare with results of this case in its storage type. */
double op_case_tolerance(const struct op_case *c);

/* Deterministic randomness for tests. */
struct case_rng {
    uint64_t s;
};
uint64_t rng_next(struct case_rng *r);
int32_t rng_range(struct case_rng *r, int32_t lo, int32_t hi); /* inclusive */
float rng_unit(struct case_rng *r);                            /* [0, 1) */
float rng_normal(struct case_rng *r);                          /* about N(0, 1) */

double case_get(const void *p, int32_t dt, size_t i); /* dt: enum dtype or CASE_INT */
void case_set(void *p, int32_t dt, size_t i, double v);

#endif
