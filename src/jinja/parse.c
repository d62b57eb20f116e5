/* SPDX-License-Identifier: Apache-2.0 */
/* parse.c - statements, and compiling a template as a whole.
 *
 * Runs once per template, in the loading thread; the result is immutable. Recursion over nested
 * blocks is bounded by JINJA_MAX_PARSE_DEPTH.
 */
#include "parse.h"

#include "call.h"
#include "str.h"
#include "token.h"
#include "utf8.h"

#include <stdio.h>
#include <stdlib.h>

enum { TEMPLATE_MEM = 512 << 20 };

void jinja_place(const struct jinja *t, uint32_t at, unsigned *line, unsigned *col)
{
    *line = 1;
    *col = 1;
    for (uint32_t i = 0; i < at && i < t->n; i++) {
        if (t->src[i] == '\n') {
            ++*line;
            *col = 1;
        } else if (((unsigned char)t->src[i] & 0xC0) != 0x80) {
            ++*col;
        }
    }
}

void jparse_fail(struct jparse *p, uint32_t at, const char *fmt, ...)
{
    char text[256];
    unsigned line, col;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    jinja_place(p->t, at, &line, &col);
    err_set(p->e, ST_TEMPLATE, "chat template %u:%u: %s", line, col, text);
    longjmp(p->jump, 1);
}

void *jparse_alloc(struct jparse *p, size_t n)
{
    void *m = arena_alloc(&p->t->mem, n);
    if (!m)
        jparse_fail(p, 0, "the template is too large");
    return m;
}

int32_t jinja_find_name(const struct jinja *t, const char *s, size_t n)
{
    for (int32_t i = 0; i < t->n_names; i++)
        if (t->names[i]->n == n && memcmp(t->names[i]->p, s, n) == 0)
            return i;
    return -1;
}

int32_t jparse_intern(struct jparse *p, const char *s, size_t n)
{
    struct jinja *t = p->t;
    int32_t id = jinja_find_name(t, s, n);
    struct jstr *v;
    if (id >= 0)
        return id;
    if (t->n_names == t->cap_names) {
        t->cap_names = t->cap_names ? t->cap_names * 2 : 32;
        t->names = xrealloc(t->names, (size_t)t->cap_names * sizeof *t->names);
        t->funcs = xrealloc(t->funcs, (size_t)t->cap_names * sizeof *t->funcs);
    }
    v = jstr_over(&t->mem, s, n, false);
    if (!v || t->n_names >= 4096) /* looked up one after the other: keep them few */
        jparse_fail(p, p->tok ? p->tok[p->i].at : 0, "too many names in the template");
    t->names[t->n_names] = v;
    t->funcs[t->n_names] = jfunc_find(s, n);
    return t->n_names++;
}

/* ---- statements ---- */

static void parse_body(struct jparse *p, struct jbody *out, const char *const *ends);

static void want_block_end(struct jparse *p)
{
    if (p->tok[p->i].kind != T_BLOCK_END)
        jparse_unexpected(p, "token 'end of statement block'");
    p->i++;
}

/* Statements until {% one of ends; the name is left as the current token. */
static void block(struct jparse *p, struct jbody *out, const char *const *ends)
{
    jparse_skip_op(p, ':');
    want_block_end(p);
    if (++p->depth > JINJA_MAX_PARSE_DEPTH)
        jparse_fail(p, p->tok[p->i].at, "blocks nest too deeply");
    parse_body(p, out, ends);
    p->depth--;
}

static void block_to(struct jparse *p, struct jbody *out, const char *end)
{
    const char *const ends[] = {end, NULL};
    block(p, out, ends);
    p->i++;
}

