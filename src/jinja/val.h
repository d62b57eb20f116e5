/* SPDX-License-Identifier: Apache-2.0 */
/* val.h - values of the template language, and the containers among them. Private to jinja/.
 *
 * Values live in the arena of the rendering that makes them (run.h) and go with it; constants live
 * in the template's arena and are never written after compilation.
 *
 * A struct jcall stands on the caller's stack, its arguments in the arena: a filter, test or
 * function may keep the values it is given, never the struct jcall pointer.
 */
#ifndef QUIRE_JINJA_VAL_H
#define QUIRE_JINJA_VAL_H

#include <stdbool.h>
#include <stdint.h>

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

/* Containers (box.c). */
struct jrun;
struct jlist *jlist_new(struct jrun *r, uint32_t cap);
void jlist_add(struct jrun *r, struct jlist *l, struct jv v);
struct jv jtuple2(struct jrun *r, struct jv a, struct jv b);
struct jdict *jdict_new(struct jrun *r, uint32_t cap);
void jdict_set(struct jrun *r, struct jdict *d, struct jv key, struct jv v);
struct jv *jdict_get(struct jrun *r, const struct jdict *d, struct jv key); /* NULL = absent */

#endif
