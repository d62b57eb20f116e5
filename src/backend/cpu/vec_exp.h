/* SPDX-License-Identifier: Apache-2.0 */
/* vec_exp.h - constants of the vector exp: e^x = 2^n * e^r, n = round(x / ln 2), |r| <= ln 2 / 2,
 * and e^r by its Taylor series to degree 7 (relative error below 6e-9, under one unit of f32). ln 2
 * is split into a high part with trailing zeros, so that n times it is exact, and a rest. */
#ifndef QUIRE_CPU_VEC_EXP_H
#define QUIRE_CPU_VEC_EXP_H

#define EXP_LOG2E 1.44269504088896341f
#define EXP_LN2_HI 0.693359375f
#define EXP_LN2_LO -2.12194440e-4f
#define EXP_MIN -87.33f /* below: 0 */
#define EXP_MAX 88.37f  /* above: as at this value, about 2.4e38 */
#define EXP_C2 (1.0f / 2)
#define EXP_C3 (1.0f / 6)
#define EXP_C4 (1.0f / 24)
#define EXP_C5 (1.0f / 120)
#define EXP_C6 (1.0f / 720)
#define EXP_C7 (1.0f / 5040)

#endif
