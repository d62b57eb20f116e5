/* SPDX-License-Identifier: Apache-2.0 */
/* exec.c - statements: output, loops, assignment, macros; and one rendering as a whole.
 *
 * Scopes follow Jinja: a loop body, a macro, a with or filter block has its own; an if does not. A
 * rendering owns one arena; every failure jumps back to jinja_render, which frees it.
 */
#include "eval.h"

#include "call.h"
#include "filter.h"
#include "method.h"
#include "operators.h"
#include "py.h"
#include "repr.h"
#include "str.h"
#include "utf8.h"

#include <stdlib.h>

static struct jscope *push(struct jrun *r, struct jscope *up)
{
    struct jscope *s = jalloc(r, sizeof *s);
    s->up = up;
    r->scope = s;
    return s;
}

/* Run a body with its output caught. */
static struct jv capture(struct jrun *r, const struct jbody *body)
{
    struct jsb b, *outer = r->out;
    jsb_init(&b, r);
    r->out = &b;
    jexec(r, body);
    r->out = outer;
    return jsb_val(&b);
}

static struct jv apply_filters(struct jrun *r, const struct jnode *f, struct jv v)
{
    struct jcall c;
    if (!f)
        return v;
    jenter(r);
    v = apply_filters(r, f->a, v);
    r->depth--;
    r->at = f->at;
    if (!f->filter)
        jfail(r, "No filter named '%.*s' found.", (int)(f->val.s->n % 65), f->val.s->p);
    jeval_args(r, f->args, &c);
    /* The result may keep arguments, which are in the arena, not the call itself (val.h). */
    /* cppcheck-suppress returnDanglingLifetime */
    return f->filter->fn(r, v, &c);
}

/* ---- loops ---- */

static struct jlist *filtered(struct jrun *r, const struct jnode *n, struct jlist *in)
{
    struct jscope *outer = r->scope;
    struct jlist *out = jlist_new(r, 0);
    for (uint32_t i = 0; i < in->n; i++) {
        push(r, outer);
        jassign(r, n->a, in->v[i]);
        if (jtruth(jeval(r, n->c)))
            jlist_add(r, out, in->v[i]);
    }
    r->scope = outer;
    return out;
}

static void run_loop(struct jrun *r, const struct jnode *n, struct jv over, struct jscope *outer,
                     uint32_t depth0)
{
    struct jscope *saved = r->scope;
    struct jloop *loop = jalloc(r, sizeof *loop);
    struct jlist *items;
    r->scope = outer;
    items = jiter(r, over);
    if (n->c)
        items = filtered(r, n, items);
    *loop = (struct jloop){
        .items = items, .depth0 = depth0, .node = n, .outer = outer, .recursive = n->flag};
    for (loop->at = 0; loop->at < items->n; loop->at++) {
        struct jscope *s = push(r, outer);
        jcharge(r, 1);
        jscope_set(r, s, r->t->id_loop, (struct jv){.k = JV_LOOP, .loop = loop});
        jassign(r, n->a, items->v[loop->at]);
        if (jexec(r, &n->body) == FLOW_BREAK)
            break;
    }
    r->scope = outer;
    if (items->n == 0 && n->other.n) {
        push(r, outer);
        jexec(r, &n->other);
    }
    r->scope = saved;
}

struct jv jcall_loop(struct jrun *r, struct jloop *l, struct jcall *c)
{
    struct jsb b, *outer = r->out;
    if (!l->recursive)
        jfail(r, "The loop must have the 'recursive' marker to be called recursively.");
    if (c->n_pos != 1 || c->n_kw)
        jfail(r, "loop() takes one argument");
    jenter(r);
    jsb_init(&b, r);
    r->out = &b;
    run_loop(r, l->node, c->pos[0], l->outer, l->depth0 + 1);
    r->out = outer;
    r->depth--;
    return jsb_val(&b);
}

static struct jv loop_cycle(struct jrun *r, struct jv self, struct jcall *c)
{
    if (c->n_kw || !c->n_pos)
        jfail(r, "no items for cycling given");
    return c->pos[self.loop->at % c->n_pos];
}

