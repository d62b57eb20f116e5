/* SPDX-License-Identifier: Apache-2.0 */
/* method_box.c - methods of dicts, lists, numbers and cyclers, and the look-up of all
 * methods.
 *
 * What changes a list or dict is refused, as the immutable sandbox does.
 */
#include "method.h"

#include "call.h"
#include "py.h"
#include "str.h"

#define METHOD(name)                                                                               \
    static struct jv m_##name(struct jrun *r __attribute__((unused)),                              \
                              struct jv self __attribute__((unused)),                              \
                              struct jcall *c __attribute__((unused)))

static struct jv view(struct jrun *r, struct jv self, int what)
{
    struct jlist *l = jlist_new(r, self.d->n);
    struct jv v;
    for (uint32_t i = 0; i < self.d->n; i++)
        jlist_add(r, l,
                  what == VIEW_KEYS     ? self.d->v[i].key
                  : what == VIEW_VALUES ? self.d->v[i].v
                                        : jtuple2(r, self.d->v[i].key, self.d->v[i].v));
    v = jv_list(l, JV_VIEW);
    v.sub = (uint8_t)what;
    return v;
}
METHOD(items)
{
    jno_args(r, c, "items");
    return view(r, self, VIEW_ITEMS);
}
METHOD(keys)
{
    jno_args(r, c, "keys");
    return view(r, self, VIEW_KEYS);
}
METHOD(values)
{
    jno_args(r, c, "values");
    return view(r, self, VIEW_VALUES);
}
METHOD(get)
{
    const struct jv *v;
    if (c->n_kw || c->n_pos < 1 || c->n_pos > 2)
        jfail(r, "get() takes one or two arguments");
    v = jdict_get(r, self.d, c->pos[0]);
    return v ? *v : c->n_pos == 2 ? c->pos[1] : jv_none();
}
METHOD(copy_dict)
{
    struct jdict *d = jdict_new(r, self.d->n);
    jno_args(r, c, "copy");
    for (uint32_t i = 0; i < self.d->n; i++)
        jdict_set(r, d, self.d->v[i].key, self.d->v[i].v);
    return (struct jv){.k = JV_DICT, .d = d};
}
METHOD(copy_list)
{
    jno_args(r, c, "copy");
    return self; /* nobody can write either of them */
}
METHOD(index_list)
{
    if (c->n_pos < 1)
        jfail(r, "index() takes at least one argument");
    for (uint32_t i = 0; i < self.l->n; i++)
        if (jequal(r, self.l->v[i], c->pos[0]))
            return jv_int(i);
    jfail(r, "the value is not in the list");
}
METHOD(count_list)
{
    int64_t n = 0;
    if (c->n_pos != 1)
        jfail(r, "count() takes exactly one argument");
    for (uint32_t i = 0; i < self.l->n; i++)
        n += jequal(r, self.l->v[i], c->pos[0]);
    return jv_int(n);
}
METHOD(is_integer)
{
    return jv_bool(self.k == JV_INT || (self.f == (double)(int64_t)self.f));
}
METHOD(next)
{
    struct jv v = self.cycle->items->v[self.cycle->at];
    self.cycle->at = (self.cycle->at + 1) % self.cycle->items->n;
    jno_args(r, c, "next");
    return v;
}
METHOD(reset)
{
    self.cycle->at = 0;
    jno_args(r, c, "reset");
    return jv_none();
}

static const struct jmethod dict_methods[] = {
    {"items", m_items},    {"keys", m_keys},   {"values", m_values}, {"get", m_get},
    {"copy", m_copy_dict}, {"fromkeys", NULL}, {NULL, NULL}};
static const struct jmethod list_methods[] = {
    {"index", m_index_list}, {"count", m_count_list}, {"copy", m_copy_list}, {NULL, NULL}};
static const struct jmethod float_methods[] = {{"is_integer", m_is_integer}, {NULL, NULL}};
static const struct jmethod cycler_methods[] = {{"next", m_next}, {"reset", m_reset}, {NULL, NULL}};

static const char *const list_changes[] = {"append", "clear",  "pop",    "reverse", "insert",
                                           "sort",   "extend", "remove", NULL};
static const char *const dict_changes[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};

static bool listed(const char *const *names, const struct jstr *name)
{
    for (; *names; names++)
        if (jstr_is(name, *names))
            return true;
    return false;
}

const struct jmethod *jmethod_find(struct jv self, const struct jstr *name, bool *mutates)
{
    const struct jmethod *m = NULL;
    switch (self.k) {
    case JV_STR:
        m = jmethods_str;
        break;
    case JV_DICT:
        m = dict_methods;
        *mutates = listed(dict_changes, name);
        break;
    case JV_LIST:
        m = list_methods;
        *mutates = listed(list_changes, name);
        break;
    case JV_TUPLE:
    case JV_RANGE:
        m = list_methods;
        if (jstr_is(name, "copy"))
            return NULL;
        break;
    case JV_FLOAT:
        m = float_methods;
        break;
    case JV_CYCLER:
        m = cycler_methods;
        break;
    default:
        return NULL;
    }
    for (; m->name; m++)
        if (jstr_is(name, m->name))
            return m;
    return NULL;
}
