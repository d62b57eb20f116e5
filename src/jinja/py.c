/* jinja_py.c - what Python thinks of values: truth, equality, order, membership, iteration.
 *
 * Nested containers are followed to JINJA_MAX_NEST levels at most.
 */
#include "jinja_val.h"

const char *jkind_name(struct jval v)
{
    static const char *const names[] = {
        [J_ABSENT] = "nothing",   [J_UNDEF] = "Undefined", [J_NONE] = "NoneType",
        [J_BOOL] = "bool",        [J_INT] = "int",         [J_FLOAT] = "float",
        [J_BIG] = "int",          [J_STR] = "str",         [J_LIST] = "list",
        [J_TUPLE] = "tuple",      [J_GEN] = "generator",   [J_VIEW] = "dict_items",
        [J_RANGE] = "range",      [J_DICT] = "dict",       [J_NS] = "Namespace",
        [J_LOOP] = "LoopContext", [J_MACRO] = "Macro",     [J_FUNC] = "function",
        [J_METHOD] = "method",    [J_CYCLER] = "Cycler",   [J_JOINER] = "Joiner"};
    return names[v.k];
}

bool jint_of(struct jval v, int64_t *i)
{
    if (v.k == J_INT)
        *i = v.i;
    else if (v.k == J_BOOL)
        *i = v.b;
    else
        return false;
    return true;
}

bool jnumber(struct jval v, double *f)
{
    if (v.k == J_INT)
        *f = (double)v.i;
    else if (v.k == J_BOOL)
        *f = v.b;
    else if (v.k == J_FLOAT)
        *f = v.f;
    else
        return false;
    return true;
}

bool jis_seq(struct jval v)
{
    return v.k == J_LIST || v.k == J_TUPLE || v.k == J_RANGE;
}

bool jiterable(struct jval v)
{
    switch (v.k) {
    case J_UNDEF:
    case J_STR:
    case J_LIST:
    case J_TUPLE:
    case J_GEN:
    case J_VIEW:
    case J_RANGE:
    case J_DICT:
    case J_LOOP:
        return true;
    default:
        return false;
    }
}

bool jtruth(struct jval v)
{
    switch (v.k) {
    case J_ABSENT:
    case J_UNDEF:
    case J_NONE:
        return false;
    case J_BOOL:
        return v.b;
    case J_INT:
        return v.i != 0;
    case J_FLOAT:
        return v.f != 0;
    case J_STR:
        return v.s->n != 0;
    case J_LIST:
    case J_TUPLE:
    case J_VIEW:
    case J_RANGE:
        return v.l->n != 0;
    case J_DICT:
        return v.d->n != 0;
    default:
        return true;
    }
}

static bool lists_equal(struct jrun *r, const struct jlist *a, const struct jlist *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!jequal(r, a->v[i], b->v[i]))
            return false;
    return true;
}

static bool dicts_equal(struct jrun *r, const struct jdict *a, const struct jdict *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        const struct jval *v = jdict_get(r, b, a->v[i].key);
        if (!v || !jequal(r, a->v[i].v, *v))
            return false;
    }
    return true;
}

static bool same_box(struct jrun *r, struct jval a, struct jval b)
{
    bool yes;
    if (a.l == b.l)
        return true;
    jenter(r);
    yes = a.k == J_DICT ? dicts_equal(r, a.d, b.d) : lists_equal(r, a.l, b.l);
    r->depth--;
    return yes;
}

bool jequal(struct jrun *r, struct jval a, struct jval b)
{
    double x, y;
    int64_t i, j;
    jcharge(r, 1);
    if (jint_of(a, &i) && jint_of(b, &j))
        return i == j;
    if (jnumber(a, &x) && jnumber(b, &y))
        return x == y;
    if (a.k != b.k)
        return false;
    switch (a.k) {
    case J_UNDEF:
    case J_NONE:
        return true;
    case J_STR:
        jcharge(r, a.s->n == b.s->n ? a.s->n / 64 : 0);
        return jstr_eq(a.s, b.s);
    case J_BIG:
        return jstr_eq(a.s, b.s);
    case J_VIEW:
    case J_LIST:
    case J_TUPLE:
    case J_RANGE:
    case J_DICT:
        return same_box(r, a, b);
    case J_FUNC:
        return a.func == b.func;
    default:
        return a.l == b.l; /* identity */
    }
}

