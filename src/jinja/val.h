/* SPDX-License-Identifier: Apache-2.0 */
/* val.h - values of the template language and the state of one rendering. Private to jinja/.
 *
 * Everything a rendering makes lives in its arena (struct jrun.mem) and goes with it; constants
 * live in the template's arena and are never written after compilation. A failure leaves through
 * jfail, which jumps to jinja_render: nothing but the arena is held in between.
 *
 * A struct jcall stands on the caller's stack, its arguments in the arena: a filter, test or
 * function may keep the values it is given, never the struct jcall pointer.
 */
#ifndef QUIRE_JINJA_VAL_H
#define QUIRE_JINJA_VAL_H

#include "jinja.h"

#include <setjmp.h>
#include <string.h>

enum jkind {
    JV_ABSENT, /* no value at all: an argument that was not given, a free slot */
    JV_UNDEF,
    JV_NONE,
    JV_BOOL,
    JV_INT,
    JV_FLOAT,
    JV_BIG, /* an integer beyond 64 bits: its decimal digits as a string */
    JV_STR,
    JV_LIST,
    JV_TUPLE,
    JV_GEN,   /* an iterator: used up by reading */
    JV_VIEW,  /* dict.items(), keys(), values(); sub says which */
    JV_RANGE, /* range(): a list that prints differently */
    JV_DICT,
    JV_NS, /* namespace(): a dict that `set ns.x` may write */
    JV_LOOP,
    JV_MACRO,
    JV_FUNC,   /* a global function */
    JV_METHOD, /* a method with the value it belongs to */
    JV_CYCLER,
    JV_JOINER
};
enum { VIEW_ITEMS, VIEW_KEYS, VIEW_VALUES };

struct jv {
    uint8_t k;   /* enum jkind */
    uint8_t sub; /* JV_VIEW: VIEW_*; JV_TUPLE: 1 = groupby's pair; JV_STR: 1 = Markup */
    union {
        bool b;
        int64_t i;
        double f;
        const struct jstr *s;
        struct jlist *l;
        struct jdict *d;
        const struct jundef *u;
        struct jloop *loop;
        struct jmacro *macro;
        const struct jfunc *func;
        struct jbound *bound;
        struct jcycle *cycle;
    };
};

/* A string: valid UTF-8 (a literal may hold surrogates). Which bytes are the caller's: none, all,
 * or the segments. */
enum { TAINT_NONE, TAINT_ALL, TAINT_SOME };
struct jseg {
    uint32_t begin, end;
};
struct jstr {
    const char *p;
    uint32_t n;
    uint8_t taint, ascii;
    uint32_t n_seg;
    const struct jseg *seg;
};
struct jlist {
    struct jv *v;
    uint32_t n, cap, at; /* at: how far a JV_GEN has been read */
    int64_t r[3];        /* JV_RANGE: start, stop, step */
};
struct jpair {
    struct jv key, v;
};
struct jdict {
    struct jpair *v;
    uint32_t n, cap;
    uint32_t *slot; /* hash index of n_slot entries (index + 1), or NULL when small */
    uint32_t n_slot;
};
struct jundef {
    const char *what;        /* the kind of object that lacks it, NULL = a variable */
    const struct jstr *name; /* NULL with what: an index */
    const char *refused;     /* not NULL: the sandbox's refusal */
    int64_t index;
};
struct jcycle {
    struct jlist *items; /* cycler: its items; joiner: one string */
    uint32_t at;
};

struct jnode;
struct jscope {
    struct jscope *up;
    uint32_t n, cap;
    struct jslot *v;
};
struct jslot {
    int32_t id;
    struct jv v;
};
struct jloop {
    struct jlist *items;
    uint32_t at, depth0;
    const struct jnode *node; /* the for statement: loop(...) runs it again */
    struct jscope *outer;
    struct jv last; /* changed() */
    bool recursive;
};
struct jmacro {
    const struct jnode *node;
    struct jscope *scope; /* where it was defined */
};
struct jkw {
    const struct jstr *name;
    struct jv v;
};
struct jcall {
    struct jv *pos;
    uint32_t n_pos, n_kw;
    struct jkw *kw;
};
struct jbound {
    struct jv self;
    const struct jmethod *m;
};

struct jrun {
    jmp_buf jump;
    struct arena mem;
    const struct jinja *t;
    uint32_t at; /* offset in the source, for messages */
    struct jv *top;
    struct jscope *scope; /* NULL = the template's top level */
    struct jsb *out;
    uint64_t steps; /* left */
    uint32_t depth;
    uint32_t loop_depth;
    int64_t now;
    struct err *e;
};