static struct jv loop_changed(struct jrun *r, struct jv self, struct jcall *c)
{
    struct jlist *l = jlist_new(r, c->n_pos);
    struct jv now, before = self.loop->last;
    for (uint32_t i = 0; i < c->n_pos; i++)
        jlist_add(r, l, c->pos[i]);
    now = jv_list(l, JV_TUPLE);
    if (before.k == JV_TUPLE && jequal(r, before, now))
        return jv_bool(false);
    self.loop->last = now;
    return jv_bool(true);
}

struct jv jloop_attr(struct jrun *r, struct jloop *l, const struct jstr *name)
{
    static const struct jmethod methods[] = {{"cycle", loop_cycle}, {"changed", loop_changed}};
    static const char *const counts[] = {"index",  "index0", "revindex", "revindex0",
                                         "length", "depth",  "depth0"};
    const int64_t n = l->items->n, at = l->at;
    const int64_t values[] = {at + 1, at, n - at, n - at - 1, n, l->depth0 + 1, l->depth0};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (jstr_is(name, counts[i]))
            return jv_int(values[i]);
    if (jstr_is(name, "first"))
        return jv_bool(at == 0);
    if (jstr_is(name, "last"))
        return jv_bool(at + 1 == n);
    if (jstr_is(name, "previtem"))
        return at ? l->items->v[at - 1] : jundef_name(r, NULL);
    if (jstr_is(name, "nextitem"))
        return at + 1 < n ? l->items->v[at + 1] : jundef_name(r, NULL);
    for (size_t i = 0; i < 2; i++)
        if (jstr_is(name, methods[i].name)) {
            struct jbound *b = jalloc(r, sizeof *b);
            *b = (struct jbound){{.k = JV_LOOP, .loop = l}, &methods[i]};
            return (struct jv){.k = JV_METHOD, .bound = b};
        }
    return (struct jv){0};
}

/* ---- macros ---- */

static struct jv macro_value(struct jrun *r, const struct jnode *n)
{
    struct jmacro *m = jalloc(r, sizeof *m);
    *m = (struct jmacro){n, r->scope};
    return (struct jv){.k = JV_MACRO, .macro = m};
}

/* Keyword arguments: each to its parameter, `caller`, or the rest for `kwargs`. */
static void macro_keywords(struct jrun *r, const struct jnode *n, const struct jcall *c,
                           struct jscope *s)
{
    struct jdict *rest = NULL;
    if (n->sub & USES_KWARGS) {
        rest = jdict_new(r, 0);
        jscope_set(r, s, r->t->id_kwargs, (struct jv){.k = JV_DICT, .d = rest});
    }
    for (uint32_t k = 0; k < c->n_kw; k++) {
        uint32_t i = 0;
        while (i < n->kids.n && !jstr_eq(r->t->names[n->kids.v[i]->name], c->kw[k].name))
            i++;
        if (i < c->n_pos && i < n->kids.n)
            jfail(r, "macro got multiple values for argument '%.*s'", (int)(c->kw[k].name->n % 65),
                  c->kw[k].name->p);
        if (i < n->kids.n)
            jscope_set(r, s, n->kids.v[i]->name, c->kw[k].v);
        else if ((n->sub & USES_CALLER) && jstr_is(c->kw[k].name, "caller"))
            jscope_set(r, s, r->t->id_caller, c->kw[k].v);
        else if (rest)
            jdict_set(r, rest, jv_str(c->kw[k].name), c->kw[k].v);
        else
            jfail(r, "macro takes no keyword argument '%.*s'", (int)(c->kw[k].name->n % 65),
                  c->kw[k].name->p);
    }
}

