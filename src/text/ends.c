/* SPDX-License-Identifier: Apache-2.0 */
/* ends.c - see ends.h. */
#include "ends.h"

#include "chat_files.h"
#include "end_names.h"
#include "tokenizer.h"

#include <stdio.h>
#include <string.h>

static int add(struct ends *s, int64_t id, const char *from, int32_t vocab, struct err *e)
{
    if (id < 0 || id >= vocab)
        return 0;
    for (int32_t i = 0; i < s->n; i++)
        if (s->v[i].id == id)
            return 0;
    if (s->n == MAX_EOS)
        return err_set(e, ST_UNSUPPORTED, "more than %d tokens that end a generation", MAX_EOS);
    s->v[s->n++] = (struct end_id){(int32_t)id, from};
    return 0;
}

/* "<|end|>" ends a message, and not the answer, in the format that has "<|return|>" for that. */
static bool is_inner(const struct tok *t, const char *name)
{
    static const char outer[] = "<|return|>";
    return strcmp(name, "<|end|>") == 0 && tok_find(t, outer, strlen(outer)) >= 0;
}

static int add_names(struct ends *out, const struct text_source *src, const struct tok *t,
                     int32_t vocab, struct err *e)
{
    struct chat_files f = {0};
    bool folder = src->tokenizer_json.p != NULL;
    int st = folder ? chat_files_read(&f, src, e) : 0;
    for (int i = 0; i < N_END_NAMES && st == 0; i++) {
        const char *name = end_names[i];
        size_t n = strlen(name);
        token_id id = tok_find(t, name, n);
        if (id < 0 || !tok_is_special(t, id) || is_inner(t, name))
            continue;
        if (!folder)
            st = add(out, id, "its text", vocab, e);
        else if (f.template.n && memmem(f.template.p, f.template.n, name, n))
            st = add(out, id, "chat template", vocab, e);
    }
    chat_files_fini(&f);
    return st;
}

int ends_find(struct ends *out, const struct text_source *src, const struct tok *t, int32_t vocab,
              struct err *e)
{
    int st = 0;
    out->n = 0;
    for (size_t i = 0; i < src->n_ends && st == 0; i++)
        st = add(out, src->ends[i].id, src->ends[i].from, vocab, e);
    if (st == 0)
        st = add(out, tok_eos(t), "tokenizer", vocab, e);
    return st ? st : add_names(out, src, t, vocab, e);
}

void ends_text(const struct ends *s, const struct tok *t, struct buf *out)
{
    enum { MOST = 24, PIECE = 48 };
    char head[32];
    for (int32_t i = 0; i < s->n && i < MOST; i++) {
        size_t n;
        const char *piece = tok_string(t, s->v[i].id, &n);
        int k = snprintf(head, sizeof head, "%s%d(", i ? " " : "", (int)s->v[i].id);
        buf_add(out, head, (size_t)k);
        buf_add(out, piece ? piece : "", n < PIECE ? n : PIECE);
        buf_add(out, ",", 1);
        buf_add(out, s->v[i].from, strlen(s->v[i].from));
        buf_add(out, ")", 1);
    }
    if (s->n > MOST) {
        int k = snprintf(head, sizeof head, " and %d more", (int)s->n - MOST);
        buf_add(out, head, (size_t)k);
    }
    buf_add(out, "", 1); /* so that it is a string */
    out->n--;
}
