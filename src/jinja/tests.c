/* SPDX-License-Identifier: Apache-2.0 */
/* tests.c - the `is` tests. */
#include "filter.h"

#include "call.h"
#include "case.h"
#include "operators.h"
#include "py.h"
#include "repr.h"
#include "str.h"
#include <math.h>

#define TEST(name)                                                                                 \
    static bool test_##name(struct jrun *r __attribute__((unused)),                                \
                            struct jv v __attribute__((unused)),                                   \
                            struct jcall *c __attribute__((unused)))

TEST(defined)
{
    return v.k != JV_UNDEF;
}
TEST(undefined)
{
    return v.k == JV_UNDEF;
}
TEST(none)
{
    return v.k == JV_NONE;
}
TEST(string)
{
    return v.k == JV_STR;
}
TEST(mapping)
{
    return v.k == JV_DICT;
}
TEST(iterable)
{
    return jiterable(v);
}
TEST(sequence)
{
    return v.k == JV_UNDEF || v.k == JV_STR || v.k == JV_DICT || jis_seq(v);
}
TEST(number)
{
    return v.k == JV_INT || v.k == JV_FLOAT || v.k == JV_BOOL || v.k == JV_BIG;
}
TEST(integer)
{
    return v.k == JV_INT || v.k == JV_BIG;
}
TEST(float)
{
    return v.k == JV_FLOAT;
}
TEST(boolean)
{
    return v.k == JV_BOOL;
}
TEST(true)
{
    return v.k == JV_BOOL && v.b;
}
TEST(false)
{
    return v.k == JV_BOOL && !v.b;
}
TEST(callable)
{
    return v.k == JV_FUNC || v.k == JV_METHOD || v.k == JV_MACRO || v.k == JV_UNDEF ||
           v.k == JV_LOOP || v.k == JV_JOINER;
}
TEST(escaped)
{
    return v.k == JV_STR && v.sub;
}

static int64_t remainder_of(struct jrun *r, struct jv v, int64_t by)
{
    struct jv m;
    if (v.k == JV_BIG)
        return (v.s->p[v.s->n - 1] - '0') % by; /* by is 2 */
    m = jarith(r, '%', v, jv_int(by));
    if (m.k == JV_STR)
        jfail(r, "a number was expected");
    return m.k == JV_INT ? m.i : m.f != 0;
}
TEST(even)
{
    return remainder_of(r, v, 2) == 0;
}
TEST(odd)
{
    return v.k == JV_FLOAT ? fmod(fabs(v.f), 2) == 1 : remainder_of(r, v, 2) == 1;
}
TEST(divisibleby)
{
    struct jv m = jarith(r, '%', v, c->pos[0]);
    return !jtruth(m);
}

TEST(lower)
{
    return jstr_is_class(r, jstr_of(r, v).s, CLASS_LOWER);
}
TEST(upper)
{
    return jstr_is_class(r, jstr_of(r, v).s, CLASS_UPPER);
}

TEST(eq)
{
    return jequal(r, v, c->pos[0]);
}
TEST(ne)
{
    return !jequal(r, v, c->pos[0]);
}
TEST(lt)
{
    return jcompare(r, v, c->pos[0], "<") < 0;
}
TEST(le)
{
    return jcompare(r, v, c->pos[0], "<=") <= 0;
}
TEST(gt)
{
    int k = jcompare(r, v, c->pos[0], ">");
    return k > 0 && k != 2;
}
TEST(ge)
{
    int k = jcompare(r, v, c->pos[0], ">=");
    return k >= 0 && k != 2;
}
TEST(in)
{
    return jcontains(r, c->pos[0], v);
}
TEST(sameas)
{
    struct jv o = c->pos[0];
    if (v.k != o.k)
        return false;
    switch (v.k) {
    case JV_NONE:
        return true;
    case JV_BOOL:
        return v.b == o.b;
    case JV_INT:
        return v.i == o.i && v.i >= -5 && v.i <= 256; /* the integers that CPython shares */
    case JV_STR:
        return v.s == o.s || (jstr_eq(v.s, o.s) && v.s->n < 2);
    default:
        return v.l == o.l;
    }
}
TEST(filter)
{
    const struct jstr *s = jarg_str(r, v, "filter name");
    return jfilter_find(s->p, s->n) != NULL;
}
TEST(test)
{
    const struct jstr *s = jarg_str(r, v, "test name");
    return jtest_find(s->p, s->n) != NULL;
}

static const struct jtest tests[] = {{"defined", test_defined, 0},
                                     {"undefined", test_undefined, 0},
                                     {"none", test_none, 0},
                                     {"string", test_string, 0},
                                     {"mapping", test_mapping, 0},
                                     {"iterable", test_iterable, 0},
                                     {"sequence", test_sequence, 0},
                                     {"number", test_number, 0},
                                     {"integer", test_integer, 0},
                                     {"float", test_float, 0},
                                     {"boolean", test_boolean, 0},
                                     {"true", test_true, 0},
                                     {"false", test_false, 0},
                                     {"callable", test_callable, 0},
                                     {"escaped", test_escaped, 0},
                                     {"even", test_even, 0},
                                     {"odd", test_odd, 0},
                                     {"divisibleby", test_divisibleby, 1},
                                     {"lower", test_lower, 0},
                                     {"upper", test_upper, 0},
                                     {"eq", test_eq, 1},
                                     {"==", test_eq, 1},
                                     {"equalto", test_eq, 1},
                                     {"ne", test_ne, 1},
                                     {"!=", test_ne, 1},
                                     {"lt", test_lt, 1},
                                     {"<", test_lt, 1},
                                     {"lessthan", test_lt, 1},
                                     {"le", test_le, 1},
                                     {"<=", test_le, 1},
                                     {"gt", test_gt, 1},
                                     {">", test_gt, 1},
                                     {"greaterthan", test_gt, 1},
                                     {"ge", test_ge, 1},
                                     {">=", test_ge, 1},
                                     {"in", test_in, 1},
                                     {"sameas", test_sameas, 1},
                                     {"filter", test_filter, 0},
                                     {"test", test_test, 0}};

const struct jtest *jtest_find(const char *p, size_t n)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (strlen(tests[i].name) == n && memcmp(tests[i].name, p, n) == 0)
            return &tests[i];
    return NULL;
}