static void macro_args(struct jrun *r, const struct jnode *n, const struct jcall *c,
                       struct jscope *s)
{
    uint32_t k = c->n_pos < n->kids.n ? c->n_pos : n->kids.n;
    for (uint32_t i = 0; i < k; i++)
        jscope_set(r, s, n->kids.v[i]->name, c->pos[i]);
    macro_keywords(r, n, c, s);
    if (n->sub & USES_VARARGS) {
        struct jlist *l = jlist_new(r, 0);
        for (uint32_t i = k; i < c->n_pos; i++)
            jlist_add(r, l, c->pos[i]);
        jscope_set(r, s, r->t->id_varargs, jv_list(l, JV_TUPLE));
    } else if (c->n_pos > n->kids.n) {
        jfail(r, "macro takes not more than %u argument(s)", n->kids.n);
    }
    for (uint32_t i = k; i < n->kids.n; i++) {
        const struct jnode *arg = n->kids.v[i];
        bool given = false;
        for (uint32_t j = 0; j < s->n; j++)
            given |= s->v[j].id == arg->name;
        if (!given)
            jscope_set(r, s, arg->name,
                       arg->b ? jeval(r, arg->b) : jundef_name(r, r->t->names[arg->name]));
    }
}

struct jv jcall_macro(struct jrun *r, const struct jmacro *m, struct jcall *c)
{
    struct jscope *saved = r->scope;
    struct jv v;
    jenter(r);
    macro_args(r, m->node, c, push(r, m->scope));
    v = capture(r, &m->node->body);
    r->scope = saved;
    r->depth--;
    return v;
}

static void exec_call_block(struct jrun *r, const struct jnode *n)
{
    struct jv fn = jeval(r, n->a->a);
    struct jcall c;
    struct jkw *kw;
    jeval_args(r, n->a->args, &c);
    kw = jalloc2(r, (size_t)c.n_kw + 1, sizeof *kw);
    if (c.n_kw)
        memcpy(kw, c.kw, c.n_kw * sizeof *kw);
    kw[c.n_kw++] = (struct jkw){r->t->names[r->t->id_caller], macro_value(r, n)};
    c.kw = kw;
    r->at = n->at;
    jput_str(r->out, jcall_value(r, fn, &c));
}

/* ---- the other statements ---- */

static void exec_set(struct jrun *r, const struct jnode *n)
{
    struct jscope *saved = r->scope;
    struct jv v;
    if (n->op == S_SET) {
        v = jeval(r, n->b);
    } else {
        push(r, saved);
        v = capture(r, &n->body);
        r->scope = saved;
        v = apply_filters(r, n->b, v);
    }
    jassign(r, n->a, v);
}

static enum jflow exec_scope(struct jrun *r, const struct jnode *n)
{
    struct jscope *saved = r->scope, *inner;
    enum jflow flow;
    if (n->op == S_SCOPE && n->a && jtruth(jeval(r, n->a)))
        jfail(r, "autoescape is not supported");
    inner = push(r, n->op == S_BLOCK && !n->flag ? NULL : saved);
    if (n->op == S_WITH) {
        r->scope = saved; /* values do not see each other's names */
        for (uint32_t i = 0; i < n->kids.n; i++) {
            struct jv v = jeval(r, n->other.v[i]);
            r->scope = inner;
            jassign(r, n->kids.v[i], v);
            r->scope = saved;
        }
        r->scope = inner;
    }
    flow = jexec(r, &n->body);
    r->scope = saved;
    return flow;
}

static enum jflow exec_if(struct jrun *r, const struct jnode *n)
{
    for (; n; n = n->c) {
        if (jtruth(jeval(r, n->a)))
            return jexec(r, &n->body);
        if (!n->c)
            return jexec(r, &n->other);
    }
    return FLOW_NEXT;
}

static enum jflow exec_one(struct jrun *r, const struct jnode *n)
{
    struct jscope *saved = r->scope;
    r->at = n->at;
    jcharge(r, 1);
    switch (n->op) {
    case S_DATA:
        jsb_str(r->out, n->val.s);
        return FLOW_NEXT;
    case S_OUT:
        for (uint32_t i = 0; i < n->kids.n; i++)
            jput_str(r->out, jeval(r, n->kids.v[i]));
        return FLOW_NEXT;
    case S_IF:
        return exec_if(r, n);
    case S_FOR:
        run_loop(r, n, jeval(r, n->b), r->scope, 0);
        return FLOW_NEXT;
    case S_SET:
    case S_SETBLOCK:
        exec_set(r, n);
        return FLOW_NEXT;
    case S_MACRO:
        jscope_set(r, r->scope, n->name, macro_value(r, n));
        return FLOW_NEXT;
    case S_CALL:
        exec_call_block(r, n);
        return FLOW_NEXT;
    case S_FILTER: {
        struct jv v;
        push(r, saved);
        v = capture(r, &n->body);
        r->scope = saved;
        jput_str(r->out, apply_filters(r, n->b, v));
        return FLOW_NEXT;
    }
    case S_BREAK:
        return FLOW_BREAK;
    case S_CONTINUE:
        return FLOW_CONTINUE;
    default:
        return exec_scope(r, n);
    }
}