enum { JINJA_MAX_DEPTH = 1500, JINJA_MAX_NEST = 200, JINJA_MAX_RANGE = 100000 };

_Noreturn void jfail(struct jrun *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The template's own refusal: its text alone. */
_Noreturn void jfail_raise(struct jrun *r, struct jv msg);
_Noreturn void jfail_undef(struct jrun *r, struct jv u);
void *jalloc(struct jrun *r, size_t n); /* zeroed */
void *jalloc2(struct jrun *r, size_t n, size_t size);
void jcharge(struct jrun *r, uint64_t n); /* n units of work */
void jenter(struct jrun *r);              /* one level deeper; leave with r->depth-- */

/* ---- strings ---- */
static inline struct jv jv_none(void)
{
    return (struct jv){.k = JV_NONE};
}
static inline struct jv jv_bool(bool b)
{
    return (struct jv){.k = JV_BOOL, .b = b};
}
static inline struct jv jv_int(int64_t i)
{
    return (struct jv){.k = JV_INT, .i = i};
}
static inline struct jv jv_float(double f)
{
    return (struct jv){.k = JV_FLOAT, .f = f};
}
static inline struct jv jv_str(const struct jstr *s)
{
    return (struct jv){.k = JV_STR, .s = s};
}
static inline struct jv jv_list(struct jlist *l, enum jkind k)
{
    return (struct jv){.k = (uint8_t)k, .l = l};
}
static inline bool jstr_eq(const struct jstr *a, const struct jstr *b)
{
    return a == b || (a->n == b->n && memcmp(a->p, b->p, a->n) == 0);
}
static inline bool jstr_is(const struct jstr *s, const char *lit)
{
    if (s->n == 0 || s->p[0] != lit[0]) /* most are told apart here */
        return s->n == 0 && lit[0] == 0;
    return strlen(lit) == s->n && memcmp(s->p, lit, s->n) == 0;
}

/* A string over bytes that live as long as the arena. NULL when the arena is full. */
struct jstr *jstr_over(struct arena *mem, const char *p, size_t n, bool taint);
struct jv jstr_val(struct jrun *r, const char *p, size_t n, bool taint);        /* no copy */
struct jv jstr_lit(struct jrun *r, const char *lit);                            /* static text */
struct jv jstr_cut(struct jrun *r, const struct jstr *s, size_t off, size_t n); /* bytes */
struct jv jstr_cat(struct jrun *r, const struct jstr *const *v, uint32_t n);
uint32_t jstr_chars(struct jrun *r, const struct jstr *s);
/* Byte offset of code point i (i <= chars). */
size_t jstr_offset(const struct jstr *s, size_t i);
bool jstr_tainted(const struct jstr *s, size_t at); /* is the byte at `at` the caller's */
struct jv jstr_char_list(struct jrun *r, const struct jstr *s);
/* First place at or after `from` where pat occurs; SIZE_MAX when it does not. */
size_t jstr_find(struct jrun *r, const struct jstr *s, const struct jstr *pat, size_t from);
size_t jstr_rfind(struct jrun *r, const struct jstr *s, const struct jstr *pat, size_t end);
bool jchar_space(uint32_t c); /* Python's str.isspace */
/* chars NULL: white space. side: 1 left, 2 right, 3 both. */
struct jv jstr_strip(struct jrun *r, const struct jstr *s, const struct jstr *chars, int side);

/* A string being built; knows which bytes are the caller's. */
struct jsb {
    struct jrun *r;
    char *p;
    size_t n, cap, limit; /* limit 0 = none but the arena's */
    struct jseg *seg;
    uint32_t n_seg, cap_seg;
};
void jsb_init(struct jsb *b, struct jrun *r);
void jsb_add(struct jsb *b, const char *p, size_t n, bool taint);
void jsb_str(struct jsb *b, const struct jstr *s);
void jsb_part(struct jsb *b, const struct jstr *s, size_t off, size_t n);
void jsb_lit(struct jsb *b, const char *lit);
void jsb_char(struct jsb *b, uint32_t c, bool taint);
void jsb_fmt(struct jsb *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct jv jsb_val(struct jsb *b);

/* ---- containers ---- */
struct jlist *jlist_new(struct jrun *r, uint32_t cap);
void jlist_add(struct jrun *r, struct jlist *l, struct jv v);
struct jv jtuple2(struct jrun *r, struct jv a, struct jv b);
struct jdict *jdict_new(struct jrun *r, uint32_t cap);
void jdict_set(struct jrun *r, struct jdict *d, struct jv key, struct jv v);
struct jv *jdict_get(struct jrun *r, const struct jdict *d, struct jv key); /* NULL = absent */

/* ---- Python's ideas ---- */
const char *jkind_name(struct jv v); /* type(v).__name__ */
bool jtruth(struct jv v);
bool jequal(struct jrun *r, struct jv a, struct jv b);
int jcompare(struct jrun *r, struct jv a, struct jv b, const char *op); /* <0 0 >0; 2 = NaN */
bool jcontains(struct jrun *r, struct jv box, struct jv item);
int64_t jlength(struct jrun *r, struct jv v); /* -1 when it has none */
/* What `for` would see, as a list that must not be written; uses a JV_GEN up. */
struct jlist *jiter(struct jrun *r, struct jv v);
bool jiterable(struct jv v);
bool jis_seq(struct jv v); /* list, tuple, range: indexable by number */
bool jnumber(struct jv v, double *f);
bool jint_of(struct jv v, int64_t *i); /* int and bool */

/* str(v), repr(v), JSON. */
struct jv jstr_of(struct jrun *r, struct jv v);
void jput_str(struct jsb *b, struct jv v);
void jput_repr(struct jsb *b, struct jv v, unsigned depth);
void jput_float(struct jsb *b, double f);
struct jjson {
    int indent; /* < 0: one line */
    const struct jstr *indent_text, *item_sep, *key_sep;
    bool ascii, sort;
};
void jput_json(struct jsb *b, struct jv v, const struct jjson *o, unsigned depth);

/* A value of a JSON document with all that is in it; strings are the caller's. The document must
 * outlive the run. */
struct jv jv_of_json(struct jrun *r, const struct json_doc *d, const struct json *root);

/* ---- operations shared by the evaluator, filters and methods ---- */
struct jv jundef_name(struct jrun *r, const struct jstr *name);
struct jv jget_attr(struct jrun *r, struct jv obj, const struct jstr *name);     /* obj.name */
struct jv jget_item(struct jrun *r, struct jv obj, struct jv key);               /* obj[key] */
struct jv jget_own_attr(struct jrun *r, struct jv obj, const struct jstr *name); /* getattr */
struct jv jslice(struct jrun *r, struct jv obj, const struct jv part[3]);
struct jv jadd(struct jrun *r, struct jv a, struct jv b);
struct jv jarith(struct jrun *r, int op, struct jv a, struct jv b);
struct jv jneg(struct jrun *r, struct jv v);
struct jv jformat_percent(struct jrun *r, const struct jstr *f, struct jv args);
struct jv jformat_braces(struct jrun *r, const struct jstr *f, struct jcall *c);
struct jv jcall_value(struct jrun *r, struct jv fn, struct jcall *c);

/* Bind a call to parameter names ("a", "b", NULL): out[i] is JV_ABSENT when not given. */
void jbind(struct jrun *r, const struct jcall *c, const char *fn, const char *const *names,
           struct jv *out);
void jno_args(struct jrun *r, const struct jcall *c, const char *fn); /* fails when there are any */
bool jarg_bool(struct jv v, bool dflt);
int64_t jarg_int(struct jrun *r, struct jv v, int64_t dflt, const char *what);
const struct jstr *jarg_str(struct jrun *r, struct jv v, const char *what);

/* ---- tables ---- */
struct jfilter {
    const char *name;
    struct jv (*fn)(struct jrun *r, struct jv self, struct jcall *c);
};
struct jtest {
    const char *name;
    bool (*fn)(struct jrun *r, struct jv self, struct jcall *c);
    int n_args; /* besides the value */
};
struct jfunc {
    const char *name;
    struct jv (*fn)(struct jrun *r, struct jcall *c);
};
struct jmethod {
    const char *name;
    struct jv (*fn)(struct jrun *r, struct jv self, struct jcall *c); /* NULL: not here */
};
extern const struct jmethod jmethods_str[];
extern const struct jfilter jfilters_seq[]; /* each ends with a NULL name */
const struct jfilter *jfilter_find(const char *p, size_t n);
const struct jtest *jtest_find(const char *p, size_t n);
const struct jfunc *jfunc_find(const char *p, size_t n);
/* NULL when the kind has no such method; *mutates when the sandbox refuses it. */
const struct jmethod *jmethod_find(struct jv self, const struct jstr *name, bool *mutates);
bool jtest_run(struct jrun *r, const struct jtest *t, struct jv v, struct jcall *c);

#endif
