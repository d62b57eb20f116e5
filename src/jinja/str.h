/* SPDX-License-Identifier: Apache-2.0 */
/* str.h - strings: cut, searched, built, with the caller's bytes followed. Private to jinja/.
 */
#ifndef QUIRE_JINJA_STR_H
#define QUIRE_JINJA_STR_H

#include "run.h"

#include <string.h>

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

#endif