enum jflow jexec(struct jrun *r, const struct jbody *b)
{
    enum jflow flow = FLOW_NEXT;
    jenter(r);
    for (uint32_t i = 0; i < b->n && flow == FLOW_NEXT; i++)
        flow = exec_one(r, b->v[i]);
    r->depth--;
    return flow;
}

/* ---- one rendering ---- */

static void fill_top(struct jrun *r, const struct jinja_input *in)
{
    const struct jinja *t = r->t;
    const struct json *root = in->doc->v;
    struct jv vars;
    r->top = jalloc2(r, (size_t)t->n_names + 1, sizeof *r->top);
    for (int i = 0; i < in->n_vars; i++) {
        int32_t id = jinja_find_name(t, in->vars[i].name, strlen(in->vars[i].name));
        const struct view *s = &in->vars[i].text;
        if (id >= 0)
            r->top[id] = s->p ? jstr_val(r, s->p, s->n, false) : jv_none();
    }
    if (root->type != JSON_OBJ) {
        err_set(r->e, ST_INVALID_TYPE, "template variables: not a JSON object");
        longjmp(r->jump, 3);
    }
    vars = jv_of_json(r, in->doc, root);
    for (uint32_t i = 0; i < vars.d->n; i++) {
        const struct jstr *k = vars.d->v[i].key.s;
        int32_t id = jinja_find_name(t, k->p, k->n);
        jcharge(r, (uint64_t)t->n_names / 16);
        if (id >= 0)
            r->top[id] = vars.d->v[i].v;
    }
}

static void deliver(const struct jsb *b, struct buf *out, struct spans *spans)
{
    size_t base = out->n;
    size_t good = b->n ? utf8_valid_prefix(b->p, b->n) : 0;
    if (good == b->n)
        buf_add(out, b->p, b->n);
    else /* a literal with \ud800: bytes of a surrogate, as many bytes as U+FFFD */
        for (size_t i = 0; i < b->n;) {
            int k = utf8_check((const unsigned char *)b->p + i, b->n - i);
            buf_add(out, k > 0 ? b->p + i : "\xEF\xBF\xBD", k > 0 ? (size_t)k : 3);
            i += k > 0 ? (size_t)k : 3;
        }
    for (uint32_t i = 0; spans && i < b->n_seg; i++)
        spans_add(spans, base + b->seg[i].begin, base + b->seg[i].end);
}

int jinja_render(const struct jinja *j, const struct jinja_input *in, struct buf *out,
                 struct spans *spans, struct err *e)
{
    static const int status[] = {0, ST_TEMPLATE, ST_INVALID_JSON, ST_INVALID_TYPE};
    struct jrun *r = xalloc(sizeof *r);
    int how;
    arena_init(&r->mem, in->max_mem);
    r->t = j;
    r->e = e;
    r->steps = in->max_steps;
    r->now = in->now_unix_s;
    how = setjmp(r->jump);
    if (how == 0) {
        struct jsb b;
        jsb_init(&b, r);
        b.limit = in->max_out ? in->max_out : 1;
        fill_top(r, in);
        r->out = &b;
        jexec(r, &j->body);
        deliver(&b, out, spans);
    }
    int st = status[how];
    if (st && r->mem.oom) /* not the template's doing */
        st = err_set(e, ST_NOMEM, "Out of memory.");
    arena_free(&r->mem);
    free(r);
    return st;
}