static int compare_big(const struct jstr *a, const struct jstr *b)
{
    bool na = a->p[0] == '-', nb = b->p[0] == '-';
    int c;
    if (na != nb)
        return na ? -1 : 1;
    c = a->n != b->n ? (a->n < b->n ? -1 : 1) : memcmp(a->p, b->p, a->n);
    return na ? -c : c;
}

static int compare_lists(struct jrun *r, struct jval a, struct jval b, const char *op)
{
    uint32_t n = a.l->n < b.l->n ? a.l->n : b.l->n;
    int c = a.l->n < b.l->n ? -1 : a.l->n > b.l->n;
    jenter(r);
    for (uint32_t i = 0; i < n; i++)
        if (!jequal(r, a.l->v[i], b.l->v[i])) {
            c = jcompare(r, a.l->v[i], b.l->v[i], op);
            break;
        }
    r->depth--;
    return c;
}

int jcompare(struct jrun *r, struct jval a, struct jval b, const char *op)
{
    double x, y;
    int64_t i, j;
    jcharge(r, 1);
    if (a.k == J_UNDEF)
        jfail_undef(r, a);
    if (b.k == J_UNDEF)
        jfail_undef(r, b);
    if (jint_of(a, &i) && jint_of(b, &j))
        return i < j ? -1 : i > j;
    if (jnumber(a, &x) && jnumber(b, &y))
        return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
    if (a.k == J_STR && b.k == J_STR) {
        uint32_t n = a.s->n < b.s->n ? a.s->n : b.s->n;
        int c = memcmp(a.s->p, b.s->p, n); /* UTF-8 keeps the order of code points */
        jcharge(r, n / 64);
        return c ? c : a.s->n < b.s->n ? -1 : a.s->n > b.s->n;
    }
    if (a.k == b.k && (a.k == J_LIST || a.k == J_TUPLE))
        return compare_lists(r, a, b, op);
    if (a.k == J_BIG && b.k == J_BIG)
        return compare_big(a.s, b.s);
    if (a.k == J_BIG && jnumber(b, &y))
        return a.s->p[0] == '-' ? -1 : 1;
    if (b.k == J_BIG && jnumber(a, &x))
        return b.s->p[0] == '-' ? 1 : -1;
    jfail(r, "'%s' not supported between instances of '%s' and '%s'", op, jkind_name(a),
          jkind_name(b));
}

bool jcontains(struct jrun *r, struct jval box, struct jval item)
{
    const struct jlist *l;
    switch (box.k) {
    case J_STR:
        if (item.k != J_STR)
            jfail(r, "'in <string>' requires string as left operand, not %s", jkind_name(item));
        return jstr_find(r, box.s, item.s, 0) != SIZE_MAX;
    case J_DICT:
        if (item.k == J_LIST || item.k == J_DICT)
            jfail(r, "unhashable type: '%s'", jkind_name(item));
        return jdict_get(r, box.d, item) != NULL;
    default:
        if (!jiterable(box))
            jfail(r, "argument of type '%s' is not iterable", jkind_name(box));
        l = jiter(r, box);
        for (uint32_t i = 0; i < l->n; i++)
            if (jequal(r, l->v[i], item))
                return true;
        return false;
    }
}

int64_t jlength(struct jrun *r, struct jval v)
{
    switch (v.k) {
    case J_UNDEF:
        return 0;
    case J_STR:
        return jstr_chars(r, v.s);
    case J_LIST:
    case J_TUPLE:
    case J_VIEW:
    case J_RANGE:
        return v.l->n;
    case J_DICT:
        return v.d->n;
    case J_LOOP:
        return v.loop->items->n;
    default:
        return -1;
    }
}

struct jlist *jiter(struct jrun *r, struct jval v)
{
    struct jlist *l;
    switch (v.k) {
    case J_LIST:
    case J_TUPLE:
    case J_VIEW:
    case J_RANGE:
        return v.l;
    case J_GEN:
        l = jlist_new(r, 0);
        l->v = v.l->v ? v.l->v + v.l->at : NULL;
        l->n = l->cap = v.l->n - v.l->at;
        v.l->at = v.l->n;
        return l;
    case J_UNDEF:
        return jlist_new(r, 0);
    case J_STR:
        return jstr_char_list(r, v.s).l;
    case J_DICT:
        l = jlist_new(r, v.d->n);
        for (uint32_t i = 0; i < v.d->n; i++)
            jlist_add(r, l, v.d->v[i].key);
        return l;
    default:
        jfail(r, "'%s' object is not iterable", jkind_name(v));
    }
}
