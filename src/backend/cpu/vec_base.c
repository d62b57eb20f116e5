/* SPDX-License-Identifier: Apache-2.0 */
/* vec_base.c - vec.h in plain C with four-lane vector types, for any processor; and the choice. */
#include "half.h"
#include "ops.h"
#include "vec.h"

#include <math.h>
#include <string.h>

typedef float vec4 __attribute__((vector_size(16), aligned(4), may_alias));

#define TGT
#define VEC vec4
#define W 4
#define ROWS 4
#define VZERO() ((vec4){0})
#define VSET1(x) set1_base(x)
#define VLOAD(p) (*(const vec4 *)(const void *)(p))
#define VSTORE(p, v) ((void)(*(vec4 *)(void *)(p) = (v)))
#define VADD(a, b) ((a) + (b))
#define VSUB(a, b) ((a) - (b))
#define VMUL(a, b) ((a) * (b))
#define VDIV(a, b) ((a) / (b))
#define VFMA(a, b, c) ((a) * (b) + (c))
#define VEXP exp_base
#define VLOAD_BF16(p)                                                                              \
    ((vec4){f32_of_bf16((p)[0]), f32_of_bf16((p)[1]), f32_of_bf16((p)[2]), f32_of_bf16((p)[3])})
#define VLOAD_F16(p)                                                                               \
    ((vec4){f32_of_f16((p)[0]), f32_of_f16((p)[1]), f32_of_f16((p)[2]), f32_of_f16((p)[3])})
#define VLOAD_U8(p) ((vec4){(p)[0], (p)[1], (p)[2], (p)[3]})
#define VLOAD_LO(p) ((vec4){(p)[0] & 15, (p)[1] & 15, (p)[2] & 15, (p)[3] & 15})
#define VLOAD_HI(p) ((vec4){(p)[0] >> 4, (p)[1] >> 4, (p)[2] >> 4, (p)[3] >> 4})

static inline vec4 set1_base(float x)
{
    return (vec4){x, x, x, x};
}

static inline vec4 exp_base(vec4 x)
{
    return (vec4){expf(x[0]), expf(x[1]), expf(x[2]), expf(x[3])};
}

#include "vec_body.h"

const struct vec_fns vec_base = {"base",       vec_tile,   vec_unpack, vec_row,
                                 vec_exp_tile, vec_silu16, vec_load,   vec_store};

const struct vec_fns *vec_named(const char *name)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (strcmp(name, "avx512") == 0)
        return avx512 ? &vec_avx512 : NULL;
    if (strcmp(name, "avx2") == 0)
        return avx2 ? &vec_avx2 : NULL;
#endif
    return strcmp(name, "base") == 0 ? &vec_base : NULL;
}

const struct vec_fns *vec_pick(void)
{
    const struct vec_fns *v = vec_named("avx512");
    if (!v)
        v = vec_named("avx2");
    return v ? v : &vec_base;
}