/* S_FOR: target a in b if c; body, other = else, flag = recursive. */
static struct jnode *parse_for(struct jparse *p)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    struct jnode *n = jparse_node(p, S_FOR);
    bool soft = p->soft;
    p->soft = false;
    p->i++;
    n->a = jparse_target(p, "in", false);
    if (!jparse_skip_name(p, "in"))
        jparse_unexpected(p, "token 'in'");
    n->b = jparse_tuple(p, false, "recursive", false);
    if (jparse_skip_name(p, "if"))
        n->c = jparse_expression(p, true);
    n->flag = jparse_skip_name(p, "recursive");
    p->loops++;
    block(p, &n->body, ends);
    p->loops--;
    if (jparse_is_name(p, "else")) {
        p->i++;
        block_to(p, &n->other, "endfor");
    } else {
        p->i++;
    }
    p->soft = soft;
    return n;
}

/* S_IF: if a body, else c (an elif, again S_IF) or other. */
static struct jnode *parse_if(struct jparse *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct jnode *first = jparse_node(p, S_IF), *n = first;
    bool soft = p->soft;
    p->soft = true;
    p->i++;
    for (;;) {
        n->a = jparse_tuple(p, false, NULL, false);
        block(p, &n->body, ends);
        if (!jparse_is_name(p, "elif"))
            break;
        n->c = jparse_node(p, S_IF);
        n = n->c;
        p->i++;
    }
    if (jparse_skip_name(p, "else"))
        block_to(p, &n->other, "endif");
    else
        p->i++;
    p->soft = soft;
    return first;
}

/* S_SET: a = b. S_SETBLOCK: a = body through the filters b (innermost takes the text). */
static struct jnode *parse_set(struct jparse *p)
{
    struct jnode *n = jparse_node(p, S_SET);
    p->i++;
    n->a = jparse_target(p, NULL, true);
    if (jparse_skip_op(p, '=')) {
        n->b = jparse_tuple(p, true, NULL, false);
        return n;
    }
    n->op = S_SETBLOCK;
    n->b = jparse_filters(p, NULL, false);
    block_to(p, &n->body, "endset");
    return n;
}

/* Parameters into kids (E_NAME; ->b = default) of a macro or call block. */
static void parse_signature(struct jparse *p, struct jnode *n)
{
    bool dflt = false;
    jparse_want_op(p, '(');
    while (!jparse_is_op(p, ')')) {
        struct jnode *arg;
        if (n->kids.n)
            jparse_want_op(p, ',');
        arg = jparse_name_target(p);
        if (jparse_skip_op(p, '=')) {
            arg->b = jparse_expression(p, true);
            dflt = true;
        } else if (dflt) {
            jparse_fail(p, arg->at, "non-default argument follows default argument");
        }
        jparse_push(p, &n->kids, arg);
    }
    jparse_want_op(p, ')');
}

static void macro_body(struct jparse *p, struct jnode *n, const char *end)
{
    uint32_t outer = p->uses;
    unsigned loops = p->loops;
    bool soft = p->soft;
    p->uses = 0;
    p->loops = 0;
    p->soft = false;
    block_to(p, &n->body, end);
    n->sub = (uint8_t)p->uses;
    p->uses = outer;
    p->loops = loops;
    p->soft = soft;
}

/* S_MACRO: name, kids = parameters, sub = USES_*. */
static struct jnode *parse_macro(struct jparse *p)
{
    struct jnode *n = jparse_node(p, S_MACRO);
    p->i++;
    n->name = jparse_name_target(p)->name;
    parse_signature(p, n);
    macro_body(p, n, "endmacro");
    return n;
}

/* S_CALL: like a macro named caller; a = the call that gets it. */
static struct jnode *parse_call_block(struct jparse *p)
{
    struct jnode *n = jparse_node(p, S_CALL);
    p->i++;
    n->name = p->t->id_caller;
    if (jparse_is_op(p, '('))
        parse_signature(p, n);
    n->a = jparse_expression(p, true);
    if (n->a->op != E_CALL)
        jparse_fail(p, n->at, "expected call");
    macro_body(p, n, "endcall");
    return n;
}

