/* SPDX-License-Identifier: Apache-2.0 */
/* stop.c - stop strings: an Aho-Corasick automaton over bytes.
 *
 * The match that ends first wins, for it ends the generation; of those that end together the
 * longest, then the lowest index. One that begins earlier but would end later is not waited for:
 * the tokens that it takes might never come. So the result does not depend on how the text is cut
 * into pushes. What is held back is exactly the longest end of the text that begins a stop string.
 * Amortised constant time a byte. The set is immutable and shared; a stopper has one owner. */
#include "stop.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_STOPS = 1024, MAX_STOP_BYTES = 1 << 20 };

struct stop_node {
    uint32_t child, sibling, fail; /* child, sibling: 0 = none (the root is nobody's child) */
    uint32_t depth, match_n;
    int32_t match; /* the stop string that ends here; -1 = none */
    uint8_t byte;
};
struct stops {
    struct stop_node *node; /* [n]; 0 is the root */
    uint32_t n;
};

static uint32_t step(const struct stops *s, uint32_t at, uint8_t byte)
{
    uint32_t c = s->node[at].child;
    while (c && s->node[c].byte != byte)
        c = s->node[c].sibling;
    return c;
}

static uint32_t advance(const struct stops *s, uint32_t at, uint8_t byte)
{
    for (;;) {
        uint32_t c = step(s, at, byte);
        if (c || at == 0)
            return c;
        at = s->node[at].fail;
    }
}

static void put(struct stops *s, const struct view *v, int index)
{
    uint32_t at = 0;
    for (size_t i = 0; i < v->n; i++) {
        uint8_t b = (uint8_t)v->p[i];
        uint32_t c = step(s, at, b);
        if (!c) {
            c = s->n++;
            s->node[c] = (struct stop_node){
                .sibling = s->node[at].child, .depth = (uint32_t)i + 1, .match = -1, .byte = b};
            s->node[at].child = c;
        }
        at = c;
    }
    if (s->node[at].match < 0) {
        s->node[at].match = index;
        s->node[at].match_n = (uint32_t)v->n;
    }
}

/* Breadth first: a node's fail link is shallower, so it is finished before. */
static void link_fails(struct stops *s)
{
    uint32_t *queue = xcalloc2(s->n, sizeof *queue);
    uint32_t head = 0, tail = 0;
    queue[tail++] = 0;
    while (head < tail) {
        uint32_t at = queue[head++];
        for (uint32_t c = s->node[at].child; c; c = s->node[c].sibling) {
            const struct stop_node *f;
            s->node[c].fail = at ? advance(s, s->node[at].fail, s->node[c].byte) : 0;
            f = &s->node[s->node[c].fail];
            if (s->node[c].match < 0 && f->match >= 0) {
                s->node[c].match = f->match;
                s->node[c].match_n = f->match_n;
            }
            queue[tail++] = c;
        }
    }
    free(queue);
}

int stops_new(struct stops **out, const struct view *v, int n, struct err *e)
{
    struct stops *s;
    size_t total = 0;
    *out = NULL;
    if (n < 0 || n > MAX_STOPS)
        return err_set(e, ST_INVALID_LENGTH, "more than %d stop strings", MAX_STOPS);
    for (int i = 0; i < n; i++) {
        if (v[i].n == 0)
            return err_set(e, ST_INVALID_VALUE, "stop string %d is empty", i);
        if (v[i].n > MAX_STOP_BYTES - total)
            return err_set(e, ST_INVALID_LENGTH, "stop strings are longer than %d bytes together",
                           MAX_STOP_BYTES);
        total += v[i].n;
    }
    s = xalloc(sizeof *s);
    s->node = xcalloc2(total + 1, sizeof *s->node);
    s->node[0].match = -1;
    s->n = 1;
    for (int i = 0; i < n; i++)
        put(s, &v[i], i);
    link_fails(s);
    *out = s;
    return 0;
}

void stops_free(struct stops *s)
{
    if (!s)
        return;
    free(s->node);
    free(s);
}

void stopper_init(struct stopper *m, const struct stops *set)
{
    *m = (struct stopper){.set = set};
}

void stopper_fini(struct stopper *m)
{
    buf_free(&m->held);
    m->state = 0;
}

/* The first n bytes of held + s go out, the rest of held is dropped. */
static void release(struct stopper *m, const char *s, size_t n, struct buf *out)
{
    size_t from_held = n < m->held.n ? n : m->held.n;
    buf_add(out, m->held.p, from_held);
    buf_add(out, s, n - from_held);
}

/* s went through the automaton without a match that counts: what cannot begin a stop string any
 * more goes out. */
static void hold_back(struct stopper *m, const char *s, size_t n, struct buf *out)
{
    size_t keep = m->set->node[m->state].depth, total = m->held.n + n;
    if (keep > n) { /* part of what was held stays */
        size_t go = total - keep;
        buf_add(out, m->held.p, go);
        memmove(m->held.p, m->held.p + go, m->held.n - go);
        m->held.n -= go;
        buf_add(&m->held, s, n);
    } else {
        release(m, s, total - keep, out);
        m->held.n = 0;
        buf_add(&m->held, s + (n - keep), keep);
    }
}

int stopper_push(struct stopper *m, const char *s, size_t n, bool include, struct buf *out)
{
    const struct stops *set = m->set;
    if (!set || set->n == 1) {
        buf_add(out, s, n);
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        const struct stop_node *x;
        m->state = advance(set, m->state, (uint8_t)s[i]);
        x = &set->node[m->state];
        if (x->match >= 0) {
            size_t end = m->held.n + i + 1;
            release(m, s, include ? end : end - x->match_n, out);
            m->held.n = 0;
            m->state = 0;
            return x->match;
        }
    }
    hold_back(m, s, n, out);
    return -1;
}

void stopper_pass(struct stopper *m, const char *s, size_t n, struct buf *out)
{
    if (!m->set || m->set->n == 1) {
        buf_add(out, s, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        m->state = advance(m->set, m->state, (uint8_t)s[i]);
    hold_back(m, s, n, out);
}

void stopper_flush(struct stopper *m, struct buf *out)
{
    buf_add(out, m->held.p, m->held.n);
    m->held.n = 0;
    m->state = 0;
}
