/* SPDX-License-Identifier: Apache-2.0 */
/* op_cases_maker.h - between the makers of random cases: buffers of a case, and drawn numbers. */
#ifndef QUIRE_OP_CASES_MAKER_H
#define QUIRE_OP_CASES_MAKER_H

#include "op_cases.h"

struct maker {
    struct op_case *c;
    struct case_rng rng;
    struct case_opts opts;
    int32_t dt, kv_dt;
};

#define AT(m, field) ((size_t)((char *)&(m)->c->o.field - (char *)(m)->c))
#define AT_BV(m, field) ((size_t)((char *)&(m)->c->bv.field - (char *)(m)->c))

/* A new buffer, for the pointer at offset `at` of the case; its index. */
int maker_add(struct maker *m, size_t at, const char *name, int32_t role, int32_t dt, size_t n);
/* With random numbers about N(0, scale). */
int maker_add_random(struct maker *m, size_t at, const char *name, int32_t role, int32_t dt,
                     size_t n, float scale);
int32_t *maker_ints(struct maker *m, int buf);
int32_t maker_pick(struct maker *m, const int32_t *v, int n);
#define PICK(m, ...)                                                                               \
    maker_pick(m, (const int32_t[]){__VA_ARGS__}, (int)(sizeof((int32_t[]){__VA_ARGS__}) / 4))

/* op_cases_draw.c */
struct sample_params maker_params(struct maker *m, int any_logprobs);
void make_adjust(struct maker *m);
void make_sample(struct maker *m);
void make_score(struct maker *m);

#endif
