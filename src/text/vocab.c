/* SPDX-License-Identifier: Apache-2.0 */
/* vocab.c - the vocabulary: one blob of strings, two hash tables. Built by one thread at load,
 * read-only afterwards. Knows nothing of merges, added-token matching or decoders. */
#include "vocab.h"

#include "mem.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

/* The byte-level alphabet: printable Latin-1 stands for itself, the other 68 bytes are U+0100 on.
 */
enum { ALPHABET_END = 0x100 + 68 };
static int16_t byte_of[ALPHABET_END];

static bool is_plain(unsigned b)
{
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

__attribute__((constructor)) static void fill_byte_of(void)
{
    unsigned next = 0x100;
    for (unsigned c = 0; c < ALPHABET_END; c++)
        byte_of[c] = -1;
    for (unsigned b = 0; b < 256; b++)
        byte_of[is_plain(b) ? b : next++] = (int16_t)b;
}

bool bytes_unmap(const char *s, size_t n, char *out, size_t *out_n)
{
    size_t o = 0;
    for (size_t i = 0; i < n;) {
        unsigned len;
        uint32_t c = utf8_get(s + i, &len);
        if (c >= ALPHABET_END || byte_of[c] < 0)
            return false;
        out[o++] = (char)byte_of[c];
        i += len;
    }
    *out_n = o;
    return true;
}

uint32_t text_hash(const char *s, size_t n)
{
    const uint64_t k = 0x9E3779B97F4A7C15u;
    uint64_t h = n * k, w;
    while (n >= 8) {
        memcpy(&w, s, 8);
        h = (h ^ w) * k;
        h ^= h >> 29;
        s += 8;
        n -= 8;
    }
    if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, s, 4);
        memcpy(&b, s + n - 4, 4);
        w = (uint64_t)a << 32 | b;
    } else if (n) {
        w = (uint64_t)(unsigned char)s[0] << 16 | (uint64_t)(unsigned char)s[n / 2] << 8 |
            (unsigned char)s[n - 1];
    } else {
        w = 0;
    }
    h = (h ^ w) * k;
    return (uint32_t)(h >> 32);
}

static void table_init(struct vocab_table *t, size_t n)
{
    size_t cap = 16;
    while (cap < n * 2 && cap < (size_t)MAX_VOCAB * 4)
        cap *= 2;
    t->slot = xcalloc2(cap, sizeof *t->slot);
    t->mask = (uint32_t)(cap - 1);
    t->n = 0;
    for (size_t i = 0; i < cap; i++)
        t->slot[i].id = -1;
}

static void table_put(struct vocab_table *t, uint32_t hash, token_id id)
{
    uint32_t i;
    if ((t->n + 1) * 2 > t->mask + 1) {
        struct vocab_table old = *t;
        table_init(t, (size_t)old.mask + 1);
        for (uint32_t j = 0; j <= old.mask; j++)
            if (old.slot[j].id >= 0)
                table_put(t, old.slot[j].hash, old.slot[j].id);
        free(old.slot);
    }
    for (i = hash & t->mask; t->slot[i].id >= 0; i = (i + 1) & t->mask)
        ;
    t->slot[i] = (struct vocab_slot){hash, id};
    t->n++;
}

void vocab_init(struct vocab *v, bool byte_level, size_t n, size_t bytes)
{
    *v = (struct vocab){.byte_level = byte_level};
    table_init(&v->by_raw, n);
    table_init(&v->by_str, 64);
    v->blob.p = xalloc(bytes + 64);
    v->blob.cap = bytes + 64;
}

void vocab_fini(struct vocab *v)
{
    free(v->e);
    free(v->flags);
    free(v->by_raw.slot);
    free(v->by_str.slot);
    buf_free(&v->blob);
    *v = (struct vocab){0};
}

static int make_room(struct vocab *v, int64_t id, size_t bytes, struct err *e)
{
    if (id < 0 || id >= MAX_VOCAB)
        return err_set(e, ST_FORMAT, "tokenizer: token id %lld is out of range", (long long)id);
    if (v->blob.n + bytes > UINT32_MAX / 2)
        return err_set(e, ST_FORMAT, "tokenizer: vocabulary is too large");
    if (id >= v->cap) {
        int32_t cap = v->cap + v->cap / 2 < 1024 ? 1024 : v->cap + v->cap / 2;
        if (cap <= id)
            cap = (int32_t)id + 1;
        v->e = xrealloc(v->e, (size_t)cap * sizeof *v->e);
        v->flags = xrealloc(v->flags, (size_t)cap);
        memset(v->e + v->cap, 0, (size_t)(cap - v->cap) * sizeof *v->e);
        memset(v->flags + v->cap, 0, (size_t)(cap - v->cap));
        v->cap = cap;
    }
    if (id >= v->n)
        v->n = (int32_t)id + 1;
    return 0;
}

static uint32_t keep(struct vocab *v, const char *s, size_t n)
{
    uint32_t at = (uint32_t)v->blob.n;
    buf_add(&v->blob, s, n);
    return at;
}

