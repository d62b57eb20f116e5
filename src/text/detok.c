/* SPDX-License-Identifier: Apache-2.0 */
/* detok.c - ids to text: tok_decode for all at once, and the streaming detokeniser, which gives the
 * same a token at a time.
 *
 * The stream holds back only an incomplete code point (at most 3 bytes) and what the decoder's last
 * steps need (a trailing character that Strip may take). One owner at a time; d->t is shared and
 * immutable. */
#include "detok.h"

#include "decode.h"
#include "tok.h"
#include "utf8.h"

#include <string.h>

enum { STATE_STRIPPED, STATE_HELD, STATE_POST_STARTED };

void detok_init(struct detok *d, const struct tok *t, bool skip_special)
{
    *d = (struct detok){.t = t, .skip_special = skip_special};
}

static void show(struct detok *d, const char *s, size_t n, struct buf *out)
{
    struct dec_post p = {d->state[STATE_STRIPPED], d->state[STATE_HELD],
                         d->state[STATE_POST_STARTED] != 0};
    decoder_post(&d->t->dec, &p, s, n, out);
    d->state[STATE_STRIPPED] = p.stripped;
    d->state[STATE_HELD] = p.held;
    d->state[STATE_POST_STARTED] = p.started;
}

/* Show what of the held bytes is settled; with `all`, also what is cut. `each`: an invalid part
 * costs one U+FFFD a byte (byte fallback), not one in all. */
static void settle(struct detok *d, bool all, bool each, bool first, struct buf *out)
{
    struct buf text = {0};
    uint32_t i = 0;
    while (i < d->n_hold) {
        int k = utf8_check(d->hold + i, d->n_hold - i);
        if (k == 0 && !all)
            break;
        if (k > 0) {
            buf_add(&text, d->hold + i, (size_t)k);
        } else {
            k = k < 0 ? -k : (int)(d->n_hold - i);
            for (int j = 0; j < (each ? k : 1); j++)
                buf_add(&text, "\xEF\xBF\xBD", 3);
        }
        i += (uint32_t)k;
    }
    memmove(d->hold, d->hold + i, d->n_hold - i);
    d->n_hold -= i;
    if (text.n && each) {
        struct buf ran = {0};
        decoder_run_text(&d->t->dec, text.p, text.n, first, &ran);
        show(d, ran.p ? ran.p : "", ran.n, out);
        buf_free(&ran);
    } else if (text.n) {
        show(d, text.p, text.n, out);
    }
    buf_free(&text);
}

/* Byte level: the token's bytes join the held tail; whole code points go out. */
static void push_bytes(struct detok *d, const char *s, size_t n, struct buf *out)
{
    size_t i = 0;
    while (i < n && d->n_hold) { /* at most 3 held: complete or refute them byte by byte */
        d->hold[d->n_hold++] = (uint8_t)s[i++];
        settle(d, false, false, false, out);
    }
    while (i < n) {
        size_t good = utf8_valid_prefix(s + i, n - i);
        int k;
        buf_add(out, s + i, good);
        i += good;
        if (i == n)
            break;
        k = utf8_check((const unsigned char *)s + i, n - i);
        if (k == 0) {
            d->n_hold = (uint32_t)(n - i);
            memcpy(d->hold, s + i, n - i);
            break;
        }
        buf_add(out, "\xEF\xBF\xBD", 3);
        i += (size_t)-k;
    }
}

void detok_push(struct detok *d, token_id id, struct buf *out)
{
    const struct vocab *v = &d->t->v;
    const struct decoder *dec = &d->t->dec;
    bool first = !d->started;
    if (!vocab_has(v, id) || (d->skip_special && (v->flags[id] & VOCAB_SPECIAL)))
        return;
    d->started = true;
    if (dec->mode == DEC_BYTES) {
        push_bytes(d, v->blob.p + v->e[id].dec, v->e[id].dec_n, out);
    } else if (v->flags[id] & VOCAB_BYTE) {
        d->hold[d->n_hold++] = (uint8_t)v->blob.p[v->e[id].dec];
        settle(d, false, true, first, out);
    } else {
        struct buf text = {0};
        settle(d, true, true, false, out);
        if (dec->mode == DEC_JOIN_SPACES && !first)
            buf_add(&text, " ", 1);
        decoder_token(dec, v, id, first, &text);
        show(d, text.p ? text.p : "", text.n, out);
        buf_free(&text);
    }
}

void detok_flush(struct detok *d, struct buf *out)
{
    settle(d, true, d->t->dec.mode != DEC_BYTES, false, out);
}

/* ---- all ids at once ---- */

/* The end of a run of byte tokens: its text when it is UTF-8 as a whole, else one U+FFFD a byte. */
static void end_run(const struct decoder *d, struct buf *run, bool first, struct buf *out)
{
    struct buf text = {0};
    if (run->n == 0)
        return;
    if (utf8_valid_prefix(run->p, run->n) == run->n)
        buf_add(&text, run->p, run->n);
    else
        for (size_t i = 0; i < run->n; i++)
            buf_add(&text, "\xEF\xBF\xBD", 3);
    decoder_run_text(d, text.p, text.n, first, out);
    run->n = 0;
    buf_free(&text);
}

int tok_decode(const struct tok *t, const token_id *ids, size_t n, bool skip_special,
               struct buf *out)
{
    const struct decoder *d = &t->dec;
    struct buf all = {0}, run = {0};
    struct dec_post post = {0};
    bool first = true, run_first = false;
    for (size_t i = 0; i < n; i++) {
        token_id id = ids[i];
        if (!vocab_has(&t->v, id) || (skip_special && (t->v.flags[id] & VOCAB_SPECIAL)))
            continue;
        if (d->mode == DEC_JOIN_SPACES && !first)
            buf_add(&all, " ", 1);
        if (t->v.flags[id] & VOCAB_BYTE) {
            if (run.n == 0)
                run_first = first;
            tok_bytes(t, id, &run);
        } else {
            end_run(d, &run, run_first, &all);
            decoder_token(d, &t->v, id, first, &all);
        }
        first = false;
    }
    end_run(d, &run, run_first, &all);
    if (d->mode == DEC_BYTES)
        utf8_add_lossy(out, all.p, all.n);
    else
        decoder_post(d, &post, all.p ? all.p : "", all.n, out);
    buf_free(&all);
    buf_free(&run);
    return 0;
}
