/* SPDX-License-Identifier: Apache-2.0 */
/* decode.c - decoder steps.
 *
 * A decoder is a list of steps; those before FUSE see one token's string at a time, so they are
 * applied once per id at load. What remains at run time: joining byte tokens, and the steps after
 * FUSE, which run as a filter over the stream. Orders of steps that such a filter cannot express
 * are refused at load. Immutable after loading, any thread. */
#include "decode.h"

#include "mem.h"
#include "utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void decoder_fini(struct decoder *d)
{
    for (int i = 0; i < d->n; i++) {
        free(d->step[i].from);
        free(d->step[i].to);
    }
    d->n = 0;
}

static const char *dec_name(enum dec_kind k)
{
    static const char *const name[] = {"Replace",      "Strip", "Metaspace",
                                       "ByteFallback", "Fuse",  "ByteLevel"};
    return name[k];
}

int decoder_seal(struct decoder *d, struct err *e)
{
    int n_strip = 0;
    bool bytes = false;
    d->fuse = d->byte_fallback = d->n;
    d->mode = d->n ? DEC_CHARS : DEC_JOIN_SPACES;
    for (int i = d->n; i-- > 0;) {
        if (d->step[i].kind == DEC_FUSE)
            d->fuse = i;
        if (d->step[i].kind == DEC_BYTE_FALLBACK)
            d->byte_fallback = i;
        if (d->step[i].kind == DEC_METASPACE && d->step[i].drop_first)
            d->first_differs = true;
        if (d->step[i].kind == DEC_BYTE_LEVEL)
            bytes = true;
    }
    for (int i = 0; i < d->n; i++) {
        const struct dec_step *s = &d->step[i];
        bool after = i > d->fuse;
        bool ok = true;
        if (bytes)
            ok = s->kind == DEC_BYTE_LEVEL || s->kind == DEC_FUSE;
        else if (after && s->kind == DEC_STRIP)
            ok = ++n_strip == 1;
        else if (after && s->kind == DEC_REPLACE)
            ok = n_strip == 0 && s->from_n && s->from_n == utf8_len((unsigned char)s->from[0]);
        else if (after)
            ok = s->kind == DEC_FUSE;
        else if (s->kind == DEC_BYTE_FALLBACK)
            ok = i == d->byte_fallback;
        else if (s->kind == DEC_STRIP)
            ok = i < d->byte_fallback;
        if (!ok)
            return err_set(e, ST_UNSUPPORTED,
                           "tokenizer: decoder step %s at place %d is not supported there",
                           dec_name(s->kind), i);
    }
    if (bytes)
        d->mode = DEC_BYTES;
    return 0;
}

/* ---- one step on one string ---- */

static void do_replace(const struct dec_step *step, const char *s, size_t n, struct buf *out)
{
    size_t at = 0;
    const char *hit;
    while (step->from_n && at < n && (hit = memmem(s + at, n - at, step->from, step->from_n))) {
        buf_add(out, s + at, (size_t)(hit - s) - at);
        buf_add(out, step->to, step->to_n);
        at = (size_t)(hit - s) + step->from_n;
    }
    buf_add(out, s + at, n - at);
}

static void do_strip(const struct dec_step *step, const char *s, size_t n, struct buf *out)
{
    uint32_t k;
    for (k = 0; k < step->start && n >= step->from_n && memcmp(s, step->from, step->from_n) == 0;
         k++) {
        s += step->from_n;
        n -= step->from_n;
    }
    for (k = 0; k < step->stop && n >= step->from_n &&
                memcmp(s + n - step->from_n, step->from, step->from_n) == 0;
         k++)
        n -= step->from_n;
    buf_add(out, s, n);
}

static void do_metaspace(const struct dec_step *step, const char *s, size_t n, bool first,
                         struct buf *out)
{
    struct dec_step as = *step;
    as.to = " ";
    as.to_n = first && step->drop_first ? 0 : 1;
    do_replace(&as, s, n, out);
}

/* Steps [from, to) on s; appends. */
static void do_steps(const struct decoder *d, int from, int to, bool first, const char *s, size_t n,
                     struct buf *out)
{
    struct buf a = {0}, b = {0}, swap;
    buf_add(&a, s, n);
    for (int i = from; i < to; i++) {
        const struct dec_step *step = &d->step[i];
        const char *p = a.p ? a.p : "";
        b.n = 0;
        if (step->kind == DEC_REPLACE)
            do_replace(step, p, a.n, &b);
        else if (step->kind == DEC_STRIP)
            do_strip(step, p, a.n, &b);
        else if (step->kind == DEC_METASPACE)
            do_metaspace(step, p, a.n, first, &b);
        else
            continue;
        swap = a;
        a = b;
        b = swap;
    }
    buf_add(out, a.p, a.n);
    buf_free(&a);
    buf_free(&b);
}