/* S_WITH: kids = targets, other = values. */
static struct jnode *parse_with(struct jparse *p)
{
    struct jnode *n = jparse_node(p, S_WITH);
    p->i++;
    while (p->tok[p->i].kind != T_BLOCK_END && !jparse_is_op(p, ':')) {
        struct jnode *t;
        if (n->kids.n)
            jparse_want_op(p, ',');
        if (p->tok[p->i].kind == T_EOF)
            jparse_unexpected(p, "token '='");
        t = jparse_target(p, NULL, false);
        jparse_push(p, &n->kids, t);
        jparse_want_op(p, '=');
        jparse_push(p, &n->other, jparse_expression(p, true));
    }
    block_to(p, &n->body, "endwith");
    return n;
}

static struct jnode *parse_filter_block(struct jparse *p)
{
    struct jnode *n = jparse_node(p, S_FILTER);
    p->i++;
    n->b = jparse_filters(p, NULL, true);
    block_to(p, &n->body, "endfilter");
    return n;
}

/* S_BLOCK: a named block renders in place; flag = scoped. */
static struct jnode *parse_block(struct jparse *p)
{
    struct jnode *n = jparse_node(p, S_BLOCK);
    const struct jtok *name = &p->tok[++p->i];
    bool soft = p->soft;
    unsigned loops = p->loops;
    if (name->kind != T_NAME)
        jparse_unexpected(p, "token 'name'");
    p->i++;
    p->soft = false;
    p->loops = 0;
    n->flag = jparse_skip_name(p, "scoped");
    jparse_skip_name(p, "required");
    block_to(p, &n->body, "endblock");
    if (p->tok[p->i].kind == T_NAME && p->tok[p->i].n == name->n &&
        memcmp(p->tok[p->i].p, name->p, name->n) == 0)
        p->i++;
    p->soft = soft;
    p->loops = loops;
    return n;
}

/* S_SCOPE: `generation` (marks what the assistant wrote; no output of its own) and autoescape. */
static struct jnode *parse_scope(struct jparse *p)
{
    struct jnode *n = jparse_node(p, S_SCOPE);
    if (jparse_skip_name(p, "generation")) {
        unsigned loops = p->loops;
        p->loops = 0;
        block_to(p, &n->body, "endgeneration");
        p->loops = loops;
        return n;
    }
    p->i++;
    n->a = jparse_expression(p, true);
    block_to(p, &n->body, "endautoescape");
    return n;
}

static struct jnode *parse_break(struct jparse *p)
{
    struct jnode *n = jparse_node(p, jparse_is_name(p, "break") ? S_BREAK : S_CONTINUE);
    if (!p->loops)
        jparse_fail(p, n->at, "'%s' outside loop", n->op == S_BREAK ? "break" : "continue");
    p->i++;
    return n;
}

/* S_OUT: kids. */
static struct jnode *parse_print(struct jparse *p)
{
    struct jnode *n = jparse_node(p, S_OUT);
    p->i++;
    while (p->tok[p->i].kind != T_BLOCK_END) {
        if (n->kids.n)
            jparse_want_op(p, ',');
        jparse_push(p, &n->kids, jparse_expression(p, true));
    }
    return n;
}

static const struct {
    const char *tag;
    struct jnode *(*parse)(struct jparse *p); /* NULL: refused */
} tags[] = {{"for", parse_for},
            {"if", parse_if},
            {"set", parse_set},
            {"macro", parse_macro},
            {"call", parse_call_block},
            {"with", parse_with},
            {"filter", parse_filter_block},
            {"block", parse_block},
            {"generation", parse_scope},
            {"autoescape", parse_scope},
            {"break", parse_break},
            {"continue", parse_break},
            {"print", parse_print},
            {"include", NULL},
            {"import", NULL},
            {"from", NULL},
            {"extends", NULL}};

static struct jnode *parse_statement(struct jparse *p)
{
    const struct jtok *t = &p->tok[p->i];
    if (t->kind != T_NAME)
        jparse_fail(p, t->at, "tag name expected");
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (jparse_is_name(p, tags[i].tag)) {
            if (!tags[i].parse)
                jparse_fail(p, t->at, "the tag '%s' is not supported: a chat template stands alone",
                            tags[i].tag);
            return tags[i].parse(p);
        }
    jparse_fail(p, t->at, "Encountered unknown tag '%.*s'.", t->n > 64 ? 64 : (int)t->n, t->p);
}

