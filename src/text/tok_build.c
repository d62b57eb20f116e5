/* SPDX-License-Identifier: Apache-2.0 */
/* tok_build.c - what the loaders call on a tokenizer that is being filled. One thread, at load. */
#include "tok_build.h"

#include "mem.h"

#include <stdio.h>
#include <string.h>

int tok_put_added(struct tok *t, token_id id, const char *s, size_t n, unsigned strip, bool special,
                  bool normalized, struct err *e)
{
    struct buf norm = {0};
    if (n > MAX_ADDED_BYTES)
        return err_set(e, ST_UNSUPPORTED, "tokenizer: added token %d is longer than %d bytes", id,
                       MAX_ADDED_BYTES);
    if (n == 0)
        return 0;
    if (normalized && normalizer_may_change(&t->norm, s, n)) {
        struct rx_run run = {0};
        int st = normalizer_run(&t->norm, &run, s, n, &norm);
        rx_run_fini(&run);
        if (st) {
            buf_free(&norm);
            return err_set(e, st, "tokenizer: added token %d cannot be normalised", id);
        }
        s = norm.p ? norm.p : "";
        n = norm.n;
    }
    added_put(t->added[normalized], s, n, id, strip);
    if (!special)
        added_put(t->plain_added[normalized], s, n, id, strip);
    if (!special && n && s[0] != '<' && s[0] != '[')
        added_put(t->span_added[normalized], s, n, id, strip);
    buf_free(&norm);
    return 0;
}

/* No token that a merge makes has U+2581 after something else, and U+2581 is a token. */
static bool words_are_apart(const struct tok *t)
{
    static const char space[] = "\xE2\x96\x81";
    if (t->v.byte_level || vocab_find_raw(&t->v, space, 3) < 0)
        return false;
    for (uint64_t i = 0; i <= t->merges.mask; i++) {
        const struct merge_slot *g = &t->merges.slot[i];
        const struct vocab_entry *x;
        const char *s, *hit;
        bool only = true;
        if (g->pair == UINT64_MAX)
            continue;
        x = &t->v.e[g->id];
        s = t->v.blob.p + x->raw;
        for (size_t k = 0; k + 3 <= x->raw_n; k += 3) {
            only = memcmp(s + k, space, 3) == 0;
            if (only)
                continue;
            hit = memmem(s + k, x->raw_n - k, space, 3);
            if (hit)
                return false;
            break;
        }
    }
    return true;
}

int tok_finish(struct tok *t, struct err *e)
{
    int st = decoder_seal(&t->dec, e);
    if (st)
        return st;
    if (t->v.n == 0)
        return err_set(e, ST_FORMAT, "tokenizer: the vocabulary is empty");
    for (int b = 0; b < 256; b++) {
        char s[8] = {(char)b};
        if (t->v.byte_level) {
            t->byte_id[b] = vocab_find_raw(&t->v, s, 1);
        } else if (t->byte_fallback) {
            snprintf(s, sizeof s, "<0x%02X>", (unsigned)b);
            t->byte_id[b] = vocab_find_model(&t->v, s, 6);
        }
        s[0] = (char)b;
        if (b < 128 && !t->v.byte_level)
            t->char_id[b] = vocab_find_raw(&t->v, s, 1);
    }
    t->has_affix = t->subword.n || t->word_end.n;
    t->split_words = !t->has_affix && t->pre.n == 0 && words_are_apart(t);
    t->self = xcalloc2((size_t)t->v.n, sizeof *t->self);
    decoder_fill(&t->dec, &t->v);
    return 0;
}