/* "<0xNN>" to the byte, or -1. */
static int byte_token(const char *s, size_t n)
{
    int v = 0;
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        int h = hex_digit(s[i]);
        if (h < 0)
            return -1;
        v = v * 16 + h;
    }
    return v;
}

static void fill_bytes(struct vocab *v, token_id id)
{
    const struct vocab_entry *x = &v->e[id];
    char small[512], *raw = x->str_n <= sizeof small ? small : xalloc(x->str_n);
    size_t raw_n = 0;
    if (utf8_valid_prefix(v->blob.p + x->str, x->str_n) == x->str_n &&
        bytes_unmap(v->blob.p + x->str, x->str_n, raw, &raw_n))
        vocab_set_dec(v, id, raw, raw_n);
    else
        vocab_set_dec(v, id, v->blob.p + x->str, x->str_n);
    if (raw != small)
        free(raw);
}

void decoder_fill(const struct decoder *d, struct vocab *v)
{
    struct buf b = {0};
    for (token_id id = 0; id < v->n; id++) {
        int byte;
        if (!vocab_has(v, id))
            continue;
        if (d->mode == DEC_BYTES) {
            /* A model token's raw bytes are that already. An added token's text is what it says:
             * the byte alphabet, in which "\xC3\xBC" is a lone byte, is the model's alone. The
             * reference library decodes it all the same, and shows a user U+FFFD for it. */
            if (!v->byte_level && (v->flags[id] & VOCAB_MODEL))
                fill_bytes(v, id);
            continue;
        }
        b.n = 0;
        do_steps(d, 0, d->byte_fallback < d->fuse ? d->byte_fallback : d->fuse, false,
                 v->blob.p + v->e[id].str, v->e[id].str_n, &b);
        byte = d->byte_fallback < d->fuse ? byte_token(b.p ? b.p : "", b.n) : -1;
        if (byte >= 0) {
            char c = (char)byte;
            v->flags[id] |= VOCAB_BYTE;
            vocab_set_dec(v, id, &c, 1);
            continue;
        }
        b.n = 0;
        do_steps(d, 0, d->fuse, false, v->blob.p + v->e[id].str, v->e[id].str_n, &b);
        vocab_set_dec(v, id, b.p ? b.p : "", b.n);
    }
    buf_free(&b);
}

void decoder_token(const struct decoder *d, const struct vocab *v, token_id id, bool first,
                   struct buf *out)
{
    const struct vocab_entry *x = &v->e[id];
    if (first && d->first_differs)
        do_steps(d, 0, d->fuse, true, v->blob.p + x->str, x->str_n, out);
    else
        buf_add(out, v->blob.p + x->dec, x->dec_n);
}

void decoder_run_text(const struct decoder *d, const char *s, size_t n, bool first, struct buf *out)
{
    if (d->byte_fallback + 1 >= d->fuse)
        buf_add(out, s, n);
    else
        do_steps(d, d->byte_fallback + 1, d->fuse, first, s, n, out);
}

/* ---- after FUSE ---- */

static void post_strip(const struct dec_step *step, struct dec_post *p, const char *s, size_t n,
                       struct buf *out)
{
    for (size_t i = 0; i < n;) {
        unsigned len = utf8_len((unsigned char)s[i]);
        bool is = len == step->from_n && memcmp(s + i, step->from, len) == 0;
        if (is && !p->started && p->stripped < step->start) {
            p->stripped++;
        } else if (is && p->held < step->stop) {
            p->started = true;
            p->held++;
        } else if (is) {
            p->started = true;
            buf_add(out, s + i, len);
        } else {
            p->started = true;
            for (; p->held; p->held--)
                buf_add(out, step->from, step->from_n);
            buf_add(out, s + i, len);
        }
        i += len;
    }
}

void decoder_post(const struct decoder *d, struct dec_post *p, const char *s, size_t n,
                  struct buf *out)
{
    struct buf a = {0}, b = {0}, swap;
    if (d->fuse + 1 >= d->n || d->mode != DEC_CHARS) {
        buf_add(out, s, n);
        return;
    }
    buf_add(&a, s, n);
    for (int i = d->fuse + 1; i < d->n; i++) {
        const char *t = a.p ? a.p : "";
        b.n = 0;
        if (d->step[i].kind == DEC_REPLACE)
            do_replace(&d->step[i], t, a.n, &b);
        else if (d->step[i].kind == DEC_STRIP)
            post_strip(&d->step[i], p, t, a.n, &b);
        else
            continue;
        swap = a;
        a = b;
        b = swap;
    }
    buf_add(out, a.p, a.n);
    buf_free(&a);
    buf_free(&b);
}