int vocab_add_model(struct vocab *v, int64_t id, const char *s, size_t n, struct err *e)
{
    struct vocab_entry *x;
    bool reachable = utf8_valid_prefix(s, n) == n;
    int st = make_room(v, id, 2 * n, e);
    if (st)
        return st;
    if (v->flags[id] & VOCAB_MODEL)
        return err_set(e, ST_FORMAT, "tokenizer: token id %lld appears twice", (long long)id);
    x = &v->e[id];
    x->str = x->raw = keep(v, s, n);
    x->str_n = x->raw_n = (uint32_t)n;
    if (v->byte_level && reachable) {
        char small[256], *raw = n <= sizeof small ? small : xalloc(n);
        size_t raw_n;
        reachable = bytes_unmap(s, n, raw, &raw_n);
        if (reachable && raw_n != n) {
            x->raw = keep(v, raw, raw_n);
            x->raw_n = (uint32_t)raw_n;
        }
        if (raw != small)
            free(raw);
    }
    x->dec = x->raw;
    x->dec_n = x->raw_n;
    v->flags[id] = VOCAB_PRESENT | VOCAB_MODEL;
    if (reachable) {
        const char *raw = v->blob.p + x->raw;
        uint32_t h = text_hash(raw, x->raw_n);
        if (vocab_find_raw(v, raw, x->raw_n) >= 0)
            return v->repeats_ok
                       ? 0
                       : err_set(e, ST_FORMAT, "tokenizer: token %lld repeats another's string",
                                 (long long)id);
        table_put(&v->by_raw, h, (token_id)id);
        if (x->raw_n > v->max_raw)
            v->max_raw = x->raw_n;
    } else {
        table_put(&v->by_str, text_hash(s, n), (token_id)id);
    }
    return 0;
}

int vocab_add_added(struct vocab *v, int64_t id, const char *s, size_t n, bool special,
                    token_id *got, struct err *e)
{
    token_id old = vocab_find(v, s, n);
    int st;
    if (old >= 0) {
        id = old;
    } else {
        st = make_room(v, id, n, e);
        if (st)
            return st;
        if (v->flags[id] & VOCAB_ADDED)
            return err_set(e, ST_FORMAT, "tokenizer: added token id %lld appears twice",
                           (long long)id);
        v->e[id].str = keep(v, s, n);
        v->e[id].str_n = (uint32_t)n;
        v->e[id].dec = v->e[id].str;
        v->e[id].dec_n = (uint32_t)n;
        table_put(&v->by_str, text_hash(s, n), (token_id)id);
    }
    v->flags[id] |= VOCAB_PRESENT | VOCAB_ADDED | (special ? VOCAB_SPECIAL : 0);
    *got = (token_id)id;
    return 0;
}

void vocab_set_dec(struct vocab *v, token_id id, const char *s, size_t n)
{
    struct vocab_entry *x = &v->e[id];
    if (n == x->dec_n && memcmp(v->blob.p + x->dec, s, n) == 0)
        return;
    x->dec = keep(v, s, n);
    x->dec_n = (uint32_t)n;
}

token_id vocab_find_raw(const struct vocab *v, const char *s, size_t n)
{
    const struct vocab_table *t = &v->by_raw;
    uint32_t h = text_hash(s, n);
    for (uint32_t i = h & t->mask; t->slot[i].id >= 0; i = (i + 1) & t->mask) {
        const struct vocab_entry *x;
        if (t->slot[i].hash != h)
            continue;
        x = &v->e[t->slot[i].id];
        if (x->raw_n == n && memcmp(v->blob.p + x->raw, s, n) == 0)
            return t->slot[i].id;
    }
    return -1;
}

static token_id find_str(const struct vocab *v, const char *s, size_t n)
{
    const struct vocab_table *t = &v->by_str;
    uint32_t h = text_hash(s, n);
    for (uint32_t i = h & t->mask; t->slot[i].id >= 0; i = (i + 1) & t->mask) {
        const struct vocab_entry *x = &v->e[t->slot[i].id];
        if (t->slot[i].hash == h && x->str_n == n && memcmp(v->blob.p + x->str, s, n) == 0)
            return t->slot[i].id;
    }
    return -1;
}

token_id vocab_find_model(const struct vocab *v, const char *s, size_t n)
{
    char small[256], *raw;
    size_t raw_n;
    token_id id = -1;
    if (!v->byte_level)
        return vocab_find_raw(v, s, n);
    raw = n <= sizeof small ? small : xalloc(n);
    if (bytes_unmap(s, n, raw, &raw_n))
        id = vocab_find_raw(v, raw, raw_n);
    if (raw != small)
        free(raw);
    return id;
}

token_id vocab_find(const struct vocab *v, const char *s, size_t n)
{
    token_id id;
    if (utf8_valid_prefix(s, n) != n)
        return -1;
    id = vocab_find_model(v, s, n);
    return id >= 0 ? id : find_str(v, s, n);
}
