/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_stream.c - any ids through the streaming detokeniser and a stop matcher: what goes out is
 * whole code points, joins to what decoding at once gives, and ends where a plain search of the
 * whole text finds the first stop string; no more is held back than may yet be one.
 *
 * Input: one byte of options, then stop strings (a length byte each), then the ids: a byte each,
 * 0xFE followed by another for the ids from 256 on. */
#include "detok.h"
#include "fuzzing.h"
#include "stop.h"

enum { MAX_STOPS = 4, MAX_STOP = 8 };

struct input {
    const uint8_t *p, *end;
};

static uint8_t next_byte(struct input *in)
{
    return in->p < in->end ? *in->p++ : 0;
}

static bool next_id(struct input *in, token_id *id)
{
    if (in->p == in->end)
        return false;
    *id = *in->p++;
    if (*id == 0xFE && in->p < in->end) /* also ids that do not exist */
        *id = 250 + *in->p++;
    return true;
}

static int read_stops(struct input *in, int n, struct view *stop)
{
    int k = 0;
    for (int i = 0; i < n; i++) {
        size_t len = next_byte(in) % (MAX_STOP + 1), left = (size_t)(in->end - in->p);
        if (len > left)
            len = left;
        if (len == 0)
            continue;
        stop[k++] = (struct view){(const char *)in->p, len};
        in->p += len;
    }
    return k;
}

/* The stop string whose match ends first, the longest of those; where it begins and ends. */
static bool first_stop(const struct view *stop, int n, const struct buf *s, size_t *begin,
                       size_t *end)
{
    for (*end = 1; *end <= s->n; (*end)++) {
        size_t best = 0;
        for (int i = 0; i < n; i++)
            if (stop[i].n <= *end && stop[i].n > best &&
                memcmp(s->p + *end - stop[i].n, stop[i].p, stop[i].n) == 0)
                best = stop[i].n;
        if (best) {
            *begin = *end - best;
            return true;
        }
    }
    *begin = *end = s->n;
    return false;
}

/* The longest end of the text that begins a stop string, and so must wait. */
static size_t must_wait(const struct view *stop, int n, const char *s, size_t len)
{
    size_t most = 0;
    for (int i = 0; i < n; i++)
        for (size_t k = stop[i].n - 1; k > most; k--)
            if (k <= len && memcmp(s + len - k, stop[i].p, k) == 0)
                most = k;
    return most;
}

static void detok_all(const struct tok *t, const struct ids *ids, bool skip, struct buf *out,
                      struct ids *cuts)
{
    struct detok d;
    detok_init(&d, t, skip);
    for (size_t i = 0; i <= ids->n; i++) {
        size_t before = out->n;
        if (i < ids->n)
            detok_push(&d, ids->p[i], out);
        else
            detok_flush(&d, out);
        must_be_whole(out, before);
        must(d.n_hold <= 3);
        ids_add(cuts, (token_id)out->n);
    }
}

static void check_stops(const struct view *stop, int n, bool include, const struct buf *text,
                        const struct ids *cuts)
{
    struct stops *set;
    struct stopper m;
    struct buf out = {0};
    size_t begin, end, at = 0;
    bool found = first_stop(stop, n, text, &begin, &end);
    int got = -1;
    must(stops_new(&set, stop, n, NULL) == 0);
    stopper_init(&m, n ? set : NULL);
    for (size_t i = 0; i < cuts->n && got < 0; i++) {
        size_t to = (size_t)cuts->p[i];
        got = stopper_push(&m, text->p + at, to - at, include, &out);
        at = to;
        if (got < 0)
            must(out.n + m.held.n == at && m.held.n == must_wait(stop, n, text->p, at));
    }
    if (got < 0)
        stopper_flush(&m, &out);
    must((got >= 0) == found);
    if (found)
        must(stop[got].n == end - begin && memcmp(stop[got].p, text->p + begin, end - begin) == 0);
    must_equal(&out, text->p, found && include ? end : begin);
    buf_free(&out);
    stopper_fini(&m);
    stops_free(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct tok *toks[2];
    struct input in = {data, data + n};
    uint8_t options = next_byte(&in);
    bool pieces = options & 1, skip = options & 2, include = options & 4;
    struct view stop[MAX_STOPS];
    int n_stops = read_stops(&in, options & 32 ? MAX_STOPS : 0, stop);
    struct ids ids = {0}, cuts = {0};
    struct buf whole = {0}, joined = {0};
    token_id id;
    buf_add(&joined, "", 1); /* so that it is never NULL */
    joined.n = 0;
    if (!toks[0]) {
        toks[0] = fuzz_tok_bytes();
        toks[1] = fuzz_tok_pieces();
    }
    while (next_id(&in, &id))
        ids_add(&ids, id);
    tok_decode(toks[pieces], ids.p, ids.n, skip, &whole);
    must_be_whole(&whole, 0);
    detok_all(toks[pieces], &ids, skip, &joined, &cuts);
    /* A run of <0xNN> that is not UTF-8 as a whole: decoding at once replaces all of it. */
    if (!pieces || !whole.n || !memmem(whole.p, whole.n, "\xEF\xBF\xBD", 3))
        must_equal(&joined, whole.p, whole.n);
    check_stops(stop, n_stops, include, &joined, &cuts);
    ids_free(&ids);
    ids_free(&cuts);
    buf_free(&whole);
    buf_free(&joined);
    return 0;
}