static bool at_end(const struct jparse *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (jparse_is_name(p, *ends))
            return true;
    return false;
}

static void parse_body(struct jparse *p, struct jbody *out, const char *const *ends)
{
    for (;;) {
        const struct jtok *t = &p->tok[p->i];
        struct jnode *n;
        switch (t->kind) {
        case T_DATA:
            n = jparse_node(p, S_DATA);
            n->val = jparse_string_val(p, t->p, t->n);
            p->i++;
            break;
        case T_VAR_BEGIN:
            p->i++;
            n = jparse_node(p, S_OUT);
            jparse_push(p, &n->kids, jparse_tuple(p, true, NULL, false));
            if (p->tok[p->i].kind != T_VAR_END)
                jparse_unexpected(p, "token 'end of print statement'");
            p->i++;
            break;
        case T_BLOCK_BEGIN:
            p->i++;
            if (at_end(p, ends))
                return;
            n = parse_statement(p);
            want_block_end(p);
            break;
        default:
            if (ends)
                jparse_fail(p, t->at,
                            "Unexpected end of template. Jinja was looking for the tag '%s'.",
                            ends[0]);
            return;
        }
        jparse_push(p, out, n);
    }
}

/* ---- the whole ---- */

/* Newlines become LF and one at the end goes, as Jinja does before anything else. */
static bool take_source(struct jinja *t, const char *src, size_t n)
{
    char *s = arena_alloc(&t->mem, n + 1);
    size_t k = 0;
    if (!s)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (src[i] == '\r') {
            s[k++] = '\n';
            i += i + 1 < n && src[i + 1] == '\n';
        } else {
            s[k++] = src[i];
        }
    }
    t->src = s;
    t->n = k && s[k - 1] == '\n' ? k - 1 : k;
    return true;
}

static int compile(struct jinja *t, struct err *e)
{
    struct jparse *p = xalloc(sizeof *p);
    p->t = t;
    p->e = e;
    if (setjmp(p->jump) == 0) {
        t->id_loop = jparse_intern(p, "loop", 4);
        t->id_caller = jparse_intern(p, "caller", 6);
        t->id_varargs = jparse_intern(p, "varargs", 7);
        t->id_kwargs = jparse_intern(p, "kwargs", 6);
        jlex(p);
        parse_body(p, &t->body, NULL);
        free(p->tok);
        free(p);
        return 0;
    }
    free(p->tok);
    free(p);
    return ST_TEMPLATE;
}

int jinja_compile(struct jinja **out, const char *src, size_t n, struct err *e)
{
    struct jinja *t;
    int st;
    *out = NULL;
    if (n > JINJA_MAX_SOURCE)
        return err_set(e, ST_TEMPLATE, "chat template: larger than %d bytes", JINJA_MAX_SOURCE);
    if (utf8_valid_prefix(src, n) != n)
        return err_set(e, ST_TEMPLATE, "chat template: not valid UTF-8");
    t = xalloc(sizeof *t);
    arena_init(&t->mem, TEMPLATE_MEM);
    st = take_source(t, src, n) ? compile(t, e) : err_set(e, ST_NOMEM, "chat template: no memory");
    if (st) {
        jinja_free(t);
        return st;
    }
    *out = t;
    return 0;
}

void jinja_free(struct jinja *j)
{
    if (!j)
        return;
    arena_free(&j->mem);
    free(j->names);
    free(j->funcs);
    free(j->strings);
    free(j);
}

bool jinja_mentions(const struct jinja *j, const char *s)
{
    for (uint32_t i = 0; i < j->n_strings; i++)
        if (jstr_is(j->strings[i], s))
            return true;
    return jinja_find_name(j, s, strlen(s)) >= 0;
}
